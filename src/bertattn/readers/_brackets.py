"""Mentions written as brackets around words, as CorefUD and CoNLL-2012 do."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from bertattn.errors import ReaderError

# "(…" opens, "…)" closes, "(…)" does both; nothing else may stand between.
_CHUNK: Final = re.compile(r"\([^()]+\)?|[^()]+\)")
_PART: Final = re.compile(r"(.+)\[([1-9][0-9]{0,5})/([1-9][0-9]{0,5})\]")


@dataclass(frozen=True)
class Chunk:
    """One bracket; `name` is what an opening and its closing share."""

    name: str
    opens: bool
    closes: bool
    line: int
    column: int
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def part(self) -> tuple[str, int, int] | None:
        """Entity, number and count of parts, for a mention in several pieces: `e1[2/3]`."""
        match = _PART.fullmatch(self.name)
        return (match[1], int(match[2]), int(match[3])) if match else None


@dataclass(frozen=True)
class Found:
    """A finished mention: its first bracket, its entity, and the nodes `[first, last]` of each piece."""

    chunk: Chunk
    entity: str
    pieces: tuple[tuple[int, int], ...]

    @property
    def nodes(self) -> list[int]:
        return [node for first, last in self.pieces for node in range(first, last + 1)]


class Brackets:
    """The open mentions of a document. Those of one entity close in reverse order, whatever stands between them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open: dict[str, list[tuple[Chunk, int]]] = {}
        # mentions in n parts of which k are there, by (entity, n, k)
        self._begun: dict[tuple[str, int, int], list[tuple[Chunk, tuple[tuple[int, int], ...]]]] = {}
        self._found: list[Found] = []

    def take(self, node: int, chunks: Sequence[Chunk]) -> None:
        """The brackets at one node, in any order: what closes nothing open may close what opens later on its line."""
        late = []
        for chunk in chunks:
            if chunk.opens and chunk.closes:
                self._finish(chunk, node, node)
            elif chunk.opens:
                self._open.setdefault(chunk.name, []).append((chunk, node))
            elif self._open.get(chunk.name):
                self._finish(*self._open[chunk.name].pop(), node)
            else:
                late.append(chunk)
        for chunk in late:
            if not self._open.get(chunk.name):
                self._fail(chunk, f"{chunk.name + ')'!r:.60} closes a mention that is not open")
            self._finish(*self._open[chunk.name].pop(), node)

    def _finish(self, chunk: Chunk, first: int, last: int) -> None:
        if chunk.part is None:
            self._found.append(Found(chunk, chunk.name, ((first, last),)))
            return
        entity, k, n = chunk.part
        before = self._begun.get((entity, n, k - 1))
        if k > n or (k > 1 and not before):
            self._fail(chunk, f"part {k} of {n} of a mention of {entity!r:.40}; expected part {k - 1} before it")
        start, pieces = before.pop() if before else (chunk, ())
        pieces = (*pieces, (first, last))
        if k == n:
            self._found.append(Found(start, entity, pieces))
        else:
            self._begun.setdefault((entity, n, k), []).append((start, pieces))

    def end(self) -> list[Found]:
        """All mentions in the order of their first word, longer ones first.

        Raises:
            ReaderError: a mention was not closed, or a part of one is missing.
        """
        still_open = [chunk for stack in self._open.values() for chunk, _ in stack]
        if still_open:
            chunk = min(still_open, key=lambda c: (c.line, c.column))
            self._fail(chunk, f"the mention opened by {'(' + chunk.name!r:.60} is not closed before the document ends")
        for (entity, n, k), begun in self._begun.items():
            for chunk, _ in begun:
                self._fail(chunk, f"a mention of {entity!r:.40} has {k} of its {n} parts")
        return sorted(self._found, key=lambda f: (f.pieces[0][0], -f.pieces[-1][1], f.chunk.line, f.chunk.column))

    def _fail(self, chunk: Chunk, message: str) -> None:
        raise ReaderError(message, path=self._path, line=chunk.line, column=chunk.column)


def split(text: str, start: int) -> Iterator[tuple[int, str]]:
    """Where each bracket of `text[start:]` begins, and the bracket; then the rest that is none, maybe empty.

    One match after the other: searching would try every character of a long text without brackets.
    """
    while match := _CHUNK.match(text, start):
        yield start, match[0]
        start = match.end()
    yield start, text[start:]


def spans(words: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The runs `[start, end)` of increasing numbers."""
    for _, group in itertools.groupby(enumerate(words), lambda pair: pair[1] - pair[0]):
        run = [word for _, word in group]
        yield run[0], run[-1] + 1
