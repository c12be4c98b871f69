"""Views in Debian's Chromium, opened from disk with the network cut: `nox -s browser`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from bertattn import Extractor, demo

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))  # its module `chromium`

import chromium  # noqa: E402

READY = "html[data-ready=true]"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium.chromium() as started:
        yield started


@dataclasses.dataclass
class Opener:
    """Opens views and keeps what must not happen in them."""

    browser: Browser
    folder: Path
    faults: list[str] = dataclasses.field(default_factory=list)
    contexts: list[BrowserContext] = dataclasses.field(default_factory=list)

    def __call__(self, view: Any, *, width: int = 1100, height: int = 900, ready: bool = True, **options: Any) -> Page:
        """The page of a view, or of a file, once its first picture is drawn."""
        path = view if isinstance(view, Path) else view.save(self.folder / f"view{len(self.contexts)}.html")
        context = self.browser.new_context(offline=True, viewport={"width": width, "height": height}, **options)
        self.contexts.append(context)
        page = context.new_page()
        self.watch(context, page, path.as_uri())
        page.goto(path.as_uri())
        if ready:
            page.wait_for_selector(READY, state="attached", timeout=20_000)
        return page

    def watch(self, context: BrowserContext, page: Page, address: str) -> None:
        def answer(route: Route) -> None:
            if route.request.url == address:
                route.continue_()
            else:
                self.faults.append(f"asks for {route.request.url}")
                route.abort()

        def close(dialog: Any) -> None:
            self.faults.append(f"opens a dialog: {dialog.message}")
            dialog.dismiss()

        def heard(message: Any) -> None:
            # Chromium reports here what the content security policy forbids.
            if message.type in ("error", "warning"):
                self.faults.append(f"{message.type}: {message.text}")

        context.route("**/*", answer)
        context.on("page", lambda _: self.faults.append("opens a window"))
        page.on("dialog", close)
        page.on("console", heard)
        page.on("pageerror", lambda error: self.faults.append(f"raises {error}"))

    def close(self) -> None:
        for context in self.contexts:
            context.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Opens views; the test fails on any request but the file's, any window, dialog, error, warning or violation."""
    opener = Opener(browser, tmp_path)
    yield opener
    opener.close()
    assert opener.faults == []


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    return Extractor.from_pretrained(demo.model_path())
