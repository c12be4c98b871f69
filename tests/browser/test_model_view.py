"""The model view in a browser: thumbnails, their order and colours, and one head large."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import zoo
from browsing import ask, pixels, rgb, saved, settle, svg, texts

from bertattn import AttentionTensor, Axis, clustering, drop_special
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


def heavy() -> AttentionTensor:
    """Nearly all attention on [SEP], as in trained models; of the second query so much that no more can be told."""
    rng = np.random.default_rng(5)
    weights = rng.dirichlet(np.full(6, 2.0), size=(2, 2, 6)) * 0.04
    weights[..., -1] += 0.96
    weights[..., 1, :-1] *= 1e-3
    weights /= weights.sum(-1, keepdims=True)
    return AttentionTensor(weights, Axis(["[CLS]", "a", "b", "c", "d", "[SEP]"], roles=["cls", *[None] * 4, "sep"]))


def stated(text: str) -> float:
    """The error that a text states of divided weights."""
    (found,) = re.findall(r"shown, weights differ by at most ([\d.e+-]+[\d])", text)
    return float(found)


def test_renormalised_weights_are_those_of_the_library_within_the_stated_error(opened) -> None:
    attention = heavy()
    wanted = drop_special(attention).numpy()
    page = opened(model_view(attention))
    page.get_by_label("Tokens").select_option(label="not special, renormalised")
    settle(page)
    of_all = stated(page.locator("main > p").last.inner_text())
    assert "4 rows with too little mass to tell from rounding left out" in page.locator("main > p").last.inner_text()
    errors = []
    for layer in range(2):
        for head in range(2):
            thumbnail(page, f"{layer + 1}-{head + 1}").click()
            settle(page)
            facts = page.locator(".panel p").first.inner_text()
            assert "1 row with too little mass" in facts
            read = page.evaluate("() => [0,1,2,3].map((i) => [0,1,2,3].map((j) => bertattn.shown(i, j)))")
            found = np.array([[np.nan if one is None else one for one in row] for row in read], dtype=float)
            assert np.isnan(found[0]).all()
            difference = np.abs(found[1:] - wanted[layer, head, 1:]).max()
            errors.append(stated(facts))
            assert 0 < difference < errors[-1] < 1
            page.locator("[role=option]").first.hover()
            settle(page)
            assert "a: too little mass to tell from rounding" in page.locator(".panel").inner_text().replace(
                "\u2068", ""
            ).replace("\u2069", "")
            page.keyboard.press("Escape")
    assert of_all == max(errors)


def test_names_of_statistics_may_be_anything(opened) -> None:
    attention = zoo.tokens(6)
    names = ["cluster", "layer", "place", "constructor", "__proto__"]
    given = {name: np.roll(np.arange(6.0), i).reshape(2, 3) for i, name in enumerate(names)}
    clusters = clustering.cluster_heads(clustering.head_distances([attention]), clusters=2)
    page = opened(model_view(attention, statistic=given, clusters=clusters))
    heads = np.array(["1-1", "1-2", "1-3", "2-1", "2-2", "2-3"])
    for name, values in given.items():
        label = f"{name} (statistic)" if name in ("cluster", "layer") else name
        page.get_by_label("Order").select_option(label=label)
        page.get_by_label("Colour").select_option(label=label)
        settle(page)
        assert board(page) == list(heads[np.argsort(-values.ravel())]), name
        assert f"heads by {name}, largest first" in page.locator(".board").get_attribute("aria-label")
        assert f"{name} 5" in thumbnail(page, board(page)[0]).text_content()
        strip = thumbnail(page, board(page)[0]).locator(".strip")
        assert strip.evaluate("(one) => getComputedStyle(one).backgroundColor") == VIRIDIS[1]
    page.get_by_label("Order").select_option(label="layer and head")
    page.get_by_label("Colour").select_option(label="layer")
    settle(page)
    assert board(page) == list(heads)
    assert strip.evaluate("(one) => getComputedStyle(one).backgroundColor") not in VIRIDIS


def test_of_very_many_lines_the_strongest_are_drawn_and_saved(opened, tmp_path: Path) -> None:
    attention = zoo.tokens(300, layers=1, heads=1)
    page = opened(model_view(attention))
    thumbnail(page, "1-1").click()
    page.get_by_label("Threshold").focus()
    page.keyboard.press("Home")
    settle(page)
    assert ask(page, "state()")["threshold"] == 0
    assert ask(page, "drawn()") == {"lines": 10_000}
    (found,) = re.findall(r"the 10,000 strongest of ([\d,]+) lines", page.get_by_text("Point at a token").inner_text())
    # Weights that round to nothing are no lines.
    assert 10_000 < int(found.replace(",", "")) <= 90_000
    panel = svg(saved(page.get_by_label("One head"), "SVG", tmp_path))
    assert f"Head 1-1: the 10,000 strongest of {found} lines" in texts(panel)
    drawn = [float(one.get("opacity", 1)) for one in panel.iter() if one.tag.endswith("}line")]
    assert len(drawn) == 10_000
    assert min(drawn) == pytest.approx(np.sort(attention.numpy(), axis=None)[-10_000], abs=0.01)
    page.locator("[role=option]").first.hover()
    settle(page)
    assert 100 < ask(page, "drawn()")["lines"] <= 300  # of one token all


def test_equal_lines_are_no_more_than_may_be_drawn(opened) -> None:
    page = opened(model_view(AttentionTensor(np.full((1, 1, 120, 120), 1 / 120), zoo.tokens(120).queries)))
    thumbnail(page, "1-1").click()
    settle(page)
    page.get_by_label("Threshold").focus()
    page.keyboard.press("Home")
    settle(page)
    assert ask(page, "drawn()") == {"lines": 10_000}
    assert "the 10,000 strongest of 14,400 lines" in page.locator(".panel").inner_text()


def test_the_select_of_attention_keeps_the_focus(opened) -> None:
    page = opened(model_view({"encoder": zoo.tokens(6), "decoder": zoo.tokens(4)}))
    page.get_by_label("Attention").focus()
    page.keyboard.press("ArrowDown")
    settle(page)
    assert ask(page, "state()")["part"] == 1
    assert page.evaluate("() => document.activeElement.labels?.[0].textContent") == "Attention"
    page.keyboard.press("ArrowUp")
    settle(page)
    assert ask(page, "state()")["part"] == 0


def test_keys_that_are_the_browsers_are_left_to_it(opened) -> None:
    page = opened(model_view(zoo.tokens(6)))
    thumbnail(page, "1-1").focus()
    for key in ("Alt+ArrowRight", "Control+ArrowDown", "Meta+ArrowDown"):
        page.keyboard.press(key)
        assert thumbnail(page, "1-1").evaluate("(one) => one === document.activeElement"), key
    page.keyboard.press("Enter")
    settle(page)
    page.get_by_role("listbox").first.focus()
    for key in ("Alt+ArrowRight", "Control+ArrowRight", "Control+End", "Control+Escape"):
        page.keyboard.press(key)
        settle(page)
        state = ask(page, "state()")
        assert (state["opened"], state["pointed"]) == ("1-1", None), key


def test_the_next_head_leaves_the_focus_where_it_is(opened) -> None:
    page = opened(model_view(zoo.tokens(6)))
    thumbnail(page, "1-1").click()
    settle(page)
    following = page.get_by_role("button", name="Next head")
    following.focus()
    for name in ("1-2", "1-3", "2-1"):
        page.keyboard.press("Enter")
        settle(page)
        assert ask(page, "state()")["opened"] == name
        assert following.evaluate("(one) => one === document.activeElement")
        assert f"Head {name}" in page.locator("[aria-live]").inner_text()


def test_pages_of_heads_and_of_tokens_are_passed(opened) -> None:
    page = opened(model_view(zoo.tokens(30, layers=24, heads=16)))
    thumbnail(page, "1-3").focus()
    page.keyboard.press("PageDown")
    name = page.evaluate("() => document.activeElement.textContent.split(/[ ,]/)[1]")
    assert name.endswith("-3")
    assert 4 <= int(name.split("-")[0]) < 24
    for _ in range(24):
        page.keyboard.press("PageDown")
    assert thumbnail(page, "24-3").evaluate("(one) => one === document.activeElement")
    for _ in range(24):
        page.keyboard.press("PageUp")
    assert thumbnail(page, "1-3").evaluate("(one) => one === document.activeElement")
    page.keyboard.press("Enter")
    settle(page)
    page.get_by_role("listbox").first.focus()
    places = []
    for key in ("Home", "PageDown", "PageDown", "PageDown", "PageUp"):
        page.keyboard.press(key)
        places.append(ask(page, "state()")["pointed"]["i"])
    assert places == [0, 10, 20, 29, 19]


def test_the_pointer_does_not_take_the_keyboards_place(opened) -> None:
    page = opened(model_view(zoo.tokens(6)))
    thumbnail(page, "1-1").click()
    settle(page)
    queries, tokens = page.get_by_role("listbox").first, page.get_by_role("option")
    queries.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    tokens.nth(10).hover()
    assert ask(page, "state()")["pointed"] == {"side": "key", "i": 4}
    page.mouse.move(5, 5)
    assert ask(page, "state()")["pointed"] == {"side": "query", "i": 2}
    assert queries.get_attribute("aria-activedescendant") == "query-2"
    page.keyboard.press("ArrowDown")
    assert ask(page, "state()")["pointed"] == {"side": "query", "i": 3}
    page.keyboard.press("Tab")
    assert ask(page, "state()")["pointed"] is None
    assert queries.get_attribute("aria-activedescendant") is None


def test_escape_lets_a_token_go_before_the_head(opened) -> None:
    page = opened(model_view(zoo.tokens(6)))
    thumbnail(page, "1-1").click()
    settle(page)
    every = ask(page, "drawn()")["lines"]
    page.get_by_role("listbox").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert ask(page, "state()")["held"] == {"side": "query", "i": 0}
    page.keyboard.press("Escape")
    state = ask(page, "state()")
    assert (state["opened"], state["held"], state["pointed"]) == ("1-1", None, None)
    assert ask(page, "drawn()")["lines"] == every
    page.keyboard.press("Escape")
    assert ask(page, "state()")["opened"] is None


def test_a_second_tap_lets_go(opened) -> None:
    page = opened(model_view(zoo.tokens(6)), has_touch=True)
    thumbnail(page, "1-1").tap()
    settle(page)
    every = ask(page, "drawn()")["lines"]
    token = page.get_by_role("option").nth(1)
    token.tap()
    assert ask(page, "state()")["held"] == {"side": "query", "i": 1}
    assert ask(page, "drawn()")["lines"] < every
    token.tap()
    state = ask(page, "state()")
    assert (state["held"], state["pointed"]) == (None, None)
    assert ask(page, "drawn()")["lines"] == every


def test_what_is_asked_last_is_shown(opened) -> None:
    page = opened(model_view(zoo.tokens(6)))
    page.evaluate("() => { const all = document.querySelectorAll('.thumbnail'); all[5].click(); all[1].click(); }")
    settle(page)
    assert ask(page, "state()")["opened"] == "1-2"
    press = """(keys) => {
      const stage = document.querySelector(".stage");
      for (const key of keys) stage.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    }"""
    page.evaluate(press, ["ArrowRight", "ArrowRight"])
    settle(page)
    assert ask(page, "state()")["opened"] == "2-1"
    page.evaluate(press, ["ArrowRight", "Escape"])
    settle(page)
    assert ask(page, "state()")["opened"] is None
    assert page.locator(".panel").is_hidden()


def test_paper_has_the_legend(opened) -> None:
    page = opened(model_view(zoo.tokens(6), statistic={"accuracy": ACCURACY}))
    page.emulate_media(media="print")
    assert page.get_by_text("undefined (grey)").is_visible()
    assert page.get_by_label("Order").is_hidden()


def test_a_damaged_layer_is_told_and_the_others_are_shown(opened, tmp_path: Path) -> None:
    view = model_view(zoo.tokens(6, layers=3))
    start = view.html.index(">", view.html.index('id="block-weights-0-1"')) + 1
    path = tmp_path / "damaged.html"
    path.write_text(view.html[:start] + "AAAA" + view.html[start + 4 :], encoding="utf-8")
    page = opened(path)
    settle(page)
    assert "damaged" in page.get_by_role("alert").inner_text()
    assert ask(page, "drawn()") == {"thumbnails": 6}
    thumbnail(page, "2-1").click()
    settle(page)
    assert ask(page, "state()")["opened"] is None
    thumbnail(page, "3-1").click()
    settle(page)
    assert ask(page, "state()")["opened"] == "3-1"
