"""Sections as one HTML page that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

import jinja2
from markupsafe import Markup

from bertattn.report._parts import Section, Shown, Table

# Characters of a cell that are not wrapped on any screen.
LINE: Final = 40
# The files of a report by what they are for.
KINDS: Final = (
    ("Numbers, to every digit (CSV)", (".csv",)),
    ("Figures, to edit (SVG) and to paste (PNG)", (".svg", ".png")),
    ("Results, to load in Python again (JSON, safetensors)", (".json", ".safetensors")),
    ("Head views (HTML)", (".html",)),
)


def page(
    *,
    title: str,
    lead: Sequence[str],
    sections: Sequence[tuple[Section, Shown | None]],
    images: Mapping[str, bytes],
    record: Mapping[str, Any],
    too_little: Mapping[str, str] | None = None,
    files: Sequence[str] = (),
) -> str:
    """The page.

    Args:
        title: its heading.
        lead: the first paragraphs of the summary.
        sections: each with what it shows, or None where its input is missing.
        images: the SVG of each picture, by name.
        record: what `report.json` says of the run, without its times.
        too_little: of sections whose input was given but was not enough, by name, why.
        files: what lies beside the page and belongs to no section.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "breakable": _breakable,
        "cell": _cell,
        "exact": _exact,
        "link": _link,
        "pages": _pages,
        "parts": _parts,
        "share": _share,
    }
    script = _static("static/page.js")
    # The bars of cells are inline styles, which no hash can allow.
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src '{_hash(chr(10) + script)}'; base-uri 'none'; form-action 'none'"
    )
    return environment.from_string(_static("page.html")).render(
        title=title,
        lead=lead,
        sections=sections,
        findings=[(section, shown) for section, shown in sections if shown is not None and shown.highlights],
        left_out=[section for section, shown in sections if shown is None],
        images={name: base64.b64encode(svg).decode() for name, svg in images.items()},
        record=record,
        too_little=too_little or {},
        facts=[(name.capitalize(), _flat(record.get(name, {}))) for name in ("versions", "model", "machine")],
        settings=_flat(record),
        files=_by_kind({*files, *_of_sections(sections), "report.json"}),
        policy=policy,
        style=Markup(_static("static/page.css")),  # noqa: S704 (ours, as is the script)
        script=Markup(script),  # noqa: S704
    )


def _static(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _of_sections(sections: Sequence[tuple[Section, Shown | None]]) -> list[str]:
    """The names of the files that the sections bring."""
    names: list[str] = []
    for _, shown in sections:
        if shown is not None:
            names += [f"{picture.name}{ending}" for picture in shown.pictures for ending in (".svg", ".png")]
            names += [f"{table.name}.csv" for table in shown.tables]
            names += shown.views
    return names


def _by_kind(files: set[str]) -> list[tuple[str, list[str]]]:
    """What each kind of file is for, and its files by name; kinds without files are not there."""
    kinds = [(name, sorted(file for file in files if file.endswith(endings))) for name, endings in KINDS]
    return [(name, members) for name, members in kinds if members]


def _pages(shown: Shown) -> list[tuple[str, str]]:
    """The heads that a section's findings name and that have a view, each with its first."""
    found: dict[str, str] = {}
    for table in shown.tables:
        for column, links in table.links.items():
            for row, link in zip(table.rows, links, strict=True):
                if link is not None:
                    found.setdefault(str(row[column]), link)
    named = set(re.findall(r"[\w-]+", " ".join(shown.highlights)))
    return [(head, link) for head, link in found.items() if head in named]


def _cell(value: object, column: str, table: Table) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "–"
    return f"{value:.1%}" if column in table.percent else format(value, table.precision)


def _exact(value: object) -> str | None:
    """What a cell is sorted by, as JavaScript reads it, where its text is not that: all digits, "" for no value."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return None
    return "" if math.isnan(value) else repr(float(value)).replace("inf", "Infinity")


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


def _breakable(name: str) -> Markup:
    """A long name of a setting, with the places at which it may go on in the next line."""
    return Markup("<wbr>").join(re.split(r"(?<=[._])", name))


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
