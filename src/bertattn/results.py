"""The one protocol of results: rows for a table, a file that gives the value back, a view in a notebook.

A class of results derives from `Result` and writes three methods: `to_records`, `_state` and `_from_state`. Several
results of one stream are made in one pass over it by `one_pass`.
"""

from __future__ import annotations

import contextvars
import html
import importlib
import json
import operator
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

import bertattn
from bertattn import _files
from bertattn._arrays import Numpy
from bertattn.errors import SelectionError, StorageError, ValidationError

if TYPE_CHECKING:
    import pandas

__all__ = ["OnePass", "Result", "one_pass"]

# Rows that a notebook shows; the table itself has them all.
SHOWN_ROWS = 20


class Result:
    """A result that can be tabulated, saved and loaded."""

    # Raised when what `_state` gives changes its meaning; files of a higher version are refused.
    _schema: ClassVar[int] = 1

    def to_records(self) -> list[dict[str, Any]]:
        """The result as a list of plain dicts, one a row, all with the same names in the same order."""
        raise NotImplementedError

    def _state(self) -> dict[str, Any]:
        """Everything that makes up the value, as JSON can hold it: see `numbers_to_json`."""
        raise NotImplementedError

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        raise NotImplementedError

    def to_frame(self) -> pandas.DataFrame:
        """`to_records` as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame.from_records(self.to_records())

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_records` as a CSV file (UTF-8, every digit, undefined numbers empty)."""
        _files.write_csv(path, self.to_records())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the value as JSON; `load` gives it back, every digit of it. An existing file is replaced at once."""
        _files.write_json(path, _files.labelled(self._state(), kind=type(self).__name__, version=self._schema))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            StorageError: a file that bertattn did not write, that holds another kind of result, that is torn, or that
                a newer bertattn wrote.
        """
        content = Path(path).read_bytes()
        # A safetensors file starts with the length of its header, eight bytes, and the header's brace.
        if b"\0" in content[:8] and content[8:9] == b"{":
            raise StorageError(f"{path} is a safetensors file, not a {cls.__name__}; read it with bertattn.load(path)")
        try:
            document = json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise StorageError(f"{path} is no JSON file, or was cut off while it was written: {error}") from None
        return _files.unlabelled(document, path, cls._from_state, kind=cls.__name__, version=cls._schema)

    def _repr_html_(self) -> str:
        records = self.to_records()
        names = list(records[0]) if records else []
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_shown(row[name]))}</td>" for name in names) + "</tr>"
            for row in records[:SHOWN_ROWS]
        )
        more = f"<p>{len(records)} rows, the first {SHOWN_ROWS} shown</p>" if len(records) > SHOWN_ROWS else ""
        caption = f"<caption>{html.escape(repr(self))}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


@dataclass(frozen=True, eq=False, repr=False)
class OnePass(Result):
    """What several functions made of one stream, by name; it adds where all of them do.

    Args:
        parts: the values, by the names that `one_pass` was given.
    """

    parts: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """One value.

        Raises:
            SelectionError: no such name.
        """
        if name not in self.parts:
            raise SelectionError(f"there is no {name!r} here; there are {', '.join(map(repr, self.parts))}")
        return self.parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        return f"OnePass({', '.join(f'{name}={value!r}' for name, value in self.parts.items())})"

    def __add__(self, other: object) -> OnePass:
        """Each part with the part of the same name."""
        if not isinstance(other, OnePass):
            return NotImplemented
        if set(self.parts) != set(other.parts):
            raise ValidationError(
                f"these do not belong together: the parts are {sorted(self.parts)} in one and {sorted(other.parts)} in "
                "the other"
            )
        return OnePass({name: value + other.parts[name] for name, value in self.parts.items()})

    def to_records(self) -> list[dict[str, Any]]:
        """One row a part: its name and what it is. Each part has a table of its own."""
        return [{"part": name, "value": repr(value)} for name, value in self.parts.items()]

    def _state(self) -> dict[str, Any]:
        for name, value in self.parts.items():
            if not isinstance(value, Result):
                raise ValidationError(f"part {name!r} is a {type(value).__name__}, no result that can be saved")
        return {name: named_state(value) for name, value in self.parts.items()}

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls({name: of_named_state(part, name) for name, part in state.items()})


def one_pass(stream: Iterable[Any], /, **functions: Callable[[Any], Any]) -> OnePass:
    """What several functions make of one stream, which is read once: one forward pass for all of them.

    Each function sees the stream as if it were alone, with its `skipped` and `truncated`, and gives the same value as
    it would alone; one item is held at a time. They run in turn, never at once, each in a thread of its own: what holds
    for one thread alone, such as `torch.no_grad()`, is set within them. What a function changes for longer than an
    item, such as a model by `interventions.ablate`, changes what the others see too.

    Args:
        stream: anything that functions of a stream take, such as `ext.extract(inputs)`.
        functions: each takes the stream and gives a value, such as `heads.score_relations`; options are given through
            `functools.partial`. A function that stops early is given no more.

    Returns:
        The values, by the names of the functions. Where they add, so does it, and `RunFolder.sum` takes it:
        `functools.partial(one_pass, relations=score_relations, distances=head_distances)`.

    An exception on the way, Ctrl-C too, ends all of them, each when it asks for its next item; the exception has as its
    attribute `partial` a `OnePass` of what those functions had done that tell it, as `summarize` does.

    Raises:
        ValidationError: no stream, no function, or something that cannot be called.
        Exception: whatever the stream or a function raises.

    Examples:
        >>> from bertattn import Extractor, clustering, demo, patterns, statistics
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> def surface(stream):
        ...     return statistics.summarize(stream, patterns.surface_patterns)
        >>> both = one_pass(ext.extract(demo.passages()[:4]), surface=surface, distances=clustering.head_distances)
        >>> both["surface"]
        Summary(15 statistics of 6 layers x 12 heads over 4 sequences, weighting='sequence')
    """
    if not isinstance(stream, Iterable):
        raise ValidationError(f"stream must be an iterable, such as ext.extract(inputs), not {stream!r:.60}")
    if not functions:
        raise ValidationError("no function is given; name one: one_pass(stream, relations=heads.score_relations)")
    for name, function in functions.items():
        if not callable(function):
            raise ValidationError(f"{name} must be a function of a stream, but is {type(function).__name__}")
    readers = {name: _Reader(stream, function) for name, function in functions.items()}
    try:
        for reader in readers.values():
            reader.start()
        items = iter(stream)
        while not all(reader.done for reader in readers.values()):
            try:
                item = next(items)
            except StopIteration:
                break
            for reader in readers.values():
                reader.take(item)
        for reader in readers.values():
            reader.end()
    except BaseException as error:
        try:
            for reader in readers.values():
                reader.stop()
        finally:  # after a second Ctrl-C they end by themselves
            for reader in readers.values():
                reader.let_go()
        failed = [name for name, reader in readers.items() if reader.error is error]
        if failed:
            error.add_note(f"in the function {failed[0]!r} of one_pass")
        found = {name: getattr(reader.error, "partial", None) for name, reader in readers.items()}
        if any(value is not None for value in found.values()):
            error.partial = OnePass({k: v for k, v in found.items() if v is not None})  # type: ignore[attr-defined]
        for reader in readers.values():
            reader.error = None  # whose frames know the reader: a circle that would keep maps alive
        raise
    return OnePass({name: reader.value for name, reader in readers.items()})


class _Stopped(BaseException):
    """The pass was stopped."""


class _Reader:
    """The stream as one function sees it. The function runs only while the pass waits for it, and the other way."""

    def __init__(self, stream: Iterable[Any], function: Callable[[Any], Any]) -> None:
        for name in ("skipped", "truncated"):  # the lists themselves, which fill as the stream is read
            if hasattr(stream, name):
                setattr(self, name, getattr(stream, name))
        self._hint = operator.length_hint(stream)
        self._function = function
        self._item: Any = None
        # What is raised instead of an item: a class, since an exception would keep the function's frames.
        self._after: type[BaseException] | None = None
        # Whose turn it is. A semaphore is written in Python: after Ctrl-C inside it, its lock may stay taken for ever.
        self._mine: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._back: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), daemon=True)

    # In the thread of the function

    def _run(self) -> None:
        self._mine.get()
        try:
            if self._after is None:  # else the pass was stopped before it came to this function
                self.value = self._function(self)
        except BaseException as error:  # noqa: BLE001 - the pass raises it
            self.error = error
        self.done = True
        self._back.put(None)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __length_hint__(self) -> int:
        return self._hint

    def __next__(self) -> Any:
        if threading.current_thread() is not self._thread:
            raise ValidationError(
                "a stream of one_pass is read in the function that it was given to and while that runs; give what was "
                "read, such as a list, not an iterator or a generator over it"
            )
        if self._after is None:
            self._back.put(None)
            self._mine.get()
        if self._after is not None:
            raise self._after
        item, self._item = self._item, None
        return item

    # In the thread of the pass

    def start(self) -> None:
        """Let the function run until it asks for the first item."""
        self._thread.start()
        self._resume()

    def take(self, item: Any) -> None:
        """Let it run on with an item until it asks for the next.

        Raises:
            BaseException: what the function raises.
        """
        self._item = item
        self._resume()

    def end(self) -> None:
        """Let it run to its end without more items.

        Raises:
            BaseException: what the function raises.
        """
        self._after = StopIteration
        self._resume()

    def stop(self) -> None:
        """End the function by an exception where it asks for the next item; wait until it has."""
        self.let_go()
        while self._thread.is_alive() and not self.done:
            self._mine.put(None)
            self._back.get()  # it may be that of an item it has asked for before Ctrl-C came

    def let_go(self) -> None:
        """Let the function end by an exception where it asks for the next item, without waiting for it."""
        self._after = _Stopped
        self._mine.put(None)

    def _resume(self) -> None:
        if not self.done:
            self._mine.put(None)
            self._back.get()
            if self.error is not None:
                raise self.error


def named_state(value: Result) -> dict[str, Any]:
    """A result as JSON can hold it, with the name of its class: see `of_named_state`."""
    kind = type(value)
    document = _files.labelled(value._state(), kind=kind.__qualname__, version=kind._schema)
    return document | {"module": kind.__module__}


def of_named_state(document: dict[str, Any], where: str | os.PathLike[str]) -> Any:
    """The result that `named_state` was given.

    Raises:
        StorageError: it is of a class that no imported module defines.
    """
    module, name = document["module"], document["kind"]
    package, _, rest = module.partition(".")
    if package == "bertattn" and (part := rest.partition(".")[0]) in bertattn._MODULES:
        importlib.import_module(f"bertattn.{part}")
    kinds = [Result]
    for kind in kinds:
        kinds += kind.__subclasses__()
        if (kind.__module__, kind.__qualname__) == (module, name):
            return _files.unlabelled(document, where, kind._from_state, kind=name, version=kind._schema)
    raise StorageError(f"{where} holds a {name} of {module}, which is not imported; import {module} first")


def numbers_to_json(values: Numpy) -> Any:
    """Nested lists of numbers as JSON can hold them: NaN as null, infinities as text; floats keep every digit."""
    if np.issubdtype(values.dtype, np.integer):
        return values.tolist()
    if values.ndim:
        return [numbers_to_json(row) for row in values]
    number = float(values)
    return number if np.isfinite(number) else None if np.isnan(number) else str(number)


def numbers_from_json(values: Any) -> Numpy:
    """The float64 array that `numbers_to_json` was given."""
    return np.array(_floats(values), dtype=np.float64)


def _floats(values: Any) -> Any:
    if isinstance(values, list):
        return [_floats(v) for v in values]
    return np.nan if values is None else float(values)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
