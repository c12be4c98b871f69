"""Gradients by attention against differences: every weight of small models is moved, in an attention of our own."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import pytest
import torch
import transformers as tr
from transformers.masking_utils import eager_mask

import model_zoo
from bertattn import Extractor
from bertattn.attribution import CausalLM, Contrastive, MaskedLM, gradients
from bertattn.inputs import TextPair
from reference import gradients as reference

HEADS = {
    "bert": tr.BertForMaskedLM,
    "roberta": tr.RobertaForMaskedLM,
    "distilbert": tr.DistilBertForMaskedLM,
    "gpt2": tr.GPT2LMHeadModel,
}
MASKED = ("bert", "roberta", "distilbert")
TEXTS = ("The cat sat on the mat.", "The dog, the cat.")
STEP = 1e-5
ROWS = 128


class Nudge:
    """An attention function that adds `step` to one weight of each row of the batch, after the softmax."""

    def __init__(self):
        self.calls = 0
        self.step = 0.0
        self.places = []

    def __call__(self, module, query, key, value, attention_mask, scaling=None, dropout=0.0, **keywords):
        logits = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        weights = (logits if attention_mask is None else logits + attention_mask).softmax(-1)
        for row, (layer, head, i, j) in enumerate(self.places):
            if layer == self.calls:
                weights[row, head, i, j] += self.step
        self.calls += 1
        return (weights @ value).transpose(1, 2).contiguous(), weights


NUDGE = Nudge()
tr.AttentionInterface.register("nudged_in_a_test", NUDGE)
tr.AttentionMaskInterface.register("nudged_in_a_test", eager_mask)


@cache
def build(name):
    """(model with its head, the same that calls `NUDGE`, tokenizer), in double precision."""
    base, tokenizer = model_zoo.build(name)
    torch.manual_seed(1)
    model = HEADS[name](copy.deepcopy(base.config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model = model.double().eval()
    nudged = copy.deepcopy(model)
    nudged.set_attn_implementation("nudged_in_a_test")
    return model, nudged, tokenizer


@torch.no_grad()
def moved(model, ids, loss, places, step):
    """The loss of what the model gives each copy of the input, the weight at one of `places` moved in each."""
    NUDGE.calls, NUDGE.step, NUDGE.places = 0, step, places
    outputs = model(torch.tensor([ids] * len(places)), attention_mask=torch.ones(len(places), len(ids)).long())
    return np.array([loss(outputs[0][row]) for row in range(len(places))])


def differences(model, ids, loss, shape):
    """d loss / d weight, `[layer, head, query, key]`, by moving each weight both ways."""
    places = list(np.ndindex(*shape))
    found = []
    for start in range(0, len(places), ROWS):
        part = places[start : start + ROWS]
        up, down = (moved(model, ids, loss, part, step) for step in (STEP, -STEP))
        found.append((up - down) / (2 * STEP))
    return np.concatenate(found).reshape(shape)


def ids_of(tokens, tokenizer):
    return tokenizer.convert_tokens_to_ids(list(tokens))


def cross_entropy(labels, chosen):
    """The loss as a function of the logits."""
    places = [i for i, c in enumerate(chosen) if c]
    wanted = torch.tensor([labels[i] for i in places])
    return lambda logits: float(torch.nn.functional.cross_entropy(logits[places], wanted))


def check_close(found, expected):
    """To five digits, and to a ten-millionth of the largest, which the differences lose to rounding."""
    assert np.abs(expected).max() > 1e-4
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("name", MASKED)
def test_gradients_of_the_masked_loss_are_differences(name):
    model, nudged, tokenizer = build(name)
    ext = Extractor(model, tokenizer)
    for text, one in zip(TEXTS, gradients(ext, TEXTS, objective=MaskedLM(share=0.3, seed=3)), strict=True):
        original = ids_of(ext(text).queries.tokens, tokenizer)
        ids = ids_of(one.gradient.queries.tokens, tokenizer)
        chosen = one.predicted.tolist()
        expected = differences(nudged, ids, cross_entropy(original, chosen), one.gradient.shape)
        check_close(one.gradient.numpy(), expected)
        logits = moved(nudged, ids, torch.Tensor.tolist, [(0, 0, 0, 0)], 0.0)[0]
        assert one.loss == pytest.approx(reference.masked_lm_loss(logits, original, chosen), rel=1e-9)


def test_gradients_of_the_causal_loss_are_differences():
    model, nudged, tokenizer = build("gpt2")
    for one in gradients(Extractor(model, tokenizer), TEXTS, objective=CausalLM()):
        ids = ids_of(one.gradient.queries.tokens, tokenizer)
        chosen = [True] * (len(ids) - 1) + [False]
        labels = [*ids[1:], 0]
        assert one.predicted.tolist() == chosen
        expected = differences(nudged, ids, cross_entropy(labels, chosen), one.gradient.shape)
        assert np.abs(np.triu(expected, 1)).max() > 1e-4  # as a variable of its own even what no query reaches counts
        check_close(one.gradient.numpy(), np.tril(expected))
        logits = moved(nudged, ids, torch.Tensor.tolist, [(0, 0, 0, 0)], 0.0)[0]
        assert one.loss == pytest.approx(reference.causal_lm_loss(logits, ids), rel=1e-9)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_gradients_of_a_function_of_ones_own_are_differences(name):
    model, nudged, tokenizer = build(name)

    def objective(outputs):
        return outputs.logits[0, 1].sin().sum() + outputs.logits[0, -1, 3] ** 2

    (one,) = gradients(Extractor(model, tokenizer), TEXTS[:1], objective=objective)
    ids = ids_of(one.gradient.queries.tokens, tokenizer)

    def loss(logits):
        return float(logits[1].sin().sum() + logits[-1, 3] ** 2)

    expected = differences(nudged, ids, loss, one.gradient.shape)
    check_close(one.gradient.numpy(), np.tril(expected) if name == "gpt2" else expected)


def test_gradients_of_the_contrastive_loss_are_differences():
    """All losses of the batch change with one passage, which the others are compared with."""
    model, nudged, tokenizer = build("bert")
    ext = Extractor(model.bert, tokenizer)
    texts = ["The dog.", *TEXTS, "A cat, a mat."]
    one, *_ = gradients(ext, [TextPair(*texts[:2]), TextPair(*texts[2:])], objective=Contrastive())
    states = [ext.capture(text, what=("hidden",)).hidden[-1].tolist() for text in texts]
    ids = ids_of(one.gradient.queries.tokens, tokenizer)

    def loss(own):
        return sum(reference.contrastive_losses([own.tolist(), states[2]], [states[1], states[3]]))

    check_close(one.gradient.numpy(), differences(nudged.bert, ids, loss, one.gradient.shape))


@pytest.mark.parametrize("layer", range(3))
def test_of_a_linear_objective_the_gradient_is_the_product_with_the_values(layer):
    """L = sum w * (a V), so dL / da = w V^T: no difference, no step, just the formula."""
    model, _, tokenizer = build("bert")
    ext = Extractor(model, tokenizer)
    capture = ext.capture(TEXTS[0], what=("value",))
    value = capture.value[layer]
    heads, tokens, size = value.shape
    w = torch.from_numpy(np.random.default_rng(0).standard_normal((tokens, heads, size)))
    contexts = []
    output = model.bert.encoder.layer[layer].attention.output.dense
    hook = output.register_forward_pre_hook(lambda module, inputs: contexts.append(inputs[0]))
    try:
        (one,) = gradients(
            ext, TEXTS[:1], objective=lambda outputs: (contexts[-1][0].reshape(tokens, heads, size) * w).sum()
        )
    finally:
        hook.remove()
    expected = torch.einsum("ihd,hjd->hij", w, value).numpy()
    assert np.allclose(one.gradient.numpy()[layer], expected, rtol=1e-12, atol=1e-12)
    assert (one.gradient.numpy()[layer + 1 :] == 0).all()
