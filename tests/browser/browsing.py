"""How tests look at a page: its pixels, what it says of itself, what it saves."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page

SVG = "{http://www.w3.org/2000/svg}"


def ask(page: Any, expression: str) -> Any:
    """What a page says of itself: `window.bertattn.<expression>`."""
    return page.evaluate(f"async () => await window.bertattn.{expression}")


def settle(page: Any) -> None:
    """Until what was asked for is on the screen: a layer may have to be inflated, and frames are waited for."""
    page.evaluate(
        "() => new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 60))"
    )


def pixels(page: Page) -> np.ndarray:
    """What is on the screen, `[row, column, red green blue]`."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def rgb(color: str) -> np.ndarray:
    """The colour that "#0072b2" writes."""
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])


def blended(color: str, alpha: float, paper: str = "#ffffff") -> np.ndarray:
    """A colour laid on the paper."""
    return alpha * rgb(color) + (1 - alpha) * rgb(paper)


def weights_in(page: Page, shape: tuple[int, ...]) -> np.ndarray:
    """All weights of a page, read back one by one; what is undefined is NaN."""
    layers, heads, queries, keys = shape
    read = page.evaluate(
        """async ([layers, heads, queries, keys]) => {
          const found = [];
          for (let l = 0; l < layers; l += 1) for (let h = 0; h < heads; h += 1)
            for (let i = 0; i < queries; i += 1) for (let j = 0; j < keys; j += 1)
              found.push(await window.bertattn.weight(l, h, i, j));
          return found;
        }""",
        [layers, heads, queries, keys],
    )
    return np.array(read, dtype=float).reshape(shape)


def data(page: Page) -> dict[str, Any]:
    """The JSON that the page's script reads."""
    found: dict[str, Any] = page.evaluate("() => JSON.parse(document.getElementById('data').textContent)")
    return found


def saved(page: Any, kind: str, folder: Path) -> Path:
    """The file that the button "SVG" or "PNG" saves."""
    owner = page if isinstance(page, Page) else page.page
    with owner.expect_download() as waiting:
        page.get_by_role("button", name=kind, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def svg(path: Path) -> ElementTree.Element:
    """The root of a picture that was saved, which must be well-formed."""
    return ElementTree.parse(path).getroot()


def texts(root: ElementTree.Element) -> list[str]:
    """What is written in a picture."""
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
