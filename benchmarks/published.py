"""The other side of the benchmarks: the algorithms of github.com/clarkkev/attention-analysis, in our own words.

Each is vectorised exactly as far as the released code is, and does what that does for one document, no more:

- `patterns` follows the two loops of `General_Analysis.ipynb` ("Computing Average Attention to Particular
  Tokens/Positions", "Computing Attention Head Entropies"). Each loop copies the maps into an array; the first makes its
  selectors anew, in float64, token by token, and takes one product over all heads for each; the second smooths the maps
  and takes two logarithms of every weight.
- `merge` follows `bpe_utils.py`, `get_word_word_attention` with mode="mean", called for one head after the other by
  `make_attn_word_level`.
- `relations` follows `Syntax_Analysis.ipynb` ("Code for evaluating individual attention maps and baselines"):
  `attn_head_predictor` and `evaluate_predictor`, which `get_scores` calls for one head after the other, over all
  sentences each time, once for each of the modes "normal" and "transpose". The argmax is of a whole map, the counting
  a loop over words. Its special case of poss is left out here; it would cost a little more.
- `distances` follows `head_distances.py`, `main`, one head after the other against all heads at once: the maps of all
  are smoothed anew for each, and two logarithms taken of every weight of every pair, which comes up twice. Some of the
  heads can be had alone, since each takes as long as another; the copy of the maps that comes first is left out.
- `keep` follows `extract_attention.py`, `main`: the maps of every input, cropped, in float16, in one list.
- `probe_epoch` follows `Syntax_Analysis.ipynb` ("Probing classifiers (Section 5)"), `Probe` and `run_training`, in
  torch for TensorFlow: one sentence a step, in their order; maps and their transposes are concatenated, and the dense
  layer is applied to every pair of words. Left out are the distance features, which it makes anew for every sentence
  in a loop over pairs even where the probe does not read them.

The released code works on float16 maps throughout, for which NumPy has no fast arithmetic. The benchmarks time the same
algorithm on float32 maps too, which is kinder to it. The probe turns them into float32 itself, a sentence at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Numpy: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def patterns(maps: Numpy, tokens: Sequence[str]) -> dict[str, Numpy]:
    """One document, `[layer, head]` each; the corpus mean of the released code is their sum over documents."""
    attention = np.array(maps)
    n = attention.shape[-1]
    sep, cls, punctuation = np.zeros(n), np.zeros(n), np.zeros(n)
    for position, token in enumerate(tokens):
        if token == "[SEP]":
            sep[position] = 1
        if token == "[CLS]":
            cls[position] = 1
        if token in (".", ","):
            punctuation[position] = 1
    selectors = {
        "self": (np.eye(n), n),
        "next": (np.eye(n, k=1), n),
        "previous": (np.eye(n, k=-1), n),
        "sep": (np.tile(sep, (n, 1)), n),
        "sep_to_sep": (np.ones((n, n)) * sep[np.newaxis] * sep[:, np.newaxis], 2),
        "other_to_sep": (np.ones((n, n)) * (np.ones(n) - sep)[:, np.newaxis] * sep[np.newaxis], n - 2),
        "cls": (np.tile(cls, (n, 1)), n),
        "punctuation": (np.tile(punctuation, (n, 1)), n),
    }
    averages = {
        name: (attention * selector[np.newaxis, np.newaxis]).sum(-1).sum(-1) / count
        for name, (selector, count) in selectors.items()
    }
    smooth = np.array(maps)
    smooth = 0.9999 * smooth + 0.0001 / n
    averages["uniform_entropy"] = np.full(attention.shape[:2], -np.log(1.0 / n))
    averages["entropy"] = -(smooth * np.log(smooth)).sum(-1).mean(-1)
    averages["entropy_from_cls"] = -(smooth * np.log(smooth))[:, :, 0].sum(-1)
    return averages


def merge(maps: Numpy, words: Sequence[Sequence[int]]) -> Numpy:
    """The columns of each word summed into its first, then its rows averaged, for one head after the other."""

    def one(head: Numpy) -> Numpy:
        merged = np.array(head)
        others = []
        for word in words:
            others += word[1:]
        for word in words:
            merged[:, word[0]] = merged[:, word].sum(axis=-1)
        merged = np.delete(merged, others, -1)
        for word in words:
            merged[word[0]] = np.mean(merged[word], axis=0)
        return np.delete(merged, others, 0)

    return np.stack([[one(head) for head in layer] for layer in maps])


def relations(
    maps: Sequence[Numpy], trees: Sequence[tuple[Sequence[int | None], Sequence[str | None]]]
) -> dict[str, list[list[dict[str, float]]]]:
    """Accuracies of every mode, layer and head; maps are of words, with [CLS] and [SEP], trees governors and labels."""

    def predicted(head: Numpy, mode: str) -> Numpy:
        attention = np.array(head)
        if mode == "transpose":
            attention = attention.T
        attention[range(attention.shape[0]), range(attention.shape[0])] = 0
        return np.argmax(attention[1:-1, 1:-1], axis=-1) + 1

    def accuracies(layer: int, head: int, mode: str) -> dict[str, float]:
        right: Counter[str | None] = Counter()
        wrong: Counter[str | None] = Counter()
        for one, (governors, labels) in zip(maps, trees, strict=True):
            for guess, governor, label in zip(predicted(one[layer][head], mode), governors, labels, strict=True):
                counter = right if guess == governor else wrong
                counter[label] += 1
                counter["all"] += 1
        return {str(name): right[name] / (right[name] + wrong[name]) for name in wrong}

    layers, heads = maps[0].shape[:2]
    return {
        mode: [[accuracies(layer, head, mode) for head in range(heads)] for layer in range(layers)]
        for mode in ("normal", "transpose")
    }


def distances(maps: Numpy, heads: Sequence[int]) -> Numpy:
    """The divergences of some heads, numbered through all layers, and all, `[some, head]`, summed over tokens."""
    flat = maps.reshape(-1, *maps.shape[2:])
    found = np.zeros((len(heads), len(flat)))
    for row, head in enumerate(heads):
        one = flat[head][np.newaxis]
        one = 0.001 / one.shape[1] + one * 0.999
        all_heads = 0.001 / flat.shape[1] + flat * 0.999
        m = (one + all_heads) / 2
        js = -one * np.log(m / one)
        js += -all_heads * np.log(m / all_heads)
        js /= 2
        found[row] += js.sum(-1).sum(-1)
    return found


def keep(batches: Iterable[tuple[Sequence[int], Numpy]]) -> list[Numpy]:
    """The maps of a corpus; each batch is the lengths of its inputs and `[batch, layer, head, query, key]`."""
    return [
        one[:, :, :length, :length].astype("float16")
        for lengths, maps in batches
        for length, one in zip(lengths, maps, strict=True)
    ]


def probe_weights(heads: int, dimension: int | None = None, *, seed: int = 0) -> dict[str, Tensor]:
    """What the probe learns, drawn as TensorFlow does: for so many heads, and word vectors of a dimension if any."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, limit: float) -> Tensor:
        return ((torch.rand(shape, generator=generator) * 2 - 1) * limit).requires_grad_()

    weights = {name: uniform(limit=3**0.5) for name in ("ROOT_start", "ROOT_end")}
    features = 2 * heads
    if dimension is None:
        return weights | {"attn_map_weights": uniform(features, limit=(6 / (features + features)) ** 0.5)}
    kernel = uniform(features, 2 * dimension, limit=(6 / (features + 2 * dimension)) ** 0.5)
    return weights | {"kernel": kernel, "bias": torch.zeros(features, requires_grad=True)}


def probe_logits(weights: dict[str, Tensor], maps: Numpy, vectors: Tensor | None = None) -> Tensor:
    """`[word, 1 + word]` of one sentence, the root first; maps are `[layer, head, 2 + word, 2 + word]`."""
    attention = torch.from_numpy(maps).float()
    length = attention.shape[-1]
    both = torch.cat([attention, attention.transpose(2, 3)], 0).reshape(-1, length, length)
    root = weights["ROOT_start"] * both[:, 1:-1, 0] + weights["ROOT_end"] * both[:, 1:-1, -1]
    features = torch.cat([root[:, :, None], both[:, 1:-1, 1:-1]], -1).permute(1, 2, 0)
    if vectors is None:
        return (weights["attn_map_weights"] * features).sum(-1)
    words, dimension = vectors.shape
    tiled_vertical = vectors[None].tile(words, 1, 1)
    tiled_horizontal = vectors[:, None].tile(1, words, 1)
    pairs = torch.cat([tiled_horizontal, tiled_vertical], -1)
    pairs = torch.cat([pairs, torch.zeros(words, 1, 2 * dimension)], 1)
    return (torch.nn.functional.linear(pairs, weights["kernel"], weights["bias"]) * features).sum(-1)


def looked_up(words: Sequence[str], vocabulary: dict[str, int], table: Tensor) -> Tensor:
    """`[word, dimension]`; row 0 of the table is that of unknown words."""
    return table[torch.tensor([vocabulary.get(word.lower(), 0) for word in words])]


def probe_epoch(
    weights: dict[str, Tensor],
    maps: Sequence[Numpy],
    sentences: Sequence[tuple[Sequence[str], Sequence[int]]],
    embeddings: tuple[dict[str, int], Tensor] | None = None,
) -> None:
    """Train in place, on one sentence after the other: its words and their governors."""
    optimizer = torch.optim.Adam(weights.values(), lr=0.002)
    for one, (words, labels) in zip(maps, sentences, strict=True):
        logits = probe_logits(weights, one, None if embeddings is None else looked_up(words, *embeddings))
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
