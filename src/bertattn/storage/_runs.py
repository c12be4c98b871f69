"""One folder for everything that is kept or resumed: the maps of a corpus, or the sums of one pass over it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import itertools
import json
import operator
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from bertattn import _arrays, _files
from bertattn.alignment import merge_subwords
from bertattn.errors import AlignmentError, BertattnError, SelectionError, StorageError, ValidationError
from bertattn.results import OnePass, Result, named_state, of_named_state, one_pass
from bertattn.storage import _manifest
from bertattn.storage._manifest import Kind, Manifest
from bertattn.storage._tensors import METADATA, assembled, checksum, described
from bertattn.tensor import AttentionTensor

if TYPE_CHECKING:
    from bertattn.attribution.objectives import Objective
    from bertattn.extract import Excluded, Extractor, Input, Stream

__all__: list[str] = []

R = TypeVar("R", bound=Result)
Unit: TypeAlias = Literal["token", "word"]
# What a shard says beside what every shard does, and the arrays in its file; None of a JSON file.
_Content: TypeAlias = "tuple[dict[str, Any], dict[str, _arrays.Numpy] | None]"

_KIND: Final = "RunFolder"
_SHARD: Final = "RunFolder shard"
_VERSION: Final = 1
_MANIFEST: Final = "manifest.json"
_LOCK, _WRITER = ".lock", ".writer"
_ABOUT: Final = "about"
_RESULT: Final = "result"
_SUFFIX: Final[dict[Kind, str]] = {"maps": "safetensors", "sums": "json"}
_RECORDS: Final = ("skipped", "truncated")
# Of many changes the first few tell which kind of change it was.
_SHOWN_CHANGES: Final = 4


class RunFolder:
    """A folder that keeps the maps of a corpus, or the sums of one pass over it, and can be killed while it does.

    `keep` fills it with maps and `sum` with sums, a shard of inputs at a time. Killed at any moment, the same call goes
    on where it was; the bytes do not depend on where it was cut. A full folder needs no model: iterating over it gives
    the maps in the order of the inputs, as often as you like, and `result` gives the sum.

    In the folder: `manifest.json`, with hashes of the inputs and the model, settings and versions, so that nothing else
    is added to what is there; and one file a shard (safetensors or JSON), written whole, each with its own checksum.

    Args:
        path: the folder; it is made when it is first written to.

    Raises:
        StorageError: `path` is a file.

    Examples:
        >>> import tempfile
        >>> from bertattn import Extractor, demo, patterns, summarize
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> texts = ["The cat sat on the mat.", "It slept."]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = RunFolder(Path(folder, "maps")).keep(ext, texts)
        ...     print(run.is_complete, len(run), run[1].queries.tokens)
        ...     summarize(run, patterns.entropy)
        True 2 ('[CLS]', 'It', 'slept', '.', '[SEP]')
        Summary(1 statistics of 6 layers x 12 heads over 2 sequences, weighting='sequence')
    """

    def __init__(self, path: str | os.PathLike[str], /) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise StorageError(f"{self.path} is a file; name a folder to keep a run in")
        self._opened: Manifest | None = None
        self._heads: tuple[dict[str, Any], ...] = ()  # of all shards, of a complete run
        self._lines: tuple[int, list[bytes]] = (-1, [])  # of the shard that was read last

    def keep(
        self,
        ext: Extractor,
        inputs: Iterable[Input],
        /,
        *,
        unit: Unit = "word",
        dtype: Literal["float16", "float32"] = "float16",
        also: Callable[[Stream], Result] | None = None,
        shard_size: int = 256,
        progress: bool = False,
        **options: Any,
    ) -> RunFolder:
        """Keep the maps of all inputs, of which those that are there already are not made again.

        A complete folder is only compared with what it was asked for: that takes the hashes of inputs and model.

        Args:
            ext: what extracts them.
            inputs: as for `ext.extract`; all are held at once, the maps of one shard.
            unit: "word" merges subwords, as `merge_subwords` does, and leaves special tokens on; "token" keeps the maps
                as they are.
            dtype: "float16" takes half the space of "float32" and keeps three digits of weights above 0.00006,
                fewer of smaller ones.
            also: a function whose sum is kept beside the maps, as `sum` keeps it, made in the same pass before the maps
                are rounded to `dtype`; `result` gives it.
            shard_size: how many inputs make one file. No more is lost by a kill, and no more must fit in memory.
            progress: show a bar.
            options: as for `ext.extract`. With `on_error="skip"` inputs whose words cannot be found among their tokens
                are left out too.

        Returns:
            The folder itself.

        Raises:
            StorageError: the folder holds another run, or something else; or someone else is writing to it.
            OSError: the disk is full or may not be written; what is kept stays.
            InputError, TooLongError, AlignmentError, ModelError: as `ext.extract`.
        """
        _one_of("dtype", dtype, ("float16", "float32"))

        settings: dict[str, Any] = {"dtype": dtype}
        if also is not None:
            settings["function"] = _described_function(also)

        def make(stream: Stream, start: int) -> _Content:
            if also is None:
                return _maps_of(stream, dtype)
            both = one_pass(
                stream,
                maps=functools.partial(_maps_of, dtype=dtype),
                sum=functools.partial(_sum_of, start=start, function=also),
            )
            (head, arrays), (summed, _) = both["maps"], both["sum"]
            result = json.dumps(summed["result"], allow_nan=False, separators=(",", ":")).encode()
            arrays[_RESULT] = np.frombuffer(result, dtype=np.uint8)
            return head | {_RESULT: hashlib.sha256(result).hexdigest()}, arrays

        self._fill("maps", ext, inputs, make, unit, shard_size, progress, options, settings)
        return self

    def sum(
        self,
        ext: Extractor,
        inputs: Iterable[Input],
        function: Callable[[Stream], R],
        /,
        *,
        unit: Unit = "token",
        objective: Objective | None = None,
        shard_size: int = 256,
        progress: bool = False,
        **options: Any,
    ) -> R:
        """What a function makes of the maps of all inputs: of each shard by itself, and then added up.

        Args:
            ext: what extracts the maps.
            inputs: as for `ext.extract`; all are held at once.
            function: from a stream of maps to a result that adds, such as `heads.score_relations`. Give its settings
                through `functools.partial`, which tells them: the folder is refused when they change.
            unit: "word" merges subwords before the function sees them. Then, with `on_error="skip"`, inputs whose words
                cannot be found among their tokens are left out here: a function that finds none at all would raise.
            objective: what to differentiate by the maps; then the function has a stream of `attribution.Gradients`, as
                `attribution.gradient_importance` takes it.
            shard_size: how many inputs make one file, and one result. For `Contrastive` whole batches; they end where
                the shard does, and one that has a single pair is refused.
            progress: show a bar.
            options: as for `ext.extract`, or `attribution.gradients`.

        Returns:
            The sum, the same as `function(ext.extract(inputs))` up to rounding; the numbers in its `skipped` and
            `truncated` count all inputs.

        Raises:
            StorageError: the folder holds another run, or something else; or someone else is writing to it.
            OSError: the disk is full or may not be written; what is kept stays.
            ValidationError: the function gives no result that adds, no input gave a map, or with an objective words, or
                a `shard_size` that cuts a batch of `Contrastive`.
            InputError, TooLongError, AlignmentError, ModelError: as `ext.extract`, or `attribution.gradients`.

        Examples:
            >>> import functools, tempfile
            >>> from bertattn import Extractor, Sentence, demo, heads
            >>> ext = Extractor.from_pretrained(demo.model_path())
            >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
            >>> score = functools.partial(heads.score_relations, directions=["from_dependent"])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     RunFolder(Path(folder, "relations")).sum(ext, [tree, tree], score, shard_size=1)
            RelationScores(6 words of 2 sentences, 1 directions of 6 layers x 12 heads)
        """

        def make(stream: Stream, start: int) -> _Content:
            return _sum_of(stream, start, function)

        settings = {"function": _described_function(function)}
        if objective is None:
            self._fill("sums", ext, inputs, make, unit, shard_size, progress, options, settings)
        else:
            self._differentiate(ext, inputs, make, objective, unit, shard_size, progress, options, settings)
        total: R = self.result()
        return total

    def result(self) -> Any:
        """The sum that `sum` or `keep(also=)` made, read from a complete folder: there is no need of a model.

        Raises:
            StorageError: a folder of maps alone, one that is not complete, a shard that is damaged, or a result of a
                class that no imported module defines.
            ValidationError: no input gave a map.
        """
        manifest = self._known()
        manifest = self._complete(manifest.kind if "function" in manifest.value["settings"] else "sums")
        totals: list[tuple[int, Any]] = []  # (how often it was added, sum), so that each is added to one of its size
        left_out: dict[str, list[tuple[int, str]]] = {name: [] for name in _RECORDS}
        for number in manifest.shards:
            head = self._head(manifest, number)
            document = self._result_of(manifest, number, head)
            if document is None:
                for name in _RECORDS:
                    left_out[name] += head[name]
                continue
            total, times = of_named_state(document, self._shard(manifest, number)), 0
            while totals and totals[-1][0] == times:
                total, times = totals.pop()[1] + total, times + 1
            totals.append((times, total))
        if not totals:
            first = left_out["skipped"][0]
            raise ValidationError(
                f"none of the {manifest.inputs} inputs gave a map; input {first[0]} was left out because: {first[1]}"
            )
        total = totals.pop()[1]
        while totals:
            total = totals.pop()[1] + total
        return _with_records(total, lambda name, records: tuple(sorted((*records, *left_out[name]))))

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run is made of: inputs and model by their hashes, settings, versions.

        Raises:
            StorageError: the folder is empty, or what it holds is no run.
        """
        return dict(self._known().value)

    @property
    def is_complete(self) -> bool:
        """Whether all shards are there."""
        manifest = self._open()
        return manifest is not None and not self._missing(manifest)

    @property
    def skipped(self) -> tuple[Excluded, ...]:
        """Inputs that gave no map, by number and reason. For the sum those that its stream left out."""
        return self._excluded("skipped")

    @property
    def truncated(self) -> tuple[Excluded, ...]:
        """Inputs that were cut to fit."""
        return self._excluded("truncated")

    def __len__(self) -> int:
        """Number of maps: inputs that were skipped have none."""
        return sum(int(head["maps"]) for head in self._heads_of(self._complete("maps")))

    def __getitem__(self, number: int) -> AttentionTensor:
        """One map, counted from 0 among those that are there. No other is read.

        Raises:
            SelectionError: there are not so many.
            StorageError: as iterating.
        """
        manifest = self._complete("maps")
        counts = [int(head["maps"]) for head in self._heads_of(manifest)]
        place = operator.index(number)
        place += sum(counts) if place < 0 else 0
        for shard, count in enumerate(counts):
            if 0 <= place < count:
                line = self._lines_of(manifest, shard)[place]
                with _reading(self._shard(manifest, shard)) as path, safe_open(path, "numpy") as file:
                    return _read_map(file, place, line, manifest)
            place -= count
        raise SelectionError(f"there is no map {number}; there are {sum(counts)}, counted from 0")

    def __iter__(self) -> Iterator[AttentionTensor]:
        """The maps in the order of the inputs, one shard open at a time.

        Raises:
            StorageError: a folder of sums, one that is not complete, or a shard that is damaged or of another run.
        """
        return self._maps(self._complete("maps"))

    def __repr__(self) -> str:
        manifest = self._open()
        if manifest is None:
            return f"RunFolder({str(self.path)!r}, empty)"
        done = len(manifest.shards) - len(self._missing(manifest))
        return (
            f"RunFolder({str(self.path)!r}, {manifest.kind} of {manifest.inputs} inputs, "
            f"{done} of {len(manifest.shards)} shards)"
        )

    # Reading

    def _open(self) -> Manifest | None:
        """The manifest as it is now; None where there is none."""
        path = self.path / _MANIFEST
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        digest = hashlib.sha256(content).hexdigest()
        if self._opened is None or self._opened.digest != digest:
            try:
                document = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise StorageError(f"{path} is torn or no JSON file ({error}); take another folder") from None
            self._opened = _files.unlabelled(
                document, path, lambda value: Manifest(value, digest), kind=_KIND, version=_VERSION
            )
            self._heads, self._lines = (), (-1, [])
        return self._opened

    def _known(self) -> Manifest:
        manifest = self._open()
        if manifest is None:
            raise StorageError(f"{self.path} holds no run; fill it with run.keep(ext, inputs), or name another folder")
        return manifest

    def _complete(self, kind: Kind) -> Manifest:
        manifest = self._known()
        if manifest.kind != kind:
            how = "read their total with run.result()" if manifest.kind == "sums" else "iterate over it"
            raise StorageError(f"{self.path} holds {manifest.kind}, not {kind}; {how}")
        if missing := self._missing(manifest):
            call = "keep" if kind == "maps" else "sum"
            raise StorageError(
                f"{self.path} is not complete: {len(manifest.shards) - len(missing)} of {len(manifest.shards)} shards "
                f"are there, {self._shard(manifest, missing[0]).name} is not; make the same call of run.{call} again, "
                "which goes on where it was"
            )
        return manifest

    def _shard(self, manifest: Manifest, number: int) -> Path:
        return self.path / f"{manifest.kind}-{number:05d}.{_SUFFIX[manifest.kind]}"

    def _missing(self, manifest: Manifest) -> list[int]:
        there = {path.name for path in self.path.iterdir()}
        return [number for number in manifest.shards if self._shard(manifest, number).name not in there]

    def _head(self, manifest: Manifest, number: int) -> dict[str, Any]:
        """What a shard says of itself, checked; of a sum that is all there is."""
        with _reading(self._shard(manifest, number)) as path:
            if manifest.kind == "maps":
                with safe_open(path, "numpy") as file:
                    document = json.loads(file.metadata()[METADATA])
            else:
                document = json.loads(path.read_bytes())
            head: dict[str, Any] = _files.unlabelled(document, path, dict, kind=_SHARD, version=_VERSION)
            if head != _sealed({name: value for name, value in head.items() if name != "sha256"}):
                raise ValueError("it does not have the checksum that it names")
            if head["manifest"] != manifest.digest:
                raise ValueError("it names another manifest")
            if head["number"] != number:
                raise ValueError(f"it is shard {head['number']}; was it renamed?")
            for name in _RECORDS:
                head[name] = [(int(index), str(reason)) for index, reason in head[name]]
            for name in ("maps", _ABOUT) if manifest.kind == "maps" else (_RESULT,):
                head[name]  # a KeyError
        return head

    def _heads_of(self, manifest: Manifest) -> tuple[dict[str, Any], ...]:
        """The heads of a complete folder, without its results."""
        if not self._heads:
            heads = (self._head(manifest, number) for number in manifest.shards)
            self._heads = tuple({k: v for k, v in head.items() if k != _RESULT} for head in heads)
        return self._heads

    def _excluded(self, name: str) -> tuple[Excluded, ...]:
        from bertattn.extract import Excluded

        manifest = self._complete(self._known().kind)
        return tuple(Excluded(index, reason) for head in self._heads_of(manifest) for index, reason in head[name])

    def _lines_of(self, manifest: Manifest, number: int) -> list[bytes]:
        """What a shard says of each of its maps, as JSON that is not parsed yet."""
        if self._lines[0] != number:
            head = self._heads_of(manifest)[number]
            with _reading(self._shard(manifest, number)) as path, safe_open(path, "numpy") as file:
                about = file.get_tensor(_ABOUT).tobytes()
                if hashlib.sha256(about).hexdigest() != head[_ABOUT]:
                    raise ValueError("what it says of its maps does not have the checksum that it names")
            self._lines = number, about.splitlines()
        return self._lines[1]

    def _result_of(self, manifest: Manifest, number: int, head: dict[str, Any]) -> dict[str, Any] | None:
        """The sum of a shard; None where all its inputs were left out."""
        result: dict[str, Any] | None = head[_RESULT]
        if manifest.kind == "maps":
            with _reading(self._shard(manifest, number)) as path, safe_open(path, "numpy") as file:
                content = file.get_tensor(_RESULT).tobytes()
                if hashlib.sha256(content).hexdigest() != head[_RESULT]:
                    raise ValueError("its sum does not have the checksum that it names")
                result = json.loads(content)
        return result

    def _maps(self, manifest: Manifest) -> Iterator[AttentionTensor]:
        for number in manifest.shards:
            lines = self._lines_of(manifest, number)
            path = self._shard(manifest, number)
            with safe_open(path, "numpy") as file:
                for place, line in enumerate(lines):
                    with _reading(path):
                        attention = _read_map(file, place, line, manifest)
                    yield attention

    # Writing

    def _differentiate(
        self,
        ext: Extractor,
        inputs: Any,
        make: Callable[[Stream, int], _Content],
        objective: Objective,
        unit: Unit,
        shard_size: int,
        progress: bool,
        options: dict[str, Any],
        settings: dict[str, Any],
    ) -> None:
        """Write the shards of gradients that are not there."""
        from bertattn.attribution import Contrastive, gradients
        from bertattn.attribution.objectives import shown

        if unit == "word":
            raise ValidationError('gradients are of tokens; leave unit="word" out with an objective')

        def extract(ext: Extractor) -> Callable[..., Any]:
            return functools.partial(gradients, ext, objective=objective)

        # What does not fit is refused before the weights are hashed.
        batch_size = _manifest.checked_options(extract(_checked_extractor(ext)), options)["batch_size"]
        if isinstance(objective, Contrastive) and _checked_size(shard_size) % batch_size:
            raise ValidationError(
                f"shard_size {shard_size} cuts a batch of {batch_size} pairs, which Contrastive compares; give a "
                f"multiple, such as {max(1, shard_size // batch_size) * batch_size}"
            )
        more = {"objective": shown(objective), "head_sha256": _manifest.weights_digest(ext._whole)}
        self._fill("sums", ext, inputs, make, unit, shard_size, progress, options, settings | more, extract)

    def _fill(
        self,
        kind: Kind,
        ext: Extractor,
        inputs: Any,
        make: Callable[[Stream, int], _Content],
        unit: Unit,
        shard_size: int,
        progress: bool,
        options: dict[str, Any],
        settings: dict[str, Any],
        extract: Callable[[Extractor], Callable[..., Any]] = operator.attrgetter("extract"),
    ) -> None:
        """Write the shards that are not there; `make` has the stream of one, and the number of its first input."""
        ext, shard_size = _checked_extractor(ext), _checked_size(shard_size)
        _one_of("unit", unit, ("token", "word"))
        options = _manifest.checked_options(extract(ext), options)
        listed = _manifest.listed_inputs(ext, inputs, spacing=options["spacing"])
        settings = {"unit": unit, "shard_size": shard_size, **settings}
        value = _manifest.described_run(kind, ext, listed, options, settings)
        if self._holds(value) and self.is_complete:
            return
        from tqdm import tqdm

        with self._writing():
            if not self._holds(value):
                document = _files.labelled(value, kind=_KIND, version=_VERSION)
                _files.write_whole(self.path / _MANIFEST, json.dumps(document, indent=1) + "\n")
            manifest = self._known()
            missing = self._missing(manifest)
            spans = [manifest.span(number) for number in missing]
            done = len(listed) - sum(end - start for start, end in spans)
            with tqdm(total=len(listed), initial=done, disable=not progress, unit="input", desc=kind) as bar:
                for number, (start, end) in zip(missing, spans, strict=True):
                    try:
                        items = extract(_as_new(ext))(listed[start:end], **options)
                        stream = _stream(items, end - start, options, unit, bar.update)
                        content, arrays = make(stream, start)
                        head = {"manifest": manifest.digest, "number": number} | _left_out(stream, start) | content
                        _files.write_whole(self._shard(manifest, number), _shard_file(head, arrays))
                    except BaseException as error:
                        _renumber(error, start)
                        error.add_note(
                            f"this came up among inputs {start} to {end - 1}, counted from 0; the shards made before "
                            f"are kept in {self.path}, and the same call goes on from there"
                        )
                        raise
                    done += end - start
                    bar.update(done - bar.n)

    def _holds(self, value: dict[str, Any]) -> bool:
        """Whether the folder is this run's; False where nothing is lost if it becomes so.

        Raises:
            StorageError: it holds another run, or something else.
        """
        manifest = self._open()
        if manifest is None:
            others = [path.name for path in self.path.iterdir()] if self.path.exists() else []
            others = sorted(name for name in others if not name.startswith("."))
            if others:
                raise StorageError(
                    f"{self.path} holds no run but other files, such as {others[0]}; name a new or an empty folder"
                )
            return False
        if manifest.value == value:
            return True
        if len(self._missing(manifest)) == len(manifest.shards):
            return False
        if manifest.kind != value["kind"]:
            raise StorageError(
                f"{self.path} holds {manifest.kind}; {value['kind']} need another folder, or delete this one"
            )
        changed = list(_manifest.differences(manifest.value, value))
        more = len(changed) - _SHOWN_CHANGES
        raise StorageError(
            f"{self.path} holds another run: {'; '.join(changed[:_SHOWN_CHANGES])}"
            + (f"; and {more} more" if more > 0 else "")
            + ". Name another folder, or delete this one to make it anew"
        )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Alone in the folder. The lock is the system's: it falls with the process that holds it."""
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        writer = self.path / _WRITER
        lock = FileLock(self.path / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            who = "another process"
            with contextlib.suppress(OSError):
                who = writer.read_text(encoding="utf-8")
            raise StorageError(
                f"{self.path} is in use by {who}, which is writing to it; wait until it has ended, or name another "
                "folder"
            ) from None
        try:
            with contextlib.suppress(OSError):  # it only makes a message better
                _files.write_whole(writer, f"process {os.getpid()} on {platform.node()}")
            for torn in self.path.glob(".*.partial"):  # of a process that was killed
                torn.unlink()
            yield
        finally:
            with contextlib.suppress(OSError):
                writer.unlink()
            lock.release()


def _stream(stream: Any, inputs: int, options: dict[str, Any], unit: Unit, advance: Callable[[int], object]) -> Stream:
    """The maps (or gradients) of a shard, of words if asked for."""
    from bertattn.extract import Excluded, Stream

    each = max(1, operator.length_hint(stream) // inputs)  # of an input: Contrastive gives two for each pair
    unaligned: set[int] = set()

    def maps() -> Iterator[AttentionTensor]:
        for number, attention in enumerate(stream):
            advance(number % each == 0)
            try:
                words = merge_subwords(attention) if unit == "word" else attention
            except AlignmentError as error:
                place = number
                for index in sorted(one.index for one in stream.skipped if one.index not in unaligned):
                    place += index <= place  # inputs that gave no map were not counted
                if options["on_error"] == "raise":
                    raise AlignmentError(f"input {place}: {error}") from None
                unaligned.add(place)
                stream.skipped.append(Excluded(place, str(error)))
            else:
                yield words

    return Stream(maps(), stream.skipped, stream.truncated, operator.length_hint(stream))


def _as_new(ext: Extractor) -> Extractor:
    """The extractor without what it has found out about its model from the inputs before.

    How a shard is batched must not depend on whether the one before was made by the same process.
    """
    new = copy.copy(ext)
    new._checked, new._padding_harmless, new._paths = {}, {}, {}
    return new


def _maps_of(stream: Stream, dtype: str) -> _Content:
    arrays: dict[str, _arrays.Numpy] = {}
    lines: list[str] = []
    for attention in stream:
        weights = _arrays.to_numpy(attention.weights).astype(dtype)
        description, arrays[_name(len(lines))] = described(attention._with(weights=weights))
        lines.append(json.dumps(description, allow_nan=False, separators=(",", ":")))
    about = "\n".join(lines).encode()
    arrays[_ABOUT] = np.frombuffer(about, dtype=np.uint8)
    return {"maps": len(lines), _ABOUT: hashlib.sha256(about).hexdigest()}, arrays


def _checked_extractor(ext: object) -> Extractor:
    from bertattn.extract import Extractor

    if not isinstance(ext, Extractor):
        raise ValidationError(
            f"ext must be a bertattn.Extractor, but is {type(ext).__name__}; make one: Extractor(model, tokenizer)"
        )
    return ext


def _checked_size(shard_size: object) -> int:
    size = _arrays.plain(shard_size)
    if type(size) is not int or size < 1:
        raise ValidationError(f"shard_size must be a whole number, at least 1, but is {shard_size!r}")
    return size


def _described_function(function: object) -> dict[str, Any]:
    if not callable(function):
        raise ValidationError(
            f"function must take a stream of maps and give a result, but is {type(function).__name__}; "
            "such is bertattn.heads.score_relations"
        )
    return _manifest.described_function(function)


def _sum_of(stream: Stream, start: int, function: Callable[[Stream], Result]) -> _Content:
    from bertattn.extract import Stream

    first = next(stream, None)
    if first is None:  # of one shard all inputs may have been skipped, which functions take for a mistake
        return {"result": None}, None
    maps = itertools.chain([first], stream)
    result = function(Stream(maps, stream.skipped, stream.truncated, operator.length_hint(stream) + 1))
    for one in (result, *(result.parts.values() if isinstance(result, OnePass) else ())):
        if not isinstance(one, Result) or not hasattr(type(one), "__add__"):
            raise ValidationError(
                f"function must give a result that adds, as heads.score_relations and statistics.summarize do, but "
                f"gave a {type(one).__name__}"
            )
    for _ in stream:  # of a function that stops early, what was left out must be known all the same
        pass
    result = _with_records(result, lambda _, records: tuple((index + start, why) for index, why in records))
    return {"result": named_state(result)}, None


def _left_out(stream: Stream, start: int) -> dict[str, Any]:
    """What the stream, now read to its end, has left out; numbered over all inputs."""
    return {name: sorted([one.index + start, one.reason] for one in getattr(stream, name)) for name in _RECORDS}


def _with_records(result: Any, change: Callable[[str, Any], Any]) -> Any:
    """A result with other lists of what was left out, of those that it has."""
    if isinstance(result, OnePass):
        return OnePass({name: _with_records(part, change) for name, part in result.parts.items()})
    names = {field.name for field in dataclasses.fields(result)} & set(_RECORDS)
    return dataclasses.replace(result, **{name: change(name, getattr(result, name)) for name in sorted(names)})


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Say what to do about a shard that does not hold what it should."""
    try:
        yield path
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(
            f"{path} is damaged or of another run ({error}); delete it and make the call that filled the folder "
            "again: only this shard is made anew"
        ) from error


def _read_map(file: Any, place: int, line: bytes, manifest: Manifest) -> AttentionTensor:
    import torch

    weights, description = file.get_tensor(_name(place)), json.loads(line)
    if weights.dtype.name != manifest.value["settings"]["dtype"] or checksum(weights) != description["sha256"]:
        raise ValueError(f"the numbers of its map {place} do not have the checksum that it names")
    return assembled(description, torch.from_numpy(weights))


def _name(place: int) -> str:
    return f"{place:07d}"


def _sealed(head: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(head, allow_nan=False, separators=(",", ":"))
    return head | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def _shard_file(head: dict[str, Any], arrays: dict[str, _arrays.Numpy] | None) -> bytes:
    document = _files.labelled(_sealed(head), kind=_SHARD, version=_VERSION)
    text = json.dumps(document, separators=(",", ":"))
    if arrays is None:
        return f"{text}\n".encode()
    from safetensors.numpy import save

    content: bytes = save(arrays, {METADATA: text})
    return content


def _renumber(error: BaseException, start: int) -> None:
    """Count the input that an error names over all inputs, not from the first of its shard."""
    if isinstance(error, BertattnError) and error.args:
        text = re.sub(r"^input (\d+):", lambda match: f"input {int(match[1]) + start}:", str(error.args[0]))
        error.args = (text, *error.args[1:])


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValidationError(f"{name} must be {' or '.join(map(repr, choices))}, but is {value!r}")
