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
from bertattn.heads import baselines

ROOT = Path(__file__).resolve().parents[1]
TABLE = (ROOT / "docs" / "paper-and-code.md").read_text(encoding="utf-8")


def test_the_table_of_settings_names_real_options() -> None:
    """Every `function(option=` in the table exists, so a renamed option shows."""
    homes = (alignment, patterns, segments, statistics, baselines, Extractor)
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
