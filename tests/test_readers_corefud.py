"""CorefUD: brackets, fields, parts, head words; and GUM, counted and compared with plain loops."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertattn import storage
from bertattn.annotation import Document, DocumentWindow, Mention
from bertattn.errors import ReaderError
from bertattn.readers import Corpus, iter_corefud, read_conll2012, read_corefud, to_conllu
from bertattn.tensor import AttentionTensor
from reference import treebanks

HEADER = "# global.Entity = eid-etype-head-other\n"


def text(*entities: str, header: str = "# newdoc id = d\n" + HEADER, ids=None, governors=None) -> str:
    """A sentence of as many words, each with this Entity; a chain from the first word, the root."""
    lines = []
    for i, entity in enumerate(entities):
        number = ids[i] if ids else str(i + 1)
        is_word = number.isdigit()
        governor = "_" if not is_word else str(governors[i] if governors else int(number) - 1)
        misc = f"Entity={entity}" if entity else "_"
        lines.append(f"{number}\tw{number}\t_\t_\t_\t_\t{governor}\t{'dep' if is_word else '_'}\t_\t{misc}\n")
    return header + "".join(lines) + "\n"


def read(content: str, **options) -> Corpus[Document]:
    return read_corefud(io.StringIO(content), **options)


def found(*entities: str, **options) -> list[tuple[str, int, int]]:
    (document,) = read(text(*entities, **options))
    return [(m.entity, m.start, m.end) for m in document.mentions]


def test_brackets_by_hand() -> None:
    assert found("(e1-person-1", "", "e1)", "(e2)") == [("e1", 0, 3), ("e2", 3, 4)]
    assert found("(e1(e2", "e2)", "e1)") == [("e1", 0, 3), ("e2", 0, 2)]
    assert found("(e1", "(e2", "e1)", "e2)") == [("e1", 0, 3), ("e2", 1, 4)]  # crossing
    assert found("(e1", "(e1", "e1)", "e1)") == [("e1", 0, 4), ("e1", 1, 3)]  # of one entity: nested
    assert found("(e3(e4", "(e9)e4)e3)") == [("e3", 0, 2), ("e4", 0, 2), ("e9", 1, 2)]
    assert found("(e1", "e1)(e1", "e1)") == [("e1", 0, 2), ("e1", 1, 3)]
    assert found("(e1", "(e1)e1)") == [("e1", 0, 2), ("e1", 1, 2)]


def test_a_closing_bracket_before_its_opening_on_one_line() -> None:
    assert found("e1)(e1") == [("e1", 0, 1)]
    assert found("(e2", "e1)e2)(e1") == [("e2", 0, 2), ("e1", 1, 2)]


def test_fields_in_the_order_they_are_declared() -> None:
    header = "# newdoc id = d\n# global.Entity = eid-infstat-head-etype-identity\n"
    (document,) = read(text("(e1-new-2-person-Jean%2DPaul_&#40;x%29-y", "e1)", "(e2--1)", header=header))
    assert document.mentions == (
        Mention(0, 2, "e1", 1, "person", {"infstat": "new", "identity": "Jean-Paul_(x)-y"}),
        Mention(2, 3, "e2", 2),
    )
    assert document.id == document.sentences[0].document == "d"


def test_escapes_that_are_none_stay_and_other_stays_as_it_is() -> None:
    header = "# global.Entity = eid-note-other\n"
    values = [
        read(text(f"(e-{value}-a:b%2Cc)", header=header))[0].mentions[0].metadata["note"]
        for value in ("100%", "%FF", "&#55296;", "&#9999999;", "&amp;", "%25")
    ]
    assert values == ["100%", "%FF", "&#55296;", "&#9999999;", "&amp;", "%"]
    assert read(text("(e-x-a:b%2Cc)", header=header))[0].mentions[0].metadata["other"] == "a:b%2Cc"


def test_numbers_of_a_document_get_its_name() -> None:
    header = "# global.Entity = GRP-etype\n"
    named = "# newdoc id = letters\n" + header
    assert found("(1-person)", header=named) == [("letters/1", 0, 1)]
    assert found("(1-person)", header=header) == [("1", 0, 1)]


def test_mentions_in_parts() -> None:
    (document,) = read(text("(e1[1/3]-person-3-x", "e1[1/3])", "", "(e1[2/3])", "(e1)", "(e1[3/3]", "", "e1[3/3])"))
    whole, single = document.mentions
    assert whole == Mention(0, 8, "e1", 3, "person", {"other": "x"}, parts=((0, 2), (3, 4), (5, 8)))
    assert whole.words == (0, 1, 3, 5, 6, 7)
    assert single.entity == "e1"


def test_parts_that_touch_are_one() -> None:
    assert read(text("(e1[1/2])", "(e1[2/2])"))[0].mentions == (Mention(0, 2, "e1", 0),)


def test_two_mentions_in_parts_within_each_other() -> None:
    (document,) = read(text("(e[1/2])", "(e[1/2])", "(e[2/2])", "", "(e[2/2])"))
    assert [m.parts for m in document.mentions] == [((0, 1), (4, 5)), ()]
    assert [m.words for m in document.mentions] == [(0, 4), (1, 2)]


def test_empty_nodes_are_no_words() -> None:
    ids = ["1", "1.1", "2", "2.1"]
    (document,) = read(text("(e1-person-3", "", "e1)", "(e2-person-1)", ids=ids))
    assert document.mentions == (Mention(0, 2, "e1", 1, "person"),)
    assert document.metadata == {"mentions_without_words": 1}
    (document,) = read(text("(e1-person-2", "", "e1)", "", ids=ids))
    assert document.mentions[0].head == 0  # the declared head is an empty node: the tree's
    assert document.metadata == {}


def test_head_words_from_the_tree() -> None:
    # w1 <- w2 <- w3 (root) -> w4 -> w5
    (document,) = read(text("(a", "a)", "", "(b(c", "b)c)", governors=[2, 3, 0, 3, 4]))
    assert [(m.entity, m.head) for m in document.mentions] == [("a", 1), ("b", 3), ("c", 3)]
    # of several, the nearest to the root; then the first
    (document,) = read(text("(a", "", "a)(b", "b)", governors=[2, 4, 4, 0]))
    assert [(m.entity, m.head) for m in document.mentions] == [("a", 1), ("b", 3)]
    (document,) = read(text("", "(a", "a)", "", governors=[0, 1, 4, 1]))
    assert document.mentions[0].head == 1


def test_without_a_tree_there_is_no_head_but_a_declared_one() -> None:
    content = text("(e1", "e1)", "(e2-x-1)")
    for i in range(3):
        content = content.replace(f"\t{i}\tdep", "\t_\t_")
    assert [m.head for m in read(content)[0].mentions] == [None, 2]


def test_mentions_over_sentences_and_documents() -> None:
    first, second = text("", "(e1", "(e2)"), text("e1)", header="")
    (document,) = read(first + second)
    assert [(m.start, m.end) for m in document.mentions] == [(1, 4), (2, 3)]
    documents = read(text("(e1)") + text("", "(e1)", header="# newdoc id = d2\n") + text("(e1)", header="# newdoc\n"))
    assert [(d.id, len(d), len(d.mentions), d.mentions[0].start) for d in documents] == [
        ("d", 1, 1, 0),
        ("d2", 2, 1, 1),
        (None, 1, 1, 0),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (text("(e1", ""), "3:29: the mention opened by '(e1' is not closed before the document ends"),
        (text("", "e1)"), "4:29: 'e1)' closes a mention that is not open"),
        (text("(e1)e1)"), "3:33: 'e1)' closes a mention that is not open"),
        (text("e1"), "3:29: Entity holds 'e1'; expected brackets as in (e1-person, e1) or (e1)"),
        (text("(e1)x(e2)"), "3:33: Entity holds 'x(e2)'; expected brackets"),
        (text("()"), "3:29: Entity holds '()'; expected brackets"),
        (text("(-person)"), "3:29: '(-person)' names no entity; expected (e1-person"),
        (text("(e1-person-2)"), "3:29: head '2' of a mention of 1 words; expected 1 to 1"),
        (text("(e1-person-0)"), "3:29: head '0' of a mention of 1 words; expected 1 to 1"),
        (text("(e1-person-x)"), "3:29: head 'x' of a mention of 1 words; expected 1 to 1"),
        (text("(e1[2/2])"), "3:29: part 2 of 2 of a mention of 'e1'; expected part 1 before it"),
        (text("(e1[1/2])(e1[3/2])"), "3:38: part 3 of 2 of a mention of 'e1'; expected part 2 before it"),
        (text("(e1[1/2])"), "3:29: a mention of 'e1' has 1 of its 2 parts"),
        (text("(e1)", header="# newdoc id = d\n"), "2:29: Entity before a line '# global.Entity = eid-etype-head"),
        (
            text("(e1)", "", "", ids=["1-2", "1", "2"]),
            "3:31: Entity on the line of a multiword token; expected on those of its words",
        ),
        (text("", "").replace("\t0\t", "\t7\t"), "3:14: governor '7' of word 1"),
    ],
)
def test_what_is_malformed_is_named_with_its_place(content, message) -> None:
    with pytest.raises(ReaderError) as caught:
        read(content)
    assert str(caught.value).startswith("<file>:" + message)
    good = text("(e1)", header="# newdoc id = good\n" + HEADER)
    corpus = read(good + content + good.replace("good", "last"), on_error="skip")
    if "global.Entity" in content:
        assert [d.id for d in corpus] == ["good", "last"]
        (skipped,) = corpus.skipped
        assert (skipped.index, skipped.name, skipped.error.message) == (1, "d", caught.value.message)
        assert skipped.error.line == caught.value.line + 4


def test_a_document_with_a_malformed_sentence_is_left_out_whole() -> None:
    stream = iter_corefud(io.StringIO(text("") + "x\n\n" + text("", header="# newdoc id = e\n")), on_error="skip")
    assert [d.id for d in stream] == ["e"]
    assert [(s.index, s.name, s.error.line) for s in stream.skipped] == [(0, "d", 5)]


GUM = {
    "gum_open_by/dev": (16, 888, 15124, 4204),
    "gum_open_by/test": (16, 793, 14908, 4121),
    "gum_open_by/train": (98, 6105, 101817, 28495),
    "gum_open_bysa/dev": (4, 134, 3308, 929),
    "gum_open_bysa/test": (4, 144, 3401, 1020),
    "gum_open_bysa/train": (30, 1320, 27988, 8294),
}


@pytest.mark.parametrize("part", GUM)
def test_gum(data_dir: Path, part) -> None:
    """The counts of the data's README (those of gum_open_bysa beyond documents: as counted here), and every span."""
    paths = sorted(p for p in (data_dir / "coref" / part).rglob("*") if p.name.endswith((".conllu", ".conllu.gz")))
    documents = [d for path in paths for d in read_corefud(path)]
    seen = (
        len(documents),
        sum(len(d.sentences) for d in documents),
        sum(map(len, documents)),
        sum(len(d.mentions) for d in documents),
    )
    counts = [treebanks.count_conllu(path) for path in paths]
    assert seen == tuple(sum(c[name] for c in counts) for name in ("documents", "sentences", "words", "mentions"))
    assert seen == GUM[part]
    if "train" not in part:
        spans = sorted(s for path in paths for s in treebanks.mentions(path))
        assert spans == sorted(
            (d.id, m.entity.removeprefix(f"{d.id}/"), m.start, m.end - 1) for d in documents for m in d.mentions
        )


def test_head_words_of_gum_as_plain_loops(data_dir: Path) -> None:
    folder = data_dir / "coref" / "gum_open_by" / "dev" / "dep"
    checked = outside_once = 0
    for path in sorted(folder.glob("*.conllu")):
        (document,) = read_corefud(path)
        trees = treebanks.trees(path)
        first_words = [sum(map(len, trees[:i])) for i in range(len(trees))]
        for m in document.mentions:
            i = max(i for i, first in enumerate(first_words) if first <= m.start)
            head = treebanks.tree_head(trees[i], m.start - first_words[i], m.end - 1 - first_words[i])
            assert m.head == first_words[i] + head
            tops = [
                w
                for w in range(m.start, m.end)
                if not m.start <= trees[i][w - first_words[i]][1] - 1 + first_words[i] < m.end
            ]
            outside_once += len(tops) == 1
            if len(tops) == 1:
                assert str(m.head - m.start + 1) in m.metadata["minspan"].split(",")
            checked += 1
    assert checked == 4204
    assert outside_once / checked > 0.98


def test_gum_is_written_as_it_was_read(data_dir: Path) -> None:
    path = data_dir / "coref" / "gum_open_by" / "dev" / "dep" / "GUM_news_iodine.conllu"
    (document,) = read_corefud(path)
    assert "".join(map(to_conllu, document.sentences)) == path.read_text(encoding="utf-8")


NESTED = text("(e1-person-2-a:b(e2[1/2]", "e2[1/2])(e3)", "e1)(e2[2/2])", "(e1", "(e1)e1)") + text("(e1)", "")


@given(st.data())
def test_edited_brackets_are_read_or_refused(data) -> None:
    content = NESTED
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 5)))
        new = data.draw(st.text("()[]/-e123|=%&#;\t\n", max_size=4))
        content = content[:start] + new + content[end:]
    corpus = read(content + "\n\n", on_error="skip")
    for document in corpus:
        for m in document.mentions:
            assert m.head in m.words
    if corpus.skipped:
        with pytest.raises(ReaderError):
            read(content + "\n\n")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from(["e1", "e2", "e3"])), max_size=6))
def test_nested_mentions_come_back(spans) -> None:
    """Brackets written around spans, those of one entity not crossing, give the spans again."""
    spans = [(min(a, b), max(a, b), e) for a, b, e in spans]
    kept: list[tuple[int, int, str]] = []
    for a, b, e in spans:
        if all(e != f or (b < c or d < a or (c <= a and b <= d) or (a <= c and d <= b)) for c, d, f in kept):
            kept.append((a, b, e))
    entities = [""] * 6
    for position in range(6):
        singles = "".join(f"({e})" for a, b, e in kept if a == b == position)
        closing = "".join(f"{e})" for a, b, e in kept if b == position != a)
        opening = "".join(f"({e}-x" for a, b, e in kept if a == position != b)
        entities[position] = closing + opening + singles
    assert sorted((e, a, b - 1) for e, a, b in found(*entities)) == sorted((e, a, b) for a, b, e in kept)


@pytest.mark.parametrize(
    "cell", ["a" * 200_000, "(" * 200_000, "(e[1/2])" * 20_000, "(e[1/2]" * 20_000, "(e" * 20_000, "[1/2" * 50_000]
)
def test_long_nonsense_is_refused_at_once(cell) -> None:
    start = time.process_time()
    with pytest.raises(ReaderError):
        read(text(cell))
    with pytest.raises(ReaderError):
        read_conll2012(io.StringIO(f"#begin document (d)\nd\t0\t0\tw\t{cell}\n#end document\n"))
    assert time.process_time() - start < 5  # a tenth of a second here; hours if it were quadratic


def test_mentions_in_parts_travel_through_storage(tmp_path: Path) -> None:
    (document,) = read(text("(e1[1/2]-person", "e1[1/2])", "", "(e1[2/2])"))
    window = DocumentWindow(document.sentences, document.mentions, document="d")
    tensor = AttentionTensor(np.full((1, 1, 4, 4), 0.25), window.words, annotation=window)
    storage.save(tmp_path / "a.safetensors", tensor)
    assert storage.load(tmp_path / "a.safetensors").annotation == window
