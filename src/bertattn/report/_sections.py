"""The parts of a report: each a function from results to figures and tables, in one registry.

To add one: a field of `Results` that holds what was measured, a function that shows it, a line in `SECTIONS`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from bertattn import _arrays, figures
from bertattn.errors import SelectionError
from bertattn.heads import BestHead, RelationScores, best_heads, cross_fit
from bertattn.report import _clusters, _coreference, _gradients, _probes, _published, _views
from bertattn.report._parts import (
    EXAMPLES_FOUND,
    EXAMPLES_MISSED,
    FOLDS,
    LEVEL,
    RESAMPLES,
    SEED,
    Picture,
    Results,
    Section,
    Shown,
    Table,
    blank,
    bounds,
    given,
    least_words,
)
from bertattn.statistics import Summary
from bertattn.tensor import format_head

__all__ = ["SECTIONS"]

TOP = 3
OFFSETS: Final = (-3, -2, -1, 1, 2, 3)
# Sentences of Figure 5: how long, in words.
EXAMPLE_LENGTHS = (5, 14)
RULE = (
    "A head predicts that a word hangs on the word that it attends to most (from_dependent), on the word that "
    "attends most to it (to_dependent), or on the word whose own attention peaks at it (from_governor). Special tokens "
    "are left out. All words count, punctuation and roots too; a head can never find a root."
)


@dataclass(frozen=True)
class _Best:
    """A head that stands out by a statistic."""

    head: tuple[int, int]
    mean: float
    low: float
    high: float

    @property
    def name(self) -> str:
        return format_head(*self.head)


# Statistic, what the attention goes to.
PATTERNS: Final = (
    ("previous", "the previous token"),
    ("self", "the token itself"),
    ("next", "the next token"),
    ("cls", "[CLS]"),
    ("sep", "[SEP]"),
    ("bos", "the first token (BOS)"),
    ("eos", "the end token (EOS)"),
    ("punctuation", ". or ,"),
)
INTERVALS = (
    "The 95% intervals are between sequences, as if each came from a text of its own; pieces of one text are alike, "
    "and then they are too short."
)
SELECTION = (
    "The heads are picked on the same text as their numbers come from, so expect a little less of them on new text."
)


def _best(summary: Summary, statistic: str, count: int = 1, *, largest: bool = True) -> list[_Best]:
    """The heads with the largest (or smallest) means, best first; never those where it is undefined.

    None where every head has 0, as the next token in a causal model. Intervals end where the values can.
    """
    means = _arrays.to_numpy(summary.mean(statistic))
    if not np.nan_to_num(means).any():
        return []
    low, high = summary.interval(statistic)
    low, high = np.maximum(low, 0.0), high if statistic == "entropy" else np.minimum(high, 1.0)
    order = np.argsort(-means if largest else means, axis=None, kind="stable")[:count]
    found = []
    for i, j in zip(*np.unravel_index(order, means.shape), strict=True):
        if not np.isnan(means[i, j]):
            head = (summary.layers[i], summary.heads[j])
            found.append(_Best(head, float(means[i, j]), float(low[i, j]), float(high[i, j])))
    return found


def _interval(best: _Best, form: str) -> str:
    """The 95 % interval in words, or that one sequence gives none."""
    if np.isnan(best.low):
        return "no interval: one sequence"
    return f"95% CI {best.low:{form}} to {best.high:{form}}"


def _examples(results: Results) -> Shown:
    summary, example = given(results.surface), given(results.example)
    chosen: list[tuple[_Best, str, str]] = []
    kinds = (
        (("entropy",), "broad: avg. {:.2f} nats"),
        (("next", "previous"), "avg. {:.0%} to {}"),
        (("sep", "bos", "cls", "eos"), "avg. {:.0%} to {}"),
        (("punctuation",), "avg. {:.0%} to {}"),
    )
    names = dict(PATTERNS)
    for statistics, title in kinds:
        found = [(best, name) for name in statistics for best in _best(summary, name)]
        if statistics[0] == "next":
            found.sort(key=lambda pair: -pair[0].mean)
        if found:
            best, statistic = found[0]
            chosen.append((best, statistic, title.format(best.mean, names.get(statistic, ""))))
    drawn = figures.example_heads(
        example,
        [best.head for best, _, _ in chosen],
        titles=[f"{title}\nover the whole text" for _, _, title in chosen],
        figure=blank(),
    )
    caption = (
        "Heads of four kinds on one short text, each the clearest case of its kind in this model. A line joins a token "
        "(left) to one that it attends to (right); the darker, the more. The title's average is over the whole text."
    )
    rows = [
        {"head": best.name, "statistic": name, "mean": best.mean, "chosen as": title} for best, name, title in chosen
    ]
    heads = "; ".join(f"head {best.name}, {title}" for best, _, title in chosen)
    links, pages = _views.head_pages([(best.head, statistic, example) for best, statistic, _ in chosen])
    return Shown(
        pictures=(
            Picture(
                "figure1",
                drawn,
                caption,
                f"Attention of single heads as lines between tokens: {heads}.",
                wide=True,
                numbers=("figure1.safetensors",),
            ),
        ),
        tables=(Table("heads_shown", f"The heads shown, and why. {_views.opens(links)}", rows, links={"head": links}),),
        views=pages,
    )


def _surface(results: Results) -> Shown:
    summary = given(results.surface)
    rows, highlights, found = [], [], []
    count = len(summary.layers) * len(summary.heads)
    for statistic, label in PATTERNS:
        for rank, best in enumerate(_best(summary, statistic, TOP), start=1):
            found.append((best.head, f"attention to {label}", results.example))
            rows.append(
                {
                    "attention to": label,
                    "rank": rank,
                    "head": best.name,
                    "mean": best.mean,
                    "low": best.low,
                    "high": best.high,
                    "mean of all heads": float(_arrays.nan_mean(summary.mean(statistic).ravel())),
                }
            )
            if rank == 1 and statistic in ("next", "previous", "sep", "punctuation", "bos"):
                highlights.append(
                    f"Head {best.name} gives {best.mean:.1%} of its attention to {label} "
                    f"({_interval(best, '.1%')}), the most of {count} heads."
                )
    caption = (
        "Average attention to special tokens and punctuation, by layer: a dot is a head, the line goes through the "
        "mean of each layer's heads. Below, what goes to [SEP] from [SEP] itself and from all other tokens. "
        "(Figure 2 of Clark et al. 2019.)"
    )
    average = "all tokens" if summary.weighting == "query" else "the tokens of each sequence, then over sequences"
    shares = ("mean", "low", "high", "mean of all heads")
    masses = (*(name for name, _ in PATTERNS), "max_weight")
    links, pages = _views.head_pages(found)
    return Shown(
        text=(f"Shares of attention, averaged over {average}. {INTERVALS} {SELECTION}",),
        pictures=(
            Picture(
                "figure2",
                figures.special_token_figure(summary, figure=blank()),
                caption,
                "Average attention of each head to [CLS], [SEP] and punctuation, by layer.",
                numbers=("surface_patterns.csv",),
            ),
        ),
        tables=(
            Table(
                "best_heads",
                f"The {TOP} heads with the largest share of attention to each kind of token. {_views.opens(links)}",
                rows,
                percent=shares,
                bars=("mean",),
                links={"head": links},
            ),
            Table(
                "heads",
                "Every head: shares of attention, and the entropy in nats.",
                _every_head(summary),
                percent=masses,
                bars=masses,
                folded=True,
            ),
            *_in_the_paper(
                summary, "surface", "shares of attention", percent=("here", "paper"), precision=_published.SIGNED
            ),
        ),
        highlights=tuple(highlights),
        views=pages,
    )


def _in_the_paper(summary: Summary, part: str, what: str, /, **shown: Any) -> tuple[Table, ...]:
    """What section 3 of the paper reports, if this is its model."""
    model = _published.bert_base(summary)
    if model is None:
        return ()
    caption = f"What the paper reports: {what}, means over heads. {_published.notes(model, part)}"
    return (Table(f"{part}_paper", caption, _published.statements(summary, part), **shown),)


def _every_head(summary: Summary) -> list[dict[str, Any]]:
    names = [name for name, _ in PATTERNS] + ["entropy", "max_weight"]
    means = {name: summary.mean(name) for name in names}
    shown = [name for name in names if not np.isnan(means[name]).all()]
    return [
        {"head": format_head(layer, head)} | {name: float(means[name][i, j]) for name in shown}
        for i, layer in enumerate(summary.layers)
        for j, head in enumerate(summary.heads)
    ]


def _entropy(results: Results) -> Shown:
    summary = given(results.surface)
    uniform = float(_arrays.nan_mean(summary.mean("uniform_entropy").ravel()))
    found = [
        (kind, rank, best)
        for kind, largest in (("broadest", True), ("most focused", False))
        for rank, best in enumerate(_best(summary, "entropy", TOP, largest=largest), start=1)
    ]
    rows = [
        {"kind": kind, "rank": rank, "head": best.name, "mean": best.mean, "low": best.low, "high": best.high}
        for kind, rank, best in found
    ]
    links, pages = _views.head_pages([(best.head, f"{kind} attention", results.example) for kind, _, best in found])
    by_layer = _arrays.nan_mean(summary.mean("entropy"))
    low, high = int(np.nanargmin(by_layer)), int(np.nanargmax(by_layer))
    meaning = (
        "The entropy of a head's attention says over how many tokens it spreads: 0 nats is all on one token, "
        f"{uniform:.2f} nats would be an even spread over these texts."
    )
    extremes = (
        f"Attention is broadest in layer {summary.layers[high] + 1} ({by_layer[high]:.2f} nats on average; an even "
        f"spread has {uniform:.2f}) and most focused in layer {summary.layers[low] + 1} ({by_layer[low]:.2f})."
    )
    return Shown(
        text=(f"{meaning} {INTERVALS} {SELECTION}",),
        pictures=(
            Picture(
                "figure4",
                figures.entropy_figure(summary, figure=blank()),
                "Entropy of the heads' attention, by layer: a dot is a head, the line goes through the mean of each "
                "layer's heads, the dashed line is attention spread evenly. Below, of the attention from [CLS] alone. "
                "(Figure 4 of Clark et al. 2019.)",
                "Entropy of each head's attention by layer, beside that of an even spread.",
                numbers=("surface_patterns.csv",),
            ),
        ),
        tables=(
            Table(
                "entropy",
                f"The {TOP} broadest and the {TOP} most focused heads, in nats. {_views.opens(links)}",
                rows,
                links={"head": links},
            ),
            *_in_the_paper(summary, "entropy", "entropy in nats"),
        ),
        highlights=(extremes,) if len(by_layer) > 1 else (),
        views=pages,
    )


def relation_examples(scores: RelationScores) -> list[int]:
    """The numbers of a few short sentences for "heads at work": the clearest relation found, and not found."""
    best = _clearest(scores)
    if best is None:
        return []
    cases = scores.cases(best.relation, best.head, direction=best.direction)
    chosen: list[int] = []
    for found, count in ((True, EXAMPLES_FOUND), (False, EXAMPLES_MISSED)):
        fitting = [
            case["sentence"]
            for case in cases
            if case["found"] is found and EXAMPLE_LENGTHS[0] <= scores.lengths[case["sentence"]] <= EXAMPLE_LENGTHS[1]
        ]
        chosen += [one for one in dict.fromkeys(fitting) if one not in chosen][:count]
    return chosen


def relation_sentences(scores: RelationScores) -> dict[str, int]:
    """For each relation of the table the number of a sentence in which its best head finds a governor, if any.

    The first that is as short as those of Figure 5, or else the shortest.
    """
    chosen = {}
    for row in best_heads(scores, min_count=least_words(scores)).rows:
        cases = scores.cases(row.relation, row.head, direction=row.direction)
        found = dict.fromkeys(case["sentence"] for case in cases if case["found"])
        fitting = (one for one in found if EXAMPLE_LENGTHS[0] <= scores.lengths[one] <= EXAMPLE_LENGTHS[1])
        if found:
            chosen[row.relation] = next(fitting, min(found, key=lambda one: scores.lengths[one]))
    return chosen


def _clearest(scores: RelationScores) -> BestHead | None:
    """The relation whose best head is furthest above the baseline."""
    rows = best_heads(scores, min_count=least_words(scores), directions=scores.directions[:1]).rows[1:]
    return max(rows, key=lambda row: row.accuracy - row.baseline, default=None)


def _fold_by(scores: RelationScores) -> Literal["document", "sentence"]:
    """By document where there are enough."""
    documents = len(set(scores.documents)) if None not in scores.documents else 0
    return "document" if documents >= FOLDS else "sentence"


def _held_out(scores: RelationScores, relations: Sequence[str]) -> dict[str, BestHead]:
    """Cross-fitted; a relation that one fold alone has is not in it, and with fewer sentences than folds none is."""
    found = {}
    if scores.sentences >= FOLDS:
        for name in relations:
            with contextlib.suppress(SelectionError):
                found[name] = cross_fit(scores, folds=FOLDS, by=_fold_by(scores), relations=[name])[name]
    return found


def relation_settings(scores: RelationScores) -> dict[str, Any]:
    """What the section on relations was made with, for the record."""
    return {
        "min_count": least_words(scores),
        "offsets": list(OFFSETS),
        "interval": {"method": "bootstrap over sentences", "level": LEVEL, "resamples": RESAMPLES, "seed": SEED},
        "held_out": {"folds": FOLDS, "by": _fold_by(scores), "seed": SEED},
    }


def _relations(results: Results) -> Shown:
    scores = given(results.relations)
    min_count = least_words(scores)
    table = best_heads(scores, min_count=min_count, offsets=OFFSETS, level=LEVEL, resamples=RESAMPLES, seed=SEED)
    held_out = _held_out(scores, [row.relation for row in table.rows])
    rows: list[dict[str, Any]] = [
        {
            "relation": row.relation,
            "words": row.count,
            "head": row.head,
            "direction": row.direction,
            "accuracy": row.accuracy,
            **bounds(row.low, row.high),
            "held out": held_out[row.relation].accuracy if row.relation in held_out else float("nan"),
            "offset": f"{row.offset:+d}",
            "baseline": row.baseline,
        }
        for row in table.rows
    ]
    model = _published.bert_base(scores)
    if model is not None:
        rows = [row | _published.relation_columns(scores, row["relation"], row["accuracy"]) for row in rows]
    maps = results.relation_maps
    links, pages = _views.head_pages(
        [(row.head, row.relation, maps.get(row.relation)) for row in table.rows], gold="relations"
    )
    clearest = _clearest(scores)
    pictures = [
        Picture(
            "table1",
            figures.relation_figure(table, figure=blank()),
            "For each relation the head that finds the governor most often, with its 95% interval, and what the best "
            "fixed offset finds. Heads and offsets are picked on the same words.",
            "Accuracy of the best head and of the best fixed offset, relation by relation.",
            numbers=("relations.csv",),
        )
    ]
    if clearest is not None and results.relation_examples:
        pictures.append(
            Picture(
                "figure5",
                figures.heads_at_work(results.relation_examples, clearest.head, clearest.relation, figure=blank()),
                f"Head {clearest.head} on {clearest.relation}: the attention of the words with this relation (left) is "
                "blue where, special tokens aside, most of it goes to the governor, and orange where it does not; all "
                "other attention is grey. (As Figure 5 of Clark et al. 2019.)",
                f"Attention of head {clearest.head} in single sentences, as lines between words.",
                wide=True,
                numbers=tuple(f"figure5_{i}.safetensors" for i in range(1, len(results.relation_examples) + 1)),
            )
        )
    picking = (
        "Heads and offsets are picked on the words that they are scored on, as in the paper's Table 1; “held out” "
        f"picks them on the other {FOLDS - 1} of {FOLDS} parts of the treebank, which is parted between "
        f"{_fold_by(scores)}s (– where one part alone has the relation, or there are fewer than {FOLDS} sentences). "
        "Intervals are by bootstrap over sentences; they do not cover the picking, nor that sentences of one document "
        "are alike. There is none where all sentences agree, which says nothing of others."
    )
    shares = ("accuracy", "low", "high", "held out", "baseline", "its accuracy here", "paper")
    highlight = []
    if clearest is not None:
        interval = f"95% CI {clearest.low:.1%} to {clearest.high:.1%}"
        if not clearest.low < clearest.high:
            interval = "no interval: all sentences agree"
        other = held_out.get(clearest.relation)
        elsewhere = "" if other is None else f"; picked on other {_fold_by(scores)}s, {other.accuracy:.1%}"
        highlight.append(
            f"Head {clearest.head} finds the governor of {clearest.accuracy:.1%} of {clearest.count:,} words with the "
            f"relation {clearest.relation} ({interval}{elsewhere}); the best "
            f"fixed offset, {clearest.offset:+d}, finds {clearest.baseline:.1%}."
        )
    return Shown(
        text=(RULE, picking),
        pictures=tuple(pictures),
        tables=(
            Table(
                "relations",
                f"The best head for each relation with at least {min_count} words. {_views.opens(links)}"
                + ("" if model is None else f" {_published.notes(model, 'table1')}"),
                rows,
                percent=shares,
                bars=("accuracy", "baseline"),
                precision=_published.SIGNED,
                links={"head": links},
            ),
        ),
        highlights=tuple(highlight),
        views=pages,
    )


TEXT: Final = "Give a text: --text FILE (in Python: text= or inputs=)."
SECTIONS: Final[tuple[Section, ...]] = (
    Section(
        "examples",
        "Heads at work",
        ("surface", "example"),
        "Give a text: --text FILE; token ids need a short text beside them: --example TEXT (in Python: text= or "
        "inputs=, and example=).",
        _examples,
    ),
    Section("surface", "Surface patterns", ("surface",), TEXT, _surface),
    Section(
        "gradients",
        "What the objective hangs on",
        ("gradients",),
        "Give a text to a model with its language-modelling head: --text FILE (in Python: text= or inputs=); or, to a "
        "sentence encoder, pairs of passages (inputs= of TextPair, in Python alone).",
        _gradients.section,
    ),
    Section("entropy", "How broadly heads attend", ("surface",), TEXT, _entropy),
    Section(
        "relations",
        "Dependency relations",
        ("relations",),
        "Give a treebank: --treebank FILE, in CoNLL-U (in Python: treebank=).",
        _relations,
    ),
    Section(
        "coreference",
        "Coreference",
        ("coreference",),
        "Give documents with coreference: --coref FILE, in CorefUD's CoNLL-U or CoNLL-2012 (in Python: coref=).",
        _coreference.section,
    ),
    Section(
        "probes",
        "Probes: what all heads know together",
        ("probes",),
        f"Give a treebank of at least {_probes.FEWEST} sentences: --treebank FILE, in CoNLL-U (in Python: treebank=).",
        _probes.section,
    ),
    Section("clusters", "Clusters of heads", ("surface", "distances"), TEXT, _clusters.section),
)
"""The sections of a report, in their order on the page."""
