"""Tests on distances between heads: whether those of one layer are close, and whether two geometries agree.

Heads are the unit: their order is what is permuted, the distances are taken as they are. So the p-values speak of these
heads, not of other texts or other models; how sure the distances themselves are, `HeadDistances` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np

from bertattn._arrays import Numpy
from bertattn.clustering._input import ROUNDING, OfHeads, head_columns, head_matrix
from bertattn.clustering._options import flag, seed_number, whole
from bertattn.clustering.embedding import Method, embed_heads
from bertattn.errors import ValidationError
from bertattn.heads._options import one_of

__all__ = ["GeometryComparison", "LayerCloseness", "compare_geometries", "layer_closeness"]

# Statistics that differ by less than this part of what they are made of are equal but for rounding.
_TIE: Final = 1e-11
# Numbers in one array of a block: 8 MB of float64.
_BLOCK: Final = 2**20


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LayerCloseness(OfHeads):
    """Whether heads of one layer are closer to each other than to those of other layers; see `layer_closeness`.

    Args:
        within: mean distance of two heads of one layer.
        between: mean distance of two heads of different layers.
        p: one-sided, of `difference`.
        layers: the layers, counted from 0.
        heads: int `[layer]`, how many heads each has.
        by_layer: `[layer]`, mean distance of two heads of this layer; NaN where it has one head.
        by_gap: `[gap]`, mean distance of two heads whose layers are 0, 1, 2 ... apart; NaN where there are none.
        gap_pairs: int `[gap]`, how many pairs that is.
        permutations, seed: of the test.
        sqrt: whether the distances are the root of the divergence.
    """

    within: float
    between: float
    p: float
    layers: tuple[int, ...]
    heads: Numpy
    by_layer: Numpy
    by_gap: Numpy
    gap_pairs: Numpy
    permutations: int
    seed: int
    sqrt: bool

    @property
    def difference(self) -> float:
        """`between` - `within`, what is tested: above 0 where heads of one layer are closer."""
        return self.between - self.within

    @property
    def ratio(self) -> float:
        """`between` / `within`; NaN where `within` is 0."""
        return self.between / self.within if self.within > 0 else float("nan")

    def to_records(self) -> list[dict[str, Any]]:
        """One row a layer, counted from 1: its number of heads and their mean distance."""
        return [
            {"layer": layer + 1, "heads": int(heads), "within": float(mean)}
            for layer, heads, mean in zip(self.layers, self.heads, self.by_layer, strict=True)
        ]

    def __repr__(self) -> str:
        return (
            f"LayerCloseness(within={self.within:.4g}, between={self.between:.4g}, p={self.p:.4g}, "
            f"{len(self.layers)} layers, permutations={self.permutations}, seed={self.seed})"
        )


def layer_closeness(
    distances: Any,
    /,
    *,
    sqrt: bool = False,
    permutations: int = 9999,
    seed: int = 0,
    shape: tuple[int, int] | None = None,
) -> LayerCloseness:
    """Are heads of one layer closer to each other than to other heads? (Clark et al. 2019, section 6: they often are.)

        difference = mean distance of pairs from different layers - mean distance of pairs from one layer
        p          = (1 + number of permutations with a difference as large) / (1 + permutations)

    A permutation deals the layers out to the heads anew, so the null is that a head's layer has no part in its
    distances. The unit is the head: p says nothing of other texts or other models.

    Args:
        distances: `HeadDistances`, or a square array `[head, head]`, NumPy or torch, with `shape`.
        sqrt: take the root of the divergences first.
        permutations, seed: of the test.
        shape: of an array, (layers, heads in each), layer by layer.

    Raises:
        ValidationError: no square symmetric matrix of distances with a zero diagonal, an undefined pair, an array
            without `shape`, fewer than 2 layers, or none with 2 heads, an unknown option.

    Examples:
        >>> places = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 5.2])
        >>> layer_closeness(abs(places[:, None] - places), shape=(2, 3), permutations=999)
        LayerCloseness(within=0.1333, between=5, p=0.1..., 2 layers, permutations=999, seed=0)
    """
    permutations, seed, sqrt = whole("permutations", permutations, 1), seed_number(seed), flag("sqrt", sqrt)
    matrix = head_matrix(distances, sqrt=sqrt, shape=shape)
    if matrix.layers is None:
        raise ValidationError("an array does not say which layer its heads are of; pass shape=(layers, heads in each)")
    layers, index, heads = np.unique(matrix.layers, return_inverse=True, return_counts=True)
    if len(layers) < 2 or heads.max() < 2:
        raise ValidationError(
            f"layers are compared from 2 on, of which one has 2 heads or more, but there are {len(matrix.names)} heads "
            f"in {len(layers)} layers"
        )
    first, second = np.triu_indices(len(index), 1)
    pairs = matrix.values[first, second]
    gaps = np.abs(layers[index[first]] - layers[index[second]])
    same = gaps == 0
    left, right = first[same], second[same]

    def differences(orders: Numpy) -> Numpy:
        within = matrix.values[orders[:, left], orders[:, right]].sum(1)
        return np.asarray((pairs.sum() - within) / (~same).sum() - within / len(left))

    null = np.empty(permutations)
    for rows, orders in _permuted(len(index), permutations, seed, width=len(left)):
        null[rows] = differences(orders)
    observed = float(differences(np.arange(len(index))[None])[0])
    gap_pairs = np.bincount(gaps)
    in_layer = np.bincount(index[left], minlength=len(layers))
    return LayerCloseness(
        within=float(pairs[same].mean()),
        between=float(pairs[~same].mean()),
        p=_p_value(observed, null, size=pairs.max()),
        layers=tuple(layers.tolist()),
        heads=heads,
        by_layer=_mean(np.bincount(index[left], pairs[same], minlength=len(layers)), in_layer),
        by_gap=_mean(np.bincount(gaps, pairs), gap_pairs),
        gap_pairs=gap_pairs,
        permutations=permutations,
        seed=seed,
        sqrt=sqrt,
    )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GeometryComparison(OfHeads):
    """How alike two sets of distances between heads are; see `compare_geometries`.

    Args:
        disparity: of the embeddings, each scaled to a sum of squares of 1, the sum of squared distances that is left
            when one is turned, mirrored and scaled onto the other (Procrustes): from 0, the same shape, to 1.
        disparity_p: one-sided, of a disparity as small.
        mantel: Spearman's correlation of the distances of all pairs.
        mantel_p: one-sided, of a correlation as large.
        residuals: `[head]`, the part of each head in the disparity, which is their sum.
        names, other_names: what the heads of each are called; those of one row are taken for the same head.
        layers: the layer of each head of the first, counted from 0; None where it is not known.
        models: what each was computed from, where known.
        dimensions, method: of the embeddings.
        sqrt: whether the distances are the root of the divergence.
        permutations, seed: of the tests.

    Where the distances of one side do not differ, `mantel` and both p-values are NaN: every order of its heads is the
    same geometry, of which an embedding in fewer dimensions shows one at random, so that `disparity` means nothing.
    `disparity` and `residuals` are NaN where all heads of one embedding lie at one point.
    """

    disparity: float
    disparity_p: float
    mantel: float
    mantel_p: float
    residuals: Numpy
    names: tuple[str, ...]
    other_names: tuple[str, ...]
    layers: tuple[int, ...] | None
    models: tuple[str | None, str | None]
    dimensions: int
    method: Method
    sqrt: bool
    permutations: int
    seed: int

    @property
    def paired_by(self) -> str:
        """ "name" where the heads of both are called the same, "order" where not.

        Equal names do not make two models' heads the same heads: see `models`.
        """
        return "name" if self.names == self.other_names else "order"

    def moved(self, *, k: int = 5) -> list[tuple[str, float]]:
        """The `k` heads with the largest residuals, (name, residual), the largest first.

        Raises:
            ValidationError: `k` is no whole number from 1.
        """
        k = whole("k", k, 1)
        return [(self.names[i], float(self.residuals[i])) for i in np.argsort(-self.residuals, kind="stable")[:k]]

    def to_records(self) -> list[dict[str, Any]]:
        """One row a head: its layer and number, counted from 1 (None if unknown), name, name in the other, residual."""
        return [
            head | {"other_name": other, "residual": float(residual)}
            for head, other, residual in zip(
                head_columns(self.names, self.layers), self.other_names, self.residuals, strict=True
            )
        ]

    def __repr__(self) -> str:
        return (
            f"GeometryComparison({len(self.names)} heads paired by {self.paired_by}, disparity={self.disparity:.3f} "
            f"(p={self.disparity_p:.4g}), mantel={self.mantel:.3f} (p={self.mantel_p:.4g}), "
            f"permutations={self.permutations}, seed={self.seed})"
        )


def compare_geometries(
    a: Any,
    b: Any,
    /,
    *,
    dimensions: int = 2,
    method: Method = "classical",
    sqrt: bool = True,
    permutations: int = 9999,
    seed: int = 0,
    shape: tuple[int, int] | None = None,
) -> GeometryComparison:
    """Do the same heads lie close to each other in two geometries, say of one model on two corpora?

        disparity = min over turns, mirrors and scales of sum_h |x_h - y_h|^2, x and y embeddings of size 1 (Procrustes)
        mantel    = Spearman's correlation of distances of a with those of b over all pairs of heads (Mantel 1967)
        p         = (1 + number of permutations of the heads of b that agree as well) / (1 + permutations)

    Row i of one is taken for row i of the other. That is right for one model on two corpora, before and after
    fine-tuning, or with two kinds of weights. Of two models trained apart head 3-9 of one is not head 3-9 of the other,
    and only what the place in the model says can agree; rather compare what does not pair heads, such as the `by_layer`
    and `by_gap` of each one's `layer_closeness`.

    Where eigenvalues tie at the cut, the last one kept and the first one left out, the classical embedding is one of
    many that are as good, and the disparity depends on which; add dimensions until it does not.

    The null is that the heads of b stand in any order. Two models of some depth reject it as soon as their layers are
    alike, so a small p is little news; the sizes are what to report.

    Args:
        a, b: `HeadDistances`, or square arrays `[head, head]`, NumPy or torch, of as many heads in the same order.
        dimensions, method, sqrt: of the embeddings, as in `embed_heads`; `sqrt` holds for the distances of Mantel's
            test as well, whose ranks it leaves as they are. The metric method starts from `seed`.
        permutations, seed: of the tests.
        shape: of arrays, (layers, heads in each) names the heads "1-1" ...; without it they are "1", "2", ...

    Raises:
        ValidationError: no square symmetric matrix of distances with a zero diagonal, an undefined pair, other numbers
            of heads, fewer than 3 heads, an unknown option.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> places = rng.normal(size=(8, 2))
        >>> a = np.linalg.norm(places[:, None] - places, axis=-1)
        >>> compare_geometries(a, 3 * a, permutations=999)
        GeometryComparison(8 heads paired by name, disparity=0.000 (p=0.001), mantel=1.000 (p=0.001),
        permutations=999, seed=0)
    """
    one_of("method", method, get_args(Method))
    permutations, seed, sqrt = whole("permutations", permutations, 1), seed_number(seed), flag("sqrt", sqrt)
    dimensions = whole("dimensions", dimensions, 1)
    ours, theirs = (head_matrix(x, sqrt=sqrt, shape=shape) for x in (a, b))
    heads = len(ours.names)
    if len(theirs.names) != heads:
        raise ValidationError(
            f"heads are compared one by one, but there are {heads} and {len(theirs.names)}; "
            "select as many of both, such as b.select(layers=..., heads=...)"
        )
    if heads < 3:
        raise ValidationError(f"geometries are compared from 3 heads on, but there are {heads}")
    disparity, disparity_p, residuals = _procrustes(
        *(
            embed_heads(matrix.values, method=method, dimensions=dimensions, seed=seed).coordinates
            for matrix in (ours, theirs)
        ),
        permutations=permutations,
        seed=seed,
    )
    if any(_alike(matrix.values) for matrix in (ours, theirs)):
        disparity_p = mantel = mantel_p = float("nan")
    else:
        mantel, mantel_p = _mantel(ours.values, theirs.values, permutations=permutations, seed=seed)
    return GeometryComparison(
        disparity=disparity,
        disparity_p=disparity_p,
        mantel=mantel,
        mantel_p=mantel_p,
        residuals=residuals,
        names=ours.names,
        other_names=theirs.names,
        layers=ours.layers,
        models=(ours.model, theirs.model),
        dimensions=dimensions,
        method=method,
        sqrt=sqrt,
        permutations=permutations,
        seed=seed,
    )


def _procrustes(x: Numpy, y: Numpy, *, permutations: int, seed: int) -> tuple[float, float, Numpy]:
    """(disparity, p, residuals)."""
    if np.ptp(x, axis=0).max() == 0 or np.ptp(y, axis=0).max() == 0:
        return float("nan"), float("nan"), np.full(len(x), np.nan)
    from scipy.spatial import procrustes

    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    x, y, disparity = procrustes(x, y)
    # scipy has turned y onto x and scaled it, and neither changes how its heads compare in another order.
    null = np.empty(permutations)
    for rows, orders in _permuted(len(x), permutations, seed, width=x.size):
        null[rows] = np.linalg.svd(x.T @ y[orders], compute_uv=False).sum(-1)
    observed = np.linalg.svd(x.T @ y, compute_uv=False).sum()
    return float(disparity), _p_value(observed, null, size=1.0), ((x - y) ** 2).sum(1)


def _mantel(a: Numpy, b: Numpy, *, permutations: int, seed: int) -> tuple[float, float]:
    """(Spearman's correlation, p)."""
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    ranks = []
    for values in (a, b):
        of_pairs = rankdata(squareform(values, checks=False))
        of_pairs -= of_pairs.mean()
        ranks.append(of_pairs / np.linalg.norm(of_pairs))
    first, second = np.triu_indices(len(a), 1)
    theirs = squareform(ranks[1], checks=False)
    null = np.empty(permutations)
    for rows, orders in _permuted(len(a), permutations, seed, width=len(first)):
        null[rows] = theirs[orders[:, first], orders[:, second]] @ ranks[0]
    observed = float(ranks[0] @ ranks[1])
    return observed, _p_value(observed, null, size=1.0)


def _alike(distances: Numpy) -> bool:
    """Whether all pairs are equally far apart."""
    pairs = distances[np.triu_indices(len(distances), 1)]
    return bool(np.ptp(pairs) <= ROUNDING * pairs.max())


def _permuted(heads: int, permutations: int, seed: int, *, width: int) -> Iterator[tuple[slice, Numpy]]:
    """(which permutations, `[permutation, head]`), in blocks that suit `width` numbers each; the same in any blocks."""
    rng = np.random.default_rng(seed)
    size = max(1, _BLOCK // width)
    for first in range(0, permutations, size):
        rows = slice(first, min(first + size, permutations))
        yield rows, rng.permuted(np.tile(np.arange(heads), (rows.stop - first, 1)), axis=1)


def _p_value(observed: float, null: Numpy, *, size: float) -> float:
    """`size` is that of what the statistics are sums and differences of, which rounding errors are in proportion to."""
    reached = null >= observed - _TIE * size
    return float((1 + reached.sum()) / (1 + len(null)))


def _mean(sums: Numpy, counts: Numpy) -> Numpy:
    """NaN where nothing was counted."""
    return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))
