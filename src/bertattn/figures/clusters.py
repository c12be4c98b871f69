"""Clusters of heads: Clark et al. 2019, Figure 6, with the distances and the tree behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.errors import SelectionError, ValidationError
from bertattn.figures._drawing import (
    COLORS,
    MARKERS,
    OTHER,
    label_size,
    need_matplotlib,
    new_axes,
    plain_legend,
    sized_figure,
)
from bertattn.figures._placing import place_labels
from bertattn.tensor import HeadName, format_head, parse_head

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from bertattn.clustering import HeadBehaviors, HeadClusters, HeadDistances, HeadEmbedding

__all__ = ["cluster_figure", "dendrogram", "distance_matrix", "head_map"]


class _Look(NamedTuple):
    """What the heads of one group are called and look like."""

    name: str
    color: str
    marker: str
    edge: str = "white"
    size: float = 1.0


SURFACE = {
    "next": _Look("next token", COLORS[0], ">"),
    "previous": _Look("previous token", COLORS[5], "<"),
    "broad": _Look("broad", COLORS[4], "o"),
    "cls": _Look("[CLS]", COLORS[3], "D"),
    "sep": _Look("[SEP]", COLORS[1], "s"),
    "bos": _Look("BOS", COLORS[3], "d"),
    "eos": _Look("EOS", COLORS[1], "p"),
    "punctuation": _Look(". or ,", COLORS[2], "^"),
}
LINGUISTIC_MARKERS = ("*", "P", "X", "h", "D", "s", "^", "v")
NONE = _Look("no label", OTHER, "o", size=0.5)
# Sizes of names in points: the largest at which nine in ten stand nearer to their point than `FAR`, or the smallest.
SIZES = (8.0, 6.5, 5.0)
FAR = 12.0


def head_map(
    embedding: HeadEmbedding,
    /,
    *,
    color_by: Literal["layer"] | HeadBehaviors | HeadClusters = "layer",
    labels: Literal["all"] | Sequence[HeadName] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Heads as points, near each other where their attention is alike: one panel of Clark et al. 2019, Figure 6.

    Both axes have the same scale, in the unit of the distances. No name covers another; a thin line leads from a name
    that has no place beside its point. Names are placed for the size that the axes have now.

    Args:
        embedding: of `clustering.embed_heads`; of more than two dimensions the first two are drawn.
        color_by: "layer", or what `clustering.label_behaviors` or `clustering.cluster_heads` gives for the same heads.
        labels: which heads are named: "all", or their names.
        ax: where to draw.

    Raises:
        ValidationError: anything else, behaviours or clusters of other heads, or layers that are not known.
        SelectionError: a head that is not there.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import clustering
        >>> from matplotlib.figure import Figure
        >>> distances = np.array([[0.0, 0.1, 0.5], [0.1, 0.0, 0.5], [0.5, 0.5, 0.0]])
        >>> embedding = clustering.embed_heads(distances, shape=(1, 3))
        >>> ax = head_map(embedding, labels=["1-2"], ax=Figure().subplots())
        >>> [text.get_text() for text in ax.texts]
        ['1-2']
    """
    _check_axes("head_map", ax)
    points = _points("head_map", embedding)
    if ax is None:
        ax = new_axes(figsize=(7.2, 5.4) if len(points) < 100 else (9.0, 7.2))
    chosen = _chosen(embedding, labels)
    _draw_map(ax, embedding, points, color_by)
    ax.set_title(_caption(embedding), fontsize=10, loc="left")
    _name_heads(ax, embedding, points, chosen)
    return ax


def cluster_figure(embedding: HeadEmbedding, behaviors: HeadBehaviors, /, *, figure: Figure | None = None) -> Figure:
    """Heads as points, on the left coloured by what they do, on the right by their layer: Clark et al. 2019, Figure 6.

    The heads of linguistic behaviours are named.

    Args:
        embedding: of `clustering.embed_heads`.
        behaviors: of `clustering.label_behaviors`, for the same heads.
        figure: where to draw; its size is set to fit.

    Raises:
        ValidationError: anything else, behaviours of other heads, or layers that are not known.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, clustering, patterns, summarize
        >>> from matplotlib.figure import Figure
        >>> rows = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 2, 3))
        >>> a = AttentionTensor(rows, Axis(["[CLS]", "hi", "[SEP]"], roles=["cls", None, "sep"]))
        >>> embedding = clustering.embed_heads(clustering.head_distances([a]))
        >>> surface = summarize([a, a], patterns.surface_patterns)
        >>> behaviors = clustering.label_behaviors(surface, linguistic={"1-2": "obj"})
        >>> [ax.get_title() for ax in cluster_figure(embedding, behaviors, figure=Figure()).axes]
        ['by behaviour', 'by layer']
    """
    points = _points("cluster_figure", embedding)
    if not hasattr(behaviors, "flags"):
        raise ValidationError(
            f"cluster_figure needs what clustering.label_behaviors gives, not a {type(behaviors).__name__}; "
            "head_map colours by clusters"
        )
    figure = sized_figure(figure, figsize=(13.0, 5.4), caller="cluster_figure")
    panels = figure.subplots(1, 2)
    named = [i for i, label in enumerate(behaviors.labels) if label in behaviors.picked_on]
    for ax, color_by, title in zip(panels, (behaviors, "layer"), ("by behaviour", "by layer"), strict=True):
        _draw_map(ax, embedding, points, color_by)
        ax.set_title(title)
    figure.suptitle(_caption(embedding), fontsize=10)
    for ax in panels:
        _name_heads(ax, embedding, points, named)
    return figure


def dendrogram(clusters: HeadClusters, /, *, ax: Axes | None = None) -> Axes:
    """The tree of merged clusters: heads on the right, and on the way left where they merge, at which distance.

    Branches within one cluster have its colour; names of heads have that of their layer, if it is known.

    Args:
        clusters: of `clustering.cluster_heads`.
        ax: where to draw; new axes are high enough for all names.

    Raises:
        ValidationError: anything else.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import clustering
        >>> from matplotlib.figure import Figure
        >>> distances = np.array([[0.0, 0.1, 0.5], [0.1, 0.0, 0.5], [0.5, 0.5, 0.0]])
        >>> clusters = clustering.cluster_heads(distances, clusters=2, shape=(1, 3))
        >>> ax = dendrogram(clusters, ax=Figure().subplots())
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['1-3', '1-1', '1-2']
    """
    _check_axes("dendrogram", ax)
    if not hasattr(clusters, "tree"):
        raise ValidationError(
            f"dendrogram draws what clustering.cluster_heads gives, not a {type(clusters).__name__}; "
            "give cluster_heads(distances)"
        )
    from matplotlib.collections import LineCollection
    from scipy.cluster import hierarchy

    heads = len(clusters.names)
    if ax is None:
        ax = new_axes(figsize=(6.4, max(2.4, 1.0 + 0.125 * heads)))
    of_node = _clusters_of_nodes(clusters.tree, clusters.labels)
    if heads > 1:
        drawn = hierarchy.dendrogram(
            clusters.tree,
            no_plot=True,
            link_color_func=lambda node: _cluster_look(of_node[node]).color if of_node[node] else "0.45",
        )
        heights, places = np.array(drawn["dcoord"]), (np.array(drawn["icoord"]) - 5) / 10  # SciPy: 5, 15, 25 ...
        branches = list(np.stack([heights, places], -1))
        ax.add_collection(LineCollection(branches, colors=drawn["color_list"], linewidths=1.1))
    ax.set_xlim(1.03 * float(clusters.tree[:, 2].max(initial=0.0)) or 1.0, 0)
    ax.set_ylim(heads - 0.4, -0.6)
    ax.yaxis.tick_right()
    names = [clusters.names[leaf] for leaf in clusters.order]
    ax.set_yticks(range(heads), names, fontsize=label_size(ax, heads), parse_math=False)
    ax.tick_params(axis="y", length=0, pad=2)
    if clusters.layers is not None:
        layers = sorted(set(clusters.layers))
        cmap = _layer_colors(len(layers))
        for tick, leaf in zip(ax.get_yticklabels(), clusters.order, strict=True):
            tick.set_color(cmap(layers.index(clusters.layers[leaf])))
    ax.set_xlabel(f"distance ({'√nats' if clusters.sqrt else 'nats'}), {clusters.linkage} linkage")
    ax.spines[["top", "left", "right"]].set_visible(False)
    return ax


def distance_matrix(
    distances: HeadDistances,
    /,
    *,
    order: HeadClusters | Sequence[HeadName] | None = None,
    sqrt: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """The distances between all heads as a matrix, dark where attention is alike. Undefined ones are grey.

    Args:
        distances: of `clustering.head_distances`.
        order: None shows layer after layer, with lines between them; clusters show the order of their tree; or the
            names of the heads to show.
        sqrt: show the root of the mean divergence.
        ax: where to draw.

    Raises:
        ValidationError: anything else, or clusters of other heads.
        SelectionError: a head that is not there, or none at all.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import AttentionTensor, clustering
        >>> from matplotlib.figure import Figure
        >>> a = AttentionTensor([[np.eye(2), np.full((2, 2), 0.5), [[0.4, 0.6], [0.5, 0.5]]]], ["a", "b"])
        >>> distances = clustering.head_distances([a])
        >>> ax = distance_matrix(distances, order=["1-3", "1-1"], ax=Figure().subplots())
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['1-3', '1-1']
    """
    _check_axes("distance_matrix", ax)
    if not hasattr(distances, "matrix"):
        raise ValidationError(
            f"distance_matrix draws what clustering.head_distances gives, not a {type(distances).__name__}; "
            "give head_distances(stream)"
        )
    from matplotlib import colormaps

    chosen = _order(distances, order)
    values = distances.matrix(sqrt=sqrt)[np.ix_(chosen, chosen)]
    by_layer = order is None and len(distances.layers) > 1
    if ax is None:
        side = min(12.0, max(4.4, 1.0 + (0.05 if by_layer else 0.115) * len(chosen)))
        ax = new_axes(figsize=(1.1 * side + 1.0, side))
    cmap = colormaps["Blues_r"].with_extremes(bad="0.85")
    image = ax.imshow(values, vmin=0.0, cmap=cmap, interpolation="nearest")
    if by_layer:
        _layer_ticks(ax, [layer for layer, _ in distances.places])
    else:
        names = [distances.names[i] for i in chosen]
        size = label_size(ax, len(names))
        for set_ticks in (ax.set_xticks, ax.set_yticks):
            set_ticks(range(len(names)), names, fontsize=size, parse_math=False)
        ax.tick_params(axis="x", labelrotation=90)
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0.0, 0.04, 1.0)))
    bar.set_label("root of the mean divergence (√nats)" if sqrt else "mean Jensen-Shannon divergence (nats)")
    return ax


def _check_axes(function: str, ax: object) -> None:
    need_matplotlib(function)
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise ValidationError(
            f"{function} draws on matplotlib's Axes, but ax is {type(ax).__name__}; leave it out for new ones"
        )


def _points(function: str, embedding: Any) -> Numpy:
    """The first two coordinates, `[head, 2]`."""
    if not hasattr(embedding, "coordinates") or not hasattr(embedding, "stress"):
        raise ValidationError(
            f"{function} draws what clustering.embed_heads gives, not a {type(embedding).__name__}; "
            "give embed_heads(distances)"
        )
    coordinates = np.asarray(embedding.coordinates, dtype=np.float64)
    flat = np.zeros((len(coordinates), max(0, 2 - coordinates.shape[1])))
    points: Numpy = np.hstack([coordinates, flat])[:, :2]
    return points


def _caption(embedding: HeadEmbedding) -> str:
    dimensions = np.shape(embedding.coordinates)[1]
    shown = f", dimensions 1 and 2 of {dimensions}" if dimensions > 2 else ""
    stress = "all distances 0" if np.isnan(embedding.stress) else f"stress-1 {embedding.stress:.2f}"
    return f"{len(embedding.names)} heads, {embedding.method} MDS{shown}, {stress}"


def _draw_map(ax: Axes, embedding: HeadEmbedding, points: Numpy, color_by: Any) -> None:
    """The points, with a legend or a scale of layers on the right."""
    size = 38.0 if len(points) < 100 else 26.0
    if isinstance(color_by, str):
        if color_by != "layer":
            raise ValidationError(f"color_by must be 'layer', behaviours or clusters, but is {color_by!r}")
        _draw_layers(ax, embedding, points, size)
    else:
        groups = _groups(embedding, color_by)
        entries: list[tuple[Artist, str]] = []
        for look, members in groups:
            dots = ax.scatter(
                points[members, 0], points[members, 1], s=size * look.size, color=look.color, marker=look.marker,
                linewidths=0.5, edgecolors=look.edge, zorder=2 + (look is not NONE),
            )  # fmt: skip
            entries.append((dots, f"{look.name} ({len(members)})"))
        plain_legend(
            ax, entries, frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0,
            ncols=1 + (len(groups) > 24),
        )  # fmt: skip
    ax.margins(0.08)  # room for the names of the outermost heads
    ax.set_aspect("equal", adjustable="datalim")
    ax.tick_params(labelsize=7, colors="0.45", length=2)
    ax.spines[:].set_color("0.8")
    ax.set_xlabel("√nats" if embedding.sqrt else "nats", fontsize=8, color="0.45")


def _draw_layers(ax: Axes, embedding: HeadEmbedding, points: Numpy, size: float) -> None:
    if embedding.layers is None:
        raise ValidationError(
            "the layers of the heads are not known, as the distances were a bare matrix; give embed_heads the shape "
            "(layers, heads), or colour by behaviours or clusters"
        )
    from matplotlib.colors import BoundaryNorm

    layers = sorted(set(embedding.layers))
    number = [layers.index(layer) for layer in embedding.layers]
    norm = BoundaryNorm(np.arange(len(layers) + 1) - 0.5, len(layers))
    dots = ax.scatter(
        points[:, 0], points[:, 1], c=number, cmap=_layer_colors(len(layers)), norm=norm, s=size, linewidths=0.5,
        edgecolors="white", zorder=3,
    )  # fmt: skip
    step = -(-len(layers) // 16)
    bar = ax.figure.colorbar(dots, cax=ax.inset_axes((1.03, 0.0, 0.03, 1.0)), ticks=range(0, len(layers), step))
    bar.ax.set_yticklabels([str(layer + 1) for layer in layers[::step]], fontsize=8)
    bar.ax.tick_params(which="both", length=0)
    bar.set_label("Layer")


def _layer_colors(count: int) -> Colormap:
    """As many colours from dark to light; the lightest would not be seen on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0, 0.88, count)))


def _groups(embedding: HeadEmbedding, by: Any) -> list[tuple[_Look, list[int]]]:
    """For each label or cluster that occurs its look and its heads."""
    if not hasattr(by, "labels"):
        raise ValidationError(
            "color_by must be 'layer', or what clustering.label_behaviors or cluster_heads gives, but is "
            f"{type(by).__name__}"
        )
    if tuple(by.names) != tuple(embedding.names):
        raise ValidationError("color_by is of other heads than the embedding; make both of the same layers and heads")
    labels = list(by.labels)
    if not hasattr(by, "flags"):
        return [
            (_cluster_look(k), [i for i, label in enumerate(labels) if label == k])
            for k in sorted({int(label) for label in labels})
        ]
    looks: dict[str | None, _Look] = {name: look for name, look in SURFACE.items() if name in labels}
    for i, name in enumerate(name for name in by.flags if name not in SURFACE and name in labels):
        marker = LINGUISTIC_MARKERS[i % len(LINGUISTIC_MARKERS)]
        looks[name] = _Look(name, COLORS[i % 6], marker, edge="black", size=2.2)
    if None in labels:
        looks[None] = NONE
    return [(look, [i for i, label in enumerate(labels) if label == name]) for name, look in looks.items()]


def _cluster_look(number: int) -> _Look:
    i, turn = (number - 1) % len(COLORS), (number - 1) // len(COLORS)
    return _Look(f"cluster {number}", COLORS[i], MARKERS[(i + turn) % len(MARKERS)])


def _chosen(embedding: HeadEmbedding, labels: Any) -> list[int]:
    """The heads to name, by their place in the embedding."""
    names = list(embedding.names)
    if labels is None:
        return []
    if isinstance(labels, str):
        if labels != "all":
            raise SelectionError(f"labels must be 'all' or a list of heads, such as ['8-10'], but is {labels!r}")
        return list(range(len(names)))
    return [_index(names, head) for head in _arrays.column("labels", labels, entry="head")]


def _index(names: Sequence[str], head: HeadName) -> int:
    name = head if head in names else format_head(*parse_head(head))
    if name not in names:
        raise SelectionError(f"there is no head {name}; there are {len(names)}, from {names[0]} to {names[-1]}")
    return list(names).index(cast("str", name))


def _name_heads(ax: Axes, embedding: HeadEmbedding, points: Numpy, chosen: Sequence[int]) -> None:
    """Write the names of some heads beside their points, smaller where they are many."""
    from matplotlib.text import Text

    if not chosen:
        return
    figure = cast("Figure", ax.get_figure(root=True))
    line = {"arrowstyle": "-", "color": "0.55", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
    texts = [
        ax.annotate(
            embedding.names[i], points[i], (0, 0), textcoords="offset points", ha="center", va="center", zorder=5,
            parse_math=False, in_layout=False, arrowprops=line,
        )
        for i in chosen
    ]  # fmt: skip
    figure.draw_without_rendering()  # only then the axes have their place and scale
    pixels = figure.dpi / 72
    middles = ax.transData.transform(points)
    wanted = middles[list(chosen)]
    frame = np.array(ax.get_window_extent().extents)
    radius = 4.2 * pixels
    for size in SIZES:
        sizes = np.empty((len(texts), 2))
        for i, text in enumerate(texts):
            text.set_fontsize(size)
            box = Text.get_window_extent(text)
            sizes[i] = box.width, box.height
        placed = place_labels(wanted, sizes, frame, others=middles, radius=radius)
        apart = np.linalg.norm(np.maximum(np.abs(placed - wanted) - sizes / 2, 0), axis=-1)
        if np.mean(apart <= FAR * pixels) >= 0.9:
            break
    placed = place_labels(wanted, sizes, frame, others=middles, radius=radius, rounds=1)
    for text, middle, i in zip(texts, placed, chosen, strict=True):
        if np.isnan(middle).any():
            text.remove()
        else:
            text.set_position(tuple((middle - middles[i]) / pixels))
    left_out = int(np.isnan(placed).any(-1).sum())
    if left_out:
        ax.text(
            0.99, 0.01, f"no room for {left_out} names", transform=ax.transAxes, ha="right", fontsize=7, color="0.35"
        )


def _clusters_of_nodes(tree: Numpy, labels: Numpy) -> list[int]:
    """For each node of the tree, leaves first, the cluster that all its heads are of; 0 where they are of several."""
    of_node = [int(label) for label in labels]
    for left, right in tree[:, :2].astype(int):
        of_node.append(of_node[left] if of_node[left] == of_node[right] else 0)
    return of_node


def _order(distances: HeadDistances, order: Any) -> list[int]:
    names = list(distances.names)
    if order is None:
        return list(range(len(names)))
    if hasattr(order, "tree"):
        if tuple(order.names) != tuple(names):
            raise ValidationError("order has clusters of other heads than the distances; cluster the same heads")
        return [int(leaf) for leaf in order.order]
    heads = _arrays.column("order", order, entry="head")
    if not heads:
        raise SelectionError("order names no head; leave it out to show all of them")
    return [_index(names, head) for head in heads]


def _layer_ticks(ax: Axes, layers: Sequence[int]) -> None:
    """A number in the middle of each layer's heads, and a line between layers."""
    starts = [i for i, layer in enumerate(layers) if i == 0 or layers[i - 1] != layer]
    ends = [*starts[1:], len(layers)]
    middles = [(start + end - 1) / 2 for start, end in zip(starts, ends, strict=True)]
    for set_ticks in (ax.set_xticks, ax.set_yticks):
        set_ticks(middles, [str(layers[start] + 1) for start in starts], fontsize=8)
    ax.tick_params(length=0)
    for start in starts[1:]:
        ax.axhline(start - 0.5, color="white", linewidth=0.8)
        ax.axvline(start - 0.5, color="white", linewidth=0.8)
    ax.set_xlabel("Layer")
    ax.set_ylabel("Layer")
