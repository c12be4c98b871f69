"""Windows with mentions and maps of them: random ones of every kind for Hypothesis, and scores made of bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from bertattn import AttentionTensor, Axis, DocumentWindow, Mention, Sentence
from bertattn.heads import CoreferenceBaselines, CoreferenceScores
from bertattn.heads.antecedents import CANDIDATES
from bertattn.heads.mentions import MENTION_TYPES
from reference import coreference as reference
from reference import dependency

WORDS = ("Ann", "she", "dog", "Dog", "'s", "of", ",", "that", "old")
TAGS = ("PRON", "DET", "PROPN", "NOUN", "VERB", None)
PENN = ("PRP", "PRP$", "WP", "NNP", "NNPS", "NN", "VB", None)
FEATS: tuple[dict[str, str], ...] = ({}, {"Poss": "Yes"}, {"Number": "Plur"}, {"Gender": "Fem"})
ENTITIES = ("a", "a", "b", "c")
# Without "signed": in the reference, as in the spec, an attention is not negative.
STYLES = ("random", "ties", "zeros", "undefined")


@st.composite
def trees(draw: Any, n: int) -> tuple[list[int], list[str]]:
    """A tree without cycles, perhaps of several roots: each word hangs on one drawn before it, or on the root."""
    order = draw(st.permutations(range(n)))
    governors = [0] * n
    for at, word in enumerate(order):
        governors[word] = draw(st.sampled_from([0, *(other + 1 for other in order[:at])]))
    labels = draw(st.lists(st.sampled_from(("nsubj", "conj", "root")), min_size=n, max_size=n))
    return governors, labels


@st.composite
def sentences(draw: Any, *, max_words: int = 5) -> Sentence:
    n = draw(st.sampled_from(range(max_words, 0, -1)))

    def column(values: Any) -> Any:
        return draw(st.lists(st.sampled_from(values), min_size=n, max_size=n)) if draw(st.booleans()) else None

    governors, labels = draw(trees(n)) if draw(st.integers(0, 3)) else (None, None)
    return Sentence(
        draw(st.lists(st.sampled_from(WORDS), min_size=n, max_size=n)),
        governors=governors,
        relations=labels,
        upos=column(TAGS),
        xpos=column(PENN),
        feats=column(FEATS),
    )


@st.composite
def mentions(draw: Any, words: int) -> list[Mention]:
    """Nested, crossing, equal, across sentences, with gaps, sharing head words, singletons."""
    made = []
    for _ in range(draw(st.sampled_from((5, 8, 3, 0)))):
        start = draw(st.integers(0, words - 1))
        end = draw(st.integers(start + 1, min(start + 5, words)))
        parts: tuple[tuple[int, int], ...] = ()
        if end - start > 2 and not draw(st.integers(0, 3)):
            gap = draw(st.integers(start + 1, end - 2))
            parts = ((start, gap), (gap + 1, end))
        inside = [word for first, last in parts or ((start, end),) for word in range(first, last)]
        # The reference has no gaps, so that a mention with one says its head word.
        head = draw(st.sampled_from(inside)) if parts or draw(st.integers(0, 3)) == 0 else None
        kind = draw(st.sampled_from(("person", "place", None)))
        made.append(Mention(start, end, draw(st.sampled_from(ENTITIES)), head, kind, parts=parts))
    return made


@st.composite
def windows(draw: Any) -> DocumentWindow:
    part = draw(st.lists(sentences(), min_size=1, max_size=3))
    return DocumentWindow(
        part,
        draw(mentions(sum(map(len, part)))),
        document=draw(st.sampled_from(("d", "e", None))),
        first_word=draw(st.sampled_from((0, 7))),
        dropped_mentions=draw(st.integers(0, 1)),
    )


def weights_of(style: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if style in ("ties", "zeros"):  # sums and means of halves are exact, whatever their order
        weights = rng.integers(0, 3, shape).astype(float)
        return weights * (rng.random(shape[:3])[..., None] < 0.4) if style == "zeros" else weights
    weights = rng.standard_normal(shape) if style == "signed" else rng.random(shape)
    if style == "undefined":
        weights[rng.random(shape[:3]) < 0.4] = np.nan
    return weights


def mapped(weights: Any, window: DocumentWindow, **options: Any) -> AttentionTensor:
    """`[layer, head, word, word]`, or of one head, with its window."""
    w = weights if hasattr(weights, "detach") else np.asarray(weights)
    w = w.reshape(*(1,) * (4 - w.ndim), *w.shape)
    axis = Axis(window.words, word_ids=range(len(window)), words=window.words, unit="word")
    return AttentionTensor(w, axis, annotation=window, normalized=False, measure="weight", **options)


@st.composite
def maps(draw: Any, *, layers: int = 2, heads: int = 2, styles: Any = STYLES, words: Any = None) -> AttentionTensor:
    """Maps of words."""
    window = draw(windows() if words is None else words)
    shape = (layers, heads, len(window), len(window))
    return mapped(weights_of(draw(st.sampled_from(styles)), shape, draw(st.integers(0, 2**32 - 1))), window)


@st.composite
def tokenized(draw: Any, *, layers: int = 2, heads: int = 2, styles: Any = STYLES) -> AttentionTensor:
    """Maps of tokens, one or two a word, in a frame of special tokens, perhaps with one between sentences, or none."""
    window = draw(windows())
    word_ids: list[int | None] = []
    for word in range(len(window)):
        word_ids += [word] * draw(st.sampled_from((1, 1, 2)))
    if draw(st.booleans()):
        at = word_ids.index(draw(st.integers(0, len(window) - 1)))
        word_ids = [None, *word_ids[:at], *([None] * draw(st.integers(0, 1))), *word_ids[at:], None]
    roles = [None if word is not None else "cls" if i == 0 else "sep" for i, word in enumerate(word_ids)]
    axis = Axis([f"t{i}" for i in range(len(word_ids))], roles=roles, word_ids=word_ids, words=window.words)
    shape = (layers, heads, len(axis), len(axis))
    weights = weights_of(draw(st.sampled_from(styles)), shape, draw(st.integers(0, 2**32 - 1)))
    return AttentionTensor(weights, axis, annotation=window, normalized=False, measure="weight")


def apart(stream: list[AttentionTensor]) -> list[AttentionTensor]:
    """Windows of one document have no words in common."""
    return [
        a.replace(annotation=replace(a.annotation, first_word=a.annotation.first_word + 100 * i))
        for i, a in enumerate(stream)
    ]


def corpora(**options: Any) -> Any:
    return st.lists(maps(**options), min_size=1, max_size=5).map(apart)


# What the reference takes.


def plain(window: DocumentWindow) -> dict[str, Any]:
    """The window as the reference's dictionary, its mentions with head words that the reference finds."""
    document: dict[str, Any] = {"id": window.document, "start": window.first_word, "sentences": [], "mentions": []}
    for s in window.sentences:
        columns = [getattr(s, name) or (None,) * len(s) for name in ("upos", "xpos", "feats", "governors", "relations")]
        rows = zip(s.words, *columns, strict=True)
        document["sentences"].append(
            [
                {"form": form, "upos": upos, "xpos": xpos, "feats": dict(feats or {}), "head": head, "deprel": relation}
                for form, upos, xpos, feats, head, relation in rows
            ]
        )
    governors = reference.governors_of(document)
    bare = [word["head"] is None for word in reference.words_of(document)]
    for mention in window.mentions:
        first, last = mention.start, mention.end - 1
        head = mention.head
        if head is None and any(bare[first : last + 1]):
            head = reference.surface_head_word(list(window.words), first, last)
        elif head is None:
            head = reference.tree_head_word(governors, first, last)
        document["mentions"].append(
            {"first": first, "last": last, "entity": mention.entity, "etype": mention.type, "head": head}
        )
    return document


def word_maps(attention: AttentionTensor) -> np.ndarray:
    """`[layer, head, word, word]`, merged by the slow reference of trees."""
    axis = attention.queries
    if attention.unit == "word":
        return attention.numpy()
    merged = [
        [dependency.words_of(head.tolist(), axis.word_ids, axis.special.tolist()) for head in layer]
        for layer in attention.numpy()
    ]
    return np.array(merged, dtype=float)


def in_order(window: dict[str, Any]) -> tuple[list[dict[str, Any]], list[int]]:
    """The reference's instances, and the order in which the library keeps them: by head word, words and entity."""
    found = reference.instances(window)

    def key(i: int) -> tuple[Any, ...]:
        mention = window["mentions"][found[i]["mention"]]
        return mention["head"], mention["first"], mention["last"], mention["entity"]

    return found, sorted(range(len(found)), key=key)


def oracle(window: DocumentWindow) -> tuple[np.ndarray, list[int]]:
    """Where each head word has to look, one-hot `[word, word]`, and the instances that can be right all at once.

    An instance is left out if it shares its head word with others and no word is right for all of them.
    """
    found, order = in_order(plain(window))
    weights, possible = np.zeros((len(window), len(window))), []
    for place, i in enumerate(order):
        together = set.intersection(*(other["answers"] for other in found if other["head"] == found[i]["head"]))
        if together:
            weights[found[i]["head"], max(together)] = 1
            possible.append(place)
    return weights, possible


# Scores made of bits.


def scored(
    hits: Any,
    document: Sequence[int],
    *,
    kinds: Any = 0,
    baselines: Any = 0,
    names: Sequence[str | None] | None = None,
    shape: tuple[int, int, int] = (1, 1, 2),
    modes: Any = None,
    tallies: Any = None,
    **options: Any,
) -> CoreferenceScores:
    """Scores from what is right, bool `[mention, cell]`, in each mode, or `modes`, bool `[mode, mention, cell]`.

    `kinds` numbers the types, `baselines` is bool `[mention, 3]`; each mention has one answer among 8, 4, 2 and 5.
    """
    n = len(document)
    bits = np.stack([hits] * len(CANDIDATES)) if modes is None else np.asarray(modes)
    count = max(document, default=-1) + 1 if names is None else len(names)
    return CoreferenceScores(
        tuple(range(shape[1])),
        tuple(range(shape[2])),
        ("from_mention", "to_mention")[: shape[0]],
        np.packbits(bits.astype(bool).reshape(len(CANDIDATES), n, int(np.prod(shape))), axis=-1),
        CoreferenceBaselines(
            tuple(f"d{i}" for i in range(count)) if names is None else tuple(names),
            np.asarray(document),
            np.broadcast_to(np.asarray(kinds), n),
            np.arange(n) + 5,
            np.arange(n) + 6,
            np.arange(n) + 5,
            np.ones(n),
            np.tile([8, 4, 2, 5], (n, 1)),
            np.broadcast_to(np.asarray(baselines, dtype=bool), (n, 3)),
            np.tile([1, 9, 0, 0, 0], (count, 1)) if tallies is None else tallies,
        ),
        **options,
    )


def every_case(scores: CoreferenceScores) -> list[tuple[Any, ...]]:
    """What is known of each mention, in an order that does not depend on that of the windows."""
    b = scores.baselines
    rows = zip(
        b.document,
        b.start,
        b.end,
        b.head_word,
        b.type,
        b.answers,
        b.candidates.tolist(),
        b.found.tolist(),
        scores.hits.transpose(1, 0, 2).tolist(),
        strict=True,
    )
    return sorted(
        (str(b.documents[row[0]]), *map(int, row[1:6]), str(row[6]), str(row[7]), str(row[8])) for row in rows
    )


def kind_names(scores: CoreferenceScores) -> list[str]:
    """The type of each mention."""
    return [MENTION_TYPES[kind] for kind in scores.baselines.type]
