"""What is read off a model and its tokenizer before the model runs."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from transformers import PreTrainedModel

from bertattn.errors import ModelError

# Models pad their embedding tables to round sizes, by far less than this.
SMALLEST_SHARE = 0.9


def inner_model(model: Any) -> PreTrainedModel:
    """The transformers model in whatever was given, without its task head."""
    if not isinstance(model, torch.nn.Module) and isinstance(getattr(model, "model", None), torch.nn.Module):
        model = model.model  # a pipeline
    if isinstance(model, torch.nn.Module):
        for module in model.modules():
            if isinstance(module, PreTrainedModel):
                # a head of Longformer chooses which tokens are global, so it stays on
                whole = getattr(module.config, "model_type", None) == "longformer"
                return module if whole else module.base_model  # type: ignore[return-value]
    raise ModelError(
        f"model must be, or hold, a transformers model, but is {type(model).__name__}; "
        "use Extractor.from_pretrained(name) to load one by name"
    )


def is_causal(model: PreTrainedModel) -> bool | None:
    """Whether the model is a decoder, whose tokens see only those before them; None if its layers do not say."""
    if getattr(model.config, "is_decoder", False):
        return True
    flags = [m.is_causal for m in model.modules() if isinstance(getattr(m, "is_causal", None), bool)]
    return all(flags) if flags else None


def token_limit(model: torch.nn.Module) -> int | None:
    """How many tokens the model takes; None if nothing limits them."""
    limits = [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for name, table in model.named_modules()
        if isinstance(table, torch.nn.Embedding)
        and name.rpartition(".")[2] in ("position_embeddings", "wpe", "embed_positions")
    ]
    stated = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if isinstance(stated, int) and stated > 0:
        limits.append(stated)
    return min(limits, default=None)


def embedding_rows(model: PreTrainedModel) -> int | None:
    try:
        table: Any = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return getattr(table, "num_embeddings", None)


def check_model(model: PreTrainedModel) -> None:
    if any(getattr(module, "attention_type", None) == "block_sparse" for module in model.modules()):
        raise ModelError(
            f"{type(model).__name__} has block-sparse attention, which gives no maps, and turns itself to full "
            "attention for short texts; load it with attention_type='original_full'"
        )


def check_tokenizer(model: PreTrainedModel, tokenizer: Any, rows: int | None) -> None:
    """Refuse a tokenizer that cannot be this model's, warn of one that may not be."""
    if rows is not None and len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens but the model only {rows} embeddings: "
            "is this the tokenizer of another model?"
        )
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise ModelError(
            "the tokenizer knows no tokens but special ones: were its files (tokenizer.json, vocab.txt …) left behind?"
        )
    if rows is not None and len(tokenizer) < SMALLEST_SHARE * rows:
        warnings.warn(
            f"the model has {rows} embeddings but the tokenizer only {len(tokenizer)} tokens: "
            "is this the tokenizer of another model?",
            stacklevel=3,
        )
    for role in ("pad", "cls", "sep"):
        theirs, ours = getattr(model.config, f"{role}_token_id", None), getattr(tokenizer, f"{role}_token_id", None)
        if isinstance(theirs, int) and ours is not None and theirs != ours:
            warnings.warn(
                f"the model's {role} token is {theirs} but the tokenizer's is {ours}: "
                "is this the tokenizer of another model?",
                stacklevel=3,
            )
