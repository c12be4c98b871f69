"""Slow reference for bertattn.probes.scores, decoding and table, as plain loops from methods A.9, D.5 and E.1.

A sentence is (relations, gold, predicted), one entry a word; governors count from 1, 0 is the root, None is unknown.
"""

from __future__ import annotations

import itertools
import math


def bare(relation):
    return (relation or "_").split(":")[0]


def label_of(relation, fold):
    return bare(relation) if fold else relation or "_"


def counted_words(sentence, *, punct, root):
    """(relation, whether it is right) of every word that is counted."""
    out = []
    for relation, gold, predicted in zip(*sentence, strict=True):
        if gold is None:
            continue
        if not punct and bare(relation) == "punct":
            continue
        if not root and gold == 0:
            continue
        out.append((relation, predicted is not None and predicted == gold))
    return out


def by_sentence(sentences, name, *, punct=False, root=True, fold=False):
    """For each sentence (right, words) of a relation, "all" for all."""
    out = []
    for sentence in sentences:
        right = words = 0
        for relation, hit in counted_words(sentence, punct=punct, root=root):
            if name == "all" or label_of(relation, fold) == name:
                words += 1
                right += hit
        out.append((right, words))
    return out


def table(sentences, *, punct=False, root=True, fold=False):
    """{relation: (right, words, sentences with it)}; "all" too."""
    names = {"all"}
    for sentence in sentences:
        for relation, _ in counted_words(sentence, punct=punct, root=root):
            names.add(label_of(relation, fold))
    out = {}
    for name in names:
        pairs = by_sentence(sentences, name, punct=punct, root=root, fold=fold)
        out[name] = (sum(r for r, _ in pairs), sum(n for _, n in pairs), sum(n > 0 for _, n in pairs))
    return out


def by_document(pairs, documents):
    """The pairs of `by_sentence`, summed by document in the order in which they first occur."""
    sums = {}
    for (right, words), document in zip(pairs, documents, strict=True):
        r, n = sums.get(document, (0, 0))
        sums[document] = (r + right, n + words)
    return list(sums.values())


def mean(values):
    return sum(values) / len(values)


def deviation(values):
    return math.sqrt(sum((v - mean(values)) ** 2 for v in values) / (len(values) - 1))


def first_best(row):
    """The number of the largest entry, of equals the first."""
    best = 0
    for column in range(1, len(row)):
        if row[column] > row[best]:
            best = column
    return best


def is_tree(governors):
    """One root, and every word reaches it."""
    if list(governors).count(0) != 1:
        return False
    for start in range(1, len(governors) + 1):
        word, steps = start, 0
        while word != 0:
            word = governors[word - 1]
            steps += 1
            if steps > len(governors):
                return False
    return True


def total(table, governors):
    return sum(table[i][g] for i, g in enumerate(governors))


def best_tree(table):
    """(the governors, their sum) of the best tree with one root; `table` is `[word][word + 1]`, column 0 the root."""
    n = len(table)
    best, score = None, -math.inf
    for governors in itertools.product(range(n + 1), repeat=n):
        if is_tree(governors) and total(table, governors) > score:
            best, score = governors, total(table, governors)
    return best, score
