"""What tells one function from another, for results that depend on one that the caller wrote."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

import numpy as np

from bertattn import _arrays


def described(function: Callable[..., Any]) -> str:
    """The name of a function, and a hash of its bytecode and of the values that it was made with or reads by name.

    Not of its source: of two lambdas on one line that is the same, and of one lambda on two lines it differs.
    """
    given: list[Any] = []
    while isinstance(function, functools.partial):
        given += [function.args, sorted(function.keywords.items())]
        function = function.func
    if not inspect.isfunction(function):  # compiled, or an object that can be called
        return repr((function, *given) if given else function)
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    made_with = _told([given, function.__defaults__, function.__kwdefaults__, cells])
    named = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    read = {name: value for name, value in named.items() if isinstance(value, int | float | str | tuple)}
    content = repr((_computed(function.__code__), made_with, read))
    return f"{function.__name__} {hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _told(value: Any) -> Any:
    """A value as something whose `repr` tells it from others, arrays by a hash: they may be large."""
    if _arrays.is_array(value):
        content = np.ascontiguousarray(_arrays.to_numpy(value))
        return content.dtype.name, content.shape, hashlib.sha256(content.tobytes()).hexdigest()
    return tuple(map(_told, value)) if isinstance(value, list | tuple) else _arrays.plain(value)


def _computed(code: CodeType) -> tuple[Any, ...]:
    """What a function computes, whatever it is called and wherever it stands."""
    constants = [
        _computed(value) if isinstance(value, CodeType)
        # The order of a set changes from process to process.
        else sorted(map(repr, value)) if isinstance(value, frozenset)
        else value
        for value in code.co_consts
    ]  # fmt: skip
    return code.co_code, code.co_names, constants
