"""Distances between heads: laws that hold for every map, and agreement with the slow reference."""

from __future__ import annotations

import itertools
import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertattn import AttentionTensor, Extractor, demo
from bertattn.clustering import (
    HeadDistances,
    cluster_heads,
    compare_geometries,
    embed_heads,
    head_distances,
    js_divergence,
    label_behaviors,
    layer_closeness,
    pairwise_js,
)
from bertattn.statistics import Moments, Summary
from bertattn.testing import attention_tensors, axes
from reference import clustering as reference

KERNELS = ("torch", "numpy", "numba") if find_spec("numba") else ("torch", "numpy")
ANY = attention_tensors(empty_rows=True, gaps=True, square=False, max_heads=4)
DEFINED = attention_tensors(min_tokens=2, max_heads=4, causal=False)
SMOOTHING = st.sampled_from((0.0, 0.001, 0.25))
WEIGHTING = st.sampled_from(("query", "sequence"))
SQRT = st.booleans()
SEEDS = st.integers(0, 2**32 - 1)


def close(found, expected, atol=1e-9):
    return np.allclose(found, expected, rtol=0, atol=atol, equal_nan=True)


def flat(a):
    """`[head, query, key]`: all heads of all layers."""
    return a.weights.reshape(-1, *a.weights.shape[2:])


def heads_in_order(a, order):
    """One layer of these heads, by their numbers in `flat`."""
    return AttentionTensor(flat(a)[None, list(order)], a.queries, a.keys)


def random_maps(rng, shape):
    """Rows between uniform and one-hot, now and then one without mass."""
    logits = rng.standard_normal(shape) * rng.choice((0.0, 1.0, 8.0, 400.0), (*shape[:3], 1))
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    weights[rng.random(shape[:3]) < rng.choice((0.0, 0.3))] = np.nan
    return weights


def of_points(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def near_exact(p, exact, permutations):
    """Whether a p-value of drawn permutations is what that of all of them leads to expect."""
    return abs(p - exact) < 4 * math.sqrt(exact * (1 - exact) / permutations) + 2 / permutations


@st.composite
def corpora(draw, max_sequences=4):
    """Sequences of the same layers and heads."""
    layers, heads = draw(st.sampled_from(((1, 1), (1, 3), (2, 2))))
    frames = draw(st.lists(axes(max_tokens=5), min_size=1, max_size=max_sequences))
    rng = np.random.default_rng(draw(SEEDS))
    return [AttentionTensor(random_maps(rng, (layers, heads, len(f), len(f))), f) for f in frames]


@st.composite
def distances(draw, min_heads=3, max_heads=6):
    """Square matrices of distances between points, no two of them equal."""
    n = draw(st.integers(min_heads, max_heads))
    return of_points(np.random.default_rng(draw(SEEDS)).random((n, 3)))


def ordinary(axis):
    return ~axis.special


# Agreement with the slow reference


@given(DEFINED, SMOOTHING)
def test_the_divergence_of_two_rows_agrees_with_the_reference(a, smoothing):
    rows = flat(a).reshape(-1, a.shape[-1])
    found = js_divergence(rows[:, None], rows[None], smoothing=smoothing)
    expected = [[reference.js(p, q, smoothing) for q in rows] for p in rows]
    assert close(found, expected, 1e-12)
    roots = np.sqrt(np.maximum(expected[0], 0))
    assert close(js_divergence(rows[0], rows, smoothing=smoothing, sqrt=True), roots, 1e-7)


@pytest.mark.parametrize("kernel", KERNELS)
@given(ANY, SMOOTHING, st.sampled_from(("mean", "sum")), st.data())
def test_all_pairs_of_heads_agree_with_the_reference(kernel, a, smoothing, aggregate, data):
    n = len(a.queries)
    queries = data.draw(st.none() | st.lists(st.booleans(), min_size=n, max_size=n))
    options = {"queries": queries, "smoothing": smoothing, "aggregate": aggregate}
    expected = reference.pairwise(flat(a), **options)
    assert close(pairwise_js(a, kernel=kernel, **options), expected)
    root = pairwise_js(a, kernel=kernel, sqrt=True, **options)
    assert close(root, np.sqrt(np.maximum(expected, 0)), 1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_each_pair_counts_the_queries_at_which_both_heads_have_mass(kernel):
    weights = np.random.default_rng(0).dirichlet(np.ones(5), (2, 2, 5))
    for head, empty in enumerate(([], [0], [0, 1, 2], [0, 1, 2, 3, 4])):
        weights.reshape(4, 5, 5)[head, empty] = np.nan
    a = AttentionTensor(weights, list("abcde"))
    assert close(pairwise_js(a, kernel=kernel), reference.pairwise(flat(a)))
    found = head_distances([a], kernel=kernel)
    assert close(found.matrix(), reference.corpus_mean([flat(a)]))
    assert found.table.missing.tolist() == [0, 0, 1, 0, 1, 1]


@pytest.mark.parametrize("kernel", KERNELS)
@given(corpora(), SMOOTHING, WEIGHTING, st.booleans())
def test_distances_over_a_corpus_agree_with_the_reference(kernel, stream, smoothing, weighting, masked):
    found = head_distances(
        stream, queries=ordinary if masked else None, smoothing=smoothing, weighting=weighting, kernel=kernel
    )
    corpus = [flat(a) for a in stream]
    queries = [ordinary(a.queries).tolist() for a in stream] if masked else None
    options = {"queries": queries, "smoothing": smoothing, "weighting": weighting}
    assert close(found.matrix(), reference.corpus_mean(corpus, **options))
    assert close(found.matrix(sqrt=True), np.sqrt(np.maximum(reference.corpus_mean(corpus, **options), 0)), 1e-6)
    assert close(found.standard_error(), reference.corpus_error(corpus, **options), 1e-8)
    if weighting == "query":
        assert close(found.matrix(aggregate="sum"), reference.corpus_sum(corpus, queries, smoothing))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 1, 1), (5, 3, 2731), (17, 70, 117), (33, 2, 9)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_more_heads_and_columns_than_one_block_holds_agree_with_row_by_row(kernel, shape, dtype):
    weights = np.nan_to_num(random_maps(np.random.default_rng(0), (1, *shape)), nan=1 / shape[2]).astype(dtype)
    a = AttentionTensor(weights, ["q"] * shape[1], ["k"] * shape[2])
    expected = js_divergence(flat(a)[:, None], flat(a)[None]).mean(-1)
    assert close(pairwise_js(a, kernel=kernel), expected, 1e-6 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("keys", [9, 100, 117, 128, 300])
def test_equal_weights_do_not_add_up_their_rounding(kernel, keys):
    """A uniform head has all weights alike, so that in single precision all of its terms are rounded the same way."""
    weights = np.stack([np.full((70, keys), 1 / keys), np.eye(keys)[np.arange(70) % keys]])[None]
    a = AttentionTensor(weights.astype(np.float32), ["q"] * 70, ["k"] * keys)
    assert pairwise_js(a, kernel=kernel)[0, 1] == pytest.approx(reference.js(*weights[0, :, 0]), abs=1e-6)


@given(corpora(), WEIGHTING)
def test_the_error_of_the_root_is_that_of_the_mean_over_twice_the_root(stream, weighting):
    found = head_distances(stream, weighting=weighting)
    mean = found.matrix()
    wanted = mean > 1e-6
    expected = found.standard_error()[wanted] / (2 * np.sqrt(mean[wanted]))
    assert close(found.standard_error(sqrt=True)[wanted], expected)


def test_smoothed_values_of_the_released_code():
    one, many = np.eye(128), np.full(128, 1 / 128)
    assert float(js_divergence(one[0], one[1], smoothing=0.001)) == pytest.approx(0.69237, abs=5e-6)
    assert reference.js(one[0], one[1], 0.001) == pytest.approx(0.69237, abs=5e-6)
    assert reference.js(np.eye(8)[0], np.eye(8)[1], 0.001) == pytest.approx(0.69138, abs=5e-6)
    assert reference.js(one[0], many, 0.001) == pytest.approx(0.66635, abs=5e-6)


# Bounds, and what makes it a distance


@pytest.mark.parametrize("kernel", KERNELS)
@given(ANY, SMOOTHING)
def test_distances_are_symmetric_from_0_to_ln_2_and_0_to_oneself(kernel, a, smoothing):
    found = pairwise_js(a, smoothing=smoothing, kernel=kernel)
    assert found.dtype == np.float64
    assert np.array_equal(found, found.T, equal_nan=True)
    assert (np.diag(found) == 0).all()
    known = found[~np.isnan(found)]
    assert (known >= 0).all()
    assert (known <= math.log(2) + 1e-9).all()


@given(DEFINED)
def test_rows_are_symmetric_from_0_to_ln_2_and_0_to_themselves(a):
    rows = flat(a).reshape(-1, a.shape[-1])
    found = js_divergence(rows[:, None], rows[None])
    assert close(found, found.T, 1e-15)
    assert close(np.diag(found), 0, 1e-15)
    assert (found >= 0).all()
    assert (found <= math.log(2) + 1e-12).all()


@given(DEFINED)
def test_the_root_obeys_the_triangle_inequality_row_by_row_and_in_the_mean(a):
    rows = flat(a).reshape(-1, a.shape[-1])[:12]
    for d in (js_divergence(rows[:, None], rows[None], sqrt=True), pairwise_js(a, sqrt=True)):
        for i, j, k in itertools.permutations(range(len(d)), 3):
            assert d[i, j] <= d[i, k] + d[k, j] + 1e-7


@given(corpora(), WEIGHTING)
def test_the_root_over_a_corpus_is_a_euclidean_distance(stream, weighting):
    """JS is a squared distance in a Hilbert space, and a mean of such is one: classical MDS finds nothing negative."""
    complete = [AttentionTensor(np.where(np.isnan(a.weights), 1 / a.shape[-1], a.weights), a.queries) for a in stream]
    d = head_distances(complete, weighting=weighting).matrix(sqrt=True)
    _, eigenvalues = reference.classical_mds(d, 1)
    assert min(eigenvalues) >= -1e-9


@given(DEFINED, st.data())
def test_merging_two_keys_brings_heads_nearer(a, data):
    i = data.draw(st.integers(0, a.shape[-1] - 2))
    merged = np.concatenate(
        [a.weights[..., :i], a.weights[..., i : i + 2].sum(-1, keepdims=True), a.weights[..., i + 2 :]], -1
    )
    b = AttentionTensor(merged, a.queries, a.keys.select([j for j in range(a.shape[-1]) if j != i + 1]))
    assert (pairwise_js(b) <= pairwise_js(a) + 1e-9).all()


@given(DEFINED)
def test_averaged_rows_are_nearer_than_rows_on_average(a):
    mean = AttentionTensor(a.weights.mean(2, keepdims=True), a.queries.select([0]), a.keys)
    assert (pairwise_js(mean) <= pairwise_js(a) + 1e-9).all()


@given(ANY, st.sampled_from((0.001, 0.25)))
def test_smoothing_brings_heads_nearer(a, smoothing):
    exact = pairwise_js(a)
    found = pairwise_js(a, smoothing=smoothing)
    known = ~np.isnan(exact)
    assert np.array_equal(known, ~np.isnan(found))
    assert (found[known] <= (1 - smoothing) * exact[known] + 1e-9).all()


# What must not matter


@pytest.mark.parametrize("kernel", KERNELS)
@given(ANY, st.randoms(use_true_random=False))
def test_the_order_of_keys_and_of_queries_does_not_matter(kernel, a, random):
    keys = random.sample(range(len(a.keys)), len(a.keys))
    queries = random.sample(range(len(a.queries)), len(a.queries))
    moved = a.weights[..., queries, :][..., keys]
    b = AttentionTensor(moved, list("abcdefgh")[: len(queries)], list("abcdefgh")[: len(keys)])
    assert close(pairwise_js(b, kernel=kernel), pairwise_js(a, kernel=kernel))


@pytest.mark.parametrize("kernel", KERNELS)
@given(ANY, st.randoms(use_true_random=False))
def test_renumbered_heads_renumber_the_matrix(kernel, a, random):
    heads = len(flat(a))
    order = random.sample(range(heads), heads)
    found = pairwise_js(heads_in_order(a, order), kernel=kernel)
    assert close(found, pairwise_js(a, kernel=kernel)[np.ix_(order, order)], 1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@given(ANY, SMOOTHING)
def test_a_head_and_its_double_are_at_0_and_equally_far_from_the_others(kernel, a, smoothing):
    heads = len(flat(a))
    found = pairwise_js(heads_in_order(a, [*range(heads), 0]), smoothing=smoothing, kernel=kernel)
    undefined = np.isnan(flat(a)[0]).all()
    assert np.isnan(found[0, heads]) if undefined else abs(found[0, heads]) <= 1e-9
    assert close(found[0, 1:heads], found[heads, 1:heads], 1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@given(ANY)
def test_single_precision_gives_what_double_precision_gives(kernel, a):
    single = a.weights.astype(np.float32)
    double = single.astype(np.float64)
    double /= double.sum(-1, keepdims=True)
    found = pairwise_js(AttentionTensor(single, a.queries, a.keys), kernel=kernel)
    assert found.dtype == np.float64
    assert close(found, pairwise_js(AttentionTensor(double, a.queries, a.keys), kernel=kernel), 1e-6)


@given(ANY, SMOOTHING, SQRT)
def test_torch_gives_what_numpy_gives(a, smoothing, sqrt):
    b = AttentionTensor(torch.from_numpy(a.weights.copy()), a.queries, a.keys)
    found = pairwise_js(b, smoothing=smoothing, sqrt=sqrt)
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float64
    assert close(found.numpy(), pairwise_js(a, smoothing=smoothing, sqrt=sqrt), 1e-12)
    rows = js_divergence(b.weights[0, 0], b.weights[0, -1], smoothing=smoothing, sqrt=sqrt)
    assert isinstance(rows, torch.Tensor)
    assert close(rows.numpy(), js_divergence(a.weights[0, 0], a.weights[0, -1], smoothing=smoothing, sqrt=sqrt), 1e-12)
    one, other = (head_distances([x], smoothing=smoothing) for x in (a, b))
    assert close(one.matrix(), other.matrix(), 1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@given(ANY, SMOOTHING)
def test_the_input_stays_as_it_was(kernel, a, smoothing):
    before = a.weights.copy()
    b = AttentionTensor(torch.from_numpy(before.copy()), a.queries, a.keys)
    assert not a.weights.flags.writeable
    for x in (a, b):
        pairwise_js(x, smoothing=smoothing, kernel=kernel)
        head_distances([x], smoothing=smoothing, kernel=kernel)
        js_divergence(x.weights[0, 0], x.weights[0, -1], smoothing=smoothing)
    assert np.array_equal(a.weights, before, equal_nan=True)
    assert np.array_equal(b.weights.numpy(), before, equal_nan=True)


# Corpora


@given(corpora(), st.integers(0, 4), WEIGHTING, SMOOTHING)
def test_merged_shards_are_as_good_as_one_pass(stream, cut, weighting, smoothing):
    options = {"weighting": weighting, "smoothing": smoothing}
    whole = head_distances(stream, **options)
    parts = [head_distances(part, **options) for part in (stream[:cut], stream[cut:]) if part]
    for merged in (sum(parts), sum(reversed(parts))):
        assert isinstance(merged, HeadDistances)
        assert merged.sequences == whole.sequences == len(stream)
        assert merged.queries == whole.queries
        assert close(merged.matrix(), whole.matrix(), 1e-12)
        assert close(merged.standard_error(), whole.standard_error(), 1e-9)
        assert np.array_equal(merged.table.count, whole.table.count)
        assert np.array_equal(merged.table.missing, whole.table.missing)


@given(corpora())
def test_sums_add_over_documents(stream):
    total = head_distances(stream).matrix(aggregate="sum")
    each = [pairwise_js(a, aggregate="sum") for a in stream]
    undefined = np.all(np.isnan(each), axis=0)
    assert close(total, np.where(undefined, np.nan, np.nansum(each, axis=0)))


@given(corpora(), WEIGHTING)
def test_a_corpus_twice_over_has_the_same_means(stream, weighting):
    once, twice = head_distances(stream, weighting=weighting), head_distances(stream * 2, weighting=weighting)
    assert close(twice.matrix(), once.matrix(), 1e-12)
    if weighting == "query":
        assert close(twice.matrix(aggregate="sum"), 2 * once.matrix(aggregate="sum"))


@given(corpora())
def test_selected_heads_have_the_distances_they_had_among_all(stream):
    found = head_distances(stream)
    last = found.select(layers=[found.layers[-1]])
    places = [i for i, (layer, _) in enumerate(found.places) if layer == found.layers[-1]]
    assert last.names == tuple(found.names[i] for i in places)
    assert np.array_equal(last.matrix(), found.matrix()[np.ix_(places, places)], equal_nan=True)


@given(corpora())
def test_the_nearest_heads_come_in_order(stream):
    found = head_distances(stream)
    for i, name in enumerate(found.names):
        row = np.delete(found.matrix()[i], i)
        expected = np.sort(row[~np.isnan(row)])
        assert close([near.distance for near in found.nearest(name, k=99)], expected, 1e-15)


@pytest.fixture(scope="module")
def extractor():
    if find_spec(demo.PACKAGE) is None:
        pytest.skip("the extra `demo` is not installed")
    return Extractor.from_pretrained(demo.model_path(), device="cpu")


def test_padding_and_batching_do_not_matter(extractor):
    texts = ["The cat sat.", "Where the dog slept nobody knew, and nobody asked.", "Yes."]
    alone = head_distances([extractor(text) for text in texts])
    for batch_size in (1, 3):
        found = head_distances(extractor.extract(texts, batch_size=batch_size))
        assert close(found.matrix(), alone.matrix(), 1e-5)
        assert found.queries == alone.queries
    few = [extractor(text) for text in texts[:1]]
    some = list(range(0, 72, 9))
    expected = reference.pairwise(flat(few[0]).numpy()[some])
    for kernel in KERNELS:
        assert close(head_distances(few, kernel=kernel).matrix()[np.ix_(some, some)], expected, 1e-6)


# Embeddings, clusters, permutations


@given(distances(), st.integers(1, 3))
def test_classical_scaling_agrees_with_the_reference(d, dimensions):
    dimensions = min(dimensions, len(d) - 1)
    points, _ = reference.classical_mds(d, dimensions)
    found = embed_heads(d, method="classical", dimensions=dimensions)
    assert found.coordinates.shape == (len(d), dimensions)
    between = [[reference.distance(p, q) for q in found.coordinates] for p in found.coordinates]
    assert close(between, [[reference.distance(p, q) for q in points] for p in points], 1e-7)
    assert found.stress == pytest.approx(reference.stress(points, d), abs=1e-7)
    assert found.stress == pytest.approx(reference.stress(found.coordinates, d), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_metric_scaling_tells_its_own_stress_and_beats_classical_scaling(seed):
    d = of_points(np.random.default_rng(seed).random((9, 4)))
    found = embed_heads(d, method="metric")
    assert found.stress == pytest.approx(reference.stress(found.coordinates, d), abs=1e-12)
    assert found.stress <= reference.stress(reference.classical_mds(d, 2)[0], d)


@given(distances(), st.sampled_from(("average", "complete", "single")), st.data())
def test_clusters_agree_with_the_reference(d, linkage, data):
    number = data.draw(st.integers(2, len(d) - 1))
    found = cluster_heads(d, clusters=number, linkage=linkage)
    labels = [int(label) for label in found.labels]
    members = {frozenset(i for i, own in enumerate(labels) if own == label) for label in labels}
    assert members == reference.partition(d, number, linkage)
    sizes = [labels.count(label) for label in range(1, number + 1)]
    assert sizes == sorted(sizes, reverse=True)
    assert close(found.tree[:, 2], [height for _, height in reference.merges(d, linkage)])
    assert found.cophenetic == pytest.approx(reference.cophenetic_correlation(d, linkage), abs=1e-9)
    assert close(found.silhouettes, reference.silhouette(d, labels))


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_the_closeness_of_layers_agrees_with_all_permutations(shape, seed):
    d = of_points(np.random.default_rng(seed).random((math.prod(shape), 3)))
    layers = [i // shape[1] for i in range(len(d))]
    found = layer_closeness(d, shape=shape, permutations=1999)
    assert found.difference == pytest.approx(reference.layer_gap(d, layers), abs=1e-12)
    assert near_exact(found.p, reference.layer_gap_p(d, layers), 1999)


@pytest.mark.parametrize("sqrt", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_compared_geometries_agree_with_all_permutations(sqrt, seed):
    a, b = (of_points(np.random.default_rng([seed, i]).random((5, 3))) for i in range(2))
    found = compare_geometries(a, b, sqrt=sqrt, permutations=1999)
    used = [np.sqrt(d) if sqrt else d for d in (a, b)]
    points = [reference.classical_mds(d, 2)[0] for d in used]
    assert found.disparity == pytest.approx(reference.procrustes(*points), abs=1e-7)
    assert found.mantel == pytest.approx(reference.mantel(*used), abs=1e-9)
    assert near_exact(found.disparity_p, reference.procrustes_p(*points), 1999)
    assert near_exact(found.mantel_p, reference.mantel_p(*used), 1999)


STATISTICS = ("next", "previous", "cls", "sep", "bos", "eos", "punctuation", "entropy", "uniform_entropy")


@given(SEEDS, st.dictionaries(st.sampled_from(("1-1", "2-3")), st.sampled_from(("det", "dobj"))))
def test_labels_agree_with_the_order_of_the_released_code(seed, linguistic):
    rng = np.random.default_rng(seed)
    table = np.where(rng.random((9, 2, 3)) < 0.2, np.nan, rng.random((9, 2, 3)))
    table[[4, 5]], table[7], table[8] = np.nan, 4.85 * table[7], math.log(128)  # no [BOS], [EOS] in BERT
    summary = Summary(layers=(0, 1), heads=(0, 1, 2), statistics=STATISTICS, table=Moments.of(table), sequences=1)
    found = label_behaviors(summary, entropy=3.8, linguistic=linguistic)
    as_share = label_behaviors(summary, linguistic=linguistic)
    assert as_share.labels == found.labels
    for i, name in enumerate(found.names):
        layer, head = divmod(i, 3)
        values = {statistic: float(table[k, layer, head]) for k, statistic in enumerate(STATISTICS)}
        label, flags = reference.behaviour(values, linguistic.get(name))
        assert found.labels[i] == label
        assert {behavior for behavior, flag in found.flags.items() if flag[i]} == flags
