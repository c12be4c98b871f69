"""The one protocol of results: rows for a table, a file that gives the value back, a view in a notebook.

A class of results derives from `Result` and writes three methods: `to_records`, `_state` and `_from_state`.
"""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bertattn import _files
from bertattn._arrays import Numpy
from bertattn.errors import StorageError

if TYPE_CHECKING:
    import pandas

__all__ = ["Result"]

# Rows that a notebook shows; the table itself has them all.
SHOWN_ROWS = 20


class Result:
    """A result that can be tabulated, saved and loaded."""

    # Raised when what `_state` gives changes its meaning; files of a higher version are refused.
    _schema: ClassVar[int] = 1

    def to_records(self) -> list[dict[str, Any]]:
        """The result as a list of plain dicts, one a row, all with the same names in the same order."""
        raise NotImplementedError

    def _state(self) -> dict[str, Any]:
        """Everything that makes up the value, as JSON can hold it: see `numbers_to_json`."""
        raise NotImplementedError

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        raise NotImplementedError

    def to_frame(self) -> pandas.DataFrame:
        """`to_records` as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame.from_records(self.to_records())

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_records` as a CSV file (UTF-8, every digit, undefined numbers empty)."""
        _files.write_csv(path, self.to_records())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the value as JSON; `load` gives it back, every digit of it. An existing file is replaced at once."""
        _files.write_json(path, _files.labelled(self._state(), kind=type(self).__name__, version=self._schema))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            StorageError: a file that bertattn did not write, that holds another kind of result, that is torn, or that
                a newer bertattn wrote.
        """
        content = Path(path).read_bytes()
        # A safetensors file starts with the length of its header, eight bytes, and the header's brace.
        if b"\0" in content[:8] and content[8:9] == b"{":
            raise StorageError(f"{path} is a safetensors file, not a {cls.__name__}; read it with bertattn.load(path)")
        try:
            document = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{path} is no JSON file, or was cut off while it was written: {error}") from None
        return _files.unlabelled(document, path, cls._from_state, kind=cls.__name__, version=cls._schema)

    def _repr_html_(self) -> str:
        records = self.to_records()
        names = list(records[0]) if records else []
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_shown(row[name]))}</td>" for name in names) + "</tr>"
            for row in records[:SHOWN_ROWS]
        )
        more = f"<p>{len(records)} rows, the first {SHOWN_ROWS} shown</p>" if len(records) > SHOWN_ROWS else ""
        caption = f"<caption>{html.escape(repr(self))}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def numbers_to_json(values: Numpy) -> Any:
    """Nested lists of numbers as JSON can hold them: NaN as null, infinities as text; floats keep every digit."""
    if np.issubdtype(values.dtype, np.integer):
        return values.tolist()
    if values.ndim:
        return [numbers_to_json(row) for row in values]
    number = float(values)
    return number if np.isfinite(number) else None if np.isnan(number) else str(number)


def numbers_from_json(values: Any) -> Numpy:
    """The float64 array that `numbers_to_json` was given."""
    return np.array(_floats(values), dtype=np.float64)


def _floats(values: Any) -> Any:
    if isinstance(values, list):
        return [_floats(v) for v in values]
    return np.nan if values is None else float(values)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
