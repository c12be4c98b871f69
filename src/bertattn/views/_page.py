"""One HTML file of a view: its style, its data, its script, and a policy that forbids everything else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from bertattn import _tokens
from bertattn.views._html import check_title

# What ends a script element, begins an entity or a comment; JSON writes the same characters in another way.
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


def page(title: str, kind: str, data: Mapping[str, Any], blocks: Mapping[str, str]) -> str:
    """The page.

    The same input gives the same bytes.

    Args:
        title: its heading and its name in a browser's tab.
        kind: "head", "model" or "neuron": which script of `static` draws it.
        data: what the script needs at once, as JSON.
        blocks: what it inflates when it is needed: base64, by name.

    Raises:
        ValidationError: a title that is no text.
    """
    check_title(title)
    style = _static("base.css")
    script = f'(() => {{\n"use strict";\n{_static("common.js")}{_static(f"{kind}.js")}}})();\n'
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    heading = html.escape(_tokens.printable(title))
    told = {"title": title, "kind": kind, **data}
    text = json.dumps(told, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f'<title>{heading}</title>\n<style>{style}</style>\n</head>\n<body class="{kind}">\n',
            f'<script type="application/json" id="data">{text}</script>\n',
            *(f'<script type="text/plain" id="block-{name}">{block}</script>\n' for name, block in blocks.items()),
            f"<noscript>This view is drawn by a script.</noscript>\n<script>{script}</script>\n</body>\n</html>\n",
        )
    )


def _static(name: str) -> str:
    return resources.files("bertattn.views").joinpath("static", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
