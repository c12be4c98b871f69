"""Single heads on one sequence, as lines or as a matrix: Clark et al. 2019, Figure 1.

Tokens are labelled with their text, whatever signs their tokenizer writes for spaces and bytes: GPT-2's "Ġthe" and
Llama's "▁the" as "the", a piece that goes on with a word as "##s", a space alone as "␣", a character that is cut into
two tokens as "é 1/2" and "é 2/2". What matplotlib's font lacks is drawn in another installed font, or as a box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bertattn import _arrays, _tokens
from bertattn._arrays import Numpy
from bertattn.errors import SelectionError, ValidationError
from bertattn.figures._drawing import (
    COLORS,
    OTHER,
    check_attention,
    head_title,
    label_size,
    need_matplotlib,
    new_axes,
    sized_figure,
)
from bertattn.tensor import AttentionTensor, Axis, HeadName

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "attention_lines",
    "attention_matrix",
    "example_heads",
    "head_grid",
]

LONGEST_TOKEN = 18
UNDEFINED = "0.85"
# Rows and columns of a head in `head_grid`: more could not be told apart.
MOST_CELLS = 64
# Fonts that have what matplotlib's own lacks, where they are installed; the last one comes with matplotlib.
FALLBACK_FONTS = (
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Source Han Sans SC",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Arial Unicode MS",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Noto Sans Thai",
    "Nirmala UI",
    "Leelawadee UI",
    "Noto Emoji",
    "Segoe UI Emoji",
    "Segoe UI Symbol",
    "Noto Sans Symbols",
    "Noto Sans Symbols 2",
    "Symbola",
    "Unifont",
    "STIXGeneral",
)


def attention_lines(
    attention: AttentionTensor, head: HeadName, /, *, ax: Axes | None = None, threshold: float = 0.01
) -> Axes:
    """One head as lines from each query (left) to the keys it attends to (right), as in Clark et al. 2019, Figure 1.

    A line's opacity is its attention weight. Weights that are not distributions are divided by the largest in size,
    and negative ones are dashed. A row without mass (NaN) has no lines.

    Args:
        attention: weights `[layer, head, query, key]`.
        head: "8-10", counted from 1, or (7, 9), counted from 0.
        ax: where to draw.
        threshold: weights smaller than this are not drawn.

    Raises:
        SelectionError: `attention` has no such head.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> a = AttentionTensor(np.full((1, 1, 3, 3), 1 / 3), ["[CLS]", "hi", "[SEP]"])
        >>> from matplotlib.figure import Figure
        >>> ax = attention_lines(a, "1-1", ax=Figure().subplots())
        >>> ax.get_title(), len(ax.collections[0].get_segments())
        ('Head 1-1', 9)
    """
    need_matplotlib("attention_lines")
    check_attention("attention_lines", attention)
    return draw_lines(attention, head, lambda *_: COLORS[0], ax=ax, threshold=threshold)


def draw_lines(
    attention: AttentionTensor,
    head: HeadName,
    color_of: Callable[[int, int], str],
    *,
    ax: Axes | None,
    threshold: float = 0.01,
) -> Axes:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    weights = _arrays.to_numpy(attention[head]).astype(np.float64)
    n = max(weights.shape)
    if ax is None:
        ax = new_axes(figsize=(3.2, 0.6 + 0.19 * n))
    strength = _strength(weights, normalized=attention.normalized)
    drawn = np.argwhere(strength >= max(threshold, np.nextafter(0, 1)))
    drawn = np.array(sorted(drawn.tolist(), key=lambda pair: color_of(*pair) != OTHER), dtype=int).reshape(-1, 2)
    ax.add_collection(
        LineCollection(
            [((0.0, float(q)), (1.0, float(k))) for q, k in drawn],
            colors=[(*to_rgb(color_of(q, k)), float(strength[q, k])) for q, k in drawn],
            linestyles=["solid" if weights[q, k] > 0 else "dashed" for q, k in drawn],
            linewidths=1.4,
            capstyle="butt",
        )
    )
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(n - 0.5, -0.5)
    ax.set_axis_off()
    size = label_size(ax, n)
    columns, families = _drawable(_labels(attention.queries), _labels(attention.keys))
    for x, side, labels in zip((-0.04, 1.04), ("right", "left"), columns, strict=True):
        for y, label in enumerate(labels):
            ax.text(x, y, label, ha=side, va="center", fontsize=size, fontfamily=families, parse_math=False)
    ax.set_title(head_title(head))
    return ax


def attention_matrix(attention: AttentionTensor, head: HeadName, /, *, ax: Axes | None = None) -> Axes:
    """One head as a matrix: a row for each query, a column for each key, with its scale beside it.

    Distributions are coloured from 0 to 1; other measures from 0, or symmetrically about 0 where some are negative.
    Undefined rows (NaN) are grey.

    Raises:
        SelectionError: `attention` has no such head.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> a = AttentionTensor(np.full((1, 1, 3, 3), 1 / 3), ["[CLS]", "hi", "[SEP]"])
        >>> from matplotlib.figure import Figure
        >>> attention_matrix(a, "1-1", ax=Figure().subplots()).get_title()
        'Head 1-1'
    """
    need_matplotlib("attention_matrix")
    check_attention("attention_matrix", attention)
    from matplotlib import colormaps

    weights = _arrays.to_numpy(attention[head]).astype(np.float64)
    queries, keys = weights.shape
    if ax is None:
        side = min(12.0, max(3.0, 1.2 + 0.19 * max(queries, keys)))
        ax = new_axes(figsize=(1.05 * side + 0.9, side))  # the scale grows with the matrix
    low, high, colors = _scale(weights, normalized=attention.normalized)
    cmap = colormaps[colors].with_extremes(bad=UNDEFINED)
    image = ax.imshow(weights, vmin=low, vmax=high, cmap=cmap, aspect="equal", interpolation="nearest")
    size = label_size(ax, max(queries, keys))
    columns, families = _drawable(_labels(attention.queries), _labels(attention.keys))
    for set_ticks, labels in zip((ax.set_yticks, ax.set_xticks), columns, strict=True):
        step = max(1, -(-len(labels) // 128))
        shown = range(0, len(labels), step)
        set_ticks(list(shown), labels[::step], fontsize=size, fontfamily=families, parse_math=False)
    ax.tick_params(axis="x", labelrotation=90)
    ax.set_xlabel("key")
    ax.set_ylabel("query")
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0.0, 0.04, 1.0)))
    bar.set_label(_unit(attention))
    ax.set_title(head_title(head))
    return ax


def head_grid(attention: AttentionTensor, /, *, ax: Axes | None = None) -> Axes:
    """Every head of a tensor at a glance, a small matrix each: layers from top to bottom, heads from left to right.

    In each, queries go down and keys to the right. All share one scale, as in `attention_matrix`. Where a text has more
    than 64 tokens, neighbours share a cell: weights of distributions are summed over the keys and averaged over the
    queries of a cell, of other measures the largest in size is drawn.

    Args:
        attention: weights `[layer, head, query, key]`; `attention.select(layers=...)` draws some of them.
        ax: where to draw.

    Raises:
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> a = AttentionTensor(np.full((2, 3, 4, 4), 0.25), ["[CLS]", "hi", ".", "[SEP]"])
        >>> from matplotlib.figure import Figure
        >>> ax = head_grid(a, ax=Figure().subplots())
        >>> [label.get_text() for label in ax.get_xticklabels()], ax.get_ylabel()
        (['1', '2', '3'], 'layer')
    """
    need_matplotlib("head_grid")
    check_attention("head_grid", attention)
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    weights = np.stack([_fewer(layer, normalized=attention.normalized) for layer in attention.numpy()])
    layers, heads, queries, keys = weights.shape
    if ax is None:
        ax = new_axes(figsize=(min(14.0, 2.0 + 0.75 * heads), min(18.0, 1.0 + 0.75 * layers)))
    low, high, colors = _scale(weights, normalized=attention.normalized)
    drawn = ScalarMappable(Normalize(low, high), colormaps[colors].with_extremes(bad=UNDEFINED))
    gap = max(1, max(queries, keys) // 10)
    grid = np.full((layers, queries + gap, heads, keys + gap, 4), (255, 255, 255, 0), dtype=np.uint8)
    for i, layer in enumerate(weights):
        for j, one in enumerate(layer):
            grid[i, :queries, j, :keys] = drawn.to_rgba(np.ma.masked_invalid(one), bytes=True)
    height, width = layers * (queries + gap) - gap, heads * (keys + gap) - gap
    picture = grid.reshape(layers * (queries + gap), -1, 4)[:height, :width]
    ax.imshow(picture, aspect="auto", interpolation="nearest" if max(height, width) < 400 else "antialiased")
    places = (np.arange(heads) * (keys + gap) + (keys - 1) / 2, np.arange(layers) * (queries + gap) + (queries - 1) / 2)
    ax.set_xticks(places[0], [str(head + 1) for head in attention.heads])
    ax.set_yticks(places[1], [str(layer + 1) for layer in attention.layers])
    ax.tick_params(length=0, labelsize=9)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("head")
    ax.set_ylabel("layer")
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.02, 0.0, 0.02, 1.0)))
    bar.set_label(_unit(attention))
    return ax


def _fewer(weights: Numpy, *, normalized: bool) -> Numpy:
    """`[head, query, key]` with at most `MOST_CELLS` rows and columns."""
    weights = weights.astype(np.float64)
    for axis, combine in ((1, _arrays.nan_mean), (2, np.sum)):
        steps = -(-weights.shape[axis] // MOST_CELLS)
        starts = range(0, weights.shape[axis], steps)
        if steps > 1:
            parts = [np.take(weights, range(s, min(s + steps, weights.shape[axis])), axis) for s in starts]
            weights = np.stack([combine(p, axis=axis) if normalized else _largest(p, axis) for p in parts], axis)
    return weights


def _largest(weights: Numpy, axis: int) -> Numpy:
    """The number that is largest in size, with its sign."""
    place = np.where(np.isnan(weights), -1.0, np.abs(weights)).argmax(axis, keepdims=True)
    return np.take_along_axis(weights, place, axis).squeeze(axis)


def _scale(weights: Numpy, *, normalized: bool) -> tuple[float, float, str]:
    """Where the colours begin and end, and which they are."""
    largest = float(np.nanmax(np.abs(weights), initial=0.0)) or 1.0
    signed = bool((np.nan_to_num(weights) < 0).any())
    low, high = (0.0, 1.0) if normalized else (-largest if signed else 0.0, largest)
    return low, high, "PuOr" if signed else "Blues"


def _unit(attention: AttentionTensor) -> str:
    return f"{attention.measure} weight" if attention.normalized else attention.measure


def example_heads(
    attention: AttentionTensor,
    heads: Sequence[HeadName],
    /,
    *,
    titles: Sequence[str] | None = None,
    threshold: float = 0.01,
    figure: Figure | None = None,
) -> Figure:
    """Several heads side by side as `attention_lines`: Clark et al. 2019, Figure 1.

    Args:
        attention: weights `[layer, head, query, key]`.
        heads: their names, such as `["1-1", "3-1"]`.
        titles: what to write under each head's name.
        threshold: weights smaller than this are not drawn.
        figure: where to draw; its size is set to fit.

    Raises:
        SelectionError: no heads, or one that `attention` lacks.
        ValidationError: more or fewer titles than heads.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> a = AttentionTensor(np.full((2, 3, 4, 4), 0.25), ["[CLS]", "hi", ".", "[SEP]"])
        >>> from matplotlib.figure import Figure
        >>> figure = example_heads(a, ["1-1", "2-3"], figure=Figure())
        >>> [ax.get_title() for ax in figure.axes]
        ['Head 1-1', 'Head 2-3']
    """
    check_attention("example_heads", attention)
    if not heads or isinstance(heads, str):
        raise SelectionError(f"heads must be a list of heads, at least one, such as ['1-1'], but is {heads!r}")
    if titles is not None and len(titles) != len(heads):
        raise ValidationError(f"there are {len(titles)} titles but {len(heads)} heads; give one title a head")
    columns = min(4, len(heads))
    rows = -(-len(heads) // columns)
    tokens = max(len(attention.queries), len(attention.keys))
    figure = sized_figure(figure, figsize=(3.1 * columns, rows * (0.75 + 0.18 * tokens)), caller="example_heads")
    panels = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.08}).flat
    for i, ax in enumerate(panels):
        if i >= len(heads):
            ax.set_axis_off()
            continue
        attention_lines(attention, heads[i], ax=ax, threshold=threshold)
        if titles is not None:
            ax.set_title(f"{head_title(heads[i])}\n{titles[i]}", fontsize=10, parse_math=False)
    return figure


def _strength(weights: Numpy, *, normalized: bool) -> Numpy:
    """Opacities in [0, 1]; NaN becomes 0."""
    size: Numpy = np.abs(np.nan_to_num(weights, posinf=0.0, neginf=0.0))
    largest = 1.0 if normalized else float(size.max(initial=0.0)) or 1.0
    opacity: Numpy = np.minimum(size / largest, 1.0)
    return opacity


def _labels(axis: Axis) -> list[str]:
    """What is written for each token: its text, control characters spelt out, cut where it is long."""
    special = [role is not None for role in axis.roles or (None,) * len(axis)]
    texts = list(axis.tokens) if axis.unit == "word" else _tokens.labels(axis.tokens, special, axis.words)
    spelt = map(_tokens.printable, texts)
    return [text if len(text) <= LONGEST_TOKEN else text[: LONGEST_TOKEN - 1] + "…" for text in spelt]


def _drawable(*columns: list[str]) -> tuple[list[list[str]], list[str]]:
    """The labels with a box for what no font at hand can draw, and the font families that draw the rest."""
    from matplotlib import font_manager, rcParams

    families = list(rcParams["font.family"])
    missing = {c for labels in columns for label in labels for c in label if not c.isascii()}
    installed = {font.name for font in font_manager.fontManager.ttflist}
    own = len(families)
    for i, family in enumerate([*families, *(name for name in FALLBACK_FONTS if name in installed)]):
        if not missing:
            break
        font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=[family])))
        drawn = {c for c in missing if font.get_char_index(ord(c))}
        missing -= drawn
        if i >= own and drawn:
            families.append(family)
    boxed = [["".join("□" if c in missing else c for c in label) for label in labels] for labels in columns]
    return boxed, families
