"""Laws of the probes of governors, on random maps, words and weights (methods A.9 and G)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bertattn import AttentionTensor, DocumentWindow, Sentence, alignment
from bertattn.probes import AttentionProbe, AttentionWordsProbe, DistanceWordsProbe, _training, prepare
from probes_zoo import WEIGHTS, random_map, sentence, sentences_of, slow_log_proba, vectors_of, with_weights
from reference import probes as slow

VECTORS = vectors_of(np.random.default_rng(0))
seeds = st.integers(0, 2**32 - 1)
attention_options = {
    "root": st.sampled_from(["weights", "special", "constant"]),
    "features": st.sampled_from(["attention", "sqrt"]),
}
probes = st.one_of(
    st.builds(AttentionProbe, **attention_options),
    st.builds(
        AttentionWordsProbe,
        st.just(VECTORS),
        bias=st.booleans(),
        **attention_options,
        root_vector=st.sampled_from(["aligned", "released"]),
    ),
    st.builds(DistanceWordsProbe, st.just(VECTORS), root_vector=st.sampled_from(["aligned", "released"])),
)


@st.composite
def streams(draw: Any, *, min_sentences: int = 1) -> list[AttentionTensor]:
    """Maps of words or of tokens, of sentences or of windows, all with the same special tokens."""
    rng = np.random.default_rng(draw(seeds))
    frame = draw(st.sampled_from([("cls", "sep"), ("bos", "eos"), ("bos", None)]))
    shape = {"layers": draw(st.integers(1, 2)), "heads": draw(st.integers(1, 3))}
    out = []
    for size in draw(st.lists(st.integers(1, 6), min_size=min_sentences, max_size=5)):
        gold: Sentence | DocumentWindow = sentence(rng, size, unknown=0.1)
        if draw(st.integers(0, 3)) == 0:
            gold = DocumentWindow([gold, sentence(rng, draw(st.integers(1, 3)))])
        pieces = rng.integers(1, 3, len(gold)).tolist() if draw(st.booleans()) else None
        out.append(random_map(rng, gold, pieces=pieces, start=frame[0], end=frame[1], **shape))
    return out


def prepared(probe: Any, stream: list[AttentionTensor], seed: int) -> Any:
    """The maps and the probe, with random weights."""
    # A governor that is known, since nothing is fitted on none.
    words = sentences_of(stream)[0].words
    known = stream[0].replace(annotation=None)
    if isinstance(stream[0].annotation, Sentence):
        first = Sentence(words, governors=[0, *[1] * (len(words) - 1)])
        stream[0] = known.replace(annotation=first)
    return prepare(stream, dtype="float32"), with_weights(probe, stream, np.random.default_rng(seed))


def same(a: Any, b: Any, *, atol: float = 1e-5) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=atol)


@given(probes, streams(), seeds)
def test_as_the_slow_reference(probe: Any, stream: list[AttentionTensor], seed: int) -> None:
    data, probe = prepared(probe, stream, seed)
    expected = slow_log_proba(probe, stream)
    found = probe.predict_log_proba(data)
    same(found, expected, atol=5e-5)
    for governors, table in zip(probe.predict(data), expected, strict=True):
        best = np.take_along_axis(table, np.array(governors)[:, None], 1)[:, 0]
        assert (best >= table.max(1) - 1e-4).all()


@given(probes, streams(), seeds)
def test_every_word_has_a_distribution(probe: Any, stream: list[AttentionTensor], seed: int) -> None:
    data, probe = prepared(probe, stream, seed)
    tables, trees = probe.predict_log_proba(data), sentences_of(stream)
    assert [table.shape for table in tables] == [(len(tree), len(tree) + 1) for tree in trees]
    for table, governors in zip(tables, probe.predict(data), strict=True):
        assert (table <= 0).all()
        np.testing.assert_allclose(np.exp(table).sum(1), 1, atol=1e-12)
        assert slow.predict(table.tolist()) == list(governors)
    assert all(governors.count(0) == 1 for governors in probe.set_params(decoding="tree").predict(data))


@given(probes, streams(min_sentences=2), seeds, st.permutations(range(10)))
def test_the_order_of_sentences_plays_no_part(
    probe: Any, stream: list[AttentionTensor], seed: int, order: list[int]
) -> None:
    data, probe = prepared(probe, stream, seed)
    order = [i for i in order if i < len(data)]
    tables, moved = probe.predict_log_proba(data), probe.predict_log_proba(data.select(order))
    same(moved, [tables[i] for i in order])
    scores = probe.evaluate(data.select(order))
    assert (scores.correct(), scores.count()) == (probe.evaluate(data).correct(), probe.evaluate(data).count())


@given(probes, streams(min_sentences=2), seeds)
def test_a_sentence_alone_and_padded_in_a_batch(probe: Any, stream: list[AttentionTensor], seed: int) -> None:
    data, probe = prepared(probe, stream, seed)
    together = probe.predict_log_proba(data)
    same([probe.predict_log_proba(data.select([i]))[0] for i in range(len(data))], together)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_training, "PART", 1)
        same(probe.predict_log_proba(data), together)


def of_attention(words: bool, **options: Any) -> Any:
    return AttentionWordsProbe(VECTORS, bias=True, **options) if words else AttentionProbe(**options)


@given(streams(), seeds, st.booleans(), st.sampled_from(["weights", "special"]))
def test_heads_and_their_weights_in_another_order(
    stream: list[AttentionTensor], seed: int, words: bool, root: str
) -> None:
    probe = of_attention(words, root=root)
    data, probe = prepared(probe, stream, seed)
    expected = probe.predict_log_proba(data)
    layers, heads = stream[0].shape[:2]
    order = np.random.default_rng(seed).permutation(layers * heads)
    moved = []
    for a in stream:
        flat = a.numpy().reshape(1, layers * heads, *a.shape[2:])
        moved.append(a.replace(weights=flat[:, order].reshape(a.shape)))
    both = np.concatenate([order, order + layers * heads])
    if words:
        probe.weight_, probe.bias_ = probe.weight_[both], probe.bias_[both]
    else:
        probe.weight_ = probe.weight_[:, order]
    if root == "weights":
        probe.root_ = probe.root_[np.concatenate([order + block * layers * heads for block in range(4)])]
    same(probe.predict_log_proba(prepare(moved, dtype="float32")), expected)


@given(streams(), seeds, st.booleans(), st.sampled_from(["weights", "special"]))
def test_attention_read_backwards_is_the_other_direction(
    stream: list[AttentionTensor], seed: int, words: bool, root: str
) -> None:
    """Maps transposed, and w and u exchanged, give the same scores: each map is read from and to the dependent."""
    probe = of_attention(words, root=root)
    stream = [a for a in stream if a.unit == "word"]  # merging sums keys and averages queries
    assume(stream)
    data, probe = prepared(probe, stream, seed)
    expected = probe.predict_log_proba(data)
    turned = [
        a.replace(weights=np.swapaxes(a.numpy(), -1, -2), normalized=False, measure="transposed attention")
        for a in stream
    ]
    heads = np.prod(stream[0].shape[:2])
    if words:
        probe.weight_, probe.bias_ = np.roll(probe.weight_, heads, 0), np.roll(probe.bias_, heads)
    else:
        probe.weight_ = probe.weight_[::-1]
    if root == "weights":
        probe.root_ = np.roll(probe.root_, 2 * heads, 0)
    same(probe.predict_log_proba(prepare(turned, dtype="float32")), expected)


@given(streams(), seeds, st.booleans())
def test_two_numbers_for_the_root_are_weights_of_its_own(stream: list[AttentionTensor], seed: int, words: bool) -> None:
    """What the released code gives the root, a and b times the weights of words, root="weights" can say too."""
    data, probe = prepared(of_attention(words, root="special"), stream, seed)
    expected = probe.predict_log_proba(data)
    general = with_weights(of_attention(words), stream, np.random.default_rng(seed))
    start, end = probe.root_
    if words:  # the root's vector is zero, so that its weights are those of the dependent, and the bias
        of_dependent = np.hstack([probe.weight_[:, : VECTORS.dimension], probe.bias_[:, None]])
        from_dependent, to_dependent = np.split(of_dependent, 2)
        general.weight_, general.bias_ = probe.weight_, probe.bias_
    else:
        from_dependent, to_dependent = general.weight_ = probe.weight_
    weights = [start * from_dependent, end * from_dependent, start * to_dependent, end * to_dependent]
    general.root_ = np.concatenate(weights)
    same(general.predict_log_proba(data), expected)


@given(streams(), seeds, st.booleans(), st.sampled_from(["weights", "special", "constant"]))
def test_square_roots_are_a_probe_of_square_roots(
    stream: list[AttentionTensor], seed: int, words: bool, root: str
) -> None:
    stream = list(map(alignment.merge_subwords, stream))
    data, probe = prepared(of_attention(words, root=root, features="sqrt"), stream, seed)
    expected = probe.predict_log_proba(data)
    rooted = [a.replace(weights=np.sqrt(a.numpy()), normalized=False, measure="square root") for a in stream]
    probe.set_params(features="attention")
    probe.parameters_ = probe._of_scores()  # else such a change is refused
    same(probe.predict_log_proba(prepare(rooted, dtype="float32")), expected)


@given(streams(), seeds, st.floats(0.25, 4))
def test_scores_are_linear_in_attention(stream: list[AttentionTensor], seed: int, factor: float) -> None:
    """Attention times a factor, and the weights divided by it."""
    data, probe = prepared(AttentionProbe(), stream, seed)
    expected = probe.predict_log_proba(data)
    scaled = [a.replace(weights=a.numpy() * np.float32(factor), normalized=False, measure="scaled") for a in stream]
    probe.weight_, probe.root_ = probe.weight_ / np.float32(factor), probe.root_ / np.float32(factor)
    same(probe.predict_log_proba(prepare(scaled, dtype="float32")), expected, atol=1e-4)


@given(streams(), seeds, st.floats(-5, 5))
def test_a_constant_on_every_candidate_changes_nothing(
    stream: list[AttentionTensor], seed: int, constant: float
) -> None:
    """One head is 1 everywhere, which adds its weights to the score of every word; that of the root gets as much."""
    probe = prepared(AttentionProbe(root="constant"), stream, seed)[1]
    flat, without = [], []
    for a in stream:
        weights = np.array(a.numpy())
        weights[0, 0] = 0
        without.append(a.replace(weights=weights.copy(), normalized=False, measure="weight"))
        entries = a.queries.word_ids
        weights[0, 0] = [
            0 if entry is None else 1 / entries.count(entry) for entry in entries
        ]  # 1 over a word's tokens
        flat.append(a.replace(weights=weights, normalized=False, measure="weight"))
    expected = probe.predict_log_proba(prepare(without, dtype="float32"))
    probe.weight_[:, 0] = constant, constant / 2
    probe.root_ = probe.root_ + np.float32(1.5 * constant)
    same(probe.predict_log_proba(prepare(flat, dtype="float32")), expected, atol=5e-5)


@given(probes, streams(), seeds)
def test_without_weights_or_attention_all_candidates_are_alike(
    probe: Any, stream: list[AttentionTensor], seed: int
) -> None:
    data, probe = prepared(probe, stream, seed)
    uniform = [np.full((len(tree), len(tree) + 1), -np.log(len(tree) + 1)) for tree in data.sentences]
    if isinstance(probe, AttentionProbe | AttentionWordsProbe) and probe.root != "constant":
        zeros = [a.replace(weights=np.zeros_like(a.numpy()), normalized=False, measure="none") for a in stream]
        same(probe.predict_log_proba(prepare(zeros)), uniform, atol=1e-12)
    for name in WEIGHTS:
        if getattr(probe, name, None) is not None:
            setattr(probe, name, np.zeros_like(getattr(probe, name)))
    same(probe.predict_log_proba(data), uniform, atol=1e-12)
    assert set(probe.predict(data)) == {(0,) * len(tree) for tree in data.sentences}  # of equals the root is first


@given(streams(), seeds)
def test_words_without_vectors_take_the_bias_alone(stream: list[AttentionTensor], seed: int) -> None:
    """Where no word is known, M plays no part, and the bias is a probe of attention."""
    unknown = [_renamed(a) for a in stream]
    data, probe = prepared(AttentionWordsProbe(VECTORS, bias=True), unknown, seed)
    alone = with_weights(AttentionProbe(), unknown, np.random.default_rng(seed))
    alone.weight_, alone.root_ = probe.bias_.reshape(2, -1), probe.root_[:, -1]
    same(probe.predict_log_proba(data), alone.predict_log_proba(data))


def _renamed(attention: AttentionTensor) -> AttentionTensor:
    """The same map of words that no vectors know."""

    def tree(gold: Sentence) -> Sentence:
        return Sentence(["zzz"] * len(gold), governors=[0, *[1] * (len(gold) - 1)])

    gold = attention.annotation
    renamed = DocumentWindow(list(map(tree, gold.sentences))) if isinstance(gold, DocumentWindow) else tree(gold)
    axis = dataclasses.replace(attention.queries, words=renamed.words)
    return AttentionTensor(attention.numpy(), axis, annotation=renamed)


@given(seeds, st.integers(1, 7))
def test_the_reference_knows_its_gradients(seed: int, words: int) -> None:
    """Those written by hand against finite differences, so that two mistakes would have to agree."""
    rng = np.random.default_rng(seed)
    maps = rng.dirichlet(np.ones(words + 2), size=(2, words + 2))
    gold = [None if rng.random() < 0.2 else int(rng.integers(0, words + 1)) for _ in range(words)]
    kind = rng.choice(["constant", "special", "weights"])
    root = rng.standard_normal({"constant": 1, "special": 2, "weights": 8}[kind])
    attention = {"from_dependent": rng.standard_normal(2), "to_dependent": rng.standard_normal(2), "root": root}
    found = slow.attention_gradient(attention, maps, gold)
    for name, slopes in slow.finite_differences(
        lambda p: slow.loss(slow.attention_scores(p, maps), gold), attention
    ).items():
        np.testing.assert_allclose(found[name], slopes, atol=1e-7)
    if words > 3:
        return
    vectors, misaligned = rng.standard_normal((words, 2)).tolist(), bool(rng.integers(2))
    pairs = {"weight": rng.standard_normal((4, 4)), "root": root}
    if rng.random() < 0.5:
        pairs["bias"] = rng.standard_normal(4)
    if kind == "weights":
        pairs["root"] = rng.standard_normal((8, 2 + ("bias" in pairs)))
    found = slow.words_gradient(pairs, maps, vectors, gold, misaligned)
    for name, slopes in slow.finite_differences(
        lambda p: slow.loss(slow.words_scores(p, maps, vectors, misaligned), gold), pairs
    ).items():
        np.testing.assert_allclose(found[name], slopes, atol=1e-7)
