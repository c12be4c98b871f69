"""Trained probes: Clark et al. 2019, Table 3, and what each head adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from bertattn.errors import ValidationError
from bertattn.figures._drawing import COLORS, accuracy_axes, need_matplotlib, new_axes
from bertattn.tensor import format_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bertattn.probes import HeadWeights, ProbeTable

__all__ = [
    "probe_figure",
    "probe_weights",
]


def probe_figure(table: ProbeTable, /, *, ax: Axes | None = None) -> Axes:
    """Probes and baselines side by side: Clark et al. 2019, Table 3, as a picture.

    A dot is the accuracy, the mean of the seeds where there are several, and the bar its interval over sentences; the
    thin line below goes from the seed with the smallest accuracy to that with the largest. What is measured in another
    way than the others is hollow, and its name says how.

    Args:
        table: of `probes.probe_table`; the rows keep its order.
        ax: where to draw.

    Raises:
        ValidationError: anything else.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import Sentence, probes
        >>> from matplotlib.figure import Figure
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2])
        >>> right = probes.score_governors([tree], [probes.right_branching(tree)])
        >>> ax = probe_figure(probes.probe_table({"right-branching": right}), ax=Figure().subplots())
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['right-branching']
    """
    need_matplotlib("probe_figure")
    if not all(hasattr(row, "comparable") for row in getattr(table, "rows", (None,))):
        raise ValidationError(
            f"probe_figure draws what probes.probe_table gives, not a {type(table).__name__}; "
            "give probes.probe_table(scores)"
        )
    rows = table.rows
    if ax is None:
        ax = new_axes(figsize=(6.8, 1.2 + 0.34 * len(rows)))
    places = np.arange(len(rows))
    accuracy = np.array([100 * row.accuracy for row in rows])
    ends = np.array([[100 * (row.accuracy - row.low), 100 * (row.high - row.accuracy)] for row in rows]).T
    ax.errorbar(
        accuracy, places, xerr=np.maximum(ends, 0.0), fmt="none", ecolor=COLORS[0], elinewidth=1.8,
        label=f"{table.level:.0%} interval over sentences", zorder=3,
    )  # fmt: skip
    ax.scatter(
        accuracy, places, s=34, linewidths=1.4, edgecolors=COLORS[0], zorder=4,
        facecolors=[COLORS[0] if row.comparable else "white" for row in rows],
    )  # fmt: skip
    several = [place for place, row in zip(places, rows, strict=True) if row.seeds > 1]
    if several:
        smallest, largest = ([100 * getattr(rows[i], name) for i in several] for name in ("smallest", "largest"))
        below = np.array(several) + 0.24
        ax.hlines(below, smallest, largest, color="0.25", linewidth=1.0, label="over seeds", zorder=2)
        ax.plot([*smallest, *largest], [*below, *below], "|", color="0.25", markersize=5, zorder=2)
    for place, row in zip(places, rows, strict=True):
        right = 100 * np.nanmax([row.high, row.largest])
        ax.annotate(
            f"{100 * row.accuracy:.1f}", (right, float(place)), (7, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    labels = [row.name if row.comparable else f"{row.name} ({row.measure})" for row in rows]
    accuracy_axes(ax, labels, "Words whose governor is found (%)")
    return ax


def probe_weights(
    weights: HeadWeights,
    /,
    *,
    direction: Literal["both", "from_dependent", "to_dependent"] = "both",
    named: int = 5,
    ax: Axes | None = None,
) -> Axes:
    """How much each head speaks for the right governor in a probe: a grid of layers and heads, in nats.

    Purple heads speak for it, orange ones against it, white ones neither way.

    Args:
        weights: of `AttentionProbe.head_weights` or `AttentionWordsProbe.head_weights`.
        direction: "both" adds the margins of a head's attention from the dependent and to it.
        named: how many heads, those with the largest margins, have their names in the grid.
        ax: where to draw.

    Raises:
        ValidationError: anything else, or an unknown direction.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import probes
        >>> from matplotlib.figure import Figure
        >>> margin = np.array([[[0.2, 0.0]], [[0.1, -0.1]]])  # two directions of one layer x two heads
        >>> weights = probes.HeadWeights("AttentionProbe", (0,), (0, 1), margin, margin, abs(margin))
        >>> probe_weights(weights, ax=Figure().subplots()).get_title()
        'AttentionProbe'
    """
    need_matplotlib("probe_weights")
    if not hasattr(weights, "margin"):
        raise ValidationError(
            f"probe_weights draws the HeadWeights of a probe, not a {type(weights).__name__}; "
            "give probe.head_weights(maps)"
        )
    subtitles = {"both": "", "from_dependent": " (from dependent)", "to_dependent": " (to dependent)"}
    if direction not in subtitles:
        raise ValidationError(f"direction must be one of {', '.join(map(repr, subtitles))}, but is {direction!r}")
    margin = weights.margin.sum(0) if direction == "both" else weights.margin[int(direction == "to_dependent")]
    from matplotlib import colormaps

    layers, heads = margin.shape
    if ax is None:
        ax = new_axes(figsize=(max(3.2, 1.6 + 0.4 * heads), max(2.4, 1.0 + 0.34 * layers)))
    largest = float(np.nanmax(np.abs(margin), initial=0.0)) or 1.0
    cmap = colormaps["PuOr"].with_extremes(bad="0.85")
    image = ax.imshow(margin, vmin=-largest, vmax=largest, cmap=cmap, aspect="auto", interpolation="nearest")
    for set_ticks, numbers in ((ax.set_yticks, weights.layers), (ax.set_xticks, weights.heads)):
        step = max(1, -(-len(numbers) // 24))
        set_ticks(range(0, len(numbers), step), [str(number + 1) for number in numbers[::step]], fontsize=9)
    ax.set_ylabel("Layer")
    ax.set_xlabel("Head")
    size = min(8.0, 0.32 * ax.get_window_extent().width / ax.figure.dpi * 72 / heads)
    order = [i for i in np.argsort(-margin.ravel(), kind="stable") if not np.isnan(margin.flat[i])]
    for i in order[:named]:
        layer, head = divmod(int(i), heads)
        name = format_head(weights.layers[layer], weights.heads[head])
        dark = abs(margin[layer, head]) > 0.6 * largest
        ax.text(head, layer, name, ha="center", va="center", fontsize=size, color="white" if dark else "black")
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.02, 0.0, 0.03, 1.0)))
    bar.set_label("nats for the right governor")
    ax.set_title(f"{weights.probe}{subtitles[direction]}")
    return ax
