"""What is read off a model and its tokenizer before the model runs."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, is_offline_mode, try_to_load_from_cache
from transformers import PreTrainedModel

from bertattn.errors import ModelError

# Models pad their embedding tables to round sizes: by less than a twenty-fifth, or to the next 128 of a small one.
PADDED_SHARE, PADDED_ROWS = 0.04, 128
# Two versions of one tokenizer may disagree on a few tokens, those of two models disagree on nearly all.
TOLD_APART = 0.1


def inner_model(model: Any) -> PreTrainedModel:
    """The transformers model in whatever was given, without its task head."""
    found = whole_model(model)
    # a head of Longformer chooses which tokens are global, so it stays on
    whole = getattr(found.config, "model_type", None) == "longformer"
    return found if whole else found.base_model  # type: ignore[return-value]


def whole_model(model: Any) -> PreTrainedModel:
    """The transformers model in whatever was given, with its task head where it has one."""
    if not isinstance(model, torch.nn.Module) and isinstance(getattr(model, "model", None), torch.nn.Module):
        model = model.model  # a pipeline
    if isinstance(model, torch.nn.Module):
        for module in model.modules():
            if isinstance(module, PreTrainedModel):
                return module
    what = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
    raise ModelError(
        f"model must be, or hold, a transformers model, but is {what}; "
        "use Extractor.from_pretrained(name) to load one by name"
    )


def own_head(config: Any) -> Literal["masked_lm", "causal_lm"] | None:
    """The language-modelling head that the checkpoint was saved with, as its config says."""
    names = " ".join(getattr(config, "architectures", None) or ())
    if "ForMaskedLM" in names or "ForPreTraining" in names:
        return "masked_lm"
    return "causal_lm" if "ForCausalLM" in names or "LMHeadModel" in names else None


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
    if rows is not None and rows - len(tokenizer) > max(PADDED_SHARE * rows, PADDED_ROWS):
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
    differing = _numbered_otherwise(tokenizer, str(getattr(model.config, "_name_or_path", "") or ""))
    if differing is not None:
        token, theirs, ours = differing
        warnings.warn(
            f"the model's own tokenizer gives {token!r} the number {theirs}, but this one, of "
            f"{tokenizer.name_or_path!r}, gives it {ours}, and so with others: "
            "is this the tokenizer of another model?",
            stacklevel=3,
        )


def _numbered_otherwise(tokenizer: Any, name: str) -> tuple[str, int, int] | None:
    """A token to which the model's own tokenizer gives another number, with both; None where most numbers agree.

    Looked at only where the tokenizer was loaded from elsewhere, and then only in files that are on this machine: a
    fine-tuned model with the tokenizer of its base has the same numbers.
    """
    if not name or not tokenizer.name_or_path or str(tokenizer.name_or_path) == name:
        return None
    own, given = _vocabulary(name), tokenizer.get_vocab()
    shared = [(token, number, given[token]) for token, number in own.items() if token in given]
    differing = [entry for entry in shared if entry[1] != entry[2]]
    if len(differing) <= TOLD_APART * len(shared):
        return None
    return min(differing, key=lambda entry: (not entry[0].isalpha(), entry[1]))  # a word tells more than a bracket


def _vocabulary(name: str) -> dict[str, int]:
    """The tokens of the tokenizer in a model's folder, or in the cache of the hub; empty where there is none."""
    for file in ("tokenizer.json", "vocab.txt", "vocab.json"):
        path = str(Path(name, file)) if Path(name).is_dir() else _cached(name, file)
        try:
            text = Path(path or "").read_text(encoding="utf-8")
            if file == "vocab.txt":
                return {token: n for n, token in enumerate(text.split("\n"))}
            content = json.loads(text)
            content = content["model"]["vocab"] if file == "tokenizer.json" else content
            if isinstance(content, list):  # a Unigram's pieces with their scores
                return {piece: n for n, (piece, _score) in enumerate(content)}
            return {token: int(n) for token, n in content.items()}
        except (AttributeError, LookupError, OSError, TypeError, ValueError):
            continue
    return {}


def _cached(name: str, file: str) -> str | None:
    try:
        found = try_to_load_from_cache(name, file)
    except ValueError:  # not the name of a repository
        return None
    return found if isinstance(found, str) else None


def hub_out_of_reach(name: str, revision: str | None) -> str | None:
    """Why no model can be fetched, after one attempt; None where the hub answers, whatever it says.

    Without this the libraries below try every file six times, and longer each time, before they give up.
    """
    if is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision))
    except Exception as error:  # noqa: BLE001  # of httpx or httpx2, as the version has it; the loader tells all others
        if type(error).__name__ in ("ConnectError", "ConnectTimeout"):
            return f"{constants.ENDPOINT} cannot be reached: {str(error) or type(error).__name__}"
    return None
