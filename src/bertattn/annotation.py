"""Gold annotation, frozen: sentences with their trees, documents with their mentions.

Word numbers in Python count from 0. Governors keep the treebanks' convention: 0 is the root, 1 the first word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bertattn.errors import ValidationError

__all__ = ["Document", "DocumentWindow", "Mention", "Sentence"]


def _frozen(values: Iterable[Any] | None) -> tuple[Any, ...] | None:
    return None if values is None else tuple(values)


@dataclass(frozen=True)
class Sentence:
    """One sentence as words, with whatever annotation there is; absent columns are None.

    Args:
        words: the forms, at least one.
        governors: for each word the number of the word it hangs on, counted from 1; 0 for the root, None if unknown.
        relations: the label of each arc, such as "obj" or "nmod:poss".
        lemmas, upos, xpos: one string (or None) a word.
        feats: one mapping a word, such as `{"Number": "Sing"}`.
        space_after: False where no space follows the word; None means a space after each.
        id: the sentence's name in its file.
        document: the name of the document it stands in.
        metadata: anything else a reader wants to keep (comments, multiword tokens), by name.

    Raises:
        ValidationError: no words, a word that is not text or is empty, a column of another length, a governor out of
            range, a word that governs itself.
    """

    words: tuple[str, ...]
    governors: tuple[int | None, ...] | None = None
    relations: tuple[str | None, ...] | None = None
    lemmas: tuple[str | None, ...] | None = None
    upos: tuple[str | None, ...] | None = None
    xpos: tuple[str | None, ...] | None = None
    feats: tuple[Mapping[str, str], ...] | None = None
    space_after: tuple[bool, ...] | None = None
    id: str | None = None
    document: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.words, str):
            raise ValidationError(
                f"words must be a sequence of words, but got one string {self.words[:40]!r}; split it first"
            )
        for name in ("words", "governors", "relations", "lemmas", "upos", "xpos", "space_after"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        if self.feats is not None:
            object.__setattr__(self, "feats", tuple(MappingProxyType(dict(f or {})) for f in self.feats))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))
        if not self.words:
            raise ValidationError("a sentence needs at least one word, but got none")
        for i, word in enumerate(self.words):
            if not isinstance(word, str) or not word:
                raise ValidationError(f"word {i} must be a non-empty string, but is {word!r}")
        for name in ("governors", "relations", "lemmas", "upos", "xpos", "feats", "space_after"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.words):
                raise ValidationError(f"{name} has {len(column)} entries but there are {len(self.words)} words")
        for i, governor in enumerate(self.governors or ()):
            if governor is None:
                continue
            if not isinstance(governor, int) or not 0 <= governor <= len(self.words):
                raise ValidationError(
                    f"governor of word {i} ({self.words[i]!r}) is {governor!r}; "
                    f"governors count words from 1 to {len(self.words)}, 0 is the root"
                )
            if governor == i + 1:
                raise ValidationError(f"word {i} ({self.words[i]!r}) governs itself (governor {governor})")

    def __len__(self) -> int:
        return len(self.words)

    def __getstate__(self) -> dict[str, Any]:  # mapping proxies do not pickle
        state = dict(self.__dict__)
        state["metadata"] = dict(self.metadata)
        state["feats"] = None if self.feats is None else tuple(dict(f) for f in self.feats)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __hash__(self) -> int:
        return hash((self.words, self.governors, self.relations, self.id, self.document))

    def text(self, *, spacing: str = "single") -> tuple[str, tuple[tuple[int, int], ...]]:
        """The sentence as a string, and the characters `[start, end)` of each word in it.

        Args:
            spacing: "single" joins the words by single spaces (the paper's way); "natural" leaves out the space where
                `space_after` is False.
        """
        if spacing not in ("single", "natural"):
            raise ValidationError(f"spacing must be 'single' or 'natural', but is {spacing!r}")
        pieces: list[str] = []
        spans: list[tuple[int, int]] = []
        position = 0
        for i, word in enumerate(self.words):
            spans.append((position, position + len(word)))
            pieces.append(word)
            position += len(word)
            glued = spacing == "natural" and self.space_after is not None and not self.space_after[i]
            if i + 1 < len(self.words) and not glued:
                pieces.append(" ")
                position += 1
        return "".join(pieces), tuple(spans)


@dataclass(frozen=True)
class Mention:
    """Words `[start, end)` of a document that name an entity.

    Args:
        start, end: word numbers in the document, counted from 0, `end` excluded.
        entity: the entity's name; mentions with one name corefer.
        head: the number of the mention's head word in the document, where the file declares one.
        type: the entity type ("person", "place" ...), where there is one.
        metadata: other fields of the file, by name.
    """

    start: int
    end: int
    entity: str
    head: int | None = None
    type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValidationError(
                f"a mention spans words [start, end) with 0 <= start < end, but got [{self.start}, {self.end})"
            )
        if self.head is not None and not self.start <= self.head < self.end:
            raise ValidationError(f"head {self.head} lies outside its mention [{self.start}, {self.end})")


@dataclass(frozen=True)
class Document:
    """Sentences in order, and the mentions in them, numbered over the whole document.

    Raises:
        ValidationError: no sentences, or a mention beyond the last word.
    """

    sentences: tuple[Sentence, ...]
    mentions: tuple[Mention, ...] = ()
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentences", tuple(self.sentences))
        object.__setattr__(self, "mentions", tuple(self.mentions))
        if not self.sentences:
            raise ValidationError("a document needs at least one sentence, but got none")
        _check_mentions(self.mentions, len(self.words))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word for sentence in self.sentences for word in sentence.words)

    def __len__(self) -> int:
        """Number of words."""
        return sum(len(sentence) for sentence in self.sentences)


@dataclass(frozen=True)
class DocumentWindow:
    """Consecutive sentences of one document that a model reads at once; mentions are numbered within the window.

    Args:
        sentences: the window's sentences.
        mentions: those that lie wholly inside, numbered from the window's first word.
        document: the document's name.
        first_word: the number, in the document, of the window's first word.
        dropped_mentions: how many mentions crossed an edge of the window and were left out.
    """

    sentences: tuple[Sentence, ...]
    mentions: tuple[Mention, ...] = ()
    document: str | None = None
    first_word: int = 0
    dropped_mentions: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentences", tuple(self.sentences))
        object.__setattr__(self, "mentions", tuple(self.mentions))
        if not self.sentences:
            raise ValidationError("a window needs at least one sentence, but got none")
        _check_mentions(self.mentions, len(self.words))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word for sentence in self.sentences for word in sentence.words)

    def __len__(self) -> int:
        """Number of words."""
        return sum(len(sentence) for sentence in self.sentences)

    def text(self, *, spacing: str = "single") -> tuple[str, tuple[tuple[int, int], ...]]:
        """As `Sentence.text`, for all words of the window."""
        return _joined(self.sentences).text(spacing=spacing)


def _joined(sentences: Sequence[Sentence]) -> Sentence:
    words = tuple(word for sentence in sentences for word in sentence.words)
    spaces: list[bool] = []
    for sentence in sentences:
        spaces.extend(sentence.space_after or (True,) * len(sentence))
    return Sentence(words, space_after=tuple(spaces))


def _check_mentions(mentions: Sequence[Mention], words: int) -> None:
    for mention in mentions:
        if mention.end > words:
            raise ValidationError(
                f"mention of {mention.entity!r} spans words [{mention.start}, {mention.end}) "
                f"but there are only {words} words"
            )
