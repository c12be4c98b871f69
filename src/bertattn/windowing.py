"""Documents cut into windows that fit a model.

Examples:
    >>> from bertattn import Document, Extractor, Sentence, demo
    >>> ext = Extractor.from_pretrained(demo.model_path())
    >>> document = Document([Sentence(["Snow", "falls", "."]), Sentence(["It", "melts", "."])], id="snow")
    >>> for a in ext.extract(windows([document], max_tokens=6, which="all")):
    ...     a.queries.tokens
    ('[CLS]', 'snow', 'falls', '.', '[SEP]')
    ('[CLS]', 'it', 'melt', '##s', '.', '[SEP]')
"""

from __future__ import annotations

import operator
import os
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final, Literal, TypeAlias

from bertattn import _arrays, _prepare
from bertattn.annotation import Document, DocumentWindow, Mention, Sentence, head_words
from bertattn.errors import InputError, TooLongError

__all__ = ["Windows", "windows"]

Which: TypeAlias = Literal["first", "all"]
CutAt: TypeAlias = Literal["sentence", "word"]
Spacing: TypeAlias = Literal["single", "natural"]

# A tokenizer without a limit states one of thirty digits.
UNLIMITED: Final = 10**9
# Where an end is looked for first: tokens a word, of English; it is learnt from the document, but not below the least.
TOKENS_A_WORD, LEAST_TOKENS_A_WORD = 1.3, 0.5
# After so many guesses the end is looked for by halves, which takes few steps whatever the text is like.
GUESSES = 6


@dataclass(frozen=True, eq=False)
class Windows(Iterable[DocumentWindow]):
    """The windows of some documents, cut as they are read; `windows` makes it and says what the fields mean.

    Without a tokenizer it is for `Extractor.extract`, which counts with its own. It may be iterated over as often as
    its documents may: of a stream once.
    """

    documents: Iterable[Document]
    max_tokens: int | None = None
    which: Which = "first"
    cut_at: CutAt = "sentence"
    tokenizer: Any = None
    spacing: Spacing = "single"

    def __post_init__(self) -> None:
        _check_documents(self.documents)
        for name, allowed in (
            ("which", ("first", "all")),
            ("cut_at", ("sentence", "word")),
            ("spacing", ("single", "natural")),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be {' or '.join(map(repr, allowed))}, but is {getattr(self, name)!r}")
        most = _arrays.plain(self.max_tokens)
        if most is not None and (type(most) is not int or most < 1):
            raise InputError(f"max_tokens must be a whole number, at least 1, but is {most!r}")
        object.__setattr__(self, "max_tokens", most)
        if self.tokenizer is not None and not hasattr(self.tokenizer, "is_fast"):
            raise InputError(
                f"tokenizer must be a transformers tokenizer, but is {self.tokenizer!r:.60}; that of an Extractor is "
                "ext.tokenizer"
            )

    def bound(self, tokenizer: Any, /, *, limit: int | None = None, spacing: Spacing = "single") -> Windows:
        """A copy for a model that takes `limit` tokens, which counts with `tokenizer` where it has none of its own.

        Raises:
            InputError: its words are joined in another way than the model will read them; nothing says how many tokens
                a window may have.
            TooLongError: `max_tokens` is more than the model takes.
        """
        if spacing != self.spacing and (self.tokenizer is not None or self.spacing != "single"):
            raise InputError(
                f"the windows are cut with spacing={self.spacing!r} but read with spacing={spacing!r}; give both the "
                "same"
            )
        most = limit if self.max_tokens is None else self.max_tokens
        if most is not None and limit is not None and most > limit:
            raise TooLongError(
                f"windows of max_tokens={most} do not fit: the model takes {limit} tokens",
                remedy=f"give max_tokens={limit} or less",
            )
        own = tokenizer if self.tokenizer is None else self.tokenizer
        copy = replace(self, tokenizer=own, max_tokens=most, spacing=spacing)
        return replace(copy, max_tokens=copy._most())

    def _most(self) -> int:
        if self.max_tokens is not None:
            return self.max_tokens
        stated = getattr(self.tokenizer, "model_max_length", None)
        if not isinstance(stated, int) or not 0 < stated < UNLIMITED:
            raise InputError("neither the model nor its tokenizer says how many tokens it takes; give max_tokens")
        return stated

    def __iter__(self) -> Iterator[DocumentWindow]:
        if self.tokenizer is None:
            raise InputError(
                "windows are cut by the tokens of a tokenizer, but these have none; give them to ext.extract, or "
                "tokenizer=ext.tokenizer"
            )
        return self._cut(self._most())

    def _cut(self, most: int) -> Iterator[DocumentWindow]:
        for number, document in enumerate(self.documents, 1):
            if not isinstance(document, Document):
                raise InputError(
                    f"document {number} must be a Document, but is {document!r:.60}; sentences make one: "
                    "Document(sentences)"
                )
            cutter = _Cutter(document, number, self, most)
            for start, end in cutter.spans():
                yield cutter.window(start, end)
                if self.which == "first":
                    break

    def __length_hint__(self) -> int:
        """How many windows there are, 0 where that is not known before they are cut."""
        return operator.length_hint(self.documents) if self.which == "first" else 0

    def __repr__(self) -> str:
        known = f"{len(self.documents)} documents" if isinstance(self.documents, Sized) else "a stream"
        tokenizer = None if self.tokenizer is None else type(self.tokenizer).__name__
        return (
            f"Windows({known}, max_tokens={self.max_tokens}, which={self.which!r}, cut_at={self.cut_at!r}, "
            f"tokenizer={tokenizer}, spacing={self.spacing!r})"
        )


def windows(
    documents: Iterable[Document],
    /,
    *,
    max_tokens: int | None = None,
    which: Which = "first",
    cut_at: CutAt = "sentence",
    tokenizer: Any = None,
    spacing: Spacing = "single",
) -> Windows:
    """Documents as windows that a model reads at once: `ext.extract(windows(documents, max_tokens=128))`.

    A window takes as many whole sentences as fit. A sentence that does not fit alone is cut between words; its rest
    begins the next window. Tokens are counted on the text of the window, special tokens with them, just as the model
    will read it.

    Mentions that lie wholly in a window are its own, numbered from its first word. One that crosses an edge is left
    out; the window in which it begins counts it as `dropped_mentions`. The head word of a mention is settled before the
    cut (`annotation.head_words`); a cut sentence loses its `metadata`, and governors outside become None.

    Args:
        documents: a sequence, or a stream such as `readers.iter_corefud`, which is read as the windows are.
        max_tokens: the most tokens a window may have; None means as many as the model takes.
        which: "first" keeps the first window of each document (Clark et al. 2019 truncate documents to 128 tokens),
            "all" keeps all: every word is in one of them.
        cut_at: "sentence", or "word" to fill each window to the last word that fits.
        tokenizer: what counts the tokens; None means that of the `Extractor` that reads the windows.
        spacing: how words are joined: "single" spaces or "natural" text. Without a tokenizer, as `extract` says.

    Returns:
        `Windows`, to be iterated over. A document without `id` is named by its number, from 1, and its words.

    Raises:
        InputError: `documents` is no sequence or stream of documents, an option is none of those above; while reading,
            there is no tokenizer, or one that cannot read the text.
        TooLongError: while reading, a single word does not fit.

    Examples:
        >>> from bertattn import Document, Mention, Sentence, demo
        >>> from transformers import AutoTokenizer
        >>> tokenizer = AutoTokenizer.from_pretrained(demo.model_path())
        >>> document = Document(
        ...     [Sentence(["Ann", "slept"]), Sentence(["She", "woke"])], [Mention(0, 1, "ann"), Mention(2, 3, "ann")]
        ... )
        >>> first, second = windows([document], max_tokens=4, which="all", tokenizer=tokenizer)
        >>> second.words, second.mentions[0].start, second.first_word, second.document
        (('She', 'woke'), 0, 2, 'document 1 (547e8cbe)')
    """
    return Windows(documents, max_tokens, which, cut_at, tokenizer, spacing)


def _check_documents(documents: object) -> None:
    if isinstance(documents, Document):
        raise InputError("documents is one Document; give a list: windows([document])")
    if isinstance(documents, str | bytes | os.PathLike):
        raise InputError(
            f"documents must be a sequence or stream of Document, but is {documents!r:.60}; read the file first: "
            "bertattn.readers.read_corefud(path)"
        )
    if isinstance(documents, Mapping | Set) or not isinstance(documents, Iterable):
        raise InputError(
            f"documents must be a sequence or stream of Document, but is {_prepare._shown_kind(documents)}; give a list"
        )


class _Cutter:
    """Where one document is cut, and what lies between two cuts. Words are numbered over the document."""

    def __init__(self, document: Document, number: int, options: Windows, most: int) -> None:
        self.sentences = document.sentences
        self.shown = f"document {number}" if document.id is None else f"document {document.id!r}"
        self.options = options
        self.most = most
        self.ends = list(accumulate(map(len, document.sentences)))
        self.words = document.words
        # Unlike that of another call's document of the same number.
        own = f"document {number} ({zlib.crc32(' '.join(self.words).encode('utf-8', 'surrogatepass')):08x})"
        self.name = own if document.id is None else document.id
        self.spaces = tuple(space for s in document.sentences for space in s.space_after or (True,) * len(s))
        self.rate = TOKENS_A_WORD
        heads = zip(document.mentions, head_words(document), strict=True)
        self.mentions = sorted((m.start, place, m, head) for place, (m, head) in enumerate(heads))

    def spans(self) -> Iterator[tuple[int, int]]:
        """First word and end of each window."""
        start, last = 0, self.ends[-1]
        while start < last:
            sentences = self.ends[bisect_right(self.ends, start) :]
            if self.options.cut_at == "word":
                end = self.longest(start, range(start + 1, last + 1))
            else:
                end = self.longest(start, sentences) or self.longest(start, range(start + 1, sentences[0]))
            if end is None:
                raise TooLongError(
                    f"{self.words[start]!r:.60}, word {start} of {self.shown}, counted from 0, has "
                    f"{self.tokens(start, start + 1)} tokens, special ones included, but a window takes {self.most}",
                    remedy="give a larger max_tokens, or cut the word or take it out",
                )
            yield start, end
            start = end

    def longest(self, start: int, ends: Sequence[int]) -> int | None:
        """Of growing `ends` the last up to which the words from `start` fit, None where there is none.

        The next one does not fit. Only a few texts are encoded, none much longer than a window.
        """
        low, high = -1, len(ends)  # number of the last end known to fit, of the first known not to
        guess, guesses = start + self.most / self.rate, 0
        while high - low > 1:
            guesses += 1
            if guesses <= GUESSES:
                i = min(max(bisect_right(ends, guess) - 1, low + 1), high - 1)
            else:
                i = (low + min(high, 3 * low + 4)) // 2
            tokens = self.tokens(start, ends[i])
            if tokens <= self.most:
                low = i
            else:
                high = i
            guess = ends[i] + (self.most - tokens) / self.rate
        return ends[low] if low >= 0 else None

    def tokens(self, start: int, end: int) -> int:
        """How many tokens the words make; of a text far too long only its beginning is counted, which is too long."""
        near = start + 2 * self.most
        if end > near and (tokens := self.tokens(start, near)) > self.most:
            return tokens
        text, _ = Sentence(self.words[start:end], space_after=self.spaces[start:end]).text(spacing=self.options.spacing)
        try:
            _prepare._check_text(text)
            tokens = len(_prepare._encode(self.options.tokenizer, text)["input_ids"])
        except InputError as error:
            raise InputError(f"{self.shown}: {error}") from None
        self.rate = max(tokens / (end - start), LEAST_TOKENS_A_WORD)
        return tokens

    def window(self, start: int, end: int) -> DocumentWindow:
        parts = []
        for i in range(bisect_right(self.ends, start), bisect_left(self.ends, end) + 1):
            first = self.ends[i] - len(self.sentences[i])
            parts.append(_part(self.sentences[i], max(start, first) - first, min(end, self.ends[i]) - first))
        begin = self.mentions[bisect_left(self.mentions, (start,)) : bisect_left(self.mentions, (end,))]
        inside = sorted((place, _moved(m, head, start)) for _, place, m, head in begin if m.end <= end)
        return DocumentWindow(
            tuple(parts), tuple(m for _, m in inside), self.name, start, dropped_mentions=len(begin) - len(inside)
        )


def _moved(m: Mention, head: int | None, by: int) -> Mention:
    """The mention, its words counted from word `by` on, with its head word."""
    parts = tuple((start - by, end - by) for start, end in m.parts)
    return replace(m, start=m.start - by, end=m.end - by, head=None if head is None else head - by, parts=parts)


def _part(s: Sentence, start: int, end: int) -> Sentence:
    """Words `[start, end)` with all their columns; of the whole sentence's `metadata` nothing, as it may be by word."""
    if (start, end) == (0, len(s)):
        return s
    columns: dict[str, Any] = {
        name: None if column is None else column[start:end]
        for name in ("words", "relations", "lemmas", "upos", "xpos", "feats", "space_after")
        for column in (getattr(s, name),)
    }
    if s.governors is not None:
        columns["governors"] = [g if not g else g - start if start < g <= end else None for g in s.governors[start:end]]
    return Sentence(**columns, id=s.id, document=s.document)
