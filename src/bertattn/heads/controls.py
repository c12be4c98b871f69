"""Attention without what a head knows: what a score must beat."""

from __future__ import annotations

import numpy as np

from bertattn import _arrays
from bertattn.errors import ValidationError
from bertattn.tensor import AttentionTensor, check_tensor

__all__ = ["shuffled"]


def shuffled(attention: AttentionTensor, /, *, seed: int) -> AttentionTensor:
    """The same weights with the keys of every row in random order: the control "shuffled attention".

    Each row of each head is shuffled on its own, over all keys, special tokens and the query itself among them. So how
    peaked a row is stays (entropy, largest weight, sum), and where it points is chance. Merge subwords first to shuffle
    words; drop special tokens first where their share of each row should stay theirs. In a causal map mass lands on
    later tokens too.

    Args:
        attention: of any measure, NumPy or torch; rows that are NaN stay so.
        seed: of the random numbers. Rows are drawn in order, so two tensors of one shape are shuffled alike: over a
            corpus give each its own seed, as in `(shuffled(a, seed=i) for i, a in enumerate(stream))`.

    Raises:
        ValidationError: no `AttentionTensor`, or a seed that is no whole number from 0.

    Examples:
        >>> a = AttentionTensor(np.array([[[[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]]]]), ["a", "b", "c"])
        >>> np.sort(shuffled(a, seed=0)["1-1"], axis=-1)
        array([[0.1, 0.2, 0.7],
               [0. , 0. , 1. ],
               [0.3, 0.3, 0.4]])
    """
    check_tensor(attention, "shuffled")
    if type(seed) is not int or seed < 0:
        raise ValidationError(f"seed must be a whole number from 0, but is {seed!r}")
    order = np.random.default_rng(seed).random(attention.shape).argsort(axis=-1)
    weights = _arrays.take_along(attention.weights, order)
    return attention._with(step=f"shuffled(seed={seed})", weights=weights)
