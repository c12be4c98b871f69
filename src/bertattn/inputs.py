"""What can be given to a model besides a plain string: a pair of texts, or token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertattn import _arrays
from bertattn.errors import ValidationError

__all__ = ["TextPair", "TokenIds"]


@dataclass(frozen=True)
class TextPair:
    """Two texts for one input: sentence A and B of an encoder, source and target of an encoder-decoder.

    Raises:
        ValidationError: one of them is no string.

    Examples:
        >>> TextPair("How are you?", "Fine, thanks.").second
        'Fine, thanks.'
    """

    first: str
    second: str

    def __post_init__(self) -> None:
        for name, value in (("first", self.first), ("second", self.second)):
            if not isinstance(value, str):
                raise ValidationError(f"{name} must be a string, but is {type(value).__name__}")


@dataclass(frozen=True)
class TokenIds:
    """One input as the tokenizer's ids, special tokens included, given to the model as it is.

    Args:
        ids: the token ids, at least one.
        segments: 0 for tokens of the first text, 1 for those of the second; None if there is one text.
        token_types: the `token_type_ids` the model is given; None means `segments` (zeros where there are none).

    Any sequence or array of integers will do; it is kept as a tuple.

    Raises:
        ValidationError: no ids, numbers that are no integers from 0, columns of different lengths.

    Examples:
        >>> TokenIds([101, 7592, 102]).ids
        (101, 7592, 102)
    """

    ids: tuple[int, ...]
    segments: tuple[int, ...] | None = None
    token_types: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("ids", "segments", "token_types"):
            values: Any = getattr(self, name)
            if values is None and name != "ids":
                continue
            values = _arrays.plain(values)
            if not isinstance(values, Sequence) or not all(type(v) is int and v >= 0 for v in values):
                batch = isinstance(values, tuple) and any(isinstance(v, tuple) for v in values)
                remedy = "; give one sequence, not a batch" if batch else ""
                raise ValidationError(f"{name} must be integers from 0, but is {values!r:.60}{remedy}")
            object.__setattr__(self, name, tuple(values))
            if len(values) != len(self.ids):
                raise ValidationError(f"{name} has {len(values)} entries but there are {len(self.ids)} ids")
        if not self.ids:
            raise ValidationError("token ids need at least one token, but got none")

    def __len__(self) -> int:
        return len(self.ids)
