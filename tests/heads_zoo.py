"""Maps with gold trees: random ones of every kind for Hypothesis, and small hand-made ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from bertattn import AttentionTensor, Axis, DocumentWindow, Sentence

WORDS = ("dog", "'s", "s'", "'", "’S", "of", ".", "tail")
RELATIONS = ("nsubj", "obj", "nmod", "nmod:poss", "poss", "possessive", "case", "punct", "punct:final", "root", None)
STYLES = ("random", "ties", "signed", "zeros", "undefined")


def mapped(weights: Any, tree: Sentence | DocumentWindow, **options: Any) -> AttentionTensor:
    """`[layer, head, word, word]`, or of one head, with its tree."""
    w = np.asarray(weights, dtype=np.float64)
    w = w.reshape(*(1,) * (4 - w.ndim), *w.shape)
    axis = Axis(tree.words, word_ids=range(len(tree)), words=tree.words, unit="word")
    return AttentionTensor(w, axis, annotation=tree, normalized=False, measure="weight", **options)


def one_hot(targets: Any) -> np.ndarray:
    """A head whose word i attends to word targets[i] (from 0) only; to nothing where that is None."""
    out = np.zeros((len(targets), len(targets)))
    for i, j in enumerate(targets):
        if j is not None:
            out[i, j] = 1
    return out


@st.composite
def sentences(draw: Any, *, min_words: int = 1, max_words: int = 6) -> Sentence:
    n = draw(st.integers(min_words, max_words))
    words = draw(st.lists(st.sampled_from(WORDS), min_size=n, max_size=n))
    governors = [draw(st.sampled_from([g for g in (None, *range(n + 1)) if g != i + 1])) for i in range(n)]
    relations = draw(st.lists(st.sampled_from(RELATIONS), min_size=n, max_size=n))
    return Sentence(
        words,
        governors=governors if draw(st.integers(0, 9)) else None,
        relations=relations if draw(st.integers(0, 9)) else None,
        id=draw(st.sampled_from(("a", "b", None))),
        document=draw(st.sampled_from(("d", "e"))),
    )


@st.composite
def tokenized(draw: Any, *, layers: int = 2, heads: int = 2, styles: Any = STYLES, shared: bool = True) -> Any:
    """Maps of tokens, in a frame of special tokens or none, with a tree; `shared` tokens may span two words."""
    gold = draw(sentences())
    frame = draw(st.booleans())
    word_ids: list[Any] = []
    word = 0
    while word < len(gold):
        if shared and word + 1 < len(gold) and not draw(st.integers(0, 7)):
            word_ids.append((word, word + 1))
            word += 2
        else:
            word_ids += [word] * draw(st.integers(1, 2))
            word += 1
    if frame:
        word_ids = [None, *word_ids, None]
    roles = [None if entry is not None else "cls" if i == 0 else "sep" for i, entry in enumerate(word_ids)]
    axis = Axis(
        [f"t{i}" if role is None else f"[{role.upper()}]" for i, role in enumerate(roles)],
        roles=roles,
        word_ids=word_ids,
        words=gold.words,
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (layers, heads, len(axis), len(axis))
    style = draw(st.sampled_from(styles))
    if style in ("ties", "zeros"):  # sums and means of halves are exact, whatever their order
        weights = rng.integers(0, 3, shape).astype(float)
        if style == "zeros":
            weights *= rng.random(shape[:3])[..., None] < 0.4
    else:
        weights = rng.standard_normal(shape) if style == "signed" else rng.random(shape)
    if style == "undefined":
        weights[rng.random(shape[:3]) < 0.4] = np.nan
    return AttentionTensor(weights, axis, annotation=gold, normalized=False, measure="weight")


def corpora(**options: Any) -> Any:
    return st.lists(tokenized(**options), min_size=1, max_size=4)


def plain(attention: AttentionTensor) -> tuple[Any, ...]:
    """What the slow reference takes: maps of words as lists, words, governors, relations."""
    from reference import dependency

    axis, gold = attention.queries, attention.annotation
    maps = [
        [dependency.words_of(head.tolist(), axis.word_ids, axis.special.tolist()) for head in layer]
        for layer in attention.numpy()
    ]
    return maps, gold.words, gold.governors, gold.relations
