"""Where lines come from: paths and open files, plain, gzipped or in a tar archive; and what a reader gives back."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, Literal, TextIO, TypeAlias, TypeVar, cast

from bertattn import _files
from bertattn.annotation import Document, Sentence
from bertattn.errors import InputError, ReaderError, ValidationError

__all__ = ["Corpus", "CorpusStream", "Readable", "Skipped"]

T = TypeVar("T")
U = TypeVar("U")

Readable: TypeAlias = str | os.PathLike[str] | TextIO | BinaryIO
"""What readers read: the path of a file, plain, `.gz` or `.tar.gz`, or an open file, text or binary."""

Line: TypeAlias = str | bytes
OnError: TypeAlias = Literal["raise", "skip"]

# The last two are left of a file that is a byte order mark alone.
_EMPTY = (b"\n", b"\r\n", "\n", "\r\n", b"", "")
_GZIP = b"\x1f\x8b"
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError)


@dataclass(frozen=True)
class Skipped:
    """One sentence or document that was left out since it is malformed.

    Args:
        index: its number in the file, counted from 0 over good and bad ones.
        name: its name in the file, where that can be read.
        error: what is wrong with it, and where.
    """

    index: int
    name: str | None
    error: ReaderError


class Corpus(tuple[T, ...], Generic[T]):
    """What a file held, in its order: a tuple that also knows what was left out.

    Attributes:
        skipped: the malformed sentences or documents, as `Skipped`; empty unless `on_error="skip"`.
    """

    skipped: tuple[Skipped, ...]

    def __new__(cls, items: Iterable[T], skipped: Iterable[Skipped] = ()) -> Corpus[T]:
        made = super().__new__(cls, items)
        made.skipped = tuple(skipped)
        return made

    def __repr__(self) -> str:
        kind = type(self[0]).__name__ if self else "nothing"
        left_out = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"Corpus({len(self)} x {kind}{left_out})"


class CorpusStream(Iterator[T]):
    """What a file holds, one at a time, and what was left out so far.

    Attributes:
        skipped: the malformed sentences or documents met so far, as `Skipped`; empty unless `on_error="skip"`.
    """

    def __init__(self, items: Iterator[T], skipped: list[Skipped]) -> None:
        self._items = items
        self.skipped = skipped

    def __next__(self) -> T:
        return next(self._items)

    def collect(self) -> Corpus[T]:
        """All that is still to come, as a `Corpus`."""
        items = list(self)
        return Corpus(items, self.skipped)


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive lines of a file, raw; `first` is the number of the first, counted from 1."""

    path: str
    first: int
    raw: list[Line]
    at_end: bool = False  # the file ended before a blank line

    def text(self) -> list[str]:
        """The lines decoded, without their ends.

        Raises:
            ReaderError: a line that is no UTF-8, or holds a carriage return elsewhere than at its end.
        """
        return [decoded(line, self.path, self.first + i) for i, line in enumerate(self.raw)]


def decoded(line: Line, path: str, number: int) -> str:
    """A line without its end: LF, or CR LF as Windows writes it."""
    line = in_unicode(line, path, number).removesuffix("\n").removesuffix("\r")
    if "\r" in line:
        raise ReaderError(
            "a carriage return inside a line; lines end in LF or CR LF",
            path=path,
            line=number,
            column=line.index("\r") + 1,
        )
    return line


def in_unicode(line: Line, path: str, number: int) -> str:
    """The line as text: decoded one by one, since only so is the place of a bad byte known."""
    if isinstance(line, str):
        return line
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReaderError(
            f"byte 0x{error.object[error.start]:02X} is no UTF-8; save the file as UTF-8",
            path=path,
            line=number,
            column=len(error.object[: error.start].decode("utf-8")) + 1,
        ) from None


def files(source: Readable) -> Iterator[tuple[str, Iterator[Line]]]:
    """The name and the raw lines of each file in the source: one, or all of a tar archive. A byte order mark is off.

    Raises:
        InputError: no path and no open file, or a folder.
        ReaderError: a damaged archive or compressed file, or an open text file that meets bytes it cannot decode.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file in it")
        if any(path.name.endswith(suffix) for suffix in (".tar", ".tar.gz", ".tgz")):
            yield from _members(path)
            return
        with path.open("rb") as file:
            yield str(path), _bytes(file, str(path), compressed=path.suffix == ".gz")
    elif hasattr(source, "read") and hasattr(source, "__iter__"):
        name = str(getattr(source, "name", "<file>"))
        yield name, _of_open_file(source, name)
    else:
        raise InputError(f"a reader takes a path or an open file, but got {source!r:.60}")


def _members(path: Path) -> Iterator[tuple[str, Iterator[Line]]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None:
                    name = f"{path}:{member.name}"
                    yield name, _bytes(cast(BinaryIO, file), name)
    except _DAMAGED as error:
        raise _damaged(error, str(path), 1) from None


def _of_open_file(file: Any, name: str) -> Iterator[Line]:
    if isinstance(file.read(0), str):
        return _text(file, name)
    return _bytes(file, name)


def _bytes(file: BinaryIO, name: str, *, compressed: bool = False) -> Iterator[Line]:
    number = 0
    try:
        compressed = compressed or _starts(file) == _GZIP
        unpacked = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file
        for number, line in enumerate(unpacked, start=1):
            yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except _DAMAGED as error:
        raise _damaged(error, name, number + 1) from None


def _starts(file: Any) -> bytes:
    """The next two bytes, left unread; nothing where the file can neither peek nor go back."""
    if hasattr(file, "peek"):
        return bytes(file.peek(2)[:2])
    if file.seekable():
        start = file.read(2)
        file.seek(-len(start), io.SEEK_CUR)
        return bytes(start)
    return b""


def _text(file: TextIO, name: str) -> Iterator[Line]:
    number = 0
    try:
        for number, line in enumerate(file, start=1):
            yield line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeDecodeError as error:  # raised for a whole buffer, so the line is only a lower bound
        raise ReaderError(
            f"this line or a later one holds bytes that are no {error.encoding}; give the path for the exact place",
            path=name,
            line=number + 1,
        ) from None


def _damaged(error: Exception, name: str, line: int) -> ReaderError:
    why = str(error).partition("\n")[0].rstrip(":")  # tarfile goes on with what each kind of compression said
    return ReaderError(f"the compressed file is damaged or cut off ({why}); fetch it again", path=name, line=line)


def paragraphs(source: Readable) -> Iterator[Lines]:
    """Runs of lines between empty ones, over all files of the source."""
    for path, lines in files(source):
        first, run = 1, list[Line]()
        number = 0
        for number, line in enumerate(lines, start=1):
            if line in _EMPTY:
                if run:
                    yield Lines(path, first, run)
                    run = []
                continue
            if not run:
                first = number
            run.append(line)
        if run:
            yield Lines(path, first, run, at_end=True)


def warn_if_cut_off(lines: Lines) -> None:
    """Warn where a sentence ends with its file, without the blank line that every sentence has after it."""
    if lines.at_end:
        warnings.warn(
            f"{lines.path}:{lines.first + len(lines.raw) - 1}: the blank line after the last sentence is missing; "
            "is the file cut off?",
            stacklevel=2,
        )


def sentences_of(items: Iterable[Any], *, what: str) -> Iterator[Sentence]:
    """Sentences, and those of documents, to be written in the format `what`."""
    for item in items:
        if isinstance(item, Document):
            yield from item.sentences
        elif isinstance(item, Sentence):
            yield item
        else:
            raise ValidationError(f"{what} holds sentences or documents of them, but got {item!r:.60}")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a whole file as UTF-8, compressed where its name ends in `.gz` (the same bytes for the same text)."""
    content = text.encode("utf-8")
    _files.write_whole(path, gzip.compress(content, mtime=0) if Path(path).suffix == ".gz" else content)


def parsed(
    pieces: Iterable[U], parse: Callable[[U], T], *, on_error: OnError, name: Callable[[U], str | None]
) -> CorpusStream[T]:
    """What `parse` makes of each piece; with `on_error="skip"` those that it refuses are listed instead."""
    if on_error not in ("raise", "skip"):
        raise ValidationError(f"on_error must be 'raise' or 'skip', but is {on_error!r}")
    skipped: list[Skipped] = []

    def good() -> Iterator[T]:
        for index, piece in enumerate(pieces):
            try:
                item = parse(piece)
            except ReaderError as error:
                if on_error == "raise":
                    raise
                skipped.append(Skipped(index, name(piece), error))
                continue
            yield item

    return CorpusStream(good(), skipped)
