"""What each attention head attends to: neighbours, special tokens, punctuation (Clark et al. 2019, section 3).

Every metric takes an `AttentionTensor` and gives one number a head, `[layer, head]`, in double precision, as the same
kind of array; `surface_patterns` gives a dict of such. Each is a mean over query rows; rows without mass (all NaN) and
rows outside `queries` do not count, and where no row counts the result is NaN. `function.rows(...)` gives the row
values themselves, `[layer, head, query]`, NaN where a row does not count; `summarize(..., weighting="query")` pools
those. `sink_rate` alone is a fact about the whole sequence and has no `.rows`. `mean_over_queries` makes a metric of a
function of your own. Special tokens are queries and keys like any other unless a function says otherwise.

In cross-attention queries and keys stand in two sequences, whose positions do not compare: metrics of distance and of
earlier tokens refuse it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, cast

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Array, Numpy
from bertattn.errors import MeasureError, ValidationError
from bertattn.tensor import AttentionTensor, Axis, check_tensor

__all__ = [
    "QueryMean",
    "attention_to",
    "attention_to_offset",
    "attention_to_punctuation",
    "attention_to_special",
    "duplicate_token_score",
    "entropy",
    "induction_score",
    "max_weight",
    "mean_distance",
    "mean_over_queries",
    "normalized_entropy",
    "perplexity",
    "previous_token_score",
    "sink_mass",
    "sink_rate",
    "surface_patterns",
    "uniform_entropy",
]

Mask: TypeAlias = "Sequence[bool] | Array"
Denominator: TypeAlias = Literal["n", "available"]
Side: TypeAlias = Literal["past", "future", "both"]

P = ParamSpec("P")
Values_co = TypeVar("Values_co", covariant=True)

# Beyond this many keys one multiplication by the mask costs less than adding the columns one by one.
FEW_COLUMNS = 16
# So many numbers at a time stay in the cache.
PIECE = 2**19
# So many weights at most are added in single precision before the sum goes on in double.
SINGLE_SUMS = 128


class QueryMean(Protocol[P, Values_co]):
    """A metric that is a mean over queries, with the values of the single rows behind it."""

    __name__: str

    def __call__(self, attention: AttentionTensor, /, *args: P.args, **kwargs: P.kwargs) -> Values_co: ...

    def rows(self, attention: AttentionTensor, /, *args: P.args, **kwargs: P.kwargs) -> Values_co:
        """One value for each query row, `[layer, head, query]`; NaN where the row does not count."""
        ...


def mean_over_queries(rows: Callable[Concatenate[AttentionTensor, P], Values_co]) -> QueryMean[P, Values_co]:
    """Make a metric from a function that gives one value for each query row.

    The metric is the mean over the rows that are not NaN, in double precision; the function itself stays reachable as
    `metric.rows`, so that `summarize(..., weighting="query")` can pool over queries. Works for metrics of your own.

    Args:
        rows: takes an `AttentionTensor` and gives `[layer, head, query]`, or a dict of such, NaN where a row does not
            count.

    The metric raises ValidationError where it is given no `AttentionTensor`, or `rows` gives another shape.

    Examples:
        >>> import numpy as np
        >>> @mean_over_queries
        ... def attention_to_first_key(attention):
        ...     return attention.weights[..., 0]
        >>> attention_to_first_key(AttentionTensor(np.array([[[[0.5, 0.5], [0.1, 0.9]]]]), ["a", "b"]))
        array([[0.3]])
    """

    @functools.wraps(rows)
    def metric(attention: AttentionTensor, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        name = getattr(rows, "__name__", "the metric")
        check_tensor(attention, name)
        values: Any = rows(attention, *args, **kwargs)
        for part, numbers in (values if isinstance(values, dict) else {name: values}).items():
            if np.shape(numbers) != attention.shape[:3]:
                raise ValidationError(
                    f"{part} must give one value for each query row, [layer, head, query] = {attention.shape[:3]}, "
                    f"but gave shape {tuple(np.shape(numbers))}"
                )
        if not isinstance(values, dict):
            return _arrays.nan_mean(values)
        means = _arrays.nan_mean(_arrays.stack(list(values.values())))
        return {name: means[i] for i, name in enumerate(values)}

    metric.rows = rows  # type: ignore[attr-defined]
    return cast(QueryMean[P, Values_co], metric)


def _with_short_cut(
    means: Callable[[AttentionTensor], dict[str, Array] | None],
) -> Callable[[QueryMean[P, Values_co]], QueryMean[P, Values_co]]:
    """Let a metric of dicts take its values from `means`, which builds no rows, where that does not give None."""

    def shortened(metric: QueryMean[P, Values_co]) -> QueryMean[P, Values_co]:
        @functools.wraps(metric)
        def shorter(attention: AttentionTensor, /, *args: P.args, **kwargs: P.kwargs) -> Any:
            values = means(attention) if isinstance(attention, AttentionTensor) else None
            return metric(attention, *args, **kwargs) if values is None else values

        return cast(QueryMean[P, Values_co], shorter)

    return shortened


@mean_over_queries
def attention_to_offset(attention: AttentionTensor, /, offset: int, *, denominator: Denominator = "n") -> Array:
    """Attention to the token at a fixed distance: -1 is the previous token, 0 the token itself, +1 the next.

        (1/n) sum_i a[i, i + offset]    (Clark et al. 2019, section 3.1)

    Distances are counted in `positions`, so a token whose neighbour was dropped has no such neighbour.

    Args:
        attention: any measure.
        offset: position of the key minus position of the query.
        denominator: "n" counts every query, as the paper does: a query without such a neighbour gives 0, and at most
            (n - |offset|) / n can be reached. "available" counts only queries that have the neighbour.

    Returns:
        `[layer, head]`, in units of the measure (probability mass for attention); NaN where no query counts.

    Raises:
        MeasureError: cross-attention: positions of two sequences do not compare.
        ValidationError: `offset` is not a whole number, or `denominator` is neither.

    Examples:
        >>> import numpy as np
        >>> attention_to_offset(AttentionTensor(np.full((1, 1, 4, 4), 0.25), list("abcd")), -1)
        array([[0.1875]])
    """
    _needs_one_sequence("attention_to_offset", attention)
    if isinstance(offset, bool) or not isinstance(offset, int | np.integer):
        raise ValidationError(f"offset must be a whole number such as -1, but is {offset!r}")
    _one_of("denominator", denominator, ("n", "available"))
    values = _no_mass(attention)
    if denominator == "available":
        values += np.nan
    return _with_neighbours(values, attention, int(offset))


@mean_over_queries
def attention_to(attention: AttentionTensor, /, keys: Mask, *, queries: Mask | None = None) -> Array:
    """Attention to a class of keys, from a class of queries.

        (1/|Q|) sum_{i in Q} sum_{j in S} a[i, j]    (Clark et al. 2019, section 3.2)

    Args:
        attention: any measure.
        keys: bool[key], the class S; with no key in it the result is 0.
        queries: bool[query], the class Q; None means all. With no query in it the result is NaN.

    Returns:
        `[layer, head]`, in units of the measure (probability mass for attention).

    Raises:
        ValidationError: a mask that is not boolean, or of another length than its axis.

    Examples:
        >>> import numpy as np
        >>> attention_to(AttentionTensor(np.full((1, 1, 4, 4), 0.25), list("abcd")), [True, False, True, False])
        array([[0.5]])
    """
    chosen = _mask("keys", keys, attention.keys)
    return _only(_mass(attention, chosen), _query_mask(queries, attention))


@mean_over_queries
def attention_to_special(attention: AttentionTensor, /, role: str, *, queries: Mask | None = None) -> Array:
    """Attention to the special tokens of one role (Clark et al. 2019, section 3.2).

        (1/|Q|) sum_{i in Q} sum_{j with this role} a[i, j]

    Args:
        attention: any measure.
        role: "cls", "sep", "bos", "eos", "mask" or "pad".
        queries: bool[query], the class Q; None means all. The paper's other->[SEP] has
            `queries=~attention.queries.role_mask("sep")`.

    Returns:
        `[layer, head]`, in units of the measure; NaN where no key has that role, or where `queries` chooses none.

    Raises:
        SelectionError: an unknown role.
        ValidationError: a mask that is not boolean, or of another length than its axis.

    Examples:
        >>> import numpy as np
        >>> axis = Axis(["[CLS]", "hi", "[SEP]"], roles=["cls", None, "sep"])
        >>> attention_to_special(AttentionTensor(np.full((1, 1, 3, 3), 1 / 3), axis), "sep").round(4)
        array([[0.3333]])
    """
    keys = attention.keys.role_mask(role)
    return _only(_mass(attention, keys, absent=np.nan), _query_mask(queries, attention))


@mean_over_queries
def attention_to_punctuation(attention: AttentionTensor, /, *, tokens: Sequence[str] = (".", ",")) -> Array:
    """Attention to punctuation: keys whose token is exactly one of `tokens` (Clark et al. 2019, section 3.2).

    A word-start mark of the tokenizer is set aside, and special tokens are never punctuation.

    Args:
        attention: any measure.
        tokens: the paper's are "." and ",".

    Returns:
        `[layer, head]`, in units of the measure; 0 where the text has no such token.

    Raises:
        ValidationError: `tokens` is one string.

    Examples:
        >>> import numpy as np
        >>> attention_to_punctuation(AttentionTensor(np.full((1, 1, 4, 4), 0.25), ["yes", ",", "no", "..."]))
        array([[0.25]])
    """
    if isinstance(tokens, str):
        raise ValidationError(f"tokens must be a sequence of tokens, but is one string; write ({tokens!r},)")
    return _mass(attention, attention.keys.token_mask(*tokens))


@mean_over_queries
def entropy(attention: AttentionTensor, /, *, queries: Mask | None = None, smoothing: float = 0.0) -> Array:
    """Mean entropy of each head's attention distributions, in nats (Clark et al. 2019, section 3.3).

        H_i = -sum_j p[i, j] ln p[i, j], averaged over the chosen queries; 0 ln 0 is 0

    Args:
        attention: distributions over keys.
        queries: bool[query]; None means all. The paper's entropy from [CLS] has
            `queries=attention.queries.role_mask("cls")`.
        smoothing: p = (1 - smoothing) a + smoothing / n with n keys. The released code has 1e-4; the exact entropy, 0,
            is the default.

    Returns:
        `[layer, head]` in nats, from 0 (all on one key) to ln n (uniform); NaN where `queries` chooses none.

    Raises:
        MeasureError: the rows are no distributions.
        ValidationError: a mask that is not boolean or of another length, or smoothing outside [0, 1].

    Examples:
        >>> import numpy as np
        >>> entropy(AttentionTensor(np.full((1, 1, 4, 4), 0.25), list("abcd"))).round(4)
        array([[1.3863]])
    """
    _needs_distributions("entropy", attention)
    if not 0 <= smoothing <= 1:
        raise ValidationError(f"smoothing is the share given to the uniform distribution, 0 to 1, but is {smoothing!r}")
    return _only(_arrays.float64(_entropies(attention, smoothing)), _query_mask(queries, attention))


@mean_over_queries
def uniform_entropy(attention: AttentionTensor, /, *, causal: bool | None = None) -> Array:
    """Entropy that uniform attention would have: the upper bound and baseline of `entropy`, in nats.

        mean over queries of ln(number of keys the query can reach)    (Clark et al. 2019, Figure 4)

    This is ln n for an encoder. In a causal map the query at position i reaches the keys up to i. Nothing else that
    hides keys is looked for: with a sliding window, as in some layers of ModernBERT, the baseline is too high.

    Args:
        attention: distributions over keys.
        causal: whether queries reach no later key. None finds out from the weights: a map is causal where every key
            after its query has exactly 0 in all heads, and cross-attention never is. Say it for maps made by hand.

    Returns:
        `[layer, head]` in nats, the same for every head but for rows without mass, which do not count.

    Raises:
        MeasureError: the rows are no distributions, or cross-attention with `causal=True`.

    Examples:
        >>> import numpy as np
        >>> uniform_entropy(AttentionTensor(np.full((1, 1, 4, 4), 0.25), list("abcd"))).round(4)
        array([[1.3863]])
    """
    _needs_distributions("uniform_entropy", attention)
    return _uniform_entropies(attention, causal)


@mean_over_queries
def normalized_entropy(attention: AttentionTensor, /, *, causal: bool | None = None) -> Array:
    """Entropy as a share of the most there can be: mean over queries of H_i / ln(number of keys it can reach).

    Sliding windows are not looked for: see `uniform_entropy`.

    Args:
        attention: distributions over keys.
        causal: as for `uniform_entropy`.

    Returns:
        `[layer, head]`, from 0 to 1. A query that reaches a single key does not count, so one token alone gives NaN.

    Raises:
        MeasureError: as for `uniform_entropy`.

    Examples:
        >>> import numpy as np
        >>> normalized_entropy(AttentionTensor(np.full((1, 1, 4, 4), 0.25), list("abcd"))).round(4)
        array([[1.]])
    """
    _needs_distributions("normalized_entropy", attention)
    most: Any = _uniform_entropies(attention, causal)
    shares: Array = _arrays.float64(_entropies(attention, 0.0)) / _arrays.where(
        most > 0, most, _arrays.like(np.nan, most)
    )
    return shares


@mean_over_queries
def perplexity(attention: AttentionTensor, /) -> Array:
    """How many keys a query attends to, as it were: mean over queries of exp(H_i).

    Args:
        attention: distributions over keys.

    Returns:
        `[layer, head]`, from 1 (all on one key) to the number of keys (uniform).

    Raises:
        MeasureError: the rows are no distributions.

    Examples:
        >>> import numpy as np
        >>> perplexity(AttentionTensor(np.full((1, 1, 4, 4), 0.25), list("abcd"))).round(4)
        array([[4.]])
    """
    _needs_distributions("perplexity", attention)
    perplexities: Array = _arrays.exp(_arrays.float64(_entropies(attention, 0.0)))
    return perplexities


@mean_over_queries
def max_weight(attention: AttentionTensor, /) -> Array:
    """The largest weight of each row: mean over queries of max_j a[i, j].

    Args:
        attention: distributions over keys.

    Returns:
        `[layer, head]`, from 1/n (uniform) to 1 (all on one key).

    Raises:
        MeasureError: the rows are no distributions.

    Examples:
        >>> import numpy as np
        >>> max_weight(AttentionTensor(np.array([[[[0.5, 0.5], [0.1, 0.9]]]]), ["a", "b"]))
        array([[0.7]])
    """
    _needs_distributions("max_weight", attention)
    largest: Array = _arrays.float64(_arrays.amax(_arrays.detach(attention.weights), -1))
    return largest


@mean_over_queries
def mean_distance(attention: AttentionTensor, /) -> Array:
    """How far away a head looks, in tokens (or words).

        sum_ij a[i, j] |i - j| / sum_ij a[i, j]    (after Vig and Belinkov 2019)

    Distances are counted in `positions`. For distributions this is the mean over queries of the expected distance.

    Args:
        attention: distributions over keys.

    Returns:
        `[layer, head]` in positions of the axes.

    Raises:
        MeasureError: cross-attention, or the rows are no distributions (`drop_special(..., renormalize=True)` keeps
            them so).

    Examples:
        >>> import numpy as np
        >>> mean_distance(AttentionTensor(np.full((1, 1, 3, 3), 1 / 3), list("abc"))).round(4)
        array([[0.8889]])
    """
    _needs_one_sequence("mean_distance", attention)
    _needs_distributions("mean_distance", attention)
    return _weighted(attention, np.abs(_offsets(attention)))


@mean_over_queries
def sink_mass(attention: AttentionTensor, /, *, position: int = 0, causal: bool | None = None) -> Array:
    """Attention to one position of the sequence, from the queries that can see it (Gu et al. 2025, ICLR).

        (1 / (n - k)) sum_{i >= k} a[i, k] in causal maps; the mean over all queries in an encoder's

    Args:
        attention: distributions over keys.
        position: k, counted from 0 in the axis's `positions`.
        causal: as for `uniform_entropy`.

    Returns:
        `[layer, head]`, probability mass; NaN where no key stands at that position.

    Raises:
        MeasureError: as for `uniform_entropy`.
        ValidationError: `position` is not a whole number from 0.

    Examples:
        >>> import numpy as np
        >>> sink_mass(AttentionTensor(np.array([[[[1.0, 0.0], [0.5, 0.5]]]]), ["a", "b"]))
        array([[0.75]])
    """
    _needs_distributions("sink_mass", attention)
    if isinstance(position, bool) or not isinstance(position, int | np.integer) or position < 0:
        raise ValidationError(f"position must be a whole number from 0, but is {position!r}")
    rows = _mass(attention, attention.keys.position_array == position, absent=np.nan)
    before = attention.queries.position_array < position
    hidden = (causal or before.any()) and _is_causal(attention, causal)
    return _only(rows, np.asarray(~before) if hidden else None)


def sink_rate(
    attention: AttentionTensor, /, *, threshold: float = 0.3, position: int = 0, causal: bool | None = None
) -> Array:
    """Whether a head uses a position as its sink: 1.0 where `sink_mass` exceeds `threshold`, else 0.0.

    Its mean over a corpus and over heads is the sink metric of Gu et al. (2025), which has threshold 0.3 and sequences
    of 64 tokens. This is a fact about a whole sequence, not a mean over queries: it is averaged over sequences.

    Args:
        attention: distributions over keys.
        threshold: probability mass.
        position, causal: as for `sink_mass`.

    Returns:
        `[layer, head]`, 1.0 or 0.0; NaN where `sink_mass` is.

    Raises:
        MeasureError, ValidationError: as for `sink_mass`; a threshold outside [0, 1].

    Examples:
        >>> import numpy as np
        >>> sink_rate(AttentionTensor(np.array([[[[1.0, 0.0], [0.5, 0.5]]]]), ["a", "b"]))
        array([[1.]])
    """
    if not 0 <= threshold <= 1:
        raise ValidationError(f"threshold is a probability mass, 0 to 1, but is {threshold!r}")
    mass: Any = sink_mass(attention, position=position, causal=causal)
    rate: Array = _arrays.where(_arrays.isnan(mass), mass, _arrays.float64(mass > threshold))
    return rate


@mean_over_queries
def previous_token_score(
    attention: AttentionTensor, /, *, side: Side = "past", denominator: Denominator = "available"
) -> Array:
    """Attention between neighbours among ordinary tokens: mean a[i, i - 1] over the queries that have one.

    From Olsson et al. (2022), "In-context Learning and Induction Heads". Unlike `attention_to_offset` it leaves special
    tokens out, as queries and as targets, so that a sink on the first token is not taken for a previous-token head.

    Args:
        attention: any measure.
        side: "past" looks at the previous token, "future" at the next, "both" adds the two (for encoders).
        denominator: "available" counts the queries that have a target; "n" counts all, those without one as 0 (as in
            the `mul` score of TransformerLens' head detector, which takes special tokens for targets too).

    Returns:
        `[layer, head]`, in units of the measure; NaN where no query has a target.

    Raises:
        MeasureError: cross-attention: positions of two sequences do not compare.
        ValidationError: an unknown side or denominator.

    Examples:
        >>> import numpy as np
        >>> previous_token_score(AttentionTensor(np.eye(3, k=-1)[None, None] + np.diag([1.0, 0, 0]), list("abc")))
        array([[1.]])
    """
    _needs_one_sequence("previous_token_score", attention)
    query_codes, key_codes = _codes(attention)
    template = (query_codes >= 0)[:, None] & (key_codes >= 0)[None, :] & (np.abs(_offsets(attention)) == 1)
    return _template_score(attention, template & _on_side(side, _offsets(attention)), denominator)


@mean_over_queries
def duplicate_token_score(
    attention: AttentionTensor, /, *, side: Side = "past", denominator: Denominator = "available"
) -> Array:
    """Attention to earlier occurrences of the query's own token: mean over queries of sum_{j < i, x_j = x_i} a[i, j].

    From Olsson et al. (2022) and TransformerLens' head detector. Tokens are the same where the axes' texts are; special
    and mask tokens are never queries or targets.

    Args:
        attention: any measure.
        side: "past" counts earlier occurrences, "future" later ones, "both" all others (for encoders).
        denominator: as for `previous_token_score`.

    Returns:
        `[layer, head]`, in units of the measure; NaN where no query has a target: no token is repeated.

    Raises:
        MeasureError: cross-attention: positions of two sequences do not compare.
        ValidationError: an unknown side or denominator.

    Examples:
        >>> import numpy as np
        >>> duplicate_token_score(AttentionTensor(np.full((1, 1, 4, 4), 0.25), list("abab")))
        array([[0.25]])
    """
    _needs_one_sequence("duplicate_token_score", attention)
    query_codes, key_codes = _codes(attention)
    same = query_codes[:, None] == key_codes[None, :]
    return _template_score(attention, same & _on_side(side, _offsets(attention)), denominator)


@mean_over_queries
def induction_score(
    attention: AttentionTensor, /, *, side: Side = "past", denominator: Denominator = "available"
) -> Array:
    """Attention to what followed the query's token before: mean over queries of sum_{j <= i, x_{j-1} = x_i} a[i, j].

    The prefix-matching score of Olsson et al. (2022), who repeat random tokens; vary the distance between repetitions,
    or a head that looks a fixed way back scores as well. Tokens are the same where the axes' texts are; special and
    mask tokens are never queries, predecessors or targets.

    Args:
        attention: any measure.
        side: "past" looks after earlier occurrences, "future" after later ones, "both" after all others (for encoders).
        denominator: as for `previous_token_score`.

    Returns:
        `[layer, head]`, in units of the measure; NaN where no query has a target.

    Raises:
        MeasureError: cross-attention: positions of two sequences do not compare.
        ValidationError: an unknown side or denominator.

    Examples:
        >>> import numpy as np
        >>> induction_score(AttentionTensor(np.full((1, 1, 4, 4), 0.25), list("abab")))
        array([[0.25]])
    """
    _needs_one_sequence("induction_score", attention)
    query_codes, key_codes = _codes(attention)
    target = (np.diff(attention.keys.position_array) == 1) & (key_codes[1:] >= 0)
    before = np.concatenate([[-2], np.where(target, key_codes[:-1], -2)])
    follows = query_codes[:, None] == before[None, :]
    return _template_score(attention, follows & _on_side(side, _offsets(attention) - 1), denominator)


_CLASSES = ("cls", "sep", "bos", "eos", "punctuation")


def _classes(axis: Axis) -> Numpy:
    """bool[token, class]"""
    numbers: dict[str | None, int] = {role: number for number, role in enumerate(_CLASSES)}
    found = np.array([numbers.get(role, -1) for role in axis.roles or (None,) * len(axis)])
    members: Numpy = found[:, None] == np.arange(len(_CLASSES))
    members[:, -1] = axis.token_mask(".", ",")
    return members


def _surface_means(attention: AttentionTensor) -> dict[str, Array] | None:
    """What `surface_patterns` gives where every row has mass; None where one has not.

    A value for each row is made of entropies and largest weights only: the masses of classes of keys come from what
    each key gets from all queries.
    """
    _needs_distributions("surface_patterns", attention)
    given = _arrays.detach(attention.weights)
    weights = _arrays.shared_with_numpy(given)
    if weights is not given:
        attention = attention._with(weights=weights)
    n = len(attention.queries)
    rows = np.empty((3, *attention.shape[:3]))
    received = np.zeros((*attention.shape[:2], len(attention.keys)))  # by each key, from all queries
    scratch = None
    for piece in _pieces(attention):  # once through the memory, all of it while a piece is in the cache
        part = weights[piece]
        scratch = _scratch(part, scratch)
        rows[0][piece] = -_arrays.to_numpy(_sums_of_xlogx(part, scratch))
        rows[2][piece] = _arrays.to_numpy(_arrays.amax(given[piece], -1))  # NumPy is slow at it
        received[piece[0]] += _received(part)
    np.exp(rows[0], out=rows[1])
    entropies, perplexities, largest = rows.sum(-1) / n
    if np.isnan(entropies).any():
        return None
    values: dict[str, Any] = {}
    for name, offset in (("previous", -1), ("self", 0), ("next", 1)):
        values[name] = np.nan if _is_cross(attention) else _in_double(_neighbours(attention, offset)[1]).sum(-1) / n
    keys = _classes(attention.keys)
    queries = keys if attention.queries is attention.keys else _classes(attention.queries)
    counts = keys.sum(0).tolist()
    masses = received @ keys.astype(np.float64)
    for number, name in enumerate(_CLASSES):
        values[name] = masses[..., number] / n if counts[number] or name == "punctuation" else np.nan
    cls, sep = np.flatnonzero(queries[:, 0]), np.flatnonzero(queries[:, 1])
    inside: Any = 0.0 if counts[1] else np.nan
    if len(sep) and counts[1]:
        block = _arrays.take(_arrays.take(weights, sep, -2), np.flatnonzero(keys[:, 1]), -1)
        inside = _in_double(block).sum((-2, -1))
    values["sep_to_sep"] = inside / len(sep) if len(sep) else np.nan
    values["other_to_sep"] = (masses[..., 1] - inside) / (n - len(sep)) if len(sep) < n else np.nan
    values["entropy"] = entropies
    values["entropy_from_cls"] = rows[0][..., cls].sum(-1) / len(cls) if len(cls) else np.nan
    values["uniform_entropy"] = np.log(len(attention.keys))
    if _is_causal(attention, None):
        reached = _log_reached(attention, True)
        values["uniform_entropy"] = reached[~np.isnan(reached)].mean() if not np.isnan(reached).all() else np.nan
    values["max_weight"] = largest
    values["perplexity"] = perplexities
    table = np.empty((len(values), *attention.shape[:2]))
    for number, value in enumerate(values.values()):
        table[number] = value
    return dict(zip(values, _arrays.placed(table, given), strict=True))


@_with_short_cut(_surface_means)
@mean_over_queries
def surface_patterns(attention: AttentionTensor, /) -> dict[str, Array]:
    """Everything of section 3 of Clark et al. (2019), in one pass over the weights.

    Always the same names, each the result of the function beside it:

    - "previous", "self", "next": `attention_to_offset` with -1, 0, +1; NaN in cross-attention
    - "cls", "sep", "bos", "eos": `attention_to_special`; NaN where the sequence has no such token
    - "punctuation": `attention_to_punctuation`
    - "sep_to_sep", "other_to_sep": `attention_to_special` to "sep", from "sep" and from all other queries
    - "entropy", "entropy_from_cls": `entropy`, over all queries and from "cls"
    - "uniform_entropy": the baseline of both
    - "max_weight", "perplexity"

    Args:
        attention: distributions over keys.

    Returns:
        a dict of `[layer, head]`: probability mass, entropies in nats, perplexity in keys.

    Raises:
        MeasureError: the rows are no distributions; the functions of masses take any measure.

    Examples:
        >>> import numpy as np
        >>> axis = Axis(["[CLS]", "yes", ".", "[SEP]"], roles=["cls", None, None, "sep"])
        >>> patterns = surface_patterns(AttentionTensor(np.full((1, 1, 4, 4), 0.25), axis))
        >>> patterns["next"], patterns["bos"]
        (array([[0.1875]]), array([[nan]]))
    """
    _needs_distributions("surface_patterns", attention)
    zero = _no_mass(attention)
    rows: dict[str, Any] = {}
    for name, offset in (("previous", -1), ("self", 0), ("next", 1)):
        rows[name] = zero + np.nan if _is_cross(attention) else _with_neighbours(zero + 0, attention, offset)
    for role in ("cls", "sep", "bos", "eos"):
        rows[role] = _mass(attention, attention.keys.role_mask(role), absent=np.nan)
    rows["punctuation"] = _mass(attention, attention.keys.token_mask(".", ","))
    sep = attention.queries.role_mask("sep")
    rows["sep_to_sep"] = _only(rows["sep"], sep)
    rows["other_to_sep"] = _only(rows["sep"], ~sep)
    rows["entropy"] = _arrays.float64(_entropies(attention, 0.0))
    rows["entropy_from_cls"] = _only(rows["entropy"], attention.queries.role_mask("cls"))
    rows["uniform_entropy"] = _uniform_entropies(attention, None)
    rows["max_weight"] = _arrays.float64(_arrays.amax(_arrays.detach(attention.weights), -1))
    rows["perplexity"] = _arrays.exp(rows["entropy"])
    return rows


def _in_double(x: Any) -> Numpy:
    return _arrays.to_numpy(x).astype(np.float64)


def _needs_distributions(name: str, attention: AttentionTensor) -> None:
    if not attention.normalized:
        raise MeasureError(
            f"{name} needs rows that are distributions over keys, but this is the measure {attention.measure!r} with "
            "normalized=False; renormalize its rows first, or use a function of masses such as attention_to"
        )


def _is_cross(attention: AttentionTensor) -> bool:
    return attention.source is not None and attention.source.attention == "cross"


def _needs_one_sequence(name: str, attention: AttentionTensor) -> None:
    if _is_cross(attention):
        raise MeasureError(
            f"{name} compares the positions of queries and keys, but in cross-attention they stand in two sequences; "
            'use attention="encoder" or "decoder" maps, or a function of key classes such as attention_to'
        )


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValidationError(f"{name} must be {' or '.join(repr(c) for c in choices)}, but is {value!r}")


def _mask(name: str, mask: Mask, axis: Axis) -> Numpy:
    values = _arrays.to_numpy(mask)
    if values.dtype != np.bool_ and values.size:
        raise ValidationError(
            f"{name} must be a boolean mask, one True or False a token, but holds {values.dtype}; "
            "for token numbers i write np.isin(np.arange(n), i)"
        )
    if values.shape != (len(axis),):
        raise ValidationError(
            f"{name} has shape {values.shape} but the axis has {len(axis)} {axis.unit}s; give one value for each"
        )
    return values


def _query_mask(queries: Mask | None, attention: AttentionTensor) -> Numpy | None:
    return None if queries is None else _mask("queries", queries, attention.queries)


def _no_mass(attention: AttentionTensor) -> Any:
    """`[layer, head, query]` in double precision: 0, but NaN for rows without mass."""
    first = _arrays.float64(_arrays.detach(attention.weights)[..., 0])
    return first - first


def _only(rows: Any, queries: Numpy | None) -> Array:
    """The rows with NaN outside the chosen queries."""
    if queries is not None and not queries.all():
        rows = _arrays.where(_arrays.like(queries, rows, dtype="bool"), rows, _arrays.like(np.nan, rows))
    chosen: Array = rows
    return chosen


def _layers(attention: AttentionTensor) -> Iterator[Any]:
    """`[head, query, key]` of each layer in turn, in single precision or better: a piece that fits the cache."""
    for layer in _arrays.detach(attention.weights):
        yield _arrays.cast(layer, _arrays.working_dtype(layer))


def _pieces(attention: AttentionTensor) -> Iterator[tuple[slice, ...]]:
    """Parts of the weights, each some whole layers or some queries of one, the largest first."""
    layers, heads, queries, keys = attention.shape
    size = PIECE * _arrays.piece_factor(attention.weights)
    step = size // (heads * queries * keys)
    if step:
        for first in range(0, layers, step):
            yield (slice(first, first + step),)
        return
    step = max(1, size // (heads * keys))
    for layer in range(layers):
        for first in range(0, queries, step):
            yield slice(layer, layer + 1), slice(None), slice(first, first + step)


def _neighbours(attention: AttentionTensor, offset: int) -> tuple[Numpy, Any]:
    """The queries that have a key at that offset, and `[layer, head, query]` their weights a[i, i + offset]."""
    weights = _arrays.detach(attention.weights)
    if attention.queries.positions is attention.keys.positions is None:
        first, end = max(0, -offset), min(len(attention.queries), len(attention.keys) - offset)
        if first < end:
            return np.arange(first, end), weights.diagonal(offset, -2, -1)
    wanted = attention.queries.position_array + offset
    positions = attention.keys.position_array
    columns = np.minimum(np.searchsorted(positions, wanted), len(positions) - 1)
    rows = np.flatnonzero(positions[columns] == wanted)
    columns = columns[rows]
    if len(rows):
        shift = int(columns[0] - rows[0])
        diagonal = weights.diagonal(shift, -2, -1)
        if diagonal.shape[-1] == len(rows) and (columns - rows == shift).all():
            return rows, diagonal
    return rows, weights[..., rows, columns]


def _with_neighbours(values: Any, attention: AttentionTensor, offset: int) -> Array:
    """`values` with a[i, i + offset] filled in, in place, for the queries that have that neighbour."""
    rows, weights = _neighbours(attention, offset)
    values[..., rows] = _arrays.float64(weights)
    filled: Array = values
    return filled


def _received(weights: Any) -> Numpy:
    """`[layer, head, key]`: the sum over queries, in double precision."""
    total = np.zeros((*weights.shape[:2], weights.shape[-1]))
    for first in range(0, int(weights.shape[-2]), SINGLE_SUMS):
        part = weights[..., first : first + SINGLE_SUMS, :]
        total += _arrays.to_numpy(_arrays.column_sums(_arrays.cast(part, _arrays.working_dtype(part))))
    return total


def _mass(attention: AttentionTensor, keys: Numpy, *, absent: float = 0.0) -> Array:
    """`[layer, head, query]`: the sum over the chosen keys; `absent` where there is none."""
    columns = np.flatnonzero(keys)
    if len(columns) > FEW_COLUMNS:
        return _weighted(attention, keys)
    weights = _arrays.detach(attention.weights)
    total: Array = _no_mass(attention)
    for column in columns:
        total += _arrays.float64(weights[..., int(column)])
    if len(columns) == 0:
        total += absent
    return total


def _weighted(attention: AttentionTensor, factors: Numpy) -> Array:
    """`[layer, head, query]`: sum_j a[i, j] f[i, j], for factors `[query, key]` or `[key]`."""
    rows = [(layer * _arrays.like(factors, layer)).sum(-1) for layer in _layers(attention)]
    total: Array = _arrays.float64(_arrays.stack(rows))
    return total


def _scratch(part: Any, last: Any) -> Any:
    """An array for `_sums_of_xlogx`, the last one where there was one: the first piece is the largest."""
    return last if last is not None else _arrays.empty(part.shape, part, dtype=_arrays.working_dtype(part))


def _sums_of_xlogx(part: Any, scratch: Any) -> Any:
    """Sums of a ln a over the keys, in single precision or better."""
    share = _arrays.cast(part, _arrays.working_dtype(part))
    return _arrays.xlogx_sums(share, scratch=scratch[tuple(map(slice, share.shape))])


def _entropies(attention: AttentionTensor, smoothing: float) -> Any:
    """`[layer, head, query]`, in single precision or better."""
    weights = _arrays.detach(attention.weights)
    negative = _arrays.empty(attention.shape[:3], weights, dtype=_arrays.working_dtype(weights))
    scratch = None
    for piece in _pieces(attention):
        share = weights[piece]
        if smoothing:
            share = _arrays.cast(share, _arrays.working_dtype(share)) * (1 - smoothing) + smoothing / len(
                attention.keys
            )
        scratch = _scratch(share, scratch)
        negative[piece] = _sums_of_xlogx(share, scratch)
    return 0.0 - negative


def _uniform_entropies(attention: AttentionTensor, causal: bool | None) -> Array:
    rows: Array = _no_mass(attention)
    rows += _arrays.like(_log_reached(attention, causal), rows)
    return rows


def _log_reached(attention: AttentionTensor, causal: bool | None) -> Numpy:
    """The logarithm of the number of keys that each query can reach; NaN where there is none."""
    reached = np.full(len(attention.queries), len(attention.keys))
    if _is_causal(attention, causal):
        reached = (_offsets(attention) <= 0).sum(1)
    return np.asarray(np.log(np.where(reached > 0, reached, np.nan)))


def _offsets(attention: AttentionTensor) -> Numpy:
    """int[query, key]: position of the key minus position of the query."""
    return attention.keys.position_array[None, :] - attention.queries.position_array[:, None]


def _is_causal(attention: AttentionTensor, said: bool | None) -> bool:
    """What the caller said, or whether every key after its query has exactly 0 in all heads; the NaN of empty rows
    does not count."""
    if _is_cross(attention):
        if said:
            raise MeasureError("causal=True does not fit cross-attention, whose queries reach every key; leave it out")
        return False
    if said is not None:
        return said
    weights = _arrays.detach(attention.weights)
    first = int(np.searchsorted(attention.keys.position_array, attention.queries.position_array[0], side="right"))
    if first == len(attention.keys) or bool((weights[:, :, 0, first:] > 0).any()):
        return False  # an encoder's first row already shows it
    hidden = _arrays.like(_offsets(attention) > 0, weights, dtype="bool")
    return not any(bool(((layer > 0) & hidden).any()) for layer in weights)


def _codes(attention: AttentionTensor) -> tuple[Numpy, Numpy]:
    """A number for each ordinary token, the same for the same text; -1 for other queries, -2 for other keys."""
    numbers: dict[str, int] = {}
    codes = []
    for axis, other in ((attention.queries, -1), (attention.keys, -2)):
        roles = axis.roles or (None,) * len(axis)
        pairs = zip(axis.tokens, roles, strict=True)
        codes.append(np.array([other if r is not None else numbers.setdefault(t, len(numbers)) for t, r in pairs]))
    return codes[0], codes[1]


def _on_side(side: str, offsets: Numpy) -> Numpy:
    _one_of("side", side, ("past", "future", "both"))
    if side == "both":
        return np.asarray(offsets != 0)
    return np.asarray(offsets < 0 if side == "past" else offsets > 0)


def _template_score(attention: AttentionTensor, template: Numpy, denominator: str) -> Array:
    _one_of("denominator", denominator, ("n", "available"))
    has_target = np.asarray(template.any(1))
    rows = _weighted(attention, template)
    return _only(rows, has_target if denominator == "available" or not has_target.any() else None)
