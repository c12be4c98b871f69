"""Sections as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

import jinja2

from bertattn.report._parts import Section, Shown, Table

# Characters of a cell that are not wrapped on any screen.
LINE: Final = 40


def page(
    *,
    title: str,
    lead: Sequence[str],
    sections: Sequence[tuple[Section, Shown | None]],
    images: Mapping[str, bytes],
    record: Mapping[str, Any],
    too_little: Mapping[str, str] | None = None,
) -> str:
    """The page.

    Args:
        title: its heading.
        lead: paragraphs under it.
        sections: each with what it shows, or None where its input is missing.
        images: the SVG of each picture, by name.
        record: what `report.json` says of the run, without its times.
        too_little: of sections whose input was given but was not enough, by name, why.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"cell": _cell, "link": _link, "share": _share, "parts": _parts}
    template = environment.from_string(resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        lead=lead,
        sections=sections,
        images={name: base64.b64encode(svg).decode() for name, svg in images.items()},
        record=record,
        too_little=too_little or {},
        settings=_flat(record),
        highlights=[line for _, shown in sections if shown is not None for line in shown.highlights],
    )


def _cell(value: object, column: str, table: Table) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "–"
    return f"{value:.1%}" if column in table.percent else format(value, table.precision)


def _link(table: Table, column: str, row: int) -> str | None:
    """Where a cell leads to."""
    return table.links[column][row] if column in table.links else None


def _share(value: object, column: str, table: Table) -> float | None:
    """How far the bar behind a cell goes, 0 to 1; None where there is none."""
    if column not in table.bars or not isinstance(value, float) or math.isnan(value):
        return None
    return round(min(1.0, max(0.0, value)), 3)


def _parts(value: object) -> list[str]:
    """The names in a list that is too long for one line, to be kept whole where it wraps; none of other cells."""
    parts = value.split(", ") if isinstance(value, str) and len(value) > LINE else []
    return parts if max(map(len, parts), default=0) <= LINE / 2 else []


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as lines, `text.files.1.path`: what a page can show."""
    lines: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            lines += _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            if value and all(not isinstance(v, Mapping) for v in value):
                lines.append((name, ", ".join(map(str, value))))
            elif not value:
                lines.append((name, "none"))
            else:
                for i, v in enumerate(value, start=1):
                    lines += _flat(v, f"{name}.{i}.")
        else:
            lines.append((name, "not set" if value is None else str(value)))
    return lines
