"""Fixed-offset baselines: the published counting, its options, and a plain loop to compare with."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertattn import heads, readers
from bertattn.annotation import Document, DocumentWindow, Sentence
from bertattn.errors import SelectionError, StorageError, ValidationError
from bertattn.heads import OffsetBaselines, offset_baselines
from reference import treebanks

DOGS = Sentence(["Dogs", "chase", "cats", "."], governors=[2, 0, 2, 2], relations=["nsubj", "root", "obj", "punct"])

# methods.md, A.7: relation, count, per cent of the best offset, best offset.
EWT_DEV = """
all 25147 29.1 1, case 2015 37.7 1, nsubj 1958 36.5 1, det 1817 59.6 1, advmod 1353 45.8 1, amod 1326 74.7 1,
obj 1211 35.8 -2, obl 1001 19.0 -2, conj 916 26.6 -2, compound 898 82.5 1, nmod 813 34.7 -2, cc 786 44.7 1,
mark 757 52.3 1, aux 749 48.2 1, cop 627 35.2 1, nmod:poss 391 58.1 1, xcomp 381 56.2 -2, advcl 362 11.3 -3,
ccomp 200 25.0 -3, aux:pass 162 82.7 1, nsubj:pass 154 42.2 2, compound:prt 74 74.3 -1
"""


@pytest.fixture(scope="module")
def ewt_dev(data_dir: Path) -> Path:
    return data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu"


def test_ewt_dev_to_the_digit(ewt_dev: Path) -> None:
    sentences = readers.read_conllu(ewt_dev)
    baselines = offset_baselines(sentences)
    seen = {r["relation"]: (r["count"], f"{100 * r['accuracy']:.1f}", r["best_offset"]) for r in baselines.to_records()}
    expected = [entry.split() for entry in EWT_DEV.replace("\n", " ").split(",")]
    assert {name: seen[name] for name, *_ in expected} == {
        name: (int(count), accuracy, int(offset)) for name, count, accuracy, offset in expected
    }
    without = offset_baselines(sentences, punct="exclude")
    assert (without.count(), f"{100 * without.accuracy(offset=1):.1f}", without.best()) == (22086, "31.4", 1)
    assert f"{100 * baselines.accuracy('root', offset=-3):.1f}" == "60.5"  # the artefact of clipping
    assert repr(without) == "OffsetBaselines(22086 words of 2001 sentences, 31.4% at offset +1)"


def test_ewt_dev_as_plain_loops(ewt_dev: Path) -> None:
    sentences = readers.read_conllu(ewt_dev)
    slow = treebanks.trees(ewt_dev)
    for options in ({}, {"clip": "words"}, {"clip": "none"}, {"punct": "exclude"}, {"root": "exclude"}):
        baselines = offset_baselines(sentences, offsets=(-3, -1, 0, 2), **options)
        plain = {k: v != "exclude" if k in ("punct", "root") else v for k, v in options.items()}
        for relation in ("all", "det", "nsubj:pass"):
            for offset in baselines.offsets:
                words, correct = treebanks.offset_accuracy(
                    slow, None if relation == "all" else relation, offset, **plain
                )
                assert baselines.count(relation) == words
                assert baselines.accuracy(relation, offset=offset) == correct / words


def test_gum_dev_as_plain_loops(data_dir: Path) -> None:
    """The part of GUM dev at hand; the values are those of the loops."""
    paths = sorted((data_dir / "coref").glob("gum_open_by*/dev/dep/*.conllu"))
    baselines = offset_baselines(d for path in paths for d in readers.read_corefud(path))
    slow = [tree for path in paths for tree in treebanks.trees(path)]
    expected = {
        "all": (18432, "29.2", 1),
        "case": (1729, "36.6", 2),
        "det": (1433, "61.1", 1),
        "amod": (1024, "80.4", 1),
    }
    for relation, (count, accuracy, best) in expected.items():
        words, correct = treebanks.offset_accuracy(slow, None if relation == "all" else relation, best)
        assert (words, f"{100 * correct / words:.1f}") == (count, accuracy)
        assert (baselines.count(relation), baselines.best(relation)) == (count, best)
        assert baselines.accuracy(relation, offset=best) == correct / words


def test_by_hand() -> None:
    b = offset_baselines([DOGS])
    assert (b.relations, b.counts, b.sentences) == (("nsubj", "obj", "punct", "root"), (1, 1, 1, 1), 1)
    assert [b.accuracy("nsubj", offset=o) for o in b.offsets] == [0, 0, 0, 1, 0, 0]
    assert [b.accuracy("obj", offset=o) for o in b.offsets] == [0, 0, 1, 0, 0, 0]
    assert [b.accuracy("root", offset=o) for o in b.offsets] == [1, 1, 0, 0, 0, 0]
    assert b.best("obj") == -1
    assert b.best("root") == -2  # of -3 and -2 the larger
    assert b.best() == -2  # root and punct
    assert b.accuracy(offset=-2) == 0.5


def test_clipping() -> None:
    assert offset_baselines([DOGS], clip="words").accuracy("root", offset=-3) == 0
    assert offset_baselines([DOGS], clip="none").accuracy("root", offset=-3) == 0
    leftmost = Sentence(["a", "b", "c"], governors=[0, 1, 1])
    assert [offset_baselines([leftmost], clip=c).accuracy(offset=-3) for c in ("root", "words", "none")] == [
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
        0,
    ]
    rightmost = Sentence(["a", "b"], governors=[2, 0])
    assert offset_baselines([rightmost]).accuracy(offset=3) == 0.5
    assert offset_baselines([rightmost], clip="none").accuracy(offset=3) == 0


def test_the_offsets_of_the_released_code() -> None:
    assert tuple(range(-3, 3)) == heads.RELEASED_OFFSETS
    assert offset_baselines([DOGS], offsets=heads.RELEASED_OFFSETS).accuracy(offset=0) == 0


def test_words_left_out() -> None:
    assert offset_baselines([DOGS], punct="exclude").relations == ("nsubj", "obj", "root")
    assert offset_baselines([DOGS], root="exclude").relations == ("nsubj", "obj", "punct")
    some = Sentence(["a", "b", "c"], governors=[2, 0, None])
    b = offset_baselines([some, Sentence(["x", "y"])])
    assert (b.count(), b.relations, b.sentences, b.without_governor) == (2, ("_",), 2, 3)


def test_subtypes() -> None:
    tree = Sentence(["My", "old", "cat"], governors=[3, 3, 0], relations=["nmod:poss", "amod", "root"])
    assert offset_baselines([tree]).relations == ("amod", "nmod:poss", "root")
    assert offset_baselines([tree], subtypes="fold").relations == ("amod", "nmod", "root")


def test_documents_give_their_sentences() -> None:
    for x in (Document([DOGS, DOGS]), DocumentWindow([DOGS, DOGS])):
        assert offset_baselines([x]) == offset_baselines([DOGS, DOGS])


def test_nothing_to_count() -> None:
    b = offset_baselines([])
    assert b.count() == 0
    assert math.isnan(b.accuracy(offset=1))
    assert b.to_records()[0]["best_offset"] == 3


def test_rows_and_files(tmp_path: Path) -> None:
    b = offset_baselines([DOGS, DOGS])
    frame = b.to_frame()
    assert list(frame.columns) == [
        "relation",
        "count",
        "best_offset",
        "accuracy",
        *(f"offset {o}" for o in ("-3", "-2", "-1", "+1", "+2", "+3")),
    ]
    assert list(frame["relation"]) == ["all", "nsubj", "obj", "punct", "root"]
    b.to_csv(tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text(encoding="utf-8").splitlines()[1] == "all,8,-2,0.5,0.25,0.5,0.25,0.25,0.0,0.0"
    b.save(tmp_path / "b.json")
    assert OffsetBaselines.load(tmp_path / "b.json") == b
    (tmp_path / "b.json").write_text(
        (tmp_path / "b.json").read_text(encoding="utf-8").replace('"all"', "0").replace('"obj",', "")
    )
    with pytest.raises(StorageError, match=r"b\.json is damaged: ValidationError: there are 3 relations but 4 counts"):
        OffsetBaselines.load(tmp_path / "b.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offsets": ()}, "offsets must be different whole numbers, at least one, but are ()"),
        ({"offsets": (1, 1)}, "offsets must be different whole numbers, at least one, but are (1, 1)"),
        ({"offsets": (1.5,)}, "offsets must be different whole numbers, at least one, but are (1.5,)"),
        ({"clip": "edges"}, "clip must be one of 'root', 'words', 'none', but is 'edges'"),
        ({"punct": True}, "punct must be one of 'include', 'exclude', but is True"),
        ({"root": "no"}, "root must be one of 'include', 'exclude', but is 'no'"),
        ({"subtypes": "x"}, "subtypes must be one of 'keep', 'fold', but is 'x'"),
    ],
)
def test_options_are_checked(options, message) -> None:
    with pytest.raises(ValidationError) as caught:
        offset_baselines([DOGS], **options)
    assert str(caught.value) == message


def test_errors_of_a_result() -> None:
    b = offset_baselines([DOGS])
    with pytest.raises(SelectionError, match=r"^there is no relation 'x'; there are all, nsubj, obj, punct, root$"):
        b.best("x")
    with pytest.raises(SelectionError, match=r"^offset 7 was not tried; there are \(-3, -2, -1, 1, 2, 3\)$"):
        b.accuracy(offset=7)
    with pytest.raises(ValidationError, match=r"^baselines of different clip do not add: 'root' and 'none'$"):
        b + offset_baselines([DOGS], clip="none")
    with pytest.raises(ValidationError, match=r"^baselines are made of sentences with trees, but got 'Dogs'$"):
        offset_baselines(["Dogs"])
    with pytest.raises(ValidationError, match=r"^correct words of 'x' must be one number an offset, from 0 to 1, but"):
        OffsetBaselines((1,), ("x",), (1,), ((2,),))
    with pytest.raises(TypeError):
        b + 1


@st.composite
def sentence_of(draw) -> Sentence:
    n = draw(st.integers(1, 6))
    governors = [draw(st.integers(0, n).filter(lambda g, i=i: g != i)) for i in range(1, n + 1)]
    relations = draw(st.lists(st.sampled_from(["nsubj", "punct", "nmod:poss"]), min_size=n, max_size=n))
    return Sentence(["w"] * n, governors=governors, relations=relations)


@given(st.lists(sentence_of(), max_size=5), st.data())
def test_any_sentences_as_plain_loops(sentences, data) -> None:
    offsets = data.draw(st.sets(st.integers(-7, 7), min_size=1))
    clip = data.draw(st.sampled_from(["root", "words", "none"]))
    punct, root = data.draw(st.booleans()), data.draw(st.booleans())
    b = offset_baselines(
        sentences,
        offsets=tuple(offsets),
        clip=clip,
        punct="include" if punct else "exclude",
        root="include" if root else "exclude",
    )
    slow = [list(zip(s.words, s.governors, s.relations, strict=True)) for s in sentences]
    for relation in ("all", *b.relations):
        for offset in offsets:
            words, correct = treebanks.offset_accuracy(
                slow, None if relation == "all" else relation, offset, clip=clip, punct=punct, root=root
            )
            assert b.count(relation) == words
            assert b.accuracy(relation, offset=offset) == pytest.approx(
                correct / words if words else math.nan, nan_ok=True
            )
            assert words == 0 or b.accuracy(relation, offset=offset) <= b.accuracy(relation, offset=b.best(relation))


@given(st.lists(sentence_of(), max_size=5), st.integers(0, 5))
def test_parts_add_to_the_whole(sentences, cut) -> None:
    whole = offset_baselines(sentences)
    parts = [offset_baselines(sentences[:cut]), offset_baselines(sentences[cut:])]
    assert sum(parts) == parts[1] + parts[0] == whole
    assert sum(b.count(r) for b in [whole] for r in b.relations) == whole.count()
