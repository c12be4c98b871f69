"""One pass over a stream of maps that keeps what it has found when it is interrupted, and says what was left out."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from bertattn._arrays import Numpy
from bertattn.errors import AlignmentError, ValidationError
from bertattn.heads._options import one_of
from bertattn.heads._words import word_weights
from bertattn.tensor import AttentionTensor

__all__: list[str] = []

Skipped = tuple[tuple[int, str], ...]
T_co = TypeVar("T_co", covariant=True)


class Counter(Protocol[T_co]):
    """What is found so far."""

    def add(self, attention: AttentionTensor, index: int) -> None:
        """Take in map number `index` of the stream: all of it or, when this raises, nothing."""

    def result(self, first: AttentionTensor, skipped: Skipped) -> T_co:
        """The value, given the first map and what was left out."""


def counted(
    stream: Iterable[AttentionTensor], counter: Counter[T_co], *, caller: str, noun: str, on_error: str, progress: bool
) -> T_co:
    """Everything that a stream gives, counted.

    Args:
        stream: the maps.
        counter: what counts them.
        caller: the public function, for messages and the bar.
        noun: what one input is, such as "sentence".
        on_error: "raise", or "skip" inputs whose words cannot be found among their tokens.
        progress: show a bar.

    Raises:
        ValidationError: no stream of maps, an empty one, or maps of other layers or heads than the first.
        AlignmentError: as the counter, unless skipped.
    """
    one_of("on_error", on_error, ("raise", "skip"))
    if isinstance(stream, AttentionTensor):
        raise ValidationError("stream is one AttentionTensor; give a list: [attention]")
    if not isinstance(stream, Iterable):
        raise ValidationError(f"stream must be an iterable of AttentionTensor, but is {type(stream).__name__}")
    from tqdm import tqdm

    unaligned: list[tuple[int, str]] = []  # number in the stream, reason
    first: AttentionTensor | None = None
    done = 0
    total = operator.length_hint(stream) or None
    try:
        with tqdm(total=total, disable=not progress, unit=noun, desc=caller) as bar:
            for index, attention in enumerate(stream):
                _check(attention, index, first)
                try:
                    counter.add(attention, index)
                except AlignmentError as error:
                    if on_error == "raise":
                        error.add_note(f"{caller}(..., on_error='skip') leaves such {noun}s out and lists them")
                        raise
                    unaligned.append((index, str(error)))
                else:
                    first, done = attention if first is None else first, done + 1
                bar.update()
    except BaseException as error:
        if first is not None:
            error.partial = counter.result(first, _skipped(stream, unaligned))  # type: ignore[attr-defined]
            error.add_note(f"the {done} inputs scored so far are in this exception's .partial")
        raise
    if first is None:
        count = len(getattr(stream, "skipped", ())) + len(unaligned)
        raise ValidationError(
            f"the stream gave no maps{f': all {count} inputs were skipped' if count else ''}; "
            "was it read to its end before? An iterator can be read once"
        )
    return counter.result(first, _skipped(stream, unaligned))


def weights_of_gold(attention: AttentionTensor, index: int, words: int) -> Numpy:
    """`[layer, head, word, word]` without special tokens, of as many words as the annotation has.

    Raises:
        ValidationError: it has other words.
        AlignmentError, MeasureError: as `word_weights`.
    """
    weights = word_weights(attention)
    if words != weights.shape[-1]:
        raise ValidationError(
            f"map {index} of the stream has {weights.shape[-1]} words but its annotation {words}; were words dropped?"
        )
    return weights


def checked_directions(directions: Sequence[Any], known: tuple[Any, ...]) -> tuple[Any, ...]:
    """The directions asked for, if they are different ones that there are.

    Raises:
        ValidationError: they are not.
    """
    if isinstance(directions, str):
        raise ValidationError(f"directions must be a sequence, but is {directions!r}; write [{directions!r}]")
    if not isinstance(directions, Iterable):
        raise ValidationError(f"directions must be a sequence of {', '.join(map(repr, known))}, but is {directions!r}")
    asked = tuple(directions)
    for direction in asked:
        one_of("directions", direction, known)
    if not asked or len(set(asked)) != len(asked):
        raise ValidationError(f"directions must be different ones, at least one, but are {directions!r}")
    return asked


def _check(attention: object, index: int, first: AttentionTensor | None) -> None:
    if not isinstance(attention, AttentionTensor):
        raise ValidationError(
            f"entry {index} of the stream is no AttentionTensor but {attention!r:.60}; give maps, such as "
            "ext.extract(inputs)"
        )
    if first is not None and (attention.layers, attention.heads) != (first.layers, first.heads):
        raise ValidationError(f"map {index} of the stream has other layers or heads than the first")


def _skipped(stream: object, unaligned: Sequence[tuple[int, str]]) -> Skipped:
    """What the stream left out and what could not be aligned, by number of the input."""
    left_out = sorted((one.index, one.reason) for one in getattr(stream, "skipped", ()))
    placed = []
    for number, reason in unaligned:
        place = number
        for index, _ in left_out:  # inputs that gave no map were not counted
            place += index <= place
        placed.append((place, reason))
    return tuple(sorted(left_out + placed))
