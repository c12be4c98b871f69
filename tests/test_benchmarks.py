"""The benchmarks' two sides give the same numbers, and each row of the table says what it must."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bertattn import AttentionTensor, Axis, TokenIds, merge_subwords, patterns

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
WORDS = (None, 0, 1, 1, 2, None, 3, 4, 4, 4, None)


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("bench", FOLDER / "bench.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def published(bench):
    return bench.published


@pytest.fixture
def attention():
    rng = np.random.default_rng(0)
    tokens = ["[CLS]", "a", "play", "##ing", ",", "[SEP]", ".", "un", "##do", "##ne", "[SEP]"]
    roles = ["cls", None, None, None, None, "sep", None, None, None, None, "sep"]
    axis = Axis(tokens, roles=roles, word_ids=WORDS, words=["a", "playing", ",", ".", "undone"])
    return AttentionTensor(rng.dirichlet(np.ones(11), size=(2, 3, 11)).astype(np.float32), axis)


def test_the_published_patterns_are_ours(bench, published, attention):
    ours = patterns.surface_patterns(attention)
    theirs = published.patterns(attention.numpy(), attention.queries.tokens)
    assert set(theirs) < set(ours)  # we have more
    for name, values in theirs.items():
        assert np.allclose(values, ours[name], atol=5e-3 if name.startswith("entropy") else 1e-6), name
    bench.check_patterns(attention, attention.numpy())
    with pytest.raises(SystemExit, match="differ"):
        bench.check_patterns(attention, attention.numpy()[:, ::-1])


def test_the_published_merge_is_ours(bench, published, attention):
    groups = bench.token_groups(attention)
    assert groups == [[0], [1], [2, 3], [4], [5], [6], [7, 8, 9], [10]]
    before = attention.numpy().copy()
    assert np.allclose(published.merge(attention.numpy(), groups), merge_subwords(attention).numpy(), atol=1e-6)
    assert np.array_equal(attention.numpy(), before)
    bench.check_merge(attention, attention.numpy())
    with pytest.raises(SystemExit, match="differ"):
        bench.check_merge(attention, attention.numpy()[:, ::-1])


def test_the_published_scores_are_ours(bench, published):
    from bertattn import Sentence

    rng = np.random.default_rng(0)
    axis = Axis(
        ["[CLS]", "a", "play", "##ing", ",", "[SEP]"],
        roles=["cls", None, None, None, None, "sep"],
        word_ids=[None, 0, 1, 1, 2, None],
        words=["a", "playing", ","],
    )
    tree = Sentence(axis.words, governors=[2, 0, 2], relations=["det", "root", "punct"])
    stream = [
        AttentionTensor(rng.dirichlet(np.ones(6), size=(2, 3, 6)).astype(np.float32), axis, annotation=tree)
        for _ in range(5)
    ]
    maps = [a.numpy() for a in stream]
    before = [one.copy() for one in maps]
    bench.check_relations(stream, maps)
    assert all(np.array_equal(a, b) for a, b in zip(maps, before, strict=True))
    with pytest.raises(SystemExit, match="differ in all"):
        bench.check_relations(stream, [one[:, ::-1] for one in maps])


def test_the_published_way_keeps_every_map_without_padding(published):
    maps = np.ones((2, 3, 4, 5, 5), dtype=np.float32)
    kept = published.keep([([5, 4], maps)])
    assert [(one.shape, one.dtype) for one in kept] == [((3, 4, 5, 5), np.float16), ((3, 4, 4, 4), np.float16)]


def test_a_ratio_is_set_against_its_target(bench):
    order = []
    one = bench.row(
        "name", lambda: order.append("a"), lambda: order.append("b"), rounds=2, device="cpu", items=4, at_most=1e9
    )
    assert order == ["a", "b"] * 3  # a round that does not count, then each side in turn
    assert one["met"] is True
    assert one["spread"][0] <= one["ratio"] <= one["spread"][1]
    assert "at most 1e+09: met" in bench.line(one)
    other = bench.row("name", lambda: None, lambda: None, rounds=1, device="cpu", items=1, at_least=1e9)
    assert other["met"] is False
    assert "at least 1e+09: NOT met" in bench.line(other)


def test_the_extractor_batches_as_the_baseline_does(bench):
    texts = [TokenIds(tuple(range(n))) for n in (3, 9, 5)]
    assert [len(one) for batch in bench.by_length(texts) for one in batch] == [9, 5, 3]


def test_without_the_corpus_the_demo_is_read(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("BERTATTN_DATA", str(tmp_path))
    name, lines = bench.documents()
    assert "demo" in name
    assert len(lines) >= 12


def test_peak_memory_is_that_of_this_process(bench):
    before = bench.peak()
    block = np.ones(2**25)  # 256 MB
    assert bench.peak() >= before
    assert bench.peak() >= block.nbytes / 2**20


def test_the_page_shows_the_last_recorded_run(bench):
    page = (FOLDER.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    records = sorted((FOLDER / "results").glob("*.json"))
    assert ("No run on a quiet machine is recorded yet" in page) == (not records)
    if not records:
        return
    last = records[-1]
    record = json.loads(last.read_text(encoding="utf-8"))
    assert record["machine"]["cpu"]
    assert record["text"] == "cc0_sents.txt"
    assert sum(one["row"].startswith("peak memory") for one in record["rows"]) == 1
    table = bench.markdown(record)
    assert len(table.splitlines()) == 4 + len(record["rows"])
    assert table in page, f"python benchmarks/bench.py --markdown benchmarks/results/{last.name}"


def test_a_record_makes_a_table(bench):
    one = bench.row("a | b", lambda: None, lambda: None, rounds=1, device="cpu", items=1, at_least=1e9)
    record = {
        "date": "2026-11-21T12:00:00+00:00",
        "machine": bench.machine(),
        "versions": bench.versions(),
        "model": "m",
        "text": "t",
        "load_before": [0.5],
        "load_after": [0.25],
        "rows": [one],
    }
    table = bench.markdown(record)
    assert "Load average 0.5 before and 0.2 after" in table
    assert table.splitlines()[-1].startswith("| a \\| b | cpu | ")
    assert table.splitlines()[-1].endswith("| at least 1e+09: not met |")
