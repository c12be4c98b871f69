"""Slow reference for bertattn.probes, as plain loops from methods A.9. NumPy and the standard library only.

`maps` is `[head][token][token]` of one sentence of n words, its start token first and its end token last, so that
word j, counted from 1, is token j. A score matrix has a row for each word and n + 1 columns: 0 is ROOT, c is word c.
Parameters are dicts of arrays. Their "root" is one number, which is the score of ROOT itself; or two, a and b, by
which attention to and from the two ends is multiplied; or weights of attention to and from the ends: of every head to
the start, to the end, from the start, from the end, for the words probe a row each, times the dependent's vector.
Gold governors count from 1, 0 is the root; None is unknown and left out.
"""

from __future__ import annotations

import math

import numpy as np


def square_roots(maps):
    return [[[math.sqrt(x) for x in row] for row in m] for m in maps]


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


def ends(maps, j):
    """What word j attends to the start and to the end with, and they to it: four numbers a map, each for all maps."""
    last = len(maps[0]) - 1
    to = [m[j][end] for end in (0, last) for m in maps]
    return to + [m[end][j] for end in (0, last) for m in maps]


def pairs(vectors, misaligned):
    """Row j, column c: the dependent's word vector, then the candidate's.

    ROOT's is zero. Where the released code's mistake is wanted, the words come from column 0, and last two zeros.
    """
    zero = [0.0] * len(vectors[0])
    if misaligned:
        return [[[*own, *other] for other in vectors] + [[*zero, *zero]] for own in vectors]
    return [[[*own, *other] for other in [zero, *vectors]] for own in vectors]


def weighted(weights, numbers):
    return sum(w * x for w, x in zip(weights, numbers, strict=True))


def root_score(root, maps, j, vector=None, bias=False):
    """The score of ROOT where it is not that of a candidate like others."""
    if len(root) == 1:
        return root[0]
    inputs = None if vector is None else [*vector, *([1.0] if bias else [])]
    weights = [w if inputs is None else weighted(w, inputs) for w in root]
    return weighted(weights, ends(maps, j))


def attention_scores(parameters, maps):
    weights, root = [*parameters["from_dependent"], *parameters["to_dependent"]], parameters["root"]
    out = [[weighted(weights, f) for f in row] for row in features(maps, root)]
    if len(root) != 2:
        for j, row in enumerate(out, 1):
            row[0] = root_score(root, maps, j)
    return out


def pair_weights(parameters, pair):
    """M (e_j + e_c), side by side, and the bias where there is one: the weight of every map for one pair of words."""
    bias = parameters.get("bias")
    return [weighted(row, pair) + (0.0 if bias is None else bias[k]) for k, row in enumerate(parameters["weight"])]


def words_scores(parameters, maps, vectors, misaligned=False):
    root, out = parameters["root"], []
    for row, of_pair in zip(features(maps, root), pairs(vectors, misaligned), strict=True):
        out.append([weighted(pair_weights(parameters, pair), f) for f, pair in zip(row, of_pair, strict=True)])
    if len(root) != 2:
        for j, row in enumerate(out, 1):
            row[0] = root_score(root, maps, j, vectors[j - 1], parameters.get("bias") is not None)
    return out


def distance_features(j, c, n):
    if c == 0:
        return [0.0] * 7 + [1.0]
    after = (c - j) / n if c > j else 0.0
    before = (j - c) / n if c < j else 0.0
    return [after, before, *(float(c - j == offset) for offset in (0, -1, 1, -2, 2)), 0.0]


def distance_scores(parameters, vectors, misaligned=False):
    """hidden_weight is `[hidden][input]`; the first input is the dummy, always 0."""
    n, of_pair = len(vectors), pairs(vectors, misaligned)
    out = []
    for j in range(1, n + 1):
        row = []
        for c in range(n + 1):
            x = [0.0, *distance_features(j, c, n), *of_pair[j - 1][c]]
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


def add_slopes(slope, weights, f, maps, j, gradient):
    """Add what a score gives to the gradient by the weights; give what it gives to that by a and b if it is ROOT's."""
    heads, last = len(maps), len(maps[0]) - 1
    for k in range(2 * heads):
        gradient[k] += slope * f[k]
    return [
        slope * sum(weights[k] * maps[k][j][end] + weights[heads + k] * maps[k][end][j] for k in range(heads))
        for end in (0, last)
    ]


def add_root_slopes(slope, maps, j, inputs, gradient):
    """Add what ROOT's score gives to the gradient by its constant, or by its own weights."""
    if len(gradient) == 1:
        gradient[0] += slope
        return
    for k, x in enumerate(ends(maps, j)):
        gradient[k] += slope * x if inputs is None else [slope * x * e for e in inputs]


def attention_gradient(parameters, maps, gold):
    heads = len(maps)
    weights = [*parameters["from_dependent"], *parameters["to_dependent"]]
    gradient, root = np.zeros(2 * heads), np.zeros(len(parameters["root"]))
    slopes = score_gradient(attention_scores(parameters, maps), gold)
    for j, row in enumerate(features(maps, parameters["root"]), 1):
        for c, f in enumerate(row):
            slope = slopes[j - 1][c]
            if c == 0 and len(root) != 2:
                add_root_slopes(slope, maps, j, None, root)
                continue
            of_ends = add_slopes(slope, weights, f, maps, j, gradient)
            if c == 0:
                root += of_ends
    return {"from_dependent": gradient[:heads], "to_dependent": gradient[heads:], "root": root}


def words_gradient(parameters, maps, vectors, gold, misaligned=False):
    of_pair, biased = pairs(vectors, misaligned), parameters.get("bias") is not None
    weight, bias = np.zeros(np.shape(parameters["weight"])), np.zeros(2 * len(maps))
    root = np.zeros(np.shape(parameters["root"]))
    slopes = score_gradient(words_scores(parameters, maps, vectors, misaligned), gold)
    for j, row in enumerate(features(maps, parameters["root"]), 1):
        for c, f in enumerate(row):
            slope = slopes[j - 1][c]
            if c == 0 and len(root) != 2:
                add_root_slopes(slope, maps, j, [*vectors[j - 1], *([1.0] if biased else [])], root)
                continue
            pair, here = of_pair[j - 1][c], np.zeros(2 * len(maps))
            of_ends = add_slopes(slope, pair_weights(parameters, pair), f, maps, j, here)
            if c == 0:
                root += of_ends
            bias += here
            for k, x in enumerate(here):
                for d, e in enumerate(pair):
                    weight[k][d] += x * e
    out = {"weight": weight, "root": root}
    return {**out, "bias": bias} if biased else out


def scale_of_vectors(vectors):
    """One over the root mean square of all their numbers."""
    numbers = [x for vector in vectors for x in vector]
    return 1 / math.sqrt(math.fsum(x * x for x in numbers) / len(numbers))


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


def adam(parameters, examples, gradient, rate=0.002, falling_over=None, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Adam (Kingma and Ba 2015, algorithm 1), one example a step in the order given: the parameters after each step.

    `gradient(parameters, example)` is the gradient of that example's loss. The rate stays, or falls by equal amounts
    from the first step's to 0, which it would reach after `falling_over` steps.
    """
    current = {name: np.array(value, dtype=np.float64) for name, value in parameters.items()}
    first = {name: np.zeros(np.shape(value)) for name, value in current.items()}
    second = {name: np.zeros(np.shape(value)) for name, value in current.items()}
    steps = []
    for t, example in enumerate(examples, 1):
        slopes = gradient(current, example)
        size = rate if falling_over is None else rate * (falling_over - t + 1) / falling_over
        current = dict(current)
        for name, g in slopes.items():
            first[name] = beta1 * first[name] + (1 - beta1) * g
            second[name] = beta2 * second[name] + (1 - beta2) * g * g
            m, v = first[name] / (1 - beta1**t), second[name] / (1 - beta2**t)
            current[name] = current[name] - size * m / (np.sqrt(v) + epsilon)
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
