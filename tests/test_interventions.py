"""Heads switched off; random weights drawn as the model's class draws them, embeddings kept, nothing else touched."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tr

import bertattn as ba
import model_zoo
from bertattn import Extractor, _arrays, interventions
from bertattn.errors import ModelError, SelectionError, ValidationError
from bertattn.interventions import randomize

# For each family what is kept, written out by hand; a path stands for all parameters below it.
KEPT = {
    **dict.fromkeys(
        ["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert", "esm", "modernbert"],
        ("embeddings.",),
    ),
    **dict.fromkeys(["mpnet", "deberta-v2", "convbert", "longformer"], ("embeddings.",)),
    **dict.fromkeys(["eurobert", "llama", "gemma2"], ("embed_tokens.",)),
    "gpt2": ("wte.", "wpe."),
    "bart": (
        "shared.",
        *(f"{s}.{what}" for s in ("encoder", "decoder") for what in ("embed_positions.", "layernorm_embedding.")),
    ),
    "t5": ("shared.",),
    "bloom": ("word_embeddings.", "word_embeddings_layernorm."),
}


def trained(family):
    """A model of the zoo none of whose weights has the value it would be drawn with."""
    model = copy.deepcopy(model_zoo.build(family)[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.25)
    return model


@pytest.mark.parametrize("family", model_zoo.ALL)
def test_every_family_keeps_its_embeddings_and_draws_the_rest(family) -> None:
    model = trained(family)
    before = copy.deepcopy(model.state_dict())
    changed = randomize(model, seed=1)
    assert type(changed) is type(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    fresh = type(model)(copy.deepcopy(model.config))
    expected = dict(fresh.named_parameters())
    drawn = 0
    for name, new in changed.named_parameters():
        old = model.get_parameter(name)
        assert new is not old
        assert (new.dtype, new.device, new.requires_grad) == (old.dtype, old.device, old.requires_grad)
        if name.startswith(KEPT[family]):
            assert torch.equal(new, old), name
        elif len(expected[name].unique()) > 1:
            # two samples of one distribution; the smallest tables have few numbers
            assert new.std().item() == pytest.approx(expected[name].std().item(), rel=5 * new.numel() ** -0.5), name
            assert not torch.equal(new, expected[name]), name
            drawn += 1
        else:  # norms and biases
            assert torch.equal(new, expected[name]), name
            assert not torch.equal(new, old), name
    assert drawn > 5
    for name, buffer in changed.named_buffers():
        assert torch.equal(buffer, model.get_buffer(name)), name
    assert not changed.training


@pytest.mark.parametrize("family", model_zoo.ALL)
def test_nothing_is_kept(family) -> None:
    model = trained(family)
    changed = randomize(model, keep="nothing", seed=1)
    for name, new in changed.named_parameters():
        assert not torch.equal(new, model.get_parameter(name)), name
    fresh = type(model)(copy.deepcopy(model.config))
    table = changed.get_input_embeddings().weight
    expected = fresh.get_input_embeddings().weight.std().item()
    assert table.std().item() == pytest.approx(expected, rel=5 * table.numel() ** -0.5)


def test_bert_is_drawn_as_its_config_says() -> None:
    """Norms 1 and 0, biases 0, linear weights normal with the standard deviation of the config."""
    config = tr.BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.05)
    model = tr.BertModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    changed = randomize(model, seed=0)
    for name, module in changed.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.05, rel=0.05), name
            assert module.weight.mean().item() == pytest.approx(0, abs=0.005), name
            assert not module.bias.any(), name
        if isinstance(module, torch.nn.LayerNorm) and not name.startswith("embeddings"):
            assert bool((module.weight == 1).all()), name
            assert not module.bias.any(), name
    assert torch.equal(changed.embeddings.LayerNorm.weight, model.embeddings.LayerNorm.weight)


def test_one_seed_one_model() -> None:
    model, _ = model_zoo.build("bert")
    one, two, other = (randomize(model, seed=s).state_dict() for s in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    query = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(one[query], other[query])


def test_the_global_random_state_is_left_alone() -> None:
    model, _ = model_zoo.build("bert")
    torch.manual_seed(5)
    state = torch.get_rng_state()
    randomize(model, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_tied_weights_stay_tied() -> None:
    config = tr.BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    model = tr.BertForMaskedLM(config)
    words = model.bert.embeddings.word_embeddings.weight
    assert model.cls.predictions.decoder.weight is words  # else this tests nothing
    for keep in ("embeddings", "nothing"):
        changed = randomize(model, keep=keep, seed=0)
        table = changed.bert.embeddings.word_embeddings.weight
        assert changed.cls.predictions.decoder.weight is table
        assert torch.equal(table, words) is (keep == "embeddings")
        assert table is not words
    t5, _ = model_zoo.build("t5")
    changed = randomize(t5, seed=0)
    assert changed.shared.weight is changed.encoder.embed_tokens.weight is changed.decoder.embed_tokens.weight


def test_of_a_loaded_model(tmp_path) -> None:
    """`from_pretrained` marks what it loaded, and transformers passes over what is marked."""
    model, _ = model_zoo.build("bert")
    model.save_pretrained(tmp_path)
    loaded = tr.AutoModel.from_pretrained(tmp_path)
    new, old = (m.encoder.layer[1].output.dense.weight for m in (randomize(loaded, seed=0), loaded))
    assert not torch.equal(new, old)
    again = randomize(randomize(loaded, seed=0), seed=1).encoder.layer[1].output.dense.weight
    assert torch.equal(again, randomize(loaded, seed=1).encoder.layer[1].output.dense.weight)


def test_half_precision_and_frozen_weights() -> None:
    model = copy.deepcopy(model_zoo.build("bert")[0]).to(torch.bfloat16).requires_grad_(False)
    changed = randomize(model, seed=0)
    assert {p.dtype for p in changed.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in changed.parameters())


@pytest.mark.parametrize("family", ["bert", "t5", "deberta-v2"])
def test_an_extractor_gives_an_extractor(family) -> None:
    ext = Extractor(*model_zoo.build(family), name="mine", revision="abc")
    before = ext("a b c").numpy()
    changed = randomize(ext, seed=2)
    a = changed("a b c")
    assert a.source.model == "mine (random weights, keep='embeddings', seed=2)"
    assert a.source.revision == "abc"
    assert abs(a.numpy() - before).max() > 0.01
    assert (ext("a b c").numpy() == before).all()
    assert ext("a b c").source.model == "mine"


class Extended(tr.BertModel):
    """With a weight that no one draws."""

    def __init__(self, config) -> None:
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(3))


def test_refused() -> None:
    model, _ = model_zoo.build("bert")
    with pytest.raises(ValidationError, match=r"^keep must be 'embeddings' or 'nothing', but is 'all'$"):
        randomize(model, keep="all", seed=0)
    for seed in (-1, 0.5, None, True):
        with pytest.raises(ValidationError, match=rf"^seed must be a whole number from 0, but is {seed}$"):
            randomize(model, seed=seed)
    with pytest.raises(ModelError, match=r"^model must be a transformers model or an Extractor, but is Linear; of a"):
        randomize(torch.nn.Linear(2, 2), seed=0)
    with pytest.raises(ModelError, match=r"^Extended does not say how 1 of its weights are drawn, such as scale: the"):
        randomize(Extended(model.config), seed=0)
    with torch.device("meta"):
        empty = type(model)(model.config)
    with pytest.raises(ModelError, match=r"^the weights are on meta; load the model on one device to randomize it$"):
        randomize(empty, seed=0)
    quantized = copy.deepcopy(model)
    weight = torch.zeros(32, 32, dtype=torch.int8)
    quantized.pooler.dense.weight = torch.nn.Parameter(weight, requires_grad=False)
    with pytest.raises(ModelError, match=r"^pooler\.dense\.weight holds torch\.int8: quantized weights cannot be"):
        randomize(quantized, seed=0)


# Heads switched off

TEXT = "The cat sat on the mat ."
PAIR = ba.TextPair("The cat sat on the mat .", "The dog ran .")


def output_projection(model: Any, path: str) -> Any:
    module = model
    for part in path.split("."):
        module = module[int(part)] if part.isdigit() else getattr(module, part)
    return module


@pytest.mark.parametrize(
    ("family", "attention", "path"),
    [
        ("bert", None, "encoder.layer.1.attention.output.dense"),
        ("distilbert", None, "transformer.layer.1.attention.out_lin"),
        ("modernbert", None, "layers.1.attn.Wo"),
        ("gpt2", None, "h.1.attn.c_proj"),
        ("llama", None, "layers.1.self_attn.o_proj"),
        ("t5", "encoder", "encoder.block.1.layer.0.SelfAttention.o"),
        ("t5", "decoder", "decoder.block.1.layer.0.SelfAttention.o"),
        ("t5", "cross", "decoder.block.1.layer.1.EncDecAttention.o"),
        ("bart", "cross", "decoder.layers.1.encoder_attn.out_proj"),
    ],
)
def test_ablating_is_zeroing_the_slice_of_the_output_projection(family: str, attention: Any, path: str) -> None:
    """Zeroes before the output projection, put there by a hook of torch's own, change the maps in the same way."""
    ext = ba.Extractor(*model_zoo.build(family))
    text = TEXT if attention is None else PAIR
    whole = ext(text, attention=attention)
    heads = ext.model.config.num_attention_heads

    def zero(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        x = inputs[0].clone()
        size = x.shape[-1] // heads
        x[..., 2 * size : 3 * size] = 0
        return (x, *inputs[1:])

    handle = output_projection(ext.model, path).register_forward_pre_hook(zero)
    try:
        expected = ext(text, attention=attention)
    finally:
        handle.remove()
    with interventions.ablate(ext, ["2-3"], attention=attention) as same:
        assert same is ext
        seen = ext(text, attention=attention)
    np.testing.assert_allclose(_arrays.to_numpy(seen.weights), _arrays.to_numpy(expected.weights), atol=1e-6)
    assert not np.allclose(_arrays.to_numpy(seen.weights), _arrays.to_numpy(whole.weights), atol=1e-4)
    np.testing.assert_array_equal(  # up to the layer itself nothing changes
        _arrays.to_numpy(seen.weights[:2]), _arrays.to_numpy(whole.weights[:2])
    )
    np.testing.assert_array_equal(
        _arrays.to_numpy(ext(text, attention=attention).weights), _arrays.to_numpy(whole.weights)
    )


def test_layers_that_are_not_asked_for_are_ablated_too() -> None:
    ext = ba.Extractor(*model_zoo.build("bert"))
    with interventions.ablate(ext, [(0, 1)]):
        last, every = ext(TEXT, layers=[2]), ext(TEXT)
        streamed = list(ext.extract([TEXT, "The dog ran ."], layers=2))
    np.testing.assert_allclose(last.weights[0], every.weights[2], atol=1e-6)
    np.testing.assert_allclose(streamed[0].weights[0], every.weights[2], atol=1e-6)
    assert not np.allclose(last.weights[0], ext(TEXT).weights[2], atol=1e-4)


def test_blocks_nest_and_are_put_back_after_an_error() -> None:
    ext = ba.Extractor(*model_zoo.build("bert"))
    whole = ext(TEXT).weights
    with interventions.ablate(ext, ["1-1", "2-2"]):
        both = ext(TEXT).weights
    with interventions.ablate(ext, ["1-1"]):
        one = ext(TEXT).weights
        with interventions.ablate(ext, ["2-2"]):
            np.testing.assert_array_equal(ext(TEXT).weights, both)
        np.testing.assert_array_equal(ext(TEXT).weights, one)
    with pytest.raises(ZeroDivisionError), interventions.ablate(ext, ["1-1"]):
        raise ZeroDivisionError
    np.testing.assert_array_equal(ext(TEXT).weights, whole)


def test_the_source_names_what_is_off_so_results_do_not_add() -> None:
    ext = ba.Extractor(*model_zoo.build("bert"), name="mine")
    whole = ba.summarize(ext.extract([TEXT]), ba.patterns.entropy)
    with interventions.ablate(ext, ["2-3", "1-1"]):
        a = ext(TEXT)
        without = ba.summarize(ext.extract([TEXT]), ba.patterns.entropy)
    assert a.source is not None
    assert a.source.model == "mine (heads 1-1, 2-3 ablated)"
    with pytest.raises(ValidationError):
        whole + without
    captured = ext.capture(TEXT).attention.source
    assert captured is not None
    assert captured.model == "mine"


def test_ablate_refuses() -> None:
    ext = ba.Extractor(*model_zoo.build("bert"))
    with pytest.raises(SelectionError, match=r"heads must be a list of names, but is '2-3'; write \['2-3'\]"):
        interventions.ablate(ext, "2-3").__enter__()
    with pytest.raises(SelectionError, match="heads is empty"):
        interventions.ablate(ext, []).__enter__()
    with (
        interventions.ablate(ext, ["2-5"]),
        pytest.raises(SelectionError, match="there is no head 2-5 to ablate; layer 2 has 4"),
    ):
        ext(TEXT)
    with (
        interventions.ablate(ext, ["4-1"]),
        pytest.raises(SelectionError, match="there is no layer 4 to ablate heads of; 3 layers ran"),
    ):
        ext(TEXT)
    fallback = ba.Extractor(*model_zoo.build("mpnet"))
    with (
        interventions.ablate(fallback, ["1-1"]),
        pytest.raises(ModelError, match="heads of MPNetModel cannot be ablated"),
    ):
        fallback(TEXT)
