"""Files that are whole or not there, and the label that says what is in them."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from bertattn._arrays import Numpy
from bertattn.errors import StorageError

T = TypeVar("T")

_FORMAT: Final = "bertattn"


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file (text as UTF-8) under another name beside its own, then rename it: no reader sees half of it.

    Raises:
        StorageError: `path` is a folder, or the folder it lies in is not there.
        OSError: the folder may not be written, or is full.
    """
    path = Path(path)
    if path.is_dir():
        raise StorageError(f"{path} is a folder; give the name of a file in it")
    if not path.parent.is_dir():
        raise StorageError(f"the folder {path.parent} does not exist; make it first")
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)  # not the temporary name, which would tell the caller nothing
        raise
    finally:  # after Ctrl-C too
        temporary.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # some systems cannot sync a folder; the file itself is whole either way
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as a JSON file, whole or not at all."""
    write_whole(path, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def write_csv(path: str | os.PathLike[str], records: Sequence[Mapping[str, object]]) -> None:
    """Write dicts with the same names as a CSV file (every digit, undefined numbers empty), whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value != value else value for name, value in row.items()} for row in records)
    write_whole(path, text.getvalue())


@contextlib.contextmanager
def all_or_nothing(out: Path) -> Iterator[Path]:
    """A temporary folder whose files move to `out` when the block ends well, and vanish when it does not.

    Where moving fails half way, the files that had been replaced come back. Ctrl-C waits until all are moved.

    Raises:
        StorageError: `out` is a file, nothing can be written there, or a folder in it is named as a file to write, or
            the other way round.
    """
    target = out.resolve()
    if target.exists() and not target.is_dir():
        raise StorageError(f"{out} is a file; name a folder to write")
    beside = target if target.is_dir() else target.parent  # in an existing folder: its parent may be another disk
    try:
        beside.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=beside)
    except OSError as error:
        raise StorageError(f"nothing can be written in {out} ({error.strerror}); name another folder") from error
    with temporary as name:
        folder = Path(name) / "files"
        folder.mkdir()
        yield folder
        if not target.exists():
            folder.rename(target)
            return
        with _ctrl_c_later():
            _move_all(folder, target, Path(name) / "replaced")


def _move_all(folder: Path, target: Path, replaced: Path) -> None:
    """Move the files of one folder, and of folders in it, to another; after an error the other is as it was."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    parents = sorted({parent for name in names for parent in name.parents[:-1]})
    for name in names:
        if (target / name).is_dir():
            raise StorageError(f"{target / name} is a folder, but a file of this name is to be written; move it away")
    for parent in parents:
        if (target / parent).exists() and not (target / parent).is_dir():
            raise StorageError(f"{target / parent} is a file, but a folder of this name is to be written; move it away")
    replaced.mkdir()
    done = contextlib.ExitStack()
    with done:
        for parent in parents:
            (replaced / parent).mkdir()
            if not (target / parent).exists():
                (target / parent).mkdir()
                done.callback((target / parent).rmdir)
        for name in names:
            if os.path.lexists(target / name):
                (target / name).rename(replaced / name)
                done.callback((replaced / name).rename, target / name)
            (folder / name).rename(target / name)
            done.callback((target / name).unlink)
        done.pop_all()


@contextlib.contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold back Ctrl-C until the block has ended. Only the main thread can, and only it is sent one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if pressed:
        signal.raise_signal(signal.SIGINT)


def labelled(value: dict[str, Any], *, kind: str, version: int) -> dict[str, Any]:
    """The value with what a reader must know first; `unlabelled` is the inverse."""
    return {"format": _FORMAT, "kind": kind, "version": version, "value": value}


def unlabelled(document: Any, path: str | os.PathLike[str], parse: Callable[[Any], T], *, kind: str, version: int) -> T:
    """What `parse` makes of the value that `labelled` was given.

    Raises:
        StorageError: no document of ours, one of another kind or a higher version, or a value that does not parse.
    """
    if not isinstance(document, dict) or document.get("format") != _FORMAT:
        raise StorageError(f"{path} was not written by bertattn; read it with the program that wrote it")
    if document.get("kind") != kind:
        article = "an" if kind[0] in "AEIOU" else "a"
        raise StorageError(f"{path} holds a {document.get('kind')}, not {article} {kind}")
    found = document.get("version")
    if not isinstance(found, int) or found > version:
        raise StorageError(
            f"{path} has version {found!r} of the format but this bertattn reads up to {version}; "
            "upgrade with: pip install -U bertattn"
        )
    try:
        return parse(document["value"])
    except StorageError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # bertattn's own errors among them
        raise StorageError(f"{path} is damaged: {type(error).__name__}: {error}; write it anew") from error


def write_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, Numpy], value: dict[str, Any], *, kind: str, version: int
) -> None:
    """Write named arrays as one safetensors file, with a value as JSON and their checksum in its header.

    Raises:
        StorageError, OSError: as `write_whole`.
    """
    from safetensors.numpy import save

    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    document = labelled(value | {"sha256": _checksum(kept, value)}, kind=kind, version=version)
    write_whole(path, save(kept, {_FORMAT: json.dumps(document, allow_nan=False, separators=(",", ":"))}))


def read_arrays(
    path: str | os.PathLike[str], parse: Callable[[Any, dict[str, Numpy]], T], *, kind: str, version: int
) -> T:
    """What `parse` makes of the value and the arrays that `write_arrays` was given.

    Raises:
        FileNotFoundError: there is no such file.
        StorageError: as `unlabelled`; a file that is torn or whose numbers were changed.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load

    path = Path(path)
    if path.is_dir():
        raise StorageError(f"{path} is a folder; give the name of a file in it")
    content = path.read_bytes()
    try:
        arrays = load(content)
        with safe_open(path, "numpy") as file:
            document = json.loads((file.metadata() or {}).get(_FORMAT, "null"))
    except (SafetensorError, ValueError, RecursionError) as error:
        raise StorageError(f"{path} is torn or no safetensors file ({error}); copy or write it anew") from error

    def checked(value: Any) -> T:
        said = value.pop("sha256")
        if _checksum(arrays, value) != said:
            raise StorageError(f"{path} is damaged: it does not have the checksum in its header; write it anew")
        return parse(value, arrays)

    return unlabelled(document, path, checked, kind=kind, version=version)


def _checksum(arrays: Mapping[str, Numpy], value: Mapping[str, Any]) -> str:
    """Of everything in a file: safetensors itself does not notice a changed number."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(arrays[name].data)
    return digest.hexdigest()
