"""The page of the demo's report: on a phone, a tablet and a desk, dark, printed, sorted, without a script."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import pytest
from test_every_view import barriers

from bertattn import demo
from bertattn.report import SECTIONS

WIDTHS = (390, 820, 1280)
# Of the paper, without margins, in the pixels of style sheets.
A4 = 680

# Where an element with text, or a picture, is to be seen; what lies in a box that scrolls is measured in that box.
MEASURE = """() => {
  const shown = (one) => one.checkVisibility({ visibilityProperty: true });
  const name = (one) => `<${one.localName} ${one.id || one.className}> ${one.textContent.trim().slice(0, 50)}`;
  const inner = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return [...range.getClientRects()].filter((one) => one.width && one.height);
  };
  const faults = [];
  const page = document.documentElement;
  if (page.scrollWidth > innerWidth) faults.push(`the page is ${page.scrollWidth} wide, the screen ${innerWidth}`);

  const blocks = "h1, h2, h3, p, li, dt, dd, pre, summary, figcaption, th, td, .copy";
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  let count = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (!node.data.trim() || !shown(node.parentElement)) continue;
    count += 1;
    const block = node.parentElement.closest(blocks);
    const box = block.getBoundingClientRect();
    const scrolled = node.parentElement.closest(".scroll");
    for (const one of inner(node)) {
      if (one.right > box.right + 1 || one.left < box.left - 1 || one.bottom > box.bottom + 3)
        faults.push(`sticks out of its block: ${name(block)}`);
      if (!scrolled && (one.right > innerWidth || one.left < 0)) faults.push(`out of the screen: ${name(block)}`);
    }
    if (parseFloat(getComputedStyle(node.parentElement).fontSize) < SMALLEST) faults.push(`small: ${name(block)}`);
  }
  if (count < 300) faults.push(`only ${count} texts`);

  for (const one of document.querySelectorAll("main, main *")) {
    const { overflowX, overflowY } = getComputedStyle(one);
    if (!shown(one) || one.localName === "nav" || (overflowX === "visible" && overflowY === "visible")) continue;
    if (one.scrollHeight > one.clientHeight + 1) faults.push(`cut below: ${name(one)}`);
    if (one.scrollWidth <= one.clientWidth + 1) continue;
    if (!one.matches(".scroll")) faults.push(`cut: ${name(one)}`);
    else if (PRINTED) faults.push(`cut on paper: ${name(one)}`);
    else if (!shown(one.parentElement.querySelector(".hint"))) faults.push(`does not say it scrolls: ${name(one)}`);
    else if (one.tabIndex < 0) faults.push(`cannot be scrolled by keyboard: ${name(one)}`);
  }

  const parts = [...document.querySelectorAll("h1, h2, h3, p, figure img, table, pre, li, summary, dt, dd, .copy, nav")]
    .filter(shown)
    .map((one) => [one, one.getBoundingClientRect()])
    .filter(([, box]) => box.width && box.height);
  for (const [n, [one, a]] of parts.entries())
    for (const [two, b] of parts.slice(n + 1)) {
      if (one.contains(two) || two.contains(one)) continue;
      const ends = [one, two].map((part) => (part.closest(".scroll") ?? part).getBoundingClientRect().right);
      const width = Math.min(a.right, b.right, ...ends) - Math.max(a.left, b.left);
      const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (width > 1 && height > 1) faults.push(`overlap: ${name(one)} and ${name(two)}`);
    }

  for (const image of document.images) {
    if (!image.complete || !image.naturalWidth || image.alt.length < 20) faults.push(`no picture: ${image.alt}`);
    // At this size the smallest letters of a figure still have 8 pixels or so.
    if (!PRINTED && image.clientWidth < 0.65 * image.naturalWidth) faults.push(`a small picture: ${image.alt}`);
    if (image.clientWidth > 1.1 * image.naturalWidth) faults.push(`a blown-up picture: ${image.alt}`);
    if (PRINTED && image.getBoundingClientRect().right > innerWidth) faults.push(`cut on paper: ${image.alt}`);
  }
  for (const part of document.querySelectorAll("section, figure, .table")) {
    const text = part.innerText.replace(part.querySelector("h2")?.innerText ?? "", "");
    if (shown(part) && text.trim().length < 15) faults.push(`empty: ${name(part)}`);
  }
  return faults;
}"""


def layout_faults(page, *, printed: bool = False) -> list[str]:
    """What is cut, out of the screen, too small to read, overlapping or empty."""
    found: list[str] = page.evaluate(
        MEASURE.replace("PRINTED", str(printed).lower()).replace("SMALLEST", "10" if printed else "12")
    )
    return found


def unfold(page) -> None:
    page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture(scope="module")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.run(tmp_path_factory.mktemp("report") / "out", progress=False).files[0]


# Layout


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_overlapping_or_empty(width: int, report_page: Path, opened) -> None:
    page = opened(report_page, ready=False, width=width)
    assert layout_faults(page) == []
    assert page.locator("figure").count() >= 12
    unfold(page)
    assert layout_faults(page) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_long_names_break_and_are_not_cut(width: int, report_page: Path, opened) -> None:
    page = opened(report_page, ready=False, width=width)
    page.evaluate(
        """() => {
          for (const one of document.querySelectorAll("h1, p, dd, pre, figcaption, .settings td"))
            one.prepend("an_organisation/a_model_with_a_long_name_and_no_space_in_it_from_a_folder_of_many_names ");
          for (const one of document.querySelectorAll(".scroll td.text")) one.prepend("nmod:a_long_relation_name ");
        }"""
    )
    unfold(page)
    assert layout_faults(page) == []


def test_the_measure_sees_faults(report_page: Path, opened) -> None:
    page = opened(report_page, ready=False, width=390)
    page.add_style_tag(
        content="""
          #surface p { white-space: nowrap; font-size: 9px; }
          #best_heads, #table-entropy { height: 3rem; overflow: hidden; }
          #entropy h2 { margin-bottom: -2rem; }
          figure img.narrow { min-width: 0; }
          .files > .hint { visibility: hidden; }
          #table-relations td:first-child { max-width: 1rem; white-space: nowrap; }
        """
    )
    faults = " ".join(layout_faults(page))
    for kind in (
        "the page is",
        "out of the screen: <p",
        "small: <p",
        "cut below: <div table-entropy>",
        "overlap: <h2",
        "a small picture",
        "does not say it scrolls",
        "sticks out of its block: <td",
    ):
        assert kind in faults, kind


def test_what_scrolls_sideways_says_so_until_its_end(report_page: Path, opened) -> None:
    page = opened(report_page, ready=False, width=390)
    box = page.locator("#table-relations .scroll")
    assert box.get_attribute("data-more") == "right"
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#table-relations .scroll').scrollLeft > 0")
    box.evaluate("(one) => one.scrollTo(one.scrollWidth, 0)")
    page.wait_for_function("() => document.querySelector('#table-relations .scroll').dataset.more === 'left'")
    head = box.locator("tbody td").first.bounding_box()
    assert head["x"] == pytest.approx(box.bounding_box()["x"], abs=1)  # what a row is about stays in sight
    page.set_viewport_size({"width": 1600, "height": 900})
    page.wait_for_function("() => !('more' in document.querySelector('#table-entropy .scroll').dataset)")
    assert page.locator("#table-entropy .scroll").get_attribute("tabindex") is None


# Sorting


def natural(text: str) -> list[tuple[int, str | int]]:
    """Numbers in names by their size: 3-9 before 3-10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text.lower()) if part]


def sorted_rows(values: list[str], turn: str) -> list[int]:
    """The numbers of a column's rows in the order that a reader expects; cells without a value come last."""
    filled = [n for n, value in enumerate(values) if value]
    try:
        keys: dict[int, object] = {n: float(values[n]) for n in filled}
    except ValueError:
        keys = {n: natural(values[n]) for n in filled}
    ordered = sorted(filled, key=keys.__getitem__, reverse=turn == "descending")  # stable either way
    return ordered + [n for n, value in enumerate(values) if not value]


def test_every_table_is_sorted_by_every_column(report_page: Path, opened) -> None:
    page = opened(report_page, ready=False)
    unfold(page)
    tables = page.evaluate(
        """() => [...document.querySelectorAll("table:has(thead)")].map((table) => {
          const rows = [...table.tBodies[0].rows];
          const order = () => [...table.tBodies[0].rows].map((row) => rows.indexOf(row));
          return {
            file: table.closest(".table").querySelector("a[href$='.csv']").getAttribute("href"),
            columns: [...table.tHead.rows[0].cells].map((header) => ({
              name: header.innerText,
              clicks: [1, 2, 3].map(() => {
                header.querySelector("button").click();
                const sorted = [...table.querySelectorAll("[aria-sort]")];
                return [sorted.map((one) => one === header && one.ariaSort), order()];
              }),
            })),
          };
        })"""
    )
    assert len(tables) >= 12
    empty = ties = 0
    for table in tables:
        with (report_page.parent / table["file"]).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert table["columns"], table["file"]
        for column in table["columns"]:
            values = [row[column["name"]] for row in rows]
            first, second, third = column["clicks"]
            turns = ["ascending", "descending"]
            if all(re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", value) for value in values if value):
                turns.reverse()
            for turn, (state, order) in zip(turns, (first, second), strict=True):
                assert state == [turn]
                assert order == sorted_rows(values, turn), (table["file"], column["name"], turn)
            assert third == [[], list(range(len(rows)))]
            empty += "" in values and any(values)
            ties += len(set(values)) < len(values)
    assert empty  # columns with and without values
    assert ties > 5


def test_sorting_goes_by_all_digits_and_not_by_what_is_shown(report_page: Path, opened) -> None:
    page = opened(report_page, ready=False)
    cells = page.locator("#table-best_heads tbody td[data-value]").evaluate_all(
        "(cells) => cells.map((cell) => [Number(cell.dataset.value), cell.innerText])"
    )
    assert len(cells) > 30
    assert all(shown == f"{value:.1%}" and not math.isclose(value, round(value, 3)) for value, shown in cells[:3])


def test_tables_are_sorted_by_keyboard(report_page: Path, opened) -> None:
    page = opened(report_page, ready=False)
    header = page.locator("#table-relations th", has_text="accuracy")
    button = header.get_by_role("button", name="accuracy")
    button.focus()
    best = page.locator("#table-relations tbody tr").first
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    highest = best.inner_text()
    page.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "ascending"
    assert best.inner_text() != highest
    assert button.evaluate("(one) => one === document.activeElement")
    page.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") is None
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('th').innerText") == "low"


# Getting about


def test_links_in_the_page_lead_to_what_they_name(report_page: Path, opened) -> None:
    page = opened(report_page, ready=False, height=700)
    contents = page.get_by_role("navigation", name="Contents")
    links = contents.get_by_role("link")
    headings = [one.removesuffix("#").strip() for one in page.locator("section > h2").all_inner_texts()]
    assert links.all_inner_texts() == headings
    for title in ("Coreference", "The run"):
        contents.get_by_role("link", name=title).click()
        heading = page.get_by_role("heading", name=re.compile(f"^{title}"))
        page.wait_for_function("(one) => one.getBoundingClientRect().top < innerHeight", arg=heading.element_handle())
    contents.get_by_role("link", name="Coreference").click()
    contents.locator("[aria-current]", has_text="Coreference").wait_for(timeout=5_000)
    assert contents.locator("[aria-current]").count() == 1
    # A link from elsewhere opens a folded table.
    folded = page.locator("details", has=page.locator("#table-heads"))
    assert folded.get_attribute("open") is None
    page.evaluate("() => { location.hash = '#table-heads'; }")
    page.locator("#table-heads table").wait_for(timeout=5_000)
    assert page.locator("#table-heads table").bounding_box()["y"] < 700


def test_the_command_can_be_copied(report_page: Path, opened) -> None:
    page = opened(report_page, ready=False, permissions=["clipboard-read", "clipboard-write"])
    command = json.loads((report_page.parent / "report.json").read_text(encoding="utf-8"))["command"]
    assert page.locator("pre.command").inner_text() == command
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name=re.compile("Copied|Selected")).wait_for(timeout=5_000)
    assert page.evaluate("() => String(getSelection())") == command


def test_a_finding_leads_to_its_section_and_to_a_view_of_its_head(report_page: Path, opened) -> None:
    page = opened(report_page, ready=False)
    found = page.locator(".findings > div", has_text="Dependency relations")
    head = re.search(r"Head (\d+-\d+) finds the governor", found.inner_text())[1]
    link = found.get_by_role("link", name=f"See head {head}").get_attribute("href")
    assert (report_page.parent / link).is_file()
    page.evaluate("() => scrollTo(0, 0)")
    found.get_by_role("link", name="Dependency relations").click()
    page.wait_for_function("() => Math.abs(document.getElementById('relations').getBoundingClientRect().top) < 40")


# Other ways to read it


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_there_are_no_barriers(width: int, scheme: str, report_page: Path, opened) -> None:
    page = opened(report_page, ready=False, width=width, color_scheme=scheme)
    unfold(page)
    page.locator("#table-relations th button").first.click()
    assert barriers(page) == []


def test_the_dark_page_is_dark_and_its_figures_do_not_glare(report_page: Path, opened) -> None:
    page = opened(report_page, ready=False, color_scheme="dark")
    paper = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", paper))) < 50
    shades = page.locator("figure img").evaluate_all("(all) => all.map((one) => getComputedStyle(one).filter)")
    assert set(shades) == {"brightness(0.82)"}  # no colour is turned into another
    page.emulate_media(color_scheme="light")
    shades = page.locator("figure img").evaluate_all("(all) => all.map((one) => getComputedStyle(one).filter)")
    assert set(shades) == {"none"}


def test_without_a_script_everything_is_there(report_page: Path, opened) -> None:
    told = """() => [...document.querySelectorAll("h1, h2, h3, p, dt, dd, th, td, figcaption, summary, pre")]
      .map((one) => one.textContent)"""
    scripted = opened(report_page, ready=False, width=390)
    plain = opened(report_page, ready=False, width=390, java_script_enabled=False)
    assert plain.locator("button").count() == 0
    assert scripted.locator("button").count() > 60
    assert plain.evaluate(told) == scripted.evaluate(told)
    assert plain.evaluate("() => document.documentElement.scrollWidth") == 390
    assert plain.locator(".scroll:not([tabindex='0'])").count() == 0  # whatever scrolls there can be reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_prints_whole_and_on_white(scheme: str, report_page: Path, opened, tmp_path: Path) -> None:
    page = opened(report_page, ready=False, width=A4, color_scheme=scheme)
    page.emulate_media(media="print", color_scheme=scheme)
    assert layout_faults(page, printed=True) == []
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("() => getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    for name in ("nav", ".hint", ".copy", ".here"):
        assert not page.locator(name).first.is_visible()
    # Long tables that are folded stay so, and say where they are.
    told = page.locator("details").evaluate_all(
        "(all) => all.map((one) => getComputedStyle(one.querySelector('summary'), '::after').content)"
    )
    assert all(" Not printed: see " in one for one in told)
    page.emulate_media(media="null")
    written = page.pdf(format="A4", outline=True, tagged=True)
    pages = len(re.findall(rb"/Type /Page\b", written))
    assert 8 <= pages <= 25
    outline = [bytes.fromhex(found.decode()).decode("utf-16") for found in re.findall(rb"/Title <(FEFF\w+)>", written)]
    outline += [found.decode() for found in re.findall(rb"/Title \(([^)]*)\)", written)]
    named = {one.replace("\xa0", " ").strip() for one in outline}
    assert named >= {"Summary", "Files", "The run", *(section.title for section in SECTIONS)}
