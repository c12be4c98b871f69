"""The format of the paper's code: one `word governor-relation` a line, a blank line after each sentence."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NoReturn

from bertattn.annotation import Document, Sentence
from bertattn.errors import ReaderError, ValidationError
from bertattn.readers._source import (
    Corpus,
    CorpusStream,
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

__all__ = ["iter_dependencies", "read_dependencies", "write_dependencies"]


def read_dependencies(source: Readable, /, *, on_error: OnError = "raise") -> Corpus[Sentence]:
    """The sentences of a file in the format of the code released with the paper (its `train.txt`, `dev.txt`).

    Each line holds a word and `governor-relation`, separated by white space; governors count from 1, and 0 is the root.

    Args:
        source: as for `read_conllu`.
        on_error: "raise", or "skip" to leave malformed sentences out and list them in `.skipped`.

    Returns:
        A tuple of sentences with `.skipped`.

    Raises:
        ReaderError: a line that has not two fields, a second one that is not `governor-relation`, governors that are no
            tree.

    Warns:
        UserWarning: the blank line after the last sentence is missing (the released code drops that sentence).

    Examples:
        >>> import io
        >>> (sentence,) = read_dependencies(io.StringIO("Dogs 2-nsubj\\nbark 0-root\\n\\n"))
        >>> sentence.words, sentence.governors, sentence.relations
        (('Dogs', 'bark'), (2, 0), ('nsubj', 'root'))
    """
    return iter_dependencies(source, on_error=on_error).collect()


def iter_dependencies(source: Readable, /, *, on_error: OnError = "raise") -> CorpusStream[Sentence]:
    """As `read_dependencies`, one sentence at a time; `.skipped` of the stream grows as it is read."""
    return parsed(paragraphs(source), _sentence, on_error=on_error, name=lambda _: None)


def write_dependencies(path: str | os.PathLike[str], sentences: Iterable[Sentence | Document], /) -> None:
    """Write sentences with their trees in this format (UTF-8; compressed where the name ends in .gz).

    White space inside a word, which the format cannot hold, becomes "_".

    Raises:
        ValidationError: a sentence without a tree, or a relation that holds "-" or white space.

    Examples:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "go.txt")
        ...     write_dependencies(path, [Sentence(["Go", "!"], governors=[0, 1], relations=["root", "punct"])])
        ...     print(path.read_text(encoding="utf-8"))
        Go 0-root
        ! 1-punct
        <BLANKLINE>
    """
    parts = []
    for s in sentences_of(sentences, what="the format"):
        governors, relations = s.governors or (None,) * len(s), s.relations or (None,) * len(s)
        for word, governor, relation in zip(s.words, governors, relations, strict=True):
            if governor is None or not relation:
                raise ValidationError(f"{word!r} has no governor or no relation; the format needs both")
            if "-" in relation or relation.split() != [relation]:
                raise ValidationError(f"relation {relation!r} of {word!r} holds '-' or white space; rename it")
            parts.append(f"{''.join('_' if c.isspace() else c for c in word)} {governor}-{relation}\n")
        parts.append("\n")
    write_text(path, "".join(parts))


def _sentence(lines: Lines) -> Sentence:
    warn_if_cut_off(lines)

    def fail(word: int, message: str, *, column: int = 1) -> NoReturn:
        raise ReaderError(message, path=lines.path, line=lines.first + word, column=column)

    fields: list[tuple[str, str, str]] = []
    for i, line in enumerate(lines.text()):
        columns = line.split()
        if len(columns) != 2:
            fail(i, f"the line has {len(columns)} fields; expected two, as in 'Dogs 2-nsubj'")
        governor, dash, relation = columns[1].partition("-")
        if not dash or not relation or "-" in relation:
            fail(
                i,
                f"{columns[1]!r:.40} is no governor and relation with one '-' between them, as in '2-nsubj'",
                column=line.rindex(columns[1]) + 1,
            )
        fields.append((columns[0], governor, relation))
    words, governors, relations = zip(*fields, strict=True)
    return Sentence(words, governors=checked_governors(governors, fail), relations=relations)
