"""Sentences, mentions, documents and windows: frozen, checked, copied and sent whole."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertattn.annotation import Document, DocumentWindow, Mention, Sentence, head_words
from bertattn.errors import ValidationError

FULL = Sentence(
    ["She", "did", "n't", "see", "."],
    governors=[4, 4, 4, 0, 4],
    relations=["nsubj", "aux", "advmod", "root", "punct"],
    lemmas=["she", "do", "not", "see", None],
    upos=["PRON", "AUX", "PART", "VERB", "PUNCT"],
    xpos=["PRP", "VBD", "RB", "VB", "."],
    feats=[{"Gender": "Fem"}, {}, None, {"VerbForm": "Inf"}, {}],
    space_after=[True, False, True, False, True],
    id="s1",
    document="d1",
    metadata={"comments": ["text = She didn't see."], "multiword": {(1, 3): "didn't"}},
)
DOCUMENT = Document(
    [FULL, Sentence(["It", "rains"])],
    [Mention(0, 1, "e1", head=0, type="person", metadata={"MinSpan": "1"}), Mention(5, 6, "e2")],
    id="d1",
    metadata={"genre": "prose"},
)
WINDOW = DocumentWindow(DOCUMENT.sentences, DOCUMENT.mentions, "d1", first_word=10, dropped_mentions=2)
COPIES = [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), dataclasses.replace]


def test_columns_become_tuples() -> None:
    assert FULL.words == ("She", "did", "n't", "see", ".")
    assert FULL.governors == (4, 4, 4, 0, 4)
    assert FULL.lemmas == ("she", "do", "not", "see", None)
    assert FULL.feats == ({"Gender": "Fem"}, {}, {}, {"VerbForm": "Inf"}, {})
    assert len(FULL) == 5


@pytest.mark.parametrize("kind", [np.array, torch.tensor, lambda numbers: [np.int64(n) for n in numbers]])
def test_arrays_are_columns_too(kind) -> None:
    sentence = Sentence(np.array(["a", "b"]), governors=kind([2, 0]), space_after=np.array([True, False]))
    assert sentence == Sentence(("a", "b"), governors=(2, 0), space_after=(True, False))
    assert [type(v) for v in (sentence.words[0], sentence.governors[0], sentence.space_after[0])] == [str, int, bool]


@pytest.mark.parametrize("x", [FULL, DOCUMENT.mentions[0], DOCUMENT, WINDOW], ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("copied", COPIES)
def test_copies_are_equal_with_equal_hashes_and_still_frozen(x, copied) -> None:
    y = copied(x)
    assert y == x
    assert hash(y) == hash(x)
    for field in dataclasses.fields(y):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(y, field.name, None)
    mappings = [*([y.metadata] if hasattr(y, "metadata") else []), *(getattr(y, "feats", None) or ())]
    for mapping in mappings:
        with pytest.raises(TypeError, match=r"annotation is frozen; make a changed copy with dataclasses.replace"):
            mapping["new"] = 1


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(a=1),
        lambda d: d.pop("MinSpan"),
        lambda d: d.clear(),
        lambda d: d.setdefault("a", 1),
        lambda d: d.popitem(),
        lambda d: d.__delitem__("MinSpan"),
        lambda d: d.__ior__({"a": 1}),
    ],
)
def test_no_method_changes_a_mapping(change) -> None:
    metadata = DOCUMENT.mentions[0].metadata
    with pytest.raises(TypeError, match="frozen"):
        change(metadata)
    assert metadata == {"MinSpan": "1"}
    assert json.dumps(metadata) == '{"MinSpan": "1"}'


def test_what_was_given_is_copied() -> None:
    words, feats, metadata = ["a", "b"], [{"Number": "Sing"}, {}], {"k": "v"}
    sentence = Sentence(words, feats=feats, metadata=metadata)
    words[0] = "z"
    feats[0]["Number"] = "Plur"
    metadata["k"] = "w"
    assert sentence == Sentence(["a", "b"], feats=[{"Number": "Sing"}, {}], metadata={"k": "v"})


def test_equality_reads_every_field() -> None:
    other = {
        "words": ("He", "did", "n't", "see", "."),
        "governors": (4, 4, 4, 0, 3),
        "relations": None,
        "lemmas": None,
        "upos": None,
        "xpos": None,
        "feats": None,
        "space_after": None,
        "id": "s2",
        "document": None,
        "metadata": {},
    }
    assert set(other) == {f.name for f in dataclasses.fields(Sentence)}
    for name, value in other.items():
        assert dataclasses.replace(FULL, **{name: value}) != FULL, name


def test_fields_can_be_read_as_plain_dicts() -> None:
    assert dataclasses.asdict(FULL)["feats"][0] == {"Gender": "Fem"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"words": "a b"}, "words must be a sequence of words, but got one string 'a b'; split it first"),
        ({"words": []}, "a sentence needs at least one word, but got none"),
        ({"words": 5}, "words must be a sequence, one entry a word, but is 5"),
        ({"words": ["a", ""]}, "word 1 must be a non-empty string, but is ''"),
        ({"words": ["a", None]}, "word 1 must be a non-empty string, but is None"),
        ({"words": ["a"], "governors": [0, 1]}, "governors has 2 entries but there are 1 words"),
        ({"words": ["a"], "relations": []}, "relations has 0 entries but there are 1 words"),
        ({"words": ["a", "b"], "upos": "NN"}, "upos must be a sequence, one entry a word, but is one string 'NN'"),
        ({"words": ["a"], "lemmas": ()}, "lemmas has 0 entries but there are 1 words"),
        ({"words": ["a"], "xpos": ["x", "y"]}, "xpos has 2 entries but there are 1 words"),
        ({"words": ["a"], "feats": [{}, {}]}, "feats has 2 entries but there are 1 words"),
        ({"words": ["a"], "feats": ["Number=Sing"]}, "feats of word 0 must be a mapping, but is 'Number=Sing'"),
        ({"words": ["a"], "space_after": []}, "space_after has 0 entries but there are 1 words"),
        ({"words": ["a"], "metadata": ["x"]}, "metadata must be a mapping, but is ['x']"),
        (
            {"words": ["a", "b"], "governors": [3, 0]},
            "governor of 'a' is 3; governors are whole numbers that count the words from 1, here to 2",
        ),
        (
            {"words": ["a"], "governors": [-1]},
            "governor of 'a' is -1; governors are whole numbers that count",
        ),
        (
            {"words": ["a"], "governors": ["0"]},
            "governor of 'a' is '0'; governors are whole numbers that count",
        ),
        (
            {"words": ["a"], "governors": [False]},
            "governor of 'a' is False; governors are whole numbers that count",
        ),
        ({"words": ["a", "b"], "governors": [0, 2]}, "'b', word 2 counted from 1, governs itself"),
    ],
)
def test_bad_sentences_are_refused(fields, message) -> None:
    with pytest.raises(ValidationError) as caught:
        Sentence(**fields)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((2, 2), "a mention spans words [start, end) with 0 <= start < end, but got [2, 2)"),
        ((-1, 2), "a mention spans words [start, end) with 0 <= start < end, but got [-1, 2)"),
        ((0.0, 2), "a mention spans words [start, end) with 0 <= start < end, but got [0.0, 2)"),
        ((1, 3, 3), "head 3 lies outside its mention [1, 3)"),
        ((1, 3, 0), "head 0 lies outside its mention [1, 3)"),
        (
            (1, 7, 3, None, {}, [(1, 3), (5, 7)]),
            "head 3 lies outside its mention [1, 7) with the parts ((1, 3), (5, 7))",
        ),
        (
            (1, 3, None, None, {}, [(1, 3)]),
            "parts of a mention are at least two spans with gaps between them, from 1 to 3",
        ),
        ((1, 4, None, None, {}, [(1, 2), (2, 4)]), "parts of a mention are at least two spans with gaps between them"),
        ((1, 4, None, None, {}, [(3, 4), (1, 2)]), "parts of a mention are at least two spans with gaps between them"),
        ((1, 4, None, None, {}, [(1, 2), (3, 5)]), "parts of a mention are at least two spans with gaps between them"),
        ((1, 4, None, None, {}, [(1, 2, 3), (4,)]), "parts of a mention are at least two spans with gaps between them"),
        ((1, 4, None, None, {}, [1, 4]), "parts of a mention are at least two spans with gaps between them"),
        ((1, 3, "x"), "a mention spans words [start, end) with 0 <= start < end, but got [1, 3) with head 'x'"),
    ],
)
def test_bad_mentions_are_refused(fields, message) -> None:
    start, end, *head = fields
    with pytest.raises(ValidationError) as caught:
        Mention(start, end, "e", *head)
    assert str(caught.value).startswith(message)


def test_mentions_with_gaps() -> None:
    m = Mention(2, 8, "e", 7, parts=[[2, 4], (5, 6), (7, 8)])
    assert m.parts == ((2, 4), (5, 6), (7, 8))
    assert m.words == (2, 3, 5, 7)
    assert Mention(2, 4, "e").words == (2, 3)
    assert hash(m) == hash(Mention(2, 8, "e", 7, parts=m.parts)) != hash(Mention(2, 8, "e", 7))


@pytest.mark.parametrize("kind", [Document, DocumentWindow])
def test_head_words(kind) -> None:
    # a <- b <- c (root) -> d | e (root) -> f; then a sentence without a tree, and one that hangs together in a circle
    trees = [
        Sentence(["a", "b", "c", "d"], governors=[2, 3, 0, 3]),
        Sentence(["e", "f"], governors=[0, 1]),
        Sentence(["g", "h"]),
        Sentence(["i", "j", "k"], governors=[None, 0, 2]),
        Sentence(["l", "m", "n"], governors=[2, 1, 2]),
    ]
    expected = {
        (0, 2): 1,  # b
        (0, 4): 2,  # c
        (3, 4): 3,  # d
        (2, 6): 2,  # c and e are roots: the first
        (3, 6): 4,  # d hangs on c, outside, but e is nearer to its root
        (4, 6): 4,
        (6, 8): None,
        (5, 7): None,
        (8, 10): None,
        (9, 11): 9,
        (11, 13): None,
        (12, 14): 12,
    }
    mentions = [Mention(a, b, "x") for a, b in expected]
    assert dict(zip(expected, head_words(kind(trees, mentions)), strict=True)) == expected
    gap = Mention(0, 4, "x", parts=[(0, 1), (3, 4)])
    assert head_words(kind(trees, [gap, Mention(0, 4, "x", 0)])) == (3, 0)
    assert head_words(kind(trees)) == ()


@pytest.mark.parametrize("kind", [Document, DocumentWindow])
def test_bad_documents_are_refused(kind) -> None:
    name = "document" if kind is Document else "window"
    with pytest.raises(ValidationError, match=f"^a {name} needs at least one sentence, but got none$"):
        kind([])
    with pytest.raises(
        ValidationError, match=rf"^sentences of a {name} must be a sequence of Sentence, but is Sentence\("
    ):
        kind(Sentence(["a"]))
    with pytest.raises(ValidationError, match=f"^sentences of a {name} must be a sequence of Sentence, but is"):
        kind([["a", "b"]])
    with pytest.raises(ValidationError, match=f"^mentions of a {name} must be a sequence of Mention, but is"):
        kind([Sentence(["a"])], [(0, 1, "e")])
    with pytest.raises(ValidationError) as caught:
        kind([Sentence(["a"]), Sentence(["b"])], [Mention(1, 3, "e9")])
    assert str(caught.value) == "mention of 'e9' spans words [1, 3) but there are only 2 words"


@pytest.mark.parametrize("name", ["first_word", "dropped_mentions"])
def test_windows_count_from_0(name) -> None:
    with pytest.raises(ValidationError, match=f"^{name} must be a number from 0, but is -1$"):
        DocumentWindow([Sentence(["a"])], **{name: -1})


def test_documents_and_windows_number_words_over_their_sentences() -> None:
    for x in (DOCUMENT, WINDOW):
        assert x.words == ("She", "did", "n't", "see", ".", "It", "rains")
        assert len(x) == 7
        assert x.words[x.mentions[1].start : x.mentions[1].end] == ("It",)


def test_text_by_hand() -> None:
    assert FULL.text()[0] == "She did n't see ."
    assert FULL.text(spacing="natural") == ("She didn't see.", ((0, 3), (4, 7), (7, 10), (11, 14), (14, 15)))
    assert WINDOW.text(spacing="natural")[0] == "She didn't see. It rains"
    assert Sentence(["a", "b"], space_after=[True, True]).text()[0] == "a b"


def test_the_last_word_is_followed_by_no_space() -> None:
    assert Sentence(["a"], space_after=[True]).text(spacing="natural")[0] == "a"
    glued = DocumentWindow([Sentence(["a"], space_after=[False]), Sentence(["b"])])
    assert glued.text(spacing="natural")[0] == "ab"


@pytest.mark.parametrize("x", [FULL, WINDOW], ids=["Sentence", "DocumentWindow"])
def test_an_unknown_spacing_is_refused(x) -> None:
    with pytest.raises(ValidationError, match=r"^spacing must be 'single' or 'natural', but is 'none'$"):
        x.text(spacing="none")


words = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=8)


@given(words, st.data(), st.sampled_from(["single", "natural"]))
def test_spans_slice_back_to_the_words_and_only_single_spaces_lie_between(words, data, spacing) -> None:
    spaces = data.draw(st.none() | st.lists(st.booleans(), min_size=len(words), max_size=len(words)))
    text, spans = Sentence(words, space_after=spaces).text(spacing=spacing)
    assert [text[start:end] for start, end in spans] == words
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text)
    for i, ((_, end), (start, _)) in enumerate(itertools.pairwise(spans)):
        space = spacing == "single" or spaces is None or spaces[i]
        assert text[end:start] == (" " if space else "")


@given(words, st.data())
def test_a_window_reads_as_its_words_in_one_sentence(words, data) -> None:
    cut = data.draw(st.integers(0, len(words)))
    parts = [Sentence(part) for part in (words[:cut], words[cut:]) if part]
    assert DocumentWindow(parts).text() == Sentence(words).text()
