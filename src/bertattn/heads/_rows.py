"""Results that are a table: a tuple of dataclasses, one a row, and the options it was made with."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from bertattn.results import Result

__all__: list[str] = []


class Rows(Result):
    """A result that is a tuple of dataclasses, `rows`, and options."""

    rows: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.rows)} rows)"

    def __str__(self) -> str:
        """All rows, as a table."""
        return f"{self!r}\n{self.to_frame().to_string(index=False, float_format=lambda x: f'{x:.3f}')}"

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each of `rows`."""
        return [dataclasses.asdict(row) for row in self.rows]

    def _state(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {  # type: ignore[arg-type]
            "rows": [{name: _json(value) for name, value in row.items()} for row in self.to_records()]
        }

    @classmethod
    def _restored(cls, state: dict[str, Any], kind: type[Any]) -> Self:
        rows = tuple(kind(**{n: float("nan") if v is None else v for n, v in row.items()}) for row in state["rows"])
        return cls(**(state | {"rows": rows}))


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
