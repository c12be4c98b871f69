"""Axis, Source and AttentionTensor: what they hold, what they refuse and in which words."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import time
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from bertattn.annotation import Document, DocumentWindow, Sentence
from bertattn.errors import SelectionError, ValidationError
from bertattn.tensor import AttentionTensor, Axis, Source, format_head, parse_head

KINDS = [np.asarray, torch.as_tensor]
TOKENS = ("[CLS]", "the", "cats", "[SEP]")
AXIS = Axis(
    TOKENS,
    roles=("cls", None, None, "sep"),
    word_ids=(None, 0, 1, None),
    words=("the", "cats"),
    segments=(0, 0, 0, 0),
    positions=(0, 1, 2, 3),
    offsets=(None, (0, 3), (4, 8), None),
)


def softmax(layers: int = 2, heads: int = 3, queries: int = 4, keys: int = 4) -> np.ndarray:
    scores = np.exp(np.random.default_rng(0).normal(size=(layers, heads, queries, keys)))
    return (scores / scores.sum(-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("name", ["8-10", (7, 9), [7, 9], (np.int64(7), np.int32(9)), np.array([7, 9]), "08-10"])
def test_a_head_has_two_names(name) -> None:
    assert parse_head(name) == (7, 9)
    assert format_head(*parse_head(name)) == "8-10"


@pytest.mark.parametrize(
    "name", ["0-1", "1-0", "8", "8-", "-8", "8-10-2", "a-b", "8 10", "", 7, (7,), (7, 9, 0), (-1, 0), (1.0, 2), None]
)
def test_what_names_no_head_is_refused(name) -> None:
    with pytest.raises(SelectionError) as caught:
        parse_head(name)
    assert str(caught.value) == (
        f"{name!r} names no head; write '8-10' (layer and head counted from 1) or (7, 9) (counted from 0)"
    )


def test_truth_is_no_number() -> None:
    with pytest.raises(SelectionError, match="names no head"):
        parse_head((True, False))


def test_columns_may_be_lists_or_arrays_and_are_kept_plain() -> None:
    made = Axis(
        np.array(TOKENS),
        roles=["cls", None, None, "sep"],
        word_ids=[None, np.int64(0), [1], None],
        words=["the", "cats"],
        segments=torch.zeros(4, dtype=torch.long),
        positions=np.arange(4),
        offsets=[None, [0, 3], np.array([4, 8]), None],
    )
    assert made == dataclasses.replace(AXIS, word_ids=(None, 0, (1,), None))
    assert [type(t) for t in made.tokens] == [str] * 4
    assert [type(p) for p in (*made.positions, *made.segments, *made.offsets[2])] == [int] * 10
    assert hash(made) == hash(dataclasses.replace(made))


def test_axes_are_equal_by_every_column() -> None:
    other = {
        "tokens": ("[CLS]", "a", "cats", "[SEP]"),
        "roles": None,
        "word_ids": None,
        "words": ("a", "cats"),
        "segments": (0, 0, 1, 1),
        "positions": (0, 1, 2, 5),
        "offsets": None,
        "unit": "word",
    }
    assert set(other) == {f.name for f in dataclasses.fields(Axis)}
    for name, value in other.items():
        assert dataclasses.replace(AXIS, **{name: value}) != AXIS, name
    for copied in (copy.deepcopy(AXIS), pickle.loads(pickle.dumps(AXIS))):
        assert copied == AXIS
        assert hash(copied) == hash(AXIS)


def test_axes_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        AXIS.tokens = ()


@pytest.mark.parametrize(
    ("tokens", "columns", "message"),
    [
        ("abc", {}, "tokens must be a sequence, one entry a token, but is one string 'abc'"),
        (None, {}, "tokens must be a sequence, one entry a token, but is None"),
        ([], {}, "an axis needs at least one token, but got none"),
        (
            [101, 7],
            {},
            "tokens must be strings, but number 0 is 101; tokenizer.convert_ids_to_tokens turns ids into tokens",
        ),
        (["a", None], {}, "tokens must be strings, but number 1 is None"),
        (["a"], {"words": [b"a"]}, "words must be strings, but number 0 is b'a'"),
        (["a"], {"roles": [None, None]}, "roles has 2 entries but the axis has 1 tokens"),
        (["a"], {"word_ids": []}, "word_ids has 0 entries but the axis has 1 tokens"),
        (["a"], {"segments": [0, 1]}, "segments has 2 entries but the axis has 1 tokens"),
        (["a"], {"positions": [0, 1]}, "positions has 2 entries but the axis has 1 tokens"),
        (["a"], {"offsets": [None] * 3}, "offsets has 3 entries but the axis has 1 tokens"),
        (["a"], {"roles": ["CLS"]}, "'CLS' is no role; the roles are cls, sep, bos, eos, mask, pad, or None"),
        (["a"], {"roles": "c"}, "roles must be a sequence, one entry a token, but is one string 'c'"),
        (["a"], {"segments": [None]}, "segments must be numbers from 0, but that of token 0 is None"),
        (["a", "b"], {"positions": [0.0, 1.0]}, "positions must be numbers from 0, but that of token 0 is 0.0"),
        (["a", "b"], {"positions": [-1, 0]}, "positions must be numbers from 0, but that of token 0 is -1"),
        (["a", "b"], {"positions": [1, 1]}, "positions must increase, but are (1, 1)"),
        (["a", "b"], {"positions": [1, 0]}, "positions must increase, but are (1, 0)"),
        (["a"], {"offsets": [(3, 1)]}, "offsets must be (start, end) or None, but that of token 0 is (3, 1)"),
        (["a"], {"offsets": [3]}, "offsets must be (start, end) or None, but that of token 0 is 3"),
        (["a"], {"word_ids": [-1]}, "word id -1 of token 0 must be a number from 0, or None"),
        (["a"], {"word_ids": [(0, "b")]}, "word id 'b' of token 0 must be a number from 0, or None"),
        (["a"], {"word_ids": [2], "words": ["x", "y"]}, "token 0 belongs to word 2, but there are only 2 words"),
        (["a"], {"word_ids": [(0, 1)], "words": ["x"]}, "token 0 belongs to word 1, but there are only 1 words"),
        (["a"], {"unit": "words"}, "unit must be 'token' or 'word', but is 'words'"),
    ],
)
def test_bad_axes_are_refused(tokens, columns, message) -> None:
    with pytest.raises(ValidationError) as caught:
        Axis(tokens, **columns)
    assert str(caught.value) == message


def test_masks_over_an_axis() -> None:
    axis = Axis(
        ["<s>", "Ġ.", ".", "▁.", ".</w>", "..", "<mask>", "</s>", "."],
        roles=["cls", None, None, None, None, None, "mask", "sep", "pad"],
    )
    assert axis.token_mask(".").tolist() == [False, True, True, True, True, False, False, False, False]
    assert axis.token_mask("..", "▁.").tolist() == [False, False, False, True, False, True, False, False, False]
    assert axis.token_mask().tolist() == [False] * 9
    assert axis.role_mask("mask").tolist() == [False] * 6 + [True, False, False]
    assert axis.role_mask("cls", "sep").tolist() == [True] + [False] * 6 + [True, False]
    assert axis.special.tolist() == [True] + [False] * 6 + [True, True]
    assert Axis(["a", "b"]).special.tolist() == [False, False]
    for mask in (axis.token_mask("."), axis.special):
        assert mask.dtype == bool


def test_a_word_mark_alone_is_a_token_of_its_own() -> None:
    assert Axis(["▁", "Ġ"]).token_mask("▁").tolist() == [True, False]
    assert Axis(["▁", "Ġ"]).token_mask("").tolist() == [False, False]


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(SelectionError, match=r"^'CLS' is no role; the roles are cls, sep, bos, eos, mask, pad$"):
        AXIS.role_mask("CLS")


@pytest.mark.parametrize(
    "chosen", [[1, 3], (1, 3), np.array([1, 3]), torch.tensor([1, 3]), [False, True, False, True], iter([1, 3])]
)
def test_selected_tokens_keep_their_columns_words_and_positions(chosen) -> None:
    assert AXIS.select(chosen) == Axis(
        ("the", "[SEP]"),
        roles=(None, "sep"),
        word_ids=(0, None),
        words=("the", "cats"),
        segments=(0, 0),
        positions=(1, 3),
        offsets=((0, 3), None),
    )


def test_tokens_without_positions_get_those_they_had() -> None:
    assert Axis(["a", "b", "c"]).select([0, 2]).positions == (0, 2)
    assert Axis(["a", "b", "c"]).select([0, 2]).position_array.tolist() == [0, 2]
    assert Axis(["a", "b", "c"]).position_array.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ([4], SelectionError, "the axis has 4 tokens, which do not fit the selection"),
        ([True], SelectionError, "the axis has 4 tokens, which do not fit the selection"),
        ([0.5], SelectionError, "the axis has 4 tokens, which do not fit the selection"),
        ([], ValidationError, "an axis needs at least one token, but got none"),
        ([2, 1], ValidationError, "positions must increase"),
        ([1, 1], ValidationError, "positions must increase"),
    ],
)
def test_bad_selections_of_tokens_are_refused(chosen, error, message) -> None:
    with pytest.raises(error, match=f"^{message}"):
        AXIS.select(chosen)


def test_the_repr_of_an_axis_is_short() -> None:
    assert repr(AXIS) == "Axis(4 tokens: [CLS] the cats [SEP])"
    assert repr(Axis(["a"], unit="word")) == "Axis(1 word: a)"
    assert repr(Axis([str(i) for i in range(100)])) == "Axis(100 tokens: 0 1 2 3 4 … 98 99)"


def test_source_is_a_frozen_record() -> None:
    source = Source(model="m", revision="r", steps=["a"])
    assert source == Source(model="m", revision="r", steps=("a",))
    assert hash(source) == hash(Source(model="m", revision="r", steps=("a",)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        source.model = "other"


@pytest.mark.parametrize("kind", KINDS)
def test_plain_strings_do_for_axes_and_numbers_count_from_0(kind) -> None:
    a = AttentionTensor(kind(softmax()), TOKENS)
    assert a.queries == a.keys == Axis(TOKENS)
    assert a.keys is a.queries
    assert (a.layers, a.heads) == ((0, 1), (0, 1, 2))
    assert (a.measure, a.normalized, a.annotation, a.source) == ("attention", True, None, None)
    assert a.shape == (2, 3, 4, 4)
    assert a.unit == "token"
    assert type(a.weights) is type(kind(softmax()))


@pytest.mark.parametrize("tokens", [list(TOKENS), np.array(TOKENS), iter(TOKENS)])
def test_tokens_of_any_kind(tokens) -> None:
    assert AttentionTensor(softmax(), tokens).queries.tokens == TOKENS


def test_nested_lists_are_weights_too() -> None:
    assert AttentionTensor([[[[0.5, 0.5], [1.0, 0.0]]]], ["a", "b"])["1-1"].tolist() == [[0.5, 0.5], [1.0, 0.0]]


@pytest.mark.parametrize("kind", KINDS)
def test_cross_attention_has_two_axes(kind) -> None:
    a = AttentionTensor(kind(softmax(queries=2, keys=5)), ["le", "chat"], list("abcde"))
    assert (a.queries.tokens, a.keys.tokens) == (("le", "chat"), tuple("abcde"))
    assert a["1-1"].shape == (2, 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_of_torch(dtype) -> None:
    a = AttentionTensor(torch.from_numpy(softmax()).to(dtype), TOKENS)
    assert a.weights.dtype == dtype
    assert a.numpy().dtype == (np.float32 if dtype == torch.bfloat16 else np.dtype(str(dtype)[6:]))
    np.testing.assert_array_equal(
        a.numpy(), a.weights.float().numpy() if dtype == torch.bfloat16 else a.weights.numpy()
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_every_float_of_numpy(dtype) -> None:
    a = AttentionTensor(softmax().astype(dtype), TOKENS)
    assert a.weights.dtype == np.dtype(dtype)
    assert a.numpy() is a.weights


@pytest.mark.parametrize("queries", [512, 2000])
def test_long_rows_in_half_precision_sum_to_1(queries) -> None:
    weights = torch.rand(1, 1, 4, queries, generator=torch.Generator().manual_seed(0)).softmax(-1)
    for dtype in (torch.float16, torch.bfloat16):
        AttentionTensor(weights.to(dtype), list("abcd"), [str(i) for i in range(queries)])
    AttentionTensor(weights.half().numpy(), list("abcd"), [str(i) for i in range(queries)])


def test_weights_inside_a_gradient_computation_stay_there() -> None:
    scores = torch.from_numpy(softmax()).requires_grad_()
    a = AttentionTensor(scores.softmax(-1), TOKENS)
    assert a.weights.requires_grad
    assert isinstance(a.numpy(), np.ndarray)
    assert a.select(heads=1).weights.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_mass_are_nan_and_known(kind) -> None:
    weights = softmax()
    weights[1, 2, 3] = np.nan
    empty = np.zeros((2, 3, 4), dtype=bool)
    empty[1, 2, 3] = True
    np.testing.assert_array_equal(np.asarray(AttentionTensor(kind(weights), TOKENS).empty_rows), empty)
    AttentionTensor(kind(np.full_like(weights, np.nan)), TOKENS)
    AttentionTensor(kind(np.full_like(weights, np.nan)), TOKENS, normalized=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_measure_that_is_no_distribution_may_be_any_finite_number(kind) -> None:
    weights = np.array([[[[-1e30, 1e30], [3e38, 3e38]]]], dtype=np.float32)  # the second row sums to infinity
    a = AttentionTensor(kind(weights), ["a", "b"], measure="gradient", normalized=False)
    assert (a.measure, a.normalized) == ("gradient", False)
    assert not np.asarray(a.empty_rows).any()


def changed(where: tuple, value: float, dtype: str = "float32") -> np.ndarray:
    weights = softmax().astype(dtype)
    weights[where] = value
    return weights


BAD = {
    "2 dimensions": (
        softmax()[0, 0],
        {},
        "weights must be [layer, head, query, key], but have shape (4, 4); for one head write weights[None, None]",
    ),
    "3 dimensions": (
        softmax()[0],
        {},
        "weights must be [layer, head, query, key], but have shape (3, 4, 4); for one layer write weights[None]",
    ),
    "5 dimensions": (
        softmax()[:, None],
        {},
        (
            "weights must be [layer, head, query, key], but have shape (2, 1, 3, 4, 4); "
            "a model's outputs go to AttentionTensor.from_outputs"
        ),
    ),
    "whole numbers": (
        softmax().astype(int),
        {},
        "weights must be float64, float32, float16, bfloat16, but are int64",
    ),
    "truth": (softmax() > 0, {}, "weights must be float64, float32, float16, bfloat16, but are bool"),
    "complex": (
        softmax().astype(np.complex64),
        {},
        "weights must be float64, float32, float16, bfloat16, but are complex64",
    ),
    "no layers": (softmax()[:0], {}, "weights have no numbers: their shape is (0, 3, 4, 4)"),
    "no keys": (softmax()[..., :0], {}, "weights have no numbers: their shape is (2, 3, 4, 0)"),
    "more queries": (
        softmax(queries=5),
        {},
        "query axis has 4 tokens but weights have 5 queries; were special tokens dropped, or padding left on?",
    ),
    "fewer keys": (
        softmax(keys=3),
        {},
        "key axis has 4 tokens but weights have 3 keys; were special tokens dropped, or padding left on?",
    ),
    "one NaN": (
        changed((1, 2, 3, 1), np.nan),
        {},
        (
            "a row must be finite, or all NaN where it is undefined, but "
            "query 3 ('[SEP]') in head 2-3 has nan at key 1 ('the')"
        ),
    ),
    "infinity": (
        changed((0, 0, 2, 0), -np.inf),
        {"measure": "logits", "normalized": False},
        (
            "a row must be finite, or all NaN where it is undefined, but "
            "query 2 ('cats') in head 1-1 has -inf at key 0 "
            "('[CLS]')"
        ),
    ),
    "NaN and infinity": (
        changed((0, 0, 2), [np.nan, np.inf, np.nan, np.nan]),
        {},
        (
            "a row must be finite, or all NaN where it is undefined, but "
            "query 2 ('cats') in head 1-1 has nan at key 0 "
            "('[CLS]')"
        ),
    ),
    "named layers": (
        changed((1, 2, 3, 1), np.nan),
        {"layers": (5, 7), "heads": (0, 1, 9)},
        (
            "a row must be finite, or all NaN where it is undefined, but "
            "query 3 ('[SEP]') in head 8-10 has nan at key 1 ('the')"
        ),
    ),
    "negative": (
        changed((0, 1, 2), [-0.25, 1.25, 0, 0]),
        {},
        (
            "normalized weights are distributions over keys, but the smallest weight is -0.25; "
            "for signed numbers pass normalized=False and name the measure"
        ),
    ),
    "too little": (
        changed((1, 0, 2), [0.25, 0.25, 0, 0]),
        {},
        (
            "each row of normalized weights must sum to 1, "
            "but that of query 2 ('cats') in head 2-1 sums to 0.5; take off "
            "padding, put the model in eval mode (dropout), or pass normalized=False if these are no distributions"
        ),
    ),
    "half precision cast to single": (
        changed((1, 0, 2), [0.5, 0.498, 0, 0]),
        {},
        (
            "each row of normalized weights must sum to 1, "
            "but that of query 2 ('cats') in head 2-1 sums to 0.998; "
            "keep weights of a half-precision model in its dtype, or divide each row by its sum"
        ),
    ),
    "a sum beyond float32": (
        changed((1, 0, 2), [3e38, 3e38, 0, 0]),
        {},
        (
            "each row of normalized weights must sum to 1, but that of query 2 ('cats') in head 2-1 sums to inf; take "
            "off padding, put the model in eval mode (dropout), or pass normalized=False if these are no distributions"
        ),
    ),
    "a row of zeros": (
        changed((1, 0, 2), 0),
        {},
        (
            "each row of normalized weights must sum to 1, "
            "but that of query 2 ('cats') in head 2-1 sums to 0; take off "
            "padding, put the model in eval mode (dropout), or pass normalized=False if these are no distributions"
        ),
    ),
    "too few layers": (
        softmax(),
        {"layers": [0]},
        "1 layers are named but weights have 2; select() keeps the two together",
    ),
    "a layer twice": (softmax(), {"layers": [3, 3]}, "layers must be different numbers counted from 0, but are [3, 3]"),
    "a negative head": (
        softmax(),
        {"heads": [0, 1, -1]},
        "heads must be different numbers counted from 0, but are [0, 1, -1]",
    ),
    "a truth for a layer": (
        softmax(),
        {"layers": [False, True]},
        "layers must be different numbers counted from 0, but are [False, True]",
    ),
    "a fraction": (
        softmax(),
        {"layers": [0.5, 1.5]},
        "layers must be different numbers counted from 0, but are [0.5, 1.5]",
    ),
    "a string for layers": (
        softmax(),
        {"layers": "01"},
        "layers must be a sequence of numbers counted from 0, but is '01'",
    ),
    "one number for heads": (softmax(), {"heads": 3}, "heads must be a sequence of numbers counted from 0, but is 3"),
    "words and tokens": (
        softmax(),
        {"keys": Axis(TOKENS, unit="word")},
        "queries are tokens but keys are words; merge both axes or neither",
    ),
    "no measure": (softmax(), {"measure": None}, "measure must name what the numbers are, such as 'norm', but is None"),
    "a source in words": (
        softmax(),
        {"source": "bert-base-uncased"},
        "source must be a bertattn.tensor.Source, but is 'bert-base-uncased'",
    ),
    "a whole document": (
        softmax(),
        {"annotation": Document([Sentence(["the", "cats"])])},
        "annotation must be a Sentence or DocumentWindow, but is Document",
    ),
    "another sentence": (
        softmax(),
        {"queries": AXIS, "annotation": Sentence(["The", "cat", "s"])},
        (
            "the annotation has 3 words (The cat s) but the axes count 2 others (the cats); "
            "give the Sentence to an Extractor, which finds its words' tokens"
        ),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case, kind) -> None:
    weights, more, message = BAD[case]
    with pytest.raises(ValidationError) as caught:
        AttentionTensor(kind(weights), **({"queries": TOKENS} | more))
    assert str(caught.value) == message


@pytest.mark.parametrize("weights", [[[1.0], [1.0, 2.0]], [torch.ones(1, 2, requires_grad=True)] * 2])
def test_what_makes_no_array_is_refused(weights) -> None:
    with pytest.raises(ValidationError) as caught:
        AttentionTensor(weights, ["a"])
    assert str(caught.value) == (
        "weights must be one array [layer, head, query, key], but this list does not make one; "
        "a model's outputs go to AttentionTensor.from_outputs"
    )


@pytest.mark.parametrize("axis", [None, "the cats", [1, 2, 3, 4]])
def test_axes_that_are_none_are_refused(axis) -> None:
    with pytest.raises(ValidationError, match=r"^tokens must be "):
        AttentionTensor(softmax(), axis)


def test_how_far_a_row_may_sum_from_1_depends_on_the_dtype() -> None:
    row = np.array([[[[0.5, 0.5]]]])
    for dtype, off in (("float64", 2e-5), ("float32", 2e-5), ("float16", 2e-3)):
        AttentionTensor((row * (1 + off / 4)).astype(dtype), ["a"], ["b", "c"])
        with pytest.raises(ValidationError, match="must sum to 1"):
            AttentionTensor((row * (1 + off)).astype(dtype), ["a"], ["b", "c"])
    for off, right in ((0.002, True), (0.02, False)):
        weights = torch.from_numpy(row * (1 + off)).bfloat16()
        if right:
            AttentionTensor(weights, ["a"], ["b", "c"])
        else:
            with pytest.raises(ValidationError, match="must sum to 1"):
                AttentionTensor(weights, ["a"], ["b", "c"])


@pytest.mark.parametrize(
    "annotation", [Sentence(["the", "cats"]), DocumentWindow([Sentence(["the"]), Sentence(["cats"])]), None]
)
def test_annotation_of_the_words_is_kept(annotation) -> None:
    assert AttentionTensor(softmax(), AXIS, annotation=annotation).annotation is annotation
    assert AttentionTensor(softmax(), TOKENS, annotation=annotation).annotation is annotation


def test_annotation_may_be_of_one_axis_only() -> None:
    target = Axis(["le", "chat", "gris", "."], word_ids=[0, 1, 2, 3], words=["le", "chat", "gris", "."])
    assert AttentionTensor(softmax(), target, AXIS, annotation=Sentence(["the", "cats"])).annotation


def test_a_tensor_is_frozen_and_equal_only_to_itself() -> None:
    a = AttentionTensor(softmax(), TOKENS)
    for field in dataclasses.fields(a):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(a, field.name, None)
    assert a == a
    assert a != a.replace()
    assert len({a, a, a.replace()}) == 2


def test_the_users_array_is_not_changed_nor_through_the_tensor() -> None:
    mine = softmax()
    a = AttentionTensor(mine, TOKENS)
    assert mine.flags.writeable
    assert np.shares_memory(mine, a.weights)
    for view in (a.weights, a.numpy(), a["1-1"], a.select(layers=0).weights, a.replace().weights):
        with pytest.raises(ValueError, match="read-only"):
            view[:] = 0
    np.testing.assert_array_equal(mine, softmax())


def test_the_numbers_of_a_torch_tensor_are_read_only_in_numpy() -> None:
    with pytest.raises(ValueError, match="read-only"):
        AttentionTensor(torch.from_numpy(softmax()), TOKENS).numpy()[:] = 0


def test_read_only_arrays_do() -> None:
    mine = softmax()
    mine.flags.writeable = False
    assert AttentionTensor(mine, TOKENS).weights is mine


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_copies_hold_the_same(kind, copied) -> None:
    a = AttentionTensor(
        kind(softmax()),
        AXIS,
        layers=(3, 1),
        heads=(0, 2, 7),
        annotation=Sentence(["the", "cats"], feats=[{"A": "b"}, {}], metadata={"x": 1}),
        source=Source(model="m"),
    )
    b = copied(a)
    for field in dataclasses.fields(a):
        if field.name != "weights":
            assert getattr(b, field.name) == getattr(a, field.name), field.name
    np.testing.assert_array_equal(b.numpy(), a.numpy())
    assert type(b.weights) is type(a.weights)
    assert b.keys is b.queries
    if isinstance(b.weights, np.ndarray):
        assert not b.weights.flags.writeable


@pytest.mark.parametrize("kind", KINDS)
def test_heads_are_found_by_their_numbers(kind) -> None:
    weights = softmax()
    a = AttentionTensor(kind(weights), TOKENS, layers=(7, 3), heads=(9, 0, 4))
    np.testing.assert_array_equal(np.asarray(a["8-10"]), weights[0, 0])
    np.testing.assert_array_equal(np.asarray(a[3, 4]), weights[1, 2])
    with pytest.raises(SelectionError) as caught:
        a["1-1"]
    assert str(caught.value) == "head 1-1 is not here: layers 4, 8 and heads 1, 5, 10 are (counted from 1)"
    with pytest.raises(SelectionError) as caught:
        AttentionTensor(weights, TOKENS)["3-1"]
    assert str(caught.value) == "head 3-1 is not here: layers 1 to 2 and heads 1 to 3 are (counted from 1)"
    with pytest.raises(SelectionError, match=r"^slice"):
        a[0:1]
    with pytest.raises(SelectionError, match=r"^0 names no head"):
        list(a)


@pytest.mark.parametrize("kind", KINDS)
def test_chosen_layers_and_heads_keep_their_numbers(kind) -> None:
    weights = softmax()
    a = AttentionTensor(kind(weights), TOKENS, layers=(7, 3), heads=(9, 0, 4), source=Source(model="m"))
    b = a.select(layers=3, heads=[4, 9])
    assert (b.layers, b.heads, b.shape) == ((3,), (4, 9), (1, 2, 4, 4))
    np.testing.assert_array_equal(b.numpy(), weights[1:, [2, 0]])
    assert (b.queries, b.keys, b.source) == (a.queries, a.keys, a.source)
    assert (
        a.select(heads=np.array([0])).heads
        == a.select(heads=iter([0])).heads
        == a.select(heads=np.int64(0)).heads
        == (0,)
    )
    assert type(a.select(heads=np.array([0])).heads[0]) is int
    np.testing.assert_array_equal(a.select().numpy(), a.numpy())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"layers": 2}, "layers [2] are not here; there are [0, 1] (counted from 0)"),
        ({"layers": -1}, "layers [-1] are not here; there are [0, 1] (counted from 0)"),
        ({"heads": [0, 5, 6]}, "heads [5, 6] are not here; there are [0, 1, 2] (counted from 0)"),
        ({"heads": "8-10"}, "heads ['8-10'] are not here; there are [0, 1, 2] (counted from 0)"),
        ({"heads": ["1"]}, "heads ['1'] are not here; there are [0, 1, 2] (counted from 0)"),
        ({"heads": [(0, 1)]}, "heads [(0, 1)] are not here; there are [0, 1, 2] (counted from 0)"),
        ({"layers": True}, "layers [True] are not here; there are [0, 1] (counted from 0)"),
        ({"layers": 1.0}, "layers [1.0] are not here; there are [0, 1] (counted from 0)"),
        ({"heads": []}, "heads [] are not here; there are [0, 1, 2] (counted from 0)"),
        ({"heads": [1, 1]}, "heads [1, 1] name one twice"),
    ],
)
def test_bad_choices_are_refused(wanted, message) -> None:
    with pytest.raises(SelectionError) as caught:
        AttentionTensor(softmax(), TOKENS).select(**wanted)
    assert str(caught.value) == message


def test_replace_validates_anew() -> None:
    a = AttentionTensor(softmax(), AXIS, source=Source(model="m"))
    b = a.replace(weights=a.weights * 2, measure="norm", normalized=False)
    assert (b.measure, b.normalized, b.source, b.queries) == ("norm", False, a.source, AXIS)
    with pytest.raises(ValidationError, match="must sum to 1"):
        b.replace(normalized=True)
    with pytest.raises(ValidationError, match=r"^key axis has 4 tokens but weights have 2 keys"):
        a.replace(weights=softmax(keys=2))
    with pytest.raises(ValidationError, match=r"^2 layers are named but weights have 1; select"):
        a.replace(weights=a.weights[:1])
    with pytest.raises(ValidationError, match=r"^queries are words but keys are tokens"):
        a.replace(queries=Axis(TOKENS, unit="word"))
    with pytest.raises(TypeError, match="tokens"):
        a.replace(tokens=TOKENS)


def test_a_step_is_noted_in_the_source() -> None:
    a = AttentionTensor(softmax(), TOKENS, source=Source(model="m", steps=("one",)))
    assert a._with(step="two").source == Source(model="m", steps=("one", "two"))
    assert AttentionTensor(softmax(), TOKENS)._with(step="one").source == Source(steps=("one",))
    assert a._with(measure="norm").source is a.source
    assert not a._with(weights=softmax()).weights.flags.writeable


@pytest.mark.parametrize(("kind", "name"), [(np.asarray, "numpy"), (torch.as_tensor, "torch")])
def test_the_repr_is_short(kind, name) -> None:
    assert repr(AttentionTensor(kind(softmax()), TOKENS)) == (
        f"AttentionTensor(attention: 2 layers x 3 heads, 4 x 4 tokens, float32 {name})"
    )
    one = AttentionTensor(kind(softmax(1, 1, 1, 1)), Axis(["a"], unit="word"), measure="rollout")
    assert repr(one) == f"AttentionTensor(rollout: 1 layer x 1 head, 1 x 1 words, float32 {name})"


@pytest.mark.parametrize("kind", KINDS)
def test_validation_is_quick(kind) -> None:
    weights, axis = kind(softmax(12, 12, 128, 128)), Axis([str(i) for i in range(128)])
    took = []
    for _ in range(5):
        start = time.perf_counter()
        AttentionTensor(weights, axis)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.05  # 1 ms when nothing else runs


def test_numpy_functions_see_the_weights() -> None:
    a = AttentionTensor(np.full((1, 2, 3, 3), 1 / 3), ["a", "b", "c"])
    assert np.asarray(a).shape == (1, 2, 3, 3)
    assert np.mean(a) == pytest.approx(1 / 3)
    assert np.array(a, dtype=np.float32).dtype == np.float32


# in a notebook


class Cells(HTMLParser):
    """The texts of a table's cells, and the tags and attributes there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_notebook_shows_what_is_held_and_no_weights() -> None:
    source = Source(model="m", steps=("merge_subwords()", "drop_special()"))
    a = AttentionTensor(np.full((2, 3, 2, 2), 0.5), ["[CLS]", "hi"], layers=(0, 4), source=source)
    texts = Cells(a._repr_html_()).texts
    assert texts[0] == repr(a)
    assert dict(zip(texts[1::2], texts[2::2], strict=True)) == {
        "measure": "attention, each row a distribution over keys",
        "layers": "2: 1, 5 (counted from 1)",
        "heads": "3: 1 to 3 (counted from 1)",
        "queries and keys": "2 tokens: [CLS] hi",
        "source": "model m, steps merge_subwords(); drop_special()",
    }


def test_a_notebook_shows_both_axes_where_they_differ_and_the_annotation() -> None:
    gold = Sentence(["a", "b"])
    keys = Axis(["a", "b"], words=["a", "b"], word_ids=[0, 1], unit="word")
    a = AttentionTensor(np.full((1, 1, 1, 2), 0.5), Axis(["x"], unit="word"), keys, annotation=gold)
    texts = Cells(a._repr_html_()).texts
    assert dict(zip(texts[7::2], texts[8::2], strict=True)) == {
        "queries": "1 word: x",
        "keys": "2 words: a b",
        "annotation": "Sentence",
    }


def test_a_notebook_shows_some_tokens_of_many_and_runs_no_code_of_theirs() -> None:
    tokens = ["<script>alert(1)</script>", "&lt;", "\x00", "\ud800", "\u202e", "x" * 99, *(str(i) for i in range(194))]
    source = Source(model="<img src=x onerror=alert(1)>")
    a = AttentionTensor(np.eye(200)[None, None], tokens, measure='<b a="', source=source)
    text = a._repr_html_()
    text.encode()
    assert len(text) < 2000
    cells = Cells(text)
    assert cells.tags == {"table", "caption", "tbody", "tr", "th", "td"}
    assert cells.attributes == {"scope", "style"}  # no ids, so it may stand in a page twice; no colours, so in the dark
    assert text.count("color") == text.count("color: inherit")
    shown = "".join(cells.texts)
    assert f"200 tokens: {tokens[0][:23]}… &lt; \\x00 \\ud800 \\u202e {'x' * 23}… 0 1" in shown
    assert " … 191 192 193" in shown
