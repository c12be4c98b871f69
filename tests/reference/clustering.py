"""Slow references for bertattn.clustering, as plain loops from methods A.11 and E. NumPy and the standard library only.

`maps` is `[head][query][key]`, all heads of all layers in one list; a corpus is a list of such. A row with NaN is a row
without mass: a pair of heads counts the queries at which both have some. `d` is a square matrix of distances.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def kl(p, q):
    total = 0.0
    for a, b in zip(p, q, strict=True):
        if a > 0:
            total += a * math.log(a / b)
    return total


def smoothed(row, share):
    return [(1 - share) * x + share / len(row) for x in row]


def js(p, q, smoothing=0.0):
    p, q = smoothed([float(x) for x in p], smoothing), smoothed([float(x) for x in q], smoothing)
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return kl(p, middle) / 2 + kl(q, middle) / 2


def is_empty(row):
    return any(math.isnan(x) for x in row)


def pair(maps, first, second, queries=None, smoothing=0.0):
    """(sum over queries, how many of them count)."""
    total, count = 0.0, 0
    for i in range(len(maps[first])):
        p, q = maps[first][i], maps[second][i]
        if (queries is None or queries[i]) and not is_empty(p) and not is_empty(q):
            total += js(p, q, smoothing)
            count += 1
    return total, count


def square(heads, value):
    """A symmetric matrix with zero diagonal of value(first, second)."""
    out = np.zeros((heads, heads))
    for a, b in itertools.combinations(range(heads), 2):
        out[a, b] = out[b, a] = value(a, b)
    return out


def pairwise(maps, queries=None, smoothing=0.0, aggregate="mean"):
    def value(a, b):
        total, count = pair(maps, a, b, queries, smoothing)
        if not count:
            return math.nan
        return total if aggregate == "sum" else total / count

    return square(len(maps), value)


def observations(corpus, a, b, queries=None, smoothing=0.0, weighting="query"):
    """(mean divergence of one sequence, its weight), for each sequence that has some."""
    out = []
    for number, maps in enumerate(corpus):
        total, count = pair(maps, a, b, queries and queries[number], smoothing)
        if count:
            out.append((total / count, count if weighting == "query" else 1))
    return out


def weighted_mean(values):
    top = bottom = 0.0
    for x, w in values:
        top += w * x
        bottom += w
    return top / bottom if bottom else math.nan


def error_of_ratio(values):
    """se^2 = k/(k-1) sum w^2 (x - mean)^2 / (sum w)^2."""
    k = len(values)
    if k < 2:
        return math.nan
    mean = weighted_mean(values)
    top = bottom = 0.0
    for x, w in values:
        top += w**2 * (x - mean) ** 2
        bottom += w
    return math.sqrt(k / (k - 1) * top) / bottom


def corpus_mean(corpus, **options):
    return square(len(corpus[0]), lambda a, b: weighted_mean(observations(corpus, a, b, **options)))


def corpus_error(corpus, **options):
    return square(len(corpus[0]), lambda a, b: error_of_ratio(observations(corpus, a, b, **options)))


def corpus_sum(corpus, queries=None, smoothing=0.0):
    """What the released code computes: the sum over documents and tokens."""

    def value(a, b):
        values = observations(corpus, a, b, queries, smoothing)
        return sum(x * w for x, w in values) if values else math.nan

    return square(len(corpus[0]), value)


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def stress(points, d):
    """sqrt(sum (distance - d)^2 / sum d^2)."""
    top = bottom = 0.0
    for a, b in itertools.combinations(range(len(d)), 2):
        top += (distance(points[a], points[b]) - d[a][b]) ** 2
        bottom += d[a][b] ** 2
    return math.sqrt(top / bottom)


def classical_mds(d, dimensions):
    """(points, all eigenvalues from the largest on)."""
    n = len(d)
    squares = [[d[a][b] ** 2 for b in range(n)] for a in range(n)]
    rows = [sum(row) / n for row in squares]
    grand = sum(rows) / n
    inner = np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            inner[a, b] = -(squares[a][b] - rows[a] - rows[b] + grand) / 2
    values, vectors = np.linalg.eigh(inner)
    order = [int(i) for i in np.argsort(-values)]
    points = np.zeros((n, dimensions))
    for axis, i in enumerate(order[:dimensions]):
        for a in range(n):
            points[a, axis] = vectors[a, i] * math.sqrt(max(values[i], 0.0))
    return points, [float(values[i]) for i in order]


def merges(d, linkage="average"):
    """(members, height) of each merge, in order of height; the nearest two clusters are merged first."""
    clusters = [frozenset([i]) for i in range(len(d))]
    out = []
    while len(clusters) > 1:
        best = None
        for a, b in itertools.combinations(clusters, 2):
            between = [d[i][j] for i in a for j in b]
            height = {"average": sum(between) / len(between), "complete": max(between), "single": min(between)}[linkage]
            if best is None or height < best[0]:
                best = (height, a, b)
        height, a, b = best
        clusters = [c for c in clusters if c not in (a, b)] + [a | b]
        out.append((a | b, height))
    return out


def partition(d, number, linkage="average"):
    """The clusters, as a set of sets, when only `number` of them are left."""
    clusters = {frozenset([i]) for i in range(len(d))}
    for members, _ in merges(d, linkage)[: len(d) - number]:
        clusters = {c for c in clusters if not c <= members} | {members}
    return clusters


def cophenetic(d, linkage="average"):
    """The height at which two heads first stand in one cluster."""
    steps = merges(d, linkage)
    return square(len(d), lambda a, b: next(height for members, height in steps if {a, b} <= members))


def pearson(x, y):
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    top = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return top / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def upper(d):
    return [float(d[a][b]) for a, b in itertools.combinations(range(len(d)), 2)]


def cophenetic_correlation(d, linkage="average"):
    return pearson(upper(d), upper(cophenetic(d, linkage)))


def silhouette(d, labels):
    """(b - a) / max(a, b): mean distance to the own cluster and to the nearest other; 0 for a head on its own."""
    out = []
    for i, own in enumerate(labels):
        mean = {}
        for label in set(labels):
            others = [d[i][j] for j in range(len(labels)) if labels[j] == label and j != i]
            if others:
                mean[label] = sum(others) / len(others)
        if own not in mean:
            out.append(0.0)
            continue
        a, b = mean.pop(own), min(mean.values())
        out.append((b - a) / max(a, b) if max(a, b) > 0 else 0.0)
    return out


def layer_gap(d, layers):
    """Mean distance between heads of different layers minus that within layers."""
    within, between = [], []
    for a, b in itertools.combinations(range(len(layers)), 2):
        (within if layers[a] == layers[b] else between).append(d[a][b])
    return sum(between) / len(between) - sum(within) / len(within)


def exact_p(observed, statistics, tolerance=1e-12):
    """The share of all permutations, the identity among them, that reach the observed value."""
    return sum(s >= observed - tolerance for s in statistics) / len(statistics)


def layer_gap_p(d, layers):
    every = [layer_gap(d, order) for order in itertools.permutations(layers)]
    return exact_p(layer_gap(d, layers), every)


def ranks(values):
    """From 1; equal values share the mean of their ranks."""
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def mantel(a, b):
    return pearson(ranks(upper(a)), ranks(upper(b)))


def mantel_p(a, b):
    every = []
    for order in itertools.permutations(range(len(b))):
        moved = [[b[i][j] for j in order] for i in order]
        every.append(mantel(a, moved))
    return exact_p(mantel(a, b), every)


def procrustes(x, y):
    """1 - (sum of singular values)^2 of the two configurations, centred and of size 1."""
    x, y = (np.array(z, dtype=float) for z in (x, y))
    scaled = []
    for z in (x, y):
        centred = z - z.mean(0)
        scaled.append(centred / math.sqrt(float((centred**2).sum())))
    total = float(np.linalg.svd(scaled[0].T @ scaled[1], compute_uv=False).sum())
    return 1 - total**2


def procrustes_p(x, y):
    """Of a disparity as small, heads of y in every order."""
    every = [-procrustes(x, [y[i] for i in order]) for order in itertools.permutations(range(len(y)))]
    return exact_p(-procrustes(x, y), every)


# The released code asks in this order, and a later answer overrides an earlier one.
RULES = (
    ("next", "next", 0.5),
    ("previous", "previous", 0.5),
    ("broad", "entropy", 3.8),
    ("cls", "cls", 0.6),
    ("sep", "sep", 0.6),
    ("punctuation", "punctuation", 0.6),
)


def behaviour(statistics, linguistic=None):
    """(winning label, set of all that apply) of one head, from {statistic: value}; NaN exceeds nothing."""
    label, flags = None, set()
    for name, statistic, threshold in RULES:
        if statistics[statistic] > threshold:
            label = name
            flags.add(name)
    if linguistic is not None:
        label = linguistic
        flags.add(linguistic)
    return label, flags
