"""One table of the views of 144 heads: bytes, and the seconds to write, to show and to hover. `nox -s bench_views`.

The maps are those of all-MiniLM-L6-v2 on running text, its six layers taken twice, as many heads as BERT-base has.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bench
import chromium
from playwright.sync_api import Browser, Page

import bertattn as ba
from bertattn import demo, views

KINDS: dict[str, Callable[[ba.AttentionTensor], views.HTMLView]] = {"head": views.head_view, "model": views.model_view}
TOKENS = (32, 128, 512)
# By what is measured, then by tokens: nothing may take more.
LIMITS: dict[str, dict[int, float]] = {
    "megabytes": {128: 2.5, 512: 25.0},
    "write_seconds": {32: 5.0, 128: 5.0, 512: 5.0},
    "picture_seconds": {128: 2.0, 512: 6.0},
    "hover_milliseconds": {128: 50.0},
}
SHARE = 95  # % of the frames, since a busy machine delays some
VIEWPORT: Any = {"width": 1100, "height": 900}
MOVES = 60


def maps(extractor: ba.Extractor, tokens: int) -> ba.AttentionTensor:
    """144 heads on so many tokens of running text."""
    tokenizer = extractor.tokenizer
    ids: list[int] = []
    for line in (line for lines in bench.documents()[1] for line in lines):
        ids += tokenizer(line, add_special_tokens=False).input_ids
        if len(ids) >= tokens - 2:
            break
    text = ba.TokenIds((tokenizer.cls_token_id, *ids[: tokens - 2], tokenizer.sep_token_id))
    (attention,) = extractor.extract([text])
    if len(attention.queries) != tokens:
        raise SystemExit(f"the text has {len(attention.queries)} tokens, not {tokens}")
    return bench.twice(attention)


def down_the_picture(page: Page, kind: str) -> Iterator[tuple[float, float]]:
    """From the first query to the last on the screen, or across the small pictures of heads."""
    picture = page.locator(".stage" if kind == "head" else ".board")
    box = picture.bounding_box()
    if box is None:
        raise SystemExit(f"the {kind} view shows no picture")
    across = 20 if kind == "head" else box["width"] / 2
    for number in range(MOVES):
        yield box["x"] + across, box["y"] + 4 + (box["height"] - 8) * number / MOVES


def row(browser: Browser, attention: ba.AttentionTensor, kind: str, *, rounds: int, folder: Path) -> dict[str, Any]:
    """One line of the table; of each time the median over rounds, each in a fresh window."""
    path = folder / "view.html"
    written, shown, frames = [], [], []
    for _ in range(rounds):
        start = time.perf_counter()
        KINDS[kind](attention).save(path)
        written.append(time.perf_counter() - start)
    for _ in range(rounds):
        context = browser.new_context(viewport=VIEWPORT, offline=True)
        page = context.new_page()
        shown.append(chromium.picture_seconds(page, path))
        frames += chromium.frame_milliseconds(page, down_the_picture(page, kind))
        context.close()
    measured = {
        "megabytes": path.stat().st_size / 1e6,
        "write_seconds": statistics.median(written),
        "picture_seconds": statistics.median(shown),
        "hover_milliseconds": chromium.percentile(frames, SHARE),
    }
    tokens = len(attention.queries)
    limits = {name: LIMITS[name].get(tokens) for name in measured}
    met = all(measured[name] <= limit for name, limit in limits.items() if limit is not None)
    return {"view": kind, "tokens": tokens, **measured, "limits": limits, "met": met, "rounds": rounds}


def markdown(record: dict[str, Any]) -> str:
    """A record as the table of docs/benchmarks.md."""
    about = record["machine"]
    installed = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    where = (
        f"{record['date'][:10]}, {about['cpu']} ({about['cores']} cores), {about['system']}; {installed}; "
        f"{record['model']}; {record['text']}. Load average {record['load_before'][0]:.1f} before and "
        f"{record['load_after'][0]:.1f} after."
    )
    lines = [
        where,
        "",
        "| view | tokens | file, MB | written in, s | first picture, s | a frame while hovering, ms | limits |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in record["rows"]:
        cells = [f"{one['view']} view", str(one["tokens"])]
        for name, places in (("megabytes", 2), ("write_seconds", 2), ("picture_seconds", 2), ("hover_milliseconds", 0)):
            limit = one["limits"][name]
            cells.append(f"{one[name]:.{places}f}" + ("" if limit is None else f" (at most {limit:g})"))
        lines.append(f"| {' | '.join(cells)} | {'met' if one['met'] else 'not met'} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often each view is written and shown (default %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the record there")
    parser.add_argument("--markdown", type=Path, metavar="FILE.json", help="only print a record as the docs' table")
    given = parser.parse_args()
    if given.markdown:
        print(markdown(json.loads(given.markdown.read_text(encoding="utf-8"))))
        return
    extractor = ba.Extractor.from_pretrained(demo.model_path())
    record: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": bench.machine(),
        "versions": bench.versions(),
        "model": "all-MiniLM-L6-v2, its 6 layers twice",
        "text": bench.documents()[0],
        "load_before": os.getloadavg(),
        "rows": [],
    }
    with chromium.chromium() as browser, tempfile.TemporaryDirectory() as folder:
        record["versions"]["chromium"] = browser.version
        for tokens in TOKENS:
            attention = maps(extractor, tokens)
            record["rows"] += [
                row(browser, attention, kind, rounds=given.rounds, folder=Path(folder)) for kind in KINDS
            ]
    record["load_after"] = os.getloadavg()
    print(markdown(record))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
