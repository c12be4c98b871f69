"""What heads attend to, by layer: Clark et al. 2019, Figures 2 and 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bertattn import _arrays
from bertattn.errors import SelectionError, ValidationError
from bertattn.figures._drawing import (
    COLORS,
    MARKERS,
    check_summary,
    need_matplotlib,
    new_axes,
    plain_legend,
    sized_figure,
)

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bertattn.statistics import Summary

__all__ = [
    "by_layer",
    "entropy_figure",
    "special_token_figure",
]


def by_layer(
    summary: Summary,
    statistics: Sequence[str],
    /,
    *,
    labels: Sequence[str] | None = None,
    colors: Sequence[str] = COLORS,
    ylabel: str | None = None,
    reference: tuple[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Statistics of heads by layer: a dot for each head, and a line through the means of the layers.

    Layers count from 1. The dots of one layer stand side by side in the order of the heads, so that equal values do
    not hide each other. A head whose value is undefined (NaN) has no dot and does not enter the mean.

    Args:
        summary: corpus means `[layer, head]`.
        statistics: the names of the statistics, one series each.
        labels: what the legend calls them, as it is written ("$" begins no formula).
        colors: of the series, in turn.
        ylabel: what the numbers are, with their unit.
        reference: a label and a value, drawn as a dashed line across.
        ax: where to draw.

    Raises:
        SelectionError: no statistics, or one that the summary lacks.
        ValidationError: more or fewer labels than statistics.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, patterns, summarize
        >>> from matplotlib.figure import Figure
        >>> axis = Axis(["[CLS]", "hi", ".", "[SEP]"], roles=["cls", None, None, "sep"])
        >>> a = AttentionTensor(np.full((2, 3, 4, 4), 0.25), axis)
        >>> summary = summarize([a, a], patterns.surface_patterns)
        >>> ax = by_layer(summary, ["previous", "next"], ax=Figure().subplots())
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['previous', 'next']
    """
    need_matplotlib("by_layer")
    check_summary("by_layer", summary)
    from matplotlib.ticker import MaxNLocator

    if not statistics or isinstance(statistics, str):
        raise SelectionError(f"statistics must be a sequence of names, but is {statistics!r}; write ['entropy']")
    names = list(statistics) if labels is None else list(labels)
    if len(names) != len(statistics):
        raise ValidationError(f"there are {len(names)} labels but {len(statistics)} statistics; give one label each")
    values = [np.asarray(_arrays.to_numpy(summary.mean(name)), dtype=np.float64) for name in statistics]
    undefined = [bool(np.isnan(series).all()) for series in values]
    if ax is None:
        ax = new_axes(figsize=(6.4, 3.4))
    layers = np.array(summary.layers) + 1
    width = 0.7 / len(values)
    entries: list[tuple[Artist, str]] = []
    if reference is not None and not np.isnan(reference[1]):
        line = ax.axhline(
            reference[1], color="0.35", linestyle=(0, (4, 2)), linewidth=1.2, label=reference[0], zorder=1
        )
        entries.append((line, reference[0]))
    for i, (series, name) in enumerate(zip(values, names, strict=True)):
        label = f"{name} (undefined)" if undefined[i] else name
        color, marker = colors[i % len(colors)], MARKERS[i % len(MARKERS)]
        middle = (i - (len(values) - 1) / 2) * width
        spread = np.linspace(-0.4, 0.4, series.shape[1]) * width if series.shape[1] > 1 else np.zeros(1)
        ax.scatter(
            (layers[:, None] + middle + spread).ravel(),
            series.ravel(),
            s=14,
            color=color,
            marker=marker,
            alpha=0.55,
            linewidths=0,
            clip_on=False,  # a dot on the edge is seen whole
            zorder=2,
        )
        mean = _arrays.nan_mean(series)
        (means,) = ax.plot(
            layers + middle,
            mean,
            color=color,
            marker=marker,
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            linewidth=1.6,
            label=label,
            zorder=3,
        )
        entries.append((means, label))
    if all(undefined):
        ax.set_yticks([])
        ax.text(0.5, 0.5, "undefined in every head", transform=ax.transAxes, ha="center", va="center", color="0.35")
    ax.set_xlim(float(layers.min()) - 0.6, float(layers.max()) + 0.6)
    if len(layers) <= 16:
        ax.set_xticks(sorted(int(layer) for layer in layers))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    ax.set_xlabel("Layer")
    if ylabel is not None:
        ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="0.9", linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    if len(names) > 1 or labels is not None or reference is not None:
        above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 4, "borderaxespad": 0.2}
        plain_legend(ax, entries, frameon=False, fontsize=9, **above)
    return ax


def special_token_figure(summary: Summary, /, *, figure: Figure | None = None) -> Figure:
    """Attention to special tokens and punctuation by layer: Clark et al. 2019, Figure 2.

    Above, the average share of attention that each head gives to [CLS], to [SEP], and to full stops and commas; below,
    what goes to [SEP] from [SEP] itself and from all other tokens. Where the tokens that begin and end a text have
    other roles ("bos" and "eos", as in Llama or T5), they are shown above as BOS and EOS.

    A token that no sequence has is not drawn, and the panel says so. GPT-2 puts none around a text; what its heads do
    with attention that they do not need is seen by `patterns.sink_mass`, attention to the first token.

    Args:
        summary: of `patterns.surface_patterns`.
        figure: where to draw; its size is set to fit.

    Raises:
        SelectionError: the summary lacks one of these statistics.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, patterns, summarize
        >>> from matplotlib.figure import Figure
        >>> axis = Axis(["[CLS]", "hi", ".", "[SEP]"], roles=["cls", None, None, "sep"])
        >>> a = AttentionTensor(np.full((2, 3, 4, 4), 0.25), axis)
        >>> summary = summarize([a, a], patterns.surface_patterns)
        >>> len(special_token_figure(summary, figure=Figure()).axes)
        2
    """
    check_summary("special_token_figure", summary, ("cls", "sep", "punctuation", "sep_to_sep", "other_to_sep"))
    shown = {"cls": "[CLS]", "sep": "[SEP]", "punctuation": ". or ,", "bos": "BOS", "eos": "EOS"}
    present = [name for name in shown if _defined(summary, name)]
    absent = [shown[name] for name in ("cls", "sep") if name not in present]
    drawn = present or ["cls", "sep", "punctuation"]
    colors = dict(zip(shown, COLORS, strict=False))
    return _two_panels(
        summary,
        figure,
        caller="special_token_figure",
        ylabel="Avg. attention",
        upper={name: shown[name] for name in drawn},
        upper_colors=[colors[name] for name in drawn],
        upper_note=f"(no {' or '.join(absent)} in these sequences)" if absent else None,
        lower={"sep_to_sep": "[SEP] → [SEP]", "other_to_sep": "other → [SEP]"},
        lower_colors=(COLORS[1], COLORS[6]),  # not those of the panel above, where they mean other keys
        lower_absent="no [SEP] in these sequences" if "sep" not in present else None,
    )


def entropy_figure(summary: Summary, /, *, figure: Figure | None = None) -> Figure:
    """Entropy of the heads' attention by layer, in nats: Clark et al. 2019, Figure 4.

    Above, averaged over all tokens; below, of the attention from [CLS]; where no sequence has one, the panel says so.
    The dashed line is the entropy of attention spread evenly over all tokens.

    Args:
        summary: of `patterns.surface_patterns`.
        figure: where to draw; its size is set to fit.

    Raises:
        SelectionError: the summary lacks one of these statistics.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, patterns, summarize
        >>> from matplotlib.figure import Figure
        >>> axis = Axis(["[CLS]", "hi", ".", "[SEP]"], roles=["cls", None, None, "sep"])
        >>> a = AttentionTensor(np.full((2, 3, 4, 4), 0.25), axis)
        >>> summary = summarize([a, a], patterns.surface_patterns)
        >>> len(entropy_figure(summary, figure=Figure()).axes)
        2
    """
    check_summary("entropy_figure", summary, ("entropy", "entropy_from_cls", "uniform_entropy"))
    return _two_panels(
        summary,
        figure,
        caller="entropy_figure",
        ylabel="Avg. attention entropy (nats)",
        upper={"entropy": "all tokens"},
        lower={"entropy_from_cls": "from [CLS]"},
        lower_absent="no [CLS] in these sequences",
        reference=("uniform attention", "uniform_entropy"),
    )


def _defined(summary: Summary, statistic: str) -> bool:
    """Whether some head has a value of it. The roles bos and eos, which the paper's model lacks, may be left out."""
    if statistic in ("bos", "eos") and statistic not in summary.statistics:
        return False
    return not bool(np.isnan(_arrays.to_numpy(summary.mean(statistic))).all())


def _two_panels(
    summary: Summary,
    figure: Figure | None,
    *,
    caller: str,
    ylabel: str,
    upper: Mapping[str, str],
    lower: Mapping[str, str],
    upper_colors: Sequence[str] = COLORS,
    lower_colors: Sequence[str] = COLORS,
    upper_note: str | None = None,
    lower_absent: str | None = None,
    reference: tuple[str, str] | None = None,
) -> Figure:
    """The figure; `upper_note` ends the legend above, `lower_absent` says why there is nothing below."""
    line = None
    if reference is not None:
        line = (reference[0], float(_arrays.nan_mean(_arrays.to_numpy(summary.mean(reference[1])).ravel())))
    width = min(14.0, max(6.4, 1.6 + 0.45 * len(summary.layers)))
    figure = sized_figure(figure, figsize=(width, 6.4), caller=caller)
    panels = figure.subplots(2, 1, sharex=True)
    for ax, series, colors in zip(panels, (upper, lower), (upper_colors, lower_colors), strict=True):
        labels = list(series.values())
        by_layer(summary, list(series), labels=labels, colors=colors, ylabel=ylabel, reference=line, ax=ax)
        ax.update_datalim([(0, 0)], updatex=False)  # so that the margin above is a share of the whole axis
        ax.autoscale_view(scalex=False)
        ax.set_ylim(bottom=0)
    panels[0].set_xlabel("")
    if upper_note is not None:
        panels[0].get_legend().set_title(upper_note, prop={"size": 9})
    if lower_absent is not None and not any(_defined(summary, name) for name in lower):
        panels[1].texts[0].set_text(lower_absent)
        for drawn in (panels[1].get_legend(), *panels[1].lines):
            drawn.remove()
    return figure
