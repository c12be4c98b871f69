"""The two kinds of array, NumPy and torch, behind one set of functions. No other module tells them apart.

torch is never imported here unless the caller's array shows that it has been already.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bertattn.errors import ValidationError

if TYPE_CHECKING:
    import torch

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]] | torch.Tensor
else:
    Array = Any

Numpy: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def is_torch(x: object) -> bool:
    """True for a torch tensor; never imports torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_array(x: object) -> bool:
    return isinstance(x, np.ndarray) or is_torch(x)


def to_numpy(x: Any) -> Numpy:
    """A NumPy array with the same values; bfloat16, which NumPy lacks, becomes float32."""
    if is_torch(x):
        import torch

        return np.asarray(x.detach().to("cpu", torch.float32 if x.dtype is torch.bfloat16 else x.dtype).numpy())
    return np.asarray(x)


def dtype_name(x: Any) -> str:
    """ "float32" for either kind of array."""
    return str(x.dtype).removeprefix("torch.") if is_torch(x) else str(x.dtype.name)


_PLAIN = {str, int, float, bool, type(None)}


def plain(value: Any) -> Any:
    """NumPy's and torch's numbers as Python's own, lists and arrays as tuples: to compare, hash and write as JSON."""
    if type(value) in _PLAIN or (type(value) is tuple and _PLAIN.issuperset(map(type, value))):
        return value
    if isinstance(value, np.generic) or is_array(value):
        value = value.tolist()
    return tuple(plain(v) for v in value) if isinstance(value, list | tuple) else value


def column(name: str, values: Any, *, entry: str) -> tuple[Any, ...]:
    """The values as a tuple of Python's own kinds, whatever sequence or array they came in; one `entry` each."""
    if isinstance(values, str):
        raise ValidationError(f"{name} must be a sequence, one entry a {entry}, but is one string {values[:40]!r}")
    try:
        entries = tuple(values)
        return entries if _PLAIN.issuperset(map(type, entries)) else tuple(map(plain, entries))
    except TypeError:
        raise ValidationError(f"{name} must be a sequence, one entry a {entry}, but is {values!r:.60}") from None


def read_only(x: Any) -> Any:
    """A NumPy array as a view that cannot be written to. torch has no such thing: its tensors come back as they are."""
    if isinstance(x, np.ndarray) and x.flags.writeable:
        x = x.view()
        x.flags.writeable = False
    return x


def row_sums(x: Any) -> Numpy:
    """Sums over the last axis in at least float32, given as float64 NumPy; NaN or infinite where a number is."""
    wide = working_dtype(x)
    if is_torch(x):
        import torch

        return to_numpy(x.detach().sum(-1, dtype=getattr(torch, wide))).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities are for the caller to judge
        return np.asarray(x.sum(-1, dtype=wide), dtype=np.float64)


def like(values: Any, x: Any, *, dtype: str | None = None) -> Any:
    """`values` (NumPy or a list) as the kind of array `x` is, on its device, in `x`'s dtype unless one is named."""
    if is_torch(x):
        import torch

        kind = x.dtype if dtype is None else getattr(torch, dtype)
        return torch.as_tensor(np.array(values), dtype=kind, device=x.device)
    return np.asarray(values, dtype=x.dtype if dtype is None else dtype)


def float64(x: Any) -> Any:
    """The same values in double precision (on the CPU where the device has none, as on MPS)."""
    if is_torch(x):
        if x.device.type == "mps":
            x = x.cpu()
        return x.double()
    return np.asarray(x, dtype=np.float64)


def shared_with_numpy(x: Any) -> Any:
    """`x` as a NumPy array of the same memory where that is no slower to compute with, else as it is.

    Small steps cost NumPy a fraction of what they cost torch.
    """
    if is_torch(x) and x.device.type == "cpu" and dtype_name(x) in ("float32", "float64") and log2_is_vectorised():
        return x.numpy()
    return x


def memory_of(x: Any) -> Numpy | None:
    """`x` as a NumPy array of the same memory; None where it lies on another device or takes part in a gradient."""
    if not is_torch(x):
        return np.asarray(x)
    return x.numpy() if x.device.type == "cpu" and not x.requires_grad and dtype_name(x) != "bfloat16" else None


def piece_factor(x: Any) -> int:
    """How many times larger pieces than a processor's cache holds suit the device: a GPU wants few launches."""
    return 256 if is_torch(x) and x.device.type != "cpu" else 1


def column_sums(x: Any) -> Any:
    """Sums over the last axis but one, in the precision of `x`."""
    if is_torch(x):
        return x.sum(-2)
    return np.ones(x.shape[-2], x.dtype) @ x  # three times as fast as NumPy's sum


def placed(values: Numpy, x: Any) -> Any:
    """`values`, in their own dtype, as the kind of array `x` is, on its device (double precision stays off MPS)."""
    if not is_torch(x):
        return values
    import torch

    return torch.from_numpy(values).to("cpu" if x.device.type == "mps" else x.device)


def take(x: Any, indices: Any, axis: int) -> Any:
    """Rows `indices` of one axis, as a copy."""
    if is_torch(x):
        import torch

        index = torch.as_tensor(np.asarray(indices, dtype=np.int64), device=x.device)
        return torch.index_select(x, axis, index)
    return np.take(x, np.asarray(indices, dtype=np.int64), axis=axis)


def take_along(x: Any, indices: Numpy) -> Any:
    """The entries of the last axis in another order, `indices` having the shape of `x`; as a copy."""
    if is_torch(x):
        import torch

        return torch.take_along_dim(x, torch.as_tensor(indices, device=x.device), dim=-1)
    return np.take_along_axis(x, indices, axis=-1)


def where(condition: Any, a: Any, b: Any) -> Any:
    if is_torch(condition):
        import torch

        return torch.where(condition, a, b)
    return np.where(condition, a, b)


def isnan(x: Any) -> Any:
    return x.isnan() if is_torch(x) else np.isnan(x)


def detach(x: Any) -> Any:
    """The same numbers outside any gradient computation."""
    return x.detach() if is_torch(x) else x


def stack(arrays: Sequence[Any]) -> Any:
    """Arrays of one kind and shape along a new first axis."""
    if is_torch(arrays[0]):
        import torch

        return torch.stack(list(arrays))
    return np.stack(arrays)


def exp(x: Any) -> Any:
    return x.exp() if is_torch(x) else np.exp(x)


def xlogx_sums(x: Any, *, scratch: Any) -> Any:
    """Sums of x ln x over the last axis, with 0 ln 0 = 0; NaN stays NaN. `scratch` is of the same shape and kind.

    The smallest normal float stands in for 0: its product with its logarithm is below 1e-35. The special functions
    of torch and SciPy go number by number; this runs vectorised.
    """
    fast = log2_is_vectorised()
    if is_torch(x):
        import torch

        if not fast or x.device.type != "cpu":
            return torch.clamp_min(x, torch.finfo(x.dtype).tiny, out=scratch).log_().mul_(x).sum(-1)
        return torch.as_tensor(xlogx_sums(x.numpy(), scratch=scratch.numpy()))
    log, unit = (np.log2, math.log(2)) if fast else (np.log, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = np.vecdot(log(x, out=scratch), x)
    if not np.isfinite(sums).all():  # zeros: rare but in causal maps, so not provided against at once
        np.add(x, np.finfo(x.dtype).tiny, out=scratch)
        sums = np.vecdot(log(scratch, out=scratch), x)
    return sums * x.dtype.type(unit)


@functools.cache
def log2_is_vectorised() -> bool:
    """Whether NumPy's log2 has a kernel of its own for this processor, which takes half the time of its `log`.

    It has one for AVX-512. Elsewhere it goes number by number, and torch is faster than NumPy's other logarithm.
    """
    try:
        from numpy.lib.introspect import opt_func_info
    except ImportError:  # older than NumPy 2.1
        return False
    kernels = opt_func_info(func_name="^log2$", signature="float32").get("log2", {})
    return bool(kernels) and not any("baseline" in kernel["current"] for kernel in kernels.values())


def empty(shape: Sequence[int], x: Any, *, dtype: str) -> Any:
    """An array of the kind of `x`, on its device, that holds nothing yet."""
    if is_torch(x):
        import torch

        return torch.empty(tuple(shape), dtype=getattr(torch, dtype), device=x.device)
    return np.empty(tuple(shape), dtype)


def amax(x: Any, axis: int) -> Any:
    return x.amax(axis) if is_torch(x) else x.max(axis)


def nan_mean(x: Any, axis: int = -1) -> Any:
    """Mean over one axis without its NaN entries, in double precision; NaN where nothing is left."""
    x = float64(x)
    missing = isnan(x)
    total = where(missing, like(0.0, x), x).sum(axis)
    count = float64((~missing).sum(axis))
    return total / where(count > 0, count, like(np.nan, count))


def cast(x: Any, dtype: str) -> Any:
    """The same values in another precision, named as in `dtype_name`."""
    if is_torch(x):
        import torch

        return x.to(getattr(torch, dtype))
    return x.astype(dtype, copy=False)


def working_dtype(x: Any) -> str:
    """The precision to compute in: that of `x`, but float32 where it is a half precision."""
    name = dtype_name(x)
    return "float32" if name in ("float16", "bfloat16") else name
