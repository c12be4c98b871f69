"""A page as a value: to look at in a notebook, or to write."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bertattn import _arrays, _files, _tokens
from bertattn.errors import ValidationError

# Pixels: most of a laptop's window.
HEIGHT: Final = 640
LOWEST: Final = 100


@dataclass(frozen=True, repr=False)
class HTMLView:
    """A view: one HTML page that needs nothing beside it and loads nothing from the network.

    A notebook shows it in a frame of its own, so several views in one notebook do not disturb each other.

    Args:
        html: the whole page.
        title: what a screen reader calls the frame.
        height: of the frame in a notebook, in whole pixels, at least 100; None for a usual one.

    Raises:
        ValidationError: another height, or a title that is no text.

    Examples:
        >>> from bertattn.tensor import AttentionTensor
        >>> from bertattn.views import head_view
        >>> view = head_view(AttentionTensor([[[[1.0, 0.0], [0.5, 0.5]]]], ["hi", "."]))
        >>> view.html.startswith("<!doctype html>")
        True
    """

    html: str
    title: str = field(kw_only=True)
    height: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_title(self.title)
        height = _arrays.plain(self.height)
        if height is not None and (type(height) is not int or height < LOWEST):
            raise ValidationError(
                f"height must be a whole number of pixels, at least {LOWEST}, or None, but is {height!r}"
            )

    def save(self, path: str | os.PathLike[str], /) -> Path:
        """Write the page as one file, whole or not at all, and say where it is.

        Raises:
            StorageError: `path` is a folder, or the folder it lies in is not there.
        """
        _files.write_whole(path, self.html)
        return Path(path)

    def _repr_html_(self) -> str:
        """What a notebook shows: a frame that may run the page's script and save pictures, and nothing else."""
        return (
            f'<iframe sandbox="allow-scripts allow-downloads" title="{html.escape(_tokens.printable(self.title))}" '
            f'style="width: 100%; height: {self.height or HEIGHT:d}px; border: 0" '
            f'srcdoc="{html.escape(self.html)}"></iframe>'
        )

    def __repr__(self) -> str:
        return f"HTMLView({self.title!r}, {len(self.html.encode()) / 1e6:.2f} MB)"


def check_title(title: Any) -> None:
    """Raises ValidationError for a title that is no text."""
    if not isinstance(title, str):
        raise ValidationError(f"title must be text or None, but is {title!r:.60}; give str(title)")
