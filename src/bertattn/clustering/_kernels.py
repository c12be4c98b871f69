"""Jensen-Shannon divergences of all pairs of heads, summed over rows: one formula, four ways to run it.

With D(p, q) = sum_k (p_k + q_k) log2(p_k + q_k) the divergence is

    JS(p, q) = ln 2 (D(p, p) / 4 + D(q, q) / 4 - D(p, q) / 2)

which takes one logarithm for each pair of heads and key. Equal heads are at exactly 0, and what a row's sum lacks to 1
cancels. So does a factor's logarithm: weights are made larger by a power of 2, that those of 1 / keys and of 1 have
logarithms equally far from 0, where they have most digits. Where rows end does not matter, so a head is one long row,
cut into blocks of columns.
"""

from __future__ import annotations

import functools
import importlib
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from bertattn import _arrays, _optional
from bertattn._arrays import Numpy
from bertattn.clustering import _numba
from bertattn.errors import MissingExtraError, ValidationError

if TYPE_CHECKING:
    import torch

__all__: list[str] = []

Kernel: TypeAlias = Literal["torch", "numpy", "numba", "fused"]

# Added to every weight, so that none is 0: its product with its logarithm is below 1e-34.
TINY = 1e-37
# How many columns of all heads are worked on at a time. On a CPU they and what is made of them stay in the cache, and
# single precision is enough for their sums; a GPU wants few launches.
TORCH_COLUMNS, GPU_COLUMNS = 4096, 65536
SHARED_COLUMNS = 512
# The compiled function takes so many heads by so many others, and always as many columns: it is compiled once.
FUSED_HEADS, FUSED_COLUMNS, SHORT_SUM = 16, 4096, 128


def chosen(kernel: Kernel | None, weights: Any, *, caller: str) -> Kernel:
    """The kernel asked for, if it can run here; of None the fastest that can.

    Raises:
        ValidationError: there is no such kernel, or it cannot run where the weights are.
        MissingExtraError: it is not installed.
    """
    device = weights.device.type if _arrays.is_torch(weights) else "cpu"
    if kernel is None:
        if device == "cuda":
            return "fused" if _is_there("triton") else "torch"
        if device == "cpu" and _is_there("numba"):
            return "numba"
        return "numpy" if device == "cpu" and _arrays.log2_is_vectorised() else "torch"
    if kernel not in get_args(Kernel):
        raise ValidationError(f"kernel must be None, 'torch', 'numpy', 'numba' or 'fused', but is {kernel!r}")
    if kernel in ("numpy", "numba") and device != "cpu":
        raise ValidationError(
            f"{caller} with kernel={kernel!r} runs on the CPU, but the weights are on {device!r}; leave kernel out, "
            "or move them: attention.replace(weights=attention.weights.cpu())"
        )
    if kernel == "numba":
        _optional.require("numba", extra="fast", caller=f"{caller} with kernel='numba'")
    return kernel


def pair_sums(weights: Any, /, *, smoothing: float, kernel: Kernel) -> Numpy:
    """float64 `[pair]`: the sums over rows of the divergences of all pairs of heads, in nats.

    Half precisions are computed in single precision; the mean over rows is then right within 1e-6.

    Args:
        weights: `[head, row, key]`, distributions over keys.
        smoothing: the share of each row given to the uniform distribution.
        kernel: the one that `chosen` names.

    Raises:
        MissingExtraError: the compiler that "fused" needs is not there.
    """
    heads, rows, keys = weights.shape
    first, second = pairs(heads)
    if not rows:
        return np.zeros(len(first))
    run = {"torch": _torch_sums, "numpy": _numpy_sums, "numba": _numba_sums, "fused": _fused_sums}[kernel]
    scale = 2.0 ** round(math.log2(keys) / 2)
    sums = run(_arrays.detach(weights).reshape(heads, -1), scale * (1 - smoothing), scale * smoothing / keys + TINY)
    own = np.diagonal(sums) / 4
    return np.maximum(math.log(2) / scale * (own[first] + own[second] - sums[first, second] / 2), 0.0)


@functools.cache
def pairs(heads: int) -> tuple[Numpy, Numpy]:
    """The first and the second head of every pair, in the order of `scipy.spatial.distance.squareform`."""
    first, second = np.triu_indices(heads, 1)
    return _arrays.read_only(first), _arrays.read_only(second)


@functools.cache
def _is_there(module: str) -> bool:
    """Whether it can be imported: one that does not fit its neighbours is as good as none."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _fill(block: Any, part: Any, factor: float, shift: float) -> None:
    """Write `factor * part + shift` into a block of the same kind of array, in its precision."""
    block[...] = part
    block *= factor
    block += shift


def _torch_sums(weights: Any, factor: float, shift: float) -> Numpy:
    """float64 `[head, head]`: the sums D of a head and itself or a later one, of `factor * weights + shift`."""
    import torch

    heads, size = weights.shape
    device = weights.device if _arrays.is_torch(weights) else torch.device("cpu")
    columns = min(size, TORCH_COLUMNS if device.type == "cpu" else GPU_COLUMNS)
    dtype = getattr(torch, _arrays.working_dtype(weights))
    blocks = torch.empty((3, heads, columns), dtype=dtype, device=device)
    sums = torch.zeros((heads, heads), dtype=torch.float64)
    for start in range(0, size, columns):
        width = min(columns, size - start)
        block, added, logs = blocks[:, :, :width]
        part = weights[:, start : start + width]
        # NumPy copies from its own arrays: torch would warn of those that are read-only.
        _fill(block if _arrays.is_torch(part) else block.numpy(), part, factor, shift)
        for head in range(heads):
            x = torch.add(block[head:], block[head], out=added[head:])
            terms = torch.log2(x, out=logs[head:]).mul_(x)
            sums[head, head:] += terms.sum(-1, dtype=torch.float64 if device.type == "cuda" else None).cpu()
    return sums.numpy()


def _numpy_sums(weights: Any, factor: float, shift: float) -> Numpy:
    """As `_torch_sums`, but where NumPy's logarithm has a kernel for the processor in half of its time."""
    return _shared_sums(weights, factor, shift, _add)


def _numba_sums(weights: Any, factor: float, shift: float) -> Numpy:
    """As `_torch_sums`: sum, logarithm, product and sum in one pass."""
    loop = _numba.add_doubles if _arrays.working_dtype(weights) == "float64" else _numba.add_singles
    return _shared_sums(weights, factor, shift, _numba.compiled(loop))


def _add(block: Numpy, sums: Numpy) -> None:
    """What the compiled loops do."""
    added, logs = np.empty((2, *block.shape), block.dtype)
    for head in range(len(block)):
        x = np.add(block[head:], block[head], out=added[head:])
        sums[head, head:] += np.vecdot(np.log2(x, out=logs[head:]), x)


def _shared_sums(weights: Any, factor: float, shift: float, add: _numba.Loop) -> Numpy:
    """What `add` makes of the blocks, which torch's number of threads share."""
    import torch

    heads, size = weights.shape
    dtype = _arrays.working_dtype(weights)
    if _arrays.is_torch(weights):
        weights = (weights.view(torch.uint16) if weights.dtype is torch.bfloat16 else weights).numpy()
    columns = min(size, SHARED_COLUMNS)
    workers = min(torch.get_num_threads(), -(-size // columns))

    def share(worker: int) -> Numpy:
        sums = np.zeros((heads, heads))
        block = np.empty((heads, columns), dtype)
        for start in range(worker * columns, size, workers * columns):
            part = weights[:, start : start + columns]
            if part.dtype == np.uint16:  # bfloat16 is the upper half of float32
                part = (part.astype(np.uint32) << 16).view(np.float32)
            filled = block[:, : part.shape[1]]
            _fill(filled, part, factor, shift)
            add(filled, sums)
        return sums

    if workers == 1:
        return share(0)
    with ThreadPoolExecutor(workers) as pool:
        total: Numpy = np.sum(list(pool.map(share, range(workers))), axis=0)
    return total


def _fused_sums(weights: Any, factor: float, shift: float) -> Numpy:
    """As `_torch_sums`: sum, logarithm, product and reduction of a tile of heads by heads are one kernel."""
    import torch

    heads, size = weights.shape
    device = weights.device if _arrays.is_torch(weights) else torch.device("cpu")
    dtype = getattr(torch, _arrays.working_dtype(weights))
    height = -(-heads // FUSED_HEADS) * FUSED_HEADS
    block = torch.full((height, FUSED_COLUMNS), TINY, dtype=dtype, device=device)
    sums = torch.zeros((height, height), dtype=torch.float64, device=device)
    for start in range(0, size, FUSED_COLUMNS):
        part = weights[:, start : start + FUSED_COLUMNS]
        filled = block[:heads, : part.shape[1]]
        _fill(filled if _arrays.is_torch(part) else filled.numpy(), part, factor, shift)
        block[:, part.shape[1] :] = TINY
        tiles = torch.split(block, FUSED_HEADS)
        for i, a in enumerate(tiles):
            for j, b in enumerate(tiles[i:], start=i):
                place = (slice(i * FUSED_HEADS, (i + 1) * FUSED_HEADS), slice(j * FUSED_HEADS, (j + 1) * FUSED_HEADS))
                sums[place] += _compiled_tile(a, b)
    return sums[:heads, :heads].cpu().numpy()


def _compiled_tile(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    import torch
    from torch._dynamo.exc import BackendCompilerFailed

    try:
        with torch.no_grad():
            tile: torch.Tensor = _compile_tile()(a, b)
    except BackendCompilerFailed as error:
        reason = str(error.inner_exception).partition("\n")[0]
        raise MissingExtraError(
            "kernel='fused' is compiled by torch, which needs a C++ compiler on the CPU and Triton on a GPU, but "
            f"failed: {reason}; use kernel='torch'"
        ) from error
    return tile


@functools.cache
def _compile_tile() -> Any:
    import torch

    def tile(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        x = a[:, None] + b
        # In single precision so many numbers alike, one by one, would lose the sixth digit.
        short: torch.Tensor = (x * x.log2()).view(*x.shape[:-1], -1, SHORT_SUM).sum(-1)
        return short.sum(-1, dtype=torch.float64)

    return torch.compile(tile, fullgraph=True, dynamic=False)
