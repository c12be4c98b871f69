"""Attention tensors in files: one safetensors file each, everything else as JSON in its metadata."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open

from bertattn import _arrays, _files
from bertattn.annotation import DocumentWindow, Mention, Sentence
from bertattn.errors import StorageError
from bertattn.results import Result
from bertattn.tensor import ROW_TOLERANCE, AttentionTensor, Axis, Source

__all__: list[str] = []

# One key only: safetensors writes several in an order that changes from run to run.
METADATA: Final = "bertattn"
_VERSION: Final = 1
_KIND: Final = "AttentionTensor"
_TENSOR: Final = "weights"


def save(path: str | os.PathLike[str], attention: AttentionTensor, /) -> None:
    """Write a tensor to one safetensors file, exactly as it is: its numbers, axes, annotation and source.

    Of the annotation's `metadata`, text, numbers, dictionaries and tuples come back as they were; lists as tuples.

    The file is written beside `path` under another name and then renamed: `path` is at any moment the old file or the
    new one, never half of one. The same tensor gives the same bytes.

    Raises:
        StorageError: `path` is a folder or lies in one that is not there, something else than a tensor, weights in a
            precision that files do not have, or metadata that JSON cannot say.
        OSError: the folder may not be written, or is full.

    Examples:
        >>> import tempfile
        >>> a = AttentionTensor(np.full((1, 1, 2, 2), 0.5), ["a", "b"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Path(folder, "a.safetensors"), a)
        ...     load(Path(folder, "a.safetensors"))
        AttentionTensor(attention: 1 layer x 1 head, 2 x 2 tokens, float64 numpy)
    """
    if not isinstance(attention, AttentionTensor):
        kind = type(attention).__name__
        if isinstance(attention, Result):
            raise StorageError(f"a {kind} is saved with its own method: save(path)")
        raise StorageError(f"save writes an AttentionTensor but was given a {kind}; write save(path, attention)")
    path = Path(path)
    if path.is_dir():
        raise StorageError(f"{path} is a folder; give the name of a file in it, such as {path / 'a.safetensors'}")
    _files.write_whole(path, _to_bytes(attention))


def load(path: str | os.PathLike[str], /, *, device: str | None = None) -> AttentionTensor:
    """Read a tensor that `save` wrote: the same numbers in the same precision, NumPy or torch as they were.

    Args:
        path: the file.
        device: where to put torch weights, such as "cuda"; None means the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: a file that is torn, that bertattn did not write, that a newer bertattn wrote, or whose parts
            contradict one another; or a `device` for NumPy weights.
    """
    path = Path(path)
    if path.is_dir():
        raise StorageError(f"{path} is a folder; give the name of a file in it")
    content = path.read_bytes()
    try:
        with safe_open(path, "numpy") as file:
            document = json.loads((file.metadata() or {}).get(METADATA, "null"))
    except (SafetensorError, ValueError, RecursionError) as error:
        if (kind := _kind_of_json(content)) is not None:
            raise StorageError(f"{path} holds a {kind}; read it with {kind}.load(path)") from None
        raise StorageError(f"{path} is torn or no safetensors file ({error}); copy or write it anew") from error

    def parse(description: Mapping[str, Any]) -> AttentionTensor:
        return assembled(description, _read_weights(content, description, path))

    attention = _files.unlabelled(document, path, parse, kind=_KIND, version=_VERSION)
    if device is None:
        return attention
    weights: Any = attention.weights
    if not _arrays.is_torch(weights):
        raise StorageError(f"{path} holds NumPy weights, which have no device; leave device={device!r} out")
    return attention._with(weights=weights.to(device))


def _kind_of_json(content: bytes) -> str | None:
    """What a file written by `Result.save` holds; None for other files."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document.get("kind") if isinstance(document, dict) and document.get("format") == "bertattn" else None


def _to_bytes(attention: AttentionTensor) -> bytes:
    description, weights = described(attention)
    with written_as_json():
        document = _files.labelled(description, kind=_KIND, version=_VERSION)
        text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    try:
        content: bytes = _library(is_torch=_arrays.is_torch(weights)).save({_TENSOR: weights}, {METADATA: text})
    except SafetensorError as error:
        raise StorageError(f"{len(text)} characters about a tensor are too many for its file ({error})") from error
    return content


def described(attention: AttentionTensor) -> tuple[dict[str, Any], Any]:
    """Everything but the weights as JSON can hold it, and the weights as safetensors takes them.

    `assembled` is the inverse.

    Raises:
        StorageError: a precision that files do not have, or metadata that JSON cannot say.
    """
    weights: Any = attention.weights
    dtype, is_torch = _arrays.dtype_name(weights), _arrays.is_torch(weights)
    if dtype not in ROW_TOLERANCE:
        raise StorageError(f"weights are {dtype}; files hold {', '.join(ROW_TOLERANCE)}: convert them to float64 first")
    if is_torch:
        weights = weights.detach().cpu().contiguous()
    else:
        weights = np.ascontiguousarray(weights, dtype=weights.dtype.newbyteorder("<"))
    description = {
        "array": "torch" if is_torch else "numpy",
        "sha256": checksum(weights),
        "queries": _axis_to_dict(attention.queries),
        "keys": None if attention.keys == attention.queries else _axis_to_dict(attention.keys),
        "layers": attention.layers,
        "heads": attention.heads,
        "measure": attention.measure,
        "normalized": attention.normalized,
        "source": None if attention.source is None else dataclasses.asdict(attention.source),
    }
    with written_as_json():
        description["annotation"] = annotation_to_dict(attention.annotation)
    return description, weights


@contextlib.contextmanager
def written_as_json() -> Iterator[None]:
    """Say of whose fault it is when an annotation cannot be written: only its `metadata` may hold just anything."""
    try:
        yield
    except (TypeError, ValueError, RecursionError) as error:
        raise StorageError(
            f"the annotation's metadata cannot be written as JSON ({error}); keep to text, finite numbers, tuples "
            "and dictionaries with text as keys"
        ) from None


def _library(*, is_torch: bool) -> Any:
    """The half of safetensors for one kind of array; that for NumPy does without torch."""
    if is_torch:
        import safetensors.torch

        return safetensors.torch
    import safetensors.numpy

    return safetensors.numpy


def _read_weights(content: bytes, description: Mapping[str, Any], path: Path) -> Any:
    is_torch = {"numpy": False, "torch": True}[description["array"]]
    weights = _library(is_torch=is_torch).load(content)[_TENSOR]
    if _arrays.dtype_name(weights) not in ROW_TOLERANCE:
        raise ValueError(f"weights are {_arrays.dtype_name(weights)}")
    if checksum(weights) != description["sha256"]:
        raise StorageError(f"{path} is damaged: its numbers do not have the checksum in its header; write it anew")
    return weights


def checksum(weights: Any) -> str:
    """The checksum of contiguous numbers on the CPU: safetensors itself does not notice a changed one."""
    if _arrays.dtype_name(weights) == "bfloat16":  # which NumPy lacks
        import torch

        weights = weights.view(torch.int16)
    return hashlib.sha256(np.asarray(weights).data).hexdigest()


def assembled(description: Mapping[str, Any], weights: Any) -> AttentionTensor:
    """The tensor of which `described` gave the two parts."""
    queries = Axis(**description["queries"])
    keys = queries if description["keys"] is None else Axis(**description["keys"])
    layers, heads = tuple(description["layers"]), tuple(description["heads"])
    for name, numbers in (("layers", layers), ("heads", heads)):
        if not all(type(number) is int and number >= 0 for number in numbers) or len(set(numbers)) < len(numbers):
            raise ValueError(f"{name} are {list(numbers)!r:.60}, not different numbers counted from 0")
    measure = description["measure"]
    if not isinstance(measure, str) or not measure:
        raise ValueError(f"measure is {measure!r:.60}, no name of what the numbers are")
    sizes = [len(part) for part in (layers, heads, queries, keys)]
    if sizes != list(weights.shape):
        raise ValueError(f"the header describes {' x '.join(map(str, sizes))} weights")
    source = description["source"]
    # Not validated by value: what could be saved can be loaded, whatever the rows sum to.
    return AttentionTensor._trusted(
        weights=weights,
        queries=queries,
        keys=keys,
        layers=layers,
        heads=heads,
        measure=measure,
        normalized=description["normalized"],
        annotation=annotation_from_dict(description["annotation"]),
        source=None if source is None else Source(**source),
    )


def _axis_to_dict(axis: Axis) -> dict[str, Any]:
    return {field.name: getattr(axis, field.name) for field in dataclasses.fields(axis)}


def annotation_to_dict(annotation: Sentence | DocumentWindow | None) -> dict[str, Any] | None:
    """The annotation as what JSON has; `annotation_from_dict` is its inverse."""
    if annotation is None:
        return None
    kind = type(annotation).__name__
    return {"kind": kind} | {f.name: _plain(getattr(annotation, f.name)) for f in dataclasses.fields(annotation)}


def _plain(value: Any) -> Any:
    if isinstance(value, Sentence | Mention):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"keys {[key for key in value if not isinstance(key, str)]} are no text")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def annotation_from_dict(plain: Mapping[str, Any] | None) -> Sentence | DocumentWindow | None:
    """The annotation that `annotation_to_dict` described."""
    if plain is None:
        return None
    fields = {name: _frozen(value) for name, value in plain.items() if name != "kind"}
    if plain["kind"] == "Sentence":
        return Sentence(**fields)
    if plain["kind"] == "DocumentWindow":
        sentences = tuple(Sentence(**sentence) for sentence in fields.pop("sentences"))
        mentions = tuple(Mention(**mention) for mention in fields.pop("mentions"))
        return DocumentWindow(sentences, mentions, **fields)
    raise ValueError(f"unknown annotation {plain['kind']!r}")


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
