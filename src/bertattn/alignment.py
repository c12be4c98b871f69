"""From subword tokens to words: which tokens make up which word, merging their attention, dropping special tokens."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.annotation import Sentence
from bertattn.errors import AlignmentError, MeasureError, SelectionError, ValidationError
from bertattn.tensor import AttentionTensor, Axis, WordId, check_tensor

__all__ = ["drop_special", "merge_subwords", "word_ids_from_offsets", "words_of_text"]

Span: TypeAlias = tuple[int, int]

_PIECE = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")
# Rows with less mass than this are undefined once they lose their special tokens.
_NO_MASS = 1e-12


def word_ids_from_offsets(offsets: Sequence[Span | None], words: Sequence[Span], /) -> tuple[WordId, ...]:
    """The word of each token, both given as characters `[start, end)` of one text.

    A token belongs to the word it overlaps, or to all of several, as a tuple. A token that overlaps none (a space, the
    lone "▁" of SentencePiece) belongs to the word that follows it, at the end of the text to the last one. White space
    at the start of a token, as in GPT-2's " cat", lies in no word and so plays no part.

    Args:
        offsets: the characters of each token; None for special tokens, which belong to no word.
        words: the characters of each word, from left to right.

    Raises:
        ValidationError: words that overlap or are not in order.

    Examples:
        >>> word_ids_from_offsets([None, (0, 3), (3, 7), (7, 8), None], [(0, 3), (4, 6), (6, 7), (8, 9)])
        (None, 0, (1, 2), 3, None)
    """
    ends = [end for _, end in words]
    for (_, end), (start, _) in pairwise(words):
        if start < end:
            raise ValidationError(
                f"words must follow one another, but one ends at character {end}, the next starts at {start}"
            )
    word_ids: list[WordId] = []
    for span in offsets:
        if span is None or not words:
            word_ids.append(None)
            continue
        start, end = span
        first = bisect_right(ends, start)  # the first word that ends after the token starts
        last = first
        while last < len(words) and words[last][0] < end:
            last += 1
        if last - first > 1:
            word_ids.append(tuple(range(first, last)))
        else:
            word_ids.append(min(first, len(words) - 1))
    return tuple(word_ids)


def words_of_text(text: str, offsets: Sequence[Span | None], /) -> tuple[tuple[str, ...], tuple[WordId, ...]]:
    """The words of plain text, as fine as its tokens allow, and the word of each token.

    A word is a run of letters and digits, with the apostrophes and hyphens inside it, or one other character; accents
    and other marks stay with their letter. Words that one token spans are one word. A character that has no token (a
    control character that the tokenizer took away) makes no word.

    Args:
        text: what the tokenizer was given.
        offsets: the characters `[start, end)` of each token; None for special tokens.

    Examples:
        >>> words_of_text("Don't go.", [None, (0, 3), (3, 5), (5, 8), (8, 9), None])
        (("Don't", 'go', '.'), (None, 0, 0, 1, 2, None))
    """
    spans: list[Span] = []
    for match in _PIECE.finditer(text):
        start, end = match.span()
        if spans and spans[-1][1] == start and _belongs_together(text[start - 1], text[start]):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    joined: set[int] = set()  # words that belong to the word before them
    seen: set[int] = set()
    for entry in word_ids_from_offsets(offsets, spans):
        if isinstance(entry, tuple):
            joined.update(entry[1:])
            seen.update(entry)
        elif entry is not None:
            seen.add(entry)
    words: list[Span] = []
    for i, (start, end) in enumerate(spans):
        if i in joined:
            words[-1] = (words[-1][0], end)
        elif i in seen:
            words.append((start, end))
    return tuple(text[start:end] for start, end in words), word_ids_from_offsets(offsets, words)


def _belongs_together(before: str, after: str) -> bool:
    """Whether two characters that touch belong to one word: the pattern above splits at marks and joiners."""
    return _is_mark(after) or (_is_mark(before) and after.isalnum())


def _is_mark(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "M" or category == "Cf"


def merge_subwords(
    attention: AttentionTensor,
    /,
    *,
    keys: Literal["sum"] = "sum",
    queries: Literal["mean", "first", "max"] = "mean",
    missing: Literal["error", "drop"] = "error",
) -> AttentionTensor:
    """Attention between words, from attention between subword tokens (Clark et al. 2019, section 4.1).

        word[u, w] = mean over the tokens i of word u of the sum over the tokens j of word w of token[i, j]

    Attention to a word is the sum over its tokens and attention from it the mean, so rows that sum to 1 still do. Each
    axis is merged by its own words. Special tokens stay in place as units of one token. A token that spans several
    words gives each an equal share of the attention it gets, and counts in the row of each. Computed in at least
    float32, given back in the dtype of the weights. A tensor of words is returned unchanged.

    Args:
        attention: between tokens whose axes have `word_ids`; NumPy or torch.
        keys: "sum", the only choice: a mean over keys would lose mass.
        queries: "mean" (the paper), "first" (the released code's default: the row of the word's first token), or "max"
            (the largest of the rows at each key, divided by their sum).
        missing: what to do with a word that has no token: "error", or "drop" to leave it out of the axis; `word_ids`
            of the result then skip its number.

    Returns:
        The tensor whose axes have the unit "word": `tokens` are the words, `word_ids` their numbers, `positions` 0, 1,
        2 …, `offsets` the characters that a word's tokens cover. A word's row is NaN where a row it is made of
        is: with "first" that of its first token, else that of any.

    Raises:
        ValidationError: no `AttentionTensor`, or an unknown option.
        AlignmentError: an axis without `word_ids`, or a word without a token.
        MeasureError: numbers that do not add over keys, such as norms of vectors; "max" of rows that are no
            distributions.

    Examples:
        >>> a = AttentionTensor(
        ...     np.array([[[[.1, .2, .3, .4], [.4, .3, .2, .1], [.25, .25, .25, .25], [.7, .1, .1, .1]]]]),
        ...     Axis(["a", "play", "##ing", "b"], word_ids=[0, 1, 1, 2], words=["a", "playing", "b"]),
        ... )
        >>> merge_subwords(a)["1-1"].round(3)
        array([[0.1  , 0.5  , 0.4  ],
               [0.325, 0.5  , 0.175],
               [0.7  , 0.2  , 0.1  ]])
    """
    check_tensor(attention, "merge_subwords")
    if keys != "sum":
        raise ValidationError(
            f"keys is {keys!r}, but attention to a word is the sum over its tokens: anything but keys='sum' loses mass"
        )
    if queries not in ("mean", "first", "max"):
        raise ValidationError(f"queries must be 'mean', 'first' or 'max', but is {queries!r}")
    if missing not in ("error", "drop"):
        raise ValidationError(f"missing must be 'error' or 'drop', but is {missing!r}")
    if attention.unit == "word":
        return attention
    if "norm" in attention.measure:
        raise MeasureError(
            f"the measure is {attention.measure!r}, and the norm of a sum of vectors is not the sum of their norms; "
            "merge the vectors first, then take norms"
        )
    if queries == "max" and not attention.normalized:
        raise MeasureError(
            f"queries='max' divides each row by its sum, which needs distributions, but the rows of measure "
            f"{attention.measure!r} are not normalized; use queries='mean' or 'first'"
        )
    query_units = _units(attention.queries, name="query", missing=missing, attention=attention)
    key_units = (
        query_units
        if attention.keys is attention.queries
        else _units(attention.keys, name="key", missing=missing, attention=attention)
    )

    weights = _arrays.cast(attention.weights, _arrays.working_dtype(attention.weights))
    empty = attention.empty_rows
    some_empty = bool(empty.any())
    if some_empty:  # in a product NaN would reach the rows of other words
        weights = _arrays.where(empty[..., None], _arrays.like(0.0, weights), weights)
    if queries == "max":  # the only one that is not linear
        weights = _merged_rows(_merged_columns(weights, key_units), query_units, queries)
    else:  # the order that leaves less to multiply
        weights = _merged_columns(_merged_rows(weights, query_units, queries), key_units)
    if some_empty:
        undefined = _any_row(empty, query_units, first_only=queries == "first")
        weights = _arrays.where(undefined[..., None], _arrays.like(np.nan, weights), weights)

    query_axis = _word_axis(attention.queries, query_units)
    dropped = ", missing='drop'" if missing == "drop" else ""
    return attention._with(
        step=f"merge_subwords(keys={keys!r}, queries={queries!r}{dropped})",
        weights=_arrays.cast(weights, _arrays.dtype_name(attention.weights)),
        queries=query_axis,
        keys=query_axis if key_units is query_units else _word_axis(attention.keys, key_units),
    )


@dataclasses.dataclass(frozen=True)
class _Unit:
    """A word and its tokens, or one special token (`word` is None)."""

    word: int | None
    tokens: list[int]


def _units(axis: Axis, *, name: str, missing: str, attention: AttentionTensor) -> list[_Unit]:
    """Words and special tokens in the order of their first tokens."""
    if axis.word_ids is None:
        raise AlignmentError(
            f"the {name} axis does not say which word its tokens belong to; make the tensor with bertattn.Extractor "
            "and a fast tokenizer from text (token ids, as segments are, know no words), or give "
            "Axis(tokens, word_ids=..., words=...)"
        )
    units: list[_Unit] = []
    by_word: dict[int, _Unit] = {}
    for token, entry in enumerate(axis.word_ids):
        if entry is None:
            units.append(_Unit(None, [token]))
            continue
        for word in entry if isinstance(entry, tuple) else (entry,):
            if word not in by_word:
                by_word[word] = _Unit(word, [])
                units.append(by_word[word])
            by_word[word].tokens.append(token)
    if missing == "error":
        _require_tokens(axis, by_word, name=name, attention=attention)
    return units


def _require_tokens(axis: Axis, by_word: dict[int, _Unit], *, name: str, attention: AttentionTensor) -> None:
    count = max(by_word, default=-1) + 1 if axis.words is None else len(axis.words)
    absent = [word for word in range(count) if word not in by_word]
    if not absent:
        return
    named = [str(word) if axis.words is None else f"{word} ({axis.words[word]!r})" for word in absent]
    shown = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
    annotation = attention.annotation
    named_in = annotation.id if isinstance(annotation, Sentence) else annotation and annotation.document
    raise AlignmentError(
        f"word{'s' * (len(absent) > 1)} {shown}{f' of {named_in}' if named_in else ''} "
        f"{'have' if len(absent) > 1 else 'has'} no token on the {name} axis: the tokenizer took the characters away, "
        "or the tokens were dropped; merge_subwords(..., missing='drop') leaves such words out"
    )


def _unsplit(units: list[_Unit], tokens: int) -> bool:
    return len(units) == tokens and all(unit.tokens == [i] for i, unit in enumerate(units))


def _merged_columns(weights: Any, units: list[_Unit]) -> Any:
    """The sum over the tokens of each word, of which a token of several words gives each an equal share."""
    tokens = int(weights.shape[-1])
    if _unsplit(units, tokens):
        return weights
    members = _members(units, tokens)
    shares = members / members.sum(0)
    at_hand = _arrays.memory_of(weights)
    if at_hand is None:
        return weights @ _arrays.like(shares.T, weights)
    # Most words are one token: their columns are copied, which takes a fifth of the time of multiplying them by 1.
    merged = np.take(at_hand, [unit.tokens[0] for unit in units], axis=-1)
    split = [column for column, unit in enumerate(units) if shares[column, unit.tokens[0]] != 1 or len(unit.tokens) > 1]
    if split:
        columns = np.flatnonzero(members[split].any(0))
        factors = shares[split][:, columns].T.astype(at_hand.dtype)
        # One product of two matrices: a stack of them takes several times as long in NumPy.
        sums = np.take(at_hand, columns, axis=-1).reshape(-1, len(columns)) @ factors
        merged[..., split] = sums.reshape(*merged.shape[:-1], len(split))
    return _arrays.placed(merged, weights)


def _members(units: list[_Unit], tokens: int) -> Numpy:
    """`[unit, token]`: 1 where the token belongs to the word."""
    members = np.zeros((len(units), tokens))
    members[
        np.repeat(np.arange(len(units)), [len(unit.tokens) for unit in units]),
        [token for unit in units for token in unit.tokens],
    ] = 1
    return members


def _merged_rows(weights: Any, units: list[_Unit], mode: str) -> Any:
    if _unsplit(units, int(weights.shape[-2])):
        return weights
    firsts = [unit.tokens[0] for unit in units]
    split = [row for row, unit in enumerate(units) if len(unit.tokens) > 1]
    at_hand = _arrays.memory_of(weights) if mode == "mean" else None
    if at_hand is not None:
        rows = np.take(at_hand, firsts, axis=-2)
        if split:
            sizes = np.array([len(units[row].tokens) for row in split])
            parts = np.take(at_hand, [token for row in split for token in units[row].tokens], axis=-2)
            sums = np.add.reduceat(parts, np.cumsum(sizes) - sizes, axis=-2)
            rows[..., split, :] = sums / sizes[:, None].astype(at_hand.dtype)
        return _arrays.placed(rows, weights)
    merged = _arrays.take(weights, firsts, -2)
    if mode == "mean" and split:
        members = _members([units[row] for row in split], int(weights.shape[-2]))
        merged[..., split, :] = _arrays.like(members / members.sum(1, keepdims=True), weights) @ weights
    if mode == "max":
        for row in split:
            largest = _arrays.amax(_arrays.take(weights, units[row].tokens, -2), -2)
            total = largest.sum(-1)[..., None]  # 0 only where every row is undefined: those become NaN afterwards
            merged[..., row, :] = largest / _arrays.where(total == 0, total + 1, total)
    return merged


def _any_row(empty: Any, units: list[_Unit], *, first_only: bool) -> Any:
    """bool `[layer, head, unit]`: whether one of the rows that a unit is made of is undefined."""
    uses = np.zeros((int(empty.shape[-1]), len(units)))
    for column, unit in enumerate(units):
        uses[unit.tokens[:1] if first_only else unit.tokens, column] = 1
    counts = _arrays.cast(empty, "float32")
    return counts @ _arrays.like(uses, counts) > 0


def _word_axis(axis: Axis, units: list[_Unit]) -> Axis:
    columns: dict[str, Any] = {"tokens": tuple(_text(axis, unit) for unit in units)}
    if axis.roles is not None:
        roles = [{axis.roles[i] for i in unit.tokens} for unit in units]
        columns["roles"] = tuple(role.pop() if len(role) == 1 else None for role in roles)
    if axis.segments is not None:
        columns["segments"] = tuple(axis.segments[unit.tokens[0]] for unit in units)
    if axis.offsets is not None:
        columns["offsets"] = tuple(_cover([axis.offsets[i] for i in unit.tokens]) for unit in units)
    columns["word_ids"] = tuple(unit.word for unit in units)
    return Axis(**columns, words=axis.words, positions=tuple(range(len(units))), unit="word")


def _text(axis: Axis, unit: _Unit) -> str:
    if unit.word is not None and axis.words is not None:
        return axis.words[unit.word]
    tokens = [axis.tokens[i] for i in unit.tokens]
    if unit.word is None:
        return tokens[0]
    return "".join(token.removeprefix("##").removeprefix("Ġ").removeprefix("▁") for token in tokens) or tokens[0]


def _cover(offsets: Sequence[Span | None]) -> Span | None:
    known = [span for span in offsets if span is not None]
    return (min(start for start, _ in known), max(end for _, end in known)) if known else None


def drop_special(attention: AttentionTensor, /, *, renormalize: bool = True) -> AttentionTensor:
    """Attention among ordinary tokens: the rows and columns of special tokens taken out.

    Left out are `Axis.special`: what the tokenizer put around the text ([CLS], [SEP], <s>, padding). A mask token
    stands for a word and stays. Tokens keep their positions.

    Args:
        attention: between tokens or words; NumPy or torch.
        renormalize: divide each row by what is left of it, so that it sums to 1 again. A row with no more than 1e-12
            left becomes NaN: such rows are counted by `empty_rows`. False keeps the numbers as they are; the result is
            no longer `normalized`.

    Raises:
        ValidationError: no `AttentionTensor`.
        MeasureError: `renormalize` for numbers that are no distributions.
        SelectionError: no ordinary token is left, or an axis does not know its special tokens.

    Examples:
        >>> a = AttentionTensor(
        ...     np.array([[[[.5, .3, .2], [.6, .1, .3], [.2, .2, .6]]]]),
        ...     Axis(["[CLS]", "a", "b"], roles=["cls", None, None]),
        ... )
        >>> drop_special(a)["1-1"].round(2)
        array([[0.25, 0.75],
               [0.25, 0.75]])
    """
    check_tensor(attention, "drop_special")
    if renormalize and not attention.normalized:
        raise MeasureError(
            f"the rows of measure {attention.measure!r} are no distributions and cannot be made to sum to 1 again; "
            "pass renormalize=False"
        )
    weights = attention.weights
    axes: dict[str, Axis] = {}
    for name, axis, dimension in (("queries", attention.queries, -2), ("keys", attention.keys, -1)):
        if axis.roles is None:
            raise SelectionError(
                f"the {name} have no roles, so their special tokens are not known; give Axis(tokens, roles=...), "
                "with None for ordinary tokens"
            )
        kept = np.flatnonzero(~axis.special)
        if len(kept) == 0:
            raise SelectionError(
                f"all {len(axis)} {name} are special tokens: {' '.join(axis.tokens[:5])}; nothing would be left"
            )
        axes[name] = axis
        if len(kept) < len(axis):
            weights = _arrays.take(weights, kept, dimension)
            axes[name] = (
                axes["queries"] if name == "keys" and attention.keys is attention.queries else axis.select(kept)
            )
    normalized = attention.normalized
    if len(axes["keys"]) < len(attention.keys):
        normalized = renormalize
        if renormalize:
            weights = _arrays.cast(weights, _arrays.working_dtype(weights))
            mass = weights.sum(-1)[..., None]
            weights = weights / _arrays.where(mass > _NO_MASS, mass, _arrays.like(np.nan, mass))
            weights = _arrays.cast(weights, _arrays.dtype_name(attention.weights))
    return attention._with(
        step=f"drop_special(renormalize={renormalize})", weights=weights, normalized=normalized, **axes
    )
