"""How much the loss depends on attention, by layer: Clark et al. 2019, Figure 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.errors import SelectionError, ValidationError
from bertattn.figures._drawing import COLORS, sized_figure
from bertattn.figures.surface import by_layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bertattn.statistics import Summary

__all__ = ["gradient_figure"]

Quantity = Literal["gradient", "attention_x_gradient"]
Reduction = Literal["sum_queries", "mean_entries"]
Queries = Literal["all", "predicted"]
# As the paper's legend calls them, in the colours that these keys have in Figure 2.
CATEGORIES = {
    "unmasked": ("All unmasked tokens", COLORS[0]),
    "sep": ("[SEP]", COLORS[1]),
    "punctuation": (". or ,", COLORS[2]),
}
MEASURED = {"gradient": "|∂L/∂a|", "attention_x_gradient": "a · ∂L/∂a"}
REDUCED = {"sum_queries": "sum over queries", "mean_entries": "mean over queries"}


def gradient_figure(
    summary: Summary,
    /,
    *,
    quantity: Quantity = "gradient",
    reduction: Reduction = "sum_queries",
    queries: Queries = "all",
    figure: Figure | None = None,
) -> Figure:
    """The size of the gradient of the loss to attention, by layer and kind of key: Clark et al. 2019, Figure 3.

    A line goes through the means of each layer's heads, which are the dots. The bars are 95 % intervals of these means
    over sequences; as how the heads of a layer vary together is not known, they are as long as if all rose and fell as
    one, so too long rather than too short. A kind of key that no sequence has is not drawn, and the legend says so.

    Args:
        summary: of `attribution.gradient_importance`.
        quantity: "gradient", the size of the derivative, or "attention_x_gradient", attention times the derivative,
            which has a sign.
        reduction: "sum_queries" is what all queries together depend on a key, "mean_entries" the mean over queries.
        queries: "all", or those "predicted": in the last layer a masked-LM loss depends on no other.
        figure: where to draw; its size is set to fit.

    Raises:
        ValidationError: an unknown option, or no summary.
        SelectionError: the summary lacks one of the statistics.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, attribution
        >>> from matplotlib.figure import Figure
        >>> a = AttentionTensor(np.full((1, 1, 4, 4), 0.25), Axis(list("abcd"), roles=["cls", None, None, "sep"]))
        >>> g = a.replace(weights=np.full((1, 1, 4, 4), -0.5), measure="signed_gradient", normalized=False)
        >>> summary = attribution.gradient_importance([attribution.Gradients(a, g, 1.0, None)] * 2)
        >>> ax = gradient_figure(summary, figure=Figure()).axes[0]
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['All unmasked tokens', '[SEP]']
    """
    for name, value, choices in (
        ("quantity", quantity, Quantity), ("reduction", reduction, Reduction), ("queries", queries, Queries),
    ):  # fmt: skip
        if value not in get_args(choices):
            raise ValidationError(f"{name} must be {' or '.join(map(repr, get_args(choices)))}, but is {value!r}")
    remedy = "make it with attribution.gradient_importance(stream)"
    if not hasattr(summary, "interval"):
        raise ValidationError(f"gradient_figure draws a Summary, not a {type(summary).__name__}; {remedy}")
    statistics = {category: f"{quantity}/{category}/{reduction}/{queries}" for category in CATEGORIES}
    missing = [name for name in statistics.values() if name not in summary.statistics]
    if missing:
        raise SelectionError(f"gradient_figure needs statistics that the summary lacks: {', '.join(missing)}; {remedy}")
    figure = sized_figure(
        figure, figsize=(min(14.0, max(6.4, 1.6 + 0.45 * len(summary.layers))), 3.9), caller="gradient_figure"
    )
    present = [category for category, name in statistics.items() if not np.isnan(summary.mean(name)).all()]
    absent = [CATEGORIES[category][0] for category in CATEGORIES if category not in present]
    drawn = present or list(CATEGORIES)
    ax = by_layer(
        summary,
        [statistics[category] for category in drawn],
        labels=[CATEGORIES[category][0] for category in drawn],
        colors=[CATEGORIES[category][1] for category in drawn],
        ylabel=f"{MEASURED[quantity]}, {REDUCED[reduction]}",
        ax=figure.subplots(),
    )
    for category, line in zip(present, list(ax.lines), strict=False):
        means = np.asarray(line.get_ydata(), dtype=np.float64)
        reach = _reach(summary, statistics[category])
        ax.errorbar(
            np.asarray(line.get_xdata()), means, yerr=reach, fmt="none", ecolor=CATEGORIES[category][1], elinewidth=1.4,
            zorder=2.5,
        )  # fmt: skip
    if quantity == "gradient":
        ax.set_ylim(bottom=0)
    else:
        ax.axhline(0, color="0.6", linewidth=0.8, zorder=1)
    legend = ax.get_legend()
    if absent and present and legend is not None:
        legend.set_title(f"(no {' and no '.join(absent)} in these sequences)")
        legend.get_title().set_fontsize(9)
    return figure


def _reach(summary: Summary, statistic: str) -> Numpy:
    """Half the interval of each layer's mean: the mean of those of its heads, which no correlation can exceed."""
    low, high = summary.interval(statistic)
    return _arrays.to_numpy(_arrays.nan_mean((high - low) / 2))
