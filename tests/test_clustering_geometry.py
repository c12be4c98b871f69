"""Tests of geometries: statistics by hand, p-values against all permutations, uniform under the null, and edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.stats import spearmanr

from bertattn import AttentionTensor
from bertattn.clustering import (
    compare_geometries,
    embed_heads,
    geometry,
    head_distances,
    layer_closeness,
)
from bertattn.errors import ValidationError
from bertattn.tensor import Source


def between(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points, axis=-1)


def line(*places: float) -> np.ndarray:
    return between(np.array(places, dtype=float)[:, None])


def points(heads: int, seed: int, dimensions: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(heads, dimensions))


def distances_of(weights: np.ndarray, model: str | None = None) -> object:
    tokens = list("abcdefgh")[: weights.shape[-1]]
    return head_distances([AttentionTensor(weights, tokens, source=Source(model=model))])


def test_closeness_by_hand() -> None:
    """Layers {0, 1, 3} and {7, 8, 12}: within 1, 3, 2 and 1, 5, 4, and between 7, 8, 12, 6, 7, 11, 4, 5, 9."""
    found = layer_closeness(line(0, 1, 3, 7, 8, 12), shape=(2, 3), permutations=99)
    assert found.within == pytest.approx(16 / 6)
    assert found.between == pytest.approx(69 / 9)
    assert found.difference == pytest.approx(69 / 9 - 16 / 6)
    assert found.ratio == pytest.approx((69 / 9) / (16 / 6))
    np.testing.assert_allclose(found.by_layer, [2, 10 / 3])
    np.testing.assert_allclose(found.by_gap, [16 / 6, 69 / 9])
    np.testing.assert_array_equal(found.gap_pairs, [6, 9])
    assert found.to_records() == [
        {"layer": 1, "heads": 3, "within": pytest.approx(2)},
        {"layer": 2, "heads": 3, "within": pytest.approx(10 / 3)},
    ]


def test_gaps_are_differences_of_layer_numbers() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(4), size=(6, 2, 4))
    distances = distances_of(weights).select(layers=[0, 1, 5])
    found = layer_closeness(distances, sqrt=True, permutations=9)
    sums: dict[int, list[float]] = {gap: [] for gap in range(6)}
    for i, j in itertools.combinations(range(6), 2):
        gap = abs(distances.places[i][0] - distances.places[j][0])
        sums[gap].append(distances.matrix()[i, j] ** 0.5)
    np.testing.assert_allclose(found.by_gap, [np.mean(v) if v else np.nan for v in sums.values()])
    np.testing.assert_array_equal(found.gap_pairs, [3, 4, 0, 0, 4, 4])
    assert (found.layers, found.heads.tolist()) == ((0, 1, 5), [2, 2, 2])


def statistic(distances: np.ndarray, layers: tuple[int, ...]) -> float:
    same, other = [], []
    for i, j in itertools.combinations(range(len(layers)), 2):
        (same if layers[i] == layers[j] else other).append(distances[i, j])
    return float(np.mean(other) - np.mean(same))


@pytest.mark.parametrize("seed", range(4))
def test_the_p_of_closeness_is_that_of_all_permutations(seed) -> None:
    distances = between(points(6, seed))
    layers = (0, 0, 1, 1, 2, 2)
    null = np.array([statistic(distances, order) for order in set(itertools.permutations(layers))])
    exact = (null >= statistic(distances, layers) - 1e-12).mean()
    found = layer_closeness(distances, shape=(3, 2), permutations=9999)
    assert found.difference == pytest.approx(statistic(distances, layers))
    assert found.p == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 9999) + 1e-4)


def test_close_layers_have_the_smallest_p_there_is_and_far_ones_the_largest() -> None:
    close = np.repeat(10 * points(4, 0), 5, axis=0) + points(20, 1)
    assert layer_closeness(between(close), shape=(4, 5), permutations=199).p == 1 / 200
    mixed = np.tile(10 * points(5, 0), (4, 1)) + points(20, 1)
    assert layer_closeness(between(mixed), shape=(4, 5), permutations=199).p == 1


def uniform(values: np.ndarray) -> bool:
    """Whether 200 p-values lie in every quarter as often as they should, within five standard deviations."""
    quarters = np.histogram(values, bins=[0, 0.25, 0.5, 0.75, 1])[0]
    return bool((abs(quarters - 50) < 5 * np.sqrt(200 * 0.25 * 0.75)).all() and 2 <= (values <= 0.05).sum() <= 22)


def test_p_is_uniform_under_the_null() -> None:
    closeness, disparity, mantel = [], [], []
    for seed in range(200):
        distances = between(points(12, seed))
        other = between(points(12, 1000 + seed))
        closeness.append(layer_closeness(distances, shape=(3, 4), permutations=199, seed=seed).p)
        both = compare_geometries(distances, other, permutations=199, seed=seed)
        disparity.append(both.disparity_p)
        mantel.append(both.mantel_p)
    for values in map(np.array, (closeness, disparity, mantel)):
        assert uniform(values)
        assert values.min() >= 1 / 200
        assert values.max() <= 1


def test_layers_with_one_head_and_layers_all_alike() -> None:
    distances = distances_of(np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 2, 4)))
    alike = layer_closeness(np.zeros((4, 4)), shape=(2, 2), permutations=99)
    assert (alike.within, alike.between, alike.p) == (0, 0, 1)
    assert np.isnan(alike.ratio)
    with pytest.raises(ValidationError) as error:
        layer_closeness(distances.select(heads=[0]))
    assert str(error.value) == (
        "layers are compared from 2 on, of which one has 2 heads or more, but there are 3 heads in 3 layers"
    )
    with pytest.raises(ValidationError, match=r"but there are 2 heads in 1 layers$"):
        layer_closeness(distances.select(layers=[0]))
    with pytest.raises(ValidationError, match=r"^an array does not say which layer .* pass shape=\(layers, heads in "):
        layer_closeness(np.zeros((4, 4)))
    with pytest.raises(ValidationError, match=r"^permutations must be a whole number from 1, but is 0$"):
        layer_closeness(distances, permutations=0)
    for seed in (-1, 2**32):
        with pytest.raises(
            ValidationError, match=rf"^seed must be a whole number from 0 to 4294967295, but is {seed}$"
        ):
            layer_closeness(distances, seed=seed)
    with pytest.raises(ValidationError, match=r"^sqrt must be True or False, but is 'no'$"):
        layer_closeness(distances, sqrt="no")


@pytest.mark.parametrize("distance", [0.1, 0.3, 1 / 3, 0.7, 1e200])
@pytest.mark.parametrize("shape", [(2, 3), (4, 6), (12, 12)])
def test_heads_equally_far_apart_have_no_close_layers(distance, shape) -> None:
    """Every permutation gives the same difference; rounding must not decide."""
    heads = shape[0] * shape[1]
    found = layer_closeness(distance * (1 - np.eye(heads)), shape=shape, permutations=99)
    assert found.p == 1
    assert found.difference == pytest.approx(0, abs=1e-12 * distance)


def test_comparison_is_scipys() -> None:
    a, b = between(points(10, 0)), between(points(10, 0) + 0.5 * points(10, 1))
    found = compare_geometries(a, b, sqrt=False, permutations=99, dimensions=3)
    x, y, disparity = procrustes(*(embed_heads(d, method="classical", dimensions=3).coordinates for d in (a, b)))
    assert found.disparity == pytest.approx(disparity)
    np.testing.assert_allclose(found.residuals, ((x - y) ** 2).sum(1))
    assert found.residuals.sum() == pytest.approx(found.disparity)
    upper = np.triu_indices(10, 1)
    assert found.mantel == pytest.approx(spearmanr(a[upper], b[upper]).statistic)
    assert compare_geometries(a, b, permutations=9).mantel == pytest.approx(found.mantel)
    assert compare_geometries(a, b, permutations=9).disparity != pytest.approx(found.disparity)


@pytest.mark.parametrize("seed", range(3))
def test_the_p_of_a_comparison_is_that_of_all_permutations(seed) -> None:
    a, b = between(points(5, seed)), between(points(5, seed) + points(5, seed + 10))
    found = compare_geometries(a, b, sqrt=False)
    x, y = (embed_heads(d, method="classical").coordinates for d in (a, b))
    upper = np.triu_indices(5, 1)
    disparities, correlations = [], []
    for order in map(list, itertools.permutations(range(5))):
        disparities.append(procrustes(x, y[order])[2])
        correlations.append(spearmanr(a[upper], b[np.ix_(order, order)][upper]).statistic)
    for p, exact in (
        (found.disparity_p, np.mean(np.array(disparities) <= disparities[0] + 1e-12)),
        (found.mantel_p, np.mean(np.array(correlations) >= correlations[0] - 1e-12)),
    ):
        assert p == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 9999) + 1e-4)


@pytest.mark.parametrize("method", ["metric", "classical"])
def test_the_same_geometry_in_another_unit(method) -> None:
    a = between(points(12, 0, dimensions=2))
    found = compare_geometries(a, 5 * a, sqrt=False, method=method, permutations=199)
    assert found.disparity < 1e-6
    assert found.mantel == pytest.approx(1)
    assert (found.disparity_p, found.mantel_p) == (1 / 200, 1 / 200)
    assert (found.method, found.sqrt, found.dimensions) == (method, False, 2)


def test_the_head_that_moved_is_named() -> None:
    before = points(12, 0, dimensions=2)
    after = before.copy()
    after[7] += [0.0, 4.0]
    found = compare_geometries(between(before), between(after), sqrt=False, shape=(3, 4), permutations=9)
    assert found.moved(k=1) == [("2-4", found.residuals[7])]
    ranked = found.moved(k=12)
    assert [r for _, r in ranked] == sorted(found.residuals, reverse=True)
    assert found.to_records()[7] == {
        "layer": 2,
        "head": 4,
        "name": "2-4",
        "other_name": "2-4",
        "residual": found.residuals[7],
    }
    with pytest.raises(ValidationError, match=r"^k must be a whole number from 1, but is 0$"):
        found.moved(k=0)


def test_the_order_of_the_heads_does_not_matter() -> None:
    a, b = between(points(8, 0)), between(points(8, 1))
    order = np.random.default_rng(0).permutation(8)
    straight = compare_geometries(a, b, permutations=9)
    turned = compare_geometries(*(d[np.ix_(order, order)] for d in (a, b)), permutations=9)
    assert (turned.disparity, turned.mantel) == pytest.approx((straight.disparity, straight.mantel))
    np.testing.assert_allclose(turned.residuals, straight.residuals[order], atol=1e-9)
    swapped = compare_geometries(b, a, permutations=9)
    assert (swapped.disparity, swapped.mantel) == pytest.approx((straight.disparity, straight.mantel))


def test_the_seed_alone_decides_and_blocks_do_not(monkeypatch) -> None:
    a, b = between(points(9, 0)), between(points(9, 1))

    def p_values(seed: int) -> list[float]:
        both = compare_geometries(a, b, permutations=500, seed=seed)
        return [layer_closeness(a, shape=(3, 3), permutations=500, seed=seed).p, both.disparity_p, both.mantel_p]

    one = p_values(0)
    assert p_values(0) == one
    assert p_values(1) != one
    monkeypatch.setattr(geometry, "_BLOCK", 100)
    assert p_values(0) == one


def test_names_and_models_are_told() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(4), size=(2, 3, 4))
    ours, theirs = distances_of(weights, "one"), distances_of(weights[::-1], "two")
    found = compare_geometries(ours, theirs, permutations=9)
    assert found.models == ("one", "two")
    assert (found.paired_by, found.layers) == ("name", (0, 0, 0, 1, 1, 1))
    other = compare_geometries(ours, theirs.matrix(), permutations=9)
    assert (other.paired_by, other.models) == ("order", ("one", None))
    assert other.to_records()[3] == {
        "layer": 2,
        "head": 1,
        "name": "2-1",
        "other_name": "4",
        "residual": pytest.approx(found.residuals[3]),
    }
    assert "6 heads paired by order" in repr(other)


def test_geometries_without_differences_are_undefined() -> None:
    flat, equal, some = np.zeros((4, 4)), 1 - np.eye(4), between(points(4, 0))
    nothing = compare_geometries(flat, some, permutations=9)
    assert np.isnan([nothing.disparity, nothing.disparity_p, nothing.mantel, nothing.mantel_p]).all()
    assert np.isnan(nothing.residuals).all()
    regular = compare_geometries(some, equal, permutations=9, dimensions=3)
    assert np.isnan([regular.mantel, regular.mantel_p, regular.disparity_p]).all()
    assert 0 < regular.disparity < 1


@pytest.mark.parametrize("method", ["metric", "classical"])
@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_heads_equally_far_apart_say_nothing_of_others(method, noise) -> None:
    """All eigenvalues tie, so the embedding is one of many; with itself it would agree as nothing does by chance."""
    rng = np.random.default_rng(0)
    equal = 0.3 * (1 - np.eye(6)) + noise * np.triu(rng.random((6, 6)), 1)
    equal = np.triu(equal, 1) + np.triu(equal, 1).T
    for a, b in ((equal, equal), (equal, between(points(6, 0))), (between(points(6, 0)), equal)):
        found = compare_geometries(a, b, method=method, permutations=9)
        assert np.isnan([found.disparity_p, found.mantel, found.mantel_p]).all()


def test_the_unit_does_not_matter(tmp_path) -> None:
    a, b = between(points(6, 0)), between(points(6, 1))
    one = compare_geometries(a, b, permutations=np.int64(99), dimensions=np.int64(3), seed=np.uint8(4))
    large = compare_geometries(1e200 * a, 1e-200 * b, permutations=99, dimensions=3, seed=4)
    assert (large.disparity, large.mantel) == pytest.approx((one.disparity, one.mantel))
    assert (large.disparity_p, large.mantel_p) == (one.disparity_p, one.mantel_p)
    one.save(tmp_path / "one.json")
    assert type(one).load(tmp_path / "one.json") == one


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (
            line(0, 1, 2, 4),
            line(0, 1, 2),
            {},
            (
                "heads are compared one by one, but there are 4 and 3; "
                "select as many of both, such as b.select(layers=..., heads=...)"
            ),
        ),
        (line(0, 1), line(0, 1), {}, "geometries are compared from 3 heads on, but there are 2"),
        (line(0, 1), "b", {}, "distances must be HeadDistances or a square array [head, head], but are str"),
        (line(0, 1, 2), line(0, 1, 2), {"method": "t"}, "method must be one of 'metric', 'classical', but is 't'"),
        (line(0, 1, 2), line(0, 1, 2), {"dimensions": 0}, "dimensions must be a whole number from 1, but is 0"),
        (line(0, 1, 2), line(0, 1, 2), {"permutations": 0}, "permutations must be a whole number from 1, but is 0"),
        (line(0, 1, 2), line(0, 1, 2), {"seed": 0.5}, "seed must be a whole number from 0 to 4294967295, but is 0.5"),
        (
            line(0, 1, 2),
            line(0, 1, 2),
            {"seed": 2**40},
            "seed must be a whole number from 0 to 4294967295, but is 1099511627776",
        ),
        (line(0, 1, 2), line(0, 1, 2), {"sqrt": 1}, "sqrt must be True or False, but is 1"),
    ],
)
def test_what_is_refused(a, b, options, message) -> None:
    with pytest.raises(ValidationError) as error:
        compare_geometries(a, b, **options)
    assert str(error.value) == message


def test_saved_and_loaded(tmp_path) -> None:
    some = between(points(6, 0))
    for found in (
        layer_closeness(some, shape=(3, 2), permutations=9),
        layer_closeness(np.zeros((4, 4)), shape=(2, 2), permutations=9),
        compare_geometries(some, between(points(6, 1)), permutations=9),
        compare_geometries(np.zeros((6, 6)), some, permutations=9, shape=(2, 3)),
    ):
        found.save(tmp_path / "result.json")
        again = type(found).load(tmp_path / "result.json")
        assert again == found
        assert again.to_frame().equals(found.to_frame())
        assert repr(again) == repr(found)
