"""The one protocol of results: rows for a table, a file that gives the value back, a view in a notebook.

A class of results derives from `Result` and writes three methods: `to_records`, `_state` and `_from_state`.
"""

from __future__ import annotations

import csv
import html
import io
import json
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

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
        records = self.to_records()
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(records[0]) if records else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: "" if _is_nan(value) else value for name, value in row.items()} for row in records)
        _write_whole(path, text.getvalue())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the value as JSON; `load` gives it back, every digit of it. An existing file is replaced at once."""
        document = {
            "format": "bertattn",
            "kind": type(self).__name__,
            "version": self._schema,
            "value": self._state(),
        }
        _write_whole(path, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            StorageError: a file that bertattn did not write, that holds another kind of result, that is torn, or that
                a newer bertattn wrote.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise StorageError(f"{path} is no JSON file, or was cut off while it was written: {error}") from None
        if not isinstance(document, dict) or document.get("format") != "bertattn":
            raise StorageError(f'{path} was not written by bertattn: it has no "format": "bertattn"')
        if document.get("kind") != cls.__name__:
            raise StorageError(f"{path} holds a {document.get('kind')}, not a {cls.__name__}")
        version = document.get("version")
        if not isinstance(version, int) or version > cls._schema:
            raise StorageError(
                f"{path} has version {version!r} of the format but this bertattn reads up to {cls._schema}; upgrade it"
            )
        try:
            return cls._from_state(document["value"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"{path} is damaged: {type(error).__name__}: {error}") from error

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


def _write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a file under a temporary name beside its own, then rename it: a reader never sees half of it."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


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


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and value != value


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
