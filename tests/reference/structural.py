"""The structural probe of methods A.10 as plain loops. Standard library only.

Vectors are lists of numbers, one a word; B a list of rows; governors count from 1, 0 is the root.
"""

from __future__ import annotations

import math

PUNCTUATION = {"''", ",", ".", ":", "``", "-LRB-", "-RRB-"}


def tree_distances(governors):
    """Breadth first over the undirected tree, from each word."""
    n = len(governors)
    neighbours = [[] for _ in range(n)]
    for word in range(n):
        if governors[word] != 0:
            neighbours[word].append(governors[word] - 1)
            neighbours[governors[word] - 1].append(word)
    table = []
    for start in range(n):
        steps = {start: 0}
        frontier = [start]
        while frontier:
            following = []
            for word in frontier:
                for other in neighbours[word]:
                    if other not in steps:
                        steps[other] = steps[word] + 1
                        following.append(other)
            frontier = following
        table.append([steps[word] for word in range(n)])
    return table


def depths(governors):
    out = []
    for start in range(1, len(governors) + 1):
        word, steps = start, 0
        while governors[word - 1] != 0:
            word = governors[word - 1]
            steps += 1
        out.append(steps)
    return out


def project(b, h):
    return [sum(row[k] * h[k] for k in range(len(h))) for row in b]


def predicted_distances(b, vectors):
    n = len(vectors)
    table = [[0.0] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            difference = [vectors[i][k] - vectors[j][k] for k in range(len(vectors[i]))]
            table[i][j] = sum(x * x for x in project(b, difference))
    return table


def predicted_depths(b, vectors):
    return [sum(x * x for x in project(b, h)) for h in vectors]


def distance_loss(b, vectors, governors):
    n = len(vectors)
    gold, predicted = tree_distances(governors), predicted_distances(b, vectors)
    return sum(abs(gold[i][j] - predicted[i][j]) for i in range(n) for j in range(n)) / n**2


def depth_loss(b, vectors, governors):
    gold, predicted = depths(governors), predicted_depths(b, vectors)
    return sum(abs(gold[i] - predicted[i]) for i in range(len(vectors))) / len(vectors)


def batch_loss(b, sentences, task):
    one = distance_loss if task == "distance" else depth_loss
    return sum(one(b, vectors, governors) for vectors, governors in sentences) / len(sentences)


def spanning_edges(table, kept):
    """Kruskal: the shortest pair first, of equal ones that of the first words, where they are not joined already."""
    group = {word: word for word in kept}
    pairs = sorted((table[i][j], i, j) for i in kept for j in kept if i < j)
    edges = []
    for _, i, j in pairs:
        if group[i] != group[j]:
            old = group[j]
            for word in kept:
                if group[word] == old:
                    group[word] = group[i]
            edges.append((i, j))
    return edges


def kept_words(xpos):
    return [i for i in range(len(xpos)) if xpos[i] not in PUNCTUATION]


def uuas_counts(predicted, governors, xpos, *, tree_only=False):
    kept = kept_words(xpos)
    gold = spanning_edges(tree_distances(governors), kept)
    if tree_only:
        gold = []
        for i in kept:
            if governors[i] != 0 and governors[i] - 1 in kept:
                gold.append((min(i, governors[i] - 1), max(i, governors[i] - 1)))
    found = spanning_edges(predicted, kept)
    return sum(edge in found for edge in gold), len(gold)


def root_counts(predicted, governors, xpos):
    best = None
    for word in kept_words(xpos):
        if best is None or predicted[word] < predicted[best]:
            best = word
    if best is None:
        return 0, 0
    return int(governors[best] == 0), 1


def ranks(values):
    """Equal values share the mean of their places."""
    out = []
    for value in values:
        below = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        out.append(below + (equal + 1) / 2)
    return out


def spearman(a, b):
    x, y = ranks(a), ranks(b)
    mean = (len(x) + 1) / 2
    covariance = sum((x[i] - mean) * (y[i] - mean) for i in range(len(x)))
    variances = sum((v - mean) ** 2 for v in x) * sum((v - mean) ** 2 for v in y)
    return covariance / math.sqrt(variances) if variances > 0 else math.nan


def mean_spearman(sentences, task, shortest=5, longest=50):
    """Over words (or sentences) within each length, then over lengths; and how many were undefined in all."""
    by_length, undefined = {}, 0
    for predicted, governors in sentences:
        if task == "distance":
            gold = tree_distances(governors)
            values = [spearman(predicted[i], gold[i]) for i in range(len(gold))]
        else:
            values = [spearman(predicted, depths(governors))]
        undefined += sum(math.isnan(v) for v in values)
        by_length.setdefault(len(governors), []).extend(v for v in values if not math.isnan(v))
    means = [sum(v) / len(v) for n, v in by_length.items() if v and shortest <= n <= longest]
    return (sum(means) / len(means) if means else math.nan), undefined
