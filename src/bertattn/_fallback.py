"""Attention of models that do not use transformers' AttentionInterface, through their own `output_attentions`.

What comes back is checked before it is believed: one `[batch, head, query, key]` map a layer, rows that are
distributions, no mass on padding. Anything else is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch

from bertattn import _hook
from bertattn.errors import ModelError

HALVES = (torch.float16, torch.bfloat16)
_NAMES = {
    "encoder": ("attentions", "encoder_attentions"),
    "decoder": ("decoder_attentions", "attentions"),
    "cross": ("cross_attentions",),
}


def run(
    model: Any,
    inputs: dict[str, Any],
    *,
    attention: str,
    hidden: bool = False,
    then: Callable[[Any, list[torch.Tensor]], None] | None = None,
) -> tuple[list[torch.Tensor], Any]:
    """The maps of every layer and the model's outputs, from one call with `output_attentions=True`.

    With `then` gradients are computed, and it is called with outputs and maps before the model is put back.
    """
    banded: list[torch.Tensor] = []  # which tokens are global, as the first layer of Longformer or LED is told
    layers = (m for m in model.modules() if type(m).__name__ in ("LongformerLayer", "LEDEncoderLayer"))
    hooks: list[Any] = []

    def call() -> Any:
        if then is not None:  # a frozen model has no graph otherwise
            hooks.append(model.get_input_embeddings().register_forward_hook(start_of_graph))
        hooks.extend(m.register_forward_pre_hook(note_globals, with_kwargs=True) for m in islice(layers, 1))
        outputs = model(**inputs, output_attentions=True, output_hidden_states=hidden)
        if then is not None:
            then(outputs, _maps_in(outputs, attention, model))
        return outputs

    def start_of_graph(_module: Any, _args: Any, embedded: Any) -> Any:
        return embedded if embedded.requires_grad else embedded.detach().requires_grad_()

    def note_globals(_module: Any, _args: Any, keywords: dict[str, Any]) -> None:
        banded.append(keywords["is_index_global_attn"])

    def unhook() -> None:
        for hook in hooks:
            hook.remove()

    try:
        outputs = _hook.switched(model, "eager", call, gradients=then is not None)
    except TypeError as error:
        raise ModelError(
            f"{type(model).__name__} neither uses transformers' AttentionInterface nor takes output_attentions: {error}"
        ) from error
    finally:
        try:
            unhook()
        except BaseException:  # Ctrl-C in the middle of it
            unhook()
            raise
    maps = _maps_in(outputs, attention, model)
    mask = inputs["attention_mask"]
    if banded and attention == "encoder":
        is_global = banded[0][:, : mask.shape[1]]
        maps = [
            dense_bands(local, across, is_global, mask.bool())
            for local, across in zip(maps, outputs.get("global_attentions") or [None] * len(maps), strict=True)
        ]
    return maps, outputs


def _maps_in(outputs: Any, attention: str, model: torch.nn.Module) -> list[torch.Tensor]:
    maps: Sequence[Any] = next((m for m in (getattr(outputs, n, None) for n in _NAMES[attention]) if m), ())
    if not maps or any(not isinstance(m, torch.Tensor) for m in maps):
        raise ModelError(
            f"{type(model).__name__} computes no attention that can be read: it neither uses transformers' "
            "AttentionInterface nor returns maps when asked for output_attentions"
        )
    return list(maps)


def widened(layer: torch.Tensor) -> torch.Tensor:
    """In single precision at least; what rounding to half precision took from a row, or added, is shared out again."""
    if layer.dtype not in HALVES:
        return layer
    layer = layer.float()
    return layer / layer.sum(-1, keepdim=True).clamp_min(torch.finfo(layer.dtype).tiny)


def reachable(gradients: torch.Tensor, layer: torch.Tensor) -> torch.Tensor:
    """In single precision at least, with 0 at keys that a query gives exactly 0 in all heads: it cannot reach them."""
    wide = gradients.to(torch.promote_types(gradients.dtype, torch.float32))
    return wide.masked_fill((layer.detach() == 0).all(1, keepdim=True), 0)


def check(maps: Sequence[torch.Tensor], query_mask: torch.Tensor, key_mask: torch.Tensor, *, model: str) -> bool:
    """Whether rows are distributions (False: they sum to less, some of the mass going to a sink outside the keys).

    Args:
        maps: `[batch, head, query, key]`, one a layer.
        query_mask, key_mask: bool `[batch, token]`, False for padding.
        model: its class, for the error.

    Raises:
        ModelError: maps of other shapes, negative or undefined numbers, rows above 1, mass on padding.
    """
    wanted = (query_mask.shape[1], key_mask.shape[1])
    shapes = sorted({tuple(m.shape) for m in maps})
    if any(len(shape) != 4 or shape[2:] != wanted for shape in shapes) or len(shapes) > 1:
        raise ModelError(
            f"{model} gives maps of shape {', '.join(map(str, shapes))}, not [batch, head, {wanted[0]}, {wanted[1]}] "
            "in every layer: it has no dense attention over the tokens"
        )
    tolerance = 1e-2 if maps[0].dtype in HALVES else 1e-3
    full = True
    for number, layer in enumerate(m.to(torch.promote_types(m.dtype, torch.float32)) for m in maps):
        rows = layer.sum(-1).masked_select(query_mask[:, None].expand(layer.shape[:3]))
        low, high = float(layer.min()), float(rows.max())
        if not (low >= 0 and high <= 1 + tolerance):
            raise ModelError(
                f"{model} gives numbers that are no attention weights (layer {number + 1}: smallest {low:.4g}, largest "
                f"row sum {high:.4g}): they may be logits"
            )
        full &= float(rows.min()) >= 1 - tolerance
        padding = float(
            layer.masked_fill(key_mask[:, None, None], 0).masked_fill(~query_mask[:, None, :, None], 0).max()
        )
        if padding > 1e-6:
            raise ModelError(f"{model} attends to padding (layer {number + 1}: weight {padding:.4g})")
    return full


def dense_bands(
    local: torch.Tensor, across: torch.Tensor | None, is_global: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Longformer's bands as dense `[batch, head, query, key]` maps, in the layout that was measured.

    Args:
        local: `[batch, head, query, globals + window + 1]`; column c is the c-th global key, then come the keys from
            half a window before the query to half a window after it.
        across: `[batch, head, padded key, globals]`, the rows of the global queries; None without global tokens.
        is_global, mask: bool `[batch, token]`: global tokens, and tokens that are no padding.
    """
    batch, heads, tokens, width = local.shape
    most = 0 if across is None else across.shape[-1]
    window = width - most - 1
    dense = local.new_zeros(batch, heads, tokens, tokens + window)
    rows = torch.arange(tokens, device=local.device)
    columns = rows[:, None] + torch.arange(window + 1, device=local.device)  # shifted right by half a window
    dense.scatter_(3, columns.expand(batch, heads, -1, -1), local[..., most:])
    dense = dense[..., window // 2 : window // 2 + tokens].clone()
    for item in range(batch):
        positions = is_global[item].nonzero()[:, 0]
        if across is not None and len(positions):
            dense[item, :, :, positions] += local[item, :, :, : len(positions)]
            dense[item, :, positions] = across[item, :, :tokens, : len(positions)].transpose(1, 2)
        dense[item, :, ~mask[item]] = 0
    return dense
