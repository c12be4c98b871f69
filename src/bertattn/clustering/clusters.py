"""Groups of heads that attend alike: hierarchical clustering of their distances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.clustering._input import OfHeads, head_columns, head_matrix, same_heads
from bertattn.clustering._options import flag, number_in, whole
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import one_of

__all__ = ["HeadClusters", "cluster_heads"]

Linkage: TypeAlias = Literal["average", "complete", "single", "ward"]
PickedBy: TypeAlias = Literal["clusters", "threshold", "silhouette"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class HeadClusters(OfHeads):
    """Which heads belong together; see `cluster_heads`.

    Args:
        labels: int `[head]`, the cluster of each head, from 1; the largest cluster first, of equal ones the one with
            the first head.
        tree: `[merge, 4]`, what was merged at which distance, as `scipy.cluster.hierarchy.linkage` gives it.
        names: what each head is called.
        layers: the layer of each, counted from 0; None where it is not known.
        silhouettes: `[head]`, (b - a) / max(a, b), a the mean distance from the others of its cluster, b from those of
            the nearest other one; 0 for a head alone. NaN where there is one cluster, or as many as heads.
        cophenetic: correlation of the distances with the heights at which the tree joins the heads: how well the tree
            stands for them. NaN where either do not differ.
        linkage: "average", "complete", "single" or "ward".
        picked_by: what set the number of clusters, "clusters", "threshold" or "silhouette".
        threshold: the height at which the tree was cut; None where the number was asked for or picked.
        sqrt: whether the distances are the root of the divergence.
    """

    labels: Numpy
    tree: Numpy
    names: tuple[str, ...]
    layers: tuple[int, ...] | None
    silhouettes: Numpy
    cophenetic: float
    linkage: Linkage
    picked_by: PickedBy
    threshold: float | None
    sqrt: bool

    @property
    def clusters(self) -> int:
        """Number of clusters."""
        return int(self.labels.max())

    @property
    def silhouette(self) -> float:
        """Mean silhouette of the heads, from -1 to 1; NaN where there is one cluster, or as many as heads."""
        return float(self.silhouettes.mean())

    @property
    def order(self) -> Numpy:
        """int `[head]`, the numbers of the heads, from 0, in the order of the tree's leaves: to sort a matrix by."""
        from scipy.cluster.hierarchy import leaves_list

        return np.asarray(leaves_list(self.tree), dtype=np.int64) if len(self.tree) else np.zeros(1, dtype=np.int64)

    def members(self, cluster: int) -> tuple[str, ...]:
        """The names of the heads of a cluster, counted from 1.

        Raises:
            SelectionError: there is no such cluster.
        """
        number = _arrays.plain(cluster)
        if type(number) is not int or number not in range(1, self.clusters + 1):
            raise SelectionError(f"there is no cluster {cluster!r}; they are counted from 1 to {self.clusters}")
        return tuple(name for name, label in zip(self.names, self.labels, strict=True) if label == number)

    def agreement(self, other: HeadClusters) -> float:
        """Adjusted Rand index of two clusterings of the same heads: 1 where they are equal, 0 on average by chance.

        Raises:
            ValidationError: no clustering, or one of other heads.
        """
        same_heads(self, other)
        from sklearn.metrics import adjusted_rand_score

        return float(adjusted_rand_score(self.labels, other.labels))

    def to_records(self) -> list[dict[str, Any]]:
        """One row a head: its layer and number, counted from 1 (None if unknown), name, cluster and silhouette."""
        return [
            head | {"cluster": int(cluster), "silhouette": float(silhouette)}
            for head, cluster, silhouette in zip(
                head_columns(self.names, self.layers), self.labels, self.silhouettes, strict=True
            )
        ]

    def __repr__(self) -> str:
        return (
            f"HeadClusters({len(self.names)} heads in {self.clusters} clusters, linkage={self.linkage!r}, "
            f"sqrt={self.sqrt}, picked_by={self.picked_by!r}, silhouette={self.silhouette:.3f})"
        )


def cluster_heads(
    distances: Any,
    /,
    *,
    clusters: int | None = None,
    threshold: float | None = None,
    linkage: Linkage = "average",
    sqrt: bool = False,
    shape: tuple[int, int] | None = None,
) -> HeadClusters:
    """Agglomerative clustering of the heads: so many `clusters`, cut at `threshold`, or where silhouettes say.

    Without a number or a threshold the cut is the one with the largest mean silhouette (Rousseeuw 1987), of equal ones
    the one with the fewest clusters; one cluster where no cut has a mean above 0, and for fewer than 3 heads. It is
    picked on the distances it describes, so its silhouette flatters; no test of whether there are clusters at all.

    Args:
        distances: `HeadDistances`, or a square array `[head, head]`, NumPy or torch, as `pairwise_js` gives.
        clusters: how many.
        threshold: heads share a cluster where the tree joins them at this height or below, in the unit of the distances
            (with `sqrt=True` of the root).
        linkage: the distance of two clusters is the "average" of their heads' distances, the largest ("complete"), the
            smallest ("single"), or what merging adds to the sum of squares ("ward"). The last supposes points in space,
            which the root of the divergence gives and the divergence does not; so it needs `sqrt=True`.
        sqrt: take the root of the divergences first.
        shape: (layers, heads in each) names the heads of an array "1-1" ...; without it they are "1", "2", ...

    Raises:
        ValidationError: no square symmetric matrix of distances with a zero diagonal, an undefined pair, both a number
            and a threshold, more clusters than heads, "ward" without `sqrt`, an unknown option.

    Examples:
        >>> places = np.array([0.0, 0.1, 0.2, 5.0, 5.1])
        >>> found = cluster_heads(abs(places[:, None] - places), shape=(1, 5))
        >>> found
        HeadClusters(5 heads in 2 clusters, linkage='average', sqrt=False, picked_by='silhouette', silhouette=0.976)
        >>> found.members(2)
        ('1-4', '1-5')
    """
    one_of("linkage", linkage, get_args(Linkage))
    sqrt = flag("sqrt", sqrt)
    if linkage == "ward" and not sqrt:
        raise ValidationError(
            "linkage='ward' needs the distances of points in space, which the divergence is not but its root is; "
            "pass sqrt=True"
        )
    if clusters is not None and threshold is not None:
        raise ValidationError(
            f"give clusters={clusters!r} or threshold={threshold!r}, not both: each says where to cut"
        )
    if threshold is not None:
        threshold = number_in(threshold, 0, math.inf, wanted="threshold is a distance of 0 or more")
    if clusters is not None:
        clusters = whole("clusters", clusters, 1)
    matrix = head_matrix(distances, sqrt=sqrt, shape=shape)
    heads = len(matrix.names)
    if clusters is not None and clusters > heads:
        raise ValidationError(f"clusters={clusters} are more than the {heads} heads there are")
    tree, cophenetic = _tree(matrix.values, linkage)
    picked_by: PickedBy = "clusters" if clusters is not None else "threshold"
    if threshold is not None:
        labels = _at_height(tree, threshold)
    elif clusters is not None:
        labels = _cuts(tree)[:, heads - clusters]
    else:
        labels, picked_by = _best_cut(tree, matrix.values), "silhouette"
    return HeadClusters(
        labels=_by_size(labels),
        tree=tree,
        names=matrix.names,
        layers=matrix.layers,
        silhouettes=_silhouettes(matrix.values, labels),
        cophenetic=cophenetic,
        linkage=linkage,
        picked_by=picked_by,
        threshold=threshold,
        sqrt=sqrt,
    )


def _tree(distances: Numpy, linkage: Linkage) -> tuple[Numpy, float]:
    """The tree, and its cophenetic correlation with the distances."""
    if len(distances) == 1:
        return np.zeros((0, 4)), float("nan")
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    condensed = squareform(distances, checks=False)
    tree = hierarchy.linkage(condensed, linkage)
    heights = hierarchy.cophenet(tree)
    if np.ptp(condensed) == 0 or np.ptp(heights) == 0:
        return tree, float("nan")
    return tree, float(np.corrcoef(condensed, heights)[0, 1])


def _at_height(tree: Numpy, threshold: float) -> Numpy:
    if not len(tree):
        return np.ones(1, dtype=np.int64)
    from scipy.cluster.hierarchy import fcluster

    return np.asarray(fcluster(tree, threshold, "distance"))


def _cuts(tree: Numpy) -> Numpy:
    """`[head, cut]`, the labels of every cut, from as many clusters as heads down to one."""
    if not len(tree):
        return np.zeros((1, 1), dtype=np.int64)
    # Unlike `fcluster`, which cannot cut between merges at one height, it always gives the number asked for.
    from scipy.cluster.hierarchy import cut_tree

    return np.asarray(cut_tree(tree))


def _best_cut(tree: Numpy, distances: Numpy) -> Numpy:
    cuts = _cuts(tree)
    best, most = cuts[:, -1], 0.0
    for cut in cuts.T[-2:0:-1]:
        mean = _silhouettes(distances, cut).mean()
        if mean > most + 1e-12:
            best, most = cut, mean
    return np.asarray(best)


def _silhouettes(distances: Numpy, labels: Numpy) -> Numpy:
    if not 1 < len(np.unique(labels)) < len(labels):
        return np.full(len(labels), np.nan)
    from sklearn.metrics import silhouette_samples

    return np.asarray(silhouette_samples(distances, labels, metric="precomputed"), dtype=np.float64)


def _by_size(labels: Numpy) -> Numpy:
    """The same clusters numbered from 1, large ones first, then by their first head."""
    _, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.lexsort((first, -counts))] = np.arange(1, len(counts) + 1)
    return np.asarray(rank[inverse])
