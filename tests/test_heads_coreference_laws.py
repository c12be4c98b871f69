"""Coreference heads: laws that hold for every map, and agreement with the slow reference."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import coreference_zoo as zoo
from bertattn import DocumentWindow, Mention, merge_subwords
from bertattn.heads import CoreferenceScores, coreference_baselines, coreference_table, score_coreference, split
from bertattn.heads.antecedents import BASELINES, CANDIDATES
from bertattn.heads.coreference import DIRECTIONS
from reference import coreference as reference

HEADS = ("1-1", "1-2", "2-1", "2-2")
MODES = st.sampled_from(CANDIDATES)


def bits(scores: CoreferenceScores) -> np.ndarray:
    """bool `[mode, mention, direction, layer, head]`."""
    unpacked = np.unpackbits(scores.hits, axis=-1, count=int(np.prod(scores.shape)))
    return unpacked.reshape(*unpacked.shape[:2], *scores.shape).astype(bool)


def agrees(attention) -> None:
    """Each prediction of each head, mode and direction is right where the reference's is."""
    scores = score_coreference([attention])
    window = zoo.plain(attention.annotation)
    found, order = zoo.in_order(window)
    mentions = [window["mentions"][found[i]["mention"]] for i in order]
    b = scores.baselines
    assert b.start.tolist() == [m["first"] + window["start"] for m in mentions]
    assert b.end.tolist() == [m["last"] + 1 + window["start"] for m in mentions]
    assert b.head_word.tolist() == [m["head"] + window["start"] for m in mentions]
    assert zoo.kind_names(scores) == [found[i]["type"] for i in order]
    assert b.answers.tolist() == [len(found[i]["answers"]) for i in order]
    assert b.candidates.tolist() == [[len(found[i]["candidates"][mode]) for mode in CANDIDATES] for i in order]
    words = zoo.word_maps(attention)
    for mode in CANDIDATES:
        counting = scores.counting(candidates=mode)
        slow = [[reference.accuracy_of_map(window, words[layer, head]) for head in range(2)] for layer in range(2)]
        for direction in DIRECTIONS:
            for layer, number in np.ndindex(2, 2):
                expected = [slow[layer][number][mode, direction][i][1] for i in order]
                cases = counting.cases("all", (layer, number), direction=direction)
                assert [case["found"] for case in cases] == expected
                assert counting.correct()[DIRECTIONS.index(direction), layer, number] == sum(expected)


def turned(attention, change):
    return attention.replace(weights=change(attention.weights))


# ------------------------------------------------------------------------------------------------------ the reference


@given(zoo.maps())
def test_every_prediction_agrees_with_the_slow_reference(attention):
    agrees(attention)


@given(zoo.tokenized())
def test_every_prediction_of_tokens_agrees_with_the_slow_reference(attention):
    agrees(attention)


@given(zoo.maps(styles=("signed",)))
def test_of_a_signed_measure_the_largest_wins_and_nothing_where_all_is_zero(attention):
    zeroed = attention.weights.copy()
    zeroed[0] = np.minimum(zeroed[0], 0)  # 0 is the largest
    zeroed[1, :, ::2] = 0
    attention = attention.replace(weights=zeroed)
    window = zoo.plain(attention.annotation)
    found, order = zoo.in_order(window)
    scores = bits(score_coreference([attention]))
    for m, mode in enumerate(CANDIDATES):
        for place, i in enumerate(order):
            head, candidates = found[i]["head"], found[i]["candidates"][mode]
            for d, layer, number in np.ndindex(2, 2, 2):
                one = zeroed[layer, number] if d == 0 else zeroed[layer, number].T
                values = [one[head, word] for word in candidates]
                right = any(values) and candidates[values.index(max(values))] in found[i]["answers"]
                assert scores[m, place, d, layer, number] == right


@given(zoo.corpora())
def test_the_baselines_are_those_of_the_windows(stream):
    scores = score_coreference(stream)
    golds = [a.annotation for a in stream]
    if any(gold.mentions for gold in golds):
        assert scores.baselines == coreference_baselines(golds)
    found = Counter()
    for gold in golds:
        window = zoo.plain(gold)
        instances = reference.instances(window)
        for name, rule in (("nearest", reference.nearest), ("same_head", reference.same_head)):
            found[name] += sum(word in one["answers"] for one, word in zip(instances, rule(window), strict=True))
        found["all"] += len(instances)
    assert scores.count() == found["all"]
    for i, name in enumerate(BASELINES[:2]):
        assert scores.baselines.by_document()[0][:, i].sum() == found[name]


# ------------------------------------------------------------------------------------------------------------- oracles


@given(zoo.windows())
def test_an_oracle_finds_every_antecedent_that_a_head_can_find(window):
    weights, possible = zoo.oracle(window)
    by_row, by_column = (bits(score_coreference([zoo.mapped(w, window)])) for w in (weights, weights.T))
    assert by_row[:, possible, 0].all()
    assert by_column[:, possible, 1].all()
    assert score_coreference([zoo.mapped(weights, window)]).correct()[0].sum() >= len(possible)


@given(zoo.windows())
def test_an_oracle_of_mentions_with_head_words_of_their_own_is_always_right(window):
    heads = [m["head"] for m in zoo.plain(window)["mentions"]]
    kept = [m for m, head in zip(window.mentions, heads, strict=True) if heads.count(head) == 1]
    alone = dataclasses.replace(window, mentions=kept)
    scores = score_coreference([zoo.mapped(zoo.oracle(alone)[0], alone)])
    sizes = Counter(m.entity for m in kept)
    assert scores.count() == sum(size - 1 for size in sizes.values())
    assert scores.baselines.same_head_mentions == 0
    assert scores.correct()[0].tolist() == [[scores.count()]]
    for mode in CANDIDATES:
        if scores.count():
            assert scores.counting(candidates=mode).accuracy(direction="from_mention").tolist() == [[1.0]]


@given(zoo.windows())
def test_what_looks_away_from_all_antecedents_finds_nothing(window):
    found, order = zoo.in_order(zoo.plain(window))
    weights = np.ones((len(window), len(window)))
    for one in found:
        others = [other["answers"] for other in found if other["head"] == one["head"]]
        weights[one["head"], sorted(set().union(*others))] = 0
    hits = bits(score_coreference([zoo.mapped(weights, window)]))
    assert hits.shape[1] == len(order)
    assert not hits[:, :, 0].any()


# ------------------------------------------------------------------------------------------------------ laws of a map


@given(zoo.corpora())
def test_fewer_candidates_are_never_harder(stream):
    """Mention by mention and head by head. (Not of signed measures, where 0 wins among negatives and finds nothing
    among zeros.)
    """
    other, prev, m_prev, m_other = bits(score_coreference(stream))
    for fewer, more in ((prev, other), (m_prev, prev), (m_other, other), (m_prev, m_other)):
        assert (fewer >= more).all()


@given(zoo.maps(), st.integers(1, 4))
def test_singletons_change_no_count_and_no_choice_among_words(attention, count):
    window = attention.annotation
    singles = [Mention(i % len(window), i % len(window) + 1, f"alone {i}") for i in range(count)]
    before = score_coreference([attention])
    after = score_coreference(
        [attention.replace(annotation=dataclasses.replace(window, mentions=(*window.mentions, *singles)))]
    )
    assert after.count() == before.count()
    assert after.type_names() == before.type_names()
    assert np.array_equal(after.hits[:2], before.hits[:2])
    assert (bits(after)[2:] <= bits(before)[2:]).all()
    assert after.baselines.mentions == before.baselines.mentions + count
    for name in ("head_word", "start", "end", "type", "answers"):
        assert np.array_equal(getattr(before.baselines, name), getattr(after.baselines, name))


@given(zoo.maps(), st.permutations(range(8)))
def test_the_order_of_mentions_and_the_names_of_entities_do_not_matter(attention, order):
    window = attention.annotation
    listed = [window.mentions[i] for i in order if i < len(window.mentions)]
    a, b = (
        score_coreference([attention.replace(annotation=dataclasses.replace(window, mentions=mentions))])
        for mentions in (listed, [dataclasses.replace(m, entity={"a": "z"}.get(m.entity, m.entity)) for m in listed])
    )
    whole = score_coreference([attention])
    assert a == whole
    assert zoo.every_case(b) == zoo.every_case(whole)


@given(zoo.corpora(styles=("random", "ties", "zeros", "signed")))
def test_a_transposed_map_swaps_the_two_directions(stream):
    a = bits(score_coreference(stream))
    b = bits(score_coreference([turned(x, lambda w: np.swapaxes(w, -1, -2)) for x in stream]))
    assert np.array_equal(a, b[:, :, ::-1])


@given(zoo.corpora(), st.floats(-5, 5))
def test_what_a_word_gives_itself_and_the_scale_change_nothing(stream, constant):
    a = score_coreference(stream)
    b = score_coreference([turned(x, lambda w: 4 * w + constant * np.eye(w.shape[-1])) for x in stream])
    assert np.array_equal(a.hits, b.hits)


@given(zoo.corpora(layers=1, heads=4), st.permutations(range(4)))
def test_renumbered_heads_renumber_the_scores(stream, order):
    a = score_coreference(stream)
    b = score_coreference([turned(x, lambda w: w[:, order]) for x in stream])
    assert np.array_equal(bits(a)[..., order], bits(b))
    assert np.array_equal(a.correct()[..., order], b.correct())
    assert a.baselines == b.baselines


@given(zoo.corpora(layers=2, heads=3), st.lists(st.sampled_from(DIRECTIONS), min_size=1, unique=True))
def test_directions_asked_for_are_those_of_all(stream, directions):
    every, asked = score_coreference(stream), score_coreference(stream, directions=directions)
    assert asked.directions == tuple(directions)
    assert asked.hits.shape[-1] == -(-len(directions) * 6 // 8)
    assert np.array_equal(bits(asked), bits(every)[:, :, [DIRECTIONS.index(d) for d in directions]])
    packed = np.packbits(bits(asked).reshape(4, every.count(), len(directions) * 6), axis=-1)
    assert np.array_equal(packed, asked.hits)  # the spare bits are 0


@given(st.lists(zoo.tokenized(), min_size=1, max_size=3).map(zoo.apart))
def test_merging_first_changes_nothing(stream):
    merged = [merge_subwords(a) for a in stream]
    assert np.array_equal(score_coreference(stream).hits, score_coreference(merged).hits)


@given(zoo.corpora(), st.sampled_from(("float64", "float32", "float16", "bfloat16")))
def test_torch_in_any_precision_gives_what_numpy_gives(stream, dtype):
    tensors = [torch.from_numpy(a.numpy().copy()).to(getattr(torch, dtype)) for a in stream]
    with_torch = [turned(a, lambda _, t=t: t) for a, t in zip(stream, tensors, strict=True)]
    with_numpy = [turned(a, lambda _, t=t: t.double().numpy()) for a, t in zip(stream, tensors, strict=True)]
    seen = score_coreference(with_torch)
    assert np.array_equal(seen.hits, score_coreference(with_numpy).hits)
    if dtype == "float16":
        half = [turned(a, lambda _, t=t: t.numpy()) for a, t in zip(stream, tensors, strict=True)]
        assert half[0].numpy().dtype == np.float16
        assert np.array_equal(seen.hits, score_coreference(half).hits)


@given(st.one_of(zoo.maps(styles=(*zoo.STYLES, "signed")), zoo.tokenized()))
def test_the_input_stays_as_it_is(attention):
    before, gold = attention.weights.copy(), attention.annotation
    attention.weights.flags.writeable = False
    first, second = score_coreference([attention]), score_coreference([attention])
    assert first == second
    assert np.array_equal(before, attention.weights, equal_nan=True)
    assert attention.annotation is gold
    assert not first.hits.flags.writeable


# --------------------------------------------------------------------------------------------------------- corpora add


@given(zoo.corpora(), st.data())
def test_shards_add_to_the_whole(stream, data):
    whole = score_coreference(stream)
    cuts = sorted(data.draw(st.lists(st.integers(1, len(stream)), max_size=3, unique=True)))
    edges = [0, *(cut for cut in cuts if cut < len(stream)), len(stream)]
    parts = [score_coreference(stream[a:b]) for a, b in pairwise(edges)]
    assert sum(parts) == whole
    joined = parts[-1]
    for part in reversed(parts[:-1]):  # other brackets
        joined = part + joined
    assert joined == whole
    for mode in CANDIDATES:
        for head in HEADS:
            for direction in DIRECTIONS:
                seen = [x.counting(candidates=mode).cases("all", head, direction=direction) for x in (joined, whole)]
                assert seen[0] == seen[1]


@given(zoo.corpora(), st.data())
def test_the_order_of_the_windows_changes_no_mention(stream, data):
    whole = score_coreference(stream)
    order = data.draw(st.permutations(range(len(stream))))
    shuffled = sum(score_coreference([stream[i]]) for i in order)
    assert zoo.every_case(shuffled) == zoo.every_case(whole)
    names = [name for name in whole.documents if name is not None]
    assert sorted(name for name in shuffled.documents if name is not None) == sorted(names)
    assert len(set(names)) == len(names)
    assert whole.documents.count(None) == sum(a.annotation.document is None for a in stream)
    assert np.array_equal(shuffled.baselines.tallies.sum(0), whole.baselines.tallies.sum(0))
    for kind in ("all", *whole.type_names()):
        assert np.array_equal(shuffled.correct(kind), whole.correct(kind))


@given(zoo.corpora(), MODES)
def test_documents_and_types_sum_to_the_corpus(stream, mode):
    scores = score_coreference(stream, candidates=mode)
    kinds = scores.type_names()
    assert sum(scores.count(kind) for kind in kinds) == scores.count()
    assert np.array_equal(sum((scores.correct(kind) for kind in kinds), np.zeros(scores.shape)), scores.correct())
    for kind in ("all", *kinds):
        found, counts = scores.by_document(kind)
        assert found.shape == (len(scores.documents), *scores.shape)
        assert counts.sum() == scores.count(kind)
        assert np.array_equal(found.sum(0), scores.correct(kind))
        assert (found <= counts[:, None, None, None]).all()
        if scores.count(kind):
            assert np.allclose(scores.accuracy(kind), scores.correct(kind) / scores.count(kind))
        for number in range(len(scores.documents)):
            alone = scores.select([number])
            if kind in ("all", *alone.type_names()):
                assert np.array_equal(found[number], alone.correct(kind)[:])
                assert counts[number] == alone.count(kind)
            else:
                assert not counts[number]
    assert scores.counting(candidates="words_other") == score_coreference(stream)


@given(zoo.corpora(), st.data())
def test_selected_documents_are_scored_as_if_alone(stream, data):
    scores = score_coreference(stream)
    n = len(scores.documents)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    part = scores.select(mask)
    assert part == scores.select(np.flatnonzero(mask)) == scores.select(np.flatnonzero(mask)[::-1].tolist())
    names: list[object] = []  # of each window the number of its document
    for a in stream:
        name = a.annotation.document
        names.append(names.index(name) if name is not None and name in names else name)
    number, numbers = -1, []
    for i, name in enumerate(names):
        if isinstance(name, int):
            numbers.append(numbers[name])
        else:
            number += 1
            numbers.append(number)
        assert scores.documents[numbers[i]] == stream[i].annotation.document
    kept = [a for a, at in zip(stream, numbers, strict=True) if mask[at]]
    assert part == score_coreference(kept) if kept else part.count() == 0
    assert zoo.every_case(scores.select(~mask) + part) == zoo.every_case(scores)


@given(zoo.corpora(), st.floats(0.05, 0.95), st.integers(0, 3))
def test_a_split_parts_the_documents(stream, share, seed):
    scores = score_coreference(stream)
    assume(len(scores.documents) > 1)
    first, second = split(scores, share=share, seed=seed)
    assert isinstance(first, CoreferenceScores)
    assert zoo.every_case(first + second) == zoo.every_case(scores)
    assert min(len(first.documents), len(second.documents)) >= 1
    assert not {*first.documents} & {*second.documents} - {None}
    assert split(scores, share=share, seed=seed) == (first, second)


@given(zoo.corpora(), MODES)
def test_saved_scores_come_back(tmp_path_factory, stream, mode):
    scores = dataclasses.replace(score_coreference(stream, candidates=mode), skipped=((3, "why"),))
    path: Path = tmp_path_factory.mktemp("scores") / "scores.json"
    scores.save(path)
    back = CoreferenceScores.load(path)
    assert back == scores
    assert (back.skipped, back.candidates, back.documents) == (scores.skipped, mode, scores.documents)
    assert zoo.every_case(back) == zoo.every_case(scores)
    assert repr(back.to_records()) == repr(scores.to_records())  # NaN is not NaN


@given(zoo.corpora(), MODES)
def test_the_table_says_what_the_scores_and_the_baselines_say(stream, mode):
    scores = score_coreference(stream, candidates=mode)
    assume(scores.count())
    table = coreference_table(scores, resamples=20)
    best = scores.correct().max()
    assert table.row("head").accuracy == best / scores.count()
    first = np.unravel_index(scores.correct().argmax(), scores.shape)
    assert (table.head, table.direction) == (f"{first[1] + 1}-{first[2] + 1}", DIRECTIONS[first[0]])
    for kind in ("all", *scores.type_names()):
        assert table.row("chance", kind).accuracy == scores.baselines.chance(kind, candidates=mode)
        head = scores.accuracy(kind)[first]
        assert table.row("head", kind).accuracy == head
        for name in BASELINES:
            accuracy = scores.baselines.accuracy(name, kind)
            assert np.isclose(table.row(name, kind).accuracy, accuracy)
            assert np.isclose(table.against(name, kind).difference, head - accuracy)


def test_a_window_without_mentions_and_one_without_antecedents():
    """Drawn by Hypothesis too, but what they give is worth saying."""
    sentence = zoo.Sentence(["Ann", "left"])
    for mentions in ([], [Mention(0, 1, "a")]):
        window = DocumentWindow([sentence], mentions)
        scores = score_coreference([zoo.mapped(np.ones((2, 2)), window)])
        assert (scores.count(), scores.hits.shape, scores.type_names()) == (0, (4, 0, 1), ())
        assert np.isnan(scores.accuracy()).all()
        assert str(scores) == repr(scores)
        assert scores + scores == score_coreference([zoo.mapped(np.ones((2, 2)), window)] * 2)
