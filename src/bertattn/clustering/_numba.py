"""The inner loops of the compiled kernel, in single and in double precision. Importing this does not import numba.

A logarithm is taken apart, x = 2^e m with m from sqrt(1/2) to sqrt(2), by the bits of x, so that it runs vectorised:

    log2 x = e + 2 / ln 2 (t + t^3 / 3 + t^5 / 5 + ...), t = (m - 1) / (m + 1)

The series is cut where the next term is below half a unit in the last place of 1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from bertattn import _optional
from bertattn._arrays import Numpy

__all__: list[str] = []

Loop: TypeAlias = Callable[[Numpy, Numpy], None]

# The bits of sqrt(1/2), and how many of them follow the exponent.
ROOT32, MANTISSA32 = np.int32(0x3F3504F3), np.int32(23)
ROOT64, MANTISSA64 = np.int64(0x3FE6A09E667F3BCD), np.int64(52)
SCALE32, SCALE64 = np.float32(2 / math.log(2)), 2 / math.log(2)
ONE32, THIRD32, FIFTH32, SEVENTH32 = (np.float32(1 / k) for k in (1, 3, 5, 7))


def add_singles(block: Numpy, sums: Numpy) -> None:
    """Add sum_k (p_k + q_k) log2(p_k + q_k) of all rows p, q of `block` `[head, column]` to `sums` `[head, head]`.

    Below the diagonal nothing is added. Numbers must be above 0. Every step is cast: numba widens integers.
    """
    heads, columns = block.shape
    for i in range(heads):
        for j in range(i, heads):
            total = np.float32(0)
            for k in range(columns):
                x = np.float32(block[i, k] + block[j, k])
                bits = x.view(np.int32)
                e = np.int32(np.int32(bits - ROOT32) >> MANTISSA32)
                m = np.int32(bits - np.int32(e << MANTISSA32)).view(np.float32)
                t = (m - ONE32) / (m + ONE32)
                u = t * t
                series = ONE32 + u * (THIRD32 + u * (FIFTH32 + u * SEVENTH32))
                total += x * (np.float32(e) + SCALE32 * t * series)
            sums[i, j] += total


def add_doubles(block: Numpy, sums: Numpy) -> None:
    """As `add_singles`, in double precision."""
    heads, columns = block.shape
    for i in range(heads):
        for j in range(i, heads):
            total = 0.0
            for k in range(columns):
                x = np.float64(block[i, k] + block[j, k])
                bits = x.view(np.int64)
                e = np.int64(np.int64(bits - ROOT64) >> MANTISSA64)
                m = np.int64(bits - np.int64(e << MANTISSA64)).view(np.float64)
                t = (m - 1.0) / (m + 1.0)
                u = t * t
                tail = 1 / 7 + u * (1 / 9 + u * (1 / 11 + u * (1 / 13 + u * (1 / 15 + u * (1 / 17)))))
                series = 1.0 + u * (1 / 3 + u * (1 / 5 + u * tail))
                total += x * (np.float64(e) + SCALE64 * t * series)
            sums[i, j] += total


@functools.cache
def compiled(loop: Loop, /) -> Loop:
    """The loop as machine code, which is kept on disk where that can be written to.

    Raises:
        MissingExtraError: numba is not installed.
    """
    numba = _optional.require("numba", extra="fast", caller="kernel='numba'")
    # Sums may be reordered, which vectorises them; NaN and infinities keep their meaning. Division by 0 raises no
    # error, as looking for it would keep the loop from being vectorised. Other Python threads run meanwhile.
    options: dict[str, Any] = {
        "nogil": True,
        "fastmath": {"reassoc", "contract", "nsz", "arcp"},
        "error_model": "numpy",
    }
    try:
        machine_code: Loop = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # no folder to keep it in: it is compiled anew in each process
        machine_code = numba.njit(**options)(loop)
    return machine_code
