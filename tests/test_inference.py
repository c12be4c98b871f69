"""bootstrap_ci, paired_permutation_test, max_statistic_test, adjust_pvalues: worked examples, errors, calibration."""

from __future__ import annotations

import json
import re
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
import torch

from bertattn import _inference
from bertattn.errors import BertattnError, ValidationError
from bertattn.statistics import (
    BootstrapInterval,
    MaxStatisticTest,
    SignFlipTest,
    adjust_pvalues,
    bootstrap_ci,
    max_statistic_test,
    paired_permutation_test,
)

CORRECT = np.array([2, 0, 3, 1, 5, 0])
WORDS = np.array([4, 2, 3, 1, 6, 2])
ARRAYS = {"estimate", "low", "high", "standard_error", "p", "adjusted_p", "statistic", "exact"}
ARRAYS |= {"units_with_data", "nonzero_units", "empty_resamples"}


def same(a, b):
    assert type(a) is type(b)
    for name in vars(a):
        x, y = getattr(a, name), getattr(b, name)
        if name in ARRAYS:
            assert x.dtype == y.dtype, name
            assert x.shape == y.shape, name
            assert np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), name
        else:
            assert x == y, name


def accuracies(rng, *, units, cells, spread=0.15, head=0.5, baseline=0.5):
    """(correct of the heads, correct of the baseline, words): sentences of different lengths, alike within."""
    words = 1 + rng.poisson(6, size=(units, *cells))
    ease = rng.normal(0, spread, size=(units, *cells))
    correct = [rng.binomial(words, np.clip(p + ease, 0, 1)) for p in (head, baseline)]
    return correct[0], correct[1], words


# Bootstrap


def test_the_estimate_is_a_ratio_of_sums_not_a_mean_of_ratios() -> None:
    ci = bootstrap_ci([[1], [0]], [1, 9])
    assert ci.estimate.tolist() == [0.1]
    assert (ci.low.tolist(), ci.high.tolist()) == ([0.0], [1.0])


def test_two_units_have_three_kinds_of_replicate() -> None:
    """Units 1/1 and 0/3: both once 1/4 (half of the time), the first twice 1, the second twice 0."""
    ci = bootstrap_ci([1, 0], [1, 3], level=0.4, resamples=4000)
    assert (float(ci.low), float(ci.high)) == (0.25, 0.25)
    wide = bootstrap_ci([1, 0], [1, 3], level=0.6, resamples=4000)
    assert (float(wide.low), float(wide.high)) == (0.0, 1.0)
    variance = 0.25 * (0 - 0.375) ** 2 + 0.5 * (0.25 - 0.375) ** 2 + 0.25 * (1 - 0.375) ** 2
    assert float(ci.standard_error) == pytest.approx(variance**0.5, rel=0.05)


def test_without_denominators_it_is_the_mean_as_scipy_has_it() -> None:
    x = np.random.default_rng(3).exponential(size=40)
    for method in ("percentile", "bca"):
        ours = bootstrap_ci(x, resamples=20000, method=method)
        theirs = scipy.stats.bootstrap(
            (x,), np.mean, n_resamples=20000, method={"percentile": "percentile", "bca": "BCa"}[method], random_state=1
        )
        assert float(ours.estimate) == pytest.approx(x.mean())
        assert float(ours.low) == pytest.approx(theirs.confidence_interval.low, abs=0.01)
        assert float(ours.high) == pytest.approx(theirs.confidence_interval.high, abs=0.01)
        assert float(ours.standard_error) == pytest.approx(theirs.standard_error, rel=0.03)


def test_bca_moves_towards_the_long_tail() -> None:
    x = np.random.default_rng(3).exponential(size=40)
    plain, bca = bootstrap_ci(x), bootstrap_ci(x, method="bca")
    assert bca.low > plain.low
    assert bca.high > plain.high


def test_cells_without_data_and_with_one_unit_have_no_interval() -> None:
    c = [[1, 0, 0, 0], [0, 1, 0, 0], [2, 0, 0, 0]]
    n = [[2, 0, 0, 1], [0, 1, 0, 1], [2, 0, 0, 1]]
    for options in ({}, {"method": "bca"}, {"simultaneous": True}):
        ci = bootstrap_ci(c, n, **options)
        assert np.isnan(ci.low).tolist() == [False, True, True, False], options
        assert np.isnan(ci.standard_error).tolist() == [False, True, True, False]
        assert ci.estimate[:2].tolist() == [0.75, 1.0]
        assert np.isnan(ci.estimate[2])
        assert ci.units_with_data.tolist() == [2, 1, 0, 3]
        assert ci.empty_resamples[2] == 2000
        assert ci.empty_resamples[1] == pytest.approx(2000 * (2 / 3) ** 3, rel=0.1)
        assert ci.empty_resamples[0] == pytest.approx(2000 / 27, rel=0.3)
        assert ci.empty_resamples[3] == 0


def test_differences_that_are_all_zero_have_the_interval_zero() -> None:
    for options in ({}, {"method": "bca"}, {"simultaneous": True}):
        ci = bootstrap_ci(np.zeros((20, 2)), np.arange(20), **options)
        assert (ci.low.tolist(), ci.high.tolist(), ci.standard_error.tolist()) == ([0, 0], [0, 0], [0, 0])


def test_few_units_are_flagged() -> None:
    n = np.ones((20, 2))
    n[9:, 0] = 0
    ci = bootstrap_ci(n, n)
    assert ci.few_units.tolist() == [True, False]
    assert paired_permutation_test(n, n).few_units.tolist() == [True, False]


def test_a_constant_ratio_that_floats_cannot_hold_has_no_width() -> None:
    n = np.arange(1, 30) * 0.1
    ci = bootstrap_ci(np.stack([n / 3, np.arange(29) % 2 * n], axis=1), n, simultaneous=True)
    assert ci.standard_error[0] == 0
    assert ci.high[0] - ci.low[0] == 0


def test_denominators_may_have_any_shape_that_fits() -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(1, 5, size=(15, 1, 3))
    c = rng.integers(0, 2, size=(15, 4, 3)) * n
    full = bootstrap_ci(c, np.broadcast_to(n, c.shape), resamples=50)
    same(full, bootstrap_ci(c, n, resamples=50))
    same(full, bootstrap_ci(torch.tensor(c), torch.tensor(n), resamples=50))
    one = n[:, 0, 0]
    c = c * 0 + one[:, None, None]
    same(bootstrap_ci(c, np.broadcast_to(one[:, None, None], c.shape)), bootstrap_ci(c, one))


def test_simultaneous_intervals_are_wider_and_symmetric() -> None:
    rng = np.random.default_rng(0)
    c, _, n = accuracies(rng, units=100, cells=(50,))
    alone, together = bootstrap_ci(c, n), bootstrap_ci(c, n, simultaneous=True)
    assert ((together.high - together.low) > (alone.high - alone.low)).all()
    assert np.allclose(together.high - together.estimate, together.estimate - together.low)
    residual = c - together.estimate * n
    reach = (together.high - together.estimate) / (np.sqrt((residual**2).sum(0) * 100 / 99) / n.sum(0))
    assert np.allclose(reach, reach[0])
    assert 2.9 < reach[0] < 3.8  # of 50 independent normals it is 3.28


def test_each_replicate_is_measured_by_its_own_spread() -> None:
    """0, 0, 0 and 4: mean 1, spread sqrt(9 + 3) / 4. Replicates by how often 4 was drawn, with their distances:

    once (42 %) 0; twice (21 %) 1 / (sqrt(4 * 2^2) / 4) = 1; never (32 %) 1 / spread, for it has none of its own.
    """
    spread = 12**0.5 / 4
    for level, reach in ((0.3, 0.0), (0.5, spread), (0.55, spread), (0.8, 1.0)):
        ci = bootstrap_ci([0, 0, 0, 4], simultaneous=True, level=level)
        assert (float(ci.low), float(ci.high)) == pytest.approx((1 - reach, 1 + reach)), level


def test_one_replicate_has_no_standard_error_but_an_interval() -> None:
    ci = bootstrap_ci([0, 1, 5, 2], simultaneous=True, resamples=1)
    assert np.isnan(ci.standard_error)
    assert ci.low <= ci.estimate <= ci.high


# Sign flips


def test_a_hand_worked_sign_flip() -> None:
    """3 + 2 + 1 = 6 is reached by no other signs; 3 + 2 - 1 = 4 by one more."""
    assert float(paired_permutation_test([3, 2, 1]).p) == 1 / 8
    assert float(paired_permutation_test([3, 2, -1]).p) == 2 / 8
    assert float(paired_permutation_test([3, 2, -1], alternative="less").p) == 7 / 8
    assert float(paired_permutation_test([3, 2, -1], alternative="two-sided").p) == 4 / 8


def test_it_is_the_binomial_sign_test_where_all_differences_are_as_large() -> None:
    d = np.array([1] * 9 + [-1] * 3 + [0] * 30)
    test = paired_permutation_test(d)
    assert bool(test.exact)
    assert float(test.p) == pytest.approx(scipy.stats.binomtest(9, 12, alternative="greater").pvalue)
    d = np.array([1] * 25 + [-1] * 12)
    drawn = paired_permutation_test(d, resamples=40000)
    assert not bool(drawn.exact)
    assert float(drawn.p) == pytest.approx(scipy.stats.binomtest(25, 37, alternative="greater").pvalue, abs=0.003)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_it_agrees_with_scipy(alternative) -> None:
    d = np.random.default_rng(5).normal(0.3, 1, size=11)
    theirs = scipy.stats.permutation_test((d,), np.sum, permutation_type="samples", alternative=alternative)
    assert float(paired_permutation_test(d, alternative=alternative).p) == pytest.approx(theirs.pvalue)


def test_no_difference_gives_p_1_and_no_data_none() -> None:
    d = np.zeros((30, 3))
    d[0, 2] = 1
    n = np.ones((30, 3))
    n[:, 1] = 0
    test = paired_permutation_test(d, n)
    assert test.p.tolist()[::2] == [1.0, 0.5]
    assert np.isnan(test.p[1])
    family = max_statistic_test(d, n)
    assert family.adjusted_p.tolist()[::2] == [1.0, 0.5]
    assert np.isnan(family.adjusted_p[1])
    assert family.family_size == 2
    assert np.isnan(max_statistic_test(d * 0, n * 0).adjusted_p).all()


def test_the_smallest_drawn_p_is_one_over_one_more_than_the_draws() -> None:
    assert float(paired_permutation_test(np.ones(40), resamples=99).p) == 0.01


def test_denominators_scale_the_estimate_and_not_p() -> None:
    d = np.random.default_rng(0).integers(-2, 4, size=(30, 2))
    n = np.full(30, 10)
    plain, scaled = paired_permutation_test(d), paired_permutation_test(d, n)
    assert np.allclose(plain.estimate, d.mean(0))
    assert np.allclose(scaled.estimate, d.sum(0) / 300)
    assert plain.p.tolist() == scaled.p.tolist()


# Many cells


def test_the_statistic_is_students_t() -> None:
    d = np.random.default_rng(0).normal(0.2, 1, size=(25, 3))
    test = max_statistic_test(d, resamples=99)
    assert np.allclose(test.statistic, scipy.stats.ttest_1samp(d, 0).statistic)
    assert np.allclose(max_statistic_test(d, resamples=99, studentized=False).statistic, d.mean(0))
    assert max_statistic_test(np.ones((5, 1))).statistic.tolist() == [np.inf]
    assert max_statistic_test(-np.ones((5, 1))).statistic.tolist() == [-np.inf]
    assert max_statistic_test(np.zeros((5, 1))).statistic.tolist() == [0.0]


def test_cells_that_are_the_same_cost_nothing() -> None:
    """288 copies of one head are one test, which Holm and Bonferroni do not see."""
    d = np.repeat(np.random.default_rng(0).normal(0.5, 1, size=(30, 1)), 288, axis=1)
    test = max_statistic_test(d, resamples=999)
    assert (test.adjusted_p == test.p).all()
    assert (adjust_pvalues(test.p) > 10 * test.p).all()


def test_a_head_far_below_the_baseline_hides_others_unless_studentized_or_stepped_down() -> None:
    rng = np.random.default_rng(1)
    d = np.stack([rng.normal(0.15, 0.3, size=50), rng.normal(-9, 1, size=50)], axis=1)
    assert max_statistic_test(d).adjusted_p[0] < 0.02
    assert max_statistic_test(d, studentized=False).adjusted_p[0] > 0.3
    up = np.stack([rng.normal(0.15, 0.3, size=50), rng.normal(9, 1, size=50)], axis=1)
    assert max_statistic_test(up, studentized=False).adjusted_p[0] > 0.3
    assert max_statistic_test(up, studentized=False, step_down=True).adjusted_p[0] < 0.02


def test_adjusted_p_values_of_e3() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert adjust_pvalues(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_pvalues(p, method="benjamini-hochberg").tolist() == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert adjust_pvalues(p, method="bonferroni").tolist() == pytest.approx([0.04, 0.16, 0.12, 0.02])
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    assert adjust_pvalues(p, method="benjamini-yekutieli").tolist() == pytest.approx(
        [0.02 * harmonic, 0.04 * harmonic, 0.04 * harmonic, 0.02 * harmonic]
    )


@pytest.mark.parametrize("method", ["holm", "bonferroni", "benjamini-hochberg", "benjamini-yekutieli"])
def test_undefined_p_values_stay_and_are_not_counted(method) -> None:
    p = np.array([[0.01, np.nan, 0.04], [0.03, 0.005, np.nan]])
    adjusted = adjust_pvalues(p, method=method)
    assert np.isnan(adjusted).tolist() == np.isnan(p).tolist()
    assert adjusted[~np.isnan(p)].tolist() == adjust_pvalues(p[~np.isnan(p)], method=method).tolist()
    assert np.isnan(adjust_pvalues([np.nan], method=method)).all()
    assert adjust_pvalues([], method=method).shape == (0,)
    assert float(adjust_pvalues(0.3, method=method)) == pytest.approx(0.3)


# Results


@pytest.fixture(params=["interval", "test", "family"])
def result(request):
    d = np.random.default_rng(0).integers(-1, 3, size=(20, 2, 3))
    n = np.ones_like(d)
    d[:, 0, 0] = n[:, 0, 0] = 0
    function = {"interval": bootstrap_ci, "test": paired_permutation_test, "family": max_statistic_test}[request.param]
    return function(d, n, resamples=50)


def test_a_result_is_saved_and_comes_back(result, tmp_path) -> None:
    result.save(tmp_path / "result.json")
    json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    same(type(result).load(tmp_path / "result.json"), result)


def test_a_result_without_cells_comes_back(tmp_path) -> None:
    for result in (bootstrap_ci([1, 2, 3]), bootstrap_ci(np.zeros((4, 0, 3))), max_statistic_test(np.zeros((4, 0)))):
        result.save(tmp_path / "result.json")
        same(type(result).load(tmp_path / "result.json"), result)


def test_a_result_is_a_table_of_cells(result) -> None:
    frame = result.to_frame()
    assert len(frame) == 6
    assert list(frame.columns[:3]) == ["axis_1", "axis_2", "estimate"]
    row = frame[(frame.axis_1 == 1) & (frame.axis_2 == 2)].iloc[0]
    assert row.estimate == result.estimate[1, 2]
    assert row.units_with_data == 20
    assert "<th>axis_2</th>" in result._repr_html_()


def test_a_result_says_what_it_is() -> None:
    d = np.ones((20, 2))
    assert repr(bootstrap_ci(d)) == (
        "BootstrapInterval(2 cells, level=0.95, percentile, units=20, resamples=2000, seed=0)"
    )
    assert "simultaneous" in repr(bootstrap_ci(d, simultaneous=True))
    assert repr(paired_permutation_test(d[:, 0], seed=4)) == (
        "SignFlipTest(1 cell, alternative='greater', units=20, resamples=9999, seed=4)"
    )
    assert repr(max_statistic_test(d, resamples=9)).startswith("MaxStatisticTest(2 cells, alternative='greater'")


def test_results_cannot_be_written_to(result) -> None:
    with pytest.raises(ValueError, match="read-only"):
        result.estimate[0] = 1
    with pytest.raises(AttributeError):
        result.seed = 3


def test_parts_of_a_result_have_one_shape() -> None:
    fields = vars(paired_permutation_test(np.ones((3, 2))))
    with pytest.raises(ValidationError, match=re.escape("p has shape (3,) but estimate has (2,); give one a cell")):
        SignFlipTest(**(fields | {"p": np.ones(3)}))
    assert issubclass(MaxStatisticTest, SignFlipTest)
    assert not issubclass(BootstrapInterval, SignFlipTest)


# Errors


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, "numerators have no units: axis 0 has length 0"),
        ((3.0,), {}, "numerators must have the units on axis 0, but are one number 3"),
        (([[1, 2], [3]],), {}, "numerators must be an array of numbers: "),
        ((["a"],), {}, "numerators must be an array of numbers: "),
        (
            ([1.0, np.nan],),
            {},
            "numerators must be finite, but one is nan; give a unit without data 0, with a denominator of 0",
        ),
        (([1, 1], [1, np.inf]), {}, "denominators must be finite, but one is inf"),
        (([1, 1], [1, -2]), {}, "denominators count, so they are 0 or more, but one is -2"),
        (([1, 1], [1, 2, 3]), {}, "denominators have shape (3,) but numerators (2,); give one a unit, [2], or as many"),
        ((np.ones((2, 3)), np.ones((2, 2))), {}, "denominators have shape (2, 2) but numerators (2, 3)"),
        ((np.ones((2, 3, 4)), np.ones((2, 3))), {}, "denominators have shape (2, 3) but numerators (2, 3, 4)"),
        (([1, 1], [1, 0]), {}, "numerators must be 0 where the denominator is, but unit 1 has 1 over 0"),
        (
            ([[1, 0], [1, 5]], [[1, 0], [1, 0]]),
            {},
            "numerators must be 0 where the denominator is, but unit 1 has 5 over 0 in cell (1,)",
        ),
        (([1],), {"level": 95}, "level is a probability between 0 and 1, such as 0.95, but is 95"),
        (([1],), {"resamples": 0}, "resamples is an integer of 1 or more, but is 0"),
        (([1],), {"resamples": 2.5}, "resamples is an integer of 1 or more, but is 2.5"),
        (([1],), {"resamples": True}, "resamples is an integer of 1 or more, but is True"),
        (([1],), {"seed": -1}, "seed is an integer of 0 or more, but is -1"),
        (([1],), {"seed": None}, "seed is an integer of 0 or more, but is None"),
        (([1],), {"method": "BCa"}, "method is one of 'percentile', 'bca', but is 'BCa'"),
        (
            ([1],),
            {"method": "bca", "simultaneous": True},
            "simultaneous intervals are symmetric around the estimate: leave method out",
        ),
    ],
)
def test_what_cannot_be_resampled_is_refused(arguments, options, message) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        bootstrap_ci(*arguments, **options)


@pytest.mark.parametrize("test", [paired_permutation_test, max_statistic_test])
def test_what_cannot_be_tested_is_refused(test) -> None:
    with pytest.raises(ValidationError, match="alternative is one of 'greater', 'less', 'two-sided', but is 'larger'"):
        test([1, 2], alternative="larger")
    with pytest.raises(ValidationError, match="differences must be finite, but one is nan"):
        test([1, np.nan])
    with pytest.raises(ValidationError, match="resamples is an integer of 1 or more"):
        test([1, 2], resamples=0)
    with pytest.raises(ValidationError, match="differences must be 0 where the denominator is"):
        test([1, 2], [0, 1])


def test_sparse_input_is_checked_too() -> None:
    one = scipy.sparse.csr_array(np.eye(3))
    with pytest.raises(ValidationError, match="unit 1 has 1 over 0 in cell"):
        bootstrap_ci(one, np.array([1, 0, 1]))
    with pytest.raises(ValidationError, match="unit 2 has 1 over 0 in cell"):
        bootstrap_ci(one, scipy.sparse.csr_array(np.diag([1.0, 1.0, 0.0])))
    with pytest.raises(ValidationError, match="unit 0 has 1 over 0 in cell"):
        bootstrap_ci(np.eye(3), scipy.sparse.csr_array(np.diag([0.0, 1.0, 1.0])))
    with pytest.raises(ValidationError, match="one is -1"):
        bootstrap_ci(one * 0, -one)
    with pytest.raises(ValidationError, match="must be finite"):
        bootstrap_ci(one * np.nan)
    with pytest.raises(ValidationError, match="sparse numerators must be \\[unit, cell\\], but have shape"):
        bootstrap_ci(scipy.sparse.coo_array(np.ones(3)))


@pytest.mark.parametrize("p", [[0.5, 1.5], [-0.1], [np.inf]])
def test_what_is_no_p_value_is_refused(p) -> None:
    with pytest.raises(ValidationError, match="p-values lie between 0 and 1, but range from"):
        adjust_pvalues(p)


def test_an_unknown_adjustment_is_refused() -> None:
    with pytest.raises(BertattnError, match=r"method is one of 'holm', .*, but is 'fdr'"):
        adjust_pvalues([0.1], method="fdr")


# Blocks and memory


def test_the_size_of_blocks_changes_nothing(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(0, 4, size=(70, 5))
    c = rng.binomial(n, 0.4)
    d = c - rng.binomial(n, 0.4)

    def everything():
        yield bootstrap_ci(c, n, resamples=101)
        yield bootstrap_ci(c, n, resamples=101, method="bca")
        yield bootstrap_ci(c, n, resamples=101, simultaneous=True)
        for simultaneous in (False, True):
            sparse = scipy.sparse.csr_array(c), scipy.sparse.csr_array(n)
            yield bootstrap_ci(*sparse, resamples=101, simultaneous=simultaneous)
        yield paired_permutation_test(d, n, resamples=101)
        yield paired_permutation_test(d[:9], n[:9])
        for step_down in (False, True):
            yield max_statistic_test(d, n, resamples=101, step_down=step_down)
            yield max_statistic_test(d[:9], n[:9], step_down=step_down)

    whole = list(everything())
    for block in (1, 150, 1000):
        monkeypatch.setattr(_inference, "_BLOCK", block)
        for a, b in zip(everything(), whole, strict=True):
            for name in set(vars(a)) & ARRAYS:
                assert np.allclose(getattr(a, name), getattr(b, name), rtol=1e-12, atol=0, equal_nan=True), name


def test_memory_stays_bounded() -> None:
    """Replicates of all cells at once would take 1.6 GB here, weights of all units 240 MB."""
    rng = np.random.default_rng(0)
    places = (rng.integers(300, size=30_000), rng.integers(100_000, size=30_000))
    c = scipy.sparse.coo_array((np.ones(30_000), places), shape=(300, 100_000)).tocsc()
    tracemalloc.start()
    bootstrap_ci(c, resamples=200, simultaneous=True)
    max_statistic_test(c, resamples=50, step_down=True)
    paired_permutation_test(np.ones((300_000, 1)), resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 320e6


# Calibration: simulated corpora whose truth is known. The seeds are fixed, so a test passes always or never.


def test_sign_flips_reject_true_nulls_as_often_as_stated() -> None:
    """4000 corpora, one a cell: the rate is 0.05 within three binomial standard errors."""
    rng = np.random.default_rng(11)
    d = rng.standard_t(4, size=(30, 4000)) * rng.uniform(0.2, 3, size=(30, 1))
    for alternative in ("greater", "less", "two-sided"):
        test = paired_permutation_test(d, alternative=alternative, resamples=1999)
        assert (test.p < 0.05).mean() == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 4000) ** 0.5)
    head, base, words = accuracies(rng, units=30, cells=(4000,))
    p = paired_permutation_test(head - base, words, resamples=1999).p
    assert 0.03 < (p < 0.05).mean() < 0.061


def test_a_family_has_a_false_rejection_as_often_as_stated() -> None:
    """400 corpora of 40 heads that share a baseline, one of them far below it."""
    rng = np.random.default_rng(12)
    false, holm = 0, 0
    for corpus in range(400):
        base = rng.normal(size=(25, 1))
        d = rng.normal(size=(25, 40)) - base
        d[:, 0] -= 5
        test = max_statistic_test(d, resamples=199, seed=corpus)
        false += (test.adjusted_p <= 0.05).any()
        holm += (adjust_pvalues(test.p) <= 0.05).any()
    assert 0.05 - 3 * (0.05 * 0.95 / 400) ** 0.5 < false / 400 < 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5
    assert holm < false


def test_a_head_that_is_better_is_found_among_many() -> None:
    rng = np.random.default_rng(13)
    found, others = 0, 0
    for corpus in range(60):
        head, base, words = accuracies(rng, units=80, cells=(144,), baseline=0.5)
        better = rng.binomial(words[:, 7], 0.72)
        d = head - base
        d[:, 7] = better - base[:, 7]
        test = max_statistic_test(d, words, resamples=299, step_down=True, seed=corpus)
        found += test.adjusted_p[7] <= 0.05
        others += (np.delete(test.adjusted_p, 7) <= 0.05).any()
    assert found == 60
    assert others <= 8  # 3 expected


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_cover_the_truth(method) -> None:
    """2000 corpora, one a cell, of 60 sentences whose words are alike; the truth is sum E[c] / sum E[n]."""
    rng = np.random.default_rng(14)
    words = 1 + rng.poisson(6, size=(60, 2000))
    ease = rng.normal(0, 0.15, size=words.shape) - 0.02 * (words - 7)
    correct = rng.binomial(words, np.clip(0.6 + ease, 0, 1))
    big = 1 + rng.poisson(6, size=2_000_000)
    chance = np.clip(0.6 + rng.normal(0, 0.15, size=big.shape) - 0.02 * (big - 7), 0, 1)
    truth = (big * chance).sum() / big.sum()
    ci = bootstrap_ci(correct, words, method=method, resamples=999)
    assert 0.925 < ((ci.low <= truth) & (truth <= ci.high)).mean() < 0.965
    naive = 1.96 * np.sqrt(ci.estimate * (1 - ci.estimate) / words.sum(0))
    covered = (np.abs(ci.estimate - truth) <= naive).mean()
    assert covered < 0.92  # words are not independent


def test_simultaneous_intervals_cover_all_truths_together() -> None:
    rng = np.random.default_rng(15)
    covered, alone = 0, 0
    for corpus in range(200):
        d = rng.normal(size=(60, 30)) + rng.normal(size=(60, 1))
        ci = bootstrap_ci(d, simultaneous=True, resamples=499, seed=corpus)
        single = bootstrap_ci(d, resamples=499, seed=corpus)
        covered += ((ci.low <= 0) & (ci.high >= 0)).all()
        alone += ((single.low <= 0) & (single.high >= 0)).all()
    assert 0.91 < covered / 200 < 0.985
    assert alone / 200 < 0.7


@pytest.mark.parametrize(("units", "heads", "least"), [(16, 72, 0.95), (20, 40, 0.95), (60, 40, 0.9)])
def test_simultaneous_intervals_cover_with_few_units_too(units, heads, least) -> None:
    """300 corpora of heads that find the same sentences easy, each with an accuracy of 0.5."""
    rng = np.random.default_rng(units)
    covered = 0
    for corpus in range(300):
        ease = 0.2 + 0.4 * rng.random((units, 1)) + 0.2 * rng.random((units, heads))
        words = 1 + rng.poisson(3, size=(units, 1))
        ci = bootstrap_ci(rng.binomial(words, ease), words, simultaneous=True, resamples=499, seed=corpus)
        covered += ((ci.low <= 0.5) & (ci.high >= 0.5)).all()
    assert covered / 300 >= least


def test_the_best_of_many_heads_is_inflated_on_the_data_it_was_chosen_on() -> None:
    """methods.md E.3: 288 independent heads with p = 0.4 on 500 words; E[max] - p = 0.063."""
    correct = np.random.default_rng(16).binomial(500, 0.4, size=(2000, 288)) / 500
    assert (correct.max(1) - 0.4).mean() == pytest.approx(0.063, abs=0.002)
