"""The one hook into models: a function registered with transformers' AttentionInterface that sees every layer.

The hook lets the model's own eager attention do the arithmetic, in single precision at least, and notes what went in
and what came out. It is live only inside `recorded`: the model's configs name it for the length of one forward call of
ours and are put back afterwards, also after an exception or Ctrl-C. Calls from other threads, and from models that
happen to share a config, pass through it unrecorded.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.masking_utils import eager_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bertattn.errors import ModelError, SelectionError

NAME = "bertattn"

T = TypeVar("T")

_CROSS = re.compile(r"encoder_attn|EncDecAttention|cross_?attn|cross_?attention", re.IGNORECASE)
_lock = threading.RLock()
_local = threading.local()  # .recording: the one that is open in this thread
_original: dict[int, str] = {}  # what the configs (by id) that name the hook just now named before


@dataclass
class Call:
    """One layer's attention in one forward call: `[batch, head, …]`, weights in single precision at least."""

    weights: torch.Tensor
    query: torch.Tensor | None = None
    key: torch.Tensor | None = None
    value: torch.Tensor | None = None
    scaling: float = 1.0
    bias: torch.Tensor | None = None
    softcap: float | None = None


@dataclass
class Recording:
    """The calls of one kind ("encoder", "decoder" or "cross"; None for a model with one kind only), in order.

    Attributes:
        ablated: for kind and number of a layer the heads whose output is set to 0.
        counts: how many calls of each kind there were, kept or not.
        sinks: whether some of the mass goes to a sink outside the keys.
        incomplete: whether a layer chose among the keys and left it to the attention function to leave out the others.
        gradients: whether weights are to be differentiated by, also those of a model whose parameters are frozen.
    """

    kind: str | None
    layers: Collection[int] | None
    vectors: bool
    paths: dict[torch.nn.Module, str]
    ablated: Mapping[tuple[str | None, int], Collection[int]] = field(default_factory=dict)
    calls: dict[int, Call] = field(default_factory=dict)
    counts: dict[str | None, int] = field(default_factory=dict)
    sinks: bool = False
    incomplete: bool = False
    gradients: bool = False

    @property
    def seen(self) -> int:
        """How many calls of the kind there were."""
        return self.counts.get(self.kind, 0)

    def place(self, module: torch.nn.Module) -> tuple[str | None, int] | None:
        """Kind and number of this layer, which this counts; None if it is no part of the model."""
        if module not in self.paths:
            return None
        kind = None if self.kind is None else kind_of(self.paths[module])
        number = self.counts.get(kind, 0)
        self.counts[kind] = number + 1
        return kind, number

    def keeps(self, place: tuple[str | None, int]) -> bool:
        """Whether this layer is to be kept."""
        kind, number = place
        return kind == self.kind and (self.layers is None or number in self.layers)


def kind_of(path: str) -> str:
    """ "cross", "decoder" or "encoder", from a module's path in an encoder-decoder model."""
    if _CROSS.search(path):
        return "cross"
    sides = [part for part in path.split(".") if part in ("encoder", "decoder")]
    return sides[0] if sides else "encoder"


def _eager_of(module: torch.nn.Module) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """The eager attention that stands beside the module's class: it knows the model's keywords (soft caps, sinks …)."""
    for parent in type(module).__mro__:
        own = getattr(sys.modules.get(parent.__module__), "eager_attention_forward", None)
        if own is not None:
            return own  # type: ignore[no-any-return]
    return _plain_attention


def _found(module: torch.nn.Module, eager: Callable[..., Any]) -> Callable[..., Any]:
    """What the module would call if it were not for us.

    A forward call that another thread began before the switch has no mask, or not one of numbers to add: only the
    function it was made for reads it rightly.
    """
    config = getattr(module, "config", None)
    name = getattr(config, "_attn_implementation_internal", None)
    if name == NAME:
        name = _original.get(id(config))
    return eager if name in (None, NAME) else ALL_ATTENTION_FUNCTIONS.get_interface(name, eager)


def _plain_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **keywords: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    unknown = sorted(name for name, value in keywords.items() if _may_count(name, value))
    if unknown:
        raise ModelError(
            f"{type(module).__name__} passes {', '.join(unknown)} to its attention function, and what that does to the "
            f"weights cannot be known from outside: write eager_attention_forward, which returns (output, weights), in "
            f"the module of the class ({type(module).__module__}), as transformers' own models do"
        )
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    logits = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    weights = (logits if attention_mask is None else logits + attention_mask).softmax(-1)
    dropped = torch.nn.functional.dropout(weights, p=dropout, training=module.training)
    return (dropped @ value).transpose(1, 2).contiguous(), weights


def _may_count(name: str, value: object) -> bool:
    """Whether a keyword may change the weights; flags, sizes and whole-numbered positions are there for kernels."""
    if name in ("softcap", "position_bias", "s_aux", "sinks"):
        return value is not None
    return isinstance(value, float) or (isinstance(value, torch.Tensor) and value.is_floating_point())


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch gives it no type
def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **keywords: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What models call instead of their own attention while a recording is open."""
    recording: Recording | None = getattr(_local, "recording", None)
    own = _eager_of(module)
    place = None if recording is None else recording.place(module)
    if recording is None or place is None or not (recording.keeps(place) or place in recording.ablated):
        if attention_mask is None or not attention_mask.is_floating_point():
            own = _found(module, own)
        return own(module, query, key, value, attention_mask, **keywords)
    kind = torch.promote_types(query.dtype, torch.float32)
    if recording.gradients and not query.requires_grad:
        query = query.detach().requires_grad_()
    output, weights = own(module, query.to(kind), key.to(kind), value.to(kind), attention_mask, **keywords)
    if place in recording.ablated:
        output = _without(output, recording.ablated[place], layer=place[1], heads=query.shape[1])
    if not recording.keeps(place):
        return output.to(value.dtype), weights
    call = Call(weights)
    sinks = (keywords.get("s_aux"), keywords.get("sinks"), getattr(module, "sinks", None))
    recording.sinks |= any(s is not None for s in sinks)
    recording.incomplete |= any(keywords.get(name) is not None for name in ("indices", "block_indices"))
    if recording.vectors or recording.gradients:
        call.bias = keywords.get("position_bias")
        if attention_mask is not None:
            call.bias = attention_mask if call.bias is None else call.bias + attention_mask
    if recording.vectors:
        groups = query.shape[1] // key.shape[1]
        scaling = keywords.get("scaling")
        call.query = query.to(kind)
        call.key, call.value = (x.to(kind).repeat_interleave(groups, 1) for x in (key, value))
        call.scaling = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
        call.softcap = keywords.get("softcap")
    recording.calls[place[1]] = call
    return output.to(value.dtype), weights


def _without(output: torch.Tensor, ablated: Collection[int], *, layer: int, heads: int) -> torch.Tensor:
    """`[batch, query, head, dimension]` with 0 for some heads."""
    if max(ablated) >= heads:
        raise SelectionError(
            f"there is no head {layer + 1}-{max(ablated) + 1} to ablate; layer {layer + 1} has {heads}"
        )
    return output.index_fill(2, torch.tensor(sorted(ablated), device=output.device), 0.0)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, eager_mask)


def _configs(model: torch.nn.Module) -> list[PreTrainedConfig]:
    """Every config that some part of the model reads, each once."""
    found: dict[int, PreTrainedConfig] = {}

    def add(config: object) -> None:
        if isinstance(config, PreTrainedConfig) and id(config) not in found:
            found[id(config)] = config
            for name in config.sub_configs:
                add(getattr(config, name, None))

    for module in model.modules():
        add(getattr(module, "config", None))
    return list(found.values())


def switched(model: torch.nn.Module, implementation: str, call: Callable[[], T], *, gradients: bool = False) -> T:
    """`call()`, the model having another attention implementation and being in evaluation mode.

    Without gradients, unless they are asked for.

    Afterwards the model, and whether this thread computes gradients, are exactly as they were found. The private
    attribute is set, and not `set_attn_implementation` called, because that one misses encoder-decoder pairs, only logs
    on models without the interface, and is missing on wrappers. No context manager, not even torch's own, since Ctrl-C
    may come between its entry and the block that it guards, or in the middle of its exit.
    """
    with _lock:
        before = [(config, config._attn_implementation_internal) for config in _configs(model)]
        training = [module for module in model.modules() if module.training]
        enabled = torch.is_grad_enabled()

        def put_back() -> None:
            torch.set_grad_enabled(enabled)
            for config, value in before:
                config._attn_implementation_internal = value
                if value != NAME:
                    _original.pop(id(config), None)
            for module in training:
                module.training = True

        try:
            torch.set_grad_enabled(gradients)
            for config, value in before:
                if value != NAME:
                    _original[id(config)] = value or "eager"
                config._attn_implementation_internal = implementation
            for module in training:
                module.training = False
            return call()
        finally:
            try:
                put_back()
            except BaseException:  # Ctrl-C in the middle of it
                put_back()
                raise


def recorded(
    model: torch.nn.Module,
    call: Callable[[], T],
    *,
    kind: str | None = None,
    layers: Collection[int] | None = None,
    vectors: bool = False,
    ablated: Mapping[tuple[str | None, int], Collection[int]] | None = None,
    then: Callable[[T, Recording], None] | None = None,
) -> tuple[T, Recording]:
    """`call()` and the attention of `model`'s forward calls in it; the lock keeps other threads' recordings waiting.

    With `then` gradients are computed, and the weights are part of the graph of the outputs; it is called with both
    before the model is put back.
    """
    paths = {module: path for path, module in model.named_modules()}
    record = Recording(kind, layers, vectors, paths, ablated or {}, gradients=then is not None)

    def recording() -> T:
        outer = getattr(_local, "recording", None)
        try:
            _local.recording = record
            outputs = call()
            if then is not None:
                then(outputs, record)
            return outputs
        finally:
            _local.recording = outer

    return switched(model, NAME, recording, gradients=then is not None), record
