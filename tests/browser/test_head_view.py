"""The head view in a browser: what is drawn, and what controls, mouse and keyboard change."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import zoo
from browsing import ask, blended, data, pixels, rgb, saved, settle, svg, texts, weights_in
from PIL import Image

from bertattn import AttentionTensor, Axis, DocumentWindow, Mention, merge_subwords
from bertattn.views import head_view

BLUE, VERMILION = "#0072b2", "#d55e00"


def option(page, side: str, number: int):
    """A token of a column, counted from 0."""
    return page.get_by_role("listbox", name=f"{side}:").get_by_role("option").nth(number)


def line(page, i: int, j: int, share: float = 0.5) -> tuple[float, float, float]:
    """A point of the screen on the line from query i to key j, and how high the line is there."""
    ends = ask(page, f"ends({i}, {j})")
    box = page.locator("canvas").first.bounding_box()
    dx, dy = ends["x2"] - ends["x1"], ends["y2"] - ends["y1"]
    x, y = box["x"] + ends["x1"] + share * dx, box["y"] + ends["y1"] + share * dy
    return x, y, 1.4 * math.hypot(dx, dy) / dx


def opacity(page, i: int, j: int, color: str) -> float:
    """The opacity of the line from query i to key j, from the pixels above and below its middle."""
    x, y, height = line(page, i, j)
    seen = pixels(page)[math.floor(y) - 4 : math.floor(y) + 5, round(x)]
    full = rgb(color) - 255
    return float(((seen - 255) @ full / (full @ full)).sum() / height)


def one_line(weight: float) -> AttentionTensor:
    """Query "b" looks at key "d" with this weight, and nothing else looks at anything."""
    weights = np.zeros((1, 1, 5, 5), np.float32)
    weights[0, 0, 1, 3] = weight
    return AttentionTensor(weights, Axis(list("abcde")), normalized=False, measure="other")


def test_weights_in_the_page_are_the_tensor(opened) -> None:
    attention = zoo.pair()
    page = opened(head_view(attention))
    read, (part,) = weights_in(page, attention.shape), data(page)["parts"]
    error = np.abs(read - attention.numpy()).max()
    assert 0 < error <= part["error"] * (1 + 1e-6)
    assert part["error"] < 0.01
    page.get_by_text("Keys, and what is shown").click()
    assert f"at most {part['error']:#.2g}." in page.locator("details").inner_text()


def test_undefined_rows_are_undefined_in_the_page(opened) -> None:
    weights = zoo.tokens(4).numpy().copy()
    weights[1, 2, 3] = np.nan
    page = opened(head_view(AttentionTensor(weights, zoo.tokens(4).queries), layer=1))
    assert np.array_equal(np.isnan(weights_in(page, weights.shape)), np.isnan(weights))
    assert ask(page, "drawn()")["undefinedRows"] == 1
    assert "1 rows without mass" in page.locator(".status").inner_text()


def test_lines_are_where_the_weights_are(opened) -> None:
    page = opened(head_view(zoo.known()))
    assert ask(page, "drawn()")["lines"] == 8
    assert opacity(page, 3, 3, BLUE) == pytest.approx(1, abs=0.1)
    assert opacity(page, 3, 0, VERMILION) == pytest.approx(1, abs=0.1)
    x, y, _ = line(page, 1, 3, share=0.6)  # a weight of 0, away from the lines of others
    assert np.abs(pixels(page)[round(y), round(x)] - 255).max() < 3
    before = pixels(page)
    page.get_by_role("button", name="1", exact=True).click()
    settle(page)
    assert ask(page, "drawn()")["lines"] == 4
    assert opacity(page, 3, 3, BLUE) == pytest.approx(0, abs=0.05)
    assert (pixels(page) != before).any()


@pytest.mark.parametrize("weight", [0.25, 0.6])
def test_a_line_is_as_strong_as_its_weight(weight: float, opened) -> None:
    weights = np.zeros((1, 1, 5, 5), np.float32)
    weights[0, 0, :, 4] = 1
    weights[0, 0, 0] = [0, 0, weight, 0, 1 - weight]
    page = opened(head_view(AttentionTensor(weights, Axis(list("abcde")))))
    # Its middle is one row below the first, away from all other lines.
    assert opacity(page, 0, 2, BLUE) == pytest.approx(weight, abs=0.05)


def test_negative_weights_are_dashed(opened) -> None:
    page = opened(head_view(one_line(-0.5)))
    assert ask(page, "drawn()")["lines"] == 1
    points = [line(page, 1, 3, share=share) for share in np.linspace(0.1, 0.9, 200)]
    seen = pixels(page)
    along = [np.abs(seen[math.floor(y), math.floor(x)] - 255).max() for x, y, _ in points]
    assert min(along) < 20  # gaps
    assert max(along) > 150  # dashes


def test_pointing_at_a_token_leaves_its_lines(opened) -> None:
    page = opened(head_view(zoo.known()))
    option(page, "Queries", 2).hover()
    settle(page)
    assert ask(page, "drawn()")["lines"] == 2  # itself, and the first token
    status = page.locator(".status").inner_text()
    assert "three" in status
    assert "one" in status
    assert "1.000" in status
    option(page, "Keys", 0).hover()
    settle(page)
    assert ask(page, "drawn()")["lines"] == 5  # all four of one head, and its own of the other
    page.mouse.move(5, 5)
    settle(page)
    assert ask(page, "drawn()")["lines"] == 8


def test_a_click_holds_a_token_until_it_is_let_go(opened) -> None:
    page = opened(head_view(zoo.known()))
    option(page, "Queries", 2).click()
    page.mouse.move(5, 5)
    settle(page)
    assert ask(page, "state()")["held"] == {"side": "query", "index": 2}
    assert ask(page, "drawn()")["lines"] == 2
    assert option(page, "Queries", 2).get_attribute("aria-selected") == "true"
    option(page, "Queries", 2).click()
    page.mouse.move(5, 5)
    settle(page)
    assert ask(page, "state()")["held"] is None
    assert ask(page, "drawn()")["lines"] == 8


def test_the_keyboard_does_what_the_mouse_does(opened) -> None:
    page = opened(head_view(zoo.known()))
    queries = page.get_by_role("listbox", name="Queries:")
    for _ in range(40):
        if queries.evaluate("(element) => element === document.activeElement"):
            break
        page.keyboard.press("Tab")
    else:
        pytest.fail("Tab does not reach the queries")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    settle(page)
    assert ask(page, "state()")["pointed"] == {"side": "query", "index": 1}
    assert queries.get_attribute("aria-activedescendant") == option(page, "Queries", 1).get_attribute("id")
    assert "two\u2069 1.000 in 1-1" in page.locator("[aria-live]").inner_text()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert ask(page, "state()")["held"] == {"side": "query", "index": 3}
    page.keyboard.press("Escape")
    assert ask(page, "state()")["held"] is None
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")
    page.keyboard.press(" ")
    assert ask(page, "state()")["held"] == {"side": "key", "index": 0}


def test_focus_can_be_seen(opened) -> None:
    page = opened(head_view(zoo.known()))
    before = pixels(page)
    page.keyboard.press("Tab")
    assert (pixels(page) != before).any()


def test_another_layer_is_drawn(opened) -> None:
    attention = zoo.tokens(5)
    page = opened(head_view(attention))
    page.get_by_label("Layer", exact=True).select_option(label="2")
    settle(page)
    shown = ask(page, "value(1, 2, 3)")
    assert shown == pytest.approx(attention.numpy()[1, 1, 2, 3], abs=0.01)
    assert ask(page, "state()")["groups"] == ["2-1", "2-2", "2-3"]


def test_layer_and_heads_shown_first(opened) -> None:
    page = opened(head_view(zoo.tokens(5), layer=1, heads=[0, 2]))
    assert ask(page, "state()")["groups"] == ["2-1", "2-3"]


def test_averages_over_heads_and_layers(opened) -> None:
    attention = zoo.tokens(5)
    page = opened(head_view(attention, heads=[0, 2]))
    average = page.get_by_label("Average")
    average.select_option(label="chosen heads")
    settle(page)
    assert ask(page, "value(0, 2, 3)") == pytest.approx(attention.numpy()[0, [0, 2], 2, 3].mean(), abs=0.01)
    average.select_option(label="chosen heads and layers")
    settle(page)
    assert ask(page, "value(0, 2, 3)") == pytest.approx(attention.numpy()[:, [0, 2], 2, 3].mean(), abs=0.01)


@pytest.mark.parametrize(
    ("name", "queries", "keys"), [("A → B", range(6), range(6, 10)), ("B → B", range(6, 10), range(6, 10))]
)
def test_sentence_pairs(name: str, queries: range, keys: range, opened) -> None:
    attention = zoo.pair()
    page = opened(head_view(attention))
    page.get_by_label("Sentences").select_option(label=name)
    settle(page)
    assert ask(page, "state()")["queries"] == list(queries)
    assert ask(page, "state()")["keys"] == list(keys)
    cut = attention.numpy()[0, 1][np.ix_(queries, keys)]
    assert ask(page, "value(1, 2, 3)") == pytest.approx(cut[2, 3], abs=0.01)  # sliced
    page.get_by_label("Rows divided by what is shown").check()
    settle(page)
    assert ask(page, "value(1, 2, 3)") == pytest.approx(cut[2, 3] / cut[2].sum(), abs=0.02)


def test_special_tokens_can_be_left_out(opened) -> None:
    attention = zoo.pair()
    page = opened(head_view(attention))
    page.get_by_label("Special tokens").uncheck()
    settle(page)
    kept = [i for i in range(10) if i not in (0, 5, 9)]
    assert ask(page, "state()")["queries"] == ask(page, "state()")["keys"] == kept
    assert page.get_by_role("listbox", name="Queries:").get_by_role("option").count() == 7
    cut = attention.numpy()[0, 0][np.ix_(kept, kept)]
    assert ask(page, "value(0, 0, 4)") == pytest.approx(cut[0, 4], abs=0.01)
    page.get_by_label("Rows divided by what is shown").check()
    settle(page)
    assert ask(page, "value(0, 0, 4)") == pytest.approx(cut[0, 4] / cut[0].sum(), abs=0.02)


def test_words_are_merged_as_python_merges_them(opened) -> None:
    attention = zoo.pair()
    page = opened(head_view(attention))
    page.get_by_role("button", name="words").click()
    settle(page)
    words = merge_subwords(attention)
    labels = page.get_by_role("listbox", name="Keys:").get_by_role("option").all_inner_texts()
    assert labels == list(words.keys.tokens)
    read = [[[ask(page, f"value({g}, {i}, {j})") for j in range(9)] for i in range(9)] for g in range(3)]
    assert np.allclose(read, words.numpy()[0], atol=0.02)


def test_the_threshold_leaves_strong_lines(opened) -> None:
    attention = zoo.tokens(6)
    page = opened(head_view(attention))
    slider = page.get_by_label("Threshold")
    for position in ("70", "30"):
        slider.fill(position)
        settle(page)
        threshold = ask(page, "state()")["threshold"]
        read = weights_in(page, attention.shape)[0]
        assert ask(page, "drawn()")["lines"] == (read >= threshold).sum()
    assert threshold == pytest.approx(0.09)


def test_relations_lie_over_the_attention(opened) -> None:
    page = opened(head_view(zoo.tree(), gold="relations"))
    assert ask(page, "drawn()")["gold"] == 4  # the root has no governor
    with_gold = pixels(page)
    page.get_by_label("Gold", exact=True).select_option(label="none")
    settle(page)
    assert ask(page, "drawn()")["gold"] == 0
    assert (np.abs(with_gold - pixels(page)).max(-1) > 60).sum() > 300
    page.get_by_role("button", name="words").click()
    page.get_by_label("Gold", exact=True).select_option(label="relations")
    settle(page)
    assert ask(page, "drawn()")["gold"] == 4


def test_coreference_lies_over_the_attention(opened) -> None:
    sentence = zoo.tree().annotation
    window = DocumentWindow([sentence], [Mention(0, 3, "e1"), Mention(3, 4, "e1"), Mention(4, 5, "e2")])
    attention = zoo.tree().replace(annotation=window)
    page = opened(head_view(attention, gold="coreference"))
    assert ask(page, "drawn()")["gold"] == 1


def test_encoder_decoder_and_cross(opened) -> None:
    cross = AttentionTensor(np.full((2, 3, 4, 6), 1 / 6, np.float32), zoo.tokens(4).queries, zoo.tokens(6).keys)
    page = opened(head_view({"encoder": zoo.tokens(6), "decoder": zoo.tokens(4), "cross": cross}))
    page.get_by_label("Attention").select_option(label="cross")
    settle(page)
    assert page.get_by_role("listbox", name="Queries:").get_by_role("option").count() == 4
    assert page.get_by_role("listbox", name="Keys:").get_by_role("option").count() == 6
    assert ask(page, "value(0, 3, 5)") == pytest.approx(1 / 6, abs=0.01)


def test_svg_holds_what_is_shown(opened, tmp_path: Path) -> None:
    page = opened(head_view(zoo.known()))
    option(page, "Queries", 2).click()
    page.mouse.move(5, 5)
    settle(page)
    root = svg(saved(page, "SVG", tmp_path))
    assert {"one", "two", "three", "four"} <= set(texts(root))
    lines = [element.get("stroke") for element in root.iter() if element.tag.endswith("}line")]
    assert sorted(lines) == sorted([BLUE, VERMILION])


def test_png_holds_what_is_shown(opened, tmp_path: Path) -> None:
    page = opened(head_view(zoo.known()))
    picture = np.asarray(Image.open(saved(page, "PNG", tmp_path)).convert("RGB")).astype(int)
    for color in (BLUE, VERMILION):
        assert (np.abs(picture - blended(color, 1)).max(-1) < 12).sum() > 100
    assert (picture[:3] == 255).all()


def test_right_to_left_tokens_end_at_their_lines(opened) -> None:
    page = opened(head_view(zoo.maps(zoo.RIGHT_TO_LEFT)))
    gaps = page.evaluate(
        """() => [...document.querySelectorAll(".column.queries li")].map((item) => {
          const range = document.createRange();
          range.selectNodeContents(item);
          return item.getBoundingClientRect().right - range.getBoundingClientRect().right;
        })"""
    )
    assert max(gaps) < 12
