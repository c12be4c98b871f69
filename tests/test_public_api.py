"""The promise: which names there are, how they are called, and that each is documented.

`python tests/test_public_api.py` writes the snapshot anew.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bertattn

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = Path(__file__).with_name("api_snapshot.txt")
# The command line is promised by its options (tests of the command), not by its Python names.
COMMAND_LINE = {"bertattn.cli", "bertattn.__main__"}


def public_modules() -> list[str]:
    found = pkgutil.walk_packages(bertattn.__path__, "bertattn.")
    return sorted(m.name for m in found if not any(part.startswith("_") for part in m.name.split(".")[1:]))


MODULES = [name for name in public_modules() if name not in COMMAND_LINE]

# design.md, "Public surface": what it names and what exists.
PROMISED = {
    "": "Extractor AttentionTensor Axis TextPair summarize windows alignment extract heads patterns readers statistics "
    "storage tensor",
    "tensor": "Axis AttentionTensor",
    "extract": "Extractor",
    "alignment": "merge_subwords drop_special",
    "patterns": "attention_to_offset attention_to attention_to_special entropy uniform_entropy surface_patterns "
    "sink_mass induction_score",
    "statistics": "Moments summarize bootstrap_ci paired_permutation_test adjust_pvalues max_statistic_test",
    "heads": "predict_governors score_relations score_coreference offset_baselines coreference_baselines",
    "probes": "AttentionProbe AttentionWordsProbe DistanceWordsProbe StructuralProbe right_branching",
    "clustering": "js_divergence pairwise_js head_distances embed_heads cluster_heads label_behaviors",
    "attribution": "attention_gradients",
    "interventions": "ablate randomize",
    "readers": "read_text iter_text read_conllu iter_conllu read_corefud iter_corefud read_conll2012 "
    "iter_conll2012 read_word_vectors iter_word_vectors from_spacy",
    "storage": "save load RunFolder",
    "views": "head_view model_view neuron_view",
}


@pytest.mark.parametrize(("module", "names"), PROMISED.items())
def test_promised_names_exist(module: str, names: str) -> None:
    home = importlib.import_module(f"bertattn.{module}".rstrip("."))
    assert [name for name in names.split() if not hasattr(home, name)] == []
    assert set(names.split()) <= set(home.__all__)


def test_promised_methods_exist() -> None:
    for name in ("from_outputs", "unit", "select", "__getitem__", "numpy", "replace"):
        assert hasattr(bertattn.AttentionTensor, name)
    for name in ("from_pretrained", "extract", "capture", "__call__"):
        assert hasattr(bertattn.Extractor, name)


def defined_here(module: ModuleType) -> set[str]:
    """Public functions and classes that the file defines."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")}


def shared_inside() -> dict[str, set[str]]:
    """What the modules of bertattn import from one another, by module."""
    shared: dict[str, set[str]] = {}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bertattn."):
                shared.setdefault(str(node.module), set()).update(alias.name for alias in node.names)
    return shared


@pytest.mark.parametrize("name", MODULES)
def test_all_equals_what_is_defined(name: str) -> None:
    """A name without an underscore is promised in `__all__`, or another module of bertattn needs it."""
    module = importlib.import_module(name)
    promised = module.__all__
    assert len(set(promised)) == len(promised)
    assert [n for n in promised if not hasattr(module, n)] == []
    unpromised = defined_here(module) - set(promised) - shared_inside().get(name, set())
    assert unpromised == set(), "public by its name, but neither in __all__ nor used elsewhere: give it an underscore"


def test_the_root_offers_what_it_says() -> None:
    assert sorted(dir(bertattn)) == sorted(bertattn.__all__)
    assert set(bertattn.__all__) == {*bertattn._NAMES, *bertattn._MODULES, "__version__"}
    for name in bertattn.__all__:
        assert getattr(bertattn, name) is not None
    with pytest.raises(AttributeError, match="module 'bertattn' has no attribute 'nonsense'"):
        bertattn.nonsense  # noqa: B018  # reading it is the test


def test_the_root_names_for_type_checkers_are_those_loaded_lazily() -> None:
    tree = ast.parse(Path(bertattn.__file__).read_text(encoding="utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {
        alias.asname or alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    expected = {name: f"bertattn.{module}" for name, module in bertattn._NAMES.items()}
    assert seen == expected | dict.fromkeys(bertattn._MODULES, "bertattn")


def own_members(value: type) -> Iterator[tuple[str, Any]]:
    """Public attributes that the class itself, or a private parent of it, defines."""
    for name in sorted(dir(value)):
        if name.startswith("_") and name not in {
            "__call__",
            "__getitem__",
            "__add__",
            "__len__",
            "__iter__",
            "__next__",
        }:
            continue
        home = next(c for c in value.__mro__ if name in vars(c))
        if home.__module__.startswith("bertattn"):
            found = inspect.getattr_static(value, name)
            yield name, property(found.func) if isinstance(found, functools.cached_property) else found


def documented(value: Any) -> bool:
    """Its own docstring, not one that Python makes up."""
    text = inspect.getdoc(value) or ""
    made_up = inspect.isclass(value) and text.startswith(f"{value.__name__}(")
    return bool(text) and not made_up


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    missing = []
    for public in module.__all__:
        value = getattr(module, public)
        if not (inspect.isclass(value) or callable(value)):
            continue
        if not documented(value):
            missing.append(public)
        if inspect.isclass(value):
            for member, definition in own_members(value):
                if member.startswith("__"):
                    continue
                if isinstance(definition, property | classmethod | staticmethod) or inspect.isfunction(definition):
                    function = definition.fget if isinstance(definition, property) else definition
                    if not documented(getattr(function, "__func__", function)):
                        missing.append(f"{public}.{member}")
    assert missing == []


def reference_text() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "reference").glob("*.md")))


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_in_the_reference(name: str) -> None:
    """mkdocstrings shows what `__all__` names (`filters: public`), so a module's line stands for all of its names."""
    package = name.rsplit(".", 1)[0]
    reexported = package != "bertattn" and set(importlib.import_module(name).__all__) <= set(
        importlib.import_module(package).__all__
    )
    lines = reference_text().splitlines()
    assert f"::: {name}" in lines or reexported


def signature(value: Any) -> str:
    try:
        return str(inspect.signature(value))
    except (TypeError, ValueError):  # constants and classes of C
        return ""


def described(name: str, value: Any) -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"{name}{signature(value) or f': {type(value).__name__}'}"
        return
    parents = ", ".join(c.__name__ for c in value.__bases__ if c is not object)
    yield f"class {name}({parents})" if parents else f"class {name}"
    error = issubclass(value, BaseException) and "__init__" not in vars(value)
    if not error:
        yield f"    {name}{signature(value)}"
    if dataclasses.is_dataclass(value):
        yield f"    fields: {', '.join(f.name for f in dataclasses.fields(value))}"
    for member, definition in own_members(value):
        if isinstance(definition, property):
            yield f"    .{member}: {inspect.signature(definition.fget).return_annotation}"  # type: ignore[arg-type]
        elif isinstance(definition, classmethod | staticmethod):
            yield f"    .{member}{signature(getattr(value, member))}  [{type(definition).__name__}]"
        elif inspect.isfunction(definition):
            yield f"    .{member}{signature(definition)}"


def snapshot() -> str:
    lines = []
    for module_name in ["bertattn", *MODULES]:
        module = importlib.import_module(module_name)
        lines += ["", f"# {module_name}"]
        for name in sorted(module.__all__):
            value = getattr(module, name)
            home = getattr(value, "__module__", module_name)
            if inspect.ismodule(value):
                lines.append(f"{name}: module")
            elif name == "__version__":
                lines.append("__version__: str")
            elif home != module_name and home in ["bertattn", *MODULES]:
                lines.append(f"{name}: from {home}")
            else:
                lines += described(name, value)
    return "\n".join(lines).lstrip() + "\n"


def test_the_promise_is_unchanged() -> None:
    expected, seen = SNAPSHOT.read_text(encoding="utf-8"), snapshot()
    diff = difflib.unified_diff(expected.splitlines(), seen.splitlines(), "promised", "now", lineterm="", n=1)
    remedy = "if the change is wanted: python tests/test_public_api.py, and a line in CHANGELOG.md"
    assert seen == expected, "\n".join(["the public signatures changed", *diff, remedy])


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
