"""Distances between all heads of a model over a corpus, as a value that adds (Clark et al. 2019, section 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, cast

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Array, Numpy
from bertattn._functions import described
from bertattn.clustering._kernels import Kernel, pairs
from bertattn.clustering._options import flag, whole
from bertattn.clustering.divergence import Aggregate, check_aggregate, checked_smoothing, divergence_sums, square
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import one_of
from bertattn.heads._stream import Skipped, counted
from bertattn.results import Result, numbers_from_json, numbers_to_json
from bertattn.statistics import Moments
from bertattn.tensor import AttentionTensor, Axis, HeadName, Source, format_head, parse_head

__all__ = ["HeadDistances", "NearHead", "head_distances"]

Weighting: TypeAlias = Literal["query", "sequence"]
QueryChoice: TypeAlias = "Callable[[Axis], Array]"


@dataclass(frozen=True)
class NearHead:
    """A head and how far it is from another.

    Args:
        layer, head: counted from 0; `(layer, head)` and `name` both name the head where heads are asked for.
        distance: the mean divergence from the other head, in nats.
        standard_error: of the distance; NaN with fewer than 2 sequences.
    """

    layer: int
    head: int
    distance: float
    standard_error: float

    @property
    def name(self) -> str:
        """The paper's name, such as "8-10", counted from 1."""
        return format_head(self.layer, self.head)

    def __repr__(self) -> str:
        return f"NearHead(name={self.name!r}, distance={self.distance:.4g}, standard_error={self.standard_error:.4g})"


@dataclass(frozen=True, eq=False, repr=False)
class HeadDistances(Result):
    """How far apart the heads of a model are over a corpus: the mean divergence of every pair, as a value that adds.

    The parts of one corpus, done in other processes or at other times, are put together by `+` (or `sum`) as if they
    had been one stream. The sequence is the unit of the standard errors.

    Args:
        layers, heads: the numbers, counted from 0, of the layers and heads. The heads of all layers stand in one row,
            layer by layer: see `places` and `names`.
        table: the moments of each pair of heads, `[pair]`, in the order of `scipy.spatial.distance.squareform`. An
            observation is one sequence: its mean divergence, in nats, over the queries counted.
        weighting: "query", where a sequence weighs as much as it has such queries, or "sequence", where all weigh 1.
        smoothing: the share of each row given to the uniform distribution.
        sequences: number of sequences.
        queries: number of query rows taken from them all.
        skipped: (index, reason) of inputs that the stream left out, counted from 0 within their stream.
        truncated: (index, reason) of inputs that the stream cut.
        measure, unit: what the weights were, of tokens or words.
        source: where they came from.
        kernels: the ways of computing that ran.
        chosen_by: the function that chose the query rows: its name, and a hash of its bytecode (of this version of
            Python) and of the values it was made with; None where all were taken. Only results of one choice add.

    Raises:
        ValidationError: moments of another number of pairs than the heads make, or an unknown weighting.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    table: Moments
    weighting: Weighting = "query"
    smoothing: float = 0.0
    sequences: int = 0
    queries: int = 0
    skipped: Skipped = ()
    truncated: Skipped = ()
    measure: str = "attention"
    unit: str = "token"
    source: Source = dataclasses.field(default_factory=Source)
    kernels: tuple[str, ...] = ()
    chosen_by: str | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "kernels"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("skipped", "truncated"):
            object.__setattr__(self, name, tuple((int(i), str(reason)) for i, reason in getattr(self, name)))
        one_of("weighting", self.weighting, ("query", "sequence"))
        count = len(self) * (len(self) - 1) // 2
        if self.table.shape != (count,):
            raise ValidationError(
                f"table has shape {self.table.shape} but {len(self)} heads make {count} pairs, which are its one axis"
            )

    def __len__(self) -> int:
        """How many heads there are in all layers together."""
        return len(self.layers) * len(self.heads)

    @property
    def places(self) -> tuple[tuple[int, int], ...]:
        """(layer, head), counted from 0, of each row of the matrix."""
        return tuple((layer, head) for layer in self.layers for head in self.heads)

    @property
    def names(self) -> tuple[str, ...]:
        """The paper's name of each row of the matrix, such as "8-10", counted from 1."""
        return tuple(format_head(*place) for place in self.places)

    def matrix(self, *, aggregate: Aggregate = "mean", sqrt: bool = False) -> Numpy:
        """Distances in nats, `[head, head]`: symmetric, the diagonal exactly 0, NaN where a pair was never defined.

        Args:
            aggregate: "mean" over the corpus, or the "sum" over all its queries, as the released code has it.
            sqrt: the root of that, which is a metric.

        Raises:
            ValidationError: an unknown option, or a sum where each sequence weighs 1, which is none over queries.
        """
        sqrt = flag("sqrt", sqrt)
        values = self._scale(aggregate) * self.table.mean
        return square(np.sqrt(values) if sqrt else values, len(self))

    def standard_error(self, *, aggregate: Aggregate = "mean", sqrt: bool = False) -> Numpy:
        """Standard error of each distance, `[head, head]`; NaN with fewer than 2 sequences, 0 on the diagonal.

        That of the root is se / (2 root), the delta method, and 0 where all divergences are 0. That of the sum takes
        the number of queries as given.

        Raises:
            ValidationError: as `matrix`.
        """
        sqrt = flag("sqrt", sqrt)
        scale = self._scale(aggregate)
        errors = scale * self.table.standard_error
        if sqrt:
            root = np.sqrt(scale * self.table.mean)
            errors = errors / np.where(root > 0, 2 * root, 1.0)
        return square(errors, len(self))

    def interval(self, *, level: float = 0.95) -> tuple[Numpy, Numpy]:
        """Confidence interval of the mean distance (Student's t), (low, high), each `[head, head]`.

        Raises:
            ValidationError: a level outside (0, 1).
        """
        low, high = self.table.interval(level=level)
        return square(low, len(self)), square(high, len(self))

    def nearest(self, head: HeadName, /, k: int = 5) -> list[NearHead]:
        """The `k` heads nearest to one, the nearest first; those whose distance is undefined are never listed.

        Args:
            head: its name, "5-10" counted from 1 or (4, 9) counted from 0.
            k: how many heads.

        Raises:
            SelectionError: no such head.
            ValidationError: `k` is no whole number from 1.
        """
        k = whole("k", k, 1)
        place = parse_head(head)
        if place not in self.places:
            raise SelectionError(
                f"head {format_head(*place)} is not here; there are {self.names[0]} to {self.names[-1]}"
            )
        row = self.places.index(place)
        distances, errors = self.matrix()[row], self.standard_error()[row]
        order = [i for i in np.argsort(distances, kind="stable") if i != row and not np.isnan(distances[i])]
        return [NearHead(*self.places[int(i)], float(distances[i]), float(errors[i])) for i in order[:k]]

    def select(
        self, *, layers: int | Iterable[int] | None = None, heads: int | Iterable[int] | None = None
    ) -> HeadDistances:
        """The distances between the heads of some layers and of some numbers, counted from 0, which they keep.

        Raises:
            SelectionError: a number that is not here, that is named twice, or none at all.
        """
        kept: dict[str, Any] = {}
        for name, wanted, present in (("layers", layers, self.layers), ("heads", heads, self.heads)):
            numbers = present if wanted is None else (wanted,) if not isinstance(wanted, Iterable) else tuple(wanted)
            plain = tuple(_arrays.plain(n) for n in numbers)
            if not plain or any(type(n) is not int or n not in present for n in plain) or len(set(plain)) < len(plain):
                raise SelectionError(
                    f"{name} must be different ones of {list(present)} (counted from 0), but are {list(plain)}"
                )
            kept[name] = plain
        number = square(np.arange(self.table.shape[0]), len(self)).astype(np.int64)
        rows = np.array([self.places.index((layer, head)) for layer in kept["layers"] for head in kept["heads"]])
        first, second = pairs(len(rows))
        return dataclasses.replace(self, table=self.table[number[rows[first], rows[second]]], **kept)

    def __add__(self, other: object) -> HeadDistances:
        """The two as one stream, up to rounding. The indices in `skipped` and `truncated` stay those of each stream."""
        if not isinstance(other, HeadDistances):
            return NotImplemented
        for name in ("layers", "heads", "weighting", "smoothing", "measure", "unit", "chosen_by"):
            _check_same(name, getattr(self, name), getattr(other, name))
        for name in ("model", "revision", "dtype", "attention", "steps"):
            _check_same(name, getattr(self.source, name), getattr(other.source, name))
        same_spacing = self.source.spacing == other.source.spacing
        return dataclasses.replace(
            self,
            table=self.table + other.table,
            sequences=self.sequences + other.sequences,
            queries=self.queries + other.queries,
            skipped=tuple(sorted(self.skipped + other.skipped)),
            truncated=tuple(sorted(self.truncated + other.truncated)),
            source=self.source if same_spacing else dataclasses.replace(self.source, spacing=None),
            kernels=tuple(sorted({*self.kernels, *other.kernels})),
        )

    def __radd__(self, other: object) -> HeadDistances:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, HeadDistances) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        left_out = f", {len(self.skipped)} skipped" if self.skipped else ""
        chosen = f", chosen_by={self.chosen_by!r}" if self.chosen_by else ""
        return (
            f"HeadDistances({len(self.layers)} layers x {len(self.heads)} heads over {self.sequences} sequences"
            f"{left_out}, weighting={self.weighting!r}{chosen})"
        )

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each pair of heads, in the order of `table`; layers and heads are counted from 1.

        `low` and `high` bound the 95 % confidence interval; `count` and `missing` are sequences.
        """
        table = self.table
        low, high = table.interval()
        columns = {"mean": table.mean, "standard_error": table.standard_error, "low": low, "high": high}
        lists = {name: values.tolist() for name, values in columns.items()}
        counts = {name: getattr(table, name).astype(np.int64).tolist() for name in ("count", "missing")}
        heads = [
            {"layer": layer + 1, "head": head + 1, "name": format_head(layer, head)} for layer, head in self.places
        ]
        one, other = ([{f"{key}_{side}": value for key, value in head.items()} for head in heads] for side in "ab")
        return [
            one[first] | other[second] | {name: values[pair] for name, values in (lists | counts).items()}
            for pair, (first, second) in enumerate(zip(*pairs(len(self)), strict=True))
        ]

    def _scale(self, aggregate: Aggregate) -> Any:
        """What turns the means into the aggregate."""
        check_aggregate(aggregate)
        if aggregate == "mean":
            return 1.0
        if self.weighting == "sequence":
            raise ValidationError(
                "aggregate='sum' adds up all queries, but with weighting='sequence' only the means of the sequences "
                "were kept; compute the distances with weighting='query'"
            )
        return self.table.weight

    def _state(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields = dataclasses.fields(Moments)
        state["table"] = {field.name: numbers_to_json(getattr(self.table, field.name)) for field in fields}
        state["source"] = dataclasses.asdict(self.source)
        return state

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        table = Moments(**{name: numbers_from_json(values) for name, values in state["table"].items()})
        return cls(**(state | {"table": table, "source": Source(**state["source"])}))


def head_distances(
    stream: Iterable[AttentionTensor],
    /,
    *,
    queries: QueryChoice | None = None,
    smoothing: float = 0.0,
    weighting: Weighting = "query",
    kernel: Kernel | None = None,
    progress: bool = False,
) -> HeadDistances:
    """Jensen-Shannon divergence between all heads over a corpus, in one pass (Clark et al. 2019, section 6).

        d[h, h'] = mean over sequences and queries i of JS(a_h[i], a_h'[i])

    Args:
        stream: the sequences, such as `ext.extract(texts)` or a list.
        queries: which query rows count: a function of the query axis that gives bool[query], such as
            `lambda axis: ~axis.special`. None means all, as in the paper. Results of different choices do not add.
        smoothing: the share of each row given to the uniform distribution. The released code has 0.001; the exact
            divergence, 0, is the default.
        weighting: "query" pools over query rows, as the paper does; "sequence" averages the means of the sequences.
        kernel: how to compute: see `pairwise_js`.
        progress: show a bar on standard error.

    Returns:
        A `HeadDistances`. A pair counts the queries at which both heads are defined; a sequence without one is missing
        there.

    An exception on the way, Ctrl-C among them, has the distances of what was done so far as its attribute `partial`;
    `partial.sequences + len(partial.skipped)` inputs were read, and what the rest gives can be added.

    Raises:
        ValidationError: an empty stream, maps that do not belong together, an unknown option, smoothing outside [0, 1],
            a choice of queries that does not fit their axis.
        MeasureError: rows that are no distributions.
        MissingExtraError: a kernel that is not installed.

    Examples:
        >>> sequences = [AttentionTensor([[np.eye(n), np.full((n, n), 1 / n)]], ["a"] * n) for n in (2, 4)]
        >>> distances = head_distances(sequences)
        >>> distances.matrix().round(4)
        array([[0.    , 0.3255],
               [0.3255, 0.    ]])
        >>> distances.nearest("1-1")
        [NearHead(name='1-2', distance=0.3255, standard_error=0.07317)]
    """
    smoothing = checked_smoothing(smoothing)
    one_of("weighting", weighting, ("query", "sequence"))
    if queries is not None and not callable(queries):
        raise ValidationError(
            "queries must be a function of the query axis, as sequences differ in length, such as "
            f"lambda axis: ~axis.special, but is {type(queries).__name__}"
        )
    counter = _Counter(stream, queries, smoothing, weighting, kernel)
    return counted(stream, counter, caller="head_distances", noun="sequence", on_error="raise", progress=progress)


class _Counter:
    """The distances found so far."""

    def __init__(
        self,
        stream: object,
        queries: QueryChoice | None,
        smoothing: float,
        weighting: Weighting,
        kernel: Kernel | None,
    ) -> None:
        self.stream = stream
        self.queries = queries
        self.chosen_by = None if queries is None else described(queries)
        self.smoothing = smoothing
        self.weighting: Weighting = weighting
        self.kernel = kernel
        self.total: HeadDistances | int = 0

    def add(self, attention: AttentionTensor, index: int) -> None:
        try:
            self.total = self.total + self._of_one(attention)
        except Exception as error:
            error.add_note(f"at item {index} of the stream")
            raise

    def result(self, first: AttentionTensor, skipped: Skipped) -> HeadDistances:  # noqa: ARG002 - the protocol has it
        total = cast(HeadDistances, self.total)
        read = total.sequences
        for index, _ in skipped:  # a stream may have looked ahead and skipped inputs further on
            read += index <= read
        truncated = ((record.index, record.reason) for record in getattr(self.stream, "truncated", ()))
        return dataclasses.replace(
            total,
            skipped=tuple(record for record in skipped if record[0] < read),
            truncated=tuple(sorted(record for record in truncated if record[0] < read)),
        )

    def _of_one(self, attention: AttentionTensor) -> HeadDistances:
        mask = None if self.queries is None else _arrays.to_numpy(self.queries(attention.queries))
        sums, counts, used = divergence_sums(
            attention, queries=mask, smoothing=self.smoothing, kernel=self.kernel, caller="head_distances"
        )
        means = np.where(counts > 0, sums, np.nan) / np.maximum(counts, 1)
        return HeadDistances(
            layers=attention.layers,
            heads=attention.heads,
            table=Moments.of(means, counts if self.weighting == "query" else None),
            weighting=self.weighting,
            smoothing=self.smoothing,
            sequences=1,
            queries=len(attention.queries) if mask is None else int(mask.sum()),
            measure=attention.measure,
            unit=attention.unit,
            source=attention.source or Source(),
            kernels=(used,),
            chosen_by=self.chosen_by,
        )


def _check_same(name: str, a: object, b: object) -> None:
    if a != b:
        raise ValidationError(f"these do not belong together: {name} is {a!r} in one and {b!r} in the other")
