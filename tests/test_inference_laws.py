"""Intervals and tests: laws that hold for every corpus, and agreement with the slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from bertattn.statistics import adjust_pvalues, bootstrap_ci, max_statistic_test, paired_permutation_test
from reference import inference as reference

ALTERNATIVES = st.sampled_from(("greater", "less", "two-sided"))
METHODS = st.sampled_from(("holm", "bonferroni", "benjamini-hochberg", "benjamini-yekutieli"))
SEEDS = st.integers(0, 2**32)
BOOLEANS = st.booleans()
P_VALUES = st.lists(st.integers(0, 1000).map(lambda i: i / 1000), min_size=1, max_size=12)


@st.composite
def corpora(draw, max_units=16, data=False):
    """(correct, baseline's correct, words), each `[unit, cell]`; with `data` every cell has some."""
    units, cells = draw(st.integers(1, max_units)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    words = rng.integers(0, 5, size=(units, cells))
    if data:
        words[0] = np.maximum(words[0], 1)
    rate = rng.uniform(0, 1, size=(2, cells))
    correct, baseline = (rng.binomial(words, r) for r in rate)
    if draw(BOOLEANS):
        correct[:, 0] = baseline[:, 0]
    return correct, baseline, words


def close(a, b, atol=1e-9):
    return np.allclose(a, b, rtol=0, atol=atol, equal_nan=True)


# Agreement with the slow reference


@given(corpora(), st.sampled_from((0.5, 0.9)), SEEDS, st.sampled_from(("percentile", "bca")))
def test_intervals_agree_with_the_reference(corpus, level, seed, method) -> None:
    c, _, n = corpus
    found = bootstrap_ci(c, n, level=level, resamples=30, seed=seed, method=method)
    expected = np.array(reference.bootstrap(c.tolist(), n.tolist(), level, 30, seed, method))
    names = ("estimate", "low", "high", "standard_error", "empty_resamples")
    for name, column in zip(names, expected.T, strict=True):
        assert close(getattr(found, name), column), name


@given(corpora(), SEEDS)
def test_simultaneous_intervals_agree_with_the_reference(corpus, seed) -> None:
    c, _, n = corpus
    found = bootstrap_ci(c, n, level=0.9, resamples=30, seed=seed, simultaneous=True)
    expected = np.array(reference.simultaneous(c.tolist(), n.tolist(), 0.9, 30, seed))
    assert close(found.low, expected[:, 0])
    assert close(found.high, expected[:, 1])


@given(corpora(max_units=70), ALTERNATIVES, SEEDS)
def test_sign_flips_agree_with_the_reference(corpus, alternative, seed) -> None:
    c, base, _ = corpus
    d = np.where((c != 0).cumsum(0) < 9, c - base, 0) if seed % 2 else c - base
    found = paired_permutation_test(d, alternative=alternative, resamples=20, seed=seed)
    expected = [reference.sign_flip(column.tolist(), alternative, 20, seed) for column in d.T]
    assert close(found.p, expected)


@given(corpora(max_units=7, data=True), ALTERNATIVES, SEEDS, BOOLEANS, BOOLEANS)
def test_max_statistics_agree_with_the_reference(corpus, alternative, seed, studentized, step_down) -> None:
    c, base, n = corpus
    d = c - base
    options = {"alternative": alternative, "studentized": studentized, "step_down": step_down}
    found = max_statistic_test(d, n, resamples=20, seed=seed, **options)
    single, adjusted = reference.max_statistic(d.tolist(), n.tolist(), resamples=20, seed=seed, **options)
    assert close(found.p, single)
    assert close(found.adjusted_p, adjusted)


@given(corpora(max_units=40, data=True), ALTERNATIVES, SEEDS, BOOLEANS, BOOLEANS)
def test_drawn_max_statistics_agree_with_the_reference(corpus, alternative, seed, studentized, step_down) -> None:
    c, base, n = (np.concatenate([x, x]) for x in corpus)
    d = c - base
    options = {"alternative": alternative, "studentized": studentized, "step_down": step_down}
    found = max_statistic_test(d, n, resamples=12, seed=seed, **options)
    single, adjusted = reference.max_statistic(d.tolist(), n.tolist(), resamples=12, seed=seed, **options)
    assert close(found.p, single)
    assert close(found.adjusted_p, adjusted)


@given(P_VALUES, METHODS)
def test_an_adjusted_p_is_the_level_at_which_the_procedure_first_rejects(p, method) -> None:
    adjusted = adjust_pvalues(p, method=method)
    for i, level in enumerate(adjusted):
        if level < 1:
            assert reference.rejected(p, level + 1e-9, method)[i]
        if level > 1e-6:
            assert not reference.rejected(p, level - 1e-9, method)[i]


# Laws


@given(corpora(), SEEDS)
def test_the_same_seed_gives_the_same_and_the_input_is_unchanged(corpus, seed) -> None:
    c, base, n = corpus
    for array in corpus:
        array.flags.writeable = False
    for method in ("percentile", "bca"):
        a, b = (bootstrap_ci(c, n, resamples=30, seed=seed, method=method) for _ in range(2))
        assert np.array_equal(a.low, b.low, equal_nan=True)
        assert np.array_equal(a.high, b.high, equal_nan=True)
    a, b = (paired_permutation_test(c - base, n, resamples=30, seed=seed) for _ in range(2))
    assert np.array_equal(a.p, b.p, equal_nan=True)


def test_another_seed_gives_another_draw() -> None:
    x = np.random.default_rng(0).normal(size=40)
    assert bootstrap_ci(x, seed=1).low != bootstrap_ci(x, seed=2).low
    assert paired_permutation_test(x, seed=1).p != paired_permutation_test(x, seed=2).p


@given(corpora(), SEEDS)
def test_head_and_baseline_swapped_flip_the_interval(corpus, seed) -> None:
    c, base, n = corpus
    for options in ({}, {"simultaneous": True}):
        there = bootstrap_ci(c - base, n, resamples=40, seed=seed, **options)
        back = bootstrap_ci(base - c, n, resamples=40, seed=seed, **options)
        assert close(there.estimate, -back.estimate)
        assert close(there.low, -back.high)
        assert close(there.high, -back.low)


@given(corpora(), SEEDS, BOOLEANS)
def test_head_and_baseline_swapped_swap_the_alternatives(corpus, seed, step_down) -> None:
    c, base, n = corpus
    d = c - base
    options = {"resamples": 20, "seed": seed}
    greater = paired_permutation_test(d, n, **options)
    less = paired_permutation_test(-d, n, alternative="less", **options)
    assert close(greater.p, less.p, atol=0)
    greater = max_statistic_test(d, n, step_down=step_down, **options)
    less = max_statistic_test(-d, n, step_down=step_down, alternative="less", **options)
    assert close(greater.adjusted_p, less.adjusted_p, atol=0)
    assert close(greater.statistic, -less.statistic)


@pytest.mark.parametrize("copies", [4, 9])
def test_a_corpus_k_times_has_the_same_estimate_and_an_interval_narrower_by_the_root_of_k(copies) -> None:
    rng = np.random.default_rng(0)
    n = rng.integers(1, 6, size=(80, 20))
    c = rng.binomial(n, 0.5)
    once = bootstrap_ci(c, n)
    often = bootstrap_ci(np.tile(c, (copies, 1)), np.tile(n, (copies, 1)))
    assert close(once.estimate, often.estimate)
    ratios = (once.high - once.low) / (often.high - often.low)
    assert ratios.mean() == pytest.approx(copies**0.5, rel=0.04)


@given(corpora(), ALTERNATIVES, SEEDS, BOOLEANS, BOOLEANS)
def test_p_values_are_bounded_and_adjusting_raises_them(corpus, alternative, seed, studentized, step_down) -> None:
    c, base, n = corpus
    d = c - base
    options = {"alternative": alternative, "resamples": 20, "seed": seed}
    alone = paired_permutation_test(d, n, **options)
    tried = np.where(alone.exact, 2.0 ** np.minimum(alone.nonzero_units, 12), 21)
    known = ~np.isnan(alone.p)
    assert (known == (n.sum(0) > 0)).all()
    assert ((alone.p >= 1 / tried) & (alone.p <= 1))[known].all()
    test = max_statistic_test(d, n, studentized=studentized, step_down=step_down, **options)
    assert (test.adjusted_p >= test.p)[known].all()
    assert (test.adjusted_p <= 1)[known].all()
    single = max_statistic_test(d, n, studentized=studentized, **options)
    assert (test.adjusted_p <= single.adjusted_p)[known].all()


@given(corpora(), SEEDS, st.randoms(use_true_random=False))
def test_cells_in_another_order_give_the_same_in_that_order(corpus, seed, random) -> None:
    c, base, n = corpus
    order = list(range(c.shape[1]))
    random.shuffle(order)
    options = {"resamples": 20, "seed": seed}
    for more in ({}, {"method": "bca"}, {"simultaneous": True}):
        a, b = bootstrap_ci(c, n, **options, **more), bootstrap_ci(c[:, order], n[:, order], **options, **more)
        assert close(a.low[order], b.low)
        assert close(a.high[order], b.high)
    d = c - base
    a, b = paired_permutation_test(d, n, **options), paired_permutation_test(d[:, order], n[:, order], **options)
    assert close(a.p[order], b.p, atol=0)
    for step_down in (False, True):
        a = max_statistic_test(d, n, step_down=step_down, **options)
        b = max_statistic_test(d[:, order], n[:, order], step_down=step_down, **options)
        assert close(a.adjusted_p[order], b.adjusted_p, atol=0)


@given(corpora(), SEEDS)
def test_a_cell_does_not_depend_on_the_others(corpus, seed) -> None:
    c, base, n = corpus
    both = bootstrap_ci(c, n, resamples=20, seed=seed)
    one = bootstrap_ci(c[:, 0], n[:, 0], resamples=20, seed=seed)
    assert close(both.low[0], one.low)
    test = paired_permutation_test(c - base, n, resamples=20, seed=seed)
    assert close(test.p[0], paired_permutation_test((c - base)[:, 0], n[:, 0], resamples=20, seed=seed).p)


@given(corpora(), SEEDS, st.sampled_from(("csr", "csc", "coo", "lil")))
def test_sparse_is_dense(corpus, seed, kind) -> None:
    c, base, n = corpus
    d = c - base

    def sparse(x):
        return scipy.sparse.coo_array(x).asformat(kind)

    options = {"resamples": 20, "seed": seed}
    for bottom in (n, sparse(n)):
        for more in ({}, {"method": "bca"}, {"simultaneous": True}):
            a, b = bootstrap_ci(c, n, **options, **more), bootstrap_ci(sparse(c), bottom, **options, **more)
            for name in ("estimate", "low", "high", "standard_error", "units_with_data", "empty_resamples"):
                assert close(getattr(a, name), getattr(b, name)), name
        a, b = paired_permutation_test(d, n, **options), paired_permutation_test(sparse(d), bottom, **options)
        for name in ("estimate", "p", "exact", "nonzero_units", "units_with_data"):
            assert close(getattr(a, name), getattr(b, name)), name
        for more in ({}, {"studentized": False}, {"step_down": True}):
            a = max_statistic_test(d, n, **options, **more)
            b = max_statistic_test(sparse(d), bottom, **options, **more)
            for name in ("estimate", "statistic", "p", "adjusted_p", "exact", "nonzero_units"):
                assert close(getattr(a, name), getattr(b, name)), name
    per_unit = n.max(1)
    assert close(bootstrap_ci(c, per_unit, **options).low, bootstrap_ci(sparse(c), per_unit, **options).low)


@given(corpora(), SEEDS, st.sampled_from((0.001, 7.3)))
def test_a_scale_of_the_differences_changes_no_p(corpus, seed, scale) -> None:
    c, base, n = corpus
    a = max_statistic_test(c - base, n, resamples=20, seed=seed)
    b = max_statistic_test((c - base) * scale, n, resamples=20, seed=seed)
    assert close(a.adjusted_p, b.adjusted_p, atol=0)
    assert close(a.p, b.p, atol=0)


@given(P_VALUES, METHODS, st.randoms(use_true_random=False))
def test_adjusting_keeps_the_order_and_raises(p, method, random) -> None:
    p = np.array(p)
    adjusted = adjust_pvalues(p, method=method)
    assert (adjusted >= p - 1e-15).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= -1e-15).all()
    order = list(range(len(p)))
    random.shuffle(order)
    assert close(adjust_pvalues(p[order], method=method), adjusted[order], atol=1e-15)
    assert (adjust_pvalues(p) <= adjust_pvalues(p, method="bonferroni") + 1e-15).all()
