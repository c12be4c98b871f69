"""Coreference in CoNLL-2012 files (OntoNotes, LitBank, WinoBias, the reference scorer) and GUM's three columns.

Read, checked, and written back byte for byte.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

from bertattn.annotation import Document, Mention, Sentence
from bertattn.errors import ReaderError, ValidationError
from bertattn.readers._brackets import Brackets, Chunk, Found, split
from bertattn.readers._source import Corpus, CorpusStream, Lines, OnError, Readable, decoded, files, parsed, write_text

__all__ = ["iter_conll2012", "read_conll2012", "to_conll2012", "write_conll2012"]

_BEGIN: Final = re.compile(r"# ?begin document\b ?(.*)")
_END: Final = re.compile(r"# ?end document\s*")
# GUM's labels: type, number and, for entities with a Wikipedia page, its name.
_TYPED: Final = re.compile(r"([A-Za-z]+)-([0-9]+)(?:-(.+))?")
_ABSENT: Final = ("-", "_", "*", "")
# From this number of columns on, the fifth and tenth are part of speech and speaker.
_FULL: Final = 11
_TAG: Final = 4
_SPEAKER: Final = 9
# What a document is written with that was not read: the columns up to the named entities, and coreference.
_CANONICAL: Final = (None, None, None, None, "-", "*", "-", "-", "-", "-", "*", "-")
_LABEL: Final = re.compile(r"[^()|\t\n\r]+")

Columns: TypeAlias = tuple[str | tuple[str, ...] | None, ...]


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

    The rest of the file is kept too, so that `write_conll2012` writes the same file again, in `metadata` of sentences:

    - `columns`: a string a column, or where its words differ a tuple. None is what the fields say; where they say
      nothing, tag, speaker and coreference are written as this string;
    - `lines`: number and text of each line with other spaces, or its brackets in another order, than would be written;
      in a file aligned with spaces that is every line;
    - `blank_lines`: their number after the sentence, where it is not one, or not none after the last of 3 or 5 columns;

    and of the document as `begin` and `end`: its first line, and its last with the blank lines after it, where they are
    not those that are written. Not kept are a byte order mark, CR LF for LF, and blank lines before the first line and
    the first word.

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


def write_conll2012(path: str | os.PathLike[str], documents: Iterable[Document], /) -> None:
    """Write documents as a CoNLL-2012 file (UTF-8; compressed where the name ends in .gz).

    An existing file is replaced at once. What `read_conll2012` read is written as it was, each in its layout.

    Raises:
        ValidationError: something that is no Document, or what `to_conll2012` refuses.

    Examples:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "anna.conll")
        ...     write_conll2012(path, [Document([Sentence(["Anna", "left"])], [Mention(0, 1, "1")], id="d")])
        ...     read_conll2012(path)[0].mentions[0].entity
        '1'
    """
    texts: list[str] = []
    for document in documents:
        if texts and not texts[-1].endswith("\n"):
            texts.append("\n")
        texts.append(to_conll2012(document))
    write_text(path, "".join(texts))


def to_conll2012(document: Document, /) -> str:
    """The document in CoNLL-2012, from its first line to its last.

    Words, tags (`xpos`), speakers and mentions come from the fields of the document and its sentences, the layout from
    their `metadata` (see `read_conll2012`). A sentence without `columns` is written in twelve, separated by tabs:
    document, part, word number, word, tag, `*`, `-`, `-`, `-`, speaker, `*`, coreference, with `-` for what is absent
    and a blank line after the sentence. In a cell with several brackets, closing ones stand first, inner before outer,
    then opening ones, outer before inner, then those of one word, with `|` between them.

    An entity with a type is written as `type-entity`, and `-identity` after it, where that can be read again: where its
    name is a number. The format has no place for trees, lemmas, `upos`, `feats`, `space_after` and the head words of
    mentions.

    Raises:
        ValidationError: no Document; a mention with gaps, or an entity whose name is empty or holds one of `()|`, a tab
            or a line end; mentions of one entity that cross; a cell that holds a tab or a line end; `columns` of
            another length than the words; anything else that would be read back as other words or mentions.

    Examples:
        >>> saw = Sentence(["Anna", "saw", "herself"], xpos=["NNP", "VBD", "PRP"])
        >>> print(to_conll2012(Document([saw], [Mention(0, 1, "1"), Mention(2, 3, "1")], id="d")), end="")
        #begin document (d)
        d  0  0  Anna     NNP  *  -  -  -  -  *  (1)
        d  0  1  saw      VBD  *  -  -  -  -  *  -
        d  0  2  herself  PRP  *  -  -  -  -  *  (1)
        <BLANKLINE>
        #end document
    """
    if not isinstance(document, Document):
        raise ValidationError(f"CoNLL-2012 holds documents, but got {document!r:.60}")
    brackets = _brackets_of(document.mentions, len(document))
    name, part = _name_and_part_of(document)
    n = len(_columns_of(document.sentences[0]))
    lines = [_begin_of(document, n)]
    first = 0
    for i, s in enumerate(document.sentences):
        here = brackets[first : first + len(s)]
        kept = dict(s.metadata.get("lines", ()))
        for number, cells in enumerate(_rows_of(s, here, name, part)):
            wrong = next((cell for cell in cells if any(mark in cell for mark in "\t\n\r")), None)
            if wrong is not None:
                raise ValidationError(f"a cell of {s.words[number]!r} is {wrong!r}, which CoNLL-2012 cannot hold")
            line = kept.get(number)
            lines.append(line if line is not None and _says(line, cells) else _separator(cells).join(cells))
        lines += [""] * s.metadata.get("blank_lines", _blank_lines(s, last=i == len(document.sentences) - 1))
        first += len(s)
    text = "\n".join([*lines, document.metadata.get("end", _end(n))])
    _check_again(text, document)
    return text


def _columns_of(s: Sentence) -> Columns:
    columns: Columns = s.metadata.get("columns", _CANONICAL)
    return columns


def _name_and_part_of(document: Document) -> tuple[str | None, str | None]:
    name, part = document.metadata.get("name"), document.metadata.get("part")
    return (name, part) if _id(name, part) == document.id else (document.id, None)


def _begin_of(document: Document, n: int) -> str:
    kept = document.metadata.get("begin")
    if kept is not None and _id(*_name_and_part(kept)) == document.id:
        return str(kept)
    return _begin(*_name_and_part_of(document), n)


def _begin(name: str | None, part: str | None, n: int) -> str:
    if n == 3:
        return f"# begin document {name or ''}"
    return f"#begin document ({name or ''})" + ("" if part is None else f"; part {part}")


def _end(n: int) -> str:
    return "# end document\n" if n == 3 else "#end document\n"


def _blank_lines(s: Sentence, *, last: bool) -> int:
    return 0 if last and len(_columns_of(s)) in (3, 5) else 1


def _separator(cells: Sequence[str]) -> str:
    return " " if len(cells) == 2 else "\t"


def _number_of(part: str | None) -> str:
    return str(int(part)) if part is not None and part.isascii() and part.isdigit() and len(part) < 20 else part or "0"


def _rows_of(s: Sentence, brackets: Sequence[Sequence[str]], name: str | None, part: str | None) -> list[list[str]]:
    """The cells of each word, as they are written where no line is kept."""
    columns = _columns_of(s)
    n = len(columns)
    if n not in (2, 3, 5) and n < _FULL:
        raise ValidationError(f"metadata['columns'] has {n} entries; expected 2, 3, 5, or {_FULL} and more")
    if n == 2 and set(s.words) != {"_"}:
        raise ValidationError(
            f"the sentence {' '.join(s.words)!r:.60} has words, but its metadata['columns'] has no column for them; "
            "leave that out"
        )
    for column in columns:
        if isinstance(column, tuple) and len(column) != len(s):
            raise ValidationError(
                f"a column of metadata['columns'] has {len(column)} entries but there are {len(s)} words"
            )
    speakers = s.metadata.get("speakers", ())
    if speakers and len(speakers) != len(s):
        raise ValidationError(f"metadata['speakers'] has {len(speakers)} entries but there are {len(s)} words")
    fields: dict[int, Sequence[str | None]] = {}
    if n != 2:
        fields[_number(n)] = [str(i) for i in range(len(s))]
        fields[_word(n)] = s.words
    if n >= _FULL:
        fields[_TAG] = s.xpos or ()
        fields[_SPEAKER] = speakers
    between = "|" if n >= _FULL else ""
    fields[n - 1] = [between.join(chunks) or None for chunks in brackets]
    written: list[Sequence[str]] = []
    for j, column in enumerate(columns):
        if isinstance(column, tuple):
            written.append(column)
            continue
        absent = column if column is not None else (name or "-") if j == 0 else _number_of(part) if j == 1 else "-"
        values = fields.get(j) or (absent,) * len(s)
        written.append([absent if value is None else value for value in values])
    return [list(cells) for cells in zip(*written, strict=True)]


def _brackets_of(mentions: Sequence[Mention], words: int) -> list[list[str]]:
    """The brackets at each word of the document, in order."""
    ends: list[list[str]] = [[] for _ in range(words)]
    starts: list[list[str]] = [[] for _ in range(words)]
    single: list[list[str]] = [[] for _ in range(words)]
    for m in sorted(mentions, key=lambda m: (m.start, -m.end)):
        label = _label(m)
        if m.end - m.start == 1:
            single[m.start].append(f"({label})")
        else:
            starts[m.start].append(f"({label}")
            ends[m.end - 1].insert(0, f"{label})")
    return [[*e, *s, *o] for e, s, o in zip(ends, starts, single, strict=True)]


def _label(m: Mention) -> str:
    if m.parts:
        raise ValidationError(
            f"a mention of {m.entity!r:.40} has gaps, its parts are {m.parts!r:.60}; CoNLL-2012 cannot hold that"
        )
    identity = m.metadata.get("identity")
    typed = "" if m.type is None else f"{m.type}-{m.entity}" + (f"-{identity}" if identity else "")
    label = typed if _LABEL.fullmatch(typed) and _unlabelled(typed)[:2] == (m.entity, m.type) else m.entity
    if not _LABEL.fullmatch(label):
        raise ValidationError(
            f"entity {m.entity!r:.60} is empty or holds one of '()|', a tab or a line end, which CoNLL-2012 "
            "cannot hold; rename it"
        )
    return label


def _says(line: str, cells: Sequence[str]) -> bool:
    """Whether a line that was kept still says what these cells do."""
    columns = _split(line)
    n = len(cells)
    if len(columns) == n + 1 and columns[-1] == "":
        columns = columns[:-1]
    if len(columns) != n:
        return False
    same = [a == b for a, b in zip(columns, cells, strict=True)]
    if n != 2:
        same[_word(n)] |= not columns[_word(n)] and cells[_word(n)] == "_"
    if n >= _FULL:
        for j in (_TAG, _SPEAKER):
            same[j] |= columns[j] in _ABSENT and cells[j] in _ABSENT
    same[-1] |= _sorted_brackets(columns[-1]) == _sorted_brackets(cells[-1])
    return all(same)


def _sorted_brackets(cell: str) -> list[str]:
    if cell in _ABSENT:
        return []
    return sorted(text for item in cell.split("|") for _, text in split(item, 0) if text)


def _check_again(text: str, document: Document) -> None:
    """What cannot be told from the parts, such as mentions of one entity that cross, is seen by reading."""
    try:
        read = read_conll2012(io.StringIO(text))
    except ReaderError as error:
        raise ValidationError(f"the document {document.id!r:.60} cannot be written as CoNLL-2012: {error}") from None

    def told(d: Document) -> tuple[Any, ...]:
        return d.id, [s.words for s in d.sentences], sorted((m.start, m.end, m.entity) for m in d.mentions)

    if len(read) != 1:
        raise ValidationError(f"the document {document.id!r:.60} would be read back as {len(read)} documents")
    for what, before, after in zip(("id", "words", "mentions"), told(document), told(read[0]), strict=True):
        if before != after:
            one, other = _first_difference(before, after) if isinstance(before, list) else (before, after)
            raise ValidationError(
                f"{what} {one!r:.60} of the document {document.id!r:.60} would be read back as {other!r:.60}; "
                "CoNLL-2012 cannot hold it"
            )


def _first_difference(before: list[Any], after: list[Any]) -> tuple[Any, Any]:
    pairs = zip(before, after, strict=False)  # of different lengths where a sentence or mention is lost
    return next(((one, other) for one, other in pairs if one != other), (before, after))


def _pieces(source: Readable) -> Iterator[Lines]:
    """The lines of each document, its first and last line included; lines between documents make a piece too.

    Blank lines after a document belong to it.
    """
    for path, lines in files(source):
        piece = Lines(path, 1, [])
        ended = False
        for number, line in enumerate(lines, start=1):
            start = line[:20] if isinstance(line, str) else line[:20].decode("utf-8", errors="replace")
            blank = not line.strip()
            if piece.raw and not blank and (ended or _BEGIN.match(start)):
                yield piece
                piece = Lines(path, number, [])
                ended = False
            if not piece.raw:
                if blank:
                    continue
                piece = Lines(path, number, [])
            piece.raw.append(line)
            ended = ended or _END.match(start) is not None
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
    raw = piece.raw
    after = 0
    while not raw[-after - 1].strip():
        after += 1
    lines = [decoded(line, path, piece.first + i) for i, line in enumerate(raw[: len(raw) - after])]
    if not _BEGIN.match(lines[0]):
        _fail(path, piece.first, 1, f"{lines[0]!r:.40} stands outside a document; expected '#begin document (name)'")
    if not _END.fullmatch(lines[-1]):
        _fail(path, piece.first + len(lines) - 1, 1, "the document has no '#end document' after it")
    name, part = _name_and_part(lines[0])
    rows = [_row(path, piece.first + i, line) for i, line in enumerate(lines[1:-1], start=1)]
    brackets = Brackets(path)
    same: dict[Any, Any] = {}
    sentences: list[Sentence] = []
    runs: list[list[_Row]] = [[]]
    blank_lines: list[int] = []
    count = blank = 0
    for row in [*rows, None]:
        run = runs[-1]
        if row is not None:
            run.append(row)
        elif run:
            sentence, cells, without_word = _sentence(path, run, name, part, same)
            blank += without_word
            for word, cell in enumerate(cells, start=count):
                brackets.take(word, _chunks(path, cell))
            sentences.append(sentence)
            count += len(sentence)
            runs.append([])
            blank_lines.append(1)
        elif blank_lines:
            blank_lines[-1] += 1
    if not sentences:
        _fail(path, piece.first, 1, "a document without words; expected lines of words before '#end document'")
    blank_lines[-1] -= 1  # the last is the end of the document
    n = len(_columns_of(sentences[0]))
    end = "\n".join([lines[-1], *[""] * after, ""])
    if raw[-1][-1:] not in ("\n", b"\n"):
        end = end[:-1]
    known = {
        "name": name,
        "part": part,
        "blank_words": blank or None,
        "begin": None if lines[0] == _begin(name, part, n) else lines[0],
        "end": None if end == _end(n) else end,
    }
    metadata = {key: value for key, value in known.items() if value is not None}
    mentions = tuple(_mention(found) for found in brackets.end())
    at_words = _brackets_of(mentions, count)
    first = 0
    for i, (s, run, blanks) in enumerate(zip(sentences, runs, blank_lines, strict=False)):
        written = _rows_of(s, at_words[first : first + len(s)], name, part)
        others = tuple(
            (k, row.text)
            for k, (row, cells) in enumerate(zip(run, written, strict=True))
            if row.text != _separator(cells).join(cells)
        )
        more: dict[str, Any] = {"lines": others} if others else {}
        if blanks != _blank_lines(s, last=i == len(sentences) - 1):
            more["blank_lines"] = blanks
        if more:
            sentences[i] = replace(s, metadata={**s.metadata, **more})
        first += len(s)
    return Document(tuple(sentences), mentions, id=_id(name, part), metadata=metadata)


def _row(path: str, number: int, line: str) -> _Row | None:
    if not line:
        return None
    if not line.strip():
        _fail(path, number, 1, "a line of white space; the line after a sentence is empty")
    return _Row(number, line, _split(line))


def _split(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _number(n: int) -> int:
    return 0 if n == 3 else 2


def _word(n: int) -> int:
    return _number(n) + 1


def _sentence(
    path: str, rows: list[_Row], name: str | None, part: str | None, same: dict[Any, Any]
) -> tuple[Sentence, list[_Row], int]:
    """The sentence, its rows without superfluous cells, and how many words are blank."""
    n = len(rows[0].columns)
    if n not in (2, 3, 5) and n < _FULL:
        _fail(path, rows[0].line, 1, f"the line has {n} columns; expected 2, 3, 5, or {_FULL} and more")
    words, tags, speakers, kept = [], [], [], []
    blank = 0
    for i, row in enumerate(rows):
        columns = row.columns
        if len(columns) == n + 1 and columns[-1] == "":  # a tab too many at the end, as the scorer's tests have
            columns = columns[:-1]
        if len(columns) != n:
            _fail(path, row.line, 1, f"the line has {len(columns)} columns where the first of its sentence has {n}")
        word = "" if n == 2 else columns[_word(n)]
        if n != 2 and columns[_number(n)] != str(i):
            _fail(path, row.line, 1, f"word number {columns[_number(n)]!r:.40} where {i} was expected")
        words.append(word or "_")
        blank += not word
        tags.append(None if n < _FULL or columns[_TAG] in _ABSENT else columns[_TAG])
        speakers.append(None if n < _FULL or columns[_SPEAKER] in _ABSENT else columns[_SPEAKER])
        kept.append(_Row(row.line, row.text, columns))
    metadata: dict[str, Any] = {"columns": _columns(kept, (name or "-", _number_of(part)), same)}
    if any(speakers):
        metadata["speakers"] = tuple(speakers)
    xpos = tuple(tags) if any(tags) else None
    return Sentence(tuple(words), xpos=xpos, document=_id(name, part), metadata=metadata), kept, blank


def _columns(rows: list[_Row], expected: tuple[str, str], same: dict[Any, Any]) -> Columns:
    """What the columns hold that no field does; `same` lets equal ones of a document be one object."""
    n = len(rows[0].columns)
    columns: list[str | tuple[str, ...] | None] = []
    for j, column in enumerate(zip(*(row.columns for row in rows), strict=True)):
        if n != 2 and j in (_number(n), _word(n)):
            columns.append(None)
        elif j == n - 1 or (n >= _FULL and j in (_TAG, _SPEAKER)):
            usual = "_" if n == 3 else "-"
            columns.append(next((value for value in column if value in _ABSENT), usual))
        elif j < 2 and set(column) == {expected[j]}:
            columns.append(None)
        else:
            value = column[0] if len(set(column)) == 1 else tuple(same.setdefault(cell, cell) for cell in column)
            columns.append(same.setdefault(value, value))
    made = tuple(columns)
    return same.setdefault(made, made)  # type: ignore[no-any-return]


def _chunks(path: str, row: _Row) -> Sequence[Chunk]:
    text = row.columns[-1]
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
    entity, kind, identity = _unlabelled(found.entity)
    return Mention(first, last + 1, entity, None, kind, {"identity": identity} if identity else {})


def _unlabelled(label: str) -> tuple[str, str | None, str | None]:
    """Entity, type and identity."""
    typed = _TYPED.fullmatch(label)
    return (label, None, None) if typed is None else (typed[2], typed[1], typed[3])


def _fail(path: str, line: int, column: int, message: str) -> NoReturn:
    raise ReaderError(message, path=path, line=line, column=column)
