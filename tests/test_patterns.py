"""Patterns: hand-worked values, the golden values of the paper's formulas, and the texts of the errors."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from bertattn import AttentionTensor, Axis, patterns
from bertattn.errors import MeasureError, SelectionError, ValidationError
from bertattn.tensor import Source

NAMES = [
    "previous", "self", "next", "cls", "sep", "bos", "eos", "punctuation", "sep_to_sep", "other_to_sep", "entropy",
    "entropy_from_cls", "uniform_entropy", "max_weight", "perplexity",
]  # fmt: skip


def tensor(rows, tokens=None, **columns):
    """One head on one axis."""
    weights = np.array(rows, dtype=float)[None, None]
    return AttentionTensor(weights, Axis(tuple(tokens or "abcdefghij"[: weights.shape[-1]]), **columns))


def uniform(n, **columns):
    return tensor(np.full((n, n), 1 / n), **columns)


def value(result):
    assert result.shape == (1, 1)
    assert result.dtype == np.float64
    return float(result[0, 0])


def ten_tokens():
    """[CLS] two words , a word . [SEP] two words [SEP], with skewed weights."""
    rng = np.random.default_rng(5)
    weights = rng.dirichlet(np.full(10, 0.3), size=(2, 3, 10))
    tokens = ("[CLS]", "a", "b", ",", "c", ".", "[SEP]", "d", "e", "[SEP]")
    roles = ("cls", None, None, None, None, None, "sep", None, None, "sep")
    return AttentionTensor(weights, Axis(tokens, roles=roles))


@pytest.mark.parametrize("offset", [-4, -3, -1, 0, 1, 2, 3, 7])
def test_uniform_attention_to_an_offset_is_n_minus_offset_over_n_squared(offset):
    a = uniform(4)
    neighbours = max(0, 4 - abs(offset))
    assert value(patterns.attention_to_offset(a, offset)) == pytest.approx(neighbours / 16)
    available = value(patterns.attention_to_offset(a, offset, denominator="available"))
    assert available == pytest.approx(0.25) if neighbours else np.isnan(available)


def test_a_shift_matrix_attends_to_the_previous_token_in_all_rows_but_the_first():
    rows = np.eye(5, k=-1)
    rows[0, 0] = 1
    a = tensor(rows)
    assert value(patterns.attention_to_offset(a, -1)) == pytest.approx(4 / 5)
    assert value(patterns.attention_to_offset(a, -1, denominator="available")) == 1
    assert value(patterns.attention_to_offset(a, 1)) == 0


def test_the_identity_attends_to_itself_without_entropy():
    a = tensor(np.eye(4))
    assert value(patterns.attention_to_offset(a, 0)) == 1
    assert value(patterns.entropy(a)) == 0
    assert value(patterns.perplexity(a)) == 1
    assert value(patterns.max_weight(a)) == 1
    assert value(patterns.mean_distance(a)) == 0


def test_previous_and_next_are_not_swapped():
    a = tensor([[0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.0, 0.6, 0.4]])
    assert value(patterns.attention_to_offset(a, -1)) == pytest.approx((0.3 + 0.6) / 3)
    assert value(patterns.attention_to_offset(a, 1)) == pytest.approx((0.2 + 0.3) / 3)


def test_a_dropped_token_leaves_its_neighbours_without_one():
    a = tensor([[0.2, 0.8, 0.0], [0.5, 0.2, 0.3], [0.1, 0.4, 0.5]], positions=(0, 2, 3))
    assert value(patterns.attention_to_offset(a, -1)) == pytest.approx(0.4 / 3)
    assert value(patterns.attention_to_offset(a, -1, denominator="available")) == pytest.approx(0.4)
    assert value(patterns.attention_to_offset(a, -2)) == pytest.approx(0.5 / 3)


def test_offsets_of_a_block_of_queries_are_those_of_the_whole():
    a = ten_tokens()
    block = AttentionTensor(a.weights[:, :, 4:7], a.queries.select(range(4, 7)), a.keys)
    for name, offset in (("previous", -1), ("self", 0), ("next", 1), ("far", 5)):
        whole = patterns.attention_to_offset.rows(a, offset)[:, :, 4:7]
        assert np.array_equal(patterns.attention_to_offset.rows(block, offset), whole), name


def test_attention_to_a_mask_of_keys_from_a_mask_of_queries():
    a = tensor([[0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.0, 0.6, 0.4]])
    keys, queries = [True, False, True], [False, True, True]
    assert value(patterns.attention_to(a, keys)) == pytest.approx((0.8 + 0.6 + 0.4) / 3)
    assert value(patterns.attention_to(a, keys, queries=queries)) == pytest.approx((0.6 + 0.4) / 2)
    assert value(patterns.attention_to(a, torch.tensor(keys), queries=np.array(queries))) == pytest.approx(0.5)
    assert value(patterns.attention_to(a, [False] * 3)) == 0
    assert np.isnan(value(patterns.attention_to(a, keys, queries=[False] * 3)))


def test_many_keys_take_the_same_sum_as_few():
    weights = np.random.default_rng(0).dirichlet(np.ones(40), size=(2, 2, 40))
    a = AttentionTensor(weights, ["x"] * 40)
    mask = np.arange(40) % 3 > 0
    assert mask.sum() > patterns.FEW_COLUMNS
    assert np.allclose(patterns.attention_to(a, mask), weights[..., mask].sum(-1).mean(-1), atol=1e-14)


def test_special_tokens_go_by_role_and_absent_ones_are_undefined():
    a = ten_tokens()
    w = a.weights
    assert np.allclose(patterns.attention_to_special(a, "cls"), w[..., 0].mean(-1))
    assert np.allclose(patterns.attention_to_special(a, "sep"), (w[..., 6] + w[..., 9]).mean(-1))
    assert np.isnan(patterns.attention_to_special(a, "bos")).all()
    sep = a.queries.role_mask("sep")
    to_sep = (w[..., 6] + w[..., 9])[:, :, [6, 9]].mean(-1)
    assert np.allclose(patterns.attention_to_special(a, "sep", queries=sep), to_sep)


def test_a_token_that_only_looks_special_is_not():
    a = uniform(3, tokens=("[SEP]", "b", "c"))
    assert np.isnan(value(patterns.attention_to_special(a, "sep")))


def test_punctuation_is_the_exact_token():
    a = uniform(5, tokens=(".", ",", "...", "Ġ.", "."), roles=(None, None, None, None, "sep"))
    assert value(patterns.attention_to_punctuation(a)) == pytest.approx(3 / 5)
    assert value(patterns.attention_to_punctuation(a, tokens=("...",))) == pytest.approx(1 / 5)
    assert value(patterns.attention_to_punctuation(uniform(2))) == 0


def test_sep_masses_add_up_with_the_papers_denominators():
    a = ten_tokens()
    found = patterns.surface_patterns(a)
    assert np.allclose(10 * found["sep"], 2 * found["sep_to_sep"] + 8 * found["other_to_sep"], atol=1e-14)


def test_entropy_by_hand_and_of_uniform_rows():
    a = tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
    assert value(patterns.entropy(a)) == pytest.approx((np.log(2) + 0 + 1.5 * np.log(2)) / 3)
    assert value(patterns.entropy(a, queries=[True, False, False])) == pytest.approx(np.log(2))
    assert value(patterns.perplexity(a)) == pytest.approx((2 + 1 + 2**1.5) / 3)
    assert value(patterns.max_weight(a)) == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert value(patterns.normalized_entropy(a)) == pytest.approx(2.5 * np.log(2) / np.log(3) / 3)
    assert value(patterns.entropy(uniform(7))) == pytest.approx(np.log(7))
    assert value(patterns.uniform_entropy(uniform(7))) == pytest.approx(np.log(7))


@pytest.mark.parametrize(("n", "bound"), [(128, 0.00149), (8, 0.00108)])
def test_the_released_codes_smoothing_bounds_entropy_from_below(n, bound):
    a = AttentionTensor(np.eye(n)[None, None], ["x"] * n)
    assert value(patterns.entropy(a, smoothing=1e-4)) == pytest.approx(bound, abs=6e-6)


def test_entropy_of_half_precision_is_computed_in_single():
    a = ten_tokens()
    half = AttentionTensor(torch.from_numpy(np.array(a.weights)).half(), a.queries)
    assert half.weights.dtype == torch.float16
    assert np.abs(patterns.entropy(half).numpy() - patterns.entropy(a)).max() < 0.01
    assert (
        np.abs(patterns.attention_to(half, a.keys.special).numpy() - patterns.attention_to(a, a.keys.special)).max()
        < 1e-3
    )


def test_one_token_alone_is_defined_everywhere_but_for_normalized_entropy():
    a = tensor([[1.0]])
    assert np.isnan(value(patterns.normalized_entropy(a)))
    assert value(patterns.entropy(a)) == value(patterns.uniform_entropy(a)) == 0
    assert value(patterns.sink_mass(a)) == 1
    assert np.isnan(value(patterns.induction_score(a)))
    assert value(patterns.surface_patterns(a)["previous"]) == 0


def test_the_uniform_baseline_of_a_causal_map_counts_the_keys_within_reach():
    causal = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
    a = tensor(causal)
    assert value(patterns.uniform_entropy(a)) == pytest.approx(np.log([1, 2, 3, 4]).mean())
    assert value(patterns.uniform_entropy(a, causal=False)) == pytest.approx(np.log(4))
    assert value(patterns.uniform_entropy(uniform(4), causal=True)) == pytest.approx(np.log([1, 2, 3, 4]).mean())
    assert value(patterns.entropy(a)) == pytest.approx(value(patterns.uniform_entropy(a)))
    assert value(patterns.normalized_entropy(a)) == pytest.approx(1)


def test_one_weight_after_its_query_is_enough_not_to_be_causal():
    rows = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
    rows[2] = [0.25, 0.25, 0.25, 0.25]
    weights = np.stack([np.eye(4), rows])[None]
    a = AttentionTensor(weights, list("abcd"))
    assert np.allclose(patterns.uniform_entropy(a), np.log(4))


def test_mean_distance_by_hand():
    a = tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert value(patterns.mean_distance(a)) == pytest.approx((1.0 + 0 + 2.0) / 3)
    assert value(patterns.mean_distance(a.replace(queries=Axis(("a", "b", "c"), positions=(0, 5, 9)), keys=None))) == (
        pytest.approx((4.5 + 0 + 9) / 3)
    )


def test_a_sink_is_averaged_over_the_queries_that_can_see_it():
    causal = tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.6, 0.2]])
    assert value(patterns.sink_mass(causal)) == pytest.approx(1.7 / 3)
    assert value(patterns.sink_mass(causal, position=1)) == pytest.approx((0.5 + 0.6) / 2)
    assert value(patterns.sink_mass(causal, position=1, causal=False)) == pytest.approx(1.1 / 3)
    assert np.isnan(value(patterns.sink_mass(causal, position=3)))
    assert value(patterns.sink_mass(uniform(4), position=2)) == pytest.approx(0.25)
    assert np.isnan(value(patterns.sink_mass(uniform(4), position=9)))


def test_the_sink_rate_falls_with_its_threshold_and_is_0_for_uniform_encoders():
    causal = tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0.2, 0.6, 0.2]])
    assert value(patterns.sink_rate(causal)) == 1
    assert value(patterns.sink_rate(causal, threshold=0.6)) == 0
    assert value(patterns.sink_rate(uniform(4))) == 0
    assert value(patterns.sink_rate(uniform(4), threshold=0.25)) == 0  # more than the threshold, not as much
    assert np.isnan(value(patterns.sink_rate(causal, position=9)))


def test_previous_token_score_leaves_special_tokens_out():
    rows = [[1.0, 0, 0, 0], [0.7, 0.3, 0, 0], [0.1, 0.6, 0.3, 0], [0, 0, 0.9, 0.1]]
    a = tensor(rows, roles=("bos", None, None, None))
    assert value(patterns.previous_token_score(a)) == pytest.approx((0.6 + 0.9) / 2)
    assert value(patterns.previous_token_score(a, denominator="n")) == pytest.approx(1.5 / 4)
    assert value(patterns.previous_token_score(tensor(rows))) == pytest.approx((0.7 + 0.6 + 0.9) / 3)


def test_previous_token_score_of_encoders_looks_either_way():
    a = tensor([[0.2, 0.8, 0.0], [0.5, 0.1, 0.4], [0.3, 0.3, 0.4]])
    assert value(patterns.previous_token_score(a, side="future")) == pytest.approx((0.8 + 0.4) / 2)
    assert value(patterns.previous_token_score(a, side="both")) == pytest.approx((0.8 + 0.9 + 0.3) / 3)


def test_duplicate_and_induction_scores_by_hand():
    # x y x y: query 2 duplicates 0 and should copy 1; query 3 duplicates 1 and should copy 2.
    rows = [[1.0, 0, 0, 0], [0.4, 0.6, 0, 0], [0.2, 0.5, 0.3, 0], [0.1, 0.2, 0.3, 0.4]]
    a = tensor(rows, tokens="xyxy")
    assert value(patterns.duplicate_token_score(a)) == pytest.approx((0.2 + 0.2) / 2)
    assert value(patterns.induction_score(a)) == pytest.approx((0.5 + 0.3) / 2)
    assert value(patterns.induction_score(a, denominator="n")) == pytest.approx(0.8 / 4)
    # To the future: query 0 finds x again at 2, followed by 3; query 1 finds y again at 3, with nothing after it.
    b = tensor([[0.1, 0.2, 0.3, 0.4], [0.25] * 4, [0.25] * 4, [0.25] * 4], tokens="xyxy")
    assert value(patterns.duplicate_token_score(b, side="future")) == pytest.approx((0.3 + 0.25) / 2)
    assert value(patterns.induction_score(b, side="future")) == pytest.approx(0.4)
    assert value(patterns.induction_score(b, side="both")) == pytest.approx((0.4 + 0.25 + 0.25) / 3)


def test_a_token_repeated_at_once_follows_itself():
    a = tensor([[1.0, 0], [0.3, 0.7]], tokens="xx")
    assert value(patterns.induction_score(a)) == pytest.approx(0.7)


def test_an_ideal_induction_head_scores_1_and_nothing_repeated_is_undefined():
    tokens = "abcabc"
    rows = np.eye(6)
    for i in (3, 4, 5):
        rows[i] = np.eye(6)[i - 2]
    assert value(patterns.induction_score(tensor(rows, tokens=tokens))) == 1
    distinct = uniform(4)
    for score in (patterns.duplicate_token_score, patterns.induction_score):
        assert np.isnan(value(score(distinct)))
        assert np.isnan(value(score(distinct, denominator="n")))


def test_special_tokens_are_no_targets_of_induction():
    roles = ("cls", None, "sep", None, "sep")
    a = uniform(5, tokens=("[CLS]", "x", "[SEP]", "x", "[SEP]"), roles=roles)
    assert np.isnan(value(patterns.induction_score(a, side="both")))
    assert value(patterns.duplicate_token_score(a, side="both")) == pytest.approx(1 / 5)


def test_special_and_mask_tokens_are_no_duplicates_of_each_other():
    a = uniform(4, tokens=("[SEP]", "[MASK]", "[MASK]", "[SEP]"), roles=("sep", "mask", "mask", "sep"))
    assert np.isnan(value(patterns.duplicate_token_score(a, side="both")))
    assert np.isnan(value(patterns.induction_score(a, side="both")))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_surface_patterns_are_the_single_functions_results(kind):
    a = ten_tokens()
    if kind == "torch":
        a = a.replace(weights=torch.from_numpy(np.array(a.weights)).float())
    sep, cls = a.queries.role_mask("sep"), a.queries.role_mask("cls")
    single = {
        "previous": patterns.attention_to_offset(a, -1),
        "self": patterns.attention_to_offset(a, 0),
        "next": patterns.attention_to_offset(a, 1),
        **{role: patterns.attention_to_special(a, role) for role in ("cls", "sep", "bos", "eos")},
        "punctuation": patterns.attention_to_punctuation(a),
        "sep_to_sep": patterns.attention_to_special(a, "sep", queries=sep),
        "other_to_sep": patterns.attention_to_special(a, "sep", queries=~sep),
        "entropy": patterns.entropy(a),
        "entropy_from_cls": patterns.entropy(a, queries=cls),
        "uniform_entropy": patterns.uniform_entropy(a),
        "max_weight": patterns.max_weight(a),
        "perplexity": patterns.perplexity(a),
    }
    found = patterns.surface_patterns(a)
    assert list(found) == NAMES == list(single)
    for name in NAMES:
        assert type(found[name]) is type(a.weights)
        assert found[name].shape == (2, 3)
        assert np.allclose(found[name], single[name], rtol=0, atol=1e-6, equal_nan=True), name


def long_causal():
    """More queries than are added in single precision at once, and zeros."""
    logits = np.random.default_rng(3).normal(size=(2, 2, 300, 300)) * 2
    weights = np.where(np.tri(300, dtype=bool), np.exp(logits), 0)
    return AttentionTensor(
        weights / weights.sum(-1, keepdims=True), Axis(["."] * 300, roles=["bos", *[None] * 298, "eos"])
    )


def all_but_queries(chosen):
    a = ten_tokens()
    return AttentionTensor(a.weights[:, :, chosen], a.queries.select(chosen), a.keys)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "numpy"])
@pytest.mark.parametrize(
    "attention",
    [
        ten_tokens(),
        long_causal(),
        tensor([[1.0]]),
        all_but_queries([6, 9]),
        all_but_queries([1, 4, 5]),
        AttentionTensor(
            np.full((1, 1, 2, 3), 1 / 3), Axis(["a", "b"], positions=[1, 5]), Axis(list("xyz"), positions=[1, 2, 4])
        ),
        AttentionTensor(np.full((1, 1, 2, 3), 1 / 3), list("ab"), list("xyz"), source=Source(attention="cross")),
    ],
    ids=["bert", "long causal", "one token", "sep queries", "no sep queries", "gaps", "cross"],
)
def test_the_short_cut_is_the_mean_of_the_rows(attention, dtype, monkeypatch):
    if dtype != "numpy":
        attention = attention.replace(weights=torch.from_numpy(np.array(attention.weights)).to(getattr(torch, dtype)))
    rows = patterns.surface_patterns.rows(attention)
    assert patterns._surface_means(attention) is not None
    whole = patterns.surface_patterns(attention)
    monkeypatch.setattr(patterns, "PIECE", 1000)
    pieces = patterns.surface_patterns(attention)
    assert list(whole) == list(rows) == NAMES
    for name in NAMES:
        means = np.array([[np.mean(r[~np.isnan(r)]) if not np.isnan(r).all() else np.nan for r in np.asarray(layer)]
                          for layer in rows[name]])  # fmt: skip
        assert np.allclose(whole[name], means, rtol=1e-6, atol=1e-6, equal_nan=True), name
        assert np.allclose(pieces[name], whole[name], rtol=1e-6, atol=1e-6, equal_nan=True), name


def test_a_row_without_mass_takes_the_long_way():
    a = tensor([[0.5, 0.5, 0.0], [np.nan] * 3, [0.25, 0.25, 0.5]])
    assert patterns._surface_means(a) is None
    assert value(patterns.surface_patterns(a)["self"]) == pytest.approx(0.5)


def test_each_surface_pattern_is_an_array_of_its_own():
    found = patterns.surface_patterns(uniform(3))
    found["cls"][:] = 7
    assert np.isnan(value(found["sep"]))


def test_surface_patterns_have_the_same_names_for_every_model():
    assert list(patterns.surface_patterns(tensor([[1.0]]))) == NAMES
    found = patterns.surface_patterns(uniform(3))
    assert [name for name in NAMES if np.isnan(value(found[name]))] == [
        "cls", "sep", "bos", "eos", "sep_to_sep", "other_to_sep", "entropy_from_cls",
    ]  # fmt: skip


def test_rows_without_mass_do_not_count():
    full = [[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]
    a = tensor([full[0], [np.nan] * 3, full[1]])
    assert value(patterns.attention_to_offset(a, 0)) == pytest.approx((0.5 + 0.5) / 2)
    assert value(patterns.attention_to_offset(a, -1)) == pytest.approx((0 + 0.25) / 2)
    assert value(patterns.attention_to(a, [False] * 3)) == 0
    assert value(patterns.entropy(a)) == pytest.approx(1.25 * np.log(2))
    assert np.isnan(patterns.attention_to.rows(a, [False] * 3)[0, 0]).tolist() == [False, True, False]
    all_empty = tensor(np.full((3, 3), np.nan))
    assert all(np.isnan(value(x)) for x in patterns.surface_patterns(all_empty).values())


def test_torch_weights_that_need_a_gradient_are_read_without_it():
    weights = torch.full((1, 1, 3, 3), 1 / 3, requires_grad=True)
    found = patterns.surface_patterns(AttentionTensor(weights, list("abc")))
    assert not any(x.requires_grad for x in found.values())
    assert weights.requires_grad


def test_a_metric_of_ones_own_has_rows():
    @patterns.mean_over_queries
    def to_first(attention, *, scale):
        """Mine."""
        return attention.weights[..., 0] * scale

    a = tensor([[0.1, 0.9], [0.5, 0.5]])
    assert value(to_first(a, scale=10)) == pytest.approx(3)
    assert to_first.rows(a, scale=1).tolist() == [[[0.1, 0.5]]]
    assert (to_first.__name__, to_first.__doc__) == ("to_first", "Mine.")


@pytest.mark.parametrize("give", [lambda a: a.weights, lambda a: a.weights[..., 0, 0], lambda a: {"x": a.weights}])
def test_a_metric_of_another_shape_is_refused(give):
    with pytest.raises(ValidationError, match=r"\[layer, head, query\] = \(1, 1, 3\), but gave shape \(1, 1"):
        patterns.mean_over_queries(give)(uniform(3))


def test_what_is_no_tensor_is_refused_by_name():
    with pytest.raises(ValidationError, match="entropy needs an AttentionTensor, but got str; an Extractor makes one"):
        patterns.entropy("x")


def cross():
    """Two target queries that see all four source keys but, as a causal map would, no later one."""
    rows = np.array([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])[None, None]
    return AttentionTensor(rows, list("ab"), list("abcd"), source=Source(attention="cross"))


@pytest.mark.parametrize(
    "function",
    [
        functools.partial(patterns.attention_to_offset, offset=-1),
        patterns.mean_distance,
        patterns.previous_token_score,
        patterns.duplicate_token_score,
        patterns.induction_score,
    ],
)
def test_metrics_of_distance_refuse_cross_attention(function):
    name = getattr(function, "func", function).__name__
    with pytest.raises(MeasureError, match=f"^{name} compares the positions .* use attention="):
        function(cross())


def test_in_cross_attention_no_neighbours_are_defined_but_the_rest_is():
    found = patterns.surface_patterns(cross())
    assert all(np.isnan(value(found[name])) for name in ("previous", "self", "next"))
    assert value(found["entropy"]) == pytest.approx(np.log(2) / 2)
    assert value(found["uniform_entropy"]) == pytest.approx(np.log(4))


def test_cross_attention_is_never_causal():
    assert value(patterns.uniform_entropy(cross())) == pytest.approx(np.log(4))
    assert value(patterns.normalized_entropy(cross())) == pytest.approx(np.log(2) / 2 / np.log(4))
    assert value(patterns.sink_mass(cross(), position=1)) == pytest.approx(0.25)
    for function in (patterns.uniform_entropy, patterns.normalized_entropy, patterns.sink_mass):
        with pytest.raises(MeasureError, match="causal=True does not fit cross-attention"):
            function(cross(), causal=True)


MASSES = [
    functools.partial(patterns.attention_to_offset, offset=1),
    functools.partial(patterns.attention_to, keys=[True, False]),
    functools.partial(patterns.attention_to_special, role="cls"),
    patterns.attention_to_punctuation,
    patterns.previous_token_score,
    patterns.duplicate_token_score,
    patterns.induction_score,
]
DISTRIBUTIONS = [
    patterns.entropy,
    patterns.uniform_entropy,
    patterns.normalized_entropy,
    patterns.perplexity,
    patterns.max_weight,
    patterns.mean_distance,
    patterns.sink_mass,
    patterns.surface_patterns,
]


@pytest.mark.parametrize("function", DISTRIBUTIONS, ids=lambda f: f.__name__)
def test_what_needs_distributions_refuses_others_by_name(function):
    a = AttentionTensor(np.array([[[[1.0, -2.0], [0.5, 3.0]]]]), ["a", "b"], measure="gradient", normalized=False)
    with pytest.raises(MeasureError, match=rf"{function.__name__} needs rows that are distributions .* 'gradient'"):
        function(a)


def test_the_sink_rate_refuses_what_the_sink_mass_does():
    a = AttentionTensor(np.array([[[[1.0, -2.0], [0.5, 3.0]]]]), ["a", "b"], measure="gradient", normalized=False)
    with pytest.raises(MeasureError, match="sink_mass needs"):
        patterns.sink_rate(a)


@pytest.mark.parametrize("function", MASSES)
def test_masses_take_any_measure(function):
    a = AttentionTensor(np.array([[[[1.0, -2.0], [0.5, 3.0]]]]), ["a", "a"], measure="gradient", normalized=False)
    assert function(a).shape == (1, 1)
    assert value(patterns.attention_to_offset(a, 1)) == -1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: patterns.attention_to_offset(a, 0.5), ValidationError, "offset must be a whole number .* 0.5"),
        (lambda a: patterns.attention_to_offset(a, True), ValidationError, "offset must be a whole number .* True"),
        (lambda a: patterns.attention_to_offset(a, 1, denominator="all"), ValidationError, "'n' or 'available'.*'all'"),
        (lambda a: patterns.attention_to(a, [True]), ValidationError, r"keys has shape \(1,\) .* 3 tokens"),
        (lambda a: patterns.attention_to(a, [0, 1, 0]), ValidationError, "keys must be a boolean mask.* int64"),
        (lambda a: patterns.attention_to(a, []), ValidationError, r"keys has shape \(0,\)"),
        (lambda a: patterns.entropy(a, queries=np.ones((3, 3), bool)), ValidationError, r"queries has shape \(3, 3\)"),
        (lambda a: patterns.entropy(a, smoothing=2), ValidationError, r"smoothing is .* 0 to 1, but is 2"),
        (lambda a: patterns.attention_to_special(a, "[SEP]"), SelectionError, r"'\[SEP\]' is no role"),
        (lambda a: patterns.attention_to_punctuation(a, tokens="."), ValidationError, r"one string; write \('\.',\)"),
        (lambda a: patterns.sink_rate(a, threshold=float("nan")), ValidationError, "threshold is .* but is nan"),
        (lambda a: patterns.sink_rate(a, threshold=30), ValidationError, "threshold is .* 0 to 1, but is 30"),
        (lambda a: patterns.sink_mass(a, position=-1), ValidationError, "position must be .* -1"),
        (lambda a: patterns.induction_score(a, side="left"), ValidationError, "side must be 'past' or .* 'left'"),
        (lambda a: patterns.induction_score(a, denominator="x"), ValidationError, "denominator must be .* 'x'"),
    ],
)
def test_errors_say_what_is_wrong_and_the_value(call, error, message):
    with pytest.raises(error, match=message):
        call(uniform(3))
