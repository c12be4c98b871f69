"""The one gradient of an objective by attention weights, from which attributions are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bertattn.errors import InputError, ModelError


@dataclass(frozen=True)
class Differentiated:
    """The gradients `[batch, head, query, key]` of the sum of the losses `[batch]`, one a map."""

    losses: torch.Tensor
    gradients: tuple[torch.Tensor, ...]


def differentiated(losses: object, maps: Sequence[torch.Tensor], *, architecture: str) -> Differentiated:
    """d(sum of losses) / d(map), each weight a variable of its own: that rows sum to 1 is not kept.

    A map on which no loss depends has gradients of 0. No gradient is computed by anything else, so the parameters of
    the model keep theirs.

    Raises:
        InputError: the losses are no tensor, not computed from the outputs, or they or their gradients are not finite.
        ModelError: none of the maps lies on the way to the losses.
    """
    if not isinstance(losses, torch.Tensor) or losses.ndim > 1 or not losses.numel():
        shown = f"a tensor of shape {tuple(losses.shape)}" if isinstance(losses, torch.Tensor) else repr(losses)[:60]
        raise InputError(f"the objective must give one number, a tensor of shape (), but gave {shown}")
    if not losses.is_floating_point() or not bool(losses.isfinite().all()):
        raise InputError(f"the objective must be a finite number, but is {losses.detach().tolist()}")
    if not losses.requires_grad:
        raise InputError(
            "the objective does not depend on the model's outputs, or was taken out of the graph; compute it with "
            "torch from outputs, without detach, item, numpy or no_grad"
        )
    try:
        found = torch.autograd.grad(losses.sum(), list(maps), allow_unused=True)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"the objective cannot be differentiated ({reason}); it must give a number, and leave backward to us"
        ) from error
    if all(gradient is None for gradient in found):
        raise ModelError(
            f"the objective does not depend on the attention of {architecture} through the maps that it shows: either "
            "it reads nothing that attention flows into, or the model hands out copies of its maps"
        )
    gradients = tuple(torch.zeros_like(m) if g is None else g.detach() for m, g in zip(maps, found, strict=True))
    for number, gradient in enumerate(gradients, start=1):
        if not bool(gradient.isfinite().all()):
            raise InputError(
                f"the gradients of layer {number} of {len(gradients)} are not finite, though the objective is: load "
                "the model in float32, or make the objective smaller (and smooth where it is taken)"
            )
    return Differentiated(losses.detach().reshape(-1), gradients)
