"""Run every notebook of this folder from top to bottom and check what it shows; `--write` keeps the new outputs.

Without `--write` each cell must show what it shows in the file, kind by kind: as many figures, tables and texts. Their
numbers may differ in the last digits from machine to machine.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LARGEST = 500_000  # bytes of a notebook with its outputs: they are read on a code host and kept in the history
COLOURS = 128  # of a figure that is kept: a third of the bytes, and the eye sees no difference
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
COLOUR_CODE = r"\x1b\[[0-9;]*m"
FOLDERS_OF_A_MACHINE = ("/root/", "/home/", "/tmp/", "/Users/", "site-packages", "\\Users\\")  # noqa: S108


def faults(notebook: dict[str, Any]) -> Iterator[str]:
    """What must not be in a notebook with its outputs, each with the number of its cell."""
    for number, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", []):
            shown = {"text": output.get("text", ""), **output.get("data", {})}
            texts = ["".join(value) for kind, value in shown.items() if kind.startswith("text")]
            if output["output_type"] == "error":
                yield f"cell {number} ends in {output['ename']}: {output['evalue']}"
            elif output.get("name") == "stderr":
                yield f"cell {number} writes to stderr: {texts[0][:300]}"
            elif any(kind.startswith("application/") for kind in shown):
                yield f"cell {number} shows a widget, which no code host draws: {', '.join(shown)}"
            for folder in FOLDERS_OF_A_MACHINE:
                if any(folder in text for text in texts):
                    yield f"cell {number} shows a path of this machine, with {folder!r}"
    if notebook["metadata"] != METADATA or any(cell["metadata"] for cell in notebook["cells"]):
        yield "there is metadata beyond the kernel's name, which would differ in each commit; run with --write"


def kinds(cell: dict[str, Any]) -> list[str]:
    """What a cell shows: an entry for each output, such as "stdout", "error" or "image/png, text/plain"."""
    return [
        ", ".join(sorted(output.get("data", {}))) or output.get("name") or output["output_type"]
        for output in cell.get("outputs", [])
    ]


def executed(path: Path) -> Any:
    """The notebook with the outputs of a run in an empty folder."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    started = [0]
    with tempfile.TemporaryDirectory() as folder:  # what a notebook writes does not stay
        client = NotebookClient(
            notebook,
            timeout=600,
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": folder}},
            on_cell_start=lambda cell_index, **_: started.append(cell_index),
        )
        try:
            client.execute()
        except (CellControlSignal, CellExecutionError, DeadKernelError) as error:
            raise SystemExit(f"{path.name}: cell {started[-1]} fails\n{re.sub(COLOUR_CODE, '', str(error))}") from None
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = fewer_colours(output.data["image/png"])
    nbformat.validate(notebook)
    return notebook


def fewer_colours(png: str) -> str:
    """The same picture in base64 with a small palette."""
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    content = io.BytesIO()
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode("ascii")


def check(path: Path, *, write: bool) -> str:
    """Run one notebook; what it did, in a line."""
    import nbformat

    start = time.perf_counter()
    kept, notebook = nbformat.read(path, as_version=4), executed(path)
    seconds = time.perf_counter() - start
    text = nbformat.writes(notebook) + "\n"
    wrong = list(faults(notebook))
    if len(text) > LARGEST:
        wrong.append(f"{len(text)} bytes with its outputs, more than {LARGEST}")
    for number, (before, now) in enumerate(zip(kept.cells, notebook.cells, strict=True)):
        if not write and not wrong and kinds(before) != kinds(now):
            wrong.append(f"cell {number} shows {kinds(now)} but in the file {kinds(before)}; run with --write")
    if wrong:
        raise SystemExit("\n".join(f"{path.name}: {fault}" for fault in wrong))
    if write:
        path.write_text(text, encoding="utf-8")
    figures = sum("image/png" in kind for cell in notebook.cells for kind in kinds(cell))
    return f"{path.name}: {len(notebook.cells)} cells, {figures} figures, {len(text)} bytes, {seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(HERE.glob("*.ipynb")), help="these only")
    parser.add_argument("--write", action="store_true", help="keep the new outputs")
    chosen = parser.parse_args()
    # Another backend in the environment, such as agg on CI, would show no figure at all.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    for path in chosen.notebooks:
        print(check(path, write=chosen.write), flush=True)


if __name__ == "__main__":
    main()
