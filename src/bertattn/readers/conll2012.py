"""Coreference in CoNLL-2012 files (OntoNotes, LitBank, WinoBias, the reference scorer) and GUM's three columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, NoReturn

from bertattn.annotation import Document, Mention, Sentence
from bertattn.errors import ReaderError
from bertattn.readers._brackets import Brackets, Chunk, Found, split
from bertattn.readers._source import Corpus, CorpusStream, Lines, OnError, Readable, decoded, files, parsed

__all__ = ["iter_conll2012", "read_conll2012"]

_BEGIN: Final = re.compile(r"# ?begin document\b ?(.*)")
_END: Final = re.compile(r"# ?end document\s*")
# GUM's labels: type, number and, for entities with a Wikipedia page, its name.
_TYPED: Final = re.compile(r"([A-Za-z]+)-([0-9]+)(?:-(.*))?")
_ABSENT: Final = ("-", "_", "*", "")
# From this number of columns on, the fifth and tenth are part of speech and speaker.
_FULL: Final = 11


class _Row(NamedTuple):
    line: int
    text: str
    columns: list[str]


def read_conll2012(source: Readable, /, *, on_error: OnError = "raise") -> Corpus[Document]:
    """The documents of a file with CoNLL-2012 coreference.

    A document lies between `#begin document (name); part 000` and `#end document`, its sentences between blank lines.
    Columns are separated by tabs, or in a line without tabs by white space. The last is coreference, an empty cell as
    `-`. Which the others are is known by their number:

    - 11 and more: document, part, word number, word, part of speech, ..., speaker (the tenth), ...;
    - 5: document, part, word number, word; the layout of the reference scorer's tests;
    - 3: word number, word; the layout in GUM's repository, where a document is not cut into sentences, so that it is
      one `Sentence`. Its labels `(person-1-Some_Name` give `type`, `entity` and `metadata["identity"]`;
    - 2: document alone.

    A word that the file leaves blank, or has no column for, is "_"; the document's `metadata["blank_words"]` counts
    them (OntoGUM has one).

    The format has no trees: sentences have words and `xpos`, and `metadata["speakers"]` where one is named. Words are
    as they stand in the file, escapes such as "-LRB-" too. A document's `id` is "name_part", as "wsj_0001_0", or its
    name where it has no part; `metadata` has both as `name` and `part`. Mentions are sorted by first word, longer ones
    first, and their entities are numbered anew in each document.

    Args:
        source: as for `read_conllu`; of a tar archive every file is read.
        on_error: "raise", or "skip" to leave malformed documents out and list them in `.skipped`.

    Returns:
        A tuple of documents with `.skipped`.

    Raises:
        ReaderError: lines outside a document, a document without end or words, a wrong number of columns, words not
            numbered from 0 in their sentence, brackets without partner.

    Examples:
        >>> import io
        >>> file = io.StringIO(
        ...     "#begin document (d); part 000\\n"
        ...     "d 0 0 Anna NNP * - - - - * (1)\\n"
        ...     "d 0 1 saw VBD * - - - - * -\\n"
        ...     "d 0 2 herself PRP * - - - - * (1)\\n\\n"
        ...     "#end document\\n"
        ... )
        >>> (document,) = read_conll2012(file)
        >>> document.id, document.words, [(m.entity, m.start, m.end) for m in document.mentions]
        ('d_0', ('Anna', 'saw', 'herself'), [('1', 0, 1), ('1', 2, 3)])
    """
    return iter_conll2012(source, on_error=on_error).collect()


def iter_conll2012(source: Readable, /, *, on_error: OnError = "raise") -> CorpusStream[Document]:
    """As `read_conll2012`, one document at a time; `.skipped` of the stream grows as it is read."""
    return parsed(_pieces(source), _document, on_error=on_error, name=_id_of)


def _pieces(source: Readable) -> Iterator[Lines]:
    """The lines of each document, its first and last line included; lines between documents make a piece too."""
    for path, lines in files(source):
        piece = Lines(path, 1, [])
        for number, line in enumerate(lines, start=1):
            start = line[:20] if isinstance(line, str) else line[:20].decode("utf-8", errors="replace")
            if _BEGIN.match(start) and piece.raw:
                yield piece
                piece = Lines(path, number, [])
            if not piece.raw:
                if not line.strip():
                    continue
                piece = Lines(path, number, [])
            piece.raw.append(line)
            if _END.match(start):
                yield piece
                piece = Lines(path, number + 1, [])
        if piece.raw:
            yield piece


def _name_and_part(line: str) -> tuple[str | None, str | None]:
    match = _BEGIN.fullmatch(line)
    rest = match[1].strip() if match else ""
    if rest.startswith("(") and ")" in rest:
        name, _, after = rest[1:].rpartition(")")
        words = after.replace(";", " ").split()
        return name or None, words[1] if len(words) > 1 and words[0] == "part" else None
    return rest or None, None


def _id(name: str | None, part: str | None) -> str | None:
    if name is None or part is None:
        return name
    is_number = part.isascii() and part.isdigit() and len(part) < 20
    return f"{name}_{int(part) if is_number else part}"


def _id_of(piece: Lines) -> str | None:
    first = piece.raw[0]
    line = first if isinstance(first, str) else first.decode("utf-8", errors="replace")
    return _id(*_name_and_part(line.rstrip("\r\n"))) if _BEGIN.match(line) else None


def _document(piece: Lines) -> Document:
    path = piece.path
    lines = [decoded(line, path, piece.first + i) for i, line in enumerate(piece.raw)]
    if not _BEGIN.match(lines[0]):
        _fail(path, piece.first, 1, f"{lines[0]!r:.40} stands outside a document; expected '#begin document (name)'")
    if not _END.fullmatch(lines[-1]):
        last = max(i for i, line in enumerate(lines) if line.strip())
        _fail(path, piece.first + last, 1, "the document has no '#end document' after it")
    name, part = _name_and_part(lines[0])
    rows = [_row(path, piece.first + i, line) for i, line in enumerate(lines[1:-1], start=1)]
    brackets = Brackets(path)
    sentences: list[Sentence] = []
    run: list[_Row] = []
    count = blank = 0
    for row in [*rows, None]:
        if row is not None:
            run.append(row)
        elif run:
            sentence, cells, without_word = _sentence(path, run, document=_id(name, part))
            blank += without_word
            for word, cell in enumerate(cells, start=count):
                brackets.take(word, _chunks(path, cell))
            sentences.append(sentence)
            count += len(sentence)
            run = []
    if not sentences:
        _fail(path, piece.first, 1, "a document without words; expected lines of words before '#end document'")
    known = {"name": name, "part": part, "blank_words": blank or None}
    metadata = {key: value for key, value in known.items() if value is not None}
    mentions = tuple(_mention(found) for found in brackets.end())
    return Document(tuple(sentences), mentions, id=_id(name, part), metadata=metadata)


def _row(path: str, number: int, line: str) -> _Row | None:
    if not line:
        return None
    if not line.strip():
        _fail(path, number, 1, "a line of white space; the line after a sentence is empty")
    return _Row(number, line, line.split("\t") if "\t" in line else line.split())


def _sentence(path: str, rows: list[_Row], *, document: str | None) -> tuple[Sentence, list[tuple[_Row, str]], int]:
    """The sentence, the coreference cell of each word, and how many words are blank."""
    n = len(rows[0].columns)
    if n not in (2, 3, 5) and n < _FULL:
        _fail(path, rows[0].line, 1, f"the line has {n} columns; expected 2, 3, 5, or {_FULL} and more")
    words, tags, speakers, cells = [], [], [], []
    blank = 0
    for i, row in enumerate(rows):
        columns = row.columns
        if len(columns) == n + 1 and columns[-1] == "":  # a tab too many at the end, as the scorer's tests have
            columns = columns[:-1]
        if len(columns) != n:
            _fail(path, row.line, 1, f"the line has {len(columns)} columns where the first of its sentence has {n}")
        word = "" if n == 2 else columns[1 if n == 3 else 3]
        if n != 2 and columns[0 if n == 3 else 2] != str(i):
            _fail(path, row.line, 1, f"word number {columns[0 if n == 3 else 2]!r:.40} where {i} was expected")
        words.append(word or "_")
        blank += not word
        tags.append(None if n < _FULL or columns[4] in _ABSENT else columns[4])
        speakers.append(None if n < _FULL or columns[9] in _ABSENT else columns[9])
        cells.append((row, columns[-1]))
    metadata = {"speakers": tuple(speakers)} if any(speakers) else {}
    xpos = tuple(tags) if any(tags) else None
    return Sentence(tuple(words), xpos=xpos, document=document, metadata=metadata), cells, blank


def _chunks(path: str, cell: tuple[_Row, str]) -> Sequence[Chunk]:
    row, text = cell
    if text in _ABSENT:
        return ()
    start = row.text.rstrip("\t").rindex(text)
    chunks: list[Chunk] = []
    for item in text.split("|"):
        *brackets, (end, rest) = split(item, 0)
        if rest or not brackets:
            _fail(path, row.line, start + end + 1, f"coreference {rest!r:.40}; expected '-' or (12, 12), (12)")
        chunks += [
            Chunk(bracket.strip("()"), bracket[0] == "(", bracket[-1] == ")", row.line, start + at + 1)
            for at, bracket in brackets
        ]
        start += len(item) + 1
    return chunks


def _mention(found: Found) -> Mention:
    first, last = found.pieces[0][0], found.pieces[-1][1]
    typed = _TYPED.fullmatch(found.entity)
    if typed is None:
        return Mention(first, last + 1, found.entity)
    return Mention(first, last + 1, typed[2], None, typed[1], {"identity": typed[3]} if typed[3] else {})


def _fail(path: str, line: int, column: int, message: str) -> NoReturn:
    raise ReaderError(message, path=path, line=line, column=column)
