"""The head view in a browser: what is drawn, and what controls, mouse and keyboard change."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import zoo
from browsing import ask, blended, data, pixels, rgb, saved, settle, svg, texts, weights_in
from PIL import Image

from bertattn import AttentionTensor, Axis, DocumentWindow, Mention, drop_special, merge_subwords
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
    assert f"at most {part['error']:#.2g}." in page.locator("details").last.inner_text()


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


def heavy(share: float, *, seed: int = 0) -> AttentionTensor:
    """Three heads that leave about this share of their mass to ordinary tokens, and far less in some rows."""
    attention = zoo.pair(layers=1, seed=seed)
    weights = attention.numpy().astype(np.float64)
    special = attention.keys.special
    left = share * 10 ** np.random.default_rng(seed).uniform(-2, 1, (1, 3, 10, 1))
    ordinary = weights * ~special
    others = weights * special
    ordinary *= left / ordinary.sum(-1, keepdims=True)
    others *= (1 - left) / others.sum(-1, keepdims=True)
    return AttentionTensor(ordinary + others, attention.queries)


def shown_values(page, groups: int, queries: int, keys: int) -> np.ndarray:
    """What is shown, `[group, query, key]`; what is undefined is NaN."""
    found = page.evaluate(
        """([groups, queries, keys]) => Array.from({ length: groups * queries * keys }, (_, n) =>
          bertattn.value(Math.floor(n / (queries * keys)), Math.floor(n / keys) % queries, n % keys))""",
        [groups, queries, keys],
    )
    return np.array(found, dtype=float).reshape(groups, queries, keys)


@pytest.mark.parametrize("unit", ["tokens", "words"])
@pytest.mark.parametrize("average", ["none", "chosen heads"])
@pytest.mark.parametrize("share", [0.05, 0.003])
def test_divided_rows_are_right_within_the_error_they_state(share: float, average: str, unit: str, opened) -> None:
    attention = heavy(share)
    exact = drop_special(merge_subwords(attention) if unit == "words" else attention).numpy()[0]
    exact = exact if average == "none" else exact.mean(0, keepdims=True)
    page = opened(head_view(attention))
    page.get_by_role("button", name=unit).click()
    page.get_by_label("Average").select_option(label=average)
    page.get_by_label("Special tokens").uncheck()
    page.get_by_label("Rows divided by what is shown").check()
    settle(page)
    read, drawn = shown_values(page, *exact.shape), ask(page, "drawn()")
    off = np.abs(read - exact)
    unsure = np.isnan(off).any(-1)
    assert unsure.sum() == drawn["unsureRows"]
    assert (exact[unsure] > 0).any() or not unsure.any()
    assert unsure.mean() < 0.6
    assert 0 < np.nanmax(off) <= drawn["error"] <= 0.1
    assert drawn["undefinedRows"] == 0
    text = page.locator(".status").inner_text()
    assert f"rounding changes at most {drawn['error']:.3f}" in text
    said = f"{drawn['unsureRows']} rows left out: too little mass to tell from rounding"
    assert (said in text) == (drawn["unsureRows"] > 0)
    if share == 0.003 and average == "none":
        row = int(np.flatnonzero(unsure.all(0))[0])
        option(page, "Queries", row).hover()
        settle(page)
        assert page.locator(".status").inner_text().endswith("→ nothing: too little mass to tell from rounding")


def test_another_attention_starts_anew(opened) -> None:
    """What the last one could have and this one cannot must not stay on, unseen."""
    gradient = zoo.tokens(5).replace(weights=zoo.tokens(5).numpy() - 0.1, measure="gradient", normalized=False)
    page = opened(head_view({"maps": zoo.tree(), "gradient": gradient}, gold="relations"))
    page.get_by_label("Rows divided by what is shown").check()
    page.get_by_label("Attention").select_option(label="gradient")
    settle(page)
    state = ask(page, "state()")
    assert (state["renormalise"], state["gold"]) == (False, None)
    assert ask(page, "value(0, 1, 2)") == pytest.approx(gradient.numpy()[0, 0, 1, 2], abs=0.01)
    assert page.evaluate("() => document.activeElement.labels[0].textContent") == "Attention"


def test_of_too_many_lines_the_strongest_are_drawn(opened, tmp_path: Path) -> None:
    attention = zoo.tokens(90)
    page = opened(head_view(attention))
    page.get_by_label("Threshold").fill("0")
    settle(page)
    read = np.sort(shown_values(page, 3, 90, 90), axis=None)
    lines = int((read > 0).sum())
    assert lines > 20_000
    assert ask(page, "drawn()")["lines"] == 10_000
    assert f"the 10,000 strongest of {lines:,} lines" in page.locator(".status").inner_text()
    root = svg(saved(page, "SVG", tmp_path))
    assert sum(element.tag.endswith("}line") for element in root.iter()) == 10_000
    opacities = [float(e.get("opacity", 1)) for e in root.iter() if e.tag.endswith("}line")]
    assert min(opacities) == pytest.approx(max(0.01, read[-10_000]), abs=0.006)
    option(page, "Queries", 7).hover()  # of one token all are drawn
    settle(page)
    row = shown_values(page, 3, 90, 90)[:, 7]
    assert ask(page, "drawn()")["lines"] == (row > 0).sum()


def test_gold_is_told_in_words(opened) -> None:
    page = opened(head_view(zoo.tree(), gold="relations"))
    option(page, "Queries", 4).hover()
    settle(page)
    told = page.locator(".status").inner_text().replace("\u2068", "").replace("\u2069", "")
    assert told.endswith("; gold: cat is nsubj of sat")
    option(page, "Queries", 4).click()
    assert "cat\u2069 is nsubj of \u2068sat" in page.locator("[aria-live]").inner_text()
    page.get_by_text("Gold links in words").click()
    assert page.locator("details li").count() == 4
    page.get_by_label("Gold reversed").check()
    settle(page)
    assert "cat\u2069 is nsubj of \u2068sat" in page.locator("details").first.inner_text()
    page.get_by_label("Gold", exact=True).select_option(label="none")
    settle(page)
    assert not page.get_by_text("Gold links in words").is_visible()


def test_the_mouse_leaves_the_keyboard_where_it_is(opened) -> None:
    page = opened(head_view(zoo.pair()))
    queries = page.get_by_role("listbox", name="Queries:")
    queries.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    option(page, "Queries", 6).hover()
    page.mouse.move(5, 5)
    settle(page)
    assert ask(page, "state()")["pointed"] == {"side": "query", "index": 2}
    assert queries.get_attribute("aria-activedescendant") == "query-2"
    page.keyboard.press("Control+ArrowDown")
    page.keyboard.press("Alt+Enter")
    assert ask(page, "state()")["pointed"] == {"side": "query", "index": 2}
    assert ask(page, "state()")["held"] is None
    page.get_by_label("Special tokens").uncheck()
    settle(page)
    assert queries.get_attribute("aria-activedescendant") is None
    assert ask(page, "state()")["pointed"] is None


def test_a_second_tap_lets_go(opened) -> None:
    page = opened(head_view(zoo.known()), has_touch=True)
    option(page, "Queries", 2).tap()
    settle(page)
    assert ask(page, "drawn()")["lines"] == 2
    option(page, "Queries", 2).tap()
    settle(page)
    assert ask(page, "drawn()")["lines"] == 8


def test_no_head_is_said(opened) -> None:
    page = opened(head_view(zoo.known()))
    page.get_by_role("button", name="None", exact=True).click()
    option(page, "Queries", 1).hover()
    settle(page)
    assert page.locator(".status").inner_text() == "two → no head is chosen"


def test_a_damaged_layer_is_told(opened) -> None:
    view = head_view(zoo.tokens(6))
    before, block, after = view.html.partition('id="block-weights-0-1">')
    page = opened(dataclasses.replace(view, html=before + block + "AAAA" + after[4:]))
    assert not page.get_by_role("alert").is_visible()
    page.get_by_label("Layer", exact=True).select_option(label="2")
    page.get_by_role("alert").wait_for()
    assert "The file is damaged" in page.get_by_role("alert").inner_text()


UNSEEN = {
    "\u00a0": "⟨U+00A0⟩",
    " \u200d": "⟨U+0020⟩⟨U+200D⟩",
    "\u2800": "⟨U+2800⟩",
    "\u3164": "⟨U+3164⟩",
    "\ufe0f": "⟨U+FE0F⟩",
    "a \ufe0fb": "a ⟨U+FE0F⟩b",
    "a\U000e0041": "a⟨U+E0041⟩",
    "  ": "␣␣",
    "❤\ufe0f": "❤\ufe0f",
    "\u200cمن": "\u200cمن",
}


def test_tokens_that_cannot_be_seen_are_spelt_out(opened) -> None:
    page = opened(head_view(zoo.maps(list(UNSEEN))))
    assert page.locator(".queries li").all_text_contents() == list(UNSEEN.values())


def test_long_tokens_are_cut_between_characters(opened) -> None:
    family = "👩\u200d👩\u200d👧"
    page = opened(head_view(zoo.maps([20 * family, 18 * family, "e\u0301" * 20])))
    cut = page.locator(".queries li").all_text_contents()
    assert cut == [17 * family + "…", 18 * family, "e\u0301" * 17 + "…"]


def test_right_to_left_text_in_svg_has_its_direction(opened, tmp_path: Path) -> None:
    page = opened(head_view(zoo.maps(["12 דוב!", "bear"]), title="t"))
    root = svg(saved(page, "SVG", tmp_path))
    found = {
        "".join(element.itertext()): (element.get("direction"), element.get("text-anchor"), float(element.get("x")))
        for element in root.iter()
        if element.tag.endswith("}text")
    }
    # Keys, the last of each text: what starts at its right edge ends at the left of its column.
    assert found["12 דוב!"][:2] == ("rtl", "end")
    assert found["bear"][:2] == ("ltr", "start")
    assert found["bear"][2] == found["12 דוב!"][2]


def test_a_frame_that_may_not_save_says_so(opened, tmp_path: Path) -> None:
    frame = head_view(zoo.known())._repr_html_().replace(" allow-downloads", "")
    path = tmp_path / "framed.html"
    path.write_text(f'<!doctype html><html data-ready="true"><meta charset="utf-8"><title>one</title>{frame}')
    page = opened(path)
    inner = page.frames[1]
    inner.wait_for_selector("html[data-ready=true]", state="attached")
    note = inner.get_by_text("this frame does not allow downloads; open the saved HTML file")
    assert note.count() == 0
    inner.get_by_role("button", name="SVG").click()
    assert note.first.is_visible()
    assert "saving SVG. If nothing was saved" in inner.locator("[aria-live]").inner_text()
    settle(inner)
    opened.faults = [fault for fault in opened.faults if "sandboxed" not in fault]


def test_a_page_of_its_own_only_saves(opened, tmp_path: Path) -> None:
    page = opened(head_view(zoo.known()))
    saved(page, "PNG", tmp_path)
    assert page.locator("[aria-live]").inner_text().strip() == "saving PNG."
    assert not page.get_by_text("does not allow downloads").is_visible()
    page.evaluate("() => { HTMLCanvasElement.prototype.toBlob = (back) => back(null); }")
    page.get_by_role("button", name="PNG").click()
    assert page.get_by_text("cannot make so large a PNG; save an SVG").first.is_visible()


def test_the_error_of_divided_rows_is_that_of_the_codes(opened) -> None:
    attention = heavy(0.05)
    page = opened(head_view(attention))
    read, (coding,) = weights_in(page, attention.shape)[0], data(page)["parts"][0]["coding"]
    page.get_by_label("Special tokens").uncheck()
    page.get_by_label("Rows divided by what is shown").check()
    settle(page)
    kept = np.flatnonzero(~attention.keys.special)
    left = read[:, kept][:, :, kept]
    codes = np.sqrt(left / coding["top"]) * coding["levels"]
    errors = 1.001 * coding["top"] * (codes + 0.25) / coding["levels"] ** 2
    mass, slack = left.sum(-1, keepdims=True), errors.sum(-1, keepdims=True)
    shares = left / mass
    off = ((errors * (1 - shares) + (slack - errors) * shares) / (mass - slack)).max(-1)
    sure = (mass > slack)[..., 0] & (off <= 0.1)
    assert ask(page, "drawn()")["unsureRows"] == (~sure).sum() > 0
    assert ask(page, "drawn()")["error"] == pytest.approx(off[sure].max(), rel=1e-3)
