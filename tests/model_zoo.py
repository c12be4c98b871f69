"""Small randomly initialised models of every family the extractor names, each with a tokenizer of its kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers as tr

import tokenizer_zoo

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
}


def _bert_like(name: str, **more: Any) -> Callable[[Any], Any]:
    return lambda tok: getattr(tr, f"{name}Model")(getattr(tr, f"{name}Config")(**(_ids(tok) | SMALL | more)))


def _ids(tok: Any) -> dict[str, Any]:
    """A config names the special tokens of its own tokenizer; a pad is needed even where the tokenizer has none."""
    named = {f"{role}_token_id": getattr(tok, f"{role}_token_id") for role in ("bos", "eos", "cls", "sep", "mask")}
    return {
        "vocab_size": len(tok),
        "pad_token_id": tok.pad_token_id or 0,
        **{k: v for k, v in named.items() if v is not None},
    }


def _gpt2(tok: Any) -> Any:
    return tr.GPT2Model(tr.GPT2Config(**_ids(tok), n_embd=32, n_layer=3, n_head=4, n_positions=96))


def _bart(tok: Any) -> Any:
    sides = {
        f"{side}_{what}": n
        for side in ("encoder", "decoder")
        for what, n in (("layers", 3), ("attention_heads", 4), ("ffn_dim", 48))
    }
    return tr.BartModel(
        tr.BartConfig(
            vocab_size=len(tok),
            d_model=32,
            max_position_embeddings=96,
            pad_token_id=tok.pad_token_id,
            bos_token_id=tok.bos_token_id,
            eos_token_id=tok.eos_token_id,
            decoder_start_token_id=tok.eos_token_id,
            **sides,
        )
    )


def _t5(tok: Any) -> Any:
    return tr.T5Model(
        tr.T5Config(
            vocab_size=len(tok),
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=3,
            num_heads=4,
            pad_token_id=tok.pad_token_id,
            eos_token_id=tok.eos_token_id,
            decoder_start_token_id=tok.pad_token_id,
        )
    )


def _distilbert(tok: Any) -> Any:
    return tr.DistilBertModel(
        tr.DistilBertConfig(
            vocab_size=len(tok),
            dim=32,
            n_layers=3,
            n_heads=4,
            hidden_dim=48,
            max_position_embeddings=96,
            pad_token_id=tok.pad_token_id,
        )
    )


WORDPIECE, ROBERTA = tokenizer_zoo.wordpiece, tokenizer_zoo.byte_bpe_roberta
XLMR, LLAMA = tokenizer_zoo.unigram_xlmr, tokenizer_zoo.bpe_llama

ENCODERS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "bert": (WORDPIECE, _bert_like("Bert")),
    "roberta": (ROBERTA, _bert_like("Roberta")),
    "xlm-roberta": (XLMR, _bert_like("XLMRoberta")),
    "camembert": (XLMR, _bert_like("Camembert")),
    "distilbert": (WORDPIECE, _distilbert),
    "electra": (WORDPIECE, _bert_like("Electra", embedding_size=16)),
    "albert": (XLMR, _bert_like("Albert", embedding_size=16)),
    "esm": (tokenizer_zoo.slow_tokenizer, _bert_like("Esm", position_embedding_type="rotary", token_dropout=False)),
    "modernbert": (ROBERTA, _bert_like("ModernBert", local_attention=6, global_attn_every_n_layers=2)),
    "eurobert": (LLAMA, _bert_like("EuroBert", num_key_value_heads=2)),
}
DECODERS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "gpt2": (tokenizer_zoo.byte_bpe_gpt2, _gpt2),
    "llama": (LLAMA, _bert_like("Llama", num_key_value_heads=2)),
    "gemma2": (
        LLAMA,
        _bert_like("Gemma2", num_key_value_heads=2, head_dim=8, sliding_window=6, attn_logit_softcapping=2.0),
    ),
}
ENCODER_DECODERS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "bart": (ROBERTA, _bart),
    "t5": (tokenizer_zoo.unigram_t5, _t5),
}
FALLBACKS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "deberta-v2": (
        XLMR,
        _bert_like("DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"], max_relative_positions=16),
    ),
    "mpnet": (ROBERTA, _bert_like("MPNet")),
    "bloom": (LLAMA, lambda tok: tr.BloomModel(tr.BloomConfig(**_ids(tok), hidden_size=32, n_layer=3, n_head=4))),
    "convbert": (WORDPIECE, _bert_like("ConvBert", embedding_size=32)),
    "longformer": (ROBERTA, _bert_like("Longformer", attention_window=[4, 8, 8])),
}
ALL = ENCODERS | DECODERS | ENCODER_DECODERS | FALLBACKS


@cache
def build(name: str) -> tuple[Any, Any]:
    """(model in evaluation mode, tokenizer), the same objects each time."""
    make_tokenizer, make_model = ALL[name]
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    model = make_model(tokenizer)
    with torch.no_grad():  # initial weights are so small that all attention is nearly uniform: sharpen it
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(2 if name == "t5" else 8)
    return model.eval(), tokenizer
