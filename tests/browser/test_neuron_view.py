"""The neuron view in a browser: every step from the vectors to the weight, on models of several kinds."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import zoo
from browsing import ask, pixels, saved, settle, svg, texts, weights_in

import model_zoo
from bertattn import Extractor
from bertattn.views import neuron_view

TOKENS = ["one", "two", "three", "four"]


def option(page, side: str, number: int):
    """A token of a column, counted from 0."""
    return page.get_by_role("listbox", name=f"{side}:").get_by_role("option").nth(number)


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "gemma2", "gpt2"])
def test_what_is_shown_sums_to_the_logit_and_the_attention(name: str, opened) -> None:
    model, tokenizer = model_zoo.build(name)
    text = "The cat sat on the mat."
    capture = Extractor(model, tokenizer).capture(text, what=("query", "key"))
    captures = capture if isinstance(capture, list | tuple | dict) else [capture]
    page = opened(neuron_view(capture))
    first = next(iter(captures.values())) if isinstance(captures, dict) else captures[0]
    weights = first.attention.numpy()
    read = weights_in(page, weights.shape)
    assert np.allclose(read, weights, atol=2e-3)
    for i, j in [(2, 1), (3, 3)]:
        steps = ask(page, f"steps(1, 2, {i}, {j})")
        assert sum(steps["products"]) == pytest.approx(steps["dot"], abs=1e-3)
        assert steps["scaled"] == pytest.approx(first.scaling[1] * steps["dot"], abs=1e-3)
        assert steps["weight"] == pytest.approx(weights[1, 2, i, j], abs=2e-3)


def test_products_and_steps_of_a_known_capture(opened) -> None:
    capture = zoo.capture(TOKENS)
    page = opened(neuron_view(capture))
    query, key = capture.query[1, 0, 2].numpy(), capture.key[1, 0, 3].numpy()
    steps = ask(page, "steps(1, 0, 2, 3)")
    assert np.allclose(steps["products"], query * key, atol=5e-3)
    assert steps["dot"] == pytest.approx(float(query @ key), abs=5e-3)
    assert steps["logit"] == pytest.approx(float(query @ key) * 8**-0.5, abs=5e-3)


def test_lines_and_pointing(opened) -> None:
    capture = zoo.capture(TOKENS)
    page = opened(neuron_view(capture))
    every = (capture.attention.numpy()[0, 0] >= 0.01).sum()
    assert ask(page, "drawn()") == {"lines": every}
    option(page, "Queries", 2).hover()
    settle(page)
    assert ask(page, "drawn()") == {"lines": (capture.attention.numpy()[0, 0, 2] >= 0.01).sum()}
    assert "three" in page.locator(".status").inner_text()


def test_a_click_opens_the_vectors_and_escape_closes_them(opened) -> None:
    capture = zoo.capture(TOKENS)
    page = opened(neuron_view(capture))
    before = pixels(page)
    option(page, "Queries", 1).click()
    settle(page)
    assert ask(page, "drawn()") == {"rows": 4}
    assert ask(page, "state()")["query"] == 1
    assert (pixels(page) != before).any()
    best = int(capture.attention.numpy()[0, 0, 1].argmax())
    status = page.locator(".status").inner_text()
    assert f"two → {TOKENS[best]}" in status
    assert f"{capture.attention.numpy()[0, 0, 1, best]:.2f}" in status
    page.keyboard.press("Escape")
    settle(page)
    assert "lines" in ask(page, "drawn()")


def test_cells_have_the_colour_of_their_sign(opened) -> None:
    capture = zoo.capture(TOKENS, signs=True)
    page = opened(neuron_view(capture), width=1400)
    option(page, "Queries", 1).click()
    settle(page)
    box = page.locator(".stage canvas").bounding_box()
    seen = pixels(page)
    row = seen[round(box["y"]) + 26, round(box["x"]) : round(box["x"] + box["width"])]
    colored = [(int(red), int(blue)) for red, _, blue in row if abs(int(red) - int(blue)) > 60]
    signs = [1 if blue > red else -1 for red, blue in colored]
    runs = [sign for n, sign in enumerate(signs) if n == 0 or sign != signs[n - 1]]
    values = capture.query[0, 0, 1].tolist()
    assert runs == [sign for n, sign in enumerate(values) if n == 0 or sign != values[n - 1]]
    assert len(runs) > 2


def test_the_keyboard_goes_through_tokens_heads_keys_and_dimensions(opened) -> None:
    page = opened(neuron_view(zoo.capture(TOKENS)))
    queries = page.get_by_role("listbox", name="Queries:")
    queries.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    settle(page)
    chosen = ask(page, "state()")["query"]
    assert chosen == 1
    assert queries.get_attribute("aria-activedescendant") == option(page, "Queries", chosen).get_attribute("id")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert ask(page, "state()")["head"] == 1
    page.keyboard.press("Enter")
    settle(page)
    assert ask(page, "state()")["vectors"] is True
    canvas = page.get_by_role("application")
    canvas.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert ask(page, "state()")["key"] == 1
    assert ask(page, "state()")["dimension"] == 0
    assert "dimension 1:" in page.locator("[aria-live]").inner_text()


def test_layer_and_head_are_chosen(opened) -> None:
    capture = zoo.capture(TOKENS, layers=3, heads=4)
    page = opened(neuron_view(capture, head="2-3"))
    assert (ask(page, "state()")["layer"], ask(page, "state()")["head"]) == (1, 2)
    page.get_by_label("Layer", exact=True).select_option(label="3")
    page.get_by_label("Head", exact=True).select_option(label="4")
    settle(page)
    option(page, "Queries", 0).hover()
    settle(page)
    best = int(capture.attention.numpy()[2, 3, 0].argmax())
    assert f"{TOKENS[best]} {capture.attention.numpy()[2, 3, 0, best]:.3f}" in page.locator(".status").inner_text()


def test_dimensions_sorted_by_what_they_add(opened, tmp_path: Path) -> None:
    page = opened(neuron_view(zoo.capture(TOKENS)))
    option(page, "Queries", 1).click()
    settle(page)
    before = pixels(page)
    page.get_by_label("Dimensions by what they add to the logit").check()
    settle(page)
    assert (pixels(page) != before).any()
    root = svg(saved(page, "SVG", tmp_path))
    assert any(text.startswith("sum so far") for text in texts(root))
    bars = [float(one.get("height")) for one in root.iter() if one.tag.endswith("}rect")]
    assert len(bars) > 4 * 3 * 8


def test_masked_keys_are_left_out(opened) -> None:
    model, tokenizer = model_zoo.build("gpt2")
    capture = Extractor(model, tokenizer).capture("The cat sat on the mat.", what=("query", "key"))
    page = opened(neuron_view(capture))
    option(page, "Queries", 2).click()
    settle(page)
    assert ask(page, "drawn()") == {"rows": 3}
    assert "behind the mask" in page.locator(".status").inner_text()


@pytest.mark.parametrize("name", ["vectors", "SVG"])
def test_escape_goes_back_to_the_lines_from_every_button(name: str, opened) -> None:
    page = opened(neuron_view(zoo.capture(TOKENS)))
    page.get_by_role("button", name="vectors", exact=True).click()
    page.get_by_role("button", name=name, exact=True).focus()
    assert ask(page, "state()")["vectors"] is True
    page.keyboard.press("Escape")
    settle(page)
    assert ask(page, "state()")["vectors"] is False
    assert "lines" in ask(page, "drawn()")
    assert page.get_by_role("button", name="lines", exact=True).get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("modifier", ["ctrlKey", "altKey", "metaKey"])
def test_keys_with_a_modifier_are_left_to_the_browser(modifier: str, opened) -> None:
    page = opened(neuron_view(zoo.capture(TOKENS)))
    option(page, "Queries", 1).click()
    before = ask(page, "state()")
    assert before["vectors"] is True
    places = [
        page.get_by_role("listbox", name="Queries:"),
        page.get_by_role("application"),
        page.get_by_role("button", name="vectors", exact=True),
    ]
    page.evaluate("() => addEventListener('keydown', (event) => { window.taken = event.defaultPrevented })")
    for place in places:
        for key in ("ArrowUp", "ArrowRight", "Enter", "Escape"):
            # not pressed: Alt and Right would leave the page
            place.dispatch_event("keydown", {"key": key, modifier: True, "bubbles": True, "cancelable": True})
            settle(page)
            assert ask(page, "state()") == before
            assert page.evaluate("() => window.taken") is False


def test_the_list_points_at_the_token_that_is_held(opened) -> None:
    page = opened(neuron_view(zoo.capture(TOKENS)))
    queries = page.get_by_role("listbox", name="Queries:")
    queries.focus()
    page.keyboard.press("End")
    last = option(page, "Queries", 3)
    assert queries.get_attribute("aria-activedescendant") == last.get_attribute("id")
    last.hover()
    page.mouse.move(2, 2)
    settle(page)
    assert queries.get_attribute("aria-activedescendant") == last.get_attribute("id")
    page.keyboard.press("Escape")
    assert queries.get_attribute("aria-activedescendant") is None


def written(numbers: np.ndarray) -> str:
    deflate = zlib.compressobj(wbits=-15)
    return base64.b64encode(deflate.compress(numbers.astype("<f2").tobytes()) + deflate.flush()).decode()


@pytest.mark.parametrize(
    "damage", [lambda block: block[: len(block) // 2], lambda _: written(np.ones(4)), lambda _: ""]
)
def test_a_damaged_layer_is_said_and_the_one_before_stays(damage, opened, tmp_path: Path) -> None:
    capture = zoo.capture(TOKENS, layers=3)
    path = neuron_view(capture).save(tmp_path / "damaged.html")
    html = path.read_text(encoding="utf-8")
    stated = json.loads(html.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    block = html.split(f'id="block-{stated["parts"][0]["steps"][1]["query"]["block"]}">')[1].split("<")[0]
    path.write_text(html.replace(block, damage(block)), encoding="utf-8")
    page = opened(path)
    alert = page.get_by_role("alert")
    assert alert.count() == 0
    option(page, "Queries", 2).click()
    layer = page.get_by_label("Layer", exact=True)
    layer.focus()
    layer.select_option(label="2")
    settle(page)
    assert "The file is damaged" in alert.inner_text()
    assert layer.evaluate("(select) => [select.value, select === document.activeElement]") == ["1", True]
    status = page.locator(".status").inner_text()
    assert status.startswith("Head 1-1: three")
    assert f"{capture.attention.numpy()[0, 0, 2].max():.3f}" in status
    layer.select_option(label="3")
    settle(page)
    assert alert.count() == 0
    assert f"{capture.attention.numpy()[2, 0, 2].max():.3f}" in page.locator(".status").inner_text()
