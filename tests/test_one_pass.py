"""Several functions of one stream in one pass: each sees what it would see alone, and nothing is lost on the way."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bertattn as ba
import model_zoo
from bertattn import clustering, heads, patterns, results, statistics
from bertattn.errors import SelectionError, StorageError, ValidationError
from bertattn.results import OnePass, one_pass
from bertattn.statistics import Summary

TEXTS = ("The cat sat on the mat.", "", "The dog ran.", "Snow falls.", "the cat " * 100, "A mat, red.")
TREE = ba.Sentence(["The", "cat", "sat"], governors=[2, 3, 0], relations=["det", "nsubj", "root"])


@pytest.fixture(scope="module")
def ext() -> ba.Extractor:
    return ba.Extractor(*model_zoo.build("bert"))


def surface(stream: Any) -> Summary:
    return statistics.summarize(stream, patterns.surface_patterns)


def extracted(ext: ba.Extractor) -> Any:
    return ext.extract(TEXTS, on_error="skip", on_too_long="truncate", batch_size=2)


def test_each_value_is_what_the_function_gives_alone(ext: ba.Extractor) -> None:
    both = one_pass(extracted(ext), surface=surface, distances=clustering.head_distances)
    assert list(both) == ["surface", "distances"]
    assert both["surface"] == surface(extracted(ext))
    assert len(both["surface"].skipped) == len(both["surface"].truncated) == 1
    alone = clustering.head_distances(extracted(ext))
    np.testing.assert_array_equal(both["distances"].matrix(), alone.matrix())
    assert (both["distances"].skipped, both["distances"].truncated) == (alone.skipped, alone.truncated)


def test_the_model_runs_once(ext: ba.Extractor) -> None:
    calls: list[int] = []
    hook = ext.model.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    one_pass(ext.extract([TREE] * 5), surface=surface, relations=heads.score_relations, more=clustering.head_distances)
    hook.remove()
    assert sum(calls) == 5


@given(st.lists(st.integers(), max_size=8), st.lists(st.integers(0, 10), min_size=1, max_size=4))
def test_functions_that_stop_early_or_read_on(items: list[int], takes: list[int]) -> None:
    def first(count: int, stream: Iterator[int]) -> list[int]:
        return list(itertools.islice(stream, count)) + [-1, next(stream, -2), next(stream, -2)][: count % 3]

    functions = {f"f{i}": functools.partial(first, take) for i, take in enumerate(takes)}
    found = one_pass(iter(items), **functions)
    assert dict(found.parts) == {name: function(iter(items)) for name, function in functions.items()}


def test_one_item_is_held_at_a_time() -> None:
    made: list[int] = []
    seen: dict[str, list[int]] = {"a": [], "b": []}

    def items() -> Iterator[int]:
        for i in range(4):
            assert [len(x) for x in seen.values()] == [i, i]  # both are done with those before
            made.append(i)
            yield i

    def reading(name: str, stream: Any) -> None:
        for item in stream:
            assert made[-1] == item
            seen[name].append(item)

    one_pass(items(), a=functools.partial(reading, "a"), b=functools.partial(reading, "b"))
    assert seen == {"a": [0, 1, 2, 3], "b": [0, 1, 2, 3]}


def test_nothing_is_read_for_functions_that_read_nothing() -> None:
    items = iter([1, 2])
    assert one_pass(items, a=lambda _: 7)["a"] == 7
    assert list(items) == [1, 2]


def test_functions_never_run_at_once() -> None:
    running: list[str] = []

    def alone(name: str, stream: Any) -> int:
        total = 0
        for item in stream:
            assert running == []
            running.append(name)
            total += sum(range(20_000)) * 0 + item
            assert running.pop() == name
        return total

    found = one_pass(range(50), **{name: functools.partial(alone, name) for name in "abcd"})
    assert dict(found.parts) == dict.fromkeys("abcd", sum(range(50)))


def test_the_settings_of_the_caller_hold_in_the_functions() -> None:
    def divided(stream: Any) -> str:
        return str(np.geterr()["divide"])

    with np.errstate(divide="raise"):
        assert one_pass([1], a=divided)["a"] == "raise"


def test_it_can_be_used_within_itself() -> None:
    inner = functools.partial(one_pass, least=min, most=max)
    found = one_pass(iter([3, 1, 2]), inner=inner, total=sum)
    assert (found["inner"]["least"], found["inner"]["most"], found["total"]) == (1, 3, 6)


class BoomError(Exception):
    pass


def failing(stream: Any) -> None:
    for i, _ in enumerate(stream):
        if i == 2:
            raise BoomError("it failed")


def test_a_function_that_fails_ends_all_and_says_which(ext: ba.Extractor) -> None:
    before = threading.active_count()
    with pytest.raises(BoomError, match="it failed") as caught:
        one_pass(ext.extract([TREE] * 5, batch_size=1), surface=surface, bad=failing)
    assert caught.value.__notes__ == ["in the function 'bad' of one_pass"]
    assert caught.value.partial["surface"].sequences == 3  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [BoomError("broken"), KeyboardInterrupt()])
def test_a_stream_that_breaks_leaves_what_was_done(ext: ba.Extractor, error: BaseException) -> None:
    def items() -> Iterator[ba.AttentionTensor]:
        yield from ext.extract([TREE] * 2)
        raise error

    before = threading.active_count()
    with pytest.raises(type(error)) as caught:
        one_pass(items(), surface=surface, distances=clustering.head_distances, plain=list)
    assert caught.value is error
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert (partial["surface"].sequences, partial["distances"].sequences) == (2, 2)
    assert list(partial) == ["surface", "distances"]
    assert threading.active_count() == before


@pytest.mark.parametrize("place", ["function", "stream", "first", "last"])
def test_ctrl_c_anywhere_ends_it(place: str) -> None:
    """Also while a function runs in its thread, where Python delivers no signal."""
    stopped: list[str] = []

    def interrupt(where: str) -> None:
        if where == place:
            signal.raise_signal(signal.SIGINT)

    def items() -> Iterator[int]:
        for i in range(3):
            interrupt("stream" if i == 1 else "")
            yield i

    def reading(name: str, stream: Any) -> int:
        try:
            interrupt("first" if name == "a" else "")
            for i in stream:
                interrupt("function" if i == 1 and name == "a" else "")
            interrupt("last" if name == "b" else "")
        except BaseException:
            stopped.append(name)
            raise
        return 0

    before = threading.active_count()
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            one_pass(items(), a=functools.partial(reading, "a"), b=functools.partial(reading, "b"))
    finally:
        signal.signal(signal.SIGINT, old)
    assert threading.active_count() == before
    assert stopped == {"function": ["a", "b"], "stream": ["a", "b"], "first": ["a"], "last": []}[place]


def test_an_attribute_that_a_stream_has_and_a_function_may_not_use(ext: ba.Extractor) -> None:
    with pytest.raises(AttributeError, match="map"):  # reading past the pass would take items from the others
        one_pass(ext.extract([TREE]), a=lambda stream: list(stream.map(ba.merge_subwords)))


@pytest.mark.parametrize(
    ("stream", "functions", "message"),
    [
        (3, {"a": len}, "stream must be an iterable, such as .*, not 3"),
        ([], {}, "no function is given; name one: one_pass"),
        ([], {"a": 3}, "a must be a function of a stream, but is int"),
    ],
)
def test_what_is_refused(stream: Any, functions: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        one_pass(stream, **functions)


def test_a_stream_is_read_in_its_function_alone() -> None:
    lazy = one_pass([1, 2], a=functools.partial(map, str))["a"]
    with pytest.raises(
        ValidationError, match=r"read in the function that it was given to .* give what was read, such as"
    ):
        list(lazy)

    def elsewhere(stream: Any) -> list[int]:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(list, stream).result()

    with pytest.raises(ValidationError, match="read in the function that it was given to") as caught:
        one_pass([1, 2], a=elsewhere)
    assert "in the function 'a' of one_pass" in caught.value.__notes__


@pytest.mark.parametrize("fails", [False, True])
def test_no_map_is_kept_alive(fails: bool) -> None:
    class Map:
        pass

    alive: list[weakref.ref[Map]] = []

    def items() -> Iterator[Map]:
        for i in range(3):
            one = Map()
            alive.append(weakref.ref(one))
            yield one
            if fails and i == 1:
                raise BoomError("broken")

    def last(stream: Any) -> int:
        kept = [item for item in stream]  # noqa: C416 - a name in this frame
        return len(kept)

    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(BoomError):
            one_pass(items(), a=last, b=last)
        assert [ref() for ref in alive] == [None] * len(alive)
    finally:
        gc.enable()


@pytest.mark.slow
def test_ctrl_c_at_any_moment_leaves_no_thread() -> None:
    before = threading.active_count()

    def total(stream: Any) -> int:
        return sum(stream)

    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    draws = np.random.default_rng(0)
    hit = 0
    try:
        for _ in range(300):
            timer = threading.Timer(float(draws.uniform(0, 0.004)), signal.raise_signal, [signal.SIGINT])
            try:
                timer.start()
                one_pass(range(200), a=total, b=total, c=functools.partial(one_pass, d=total, e=total))
                timer.join()
                time.sleep(0)
            except KeyboardInterrupt:
                hit += 1
                timer.join()
    finally:
        signal.signal(signal.SIGINT, old)
    assert hit > 20
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


# The value


def test_it_adds_part_by_part(ext: ba.Extractor) -> None:
    halves = [one_pass(ext.extract(part), a=surface, b=clustering.head_distances) for part in ([TREE], [TREE] * 3)]
    total = halves[0] + halves[1]
    assert (total["a"].sequences, total["b"].sequences) == (4, 4)
    with pytest.raises(ValidationError, match=r"the parts are \['a', 'b'\] in one and \['a'\] in the other"):
        halves[0] + OnePass({"a": halves[0]["a"]})
    with pytest.raises(TypeError):
        halves[0] + 1


def test_it_is_saved_and_read(ext: ba.Extractor, tmp_path: Path) -> None:
    both = one_pass(ext.extract([TREE]), a=surface, b=clustering.head_distances)
    both.save(tmp_path / "both.json")
    again = OnePass.load(tmp_path / "both.json")
    assert again["a"] == both["a"]
    np.testing.assert_array_equal(again["b"].matrix(), both["b"].matrix())
    assert both.to_records()[0] == {"part": "a", "value": repr(both["a"])}
    assert len(both) == 2
    with pytest.raises(SelectionError, match="there is no 'c' here; there are 'a', 'b'"):
        both["c"]
    with pytest.raises(ValidationError, match="part 'a' is a int, no result that can be saved"):
        one_pass([1], a=sum).save(tmp_path / "int.json")
    document = (tmp_path / "both.json").read_text(encoding="utf-8")
    (tmp_path / "other.json").write_text(document.replace("bertattn.statistics", "not.here"), encoding="utf-8")
    with pytest.raises(StorageError, match=r"a Summary of not\.here, which is not imported; import not\.here first"):
        OnePass.load(tmp_path / "other.json")


# In a run folder


@pytest.mark.parametrize("shard_size", [1, 2, 256])
def test_a_run_folder_sums_it(ext: ba.Extractor, tmp_path: Path, shard_size: int) -> None:
    function = functools.partial(one_pass, surface=surface, distances=clustering.head_distances)
    options: dict[str, Any] = {"on_error": "skip", "on_too_long": "truncate"}
    total = ba.RunFolder(tmp_path / "run").sum(ext, TEXTS, function, shard_size=shard_size, **options)
    alone = surface(ext.extract(TEXTS, **options))
    np.testing.assert_allclose(total["surface"].mean("entropy"), alone.mean("entropy"), rtol=1e-6)
    for part in total.parts.values():
        assert (part.skipped, part.truncated) == (alone.skipped, alone.truncated)
    with pytest.raises(StorageError, match="holds another run"):
        ba.RunFolder(tmp_path / "run").sum(
            ext, TEXTS, functools.partial(one_pass, surface=surface), shard_size=shard_size, **options
        )


@pytest.mark.parametrize("shard_size", [2, 256])
def test_maps_and_a_sum_are_kept_in_one_pass(
    ext: ba.Extractor, tmp_path: Path, shard_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = [
        TREE,
        ba.Sentence(["A", "\u200b"], governors=[2, 0]),
        TREE,
        ba.Sentence(["Snow", "falls"], governors=[2, 0]),
        TREE,
    ]
    calls: list[int] = []
    hook = ext.model.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    options: dict[str, Any] = {"on_error": "skip", "shard_size": shard_size}
    run = ba.RunFolder(tmp_path / "run").keep(ext, trees, also=heads.score_relations, **options)
    kept = calls.copy()
    calls.clear()
    ba.RunFolder(tmp_path / "maps").keep(ext, trees, **options)
    hook.remove()
    assert calls == kept  # no more forward calls than for the maps alone
    assert len(run) == 4
    alone = heads.score_relations(ext.extract(trees, on_error="skip"), on_error="skip")
    found = run.result()
    assert found.to_records() == alone.to_records()
    assert found.skipped == alone.skipped == tuple((x.index, x.reason) for x in run.skipped)
    again = ba.RunFolder(tmp_path / "run")
    monkeypatch.setattr(ba.Extractor, "_forward", lambda *_, **__: pytest.fail("the model ran again"))
    assert again.keep(ext, trees, also=heads.score_relations, **options).result().to_records() == alone.to_records()
    with pytest.raises(StorageError, match=r"settings\.function"):
        again.keep(ext, trees, **options)


def test_a_sum_beside_maps_that_is_damaged(ext: ba.Extractor, tmp_path: Path) -> None:
    run = ba.RunFolder(tmp_path).keep(ext, [TREE] * 2, also=heads.score_relations)
    [shard] = tmp_path.glob("*.safetensors")
    content = shard.read_bytes()
    place = content.index(b'"kind":"RelationScores"')
    shard.write_bytes(content[:place] + content[place:].replace(b"RelationScores", b"RelationScorez", 1))
    with pytest.raises(StorageError, match=r"is damaged or of another run .its sum does not have the checksum"):
        ba.RunFolder(tmp_path).result()
    assert run.is_complete
    with pytest.raises(ValidationError, match="function must take a stream of maps"):
        ba.RunFolder(tmp_path / "new").keep(ext, [TREE], also=3)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"must give a result that adds, .* but gave a int"):
        ba.RunFolder(tmp_path / "new").keep(
            ext, [TREE], also=functools.partial(one_pass, a=surface, n=lambda stream: sum(1 for _ in stream))
        )


def test_all_inputs_left_out(ext: ba.Extractor, tmp_path: Path) -> None:
    run = ba.RunFolder(tmp_path).keep(ext, [""], also=surface, on_error="skip")
    assert len(run) == 0
    with pytest.raises(ValidationError, match="none of the 1 inputs gave a map; input 0 was left out because"):
        run.result()


def test_maps_alone_have_no_sum(ext: ba.Extractor, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds maps, not sums; iterate over it"):
        ba.RunFolder(tmp_path).keep(ext, [TREE]).result()


def test_it_is_public() -> None:
    assert ba.one_pass is one_pass is results.one_pass
    takes: Callable[..., OnePass] = ba.one_pass
    assert takes([1], a=sum)["a"] == 1
