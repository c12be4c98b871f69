"""The one hook into models: a function registered with transformers' AttentionInterface that sees every layer.

The hook lets the model's own eager attention do the arithmetic, in single precision at least, and notes what went in
and what came out. It is live only inside `recording`: the model's configs name it for the length of one forward call
of ours and are put back afterwards, also after an exception. Calls from other threads, and from models that happen to
share a config, pass through it unrecorded.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.masking_utils import eager_mask

NAME = "bertattn"

_CROSS = re.compile(r"encoder_attn|EncDecAttention|cross_?attn|cross_?attention", re.IGNORECASE)
_lock = threading.RLock()
_active: WeakKeyDictionary[torch.nn.Module, Recording] = WeakKeyDictionary()


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
    """The calls of one kind ("encoder", "decoder" or "cross"; None for a model with one kind only), in order."""

    kind: str | None
    layers: Collection[int] | None
    vectors: bool
    paths: dict[torch.nn.Module, str]
    thread: int = field(default_factory=threading.get_ident)
    calls: dict[int, Call] = field(default_factory=dict)
    seen: int = 0
    sinks: bool = False

    def wants(self, module: torch.nn.Module) -> int | None:
        """The number of this layer if it is to be kept."""
        if self.thread != threading.get_ident():
            return None
        if self.kind is not None and kind_of(self.paths[module]) != self.kind:
            return None
        number, self.seen = self.seen, self.seen + 1
        return number if self.layers is None or number in self.layers else None


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
    unknown = sorted(name for name in ("softcap", "position_bias", "s_aux", "sinks") if keywords.get(name) is not None)
    if unknown:
        raise NotImplementedError(f"{type(module).__name__} passes {', '.join(unknown)} but brings no eager attention")
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    logits = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    weights = (logits if attention_mask is None else logits + attention_mask).softmax(-1)
    dropped = torch.nn.functional.dropout(weights, p=dropout, training=module.training)
    return (dropped @ value).transpose(1, 2).contiguous(), weights


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
    recording = _active.get(module)
    own = _eager_of(module)
    number = None if recording is None else recording.wants(module)
    if recording is None or number is None:
        return own(module, query, key, value, attention_mask, **keywords)
    kind = torch.promote_types(query.dtype, torch.float32)
    output, weights = own(module, query.to(kind), key.to(kind), value.to(kind), attention_mask, **keywords)
    call = Call(weights)
    sinks = (keywords.get("s_aux"), keywords.get("sinks"), getattr(module, "sinks", None))
    recording.sinks |= any(s is not None for s in sinks)
    if recording.vectors:
        groups = query.shape[1] // key.shape[1]
        scaling, bias = keywords.get("scaling"), keywords.get("position_bias")
        if attention_mask is not None:
            bias = attention_mask if bias is None else bias + attention_mask
        call.query = query.to(kind)
        call.key, call.value = (x.to(kind).repeat_interleave(groups, 1) for x in (key, value))
        call.scaling = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
        call.bias, call.softcap = bias, keywords.get("softcap")
    recording.calls[number] = call
    return output.to(value.dtype), weights


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


@contextmanager
def switched(model: torch.nn.Module, implementation: str) -> Iterator[None]:
    """The model with another attention implementation and in evaluation mode; afterwards exactly as it was found.

    The private attribute is set, and not `set_attn_implementation` called, because that one misses encoder-decoder
    pairs, only logs on models without the interface, and is missing on wrappers.
    """
    with _lock:
        before = [(config, config._attn_implementation_internal) for config in _configs(model)]
        training = [module for module in model.modules() if module.training]
        try:
            for config, _ in before:
                config._attn_implementation_internal = implementation
            for module in training:
                module.training = False
            yield
        finally:
            for config, value in before:
                config._attn_implementation_internal = value
            for module in training:
                module.training = True


@contextmanager
def recording(
    model: torch.nn.Module, *, kind: str | None, layers: Collection[int] | None = None, vectors: bool = False
) -> Iterator[Recording]:
    """Record the attention of `model`'s forward calls in this thread; the lock keeps other recordings waiting."""
    record = Recording(kind, layers, vectors, {module: path for path, module in model.named_modules()})
    with switched(model, NAME):
        outer = {module: _active[module] for module in record.paths if module in _active}
        for module in record.paths:
            _active[module] = record
        try:
            yield record
        finally:
            for module in record.paths:
                _active.pop(module, None)
            _active.update(outer)
