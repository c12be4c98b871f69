"""Where the steps of a report get their results: computed, or read from a folder that an earlier run kept them in."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from bertattn import _files
from bertattn.attribution import Contrastive, gradients
from bertattn.errors import InputError, StorageError, ValidationError
from bertattn.results import Result, one_pass

if TYPE_CHECKING:
    from bertattn.annotation import Sentence
    from bertattn.attribution.objectives import Objective
    from bertattn.extract import Extractor, Input, Stream
    from bertattn.probes import ProbeData
    from bertattn.windowing import Windows

__all__: list[str] = []

R = TypeVar("R", bound=Result)

# Inputs of a shard: the most that is lost by a kill.
SHARD: Final = 256
_KIND: Final = "Kept result"
_VERSION: Final = 1
# Of many changes the first few tell which kind of change it was.
_SHOWN_CHANGES: Final = 4


@dataclass(frozen=True)
class Kept:
    """Maps of one model, read when they are asked for.

    Args:
        maps: gives them.
        depends_on: what they were made of, as JSON can hold it.
        also: what was made of them in the same pass.
    """

    maps: Callable[[], ProbeData]
    depends_on: Mapping[str, Any] = field(default_factory=dict)
    also: Any = None


class Keeping:
    """The results of the steps of a report, each under a name of its own in a folder; None keeps nothing.

    A step that was finished is read, one that was cut goes on (see `RunFolder`), and one that was made from other
    inputs or with other settings is refused.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, *, batch_size: int, progress: bool) -> None:
        """Say where, and how inputs are run.

        Raises:
            StorageError: a file or an empty name.
        """
        if folder is not None and not os.fspath(folder):
            raise StorageError("the name of the folder to keep the run in is empty; for the current folder write '.'")
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise StorageError(f"{self.folder} is a file; name a folder to keep the run in")
        self.progress, self.batch_size = progress, batch_size
        self._options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}

    def sum(
        self,
        name: str,
        ext: Extractor,
        inputs: Sequence[Input] | Windows,
        function: Callable[[Any], R],
        /,
        *,
        objective: Objective | None = None,
        **options: Any,
    ) -> R:
        """What the function makes of the maps of all inputs, or of an objective's gradients by them.

        Raises:
            InputError: no input could be used.
            StorageError, OSError: as `RunFolder.sum`.
            BertattnError: as `ext.extract` and the function.
        """
        options |= self._options
        if self.folder is None:
            if objective is None:
                return function(ext.extract(inputs, **options))
            return function(gradients(ext, inputs, objective=objective, **options))
        from bertattn.storage import RunFolder

        shard_size = SHARD
        if isinstance(objective, Contrastive):  # all in one: its batches must not depend on where shards end
            shard_size = -(-max(1, len(list(inputs))) // self.batch_size) * self.batch_size
        # Words where inputs may be skipped: those without tokens are then left out before a shard has nothing else.
        unit: Literal["token", "word"] = "word" if options.get("on_error") == "skip" and objective is None else "token"
        run = RunFolder(self.folder / name)
        try:
            return run.sum(ext, inputs, function, unit=unit, objective=objective, shard_size=shard_size, **options)
        except ValidationError:
            if not (run.is_complete and len(run.skipped) == run.manifest["inputs"]["count"]):
                raise
            raise InputError(f"none of the inputs could be used: {run.skipped[0].reason}") from None

    def maps(
        self,
        name: str,
        ext: Extractor,
        sentences: Sequence[Sentence],
        /,
        *,
        also: Callable[[Stream], Result] | None = None,
    ) -> Kept:
        """The maps of the sentences that the model can take, and what a function makes of them in the same pass.

        Raises:
            StorageError, OSError, BertattnError: as `RunFolder.keep`; without `also` and a folder, once they are asked
                for.
        """
        from bertattn.probes import prepare

        options: dict[str, Any] = {"on_too_long": "skip", "on_error": "skip", **self._options}
        if self.folder is None:
            prepared = functools.partial(prepare, on_error="skip")
            if also is None:
                return Kept(functools.cache(lambda: prepared(ext.extract(sentences, **options))))
            both = one_pass(ext.extract(sentences, **options), also=also, maps=prepared)
            return Kept(lambda: both["maps"], also=both["also"])
        from bertattn.storage import RunFolder

        run = RunFolder(self.folder / name).keep(ext, sentences, also=also, **options)
        digest = hashlib.sha256(json.dumps(run.manifest, sort_keys=True).encode()).hexdigest()
        return Kept(functools.cache(lambda: prepare(run)), {name: digest}, None if also is None else run.result())

    def result(self, name: str, kind: type[R], depends_on: dict[str, Any], make: Callable[[], R], /) -> R:
        """A result that depends on nothing but what is named, as JSON can hold it.

        Raises:
            StorageError: the kept one depends on something else, or its file is damaged.
            OSError: the file cannot be read or written.
        """
        if self.folder is None:
            return make()
        from bertattn.storage._manifest import differences

        path = self.folder / f"{name}.json"
        wanted = json.loads(json.dumps(depends_on))
        if path.exists():
            try:
                document = json.loads(path.read_bytes())
            except (ValueError, RecursionError) as error:
                raise StorageError(f"{path} is torn or no JSON file ({error}); delete it to make it anew") from None
            kept = _files.unlabelled(document, path, dict, kind=_KIND, version=_VERSION)
            changed = list(differences(kept["depends_on"], wanted))
            if changed:
                more = len(changed) - _SHOWN_CHANGES
                raise StorageError(
                    f"{path} is of another run: {'; '.join(changed[:_SHOWN_CHANGES])}"
                    + (f"; and {more} more" if more > 0 else "")
                    + ". Name another folder, or delete this file to make it anew"
                )
            return _files.unlabelled(kept["result"], path, kind._from_state, kind=kind.__name__, version=kind._schema)
        made = make()
        value = _files.labelled(made._state(), kind=kind.__name__, version=kind._schema)
        self.folder.mkdir(parents=True, exist_ok=True)
        document = {"depends_on": wanted, "result": value}
        _files.write_json(path, _files.labelled(document, kind=_KIND, version=_VERSION))
        return made
