"""Corpus statistics that add: the mean of a metric over sequences, with its standard error, in one pass.

A sequence is the unit: the words in it depend on each other, so errors come from the differences between sequences
(one sequence, one observation), whatever the weighting.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, TypeVar

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn._inference import (
    BootstrapInterval,
    MaxStatisticTest,
    SignFlipTest,
    adjust_pvalues,
    bootstrap_ci,
    max_statistic_test,
    paired_permutation_test,
)
from bertattn.errors import SelectionError, ValidationError
from bertattn.results import Result, numbers_from_json, numbers_to_json
from bertattn.tensor import AttentionTensor, Source, format_head

__all__ = [
    "BootstrapInterval",
    "HeadMean",
    "MaxStatisticTest",
    "Moments",
    "SignFlipTest",
    "Summary",
    "adjust_pvalues",
    "bootstrap_ci",
    "max_statistic_test",
    "paired_permutation_test",
    "summarize",
]

Weighting: TypeAlias = Literal["sequence", "query"]
Metric: TypeAlias = Callable[[AttentionTensor], Any]
T = TypeVar("T")


def _zero() -> Numpy:
    return np.zeros(())


def _undefined() -> Numpy:
    return np.full((), np.nan)


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and variance of every cell of an array over observations, as a value that adds.

    `Moments()` is the identity, of any shape; `+` is associative and commutative up to rounding, and `sum` works. Each
    cell counts its own observations: NaN ones are counted as missing and enter nothing else. Merging is stable where
    the mean is large beside the variance (Chan, Golub and LeVeque 1983).

    Args:
        count: number of observations of the cell, k.
        missing: number of observations that were NaN, or had weight 0.
        weight: sum w.
        mean: sum w x / sum w; NaN where nothing was counted.
        second: sum w (x - mean)^2.
        squared_weight: sum w^2.
        squared_first: sum w^2 (x - mean).
        squared_second: sum w^2 (x - mean)^2.

    Examples:
        >>> total = sum((Moments.of(x) for x in (1.0, 2.0, float("nan"), 6.0)), Moments())
        >>> float(total.mean), float(total.count), float(total.missing)
        (3.0, 3.0, 1.0)
    """

    count: Numpy = dataclasses.field(default_factory=_zero)
    missing: Numpy = dataclasses.field(default_factory=_zero)
    weight: Numpy = dataclasses.field(default_factory=_zero)
    mean: Numpy = dataclasses.field(default_factory=_undefined)
    second: Numpy = dataclasses.field(default_factory=_zero)
    squared_weight: Numpy = dataclasses.field(default_factory=_zero)
    squared_first: Numpy = dataclasses.field(default_factory=_zero)
    squared_second: Numpy = dataclasses.field(default_factory=_zero)

    def __post_init__(self) -> None:
        for name in _FIELDS:
            values = np.asarray(getattr(self, name), dtype=np.float64).view()
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        shapes = {name: getattr(self, name).shape for name in _FIELDS}
        if len(set(shapes.values())) > 1:
            raise ValidationError(f"the parts of Moments must have one shape, but have {shapes}")

    @classmethod
    def of(cls, values: Any, weights: Any = None) -> Self:
        """One observation of each cell.

        Args:
            values: an array of any kind, or a number; NaN is counted as missing.
            weights: how much each cell of this observation counts, 0 or more; None means 1.

        Raises:
            ValidationError: an infinite value, a negative weight, or weights of another shape.
        """
        x = np.asarray(_arrays.to_numpy(values), dtype=np.float64)
        w = np.ones(x.shape) if weights is None else np.asarray(_arrays.to_numpy(weights), dtype=np.float64)
        if w.shape != x.shape:
            raise ValidationError(f"weights have shape {w.shape} but values have {x.shape}; give one weight a value")
        if np.isinf(x).any():
            raise ValidationError("an observation must be finite, or NaN where it is undefined, but one is infinite")
        if not (w >= 0).all() or np.isinf(w).any():
            raise ValidationError(
                f"weights must be finite and 0 or more, but range from {w.min():.4g} to {w.max():.4g}"
            )
        counted = ~np.isnan(x) & (w > 0)
        w = np.where(counted, w, 0.0)
        zero = np.zeros(x.shape)
        return cls(
            count=counted.astype(np.float64),
            missing=(~counted).astype(np.float64),
            weight=w,
            mean=np.where(counted, x, np.nan),
            second=zero,
            squared_weight=w * w,
            squared_first=zero,
            squared_second=zero,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of cells; () for the identity."""
        return tuple(self.count.shape)

    @property
    def variance(self) -> Numpy:
        """Variance between observations, k/(k-1) sum w (x - mean)^2 / sum w; NaN where fewer than 2 were counted.

        With equal weights this is the sample variance.
        """
        return self.second / np.where(self.count > 1, self.weight * (self.count - 1) / self._at_least_one, np.nan)

    @property
    def standard_error(self) -> Numpy:
        """Standard error of the mean; NaN where fewer than 2 observations were counted.

        se^2 = k/(k-1) sum w^2 (x - mean)^2 / (sum w)^2, the linearised error of a ratio of sums; with equal weights it
        is the sample variance over k.
        """
        k = np.where(self.count > 1, self.count, np.nan)
        weight = np.where(self.weight > 0, self.weight, np.nan)
        return np.asarray(np.sqrt(k / (k - 1) * np.maximum(self.squared_second, 0.0)) / weight)

    def interval(self, *, level: float = 0.95) -> tuple[Numpy, Numpy]:
        """Confidence interval of the mean, (low, high): mean -/+ t se, Student's t with k - 1 degrees of freedom.

        Raises:
            ValidationError: a level outside (0, 1).
        """
        if not isinstance(level, int | float | np.floating) or not 0 < level < 1:
            raise ValidationError(f"level is a probability between 0 and 1, such as 0.95, but is {level!r}")
        from scipy.special import stdtrit

        reach = stdtrit(np.where(self.count > 1, self.count - 1, np.nan), (1 + level) / 2) * self.standard_error
        return self.mean - reach, self.mean + reach

    @property
    def _at_least_one(self) -> Numpy:
        return np.maximum(self.count, 1.0)

    @property
    def _is_identity(self) -> bool:
        return self.shape == () and float(self.count) == 0 and float(self.missing) == 0

    def __add__(self, other: object) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        if self._is_identity:
            return other
        if other._is_identity:
            return self
        if self.shape != other.shape:
            raise ValidationError(f"moments of shapes {self.shape} and {other.shape} do not belong together")
        weight = self.weight + other.weight
        share = other.weight / np.where(weight > 0, weight, 1.0)
        a, b = (np.where(m.weight > 0, m.mean, 0.0) for m in (self, other))
        mean = a + (b - a) * share
        squares = [np.zeros(()), np.zeros(())]
        for part, shift in ((self, a - mean), (other, b - mean)):
            squares[0] = squares[0] + part.squared_first + shift * part.squared_weight
            squares[1] = (
                squares[1] + part.squared_second + 2 * shift * part.squared_first + shift**2 * part.squared_weight
            )
        return Moments(
            count=self.count + other.count,
            missing=self.missing + other.missing,
            weight=weight,
            mean=np.where(weight > 0, mean, np.nan),
            second=self.second + other.second + (b - a) ** 2 * self.weight * share,
            squared_weight=self.squared_weight + other.squared_weight,
            squared_first=squares[0],
            squared_second=squares[1],
        )

    def __radd__(self, other: object) -> Moments:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __getitem__(self, index: Any) -> Moments:
        """The moments of some cells, as an array is indexed."""
        return Moments(**{name: getattr(self, name)[index] for name in _FIELDS})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Moments):
            return NotImplemented
        return all(np.array_equal(getattr(self, n), getattr(other, n), equal_nan=True) for n in _FIELDS)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Moments(shape={self.shape}, observations up to {int(self.count.max(initial=0))})"


_FIELDS = tuple(field.name for field in dataclasses.fields(Moments))


@dataclass(frozen=True)
class HeadMean:
    """The mean of a statistic for one head, with its standard error.

    Args:
        layer, head: counted from 0; `(layer, head)` and `name` both name the head where heads are asked for.
        mean: over the corpus.
        standard_error: of the mean; NaN with fewer than 2 sequences.
    """

    layer: int
    head: int
    mean: float
    standard_error: float

    @property
    def name(self) -> str:
        """The paper's name, such as "8-10", counted from 1."""
        return format_head(self.layer, self.head)

    def __repr__(self) -> str:
        return f"HeadMean(name={self.name!r}, mean={self.mean:.4g}, standard_error={self.standard_error:.4g})"


@dataclass(frozen=True, eq=False, repr=False)
class Summary(Result):
    """Statistics of every head over a corpus, as a value that adds.

    The parts of one corpus, summarized in other processes or at other times, are put together by `+` (or `sum`) as if
    they had been one stream.

    Args:
        layers, heads: the numbers, counted from 0, of the layers and heads.
        statistics: the names of the statistics.
        table: the moments of each, `[statistic, layer, head]`.
        weighting: "sequence" or "query".
        sequences: number of sequences.
        queries: number of query rows in them all.
        empty_rows: int `[layer, head]`, how many of those rows had no mass and so do not count.
        skipped: (index, reason) of inputs that the stream left out, counted from 0 within their stream.
        truncated: (index, reason) of inputs that the stream cut.
        measure, unit: what the weights were, of tokens or words.
        source: where they came from.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    statistics: tuple[str, ...]
    table: Moments
    weighting: Weighting = "sequence"
    sequences: int = 0
    queries: int = 0
    empty_rows: Numpy = dataclasses.field(default_factory=_zero)
    skipped: tuple[tuple[int, str], ...] = ()
    truncated: tuple[tuple[int, str], ...] = ()
    measure: str = "attention"
    unit: str = "token"
    source: Source = dataclasses.field(default_factory=Source)

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "statistics"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("skipped", "truncated"):
            object.__setattr__(self, name, tuple((int(i), str(reason)) for i, reason in getattr(self, name)))
        shape = (len(self.statistics), len(self.layers), len(self.heads))
        if self.table.shape != shape:
            raise ValidationError(f"table has shape {self.table.shape} but [statistic, layer, head] is {shape}")
        rows = np.broadcast_to(np.asarray(self.empty_rows, dtype=np.int64), shape[1:])
        object.__setattr__(self, "empty_rows", _arrays.read_only(rows))

    @property
    def moments(self) -> dict[str, Moments]:
        """The moments `[layer, head]` of each statistic."""
        return {name: self.table[i] for i, name in enumerate(self.statistics)}

    def __getitem__(self, statistic: str) -> Moments:
        """The moments `[layer, head]` of one statistic.

        Raises:
            SelectionError: no such statistic.
        """
        if statistic not in self.statistics:
            raise SelectionError(f"there is no statistic {statistic!r}; there are {', '.join(self.statistics)}")
        return self.table[self.statistics.index(statistic)]

    def mean(self, statistic: str) -> Numpy:
        """Mean over the corpus, `[layer, head]`; NaN where it was never defined.

        Raises:
            SelectionError: no such statistic.
        """
        return self[statistic].mean

    def standard_error(self, statistic: str) -> Numpy:
        """Standard error of the mean, `[layer, head]`; NaN with fewer than 2 sequences.

        Raises:
            SelectionError: no such statistic.
        """
        return self[statistic].standard_error

    def interval(self, statistic: str, *, level: float = 0.95) -> tuple[Numpy, Numpy]:
        """Confidence interval of the mean (Student's t), (low, high), each `[layer, head]`.

        Raises:
            SelectionError: no such statistic.
            ValidationError: a level outside (0, 1).
        """
        return self[statistic].interval(level=level)

    def top(self, statistic: str, /, k: int = 3, *, largest: bool = True) -> list[HeadMean]:
        """The `k` heads with the largest mean of a statistic, the largest first.

        The means are those of the corpus on which the heads were picked, and a head that comes out on top partly does
        so by chance: on new text its mean will rather be less extreme. To report how strong such heads are, take them
        from one corpus and their means from another. Equal means stand in the order of layers and heads; a head whose
        mean is undefined (NaN) is never listed, so there may be fewer than `k`.

        Args:
            statistic: its name.
            k: how many heads.
            largest: False gives the heads with the smallest means, the smallest first.

        Raises:
            SelectionError: no such statistic.
            ValidationError: `k` is no number from 1.

        Examples:
            >>> from bertattn.patterns import max_weight
            >>> a = AttentionTensor([[np.eye(2), np.full((2, 2), 0.5)]], ["a", "b"])
            >>> summarize([a, a], max_weight).top("max_weight", 1)
            [HeadMean(name='1-1', mean=1, standard_error=0)]
        """
        if type(k) is not int or k < 1:
            raise ValidationError(f"k is how many heads to list, a whole number from 1, but is {k!r}")
        moments = self[statistic]
        defined = [
            HeadMean(layer, head, float(mean), float(error))
            for layer, means, errors in zip(self.layers, moments.mean, moments.standard_error, strict=True)
            for head, mean, error in zip(self.heads, means, errors, strict=True)
            if not np.isnan(mean)
        ]
        return sorted(defined, key=lambda h: (-h.mean if largest else h.mean, h.layer, h.head))[:k]

    def __add__(self, other: object) -> Summary:
        """The two as one stream, up to rounding. The indices in `skipped` and `truncated` stay those of each stream."""
        if not isinstance(other, Summary):
            return NotImplemented
        _check_alike(self, other)
        same_spacing = self.source.spacing == other.source.spacing
        return dataclasses.replace(
            self,
            table=self.table + other.table,
            sequences=self.sequences + other.sequences,
            queries=self.queries + other.queries,
            empty_rows=self.empty_rows + other.empty_rows,
            skipped=tuple(sorted(self.skipped + other.skipped)),
            truncated=tuple(sorted(self.truncated + other.truncated)),
            source=self.source if same_spacing else dataclasses.replace(self.source, spacing=None),
        )

    def __radd__(self, other: object) -> Summary:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, Summary) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        left_out = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"Summary({len(self.statistics)} statistics of {len(self.layers)} layers x {len(self.heads)} heads over "
            f"{self.sequences} sequences{left_out}, weighting={self.weighting!r})"
        )

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each statistic, layer and head; layers and heads are counted from 1, as in their name "8-10".

        `low` and `high` bound the 95 % confidence interval; `count` and `missing` are sequences.
        """
        table = self.table
        low, high = table.interval()
        columns = {"mean": table.mean, "standard_error": table.standard_error, "low": low, "high": high}
        return [
            {
                "statistic": statistic,
                "layer": layer + 1,
                "head": head + 1,
                "name": format_head(layer, head),
                **{name: float(values[s, i, j]) for name, values in columns.items()},
                "count": int(table.count[s, i, j]),
                "missing": int(table.missing[s, i, j]),
            }
            for s, statistic in enumerate(self.statistics)
            for i, layer in enumerate(self.layers)
            for j, head in enumerate(self.heads)
        ]

    def _state(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        state["table"] = {name: numbers_to_json(getattr(self.table, name)) for name in _FIELDS}
        state["empty_rows"] = numbers_to_json(self.empty_rows)
        state["source"] = dataclasses.asdict(self.source)
        return state

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        table = Moments(**{name: numbers_from_json(values) for name, values in state["table"].items()})
        return cls(**(state | {"table": table, "source": Source(**state["source"])}))


def summarize(
    stream: Iterable[AttentionTensor],
    /,
    *functions: Metric | Mapping[str, Metric],
    weighting: Weighting = "sequence",
    progress: bool = False,
) -> Summary:
    """Mean and standard error of metrics over a corpus, in one pass that holds one sequence at a time.

    Args:
        stream: the sequences, such as `ext.extract(texts)` or a list. To change each on the way use
            `stream.map(function)`, which keeps the records of skipped inputs that a generator would lose.
        functions: each takes an `AttentionTensor` and gives `[layer, head]`, or a dict of such. A statistic has its
            function's name (`functools.partial` is looked through), or its key in the dict; in a mapping
            `{name: function}` it has the name given there (`name.key` for a dict's).
        weighting: "sequence" averages the values of the sequences, as Clark et al. (2019) do; "query" pools over query
            rows, so that long sequences weigh more. The second needs functions with `.rows`: see
            `patterns.mean_over_queries`.
        progress: show a bar on standard error; of an extractor's stream use this one or its own, as two overwrite each
            other.

    Returns:
        A `Summary`. Values that are NaN are counted as missing, not averaged.

    An exception on the way, Ctrl-C among them, has the summary of what was done so far as its attribute `partial`, and
    says at which input (or item, of an iterable without `.skipped`) to resume: `error.partial + summarize(rest, ...)`.

    Raises:
        ValidationError: an empty stream, no functions or two of one name, a result of another shape or an infinite one,
            sequences that do not belong together.

    Examples:
        >>> from bertattn.patterns import entropy
        >>> sequences = [AttentionTensor(np.full((1, 1, n, n), 1 / n), ["a"] * n) for n in (2, 4)]
        >>> summarize(sequences, entropy).mean("entropy").round(4)
        array([[1.0397]])
        >>> summarize(sequences, entropy, weighting="query").mean("entropy").round(4)
        array([[1.1552]])
    """
    if isinstance(stream, AttentionTensor):
        raise ValidationError("stream is one AttentionTensor; call the function on it, or give a list: [attention]")
    if not isinstance(stream, Iterable):
        raise ValidationError(f"stream must be an iterable of AttentionTensor, but is {type(stream).__name__}")
    if weighting not in ("sequence", "query"):
        raise ValidationError(f"weighting must be 'sequence' or 'query', but is {weighting!r}")
    metrics = _named(functions)
    if weighting == "query":
        metrics = [(name, given, _rows_of(name, function)) for name, given, function in metrics]

    def one(attention: object, index: int) -> Summary:
        if not isinstance(attention, AttentionTensor):
            raise ValidationError(
                f"item {index} of the stream is a {type(attention).__name__}, not an AttentionTensor; "
                "for texts give ext.extract(texts)"
            )
        return _of_one(attention, metrics, weighting)

    return accumulated(stream, one, progress=progress, caller="summarize")


def accumulated(stream: Iterable[T], one: Callable[[T, int], Summary], *, progress: bool, caller: str) -> Summary:
    """The sum of what `one` makes of each item of a stream and its number, and what the stream says it left out.

    Raises:
        ValidationError: an empty stream, or items that do not belong together.
    """
    from tqdm import tqdm

    total: Summary | None = None
    try:
        with tqdm(
            total=operator.length_hint(stream) or None, disable=not progress, unit="sequence", desc=caller
        ) as bar:
            for index, item in enumerate(stream):
                total = _extended(total, item, one, index)
                bar.update()
    except BaseException as error:
        if total is not None:
            read = _inputs_read(total.sequences, stream)
            error.partial = _with_records(total, stream, before=read)  # type: ignore[attr-defined]
            rest = f"inputs from number {read} on"
            if not hasattr(stream, "skipped"):  # behind a generator nobody can tell which inputs gave these items
                rest = f"items of this iterable from number {read} on (inputs that it skipped are no items)"
            error.add_note(
                f"the {total.sequences} sequences summarized so far are in this exception's .partial; "
                f"to resume, summarize the {rest}, counted from 0, and add"
            )
        raise
    if total is None:
        skipped = len(getattr(stream, "skipped", ()))
        raise ValidationError(
            f"the stream gave no sequences{f': all {skipped} inputs were skipped' if skipped else ''}; "
            "was it read to its end before? An iterator can be read once"
        )
    return _with_records(total, stream)


def _records(stream: object, name: str) -> tuple[tuple[int, str], ...]:
    return tuple(sorted((record.index, record.reason) for record in getattr(stream, name, ())))


def _with_records(summary: Summary, stream: object, *, before: int | None = None) -> Summary:
    """The summary with what the stream says it left out of its first `before` inputs."""
    kept = {
        name: tuple(r for r in _records(stream, name) if before is None or r[0] < before)
        for name in ("skipped", "truncated")
    }
    return dataclasses.replace(summary, skipped=kept["skipped"], truncated=kept["truncated"])


def _inputs_read(sequences: int, stream: object) -> int:
    """How many inputs gave these sequences. A stream may have looked ahead and skipped inputs further on."""
    read = sequences
    for index, _ in _records(stream, "skipped"):
        if index <= read:
            read += 1
    return read


def _named(functions: tuple[Metric | Mapping[str, Metric], ...]) -> list[tuple[str, bool, Metric]]:
    """(name, whether the caller gave it, function) for each."""
    named: list[tuple[str, bool, Metric]] = []
    for entry in functions:
        if isinstance(entry, Mapping):
            named += [(str(name), True, function) for name, function in entry.items()]
        else:
            if isinstance(entry, list | tuple | set | frozenset):
                raise ValidationError(
                    f"the functions came as one {type(entry).__name__}; pass them one by one: "
                    "summarize(stream, first, second)"
                )
            named.append((_name_of(entry), False, entry))
    if not named:
        raise ValidationError("give at least one function, such as bertattn.patterns.surface_patterns")
    for name, _, function in named:
        if not callable(function):
            raise ValidationError(f"{name} must be a function of an AttentionTensor, but is {type(function).__name__}")
    _check_names([name for name, _, _ in named])
    return named


def _name_of(function: object) -> str:
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__name__", None)
    if name is None or name == "<lambda>":
        what = "a lambda" if name else f"a {type(inner).__name__}"
        raise ValidationError(f"{what} has no name to call its statistic by; give one: {{'name': function}}")
    return str(name)


def _check_names(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValidationError(
                f"two statistics are called {name!r}; name the functions: {{'first': function, 'second': function}}"
            )


def _rows_of(name: str, function: Metric) -> Metric:
    """The kernel of one value a query, through any `functools.partial` around it."""
    if isinstance(function, functools.partial):
        return functools.partial(_rows_of(name, function.func), *function.args, **function.keywords)
    rows = getattr(function, "rows", None)
    if not callable(rows):
        raise ValidationError(
            f"weighting='query' pools over query rows, but {name} only gives one value a sequence; decorate a function "
            "of rows with bertattn.patterns.mean_over_queries, or use weighting='sequence'"
        )
    return rows  # type: ignore[no-any-return]


def _extended(total: Summary | None, item: T, one: Callable[[T, int], Summary], index: int) -> Summary:
    """`total` with item `index` of the stream added to it."""
    try:
        found = one(item, index)
        return found if total is None else total + found
    except Exception as error:
        error.add_note(f"at item {index} of the stream")
        raise


def _of_one(attention: AttentionTensor, metrics: list[tuple[str, bool, Metric]], weighting: Weighting) -> Summary:
    results: list[tuple[str, Any]] = []
    for name, given, function in metrics:
        result = function(attention)
        if isinstance(result, Mapping):
            results += [(f"{name}.{key}" if given else str(key), value) for key, value in result.items()]
        else:
            results.append((name, result))
    _check_names([name for name, _ in results])
    return summary_of(attention, dict(results), weighting=weighting)


def summary_of(attention: AttentionTensor, results: Mapping[str, Any], *, weighting: Weighting = "sequence") -> Summary:
    """The summary of one sequence, given its statistics `[layer, head]` (`[layer, head, query]` to weigh by query).

    Raises:
        ValidationError: one of another shape, or an infinite one.
    """
    layers, heads, queries, _ = attention.shape
    shape = (layers, heads, queries) if weighting == "query" else (layers, heads)
    values: dict[str, Numpy] = {}
    for name, numbers in results.items():
        values[name] = np.asarray(_arrays.to_numpy(numbers), dtype=np.float64)
        if values[name].shape != shape:
            wanted = "[layer, head, query]" if weighting == "query" else "[layer, head]"
            raise ValidationError(f"{name} must give {wanted} = {shape}, but gave shape {values[name].shape}")
        if np.isinf(values[name]).any():
            layer, head = np.argwhere(np.isinf(values[name]))[0][:2]
            raise ValidationError(
                f"{name} must be finite, or NaN where it is undefined, but is infinite in head "
                f"{format_head(attention.layers[layer], attention.heads[head])}"
            )
    table = np.stack(list(values.values())) if values else np.zeros((0, layers, heads))
    if weighting == "query":
        moments = Moments.of(_arrays.nan_mean(table), (~np.isnan(table)).sum(-1))
    else:
        moments = Moments.of(table)
    return Summary(
        layers=attention.layers,
        heads=attention.heads,
        statistics=tuple(values),
        table=moments,
        weighting=weighting,
        sequences=1,
        queries=queries,
        empty_rows=_arrays.to_numpy(attention.empty_rows).sum(-1),
        measure=attention.measure,
        unit=attention.unit,
        source=attention.source or Source(),
    )


def _check_alike(a: Summary, b: Summary) -> None:
    for name in ("layers", "heads", "statistics", "weighting", "measure", "unit"):
        _check_same(name, getattr(a, name), getattr(b, name))
    for name in ("model", "revision", "dtype", "attention", "steps"):
        _check_same(name, getattr(a.source, name), getattr(b.source, name))


def _check_same(name: str, a: object, b: object) -> None:
    if a != b:
        raise ValidationError(f"these do not belong together: {name} is {a!r} in one and {b!r} in the other")
