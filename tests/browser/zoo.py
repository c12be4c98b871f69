"""Attention to look at: maps without a model, of every shape that a view must bear."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bertattn import AttentionTensor, Axis, Sentence
from bertattn.extract import Capture
from bertattn.views import HTMLView, head_view, model_view, neuron_view

# What would run if a page took it for markup, and what would disturb the text around it.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script>",
    "<!--",
    "]]>",
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "\0",
    "\u202eabc",
    "\u2028\u2029",
    "\n\t",
    "\ufeff\u200b",
    "{{7*7}}${7*7}",
    "\\u003cb\\u003e",
    "x" * 1000,
    "",
)
RIGHT_TO_LEFT = ("[CLS]", "הדוב", "רץ", "ל", "##יער", ".", "[SEP]")


def maps(axis: Any, *, layers: int = 2, heads: int = 3, seed: int = 0, **more: Any) -> AttentionTensor:
    """Rows from a Dirichlet distribution, peaked as attention is."""
    axis = axis if isinstance(axis, Axis) else Axis(axis)
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(len(axis), 0.3), size=(layers, heads, len(axis))).astype(np.float32)
    return AttentionTensor(weights, axis, **more)


def tokens(count: int, *, seed: int = 0, layers: int = 2, heads: int = 3) -> AttentionTensor:
    """Maps on so many tokens without roles."""
    return maps([f"t{i}" for i in range(count)], layers=layers, heads=heads, seed=seed)


def pair(**more: Any) -> AttentionTensor:
    """Two texts with special tokens, subwords and segments."""
    axis = Axis(
        ["[CLS]", "the", "play", "##ing", "cat", "[SEP]", "it", "sat", ".", "[SEP]"],
        roles=["cls", None, None, None, None, "sep", None, None, None, "sep"],
        word_ids=[None, 0, 1, 1, 2, None, 3, 4, 5, None],
        words=["the", "playing", "cat", "it", "sat", "."],
        segments=[0, 0, 0, 0, 0, 0, 1, 1, 1, 1],
    )
    return maps(axis, **more)


def tree() -> AttentionTensor:
    """A parsed sentence under its maps."""
    words = ["the", "playing", "cat", "sat", "."]
    axis = Axis(
        ["[CLS]", "the", "play", "##ing", "cat", "sat", ".", "[SEP]"],
        roles=["cls", None, None, None, None, None, None, "sep"],
        word_ids=[None, 0, 1, 1, 2, 3, 4, None],
        words=words,
    )
    sentence = Sentence(words, governors=[3, 3, 4, 0, 4], relations=["det", "amod", "nsubj", "root", "punct"])
    return maps(axis, annotation=sentence)


def known() -> AttentionTensor:
    """Two heads whose lines are known: one looks at itself, one at the first token alone; one layer, four tokens."""
    own, first = np.eye(4, dtype=np.float32), np.zeros((4, 4), np.float32)
    first[:, 0] = 1
    return AttentionTensor(np.stack([own, first])[None], Axis(["one", "two", "three", "four"]))


def capture(axis: Any, *, layers: int = 2, heads: int = 2, dimension: int = 8, signs: bool = False) -> Capture:
    """Random queries (or their signs) and keys, with the attention they make."""
    axis = axis if isinstance(axis, Axis) else Axis(axis)
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(layers, heads, len(axis), dimension, generator=generator) for _ in range(2))
    query = query.sign() if signs else query
    scaling = dimension**-0.5
    weights = torch.softmax(scaling * query @ key.transpose(-1, -2), -1)
    kept: dict[str, Any] = {"bias": (None,) * layers, "softcap": (None,) * layers}
    return Capture(AttentionTensor(weights, axis), query=query, key=key, scaling=(scaling,) * layers, **kept)


def view(kind: str, axis: Any, *, layers: int = 2, heads: int = 2) -> HTMLView:
    """The view of this kind on these tokens."""
    if kind == "neuron":
        return neuron_view(capture(axis, layers=layers, heads=heads))
    return {"head": head_view, "model": model_view}[kind](maps(axis, layers=layers, heads=heads))
