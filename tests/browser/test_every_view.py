"""What holds for each view: offline, hostile tokens, short and long texts, light and dark, several in one page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zoo
from browsing import ask, data, pixels, saved, settle, svg, texts, weights_in
from PIL import Image

from bertattn.views import HTMLView

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("head", "model", "neuron")
PAPERS = {"light": (255, 255, 255), "dark": (0x16, 0x18, 0x1B)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def drawn(page) -> float:
    """How much of its canvases is not empty, in pixels."""
    found: float = page.evaluate(
        """() => [...document.querySelectorAll("canvas")].filter((c) => c.width && c.height).reduce((sum, canvas) => {
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
          copy.drawImage(canvas, 0, 0);
          const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
          for (let n = 3; n < data.length; n += 4) if (data[n]) sum += 1;
          return sum;
        }, 0)"""
    )
    return found


def test_it_opens_from_disk_and_draws(kind: str, opened) -> None:
    page = opened(zoo.view(kind, ["one", "two", "three"]))
    assert drawn(page) > 100
    seen = pixels(page)
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 20
    assert page.locator("h1").inner_text() == page.title() != ""
    assert page.locator("html").get_attribute("lang") == "en"


def test_weights_are_read_back_within_the_stated_error(kind: str, opened) -> None:
    axis = [f"t{i}" for i in range(7)]
    attention = zoo.capture(axis).attention if kind == "neuron" else zoo.maps(axis, heads=2)
    page = opened(zoo.view(kind, axis))
    (part,) = data(page)["parts"]
    error = max(step["error"] for step in part["steps"]) if kind == "neuron" else part["error"]
    read = weights_in(page, attention.shape)
    assert 0 < np.abs(read - attention.numpy()).max() <= error * 1.001 + 1e-7
    assert error < 0.01
    shown = page.evaluate("() => document.body.textContent")
    assert f"at most {error:#.2g}" in shown


def test_the_policy_forbids_the_network_and_other_scripts(kind: str, opened) -> None:
    page = opened(zoo.view(kind, ["one", "two", "three"]))
    outcome = page.evaluate(
        """async () => {
          const image = document.createElement("img");
          image.src = "https://example.org/x.png";
          const script = document.createElement("script");
          script.textContent = "window.intruder = true";
          const late = document.createElement("button");
          late.setAttribute("onclick", "window.intruder = true");
          document.body.append(image, script, late);
          late.click();
          const fetched = await fetch("https://example.org/").then(() => "fetched", () => "refused");
          return [fetched, window.intruder ?? "no intruder"];
        }"""
    )
    assert outcome == ["refused", "no intruder"]
    seen, opened.faults = opened.faults, []
    assert sum("Content Security Policy" in fault for fault in seen) >= 4, seen
    assert not [fault for fault in seen if fault.startswith("asks for")]


def test_hostile_tokens_are_text(kind: str, opened, tmp_path: Path) -> None:
    view = zoo.view(kind, zoo.HOSTILE)
    page = opened(view)
    if kind == "model":
        page.get_by_role("button", name="head 1-1").click()
        settle(page)
    labels = page.locator("[role=option]").all_text_contents()
    assert len(labels) == 2 * len(zoo.HOSTILE)
    for label in ("</script>", "&lt;b&gt;", "⟨U+0000⟩", "⟨U+202E⟩abc", "⟨U+2028⟩⟨U+2029⟩", "⟨empty⟩"):
        assert label in labels
    assert max(map(len, labels)) <= 30
    titles = [item.get_attribute("title") for item in page.locator("[role=option]").all()]
    assert "<script>alert(1)</script>" in titles
    assert "x" * 1000 in titles
    page.locator("[role=option]").first.hover()
    settle(page)
    assert page.locator("script").count() == view.html.count("<script")
    assert page.locator("img, object, embed, iframe").count() == 0
    root = svg(saved(page, "SVG", tmp_path))
    assert not [element for element in root.iter() if element.tag.endswith(("script", "img"))]
    assert any("</script>" in text for text in texts(root))


def test_a_hostile_title_is_text(kind: str, opened) -> None:
    title = "</title><script>alert(1)</script>\u202e\0"
    axis = ["one", "two"]
    made = {
        "head": lambda: zoo.head_view(zoo.maps(axis), title=title),
        "model": lambda: zoo.model_view(zoo.maps(axis), title=title),
        "neuron": lambda: zoo.neuron_view(zoo.capture(axis), title=title),
    }[kind]()
    page = opened(made)
    assert "<script>alert(1)</script>" in page.title()
    assert "\u202e" not in page.title()
    assert "⟨U+202E⟩" in page.locator("h1").inner_text()


@pytest.mark.parametrize("count", [1, 1000])
def test_short_and_long_texts(kind: str, count: int, opened) -> None:
    page = opened(zoo.view(kind, [f"t{i}" for i in range(count)], layers=1, heads=1))
    assert drawn(page) > 10
    if kind == "model":
        page.get_by_role("button", name="head 1-1").click()
        settle(page)
    options = page.locator("[role=option]")
    assert options.count() == 2 * count
    options.nth(count - 1).scroll_into_view_if_needed()
    options.nth(count - 1).hover()
    settle(page)
    assert drawn(page) > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(kind: str, scheme: str, opened) -> None:
    page = opened(zoo.view(kind, ["one", "two", "three"]), color_scheme=scheme)
    assert tuple(pixels(page)[-1, -1]) == PAPERS[scheme]
    other = "light" if scheme == "dark" else "dark"
    page.emulate_media(color_scheme=other)
    settle(page)
    assert tuple(pixels(page)[-1, -1]) == PAPERS[other]
    assert drawn(page) > 100


def test_paper_is_white_whatever_the_screen_is(kind: str, opened) -> None:
    page = opened(zoo.view(kind, ["one", "two", "three"]), color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    settle(page)
    assert tuple(pixels(page)[-1, -1]) == PAPERS["light"]


def test_a_phone_is_wide_enough(kind: str, opened) -> None:
    page = opened(zoo.view(kind, ["one", "two", "three"]), width=360, height=640)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_pictures_can_be_saved(kind: str, opened, tmp_path: Path) -> None:
    page = opened(zoo.view(kind, ["one", "two", "three"]))
    root = svg(saved(page, "SVG", tmp_path))
    assert root.tag.endswith("}svg")
    assert len(list(root.iter())) > 10
    with Image.open(saved(page, "PNG", tmp_path)) as picture:
        assert picture.size[0] >= float(root.get("width"))
        assert len(picture.convert("RGB").getcolors(2**24)) > 10


def barriers(page) -> list[str]:
    """What axe-core finds: the rule, and the element."""
    page.evaluate((ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    result = page.evaluate("() => axe.run()")
    assert len(result["passes"]) > 10
    return [f"{one['id']}: {node['html'][:120]}" for one in result["violations"] for node in one["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_there_are_no_barriers(kind: str, scheme: str, opened) -> None:
    page = opened(zoo.view(kind, zoo.pair().queries), color_scheme=scheme)
    assert barriers(page) == []
    if kind == "head":
        page.locator("[role=option]").first.click()
    elif kind == "model":
        page.get_by_role("button", name="head 1-1").click()
    else:
        page.locator("[role=option]").first.click()
    settle(page)
    assert barriers(page) == []


def test_every_control_is_reached_by_keyboard_and_named(kind: str, opened) -> None:
    page = opened(zoo.view(kind, zoo.pair().queries))
    reached = set()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => [...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    wanted = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, summary, [role=listbox]")]
          .filter((one) => one.checkVisibility() && one.tabIndex >= 0 && !one.disabled)
          .map((one) => [...document.querySelectorAll("*")].indexOf(one))"""
    )
    assert len(wanted) >= 5
    assert set(wanted) <= reached


def notebook_page(views: list[HTMLView], path: Path) -> Path:
    """A page that shows views as a notebook does."""
    shown = "\n".join(f"<div>{view._repr_html_()}</div>" for view in views)
    path.write_text(f'<!doctype html><html data-ready="true"><meta charset="utf-8"><title>two</title>{shown}')
    return path


def test_pointing_at_a_token_moves_nothing(kind: str, opened) -> None:
    """What is said of a token must not push the tokens from under the mouse."""
    page = opened(zoo.view(kind, ["x" * 40 + str(i) for i in range(12)]), width=700)
    if kind == "model":
        page.get_by_role("button", name="head 1-1").click()
    options = page.locator("[role=option]")
    before = options.first.bounding_box()
    for number in (0, 5, 13):
        options.nth(number).hover(timeout=3000)
        settle(page)
        assert options.first.bounding_box() == before


def test_two_views_in_one_page_do_not_disturb_each_other(kind: str, opened, tmp_path: Path) -> None:
    axis = ["one", "two", "three"]
    page = opened(notebook_page([zoo.view(kind, axis), zoo.view("head", axis)], tmp_path / "two.html"), height=1800)
    first, second = page.frames[1:]
    for frame in (first, second):
        frame.wait_for_selector("html[data-ready=true]", state="attached")
    assert first.evaluate("() => { try { return String(parent.document) } catch (error) { return error.name } }") == (
        "SecurityError"
    )
    before = ask(second, "state()")
    first.locator("select").first.select_option(index=1)
    first.locator("body").press("Escape")
    settle(first)
    assert ask(second, "state()") == before
    second.get_by_role("button", name="None", exact=True).click()
    settle(second)
    assert ask(second, "drawn()")["lines"] == 0
    assert drawn(first) > 100


def test_an_executed_notebook_as_html_shows_both(opened, tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    made = """import numpy as np
from bertattn import AttentionTensor
from bertattn.views import head_view, model_view
a = AttentionTensor(np.full((2, 2, 3, 3), 1 / 3), ["one", "two", "three"])"""
    cells = [nbformat.v4.new_code_cell(source) for source in (made, "head_view(a)", "model_view(a)")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120).execute()
    # Without the scripts that nbconvert would load for other outputs.
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="")
    body, _ = exporter.from_notebook_node(notebook)
    path = tmp_path / "notebook.html"
    path.write_text(body, encoding="utf-8")
    page = opened(path, ready=False, height=2400)
    frames = page.frames[1:]
    assert len(frames) == 2
    for frame in frames:
        frame.wait_for_selector("html[data-ready=true]", state="attached")
        assert frame.evaluate("async () => await bertattn.weight(1, 1, 2, 2)") == pytest.approx(1 / 3, abs=1e-3)
        assert drawn(frame) > 100


def test_the_notebook_of_the_examples_as_html(opened, tmp_path: Path) -> None:
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(ROOT / "examples" / "06_views.ipynb", as_version=4)
    body, _ = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="").from_notebook_node(notebook)
    path = tmp_path / "notebook.html"
    path.write_text(body, encoding="utf-8")
    page = opened(path, ready=False)
    frames = page.frames[1:]
    assert len(frames) >= 3
    for frame in frames:
        frame.wait_for_selector("html[data-ready=true]", state="attached")
        assert drawn(frame) > 100


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "views").glob("*.html")), ids=lambda path: path.stem)
def test_the_views_of_the_documentation(path: Path, opened) -> None:
    assert drawn(opened(path)) > 1000


def test_the_documentation_has_each_view() -> None:
    assert {path.stem for path in (ROOT / "docs" / "views").glob("*.html")} >= set(KINDS)
