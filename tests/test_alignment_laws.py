"""Laws that merging and dropping keep for any map, and their agreement with loops written from the formulas."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertattn import AttentionTensor, Axis
from bertattn.alignment import drop_special, merge_subwords, word_ids_from_offsets, words_of_text
from reference import alignment as reference

MODES = ("mean", "first", "max")


@st.composite
def axes(draw, *, most=9, spanning=True) -> Axis:
    """Words of one to three tokens between special tokens; some tokens span this word and the next."""
    entries: list[int | tuple[int, ...] | None] = []
    roles: list[str | None] = []
    words = draw(st.integers(1, most // 3 + 1))
    for word in range(words):
        if draw(st.booleans()):
            entries.append(None)
            roles.append(draw(st.sampled_from(["cls", "sep", "eos"])))
        for _ in range(draw(st.integers(1, 3))):
            entries.append(word)
            roles.append(None)
        if spanning and word + 1 < words and draw(st.booleans()):
            entries.append((word, word + 1))
            roles.append(None)
    tokens = [f"t{i}" for i in range(len(entries))]
    return Axis(tokens, roles=roles, word_ids=entries, words=[f"w{i}" for i in range(words)])


@st.composite
def maps(draw, *, spanning=True, cross=False, empty=False) -> AttentionTensor:
    queries = draw(axes(spanning=spanning))
    keys = draw(axes(spanning=spanning)) if cross else queries
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = rng.dirichlet(np.full(len(keys), draw(st.sampled_from([0.1, 1.0, 10.0]))), size=(2, 3, len(queries)))
    if empty:
        weights[rng.random(weights.shape[:3]) < 0.3] = np.nan
    weights.flags.writeable = False
    return AttentionTensor(weights, queries, keys)


@given(maps(cross=True, empty=True), st.sampled_from(MODES))
def test_merging_agrees_with_loops(a, mode):
    merged = merge_subwords(a, queries=mode)
    for layer in range(2):
        for head in range(3):
            expected = reference.merge(a.weights[layer, head], a.queries.word_ids, a.keys.word_ids, mode)
            np.testing.assert_allclose(merged.weights[layer, head], expected, atol=1e-12)
    assert [word for word, _ in reference.units(a.queries.word_ids)] == list(merged.queries.word_ids)


@given(maps(cross=True), st.sampled_from(MODES))
def test_rows_still_sum_to_one(a, mode):
    merged = merge_subwords(a, queries=mode)
    np.testing.assert_allclose(merged.weights.sum(-1), 1, atol=1e-12)
    merged.replace()  # the public constructor agrees


@given(maps(empty=True), st.sampled_from(MODES))
def test_numpy_and_torch_agree_and_the_input_is_unchanged(a, mode):
    before = a.weights.copy()
    tensor = torch.tensor(before)
    b = a.replace(weights=tensor)
    np.testing.assert_allclose(
        merge_subwords(b, queries=mode).numpy(), merge_subwords(a, queries=mode).numpy(), atol=1e-12
    )
    if not a.queries.special.all():
        np.testing.assert_allclose(drop_special(b).numpy(), drop_special(a).numpy(), atol=1e-12)
    np.testing.assert_array_equal(a.weights, before)
    np.testing.assert_array_equal(tensor.numpy(), before)


@given(maps(empty=True), st.sampled_from(MODES))
def test_unsplit_words_change_nothing(a, mode):
    singles = Axis(a.queries.tokens, word_ids=range(len(a.queries)))
    merged = merge_subwords(a.replace(queries=singles, keys=singles), queries=mode)
    np.testing.assert_array_equal(merged.weights, a.weights)


@given(maps(), st.floats(-3, 3), st.sampled_from(["mean", "first"]))
def test_mean_and_first_are_linear(a, factor, mode):
    other = np.random.default_rng(0).normal(size=a.weights.shape)
    signed = a.replace(normalized=False)
    combined = merge_subwords(signed.replace(weights=factor * a.weights + other), queries=mode).weights
    parts = factor * merge_subwords(signed, queries=mode).weights
    parts = parts + merge_subwords(signed.replace(weights=other), queries=mode).weights
    np.testing.assert_allclose(combined, parts, atol=1e-10)


@given(maps(spanning=False), st.sampled_from(MODES), st.randoms(use_true_random=False))
def test_permuting_words_permutes_the_result(a, mode, random):
    """Whole words change places, their tokens keeping their order."""
    units = [tokens for _, tokens in reference.units(a.queries.word_ids)]
    order = list(range(len(units)))
    random.shuffle(order)
    tokens = [token for unit in order for token in units[unit]]
    axis = Axis(
        [a.queries.tokens[t] for t in tokens], word_ids=[a.queries.word_ids[t] for t in tokens], words=a.queries.words
    )
    moved = AttentionTensor(a.weights[:, :, tokens][..., tokens], axis)
    expected = merge_subwords(a, queries=mode).weights[:, :, order][..., order]
    np.testing.assert_allclose(merge_subwords(moved, queries=mode).weights, expected, atol=1e-12)


@given(maps(empty=True), st.sampled_from(MODES), st.permutations(range(3)))
def test_relabelling_heads_relabels_the_result(a, mode, order):
    moved = merge_subwords(a.select(heads=order), queries=mode)
    np.testing.assert_array_equal(moved.weights, merge_subwords(a, queries=mode).weights[:, list(order)])


@given(maps(cross=True, empty=True), st.booleans())
def test_dropping_agrees_with_loops(a, renormalize):
    if a.queries.special.all() or a.keys.special.all():
        return
    dropped = drop_special(a, renormalize=renormalize)
    special = a.keys.special
    expected = reference.drop(a.weights[1, 2], a.queries.special, special, renormalize and special.any())
    np.testing.assert_allclose(dropped.weights[1, 2], expected, atol=1e-12)
    assert dropped.normalized == (renormalize or not special.any())
    if dropped.normalized:
        sums = dropped.weights.sum(-1)
        np.testing.assert_allclose(sums[~dropped.empty_rows], 1, atol=1e-12)


TEXTS = st.text(st.sampled_from("ab-'’,. \n\té\u0301\u200b🙂東"), max_size=25)


@st.composite
def tokenized(draw) -> tuple[str, list[tuple[int, int] | None]]:
    """A text cut into tokens at any places, some characters lost, special tokens around."""
    text = draw(TEXTS)
    cuts = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=12))})
    spans = [(s, e) for s, e in pairwise(cuts) if draw(st.integers(0, 5))]
    return text, [None, *spans, None]


@given(tokenized())
def test_words_of_any_text(case):
    text, offsets = case
    words, word_ids = words_of_text(text, offsets)
    numbers = [w for w in word_ids if w is not None]
    assert all(isinstance(w, int) for w in numbers), "no token crosses a word"
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(len(words))), "each word has a token"
    position = 0
    for word in words:
        position = text.index(word, position) + len(word)
        assert word == word.strip()


@given(tokenized(), st.randoms(use_true_random=False))
def test_word_ids_agree_with_loops(case, random):
    text, offsets = case
    spans = []
    for start in range(0, len(text), 3):
        piece = (start, min(len(text), start + random.randint(1, 3)))
        if text[slice(*piece)].strip() == text[slice(*piece)] != "":
            spans.append(piece)
    assert word_ids_from_offsets(offsets, spans) == reference.word_ids(offsets, spans, text)


@pytest.mark.parametrize("mode", MODES)
def test_one_word_and_one_token(mode):
    a = AttentionTensor(np.ones((1, 1, 1, 1)), Axis(["a"], word_ids=[0]))
    np.testing.assert_array_equal(merge_subwords(a, queries=mode).weights, 1)
