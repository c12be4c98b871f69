"""Which heads are right about which words or mentions, a bit each, and the picking of the best: what scores share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np

from bertattn._arrays import Numpy
from bertattn.errors import SelectionError, ValidationError
from bertattn.results import Result
from bertattn.tensor import HeadName, Source, format_head, parse_head

__all__: list[str] = []

By: TypeAlias = Literal["document", "sentence"]

# Of the bootstrap in which the selection is repeated.
STABILITY_RESAMPLES = 200


class HeadScores(Result):
    """For each item (a word, a mention) one bit for each cell: direction, layer and head.

    An item belongs to a unit, which is drawn as a whole when items are resampled: a sentence, a document. A label (a
    relation, a type of mention) names some of the items, "all" all of them.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    directions: tuple[Any, ...]
    source: Source
    # The fields that must agree where scores are added, or heads picked on one are scored on another.
    _options: ClassVar[tuple[str, ...]]
    # What may be dealt out, the largest first.
    _dealt: ClassVar[tuple[By, ...]] = ("document", "sentence")

    @property
    def shape(self) -> tuple[int, int, int]:
        """How many directions, layers and heads."""
        return len(self.directions), len(self.layers), len(self.heads)

    @property
    def _cells(self) -> int:
        return int(np.prod(self.shape))

    def _packed(self) -> Numpy:
        """uint8 `[item, byte]`, the first cell in the highest bit."""
        raise NotImplementedError

    def _items(self, label: str) -> Numpy:
        """The numbers of the items with a label."""
        raise NotImplementedError

    def _unit_of_items(self) -> Numpy:
        """int `[item]`, never falling."""
        raise NotImplementedError

    def _unit_count(self) -> int:
        raise NotImplementedError

    def _groups(self, by: By) -> Numpy:
        """int `[unit]`: the number, from 0, of what is not torn apart when units are dealt out."""
        raise NotImplementedError

    def select(self, units: Any, /) -> Self:
        """The scores of some units, by number or boolean mask."""
        raise NotImplementedError

    def _correct(self, label: str) -> Numpy:
        """int `[direction, layer, head]`: how many items with a label are found."""
        found = np.zeros(self._cells, dtype=np.int64)
        for block in _blocks(self._items(label)):
            found += self._bits(block).sum(0, dtype=np.int64)
        return found.reshape(self.shape)

    def _accuracy(self, label: str, direction: Any) -> Numpy:
        """`[direction, layer, head]`, or `[layer, head]` of one direction: the share found; NaN of no items."""
        values: Numpy = self._correct(label) / (len(self._items(label)) or np.nan)
        if direction is None:
            return values
        if direction not in self.directions:
            raise SelectionError(f"direction {direction!r} was not scored; there are {', '.join(self.directions)}")
        one: Numpy = values[self.directions.index(direction)]
        return one

    def _by_unit(self, label: str) -> tuple[Numpy, Numpy]:
        """What resampling needs: int `[unit, cell]` found and int `[unit]` items."""
        items, unit = self._items(label), self._unit_of_items()
        counts = np.bincount(unit[items], minlength=self._unit_count())
        found = np.zeros((self._unit_count(), self._cells), dtype=np.int32)
        for block in _blocks(items):
            starts = np.flatnonzero(np.diff(unit[block], prepend=-1))
            found[unit[block[starts]]] += np.add.reduceat(self._bits(block), starts, axis=0, dtype=np.int32)
        return found, counts

    def _bits(self, items: Numpy) -> Numpy:
        """uint8 `[item, cell]`."""
        return np.unpackbits(self._packed()[items], axis=1, count=self._cells)

    def _cell(self, head: HeadName, direction: str) -> int:
        layer, number = parse_head(head)
        if layer not in self.layers or number not in self.heads or direction not in self.directions:
            raise SelectionError(
                f"head {format_head(layer, number)} with direction {direction!r} was not scored; there are layers "
                f"{_range(self.layers)}, heads {_range(self.heads)} and directions {', '.join(self.directions)}"
            )
        index = (self.directions.index(direction), self.layers.index(layer), self.heads.index(number))
        return int(np.ravel_multi_index(index, self.shape))

    def _named(self, cell: int) -> tuple[str, Any]:
        """Name of the head, and direction."""
        direction, layer, head = (int(i) for i in np.unravel_index(cell, self.shape))
        return format_head(self.layers[layer], self.heads[head]), self.directions[direction]

    def _allowed(self, directions: Sequence[Any] | None) -> Numpy:
        """bool `[cell]`: the cells of these directions."""
        if directions is not None and (isinstance(directions, str) or not directions):
            raise ValidationError(f"directions must be a sequence of names, at least one, but is {directions!r}")
        allowed = np.zeros(self.shape, dtype=bool)
        for direction in self.directions if directions is None else directions:
            if direction not in self.directions:
                raise SelectionError(f"direction {direction!r} was not scored; there are {', '.join(self.directions)}")
            allowed[self.directions.index(direction)] = True
        return allowed.ravel()

    def _pick(self, label: str, allowed: Numpy) -> int:
        """The cell with most items found; of equal ones the first."""
        return int(np.where(allowed, self._correct(label).ravel(), -1).argmax())

    def _stability(self, label: str, allowed: Numpy, cell: int, seed: int) -> float:
        """In what share of bootstrap replicates of the units the same cell wins."""
        found, counts = self._by_unit(label)
        some = counts > 0
        flat = found[some][:, allowed].astype(np.float32)
        units = int(some.sum())
        draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=STABILITY_RESAMPLES)
        winners = np.flatnonzero(allowed)[(draws.astype(np.float32) @ flat).argmax(1)]
        return float((winners == cell).mean())

    def _same_as(self, other: Self) -> bool:
        """Whether these are the same items with the same bits."""
        raise NotImplementedError

    def _differences(self, other: Self) -> Iterator[tuple[str, Any, Any]]:
        """Name and both values of what keeps the two from being put together; of "model" the sources' names."""
        for name in ("layers", "heads", "directions", *self._options):
            if getattr(self, name) != getattr(other, name):
                yield name, getattr(self, name), getattr(other, name)
        if self.source.model != other.source.model:
            yield "model", self.source.model, other.source.model

    def _rows_of(self, label: str, counted: str) -> Iterator[dict[str, Any]]:
        """A row for each direction, layer and head; layers and heads are counted from 1."""
        count, correct = len(self._items(label)), self._correct(label)
        for cell, found in enumerate(correct.ravel().tolist()):
            direction, layer, head = (int(i) for i in np.unravel_index(cell, self.shape))
            yield {
                counted: label,
                "direction": self.directions[direction],
                "layer": self.layers[layer] + 1,
                "head": self.heads[head] + 1,
                "name": format_head(self.layers[layer], self.heads[head]),
                "count": count,
                "correct": found,
                "accuracy": found / count if count else float("nan"),
            }


def folds_of(scores: HeadScores, folds: int, *, by: By, seed: int) -> Numpy:
    """For each unit its fold; groups of units are dealt out in random order."""
    groups = scores._groups(by)
    count = int(groups.max(initial=-1)) + 1
    if type(folds) is not int or not 2 <= folds <= count:
        more = "; pass by='sentence'" if by == "document" and "sentence" in scores._dealt and folds > 2 else ""
        raise ValidationError(f"folds must be from 2 to the number of {by}s, {count}, but is {folds!r}{more}")
    place = np.random.default_rng(seed).permutation(count)
    return np.asarray(place[groups] % folds)


def _blocks(items: Numpy) -> Iterator[Numpy]:
    """A part at a time: bits take eight times their bytes."""
    for start in range(0, len(items), 8192):
        yield items[start : start + 8192]


def _range(numbers: tuple[int, ...]) -> str:
    """Numbers counted from 0 as people count them."""
    return f"{numbers[0] + 1} to {numbers[-1] + 1}" if len(numbers) > 1 else str(numbers[0] + 1)
