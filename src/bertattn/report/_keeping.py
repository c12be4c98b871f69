"""Where the steps of a report get their results: computed, or read from a folder that an earlier run kept them in."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bertattn import _files
from bertattn.errors import StorageError
from bertattn.results import Result

if TYPE_CHECKING:
    from bertattn.annotation import Sentence
    from bertattn.extract import Extractor, Input, Stream
    from bertattn.probes import ProbeData

__all__: list[str] = []

R = TypeVar("R", bound=Result)

_KIND: Final = "Kept result"
_VERSION: Final = 1
# Of many changes the first few tell which kind of change it was.
_SHOWN_CHANGES: Final = 4


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
        self.progress = progress
        self._options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}

    def sum(
        self, name: str, ext: Extractor, inputs: Iterable[Input], function: Callable[[Stream], R], /, **options: Any
    ) -> R:
        """What the function makes of the maps of all inputs.

        Raises:
            StorageError, OSError: as `RunFolder.sum`.
            BertattnError: as `ext.extract` and the function.
        """
        if self.folder is None:
            return function(ext.extract(inputs, **self._options, **options))
        from bertattn.storage import RunFolder

        return RunFolder(self.folder / name).sum(ext, inputs, function, **self._options, **options)

    def maps(
        self, name: str, ext: Extractor, sentences: Sequence[Sentence], /
    ) -> tuple[Callable[[], ProbeData], dict[str, Any]]:
        """A function that gives the maps of the sentences that the model can take, made once, and what they depend on.

        Raises:
            StorageError, OSError, BertattnError: as `RunFolder.keep`; without a folder the function raises them.
        """
        from bertattn.probes import prepare

        options: dict[str, Any] = {"on_too_long": "skip", "on_error": "skip", **self._options}
        if self.folder is None:
            return functools.cache(lambda: prepare(ext.extract(sentences, **options), on_error="skip")), {}
        from bertattn.storage import RunFolder

        run = RunFolder(self.folder / name).keep(ext, sentences, **options)
        digest = hashlib.sha256(json.dumps(run.manifest, sort_keys=True).encode()).hexdigest()
        return functools.cache(lambda: prepare(run)), {name: digest}

    def described(self, ext: Extractor, inputs: Sequence[Input], /, **settings: Any) -> dict[str, Any]:
        """What a result depends on that the model, with its head, makes of these inputs; empty without a folder."""
        if self.folder is None:
            return {}
        from bertattn.report._provenance import weights_sha256
        from bertattn.storage._manifest import described_run

        head = {"head_sha256": weights_sha256(ext._whole)}
        return described_run(
            "sums", ext, list(inputs), {"on_too_long": "truncate", "on_error": "skip"}, settings | head
        )

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
