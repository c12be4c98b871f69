"""Each row of the table of settings is run against the published formula in plain loops."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_zoo
import tokenizer_zoo
from bertattn import AttentionTensor, Axis, Extractor, Sentence, alignment, patterns, segments, statistics
from bertattn.errors import TooLongError
from bertattn.heads import RelationScores, baselines, dependency, predict_governors, score_relations, selection

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / "docs" / "paper-and-code.md").read_text(encoding="utf-8")


def test_the_table_of_settings_names_real_options() -> None:
    """Every `function(option=` in the table exists, so a renamed option shows."""
    homes = (alignment, patterns, segments, statistics, baselines, dependency, selection, Extractor)
    found = re.findall(r"`(\w+)\((\w+)=", TABLE)
    assert len(found) >= 8
    for function, option in found:
        home = next(home for home in homes if hasattr(home, function))
        assert option in inspect.signature(getattr(home, function)).parameters


CHECKS: dict[str, Callable[[], None]] = {}


def row(what: str) -> Callable[[Callable[[], None]], None]:
    def keep(check: Callable[[], None]) -> None:
        CHECKS[what] = check

    return keep


WORDS = [[0], [1, 2], [3], [4]]
PAIR = AttentionTensor(
    np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=(2, 3, 5)),
    Axis(
        ["[CLS]", "play", "##ing", ".", "[SEP]"],
        roles=["cls", None, None, None, "sep"],
        word_ids=[None, 0, 0, 1, None],
        words=["playing", "."],
    ),
)
W: Any = PAIR.weights


@row("a split word's row of attention")
def _() -> None:
    for mode in ("mean", "first"):
        merged = alignment.merge_subwords(PAIR, queries=mode)  # type: ignore[arg-type]
        for u, queries in enumerate(WORDS):
            rows = queries if mode == "mean" else queries[:1]
            for w, keys in enumerate(WORDS):
                expected = sum(W[..., i, j] for i in rows for j in keys) / len(rows)
                np.testing.assert_allclose(merged.weights[..., u, w], expected, rtol=1e-12)


def made(*documents: tuple[str, ...], **options: Any) -> list[tuple[int, ...]]:
    return [s.ids for s in segments.paragraph_segments(documents, tokenizer_zoo.wordpiece(), max_tokens=9, **options)]


@row("token types of a pair")
def _() -> None:
    for option, types in (("pair", (0, 0, 0, 1, 1)), ("zeros", (0,) * 5)):
        (segment,) = segments.paragraph_segments([("a", "b")], tokenizer_zoo.wordpiece(), segment_ids=option)  # type: ignore[call-overload,arg-type]
        assert segment.token_types == types


@row("a chunk of a single line")
def _() -> None:
    document = (" ".join("abcdefgh"), "x", "y")  # the first line fills a chunk alone
    assert len(made(document)) == 1
    assert made(document, one_line_chunk="end_document") == []


@row("the last document of a file without a blank line after it")
def _() -> None:
    assert made(("a", "b"), ("c", "d"), last_document="lose") == made(("a", "b"))


@row("which segments")
def _() -> None:
    documents = [(f"{a} {b}", f"{b} {a}") for a in "abcdefgh" for b in "ijklmnop"]
    everything = made(*documents)
    assert made(*documents[:10]) == everything[:10]
    drawn = made(*documents, count=10)
    assert sorted(drawn) != sorted(everything[:10])
    assert set(drawn) <= set(everything)


@row("inputs longer than 128 tokens")
def _() -> None:
    model, tokenizer = model_zoo.build("bert")
    long = "a " * (model.config.max_position_embeddings + 1)
    with pytest.raises(TooLongError):
        list(Extractor(model, tokenizer).extract(["a", long]))
    stream = Extractor(model, tokenizer).extract(["a", long, "b"], on_too_long="skip")
    assert len(list(stream)) == 2
    assert [s.index for s in stream.skipped] == [1]


@row("denominator of attention to an offset")
def _() -> None:
    total = sum(W[..., i, i + 2] for i in range(3))
    np.testing.assert_allclose(patterns.attention_to_offset(PAIR, 2), total / 5, rtol=1e-12)
    np.testing.assert_allclose(patterns.attention_to_offset(PAIR, 2, denominator="available"), total / 3, rtol=1e-12)


@row("denominators of [SEP] to [SEP], other to [SEP]")
def _() -> None:
    axis = Axis(["[CLS]", "a", "[SEP]", "b", "[SEP]"], roles=["cls", None, "sep", None, "sep"])
    found = patterns.surface_patterns(AttentionTensor(W, axis))
    sep, other = (2, 4), (0, 1, 3)
    np.testing.assert_allclose(found["sep_to_sep"], sum(W[..., i, j] for i in sep for j in sep) / 2, rtol=1e-12)
    np.testing.assert_allclose(found["other_to_sep"], sum(W[..., i, j] for i in other for j in sep) / 3, rtol=1e-12)


@row("punctuation")
def _() -> None:
    axis = ["a", ".", "...", ",", "?"]
    found = patterns.attention_to_punctuation(AttentionTensor(W, axis))
    np.testing.assert_allclose(found, sum(W[..., i, j] for i in range(5) for j in (1, 3)) / 5, rtol=1e-12)


@row("entropy")
def _() -> None:
    for smoothing in (0.0, 1e-4):
        p = (1 - smoothing) * W + smoothing / 5
        expected = -sum(p[..., i, j] * np.log(p[..., i, j]) for i in range(5) for j in range(5)) / 5
        np.testing.assert_allclose(patterns.entropy(PAIR, smoothing=smoothing), expected, rtol=1e-12)


@row("average over the corpus")
def _() -> None:
    short = AttentionTensor(np.eye(2)[None, None].repeat(2, 0).repeat(3, 1), ["a", "b"])
    means = [patterns.attention_to_offset(x, 0) for x in (PAIR, short)]
    expected = {"sequence": (means[0] + means[1]) / 2, "query": (5 * means[0] + 2 * means[1]) / 7}
    for weighting, value in expected.items():
        summary = statistics.summarize(
            [PAIR, short],
            {"self": functools.partial(patterns.attention_to_offset, offset=0)},
            weighting=weighting,  # type: ignore[arg-type]
        )
        np.testing.assert_allclose(summary.mean("self"), value, rtol=1e-12)


# "swims", the root, governs all others but "the"; the last word is punctuation.
TREE = Sentence(
    ["the", "fish", "swims", "today", "."],
    governors=[2, 3, 0, 3, 3],
    relations=["det", "nsubj", "root", "obl", "punct"],
)


def right(offset: int, last: int = 5) -> int:
    """How many words of the tree have the word at `offset` as their governor, 0 being the root."""
    return sum(min(max(i + offset, 0), last) == governor for i, governor in enumerate(TREE.governors or (), start=1))


@row("offsets tried as a baseline (Table 1)")
def _() -> None:
    assert baselines.offset_baselines([TREE]).offsets == (-3, -2, -1, 1, 2, 3)
    released = baselines.offset_baselines([TREE], offsets=baselines.RELEASED_OFFSETS)
    assert released.offsets == tuple(range(-3, 3))
    for offset in range(-3, 3):
        assert released.accuracy(offset=offset) == right(offset) / 5


@row("a baseline's governor beyond the sentence")
def _() -> None:
    found = {c: baselines.offset_baselines([TREE], clip=c) for c in ("root", "words", "none")}  # type: ignore[arg-type]
    assert found["root"].accuracy("root", offset=-3) == 1  # 3 - 3 is 0, the root
    assert found["words"].accuracy("root", offset=-3) == found["none"].accuracy("root", offset=-2) == 0


@row("roots and punctuation among the words of the baseline")
def _() -> None:
    assert baselines.offset_baselines([TREE]).count() == 5
    assert baselines.offset_baselines([TREE], root="exclude", punct="exclude").count() == 3


def maps(tree: Sentence, *, seed: int = 0) -> AttentionTensor:
    """Two layers of three heads on the words of a tree."""
    n = len(tree.words)
    weights = np.random.default_rng(seed).dirichlet(np.full(n, 0.3), size=(2, 3, n))
    return AttentionTensor(weights, Axis(tree.words, word_ids=range(n), words=tree.words), annotation=tree)


def released_predictions(weights: Any) -> list[int]:
    """The governor of each word by one head, counted from 1, as the released code finds it."""
    n, predicted = len(weights), []
    for i in range(n):
        row = [0.0 if j == i else float(weights[i, j]) for j in range(n)]
        predicted.append(row.index(max(row)) + 1)
    return predicted


@row("what a head's prediction is read from")
def _() -> None:
    assert score_relations([maps(TREE)]).directions == ("from_dependent", "to_dependent", "from_governor")
    both = score_relations([maps(TREE)], directions=("from_dependent", "to_dependent"))
    for layer, head in np.ndindex(2, 3):
        weights: Any = maps(TREE).weights[layer, head]
        for i, one in enumerate((weights, weights.T)):
            right = sum(p == g for p, g in zip(released_predictions(one), TREE.governors or (), strict=True))
            assert both.accuracy()[i, layer, head] == right / 5


@row("roots and punctuation among the words of a head")
def _() -> None:
    scores = score_relations([maps(TREE)])
    assert scores.count() == 5
    assert not scores.correct("root").any()
    assert score_relations([maps(TREE)], root="exclude", punct="exclude").count() == 3


POSSESSIVE = Sentence(["the", "fish", "'s", "tail"], governors=[2, 4, 2, 0], relations=["det", "poss", "case", "root"])


@row("the possessor's governor, relation poss")
def _() -> None:
    seen = set()
    for seed in range(20):
        attention = maps(POSSESSIVE, seed=seed)
        found = {
            mode: score_relations([attention], poss_mode=mode, directions=["from_dependent"]).correct("poss")[0]  # type: ignore[arg-type]
            for mode in ("none", "either", "clark")
        }
        for layer, head in np.ndindex(2, 3):
            predicted = released_predictions(attention.weights[layer, head])
            own, of_clitic = predicted[1] == 4, predicted[2] == 4
            replaced = predicted[1] < 4
            assert found["none"][layer, head] == own
            assert found["either"][layer, head] == (own or of_clitic)
            assert found["clark"][layer, head] == (of_clitic if replaced else own)
            seen.add((own, of_clitic))
    assert len(seen) == 4


@row("the baseline of poss")
def _() -> None:
    # At offset 1 the 's has the right governor and the possessor has not: the released code would count it as right.
    for mode in ("none", "either", "clark"):
        scores = score_relations([maps(POSSESSIVE)], poss_mode=mode)  # type: ignore[arg-type]
        assert [int(scores.offset_by_sentence("poss", offset=o).sum()) for o in (1, 2)] == [0, 1]


@row("words of equal weight")
def _() -> None:
    even = AttentionTensor(np.full((1, 1, 3, 3), 1 / 3), Axis(list("abc"), word_ids=range(3)))
    assert predict_governors(even).tolist() == [[[2, 1, 1]]]
    assert released_predictions(even.weights[0, 0]) == [2, 1, 1]
    itself = AttentionTensor(np.eye(3)[None, None], Axis(list("abc"), word_ids=range(3)))
    assert predict_governors(itself).tolist() == [[[-1, -1, -1]]]


def many(*seeds: int) -> RelationScores:
    return score_relations([maps(TREE, seed=seed) for seed in seeds])


@row("words that the best head is picked on")
def _() -> None:
    scores, others = many(*range(20)), many(*range(20, 40))
    same, apart = (selection.best_heads(scores, picked_on=on, relations=["all"])["all"] for on in (None, others))
    assert same.accuracy == scores.accuracy().max()
    cell = np.unravel_index(others.accuracy().argmax(), others.shape)
    assert apart.accuracy == scores.accuracy()[cell]
    assert [same.picked_on, apart.picked_on] == ["the same words", "other words"]


@row("offsets that the best head is compared with")
def _() -> None:
    tried = {None: (-3, -2, -1, 1, 2, 3), baselines.RELEASED_OFFSETS: tuple(range(-3, 3))}
    for given, offsets in tried.items():
        options: Any = {} if given is None else {"offsets": given}
        best = selection.best_heads(many(0), relations=["all"], **options)["all"]
        most = max(right(offset) for offset in offsets)
        assert best.baseline == most / 5
        assert best.offset == max(offset for offset in offsets if right(offset) == most)


@row("heads of equal accuracy")
def _() -> None:
    weights = np.repeat(np.repeat(np.asarray(maps(TREE).weights)[:1, :1], 2, 0), 3, 1)
    alike = AttentionTensor(weights, maps(TREE).queries, annotation=TREE)
    scores = score_relations([alike], directions=["from_dependent"])
    assert selection.best_heads(scores, relations=["all"])["all"].head == "1-1"


@row("relations in Table 1")
def _() -> None:
    scores = many(*range(100))
    assert [r.relation for r in selection.best_heads(scores).rows] == ["all", "det", "nsubj", "obl"]
    assert [r.relation for r in selection.best_heads(scores.select(range(99))).rows] == ["all"]
    assert [r.relation for r in selection.best_heads(scores, relations=["punct"]).rows] == ["punct"]


@row("legend of the offsets in the notebook")
def _() -> None:
    previous = sum(W[..., i, i - 1] for i in range(1, 5)) / 5
    np.testing.assert_allclose(patterns.attention_to_offset(PAIR, -1), previous, rtol=1e-12)


def test_every_row_of_the_table_of_settings_is_checked() -> None:
    rows = [line.split("|")[1].strip() for line in TABLE.splitlines() if line.startswith("| ")]
    assert rows[:1] == ["what"]
    assert sorted(CHECKS) == sorted(name for name in rows[1:] if set(name) != {"-"})


@pytest.mark.parametrize("what", CHECKS)
def test_the_settings_give_what_the_table_says(what: str) -> None:
    CHECKS[what]()
