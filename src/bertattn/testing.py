"""Hypothesis strategies for tests of code that takes attention: axes and attention tensors of every kind.

Needs Hypothesis, which is imported when a strategy is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bertattn import _optional
from bertattn._arrays import Numpy
from bertattn.tensor import AttentionTensor, Axis

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["attention_tensors", "axes"]

WORDS = ("the", "cat", "cat", "sat", ".", ",", "##s", "[UNK]")
STYLES = ("uniform", "one-hot", "random", "peaked", "mixed")


def axes(*, min_tokens: int = 1, max_tokens: int = 8, special: bool = True, gaps: bool = False) -> SearchStrategy[Axis]:
    """Axes of words, punctuation and repeated tokens, in an encoder's frame, a decoder's or none.

    Args:
        min_tokens, max_tokens: bounds of the length.
        special: whether there may be special tokens.
        gaps: whether positions may leave some out, as after dropping tokens.

    Raises:
        MissingExtraError: Hypothesis is not installed.
    """
    st = _strategies("bertattn.testing.axes")

    def build(draw: Any) -> Axis:
        size = draw(st.integers(min_tokens, max_tokens))
        tokens: list[str] = draw(st.lists(st.sampled_from(WORDS), min_size=size, max_size=size))
        roles: list[Any] = [None] * size
        frame = draw(st.sampled_from(("none", "encoder", "pair", "decoder"))) if special else "none"
        marks = {"none": (), "decoder": ((0, "bos"),)}.get(frame, ((0, "cls"), (size - 1, "sep")))
        if frame == "pair" and size > 3:
            marks = (*marks, (size // 2, "sep"))
        for place, role in marks:
            roles[place] = role
            tokens[place] = f"[{role.upper()}]"
        word_ids = np.cumsum([role is None for role in roles]) - 1
        steps = draw(st.lists(st.integers(1, 3), min_size=size, max_size=size)) if gaps else [1] * size
        return Axis(
            tuple(tokens),
            roles=tuple(roles),
            word_ids=tuple(None if role else int(i) for role, i in zip(roles, word_ids, strict=True)),
            words=tuple(token for token, role in zip(tokens, roles, strict=True) if role is None),
            positions=tuple(int(p) for p in np.cumsum(steps) - 1) if gaps else None,
        )

    strategy: SearchStrategy[Axis] = st.composite(build)()
    return strategy


def attention_tensors(
    *,
    min_tokens: int = 1,
    max_tokens: int = 8,
    max_layers: int = 2,
    max_heads: int = 3,
    causal: bool | None = None,
    empty_rows: bool = False,
    gaps: bool = False,
    square: bool = True,
    kind: Literal["numpy", "torch"] = "numpy",
    dtype: Literal["float32", "float64"] = "float64",
) -> SearchStrategy[AttentionTensor]:
    """Valid tensors of distributions: uniform, one-hot, random and sharply peaked rows, and mixtures.

    Args:
        min_tokens, max_tokens: bounds of the length of each axis.
        max_layers, max_heads: bounds; there is at least one of each.
        causal: True for causal maps, False for an encoder's, None for either. Causal maps are square.
        empty_rows: whether some rows may be undefined (all NaN).
        gaps: whether positions may leave some out.
        square: whether queries and keys are the same axis; otherwise they may differ, as in cross-attention.
        kind, dtype: of the weights.

    Raises:
        MissingExtraError: Hypothesis is not installed.
    """
    st = _strategies("bertattn.testing.attention_tensors")

    def build(draw: Any) -> AttentionTensor:
        axis = axes(min_tokens=min_tokens, max_tokens=max_tokens, gaps=gaps)
        queries: Axis = draw(axis)
        hidden = draw(st.booleans()) if causal is None and square else bool(causal)
        keys = queries if square or hidden else draw(axis)
        shape = (draw(st.integers(1, max_layers)), draw(st.integers(1, max_heads)), len(queries), len(keys))
        style = draw(st.sampled_from(STYLES))
        # One number stands for all weights: they shrink to another style, not to other digits.
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        weights = _weights(rng, shape, style, hidden)
        if empty_rows and draw(st.booleans()):
            weights[rng.random(shape[:3]) < 0.3] = np.nan
        weights = weights.astype(dtype)
        if kind == "torch":
            import torch

            return AttentionTensor(torch.from_numpy(weights), queries, keys)
        return AttentionTensor(weights, queries, keys)

    strategy: SearchStrategy[AttentionTensor] = st.composite(build)()
    return strategy


def _weights(rng: np.random.Generator, shape: tuple[int, int, int, int], style: str, causal: bool) -> Numpy:
    kinds: list[str] = [style] * 4 if style != "mixed" else ["uniform", "one-hot", "random", "peaked"]
    choice = rng.integers(0, 4, shape[:3])
    scale = np.select([choice == i for i in range(4)], [{"random": 1.0, "peaked": 8.0}.get(k, 0.0) for k in kinds])
    logits = rng.standard_normal(shape) * scale[..., None]
    one_hot = np.select([choice == i for i in range(4)], [k == "one-hot" for k in kinds])
    visible = np.tril(np.ones(shape[2:], dtype=bool)) if causal else np.ones(shape[2:], dtype=bool)
    logits = np.where(visible, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    noise = np.where(visible, rng.random(shape), -1.0)
    single = noise == noise.max(-1, keepdims=True)
    weights = np.where(one_hot[..., None], single, weights)
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def _strategies(caller: str) -> Any:
    return _optional.require("hypothesis", extra="test", caller=caller).strategies
