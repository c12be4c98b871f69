"""The page of a report, without a browser: what it embeds, its ids and links, and the values that tables sort by."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np

from bertattn.report import SECTIONS, Picture, Section, Shown, Table, _page

RECORD: dict[str, Any] = {"command": "bertattn report", "versions": {"bertattn": "0", "python": "3"}}
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


class Page(HTMLParser):
    """Its elements with their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.elements if attribute in attrs]


def section(name: str) -> Section:
    return Section(name, f"About {name}", (), "Give one.", lambda _: Shown())


def render(shown: Shown | None, **options: Any) -> str:
    pictures = shown.pictures if shown else ()
    return _page.page(
        title="t",
        lead=["What was run."],
        sections=[(section("mine"), shown)],
        images={picture.name: SVG for picture in pictures},
        record=RECORD,
        **options,
    )


def table(**options: Any) -> Table:
    rows: list[dict[str, Any]] = [
        {"head": "1-2", "share": 0.123456789, "note": None},
        {"head": "1-10", "share": math.nan, "note": "a"},
    ]
    return Table("numbers", "Some numbers.", rows, **options)


def test_only_the_script_of_the_page_may_run() -> None:
    source = render(Shown(tables=(table(),)))
    (script,) = re.findall(r"<script>(.*?)</script>", source, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (attrs["content"] for _, attrs in Page(source).elements if "http-equiv" in attrs)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": "'unsafe-inline'",
        "script-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not [name for name in Page(source).all("src") if not name.startswith("data:")]
    assert not re.search(r"\beval\(|new Function|fetch\(|https?:|innerHTML", script)


def test_script_and_style_are_as_they_are_in_the_package() -> None:
    # A template that escapes them, or an end of the element within them, would break the page.
    source = render(None)
    for name in ("static/page.js", "static/page.css"):
        text = _page._static(name)
        assert text in source
        assert "</" not in text


def test_ids_are_of_one_thing_each() -> None:
    # A picture, its table and its section may have one name, as Table 2 has.
    picture = Picture("same", None, "Its caption.", "What it shows.")  # type: ignore[arg-type]
    shown = Shown(pictures=(picture,), tables=(Table("same", "c", [{"a": 1}]), Table("mine", "c", [{"a": 1}])))
    page = Page(render(shown))
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {"summary", "contents", "mine", "same", "table-same", "table-mine", "files", "run"} <= set(ids)
    targets = {link.removeprefix("#") for link in page.all("href") if link.startswith("#")}
    assert targets <= set(ids)
    assert {"mine", "same", "table-same"} <= targets
    assert not {"summary", "contents", "files", "run"} & {section.name for section in SECTIONS}


def test_each_file_of_a_section_is_linked_beside_what_it_holds_and_in_the_list() -> None:
    picture = Picture("drawn", None, "Its caption.", "What it shows.", numbers=("behind.csv",))  # type: ignore[arg-type]
    view: Any = object()
    links = {"head": ["views/one.html", None]}
    shown = Shown(pictures=(picture,), tables=(table(links=links),), views={"views/one.html": view})
    links_of = Page(render(shown, files=["sums.json", "behind.csv", "maps.safetensors", "index.html"])).all("href")
    twice = ["numbers.csv", "drawn.svg", "drawn.png", "behind.csv", "views/one.html"]
    assert all(links_of.count(name) == 2 for name in twice)
    assert links_of.count("sums.json") == links_of.count("maps.safetensors") == 1
    assert "report.json" in links_of
    folded = Page(render(Shown(tables=(table(folded=True),)))).all("href")
    assert folded.count("numbers.csv") == 2


def test_the_summary_says_what_was_run_found_and_not_measured() -> None:
    shown = Shown(highlights=("Head 1-2 does it.", "Head 1-20 does not."), tables=(table(links=LINKS),))
    sections = [(section("mine"), shown), (section("other"), None)]
    source = _page.page(title="t", lead=["What was run."], sections=sections, images={}, record=RECORD)
    summary = Page(source[source.index('<section id="summary">') : source.index("<nav")])
    assert summary.text == (
        "Summary What was run. About mine Head 1-2 does it. Head 1-20 does not. See head 1-2 Not measured About other."
    )
    assert summary.all("href") == ["#mine", "views/b.html", "#other"]
    nothing = Page(_page.page(title="t", lead=[], sections=[], images={}, record=RECORD))
    assert "findings" not in " ".join(nothing.all("class"))


LINKS = {"head": ["views/b.html", "views/c.html"]}


def test_a_view_is_named_in_the_summary_for_heads_in_the_findings_alone() -> None:
    rows = [{"head": "1-2"}, {"head": "1-2"}, {"head": "2-1"}, {"head": "3-3"}]
    files = ["views/first.html", "views/second.html", "views/other.html", None]
    shown = Shown(
        highlights=("Head 1-2, then 3-3; not 12-1, 2-10.",), tables=(Table("t", "c", rows, links={"head": files}),)
    )
    assert _page._pages(shown) == [("1-2", "views/first.html")]


def test_cells_are_sorted_by_all_their_digits() -> None:
    page = Page(render(Shown(tables=(table(percent=("share",)),))))
    assert page.all("data-value") == ["0.123456789", "", ""]
    assert "12.3%" in page.text
    assert page.text.count("–") == 2  # neither NaN nor None is shown as a word
    assert [_page._exact(value) for value in (1.5, np.float64(1e-7), math.inf, -math.inf)] == [
        "1.5",
        "1e-07",
        "Infinity",
        "-Infinity",
    ]
    assert _page._exact("text") is _page._exact(3) is None


def test_the_run_stands_at_the_end_with_its_versions_and_model() -> None:
    record = RECORD | {
        "model": {"name": "m", "weights_sha256": "abc"},
        "machine": {"device": "cpu"},
        "settings": {"seed": 0},
    }
    source = _page.page(title="t", lead=[], sections=[], images={}, record=record)
    end = source[source.index('<section id="run">') :]
    shown = Page(end[: end.index("<details")]).text
    assert "bertattn report Versions bertattn 0 python 3 Model name m weights_sha256 abc Machine device cpu" in shown
    assert "settings.seed 0" in Page(end).text


def test_long_names_of_settings_may_break_and_stay_escaped() -> None:
    name = "probes.<b>.early_stopping"
    broken = str(_page._breakable(name))
    assert broken == "probes.<wbr>&lt;b&gt;.<wbr>early_<wbr>stopping"
    assert html.unescape(broken.replace("<wbr>", "")) == name
