"""Every error that bertattn raises on purpose: what was wrong, the value seen, the remedy."""

from __future__ import annotations

__all__ = [
    "AlignmentError",
    "BertattnError",
    "InputError",
    "MeasureError",
    "MissingExtraError",
    "ModelError",
    "ReaderError",
    "SelectionError",
    "StorageError",
    "TooLongError",
    "ValidationError",
]


class BertattnError(ValueError):
    """Parent of all errors that bertattn raises on purpose; itself a `ValueError`."""


class ValidationError(BertattnError):
    """An argument that cannot be used, or parts of a value that do not fit together."""


class SelectionError(BertattnError, LookupError):
    """Something was asked for that is not there: a layer, a head, a statistic, a relation, a row."""


class MeasureError(BertattnError):
    """A function needs another kind of number than the tensor holds, such as rows that are distributions."""


class AlignmentError(BertattnError):
    """Tokens and words cannot be matched."""


class InputError(BertattnError):
    """An input (text, ids, a file, the outputs of a model call) that cannot be read, or not in the way asked for."""


class TooLongError(InputError):
    """A text with more tokens than the model can take.

    Attributes:
        reason: what was wrong, without the remedy: for lists of what was left out.
    """

    def __init__(self, reason: str, *, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason


class ModelError(BertattnError):
    """A model or tokenizer that cannot be used, and why."""


class StorageError(BertattnError):
    """A file that cannot be written, that bertattn did not write, that is torn, or that is newer than this version."""


class MissingExtraError(BertattnError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""


class ReaderError(BertattnError):
    """A malformed place in a file: `path:line:column: what is wrong`.

    Attributes:
        path, line, column: the place; lines and columns are counted from 1.
        message: what is wrong there.
    """

    def __init__(self, message: str, *, path: str, line: int, column: int = 1) -> None:
        super().__init__(f"{path}:{line}:{column}: {message}")
        self.path = path
        self.line = line
        self.column = column
        self.message = message

    def __reduce__(self) -> tuple[object, ...]:  # keyword arguments survive a trip between processes
        return (_reader_error, (self.message, self.path, self.line, self.column))


def _reader_error(message: str, path: str, line: int, column: int) -> ReaderError:
    return ReaderError(message, path=path, line=line, column=column)
