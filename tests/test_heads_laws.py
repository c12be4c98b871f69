"""Heads as classifiers of relations: laws that hold for every map, and agreement with the slow reference."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import heads_zoo
from bertattn import AttentionTensor, DocumentWindow, merge_subwords
from bertattn.heads import RelationScores, offset_baselines, predict_governors, score_relations
from bertattn.heads.dependency import DIRECTIONS
from reference import dependency as reference

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "punct": st.sampled_from(("include", "exclude")),
        "root": st.sampled_from(("include", "exclude")),
        "subtypes": st.sampled_from(("keep", "fold")),
        "poss_mode": st.sampled_from(("none", "either", "clark")),
        "candidates": st.sampled_from(("words", "no_punct")),
    },
)
COUNTED = ("punct", "root", "subtypes")
UNSHARED = {"styles": ("random", "ties", "signed", "zeros"), "shared": False}


def slow_options(options):
    return {
        "punct": options.get("punct") != "exclude",
        "root": options.get("root") != "exclude",
        "fold": options.get("subtypes") == "fold",
        "poss_mode": options.get("poss_mode", "none"),
        "candidates": options.get("candidates", "words"),
    }


def table(scores: RelationScores):
    return {name: (scores.count(name), scores.correct(name).tolist()) for name in ("all", *scores.relation_names())}


def changed(attention: AttentionTensor, weights, **more) -> AttentionTensor:
    options = {"annotation": attention.annotation, "normalized": False, "measure": "weight"} | more
    return AttentionTensor(weights, attention.queries, **options)


@given(heads_zoo.corpora(), OPTIONS)
def test_scores_agree_with_the_slow_reference(stream, options):
    scores = score_relations(stream, **options)
    slow = reference.scores([heads_zoo.plain(a) for a in stream], **slow_options(options))
    slow.setdefault("all", (0, np.zeros(scores.shape, dtype=int)))
    assert table(scores) == {name: (count, correct.tolist()) for name, (count, correct) in slow.items()}


@given(heads_zoo.tokenized(), st.sampled_from(DIRECTIONS))
def test_predictions_agree_with_the_slow_reference(attention, direction):
    maps, *_ = heads_zoo.plain(attention)
    predicted = predict_governors(attention, direction=direction)
    assert predicted.tolist() == [[reference.predictions(m, direction) for m in layer] for layer in maps]


@given(heads_zoo.tokenized(), st.sampled_from(DIRECTIONS))
def test_a_word_never_predicts_itself_nor_a_special_token(attention, direction):
    n = len(attention.annotation)
    predicted = predict_governors(attention, direction=direction)
    assert predicted.shape == (2, 2, n)
    assert not (predicted == np.arange(1, n + 1)).any()
    assert np.isin(predicted, [-1, *range(1, n + 1)]).all()


@given(heads_zoo.corpora(), OPTIONS)
def test_predictions_and_scores_say_the_same(stream, options):
    scores = score_relations(stream, poss_mode="none", **{k: v for k, v in options.items() if k in COUNTED})
    for relation in ("all", *scores.relation_names()):
        for direction in ("from_dependent", "to_dependent"):
            for head in ("1-1", "2-2"):
                cases = scores.cases(relation, head, direction=direction)
                for case in cases:
                    predicted = predict_governors(stream[case["sentence"]], direction=direction)
                    layer, number = (int(part) - 1 for part in head.split("-"))
                    assert case["found"] == (predicted[layer, number, case["word"] - 1] == case["governor"])
                    assert case["id"] == stream[case["sentence"]].annotation.id
                share = scores.accuracy(relation, direction=direction)[int(head[0]) - 1, int(head[2]) - 1]
                assert share == np.mean([c["found"] for c in cases]) if cases else math.isnan(share)


@given(heads_zoo.corpora(), OPTIONS)
def test_merging_first_changes_nothing(stream, options):
    merged = [merge_subwords(a) for a in stream]
    assert np.array_equal(score_relations(stream, **options).hits, score_relations(merged, **options).hits)


@given(heads_zoo.corpora(), st.sampled_from(("float32", "float16", "bfloat16")))
def test_torch_in_any_precision_gives_what_numpy_gives(stream, dtype):
    with_torch = [changed(a, torch.from_numpy(a.numpy().copy()).to(getattr(torch, dtype))) for a in stream]
    unmerged = with_torch
    with_numpy = [changed(a, np.asarray(b.weights.float().numpy())) for a, b in zip(stream, with_torch, strict=True)]
    if dtype != "float32":  # rounded after the merging: ties
        with_torch, with_numpy = ([merge_subwords(a) for a in part] for part in (with_torch, with_numpy))
        with_numpy = [
            a.replace(weights=merged.weights.float().numpy()) for a, merged in zip(with_numpy, with_torch, strict=True)
        ]
    seen = score_relations(with_torch)
    assert np.array_equal(score_relations(unmerged).hits, seen.hits)
    assert np.array_equal(seen.hits, score_relations(with_numpy).hits)
    for a, b in zip(with_torch, with_numpy, strict=True):
        predicted = predict_governors(a)
        assert isinstance(predicted, torch.Tensor)
        assert predicted.tolist() == predict_governors(b).tolist()


@given(heads_zoo.sentences())
def test_an_oracle_finds_every_governor_that_a_head_can_find(tree):
    governors = [g - 1 if g else None for g in tree.governors or (None,) * len(tree)]
    oracle = heads_zoo.one_hot(governors)
    scores = score_relations([heads_zoo.mapped(oracle, tree)]).counting(root="exclude")
    assert (scores.correct()[0] == scores.count()).all()
    by_column = score_relations([heads_zoo.mapped(oracle.T, tree)]).counting(root="exclude")
    assert (by_column.correct()[1] == scores.count()).all()
    assert by_column.count() == sum(g is not None for g in governors)
    with_root = scores.counting(root="include")
    assert with_root.correct()[0].sum() == scores.count()


@given(heads_zoo.corpora(**UNSHARED), OPTIONS)
def test_a_transposed_map_swaps_the_two_directions(stream, options):
    words = [merge_subwords(a) for a in stream]
    turned = [changed(a, np.swapaxes(a.weights, -1, -2)) for a in words]
    a, b = (score_relations(s, directions=("from_dependent", "to_dependent"), **options) for s in (words, turned))
    assert np.array_equal(a.by_sentence()[0], b.by_sentence()[0][:, ::-1])


@given(heads_zoo.corpora(), st.floats(-5, 5), OPTIONS)
def test_what_a_word_gives_itself_changes_nothing(stream, constant, options):
    words = [merge_subwords(a) for a in stream]
    moved = [changed(a, a.weights + constant * np.eye(a.shape[-1])) for a in words]
    assert np.array_equal(score_relations(words, **options).hits, score_relations(moved, **options).hits)


@given(heads_zoo.corpora(layers=1, heads=4), st.permutations(range(4)), OPTIONS)
def test_renumbered_heads_renumber_the_scores(stream, order, options):
    a = score_relations(stream, **options)
    b = score_relations([changed(x, x.weights[:, order]) for x in stream], **options)
    assert np.array_equal(a.correct()[..., order], b.correct())
    for x in stream:
        moved = changed(x, x.weights[:, order])
        assert np.array_equal(predict_governors(x)[:, order], predict_governors(moved))


@given(heads_zoo.corpora(), OPTIONS)
def test_the_relations_sum_to_all(stream, options):
    scores = score_relations(stream, **options)
    names = scores.relation_names()
    assert sum(scores.count(name) for name in names) == scores.count()
    if names:
        total = sum(scores.count(name) * scores.accuracy(name) for name in names)
        assert np.allclose(total, scores.count() * scores.accuracy(), atol=1e-9)
    counts = [scores.count(name) for name in names]
    assert counts == sorted(counts, reverse=True)


@given(heads_zoo.corpora(), OPTIONS)
def test_sentences_sum_to_the_corpus(stream, options):
    scores = score_relations(stream, **options)
    for relation in ("all", *scores.relation_names()):
        found, words = scores.by_sentence(relation)
        assert found.shape == (len(stream), *scores.shape)
        assert np.array_equal(found.sum(0), scores.correct(relation))
        assert words.sum() == scores.count(relation)
        one_by_one = [score_relations([a], **options) for a in stream]
        for i, alone in enumerate(one_by_one):
            if relation in ("all", *alone.relation_names()):
                assert np.array_equal(found[i], alone.correct(relation))
            else:
                assert not found[i].any()
                assert words[i] == 0


@given(heads_zoo.corpora(), st.integers(-4, 4), OPTIONS)
def test_offsets_agree_with_the_baselines_and_the_slow_reference(stream, offset, options):
    counting = {name: value for name, value in options.items() if name in COUNTED}
    scores = score_relations(stream, **counting)
    baselines = offset_baselines([a.annotation for a in stream], offsets=[offset], **counting)
    for relation in ("all", *scores.relation_names()):
        right = scores.offset_by_sentence(relation, offset=offset)
        assert right.sum() == round(
            np.nan_to_num(baselines.accuracy(relation, offset=offset)) * baselines.count(relation)
        )
        if not counting:
            golds = [a.annotation for a in stream]
            assert right.tolist() == [
                reference.offset_hits(
                    gold.governors or [None] * len(gold),
                    offset,
                    None if relation == "all" else relation,
                    [label or "_" for label in gold.relations or [None] * len(gold)],
                )
                for gold in golds
            ]


@given(heads_zoo.corpora())
def test_a_word_is_never_its_own_governor(stream):
    scores = score_relations(stream).counting(root="exclude")
    assert scores.offset_by_sentence(offset=0).sum() == 0


@given(heads_zoo.corpora(), OPTIONS)
def test_counting_is_as_good_as_scoring_anew(stream, options):
    measured = {name: value for name, value in options.items() if name not in COUNTED}
    counted = {name: value for name, value in options.items() if name in COUNTED}
    scores = score_relations(stream, **measured)
    assert scores.counting(**counted) == score_relations(stream, **options)
    assert scores.counting(**counted).counting(punct="include", root="include", subtypes="keep") == scores


@given(heads_zoo.corpora(), heads_zoo.corpora(), heads_zoo.corpora(), OPTIONS)
def test_corpora_add(first, second, third, options):
    a, b, c = (score_relations(stream, **options) for stream in (first, second, third))
    together = score_relations(first + second + third, **options)
    assert (a + b) + c == a + (b + c) == sum([a, b, c]) == together
    assert table(a + b) == table(b + a)
    assert (a + b).without_governor == (b + a).without_governor


@given(heads_zoo.corpora(), OPTIONS, st.data())
def test_selected_sentences_are_scored_as_if_alone(stream, options, data):
    scores = score_relations(stream, **options)
    mask = data.draw(st.lists(st.booleans(), min_size=len(stream), max_size=len(stream)))
    part = scores.select(mask)
    assert part == scores.select(np.flatnonzero(mask)) == scores.select(np.flatnonzero(mask)[::-1].tolist())
    assert part.sentences == sum(mask)
    if any(mask):
        alone = score_relations([a for a, keep in zip(stream, mask, strict=True) if keep], **options)
        assert table(part) == table(alone)
        assert (part.ids, part.documents, part.without_governor) == (alone.ids, alone.documents, alone.without_governor)
    assert table(scores.select(~np.array(mask)) + part) == table(scores)


@given(heads_zoo.corpora(layers=2, heads=3), st.lists(st.sampled_from(DIRECTIONS), min_size=1, unique=True), OPTIONS)
def test_bits_are_packed_and_unpacked(stream, directions, options):
    scores = score_relations(stream, directions=directions, **options)
    cells = len(directions) * 6
    assert scores.bytes_per_word == math.ceil(cells / 8)
    assert scores.hits.shape == (len(scores.relation), scores.bytes_per_word)
    assert scores.hits.nbytes == scores.bytes_per_word * len(scores.relation)
    every = score_relations(stream, **options)
    for i, direction in enumerate(directions):
        assert np.array_equal(scores.correct()[i], every.correct()[DIRECTIONS.index(direction)])
    bits = np.unpackbits(scores.hits, axis=1, count=cells)
    assert np.array_equal(np.packbits(bits, axis=1), scores.hits)


@given(st.lists(heads_zoo.tokenized(styles=("random", "signed")), min_size=1, max_size=3), OPTIONS)
def test_windows_are_scored_sentence_by_sentence(stream, options):
    """A window's sentences see each other and are scored as if they did not."""
    words = [merge_subwords(a) for a in stream]
    n = sum(len(a.annotation) for a in stream)
    weights = np.random.default_rng(0).random((2, 2, n, n)) * 9
    start = 0
    for a in words:
        kept = [i for i, role in enumerate(a.queries.roles or [None] * a.shape[-1]) if role is None]
        size = len(a.annotation)
        weights[..., start : start + size, start : start + size] = a.weights[..., kept, :][..., kept]
        start += size
    window = DocumentWindow([a.annotation for a in stream], document="w")
    scores = score_relations([heads_zoo.mapped(weights, window)], **options)
    alone = score_relations(stream, **options)
    assert np.array_equal(scores.hits, alone.hits)
    assert dataclasses.replace(scores, source=alone.source) == alone


@given(heads_zoo.corpora(), OPTIONS)
def test_saved_scores_come_back(tmp_path_factory, stream, options):
    scores = score_relations(stream, **options)
    path: Path = tmp_path_factory.mktemp("scores") / "scores.json"
    scores.save(path)
    assert RelationScores.load(path) == scores


@given(heads_zoo.tokenized())
def test_the_input_stays_as_it_is(attention):
    before = attention.weights.copy()
    attention.weights.flags.writeable = False
    for direction in DIRECTIONS:
        predict_governors(attention, direction=direction)
    score_relations([attention], poss_mode="clark", candidates="no_punct")
    assert np.array_equal(before, attention.weights, equal_nan=True)
