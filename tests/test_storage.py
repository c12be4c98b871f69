from __future__ import annotations

import dataclasses
import errno
import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

import bertattn
import model_zoo
from bertattn import AttentionTensor, Axis, DocumentWindow, Extractor, Mention, RunFolder, Sentence
from bertattn.errors import StorageError
from bertattn.extract import Stream
from bertattn.patterns import entropy
from bertattn.results import OnePass
from bertattn.statistics import Summary, summarize
from bertattn.storage import load, save
from bertattn.storage._tensors import annotation_from_dict, annotation_to_dict
from bertattn.tensor import Source

SENTENCE = Sentence(
    ("Tōkyō", "did", "n't", "\ud800", "🙂"),
    governors=(2, 0, None, 2, 2),
    relations=("nsubj", "root", None, "dep", "punct"),
    lemmas=("Tokyo", None, "not", "x", "y"),
    upos=("PROPN", "AUX", "PART", None, "SYM"),
    feats=({"Number": "Sing"}, {}, {}, {}, {}),
    space_after=(True, False, True, True, False),
    id="s-1",
    document="d",
    metadata={"comments": ("# a", "# b"), "multiword": {"2-3": (1, 2.5, None, True)}},
)
WINDOW = DocumentWindow(
    (SENTENCE, Sentence(("a",))),
    (Mention(0, 1, "e1", head=0, type="place", metadata={"infstat": "new"}), Mention(2, 6, "e1")),
    document="d",
    first_word=7,
    dropped_mentions=3,
)


def full(array, annotation=SENTENCE) -> AttentionTensor:
    """A tensor with something in every field."""
    queries = Axis(
        ["[CLS]", 'a"\n', "##\ud800"],
        roles=["cls", None, "mask"],
        word_ids=[None, 0, (0, 1)],
        words=["a", "b"] if annotation is None else annotation.words,
        segments=[0, 0, 1],
        positions=[0, 2, 5],
        offsets=[None, (0, 1), (1, 2)],
    )
    return AttentionTensor(
        array,
        queries,
        Axis(["x", "y"]),
        layers=(3, 5),
        heads=(11,),
        measure="gradient",
        normalized=False,
        annotation=annotation,
        source=Source(model="m", revision="abc", dtype="float16", attention="cross", steps=("one", "two")),
    )


def weights(dtype="float32", seed=0):
    numbers = np.random.default_rng(seed).normal(size=(2, 1, 3, 2)).astype(np.float32)
    numbers[0, 0, 1] = np.nan
    numbers[0, 0, 0, 0] = -0.0
    return numbers.astype(dtype)


def raw(array) -> bytes:
    return (
        array.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if torch.is_tensor(array) else array.tobytes()
    )


def assert_same(a: AttentionTensor, b: AttentionTensor) -> None:
    for field in dataclasses.fields(a):
        if field.name != "weights":
            assert getattr(a, field.name) == getattr(b, field.name), field.name
    assert type(a.weights) is type(b.weights)
    assert a.weights.dtype == b.weights.dtype
    assert a.shape == b.shape
    assert raw(a.weights) == raw(b.weights)


@pytest.mark.parametrize("annotation", [None, SENTENCE, WINDOW], ids=["none", "sentence", "window"])
@pytest.mark.parametrize(
    "array",
    [
        *(weights(dtype) for dtype in ("float64", "float32", "float16")),
        *(torch.tensor(weights()).to(dtype) for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)),
    ],
    ids=lambda array: f"{type(array).__module__}-{array.dtype}",
)
def test_what_was_saved_is_loaded(tmp_path: Path, array, annotation):
    a = full(array, annotation)
    path = tmp_path / "a.safetensors"
    save(path, a)
    b = load(path)
    assert_same(a, b)
    assert b.annotation == annotation
    if isinstance(array, np.ndarray):
        assert not b.weights.flags.writeable
    if annotation is WINDOW:
        assert b.annotation.mentions[0].metadata == {"infstat": "new"}
    save(tmp_path / "b", b)
    assert (tmp_path / "b").read_bytes() == path.read_bytes(), "the same tensor gives the same bytes"


def test_self_attention_has_one_axis_again(tmp_path: Path):
    a = AttentionTensor(np.full((1, 1, 2, 2), 0.5), ["a", "b"])
    bertattn.save(tmp_path / "a", a)
    b = bertattn.load(str(tmp_path / "a"))
    assert b.keys is b.queries
    assert_same(a, b)


def test_rows_that_would_not_validate_come_back_too(tmp_path: Path):
    a = AttentionTensor(np.full((1, 1, 2, 2), 0.5), ["a", "b"])._with(weights=np.full((1, 1, 2, 2), 0.4999))
    save(tmp_path / "a", a)
    assert_same(a, load(tmp_path / "a"))


def test_views_and_strides_do_not_matter(tmp_path: Path):
    base = torch.arange(24.0).reshape(2, 3, 2, 2).permute(0, 2, 1, 3)[:, :1]
    save(tmp_path / "a", full(base))
    assert torch.equal(load(tmp_path / "a").weights, base)
    turned = np.asfortranarray(weights())
    save(tmp_path / "b", full(turned))
    np.testing.assert_array_equal(load(tmp_path / "b").weights, turned)
    big_endian = full(weights())._with(weights=weights().astype(">f4"))
    save(tmp_path / "c", big_endian)
    np.testing.assert_array_equal(load(tmp_path / "c").weights, weights())
    one = torch.arange(4.0).reshape(1, 1, 1, 4)[..., ::4]
    save(tmp_path / "d", AttentionTensor(one, ["a"], normalized=False))
    assert torch.equal(load(tmp_path / "d").weights, one)


def test_a_file_of_numpy_weights_is_read_without_torch(tmp_path: Path):
    save(tmp_path / "a", full(weights()))
    code = "import sys, bertattn; bertattn.load(sys.argv[1]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a"], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_loaded_weights_do_not_depend_on_the_file(tmp_path: Path):
    for array in (weights(), torch.tensor(weights())):
        save(tmp_path / "a", full(array))
        a = load(tmp_path / "a")
        (tmp_path / "a").write_bytes(b"\0" * (tmp_path / "a").stat().st_size)
        assert raw(a.weights) == raw(array)


def test_same_bytes_in_another_process(tmp_path: Path):
    """Also where Python and Rust hash in another order."""
    save(tmp_path / "a", full(weights()))
    code = "import sys, bertattn; bertattn.save(sys.argv[2], bertattn.load(sys.argv[1]))"
    for name in "bc":
        subprocess.run([sys.executable, "-c", code, tmp_path / "a", tmp_path / name], check=True)
        assert (tmp_path / name).read_bytes() == (tmp_path / "a").read_bytes()


def test_the_safetensors_library_reads_the_file(tmp_path: Path):
    save(tmp_path / "a", full(weights()))
    with safe_open(tmp_path / "a", framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("weights"), weights())
        document = json.loads(file.metadata()["bertattn"])
    assert (document["format"], document["kind"], document["version"]) == ("bertattn", "AttentionTensor", 1)
    assert document["value"]["heads"] == [11]


def test_device(tmp_path: Path):
    save(tmp_path / "a", full(torch.tensor(weights())))
    assert load(tmp_path / "a", device="cpu").weights.device.type == "cpu"
    assert load(tmp_path / "a", device="meta").weights.device.type == "meta"
    save(tmp_path / "b", full(weights()))
    with pytest.raises(StorageError, match=r"NumPy weights, which have no device.*device='cpu'"):
        load(tmp_path / "b", device="cpu")


@given(
    st.lists(st.text(st.characters(exclude_categories=()), min_size=1, max_size=5), min_size=1, max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
)
def test_annotation_survives_json(words, value):
    sentence = Sentence(tuple(words), metadata={"value": value})
    plain = json.loads(json.dumps(annotation_to_dict(sentence)))
    assert annotation_from_dict(plain) == sentence
    window = DocumentWindow((sentence,), (Mention(0, 1, "e"),))
    assert annotation_from_dict(json.loads(json.dumps(annotation_to_dict(window)))) == window


# Files that are not what they should be


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(tmp_path / "a.safetensors", full(weights()))
    return tmp_path / "a.safetensors"


def test_torn_at_any_byte(saved: Path):
    content = saved.read_bytes()
    for length in (0, 7, 8, 9, 100, len(content) - 48, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(StorageError, match=re.escape(str(saved)) + r" is torn or no .*\); copy or write it anew"):
            load(saved)
    saved.write_bytes(content + b"\0")
    with pytest.raises(StorageError, match="is torn or no safetensors file"):
        load(saved)


def test_changed_numbers(saved: Path):
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged: its numbers do not have the checksum"):
        load(saved)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"Once upon a time there was a file.", "is torn or no safetensors file"),
        (b"PK\x03\x04\0\0\0\0" + b"\0" * 100, "is torn or no safetensors file"),
        ((12).to_bytes(8, "little") + b"{not json}  ", "is torn or no safetensors file"),
        ((100000).to_bytes(8, "little") + b'{"a":' + b"[" * 99995, "is torn or no safetensors file"),
        ((4).to_bytes(8, "little") + b"{}  ", "was not written by bertattn"),
    ],
)
def test_foreign_files(tmp_path: Path, content, message):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=message):
        load(path)


def test_safetensors_of_another_program(tmp_path: Path):
    for metadata in (None, {"format": "pt"}, {"bertattn": "null"}, {"bertattn": '{"format": "b"}'}):
        save_file({"weights": weights()}, tmp_path / "x", metadata)
        with pytest.raises(StorageError, match="was not written by bertattn; read it with the program that wrote it"):
            load(tmp_path / "x")
    for text in ("{not json", "[" * 100_000):
        save_file({"weights": weights()}, tmp_path / "x", {"bertattn": text})
        with pytest.raises(StorageError, match="is torn or no safetensors file"):
            load(tmp_path / "x")


def rewrite(path: Path, change) -> None:
    """The same file with its header or our document in it changed."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    document = json.loads(header["__metadata__"]["bertattn"])
    change(header["weights"], document)
    header["__metadata__"]["bertattn"] = json.dumps(document)
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + content[8 + length :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"has version 2 of the format but .* reads up to 1; upgrade with: pip install -U bertattn"),
        ({"version": "old"}, "has version 'old' of the format"),
        ({"kind": "Summary"}, "holds a Summary, not an AttentionTensor"),
    ],
)
def test_newer_and_other_files(saved: Path, change, message):
    rewrite(saved, lambda _, document: document.update(change))
    with pytest.raises(StorageError, match=message):
        load(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value["queries"]["tokens"].pop(),
        lambda value: value["queries"].update(tokens=["a"], roles=None, word_ids=None, segments=None),
        lambda value: value.update(layers=[1]),
        lambda value: value.update(keys=None),
        lambda value: value.update(array="pickle"),
        lambda value: value.pop("measure"),
        lambda value: value.update(measure=5),
        lambda value: value.update(measure=""),
        lambda value: value.update(heads=["a"]),
        lambda value: value.update(heads=[-1]),
        lambda value: value.update(heads=[True]),
        lambda value: value.update(heads=[None]),
        lambda value: value.update(heads="a"),
        lambda value: value.update(layers=[3, 3]),
        lambda value: value.update(layers=[[0], [1]]),
        lambda value: value.update(layers=[10**400, float("inf")]),
        lambda value: value["source"].update(colour="red"),
        lambda value: value["annotation"].update(kind="os.system"),
        lambda value: value["annotation"].update(words=[]),
        lambda value: value.clear(),
    ],
)
def test_a_description_that_does_not_fit(saved: Path, change):
    rewrite(saved, lambda _, document: change(document["value"]))
    with pytest.raises(StorageError, match=re.escape(str(saved)) + " is damaged: .*; write it anew"):
        load(saved)


def changed(path: Path, value: Any) -> None:
    """The same JSON file with another value."""
    path.write_text(json.dumps(json.loads(path.read_text()) | {"value": value}))


def test_results_that_their_class_cannot_be(tmp_path: Path):
    path = tmp_path / "a.json"
    summarize([AttentionTensor(np.full((1, 1, 2, 2), 0.5), ["a", "b"])], entropy).save(path)
    value = json.loads(path.read_text())["value"]
    changed(path, value | {"table": value["table"] | {"mean": [[[10**400]]]}})
    with pytest.raises(StorageError, match=r"a\.json is damaged: OverflowError: .*; write it anew$"):
        Summary.load(path)
    OnePass({}).save(path)
    part: dict[str, Any] = {"format": "bertattn", "version": 1, "kind": "Result", "module": "bertattn.results"}
    changed(path, {"a": part | {"value": {}}})
    with pytest.raises(StorageError, match=r"is damaged: NotImplementedError: .*; write it anew$"):
        OnePass.load(path)
    for _ in range(300):
        part = part | {"kind": "OnePass", "value": {"a": part}}
    changed(path, {"a": part})
    with pytest.raises(StorageError, match=r" is damaged: .*; write it anew$"):
        OnePass.load(path)


@pytest.mark.parametrize(
    ("count", "shard_size"),
    [(10**12, 256), (0, 256), (-1, 256), (True, 256), (1.0, 256), (float("inf"), 256), ("1", 256), (1, 0), (1, None)],
)
def test_a_run_of_no_number_of_inputs(tmp_path: Path, count: Any, shard_size: Any):
    RunFolder(tmp_path).keep(Extractor(*model_zoo.build("bert")), ["Snow falls."])
    path = tmp_path / "manifest.json"
    value = json.loads(path.read_text())["value"]
    settings, inputs = value["settings"] | {"shard_size": shard_size}, value["inputs"] | {"count": count}
    changed(path, value | {"settings": settings, "inputs": inputs})
    with pytest.raises(StorageError, match=r"manifest\.json is damaged: .* inputs.*; write it anew$"):
        repr(RunFolder(tmp_path))


def test_a_device_that_is_not_there_is_no_damage(saved: Path):
    save(saved, full(torch.tensor(weights())))
    with pytest.raises(RuntimeError, match="ailien"):
        load(saved, device="ailien")


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [2, 1, 3, 3]},
        {"shape": [2, 1, -3, -2]},
        {"shape": [12]},
        {"dtype": "F64"},
        {"dtype": "I32"},
        {"dtype": "BF16", "shape": [2, 1, 3, 4]},
        {"data_offsets": [4, 52]},
    ],
)
def test_numbers_that_are_not_as_described(saved: Path, change):
    rewrite(saved, lambda entry, _: entry.update(change))
    with pytest.raises(StorageError, match=r"is damaged: .*; write it anew|is torn or no safetensors file"):
        load(saved)


def test_paths_that_are_no_files(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent")
    with pytest.raises(StorageError, match="is a folder"):
        load(tmp_path)
    with pytest.raises(StorageError, match=r"is a folder; give the name of a file in it, such as .*a\.safetensors"):
        save(tmp_path, full(weights()))
    with pytest.raises(StorageError, match=r"^the folder .*absent does not exist; make it first$"):
        save(tmp_path / "absent" / "a", full(weights()))


def small_summary() -> bertattn.statistics.Summary:
    attention = AttentionTensor(np.full((1, 1, 2, 2), 0.5), ["a", "b"])
    return bertattn.summarize([attention], bertattn.patterns.entropy)


def test_other_things_than_tensors_are_not_saved(tmp_path: Path):
    summary = small_summary()
    with pytest.raises(StorageError, match=r"^a Summary is saved with its own method: save\(path\)$"):
        save(tmp_path / "a", summary)
    with pytest.raises(StorageError, match=r"was given a str; write save\(path, attention\)"):
        save(full(weights()), "a")
    assert list(tmp_path.iterdir()) == []


def test_a_summary_and_a_tensor_point_to_each_others_loader(tmp_path: Path):
    tensor, summary = tmp_path / "a", tmp_path / "b"
    save(tensor, full(weights()))
    small_summary().save(summary)
    with pytest.raises(StorageError, match=r"b holds a Summary; read it with Summary\.load\(path\)$"):
        load(summary)
    with pytest.raises(StorageError, match=r"a is a safetensors file, not a Summary; read it with bertattn\.load"):
        bertattn.statistics.Summary.load(tensor)


def test_results_into_folders_that_are_not_there_or_are_the_name(tmp_path: Path):
    summary = small_summary()
    for write in (summary.to_csv, summary.save):
        with pytest.raises(StorageError, match=r"is a folder; give the name of a file in it$"):
            write(tmp_path)
        with pytest.raises(StorageError, match=r"^the folder .*absent does not exist; make it first$"):
            write(tmp_path / "absent" / "a")


def test_errors_of_the_system_name_the_file_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError) as caught:
        save(tmp_path / "a", full(weights()))
    assert caught.value.filename == str(tmp_path / "a")


@pytest.mark.parametrize("value", [object(), float("nan"), {1: "a"}, b"bytes"])
def test_metadata_that_json_cannot_say(saved: Path, value):
    before = saved.read_bytes()
    with pytest.raises(StorageError, match="metadata cannot be written as JSON"):
        save(saved, full(weights(), Sentence(("a", "b"), metadata={"value": value})))
    assert saved.read_bytes() == before


def test_metadata_beyond_what_a_header_holds(tmp_path: Path):
    """safetensors stops at 100 million characters."""
    sentence = Sentence(("a", "b"), metadata={"text": "x" * 100_000_000})
    with pytest.raises(StorageError, match=r"^1\d{8} characters about a tensor are too many for its file \(.*large"):
        save(tmp_path / "a", full(weights(), sentence))
    assert list(tmp_path.iterdir()) == []


def test_precision_that_files_do_not_have(tmp_path: Path):
    a = full(weights())._with(weights=weights().astype(np.longdouble))
    with pytest.raises(StorageError, match=r"files hold float64, .*: convert them to float64 first"):
        save(tmp_path / "a", a)


# Saving is all or nothing


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"]
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(saved: Path, monkeypatch, failure, step):
    before = saved.read_bytes()

    def fail(*args):
        raise failure

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(type(failure)):
        save(saved, full(weights(seed=1)))
    monkeypatch.undo()
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]
    assert saved.read_bytes() == before
    save(saved, full(weights(seed=1)))
    np.testing.assert_array_equal(load(saved).weights, weights(seed=1))
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_it_is_on_the_disk_before_it_has_its_name(saved: Path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor):
        events.append("fsync")
        fsync(descriptor)

    def noted_replace(self, target):
        assert self.parent == Path(target).parent
        events.append("replace")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    save(saved, full(weights()))
    assert events[:2] == ["fsync", "replace"]


# The arguments of the function that a run is made with


def entropies(stream: Stream, **options: Any) -> Summary:
    return summarize(stream, entropy)


def test_a_run_goes_on_with_equal_arguments_and_refuses_others(tmp_path: Path):
    ext, run = Extractor(*model_zoo.build("bert")), RunFolder(tmp_path)
    first = run.sum(ext, ["Snow falls."], functools.partial(entropies, size=np.int64(3), part=slice(0, 2)))
    again = run.sum(ext, ["Snow falls."], functools.partial(entropies, size=3, part=slice(0, 2)))
    np.testing.assert_array_equal(again.mean("entropy"), first.mean("entropy"))
    with pytest.raises(StorageError, match=r"function\.keywords\.part was 'slice\(0, 2, None\)' and is 'slice\(1, 2, "):
        run.sum(ext, ["Snow falls."], functools.partial(entropies, size=3, part=slice(1, 2)))
