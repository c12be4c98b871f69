"""Everything that is checked, each in its own environment: `nox -l` lists the sessions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests", "docs"]

ROOT = Path(__file__).parent
NEWEST = ("-c", "constraints.txt")
LOWEST = ("-c", "constraints-lowest.txt")
# Hosts of models are never asked by a test; one that tries fails at once.
OFFLINE = {"HF_HUB_OFFLINE": "1"}


@nox.session
def tests(session: nox.Session) -> None:
    """The whole suite with every extra, on the versions of constraints.txt; nothing may be skipped."""
    session.install(*NEWEST, "-e", ".[all]", "--group", "test")
    session.run("pytest", *session.posargs, env=OFFLINE)


@nox.session
def coverage(session: nox.Session) -> None:
    """The whole suite with branch coverage, which must be 95 % at least."""
    session.install(*NEWEST, "-e", ".[all]", "--group", "test")
    session.run("pytest", "--cov", "--cov-report=term-missing:skip-covered", *session.posargs, env=OFFLINE)


@nox.session
def tests_lowest(session: nox.Session) -> None:
    """The suite on the lower bounds of pyproject.toml, without its slowest tests."""
    session.install(*LOWEST, "-e", ".[demo,fast]", "--group", "test")
    # Old versions warn of their newer neighbours, which is no fault of ours.
    lenient = ("-W", "default::DeprecationWarning", "-W", "default::FutureWarning")
    session.run("pytest", "-m", "not slow", *lenient, *session.posargs, env=OFFLINE)


@nox.session
def tests_minimal(session: nox.Session) -> None:
    """The suite without any extra and its slowest tests: what needs an extra is skipped there, and only there."""
    session.install(*NEWEST, "-e", ".", "--group", "test")
    session.run("pytest", "-m", "not slow", *session.posargs, env=OFFLINE)


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and format."""
    session.install(*NEWEST, "--group", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(venv_backend="none")
def lint_js(session: nox.Session) -> None:
    """Rules and format of the views' JavaScript and CSS; `npx biome check --write` mends what it can."""
    session.run("npm", "ci", "--no-progress", external=True)
    session.run("npm", "run", "--silent", "lint", external=True)


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, against the types that torch, transformers and matplotlib ship."""
    session.install(*NEWEST, "-e", ".[plot,test]", "--group", "types", "nox")
    session.run("mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, strict: a dead link or an undocumented reference is an error."""
    session.install(*NEWEST, "--group", "docs")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def notebooks(session: nox.Session) -> None:
    """Run every notebook: no error, no warning, the same kinds of output; `-- --write` keeps the new outputs."""
    session.install(*NEWEST, "-e", ".[demo]", "--group", "notebooks")
    session.run("python", "examples/run.py", *session.posargs, env=OFFLINE)


@nox.session
def browser(session: nox.Session) -> None:
    """The views in Chromium (/usr/bin/chromium or `$BERTATTN_CHROMIUM`) without a network; nothing may be skipped."""
    session.run("npm", "ci", "--no-progress", external=True)  # axe-core, which looks for barriers
    session.install(*NEWEST, "-e", ".[demo]", "--group", "browser")
    session.run("pytest", "tests/browser", *session.posargs, env=OFFLINE)


@nox.session
def bench_views(session: nox.Session) -> None:
    """Sizes of the views, and the times to write, to show and to hover over them in Chromium."""
    session.install(*NEWEST, "-e", ".[demo]", "--group", "browser")
    session.run("python", "benchmarks/views.py", *session.posargs, env=OFFLINE)


@nox.session
def demo(session: nox.Session) -> None:
    """`bertattn demo` as a user runs it."""
    session.install(*NEWEST, "-e", ".[demo]")
    session.run("bertattn", "demo", "--out", "demo-out", *session.posargs, env=OFFLINE)


@nox.session
def bench(session: nox.Session) -> None:
    """Ratios of times, each with both sides doing the same work in one process."""
    session.install(*NEWEST, "-e", ".[demo,fast]")
    # Fresh pages for every large temporary would be most of the noise.
    tunables = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296"
    session.run("python", "benchmarks/bench.py", *session.posargs, env=OFFLINE | {"GLIBC_TUNABLES": tunables})


@nox.session
def bench_snippets(session: nox.Session) -> None:
    """What each of the ten snippets takes in a fresh process, beside the imports and the model that it needs."""
    session.install(*NEWEST, "-e", ".[demo]")
    session.run("python", "benchmarks/snippets.py", *session.posargs, env=OFFLINE)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the source distribution in `dist`, made from nothing, and what PyPI would say of them."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    session.install(*NEWEST, "build", "hatchling", "twine")
    session.run("python", "-m", "build", "--no-isolation")
    session.run("twine", "check", "--strict", *(str(path) for path in (ROOT / "dist").iterdir()))


@nox.session(requires=["build"])
@nox.parametrize("versions", [nox.param(NEWEST, id="newest"), nox.param(LOWEST, id="lowest")])
def package(session: nox.Session, versions: tuple[str, ...]) -> None:
    """The wheel in environments that hold nothing else, on the newest versions and on the lowest."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    session.install(*versions, f"{wheel}[demo]")
    # An environment that is used again may hold an older build of the same version.
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.chdir(session.create_tmp())  # away from the checkout, so that only the wheel can be imported
    os.environ.pop("PYTHONPATH", None)
    session.run("python", str(ROOT / "tests" / "try_wheel.py"), env=OFFLINE)
    if versions == LOWEST:  # the ten snippets, each once; on the newest versions the suite runs them
        snippets = str(ROOT / "benchmarks" / "snippets.py")
        session.run("python", snippets, "--rounds", "0", env=OFFLINE | {"BERTATTN_DATA": "no data"})
    else:
        session.run("bertattn", "demo", "--out", "demo-out", env=OFFLINE)
