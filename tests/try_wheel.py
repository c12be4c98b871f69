"""Run by `nox -s package` in an environment that holds the wheel and nothing of this checkout."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from importlib import metadata, resources
from pathlib import Path

import numpy as np

import bertattn as ba


def public_modules() -> list[str]:
    """Every module without an underscore in its path."""
    found = [module.name for module in pkgutil.walk_packages(ba.__path__, "bertattn.")]
    return [name for name in found if not any(part.startswith("_") for part in name.split("."))]


def promised_names() -> set[str]:
    """Everything written `ba.x.y` in the ten snippets, which are read, not imported: pytest is not here."""
    source = Path(__file__).with_name("test_snippets.py").read_text(encoding="utf-8")
    (snippets,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SNIPPETS"
    )
    nodes = (node for code in snippets.values() for node in ast.walk(ast.parse(code)))
    names = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    return {name for name in names if name.startswith("ba.") and name.replace(".", "").isidentifier()}


def main() -> None:
    home = Path(ba.__file__).resolve()
    if "site-packages" not in home.parts:
        raise SystemExit(f"bertattn was imported from {home}, not from the wheel")
    if metadata.version("bertattn") != ba.__version__:
        raise SystemExit("the version of the wheel is not that of the package")
    if not resources.files("bertattn").joinpath("py.typed").is_file():
        raise SystemExit("py.typed is missing: the wheel has no types")
    for name in ba.__all__:
        getattr(ba, name)
    modules = public_modules()
    for module in modules:
        if module != "bertattn.testing":  # its strategies need the extra test
            importlib.import_module(module)
    promised = promised_names()
    for name in promised:
        found = ba
        for part in name.split(".")[1:]:
            found = getattr(found, part)
    if len(promised) < 15:
        raise SystemExit(f"the ten snippets were not read: they name only {sorted(promised)}")
    a = ba.AttentionTensor(np.full((1, 2, 3, 3), 1 / 3), ["a", "b", "c"])
    summary = ba.summarize([a, a], ba.patterns.entropy)
    if not np.allclose(summary.mean("entropy"), np.log(3)):
        raise SystemExit(f"the entropy of uniform attention over 3 keys is {summary.mean('entropy')}, not ln 3")
    print(f"bertattn {ba.__version__} works from {home.parent}: {len(modules)} modules, {len(promised)} promised names")


if __name__ == "__main__":
    main()
