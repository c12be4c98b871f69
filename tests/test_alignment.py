"""Hand-worked examples, real tokenizers and errors of `bertattn.alignment`; its laws are in `test_alignment_laws`."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import torch

import tokenizer_zoo
from bertattn import AttentionTensor, Axis, DocumentWindow, Sentence
from bertattn.alignment import drop_special, merge_subwords, word_ids_from_offsets, words_of_text
from bertattn.errors import AlignmentError, MeasureError, SelectionError, ValidationError
from reference import alignment as reference

GOLDEN = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25] * 4, [0.7, 0.1, 0.1, 0.1]])
MERGED = {
    "mean": [[0.1, 0.5, 0.4], [0.325, 0.5, 0.175], [0.7, 0.2, 0.1]],
    "first": [[0.1, 0.5, 0.4], [0.4, 0.5, 0.1], [0.7, 0.2, 0.1]],
    "max": [[0.1, 0.5, 0.4], [0.4 / 1.15, 0.5 / 1.15, 0.25 / 1.15], [0.7, 0.2, 0.1]],
}


def tensor(weights, axis, keys=None, **fields):
    return AttentionTensor(np.asarray(weights)[None, None], axis, keys, **fields)


@pytest.fixture
def golden() -> AttentionTensor:
    return tensor(GOLDEN, Axis(["a", "play", "##ing", "b"], word_ids=[0, 1, 1, 2], words=["a", "playing", "b"]))


# Which word a token belongs to


@pytest.mark.parametrize(
    ("offsets", "words", "expected"),
    [
        ([None, (0, 3), (3, 7), None], [(0, 3), (4, 7)], (None, 0, 1, None)),  # GPT-2's " cat" holds its space
        ([(0, 5)], [(0, 2), (2, 5)], ((0, 1),)),  # "don't" read as natural text
        ([(0, 1), (1, 4), (4, 6)], [(0, 2), (2, 3), (3, 6)], (0, (0, 1, 2), 2)),
        ([(0, 1), (1, 2), (2, 3)], [(0, 1), (2, 3)], (0, 1, 1)),  # a lone space: the word that follows
        ([(0, 1), (1, 2), (2, 2)], [(0, 1)], (0, 0, 0)),  # at the end: the last word
        ([(3, 3), (3, 4)], [(0, 2), (3, 4)], (1, 1)),  # RoBERTa's lone "Ġ" has an empty span
        ([(0, 0)], [(0, 2)], (0,)),
        ([(0, 3), (3, 6)], [(0, 6)], (0, 0)),  # a word with a space in it, "10 000"
        ([(0, 1), None], [], (None, None)),
        ([], [(0, 1)], ()),
    ],
)
def test_word_ids_from_offsets(offsets, words, expected):
    assert word_ids_from_offsets(offsets, words) == expected


def test_words_that_overlap_are_refused():
    with pytest.raises(ValidationError, match="one ends at character 3, the next starts at 2"):
        word_ids_from_offsets([(0, 1)], [(0, 3), (2, 4)])


SENTENCES = [
    Sentence(("The", "keeper", "did", "n't", "see", "the", "rumour", "'s", "varnish", ".")),
    Sentence(
        ("He", "paid", "10 000", "euros", ",", "www.example.org/a-b_c", "!"),
        space_after=(True,) * 4 + (False, True, True),
    ),
    Sentence(("do", "n't", "(", "stop", ")", "...", "now"), space_after=(False, True, False, False, False, True, True)),
    Sentence(("naïve", "Ünïcödé", "🙂👩‍🔬", "東京", "שלום", "x")),
    Sentence(("a",)),
]


@pytest.mark.parametrize("spacing", ["single", "natural"])
@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda s: s.words[0])
@pytest.mark.parametrize("name", tokenizer_zoo.FAST)
def test_real_tokenizers_agree_with_the_reference(name, sentence, spacing):
    text, spans = sentence.text(spacing=spacing)
    encoding = tokenizer_zoo.FAST[name]()(text, split_special_tokens=True)
    one = encoding.encodings[0]
    offsets = [None if special else span for span, special in zip(one.offsets, one.special_tokens_mask, strict=True)]
    found = word_ids_from_offsets(offsets, spans)
    assert found == reference.word_ids(offsets, spans, text)
    covered = {w for entry in found if entry is not None for w in (entry if isinstance(entry, tuple) else (entry,))}
    assert covered == set(range(len(sentence.words)))
    if spacing == "single":
        assert not any(isinstance(entry, tuple) for entry in found), "joined by spaces no token spans two words"


@pytest.mark.parametrize("name", tokenizer_zoo.FAST)
def test_words_of_text_with_real_tokenizers(name):
    text = "The well-known keeper didn't  sink, 10,000 times; naïve 🙂."
    one = tokenizer_zoo.FAST[name]()(text).encodings[0]
    offsets = [None if special else span for span, special in zip(one.offsets, one.special_tokens_mask, strict=True)]
    words, word_ids = words_of_text(text, offsets)
    assert [w for w in word_ids if w is not None] == sorted(w for w in word_ids if w is not None)
    assert {w for w in word_ids if w is not None} == set(range(len(words)))
    position = -1
    for word in words:  # slices of the text, in order
        position = text.index(word, position + 1)
    if name in ("wordpiece", "byte_bpe_gpt2", "byte_bpe_roberta"):
        expected = [
            "The",
            "well-known",
            "keeper",
            "didn't",
            "sink",
            ",",
            "10",
            ",",
            "000",
            "times",
            ";",
            "naïve",
            "🙂",
            ".",
        ]
        assert list(words) == expected


@pytest.mark.parametrize(
    ("text", "offsets", "expected"),
    [
        ("Don't go.", [(0, 9)], (("Don't go.",), (0,))),
        ("a b c", [(0, 1), (1, 3), (3, 5)], (("a", "b", "c"), (0, 1, 2))),
        ("a b c", [(0, 3), (3, 5)], (("a b", "c"), (0, 1))),
        ("a,b c", [(0, 2), (2, 4), (4, 5)], (("a,", "b", "c"), (0, 1, 2))),
        ("a\u200b b", [(0, 1), (3, 4)], (("a\u200b", "b"), (0, 1))),  # a joiner stays with its letter
        ("a \x01 b", [(0, 1), (4, 5)], (("a", "b"), (0, 1))),  # a control character without a token is no word
        ("cafe\u0301 hi", [(0, 4), (6, 8)], (("cafe\u0301", "hi"), (0, 1))),
        ("हिन्दी है", [(0, 6), (7, 9)], (("हिन्दी", "है"), (0, 1))),
        ("rock’n’roll x", [(0, 4), (4, 11), (12, 13)], (("rock’n’roll", "x"), (0, 0, 1))),
        ("   ", [None, (0, 3)], ((), (None, None))),
        ("", [None, None], ((), (None, None))),
    ],
)
def test_words_of_text(text, offsets, expected):
    assert words_of_text(text, offsets) == expected


# Merging


@pytest.mark.parametrize("mode", ["mean", "first", "max"])
def test_golden_values(golden, mode):
    np.testing.assert_allclose(merge_subwords(golden, queries=mode)["1-1"], MERGED[mode], atol=1e-12)


def test_mean_is_the_default(golden):
    np.testing.assert_array_equal(merge_subwords(golden).weights, merge_subwords(golden, queries="mean").weights)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("mode", ["mean", "first", "max"])
def test_torch_gives_torch_in_its_own_precision(golden, mode, dtype):
    torch_golden = golden.replace(weights=torch.tensor(golden.weights.copy(), dtype=getattr(torch, dtype)))
    merged = merge_subwords(torch_golden, queries=mode)
    assert merged.weights.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(
        merged["1-1"].double(), MERGED[mode], atol={"float64": 1e-12, "float32": 1e-6}.get(dtype, 5e-3)
    )
    merged.replace()  # validates: rows still sum to 1 within what the precision allows


def test_numpy_half_precision_is_computed_in_single():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(400, 0.01), size=400).astype(np.float16)[None, None]
    axis = Axis([str(i) for i in range(400)], word_ids=[i // 200 for i in range(400)])
    merged = merge_subwords(AttentionTensor(weights, axis, normalized=False))
    assert merged.weights.dtype == np.float16
    expected = weights.astype(np.float64).reshape(2, 200, 2, 200).sum(-1).mean(1)
    np.testing.assert_allclose(merged["1-1"].astype(np.float64), expected, rtol=1e-3)


def test_axis_of_words():
    axis = Axis(
        ["[CLS]", "play", "##ing", "hi", "[SEP]"],
        roles=["cls", None, None, None, "sep"],
        word_ids=[None, 0, 0, 1, None],
        words=["playing", "hi"],
        segments=[0, 0, 0, 1, 1],
        positions=[0, 1, 2, 5, 6],
        offsets=[None, (0, 4), (4, 7), (8, 10), None],
    )
    merged = merge_subwords(tensor(np.full((5, 5), 0.2), axis))
    assert merged.unit == "word"
    assert merged.keys is merged.queries
    assert merged.queries == Axis(
        ["[CLS]", "playing", "hi", "[SEP]"],
        roles=["cls", None, None, "sep"],
        word_ids=[None, 0, 1, None],
        words=["playing", "hi"],
        segments=[0, 0, 1, 1],
        positions=[0, 1, 2, 3],
        offsets=[None, (0, 7), (8, 10), None],
        unit="word",
    )
    assert merged.source.steps == ("merge_subwords(keys='sum', queries='mean')",)


def test_words_without_texts_are_written_from_their_tokens():
    axis = Axis(["Ġplay", "ing", "▁x", "▁", "##y"], word_ids=[0, 0, 1, 2, 1])
    assert merge_subwords(tensor(np.full((5, 5), 0.2), axis)).queries.tokens == ("playing", "xy", "▁")


def test_mask_token_keeps_its_role():
    axis = Axis(["[CLS]", "[MASK]", "##y"], roles=["cls", "mask", None], word_ids=[None, 0, 1], words=["[MASK]", "y"])
    assert merge_subwords(tensor(np.full((3, 3), 1 / 3), axis)).queries.roles == ("cls", "mask", None)


def test_a_token_of_two_words_shares_its_mass_and_counts_in_both_rows():
    axis = Axis(["do", "n't", "go"], word_ids=[(0, 1), 1, 2], words=["do", "n't", "go"])
    weights = [[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.4, 0.4, 0.2]]
    merged = merge_subwords(tensor(weights, axis))
    columns = np.array([[0.1, 0.1 + 0.3, 0.5], [0.3, 0.3 + 0.2, 0.2], [0.2, 0.2 + 0.4, 0.2]])
    np.testing.assert_allclose(merged["1-1"], [columns[0], (columns[0] + columns[1]) / 2, columns[2]])


def test_cross_attention_merges_each_axis_by_its_own_words():
    queries = Axis(["a", "b", "c"], word_ids=[0, 0, 1], words=["ab", "c"])
    keys = Axis(["x", "y"], word_ids=[0, 0], words=["xy"])
    weights = np.array([[0.3, 0.7], [0.5, 0.5], [1.0, 0.0]])
    merged = merge_subwords(tensor(weights, queries, keys))
    assert merged.queries.tokens == ("ab", "c")
    assert merged.keys.tokens == ("xy",)
    np.testing.assert_allclose(merged["1-1"], [[1.0], [1.0]])
    assert merge_subwords(tensor(weights, queries, Axis(["x", "y"], word_ids=[0, 1]))).shape == (1, 1, 2, 2)


def test_words_are_returned_unchanged(golden):
    merged = merge_subwords(golden)
    assert merge_subwords(merged) is merged


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_undefined_rows_stay_where_they_are(kind):
    weights = GOLDEN.copy()
    weights[2] = np.nan
    array = weights[None, None] if kind == "numpy" else torch.tensor(weights)[None, None]
    a = AttentionTensor(array, Axis(list("abcd"), word_ids=[0, 1, 1, 2]))
    for mode in ("mean", "max"):
        merged = merge_subwords(a, queries=mode).numpy()[0, 0]
        assert np.isnan(merged[1]).all(), mode
        np.testing.assert_allclose(merged[[0, 2]], [MERGED["mean"][0], MERGED["mean"][2]])
    np.testing.assert_allclose(merge_subwords(a, queries="first").numpy()[0, 0], MERGED["first"])
    everywhere = merge_subwords(a.replace(weights=array * np.nan))
    assert np.isnan(everywhere.numpy()).all()


def test_signed_numbers_merge_linearly():
    axis = Axis(["a", "b", "c"], word_ids=[0, 0, 1])
    a = tensor([[1.0, -3.0, 2.0], [0.0, 1.0, -1.0], [5.0, 0.0, 0.5]], axis, measure="gradient", normalized=False)
    np.testing.assert_allclose(merge_subwords(a)["1-1"], [[-0.5, 0.5], [5.0, 0.5]])
    with pytest.raises(MeasureError, match=r"queries='max' divides each row by its sum.*'gradient'"):
        merge_subwords(a, queries="max")


def test_words_without_a_token_are_named():
    axis = Axis(["a", "b"], word_ids=[0, 2], words=["a", "\u200b", "b", "\xad"])
    a = tensor([[0.5, 0.5], [0.5, 0.5]], axis, annotation=Sentence(("a", "\u200b", "b", "\xad"), id="dev-7"))
    with pytest.raises(AlignmentError, match=re.escape(r"words 1 ('\u200b'), 3 ('\xad') of dev-7 have no token")):
        merge_subwords(a)
    window = DocumentWindow((a.annotation,), document="GUM_bio")
    with pytest.raises(AlignmentError, match=r"of GUM_bio have no token on the query axis.*missing='drop'"):
        merge_subwords(a.replace(annotation=window))
    merged = merge_subwords(a, missing="drop")
    assert merged.queries.word_ids == (0, 2)
    assert merged.queries.tokens == ("a", "b")
    assert merged.queries.words == ("a", "\u200b", "b", "\xad")
    assert merged.queries.positions == (0, 1)
    assert "missing='drop'" in merged.source.steps[0]


def test_many_missing_words_are_counted():
    axis = Axis(["z"], word_ids=[9])
    with pytest.raises(AlignmentError, match="words 0, 1, 2, 3, 4 and 4 more have no token"):
        merge_subwords(tensor([[1.0]], axis))
    assert merge_subwords(tensor([[1.0]], Axis(["[CLS]"], word_ids=[None], words=[]))).queries.tokens == ("[CLS]",)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"keys": "mean"}, ValidationError, "keys is 'mean'.*loses mass"),
        ({"queries": "last"}, ValidationError, "queries must be 'mean', 'first' or 'max', but is 'last'"),
        ({"missing": "skip"}, ValidationError, "missing must be 'error' or 'drop', but is 'skip'"),
    ],
)
def test_options_there_are_not(golden, options, error, message):
    with pytest.raises(error, match=message):
        merge_subwords(golden, **options)


def test_axes_and_measures_that_cannot_be_merged(golden):
    with pytest.raises(AlignmentError, match=r"the query axis does not say which word.*word_ids"):
        merge_subwords(golden.replace(queries=Axis(list("abcd"))))
    with pytest.raises(AlignmentError, match="the key axis does not say"):
        merge_subwords(golden.replace(keys=Axis(list("abcd"))))
    with pytest.raises(MeasureError, match=r"'norm_weighted'.*merge the vectors first"):
        merge_subwords(golden.replace(measure="norm_weighted"))


def test_merging_144_heads_is_fast():
    """Two matrix products: about a hundredth of a second. Loops over heads and words take seconds."""
    weights = torch.softmax(torch.randn(12, 12, 128, 128, generator=torch.Generator().manual_seed(0)), -1)
    axis = Axis([str(i) for i in range(128)], word_ids=[i * 2 // 3 for i in range(128)])
    a = AttentionTensor(weights, axis)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        merge_subwords(a)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


# Dropping special tokens

SPECIAL = Axis(["[CLS]", "a", "[MASK]", "[SEP]"], roles=["cls", None, "mask", "sep"])


def test_drop_special_renormalizes():
    dropped = drop_special(tensor(GOLDEN, SPECIAL))
    np.testing.assert_allclose(dropped["1-1"], [[0.3 / 0.5, 0.2 / 0.5], [0.5, 0.5]])
    assert dropped.queries.tokens == ("a", "[MASK]")
    assert dropped.queries.positions == (1, 2)
    assert dropped.keys is dropped.queries
    assert dropped.normalized
    assert dropped.source.steps == ("drop_special(renormalize=True)",)


def test_drop_special_as_it_is():
    dropped = drop_special(tensor(GOLDEN, SPECIAL), renormalize=False)
    np.testing.assert_array_equal(dropped["1-1"], GOLDEN[1:3, 1:3])
    assert not dropped.normalized


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_row_without_mass_is_undefined_and_counted(kind):
    weights = GOLDEN.copy()
    weights[1] = [0, 0, 0, 1]
    weights[2] = [0.5, 1e-13, 0, 0.5]
    array = weights[None, None] if kind == "numpy" else torch.tensor(weights)[None, None]
    dropped = drop_special(AttentionTensor(array, SPECIAL))
    assert np.isnan(dropped.numpy()).all()
    assert int(dropped.empty_rows.sum()) == 2
    kept = drop_special(AttentionTensor(array, SPECIAL), renormalize=False)
    np.testing.assert_array_equal(kept.numpy()[0, 0], weights[1:3, 1:3])


def test_cross_attention_loses_only_the_special_tokens_of_each_axis():
    keys = Axis(["x", "y"], roles=[None, None])
    weights = np.array([[0.3, 0.7], [0.5, 0.5], [1.0, 0.0]])
    queries = Axis(["a", "b", "c"], roles=["bos", None, None])
    dropped = drop_special(tensor(weights, queries, keys), renormalize=False)
    np.testing.assert_array_equal(dropped["1-1"], weights[1:])
    assert dropped.normalized, "no key was dropped: the rows are still distributions"
    assert dropped.keys is keys


def test_words_can_be_dropped_too():
    axis = Axis(["[CLS]", "a", "##b"], roles=["cls", None, None], word_ids=[None, 0, 0], words=["ab"])
    dropped = drop_special(merge_subwords(tensor(np.full((3, 3), 1 / 3), axis)))
    assert dropped.queries.tokens == ("ab",)
    np.testing.assert_allclose(dropped["1-1"], [[1.0]])


def test_drop_special_refuses():
    with pytest.raises(
        SelectionError, match=r"all 2 queries are special tokens: \[CLS\] \[SEP\]; nothing would be left"
    ):
        drop_special(tensor(np.full((2, 2), 0.5), Axis(["[CLS]", "[SEP]"], roles=["cls", "sep"])))
    with pytest.raises(SelectionError, match=r"the queries have no roles.*roles="):
        drop_special(tensor(GOLDEN, Axis(list("abcd"))))
    signed = tensor(-GOLDEN, SPECIAL, measure="gradient", normalized=False)
    with pytest.raises(MeasureError, match=r"'gradient' are no distributions.*renormalize=False"):
        drop_special(signed)
    np.testing.assert_array_equal(drop_special(signed, renormalize=False)["1-1"], -GOLDEN[1:3, 1:3])
