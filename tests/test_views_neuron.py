"""The neuron view: what its page holds makes the model's own attention, on every family that the hook reaches."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import re
import zlib
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tr

import model_zoo
import tokenizer_zoo
from bertattn import Extractor, TextPair
from bertattn.errors import BertattnError, ModelError, SelectionError, ValidationError
from bertattn.extract import Capture
from bertattn.tensor import AttentionTensor
from bertattn.views import neuron
from bertattn.views.neuron import neuron_view

TEXT = "The cat sat on the mat because it was tired."
FAMILIES = [
    (name, kind)
    for name in model_zoo.ENCODERS | model_zoo.DECODERS | model_zoo.ENCODER_DECODERS
    for kind in (("encoder", "decoder", "cross") if name in model_zoo.ENCODER_DECODERS else (None,))
]


def captured(name: str, kind: Any = None) -> Capture:
    text = TextPair(TEXT, "It slept.") if kind in ("decoder", "cross") else TEXT
    return Extractor(*model_zoo.build(name)).capture(text, what=("query", "key"), attention=kind)


def made(*, queries: int = 4, layers: int = 2, size: float = 1.0, **more: Any) -> Capture:
    """A capture of random vectors, without a model."""
    draw = torch.Generator().manual_seed(1)
    query, key = (size * torch.randn(layers, 2, queries, 4, generator=draw) for _ in range(2))
    scaling = 0.5 / size
    weights = (scaling * query @ key.transpose(2, 3)).softmax(-1)
    attention = AttentionTensor(weights, [f"t{n}" for n in range(queries)])
    nothing = (None,) * layers
    fields = {"scaling": (scaling,) * layers, "bias": nothing, "softcap": nothing}
    return Capture(attention, query, key, **(fields | more))


class Page:
    """What a page holds, read back without bertattn."""

    def __init__(self, view: Any) -> None:
        self.data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', view.html)[1])  # type: ignore[index]
        self.blocks = dict(re.findall(r'<script type="text/plain" id="block-([^"]+)">([^<]*)</script>', view.html))

    def array(self, kept: Any, head: int, *shape: int) -> Any:
        if kept is None:
            return None
        content = zlib.decompress(base64.b64decode(self.blocks[kept["block"]]), -15)
        if kept["written"] == "bits":
            numbers = np.unpackbits(np.frombuffer(content, "u1"))
        else:
            numbers = np.frombuffer(content, {"float16": "<f2", "float32": "<f4"}[kept["written"]]).astype(np.float64)
        size = int(np.prod(shape))
        start = kept["of"][head] * size
        return numbers[start : start + size].reshape(shape)

    def head(self, part: int, layer: int, head: int) -> tuple[Any, Any, Any]:
        """(q . k, the logits, the weights) `[query, key]`, in loops, as the page computes them."""
        about = self.data["parts"][part]
        step = about["steps"][layer]
        queries, keys = (len((about[name] or about["queries"])["tokens"]) for name in ("queries", "keys"))
        query = self.array(step["query"], head, queries, about["dimension"])
        key = self.array(step["key"], head, keys, about["dimension"])
        bias, mask = (self.array(step[name], head, queries, keys) for name in ("bias", "mask"))
        dots, logits, weights = (np.zeros((queries, keys)) for _ in range(3))
        for i in range(queries):
            for j in range(keys):
                dots[i, j] = sum(query[i, d] * key[j, d] for d in range(about["dimension"]))
                logit = step["scaling"] * dots[i, j]
                if step["softcap"] is not None:
                    logit = step["softcap"] * np.tanh(logit / step["softcap"])
                if bias is not None:
                    logit += bias[i, j]
                logits[i, j] = -np.inf if mask is not None and mask[i, j] else logit
            sink = step["sinks"][head] if step["sinks"] else None
            total = np.exp(logits[i]).sum() + (0 if sink is None else np.exp(sink))
            weights[i] = np.exp(logits[i]) / total
        return dots, logits, weights


@pytest.mark.parametrize(("name", "kind"), FAMILIES, ids=["-".join(filter(None, family)) for family in FAMILIES])
def test_the_page_makes_the_models_attention(name: str, kind: Any) -> None:
    capture = captured(name, kind)
    page = Page(neuron_view(capture))
    layers, heads = capture.attention.shape[:2]
    for layer in range(layers):
        step = page.data["parts"][0]["steps"][layer]
        assert step["error"] <= 1e-3
        for head in range(heads):
            dots, logits, weights = page.head(0, layer, head)
            truth = capture.attention.numpy()[layer, head]
            np.testing.assert_allclose(weights, truth, atol=step["error"] + 1e-6, rtol=0)
            query, key = (x[layer, head].double().numpy() for x in (capture.query, capture.key))  # type: ignore[union-attr]
            # rounding to 11 bits moves each factor by at most 2^-11 of itself
            moved = 1.01 * 2**-10 * (np.abs(query) @ np.abs(key).T)
            assert (np.abs(dots - query @ key.T) <= moved + 1e-6).all()
            added, cap = capture.bias[layer], capture.softcap[layer]
            expected = capture.scaling[layer] * (query @ key.T)
            if cap is not None:
                expected = cap * np.tanh(expected / cap)
            if added is not None:
                expected = expected + added[min(head, len(added) - 1)].numpy()
            reached = expected > -1e4
            assert (np.isneginf(logits) == ~reached).all()
            slack = capture.scaling[layer] * moved + 1e-5
            if added is not None:
                slack = slack + 2**-11 * np.abs(added[min(head, len(added) - 1)].numpy())
            with np.errstate(invalid="ignore"):  # behind the mask
                assert (np.abs(logits - expected) <= slack)[reached].all()


def test_the_stated_error_is_the_error() -> None:
    capture = captured("gpt2")
    page = Page(neuron_view(capture))
    for layer, step in enumerate(page.data["parts"][0]["steps"]):
        seen = [np.abs(page.head(0, layer, h)[2] - capture.attention.numpy()[layer, h]).max() for h in range(4)]
        assert step["error"] == pytest.approx(max(seen), rel=0.02)
        assert step["error"] > 1e-5


def test_a_sink_takes_its_share() -> None:
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
            pad_token_id=0,
        )
    )
    sinks = torch.tensor([-9.0, 0.0, 1.0, 4.0])
    with torch.no_grad():
        for layer in model.layers:
            layer.self_attn.sinks.copy_(sinks)
    capture = Extractor(model, tokenizer).capture(TEXT, what=("query", "key"))
    page = Page(neuron_view(capture))
    for layer, step in enumerate(page.data["parts"][0]["steps"]):
        np.testing.assert_allclose(step["sinks"], sinks, atol=3e-3)
        for head in range(4):
            truth = capture.attention.numpy()[layer, head]
            np.testing.assert_allclose(page.head(0, layer, head)[2], truth, atol=step["error"] + 1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision(dtype: torch.dtype) -> None:
    model, tokenizer = model_zoo.build("gpt2")
    capture = Extractor(copy.deepcopy(model).to(dtype), tokenizer).capture(TEXT, what=("query", "key"))
    page = Page(neuron_view(capture))
    step = page.data["parts"][0]["steps"][1]
    assert step["mask"] is not None
    assert step["bias"] is None
    np.testing.assert_allclose(page.head(0, 1, 2)[2], capture.attention.numpy()[1, 2], atol=step["error"] + 1e-6)


def ones(*shape: int) -> Any:
    return torch.ones(2, 2, 4, *shape)


def attending(query: Any, key: Any, scaling: float) -> Capture:
    """A capture of these vectors."""
    weights = (scaling * query.double() @ key.double().transpose(2, 3)).softmax(-1)
    attention = AttentionTensor(weights, [f"t{n}" for n in range(query.shape[2])])
    return Capture(attention, query, key, scaling=(scaling,) * 2, bias=(None, None), softcap=(None, None))


def test_vectors_that_half_precision_would_spoil_are_kept_in_single() -> None:
    plain = made()
    query, key = plain.query, plain.key
    assert query is not None
    assert key is not None
    cancelling = attending(
        torch.cat([query, ones(1), -ones(1)], -1), torch.cat([key, 1000.3 + key[..., :1], 1000.3 * ones(1)], -1), 0.5
    )
    beyond = attending(1e6 * query, 1e-6 * key, 0.5)
    for capture, written in ((plain, "float16"), (cancelling, "float32"), (beyond, "float32")):
        page = Page(neuron_view(capture))
        for layer, step in enumerate(page.data["parts"][0]["steps"]):
            assert {step[name]["written"] for name in ("query", "key")} == {written}
            assert step["error"] <= 1e-3
            for head in range(2):
                truth = capture.attention.numpy()[layer, head]
                np.testing.assert_allclose(page.head(0, layer, head)[2], truth, atol=step["error"] + 1e-6, rtol=0)


def test_what_heads_or_layers_share_is_kept_once() -> None:
    grouped = Page(neuron_view(captured("llama")))
    steps = grouped.data["parts"][0]["steps"]
    assert steps[0]["key"]["of"] == [0, 0, 1, 1]
    assert steps[0]["query"]["of"] == [0, 1, 2, 3]
    assert {step["mask"]["block"] for step in steps} == {steps[0]["mask"]["block"]}
    assert steps[0]["mask"]["of"] == [0, 0, 0, 0]
    assert len(grouped.blocks) == 7
    windows = Page(neuron_view(captured("gemma2"))).data["parts"][0]["steps"]
    assert len({step["mask"]["block"] for step in windows}) == 2
    biased = Page(neuron_view(captured("t5", "encoder"))).data["parts"][0]["steps"]
    assert len({step["bias"]["block"] for step in biased}) == 1
    assert [step["mask"] for step in biased] == [None] * 3


def test_a_page_of_some_layers_and_heads() -> None:
    capture = captured("gpt2")
    page = Page(neuron_view(capture, layers=[1, 2], heads=[3, 0], layer=2, head=0))
    part = page.data["parts"][0]
    assert (part["layers"], part["heads"]) == ([2, 3], [4, 1])
    assert page.data["start"] == {"layer": 1, "head": 1}
    np.testing.assert_allclose(page.head(0, 1, 0)[2], capture.attention.numpy()[2, 3], atol=1e-3)
    for head in ("3-1", (2, 0)):
        assert Page(neuron_view(capture, layers=[1, 2], heads=[3, 0], head=head)).data["start"] == {
            "layer": 1,
            "head": 1,
        }
    assert Page(neuron_view(capture)).data["start"] == {"layer": 0, "head": 0}


def test_the_three_attentions_of_an_encoder_decoder() -> None:
    captures = [captured("bart", kind) for kind in ("encoder", "decoder", "cross")]
    page = Page(neuron_view(captures))
    assert [part["name"] for part in page.data["parts"]] == ["encoder", "decoder", "cross"]
    cross = page.data["parts"][2]
    assert len(cross["queries"]["tokens"]) == len(captures[2].attention.queries)
    assert len(cross["keys"]["tokens"]) == len(captures[2].attention.keys)
    assert page.data["parts"][0]["keys"] is None
    np.testing.assert_allclose(page.head(2, 1, 3)[2], captures[2].attention.numpy()[1, 3], atol=1e-3)
    named = Page(neuron_view({"one": captures[0], "two": captures[0]}))
    assert [part["name"] for part in named.data["parts"]] == ["one", "two"]
    assert named.blocks == Page(neuron_view(captures[0])).blocks


def test_the_same_capture_gives_the_same_bytes() -> None:
    assert neuron_view(made()).html == neuron_view(made()).html
    assert neuron_view(made(), title="A").title == "A"


def test_one_token() -> None:
    assert Page(neuron_view(made(queries=1))).head(0, 0, 0)[2].tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: neuron_view("text"),
            ValidationError,
            r"shows a Capture, not a str; make it with ext\.capture\(x, what=",
        ),
        (lambda: neuron_view([made().attention]), ValidationError, "shows a Capture, not a AttentionTensor"),
        (lambda: neuron_view([]), ValidationError, "needs a capture, but got none"),
        (lambda: neuron_view(dataclasses.replace(made(), query=None)), ValidationError, "no queries and keys; make it"),
        (lambda: neuron_view([made(), made()]), ValidationError, "called attention, attention; give a mapping"),
        (lambda: neuron_view(made(), layers=[5]), SelectionError, r"layers \[5\] are not here"),
        (lambda: neuron_view(made(), layer=5), SelectionError, r"layer 5 is not here; there are \[0, 1\]"),
        (lambda: neuron_view(made(), layer=True), SelectionError, r"layer True is not here; there are \[0, 1\]"),
        (lambda: neuron_view(made(), layer=1.0), SelectionError, r"layer 1\.0 is not here; there are \[0, 1\]"),
        (lambda: neuron_view(made(), layer=True, head="2-1"), SelectionError, "layer True is not here"),
        (lambda: neuron_view(made(), layers=0, head="2-1"), SelectionError, r"layer 1 is not here; there are \[0\]"),
        (lambda: neuron_view(made(), head=True), SelectionError, r"head True is not here; there are \[0, 1\]"),
        (lambda: neuron_view(made(), heads=1, head=0), SelectionError, r"head 0 is not here; there are \[1\]"),
        (lambda: neuron_view(made(), layer=1, head="1-2"), SelectionError, r"layer=1 .* and head 1-2 differ"),
        (lambda: neuron_view(made(scaling=(0.5, 0.8))), ModelError, "layer 2 has weights that are .* head_view shows"),
    ],
)
def test_errors_say_what_to_do(call: Any, kind: type[BertattnError], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_a_page_too_large_is_refused_with_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = made(layers=3, queries=20)
    whole = sum(map(len, Page(neuron_view(capture)).blocks.values()))
    monkeypatch.setattr(neuron, "MOST_BYTES", whole - 1)
    with pytest.raises(ValidationError, match=r"3 layers x 2 heads on 20 tokens; choose some, as layers=\[0, 1\]"):
        neuron_view(capture)
    assert neuron_view(capture, layers=[0, 1])
    monkeypatch.setattr(neuron, "MOST_BYTES", whole // 6)
    with pytest.raises(ValidationError, match=r"choose some, as heads=\[0\]"):
        neuron_view(capture)
