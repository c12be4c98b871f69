"""The live views of the page on views, and pictures of them: `python docs/views/make.py`, from the repository's root.

The pictures need Debian's chromium and Playwright (dependency group `browser`); `--no-pictures` leaves them alone.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import Any

from bertattn import Extractor, clustering, demo, heads, patterns, readers, summarize, views, windows

HERE = Path(__file__).parent
# The window of each picture, and its colours.
SHOWN: dict[str, tuple[int, int, Any]] = {
    "head": (1000, 780, "light"),
    "model": (1000, 780, "light"),
    "neuron": (1000, 640, "dark"),
}
COLOURS = 128


def made() -> dict[str, views.HTMLView]:
    """A head view with trees and coreference, a model view with what is known of the heads, a neuron view."""
    loaded = Extractor.from_pretrained(demo.model_path())
    ext = Extractor(loaded.model, loaded.tokenizer, name="all-MiniLM-L6-v2")
    documents = readers.read_corefud(demo.corpus_path())
    marathon = next(document for document in documents if document.id == "marathon")
    cut = windows([marathon], max_tokens=40, which="all", tokenizer=ext.tokenizer)
    piece = next(one for one in cut if "Spyridon" in one.words)
    sentence = next(one for one in marathon.sentences if one.words[0] == "His")

    surface = summarize(ext.extract(demo.passages()), patterns.surface_patterns)
    scores = heads.score_relations(ext.extract(readers.read_conllu(demo.corpus_path())))
    found = {name: scores.accuracy(name, direction="from_dependent") for name in ("det", "nsubj")}
    known = {f"share to the {name} token": surface.mean(name) for name in ("previous", "next")} | found
    behaviors = clustering.label_behaviors(surface, relations=scores, min_count=50)
    return {
        "head": views.head_view(ext(piece).select(layers=[1, 2, 3]), layer=2, heads=[8], gold="relations"),
        "model": views.model_view(ext(sentence), statistic=known, clusters=behaviors),
        "neuron": views.neuron_view(ext.capture(sentence, what=("query", "key")), layers=[1, 2], head="3-9"),
    }


def picture(kind: str, path: Path) -> None:
    """What Chromium draws of a page, with few colours, since the file is kept in the history."""
    sys.path.insert(0, str(HERE.parents[1] / "benchmarks"))
    import chromium
    from PIL import Image

    width, height, scheme = SHOWN[kind]
    with chromium.chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        if kind == "head":
            page.get_by_label("Special tokens").uncheck()
            page.get_by_label("Strongest opaque").check()
            page.get_by_role("button", name="words").click()
        elif kind == "neuron":
            page.get_by_role("listbox", name="Queries").get_by_role("option").nth(7).click()
        page.wait_for_timeout(500)
        content = page.screenshot()
    drawn = Image.open(io.BytesIO(content)).convert("RGB")
    drawn.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        HERE / f"{kind}.png", optimize=True
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-pictures", action="store_true", help="write the pages alone")
    pictures = not parser.parse_args().no_pictures
    for kind, view in made().items():
        path = view.save(HERE / f"{kind}.html").resolve()
        if pictures:
            picture(kind, path)
