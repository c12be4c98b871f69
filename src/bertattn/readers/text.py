"""Plain text: one paragraph a line, a blank line after each document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from bertattn.readers._source import Readable, files, in_unicode

__all__ = ["Paragraphs", "iter_text", "read_text"]

Paragraphs: TypeAlias = tuple[str, ...]


def read_text(source: Readable, /) -> list[Paragraphs]:
    """The documents of a text file, each a tuple of its paragraphs.

    One line is one paragraph (or sentence), with the white space at its ends taken off; a blank line ends a document. A
    last document without a blank line after it counts too, several blank lines are as one, and a byte order mark is
    taken off.

    Args:
        source: the path of a UTF-8 file, plain, `.gz` or `.tar.gz`, or an open file (text or binary), which stays open.

    Raises:
        InputError: no path and no open file.
        ReaderError: bytes that are no UTF-8, or a damaged `.gz` file: `path:line:column: what is wrong`.
        FileNotFoundError: there is no such file.

    Examples:
        >>> import io
        >>> read_text(io.StringIO("One.\\nTwo.\\n\\nThree."))
        [('One.', 'Two.'), ('Three.',)]
    """
    return list(iter_text(source))


def iter_text(source: Readable, /) -> Iterator[Paragraphs]:
    """As `read_text`, one document at a time."""
    for path, lines in files(source):
        document: list[str] = []
        for number, line in enumerate(lines, start=1):
            paragraph = in_unicode(line, path, number).strip()
            if paragraph:
                document.append(paragraph)
            elif document:
                yield tuple(document)
                document = []
        if document:
            yield tuple(document)
