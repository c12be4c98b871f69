"""The section on gradients: how much the objective hangs on attention (Clark et al. 2019, Figure 3)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bertattn import _arrays, figures
from bertattn.attribution import CausalLM, Contrastive, MaskedLM, gradient_importance, own_objective
from bertattn.errors import InputError, ModelError, ValidationError
from bertattn.inputs import TextPair
from bertattn.report._parts import Picture, Results, Shown, Table, blank, given
from bertattn.statistics import Summary

if TYPE_CHECKING:
    from bertattn.attribution import GradientStream
    from bertattn.extract import Extractor, Input
    from bertattn.report._keeping import Keeping

__all__ = ["measured", "section"]

CATEGORIES: Final = {
    "unmasked": "all unmasked tokens",
    "sep": "[SEP]",
    "punctuation": ". or ,",
    "cls": "[CLS]",
    "other": "other tokens",
}
OBJECTIVES: Final = {
    "MaskedLM": "the loss of the masked language model, with 15% of the tokens hidden as in BERT's training",
    "CausalLM": "the loss of the language model, which predicts each next token",
    "Contrastive": (
        "the loss that sentence encoders are trained with: each passage is to be more similar to the one that follows "
        "it than to the others of its batch, whose size is part of the definition (this model has no "
        "language-modelling head)"
    ),
}


def measured(inputs: Sequence[Input], ext: Extractor, keeping: Keeping, /) -> tuple[Summary, str] | str:
    """The statistics of Figure 3 and the objective they are of; or why there are none.

    Raises:
        StorageError, OSError: as `Keeping`.
    """
    objective: MaskedLM | CausalLM | Contrastive | None = own_objective(ext)
    if objective is None and all(isinstance(x, TextPair) for x in inputs):
        objective = Contrastive()
    if objective is None:
        return (
            "the model has no language-modelling head whose loss could be differentiated, and the inputs are no pairs "
            "of passages, which a sentence encoder could be asked to match"
        )
    importance = functools.partial(_importance, inputs=len(inputs))
    try:
        found = keeping.sum(
            "gradients", ext, inputs, importance, objective=objective, on_too_long="truncate", on_error="skip"
        )
    except (InputError, ModelError) as error:
        return str(error)
    return found, type(objective).__name__


def _importance(stream: GradientStream, /, *, inputs: int) -> Summary:
    try:
        return gradient_importance(stream)
    except ValidationError:
        if len(stream.skipped) < inputs:
            raise
        raise InputError(f"no input gives a loss: {stream.skipped[0].reason}") from None


def section(results: Results) -> Shown:
    """Figure 3, for gradients and for attention times gradient."""
    summary, objective = given(results.gradients), given(results.objective)
    rows = [
        {"layer": layer + 1, **_columns(summary, "gradient", i), **_columns(summary, "attention_x_gradient", i)}
        for i, layer in enumerate(summary.layers)
    ]
    what = (
        "How much one attention weight matters: |∂L/∂a|, how fast L changes with it, where L is "
        f"{OBJECTIVES[objective]}. Every weight is taken as a variable of its own. For each token attended to, the "
        "gradients are summed over the tokens that attend, then averaged over tokens, heads and texts."
    )
    if objective == "MaskedLM":
        what += (
            " In the last layer only the tokens at which something is predicted can change the loss, so sums over all "
            "tokens tend to be low there."
        )
    elif objective == "CausalLM":
        what += (
            " Tokens late in a text are seen by few others, so their sums are small whatever they mean: compare kinds "
            "of token by the means over the queries that see them (mean_entries in gradient_importance.csv)."
        )
    if objective == "Contrastive":
        what += (
            " The last batch is smaller where the passages do not fill it, so that its loss is another. The two "
            "passages of a pair are one observation of the intervals; pairs of one batch hang together too, which "
            "they do not count."
        )
    compared = (
        "Only shapes and ratios can be compared with other figures of this kind: the size depends on how the loss is "
        "averaged. Attention times gradient, in the second figure, says to first order what the loss would lose (below "
        "0: gain) if the weight were 0."
    )
    pictures = (
        Picture(
            "figure3",
            figures.gradient_figure(summary, figure=blank()),
            "The size of the gradient by layer, for attention to all (unmasked) tokens, to [SEP] and to full stops and "
            "commas; a dot is a head, bars are 95% intervals over texts of the mean of a layer's heads, as if all of "
            "them rose and fell as one. (As Figure 3 of Clark et al. 2019.)",
            "Gradient of the objective by attention weights, by layer and kind of token.",
            numbers=("gradients.csv", "gradient_importance.csv"),
        ),
        Picture(
            "attention_x_gradient",
            figures.gradient_figure(summary, quantity="attention_x_gradient", figure=blank()),
            "Attention times gradient, with its sign, likewise: above 0 where the weight makes the loss larger.",
            "Attention times gradient by layer and kind of token.",
            numbers=("gradients.csv", "gradient_importance.csv"),
        ),
    )
    table = Table(
        "gradients",
        "The numbers of both figures, means over each layer's heads. The CSV file has the intervals.",
        rows,
        folded=True,
        precision=".2g",
        aside=tuple(name for name in rows[0] if name.endswith((" low", " high"))),
    )
    return Shown(text=(what, compared), pictures=pictures, tables=(table,), highlights=_highlights(summary))


def _highlights(summary: Summary) -> tuple[str, ...]:
    """In which layer attention matters most."""
    name = "gradient/unmasked/sum_queries/all"
    means = _arrays.nan_mean(summary.mean(name))
    if len(means) < 2 or np.isnan(means).any():
        return ()
    low, high = (_arrays.nan_mean(x) for x in summary.interval(name))
    most, least = int(np.argmax(means)), int(np.argmin(means))
    interval = "no interval: one text" if np.isnan(low[most]) else f"95% CI {low[most]:.2g} to {high[most]:.2g}"
    sentence = (
        f"|∂L/∂a| per token attended to is largest in layer {summary.layers[most] + 1} on average: "
        f"{means[most]:.2g} ({interval}), and smallest in layer {summary.layers[least] + 1}: {means[least]:.2g}."
    )
    return (sentence,)


def _columns(summary: Summary, quantity: str, layer: int) -> dict[str, Any]:
    """Mean, low and high of each category in one layer."""
    short = "" if quantity == "gradient" else "a·∂L/∂a, "
    columns: dict[str, Any] = {}
    for category, label in CATEGORIES.items():
        name = f"{quantity}/{category}/sum_queries/all"
        if np.isnan(summary.mean(name)).all():
            continue
        low, high = summary.interval(name)
        for ending, values in (("", summary.mean(name)), (" low", low), (" high", high)):
            columns[f"{short}{label}{ending}"] = float(_arrays.nan_mean(values[layer]))
    return columns
