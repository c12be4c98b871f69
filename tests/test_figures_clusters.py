"""The figures of clusters and gradients: what is drawn where, and that names can be read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.spatial.distance import squareform

from bertattn import figures
from bertattn.clustering import (
    HeadBehaviors,
    HeadClusters,
    HeadDistances,
    HeadEmbedding,
    cluster_heads,
    embed_heads,
)
from bertattn.errors import MissingExtraError, SelectionError, ValidationError
from bertattn.figures._placing import _cross, _run_through, place_labels
from bertattn.statistics import Moments, Summary


def head_distances(layers: int, heads: int, *, seed: int = 0) -> HeadDistances:
    """Distances of random points, those of one layer near each other."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(layers, 1, 3)) + 0.5 * rng.normal(size=(layers, heads, 3))
    points = points.reshape(-1, 3)
    table = Moments.of(squareform(np.linalg.norm(points[:, None] - points, axis=-1), checks=False))
    return HeadDistances(tuple(range(layers)), tuple(range(heads)), table, sequences=1)


def embedding(layers: int = 3, heads: int = 4, **options: Any) -> HeadEmbedding:
    return embed_heads(head_distances(layers, heads), method="classical", **options)


def behaviors(names: tuple[str, ...], labels: dict[str, list[str]], *, by_hand: tuple[str, ...] = ()) -> HeadBehaviors:
    flags = {label: np.isin(names, heads) for label, heads in labels.items()}
    numbers = {label: np.zeros(len(names)) for label in labels}
    layers = tuple(int(name.split("-")[0]) - 1 for name in names)
    return HeadBehaviors(
        names, layers, flags, numbers, numbers, dict.fromkeys(labels, 0.5), dict.fromkeys(by_hand, "by hand")
    )


@pytest.fixture
def ax() -> Axes:
    return Figure(figsize=(5, 4), layout="constrained").subplots()


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    yield
    pyplot.close("all")
    assert dict(mpl.rcParams) == before


def boxes(texts: list[Any]) -> np.ndarray:
    """left, bottom, right, top of each text itself, without its line."""
    return np.array([Text.get_window_extent(text).extents for text in texts])


def overlapping(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a[:, None, :2] < b[None, :, 2:]) & (b[None, :, :2] < a[:, None, 2:])).all(-1)


# place_labels

HALF = np.array([15.0, 6.0])


def place(points: np.ndarray, frame: tuple[float, ...] = (0, 0, 300, 300), **options: Any) -> np.ndarray:
    sizes = np.tile(2 * HALF, (len(points), 1))
    return place_labels(points, sizes, np.array(frame, float), others=points, radius=4.0, **options)


def test_a_lone_label_stands_beside_its_point() -> None:
    (offset,) = place(np.array([[150.0, 150.0]])) - 150
    apart = np.maximum(np.abs(offset) - HALF, 0)
    assert 4.0 < np.hypot(*apart) < 8.0


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("spread", [0.0, 15.0, 60.0])
def test_labels_lie_neither_on_each_other_nor_outside(spread: float, rounds: int) -> None:
    points = 150 + spread * np.random.default_rng(1).normal(size=(40, 2)).clip(-2, 2)
    placed = place(points, rounds=rounds)
    box = np.hstack([placed - HALF, placed + HALF])
    assert overlapping(box, box).sum() == 40
    assert box.min() >= 0
    assert box.max() <= 300
    np.testing.assert_array_equal(place(points, rounds=rounds), placed)


def test_where_there_is_room_no_label_lies_on_a_point_and_no_lines_cross() -> None:
    points = np.stack(np.meshgrid(np.arange(5), np.arange(5)), -1).reshape(-1, 2) * 60.0 + 30
    placed = place(points)
    box = np.hstack([placed - HALF, placed + HALF])
    assert not overlapping(box, np.hstack([points - 4, points + 4])).any()
    assert np.linalg.norm(placed - points, axis=-1).max() < 30


def test_a_label_turns_away_from_the_crowd() -> None:
    points = np.array([[150.0, 150.0], [160.0, 150.0], [155.0, 158.0], [155.0, 142.0]])
    offsets = place(points) - points
    assert offsets[0, 0] < 0 < offsets[1, 0]
    assert offsets[3, 1] < 0 < offsets[2, 1]


def test_lines_rarely_cross_or_run_through_labels() -> None:
    start, ends = np.array([0.0, 0.0]), np.array([[10.0, 0.0], [0.0, 10.0], [4.0, 0.0]])
    through = _run_through(start, ends, np.array([[5.0, -1.0]]), np.array([[7.0, 1.0]]))
    crossed = _cross(start, ends, np.array([[5.0, -1.0]]), np.array([[5.0, 1.0]]))
    assert through.tolist() == crossed.tolist() == [[True], [False], [False]]
    crossings = hits = 0
    for seed in (1, 2, 3):
        points = 150 + 25 * np.random.default_rng(seed).normal(size=(40, 2)).clip(-2, 2)
        placed = place(points, rounds=1)
        crossings += sum(_cross(points[i], placed[[i]], points[i:], placed[i:]).sum() for i in range(40))
        hits += _run_through(points, placed, placed - HALF, placed + HALF).sum() - 40  # each ends in its own
    # So crowded that some must: 78 and 112 where the one or the other costs nothing.
    assert crossings < 55
    assert hits < 80


def test_a_label_without_room_is_nan() -> None:
    placed = place(np.full((3, 2), 20.0), frame=(0, 0, 40, 40))
    assert np.isnan(placed).any(-1).sum() == 1
    assert np.isnan(place(np.full((1, 2), 20.0), frame=(0, 0, 25, 40))).all()


# head_map


@pytest.mark.parametrize("size", [(9.0, 7.2), (5.5, 4.2)])
def test_all_144_names_can_be_read(size: tuple[float, float], tmp_path: Path) -> None:
    shown = embedding(12, 12)
    ax = Figure(figsize=size, layout="constrained").subplots()
    figures.head_map(shown, labels="all", ax=ax)
    figures.save(ax, tmp_path / "map.png", dpi=100)
    assert sorted(text.get_text() for text in ax.texts) == sorted(shown.names)
    box = boxes(ax.texts)
    assert overlapping(box, box).sum() == 144
    frame = ax.get_window_extent().extents
    assert (box[:, :2] >= frame[:2] - 1).all()
    assert (box[:, 2:] <= frame[2:] + 1).all()
    assert min(text.get_fontsize() for text in ax.texts) >= 5
    points = ax.transData.transform(shown.coordinates)
    on_points = overlapping(box, np.hstack([points - 2, points + 2])).any(-1)
    assert on_points.mean() < 0.1


def test_names_stand_by_their_own_points(ax: Axes) -> None:
    shown = embedding()
    figures.head_map(shown, labels=["1-2", (2, 3)], ax=ax)
    assert [text.get_text() for text in ax.texts] == ["1-2", "3-4"]
    for text, i in zip(ax.texts, (1, 11), strict=True):
        np.testing.assert_array_equal(text.xy, shown.coordinates[i])
        assert np.hypot(*text.get_position()) < 40


def test_without_labels_nothing_is_named_and_both_axes_have_one_scale(ax: Axes) -> None:
    shown = embedding()
    figures.head_map(shown, ax=ax)
    assert not ax.texts
    assert ax.get_aspect() == 1.0
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), shown.coordinates)
    assert ax.get_title(loc="left") == f"12 heads, classical MDS, stress-1 {shown.stress:.2f}"
    assert ax.get_xlabel() == "nats"
    assert figures.head_map(embedding(sqrt=True), ax=ax).get_xlabel() == "√nats"


def test_more_dimensions_are_said_to_be_cut_and_one_is_drawn_on_a_line(ax: Axes) -> None:
    assert "dimensions 1 and 2 of 3, stress" in figures.head_map(embedding(dimensions=3), ax=ax).get_title(loc="left")
    figures.head_map(embedding(dimensions=1), ax=Figure().subplots())


def test_each_layer_has_its_colour_from_dark_to_light(ax: Axes) -> None:
    figures.head_map(embedding(), ax=ax)
    ax.figure.draw_without_rendering()
    colors = [to_hex(color) for color in ax.collections[0].get_facecolors()]
    assert len(set(colors)) == 3
    assert colors == [color for color in colors[::4] for _ in range(4)]
    lightness = [sum(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in colors[::4]]
    assert lightness == sorted(lightness)
    (bar,) = ax.child_axes
    assert [tick.get_text() for tick in bar.get_yticklabels()] == ["1", "2", "3"]


def test_names_that_have_no_room_are_counted() -> None:
    ax = Figure(figsize=(1.9, 1.6)).subplots()
    figures.head_map(embedding(12, 12), labels="all", ax=ax)
    *names, note = [text.get_text() for text in ax.texts]
    assert note == f"no room for {144 - len(names)} names"


def legend(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_behaviours_have_colours_markers_and_counts(ax: Axes) -> None:
    shown = embedding()
    labelled = behaviors(shown.names, {"sep": ["1-1", "1-2"], "next": ["2-1"], "obj": ["3-4"]}, by_hand=("obj",))
    figures.head_map(shown, color_by=labelled, ax=ax)
    assert legend(ax) == ["next token (1)", "[SEP] (2)", "obj (1)", "no label (8)"]
    assert [len(group.get_offsets()) for group in ax.collections] == [1, 2, 1, 8]
    np.testing.assert_array_equal(ax.collections[1].get_offsets(), shown.coordinates[:2])
    looks = {(to_hex(g.get_facecolor()[0]), g.get_paths()[0].vertices.tobytes()) for g in ax.collections}
    assert len(looks) == 4


def test_names_of_relations_are_written_as_they_are(ax: Axes, tmp_path: Path) -> None:
    shown = embedding()
    labelled = behaviors(shown.names, {"$\\frac{x$": ["1-1"], "_dep": ["1-2"]}, by_hand=("$\\frac{x$", "_dep"))
    figures.head_map(shown, color_by=labelled, ax=ax)
    assert legend(ax) == ["$\\frac{x$ (1)", "_dep (1)", "no label (10)"]
    figures.save(ax, tmp_path / "a.svg")


def test_every_behaviour_looks_different(ax: Axes) -> None:
    shown = embedding(6, 6)
    from bertattn.clustering.behaviors import SURFACE

    kinds = [*SURFACE, *(f"relation{i}" for i in range(20))]
    labelled = behaviors(shown.names, {kind: [name] for kind, name in zip(kinds, shown.names, strict=False)})
    figures.head_map(shown, color_by=labelled, ax=ax)
    looks = {
        (to_hex(g.get_facecolor()[0]), to_hex(g.get_edgecolor()[0]), g.get_paths()[0].vertices.tobytes())
        for g in ax.collections
    }
    assert len(looks) == len(kinds) + 1


def test_clusters_have_colours(ax: Axes) -> None:
    distances = head_distances(3, 4)
    clusters = cluster_heads(distances, clusters=3)
    figures.head_map(embed_heads(distances, method="classical"), color_by=clusters, ax=ax)
    assert legend(ax) == [f"cluster {k} ({len(clusters.members(k))})" for k in (1, 2, 3)]


def test_more_clusters_than_colours_still_look_different(ax: Axes) -> None:
    distances = head_distances(5, 4)
    figures.head_map(embed_heads(distances, method="classical"), color_by=cluster_heads(distances, clusters=20), ax=ax)
    looks = {(to_hex(g.get_facecolor()[0]), g.get_paths()[0].vertices.tobytes()) for g in ax.collections}
    assert len(looks) == 20


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: figures.head_map(np.eye(3)), ValidationError, "head_map draws what clustering.embed_heads gives"),
        (lambda e: figures.head_map(e, color_by="head"), ValidationError, "color_by must be 'layer', .* is 'head'"),
        (lambda e: figures.head_map(e, color_by=3), ValidationError, "color_by must be 'layer', .* but is int"),
        (
            lambda e: figures.head_map(e, color_by=behaviors(("1-1",), {})),
            ValidationError,
            "color_by is of other heads than the embedding; make both of the same layers and heads",
        ),
        (lambda e: figures.head_map(e, labels="1-1"), SelectionError, r"labels must be 'all' or a list .*\['8-10'\]"),
        (lambda e: figures.head_map(e, labels=["9-1"]), SelectionError, "no head 9-1; there are 12, from 1-1 to 3-4"),
        (lambda e: figures.cluster_figure(e, e), ValidationError, "cluster_figure needs what clustering.label_behav"),
        (
            lambda e: figures.head_map(e, labels=3),
            ValidationError,
            "labels must be a sequence, one entry a head, but is 3",
        ),
        (
            lambda e: figures.head_map(e, ax=3),
            ValidationError,
            "head_map draws on matplotlib's Axes, but ax is int; leave",
        ),
        (
            lambda e: figures.dendrogram(cluster_heads(np.zeros((2, 2))), ax="x"),
            ValidationError,
            "dendrogram draws on matplotlib's Axes, but ax is str; leave it out for new ones",
        ),
        (
            lambda e: figures.distance_matrix(head_distances(2, 2), ax=figures),
            ValidationError,
            "distance_matrix draws on matplotlib's Axes, but ax is module",
        ),
        (
            lambda e: figures.distance_matrix(head_distances(2, 2), order=[]),
            SelectionError,
            "order names no head; leave it out to show all of them",
        ),
        (
            lambda e: figures.distance_matrix(head_distances(2, 2), sqrt="no"),
            ValidationError,
            "sqrt must be True or False, but is 'no'",
        ),
        (figures.dendrogram, ValidationError, "dendrogram draws what clustering.cluster_heads gives"),
        (figures.distance_matrix, ValidationError, "distance_matrix draws what clustering.head_dist"),
    ],
)
def test_wrong_arguments_are_named(call: Callable[[HeadEmbedding], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(embedding())


def test_layers_that_are_not_known_have_no_colour(ax: Axes) -> None:
    unnamed = embed_heads(head_distances(2, 3).matrix(), method="classical")
    with pytest.raises(ValidationError, match=r"the distances were a bare matrix; give embed_heads the shape"):
        figures.head_map(unnamed, ax=ax)
    clusters = cluster_heads(head_distances(2, 3).matrix(), clusters=2)
    figures.head_map(unnamed, color_by=clusters, labels=["3"], ax=ax)
    assert [text.get_text() for text in ax.texts] == ["3"]


@pytest.mark.parametrize("name", ["head_map", "cluster_figure", "dendrogram", "distance_matrix", "gradient_figure"])
def test_without_matplotlib_the_function_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    distances = head_distances(2, 2)
    shown = embed_heads(distances, method="classical")
    given: dict[str, tuple[Any, ...]] = {
        "head_map": (shown,),
        "cluster_figure": (shown, behaviors(shown.names, {})),
        "dendrogram": (cluster_heads(distances, clusters=2),),
        "distance_matrix": (distances,),
        "gradient_figure": (gradients(),),
    }
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=rf"figures.{name} needs the package 'matplotlib'"):
        getattr(figures, name)(*given[name])


# cluster_figure


def test_figure_6_shows_the_same_heads_twice_and_names_the_linguistic_ones() -> None:
    shown = embedding()
    labelled = behaviors(shown.names, {"sep": ["1-1", "1-2"], "det": ["2-3"], "obj": ["3-4"]}, by_hand=("det", "obj"))
    figure = figures.cluster_figure(shown, labelled, figure=Figure())
    left, right = figure.axes[:2]
    assert [ax.get_title() for ax in (left, right)] == ["by behaviour", "by layer"]
    assert left.get_legend() is not None
    assert right.get_legend() is None
    assert [text.get_text() for text in left.texts] == [text.get_text() for text in right.texts] == ["2-3", "3-4"]
    drawn = np.vstack([group.get_offsets() for group in left.collections])
    np.testing.assert_array_equal(np.sort(drawn, 0), np.sort(right.collections[0].get_offsets(), 0))
    assert figure.get_suptitle().startswith("12 heads, classical MDS")


# dendrogram


def test_the_tree_is_drawn_with_its_heights_and_clusters(ax: Axes) -> None:
    clusters = cluster_heads(head_distances(3, 4), clusters=2)
    figures.dendrogram(clusters, ax=ax)
    (branches,) = ax.collections
    segments = np.array(branches.get_segments())
    np.testing.assert_allclose(np.sort(segments[:, 1, 0]), clusters.tree[:, 2])
    ends = segments[:, [0, 3]].reshape(-1, 2)
    assert sorted(ends[ends[:, 0] == 0, 1]) == list(range(12))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [clusters.names[i] for i in clusters.order]
    label = dict(zip(range(12), clusters.labels[clusters.order], strict=True))
    for (_, first), (_, last), color in zip(segments[:, 0], segments[:, 3], branches.get_colors(), strict=True):
        within = {label[leaf] for leaf in range(round(first), round(last) + 1)}
        expected = figures.COLORS[within.pop() - 1] if len(within) == 1 else "0.45"
        assert to_hex(color) == to_hex(expected)
    assert ax.get_xlabel() == "distance (nats), average linkage"


def test_names_of_144_leaves_do_not_overlap_and_have_the_colour_of_their_layer() -> None:
    ax = figures.dendrogram(cluster_heads(head_distances(12, 12), clusters=5))
    ax.figure.draw_without_rendering()
    ticks = ax.get_yticklabels()
    box = boxes(ticks)
    assert overlapping(box, box).sum() == 144
    assert ticks[0].get_fontsize() >= 5
    of_layer = {(tick.get_text().split("-")[0], to_hex(tick.get_color())) for tick in ticks}
    assert len(of_layer) == len({color for _, color in of_layer}) == 12


def test_the_first_leaf_stands_on_top(ax: Axes) -> None:
    clusters = cluster_heads(head_distances(2, 3), clusters=2)
    figures.dendrogram(clusters, ax=ax)
    bottom, top = ax.get_ylim()
    left, right = ax.get_xlim()
    assert bottom > top
    assert left > right == 0


def test_one_head_is_a_tree_without_branches(ax: Axes) -> None:
    clusters: HeadClusters = cluster_heads(np.zeros((1, 1)), clusters=1)
    figures.dendrogram(clusters, ax=ax)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(clusters.names)
    assert not ax.collections


# distance_matrix


def test_layers_are_parted_by_lines(ax: Axes) -> None:
    distances = head_distances(3, 4)
    figures.distance_matrix(distances, ax=ax)
    np.testing.assert_array_equal(ax.images[0].get_array(), distances.matrix())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["1", "2", "3"]
    assert list(ax.get_yticks()) == [1.5, 5.5, 9.5]
    assert sorted({float(np.ravel(line.get_ydata())[0]) for line in ax.lines[::2]}) == [3.5, 7.5]


def test_the_order_may_be_that_of_a_tree_or_names(ax: Axes) -> None:
    distances = head_distances(3, 4)
    clusters = cluster_heads(distances, clusters=2)
    figures.distance_matrix(distances, order=clusters, sqrt=True, ax=ax)
    order = clusters.order
    np.testing.assert_array_equal(ax.images[0].get_array(), np.sqrt(distances.matrix())[np.ix_(order, order)])
    assert not ax.lines
    ax = figures.distance_matrix(distances, order=["3-4", "1-1"])
    assert ax.images[0].get_array()[0, 1] == distances.matrix()[11, 0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3-4", "1-1"]
    with pytest.raises(SelectionError, match="there is no head 4-1"):
        figures.distance_matrix(distances, order=["4-1"])
    with pytest.raises(ValidationError, match="order has clusters of other heads than the distances"):
        figures.distance_matrix(distances, order=cluster_heads(head_distances(2, 3), clusters=2))


# gradient_figure


def gradients(sequences: int = 4, **absent: bool) -> Summary:
    rng = np.random.default_rng(0)
    names = [
        f"{quantity}/{category}/{reduction}/{queries}"
        for quantity in ("gradient", "attention_x_gradient")
        for category in ("unmasked", "cls", "sep", "punctuation", "other")
        for reduction in ("sum_queries", "mean_entries")
        for queries in ("all", "predicted")
    ]
    one = np.array([np.nan if absent.get(name.split("/")[1]) else 1.0 for name in names])[:, None, None]
    table: Any = sum((Moments.of(one * rng.random((len(names), 3, 4))) for _ in range(sequences)), Moments())
    return Summary(tuple(range(3)), tuple(range(4)), tuple(names), table, sequences=sequences)


@pytest.mark.parametrize(
    "options",
    [{}, {"quantity": "attention_x_gradient", "reduction": "mean_entries", "queries": "predicted"}],
)
def test_figure_3_has_a_line_for_each_kind_of_key_through_the_means_of_the_layers(options: dict[str, Any]) -> None:
    summary = gradients()
    figure = figures.gradient_figure(summary, figure=Figure(), **options)
    (ax,) = figure.axes
    assert legend(ax) == ["All unmasked tokens", "[SEP]", ". or ,"]
    chosen = {"quantity": "gradient", "reduction": "sum_queries", "queries": "all"} | options
    dots = [group for group in ax.collections if len(group.get_offsets()) == 12]
    for category, line, points, bar in zip(
        ("unmasked", "sep", "punctuation"), ax.lines, dots, ax.containers, strict=False
    ):
        name = f"{chosen['quantity']}/{category}/{chosen['reduction']}/{chosen['queries']}"
        np.testing.assert_allclose(line.get_ydata(), summary.mean(name).mean(-1))
        np.testing.assert_allclose(points.get_offsets()[:, 1], summary.mean(name).ravel())
        low, high = summary.interval(name)
        ends = np.array(bar.lines[2][0].get_segments())[:, :, 1]
        np.testing.assert_allclose(ends, np.stack([low.mean(-1), high.mean(-1)], -1))
        assert to_hex(bar.lines[2][0].get_color()[0]) == to_hex(line.get_color())
    assert len(ax.containers) == 3
    assert ax.get_xlabel() == "Layer"
    assert ax.get_ylabel() == ("|∂L/∂a|, sum over queries" if not options else "a · ∂L/∂a, mean over queries")
    assert (ax.get_ylim()[0] == 0) == (not options)


def test_keys_that_no_sequence_has_are_named_and_keep_the_others_colours() -> None:
    (ax,) = figures.gradient_figure(gradients(sep=True), figure=Figure()).axes
    assert legend(ax) == ["All unmasked tokens", ". or ,"]
    assert ax.get_legend().get_title().get_text() == "(no [SEP] in these sequences)"
    assert to_hex(ax.lines[1].get_color()) == figures.COLORS[2].lower()
    assert to_hex(ax.containers[1].lines[2][0].get_color()[0]) == figures.COLORS[2].lower()


def test_one_sequence_has_no_interval_and_nothing_defined_is_said() -> None:
    figures.gradient_figure(gradients(1), figure=Figure())
    (ax,) = figures.gradient_figure(gradients(unmasked=True, sep=True, punctuation=True), figure=Figure()).axes
    assert ax.texts[0].get_text() == "undefined in every head"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantity": "loss"}, "quantity must be 'gradient' or 'attention_x_gradient', but is 'loss'"),
        ({"reduction": "max"}, "reduction must be 'sum_queries' or 'mean_entries', but is 'max'"),
        ({"queries": "some"}, "queries must be 'all' or 'predicted', but is 'some'"),
    ],
)
def test_unknown_options_of_figure_3(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        figures.gradient_figure(gradients(), **options)


def test_other_summaries_are_refused_with_the_remedy() -> None:
    table = Moments.of(np.zeros((1, 2, 2)))
    with pytest.raises(
        SelectionError, match=r"lacks: gradient/unmasked/.* make it with attribution.gradient_importance"
    ):
        figures.gradient_figure(Summary((0, 1), (0, 1), ("entropy",), table))
    with pytest.raises(ValidationError, match="gradient_figure draws a Summary, not a list"):
        figures.gradient_figure([])
