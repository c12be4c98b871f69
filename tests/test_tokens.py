"""From a model call of one's own to a tensor: roles, texts, words and sizes, and what goes wrong."""

from __future__ import annotations

import dataclasses
import functools
import re
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    EsmConfig,
    EsmModel,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

import tokenizer_zoo as zoo
from bertattn import _tokens
from bertattn.errors import InputError, ValidationError
from bertattn.extract import Extractor
from bertattn.tensor import AttentionTensor, Axis, Source

TEXTS = ["The well-known painter didn't see Saturn.", "Bread rises.", "Copper conducts heat far better than steel."]
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "attn_implementation": "eager",
}


def pads(tokenizer: Any) -> dict[str, Any]:
    return {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}


@cache
def bert() -> tuple[Any, PreTrainedModel]:
    tokenizer = zoo.wordpiece()
    return tokenizer, BertModel(BertConfig(**SMALL, **pads(tokenizer))).eval()


@cache
def roberta() -> tuple[Any, PreTrainedModel]:
    tokenizer = zoo.byte_bpe_roberta()
    return tokenizer, RobertaModel(RobertaConfig(**SMALL, **pads(tokenizer))).eval()


@cache
def gpt2() -> tuple[Any, PreTrainedModel]:
    tokenizer = zoo.byte_bpe_gpt2()
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2, attn_implementation="eager")
    return tokenizer, GPT2Model(config).eval()


@cache
def bart() -> tuple[Any, PreTrainedModel]:
    tokenizer = zoo.byte_bpe_roberta()
    sides = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    config = BartConfig(
        **sides,
        **pads(tokenizer),
        d_model=16,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        decoder_start_token_id=tokenizer.eos_token_id,
        attn_implementation="eager",
    )
    return tokenizer, BartModel(config).eval()


@cache
def t5() -> tuple[Any, PreTrainedModel]:
    tokenizer = zoo.unigram_t5()
    config = T5Config(
        **pads(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, attn_implementation="eager"
    )
    return tokenizer, T5Model(config).eval()


@cache
def esm() -> tuple[Any, PreTrainedModel]:
    tokenizer = zoo.slow_tokenizer()
    return tokenizer, EsmModel(EsmConfig(**SMALL, **pads(tokenizer))).eval()


@torch.no_grad()
def call(model: PreTrainedModel, encoding: Any, **more: Any) -> Any:
    return model(**{k: torch.as_tensor(v) for k, v in encoding.items()}, output_attentions=True, **more)


# Whole batches: what is taken out is what the model gave, padding taken off.


@pytest.mark.parametrize("family", [bert, roberta])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["pt", "np", None])
def test_a_sequence_of_a_padded_batch(family, side, kind) -> None:
    tokenizer, model = family()
    encoding = tokenizer(TEXTS, padding=True, padding_side=side, return_tensors=kind)
    outputs = call(model, encoding)
    for i, text in enumerate(TEXTS):
        a = AttentionTensor.from_outputs(outputs, encoding, tokenizer, index=i)
        alone = tokenizer(text)
        n = len(alone["input_ids"])
        real = slice(0, n) if side == "right" else slice(len(encoding["input_ids"][0]) - n, None)
        expected = np.stack([m[i, :, real, real].numpy() for m in outputs.attentions])
        np.testing.assert_array_equal(a.numpy(), expected)
        assert a.queries is a.keys
        assert a.queries == Axis(**_tokens.describe(_tokens.batch_item(alone, None, tokenizer, batch=1), tokenizer))
        assert a.queries.tokens == tuple(alone.tokens())
        assert a.source == Source(dtype="float32", path="output_attentions")
        assert not a.weights.requires_grad


@pytest.mark.parametrize("family", [bert, roberta])
def test_padding_changes_no_map(family) -> None:
    tokenizer, model = family()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    outputs = call(model, batch)
    for i, text in enumerate(TEXTS):
        one = tokenizer(text, return_tensors="pt")
        alone = AttentionTensor.from_outputs(call(model, one), one, tokenizer)
        together = AttentionTensor.from_outputs(outputs, batch, tokenizer, index=i)
        np.testing.assert_allclose(together.numpy(), alone.numpy(), atol=1e-6)
        assert together.queries == alone.queries


def test_what_users_hold_of_outputs_and_encoding() -> None:
    tokenizer, model = bert()
    encoding = tokenizer(TEXTS[0], return_tensors="pt")
    outputs = call(model, encoding)
    whole = AttentionTensor.from_outputs(outputs, encoding, tokenizer)
    for held in (outputs.attentions, list(outputs.attentions), dict(outputs), {"attentions": outputs.attentions}):
        np.testing.assert_array_equal(AttentionTensor.from_outputs(held, encoding, tokenizer).numpy(), whole.numpy())
    plain = AttentionTensor.from_outputs(outputs, dict(encoding), tokenizer)
    ids_only = AttentionTensor.from_outputs(outputs, {"input_ids": encoding["input_ids"]}, tokenizer)
    flat = AttentionTensor.from_outputs(outputs, tokenizer(TEXTS[0]), tokenizer)
    assert flat.queries == whole.queries
    for a in (plain, ids_only):  # a plain dict knows neither words nor texts
        assert a.queries == Axis(whole.queries.tokens, roles=whole.queries.roles)
    arrays = {"attentions": [m.numpy() for m in outputs.attentions]}
    assert isinstance(AttentionTensor.from_outputs(arrays, encoding, tokenizer).weights, np.ndarray)


def test_maps_inside_a_gradient_computation_are_detached() -> None:
    tokenizer, model = bert()
    encoding = tokenizer(TEXTS[0], return_tensors="pt")
    outputs = model(**encoding, output_attentions=True)
    assert outputs.attentions[0].requires_grad
    assert not AttentionTensor.from_outputs(outputs, encoding, tokenizer).weights.requires_grad


def test_a_causal_model() -> None:
    tokenizer, model = gpt2()
    encoding = tokenizer(TEXTS[0], return_tensors="pt")
    outputs = call(model, encoding)
    a = AttentionTensor.from_outputs(outputs, encoding, tokenizer)
    assert np.triu(a.numpy(), 1).max() == 0
    b = AttentionTensor.from_outputs(outputs, encoding, tokenizer, attention="decoder")
    np.testing.assert_array_equal(b.numpy(), a.numpy())
    assert (a.source.attention, b.source.attention) == (None, "decoder")
    assert a.queries.token_mask(".").sum() == 1


@pytest.mark.parametrize("family", [bart, t5])
@pytest.mark.parametrize("ids_of", ["batch", "sequence", "list"])
def test_an_encoder_decoder_has_three_sorts_of_maps(family, ids_of) -> None:
    tokenizer, model = family()
    encoding = tokenizer(TEXTS, padding=True, return_tensors="pt")
    targets = tokenizer(["Bread rises.", "Bread.", "Far better."], padding=True, return_tensors="pt")
    start = torch.full((3, 1), tokenizer.eos_token_id if family is bart else tokenizer.pad_token_id)
    ids = torch.cat([start, targets["input_ids"]], 1)
    outputs = call(model, encoding, decoder_input_ids=ids)
    given = {"batch": ids, "sequence": ids[1], "list": ids[1].tolist()}[ids_of]
    options = {"index": 1, "decoder_ids": given}
    encoder, decoder, cross = (
        AttentionTensor.from_outputs(outputs, encoding, tokenizer, attention=kind, **options)
        for kind in ("encoder", "decoder", "cross")
    )
    n, t = int(encoding["attention_mask"][1].sum()), 1 + int(targets["attention_mask"][1].sum())
    assert n < encoding["input_ids"].shape[1]
    assert t < ids.shape[1]
    for a, field, queries, keys in (
        (encoder, "encoder_attentions", n, n),
        (decoder, "decoder_attentions", t, t),
        (cross, "cross_attentions", t, n),
    ):
        expected = np.stack([m[1, :, :queries, :keys].numpy() for m in outputs[field]])
        np.testing.assert_array_equal(a.numpy(), expected)
        assert f"{a.source.attention}_attentions" == field
    assert encoder.queries is encoder.keys
    assert decoder.queries is decoder.keys
    assert cross.queries == decoder.queries
    assert cross.keys == encoder.keys
    assert decoder.queries.tokens == tuple(tokenizer.convert_ids_to_tokens(ids[1][:t].tolist()))
    assert decoder.queries.roles[0] == "bos"
    assert "pad" not in decoder.queries.roles
    silent = AttentionTensor.from_outputs(outputs, encoding, tokenizer, index=1)
    np.testing.assert_array_equal(silent.numpy(), encoder.numpy())
    assert silent.source.attention == "encoder"


def test_a_slow_tokenizer_gives_no_words() -> None:
    tokenizer, model = esm()
    encoding = tokenizer(["MKT", "MKTAYIA"], padding=True, return_tensors="pt")
    a = AttentionTensor.from_outputs(call(model, encoding), encoding, tokenizer, index=0)
    assert a.queries == Axis(["<cls>", "M", "K", "T", "<eos>"], roles=["cls", None, None, None, "eos"])


# What goes wrong is said in words that help.


def refused(message: str, outputs: Any, encoding: Any, tokenizer: Any, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        AttentionTensor.from_outputs(outputs, encoding, tokenizer, **options)
    assert str(caught.value) == message


EAGER = (
    "; load the model with attn_implementation='eager' and call it with output_attentions=True, or use "
    "bertattn.Extractor, which needs neither"
)
ENCODING = (
    "encoding must be what the tokenizer returned and the model was given, with rows of equal length: "
    "encoding = tokenizer(texts, padding=True, return_tensors='pt')"
)


def test_outputs_without_maps() -> None:
    tokenizer, model = bert()
    sdpa = BertModel(BertConfig(**(SMALL | {"attn_implementation": "sdpa"}), **pads(tokenizer))).eval()
    encoding = tokenizer(TEXTS[0], return_tensors="pt")
    nothing = "outputs hold no attentions or encoder_attentions" + EAGER
    assert call(sdpa, encoding).attentions == ()
    refused(nothing, call(sdpa, encoding), encoding, tokenizer)
    refused(nothing, model(**encoding), encoding, tokenizer)
    refused(nothing, {}, encoding, tokenizer)
    refused(nothing, None, encoding, tokenizer)
    refused(
        "outputs is a tuple without names; call the model with return_dict=True",
        call(model, encoding, return_dict=False),
        encoding,
        tokenizer,
    )
    refused(
        "outputs hold no cross_attentions but attentions: say which with attention='encoder', 'decoder' or 'cross'"
        + EAGER,
        call(model, encoding),
        encoding,
        tokenizer,
        attention="cross",
    )
    refused(
        "attention must be 'encoder', 'decoder' or 'cross', but is 'self'",
        call(model, encoding),
        encoding,
        tokenizer,
        attention="self",
    )


def test_outputs_whose_maps_are_none() -> None:
    tokenizer, model = bert()
    encoding = tokenizer(TEXTS[0], return_tensors="pt")
    one = call(model, encoding).attentions[0]
    remedy = "; call the model itself on the whole text, not generate(), or use bertattn.Extractor"
    refused(
        "outputs.attentions must hold one map [batch, head, query, key] a layer, but holds a tuple" + remedy,
        SimpleNamespace(attentions=((one, one), (one, one))),
        encoding,
        tokenizer,
    )
    refused(
        f"outputs.attentions must hold one map [batch, head, query, key] a layer, but holds an array of shape "
        f"{tuple(one[0].shape)}" + remedy,
        SimpleNamespace(attentions=(one, one[0])),
        encoding,
        tokenizer,
    )
    refused(
        "outputs.attentions must hold one map [batch, head, query, key] a layer, but holds a NoneType" + remedy,
        SimpleNamespace(attentions=(one, None)),
        encoding,
        tokenizer,
    )
    n = one.shape[-1]
    refused(
        f"the layers of outputs.attentions differ in shape: [(1, 1, {n}, {n}), (1, 2, {n}, {n})]; "
        "use bertattn.Extractor",
        SimpleNamespace(attentions=(one, one[:, :1])),
        encoding,
        tokenizer,
    )


def test_several_sequences_need_an_index() -> None:
    tokenizer, model = bert()
    encoding = tokenizer(TEXTS, padding=True, return_tensors="pt")
    outputs = call(model, encoding)
    refused("the batch has 3 sequences; say which: index=0 to index=2", outputs, encoding, tokenizer)
    for index in (3, -1):
        refused(
            f"index is {index} but the batch has 3 sequences, counted from 0", outputs, encoding, tokenizer, index=index
        )


def test_encodings_that_do_not_fit() -> None:
    tokenizer, model = bert()
    encoding = tokenizer(TEXTS, padding=True, return_tensors="pt")
    outputs, n = call(model, encoding), encoding["input_ids"].shape[1]
    two = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    refused("encoding has 2 sequences but the maps have 3; give the two of one call", outputs, two, tokenizer, index=0)
    for wrong in (encoding["input_ids"], TEXTS, None, {}, tokenizer(TEXTS), {"input_ids": [["a"]]}, {"input_ids": 0.5}):
        refused(ENCODING, outputs, wrong, tokenizer, index=0)
    longer = tokenizer(TEXTS, padding="max_length", max_length=40, return_tensors="pt")
    sizes = "the whole text at once (past_key_values and banded attention have other sizes)"
    refused(
        f"the maps have {n} queries but encoding 40 tokens, padding included; give what the model was called with, "
        f"{sizes}",
        outputs,
        longer,
        tokenizer,
        index=0,
    )
    mask = {"input_ids": encoding["input_ids"], "attention_mask": encoding["attention_mask"][:, 1:]}
    refused(
        f"the attention mask is (3, {n - 1}) but the ids are (3, {n}); give one mark a token",
        outputs,
        mask,
        tokenizer,
        index=0,
    )
    empty = {"input_ids": encoding["input_ids"], "attention_mask": encoding["attention_mask"].clone()}
    empty["attention_mask"][1] = 0
    refused(
        "the attention mask of sequence 1 is all zero: there is no token to look at", outputs, empty, tokenizer, index=1
    )


def test_a_cached_call_has_more_keys_than_queries() -> None:
    tokenizer, model = gpt2()
    encoding = tokenizer(TEXTS[0], return_tensors="pt")
    n = encoding["input_ids"].shape[1]
    past = model(**encoding, use_cache=True).past_key_values
    last = {"input_ids": encoding["input_ids"][:, -1:]}
    outputs = call(model, last, past_key_values=past)
    with pytest.raises(InputError, match=f"^the maps have {n + 1} keys but encoding 1 tokens"):
        AttentionTensor.from_outputs(outputs, last, tokenizer)


def test_decoder_ids_that_do_not_fit() -> None:
    tokenizer, model = t5()
    encoding = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    ids = torch.tensor([[0, 5, 6], [0, 7, 8]])
    outputs = call(model, encoding, decoder_input_ids=ids)
    options = {"index": 1, "attention": "decoder"}
    refused(
        "the maps are the decoder's: give decoder_ids, the decoder_input_ids of the call",
        outputs,
        encoding,
        tokenizer,
        **options,
    )
    with pytest.raises(InputError, match=r"^the maps have 3 queries but decoder_ids 2 tokens, padding included"):
        AttentionTensor.from_outputs(outputs, encoding, tokenizer, decoder_ids=ids[:, 1:], **options)
    with pytest.raises(InputError, match=r"^decoder_ids must be token ids, but are 'Bread rises.'$"):
        AttentionTensor.from_outputs(outputs, encoding, tokenizer, decoder_ids="Bread rises.", **options)
    three = call(model, tokenizer(TEXTS, padding=True, return_tensors="pt"), decoder_input_ids=ids[[0, 1, 1]])
    with pytest.raises(InputError, match=r"^decoder_ids have 2 sequences, but sequence 2 was asked for$"):
        AttentionTensor.from_outputs(
            three, tokenizer(TEXTS, padding=True), tokenizer, index=2, attention="cross", decoder_ids=ids
        )


def test_the_tokenizer_of_another_model() -> None:
    tokenizer, _model = bert()
    encoding = {"input_ids": torch.tensor([[2, 7, 10**6]])}
    outputs = {"attentions": [torch.full((1, 1, 3, 3), 1 / 3)]}
    refused(
        "id 1000000 is not in the tokenizer's vocabulary: is it the tokenizer of this model?",
        outputs,
        encoding,
        tokenizer,
    )


def test_dropout_is_found() -> None:
    tokenizer, _ = bert()
    training = BertModel(BertConfig(**SMALL, **pads(tokenizer), attention_probs_dropout_prob=0.5)).train()
    encoding = tokenizer(TEXTS[0], return_tensors="pt")
    with pytest.raises(ValidationError, match=r"must sum to 1.*put the model in eval mode \(dropout\)"):
        AttentionTensor.from_outputs(call(training, encoding), encoding, tokenizer)


def test_mass_that_goes_to_a_learnt_sink_is_allowed_when_said() -> None:
    tokenizer, _ = bert()
    encoding = tokenizer("the cats", return_tensors="pt")
    n = encoding["input_ids"].shape[1]
    outputs = {"attentions": [torch.full((1, 1, n, n), 0.5 / n)]}
    with pytest.raises(ValidationError, match="must sum to 1"):
        AttentionTensor.from_outputs(outputs, encoding, tokenizer)
    assert not AttentionTensor.from_outputs(outputs, encoding, tokenizer, normalized=False).normalized


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept_and_recorded(dtype) -> None:
    tokenizer, model = bert()
    encoding = tokenizer(TEXTS[0], return_tensors="pt")
    outputs = {"attentions": [m.to(dtype) for m in call(model, encoding).attentions]}
    a = AttentionTensor.from_outputs(outputs, encoding, tokenizer)
    assert a.weights.dtype == dtype
    assert a.source.dtype == str(dtype).removeprefix("torch.")


# Words, roles and texts.


def axis(tokenizer: Any, *texts: str) -> Axis:
    return Axis(**_tokens.describe(_tokens.batch_item(tokenizer(*texts), None, tokenizer, batch=1), tokenizer))


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        ("wordpiece", ("the", "cafe", "didn", "'", "t", "see", ".")),
        ("byte_bpe_roberta", ("The", "café", "didn", "'t", "see", ".")),
        ("byte_bpe_gpt2", ("The", "café", "didn", "'t", "see", ".")),
        ("unigram_xlmr", ("The", "caf<unk>", "didn't", "see.")),
        ("unigram_t5", ("The", "caf<unk>", "didn't", "see.")),
        ("bpe_llama", None),  # no words are cut
        ("bpe_no_pre_tokenizer", None),
    ],
)
def test_words_are_the_tokenizers_and_read_as_text(tokenizer, words) -> None:
    made = axis(zoo.FAST[tokenizer](), "The café didn't see.")
    assert made.words == words
    assert (made.word_ids is None) == (words is None)
    if words is not None:
        numbers = [n for n in made.word_ids if n is not None]
        assert numbers == sorted(numbers)
        assert set(numbers) == set(range(len(words)))
        np.testing.assert_array_equal([n is None for n in made.word_ids], made.special)


@pytest.mark.parametrize("text", ["naïve 東京 😀 Ġ", "Ωmega, ß!"])
def test_byte_level_words_are_what_was_written(text) -> None:
    for tokenizer in (zoo.byte_bpe_roberta(), zoo.byte_bpe_gpt2()):
        made = axis(tokenizer, text)
        assert "".join(made.words) == text.replace(" ", "")


def test_words_of_white_space_stay_words() -> None:
    made = axis(zoo.byte_bpe_gpt2(), "a  b\nc")
    assert made.words == ("a", " ", "b", "\n", "c")
    assert len(made.words) == len({n for n in made.word_ids if n is not None})


def test_the_words_of_a_pair_are_counted_on() -> None:
    made = axis(zoo.wordpiece(), "the heat", "the light")
    assert made.words == ("the", "heat", "the", "light")
    assert [n for n in made.word_ids if n is not None] == sorted(n for n in made.word_ids if n is not None)
    assert made.offsets[0] is None
    assert made.offsets[1] == (0, 3)


@pytest.mark.parametrize("name", zoo.FAST)
def test_offsets_point_into_the_text(name) -> None:
    tokenizer, text = zoo.FAST[name](), "Bread rises because yeast turns sugar into gas."
    made = axis(tokenizer, text)
    for token, span, special in zip(made.tokens, made.offsets, made.special, strict=True):
        assert (span is None) == special
        if span is not None:
            letters = token.removeprefix("##").lstrip("Ġ▁").lower()
            assert letters in (text[span[0] : span[1]].strip().lower(), "<unk>", "")  # "": the mark ▁ on its own


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("wordpiece", ("cls", "sep", "sep")),
        ("byte_bpe_roberta", ("cls", "sep", "sep", "sep")),
        ("unigram_xlmr", ("cls", "sep", "sep", "sep")),
        ("unigram_t5", ("eos", "eos")),
        ("byte_bpe_gpt2", ()),
    ],
)
def test_roles_come_from_ids(name, roles) -> None:
    made = axis(zoo.FAST[name](), "Bread rises.", "Heat.")
    assert tuple(r for r in made.roles if r is not None) == roles


def test_segments_by_hand() -> None:
    assert _tokens.segments_of([None, 0, 0, None]) == (0, 0, 0, 0)
    assert _tokens.segments_of([None, 0, None, 1, None]) == (0, 0, 0, 1, 1)  # [CLS] A [SEP] B [SEP]
    assert _tokens.segments_of([None, 0, None, None, 1, None]) == (0, 0, 0, 1, 1, 1)  # <s> A </s></s> B </s>
    assert _tokens.segments_of([0, None, 1, None]) == (0, 0, 1, 1)  # A </s> B </s>
    assert _tokens.segments_of([None, None, 1, None]) == (0, 0, 1, 1)  # [CLS] [SEP] B [SEP]: nothing in A


def test_segments_are_berts_token_types() -> None:
    tokenizer = zoo.wordpiece()
    for texts in (("Bread rises.", "Heat."), ("", "Heat."), ("Bread", ""), ("Bread",)):
        assert list(axis(tokenizer, *texts).segments) == tokenizer(*texts)["token_type_ids"]


def fake(**ids: int) -> Any:
    names = dict.fromkeys(f"{role}_token_id" for role in ("cls", "sep", "bos", "eos", "mask", "pad"))
    return SimpleNamespace(**(names | {f"{role}_token_id": number for role, number in ids.items()}))


@pytest.mark.parametrize(
    ("ids", "special", "tokenizer", "roles"),
    [
        ([1, 9, 4, 2, 0], None, fake(cls=1, sep=2, mask=4, pad=0), ("cls", None, "mask", "sep", "pad")),
        ([1, 9, 2], None, fake(bos=1, cls=1, sep=2, eos=2), ("cls", None, "sep")),  # RoBERTa
        ([5, 9, 5, 9, 5], None, fake(bos=5, eos=5), ("bos", None, "eos", None, "eos")),  # GPT-2
        ([9, 5, 5], None, fake(bos=5, eos=5, pad=5), (None, "eos", "eos")),
        ([1, 9, 1], None, fake(bos=1, eos=2), ("bos", None, "bos")),
        ([7, 9, 2, 8], [True, False, True, True], fake(eos=2), ("bos", None, "eos", "eos")),  # language codes
        ([7, 8], [True, True], fake(), ("bos", "bos")),
        ([9, 9], [False, False], fake(), (None, None)),
    ],
)
def test_roles_by_hand(ids, special, tokenizer, roles) -> None:
    assert _tokens.roles_of(ids, tokenizer, special) == roles
    assert _tokens.roles_of(np.array(ids), tokenizer, special) == roles


def test_an_encoding_changed_by_hand_loses_its_words_if_they_no_longer_fit() -> None:
    tokenizer = zoo.wordpiece()
    encoding = tokenizer("the heat and the light", return_tensors="pt")
    encoding["input_ids"][0, 1] = tokenizer.mask_token_id  # a token masked by hand stands for its word
    masked = _tokens.describe(_tokens.batch_item(encoding, None, tokenizer, batch=1), tokenizer)
    assert masked["roles"][1] == "mask"
    assert masked["word_ids"][1] == 0
    cut = tokenizer("the heat and the light", return_tensors="pt")
    cut["input_ids"] = cut["input_ids"][:, 2:]
    cut["attention_mask"] = cut["attention_mask"][:, 2:]
    assert "words" not in _tokens.describe(_tokens.batch_item(cut, None, tokenizer, batch=1), tokenizer)


def test_words_given_ready_cut_keep_their_words() -> None:
    tokenizer = zoo.wordpiece()
    encoding = tokenizer([["Don't", "stop"]], is_split_into_words=True, return_tensors="pt")
    columns = _tokens.describe(_tokens.batch_item(encoding, None, tokenizer, batch=1), tokenizer)
    assert columns["words"] == ("don't", "stop")
    assert set(columns["word_ids"]) == {None, 0, 1}


def test_padding_without_a_mask_is_refused() -> None:
    tokenizer = zoo.wordpiece()
    encoding = tokenizer(["the heat", "the heat and the light"], padding=True, return_tensors="np")
    with pytest.raises(InputError, match="sequence 0 has padding but encoding has no attention_mask"):
        _tokens.batch_item({"input_ids": encoding["input_ids"]}, 0, tokenizer, batch=2)
    whole = _tokens.batch_item({"input_ids": encoding["input_ids"]}, 1, tokenizer, batch=2)
    assert len(whole.ids) == encoding["input_ids"].shape[1]


# labels


def labels_of(name: str, text: str) -> list[str]:
    tokenizer = zoo.FAST[name]()
    ids = tokenizer(text)["input_ids"]
    special = [role is not None for role in _tokens.roles_of(ids, tokenizer)]
    return _tokens.labels(tokenizer.convert_ids_to_tokens(ids), special, text.split())


BYTES_OF_TWO = "日·1/3 日·2/3 日·3/3 ␣ 👩·1/4 👩·2/4 👩·3/4 👩·4/4"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("byte_bpe_gpt2", f"The c ##a ##f ##é·1/2 ##é·2/2 , did ##n 't ␣ {BYTES_OF_TWO}"),
        ("bpe_llama", f"<s> The c ##a ##f ##é·1/2 ##é·2/2 , d ##id ##n 't ␣ {BYTES_OF_TWO}"),
    ],
)
def test_labels_are_text(name: str, expected: str) -> None:
    assert [label.replace(" ", "·") for label in labels_of(name, "The café, didn't 日 👩")] == expected.split()


def test_labels_of_wordpiece_are_its_tokens() -> None:
    tokens = zoo.wordpiece().tokenize("The café, didn't 日 Ĝis")
    assert _tokens.labels(tokens, [False] * len(tokens), ["The", "café,", "didn't", "日", "Ĝis"]) == tokens


@pytest.mark.parametrize("name", sorted(zoo.FAST))
@given(text=st.text(max_size=12))
def test_labels_of_any_text_have_no_signs_that_the_text_has_not(name: str, text: str) -> None:
    text = "the cat " + "".join(c for c in text if c.isprintable() and c not in "ĠĊ▁<>#")
    shown = labels_of(name, text)
    tokenizer = zoo.FAST[name]()
    assert len(shown) == len(tokenizer(text)["input_ids"])
    if name != "wordpiece":
        assert not any(sign in label for label in shown for sign in ("Ġ", "▁", "<0x"))


def test_labels_of_byte_level_text_give_the_text_back() -> None:
    text = "Zoë's naïve 漢字, Ünlü."
    shown = labels_of("byte_bpe_gpt2", text)
    whole = [re.sub(r" \d/\d$", "", label) for label in shown if not re.search(r" ([2-4])/\d$", label)]
    assert "".join(label.removeprefix("##").replace("␣", "") for label in whole) == text.replace(" ", "")


def test_labels_of_other_marks_and_of_broken_bytes() -> None:
    assert _tokens.labels(["un", "do</w>", ".</w>", "</s>"], [False] * 3 + [True]) == ["un", "##do", ".", "</s>"]
    assert _tokens.labels(["▁", "▁▁", "▁a"], [False] * 3) == ["␣", "␣␣", "a"]
    assert _tokens.labels(["Ġa", "Ã"], [False, False]) == ["a", "\\xc3"]
    assert _tokens.labels(["Ġa", "©", "."], [False] * 3) == ["a", "\\xa9", "."]
    assert _tokens.labels(["Ġa", "Ã", "</s>", "©"], [False, False, True, False]) == ["a", "\\xc3", "</s>", "\\xa9"]


@pytest.mark.parametrize("words", [["Ġorġ"], ["Ġgantija"], ["São"], ["ÃO"], ["Éa"]])
def test_letters_of_the_text_are_not_taken_for_bytes(words: list[str]) -> None:
    """Maltese has the letter that stands for GPT-2's space; Portuguese has those of its bytes."""
    assert _tokens.labels(words, [False], words) == words
    lowered = [word.lower() for word in words]
    assert _tokens.labels(lowered, [False], words) == lowered


def test_the_model_is_recorded_where_it_is_given(tmp_path: Any) -> None:
    tokenizer = zoo.wordpiece()
    sizes = {**SMALL, "vocab_size": len(tokenizer), "max_position_embeddings": 64}
    BertForMaskedLM(BertConfig(**sizes)).save_pretrained(tmp_path)
    model = BertForMaskedLM.from_pretrained(tmp_path, attn_implementation="eager").to(torch.bfloat16)
    encoding = tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**encoding, output_attentions=True)
    read = functools.partial(AttentionTensor.from_outputs, outputs, encoding, tokenizer)
    unnamed = read().source
    assert unnamed == Source(dtype="bfloat16", path="output_attentions")
    assert read(model="bert-tiny").source == dataclasses.replace(unnamed, model="bert-tiny")
    assert read(model=tmp_path).source == dataclasses.replace(unnamed, model=str(tmp_path))
    assert read(model=model).source == dataclasses.replace(unnamed, model=str(tmp_path), architecture="BertModel")
    assert Extractor(model, tokenizer)(TEXTS[0]).source == dataclasses.replace(
        read(model=model).source, attention="encoder", path="interface"
    )
    with pytest.raises(InputError, match="model must be the model that was called, or its name, but is int"):
        read(model=3)
