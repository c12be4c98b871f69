"""The structural probe: its numbers by plain loops, the laws of methods A.10, planted trees, and real sentences."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

import model_zoo
from bertattn import Axis, Extractor, demo
from bertattn.annotation import DocumentWindow, Sentence
from bertattn.errors import (
    AlignmentError,
    BertattnError,
    InputError,
    SelectionError,
    StorageError,
    TooLongError,
    ValidationError,
)
from bertattn.extract import HiddenStates
from bertattn.probes import PUNCTUATION, StructuralProbe, StructuralScores, score_structure, tree_distances
from bertattn.probes.structural import _PaddedSentences, _structural_loss
from bertattn.readers import read_conllu
from bertattn.tensor import Source
from reference import structural as slow

TAGS = ("NN", "VB", *PUNCTUATION)


def random_tree(rng: np.random.Generator, n: int) -> tuple[int, ...]:
    """Each word of a random order hangs on one before it."""
    order = rng.permutation(n)
    governors = [0] * n
    for place, word in enumerate(order[1:], 1):
        governors[word] = int(order[rng.integers(place)]) + 1
    return tuple(governors)


def random_sentence(rng: np.random.Generator, n: int) -> Sentence:
    tags = [TAGS[i] for i in rng.integers(len(TAGS), size=n)]
    return Sentence([f"w{i}" for i in range(n)], governors=random_tree(rng, n), xpos=tags)


def embedded(rng: np.random.Generator, sentence: Sentence, dimension: int) -> np.ndarray:
    """Vectors whose squared distances are those in the tree: the root is 0, each other word is its governor's vector
    and a direction of its own. Their squared lengths are the depths."""
    vectors = np.zeros((len(sentence), dimension), dtype=np.float32)
    directions = iter(rng.permutation(dimension))
    for word in np.argsort(slow.depths(sentence.governors), kind="stable"):
        governor = sentence.governors[word]
        if governor:
            vectors[word] = vectors[governor - 1]
            vectors[word, next(directions)] += 1
    return vectors


def planted(seed: int, count: int, *, noise: int = 0) -> list[tuple[np.ndarray, Sentence]]:
    """Trees in 16 dimensions, turned, beside `noise` others that say nothing."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(99).standard_normal((16 + noise, 16 + noise)))[0]
    pairs = []
    for _ in range(count):
        sentence = random_sentence(rng, int(rng.integers(1, 12)))
        vectors = np.hstack([embedded(rng, sentence, 16), rng.standard_normal((len(sentence), noise))])
        pairs.append(((vectors @ turn).astype(np.float32), sentence))
    return pairs


@st.composite
def corpora(draw: st.DrawFn, most: int = 9) -> tuple[np.random.Generator, list[Sentence]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng, [random_sentence(rng, n) for n in draw(st.lists(st.integers(1, most), min_size=1, max_size=6))]


def guesses(rng: np.random.Generator, sentence: Sentence, task: str) -> np.ndarray:
    """A few different numbers, so that many are equal."""
    n = len(sentence)
    table = rng.integers(0, 4, (n, n) if task == "distance" else n).astype(float)
    return table if task == "depth" else np.triu(table, 1) + np.triu(table, 1).T


def padded(pairs: list[tuple[np.ndarray, Sentence]], task: str, dtype: torch.dtype) -> _PaddedSentences:
    examples = []
    for vectors, sentence in pairs:
        gold = slow.tree_distances(sentence.governors) if task == "distance" else slow.depths(sentence.governors)
        examples.append((torch.tensor(vectors, dtype=dtype), torch.tensor(gold, dtype=dtype)))
    return _PaddedSentences.of(examples, torch.zeros(1, dtype=dtype))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Matrices are so small here that threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


TASKS = pytest.mark.parametrize("task", ["distance", "depth"])


# The tree -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(1, 15))
def test_distances_in_the_tree_are_those_of_a_walk(seed: int, n: int) -> None:
    governors = random_tree(np.random.default_rng(seed), n)
    distances = tree_distances(governors)
    assert distances.tolist() == slow.tree_distances(governors)
    assert distances[governors.index(0)].tolist() == slow.depths(governors)


@pytest.mark.parametrize(
    ("governors", "message"),
    [
        ((2, None, None), "2 of the 3 words have no governor"),
        ((2, 1), "0 of the 2 words are the root, but a tree has one"),
        ((0, 0, 1), "2 of the 3 words are the root"),
        ((0, 3, 2), "2 of the 3 words hang on one another in a circle"),
        ((0, 2), "1 of the 2 words hang on one another in a circle"),
        ((0, 3), "numbers from 0, the root, to 2, the last word, but are"),
        ((0, -1), "numbers from 0"),
        ((0, 1.5), "numbers from 0"),
    ],
)
def test_what_is_no_tree_is_said(governors: tuple, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tree_distances(governors)


# Scores ---------------------------------------------------------------------------------------------------------------


@TASKS
@given(corpora())
def test_scores_equal_the_plain_loops(task: str, corpus: tuple[np.random.Generator, list[Sentence]]) -> None:
    rng, sentences = corpus
    predicted = [guesses(rng, sentence, task) for sentence in sentences]
    scores = score_structure(sentences, predicted, task=task)
    count = slow.uuas_counts if task == "distance" else slow.root_counts
    expected = [count(p.tolist(), s.governors, s.xpos) for p, s in zip(predicted, sentences, strict=True)]
    assert list(zip(scores.correct, scores.total, strict=True)) == expected
    both = [(p.tolist(), s.governors) for p, s in zip(predicted, sentences, strict=True)]
    mean, undefined = slow.mean_spearman(both, task)
    assert scores.spearman() == pytest.approx(mean, nan_ok=True)
    assert sum(scores.undefined) == undefined
    assert scores.spearman(shortest=2, longest=4) == pytest.approx(slow.mean_spearman(both, task, 2, 4)[0], nan_ok=True)
    if task == "distance":
        tree = score_structure(sentences, predicted, gold_edges="tree")
        expected = [
            slow.uuas_counts(p.tolist(), s.governors, s.xpos, tree_only=True)
            for p, s in zip(predicted, sentences, strict=True)
        ]
        assert list(zip(tree.correct, tree.total, strict=True)) == expected


@given(corpora())
def test_the_gold_distances_have_it_all_right(corpus: tuple[np.random.Generator, list[Sentence]]) -> None:
    """And any increasing function of them; there is one edge less than there are words left."""
    _, sentences = corpus
    gold = [np.sqrt(slow.tree_distances(s.governors)) for s in sentences]
    for options in ({}, {"gold_edges": "tree"}, {"punct": "include"}):
        scores = score_structure(sentences, gold, **options)
        assert scores.correct == scores.total
    assert scores.total == tuple(len(s) - 1 for s in sentences)
    assert scores.accuracy == 1 or not sum(scores.total)
    assert all(r == pytest.approx(n) for r, n in zip(scores.correlations, scores.defined, strict=True))
    roots = score_structure(sentences, [slow.depths(s.governors) for s in sentences], task="depth", punct="include")
    assert roots.accuracy == 1


def test_words_under_punctuation_get_an_edge_unless_only_those_of_the_tree_count() -> None:
    sentence = Sentence(["a", ",", "b", "c"], governors=(2, 0, 2, 3), xpos=["NN", ",", "NN", "NN"])
    near = slow.tree_distances(sentence.governors)
    spanning = score_structure([sentence], [near])
    assert (spanning.correct, spanning.total) == ((2,), (2,))  # a-b, which are two steps apart, and b-c
    tree = score_structure([sentence], [near], gold_edges="tree")
    assert (tree.correct, tree.total) == ((1,), (1,))  # b-c
    everything = score_structure([sentence], [near], punct="include")
    assert everything.total == (3,)


def test_punctuation_by_upos_and_what_is_missing_is_said() -> None:
    sentence = Sentence(["a", ",", "b"], governors=(0, 1, 1), upos=["NOUN", "PUNCT", "NOUN"], id="s1")
    near = slow.tree_distances(sentence.governors)
    assert score_structure([sentence], [near], punct="upos").total == (1,)
    with pytest.raises(ValidationError, match=r"sentence 's1' has no xpos.*punct='upos' or punct='include'"):
        score_structure([sentence], [near])
    with pytest.raises(ValidationError, match=r"'a' has no upos.*punct='xpos'"):
        score_structure([Sentence(["a"], governors=[0])], [[[0.0]]], punct="upos")


def test_predictions_for_more_sentences_than_there_are_are_refused() -> None:
    tree = Sentence(["a", "b"], governors=(0, 1))
    near = slow.tree_distances(tree.governors)
    with pytest.raises(ValidationError, match=r"^there are predictions for 2 sentences but 1 sentences$"):
        score_structure([tree], [near, near], punct="include")


def test_a_root_that_is_punctuation_is_never_found_and_nothing_but_punctuation_has_no_root() -> None:
    fragment = Sentence(["Hm", "?"], governors=(2, 0), xpos=["UH", "."])
    dots = Sentence(["...", "!"], governors=(0, 1), xpos=[":", "."])
    scores = score_structure([fragment, dots], [[1, 0], [0, 1]], task="depth")
    assert (scores.correct, scores.total) == ((0, 0), (1, 0))
    assert math.isnan(score_structure([dots], [[0, 1]], task="depth").accuracy)


def test_undefined_correlations_are_counted_not_averaged() -> None:
    sentence = Sentence(list("abcdef"), governors=(0, 1, 1, 1, 1, 1))
    distances = np.array(slow.tree_distances(sentence.governors), dtype=float)
    constant = score_structure([sentence] * 2, [distances, np.zeros((6, 6))], punct="include")
    assert constant.spearman() == pytest.approx(1)
    assert (constant.defined, constant.undefined) == ((6, 0), (0, 6))
    one = score_structure([Sentence(["a"], governors=[0])], [[[0.0]]], punct="include")
    assert (one.total, one.defined, one.undefined) == ((0,), (0,), (1,))
    assert math.isnan(one.accuracy)
    assert math.isnan(one.spearman(shortest=1))


def test_every_length_counts_the_same() -> None:
    rng = np.random.default_rng(3)
    sentences = [random_sentence(rng, n) for n in (5, 5, 5, 7)]
    scores = score_structure(sentences, [guesses(rng, s, "distance") for s in sentences])
    by_length = scores.spearman_by_length()
    assert by_length[5] == pytest.approx(sum(scores.correlations[:3]) / sum(scores.defined[:3]))
    assert scores.spearman() == pytest.approx((by_length[5] + by_length[7]) / 2)
    assert scores.spearman(longest=6) == pytest.approx(by_length[5])


def test_sentences_without_a_tree_are_left_out_and_listed() -> None:
    rng = np.random.default_rng(0)
    good, holes, bare = random_sentence(rng, 4), Sentence(["a", "b"], governors=(None, 0)), Sentence(["a"])
    tables = [np.zeros((len(s), len(s))) for s in (holes, good, bare)]
    scores = score_structure([holes, good, bare], tables, punct="include")
    assert scores.skipped == ((0, "1 of the 2 words have no governor"), (2, "1 of the 1 words have no governor"))
    assert scores.lengths == (4,)
    assert "2 skipped" in repr(scores)
    with pytest.raises(ValidationError, match="none of the 2 sentences has a tree; the first: 1 of the 2 words"):
        score_structure([holes, bare], [tables[0], tables[2]])
    other = score_structure([holes], [tables[0]], y=[(2, 0)], punct="include")
    assert (other.total, other.skipped) == ((1,), ())


@pytest.mark.parametrize(
    ("predicted", "options", "message"),
    [
        ([], {}, "predictions for 0 sentences but 1 sentences"),
        ([[0, 1, 2]], {}, r"sentence 0 must be \[3, 3\] finite numbers, but have shape \[3\]"),
        ([np.zeros((3, 3))], {"task": "depth"}, r"must be \[3\] finite numbers"),
        ([np.full((3, 3), np.nan)], {}, "are not all finite"),
        ([np.zeros((3, 3))], {"task": "height"}, "task must be one of 'distance', 'depth'"),
        ([np.zeros((3, 3))], {"punct": "xx"}, "punct must be one of"),
        ([np.zeros((3, 3))], {"gold_edges": "xx"}, "gold_edges must be one of"),
        ([np.zeros((3, 3))], {"y": []}, "y has governors for 0 sentences but there are 1"),
        ([np.zeros((3, 3))], {"y": [(0, 1)]}, "y has 2 governors for the 3 words of sentence 0"),
    ],
)
def test_what_cannot_be_scored_is_refused(predicted: list, options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        score_structure([Sentence(list("abc"), governors=(2, 0, 2), xpos=["NN"] * 3)], predicted, **options)


def some_scores(seed: int = 0, task: str = "distance", count: int = 30) -> StructuralScores:
    rng = np.random.default_rng(seed)
    sentences = [random_sentence(rng, int(n)) for n in rng.integers(1, 12, count)]
    return score_structure(sentences, [guesses(rng, s, task) for s in sentences], task=task)


@TASKS
def test_scores_add_save_and_tabulate(task: str, tmp_path: Path) -> None:
    a, b = some_scores(0, task), some_scores(1, task)
    both = a + b
    assert sum([a, b])._state() == both._state()
    assert both.accuracy == (sum(a.correct) + sum(b.correct)) / (sum(a.total) + sum(b.total))
    assert len(both) == 60
    both.save(tmp_path / "scores.json")
    assert StructuralScores.load(tmp_path / "scores.json")._state() == both._state()
    rows = both.to_records()
    names = ["UUAS", "DSpr"] if task == "distance" else ["root accuracy", "NSpr"]
    assert [row["measure"] for row in rows] == names
    assert [row["value"] for row in rows] == pytest.approx([both.accuracy, both.spearman()])
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    long = [i for i, n in enumerate(both.lengths) if n >= 5]
    assert rows[1]["count"] == sum(both.defined[i] for i in long)
    assert rows[0]["undefined"] == both.total.count(0)
    assert names[0] in repr(both)


@pytest.mark.parametrize(
    "other", [{"punct": "upos"}, {"gold_edges": "tree"}, {"layer": 3}, {"source": Source(model="m")}, {"task": "depth"}]
)
def test_scores_of_different_kinds_do_not_add(other: dict) -> None:
    with pytest.raises(ValidationError, match=f"do not belong together: {next(iter(other))} is"):
        some_scores() + dataclasses.replace(some_scores(), **other)


def test_scores_that_cannot_be_are_refused() -> None:
    scores = some_scores()
    with pytest.raises(ValidationError, match="total has 1 entries but there are 30 sentences"):
        dataclasses.replace(scores, total=(1,))
    with pytest.raises(ValidationError, match="2 of 1 cannot be right"):
        dataclasses.replace(scores, correct=(2,) * 30, total=(1,) * 30)
    for options in ({"level": 1.5}, {"resamples": 0}):
        with pytest.raises(ValidationError, match="a level between 0 and 1 and at least one resample"):
            scores.spearman_interval(**options)
    with pytest.raises(TypeError):
        scores + 1


@TASKS
def test_the_interval_of_the_correlation_recomputes_the_mean_over_lengths(task: str) -> None:
    scores = some_scores(5, task, count=40)
    interval = scores.spearman_interval(resamples=300, seed=7)
    weights = np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40), size=300)
    replicates = []
    for row in weights:
        means = []
        for n in range(5, 51):
            chosen = [i for i in range(40) if scores.lengths[i] == n]
            count = sum(row[i] * scores.defined[i] for i in chosen)
            if count:
                means.append(sum(row[i] * scores.correlations[i] for i in chosen) / count)
        replicates.append(np.mean(means) if means else np.nan)
    assert (float(interval.low), float(interval.high)) == pytest.approx(
        tuple(np.nanquantile(replicates, [0.025, 0.975]))
    )
    assert float(interval.standard_error) == pytest.approx(np.nanstd(replicates, ddof=1))
    assert float(interval.estimate) == scores.spearman()
    assert int(interval.units_with_data) == sum(
        n >= 5 and d > 0 for n, d in zip(scores.lengths, scores.defined, strict=True)
    )
    assert scores.spearman_interval(resamples=300, seed=8).low != interval.low


def test_an_interval_of_one_sentence_is_undefined() -> None:
    sentence = random_sentence(np.random.default_rng(0), 6)
    scores = score_structure([sentence], [slow.tree_distances(sentence.governors)])
    interval = scores.spearman_interval()
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert float(interval.estimate) == pytest.approx(1)


# Loss and gradients ---------------------------------------------------------------------------------------------------


@TASKS
@given(corpora(most=6))
def test_the_loss_of_a_padded_batch_is_the_mean_of_the_plain_loops(
    task: str, corpus: tuple[np.random.Generator, list[Sentence]]
) -> None:
    rng, sentences = corpus
    pairs = [(rng.standard_normal((len(s), 4)), s) for s in sentences]
    b = rng.standard_normal((3, 4))
    loss = float(_structural_loss(torch.tensor(b), padded(pairs, task, torch.float64)))
    plain = [(vectors.tolist(), s.governors) for vectors, s in pairs]
    assert loss == pytest.approx(slow.batch_loss(b.tolist(), plain, task))
    singles = [float(_structural_loss(torch.tensor(b), padded([pair], task, torch.float64))) for pair in pairs]
    assert loss == pytest.approx(sum(singles) / len(singles))


@TASKS
def test_gradients_equal_finite_differences(task: str) -> None:
    rng = np.random.default_rng(1)
    pairs = [(rng.standard_normal((n, 5)), random_sentence(rng, n)) for n in (1, 4, 7)]
    batch = padded(pairs, task, torch.float64)
    b = torch.tensor(rng.standard_normal((3, 5)), requires_grad=True)
    _structural_loss(b, batch).backward()
    step = 1e-6
    for i in range(3):
        for j in range(5):
            up, down = b.detach().clone(), b.detach().clone()
            up[i, j] += step
            down[i, j] -= step
            numeric = (_structural_loss(up, batch) - _structural_loss(down, batch)) / (2 * step)
            assert float(b.grad[i, j]) == pytest.approx(float(numeric), abs=1e-6)


# Training -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned() -> StructuralProbe:
    return StructuralProbe(rank=16, learning_rate=0.02).fit(
        planted(0, 300, noise=4), development=planted(1, 60, noise=4)
    )


def test_planted_trees_are_learned(learned: StructuralProbe) -> None:
    held_out = planted(2, 100, noise=4)
    assert learned.score(held_out, punct="include") > 0.99
    assert learned.evaluate(held_out).spearman() > 0.95
    start = StructuralProbe(rank=16, max_epochs=1, learning_rate=1e-9).fit(planted(0, 20, noise=4))
    assert start.score(held_out, punct="include") < 0.7


def test_planted_depths_are_learned() -> None:
    probe = StructuralProbe(task="depth", rank=16, learning_rate=0.02).fit(planted(0, 300, noise=4))
    scores = probe.evaluate(planted(2, 100, noise=4), punct="include")
    assert scores.accuracy > 0.99
    assert scores.spearman() > 0.9


def test_vectors_that_are_the_tree_need_no_more_than_the_identity() -> None:
    """A projection that turns them back: UUAS = 1 for d = tree distance."""
    pairs = planted(3, 40)
    probe = StructuralProbe(rank=None, max_epochs=1).fit(pairs)
    probe.projection_ = np.eye(16, dtype=np.float32)
    scores = probe.evaluate(pairs, punct="include")
    assert scores.accuracy == 1
    for table, (_, sentence) in zip(probe.predict(pairs), pairs, strict=True):
        assert table == pytest.approx(np.array(slow.tree_distances(sentence.governors)), abs=1e-5)


@given(corpora(), st.integers(1, 6))
def test_laws_of_distances(corpus: tuple[np.random.Generator, list[Sentence]], rank: int) -> None:
    rng, sentences = corpus
    pairs = [(rng.standard_normal((len(s), 4)).astype(np.float32), s) for s in sentences]
    probe = StructuralProbe(rank=rank, max_epochs=1).fit(pairs, development=pairs)
    assert probe.projection_.shape == (rank, 4)
    assert np.linalg.matrix_rank(probe.projection_) <= rank
    turned = copy.deepcopy(probe)
    turned.projection_ = np.linalg.qr(rng.standard_normal((rank, rank)))[0] @ probe.projection_
    for one, other, (vectors, _) in zip(probe.predict(pairs), turned.predict(pairs), pairs, strict=True):
        assert (one == one.T).all()
        assert (np.diag(one) == 0).all()
        assert (one >= 0).all()
        root = np.sqrt(one)
        assert (root[:, :, None] <= root[:, None, :] + root.T[None] + 1e-9).all()
        assert other == pytest.approx(one, rel=1e-4, abs=1e-9)
        plain = slow.predicted_distances(probe.projection_.tolist(), vectors.tolist())
        assert one == pytest.approx(np.array(plain), rel=1e-6, abs=1e-12)


def test_depths_are_squared_lengths() -> None:
    pairs = planted(4, 30)
    probe = StructuralProbe(task="depth", rank=3, max_epochs=2).fit(pairs)
    for depths, (vectors, _) in zip(probe.predict(pairs), pairs, strict=True):
        assert depths == pytest.approx(slow.predicted_depths(probe.projection_.tolist(), vectors.tolist()), rel=1e-5)


def test_training_begins_between_minus_and_plus_a_twentieth_and_the_first_loss_is_that_of_the_formula() -> None:
    pairs = planted(5, 6)
    probe = StructuralProbe(rank=200, max_epochs=1, learning_rate=1e-12).fit(pairs, development=pairs)
    assert np.abs(probe.projection_).max() == pytest.approx(0.05, abs=1e-3)
    assert probe.projection_.mean() == pytest.approx(0, abs=2e-3)
    plain = [(vectors.tolist(), s.governors) for vectors, s in pairs]
    expected = slow.batch_loss(probe.projection_.tolist(), plain, "distance")
    assert probe.development_loss_ == pytest.approx((expected,), rel=1e-4)
    assert probe.training_loss_ == pytest.approx((expected,), rel=1e-4)


def test_the_best_epoch_is_kept_and_training_stops_when_nothing_is_gained() -> None:
    """A learning rate that only makes it worse: nothing after the first epoch is an improvement."""
    rng = np.random.default_rng(0)
    random = [(rng.standard_normal((8, 6)).astype(np.float32), random_sentence(rng, 8)) for _ in range(40)]
    probe = StructuralProbe(rank=6, learning_rate=3.0, n_iter_no_change=2).fit(random[:30], development=random[30:])
    losses = probe.development_loss_
    assert probe.best_epoch_ == int(np.argmin(losses))
    assert len(losses) == probe.best_epoch_ + 3 < 40
    plain = [(vectors.tolist(), s.governors) for vectors, s in random[30:]]
    now = slow.batch_loss(probe.projection_.tolist(), plain, "distance")
    assert now == pytest.approx(losses[probe.best_epoch_], rel=1e-4)


def test_the_learning_rate_falls_when_the_loss_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.Adam.step

    def noted(self: torch.optim.Adam, *args: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", noted)
    pairs = planted(6, 25)
    probe = StructuralProbe(rank=4, learning_rate=3.0, batch_size=20, max_epochs=6).fit(pairs, development=pairs)
    losses, rate, best = probe.development_loss_, 3.0, float("inf")
    expected = []
    for loss in losses:
        expected += [rate, rate]  # 25 sentences are two batches
        if loss < best * (1 - 1e-4):
            best = loss
        else:
            rate /= 10
    assert rates == pytest.approx(expected)
    assert rates[-1] < 3.0


def test_equal_seeds_give_equal_weights_and_no_global_state_is_touched() -> None:
    pairs = planted(7, 60)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - to see that nobody draws from it
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (StructuralProbe(rank=4, max_epochs=3, seed=seed).fit(pairs) for seed in (0, 0, 1))
    assert (one.projection_ == same.projection_).all()
    assert one.development_loss_ == same.development_loss_
    assert (one.projection_ != other.projection_).any()
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_sentences_are_held_out_and_those_without_a_tree_listed() -> None:
    pairs = planted(8, 40)
    pairs[3] = (pairs[3][0], Sentence(pairs[3][1].words))
    probe = StructuralProbe(rank=2, max_epochs=1, validation_fraction=0.25).fit(pairs)
    assert (probe.n_sentences_, probe.n_development_sentences_) == (29, 10)
    assert [number for number, _ in probe.skipped_] == [3]


def test_other_targets_are_learned_and_scored() -> None:
    """y is learned as a tree of the sentence would be, and in its place."""
    pairs = planted(9, 60)
    gold = [s.governors for _, s in pairs]
    chains = [tuple(range(len(s))) for _, s in pairs]  # each word hangs on the one before
    bare = [(vectors, Sentence(s.words, xpos=s.xpos)) for vectors, s in pairs]
    as_sentences, as_y = (
        StructuralProbe(rank=4, learning_rate=0.05).fit(X, y) for X, y in ((pairs, None), (bare, gold))
    )
    chain = clone(as_y).fit(pairs, chains)
    assert (as_sentences.projection_ == as_y.projection_).all()
    assert (as_sentences.projection_ != chain.projection_).any()
    expected = score_structure([s for _, s in bare], chain.predict(bare), y=chains)
    assert chain.score(pairs, chains) == expected.accuracy != chain.score(pairs)
    with pytest.raises(ValidationError, match="y belongs to X"):
        chain.fit(pairs, chains, development=pairs)


def test_ctrl_c_leaves_the_best_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = planted(10, 40)
    whole = StructuralProbe(rank=4, max_epochs=3).fit(pairs)
    step = torch.optim.lr_scheduler.ReduceLROnPlateau.step
    calls: list[float] = []

    def interrupted(self: object, loss: float) -> None:
        step(self, loss)
        calls.append(loss)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.lr_scheduler.ReduceLROnPlateau, "step", interrupted)
    probe = StructuralProbe(rank=4, max_epochs=9)
    with pytest.raises(KeyboardInterrupt) as error:
        probe.fit(pairs)
    assert error.value.__notes__ == ["the probe has the weights of epoch 2, its best so far"]
    assert probe.development_loss_ == whole.development_loss_
    assert probe.best_epoch_ == 1
    assert len(probe.predict(pairs)) == 40


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_every_device_learns_the_same(device: str) -> None:
    pairs = planted(11, 60)
    here, there = (StructuralProbe(rank=4, max_epochs=3, device=name).fit(pairs) for name in (None, device))
    assert there.projection_ == pytest.approx(here.projection_, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "height"}, "task must be one of"),
        ({"rank": 0}, "rank must be a whole number, at least 1, but is 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number"),
        ({"max_epochs": None}, "max_epochs must be a whole number"),
        ({"n_iter_no_change": 0}, "n_iter_no_change must be"),
        ({"learning_rate": 0}, "learning_rate must be above 0, but is 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must be above 0 and below 1"),
        ({"tol": -1}, "tol must be 0 or more"),
        ({"seed": -1}, "seed must be a whole number from 0"),
    ],
)
def test_options_are_checked_when_it_is_fitted(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        StructuralProbe(**options).fit(planted(0, 3))


# A scikit-learn estimator ---------------------------------------------------------------------------------------------


CHECKS = """check_no_attributes_set_in_init check_parameters_default_constructible check_get_params_invariance
check_set_params check_do_not_raise_errors_in_init_or_set_params check_estimator_cloneable check_estimator_repr"""


@pytest.mark.parametrize("check", [name for name in CHECKS.split() if hasattr(estimator_checks, name)])
def test_scikit_learns_checks_that_apply(check: str) -> None:
    """Those that the installed version has."""
    getattr(estimator_checks, check)("StructuralProbe", StructuralProbe())


def test_a_clone_is_not_fitted_but_learns_the_same(learned: StructuralProbe) -> None:
    pairs = planted(12, 30, noise=4)
    probe = StructuralProbe(rank=4, max_epochs=2, tol=0.5).fit(pairs)
    copied = clone(probe)
    assert copied.get_params() == probe.get_params()
    with pytest.raises(NotFittedError, match="was not fitted; call fit"):
        copied.predict(pairs)
    assert (copied.fit(pairs).projection_ == probe.projection_).all()


@TASKS
def test_what_is_saved_predicts_the_same(task: str, tmp_path: Path) -> None:
    pairs = planted(13, 30)
    pairs[0] = (pairs[0][0], Sentence(pairs[0][1].words))
    probe = StructuralProbe(task=task, rank=4, max_epochs=3, tol=0.25).fit(pairs)
    probe.save(tmp_path / "probe.safetensors")
    read = StructuralProbe.load(tmp_path / "probe.safetensors")
    assert read.get_params() == probe.get_params()
    assert {k: v for k, v in vars(read).items() if k != "projection_"} == {
        k: v for k, v in vars(probe).items() if k != "projection_"
    }
    for one, other in zip(probe.predict(pairs), read.predict(pairs), strict=True):
        assert (one == other).all()


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        StructuralProbe().save(tmp_path / "probe")
    path = tmp_path / "other.safetensors"
    save_file({"projection": np.zeros((2, 2))}, path)
    with pytest.raises(StorageError, match="was not written by bertattn"):
        StructuralProbe.load(path)
    StructuralProbe(rank=2, max_epochs=1).fit(planted(0, 5)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(StorageError, match="is damaged"):
        StructuralProbe.load(path)
    path.write_bytes(whole[:-5])
    with pytest.raises(StorageError, match="torn"):
        StructuralProbe.load(path)
    path.write_bytes(whole)
    assert set(load_file(path)) == {"projection"}
    assert json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["projection"]["shape"] == [2, 16]


# What is read ---------------------------------------------------------------------------------------------------------


def states(
    sentence: Sentence | DocumentWindow | None, word_ids: list, vectors: np.ndarray, layer: int = 1
) -> HiddenStates:
    words = [str(i) for i in range(len(sentence) if sentence else 9)]
    axis = Axis([str(i) for i in word_ids], word_ids=word_ids, words=words)
    return HiddenStates(torch.tensor(vectors), layer, axis, sentence, Source(model="m"))


@pytest.fixture(scope="module")
def fitted() -> StructuralProbe:
    """On two dimensions, which it leaves as they are."""
    rng = np.random.default_rng(0)
    sentence = Sentence(["a", "b"], governors=(0, 1), xpos=["NN", "NN"])
    items = [states(sentence, [0, 1], rng.standard_normal((2, 2))) for _ in range(4)]
    probe = StructuralProbe(rank=2, max_epochs=1).fit(items)
    probe.projection_ = np.eye(2, dtype=np.float32)
    return probe


def test_a_word_is_the_mean_of_its_tokens(fitted: StructuralProbe) -> None:
    """[CLS] counts for none, a token of two words for both."""
    sentence = Sentence(["a", "b", "c"])
    vectors = np.array([[9, 9], [1, 0], [3, 0], [0, 4], [0, 8]], dtype=np.float64)
    (table,) = fitted.predict([states(sentence, [None, 0, 0, (1, 2), 2], vectors)])
    means = [[2, 0], [0, 4], [0, 6]]
    assert table.tolist() == slow.predicted_distances([[1, 0], [0, 1]], means)


def test_the_sentences_of_a_window_are_read_one_by_one(fitted: StructuralProbe) -> None:
    window = DocumentWindow((Sentence(["a", "b"], governors=(0, 1)), Sentence(["c", "d", "e"], governors=(0, 1, 1))))
    vectors = np.array([[0, 0], [3, 4], [5, 5], [5, 6], [7, 5]], dtype=np.float64)
    item = states(window, [0, 1, 2, 3, 4], vectors)
    assert [table.tolist() for table in fitted.predict([item])] == [
        [[0, 25], [25, 0]],
        [[0, 1, 4], [1, 0, 5], [4, 5, 0]],
    ]
    scores = fitted.evaluate([item], punct="include")
    assert (scores.lengths, scores.correct, scores.total) == ((2, 3), (1, 2), (1, 2))


def test_captures_and_pairs_of_vectors_are_read_too(fitted: StructuralProbe) -> None:
    sentence = Sentence(["a", "b"], governors=(0, 1))
    vectors = np.array([[0, 0], [3, 4]], dtype=np.float32)
    probe = clone(fitted).set_params(layer=1).fit([(vectors, sentence)] * 2)
    probe.projection_ = np.eye(2)
    axis = Axis(["a", "b"], word_ids=[0, 1], words=["a", "b"])
    attention = SimpleNamespace(queries=axis, annotation=sentence, source=None)
    capture = SimpleNamespace(hidden=torch.tensor(np.stack([vectors * 2, vectors])), attention=attention)
    half = torch.tensor(vectors, dtype=torch.bfloat16)
    for item in (capture, (vectors, sentence), (half, sentence)):
        assert [table.tolist() for table in probe.predict([item])] == [[[0, 25], [25, 0]]]
    for wrong in (None, 2, "1"):
        with pytest.raises(SelectionError, match=f"entry 0 of X: it has 2 hidden states.*layer={wrong!r}; say which"):
            probe.set_params(layer=wrong).predict([capture])


def test_what_cannot_be_read_is_refused(fitted: StructuralProbe) -> None:
    sentence = Sentence(["a", "b"], governors=(0, 1))
    good = np.zeros((2, 2))
    plain = HiddenStates(torch.zeros(2, 2), 1, Axis(["a", "b"]), sentence, Source())
    for given_x, kind, message in (
        (5, ValidationError, "X must be an iterable of hidden states, but is a int"),
        (sentence, ValidationError, "but is a Sentence"),
        ([], ValidationError, "X gave no sentences; was it read to its end"),
        ([states(sentence, [0, 1], good), "text"], ValidationError, "entry 1 of X: 'text' holds no hidden states"),
        ([states(None, [0, 1], good)], ValidationError, "annotation is NoneType"),
        ([(good, "a b")], ValidationError, "annotation is str"),
        ([(np.zeros((3, 2)), sentence)], ValidationError, r"\[word, dimension\] of 2 words, but have shape \(3, 2\)"),
        ([(np.zeros(2), sentence)], ValidationError, "have shape"),
        ([(np.full((2, 2), np.inf), sentence)], ValidationError, "not all finite"),
        ([(np.zeros((2, 3)), sentence)], ValidationError, "dimension 3 but the probe is fitted on 2"),
        ([states(sentence, [0, 1], good, 2)], ValidationError, "of layer 2 but the probe is fitted on layer 1"),
        ([states(sentence, [0, 0], good)], AlignmentError, "entry 0 of X: word 1, 'b', has no token"),
        ([plain], AlignmentError, "tokens do not know their words"),
        (
            [states(sentence, [0, 1], good), states(sentence, [0, 1], good, 2)],
            ValidationError,
            "entry 1 of X: its vectors are of layer 2 and dimension 2, but the first of layer 1 and 2",
        ),
    ):
        with pytest.raises(kind, match=message):
            fitted.predict(given_x)
    with pytest.raises(SelectionError, match="output of layer 1, but the probe has layer=3"):
        clone(fitted).set_params(layer=3).fit([states(sentence, [0, 1], good)])
    with pytest.raises(ValidationError, match="one sentence is too little to hold some out"):
        clone(fitted).fit([(good, sentence)])
    with pytest.raises(ValidationError, match="dimension 3 but the probe is fitted on 2"):
        clone(fitted).fit([(good, sentence)], development=[(np.zeros((2, 3)), sentence)])


# Hidden states of a corpus --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "gpt2", "bart"])
def test_a_stream_of_hidden_states_equals_captures(name: str) -> None:
    ext = Extractor(*model_zoo.build(name))
    texts = ["The cat sat.", "A", "Dogs chase the old cats over the hill."]
    for layer in (0, 3):
        stream = ext.hidden_states(texts, layer=layer, batch_size=2)
        assert repr(stream) == "HiddenStream(0 skipped and 0 truncated so far)"
        for text, one in zip(texts, stream, strict=True):
            captured = ext.capture(text, what="hidden")
            assert one.axis == captured.attention.queries
            assert one.states.numpy() == pytest.approx(captured.hidden[layer].numpy(), abs=1e-5)
            assert one.states.untyped_storage().nbytes() == one.states.nbytes  # it keeps no batch alive
            assert (one.layer, one.annotation) == (layer, None)
            assert one.source == captured.attention.source
    assert "layer 3, " in repr(one)


def test_hidden_states_are_refused_and_left_out_as_maps_are() -> None:
    ext = Extractor(*model_zoo.build("bert"))
    long = "a " * 200
    stream = ext.hidden_states(["one", long, "two"], layer=1, on_too_long="skip")
    assert len(list(stream)) == 2
    assert [one.index for one in stream.skipped] == [1]
    with pytest.raises(TooLongError):
        list(ext.hidden_states([long], layer=1))
    for layer in (-1, "1", True):
        with pytest.raises(SelectionError, match="layer must be a number from 0, the embeddings, on"):
            ext.hidden_states(["one"], layer=layer)
    with pytest.raises(SelectionError, match="there is no layer 4; the model has 4 hidden states, from 0"):
        list(ext.hidden_states(["one"], layer=4))
    with pytest.raises(InputError, match="inputs is one str"):
        ext.hidden_states("one", layer=1)
    with pytest.raises(BertattnError, match="entry 0 of X: it is of no sentence with words"):
        StructuralProbe().fit(ext.hidden_states(["one", "two"], layer=1))


# Real sentences -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dev(data_dir: Path) -> list[Sentence]:
    return list(read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu"))


def test_neighbours_are_a_baseline_on_a_treebank(dev: list[Sentence]) -> None:
    """Words in their order, without punctuation, are a chain: UUAS is how many neighbours hang together."""
    chain = [abs(np.arange(len(s))[:, None] - np.arange(len(s))) for s in dev]
    scores = score_structure(dev, chain)
    assert scores.skipped == ()
    assert sum(scores.total) == sum(max(0, len(slow.kept_words(s.xpos)) - 1) for s in dev)
    found = 0
    for sentence in dev:
        kept = slow.kept_words(sentence.xpos)
        gold = slow.spanning_edges(slow.tree_distances(sentence.governors), kept)
        found += sum((a, b) in gold for a, b in pairwise(kept))
    assert sum(scores.correct) == found


@pytest.mark.slow
def test_a_trained_model_knows_trees(dev: list[Sentence]) -> None:
    """Small as the training part is, the third layer beats the embeddings, and the chain of neighbours."""
    ext = Extractor.from_pretrained(demo.model_path(), device="cpu")
    train, held_out = dev[:600], dev[1500:1700]
    scores = {}
    for layer in (0, 3):
        probe = StructuralProbe(rank=64).fit(ext.hidden_states(train, layer=layer))
        scores[layer] = one = probe.evaluate(ext.hidden_states(held_out, layer=layer))
        assert (one.layer, one.source.path, one.source.dtype) == (layer, "interface", "float32")
    chain = [abs(np.arange(len(s))[:, None] - np.arange(len(s))) for s in held_out]
    assert scores[3].accuracy > scores[0].accuracy + 0.05
    assert scores[3].accuracy > score_structure(held_out, chain).accuracy + 0.05
    assert scores[3].spearman() > scores[0].spearman()
