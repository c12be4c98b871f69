"""The extractor: right maps from every family of models, by the path it says, and the model left as it was found."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tr

import model_zoo
import tokenizer_zoo
from bertattn import _hook
from bertattn.alignment import merge_subwords
from bertattn.annotation import Document, DocumentWindow, Sentence
from bertattn.errors import (
    AlignmentError,
    BertattnError,
    InputError,
    ModelError,
    SelectionError,
    TooLongError,
)
from bertattn.extract import Excluded, Extractor
from bertattn.inputs import TextPair, TokenIds

TEXTS = [
    "The cat sat on the mat.",
    "A small bird sang in the old tree near the quiet river every morning.",
    "Hello!",
    "It rained, and nobody minded.",
    "Who would have thought so?",
]
PROTEINS = ["MKTAYIAKQR", "LLGAVSERTIDPKQNFYMHWC", "MK", "AYIAK", "GGGGGGGG"]
PATHS = dict.fromkeys(model_zoo.ALL, "interface") | dict.fromkeys(model_zoo.FALLBACKS, "output_attentions")


def texts_for(name: str) -> list[str]:
    return PROTEINS if name == "esm" else TEXTS


def extractor(name: str) -> Extractor:
    return Extractor(*model_zoo.build(name))


def weights(a: Any) -> np.ndarray:
    return a.numpy()


def eager(name: str) -> Any:
    """A copy of the model under transformers' own eager attention."""
    model = copy.deepcopy(model_zoo.build(name)[0])
    for module in model.modules():
        if getattr(module, "config", None) is not None:
            module.config._attn_implementation = "eager"
    return model


def padded(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


@pytest.mark.parametrize("name", [*model_zoo.ENCODERS, *model_zoo.DECODERS, "deberta-v2", "mpnet"])
def test_maps_equal_transformers_own_eager_maps_on_a_padded_batch(name: str) -> None:
    model, tokenizer = model_zoo.build(name)
    texts = texts_for(name)
    rows = [tokenizer(text)["input_ids"] for text in texts]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids, mask = padded(rows, pad)
    with torch.no_grad():
        expected = eager(name)(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
    maps = list(Extractor(model, tokenizer).extract(texts, batch_size=len(texts)))
    assert len(maps) == len(texts)
    for i, a in enumerate(maps):
        n = len(rows[i])
        wanted = torch.stack([layer[i, :, :n, :n] for layer in expected]).numpy()
        np.testing.assert_allclose(weights(a), wanted, atol=1e-6)
        assert a.source.path == PATHS[name]
        assert a.queries.tokens == tuple(tokenizer.convert_ids_to_tokens(rows[i]))
        a.replace()  # the public constructor finds nothing wrong either


@pytest.mark.parametrize("name", list(model_zoo.ENCODER_DECODERS))
@pytest.mark.parametrize("attention", ["encoder", "decoder", "cross"])
def test_encoder_decoder_maps_equal_eager(name: str, attention: Any) -> None:
    model, tokenizer = model_zoo.build(name)
    pairs = list(zip(TEXTS, TEXTS[::-1], strict=True))
    start = model.config.decoder_start_token_id
    sources = [tokenizer(a)["input_ids"] for a, _ in pairs]
    targets = [[start, *tokenizer(b)["input_ids"][:-1]] for _, b in pairs]
    ids, mask = padded(sources, tokenizer.pad_token_id)
    target_ids, target_mask = padded(targets, tokenizer.pad_token_id)
    with torch.no_grad():
        outputs = eager(name)(
            input_ids=ids,
            attention_mask=mask,
            decoder_input_ids=target_ids,
            decoder_attention_mask=target_mask,
            output_attentions=True,
        )
    expected = outputs[f"{attention}_attentions"]
    maps = list(Extractor(model, tokenizer).extract([TextPair(*p) for p in pairs], attention=attention))
    for i, a in enumerate(maps):
        queries = sources[i] if attention == "encoder" else targets[i]
        keys = targets[i] if attention == "decoder" else sources[i]
        wanted = torch.stack([layer[i, :, : len(queries), : len(keys)] for layer in expected]).numpy()
        np.testing.assert_allclose(weights(a), wanted, atol=1e-6)
        assert a.source.path == "interface"
        assert a.source.attention == attention
        assert a.queries.tokens == tuple(tokenizer.convert_ids_to_tokens(queries))
        assert a.keys.tokens == tuple(tokenizer.convert_ids_to_tokens(keys))
        if attention == "decoder":
            assert np.triu(weights(a), 1).max() == 0


@pytest.mark.parametrize("name", list(model_zoo.ALL))
def test_batching_padding_and_layer_choice_change_nothing(name: str) -> None:
    ext = extractor(name)
    texts = texts_for(name)
    alone = [weights(ext(text)) for text in texts]
    for batch_size in (2, 16):
        together = [weights(a) for a in ext.extract(texts, batch_size=batch_size)]
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    some = ext(texts[0], layers=[2, 0])
    assert some.layers == (0, 2)
    np.testing.assert_allclose(weights(some), alone[0][[0, 2]], atol=1e-6)


def test_padding_that_would_change_numbers_is_found_out_and_left_out() -> None:
    """ConvBERT's convolutions see the padding; the zoo's invariance test above shows that its maps do not change."""
    ext = extractor("convbert")
    list(ext.extract(TEXTS))
    assert ext._padding_harmless == {"encoder": False}
    ext = extractor("bert")
    list(ext.extract(TEXTS))
    assert ext._padding_harmless == {"encoder": True}


@pytest.mark.parametrize(("name", "attention"), [("bloom", "decoder"), ("gpt2", "decoder"), ("bert", "encoder")])
def test_the_source_says_whether_tokens_see_only_those_before(name: str, attention: str) -> None:
    a = extractor(name)(TEXTS[0])
    assert a.source is not None
    assert a.source.attention == attention
    assert (np.triu(weights(a), 1).max() == 0) == (attention == "decoder")


def test_attention_computed_more_often_than_there_are_layers_is_refused() -> None:
    tokenizer = tokenizer_zoo.bpe_llama()
    config = tr.DiffLlamaConfig(**(model_zoo.SMALL | model_zoo._ids(tokenizer)), num_key_value_heads=4)
    with pytest.raises(ModelError, match="has 3 layers but computes attention 6 times"):
        Extractor(tr.DiffLlamaModel(config), tokenizer)(TEXTS[0])


def test_models_that_need_more_than_text_are_refused() -> None:
    tokenizer = tokenizer_zoo.wordpiece()
    model = tr.BrosModel(tr.BrosConfig(**(model_zoo.SMALL | model_zoo._ids(tokenizer))))
    with pytest.raises(ModelError, match=r"cannot be run on text alone: .*bbox"):
        Extractor(model, tokenizer)(TEXTS[0])


def longformer_reference(local: Any, across: Any, is_global: Any, tokens: int) -> np.ndarray:
    """Methods D.9, entry by entry."""
    heads, _, width = local.shape
    globals_ = [j for j in range(tokens) if is_global[j]]
    most = 0 if across is None else across.shape[-1]
    window = width - most - 1
    dense = np.zeros((heads, tokens, tokens))
    for h in range(heads):
        for i in range(tokens):
            if is_global[i]:
                for j in range(tokens):
                    dense[h, i, j] = across[h, j, globals_.index(i)]
                continue
            for m in range(window + 1):
                if 0 <= i + m - window // 2 < tokens:
                    dense[h, i, i + m - window // 2] += local[h, i, most + m]
            for c, j in enumerate(globals_):
                dense[h, i, j] += local[h, i, c]
    return dense


@pytest.mark.parametrize("head", [None, "LongformerForSequenceClassification"])
def test_longformer_bands_become_dense_maps(head: str | None) -> None:
    model, tokenizer = model_zoo.build("longformer")
    if head is not None:  # its classification head makes the first token global
        torch.manual_seed(1)
        model = getattr(tr, head)(model.config).eval()
        for parameter in model.parameters():
            parameter.data.mul_(8 if parameter.dim() > 1 else 1)
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    ids, mask = padded(rows, tokenizer.pad_token_id)
    with torch.no_grad():
        outputs = model(input_ids=ids, attention_mask=mask, output_attentions=True)
    maps = list(Extractor(model, tokenizer).extract(TEXTS, batch_size=len(TEXTS)))
    for i, a in enumerate(maps):
        n = len(rows[i])
        is_global = [head is not None and j == 0 for j in range(n)]
        for layer in range(3):
            across = None if head is None else outputs.global_attentions[layer][i].numpy()
            wanted = longformer_reference(outputs.attentions[layer][i, :, :n].numpy(), across, is_global, n)
            np.testing.assert_allclose(weights(a)[layer], wanted, atol=1e-6)
        np.testing.assert_allclose(weights(a).sum(-1), 1, atol=1e-5)
        assert a.source.path == "output_attentions"


def test_led_encoder_gives_dense_maps_too() -> None:
    tokenizer = tokenizer_zoo.byte_bpe_roberta()
    torch.manual_seed(0)
    model = tr.LEDModel(
        tr.LEDConfig(
            vocab_size=len(tokenizer),
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            attention_window=8,
            max_encoder_position_embeddings=96,
            max_decoder_position_embeddings=96,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=2,
        )
    ).eval()
    for a, text in zip(Extractor(model, tokenizer).extract(TEXTS), TEXTS, strict=True):
        assert a.shape[2] == len(tokenizer(text)["input_ids"])
        np.testing.assert_allclose(weights(a).sum(-1), 1, atol=1e-5)
        distance = np.abs(np.subtract.outer(range(a.shape[2]), range(a.shape[2])))
        assert weights(a)[..., distance > 4].max(initial=0) == 0


def refused(name: str, **config: Any) -> Any:
    tokenizer = tokenizer_zoo.wordpiece()
    torch.manual_seed(0)
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 96,
        "pad_token_id": 0,
    } | config
    return Extractor(getattr(tr, f"{name}Model")(getattr(tr, f"{name}Config")(**settings)), tokenizer)


@pytest.mark.parametrize(
    ("ext", "reason"),
    [
        (lambda: refused("SqueezeBert", embedding_size=32), "logits|no attention"),
        (lambda: refused("FNet"), "no attention that can be read|output_attentions"),
        (lambda: refused("Yoso"), "shape|no attention|weights"),
        (lambda: refused("Mra"), "no attention|output_attentions"),
    ],
    ids=["squeezebert", "fnet", "yoso", "mra"],
)
def test_models_without_readable_attention_are_refused_with_the_reason(ext: Any, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        ext()(TEXTS[0])


def test_sinks_give_rows_below_one_that_say_so() -> None:
    tokenizer = tokenizer_zoo.bpe_llama()
    torch.manual_seed(0)
    model = tr.GptOssModel(
        tr.GptOssConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=32,
            head_dim=8,
            num_local_experts=2,
            num_experts_per_tok=1,
            max_position_embeddings=96,
            pad_token_id=0,
        )
    )
    a = Extractor(model, tokenizer)(TEXTS[0])
    assert not a.normalized
    assert weights(a).sum(-1).max() < 1
    assert a.source.path == "interface"


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama", "gemma2", "t5", "bart", "modernbert"])
def test_captured_vectors_make_the_captured_attention(name: str) -> None:
    captured = extractor(name).capture(TEXTS[1])
    assert captured.query is not None
    assert captured.key is not None
    assert captured.hidden is not None
    layers, heads, queries, _keys = captured.attention.shape
    assert captured.value is not None
    assert captured.value.shape == captured.query.shape
    assert captured.hidden.shape[:2] == (layers + 1, queries)
    for layer in range(layers):
        for head in range(heads):
            logits = captured.scaling[layer] * (captured.query[layer, head] @ captured.key[layer, head].T)
            cap, bias = captured.softcap[layer], captured.bias[layer]
            if cap is not None:
                logits = cap * torch.tanh(logits / cap)
            if bias is not None:
                logits = logits + bias[min(head, len(bias) - 1)]
            np.testing.assert_allclose(logits.softmax(-1).numpy(), weights(captured.attention)[layer, head], atol=1e-5)


def test_hidden_states_are_the_models_own() -> None:
    model, tokenizer = model_zoo.build("bert")
    captured = Extractor(model, tokenizer).capture(TEXTS[0], what="hidden")
    with torch.no_grad():
        expected = model(**tokenizer(TEXTS[0], return_tensors="pt"), output_hidden_states=True).hidden_states
    assert captured.hidden is not None
    assert captured.query is None
    np.testing.assert_allclose(captured.hidden.numpy(), torch.cat(expected).numpy(), atol=1e-5)


def test_capture_says_what_it_cannot_do() -> None:
    with pytest.raises(SelectionError, match="'output' cannot be captured"):
        extractor("bert").capture(TEXTS[0], what=("output",))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="out of reach"):
        extractor("mpnet").capture(TEXTS[0], what=("query",))
    assert extractor("mpnet").capture(TEXTS[0], what=("hidden",)).hidden is not None


def state_of(model: Any) -> Any:
    configs = [config._attn_implementation_internal for config in _hook._configs(model)]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return configs, [m.training for m in model.modules()], hooks


@pytest.mark.parametrize("name", ["bert", "t5", "deberta-v2", "longformer"])
def test_the_model_is_left_as_it_was_found(name: str) -> None:
    model, tokenizer = model_zoo.build(name)
    model = copy.deepcopy(model)
    model.train()
    next(iter(model.children())).eval()  # a mixture of modes is the user's business
    before = state_of(model)
    ext = Extractor(model, tokenizer)
    ext(TEXTS[0])
    assert state_of(model) == before
    stream = ext.extract(TEXTS * 10, batch_size=2)
    next(stream)
    assert state_of(model) == before  # between two items of a stream
    del stream
    assert state_of(model) == before
    broken = copy.deepcopy(model)
    next(m for m in broken.modules() if type(m).__name__.endswith("Attention")).register_forward_pre_hook(
        lambda *_: (_ for _ in ()).throw(RuntimeError("broken"))
    )
    before = state_of(broken)
    with pytest.raises(RuntimeError, match="broken"):
        Extractor(broken, tokenizer)(TEXTS[0])
    assert state_of(broken) == before
    assert len(_hook._original) == 0


def test_train_mode_checkpointing_and_half_precision_change_nothing_but_rounding() -> None:
    model, tokenizer = model_zoo.build("bert")
    expected = weights(Extractor(model, tokenizer)(TEXTS[1]))
    trained = copy.deepcopy(model).train()
    checkpointed = getattr(trained, "activation_checkpointing_enable", None)  # gradient_… before transformers 5.23
    (checkpointed or trained.gradient_checkpointing_enable)()
    np.testing.assert_allclose(weights(Extractor(trained, tokenizer)(TEXTS[1])), expected, atol=1e-6)
    half = Extractor(copy.deepcopy(model).to(torch.bfloat16), tokenizer)(TEXTS[1])
    assert half.weights.dtype == torch.float32
    assert half.source.dtype == "bfloat16"
    np.testing.assert_allclose(weights(half).sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(weights(half), expected, atol=0.05)


class Wrapper(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inside = model

    def forward(self, features: dict[str, Any]) -> Any:
        return self.inside(**features)


@pytest.mark.parametrize("wrap", ["head", "module", "pipeline", "pair"])
def test_models_inside_wrappers_work(wrap: str) -> None:
    model, tokenizer = model_zoo.build("bert")
    expected = weights(Extractor(model, tokenizer)(TEXTS[0]))
    head = tr.BertForMaskedLM(model.config).eval()
    head.bert.load_state_dict(model.state_dict(), strict=False)
    if wrap == "head":
        ext = Extractor(head, tokenizer)
    elif wrap == "module":
        ext = Extractor(Wrapper(model), tokenizer)
    elif wrap == "pipeline":
        ext = Extractor(SimpleNamespace(model=head, tokenizer=tokenizer))
    else:
        decoder = tr.BertLMHeadModel(
            tr.BertConfig(**(model.config.to_dict() | {"is_decoder": True, "add_cross_attention": True}))
        )
        pair = tr.EncoderDecoderModel(encoder=copy.deepcopy(model), decoder=decoder).eval()
        pair.config.decoder_start_token_id = tokenizer.cls_token_id
        ext = Extractor(pair, tokenizer)
        cross = ext(TextPair(TEXTS[0], TEXTS[2]), attention="cross")
        assert cross.shape[2] != cross.shape[3]
        np.testing.assert_allclose(weights(cross).sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(weights(ext(TEXTS[0])), expected, atol=1e-6)


def test_threads_and_two_extractors_on_one_model_do_not_mix() -> None:
    model, tokenizer = model_zoo.build("bert")
    first, second = Extractor(model, tokenizer), Extractor(model, tokenizer)
    expected = [weights(first(text)) for text in TEXTS]
    outputs = model(**tokenizer(TEXTS[1], return_tensors="pt")).last_hidden_state.detach()
    failures: list[str] = []

    def extracting(ext: Extractor) -> None:
        for _ in range(4):
            for want, got in zip(expected, ext.extract(TEXTS, batch_size=2), strict=True):
                if not np.allclose(want, weights(got), atol=1e-5):
                    failures.append("maps differ")

    def using() -> None:  # the user's own calls of the same model, meanwhile
        for _ in range(20):
            with torch.no_grad():
                again = model(**tokenizer(TEXTS[1], return_tensors="pt")).last_hidden_state
            if not torch.allclose(outputs, again, atol=1e-5):
                failures.append("outputs differ")

    threads = [threading.Thread(target=extracting, args=(e,)) for e in (first, second)] + [
        threading.Thread(target=using)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    interleaved = list(zip(first.extract(TEXTS), second.extract(TEXTS[::-1]), strict=True))
    np.testing.assert_allclose(weights(interleaved[0][0]), weights(interleaved[-1][1]), atol=1e-5)


def test_the_hook_is_not_live_for_a_model_that_shares_the_config() -> None:
    model, tokenizer = model_zoo.build("bert")
    other = tr.BertModel(model.config).eval()
    inputs = tokenizer(TEXTS[0], return_tensors="pt")
    assert _hook.recorded(model, lambda: other(**inputs))[1].seen == 0
    assert _hook.recorded(model, lambda: model(**inputs))[1].seen == 3


def test_an_endless_input_gives_its_first_maps_at_once_and_in_order() -> None:
    read = []

    def endless() -> Any:
        for i in itertools.count():
            read.append(i)
            yield f"number {'the ' * (i % 7)} {i}"

    stream = extractor("bert").extract(endless(), batch_size=2)
    lengths = [a.shape[2] for a in itertools.islice(stream, 5)]
    alone = [extractor("bert")(f"number {'the ' * (i % 7)} {i}").shape[2] for i in range(5)]
    assert lengths == alone
    assert len(read) <= 16


def test_too_long_texts_raise_or_are_cut_or_skipped_and_listed() -> None:
    ext = extractor("bert")
    long = "the cat " * 5000  # 10,000 words
    with pytest.raises(TooLongError, match=r"input 1: .* tokens but the model takes 96; use on_too_long='truncate'"):
        list(ext.extract([TEXTS[0], long]))
    with pytest.raises(TooLongError):
        ext(long)
    skipping = ext.extract([TEXTS[0], long, TEXTS[2]], on_too_long="skip")
    assert [a.shape[2] for a in skipping] == [ext(TEXTS[0]).shape[2], ext(TEXTS[2]).shape[2]]
    assert [e.index for e in skipping.skipped] == [1]
    assert "96" in skipping.skipped[0].reason
    cutting = ext.extract([long, TEXTS[2]], on_too_long="truncate")
    cut = next(cutting)
    assert cut.shape[2] == 96
    assert cut.queries.roles is not None
    assert cut.queries.roles[-1] == "sep"
    assert isinstance(cutting.truncated[0], Excluded)
    assert cutting.truncated[0].index == 0
    assert cutting.skipped == []
    merge_subwords(cut)  # the words that were cut off are not missing words
    pair = next(ext.extract([TextPair(long, "the cat")], on_too_long="truncate"))
    assert pair.shape[2] == 96
    assert pair.queries.segments is not None
    assert pair.queries.segments[-1] == 1
    sentence = Sentence(tuple(long.split()))
    with pytest.raises(TooLongError, match="annotated words are not cut"):
        next(ext.extract([sentence], on_too_long="truncate"))
    with pytest.raises(TooLongError, match="annotated words are not cut"):
        ext(sentence)
    ids = next(ext.extract([TokenIds((5,) * 200)], on_too_long="truncate"))
    assert ids.shape[2] == 96


@pytest.mark.parametrize("name", ["gpt2", "xlm-roberta", "llama"])
def test_a_message_shows_the_text_and_not_its_tokens(name: str) -> None:
    ext, long = extractor(name), "the cat sat " * 50
    ids = TokenIds(tuple(ext.tokenizer(long)["input_ids"]))
    for x in (long, TextPair(long, "the end"), Sentence(tuple(long.split())), ids):
        with pytest.raises(
            TooLongError, match=r"^'(<s>)? ?the cat sat the cat sat [a-z ]*…' has \d+ tokens but"
        ) as raised:
            ext(x)
        stream = ext.extract([x], on_too_long="skip")
        assert list(stream) == []
        assert stream.skipped == [Excluded(0, raised.value.reason)]
        assert re.search(r" tokens but the model takes 9\d$", stream.skipped[0].reason)
        assert pickle.loads(pickle.dumps(raised.value)).reason == raised.value.reason


@pytest.mark.parametrize("name", ["roberta", "xlm-roberta", "mpnet"])
def test_the_limit_leaves_out_position_rows_that_padding_takes(name: str) -> None:
    ext = extractor(name)
    assert ext(TokenIds((5,) * 94)).shape[2] == 94
    with pytest.raises(TooLongError, match="takes 94"):
        ext(TokenIds((5,) * 95))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no text: '' is empty"),
        ("   \n\t", "only white space"),
        ("\x00\x01", "makes no token of"),
        ("half \ud83d of a pair", r"no valid Unicode: .*character 5 is half of a surrogate pair"),
    ],
)
def test_texts_without_tokens_are_refused_or_counted(text: str, message: str) -> None:
    ext = extractor("bert")
    with pytest.raises(InputError, match=message):
        ext(text)
    with pytest.raises(InputError, match=f"input 1: .*{message}"):
        list(ext.extract([TEXTS[0], text]))
    stream = ext.extract([TEXTS[0], text, TEXTS[1]], on_error="skip")
    assert len(list(stream)) == 2
    assert [e.index for e in stream.skipped] == [1]


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "gpt2", "llama", "t5"])
@pytest.mark.parametrize(
    "text",
    [
        "word",
        "😀 👩‍👩‍👧 ok",
        "שלום עולם",
        "مرحبا بالعالم",
        "e\u0301te\u0301",
        "a\u200bb c\u00adc",
        "中文 text",
    ],
)
def test_odd_texts_give_valid_maps_whose_words_merge(name: str, text: str) -> None:
    a = extractor(name)(text)
    a.replace()
    merged = merge_subwords(a)
    np.testing.assert_allclose(weights(merged).sum(-1), 1, atol=1e-5)


def test_other_types_of_input_are_named_with_the_remedy() -> None:
    ext = extractor("bert")
    for wrong, message in (
        (["two", "words"], r"for words Sentence\(words\)"),
        ({"text": "x"}, "an input is a str, TextPair"),
        (None, "NoneType"),
        ([], "token ids"),
        ([1.5], "token ids"),
        ([-1], "from 0"),
        ([10**6], "tokenizer of another model"),
        (Document((Sentence(("a",)),)), "windows"),
    ):
        with pytest.raises(InputError, match=message):
            ext(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="inputs is one str; call ext"):
        ext.extract("one text")
    for options, message in (
        ({"on_too_long": "cut"}, "on_too_long must be 'error' or 'truncate' or 'skip'"),
        ({"on_error": "ignore"}, "on_error must be"),
        ({"spacing": "none"}, "spacing must be"),
        ({"batch_size": 0}, "batch_size must be a whole number, at least 1, but is 0"),
        ({"batch_size": "4"}, "batch_size must be a whole number, at least 1, but is '4'"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"attention": "self"}, "attention must be"),
        ({"attention": "cross"}, "has only attention='encoder'"),
    ):
        with pytest.raises(InputError, match=message):
            ext.extract(TEXTS, **options)  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match=r"layers \[7\] are not here; the model has 3"):
        ext(TEXTS[0], layers=7)
    with pytest.raises(InputError, match="needs a source and a target"):
        extractor("bart")(TEXTS[0], attention="cross")


def test_token_ids_are_taken_as_they_are() -> None:
    model, tokenizer = model_zoo.build("bert")
    ext = Extractor(model, tokenizer)
    ids = tokenizer(TEXTS[0])["input_ids"]
    expected = weights(ext(TEXTS[0]))
    for given in (ids, tuple(ids), np.array(ids), torch.tensor(ids), TokenIds(tuple(ids))):
        a = ext(given)
        np.testing.assert_allclose(weights(a), expected, atol=1e-6)
        assert a.queries.roles is not None
        assert (a.queries.roles[0], a.queries.roles[-1]) == ("cls", "sep")
    middle = len(ids) // 2
    types = (0,) * middle + (1,) * (len(ids) - middle)
    segmented = ext(TokenIds(tuple(ids), segments=types))
    zeros = ext(TokenIds(tuple(ids), segments=types, token_types=(0,) * len(ids)))
    assert segmented.queries.segments == zeros.queries.segments == types
    np.testing.assert_allclose(weights(zeros), expected, atol=1e-6)
    assert np.abs(weights(segmented) - expected).max() > 1e-4


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta"])
def test_pairs_have_segments_and_the_models_token_types(name: str) -> None:
    model, tokenizer = model_zoo.build(name)
    a = Extractor(model, tokenizer)(TextPair("How are you?", "Fine, thanks."))
    encoding = tokenizer("How are you?", "Fine, thanks.", return_tensors="pt")
    with torch.no_grad():
        expected = eager(name)(**encoding, output_attentions=True).attentions
    np.testing.assert_allclose(weights(a), torch.cat(expected).numpy(), atol=1e-6)
    segments = np.array(a.queries.segments)
    assert segments[0] == 0
    assert segments[-1] == 1
    assert (np.diff(segments) >= 0).all()
    first_b = int(segments.argmax())
    assert a.queries.roles is not None
    assert a.queries.roles[first_b] == (None if name == "bert" else "sep")  # </s></s>: the second one opens B
    assert a.queries.words == ("How", "are", "you", "?", "Fine", ",", "thanks", ".")


def test_sentences_travel_with_their_maps() -> None:
    ext = extractor("bert")
    sentence = Sentence(
        ("The", "cat", "sat", "."), governors=(2, 3, 0, 3), space_after=(True, True, False, True), id="s1"
    )
    a = ext(sentence)
    assert a.annotation is sentence
    assert a.queries.words == sentence.words
    assert a.source is not None
    assert a.source.spacing == "single"
    merged = merge_subwords(a)
    assert merged.queries.tokens == ("[CLS]", "The", "cat", "sat", ".", "[SEP]")
    natural = extractor("gpt2")(sentence, spacing="natural")
    assert "".join(natural.queries.tokens) == "TheĠcatĠsat."
    assert "".join(extractor("gpt2")(sentence).queries.tokens) == "TheĠcatĠsatĠ."
    window = DocumentWindow((sentence, sentence))
    assert merge_subwords(ext(window)).queries.words == sentence.words * 2


def test_a_word_that_vanishes_is_named_when_words_are_needed() -> None:
    a = extractor("bert")(Sentence(("one", "\u200b", "two"), id="s7"))
    with pytest.raises(AlignmentError, match=r"s7"):
        merge_subwords(a)
    assert merge_subwords(a, missing="drop").queries.tokens == ("[CLS]", "one", "two", "[SEP]")


def test_a_slow_tokenizer_aligns_word_by_word_or_says_that_it_cannot() -> None:
    ext = extractor("esm")
    a = ext(Sentence(("MKT", "AY", "IA")))
    assert merge_subwords(a).queries.tokens == ("<cls>", "MKT", "AY", "IA", "<eos>")
    with pytest.raises(AlignmentError, match="does not say which word"):
        merge_subwords(ext("MKTAY"))
    with pytest.raises(InputError, match="reads as a special token"):
        ext("MK<eos>TA")


def test_a_wrong_tokenizer_is_refused_or_warned_of() -> None:
    model, tokenizer = model_zoo.build("bert")
    with pytest.raises(ModelError, match=r"tokenizer has .* tokens but the model only"):
        Extractor(
            model,
            tokenizer_zoo.byte_bpe_roberta()
            if len(tokenizer_zoo.byte_bpe_roberta()) > len(tokenizer)
            else tokenizer_zoo.bpe_llama(),
        )
    roberta, _ = model_zoo.build("roberta")
    with pytest.warns(UserWarning, match="the tokenizer of another model") as warned:
        Extractor(roberta, tokenizer_zoo.unigram_t5())
    assert any("pad token is 1 but the tokenizer's is 0" in str(w.message) for w in warned)
    with pytest.raises(ModelError, match="tokenizer must be a transformers tokenizer, but is NoneType"):
        Extractor(model)
    with pytest.raises(ModelError, match="must be, or hold, a transformers model"):
        Extractor(torch.nn.Linear(2, 2), tokenizer)


def test_from_pretrained_loads_the_demo_model_and_says_what_it_cannot_load(tmp_path: Any) -> None:
    ext = Extractor.from_pretrained(tokenizer_zoo.minilm_path(), device="cpu")
    a = ext("The cat sat on the mat.")
    assert a.shape[:2] == (6, 12)
    assert a["3-9"].shape == (9, 9)
    assert a.source is not None
    assert a.source.model == str(tokenizer_zoo.minilm_path())
    assert a.source.architecture == "BertModel"
    with pytest.raises(ModelError, match=r"holds no model: it has no config.json"):
        Extractor.from_pretrained(tmp_path)
    assert issubclass(ModelError, BertattnError)
