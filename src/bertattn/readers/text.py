"""Plain text: one paragraph a line, a blank line after each document."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TextIO, TypeAlias, cast

from bertattn.errors import InputError, ReaderError

__all__ = ["Paragraphs", "iter_text", "read_text"]

Paragraphs: TypeAlias = tuple[str, ...]


def read_text(source: str | os.PathLike[str] | TextIO, /) -> list[Paragraphs]:
    """The documents of a text file, each a tuple of its paragraphs.

    One line is one paragraph (or sentence), with the white space at its ends taken off; a blank line ends a document. A
    last document without a blank line after it counts too, several blank lines are as one, and a byte order mark is
    taken off.

    Args:
        source: the path of a UTF-8 file, plain or `.gz`, or an open text file, which stays open.

    Raises:
        InputError: a file open in binary mode.
        ReaderError: bytes that are no UTF-8, or a damaged `.gz` file: `path:line:column: what is wrong`.
        FileNotFoundError: there is no such file.

    Examples:
        >>> import io
        >>> read_text(io.StringIO("One.\\nTwo.\\n\\nThree."))
        [('One.', 'Two.'), ('Three.',)]
    """
    return list(iter_text(source))


def iter_text(source: str | os.PathLike[str] | TextIO, /) -> Iterator[Paragraphs]:
    """As `read_text`, one document at a time."""
    if isinstance(source, str | os.PathLike):
        yield from _documents(_lines(Path(source)))
    else:
        yield from _documents(_open_lines(source))


def _documents(lines: Iterable[str]) -> Iterator[Paragraphs]:
    document: list[str] = []
    for line in lines:
        paragraph = line.strip()
        if paragraph:
            document.append(paragraph)
        elif document:
            yield tuple(document)
            document = []
    if document:
        yield tuple(document)


def _open_lines(file: TextIO) -> Iterator[str]:
    name = str(getattr(file, "name", "<text>"))
    number = 0
    try:
        for line in file:
            if not isinstance(line, str):
                raise InputError(f"{name} is open in binary mode; open it as text, with encoding='utf-8'")
            yield line
            number += 1
    except UnicodeDecodeError as error:  # raised for a whole buffer, so the line is only a lower bound
        raise ReaderError(
            f"this line or a later one holds bytes that are no {error.encoding}; give the path for the exact place",
            path=name,
            line=number + 1,
        ) from None


def _lines(path: Path) -> Iterator[str]:
    """Decoded line by line: only so is the place of a bad byte known."""
    number = 0
    with _open(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ReaderError(
                f"byte 0x{error.object[error.start]:02X} is no UTF-8; save the file as UTF-8",
                path=str(path),
                line=number,
                column=len(error.object[: error.start].decode("utf-8-sig" if number == 1 else "utf-8")) + 1,
            ) from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ReaderError(
                f"the compressed file is damaged or cut off ({error}); fetch it again", path=str(path), line=number + 1
            ) from None


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
