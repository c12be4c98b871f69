"""Packages that only some features need."""

from __future__ import annotations

import importlib
from types import ModuleType

from bertattn.errors import MissingExtraError


def require(module: str, *, extra: str, caller: str) -> ModuleType:
    """Import `module`, or say which caller needs it and which command installs it."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is there but broken: its own message tells more
        raise MissingExtraError(
            f"{caller} needs the package {package!r}, which is not installed; "
            f"install it with: pip install 'bertattn[{extra}]'"
        ) from error
