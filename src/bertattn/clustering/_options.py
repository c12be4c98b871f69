"""The options that the functions of this package share, checked: NumPy's numbers count as Python's."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from bertattn import _arrays
from bertattn.errors import ValidationError

# What scikit-learn's generator takes.
_LARGEST_SEED: Final = 2**32 - 1


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """A whole number in a range.

    Raises:
        ValidationError: anything else.
    """
    number = _arrays.plain(value)
    if type(number) is not int or number < least or (most is not None and number > most):
        span = f"from {least}" if most is None else f"from {least} to {most}"
        raise ValidationError(f"{name} must be a whole number {span}, but is {value!r:.60}")
    return number


def seed_number(seed: object) -> int:
    """A seed of a random generator.

    Raises:
        ValidationError: anything else.
    """
    return whole("seed", seed, 0, _LARGEST_SEED)


def number_in(value: object, least: float, most: float, *, wanted: str) -> float:
    """A finite number in a range; `wanted` begins the sentence that says what it is.

    Raises:
        ValidationError: anything else.
    """
    number = _arrays.plain(value)
    if type(number) not in (int, float) or not math.isfinite(number) or not least <= number <= most:
        raise ValidationError(f"{wanted}, but is {value!r:.60}")
    return float(number)


def flag(name: str, value: object) -> bool:
    """True or False.

    Raises:
        ValidationError: anything else.
    """
    plain = _arrays.plain(value)
    if type(plain) is not bool:
        raise ValidationError(f"{name} must be True or False, but is {value!r:.60}")
    return plain


def real_array(values: Any) -> Any:
    """An array of real numbers of either kind, or None where these are texts, complex, or rows of different lengths."""
    try:
        array = _arrays.detach(values) if _arrays.is_array(values) else np.asarray(values)
    except (TypeError, ValueError):
        return None
    real = _arrays.dtype_name(array).startswith(("float", "bfloat", "int", "uint", "bool"))
    return array if real else None
