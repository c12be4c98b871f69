"""Gradients of an objective by attention weights, and how large they are for kinds of token (Figure 3)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from tqdm import tqdm

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn._prepare import Prepared
from bertattn.attribution.objectives import (
    CausalLM,
    Contrastive,
    MaskedLM,
    Objective,
    check_extractor,
    check_model,
    checked_objective,
    losses_of,
    prepared_for,
    shown,
)
from bertattn.errors import InputError, ModelError, ValidationError
from bertattn.extract import Batch, Extractor, InOrder, Input, Kind, Read, checked_batch_size, layer_set
from bertattn.inputs import TextPair
from bertattn.statistics import Summary, accumulated, summary_of
from bertattn.tensor import AttentionTensor, Axis

__all__ = ["GradientStream", "Gradients", "attention_gradients", "gradient_importance", "gradients", "importance"]

QUANTITIES: Final = ("gradient", "attention_x_gradient")
CATEGORIES: Final = ("unmasked", "cls", "sep", "punctuation", "other")
QUERIES: Final = ("all", "predicted")


@dataclass(frozen=True, eq=False)
class Gradients:
    """The attention of one input, and the gradient of an objective by each of its weights.

    The weights are variables of their own: what a change of one would do if nothing else changed, not even the rest of
    its row. Keys that a query cannot reach have gradient 0: those after it in a causal model, those outside a window of
    local attention. Padding is cropped. With `MaskedLM` the axes have the role "mask" at each token to be predicted.

    Args:
        attention: the maps that the gradient is taken at.
        gradient: dL / d attention, signed, of the measure "signed_gradient".
        loss: L of this input. With `Contrastive` that of its pair, while the gradient is that of the sum over the
            batch, in which each passage is compared with all others.
        predicted: bool`[query]`, at which queries a token is predicted; None where the objective predicts none.
        passage: 0 or 1, which of its pair; None where inputs are no pairs that share a loss.
    """

    attention: AttentionTensor
    gradient: AttentionTensor
    loss: float
    predicted: Numpy | None
    passage: int | None = None

    @property
    def magnitude(self) -> AttentionTensor:
        """|dL / d attention|, of the measure "gradient": the importance of Clark et al. (2019), section 3.2."""
        return self.gradient._with(weights=abs(self.gradient.weights), measure="gradient", step="abs")

    @property
    def times_attention(self) -> AttentionTensor:
        """attention x dL / d attention, signed, of the measure "attention_x_gradient".

        To first order what L would lose if the weight were 0.
        """
        product = self.attention.weights * self.gradient.weights
        return self.gradient._with(weights=product, measure="attention_x_gradient", step="times_attention")

    def __repr__(self) -> str:
        return f"Gradients({self.gradient!r}, loss={self.loss:.4g})"


class GradientStream(InOrder[Gradients]):
    """An iterator of `Gradients` in input order, and what was left out so far.

    Attributes:
        skipped: inputs that gave none, as `extract.Excluded`, in order of their being met.
        truncated: inputs that were cut to fit.
    """


def gradients(
    ext: Extractor,
    inputs: Iterable[Input],
    /,
    *,
    objective: Objective,
    layers: int | Iterable[int] | None = None,
    attention: Kind | None = None,
    on_too_long: Literal["error", "truncate", "skip"] = "error",
    on_error: Literal["raise", "skip"] = "raise",
    spacing: Literal["single", "natural"] = "single",
    batch_size: int = 16,
    progress: bool = False,
) -> GradientStream:
    """The gradients of an objective by the attention weights, for each input in order, computed as they are read.

    The derivative is that of the sum over a batch of each input's own objective, so batching changes no number by more
    than rounding (but with `Contrastive`, which compares the inputs of a batch). The model is differentiated in
    evaluation mode, without dropout; its parameters keep the gradients they have.

    Args:
        ext: the extractor, made of a model with the head that the objective needs.
        inputs: as `Extractor.extract`; `TextPair`s for an encoder-decoder model, and with `Contrastive`.
        objective: `MaskedLM()`, `CausalLM()`, `Contrastive()`, or a function that makes one number, a tensor, of the
            model's outputs. Inputs run one by one for a function, since it need not know of padding.
        layers, attention, on_too_long, spacing: as `Extractor.extract`.
        on_error: "raise", or "skip" an input that cannot be read or has nothing to predict, listed in `.skipped`. An
            objective that fails on an input is always raised.
        batch_size: how many inputs at most run together; with `Contrastive` pairs, 2 or more, which takes as much more
            memory.
        progress: show a bar.

    Returns:
        A stream of `Gradients`; with `Contrastive` two for each pair.

    Raises:
        ValidationError: an objective that is none.
        InputError, TooLongError, AlignmentError: as `Extractor.extract`; or a function that fails, gives no number, or
            one that does not depend on the outputs, or gradients that are not finite; or with `Contrastive` an input
            that is no pair, or a single one.
        ModelError: the model lacks the language-modelling head, the objective does not fit it, or its maps take no part
            in it.

    Examples:
        >>> from bertattn import Extractor, demo
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> [one] = gradients(ext, ["Snow falls."], objective=lambda outputs: outputs.last_hidden_state[0, 0].norm())
        >>> one
        Gradients(AttentionTensor(signed_gradient: 6 layers x 12 heads, 5 x 5 tokens, float32 torch), loss=...)
    """
    objective, batch_size = checked_objective(objective), checked_batch_size(batch_size)
    check_extractor(ext)
    check_model(objective, ext)
    _check_mode(ext)
    kind, wanted = ext._kind(attention), layer_set(layers)
    forward = functools.partial(
        ext._forward, kind=kind, layers=wanted, losses=functools.partial(_losses, ext, objective)
    )
    step = f"gradients(objective={shown(objective)})"
    if isinstance(objective, Contrastive):
        if batch_size < 2:
            raise InputError("batch_size is how many pairs Contrastive compares, 2 or more, but is 1")
        step = f"gradients(objective={shown(objective)}, batch_size={batch_size})"
        pairs = ext._read(inputs, _pairing(ext, kind, spacing), on_too_long, on_error, spacing)
        cropped = functools.partial(_cropped, ext, objective=objective, step=step, kind=kind, spacing=spacing)
        items = _compared(ext, pairs, forward, cropped, kind=kind, batch_size=batch_size, progress=progress)
        return GradientStream(items, pairs.skipped, pairs.truncated, 2 * pairs.total)
    cropped = functools.partial(_cropped, ext, objective=objective, step=step, kind=kind, spacing=spacing)
    # With both sides, where there are two: the objective needs the target also for the maps of the encoder.
    whole: Kind = "cross" if ext._encoder_decoder else kind

    def ready(x: Any, truncate: bool) -> Prepared:
        if ext._encoder_decoder and not isinstance(x, TextPair):
            raise InputError(
                "an encoder-decoder model is differentiated by what it makes of a source and a target: give "
                f"TextPair(source, target), not {type(x).__name__}"
            )
        return prepared_for(objective, ext._prepare(x, whole, truncate=truncate, spacing=spacing), ext)

    read = ext._read(inputs, ready, on_too_long, on_error, spacing)
    together = batch_size if isinstance(objective, MaskedLM | CausalLM) else 1
    found = ext._in_order(
        read,
        lambda batch, row, item: cropped(batch, row, item, loss=row),
        forward,
        kind=kind,
        batch_size=together,
        progress=progress,
        desc="gradients",
    )
    return GradientStream(found, read.skipped, read.truncated, read.total)


def attention_gradients(
    ext: Extractor,
    x: Input,
    /,
    *,
    objective: Objective,
    layers: int | Iterable[int] | None = None,
    attention: Kind | None = None,
    spacing: Literal["single", "natural"] = "single",
) -> AttentionTensor:
    """|dL / d attention| of one input: how much the objective depends on each attention weight.

    As `gradients(ext, [x], objective=objective)`, of which this is the `.magnitude`.

    Args:
        ext, objective, layers, attention, spacing: as `gradients`; not `Contrastive`, which compares several inputs.
        x: the input.

    Returns:
        An `AttentionTensor` of the measure "gradient": one number, 0 or more, for each weight; rows are no
        distributions. With `MaskedLM` its tokens are those that the model saw, masks among them.

    Raises:
        ValidationError, InputError, TooLongError, AlignmentError, ModelError: as `gradients`.

    Examples:
        >>> from bertattn import Extractor, demo
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> a = attention_gradients(ext, "Snow falls.", objective=lambda outputs: outputs.last_hidden_state[0].norm())
        >>> a.measure, a.normalized, bool((a.weights >= 0).all())
        ('gradient', False, True)
    """
    if isinstance(objective, Contrastive):
        raise InputError("Contrastive compares pairs with each other; give them together: gradients(ext, pairs, ...)")
    [one] = gradients(ext, [x], objective=objective, layers=layers, attention=attention, spacing=spacing)
    return one.magnitude


def importance(gradients: Gradients, /, *, include_special: bool = True) -> dict[str, _arrays.Array]:
    """How large the gradients are for kinds of token attended to, for each head (Clark et al. 2019, Figure 3).

    The statistics are named "quantity/category/reduction/queries":

    - quantity: "gradient" is |dL / da|, "attention_x_gradient" the signed a dL / da.
    - category of the key, the token attended to: "unmasked", all that are no masks and not to be predicted (the paper's
      "all unmasked tokens"; with other objectives than `MaskedLM` all); "cls" and "sep"; "punctuation", tokens that are
      exactly "." or ","; "other", unmasked tokens that are neither special nor punctuation.
    - reduction: "sum_queries" sums over queries and averages over the keys of the category, one number a token attended
      to; "mean_entries" averages over both, queries that can reach the key. In a causal model few see a late token, so
      its sum is small whatever it means; compare "mean_entries" there. The paper does not say which it used, nor how
      its loss was reduced: only shapes and ratios between categories can be compared with its figure.
    - queries: "all", or "predicted", those at which a token is predicted. In the last layer the rows of all others are
      exactly 0 with a masked or causal language model, so that an average over all of them is low there.

    NaN where there is no such key or query.

    Args:
        gradients: of one input.
        include_special: whether special tokens are among the "unmasked"; the paper does not say.

    Returns:
        a dict of `[layer, head]`, float64, in units of the objective.

    Raises:
        ValidationError: no `Gradients`.

    Examples:
        >>> axis = Axis(["[CLS]", "yes", ".", "[SEP]"], roles=["cls", "mask", None, "sep"])
        >>> a = AttentionTensor(np.full((1, 1, 4, 4), 0.25), axis)
        >>> g = a.replace(weights=np.full((1, 1, 4, 4), -0.5), measure="signed_gradient", normalized=False)
        >>> found = importance(Gradients(a, g, 1.0, np.array([False, True, False, False])))
        >>> found["gradient/sep/sum_queries/all"], found["attention_x_gradient/sep/mean_entries/predicted"]
        (array([[2.]]), array([[-0.125]]))
    """
    if not isinstance(gradients, Gradients):
        raise ValidationError(
            f"importance is of what attribution.gradients gives, a Gradients, but got {type(gradients).__name__}"
        )
    predicted = gradients.predicted
    rows = {"all": np.arange(len(gradients.gradient.queries))}
    rows["predicted"] = np.flatnonzero(predicted) if predicted is not None else np.arange(0)
    keys = _categories(gradients.gradient.keys, include_special)
    weights = {
        "gradient": abs(gradients.gradient.weights),
        "attention_x_gradient": gradients.attention.weights * gradients.gradient.weights,
    }
    # A weight that is 0 in all heads of a layer, and whose gradient was set to 0 in all, is out of reach.
    in_reach = ((gradients.attention.weights != 0) | (gradients.gradient.weights != 0)).any(1)
    found: dict[str, _arrays.Array] = {}
    for quantity, queries in itertools.product(QUANTITIES, QUERIES):
        chosen, seen = weights[quantity], in_reach
        if queries == "predicted":
            chosen, seen = (_arrays.take(x, rows[queries], -2) for x in (chosen, in_reach))
        received = _arrays.to_numpy(_arrays.column_sums(chosen)).astype(np.float64)  # by each key
        entries = _arrays.to_numpy(seen.sum(-2)).astype(np.float64)
        for category, mask in keys.items():
            total = received @ mask
            sizes = {"sum_queries": np.array([[mask.sum()]]), "mean_entries": (entries @ mask)[:, None]}
            for reduction, size in sizes.items():
                values = total / np.where((size > 0) & (len(rows[queries]) > 0), size, np.nan)
                found[f"{quantity}/{category}/{reduction}/{queries}"] = _arrays.placed(values, chosen)
    return found


def gradient_importance(
    stream: Iterable[Gradients], /, *, include_special: bool = True, progress: bool = False
) -> Summary:
    """`importance`, averaged over a corpus: the numbers of Figure 3 of Clark et al. (2019).

    Args:
        stream: what `gradients` gives, or a list of it.
        include_special: as `importance`.
        progress: show a bar.

    Returns:
        A `Summary`: mean and standard error of each statistic over inputs, which adds, saves and tabulates. The two
        passages of a pair of `Contrastive` are one observation, the mean of both. (All pairs of a batch hang together
        through their loss, which the standard errors do not know: they are too small where there are few batches.)

    An exception on the way has the summary of what was done so far as its attribute `partial`, as with `summarize`.

    Raises:
        ValidationError: no stream of `Gradients`, an empty one, or gradients that do not belong together.

    Examples:
        >>> from bertattn import Extractor, demo
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> found = gradients(ext, demo.passages()[:4], objective=Contrastive())
        >>> summary = gradient_importance(found)
        >>> summary.sequences, summary.mean("gradient/sep/sum_queries/all").shape
        (4, (6, 12))
    """
    if isinstance(stream, Gradients):
        raise ValidationError("stream is one Gradients; call importance on it, or give a list: [gradients]")

    if not isinstance(stream, Iterable):
        raise ValidationError(f"stream must be an iterable of Gradients, but is {type(stream).__name__}")

    def one(items: Sequence[Gradients], _: int) -> Summary:
        step = f"importance(include_special={include_special})"
        found = [importance(item, include_special=include_special) for item in items]
        means = {name: _arrays.nan_mean(np.stack([_arrays.to_numpy(x[name]) for x in found], -1)) for name in found[0]}
        summary = summary_of(items[0].magnitude._with(step=step), means)
        return dataclasses.replace(summary, queries=sum(len(item.gradient.queries) for item in items))

    return accumulated(_Observations(stream), one, progress=progress, caller="gradient_importance")


class _Observations:
    """A stream of gradients as what is independent of each other: one input, or both passages of a pair."""

    def __init__(self, stream: Iterable[Gradients]) -> None:
        self._stream = stream
        for name in ("skipped", "truncated"):
            if hasattr(stream, name):
                setattr(self, name, getattr(stream, name))

    def __length_hint__(self) -> int:  # of pairs twice as many as there are, which only a bar shows
        return operator.length_hint(self._stream)

    def __iter__(self) -> Iterator[tuple[Gradients, ...]]:
        first: tuple[Gradients, ...] = ()
        for number, item in enumerate(self._stream):
            if not isinstance(item, Gradients):
                raise ValidationError(
                    f"item {number} of the stream is a {type(item).__name__}, not Gradients; give gradients(ext, "
                    "inputs, objective=...)"
                )
            if first and item.passage == 1:
                yield (*first, item)
                first = ()
                continue
            if first:
                yield first
            first = (item,) if item.passage == 0 else ()
            if not first:
                yield (item,)
        if first:
            yield first


def _check_mode(ext: Extractor) -> None:
    if torch.is_inference_mode_enabled():
        raise InputError("inside torch.inference_mode() no gradient can be computed; leave that block")
    if any(parameter.is_inference() for parameter in ext._whole.parameters()):
        raise ModelError("the model was made inside torch.inference_mode(), so it has no gradients; load it outside")


def _losses(ext: Extractor, objective: Objective, outputs: Any, items: Sequence[Prepared]) -> torch.Tensor:
    _check_mode(ext)  # the stream may be read elsewhere than it was made
    try:
        return losses_of(objective, outputs, items)
    except InputError as error:
        error.add_note(f"at the input that begins {' '.join(items[0].axis.tokens[:8])!r}")
        raise


def _cropped(
    ext: Extractor,
    batch: Batch,
    row: int,
    item: Prepared,
    /,
    *,
    objective: Objective,
    step: str,
    kind: Kind,
    spacing: str,
    loss: int,
    passage: int | None = None,
) -> Gradients:
    """The gradients of one input without padding; its loss is number `loss` of the batch."""
    check_model(objective, ext)  # once more: of some models the first maps show whether they are causal
    labels = (item if item.target is None else item.target).labels
    if kind == "encoder" and item.target is not None:
        item, labels = dataclasses.replace(item, target=None), None
    attention = ext._cropped(batch, row, item, kind, spacing)
    slopes = ext._cropped(dataclasses.replace(batch, maps=list(batch.gradients)), row, item, kind, spacing)
    losses: Any = batch.losses
    return Gradients(
        attention,
        attention._with(
            weights=slopes.weights,
            measure="signed_gradient",
            normalized=False,
            step=step,
        ),
        float(losses[loss]),
        None if labels is None else np.array([label is not None for label in labels]),
        passage,
    )


@dataclass(frozen=True)
class _Pair:
    """Two inputs that are compared."""

    first: Prepared
    second: Prepared

    @property
    def cut(self) -> int:
        return self.first.cut + self.second.cut


def _pairing(ext: Extractor, kind: Kind, spacing: str) -> Any:
    def pair(x: Any, truncate: bool) -> _Pair:
        if not isinstance(x, TextPair):
            raise InputError(
                f"Contrastive compares passages in pairs; give TextPair(first, second), not {type(x).__name__}"
            )
        first, second = (ext._prepare(t, kind, truncate=truncate, spacing=spacing) for t in (x.first, x.second))
        return _Pair(first, second)

    return pair


def _compared(
    ext: Extractor, read: Read[_Pair], forward: Any, cropped: Any, *, kind: Kind, batch_size: int, progress: bool
) -> Iterator[Gradients]:
    """Both passages of each pair, the pairs of a batch compared with each other."""
    with tqdm(total=read.total or None, disable=not progress, unit="pair", desc="gradients") as bar:
        for pairs in _together(read.items, batch_size):
            items = [pair.first for pair in pairs] + [pair.second for pair in pairs]
            plain = functools.partial(ext._forward, kind=kind, layers=None)
            if len({len(item.ids) for item in items}) > 1 and not ext._is_padding_harmless(items, kind, plain):
                raise ModelError(
                    f"padding changes the numbers of {ext._source.architecture}, so passages of different lengths "
                    "cannot be compared in one batch, as Contrastive does; give passages of as many tokens each"
                )
            batch = forward(items)
            found = [
                cropped(batch, number + passage * len(pairs), item, loss=number, passage=passage)
                for number, pair in enumerate(pairs)
                for passage, item in enumerate((pair.first, pair.second))
            ]
            del batch  # before the next is made, or a slow consumer goes on
            while found:
                yield found.pop(0)
                bar.update(0.5)


def _together(pairs: Iterable[_Pair | None], size: int) -> Iterator[Sequence[_Pair]]:
    """So many at a time; a single one that is left joins those before it, since it has nothing to be compared with.

    An error comes after the pairs that were read before it.
    """
    batch: list[_Pair] = []
    full: list[_Pair] = []
    try:
        for pair in pairs:
            if pair is None:
                continue
            if len(batch) == size:
                if full:
                    yield full
                full, batch = batch, []
            batch.append(pair)
    except Exception:
        for left in (full, batch):
            if len(left) > 1:
                yield left
        raise
    if len(batch) == 1:
        full, batch = full + batch, []
    if len(full) == 1:
        raise InputError("Contrastive compares pairs with each other, but there is a single one; give at least two")
    for left in (full, batch):
        if left:
            yield left


def _categories(axis: Axis, include_special: bool) -> dict[str, Numpy]:
    """`[key]`: 1 for the tokens of each category, as numbers to multiply with."""
    predicted, special = axis.role_mask("mask"), axis.special
    punctuation = axis.token_mask(".", ",")
    masks = {
        "unmasked": ~predicted if include_special else ~predicted & ~special,
        "cls": axis.role_mask("cls"),
        "sep": axis.role_mask("sep"),
        "punctuation": punctuation,
        "other": ~predicted & ~special & ~punctuation,
    }
    return {name: mask.astype(np.float64) for name, mask in masks.items()}
