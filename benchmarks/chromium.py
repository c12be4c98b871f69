"""Debian's Chromium by Playwright, and when a page's first picture and each of its frames were drawn."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

EXECUTABLE = os.environ.get("BERTATTN_CHROMIUM", "/usr/bin/chromium")
# Nothing that a browser does of its own accord on the network, and no GPU, so that pixels are the same everywhere.
FLAGS = (
    "--no-sandbox",  # CI is root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)
# When `data-ready` was set, and the frame after it was drawn, in milliseconds from the start of the navigation.
WATCH = """
new MutationObserver((_, observer) => {
  if (!document.documentElement?.dataset.ready) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.pictureAt = performance.now(); }));
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["data-ready"] });
"""
FRAMES = """() => {
  window.frameTimes = [];
  let before = performance.now();
  const next = (now) => {
    window.frameTimes.push(now - before);
    before = now;
    window.frame = requestAnimationFrame(next);
  };
  window.frame = requestAnimationFrame(next);
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of its own, ended with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def picture_seconds(page: Page, path: Path, *, timeout: float = 60.0) -> float:
    """Open the file; the seconds until its first picture was on the screen."""
    page.add_init_script(WATCH)
    page.goto(path.as_uri())
    page.wait_for_function("() => window.pictureAt", timeout=timeout * 1e3)
    return float(page.evaluate("() => window.pictureAt")) / 1e3


def frame_milliseconds(page: Page, points: Iterable[tuple[float, float]]) -> list[float]:
    """The time that each frame took while the mouse went from point to point."""
    page.evaluate(FRAMES)
    for x, y in points:
        page.mouse.move(x, y)
    times: list[float] = page.evaluate("() => { cancelAnimationFrame(window.frame); return window.frameTimes; }")
    return times


def percentile(values: list[float], share: int) -> float:
    """The value that `share` % of the values do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]
