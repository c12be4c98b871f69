"""From text files to inputs of a model, with what is left out and what would tell them from others."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertattn import readers
from bertattn.errors import InputError
from bertattn.inputs import TextPair
from bertattn.readers import _source
from bertattn.segments import paragraph_segments

if TYPE_CHECKING:
    from bertattn.annotation import Document, Sentence
    from bertattn.extract import Extractor, Input
    from bertattn.vectors import WordVectors

# Figure 1 is legible only for a short text.
EXAMPLE_WORDS = 20
# Of the paper's segments, and of its windows for coreference.
MAX_TOKENS = 128
# How much of a file says which format it has.
PEEKED_BYTES = 8192
BEGIN = re.compile(r"\s*#\s*begin document\b")


@dataclass(frozen=True)
class Corpus:
    """The inputs of a report.

    Args:
        inputs: what the extractor takes.
        example: the text of Figure 1; None where the inputs are no text.
        record: what they were made from and what is not in them, as JSON can hold it.
    """

    inputs: Sequence[Input]
    example: Input | None
    record: dict[str, Any]


def of_files(
    paths: Sequence[Path],
    ext: Extractor,
    *,
    unit: str,
    max_tokens: int | None,
    count: int | None,
    seed: int,
    example: str | TextPair | None,
) -> Corpus:
    documents: list[tuple[str, ...]] = []
    files = []
    for path in paths:
        _check_file(path)
        read = readers.read_text(path)
        lines = sum(map(len, read))
        files.append(file_record(path) | {"documents": len(read), "lines": lines})
        documents += read
    names = ", ".join(map(str, paths))
    if not documents:
        raise InputError(f"there is no text in {names}: all lines are empty")
    chosen = example or " ".join(documents[0][0].split()[:EXAMPLE_WORDS])
    if unit == "line":
        lines_of_all = [line for document in documents for line in document]
        return Corpus(lines_of_all, chosen, {"files": files, "unit": "line", "example": _as_json(chosen)})
    limit = ext._limit
    longest = max_tokens if max_tokens is not None else min(MAX_TOKENS, limit or MAX_TOKENS)
    with warnings.catch_warnings():  # fewer than asked for: the record says so
        warnings.filterwarnings("ignore", r"\d+ segments were asked for")
        segments = paragraph_segments(documents, ext.tokenizer, max_tokens=longest, count=count, seed=seed)
    if not segments:
        raise InputError(
            f"the text of {names} gives no segment: none of its documents has two lines that belong together, or "
            f"max_tokens={longest} has no room for a second; put one sentence or paragraph on a line and a blank line "
            "after each document, or take each line by itself (--unit line, unit='line')"
        )
    record = {
        "files": files,
        "unit": "segment",
        "example": _as_json(chosen),
        "max_tokens": longest,
        "count": count,
        "seed": seed,
        "segments": len(segments),
        "left_out": {
            "one_line_chunks": segments.one_line_chunks,
            "cut_tokens": segments.cut_tokens,
            "segments_not_chosen": segments.not_chosen,
            "lines_without_tokens": segments.empty_lines,
        },
    }
    return Corpus(segments, chosen, record)


@dataclass(frozen=True)
class Treebank:
    """The gold sentences of a report, and what they were read from."""

    sentences: Sequence[Sentence]
    record: dict[str, Any]


def of_treebank(paths: Sequence[Path]) -> Treebank:
    sentences: list[Sentence] = []
    files = []
    for path in paths:
        _check_file(path)
        read = readers.read_conllu(path)
        files.append(file_record(path) | {"sentences": len(read), "words": sum(map(len, read))})
        sentences += read
    if not sentences:
        raise InputError(f"there is no sentence in {', '.join(map(str, paths))}; is it a CoNLL-U file?")
    return Treebank(sentences, {"files": files})


def of_training(paths: Sequence[Path], treebank: Treebank) -> Treebank:
    """What probes are trained on: none of the files that they are scored on."""
    train = of_treebank(paths)
    scored = {_content(Path(file["path"])) for file in treebank.record["files"]}
    for file in train.record["files"]:
        if _content(Path(file["path"])) in scored:
            raise InputError(
                f"{file['path']} is both to train on and to score, where probes would be scored on what they have "
                "learned; give another file to train on (--train, train=), or none: then each fifth is predicted by "
                "probes trained on the others"
            )
    return train


def _content(path: Path) -> str:
    """The SHA-256 of what a file holds, compressed or not."""
    digest = hashlib.sha256()
    for _, lines in _source.files(path):
        for line in lines:
            digest.update(line if isinstance(line, bytes) else line.encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Vectors:
    """The word vectors of a report, and the file that they were read from."""

    vectors: WordVectors
    record: dict[str, Any]


def of_vectors(path: Path, *treebanks: Treebank | None) -> Vectors:
    """The vectors of the words of treebanks."""
    _check_file(path)
    sentences = [sentence for one in treebanks if one is not None for sentence in one.sentences]
    return Vectors(readers.read_word_vectors(path, sentences), {"file": file_record(path)})


@dataclass(frozen=True)
class Coreference:
    """The documents of a report, with their mentions, how many tokens a window has, and what they were read from."""

    documents: Sequence[Document]
    max_tokens: int
    record: dict[str, Any]


def of_coreference(paths: Sequence[Path], ext: Extractor) -> Coreference:
    documents: list[Document] = []
    files: list[dict[str, Any]] = []
    for path in paths:
        _check_file(path)
        kind = _format(path)
        read = readers.read_conll2012(path) if kind == "CoNLL-2012" else readers.read_corefud(path)
        mentions = sum(len(document.mentions) for document in read)
        if not mentions:
            raise InputError(
                f"there is no mention in {path}, read as {kind}; give documents with coreference: CoNLL-U with Entity= "
                "in the column MISC (CorefUD, GUM), or CoNLL-2012"
            )
        record = file_record(path) | {"format": kind, "documents": len(read), "mentions": mentions}
        if record["sha256"] in {file["sha256"] for file in files}:
            raise InputError(f"{path} was given before, or a file of the same content; each mention is counted once")
        files.append(record)
        taken = {document.id for document in documents}
        documents += [
            replace(one, id=f"{path}/{one.id}") if one.id is not None and one.id in taken else one for one in read
        ]
    tokens = min(MAX_TOKENS, ext._limit or MAX_TOKENS)
    cut = {"max_tokens": tokens, "which": "all", "cut_at": "sentence", "spacing": "single"}
    return Coreference(documents, tokens, {"files": files, "windows": cut})


def _format(path: Path) -> str:
    """CoNLL-2012 if a document begins in the first lines, or else CorefUD."""
    size = 0
    for _, lines in _source.files(path):
        for line in lines:
            text = line if isinstance(line, str) else line.decode("utf-8", "replace")
            if BEGIN.match(text):
                return "CoNLL-2012"
            size += len(line)
            if size > PEEKED_BYTES:
                break
        break  # of an archive the first file
    return "CorefUD"


def of_inputs(inputs: Iterable[Input], *, example: str | TextPair | None) -> Corpus:
    kept = list(inputs)
    if not kept:
        raise InputError("inputs is empty; give at least one text")
    digest = hashlib.sha256()
    for one in kept:
        digest.update(repr(one).encode("utf-8", "backslashreplace") + b"\n")
    chosen = example if example is not None else _first_words(kept[0])
    record = {"inputs": len(kept), "sha256": digest.hexdigest(), "example": _as_json(chosen)}
    return Corpus(kept, chosen, record)


def _as_json(example: str | TextPair | None) -> str | list[str] | None:
    return [example.first, example.second] if isinstance(example, TextPair) else example


def _check_file(path: Path) -> None:
    """A pipe is empty when it is read again, for its hash, and the command on the page could never be repeated."""
    if path.is_fifo() or path.is_char_device() or path.is_socket():
        raise InputError(
            f"{path} is a pipe or device, not a file; write its content to a file first, so that the run can be "
            "repeated"
        )


def file_record(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "sha256": digest, "bytes": path.stat().st_size}


def _first_words(one: Input) -> str | None:
    text = one.first if isinstance(one, TextPair) else one
    return " ".join(text.split()[:EXAMPLE_WORDS]) if isinstance(text, str) else None
