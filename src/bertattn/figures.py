"""The figures of Clark et al. 2019, sections 3 to 5, for any model: matplotlib axes in, the same axes out.

A function of one panel takes `ax` and returns it; a function of several panels takes `figure` and returns it. Without
either they make a new pyplot figure. Nothing is shown, and no setting of matplotlib is changed.

Tokens are labelled with their text, whatever signs their tokenizer writes for spaces and bytes: GPT-2's "Ġthe" and
Llama's "▁the" as "the", a piece that goes on with a word as "##s", a space alone as "␣", a character that is cut into
two tokens as "é 1/2" and "é 2/2". What matplotlib's font lacks is drawn in another installed font, or as a box.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from bertattn import _arrays, _files, _optional, _tokens
from bertattn._arrays import Numpy
from bertattn.errors import SelectionError, StorageError, ValidationError
from bertattn.tensor import AttentionTensor, Axis, HeadName, format_head, parse_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bertattn.heads import BestHeads, CoreferenceTable
    from bertattn.heads.antecedents import Candidates
    from bertattn.probes import HeadWeights, ProbeTable
    from bertattn.statistics import Summary

__all__ = [
    "attention_lines",
    "attention_matrix",
    "by_layer",
    "coreference_at_work",
    "coreference_figure",
    "coreference_lines",
    "entropy_figure",
    "example_heads",
    "heads_at_work",
    "probe_figure",
    "probe_weights",
    "relation_figure",
    "relation_lines",
    "save",
    "special_token_figure",
]

# Okabe and Ito's palette, neighbours easy to tell apart; the markers tell them apart in grey.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
OTHER = "#BBBBBB"  # attention that is only there for comparison, drawn below the rest
LONGEST_TOKEN = 18
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
    _matplotlib("attention_lines")
    _check_attention("attention_lines", attention)
    return _draw_lines(attention, head, lambda *_: COLORS[0], ax=ax, threshold=threshold)


def _draw_lines(
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
        ax = _new_axes(figsize=(3.2, 0.6 + 0.19 * n))
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
    size = _label_size(ax, n)
    columns, families = _drawable(_labels(attention.queries), _labels(attention.keys))
    for x, side, labels in zip((-0.04, 1.04), ("right", "left"), columns, strict=True):
        for y, label in enumerate(labels):
            ax.text(x, y, label, ha=side, va="center", fontsize=size, fontfamily=families, parse_math=False)
    ax.set_title(_head_title(head))
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
    _matplotlib("attention_matrix")
    _check_attention("attention_matrix", attention)
    from matplotlib import colormaps

    weights = _arrays.to_numpy(attention[head]).astype(np.float64)
    queries, keys = weights.shape
    if ax is None:
        side = min(12.0, max(3.0, 1.2 + 0.19 * max(queries, keys)))
        ax = _new_axes(figsize=(1.05 * side + 0.9, side))  # the scale grows with the matrix
    largest = float(np.nanmax(np.abs(weights), initial=0.0)) or 1.0
    signed = bool((np.nan_to_num(weights) < 0).any())
    low, high = (0.0, 1.0) if attention.normalized else (-largest if signed else 0.0, largest)
    cmap = colormaps["PuOr" if signed else "Blues"].with_extremes(bad="0.85")
    image = ax.imshow(weights, vmin=low, vmax=high, cmap=cmap, aspect="equal", interpolation="nearest")
    size = _label_size(ax, max(queries, keys))
    columns, families = _drawable(_labels(attention.queries), _labels(attention.keys))
    for set_ticks, labels in zip((ax.set_yticks, ax.set_xticks), columns, strict=True):
        step = max(1, -(-len(labels) // 128))
        shown = range(0, len(labels), step)
        set_ticks(list(shown), labels[::step], fontsize=size, fontfamily=families, parse_math=False)
    ax.tick_params(axis="x", labelrotation=90)
    ax.set_xlabel("key")
    ax.set_ylabel("query")
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.03, 0.0, 0.04, 1.0)))
    bar.set_label(attention.measure if not attention.normalized else f"{attention.measure} weight")
    ax.set_title(_head_title(head))
    return ax


def example_heads(
    attention: AttentionTensor,
    heads: Sequence[HeadName],
    /,
    titles: Sequence[str] | None = None,
    *,
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
    """
    _check_attention("example_heads", attention)
    if not heads or isinstance(heads, str):
        raise SelectionError(f"heads must be a list of heads, at least one, such as ['1-1'], but is {heads!r}")
    if titles is not None and len(titles) != len(heads):
        raise ValidationError(f"there are {len(titles)} titles but {len(heads)} heads; give one title a head")
    columns = min(4, len(heads))
    rows = -(-len(heads) // columns)
    tokens = max(len(attention.queries), len(attention.keys))
    figure = _figure(figure, figsize=(3.1 * columns, rows * (0.75 + 0.18 * tokens)), caller="example_heads")
    panels = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.08}).flat
    for i, ax in enumerate(panels):
        if i >= len(heads):
            ax.set_axis_off()
            continue
        attention_lines(attention, heads[i], ax=ax, threshold=threshold)
        if titles is not None:
            ax.set_title(f"{_head_title(heads[i])}\n{titles[i]}", fontsize=10, parse_math=False)
    return figure


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
        labels: what the legend calls them.
        colors: of the series, in turn.
        ylabel: what the numbers are, with their unit.
        reference: a label and a value, drawn as a dashed line across.
        ax: where to draw.

    Raises:
        SelectionError: no statistics, or one that the summary lacks.
        ValidationError: more or fewer labels than statistics.
    """
    _matplotlib("by_layer")
    _check_summary("by_layer", summary)
    from matplotlib.ticker import MaxNLocator

    if not statistics or isinstance(statistics, str):
        raise SelectionError(f"statistics must be a sequence of names, but is {statistics!r}; write ['entropy']")
    names = list(statistics) if labels is None else list(labels)
    if len(names) != len(statistics):
        raise ValidationError(f"there are {len(names)} labels but {len(statistics)} statistics; give one label each")
    values = [np.asarray(_arrays.to_numpy(summary.mean(name)), dtype=np.float64) for name in statistics]
    undefined = [bool(np.isnan(series).all()) for series in values]
    if ax is None:
        ax = _new_axes(figsize=(6.4, 3.4))
    layers = np.array(summary.layers) + 1
    width = 0.7 / len(values)
    if reference is not None and not np.isnan(reference[1]):
        ax.axhline(reference[1], color="0.35", linestyle=(0, (4, 2)), linewidth=1.2, label=reference[0], zorder=1)
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
        ax.plot(
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
        ax.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, borderaxespad=0.2)
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
    """
    _check_summary("special_token_figure", summary, ("cls", "sep", "punctuation", "sep_to_sep", "other_to_sep"))
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
    """
    _check_summary("entropy_figure", summary, ("entropy", "entropy_from_cls", "uniform_entropy"))
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
    figure = _figure(figure, figsize=(width, 6.4), caller=caller)
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


def relation_lines(
    attention: AttentionTensor,
    head: HeadName,
    relation: str,
    /,
    *,
    direction: Literal["from_dependent", "to_dependent", "from_governor"] = "from_dependent",
    ax: Axes | None = None,
    threshold: float = 0.01,
) -> Axes:
    """One head on one sentence, with the words of a dependency relation in colour: Clark et al. 2019, Figure 5.

    The attention that decides is blue where the head finds the word's governor and orange where it does not: of the
    dependent ("from_dependent"), to the dependent ("to_dependent") or of the governor ("from_governor"). All other
    attention is grey. Words are those of the treebank, special tokens stay on.

    Args:
        attention: weights with a `Sentence` as their annotation, of tokens or words.
        head: "8-10", counted from 1, or (7, 9), counted from 0.
        relation: its label in the tree, such as "obj".
        direction: as for `heads.predict_governors`.
        ax: where to draw.
        threshold: weights smaller than this are not drawn.

    Raises:
        SelectionError: no such head, or no word of the sentence has the relation.
        ValidationError: the maps have no sentence with a tree.
        MissingExtraError: matplotlib is not installed.
    """
    _matplotlib("relation_lines")
    from bertattn.alignment import merge_subwords
    from bertattn.annotation import Sentence
    from bertattn.heads import score_relations

    _check_attention("relation_lines", attention)
    gold = attention.annotation
    if not isinstance(gold, Sentence) or gold.governors is None or gold.relations is None:
        raise ValidationError("the maps have no sentence with a tree; extract from a sentence that a reader gave")
    words = merge_subwords(attention) if attention.unit == "token" else attention
    layer, number = parse_head(head)
    cases = score_relations([words.select(heads=[number])], directions=[direction]).cases(
        relation, (layer, number), direction=direction
    )
    rows: dict[int, bool] = {}
    for case in cases:
        deciding = case["governor"] if direction == "from_governor" else case["word"]
        if deciding:
            rows[deciding - 1] = rows.get(deciding - 1, False) or case["found"]
    drawn = _deciding_lines(words, head, rows, keys=direction == "to_dependent", ax=ax, threshold=threshold)
    drawn.set_title(f"{_head_title(head)}: {relation}")
    return drawn


def _deciding_lines(
    words: AttentionTensor, head: HeadName, found: Mapping[int, bool], *, keys: bool, ax: Axes | None, threshold: float
) -> Axes:
    """A head's lines, blue or orange those of the words in `found`, by whether they find; grey all others.

    Args:
        words: a map of words.
        head: its name.
        found: for words, counted from 0, whether they find what they should.
        keys: whether it is the attention to these words that decides, not theirs.
        ax, threshold: as for `attention_lines`.
    """
    unit = {word: i for i, word in enumerate(words.queries.word_ids or ()) if word is not None}
    right = {unit[word]: value for word, value in found.items()}

    def color_of(query: int, key: int) -> str:
        one = right.get(key if keys else query)
        return OTHER if one is None else COLORS[0] if one else COLORS[1]

    return _draw_lines(words, head, color_of, ax=ax, threshold=threshold)


def heads_at_work(
    sentences: Sequence[AttentionTensor],
    head: HeadName,
    relation: str,
    /,
    *,
    direction: Literal["from_dependent", "to_dependent", "from_governor"] = "from_dependent",
    figure: Figure | None = None,
) -> Figure:
    """Several sentences side by side as `relation_lines`: where a head finds the governor, and where not.

    `heads.RelationScores.cases` says in which sentences of a treebank that is.

    Args:
        sentences: maps with a `Sentence` as annotation.
        head, relation, direction: as for `relation_lines`.
        figure: where to draw; its size is set to fit.

    Raises:
        SelectionError: no sentences, no such head, or a sentence without the relation.
    """
    return _side_by_side(
        "heads_at_work",
        "sentences",
        sentences,
        lambda one, ax: relation_lines(one, head, relation, direction=direction, ax=ax),
        figure,
    )


def coreference_lines(
    attention: AttentionTensor,
    head: HeadName,
    /,
    *,
    direction: Literal["from_mention", "to_mention"] = "from_mention",
    candidates: Candidates = "words_other",
    ax: Axes | None = None,
    threshold: float = 0.01,
) -> Axes:
    """One head on one window of a document, with its mentions in colour: Clark et al. 2019, Figure 5, coreference.

    The attention that decides, from a mention's head word ("from_mention") or to it ("to_mention"), is blue where the
    head finds the head word of an antecedent and orange where it does not. Mentions without antecedent in the window
    are not scored; their attention is grey like all other. Special tokens stay on.

    Args:
        attention: weights with a `DocumentWindow` as their annotation, of tokens or words. A short one can be read.
        head: "8-10", counted from 1, or (7, 9), counted from 0.
        direction, candidates: as for `heads.score_coreference`.
        ax: where to draw.
        threshold: weights smaller than this are not drawn.

    Raises:
        SelectionError: no such head, or no mention of the window has an antecedent in it.
        ValidationError: the maps have no window with mentions.
        MissingExtraError: matplotlib is not installed.
    """
    _matplotlib("coreference_lines")
    from bertattn.alignment import merge_subwords
    from bertattn.annotation import DocumentWindow
    from bertattn.heads import score_coreference

    _check_attention("coreference_lines", attention)
    window = attention.annotation
    if not isinstance(window, DocumentWindow):
        raise ValidationError(
            "the maps have no window with mentions; extract from windows of documents: bertattn.windows(documents)"
        )
    words = merge_subwords(attention) if attention.unit == "token" else attention
    layer, number = parse_head(head)
    scores = score_coreference([words.select(heads=[number])], directions=[direction], candidates=candidates)
    cases = scores.cases("all", (layer, number), direction=direction)
    if not cases:
        raise SelectionError("no mention has an antecedent in this window; take one where two mentions corefer")
    rows: dict[int, bool] = {}
    for case in cases:
        word = case["head_word"] - window.first_word
        rows[word] = rows.get(word, False) or case["found"]
    drawn = _deciding_lines(words, head, rows, keys=direction == "to_mention", ax=ax, threshold=threshold)
    drawn.set_title(f"{_head_title(head)}: coreference")
    return drawn


def coreference_at_work(
    windows: Sequence[AttentionTensor],
    head: HeadName,
    /,
    *,
    direction: Literal["from_mention", "to_mention"] = "from_mention",
    candidates: Candidates = "words_other",
    figure: Figure | None = None,
) -> Figure:
    """Several short windows side by side as `coreference_lines`: where a head finds an antecedent, and where not.

    Args:
        windows: maps with a `DocumentWindow` as annotation.
        head, direction, candidates: as for `coreference_lines`.
        figure: where to draw; its size is set to fit.

    Raises:
        SelectionError: no windows, no such head, or a window in which no mention has an antecedent.
    """
    return _side_by_side(
        "coreference_at_work",
        "windows",
        windows,
        lambda one, ax: coreference_lines(one, head, direction=direction, candidates=candidates, ax=ax),
        figure,
    )


def _side_by_side(
    caller: str,
    name: str,
    maps: Sequence[AttentionTensor],
    draw: Callable[[AttentionTensor, Axes], Axes],
    figure: Figure | None,
) -> Figure:
    """A panel for each map, three a row; `name` is what the caller calls them."""
    if not maps:
        raise SelectionError(f"{name} is empty; give the maps of at least one")
    for one in maps:
        _check_attention(caller, one)
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    longest = max(len(one.annotation or ()) for one in maps)
    figure = _figure(figure, figsize=(3.4 * columns, rows * (0.8 + 0.21 * (longest + 2))), caller=caller)
    panels = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0.08}).flat
    for i, ax in enumerate(panels):
        if i < len(maps):
            draw(maps[i], ax)
        else:
            ax.set_axis_off()
    return figure


def relation_figure(best: BestHeads, /, *, figure: Figure | None = None, most: int = 25) -> Figure:
    """The best head of each relation beside the best fixed offset: Clark et al. 2019, Table 1, as a picture.

    A dot is the accuracy of the best head, named beside it, the bar its interval; a square is the best fixed offset.

    Args:
        best: of `heads.best_heads` or `heads.cross_fit`.
        figure: where to draw; its size is set to fit.
        most: how many relations to show, in the order of `best`.

    Raises:
        SelectionError: `best` has no rows.
    """
    if not hasattr(best, "rows"):
        raise ValidationError(
            f"relation_figure draws what heads.best_heads or heads.cross_fit gives, not a {type(best).__name__}; "
            "give heads.best_heads(scores)"
        )
    rows = best.rows[:most]
    if not rows:
        raise SelectionError("best has no rows; take a smaller min_count")
    figure = _figure(figure, figsize=(6.8, 1.1 + 0.27 * len(rows)), caller="relation_figure")
    ax = figure.subplots()
    places = np.arange(len(rows))
    accuracy = np.array([100 * row.accuracy for row in rows])
    ends = np.array([[100 * (row.accuracy - row.low), 100 * (row.high - row.accuracy)] for row in rows]).T
    baselines = [100 * row.baseline for row in rows]
    ax.hlines(places, baselines, accuracy, color="0.8", linewidth=1.2, zorder=1)
    ax.scatter(baselines, places, marker="s", s=26, color=COLORS[1], label="best fixed offset", zorder=2)
    ax.errorbar(
        accuracy, places, xerr=np.maximum(ends, 0.0), fmt="o", markersize=5.5, color=COLORS[0], elinewidth=1.4,
        label=f"best head, {best.level:.0%} interval", zorder=3,
    )  # fmt: skip
    for place, row in zip(places, rows, strict=True):
        right = max(100 * row.high, 100 * row.baseline)
        ax.annotate(row.head, (right, float(place)), (6, 0), textcoords="offset points", va="center", fontsize=8)
    _accuracy_axes(ax, [f"{row.relation}  ({row.count:,})" for row in rows], "Words whose governor is found (%)")
    return figure


def coreference_figure(table: CoreferenceTable, /, *, figure: Figure | None = None) -> Figure:
    """The coreference head beside the baselines, by type of mention: Clark et al. 2019, Table 2, as a picture.

    A mark is how many mentions of the type have their antecedent found, the bar its interval; a grey stroke is chance.

    Args:
        table: of `heads.coreference_table` or `heads.coreference_cross_fit`.
        figure: where to draw; its size is set to fit.

    Raises:
        ValidationError: anything else.
    """
    if not hasattr(table, "against"):
        raise ValidationError(
            "coreference_figure draws what heads.coreference_table or heads.coreference_cross_fit gives, not a "
            f"{type(table).__name__}; give heads.coreference_table(scores)"
        )
    types = list(dict.fromkeys(row.type for row in table.rows))
    turned = " (to mention)" if table.direction == "to_mention" else ""
    systems = {  # best seen where it is last: on top
        "nearest": ("nearest mention", COLORS[3], "D"),
        "same_head": ("same head word", COLORS[1], "s"),
        "rule_based": ("rule-based", COLORS[2], "^"),
        "head": (f"head {table.head}{turned}", COLORS[0], "o"),
    }
    figure = _figure(figure, figsize=(6.8, 1.3 + 0.75 * len(types)), caller="coreference_figure")
    ax = figure.subplots()
    places = np.arange(len(types))
    for i, (system, (label, color, marker)) in enumerate(systems.items()):
        rows = [table.row(system, name) for name in types]
        accuracy = np.array([100 * row.accuracy for row in rows])
        ends = np.array([[100 * (row.accuracy - row.low), 100 * (row.high - row.accuracy)] for row in rows]).T
        ax.errorbar(
            accuracy, places + 0.18 * (i - 1.5), xerr=np.maximum(ends, 0.0), fmt=marker, markersize=5.5, color=color,
            elinewidth=1.4, label=label, zorder=2 + (system == "head"),
        )  # fmt: skip
    chance = [100 * table.row("chance", name).accuracy for name in types]
    ax.vlines(chance, places - 0.36, places + 0.36, color="0.5", linewidth=1.6, label="chance", zorder=1)
    labels = [f"{name}  ({table.row('chance', name).count:,})" for name in types]
    _accuracy_axes(ax, labels, "Mentions whose antecedent is found (%)", columns=3)
    return figure


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
    """
    _matplotlib("probe_figure")
    if not all(hasattr(row, "comparable") for row in getattr(table, "rows", (None,))):
        raise ValidationError(
            f"probe_figure draws what probes.probe_table gives, not a {type(table).__name__}; "
            "give probes.probe_table(scores)"
        )
    rows = table.rows
    if ax is None:
        ax = _new_axes(figsize=(6.8, 1.2 + 0.34 * len(rows)))
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
    _accuracy_axes(ax, labels, "Words whose governor is found (%)")
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
    """
    _matplotlib("probe_weights")
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
        ax = _new_axes(figsize=(max(3.2, 1.6 + 0.4 * heads), max(2.4, 1.0 + 0.34 * layers)))
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


def _accuracy_axes(ax: Axes, labels: Sequence[str], xlabel: str, *, columns: int = 2) -> None:
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


def save(figure: Figure | Axes, path: str | os.PathLike[str], /, *, dpi: int = 160) -> None:
    """Write a figure in the format of the name's ending; the same figure gives the same bytes (no date, fixed ids).

    The file is written under another name and renamed when it is whole.

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
    with rc_context({"svg.hashsalt": "bertattn"}):
        figure.savefig(content, format=kind, dpi=dpi, metadata=undated)
    _files.write_whole(path, content.getvalue())


def _check_attention(function: str, attention: object) -> None:
    if not isinstance(attention, AttentionTensor):
        raise ValidationError(
            f"{function} draws an AttentionTensor, but the first argument is {type(attention).__name__}; "
            "an Extractor makes one of a text"
        )


def _check_summary(function: str, summary: object, needed: Sequence[str] = ()) -> None:
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


def _matplotlib(function: str) -> None:
    _optional.require("matplotlib", extra="plot", caller=f"figures.{function}")


def _new_axes(*, figsize: tuple[float, float]) -> Axes:
    from matplotlib import pyplot

    axes: Axes = pyplot.subplots(figsize=figsize, layout="constrained")[1]
    return axes


def _figure(figure: Figure | None, *, figsize: tuple[float, float], caller: str) -> Figure:
    _matplotlib(caller)
    if figure is None:
        from matplotlib import pyplot

        return pyplot.figure(figsize=figsize, layout="constrained")
    figure.set_size_inches(*figsize)
    figure.set_layout_engine("constrained")
    return figure


def _head_title(head: HeadName) -> str:
    return f"Head {format_head(*parse_head(head))}"


def _strength(weights: Numpy, *, normalized: bool) -> Numpy:
    """Opacities in [0, 1]; NaN becomes 0."""
    size: Numpy = np.abs(np.nan_to_num(weights, posinf=0.0, neginf=0.0))
    largest = 1.0 if normalized else float(size.max(initial=0.0)) or 1.0
    opacity: Numpy = np.minimum(size / largest, 1.0)
    return opacity


def _label_size(ax: Axes, labels: int) -> float:
    """The type size, in points, at which so many labels fit along the axes."""
    points = ax.get_window_extent().height / ax.figure.dpi * 72
    return float(min(9.0, max(2.5, 0.8 * points / max(labels, 1))))


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
