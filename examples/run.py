"""Run every notebook of this folder from top to bottom; `--write` keeps the new outputs."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
LARGEST = 300_000  # bytes of a notebook with its outputs: they are read on a code host and kept in the history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the new outputs")
    write = parser.parse_args().write
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:  # what a notebook writes does not stay
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # times, which would differ in each commit
            for output in cell.get("outputs", []):
                if output.output_type == "stream" and output.name == "stderr":
                    raise SystemExit(f"{path.name} writes to stderr: {output.text[:200]}")
        text = nbformat.writes(notebook)
        if len(text) > LARGEST:
            raise SystemExit(f"{path.name} has {len(text)} bytes with its outputs, more than {LARGEST}")
        if write:
            path.write_text(text + "\n", encoding="utf-8")
        print(f"{path.name}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells ran")


if __name__ == "__main__":
    main()
