"""Which mentions have antecedents in a window, and how often simple rules find them (Clark et al. 2019, Table 2)."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.annotation import Document, DocumentWindow
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import one_of
from bertattn.heads.mentions import (
    MENTION_TYPES,
    MentionAttributes,
    MentionHeads,
    mention_attributes,
    mention_heads,
    mention_types,
)
from bertattn.results import Result
from bertattn.statistics import BootstrapInterval, bootstrap_ci

__all__ = ["CoreferenceBaselines", "coreference_baselines"]

Baseline: TypeAlias = Literal["nearest", "same_head", "rule_based"]
Candidates: TypeAlias = Literal["words_other", "words_prev", "mentions_prev", "mentions_other"]

BASELINES: Final[tuple[Baseline, ...]] = get_args(Baseline)
CANDIDATES: Final[tuple[Candidates, ...]] = get_args(Candidates)
_TALLIES: Final = ("windows", "mentions", "dropped_mentions", "same_head_mentions", "heads_by_fallback")
_WIDTHS: Final = {"candidates": (len(CANDIDATES),), "found": (len(BASELINES),), "tallies": (len(_TALLIES),)}
_COLUMNS: Final = ("document", "type", "start", "end", "head_word", "answers", "candidates", "found")


@dataclass(frozen=True, eq=False, repr=False)
class CoreferenceBaselines(Result):
    """Which mentions the baselines find an antecedent of, one by one: all else is derived from this, and it adds.

    An instance is a mention with an antecedent in its window. `a + b` is the two corpora as one; windows of documents
    of one name are one document's. `print` shows the paper's Table 2.

    Args:
        documents: their names, in the order of the stream; None for each window without a name, which is a document by
            itself.
        document: for each instance the number of its document; the instances stand in the order of the documents.
        type: for each instance the number of its type in `MENTION_TYPES`.
        start, end, head_word: for each instance its words `[start, end)` and its head word, numbered in the document.
        answers: for each instance how many words are right: the head words of its antecedents.
        candidates: `[instance, 4]`, how many words there are to choose from as "words_other", "words_prev",
            "mentions_prev" and "mentions_other".
        found: bool `[instance, 3]`, whether "nearest", "same_head" and "rule_based" choose a right word.
        tallies: `[document, 5]`, what the properties `windows` to `heads_by_fallback` are the sums of.

    Raises:
        ValidationError: columns that do not fit one another.
    """

    documents: tuple[str | None, ...]
    document: Numpy
    type: Numpy
    start: Numpy
    end: Numpy
    head_word: Numpy
    answers: Numpy
    candidates: Numpy
    found: Numpy
    tallies: Numpy

    def __post_init__(self) -> None:
        object.__setattr__(self, "documents", _arrays.column("documents", self.documents, entry="document"))
        n, documents = len(self.document), len(self.documents)
        kinds = {"type": np.uint8, "found": np.bool_}
        for name in (*_COLUMNS, "tallies"):
            values: Numpy = np.asarray(getattr(self, name), dtype=kinds.get(name, np.int32))
            shape = (documents if name == "tallies" else n, *_WIDTHS.get(name, ()))
            if values.size == 0 and 0 in shape:  # lists without entries do not say how long these would be
                values = values.reshape(shape)
            if values.shape != shape:
                raise ValidationError(
                    f"{name} has shape {values.shape} but {n} instances in {documents} documents need {shape}"
                )
            object.__setattr__(self, name, _arrays.read_only(values))
        for name, below in (("document", documents), ("type", len(MENTION_TYPES))):
            numbers = getattr(self, name)
            if n and not 0 <= numbers.min() <= numbers.max() < below:
                raise ValidationError(f"{name} must number from 0 to {below - 1}, but goes to {numbers.max()}")
        if (np.diff(self.document) < 0).any():
            raise ValidationError("the instances must stand in the order of their documents")
        names = [name for name in self.documents if name is not None]
        if len(set(names)) < len(names):
            raise ValidationError("documents must have different names, or None")
        if n and not (self.answers.min() >= 1 and (self.answers[:, None] <= self.candidates).all()):
            raise ValidationError("each instance must have an answer, and no more answers than candidates")

    def __len__(self) -> int:
        """Number of instances."""
        return len(self.document)

    @property
    def windows(self) -> int:
        """Number of windows, or whole documents, read."""
        return self._tally("windows")

    @property
    def mentions(self) -> int:
        """Number of mentions in them, first ones and singletons too."""
        return self._tally("mentions")

    @property
    def dropped_mentions(self) -> int:
        """Number of mentions that were left out since they cross an edge of a window."""
        return self._tally("dropped_mentions")

    @property
    def same_head_mentions(self) -> int:
        """Number of mentions that share their head word with another one of the same entity: no antecedents of it."""
        return self._tally("same_head_mentions")

    @property
    def heads_by_fallback(self) -> int:
        """Number of mentions whose head word was guessed without a tree; see `mention_heads`."""
        return self._tally("heads_by_fallback")

    def type_names(self) -> tuple[str, ...]:
        """The types that occur."""
        return tuple(name for i, name in enumerate(MENTION_TYPES) if (self.type == i).any())

    def count(self, mention_type: str = "all") -> int:
        """Number of instances of a type.

        Raises:
            SelectionError: no instance has it.
        """
        return len(self._instances(mention_type))

    def accuracy(self, baseline: Baseline, mention_type: str = "all") -> float:
        """The fraction of a type's instances for which a baseline chooses a right word; NaN of no instances.

        Raises:
            SelectionError: no instance has the type.
            ValidationError: an unknown baseline.
        """
        found = self.found[self._instances(mention_type), _place("baseline", baseline, BASELINES)]
        return float(found.mean()) if len(found) else float("nan")

    def chance(self, mention_type: str = "all", candidates: Candidates = "words_other") -> float:
        """How often a word drawn from the candidates is right: the mean of answers / candidates; NaN of no instances.

        Raises:
            SelectionError: no instance has the type.
            ValidationError: an unknown kind of candidates.
        """
        chosen = self._instances(mention_type)
        share = self.answers[chosen] / self.candidates[chosen, _place("candidates", candidates, CANDIDATES)]
        return float(share.mean()) if len(share) else float("nan")

    def by_document(self, mention_type: str = "all") -> tuple[Numpy, Numpy]:
        """What resampling needs: int `[document, baseline]` found and int `[document]` instances.

        Raises:
            SelectionError: no instance has the type.
        """
        chosen = self._instances(mention_type)
        counts = np.bincount(self.document[chosen], minlength=len(self.documents))
        found = np.zeros((len(self.documents), len(BASELINES)), dtype=np.int64)
        np.add.at(found, self.document[chosen], self.found[chosen])
        return found, counts

    def interval(
        self,
        baseline: Baseline,
        mention_type: str = "all",
        *,
        level: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
    ) -> BootstrapInterval:
        """Bootstrap interval of the accuracy, over documents; see `statistics.bootstrap_ci`.

        Raises:
            SelectionError: no instance has the type.
            ValidationError: an unknown baseline, no documents, or an option out of range.
        """
        found, counts = self.by_document(mention_type)
        column = _place("baseline", baseline, BASELINES)
        return bootstrap_ci(found[:, column], counts, level=level, resamples=resamples, seed=seed)

    def select(self, documents: Any, /) -> CoreferenceBaselines:
        """The instances of some documents, by number; the others are as if they had not been there.

        Args:
            documents: their numbers, or a boolean mask; each is counted once, in the order of the corpus.

        Raises:
            SelectionError: numbers of no documents, or a mask of another length.
        """
        kept = self._kept(documents)
        chosen = kept[self.document]
        columns = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        columns["document"] = (np.cumsum(kept) - 1)[columns["document"]]
        names = tuple(name for name, keep in zip(self.documents, kept, strict=True) if keep)
        return CoreferenceBaselines(documents=names, tallies=self.tallies[kept], **columns)

    def __add__(self, other: object) -> CoreferenceBaselines:
        """The two corpora as one; windows of documents of one name are one document's.

        Raises:
            ValidationError: a word of one document is in both.
        """
        return joined([self, other])[0] if isinstance(other, CoreferenceBaselines) else NotImplemented

    def __radd__(self, other: object) -> CoreferenceBaselines:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, CoreferenceBaselines) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        accuracy = f", rule-based {100 * self.accuracy('rule_based'):.1f}%" if len(self) else ""
        return f"CoreferenceBaselines({len(self)} instances in {len(self.documents)} documents{accuracy})"

    def __str__(self) -> str:
        """The paper's Table 2, in percent."""
        if not len(self):
            return repr(self)
        names = ("all", *self.type_names())
        intervals = [self._interval(name) for name in names]
        cells: dict[str, list[str]] = {"": [name.capitalize() for name in names]}
        for i, baseline in enumerate(BASELINES):
            cells[baseline] = [
                f"{100 * ci.estimate[i]:5.1f} ({100 * ci.low[i]:.1f} to {100 * ci.high[i]:.1f})" for ci in intervals
            ]
        cells["chance"] = [f"{100 * self.chance(name):5.1f}" for name in names]
        cells["n"] = [f"{self.count(name):5d}" for name in names]
        lines = [f"{name:<12}" + "".join(f"{cell:<24}" for cell in row) for name, row in cells.items()]
        guessed = f" {self.heads_by_fallback} head words were guessed." if self.heads_by_fallback else ""
        lines.append(f"95% intervals over documents. Chance: any other word of the window.{guessed}")
        return "\n".join([repr(self), *(line.rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each type and baseline; `low` and `high` bound the 95 % interval over documents."""
        rows = []
        for name in ("all", *self.type_names()):
            ci = self._interval(name) if len(self) else None
            for i, baseline in enumerate(BASELINES):
                rows.append(
                    {
                        "type": name,
                        "baseline": baseline,
                        "count": self.count(name),
                        "accuracy": self.accuracy(baseline, name),
                        "low": float(ci.low[i]) if ci else float("nan"),
                        "high": float(ci.high[i]) if ci else float("nan"),
                    }
                )
        return rows

    def _instances(self, mention_type: str) -> Numpy:
        if mention_type == "all":
            return np.arange(len(self))
        if mention_type not in self.type_names():
            known = ", ".join(("all", *self.type_names()))
            raise SelectionError(f"no instance has the type {mention_type!r}; there are {known}")
        return np.flatnonzero(self.type == MENTION_TYPES.index(mention_type))

    def _interval(self, mention_type: str) -> BootstrapInterval:
        """Of all baselines."""
        found, counts = self.by_document(mention_type)
        return bootstrap_ci(found, counts)

    def _kept(self, documents: Any) -> Numpy:
        """bool `[document]`: those asked for by number or mask."""
        asked = np.asarray(documents)
        kept = np.zeros(len(self.documents), dtype=bool)
        try:
            kept[asked if asked.size or asked.dtype == bool else []] = True
        except IndexError:
            raise SelectionError(
                f"documents must be numbers from 0 to {len(self.documents) - 1}, or one True or False for each, but "
                f"are {documents!r:.60}"
            ) from None
        return kept

    def _tally(self, name: str) -> int:
        return int(self.tallies[:, _TALLIES.index(name)].sum())

    def _state(self) -> dict[str, Any]:
        return {"documents": self.documents} | {n: getattr(self, n).tolist() for n in (*_COLUMNS, "tallies")}

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls(**state)


def coreference_baselines(documents: Iterable[Document | DocumentWindow], /) -> CoreferenceBaselines:
    """How often simple rules find an antecedent of a mention (Clark et al. 2019, section 4.3 and Table 2).

    Scored are mentions with an antecedent: a mention of the same entity whose head word stands before theirs, in the
    same window. A rule chooses one of all mentions whose head words stand before, and is right if that is the head word
    of an antecedent:

    - "nearest": the nearest;
    - "same_head": the nearest with the same head word, lower-cased; of none it is wrong;
    - "rule_based": the nearest one with the same words, lower-cased; of none, with the same head word; of none, with
      compatible number, gender and person (see `mention_attributes`); of none, the nearest.

    Args:
        documents: with their mentions, such as `readers.read_corefud` gives; or windows of them, to compare with heads
            that see no more: `windows(documents, max_tokens=128, tokenizer=tokenizer)`.

    Raises:
        ValidationError: nothing given, something that is no document, two documents of one name or a window twice, or
            no mentions at all.

    Examples:
        >>> from bertattn.annotation import Mention, Sentence
        >>> words = "Anna met Tom before she left him".split()
        >>> entities = {0: "Anna", 2: "Tom", 4: "Anna", 6: "Tom"}
        >>> document = Document([Sentence(words)], [Mention(i, i + 1, name) for i, name in entities.items()])
        >>> baselines = coreference_baselines([document])
        >>> baselines.count(), baselines.accuracy("nearest"), baselines.accuracy("rule_based")
        (2, 0.0, 1.0)
    """
    if isinstance(documents, Document | DocumentWindow):
        name = type(documents).__name__
        raise ValidationError(f"documents is one {name}; give a list: [document]")
    parts = []
    for x in documents:
        if not isinstance(x, Document | DocumentWindow):
            raise ValidationError(
                f"baselines are made of documents with mentions, or windows of them, but got {x!r:.60}; read some with "
                "readers.read_corefud or readers.read_conll2012"
            )
        window = DocumentWindow(x.sentences, x.mentions, x.id) if isinstance(x, Document) else x
        parts.append(baselines_of_window(window, instances_of(window)))
    baselines, _ = joined(parts)
    if not baselines.windows:
        raise ValidationError("there are no documents; was an iterator read to its end before?")
    if not baselines.mentions:
        raise ValidationError(
            f"none of the {baselines.windows} documents has a mention; read their coreference too, with "
            "readers.read_corefud or readers.read_conll2012"
        )
    return baselines


@dataclass(frozen=True)
class Instances:
    """The mentions of one window that have an antecedent, in the order of their head words.

    Args:
        mention: for each instance the number of its mention in `window.mentions`.
        head_word, start, end: for each instance its words, numbered in the window.
        type: for each instance the number of its type in `MENTION_TYPES`.
        right: for each instance the head words of its antecedents, in increasing order.
        mention_words: the head words of all mentions, each once, in increasing order.
        heads: the head word of each mention of the window.
        mentions, same_head, by_fallback, dropped: how many mentions there are, share their head word with an earlier
            one of the same entity, have a guessed head word, and were left out at the window's edges.
    """

    mention: Numpy
    head_word: Numpy
    start: Numpy
    end: Numpy
    type: Numpy
    right: list[Numpy]
    mention_words: Numpy
    heads: MentionHeads
    mentions: int
    same_head: int
    by_fallback: int
    dropped: int


def instances_of(window: DocumentWindow) -> Instances:
    """The mentions with an antecedent: one of the same entity whose head word stands before theirs."""
    heads = mention_heads(window)
    types = mention_types(window, heads)
    words: dict[str, set[int]] = {}
    for mention, head in zip(window.mentions, heads.words, strict=True):
        words.setdefault(mention.entity, set()).add(head)
    of_entity = {entity: np.array(sorted(numbers), dtype=np.int64) for entity, numbers in words.items()}
    chosen = [i for i, m in enumerate(window.mentions) if heads.words[i] > of_entity[m.entity][0]]
    mentions = window.mentions
    chosen.sort(key=lambda i: (heads.words[i], mentions[i].start, mentions[i].end, mentions[i].entity))
    head_word = np.array([heads.words[i] for i in chosen], dtype=np.int64)
    right = []
    for i, word in zip(chosen, head_word, strict=True):
        answers = of_entity[mentions[i].entity]
        right.append(answers[: np.searchsorted(answers, word)])
    return Instances(
        mention=np.array(chosen, dtype=np.int64),
        head_word=head_word,
        start=np.array([mentions[i].start for i in chosen], dtype=np.int64),
        end=np.array([mentions[i].end for i in chosen], dtype=np.int64),
        type=np.array([MENTION_TYPES.index(types[i]) for i in chosen], dtype=np.int64),
        right=right,
        mention_words=np.unique(np.array(heads.words, dtype=np.int64)),
        heads=heads,
        mentions=len(mentions),
        same_head=len(mentions) - sum(map(len, of_entity.values())),
        by_fallback=heads.by_fallback,
        dropped=window.dropped_mentions,
    )


def _baselines_of(window: DocumentWindow, instances: Instances) -> Numpy:
    """bool `[instance, baseline]`: whether each baseline chooses a right word."""
    sieves = _sieves(window, instances.heads)[instances.mention]
    chosen = np.stack([sieves[:, 3], sieves[:, 1], _rule_based(sieves)], axis=1)
    found = np.zeros(chosen.shape, dtype=bool)
    for i, right in enumerate(instances.right):
        found[i] = np.isin(chosen[i], right)
    return found


def _sieves(window: DocumentWindow, heads: MentionHeads) -> Numpy:
    """int `[mention, 4]`: the nearest head word before the mention's of a mention with the same words, with the same
    head word, with compatible attributes, and of any; -1 where there is none.
    """
    forms = [word.lower() for word in window.words]
    attributes = mention_attributes(window, heads)
    texts = [tuple(forms[word] for word in mention.words) for mention in window.mentions]
    nearest = np.full((len(texts), 4), -1, dtype=np.int64)
    # The last head word, so far, of mentions with such words, head word or attributes.
    by_text: dict[tuple[str, ...], int] = {}
    by_form: dict[str, int] = {}
    by_attributes: dict[MentionAttributes, int] = {}
    at_word: dict[int, list[int]] = {}
    for i, word in enumerate(heads.words):
        at_word.setdefault(word, []).append(i)
    last = -1
    for word in sorted(at_word):
        for i in at_word[word]:
            compatible = (at for other, at in by_attributes.items() if attributes[i].compatible(other))
            nearest[i] = (by_text.get(texts[i], -1), by_form.get(forms[word], -1), max(compatible, default=-1), last)
        for i in at_word[word]:
            by_text[texts[i]] = by_form[forms[word]] = by_attributes[attributes[i]] = last = word
    return nearest


def _rule_based(sieves: Numpy, order: Sequence[int] = (0, 1, 2, 3)) -> Numpy:
    """int `[mention]`: what the first sieve chooses that chooses any; -1 where none does."""
    chosen = np.full(len(sieves), -1, dtype=np.int64)
    for sieve in reversed(order):
        chosen = np.where(sieves[:, sieve] >= 0, sieves[:, sieve], chosen)
    return chosen


def baselines_of_window(window: DocumentWindow, instances: Instances) -> CoreferenceBaselines:
    """The baselines of one window; `joined` puts those of several together."""
    one = instances
    n, before = len(one.mention), np.searchsorted(one.mention_words, one.head_word)
    candidates = (np.full(n, len(window) - 1), one.head_word, before, np.full(n, len(one.mention_words) - 1))
    return CoreferenceBaselines(
        (window.document,),
        document=np.zeros(n),
        type=one.type,
        start=one.start + window.first_word,
        end=one.end + window.first_word,
        head_word=one.head_word + window.first_word,
        answers=np.array([len(right) for right in one.right]),
        candidates=np.stack(candidates, axis=1),
        found=_baselines_of(window, one),
        tallies=np.array([(1, one.mentions, one.dropped, one.same_head, one.by_fallback)]),
    )


def joined(parts: Sequence[CoreferenceBaselines]) -> tuple[CoreferenceBaselines, Numpy]:
    """The corpora as one, and for each of its instances the number among those of all parts, one after another.

    Raises:
        ValidationError: a word of one document is in two parts.
    """
    names: list[str | None] = []
    numbers: dict[str, int] = {}
    columns: dict[str, list[Numpy]] = {name: [np.zeros((0, *_WIDTHS.get(name, ())), np.int32)] for name in _COLUMNS}
    tallies: list[Numpy] = []
    for part in parts:
        mine = []
        for name, tally in zip(part.documents, part.tallies, strict=True):
            number = len(names) if name is None else numbers.setdefault(name, len(names))
            if number == len(names):
                names.append(name)
                tallies.append(np.zeros_like(tally))
            tallies[number] = tallies[number] + tally
            mine.append(number)
        for column in _COLUMNS:
            values = getattr(part, column)
            columns[column].append(np.array(mine, dtype=np.int32)[values] if column == "document" else values)
    whole = {name: np.concatenate(values) for name, values in columns.items()}
    _refuse_twice(whole, np.repeat(np.arange(len(parts)), [len(part) for part in parts]), names)
    order = np.argsort(whole["document"], kind="stable")
    whole = {name: values[order] for name, values in whole.items()}
    return CoreferenceBaselines(documents=tuple(names), tallies=np.array(tallies), **whole), order


def _refuse_twice(columns: dict[str, Numpy], part: Numpy, names: Sequence[str | None]) -> None:
    """Windows of one document have no words in common, so that no head word stands in two parts."""
    places = np.unique(np.column_stack([columns["document"], columns["head_word"], part]), axis=0)
    again = (np.diff(places[:, :2], axis=0) == 0).all(axis=1)
    if again.any():
        raise ValidationError(
            f"words of the document {names[places[:-1][again][0, 0]]!r} are counted twice, or two documents have this "
            "name; take each window once, and give each Document an id of its own"
        )


def _place(name: str, value: Any, known: tuple[Any, ...]) -> int:
    one_of(name, value, known)
    return known.index(value)
