"""CoNLL-U: what is read, what is refused and where, and that the same bytes are written again."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertattn import storage
from bertattn.annotation import Document, Sentence
from bertattn.errors import InputError, ReaderError, ValidationError
from bertattn.readers import (
    Corpus,
    CorpusStream,
    iter_conllu,
    read_conll2012,
    read_conllu,
    read_corefud,
    read_dependencies,
    to_conllu,
    write_conllu,
)
from bertattn.tensor import AttentionTensor
from reference import treebanks

# "don't" is a multiword token; two empty nodes, one of them before it; a value with "=", a feature of several values.
RICH = """\
# newdoc id = letters
# newpar
# sent_id = letters-1
# text = He doesn't stay.
# a comment without equals sign
1\tHe\the\tPRON\tPRP\tCase=Nom|Gender=Masc\t4\tnsubj\t4:nsubj|1.1:nsubj:xsubj\tLink=a=b
1.1\tdo\tdo\t_\t_\t_\t_\t_\t0:root\t_
1.2\t_\t_\t_\t_\t_\t_\t_\t_\tCopyOf=1
2-3\tdoesn't\t_\t_\t_\tTypo=Yes\t_\t_\t_\tSpaceAfter=No
2\tdoes\tdo\tAUX\tVBZ\t_\t4\taux\t4:aux\t_
3\tn't\tnot\tPART\tRB\t_\t4\tadvmod\t4:advmod\t_
4\tstay\tstay\tVERB\tVB\tVerbForm=Inf\t0\troot\t0:root\tSpaceAfter=No
5\t.\t.\tPUNCT\t.\t_\t4\tpunct\t4:punct\t_

# sent_id = letters-2
1\tGo\tgo\tVERB\t_\t_\t0\troot\t_\t_

"""
GO = "1\tGo\tgo\tVERB\t_\t_\t0\troot\t_\t_\n"


def read(text: str, **options) -> Corpus[Sentence]:
    return read_conllu(io.StringIO(text), **options)


def row(number, *, form="w", feats="_", head="0", deps="_", misc="_") -> str:
    return f"{number}\t{form}\t_\t_\t_\t{feats}\t{head}\troot\t{deps}\t{misc}\n"


def test_a_sentence_with_everything() -> None:
    first, second = read(RICH)
    assert first.words == ("He", "does", "n't", "stay", ".")
    assert first.governors == (4, 4, 4, 0, 4)
    assert first.relations == ("nsubj", "aux", "advmod", "root", "punct")
    assert first.lemmas == ("he", "do", "not", "stay", ".")
    assert first.upos == ("PRON", "AUX", "PART", "VERB", "PUNCT")
    assert first.xpos == ("PRP", "VBZ", "RB", "VB", ".")
    assert first.feats == ({"Case": "Nom", "Gender": "Masc"}, {}, {}, {"VerbForm": "Inf"}, {})
    assert first.space_after == (True, False, False, False, True)
    assert first.text(spacing="natural")[0] == "He doesn'tstay."  # the range says SpaceAfter=No
    assert (first.id, first.document, second.id, second.document) == ("letters-1", "letters", "letters-2", "letters")
    assert first.metadata["comments"] == tuple(RICH.splitlines()[:5])
    assert first.metadata["deps"][0] == "4:nsubj|1.1:nsubj:xsubj"
    assert first.metadata["misc"] == ("Link=a=b", "_", "_", "SpaceAfter=No", "_")
    assert [m[0] for m in first.metadata["multiword_tokens"]] == ["2-3"]
    assert [e[0] for e in first.metadata["empty_nodes"]] == ["1.1", "1.2"]
    assert (first.metadata["text"], first.metadata["newdoc"], first.metadata["newpar"]) == (
        "He doesn't stay.",
        True,
        True,
    )
    assert set(second.metadata) == {"comments", "deps", "misc"}


def test_columns_that_are_absent() -> None:
    (s,) = read("1\ta\t_\t_\t_\t_\t_\t_\t_\t_\n2\t_\t_\t_\tX\t_\t_\t_\t_\t_\n\n")
    assert s.words == ("a", "_")
    assert (s.governors, s.relations, s.lemmas, s.upos, s.xpos) == (None, None, None, None, (None, "X"))
    assert s.feats == ({}, {})


@pytest.mark.parametrize(
    "text", [RICH, GO + "\n", "# x\n" + GO + "\n", RICH.replace("letters", "Zürich ≠ 東京 \x85\u2028")]
)
def test_written_as_read(text) -> None:
    assert "".join(map(to_conllu, read(text))) == text


def test_documents_names_end_where_the_next_begins() -> None:
    sentences = read("# newdoc\n" + GO + "\n# newdoc id=b\n" + GO + "\n" + GO + "\n#newdoc\n" + GO + "\n")
    assert [s.document for s in sentences] == [None, "b", "b", None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# c\n1\tw\n", "2:1: the line has 2 columns, but CoNLL-U has 10, separated by tabs"),
        (row(1)[:-1] + "\t_\n", "1:1: the line has 11 columns, but CoNLL-U has 10, separated by tabs"),
        ("word\n", "1:1: the line has 1 column, but CoNLL-U has 10, separated by tabs"),
        (row(1) + "  \n" + row(1), "2:1: a line of white space; the line after a sentence is empty"),
        (row(1, form="", misc="x"), "1:3: FORM is empty; an absent value is written '_'"),
        (row(1, misc=""), "1:22: MISC is empty; an absent value is written '_'"),
        (row(1) + "# late\n", "2:1: a comment after the first word; comments stand before their sentence"),
        ("# only\n", "1:1: comments without a sentence; expected lines of words before the empty line"),
        (row(2), "1:1: word 2 where word 1 was expected; words count from 1 without gaps"),
        (row(1) + row(3), "2:1: word 3 where word 2 was expected; words count from 1 without gaps"),
        (row(1) + row(1), "2:1: word 1 where word 2 was expected; words count from 1 without gaps"),
        (row("01"), "1:1: ID '01' is no word (3), multiword token (3-4) or empty node (3.1)"),
        (row("1" * 5000), "1:1: ID '111111111111111111111111111111111111111 is no word"),
        (row("x"), "1:1: ID 'x' is no word (3), multiword token (3-4) or empty node (3.1)"),
        (row("_"), "1:1: ID '_' is no word (3), multiword token (3-4) or empty node (3.1)"),
        (
            row("1-1") + row(1),
            "1:1: multiword token 1-1 before word 1; expected a range that starts there and",
        ),
        (row("2-3") + row(1), "1:1: multiword token 2-3 before word 1; expected a range that starts there"),
        (row("1-3") + row(1) + row("2-3"), "3:1: multiword token 2-3 overlaps the one before it"),
        (row("1-2") + row(1), "1:1: multiword token 1-2 spans more than the sentence's 1 words"),
        (row("1.1") + row(1), "1:1: empty node 1.1 where 0.1 was expected"),
        (row(1) + row("1.2"), "2:1: empty node 1.2 where 1.1 was expected"),
        (row("1-2") + row("0.1"), "2:1: empty node 0.1 where 0.1 was expected before the range line of word 1"),
        (row("0.1"), "1:1: a sentence without words; expected a line with ID 1"),
        (row(1, head="2"), "1:13: governor '2' of word 1; expected a word's number, 1 to 1, or 0 for the root"),
        (row(1, head="-1"), "1:13: governor '-1' of word 1; expected a word's number, 1 to 1, or 0 for the root"),
        (row(1, head="²"), "1:13: governor '²' of word 1; expected a word's number"),
        (row(1) + row(2, head="_"), "2:13: governor '_' of word 2; expected a word's number, 1 to 2, or 0"),
        (row(1) + row(2), "2:13: word 2 is a second root, after word 1; a tree has one"),
        (row(1, head="2") + row(2, head="1"), "1:13: no word has governor 0; a tree has one root"),
        (row(1, head="1") + row(2), "1:13: the governors of word 1 lead back to it; a tree has no cycle"),
        (
            row(1) + row(2, head="3") + row(3, head="4") + row(4, head="3"),
            "3:13: the governors of word 3 lead back to it; a tree has no cycle",
        ),
        (row(1, feats="Number"), "1:11: feature 'Number'; expected Name=Value, several joined by '|'"),
        (row(1, feats="A=1|A=2"), "1:11: feature 'A' stands twice; expected each name once"),
        (row(1, feats="A=1|"), "1:11: feature ''; expected Name=Value, several joined by '|'"),
        (row(1, deps="root"), "1:20: enhanced dependency 'root' of 1; expected governor:relation, several joined by"),
        (row(1, deps="0:root|2:x"), "1:20: enhanced dependency '2:x' of 1; expected a governor in this sentence"),
        (row(1, deps="1.1:x"), "1:20: enhanced dependency '1.1:x' of 1; expected a governor in this sentence"),
        (row(1, form="a\rb"), "1:4: a carriage return inside a line; lines end in LF or CR LF"),
    ],
)
def test_what_is_malformed_is_named_with_its_place(text, message) -> None:
    with pytest.raises(ReaderError) as caught:
        read(text + "\n")
    assert str(caught.value).startswith("<file>:" + message)
    good = read(GO + "\n" + text + "\n" + GO + "\n", on_error="skip")
    assert [s.words for s in good] in ([("Go",), ("Go",)], [("Go",), ("w",), ("Go",)])
    (skipped,) = good.skipped
    assert skipped.error.message == caught.value.message
    assert skipped.error.line == caught.value.line + 2
    assert (skipped.index, skipped.name) == (1, None)


def test_skipped_sentences_are_listed_by_name() -> None:
    text = RICH.replace("\t4:aux\t", "\t9:aux\t")
    stream = iter_conllu(io.StringIO(text), on_error="skip")
    assert isinstance(stream, CorpusStream)
    assert stream.skipped == []
    assert [s.id for s in stream] == ["letters-2"]
    (skipped,) = stream.skipped
    assert (skipped.index, skipped.name, skipped.error.line) == (0, "letters-1", 10)
    with pytest.raises(ReaderError, match=r"^<file>:10:27: enhanced dependency '9:aux' of 2"):
        list(iter_conllu(io.StringIO(text)))


def test_streams_are_lazy() -> None:
    stream = iter_conllu(io.StringIO(GO + "\nx\n"))
    assert next(stream).words == ("Go",)
    with pytest.warns(UserWarning, match="cut off"), pytest.raises(ReaderError):
        next(stream)


def test_bad_bytes_are_named_and_cost_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_bytes(GO.encode() + b"\n" + "1\tGrü".encode() + b"\xff\n\n" + GO.encode() + b"\n")
    with pytest.raises(ReaderError) as caught:
        read_conllu(path)
    assert str(caught.value) == f"{path}:3:6: byte 0xFF is no UTF-8; save the file as UTF-8"
    corpus = read_conllu(path, on_error="skip")
    assert (len(corpus), len(corpus.skipped)) == (2, 1)


def test_a_file_cut_off_in_a_character(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(GO.encode() + b"\n1\t\xc3")
    with pytest.warns(UserWarning, match="cut off"), pytest.raises(ReaderError, match=r":3:3: byte 0xC3 is no UTF-8"):
        read_conllu(tmp_path / "a")


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_missing_blank_line_at_the_end_is_warned_of(end) -> None:
    with pytest.warns(UserWarning, match=r"^<file>:1: the blank line after the last sentence is missing"):
        assert len(read(GO[:-1] + end)) == 1


def test_every_kind_of_source(tmp_path: Path) -> None:
    expected = read(RICH)
    raw = RICH.encode()
    (tmp_path / "a.conllu").write_bytes(raw)
    (tmp_path / "a.conllu.gz").write_bytes(gzip.compress(raw))
    (tmp_path / "unnamed").write_bytes(gzip.compress(raw))
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.conllu", "folder/a.conllu")
        archive.add(tmp_path / "a.conllu.gz", "folder/b.conllu.gz")
    for name in ("a.conllu", "a.conllu.gz", "unnamed"):
        assert read_conllu(tmp_path / name) == expected
        assert read_conllu(str(tmp_path / name)) == expected
        with (tmp_path / name).open("rb") as file:
            assert read_conllu(file) == expected
            assert not file.closed
        assert read_conllu(io.BytesIO((tmp_path / name).read_bytes())) == expected
    with (tmp_path / "a.conllu").open(encoding="utf-8") as text:
        assert read_conllu(text) == expected
    with gzip.open(tmp_path / "a.conllu.gz") as file:
        assert read_conllu(file) == expected
    assert read_conllu(tmp_path / "a.tar.gz") == expected + expected
    assert isinstance(expected, tuple)


def test_errors_in_an_archive_name_the_member(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\nx\n\n")
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        archive.add(tmp_path / "bad", "b.conllu")
    with pytest.raises(ReaderError, match=r"a\.tgz:b\.conllu:2:1: the line has 1 column"):
        read_conllu(tmp_path / "a.tgz")


def test_byte_order_marks_and_windows_line_ends_are_read() -> None:
    assert read("\ufeff" + RICH) == read(RICH)
    assert read_conllu(io.BytesIO(b"\xef\xbb\xbf" + RICH.replace("\n", "\r\n").encode())) == read(RICH)


def test_further_blank_lines_are_passed_over() -> None:
    assert read("\n\n" + GO + "\n\n\n" + GO + "\n") == read(GO + "\n" + GO + "\n")


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_damaged_archives_are_refused(tmp_path: Path, on_error) -> None:
    whole = gzip.compress((RICH * 50).encode())
    for name, content in {
        "a.gz": whole[:-40],
        "b.gz": whole[:30] + b"xxxx" + whole[34:],
        "c.tar.gz": b"no tar",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ReaderError, match=r"the compressed file is damaged or cut off \(.+\); fetch it again$"):
            read_conllu(tmp_path / name, on_error=on_error)


def test_sources_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^a reader takes a path or an open file, but got 3$"):
        read_conllu(3)
    with pytest.raises(FileNotFoundError):
        read_conllu(tmp_path / "absent")
    with pytest.raises(ValidationError, match=r"^on_error must be 'raise' or 'skip', but is 'ignore'$"):
        iter_conllu(tmp_path / "absent", on_error="ignore")


def test_an_open_text_file_with_bad_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\n")
    with (
        (tmp_path / "a").open(encoding="utf-8") as file,
        pytest.raises(ReaderError, match="give the path"),
    ):
        read_conllu(file)


def test_files_are_written_whole(tmp_path: Path) -> None:
    sentences = read(RICH)
    write_conllu(tmp_path / "a.conllu", sentences)
    assert (tmp_path / "a.conllu").read_bytes() == RICH.encode()
    write_conllu(tmp_path / "a.conllu.gz", [Document(sentences)])
    assert read_conllu(tmp_path / "a.conllu.gz") == sentences
    with pytest.raises(ValidationError, match=r"^CoNLL-U holds sentences or documents of them, but got 'x'$"):
        write_conllu(tmp_path / "a.conllu", ["x"])
    assert read_conllu(tmp_path / "a.conllu") == sentences


def test_what_is_changed_is_written_changed() -> None:
    first = read(RICH)[0]
    changed = replace(first, lemmas=("HE", *first.lemmas[1:]), governors=None, relations=None)
    assert read(to_conllu(changed))[0].lemmas[0] == "HE"
    assert "6.1" not in to_conllu(changed)


def test_sentences_of_ones_own() -> None:
    s = Sentence(["Go", "!"], governors=[0, 1], feats=[{"A": "1", "B": "2,3"}, None], space_after=[False, True], id="a")
    assert to_conllu(s) == (
        "# sent_id = a\n# text = Go!\n1\tGo\t_\t_\t_\tA=1|B=2,3\t0\t_\t_\tSpaceAfter=No\n"
        "2\t!\t_\t_\t_\t_\t1\t_\t_\t_\n\n"
    )


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        (Sentence(["a\tb"]), "FORM of 'a\\tb' is 'a\\tb', which CoNLL-U cannot hold"),
        (Sentence(["a"], lemmas=[""]), "LEMMA of 'a' is '', which CoNLL-U cannot hold"),
        (Sentence(["a"], metadata={"misc": ("_", "_")}), "misc has 2 entries but there are 1 words"),
        (Sentence(["a"], metadata={"comments": ("x",)}), "a comment is one line that starts with '#', but one is 'x'"),
        (
            Sentence(["a"], metadata={"multiword_tokens": (("3-4", *"_________"),)}),
            "the line '3-4' stands at no word; there are 1 words",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(sentence, message) -> None:
    with pytest.raises(ValidationError) as caught:
        to_conllu(sentence)
    assert str(caught.value) == message


def test_what_was_read_pickles_and_stays_frozen() -> None:
    corpus = read(RICH + "x\n\n", on_error="skip")
    again = pickle.loads(pickle.dumps(corpus))
    assert again == corpus
    assert [(s.index, s.name, str(s.error)) for s in again.skipped] == [
        (s.index, s.name, str(s.error)) for s in corpus.skipped
    ]
    with pytest.raises(TypeError):
        corpus[0].metadata["misc"] = ()


def test_the_gold_travels_through_storage(tmp_path: Path) -> None:
    s = read(RICH)[0]
    tensor = AttentionTensor(np.full((1, 1, 5, 5), 0.2), s.words, annotation=s)
    storage.save(tmp_path / "a.safetensors", tensor)
    back = storage.load(tmp_path / "a.safetensors").annotation
    assert back == s
    assert to_conllu(back) == to_conllu(s)


FILES = {
    "en_ewt-ud-dev.conllu": {"sentences": 2001, "words": 25147, "multiword": 359, "empty": 4},
    "en_ewt-ud-test.conllu": {"sentences": 2077, "words": 25094, "multiword": 354, "empty": 2},
    "en_ewt-ud-train.conllu.gz": {"sentences": 12544, "words": 204577},
}


@pytest.mark.parametrize("name", FILES)
def test_counts_of_ewt_and_the_same_bytes_again(data_dir: Path, name) -> None:
    path = data_dir / "ud" / "UD_English-EWT" / name
    sentences = read_conllu(path)
    counts = {
        "sentences": len(sentences),
        "words": sum(map(len, sentences)),
        "multiword": sum(len(s.metadata.get("multiword_tokens", ())) for s in sentences),
        "empty": sum(len(s.metadata.get("empty_nodes", ())) for s in sentences),
        "documents": sum(s.metadata.get("newdoc", False) for s in sentences),
        "mentions": 0,
    }
    assert counts == treebanks.count_conllu(path)
    assert FILES[name].items() <= counts.items()
    raw = path.read_bytes()
    assert "".join(map(to_conllu, sentences)).encode() == (gzip.decompress(raw) if name.endswith("gz") else raw)
    assert [list(zip(s.words, s.governors, s.relations, strict=True)) for s in sentences] == treebanks.trees(path)


def test_the_natural_text_is_the_text_of_the_file(data_dir: Path) -> None:
    """But where the words of a multiword token are not its letters."""
    sentences = read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu")
    different = [s for s in sentences if s.text(spacing="natural")[0] != s.metadata["text"].strip()]
    for s in different:
        ranges = [(r[1], *map(int, r[0].split("-"))) for r in s.metadata["multiword_tokens"]]
        assert any("".join(s.words[first - 1 : last]) != form for form, first, last in ranges), s
    assert len(different) < 20


def test_every_gum_file_is_written_as_it_was_read(data_dir: Path) -> None:
    paths = [p for p in (data_dir / "coref").rglob("*.conllu*") if p.name.endswith((".conllu", ".conllu.gz"))]
    assert len(paths) > 40
    for path in paths:
        raw = path.read_bytes()
        text = gzip.decompress(raw) if path.suffix == ".gz" else raw
        assert "".join(map(to_conllu, iter_conllu(path))).encode() == text, path


@pytest.mark.filterwarnings("ignore:.*the blank line after the last sentence")
@given(st.binary(max_size=400))
def test_random_bytes_give_sentences_or_a_reader_error(content) -> None:
    corpus = None
    with contextlib.suppress(ReaderError):
        corpus = read_conllu(io.BytesIO(content))
    if content[:2] != b"\x1f\x8b":
        skipping = read_conllu(io.BytesIO(content), on_error="skip")
        assert (corpus is None) == bool(skipping.skipped)


@st.composite
def edited(draw, text: str) -> str:
    """A valid file with some pieces deleted, doubled, or replaced by characters that mean something."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        new = draw(st.sampled_from(["", text[start:end] * 2]) | st.text("01239-._|:=()[]/#\t\n\r \x85é", max_size=4))
        text = text[:start] + new + text[end:]
    return text


@pytest.mark.filterwarnings("ignore:.*the blank line after the last sentence")
@given(edited(RICH))
def test_edited_files_are_read_or_refused_and_what_is_read_is_written_back(text) -> None:
    corpus = read(text, on_error="skip")
    if corpus.skipped:
        with pytest.raises(ReaderError) as caught:
            read(text)
        assert str(caught.value) == str(corpus.skipped[0].error)
    else:
        written = "".join(map(to_conllu, corpus))
        assert read(text) == read(written) == corpus
        lines = [line for line in text.replace("\r\n", "\n").split("\n") if line]
        assert [line for line in written.split("\n") if line] == lines


def test_what_an_archive_holds_beside_files_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.conllu").write_text(RICH, encoding="utf-8")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "folder")  # the folder itself is a member
    assert read_conllu(tmp_path / "a.tar") == read(RICH)


def test_files_that_can_neither_peek_nor_go_back() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert read_conllu(Pipe(RICH.encode())) == read(RICH)


@pytest.mark.parametrize("reader", [read_conllu, read_corefud, read_conll2012, read_dependencies])
@pytest.mark.parametrize("content", [b"", b"\n\r\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_holds_nothing(reader, content) -> None:
    corpus = reader(io.BytesIO(content))
    assert (corpus, corpus.skipped) == ((), ())


def test_a_corpus_shows_how_large_it_is() -> None:
    row = "1\tGo\t_\t_\t_\t_\t0\troot\t_\t_\n\n"
    assert repr(read_conllu(io.StringIO(row * 3))) == "Corpus(3 x Sentence)"
    assert repr(read_conllu(io.StringIO(row + "1\tGo\n\n"), on_error="skip")) == "Corpus(1 x Sentence, 1 skipped)"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; give the name of a file in it"):
        read_conllu(tmp_path)
