"""The helpers that hide which kind of array is held: NumPy and torch give the same, and the input is not changed."""

from __future__ import annotations

import math
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bertattn import _arrays

numbers = st.floats(0, 1, width=32) | st.just(math.nan)
arrays = hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5), elements=numbers)


def both(x: np.ndarray) -> list:
    x.flags.writeable = False
    return [x, torch.from_numpy(x.copy())]


def test_torch_is_not_imported_for_numpy() -> None:
    program = (
        "import sys, numpy as np; from bertattn import _arrays as a; x = np.ones(3); "
        "a.like([1.0], x), a.take(x, [0], 0), a.where(x > 0, x, x), a.nan_mean(x), "
        "a.row_sums(x), a.xlogx_sums(x, scratch=a.empty(x.shape, x, dtype='float64')), a.placed(x, x); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_is_an_array() -> None:
    for x, array, of_torch in ((np.ones(1), True, False), (torch.ones(1), True, True), ([1.0], False, False)):
        assert (_arrays.is_array(x), _arrays.is_torch(x)) == (array, of_torch)


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "int64", "bool", "complex64"])
def test_dtypes_have_one_name(name) -> None:
    assert _arrays.dtype_name(np.ones(1, dtype=name)) == name
    assert _arrays.dtype_name(torch.ones(1, dtype=getattr(torch, name))) == name
    assert _arrays.dtype_name(torch.ones(1, dtype=torch.bfloat16)) == "bfloat16"
    assert _arrays.dtype_name(np.ones(1, dtype=">f4")) == "float32"


def test_to_numpy_detaches_and_widens_bfloat16() -> None:
    x = torch.tensor([0.5, 0.25], requires_grad=True)
    assert _arrays.to_numpy(x).tolist() == [0.5, 0.25]
    assert _arrays.to_numpy(x.bfloat16()).dtype == np.float32
    assert _arrays.to_numpy([1, 2]).tolist() == [1, 2]
    y = np.ones(2)
    assert _arrays.to_numpy(y) is y


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1, 2]]), ((1, 2),)),
        (torch.tensor(4), 4),
        (torch.tensor([1.5]), (1.5,)),
        ([1, [np.float64(2.5)], None], (1, (2.5,), None)),
        ("ab", "ab"),
        (None, None),
    ],
)
def test_plain_values(value, expected) -> None:
    plain = _arrays.plain(value)
    assert plain == expected
    assert type(plain) is type(expected)


def test_read_only_is_a_view_and_leaves_the_array_as_it_was() -> None:
    x = np.ones(2)
    view = _arrays.read_only(x)
    assert np.shares_memory(view, x)
    assert (view.flags.writeable, x.flags.writeable) == (False, True)
    assert _arrays.read_only(view) is view
    t = torch.ones(2)
    assert _arrays.read_only(t) is t


@given(arrays)
def test_row_sums_are_pythons(x) -> None:
    for y in both(x):
        sums = _arrays.row_sums(y)
        assert sums.dtype == np.float64
        assert sums.shape == x.shape[:-1]
        for place in np.ndindex(*x.shape[:-1]):
            assert float(sums[place]) == pytest.approx(sum(x[place].tolist()), nan_ok=True)


def test_row_sums_of_half_precision_are_computed_in_single() -> None:
    x = np.full((1, 3000), 1 / 3001, dtype=np.float16)
    for y in (x, torch.from_numpy(x), torch.from_numpy(x).bfloat16()):
        exact = sum(_arrays.to_numpy(y)[0].tolist())
        assert _arrays.row_sums(y)[0] == pytest.approx(exact, rel=1e-6)


def test_row_sums_of_infinities_do_not_warn() -> None:
    for y in both(np.array([[np.inf, -np.inf], [np.inf, 1], [3e38, 3e38]], dtype=np.float32)):
        assert [str(v) for v in _arrays.row_sums(y)] == ["nan", "inf", "inf"]


@given(arrays)
def test_sums_of_x_log_x_are_the_formula(x) -> None:
    for vectorised in (True, False):
        for y in both(x):
            with mock.patch.object(_arrays, "log2_is_vectorised", lambda found=vectorised: found):
                result = _arrays.xlogx_sums(y, scratch=_arrays.empty(y.shape, y, dtype="float32"))
            assert _arrays.is_torch(result) == _arrays.is_torch(y)
            for place in np.ndindex(*x.shape[:-1]):
                values = x[place].tolist()
                expected = math.fsum(v if math.isnan(v) else 0.0 if v == 0 else v * math.log(v) for v in values)
                assert float(result[place]) == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)


@given(arrays)
def test_means_without_nan_are_pythons(x) -> None:
    for y in both(x):
        means = _arrays.nan_mean(y)
        assert _arrays.dtype_name(means) == "float64"
        for place in np.ndindex(*x.shape[:-1]):
            known = [v for v in x[place].tolist() if not math.isnan(v)]
            expected = sum(known) / len(known) if known else math.nan
            assert float(means[place]) == pytest.approx(expected, nan_ok=True)


@given(arrays, st.data())
def test_numpy_and_torch_agree(x, data) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    indices = data.draw(st.lists(st.integers(0, x.shape[axis] - 1), max_size=4))
    mine, torchs = both(x)
    for function in (
        lambda y: _arrays.take(y, indices, axis),
        lambda y: _arrays.where(_arrays.isnan(y), _arrays.like(0.0, y), y),
        lambda y: _arrays.amax(y, axis),
        lambda y: _arrays.stack([y, y]),
        _arrays.exp,
        _arrays.float64,
        lambda y: _arrays.cast(y, "float16"),
        _arrays.detach,
    ):
        a, b = function(mine), function(torchs)
        assert isinstance(a, np.ndarray | np.generic)
        assert _arrays.is_torch(b)
        assert _arrays.dtype_name(a) == _arrays.dtype_name(b)
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(mine, torchs.numpy())


def test_like_keeps_kind_and_dtype_unless_one_is_named() -> None:
    for y in both(np.ones(1, dtype=np.float32)):
        assert _arrays.dtype_name(_arrays.like([1, 2], y)) == "float32"
        assert _arrays.dtype_name(_arrays.like([1, 2], y, dtype="int64")) == "int64"
        assert _arrays.is_torch(_arrays.like([1, 2], y)) == _arrays.is_torch(y)


@pytest.mark.parametrize(
    ("name", "wide"),
    [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_half_precision_is_computed_in_single(name, wide) -> None:
    assert _arrays.working_dtype(torch.ones(1, dtype=getattr(torch, name))) == wide
