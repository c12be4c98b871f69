"""Groups of heads: trees and silhouettes by hand, the number picked, ties and edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import is_valid_linkage, leaves_list
from sklearn.metrics import adjusted_rand_score

from bertattn import AttentionTensor
from bertattn.clustering import HeadClusters, cluster_heads, clusters, head_distances
from bertattn.errors import SelectionError, ValidationError


def line(*places: float) -> np.ndarray:
    return np.abs(np.subtract.outer(places, places)).astype(float)


def grouped(seed: int = 0, sizes: tuple[int, ...] = (4, 6, 3)) -> tuple[np.ndarray, np.ndarray]:
    """(distances, the group of each head) of points around centres far apart, in random order."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = np.eye(len(sizes))[groups] * 10 + rng.normal(size=(len(groups), len(sizes)))
    return np.linalg.norm(points[:, None] - points, axis=-1), groups


def test_by_hand() -> None:
    """Heads at 0, 1 and 5: 0 and 1 join at 1, and 5 joins at (5 + 4) / 2."""
    found = cluster_heads(line(0, 1, 5))
    np.testing.assert_array_equal(found.tree, [[0, 1, 1, 2], [2, 3, 4.5, 3]])
    np.testing.assert_array_equal(found.labels, [1, 1, 2])
    np.testing.assert_allclose(found.silhouettes, [(5 - 1) / 5, (4 - 1) / 4, 0])
    assert found.silhouette == pytest.approx((0.8 + 0.75) / 3)
    assert found.cophenetic == pytest.approx(np.corrcoef([1, 5, 4], [1, 4.5, 4.5])[0, 1])
    assert found.picked_by == "silhouette"
    assert (found.members(1), found.members(2)) == (("1", "2"), ("3",))
    assert cluster_heads(line(0, 1, 5), linkage="complete").tree[1, 2] == 5
    assert cluster_heads(line(0, 1, 5), linkage="single").tree[1, 2] == 4


@pytest.mark.parametrize("linkage", ["average", "complete", "single", "ward"])
def test_groups_far_apart_are_found(linkage) -> None:
    distances, groups = grouped()
    found = cluster_heads(distances**2, linkage=linkage, sqrt=True)
    assert adjusted_rand_score(found.labels, groups) == 1
    assert np.bincount(found.labels).tolist() == [0, 6, 4, 3]
    assert (found.linkage, found.sqrt, found.clusters) == (linkage, True, 3)
    assert is_valid_linkage(found.tree)


def test_ward_is_scipys_on_the_points() -> None:
    """0 and 2 join at 2, then with 10 at sqrt(2 * 1 * 2 / 3) * 9."""
    found = cluster_heads(line(0, 2, 10) ** 2, linkage="ward", sqrt=True, clusters=1)
    np.testing.assert_allclose(found.tree[:, 2], [2, np.sqrt(4 / 3) * 9])


def test_silhouettes_by_loops() -> None:
    distances, _ = grouped(1)
    found = cluster_heads(distances, clusters=5)
    expected = []
    for i, mine in enumerate(found.labels):
        mean = {
            label: np.mean([distances[i, j] for j in range(13) if j != i and found.labels[j] == label] or [0.0])
            for label in range(1, 6)
        }
        alone = (found.labels == mine).sum() == 1
        inside = mean.pop(int(mine))
        nearest = min(mean.values())
        expected.append(0.0 if alone else (nearest - inside) / max(nearest, inside))
    np.testing.assert_allclose(found.silhouettes, expected)


def test_the_number_with_the_largest_silhouette_is_picked() -> None:
    distances, _ = grouped(2)
    means = {k: cluster_heads(distances, clusters=k).silhouette for k in range(2, 13)}
    best = max(means, key=means.__getitem__)
    found = cluster_heads(distances)
    assert (found.clusters, found.silhouette) == (best, pytest.approx(means[best]))
    assert (found.picked_by, found.threshold) == ("silhouette", None)


def test_of_equal_silhouettes_the_fewest_clusters_are_picked(monkeypatch) -> None:
    monkeypatch.setattr(clusters, "_silhouettes", lambda distances, labels: np.full(len(labels), 0.5))
    assert cluster_heads(grouped()[0]).clusters == 2


@pytest.mark.parametrize("wanted", range(1, 14))
def test_as_many_as_asked_for(wanted) -> None:
    distances, _ = grouped(3)
    found = cluster_heads(distances, clusters=wanted)
    assert found.clusters == wanted
    assert (found.picked_by, found.threshold) == ("clusters", None)
    assert np.isnan(found.silhouettes).all() == (wanted in (1, 13))
    members = [found.members(k) for k in range(1, wanted + 1)]
    assert sorted(map(len, members), reverse=True) == list(map(len, members))
    assert sorted(name for names in members for name in names) == sorted(found.names)


def test_equal_clusters_are_numbered_by_their_first_head() -> None:
    np.testing.assert_array_equal(cluster_heads(line(9, 0, 9.5, 0.5), clusters=2).labels, [1, 2, 1, 2])
    np.testing.assert_array_equal(cluster_heads(line(9, 0, 0.1, 0.2), clusters=2).labels, [2, 1, 1, 1])


def test_a_threshold_cuts_at_its_height() -> None:
    distances = line(0, 1, 5)
    for threshold, labels in ((0.99, [1, 2, 3]), (1, [1, 1, 2]), (4.49, [1, 1, 2]), (4.5, [1, 1, 1])):
        found = cluster_heads(distances, threshold=threshold)
        np.testing.assert_array_equal(found.labels, labels)
        assert (found.picked_by, found.threshold) == ("threshold", threshold)
    np.testing.assert_array_equal(cluster_heads(distances**2, threshold=1, sqrt=True).labels, [1, 1, 2])


def test_the_order_of_the_heads_does_not_matter() -> None:
    distances, _ = grouped(4)
    order = np.random.default_rng(0).permutation(13)
    straight, turned = cluster_heads(distances), cluster_heads(distances[np.ix_(order, order)])
    np.testing.assert_array_equal(turned.labels, straight.labels[order])
    np.testing.assert_allclose(turned.silhouettes, straight.silhouettes[order])
    np.testing.assert_allclose(turned.tree[:, 2], straight.tree[:, 2])
    assert turned.cophenetic == pytest.approx(straight.cophenetic)


def test_leaves_in_order_keep_clusters_together() -> None:
    distances, _ = grouped(5)
    found = cluster_heads(distances, clusters=3)
    np.testing.assert_array_equal(found.order, leaves_list(found.tree))
    assert (np.diff(found.labels[found.order]) != 0).sum() == 2


def test_one_head() -> None:
    for options in ({}, {"clusters": 1}, {"threshold": 0}):
        found = cluster_heads([[0.0]], **options)
        assert found.labels.tolist() == [1]
        assert found.tree.shape == (0, 4)
        assert found.order.tolist() == [0]
        assert np.isnan([found.silhouette, found.cophenetic]).all()


def test_two_heads() -> None:
    assert cluster_heads(line(0, 1)).labels.tolist() == [1, 1]
    assert cluster_heads(line(0, 1), clusters=2).labels.tolist() == [1, 2]
    assert cluster_heads(line(0, 1), threshold=0.5).labels.tolist() == [1, 2]
    assert np.isnan(cluster_heads(line(0, 1), clusters=2).silhouettes).all()
    assert np.isnan(cluster_heads(line(0, 1)).cophenetic)


def test_heads_all_alike_are_one_cluster() -> None:
    found = cluster_heads(np.zeros((5, 5)))
    assert found.labels.tolist() == [1] * 5
    assert np.isnan([found.silhouette, found.cophenetic]).all()
    assert cluster_heads(np.zeros((5, 5)), clusters=3).clusters == 3
    assert cluster_heads(1 - np.eye(5)).clusters == 1


def test_duplicates_share_a_cluster() -> None:
    found = cluster_heads(line(0, 3, 0, 3, 8))
    assert found.labels[0] == found.labels[2]
    assert found.labels[1] == found.labels[3]


def test_agreement() -> None:
    distances, _ = grouped(6)
    three, four = (cluster_heads(distances, clusters=k) for k in (3, 4))
    assert three.agreement(three) == 1
    assert three.agreement(four) == four.agreement(three)
    # Of 4 heads paired 1-2, 3-4 and 1-3, 2-4 no pair is shared: (0 - 2*2/6) / (2 - 2*2/6).
    crossed = (cluster_heads(line(*places), clusters=2) for places in ((0, 1, 10, 11), (0, 10, 1, 11)))
    assert next(crossed).agreement(next(crossed)) == pytest.approx((0 - 2 / 3) / (2 - 2 / 3))
    with pytest.raises(ValidationError, match=r"^heads are paired by name, but one result has 1, 2, 3, \.\.\. \(13 "):
        three.agreement(cluster_heads(line(0, 1)))
    with pytest.raises(ValidationError, match=r"another HeadClusters, but this is ndarray; give a HeadClusters$"):
        three.agreement(three.labels)


def test_from_head_distances() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(5), size=(2, 3, 5))
    distances = head_distances([AttentionTensor(weights, list("abcde"))])
    found = cluster_heads(distances, clusters=2, sqrt=True)
    np.testing.assert_allclose(found.tree[0, 2], np.sqrt(distances.matrix() + 9 * np.eye(6)).min())
    assert found.layers == (0, 0, 0, 1, 1, 1)
    record = found.to_records()[4]
    assert record == {
        "layer": 2,
        "head": 2,
        "name": "2-2",
        "cluster": found.labels[4],
        "silhouette": found.silhouettes[4],
    }
    record = cluster_heads(distances.matrix(), clusters=2).to_records()[0]
    assert (record["layer"], record["head"], record["name"]) == (None, None, "1")


def test_saved_and_loaded(tmp_path) -> None:
    for distances, options in ((grouped()[0], {}), (line(0, 1), {"threshold": 0.5}), ([[0.0]], {})):
        found = cluster_heads(distances, **options)
        found.save(tmp_path / "clusters.json")
        again = HeadClusters.load(tmp_path / "clusters.json")
        assert again == found
        assert (again.labels.dtype, again.threshold) == (np.dtype("int64"), options.get("threshold"))
        assert again.tree.shape == found.tree.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 4}, "clusters=4 are more than the 3 heads there are"),
        ({"clusters": 0}, "clusters must be a whole number from 1, but is 0"),
        ({"threshold": -1}, "threshold is a distance of 0 or more, but is -1"),
        ({"threshold": float("nan")}, "threshold is a distance of 0 or more, but is nan"),
        ({"threshold": float("inf")}, "threshold is a distance of 0 or more, but is inf"),
        ({"threshold": "a"}, "threshold is a distance of 0 or more, but is 'a'"),
        ({"clusters": True}, "clusters must be a whole number from 1, but is True"),
        ({"sqrt": "no"}, "sqrt must be True or False, but is 'no'"),
        (
            {"clusters": 2, "threshold": 0.5},
            "give clusters=2 or threshold=0.5, not both: each says where to cut",
        ),
        (
            {"linkage": "ward"},
            (
                "linkage='ward' needs the distances of points in space, which the divergence is not but its root is; "
                "pass sqrt=True"
            ),
        ),
        (
            {"linkage": "median"},
            "linkage must be one of 'average', 'complete', 'single', 'ward', but is 'median'",
        ),
    ],
)
def test_what_is_refused(options, message) -> None:
    with pytest.raises(ValidationError) as error:
        cluster_heads(line(0, 1, 5), **options)
    assert str(error.value) == message


def test_numbers_may_be_numpys(tmp_path) -> None:
    found = cluster_heads(line(0, 1, 5), threshold=np.float32(2))
    assert (type(found.threshold), found.members(np.int64(1))) == (float, ("1", "2"))
    found.save(tmp_path / "clusters.json")
    assert HeadClusters.load(tmp_path / "clusters.json") == found
    assert cluster_heads(line(0, 1, 5), clusters=np.int64(3)).clusters == 3


@pytest.mark.parametrize("cluster", [0, 3, "1", True, 1.0])
def test_clusters_that_are_not_there(cluster) -> None:
    with pytest.raises(SelectionError) as error:
        cluster_heads(line(0, 1, 5)).members(cluster)
    assert str(error.value) == f"there is no cluster {cluster!r}; they are counted from 1 to 2"
