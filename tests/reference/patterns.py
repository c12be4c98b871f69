"""Slow references for bertattn.patterns, written as loops from the formulas. NumPy and the standard library only.

`a` is `[layer][head][query][key]`; `q` and `k` are the positions of queries and keys. A row with NaN is a row without
mass. Each function gives one value a query row, None where the row does not count; `mean_over_rows` averages them.
"""

from __future__ import annotations

import math

import numpy as np


def is_empty(row):
    return any(math.isnan(x) for x in row)


def mean_over_rows(a, value):
    """`[layer, head]`: the mean of value(row, i) over the rows that count."""
    layers, heads, queries, _ = a.shape
    out = np.full((layers, heads), np.nan)
    for layer in range(layers):
        for head in range(heads):
            total, count = 0.0, 0
            for i in range(queries):
                row = [float(x) for x in a[layer, head, i]]
                if is_empty(row):
                    continue
                x = value(row, i)
                if x is not None:
                    total += x
                    count += 1
            if count:
                out[layer, head] = total / count
    return out


def to_offset(a, q, k, offset, available):
    def value(row, i):
        for j, weight in enumerate(row):
            if k[j] == q[i] + offset:
                return weight
        return None if available else 0.0

    return mean_over_rows(a, value)


def to_class(a, keys, queries=None):
    def value(row, i):
        if queries is not None and not queries[i]:
            return None
        return math.fsum(weight for j, weight in enumerate(row) if keys[j])

    return mean_over_rows(a, value)


def to_role(a, key_roles, role, queries=None):
    if role not in key_roles:
        return np.full(a.shape[:2], np.nan)
    return to_class(a, [r == role for r in key_roles], queries)


def row_entropy(row, smoothing=0.0):
    n = len(row)
    total = 0.0
    for weight in row:
        p = (1 - smoothing) * weight + smoothing / n
        if p > 0:
            total -= p * math.log(p)
    return total


def entropy(a, queries=None, smoothing=0.0):
    return mean_over_rows(a, lambda row, i: row_entropy(row, smoothing) if queries is None or queries[i] else None)


def is_causal(a, q, k):
    seen = False
    for j in range(len(k)):
        for i in range(len(q)):
            if k[j] > q[i]:
                seen = True
                if (a[:, :, i, j] > 0).any():
                    return False
    return seen


def reachable(a, q, k, i):
    if not is_causal(a, q, k):
        return len(k)
    return sum(1 for position in k if position <= q[i])


def uniform_entropy(a, q, k):
    return mean_over_rows(a, lambda _, i: math.log(reachable(a, q, k, i)) if reachable(a, q, k, i) else None)


def normalized_entropy(a, q, k):
    def value(row, i):
        n = reachable(a, q, k, i)
        return row_entropy(row) / math.log(n) if n > 1 else None

    return mean_over_rows(a, value)


def perplexity(a):
    return mean_over_rows(a, lambda row, _: math.exp(row_entropy(row)))


def max_weight(a):
    return mean_over_rows(a, lambda row, _: max(row))


def mean_distance(a, q, k):
    layers, heads, queries, keys = a.shape
    out = np.full((layers, heads), np.nan)
    for layer in range(layers):
        for head in range(heads):
            top = bottom = 0.0
            for i in range(queries):
                if is_empty(a[layer, head, i]):
                    continue
                for j in range(keys):
                    top += a[layer, head, i, j] * abs(q[i] - k[j])
                    bottom += a[layer, head, i, j]
            if bottom:
                out[layer, head] = top / bottom
    return out


def sink_mass(a, q, k, position):
    causal = is_causal(a, q, k)

    def value(row, i):
        if position not in list(k) or (causal and q[i] < position):
            return None
        return row[list(k).index(position)]

    return mean_over_rows(a, value)


def on_side(side, offset):
    return offset != 0 if side == "both" else offset < 0 if side == "past" else offset > 0


def template_score(a, targets, available):
    """`targets(i, j)` says whether key j is a target of query i."""
    _, _, queries, keys = a.shape
    any_target = any(targets(i, j) for i in range(queries) for j in range(keys))

    def value(row, i):
        chosen = [j for j in range(keys) if targets(i, j)]
        if not any_target or (available and not chosen):
            return None
        return math.fsum(row[j] for j in chosen)

    return mean_over_rows(a, value)


def previous_token(a, q, k, query_roles, key_roles, side, available):
    def targets(i, j):
        ordinary = query_roles[i] is None and key_roles[j] is None
        return ordinary and abs(k[j] - q[i]) == 1 and on_side(side, k[j] - q[i])

    return template_score(a, targets, available)


def duplicate_token(a, queries, keys, q, k, query_roles, key_roles, side, available):
    def targets(i, j):
        ordinary = query_roles[i] is None and key_roles[j] is None
        return ordinary and queries[i] == keys[j] and on_side(side, k[j] - q[i])

    return template_score(a, targets, available)


def induction(a, queries, keys, q, k, query_roles, key_roles, side, available):
    def targets(i, j):
        if query_roles[i] is not None or key_roles[j] is not None or k[j] - 1 not in list(k):
            return False
        before = list(k).index(k[j] - 1)
        return key_roles[before] is None and keys[before] == queries[i] and on_side(side, k[before] - q[i])

    return template_score(a, targets, available)
