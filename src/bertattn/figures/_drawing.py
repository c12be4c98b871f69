"""What the figures share: colours, new axes and figures, checks of what is given, and writing to a file."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from bertattn import _files, _optional
from bertattn.errors import SelectionError, StorageError, ValidationError
from bertattn.tensor import AttentionTensor, HeadName, format_head, parse_head

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, neighbours easy to tell apart; the markers tell them apart in grey.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
OTHER = "#BBBBBB"  # attention that is only there for comparison, drawn below the rest
# What XML cannot hold, as UTF-8: a word or the name of a relation may.
_NOT_IN_XML: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")
_lock = threading.Lock()  # the settings of matplotlib are those of all threads


def save(figure: Figure | Axes, path: str | os.PathLike[str], /, *, dpi: int = 160) -> None:
    """Write a figure in the format of the name's ending; the same figure gives the same bytes (no date, fixed ids).

    The file is written under another name and renamed when it is whole. Control characters are left out of an SVG file,
    which could not be read with them.

    Args:
        figure: the figure, or axes: then the whole figure that they are part of.
        path: the file.
        dpi: dots per inch of formats made of dots.

    Raises:
        ValidationError: it is neither a figure nor axes.
        StorageError: matplotlib does not know the format, or the folder is not there.
    """
    from matplotlib import rc_context
    from matplotlib.axes import Axes

    if isinstance(figure, Axes):
        figure = cast("Figure", figure.get_figure(root=True))
    if not hasattr(figure, "canvas"):
        raise ValidationError(
            f"save writes a matplotlib figure, or that of axes, but the first argument is {type(figure).__name__}; "
            "write save(figure, path)"
        )
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in figure.canvas.get_supported_filetypes():
        raise StorageError(f"{path.name!r} does not say a format that matplotlib writes; end it in .png, .svg or .pdf")
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    content = io.BytesIO()
    with _lock, rc_context({"svg.hashsalt": "bertattn"}):
        figure.savefig(content, format=kind, dpi=dpi, metadata=undated)
    drawn = content.getvalue()
    _files.write_whole(path, _NOT_IN_XML.sub(b"", drawn) if kind == "svg" else drawn)


def check_attention(function: str, attention: object) -> None:
    if not isinstance(attention, AttentionTensor):
        raise ValidationError(
            f"{function} draws an AttentionTensor, but the first argument is {type(attention).__name__}; "
            "an Extractor makes one of a text"
        )


def check_summary(function: str, summary: object, needed: Sequence[str] = ()) -> None:
    if not hasattr(summary, "mean") or not hasattr(summary, "statistics"):
        raise ValidationError(
            f"{function} draws a Summary of a corpus, but the first argument is {type(summary).__name__}; "
            "make one: summarize(stream, patterns.surface_patterns)"
        )
    missing = [name for name in needed if name not in summary.statistics]
    if missing:
        raise SelectionError(
            f"{function} needs the statistics of patterns.surface_patterns, but the summary lacks "
            f"{', '.join(missing)}; make it with summarize(stream, patterns.surface_patterns)"
        )


def need_matplotlib(function: str) -> None:
    _optional.require("matplotlib", extra="plot", caller=f"figures.{function}")


def new_axes(*, figsize: tuple[float, float]) -> Axes:
    from matplotlib import pyplot

    axes: Axes = pyplot.subplots(figsize=figsize, layout="constrained")[1]
    return axes


def sized_figure(figure: Figure | None, *, figsize: tuple[float, float], caller: str) -> Figure:
    need_matplotlib(caller)
    if figure is None:
        from matplotlib import pyplot

        return pyplot.figure(figsize=figsize, layout="constrained")
    figure.set_size_inches(*figsize)
    figure.set_layout_engine("constrained")
    return figure


def head_title(head: HeadName) -> str:
    return f"Head {format_head(*parse_head(head))}"


def accuracy_axes(ax: Axes, labels: Sequence[str], xlabel: str, *, columns: int = 2) -> None:
    """Rows with labels on the left, from 0 to 100 %, the legend above in so many columns."""
    ax.set_yticks(range(len(labels)), labels, fontsize=9, parse_math=False)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.set_xlim(0, 108)
    ax.set_xticks(range(0, 101, 20))
    ax.set_xlabel(xlabel)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="x", color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(
        frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=columns, borderaxespad=0.2
    )


def plain_legend(ax: Axes, entries: Sequence[tuple[Artist, str]], /, **options: Any) -> None:
    """A legend that writes names as they are; as labels "$x$" would be set as mathematics and "_x" left out."""
    legend = ax.legend([artist for artist, _ in entries], [""] * len(entries), **options)
    for text, (_, name) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


def label_size(ax: Axes, labels: int) -> float:
    """The type size, in points, at which so many labels fit along the axes."""
    points = ax.get_window_extent().height / ax.figure.dpi * 72
    return float(min(9.0, max(2.5, 0.8 * points / max(labels, 1))))
