"""The best coreference head beside the baselines (Clark et al. 2019, Table 2), picked here or elsewhere, with tests."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from bertattn._arrays import Numpy
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import one_of
from bertattn.heads._rows import Rows
from bertattn.heads._scores import folds_of
from bertattn.heads.antecedents import BASELINES, Baseline
from bertattn.heads.coreference import CoreferenceDirection, CoreferenceScores
from bertattn.heads.selection import Correction, HeadTests, heads_against, refuse_other_scores
from bertattn.statistics import bootstrap_ci, paired_permutation_test

__all__ = [
    "CoreferenceRow",
    "CoreferenceTable",
    "HeadAgainst",
    "coreference_cross_fit",
    "coreference_table",
    "coreference_tests",
]

SYSTEMS: Final = {"nearest": "nearest mention", "same_head": "same head word", "rule_based": "rule-based"}
CHANCE: Final = "chance"
FOLDS: Final = "other folds"
# Below this many an interval says little.
FEW_DOCUMENTS: Final = 10


@dataclass(frozen=True)
class CoreferenceRow:
    """How often one system finds an antecedent of one type of mention.

    Args:
        system: "chance" (a candidate drawn evenly), "nearest", "same_head", "rule_based", or a head, "3-9", counted
            from 1; of a cross-fit the head picked most often.
        type: of mention, "all" for all.
        count: number of mentions.
        accuracy: fraction of them whose antecedent is found.
        low, high: bootstrap interval over documents, the picks taken as given; of chance none.
        documents: in how many documents such mentions occur; below 10 the interval says little.
    """

    system: str
    type: str
    count: int
    accuracy: float
    low: float
    high: float
    documents: int


@dataclass(frozen=True)
class HeadAgainst:
    """The head against one baseline, on the same mentions.

    Args:
        baseline: its name.
        type: of mention, "all" for all.
        difference: accuracy of the head minus that of the baseline.
        low, high: its bootstrap interval, paired by document.
        p: two-sided sign-flip test by document, for this one comparison. It is an honest p only where the head was
            picked on other documents.
    """

    baseline: str
    type: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, repr=False)
class CoreferenceTable(Rows):
    """The best head and the baselines, by type of mention: Clark et al. 2019, Table 2. `print` shows it.

    Args:
        rows: a `CoreferenceRow` for each system and type.
        differences: a `HeadAgainst` for each baseline and type.
        head, direction: what was picked; of a cross-fit most often.
        candidates: what the head chose from. Baselines choose among mentions before the one in question.
        picked_on: "the same documents", "overlapping documents", "other documents" (told by their names), "documents
            without names" (which may be the same) or "other folds".
        picked_by: the type of mention that it was picked to find.
        stability: how often it wins when documents are drawn anew (or, of a cross-fit, in how many of the folds).
        optimism: of a cross-fit, how much higher the accuracy on all mentions is where it is picked on the same
            documents; else NaN.
        heads_by_fallback: how many mentions had no head word in the data, so that it was guessed.
        mentions: how many mentions the windows have, scored or not.
        level, resamples, seed: of the intervals.
    """

    rows: tuple[CoreferenceRow, ...]
    differences: tuple[HeadAgainst, ...] = ()
    head: str = ""
    direction: str = "from_mention"
    candidates: str = "words_other"
    picked_on: str = "the same documents"
    picked_by: str = "all"
    stability: float = float("nan")
    optimism: float = float("nan")
    heads_by_fallback: int = 0
    mentions: int = 0
    level: float = 0.95
    resamples: int = 2000
    seed: int = 0

    def row(self, system: str, mention_type: str = "all") -> CoreferenceRow:
        """One number with its interval; "head" is the head.

        Raises:
            SelectionError: there is no such system or type.
        """
        name = self.head if system == "head" else system
        for row in self.rows:
            if (row.system, row.type) == (name, mention_type):
                return row
        known = ", ".join(dict.fromkeys(f"{row.system} ({row.type})" for row in self.rows))
        raise SelectionError(f"there is no row for {system!r} and {mention_type!r}; there are {known}")

    def against(self, baseline: Baseline, mention_type: str = "all") -> HeadAgainst:
        """The head's difference from a baseline.

        Raises:
            SelectionError: there is no such baseline or type.
        """
        for one in self.differences:
            if (one.baseline, one.type) == (baseline, mention_type):
                return one
        known = ", ".join(f"{one.baseline} ({one.type})" for one in self.differences)
        raise SelectionError(f"there is no difference for {baseline!r} and {mention_type!r}; there are {known}")

    def __str__(self) -> str:
        """The table as text, in percent, and how the head compares with each baseline."""
        types = list(dict.fromkeys(row.type for row in self.rows))
        systems = list(dict.fromkeys(row.system for row in self.rows))
        cells = {(row.system, row.type): row for row in self.rows}
        titles = [f"{name} (n={cells[systems[0], name].count})" for name in types]
        lines = [f"{'':<18}" + "".join(f"{title:>22}" for title in titles)]
        for system in systems:
            name = SYSTEMS.get(system, system)
            if system == self.head:
                name = f"head {system}" + (" T" if self.direction == "to_mention" else "")
            lines.append(f"{name:<18}" + "".join(f"{_percent(cells[system, one]):>22}" for one in types))
        documents = cells[systems[0], "all"].documents
        lines.append(
            f"% of mentions with a right antecedent ({100 * self.level:g}% interval over {documents} documents). "
            f"Candidates of the head: {self.candidates}. Head picked on {self.picked_on}"
            + ("." if self.picked_by == "all" else f", by {self.picked_by}.")
            + (" T: to_mention." if self.direction == "to_mention" else "")
            + (f" Optimism {100 * self.optimism:+.1f} points." if self.optimism == self.optimism else "")
            + (f" {self.head} was picked in {self.stability:.0%} of the folds." if self.picked_on == FOLDS else "")
        )
        if documents < FEW_DOCUMENTS:
            lines.append(f"Fewer than {FEW_DOCUMENTS} documents: the intervals say little.")
        if self.picked_on == FOLDS:
            lines.append("Where folds pick different heads, its intervals are too short.")
        elif self.picked_on != "other documents":
            lines.append("Intervals and p of the head do not count that it was picked here: see coreference_tests.")
        if self.heads_by_fallback:
            lines.append(f"Head words guessed from the words: {self.heads_by_fallback} of {self.mentions} mentions.")
        lines += [
            f"The head against {SYSTEMS[one.baseline]}: {100 * one.difference:+.1f} points"
            + (f" ({100 * one.low:+.1f} to {100 * one.high:+.1f})" if one.low == one.low else "")
            + f", p = {one.p:.2g}."
            for one in self.differences
            if one.type == "all"
        ]
        return "\n".join(lines)

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each system and type; those of the head say what it chose from and where it was picked."""
        how = {"candidates": self.candidates, "direction": self.direction, "picked_on": self.picked_on}
        nothing = dict.fromkeys(how, "")
        return [dataclasses.asdict(row) | (how if row.system == self.head else nothing) for row in self.rows]

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        state["rows"] = [_known(dataclasses.asdict(row)) for row in self.rows]
        state["differences"] = [_known(dataclasses.asdict(one)) for one in self.differences]
        return state | {n: None if state[n] != state[n] else state[n] for n in ("stability", "optimism")}

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        nan = float("nan")
        state = state | {n: nan if state[n] is None else state[n] for n in ("stability", "optimism")}
        differences = tuple(_against(one, nan) for one in state["differences"])
        return cls._restored(state | {"differences": differences}, CoreferenceRow)


def coreference_table(
    scores: CoreferenceScores,
    /,
    *,
    picked_on: CoreferenceScores | None = None,
    picked_by: str = "all",
    directions: Sequence[CoreferenceDirection] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> CoreferenceTable:
    """The best coreference head and the baselines on the same mentions (Clark et al. 2019, Table 2).

    Args:
        scores: what the accuracies and intervals are of.
        picked_on: scores of other documents, by the same model, to pick head and direction on; None picks on `scores`
            itself, as the paper does, which flatters the head, and says so. `heads.split` parts the scores in two.
        picked_by: the type of mention that the head is to find best.
        directions: those to pick from; None takes all that were scored.
        level, resamples, seed: of the bootstrap over documents.

    Raises:
        SelectionError: a type that does not occur, or a direction that was not scored.
        ValidationError: no scored mention; `picked_on` of another model, of other heads or candidates.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, DocumentWindow, Mention, Sentence
        >>> from bertattn.heads import score_coreference
        >>> maps = []
        >>> for name in ("a", "b"):
        ...     mentions = [Mention(0, 1, "ann"), Mention(2, 3, "ann")]
        ...     window = DocumentWindow([Sentence(["Ann", "saw", "herself"])], mentions, document=name)
        ...     weights = np.array([[[[0.2, 0.4, 0.4], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1]]]])
        ...     maps.append(AttentionTensor(weights, Axis(window.words, word_ids=[0, 1, 2]), annotation=window))
        >>> table = coreference_table(score_coreference(maps))
        >>> table.row("head").accuracy, table.row("same_head").accuracy, table.row("nearest").accuracy
        (1.0, 0.0, 1.0)
    """
    _check(scores)
    source = scores if picked_on is None else picked_on
    _check(source, "picked_on")
    refuse_other_scores(scores, source)
    allowed = scores._allowed(directions)
    cell = source._pick(picked_by, allowed)
    columns = {name: scores._by_unit(name)[0][:, cell] for name in ("all", *scores.type_names())}
    return _table(
        scores,
        cell,
        columns,
        picked_on=_overlap(scores, source),
        picked_by=picked_by,
        stability=source._stability(picked_by, allowed, cell, seed),
        options={"level": level, "resamples": resamples, "seed": seed},
    )


def coreference_cross_fit(
    scores: CoreferenceScores,
    /,
    *,
    folds: int = 5,
    picked_by: str = "all",
    directions: Sequence[CoreferenceDirection] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> CoreferenceTable:
    """As `coreference_table`, but each fold of documents is scored by the head picked on the other folds.

    What `heads.cross_fit` says of its interval and `optimism` holds here too: where an interval must hold, pick on one
    part of the documents and score the other (`heads.split`).

    Args:
        scores: at least as many documents as folds.
        folds: how many parts.
        picked_by, directions, level, resamples, seed: as for `coreference_table`; the seed also deals out the folds.

    Raises:
        ValidationError: fewer documents than folds.
        SelectionError: a type that is missing from all folds but one.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, DocumentWindow, Mention, Sentence
        >>> from bertattn.heads import score_coreference
        >>> maps = []
        >>> for name in "abcdefgh":
        ...     mentions = [Mention(0, 1, "ann"), Mention(2, 3, "ann")]
        ...     window = DocumentWindow([Sentence(["Ann", "saw", "herself"])], mentions, document=name)
        ...     weights = np.array([[[[0.2, 0.4, 0.4], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1]]]])
        ...     maps.append(AttentionTensor(weights, Axis(window.words, word_ids=[0, 1, 2]), annotation=window))
        >>> table = coreference_cross_fit(score_coreference(maps), folds=2)
        >>> table.picked_on, table.row("head").accuracy, table.stability
        ('other folds', 1.0, 1.0)
    """
    _check(scores)
    part = folds_of(scores, folds, by="document", seed=seed)
    allowed = scores._allowed(directions)
    counts = scores.by_document(picked_by)[1]
    if any(not counts[part != k].any() for k in range(folds)):
        raise SelectionError(
            f"the scored mentions of type {picked_by!r} all stand in one fold, so there are none to pick its head on; "
            "give another seed, or more documents"
        )
    picks = np.array([scores.select(part != k)._pick(picked_by, allowed) for k in range(folds)])
    everyone = np.arange(len(part))
    columns = {name: scores._by_unit(name)[0][everyone, picks[part]] for name in ("all", *scores.type_names())}
    cells, times = np.unique(picks, return_counts=True)
    same = scores._by_unit("all")[0][:, scores._pick(picked_by, allowed)].sum()
    return _table(
        scores,
        int(cells[times.argmax()]),
        columns,
        picked_on=FOLDS,
        picked_by=picked_by,
        stability=float(times.max() / folds),
        optimism=float((same - columns["all"].sum()) / scores.count()),
        options={"level": level, "resamples": resamples, "seed": seed},
    )


def coreference_tests(
    scores: CoreferenceScores,
    mention_type: str = "all",
    /,
    *,
    baseline: Baseline = "same_head",
    directions: Sequence[CoreferenceDirection] | None = None,
    correction: Correction = "max-statistic",
    resamples: int = 9999,
    seed: int = 0,
) -> HeadTests:
    """Which heads find antecedents better than a baseline does, all heads and directions at once.

    One-sided, signs flipped by document; see `heads.head_tests`, whose table it gives.

    Args:
        scores: of all heads.
        mention_type: "all" for all.
        baseline: "nearest", "same_head" or "rule_based".
        directions: those to test; None takes all that were scored.
        correction: for the number of tests.
        resamples, seed: of the signs drawn.

    Raises:
        SelectionError: there is no mention of the type.
        ValidationError: another baseline or correction.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, DocumentWindow, Mention, Sentence
        >>> from bertattn.heads import score_coreference
        >>> maps = []
        >>> for name in "abcdefgh":
        ...     mentions = [Mention(0, 1, "ann"), Mention(2, 3, "ann")]
        ...     window = DocumentWindow([Sentence(["Ann", "saw", "herself"])], mentions, document=name)
        ...     weights = np.array([[[[0.2, 0.4, 0.4], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1]]]])
        ...     maps.append(AttentionTensor(weights, Axis(window.words, word_ids=[0, 1, 2]), annotation=window))
        >>> tests = coreference_tests(score_coreference(maps))  # against the same head word
        >>> [(test.head, test.direction, test.difference, round(test.adjusted_p, 4)) for test in tests.rows]
        [('1-1', 'from_mention', 1.0, 0.0039), ('1-1', 'to_mention', 1.0, 0.0039)]
    """
    _check(scores)
    one_of("baseline", baseline, BASELINES)
    found, counts = scores.baselines.by_document(mention_type)
    return heads_against(
        scores,
        mention_type,
        found[:, BASELINES.index(baseline)],
        counts,
        against=baseline,
        offset=None,
        directions=directions,
        correction=correction,
        resamples=resamples,
        seed=seed,
    )


def _table(
    scores: CoreferenceScores,
    cell: int,
    columns: dict[str, Numpy],
    *,
    picked_on: str,
    picked_by: str,
    stability: float,
    options: dict[str, Any],
    optimism: float = float("nan"),
) -> CoreferenceTable:
    """From what was found of each type, int `[document]`."""
    head, direction = scores._named(cell)
    b = scores.baselines
    types = tuple(columns)
    counted = {name: b.by_document(name) for name in types}
    rows = []
    for name in types:
        chance = b.chance(name, candidates=scores.candidates)
        present = int((counted[name][1] > 0).sum())
        rows.append(CoreferenceRow(CHANCE, name, b.count(name), chance, float("nan"), float("nan"), present))
    differences = []
    for system in (*BASELINES, head):
        found = [columns[t] if system == head else counted[t][0][:, BASELINES.index(system)] for t in types]
        bottoms = np.stack([counted[t][1] for t in types], 1)
        interval = bootstrap_ci(np.stack(found, 1), bottoms, **options)
        rows += [
            CoreferenceRow(
                system, t, int(bottoms[:, i].sum()), *_numbers(interval, i), documents=int((bottoms[:, i] > 0).sum())
            )
            for i, t in enumerate(types)
        ]
        if system != head:
            over = np.stack([columns[t] for t in types], 1) - np.stack(found, 1)
            paired = bootstrap_ci(over, bottoms, **options)
            p = paired_permutation_test(
                over, bottoms, alternative="two-sided", resamples=max(options["resamples"], 9999), seed=options["seed"]
            ).p
            differences += [HeadAgainst(system, t, *_numbers(paired, i), float(p[i])) for i, t in enumerate(types)]
    return CoreferenceTable(
        tuple(rows),
        tuple(differences),
        head,
        direction,
        scores.candidates,
        picked_on,
        picked_by,
        stability,
        optimism,
        b.heads_by_fallback,
        b.mentions,
        **options,
    )


def _known(row: dict[str, Any]) -> dict[str, Any]:
    """NaN as None, as JSON can hold it."""
    return {name: None if value != value else value for name, value in row.items()}


def _against(row: dict[str, Any], nan: float) -> HeadAgainst:
    known: dict[str, Any] = {name: nan if value is None else value for name, value in row.items()}
    return HeadAgainst(**known)


def _numbers(interval: Any, i: int) -> tuple[float, float, float]:
    return float(interval.estimate[i]), float(interval.low[i]), float(interval.high[i])


def _percent(row: CoreferenceRow) -> str:
    if row.low != row.low:
        return f"{100 * row.accuracy:.1f}"
    return f"{100 * row.accuracy:.1f} ({100 * row.low:.0f} to {100 * row.high:.0f})"


def _overlap(scores: CoreferenceScores, picked_on: CoreferenceScores) -> str:
    """Where the head was picked, by the documents' names: other windows of a document are the same document."""
    mine, theirs = ({name for name in one.documents if name is not None} for one in (scores, picked_on))
    if None in scores.documents and None in picked_on.documents and picked_on is not scores:
        return "documents without names"
    if picked_on is scores or picked_on._same_as(scores) or (mine and mine <= theirs):
        return "the same documents"
    return "overlapping documents" if mine & theirs else "other documents"


def _check(scores: object, name: str = "scores") -> None:
    if not isinstance(scores, CoreferenceScores):
        raise ValidationError(
            f"{name} must be what score_coreference gives, but is a {type(scores).__name__}; of heads.split take one "
            "part"
        )
    if not scores.count():
        raise ValidationError(
            f"no mention is scored in {name}: none has an antecedent in its window; give larger windows, or documents "
            "with coreference"
        )
