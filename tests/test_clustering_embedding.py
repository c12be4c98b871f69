"""Heads as points: exact where points exist, scikit-learn's MDS as released, alignment, and what is refused."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.manifold import MDS

from bertattn import AttentionTensor
from bertattn.clustering import HeadDistances, HeadEmbedding, embed_heads, head_distances, pairwise_js
from bertattn.errors import StorageError, ValidationError


def between(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points, axis=-1)


def attention(layers: int = 2, heads: int = 3, tokens: int = 5, seed: int = 0) -> AttentionTensor:
    weights = np.random.default_rng(seed).dirichlet(np.full(tokens, 0.5), size=(layers, heads, tokens))
    return AttentionTensor(weights, list("abcdefgh")[:tokens])


@pytest.fixture
def plane() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(9, 2)) * [3.0, 1.0]


def test_classical_by_hand() -> None:
    """Points at 0, 1 and 5: the mean is 2, so they stand at -2, -1 and 3, mirrored to make the largest positive."""
    places = np.array([[0.0], [1.0], [5.0]])
    found = embed_heads(between(places), method="classical")
    np.testing.assert_allclose(found.coordinates, [[-2, 0], [-1, 0], [3, 0]], atol=1e-7)
    np.testing.assert_allclose(found.eigenvalues, [14, 0, 0], atol=1e-12)
    mirrored = embed_heads(between(-places), method="classical")
    np.testing.assert_allclose(mirrored.coordinates, found.coordinates, atol=1e-12)


def test_classical_finds_points_of_the_plane(plane) -> None:
    found = embed_heads(between(plane), method="classical")
    np.testing.assert_allclose(pdist(found.coordinates), pdist(plane), atol=1e-9)
    assert found.stress < 1e-9
    assert found.negative_share < 1e-9
    line = embed_heads(between(plane), method="classical", dimensions=1)
    assert line.stress == pytest.approx(by_loops(line.coordinates, between(plane)))
    assert 0.01 < line.stress < 0.5
    np.testing.assert_allclose(line.coordinates[:, 0], found.coordinates[:, 0], atol=1e-9)


def by_loops(coordinates: np.ndarray, distances: np.ndarray) -> float:
    """Stress-1 from its formula."""
    off, scale = 0.0, 0.0
    for i in range(len(distances)):
        for j in range(i):
            apart = float(np.sqrt(sum((a - b) ** 2 for a, b in zip(coordinates[i], coordinates[j], strict=True))))
            off += (apart - distances[i, j]) ** 2
            scale += distances[i, j] ** 2
    return (off / scale) ** 0.5


def test_more_dimensions_than_the_heads_span_are_zero(plane) -> None:
    found = embed_heads(between(plane[:3]), method="classical", dimensions=5)
    assert found.coordinates.shape == (3, 5)
    np.testing.assert_allclose(found.coordinates[:, 2:], 0.0, atol=1e-7)
    assert list(found.to_records()[0]) == ["layer", "head", "name", "x", "y", "z", "dimension_4", "dimension_5"]


def test_metric_is_the_released_call(plane) -> None:
    distances = between(np.random.default_rng(1).normal(size=(12, 5)))
    options = {"n_components": 2, "n_init": 5, "eps": 1e-10, "max_iter": 1000, "random_state": 3}
    known = inspect.signature(MDS).parameters
    if "metric_mds" in known:
        options |= {"metric_mds": True, "metric": "precomputed", "init": "random"}
    else:
        options |= {"metric": True, "dissimilarity": "precomputed"}
    released = MDS(normalized_stress=False, **options).fit(distances)
    found = embed_heads(distances, seed=3)
    # Before 1.7 the test of convergence depended on the unit, so it stops at another iteration.
    tolerance = 1e-9 if "metric_mds" in known else 1e-3
    released.embedding_ -= released.embedding_.mean(0)
    np.testing.assert_allclose(found.coordinates, released.embedding_, atol=tolerance)
    assert found.stress == pytest.approx(np.sqrt(released.stress_ / (pdist_of(distances) ** 2).sum()), rel=1e-3)
    assert found.stress == pytest.approx(by_loops(found.coordinates, distances))
    assert (found.eigenvalues, found.seed, found.starts) == (None, 3, 5)
    assert np.isnan(found.negative_share)
    assert embed_heads(between(plane)).stress < 1e-4


def pdist_of(distances: np.ndarray) -> np.ndarray:
    return distances[np.triu_indices(len(distances), 1)]


def test_the_unit_of_the_distances_is_that_of_the_coordinates() -> None:
    distances = between(np.random.default_rng(1).normal(size=(8, 4)))
    for method in ("metric", "classical"):
        one, large = (embed_heads(x, method=method) for x in (distances, 1000 * distances))
        np.testing.assert_allclose(large.coordinates, 1000 * one.coordinates, rtol=1e-6, atol=1e-6)
        assert large.stress == pytest.approx(one.stress)
        np.testing.assert_allclose(one.coordinates.mean(0), 0.0, atol=1e-9)


@pytest.mark.parametrize("method", ["metric", "classical"])
@pytest.mark.parametrize("unit", [1e200, 1e-300])
def test_units_whose_squares_are_no_numbers(method, unit, tmp_path) -> None:
    distances = between(np.random.default_rng(1).normal(size=(8, 4)))
    one, other = (embed_heads(x, method=method) for x in (distances, unit * distances))
    np.testing.assert_allclose(other.coordinates / unit, one.coordinates, rtol=1e-6, atol=1e-6)
    assert other.stress == pytest.approx(one.stress)
    assert np.isnan(other.negative_share)
    other.save(tmp_path / "other.json")
    assert HeadEmbedding.load(tmp_path / "other.json") == other


def test_numbers_may_be_numpys(plane, tmp_path) -> None:
    options = {"dimensions": 3, "seed": 2, "starts": 1, "sqrt": True}
    one = embed_heads(between(plane), **options)
    assert embed_heads(between(plane), **{name: np.array(value)[()] for name, value in options.items()}) == one
    assert type(embed_heads(between(plane), seed=np.int64(2)).seed) is int


def test_the_same_seed_gives_the_same_and_more_starts_nothing_worse() -> None:
    distances = between(np.random.default_rng(2).normal(size=(15, 8)))
    np.random.seed(0)  # noqa: NPY002  # the global state is the point
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, again, other = (embed_heads(distances, seed=s, starts=1) for s in (0, 0, 1))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert one == again
    assert (one.coordinates != other.coordinates).any()
    assert embed_heads(distances, starts=6).stress <= one.stress


def test_the_order_of_the_heads_does_not_matter(plane) -> None:
    distances = between(np.random.default_rng(3).normal(size=(7, 4)))
    order = np.random.default_rng(4).permutation(7)
    straight, turned = (embed_heads(x, method="classical") for x in (distances, distances[np.ix_(order, order)]))
    np.testing.assert_allclose(turned.coordinates, straight.coordinates[order], atol=1e-9)


def test_duplicates_stand_at_one_place(plane) -> None:
    twice = np.concatenate([plane, plane[:2]])
    found = embed_heads(between(twice), method="classical").coordinates
    np.testing.assert_allclose(found[:2], found[-2:], atol=1e-7)
    metric = embed_heads(between(twice)).coordinates
    np.testing.assert_allclose(metric[:2], metric[-2:], atol=1e-3)


@pytest.mark.parametrize("method", ["metric", "classical"])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_heads_all_alike_stand_at_the_origin_and_have_no_stress(method, heads) -> None:
    found = embed_heads(np.zeros((heads, heads)), method=method)
    np.testing.assert_array_equal(found.coordinates, np.zeros((heads, 2)))
    assert np.isnan(found.stress)
    assert np.isnan(found.negative_share)


@pytest.mark.parametrize("method", ["metric", "classical"])
def test_two_heads(method) -> None:
    found = embed_heads(np.array([[0, 0.5], [0.5, 0]]), method=method)
    assert pdist(found.coordinates) == pytest.approx(0.5, abs=1e-4)


def test_the_root_of_a_divergence_is_euclidean_and_the_divergence_is_not() -> None:
    divergences = head_distances([attention(3, 4, seed=s) for s in range(4)])
    root = embed_heads(divergences, method="classical", sqrt=True, dimensions=11)
    assert root.negative_share < 1e-12
    np.testing.assert_allclose(pdist(root.coordinates), pdist_of(divergences.matrix()) ** 0.5, atol=1e-9)
    plain = embed_heads(divergences, method="classical")
    eigenvalues = np.linalg.eigvalsh(gram(divergences.matrix()))
    assert plain.negative_share == pytest.approx(-eigenvalues[eigenvalues < 0].sum() / np.abs(eigenvalues).sum())
    assert (root.sqrt, plain.sqrt) == (True, False)


def gram(distances: np.ndarray) -> np.ndarray:
    centre = np.eye(len(distances)) - 1 / len(distances)
    return -centre @ distances**2 @ centre / 2


def test_a_divergence_that_is_not_euclidean_tells_its_negative_share() -> None:
    """Three points 1 apart from each other and 0.5 from a fourth: d^2 has B with eigenvalues 1/2, 1/2, 0, -1/16."""
    distances = np.array([[0, 1, 1, 0.5], [1, 0, 1, 0.5], [1, 1, 0, 0.5], [0.5, 0.5, 0.5, 0]])
    found = embed_heads(distances, method="classical")
    np.testing.assert_allclose(found.eigenvalues, [1 / 2, 1 / 2, 0, -1 / 16], atol=1e-12)
    assert found.negative_share == pytest.approx(1 / 17)


def test_names_and_layers_come_from_the_distances_or_the_shape() -> None:
    a = attention()
    known = embed_heads(head_distances([a]).select(layers=[1]), method="classical")
    assert known.names == ("2-1", "2-2", "2-3")
    assert known.layers == (1, 1, 1)
    rows = [(r["layer"], r["head"], r["name"]) for r in known.to_records()]
    assert rows == [(2, 1, "2-1"), (2, 2, "2-2"), (2, 3, "2-3")]
    named = embed_heads(pairwise_js(a), method="classical", shape=(2, 3))
    assert named == embed_heads(head_distances([a]), method="classical")
    assert (named.names[3], named.layers) == ("2-1", (0, 0, 0, 1, 1, 1))
    bare = embed_heads(pairwise_js(a.replace(weights=torch.tensor(a.numpy()))), method="classical")
    assert (bare.names, bare.layers) == (("1", "2", "3", "4", "5", "6"), None)
    assert bare.to_records()[0]["layer"] is None
    np.testing.assert_allclose(bare.coordinates, named.coordinates, atol=1e-6)


def test_aligned_undoes_turning_mirroring_and_moving(plane) -> None:
    a = embed_heads(between(plane), method="classical")
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])
    b = HeadEmbedding(
        coordinates=a.coordinates @ turn + [5, -7],
        **{n: getattr(a, n) for n in ("names", "layers", "stress", "method", "sqrt")},
    )
    np.testing.assert_allclose(b.aligned(to=a).coordinates, a.coordinates, atol=1e-9)
    np.testing.assert_allclose(a.aligned(to=b).coordinates, b.coordinates, atol=1e-9)
    large = embed_heads(4 * between(plane), method="classical", seed=1)
    kept, fitted = large.aligned(to=b), large.aligned(to=b, scale=True)
    np.testing.assert_allclose(pdist(kept.coordinates), 4 * pdist(plane), atol=1e-9)
    np.testing.assert_allclose(fitted.coordinates, b.coordinates, atol=1e-9)
    assert (fitted.stress, fitted.method) == (large.stress, "classical")


def test_aligned_comes_as_close_as_any_turn_does(plane) -> None:
    rng = np.random.default_rng(5)
    a, b = (embed_heads(between(plane + rng.normal(size=plane.shape)), method="classical") for _ in range(2))
    best = ((a.aligned(to=b).coordinates - b.coordinates) ** 2).sum()
    for angle in np.linspace(0, 2 * np.pi, 400):
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        for mirror in (1, -1):
            assert ((a.coordinates * [mirror, 1] @ turn - b.coordinates) ** 2).sum() >= best - 1e-9


def test_only_embeddings_of_the_same_heads_are_aligned(plane) -> None:
    a = embed_heads(between(plane[:6]), method="classical")
    named = embed_heads(between(plane[:6]), method="classical", shape=(2, 3))
    with pytest.raises(ValidationError) as error:
        a.aligned(to=named)
    assert str(error.value) == (
        "heads are paired by name, but one result has 1, 2, 3, ... (6 heads) and the other 1-1, 1-2, 1-3, ... "
        "(6 heads); select the same heads of both first"
    )
    with pytest.raises(ValidationError, match=r"^one embedding has 2 dimensions and the other 3; embed both with"):
        a.aligned(to=embed_heads(between(plane[:6]), method="classical", dimensions=3))
    with pytest.raises(ValidationError) as error:
        a.aligned(to=a.coordinates)
    assert str(error.value) == (
        "heads are paired with those of another HeadEmbedding, but this is ndarray; give a HeadEmbedding"
    )
    with pytest.raises(ValidationError, match=r"^scale must be True or False, but is 2$"):
        a.aligned(to=a, scale=2)
    nothing = embed_heads(np.zeros((6, 6)))
    np.testing.assert_allclose(nothing.aligned(to=a, scale=True).coordinates, np.zeros((6, 2)), atol=1e-12)


@pytest.mark.parametrize("method", ["metric", "classical"])
def test_saved_and_loaded(plane, method, tmp_path) -> None:
    for name, distances in (("some", between(plane)), ("none", np.zeros((2, 2)))):
        found = embed_heads(distances, method=method)
        found.save(tmp_path / name)
        again = HeadEmbedding.load(tmp_path / name)
        assert again == found
        assert repr(again) == repr(found)
        assert again.coordinates.dtype == np.float64
    with pytest.raises(StorageError, match="holds a HeadEmbedding, not a HeadDistances"):
        HeadDistances.load(tmp_path / "some")
    with pytest.raises(ValueError, match="read-only"):
        found.coordinates[0] = 1


def test_the_input_is_left_as_it_is(plane) -> None:
    distances = between(plane)
    before = distances.copy()
    distances.flags.writeable = False
    for method in ("metric", "classical"):
        embed_heads(distances, method=method, sqrt=True)
    np.testing.assert_array_equal(distances, before)


NAN = float("nan")


@pytest.mark.parametrize(
    ("distances", "options", "message"),
    [
        ("text", {}, "distances must be HeadDistances or a square array [head, head], but are str"),
        (
            np.zeros((2, 3)),
            {},
            "distances must be HeadDistances or a square array [head, head], but have shape (2, 3)",
        ),
        (
            np.zeros((0, 0)),
            {},
            "distances must be HeadDistances or a square array [head, head], but have shape (0, 0)",
        ),
        ([[0, 1], [2, 0]], {}, "distances must be symmetric, but [0, 1] is 1 and [1, 0] is 2"),
        ([[0, 1], [1, 3]], {}, "a head's distance from itself must be 0, but [1, 1] is 3; are these similarities?"),
        ([[0, -1], [-1, 0]], {}, "a distance is finite and 0 or more, but one is -1"),
        ([[0, np.inf], [np.inf, 0]], {}, "a distance is finite and 0 or more, but one is inf"),
        (
            [[0, 1], [NAN, 0]],
            {},
            "the distance of 1 pair is undefined (NaN): 1 and 2; leave the rows and columns of such heads out",
        ),
        (
            np.full((4, 4), NAN),
            {"shape": (2, 2)},
            (
                "the distances of 10 pairs are undefined (NaN): 1-1 and 1-1, 1-1 and 1-2, 1-1 and 2-1, ...; "
                "leave the rows and columns of such heads out"
            ),
        ),
        (np.zeros((4, 4)), {"shape": (3, 2)}, "shape=(3, 2) is 6 heads but the distances are of 4"),
        ([[0, 1], [0]], {}, "distances must be HeadDistances or a square array [head, head], but are list"),
        (np.eye(2) + 0j, {}, "distances must be HeadDistances or a square array [head, head], but are ndarray"),
        *(
            (
                np.zeros((4, 4)),
                {"shape": shape},
                f"shape must be (layers, heads in each), whole numbers from 1, but is {shape}",
            )
            for shape in (4, (2, 2, 1), (-2, -2), (2.0, 2))
        ),
        (np.zeros((4, 4)), {"method": "umap"}, "method must be one of 'metric', 'classical', but is 'umap'"),
        (np.zeros((4, 4)), {"dimensions": 0}, "dimensions must be a whole number from 1, but is 0"),
        (np.zeros((4, 4)), {"seed": None}, "seed must be a whole number from 0 to 4294967295, but is None"),
        (np.zeros((4, 4)), {"seed": 2**32}, "seed must be a whole number from 0 to 4294967295, but is 4294967296"),
        (np.zeros((4, 4)), {"sqrt": "no"}, "sqrt must be True or False, but is 'no'"),
        (np.zeros((4, 4)), {"starts": True}, "starts must be a whole number from 1, but is True"),
    ],
)
def test_what_is_refused(distances, options, message) -> None:
    with pytest.raises(ValidationError) as error:
        embed_heads(distances, **options)
    assert str(error.value) == message


def test_heads_without_mass_are_named() -> None:
    a = attention()
    weights = a.numpy().copy()
    weights[1, 2] = NAN
    distances = head_distances([a.replace(weights=weights)])
    with pytest.raises(ValidationError) as error:
        embed_heads(distances)
    assert str(error.value) == (
        "the distances of 5 pairs are undefined (NaN): 1-1 and 2-3, 1-2 and 2-3, 1-3 and 2-3, ...; "
        "distances.select(layers=..., heads=...) leaves heads out"
    )
    assert len(embed_heads(distances.select(layers=0)).names) == 3
    with pytest.raises(ValidationError, match=r"^shape=\(2, 3\) names the heads of an array, but HeadDistances names"):
        embed_heads(distances, shape=(2, 3))


def test_rounding_in_symmetry_and_diagonal_is_forgiven(plane) -> None:
    rough = between(plane) + 1e-9 * np.random.default_rng(0).random((9, 9))
    exact = embed_heads(between(plane), method="classical")
    np.testing.assert_allclose(embed_heads(rough, method="classical").coordinates, exact.coordinates, atol=1e-6)
    for method in ("metric", "classical"):
        assert embed_heads(rough, method=method) == embed_heads(rough.T, method=method)
