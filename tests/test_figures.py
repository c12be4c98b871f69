"""What the figures show: which lines, dots, labels and titles, and that nothing outside them changes."""

from __future__ import annotations

import threading
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from bertattn import AttentionTensor, DocumentWindow, Mention, Sentence, figures
from bertattn.errors import MissingExtraError, SelectionError, StorageError, ValidationError
from bertattn.heads import BestHeads, best_heads, coreference_table, score_coreference, score_relations
from bertattn.probes import HeadWeights, ProbeRow, ProbeTable
from bertattn.tensor import Axis

TOKENS = ("[CLS]", "a", "$b$", "[SEP]")


@dataclass(frozen=True)
class FakeSummary:
    """As much of a Summary as the figures read."""

    values: dict[str, np.ndarray]
    layers: tuple[int, ...] = field(init=False)
    heads: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        layers, heads = next(iter(self.values.values())).shape
        object.__setattr__(self, "layers", tuple(range(layers)))
        object.__setattr__(self, "heads", tuple(range(heads)))

    @property
    def statistics(self) -> tuple[str, ...]:
        return tuple(self.values)

    def mean(self, name: str) -> np.ndarray:
        return self.values[name]


NAMES = ("cls", "sep", "punctuation", "sep_to_sep", "other_to_sep", "entropy", "entropy_from_cls", "uniform_entropy")


def fake_summary(layers: int = 3, heads: int = 4, **values: np.ndarray) -> FakeSummary:
    rng = np.random.default_rng(0)
    return FakeSummary({name: rng.random((layers, heads)) for name in NAMES} | values)


def tensor(weights: np.ndarray, tokens: tuple[str, ...] = TOKENS, **options: object) -> AttentionTensor:
    return AttentionTensor(weights[None, None], tokens, **options)


@pytest.fixture
def ax() -> Axes:
    return Figure(figsize=(4, 4), layout="constrained").subplots()


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    yield
    pyplot.close("all")
    assert dict(mpl.rcParams) == before


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


# attention_lines


def test_lines_go_from_query_to_key_with_the_weight_as_opacity(ax: Axes) -> None:
    weights = np.array([[0.0, 1, 0, 0], [0.25, 0, 0.75, 0], [0, 0, 0, 1], [0.995, 0.005, 0, 0]])
    lines = figures.attention_lines(tensor(weights), "1-1", ax=ax).collections[0]
    drawn = {
        (int(segment[0][1]), int(segment[1][1])): color[3]
        for segment, color in zip(lines.get_segments(), lines.get_colors(), strict=True)
    }
    assert drawn == {(0, 1): 1.0, (1, 0): 0.25, (1, 2): 0.75, (2, 3): 1.0, (3, 0): 0.995}
    assert [text.get_ha() for text in ax.texts] == ["right"] * 4 + ["left"] * 4
    assert texts(ax) == [*TOKENS, *TOKENS]
    assert ax.get_title() == "Head 1-1"


def test_threshold_leaves_out_weaker_lines(ax: Axes) -> None:
    figures.attention_lines(tensor(np.full((4, 4), 0.25)), "1-1", ax=ax, threshold=0.3)
    assert len(ax.collections[0].get_segments()) == 0


def test_a_zero_weight_is_no_line_even_without_a_threshold(ax: Axes) -> None:
    figures.attention_lines(tensor(np.eye(4)), "1-1", ax=ax, threshold=0)
    assert len(ax.collections[0].get_segments()) == 4


def test_first_token_stands_on_top(ax: Axes) -> None:
    figures.attention_lines(tensor(np.eye(4)), "1-1", ax=ax)
    bottom, top = ax.get_ylim()
    assert bottom > top


def test_undefined_row_has_no_lines(ax: Axes) -> None:
    weights = np.eye(4)
    weights[2] = np.nan
    figures.attention_lines(tensor(weights), "1-1", ax=ax)
    assert {int(s[0][1]) for s in ax.collections[0].get_segments()} == {0, 1, 3}


def test_measure_without_distributions_is_scaled_and_its_negatives_dashed(ax: Axes) -> None:
    weights = np.array([[4.0, 0.0], [0.0, -2.0]])
    lines = figures.attention_lines(tensor(weights, ("a", "b"), measure="gradient", normalized=False), "1-1", ax=ax)
    collection = lines.collections[0]
    assert [color[3] for color in collection.get_colors()] == [1.0, 0.5]
    assert [style[1] is None for style in collection.get_linestyle()] == [True, False]


def test_head_names_come_from_the_tensors_own_numbers(ax: Axes) -> None:
    attention = AttentionTensor(np.full((1, 1, 2, 2), 0.5), ["a", "b"], layers=(7,), heads=(9,))
    assert figures.attention_lines(attention, (7, 9), ax=ax).get_title() == "Head 8-10"
    with pytest.raises(SelectionError, match="head 1-1 is not here"):
        figures.attention_lines(attention, "1-1", ax=ax)


def test_cross_attention_has_two_columns_of_different_length(ax: Axes) -> None:
    attention = AttentionTensor(np.full((1, 1, 2, 3), 1 / 3), ["x", "y"], ["a", "b", "c"])
    assert texts(figures.attention_lines(attention, "1-1", ax=ax)) == ["x", "y", "a", "b", "c"]


@pytest.mark.parametrize(
    "token", ["$", "$x", "$\\frac$", "_", "^", "%", "{", "日本", "مرحبا", "👩‍🚀", "\ud800", "\x00", "\n", "x" * 99]
)
@pytest.mark.parametrize("function", [figures.attention_lines, figures.attention_matrix])
def test_any_token_can_be_drawn(function: object, token: str, ax: Axes, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(tensor(np.eye(2), (token, "b")), "1-1", ax=ax)
        figures.save(ax.figure, tmp_path / "a.svg")
    assert len([tick for tick in texts(ax) if len(tick) > 20]) == 0


def test_what_a_token_looks_like(ax: Axes) -> None:
    figures.attention_lines(tensor(np.eye(5), ("日", "\n", "\ud800", "Ġthe", "x" * 30)), "1-1", ax=ax)
    assert texts(ax)[:5] == ["□", "\\n", "\\ud800", "Ġthe", "x" * 17 + "…"]


def test_labels_are_text_and_words_stay_as_they_are(ax: Axes) -> None:
    figures.attention_lines(tensor(np.eye(5), ("The", "Ġcat", "s", "Ġ", "ÃŃ")), "1-1", ax=ax)
    assert texts(ax)[:5] == ["The", "cat", "##s", "␣", "í"]
    words = AttentionTensor(np.eye(2)[None, None], Axis(["Ġgantija", "▁x"], unit="word"))
    assert texts(figures.attention_lines(words, "1-1", ax=Figure().subplots()))[:2] == ["Ġgantija", "▁x"]


def test_a_font_that_has_what_the_first_one_lacks_is_used(ax: Axes, tmp_path: Path) -> None:
    """STIXGeneral comes with matplotlib and has U+2312, which DejaVu Sans has not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.attention_matrix(tensor(np.eye(2), ("⌒", "é")), "1-1", ax=ax)
        figures.save(ax, tmp_path / "a.png")
    label = ax.get_yticklabels()[0]
    assert label.get_text() == "⌒"
    assert label.get_fontfamily() == [*mpl.rcParams["font.family"], "STIXGeneral"]


# attention_matrix


def test_matrix_holds_the_weights_and_is_not_transposed(ax: Axes) -> None:
    weights = np.array([[0.1, 0.9, 0.0], [0.2, 0.3, 0.5]])
    attention = AttentionTensor(weights[None, None], ["q1", "q2"], ["k1", "k2", "k3"])
    figures.attention_matrix(attention, "1-1", ax=ax)
    image = ax.images[0]
    np.testing.assert_array_equal(image.get_array(), weights)
    assert image.get_clim() == (0.0, 1.0)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["q1", "q2"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["k1", "k2", "k3"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("key", "query")


def test_matrix_of_signed_numbers_is_symmetric_about_zero(ax: Axes) -> None:
    weights = np.array([[1.0, -3.0], [0.0, 2.0]])
    figures.attention_matrix(tensor(weights, ("a", "b"), measure="gradient", normalized=False), "1-1", ax=ax)
    assert ax.images[0].get_clim() == (-3.0, 3.0)


def test_matrix_with_undefined_rows_only(ax: Axes, tmp_path: Path) -> None:
    figures.attention_matrix(tensor(np.full((2, 2), np.nan), ("a", "b")), "1-1", ax=ax)
    figures.save(ax.figure, tmp_path / "a.png")
    assert ax.images[0].get_array().mask.all()


# example_heads


def cells(ax: Axes) -> np.ndarray:
    """The colours of a grid, `[row, column, rgba]`."""
    return np.asarray(ax.images[0].get_array())


def color(value: float, *, name: str = "Blues") -> list[int]:
    return mpl.colormaps[name](value, bytes=True)


def test_grid_has_a_matrix_for_each_head_at_its_place(ax: Axes) -> None:
    weights = np.zeros((2, 3, 4, 5))
    weights[..., 0] = 1.0
    weights[1, 2, 3] = [0, 0, 0, 0.25, 0.75]
    axes = Axis(["a", "b", "c", "d"]), Axis(["a", "b", "c", "d", "e"])
    assert figures.head_grid(AttentionTensor(weights, *axes, layers=(4, 6), heads=(0, 7, 9)), ax=ax) is ax
    grid = cells(ax)
    assert grid.shape[:2] == (2 * 4 + 1, 3 * 5 + 2)  # one cell between heads
    assert (grid[0, 0] == color(1.0)).all()
    assert (grid[0, 1] == color(0.0)).all()
    assert (grid[4, :, 3] == 0).all()
    assert (grid[:, [5, 11], 3] == 0).all()
    assert (grid[8, 15] == color(0.25)).all()
    assert (grid[8, 16] == color(0.75)).all()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "8", "10"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["5", "7"]
    assert list(ax.get_xticks()) == [2, 8, 14]
    assert list(ax.get_yticks()) == [1.5, 6.5]


def test_grid_of_signed_numbers_and_undefined_rows(ax: Axes) -> None:
    weights = np.array([[-2.0, 1.0], [np.nan, np.nan]])
    figures.head_grid(tensor(weights, ("a", "b"), measure="gradient", normalized=False), ax=ax)
    grid = cells(ax)
    assert (grid[0, 0] == color(0.0, name="PuOr")).all()
    assert (grid[0, 1] == color(0.75, name="PuOr")).all()
    assert (grid[1, :, :3] == int(0.85 * 255)).all()
    bar = ax.child_axes[0]
    assert bar.get_ylim() == (-2.0, 2.0)
    assert bar.get_ylabel() == "gradient"


@pytest.mark.parametrize("normalized", [True, False])
def test_grid_of_many_tokens_lets_neighbours_share_a_cell(normalized: bool, ax: Axes) -> None:
    """130 tokens in 44 cells of three, the last of one."""
    weights = np.zeros((130, 130))
    weights[:, 3] = weights[:, 5] = 0.5
    weights[0] = np.nan
    weights[4] = 0.0
    weights[4, 129] = 1.0
    attention = tensor(weights, tuple("t" * 130), normalized=normalized)
    figures.head_grid(attention, ax=ax)
    grid = cells(ax)
    assert grid.shape[:2] == (44, 44)
    both, last = (1.0, 0.0) if normalized else (0.5, 0.0)
    assert (grid[0, 1] == color(both)).all()  # the row without mass is left out of the mean
    assert (grid[0, 43] == color(last)).all()
    assert (grid[1, 1] == color(2 / 3 if normalized else 0.5)).all()
    assert (grid[1, 43] == color(1 / 3 if normalized else 1.0)).all()


def test_grid_where_a_cell_has_rows_without_mass_only(ax: Axes) -> None:
    weights = np.full((130, 130), 1 / 130)
    weights[:3] = np.nan
    figures.head_grid(tensor(weights, tuple("t" * 130)), ax=ax)
    assert (cells(ax)[0, :, :3] == int(0.85 * 255)).all()
    assert (cells(ax)[1, :43] == color(3 / 130)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (24, 16, 8, 8), (2, 12, 5, 60), (6, 1, 300, 12)])
def test_grid_of_any_shape_is_drawn_inside_its_figure(shape: tuple[int, ...], tmp_path: Path) -> None:
    weights = np.full(shape, 1 / shape[-1])
    ax = figures.head_grid(AttentionTensor(weights, ["q"] * shape[2], ["k"] * shape[3]))
    figures.save(ax, tmp_path / "grid.png")
    box = ax.get_tightbbox()
    assert box is not None
    width, height = ax.figure.get_size_inches() * ax.figure.dpi
    assert min(box.x0, box.y0) >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_example_heads_has_a_panel_a_head_with_its_title() -> None:
    attention = AttentionTensor(np.full((2, 3, 4, 4), 0.25), TOKENS)
    heads = ["1-1", "1-2", "1-3", "2-1", "2-2"]
    figure = figures.example_heads(attention, heads, titles=[f"kind {i}" for i in range(5)], figure=Figure())
    assert [ax.get_title() for ax in figure.axes[:5]] == [f"Head {head}\nkind {i}" for i, head in enumerate(heads)]
    assert [len(ax.texts) for ax in figure.axes] == [8] * 5 + [0] * 3  # the second row of four is filled up


def test_example_heads_labels_do_not_overlap() -> None:
    tokens = tuple(f"token{i}" for i in range(30))
    attention = AttentionTensor(np.full((1, 4, 30, 30), 1 / 30), tokens)
    figure = figures.example_heads(attention, [(0, h) for h in range(4)], figure=Figure())
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for ax in figure.axes for text in [*ax.texts, ax.title]]
    overlapping = [(i, j) for i in range(len(boxes)) for j in range(i) if boxes[i].overlaps(boxes[j])]
    assert overlapping == []
    width, height = figure.get_size_inches() * figure.dpi
    assert all(b.x0 >= 0 and b.x1 <= width and b.y0 >= 0 and b.y1 <= height for b in boxes)


def test_example_heads_errors() -> None:
    attention = tensor(np.eye(4))
    with pytest.raises(SelectionError, match="heads must be a list of heads, at least one"):
        figures.example_heads(attention, [])
    with pytest.raises(ValidationError, match="there are 2 titles but 1 heads"):
        figures.example_heads(attention, ["1-1"], titles=["a", "b"])


# by_layer and the two figures made of it


def test_by_layer_draws_each_head_and_the_mean_of_each_layer(ax: Axes) -> None:
    values = np.array([[0.1, 0.3], [0.5, np.nan]])
    figures.by_layer(FakeSummary({"x": values}), ["x"], labels=["X"], ylabel="share", ax=ax)
    np.testing.assert_array_equal(ax.collections[0].get_offsets()[:, 1], [0.1, 0.3, 0.5, np.nan])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.2, 0.5])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [1, 2])
    assert list(ax.get_xticks()) == [1, 2]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Layer", "share")


def test_by_layer_dots_stay_with_their_layer_and_apart_from_each_other(ax: Axes) -> None:
    figures.by_layer(FakeSummary({"x": np.zeros((3, 16)), "y": np.zeros((3, 16))}), ["x", "y"], ax=ax)
    x = np.concatenate([np.asarray(c.get_offsets())[:, 0].reshape(3, 16) for c in ax.collections], axis=1)
    assert (np.abs(x - [[1], [2], [3]]) < 0.5).all()
    assert all(len(set(row.round(6))) == 32 for row in x)


def test_by_layer_names_layers_that_were_selected(ax: Axes) -> None:
    summary = fake_summary(2, 2)
    object.__setattr__(summary, "layers", (3, 5))
    figures.by_layer(summary, ["cls"], ax=ax)
    assert list(ax.get_xticks()) == [4, 6]


def test_by_layer_says_when_nothing_is_defined(ax: Axes) -> None:
    figures.by_layer(FakeSummary({"x": np.full((2, 2), np.nan)}), ["x"], labels=["X"], ax=ax)
    assert texts(ax) == ["undefined in every head"]


def test_by_layer_says_which_series_is_undefined(ax: Axes) -> None:
    figures.by_layer(FakeSummary({"x": np.full((2, 2), np.nan), "y": np.ones((2, 2))}), ["x", "y"], ax=ax)
    assert texts(ax) == []
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["x (undefined)", "y"]


def test_by_layer_writes_labels_as_they_are(ax: Axes, tmp_path: Path) -> None:
    names = ["$\\frac{x$", "_sep"]
    figures.by_layer(fake_summary(), ["cls", "sep"], labels=names, reference=("_$", 0.5), ax=ax)
    assert legend(ax) == ["_$", *names]
    figures.save(ax, tmp_path / "a.svg")


def test_by_layer_errors(ax: Axes) -> None:
    with pytest.raises(SelectionError, match="statistics must be a sequence of names, but is 'entropy'"):
        figures.by_layer(fake_summary(), "entropy", ax=ax)
    with pytest.raises(ValidationError, match="there are 1 labels but 2 statistics"):
        figures.by_layer(fake_summary(), ["cls", "sep"], labels=["a"], ax=ax)


def test_special_token_figure_is_figure_2() -> None:
    figure = figures.special_token_figure(fake_summary(), figure=Figure())
    legends = [[t.get_text() for t in ax.get_legend().get_texts()] for ax in figure.axes]
    assert legends == [["[CLS]", "[SEP]", ". or ,"], ["[SEP] → [SEP]", "other → [SEP]"]]
    assert [ax.get_ylabel() for ax in figure.axes] == ["Avg. attention"] * 2
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "Layer"]


def test_entropy_figure_is_figure_4_with_its_baseline() -> None:
    summary = fake_summary(uniform_entropy=np.full((3, 4), 4.5))
    figure = figures.entropy_figure(summary, figure=Figure())
    assert [ax.get_ylabel() for ax in figure.axes] == ["Avg. attention entropy (nats)"] * 2
    for ax, name in zip(figure.axes, ("entropy", "entropy_from_cls"), strict=True):
        baseline, means = ax.lines
        assert baseline.get_label() == "uniform attention"
        assert list(baseline.get_ydata()) == [4.5, 4.5]
        np.testing.assert_allclose(means.get_ydata(), summary.values[name].mean(axis=1))


@pytest.mark.parametrize("function", [figures.special_token_figure, figures.entropy_figure])
@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (3, 4), (12, 12), (40, 32)])
def test_every_value_lies_inside_its_panel(function: object, layers: int, heads: int) -> None:
    summary = fake_summary(layers, heads, sep_to_sep=np.full((layers, heads), 0.95), cls=np.zeros((layers, heads)))
    figure = function(summary, figure=Figure())
    figure.draw_without_rendering()
    for ax in figure.axes:
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        assert bottom == 0
        for dots in ax.collections:
            x, y = np.asarray(dots.get_offsets()).T
            assert (x > left).all()
            assert (x < right).all()
            assert (y >= bottom).all()
            assert (y < top).all()
        boxes = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))


def legend(ax: Axes) -> list[str]:
    return [t.get_text() for t in ax.get_legend().get_texts()]


def test_figures_of_a_decoder_say_which_tokens_it_has_not(tmp_path: Path) -> None:
    nan = dict.fromkeys(
        ("cls", "sep", "bos", "eos", "sep_to_sep", "other_to_sep", "entropy_from_cls"), np.full((3, 4), np.nan)
    )
    summary = fake_summary(**nan)
    upper, lower = figures.special_token_figure(summary, figure=Figure()).axes
    assert legend(upper) == [". or ,"]
    assert upper.get_legend().get_title().get_text() == "(no [CLS] or [SEP] in these sequences)"
    assert to_hex(upper.lines[0].get_color()) == figures.COLORS[2].lower()  # the colour it has beside the others
    assert texts(upper) == []
    assert texts(lower) == ["no [SEP] in these sequences"]
    assert lower.get_legend() is None
    assert len(upper.get_yticks()) > 2
    upper, lower = figures.entropy_figure(summary, figure=Figure()).axes
    assert legend(upper) == ["uniform attention", "all tokens"]
    assert texts(lower) == ["no [CLS] in these sequences"]
    assert list(lower.lines) == []
    figures.save(upper, tmp_path / "a.png")


def test_tokens_that_begin_and_end_texts_are_shown_where_there_are_some() -> None:
    nan, some = np.full((3, 4), np.nan), np.full((3, 4), 0.3)
    upper, lower = figures.special_token_figure(fake_summary(bos=some, eos=nan, cls=nan), figure=Figure()).axes
    assert legend(upper) == ["[SEP]", ". or ,", "BOS"]
    assert upper.get_legend().get_title().get_text() == "(no [CLS] in these sequences)"
    assert legend(lower) == ["[SEP] → [SEP]", "other → [SEP]"]
    upper, _ = figures.special_token_figure(fake_summary(bos=nan, eos=nan), figure=Figure()).axes
    assert legend(upper) == ["[CLS]", "[SEP]", ". or ,"]
    assert upper.get_legend().get_title().get_text() == ""


@pytest.mark.parametrize("function", [figures.special_token_figure, figures.entropy_figure])
def test_figures_where_everything_is_undefined(function: object, tmp_path: Path) -> None:
    summary = FakeSummary({name: np.full((2, 2), np.nan) for name in NAMES})
    figure = function(summary, figure=Figure())
    figures.save(figure, tmp_path / "a.png")
    upper, lower = figure.axes
    assert texts(upper) == ["undefined in every head"]
    assert texts(lower)[0].startswith("no [")


@pytest.mark.parametrize("function", [figures.special_token_figure, figures.entropy_figure])
def test_values_far_from_zero_and_close_together_stay_clear_of_the_top(function: object) -> None:
    summary = FakeSummary({name: np.full((3, 4), 0.3) for name in NAMES})
    for ax in function(summary, figure=Figure()).axes:
        assert 0.3 / ax.get_ylim()[1] == pytest.approx(1 / 1.05)


@pytest.mark.parametrize("tokens", [2, 60, 105, 200])
def test_matrix_of_many_tokens_keeps_its_labels_on_the_page(tokens: int) -> None:
    attention = tensor(np.eye(tokens), tuple("internationalizing" for _ in range(tokens)))
    figure = figures.attention_matrix(attention, "1-1").figure
    figure.draw_without_rendering()
    (width, height), box = figure.get_size_inches(), figure.get_tightbbox()
    assert box.x0 > 0
    assert box.y0 > 0
    assert box.x1 < width
    assert box.y1 < height


# all of them


def test_without_axes_a_pyplot_figure_is_made_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import pyplot

    monkeypatch.setattr(pyplot, "show", lambda *_: pytest.fail("show() was called"))
    attention, summary = tensor(np.eye(4)), fake_summary()
    made = [
        figures.attention_lines(attention, "1-1").figure,
        figures.attention_matrix(attention, "1-1").figure,
        figures.head_grid(attention).figure,
        figures.by_layer(summary, ["cls"]).figure,
        figures.example_heads(attention, ["1-1"]),
        figures.special_token_figure(summary),
        figures.entropy_figure(summary),
    ]
    assert [figure.number for figure in made] == pyplot.get_fignums()


def test_input_is_not_changed(ax: Axes) -> None:
    weights = np.full((4, 4), 0.25)
    weights.flags.writeable = False
    figures.attention_lines(tensor(weights), "1-1", ax=ax)
    assert (weights == 0.25).all()


def test_torch_and_numpy_draw_the_same() -> None:
    torch = pytest.importorskip("torch")
    weights = np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32)
    lines = []
    for values in (weights, torch.tensor(weights)):
        ax = figures.attention_lines(AttentionTensor(values[None, None], ["a", "b"]), "1-1", ax=Figure().subplots())
        lines.append(ax.collections[0].get_colors())
    np.testing.assert_array_equal(*lines)


def test_palette_is_okabe_and_itos() -> None:
    known = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442"}
    assert {to_hex(color) for color in figures.COLORS} <= known
    assert len(set(figures.COLORS)) == len(figures.COLORS) == len(figures.MARKERS)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_same_figure_same_bytes(suffix: str, tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}{suffix}"
        figures.save(figures.entropy_figure(fake_summary(), figure=Figure()), path)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert len(written[0]) > 1000
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


def test_save_takes_axes_and_writes_their_whole_figure(tmp_path: Path) -> None:
    figure = figures.entropy_figure(fake_summary(), figure=Figure())
    figures.save(figure, tmp_path / "figure.png")
    figures.save(figure.axes[1], tmp_path / "axes.png")
    assert (tmp_path / "axes.png").read_bytes() == (tmp_path / "figure.png").read_bytes()


def test_svg_is_xml_whatever_is_written_in_it(ax: Axes, tmp_path: Path) -> None:
    ax.set_title("x\x1b[31m\ufffe")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no font has them
        figures.save(ax, tmp_path / "a.svg")
    assert "x[31m" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    ET.parse(tmp_path / "a.svg")


def test_figures_are_saved_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, settings = threading.Event(), threading.Event(), []

    def slow(*_: object, **__: object) -> None:
        begun.set()
        go_on.wait(10)

    first, second = Figure(), Figure()
    monkeypatch.setattr(first, "savefig", slow)
    monkeypatch.setattr(second, "savefig", lambda *_, **__: settings.append(mpl.rcParams["svg.hashsalt"]))
    before = mpl.rcParams["svg.hashsalt"]
    threads = [threading.Thread(target=figures.save, args=(one, tmp_path / "a.svg")) for one in (first, second)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    assert settings == []
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert (settings, mpl.rcParams["svg.hashsalt"]) == (["bertattn"], before)


def test_save_takes_axes_of_a_subfigure(tmp_path: Path) -> None:
    figure = Figure()
    figures.save(figure.subfigures(1, 2)[0].subplots(), tmp_path / "axes.png")
    figures.save(figure, tmp_path / "figure.png")
    assert (tmp_path / "axes.png").read_bytes() == (tmp_path / "figure.png").read_bytes()


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_text("old")
    figure = Figure()

    def interrupted(file: object, **_: object) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        figures.save(figure, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_format_names_known_ones(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"'figure' does not say a format .* end it in \.png"):
        figures.save(Figure(), tmp_path / "figure")


def test_without_matplotlib_the_function_and_the_remedy_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"figures\.by_layer needs .*pip install 'bertattn\[plot\]'"):
        figures.by_layer(fake_summary(), ["cls"])


def test_what_cannot_be_drawn_is_named_with_what_can() -> None:
    attention, summary = tensor(np.eye(4)), fake_summary()
    for function in (figures.attention_lines, figures.attention_matrix):
        with pytest.raises(
            ValidationError, match="draws an AttentionTensor, but the first argument is str; an Extractor"
        ):
            function("1-1", attention)
    with pytest.raises(ValidationError, match="head_grid draws an AttentionTensor, but the first argument is list"):
        figures.head_grid([attention])
    with pytest.raises(ValidationError, match="example_heads draws an AttentionTensor, but the first argument is list"):
        figures.example_heads([attention], ["1-1"])
    with pytest.raises(SelectionError, match=r"heads must be a list of heads, .* such as \['1-1'\], but is '1-1'"):
        figures.example_heads(attention, "1-1")
    for function in (figures.special_token_figure, figures.entropy_figure):
        with pytest.raises(ValidationError, match=r"draws a Summary .* is AttentionTensor; make one: summarize\("):
            function(attention)
        with pytest.raises(
            SelectionError, match=r"the summary lacks .*; make it with summarize\(stream, patterns.surf"
        ):
            function(FakeSummary({"x": np.ones((1, 1))}))
    with pytest.raises(ValidationError, match="by_layer draws a Summary of a corpus"):
        figures.by_layer(attention, ["cls"])
    with pytest.raises(ValidationError, match=r"save writes a matplotlib figure, .* write save\(figure, path\)"):
        figures.save("a.png", figures.by_layer(summary, ["cls"]))


# Single heads and dependencies


def gold_map(weights: Any, *, words: tuple[str, ...] = ("Dogs", "chase", "cats")) -> AttentionTensor:
    tree = Sentence(words, governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
    axis = Axis(
        ["[CLS]", *words, "[SEP]"], roles=["cls", None, None, None, "sep"], word_ids=[None, 0, 1, 2, None], words=words
    )
    return AttentionTensor(np.asarray(weights, dtype=np.float64)[None, None], axis, annotation=tree)


# [CLS] Dogs chase cats [SEP]: Dogs -> chase (right), chase -> cats, cats -> Dogs (wrong)
RIGHT_AND_WRONG = [
    [1.0, 0.0, 0.0, 0.0, 0.0],
    [0.5, 0.0, 0.4, 0.1, 0.0],
    [0.0, 0.2, 0.0, 0.8, 0.0],
    [0.0, 0.7, 0.3, 0.0, 0.0],
    [1.0, 0.0, 0.0, 0.0, 0.0],
]


def colors_of_lines(ax: Axes) -> dict[tuple[int, int], str]:
    """Colour of the line from each query to each key."""
    (lines,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    ends = [(int(s[0][1]), int(s[1][1])) for s in lines.get_segments()]
    return dict(zip(ends, (to_hex(c) for c in lines.get_colors()), strict=True))


@pytest.mark.parametrize(
    ("relation", "direction", "deciding", "color"),
    [
        ("nsubj", "from_dependent", [(1, 0), (1, 2), (1, 3)], figures.COLORS[0]),
        ("obj", "from_dependent", [(3, 1), (3, 2)], figures.COLORS[1]),
        ("obj", "to_dependent", [(1, 3), (2, 3)], figures.COLORS[0]),
        ("obj", "from_governor", [(2, 1), (2, 3)], figures.COLORS[0]),
        ("nsubj", "from_governor", [(2, 1), (2, 3)], figures.COLORS[1]),
    ],
)
def test_relation_lines_colour_what_decides(relation: str, direction: Any, deciding: list[Any], color: str) -> None:
    ax = figures.relation_lines(gold_map(RIGHT_AND_WRONG), "1-1", relation, direction=direction, ax=Figure().subplots())
    colors = colors_of_lines(ax)
    assert {ends for ends, c in colors.items() if c == color.lower()} == set(deciding)
    assert {c for ends, c in colors.items() if ends not in deciding} == {figures.OTHER.lower()}
    assert ax.get_title() == f"Head 1-1: {relation}"


def test_relation_lines_write_the_name_of_a_relation_as_it_is(tmp_path: Path) -> None:
    a = gold_map(RIGHT_AND_WRONG)
    relation = "$\\frac{x$"
    tree = Sentence(a.annotation.words, governors=[2, 0, 2], relations=[relation, "root", relation])
    ax = figures.relation_lines(a.replace(annotation=tree), "1-1", relation, ax=Figure().subplots())
    assert ax.get_title() == f"Head 1-1: {relation}"
    figures.save(ax, tmp_path / "a.svg")


def test_relation_lines_need_a_tree_and_the_relation() -> None:
    a = gold_map(RIGHT_AND_WRONG)
    with pytest.raises(SelectionError, match="no word that is counted has the relation 'amod'"):
        figures.relation_lines(a, "1-1", "amod", ax=Figure().subplots())
    with pytest.raises(ValidationError, match="the maps have no sentence with a tree"):
        figures.relation_lines(a.replace(annotation=None), "1-1", "obj", ax=Figure().subplots())


def test_heads_at_work_has_a_panel_a_sentence() -> None:
    a = gold_map(RIGHT_AND_WRONG)
    figure = figures.heads_at_work([a, a, a, a], "1-1", "obj", figure=Figure())
    assert [ax.get_title() for ax in figure.axes] == ["Head 1-1: obj"] * 4 + [""] * 2
    with pytest.raises(SelectionError, match="sentences is empty"):
        figures.heads_at_work([], "1-1", "obj", figure=Figure())


def test_relation_figure_shows_heads_offsets_and_intervals() -> None:
    best = best_heads(score_relations([gold_map(RIGHT_AND_WRONG)] * 5), relations=["all", "nsubj", "obj"])
    figure = figures.relation_figure(best, figure=Figure())
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["all  (15)", "nsubj  (5)", "obj  (5)"]
    (squares,) = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert [round(float(x), 6) for x, _ in squares.get_offsets()] == [round(100 * r.baseline, 6) for r in best.rows]
    assert [t.get_text() for t in ax.texts] == [row.head for row in best.rows]
    with pytest.raises(SelectionError, match="best has no rows"):
        figures.relation_figure(BestHeads(()), figure=Figure())
    with pytest.raises(ValidationError, match=r"draws what heads\.best_heads or heads\.cross_fit gives"):
        figures.relation_figure(score_relations([gold_map(RIGHT_AND_WRONG)]), figure=Figure())  # type: ignore[arg-type]
    with pytest.raises(
        ValidationError, match="heads_at_work draws an AttentionTensor, but the first argument is Sente"
    ):
        figures.heads_at_work([Sentence(["a"])], "1-1", "obj", figure=Figure())  # type: ignore[list-item]


# Coreference


def window_map(weights: Any, *, first_word: int = 0, document: str = "d") -> AttentionTensor:
    """[CLS] Ann saw herself . [SEP]; Ann and herself are one entity. `weights` are those between the four words."""
    sentence = Sentence(["Ann", "saw", "herself", "."], upos=["PROPN", "VERB", "PRON", "PUNCT"])
    window = DocumentWindow([sentence], [Mention(0, 1, "ann"), Mention(2, 3, "ann")], document, first_word)
    axis = Axis(
        ["[CLS]", *sentence.words, "[SEP]"],
        roles=["cls", None, None, None, None, "sep"],
        word_ids=[None, 0, 1, 2, 3, None],
        words=sentence.words,
    )
    whole = np.full((6, 6), 0.1)
    whole[1:5, 1:5] = weights
    return AttentionTensor((whole / whole.sum(-1, keepdims=True))[None, None], axis, annotation=window)


# herself attends most to Ann; the most attention to herself is from saw
HERSELF = np.array([[0.1, 0.1, 0.2, 0.1], [0.1, 0.1, 0.9, 0.1], [0.8, 0.1, 0.1, 0.1], [0.1, 0.3, 0.1, 0.1]])


@pytest.mark.parametrize("first_word", [0, 40])
def test_coreference_lines_colour_what_leads_to_an_antecedent(first_word: int) -> None:
    a = window_map(HERSELF, first_word=first_word)
    ax = figures.coreference_lines(a, "1-1", ax=Figure().subplots())
    colors = colors_of_lines(ax)
    assert {ends[0] for ends, c in colors.items() if c == figures.COLORS[0].lower()} == {3}
    assert {c for ends, c in colors.items() if ends[0] != 3} == {figures.OTHER.lower()}
    assert ax.get_title() == "Head 1-1: coreference"
    wrong = figures.coreference_lines(a, "1-1", direction="to_mention", ax=Figure().subplots())
    assert {ends[1] for ends, c in colors_of_lines(wrong).items() if c == figures.COLORS[1].lower()} == {3}


def test_coreference_lines_are_right_among_the_candidates_asked_for() -> None:
    a = window_map(HERSELF)
    ax = figures.coreference_lines(a, "1-1", direction="to_mention", candidates="mentions_prev", ax=Figure().subplots())
    assert {ends[1] for ends, c in colors_of_lines(ax).items() if c == figures.COLORS[0].lower()} == {3}


def test_coreference_lines_need_a_window_with_an_antecedent() -> None:
    a = window_map(HERSELF)
    alone = DocumentWindow(a.annotation.sentences, [Mention(0, 1, "ann")])  # type: ignore[union-attr]
    with pytest.raises(SelectionError, match="no mention has an antecedent in this window; take one where"):
        figures.coreference_lines(a.replace(annotation=alone), "1-1", ax=Figure().subplots())
    with pytest.raises(ValidationError, match="the maps have no window with mentions; extract from windows"):
        figures.coreference_lines(gold_map(RIGHT_AND_WRONG), "1-1", ax=Figure().subplots())


def test_coreference_at_work_has_a_panel_a_window() -> None:
    a = window_map(HERSELF)
    figure = figures.coreference_at_work([a, a], "1-1", figure=Figure())
    assert [ax.get_title() for ax in figure.axes] == ["Head 1-1: coreference"] * 2
    with pytest.raises(SelectionError, match="windows is empty; give the maps of at least one"):
        figures.coreference_at_work([], "1-1", figure=Figure())
    with pytest.raises(
        ValidationError, match="coreference_at_work draws an AttentionTensor, but the first argument is Sente"
    ):
        figures.coreference_at_work([Sentence(["a"])], "1-1", figure=Figure())  # type: ignore[list-item]


def test_coreference_figure_shows_head_baselines_and_intervals() -> None:
    scores = score_coreference([window_map(HERSELF if i % 3 else HERSELF.T, document=f"d{i}") for i in range(9)])
    table = coreference_table(scores)
    (ax,) = figures.coreference_figure(table, figure=Figure()).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["all  (9)", "pronoun  (9)"]
    assert legend(ax) == ["chance", "nearest mention", "same head word", "rule-based", f"head {table.head}"]
    for bars, system in zip(ax.containers, ("nearest", "same_head", "rule_based", "head"), strict=True):
        rows = [table.row(system, name) for name in ("all", "pronoun")]
        dots, _, (ends,) = bars
        np.testing.assert_allclose(dots.get_xdata(), [100 * row.accuracy for row in rows])
        drawn = [(float(a[0]), float(b[0])) for a, b in ends.get_segments()]
        np.testing.assert_allclose(drawn, [(100 * row.low, 100 * row.high) for row in rows])
    (strokes,) = [c for c in ax.collections if c.get_label() == "chance"]
    assert {float(x) for s in strokes.get_segments() for x, _ in s} == {100 * table.row("chance").accuracy}


def test_coreference_figure_without_intervals_and_with_a_head_read_the_other_way(tmp_path: Path) -> None:
    scores = score_coreference([window_map(HERSELF)], directions=["to_mention"])
    figure = figures.coreference_figure(coreference_table(scores), figure=Figure())
    figures.save(figure, tmp_path / "table2.svg")
    assert "head 1-1 (to mention)" in legend(figure.axes[0])
    with pytest.raises(
        ValidationError, match=r"draws what heads\.coreference_table or .* not a CoreferenceScores; give"
    ):
        figures.coreference_figure(scores, figure=Figure())  # type: ignore[arg-type]


# Probes


def head_weights(margin: Any, **options: Any) -> HeadWeights:
    """Margins `[direction, layer, head]`; their weights and errors are not drawn."""
    margin = np.asarray(margin, dtype=np.float64)
    layers, heads = (range(n) for n in margin.shape[1:])
    given = {"layers": layers, "heads": heads} | options
    return HeadWeights("AttentionProbe", weight=margin, margin=margin, standard_error=margin, count=1, **given)


MARGINS = [[[0.5, -0.25], [0.0, 0.125]], [[0.25, 0.0], [0.5, -1.0]]]


@pytest.mark.parametrize(
    ("direction", "grid", "names", "title"),
    [
        ("both", [[0.75, -0.25], [0.5, -0.875]], ["1-1", "2-1"], "AttentionProbe"),
        ("from_dependent", MARGINS[0], ["1-1", "2-2"], "AttentionProbe (from dependent)"),
        ("to_dependent", MARGINS[1], ["2-1", "1-1"], "AttentionProbe (to dependent)"),
    ],
)
def test_probe_weights_are_a_grid_about_zero(direction: Any, grid: Any, names: Any, title: str, ax: Axes) -> None:
    assert figures.probe_weights(head_weights(MARGINS), direction=direction, named=2, ax=ax) is ax
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), grid)
    largest = float(np.abs(grid).max())
    assert image.get_clim() == (-largest, largest)
    assert texts(ax) == names
    assert [(round(t.get_position()[1]), round(t.get_position()[0])) for t in ax.texts] == [
        tuple(int(part) - 1 for part in name.split("-")) for name in names
    ]
    assert ax.get_title() == title
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Head", "Layer")
    below, above = (image.cmap(value) for value in (0.1, 0.9))
    assert below[0] > below[2]  # orange
    assert above[2] > above[0]  # purple


def test_probe_weights_name_the_layers_that_there_are_and_leave_out_undefined(tmp_path: Path) -> None:
    weights = head_weights([[[np.nan, 1.0]], [[2.0, 3.0]]], layers=[6], heads=[0, 9])
    ax = figures.probe_weights(weights)
    assert texts(ax) == ["7-10"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "10"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["7"]
    figures.save(ax, tmp_path / "weights.png")
    undefined = figures.probe_weights(head_weights(np.full((2, 1, 30), np.nan)))
    assert texts(undefined) == []
    assert [t.get_text() for t in undefined.get_xticklabels()] == [str(n) for n in range(1, 31, 2)]
    figures.save(undefined, tmp_path / "undefined.png")


def test_probe_weights_refuse_anything_else(ax: Axes) -> None:
    with pytest.raises(ValidationError, match=r"draws the HeadWeights of a probe, not a ndarray; give probe\.head_w"):
        figures.probe_weights(np.zeros((2, 2, 2)), ax=ax)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="direction must be one of 'both', 'from_dependent', 'to_dependent', but"):
        figures.probe_weights(head_weights(MARGINS), direction="sum", ax=ax)  # type: ignore[arg-type]


def probe_row(name: str, accuracy: float, **options: Any) -> ProbeRow:
    given = {"measure": "UAS", "comparable": True, "low": accuracy - 0.02, "high": accuracy + 0.03, "seeds": 1}
    given |= {"smallest": accuracy, "largest": accuracy, "deviation": float("nan")}
    return ProbeRow(name, accuracy=accuracy, **given | options)


def test_probe_figure_shows_accuracies_intervals_and_seeds(ax: Axes, tmp_path: Path) -> None:
    rows = (
        probe_row("right-branching", 0.26),
        probe_row("attention $k$", 0.61, seeds=3, smallest=0.58, largest=0.66),
        probe_row("structural probe", 0.8, measure="UUAS", comparable=False, low=float("nan"), high=float("nan")),
    )
    assert figures.probe_figure(ProbeTable(rows), ax=ax) is ax
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["right-branching", "attention $k$", "structural probe (UUAS)"]
    bottom, top = ax.get_ylim()
    assert bottom > top  # the first row on top
    (dots,) = [c for c in ax.collections if isinstance(c, PathCollection)]
    np.testing.assert_allclose(dots.get_offsets(), [(26, 0), (61, 1), (80, 2)])
    assert [to_hex(color) for color in dots.get_facecolors()] == [figures.COLORS[0].lower()] * 2 + ["#ffffff"]
    (_, _, (ends,)) = ax.containers[0]
    np.testing.assert_allclose([[x for x, _ in line] for line in ends.get_segments()[:2]], [(24, 29), (59, 64)])
    (seeds,) = [c for c in ax.collections if c.get_label() == "over seeds"]
    ((left, right),) = seeds.get_segments()
    np.testing.assert_allclose([left[0], right[0]], [58, 66])
    assert 1 < left[1] == right[1] < 1.5
    assert texts(ax) == ["26.0", "61.0", "80.0"]
    np.testing.assert_allclose([t.xy[0] for t in ax.texts], [29, 66, 80])
    assert sorted(legend(ax)) == ["95% interval over sentences", "over seeds"]
    figures.save(ax, tmp_path / "table3.svg")


def test_probe_figure_of_one_seed_each_has_no_line_for_seeds() -> None:
    ax = figures.probe_figure(ProbeTable((probe_row("attention", 0.61),), level=0.9))
    assert legend(ax) == ["90% interval over sentences"]
    with pytest.raises(ValidationError, match=r"draws what probes\.probe_table gives, not a BestHeads; give probes"):
        figures.probe_figure(best_heads(score_relations([gold_map(RIGHT_AND_WRONG)] * 5), relations=["all"]))  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="not a dict"):
        figures.probe_figure({})  # type: ignore[arg-type]
