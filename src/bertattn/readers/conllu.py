"""Treebanks in CoNLL-U, the format of Universal Dependencies: read, checked, and written back byte for byte."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

from conllu.exceptions import ParseException
from conllu.parser import DEFAULT_FIELDS, parse_id_value

from bertattn.annotation import Document, Sentence
from bertattn.errors import ReaderError, ValidationError
from bertattn.readers._source import (
    Corpus,
    CorpusStream,
    Line,
    Lines,
    OnError,
    Readable,
    paragraphs,
    parsed,
    sentences_of,
    warn_if_cut_off,
    write_text,
)
from bertattn.readers._tree import checked_governors

__all__ = ["iter_conllu", "read_conllu", "to_conllu", "write_conllu"]

COLUMNS: Final = tuple(name.upper() for name in DEFAULT_FIELDS)
_ID, _FORM, _LEMMA, _UPOS, _XPOS, _FEATS, _HEAD, _DEPREL, _DEPS, _MISC = range(len(COLUMNS))
MISC: Final = _MISC
# One edge of the enhanced graph: the governor may be an empty node (8.1) and the label may hold ":".
_EDGE: Final = re.compile(r"([0-9]+(?:\.[1-9][0-9]*)?):([^|]+)")


class Row(NamedTuple):
    """One line with its ten columns."""

    line: int
    columns: list[str]


class Block(NamedTuple):
    """The lines of one sentence, and what earlier lines of the file say about it."""

    lines: Lines
    document: str | None
    newdoc: bool
    entity_fields: str | None


def read_conllu(source: Readable, /, *, on_error: OnError = "raise") -> Corpus[Sentence]:
    """The sentences of a treebank in CoNLL-U.

    The words of a `Sentence` are the syntactic words ("do", "n't"). A column that is `_` for every word is None, but
    for `feats`. `space_after` follows `SpaceAfter=No`; within a multiword token no space follows a word. What else the
    file says is kept in `metadata`, the last three lines only where there is something to keep:

    - `comments`: the comment lines, as they stand;
    - `deps`, `misc`: these columns, as they stand, one string a word;
    - `multiword_tokens`, `empty_nodes`: their lines, each a tuple of ten strings;
    - `text`: the value of `# text`; `newdoc`, `newpar`: True where the sentence starts one.

    So `write_conllu` writes the same file again. Two things are read but not written back: a byte order mark, and CR LF
    for LF.

    Args:
        source: the path of a UTF-8 file, plain, `.gz` or `.tar.gz`, or an open file (text or binary), which stays open.
        on_error: "raise", or "skip" to leave malformed sentences out and list them in `.skipped`.

    Returns:
        A tuple of sentences with `.skipped`.

    Raises:
        ReaderError: a malformed sentence: `path:line:column: what is wrong and what was expected`; a damaged archive,
            always.
        FileNotFoundError: there is no such file.

    Warns:
        UserWarning: the blank line after the last sentence is missing, so the file may be cut off.

    Examples:
        >>> import io
        >>> file = io.StringIO(
        ...     "# sent_id = s1\\n"
        ...     "1\\tDogs\\tdog\\tNOUN\\tNNS\\tNumber=Plur\\t2\\tnsubj\\t_\\t_\\n"
        ...     "2\\tbark\\tbark\\tVERB\\tVBP\\t_\\t0\\troot\\t_\\tSpaceAfter=No\\n\\n"
        ... )
        >>> (sentence,) = read_conllu(file)
        >>> sentence.id, sentence.words, sentence.governors, sentence.relations
        ('s1', ('Dogs', 'bark'), (2, 0), ('nsubj', 'root'))
        >>> read_conllu(io.StringIO("1\\tDogs\\n\\n"))
        Traceback (most recent call last):
        bertattn.errors.ReaderError: <file>:1:1: the line has 2 columns, but CoNLL-U has 10, separated by tabs
    """
    return iter_conllu(source, on_error=on_error).collect()


def iter_conllu(source: Readable, /, *, on_error: OnError = "raise") -> CorpusStream[Sentence]:
    """As `read_conllu`, one sentence at a time; `.skipped` of the stream grows as it is read."""
    return parsed(sentence_blocks(source), lambda block: parse(block)[0], on_error=on_error, name=_name)


def write_conllu(path: str | os.PathLike[str], sentences: Iterable[Sentence | Document], /) -> None:
    """Write sentences, or the sentences of documents, as a CoNLL-U file (UTF-8; compressed where the name ends in .gz).

    An existing file is replaced at once.

    Raises:
        ValidationError: something that is no Sentence or Document, or what `to_conllu` refuses.

    Examples:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "go.conllu")
        ...     write_conllu(path, [Sentence(["Go", "!"], governors=[0, 1], relations=["root", "punct"], id="a")])
        ...     read_conllu(path)[0].words
        ('Go', '!')
    """
    write_text(path, "".join(to_conllu(sentence) for sentence in sentences_of(sentences, what="CoNLL-U")))


def to_conllu(sentence: Sentence, /) -> str:
    """The sentence in CoNLL-U, the blank line after it included.

    Words, lemmas, tags, features and tree come from the fields of the sentence, the rest from its `metadata` (see
    `read_conllu`). A sentence without `comments` gets its name and its text as comments, one without `misc` gets
    `SpaceAfter=No` from `space_after`.

    Raises:
        ValidationError: no Sentence; a value that is empty or holds a tab or a line end, `deps` or `misc` of another
            length than the words, or multiword tokens and empty nodes that stand at no word.

    Examples:
        >>> print(to_conllu(Sentence(["Go", "!"], governors=[0, 1], relations=["root", "punct"], id="a")), end="")
        # sent_id = a
        # text = Go !
        1  Go  _  _  _  _  0  root   _  _
        2  !   _  _  _  _  1  punct  _  _
    """
    if not isinstance(sentence, Sentence):
        raise ValidationError(f"to_conllu writes one Sentence, but got {sentence!r:.60}; write_conllu writes several")
    rows = _rows(sentence)
    for columns in rows:
        for name, value in zip(COLUMNS, columns, strict=True):
            if not value or any(mark in value for mark in "\t\n\r"):
                raise ValidationError(f"{name} of {columns[_FORM]!r} is {value!r}, which CoNLL-U cannot hold")
    comments = sentence.metadata.get("comments")
    if comments is None:
        named = [] if sentence.id is None else [f"# sent_id = {sentence.id}"]
        comments = [*named, f"# text = {sentence.text(spacing='natural')[0]}"]
    for comment in comments:
        if not comment.startswith("#") or "\n" in comment or "\r" in comment:
            raise ValidationError(f"a comment is one line that starts with '#', but one is {comment!r:.60}")
    return "\n".join([*comments, *("\t".join(columns) for columns in rows), "", ""])


def _rows(s: Sentence) -> list[list[str]]:
    nothing = ("_",) * len(s)
    misc = s.metadata.get("misc")
    if misc is None and s.space_after is not None:
        misc = tuple("_" if space else "SpaceAfter=No" for space in s.space_after)
    rest = {"deps": s.metadata.get("deps") or nothing, "misc": misc or nothing}
    for name, column in rest.items():
        if len(column) != len(s):
            raise ValidationError(f"{name} has {len(column)} entries but there are {len(s)} words")
    feats = ["|".join(f"{k}={v}" for k, v in f.items()) or "_" for f in s.feats] if s.feats else nothing
    columns = [s.words, s.lemmas, s.upos, s.xpos, feats, s.governors, s.relations, rest["deps"], rest["misc"]]
    words = [
        [str(i + 1), *("_" if column is None or column[i] is None else str(column[i]) for column in columns)]
        for i in range(len(s))
    ]
    before: dict[int, list[list[str]]] = {}
    empty, ranges = s.metadata.get("empty_nodes", ()), s.metadata.get("multiword_tokens", ())
    for row in (*empty, *ranges):  # in this order: an empty node stands before the range of the next word
        after = re.match(r"(\d+)([.-])", row[_ID])
        position = -1 if after is None else int(after[1]) - (after[2] == "-")
        if not 0 <= position <= len(s):
            raise ValidationError(f"the line {row[_ID]!r} stands at no word; there are {len(s)} words")
        before.setdefault(position, []).append(list(row))
    return [row for i in range(len(s) + 1) for row in (*before.get(i, ()), *words[i : i + 1])]


def sentence_blocks(source: Readable) -> Iterator[Block]:
    """The lines of each sentence, with the document it stands in."""
    document: str | None = None
    entity_fields: str | None = None
    path = None
    for lines in paragraphs(source):
        if lines.path != path:  # the next file of an archive
            path, document, entity_fields = lines.path, None, None
        newdoc = False
        for line in lines.raw:
            key, value = _comment(line)
            if key is None:
                break
            if key in ("newdoc", "newdoc id"):
                document, newdoc = (value if key == "newdoc id" else None), True
            elif key == "global.Entity":
                entity_fields = value
        warn_if_cut_off(lines)
        yield Block(lines, document, newdoc, entity_fields)


def _comment(line: Line) -> tuple[str | None, str | None]:
    """Key and value of a comment; no key for any other line."""
    if isinstance(line, bytes):
        if not line.startswith(b"#"):
            return None, None
        line = line.decode("utf-8", errors="replace")
    if not line.startswith("#"):
        return None, None
    key, equals, value = line[1:].partition("=")
    return " ".join(key.split()), value.strip() if equals else None


def _name(block: Block) -> str | None:
    return next((value for key, value in map(_comment, block.lines.raw) if key == "sent_id"), None)


def parse(block: Block) -> tuple[Sentence, list[Row]]:
    """The sentence, and its lines of columns.

    The package `conllu` reads IDs here, and no more: it takes lines with too few columns or with spaces for tabs,
    drops comments without "=" and all but the last of a repeated feature, cuts values at a second "=", and so can
    neither find what is wrong nor give the file back.
    """
    path, first = block.lines.path, block.lines.first
    comments: list[str] = []
    rows: list[Row] = []
    for number, line in enumerate(block.lines.text(), start=first):
        if line.startswith("#"):
            if rows:
                _fail(path, number, 1, "a comment after the first word; comments stand before their sentence")
            comments.append(line)
            continue
        columns = line.split("\t")
        if len(columns) != len(COLUMNS):
            if not line.strip():
                _fail(path, number, 1, "a line of white space; the line after a sentence is empty")
            _fail(
                path,
                number,
                1,
                f"the line has {len(columns)} column{'s' * (len(columns) != 1)}, but CoNLL-U has {len(COLUMNS)}, "
                "separated by tabs",
            )
        if "" in columns:
            index = columns.index("")
            _fail(path, number, _column(columns, index), f"{COLUMNS[index]} is empty; an absent value is written '_'")
        rows.append(Row(number, columns))
    if not rows:
        _fail(path, first, 1, "comments without a sentence; expected lines of words before the empty line")
    words, ranges, empty = _sorted_out(path, rows)
    space_after = ["SpaceAfter=No" not in row.columns[_MISC].split("|") for row in words]
    for row, start, end in ranges:
        space_after[start:end] = [False] * (end - start)
        space_after[end - 1] = "SpaceAfter=No" not in row.columns[_MISC].split("|")
    metadata = _metadata(comments, block, words, ranges, empty)
    _check_graph(path, rows, {str(i) for i in range(len(words) + 1)} | {row.columns[_ID] for row in empty})
    sentence = Sentence(
        tuple(row.columns[_FORM] for row in words),
        governors=_governors(path, words),
        relations=_texts(words, _DEPREL),
        lemmas=_texts(words, _LEMMA),
        upos=_texts(words, _UPOS),
        xpos=_texts(words, _XPOS),
        feats=tuple(_feats(path, row) for row in words),
        space_after=tuple(space_after),
        id=metadata.pop("sent_id", None),
        document=block.document,
        metadata=metadata,
    )
    return sentence, rows


def _metadata(
    comments: Sequence[str], block: Block, words: list[Row], ranges: list[tuple[Row, int, int]], empty: list[Row]
) -> dict[str, Any]:
    kept: dict[str, Any] = {"comments": tuple(comments)}
    for name, index in (("deps", _DEPS), ("misc", _MISC)):
        kept[name] = tuple(row.columns[index] for row in words)
    if ranges:
        kept["multiword_tokens"] = tuple(tuple(row.columns) for row, _, _ in ranges)
    if empty:
        kept["empty_nodes"] = tuple(tuple(row.columns) for row in empty)
    if block.newdoc:
        kept["newdoc"] = True
    for comment in comments:
        key, value = _comment(comment)
        if key in ("sent_id", "text") and value is not None:
            kept[key] = value
        elif key in ("newpar", "newpar id"):
            kept["newpar"] = True
    return kept


def _sorted_out(path: str, rows: list[Row]) -> tuple[list[Row], list[tuple[Row, int, int]], list[Row]]:
    """Words, multiword tokens with the words `[start, end)` they span, and empty nodes."""
    words: list[Row] = []
    ranges: list[tuple[Row, int, int]] = []
    empty: list[Row] = []
    covered = last_empty = 0  # words under a range so far; number of the last empty node after this word
    for row in rows:
        seen = row.columns[_ID]
        if seen == str(len(words) + 1):
            words.append(row)
            last_empty = 0
            continue
        number = _id(path, row)
        open_range = bool(ranges) and ranges[-1][1] == len(words)
        if isinstance(number, int):
            _fail(
                path,
                row.line,
                1,
                f"word {seen} where word {len(words) + 1} was expected; words count from 1 without gaps",
            )
        start, mark, end = number
        if mark == "-":
            if start != len(words) + 1 or end <= start:
                _fail(
                    path,
                    row.line,
                    1,
                    f"multiword token {seen} before word {len(words) + 1}; expected a range that starts there and "
                    "spans at least two words",
                )
            if start <= covered:
                _fail(path, row.line, 1, f"multiword token {seen} overlaps the one before it")
            covered = end
            ranges.append((row, start - 1, end))
        else:
            if open_range or (start, end) != (len(words), last_empty + 1):
                where = f" before the range line of word {len(words) + 1}" if open_range else ""
                _fail(
                    path,
                    row.line,
                    1,
                    f"empty node {seen} where {len(words)}.{last_empty + 1} was expected{where}",
                )
            last_empty = end
            empty.append(row)
    if not words:
        _fail(path, rows[0].line, 1, "a sentence without words; expected a line with ID 1")
    if covered > len(words):
        row = ranges[-1][0]
        _fail(
            path, row.line, 1, f"multiword token {row.columns[_ID]} spans more than the sentence's {len(words)} words"
        )
    return words, ranges, empty


def _id(path: str, row: Row) -> Any:
    seen = row.columns[_ID]
    try:
        number = parse_id_value(seen)
    except (ParseException, ValueError):  # Python refuses numbers of thousands of digits
        number = None
    if number is None:
        _fail(path, row.line, 1, f"ID {seen!r:.40} is no word (3), multiword token (3-4) or empty node (3.1)")
    return number


def _governors(path: str, words: list[Row]) -> tuple[int, ...] | None:
    heads = [row.columns[_HEAD] for row in words]
    if all(head == "_" for head in heads):
        return None

    def fail(word: int, message: str) -> NoReturn:
        row = words[word]
        _fail(path, row.line, _column(row.columns, _HEAD), message)

    return checked_governors(heads, fail)


def _texts(words: list[Row], index: int) -> tuple[str | None, ...] | None:
    values = tuple(None if row.columns[index] == "_" else row.columns[index] for row in words)
    return None if all(value is None for value in values) else values


def _feats(path: str, row: Row) -> dict[str, str]:
    try:
        return _features(row.columns[_FEATS])
    except ValueError as error:
        _fail(path, row.line, _column(row.columns, _FEATS), str(error))


@lru_cache(maxsize=4096)
def _features(text: str) -> dict[str, str]:
    if text == "_":
        return {}
    features: dict[str, str] = {}
    for feature in text.split("|"):
        name, _, value = feature.partition("=")
        if not name or not value:
            raise ValueError(f"feature {feature!r:.40}; expected Name=Value, several joined by '|'")
        if name in features:
            raise ValueError(f"feature {name!r:.40} stands twice; expected each name once")
        features[name] = value
    return features


def _check_graph(path: str, rows: list[Row], ids: set[str]) -> None:
    """The enhanced dependencies: well written, and between nodes of this sentence."""
    for row in rows:
        deps = row.columns[_DEPS]
        if deps == "_":
            continue
        for edge in deps.split("|"):
            match = _EDGE.fullmatch(edge)
            if match is None or match[1] not in ids:
                wrong = "governor:relation, several joined by '|'" if match is None else "a governor in this sentence"
                _fail(
                    path,
                    row.line,
                    _column(row.columns, _DEPS),
                    f"enhanced dependency {edge!r:.40} of {row.columns[_ID]}; expected {wrong}",
                )


def _column(columns: Sequence[str], index: int) -> int:
    """Where a column starts in its line, counted from 1."""
    return sum(len(value) + 1 for value in columns[:index]) + 1


def _fail(path: str, line: int, column: int, message: str) -> NoReturn:
    raise ReaderError(message, path=path, line=line, column=column)
