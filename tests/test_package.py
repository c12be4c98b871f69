"""What is in the wheel and in the source distribution, and what is not."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.version import Version

import bertattn

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def wheel_names(built: Path) -> list[str]:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    names = wheel_names(built)
    here = {
        f"bertattn/{path.relative_to(ROOT / 'src' / 'bertattn').as_posix()}"
        for path in (ROOT / "src" / "bertattn").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("bertattn/")} == here
    info = f"bertattn-{bertattn.__version__}.dist-info/"
    assert {name for name in names if not name.startswith("bertattn/")} == {
        info + name for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }


def test_the_wheel_holds_types_and_the_demo_text_and_corpus(built: Path) -> None:
    demo = {"bertattn/demo/passages.txt", "bertattn/demo/corpus.conllu", "bertattn/demo/README.md"}
    assert {"bertattn/py.typed", *demo} <= set(wheel_names(built))


def test_the_wheel_holds_no_other_data_and_is_small(built: Path) -> None:
    names = wheel_names(built)
    data = (".conllu", ".gz", ".safetensors", ".pt", ".bin", ".npz", ".npy", ".pkl")
    assert [name for name in names if name.endswith(data)] == ["bertattn/demo/corpus.conllu"]
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < 1_000_000


def test_the_source_distribution_can_be_tested(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "noxfile.py"} <= names
    assert {"src/bertattn/py.typed", "tests/conftest.py", "tests/api_snapshot.txt", "docs/index.md", ".ci/run"} <= names
    assert not any(name.startswith(("shared", ".venv", ".nox", "demo-out", "site")) for name in names)


def test_the_metadata_is_valid(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("METADATA"))
        metadata = Metadata.from_email(archive.read(name), validate=True)
    assert metadata.version == Version(bertattn.__version__)
    assert metadata.license_expression == "MIT"
    assert str(metadata.requires_python) == ">=3.11"
    assert set(metadata.provides_extra or ()) == {"all", "demo", "fast", "plot", "spacy", "test"}


def test_the_changelog_says_what_this_version_is_and_when_it_came() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, newest = re.findall(r"^## (.+)$", changelog, flags=re.MULTILINE)[:2]
    assert unreleased == "Unreleased"
    version, date = re.fullmatch(r"(\S+) \((\d{4}-\d\d-\d\d)\)", newest).groups()
    assert bertattn.__version__ == version or Version(bertattn.__version__).is_devrelease
    assert f"date-released: {date}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_wheel_is_tried_on_every_public_module_and_promised_name() -> None:
    spec = importlib.util.spec_from_file_location("try_wheel", ROOT / "tests" / "try_wheel.py")
    try_wheel = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(try_wheel)
    modules = try_wheel.public_modules()
    assert {f"bertattn.{name}" for name in bertattn._MODULES} <= set(modules)
    assert {"bertattn.cli", "bertattn.heads.dependency", "bertattn.readers.conllu"} <= set(modules)
    assert not any("._" in name for name in modules)
    promised = try_wheel.promised_names()
    assert {"ba.AttentionTensor.from_outputs", "ba.windows", "ba.clustering.embed_heads"} <= promised
    with pytest.raises(SystemExit, match="not from the wheel"):  # this is the checkout
        try_wheel.main()


def pins(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    entries = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower(): version for name, version in entries}


def requirements() -> list[Requirement]:
    every = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    return [r for r in map(Requirement, every) if r.name != "bertattn"]


def test_constraints_lie_in_the_ranges() -> None:
    newest, lowest = pins("constraints.txt"), pins("constraints-lowest.txt")
    for requirement in requirements():
        assert Version(newest[requirement.name]) in requirement.specifier, requirement
        if requirement.name in lowest:
            assert Version(lowest[requirement.name]) in requirement.specifier, requirement
    assert newest["torch"] == "2.13.0"


def test_every_range_has_both_ends_and_the_lower_one_is_tested() -> None:
    lowest = pins("constraints-lowest.txt")
    for requirement in requirements():
        ends = {specifier.operator: specifier.version for specifier in requirement.specifier}
        if set(ends) == {"=="}:
            continue
        assert set(ends) == {">=", "<"}, requirement
        if requirement.name not in {"spacy", "hypothesis"}:  # nothing imports the one; the other is of the tests
            assert Version(lowest[requirement.name]) == Version(ends[">="]), requirement


def test_what_is_imported_is_declared() -> None:
    """The top-level packages that the source imports, against pyproject.toml."""
    modules = {
        "sklearn": "scikit-learn",
        "markupsafe": "jinja2",
        "huggingface_hub": "transformers",
        "tokenizers": "transformers",
    }
    declared = {r.name for r in requirements()}
    seen = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                seen |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                seen.add((node.module or "").split(".")[0])
    others = {modules.get(name, name) for name in seen - set(sys.stdlib_module_names) - {"bertattn"}}
    assert others - declared == set()
