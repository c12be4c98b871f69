"""Patterns: laws that hold for every tensor, and agreement with the slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertattn import AttentionTensor, patterns
from bertattn.testing import attention_tensors
from reference import patterns as reference

ANY = attention_tensors(empty_rows=True, gaps=True, square=False) | attention_tensors(empty_rows=True, gaps=True)
SQUARE = attention_tensors()
METRICS = {
    "offset": lambda a: patterns.attention_to_offset(a, -1),
    "special": lambda a: patterns.attention_to_special(a, "sep"),
    "punctuation": patterns.attention_to_punctuation,
    "entropy": patterns.entropy,
    "uniform_entropy": patterns.uniform_entropy,
    "normalized_entropy": patterns.normalized_entropy,
    "perplexity": patterns.perplexity,
    "max_weight": patterns.max_weight,
    "mean_distance": patterns.mean_distance,
    "sink_mass": lambda a: patterns.sink_mass(a, position=1),
    "sink_rate": patterns.sink_rate,
    "previous_token": lambda a: patterns.previous_token_score(a, side="both"),
    "duplicate_token": lambda a: patterns.duplicate_token_score(a, side="both"),
    "induction": lambda a: patterns.induction_score(a, side="both"),
}


def close(found, expected, atol=1e-12):
    return np.allclose(found, expected, rtol=0, atol=atol, equal_nan=True)


def roles(axis):
    return axis.roles or (None,) * len(axis)


@given(ANY, st.data())
def test_every_metric_agrees_with_the_slow_reference(a, data):
    w, q, k = a.weights, a.queries.position_array, a.keys.position_array
    query_roles, key_roles = roles(a.queries), roles(a.keys)
    offset = data.draw(st.integers(-4, 4))
    keys = data.draw(st.lists(st.booleans(), min_size=len(k), max_size=len(k)))
    queries = data.draw(st.lists(st.booleans(), min_size=len(q), max_size=len(q)))
    side = data.draw(st.sampled_from(("past", "future", "both")))
    denominator = data.draw(st.sampled_from(("n", "available")))
    position = data.draw(st.integers(0, 4))
    available = denominator == "available"
    frame = (q, k, query_roles, key_roles, side, available)
    texts = (a.queries.tokens, a.keys.tokens)
    options = {"side": side, "denominator": denominator}
    pairs = {
        "offset": (
            patterns.attention_to_offset(a, offset, denominator=denominator),
            reference.to_offset(w, q, k, offset, available),
        ),
        "to": (patterns.attention_to(a, keys, queries=queries), reference.to_class(w, keys, queries)),
        "special": (
            patterns.attention_to_special(a, "sep", queries=queries),
            reference.to_role(w, key_roles, "sep", queries),
        ),
        "entropy": (patterns.entropy(a, queries=queries), reference.entropy(w, queries)),
        "smoothed": (patterns.entropy(a, smoothing=0.01), reference.entropy(w, smoothing=0.01)),
        "uniform": (patterns.uniform_entropy(a), reference.uniform_entropy(w, q, k)),
        "normalized": (patterns.normalized_entropy(a), reference.normalized_entropy(w, q, k)),
        "perplexity": (patterns.perplexity(a), reference.perplexity(w)),
        "max": (patterns.max_weight(a), reference.max_weight(w)),
        "distance": (patterns.mean_distance(a), reference.mean_distance(w, q, k)),
        "sink": (patterns.sink_mass(a, position=position), reference.sink_mass(w, q, k, position)),
        "previous": (patterns.previous_token_score(a, **options), reference.previous_token(w, *frame)),
        "duplicate": (patterns.duplicate_token_score(a, **options), reference.duplicate_token(w, *texts, *frame)),
        "induction": (patterns.induction_score(a, **options), reference.induction(w, *texts, *frame)),
    }
    for name, (found, expected) in pairs.items():
        assert close(found, expected), (name, found, expected)


@given(ANY)
def test_torch_in_single_precision_gives_what_numpy_gives(a):
    single = a.weights.astype(np.float32)
    b = AttentionTensor(torch.from_numpy(single), a.queries, a.keys)
    c = AttentionTensor(single, a.queries, a.keys)
    for name, metric in METRICS.items():
        found = metric(b)
        assert isinstance(found, torch.Tensor), name
        assert found.dtype == torch.float64, name
        assert close(found.numpy(), metric(c), 1e-5), name
    patterns_of_torch, patterns_of_numpy = patterns.surface_patterns(b), patterns.surface_patterns(c)
    for name, values in patterns_of_numpy.items():
        assert close(patterns_of_torch[name].numpy(), values, 1e-4 if name == "perplexity" else 1e-5), name


@given(ANY, st.randoms(use_true_random=False))
def test_renumbered_heads_renumber_every_result(a, random):
    heads = a.shape[1]
    order = random.sample(range(heads), heads)
    b = AttentionTensor(a.weights[:, order], a.queries, a.keys)
    for name, metric in METRICS.items():
        assert np.array_equal(metric(b), metric(a)[:, order], equal_nan=True), name
    for name, values in patterns.surface_patterns(a).items():
        assert np.array_equal(patterns.surface_patterns(b)[name], values[:, order], equal_nan=True), name


@given(ANY)
def test_the_input_stays_as_it_was(a):
    before = a.weights.copy()
    b = AttentionTensor(torch.from_numpy(before.copy()), a.queries, a.keys)
    assert not a.weights.flags.writeable
    for metric in (*METRICS.values(), patterns.surface_patterns):
        metric(a)
        metric(b)
    assert np.array_equal(a.weights, before, equal_nan=True)
    assert np.array_equal(b.weights.numpy(), before, equal_nan=True)


@given(attention_tensors(min_tokens=2, causal=False, empty_rows=True), st.data())
def test_a_block_of_queries_has_the_rows_of_the_whole(a, data):
    n = len(a.queries)
    start = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(start + 1, n))
    block = AttentionTensor(a.weights[:, :, start:stop], a.queries.select(range(start, stop)), a.keys)
    for offset in (-2, -1, 0, 1):
        whole = patterns.attention_to_offset.rows(a, offset)[..., start:stop]
        assert np.array_equal(patterns.attention_to_offset.rows(block, offset), whole, equal_nan=True)
    for metric in (patterns.entropy, patterns.mean_distance, patterns.attention_to_punctuation):
        assert np.array_equal(metric.rows(block), metric.rows(a)[..., start:stop], equal_nan=True), metric.__name__


@given(SQUARE)
def test_all_offsets_together_hold_all_the_mass(a):
    n = len(a.queries)
    total = sum(patterns.attention_to_offset(a, offset) for offset in range(-n + 1, n))
    assert close(total, 1.0)


@given(ANY, st.data())
def test_classes_that_part_the_keys_hold_all_the_mass(a, data):
    n = len(a.keys)
    numbers = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    total = sum(patterns.attention_to(a, numbers == c) for c in range(3))
    assert close(total, np.where(np.isnan(a.weights[..., 0]).all(-1), np.nan, 1.0))


@given(attention_tensors(min_tokens=2, square=False))
def test_entropy_lies_between_0_and_ln_n_and_smoothing_moves_it_up_by_its_bounds(a):
    most = np.log(len(a.keys))
    exact = patterns.entropy(a)
    assert (exact >= -1e-15).all()
    assert (exact <= most + 1e-12).all()
    smoothed = patterns.entropy(a, smoothing=1e-4)
    assert (smoothed >= 0.9999 * exact + 0.0001 * most - 1e-12).all()
    assert (smoothed <= most + 1e-12).all()


@given(attention_tensors(min_tokens=2, causal=False), st.randoms(use_true_random=False))
def test_entropy_does_not_ask_for_the_order_of_keys(a, random):
    order = random.sample(range(len(a.keys)), len(a.keys))
    b = AttentionTensor(a.weights[..., order], a.queries, list("abcdefgh")[: len(a.keys)])
    assert close(patterns.entropy(b), patterns.entropy(a))


@given(attention_tensors(min_tokens=2, causal=False))
def test_the_entropy_of_averaged_rows_is_at_least_the_average_entropy(a):
    mean = a.weights.mean(2, keepdims=True)
    b = AttentionTensor(mean, a.queries.select([0]), a.keys)
    assert (patterns.entropy(b) >= patterns.entropy(a) - 1e-12).all()


@given(attention_tensors(min_tokens=2, causal=False), st.data())
def test_merging_two_keys_never_raises_entropy(a, data):
    n = len(a.keys)
    i = data.draw(st.integers(0, n - 2))
    merged = np.concatenate(
        [a.weights[..., :i], a.weights[..., i : i + 2].sum(-1, keepdims=True), a.weights[..., i + 2 :]], -1
    )
    b = AttentionTensor(merged, a.queries, a.keys.select([j for j in range(n) if j != i + 1]))
    assert (patterns.entropy(b) <= patterns.entropy(a) + 1e-12).all()


@given(attention_tensors(min_tokens=4), st.floats(0, 1), st.floats(0, 1))
def test_the_sink_rate_falls_with_its_threshold(a, one, other):
    low, high = sorted((one, other))
    assert (patterns.sink_rate(a, threshold=low) >= patterns.sink_rate(a, threshold=high)).all()


@given(SQUARE)
def test_scores_of_distributions_are_shares(a):
    for name in ("previous_token", "duplicate_token", "induction", "sink_mass", "max_weight", "offset"):
        found = METRICS[name](a)
        inside = (found >= 0) & (found <= 1 + 1e-12)
        assert (inside | np.isnan(found)).all(), name


@given(attention_tensors(causal=True))
def test_entropy_of_a_causal_map_stays_below_its_uniform_baseline(a):
    assert (patterns.entropy(a) <= patterns.uniform_entropy(a) + 1e-12).all()
    shares = patterns.normalized_entropy(a)
    assert ((shares <= 1 + 1e-12) | np.isnan(shares)).all()


@pytest.mark.parametrize("name", ["uniform_entropy", "entropy"])
@given(a=attention_tensors(empty_rows=True, gaps=True))
def test_the_mean_is_that_of_the_rows(name, a):
    metric = getattr(patterns, name)
    rows = metric.rows(a)
    assert rows.shape == a.shape[:3]
    counted = ~np.isnan(rows)
    expected = np.where(counted, rows, 0).sum(-1) / np.where(counted.any(-1), counted.sum(-1), np.nan)
    assert close(metric(a), expected)
