"""Slow references for bertattn.attribution, as plain loops from methods A.6. NumPy and the standard library only.

`gradient` and `attention` are `[layer][head][query][key]`; `logits` is `[token][vocabulary]`.
"""

from __future__ import annotations

import math

import numpy as np

CATEGORIES = ("unmasked", "cls", "sep", "punctuation", "other")


def category(name, token, role, masked):
    """Whether a key belongs to it; `masked` says that the token was chosen for prediction."""
    if masked:
        return False
    special = role in ("cls", "sep", "bos", "eos", "pad")
    mark = token in (".", ",") and not special
    return {
        "unmasked": True,
        "cls": role == "cls",
        "sep": role == "sep",
        "punctuation": mark,
        "other": not special and not mark,
    }[name]


def reduced(matrix, reached, keys, queries, reduction):
    """One number from `[query][key]`: the mean over keys of the sum over queries, or the mean over what is in reach."""
    chosen = [j for j, counts in enumerate(keys) if counts]
    asked = [i for i, counts in enumerate(queries) if counts]
    if not chosen or not asked:
        return math.nan
    total = math.fsum(float(matrix[i][j]) for i in asked for j in chosen)
    if reduction == "sum_queries":
        return total / len(chosen)
    entries = sum(reached[i][j] for i in asked for j in chosen)
    return total / entries if entries else math.nan


def importance(attention, gradient, tokens, roles, masked, predicted):
    """{statistic: [layer, head]}; `masked` are keys chosen for prediction, `predicted` queries that the loss reads."""
    layers, heads = len(gradient), len(gradient[0])
    n = len(tokens)
    out = {}
    for quantity in ("gradient", "attention_x_gradient"):
        for name in CATEGORIES:
            keys = [category(name, tokens[j], roles[j], masked[j]) for j in range(n)]
            for reduction in ("sum_queries", "mean_entries"):
                for which, queries in (("all", [True] * n), ("predicted", predicted)):
                    table = np.zeros((layers, heads))
                    for layer in range(layers):
                        reached = [
                            [
                                any(
                                    attention[layer][h][i][j] != 0 or gradient[layer][h][i][j] != 0
                                    for h in range(heads)
                                )
                                for j in range(n)
                            ]
                            for i in range(n)
                        ]
                        for head in range(heads):
                            matrix = [[0.0] * n for _ in range(n)]
                            for i in range(n):
                                for j in range(n):
                                    g = float(gradient[layer][head][i][j])
                                    a = float(attention[layer][head][i][j])
                                    matrix[i][j] = abs(g) if quantity == "gradient" else a * g
                            table[layer, head] = reduced(matrix, reached, keys, queries, reduction)
                    out[f"{quantity}/{name}/{reduction}/{which}"] = table
    return out


def log_softmax(row):
    row = [float(x) for x in row]
    top = max(row)
    total = math.log(math.fsum(math.exp(x - top) for x in row))
    return [x - top - total for x in row]


def summed_up(losses, reduction):
    return math.fsum(losses) / (len(losses) if reduction == "mean" else 1)


def masked_lm_loss(logits, labels, chosen, reduction="mean"):
    """- log p(label) at the chosen tokens."""
    return summed_up([-log_softmax(logits[i])[labels[i]] for i in range(len(labels)) if chosen[i]], reduction)


def causal_lm_loss(logits, ids, reduction="mean"):
    """- log p(next token) at every token that has one."""
    return summed_up([-log_softmax(logits[i])[ids[i + 1]] for i in range(len(ids) - 1)], reduction)


def pooled(states):
    """The mean of the vectors of one text without padding, of length 1."""
    mean = [math.fsum(float(row[k]) for row in states) / len(states) for k in range(len(states[0]))]
    size = math.sqrt(math.fsum(x * x for x in mean))
    return [x / size for x in mean]


def contrastive_losses(first, second, scale=20.0):
    """For each pair: it is to find its partner among all second passages, and the partner it among all first ones.

    `first` and `second` are lists of `[token][dimension]`.
    """
    first, second = [pooled(s) for s in first], [pooled(s) for s in second]
    similar = [[scale * math.fsum(x * y for x, y in zip(a, b, strict=True)) for b in second] for a in first]
    return [-(log_softmax(similar[i])[i] + log_softmax([row[i] for row in similar])[i]) / 2 for i in range(len(first))]


def masking_faults(ids, masked_ids, chosen, special, mask_id, special_ids, vocabulary, share=0.15, most=20):
    """What is not as BERT masks one text: one string a fault. `most` tokens are chosen of 128 at most."""
    faults = []
    candidates = sum(not s for s in special)
    wanted = max(1, min(share * candidates, most * len(ids) / 128))
    if abs(sum(chosen) - wanted) > 0.5 + 1e-9:
        faults.append(f"{sum(chosen)} of {candidates} were chosen")
    for i, (before, after) in enumerate(zip(ids, masked_ids, strict=True)):
        if chosen[i] and special[i]:
            faults.append(f"special token {i} was chosen")
        if not chosen[i] and before != after:
            faults.append(f"token {i} changed and was not chosen")
        if before != after != mask_id and not (0 <= after < vocabulary and after not in special_ids):
            faults.append(f"token {i} became {after}, which is no ordinary token")
    return faults


def masking_shares(outcomes, mask_id, vocabulary):
    """How many standard deviations the counts (masked, kept, replaced) lie from 80, 10 and 10 of 100.

    `outcomes` are pairs of a chosen token before and after; `vocabulary` is how many tokens a random one is drawn from,
    now and then the one that was there.
    """
    n = len(outcomes)
    masked = sum(after == mask_id for _, after in outcomes)
    kept = sum(before == after for before, after in outcomes)
    expected = {"masked": 0.8, "kept": 0.1 + 0.1 / vocabulary, "replaced": 0.1 - 0.1 / vocabulary}
    found = {"masked": masked, "kept": kept, "replaced": n - masked - kept}
    return {name: (found[name] - n * p) / math.sqrt(n * p * (1 - p)) for name, p in expected.items()}
