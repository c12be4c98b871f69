"""What each head does, in one word: the labels of Clark et al. 2019, Figure 6."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final, Self

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.clustering._input import head_columns
from bertattn.clustering._options import number_in, whole
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads import (
    BestHead,
    BestHeads,
    CoreferenceRow,
    CoreferenceScores,
    CoreferenceTable,
    RelationScores,
    best_heads,
    coreference_cross_fit,
    coreference_table,
    cross_fit,
)
from bertattn.results import Result, numbers_from_json, numbers_to_json
from bertattn.statistics import Summary
from bertattn.tensor import HeadName, format_head, parse_head

__all__ = ["BROAD", "HeadBehaviors", "label_behaviors"]

BROAD: Final = 3.8 / math.log(128)
# In the order of the released code, where a later one overrides an earlier one; "bos" and "eos" are ours.
SURFACE: Final = ("next", "previous", "broad", "cls", "sep", "bos", "eos", "punctuation")
NEEDED: Final = (*(name for name in SURFACE if name != "broad"), "entropy", "uniform_entropy")
FOLDS: Final = 5


@dataclass(frozen=True, eq=False, repr=False)
class HeadBehaviors(Result):
    """What each head does: a flag for each behaviour, with the number that decided it, and one label a head.

    A head may have several flags; its label is the last of them in the order of `flags`.

    Args:
        names: of the heads, layer by layer, such as "8-10".
        layers: the layer of each, counted from 0.
        flags: bool `[head]` for each behaviour.
        values: float64 `[head]`, the number that is compared with the threshold; NaN where there is none.
        margins: float64 `[head]`, by how many standard errors of its own the value lies above the threshold, or, where
            negative, below. Within 2 of it another corpus may give another flag. NaN where the error is not known, as
            that of "broad" for sequences of different lengths.
        thresholds: the threshold of each behaviour; NaN for what was labelled by hand.
        picked_on: for each linguistic behaviour what its head was picked on: "the same words", "overlapping words",
            "other words" or "other folds" (of mentions, documents), or "by hand".
        sequences: how many sequences the surface statistics are of.

    Raises:
        ValidationError: arrays that are not one number a head, or flags, values, margins and thresholds of different
            behaviours.
    """

    names: tuple[str, ...]
    layers: tuple[int, ...]
    flags: dict[str, Numpy]
    values: dict[str, Numpy]
    margins: dict[str, Numpy]
    thresholds: dict[str, float]
    picked_on: dict[str, str] = dataclasses.field(default_factory=dict)
    sequences: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        for field, kind in (("flags", np.bool_), ("values", np.float64), ("margins", np.float64)):
            arrays = {k: _arrays.read_only(np.asarray(v, dtype=kind)) for k, v in getattr(self, field).items()}
            object.__setattr__(self, field, arrays)
            for behavior, array in arrays.items():
                if array.shape != (len(self.names),):
                    raise ValidationError(
                        f"{field}[{behavior!r}] has shape {array.shape}, but there are {len(self.names)} heads; give "
                        "one number a head"
                    )
        behaviors = list(self.flags)
        if any(sorted(part) != sorted(behaviors) for part in (self.values, self.margins, self.thresholds)):
            raise ValidationError(f"values, margins and thresholds must have the behaviours of flags: {behaviors}")
        if len(self.layers) != len(self.names):
            raise ValidationError(f"there are {len(self.names)} names but {len(self.layers)} layers; give one a head")

    @property
    def labels(self) -> tuple[str | None, ...]:
        """The label of each head; None for a head without a flag."""
        labels: list[str | None] = [None] * len(self.names)
        for behavior, flag in self.flags.items():
            for head in np.flatnonzero(flag):
                labels[head] = behavior
        return tuple(labels)

    @property
    def undefined(self) -> dict[str, int]:
        """Of how many heads a surface statistic is undefined (NaN), so that they have no such flag."""
        return {name: int(np.isnan(self.values[name]).sum()) for name in SURFACE if name in self.values}

    def counts(self) -> dict[str | None, int]:
        """How many heads have each label, in the order of `flags`, and last (None) how many have none."""
        labels = self.labels
        return {name: labels.count(name) for name in (*self.flags, None)}

    def to_records(self) -> list[dict[str, Any]]:
        """One row a head; layer and head are counted from 1, as in its name.

        `value` and `margin` are those of its label; then each flag and its margin.
        """
        return [
            {
                **head,
                "label": label,
                "value": math.nan if label is None else float(self.values[label][i]),
                "margin": math.nan if label is None else float(self.margins[label][i]),
                **{behavior: bool(flag[i]) for behavior, flag in self.flags.items()},
                **{f"{behavior}_margin": float(margin[i]) for behavior, margin in self.margins.items()},
            }
            for i, (head, label) in enumerate(zip(head_columns(self.names, self.layers), self.labels, strict=True))
        ]

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, HeadBehaviors) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counts = self.counts()
        without = counts.pop(None)
        shown = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        return f"HeadBehaviors({len(self.names)} heads: {shown + ', ' if shown else ''}{without} without a label)"

    def _state(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        state["flags"] = {name: flag.tolist() for name, flag in self.flags.items()}
        for part in ("values", "margins"):
            state[part] = {name: numbers_to_json(numbers) for name, numbers in state[part].items()}
        state["thresholds"] = {name: numbers_to_json(np.array(number)) for name, number in self.thresholds.items()}
        return state

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        read = {part: {k: numbers_from_json(v) for k, v in state[part].items()} for part in ("values", "margins")}
        thresholds = {name: math.nan if number is None else number for name, number in state["thresholds"].items()}
        return cls(**(state | read | {"thresholds": thresholds}))


def label_behaviors(
    surface: Summary,
    /,
    *,
    relations: RelationScores | BestHeads | None = None,
    coreference: CoreferenceScores | CoreferenceTable | None = None,
    linguistic: Mapping[HeadName, str] | None = None,
    offset: float = 0.5,
    special: float = 0.6,
    punctuation: float = 0.6,
    broad: float = BROAD,
    entropy: float | None = None,
    gain: float = 0.1,
    min_count: int = 100,
    min_margin: float = 0.0,
) -> HeadBehaviors:
    """A label for what each head does (Clark et al. 2019, Figure 6; the thresholds are those of the released code).

    In this order, where a later one overrides an earlier one:

    - "next", "previous": mean attention to that token > `offset`
    - "broad": mean entropy / mean entropy of uniform attention > `broad`, by default 3.8 / ln 128: the released code
      compares the entropy itself with 3.8 nats, on segments of 128 tokens; `entropy=3.8` does the same
    - "cls", "sep", "bos", "eos": mean attention to that token > `special` ("bos" and "eos" are not the paper's)
    - "punctuation": mean attention to full stops and commas > `punctuation`
    - the name of a relation: the head that finds its governors best, where it finds more than the best fixed offset by
      `gain`; of several relations of one head the one where that is most counts last
    - "coreference": the head that finds antecedents best, where it finds more than the nearest mention by `gain`
    - the labels given by hand

    A statistic that is undefined (NaN), as attention to [CLS] in a model without one, gives no flag.

    Standard errors: of a surface statistic over sequences; of a linguistic one from its interval, the baseline taken as
    given. Where all sentences or documents agree, or one alone has data, words or mentions are taken as independent
    (Agresti and Coull 1998), which makes that of one sentence too small. Where lengths differ that of "broad" is not
    known, and its margin NaN: entropy and length rise together, and a `Summary` does not keep how closely. With
    `entropy=` it is.

    Args:
        surface: of `summarize(stream, patterns.surface_patterns)`.
        relations: scores of the same model on a treebank; heads are picked on other folds of its documents (of its
            sentences, where there are fewer than 5 documents; on the same words, where there are fewer than 5
            sentences or one fold alone has the relation). A table of `heads.best_heads` or `heads.cross_fit` is taken
            as it is.
        coreference: likewise, scores or a table.
        linguistic: labels by hand, as the paper's authors gave theirs: `{"8-10": "dobj"}`.
        offset, special, punctuation: thresholds of mean attention, fractions.
        broad: threshold of the entropy as a fraction of that of uniform attention.
        entropy: a threshold in nats, in place of `broad`.
        gain: by how much a head must beat its baseline, a fraction of the words or mentions.
        min_count: how many words a relation must have, where scores are given.
        min_margin: by how many standard errors a head must be above its baseline and `gain` to be called after a
            relation or coreference; 2 leaves out most of what another corpus would not show again.

    Raises:
        ValidationError: not such a summary, scores or table; a threshold out of range; labels by hand that are no
            dict, or one that is the name of a surface behaviour, or no text.
        SelectionError: a head that the summary lacks.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, patterns
        >>> from bertattn.statistics import summarize
        >>> weights = np.stack([np.eye(4, k=1) + np.eye(4)[3] * np.eye(4)[:, 3:], np.full((4, 4), 0.25)])
        >>> a = AttentionTensor(weights[None], Axis(["[CLS]", "a", "b", "[SEP]"], roles=["cls", None, None, "sep"]))
        >>> behaviors = label_behaviors(summarize([a, a], patterns.surface_patterns), linguistic={"1-2": "det"})
        >>> behaviors.labels, [name for name, flag in behaviors.flags.items() if flag[1]]
        (('next', 'det'), ['broad', 'det'])
    """
    _check(surface)
    given = {"offset": offset, "special": special, "punctuation": punctuation, "broad": broad, "gain": gain}
    offset, special, punctuation, broad, gain = (
        number_in(value, 0, 1, wanted=f"{name} is a fraction from 0 to 1") for name, value in given.items()
    )
    if entropy is not None:
        entropy = number_in(entropy, 0, math.inf, wanted="entropy is a threshold in nats, such as 3.8")
    min_count = whole("min_count", min_count, 0)
    min_margin = number_in(min_margin, 0, math.inf, wanted="min_margin is a number of standard errors, 0 or more")
    if linguistic is not None and not isinstance(linguistic, Mapping):
        raise ValidationError(
            f'linguistic must be a dict of heads and labels, such as {{"8-10": "dobj"}}, but is {linguistic!r:.60}'
        )
    thresholds = {"next": offset, "previous": offset, "broad": broad if entropy is None else entropy}
    thresholds |= dict.fromkeys(("cls", "sep", "bos", "eos"), special) | {"punctuation": punctuation}
    places = [(layer, head) for layer in surface.layers for head in surface.heads]
    index = {place: i for i, place in enumerate(places)}
    table = _Table(len(places))
    for name in SURFACE:
        value, error = _statistic(surface, name, entropy)
        table.add(name, np.arange(len(places)), value.ravel(), error.ravel(), thresholds[name])
    picked_on = {}
    if relations is not None:
        best = _best_by_relation(relations, min_count)
        for row in sorted(best.rows, key=lambda row: row.accuracy - row.baseline):
            spread = _standard_error(row, best.level)
            if row.relation == "all" or not row.accuracy > row.baseline + gain + min_margin * spread:
                continue
            _refuse_surface_name(row.relation)
            table.add(row.relation, [_place(row.head, index)], row.accuracy, spread, row.baseline + gain)
            picked_on[row.relation] = row.picked_on
    if coreference is not None:
        found = _coreference_table(coreference)
        head, nearest = found.row("head"), found.row("nearest")
        spread = _standard_error(head, found.level)
        if head.accuracy > nearest.accuracy + gain + min_margin * spread:
            table.add("coreference", [_place(found.head, index)], head.accuracy, spread, nearest.accuracy + gain)
            picked_on["coreference"] = found.picked_on
    for named, label in (linguistic or {}).items():
        _refuse_surface_name(label)
        table.by_hand(label, _place(named, index))
        picked_on[label] = "by hand"
    return HeadBehaviors(
        names=tuple(format_head(*place) for place in places),
        layers=tuple(layer for layer, _ in places),
        flags=table.flags,
        values=table.values,
        margins=table.margins,
        thresholds=table.thresholds,
        picked_on=picked_on,
        sequences=surface.sequences,
    )


class _Table:
    """The columns of a `HeadBehaviors` as they are filled in."""

    def __init__(self, heads: int) -> None:
        self.heads = heads
        self.flags: dict[str, Numpy] = {}
        self.values: dict[str, Numpy] = {}
        self.margins: dict[str, Numpy] = {}
        self.thresholds: dict[str, float] = {}

    def add(self, name: str, heads: Any, value: Any, error: Any, threshold: float) -> None:
        """The value of some heads and its standard error; the flag is whether it exceeds the threshold."""
        self.values[name], self.margins[name] = np.full((2, self.heads), np.nan)
        self.values[name][heads] = value
        with np.errstate(divide="ignore", invalid="ignore"):  # all sequences alike: infinitely sure, or just there
            self.margins[name][heads] = (np.asarray(value) - threshold) / np.asarray(error)
        self.flags[name] = self.values[name] > threshold
        self.thresholds[name] = threshold

    def by_hand(self, name: str, head: int) -> None:
        """A flag without a number, after all others."""
        if name not in self.flags:
            self.add(name, [], [], [], math.nan)
        self.flags[name] = self.flags.pop(name) | (np.arange(self.heads) == head)


def _check(surface: object) -> None:
    remedy = "make it with summarize(stream, patterns.surface_patterns)"
    if not isinstance(surface, Summary):
        raise ValidationError(f"label_behaviors needs a Summary, but got {type(surface).__name__}; {remedy}")
    missing = [name for name in NEEDED if name not in surface.statistics]
    if missing:
        raise ValidationError(
            f"label_behaviors needs the statistics of patterns.surface_patterns, but the summary lacks "
            f"{', '.join(missing)}; {remedy}"
        )


def _refuse_surface_name(label: object) -> None:
    if not isinstance(label, str) or not label or label in SURFACE:
        raise ValidationError(
            f"a linguistic label is a text other than {', '.join(SURFACE)}, which surface statistics give, but is "
            f"{label!r}; give it another name"
        )


def _place(head: HeadName, index: Mapping[tuple[int, int], int]) -> int:
    place = parse_head(head)
    if place not in index:
        raise SelectionError(
            f"head {format_head(*place)} is not among the heads of the summary; give scores and names of the same heads"
        )
    return index[place]


def _statistic(surface: Summary, name: str, entropy: float | None) -> tuple[Numpy, Numpy]:
    """What decides about a behaviour, and its standard error; "broad" in nats only where that is the threshold.

    The error of a ratio takes the covariance of its parts, so it is NaN unless the lower part is the same everywhere.
    """
    measured = "entropy" if name == "broad" else name
    value, error = surface.mean(measured), surface.standard_error(measured)
    if name != "broad" or entropy is not None:
        return value, error
    most = np.where(surface.mean("uniform_entropy") > 0, surface.mean("uniform_entropy"), np.nan)
    alike = surface.standard_error("uniform_entropy") <= 1e-9 * most
    return value / most, np.where(alike, error, np.nan) / most


def _standard_error(row: BestHead | CoreferenceRow, level: float) -> float:
    """From the interval; where that has no width, or one sentence alone has data, that of Agresti and Coull's share."""
    if row.high > row.low:
        return (row.high - row.low) / (2 * NormalDist().inv_cdf((1 + level) / 2))
    share = (row.accuracy * row.count + 2) / (row.count + 4)
    return math.sqrt(share * (1 - share) / (row.count + 4))


def _best_by_relation(relations: object, min_count: int) -> BestHeads:
    if isinstance(relations, BestHeads):
        return relations
    if not isinstance(relations, RelationScores):
        raise ValidationError(
            "relations must be what heads.score_relations, best_heads or cross_fit gives, but is "
            f"{type(relations).__name__}"
        )
    best = best_heads(relations, min_count=min_count)
    if relations.sentences < FOLDS:
        return best
    named = None not in relations.documents and len(set(relations.documents)) >= FOLDS
    rows: list[BestHead] = []
    for row in best.rows:
        try:
            rows += cross_fit(
                relations, folds=FOLDS, by="document" if named else "sentence", relations=[row.relation]
            ).rows
        except SelectionError:  # one fold alone has the relation
            rows.append(row)
    return dataclasses.replace(best, rows=tuple(rows))


def _coreference_table(coreference: object) -> CoreferenceTable:
    if isinstance(coreference, CoreferenceTable):
        return coreference
    if not isinstance(coreference, CoreferenceScores):
        raise ValidationError(
            "coreference must be what heads.score_coreference, coreference_table or coreference_cross_fit gives, but "
            f"is {type(coreference).__name__}"
        )
    few = len(coreference.by_document()[1]) < FOLDS
    return coreference_table(coreference) if few else coreference_cross_fit(coreference, folds=FOLDS)
