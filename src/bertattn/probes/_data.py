"""What a stream of annotated maps becomes for training: sentences in memory, their maps in a temporary file."""

from __future__ import annotations

import dataclasses
import itertools
import os
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.annotation import Document, DocumentWindow, Sentence
from bertattn.errors import MeasureError, SelectionError, ValidationError
from bertattn.heads._options import one_of
from bertattn.heads._stream import Skipped, counted
from bertattn.heads._words import words_and_ends
from bertattn.tensor import AttentionTensor, Source

__all__ = ["ProbeData", "prepare"]

Governors: TypeAlias = Sequence[int | None]
DType: TypeAlias = Literal["float16", "float32"]

# Documents are held out whole if there are so many that a part of them is no accident.
FEWEST_DOCUMENTS = 20
# Maps of this many bytes stay in memory, more go to a file in the system's folder for temporary ones.
IN_MEMORY = 64 * 2**20

_LOCK = threading.Lock()


class _Maps:
    """Maps `[2 + word, 2 + word, layer * head]`: in memory or, if they are many, in a temporary file, read one by one.

    Read rather than mapped into memory: what has been read does not stay in the process. Read by position, since
    threads and forked processes share a file's place.
    """

    def __init__(self, dtype: DType) -> None:
        self._dtype = np.dtype(dtype)
        self._in_memory: list[Numpy] = []
        self._file: Any = None
        self._size = 0
        self._places: list[int] = []
        self._shapes: list[tuple[int, int, int]] = []

    def append(self, maps: Numpy) -> None:
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(maps, dtype=self._dtype)
        if not np.isfinite(stored).all():
            raise MeasureError(
                f"a weight is too large for {self._dtype}: {np.abs(maps).max():.4g}; use prepare(..., dtype='float32')"
            )
        self._places.append(self._size)
        self._shapes.append((stored.shape[0], stored.shape[1], stored.shape[2]))
        self._size += stored.nbytes
        if self._file is None:
            self._in_memory.append(stored)
            if self._size <= IN_MEMORY:
                return
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is collected
            weakref.finalize(self, self._file.close)
            kept, self._in_memory = self._in_memory, []
            for one in kept:
                self._file.write(one.data)
        else:
            self._file.write(stored.data)
        self._file.flush()

    def read(self, number: int) -> Numpy:
        if self._file is None:
            return self._in_memory[number].copy()
        maps = np.empty(self._shapes[number], dtype=self._dtype)
        read_at(self._file, self._places[number], maps)
        return maps


def read_at(file: Any, place: int, into: Numpy) -> None:
    """Fill an array from a place in a file without moving the file's own place, where the system can."""
    if hasattr(os, "preadv"):
        size = os.preadv(file.fileno(), [into.data], place)
    else:
        with _LOCK:  # Windows, which forks no processes
            file.seek(place)
            size = file.readinto(into.data)
    if size != into.nbytes:
        raise OSError(f"the temporary file of maps gave {size} of {into.nbytes} bytes; was it cut by a full disk?")


@dataclass(frozen=True, eq=False, repr=False)
class ProbeData:
    """What probes are trained on: the sentences of a stream of maps, with their maps in a temporary file.

    Made by `prepare`. Where several probes are trained on the same maps, or one on several parts of them, this saves
    the way through the model or the run folder. It lasts as long as the process.

    Args:
        sentences: with their gold trees, in order; those of a `DocumentWindow` one by one.
        layers, heads: whose maps there are, counted from 0; empty where there are only sentences.
        has_start, has_end: whether the maps have a token that starts the sequence ("cls", "bos"), and one that ends it
            ("sep", "eos").
        empty_rows: how many rows of heads had no mass, and are 0 here.
        skipped: (number in the stream, reason) of each input that was left out.
        source: where the maps came from.
    """

    sentences: tuple[Sentence, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    has_start: bool
    has_end: bool
    empty_rows: int
    skipped: Skipped
    source: Source
    _maps: _Maps | None
    _numbers: tuple[int, ...]

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.sentences)

    def __repr__(self) -> str:
        kind = f"{len(self.layers)} x {len(self.heads)} heads" if self.layers else "without maps"
        empty = f", {self.empty_rows} rows without mass" if self.empty_rows else ""
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"ProbeData({len(self)} sentences, {kind}{empty}{skipped})"

    def select(self, sentences: Iterable[int], /) -> ProbeData:
        """Some of the sentences, by number, without a copy of their maps.

        Raises:
            SelectionError: no sentences, or one that is not there.
        """
        chosen = [_arrays.plain(number) for number in sentences]
        if not chosen or not all(type(number) is int and 0 <= number < len(self) for number in chosen):
            raise SelectionError(
                f"sentences are chosen by number, from 0 to {len(self) - 1}, at least one, but got {chosen!r:.60}"
            )
        return dataclasses.replace(
            self,
            sentences=tuple(self.sentences[i] for i in chosen),
            _numbers=tuple(self._numbers[i] for i in chosen),
        )

    def maps(self, number: int) -> Numpy:
        """`[2 + word, 2 + word, layer * head]` of one sentence: the start token, the end token, then its words.

        Raises:
            ValidationError: the data has sentences only.
        """
        if self._maps is None:
            raise ValidationError("these are sentences without maps; give maps, such as ext.extract(sentences)")
        return self._maps.read(self._numbers[number])


def prepare(
    stream: Iterable[AttentionTensor] | Iterable[Sentence] | ProbeData,
    /,
    *,
    dtype: DType = "float16",
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = False,
) -> ProbeData:
    """Read a stream of annotated maps once, for any number of probes: every estimator takes what this gives.

    Tokens are merged into words with `merge_subwords`' defaults. The token that starts the sequence and the one that
    ends it stay, since attention to them stands for the root (as in Clark et al.'s code). Maps are never all in
    memory: what goes beyond 64 MB is written to a temporary file, which vanishes with the process.

    Args:
        stream: maps whose `annotation` has the gold trees, such as `ext.extract(sentences)` or a
            `bertattn.RunFolder`, of tokens or of words, with their special tokens. Windows are taken apart into their
            sentences: cut them at sentences, since a piece of one counts as one. Or sentences, or documents of them,
            for a probe that reads no attention. Data that was prepared before is given back as it is.
        dtype: what maps are kept in. "float16" changes a weight above 0.00006 by at most 0.05 %, smaller ones by up to
            0.00000003, and so makes the smallest 0; `features="sqrt"` notices that most.
        on_error: what to do with an input of which a word has no token: "raise", or "skip" and list it.
        progress: show a bar.

    Raises:
        ValidationError: an empty stream, maps without gold trees or that do not fit them, other heads than the first.
        AlignmentError: tokens that do not know their words, or words without a token.
        MeasureError: cross-attention, or a weight that float16 cannot hold.

    Examples:
        >>> from bertattn import Extractor, demo, readers
        >>> trees = [s for document in readers.read_corefud(demo.corpus_path())[:2] for s in document.sentences]
        >>> data = prepare(Extractor.from_pretrained(demo.model_path()).extract(trees))
        >>> data
        ProbeData(11 sentences, 6 x 12 heads)
        >>> len(trees[0]), data.maps(0).shape
        (22, (24, 24, 72))
    """
    if isinstance(stream, ProbeData):
        return stream
    one_of("dtype", dtype, ("float16", "float32"))
    if isinstance(stream, Iterator) and not hasattr(stream, "skipped"):  # a generator, perhaps of sentences
        first = next(stream, None)
        rest = itertools.chain([] if first is None else [first], stream)
        stream = list(rest) if isinstance(first, Sentence | Document) else rest
    if isinstance(stream, Sequence) and stream and all(isinstance(x, Sentence | Document) for x in stream):
        return _without_maps(stream)
    maps = cast("Iterable[AttentionTensor]", stream)  # what is not one is refused
    return counted(maps, _Preparing(dtype), caller="prepare", noun="sentence", on_error=on_error, progress=progress)


def _without_maps(items: Sequence[Any]) -> ProbeData:
    sentences: list[Sentence] = []
    for item in items:
        if isinstance(item, Document):
            sentences += [dataclasses.replace(one, document=one.document or item.id) for one in item.sentences]
        else:
            sentences.append(item)
    return ProbeData(tuple(sentences), (), (), False, False, 0, (), Source(), None, tuple(range(len(sentences))))


class _Preparing:
    """What `prepare` has read so far."""

    def __init__(self, dtype: DType) -> None:
        self.maps = _Maps(dtype)
        self.sentences: list[Sentence] = []
        self.has_start = self.has_end = True
        self.empty_rows = 0

    def add(self, attention: AttentionTensor, index: int) -> None:
        gold = attention.annotation
        if not isinstance(gold, Sentence | DocumentWindow):
            raise ValidationError(
                f"map {index} of the stream has no gold tree (its annotation is {type(gold).__name__}); extract from "
                "the sentences of a treebank, such as readers.read_conllu gives"
            )
        weights, has_start, has_end = words_and_ends(attention)
        if len(gold) + 2 != weights.shape[-1]:
            raise ValidationError(
                f"map {index} of the stream has {weights.shape[-1] - 2} words but its annotation {len(gold)}; were "
                "words dropped?"
            )
        if self.sentences and (has_start, has_end) != (self.has_start, self.has_end):
            raise ValidationError(
                f"map {index} of the stream has other special tokens than the first; were they dropped from some?"
            )
        self.has_start, self.has_end = has_start, has_end
        undefined = np.isnan(weights)
        if undefined.any():
            # Of an end that is not there the column is 0 in every row.
            given = undefined[
                ..., [place for place in range(weights.shape[-1]) if (has_start, has_end, True)[min(place, 2)]]
            ]
            if (given.any(-1) & ~given.all(-1)).any():
                raise MeasureError(
                    f"map {index} of the stream has rows that are NaN in part; mend them or leave it out"
                )
            self.empty_rows += int(given.any(-1).sum())
            weights[undefined] = 0
        by_head = weights.reshape(-1, *weights.shape[2:]).transpose(1, 2, 0)
        if isinstance(gold, Sentence):
            self.maps.append(by_head)
            self.sentences.append(gold)
            return
        start = 2
        for sentence in gold.sentences:
            kept = [0, 1, *range(start, start + len(sentence))]
            self.maps.append(by_head[kept][:, kept])
            self.sentences.append(dataclasses.replace(sentence, document=sentence.document or gold.document))
            start += len(sentence)

    def result(self, first: AttentionTensor, skipped: Skipped) -> ProbeData:
        return ProbeData(
            tuple(self.sentences),
            first.layers,
            first.heads,
            self.has_start,
            self.has_end,
            self.empty_rows,
            skipped,
            first.source or Source(),
            self.maps,
            tuple(range(len(self.sentences))),
        )


def dealt(sentences: Sequence[Sentence], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """The numbers of the sentences to train on, and of those held out, in order: whole documents where there are many.

    Raises:
        ValidationError: one sentence.
    """
    names = [sentence.document for sentence in sentences]
    by_document = None not in names and len(set(names)) >= FEWEST_DOCUMENTS
    units: list[object] = list(names if by_document else range(len(names)))
    different = list(dict.fromkeys(units))
    if len(different) < 2:
        raise ValidationError(
            "one sentence cannot be parted into one to train on and one to stop by; give development=, or "
            "early_stopping=False"
        )
    count = min(max(1, round(fraction * len(different))), len(different) - 1)
    held = {different[i] for i in np.random.default_rng(seed).permutation(len(different))[:count]}
    rows = [i for i, unit in enumerate(units) if unit not in held]
    return rows, [i for i, unit in enumerate(units) if unit in held]
