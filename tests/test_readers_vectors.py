"""Word vectors in text files: both formats, plain and packed, read in part, refused with the place."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertattn import Document, Sentence
from bertattn.errors import InputError, ReaderError, ValidationError
from bertattn.readers import iter_word_vectors, read_conllu, read_word_vectors
from bertattn.vectors import WordVectors

GLOVE = "the 0.5 -1e-2 3\ncat 1 .25 -0\nnaïve 0.1 0.2 0.3\n"
EXPECTED = WordVectors(["the", "cat", "naïve"], [[0.5, -1e-2, 3], [1, 0.25, -0.0], [0.1, 0.2, 0.3]])


def read(text: str, *arguments, **options) -> WordVectors:
    return read_word_vectors(io.StringIO(text), *arguments, **options)


def test_glove_and_word2vec_by_hand() -> None:
    assert read(GLOVE) == EXPECTED
    assert read("3 3\n" + GLOVE) == EXPECTED
    assert read("\ufeff" + GLOVE.replace("\n", " \r\n")) == EXPECTED  # word2vec ends lines with a space
    assert read(GLOVE[:-1]) == EXPECTED
    assert read(GLOVE).name is None


@pytest.mark.parametrize("name", ["v.txt", "v.txt.gz", "v.tar.gz"])
def test_packed_or_not_and_named_after_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    content = GLOVE.encode()
    if name.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo("v.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    else:
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for source in (path, str(path)):
        vectors = read_word_vectors(source)
        assert vectors == EXPECTED
        assert str(vectors.name).endswith(name if ".tar" not in name else "v.txt")
    if ".tar" not in name:
        with path.open("rb") as file:
            assert read_word_vectors(file) == EXPECTED
            assert not file.closed


def test_a_file_in_a_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "glove.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("v.txt", GLOVE)
    with zipfile.ZipFile(path) as archive, archive.open("v.txt") as file:
        vectors = read_word_vectors(file)
    assert (vectors, vectors.name) == (EXPECTED, "v.txt")
    with pytest.raises(ReaderError, match=r"glove\.zip:1:1: this is a zip archive; give the file in it: zipfile\."):
        read_word_vectors(path)


def test_only_the_words_asked_for_are_kept_in_the_order_of_the_file() -> None:
    cat_and_the = WordVectors(EXPECTED.words[:2], EXPECTED.matrix[:2])
    for words in (["cat", "The", "dog"], [Sentence(["The", "cat"])], iter([Document([Sentence(["cat", "the"])])])):
        assert read(GLOVE, words) == cat_and_the
    nothing = read(GLOVE, words=["dog"])
    assert (len(nothing), nothing.dimension) == (0, 3)
    assert nothing.lookup(["dog", "the"]).tolist() == [[0, 0, 0]] * 2
    with pytest.raises(ValidationError, match=r"^words are given as a list of words or of sentences, but got 'cat'$"):
        read(GLOVE, "cat")


def test_what_is_not_asked_for_is_not_read_as_numbers() -> None:
    text = "the 1 2\ncat x y\ndog 3 4\n"
    assert read(text, ["the", "dog"]).matrix.tolist() == [[1, 2], [3, 4]]
    with pytest.raises(ReaderError, match=r"^<file>:2:5: 'x' is no finite number$"):
        read(text)


def test_capitals() -> None:
    text = "The 1\nthe 2\nParis 3\n"
    assert read(text) == WordVectors(["the"], [[2]])
    assert read(text, ["The", "Paris"]) == WordVectors(["the"], [[2]])
    assert read(text, lowercase=False) == WordVectors(["The", "the", "Paris"], [[1], [2], [3]], lowercase=False)
    assert read(text, ["Paris", "THE"], lowercase=False) == WordVectors(["Paris"], [[3]], lowercase=False)


def test_of_a_word_that_comes_twice_the_first_is_kept() -> None:
    text = "3 1\na 1\nb 2\na 3\n"
    assert read(text) == WordVectors(["a", "b"], [[1], [2]])
    assert [(word, vector.tolist()) for word, vector in iter_word_vectors(io.StringIO(text))] == [
        ("a", [1]),
        ("b", [2]),
        ("a", [3]),
    ]


def test_words_with_spaces_and_words_that_are_numbers() -> None:
    text = ". . . 0.5 1\nat name@domain.com 2 3\n1998 4 5\n1.5 6 7\n\u00a0 8 9\n"
    words = (". . .", "at name@domain.com", "1998", "1.5", "\u00a0")
    assert read(text) == WordVectors(words, np.array([0.5, *range(1, 10)]).reshape(5, 2))
    assert read(text.split("\n", 2)[2]).words == words[2:]


WORD = st.text(st.characters(exclude_categories=("Cs", "Zs", "Cc")), min_size=1, max_size=4)
NUMBER = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.data(), st.integers(2, 5), st.booleans(), st.booleans())
def test_what_is_written_is_read(data, dimension: int, header: bool, binary: bool) -> None:
    words = data.draw(st.lists(WORD.filter(lambda word: not word.isascii() or word.isalpha()), min_size=1, unique=True))
    row = st.lists(NUMBER, min_size=dimension, max_size=dimension)
    rows = data.draw(st.lists(row, min_size=len(words), max_size=len(words)))
    text = f"{len(words)} {dimension}\n" if header else ""
    for word, numbers in zip(words, rows, strict=True):
        text += f"{word} {' '.join(map(repr, numbers))}\n"
    source = io.BytesIO(text.encode()) if binary else io.StringIO(text, newline="\n")
    assert read_word_vectors(source, lowercase=False) == WordVectors(words, rows, lowercase=False)
    entries = list(iter_word_vectors(io.StringIO(text, newline="\n"), words[:1], lowercase=False))
    assert [(word, vector.tolist(), vector.dtype) for word, vector in entries] == [(words[0], rows[0], np.float32)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: there are no vectors in this file"),
        ("0 50\n", "1:1: there are no vectors in this file"),
        ("the\n", "1:1: the line has no numbers; each holds a word and its numbers, separated by single spaces"),
        ("the\t1\t2\n", "1:1: the line has no numbers; each holds a word and its numbers, separated by single spaces"),
        ("\na 1\n", "1:1: the line has no numbers; "),
        ("a 1 2\nb 1\n", "2:1: 1 fields follow the word, but this file's vectors have 2 numbers"),
        ("a 1 2\n\nb 1 2\n", "2:1: 0 fields follow the word, but this file's vectors have 2 numbers"),
        ("a 1 2\nb 1 2 3\n", "2:1: 3 fields follow the word, but this file's vectors have 2 numbers"),
        ("1 3\na 1 2\n", "2:1: 2 fields follow the word, but this file's vectors have 3 numbers"),
        ("a 1 2\n 1 2\n", "2:1: the line begins with a space, where its word should be"),
        ("a 1 2\n b 1 2\n", "2:1: the line begins with a space, where its word should be"),
        ("a 1 2\nb  1 2\n", "2:1: there are two spaces in a row; a word and its numbers are separated by single"),
        ("a 1 2\nb 1  2\n", "2:1: there are two spaces in a row"),
        ("ä 1 2\nöö 1 2,5\n", "2:6: '2,5' is no finite number"),
        ("a 1 nan 3\n", "1:5: 'nan' is no finite number"),
        ("a 1 -inf\n", "1:5: '-inf' is no finite number"),
        ("a 1 1e39\n", "1:5: '1e39' is no finite number"),
        ("a 1e39 x\n", "1:3: '1e39' is no finite number"),
        ("a 1 \u0663\u0663x\n", "1:5: '\u0663\u0663x' is no finite number"),
        ("2 1\na 1\n", "1:1: the first line promises 2 words but 1 follow; is the file cut off?"),
        ("1 1\na 1\nb 1\n", "1:1: the first line promises 1 words but 2 follow"),
        # No header, but a word and a number.
        ("9" * 5000 + " 3\na 1 2 3\n", "2:1: 3 fields follow the word, but this file's vectors have 1 numbers"),
        ("1 99999999999999999999\na 1 2\n", "2:1: 2 fields follow the word, but this file's vectors have 1 numbers"),
        ("a 1\rb 2\n", "1:4: a carriage return inside a line; lines end in LF or CR LF"),
    ],
)
def test_what_is_malformed_is_named_with_its_place(text: str, message: str) -> None:
    for source in (io.StringIO(text, newline="\n"), io.BytesIO(text.encode())):
        with pytest.raises(ReaderError) as caught:
            read_word_vectors(source)
        assert str(caught.value).startswith("<file>:" + message)


def test_bytes_that_are_no_utf8_are_named_with_their_place() -> None:
    with pytest.raises(ReaderError, match=r"^<file>:2:2: byte 0xEF is no UTF-8; save the file as UTF-8$"):
        read_word_vectors(io.BytesIO("a 1\nnaïve 1\n".replace("naïve", "nïve").encode("latin-1")))


def test_a_cut_off_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.txt.gz"
    path.write_bytes(gzip.compress(GLOVE.encode() * 1000)[:-20])
    with pytest.raises(ReaderError, match=r"the compressed file is damaged or cut off"):
        read_word_vectors(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_word2vecs_binary_format_is_refused_by_name(seed: int, packed: bool) -> None:
    """Thirty times, since a byte of the first numbers may be a line end."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(scale=0.1, size=(20, 50)).astype("<f4")
    if seed == 0:
        numbers[0, 0] = struct.unpack("<f", b"\x8f\n\xa0\xbd")[0]
    content = b"20 50\n" + b"".join(b"w%d " % i + row.tobytes() for i, row in enumerate(numbers))
    with pytest.raises(ReaderError) as caught:
        read_word_vectors(io.BytesIO(gzip.compress(content) if packed else content))
    assert str(caught.value) == (
        "<file>:2:1: this looks like word2vec's binary format; write it as text with gensim: "
        "KeyedVectors.load_word2vec_format(path, binary=True).save_word2vec_format('vectors.txt')"
    )


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\xba\x16\x4f\x2f\x0c\0\0\0", "this is fastText's binary model; give the .vec file that comes with it"),
        (b"\x93NUMPY\x01\x00", "this is no text; give vectors in the text format of GloVe or word2vec"),
    ],
)
def test_other_binary_files_are_refused_by_name(start: bytes, message: str) -> None:
    with pytest.raises(ReaderError) as caught:
        read_word_vectors(io.BytesIO(start))
    assert str(caught.value) == f"<file>:1:1: {message}"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_word_vectors(tmp_path / "absent.txt")
    with pytest.raises(InputError, match=r"is a folder; give the name of a file in it$"):
        read_word_vectors(tmp_path)
    with tarfile.open(tmp_path / "v.tar", "w"):
        pass
    with pytest.raises(InputError, match=r"^the archive .*v\.tar holds no files$"):
        read_word_vectors(tmp_path / "v.tar")


def test_files_of_an_archive_must_agree_in_their_dimension(tmp_path: Path) -> None:
    path = tmp_path / "v.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in (("a.txt", b"a 1 2\n"), ("b.txt", b"1 3\nb 1 2 3\n")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(
        ReaderError, match=r"v\.tar:b\.txt:2:1: 3 fields follow the word, but this file's vectors have 2"
    ):
        read_word_vectors(path)


def test_real_glove_vectors(data_dir: Path) -> None:
    gold = read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu")
    whole = read_word_vectors(data_dir / "vectors" / "glove.6B.50d.unit.top25k.txt.gz")
    assert (len(whole), whole.dimension, whole.words[:2]) == (25000, 50, ("the", ","))
    np.testing.assert_allclose(np.linalg.norm(whole.matrix, axis=1), 1, atol=0.01)
    needed = read_word_vectors(data_dir / "vectors" / "glove.6B.50d.unit.top25k.txt.gz", gold)
    wanted = {word.lower() for sentence in gold for word in sentence.words}
    assert needed.words == tuple(word for word in whole.words if word in wanted)
    coverage = needed.coverage(gold)
    assert coverage == whole.coverage(gold)
    assert (coverage.tokens, round(coverage.token_fraction, 3)) == (25147, 0.959)
    with_header = read_word_vectors(data_dir / "vectors" / "glove.6B.50d.exact.2987w.txt")
    assert (len(with_header), with_header.words[0]) == (2987, "the")
    exact, unit = with_header.lookup(["the", "she"]), whole.lookup(["the", "she"])
    np.testing.assert_allclose(exact / np.linalg.norm(exact, axis=1, keepdims=True), unit, atol=0.005)
