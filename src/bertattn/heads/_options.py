"""The options that several functions of this package share, and the one check of them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from bertattn.errors import ValidationError

Use: TypeAlias = Literal["include", "exclude"]
Subtypes: TypeAlias = Literal["keep", "fold"]


def one_of(name: str, value: object, choices: tuple[Any, ...]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ValidationError: it is none.
    """
    if value not in choices:
        raise ValidationError(f"{name} must be one of {', '.join(map(repr, choices))}, but is {value!r}")
