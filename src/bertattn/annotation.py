"""Gold annotation, frozen: sentences with their trees, documents with their mentions.

Word numbers in Python count from 0. Governors keep the treebanks' convention: 0 is the root, 1 the first word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from bertattn import _arrays
from bertattn.errors import ValidationError

__all__ = ["Document", "DocumentWindow", "Mention", "Sentence", "head_words"]


class _FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. Unlike a mapping proxy it pickles, copies and is written as JSON."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("annotation is frozen; make a changed copy with dataclasses.replace")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[_FrozenDict], tuple[dict[str, Any]]]:
        return _FrozenDict, (dict(self),)


def _mapping(name: str, values: Any) -> _FrozenDict:
    if not isinstance(values, Mapping):
        raise ValidationError(f"{name} must be a mapping, but is {values!r:.60}")
    return _FrozenDict(values)


@dataclass(frozen=True)
class Sentence:
    """One sentence as words, with whatever annotation there is; absent columns are None.

    Columns may be given as any sequence or array and are kept as tuples. Sentences are equal if all their fields are.

    Args:
        words: the forms, at least one.
        governors: for each word the number of the word it hangs on, counted from 1; 0 for the root, None if unknown.
        relations: the label of each arc, such as "obj" or "nmod:poss".
        lemmas, upos, xpos: one string (or None) a word.
        feats: one mapping a word, such as `{"Number": "Sing"}`; None counts as an empty one.
        space_after: False where no space follows the word; None means a space after each.
        id: the sentence's name in its file.
        document: the name of the document it stands in.
        metadata: anything else a reader wants to keep (comments, multiword tokens), by name.

    Raises:
        ValidationError: no words, a word that is not text or is empty, a column of another length, a governor out of
            range, a word that governs itself.

    Examples:
        >>> Sentence(["Dogs", "bark"], governors=[2, 0], relations=["nsubj", "root"]).governors
        (2, 0)
    """

    words: tuple[str, ...]
    governors: tuple[int | None, ...] | None = None
    relations: tuple[str | None, ...] | None = None
    lemmas: tuple[str | None, ...] | None = None
    upos: tuple[str | None, ...] | None = None
    xpos: tuple[str | None, ...] | None = None
    feats: tuple[Mapping[str, str], ...] | None = field(default=None, hash=False)
    space_after: tuple[bool, ...] | None = None
    id: str | None = None
    document: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if isinstance(self.words, str):
            raise ValidationError(
                f"words must be a sequence of words, but got one string {self.words[:40]!r}; split it first"
            )
        columns = ("governors", "relations", "lemmas", "upos", "xpos", "feats", "space_after")
        for name in ("words", *columns):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _arrays.column(name, getattr(self, name), entry="word"))
        if not self.words:
            raise ValidationError("a sentence needs at least one word, but got none")
        for i, word in enumerate(self.words):
            if not isinstance(word, str) or not word:
                raise ValidationError(f"word {i} must be a non-empty string, but is {word!r}")
        for name in columns:
            column = getattr(self, name)
            if column is not None and len(column) != len(self.words):
                raise ValidationError(f"{name} has {len(column)} entries but there are {len(self.words)} words")
        if self.feats is not None:
            feats = tuple(_mapping(f"feats of word {i}", f or {}) for i, f in enumerate(self.feats))
            object.__setattr__(self, "feats", feats)
        object.__setattr__(self, "metadata", _mapping("metadata", self.metadata))
        self._check_governors()

    def _check_governors(self) -> None:
        for i, governor in enumerate(self.governors or ()):
            if governor is None:
                continue
            if type(governor) is not int or not 0 <= governor <= len(self.words):
                raise ValidationError(
                    f"governor of {self.words[i]!r} is {governor!r}; governors are whole numbers that count the words "
                    f"from 1, here to {len(self.words)}, and 0 is the root"
                )
            if governor == i + 1:
                raise ValidationError(f"{self.words[i]!r}, word {governor} counted from 1, governs itself")

    def __len__(self) -> int:
        """Number of words."""
        return len(self.words)

    def text(self, *, spacing: str = "single") -> tuple[str, tuple[tuple[int, int], ...]]:
        """The sentence as a string, and the characters `[start, end)` of each word in it.

        Args:
            spacing: "single" joins the words by single spaces (the paper's way); "natural" leaves out the space where
                `space_after` is False.

        Raises:
            ValidationError: another spacing.

        Examples:
            >>> Sentence(["Go", "!"], space_after=[False, True]).text(spacing="natural")
            ('Go!', ((0, 2), (2, 3)))
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
        head: the number of the mention's head word in the document, where the file declares one or has a tree; see
            `head_words`.
        type: the entity type ("person", "place" ...), where there is one.
        metadata: other fields of the file, by name.
        parts: for a mention with gaps the spans `[start, end)` it consists of, in order; otherwise empty.

    Raises:
        ValidationError: no words, numbers that are no integers, a head word outside the mention, or parts that touch,
            overlap or do not run from `start` to `end`.

    Examples:
        >>> Mention(2, 7, "e1", parts=[(2, 4), (6, 7)]).words
        (2, 3, 6)
    """

    start: int
    end: int
    entity: str
    head: int | None = None
    type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    parts: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("start", "end", "head"):
            object.__setattr__(self, name, _arrays.plain(getattr(self, name)))
        numbers = (self.start, self.end, *(() if self.head is None else (self.head,)))
        if not all(isinstance(n, int) for n in numbers) or not 0 <= self.start < self.end:
            raise ValidationError(
                f"a mention spans words [start, end) with 0 <= start < end, but got [{self.start!r}, {self.end!r})"
                + (f" with head {self.head!r}" if self.head is not None else "")
            )
        object.__setattr__(self, "parts", self._checked_parts())
        if self.head is not None and self.head not in (self.words if self.parts else range(self.start, self.end)):
            gaps = f" with the parts {self.parts}" if self.parts else ""
            raise ValidationError(f"head {self.head} lies outside its mention [{self.start}, {self.end}){gaps}")
        object.__setattr__(self, "metadata", _mapping("metadata", self.metadata))

    @property
    def words(self) -> tuple[int, ...]:
        """The numbers of the mention's words in the document, without those in its gaps."""
        return tuple(word for start, end in self.parts or ((self.start, self.end),) for word in range(start, end))

    def _checked_parts(self) -> tuple[tuple[int, int], ...]:
        parts = _arrays.column("parts", self.parts, entry="span")
        edges = [edge for part in parts if isinstance(part, tuple) for edge in part]
        good = all(isinstance(part, tuple) and len(part) == 2 for part in parts) and all(
            isinstance(edge, int) for edge in edges
        )
        if parts and not (
            good and edges == sorted(set(edges)) and (edges[0], edges[-1]) == (self.start, self.end) and len(parts) > 1
        ):
            raise ValidationError(
                f"parts of a mention are at least two spans with gaps between them, from {self.start} to {self.end}, "
                f"but are {self.parts!r:.60}"
            )
        return parts


@dataclass(frozen=True)
class Document:
    """Sentences in order, and the mentions in them, numbered over the whole document.

    Args:
        sentences: at least one.
        mentions: in any order, kept as given.
        id: the document's name in its file.
        metadata: anything else a reader wants to keep, by name.

    Raises:
        ValidationError: no sentences, something that is no Sentence or Mention, or a mention beyond the last word.
    """

    sentences: tuple[Sentence, ...]
    mentions: tuple[Mention, ...] = ()
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_sentences(self)
        object.__setattr__(self, "metadata", _mapping("metadata", self.metadata))

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all sentences."""
        return tuple(word for sentence in self.sentences for word in sentence.words)

    def __len__(self) -> int:
        """Number of words."""
        return sum(len(sentence) for sentence in self.sentences)


@dataclass(frozen=True)
class DocumentWindow:
    """Consecutive sentences of one document that a model reads at once; mentions are numbered within the window.

    Args:
        sentences: the window's sentences, at least one.
        mentions: those that lie wholly inside, numbered from the window's first word.
        document: the document's name.
        first_word: the number, in the document, of the window's first word.
        dropped_mentions: how many mentions crossed an edge of the window and were left out.

    Raises:
        ValidationError: no sentences, something that is no Sentence or Mention, or a mention beyond the last word.
    """

    sentences: tuple[Sentence, ...]
    mentions: tuple[Mention, ...] = ()
    document: str | None = None
    first_word: int = 0
    dropped_mentions: int = 0

    def __post_init__(self) -> None:
        _check_sentences(self)
        for name in ("first_word", "dropped_mentions"):
            number = _arrays.plain(getattr(self, name))
            if not isinstance(number, int) or number < 0:
                raise ValidationError(f"{name} must be a number from 0, but is {number!r}")
            object.__setattr__(self, name, number)

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all sentences."""
        return tuple(word for sentence in self.sentences for word in sentence.words)

    def __len__(self) -> int:
        """Number of words."""
        return sum(len(sentence) for sentence in self.sentences)

    def text(self, *, spacing: str = "single") -> tuple[str, tuple[tuple[int, int], ...]]:
        """As `Sentence.text`, for all words of the window.

        Raises:
            ValidationError: another spacing.
        """
        spaces = [space for s in self.sentences for space in s.space_after or (True,) * len(s)]
        return Sentence(self.words, space_after=tuple(spaces)).text(spacing=spacing)


def head_words(x: Document | DocumentWindow, /) -> tuple[int | None, ...]:
    """The head word of each mention: the one it declares, otherwise that of its tree, otherwise None.

    The tree's is the word whose governor lies outside the mention; of several, the nearest to the root, then the first.

    Raises:
        ValidationError: no document, and no window of one.

    Examples:
        >>> tree = Sentence(["My", "old", "friend", "left"], governors=[3, 3, 4, 0])
        >>> head_words(Document([tree], [Mention(0, 3, "friend")]))
        (2,)
    """
    if not isinstance(x, Document | DocumentWindow):
        raise ValidationError(f"mentions stand in a Document or DocumentWindow, but got {x!r:.60}")
    governors: list[int | None] = []  # over the whole text, from 0; -1 is the root, None unknown
    for sentence in x.sentences:
        first = len(governors)
        governors += [
            None if g is None else first + g - 1 if g else -1 for g in sentence.governors or (None,) * len(sentence)
        ]
    return tuple(mention.head if mention.head is not None else _tree_head(mention, governors) for mention in x.mentions)


def _tree_head(mention: Mention, governors: Sequence[int | None]) -> int | None:
    inside = frozenset(mention.words)
    tops = [word for word in mention.words if governors[word] not in inside]
    if not tops or any(governors[word] is None for word in inside):
        return None
    return tops[0] if len(tops) == 1 else min(tops, key=lambda word: _depth(word, governors))


def _depth(word: int, governors: Sequence[int | None]) -> int:
    depth = 0
    governor: int | None = word
    while governor is not None and governor >= 0 and depth <= len(governors):  # hand-made trees may hold a cycle
        governor, depth = governors[governor], depth + 1
    return depth


def _check_sentences(x: Document | DocumentWindow) -> None:
    kind = "document" if isinstance(x, Document) else "window"
    for name, member in (("sentences", Sentence), ("mentions", Mention)):
        members = getattr(x, name)
        if not isinstance(members, Sequence) or not all(isinstance(m, member) for m in members):
            raise ValidationError(f"{name} of a {kind} must be a sequence of {member.__name__}, but is {members!r:.60}")
        object.__setattr__(x, name, tuple(members))
    if not x.sentences:
        raise ValidationError(f"a {kind} needs at least one sentence, but got none")
    words = len(x)
    for mention in x.mentions:
        if mention.end > words:
            raise ValidationError(
                f"mention of {mention.entity!r} spans words [{mention.start}, {mention.end}) "
                f"but there are only {words} words"
            )
