"""Gradients by attention: laws that hold for every input, and agreement with the slow reference."""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from functools import cache

import numpy as np
import pytest
import torch
import transformers as tr
from hypothesis import given
from hypothesis import strategies as st

import model_zoo
from bertattn import AttentionTensor, Extractor
from bertattn.attribution import (
    CausalLM,
    Contrastive,
    Gradients,
    MaskedLM,
    attention_gradients,
    gradient_importance,
    gradients,
    importance,
)
from bertattn.inputs import TextPair
from bertattn.testing import attention_tensors
from reference import gradients as reference

KINDS = {"bert": tr.BertForMaskedLM, "roberta": tr.RobertaForMaskedLM, "gpt2": tr.GPT2LMHeadModel}
OBJECTIVES = {"bert": MaskedLM(share=0.3), "roberta": MaskedLM(share=0.3), "gpt2": CausalLM()}
WORDS = ("the", "cat", "sat", "on", "mat", "dog", "a", ",", ".", "and")
TEXTS = (
    "The cat sat on the mat.",
    "A dog, a cat.",
    "The mat sat on the dog, and the dog sat on the cat.",
    "The dog.",
    "The mat sat on the cat.",
)
names = pytest.mark.parametrize("name", sorted(KINDS))


@cache
def extractor(name):
    base, tokenizer = model_zoo.build(name)
    torch.manual_seed(2)
    model = KINDS[name](copy.deepcopy(base.config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return Extractor(model.double().eval(), tokenizer)


def close(found, expected, rtol=1e-9):
    """Up to rounding, of numbers or of whole maps."""
    found, expected = (np.asarray(x.numpy() if isinstance(x, AttentionTensor) else x) for x in (found, expected))
    size = np.abs(np.nan_to_num(expected)).max(initial=1e-300)
    return found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=rtol * size, equal_nan=True)


def roles(axis):
    return axis.roles or (None,) * len(axis)


def ids_of(axis, ext):
    return ext.tokenizer.convert_tokens_to_ids(list(axis.tokens))


@st.composite
def made_up(draw):
    """Gradients without a model: signed numbers, tokens chosen for prediction, queries that the loss reads."""
    a = draw(attention_tensors(max_tokens=7, max_heads=2, causal=False))
    n = len(a.queries)
    booleans = st.lists(st.booleans(), min_size=n, max_size=n)
    chosen = draw(booleans)
    marked = ["mask" if c and role is None else role for c, role in zip(chosen, roles(a.queries), strict=True)]
    axis = dataclasses.replace(a.queries, roles=marked)
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).standard_normal(a.shape)
    gradient = AttentionTensor(numbers, axis, measure="signed_gradient", normalized=False)
    return Gradients(AttentionTensor(a.weights, axis), gradient, 1.0, draw(st.none() | booleans.map(np.array)))


def slow_importance(one):
    axis = one.gradient.keys
    predicted = [False] * len(axis) if one.predicted is None else one.predicted.tolist()
    masked = [role == "mask" for role in roles(axis)]
    return reference.importance(
        one.attention.numpy(), one.gradient.numpy(), axis.tokens, roles(axis), masked, predicted
    )


# Importance, from gradients however they came about


@given(made_up())
def test_importance_agrees_with_the_slow_reference(one):
    found, expected = importance(one), slow_importance(one)
    assert set(found) == set(expected)
    for statistic, values in expected.items():
        assert np.allclose(found[statistic], values, rtol=1e-12, atol=1e-12, equal_nan=True), statistic


@given(made_up())
def test_without_special_tokens_the_unmasked_are_punctuation_and_other_tokens(one):
    found, whole = importance(one, include_special=False), importance(one)
    axis = one.gradient.keys
    counted = {
        "unmasked": sum(role is None for role in roles(axis)),
        "punctuation": int(axis.token_mask(".", ",").sum()),
    }
    counted["other"] = counted["unmasked"] - counted["punctuation"]
    for rest in ("sum_queries/all", "mean_entries/all", "sum_queries/predicted"):
        total = {
            category: np.where(count == 0, 0.0, found[f"gradient/{category}/{rest}"]) * count
            for category, count in counted.items()
        }
        assert close(total["unmasked"], total["punctuation"] + total["other"])
        assert np.array_equal(found[f"gradient/cls/{rest}"], whole[f"gradient/cls/{rest}"], equal_nan=True)


@given(made_up())
def test_magnitudes_and_products_are_what_they_are_called(one):
    assert np.array_equal(one.magnitude.weights, np.abs(one.gradient.weights))
    assert np.array_equal(one.times_attention.weights, one.attention.weights * one.gradient.weights)
    assert not one.magnitude.normalized
    assert not one.times_attention.normalized


@given(made_up())
def test_torch_gives_what_numpy_gives_and_the_input_stays_as_it_was(one):
    kinds = []
    for kind in (lambda w: torch.from_numpy(w.copy()), np.copy):
        attention, gradient = (
            AttentionTensor(kind(a.weights), a.queries, measure=a.measure, normalized=a.normalized)
            for a in (one.attention, one.gradient)
        )
        kinds.append(importance(Gradients(attention, gradient, one.loss, one.predicted)))
        assert np.array_equal(gradient.numpy(), one.gradient.weights)
        assert np.array_equal(attention.numpy(), one.attention.weights)
    for statistic, values in kinds[1].items():
        assert isinstance(kinds[0][statistic], torch.Tensor)
        assert np.allclose(kinds[0][statistic].numpy(), values, rtol=1e-12, atol=1e-12, equal_nan=True), statistic


@given(made_up(), st.floats(0.1, 10))
def test_importance_grows_with_the_loss(one, factor):
    gradient = one.gradient.replace(weights=factor * one.gradient.weights)
    scaled = importance(dataclasses.replace(one, gradient=gradient))
    for statistic, values in importance(one).items():
        assert np.allclose(scaled[statistic], factor * values, rtol=1e-9, atol=1e-12, equal_nan=True), statistic


# Gradients of models


@names
def test_batching_and_padding_do_not_matter(name):
    ext, objective = extractor(name), OBJECTIVES[name]
    alone = [next(iter(gradients(ext, [text], objective=objective))) for text in TEXTS]
    for batch_size in (1, 2, 5):
        found = list(gradients(ext, TEXTS, objective=objective, batch_size=batch_size))
        assert len(found) == len(TEXTS)
        for one, own in zip(found, alone, strict=True):
            assert one.gradient.queries == one.attention.queries == own.gradient.queries
            assert close(one.gradient, own.gradient)
            assert close(one.attention, own.attention)
            assert one.loss == pytest.approx(own.loss, rel=1e-9)
            assert one.predicted.tolist() == own.predicted.tolist()


@names
def test_gradients_are_of_the_tokens_without_padding(name):
    ext = extractor(name)
    for text, one in zip(TEXTS, gradients(ext, TEXTS, objective=OBJECTIVES[name]), strict=True):
        n = len(ext(text).queries)
        assert one.gradient.shape == (3, 4, n, n)
        assert "pad" not in roles(one.gradient.queries)
        assert np.isfinite(one.gradient.numpy()).all()


@names
def test_the_attention_is_that_of_the_tokens_that_the_model_saw(name):
    ext = extractor(name)
    for one in gradients(ext, TEXTS, objective=OBJECTIVES[name]):
        assert close(one.attention, ext(ids_of(one.attention.queries, ext)))


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_the_last_layer_matters_only_where_a_token_is_predicted(name):
    for one in gradients(extractor(name), TEXTS, objective=OBJECTIVES[name]):
        rows = np.abs(one.gradient.numpy()).max(-1)
        assert (rows[-1][:, ~one.predicted] == 0).all()
        assert (rows[-1][:, one.predicted] > 0).all()
        assert (rows[:-1] > 0).all()


def test_the_last_token_of_a_causal_model_matters_for_nothing():
    """Nothing is predicted from it, and nothing looks at it: a causal model looks back."""
    for one in gradients(extractor("gpt2"), TEXTS, objective=CausalLM()):
        rows = np.abs(one.gradient.numpy()).max(-1)
        assert (rows[..., -1] == 0).all()
        assert (rows[..., 1:-1] > 0).all()


@pytest.mark.parametrize("place", [0, 2, 5])
def test_what_a_causal_model_says_at_a_token_depends_on_no_later_one(place):
    def objective(outputs):
        return outputs.logits[0, place].sin().sum()

    (one,) = gradients(extractor("gpt2"), TEXTS[:1], objective=objective)
    rows = np.abs(one.gradient.numpy()).max(-1)
    assert (rows[..., place + 1 :] == 0).all()
    assert (rows[..., place] > 0).all()
    assert (rows[-1][:, :place] == 0).all()
    assert one.predicted is None


def test_no_weight_of_a_causal_model_gains_from_a_later_token():
    for one in gradients(extractor("gpt2"), TEXTS, objective=CausalLM()):
        assert (np.triu(one.times_attention.numpy(), 1) == 0).all()


@names
def test_gradients_are_linear_in_the_objective(name):
    def one(outputs):
        return outputs.logits[0, 1].sin().sum()

    def other(outputs):
        return outputs.logits[0, -1, 3] ** 2

    def both(outputs):
        return 2 * one(outputs) - 3 * other(outputs)

    found = [next(iter(gradients(extractor(name), TEXTS[:1], objective=f))) for f in (one, other, both)]
    first, second, together = (f.gradient.numpy() for f in found)
    assert close(together, 2 * first - 3 * second)
    assert found[2].loss == pytest.approx(2 * found[0].loss - 3 * found[1].loss)
    assert np.array_equal(attention_gradients(extractor(name), TEXTS[0], objective=one).numpy(), np.abs(first))


@names
def test_a_summed_loss_is_the_mean_times_the_tokens_predicted(name):
    objective = OBJECTIVES[name]
    summed = dataclasses.replace(objective, reduction="sum")
    ext = extractor(name)
    pairs = zip(gradients(ext, TEXTS, objective=objective), gradients(ext, TEXTS, objective=summed), strict=True)
    for mean, total in pairs:
        assert total.loss == pytest.approx(mean.loss * mean.predicted.sum())
        assert close(total.gradient, mean.gradient.numpy() * mean.predicted.sum())


@names
def test_only_gradients_by_attention_are_computed_and_the_model_is_as_it_was(name):
    base = extractor(name)
    model = copy.deepcopy(base._whole)
    ext = Extractor(model, base.tokenizer)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for frozen in (False, True):
        model.requires_grad_(not frozen)
        model.train(frozen)
        found = list(gradients(ext, TEXTS, objective=OBJECTIVES[name]))
        for one, own in zip(found, gradients(base, TEXTS, objective=OBJECTIVES[name]), strict=True):
            assert close(one.gradient, own.gradient)
        assert all(parameter.grad is None and parameter.requires_grad is not frozen for parameter in model.parameters())
        assert model.training is frozen
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        assert not torch.is_grad_enabled()
        assert close(next(iter(gradients(ext, TEXTS, objective=OBJECTIVES[name]))).gradient, found[0].gradient)
        assert not torch.is_grad_enabled()


def test_selected_layers_have_the_gradients_that_they_had_among_all():
    ext = extractor("bert")
    (whole,) = gradients(ext, TEXTS[:1], objective=OBJECTIVES["bert"])
    (part,) = gradients(ext, TEXTS[:1], objective=OBJECTIVES["bert"], layers=[1])
    assert part.gradient.layers == (1,)
    assert close(part.gradient.numpy()[0], whole.gradient.numpy()[1])


def test_each_pair_is_compared_with_the_others_of_its_batch():
    base = extractor("bert")
    ext = Extractor(base.model, base.tokenizer)
    pairs = [TextPair(TEXTS[0], TEXTS[1]), TextPair(TEXTS[2], TEXTS[3]), TextPair(TEXTS[1], TEXTS[2])]
    found = list(gradients(ext, pairs, objective=Contrastive()))
    texts = [text for pair in pairs for text in (pair.first, pair.second)]
    assert [one.gradient.queries.tokens for one in found] == [ext(text).queries.tokens for text in texts]
    states = [ext.capture(text, what=("hidden",)).hidden[-1].tolist() for text in texts]
    losses = reference.contrastive_losses(states[::2], states[1::2])
    assert [one.loss for one in found] == pytest.approx(np.repeat(losses, 2))
    alone = list(gradients(ext, pairs[:2], objective=Contrastive()))
    assert alone[0].loss < found[0].loss
    assert not close(alone[0].gradient, found[0].gradient)


# Masks


def sentences(number, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for _ in range(number)]


def masked(name, texts, objective):
    """(ids before, ids after, which were chosen, which are special) for each text."""
    ext = extractor(name)
    out = []
    for text, one in zip(texts, gradients(ext, texts, objective=objective, layers=0), strict=True):
        axis = ext(text).queries
        chosen = [role == "mask" for role in roles(one.gradient.queries)]
        assert chosen == one.predicted.tolist()
        out.append((ids_of(axis, ext), ids_of(one.gradient.queries, ext), chosen, axis.special.tolist()))
    return out


@pytest.mark.parametrize("name", ["bert", "roberta"])
@pytest.mark.parametrize("share", [0.15, 0.5])
def test_tokens_are_masked_as_bert_masks_them(name, share):
    tokenizer = extractor(name).tokenizer
    special_ids = set(tokenizer.all_special_ids)
    vocabulary = len(tokenizer)
    outcomes = []
    for before, after, chosen, special in masked(name, sentences(150), MaskedLM(share=share, most=None)):
        faults = reference.masking_faults(
            before, after, chosen, special, tokenizer.mask_token_id, special_ids, vocabulary, share, most=math.inf
        )
        assert not faults
        outcomes += [(b, a) for b, a, c in zip(before, after, chosen, strict=True) if c]
    assert len(outcomes) > 300
    shares = reference.masking_shares(outcomes, tokenizer.mask_token_id, vocabulary - len(special_ids))
    assert max(map(abs, shares.values())) < 4, shares


def test_every_ordinary_place_is_chosen_as_often_as_another():
    text = " ".join(["cat"] * 6)  # of two tokens each
    counts = np.zeros(12)
    for seed in range(300):
        [(_, _, chosen, special)] = masked("bert", [text], MaskedLM(share=0.25, most=None, seed=seed))
        counts += [c for c, s in zip(chosen, special, strict=True) if not s]
    assert counts.sum() == 3 * 300
    assert (np.abs(counts - 75) < 4 * math.sqrt(300 * 0.25 * 0.75)).all()


def test_no_more_than_20_tokens_of_128_are_chosen():
    text = " ".join(["cat"] * 31)
    assert [sum(chosen) for _, _, chosen, _ in masked("bert", [text], MaskedLM(share=0.9, most=20))] == [10]
    assert [sum(chosen) for _, _, chosen, _ in masked("bert", [text], MaskedLM(share=0.9))] == [56]


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_masks_depend_on_the_seed_and_the_input_alone(name):
    texts = sentences(12, seed=1)
    order = random.Random(0).sample(range(12), 12)
    found = masked(name, texts, MaskedLM(seed=5))
    assert masked(name, [texts[i] for i in order], MaskedLM(seed=5)) == [found[i] for i in order]
    assert masked(name, texts[3:5], MaskedLM(seed=5)) == found[3:5]
    assert masked(name, texts, MaskedLM(seed=6)) != found
    turned = [" ".join((*WORDS[i:], *WORDS[:i])) for i in range(8)]
    choices = [tuple(chosen) for _, _, chosen, _ in masked("bert", turned, MaskedLM())]
    assert {len(chosen) for chosen in choices} == {15}
    assert len(set(choices)) > 4


# A corpus


def test_importance_over_a_corpus_is_the_mean_over_inputs_and_adds():
    found = list(gradients(extractor("bert"), TEXTS, objective=OBJECTIVES["bert"]))
    whole = gradient_importance(found)
    each = [slow_importance(one) for one in found]
    assert set(whole.statistics) == set(each[0])
    for statistic in whole.statistics:
        values = np.array([table[statistic] for table in each])
        missing = np.isnan(values).all(0)
        expected = np.where(missing, np.nan, np.nansum(values, 0) / np.maximum((~np.isnan(values)).sum(0), 1))
        assert close(whole.mean(statistic), expected), statistic
    parts = gradient_importance(found[:1]) + gradient_importance(found[1:])
    for statistic in whole.statistics:
        assert close(parts.mean(statistic), whole.mean(statistic)), statistic
        assert close(parts.standard_error(statistic), whole.standard_error(statistic), 1e-6), statistic
