"""What attention matters for: gradients of an objective by the attention weights (Clark et al. 2019, section 3.2)."""

from __future__ import annotations

from bertattn.attribution._derivatives import (
    Gradients,
    GradientStream,
    attention_gradients,
    gradient_importance,
    gradients,
    importance,
)
from bertattn.attribution.objectives import CausalLM, Contrastive, MaskedLM, own_objective

__all__ = [
    "CausalLM",
    "Contrastive",
    "GradientStream",
    "Gradients",
    "MaskedLM",
    "attention_gradients",
    "gradient_importance",
    "gradients",
    "importance",
    "own_objective",
]
