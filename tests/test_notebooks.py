"""The notebooks of `examples` as they are kept: whole, small, with their outputs. `nox -s notebooks` runs them."""

from __future__ import annotations

import ast
import base64
import importlib.util
import itertools
import json
import re
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PATHS = sorted(EXAMPLES.glob("*.ipynb"))
# By hand, so that a figure which goes missing on a `--write` is noticed.
FIGURES = {
    "00_quickstart": 3,
    "01_surface_patterns": 4,
    "02_dependency_heads": 4,
    "03_coreference_heads": 3,
    "04_probes": 4,
    "05_clusters_and_gradients": 7,
    "06_views": 2,
    "07_the_paper": 9,
}


@pytest.fixture(scope="module")
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples_run", EXAMPLES / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    kept: Path = request.param
    return kept


@pytest.fixture
def notebook(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_every_notebook_is_listed_here() -> None:
    assert {path.stem for path in PATHS} == set(FIGURES)


def test_format(notebook: dict[str, Any]) -> None:
    assert notebook["nbformat"] == 4
    assert notebook["nbformat_minor"] >= 5
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)


def test_nothing_that_must_not_be_there(notebook: dict[str, Any], run: ModuleType) -> None:
    assert list(run.faults(notebook)) == []


def test_size(path: Path, run: ModuleType) -> None:
    assert path.stat().st_size <= run.LARGEST


def test_outputs_are_those_of_one_run_from_top_to_bottom(notebook: dict[str, Any]) -> None:
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    results = [o for cell in code_cells(notebook) for o in cell["outputs"] if o["output_type"] == "execute_result"]
    assert len(results) >= 5


def test_figures(path: Path, notebook: dict[str, Any]) -> None:
    pictures = [
        base64.b64decode("".join(output["data"]["image/png"]))
        for cell in code_cells(notebook)
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == FIGURES[path.stem]
    for picture in pictures:
        width, height = struct.unpack(">II", picture[16:24])
        assert picture.startswith(b"\x89PNG")
        assert 300 <= width <= 1400
        assert 300 <= height <= 1400


def test_views_are_kept_in_frames_of_their_own() -> None:
    notebook = json.loads((EXAMPLES / "06_views.ipynb").read_text(encoding="utf-8"))
    shown = ["".join(o["data"]["text/html"]) for cell in code_cells(notebook) for o in cell["outputs"]
             if "text/html" in o.get("data", {})]  # fmt: skip
    frames = [html for html in shown if html.startswith('<iframe sandbox="allow-scripts allow-downloads" title="')]
    titles = [html.split('title="')[1].split(":")[0] for html in frames]
    assert titles == ["Head view", "Head view", "Model view", "Neuron view"]
    assert all("default-src &#x27;none&#x27;" in html for html in frames)


def test_the_first_code_cell_installs_bertattn_where_it_is_missing(notebook: dict[str, Any]) -> None:
    first, *others = code_cells(notebook)
    assert 'if find_spec("bertattn") is None:' in source(first)
    assert '%pip install --quiet "{SOURCE}"' in source(first)
    assert first["outputs"] == []
    assert not any("%" in line[:1] for cell in others for line in source(cell).splitlines())
    for cell in others:
        ast.parse(source(cell))


def test_all_notebooks_have_the_same_first_code_cell() -> None:
    firsts = {source(code_cells(json.loads(path.read_text(encoding="utf-8")))[0]) for path in PATHS}
    assert len(firsts) == 1


def test_each_code_cell_follows_a_sentence(notebook: dict[str, Any]) -> None:
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    alone = [i for i, pair in enumerate(itertools.pairwise(kinds), start=1) if pair == ("code", "code")]
    # The variables that a reader changes and the cell that reads them belong together.
    assert all(source(notebook["cells"][i - 1]).startswith("MODEL = ") for i in alone)


def test_code_is_read_without_scrolling(notebook: dict[str, Any]) -> None:
    lines = [line for cell in code_cells(notebook) for line in source(cell).splitlines()]
    assert [line for line in lines if len(line) > 105] == []


def test_links_lead_to_files(path: Path, notebook: dict[str, Any]) -> None:
    text = "\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (path.parent / target).is_file()] == []


def a_notebook(output: dict[str, Any], run: ModuleType) -> dict[str, Any]:
    return {"cells": [{"cell_type": "code", "metadata": {}, "outputs": [output]}], "metadata": run.METADATA}


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"output_type": "error", "ename": "ValueError", "evalue": "no"}, "cell 0 ends in ValueError: no"),
        ({"output_type": "stream", "name": "stderr", "text": "a warning"}, "cell 0 writes to stderr: a warning"),
        ({"output_type": "stream", "name": "stdout", "text": "in /home/me/x"}, "cell 0 shows a path of this machine"),
        (
            {"output_type": "display_data", "data": {"text/html": ["<b>", "C:\\Users\\me"]}},
            "cell 0 shows a path of this machine",
        ),
        (
            {"output_type": "display_data", "data": {"application/vnd.jupyter.widget-view+json": {}}},
            "cell 0 shows a widget",
        ),
    ],
)
def test_faults_are_found(output: dict[str, Any], said: str, run: ModuleType) -> None:
    (fault,) = run.faults(a_notebook(output, run))
    assert fault.startswith(said)


def test_metadata_that_changes_with_each_run_is_a_fault(run: ModuleType) -> None:
    notebook = a_notebook({"output_type": "stream", "name": "stdout", "text": "fine"}, run)
    assert list(run.faults(notebook)) == []
    notebook["cells"][0]["metadata"] = {"execution": {"iopub.status.busy": "2026-01-01T00:00:00Z"}}
    (fault,) = run.faults(notebook)
    assert "metadata" in fault


def test_kinds_of_outputs(run: ModuleType) -> None:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "x"},
        {"output_type": "display_data", "data": {"text/plain": "x", "image/png": "x"}},
        {"output_type": "error", "ename": "E", "evalue": ""},
    ]
    assert run.kinds({"outputs": outputs}) == ["stdout", "image/png, text/plain", "error"]
    assert run.kinds({"cell_type": "markdown"}) == []
