"""Attention tensors in files: one safetensors file each, everything else as JSON in its header. No pickle."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from bertattn import _arrays
from bertattn.annotation import DocumentWindow, Mention, Sentence
from bertattn.errors import StorageError
from bertattn.tensor import AttentionTensor, Axis, Source

__all__ = ["load", "save"]

SCHEMA: Final = 1
_FORMAT: Final = "bertattn.AttentionTensor"
_TENSOR: Final = "weights"
# The names safetensors has for the precisions that weights can be in.
_DTYPES: Final = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_HEADER_LIMIT: Final = 100_000_000  # safetensors' own


def save(path: str | os.PathLike[str], attention: AttentionTensor, /) -> None:
    """Write a tensor to one safetensors file, exactly as it is: its numbers, axes, annotation and source.

    Of the annotation's `metadata`, text, numbers, dictionaries and tuples come back as they were; lists as tuples.

    The file is written beside `path` under another name and then renamed: `path` is at any moment the old file or the
    new one, never half of one. The same tensor gives the same bytes.

    Raises:
        StorageError: `path` is a folder, weights in a precision that files do not have, or metadata that JSON cannot
            say.
        OSError: the folder is not there, may not be written, or is full.

    >>> import tempfile
    >>> a = AttentionTensor(np.full((1, 1, 2, 2), 0.5), ["a", "b"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder, "a.safetensors"), a)
    ...     load(Path(folder, "a.safetensors"))
    AttentionTensor(attention: 1 layer x 1 head, 2 x 2 tokens, float64 numpy)
    """
    path = Path(path)
    if path.is_dir():
        raise StorageError(f"{path} is a folder; give the name of a file in it, such as {path / 'a.safetensors'}")
    _replace_file(path, _to_bytes(attention))


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
    return _from_bytes(path.read_bytes(), path=path, device=device)


def _to_bytes(attention: AttentionTensor) -> bytes:
    dtype = _arrays.dtype_name(attention.weights)
    if dtype not in _DTYPES:
        raise StorageError(f"weights are {dtype}, which safetensors files do not have; convert them to float64 first")
    try:
        description = {
            "queries": _axis_to_dict(attention.queries),
            "keys": None if attention.keys == attention.queries else _axis_to_dict(attention.keys),
            "layers": attention.layers,
            "heads": attention.heads,
            "measure": attention.measure,
            "normalized": attention.normalized,
            "annotation": annotation_to_dict(attention.annotation),
            "source": None if attention.source is None else dataclasses.asdict(attention.source),
            "array": "torch" if _arrays.is_torch(attention.weights) else "numpy",
        }
        text = json.dumps(description, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise StorageError(
            f"the annotation's metadata cannot be written as JSON ({error}); keep to text, finite numbers, tuples "
            "and dictionaries with text as keys"
        ) from None
    shape = [int(n) for n in attention.weights.shape]
    data = _raw(attention.weights)
    checksum = hashlib.sha256(data).hexdigest()
    metadata = {"format": _FORMAT, "schema": str(SCHEMA), "sha256": checksum, "tensor": text}
    # Written here rather than by the library, which puts metadata in an order that changes from run to run.
    header = json.dumps(
        {"__metadata__": metadata, _TENSOR: {"dtype": _DTYPES[dtype], "shape": shape, "data_offsets": [0, len(data)]}},
        separators=(",", ":"),
    ).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def _raw(weights: Any) -> bytes:
    if _arrays.is_torch(weights):
        import torch

        weights = weights.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        return bytes(weights.tobytes())
    return bytes(np.ascontiguousarray(weights).astype(weights.dtype.newbyteorder("<"), copy=False).tobytes())


def _from_bytes(content: bytes, *, path: Path, device: str | None) -> AttentionTensor:
    header, start = _header(content, path)
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != _FORMAT:
        raise StorageError(
            f"{path} is a safetensors file, but bertattn did not write it; read it with safetensors itself"
        )
    schema = metadata.get("schema", "")
    if not str(schema).isdecimal():
        raise _contradiction(path, f"its schema version is {schema!r}")
    if int(schema) > SCHEMA:
        raise StorageError(
            f"{path} was written by a newer bertattn (schema {schema}, this version reads up to {SCHEMA}); "
            "upgrade with: pip install -U bertattn"
        )
    entry = header.get(_TENSOR)
    try:
        dtype = {name: ours for ours, name in _DTYPES.items()}[entry["dtype"]]  # type: ignore[index]
        shape = [int(n) for n in entry["shape"]]  # type: ignore[index]
        first, last = (int(n) for n in entry["data_offsets"])  # type: ignore[index]
        description = json.loads(metadata["tensor"])
        array = description["array"]
    except (KeyError, TypeError, ValueError) as error:
        raise _contradiction(path, f"{type(error).__name__}: {error}") from None
    size = {"float64": 8, "float32": 4}.get(dtype, 2)
    if first != 0 or min(shape, default=0) < 1 or last != size * int(np.prod(shape, dtype=object)):
        raise _contradiction(path, f"bytes {first} to {last} cannot hold a {dtype} tensor of shape {shape}")
    if len(content) - start != last:
        raise _torn(path, f"its header announces {last} bytes of numbers but {len(content) - start} follow")
    if hashlib.sha256(memoryview(content)[start:]).hexdigest() != metadata.get("sha256"):
        raise StorageError(
            f"{path} is damaged: its numbers do not have the checksum in its header; copy or write it anew"
        )
    if array not in ("numpy", "torch") or (array == "numpy" and dtype == "bfloat16"):
        raise _contradiction(path, f"its array is {array!r} of {dtype}")
    if array == "numpy" and device is not None:
        raise StorageError(f"{path} holds NumPy weights, which have no device; leave device={device!r} out")
    weights = _weights(content, start, dtype=dtype, shape=shape, torch_array=array == "torch", device=device)
    try:
        return _assembled(description, weights)
    except (KeyError, TypeError, ValueError) as error:  # bertattn's own errors among them
        raise _contradiction(path, f"{type(error).__name__}: {error}") from error


def _header(content: bytes, path: Path) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8:
        raise _torn(path, f"it has only {len(content)} bytes")
    if length > _HEADER_LIMIT or content[8:9] not in (b"{", b""):
        raise StorageError(f"{path} is no safetensors file; bertattn.load reads what bertattn.save wrote")
    if len(content) < 8 + length:
        raise _torn(path, f"its header should have {length} bytes but {len(content) - 8} follow")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        raise StorageError(f"{path} is damaged or no safetensors file: its header is no JSON; write it anew") from None
    if not isinstance(header, dict):
        raise StorageError(f"{path} is no safetensors file: its header is no JSON object")
    return header, 8 + length


def _torn(path: Path, why: str) -> StorageError:
    return StorageError(f"{path} is torn, {why}; copy or write it anew")


def _contradiction(path: Path, why: str) -> StorageError:
    return StorageError(
        f"{path} was written by bertattn but its header and its tensor do not agree ({why}); write it anew"
    )


def _weights(content: bytes, start: int, *, dtype: str, shape: list[int], torch_array: bool, device: str | None) -> Any:
    if not torch_array:
        stored = np.frombuffer(content, np.dtype(dtype).newbyteorder("<"), offset=start)
        return stored.reshape(shape).astype(dtype, copy=False)
    import torch

    data = bytearray(memoryview(content)[start:])  # torch wants memory of its own that may be written
    return torch.frombuffer(data, dtype=getattr(torch, dtype)).reshape(shape).to(device or "cpu")


def _assembled(description: Mapping[str, Any], weights: Any) -> AttentionTensor:
    queries = Axis(**description["queries"])
    keys = queries if description["keys"] is None else Axis(**description["keys"])
    layers, heads = tuple(description["layers"]), tuple(description["heads"])
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
        measure=description["measure"],
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


def _replace_file(path: Path, content: bytes) -> None:
    """Write under a name of its own in the same folder, make sure it is on the disk, then rename."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # Ctrl-C too: no half file stays
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # some systems cannot sync a folder; the file itself is whole either way
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
