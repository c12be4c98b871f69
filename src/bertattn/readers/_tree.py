"""What makes governors a tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

__all__: list[str] = []


def checked_governors(written: Sequence[str], fail: Callable[[int, str], NoReturn]) -> tuple[int, ...]:
    """The governors as numbers, if they are a tree with one root; otherwise `fail(word from 0, what is wrong)`."""
    known = {str(i): i for i in range(len(written) + 1)}
    governors: list[int] = []
    root = 0
    for i, text in enumerate(written, start=1):
        governor = known.get(text)
        if governor is None:
            fail(
                i - 1,
                f"governor {text!r:.40} of word {i}; expected a word's number, 1 to {len(written)}, or 0 for the root",
            )
        if governor == 0:
            if root:
                fail(i - 1, f"word {i} is a second root, after word {root}; a tree has one")
            root = i
        governors.append(governor)
    if not root:
        fail(0, "no word has governor 0; a tree has one root")
    passed = [0] * (len(written) + 1)  # the word whose way to the root came by here
    passed[0] = -1
    for start in range(1, len(written) + 1):
        word = start
        while not passed[word]:
            passed[word] = start
            word = governors[word - 1]
        if passed[word] == start:
            fail(word - 1, f"the governors of word {word} lead back to it; a tree has no cycle")
    return tuple(governors)
