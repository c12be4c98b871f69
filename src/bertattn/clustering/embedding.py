"""Heads as points in a plane: multidimensional scaling of their distances (Clark et al. 2019, Figure 6)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from bertattn._arrays import Numpy
from bertattn.clustering._input import OfHeads, head_columns, head_matrix, same_heads
from bertattn.clustering._options import flag, seed_number, whole
from bertattn.errors import ValidationError
from bertattn.heads._options import one_of

__all__ = ["HeadEmbedding", "embed_heads"]

Method: TypeAlias = Literal["metric", "classical"]

# As released: General_Analysis.ipynb of https://github.com/clarkkev/attention-analysis.
_TOLERANCE: Final = 1e-10
_ITERATIONS: Final = 1000
# Coordinates closer than this part of the largest are equal but for rounding.
_TIE: Final = 1e-9


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class HeadEmbedding(OfHeads):
    """Heads as points whose distances come close to their divergences; see `embed_heads`.

    Only the distances between points mean something. An embedding may be turned, mirrored and moved as one likes, so
    compare two by `aligned` or `compare_geometries`, never by their coordinates.

    Args:
        coordinates: `[head, dimension]`, centred, in the unit of the distances.
        names: what each head is called.
        layers: the layer of each, counted from 0; None where it is not known.
        stress: sqrt(sum (d - delta)^2 / sum delta^2) over pairs, d between points and delta as given; 0 is exact. Rules
            of thumb call 0.05 good, 0.1 fair and 0.2 poor. NaN where all delta are 0.
        method: "metric" or "classical".
        sqrt: whether delta is the root of the divergence.
        eigenvalues: of the classical method, all of them, largest first, in the distances' unit squared; else None.
        seed, starts: of the metric method; else None.
    """

    coordinates: Numpy
    names: tuple[str, ...]
    layers: tuple[int, ...] | None
    stress: float
    method: Method
    sqrt: bool
    eigenvalues: Numpy | None = None
    seed: int | None = None
    starts: int | None = None

    @property
    def negative_share(self) -> float:
        """Of the classical method: sum |negative eigenvalues| / sum |eigenvalues|, else NaN.

        It is 0 but for rounding where the distances are those of points in some space, as roots of divergences are.
        """
        if self.eigenvalues is None:
            return float("nan")
        size = np.abs(self.eigenvalues)
        total = size.sum()
        return float(size[self.eigenvalues < 0].sum() / total) if 0 < total < np.inf else float("nan")

    def aligned(self, to: HeadEmbedding, *, scale: bool = False) -> HeadEmbedding:
        """This embedding turned, mirrored and moved as a whole to lie as close as it can on another (Procrustes).

        Heads are paired by name: those of one model on two corpora are the same heads; those of two models are not.

        Args:
            to: an embedding of the same heads, in their order, in as many dimensions.
            scale: also stretch or shrink it. The coordinates are then in the unit of the other one's distances.

        Returns:
            The same embedding with new coordinates; `stress` remains that of the coordinates as they were.

        Raises:
            ValidationError: no embedding, one of other heads, or another number of dimensions.

        Examples:
            >>> square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
            >>> a = embed_heads(np.linalg.norm(square[:, None] - square, axis=-1), method="classical")
            >>> b = dataclasses.replace(a, coordinates=-a.coordinates[:, ::-1] + 7.0)
            >>> np.allclose(b.aligned(to=a).coordinates, a.coordinates)
            True
        """
        same_heads(self, to)
        scale = flag("scale", scale)
        if to.coordinates.shape != self.coordinates.shape:
            raise ValidationError(
                f"one embedding has {self.coordinates.shape[1]} dimensions and the other {to.coordinates.shape[1]}; "
                "embed both with the same `dimensions`"
            )
        from scipy.linalg import orthogonal_procrustes

        centre = to.coordinates.mean(0)
        mine = self.coordinates - self.coordinates.mean(0)
        turn, reach = orthogonal_procrustes(mine, to.coordinates - centre)
        size = (mine**2).sum()
        factor = reach / size if scale and size > 0 else 1.0
        return dataclasses.replace(self, coordinates=factor * mine @ turn + centre)

    def to_records(self) -> list[dict[str, Any]]:
        """One row a head: its layer and number, counted from 1 (None if unknown), name, x, y, z (dimension_4 ...)."""
        axes = ["x", "y", "z", *(f"dimension_{k + 1}" for k in range(3, self.coordinates.shape[1]))]
        return [
            head | dict(zip(axes, map(float, point), strict=False))
            for head, point in zip(head_columns(self.names, self.layers), self.coordinates, strict=True)
        ]

    def __repr__(self) -> str:
        heads, dimensions = self.coordinates.shape
        return (
            f"HeadEmbedding({heads} heads in {dimensions} dimensions, method={self.method!r}, sqrt={self.sqrt}, "
            f"stress={self.stress:.3f})"
        )


def embed_heads(
    distances: Any,
    /,
    *,
    method: Method = "metric",
    dimensions: int = 2,
    sqrt: bool = False,
    seed: int = 0,
    starts: int = 5,
    shape: tuple[int, int] | None = None,
) -> HeadEmbedding:
    """Multidimensional scaling of the heads: points with distances as close as can be to the heads' own.

        metric:     min over x of sum over pairs (|x_i - x_j| - delta_ij)^2, found by SMACOF from random starts
        classical:  x = V sqrt(lambda), the largest eigenpairs of B = -1/2 J delta^2 J, J = I - 1/n (Torgerson 1952)

    Clark et al. (2019, Figure 6) embed the divergence itself (not its root) by the metric one with 5 starts, as here by
    default; they leave the seed to chance. It has many local minima, of which the lowest of `starts` is kept. The
    classical one is exact and needs no seed. With `sqrt=True` delta is the root of the divergence, which is
    a distance between points of some space (Endres and Schindelin 2003), so no eigenvalue is negative; distances
    averaged over different queries for different pairs (some rows without mass) only nearly so.

    Args:
        distances: `HeadDistances`, or a square array `[head, head]`, NumPy or torch, as `pairwise_js` gives.
        method: "metric" or "classical".
        dimensions: how many coordinates a head has.
        sqrt: take the root of the divergences first.
        seed, starts: of the random starts of the metric method.
        shape: (layers, heads in each) names the heads of an array "1-1" ...; without it they are "1", "2", ...

    Raises:
        ValidationError: no square symmetric matrix of distances with a zero diagonal, an undefined pair, an unknown
            option.

    Examples:
        >>> distances = np.array([[0.0, 3.0, 4.0], [3.0, 0.0, 5.0], [4.0, 5.0, 0.0]])
        >>> found = embed_heads(distances, method="classical", shape=(1, 3))
        >>> found
        HeadEmbedding(3 heads in 2 dimensions, method='classical', sqrt=False, stress=0.000)
        >>> float(np.linalg.norm(found.coordinates[1] - found.coordinates[2]).round(6))
        5.0
    """
    one_of("method", method, get_args(Method))
    dimensions, starts = whole("dimensions", dimensions, 1), whole("starts", starts, 1)
    seed, sqrt = seed_number(seed), flag("sqrt", sqrt)
    matrix = head_matrix(distances, sqrt=sqrt, shape=shape)
    # In this unit no square is too large or too small, and where SMACOF ends does not depend on it (it did before
    # scikit-learn 1.7).
    unit = matrix.values.max() or 1.0
    distances = matrix.values / unit
    eigenvalues = None
    if method == "classical":
        coordinates, eigenvalues = _classical(distances, dimensions)
        with np.errstate(over="ignore"):
            eigenvalues = eigenvalues * unit * unit
    else:
        coordinates = _metric(distances, dimensions, seed, starts)
    return HeadEmbedding(
        coordinates=unit * coordinates,
        names=matrix.names,
        layers=matrix.layers,
        stress=_stress(coordinates, distances),
        method=method,
        sqrt=sqrt,
        eigenvalues=eigenvalues,
        seed=seed if method == "metric" else None,
        starts=starts if method == "metric" else None,
    )


def _classical(distances: Numpy, dimensions: int) -> tuple[Numpy, Numpy]:
    square = distances**2
    centred = square - square.mean(0) - square.mean(1)[:, None] + square.mean()
    values, vectors = np.linalg.eigh(-centred / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = min(dimensions, len(values))
    coordinates = np.zeros((len(values), dimensions))
    coordinates[:, :kept] = vectors[:, :kept] * np.sqrt(np.maximum(values[:kept], 0.0))
    size = np.abs(coordinates)
    # An eigenvector may point either way: the first of its largest entries is made positive.
    first = (size >= (1 - _TIE) * size.max(0)).argmax(0)
    return coordinates * np.where(coordinates[first, np.arange(dimensions)] < 0, -1.0, 1.0), values.copy()


def _metric(distances: Numpy, dimensions: int, seed: int, starts: int) -> Numpy:
    if not distances.any():
        return np.zeros((len(distances), dimensions))
    # `smacof` and not `MDS`, whose arguments change their names from one scikit-learn to the next.
    from sklearn.manifold import smacof

    coordinates, _ = smacof(
        distances,
        n_components=dimensions,
        n_init=starts,
        n_jobs=1,
        max_iter=_ITERATIONS,
        eps=_TOLERANCE,
        random_state=seed,
        normalized_stress=False,
    )
    return np.asarray(coordinates - coordinates.mean(0))


def _stress(coordinates: Numpy, distances: Numpy) -> float:
    from scipy.spatial.distance import pdist, squareform

    wanted = squareform(distances, checks=False)
    scale = (wanted**2).sum()
    return float(np.sqrt(((pdist(coordinates) - wanted) ** 2).sum() / scale)) if scale > 0 else float("nan")
