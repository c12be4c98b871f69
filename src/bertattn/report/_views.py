"""Head views beside the page: one for each head that a table names, on a text that has what the head is named for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bertattn import views
from bertattn.errors import ValidationError
from bertattn.tensor import HeadName, format_head, parse_head

if TYPE_CHECKING:
    from bertattn.tensor import AttentionTensor
    from bertattn.views.head import Gold

__all__ = ["FOLDER", "head_pages", "opens"]

FOLDER: Final = "views"
LONGEST_NAME: Final = 40


def head_pages(
    rows: Sequence[tuple[HeadName, str, AttentionTensor | None]], /, *, gold: Gold | None = None
) -> tuple[list[str | None], dict[str, views.HTMLView]]:
    """A file for each head, and the page that is written there.

    Args:
        rows: the head, what it is named for, and the maps to show it on; None where there is no text to show it on.
        gold: drawn over the attention first.

    Returns:
        for each row the name of its file, relative to the report, or None; the pages, by the names of their files.
        A page holds the other heads of its layer too.
    """
    links: list[str | None] = []
    pages: dict[str, views.HTMLView] = {}
    for head, about, attention in rows:
        if attention is None:
            links.append(None)
            continue
        layer, number = parse_head(head)
        name = format_head(layer, number)
        page = _page(attention.select(layers=[layer]), number, gold, title=f"Head {name}: {about}")
        # Names of relations may hold what no file may be called, and some systems read "Obj" and "obj" as one file.
        plain = re.sub(r"[^a-z0-9]+", "-", about.lower()).strip("-")[:LONGEST_NAME]
        link = stem = f"{FOLDER}/head_{name}_{plain}"
        more = 1
        while pages.get(f"{link}.html", page) != page:
            more += 1
            link = f"{stem}_{more}"
        pages[f"{link}.html"] = page
        links.append(f"{link}.html")
    return links, pages


def opens(links: Sequence[str | None], /) -> str:
    """What a caption says of the links in its table; nothing where there are none."""
    return "A head's name opens a view of it on one text, to look at." if any(links) else ""


def _page(attention: AttentionTensor, head: int, gold: Gold | None, *, title: str) -> views.HTMLView:
    try:
        return views.head_view(attention, heads=[head], gold=gold, title=title)
    except ValidationError:  # mentions whose head words are guessed: the view, which does not guess, may have no link
        return views.head_view(attention, heads=[head], title=title)
