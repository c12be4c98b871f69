"""Bootstrap, sign-flip and max-statistic tests as plain loops from methods E.2 and E.3. Standard library and NumPy.

`c` and `n` are `[unit][cell]`, `d` a list of one difference a unit. Draws: replicate b takes the units
`rng.integers(units, size=(resamples, units))[b]`; the sign of unit s is bit s % 64 of the 64-bit number s // 64
of row b.
"""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np

NORMAL = statistics.NormalDist()


def ratio(c, n, units, cell):
    above, below = 0.0, 0.0
    for s in units:
        above += float(c[s][cell])
        below += float(n[s][cell])
    return above / below if below > 0 else math.nan


def quantile(values, share):
    ordered = sorted(v for v in values if not math.isnan(v))
    if not ordered:
        return math.nan
    place = share * (len(ordered) - 1)
    lower = math.floor(place)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (place - lower) * (ordered[upper] - ordered[lower])


def replicates(c, n, cell, resamples, seed):
    units = len(c)
    drawn = np.random.default_rng(seed).integers(units, size=(resamples, units))
    return [ratio(c, n, [int(s) for s in row], cell) for row in drawn]


def deviation(values):
    known = [v for v in values if not math.isnan(v)]
    if len(known) < 2:
        return math.nan
    return 0.0 if max(known) - min(known) < 1e-12 else statistics.stdev(known)


def bootstrap(c, n, level, resamples, seed, method="percentile"):
    """For each cell (estimate, low, high, standard error, number of replicates without data)."""
    units, cells = len(c), len(c[0])
    out = []
    for cell in range(cells):
        estimate = ratio(c, n, range(units), cell)
        values = replicates(c, n, cell, resamples, seed)
        empty = sum(math.isnan(v) for v in values)
        if sum(n[s][cell] > 0 for s in range(units)) < 2:
            out.append((estimate, math.nan, math.nan, math.nan, empty))
            continue
        shares = [(1 - level) / 2, (1 + level) / 2]
        if method == "bca":
            shares = [
                bca_share(share, values, estimate, [(c[s][cell], n[s][cell]) for s in range(units)]) for share in shares
            ]
        out.append((estimate, *(quantile(values, share) for share in shares), deviation(values), empty))
    return out


def bca_share(share, values, estimate, pairs):
    known = [v for v in values if not math.isnan(v)]
    below = sum(1.0 if v < estimate else 0.5 if v == estimate else 0.0 for v in known) / len(known)
    below = min(max(below, 0.5 / len(known)), 1 - 0.5 / len(known))
    u = [a - estimate * b for a, b in pairs]
    u = [0.0 if abs(x) < 1e-12 else x for x in u]
    square = sum(x * x for x in u)
    acceleration = sum(x**3 for x in u) / (6 * square**1.5) if square else 0.0
    bias = NORMAL.inv_cdf(below)
    moved = bias + NORMAL.inv_cdf(share)
    return NORMAL.cdf(bias + moved / (1 - acceleration * moved))


def simultaneous(c, n, level, resamples, seed):
    """For each cell (low, high): estimate -/+ q se, q from the largest t of each replicate, each with its own se."""
    units, cells = len(c), len(c[0])
    drawn = [[int(s) for s in row] for row in np.random.default_rng(seed).integers(units, size=(resamples, units))]
    estimates = [ratio(c, n, range(units), cell) for cell in range(cells)]
    errors = [linear_error(c, n, range(units), cell) for cell in range(cells)]
    largest = []
    for row in drawn:
        distances = [0.0]
        for cell in range(cells):
            value = ratio(c, n, row, cell)
            if errors[cell] > 0 and not math.isnan(value):
                error = linear_error(c, n, row, cell) or errors[cell]
                distances.append(abs(value - estimates[cell]) / error)
        largest.append(max(distances))
    q = quantile(largest, level)
    out = []
    for cell in range(cells):
        enough = sum(n[s][cell] > 0 for s in range(units)) >= 2
        reach = q * errors[cell] if enough else math.nan
        out.append((estimates[cell] - reach, estimates[cell] + reach))
    return out


def linear_error(c, n, units, cell):
    """Standard error of a ratio of sums by linearisation, 0 where the units with data all have the same ratio."""
    value = ratio(c, n, units, cell)
    if math.isnan(value) or len(units) < 2:
        return 0.0
    off = [c[s][cell] - value * n[s][cell] for s in units]
    if max(abs(x) for x in off) < 1e-9:
        return 0.0
    mean = sum(n[s][cell] for s in units) / len(units)
    variance = sum(x * x for x in off) / (len(units) - 1)
    return math.sqrt(variance / len(units)) / mean


def drawn_signs(units, resamples, seed):
    rows = np.random.default_rng(seed).integers(
        0, 2**64 - 1, size=(resamples, -(-units // 64)), dtype=np.uint64, endpoint=True
    )
    return [[1 if int(row[s // 64]) >> (s % 64) & 1 else -1 for s in range(units)] for row in rows]


def every_sign(units):
    return list(itertools.product((1, -1), repeat=units))


def turned(value, alternative):
    return {"greater": value, "less": -value, "two-sided": abs(value)}[alternative]


def reaches(value, threshold):
    return value == threshold or value >= threshold - 1e-9 * max(
        1.0, abs(threshold) if math.isfinite(threshold) else 1.0
    )


def sign_flip(d, alternative, resamples, seed):
    """p of one cell."""
    nonzero = [x for x in d if x]
    observed = turned(sum(d), alternative)
    if len(nonzero) <= 12:
        signs = every_sign(len(nonzero))
        hits = sum(
            reaches(turned(sum(e * x for e, x in zip(row, nonzero, strict=True)), alternative), observed)
            for row in signs
        )
        return hits / len(signs)
    hits = 0
    for row in drawn_signs(len(d), resamples, seed):
        hits += reaches(turned(sum(e * x for e, x in zip(row, d, strict=True)), alternative), observed)
    return (1 + hits) / (1 + resamples)


def t_statistic(d):
    """mean / standard error of the mean; 0 / 0 is 0."""
    mean = sum(d) / len(d)
    square = sum((x - mean) ** 2 for x in d)
    if all(x == d[0] for x in d):
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / math.sqrt(square / (len(d) * (len(d) - 1)))


def max_statistic(d, n, alternative, studentized, step_down, resamples, seed):
    """(p, adjusted p) of each cell; `d` and `n` are `[unit][cell]`, every cell has data."""
    units, cells = len(d), len(d[0])
    totals = [sum(n[s][h] for s in range(units)) for h in range(cells)]

    def statistic(row, h):
        flipped = [row[s] * d[s][h] for s in range(units)]
        return turned(t_statistic(flipped) if studentized else sum(flipped) / totals[h], alternative)

    busy = [s for s in range(units) if any(d[s])]
    exact = len(busy) <= 12
    if exact:
        signs = []
        for choice in every_sign(len(busy)):
            row = [1] * units
            for s, e in zip(busy, choice, strict=True):
                row[s] = e
            signs.append(row)
    else:
        signs = drawn_signs(units, resamples, seed)
    observed = [statistic([1] * units, h) for h in range(cells)]
    drawn = [[statistic(row, h) for h in range(cells)] for row in signs]
    added, tried = (0, len(signs)) if exact else (1, 1 + resamples)
    single = [(added + sum(reaches(values[h], observed[h]) for values in drawn)) / tried for h in range(cells)]
    adjusted = [0.0] * cells
    falling = sorted(range(cells), key=lambda h: -observed[h])
    before = 0.0
    for rank, h in enumerate(falling):
        rivals = falling[rank:] if step_down else range(cells)
        hits = sum(reaches(max(values[k] for k in rivals), observed[h]) for values in drawn)
        p = (added + hits) / tried
        if step_down:
            p = before = max(before, p)
        adjusted[h] = p
    return single, adjusted


def rejected(p, alpha, method):
    """Which hypotheses the procedure rejects at level alpha, from its own description."""
    m = len(p)
    order = sorted(range(m), key=lambda i: p[i])
    out = [False] * m
    if method == "bonferroni":
        return [x <= alpha / m for x in p]
    if method == "holm":
        for rank, i in enumerate(order):
            if p[i] > alpha / (m - rank):
                break
            out[i] = True
        return out
    harmonic = sum(1 / k for k in range(1, m + 1)) if method == "benjamini-yekutieli" else 1.0
    last = max((rank for rank, i in enumerate(order) if p[i] <= (rank + 1) * alpha / (m * harmonic)), default=-1)
    for i in order[: last + 1]:
        out[i] = True
    return out
