"""Intervals and tests of ratios of sums over units: bootstrap, sign-flip, max-statistic, multiple comparisons.

The unit, axis 0 of every array, is what is resampled: a sentence, or a document. The words in it depend on each other,
so they are drawn together or not at all. A statistic is sum_s c[s] / sum_s n[s], recomputed whole in every replicate:
never a mean of the units' own ratios. The other axes are cells (head, direction, relation ...), which share every
draw, so what they have in common is kept.

Arrays may be dense, `[unit, *cells]`, or two-dimensional of scipy.sparse, `[unit, cell]`. Beside the data, held once in
float64, no function needs more than some 300 MB, however many units, cells and resamples there are (one row of each
must fit in 32 MB). The same seed gives the same numbers.
"""

from __future__ import annotations

import dataclasses
import operator
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.errors import ValidationError
from bertattn.results import Result, numbers_from_json, numbers_to_json

__all__ = [
    "BootstrapInterval",
    "MaxStatisticTest",
    "SignFlipTest",
    "adjust_pvalues",
    "bootstrap_ci",
    "max_statistic_test",
    "paired_permutation_test",
]

Alternative: TypeAlias = Literal["greater", "less", "two-sided"]
Interval: TypeAlias = Literal["percentile", "bca"]
Adjustment: TypeAlias = Literal["holm", "bonferroni", "benjamini-hochberg", "benjamini-yekutieli"]

# Below this many units with data an interval or a test says little, and is flagged.
FEW_UNITS = 10
# Up to this many non-zero differences all 2^12 = 4096 signs are tried instead of drawn.
_ENUMERATED = 12
# Numbers in one array of a block: 32 MB of float64.
_BLOCK = 2**22
# Sums that differ by less than this part of what they could be at most are equal but for rounding.
_TIE = 1e-11


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class _OfCells(Result):
    """One estimate a cell, with what every report of it must say."""

    estimate: Numpy
    units_with_data: Numpy
    units: int
    resamples: int
    seed: int

    def __post_init__(self) -> None:
        shape = np.shape(self.estimate)
        for name in self._columns():
            values = np.asarray(getattr(self, name))
            if values.shape != shape:
                raise ValidationError(f"{name} has shape {values.shape} but estimate has {shape}; give one a cell")
            object.__setattr__(self, name, _arrays.read_only(values.view()))

    @property
    def few_units(self) -> Numpy:
        """bool `[*cells]`: fewer than 10 units have data, too few to trust an interval or to reject much."""
        return np.asarray(self.units_with_data < FEW_UNITS)

    def to_records(self) -> list[dict[str, Any]]:
        """One row a cell: its index on each axis of cells ("axis_1" ...), then every number of it."""
        columns = {name: getattr(self, name) for name in self._columns()}
        return [
            {f"axis_{axis + 1}": i for axis, i in enumerate(index)}
            | {name: values[index].item() for name, values in columns.items()}
            for index in np.ndindex(self.estimate.shape)
        ]

    @classmethod
    def _columns(cls) -> list[str]:
        return [field.name for field in dataclasses.fields(cls) if field.type == "Numpy"]

    def _state(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        arrays = {
            name: {"dtype": state[name].dtype.name, "shape": state[name].shape, "values": _to_json(state[name].ravel())}
            for name in self._columns()
        }
        return state | arrays

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        arrays = {
            name: numbers_from_json(state[name]["values"]).astype(state[name]["dtype"]).reshape(state[name]["shape"])
            for name in cls._columns()
        }
        return cls(**(state | arrays))


def _to_json(values: Numpy) -> Any:
    return numbers_to_json(values.astype(np.int64) if values.dtype == bool else values)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class BootstrapInterval(_OfCells):
    """Confidence intervals of ratios of sums; see `bootstrap_ci`.

    `few_units`, bool `[*cells]`, flags the cells with data in fewer than 10 units.

    Args:
        estimate: `[*cells]`, sum c / sum n over all units; NaN where sum n is 0.
        low, high: `[*cells]`, the interval; NaN where fewer than 2 units have data.
        standard_error: `[*cells]`, standard deviation of the replicates; NaN where fewer than 2 units have data.
        units_with_data: int `[*cells]`, in how many units n > 0.
        empty_resamples: int `[*cells]`, how many replicates drew no unit with data, and were left out of this cell.
        level: the probability that an interval, or with `simultaneous` all of them together, should cover the truth.
        method: "percentile" or "bca".
        simultaneous: whether the level holds for all cells together.
        units, resamples, seed: number of units, of replicates, and where they started.
    """

    low: Numpy
    high: Numpy
    standard_error: Numpy
    empty_resamples: Numpy
    level: float
    method: Interval
    simultaneous: bool

    def __repr__(self) -> str:
        kind = "simultaneous" if self.simultaneous else self.method
        return (
            f"BootstrapInterval({_cells(self.estimate.size)}, level={self.level}, {kind}, units={self.units}, "
            f"resamples={self.resamples}, seed={self.seed})"
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SignFlipTest(_OfCells):
    """p-values of single cells; see `paired_permutation_test`.

    `few_units`, bool `[*cells]`, flags the cells with data in fewer than 10 units.

    Args:
        estimate: `[*cells]`, the difference, sum d / sum n; NaN where sum n is 0.
        p: `[*cells]`, not adjusted for the number of cells; NaN where sum n is 0.
        exact: bool `[*cells]`, whether every choice of signs was tried; else `resamples` of them were drawn.
        units_with_data: int `[*cells]`, in how many units n > 0.
        nonzero_units: int `[*cells]`, in how many units the difference is not 0; the others say nothing.
        alternative: "greater", "less" or "two-sided".
        units, resamples, seed: number of units, of drawn signs, and where they started.
    """

    p: Numpy
    exact: Numpy
    nonzero_units: Numpy
    alternative: Alternative

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({_cells(self.estimate.size)}, alternative={self.alternative!r}, "
            f"units={self.units}, resamples={self.resamples}, seed={self.seed})"
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MaxStatisticTest(SignFlipTest):
    """p-values adjusted for a family of cells; see `max_statistic_test`.

    Args:
        estimate: `[*cells]`, the difference, sum d / sum n; NaN where sum n is 0.
        statistic: `[*cells]`, what was compared: t of the mean difference a unit, or with `studentized=False` the
            estimate; as observed, before the alternative turns it.
        p: `[*cells]`, not adjusted, from the same signs.
        adjusted_p: `[*cells]`, adjusted for all cells of the family; NaN where sum n is 0.
        exact: bool `[*cells]`, whether every choice of signs was tried, the same for all cells.
        units_with_data: int `[*cells]`, in how many units n > 0.
        nonzero_units: int `[*cells]`, in how many units the difference is not 0.
        alternative: "greater", "less" or "two-sided".
        studentized, step_down: how it was tested.
        units, resamples, seed: number of units, of drawn signs, and where they started.
    """

    statistic: Numpy
    adjusted_p: Numpy
    studentized: bool
    step_down: bool

    @property
    def family_size(self) -> int:
        """Number of cells that were tested together: those with data."""
        return int((~np.isnan(self.adjusted_p)).sum())


def bootstrap_ci(
    numerators: Any,
    denominators: Any = None,
    /,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    method: Interval = "percentile",
    simultaneous: bool = False,
) -> BootstrapInterval:
    """Bootstrap confidence interval of every cell's ratio of sums, sum_s c[s] / sum_s n[s].

    A replicate draws as many units as there are, with replacement, the same ones for all cells, and recomputes both
    sums. For an accuracy give correct and total counts; for a difference of two accuracies on the same words, the
    difference of their correct counts and the same totals: what both have in common then cancels, as it should.

    "percentile" takes the quantiles of the replicates (Efron and Tibshirani 1993); "bca" moves them for bias and
    skewness, with the acceleration sum u^3 / (6 (sum u^2)^1.5) of u[s] = c[s] - ratio n[s] (Efron 1987). Where all
    units agree both have no width: [1, 1] says that, and not that the truth is 1.

    With `simultaneous` the intervals hold all together: ratio -/+ q se, where se = sqrt(sum u^2) / sum n and q is the
    quantile, at `level`, of the largest |replicate - ratio| / se* among the cells, se* being the se of the units drawn
    (bootstrap-t: Efron and Tibshirani 1993, section 12.5; of a maximum: Romano and Wolf 2005). Where these all agree se
    stands in for se*. Cells with data in few units make the intervals of all wider.

    An interval for the best of many cells is only right if the cell was chosen on other data.

    Args:
        numerators: c, `[unit, *cells]`, or scipy.sparse `[unit, cell]`; 0 where the unit has no data.
        denominators: n, 0 or more: `[unit]`, the same for all cells; or with as many axes as numerators, each as long
            or 1; or scipy.sparse `[unit, cell]`. None counts 1 a unit, so the statistic is the mean.
        level: between 0 and 1.
        resamples: number of replicates; 2000 or more for an interval in print.
        seed: an integer.
        method: "percentile" or "bca".
        simultaneous: intervals that cover all truths together with the probability `level`.

    Returns:
        The estimate and its interval `[*cells]`. A cell with data in fewer than 2 units has no interval (NaN).
        Where all numerators are 0 it is [0, 0].

    Raises:
        ValidationError: no units, shapes that do not fit, numbers that are not finite, a negative denominator, a
            numerator in a unit without data, an option out of range, or "bca" with `simultaneous`.

    Examples:
        2 of 4 words right in the first sentence, none of 2 in the second, and so on:

        >>> correct, words = np.array([2, 0, 3, 1, 5, 0]), np.array([4, 2, 3, 1, 6, 2])
        >>> ci = bootstrap_ci(correct, words)
        >>> round(float(ci.estimate), 3), round(float(ci.low), 3), round(float(ci.high), 3)
        (0.611, 0.25, 0.846)
        >>> bool(ci.few_units)  # 6 sentences: not to be trusted
        True
    """
    if not 0 < level < 1:
        raise ValidationError(f"level is a probability between 0 and 1, such as 0.95, but is {level!r}")
    _check_option("method", method, ("percentile", "bca"))
    if simultaneous and method != "percentile":
        raise ValidationError("simultaneous intervals are symmetric around the estimate: leave method out")
    resamples, seed = _count("resamples", resamples, 1), _count("seed", seed, 0)
    ratios = _ratios(numerators, denominators, "numerators")
    estimate, with_data = ratios.of(), ratios.units_with_data()
    # Simultaneous intervals take more arrays at once.
    width = max(1, _BLOCK // (2 * max(resamples, ratios.units) if simultaneous else resamples))
    blocks = [slice(start, start + width) for start in range(0, len(estimate), width)]
    low, high, error, spread = (np.full(len(estimate), np.nan) for _ in range(4))
    empty = np.zeros(len(estimate), dtype=np.int64)
    furthest = np.zeros(resamples)
    for block in blocks:
        replicates = np.empty((len(estimate[block]), resamples))
        if simultaneous:
            residuals, spread[block] = ratios.residuals(block)
        for first, weights in _weights(ratios.units, resamples, seed):
            part = slice(first, first + len(weights))
            replicates[:, part] = ratios.of(weights, block).T
            if simultaneous:
                furthest[part] = np.fmax(furthest[part], ratios.furthest(weights, block, residuals, spread[block]))
        empty[block] = np.isnan(replicates).sum(1)
        replicates[with_data[block] < 2] = np.nan
        error[block] = _standard_deviation(replicates)
        if not simultaneous:
            replicates.sort(axis=1)  # NaN go to the end
            acceleration = ratios.acceleration(block) if method == "bca" else None
            low[block], high[block] = _interval(replicates, level, estimate[block], acceleration)
    if simultaneous:
        reach = np.quantile(furthest, level) * spread
        low, high = estimate - reach, estimate + reach
    shape = ratios.cells
    return BootstrapInterval(
        estimate=estimate.reshape(shape),
        low=low.reshape(shape),
        high=high.reshape(shape),
        standard_error=error.reshape(shape),
        units_with_data=with_data.reshape(shape),
        empty_resamples=empty.reshape(shape),
        level=float(level),
        method=method,
        simultaneous=bool(simultaneous),
        units=ratios.units,
        resamples=resamples,
        seed=seed,
    )


def paired_permutation_test(
    differences: Any,
    denominators: Any = None,
    /,
    *,
    alternative: Alternative = "greater",
    resamples: int = 9999,
    seed: int = 0,
) -> SignFlipTest:
    """Sign-flip test, for each cell by itself, that a difference paired by unit is 0.

    If two methods are as good as each other, their labels can be swapped within any unit, which turns the sign of its
    difference d[s]. T = sum_s d[s] is compared with T* = sum_s e[s] d[s] under signs e[s] drawn at random:
    p = (1 + #{T* >= T}) / (1 + resamples) (Fisher 1935; for NLP, Yeh 2000). A cell with at most 12 non-zero differences
    has all its 2^k signs tried instead, p = #{T* >= T} / 2^k. Where all differences are 0, p is 1.

    Nothing is adjusted for the number of cells: see `max_statistic_test` and `adjust_pvalues`.

    Args:
        differences: d, `[unit, *cells]`, or scipy.sparse `[unit, cell]`: the correct count of one method less that of
            the other in the unit.
        denominators: n, as for `bootstrap_ci`; they scale the estimate sum d / sum n and count the units with data, and
            do not change p. None counts 1 a unit.
        alternative: "greater" (than 0), "less", or "two-sided", which compares |T*| with |T|.
        resamples: number of signs drawn; the smallest p is 1 / (1 + resamples).
        seed: an integer.

    Raises:
        ValidationError: as `bootstrap_ci`.

    Examples:
        Head 8-10 is right once more than the baseline in six sentences, once less in one:

        >>> test = paired_permutation_test([1, 1, 1, 0, 1, -1, 1, 1])
        >>> float(test.p), bool(test.exact)  # 8 of the 2^7 signs give a sum of 5 or more
        (0.0625, True)
    """
    _check_option("alternative", alternative, ("greater", "less", "two-sided"))
    resamples, seed = _count("resamples", resamples, 1), _count("seed", seed, 0)
    ratios = _ratios(differences, denominators, "differences")
    d, cells = ratios.top, ratios.cells
    estimate, nonzero = ratios.of(), _count_nonzero(d)
    observed = _turned(_column_sums(d), alternative)
    least = observed - _TIE * _column_sums(abs(d))
    exact = nonzero <= _ENUMERATED
    p = np.empty(len(estimate))
    p[exact] = _enumerated(d[:, exact], least[exact], alternative)
    if not exact.all():
        drawn, least = d[:, ~exact], least[~exact]
        reached = np.zeros(len(least), dtype=np.int64)
        for signs in _signs(ratios.units, resamples, seed, width=len(least)):
            reached += (_turned(signs @ drawn, alternative) >= least).sum(0)
        p[~exact] = (1 + reached) / (1 + resamples)
    p[np.isnan(estimate)] = np.nan
    return SignFlipTest(
        estimate=estimate.reshape(cells),
        p=p.reshape(cells),
        exact=exact.reshape(cells),
        units_with_data=ratios.units_with_data().reshape(cells),
        nonzero_units=nonzero.reshape(cells),
        alternative=alternative,
        units=ratios.units,
        resamples=resamples,
        seed=seed,
    )


def max_statistic_test(
    differences: Any,
    denominators: Any = None,
    /,
    *,
    alternative: Alternative = "greater",
    studentized: bool = True,
    step_down: bool = False,
    resamples: int = 9999,
    seed: int = 0,
) -> MaxStatisticTest:
    """Sign-flip test of many cells at once: p-values adjusted so that, of all true nulls, one is rejected seldom.

    Westfall and Young (1993). Each replicate gives all cells the same signs, so that cells which go together stay so,
    and keeps its largest statistic: M = max_h T*[h]. Single-step, adjusted p[h] = (1 + #{M >= T[h]}) / (1 + resamples).
    `step_down` compares the cell with the i-th largest T only with the maximum over itself and the cells below it, and
    lets no p be smaller than one above it; it rejects at least as much. Where at most 12 units have a difference in any
    cell, all 2^k signs are tried instead, p[h] = #{M >= T[h]} / 2^k.

    The statistic is t = mean(d) / se(d) over units, with the standard error of the same replicate: without it a cell
    with large differences, one far below the baseline say, sets the maximum for all. `studentized=False` compares the
    estimates sum d / sum n themselves.

    The family is what you give: the heads and directions of one relation, or of all relations; say which.

    Args:
        differences, denominators: as for `paired_permutation_test`.
        alternative: "greater", "less" or "two-sided", for every cell.
        studentized: compare t statistics.
        step_down: the step-down form.
        resamples: number of signs drawn.
        seed: an integer.

    Raises:
        ValidationError: as `bootstrap_ci`.

    Examples:
        >>> better = np.random.default_rng(0).integers(-1, 2, size=(60, 288))
        >>> better[:, 100] += np.arange(60) % 2
        >>> test = max_statistic_test(better, resamples=999)
        >>> int(test.adjusted_p.argmin()), bool(test.adjusted_p[100] < 0.05), int((test.adjusted_p < 0.05).sum())
        (100, True, 1)
        >>> int((test.p < 0.05).sum())  # without adjustment, heads of pure noise look good too
        9
    """
    _check_option("alternative", alternative, ("greater", "less", "two-sided"))
    resamples, seed = _count("resamples", resamples, 1), _count("seed", seed, 0)
    ratios = _ratios(differences, denominators, "differences")
    cells = ratios.cells
    estimate, nonzero = ratios.of(), _count_nonzero(ratios.top)
    tested = ~np.isnan(estimate)
    d = ratios.top[:, tested]
    scale = np.sqrt(_column_sums(d * d)) if studentized else ratios.bottom_sums()[tested]
    scale = np.where(scale > 0, scale, 1.0)
    observed = _turned(_column_sums(d) / scale, alternative)
    least = observed - _TIE * _column_sums(abs(d)) / scale
    busy = np.flatnonzero(_row_nonzero(d))
    exact = len(busy) <= _ENUMERATED
    if exact:
        blocks: Iterator[Numpy] = _all_signs(len(busy), width=len(scale))
        d = d[busy]
    else:
        blocks = _signs(ratios.units, resamples, seed, width=len(scale))
    order = np.argsort(observed, kind="stable")
    alone, together = (np.zeros(len(scale), dtype=np.int64) for _ in range(2))
    for signs in blocks:
        # For one number of units t grows with sum d / sqrt(sum d^2), whose denominator no sign changes.
        drawn = _turned((signs @ d) / scale, alternative)
        alone += (drawn >= least).sum(0)
        if step_down:
            largest = np.maximum.accumulate(drawn[:, order], axis=1)
            together[order] += (largest >= least[order]).sum(0)
        elif len(scale):
            together += (drawn.max(1)[:, None] >= least).sum(0)
    added, tried = (0, 2 ** len(busy)) if exact else (1, 1 + resamples)
    single, adjusted = (added + alone) / tried, (added + together) / tried
    if step_down:
        falling = order[::-1]
        adjusted[falling] = np.maximum.accumulate(adjusted[falling])
    statistic = estimate.copy()
    if studentized:
        statistic[tested] = _student_t(_column_sums(d) / scale, ratios.units)
    return MaxStatisticTest(
        estimate=estimate.reshape(cells),
        statistic=statistic.reshape(cells),
        p=_filled(single, tested).reshape(cells),
        adjusted_p=_filled(adjusted, tested).reshape(cells),
        exact=np.full(cells, exact),
        units_with_data=ratios.units_with_data().reshape(cells),
        nonzero_units=nonzero.reshape(cells),
        alternative=alternative,
        studentized=bool(studentized),
        step_down=bool(step_down),
        units=ratios.units,
        resamples=resamples,
        seed=seed,
    )


def adjust_pvalues(p: Any, /, *, method: Adjustment = "holm") -> Numpy:
    """p-values adjusted for their number m; all that are given are one family.

    - "bonferroni": min(1, m p).
    - "holm" (Holm 1979): max over k <= i of min(1, (m - k + 1) p_(k)). As "bonferroni" it bounds the probability of any
      false rejection, whatever the dependence, and rejects at least as much.
    - "benjamini-hochberg" (1995): min over k >= i of min(1, m p_(k) / k): bounds the expected share of false rejections
      among the rejected, for independent or positively dependent tests.
    - "benjamini-yekutieli" (2001): the same times sum 1/k, for any dependence.

    Args:
        p: an array of any shape; NaN, for what could not be tested, stays NaN and is not counted in m.
        method: one of the four.

    Returns:
        An array of the same shape.

    Raises:
        ValidationError: a value outside 0 to 1, or an unknown method.

    Examples:
        >>> adjust_pvalues([0.01, 0.04, 0.03, 0.005])
        array([0.03, 0.06, 0.06, 0.02])
        >>> adjust_pvalues([0.01, 0.04, 0.03, 0.005], method="benjamini-hochberg")
        array([0.02, 0.04, 0.04, 0.02])
    """
    _check_option("method", method, ("holm", "bonferroni", "benjamini-hochberg", "benjamini-yekutieli"))
    values = _floats("p", p)
    known = ~np.isnan(values)
    family = values[known]
    if not ((family >= 0) & (family <= 1)).all():
        raise ValidationError(f"p-values lie between 0 and 1, but range from {family.min():.4g} to {family.max():.4g}")
    m = len(family)
    if method == "bonferroni":
        adjusted = np.minimum(1.0, m * family)
    elif method == "holm":
        order = np.argsort(family)
        adjusted = np.empty(m)
        adjusted[order] = np.maximum.accumulate(np.minimum(1.0, np.arange(m, 0, -1) * family[order]))
    elif m:
        from scipy.stats import false_discovery_control

        adjusted = false_discovery_control(family, method={"h": "bh", "y": "by"}[method[10]])
    else:
        adjusted = family
    return _filled(adjusted, known.ravel()).reshape(values.shape)


@dataclass(frozen=True)
class _Ratios:
    """Numerators `top[unit, cell]` and denominators `bottom[unit, column]`; cell i divides by column `columns[i]`."""

    top: Any
    bottom: Any
    columns: Numpy
    cells: tuple[int, ...]

    @property
    def units(self) -> int:
        return int(self.top.shape[0])

    def bottom_sums(self) -> Numpy:
        return _column_sums(self.bottom)[self.columns]

    def units_with_data(self) -> Numpy:
        return _count_nonzero(self.bottom)[self.columns]

    def of(self, weights: Numpy | None = None, cells: slice = slice(None)) -> Numpy:
        """The ratio of every cell over units, or `[replicate, cell]` of units weighted; NaN without data."""
        weights_or_ones = np.ones((1, self.units)) if weights is None else weights
        used, column = np.unique(self.columns[cells], return_inverse=True)
        below = np.asarray(weights_or_ones @ self.bottom[:, used])[:, column]
        above = np.asarray(weights_or_ones @ self.top[:, cells])
        ratios = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
        return np.asarray(ratios[0] if weights is None else ratios)

    def residuals(self, cells: slice) -> tuple[Any, Numpy]:
        """(u = c - ratio n, `[unit, cell]`, sparse where both are; the spread sqrt(sum u^2) / sum n, `[cell]`).

        The spread is the standard error but for the factor sqrt(S / (S - 1)), which cancels out in an interval; 0 where
        all units agree but for rounding, NaN where fewer than 2 have data.
        """
        c, n = self.top[:, cells], self.bottom[:, self.columns[cells]]
        if not (_is_sparse(c) and _is_sparse(n)):
            c, n = _dense(c), _dense(n)
        u = c - n * np.nan_to_num(self.of(cells=cells))[None]
        square, noise = _column_sums(u * u), _TIE**2 * _column_sums(c * c)
        total = np.where(_count_nonzero(n) > 1, _column_sums(n), np.nan)
        return u, np.sqrt(np.where(square > noise, square, 0.0)) / total

    def furthest(self, weights: Numpy, cells: slice, u: Any, spread: Numpy) -> Numpy:
        """The largest |replicate - ratio| / spread of that replicate among the cells, `[replicate]`.

        With e = replicate - ratio its own residuals are u - e n, and their squares sum u^2 - 2 e sum u n + e^2 sum n^2.
        Where these are all 0, the spread of the data stands in.
        """
        used, column = np.unique(self.columns[cells], return_inverse=True)
        n = self.bottom[:, used]
        below, below_square = (np.asarray(weights @ x)[:, column] for x in (n, n * n))
        square = np.asarray(weights @ (u * u))
        noise = _TIE * square
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN where no unit has data
            away = np.asarray(weights @ u) / below
            square += away * (away * below_square - 2 * np.asarray(weights @ (u * n[:, column])))
            distance = np.abs(away) / np.where(square > noise, np.sqrt(square) / below, spread)
        return np.asarray(np.fmax.reduce(np.where(spread > 0, distance, 0.0), axis=1, initial=0.0))

    def acceleration(self, cells: slice) -> Numpy:
        """sum u^3 / (6 (sum u^2)^1.5) of u = c - ratio n; 0 where all u are 0."""
        ratio = self.of(cells=cells)
        columns = self.columns[cells]
        out = np.zeros(len(ratio))
        width = max(1, _BLOCK // self.units)
        for start in range(0, len(ratio), width):
            part = slice(start, start + width)
            c, n = (_dense(x) for x in (self.top[:, cells][:, part], self.bottom[:, columns[part]]))
            u = c - np.where(np.isnan(ratio[part]), 0.0, ratio[part]) * n
            noise = _TIE * np.abs(c).max(0, initial=0.0)
            u[np.abs(u) <= noise] = 0.0
            square = (u**2).sum(0)
            np.divide((u**3).sum(0), 6 * square**1.5, out=out[part], where=square > 0)
        return out


def _ratios(numerators: Any, denominators: Any, name: str) -> _Ratios:
    top, cells = _matrix(name, numerators)
    units = top.shape[0]
    if units == 0:
        raise ValidationError(f"{name} have no units: axis 0 has length 0")
    if denominators is None:
        return _Ratios(top, np.ones((units, 1)), np.zeros(top.shape[1], dtype=np.int64), cells)
    bottom, shape = _matrix("denominators", denominators)
    if shape == () and bottom.shape[0] == units:
        shape = (1,) * len(cells)
    if (
        bottom.shape[0] != units
        or len(shape) != len(cells)
        or any(a not in (1, b) for a, b in zip(shape, cells, strict=True))
    ):
        raise ValidationError(
            f"denominators have shape {(bottom.shape[0], *shape)} but {name} {(units, *cells)}; "
            f"give one a unit, [{units}], or as many axes, each as long or 1"
        )
    columns = np.broadcast_to(np.arange(bottom.shape[1]).reshape(shape), cells).ravel()
    ratios = _Ratios(top, bottom, columns, cells)
    _check_denominators(ratios, name)
    return ratios


def _check_denominators(ratios: _Ratios, name: str) -> None:
    values = ratios.bottom.data if _is_sparse(ratios.bottom) else ratios.bottom
    if (values < 0).any():
        raise ValidationError(f"denominators count, so they are 0 or more, but one is {values.min():.4g}")
    if _is_sparse(ratios.top):
        unit, cell = ratios.top.nonzero()
    elif (values > 0).all() and not _is_sparse(ratios.bottom):
        return
    else:
        unit, cell = np.nonzero(ratios.top)
    below = _dense(ratios.bottom[unit, ratios.columns[cell]]).ravel()
    if (below == 0).any():
        first = int(np.flatnonzero(below == 0)[0])
        index = tuple(int(i) for i in np.unravel_index(cell[first], ratios.cells))
        raise ValidationError(
            f"{name} must be 0 where the denominator is, but unit {unit[first]} has "
            f"{float(ratios.top[unit[first], cell[first]]):.4g} over 0{f' in cell {index}' if index else ''}"
        )


def _is_sparse(x: object) -> bool:
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(x))


def _matrix(name: str, values: Any) -> tuple[Any, tuple[int, ...]]:
    """(float64 `[unit, cell]`, dense or CSC; the shape of the cells)."""
    if _is_sparse(values):
        from scipy.sparse import csc_array

        if len(values.shape) != 2:
            raise ValidationError(f"sparse {name} must be [unit, cell], but have shape {values.shape}")
        matrix = csc_array(values, dtype=np.float64, copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        entries, shape = matrix.data, matrix.shape
    else:
        array = _floats(name, values)
        if array.ndim == 0:
            raise ValidationError(f"{name} must have the units on axis 0, but are one number {float(array):.4g}")
        entries, shape = array, array.shape
        matrix = array.reshape(shape[0], int(np.prod(shape[1:])))
    if not np.isfinite(entries).all():
        raise ValidationError(
            f"{name} must be finite, but one is {float(entries[~np.isfinite(entries)][0])}; "
            "give a unit without data 0, with a denominator of 0"
        )
    return matrix, tuple(shape[1:])


def _floats(name: str, values: Any) -> Numpy:
    try:
        return np.asarray(_arrays.to_numpy(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValidationError(f"{name} must be an array of numbers: {error}") from None


def _count(name: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValidationError(f"{name} is an integer of {least} or more, but is {value!r}")
    return number


def _check_option(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValidationError(f"{name} is one of {', '.join(map(repr, allowed))}, but is {value!r}")


def _cells(number: int) -> str:
    return f"{number} cell{'' if number == 1 else 's'}"


def _dense(x: Any) -> Numpy:
    return np.asarray(x.toarray() if _is_sparse(x) else x)


def _column_sums(x: Any) -> Numpy:
    return np.asarray(x.sum(axis=0), dtype=np.float64).ravel()


def _count_nonzero(x: Any) -> Numpy:
    counts = np.diff(x.indptr) if _is_sparse(x) else np.count_nonzero(x, axis=0)
    return np.asarray(counts, dtype=np.int64)


def _row_nonzero(x: Any) -> Numpy:
    if _is_sparse(x):
        return np.bincount(x.indices, minlength=x.shape[0]) > 0
    return np.asarray(x.any(axis=1))


def _filled(values: Numpy, known: Numpy) -> Numpy:
    out = np.full(len(known), np.nan)
    out[known] = values
    return out


def _weights(units: int, resamples: int, seed: int) -> Iterator[tuple[int, Numpy]]:
    """(number of the first replicate, how often each unit was drawn `[replicate, unit]`), the same in any blocks."""
    rng = np.random.default_rng(seed)
    size = max(1, _BLOCK // units)
    for first in range(0, resamples, size):
        rows = min(size, resamples - first)
        drawn = rng.integers(units, size=(rows, units))
        drawn += units * np.arange(rows)[:, None]
        yield first, np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(np.float64)


def _signs(units: int, resamples: int, seed: int, *, width: int) -> Iterator[Numpy]:
    """1 and -1 at random, `[replicate, unit]`, the same in any blocks: the bits of 64-bit numbers, lowest first."""
    rng = np.random.default_rng(seed)
    size = max(1, _BLOCK // max(units, width))
    for first in range(0, resamples, size):
        rows = min(size, resamples - first)
        numbers = rng.integers(np.iinfo(np.uint64).max, size=(rows, -(-units // 64)), dtype=np.uint64, endpoint=True)
        bits = np.unpackbits(numbers.astype("<u8").view(np.uint8), axis=1, count=units, bitorder="little")
        yield bits * 2.0 - 1.0


def _all_signs(units: int, *, width: int) -> Iterator[Numpy]:
    """Every choice of 1 and -1 once, `[choice, unit]`."""
    size = max(1, _BLOCK // max(units, width, 1))
    for first in range(0, 2**units, size):
        numbers = np.arange(first, min(first + size, 2**units))
        yield (numbers[:, None] >> np.arange(units) & 1) * 2.0 - 1.0


def _turned(statistic: Numpy, alternative: Alternative) -> Numpy:
    """The statistic as larger against the null."""
    if alternative == "two-sided":
        return np.asarray(np.abs(statistic))
    return statistic if alternative == "greater" else np.asarray(-statistic)


def _enumerated(d: Any, least: Numpy, alternative: Alternative) -> Numpy:
    """p of cells with few non-zero differences, all their signs tried."""
    from scipy.sparse import csc_array

    matrix = csc_array(d)
    matrix.eliminate_zeros()
    counts = np.diff(matrix.indptr)
    most = int(counts.max(initial=0))
    # A zero in place of a missing difference gives every sum twice, which leaves the share as it is.
    packed = np.zeros((most, len(counts)))
    packed[
        np.arange(len(matrix.data)) - np.repeat(matrix.indptr[:-1], counts), np.repeat(np.arange(len(counts)), counts)
    ] = matrix.data
    reached = np.zeros(len(counts), dtype=np.int64)
    for signs in _all_signs(most, width=len(counts)):
        reached += (_turned(signs @ packed, alternative) >= least).sum(0)
    return np.asarray(reached / 2**most)


def _student_t(z: Numpy, units: int) -> Numpy:
    """t of the mean from z = sum d / sqrt(sum d^2): t = z sqrt((n - 1) / (n - z^2)); infinite where all d are equal."""
    left = units - z**2
    some = left > _TIE * units
    t = np.copysign(np.where(z == 0, 0.0, np.inf), z)
    return np.asarray(np.where(some, z * np.sqrt((units - 1) / np.where(some, left, 1.0)), t))


def _standard_deviation(replicates: Numpy) -> Numpy:
    """Of each row, NaN left out; 0 where they differ by rounding only, NaN where fewer than 2 are left."""
    known = ~np.isnan(replicates)
    count = np.where(known.sum(1) > 1, known.sum(1), np.nan)
    mean = np.where(known, replicates, 0.0).sum(1) / count
    away = np.where(known, replicates - mean[:, None], 0.0)
    spread = np.sqrt((away**2).sum(1) / (count - 1))
    noise = _TIE * np.abs(np.where(known, replicates, 0.0)).max(1)
    return np.asarray(np.where(spread <= noise, 0.0, spread))


def _interval(ordered: Numpy, level: float, estimate: Numpy, acceleration: Numpy | None) -> tuple[Numpy, Numpy]:
    """(low, high) of each row of ascending replicates: percentiles, or BCa where an acceleration is given."""
    shares = np.array([(1 - level) / 2, (1 + level) / 2])[:, None] * np.ones(len(ordered))
    if acceleration is not None:
        from scipy.special import ndtr, ndtri

        count = np.maximum((~np.isnan(ordered)).sum(1), 1)
        below = (ordered < estimate[:, None]).sum(1) + (ordered == estimate[:, None]).sum(1) / 2
        # With all replicates on one side the bias would be infinite.
        bias = ndtri(np.clip(below / count, 0.5 / count, 1 - 0.5 / count))
        moved = bias + ndtri(shares)
        shares = ndtr(bias + moved / (1 - acceleration * moved))
    return _quantiles(ordered, shares[0]), _quantiles(ordered, shares[1])


def _quantiles(ordered: Numpy, shares: Numpy) -> Numpy:
    """The quantile `shares[i]` of ascending row i, interpolated linearly; NaN, which stand last, are left out."""
    count = (~np.isnan(ordered)).sum(1)
    place = shares * np.maximum(count - 1, 0)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, np.maximum(count - 1, 0))
    a, b = (np.take_along_axis(ordered, i[:, None], axis=1)[:, 0] for i in (lower, upper))
    return np.asarray(a + (place - lower) * (b - a))
