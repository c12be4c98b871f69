"""Where the data is that tests only read: `$BERTATTN_DATA`, or `../shared/data` beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of treebanks and texts. Tests that need it skip where it is absent, but fail on CI."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BERTATTN_DATA") or default)
    if folder.is_dir():
        return folder
    message = f"there is no data in {folder}; set BERTATTN_DATA"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
