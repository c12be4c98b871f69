"""Word vectors in text files: GloVe's, and word2vec's, which fastText's `.vec` files are too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from bertattn._arrays import Numpy
from bertattn.errors import InputError, ReaderError
from bertattn.readers._source import Line, Readable, decoded, files
from bertattn.vectors import Words, WordVectors, words_of

__all__ = ["iter_word_vectors", "read_word_vectors"]

_TO_TEXT: Final = "KeyedVectors.load_word2vec_format(path, binary=True).save_word2vec_format('vectors.txt')"
_HEADER: Final = re.compile(r"([0-9]{1,9}) ([1-9][0-9]{0,8})")
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
# Bytes that no text holds, but a binary file in its first hundred.
_CONTROL: Final = frozenset(range(0x20)) - frozenset(b"\t\n\r")


class _Row(NamedTuple):
    """One line, its numbers still text; `dimension` is how many there are."""

    path: str
    line: int
    dimension: int
    word: str
    numbers: str


def read_word_vectors(source: Readable, /, words: Words | None = None, *, lowercase: bool = True) -> WordVectors:
    """The vectors in a text file of GloVe, word2vec or fastText (`.vec`).

    Each line holds a word and its numbers, separated by single spaces. word2vec and fastText write a line with the
    number of words and of dimensions before them. A word may itself hold spaces, as some of glove.840B do. The file is
    read line by line, and with `words` only their vectors are kept, so it may be larger than memory.

    Args:
        source: the path of a UTF-8 file, plain, `.gz` or `.tar.gz`, or an open file (text or binary), which stays open;
            so may one in a zip archive: `zipfile.ZipFile("glove.6B.zip").open("glove.6B.50d.txt")`.
        words: the words to keep, given as words or as sentences, documents or windows; None keeps all of the file.
        lowercase: look words up lower-cased, as in the paper's code. Entries with capitals, which could not be found
            then, are left out: of "The" and "the" the second is kept. Say False for vectors of a cased vocabulary.

    Returns:
        The vectors in the order of the file. Of a word that comes twice the first is kept, as gensim does.

    Raises:
        ReaderError: a line with too few or too many numbers, or with something that is none or not finite; a first line
            that promises another number of words than follow; a binary file: `path:line:column: what is wrong`.
        FileNotFoundError: there is no such file.
        InputError: no path and no open file, a folder, or an archive without files.
        ValidationError: `words` is one string, or holds something that is no word and no sentence.

    Examples:
        >>> import io
        >>> file = io.StringIO("the 0.5 1\\nThe 0.25 0\\ncat -1 2\\n")
        >>> vectors = read_word_vectors(file, ["The", "dog"])
        >>> vectors
        WordVectors(1 words, 2 dimensions, lower-cased)
        >>> vectors.lookup(["The", "dog"])
        array([[0.5, 1. ],
               [0. , 0. ]], dtype=float32)
        >>> read_word_vectors(io.StringIO("the 0.5 1\\ncat -1\\n"))
        Traceback (most recent call last):
        bertattn.errors.ReaderError: <file>:2:1: 1 fields follow the word, but this file's vectors have 2 numbers
    """
    keep = _filter(words, lowercase=lowercase)
    found: dict[str, None] = {}
    numbers = bytearray()  # it grows in place, where a list of small arrays would take twice the memory
    for row in _rows(source):
        if keep(row.word) and row.word not in found:
            numbers += _vector(row).tobytes()
            found[row.word] = None
    matrix = np.frombuffer(memoryview(numbers).toreadonly(), np.float32).reshape(len(found), row.dimension)
    name = None if row.path == "<file>" else Path(row.path).name
    return WordVectors(tuple(found), matrix, lowercase=lowercase, name=name)


def iter_word_vectors(
    source: Readable, /, words: Words | None = None, *, lowercase: bool = True
) -> Iterator[tuple[str, Numpy]]:
    """As `read_word_vectors`, one word and its float32 vector at a time; a word that comes twice is given twice."""
    keep = _filter(words, lowercase=lowercase)
    return ((row.word, _vector(row)) for row in _rows(source) if keep(row.word))


def _filter(words: Words | None, *, lowercase: bool) -> Callable[[str], bool]:
    """Whether the entry of a word is to be kept."""
    if words is not None:
        return frozenset(word.lower() if lowercase else word for word in words_of(words)).__contains__
    return (lambda word: word == word.lower()) if lowercase else (lambda _: True)


def _rows(source: Readable) -> Iterator[_Row]:
    """The lines with vectors; each has as many numbers as the others, or as the first line says."""
    dimension = 0
    for path, lines in files(source):
        promised: int | None = None
        count = 0
        for number, raw in enumerate(lines, start=1):
            if number <= 2:
                _refuse_binary(raw, dimension, path, number)
            text = decoded(raw, path, number).rstrip(" ")  # the program word2vec ends its lines with a space
            header = _HEADER.fullmatch(text) if number == 1 else None
            if header:
                promised, dimension = int(header[1]), dimension or int(header[2])
                continue
            try:
                dimension = dimension or _dimension(text)
                word, numbers = _split(text, dimension)
            except ValueError as error:
                raise ReaderError(str(error), path=path, line=number) from None
            count += 1
            yield _Row(path, number, dimension, word, numbers)
        if not count:
            raise ReaderError("there are no vectors in this file", path=path, line=1)
        if promised not in (None, count):
            message = f"the first line promises {promised} words but {count} follow; is the file cut off?"
            raise ReaderError(message, path=path, line=1)
    if not dimension:
        raise InputError(f"the archive {source} holds no files")


def _dimension(text: str) -> int:
    """How many numbers the first line has; its word may be a number too, and is none of them."""
    fields = text.split(" ")[1:]
    first = next((i for i, field in enumerate(fields) if _NUMBER.fullmatch(field)), None)
    if first is None:
        raise ValueError("the line has no numbers; each holds a word and its numbers, separated by single spaces")
    return len(fields) - first


def _split(text: str, dimension: int) -> tuple[str, str]:
    """The word of a line and its numbers, still text."""
    if text.startswith(" "):
        raise ValueError("the line begins with a space, where its word should be")
    word, _, numbers = text.partition(" ")
    count = text.count(" ")
    if count != dimension:
        if "  " in text:
            raise ValueError("there are two spaces in a row; a word and its numbers are separated by single spaces")
        word = text.rsplit(" ", dimension)[0]
        numbers = text[len(word) + 1 :]
        # The words with spaces that there are, ". . ." and "at name@domain.com" in glove.840B, hold no number.
        if count < dimension or any(map(_NUMBER.fullmatch, word.split(" ")[1:])):
            raise ValueError(f"{count} fields follow the word, but this file's vectors have {dimension} numbers")
    return word, numbers


def _vector(row: _Row) -> Numpy:
    fields = row.numbers.split(" ")
    with np.errstate(over="ignore"):  # an infinity is refused below
        try:
            vector = np.array(fields, np.float32)
        except ValueError:
            vector = np.array([_number(field) for field in fields], np.float32)
    finite = np.isfinite(vector)
    if not finite.all():
        bad = int(finite.argmin())
        column = len(row.word) + 2 + sum(len(field) + 1 for field in fields[:bad])
        message = f"{fields[bad]!r:.40} is no finite number"
        raise ReaderError(message, path=row.path, line=row.line, column=column)
    return vector


def _number(field: str) -> float:
    """The number, or NaN where the field is none."""
    return float(field) if _NUMBER.fullmatch(field) else np.nan


def _refuse_binary(raw: Line, dimension: int, path: str, number: int) -> None:
    """Look at one of the first two lines; `dimension` is what a first line of word2vec says, otherwise 0.

    A binary line holds bytes that no text has, unless one that happens to be a line end comes before them.
    """
    if isinstance(raw, str):
        return
    control = not _CONTROL.isdisjoint(raw)
    if dimension and (control or (raw.count(b" ") < dimension and not raw.isascii())):
        what = f"this looks like word2vec's binary format; write it as text with gensim: {_TO_TEXT}"
    elif raw.startswith(b"PK\x03\x04"):
        what = "this is a zip archive; give the file in it: zipfile.ZipFile(path).open(name)"
    elif raw.startswith(b"\xba\x16\x4f\x2f"):
        what = "this is fastText's binary model; give the .vec file that comes with it"
    elif control:
        what = "this is no text; give vectors in the text format of GloVe or word2vec"
    else:
        return
    raise ReaderError(what, path=path, line=number)
