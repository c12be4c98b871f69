"""Slow reference for bertattn.heads.dependency, as plain loops from methods A.7. NumPy and the standard library only.

`m` is one head's map of words, a list of rows; NaN rows are undefined. Words count from 0 here, governors from 1.
"""

from __future__ import annotations

import math

import numpy as np

DIRECTIONS = ("from_dependent", "to_dependent", "from_governor")


def words_of(head, word_ids, special):
    """A map of words as nested lists: keys summed, shared tokens divided, queries averaged, special tokens left out."""
    tokens = {}
    for token, entry in enumerate(word_ids):
        if entry is None or special[token]:
            continue
        for word in entry if isinstance(entry, tuple) else (entry,):
            tokens.setdefault(word, []).append(token)

    def share(token):
        return 1 / len(word_ids[token]) if isinstance(word_ids[token], tuple) else 1.0

    order = sorted(tokens)
    return [
        [math.fsum(float(head[i][j]) * share(j) for i in tokens[u] for j in tokens[w]) / len(tokens[u]) for w in order]
        for u in order
    ]


def best(candidates):
    """(number, weight) pairs: the number of the largest weight, the first of equals; None where there is no weight."""
    found, top = None, None
    for number, weight in candidates:
        if not math.isnan(weight) and (top is None or weight > top):
            found, top = number, weight
    if all(math.isnan(weight) or weight == 0 for _, weight in candidates):
        return None
    return found


def peak_of_row(m, i, barred=()):
    """What word i attends to most."""
    return best([(j, m[i][j]) for j in range(len(m)) if j != i and j not in barred])


def peak_of_column(m, i, barred=()):
    """What attends to word i most."""
    return best([(j, m[j][i]) for j in range(len(m)) if j != i and j not in barred])


def predictions(m, direction):
    """For each word its governor's number, counted from 1, or -1."""
    out = []
    for i in range(len(m)):
        if direction == "from_dependent":
            found = peak_of_row(m, i)
        elif direction == "to_dependent":
            found = peak_of_column(m, i)
        else:
            found, top = None, None
            for g in range(len(m)):
                if g != i and peak_of_row(m, g) == i and (top is None or m[g][i] > top):
                    found, top = g, m[g][i]
        out.append(-1 if found is None else found + 1)
    return out


def clitic_of(i, words, governors, labels, mode):
    if labels[i] not in ("poss", "nmod:poss"):
        return None
    after = words[i + 1] if i + 1 < len(words) else None
    if mode == "clark":
        return i + 1 if after in ("'s", "s'") else None
    endings = ("'s", "’s", "'", "’", "s'")
    for j in range(len(words)):
        label = labels[j].split(":")[0]
        if governors[j] == i + 1 and label in ("case", "possessive") and words[j].lower() in endings:
            return j
    return i + 1 if after is not None and after.lower() in endings else None


def hits(m, words, governors, labels, direction, poss_mode="none", candidates="words"):
    """True or False for each word; None for words without a governor."""
    n = len(words)
    barred = [i for i in range(n) if labels[i].split(":")[0] == "punct"] if candidates == "no_punct" else []
    peak = peak_of_column if direction == "to_dependent" else peak_of_row
    out = []
    for i in range(n):
        governor = governors[i]
        if governor is None:
            out.append(None)
            continue
        if governor == 0:
            out.append(False)
            continue
        g = governor - 1
        clitic = None if poss_mode == "none" else clitic_of(i, words, governors, labels, poss_mode)
        if direction == "from_governor":
            seen = peak_of_row(m, g, barred)
            right = seen is not None and (
                seen == i or (poss_mode == "either" and clitic is not None and seen == clitic)
            )
        else:
            predicted = peak(m, i, barred)
            right = predicted == g
            if clitic is not None:
                of_clitic = peak(m, clitic, barred) == g
                if poss_mode == "either":
                    right = right or of_clitic
                elif (0 if predicted is None else predicted + 1) < n:
                    right = of_clitic
        out.append(right)
    return out


def scores(texts, *, punct=True, root=True, fold=False, poss_mode="none", candidates="words"):
    """{relation: (count, correct[direction][layer][head])} over (maps[layer][head], words, governors, labels)."""
    out = {}
    for maps, words, arcs, relations in texts:
        n = len(words)
        governors = arcs or [None] * n
        labels = [label or "_" for label in (relations or [None] * n)]
        layers, heads = len(maps), len(maps[0])
        found = {
            (d, layer, head): hits(maps[layer][head], words, governors, labels, direction, poss_mode, candidates)
            for d, direction in enumerate(DIRECTIONS)
            for layer in range(layers)
            for head in range(heads)
        }
        for i in range(n):
            label = labels[i].split(":")[0] if fold else labels[i]
            left_out = (not punct and labels[i].split(":")[0] == "punct") or (not root and governors[i] == 0)
            if governors[i] is None or left_out:
                continue
            for name in ("all", label):
                count, correct = out.get(name, (0, np.zeros((3, layers, heads), dtype=int)))
                for cell, marks in found.items():
                    correct[cell] += marks[i]
                out[name] = (count + 1, correct)
    return out


def offset_hits(governors, offset, relation=None, labels=None):
    """How many words of one sentence have their governor at an offset, clipped to 0 and n."""
    n, right = len(governors), 0
    for i in range(1, n + 1):
        if governors[i - 1] is None or (relation is not None and labels[i - 1] != relation):
            continue
        right += max(0, min(i + offset, n)) == governors[i - 1]
    return right
