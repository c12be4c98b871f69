"""The scores of the probes as torch modules: from a padded batch to `[sentence, word, 1 + word]`, ROOT first.

A map holds a[x, y] for all tokens: the one that starts the sequence, the one that ends it, then the words.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from bertattn.probes._training import Batch, glorot

__all__: list[str] = []

DISTANCE_FEATURES = 8
HIDDEN = 256


class Attention(nn.Module):
    """s[j, c] = sum_k w[k] a_k[j, c] + u[k] a_k[c, j] (Clark et al. 2019, section 5)."""

    def __init__(self, heads: int, root: str, generator: torch.Generator) -> None:
        super().__init__()
        self.per_pair = heads
        self.weight = nn.Parameter(glorot([2 * heads], generator).detach().view(2, heads))
        # Two numbers that attention to and from the ends is multiplied with, a constant, or weights of their own.
        self.root = nn.Parameter(
            {"special": torch.ones(2), "constant": torch.zeros(1)}.get(root, torch.zeros(4 * heads))
        )
        self._root = root

    def forward(self, batch: Batch) -> Tensor:
        maps = _given(batch.maps)
        both = maps @ self.weight.T
        scores = both[..., 0] + both[..., 1].transpose(1, 2)
        if self._root == "weights":
            return _with_root(scores, ends(maps) @ self.root)
        return _with_root(scores, _shared_root(scores, self.root))

    def rescale(self, scale: float) -> None:
        """Take vectors as they are after training on them times `scale`: here there are none."""


class AttentionWords(nn.Module):
    """As `Attention`, with weights that depend on the two words: M [e[j]; e[c]] (+ bias).

    M is a matrix, so a weight is a sum of a part for each word, and the product with M is taken once a word rather than
    once a pair of words.
    """

    def __init__(
        self, heads: int, dimension: int, root: str, generator: torch.Generator, *, bias: bool, released: bool
    ) -> None:
        super().__init__()
        self.per_pair = 2 * heads
        self.released = released
        self.weight = glorot([2 * heads, 2 * dimension], generator)
        self.bias = nn.Parameter(torch.zeros(2 * heads)) if bias else None
        own = torch.zeros(4 * heads, dimension + bias)
        self.root = nn.Parameter({"special": torch.ones(2), "constant": torch.zeros(1)}.get(root, own))
        self._root = root

    def forward(self, batch: Batch) -> Tensor:
        maps, vectors = _given(batch.maps), _given(batch.vectors)
        heads = maps.shape[-1]
        zeros = torch.zeros_like(vectors[:, :1])
        words = torch.cat([zeros, zeros, vectors], 1)
        candidates = words
        if self.released:
            candidates = torch.cat([vectors[:, :1], vectors[:, :1], vectors[:, 1:], zeros], 1)
        of_dependent, of_candidate = self.weight.chunk(2, 1)
        dependent = linear(words, of_dependent, self.bias)
        candidate = linear(candidates, of_candidate)
        # From the dependent x is the dependent and y the candidate, to the dependent the reverse.
        from_x, from_y = dependent[..., :heads], candidate[..., :heads]
        to_x, to_y = candidate[..., heads:], dependent[..., heads:]
        flipped = maps.transpose(1, 2)
        from_by_x, to_by_x = _times(maps, from_x, to_x)
        from_by_y, to_by_y = _times(flipped, from_y, to_y)
        scores = from_by_x + to_by_y + (from_by_y + to_by_x).transpose(1, 2)
        if self.released:
            scores = self._last_of_zeros(scores, maps, batch)
        if self._root != "weights":
            return _with_root(scores, _shared_root(scores, self.root))
        weights = linear(
            vectors, self.root[:, : vectors.shape[-1]], self.root[:, -1] if self.bias is not None else None
        )
        return _with_root(scores, (ends(maps) * weights).sum(-1))

    def rescale(self, scale: float) -> None:
        """Take vectors as they are after training on them times `scale`."""
        with torch.no_grad():
            self.weight.mul_(scale)
            if self._root == "weights":
                self.root[:, : self.weight.shape[1] // 2].mul_(scale)

    def _last_of_zeros(self, scores: Tensor, maps: Tensor, batch: Batch) -> Tensor:
        """The scores where the last word as a candidate has the weights of two zero vectors, as released: the bias."""
        rows = torch.arange(len(maps), device=maps.device)
        last = batch.lengths + 1  # its place among the tokens
        of_last = torch.zeros_like(maps[..., 0, 0])
        if self.bias is not None:
            to_last, from_last = maps[rows, :, last], maps[rows, last]
            of_last = torch.cat([to_last, from_last], -1) @ self.bias
        is_last = torch.arange(maps.shape[1], device=maps.device) == last[:, None]
        return torch.where(is_last[:, None], of_last[..., None], scores)


class DistanceWords(nn.Module):
    """s[j, c] = v . tanh(A [distance features; e[j]; e[c]] + b) + b'."""

    def __init__(self, dimension: int, generator: torch.Generator, *, released: bool) -> None:
        super().__init__()
        self.per_pair = 2 * HIDDEN
        self.released = released
        self.hidden_weight = glorot([HIDDEN, DISTANCE_FEATURES + 2 * dimension], generator)
        self.hidden_bias = nn.Parameter(torch.zeros(HIDDEN))
        self.output_weight = glorot([HIDDEN], generator)
        self.output_bias = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch) -> Tensor:
        vectors = _given(batch.vectors)
        words, dimension = vectors.shape[1:]
        zeros = torch.zeros_like(vectors[:, :1])
        candidates = torch.cat([vectors, zeros] if self.released else [zeros, vectors], 1)
        of_distance, of_dependent, of_candidate = torch.split(
            self.hidden_weight, [DISTANCE_FEATURES, dimension, dimension], 1
        )
        dependent = linear(vectors, of_dependent)[:, :, None]
        if self.released:  # the last candidate is paired with two zero vectors
            is_last = torch.arange(words + 1, device=vectors.device) == batch.lengths[:, None]
            dependent = dependent.masked_fill(is_last[:, None, :, None], 0.0)
        hidden = linear(distance_features(batch.lengths, words, vectors), of_distance, self.hidden_bias)
        hidden = hidden + dependent + linear(candidates, of_candidate)[:, None]
        return hidden.tanh() @ self.output_weight + self.output_bias

    def rescale(self, scale: float) -> None:
        """Take vectors as they are after training on them times `scale`."""
        with torch.no_grad():
            self.hidden_weight[:, DISTANCE_FEATURES:].mul_(scale)


def distance_features(lengths: Tensor, words: int, like: Tensor) -> Tensor:
    """`[sentence, word, 1 + word, 8]`: how far right and left in parts of the sentence, five offsets, ROOT."""
    positions = torch.arange(1, words + 1, device=like.device)
    away = positions[None, :] - positions[:, None]  # [dependent, candidate]
    part = away[None] / lengths[:, None, None]
    offsets = torch.stack([away == offset for offset in (0, -1, 1, -2, 2)], -1)
    features = like.new_zeros(len(lengths), words, words + 1, DISTANCE_FEATURES)
    features[:, :, 1:, 0] = part.clamp_min(0)
    features[:, :, 1:, 1] = (-part).clamp_min(0)
    features[:, :, 1:, 2:7] = offsets.to(like.dtype)
    features[:, :, 0, 7] = 1
    return features


def ends(maps: Tensor) -> Tensor:
    """`[sentence, word, 4 * head]`: a word's attention to the start and the end, theirs to it."""
    return torch.cat([maps[:, 2:, 0], maps[:, 2:, 1], maps[:, 0, 2:], maps[:, 1, 2:]], -1)


def _times(maps: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """sum_k a_k[x, y] of the weights of x, `[sentence, x, y]`: for the first weights, and for the second."""
    sentences, tokens, _, heads = maps.shape
    # As [2, head] @ [head, token], whose gradient is five times faster to compute than that of the transpose.
    weights = torch.stack([first, second], 2).view(-1, 2, heads)
    both = torch.bmm(weights, maps.reshape(-1, tokens, heads).transpose(1, 2)).view(sentences, tokens, 2, tokens)
    return both[:, :, 0], both[:, :, 1]


def _shared_root(scores: Tensor, root: Tensor) -> Tensor:
    """`[sentence, word]`: the scores of the start and the end token, times two numbers; or one constant."""
    if len(root) == 1:
        return root.expand(scores.shape[0], scores.shape[1] - 2)
    return scores[:, 2:, :2] @ root


def _with_root(scores: Tensor, of_root: Tensor) -> Tensor:
    """The scores of ROOT and the words as candidates of the words, from those of all tokens, two ends first."""
    return torch.cat([of_root[..., None], scores[:, 2:, 2:]], -1)


def _given(values: Any) -> Tensor:
    if values is None:  # the estimators check what they are given
        raise RuntimeError("a batch lacks what its probe needs")
    tensor: Tensor = values
    return tensor
