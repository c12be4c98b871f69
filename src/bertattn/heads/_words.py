"""Attention between words, and what it peaks at: what every function that asks a head for a word begins with."""

from __future__ import annotations

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.alignment import drop_special, merge_subwords
from bertattn.errors import MeasureError
from bertattn.tensor import AttentionTensor

__all__: list[str] = []

_SAME = "what a head is asked for is a word of the same sequence"
_START, _END = ("cls", "bos"), ("sep", "eos")


def word_weights(attention: AttentionTensor) -> Numpy:
    """`[layer, head, word, word]` without special tokens, not renormalized; an array of its own or a view."""
    _check_not_cross(attention)
    tokens = _tokens_of_words(attention)
    if tokens is not None:
        return _merged(attention, tokens)
    words = merge_subwords(attention) if attention.unit == "token" else attention
    if words.queries.roles is not None and bool(words.queries.special.any()):
        words = drop_special(words, renormalize=False)
    return _square(words)


def words_and_ends(attention: AttentionTensor) -> tuple[Numpy, bool, bool]:
    """`[layer, head, 2 + word, 2 + word]`: the token that starts the sequence, the one that ends it, then the words.

    Not renormalized; an array of its own. The first special token of the roles "cls" and "bos" starts it, the last of
    "sep" and "eos" ends it. Rows and columns of one that is not there are 0. Then, whether each is there.
    """
    _check_not_cross(attention)
    axis = attention.queries
    tokens = _tokens_of_words(attention)
    if tokens is None:
        words = merge_subwords(attention) if attention.unit == "token" else attention
        axis = words.queries
        weights = _square(words)
        special = axis.special if axis.roles is not None else np.zeros(len(axis), dtype=bool)
        tokens = [[i] for i in np.flatnonzero(~special).tolist()]
    else:
        weights = _single(_arrays.to_numpy(_arrays.detach(attention.weights)))
    roles = axis.roles or ()
    start = next((i for i, role in enumerate(roles) if role in _START), None)
    end = next((i for i in reversed(range(len(roles))) if roles[i] in _END), None)
    # Where one is not there, any token stands in for it until its row and column are made 0.
    merged = np.ascontiguousarray(_of_groups(weights, [[start or 0], [end or 0], *tokens]))
    for place, token in enumerate((start, end)):
        if token is None:
            merged[..., place] = 0
            merged[..., place, :] = 0
    return merged, start is not None, end is not None


def _check_not_cross(attention: AttentionTensor) -> None:
    if attention.source is not None and attention.source.attention == "cross":
        raise MeasureError(f"{_SAME}, but these are maps of cross-attention")


def _square(words: AttentionTensor) -> Numpy:
    """The weights, if queries and keys are the same words."""
    weights = _arrays.to_numpy(_arrays.detach(words.weights))
    if weights.shape[-1] != weights.shape[-2]:
        raise MeasureError(f"{_SAME}, but there are {weights.shape[-2]} queries and {weights.shape[-1]} keys")
    if words.keys is not words.queries and words.keys.tokens != words.queries.tokens:
        raise MeasureError(f"{_SAME}, but queries and keys are different words")
    return _single(weights)


def _tokens_of_words(attention: AttentionTensor) -> list[list[int]] | None:
    """The tokens of each word, where there is nothing but whole words and special tokens; otherwise None.

    That is nearly always. Merging them is then one product, without the axes of `merge_subwords` and `drop_special`.
    """
    axis = attention.queries
    plain = attention.unit == "token" and attention.keys is axis and "norm" not in attention.measure
    # merge_subwords rounds to the dtype it was given, and NumPy cannot round to bfloat16.
    plain = plain and _arrays.dtype_name(attention.weights) != "bfloat16"
    if not plain or axis.word_ids is None or axis.roles is None or bool(attention.empty_rows.any()):
        return None
    tokens: list[list[int]] = []
    for i, (entry, special) in enumerate(zip(axis.word_ids, axis.special.tolist(), strict=True)):
        if (entry is None) != special or isinstance(entry, tuple):
            return None
        if entry is None:
            continue
        if entry == len(tokens):
            tokens.append([i])
        elif entry == len(tokens) - 1:
            tokens[-1].append(i)
        else:
            return None
    return tokens if tokens and len(tokens) == len(axis.words or tokens) else None


def _merged(attention: AttentionTensor, tokens: list[list[int]]) -> Numpy:
    """What `merge_subwords` and `drop_special` give, rounded as they round."""
    weights = _arrays.to_numpy(_arrays.detach(attention.weights))
    return _single(_of_groups(_single(weights), tokens).astype(weights.dtype, copy=False))


def _of_groups(weights: Numpy, tokens: list[list[int]]) -> Numpy:
    """The sum over the keys of each group of tokens and the mean over its queries; may be a view."""
    if all(len(word) == 1 for word in tokens):
        kept = [word[0] for word in tokens]
        if kept == list(range(kept[0], kept[0] + len(kept))):
            return weights[..., kept[0] : kept[-1] + 1, kept[0] : kept[-1] + 1]
        return weights[..., kept, :][..., kept]
    # Most words are one token: to copy those and add the others is faster than products, whose threads torch's disturb.
    first = [word[0] for word in tokens]
    split = [(i, word[1:]) for i, word in enumerate(tokens) if len(word) > 1]
    columns = weights[..., first]
    for i, more in split:
        for token in more:
            columns[..., i] += weights[..., token]
    merged = columns[..., first, :]
    for i, more in split:
        for token in more:
            merged[..., i, :] += columns[..., token, :]
        merged[..., i, :] /= 1 + len(more)
    return merged


def _single(weights: Numpy) -> Numpy:
    """Half precision as single, in which the same numbers are compared faster."""
    return weights.astype(np.float32) if weights.dtype == np.float16 else weights


def without_itself(weights: Numpy) -> Numpy:
    """A copy in which what cannot be predicted is -inf: the word itself, and NaN."""
    n = weights.shape[-1]
    masked = np.array(weights)
    masked[..., np.arange(n), np.arange(n)] = -np.inf
    if np.isnan(masked.sum()):
        masked[np.isnan(masked)] = -np.inf
    return masked


def peak(masked: Numpy, axis: int) -> Numpy:
    """argmax over the last axis (-1: what a word attends to) or over queries (-2: what attends to it), from 0.

    -1 where no candidate has any weight: of equal zeros none is preferred.
    """
    best: Numpy = masked.argmax(axis)
    top = np.take_along_axis(masked, np.expand_dims(best, axis), axis).squeeze(axis)
    nothing = top == -np.inf
    if (top == 0).any():  # of a signed measure 0 may be the largest
        nothing |= (top == 0) & ~((masked != 0) & (masked > -np.inf)).any(axis)
    if nothing.any():
        best[nothing] = -1
    return best
