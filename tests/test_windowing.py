"""Documents cut into windows: worked by hand, as laws, on real corpora, and through the extractor."""

from __future__ import annotations

import dataclasses
import importlib
import operator
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bertattn as ba
import tokenizer_zoo
from bertattn import Document, DocumentWindow, Mention, Sentence
from bertattn.annotation import head_words
from bertattn.errors import BertattnError, InputError, TooLongError
from bertattn.windowing import Windows, _part, windows

# In these tables a letter is one token of the small WordPiece vocabulary, and [CLS] and [SEP] are two more.
WORDPIECE = tokenizer_zoo.wordpiece


def sentences(text: str) -> list[Sentence]:
    return [Sentence(line.split()) for line in text.split("/")]


def cut(document: Document, max_tokens: int | None, **options: Any) -> list[DocumentWindow]:
    options = {"tokenizer": WORDPIECE(), "which": "all"} | options
    return list(windows([document], max_tokens=max_tokens, **options))


def texts(found: list[DocumentWindow]) -> list[str]:
    return [" / ".join(" ".join(s.words) for s in w.sentences) for w in found]


def length(words: Any, tokenizer: Any) -> int:
    """What the model is given, by the tokenizer called as its users call it."""
    return len(tokenizer(" ".join(words), verbose=False)["input_ids"])


@pytest.mark.parametrize(
    ("text", "max_tokens", "cut_at", "expected"),
    [
        ("a b c/d e/f g h i/j", 7, "sentence", ["a b c / d e", "f g h i / j"]),  # 5 words fit
        ("a b c/d e/f g h i/j", 6, "sentence", ["a b c", "d e", "f g h i", "j"]),  # 4 words fit
        ("a b c/d e/f g h i/j", 100, "sentence", ["a b c / d e / f g h i / j"]),
        ("a b c/d e/f g h i/j", 12, "sentence", ["a b c / d e / f g h i / j"]),  # just so
        ("a b c/d e/f g h i/j", 11, "sentence", ["a b c / d e / f g h i", "j"]),
        ("a b c d e f g/h/i j k", 5, "sentence", ["a b c", "d e f", "g / h", "i j k"]),  # the rest, and whole sentences
        ("a/b c d e f/g h", 5, "sentence", ["a", "b c d", "e f", "g h"]),  # a sentence is cut only at a window's start
        ("a/b c d e f/g h", 5, "word", ["a / b c", "d e f", "g h"]),
        ("a b c/d e/f g h i/j", 6, "word", ["a b c / d", "e / f g h", "i / j"]),
        ("a b", 3, "word", ["a", "b"]),
        ("a b", 3, "sentence", ["a", "b"]),
    ],
)
def test_where_documents_are_cut(text: str, max_tokens: int, cut_at: str, expected: list[str]) -> None:
    document = Document(sentences(text))
    found = cut(document, max_tokens, cut_at=cut_at)
    assert texts(found) == expected
    assert [w.first_word for w in found] == [sum(map(len, found[:i])) for i in range(len(found))]
    assert cut(document, max_tokens, cut_at=cut_at, which="first") == found[:1]
    (name,) = {w.document for w in found}
    assert re.fullmatch(r"document 1 \([0-9a-f]{8}\)", name)
    whole = [s for w in found for s in w.sentences if s in document.sentences]
    assert all(any(s is own for own in document.sentences) for s in whole)


def test_mentions_are_kept_renumbered_or_counted() -> None:
    """Windows of words 0-2, 3-5 and 6-8."""
    document = Document(
        sentences("a b c d e f/g h i"),
        [
            Mention(6, 8, "g h"),
            Mention(1, 3, "b c", head=2, type="person", metadata={"identity": "B"}),
            Mention(2, 4, "crosses"),
            Mention(0, 9, "all of it"),
            Mention(3, 6, "d f", parts=[(3, 4), (5, 6)]),
            Mention(5, 9, "parts in two", parts=[(5, 6), (8, 9)]),
            Mention(0, 3, "just"),
        ],
        id="x",
    )
    one, two, three = cut(document, 5)
    assert one.mentions == (Mention(1, 3, "b c", 2, "person", {"identity": "B"}), Mention(0, 3, "just"))
    assert two.mentions == (Mention(0, 3, "d f", parts=((0, 1), (2, 3))),)
    assert three.mentions == (Mention(0, 2, "g h"),)
    assert [w.dropped_mentions for w in (one, two, three)] == [2, 1, 0]
    assert [w.first_word for w in (one, two, three)] == [0, 3, 6]
    assert [w.document for w in (one, two, three)] == ["x"] * 3
    assert cut(document, 5, which="first") == [one]


def test_the_head_word_is_that_of_the_whole_document() -> None:
    """The tree of "b c": c hangs on b, which hangs on e; the window a b c has lost e, but not the head word."""
    tree = Sentence(list("abcde"), governors=[2, 5, 2, 5, 0], relations=["det", "nsubj", "x", "aux", "root"])
    document = Document([tree], [Mention(1, 3, "m"), Mention(3, 5, "n"), Mention(0, 3, "o", head=0)])
    one, two = cut(document, 5)
    assert one.sentences[0].governors == (2, None, 2)
    assert one.sentences[0].relations == ("det", "nsubj", "x")
    assert [m.head for m in one.mentions] == [1, 0]
    assert two.sentences[0].governors == (2, 0)
    assert [m.head for m in two.mentions] == [1]
    flat = Document(sentences("a b c"), [Mention(0, 2, "m"), Mention(2, 3, "n", head=2)])
    assert [m.head for m in cut(flat, 10)[0].mentions] == [None, 2]


def test_a_part_of_a_sentence_has_all_its_columns() -> None:
    s = Sentence(
        ["Ann", "don", "'t", "go", "."],
        governors=[4, 4, None, 0, 4],
        relations=["nsubj", "aux", None, "root", "punct"],
        lemmas=["Ann", "do", "not", "go", "."],
        upos=["PROPN", "AUX", "PART", "VERB", "PUNCT"],
        xpos=["NNP", None, "RB", "VB", "."],
        feats=[{"Number": "Sing"}, None, None, {}, None],
        space_after=[True, False, True, False, True],
        id="s1",
        document="d",
        metadata={"speakers": tuple("AAAAA"), "comments": ("x",)},
    )
    assert _part(s, 0, 5) is s
    part = _part(s, 1, 4)
    assert part.governors == (3, None, 0)
    assert (part.id, part.document, part.metadata) == ("s1", "d", {})
    for column in dataclasses.fields(Sentence)[:8]:
        if column.name != "governors":
            assert getattr(part, column.name) == getattr(s, column.name)[1:4], column.name
    assert _part(s, 4, 5).governors == (None,)
    assert _part(Sentence(["a", "b"]), 1, 2) == Sentence(["b"])


def test_spacing_decides_how_the_tokens_are_counted() -> None:
    tokenizer = tokenizer_zoo.byte_bpe_gpt2()
    document = Document([Sentence(["x", ".", "y", "."], space_after=[False] * 4)])
    single, natural = tokenizer("x . y .")["input_ids"], tokenizer("x.y.")["input_ids"]
    assert len(natural) < len(single)
    options = {"tokenizer": tokenizer, "which": "all"}
    assert len(list(windows([document], max_tokens=len(natural), spacing="natural", **options))) == 1
    assert len(list(windows([document], max_tokens=len(natural), **options))) == 2
    assert len(list(windows([document], max_tokens=len(single), **options))) == 1


# Laws


WORDS = st.sampled_from(
    (
        "a",
        "cat's",
        "The",
        "1869",
        "lighthouse-keeper",
        "\u200b",
        "…",
        "中文字",
        "naïve",
        "🦊",
        "...",
        "&c.",
        "[SEP]",
        "of",
        ",",
    )
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    sents = []
    for words in draw(st.lists(st.lists(WORDS, min_size=1, max_size=25), min_size=1, max_size=8)):
        n = len(words)
        governors = [0 if g == i + 1 else g for i, g in enumerate(draw(st.tuples(*[st.integers(0, n)] * n)))]
        sents.append(
            Sentence(words, governors=draw(st.sampled_from([None, governors])), space_after=[w != "of" for w in words])
        )
    count = sum(map(len, sents))
    mentions = []
    for edges in draw(st.lists(st.sets(st.integers(0, count), min_size=2, max_size=4), max_size=12)):
        first, *rest = sorted(edges)
        parts = [(first, rest[0]), (rest[1], rest[2])] if len(rest) == 3 else []
        mentions.append(Mention(first, rest[-1], draw(st.sampled_from("efg")), parts=parts))
    return Document(sents, mentions, id=draw(st.sampled_from(["d", None])))


# A word alone has far fewer tokens, also in the byte-level ones, so one always fits.
LIMITS = st.integers(40, 90)


def tokenizers() -> st.SearchStrategy[Any]:
    return st.sampled_from(sorted(tokenizer_zoo.FAST)).map(lambda name: tokenizer_zoo.FAST[name]())


def split_special(text: str, tokenizer: Any) -> int:
    """As the extractor reads text: nothing in it is a special token."""
    return len(tokenizer(text, split_special_tokens=True)["input_ids"])


@given(documents(), LIMITS, tokenizers(), st.sampled_from(["sentence", "word"]), st.sampled_from(["single", "natural"]))
def test_every_window_fits_and_what_follows_would_not(
    document: Document, limit: int, tokenizer: Any, cut_at: str, spacing: str
) -> None:
    found = cut(document, limit, tokenizer=tokenizer, cut_at=cut_at, spacing=spacing)
    words, spaces = document.words, [space for s in document.sentences for space in s.space_after or ()]
    ends = set(np.cumsum([len(s) for s in document.sentences]).tolist())

    def tokens(start: int, end: int) -> int:
        text, _ = Sentence(words[start:end], space_after=spaces[start:end]).text(spacing=spacing)
        return split_special(text, tokenizer)

    assert [word for w in found for word in w.words] == list(words)
    for w in found:
        start, end = w.first_word, w.first_word + len(w)
        assert w.words == words[start:end]
        assert split_special(w.text(spacing=spacing)[0], tokenizer) == tokens(start, end) <= limit
        if end == len(words):
            continue
        if cut_at == "word" or end not in ends:
            assert tokens(start, end + 1) > limit
        assert tokens(start, min(e for e in ends if e > end)) > limit
        if end not in ends and cut_at == "sentence":
            assert not any(start < e < end for e in ends)
    assert cut(document, limit, tokenizer=tokenizer, cut_at=cut_at, spacing=spacing, which="first") == found[:1]


@given(documents(), st.integers(20, 90), st.sampled_from(["sentence", "word"]))
def test_as_the_slow_reference(document: Document, limit: int, cut_at: str) -> None:
    """Word after word, sentence after sentence, until no more fits."""
    tokenizer = WORDPIECE()
    units = [list(s.words) for s in document.sentences]
    if cut_at == "word":
        units = [[word] for words in units for word in words]
    expected: list[list[str]] = []
    while units:
        window: list[str] = []
        while units and split_special(" ".join(window + units[0]), tokenizer) <= limit:
            window += units.pop(0)
        if not window:
            while split_special(" ".join([*window, units[0][0]]), tokenizer) <= limit:
                window.append(units[0].pop(0))
        expected.append(window)
    assert [list(w.words) for w in cut(document, limit, cut_at=cut_at)] == expected


@given(documents(), LIMITS, st.sampled_from(["sentence", "word"]))
def test_every_mention_is_kept_once_or_counted_once(document: Document, limit: int, cut_at: str) -> None:
    found = cut(document, limit, cut_at=cut_at)
    assert sum(len(w.mentions) + w.dropped_mentions for w in found) == len(document.mentions)
    heads = dict(zip(range(len(document.mentions)), head_words(document), strict=True))
    kept = []
    for w in found:
        start, end = w.first_word, w.first_word + len(w)
        inside = [i for i, m in enumerate(document.mentions) if start <= m.start and m.end <= end]
        assert w.dropped_mentions == sum(start <= m.start < end < m.end for m in document.mentions)
        assert len(inside) == len(w.mentions)
        for i, m in zip(inside, w.mentions, strict=True):
            whole = document.mentions[i]
            assert [word + start for word in m.words] == list(whole.words)
            assert m.entity == whole.entity
            assert (None if m.head is None else m.head + start) == heads[i]
        kept += inside
    assert len(set(kept)) == len(kept)


@given(documents(), LIMITS)
def test_governors_of_a_part_are_those_of_the_document(document: Document, limit: int) -> None:
    whole = [
        None if s.governors is None or not s.governors[i] else sum(map(len, document.sentences[:n])) + s.governors[i]
        for n, s in enumerate(document.sentences)
        for i in range(len(s))
    ]
    for w in cut(document, limit, cut_at="word"):
        first = w.first_word
        for s in w.sentences:
            for i, g in enumerate(s.governors or ()):
                expected = whole[first + i]
                if g:
                    assert expected == first + g
                elif expected is not None:
                    assert g is None
                    assert not first < expected <= first + len(s)
            first += len(s)


def test_a_slow_tokenizer_counts_too() -> None:
    document = Document([Sentence(["MKT", "AY", "IA"]), Sentence(["LLL"])], [Mention(3, 4, "e")])
    found = cut(document, 9, tokenizer=tokenizer_zoo.slow_tokenizer())
    assert texts(found) == ["MKT AY IA", "LLL"]
    with pytest.raises(InputError, match=r"^document 1: the text holds '<eos>', which EsmTokenizer reads as a special"):
        cut(Document([Sentence(["MK<eos>T"])]), 9, tokenizer=tokenizer_zoo.slow_tokenizer())


def test_words_without_tokens_take_no_room() -> None:
    found = cut(Document([Sentence(["a", *["\u200b"] * 5000, "b", "c"])]), 4)
    assert [len(w) for w in found] == [5002, 1]
    assert found[1].words == ("c",)


# How much is encoded


@pytest.mark.parametrize("cut_at", ["sentence", "word"])
@pytest.mark.parametrize("size", [10, 20000])
def test_no_text_is_encoded_more_than_a_few_times(monkeypatch: pytest.MonkeyPatch, cut_at: str, size: int) -> None:
    """A document of 20,000 words costs ten times one of 2,000, also where it is all one sentence."""
    from bertattn import _prepare

    encoded: list[int] = []
    true = _prepare._encode

    def counting(tokenizer: Any, text: str) -> Any:
        encoding = true(tokenizer, text)
        encoded.append(len(encoding["input_ids"]))
        return encoding

    monkeypatch.setattr(_prepare, "_encode", counting)
    text = " ".join(tokenizer_zoo.SENTENCES).split() * 30
    words = text[:20000]
    document = Document([Sentence(words[i : i + size]) for i in range(0, len(words), size)])
    found = cut(document, 64, cut_at=cut_at)
    assert len(encoded) < 6 * len(found)
    assert sum(encoded) < 12 * sum(length(w.words, WORDPIECE()) for w in found)


# What may be given


def test_a_sequence_is_read_as_often_as_wanted_and_a_stream_once() -> None:
    docs = [Document(sentences("a b/c"), id="x"), Document(sentences("d e"))]
    found = windows(docs, max_tokens=4, tokenizer=WORDPIECE(), which="all")
    assert texts(list(found)) == texts(list(found)) == ["a b", "c", "d e"]
    names = [w.document for w in found]
    assert names[:2] == ["x", "x"]
    assert names[2].startswith("document 2 (")
    # Two calls do not give one name to different documents.
    first = [next(iter(windows([Document(sentences(text))], max_tokens=9, tokenizer=WORDPIECE()))) for text in "ab"]
    assert first[0].document != first[1].document
    asked = []

    def stream() -> Iterator[Document]:
        for number, document in enumerate(docs):
            asked.append(number)
            yield document

    lazily = windows(stream(), max_tokens=4, tokenizer=WORDPIECE(), which="all")
    assert asked == []
    reading = iter(lazily)
    next(reading)
    assert asked == [0]
    assert texts(list(reading)) == ["c", "d e"]
    assert list(lazily) == []


def test_its_length_is_known_for_first_windows_of_known_documents() -> None:
    docs = [Document(sentences("a b/c"))] * 3
    assert operator.length_hint(windows(docs)) == 3
    assert operator.length_hint(windows(iter(docs))) == 3
    assert operator.length_hint(windows(d for d in docs)) == 0
    assert operator.length_hint(windows(docs, which="all")) == 0
    assert len(list(windows(docs, max_tokens=4, tokenizer=WORDPIECE()))) == 3
    assert repr(windows(docs, max_tokens=9)) == (
        "Windows(3 documents, max_tokens=9, which='first', cut_at='sentence', tokenizer=None, spacing='single')"
    )
    assert repr(windows(iter(docs), tokenizer=WORDPIECE())) == (
        "Windows(a stream, max_tokens=None, which='first', cut_at='sentence', tokenizer=BertTokenizer, "
        "spacing='single')"
    )


def test_it_is_frozen_and_leaves_what_it_reads_alone() -> None:
    document = Document(sentences("a b c d/e"), [Mention(1, 3, "e")])
    before = repr(document)
    found = windows((document,), max_tokens=np.int64(4), tokenizer=WORDPIECE(), which="all")
    list(found)
    assert repr(document) == before
    assert type(found.max_tokens) is int
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.max_tokens = 5  # type: ignore[misc]
    assert list(dataclasses.replace(found, which="first")) == list(found)[:1]


ONE = Document(sentences("a b"))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (ONE, {}, "documents is one Document; give a list: windows([document])"),
        (
            "gum.conllu",
            {},
            "documents must be a sequence or stream of Document, but is 'gum.conllu'; read the file first: bertattn.r",
        ),
        (Path("a.conllu"), {}, "read the file first: bertattn.readers.read_corefud(path)"),
        (None, {}, "documents must be a sequence or stream of Document, but is a NoneType; give a list"),
        ({"x": ONE}, {}, "but is a dict; give a list"),
        ({ONE}, {}, "but is a set; give a list"),
        (Sentence(["a"]), {}, "but is a Sentence; give a list"),
        ([ONE], {"which": "last"}, "which must be 'first' or 'all', but is 'last'"),
        ([ONE], {"cut_at": "token"}, "cut_at must be 'sentence' or 'word', but is 'token'"),
        ([ONE], {"spacing": "none"}, "spacing must be 'single' or 'natural', but is 'none'"),
        ([ONE], {"max_tokens": 0}, "max_tokens must be a whole number, at least 1, but is 0"),
        ([ONE], {"max_tokens": "128"}, "max_tokens must be a whole number, at least 1, but is '128'"),
        ([ONE], {"max_tokens": True}, "max_tokens must be a whole number, at least 1, but is True"),
        ([ONE], {"tokenizer": "bert"}, "tokenizer must be a transformers tokenizer, but is 'bert'; that of an"),
    ],
)
def test_what_cannot_be_cut_is_refused_at_once(given: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        windows(given, **options)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([ONE, Sentence(["a"])], {"max_tokens": 9}, "document 2 must be a Document, but is Sentence(words=('a',)"),
        (
            [ONE],
            {"max_tokens": 9, "tokenizer": None},
            "these have none; give them to ext.extract, or tokenizer=ext.tokenizer",
        ),
        ([ONE], {}, "neither the model nor its tokenizer says how many tokens it takes; give max_tokens"),
        (
            [Document([Sentence(["\u200b", "a"])], id="d")],
            {"max_tokens": 2},
            "'a', word 1 of document 'd', counted from 0, has 3 tokens, special ones included, but a window takes 2",
        ),
        ([Document([Sentence(["\ud800"])])], {"max_tokens": 9}, "document 1: the text is no valid Unicode"),
    ],
)
def test_what_shows_while_reading_names_the_document(given: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        list(windows(given, **({"tokenizer": WORDPIECE(), "which": "all"} | options)))


def test_the_tokenizers_limit_holds_where_none_is_given() -> None:
    from transformers import BertTokenizer

    limited = BertTokenizer(vocab=WORDPIECE().get_vocab(), model_max_length=5)
    assert texts(cut(Document(sentences("a b/c/d")), None, tokenizer=limited)) == ["a b / c", "d"]


# Through the extractor


@cache
def extractor(name: str = "bert") -> Any:
    pytest.importorskip("torch")
    return ba.Extractor(*importlib.import_module("model_zoo").build(name))


LONG = Document(sentences("/".join(["a b c d e"] * 50)), [Mention(0, 2, "e"), Mention(5, 6, "e")], id="x")


def test_the_extractor_lends_its_tokenizer_and_its_limit() -> None:
    ext = extractor()
    unbound = windows([LONG], max_tokens=12, which="all")
    maps = list(ext.extract(unbound))
    assert [a.annotation for a in maps] == list(windows([LONG], max_tokens=12, which="all", tokenizer=ext.tokenizer))
    assert len(maps) == 25
    assert all(len(a.queries) == 12 for a in maps)
    assert unbound.tokenizer is None
    (whole,) = ext.extract(windows([LONG]))
    assert len(whole.queries) == 92  # 18 sentences of 5 words: 96 is the limit
    assert len(next(ext.extract(windows([LONG], cut_at="word"))).queries) == 96
    assert next(ext.extract(windows(iter([LONG]), max_tokens=12))).annotation.mentions == LONG.mentions


def test_its_stream_knows_how_many_are_to_come(capsys: pytest.CaptureFixture[str]) -> None:
    ext = extractor()
    assert operator.length_hint(ext.extract(windows([LONG] * 3, max_tokens=12))) == 3
    assert operator.length_hint(ext.extract(windows([LONG] * 3, max_tokens=12, which="all"))) == 0
    list(ext.extract(windows([LONG] * 3, max_tokens=12), progress=True))
    assert "3/3" in capsys.readouterr().err


def test_windows_longer_than_the_model_are_refused_at_once() -> None:
    ext = extractor()
    message = "windows of max_tokens=97 do not fit: the model takes 96 tokens; give max_tokens=96 or less"
    for own in (None, ext.tokenizer):
        for on_too_long in ("error", "skip"):
            with pytest.raises(TooLongError, match=f"^{message}$"):
                ext.extract(windows([LONG], max_tokens=97, tokenizer=own), on_too_long=on_too_long)
    assert len(next(ext.extract(windows([LONG], max_tokens=96))).queries) == 92


def test_a_model_without_limit_needs_max_tokens() -> None:
    ext = extractor("t5")
    assert ext._limit is None
    with pytest.raises(InputError, match="neither the model nor its tokenizer says"):
        ext.extract(windows([LONG]))
    assert len(list(ext.extract(windows([LONG], max_tokens=40)))) == 1


def test_spacing_is_that_of_the_extractor() -> None:
    ext = extractor("gpt2")
    document = Document([Sentence(["x", ".", "y", "."], space_after=[False] * 4)])
    (a,) = ext.extract(windows([document], max_tokens=20), spacing="natural")
    assert "".join(a.queries.tokens) == "x.y."
    message = "the windows are cut with spacing='{}' but read with spacing='{}'; give both the same"
    with pytest.raises(InputError, match=message.format("natural", "single")):
        ext.extract(windows([document], max_tokens=20, spacing="natural"))
    with pytest.raises(InputError, match=message.format("single", "natural")):
        ext.extract(windows([document], max_tokens=20, tokenizer=ext.tokenizer), spacing="natural")
    bound = windows([document], spacing="natural").bound(ext.tokenizer, limit=7, spacing="natural")
    assert (bound.max_tokens, bound.spacing, bound.tokenizer) == (7, "natural", ext.tokenizer)


def test_inputs_that_are_no_windows_are_sent_here() -> None:
    ext = extractor()
    for call in (ext, lambda x: list(ext.extract([x])), ext.extract):
        with pytest.raises(InputError, match=r"windows that fit the model.*: ext\.extract\(bertattn\.windows"):
            call(LONG)
    for call in (ext, ext.capture, lambda x: list(ext.extract([x]))):
        with pytest.raises(InputError, match=r"many inputs, not one; give them alone to extract: ext\.extract"):
            call(windows([LONG]))
    with pytest.raises(TooLongError, match=r"or cut documents into windows that fit with bertattn\.windows"):
        ext(DocumentWindow(LONG.sentences))


def test_errors_come_after_the_maps_of_what_was_read_before() -> None:
    ext = extractor()
    stream = ext.extract(windows([LONG, Document([Sentence(["a" * 40])])], max_tokens=12))
    assert next(stream).annotation.document == "x"
    with pytest.raises(BertattnError, match="word 0 of document 2"):
        next(stream)
    empty = Document([Sentence(["\u200b"])])
    stream = ext.extract(windows([empty, LONG], max_tokens=12), on_error="skip")
    assert [a.annotation.document for a in stream] == ["x"]
    assert [one.index for one in stream.skipped] == [0]


# Real corpora


def gum(data_dir: Path) -> list[Document]:
    paths = sorted((data_dir / "coref" / "gum_open_by" / "dev" / "dep").glob("*.conllu"))
    return [document for path in paths for document in ba.readers.read_corefud(path)]


def litbank(data_dir: Path) -> list[Document]:
    paths = sorted((data_dir / "coref" / "litbank" / "sample").glob("*.conll"))
    return [document for path in paths for document in ba.readers.read_conll2012(path)]


@pytest.mark.parametrize(
    ("corpus", "which", "cut_at", "counts"),
    [
        (gum, "first", "sentence", (16, 1576, 473, 0)),
        (gum, "all", "sentence", (153, 15124, 4204, 0)),
        (gum, "first", "word", (16, 1808, 530, 6)),
        (gum, "all", "word", (138, 15124, 4134, 70)),
        (litbank, "first", "sentence", (5, 507, 55, 0)),
        (litbank, "all", "sentence", (113, 10820, 1359, 1)),
        (litbank, "first", "word", (5, 578, 65, 0)),
        (litbank, "all", "word", (97, 10820, 1347, 13)),
    ],
)
def test_corpora_in_windows_of_128_tokens(
    data_dir: Path, corpus: Any, which: Any, cut_at: Any, counts: tuple[int, ...]
) -> None:
    """Windows, words in them, mentions kept and dropped; each window is as long as the tokenizer itself says."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_zoo.minilm_path())
    docs = corpus(data_dir)
    found = list(windows(docs, max_tokens=128, which=which, cut_at=cut_at, tokenizer=tokenizer))
    kept, dropped = sum(len(w.mentions) for w in found), sum(w.dropped_mentions for w in found)
    assert (len(found), sum(map(len, found)), kept, dropped) == counts
    words = {document.id: document.words for document in docs}
    for w, after in zip(found, [*found[1:], None], strict=True):
        assert length(w.words, tokenizer) <= 128
        end = w.first_word + len(w)
        assert w.words == words[w.document][w.first_word : end]
        if which == "all" and (after is None or after.document != w.document):
            assert end == len(words[w.document])
        elif which == "all" and after is not None:
            assert after.first_word == end
            more = after.words[:1] if cut_at == "word" else after.sentences[0].words
            assert length(w.words + more, tokenizer) > 128
    if corpus is gum:
        assert all(m.head is not None for w in found for m in w.mentions)
    assert isinstance(windows(docs), Windows)
