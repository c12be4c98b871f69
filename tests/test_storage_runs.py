"""Run folders: what is kept comes back, a kill loses nothing, and what does not belong is refused by name."""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bertattn as ba
import model_zoo
import tokenizer_zoo
from bertattn import DocumentWindow, Extractor, Mention, RunFolder, Sentence, TextPair, TokenIds, merge_subwords
from bertattn.attribution import Contrastive, gradient_importance
from bertattn.errors import (
    AlignmentError,
    BertattnError,
    InputError,
    SelectionError,
    StorageError,
    ValidationError,
)
from bertattn.extract import Excluded
from bertattn.heads import score_coreference, score_relations
from bertattn.interventions import ablate
from bertattn.patterns import entropy, surface_patterns
from bertattn.results import Result
from bertattn.statistics import Summary
from bertattn.storage import _manifest

# Its second word has no token, so it cannot be merged into words.
UNALIGNED = Sentence(["Snow", "\u200b", "falls"], governors=[3, 1, 0], relations=["nsubj", "dep", "root"])
LONG = Sentence(["snow"] * 120, governors=[0, *range(1, 120)], relations=["root"] + ["dep"] * 119)


@functools.cache
def extractor() -> Extractor:
    return Extractor(*model_zoo.build("bert"), name="small")


def trees(count: int) -> list[Sentence]:
    """Sentences in which each word hangs on the one after it."""
    found = []
    for number in range(count):
        words = tokenizer_zoo.SENTENCES[number % 40].rstrip(".").split()[: 3 + number % 5]
        relations = ["nsubj", "obj", "det"] * 3
        found.append(
            Sentence(
                words,
                governors=[*range(2, len(words) + 1), 0],
                relations=[*relations[: len(words) - 1], "root"],
                id=f"s{number}",
            )
        )
    return found


# Nothing but a power cut asks for a disk; a test that writes a thousand files need not wait for one.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def files(folder: Path) -> dict[str, bytes]:
    """What is kept, without the lock; nothing half written lies about."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(found) - {".lock"} == {name for name in found if not name.startswith(".")}
    return {name: content for name, content in found.items() if not name.startswith(".")}


def patterns(stream: Any) -> Summary:
    return ba.summarize(stream, surface_patterns)


# What is kept comes back


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_maps_of_words_come_back(tmp_path: Path, dtype: Any):
    window = DocumentWindow((trees(1)[0], trees(2)[1]), (Mention(0, 1, "e", metadata={"infstat": "new"}),), "d", 4)
    inputs = [*trees(5), window, "The lighthouse keeper counted.", TextPair("Copper conducts.", "Steel does not.")]
    run = RunFolder(tmp_path / "run").keep(extractor(), inputs, dtype=dtype, shard_size=3)
    assert run.is_complete
    assert len(run) == len(list(run)) == len(inputs)
    assert (run.skipped, run.truncated) == ((), ())
    for number, (kept, x) in enumerate(zip(run, inputs, strict=True)):
        expected = merge_subwords(extractor()(x))
        assert kept.weights.dtype == getattr(torch, dtype)
        atol = 5e-4 if dtype == "float16" else 1e-6
        np.testing.assert_allclose(kept.numpy().astype("f4"), expected.numpy(), atol=atol)
        for field in dataclasses.fields(kept):
            if field.name != "weights":
                assert getattr(kept, field.name) == getattr(expected, field.name), field.name
        assert kept.keys is kept.queries
        assert "cls" in kept.queries.roles
        kept.replace(measure="attention")  # rows of rounded numbers are distributions still
        assert torch.equal(run[number].weights, kept.weights)
        assert run[number].annotation == kept.annotation
    assert torch.equal(run[-1].weights, kept.weights)
    for number in (8, -9):
        with pytest.raises(SelectionError, match=rf"^there is no map {number}; there are 8, counted from 0$"):
            run[number]


def test_the_maps_of_tokens_come_back(tmp_path: Path):
    inputs = [TokenIds([2, 9, 10, 3], segments=[0, 0, 1, 1]), [2, 11, 3], np.array([2, 9, 3]), "Snow falls."]
    run = RunFolder(tmp_path).keep(extractor(), inputs, unit="token", dtype="float32", layers=[2, 0])
    for kept, x in zip(run, inputs, strict=True):
        expected = extractor()(x, layers=[0, 2])
        assert (kept.layers, kept.unit, kept.queries) == ((0, 2), "token", expected.queries)
        np.testing.assert_allclose(kept.numpy(), expected.numpy(), atol=1e-6)


def test_what_was_left_out_is_numbered_over_all_inputs(tmp_path: Path):
    inputs = ["", UNALIGNED, "Snow falls.", "", UNALIGNED, "word " * 200, "Frogs lay eggs.", UNALIGNED]
    options: dict[str, Any] = {"on_error": "skip", "on_too_long": "truncate"}
    for shard_size in (1, 3, 8):
        run = RunFolder(tmp_path / str(shard_size)).keep(extractor(), inputs, shard_size=shard_size, **options)
        assert [e.index for e in run.skipped] == [0, 1, 3, 4, 7]
        assert run.skipped[0] == Excluded(0, "there is no text: '' is empty or only white space")
        assert "no token" in run.skipped[4].reason
        assert [e.index for e in run.truncated] == [5]
        assert [a.queries.tokens[1] for a in run] == ["Snow", "word", "Frogs"]
        assert run[1].shape[-1] > run[2].shape[-1]
        summary = ba.summarize(run, entropy)
        assert [index for index, _ in summary.skipped] == [0, 1, 3, 4, 7]


def test_nothing_is_left(tmp_path: Path):
    run = RunFolder(tmp_path).keep(extractor(), ["", "", " "], shard_size=2, on_error="skip")
    assert run.is_complete
    assert (len(run), list(run), [e.index for e in run.skipped]) == (0, [], [0, 1, 2])
    with pytest.raises(SelectionError, match="there is no map 0; there are 0"):
        run[0]


def test_windows_are_cut_as_the_extractor_cuts_them(tmp_path: Path):
    documents = [ba.Document(trees(6), id="a"), ba.Document(trees(3), id="b")]
    windows = ba.windows(documents, max_tokens=20, which="all")
    run = RunFolder(tmp_path).keep(extractor(), windows, shard_size=2)
    expected = list(extractor().extract(windows))
    assert [a.annotation for a in run] == [a.annotation for a in expected]
    assert len(expected) > 2
    assert RunFolder(tmp_path).keep(extractor(), [a.annotation for a in expected], shard_size=2).is_complete


def test_a_map_is_read_without_the_other_shards(tmp_path: Path):
    run = RunFolder(tmp_path).keep(extractor(), trees(6), shard_size=2)
    weights = run[5].weights
    for name in ("maps-00000", "maps-00001"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
    assert torch.equal(run[5].weights, weights)
    first = iter(run)
    with pytest.raises(StorageError, match="maps-00000"):
        next(first)


def test_results_that_were_skipped_whole_shards_of(tmp_path: Path):
    """A shard of which nothing is left does not end the run, and what it left out is in the sum."""
    inputs = [UNALIGNED, "", *trees(2), LONG, UNALIGNED, trees(1)[0], UNALIGNED]
    options: dict[str, Any] = {"on_error": "skip", "on_too_long": "skip"}
    whole = score_relations(extractor().extract(inputs, **options), on_error="skip")
    for shard_size in (1, 2, 3):
        parts = RunFolder(tmp_path / str(shard_size)).sum(
            extractor(), inputs, score_relations, unit="word", shard_size=shard_size, **options
        )
        assert dataclasses.replace(parts, source=whole.source) == whole
        assert [index for index, _ in parts.skipped] == [0, 1, 4, 5, 7]
        assert [e.index for e in RunFolder(tmp_path / str(shard_size)).skipped] == [0, 1, 4, 5, 7]


def test_a_sum_of_nothing(tmp_path: Path):
    with pytest.raises(ValidationError, match=r"none of the 2 inputs gave a map; input 0 .*: there is no text"):
        RunFolder(tmp_path).sum(extractor(), ["", " "], patterns, shard_size=1, on_error="skip")


KINDS = ("tree", "unaligned", "long", "no text")


def corpus(kinds: list[str]) -> list[Any]:
    good = iter(trees(len(kinds)))
    return [
        {"unaligned": UNALIGNED, "long": LONG, "no text": ""}.get(kind) if kind != "tree" else next(good)
        for kind in kinds
    ]


FUNCTIONS: dict[str, Any] = {"relations": score_relations, "coreference": score_coreference, "summary": patterns}


@given(
    st.lists(st.sampled_from(("tree", *KINDS)), min_size=1, max_size=7),
    st.integers(1, 4),
    st.sampled_from(sorted(FUNCTIONS)),
)
def test_the_sum_over_shards_is_the_function_of_the_whole(kinds: list[str], shard_size: int, name: str):
    function, summary = FUNCTIONS[name], name == "summary"
    inputs = [as_window(x) if name == "coreference" else x for x in corpus(kinds)]
    options: dict[str, Any] = {"on_error": "skip", "on_too_long": "skip"}
    unit: Any = "token" if summary else "word"
    skipping = function if summary else functools.partial(function, on_error="skip")
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        run = RunFolder(folder)
        if not {"tree", "unaligned" if summary else "tree"} & set(kinds):
            with pytest.raises(ValidationError, match="inputs were skipped"):
                skipping(extractor().extract(inputs, **options))
            with pytest.raises(ValidationError, match=f"none of the {len(inputs)} inputs gave a map"):
                run.sum(extractor(), inputs, function, unit=unit, shard_size=shard_size, **options)
            return
        whole = skipping(extractor().extract(inputs, **options))
        parts = run.sum(extractor(), inputs, function, unit=unit, shard_size=shard_size, **options)
        assert run.result() == parts
    assert type(parts) is type(whole)
    assert parts.skipped == whole.skipped
    if summary:
        assert (parts.sequences, parts.queries) == (whole.sequences, whole.queries)
        for field in ("count", "missing", "mean", "squared_second"):
            np.testing.assert_allclose(getattr(parts.table, field), getattr(whole.table, field), rtol=1e-4, atol=1e-6)
    else:  # words were merged before the function saw them, which the source tells
        assert dataclasses.replace(parts, source=whole.source) == whole


def as_window(x: Any) -> Any:
    if not isinstance(x, Sentence) or len(x) > 100:
        return x
    mentions = (Mention(0, 1, "e"), Mention(1, 2, "f"), Mention(len(x) - 1, len(x), "e"))
    return DocumentWindow((x,), mentions, document=x.id)


@dataclasses.dataclass(frozen=True)
class Words(Result):
    """How many words there were, and how much was added to get there."""

    words: int
    work: int = 0
    skipped: tuple[tuple[int, str], ...] = ()

    def _state(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Words:
        return cls(state["words"], state["work"], tuple((i, why) for i, why in state["skipped"]))

    def __add__(self, other: Words) -> Words:
        words = self.words + other.words
        return Words(words, self.work + other.work + words, tuple(sorted(self.skipped + other.skipped)))


def one_word_each(stream: Any) -> Words:
    return Words(sum(1 for _ in stream), 0, tuple((e.index, e.reason) for e in stream.skipped))


def first_only(stream: Any) -> Words:
    next(iter(stream))
    return Words(1)


def test_many_shards_are_added_by_halves(tmp_path: Path):
    total = RunFolder(tmp_path).sum(extractor(), ["Snow falls."] * 100, one_word_each, shard_size=1)
    assert total.words == 100
    assert total.work <= 100 * 7


def test_a_function_that_stops_early_hides_nothing(tmp_path: Path):
    inputs = [*["Snow."] * 20, ""]  # beyond what is read ahead
    RunFolder(tmp_path).sum(extractor(), inputs, first_only, batch_size=1, on_error="skip")
    assert [e.index for e in RunFolder(tmp_path).skipped] == [20]


def test_a_class_of_results_that_is_not_there(tmp_path: Path):
    run = RunFolder(tmp_path)
    run.sum(extractor(), ["Snow falls."], one_word_each)
    Words.__qualname__ = "Others"
    try:
        with pytest.raises(StorageError, match=rf"holds a Words of {__name__}, .*; import {__name__} first"):
            run.result()
    finally:
        Words.__qualname__ = "Words"


def test_a_sum_is_read_in_a_new_process_without_a_model(tmp_path: Path):
    total = RunFolder(tmp_path).sum(extractor(), trees(4), score_relations, shard_size=3)
    code = "import sys, bertattn as ba; print(repr(ba.RunFolder(sys.argv[1]).result()), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{total!r} False\n"


# The same bytes


def test_the_same_bytes_in_whatever_order_shards_are_made(tmp_path: Path):
    inputs = trees(11)
    for name in ("a", "b"):
        RunFolder(tmp_path / name).keep(extractor(), inputs, shard_size=2)
        score = functools.partial(score_relations, directions=["to_dependent"])
        RunFolder(tmp_path / f"{name}-sums").sum(extractor(), inputs, score, shard_size=2)
    for name, suffix in (("a", "maps-00002.safetensors"), ("a-sums", "sums-00003.json")):
        whole = files(tmp_path / name)
        assert len(whole) == 7
        assert files(tmp_path / name.replace("a", "b", 1)) == whole
        (tmp_path / name / suffix).unlink()
        assert not RunFolder(tmp_path / name).is_complete
        made = {path: path.stat().st_ino for path in (tmp_path / name).iterdir()}
        if name == "a":
            RunFolder(tmp_path / name).keep(extractor(), inputs, shard_size=2)
        else:
            RunFolder(tmp_path / name).sum(extractor(), inputs, score, shard_size=2)
        assert files(tmp_path / name) == whole
        assert {path: path.stat().st_ino for path in made} == made, "only the one that was missing was made"


def test_what_the_extractor_has_learnt_before_changes_no_byte(tmp_path: Path):
    inputs = trees(8)
    RunFolder(tmp_path / "a").keep(Extractor(*model_zoo.build("bert"), name="small"), inputs, dtype="float32")
    used = Extractor(*model_zoo.build("bert"), name="small")
    used._padding_harmless["encoder"] = False  # so that each length would be run by itself
    RunFolder(tmp_path / "b").keep(used, inputs, dtype="float32")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert used._padding_harmless == {"encoder": False}


def test_a_complete_folder_is_only_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    inputs = trees(3)
    RunFolder(tmp_path).keep(extractor(), inputs)
    RunFolder(tmp_path / "sums").sum(extractor(), inputs, score_relations)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the model ran")

    monkeypatch.setattr(Extractor, "_forward", fail)
    assert len(RunFolder(tmp_path).keep(extractor(), iter(inputs), layers=None, batch_size=16)) == 3
    assert RunFolder(tmp_path / "sums").sum(extractor(), inputs, score_relations).sentences == 3
    with pytest.raises(RuntimeError, match="the model ran"):
        RunFolder(tmp_path / "new").keep(extractor(), inputs)


def test_options_of_one_meaning_are_one_setting(tmp_path: Path):
    RunFolder(tmp_path).keep(extractor(), trees(2), layers=iter([1, 0]), batch_size=np.int64(4), shard_size=np.int64(1))
    RunFolder(tmp_path).keep(extractor(), trees(2), layers=np.array([0, 1]), batch_size=4, shard_size=1)
    RunFolder(tmp_path / "one").keep(extractor(), trees(2), layers=1)
    assert RunFolder(tmp_path / "one").keep(extractor(), trees(2), layers=[1]).manifest["settings"]["extract"] == {
        "layers": [1],
        "attention": None,
        "on_too_long": "error",
        "on_error": "raise",
        "spacing": "single",
        "batch_size": 16,
    }


def test_progress_counts_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    RunFolder(tmp_path).keep(extractor(), ["", *trees(5)], shard_size=2, on_error="skip")
    assert capsys.readouterr().err == ""
    (tmp_path / "maps-00000.safetensors").unlink()
    RunFolder(tmp_path).keep(extractor(), ["", *trees(5)], shard_size=2, on_error="skip", progress=True)
    shown = capsys.readouterr().err
    assert "4/6" in shown
    assert "6/6" in shown
    assert "0/6" not in shown


# Kills

KILLED = """
    import os, random, signal, sys, threading, time
    from pathlib import Path
    import torch
    from tqdm import tqdm
    from bertattn import RunFolder
    from bertattn.heads import score_relations
    import test_storage_runs as here

    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # its own is shared by forked processes and would be held by one killed for ever
    tqdm.monitor_interval = 0
    folder, inputs, kills = Path(sys.argv[1]), here.trees(90), int(sys.argv[2])
    rng = random.Random(6)

    def fill(number):
        kind = ("maps", "sums")[number % 2]
        run = RunFolder(folder / f"{kind}-{number}")
        if kind == "maps":
            run.keep(here.extractor(), inputs, shard_size=3)
        else:
            run.sum(here.extractor(), inputs, score_relations, shard_size=3)

    here.extractor()
    start = time.monotonic()
    fill(0), fill(1)
    whole, number, killed, resumed = (time.monotonic() - start) / 2, 2, 0, 0
    while killed < kills:
        child = os.fork()
        if child == 0:
            fill(number)
            os._exit(0)
        time.sleep(rng.uniform(0, 0.4 * whole))
        os.kill(child, signal.SIGKILL)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            killed += 1
            made = len(list((folder / f"{('maps', 'sums')[number % 2]}-{number}").glob("*s-0*")))
            resumed += 0 < made < 30
        else:
            number += 1
    for n in range(2, number + 1):
        fill(n)
    print(killed, resumed)
"""


@pytest.mark.slow
def test_twenty_kills_at_random_moments_leave_the_bytes_of_an_uninterrupted_run():
    here = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(Path(__file__).parent)}
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(KILLED), name, "20"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | here,
        )
        assert done.returncode == 0, done.stderr
        killed, resumed = map(int, done.stdout.split())
        assert killed == 20
        assert resumed >= 5, "kills hit runs that were under way"
        folders = sorted(Path(name).iterdir())
        assert len(folders) >= 3
        for folder in folders:
            whole = Path(name, "maps-0" if folder.name.startswith("maps") else "sums-1")
            assert files(folder) == files(whole)
            assert len(files(folder)) == 31


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_loses_the_shard_in_the_making_only(tmp_path: Path, kind: type[BaseException]):
    calls = []

    def score(stream: Any) -> Result:
        calls.append(1)
        if len(calls) == 3:
            next(stream)
            raise kind("stop")
        return one_word_each(stream)

    run = RunFolder(tmp_path)
    with pytest.raises(kind) as caught:
        run.sum(extractor(), trees(7), score, shard_size=2)
    (note,) = [n for n in caught.value.__notes__ if "kept in" in n]
    assert note.startswith("this came up among inputs 4 to 5, counted from 0; the shards made before are kept in ")
    assert sorted(files(tmp_path)) == ["manifest.json", "sums-00000.json", "sums-00001.json"]
    with pytest.raises(StorageError, match=r"not complete: 2 of 4 shards .* sums-00002.json is not; .* run\.sum again"):
        run.result()
    assert run.sum(extractor(), trees(7), score, shard_size=2).words == 7
    assert len(calls) == 5


# What does not belong


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    RunFolder(tmp_path / "run").keep(extractor(), trees(6), shard_size=2)
    return tmp_path / "run"


def refused(kept: Path, message: str, ext: Any = None, inputs: Any = None, **options: Any) -> None:
    """The call is refused with these words, and nothing is changed."""
    before = files(kept)
    options = {"shard_size": 2} | options
    with pytest.raises(StorageError, match=message):
        RunFolder(kept).keep(ext or extractor(), inputs or trees(6), **options)
    assert files(kept) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float32"}, r"run: settings\.dtype was 'float16' and is 'float32'\. Name another folder, or delete"),
        ({"unit": "token"}, r"settings\.unit was 'word' and is 'token'\."),
        ({"batch_size": 4}, r"settings\.extract\.batch_size was 16 and is 4\."),
        ({"layers": [1]}, r"settings\.extract\.layers was None and is \[1\]\."),
        ({"spacing": "natural"}, r"settings\.extract\.spacing was 'single' and is 'natural'\."),
        ({"shard_size": 3}, r"run: settings\.shard_size was 2 and is 3\."),
    ],
)
def test_changed_settings(kept: Path, options: dict[str, Any], message: str):
    refused(kept, message, **options)


def test_changed_inputs(kept: Path):
    inputs: list[Any] = trees(6)
    refused(kept, r"run: inputs\.count was 6 and is 7; inputs\.sha256\.from 0 was '\w+ and is '\w+\. ", inputs=trees(7))
    for change in (
        {"words": ["Ice", *inputs[3].words[1:]]},
        {"governors": [0] * len(inputs[3])},
        {"metadata": {"a": 1}},
        {"id": None},
    ):
        changed = [*inputs[:3], dataclasses.replace(inputs[3], **change), *inputs[4:]]
        refused(kept, r"another run: inputs\.sha256\.from 0 was '\w+ and is '\w+\. ", inputs=changed)
    refused(kept, r"inputs\.sha256\.from 0", inputs=[*inputs[:2], inputs[3], inputs[2], *inputs[4:]])
    refused(kept, r"inputs\.sha256\.from 0", inputs=[*inputs[:3], inputs[3].text()[0], *inputs[4:]])


def test_inputs_are_told_apart():
    different = [
        "a",
        "1",
        [1],
        [1, 2],
        TokenIds([1]),
        TokenIds([1], segments=[0]),
        TokenIds([1], token_types=[0]),
        TextPair("a", "b"),
        TextPair("b", "a"),
        Sentence(["a"]),
        DocumentWindow((Sentence(["a"]),), ()),
        None,
        "\ud800",
    ]
    digests = [_manifest._input_digests([x])["from 0"] for x in different]
    assert len(set(digests)) == len(different)
    for same in (np.array([1, 2]), torch.tensor([1, 2]), (1, 2)):
        assert _manifest._input_digests([same])["from 0"] == digests[3]
    assert list(_manifest._input_digests(["a"] * 201)) == ["from 0", "from 100", "from 200"]
    with pytest.raises(StorageError, match="metadata cannot be written as JSON"):
        _manifest._input_digests([Sentence(["a"], metadata={"a": object()})])


def copied(name: str = "small") -> Extractor:
    model, tokenizer = model_zoo.build("bert")
    twin = type(model)(model.config)
    twin.load_state_dict(model.state_dict())
    return Extractor(twin.eval(), tokenizer, name=name)


def test_a_changed_model(kept: Path):
    RunFolder(kept).keep(copied(), trees(6), shard_size=2)
    refused(kept, r"run: model\.model was 'small' and is 'large'\.", copied("large"))
    changed = copied()
    with torch.no_grad():
        changed.model.embeddings.LayerNorm.bias[0] += 1e-6
    refused(kept, r"run: model\.sha256 was '\w+ and is '\w+\.", changed)
    changed = copied()
    changed.model.config = type(changed.model.config)(**(changed.model.config.to_dict() | {"layer_norm_eps": 1e-3}))
    refused(kept, r"run: model\.config\.layer_norm_eps was 1e-12 and is 0.001\.", changed)
    changed = Extractor(changed.model.double(), extractor().tokenizer, name="small")
    refused(kept, r"model\.dtype was 'float32' and is 'float64'", changed)
    other = type(extractor().tokenizer)(vocab=extractor().tokenizer.get_vocab(), do_lower_case=False)
    refused(kept, r"run: model\.tokenizer_sha256 was", Extractor(extractor().model, other, name="small"))
    with ablate(extractor(), ["1-2"]):
        refused(kept, r"model\.ablated was \[\] and is \[\[", extractor())


def test_a_slow_tokenizer_is_told_by_its_vocabulary():
    slow = model_zoo.build("esm")[1]
    assert not slow.is_fast
    assert _manifest._tokenizer_digest(slow) == _manifest._tokenizer_digest(slow)
    fast = extractor().tokenizer
    before = _manifest._tokenizer_digest(fast)
    fast("snow falls " * 10, truncation=True, max_length=5)
    assert _manifest._tokenizer_digest(fast) == before != _manifest._tokenizer_digest(slow)


def test_changed_versions(kept: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ba, "__version__", "99")
    refused(kept, rf"run: versions\.bertattn was {RunFolder(kept).manifest['versions']['bertattn']!r} and is '99'\.")


def test_a_changed_function(tmp_path: Path):
    run = RunFolder(tmp_path)
    score = functools.partial(score_relations, directions=("to_dependent",), punct="include")
    run.sum(extractor(), trees(3), score)
    run.sum(extractor(), trees(3), functools.partial(score_relations, punct="include", directions=["to_dependent"]))
    before = files(tmp_path)
    for function, message in (
        (functools.partial(score, punct="exclude"), r"function\.keywords\.punct was 'include' and is 'exclude'\."),
        (
            score_relations,
            r"keywords\.directions was \['to_dependent'\] and is None; .*punct was 'include' and is None\.",
        ),
        (
            patterns,
            r"function\.name was 'bertattn\.heads\.dependency\.score_relations' and is 'test_storage_runs\.patterns';",
        ),
    ):
        with pytest.raises(StorageError, match=message):
            run.sum(extractor(), trees(3), function)
    assert files(tmp_path) == before


def test_functions_are_described():
    with_set = functools.partial(patterns, {"b", "a"}, metric=entropy)
    described = _manifest.described_function(with_set)
    assert described["name"] == f"{__name__}.patterns"
    shown = json.loads(json.dumps(described, default=_manifest._shown_value))
    assert shown["arguments"] == [["'a'", "'b'"]]
    assert shown["keywords"]["metric"]["name"] == "bertattn.patterns.entropy"
    assert _manifest.described_function(patterns)["source"] != _manifest.described_function(one_word_each)["source"]
    assert _manifest.described_function(lambda stream: stream)["name"].endswith("described.<locals>.<lambda>")

    class Scorer:
        def __call__(self, stream: Any) -> Words:
            return one_word_each(stream)

    assert _manifest.described_function(Scorer())["name"].endswith("Scorer")
    assert _manifest.described_function(len) == {
        "name": "builtins.len",
        "source": None,
        "arguments": [],
        "keywords": {},
    }


def test_maps_and_sums_do_not_mix(kept: Path, tmp_path: Path):
    with pytest.raises(StorageError, match=r"run holds maps; sums need another folder, or delete this one$"):
        RunFolder(kept).sum(extractor(), trees(6), score_relations, shard_size=2)
    with pytest.raises(StorageError, match=r"run holds maps, not sums; iterate over it$"):
        RunFolder(kept).result()
    sums = RunFolder(tmp_path / "sums")
    sums.sum(extractor(), trees(6), score_relations)
    with pytest.raises(StorageError, match=r"sums holds sums; maps need another folder, or delete this one$"):
        sums.keep(extractor(), trees(6))
    for read in (iter, len, lambda run: run[0]):
        with pytest.raises(StorageError, match=r"holds sums, not maps; read their total with run\.result\(\)$"):
            read(sums)


def test_a_folder_of_other_things(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StorageError, match=r"no run but other files, such as thesis\.tex; name a new or an empty fold"):
        RunFolder(tmp_path).keep(extractor(), trees(1))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StorageError, match=r"thesis\.tex is a file; name a folder to keep a run in$"):
        RunFolder(tmp_path / "thesis.tex")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(StorageError, match=r"manifest\.json was not written by bertattn"):
        RunFolder(tmp_path).keep(extractor(), trees(1))


def test_an_empty_folder(tmp_path: Path):
    run = RunFolder(tmp_path / "a" / "b")
    assert not run.is_complete
    assert repr(run) == f"RunFolder('{tmp_path}/a/b', empty)"
    for read in (iter, len, RunFolder.result, lambda run: run.skipped, lambda run: run.manifest):
        with pytest.raises(
            StorageError, match=r"b holds no run; fill it with run\.keep\(ext, inputs\), or name another"
        ):
            read(run)
    run.keep(extractor(), trees(3), shard_size=2)
    assert repr(run) == f"RunFolder('{tmp_path}/a/b', maps of 3 inputs, 2 of 2 shards)"


def manifest_with(kept: Path, **changes: Any) -> None:
    document = json.loads((kept / "manifest.json").read_text())
    (kept / "manifest.json").write_text(json.dumps(document | changes))


def test_a_higher_version_and_a_torn_manifest(kept: Path):
    manifest_with(kept, version=2)
    refused(kept, r"manifest\.json has version 2 of the format .* reads up to 1; upgrade with: pip install -U bertattn")
    manifest_with(kept, kind="Summary")
    refused(kept, r"manifest\.json holds a Summary, not a RunFolder")
    manifest_with(kept, kind="RunFolder", version=1, value={"kind": "poems"})
    refused(kept, r"manifest\.json is damaged: ValueError: unknown kind 'poems'")
    (kept / "manifest.json").write_text('{"format": "ber')
    refused(kept, r"manifest\.json is torn or no JSON file \(.*\); take another folder")


def test_a_manifest_without_shards_may_be_replaced(tmp_path: Path):
    """Otherwise a call that failed at once would bar the corrected one."""
    run = RunFolder(tmp_path)
    with pytest.raises(SelectionError, match="layers \\[7\\] are not here"):
        run.keep(extractor(), trees(2), layers=[7])
    assert list(files(tmp_path)) == ["manifest.json"]
    assert len(run.keep(extractor(), trees(2), layers=[1])) == 2


def test_an_incomplete_folder_is_not_read(kept: Path):
    run = RunFolder(kept)
    (kept / "maps-00001.safetensors").unlink()
    assert repr(run).endswith("maps of 6 inputs, 2 of 3 shards)")
    for read in (iter, len, lambda run: run[0], lambda run: run.truncated):
        with pytest.raises(
            StorageError,
            match=r"2 of 3 shards are there, maps-00001\.safetensors is not; .*run\.keep again, which goes",
        ):
            read(run)


# Damage


def damaged(folder: Path, name: str, why: str = "", *, maps: bool = True) -> None:
    """Reading ends with the name of the shard and what to do; doing it gives the first bytes back."""
    run = RunFolder(folder)
    with pytest.raises(
        StorageError,
        match=rf"{name} is damaged or of another run \(.*{why}.*\); delete it and make the call that .* again",
    ):
        list(run) if maps else run.result()


@pytest.mark.parametrize("length", [0, 7, 8, 100, 3000, -1])
def test_a_torn_shard(kept: Path, length: int):
    whole = files(kept)
    path = kept / "maps-00001.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    damaged(kept, "maps-00001.safetensors")
    path.unlink()
    RunFolder(kept).keep(extractor(), trees(6), shard_size=2)
    assert files(kept) == whole


def test_a_swapped_shard_and_one_of_another_run(kept: Path, tmp_path: Path):
    first, second = (kept / f"maps-0000{n}.safetensors" for n in (0, 1))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    damaged(kept, first.name, r"it is shard 1; was it renamed\?")
    RunFolder(tmp_path / "other").keep(extractor(), trees(7)[1:], shard_size=2)
    first.write_bytes((tmp_path / "other" / first.name).read_bytes())
    damaged(kept, first.name, "it names another manifest")
    first.write_bytes(content)
    assert len(list(RunFolder(kept))) == 6
    ba.save(first, RunFolder(kept)[3])
    damaged(kept, first.name, "holds a AttentionTensor, not a RunFolder shard")


def flips(content: bytes, count: int) -> Iterator[bytes]:
    """The content with one bit turned, anywhere, and at each of its ends."""
    rng = random.Random(0)
    for place in [*range(40), *rng.sample(range(len(content)), count), len(content) - 1]:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        yield bytes(changed)


def test_a_turned_bit_is_noticed(kept: Path):
    maps = list(RunFolder(kept))
    path = kept / "maps-00001.safetensors"
    noticed, tries = 0, 0
    for content in flips(path.read_bytes(), 300):
        path.write_bytes(content)
        tries += 1
        try:
            read = list(RunFolder(kept))
        except StorageError as error:
            noticed += "maps-00001.safetensors" in str(error)
        else:
            for a, b in zip(read, maps, strict=True):
                assert torch.equal(a.weights, b.weights)
                assert (a.queries, a.annotation, a.source) == (b.queries, b.annotation, b.source)
    assert noticed >= tries - 1  # the version in the label may become a lower one


def test_a_turned_bit_in_a_sum_is_noticed(tmp_path: Path):
    total = RunFolder(tmp_path).sum(extractor(), trees(2), score_relations, shard_size=1)
    path = tmp_path / "sums-00001.json"
    noticed, tries = 0, 0
    for content in flips(path.read_bytes(), 300):
        path.write_bytes(content)
        tries += 1
        try:
            assert RunFolder(tmp_path).result() == total
        except StorageError as error:
            noticed += "sums-00001.json" in str(error)
    assert noticed >= tries - 1
    path.write_bytes(b"[" * 100_000)
    damaged(tmp_path, "sums-00001.json", maps=False)


def test_numbers_in_another_precision_are_noticed(kept: Path):
    """The same bytes under another name in the header, which no checksum of bytes can tell."""
    path = kept / "maps-00001.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"dtype":"F16"', b'"dtype":"I16"'))
    damaged(kept, path.name, "the numbers of its map 0")


def test_a_shard_is_no_tensor(kept: Path):
    with pytest.raises(StorageError, match=r"holds a RunFolder shard, not an AttentionTensor"):
        ba.load(kept / "maps-00000.safetensors")


# Two at once, and disks


HOLDER = "import sys, bertattn.storage as s\nwith s.RunFolder(sys.argv[1])._writing():\n print(flush=True)\n input()"


def test_two_processes(kept: Path):
    (kept / "maps-00001.safetensors").unlink()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, kept], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(
            StorageError, match=rf"run is in use by process {holder.pid} on .*, which is writing to it; wait until it"
        ):
            RunFolder(kept).keep(extractor(), trees(6), shard_size=2)
        assert not RunFolder(kept).is_complete
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert (kept / ".writer").exists()
    (kept / ".0123456789abcdef.partial").write_bytes(b"half a sha")
    assert RunFolder(kept).keep(extractor(), trees(6), shard_size=2).is_complete
    assert len(files(kept)) == 4


def test_two_objects_of_one_process(kept: Path):
    (kept / "maps-00001.safetensors").unlink()
    with RunFolder(kept)._writing():
        with pytest.raises(StorageError, match=rf"in use by process {os.getpid()} on "):
            RunFolder(kept).keep(extractor(), trees(6), shard_size=2)
        (kept / ".writer").unlink()
        with pytest.raises(StorageError, match="in use by another process, which"):
            RunFolder(kept).keep(extractor(), trees(6), shard_size=2)
    assert RunFolder(kept).keep(extractor(), trees(6), shard_size=2).is_complete


def test_a_complete_folder_needs_no_lock(kept: Path):
    with RunFolder(kept)._writing():
        assert RunFolder(kept).keep(extractor(), trees(6), shard_size=2).is_complete
        assert len(list(RunFolder(kept))) == 6


def test_a_full_disk(tmp_path: Path):
    """The system refuses in the middle of a file; the shards before stay, and the call goes on when there is space."""
    run = RunFolder(tmp_path / "run")
    RunFolder(tmp_path / "whole").keep(extractor(), trees(4), shard_size=2)
    sizes = [(tmp_path / "whole" / f"maps-0000{n}.safetensors").stat().st_size for n in (0, 1)]
    assert sizes[0] < sizes[1]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[1] - 1, before[1]))
    try:
        with pytest.raises(OSError, match=r"maps-00001\.safetensors") as caught:
            run.keep(extractor(), trees(4), shard_size=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert any("the same call goes on from there" in note for note in caught.value.__notes__)
    assert sorted(files(run.path)) == ["manifest.json", "maps-00000.safetensors"]
    run.keep(extractor(), trees(4), shard_size=2)
    assert files(run.path) == files(tmp_path / "whole")


def test_no_space_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*manifest\.json'"):
        RunFolder(tmp_path / "run").keep(extractor(), trees(2))
    assert files(tmp_path / "run") == {}


@pytest.fixture
def nobody() -> Iterator[None]:
    """Whom a read-only folder stops: root it does not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "run")
        RunFolder(folder).keep(extractor(), trees(4), shard_size=2)
        Path(name).chmod(0o755)
        yield folder
        folder.chmod(0o755)


@pytest.fixture
def read_only(open_folder: Path) -> Path:
    open_folder.chmod(0o555)
    return open_folder


def test_a_read_only_folder(read_only: Path, nobody: None):
    run = RunFolder(read_only)
    assert len(list(run.keep(extractor(), trees(4), shard_size=2))) == 4


def test_a_read_only_folder_that_is_not_complete(open_folder: Path, request: pytest.FixtureRequest):
    (open_folder / "maps-00001.safetensors").unlink()
    before = files(open_folder)
    request.getfixturevalue("read_only")
    request.getfixturevalue("nobody")
    with pytest.raises(PermissionError, match=str(open_folder)):
        RunFolder(open_folder).keep(extractor(), trees(4), shard_size=2)
    with pytest.raises(PermissionError, match=str(open_folder)):
        RunFolder(open_folder / "new").keep(extractor(), trees(4), shard_size=2)
    assert files(open_folder) == before


# Mistakes in the call


def test_mistakes(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    calls: list[tuple[type[Exception], str, Any]] = [
        (
            ValidationError,
            "dtype must be 'float16' or 'float32', but is 'int8'",
            lambda: run.keep(*one(), dtype="int8"),
        ),
        (ValidationError, "unit must be 'token' or 'word', but is 'letter'", lambda: run.keep(*one(), unit="letter")),
        (ValidationError, "shard_size must be a whole number, .* is 0", lambda: run.keep(*one(), shard_size=0)),
        (ValidationError, "shard_size must be a whole number, .* is 2.5", lambda: run.keep(*one(), shard_size=2.5)),
        (ValidationError, "ext must be a bertattn.Extractor, but is str", lambda: run.keep("bert", ["a"])),
        (InputError, "on_error must be 'raise' or 'skip', but is 'x'", lambda: run.keep(*one(), on_error="x")),
        (SelectionError, "layers must be numbers", lambda: run.keep(*one(), layers="1")),
        (TypeError, "unexpected keyword argument 'colour'", lambda: run.keep(*one(), colour="red")),
        (InputError, "inputs is one str; call ext", lambda: run.keep(extractor(), "Snow falls.")),
        (InputError, "there are no inputs; was an iterator read", lambda: run.keep(extractor(), iter(()))),
        (ValidationError, "function must take a stream .* is Words;", lambda: run.sum(*one(), Words(1))),
    ]
    for kind, message, call in calls:
        with pytest.raises(kind, match=message):
            call()
    assert not run.path.exists()


def one() -> tuple[Extractor, list[str]]:
    return extractor(), ["Snow falls."]


@pytest.mark.parametrize("result", [3.0, None, ba.heads.BestHeads])
def test_results_that_do_not_add(tmp_path: Path, result: Any):
    made = result if not isinstance(result, type) else object.__new__(result)
    with pytest.raises(ValidationError, match=rf"a result that adds, .* but gave a {type(made).__name__}"):
        RunFolder(tmp_path).sum(*one(), lambda _: made)


def test_an_error_names_the_input_by_its_number_in_all(tmp_path: Path):
    run = RunFolder(tmp_path)
    with pytest.raises(InputError, match=r"^input 3: there is no text") as caught:
        run.keep(extractor(), [*trees(3), "", "a"], shard_size=2)
    assert "among inputs 2 to 3, counted from 0" in caught.value.__notes__[-1]
    with pytest.raises(AlignmentError, match=r"^input 4: "):
        RunFolder(tmp_path / "words").keep(extractor(), [*trees(3), trees(1)[0], UNALIGNED], shard_size=3)
    with pytest.raises(ba.errors.TooLongError, match=r"^input 2: "):
        RunFolder(tmp_path / "long").keep(extractor(), [*trees(2), LONG], shard_size=2)
    assert sorted(files(tmp_path / "long")) == ["manifest.json", "maps-00000.safetensors"]


def test_a_refilled_folder_is_seen_by_objects_that_read_it_before(kept: Path, tmp_path: Path):
    run = RunFolder(kept)
    assert len(run) == 6
    for path in kept.iterdir():
        path.unlink()
    RunFolder(kept).keep(extractor(), trees(9)[6:], shard_size=2)
    assert [a.annotation.id for a in run] == ["s6", "s7", "s8"]
    assert (len(run), run[2].annotation.id) == (3, "s8")


def test_a_model_without_a_pooler_is_known_again(tmp_path: Path):
    """Its pooler is random, and differs from process to process."""
    from safetensors.torch import load_file, save_file

    ext = extractor()
    ext.model.save_pretrained(tmp_path / "model")
    ext.tokenizer.save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    kept = {name: values for name, values in load_file(weights).items() if "pooler" not in name}
    assert len(kept) < len(load_file(weights))
    save_file(kept, weights, {"format": "pt"})
    for _ in range(2):
        torch.seed()
        run = RunFolder(tmp_path / "run").keep(Extractor.from_pretrained(tmp_path / "model"), trees(2))
        assert len(run) == 2


def test_no_number_of_a_batch_or_shard_is_taken_on_trust(tmp_path: Path):
    pairs = [TextPair("The cat sat.", "It ran.")] * 3
    for options, message in (
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "a"}, "batch_size"),
        ({"shard_size": "x"}, "shard_size must be a whole number, at least 1, but is 'x'"),
        ({"shard_size": 3, "batch_size": 2}, "shard_size 3 cuts a batch of 2 pairs, .* such as 2"),
        ({"unit": "word"}, "gradients are of tokens"),
    ):
        with pytest.raises(BertattnError, match=message):
            RunFolder(tmp_path).sum(extractor(), pairs, gradient_importance, objective=Contrastive(), **options)


def test_who_writes_is_not_written_through_a_link(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "mine").write_text("mine", encoding="utf-8")
    (tmp_path / "run" / ".writer").symlink_to(tmp_path / "mine")
    RunFolder(tmp_path / "run").keep(extractor(), trees(1))
    assert (tmp_path / "mine").read_text(encoding="utf-8") == "mine"
