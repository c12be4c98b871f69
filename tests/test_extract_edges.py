"""What was found by trying to break the extractor: each test failed once."""

from __future__ import annotations

import copy
import io
import json
import operator
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
import transformers as tr
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import model_zoo
import tokenizer_zoo
from bertattn import _fallback, _hook, _model
from bertattn.alignment import merge_subwords
from bertattn.errors import InputError, ModelError, SelectionError, TooLongError
from bertattn.extract import Extractor
from bertattn.inputs import TextPair, TokenIds

TEXTS = [
    "The cat sat on the mat.",
    "A small bird sang in the old tree near the quiet river every morning.",
    "Hello!",
]


def extractor(name: str) -> Extractor:
    return Extractor(*model_zoo.build(name))


def small(name: str, tokenizer: Any, **more: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(tr, f"{name}Config")(**(model_zoo.SMALL | model_zoo._ids(tokenizer) | more))
    model = getattr(tr, f"{name}Model")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return model.eval()


def seq2seq(name: str, tokenizer: Any, **more: Any) -> Any:
    torch.manual_seed(0)
    sides = {
        f"{side}_{what}": n
        for side in ("encoder", "decoder")
        for what, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))
    }
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos")}
    config = getattr(tr, f"{name}Config")(
        **(sides | ids | {"vocab_size": len(tokenizer), "d_model": 32, "decoder_start_token_id": 2} | more)
    )
    return getattr(tr, f"{name}Model")(config).eval()


def test_maps_of_a_pair_do_not_depend_on_what_stands_beside_it() -> None:
    """Ids without token types beside it used to take the pair's away."""
    model, tokenizer = model_zoo.build("bert")
    ext = Extractor(model, tokenizer)
    pair = TextPair(TEXTS[0], TEXTS[2])
    ids = TokenIds(tuple(tokenizer(TEXTS[0])["input_ids"]))
    together = list(ext.extract([pair, ids]))
    np.testing.assert_allclose(together[0].numpy(), ext(pair).numpy(), atol=1e-5)
    np.testing.assert_allclose(together[1].numpy(), ext(ids).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "roberta"])
def test_segments_are_no_token_types_where_the_tokenizer_makes_none(name: str) -> None:
    """GPT-2 would add the embeddings of tokens 0 and 1; RoBERTa has no second type."""
    ext = extractor(name)
    ids = (5, 6, 7, 8, 9)
    segmented = ext(TokenIds(ids, segments=(0, 0, 0, 1, 1)))
    assert segmented.queries.segments == (0, 0, 0, 1, 1)
    np.testing.assert_allclose(segmented.numpy(), ext(TokenIds(ids)).numpy(), atol=1e-6)


def test_token_types_that_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(InputError, match=r"token type 5 is beyond the model's 2; give TokenIds with token_types"):
        extractor("bert")(TokenIds((2, 5, 6, 3), token_types=(0, 0, 5, 5)))


@pytest.mark.parametrize("name", ["mpnet", "deberta-v2", "bloom", "longformer", "convbert"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_without_the_interface_give_proper_distributions(name: str, dtype: Any) -> None:
    model, tokenizer = model_zoo.build(name)
    expected = Extractor(model, tokenizer)(TEXTS[0]).numpy()
    for a in Extractor(copy.deepcopy(model).to(dtype), tokenizer).extract(TEXTS):
        a.replace()  # the public constructor agrees
        assert a.weights.dtype == torch.float32
    a = Extractor(copy.deepcopy(model).to(dtype), tokenizer)(TEXTS[0])
    np.testing.assert_allclose(a.numpy(), expected, atol=0.2)


@pytest.mark.parametrize(
    "layers", ["8-10", "1", True, 1.5, [1.5], ["0"], [None], [True], np.array([0.5]), float("nan")], ids=repr
)
def test_layers_that_are_no_numbers_are_refused(layers: Any) -> None:
    with pytest.raises((SelectionError), match="layers"):
        extractor("bert")(TEXTS[0], layers=layers)


@pytest.mark.parametrize(
    "layers", [1, np.int64(1), [np.int64(1)], np.array(1), torch.tensor(1), range(1, 2), iter([1])], ids=repr
)
def test_layers_may_be_any_kind_of_whole_number(layers: Any) -> None:
    assert extractor("bert")(TEXTS[0], layers=layers).layers == (1,)


def test_one_side_may_use_the_interface_and_the_other_not() -> None:
    """Whichever is asked for first."""
    tokenizer = tokenizer_zoo.unigram_xlmr()
    model = seq2seq("BigBirdPegasus", tokenizer, attention_type="original_full", max_position_embeddings=96)
    pair = TextPair(TEXTS[0], TEXTS[2])
    ext = Extractor(model, tokenizer)
    paths = [ext(pair, attention=kind).source.path for kind in ("cross", "encoder", "decoder")]  # type: ignore[union-attr,arg-type]
    assert paths == ["interface", "output_attentions", "interface"]
    sources = [Extractor(model, tokenizer)(pair, attention="encoder"), ext(pair, attention="encoder")]
    np.testing.assert_allclose(sources[0].numpy(), sources[1].numpy(), atol=1e-6)


class Blind(tr.MPNetModel):
    """It has no idea which tokens are padding."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **options: Any) -> Any:
        return super().forward(input_ids, **options)


def test_a_model_that_looks_at_padding_is_given_none() -> None:
    model, tokenizer = model_zoo.build("mpnet")
    ext = Extractor(Blind(model.config).eval(), tokenizer)
    together = list(ext.extract(TEXTS))
    assert [a.normalized for a in together] == [True] * 3
    for text, a in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(a.numpy(), ext(text).numpy(), atol=1e-6)


def test_no_layers_at_all_are_refused_as_none_means_all() -> None:
    with pytest.raises(SelectionError, match=r"^layers names none; None keeps all$"):
        extractor("bert")(TEXTS[0], layers=[])


def test_maps_that_give_padding_weight_are_refused() -> None:
    """One row of two tokens beside one of three: what the last query, a padded one, looks at does not matter."""
    mask = torch.tensor([[True, True, True], [True, True, False]])
    maps = torch.full((2, 1, 3, 3), 1 / 3)
    maps[1, :, :2] = torch.tensor([0.5, 0.5, 0.0])
    assert _fallback.check([maps, maps], mask, mask, model="Sieve")
    leaky = maps.clone()
    leaky[1, 0, 1] = torch.tensor([0.5, 0.375, 0.125])
    with pytest.raises(ModelError, match=r"^Sieve attends to padding \(layer 2: weight 0\.125\)$"):
        _fallback.check([maps, leaky], mask, mask, model="Sieve")


def test_block_sparse_attention_is_refused_before_the_model_changes_itself() -> None:
    tokenizer = tokenizer_zoo.unigram_xlmr()
    model = small("BigBird", tokenizer, attention_type="block_sparse", block_size=4, num_random_blocks=1)
    with pytest.raises(ModelError, match=r"block-sparse attention.*attention_type='original_full'"):
        Extractor(model, tokenizer)
    assert model.attention_type == "block_sparse"
    model.set_attention_type("original_full")
    assert Extractor(model, tokenizer)(TEXTS[0]).shape[0] == 3


def test_keys_chosen_outside_the_attention_function_are_left_out_as_the_model_does() -> None:
    tokenizer = tokenizer_zoo.bpe_llama()
    model = small(
        "DeepseekV32",
        tokenizer,
        num_key_value_heads=4,
        q_lora_rank=8,
        kv_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=6,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        first_k_dense_replace=3,
        index_topk=4,
        index_n_heads=2,
        index_head_dim=8,
    )
    a = Extractor(model, tokenizer)(TEXTS[1])
    own = copy.deepcopy(model)
    own.config._attn_implementation = "eager"
    with torch.no_grad():
        expected = own(**tokenizer(TEXTS[1], return_tensors="pt"), output_attentions=True).attentions
    np.testing.assert_allclose(a.numpy(), torch.cat(expected).numpy(), atol=1e-6)
    assert (a.numpy() > 0).sum(-1).max() == 4


def test_albert_may_have_several_attentions_in_a_layer() -> None:
    tokenizer = tokenizer_zoo.unigram_xlmr()
    ext = Extractor(small("Albert", tokenizer, embedding_size=16, inner_group_num=2), tokenizer)
    assert ext(TEXTS[0]).shape[0] == 6


def test_a_model_whose_kind_is_seen_from_its_maps_is_not_called_what_it_is_not() -> None:
    ext = extractor("deberta-v2")
    for _ in range(2):
        with pytest.raises(InputError, match="has only attention='encoder'"):
            ext(TEXTS[0], attention="decoder")
    assert ext(TEXTS[0]).source.attention == "encoder"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["bert", "deberta-v2", "t5"])
def test_a_config_that_asks_for_tuples_changes_nothing(name: str) -> None:
    model, tokenizer = model_zoo.build(name)
    model = copy.deepcopy(model)
    for config in _hook._configs(model):
        config.return_dict = False
    captured = Extractor(model, tokenizer).capture(TEXTS[0], what="hidden")
    assert captured.hidden is not None
    assert captured.hidden.shape[0] == captured.attention.shape[0] + 1


def test_what_was_read_before_an_input_that_fails_is_given_first() -> None:
    def reading() -> Any:
        yield from TEXTS[:2]
        raise OSError("the file ends here")

    for inputs, error in ((reading(), OSError), ([*TEXTS[:2], "", TEXTS[2]], InputError)):
        given: list[int] = []
        with pytest.raises(error):
            given.extend(a.shape[2] for a in extractor("bert").extract(inputs))
        assert given == [extractor("bert")(text).shape[2] for text in TEXTS[:2]]


# Text that looks like special tokens


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama"])
@pytest.mark.parametrize("text", ["[SEP] </s> <s> x", "a</s>b", "<mask> [MASK]", "<|endoftext|>", "<pad>[PAD]"])
def test_written_text_is_never_read_as_a_special_token(name: str, text: str) -> None:
    ext = extractor(name)
    a = ext(text)
    special = set(ext.tokenizer.all_special_tokens) - {ext.tokenizer.unk_token}
    assert a.queries.offsets is not None
    inner = [t for t, span in zip(a.queries.tokens, a.queries.offsets, strict=True) if span is not None]
    assert not special & set(inner)


@pytest.mark.parametrize(
    ("name", "text"),
    [("xlm-roberta", "a </s> b"), ("xlm-roberta", "<mask>"), ("t5", "x<extra_id_0>"), ("t5", "</s>")],
)
def test_sentencepiece_reads_them_all_the_same_and_so_refuses(name: str, text: str) -> None:
    with pytest.raises(InputError, match=r"the text holds '<.*>', which .* reads as a special token; take it out"):
        extractor(name)(text)


class TwoVocabularies(tr.BertTokenizer):  # type: ignore[misc]
    """As Marian's: targets are read by other rules."""

    def _switch_to_target_mode(self) -> None:
        self.target = True

    def _switch_to_input_mode(self) -> None:
        self.target = False

    def _encode_plus(self, text: Any, **keywords: Any) -> Any:
        return super()._encode_plus("hello" if self.target else text, **keywords)


def test_targets_are_tokenised_as_targets() -> None:
    tokenizer = TwoVocabularies(vocab=tokenizer_zoo.wordpiece().get_vocab())
    tokenizer.target = False
    model = seq2seq("Bart", tokenizer, bos_token_id=2, eos_token_id=3)
    ext = Extractor(model, tokenizer)
    a = ext(TextPair("the cat", "the dog"), attention="cross")
    assert a.queries.tokens[2:] == tuple(tokenizer_zoo.wordpiece().tokenize("hello"))
    assert a.keys.tokens[1:-1] == tuple(tokenizer_zoo.wordpiece().tokenize("the cat"))


def test_mbart_starts_with_the_language_that_ends_its_target() -> None:
    tokenizer = tokenizer_zoo.unigram_xlmr()
    model = seq2seq("MBart", tokenizer, decoder_start_token_id=None)
    a = Extractor(model, tokenizer)(TextPair(TEXTS[0], TEXTS[2]), attention="decoder")
    ids = tokenizer(TEXTS[2])["input_ids"]
    assert a.queries.tokens == tuple(tokenizer.convert_ids_to_tokens([ids[-1], *ids[:-1]]))


def test_a_target_whose_tokenizer_ends_with_a_word_keeps_it() -> None:
    tokenizer = tokenizer_zoo.bpe_llama()
    model = seq2seq("Bart", tokenizer, pad_token_id=0)
    a = Extractor(model, tokenizer)(TextPair(TEXTS[0], "the last word"), attention="cross")
    assert a.queries.tokens[1:] == tuple(tokenizer.convert_ids_to_tokens(tokenizer("the last word")["input_ids"]))
    assert merge_subwords(a).queries.tokens[-1] == "word"


def test_encoder_and_decoder_have_each_their_own_limit() -> None:
    tokenizer = tokenizer_zoo.byte_bpe_roberta()
    model = seq2seq(
        "LED", tokenizer, attention_window=8, max_encoder_position_embeddings=128, max_decoder_position_embeddings=16
    )
    ext = Extractor(model, tokenizer)
    long = "the cat " * 20
    assert ext(TextPair(long, "a"), attention="cross").shape[2] < 16
    with pytest.raises(TooLongError, match="takes 16"):
        ext(TextPair("a", long), attention="cross")
    stream = ext.extract([TextPair("a", long)], attention="cross", on_too_long="truncate")
    assert next(stream).shape[2] == 16
    assert len(stream.truncated) == 1
    assert ext(TextPair("a", long)).shape[2] == ext("a").shape[2]  # the encoder does not read the target


# The model as it was found


def state_of(model: Any) -> Any:
    return (
        [config._attn_implementation_internal for config in _hook._configs(model)],
        [m.training for m in model.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        dict(_hook._original),
        getattr(_hook._local, "recording", None),
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one that hits a destructor
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timers")
@pytest.mark.parametrize("name", ["bert", "longformer"])
def test_ctrl_c_at_any_moment_leaves_the_model_as_it_was(name: str) -> None:
    model, tokenizer = model_zoo.build(name)
    model = copy.deepcopy(model).train()
    ext = Extractor(model, tokenizer)
    ext(TEXTS[0])
    before = state_of(model)
    began = time.perf_counter()
    ext(TEXTS[0])
    usual = time.perf_counter() - began

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    tracer = sys.gettrace()
    sys.settrace(None)  # coverage.py waits for ever once an interrupt has hit it while it held its lock
    previous = signal.signal(signal.SIGALRM, interrupt)
    rng = random.Random(0)
    interrupted = 0
    try:
        for _ in range(40):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 + usual * rng.random())
                ext(TEXTS[0])
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
                assert state_of(model) == before  # while the exception, and with it every frame, is still alive
                assert torch.is_grad_enabled()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        sys.settrace(tracer)
    assert interrupted > 5


def test_a_switch_that_is_interrupted_while_it_is_undone_is_undone_to_the_end() -> None:
    model = copy.deepcopy(model_zoo.build("bert")[0]).train()
    modules = list(model.modules())
    stubborn = type(modules[3])

    class Interrupted(stubborn):  # type: ignore[misc,valid-type]
        def __setattr__(self, name: str, value: Any) -> None:
            if name == "training" and value and not fired:
                fired.append(True)
                raise KeyboardInterrupt
            super().__setattr__(name, value)

    fired: list[bool] = []
    modules[3].__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        _hook.switched(model, "eager", lambda: None)
    assert fired
    assert all(m.training for m in modules)
    assert model.config._attn_implementation_internal == "sdpa"


@pytest.mark.parametrize("name", ["bert", "llama", "t5"])
def test_a_call_that_another_thread_began_before_ours_ends_as_it_began(name: str) -> None:
    """It has masks for its own attention function, none at all for a causal one; ours would read them wrongly."""
    model, tokenizer = model_zoo.build(name)
    model = copy.deepcopy(model)
    for config in _hook._configs(model):
        config._attn_implementation_internal = "sdpa"
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    longest = max(map(len, rows))
    inputs = {
        "input_ids": torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
    }
    if name == "t5":
        inputs["decoder_input_ids"] = torch.tensor([[0, 5, 6, 7]] * len(rows))
    for batch in (inputs, {key: value[1:2] for key, value in inputs.items()}):
        with torch.no_grad():
            expected = model(**batch).last_hidden_state
        begun, switched = threading.Event(), threading.Event()
        first = next(m for m in model.modules() if "Attention" in type(m).__name__)

        def wait(*_: Any, begun: Any = begun, switched: Any = switched) -> None:
            begun.set()
            switched.wait(10)

        handle = first.register_forward_pre_hook(wait)
        got: list[torch.Tensor] = []

        def use(batch: Any = batch, got: Any = got) -> None:
            with torch.no_grad():
                got.append(model(**batch).last_hidden_state)

        thread = threading.Thread(target=use)
        thread.start()
        begun.wait(10)

        def go_on(thread: Any = thread, switched: Any = switched) -> None:
            switched.set()
            thread.join()

        _, record = _hook.recorded(model, go_on)
        handle.remove()
        assert record.seen == 0
        kept = inputs["attention_mask"][: len(expected)].bool() if name != "t5" and len(expected) > 1 else ...
        np.testing.assert_allclose(got[0][kept].numpy(), expected[kept].numpy(), rtol=1e-3, atol=1e-3)


class Exclusive(tr.BertTokenizer):  # type: ignore[misc]
    """Notes calls that come while another has not ended: they would read each other's truncation."""

    def _encode_plus(self, *given: Any, **keywords: Any) -> Any:
        alone = self.gate.acquire(blocking=False)
        time.sleep(0.002)
        encoding = super()._encode_plus(*given, **keywords)
        if alone:
            self.gate.release()
        else:
            self.overlaps.append(given)
        return encoding


def test_threads_share_a_tokenizer_whose_truncation_is_its_own_state() -> None:
    tokenizer = Exclusive(vocab=tokenizer_zoo.wordpiece().get_vocab())
    tokenizer.gate, tokenizer.overlaps = threading.Lock(), []
    extractors = [
        Extractor(small("Bert", tokenizer, max_position_embeddings=limit), tokenizer) for limit in (16, 32, 64)
    ]
    shapes: dict[int, list[int]] = {}

    def work(number: int) -> None:
        maps = extractors[number].extract(["the cat " * 100, TEXTS[0]] * 10, on_too_long="truncate")
        shapes[number] = [a.shape[2] for a in maps]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tokenizer.overlaps == []
    assert shapes == {0: [16, 11] * 10, 1: [32, 11] * 10, 2: [64, 11] * 10}


# Folders that hold no model, or not all of one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model, tokenizer = model_zoo.build("bert")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("shown", [True, False])
def test_loading_by_name_records_the_revision_and_leaves_progress_bars_as_they_were(folder: Path, shown: bool) -> None:
    logging = tr.utils.logging
    before = logging.is_progress_bar_enabled()
    try:
        (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
        source = Extractor.from_pretrained(str(folder), revision="v1.5")(TEXTS[0]).source
        assert logging.is_progress_bar_enabled() is shown
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()
    assert source is not None
    assert (source.model, source.revision) == (str(folder), "v1.5")


def test_a_torn_checkpoint_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="no model could be loaded from"):
        Extractor.from_pretrained(folder, device="cpu")


@pytest.mark.parametrize(("name", "value"), [("hidden_size", 64), ("num_hidden_layers", 5)])
def test_weights_that_would_be_random_are_refused(folder: Path, name: str, value: int) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ModelError, match=r"no model could be loaded|lacks 32 weights of BertModel, such as encoder"):
        Extractor.from_pretrained(folder, device="cpu")


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    """transformers makes an empty one, which knows no word."""
    for path in [*folder.glob("tokenizer*"), *folder.glob("vocab*")]:
        path.unlink()
    with pytest.raises(ModelError, match="tokenizer knows no tokens but special ones"):
        Extractor.from_pretrained(folder, device="cpu")


def test_code_of_a_repository_is_neither_run_nor_asked_about(folder: Path, capsys: Any) -> None:
    path = folder / "config.json"
    custom = {"model_type": "mine", "auto_map": {"AutoConfig": "conf.Config", "AutoModel": "conf.Model"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | custom))
    (folder / "conf.py").write_text("raise SystemExit('ran')\n")
    with pytest.raises(ModelError, match="no model could be loaded"):
        Extractor.from_pretrained(folder, device="cpu")
    assert "Do you wish to run" not in capsys.readouterr().out


def test_a_mapped_stream_keeps_the_records_and_the_order() -> None:
    ext = Extractor(*model_zoo.build("bert"))
    stream = ext.extract(["The cat.", "", "the " * 200, "A bird sang."], on_error="skip", on_too_long="truncate")
    words = stream.map(merge_subwords)
    assert operator.length_hint(words) == 4
    assert [a.unit for a in words] == ["word"] * 3
    assert [e.index for e in words.skipped] == [1]
    assert [e.index for e in words.truncated] == [2]
    assert repr(words) == "Stream(1 skipped and 1 truncated so far)"


def test_a_capture_prints_its_shapes_and_not_its_numbers() -> None:
    captured = Extractor(*model_zoo.build("bert")).capture("The cat.", what="query")
    assert repr(captured).startswith("Capture(AttentionTensor(attention: 3 layers x 4 heads")
    assert "query [3, 4, " in repr(captured)
    assert "tensor(" not in repr(captured)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("here", {"device": "gpu"}, "device 'gpu' cannot be used here"),
        ("here", {"dtype": "float8"}, "dtype 'float8' is none of torch's"),
        ("", {}, "holds no model: it has no config.json"),
        ("nowhere/at/all", {}, "there is no folder"),
    ],
)
def test_what_cannot_be_loaded_is_said_before_anything_is(
    tmp_path: Path, name: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        Extractor.from_pretrained(tmp_path / name, **options)  # type: ignore[arg-type]


def test_names_and_swapped_arguments_get_their_remedy() -> None:
    model, tokenizer = model_zoo.build("bert")
    with pytest.raises(ModelError, match=r"call Extractor.from_pretrained\('bert-base-uncased'\)"):
        Extractor("bert-base-uncased")
    with pytest.raises(ModelError, match="the model comes first"):
        Extractor(tokenizer, model)


def test_a_tokenizer_much_smaller_than_the_table_is_warned_of() -> None:
    tokenizer = tokenizer_zoo.wordpiece()
    config = tr.BertConfig(**(model_zoo.SMALL | model_zoo._ids(tokenizer) | {"vocab_size": 2 * len(tokenizer)}))
    with pytest.warns(UserWarning, match="embeddings but the tokenizer only"):
        Extractor(tr.BertModel(config), tokenizer)


class OwnAttention(torch.nn.Module):
    """A class of the user's, with no eager function beside it."""

    def __init__(self, config: Any, keywords: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.keywords = config, keywords
        self.projection = torch.nn.Linear(config.hidden_size, 3 * config.hidden_size)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        split = self.projection(hidden).view(*hidden.shape[:2], 3, self.config.num_attention_heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        call = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, None)
        return call(self, query, key, value, mask, scaling=0.5, **self.keywords)[0].flatten(2)


class OwnModel(tr.PreTrainedModel):
    config_class = tr.BertConfig
    _supports_attention_backend = True
    _supports_sdpa = True

    def __init__(self, config: Any, **keywords: Any) -> None:
        super().__init__(config)
        self.embedding = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.attention = OwnAttention(config, keywords)
        self.post_init()

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.embedding

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        hidden = self.embedding(input_ids)
        mask = create_bidirectional_mask(self.config, hidden, attention_mask)
        return SimpleNamespace(last_hidden_state=self.attention(hidden, mask))


def own_model(**keywords: Any) -> Extractor:
    tokenizer = tokenizer_zoo.wordpiece()
    torch.manual_seed(0)
    config = tr.BertConfig(**(model_zoo.SMALL | model_zoo._ids(tokenizer) | {"num_hidden_layers": 1}))
    return Extractor(OwnModel(config, **keywords).eval(), tokenizer)


def test_attention_of_a_class_without_an_eager_function_is_the_plain_one() -> None:
    for ext in (own_model(), own_model(sliding_window=None, is_causal=False, cache_position=torch.arange(3))):
        captured = ext.capture(TEXTS[0], what=("query", "key"))
        expected = (0.5 * captured.query @ captured.key.transpose(2, 3)).softmax(-1)
        torch.testing.assert_close(captured.attention.weights, expected)


@pytest.mark.parametrize("keywords", [{"softcap": 2.0}, {"slopes": torch.ones(4)}, {"temperature": 3.0}])
def test_a_keyword_that_only_the_class_understands_is_refused_with_what_to_do(keywords: dict[str, Any]) -> None:
    name = next(iter(keywords))
    with pytest.raises(ModelError, match=f"^OwnAttention passes {name} to its .* write eager_attention_forward"):
        own_model(**keywords)(TEXTS[0])


def saved(folder: Path, what: Any) -> Any:
    """`what` written to a folder and read from there, so that it knows its origin."""
    what.save_pretrained(folder)
    return type(what).from_pretrained(folder)


@pytest.mark.parametrize("own", ["tokenizer.json", "vocab.txt"])
def test_a_tokenizer_of_another_model_with_as_many_tokens_is_warned_of(tmp_path: Path, own: str) -> None:
    model, tokenizer = model_zoo.build("bert")
    tokenizer.save_pretrained(tmp_path / "model")
    if own == "vocab.txt":
        (tmp_path / "model" / "tokenizer.json").unlink()
        by_number = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
        (tmp_path / "model" / "vocab.txt").write_text("\n".join(by_number) + "\n", encoding="utf-8")
    model = saved(tmp_path / "model", model)
    vocabulary = tokenizer.get_vocab()
    words = [token for token in vocabulary if token not in tokenizer.all_special_tokens]
    moved = dict(zip(words, [vocabulary[w] for w in words[1:] + words[:1]], strict=True))
    other = saved(tmp_path / "other", type(tokenizer)(vocab=vocabulary | moved))
    assert len(other) == len(tokenizer)
    with pytest.warns(UserWarning, match=r"own tokenizer gives '.*' the number \d+, but this one, of '.*other'"):
        Extractor(model, other)


def test_the_tokenizer_of_a_base_model_with_a_few_tokens_more_is_no_stranger(tmp_path: Path) -> None:
    model, tokenizer = model_zoo.build("bert")
    tokenizer.save_pretrained(tmp_path / "tuned")
    tuned = saved(tmp_path / "tuned", copy.deepcopy(model))
    base = saved(tmp_path / "base", type(tokenizer)(vocab=tokenizer.get_vocab()))
    base.add_tokens(["aardvark"])
    tuned.resize_token_embeddings(len(base))
    Extractor(tuned, base)  # warnings are errors


def test_a_tokenizer_a_twentieth_smaller_than_the_table_is_warned_of_but_not_padding() -> None:
    """BERT-base cased and uncased: 28996 and 30522 tokens."""
    tokenizer = SimpleNamespace(**dict.fromkeys(("pad_token_id", "cls_token_id", "sep_token_id", "name_or_path")))
    tokenizer.all_special_ids = []
    model = SimpleNamespace(config=SimpleNamespace())
    for rows, tokens, warned in ((30522, 28996, True), (30528, 30522, False), (51200, 50257, False), (64, 33, False)):
        sized = type("Sized", (SimpleNamespace,), {"__len__": lambda self, tokens=tokens: tokens})(**vars(tokenizer))
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            _model.check_tokenizer(model, sized, rows)  # type: ignore[arg-type]
        assert bool(seen) is warned, (rows, tokens)


HUB = "http://127.0.0.1:9"  # where nothing listens
UNREACHABLE = """
import logging, sys
from bertattn.extract import Extractor
print(Extractor.from_pretrained("someone/cached", device="cpu")("The cat.").shape)
try:
    Extractor.from_pretrained("someone/absent")
except ValueError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_network_the_cache_is_read_and_what_is_not_there_is_said_at_once(
    folder: Path, tmp_path: Path, offline: str
) -> None:
    cache = tmp_path / "home" / "hub" / "models--someone--cached"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("a" * 40)
    shutil.copytree(folder, cache / "snapshots" / ("a" * 40), ignore=shutil.ignore_patterns("home"))
    outside = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    ran = subprocess.run(
        [sys.executable, "-c", UNREACHABLE],
        env=outside | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": HUB, "HF_HUB_OFFLINE": offline},
        capture_output=True,
        text=True,
        check=True,
    )
    shape, message = ran.stdout.splitlines()
    assert shape == "(3, 4, 6, 6)"
    assert message.startswith(
        "ModelError 'someone/absent' is not on this machine, or not whole, and cannot be fetched ("
    )
    assert ("HF_HUB_OFFLINE is set)" if offline == "1" else f"({HUB} cannot be reached: ") in message
    assert "); give a folder with config.json" in message
    assert "Retrying" not in ran.stderr


def test_a_hub_that_answers_is_left_to_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_model, "is_offline_mode", lambda: False)
    asked = []

    def answer(url: str) -> None:
        asked.append(url)
        raise OSError("404, or a slow answer, or a proxy that refuses")

    monkeypatch.setattr(_model, "get_hf_file_metadata", answer)
    assert _model.hub_out_of_reach("someone/absent", "v1") is None
    assert _model.hub_out_of_reach("no name at all", None) is None
    assert [url.endswith("/someone/absent/resolve/v1/config.json") for url in asked] == [True]


ROWS = {"text": ["The cat.", "A dog."]}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (ROWS, r"is a dict; give its texts, such as inputs\['text'\]"),
        (pandas.DataFrame(ROWS), r"is a DataFrame; give its texts, such as inputs\['text'\]"),
        (tr.BatchEncoding({"input_ids": [[2, 3]]}), r"is a BatchEncoding; give the texts themselves, or its ids"),
        (set(ROWS["text"]), r"is a set; it has no order .* give sorted\(inputs\)"),
        (b"The cat.", r"is a bytes; for one text call ext\(inputs.decode\('utf-8'\)\)"),
        (Path("text.txt"), "read the file first"),
        (None, "is a NoneType; give a list of texts"),
        (3, "is an int; give a list of texts"),
    ],
)
def test_what_is_no_sequence_of_inputs_is_refused_and_not_read_as_one(inputs: Any, message: str) -> None:
    """Of a table or a dict the names of its columns would be read, without an error."""
    with pytest.raises(InputError, match=message):
        extractor("bert").extract(inputs)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"text": "The cat."}, r"got dict .*; give the text in it, such as x\['text'\]$"),
        (tr.BatchEncoding({"input_ids": [2, 3]}), r"; give its ids: TokenIds\(x\['input_ids'\]\)$"),
        (b"abc", r"; for its text write x.decode\('utf-8'\)$"),
        (None, "; it is a missing value$"),
        (float("nan"), "; it is a missing value$"),
        (pandas.NA, "; it is a missing value$"),
        (Path("text.txt"), "; read the file first"),
        (3, r"; for one sequence of ids call ext\(ids\), or give a list of such lists$"),
        (("How are you?", "Fine."), r"; for two texts write TextPair\(first, second\), for words Sentence\(words\)$"),
        (["the", "cat", "sat"], r"; for words write Sentence\(words\), for many texts extract\(texts\)$"),
        (torch.tensor([[2, 3]]), r"; give one sequence of ids, not a batch: x\[0\]$"),
        ([], "; token ids are whole numbers, at least one$"),
        ([1.0, 2.0], "; token ids are whole numbers, at least one$"),
        (2.5, "got float 2.5$"),
        (object, "got type <class 'object'>$"),
    ],
)
def test_what_is_no_input_is_named_with_what_to_give_instead(x: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        extractor("bert")(x)
    stream = extractor("bert").extract([x, "The cat."], on_error="skip")
    assert len(list(stream)) == 1
    assert [e.index for e in stream.skipped] == [0]


def test_columns_of_tables_are_read() -> None:
    """A pandas series with an index of its own, an array of strings, a generator, a file."""
    ext = extractor("bert")
    expected = [a.queries.tokens for a in ext.extract(ROWS["text"])]
    series = pandas.Series(ROWS["text"], index=[7, 3])
    for inputs in (series, np.array(ROWS["text"]), (text for text in ROWS["text"]), io.StringIO("The cat.\nA dog.\n")):
        assert [a.queries.tokens for a in ext.extract(inputs)] == expected


def test_a_spacing_or_a_capture_that_is_not_there_is_refused_for_one_input_too() -> None:
    ext = extractor("bert")
    with pytest.raises(InputError, match="spacing must be 'single' or 'natural', but is 'wide'"):
        ext("The cat.", spacing="wide")  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="None cannot be captured; 'query', 'key', 'value' and 'hidden' can"):
        ext.capture("The cat.", what=None)  # type: ignore[arg-type]


def test_a_model_where_a_name_is_wanted_and_a_class_where_a_model_is() -> None:
    model, tokenizer = model_zoo.build("bert")
    with pytest.raises(
        ModelError, match=r"name_or_path must be .* but is BertModel; .* call Extractor\(model, tokenizer"
    ):
        Extractor.from_pretrained(model)
    with pytest.raises(ModelError, match="but is the class BertModel; use Extractor"):
        Extractor(tr.BertModel, tokenizer)
