"""The numbers of Clark et al. 2019, to stand beside those of a BERT-base.

Sections ask here when they show what was measured. Nothing that measures does, and no other module opens the file.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Protocol

from bertattn import _arrays
from bertattn.tensor import parse_head

if TYPE_CHECKING:
    from bertattn.heads import CoreferenceScores, RelationScores
    from bertattn.statistics import Summary
    from bertattn.tensor import Source

__all__ = [
    "SIGNED",
    "bert_base",
    "coreference_columns",
    "coreference_head",
    "notes",
    "probe_columns",
    "relation_columns",
    "statements",
]

BERT_BASE: Final = ("bert-base-uncased", "bert-base-cased")
# How the page writes differences of shares: in percentage points, with their sign.
SIGNED: Final = "+z.1%"
# A head "gives over half": what the statements that have no layers count.
HALF: Final = 0.5
# Relations that Stanford dependencies have and Universal Dependencies have not.
STANFORD: Final = frozenset({"prep", "pobj"})


class _Measured(Protocol):
    @property
    def source(self) -> Source: ...

    @property
    def layers(self) -> tuple[int, ...]: ...

    @property
    def heads(self) -> tuple[int, ...]: ...


@functools.cache
def published() -> dict[str, Any]:
    """What `published.json` holds; percentages are as printed, 0 to 100."""
    text = resources.files(__package__).joinpath("published.json").read_text(encoding="utf-8")
    value: dict[str, Any] = json.loads(text)
    return value


def bert_base(measured: _Measured | None, /) -> str | None:
    """The name of the paper's model, cased or uncased, if this was measured on it; else None.

    It is known by the last part of its name on the hub or of its folder, its class, and 12 layers of 12 heads.
    """
    if measured is None or measured.source.architecture != "BertModel":
        return None
    name = PurePath(measured.source.model or "").name
    everything = measured.layers == measured.heads == tuple(range(12))
    return name if everything and name in BERT_BASE else None


def notes(model: str, part: str, /) -> str:
    """What the caption of a table says of its columns "paper" and "difference", and of what else differs."""
    return (
        "“Paper” is what Clark et al. 2019 give for BERT-base, without an interval; “difference” is ours less theirs, "
        "of shares in percentage points. They do not say whether their model is cased; this is "
        f"{model}. {published()[part]['beside']}"
    )


def statements(summary: Summary, part: str, /) -> list[dict[str, Any]]:
    """A row for each number that section 3 of the paper, or one of its figures, gives: "surface" or "entropy".

    Counts of heads are whole numbers, all else fractions or nats. Where the paper names a bound alone there is no
    difference.
    """
    rows = []
    for entry in published()[part]["rows"]:
        means = _arrays.to_numpy(summary.mean(entry["statistic"]))
        here: float
        if entry["layers"] is None:
            here = int((means > HALF).sum())
        else:
            first, last = entry["layers"]
            here = float(_arrays.nan_mean(means[first - 1 : last].ravel()))
        paper = math.nan if entry["value"] is None else entry["value"]
        rows.append(
            {
                "attention": entry["what"],
                "here": here,
                "paper": paper,
                "difference": here - paper,
                "where": f"{entry['place']} ({entry['from']})",
            }
        )
    return rows


def relation_columns(scores: RelationScores, relation: str, accuracy: float, /) -> dict[str, Any]:
    """The paper's head for a relation, what that very head finds here, and what it found there; NaN where unknown.

    Args:
        scores: of the treebank. Its relations are Stanford's if it has `prep` or `pobj`, else those of Universal
            Dependencies.
        relation: its name in the treebank.
        accuracy: of the best head here.
    """
    stanford = not STANFORD.isdisjoint(scores.relation_names())
    name, direction = ("relation", "direction") if stanford else ("universal", "universal_direction")
    row = next((row for row in published()["table1"]["rows"] if row[name] == relation), None)
    if row is None:
        return {"paper's head": math.nan, "its accuracy here": math.nan, **_beside(accuracy, None)}
    layer, head = parse_head(row["head"])
    here = scores.accuracy(relation, direction=row.get(direction, row["direction"]))[layer, head]
    return {"paper's head": row["head"], "its accuracy here": float(here), **_beside(accuracy, row["accuracy"])}


def coreference_head(scores: CoreferenceScores, types: Sequence[str], /) -> tuple[str, list[float]]:
    """The name of the paper's head, and what that very head finds here, by type of mention."""
    row = next(row for row in published()["table2"]["rows"] if row["system"] == "head")
    layer, head = parse_head(row["head"])
    found = [scores.accuracy(name, direction=row["direction"])[layer, head] for name in types]
    return row["head"], [float(one) for one in found]


def coreference_columns(system: str, mention_type: str, accuracy: float, /) -> dict[str, float]:
    """Of a cell of Table 2; NaN where the paper has none."""
    rows = {row["system"]: row for row in published()["table2"]["rows"]}
    columns = _beside(accuracy, rows.get(system, {}).get(mention_type))
    return {f"{mention_type} {name}": value for name, value in columns.items()}


def probe_columns(predictor: str, accuracy: float, /) -> dict[str, float]:
    """Of a row of Table 3; NaN where the paper has none."""
    values = {row["predictor"]: row["value"] for row in published()["table3"]["rows"]}
    return _beside(accuracy, values.get(predictor))


def _beside(accuracy: float, percent: float | None) -> dict[str, float]:
    paper = math.nan if percent is None else percent / 100
    return {"paper": paper, "difference": accuracy - paper}
