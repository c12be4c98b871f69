"""Labels of heads: thresholds, their order, linguistic heads on top, and how sure each is."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertattn import AttentionTensor, Axis, DocumentWindow, Mention, Sentence, patterns, summarize
from bertattn.clustering import BROAD, HeadBehaviors, label_behaviors
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads import BestHead, BestHeads, coreference_table, score_coreference, score_relations
from bertattn.statistics import Moments, Summary

NAMES = ("previous", "next", "cls", "sep", "bos", "eos", "punctuation", "entropy", "uniform_entropy")


def surface(heads: int = 1, spread: float = 0.0, **values: Any) -> Summary:
    """A summary of two sequences, whose values lie `spread` below and above those given; 0 for the rest."""
    rest = {"uniform_entropy": math.log(128)}
    given = {name: np.broadcast_to(np.asarray(values.get(name, rest.get(name, 0.0)), float), heads) for name in NAMES}
    sequences = [
        np.stack([given[name] + shift * spread * (name != "uniform_entropy") for name in NAMES])[:, None]
        for shift in (-1, 1)
    ]
    table = Moments.of(sequences[0]) + Moments.of(sequences[1])
    return Summary((0,), tuple(range(heads)), NAMES, table, sequences=2)


def row(relation: str, head: str, accuracy: float, baseline: float, **options: Any) -> BestHead:
    values: dict[str, Any] = {
        "relation": relation, "count": 200, "head": head, "direction": "from_dependent", "accuracy": accuracy,
        "low": accuracy - 0.098, "high": accuracy + 0.098, "offset": 1, "baseline": baseline,
        "picked_on": "other folds", "stability": 1.0, "optimism": 0.0, "sentences": 50,
    }  # fmt: skip
    return BestHead(**(values | options))


@pytest.mark.parametrize(
    ("statistic", "threshold", "label"),
    [
        ("next", 0.5, "next"),
        ("previous", 0.5, "previous"),
        ("cls", 0.6, "cls"),
        ("sep", 0.6, "sep"),
        ("bos", 0.6, "bos"),
        ("eos", 0.6, "eos"),
        ("punctuation", 0.6, "punctuation"),
        ("entropy", 3.8, "broad"),
    ],
)
def test_a_label_needs_more_than_the_threshold(statistic: str, threshold: float, label: str) -> None:
    values = np.array([threshold - 1e-6, threshold + 1e-6])
    behaviors = label_behaviors(surface(2, **{statistic: values}))
    assert behaviors.labels == (None, label)
    assert [name for name, flag in behaviors.flags.items() if flag.any()] == [label]
    assert behaviors.counts() == {name: int(name == label) for name in behaviors.flags} | {None: 1}


def test_later_labels_override_earlier_ones_in_the_order_of_the_released_code() -> None:
    order = ["next", "previous", "entropy", "cls", "sep", "bos", "eos", "punctuation"]
    # Head i has every behaviour up to the i-th.
    values = {name: np.where(np.arange(8) >= i, 4.0 if name == "entropy" else 1.0, 0) for i, name in enumerate(order)}
    behaviors = label_behaviors(surface(8, **values), linguistic={"1-8": "det"})
    assert behaviors.labels == ("next", "previous", "broad", "cls", "sep", "bos", "eos", "det")
    assert [int(flag.sum()) for flag in behaviors.flags.values()] == [8, 7, 6, 5, 4, 3, 2, 1, 1]


def test_broad_is_relative_to_uniform_attention_unless_asked_in_nats() -> None:
    short = surface(entropy=3.0, uniform_entropy=math.log(32))
    assert label_behaviors(short).labels == ("broad",)
    assert label_behaviors(short).values["broad"][0] == pytest.approx(3.0 / math.log(32))
    assert label_behaviors(short, entropy=3.8).labels == (None,)
    assert label_behaviors(short, broad=0.9).labels == (None,)
    assert label_behaviors(surface(entropy=3.81), entropy=3.8).labels == ("broad",)
    assert pytest.approx(0.7832, abs=1e-4) == BROAD


def test_undefined_statistics_give_no_flag_and_are_counted() -> None:
    behaviors = label_behaviors(surface(3, sep=[0.9, np.nan, 0.1], cls=np.nan, entropy=[np.nan, 5, 5]))
    assert behaviors.labels == ("sep", "broad", "broad")
    assert {name: count for name, count in behaviors.undefined.items() if count} == {"sep": 1, "cls": 3, "broad": 1}
    assert behaviors.values["sep"][0] == 0.9
    assert np.isnan(behaviors.values["sep"][1])


def test_uniform_entropy_of_zero_is_undefined() -> None:
    assert label_behaviors(surface(entropy=0.0, uniform_entropy=0.0)).undefined["broad"] == 1


def test_margin_is_in_standard_errors() -> None:
    # Two values at -/+ 0.1: standard deviation 0.1 sqrt 2, standard error 0.1.
    behaviors = label_behaviors(surface(spread=0.1, sep=0.85, next=0.3))
    assert behaviors.margins["sep"][0] == pytest.approx(2.5)
    assert behaviors.margins["next"][0] == pytest.approx(-2.0)
    record = behaviors.to_records()[0]
    assert (record["layer"], record["head"], record["name"], record["label"]) == (1, 1, "1-1", "sep")
    assert (record["value"], record["margin"]) == (pytest.approx(0.85), pytest.approx(2.5))
    assert (record["sep"], record["next"], record["next_margin"]) == (True, False, pytest.approx(-2.0))


def test_margin_of_broad_is_that_of_the_entropy_where_lengths_are_equal() -> None:
    behaviors = label_behaviors(surface(spread=0.1, entropy=4.0), broad=0.8)
    share = 4.0 / math.log(128)
    assert behaviors.values["broad"][0] == pytest.approx(share)
    assert behaviors.margins["broad"][0] == pytest.approx((share - 0.8) / (0.1 / math.log(128)))


def test_margin_of_broad_is_not_known_where_lengths_differ(tmp_path: Path) -> None:
    low, high = (np.full((9, 1, 1), value) for value in (3.6, 4.4))
    summary = Summary((0,), (0,), NAMES, Moments.of(low) + Moments.of(high), sequences=2)
    behaviors = label_behaviors(summary, broad=0.8)
    assert behaviors.values["broad"][0] == pytest.approx(1.0)
    assert behaviors.flags["broad"][0]
    assert math.isnan(behaviors.margins["broad"][0])
    assert behaviors.margins["sep"][0] == pytest.approx((4 - 0.6) / 0.4)
    assert label_behaviors(summary, entropy=3.8).margins["broad"][0] == pytest.approx(0.2 / 0.4)
    behaviors.save(tmp_path / "b.json")
    assert HeadBehaviors.load(tmp_path / "b.json") == behaviors


def test_equal_sequences_are_infinitely_sure(tmp_path: Path) -> None:
    behaviors = label_behaviors(surface(sep=1.0))
    assert behaviors.margins["sep"][0] == math.inf
    behaviors.save(tmp_path / "b.json")
    assert HeadBehaviors.load(tmp_path / "b.json") == behaviors


def test_a_relation_must_beat_the_best_offset_by_the_gain() -> None:
    best = BestHeads((row("all", "1-1", 0.9, 0.1), row("obj", "1-2", 0.7, 0.55), row("det", "1-3", 0.7, 0.65)))
    behaviors = label_behaviors(surface(3), relations=best)
    assert behaviors.labels == (None, "obj", None)
    assert "det" not in behaviors.flags
    assert "all" not in behaviors.flags
    assert behaviors.thresholds["obj"] == pytest.approx(0.65)
    assert behaviors.margins["obj"][1] == pytest.approx(
        1.0, abs=0.01
    )  # an interval of -/+ 0.098 is 1.96 errors of 0.05
    assert np.isnan(behaviors.values["obj"][[0, 2]]).all()
    assert behaviors.picked_on == {"obj": "other folds"}
    assert label_behaviors(surface(3), relations=best, gain=0.04).labels == (None, "obj", "det")


def test_a_relation_may_have_to_beat_it_by_standard_errors_too() -> None:
    best = BestHeads((row("all", "1-1", 0.9, 0.1), row("obj", "1-2", 0.7, 0.55), row("det", "1-3", 0.9, 0.55)))
    assert label_behaviors(surface(3), relations=best, min_margin=0.9).labels == (None, "obj", "det")
    assert label_behaviors(surface(3), relations=best, min_margin=2).labels == (None, None, "det")
    alike = dataclasses.replace(row("det", "1-3", 1.0, 0.55), low=1.0, high=1.0, count=20)  # no bootstrap sees a miss
    behaviors = label_behaviors(surface(3), relations=BestHeads((alike,)), min_margin=2)
    assert behaviors.labels == (None, None, "det")
    assert behaviors.margins["det"][2] == pytest.approx(0.35 / (22 / 24 * 2 / 24 / 24) ** 0.5)


def test_a_relation_of_one_sentence_has_no_interval_but_a_label() -> None:
    alone = row("obj", "1-2", 1.0, 0.55, low=math.nan, high=math.nan, count=43, sentences=1)
    behaviors = label_behaviors(surface(2), relations=BestHeads((alone,)))
    assert behaviors.labels == (None, "obj")
    margin = 0.35 / (45 / 47 * 2 / 47 / 47) ** 0.5
    assert behaviors.margins["obj"][1] == pytest.approx(margin)
    for needed, label in ((margin - 0.01, "obj"), (margin + 0.01, None)):
        assert label_behaviors(surface(2), relations=BestHeads((alone,)), min_margin=needed).labels == (None, label)


@pytest.mark.parametrize("documents", [1, 6])
def test_coreference_of_one_document_or_of_documents_that_agree_has_a_margin(documents: int) -> None:
    table = coreference_table(score_coreference(windows(documents)))
    found = table.row("head")
    assert (found.accuracy, found.high > found.low) == (1.0, False)
    assert math.isnan(found.low) == (documents == 1)
    behaviors = label_behaviors(surface(), coreference=table)
    assert behaviors.labels == ("coreference",)
    share = (found.count + 2) / (found.count + 4)
    assert behaviors.margins["coreference"][0] == pytest.approx(0.9 / (share * (1 - share) / (found.count + 4)) ** 0.5)


def test_of_several_relations_of_a_head_the_clearest_is_its_label() -> None:
    best = BestHeads((row("obj", "1-1", 0.9, 0.2), row("det", "1-1", 0.95, 0.5)))
    behaviors = label_behaviors(surface(sep=0.9), relations=best)
    assert behaviors.labels == ("obj",)
    assert [name for name, flag in behaviors.flags.items() if flag[0]] == ["sep", "det", "obj"]
    assert label_behaviors(surface(), relations=best, linguistic={(0, 0): "det"}).labels == ("det",)


def treebank(count: int, *, documents: bool = True) -> list[AttentionTensor]:
    """Head 1-2 finds all governors, head 1-1 none of obj; no fixed offset finds more than half of obj, +1 all nsubj."""
    shapes = (([2, 0, 2], ["nsubj", "root", "obj"]), ([3, 3, 0], ["obj", "nsubj", "root"]))
    maps = []
    for i in range(count):
        governors, relations = shapes[i % 2]
        tree = Sentence(
            ["a", "b", "c"], governors=governors, relations=relations, document=f"{i}" if documents else None
        )
        weights = np.stack([np.full((3, 3), 1 / 3), np.eye(3)[np.maximum(governors, 1) - 1]])
        maps.append(AttentionTensor(weights[None], Axis(tree.words, word_ids=[0, 1, 2]), annotation=tree))
    return maps


@pytest.mark.parametrize(
    ("count", "documents", "picked_on"),
    [(6, True, "other folds"), (6, False, "other folds"), (4, True, "the same words")],
)
def test_relation_scores_are_held_out_where_there_are_enough(count: int, documents: bool, picked_on: str) -> None:
    scores = score_relations(treebank(count, documents=documents))
    behaviors = label_behaviors(surface(2), relations=scores, min_count=1)
    assert behaviors.labels == (None, "obj")
    assert behaviors.picked_on == {"obj": picked_on}
    assert behaviors.values["obj"][1] == 1.0
    assert label_behaviors(surface(2), relations=scores).labels == (None, None)  # fewer than 100 words


def test_a_relation_of_one_fold_alone_is_judged_by_the_words_it_was_picked_on() -> None:
    """Words of one document, at two offsets: no fixed one finds all, and no other fold has any to pick by."""
    rare = Sentence(["a", "b", "c"], governors=[2, 0, 2], relations=["expl", "root", "expl"], document="rare")
    weights = np.stack([np.full((3, 3), 1 / 3), np.eye(3)[[1, 0, 1]]])[None]
    document = [AttentionTensor(weights, Axis(rare.words, word_ids=[0, 1, 2]), annotation=rare)] * 2
    scores = score_relations([*treebank(6), *document])
    behaviors = label_behaviors(surface(2), relations=scores, min_count=1)
    assert behaviors.picked_on == {"obj": "other folds", "expl": "the same words"}
    assert behaviors.values["expl"][1] == 1.0


def windows(count: int, *, near: bool = False) -> list[AttentionTensor]:
    """The head finds Ann from "she"; the nearest mention is Bob, or Ann where `near`."""
    maps = []
    for i in range(count):
        names = ("bob", "ann", "ann") if near else ("ann", "bob", "ann")
        mentions = [Mention(0, 1, names[0]), Mention(2, 3, names[1]), Mention(3, 4, "ann")]
        window = DocumentWindow([Sentence(["X", "met", "Y", "she"])], mentions, document=f"{i}")
        target = 2 if near else 0
        weights = np.eye(4)[[1, 0, 1, target]][None, None]
        maps.append(AttentionTensor(weights, Axis(window.words, word_ids=range(4)), annotation=window))
    return maps


def test_coreference_must_beat_the_nearest_mention() -> None:
    scores = score_coreference(windows(6))
    held_out = label_behaviors(surface(sep=0.9), coreference=scores)
    assert held_out.labels == ("coreference",)
    assert held_out.picked_on == {"coreference": "other folds"}
    assert (held_out.values["coreference"][0], held_out.thresholds["coreference"]) == (1.0, 0.1)
    table = label_behaviors(surface(), coreference=coreference_table(scores))
    assert table.picked_on == {"coreference": "the same documents"}
    few = label_behaviors(surface(), coreference=score_coreference(windows(4)))
    assert few.picked_on == {"coreference": "the same documents"}
    assert label_behaviors(surface(), coreference=score_coreference(windows(6, near=True))).labels == (None,)


def test_labels_by_hand_lie_on_top_and_have_no_number() -> None:
    behaviors = label_behaviors(
        surface(3, sep=0.9), coreference=score_coreference(windows(6)), linguistic={"1-1": "dobj", (0, 2): "dobj"}
    )
    assert behaviors.labels == ("dobj", "sep", "dobj")
    assert np.isnan(behaviors.values["dobj"]).all()
    assert math.isnan(behaviors.thresholds["dobj"])
    assert behaviors.picked_on["dobj"] == "by hand"
    assert math.isnan(behaviors.to_records()[0]["value"])


def test_heads_are_named_by_the_numbers_of_the_summary() -> None:
    table = Moments.of(np.zeros((len(NAMES), 2, 2)))
    summary = Summary((4, 7), (0, 9), NAMES, table, sequences=1)
    behaviors = label_behaviors(summary, linguistic={"8-10": "dobj"})
    assert behaviors.names == ("5-1", "5-10", "8-1", "8-10")
    assert behaviors.layers == (4, 4, 7, 7)
    assert behaviors.labels == (None, None, None, "dobj")
    rows = [(record["layer"], record["head"]) for record in behaviors.to_records()]
    assert rows == [(5, 1), (5, 10), (8, 1), (8, 10)]


def test_of_real_surface_patterns(tmp_path: Path) -> None:
    weights = np.stack([np.eye(4)[[1, 2, 3, 3]], np.full((4, 4), 0.25), np.eye(4)[[3, 3, 3, 3]]])
    axis = Axis(["[CLS]", "a", ".", "[SEP]"], roles=["cls", None, None, "sep"])
    behaviors = label_behaviors(summarize([AttentionTensor(weights[None], axis)] * 2, patterns.surface_patterns))
    assert behaviors.labels == ("next", "broad", "sep")
    assert behaviors.undefined["bos"] == behaviors.undefined["eos"] == 3
    assert repr(behaviors) == "HeadBehaviors(3 heads: next 1, broad 1, sep 1, 0 without a label)"
    behaviors.save(tmp_path / "b.json")
    assert HeadBehaviors.load(tmp_path / "b.json") == behaviors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offset": 50}, "offset is a fraction from 0 to 1, but is 50"),
        ({"broad": 3.8}, "broad is a fraction from 0 to 1, but is 3.8"),
        ({"gain": -0.1}, "gain is a fraction"),
        ({"special": "x"}, "special is a fraction from 0 to 1, but is 'x'"),
        ({"punctuation": np.array([0.5, 0.6])}, "punctuation is a fraction from 0 to 1, but is array"),
        ({"min_count": "x"}, "min_count must be a whole number from 0, but is 'x'"),
        ({"linguistic": ["8-10"]}, r'linguistic must be a dict .* \{"8-10": "dobj"\}, but is \[\'8-10\'\]'),
        ({"linguistic": "x"}, "linguistic must be a dict .* but is 'x'"),
        ({"entropy": math.inf}, "entropy is a threshold in nats, such as 3.8, but is inf"),
        ({"entropy": -1}, "entropy is a threshold in nats, such as 3.8, but is -1"),
        (
            {"relations": "obj"},
            "relations must be what heads.score_relations, best_heads or cross_fit gives, but is str",
        ),
        ({"coreference": 3}, "coreference must be what heads.score_coreference, .* gives, but is int"),
        ({"linguistic": {"1-1": "sep"}}, "a linguistic label is a text other than next, .* but is 'sep'"),
        ({"linguistic": {"1-1": ""}}, "but is ''; give it another name"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        label_behaviors(surface(), **options)


def test_numbers_may_be_numpys(tmp_path: Path) -> None:
    behaviors = label_behaviors(surface(sep=0.7), special=np.float32(0.5), entropy=np.int64(3), min_count=np.int64(1))
    assert behaviors.labels == ("sep",)
    behaviors.save(tmp_path / "b.json")
    assert HeadBehaviors.load(tmp_path / "b.json") == behaviors


def test_a_head_that_the_summary_lacks() -> None:
    message = "head 2-1 is not among the heads of the summary; give scores and names of the same heads"
    with pytest.raises(SelectionError, match=message):
        label_behaviors(surface(), linguistic={"2-1": "obj"})
    with pytest.raises(SelectionError, match=message):
        label_behaviors(surface(), relations=BestHeads((row("obj", "2-1", 0.9, 0.1),)))


def test_a_summary_of_other_statistics_is_refused_with_the_remedy() -> None:
    remedy = r"make it with summarize\(stream, patterns.surface_patterns\)"
    with pytest.raises(ValidationError, match=f"needs a Summary, but got list; {remedy}"):
        label_behaviors([])
    a = AttentionTensor(np.full((1, 1, 2, 2), 0.5), ["a", "b"])
    with pytest.raises(ValidationError, match=f"lacks next, previous, .*uniform_entropy; {remedy}"):
        label_behaviors(summarize([a], patterns.entropy))


def test_the_columns_of_a_result_must_fit() -> None:
    good: dict[str, Any] = {
        "names": ["1-1"], "layers": [0], "flags": {"x": [True]}, "values": {"x": [1.0]}, "margins": {"x": [1.0]},
        "thresholds": {"x": 0.5},
    }  # fmt: skip
    assert HeadBehaviors(**good).labels == ("x",)
    with pytest.raises(ValidationError, match=r"flags\['x'\] has shape \(2,\), but there are 1 heads"):
        HeadBehaviors(**good | {"flags": {"x": [True, False]}})
    with pytest.raises(ValidationError, match="must have the behaviours of flags"):
        HeadBehaviors(**good | {"margins": {}})
    with pytest.raises(ValidationError, match="there are 1 names but 2 layers"):
        HeadBehaviors(**good | {"layers": [0, 1]})
