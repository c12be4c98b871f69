"""Jensen-Shannon divergence of attention distributions, and of all pairs of heads of one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Array, Numpy
from bertattn.clustering import _kernels
from bertattn.clustering._kernels import Kernel
from bertattn.clustering._options import flag, number_in, real_array
from bertattn.errors import MeasureError, ValidationError
from bertattn.tensor import ROW_TOLERANCE, AttentionTensor, check_tensor

__all__ = ["js_divergence", "pairwise_js"]

Aggregate: TypeAlias = Literal["mean", "sum"]


def js_divergence(p: Any, q: Any, /, *, smoothing: float = 0.0, sqrt: bool = False) -> Array:
    """Jensen-Shannon divergence of distributions, in nats.

        JS(p, q) = 1/2 KL(p || m) + 1/2 KL(q || m), m = (p + q) / 2; 0 ln 0 is 0    (Lin 1991)

    Symmetric, 0 for equal distributions, ln 2 for those without a common key. Its root is a metric.

    Args:
        p, q: `[..., key]`, distributions over the last axis, of the same kind of array; the other axes broadcast.
        smoothing: the share e of each distribution given to the uniform one, (1 - e) p + e / n. The released code of
            Clark et al. (2019) has 0.001.
        sqrt: the root of the divergence.

    Returns:
        `[...]` in double precision, the same kind of array, outside any gradient computation; NaN where a row is NaN.

    Raises:
        ValidationError: no real numbers, a negative one, a row that does not sum to 1, axes that do not fit, smoothing
            outside [0, 1].

    Examples:
        >>> js_divergence([1.0, 0.0], [0.5, 0.5]).round(4)
        np.float64(0.2158)
    """
    smoothing, sqrt = checked_smoothing(smoothing), flag("sqrt", sqrt)
    p, q = (_checked(name, x, smoothing) for name, x in (("p", p), ("q", q)))
    if p.shape[-1] != q.shape[-1]:
        raise ValidationError(f"p has {p.shape[-1]} keys but q has {q.shape[-1]}; they must be over the same keys")
    if _arrays.is_torch(p) != _arrays.is_torch(q):
        raise ValidationError("p and q must be the same kind of array, but one is of torch and the other of NumPy")
    try:
        np.broadcast_shapes(p.shape[:-1], q.shape[:-1])
    except ValueError:
        raise ValidationError(
            f"the axes of p and q before the keys must broadcast, but p has shape {tuple(p.shape)} and q "
            f"{tuple(q.shape)}"
        ) from None
    own = _doubled_sums(p) / 4 + _doubled_sums(q) / 4
    values: Any = (own - _sums(p + q) / 2).clip(min=0.0)
    divergences: Array = values**0.5 if sqrt else values
    return divergences


def pairwise_js(
    attention: AttentionTensor,
    /,
    *,
    queries: Sequence[bool] | Array | None = None,
    aggregate: Aggregate = "mean",
    smoothing: float = 0.0,
    sqrt: bool = False,
    kernel: Kernel | None = None,
) -> Array:
    """Jensen-Shannon divergence of every pair of heads on one sequence, in nats (Clark et al. 2019, section 6).

        d[h, h'] = mean over queries i of JS(a_h[i], a_h'[i])

    Args:
        attention: distributions over keys.
        queries: bool[query]; None means all.
        aggregate: "mean" over the queries where both heads are defined (the caption of the paper's Figure 6), or their
            "sum" (its formula and released code).
        smoothing: the share of each row given to the uniform distribution. The released code has 0.001; the exact
            divergence, 0, is the default.
        sqrt: the root of the mean (or sum), which is a metric.
        kernel: None takes the fastest that can run: "fused" on a GPU; on a CPU "numba" where the extra `fast` is
            installed, else "numpy" where its logarithm is made for the processor (AVX-512); else "torch". All agree
            within 1e-6.

    Returns:
        `[head, head]`, the heads of all layers, layer by layer, in double precision, as the same kind of array:
        symmetric, the diagonal exactly 0, NaN where the two heads have no query in common.

    Raises:
        MeasureError: the rows are no distributions.
        ValidationError: a mask that is not boolean or of another length, smoothing outside [0, 1], an unknown option.
        MissingExtraError: a kernel that is not installed.

    Examples:
        >>> weights = np.array([[np.eye(2), np.full((2, 2), 0.5)]])
        >>> pairwise_js(AttentionTensor(weights, ["a", "b"])).round(4)
        array([[0.    , 0.2158],
               [0.2158, 0.    ]])
    """
    check_aggregate(aggregate)
    smoothing, sqrt = checked_smoothing(smoothing), flag("sqrt", sqrt)
    sums, counts, _ = divergence_sums(
        attention, queries=queries, smoothing=smoothing, kernel=kernel, caller="pairwise_js"
    )
    values = np.where(counts > 0, sums, np.nan)
    if aggregate == "mean":
        values = values / np.maximum(counts, 1)
    layers, heads = attention.shape[:2]
    matrix: Array = _arrays.placed(square(np.sqrt(values) if sqrt else values, layers * heads), attention.weights)
    return matrix


def divergence_sums(
    attention: AttentionTensor, /, *, queries: Any, smoothing: float, kernel: Kernel | None, caller: str
) -> tuple[Numpy, Numpy, Kernel]:
    """For each pair of heads the sum of the divergences over its queries and their number, `[pair]`; what ran.

    Raises:
        MeasureError: the rows are no distributions.
        ValidationError: a mask that does not fit, an unknown kernel.
        MissingExtraError: a kernel that is not installed.
    """
    check_tensor(attention, caller)
    if not attention.normalized:
        raise MeasureError(
            f"{caller} needs rows that are distributions over keys, but this is the measure {attention.measure!r} with "
            "normalized=False; renormalize its rows first"
        )
    layers, heads, size, keys = attention.shape
    weights = _arrays.detach(attention.weights).reshape(layers * heads, size, keys)
    used = _kernels.chosen(kernel, weights, caller=caller)
    defined = ~_arrays.to_numpy(_arrays.isnan(weights[..., 0]))
    if queries is not None:
        mask = _query_mask(queries, attention)
        if not mask.all():
            weights, defined = _arrays.take(weights, np.flatnonzero(mask), 1), defined[:, mask]
    first, second = _kernels.pairs(layers * heads)
    if defined.all():
        sums = _kernels.pair_sums(weights, smoothing=smoothing, kernel=used)
        return sums, np.full(len(first), float(defined.shape[1])), used
    sums = np.zeros(len(first))
    for pattern, rows in _alike(defined):  # queries that the same heads are defined at
        part = _arrays.take(_arrays.take(weights, rows, 1), pattern, 0)
        among = np.isin(first, pattern) & np.isin(second, pattern)
        sums[among] += _kernels.pair_sums(part, smoothing=smoothing, kernel=used)
    together = defined.astype(np.float64) @ defined.T
    return sums, together[first, second], used


def square(values: Numpy, size: int) -> Numpy:
    """`[head, head]` of a value for each pair, 0 on the diagonal."""
    first, second = _kernels.pairs(size)
    matrix = np.zeros((size, size))
    matrix[first, second] = matrix[second, first] = values
    return matrix


def check_aggregate(aggregate: object) -> None:
    """Refuse an unknown aggregate.

    Raises:
        ValidationError: it is unknown.
    """
    if not isinstance(aggregate, str) or aggregate not in ("mean", "sum"):
        raise ValidationError(f"aggregate must be 'mean' or 'sum', but is {aggregate!r}")


def checked_smoothing(smoothing: object) -> float:
    """The share given to the uniform distribution.

    Raises:
        ValidationError: it is no share.
    """
    return number_in(smoothing, 0, 1, wanted="smoothing is the share given to the uniform distribution, 0 to 1")


def _alike(defined: Numpy) -> list[tuple[Numpy, Numpy]]:
    """The heads defined and the rows, for each set of rows at which the same heads are."""
    patterns, number = np.unique(defined, axis=1, return_inverse=True)
    number = number.reshape(-1)  # NumPy 2.0 gives it another shape
    return [
        (np.flatnonzero(pattern), np.flatnonzero(number == i))
        for i, pattern in enumerate(patterns.T)
        if pattern.sum() > 1
    ]


def _query_mask(queries: Any, attention: AttentionTensor) -> Numpy:
    mask = _arrays.to_numpy(queries)
    axis = attention.queries
    if mask.dtype != np.bool_ or mask.shape != (len(axis),):
        raise ValidationError(
            f"queries must be a boolean mask, one True or False for each of the {len(axis)} {axis.unit}s, but holds "
            f"{mask.dtype} of shape {mask.shape}"
        )
    return mask


def _checked(name: str, x: Any, smoothing: float) -> Any:
    """The distributions in double precision, smoothed."""
    given, x = x, real_array(x)
    if x is None:
        raise ValidationError(
            f"{name} must be an array [..., key] of real numbers, all rows of one length, but is {given!r:.60}"
        )
    if not x.ndim or not x.shape[-1]:
        raise ValidationError(f"{name} must be [..., key] with at least one key, but has shape {tuple(x.shape)}")
    tolerance = ROW_TOLERANCE.get(_arrays.dtype_name(x), 1e-5)
    wide = _arrays.float64(x)
    sums = _arrays.to_numpy(wide.sum(-1))
    if (wide < 0).any() or (abs(sums - 1) > tolerance).any():
        worst = sums.flat[int(np.nan_to_num(abs(sums - 1)).argmax())]
        raise ValidationError(
            f"each row of {name} must be a distribution, 0 or more with sum 1, but the smallest number is "
            f"{float(wide.min()):.4g} and a row sums to {worst:.6g}; divide each row by its sum"
        )
    return wide * (1 - smoothing) + smoothing / x.shape[-1] if smoothing else wide


def _sums(s: Any) -> Any:
    return _arrays.xlogx_sums(s, scratch=_arrays.empty(s.shape, s, dtype="float64"))


def _doubled_sums(p: Any) -> Any:
    # As D(p, p) in _kernels: equal distributions are at exactly 0, and sums that are not quite 1 cancel.
    return _sums(p + p)
