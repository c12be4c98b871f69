"""Gradients of an objective by attention weights: objectives, streams, what is left as it was found, errors."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tr
from torch.nn import functional

import bertattn as ba
import model_zoo
from bertattn import attribution
from bertattn.attribution import CausalLM, Contrastive, MaskedLM, objectives
from bertattn.errors import InputError, ModelError, SelectionError, TooLongError, ValidationError

TEXTS = ["The cat sat on the mat , and slept .", "Snow falls .", "A dog barks at the old man in the street ."]
AUTO = {"masked": tr.AutoModelForMaskedLM, "causal": tr.AutoModelForCausalLM, "pair": tr.AutoModelForSeq2SeqLM}


def with_head(family: str, kind: str = "masked") -> ba.Extractor:
    base, tokenizer = model_zoo.build(family)
    torch.manual_seed(0)
    return ba.Extractor(AUTO[kind].from_config(base.config).eval(), tokenizer)


@pytest.fixture(scope="module")
def bert() -> ba.Extractor:
    return with_head("bert")


@pytest.fixture(scope="module")
def plain() -> ba.Extractor:
    """A model without a head."""
    return ba.Extractor(*model_zoo.build("bert"))


def norm_of_first(outputs: Any) -> torch.Tensor:
    return outputs.last_hidden_state[0, 0].norm()


class TestEveryFamily:
    """One input alone and in a padded batch, against the loss of a call of the model's own."""

    @pytest.mark.parametrize(
        ("family", "path"),
        [
            ("roberta", "interface"),
            ("albert", "interface"),
            ("modernbert", "interface"),
            ("deberta-v2", "output_attentions"),
            ("mpnet", "output_attentions"),
            ("convbert", "output_attentions"),
        ],
    )
    def test_masked(self, family: str, path: str) -> None:
        ext = with_head(family)
        found = list(attribution.gradients(ext, TEXTS, objective=MaskedLM()))
        for text, one in zip(TEXTS, found, strict=True):
            alone = attribution.attention_gradients(ext, text, objective=MaskedLM())
            torch.testing.assert_close(one.magnitude.weights, alone.weights, rtol=1e-3, atol=1e-7)
            assert one.attention.source.path == path
            assert one.predicted.tolist() == one.attention.queries.role_mask("mask").tolist()
            last = one.gradient.weights[-1].abs().sum((0, 2)) > 0
            assert last.tolist() == one.predicted.tolist()

    @pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "bloom"])
    def test_causal(self, family: str) -> None:
        ext = with_head(family, "causal")
        assert attribution.own_objective(ext) == CausalLM()
        for text, one in zip(TEXTS, attribution.gradients(ext, TEXTS, objective=CausalLM()), strict=True):
            ids = torch.tensor([ext.tokenizer(text).input_ids])
            loss = ext._whole(input_ids=ids, labels=ids).loss
            assert one.loss == pytest.approx(float(loss.detach()), rel=1e-4)
            assert one.predicted.tolist() == [True] * (ids.shape[1] - 1) + [False]
            assert not bool(one.gradient.weights.triu(1).any())  # no query reaches these keys
            assert bool(one.gradient.weights.tril().any())
            torch.testing.assert_close(one.attention.weights, ext(text).weights, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("family", ["bart", "t5"])
    @pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
    def test_pair(self, family: str, kind: Any) -> None:
        ext = with_head(family, "pair")
        assert attribution.own_objective(ext) == CausalLM()
        pairs = [ba.TextPair(text, text.upper()) for text in TEXTS]
        found = list(attribution.gradients(ext, pairs, objective=CausalLM(), attention=kind))
        for pair, one in zip(pairs, found, strict=True):
            plain = ext(pair, attention=kind)
            torch.testing.assert_close(one.attention.weights, plain.weights, rtol=0, atol=1e-6)
            assert (one.gradient.queries, one.gradient.keys) == (plain.queries, plain.keys)
            assert float(one.gradient.weights.abs().max()) > 0
            assert (one.predicted is None) is (kind == "encoder")
            labels = torch.tensor([ext.tokenizer(text_target=pair.second).input_ids])
            source = torch.tensor([ext.tokenizer(pair.first).input_ids])
            assert one.loss == pytest.approx(float(ext._whole(input_ids=source, labels=labels).loss.detach()), rel=1e-4)
            assert bool(one.gradient.weights.triu(1).any()) is (kind != "decoder")


class TestMaskedLM:
    def test_the_loss_is_the_models_own(self, bert: ba.Extractor) -> None:
        [one] = attribution.gradients(bert, TEXTS[:1], objective=MaskedLM(share=0.4))
        true = bert.tokenizer(TEXTS[0]).input_ids
        seen = bert.tokenizer.convert_tokens_to_ids(list(one.attention.queries.tokens))
        labels = [label if hidden else -100 for label, hidden in zip(true, one.predicted, strict=True)]
        assert sum(label != -100 for label in labels) == round(0.4 * (len(true) - 2))
        own = bert._whole(input_ids=torch.tensor([seen]), labels=torch.tensor([labels])).loss
        assert one.loss == pytest.approx(float(own.detach()), rel=1e-5)

    def test_sum_is_the_mean_times_the_number_predicted(self, bert: ba.Extractor) -> None:
        mean, total = (
            next(attribution.gradients(bert, TEXTS[:1], objective=MaskedLM(share=0.5, reduction=reduction)))
            for reduction in ("mean", "sum")
        )
        count = int(mean.predicted.sum())
        assert count > 1
        assert total.loss == pytest.approx(count * mean.loss, rel=1e-5)
        torch.testing.assert_close(total.gradient.weights, count * mean.gradient.weights, rtol=1e-3, atol=1e-7)

    def test_the_choice_depends_on_seed_and_text_alone(self, bert: ba.Extractor) -> None:
        def hidden(texts: list[str], seed: int, batch_size: int) -> dict[str, list[bool]]:
            found = attribution.gradients(bert, texts, objective=MaskedLM(seed=seed), batch_size=batch_size)
            return {text: one.predicted.tolist() for text, one in zip(texts, found, strict=True)}

        assert hidden(TEXTS, 3, 16) == hidden(TEXTS[::-1], 3, 1)
        assert any(hidden(TEXTS, 3, 16) != hidden(TEXTS, seed, 16) for seed in range(4, 8))

    def test_kept_replaced_and_hidden(self, bert: ba.Extractor) -> None:
        """80, 10 and 10 percent, over many choices; special tokens are neither chosen nor put in."""
        fates = {"mask": 0, "kept": 0, "other": 0}
        ids = bert.tokenizer(TEXTS[0]).input_ids
        for seed in range(150):
            item = bert._one(TEXTS[0], truncate=False, spacing="single")
            made = objectives.prepared_for(MaskedLM(share=1.0, seed=seed), item, bert)
            assert made.ids[0] == ids[0]
            assert made.ids[-1] == ids[-1]
            assert [label for label in made.labels if label is not None] == ids[1:-1]
            for before, after in zip(ids[1:-1], made.ids[1:-1], strict=True):
                fate = "kept" if after == before else "mask" if after == bert.tokenizer.mask_token_id else "other"
                fates[fate] += 1
                assert fate == "mask" or after not in bert.tokenizer.all_special_ids
        total = sum(fates.values())
        for fate, share in (("mask", 0.8), ("kept", 0.1), ("other", 0.1)):
            assert fates[fate] / total == pytest.approx(share, abs=5 * (0.16 / total) ** 0.5)

    def test_at_most_so_many(self, bert: ba.Extractor) -> None:
        text = " ".join(["cat"] * 40)
        tokens = len(bert.tokenizer(text).input_ids)
        counts = {}
        for most in (20, None):
            [one] = attribution.gradients(bert, [text], objective=MaskedLM(share=0.5, most=most))
            counts[most] = int(one.predicted.sum())
        assert counts == {20: round(20 * tokens / 128), None: round(0.5 * (tokens - 2))}

    def test_a_mask_in_the_input_is_not_predicted(self, bert: ba.Extractor) -> None:
        ids = bert.tokenizer("the cat sat").input_ids
        ids[1] = bert.tokenizer.mask_token_id
        [one] = attribution.gradients(bert, [ids], objective=MaskedLM(share=1.0))
        assert not one.predicted[1]
        assert one.predicted.sum() == len(ids) - 3

    def test_nothing_to_hide(self, bert: ba.Extractor) -> None:
        special = [bert.tokenizer.cls_token_id, bert.tokenizer.sep_token_id]
        with pytest.raises(InputError, match="input 1: there is no token to hide"):
            list(attribution.gradients(bert, [TEXTS[0], special], objective=MaskedLM()))
        stream = attribution.gradients(bert, [TEXTS[0], special], objective=MaskedLM(), on_error="skip")
        assert len(list(stream)) == 1
        assert [(one.index, one.reason[:28]) for one in stream.skipped] == [(1, "there is no token to hide: a")]


class TestContrastive:
    def test_the_loss_and_the_order(self, plain: ba.Extractor) -> None:
        pairs = [ba.TextPair(text, text.lower() + " again .") for text in TEXTS]
        found = list(attribution.gradients(plain, pairs, objective=Contrastive()))
        tokens = [one.attention.queries.tokens for one in found]
        assert tokens == [plain(text).queries.tokens for pair in pairs for text in (pair.first, pair.second)]
        vectors = {}
        for side in ("first", "second"):
            states = [plain.capture(getattr(pair, side), what="hidden").hidden[-1] for pair in pairs]
            vectors[side] = functional.normalize(torch.stack([state.mean(0) for state in states]), dim=-1)
        similar = 20 * vectors["first"] @ vectors["second"].T
        expected = -(similar.log_softmax(1).diagonal() + similar.log_softmax(0).diagonal()) / 2
        assert [one.loss for one in found[::2]] == pytest.approx(expected.tolist(), rel=1e-3)
        assert [one.loss for one in found[1::2]] == [one.loss for one in found[::2]]
        assert all(one.predicted is None for one in found)

    def test_the_first_token(self, plain: ba.Extractor) -> None:
        pairs = [ba.TextPair(text, text.lower()) for text in TEXTS]
        for one in attribution.gradients(plain, pairs, objective=Contrastive(pooling="first")):
            rows = one.gradient.weights[-1].abs().sum((0, 2))
            assert (rows > 0).tolist() == [True] + [False] * (len(rows) - 1)

    @pytest.mark.parametrize(("pairs", "size", "losses"), [(5, 2, [2, 3]), (4, 2, [2, 2]), (3, 2, [3]), (7, 3, [3, 4])])
    def test_a_single_pair_joins_those_before(
        self, plain: ba.Extractor, monkeypatch: pytest.MonkeyPatch, pairs: int, size: int, losses: list[int]
    ) -> None:
        seen: list[int] = []
        original = objectives._contrasted

        def counted(objective: Any, outputs: Any, items: Any) -> torch.Tensor:
            seen.append(len(items) // 2)
            return original(objective, outputs, items)

        monkeypatch.setattr(objectives, "_contrasted", counted)
        given = [ba.TextPair(f"cat {i}", f"dog {i}") for i in range(pairs)]
        stream = attribution.gradients(plain, iter(given), objective=Contrastive(), batch_size=size)
        assert len(list(stream)) == 2 * pairs
        assert seen == losses

    def test_what_it_needs(self, plain: ba.Extractor, bert: ba.Extractor) -> None:
        pair = ba.TextPair("a cat", "a dog")
        with pytest.raises(InputError, match="there is a single one; give at least two"):
            list(attribution.gradients(plain, [pair], objective=Contrastive()))
        with pytest.raises(InputError, match=r"input 0: Contrastive .* give TextPair\(first, second\), not str"):
            list(attribution.gradients(plain, ["a cat"], objective=Contrastive()))
        with pytest.raises(InputError, match="give them together"):
            attribution.attention_gradients(plain, pair, objective=Contrastive())
        with pytest.raises(ModelError, match="load it without one"):
            list(attribution.gradients(bert, [pair, pair], objective=Contrastive()))

    def test_a_single_pair_at_a_time(self, plain: ba.Extractor) -> None:
        with pytest.raises(InputError, match="2 or more, but is 1"):
            attribution.gradients(plain, [ba.TextPair("a", "b")] * 3, objective=Contrastive(), batch_size=1)

    def test_padding_that_changes_the_numbers(self) -> None:
        ext = ba.Extractor(*model_zoo.build("convbert"))
        pairs = [ba.TextPair("The cat .", TEXTS[2]), ba.TextPair(TEXTS[0], "Hills .")]
        with pytest.raises(ModelError, match="padding changes the numbers of ConvBertModel"):
            list(attribution.gradients(ext, pairs, objective=Contrastive()))
        alike = [ba.TextPair("a cat", "a dog"), ba.TextPair("a mat", "a man")]
        if len({len(ext.tokenizer(text).input_ids) for pair in alike for text in (pair.first, pair.second)}) == 1:
            assert len(list(attribution.gradients(ext, alike, objective=Contrastive()))) == 4

    def test_an_error_comes_in_its_turn(self, plain: ba.Extractor) -> None:
        pairs: list[Any] = [ba.TextPair(f"a cat {i}", f"a dog {i}") for i in range(7)]
        stream = attribution.gradients(plain, [*pairs, "no pair", *pairs], objective=Contrastive(), batch_size=2)
        found = []
        with pytest.raises(InputError, match="input 7"):
            found.extend(stream)
        assert len(found) == 12  # a seventh pair would have nothing to be compared with

    def test_batches_of_other_sizes_do_not_add(self, plain: ba.Extractor) -> None:
        pairs = [ba.TextPair(f"a cat {i}", f"a dog {i}") for i in range(4)]
        two, four = (
            attribution.gradient_importance(
                attribution.gradients(plain, pairs, objective=Contrastive(), batch_size=size)
            )
            for size in (2, 4)
        )
        with pytest.raises(ValidationError, match="do not belong together: steps"):
            _ = two + four

    def test_pairs_left_out(self, plain: ba.Extractor) -> None:
        pairs = [ba.TextPair("a cat", "a dog"), ba.TextPair("a cat", " "), ba.TextPair("the man", "a street")]
        stream = attribution.gradients(plain, pairs, objective=Contrastive(), on_error="skip")
        assert len(list(stream)) == 4
        assert [one.index for one in stream.skipped] == [1]


class TestAnyFunction:
    def test_a_linear_function_by_hand(self, plain: ba.Extractor) -> None:
        """Of the last layer's output a direction: gradient = direction, through projection and norm, times v."""
        found = next(attribution.gradients(plain, TEXTS[:1], objective=norm_of_first))
        rows = found.gradient.weights[-1].abs().sum((0, 2)) > 0
        assert rows.tolist() == [True] + [False] * (len(rows) - 1)
        assert found.predicted is None
        assert "norm_of_first" in found.gradient.source.steps[0]

    def test_each_input_runs_alone(self, plain: ba.Extractor) -> None:
        sizes = []

        def watched(outputs: Any) -> torch.Tensor:
            sizes.append(tuple(outputs.last_hidden_state.shape[:2]))
            return outputs.last_hidden_state.sum()

        list(attribution.gradients(plain, TEXTS, objective=watched))
        assert sorted(sizes) == sorted((1, len(plain.tokenizer(text).input_ids)) for text in TEXTS)

    def test_a_layer_that_it_does_not_read_has_gradient_0(self, plain: ba.Extractor) -> None:
        model, tokenizer = plain.model, plain.tokenizer
        config = type(model.config)(**model.config.to_dict())
        config.output_hidden_states = True
        ext = ba.Extractor(type(model)(config).eval(), tokenizer)
        found = attribution.attention_gradients(
            ext, TEXTS[0], objective=lambda outputs: outputs.hidden_states[2].norm()
        )
        assert [bool(layer.any()) for layer in found.weights] == [True, True, False]

    @pytest.mark.parametrize(
        ("objective", "message"),
        [
            (
                lambda outputs: outputs.last_hidden_state,
                r"one number, a tensor of shape \(\), but gave shape \(1, ",
            ),
            (lambda outputs: outputs.last_hidden_state.sum().item(), "one number, a tensor of shape"),
            (
                lambda outputs: (outputs.last_hidden_state - outputs.last_hidden_state.detach()).abs().sqrt().sum(),
                "not finite",
            ),
            (lambda outputs: outputs.last_hidden_state.sum() / 0, "must be a finite number, but is"),
            (lambda outputs: outputs.last_hidden_state.detach().sum(), "without detach, item, numpy or no_grad"),
            (lambda outputs: outputs.no_such_thing, "the objective <lambda> failed: AttributeError"),
            (lambda outputs: outputs.last_hidden_state @ torch.ones(3), "the objective <lambda> failed: RuntimeError"),
        ],
    )
    def test_functions_that_give_no_number(self, plain: ba.Extractor, objective: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            list(attribution.gradients(plain, TEXTS, objective=objective))

    def test_a_function_that_attention_does_not_reach(self, plain: ba.Extractor) -> None:
        weight = plain.model.get_input_embeddings().weight
        with pytest.raises(ModelError, match="does not depend on the attention of BertModel"):
            list(attribution.gradients(plain, TEXTS, objective=lambda _: weight.sum()))


class TestWhatIsLeft:
    def test_parameters_modes_and_switches(self, bert: ba.Extractor) -> None:
        model = bert._whole
        parameter = model.get_input_embeddings().weight
        parameter.grad = torch.ones_like(parameter)
        model.train()
        before = {id(c): c._attn_implementation_internal for c in (model.config, bert.model.config)}
        try:
            with torch.no_grad():
                [one] = attribution.gradients(bert, TEXTS[:1], objective=MaskedLM())
                assert not torch.is_grad_enabled()
            assert model.training
            assert bool((parameter.grad == 1).all())
            assert all(p.grad is None for p in model.parameters() if p is not parameter)
            assert before == {id(c): c._attn_implementation_internal for c in (model.config, bert.model.config)}
            assert not one.gradient.weights.requires_grad
            assert not one.attention.weights.requires_grad
        finally:
            parameter.grad = None
            model.eval()

    def test_frozen_parameters(self, bert: ba.Extractor) -> None:
        expected = attribution.attention_gradients(bert, TEXTS[0], objective=MaskedLM())
        frozen = with_head("bert")
        frozen._whole.load_state_dict(bert._whole.state_dict())
        frozen._whole.requires_grad_(False)
        found = attribution.attention_gradients(frozen, TEXTS[0], objective=MaskedLM())
        torch.testing.assert_close(found.weights, expected.weights)
        assert not any(parameter.requires_grad for parameter in frozen._whole.parameters())

    def test_an_error_on_the_way(self, plain: ba.Extractor) -> None:
        def broken(outputs: Any) -> torch.Tensor:
            raise KeyboardInterrupt

        before = plain.model.config._attn_implementation_internal
        with pytest.raises(KeyboardInterrupt):
            list(attribution.gradients(plain, TEXTS, objective=broken))
        assert plain.model.config._attn_implementation_internal == before
        assert torch.is_grad_enabled()

    def test_the_graph_is_not_kept(self, plain: ba.Extractor) -> None:
        alive: list[Any] = []

        def watched(outputs: Any) -> torch.Tensor:
            alive.append(weakref.ref(outputs.last_hidden_state))
            return outputs.last_hidden_state.sum()

        found = list(attribution.gradients(plain, TEXTS, objective=watched))
        gc.collect()
        assert len(found) == len(alive) == 3
        assert [one() for one in alive] == [None, None, None]

    def test_inference_mode(self, plain: ba.Extractor) -> None:
        with torch.inference_mode(), pytest.raises(InputError, match="leave that block"):
            attribution.gradients(plain, TEXTS, objective=norm_of_first)

    def test_an_ablated_head_has_gradient_0(self, bert: ba.Extractor) -> None:
        with ba.interventions.ablate(bert, ["2-3"]):
            found = attribution.attention_gradients(bert, TEXTS[0], objective=MaskedLM())
        assert not bool(found["2-3"].any())
        assert bool(found["2-2"].any())
        assert "ablated" in found.source.model


class TestFallback:
    """Models that hand out their maps themselves."""

    @pytest.mark.parametrize("trained", [(), ("layer.2",)])
    def test_frozen_parameters(self, trained: tuple[str, ...]) -> None:
        expected = attribution.attention_gradients(with_head("mpnet"), TEXTS[0], objective=MaskedLM())
        frozen = with_head("mpnet")
        for name, parameter in frozen._whole.named_parameters():
            parameter.requires_grad_(any(part in name for part in trained))
        found = attribution.attention_gradients(frozen, TEXTS[0], objective=MaskedLM())
        torch.testing.assert_close(found.weights, expected.weights)

    @pytest.mark.parametrize("family", ["mpnet", "deberta-v2"])
    def test_an_encoder_predicts_no_next_token(self, family: str) -> None:
        """That it is one shows in its first maps."""
        with pytest.raises(ModelError, match=r"sees; use MaskedLM\(\)"):
            attribution.attention_gradients(with_head(family), TEXTS[0], objective=CausalLM())

    def test_keys_that_no_query_reaches(self) -> None:
        """Beyond a window, and after the query of a decoder that has maps of its own."""
        tokenizer = model_zoo.build("llama")[1]
        sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 4, "max_position_embeddings": 96}
        config = tr.GPTNeoConfig(vocab_size=len(tokenizer), attention_types=[[["global", "local"], 1]], **sizes)
        torch.manual_seed(0)
        ext = ba.Extractor(tr.GPTNeoForCausalLM(config).eval(), tokenizer)
        [one] = attribution.gradients(ext, TEXTS[:1], objective=CausalLM())
        distance = np.subtract.outer(np.arange(one.gradient.shape[2]), np.arange(one.gradient.shape[3]))
        reached = one.gradient.weights.abs().amax(1) > 0
        assert not reached[0][torch.from_numpy(distance < 0)].any()
        assert not reached[1][torch.from_numpy((distance < 0) | (distance >= 4))].any()
        assert bool(reached[0][-2, 0])

    def test_gradients_are_as_wide_as_maps(self) -> None:
        ext = with_head("mpnet")
        half = ba.Extractor(ext._whole.to(torch.bfloat16), ext.tokenizer)
        [one] = attribution.gradients(half, TEXTS[:1], objective=MaskedLM())
        assert (one.gradient.weights.dtype, one.attention.weights.dtype) == (torch.float32, torch.float32)


class TestStream:
    def test_a_model_that_sees_one_side_has_nothing_to_fill_in(self) -> None:
        base, tokenizer = model_zoo.build("bert")
        config = type(base.config)(**(base.config.to_dict() | {"is_decoder": True}))
        with pytest.raises(ModelError, match=r"BertModel sees only one; use CausalLM\(\)"):
            attribution.gradients(
                ba.Extractor(tr.BertLMHeadModel(config).eval(), tokenizer), TEXTS, objective=MaskedLM()
            )

    def test_an_objective_that_fails_names_the_input(self, plain: ba.Extractor) -> None:
        def only_long(outputs: Any) -> torch.Tensor:
            if outputs.last_hidden_state.shape[1] < 10:
                raise ValueError("too short")
            return outputs.last_hidden_state.sum()

        with pytest.raises(InputError, match="the objective only_long failed: ValueError: too short") as caught:
            list(attribution.gradients(plain, TEXTS, objective=only_long, on_error="skip"))
        assert any("at the input that begins '[CLS] s" in note for note in caught.value.__notes__)

    def test_a_stream_read_in_inference_mode(self, plain: ba.Extractor) -> None:
        stream = attribution.gradients(plain, TEXTS, objective=norm_of_first)
        with torch.inference_mode(), pytest.raises(InputError, match="leave that block"):
            next(stream)
        with torch.inference_mode():
            base, tokenizer = model_zoo.build("bert")
            made = ba.Extractor(type(base)(base.config), tokenizer)
        with pytest.raises(ModelError, match="load it outside"):
            attribution.gradients(made, TEXTS, objective=norm_of_first)

    def test_backward_is_ours(self, plain: ba.Extractor) -> None:
        def eager(outputs: Any) -> torch.Tensor:
            value = outputs.last_hidden_state.sum()
            value.backward()
            return value

        try:
            with pytest.raises(InputError, match="leave backward to us"):
                list(attribution.gradients(plain, TEXTS, objective=eager))
        finally:
            plain.model.zero_grad(set_to_none=True)

    @pytest.mark.parametrize("objective", [MaskedLM(), Contrastive(), norm_of_first])
    def test_no_batch(self, bert: ba.Extractor, objective: Any) -> None:
        with pytest.raises(InputError, match="batch_size must be a whole number, at least 1, but is 0"):
            attribution.gradients(bert, TEXTS, objective=objective, batch_size=0)

    def test_no_extractor(self, bert: ba.Extractor) -> None:
        for call in (lambda e: attribution.gradients(e, TEXTS, objective=MaskedLM()), attribution.own_objective):
            with pytest.raises(ModelError, match=r"ext must be an Extractor, but is BertForMaskedLM; make one"):
                call(bert._whole)

    def test_pairs_for_two_sides(self) -> None:
        with pytest.raises(InputError, match=r"input 0: .* give TextPair\(source, target\), not str"):
            list(attribution.gradients(with_head("bart", "pair"), ["a cat"], objective=CausalLM()))
        with pytest.raises(ModelError, match="give an Extractor of its encoder alone"):
            attribution.gradients(with_head("t5", "pair"), [ba.TextPair("a", "b")] * 2, objective=Contrastive())

    def test_the_control_keeps_the_head(self, bert: ba.Extractor) -> None:
        untrained = ba.interventions.randomize(bert, seed=1)
        assert attribution.own_objective(untrained) == MaskedLM()
        found = attribution.attention_gradients(untrained, TEXTS[0], objective=MaskedLM())
        assert bool(found.weights.any())
        assert "random weights" in found.source.model

    def test_layers(self, bert: ba.Extractor) -> None:
        every = attribution.attention_gradients(bert, TEXTS[0], objective=MaskedLM())
        some = attribution.attention_gradients(bert, TEXTS[0], objective=MaskedLM(), layers=[2, 0])
        assert some.layers == (0, 2)
        torch.testing.assert_close(some.weights, every.weights[[0, 2]])
        with pytest.raises(SelectionError, match="layers \\[9\\] are not here"):
            attribution.attention_gradients(bert, TEXTS[0], objective=MaskedLM(), layers=9)

    def test_it_is_lazy_and_in_order(self, bert: ba.Extractor) -> None:
        endless = (TEXTS[i % 3] for i in itertools.count())
        found = attribution.gradients(bert, endless, objective=MaskedLM(), batch_size=2)
        tokens = [len(one.attention.queries) for one in itertools.islice(found, 7)]
        lengths = [len(bert.tokenizer(text).input_ids) for text in TEXTS]
        assert tokens == [*lengths, *lengths, lengths[0]]

    def test_too_long(self, bert: ba.Extractor) -> None:
        long = " ".join(["cat"] * 300)
        with pytest.raises(TooLongError, match="input 0"):
            list(attribution.gradients(bert, [long], objective=MaskedLM()))
        stream = attribution.gradients(bert, [long, TEXTS[0]], objective=MaskedLM(), on_too_long="truncate")
        assert next(len(one.attention.queries) for one in stream) == 96
        assert [one.index for one in stream.truncated] == [0]

    @pytest.mark.parametrize(
        ("objective", "message"),
        [
            (MaskedLM, r"the class MaskedLM; write MaskedLM\(\)"),
            ("masked_lm", "objective must be MaskedLM"),
            (None, "objective must be MaskedLM"),
        ],
    )
    def test_no_objective(self, bert: ba.Extractor, objective: Any, message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            attribution.gradients(bert, TEXTS, objective=objective)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: MaskedLM(share=0),
            lambda: MaskedLM(share=1.1),
            lambda: MaskedLM(share="x"),  # type: ignore[arg-type]
            lambda: MaskedLM(seed=-1),
            lambda: MaskedLM(most=0),
            lambda: MaskedLM(reduction="max"),  # type: ignore[arg-type]
            lambda: CausalLM(reduction="max"),  # type: ignore[arg-type]
            lambda: Contrastive(scale=0),
            lambda: Contrastive(scale=float("nan")),
            lambda: Contrastive(pooling="max"),  # type: ignore[arg-type]
        ],
    )
    def test_options_out_of_range(self, make: Any) -> None:
        with pytest.raises(ValidationError, match="but is"):
            make()

    def test_the_wrong_head(self, plain: ba.Extractor, bert: ba.Extractor) -> None:
        with pytest.raises(ModelError, match=r"the scores of this one are none; load .*head='masked_lm'"):
            list(attribution.gradients(plain, TEXTS, objective=MaskedLM()))
        with pytest.raises(ModelError, match=r"which BertModel sees; use MaskedLM\(\)"):
            list(attribution.gradients(bert, TEXTS, objective=CausalLM()))
        gpt = with_head("gpt2", "causal")
        with pytest.raises(ModelError, match=r"GPT2Model sees only one; use CausalLM\(\)"):
            list(attribution.gradients(gpt, TEXTS, objective=MaskedLM()))
        with pytest.raises(ModelError, match="LlamaTokenizer has no mask token"):
            list(attribution.gradients(with_head("eurobert"), TEXTS, objective=MaskedLM()))
        base, tokenizer = model_zoo.build("bert")
        labels = tr.BertForTokenClassification(base.config).eval()
        with pytest.raises(ModelError, match=r"are \[1, \d+, 2\]; load"):
            list(attribution.gradients(ba.Extractor(labels, tokenizer), TEXTS, objective=MaskedLM()))
        with pytest.raises(ModelError, match="MaskedLM is for encoders"):
            list(attribution.gradients(with_head("bart", "pair"), [ba.TextPair("a", "b")], objective=MaskedLM()))

    def test_copies_of_maps_are_refused(self) -> None:
        with pytest.raises(ModelError, match="hands out copies of its maps"):
            list(attribution.gradients(with_head("longformer"), TEXTS[:1], objective=MaskedLM()))


class TestImportance:
    def test_names_and_means_over_a_corpus(self, bert: ba.Extractor) -> None:
        found = list(attribution.gradients(bert, TEXTS, objective=MaskedLM()))
        summary = attribution.gradient_importance(found)
        each = [attribution.importance(one) for one in found]
        assert summary.statistics == tuple(each[0])
        assert len(summary.statistics) == 2 * 5 * 2 * 2
        for name in summary.statistics:
            expected = np.nanmean([one[name].numpy() for one in each], axis=0)
            np.testing.assert_allclose(summary.mean(name), expected, rtol=1e-9)
        assert summary.sequences == 3
        assert "MaskedLM(share=0.15" in summary.source.steps[0]

    def test_parts_add(self, bert: ba.Extractor) -> None:
        whole = attribution.gradient_importance(attribution.gradients(bert, TEXTS, objective=MaskedLM()))
        parts = [
            attribution.gradient_importance(attribution.gradients(bert, [text], objective=MaskedLM())) for text in TEXTS
        ]
        np.testing.assert_allclose(sum(parts).table.mean, whole.table.mean, rtol=1e-3, atol=1e-9)  # type: ignore[attr-defined]
        other = attribution.gradient_importance(attribution.gradients(bert, TEXTS, objective=MaskedLM(seed=1)))
        with pytest.raises(ValidationError, match="do not belong together: steps"):
            _ = whole + other

    def test_functions_and_definitions_are_told_apart(self, plain: ba.Extractor) -> None:
        def summary(objective: Any, **options: Any) -> Any:
            return attribution.gradient_importance(attribution.gradients(plain, TEXTS, objective=objective), **options)

        one = summary(lambda outputs: outputs.last_hidden_state[0, 0].norm())
        other = summary(lambda outputs: outputs.last_hidden_state[0, 1].norm())
        for a, b in ((one, other), (summary(norm_of_first), summary(norm_of_first, include_special=False))):
            with pytest.raises(ValidationError, match="do not belong together: steps"):
                _ = a + b
        assert (summary(norm_of_first) + summary(norm_of_first)).sequences == 6

    def test_functions_of_other_values(self, plain: ba.Extractor) -> None:
        """Captured, bound or read by name: one source, other numbers."""

        def step(objective: Any) -> str:
            return next(attribution.gradients(plain, TEXTS[:1], objective=objective)).gradient.source.steps[0]

        captured = [lambda outputs, i=i: outputs.last_hidden_state[0, i].norm() for i in (0, 1)]
        assert len({step(objective) for objective in captured}) == 2
        sizes = [torch.full((32,), size) for size in (1.0, 2.0)]
        directions = [lambda outputs, w=w: outputs.last_hidden_state[0, 0] @ w for w in sizes]
        assert len({step(objective) for objective in directions}) == 2
        assert step(directions[0]) == step(directions[0])
        code = "lambda outputs: scale * outputs.last_hidden_state[0, 0].norm()"
        assert len({step(eval(code, {"scale": scale})) for scale in (1, 1000)}) == 2
        assert len({step(eval(code, {"scale": 1})) for _ in range(2)}) == 1

    def test_means_are_over_queries_that_can_see_the_key(self) -> None:
        ext = with_head("gpt2", "causal")
        [one] = attribution.gradients(ext, TEXTS[:1], objective=CausalLM())
        n = one.gradient.shape[2]
        found = attribution.importance(one)["gradient/unmasked/mean_entries/all"]
        expected = one.gradient.weights.abs().double().sum((-2, -1)) / (n * (n + 1) / 2)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)

    def test_of_something_else(self, plain: ba.Extractor) -> None:
        with pytest.raises(ValidationError, match="a Gradients, but got AttentionTensor"):
            attribution.importance(plain(TEXTS[0]))  # type: ignore[arg-type]

    def test_special_tokens_left_out(self, bert: ba.Extractor) -> None:
        [one] = attribution.gradients(bert, TEXTS[:1], objective=MaskedLM())
        keys = one.gradient.keys
        chosen = ~keys.role_mask("mask") & ~keys.special
        expected = one.gradient.weights.abs().double().sum(-2)[..., torch.from_numpy(chosen)].mean(-1)
        found = attribution.importance(one, include_special=False)["gradient/unmasked/sum_queries/all"]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)

    def test_attention_times_gradient_is_signed(self, bert: ba.Extractor) -> None:
        [one] = attribution.gradients(bert, TEXTS[:1], objective=MaskedLM())
        product = one.times_attention
        assert product.measure == "attention_x_gradient"
        assert bool((product.weights < 0).any())
        assert bool((product.weights > 0).any())
        torch.testing.assert_close(product.weights, one.attention.weights * one.gradient.weights)
        torch.testing.assert_close(one.magnitude.weights, one.gradient.weights.abs())

    def test_interrupted(self, bert: ba.Extractor) -> None:
        found = list(attribution.gradients(bert, TEXTS, objective=MaskedLM()))

        def stream() -> Iterator[attribution.Gradients]:
            yield from found[:2]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as caught:
            attribution.gradient_importance(stream())
        assert caught.value.partial == attribution.gradient_importance(found[:2])  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("stream", "message"),
        [
            (["text"], r"item 0 of the stream is a str, not Gradients"),
            ([], "the stream gave no sequences"),
            (3, "must be an iterable of Gradients, but is int"),
        ],
    )
    def test_no_stream(self, stream: Any, message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            attribution.gradient_importance(stream)

    def test_one_is_no_stream(self, bert: ba.Extractor) -> None:
        [one] = attribution.gradients(bert, TEXTS[:1], objective=MaskedLM())
        with pytest.raises(ValidationError, match=r"give a list: \[gradients\]"):
            attribution.gradient_importance(one)  # type: ignore[arg-type]


class TestLoading:
    @pytest.mark.parametrize(
        ("family", "kind", "head", "objective"),
        [
            ("bert", "masked", "masked_lm", MaskedLM()),
            ("bert", "masked", "own", MaskedLM()),
            ("gpt2", "causal", "causal_lm", CausalLM()),
            ("gpt2", "causal", "own", CausalLM()),
        ],
    )
    def test_with_its_head(self, tmp_path: Path, family: str, kind: str, head: Any, objective: Any) -> None:
        ext = with_head(family, kind)
        ext._whole.save_pretrained(tmp_path)
        ext.tokenizer.save_pretrained(tmp_path)
        loaded = ba.Extractor.from_pretrained(tmp_path, head=head, device="cpu")
        assert attribution.own_objective(loaded) == objective
        torch.testing.assert_close(
            attribution.attention_gradients(loaded, TEXTS[0], objective=objective).weights,
            attribution.attention_gradients(ext, TEXTS[0], objective=objective).weights,
        )
        bare = ba.Extractor.from_pretrained(tmp_path, device="cpu")
        assert attribution.own_objective(bare) is None
        torch.testing.assert_close(bare(TEXTS[0]).weights, loaded(TEXTS[0]).weights)

    def test_without_one(self, tmp_path: Path, plain: ba.Extractor) -> None:
        plain.model.save_pretrained(tmp_path)
        plain.tokenizer.save_pretrained(tmp_path)
        assert attribution.own_objective(ba.Extractor.from_pretrained(tmp_path, head="own", device="cpu")) is None
        with pytest.raises(ModelError, match="which would be random"):
            ba.Extractor.from_pretrained(tmp_path, head="masked_lm", device="cpu")
        with pytest.raises(ModelError, match="head must be 'masked_lm'"):
            ba.Extractor.from_pretrained(tmp_path, head="lm", device="cpu")  # type: ignore[arg-type]


def test_a_pair_is_one_observation(plain: ba.Extractor) -> None:
    pairs = [
        ba.TextPair("The cat sat.", "It ran."),
        ba.TextPair("Snow falls.", "A dog, red."),
        ba.TextPair("A mat.", "Red."),
    ]
    found = list(attribution.gradients(plain, pairs, objective=Contrastive(), batch_size=3))
    assert [one.passage for one in found] == [0, 1] * 3
    summary = attribution.gradient_importance(iter(found))
    assert (summary.sequences, summary.queries) == (3, sum(len(one.gradient.queries) for one in found))
    for name in ("gradient/unmasked/sum_queries/all", "gradient/punctuation/sum_queries/all"):
        values = np.array(
            [attribution.importance(one)[name].numpy() for one in found]
        )  # of the last passage's commas: none, NaN
        means = np.nanmean(values.reshape(3, 2, *values.shape[1:]), axis=1)
        np.testing.assert_allclose(summary.mean(name), means.mean(0), rtol=1e-12)
        np.testing.assert_allclose(summary.standard_error(name), means.std(0, ddof=1) / np.sqrt(3), rtol=1e-9)
    alone = attribution.gradient_importance(
        [found[1], found[2], found[4], found[5]]
    )  # of two pairs one passage is missing
    assert alone.sequences == 3
    assert [one.passage for one in attribution.gradients(plain, ["Snow."], objective=norm_of_first)] == [None]


def test_the_bar_knows_how_many_inputs_there_are(plain: ba.Extractor, capsys: pytest.CaptureFixture[str]) -> None:
    stream = attribution.gradients(plain, ["Snow.", "It ran."], objective=norm_of_first)
    attribution.gradient_importance(stream, progress=True)
    assert "2/2" in capsys.readouterr().err
