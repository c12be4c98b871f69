"""Moments, summarize, Summary and the protocol of results."""

from __future__ import annotations

import csv
import functools
import json
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertattn import AttentionTensor, Axis, Moments, patterns, summarize
from bertattn.errors import BertattnError, SelectionError, StorageError, ValidationError
from bertattn.results import Result
from bertattn.statistics import Summary
from bertattn.tensor import Source

FIELDS = ("count", "missing", "weight", "mean", "second", "squared_weight", "squared_first", "squared_second")
NUMBERS = st.floats(-1e3, 1e3) | st.just(math.nan)
SAMPLES = st.lists(st.tuples(NUMBERS, st.sampled_from((0.0, 0.5, 1.0, 3.0, 40.0))), max_size=6)


def of(samples):
    return sum((Moments.of(x, w) for x, w in samples), Moments())


def same(a, b):
    # Sums of squares are exact to the rounding of their largest term, 40^2 * 2000^2 in these samples.
    small = {"second": 1e-5, "squared_first": 1e-5, "squared_second": 1e-3}
    return all(
        np.allclose(getattr(a, n), getattr(b, n), rtol=1e-12, atol=small.get(n, 1e-10), equal_nan=True) for n in FIELDS
    )


def sequence(n, seed=0, *, heads=2, roles=None, source=None, **options):
    weights = np.random.default_rng(seed).dirichlet(np.ones(n), size=(1, heads, n))
    return AttentionTensor(weights, Axis(("x",) * n, roles=roles), source=source, **options)


def corpus():
    return [sequence(n, seed=n) for n in (2, 5, 3, 7)]


class Stream:
    """As an extractor's: an iterator that lists what it left out."""

    def __init__(self, items, skipped=(), truncated=()):
        self.items = iter(items)
        self.skipped = [SimpleNamespace(index=i, reason=r) for i, r in skipped]
        self.truncated = [SimpleNamespace(index=i, reason=r) for i, r in truncated]

    def __iter__(self):
        return self

    def __next__(self):
        item = next(self.items)
        if isinstance(item, BaseException):
            raise item
        return item


class TestMoments:
    def test_equal_weights_give_the_sample_mean_variance_and_standard_error(self):
        x = np.random.default_rng(0).normal(3, 2, size=(25, 2, 3))
        total = sum((Moments.of(row) for row in x), Moments())
        assert np.allclose(total.mean, x.mean(0), atol=1e-14)
        assert np.allclose(total.variance, x.var(0, ddof=1), atol=1e-13)
        assert np.allclose(total.standard_error, scipy.stats.sem(x, axis=0), atol=1e-14)
        assert (total.count == 25).all()

    @pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
    def test_the_interval_is_students(self, level):
        x = np.random.default_rng(1).normal(size=9)
        low, high = sum(map(Moments.of, x), Moments()).interval(level=level)
        expected = scipy.stats.t.interval(level, 8, loc=x.mean(), scale=scipy.stats.sem(x))
        assert (float(low), float(high)) == pytest.approx(expected, abs=1e-12)

    def test_unequal_weights_give_a_ratio_of_sums_and_its_linearised_error(self):
        x, w = np.array([0.2, 0.9, 0.4, 0.7]), np.array([10.0, 2.0, 5.0, 1.0])
        total = of(zip(x, w, strict=True))
        ratio = (w * x).sum() / w.sum()
        assert float(total.mean) == pytest.approx(ratio)
        error = math.sqrt(4 / 3 * (w**2 * (x - ratio) ** 2).sum()) / w.sum()
        assert float(total.standard_error) == pytest.approx(error)
        assert float(total.variance) == pytest.approx((w * (x - ratio) ** 2).sum() / w.sum() * 4 / 3)

    def test_the_scale_of_the_weights_does_not_matter(self):
        x, w = [0.2, 0.9, 0.4], [1.0, 2.0, 3.0]
        one, other = (of(zip(x, (v * f for v in w), strict=True)) for f in (1, 1000))
        for name in ("mean", "variance", "standard_error"):
            assert float(getattr(one, name)) == pytest.approx(float(getattr(other, name)))

    def test_nan_is_counted_and_enters_nothing_else(self):
        total = Moments.of([1.0, np.nan, np.nan]) + Moments.of([np.nan, np.nan, 4.0]) + Moments.of([3.0, np.nan, 8.0])
        assert total.count.tolist() == [2, 0, 2]
        assert total.missing.tolist() == [1, 3, 1]
        assert np.array_equal(total.mean, [2.0, np.nan, 6.0], equal_nan=True)
        assert np.array_equal(total.variance, [2.0, np.nan, 8.0], equal_nan=True)

    def test_an_observation_of_weight_0_is_missing(self):
        total = Moments.of([5.0], [0.0]) + Moments.of([2.0], [3.0])
        assert (total.mean.tolist(), total.count.tolist(), total.missing.tolist()) == ([2.0], [1.0], [1.0])

    def test_too_few_observations_have_no_error(self):
        for total in (Moments(), Moments.of(2.0), Moments.of(np.nan)):
            assert np.isnan(total.variance)
            assert np.isnan(total.standard_error)
            assert np.isnan(total.interval()).all()
        assert float(Moments.of(2.0).mean) == 2
        assert np.isnan(Moments().mean)

    def test_a_large_mean_does_not_swallow_the_variance(self):
        x = 1e9 + np.array([0.0, 1.0, 2.0, 3.0])
        assert float(sum(map(Moments.of, x), Moments()).variance) == pytest.approx(5 / 3, rel=1e-6)

    def test_equal_observations_have_exactly_no_variance(self):
        assert float(sum((Moments.of(0.1) for _ in range(9)), Moments()).standard_error) == 0

    @given(SAMPLES)
    def test_the_identity_changes_nothing(self, samples):
        total = of(samples)
        assert total + Moments() == total == Moments() + total
        assert sum([total]) == total

    @given(SAMPLES, SAMPLES)
    def test_addition_commutes(self, a, b):
        assert same(of(a) + of(b), of(b) + of(a))

    @given(SAMPLES, SAMPLES, SAMPLES)
    def test_addition_is_associative_and_the_same_as_one_pass(self, a, b, c):
        left, right = (of(a) + of(b)) + of(c), of(a) + (of(b) + of(c))
        assert same(left, right)
        assert same(left, of([*a, *b, *c]))

    @given(SAMPLES.filter(lambda s: sum(w > 0 and not math.isnan(x) for x, w in s) > 1))
    def test_the_parts_are_the_sums_they_are_named_for(self, samples):
        counted = [(x, w) for x, w in samples if w > 0 and not math.isnan(x)]
        total = of(samples)
        mean = math.fsum(w * x for x, w in counted) / math.fsum(w for _, w in counted)
        expected = {
            "count": len(counted),
            "missing": len(samples) - len(counted),
            "weight": sum(w for _, w in counted),
            "mean": mean,
            "second": sum(w * (x - mean) ** 2 for x, w in counted),
            "squared_weight": sum(w**2 for _, w in counted),
            "squared_first": sum(w**2 * (x - mean) for x, w in counted),
            "squared_second": sum(w**2 * (x - mean) ** 2 for x, w in counted),
        }
        for name, value in expected.items():
            assert float(getattr(total, name)) == pytest.approx(value, rel=1e-9, abs=1e-6), name

    def test_the_identity_takes_any_shape(self):
        assert (Moments() + Moments.of(np.zeros((2, 3)))).shape == (2, 3)

    def test_it_is_frozen_equal_by_value_and_travels_between_processes(self):
        total = Moments.of([1.0, np.nan])
        assert pickle.loads(pickle.dumps(total)) == total
        assert total != Moments.of([1.0, 2.0])
        with pytest.raises(ValueError, match="read-only"):
            total.mean[0] = 2

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: Moments.of([1.0]) + Moments.of([1.0, 2.0]), r"shapes \(1,\) and \(2,\) do not belong together"),
            (lambda: Moments.of(1.0) + Moments.of([1.0]), r"shapes \(\) and \(1,\)"),
            (lambda: Moments.of([np.inf]), "one is infinite"),
            (lambda: Moments.of([1.0], [-1.0]), "range from -1 to -1"),
            (lambda: Moments.of([1.0, 2.0], [1.0]), r"weights have shape \(1,\) but values have \(2,\)"),
            (lambda: Moments.of(1.0).interval(level=95), "between 0 and 1.*95"),
            (lambda: Moments(count=np.ones(2)), "must have one shape"),
        ],
    )
    def test_errors(self, call, message):
        with pytest.raises(ValidationError, match=message):
            call()

    def test_adding_something_else_is_a_type_error(self):
        with pytest.raises(TypeError):
            Moments() + 1.0
        with pytest.raises(TypeError):
            sum([Moments()], 1.0)


class TestSummarize:
    def test_sequence_weighting_averages_the_means_of_the_sequences(self):
        items = corpus()
        summary = summarize(items, patterns.entropy)
        single = np.stack([patterns.entropy(a) for a in items])
        assert summary.statistics == ("entropy",)
        assert np.allclose(summary.mean("entropy"), single.mean(0), atol=1e-15)
        assert np.allclose(summary.standard_error("entropy"), scipy.stats.sem(single, axis=0), atol=1e-15)
        assert (summary.sequences, summary.queries) == (4, 17)

    def test_query_weighting_pools_the_rows(self):
        items = corpus()
        summary = summarize(items, patterns.entropy, weighting="query")
        rows = np.concatenate([patterns.entropy.rows(a) for a in items], axis=-1)
        assert np.allclose(summary.mean("entropy"), rows.mean(-1), atol=1e-15)
        means, sizes = np.stack([patterns.entropy(a) for a in items]), np.array([2, 5, 3, 7])[:, None, None]
        error = np.sqrt(4 / 3 * (sizes**2 * (means - rows.mean(-1)) ** 2).sum(0)) / 17
        assert np.allclose(summary.standard_error("entropy"), error, atol=1e-15)

    def test_query_weighting_counts_only_rows_that_count(self):
        empty = np.array([[[[np.nan, np.nan], [1.0, 0.0]]]])
        full = np.array([[[[0.5, 0.5], [0.25, 0.75]]]])
        items = [AttentionTensor(w, ["a", "b"]) for w in (empty, full)]
        first = functools.partial(patterns.attention_to, keys=[True, False])
        summary = summarize(items, {"first": first}, weighting="query")
        assert summary.mean("first").tolist() == [[pytest.approx((1.0 + 0.5 + 0.25) / 3)]]
        assert summary.empty_rows.tolist() == [[1]]
        for order in ((0, 1, 0), (1, 0, 0), (0, 0, 1)):
            assert summarize([items[i] for i in order], {"first": first}).empty_rows.tolist() == [[2]]
        assert summarize(items, {"first": first}).mean("first").tolist() == [[pytest.approx((1.0 + 0.375) / 2)]]

    @pytest.mark.parametrize("weighting", ["sequence", "query"])
    def test_undefined_statistics_are_counted(self, weighting):
        items = [sequence(3, roles=("cls", None, "sep")), sequence(4), sequence(4)]
        found = summarize(items, patterns.surface_patterns, weighting=weighting)["sep"]
        assert (found.count == 1).all()
        assert (found.missing == 2).all()
        assert np.allclose(found.mean, patterns.attention_to_special(items[0], "sep"))

    @pytest.mark.parametrize("weighting", ["sequence", "query"])
    def test_parts_of_a_corpus_add_up_to_the_whole(self, weighting):
        items = corpus()
        whole = summarize(items, patterns.surface_patterns, weighting=weighting)
        parts = [summarize(part, patterns.surface_patterns, weighting=weighting) for part in (items[:1], items[1:])]
        for total in (sum(parts), parts[1] + parts[0]):
            assert (total.sequences, total.queries) == (4, 17)
            for name in whole.statistics:
                assert np.allclose(total.mean(name), whole.mean(name), atol=1e-14, equal_nan=True)
                both = total.standard_error(name), whole.standard_error(name)
                assert np.allclose(*both, atol=1e-14, equal_nan=True)

    def test_torch_gives_what_numpy_gives(self):
        items = corpus()
        torches = [a.replace(weights=torch.from_numpy(np.array(a.weights))) for a in items]
        one, other = (summarize(x, patterns.surface_patterns) for x in (items, torches))
        assert one.statistics == other.statistics
        assert np.allclose(one.table.mean, other.table.mean, atol=1e-14, equal_nan=True)

    def test_names_come_from_functions_partials_mappings_and_dicts(self):
        def both(a):
            return {"one": a.weights[..., 0].mean(-1), "two": np.zeros((1, 2))}

        to_next = functools.partial(functools.partial(patterns.attention_to_offset, denominator="n"), offset=1)
        summary = summarize(corpus(), patterns.entropy, to_next, both, {"mine": both, "max": patterns.max_weight})
        assert summary.statistics == (
            "entropy", "attention_to_offset", "one", "two", "mine.one", "mine.two", "max",
        )  # fmt: skip
        assert list(summary.moments) == list(summary.statistics)
        assert np.array_equal(summary.mean("mine.one"), summary.mean("one"))
        assert np.array_equal(summary.moments["max"].mean, summary.mean("max"))

    def test_what_the_stream_left_out_is_kept(self):
        stream = Stream(corpus(), skipped=[(5, "no text"), (1, "too long")], truncated=[(2, "3 tokens were cut")])
        summary = summarize(stream, patterns.entropy)
        assert summary.skipped == ((1, "too long"), (5, "no text"))
        assert summary.truncated == ((2, "3 tokens were cut"),)
        assert "2 skipped" in repr(summary)
        assert (summary + summary).skipped == ((1, "too long"), (1, "too long"), (5, "no text"), (5, "no text"))
        other = summarize(Stream(corpus(), truncated=[(0, "1 tokens were cut")]), patterns.entropy)
        for total in (summary + other, other + summary):
            assert total.truncated == ((0, "1 tokens were cut"), (2, "3 tokens were cut"))

    def test_where_the_maps_came_from_is_kept(self):
        source = Source(model="m", revision="r", dtype="float32", attention="encoder", spacing="single")
        natural = Source(model="m", revision="r", dtype="float32", attention="encoder", spacing="natural")
        summary = summarize([sequence(3, source=source)], patterns.entropy)
        assert (summary.source, summary.measure, summary.unit) == (source, "attention", "token")
        assert (summary + summarize([sequence(3, source=natural)], patterns.entropy)).source.spacing is None

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError("disk")])
    def test_an_interruption_loses_nothing_and_can_be_resumed(self, interruption):
        items = corpus()
        # Input 1 was skipped on the way; the stream has looked ahead and skipped input 9 as well.
        stream = Stream([*items[:2], interruption, items[2]], skipped=[(1, "no text"), (9, "no text")])
        with pytest.raises(type(interruption)) as caught:
            summarize(stream, patterns.entropy)
        partial = caught.value.partial
        assert partial.sequences == 2
        assert partial.skipped == ((1, "no text"),)
        assert "2 sequences summarized so far" in caught.value.__notes__[-1]
        assert "summarize the inputs from number 3 on" in caught.value.__notes__[-1]
        resumed = partial + summarize(items[2:], patterns.entropy)
        whole = summarize(items, patterns.entropy)
        assert np.allclose(resumed.mean("entropy"), whole.mean("entropy"), atol=1e-15)

    def test_behind_a_generator_the_note_counts_items_as_nobody_knows_the_inputs(self):
        items = corpus()
        stream = Stream([*items[:2], KeyboardInterrupt()], skipped=[(1, "no text")])
        with pytest.raises(KeyboardInterrupt) as caught:
            summarize((item for item in stream), patterns.entropy)
        assert "summarize the items of this iterable from number 2 on" in caught.value.__notes__[-1]
        resumed = caught.value.partial + summarize(items[2:], patterns.entropy)
        assert resumed.sequences == len(items)

    def test_an_interruption_before_the_first_sequence_has_nothing_to_keep(self):
        with pytest.raises(KeyboardInterrupt) as caught:
            summarize(Stream([KeyboardInterrupt()]), patterns.entropy)
        assert not hasattr(caught.value, "partial")

    def test_a_failing_function_says_at_which_sequence(self):
        def fails(a):
            if len(a.queries) == 5:
                raise RuntimeError("five")
            return patterns.entropy(a)

        with pytest.raises(RuntimeError, match="five") as caught:
            summarize(corpus(), fails)
        assert "at item 1 of the stream" in caught.value.__notes__
        assert caught.value.partial.sequences == 1

    def test_progress_goes_to_standard_error_with_the_total(self, capsys):
        summarize(corpus(), patterns.entropy, progress=True)
        out, err = capsys.readouterr()
        assert out == ""
        assert "4/4" in err
        assert "summarize:" in err
        summarize(corpus(), patterns.entropy)
        assert capsys.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("arguments", "options", "message"),
        [
            ((corpus(),), {}, "at least one function"),
            ((corpus(), lambda a: a), {}, "^a lambda has no name .* give one: {'name': function}"),
            ((corpus(), SimpleNamespace()), {}, "^a SimpleNamespace has no name"),
            ((corpus(), [patterns.entropy, patterns.max_weight]), {}, "came as one list; pass them one by one"),
            ((corpus(), {"w": lambda _: np.array([[1.0, np.inf]])}), {}, "^w must be finite, .* infinite in head 1-2"),
            ((corpus(), {"x": 3}), {}, "x must be a function of an AttentionTensor, but is int"),
            ((corpus(), patterns.entropy, patterns.entropy), {}, "two statistics are called 'entropy'"),
            ((corpus(), patterns.entropy, patterns.surface_patterns), {}, "two statistics are called 'entropy'"),
            ((corpus(), patterns.entropy), {"weighting": "token"}, "'sequence' or 'query', but is 'token'"),
            ((corpus(), patterns.sink_rate), {"weighting": "query"}, "sink_rate only gives one value a sequence"),
            ((corpus()[0], patterns.entropy), {}, r"one AttentionTensor; .* \[attention\]"),
            ((3, patterns.entropy), {}, "iterable of AttentionTensor, but is int"),
            ((["a text"], patterns.entropy), {}, r"item 0 of the stream is a str.* ext\.extract\(texts\)"),
            (([], patterns.entropy), {}, "the stream gave no sequences"),
            ((Stream([], skipped=[(0, "x")]), patterns.entropy), {}, "all 1 inputs were skipped"),
            ((corpus(), {"w": lambda a: a.weights}), {}, r"w must give \[layer, head\] = \(1, 2\).*\(1, 2, 2, 2\)"),
            (
                (corpus(), {"w": patterns.mean_over_queries(lambda a: a.weights)}),
                {"weighting": "query"},
                r"w must give \[layer, head, query\] = \(1, 2, 2\)",
            ),
        ],
    )
    def test_errors(self, arguments, options, message):
        with pytest.raises(ValidationError, match=message):
            summarize(*arguments, **options)

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (sequence(3, heads=3), r"heads is \(0, 1\) in one and \(0, 1, 2\) in the other"),
            (sequence(3, layers=(4,)), r"layers is \(0,\) in one and \(4,\)"),
            (sequence(3, measure="rollout"), "measure is 'attention' in one and 'rollout'"),
            (AttentionTensor(sequence(3).weights, Axis(("a",) * 3, unit="word")), "unit is 'token' in one and 'word'"),
            (sequence(3, source=Source(model="m")), "model is None in one and 'm'"),
            (sequence(3, source=Source(dtype="bfloat16")), "dtype is None in one and 'bfloat16'"),
            (sequence(3, source=Source(attention="cross")), "attention is None in one and 'cross'"),
            (sequence(3, source=Source(steps=("drop_special()",))), r"steps is \(\) in one"),
        ],
    )
    def test_sequences_that_do_not_belong_together_are_refused(self, other, message):
        with pytest.raises(ValidationError, match=message) as caught:
            summarize([sequence(2), other], patterns.entropy)
        assert "at item 1 of the stream" in caught.value.__notes__

    def test_summaries_that_do_not_belong_together_are_refused(self):
        one = summarize(corpus(), patterns.entropy)
        with pytest.raises(ValidationError, match="weighting is 'sequence' in one and 'query' in the other"):
            one + summarize(corpus(), patterns.entropy, weighting="query")
        with pytest.raises(ValidationError, match="statistics is"):
            one + summarize(corpus(), patterns.max_weight)
        with pytest.raises(TypeError):
            one + 1


@pytest.fixture
def summary():
    source = Source(model="modèle", attention="encoder", steps=("drop_special(renormalize=True)",))
    items = [sequence(n, seed=n, source=source, layers=(7,), heads=2) for n in (2, 3)]
    items = [a.replace(heads=(4, 9)) for a in items]
    return summarize(Stream(items, skipped=[(2, "no <text>")]), patterns.surface_patterns)


class TestResults:
    def test_records_count_layers_and_heads_from_1(self, summary):
        rows = summary.to_records()
        assert len(rows) == 15 * 1 * 2
        assert list(rows[0]) == [
            "statistic", "layer", "head", "name", "mean", "standard_error", "low", "high", "count", "missing",
        ]  # fmt: skip
        row = next(r for r in rows if r["statistic"] == "entropy" and r["head"] == 10)
        assert (row["layer"], row["name"], row["count"], row["missing"]) == (8, "8-10", 2, 0)
        assert row["mean"] == summary.mean("entropy")[0, 1]
        low, high = summary.interval("entropy")
        assert (row["low"], row["high"]) == (low[0, 1], high[0, 1])
        assert math.isnan(next(r for r in rows if r["statistic"] == "bos")["mean"])
        assert summary.interval("entropy", level=0.5)[0][0, 1] > low[0, 1]

    def test_the_frame_has_the_records(self, summary):
        frame = summary.to_frame()
        assert frame.shape == (30, 10)
        assert frame["mean"].to_numpy() == pytest.approx([r["mean"] for r in summary.to_records()], nan_ok=True)

    def test_the_csv_has_every_digit_and_leaves_undefined_numbers_empty(self, summary, tmp_path):
        summary.to_csv(tmp_path / "s.csv")
        with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for found, expected in zip(rows, summary.to_records(), strict=True):
            assert found["statistic"] == expected["statistic"]
            assert found["mean"] == ("" if math.isnan(expected["mean"]) else repr(expected["mean"]))

    def test_what_is_saved_is_loaded(self, summary, tmp_path):
        path = tmp_path / "s.json"
        summary.save(path)
        assert Summary.load(path) == summary
        assert Summary.load(path) + summary == summary + summary
        assert [p.name for p in tmp_path.iterdir()] == ["s.json"]
        assert "NaN" not in path.read_text(encoding="utf-8")

    def test_every_value_is_told_from_another(self, summary):
        assert summary != summary + summary
        assert pickle.loads(pickle.dumps(summary)) == summary

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda text: text[: len(text) // 2], "no JSON file, or was cut off"),
            (lambda _: '{"a": 1}', "was not written by bertattn"),
            (lambda _: "[]", "was not written by bertattn"),
            (lambda text: text.replace('"Summary"', '"Scores"'), "holds a Scores, not a Summary"),
            (lambda text: text.replace('"version": 1', '"version": 2'), "version 2 .* reads up to 1; upgrade"),
            (lambda text: text.replace('"table"', '"tables"'), "is damaged: KeyError: 'table'"),
            (lambda text: text.replace('"heads": [\n   4,', '"heads": ['), "is damaged: ValidationError: table has"),
        ],
    )
    def test_foreign_torn_and_newer_files_are_refused(self, summary, tmp_path, damage, message):
        path = tmp_path / "s.json"
        summary.save(path)
        text = path.read_text(encoding="utf-8")
        assert damage(text) != text
        path.write_text(damage(text), encoding="utf-8")
        with pytest.raises(StorageError, match=message):
            Summary.load(path)

    def test_bytes_that_are_no_text_are_refused_and_a_missing_file_is_missing(self, tmp_path):
        (tmp_path / "s.json").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(StorageError, match="is no JSON file"):
            Summary.load(tmp_path / "s.json")
        with pytest.raises(FileNotFoundError):
            Summary.load(tmp_path / "none.json")

    def test_a_failed_write_leaves_the_old_file(self, summary, tmp_path, monkeypatch):
        path = tmp_path / "s.json"
        path.write_text("old")
        monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            summary.save(path)
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["s.json"]

    def test_infinite_numbers_survive_a_file(self, tmp_path):
        table = Moments(**{name: np.full((1, 1, 1), np.inf) for name in FIELDS})
        summary = Summary((0,), (0,), ("x",), table)
        summary.save(tmp_path / "s.json")
        assert Summary.load(tmp_path / "s.json") == summary

    def test_the_notebook_view_is_escaped_and_short(self):
        summary = summarize([sequence(2, heads=30)], {"<b>&": patterns.entropy})
        text = summary._repr_html_()
        assert "<b>" not in text
        assert "&lt;b&gt;&amp;" in text
        assert "30 rows, the first 20 shown" in text
        assert text.count("<tr>") == 21

    def test_an_unknown_statistic_lists_those_there_are(self, summary):
        for call in (summary.mean, summary.standard_error, summary.interval, summary.__getitem__):
            with pytest.raises(SelectionError, match="no statistic 'sepp'; there are previous, self, next, cls"):
                call("sepp")

    def test_a_table_of_another_shape_is_refused(self):
        with pytest.raises(
            ValidationError, match=r"table has shape \(2,\) but \[statistic, layer, head\] is \(1, 1, 1\)"
        ):
            Summary((0,), (0,), ("x",), Moments.of([1.0, 2.0]))

    def test_the_protocol_asks_for_its_three_methods(self):
        class Empty(Result):
            def to_records(self):
                return []

        assert "<table>" in Empty()._repr_html_()
        assert issubclass(StorageError, BertattnError)
        with pytest.raises(NotImplementedError):
            Result().to_records()

    def test_a_saved_file_names_its_format_kind_and_version(self, summary, tmp_path):
        summary.save(tmp_path / "s.json")
        document = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
        assert [document[k] for k in ("format", "kind", "version")] == ["bertattn", "Summary", 1]


def summary_of(values, layers=None, heads=None):
    """Two sequences whose mean of "x" is `values` and whose standard error is 0.5."""
    values = np.array(values)
    table = Moments.of(values[None] - 0.5) + Moments.of(values[None] + 0.5)
    return Summary(layers or range(values.shape[0]), heads or range(values.shape[1]), ("x",), table, sequences=2)


def test_top_lists_the_largest_means_with_their_errors():
    found = summary_of([[0.1, 0.9], [0.4, 0.2]]).top("x")
    assert [(h.name, h.layer, h.head, round(h.mean, 9), round(h.standard_error, 9)) for h in found] == [
        ("1-2", 0, 1, 0.9, 0.5),
        ("2-1", 1, 0, 0.4, 0.5),
        ("2-2", 1, 1, 0.2, 0.5),
    ]
    assert repr(found[0]) == "HeadMean(name='1-2', mean=0.9, standard_error=0.5)"
    assert [h.name for h in summary_of([[0.1, 0.9], [0.4, 0.2]]).top("x", 2, largest=False)] == ["1-1", "2-2"]


def test_top_breaks_ties_by_layer_and_head_and_leaves_undefined_heads_out():
    summary = summary_of([[0.5, math.nan], [0.7, 0.5], [0.5, 0.7]], layers=(7, 2, 3), heads=(4, 1))
    assert [h.name for h in summary.top("x", 9)] == ["3-5", "4-2", "3-2", "4-5", "8-5"]
    assert [h.name for h in summary.top("x", 9, largest=False)] == ["3-2", "4-5", "8-5", "3-5", "4-2"]
    assert summary_of([[math.nan]]).top("x") == []


def test_top_names_heads_as_a_tensor_takes_them():
    maps = corpus()
    best = summarize(maps, patterns.max_weight).top("max_weight", 1)[0]
    np.testing.assert_array_equal(maps[0][best.name], maps[0][best.layer, best.head])
    assert best.mean == pytest.approx(np.mean([patterns.max_weight(a)[best.layer, best.head] for a in maps]))


@pytest.mark.parametrize("k", [0, -1, True, 2.0, "3"])
def test_top_of_no_number_of_heads_is_refused(k):
    with pytest.raises(ValidationError, match="k is how many heads to list, a whole number from 1, but is"):
        summary_of([[0.5]]).top("x", k)
    with pytest.raises(SelectionError, match="there is no statistic 'y'; there are x"):
        summary_of([[0.5]]).top("y")
