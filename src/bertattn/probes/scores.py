"""Predicted governors beside the gold ones: unlabelled attachment, by relation, with intervals and comparisons."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.annotation import Sentence
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import Subtypes, Use, one_of
from bertattn.heads._rows import Rows
from bertattn.results import Result
from bertattn.statistics import BootstrapInterval, adjust_pvalues, bootstrap_ci, paired_permutation_test

__all__ = ["GovernorDifference", "GovernorScores", "RelationDifference", "score_governors"]

Unit: TypeAlias = Literal["sentence", "document"]

OPTIONS: Final = ("punct", "root", "subtypes")
OF_WORDS: Final = ("relation", "sentence", "position", "governor", "predicted")


@dataclass(frozen=True, eq=False, repr=False)
class GovernorScores(Result):
    """The governors that something predicts for the words of a corpus, beside the gold ones; it adds.

        UAS(relation) = words of the relation whose predicted governor is the gold one / words of the relation

    `a + b` is the two corpora as one; of many parts `joined` makes one at once. The options `punct`, `root` and
    `subtypes` say how the words are counted, not what was predicted: change them with `counting`.

    Args:
        relations: the names of the relations, in the order of the alphabet.
        relation: for each word that has a gold governor the number of its relation.
        sentence: for each of these words the number of its sentence, from 0.
        position, governor, predicted: for each of these words its number in the sentence, that of its gold governor and
            that of the predicted one, counted from 1; 0 is the root, -1 no prediction.
        lengths: for each sentence its number of words.
        ids, documents: for each sentence its name and that of its document, or None.
        name: of what predicted them, such as "attention".
        punct, root, subtypes: what is counted: see `counting`.
        without_governor: words that have no gold governor, left out.

    Raises:
        ValidationError: no sentences, columns that do not fit each other, numbers out of range, an unknown option.
    """

    relations: tuple[str, ...]
    relation: Numpy
    sentence: Numpy
    position: Numpy
    governor: Numpy
    predicted: Numpy
    lengths: Numpy
    ids: tuple[str | None, ...]
    documents: tuple[str | None, ...]
    name: str | None = None
    punct: Use = "exclude"
    root: Use = "include"
    subtypes: Subtypes = "keep"
    without_governor: int = 0

    def __post_init__(self) -> None:
        for name in ("relations", "ids", "documents"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in (*OF_WORDS, "lengths"):
            object.__setattr__(self, name, _arrays.read_only(np.asarray(getattr(self, name), dtype=np.int32)))
        for name in OF_WORDS:
            if getattr(self, name).shape != self.relation.shape or self.relation.ndim != 1:
                raise ValidationError(f"{name} has shape {getattr(self, name).shape} but one number a word is needed")
        if not len(self.ids) == len(self.documents) == self.sentences:
            raise ValidationError(
                f"there are {self.sentences} lengths of sentences but {len(self.ids)} ids and {len(self.documents)} "
                "documents"
            )
        if not self.sentences:
            raise ValidationError("there are no sentences; was an iterator read to its end before?")
        for name, least, most in (
            ("relation", 0, len(self.relations) - 1),
            ("sentence", 0, self.sentences - 1),
            ("position", 1, None),
            ("governor", 0, None),
            ("predicted", -1, None),
        ):
            numbers = getattr(self, name)
            limit = np.broadcast_to(self.lengths[self.sentence] if most is None else most, numbers.shape)
            wrong = np.flatnonzero((numbers < least) | (numbers > limit))
            if len(wrong):
                at = wrong[0]
                raise ValidationError(f"{name} of word {at} must be from {least} to {limit[at]}, but is {numbers[at]}")
        for name, kind in (("punct", Use), ("root", Use), ("subtypes", Subtypes)):
            one_of(name, getattr(self, name), get_args(kind))

    @property
    def sentences(self) -> int:
        """Number of sentences."""
        return len(self.lengths)

    def counting(
        self, *, punct: Use | None = None, root: Use | None = None, subtypes: Subtypes | None = None
    ) -> GovernorScores:
        """The same predictions with other words counted.

        Args:
            punct: "exclude" leaves out words with the relation `punct`, as the paper does.
            root: "exclude" leaves out words whose governor is the root.
            subtypes: "fold" counts `nmod:poss` as `nmod`.

        Raises:
            ValidationError: anything else.
        """
        return dataclasses.replace(
            self,
            punct=self.punct if punct is None else punct,
            root=self.root if root is None else root,
            subtypes=self.subtypes if subtypes is None else subtypes,
        )

    def relation_names(self) -> tuple[str, ...]:
        """The relations that are counted, frequent ones first."""
        return self._labels()[0]

    def count(self, relation: str = "all") -> int:
        """Number of words of a relation; "all" are all words that are counted.

        Raises:
            SelectionError: no word has it.
        """
        return int(self.by_sentence(relation)[1].sum())

    def correct(self, relation: str = "all") -> int:
        """How many words of a relation have the right governor.

        Raises:
            SelectionError: no word has it.
        """
        return int(self.by_sentence(relation)[0].sum())

    def uas(self, relation: str = "all") -> float:
        """The fraction of a relation's words that have the right governor; NaN where no word at all is counted.

        Raises:
            SelectionError: no word has the relation.
        """
        return self.correct(relation) / (self.count(relation) or float("nan"))

    def by_sentence(self, relation: str = "all") -> tuple[Numpy, Numpy]:
        """What resampling needs: int `[sentence]` right and int `[sentence]` words.

        Raises:
            SelectionError: no word has the relation.
        """
        names, right, words = self._by_unit("sentence")
        column = self._columns(names, [relation])[0]
        return right[:, column], words[:, column]

    def interval(
        self,
        relation: str = "all",
        *,
        unit: Unit = "sentence",
        level: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
    ) -> BootstrapInterval:
        """Bootstrap interval of the UAS.

        Args:
            relation: its name; "all" are all words that are counted.
            unit: what is drawn as a whole: sentences, or documents, whose sentences have their subject in common.
            level, resamples, seed: as for `bertattn.statistics.bootstrap_ci`.

        Raises:
            SelectionError: no word has the relation.
            ValidationError: as `bootstrap_ci`; sentences that do not say which documents they are from.
        """
        names, right, words = self._by_unit(unit)
        column = self._columns(names, [relation])[0]
        return bootstrap_ci(right[:, column], words[:, column], level=level, resamples=resamples, seed=seed)

    def compare(
        self,
        other: GovernorScores,
        /,
        *,
        relations: Sequence[str] | None = None,
        min_count: int = 100,
        unit: Unit = "sentence",
        level: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
    ) -> GovernorDifference:
        """How much better these predictions are than others of the same words, for all words and by relation.

        Args:
            other: predictions for the same words, counted in the same way.
            relations: which to compare; None takes "all" and those with `min_count` words.
            min_count: the paper's code has 100.
            unit: what is drawn, and whose signs are flipped, as a whole.
            level, resamples, seed: of intervals and tests; tests draw 9999 signs at least.

        Raises:
            ValidationError: other sentences, gold governors or options.
            SelectionError: a relation that no word has.
        """
        refuse_other_words(self, other)
        names, right, words = self._by_unit(unit)
        wanted = [name for name, n in zip(names, words.sum(0), strict=True) if n >= min_count or name == "all"]
        columns = self._columns(names, wanted if relations is None else relations)
        n, a, b = words[:, columns], right[:, columns], other._by_unit(unit)[1][:, columns]
        interval = bootstrap_ci(a - b, n, level=level, resamples=resamples, seed=seed)
        p = paired_permutation_test(a - b, n, alternative="two-sided", resamples=max(resamples, 9999), seed=seed).p
        counts = n.sum(0)
        of_a, of_b = (found.sum(0) / np.where(counts, counts, np.nan) for found in (a, b))
        adjusted = adjust_pvalues(p, method="holm")
        numbers = np.array([of_a, of_b, interval.estimate, interval.low, interval.high, p, adjusted])
        rows = tuple(
            RelationDifference(names[column], int(count), *values)
            for column, count, values in zip(columns, counts, numbers.T.tolist(), strict=True)
        )
        options = {name: getattr(self, name) for name in OPTIONS}
        return GovernorDifference(rows, self.name, other.name, unit, level, resamples, seed, **options)

    def select(self, sentences: Any, /) -> GovernorScores:
        """The scores of some sentences; the others are as if they had not been there.

        Args:
            sentences: their numbers, or a boolean mask; each is counted once, in the order of the corpus.

        Raises:
            SelectionError: numbers of no sentences, a mask of another length, or none at all.
        """
        kept = np.zeros(self.sentences, dtype=bool)
        try:
            kept[sentences] = True
        except IndexError:
            kept[:] = False
        if not kept.any():
            raise SelectionError(
                f"sentences must be numbers from 0 to {self.sentences - 1}, at least one, or one True or False for "
                f"each, but are {sentences!r:.60}"
            )
        words = kept[self.sentence]
        columns: dict[str, Any] = {name: getattr(self, name)[words] for name in OF_WORDS}
        return dataclasses.replace(
            self,
            **columns | {"sentence": (np.cumsum(kept) - 1)[columns["sentence"]]},
            lengths=self.lengths[kept],
            ids=tuple(name for name, keep in zip(self.ids, kept, strict=True) if keep),
            documents=tuple(name for name, keep in zip(self.documents, kept, strict=True) if keep),
            without_governor=int(self.lengths[kept].sum() - words.sum()),
        )

    @classmethod
    def joined(cls, parts: Iterable[GovernorScores], /) -> GovernorScores:
        """The corpora as one, in their order: the sum of all parts, in one step.

        Raises:
            ValidationError: no parts, other options, or another predictor's.
        """
        given = tuple(parts)
        if not given:
            raise ValidationError("there are no parts to join; was an iterator read to its end before?")
        first = given[0]
        for part in given:
            for name in ("name", *OPTIONS):
                if getattr(part, name) != getattr(first, name):
                    raise ValidationError(
                        f"scores of different {name} do not add: {getattr(first, name)!r} and {getattr(part, name)!r}"
                    )
        names = sorted({name for part in given for name in part.relations})
        number = {name: i for i, name in enumerate(names)}
        starts = np.cumsum([0, *(part.sentences for part in given)])
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in given]) for name in (*OF_WORDS, "lengths")
        }
        columns["relation"] = np.concatenate(
            [np.array([number[name] for name in part.relations], dtype=np.int32)[part.relation] for part in given]
        )
        columns["sentence"] = np.concatenate(
            [part.sentence + start for part, start in zip(given, starts[:-1], strict=True)]
        )
        return dataclasses.replace(
            first,
            **columns,
            relations=tuple(names),
            ids=tuple(name for part in given for name in part.ids),
            documents=tuple(name for part in given for name in part.documents),
            without_governor=sum(part.without_governor for part in given),
        )

    def __add__(self, other: object) -> GovernorScores:
        """The two corpora as one; `sum` of very many is slow, `joined` is not.

        Raises:
            ValidationError: other options, or another predictor's.
        """
        return self.joined([self, other]) if isinstance(other, GovernorScores) else NotImplemented

    def __radd__(self, other: object) -> GovernorScores:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, GovernorScores) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        name = f"{self.name}: " if self.name else ""
        return (
            f"GovernorScores({name}{100 * self.uas():.1f}% UAS of {self.count()} words in {self.sentences} sentences)"
        )

    def __str__(self) -> str:
        """A table of all relations, in percent."""
        lines = [f"{'relation':<14}{'UAS':>8}  {'95% interval':<14}{'n':>8}"]
        for row in self.to_records():
            interval = f"{100 * row['low']:.1f} to {100 * row['high']:.1f}" if row["sentences"] > 1 else ""
            lines.append(f"{row['relation']:<14}{100 * row['uas']:8.1f}  {interval:<14}{row['count']:8d}")
        left_out = [f"{name} left out" for name in ("punct", "root") if getattr(self, name) == "exclude"]
        lines.append("; ".join(["Intervals over sentences", *left_out]) + ".")
        return "\n".join([repr(self), *lines])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_records(self) -> list[dict[str, Any]]:
        """One row for all words and one for each relation, frequent ones first.

        `low` and `high` bound the 95 % interval over sentences; below 10 sentences with the relation it says little.
        """
        names, right, words = self._by_unit("sentence")
        interval = bootstrap_ci(right, words)
        return [
            {
                "relation": name,
                "count": int(words[:, i].sum()),
                "correct": int(right[:, i].sum()),
                "uas": float(interval.estimate[i]),
                "low": float(interval.low[i]),
                "high": float(interval.high[i]),
                "sentences": int(interval.units_with_data[i]),
            }
            for i, name in enumerate(names)
        ]

    def _labels(self) -> tuple[tuple[str, ...], Numpy]:
        """The relations that are counted, frequent ones first, and for each word the number of its own or -1."""
        bare = [name.partition(":")[0] for name in self.relations]
        labels = bare if self.subtypes == "fold" else list(self.relations)
        names = sorted(set(labels))
        label = np.array([names.index(name) for name in labels], dtype=np.int64)[self.relation]
        counted = np.ones(len(label), dtype=bool)
        if self.punct == "exclude":
            counted &= np.array([name != "punct" for name in bare], dtype=bool)[self.relation]
        if self.root == "exclude":
            counted &= self.governor != 0
        counts = np.bincount(label[counted], minlength=len(names))
        order = [i for i in np.lexsort((np.arange(len(names)), -counts)) if counts[i]]
        place = np.full(len(names), -1)
        place[order] = np.arange(len(order))
        return tuple(names[i] for i in order), np.where(counted, place[label], -1)

    def _by_unit(self, unit: Unit) -> tuple[tuple[str, ...], Numpy, Numpy]:
        """("all", *relations), int `[unit, relation]` right, int `[unit, relation]` words."""
        names, label = self._labels()
        units = self._units(unit)
        shape = (int(units.max()) + 1, len(names))

        def counts(words: Numpy) -> Numpy:
            cell = units[self.sentence[words]] * len(names) + label[words]
            table = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
            return np.column_stack([table.sum(1), table])

        return ("all", *names), counts((label >= 0) & (self.predicted == self.governor)), counts(label >= 0)

    def _units(self, unit: Unit) -> Numpy:
        """int `[sentence]`: the number, from 0, of what it is drawn with."""
        one_of("unit", unit, get_args(Unit))
        if unit == "sentence":
            return np.arange(self.sentences)
        if None in self.documents:
            raise ValidationError("the sentences do not say which documents they are from; pass unit='sentence'")
        numbers: dict[str | None, int] = {}
        return np.array([numbers.setdefault(name, len(numbers)) for name in self.documents])

    def _columns(self, names: tuple[str, ...], asked: Sequence[str]) -> list[int]:
        if isinstance(asked, str):
            raise ValidationError(f"relations must be a sequence of names, but is {asked!r}; write [{asked!r}]")
        for name in asked:
            if name not in names:
                raise SelectionError(f"no word that is counted has the relation {name!r}; there are {', '.join(names)}")
        return [names.index(name) for name in asked]

    def _state(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return state | {name: state[name].tolist() for name in (*OF_WORDS, "lengths")}

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls(**state)


@dataclass(frozen=True)
class RelationDifference:
    """Two predictors on the words of one relation.

    Args:
        relation, count: of which words; "all" for all.
        uas_a, uas_b: of either.
        difference: UAS of a minus that of b.
        low, high: its bootstrap interval, paired by sentence (or document).
        p: two-sided sign-flip test, by sentence (or document).
        adjusted_p: Holm's adjustment for the number of rows.
    """

    relation: str
    count: int
    uas_a: float
    uas_b: float
    difference: float
    low: float
    high: float
    p: float
    adjusted_p: float


@dataclass(frozen=True, repr=False)
class GovernorDifference(Rows):
    """Two predictors on the same words, relation by relation; see `GovernorScores.compare`.

    Args:
        rows: a `RelationDifference` each.
        name_a, name_b: the predictors' names.
        unit: what was resampled.
        level, resamples, seed: of intervals and tests.
        punct, root, subtypes: which words were counted.
    """

    rows: tuple[RelationDifference, ...]
    name_a: str | None = None
    name_b: str | None = None
    unit: Unit = "sentence"
    level: float = 0.95
    resamples: int = 2000
    seed: int = 0
    punct: Use = "exclude"
    root: Use = "include"
    subtypes: Subtypes = "keep"

    def __getitem__(self, relation: str) -> RelationDifference:
        """The row of one relation.

        Raises:
            SelectionError: there is none.
        """
        for row in self.rows:
            if row.relation == relation:
                return row
        raise SelectionError(f"there is no row for {relation!r}; there are {', '.join(r.relation for r in self.rows)}")

    def __repr__(self) -> str:
        return f"GovernorDifference({self.name_a or 'a'} less {self.name_b or 'b'}, {len(self.rows)} rows)"

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls._restored(state, RelationDifference)


def score_governors(
    sentences: Iterable[Sentence],
    governors: Iterable[Sequence[int | None]],
    /,
    *,
    name: str | None = None,
    y: Iterable[Sequence[int | None]] | None = None,
    punct: Use = "exclude",
    root: Use = "include",
    subtypes: Subtypes = "keep",
) -> GovernorScores:
    """Predicted governors beside the gold ones, whatever predicted them: a probe, a baseline, another parser.

    Words that the treebank gives no governor are left out and counted.

    Args:
        sentences: with their trees.
        governors: for each sentence one number a word, counted from 1; 0 for the root, None or -1 for no prediction,
            which is wrong. A word may be its own governor, which is wrong too.
        name: of what predicted them.
        y: what is right, one sequence a sentence, in place of the trees: for control tasks. A word may be its own
            governor; None leaves it out.
        punct, root, subtypes: which words count: see `GovernorScores.counting`. UAS in the paper leaves out punctuation
            and counts the root word.

    Raises:
        ValidationError: no sentences, another number of sequences or of words, numbers of no word, no gold governor
            at all, an unknown option.

    Examples:
        >>> from bertattn.heads import right_branching
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
        >>> scores = score_governors([tree], [right_branching(tree)], name="right-branching")
        >>> scores
        GovernorScores(right-branching: 33.3% UAS of 3 words in 1 sentences)
        >>> scores.uas("nsubj"), scores.uas("obj"), scores.counting(root="exclude").uas()
        (1.0, 0.0, 0.5)
    """
    trees = tuple(sentences)
    for sentence in trees:
        if not isinstance(sentence, Sentence):
            raise ValidationError(f"governors are scored on Sentences, but one is a {type(sentence).__name__}")
    gold: Iterable[Any] = (s.governors or (None,) * len(s) for s in trees)
    right = _numbers("y" if y is not None else "gold", gold if y is None else y, trees)
    found = _numbers("governors", governors, trees)
    lengths = np.array([len(sentence) for sentence in trees], dtype=np.int64)
    labels = [relation or "_" for s in trees for relation in s.relations or (None,) * len(s)]
    known = np.flatnonzero(right >= 0)
    if trees and not len(known):
        raise ValidationError(
            f"none of the {len(labels)} words has a gold governor; read the sentences with readers.read_conllu, or "
            "give y"
        )
    names = sorted({labels[i] for i in known})
    number = {label: i for i, label in enumerate(names)}
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    return GovernorScores(
        tuple(names),
        relation=np.array([number[labels[i]] for i in known]),
        sentence=np.repeat(np.arange(len(trees)), lengths)[known],
        position=(np.arange(len(labels)) - starts + 1)[known],
        governor=right[known],
        predicted=found[known],
        lengths=lengths,
        ids=tuple(sentence.id for sentence in trees),
        documents=tuple(sentence.document for sentence in trees),
        name=name,
        punct=punct,
        root=root,
        subtypes=subtypes,
        without_governor=len(labels) - len(known),
    )


def refuse_other_words(a: GovernorScores, b: GovernorScores) -> None:
    """Scores can be compared if they are of the same words, counted in the same way.

    Raises:
        ValidationError: they are not.
    """
    if not isinstance(b, GovernorScores):
        raise ValidationError(f"GovernorScores are compared with GovernorScores, but one is a {type(b).__name__}")
    named = [np.array(one.relations, dtype=object)[one.relation] for one in (a, b)]
    columns = {name: (getattr(a, name), getattr(b, name)) for name in ("ids", "lengths", "sentence", "position")}
    for name, (one, two) in (columns | {"governor": (a.governor, b.governor), "relation": tuple(named)}).items():
        if not np.array_equal(one, two):
            raise ValidationError(
                f"the two scores are of other words (their {name} differs); score both on the same sentences"
            )
    for name in OPTIONS:
        if getattr(a, name) != getattr(b, name):
            raise ValidationError(
                f"the two scores count other words: {name} is {getattr(a, name)!r} and {getattr(b, name)!r}"
            )


def _numbers(name: str, columns: Iterable[Sequence[int | None]], sentences: Sequence[Sentence]) -> Numpy:
    """int `[word]` of all sentences, -1 for None."""
    given = [_arrays.column(name, column, entry="word") for column in columns]
    if len(given) != len(sentences):
        raise ValidationError(f"{name} are of {len(given)} sentences but there are {len(sentences)}")
    for i, (column, sentence) in enumerate(zip(given, sentences, strict=True)):
        if len(column) != len(sentence):
            raise ValidationError(f"{name} of sentence {i} are of {len(column)} words but it has {len(sentence)}")
        for number in column:
            if number is not None and (type(number) is not int or not -1 <= number <= len(sentence)):
                raise ValidationError(
                    f"{name} of sentence {i} must be numbers from 1 to {len(sentence)}, 0 for the root or None, but "
                    f"one is {number!r}"
                )
    return np.array([-1 if number is None else number for column in given for number in column], dtype=np.int64)
