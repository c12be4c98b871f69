"""The model view in a browser: thumbnails, their order and colours, and one head large."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import zoo
from browsing import ask, pixels, rgb, saved, settle, svg, texts

from bertattn import AttentionTensor, clustering
from bertattn.views import model_view

BLUE = "#0072b2"
VIRIDIS = ("rgb(68, 1, 84)", "rgb(253, 231, 37)")  # its ends
ACCURACY = np.array([[0.5, 0.1, 0.9], [0.2, np.nan, 0.3]])


def thumbnail(page, name: str):
    return page.get_by_role("button", name=f"head {name}", exact=False).first


def board(page) -> list[str]:
    """The heads as they are shown, by rows."""
    return [name.split()[1].rstrip(",") for name in page.locator(".thumbnail").all_text_contents()]


def in_thumbnail(page, name: str):
    """How much of the first layer's colour lies at a place (0 to 1 each) of a thumbnail's picture, as a function."""
    box = thumbnail(page, name).locator("canvas").bounding_box()
    seen, full = pixels(page) - 255, rgb(BLUE) - 255

    def at(x: float, y: float) -> float:
        row, column = math.floor(box["y"] + y * box["height"]), math.floor(box["x"] + x * box["width"])
        return float((seen[row - 1 : row + 2, column] @ full).max() / (full @ full))

    return at


def test_thumbnails_show_their_weights(opened) -> None:
    page = opened(model_view(zoo.known()))
    assert board(page) == ["1-1", "1-2"]
    own, first = in_thumbnail(page, "1-1"), in_thumbnail(page, "1-2")
    # Of the first head every token looks at itself: level lines at the middle of each row, nothing between them.
    assert min(own(0.5, (row + 0.5) / 4) for row in range(4)) > 0.6
    assert max(own(0.5, row / 4) for row in range(1, 4)) < 0.05
    # Of the second all lines end at the first key.
    assert first(0.98, 0.125) > 0.6
    assert first(0.98, 0.875) < 0.05
    assert first(0.02, 0.86) > 0.3


def test_matrices_show_their_weights(opened) -> None:
    page = opened(model_view(zoo.known()))
    page.get_by_role("button", name="matrices").click()
    settle(page)
    own, first = in_thumbnail(page, "1-1"), in_thumbnail(page, "1-2")
    for query in range(4):
        for key in range(4):
            place = ((key + 0.5) / 4, (query + 0.5) / 4)
            assert own(*place) == pytest.approx(float(query == key), abs=0.02)
            assert first(*place) == pytest.approx(float(key == 0), abs=0.02)


def test_tokens_sharing_a_row_are_summed_and_averaged(opened) -> None:
    """96 tokens in 48 rows: uniform attention is uniform, whatever shares a row."""
    page = opened(model_view(AttentionTensor(np.full((1, 1, 96, 96), 1 / 96, np.float32), zoo.tokens(96).queries)))
    page.get_by_role("button", name="matrices").click()
    settle(page)
    at = in_thumbnail(page, "1-1")
    assert [at(0.1, 0.1), at(0.5, 0.9), at(0.93, 0.4)] == pytest.approx([math.sqrt(1 / 48)] * 3, abs=0.02)


def test_every_head_is_drawn_and_named(opened) -> None:
    page = opened(model_view(zoo.tokens(6)))
    assert ask(page, "drawn()") == {"thumbnails": 6}
    assert board(page) == ["1-1", "1-2", "1-3", "2-1", "2-2", "2-3"]
    assert page.get_by_role("columnheader").all_inner_texts() == ["1", "2", "3"]
    assert page.get_by_role("rowheader").all_inner_texts() == ["1", "2"]
    assert "entropy" in thumbnail(page, "2-3").text_content()


def test_sorted_by_a_statistic(opened) -> None:
    page = opened(model_view(zoo.tokens(6), statistic={"accuracy": ACCURACY}))
    page.get_by_label("Order").select_option(label="accuracy")
    settle(page)
    assert board(page) == ["1-3", "1-1", "2-3", "2-1", "1-2", "2-2"]
    page.get_by_role("checkbox", name="largest first").uncheck()
    settle(page)
    assert board(page) == ["1-2", "2-1", "2-3", "1-1", "1-3", "2-2"]  # what is undefined stays last
    assert "smallest first; the first is 1-2" in page.locator("[aria-live]").inner_text()


def test_coloured_by_a_statistic(opened) -> None:
    page = opened(model_view(zoo.tokens(6), statistic={"accuracy": ACCURACY}))
    page.get_by_label("Colour").select_option(label="accuracy")
    settle(page)

    def color(name: str) -> str:
        return thumbnail(page, name).locator(".strip").evaluate("(one) => getComputedStyle(one).backgroundColor")

    assert (color("1-2"), color("1-3")) == VIRIDIS
    assert color("2-2") not in VIRIDIS
    assert "accuracy 0.90" in thumbnail(page, "1-3").text_content()
    assert "1 undefined" in page.locator("body").inner_text()


def test_coloured_and_sorted_by_cluster(opened) -> None:
    attention = zoo.tokens(6)
    clusters = clustering.cluster_heads(clustering.head_distances([attention]), clusters=2)
    page = opened(model_view(attention, clusters=clusters))
    labels = clusters.labels
    page.get_by_label("Order").select_option(label="cluster")
    settle(page)
    shown = [labels[clusters.names.index(name)] for name in board(page)]
    assert shown == sorted(shown)
    colors = {
        name: thumbnail(page, name).locator(".strip").evaluate("(one) => getComputedStyle(one).backgroundColor")
        for name in board(page)
    }
    assert len(set(colors.values())) == 2
    assert len({(colors[name], labels[clusters.names.index(name)]) for name in colors}) == 2


def test_a_click_makes_a_head_large_and_escape_goes_back(opened) -> None:
    page = opened(model_view(zoo.known()))
    thumbnail(page, "1-2").click()
    settle(page)
    assert ask(page, "state()")["opened"] == "1-2"
    assert page.get_by_role("heading", name="Head 1-2").is_visible()
    assert ask(page, "drawn()") == {"lines": 4}
    assert page.locator("[role=option]").all_inner_texts() == ["one", "two", "three", "four"] * 2
    page.locator("[role=option]").nth(2).hover()
    settle(page)
    assert ask(page, "drawn()") == {"lines": 1}
    page.keyboard.press("Escape")
    settle(page)
    assert ask(page, "state()")["opened"] is None
    assert thumbnail(page, "1-2").evaluate("(one) => one === document.activeElement")


def test_the_large_head_draws_its_lines(opened) -> None:
    page = opened(model_view(zoo.known()))
    thumbnail(page, "1-2").click()
    settle(page)
    box = page.locator(".stage canvas").bounding_box()
    seen = pixels(page)
    column = seen[math.floor(box["y"]) : math.floor(box["y"] + 4 * 18), math.floor(box["x"] + box["width"] - 3)]
    strong = np.flatnonzero(np.abs(column - 255).max(-1) > 100)
    assert strong.size > 0
    assert strong.max() <= 13  # all at the first key
    column = seen[math.floor(box["y"]) : math.floor(box["y"] + 4 * 18), math.floor(box["x"] + 3)]
    strong = np.flatnonzero(np.abs(column - 255).max(-1) > 100)
    assert {n // 18 for n in strong} == {0, 1, 2, 3}


def test_the_board_is_walked_with_arrow_keys(opened) -> None:
    page = opened(model_view(zoo.tokens(6)))
    thumbnail(page, "1-1").focus()

    def focused() -> str:
        return page.evaluate("() => document.activeElement.textContent.split(/[ ,]/)[1]")

    for key, name in [
        ("ArrowRight", "1-2"),
        ("ArrowDown", "2-2"),
        ("End", "2-3"),
        ("Home", "2-1"),
        ("ArrowUp", "1-1"),
        ("ArrowLeft", "1-1"),
    ]:
        page.keyboard.press(key)
        assert focused() == name, key
    assert page.locator(".thumbnail[tabindex='0']").count() == 1
    page.keyboard.press("Enter")
    settle(page)
    assert ask(page, "state()")["opened"] == "1-1"
    page.keyboard.press("ArrowRight")
    settle(page)
    assert ask(page, "state()")["opened"] == "1-2"
    page.keyboard.press("Escape")
    settle(page)
    assert ask(page, "state()")["opened"] is None


def test_tokens_of_a_pair_can_be_chosen(opened) -> None:
    page = opened(model_view(zoo.pair()))
    before = pixels(page)
    page.get_by_label("Tokens").select_option(label="A → B")
    settle(page)
    assert (pixels(page) != before).any()
    thumbnail(page, "1-1").click()
    settle(page)
    labels = page.locator("[role=option]").all_inner_texts()
    assert labels == [*zoo.pair().queries.tokens[:6], *zoo.pair().queries.tokens[6:]]


def test_several_attentions_of_a_model(opened) -> None:
    cross = AttentionTensor(np.full((1, 2, 4, 6), 1 / 6, np.float32), zoo.tokens(4).queries, zoo.tokens(6).keys)
    page = opened(model_view({"encoder": zoo.tokens(6), "cross": cross}))
    page.get_by_label("Attention").select_option(label="cross")
    settle(page)
    assert board(page) == ["1-1", "1-2"]
    assert ask(page, "weight(0, 1, 3, 5)") == pytest.approx(1 / 6, abs=0.01)


def test_svg_of_the_board_and_of_a_head(opened, tmp_path: Path) -> None:
    page = opened(model_view(zoo.known()))
    root = svg(saved(page, "SVG", tmp_path))
    assert {"1-1", "1-2"} <= set(texts(root)) or {"1", "2"} <= set(texts(root))
    assert len([one for one in root.iter() if one.tag.endswith(("}path", "}line"))]) >= 8
    thumbnail(page, "1-2").click()
    settle(page)
    panel = svg(saved(page.get_by_label("One head"), "SVG", tmp_path))
    assert {"one", "two", "three", "four", "Head 1-2"} <= set(texts(panel))
    assert len([one for one in panel.iter() if one.tag.endswith("}line")]) == 4


def test_a_large_model_is_drawn(opened) -> None:
    page = opened(model_view(zoo.tokens(8, layers=24, heads=16)))
    assert ask(page, "drawn()") == {"thumbnails": 24 * 16}
    thumbnail(page, "24-16").scroll_into_view_if_needed()
    assert thumbnail(page, "24-16").is_visible()
