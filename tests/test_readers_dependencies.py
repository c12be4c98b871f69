"""The format of the paper's code: read, refused, written, and read again."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertattn.annotation import Document, Sentence
from bertattn.errors import ReaderError, ValidationError
from bertattn.readers import iter_dependencies, read_conllu, read_dependencies, write_dependencies

TEXT = "Dogs 2-nsubj\nbark 0-root\n- 2-punct\n\nMy 2-nmod:poss\ndog 0-root\n\n"


def read(text: str, **options):
    return read_dependencies(io.StringIO(text), **options)


def test_by_hand(tmp_path: Path) -> None:
    sentences = read(TEXT)
    assert sentences == (
        Sentence(["Dogs", "bark", "-"], governors=[2, 0, 2], relations=["nsubj", "root", "punct"]),
        Sentence(["My", "dog"], governors=[2, 0], relations=["nmod:poss", "root"]),
    )
    write_dependencies(tmp_path / "dev.txt", sentences)
    assert (tmp_path / "dev.txt").read_text(encoding="utf-8") == TEXT
    write_dependencies(tmp_path / "dev.txt.gz", [Document(sentences)])
    assert read_dependencies(tmp_path / "dev.txt.gz") == sentences
    assert read(TEXT.replace(" ", "\t")) == sentences
    with pytest.warns(UserWarning, match=r"^<file>:6: the blank line after the last sentence is missing"):
        assert read(TEXT[:-1]) == sentences


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Dogs\n", "1:1: the line has 1 fields; expected two, as in 'Dogs 2-nsubj'"),
        ("New York 0-root\n", "1:1: the line has 3 fields; expected two, as in 'Dogs 2-nsubj'"),
        ("a 0root\n", "1:3: '0root' is no governor and relation with one '-' between them, as in '2-nsubj'"),
        ("a 0-x-y\n", "1:3: '0-x-y' is no governor and relation with one '-' between them"),
        ("a 0-\n", "1:3: '0-' is no governor and relation with one '-' between them"),
        ("a -root\n", "1:1: governor '' of word 1; expected a word's number, 1 to 1, or 0 for the root"),
        ("a 2-x\n", "1:1: governor '2' of word 1; expected a word's number, 1 to 1, or 0 for the root"),
        ("a 0-x\nb 0-x\n", "2:1: word 2 is a second root, after word 1; a tree has one"),
        ("a 2-x\nb 1-x\n", "1:1: no word has governor 0; a tree has one root"),
        ("a 2-x\nb 1-x\nc 0-x\n", "1:1: the governors of word 1 lead back to it; a tree has no cycle"),
    ],
)
def test_what_is_malformed_is_named_with_its_place(text, message) -> None:
    with pytest.raises(ReaderError) as caught:
        read(text + "\n")
    assert str(caught.value).startswith("<file>:" + message)
    stream = iter_dependencies(io.StringIO(text + "\n" + TEXT), on_error="skip")
    assert len(list(stream)) == 2
    assert [s.error.message for s in stream.skipped] == [caught.value.message]


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        (Sentence(["a"]), "'a' has no governor or no relation; the format needs both"),
        (Sentence(["a"], governors=[0]), "'a' has no governor or no relation; the format needs both"),
        (
            Sentence(["a"], governors=[0], relations=["x-y"]),
            "relation 'x-y' of 'a' holds '-' or white space; rename it",
        ),
        (
            Sentence(["a"], governors=[0], relations=["x y"]),
            "relation 'x y' of 'a' holds '-' or white space; rename it",
        ),
        ("a", "the format holds sentences or documents of them, but got 'a'"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, sentence, message) -> None:
    with pytest.raises(ValidationError) as caught:
        write_dependencies(tmp_path / "x", [sentence])
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "x").exists()


def test_spaces_in_words_become_underscores(tmp_path: Path) -> None:
    write_dependencies(tmp_path / "x", [Sentence(["1\xa0000 m"], governors=[0], relations=["root"])])
    assert read_dependencies(tmp_path / "x")[0].words == ("1_000_m",)


def test_ewt_survives_the_format(data_dir: Path, tmp_path: Path) -> None:
    gold = read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu")
    write_dependencies(tmp_path / "dev.txt", gold)
    again = read_dependencies(tmp_path / "dev.txt")
    assert [(s.governors, s.relations) for s in again] == [(s.governors, s.relations) for s in gold]
    changed = [
        (a, b) for s, t in zip(gold, again, strict=True) for a, b in zip(s.words, t.words, strict=True) if a != b
    ]
    assert all(b == "_".join(a.split()) for a, b in changed)


@pytest.mark.filterwarnings("ignore:.*the blank line after the last sentence")
@given(st.text("ab -0123:\n\t\r", max_size=60) | st.text(max_size=40), st.integers(0, len(TEXT)))
def test_random_edits_give_sentences_or_a_reader_error(text, at) -> None:
    content = TEXT[:at] + text + TEXT[at:]
    corpus = read(content, on_error="skip")
    with contextlib.suppress(ReaderError):
        assert read(content) == corpus
        assert not corpus.skipped
