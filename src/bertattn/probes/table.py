"""Probes and baselines side by side: Clark et al. 2019, Table 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import Subtypes, Use
from bertattn.heads._rows import Rows
from bertattn.probes.scores import GovernorScores, refuse_other_words
from bertattn.statistics import BootstrapInterval, bootstrap_ci

__all__ = ["ProbeRow", "ProbeTable", "probe_table"]


class _Measured(Protocol):
    """What scores of another kind must say of themselves, as `heads.TreeScores` does."""

    @property
    def measure(self) -> str: ...

    @property
    def accuracy(self) -> float: ...

    def interval(self, *, level: float, resamples: int, seed: int) -> BootstrapInterval: ...


@dataclass(frozen=True)
class ProbeRow:
    """One predictor.

    Args:
        name: its name.
        measure: "UAS", or what else was measured, such as "UUAS".
        comparable: whether it is measured as the others are: governors of the same words.
        accuracy: the fraction that is right; of several seeds their mean.
        low, high: bootstrap interval over sentences of `accuracy`, the seeds taken as given.
        seeds: how many times it was trained.
        smallest, largest: of the seeds' accuracies.
        deviation: their standard deviation, sqrt(sum (x - mean)^2 / (seeds - 1)); NaN for one seed.
    """

    name: str
    measure: str
    comparable: bool
    accuracy: float
    low: float
    high: float
    seeds: int
    smallest: float
    largest: float
    deviation: float


@dataclass(frozen=True, repr=False)
class ProbeTable(Rows):
    """Probes and baselines on the same words; see `probe_table`. `print` shows it in percent.

    Args:
        rows: a `ProbeRow` each.
        count, sentences: how many words were counted, and of how many sentences.
        level, resamples, seed: of the intervals.
        punct, root, subtypes: which words were counted.
    """

    rows: tuple[ProbeRow, ...]
    count: int = 0
    sentences: int = 0
    level: float = 0.95
    resamples: int = 2000
    seed: int = 0
    punct: Use = "exclude"
    root: Use = "include"
    subtypes: Subtypes = "keep"

    def __getitem__(self, name: str) -> ProbeRow:
        """The row of one predictor.

        Raises:
            SelectionError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise SelectionError(f"there is no row for {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def __str__(self) -> str:
        """The table as text, in percent."""
        width = max(len(row.name) for row in self.rows) + 2
        lines = [f"{'':<{width}}{'UAS':>6}  {f'{100 * self.level:g}% interval':<14}  over seeds"]
        for row in self.rows:
            score = f"{100 * row.accuracy:6.1f}{' ' if row.comparable else '*'}"
            interval = f"{100 * row.low:.1f} to {100 * row.high:.1f}" if row.low == row.low else ""
            spread = f"{100 * row.smallest:.1f} to {100 * row.largest:.1f} ({row.seeds})" if row.seeds > 1 else ""
            lines.append(f"{row.name:<{width}}{score} {interval:<14}  {spread}".rstrip())
        left_out = [f", {name} left out" for name in ("punct", "root") if getattr(self, name) == "exclude"]
        lines.append(f"UAS of {self.count} words in {self.sentences} sentences{''.join(left_out)}.")
        others = ", ".join(f"{row.name}: {row.measure}" for row in self.rows if not row.comparable)
        if others:
            lines.append(f"* Not comparable ({others}).")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(str(self))}</pre>"

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls._restored(state, ProbeRow)


def probe_table(
    scores: Mapping[str, GovernorScores | Sequence[GovernorScores] | _Measured],
    /,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> ProbeTable:
    """Probes and baselines side by side, with intervals (Clark et al. 2019, Table 3).

    Of several seeds the accuracy is the mean, and the interval that of the mean: each replicate draws sentences once
    for all seeds, so it says how much the sentences matter, and `smallest` to `largest` how much the seeds do. All rows
    draw the same sentences. To tell two rows apart use `GovernorScores.compare`: intervals that overlap do not show
    that two predictors are alike.

    Args:
        scores: name and scores of each predictor, in the order of the table; a sequence where it was trained with
            several seeds. All of them on the same words. Scores of another kind, such as `heads.TreeScores` with their
            UUAS, stand in the table marked as not comparable.
        level, resamples, seed: of the bootstrap over sentences.

    Raises:
        ValidationError: no `GovernorScores`, scores of other words or counted in another way, something else.

    Examples:
        >>> from bertattn import Sentence
        >>> from bertattn.heads import left_branching, right_branching
        >>> from bertattn.probes.scores import score_governors
        >>> words = ["Dogs", "chase", "cats"]
        >>> trees = [Sentence(words, governors=[2, 0, 2]), Sentence(words[:2], governors=[2, 0])]
        >>> right = score_governors(trees, [right_branching(tree) for tree in trees])
        >>> left = score_governors(trees, [left_branching(tree) for tree in trees])
        >>> table = probe_table({"right-branching": right, "either": [left, right]})
        >>> table["right-branching"].accuracy, table["either"].smallest, table["either"].largest
        (0.6, 0.2, 0.6)
    """
    if not isinstance(scores, Mapping):
        raise ValidationError(f"scores must be a mapping of names to scores, but are a {type(scores).__name__}")
    runs = {name: _runs(name, value) for name, value in scores.items()}
    of_words = [run for given in runs.values() if isinstance(given, tuple) for run in given]
    if not of_words:
        raise ValidationError("the table needs the GovernorScores of at least one predictor; see score_governors")
    first = of_words[0]
    for run in of_words:
        refuse_other_words(first, run)
    options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    rows = tuple(
        _row(name, given, options) if isinstance(given, tuple) else _other_row(name, given, options)
        for name, given in runs.items()
    )
    counted: dict[str, Any] = {"punct": first.punct, "root": first.root, "subtypes": first.subtypes}
    return ProbeTable(rows, first.count(), first.sentences, **options, **counted)


def _runs(name: str, value: Any) -> tuple[GovernorScores, ...] | _Measured:
    if isinstance(value, GovernorScores):
        return (value,)
    if isinstance(value, Sequence) and len(value) and all(isinstance(run, GovernorScores) for run in value):
        return tuple(value)
    if all(hasattr(value, attribute) for attribute in ("measure", "accuracy", "interval")):
        measured: _Measured = value
        return measured
    raise ValidationError(
        f"{name!r} must have GovernorScores, a list of them, or scores that know their measure, accuracy and interval, "
        f"but has {value!r:.60}"
    )


def _row(name: str, runs: tuple[GovernorScores, ...], options: dict[str, Any]) -> ProbeRow:
    right = np.mean([run.by_sentence()[0] for run in runs], axis=0)
    interval = bootstrap_ci(right, runs[0].by_sentence()[1], **options)
    each = [run.uas() for run in runs]
    return ProbeRow(
        name,
        "UAS",
        comparable=True,
        accuracy=float(interval.estimate),
        low=float(interval.low),
        high=float(interval.high),
        seeds=len(runs),
        smallest=min(each),
        largest=max(each),
        deviation=float(np.std(each, ddof=1)) if len(runs) > 1 else float("nan"),
    )


def _other_row(name: str, scores: _Measured, options: dict[str, Any]) -> ProbeRow:
    interval = scores.interval(**options)
    accuracy = float(scores.accuracy)
    low, high = float(interval.low), float(interval.high)
    return ProbeRow(name, scores.measure, False, accuracy, low, high, 1, accuracy, accuracy, float("nan"))
