"""Slow reference for bertattn.probes, as plain loops from methods A.9. NumPy and the standard library only.

`maps` is `[head][token][token]` of one sentence of n words, its start token first and its end token last, so that
word j, counted from 1, is token j. A score matrix has a row for each word and n + 1 columns: 0 is ROOT, c is word c.
Parameters are dicts of arrays. Their "root" is a and b, by which attention to and from the two ends is multiplied, or
one number, which is the score of ROOT itself. Gold governors count from 1, 0 is the root; None is unknown and left out.
"""

from __future__ import annotations

import math

import numpy as np


def features(maps, root):
    """Row j, column c: attention of every map from j to c, then from c to j, both kinds of map in one list."""
    tokens = len(maps[0])
    a, b = root if len(root) == 2 else (0.0, 0.0)
    out = []
    for j in range(1, tokens - 1):
        row = []
        for c in range(tokens - 1):
            if c == 0:
                forward = [a * m[j][0] + b * m[j][tokens - 1] for m in maps]
                backward = [a * m[0][j] + b * m[tokens - 1][j] for m in maps]
            else:
                forward = [m[j][c] for m in maps]
                backward = [m[c][j] for m in maps]
            row.append(forward + backward)
        out.append(row)
    return out


def candidate_vectors(vectors, misaligned):
    """The word vector of each column; ROOT's is zero, and comes last where the released code's mistake is wanted."""
    zero = [0.0] * len(vectors[0])
    return [*vectors, zero] if misaligned else [zero, *vectors]


def weighted(weights, f, c, root):
    if c == 0 and len(root) == 1:
        return root[0]
    return sum(w * x for w, x in zip(weights, f, strict=True))


def attention_scores(parameters, maps):
    weights, root = [*parameters["from_dependent"], *parameters["to_dependent"]], parameters["root"]
    return [[weighted(weights, f, c, root) for c, f in enumerate(row)] for row in features(maps, root)]


def pair_weights(parameters, own, other):
    """M (e_j + e_c), side by side, and the bias where there is one: the weight of every map for one pair of words."""
    pair = [*own, *other]
    bias = parameters.get("bias")
    return [
        sum(m * e for m, e in zip(row, pair, strict=True)) + (0.0 if bias is None else bias[k])
        for k, row in enumerate(parameters["weight"])
    ]


def words_scores(parameters, maps, vectors, misaligned=False):
    others, root = candidate_vectors(vectors, misaligned), parameters["root"]
    out = []
    for j, row in enumerate(features(maps, root)):
        weights = [pair_weights(parameters, vectors[j], other) for other in others]
        out.append([weighted(weights[c], f, c, root) for c, f in enumerate(row)])
    return out


def distance_features(j, c, n):
    if c == 0:
        return [0.0] * 7 + [1.0]
    after = (c - j) / n if c > j else 0.0
    before = (j - c) / n if c < j else 0.0
    return [after, before, *(float(c - j == offset) for offset in (0, -1, 1, -2, 2)), 0.0]


def distance_scores(parameters, vectors, misaligned=False):
    """hidden_weight is `[hidden][input]`; the first input is the dummy, always 0."""
    n = len(vectors)
    others = candidate_vectors(vectors, misaligned)
    out = []
    for j in range(1, n + 1):
        row = []
        for c in range(n + 1):
            x = [0.0, *distance_features(j, c, n), *vectors[j - 1], *others[c]]
            score = float(parameters["output_bias"][0])
            for weights, bias, v in zip(
                parameters["hidden_weight"], parameters["hidden_bias"], parameters["output_weight"], strict=True
            ):
                score += v * math.tanh(sum(w * y for w, y in zip(weights, x, strict=True)) + bias)
            row.append(score)
        out.append(row)
    return out


def log_softmax(scores):
    out = []
    for row in scores:
        top = max(row)
        total = math.log(math.fsum(math.exp(s - top) for s in row))
        out.append([s - top - total for s in row])
    return out


def loss(scores, gold):
    return math.fsum(-row[g] for row, g in zip(log_softmax(scores), gold, strict=True) if g is not None)


def score_gradient(scores, gold):
    """Of the loss by each score: the probability, less one at the gold candidate."""
    out = []
    for row, g in zip(log_softmax(scores), gold, strict=True):
        out.append([0.0 if g is None else math.exp(x) - (c == g) for c, x in enumerate(row)])
    return out


def add_slopes(slope, weights, f, maps, j, c, gradient, root):
    """Add what the score of word j and candidate c gives to the gradients by the weights and by ROOT's numbers."""
    if c == 0 and len(root) == 1:
        root[0] += slope
        return
    heads, last = len(maps), len(maps[0]) - 1
    for k in range(2 * heads):
        gradient[k] += slope * f[k]
    if c == 0:
        for k in range(heads):
            for number, end in enumerate((0, last)):
                root[number] += slope * (weights[k] * maps[k][j][end] + weights[heads + k] * maps[k][end][j])


def attention_gradient(parameters, maps, gold):
    heads = len(maps)
    weights = [*parameters["from_dependent"], *parameters["to_dependent"]]
    gradient, root = np.zeros(2 * heads), np.zeros(len(parameters["root"]))
    slopes = score_gradient(attention_scores(parameters, maps), gold)
    for j, row in enumerate(features(maps, parameters["root"])):
        for c, f in enumerate(row):
            add_slopes(slopes[j][c], weights, f, maps, j + 1, c, gradient, root)
    return {"from_dependent": gradient[:heads], "to_dependent": gradient[heads:], "root": root}


def words_gradient(parameters, maps, vectors, gold, misaligned=False):
    others = candidate_vectors(vectors, misaligned)
    weight, bias = np.zeros(np.shape(parameters["weight"])), np.zeros(2 * len(maps))
    root = np.zeros(len(parameters["root"]))
    slopes = score_gradient(words_scores(parameters, maps, vectors, misaligned), gold)
    for j, row in enumerate(features(maps, parameters["root"])):
        for c, f in enumerate(row):
            weights, here = pair_weights(parameters, vectors[j], others[c]), np.zeros(2 * len(maps))
            add_slopes(slopes[j][c], weights, f, maps, j + 1, c, here, root)
            bias += here
            for k, x in enumerate(here):
                for d, e in enumerate([*vectors[j], *others[c]]):
                    weight[k][d] += x * e
    out = {"weight": weight, "root": root}
    return out if parameters.get("bias") is None else {**out, "bias": bias}


def finite_differences(function, parameters, step=1e-5):
    """Gradient of a function of a dict of arrays, each number moved to either side."""
    out = {}
    for name, value in parameters.items():
        slopes = np.zeros(np.shape(value))
        for place in np.ndindex(*np.shape(value)):
            ends = []
            for sign in (1, -1):
                moved = np.array(value, dtype=np.float64)
                moved[place] += sign * step
                ends.append(function({**parameters, name: moved}))
            slopes[place] = (ends[0] - ends[1]) / (2 * step)
        out[name] = slopes
    return out


def adam_epoch(parameters, examples, gradient, rate=0.002, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """One epoch of Adam (Kingma and Ba 2015, algorithm 1), one example a step in the order given.

    `gradient(parameters, example)` is the gradient of that example's loss. Gives the parameters after each step.
    """
    current = {name: np.array(value, dtype=np.float64) for name, value in parameters.items()}
    first = {name: np.zeros(np.shape(value)) for name, value in current.items()}
    second = {name: np.zeros(np.shape(value)) for name, value in current.items()}
    steps = []
    for t, example in enumerate(examples, 1):
        slopes = gradient(current, example)
        current = dict(current)
        for name, g in slopes.items():
            first[name] = beta1 * first[name] + (1 - beta1) * g
            second[name] = beta2 * second[name] + (1 - beta2) * g * g
            m, v = first[name] / (1 - beta1**t), second[name] / (1 - beta2**t)
            current[name] = current[name] - rate * m / (np.sqrt(v) + epsilon)
        steps.append(current)
    return steps


def predict(scores):
    """For each word its best candidate, the lowest of equals."""
    return [row.index(max(row)) for row in scores]


def uas(predicted, gold, relations, *, with_punct=False, with_root=True):
    """Words whose governor is right, and words asked, over sentences."""
    right = words = 0
    for guesses, truth, labels in zip(predicted, gold, relations, strict=True):
        for guess, g, label in zip(guesses, truth, labels, strict=True):
            if g is None or (g == 0 and not with_root):
                continue
            if not with_punct and label is not None and label.split(":")[0] == "punct":
                continue
            words += 1
            right += guess == g
    return right, words
