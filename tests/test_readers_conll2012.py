"""CoNLL-2012: every layout read and written back, what is refused and where, and counts compared with plain loops."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertattn.annotation import Document, Mention, Sentence
from bertattn.errors import ReaderError, ValidationError
from bertattn.readers import (
    Corpus,
    iter_conll2012,
    read_conll2012,
    read_corefud,
    to_conll2012,
    write_conll2012,
)
from reference import treebanks

ONTONOTES = """\
#begin document (wsj/0001); part 002
wsj/0001   2   0     Anna   NNP  (S*   -   -   -   Smith   *   (A0)   (1
wsj/0001   2   1       B.   NNP    *   -   -   -   Smith   *      *   1)|(2)
wsj/0001   2   2     -RRB-    .   *)   -   -   -   Smith   *      *   -

wsj/0001   2   0     It   PRP   *   -   -   -   -   *   (1
wsj/0001   2   1     ;    :     *   -   -   -   -   *   1)

#end document
"""


def read(text: str, **options) -> Corpus[Document]:
    return read_conll2012(io.StringIO(text), **options)


def document(*cells: str, name: str = "(d)") -> str:
    lines = [f"d\t0\t{i}\tw{i}\t{cell}\n" for i, cell in enumerate(cells)]
    return f"#begin document {name}\n{''.join(lines)}#end document\n"


def found(*cells: str) -> list[tuple[str, int, int]]:
    return [(m.entity, m.start, m.end) for m in read(document(*cells))[0].mentions]


def test_the_full_layout() -> None:
    (d,) = read(ONTONOTES)
    assert (d.id, d.metadata) == ("wsj/0001_2", {"name": "wsj/0001", "part": "002"})
    first, second = d.sentences
    assert first.words == ("Anna", "B.", "-RRB-")
    assert first.xpos == ("NNP", "NNP", ".")
    assert first.metadata["speakers"] == ("Smith", "Smith", "Smith")
    assert first.metadata["columns"] == (
        *(None,) * 4,
        "-",
        ("(S*", "*", "*)"),
        *("-",) * 4,
        "*",
        ("(A0)", "*", "*"),
        "-",
    )
    assert "speakers" not in second.metadata
    assert first.document == "wsj/0001_2"
    assert (first.governors, first.relations) == (None, None)
    assert d.mentions == (Mention(0, 2, "1"), Mention(1, 2, "2"), Mention(3, 5, "1"))


def test_blank_cells_and_tabs() -> None:
    row = "n\t0\t{}\t{}\t_\t_\t_\t_\t_\t_\t_\t_\t{}\n"
    text = (
        "#begin document (n); part 0\n" + row.format(0, "New York", "(0)") + row.format(1, "x", "") + "#end document\n"
    )
    (d,) = read(text)
    assert d.words == ("New York", "x")
    assert d.sentences[0].xpos is None
    assert d.mentions == (Mention(0, 1, "0"),)


def test_brackets_by_hand() -> None:
    assert found("(1|(2", "2)|1)", "(3)", "-") == [("1", 0, 2), ("2", 0, 2), ("3", 2, 3)]
    assert found("(1", "(1", "1)", "1)") == [("1", 0, 4), ("1", 1, 3)]
    assert found("(1", "(2", "1)", "2)") == [("1", 0, 3), ("2", 1, 4)]
    assert found("(1", "1)|(1)") == [("1", 0, 2), ("1", 1, 2)]


def test_a_tab_too_many() -> None:
    assert len(read(document("(1)", "-\t"))[0].mentions) == 1


def test_three_columns_with_labels() -> None:
    text = (
        "# begin document GUM_x\n0\tIn\t_\n1\tNew\t(place-1-New_York(abstract-2\n"
        "2\tYork\tabstract-2)place-1-New_York)\n# end document\n\n"
    )
    (d,) = read(text)
    assert (d.id, d.metadata) == ("GUM_x", {"name": "GUM_x", "end": "# end document\n\n"})
    assert d.mentions == (
        Mention(1, 3, "1", None, "place", {"identity": "New_York"}),
        Mention(1, 3, "2", None, "abstract"),
    )


def test_documents_without_names_and_two_in_one_file() -> None:
    text = "# begin document \n0\ta\t_\n# end document\n\n\n# begin document b\n0\ta\t(1)\n# end document\n"
    assert [(d.id, len(d.mentions)) for d in read(text)] == [(None, 0), ("b", 1)]


def test_two_columns_have_no_words() -> None:
    (d,) = read("#begin document (x); part 000\nx -\nx (1)\n#end document")
    assert (d.words, d.mentions) == (("_", "_"), (Mention(1, 2, "1"),))
    assert d.metadata["blank_words"] == 2


def test_blank_words_are_counted() -> None:
    (d,) = read(document("-", "-").replace("w1", ""))
    assert (d.words, d.metadata) == (("w0", "_"), {"name": "d", "blank_words": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (document("-").replace("#end document", ""), "2:1: the document has no '#end document' after it"),
        (document("-").replace("#end document", "#"), "3:1: the document has no '#end document' after it"),
        ("stray\n", "1:1: 'stray' stands outside a document; expected '#begin document (name)'"),
        ("#begin document (x)\n\n#end document\n", "1:1: a document without words; expected lines of words"),
        (document("(1"), "2:10: the mention opened by '(1' is not closed before the document ends"),
        (document("-", "1)"), "3:10: '1)' closes a mention that is not open"),
        (document("1"), "2:10: coreference '1'; expected '-' or (12, 12), (12)"),
        (document("(1)|"), "2:14: coreference ''; expected '-' or (12, 12), (12)"),
        (document("(1)|(2)x"), "2:17: coreference 'x'; expected '-' or (12, 12), (12)"),
        (document("(1)|x(2)"), "2:14: coreference 'x(2)'; expected '-' or (12, 12), (12)"),
        (document("-", "-\t-"), "3:1: the line has 6 columns where the first of its sentence has 5"),
        (document("-").replace("d\t0\t", ""), "2:10"),
        (
            document("-").replace("d\t0\t0\t", "d\t0\t0\t0\t"),
            "2:1: the line has 6 columns; expected 2, 3, 5, or 11",
        ),
        (document("-").replace("\t0\tw", "\t1\tw"), "2:1: word number '1' where 0 was expected"),
        (document("-").replace("#end", " \n#end"), "3:1: a line of white space; the line after a sentence is empty"),
    ],
)
def test_what_is_malformed_is_named_with_its_place(text, message) -> None:
    if message == "2:10":  # three columns left: number, word, coreference
        assert read(text)[0].words == ("w0",)
        return
    with pytest.raises(ReaderError) as caught:
        read(text)
    assert str(caught.value).startswith("<file>:" + message)
    corpus = read(document("-") + text + document("-"), on_error="skip")
    assert len(corpus) == 2
    (skipped,) = corpus.skipped
    assert skipped.index == 1
    assert skipped.error.message == caught.value.message
    assert skipped.error.line == caught.value.line + 3


def test_skipped_documents_are_listed_by_name() -> None:
    stream = iter_conll2012(io.StringIO(document("(1", name="(x); part 3") + document("(1)")), on_error="skip")
    assert [d.id for d in stream] == ["d"]
    assert [(s.index, s.name) for s in stream.skipped] == [(0, "x_3")]


def test_a_document_that_is_cut_off_by_the_next() -> None:
    text = document("-").replace("#end document\n", "") + document("(1)", name="(e)")
    corpus = read(text, on_error="skip")
    assert [d.id for d in corpus] == ["e"]
    assert str(corpus.skipped[0].error) == "<file>:2:1: the document has no '#end document' after it"


LITBANK = {"documents": 80, "sentences": 7049, "words": 167883, "mentions": 23343}


def counts(documents) -> dict[str, int]:
    return {
        "documents": len(documents),
        "sentences": sum(len(d.sentences) for d in documents),
        "words": sum(map(len, documents)),
        "mentions": sum(len(d.mentions) for d in documents),
    }


def test_litbank(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "coref" / "litbank"
    documents = read_conll2012(folder / "litbank_conll_80docs.tar.gz")
    assert counts(documents) == LITBANK
    with tarfile.open(folder / "litbank_conll_80docs.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    slow = [treebanks.count_conll2012(path) for path in tmp_path.rglob("*.conll")]
    assert {name: sum(c[name] for c in slow) for name in LITBANK} == LITBANK
    by_id = {d.id: d for d in documents}
    plain = sorted((folder / "sample").glob("*.conll"))
    assert len(plain) == 5
    for path in plain:
        (d,) = read_conll2012(path)
        assert d == by_id[f"{path.stem}_0"]
        assert sorted((m.entity, m.start, m.end - 1) for m in d.mentions) == treebanks.mentions_conll2012(path)


@pytest.mark.parametrize("kind", ["type1_pro", "type1_anti", "type2_pro", "type2_anti"])
def test_winobias(data_dir: Path, kind) -> None:
    (path,) = (data_dir / "coref" / "winobias").glob(f"dev_{kind}_*")
    documents = read_conll2012(path)
    assert counts(documents) == treebanks.count_conll2012(path)
    assert counts(documents)["documents"] == 396
    assert all(len(d.sentences) == 1 and len(d.mentions) >= 2 for d in documents)


def test_the_scorers_samples(data_dir: Path) -> None:
    folder = data_dir / "coref" / "conll2012_samples" / "scorer_cases"
    paths = sorted([*folder.glob("*.key"), *folder.glob("*.response")])
    assert len(paths) == 18
    for path in paths:
        assert counts(read_conll2012(path)) == treebanks.count_conll2012(path), path
    (key,) = read_conll2012(folder / "TC-A.key")
    assert key.id == "LuoTestCase"
    assert [(m.entity, m.start, m.end) for m in key.mentions] == [
        ("0", 0, 2),
        ("1", 3, 7),
        ("1", 9, 10),
        ("2", 11, 13),
        ("2", 14, 15),
        ("2", 16, 19),
    ]


def test_gum_says_the_same_in_both_formats(data_dir: Path) -> None:
    """Words and spans of the three columns are those of `Entity=`; one type of one mention differs in the files."""
    paths = sorted((data_dir / "coref").glob("gum_open_by*/[dt]e*/gum_conll/*.conll"))
    assert len(paths) == 40
    differing = []
    for path in paths:
        (three,), (full,) = read_conll2012(path), read_corefud(path.parents[1] / "dep" / f"{path.stem}.conllu")
        assert (three.id, three.words) == (full.id, full.words)
        a, b = (
            sorted((m.start, m.end, m.entity.removeprefix(f"{d.id}/"), m.type) for m in d.mentions)
            for d in (three, full)
        )
        assert [x[:3] for x in a] == [x[:3] for x in b]
        differing += [(path.stem, x, y) for x, y in zip(a, b, strict=True) if x != y]
    assert differing == [("GUM_court_insanity", (346, 359, "39", "event"), (346, 359, "39", "abstract"))]


def test_ontogum(data_dir: Path) -> None:
    blank = []
    for path in sorted((data_dir / "coref").glob("gum_open_by*/[dt]e*/ontogum_conll/*.conll")):
        documents = read_conll2012(path)
        assert counts(documents) == treebanks.count_conll2012(path)
        blank += [path.stem for d in documents if "blank_words" in d.metadata]
    assert blank == ["GUM_news_iodine"]  # its word 379, "|" in GUM


@given(st.text("#begin documet()\n\t 012|-_;", max_size=200) | st.text(max_size=60))
def test_random_text_gives_documents_or_a_reader_error(text) -> None:
    with contextlib.suppress(ReaderError):
        read(text)
    for content in (text, ONTONOTES[:60] + text + ONTONOTES[60:]):
        corpus = read(content, on_error="skip")
        assert bool(corpus) or bool(corpus.skipped) or not content.strip()


@given(st.binary(max_size=300))
def test_random_bytes_give_documents_or_a_reader_error(content) -> None:
    with contextlib.suppress(ReaderError):
        read_conll2012(io.BytesIO(content))
    with contextlib.suppress(ReaderError):
        read_conll2012(io.BytesIO(ONTONOTES.encode().replace(b"Smith", content)))


@given(st.data())
def test_edited_files_are_read_or_refused(data) -> None:
    content = ONTONOTES + document("(1|(2", "2)", "1)")
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 9)))
        content = content[:start] + data.draw(st.text("()|-12#\t\n d\r", max_size=4)) + content[end:]
    corpus = read(content, on_error="skip")
    for d in corpus:
        assert all(0 <= m.start < m.end <= len(d) for m in d.mentions)
    if corpus.skipped:
        with pytest.raises(ReaderError) as caught:
            read(content)
        assert str(caught.value) == str(corpus.skipped[0].error)
    else:
        assert read(content) == corpus


def written(documents: Corpus[Document]) -> str:
    return "".join(to_conll2012(d) for d in documents)


@pytest.mark.parametrize(
    "text",
    [
        ONTONOTES,
        document("(1|(2", "2)|1)", "(3)", "-"),  # brackets in other order, and with "|" between them
        document("(1(2", "1)2)", "(3)", "_"),
        document("(1)", "-\t"),
        document("-", "-").replace("w1", ""),
        document("-", "-").replace("w1", "_"),
        document("-", "*", "_"),
        document("(person-1)", "(person-1-A_B)", "(person-1-)", "(person-x)", "(a b)"),
        document("-", name="d; part 7").replace("#end document", "#end document   "),
        document("-", name="(d); part x"),
        document("-", name="(d) ; part 0;"),
        document("-", name=""),
        document("-").replace("\n#end", "\n\n\nd\t0\t0\tx\t-\n\n#end"),
        document("-") + "\n\n" + document("(1)"),
        document("-").removesuffix("\n"),
        "#begin document (x); part 000\nx -\nx (1)\n\nx  -\n#end document\n",
        "# begin document \n0\ta\t_\n# end document\n\n\n# begin document b\n0\ta\t(1)\n# end document\n",
        "#begin document b\n0\ta\t-\n1 b (1)\n\n#end document\n",
    ],
)
def test_what_was_read_is_written_as_it_was(text, tmp_path) -> None:
    documents = read(text)
    assert written(documents) == text
    write_conll2012(tmp_path / "a.conll", documents)
    assert (tmp_path / "a.conll").read_bytes() == text.encode()
    assert read_conll2012(tmp_path / "a.conll") == documents


def test_what_is_not_kept_of_a_file() -> None:
    text = document("(1)")
    assert written(read_conll2012(io.BytesIO(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()))) == text
    assert written(read("\n \n" + text.replace(")\nd", ")\n\nd") + " \n")) == text + "\n"


def test_documents_after_one_without_a_line_end(tmp_path) -> None:
    (d,) = read(document("-").removesuffix("\n"))
    write_conll2012(tmp_path / "a.conll.gz", iter([d, d]))
    assert gzip.decompress((tmp_path / "a.conll.gz").read_bytes()).decode() == "\n".join([document("-")[:-1]] * 2)


def test_fields_that_were_changed_are_written_and_not_the_lines_they_were_read_from() -> None:
    (d,) = read(ONTONOTES)
    first, second = d.sentences
    assert [len(s.metadata["lines"]) for s in d.sentences] == [3, 2]
    first = replace(first, words=("Ann", "B.", "-RRB-"), xpos=("NNP", None, "."))
    changed = to_conll2012(replace(d, sentences=(first, second), mentions=d.mentions[:2], id="x"))
    assert changed.splitlines() == [
        "#begin document (x)",
        "x\t0\t0\tAnn\tNNP\t(S*\t-\t-\t-\tSmith\t*\t(A0)\t(1",
        "x\t0\t1\tB.\t-\t*\t-\t-\t-\tSmith\t*\t*\t1)|(2)",
        "x\t0\t2\t-RRB-\t.\t*)\t-\t-\t-\tSmith\t*\t*\t-",
        "",
        "x\t0\t0\tIt\tPRP\t*\t-\t-\t-\t-\t*\t-",
        "x\t0\t1\t;\t:\t*\t-\t-\t-\t-\t*\t-",
        "",
        "#end document",
    ]
    only_mentions = to_conll2012(replace(d, mentions=d.mentions[:2]))
    assert only_mentions.splitlines()[:4] == ONTONOTES.splitlines()[:4]
    (spaced,) = read("#begin document (d)\nd 0 0 x (1)\n#end document\n")
    (s,) = spaced.sentences
    fewer = replace(s, metadata={**s.metadata, "columns": (None, None, "_")})
    assert to_conll2012(replace(spaced, sentences=(fewer,))).splitlines()[1] == "0\tx\t(1)"


def test_the_layout_of_a_document_of_ones_own() -> None:
    sentences = [
        Sentence(["New York", "is", "."], xpos=["NNP", None, "."], metadata={"speakers": ("A", None, None)}),
        Sentence(["It", "it"]),
    ]
    mentions = [
        Mention(3, 5, "b"),
        Mention(0, 1, "1", 0, "place", {"identity": "NYC"}),
        Mention(0, 3, "b", type="thing"),
        Mention(0, 2, "c"),
        Mention(3, 4, "1"),
        Mention(2, 4, "d"),
    ]
    assert to_conll2012(Document(sentences, mentions, id="a/b")) == (
        "#begin document (a/b)\n"
        "a/b\t0\t0\tNew York\tNNP\t*\t-\t-\t-\tA\t*\t(b|(c|(place-1-NYC)\n"
        "a/b\t0\t1\tis\t-\t*\t-\t-\t-\t-\t*\tc)\n"
        "a/b\t0\t2\t.\t.\t*\t-\t-\t-\t-\t*\tb)|(d\n"
        "\n"
        "a/b\t0\t0\tIt\t-\t*\t-\t-\t-\t-\t*\td)|(b|(1)\n"
        "a/b\t0\t1\tit\t-\t*\t-\t-\t-\t-\t*\tb)\n"
        "\n"
        "#end document\n"
    )
    assert to_conll2012(Document([Sentence(["x"])])).startswith("#begin document ()\n-\t0\t0\tx\t")
    named = Document([Sentence(["x"])], id="n_3", metadata={"name": "n", "part": "003"})
    assert to_conll2012(named).startswith("#begin document (n); part 003\nn\t3\t0\tx\t")


ONE = Sentence(["a", "b", "c", "d"])
SPOKEN = Sentence(["a"], metadata={"columns": (None,) * 11 + ("-",), "speakers": ("A\nB",)})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("x", "CoNLL-2012 holds documents, but got 'x'"),
        (ONE, "CoNLL-2012 holds documents, but got Sentence(words=('a', 'b', 'c', 'd')"),
        (
            Document([ONE], [Mention(0, 4, "e", parts=[(0, 1), (3, 4)])]),
            "a mention of 'e' has gaps, its parts are ((0, 1), (3, 4)); CoNLL-2012 cannot hold that",
        ),
        (
            Document([ONE], [Mention(0, 1, "e|f")]),
            "entity 'e|f' is empty or holds one of '()|', a tab or a line end, which CoNLL-2012 cannot hold; rename it",
        ),
        (Document([ONE], [Mention(0, 1, "")]), "entity '' is empty or holds one of '()|'"),
        (Document([Sentence(["a\tb"])]), "a cell of 'a\\tb' is 'a\\tb', which CoNLL-2012 cannot hold"),
        (Document([Sentence(["a"], xpos=["\n"])]), "a cell of 'a' is '\\n', which CoNLL-2012 cannot hold"),
        (Document([SPOKEN]), "a cell of 'a' is 'A\\nB', which CoNLL-2012 cannot hold"),
        (
            Document([ONE], [Mention(0, 3, "e"), Mention(1, 4, "e")], id="x"),
            "mentions (0, 3, 'e') of the document 'x' would be read back as (0, 4, 'e'); CoNLL-2012 cannot hold it",
        ),
        (
            Document([ONE], [Mention(0, 3, "person-1")]),
            "mentions (0, 3, 'person-1') of the document None would be read back as (0, 3, '1'); CoNLL-2012 cannot",
        ),
        (Document([ONE], id=""), "id '' of the document '' would be read back as None; CoNLL-2012 cannot hold it"),
        (Document([ONE], id="x\n"), "a cell of 'a' is 'x\\n', which CoNLL-2012 cannot hold"),
        (Document([ONE], id="#end document"), "the document '#end document' cannot be written as CoNLL-2012: "),
        (
            Document([replace(ONE, metadata={"columns": (None, None, None, None, "-")}), ONE], metadata={"end": ""}),
            "the document None cannot be written as CoNLL-2012: <file>:10:1: the document has no '#end document'",
        ),
        (
            Document([ONE], id="x", metadata={"end": f"#end document\n{ONTONOTES}"}),
            "the document 'x' would be read back as 2 documents",
        ),
        (
            Document([replace(ONE, metadata={"columns": ("x", "-")})]),
            "the sentence 'a b c d' has words, but its metadata['columns'] has no column for them; leave that out",
        ),
        (
            Document([replace(ONE, metadata={"columns": (("x", "x"), None, None, None, "-")})]),
            "a column of metadata['columns'] has 2 entries but there are 4 words",
        ),
        (
            Document([replace(ONE, metadata={"speakers": ("A",)})]),
            "metadata['speakers'] has 1 entries but there are 4 words",
        ),
        (
            Document([replace(ONE, metadata={"columns": (None,) * 6 + ("-",)})]),
            "metadata['columns'] has 7 entries; expected 2, 3, 5, or 11 and more",
        ),
    ],
)
def test_what_cannot_be_written(made, message, tmp_path) -> None:
    with pytest.raises(ValidationError) as caught:
        to_conll2012(made)
    assert str(caught.value).startswith(message)
    with pytest.raises(ValidationError):
        write_conll2012(tmp_path / "a", [made])
    assert not list(tmp_path.iterdir())


def contents(path: Path) -> list[tuple[str, bytes]]:
    if not path.name.endswith(".tar.gz"):
        raw = path.read_bytes()
        return [(path.name, gzip.decompress(raw) if path.suffix == ".gz" else raw)]
    with tarfile.open(path) as archive:
        return [(m.name, archive.extractfile(m).read()) for m in archive if m.isfile()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("litbank/litbank_conll_80docs.tar.gz", 80),
        ("litbank/sample/*.conll", 5),
        ("winobias/dev_*", 4),
        ("conll2012_samples/scorer_cases/*.key", 3),
        ("conll2012_samples/scorer_cases/*.response", 15),
        ("gum_open_by*/*/gum_conll/*.conll", 40),
        ("gum_open_by*/*/ontogum_conll/*.conll", 40),
        ("gum_open_by*/train/*.conll.gz", 4),
    ],
)
def test_files_are_written_back_byte_for_byte(data_dir: Path, tmp_path: Path, pattern, files) -> None:
    found = [item for path in sorted((data_dir / "coref").glob(pattern)) for item in contents(path)]
    assert len(found) == files
    words = kept = 0
    for name, content in found:
        documents = read_conll2012(io.BytesIO(content))
        write_conll2012(tmp_path / "copy", documents)
        assert (tmp_path / "copy").read_bytes() == content, name
        words += sum(map(len, documents))
        kept += sum(len(s.metadata.get("lines", ())) for d in documents for s in d.sentences)
    assert kept < 0.05 * words  # the others are built from the fields


names = st.text("ab1_/-.é", min_size=1, max_size=5)
texts = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]), min_size=1, max_size=5)


@st.composite
def made_documents(draw: st.DrawFn) -> Document:
    sentences = []
    for _ in range(draw(st.integers(1, 3))):
        words = draw(st.lists(texts, min_size=1, max_size=4))
        n = len(words)
        tags = draw(st.none() | st.lists(st.none() | names.filter(lambda t: t not in "-_*"), min_size=n, max_size=n))
        sentences.append(Sentence(words, xpos=None if tags is None or not any(tags) else tags))
    count = sum(map(len, sentences))
    starts = draw(st.lists(st.integers(0, count - 1), max_size=5))
    # No two of one entity, so that none cross; a number with a type, or a name that looks like none.
    mentions = [
        Mention(start, draw(st.integers(start + 1, count)), f"{i}" if typed else f"e{i}", None, typed)
        for i, start in enumerate(starts)
        for typed in [draw(st.none() | st.sampled_from(["person", "Place"]))]
    ]
    return Document(sentences, mentions, id=draw(st.none() | names))


@given(made_documents())
def test_documents_of_ones_own_are_read_as_they_were_written(d) -> None:
    text = to_conll2012(d)
    (again,) = read(text)
    assert [(s.words, s.xpos) for s in again.sentences] == [(s.words, s.xpos) for s in d.sentences]
    assert sorted(map(str, again.mentions)) == sorted(map(str, d.mentions))
    assert again.id == d.id
    assert to_conll2012(again) == text


@given(st.data())
def test_edited_files_are_written_as_they_are_read(data) -> None:
    content = ONTONOTES + document("(1|(2", "2)", "1)")
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 9)))
        content = content[:start] + data.draw(st.text("()|-12#\t\n d", max_size=4)) + content[end:]
    corpus = read(content, on_error="skip")
    text = written(corpus)
    if not corpus.skipped:
        assert [x for x in text.split("\n") if x.strip()] == [x for x in content.split("\n") if x.strip()]
    assert read(text) == corpus
