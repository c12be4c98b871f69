"""Slow reference for bertattn.heads.bias, as plain loops from methods B.3 and E.2-E.3. The standard library only.

An item is one sentence: a dict with "id", "template", "version" ("pro" or "anti"), "words", the word numbers "pronoun",
"fitting" and "other", and "maps", the maps of words of some heads, each a list of rows; NaN is undefined.
"""

from __future__ import annotations

import itertools
import math


def values(items, head, direction):
    """For each pair, in the order in which they begin: its item of either version and the four attentions."""
    pairs = {}
    for item in items:
        pairs.setdefault(item["id"], {})[item["version"]] = item
    out = []
    for both in pairs.values():
        if len(both) < 2:
            continue
        four = {}
        for version, item in both.items():
            m, p = item["maps"][head], item["pronoun"]
            for role in ("fitting", "other"):
                four[version, role] = m[p][item[role]] if direction == "from_mention" else m[item[role]][p]
        out.append((both["pro"], four))
    return [(item, four) for item, four in out if not any(math.isnan(x) for x in four.values())]


def effect_of(four):
    return (four["pro", "fitting"] - four["pro", "other"]) - (four["anti", "fitting"] - four["anti", "other"])


def averaged(pairs, function):
    """Mean over templates of the mean over a template's pairs."""
    templates = {}
    for item, four in pairs:
        templates.setdefault(item["template"], []).append(function(four))
    means = [math.fsum(one) / len(one) for one in templates.values()]
    return math.fsum(means) / len(means) if means else math.nan


def effect(items, head, direction):
    return averaged(values(items, head, direction), effect_of)


def mean(items, head, direction, version, role):
    return averaged(values(items, head, direction), lambda four: four[version, role])


def units(items, head, direction, unit):
    """For each template or candidate its part of the effect; the parts sum to the effect times the templates."""
    pairs = values(items, head, direction)
    counts = {}
    for item, _ in pairs:
        counts[item["template"]] = counts.get(item["template"], 0) + 1
    out = {}
    for item, four in pairs:
        weight = 1 / counts[item["template"]]
        if unit == "template":
            parts = {item["template"]: effect_of(four)}
        else:
            parts = {
                item["words"][item["fitting"]].lower(): four["pro", "fitting"] - four["anti", "fitting"],
                item["words"][item["other"]].lower(): four["anti", "other"] - four["pro", "other"],
            }
        for name, part in parts.items():
            out[name] = out.get(name, 0.0) + weight * part
    return out


def sign_flips(heads):
    """p and adjusted p of each head, all signs tried; `heads` are dicts as `units` gives, whose signs turn together."""
    names = sorted({name for one in heads for name in one})

    def statistic(one, signs):
        scale = math.sqrt(math.fsum(x * x for x in one.values()))
        total = math.fsum(sign * one.get(name, 0.0) for sign, name in zip(signs, names, strict=True))
        return abs(total) / scale if scale > 0 else 0.0

    choices = list(itertools.product((1, -1), repeat=len(names)))
    observed = [statistic(one, choices[0]) for one in heads]
    drawn = [[statistic(one, signs) for one in heads] for signs in choices]
    single = [sum(row[h] >= observed[h] - 1e-9 for row in drawn) / len(drawn) for h in range(len(heads))]
    adjusted = [sum(max(row) >= observed[h] - 1e-9 for row in drawn) / len(drawn) for h in range(len(heads))]
    return single, adjusted
