"""The house: imports run downwards, `import bertattn` is light, and some things stay out of the code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bertattn

SOURCE = Path(bertattn.__file__).parent

# Each module may import those before it, never those after it.
FLOORS = (
    # words that everyone uses
    ("errors", "_arrays", "_functions", "_optional", "_files"),
    # the nouns
    ("annotation", "inputs", "_tokens", "tensor", "results", "vectors"),
    # pure functions
    ("alignment", "_inference", "statistics", "patterns", "heads", "probes", "clustering", "testing"),
    # the edges of the world
    (
        "readers",
        "segments",
        "_prepare",
        "windowing",
        "_hook",
        "_fallback",
        "_gradients",
        "_model",
        "_embeddings",
        "extract",
        "interventions",
        "attribution",
        "storage",
        "views",
        "figures",
    ),
    # the doors
    ("report", "demo", "cli", "__main__"),
)
ORDER = [module for floor in FLOORS for module in floor]


def module_name(path: Path) -> str:
    """The module's name inside bertattn; a package counts as one module."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module of bertattn) for every import in the file, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "bertattn" and len(parts) > 1:
                    yield node.lineno, parts[1]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bertattn":
            parts = (node.module or "").split(".")
            if len(parts) > 1:
                yield node.lineno, parts[1]
            else:
                for alias in node.names:
                    yield node.lineno, bertattn._NAMES.get(alias.name, alias.name)


def test_every_module_has_its_place() -> None:
    assert sorted(set(ORDER)) == sorted(ORDER)
    assert {module_name(path) for path in files()} == set(ORDER)


def test_imports_run_downwards() -> None:
    upwards = []
    for path in files():
        mine = module_name(path)
        for line, other in imported(ast.parse(path.read_text(encoding="utf-8"))):
            if other not in ORDER:
                assert other == "__version__", f"{path.name}:{line} imports bertattn.{other}, which has no place"
            elif other != mine and ORDER.index(other) >= ORDER.index(mine):
                upwards.append(
                    f"{path.relative_to(SOURCE)}:{line}: {mine} imports {other}, which stands below it in ORDER"
                )
    assert not upwards, "\n".join(upwards)


def test_the_reader_of_imports_sees_every_form() -> None:
    tree = ast.parse(
        "import bertattn.tensor\nfrom bertattn import patterns, Extractor\n"
        "def f():\n    from bertattn.readers.text import read_text\nimport numpy.linalg\n"
    )
    assert sorted(imported(tree)) == [(1, "tensor"), (2, "extract"), (2, "patterns"), (4, "readers")]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def newly_loaded(module: str, watched: tuple[str, ...]) -> str:
    loaded = f"set({watched}) & (set(sys.modules) - before)"
    return python(f"import sys; before = set(sys.modules); import {module}; print(sorted({loaded}))")


HEAVY = ("torch", "transformers", "matplotlib", "pandas", "scipy", "sklearn", "tokenizers", "networkx")


def test_importing_bertattn_loads_nothing_heavy() -> None:
    assert newly_loaded("bertattn", HEAVY) == "[]"


@pytest.mark.parametrize(
    "module", ["tensor", "annotation", "patterns", "alignment", "statistics", "heads", "readers", "figures", "cli"]
)
def test_modules_load_torch_and_matplotlib_only_when_used(module: str) -> None:
    assert newly_loaded(f"bertattn.{module}", HEAVY[:4]) == "[]"


def test_importing_bertattn_takes_less_than_150_ms() -> None:
    """The best of several: the machine may be busy, but the import cannot be faster than it is."""
    code = "from time import perf_counter as t; a = t(); import bertattn; print(t() - a)"
    assert min(float(python(code)) for _ in range(5)) < 0.15


def test_the_slow_references_know_nothing_of_bertattn() -> None:
    references = sorted((Path(__file__).parent / "reference").glob("*.py"))
    assert references
    for path in references:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name}:{node.lineno}"
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] in {"numpy", *sys.stdlib_module_names}, f"{path.name}:{node.lineno}: {name}"


def test_no_section_of_a_docstring_hides_in_another() -> None:
    for path in [SOURCE / "__init__.py", *files()]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node) or ""
                hidden = re.search(r"(?m)^ +(Args|Returns|Raises|Examples|Attributes):$", text)
                assert not hidden, f"{path.name}: {getattr(node, 'name', 'module')}: {hidden}"


def banned(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                if name.split(".")[0] in {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}:
                    yield node.lineno, name
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec", "print", "breakpoint"}:
                yield node.lineno, node.func.id
            if ast.unparse(node.func) in {"torch.load", "np.load", "numpy.load"}:
                yield node.lineno, ast.unparse(node.func)
            for keyword in node.keywords:
                allowed = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in {"trust_remote_code", "allow_pickle"} and not allowed:
                    yield node.lineno, f"{keyword.arg}={ast.unparse(keyword.value)}"


def test_some_things_stay_out() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{line}: {what}"
        for path in [SOURCE / "__init__.py", *files()]
        for line, what in banned(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


def test_the_search_for_them_finds_them() -> None:
    tree = ast.parse(
        "assert x\nimport pickle\neval('1')\nf(trust_remote_code=True)\nf(trust_remote_code=False)\ntorch.load(p)"
    )
    assert [line for line, _ in sorted(banned(tree))] == [1, 2, 3, 4, 6]
