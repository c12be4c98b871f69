"""Maps with gold trees and special tokens for the probes, and what the slow reference takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bertattn import AttentionTensor, Axis, DocumentWindow, Sentence
from bertattn.probes import AttentionProbe, AttentionWordsProbe, DistanceWordsProbe, prepare
from bertattn.vectors import WordVectors
from reference import probes as slow

WORDS = ("dogs", "Dogs", "chase", "cats", "the", ".", "old", "sat")
# The fitted weights of all probes.
WEIGHTS = ("weight_", "bias_", "root_", "hidden_weight_", "hidden_bias_", "output_weight_", "output_bias_")
# One epoch of one step, for a probe whose weights are then set by hand.
ONCE: dict[str, Any] = {"max_epochs": 1, "early_stopping": False, "batch_size": 1000}
RELATIONS = ("nsubj", "obj", "det", "punct", "punct:final", None)


def sentence(rng: np.random.Generator, words: int, *, unknown: float = 0.0) -> Sentence:
    """Random words, governors and relations; some governors may be unknown."""
    governors: list[int | None] = []
    for i in range(words):
        choices = [g for g in range(words + 1) if g != i + 1]
        governors.append(None if rng.random() < unknown else int(rng.choice(choices)))
    return Sentence(
        [str(rng.choice(WORDS)) for _ in range(words)],
        governors=governors,
        relations=[RELATIONS[rng.integers(len(RELATIONS))] for _ in range(words)],
    )


def axis_of(words: Any, *, start: str | None = "cls", end: str | None = "sep", pieces: Any = None) -> Axis:
    """Words between special tokens, or as tokens, word i of `pieces[i]` of them."""
    word_ids = [i for i in range(len(words)) for _ in range(pieces[i] if pieces else 1)]
    roles = [*([start] if start else []), *[None] * len(word_ids), *([end] if end else [])]
    ids = iter(word_ids)
    columns = [None if role else next(ids) for role in roles]
    return Axis(
        [f"[{role.upper()}]" if role else words[i] for role, i in zip(roles, columns, strict=True)],
        roles=roles,
        word_ids=columns,
        words=words,
        unit="token" if pieces else "word",
    )


def random_map(
    rng: np.random.Generator, gold: Sentence | DocumentWindow, *, layers: int = 2, heads: int = 2, **frame: Any
) -> AttentionTensor:
    """Random distributions, peaked here and there, as float32."""
    axis = axis_of(gold.words, **frame)
    weights = rng.dirichlet(np.full(len(axis), 0.4), size=(layers, heads, len(axis)))
    return AttentionTensor((weights / weights.sum(-1, keepdims=True)).astype(np.float32), axis, annotation=gold)


def corpus(rng: np.random.Generator, sizes: Any, *, unknown: float = 0.0, **options: Any) -> list[AttentionTensor]:
    return [random_map(rng, sentence(rng, n, unknown=unknown), **options) for n in sizes]


def planted(rng: np.random.Generator, sizes: Any) -> list[AttentionTensor]:
    """Head 2-1 attends from each dependent to its governor, from the root word to [CLS]; the others are random."""
    out = []
    for n in sizes:
        order = rng.permutation(n)
        governors = [0] * n
        for place in range(1, n):
            governors[order[place]] = int(order[rng.integers(place)]) + 1
        words = [str(rng.choice(WORDS)) for _ in range(n)]
        found = random_map(rng, Sentence(words, governors=governors, relations=["dep"] * n))
        weights = np.array(found.numpy())
        weights[1, 0] = 0
        weights[1, 0, [0, -1], 0] = 1
        for j, governor in enumerate(governors, 1):
            weights[1, 0, j, governor] = 1
        out.append(found.replace(weights=weights))
    return out


def sentences_of(stream: Any) -> list[Sentence]:
    return [s for a in stream for s in getattr(a.annotation, "sentences", (a.annotation,))]


def plain(attention: AttentionTensor) -> list[np.ndarray]:
    """For each sentence `[head, token, token]` with a start and an end token, those of a window for each of its own.

    Tokens are merged into words by loops; where there is no start or end token, its rows and columns are 0.
    """
    axis = attention.queries
    roles = axis.roles or (None,) * len(axis)
    words: dict[int, list[int]] = {}
    for token, number in enumerate(axis.word_ids):
        if number is not None:
            words.setdefault(number, []).append(token)
    starts = [i for i, role in enumerate(roles) if role in ("cls", "bos")]
    ends = [i for i, role in enumerate(roles) if role in ("sep", "eos")]
    maps = [head for layer in attention.numpy().astype(np.float64) for head in layer]
    out, first = [], 0
    for one in sentences_of([attention]):
        own = [words[first + i] for i in range(len(one))]
        groups = [starts[:1], *own, ends[-1:]]
        found = np.zeros((len(maps), len(groups), len(groups)))
        for head, m in enumerate(maps):
            for u, queries in enumerate(groups):
                for w, keys in enumerate(groups):
                    if queries:
                        found[head, u, w] = sum(m[i][j] for i in queries for j in keys) / len(queries)
        out.append(found)
        first += len(one)
    return out


def vectors_of(rng: np.random.Generator, *, dimension: int = 3) -> WordVectors:
    """Of all words but "sat", which is unknown."""
    known = sorted({word.lower() for word in WORDS} - {"sat"})
    return WordVectors(known, rng.standard_normal((len(known), dimension)))


def with_weights(probe: Any, stream: Any, rng: np.random.Generator) -> Any:
    """The probe with random weights for such maps."""
    probe.set_params(**ONCE).fit(prepare(stream, dtype="float32"))
    for name in WEIGHTS:
        if getattr(probe, name, None) is not None:
            setattr(probe, name, rng.standard_normal(getattr(probe, name).shape).astype(np.float32))
    return probe


def parameters_of(probe: Any) -> dict[str, np.ndarray]:
    """The weights in float64, as the slow reference names them."""
    if isinstance(probe, AttentionProbe):
        found = {"from_dependent": probe.from_dependent_.ravel(), "to_dependent": probe.to_dependent_.ravel()}
        found["root"] = probe.root_
    elif isinstance(probe, AttentionWordsProbe):
        found = {"weight": probe.weight_, "root": probe.root_} | ({"bias": probe.bias_} if probe.bias else {})
    else:
        dummy = np.zeros((len(probe.hidden_weight_), 1))
        found = {
            "hidden_weight": np.hstack([dummy, probe.hidden_weight_]),
            "hidden_bias": probe.hidden_bias_,
            "output_weight": probe.output_weight_,
            "output_bias": probe.output_bias_,
        }
    return {name: value.astype(np.float64) for name, value in found.items()}


def slow_scores(probe: Any, parameters: Any, maps: Any, gold: Sentence) -> list[list[float]]:
    """The score matrix of one sentence, by loops."""
    if probe.features == "sqrt":
        maps = slow.square_roots(maps)
    if isinstance(probe, AttentionProbe):
        return slow.attention_scores(parameters, maps)
    vectors, misaligned = probe.vectors.lookup(gold.words).tolist(), probe.root_vector == "released"
    if isinstance(probe, DistanceWordsProbe):
        return slow.distance_scores(parameters, vectors, misaligned)
    return slow.words_scores(parameters, maps, vectors, misaligned)


def slow_log_proba(probe: Any, stream: Any) -> list[np.ndarray]:
    parameters, maps = parameters_of(probe), [one for a in stream for one in plain(a)]
    pairs = zip(maps, sentences_of(stream), strict=True)
    return [np.array(slow.log_softmax(slow_scores(probe, parameters, m, gold))) for m, gold in pairs]
