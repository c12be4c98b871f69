"""Predicted governors: counts, intervals, comparisons, the table, and decoding, by hand and as plain loops."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertattn.annotation import Document, Sentence
from bertattn.errors import SelectionError, StorageError, ValidationError
from bertattn.heads import TreeScores, left_branching, offset_baselines, right_branching
from bertattn.probes import decoding
from bertattn.probes.decoding import decode
from bertattn.probes.scores import GovernorDifference, GovernorScores, score_governors
from bertattn.probes.table import ProbeTable, probe_table
from bertattn.readers import read_conllu
from heads_zoo import sentences as trees
from reference import governors as slow
from reference import inference

NAN, INF = float("nan"), float("inf")

# Dogs <- chase -> cats, chase -> .
DOGS = Sentence(
    ["Dogs", "chase", "cats", "."],
    governors=[2, 0, 2, 2],
    relations=["nsubj", "root", "obj", "punct"],
    id="s-1",
    document="d",
)
HERS = Sentence(
    ["Her", "dog", "barks"], governors=[2, 3, 0], relations=["nmod:poss", "nsubj", "root"], id="s-2", document="d"
)
PART = Sentence(["Of", "it"], governors=[2, None], relations=["nmod", None], id="s-3", document="e")
CORPUS = [DOGS, HERS, PART]
# Of DOGS nsubj, obj and punct; of HERS nothing ("dog" hangs on itself, "barks" on nothing); of PART its one word.
GUESSES = [(2, 3, 2, 2), (3, 2, None), (2, 1)]


@pytest.fixture
def scores() -> GovernorScores:
    return score_governors(CORPUS, GUESSES, name="guess")


@st.composite
def corpora(draw, *, min_size: int = 1):
    """Sentences, and predictions that are right now and then."""
    corpus = draw(st.lists(trees(), min_size=min_size, max_size=6))
    if all(g is None for sentence in corpus for g in sentence.governors or ()):
        corpus.append(DOGS)
    return corpus, draw(guesses(corpus))


@st.composite
def guesses(draw, corpus):
    return [
        [
            draw(st.sampled_from([gold, None, -1, *range(len(sentence) + 1)]))
            for gold in sentence.governors or (None,) * len(sentence)
        ]
        for sentence in corpus
    ]


def plain(corpus, predicted):
    return [
        (s.relations or (None,) * len(s), s.governors or (None,) * len(s), list(p))
        for s, p in zip(corpus, predicted, strict=True)
    ]


def summary(scores: GovernorScores) -> dict[str, tuple[int, int, int]]:
    return {row["relation"]: (row["correct"], row["count"], row["sentences"]) for row in scores.to_records()}


# Counting -------------------------------------------------------------------------------------------------------------


def test_counts_by_hand(scores) -> None:
    assert summary(scores) == {
        "all": (3, 7, 3),
        "nsubj": (1, 2, 2),
        "root": (0, 2, 2),
        "nmod": (1, 1, 1),
        "nmod:poss": (0, 1, 1),
        "obj": (1, 1, 1),
    }
    assert (scores.correct(), scores.count(), scores.uas()) == (3, 7, 3 / 7)
    assert (scores.uas("nsubj"), scores.uas("root")) == (0.5, 0.0)
    assert scores.relation_names() == ("nsubj", "root", "nmod", "nmod:poss", "obj")
    assert (scores.sentences, scores.without_governor) == (3, 1)
    assert [column.tolist() for column in scores.by_sentence()] == [[2, 0, 1], [3, 3, 1]]
    assert [column.tolist() for column in scores.by_sentence("nsubj")] == [[1, 0, 0], [1, 1, 0]]
    assert scores.position.tolist() == [1, 2, 3, 4, 1, 2, 3, 1]
    assert scores.predicted.tolist() == [2, 3, 2, 2, 3, 2, -1, 2]


def test_what_is_counted_can_be_changed(scores) -> None:
    other = scores.counting(punct="include", root="exclude", subtypes="fold")
    assert summary(other) == {
        "all": (4, 6, 3),
        "nmod": (1, 2, 2),
        "nsubj": (1, 2, 2),
        "obj": (1, 1, 1),
        "punct": (1, 1, 1),
    }
    assert other == score_governors(CORPUS, GUESSES, name="guess", punct="include", root="exclude", subtypes="fold")
    assert other.counting(punct="exclude", root="include", subtypes="keep") == scores
    only = Sentence([".", "!"], governors=[2, 0], relations=["punct:x", "root"])
    nothing = score_governors([only], [(2, 0)], root="exclude")
    assert nothing.count() == 0
    assert math.isnan(nothing.uas())
    assert nothing.to_records()[0]["sentences"] == 0
    assert nothing.compare(nothing)["all"].count == 0
    assert math.isnan(nothing.compare(nothing)["all"].uas_a)


def test_print(scores) -> None:
    assert repr(scores) == "GovernorScores(guess: 42.9% UAS of 7 words in 3 sentences)"
    assert str(scores).splitlines()[1:3] == [
        "relation           UAS  95% interval         n",
        "all               42.9  0.0 to 100.0         7",
    ]
    assert str(scores).splitlines()[4:6] == [
        "root               0.0  0.0 to 0.0           2",
        "nmod             100.0                       1",
    ]
    assert str(scores).endswith("\nIntervals over sentences; punct left out.")
    assert str(scores.counting(root="exclude")).endswith("; punct left out; root left out.")
    markup = score_governors(CORPUS, GUESSES, name="<b>")._repr_html_()
    assert markup.startswith("<pre>GovernorScores(&lt;b&gt;: 42.9%")


@given(corpora(), st.sampled_from(["include", "exclude"]), st.sampled_from(["include", "exclude"]), st.booleans())
def test_counts_as_plain_loops(drawn, punct, root, fold) -> None:
    corpus, predicted = drawn
    scores = score_governors(corpus, predicted, punct=punct, root=root, subtypes="fold" if fold else "keep")
    options = {"punct": punct == "include", "root": root == "include", "fold": fold}
    expected = slow.table(plain(corpus, predicted), **options)
    assert summary(scores) == expected
    names = scores.relation_names()
    assert list(names) == sorted(names, key=lambda name: (-expected[name][1], name))
    for name in ("all", *names):
        pairs = np.array(slow.by_sentence(plain(corpus, predicted), name, **options))
        np.testing.assert_array_equal(np.stack(scores.by_sentence(name), axis=1), pairs)
    assert scores.without_governor == sum(g is None for s in corpus for g in s.governors or (None,) * len(s))


# Laws -----------------------------------------------------------------------------------------------------------------


@given(corpora(), st.data())
def test_counts_add(drawn, data) -> None:
    corpus, predicted = drawn
    scores = score_governors(corpus, predicted, name="x")
    parts = [scores.select([i]) for i in range(len(corpus))]
    assert scores.joined(parts) == sum(parts) == scores
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(corpus), max_size=len(corpus))))
    if mask.any() and not mask.all():
        one, two = scores.select(mask), scores.select(np.flatnonzero(~mask))
        assert one.count() + two.count() == scores.count()
        assert one.correct() + two.correct() == scores.correct()
        assert one.without_governor + two.without_governor == scores.without_governor
        assert summary(one + two) == summary(two + one) == summary(scores)
        chosen = [pair for pair, keep in zip(plain(corpus, predicted), mask, strict=True) if keep]
        assert summary(one) == slow.table(chosen)


@given(corpora(), st.randoms())
def test_the_order_of_sentences_changes_nothing(drawn, random) -> None:
    corpus, predicted = drawn
    pairs = list(zip(corpus, predicted, strict=True))
    random.shuffle(pairs)
    shuffled = score_governors(*zip(*pairs, strict=True))
    assert summary(shuffled) == summary(score_governors(corpus, predicted))


@given(corpora())
def test_a_folded_relation_is_the_sum_of_its_subtypes(drawn) -> None:
    scores = score_governors(*drawn)
    correct, words = Counter(), Counter()
    for name in scores.relation_names():
        correct[name.partition(":")[0]] += scores.correct(name)
        words[name.partition(":")[0]] += scores.count(name)
    folded = scores.counting(subtypes="fold")
    assert {name: folded.count(name) for name in folded.relation_names()} == words
    assert {name: folded.correct(name) for name in folded.relation_names()} == correct
    assert sum(scores.count(name) for name in scores.relation_names()) == scores.count() == folded.count()


@given(corpora())
def test_the_gold_governors_are_perfect(drawn) -> None:
    corpus, _ = drawn
    scores = score_governors(corpus, [s.governors or (None,) * len(s) for s in corpus], punct="include")
    assert scores.uas() == 1.0
    assert scores.interval().estimate == 1.0


def test_any_sequence_of_governors(scores) -> None:
    arrays = [np.array([2, 3, 2, 2]), torch.tensor([3, 2, -1]), [2, 1]]
    assert score_governors(iter(CORPUS), iter(arrays), name="guess") == scores


# Intervals and comparisons --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many() -> tuple[list[Sentence], list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Forty sentences in eight documents, and two predictors of which the second is better."""
    rng = np.random.default_rng(5)
    corpus, bad, good = [], [], []
    for i in range(40):
        n = int(rng.integers(1, 8))
        governors = [int(rng.integers(0, d)) for d in range(1, n + 1)]
        relations = [str(rng.choice(["obj", "nsubj", "punct"], p=[0.6, 0.3, 0.1])) for _ in range(n)]
        corpus.append(Sentence(["w"] * n, governors=governors, relations=relations, document=f"{i % 8}"))
        bad.append(tuple(g if rng.random() < 0.4 else n for g in governors))
        good.append(tuple(g if rng.random() < 0.6 else n for g in governors))
    return corpus, bad, good


@pytest.mark.parametrize("relation", ["all", "nsubj"])
@pytest.mark.parametrize("unit", ["sentence", "document"])
def test_intervals_as_plain_loops(many, relation, unit) -> None:
    corpus, bad, _ = many
    scores = score_governors(corpus, bad)
    pairs = slow.by_sentence(plain(corpus, bad), relation)
    if unit == "document":
        pairs = slow.by_document(pairs, [s.document for s in corpus])
    estimate, low, high, error, _ = inference.bootstrap(
        [[right] for right, _ in pairs], [[words] for _, words in pairs], 0.9, 300, 3
    )[0]
    interval = scores.interval(relation, unit=unit, level=0.9, resamples=300, seed=3)
    assert interval.units == (40 if unit == "sentence" else 8)
    assert interval.estimate == pytest.approx(estimate) == scores.uas(relation)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert interval.standard_error == pytest.approx(error)


@pytest.mark.parametrize("unit", ["sentence", "document"])
def test_comparison_as_plain_loops(many, unit) -> None:
    corpus, bad, good = many
    a = score_governors(corpus, good, name="good")
    b = score_governors(corpus, bad, name="bad")
    options = {"unit": unit, "level": 0.8, "resamples": 200, "seed": 2}
    difference = a.compare(b, min_count=20, **options)
    assert [row.relation for row in difference.rows] == ["all", "obj", "nsubj"]
    p = {}
    for row in difference.rows:
        ones, twos = (slow.by_sentence(plain(corpus, g), row.relation) for g in (good, bad))
        if unit == "document":
            ones, twos = (slow.by_document(pairs, [s.document for s in corpus]) for pairs in (ones, twos))
        d = [one[0] - two[0] for one, two in zip(ones, twos, strict=True)]
        words = [n for _, n in ones]
        assert (row.count, row.uas_a, row.uas_b) == (sum(words), a.uas(row.relation), b.uas(row.relation))
        estimate, low, high, _, _ = inference.bootstrap([[x] for x in d], [[n] for n in words], 0.8, 200, 2)[0]
        assert (row.difference, row.low, row.high) == pytest.approx((estimate, low, high))
        assert row.difference == pytest.approx(row.uas_a - row.uas_b)
        p[row.relation] = inference.sign_flip(d, "two-sided", 9999, 2)
        assert row.p == pytest.approx(p[row.relation])
    rank = sorted(p, key=p.get)
    holm = np.maximum.accumulate([min(1.0, (3 - i) * p[name]) for i, name in enumerate(rank)])
    assert [difference[name].adjusted_p for name in rank] == pytest.approx(holm.tolist())
    assert difference["all"].difference > 0
    back = b.compare(a, relations=["all"], **options)["all"]
    assert (back.difference, back.p) == (-difference["all"].difference, difference["all"].p)
    assert (back.low, back.high) == pytest.approx((-difference["all"].high, -difference["all"].low))


def test_a_comparison_with_itself(scores) -> None:
    row = scores.compare(scores)["all"]
    assert (row.difference, row.low, row.high, row.p) == (0, 0, 0, 1)
    assert scores.compare(scores, relations=[]).rows == ()


def test_what_cannot_be_compared(scores) -> None:
    def message(other, **options) -> str:
        with pytest.raises(ValidationError) as caught:
            scores.compare(other, **options)
        return str(caught.value)

    assert message(score_governors(CORPUS[:2], GUESSES[:2])) == (
        "the two scores are of other words (their ids differs); score both on the same sentences"
    )
    moved = Sentence(HERS.words, governors=[3, 3, 0], relations=HERS.relations, id="s-2", document="d")
    assert "(their governor differs)" in message(score_governors([DOGS, moved, PART], GUESSES))
    renamed = Sentence(HERS.words, governors=HERS.governors, relations=["det", "nsubj", "root"], id="s-2", document="d")
    assert "(their relation differs)" in message(score_governors([DOGS, renamed, PART], GUESSES))
    unknown = Sentence(HERS.words, governors=[2, 3, None], relations=HERS.relations, id="s-2", document="d")
    assert "(their sentence differs)" in message(score_governors([DOGS, unknown, PART], GUESSES))
    assert message(scores.counting(root="exclude")) == (
        "the two scores count other words: root is 'include' and 'exclude'"
    )
    assert message(right_branching(DOGS)) == "GovernorScores are compared with GovernorScores, but one is a tuple"
    assert message(scores, unit="word") == "unit must be one of 'sentence', 'document', but is 'word'"
    assert message(scores, relations="obj") == "relations must be a sequence of names, but is 'obj'; write ['obj']"
    nameless = score_governors([Sentence(["Go"], governors=[0])], [(0,)])
    with pytest.raises(ValidationError, match=r"^the sentences do not say which documents they are from; pass unit="):
        nameless.interval(unit="document")
    with pytest.raises(SelectionError, match=r"^no word that is counted has the relation 'det'; there are all, nsubj"):
        scores.compare(scores, relations=["det"])
    with pytest.raises(SelectionError, match=r"^there is no row for 'obj'; there are all$"):
        scores.compare(scores)["obj"]


# Control tasks --------------------------------------------------------------------------------------------------------


def test_other_targets_than_the_tree() -> None:
    y = [(1, 1, None, 4), (1, 3, 3), (2, 2)]
    scores = score_governors(CORPUS, [(1, 2, 3, 4), (1, 2, 3), (0, 2)], y=y, punct="include")
    # Of DOGS 1 and 4, of HERS 1 and 3, of PART the second word, which the tree knows nothing of.
    assert [column.tolist() for column in scores.by_sentence()] == [[2, 2, 1], [3, 3, 2]]
    assert scores.without_governor == 1
    assert scores.counting(punct="exclude").count() == 7
    bare = score_governors([Sentence(["Go", "on"])], [(1, 1)], y=[(1, 2)])
    assert (bare.uas(), bare.relation_names()) == (0.5, ("_",))


# Kept and refused -----------------------------------------------------------------------------------------------------


def test_results_are_kept(scores, tmp_path) -> None:
    scores.save(tmp_path / "s.json")
    assert GovernorScores.load(tmp_path / "s.json") == scores
    assert scores != scores.counting(root="exclude")
    difference = scores.compare(score_governors(CORPUS, [(2, 0, 2, 2), (2, 3, 0), (2, 1)]), min_count=1)
    difference.save(tmp_path / "d.json")
    again = GovernorDifference.load(tmp_path / "d.json")
    assert str(again) == str(difference)
    assert str(again).startswith("GovernorDifference(guess less b, 6 rows)\n")
    assert (again.punct, again.unit, again["all"]) == ("exclude", "sentence", difference["all"])
    text = (tmp_path / "s.json").read_text(encoding="utf-8").replace('"predicted"', '"guessed"')
    (tmp_path / "s.json").write_text(text, encoding="utf-8")
    with pytest.raises(StorageError):
        GovernorScores.load(tmp_path / "s.json")


def test_scores_that_do_not_add(scores) -> None:
    with pytest.raises(ValidationError, match=r"^scores of different name do not add: 'guess' and None$"):
        scores + score_governors(CORPUS, GUESSES)
    with pytest.raises(ValidationError, match=r"^scores of different punct do not add: 'exclude' and 'include'$"):
        scores + scores.counting(punct="include")
    with pytest.raises(
        ValidationError, match=r"^there are no parts to join; was an iterator read to its end before\?$"
    ):
        GovernorScores.joined([])
    with pytest.raises(TypeError):
        scores + 1
    with pytest.raises(TypeError):
        hash(scores)


@pytest.mark.parametrize("chosen", [[3], [True, False], [], [0.5], np.zeros(3, dtype=bool)])
def test_sentences_that_are_not_there(scores, chosen) -> None:
    with pytest.raises(SelectionError, match=r"^sentences must be numbers from 0 to 2, at least one, or one True or F"):
        scores.select(chosen)


@pytest.mark.parametrize(
    ("corpus", "predicted", "options", "message"),
    [
        (CORPUS, GUESSES[:2], {}, "governors are of 2 sentences but there are 3"),
        (CORPUS, GUESSES, {"y": []}, "y are of 0 sentences but there are 3"),
        ([HERS], [(2, 3)], {}, "governors of sentence 0 are of 2 words but it has 3"),
        (
            [HERS],
            [(2, 4, 0)],
            {},
            "governors of sentence 0 must be numbers from 1 to 3, 0 for the root or None, but one is 4",
        ),
        (
            [HERS],
            [(2, 3, 0)],
            {"y": [(2, 1.5, 0)]},
            "y of sentence 0 must be numbers from 1 to 3, 0 for the root or None, but one is 1.5",
        ),
        ([HERS], [None], {}, "governors must be a sequence, one entry a word, but is None"),
        ([], [], {}, "there are no sentences; was an iterator read to its end before?"),
        ([Document([HERS])], [(2, 3, 0)], {}, "governors are scored on Sentences, but one is a Document"),
        (
            [Sentence(["Go", "on"])],
            [(2, 0)],
            {},
            "none of the 2 words has a gold governor; read the sentences with readers.read_conllu, or give y",
        ),
        ([HERS], [(2, 3, 0)], {"root": "skip"}, "root must be one of 'include', 'exclude', but is 'skip'"),
    ],
)
def test_governors_that_cannot_be_scored(corpus, predicted, options, message) -> None:
    with pytest.raises(ValidationError) as caught:
        score_governors(corpus, predicted, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"governor": [2]}, "governor has shape (1,) but one number a word is needed"),
        ({"ids": ["s-2", None]}, "there are 1 lengths of sentences but 2 ids and 1 documents"),
        ({"relation": [0, 1, 3]}, "relation of word 2 must be from 0 to 2, but is 3"),
        ({"sentence": [0, 1, 0]}, "sentence of word 1 must be from 0 to 0, but is 1"),
        ({"position": [0, 2, 3]}, "position of word 0 must be from 1 to 3, but is 0"),
        ({"predicted": [2, 3, 4]}, "predicted of word 2 must be from -1 to 3, but is 4"),
        ({"subtypes": "drop"}, "subtypes must be one of 'keep', 'fold', but is 'drop'"),
    ],
)
def test_columns_that_do_not_fit(changes, message) -> None:
    scores = score_governors([HERS], [(2, 3, 0)])
    with pytest.raises(ValidationError) as caught:
        GovernorScores(**scores._state() | changes)
    assert str(caught.value) == message


# Decoding -------------------------------------------------------------------------------------------------------------


@st.composite
def tables(draw, max_words: int = 5):
    """log p of `[word, word + 1]`: smooth, peaked, and with ties; the word itself, too, has some."""
    n = draw(st.integers(1, max_words))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.standard_normal((n, n + 1)) * draw(st.sampled_from([0.1, 1.0, 10.0]))
    if draw(st.booleans()):
        scores = np.round(scores)
    return scores - np.log(np.exp(scores).sum(1, keepdims=True))


@given(tables())
def test_argmax_takes_the_first_best(table) -> None:
    assert decode(table) == tuple(slow.first_best(row) for row in table.tolist())


@given(tables())
def test_no_tree_is_more_probable(table) -> None:
    governors = decode(table, method="tree")
    assert slow.is_tree(governors)
    _, best = slow.best_tree(table.tolist())
    assert slow.total(table, governors) == pytest.approx(best, abs=1e-9)


def best_below(table, root: int) -> float:
    """The sum of the best tree with a given root, as networkx makes it of all arcs that do not lead to it."""
    n = len(table)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(1, n + 1))
    for dependent in range(1, n + 1):
        for governor in range(1, n + 1):
            if dependent not in (governor, root):
                graph.add_edge(governor, dependent, weight=table[dependent - 1, governor])
    arcs = nx.maximum_spanning_arborescence(graph).edges(data="weight")
    return table[root - 1, 0] + sum(weight for _, _, weight in arcs)


@given(tables(max_words=9))
def test_trees_of_long_sentences(table) -> None:
    governors = decode(table, method="tree")
    assert slow.is_tree(governors)
    n = len(table)
    assert slow.total(table, governors) == pytest.approx(max(best_below(table, root) for root in range(1, n + 1)))
    for chain in (tuple(range(n)), (*range(2, n + 1), 0)):
        assert slow.total(table, governors) >= slow.total(table, chain) - 1e-9
    assert decode(torch.tensor(table), method="tree") == governors
    shifted = table + np.arange(n)[:, None]
    assert slow.total(table, decode(shifted, method="tree")) == pytest.approx(slow.total(table, governors))


def test_decoding_by_hand() -> None:
    # Both words are the root by themselves; one must give way, and it costs word 2 less.
    p = np.log([[0.8, 0.1, 0.1], [0.5, 0.1, 0.4]])
    assert (decode(p), decode(p, method="tree")) == ((0, 0), (0, 1))
    # A root of its own is worth a governor that is worse: 0.9 * 0.3 beats 0.1 * 0.6.
    q = np.log([[0.9, 0.0001, 0.1], [0.6, 0.3, 0.1]])
    assert decode(q, method="tree") == (0, 1)
    # The word itself may be best, but not in a tree.
    one = np.log([[0.3, 0.7]])
    assert (decode(one), decode(one, method="tree")) == ((1,), (0,))
    assert decode(np.zeros((3, 4))) == (0, 0, 0)
    assert slow.is_tree(decode(np.zeros((3, 4)), method="tree"))
    assert decode([[-INF, -1, -2], [-1, -5, -INF]], method="tree") == (2, 0)


def test_a_tree_that_is_there_already_is_taken(monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("not needed")

    monkeypatch.setattr(decoding, "maximum_arborescence", fail)
    for n in range(1, 12):
        for governors in (tuple(range(n)), (*range(2, n + 1), 0), (0, *[1] * (n - 1))):
            table = np.full((n, n + 1), -5.0)
            table[np.arange(n), governors] = -1.0
            table[np.arange(n), np.arange(1, n + 1)] = -0.5  # each word itself: not in a tree
            assert decode(table, method="tree") == governors
    circle = np.log([[0.1, 0.1, 0.8, 0.1], [0.1, 0.8, 0.1, 0.1], [0.9, 0.1, 0.1, 0.1]])
    with pytest.raises(AssertionError, match="not needed"):
        decode(circle, method="tree")


@pytest.mark.parametrize(
    ("table", "method", "message"),
    [
        (
            np.zeros((2, 2)),
            "argmax",
            "log probabilities must be [word, word + 1], the first column for the root, but have shape (2, 2)",
        ),
        (
            np.zeros((0, 1)),
            "argmax",
            "log probabilities must be [word, word + 1], the first column for the root, but have shape (0, 1)",
        ),
        (
            [[0, 0, 0], [0, NAN, 0]],
            "argmax",
            "each word needs a candidate, and no NaN or inf among them, but those of word 2 are at best nan",
        ),
        (
            [[-INF, -INF, -INF], [0, 0, 0]],
            "tree",
            "each word needs a candidate, and no NaN or inf among them, but those of word 1 are at best -inf",
        ),
        (
            [[-INF, 0, 0], [-INF, 0, 0]],
            "tree",
            "so many arcs are forbidden (-inf) that the 2 words make no tree",
        ),
        (np.zeros((1, 2)), "eisner", "method must be one of 'argmax', 'tree', but is 'eisner'"),
    ],
)
def test_what_cannot_be_decoded(table, method, message) -> None:
    with pytest.raises(ValidationError) as caught:
        decode(table, method=method)
    assert str(caught.value) == message


def test_decoding_leaves_its_input_as_it_was() -> None:
    table = np.log([[0.8, 0.1, 0.1], [0.5, 0.1, 0.4]])
    before = table.copy()
    table.flags.writeable = False
    decode(table, method="tree")
    np.testing.assert_array_equal(table, before)


# The table ------------------------------------------------------------------------------------------------------------


def test_the_table_as_plain_loops(many) -> None:
    corpus, bad, good = many
    runs = [score_governors(corpus, g) for g in (good, bad, [right_branching(s) for s in corpus])]
    table = probe_table({"chain": runs[2], "probe": runs}, level=0.9, resamples=200, seed=4)
    assert (table.count, table.sentences) == (runs[0].count(), 40)
    pairs = [slow.by_sentence(plain(corpus, g), "all") for g in (good, bad, [right_branching(s) for s in corpus])]
    words = [[n] for _, n in pairs[0]]
    for row, chosen in zip(table.rows, (pairs[2:], pairs), strict=True):
        right = [[slow.mean([run[i][0] for run in chosen])] for i in range(len(corpus))]
        estimate, low, high, _, _ = inference.bootstrap(right, words, 0.9, 200, 4)[0]
        each = [sum(r for r, _ in run) / sum(n for _, n in run) for run in chosen]
        assert (row.measure, row.comparable, row.seeds) == ("UAS", True, len(chosen))
        assert (row.accuracy, row.low, row.high) == pytest.approx((estimate, low, high))
        assert row.accuracy == pytest.approx(slow.mean(each))
        assert (row.smallest, row.largest) == (min(each), max(each))
        expected = slow.deviation(each) if len(each) > 1 else NAN
        assert row.deviation == pytest.approx(expected, nan_ok=True)


def test_the_table_by_hand(scores, tmp_path) -> None:
    other = score_governors(CORPUS, [(2, 0, 2, 2), (2, 3, 0), (2, 1)])
    trees = TreeScores((2, 1), (3, 1), (None, None), ("1-1",), "from_dependent", method="undirected")
    nothing = TreeScores((0,), (0,), (None,), ("1-1",), "from_dependent", method="undirected")
    table = probe_table({"guess": scores, "seeds <3>": [scores, other], "trees": trees, "none": nothing})
    assert str(table).splitlines() == [
        "              UAS  95% interval    over seeds",
        "guess        42.9  0.0 to 100.0",
        "seeds <3>    71.4  50.0 to 100.0   42.9 to 100.0 (2)",
        "trees        75.0* 66.7 to 100.0",
        "none          nan*",
        "UAS of 7 words in 3 sentences, punct left out.",
        "* Not comparable (trees: UUAS, none: UUAS).",
    ]
    row = table["trees"]
    assert (row.measure, row.comparable, row.accuracy, row.seeds) == ("UUAS", False, 0.75, 1)
    assert (row.smallest, row.largest) == (0.75, 0.75)
    assert "seeds &lt;3&gt;" in table._repr_html_()
    table.save(tmp_path / "t.json")
    again = ProbeTable.load(tmp_path / "t.json")
    assert str(again) == str(table)
    assert again["guess"].deviation != again["guess"].deviation
    folded = probe_table({"a": scores.counting(subtypes="fold", punct="include", root="exclude")})
    assert (folded.subtypes, folded.punct, folded.root) == ("fold", "include", "exclude")
    assert "punct" not in str(folded)
    assert list(table.to_frame().columns[:5]) == ["name", "measure", "comparable", "accuracy", "low"]
    with pytest.raises(SelectionError, match=r"^there is no row for 'probe'; there are guess, seeds <3>, trees, none$"):
        table["probe"]


def test_what_makes_no_table(scores) -> None:
    with pytest.raises(ValidationError, match=r"^scores must be a mapping of names to scores, but are a list$"):
        probe_table([scores])
    with pytest.raises(ValidationError, match=r"^the table needs the GovernorScores of at least one predictor; see"):
        probe_table({})
    for wrong in ([], [scores, 0.5], 0.61):
        with pytest.raises(ValidationError, match=r"^'probe' must have GovernorScores, a list of them, or scores that"):
            probe_table({"probe": wrong})
    with pytest.raises(ValidationError, match=r"^the two scores are of other words \(their ids differs\)"):
        probe_table({"a": scores, "b": [scores, scores.select([0, 1])]})
    with pytest.raises(ValidationError, match=r"^the two scores count other words: punct is 'exclude' and 'include'$"):
        probe_table({"a": scores, "b": scores.counting(punct="include")})


# Real sentences -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ewt_dev(data_dir: Path) -> list[Sentence]:
    return list(read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu"))


def test_right_branching_on_ewt_dev(ewt_dev) -> None:
    """Methods A.9: without punctuation, the root included; 0.31 or 0.32 after what the last word gets."""
    tree, clipped, left = (
        score_governors(ewt_dev, [chain(sentence, **last) for sentence in ewt_dev])
        for chain, last in ((right_branching, {}), (right_branching, {"last": "itself"}), (left_branching, {}))
    )
    assert (tree.correct(), clipped.correct(), tree.count()) == (7088, 6932, 22086)
    assert (round(tree.uas(), 3), round(clipped.uas(), 3)) == (0.321, 0.314)
    baselines = offset_baselines(ewt_dev, offsets=(-1, 1), punct="exclude")
    assert clipped.uas() == baselines.accuracy(offset=1)
    assert {name: clipped.uas(name) for name in clipped.relation_names()} == {
        name: baselines.accuracy(name, offset=1) for name in baselines.relations
    }
    interval = tree.interval(unit="document")
    assert interval.units == len({sentence.document for sentence in ewt_dev})
    assert interval.low < tree.uas() < interval.high
    difference = tree.compare(clipped, relations=["all", "root", "obj"])
    assert difference["root"].uas_b == 0.0
    assert difference["obj"].p == 1.0
    assert difference["all"].low > 0
    assert left.compare(tree)["all"].high < 0


def test_noisy_trees_of_ewt_dev_are_mended(ewt_dev) -> None:
    rng = np.random.default_rng(0)
    some = [sentence for sentence in ewt_dev if len(sentence) < 20][:150]
    tables = []
    for sentence in some:
        n = len(sentence)
        noise = rng.standard_normal((n, n + 1)) * 1.5
        noise[np.arange(n), sentence.governors] += 5
        tables.append(noise)
    argmax = score_governors(some, [decode(table) for table in tables])
    found = [decode(table, method="tree") for table in tables]
    assert all(slow.is_tree(governors) for governors in found)
    difference = score_governors(some, found).compare(argmax)["all"]
    assert 0.8 < argmax.uas() < 0.95
    assert difference.low > 0
