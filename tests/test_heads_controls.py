"""Shuffled attention: the same numbers in every row, elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertattn import AttentionTensor, patterns
from bertattn.errors import ValidationError
from bertattn.heads import shuffled
from bertattn.testing import attention_tensors


@given(attention_tensors(empty_rows=True, square=False), st.integers(0, 1000))
def test_rows_keep_their_numbers(a, seed) -> None:
    before = a.numpy().copy()
    b = shuffled(a, seed=seed)
    np.testing.assert_array_equal(np.sort(b.numpy(), -1), np.sort(before, -1))
    np.testing.assert_array_equal(a.numpy(), before)
    assert (b.queries, b.keys, b.layers, b.heads, b.normalized) == (a.queries, a.keys, a.layers, a.heads, a.normalized)
    np.testing.assert_allclose(patterns.entropy(b), patterns.entropy(a), atol=1e-9)
    np.testing.assert_array_equal(shuffled(a, seed=seed).numpy(), b.numpy())
    assert b.source.steps[-1] == f"shuffled(seed={seed})"


@given(attention_tensors(kind="torch", dtype="float32"))
def test_torch_as_numpy(a) -> None:
    b = shuffled(a, seed=3)
    assert isinstance(b.weights, torch.Tensor)
    np.testing.assert_array_equal(b.numpy(), shuffled(a.replace(weights=a.numpy()), seed=3).numpy())


def test_every_order_is_as_likely_and_rows_are_shuffled_apart() -> None:
    """Six orders of three keys, over 6000 rows: each count within five standard deviations of 1000."""
    rows = np.tile([0.5, 0.3, 0.2], (2, 10, 300, 1))
    b = shuffled(AttentionTensor(rows, ["q"] * 300, ["a", "b", "c"]), seed=0).numpy()
    orders, counts = np.unique(b.reshape(-1, 3), axis=0, return_counts=True)
    assert len(orders) == 6
    assert abs(counts - 1000).max() < 5 * np.sqrt(6000 * (1 / 6) * (5 / 6))
    assert (b[0, 0] != b[0, 1]).any()
    assert (b[0, 0] != b[1, 0]).any()


def test_the_global_random_state_plays_no_part() -> None:
    a = AttentionTensor(np.random.default_rng(0).dirichlet(np.ones(5), size=(1, 1, 5)), list("abcde"))
    np.random.seed(0)  # noqa: NPY002  # the global state is the point
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one = shuffled(a, seed=1).numpy()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert (one != shuffled(a, seed=2).numpy()).any()


@pytest.mark.parametrize("seed", [-1, 1.0, None, True])
def test_seeds_are_checked(seed) -> None:
    a = AttentionTensor(np.ones((1, 1, 1, 1)), ["a"])
    with pytest.raises(ValidationError, match=f"^seed must be a whole number from 0, but is {seed}$"):
        shuffled(a, seed=seed)
