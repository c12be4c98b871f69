"""The model view: every head at a glance (Vig 2019), sorted and coloured by what is known of the heads.

The page draws each head small, as lines from queries (left) to keys (right) or as a matrix, and one of them large.
Where a text has more tokens than a small picture has rows, neighbours share one: weights of distributions are summed
over the keys and averaged over the queries that share a row, of other measures the largest in size is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bertattn import _arrays, patterns
from bertattn._arrays import Array, Numpy
from bertattn.clustering import HeadBehaviors, HeadClusters
from bertattn.errors import SelectionError, ValidationError
from bertattn.patterns import mean_over_queries
from bertattn.statistics import Summary
from bertattn.tensor import AttentionTensor, format_head, parse_head
from bertattn.views._html import HTMLView
from bertattn.views._page import page
from bertattn.views._payload import default_title, model_name, named_tensors, weights_payload

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["model_view"]


def model_view(
    attention: AttentionTensor | Sequence[AttentionTensor] | Mapping[str, AttentionTensor],
    /,
    *,
    statistic: Summary | Mapping[str, Any] | ArrayLike | None = None,
    clusters: HeadClusters | HeadBehaviors | Mapping[str, Any] | None = None,
    title: str | None = None,
    height: int | None = None,
) -> HTMLView:
    """A page with a small picture of every head, layer by layer, any of which opens to a large one (Vig 2019).

    Heads are sorted and coloured by any statistic. Two are always there, means over the queries: the entropy, in nats,
    and the largest weight; of measures that are no distributions the entropy of |w| / sum |w| and the largest |w|.

    Rows divided by what is left of them without special tokens are those of `drop_special(attention)`. What rounding
    may change of them is shown; rows that have too little left to tell it from rounding are left out.

    With several tensors `statistic` and `clusters` are mappings from the names of those to what belongs to each.

    Args:
        attention: weights of any measure; or up to three tensors of one model, such as those of its encoder, its
            decoder and its cross-attention, named by the keys of a mapping or by their sources.
        statistic: more to sort and colour by: all of a `Summary`, arrays `[layer, head]` by name, such as
            `{"obj": scores.accuracy("obj", direction="from_dependent")}`, or one array. NaN where it is undefined.
        clusters: to sort and colour by, of `clustering.cluster_heads` or `clustering.label_behaviors`.
        title: of the page; None makes one of the first words.
        height: of the frame in a notebook, in whole pixels, at least 100; None for a usual one.

    Raises:
        ValidationError: no tensor or too many; weights beyond single precision; a statistic that is not one real number
            for each layer and head, or has a name that is taken; a title or height that is none.
        SelectionError: a summary or clusters that lack a head of the tensor.

    Examples:
        >>> a = AttentionTensor(np.full((2, 3, 4, 4), 0.25), ["one", "two", "three", "four"])
        >>> view = model_view(a, statistic={"accuracy": np.linspace(0, 1, 6).reshape(2, 3)})
        >>> "https:" in view.html, view.title
        (False, 'Model view: one two three four')
    """
    named = named_tensors("model_view", attention)
    parts, blocks = [], {}
    for number, (name, one) in enumerate(named.items()):
        own_statistic, own_clusters = (
            _own(option, given, name, named) for option, given in (("statistic", statistic), ("clusters", clusters))
        )
        statistics = _statistics(one, own_statistic)
        described, its_blocks = weights_payload(one, part=number)
        parts.append(
            {
                "name": name,
                **described,
                "statistics": [{"name": label, "values": _json(values)} for label, values in statistics.items()],
                "clusters": None if own_clusters is None else _clusters(one, own_clusters),
            }
        )
        blocks.update(its_blocks)
    first = next(iter(named.values()))
    title = title or default_title("Model view", first)
    model = model_name(first)
    data = {"parts": parts, "model": model}
    return HTMLView(page(title, "model", data, blocks), title=title, height=height)


def _own(option: str, given: Any, name: str, named: Mapping[str, AttentionTensor]) -> Any:
    """What belongs to the tensor of this name."""
    if given is None or len(named) == 1:
        return given
    if not isinstance(given, Mapping) or not set(given) <= set(named):
        raise ValidationError(
            f"there are several tensors, so {option} is a mapping from their names ({', '.join(named)}) to what "
            f"belongs to each, but is {given!r:.60}"
        )
    return given.get(name)


def _statistics(attention: AttentionTensor, given: Any) -> dict[str, Numpy]:
    """Numbers `[layer, head]` by name: the two of the weights, then those given."""
    if attention.normalized:
        known = {"entropy": patterns.entropy(attention), "largest weight": patterns.max_weight(attention)}
    else:
        known = {"entropy of |w|": _entropy_of_sizes(attention), "largest |w|": _largest_size(attention)}
    found = {name: _arrays.to_numpy(values) for name, values in known.items()}
    for name, values in _given(attention, given).items():
        if name in found:
            raise ValidationError(f"the view has a statistic {name!r} of its own; give yours another name")
        found[name] = values
    return found


@mean_over_queries
def _entropy_of_sizes(attention: AttentionTensor) -> Numpy:
    """How far a row's weights are spread, whatever their sign: the entropy of |w| / sum |w|, in nats."""
    sizes = np.abs(_arrays.float64(_arrays.to_numpy(attention.weights)))
    total = sizes.sum(-1, keepdims=True)
    shares = sizes / np.where(total > 0, total, np.nan)
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(-1))


@mean_over_queries
def _largest_size(attention: AttentionTensor) -> Array:
    """The largest |w| of each row."""
    weights = _arrays.detach(attention.weights)
    largest: Array = _arrays.amax(abs(weights), -1)
    return largest


def _given(attention: AttentionTensor, statistic: Any) -> dict[str, Numpy]:
    """What the caller gave, as arrays `[layer, head]` of the tensor's heads."""
    if statistic is None:
        return {}
    if isinstance(statistic, Summary):
        rows = [_places("layer", attention.layers, statistic.layers), _places("head", attention.heads, statistic.heads)]
        # The view has an entropy of this very text, so that of the corpus must not be taken for it.
        return {f"{name} (corpus)": statistic.mean(name)[np.ix_(*rows)] for name in statistic.statistics}
    named = statistic if isinstance(statistic, Mapping) else {"given": statistic}
    return {str(name): _checked(attention, str(name), values) for name, values in named.items()}


def _places(kind: str, wanted: Sequence[int], present: Sequence[int]) -> list[int]:
    missing = [n + 1 for n in wanted if n not in present]
    if missing:
        raise SelectionError(
            f"the summary lacks {kind}s {missing} of the tensor (counted from 1); summarize the same {kind}s, or show "
            f"fewer: attention.select({kind}s={[n for n in wanted if n in present]})"
        )
    return [present.index(n) for n in wanted]


def _checked(attention: AttentionTensor, name: str, values: Any) -> Numpy:
    shape = attention.shape[:2]
    try:
        given = np.asarray(_arrays.to_numpy(values))
        # NumPy would drop the imaginary parts, and read numbers in texts.
        numbers = given.astype(np.float64) if given.dtype.kind in "biufO" else None
    except (TypeError, ValueError):  # rows of different lengths, or objects that are no numbers
        given, numbers = np.array(None), None
    if numbers is None:
        kind = "complex" if np.iscomplexobj(given) else f"a {type(values).__name__}"
        raise ValidationError(
            f"statistic {name!r} must be real numbers [layer, head], but is {kind}; give a Summary, an array, or a "
            "mapping from names to arrays"
        )
    if numbers.shape != shape or np.isinf(numbers).any():
        seen = f"has shape {numbers.shape}" if numbers.shape != shape else "has an infinite one"
        raise ValidationError(
            f"statistic {name!r} must be one finite number (or NaN) for each of {shape[0]} layers x {shape[1]} heads, "
            f"but {seen}"
        )
    return numbers


def _clusters(attention: AttentionTensor, clusters: Any) -> dict[str, Any]:
    """The names of the groups, and for each head `[layer, head]` the number of its own; None where it has none."""
    if isinstance(clusters, HeadClusters):
        title, groups = "cluster", [f"cluster {n}" for n in range(1, clusters.clusters + 1)]
        labels: list[int | None] = [int(label) - 1 for label in clusters.labels]
    elif isinstance(clusters, HeadBehaviors):
        title, groups = "behaviour", [name for name, count in clusters.counts().items() if name is not None and count]
        labels = [None if label is None else groups.index(label) for label in clusters.labels]
    else:
        raise ValidationError(
            "clusters must be what clustering.cluster_heads or clustering.label_behaviors gives, but is "
            f"{type(clusters).__name__}"
        )
    by_head = {_place(name): label for name, label in zip(clusters.names, labels, strict=True)}
    wanted = [[(layer, head) for head in attention.heads] for layer in attention.layers]
    missing = [format_head(*place) for row in wanted for place in row if place not in by_head]
    if missing:
        raise SelectionError(
            f"the clusters lack {len(missing)} heads of the tensor, such as {missing[0]}; cluster the heads that are "
            "shown, or show those with attention.select(layers=..., heads=...)"
        )
    return {"title": title, "groups": groups, "of": [[by_head[place] for place in row] for row in wanted]}


def _place(name: str) -> tuple[int, int] | None:
    """(layer, head) of a name such as "8-10"; None of any other, as clusters may have."""
    try:
        return parse_head(name)
    except SelectionError:
        return None


def _json(values: Numpy) -> list[list[float | None]]:
    """To 6 digits, which is more than a colour or a label shows; None where a number is undefined."""
    return [[None if np.isnan(v) else float(f"{v:.6g}") for v in row] for row in values]
