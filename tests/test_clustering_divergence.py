"""Jensen-Shannon divergences and the kernels that compute those of all pairs of heads."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given
from scipy.spatial.distance import jensenshannon, squareform

from bertattn import AttentionTensor
from bertattn.clustering import _kernels, _numba, js_divergence, pairwise_js
from bertattn.errors import MeasureError, MissingExtraError, ValidationError
from bertattn.testing import attention_tensors

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="the package numba is not installed")
KERNELS = [
    "torch",
    "numpy",
    pytest.param("numba", marks=needs_numba),
    pytest.param("fused", marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore:`torch.jit.script")]),
]
LN2 = math.log(2)


def slow_js(p, q):
    """From the formula, key by key."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        m = (a + b) / 2
        total += (a * math.log(a / m) if a > 0 else 0.0) / 2
        total += (b * math.log(b / m) if b > 0 else 0.0) / 2
    return total


def slow_pairwise(weights, queries=None):
    """`[head, head]` of the mean, pair by pair and row by row; rows that are NaN in either head do not count."""
    flat = np.asarray(weights, dtype=np.float64).reshape(-1, *weights.shape[2:])
    matrix = np.zeros((len(flat), len(flat)))
    for h, a in enumerate(flat):
        for g, b in enumerate(flat):
            rows = [i for i in range(len(a)) if queries is None or queries[i]]
            values = [slow_js(a[i], b[i]) for i in rows if not (np.isnan(a[i]).any() or np.isnan(b[i]).any())]
            if h != g:
                matrix[h, g] = sum(values) / len(values) if values else math.nan
    return matrix


def softmax_maps(layers, heads, queries, keys=None, *, seed=0, scale=3.0):
    z = np.random.default_rng(seed).standard_normal((layers, heads, queries, keys or queries)) * scale
    weights = np.exp(z - z.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def names(n):
    return [f"t{i}" for i in range(n)]


class TestJsDivergence:
    @pytest.mark.parametrize(("keys", "wanted"), [(128, 0.69237), (8, 0.69138)])
    def test_smoothed_one_hots_without_a_common_key(self, keys, wanted):
        p, q = np.eye(keys)[:2]
        assert js_divergence(p, q, smoothing=0.001) == pytest.approx(wanted, abs=5e-6)
        assert js_divergence(p, q) == pytest.approx(LN2, abs=1e-15)

    def test_one_hot_and_uniform(self):
        p, q = np.eye(128)[0], np.full(128, 1 / 128)
        assert js_divergence(p, q, smoothing=0.001) == pytest.approx(0.66635, abs=5e-6)
        assert js_divergence(p, q) == pytest.approx(slow_js(p, q), abs=1e-15)

    def test_is_that_of_scipy(self):
        p, q = softmax_maps(1, 2, 20, 7)[0]
        np.testing.assert_allclose(js_divergence(p, q), jensenshannon(p, q, axis=-1) ** 2, atol=1e-15)
        np.testing.assert_allclose(js_divergence(p, q, sqrt=True), jensenshannon(p, q, axis=-1), atol=1e-15)

    def test_axes_broadcast_and_the_kind_of_array_stays(self):
        p = softmax_maps(1, 3, 5, 4)[0]
        values = js_divergence(p[0, 0], p)
        assert values.shape == (3, 5)
        assert values[0, 0] == 0
        of_torch = js_divergence(torch.from_numpy(p[0, 0]), torch.from_numpy(p))
        assert of_torch.dtype is torch.float64
        np.testing.assert_allclose(of_torch.numpy(), values, atol=1e-15)

    def test_halves_count_as_the_distributions_they_stand_for(self):
        p, q = (torch.tensor(x, dtype=torch.bfloat16) for x in softmax_maps(1, 1, 2, 9)[0, 0])
        assert float(js_divergence(p, q)) == pytest.approx(slow_js(p.tolist(), q.tolist()), abs=2e-3)

    def test_a_row_without_mass_has_none(self):
        values = js_divergence([[np.nan, np.nan], [1.0, 0.0]], [0.0, 1.0])
        assert np.isnan(values[0])
        assert values[1] == pytest.approx(LN2)

    def test_does_not_write_to_what_it_is_given(self):
        p = np.eye(3)
        p.flags.writeable = False
        js_divergence(p, p[::-1], smoothing=0.1)

    @pytest.mark.parametrize(
        ("p", "q", "options", "message"),
        [
            ([1.0, 0.0], [0.5, 0.25, 0.25], {}, "p has 2 keys but q has 3"),
            ([1.5, -0.5], [0.5, 0.5], {}, "each row of p must be a distribution.*smallest number is -0.5"),
            ([0.5, 0.5], [1.0, 1.0], {}, "each row of q.*a row sums to 2; divide each row by its sum"),
            ([], [], {}, r"p must be \[..., key\] with at least one key, but has shape \(0,\)"),
            ([1.0], [1.0], {"smoothing": 1.5}, "0 to 1, but is 1.5"),
            ([1.0], [1.0], {"smoothing": "a"}, "smoothing is the share .*0 to 1, but is 'a'"),
            ([1.0], [1.0], {"smoothing": None}, "0 to 1, but is None"),
            ([1.0], [1.0], {"smoothing": np.array([0.1, 0.2])}, r"0 to 1, but is array\(\[0.1, 0.2\]\)"),
            ([1.0], [1.0], {"sqrt": "no"}, "sqrt must be True or False, but is 'no'"),
            ("ab", [1.0], {}, "p must be an array .* of real numbers, all rows of one length, but is 'ab'"),
            ([1.0], ["1.0"], {}, r"q must be an array .* of real numbers.* but is \['1.0'\]"),
            ([[0.5, 0.5], [1.0]], [1.0], {}, r"p must be an array.* but is \[\[0.5, 0.5\], \[1.0\]\]"),
            ([1.0], np.ones(1, complex), {}, r"q must be an array.* but is array\(\[1.\+0.j\]\)"),
            (np.ones((2, 3, 1)), np.ones((4, 1)), {}, r"must broadcast, but p has shape \(2, 3, 1\) and q \(4, 1\)"),
            (torch.ones(2, 3, 1), torch.ones(4, 1), {}, r"must broadcast, but p has shape \(2, 3, 1\) and q \(4, 1\)"),
            ([1.0], torch.ones(1), {}, "p and q must be the same kind of array"),
        ],
    )
    def test_what_is_refused(self, p, q, options, message):
        with pytest.raises(ValidationError, match=message):
            js_divergence(p, q, **options)


class TestKernels:
    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
    def test_every_kernel_is_right_within_a_millionth(self, kernel, dtype):
        # More heads than a tile, more columns than a block of any kernel, and neither a multiple of it.
        weights = torch.from_numpy(softmax_maps(1, 21, 90, 70)[0]).to(getattr(torch, dtype))
        exact = weights.double().numpy()
        wanted = [jensenshannon(exact[i], exact[j], axis=-1) for i, j in zip(*np.triu_indices(21, 1), strict=True)]
        values = _kernels.pair_sums(weights, smoothing=0.0, kernel=kernel) / 90
        if dtype in ("float16", "bfloat16"):  # SciPy divides by the sums, which are not quite 1 there
            wanted = [_kernels.pair_sums(exact, smoothing=0.0, kernel="torch") / 90]
            np.testing.assert_allclose(values, wanted[0], atol=1e-6)
        else:
            tolerance = 1e-13 if dtype == "float64" else 1e-6
            np.testing.assert_allclose(values, np.mean(np.square(wanted), axis=-1), atol=tolerance)

    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_golden_values_and_equal_heads(self, kernel, dtype):
        eye = np.eye(128)
        heads = np.stack([np.eye(128), np.roll(eye, 1, axis=1), np.full((128, 128), 1 / 128), eye]).astype(dtype)
        ends = squareform(_kernels.pair_sums(heads, smoothing=0.0, kernel=kernel) / 128)
        smoothed = squareform(_kernels.pair_sums(heads, smoothing=0.001, kernel=kernel) / 128)
        assert ends[0, 1] == pytest.approx(LN2, abs=1e-6)
        assert smoothed[0, 2] == pytest.approx(0.66635, abs=6e-6)
        assert smoothed[0, 1] == pytest.approx(0.69237, abs=6e-6)
        assert ends[0, 3] == smoothed[0, 3] == 0
        random = softmax_maps(1, 2, 100)[0].astype(dtype)
        twice = _kernels.pair_sums(random[[0, 1, 0, 1]], smoothing=0.0, kernel=kernel)
        assert twice[1] == twice[4] == 0
        assert twice[0] > 0

    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize("distinct", [2, 3, 5, 7, 100, 107, 122])
    def test_errors_of_the_logarithm_do_not_add_up(self, kernel, distinct):
        """All rows alike, of few different numbers: rounding has no chance to cancel."""
        p = np.zeros((2, 64, 128), np.float32)
        p[0, :, :distinct] = 1 / distinct
        p[1, :, 1 : distinct + 2] = 1 / (distinct + 1)
        value = _kernels.pair_sums(p, smoothing=0.0, kernel=kernel)[0] / 64
        assert value == pytest.approx(slow_js(*p[:, 0].astype(np.float64)), abs=1e-6)

    @needs_numba
    def test_the_loops_say_in_python_what_they_do_compiled(self):
        block = softmax_maps(1, 3, 4, 5)[0].reshape(3, -1) + 1e-37
        wanted = [[(a + b) @ np.log2(a + b) if j >= i else 0 for j, b in enumerate(block)] for i, a in enumerate(block)]
        for loop, dtype, tolerance in ((_numba.add_singles, np.float32, 1e-5), (_numba.add_doubles, np.float64, 1e-13)):
            for run in (loop, _numba.compiled(loop)):
                sums = np.zeros((3, 3))
                run(block.astype(dtype), sums)
                np.testing.assert_allclose(sums, wanted, atol=tolerance)

    @needs_numba
    @pytest.mark.parametrize(
        ("loop", "dtype", "tolerance"), [(_numba.add_singles, np.float32, 2e-7), (_numba.add_doubles, float, 1e-15)]
    )
    def test_the_series_is_long_enough(self, loop, dtype, tolerance):
        """Worst where the exponent changes, at the root of 2."""
        for x in np.linspace(0.5, 1.5, 101).astype(dtype):
            sums = np.zeros((1, 1))
            _numba.compiled(loop)(np.full((1, 1), x / 2, dtype), sums)
            assert sums[0, 0] == pytest.approx(float(x) * math.log2(x), abs=tolerance, rel=0)

    @needs_numba
    def test_compiled_code_needs_no_folder_to_be_kept_in(self, monkeypatch):
        import numba

        made = numba.njit

        def homeless(*, cache=False, **options):
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return made(**options)

        monkeypatch.setattr(numba, "njit", homeless)
        sums = np.zeros((1, 1))
        _numba.compiled.__wrapped__(_numba.add_doubles)(np.ones((1, 3)), sums)
        assert sums[0, 0] == 6

    @needs_numba
    def test_many_threads_share_the_blocks_and_agree(self, monkeypatch):
        weights = softmax_maps(1, 4, 80)[0]
        results = []
        for count in (1, 2, 5, 64):
            monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
            results.append(_kernels.pair_sums(weights, smoothing=0.0, kernel="numba"))
        for other in results[1:]:
            np.testing.assert_allclose(other, results[0], rtol=1e-13)

    @pytest.mark.parametrize("kernel", KERNELS[:2])
    def test_two_python_threads_at_once(self, kernel):
        maps = [softmax_maps(1, 20, 60, seed=seed)[0].astype(np.float32) for seed in (0, 1)]
        wanted = [_kernels.pair_sums(x, smoothing=0.0, kernel=kernel) for x in maps]
        found = [[], []]

        def work(which):
            for _ in range(10):
                found[which].append(_kernels.pair_sums(maps[which], smoothing=0.0, kernel=kernel))

        threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for which in (0, 1):
            assert len(found[which]) == 10
            for values in found[which]:
                np.testing.assert_allclose(values, wanted[which], rtol=1e-6)

    def test_the_fastest_kernel_that_can_run(self, monkeypatch):
        present = set()
        monkeypatch.setattr(_kernels, "_is_there", lambda module: module in present)
        x = np.zeros((1, 1, 1))
        devices = ("cpu", "cuda", "mps")

        class On:
            def __init__(self, device):
                self.device = torch.device(device)

        monkeypatch.setattr(_kernels._arrays, "is_torch", lambda x: isinstance(x, On))
        for vectorised, on_cpu in ((False, "torch"), (True, "numpy")):
            monkeypatch.setattr(_kernels._arrays, "log2_is_vectorised", lambda vectorised=vectorised: vectorised)
            wanted = {"cpu": on_cpu, "cuda": "torch", "mps": "torch"}
            assert {d: _kernels.chosen(None, On(d), caller="f") for d in devices} == wanted
        present |= {"numba", "triton"}
        wanted = {"cpu": "numba", "cuda": "fused", "mps": "torch"}
        assert {d: _kernels.chosen(None, On(d), caller="f") for d in devices} == wanted
        assert _kernels.chosen(None, x, caller="f") == "numba"
        assert _kernels.chosen("torch", On("cuda"), caller="f") == "torch"

    def test_a_package_that_does_not_fit_its_neighbours_is_as_good_as_none(self, monkeypatch):
        def broken(name):
            raise ImportError("Numba needs NumPy 2.3 or less")

        monkeypatch.setattr(_kernels.importlib, "import_module", broken)
        assert not _kernels._is_there.__wrapped__("numba")

    @pytest.mark.parametrize("kernel", ["numpy", "numba"])
    def test_some_run_on_the_cpu_alone(self, kernel):
        with pytest.raises(ValidationError, match=rf"f with kernel='{kernel}' runs on the CPU, but.* on 'meta'"):
            _kernels.chosen(kernel, torch.zeros(1, device="meta"), caller="f")

    def test_an_absent_package_is_named_with_the_command_that_installs_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "numba", None)
        attention = AttentionTensor(softmax_maps(1, 2, 3), names(3))
        with pytest.raises(MissingExtraError, match=r"pairwise_js with kernel='numba' needs.*'bertattn\[fast\]'"):
            pairwise_js(attention, kernel="numba")

    def test_a_compiler_that_fails_is_reported(self, monkeypatch):
        from torch._dynamo.exc import BackendCompilerFailed

        def failing(a, b):
            raise BackendCompilerFailed(failing, RuntimeError("no compiler"), None)

        monkeypatch.setattr(_kernels, "_compile_tile", lambda: failing)
        with pytest.raises(MissingExtraError, match=r"needs a C\+\+ compiler.*no compiler.*use kernel='torch'"):
            _kernels.pair_sums(softmax_maps(1, 2, 3)[0], smoothing=0.0, kernel="fused")

    def test_importing_the_package_loads_no_kernel(self):
        code = (
            "import sys; import bertattn.clustering; "
            "print(sorted({'torch', 'numba', 'scipy', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


class TestPairwise:
    @given(attention_tensors(empty_rows=True, square=False, max_tokens=6))
    def test_is_the_formula(self, attention):
        np.testing.assert_allclose(pairwise_js(attention), slow_pairwise(attention.weights), atol=1e-12)

    @given(attention_tensors(empty_rows=True, kind="torch", dtype="float32", max_tokens=6))
    def test_laws(self, attention):
        matrix = pairwise_js(attention)
        assert matrix.dtype is torch.float64
        values = matrix.numpy()
        assert np.array_equal(values, values.T, equal_nan=True)
        assert (np.diagonal(values) == 0).all()
        assert np.nanmin(values) >= 0
        assert np.nanmax(values) <= LN2 + 1e-6
        # Another order of the heads, and of the keys.
        turned = attention._with(weights=attention.weights.flip(1), heads=attention.heads[::-1])
        order = np.arange(len(values)).reshape(attention.shape[:2])[:, ::-1].ravel()
        np.testing.assert_allclose(pairwise_js(turned).numpy(), values[np.ix_(order, order)], atol=1e-6)
        np.testing.assert_allclose(
            pairwise_js(attention._with(weights=attention.weights.flip(3))).numpy(), values, atol=1e-6
        )

    def test_the_root_is_a_metric(self):
        root = pairwise_js(AttentionTensor(softmax_maps(2, 5, 6, scale=8), names(6)), sqrt=True)
        assert (root[:, None] <= root[:, :, None] + root[None] + 1e-12).all()
        np.testing.assert_allclose(
            root**2, pairwise_js(AttentionTensor(softmax_maps(2, 5, 6, scale=8), names(6))), atol=1e-15
        )

    @pytest.mark.parametrize("kernel", KERNELS[:2])
    def test_the_sum_is_the_mean_of_so_many_queries(self, kernel):
        weights = softmax_maps(2, 3, 7)
        weights[0, 1, 2] = np.nan
        weights[1, 0, 2:4] = np.nan
        attention = AttentionTensor(weights, names(7))
        mean, total = (pairwise_js(attention, aggregate=a, kernel=kernel) for a in ("mean", "sum"))
        assert total[0, 2] == pytest.approx(7 * mean[0, 2])
        assert total[0, 1] == pytest.approx(6 * mean[0, 1])
        assert total[1, 3] == pytest.approx(5 * mean[1, 3])

    def test_a_head_that_is_nowhere_defined_has_no_distance(self):
        weights = softmax_maps(1, 3, 4)
        weights[0, 1] = np.nan
        for aggregate in ("mean", "sum"):
            matrix = pairwise_js(AttentionTensor(weights, names(4)), aggregate=aggregate)
            assert np.isnan(matrix).tolist() == [[False, True, False], [True, False, True], [False, True, False]]

    def test_queries_are_chosen(self):
        weights = softmax_maps(2, 2, 5, 8)
        weights[1, 1, 3] = np.nan
        attention = AttentionTensor(weights, names(5), names(8))
        mask = np.array([True, False, True, True, False])
        np.testing.assert_allclose(pairwise_js(attention, queries=mask), slow_pairwise(weights, mask), atol=1e-12)
        assert np.isnan(pairwise_js(attention, queries=[False] * 5)[0, 1])

    def test_one_head_is_at_no_distance_from_itself(self):
        assert pairwise_js(AttentionTensor(softmax_maps(1, 1, 3), names(3))).tolist() == [[0.0]]

    def test_a_tensor_in_a_gradient_computation(self):
        weights = torch.from_numpy(softmax_maps(1, 2, 3)).requires_grad_()
        assert not pairwise_js(AttentionTensor(weights, names(3))).requires_grad

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"aggregate": "median"}, "aggregate must be 'mean' or 'sum', but is 'median'"),
            ({"aggregate": np.array(["mean", "sum"])}, r"aggregate must be 'mean' or 'sum', but is array\(\['mean'"),
            ({"sqrt": None}, "sqrt must be True or False, but is None"),
            ({"smoothing": -0.1}, "0 to 1, but is -0.1"),
            ({"kernel": "cuda"}, "kernel must be None, 'torch', 'numpy', 'numba' or 'fused', but is 'cuda'"),
            ({"queries": [True, False]}, r"boolean mask.*each of the 3 tokens, but holds bool of shape \(2,\)"),
            ({"queries": [0, 1, 2]}, r"but holds int64 of shape \(3,\)"),
        ],
    )
    def test_options_that_do_not_exist(self, options, message):
        with pytest.raises(ValidationError, match=message):
            pairwise_js(AttentionTensor(softmax_maps(1, 2, 3), names(3)), **options)

    def test_only_distributions(self):
        attention = AttentionTensor(softmax_maps(1, 2, 3), names(3), measure="norm", normalized=False)
        with pytest.raises(MeasureError, match=r"pairwise_js needs rows that are distributions.*measure 'norm'"):
            pairwise_js(attention)
        with pytest.raises(ValidationError, match="pairwise_js needs an AttentionTensor, but got ndarray"):
            pairwise_js(np.eye(3))
