"""The section on clusters of heads: how alike their attention is (Clark et al. 2019, section 6)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from bertattn import figures
from bertattn.clustering import (
    HeadBehaviors,
    HeadDistances,
    LayerCloseness,
    cluster_heads,
    embed_heads,
    head_distances,
    label_behaviors,
    layer_closeness,
)
from bertattn.extract import Stream
from bertattn.report._parts import SEED, Picture, Results, Shown, Table, blank, given, least_words

__all__ = ["behaviors", "measured", "section", "settings"]

PERMUTATIONS: Final = 9999
# Few enough to be read; cut where the silhouette is largest, most models give one cluster and an odd head.
CLUSTERS: Final = 6
TREE: Final[dict[str, Any]] = {"linkage": "ward", "sqrt": True}
NEAREST: Final = 3
# By how many standard errors a head must beat its baseline to be called after a relation.
MARGIN: Final = 2.0
# What the labels of Figure 6 are called on the page; a relation's is its own name.
LABELS: Final = {
    "next": "next token",
    "previous": "previous token",
    "broad": "broad",
    "cls": "[CLS]",
    "sep": "[SEP]",
    "bos": "BOS",
    "eos": "EOS",
    "punctuation": ". or ,",
    None: "none of these",
}
RULE: Final = (
    "The distance between two heads is the Jensen-Shannon divergence between their attention from the same token, "
    "averaged over all tokens: 0 where they always attend alike, 0.69 nats at most. In the figure heads stand near "
    "each other where their distance is small; stress-1 says how far the picture is from the distances (0 is exact)."
)
LABELLING: Final = (
    "A head's label is the last that fits it of these, by the thresholds of the paper's code: over half of its "
    "attention to the next or the previous token, a broad spread (entropy over 78% of an even one), over 60% to a "
    "special token or to full stops and commas. A relation or “coreference” is the label of the head that finds it "
    "best, where it beats the best fixed offset (the nearest mention) by 10 points and two standard errors, head and "
    "offset picked on other parts of the treebank than they are scored on."
)


def measured(stream: Stream, /) -> HeadDistances:
    """The distances of all pairs of heads."""
    return head_distances(stream)


def behaviors(results: Results) -> HeadBehaviors:
    """What each head does."""
    relations = results.relations
    return label_behaviors(
        given(results.surface),
        relations=relations,
        coreference=results.coreference,
        min_count=100 if relations is None else least_words(relations),
        min_margin=MARGIN,
    )


def settings(results: Results) -> dict[str, Any]:
    """What the section was made with, for the record."""
    distances, labels = given(results.distances), behaviors(results)
    return {
        "smoothing": distances.smoothing,
        "weighting": distances.weighting,
        "kernels": list(distances.kernels),
        "embedding": {"method": "metric", "starts": 5, "seed": SEED},
        "clusters": {"clusters": CLUSTERS} | TREE,
        "layers": {"permutations": PERMUTATIONS, "seed": SEED} if _has_layers(distances) else None,
        "labels": {"thresholds": labels.thresholds, "picked_on": dict(labels.picked_on)},
    }


def section(results: Results) -> Shown:
    """Figure 6, what the heads do, and which are alike."""
    distances, labels = given(results.distances), behaviors(results)
    embedding = embed_heads(distances, seed=SEED)
    groups = cluster_heads(distances, clusters=min(CLUSTERS, len(distances)), **TREE)
    matrix = distances.matrix()
    label_of = dict(zip(labels.names, labels.labels, strict=True))
    behaviour_rows = [
        {"behaviour": LABELS.get(name, name), "heads": count, "which": _named(labels, name)}
        for name, count in labels.counts().items()
        if count
    ]
    cluster_rows = []
    for number in range(1, groups.clusters + 1):
        members = groups.members(number)
        places = [distances.names.index(name) for name in members]
        inside = matrix[np.ix_(places, places)]
        does = {LABELS.get(label_of[name], label_of[name]): 0 for name in members}
        for name in members:
            does[LABELS.get(label_of[name], label_of[name])] += 1
        cluster_rows.append(
            {
                "cluster": number,
                "heads": len(members),
                "which": ", ".join(members),
                "labels": ", ".join(f"{what} {count}" for what, count in sorted(does.items(), key=lambda x: -x[1])),
                "mean distance": float(inside.sum() / (len(places) * (len(places) - 1)))
                if len(places) > 1
                else float("nan"),
            }
        )
    near_rows = [
        {
            "head": name,
            "label": LABELS.get(label, label),
            "nearest": near.name,
            "its label": LABELS.get(label_of[near.name], label_of[near.name]),
            "distance": near.distance,
            "standard error": near.standard_error,
        }
        for name, label in label_of.items()
        if label in labels.picked_on
        for near in distances.nearest(name, NEAREST)
    ]
    counts = ", ".join(f"{row['behaviour']} {row['heads']}" for row in behaviour_rows)
    return Shown(
        text=(RULE, LABELLING),
        pictures=(
            Picture(
                "figure6",
                figures.cluster_figure(embedding, labels, figure=blank()),
                f"The {len(distances)} heads by multidimensional scaling of their distances: on the left in the colour "
                "of what they do, on the right in that of their layer. Directions mean nothing, only nearness does. "
                "(Figure 6 of Clark et al. 2019.)",
                f"Heads as points, near each other where their attention is alike. Labels: {counts}.",
                wide=True,
                numbers=("head_map.csv",),
            ),
        ),
        tables=(
            Table("head_labels", "What the heads do: the label of each.", behaviour_rows),
            Table(
                "head_map",
                "Where each head stands in the figure, in roots of nats; only the distances mean something.",
                [
                    {"head": name, "label": LABELS.get(label_of[name], label_of[name]), "x": float(x), "y": float(y)}
                    for name, (x, y) in zip(embedding.names, embedding.coordinates, strict=True)
                ],
                precision=".3g",
                folded=True,
            ),
            Table(
                "head_clusters",
                f"{groups.clusters} clusters of heads, by Ward's linkage of the roots of the distances; the number is "
                "not found but fixed, few enough to be read. The mean "
                f"silhouette is {groups.silhouette:.2f}: 1 would be clusters far apart, 0 heads spread evenly.",
                cluster_rows,
                precision=".3g",
            ),
            *(
                (
                    Table(
                        "nearest_heads",
                        f"The {NEAREST} heads nearest to those with a relation or coreference as their label, in nats.",
                        near_rows,
                        precision=".3g",
                    ),
                )
                if near_rows
                else ()
            ),
        ),
        highlights=_highlights(distances),
    )


def _has_layers(distances: HeadDistances) -> bool:
    """Whether there are layers to compare, and pairs of heads in them."""
    return len(distances.layers) > 1 and len(distances.heads) > 1


def _highlights(distances: HeadDistances) -> tuple[str, ...]:
    """Whether heads of one layer are alike, and which two are most; nothing of a single head."""
    if len(distances) < 2:
        return ()
    said = []
    if _has_layers(distances):
        closeness = layer_closeness(distances, permutations=PERMUTATIONS, seed=SEED)
        said.append(
            f"heads of one layer are {_verdict(closeness)} ({closeness.within:.3g} nats on average) than to those of "
            f"other layers ({closeness.between:.3g}; permutation test of {closeness.permutations:,}, p = "
            f"{_p(closeness.p)})"
        )
    matrix, errors = distances.matrix(), distances.standard_error()
    first, second = np.unravel_index(np.argmin(matrix + np.diag([np.inf] * len(matrix))), matrix.shape)
    error = errors[first, second]
    spread = "no standard error: one text" if np.isnan(error) else f"standard error {error:.2g}"
    said.append(
        f"the two heads most alike are {distances.names[first]} and {distances.names[second]} "
        f"({matrix[first, second]:.3g} nats, {spread})"
    )
    line = "; ".join(said)
    return (f"{line[0].upper()}{line[1:]}.",)


def _verdict(closeness: LayerCloseness) -> str:
    if closeness.difference > 0:
        return f"{'' if closeness.p < 0.05 else 'not clearly '}closer to each other"
    return "no closer to each other"


def _named(labels: HeadBehaviors, label: str | None) -> str:
    return ", ".join(name for name, own in zip(labels.names, labels.labels, strict=True) if own == label)


def _p(value: float) -> str:
    return f"{value:.4f}" if value < 0.01 else f"{value:.2f}"
