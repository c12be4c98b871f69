"""Stereotypes in single heads: does attention follow the pronoun (after Vig 2019, head view)?

Vig shows a head that links "she" to the nurse and "he" to the doctor. Here that is a number with a test.
"""

from __future__ import annotations

import base64
import dataclasses
import html
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.annotation import DocumentWindow
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import one_of
from bertattn.heads._rows import Rows
from bertattn.heads._stream import Skipped, counted, weights_of_gold
from bertattn.heads.pairs import KEY, ROLES, VERSIONS
from bertattn.results import Result
from bertattn.statistics import (
    BootstrapInterval,
    adjust_pvalues,
    bootstrap_ci,
    max_statistic_test,
    paired_permutation_test,
)
from bertattn.tensor import AttentionTensor, Source, format_head

__all__ = ["BiasScores", "BiasTest", "BiasTests", "ScoredPair", "score_bias"]

BiasDirection: TypeAlias = Literal["from_mention", "to_mention"]
Unit: TypeAlias = Literal["candidate", "template"]
Correction: TypeAlias = Literal["max-statistic", "holm", "benjamini-hochberg"]

# Heads in the printed table.
SHOWN: Final = 5
# Below this many units a test can hardly reject anything, and an interval is too short.
FEW_UNITS: Final = 10


@dataclass(frozen=True)
class BiasTest:
    """One head.

    Args:
        head: its name, counted from 1.
        effect: above 0 where it follows the stereotype.
        low, high: bootstrap interval of this effect alone.
        p, adjusted_p: two-sided, of this head alone and adjusted for all.
        pro_fitting, pro_other, anti_fitting, anti_other: mean attention to either candidate in either sentence;
            effect = (pro_fitting - pro_other) - (anti_fitting - anti_other).
    """

    head: str
    effect: float
    low: float
    high: float
    p: float
    adjusted_p: float
    pro_fitting: float
    pro_other: float
    anti_fitting: float
    anti_other: float


@dataclass(frozen=True, repr=False)
class BiasTests(Rows):
    """Every head, the largest effects of either sign first; see `BiasScores.test`. `print` shows the first five.

    Args:
        rows: a `BiasTest` each.
        unit, units: what was resampled, and how many there are.
        pairs: number of pairs.
        direction: whose attention it is.
        correction, level, resamples, seed: how.
    """

    rows: tuple[BiasTest, ...]
    unit: Unit = "candidate"
    units: int = 0
    pairs: int = 0
    direction: BiasDirection = "from_mention"
    correction: Correction = "max-statistic"
    level: float = 0.95
    resamples: int = 9999
    seed: int = 0

    def significant(self, *, alpha: float = 0.05) -> tuple[BiasTest, ...]:
        """Those whose effect is not 0 at this level, adjusted for all heads."""
        return tuple(row for row in self.rows if row.adjusted_p <= alpha)

    def __str__(self) -> str:
        """The strongest heads as a table."""
        level, either = f"{100 * self.level:g}% interval", f"{'fitting':>9}{'other':>7}"
        lines = [
            f"{'':40}{'pro sentence':>16}{'anti sentence':>16}",
            f"{'head':6}{'effect':>6}  {level:16}{'adjusted p':>10}{either}{either}",
        ]
        for row in self.rows[:SHOWN]:
            interval = f"{row.low:+.3f} to {row.high:+.3f}"
            means = (row.pro_fitting, row.pro_other, row.anti_fitting, row.anti_other)
            lines.append(
                f"{row.head:6}{row.effect:+6.3f}  {interval:16}{row.adjusted_p:>10.4f}"
                + "".join(f"{mean:{width}.3f}" for mean, width in zip(means, (9, 7, 9, 7), strict=True))
            )
        few = f" Fewer than {FEW_UNITS} {self.unit}s show little." if self.units < FEW_UNITS else ""
        lines.append(
            f"{self.direction}, picked on the same {self.pairs} pairs. {len(self.significant())} of {len(self)} heads "
            f"differ from 0 (adjusted p <= 0.05, {self.units} {self.unit}s).{few}"
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls._restored(state, BiasTest)


class ScoredPair(NamedTuple):
    """What is known of a pair: its name and template, its candidates in lower case, and their order."""

    id: str
    template: str
    fitting: str
    other: str
    fitting_first: bool


@dataclass(frozen=True, eq=False, repr=False)
class BiasScores(Result):
    """The attention between pronoun and candidates in every pair: everything else is derived from it, and it adds.

    Args:
        layers, heads: the numbers, counted from 0, of the layers and heads.
        pairs: a `ScoredPair` each.
        attention: float64 `[pair, version, candidate, layer, head]`; versions pro, anti; candidates fitting, other.
        direction: "from_mention" is the pronoun's attention to the candidates, "to_mention" theirs to the pronoun.
        skipped: (index, reason) of inputs that the stream left out, and of sentences without their counterpart.
        source: where the maps came from.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    pairs: tuple[ScoredPair, ...]
    attention: Numpy
    direction: BiasDirection = "from_mention"
    skipped: Skipped = ()
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        for name in ("layers", "heads"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "pairs", tuple(ScoredPair(*pair) for pair in self.pairs))
        object.__setattr__(self, "skipped", tuple((int(i), str(reason)) for i, reason in self.skipped))
        object.__setattr__(self, "attention", _arrays.read_only(np.array(self.attention, dtype=np.float64)))
        one_of("direction", self.direction, get_args(BiasDirection))
        needed = (len(self.pairs), 2, 2, len(self.layers), len(self.heads))
        if self.attention.shape != needed:
            raise ValidationError(
                f"attention has shape {self.attention.shape}, but [pair, version, candidate, layer, head] is {needed}"
            )

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    @property
    def effects(self) -> Numpy:
        """`[pair, layer, head]`: the effect in each pair; NaN where some attention of it is undefined."""
        a = self.attention
        return np.asarray((a[:, 0, 0] - a[:, 0, 1]) - (a[:, 1, 0] - a[:, 1, 1]))

    @property
    def both_orders(self) -> Numpy:
        """bool `[pair]`: whether its template has these two candidates as often in one order as in the other.

        Where it has not, a head that from one pronoun looks further back than from the other, whoever stands there,
        has an effect too. `scores.select(scores.both_orders)` leaves such pairs out.
        """
        orders = [
            (pair.template, frozenset(pair[2:4]), pair.fitting if pair.fitting_first else pair.other)
            for pair in self.pairs
        ]
        counts = Counter(orders)
        return np.array([len({counts[one[0], one[1], first] for first in one[1]}) == 1 for one in orders], dtype=bool)

    @property
    def unreachable(self) -> int:
        """In how many pairs some candidate's attention is exactly 0 in every head of both sentences.

        A causal model cannot look at what comes later: that 0 says nothing.
        """
        return int((self.attention == 0).all(axis=(1, 3, 4)).any(axis=1).sum())

    def count(self) -> Numpy:
        """int `[layer, head]`: the pairs whose effect is defined."""
        return np.asarray((~np.isnan(self.effects)).sum(axis=0))

    def effect(self) -> Numpy:
        """`[layer, head]`: mean over templates of the mean over a template's pairs, from -2 to 2; NaN without pairs."""
        means = self.means()
        return np.asarray((means[0, 0] - means[0, 1]) - (means[1, 0] - means[1, 1]))

    def means(self) -> Numpy:
        """`[version, candidate, layer, head]`: the mean attentions that the effect is made of."""
        weights, known = self._weights()
        above, below = np.einsum("plh,pvclh->vclh", weights, known), weights.sum(axis=0)
        return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))

    def interval(
        self, *, unit: Unit = "candidate", level: float = 0.95, resamples: int = 2000, seed: int = 0
    ) -> BootstrapInterval:
        """Bootstrap interval of the effect of each head; see `test` for the unit.

        Raises:
            ValidationError: no pairs, or an option out of range.
        """
        return bootstrap_ci(*self._by(unit), level=level, resamples=resamples, seed=seed)

    def test(
        self,
        *,
        unit: Unit = "candidate",
        correction: Correction = "max-statistic",
        level: float = 0.95,
        resamples: int = 9999,
        seed: int = 0,
    ) -> BiasTests:
        """Which heads have an effect that is not 0: sign-flip test, two-sided, all heads at once.

        The effect is a sum over candidates of what the candidate gets under the pronoun that fits it, less what it gets
        under the other. Unit "candidate" turns the sign of that for each candidate, in all its pairs together: would
        other candidates of the same stereotypes show it too? Unit "template" turns the sign of each template, as
        exchanging its two pronouns does: are the pronouns treated alike in these very words? They hardly ever are, even
        by a model of random weights, since the same few candidates stand in many templates.

        Args:
            unit: whose sign is turned, and what is resampled for the intervals.
            correction: "max-statistic" (Westfall and Young 1993) uses that heads are alike; "holm" and
                "benjamini-hochberg" adjust the single p-values.
            level: of the intervals, of 2000 replicates.
            resamples, seed: of the signs drawn.

        Raises:
            ValidationError: no pairs, or an option out of range.
        """
        one_of("correction", correction, get_args(Correction))
        sums = self._by(unit)
        if correction == "max-statistic":
            joint = max_statistic_test(*sums, alternative="two-sided", resamples=resamples, seed=seed)
            single, adjusted = joint.p, joint.adjusted_p
        else:
            single = paired_permutation_test(*sums, alternative="two-sided", resamples=resamples, seed=seed).p
            adjusted = adjust_pvalues(single, method=correction)
        reach = self.interval(unit=unit, level=level, seed=seed)
        columns = np.stack(
            [self.effect(), reach.low, reach.high, single, adjusted, *self.means().reshape(4, *single.shape)]
        )
        rows = [BiasTest(format_head(layer, head), *columns[:, i, j].tolist()) for i, j, layer, head in self._cells()]
        rows.sort(key=lambda row: np.nan_to_num(-abs(row.effect), nan=1.0))
        return BiasTests(
            tuple(rows), unit, len(sums[0]), len(self), self.direction, correction, float(level), resamples, seed
        )

    def select(self, pairs: Any, /) -> BiasScores:
        """The scores of some pairs, by number or boolean mask, each once, in the order of the whole.

        Raises:
            SelectionError: numbers of no pairs, or a mask of another length.
        """
        asked = np.asarray(pairs)
        try:
            kept = np.unique(np.arange(len(self))[asked if asked.size or asked.dtype == bool else []])
        except IndexError:
            raise SelectionError(
                f"pairs must be numbers from 0 to {len(self) - 1}, or one True or False for each, but are {pairs!r:.60}"
            ) from None
        return dataclasses.replace(
            self, pairs=tuple(self.pairs[i] for i in kept), attention=self.attention[kept], skipped=()
        )

    def __add__(self, other: object) -> BiasScores:
        """The pairs of both; templates of one name are one. The indices in `skipped` stay those of each stream.

        Raises:
            ValidationError: other heads or another direction, maps of another model, or a pair that is in both.
        """
        if not isinstance(other, BiasScores):
            return NotImplemented
        facts = [(one.layers, one.heads, one.direction, one.source.model) for one in (self, other)]
        for name, mine, theirs in zip(("layers", "heads", "direction", "model"), *facts, strict=True):
            if mine != theirs:
                raise ValidationError(f"scores of different {name} do not add: {mine!r} and {theirs!r}")
        twice = sorted({pair.id for pair in self.pairs} & {pair.id for pair in other.pairs})
        if twice:
            raise ValidationError(f"{len(twice)} pairs are in both, such as {twice[0]!r}; score each pair once")
        return dataclasses.replace(
            self,
            pairs=self.pairs + other.pairs,
            attention=np.concatenate([self.attention, other.attention]),
            skipped=tuple(sorted(self.skipped + other.skipped)),
        )

    def __radd__(self, other: object) -> BiasScores:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, BiasScores) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        templates = len({pair.template for pair in self.pairs})
        left_out = f", {len(self.skipped)} inputs skipped" if self.skipped else ""
        return (
            f"BiasScores({len(self)} pairs of {templates} templates, {self.direction}, {len(self.layers)} layers x "
            f"{len(self.heads)} heads{left_out})"
        )

    def __str__(self) -> str:
        """The strongest heads, and what stands in the way of reading them."""
        if not len(self):
            return repr(self)
        lines = [repr(self), str(self.test())]
        uneven = len(self) - int(self.both_orders.sum())
        if uneven:
            lines.append(
                f"In {uneven} pairs the template has its candidates more often in one order than in the other: place "
                "and stereotype are mixed there. See both_orders."
            )
        if self.unreachable:
            lines.append(
                f"In {self.unreachable} pairs a candidate gets exactly 0 from every head, as later words do in causal "
                "models."
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each layer and head, which are counted from 1."""
        effect, count, means = self.effect(), self.count(), self.means()
        return [
            {"direction": self.direction, "layer": layer + 1, "head": head + 1, "name": format_head(layer, head)}
            | {"count": int(count[i, j]), "effect": float(effect[i, j])}
            | {f"{VERSIONS[v]}_{ROLES[1 + c]}": float(means[v, c, i, j]) for v in (0, 1) for c in (0, 1)}
            for i, j, layer, head in self._cells()
        ]

    def _cells(self) -> list[tuple[int, int, int, int]]:
        """Place in the arrays, and number, of each layer and head."""
        return [(i, j, layer, head) for i, layer in enumerate(self.layers) for j, head in enumerate(self.heads)]

    def _weights(self) -> tuple[Numpy, Numpy]:
        """`[pair, layer, head]`, 1 a template, shared by its defined pairs; and the attention, NaN as 0."""
        defined = ~np.isnan(self.effects)
        counts, number = _summed(defined.astype(np.float64), [pair.template for pair in self.pairs])
        weights = defined / np.maximum(counts, 1)[number]
        return weights, np.nan_to_num(self.attention)

    def _by(self, unit: Unit) -> tuple[Numpy, Numpy]:
        """Numerators and denominators `[unit, layer, head]`; the ratio of their sums is the effect."""
        one_of("unit", unit, get_args(Unit))
        if not len(self):
            raise ValidationError("there are no pairs to test: none was selected")
        weights, a = self._weights()
        # What each candidate gets under its pronoun less what it gets under the other: the effect is the sum of both.
        own = np.stack([a[:, 0, 0] - a[:, 1, 0], a[:, 1, 1] - a[:, 0, 1]], axis=1)
        if unit == "template":
            names = [pair.template for pair in self.pairs]
            return _summed(weights * own.sum(axis=1), names)[0], _summed(weights, names)[0]
        shares = np.repeat(weights, 2, axis=0)
        names = [name for pair in self.pairs for name in (pair.fitting, pair.other)]
        return _summed(2 * shares * own.reshape(shares.shape), names)[0], _summed(shares, names)[0]

    def _state(self) -> dict[str, Any]:
        state = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        state["attention"] = base64.b64encode(self.attention.astype("<f8").tobytes()).decode()
        state["source"] = dataclasses.asdict(self.source)
        return state

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        shape = (len(state["pairs"]), 2, 2, len(state["layers"]), len(state["heads"]))
        attention = np.frombuffer(base64.b64decode(state["attention"]), dtype="<f8").reshape(shape)
        return cls(**(state | {"attention": attention, "source": Source(**state["source"])}))


def score_bias(
    stream: Iterable[AttentionTensor],
    /,
    *,
    direction: BiasDirection = "from_mention",
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = False,
) -> BiasScores:
    """How far each head's attention follows a stereotype, in minimal pairs (after Vig 2019, head view).

        effect = [a(p -> X) - a(p -> Y)] - [a'(p' -> X) - a'(p' -> Y)]

    a is the attention in the sentence with the pronoun p, which fits the stereotype of X and not of Y, a' that in the
    same sentence with the other pronoun p'. From -2 to 2; above 0 the head follows the stereotype. What does not depend
    on the pronoun, such as where X and Y stand and who is meant, cancels out.

    Args:
        stream: maps of both sentences of each pair, such as `ext.extract(pairs)` of a `MinimalPairs`; of words or
            tokens.
        direction: "from_mention", the pronoun's attention to the candidates, or "to_mention", theirs to the pronoun.
        on_error: what to do with a sentence of which a word has no token: "raise", or "skip" to list it in `.skipped`,
            with its counterpart.
        progress: show a bar.

    An exception on the way, Ctrl-C among them, has the scores of what was done so far as its attribute `partial`.

    Raises:
        ValidationError: maps that are not of minimal pairs, no whole pair, a sentence given twice, an unknown option.
        AlignmentError: tokens that do not know their words, or words without a token.
        MeasureError: cross-attention, or norms of vectors that are not merged into words.

    Examples:
        >>> from bertattn import Axis
        >>> from bertattn.heads.pairs import template_pairs
        >>> person = {"she": "Nurses", "he": "Guards"}
        >>> maps = []
        >>> for window in template_pairs(["{} knew {} when {pronoun} sang"], {"Nurses": "she", "Guards": "he"}):
        ...     weights = np.eye(6)  # a head that looks from "she" at nurses and from "he" at guards
        ...     weights[4] = [word == person[window.words[4]] for word in window.words]
        ...     axis = Axis(window.words, word_ids=range(6), words=window.words)
        ...     maps.append(AttentionTensor(weights[None, None], axis, annotation=window))
        >>> score_bias(maps).effect()
        array([[2.]])
    """
    one_of("direction", direction, get_args(BiasDirection))
    counter = _Counter(direction)
    scores = counted(stream, counter, caller="score_bias", noun="sentence", on_error=on_error, progress=progress)
    if not len(scores):
        raise ValidationError(
            "no pair has maps of both its sentences; give the maps of all sentences of a MinimalPairs"
        )
    return scores


class _Counter:
    """What `score_bias` has found so far: for each pair and version which map it was, its window and its attention."""

    def __init__(self, direction: BiasDirection) -> None:
        self.direction = direction
        self.done = 0
        self.found: dict[tuple[str, str], dict[str, tuple[int, DocumentWindow, Numpy]]] = {}

    def add(self, attention: AttentionTensor, index: int) -> None:
        gold = attention.annotation
        label = gold.sentences[0].metadata.get(KEY) if isinstance(gold, DocumentWindow) else None
        if not isinstance(gold, DocumentWindow) or label is None:
            raise ValidationError(
                f"map {index} of the stream is of no minimal pair (its annotation is {type(gold).__name__}); extract "
                "from what heads.minimal_pairs or heads.template_pairs gives"
            )
        weights = weights_of_gold(attention, index, len(gold))
        pronoun, *others = _roles(gold)
        values = weights[:, :, pronoun, others] if self.direction == "from_mention" else weights[:, :, others, pronoun]
        versions = self.found.setdefault((label["id"], label["template"]), {})
        if label["version"] in versions:
            raise ValidationError(
                f"map {index} of the stream is again the {label['version']} sentence of pair {label['id']!r}"
            )
        versions[label["version"]] = self.done, gold, np.moveaxis(np.asarray(values, dtype=np.float64), -1, 0)
        self.done += 1

    def result(self, first: AttentionTensor, skipped: Skipped) -> BiasScores:
        pairs, values, alone = [], [], []
        for (name, template), versions in self.found.items():
            if len(versions) < len(VERSIONS):
                ((index, _, _),) = versions.values()
                for left_out, _ in skipped:  # which were not counted
                    index += left_out <= index
                alone.append((index, f"pair {name!r} lacks its other sentence"))
                continue
            window = versions["pro"][1]
            _, fitting, other = _roles(window)
            called = window.sentences[0].metadata[KEY]["names"]
            pairs.append(ScoredPair(name, template, called[0], called[1], fitting < other))
            values.append([versions[version][2] for version in VERSIONS])
        return BiasScores(
            first.layers,
            first.heads,
            tuple(pairs),
            np.reshape(values, (len(pairs), 2, 2, len(first.layers), len(first.heads))),
            direction=self.direction,
            skipped=tuple(sorted((*skipped, *alone))),
            source=first.source or Source(),
        )


def _roles(window: DocumentWindow) -> list[int]:
    """The words of pronoun, fitting and other."""
    places = {mention.entity: mention.start for mention in window.mentions}
    return [places[role] for role in ROLES]


def _summed(values: Numpy, names: Sequence[str]) -> tuple[Numpy, Numpy]:
    """`[name, ...]`: sums over the rows of each name, in the order of their first occurrence; each row's number."""
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    rows = np.array([number[name] for name in names], dtype=np.int64)
    sums = np.zeros((len(number), *values.shape[1:]))
    np.add.at(sums, rows, values)
    return sums, rows
