"""The neuron view: how a query vector and key vectors make attention weights, dimension by dimension (Vig 2019).

The page holds queries and keys and computes all else from them, as the model did:

    logit = cap * tanh(scaling * q . k / cap) + bias,    weight = softmax of the logits over the keys

without the cap, the bias or the mask where the model has none. A sink outside the keys takes its share of the softmax.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.errors import ModelError, SelectionError, ValidationError
from bertattn.tensor import AttentionTensor, HeadName, format_head, parse_head
from bertattn.views._html import HTMLView
from bertattn.views._page import page
from bertattn.views._payload import array_payload, axis_payload, default_title, place

if TYPE_CHECKING:
    from bertattn.extract import Capture

__all__ = ["neuron_view"]

MOST_BYTES = 60_000_000
# What is this far below 0 is a mask: models write -inf, -10000 or the least number of their precision for it.
MASKED = -1e4
# How far weights made of rounded vectors may be from the model's before the vectors are kept in single precision.
HALF_TOLERANCE = 1e-3
# How far the weights made of exact vectors may be from the model's: the model works in single precision.
MODEL_TOLERANCE = 1e-3
# What weights computed here in single precision may be off those that the page computes in double.
SINGLE = 1e-6
REMEDY = "make it with ext.capture(x, what=('query', 'key'))"


def neuron_view(
    capture: Capture | Sequence[Capture] | Mapping[str, Capture],
    /,
    *,
    layer: int | None = None,
    head: int | HeadName | None = None,
    layers: int | Iterable[int] | None = None,
    heads: int | Iterable[int] | None = None,
    title: str | None = None,
    height: int | None = None,
) -> HTMLView:
    """A page that shows for any head and query token how its attention comes about (Vig 2019, section 3.3).

    The query vector, the key vectors, their element-wise product (unscaled), q . k, the same scaled, capped where the
    model caps it, with what the model adds to it, and the softmax. Queries and keys are those after any rotation; a
    position bias has a column of its own, keys behind a mask are left out. So the products of a row sum to q . k and
    the softmax is the attention of the capture, within the error that the page states: vectors are rounded to half
    precision, or to single precision in layers where that would move a weight by more than 0.001.

    Args:
        capture: of `ext.capture(x, what=("query", "key"))`; or several of one model, such as those of its encoder, its
            decoder and its cross-attention, named by the keys of a mapping or by what they are.
        layer, head: what is shown first, counted from 0; "8-10" (counted from 1) or (7, 9) for `head` names both.
        layers, heads: which the page holds, counted from 0; None holds all.
        title: of the page; None makes one from the text's first words.
        height: of the frame in a notebook, in pixels.

    Raises:
        ValidationError: no capture, one without queries and keys, or a page of more than 60 MB.
        SelectionError: a layer or head that is not there.
        ModelError: a model whose attention is no softmax of scaled, capped and biased products of query and key.

    Examples:
        >>> from bertattn import Extractor, demo
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> view = neuron_view(ext.capture("The cat sat.", what=("query", "key")), head="2-7")
        >>> "<script" in view.html, "https:" in view.html
        (True, False)
    """
    named = _named(capture)
    kept = _Arrays()
    parts = [_part(name, one, kept, layers=layers, heads=heads) for name, one in named]
    first = named[0][1].attention.select(layers=layers, heads=heads)
    start = {"layer": 0, "head": 0}
    if layer is not None:
        start["layer"] = place("layer", layer, first.layers)
    if isinstance(head, str | tuple):
        named_layer, head = parse_head(head)
        if layer not in (None, named_layer):
            raise SelectionError(f"layer={layer} (counted from 0) and head {format_head(named_layer, head)} differ")
        start["layer"] = place("layer", named_layer, first.layers)
    if head is not None:
        start["head"] = place("head", head, first.heads)
    title = title or default_title("Neuron view", named[0][1].attention)
    data = {"kind": "neuron", "parts": parts, "start": start}
    return HTMLView(page(title, "neuron", data, kept.blocks), title=title, height=height)


class _Arrays:
    """The arrays of a page, each once: heads that share a key, a bias or a mask share what is kept, and so do layers.

    Attributes:
        blocks: what the page inflates, by name.
    """

    def __init__(self) -> None:
        self.blocks: dict[str, str] = {}

    def put(self, array: Numpy) -> dict[str, Any]:
        """Where the page finds a `[head, …]` array: its block, how its numbers are written, and for each head its part.

        Masks are written as "bits", eight a byte, the first the highest.
        """
        new = [True, *(not np.array_equal(a, b) for a, b in pairwise(array))]
        stored = array[new]
        written = "bits" if stored.dtype == bool else stored.dtype.name
        encoded = array_payload(np.packbits(stored) if written == "bits" else stored)
        name = hashlib.sha256(encoded.encode()).hexdigest()[:16]
        self.blocks[name] = encoded
        return {"block": name, "written": written, "of": (np.cumsum(new) - 1).tolist()}


def _named(capture: Any) -> list[tuple[str, Capture]]:
    """The captures, each with the name of its attention, checked."""
    if isinstance(capture, Mapping):
        items = list(capture.items())
    else:
        several = isinstance(capture, Sequence) and not isinstance(capture, str)
        items = [(None, one) for one in (capture if several else [capture])]
    if not items:
        raise ValidationError(f"neuron_view needs a capture, but got none; {REMEDY}")
    named = []
    for name, one in items:
        if not isinstance(getattr(one, "attention", None), AttentionTensor):
            raise ValidationError(f"neuron_view shows a Capture, not a {type(one).__name__}; {REMEDY}")
        if getattr(one, "query", None) is None or getattr(one, "key", None) is None:
            raise ValidationError(f"{one!r:.80} holds no queries and keys; {REMEDY}")
        source = one.attention.source
        named.append((str(name or (source and source.attention) or "attention"), one))
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise ValidationError(f"captures need different names, but are called {', '.join(names)}; give a mapping")
    return named


def _part(name: str, capture: Any, kept: _Arrays, *, layers: Any, heads: Any) -> dict[str, Any]:
    """One capture as the page reads it; its arrays are put into `kept`."""
    whole: AttentionTensor = capture.attention
    attention = whole.select(layers=layers, heads=heads)
    chosen = [whole.heads.index(n) for n in attention.heads]
    described: list[dict[str, Any]] = []
    for done, number in enumerate(attention.layers, start=1):
        place = whole.layers.index(number)
        described.append(_layer(capture, place, chosen, kept))
        size = sum(map(len, kept.blocks.values()))
        if size > MOST_BYTES:
            expected = size / done * len(attention.layers)
            remedy = f"layers={list(attention.layers[: done - 1])}" if done > 1 else "heads=[0]"
            raise ValidationError(
                f"the page would take about {expected / 1e6:.0f} MB, more than {MOST_BYTES / 1e6:.0f}, for "
                f"{len(attention.layers)} layers x {len(chosen)} heads on {len(whole.queries)} tokens; choose some, as "
                f"{remedy}, or a shorter text"
            )
    return {
        "name": name,
        "queries": axis_payload(whole.queries),
        "keys": None if whole.queries == whole.keys else axis_payload(whole.keys),
        "layers": [n + 1 for n in attention.layers],
        "heads": [n + 1 for n in attention.heads],
        "dimension": int(capture.query.shape[-1]),
        "steps": described,
    }


def _layer(capture: Any, place: int, heads: list[int], kept: _Arrays) -> dict[str, Any]:
    """What the page needs to compute one layer's attention, and by how much that is off."""
    attention: AttentionTensor = capture.attention
    truth = _arrays.to_numpy(attention.weights[place])[heads].astype(np.float32)
    query, key = (_arrays.to_numpy(x[place])[heads] for x in (capture.query, capture.key))
    scaling, cap = float(capture.scaling[place]), capture.softcap[place]
    bias, mask = _bias_and_mask(capture.bias[place], heads)
    logits = _logits(query, key, bias, mask, scaling, cap)
    sinks = None if attention.normalized else _sinks(logits, truth)
    if not (off := float(np.abs(_softmax(logits, sinks) - truth).max())) <= MODEL_TOLERANCE:
        raise ModelError(
            f"layer {attention.layers[place] + 1} has weights that are {off:.2g} off the softmax of its scaled "
            "products of query and key, so this view would not show what the model does; head_view shows the weights"
        )
    for kind in ("float16", "float32"):
        with np.errstate(over="ignore", invalid="ignore"):  # what half precision cannot hold is kept in single
            q, k, b = query.astype(kind), key.astype(kind), None if bias is None else bias.astype(kind)
            made = _softmax(_logits(q, k, b, mask, scaling, cap), sinks)
        error = float(np.abs(made - truth).max()) + SINGLE
        if error <= HALF_TOLERANCE:
            break
    return {
        "query": kept.put(q),
        "key": kept.put(k),
        "bias": None if b is None else kept.put(b),
        "mask": None if mask is None else kept.put(mask),
        "scaling": scaling,
        "softcap": None if cap is None else float(cap),
        "sinks": None if sinks is None else [s if np.isfinite(s) else None for s in sinks.tolist()],
        "error": error,
    }


def _bias_and_mask(added: Any, heads: list[int]) -> tuple[Numpy | None, Numpy | None]:
    """What is added to the logits, taken apart: `[head, query, key]` numbers, and True where a key is out of reach."""
    if added is None:
        return None, None
    numbers = _arrays.to_numpy(added).astype(np.float32)
    numbers = numbers[[min(h, len(numbers) - 1) for h in heads]]
    mask = numbers <= MASKED
    bias = np.where(mask, np.float32(0), numbers)
    return (bias if bias.any() else None), (mask if mask.any() else None)


def _logits(
    query: Numpy, key: Numpy, bias: Numpy | None, mask: Numpy | None, scaling: float, cap: float | None
) -> Numpy:
    """`[head, query, key]` as the page computes them, in single precision like the model; -inf where the mask is."""
    logits: Numpy = query.astype(np.float32) @ key.astype(np.float32).transpose(0, 2, 1)
    logits *= np.float32(scaling)
    if cap is not None:
        logits = np.float32(cap) * np.tanh(logits / np.float32(cap))
    if bias is not None:
        logits += bias
    if mask is not None:
        logits[mask] = -np.inf
    return logits


def _softmax(logits: Numpy, sinks: Numpy | None) -> Numpy:
    """Over keys, with the logit of each head's sink in the denominator."""
    top = logits.max(-1, keepdims=True)
    weights: Numpy = logits - top
    np.exp(weights, out=weights)
    total = weights.sum(-1, keepdims=True)
    if sinks is not None:
        total += np.exp(sinks[:, None, None] - top)
    weights /= total
    return weights


def _sinks(logits: Numpy, weights: Numpy) -> Numpy:
    """The logit of each head's sink, from the mass that the weights lack: ln(1 - sum) - ln(sum) + ln(sum of e^logit).

    It is the same in every row and read off the one that lacks most, where the difference says most.
    """
    mass = weights.sum(-1, dtype=np.float64)
    rows = mass.argmin(-1)
    each = np.arange(len(rows))
    mass, logits = mass[each, rows], logits[each, rows]
    top = logits.max(-1)
    with np.errstate(divide="ignore"):  # a head that lacks nothing has a sink of -inf
        return np.asarray(np.log(np.maximum(1 - mass, 0)) - np.log(mass) + top + np.log(np.exp(logits.T - top).sum(0)))
