"""What a probe's accuracy must be held against: a task of chance that it could learn by heart.

A probe that is strong enough learns anything. Control tasks (Hewitt and Liang 2019) ask how much of its accuracy that
explains.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.annotation import Sentence
from bertattn.errors import ValidationError
from bertattn.heads._options import Use, one_of
from bertattn.probes._data import ProbeData, prepare
from bertattn.results import Result
from bertattn.statistics import BootstrapInterval, bootstrap_ci
from bertattn.tensor import AttentionTensor

__all__ = [
    "Selectivity",
    "control_ceiling",
    "control_governors",
    "selectivity",
]

Governors: TypeAlias = tuple[int | None, ...]
Corpus: TypeAlias = Iterable[AttentionTensor] | Iterable[Sentence] | ProbeData

# How far the probabilities of a word's candidates may be from 1 together, for rounding.
TOLERANCE = 1e-3


def control_governors(
    sentences: Iterable[Sentence], /, *, seed: int, root: Use = "exclude", lowercase: bool = False
) -> tuple[Governors, ...]:
    """The control task for dependencies: every word type always hangs on itself, on the first or on the last word.

    Each type draws one of the three with the same probability (Hewitt and Liang 2019), and so it does in
    every sentence of every corpus, unseen types too: the draw is a function of the type and the seed alone,

        BLAKE2b of "seed type" in UTF-8, 8 bytes, as a big-endian number modulo 3

    so a probe can learn it only by heart, type by type.

    Args:
        sentences: with their gold trees.
        seed: another one is another control task.
        root: "exclude" gives the root word none, as it is not counted by Hewitt and Liang in the real task (their code
            does give it one in the control task); "include" gives it one like any other word.
        lowercase: take types that differ in case alone as one.

    Returns:
        For each sentence the governor of each word, counted from 1; a word may be its own. None where the real task has
        no governor, and for the root word: both tasks are scored on the same words.

    Raises:
        ValidationError: something that is no Sentence, a seed that is no whole number from 0, an unknown option.

    Examples:
        >>> tree = Sentence(["Dogs", "chase", "cats", "and", "cats", "dogs"], governors=[2, 0, 2, 5, 3, 5])
        >>> control_governors([tree], seed=3)
        ((6, None, 1, 6, 1, 1),)
    """
    one_of("root", root, get_args(Use))
    check_seed(seed)
    return tuple(
        tuple(
            (i + 1, 1, len(sentence))[_drawn(word_type, seed)] if counts else None
            for i, (word_type, counts) in enumerate(
                zip(_types(sentence, lowercase), _counted(sentence, "include", root), strict=True)
            )
        )
        for sentence in _checked(sentences)
    )


def control_ceiling(
    train: Iterable[Sentence],
    test: Iterable[Sentence],
    /,
    *,
    punct: Use = "exclude",
    root: Use = "exclude",
    lowercase: bool = False,
) -> float:
    """How well a control task can be learned: the fraction of the words of test whose type occurs in train.

    The other words can only be guessed.

    Args:
        train, test: sentences; those of test with their gold trees.
        punct, root: "exclude" leaves out the words of test with the relation `punct`, and root words. Words without a
            governor never count.
        lowercase: take types that differ in case alone as one.

    Returns:
        The fraction, as `Selectivity.ceiling`; NaN where no word of test counts.

    Raises:
        ValidationError: something that is no Sentence, an unknown option.

    Examples:
        >>> trees = [Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2])]
        >>> control_ceiling(trees, [Sentence(["Cats", "chase", "cats"], governors=[2, 0, 2])])
        0.5
    """
    one_of("punct", punct, get_args(Use))
    one_of("root", root, get_args(Use))
    test = _checked(test)
    counted = [_counted(sentence, punct, root) for sentence in test]
    known = _known(_checked(train), test, counted, lowercase)
    total = sum(map(sum, counted))
    return sum(known) / total if total else float("nan")


@dataclass(frozen=True, repr=False)
class Selectivity(Result):
    """A probe's accuracy beside that on a control task, as counts of each sentence; see `selectivity`.

    Args:
        task_correct, control_correct: for each sentence how many words get their gold governor, and how many that of
            the control task.
        known: how many are of a type that occurs in training.
        total: how many words count, the same in both tasks.
        trained_on: number of sentences that the probes were trained on.
        skipped: how many inputs the stream of test left out, as too long or not aligned.
        probe: what was trained.
        seed: of the control task.
        punct, root, lowercase: the options of `selectivity`.

    Raises:
        ValidationError: counts that do not fit one another.
    """

    task_correct: tuple[int, ...]
    control_correct: tuple[int, ...]
    known: tuple[int, ...]
    total: tuple[int, ...]
    trained_on: int
    skipped: int = 0
    probe: str = ""
    seed: int = 0
    punct: Use = "exclude"
    root: Use = "exclude"
    lowercase: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", _arrays.column("total", self.total, entry="sentence"))
        for name in ("task_correct", "control_correct", "known"):
            counts = _arrays.column(name, getattr(self, name), entry="sentence")
            object.__setattr__(self, name, counts)
            if len(counts) != len(self.total):
                raise ValidationError(f"{name} has {len(counts)} sentences but total has {len(self.total)}")
            for count, total in zip(counts, self.total, strict=True):
                if not 0 <= count <= total:
                    raise ValidationError(f"{name} cannot be {count} of {total}")

    @property
    def words(self) -> int:
        """How many words were counted."""
        return sum(self.total)

    @property
    def task(self) -> float:
        """The fraction of the words that get their gold governor (UAS)."""
        return self._share(self.task_correct)

    @property
    def control(self) -> float:
        """The fraction of the words that get their governor of the control task."""
        return self._share(self.control_correct)

    @property
    def selectivity(self) -> float:
        """`task - control`."""
        return self.task - self.control

    @property
    def ceiling(self) -> float:
        """The fraction of the words whose type occurs in training: what learning by heart can reach in the control."""
        return self._share(self.known)

    def interval(self, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> BootstrapInterval:
        """Bootstrap intervals over sentences of three cells: task, control and selectivity, in pairs.

        They cover the choice of test sentences, not that of the training data, the seeds or the control task.

        Raises:
            ValidationError: as `bertattn.statistics.bootstrap_ci`.
        """
        task, control = np.array(self.task_correct), np.array(self.control_correct)
        correct = np.stack([task, control, task - control], axis=1)
        return bootstrap_ci(correct, np.array(self.total), level=level, resamples=resamples, seed=seed)

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.total)

    def __repr__(self) -> str:
        return (
            f"Selectivity({self.probe}: {100 * self.task:.1f}% of {self.words} words in {len(self)} sentences, "
            f"{100 * self.control:.1f}% of the control task, selectivity {100 * self.selectivity:.1f})"
        )

    def to_records(self) -> list[dict[str, Any]]:
        """Three rows, with their 95 % interval over sentences, and the ceiling of the control task, which has none."""
        interval = self.interval()
        names = ("task", "control", "selectivity")
        rows = [
            {"measure": name, "value": float(value), "low": float(low), "high": float(high)}
            for name, value, low, high in zip(names, interval.estimate, interval.low, interval.high, strict=True)
        ]
        rows.append({"measure": "ceiling", "value": self.ceiling, "low": float("nan"), "high": float("nan")})
        return [row | {"words": self.words, "sentences": len(self)} for row in rows]

    def _share(self, counts: tuple[int, ...]) -> float:
        return sum(counts) / self.words if self.words else float("nan")

    def _state(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls(**state)


def selectivity(
    probe: Any,
    train: Corpus,
    test: Corpus,
    /,
    *,
    seed: int = 0,
    punct: Use = "exclude",
    root: Use = "exclude",
    lowercase: bool = False,
    progress: bool = False,
) -> Selectivity:
    """How much better a probe learns dependencies than a control task that it can only learn by heart.

        selectivity = accuracy on the task - accuracy on the control task

    (Hewitt and Liang 2019.) Two clones of the probe are trained, one on the gold governors, one on
    `control_governors`, and both predict the likeliest candidate of the same words of `test`; governors are picked one
    by one, not as a tree, since those of the control task make none.

    Args:
        probe: an estimator such as `AttentionProbe()`, fitted or not; it is not changed.
        train, test: maps of annotated sentences, or what `prepare` made of them. Each is read once. A clone that stops
            early holds a part of `train` back for that.
        seed: of the control task.
        punct: "exclude" leaves out words with the relation `punct`, as UAS does.
        root: "exclude" leaves out root words, as Hewitt and Liang do. To compare `task` with the UAS of the other
            probes, which includes them, pass "include".
        lowercase: take types that differ in case alone as one: for a probe that sees words in lower case.
        progress: show a bar over the two clones.

    Raises:
        ValidationError: no estimator, no word of `test` counts, an unknown option; as `prepare`.
        MeasureError, AlignmentError: as `prepare`.

    Examples:
        >>> from bertattn.probes import AttentionProbe
        >>> from bertattn import Extractor, demo, readers
        >>> trees = readers.read_conllu(demo.corpus_path())
        >>> maps = prepare(Extractor.from_pretrained(demo.model_path()).extract(trees))
        >>> half = len(maps) // 2
        >>> found = selectivity(AttentionProbe(), maps.select(range(half)), maps.select(range(half, len(maps))))
        >>> found.task > found.control
        True
    """
    one_of("punct", punct, get_args(Use))
    one_of("root", root, get_args(Use))
    check_seed(seed)
    check_probe(probe)
    train, test = prepare(train), prepare(test)
    counted = [_counted(sentence, punct, root) for sentence in test.sentences]
    if not any(map(any, counted)):
        raise ValidationError(f"none of the words of the {len(test)} test sentences has a governor that counts")
    control, wanted = (
        control_governors(data.sentences, seed=seed, root=root, lowercase=lowercase) for data in (train, test)
    )
    from sklearn.base import clone
    from tqdm import tqdm

    task, chance = (
        _correct(log_probabilities_of(clone(probe).fit(train, y), test), targets, counted)
        for y, targets in tqdm(
            [(None, gold_of(test)), (control, wanted)], disable=not progress, unit="clone", desc="selectivity"
        )
    )
    return Selectivity(
        task,
        chance,
        known=_known(train.sentences, test.sentences, counted, lowercase),
        total=tuple(map(sum, counted)),
        trained_on=len(train),
        skipped=len(test.skipped),
        probe=type(probe).__name__,
        seed=seed,
        punct=punct,
        root=root,
        lowercase=lowercase,
    )


def _correct(
    found: Sequence[Numpy], targets: Sequence[Governors], counted: Sequence[Sequence[bool]]
) -> tuple[int, ...]:
    """For each sentence at how many of the words that count the target is the likeliest candidate."""
    return tuple(
        sum(
            counts and best == target for best, target, counts in zip(one.argmax(1).tolist(), *of_sentence, strict=True)
        )
        for one, *of_sentence in zip(found, targets, counted, strict=True)
    )


def log_probabilities_of(fitted: Any, data: ProbeData) -> list[Numpy]:
    """What the probe gives for each sentence, if these are logarithms of probabilities."""
    found = [np.asarray(one, dtype=np.float64) for one in fitted.predict_log_proba(data)]
    for one, sentence in zip(found, data.sentences, strict=True):
        shape = (len(sentence), len(sentence) + 1)
        with np.errstate(over="ignore"):
            sums = np.exp(one).sum(axis=-1)
        if one.shape != shape or not (abs(sums - 1) < TOLERANCE).all():
            raise ValidationError(
                f"predict_log_proba of {type(fitted).__name__} must give the natural logarithm of a distribution over "
                f"ROOT and the words, [word, word + 1] = {shape}, for each word, but gave {one!r:.60}"
            )
    return [np.minimum(one, 0) for one in found]


def gold_of(data: ProbeData) -> list[Governors]:
    return [sentence.governors or (None,) * len(sentence) for sentence in data.sentences]


def _drawn(word_type: str, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed} {word_type}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % 3


def _types(sentence: Sentence, lowercase: bool) -> tuple[str, ...]:
    return tuple(word.lower() for word in sentence.words) if lowercase else sentence.words


def _counted(sentence: Sentence, punct: Use, root: Use) -> tuple[bool, ...]:
    """For each word whether it has a governor and the options let it count."""
    missing = (None,) * len(sentence)
    return tuple(
        governor is not None
        and not (root == "exclude" and governor == 0)
        and not (punct == "exclude" and (relation or "").partition(":")[0] == "punct")
        for governor, relation in zip(sentence.governors or missing, sentence.relations or missing, strict=True)
    )


def _known(
    train: Sequence[Sentence], test: Sequence[Sentence], counted: Sequence[Sequence[bool]], lowercase: bool
) -> tuple[int, ...]:
    """For each sentence of test how many of the words that count are of a type that occurs in train."""
    seen = {word for sentence in train for word in _types(sentence, lowercase)}
    return tuple(
        sum(counts and word in seen for word, counts in zip(_types(sentence, lowercase), of_sentence, strict=True))
        for sentence, of_sentence in zip(test, counted, strict=True)
    )


def _checked(sentences: Iterable[Sentence]) -> tuple[Sentence, ...]:
    if isinstance(sentences, Sentence):
        raise ValidationError("sentences is one Sentence; give a list: [sentence]")
    checked = tuple(sentences)
    for number, sentence in enumerate(checked):
        if not isinstance(sentence, Sentence):
            raise ValidationError(f"sentence {number} must be a Sentence, but is {sentence!r:.60}")
    return checked


def check_probe(probe: object) -> None:
    if isinstance(probe, type) or not (hasattr(probe, "fit") and hasattr(probe, "predict_log_proba")):
        raise ValidationError(f"probe must be an estimator such as AttentionProbe(), but is {probe!r:.60}")


def check_seed(seed: object) -> None:
    if type(seed) is not int or seed < 0:
        raise ValidationError(f"seed must be a whole number from 0, but is {seed!r}")
