"""What the embeddings, clusters and tests of this package are given, and what their results have in common."""

from __future__ import annotations

import dataclasses
import operator
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.clustering._options import real_array
from bertattn.clustering.distances import HeadDistances
from bertattn.errors import ValidationError
from bertattn.results import Result, numbers_from_json, numbers_to_json
from bertattn.tensor import format_head, parse_head

# Distances that differ by less than this part of the largest are equal but for rounding.
ROUNDING: Final = 1e-6


@dataclass(frozen=True, eq=False)
class HeadMatrix:
    """Distances `[head, head]`, float64, symmetric with a zero diagonal and no NaN, and what their heads are called.

    `layers` has the layer of each head, counted from 0; None where it is not known.
    """

    values: Numpy
    names: tuple[str, ...]
    layers: tuple[int, ...] | None
    model: str | None = None


def head_matrix(distances: Any, /, *, sqrt: bool, shape: tuple[int, int] | None = None) -> HeadMatrix:
    """`HeadDistances` or a square array as a checked matrix, its root where `sqrt`.

    Raises:
        ValidationError: neither of the two, no square matrix of distances, undefined pairs, a shape that does not fit.
    """
    layers: tuple[int, ...] | None
    if isinstance(distances, HeadDistances):
        if shape is not None:
            raise ValidationError(f"shape={shape!r} names the heads of an array, but HeadDistances names its own")
        matrix = HeadMatrix(
            distances.matrix(sqrt=sqrt),
            distances.names,
            tuple(layer for layer, _ in distances.places),
            distances.source.model,
        )
        _check_defined(matrix, "distances.select(layers=..., heads=...) leaves heads out")
        return matrix
    values = _square(distances)
    names, layers = _named(len(values), shape)
    _check_defined(HeadMatrix(values, names, layers), "leave the rows and columns of such heads out")
    values = _checked(values)
    return HeadMatrix(np.sqrt(values) if sqrt else values, names, layers)


def _check_defined(matrix: HeadMatrix, remedy: str) -> None:
    undefined = np.isnan(matrix.values) | np.isnan(matrix.values.T)
    pairs = [f"{matrix.names[i]} and {matrix.names[j]}" for i, j in np.argwhere(np.triu(undefined))]
    if pairs:
        many = "distance of 1 pair is" if len(pairs) == 1 else f"distances of {len(pairs)} pairs are"
        more = ", ..." if len(pairs) > 3 else ""
        raise ValidationError(f"the {many} undefined (NaN): {', '.join(pairs[:3])}{more}; {remedy}")


def _square(distances: Any) -> Numpy:
    array = real_array(distances)
    if array is None:
        raise ValidationError(
            f"distances must be HeadDistances or a square array [head, head], but are {type(distances).__name__}"
        )
    values = np.array(_arrays.to_numpy(array), dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not values.size:
        raise ValidationError(
            f"distances must be HeadDistances or a square array [head, head], but have shape {values.shape}"
        )
    return values


def _checked(values: Numpy) -> Numpy:
    if np.isinf(values).any() or values.min() < 0:
        worst = values.max() if np.isinf(values).any() else values.min()
        raise ValidationError(f"a distance is finite and 0 or more, but one is {worst:.4g}")
    reach = ROUNDING * values.max()
    i, j = np.unravel_index(np.argmax(np.abs(values - values.T)), values.shape)
    if abs(values[i, j] - values[j, i]) > reach:
        raise ValidationError(
            f"distances must be symmetric, but [{i}, {j}] is {values[i, j]:.4g} and [{j}, {i}] is {values[j, i]:.4g}"
        )
    diagonal = values.diagonal()
    if diagonal.max() > reach:
        i = diagonal.argmax()
        raise ValidationError(
            f"a head's distance from itself must be 0, but [{i}, {i}] is {diagonal[i]:.4g}; are these similarities?"
        )
    values = (values + values.T) / 2
    np.fill_diagonal(values, 0.0)
    return values


def _named(heads: int, shape: tuple[int, int] | None) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    if shape is None:
        return tuple(str(i + 1) for i in range(heads)), None
    try:
        layers, per_layer = (operator.index(n) for n in shape)
    except (TypeError, ValueError):
        layers = per_layer = 0
    if layers < 1 or per_layer < 1:
        raise ValidationError(f"shape must be (layers, heads in each), whole numbers from 1, but is {shape!r:.60}")
    if layers * per_layer != heads:
        raise ValidationError(f"shape={shape!r} is {layers * per_layer} heads but the distances are of {heads}")
    places = [(i // per_layer, i % per_layer) for i in range(heads)]
    return tuple(format_head(*place) for place in places), tuple(layer for layer, _ in places)


def same_heads(ours: Any, theirs: Any) -> None:
    """Refuse what is no result of the same kind, or one of different heads, where heads are paired by name.

    Raises:
        ValidationError: another kind, or the names, or their order, are not the same.
    """
    kind = type(ours).__name__
    if not isinstance(theirs, type(ours)):
        raise ValidationError(
            f"heads are paired with those of another {kind}, but this is {type(theirs).__name__}; give a {kind}"
        )
    if ours.names != theirs.names:
        raise ValidationError(
            f"heads are paired by name, but one result has {_some(ours.names)} and the other {_some(theirs.names)}; "
            "select the same heads of both first"
        )


def head_columns(names: tuple[str, ...], layers: tuple[int, ...] | None) -> list[dict[str, Any]]:
    """For each head its layer and number, counted from 1 (None where they are not known), and its name."""
    if layers is None:
        return [{"layer": None, "head": None, "name": name} for name in names]
    return [
        {"layer": layer + 1, "head": parse_head(name)[1] + 1, "name": name}
        for layer, name in zip(layers, names, strict=True)
    ]


def _some(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} ({len(names)} heads)"


class OfHeads(Result):
    """A frozen dataclass of arrays, tuples and numbers, compared and saved field by field."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, field.name, _arrays.read_only(value))
            elif isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def _state(self) -> dict[str, Any]:
        return {
            field.name: _to_json(getattr(self, field.name))
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
        }

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        kinds = {field.name: field.type for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: _from_json(value, kinds[name]) for name, value in state.items()})


def _to_json(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "shape": list(value.shape), "values": numbers_to_json(value.ravel())}
    return numbers_to_json(np.asarray(value)) if isinstance(value, float) else value


def _from_json(value: Any, kind: Any) -> Any:
    if isinstance(value, dict):
        return numbers_from_json(value["values"]).astype(value["dtype"]).reshape(value["shape"])
    return float("nan") if value is None and kind == "float" else value
