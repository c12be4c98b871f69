"""What a word's position alone predicts: the governor is the word at a fixed offset (Clark et al. 2019, Table 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn.annotation import Document, DocumentWindow, Sentence
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import Subtypes, Use, one_of
from bertattn.results import Result

__all__ = ["RELEASED_OFFSETS", "OffsetBaselines", "offset_baselines"]

Clip: TypeAlias = Literal["root", "words", "none"]

RELEASED_OFFSETS: Final = (-3, -2, -1, 0, 1, 2)
"""The offsets that the code released with the paper tries: `range(-3, 3)`, with 0 and without 3."""


@dataclass(frozen=True, repr=False)
class OffsetBaselines(Result):
    """How often each fixed offset points to the governor, for each relation, as counts that add.

    Args:
        offsets: the offsets, in increasing order; +1 is the next word.
        relations: the relations, in the order of the alphabet.
        counts: the number of words of each relation.
        correct: for each relation, how many of these words each offset is right for.
        clip, punct, root, subtypes: the options of `offset_baselines`.
        sentences: the number of sentences read.
        without_governor: words that were left out since the treebank gives them no governor.

    Raises:
        ValidationError: counts that do not fit the relations and offsets.
    """

    offsets: tuple[int, ...]
    relations: tuple[str, ...]
    counts: tuple[int, ...]
    correct: tuple[tuple[int, ...], ...]
    clip: Clip = "root"
    punct: Use = "include"
    root: Use = "include"
    subtypes: Subtypes = "keep"
    sentences: int = 0
    without_governor: int = 0

    def __post_init__(self) -> None:
        for name in ("offsets", "relations", "counts", "correct"):
            object.__setattr__(self, name, _arrays.column(name, getattr(self, name), entry="relation"))
        if not len(self.relations) == len(self.counts) == len(self.correct):
            raise ValidationError(
                f"there are {len(self.relations)} relations but {len(self.counts)} counts and {len(self.correct)} rows "
                "of correct words"
            )
        for relation, count, row in zip(self.relations, self.counts, self.correct, strict=True):
            if len(row) != len(self.offsets) or not all(0 <= n <= count for n in row):
                raise ValidationError(
                    f"correct words of {relation!r} must be one number an offset, from 0 to {count}, but are {row}"
                )

    def count(self, relation: str = "all") -> int:
        """The number of words of a relation.

        Raises:
            SelectionError: no word has it.
        """
        return self._row(relation)[0]

    def accuracy(self, relation: str = "all", *, offset: int) -> float:
        """The fraction of a relation's words whose governor the offset hits; NaN where there are no words.

        Raises:
            SelectionError: no word has the relation, or the offset was not tried.
        """
        count, correct = self._row(relation)
        if offset not in self.offsets:
            raise SelectionError(f"offset {offset} was not tried; there are {self.offsets}")
        return correct[self.offsets.index(offset)] / count if count else float("nan")

    def best(self, relation: str = "all") -> int:
        """The offset that is right most often for a relation; of several the largest.

        It is chosen on the words that it is scored on, as in the paper: `accuracy` of it is a little optimistic.

        Raises:
            SelectionError: no word has the relation.
        """
        _, correct = self._row(relation)
        return max(zip(correct, self.offsets, strict=True))[1]

    def _row(self, relation: str) -> tuple[int, tuple[int, ...]]:
        if relation == "all":
            sums = np.array(self.correct, dtype=np.int64).reshape(len(self.relations), len(self.offsets)).sum(axis=0)
            return sum(self.counts), tuple(sums.tolist())
        if relation not in self.relations:
            raise SelectionError(f"there is no relation {relation!r}; there are all, {', '.join(self.relations)}")
        index = self.relations.index(relation)
        return self.counts[index], self.correct[index]

    def to_records(self) -> list[dict[str, Any]]:
        """One row for all words and one for each relation, frequent ones first.

        `best_offset` and its `accuracy`, then the accuracy of every offset.
        """
        order = sorted(zip(self.counts, self.relations, strict=True), key=lambda pair: (-pair[0], pair[1]))
        records = []
        for relation in ("all", *(name for _, name in order)):
            best = self.best(relation)
            records.append(
                {
                    "relation": relation,
                    "count": self.count(relation),
                    "best_offset": best,
                    "accuracy": self.accuracy(relation, offset=best),
                }
                | {f"offset {offset:+d}": self.accuracy(relation, offset=offset) for offset in self.offsets}
            )
        return records

    def __add__(self, other: object) -> OffsetBaselines:
        """The two treebanks as one.

        Raises:
            ValidationError: the options differ.
        """
        if not isinstance(other, OffsetBaselines):
            return NotImplemented
        for name in ("offsets", "clip", "punct", "root", "subtypes"):
            if getattr(self, name) != getattr(other, name):
                raise ValidationError(
                    f"baselines of different {name} do not add: {getattr(self, name)!r} and {getattr(other, name)!r}"
                )
        counts: dict[str, int] = {}
        correct: dict[str, list[int]] = {}
        for part in (self, other):
            for relation, count, row in zip(part.relations, part.counts, part.correct, strict=True):
                counts[relation] = counts.get(relation, 0) + count
                before = correct.get(relation, [0] * len(row))
                correct[relation] = [a + b for a, b in zip(before, row, strict=True)]
        return dataclasses.replace(
            self,
            relations=tuple(sorted(counts)),
            counts=tuple(counts[relation] for relation in sorted(counts)),
            correct=tuple(tuple(correct[relation]) for relation in sorted(counts)),
            sentences=self.sentences + other.sentences,
            without_governor=self.without_governor + other.without_governor,
        )

    def __radd__(self, other: object) -> OffsetBaselines:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __repr__(self) -> str:
        best = self.best()
        accuracy = f"{100 * self.accuracy(offset=best):.1f}% at offset {best:+d}"
        return f"OffsetBaselines({self.count()} words of {self.sentences} sentences, {accuracy})"

    def _state(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls(**state)


def offset_baselines(
    sentences: Iterable[Sentence | Document | DocumentWindow],
    /,
    *,
    offsets: Sequence[int] = (-3, -2, -1, 1, 2, 3),
    clip: Clip = "root",
    punct: Use = "include",
    root: Use = "include",
    subtypes: Subtypes = "keep",
) -> OffsetBaselines:
    """How often the word at a fixed offset is the governor, for each relation and offset (Clark et al. 2019, Table 1).

    prediction of word i of n = clip(i + offset, 0, n); words count from 1 and 0 is the root. With the defaults a
    negative offset "finds" the root from words near the left edge, which a head cannot: compare heads with
    `root="exclude"` or `clip="words"`.

    Args:
        sentences: with their trees; of documents, their sentences.
        offsets: those to try, `RELEASED_OFFSETS` for those of the released code. +1 alone is the right-branching
            baseline, -1 the left-branching one.
        clip: what is predicted beyond the edges. "root", as the released code: on the left the root, on the right the
            last word. "words": the first and the last word. "none": nothing, which counts as wrong.
        punct: "exclude" leaves out words with the relation `punct`. The released code includes them.
        root: "exclude" leaves out words whose governor is the root. The released code includes them.
        subtypes: "keep" counts `nmod:poss` apart from `nmod`, "fold" counts it as `nmod`.

    Raises:
        ValidationError: no offsets, one twice or no whole number, an unknown option, something that is no Sentence.

    Examples:
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
        >>> baselines = offset_baselines([tree])
        >>> baselines.best("nsubj"), baselines.accuracy("nsubj", offset=1)
        (1, 1.0)
        >>> baselines.to_frame().iloc[0, :4].to_dict()
        {'relation': 'all', 'count': 3, 'best_offset': 1, 'accuracy': 0.333...}
    """
    tried = _checked_offsets(offsets)
    for name, value, kind in (
        ("clip", clip, Clip),
        ("punct", punct, Use),
        ("root", root, Use),
        ("subtypes", subtypes, Subtypes),
    ):
        one_of(name, value, get_args(kind))
    numbers: dict[str, int] = {}
    words: list[tuple[int, int, int, int]] = []  # position, length of the sentence, governor, number of the relation
    read = without = 0
    for sentence in _flat(sentences):
        read += 1
        n = len(sentence)
        relations = sentence.relations or (None,) * n
        for i, (governor, relation) in enumerate(zip(sentence.governors or (None,) * n, relations, strict=True), 1):
            if governor is None:
                without += 1
                continue
            label = relation or "_"
            if subtypes == "fold":
                label = label.partition(":")[0]
            if (punct == "exclude" and label.partition(":")[0] == "punct") or (root == "exclude" and governor == 0):
                continue
            words.append((i, n, governor, numbers.setdefault(label, len(numbers))))
    position, length, governor_of, relation_of = np.array(words, dtype=np.int64).reshape(-1, 4).T
    counts = np.bincount(relation_of, minlength=len(numbers))
    hits = np.empty((len(numbers), len(tried)), dtype=np.int64)
    for column, offset in enumerate(tried):
        predicted = position + offset
        if clip == "none":
            predicted = np.where((predicted < 1) | (predicted > length), -1, predicted)
        else:
            predicted = np.clip(predicted, 0 if clip == "root" else 1, length)
        hits[:, column] = np.bincount(relation_of[predicted == governor_of], minlength=len(numbers))
    names = sorted(numbers)
    return OffsetBaselines(
        tried,
        tuple(names),
        tuple(int(counts[numbers[name]]) for name in names),
        tuple(tuple(hits[numbers[name]].tolist()) for name in names),
        clip=clip,
        punct=punct,
        root=root,
        subtypes=subtypes,
        sentences=read,
        without_governor=without,
    )


def _checked_offsets(offsets: Sequence[int]) -> tuple[int, ...]:
    given = _arrays.column("offsets", offsets, entry="offset")
    if not given or not all(type(offset) is int for offset in given) or len(set(given)) != len(given):
        raise ValidationError(f"offsets must be different whole numbers, at least one, but are {offsets!r:.60}")
    return tuple(sorted(given))


def _flat(items: Iterable[Any]) -> Iterator[Sentence]:
    for item in items:
        if isinstance(item, Document | DocumentWindow):
            yield from item.sentences
        elif isinstance(item, Sentence):
            yield item
        else:
            raise ValidationError(f"baselines are made of sentences with trees, but got {item!r:.60}")
