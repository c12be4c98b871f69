"""Single heads that find governors and antecedents: Clark et al. 2019, Figure 5, Tables 1 and 2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from bertattn.errors import SelectionError, ValidationError
from bertattn.figures._drawing import (
    COLORS,
    OTHER,
    accuracy_axes,
    check_attention,
    head_title,
    need_matplotlib,
    sized_figure,
)
from bertattn.figures.attention import draw_lines
from bertattn.tensor import AttentionTensor, HeadName, parse_head

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bertattn.heads import BestHeads, CoreferenceTable
    from bertattn.heads.antecedents import Candidates

__all__ = [
    "coreference_at_work",
    "coreference_figure",
    "coreference_lines",
    "heads_at_work",
    "relation_figure",
    "relation_lines",
]


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

    Examples:
        >>> from bertattn import Axis, Sentence
        >>> from matplotlib.figure import Figure
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
        >>> weights = np.array([[[[0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.7, 0.1]]]])
        >>> a = AttentionTensor(weights, Axis(tree.words, word_ids=[0, 1, 2], words=tree.words), annotation=tree)
        >>> relation_lines(a, "1-1", "obj", ax=Figure().subplots()).get_title()
        'Head 1-1: obj'
    """
    need_matplotlib("relation_lines")
    from bertattn.alignment import merge_subwords
    from bertattn.annotation import Sentence
    from bertattn.heads import score_relations

    check_attention("relation_lines", attention)
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
    drawn.set_title(f"{head_title(head)}: {relation}", parse_math=False)
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

    return draw_lines(words, head, color_of, ax=ax, threshold=threshold)


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
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import Axis, Sentence
        >>> from matplotlib.figure import Figure
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
        >>> weights = np.array([[[[0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.7, 0.1]]]])
        >>> a = AttentionTensor(weights, Axis(tree.words, word_ids=[0, 1, 2], words=tree.words), annotation=tree)
        >>> len(heads_at_work([a, a], "1-1", "obj", figure=Figure()).axes)
        2
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

    Examples:
        >>> from bertattn import Axis, DocumentWindow, Mention, Sentence
        >>> from matplotlib.figure import Figure
        >>> window = DocumentWindow([Sentence(["Ann", "saw", "herself"])], [Mention(0, 1, "ann"), Mention(2, 3, "ann")])
        >>> weights = np.array([[[[0.2, 0.4, 0.4], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1]]]])
        >>> a = AttentionTensor(weights, Axis(window.words, word_ids=[0, 1, 2], words=window.words), annotation=window)
        >>> coreference_lines(a, "1-1", ax=Figure().subplots()).get_title()
        'Head 1-1: coreference'
    """
    need_matplotlib("coreference_lines")
    from bertattn.alignment import merge_subwords
    from bertattn.annotation import DocumentWindow
    from bertattn.heads import score_coreference

    check_attention("coreference_lines", attention)
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
    drawn.set_title(f"{head_title(head)}: coreference")
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
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import Axis, DocumentWindow, Mention, Sentence
        >>> from matplotlib.figure import Figure
        >>> window = DocumentWindow([Sentence(["Ann", "saw", "herself"])], [Mention(0, 1, "ann"), Mention(2, 3, "ann")])
        >>> weights = np.array([[[[0.2, 0.4, 0.4], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1]]]])
        >>> a = AttentionTensor(weights, Axis(window.words, word_ids=[0, 1, 2], words=window.words), annotation=window)
        >>> len(coreference_at_work([a, a], "1-1", figure=Figure()).axes)
        2
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
        check_attention(caller, one)
    columns = min(3, len(maps))
    rows = -(-len(maps) // columns)
    longest = max(len(one.annotation or ()) for one in maps)
    figure = sized_figure(figure, figsize=(3.4 * columns, rows * (0.8 + 0.21 * (longest + 2))), caller=caller)
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
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import Axis, Sentence, heads
        >>> from matplotlib.figure import Figure
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
        >>> weights = np.array([[[[0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.7, 0.1]]]])
        >>> a = AttentionTensor(weights, Axis(tree.words, word_ids=[0, 1, 2]), annotation=tree)
        >>> best = heads.best_heads(heads.score_relations([a] * 8), relations=["nsubj", "obj"])
        >>> (ax,) = relation_figure(best, figure=Figure()).axes
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['nsubj  (8)', 'obj  (8)']
    """
    if not hasattr(best, "rows"):
        raise ValidationError(
            f"relation_figure draws what heads.best_heads or heads.cross_fit gives, not a {type(best).__name__}; "
            "give heads.best_heads(scores)"
        )
    rows = best.rows[:most]
    if not rows:
        raise SelectionError("best has no rows; take a smaller min_count")
    figure = sized_figure(figure, figsize=(6.8, 1.1 + 0.27 * len(rows)), caller="relation_figure")
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
    accuracy_axes(ax, [f"{row.relation}  ({row.count:,})" for row in rows], "Words whose governor is found (%)")
    return figure


def coreference_figure(table: CoreferenceTable, /, *, figure: Figure | None = None) -> Figure:
    """The coreference head beside the baselines, by type of mention: Clark et al. 2019, Table 2, as a picture.

    A mark is how many mentions of the type have their antecedent found, the bar its interval; a grey stroke is chance.

    Args:
        table: of `heads.coreference_table` or `heads.coreference_cross_fit`.
        figure: where to draw; its size is set to fit.

    Raises:
        ValidationError: anything else.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> from bertattn import Axis, DocumentWindow, Mention, Sentence, heads
        >>> from matplotlib.figure import Figure
        >>> window = DocumentWindow([Sentence(["Ann", "saw", "herself"])], [Mention(0, 1, "ann"), Mention(2, 3, "ann")])
        >>> weights = np.array([[[[0.2, 0.4, 0.4], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1]]]])
        >>> a = AttentionTensor(weights, Axis(window.words, word_ids=[0, 1, 2]), annotation=window)
        >>> len(coreference_figure(heads.score_coreference([a]).table(), figure=Figure()).axes)
        1
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
    figure = sized_figure(figure, figsize=(6.8, 1.3 + 0.75 * len(types)), caller="coreference_figure")
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
    accuracy_axes(ax, labels, "Mentions whose antecedent is found (%)", columns=3)
    return figure
