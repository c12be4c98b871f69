"""What it costs to tell the governors to somebody who has the maps (Voita and Titov 2020)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from bertattn import _arrays
from bertattn.errors import ValidationError
from bertattn.heads._rows import Rows
from bertattn.probes._data import ProbeData, prepare
from bertattn.probes.controls import Corpus, Governors, check_probe, check_seed, gold_of, log_probabilities_of
from bertattn.results import numbers_to_json

__all__ = ["FRACTIONS", "CodedBlock", "DescriptionLength", "online_description_length"]

FRACTIONS: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Where Voita and Titov (2020) cut the training data, as fractions of it."""

# A probe that stops early needs one sentence to train on and one to stop by.
FEWEST = 2


@dataclass(frozen=True)
class CodedBlock:
    """One block of a description length.

    Args:
        sentences, words: how many; words with a governor only.
        trained_on: number of sentences that the probe which coded it was trained on; 0 is the uniform code.
        uniform_bits: sum over its words of log2 of the number of candidates.
        bits: sum over its words of -log2 p(governor).
    """

    sentences: int
    words: int
    trained_on: int
    uniform_bits: float
    bits: float


@dataclass(frozen=True, repr=False)
class DescriptionLength(Rows):
    """The online description length of governors, block by block; see `online_description_length`.

    Args:
        rows: a `CodedBlock` each, in the order in which they were coded.
        without_governor: how many words have none, and were not coded.
        skipped: how many inputs the stream left out, as too long or not aligned.
        probe: what was trained.
        fractions, seed: the options it was made with.
    """

    rows: tuple[CodedBlock, ...]
    without_governor: int = 0
    skipped: int = 0
    probe: str = ""
    fractions: tuple[float, ...] = FRACTIONS
    seed: int = 0

    @property
    def words(self) -> int:
        """How many words were coded."""
        return sum(row.words for row in self.rows)

    @property
    def sentences(self) -> int:
        """How many sentences were coded."""
        return sum(row.sentences for row in self.rows)

    @property
    def bits(self) -> float:
        """The description length."""
        return math.fsum(row.bits for row in self.rows)

    @property
    def uniform_bits(self) -> float:
        """The length without a probe, all candidates being as likely."""
        return math.fsum(row.uniform_bits for row in self.rows)

    @property
    def kbits(self) -> float:
        """`bits / 1024`, as Voita and Titov print it."""
        return self.bits / 1024

    @property
    def compression(self) -> float:
        """`uniform_bits / bits`: 1 is no compression. NaN where no word was coded."""
        return self.uniform_bits / self.bits if self.bits else float("nan")

    def __repr__(self) -> str:
        return (
            f"DescriptionLength({self.probe}: {self.kbits:.1f} kbits for {self.words} words in {self.sentences} "
            f"sentences, compression {self.compression:.2f})"
        )

    def _state(self) -> dict[str, Any]:
        state = super()._state()
        for row in state["rows"]:
            row["bits"] = numbers_to_json(np.array(row["bits"]))
        return state

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        rows = tuple(CodedBlock(**(row | {"bits": float(row["bits"])})) for row in state["rows"])
        return cls(**(state | {"rows": rows, "fractions": tuple(state["fractions"])}))


def online_description_length(
    probe: Any,
    corpus: Corpus,
    y: Sequence[Sequence[int | None]] | None = None,
    /,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    progress: bool = False,
) -> DescriptionLength:
    """How many bits tell all governors to somebody who has the maps (Voita and Titov 2020, online coding).

    The sentences are shuffled once and cut into blocks. The first is sent with the uniform code, every later one with
    the probabilities of a clone of the probe that was trained, from scratch, on all blocks before it:

        L = sum over words of block 1 of log2(n + 1) + sum over words of later blocks of -log2 p(governor)

    where a word in a sentence of n has n + 1 candidates, ROOT and itself among them. These are sums, in bits.
    A good probe that needs few examples has a short L; what accuracy hides, how hard the task was to learn, counts.

    A clone that stops early holds back a part of the blocks before for that, which the receiver has too: stopping on
    the block to be sent would give it away. The released code stops on a development set that nobody sends, and its
    notebooks add nats (of later blocks) to bits (of the first), so its lengths are up to 1.44 = 1 / ln 2 times shorter.
    A block before which no word had a governor is sent with the uniform code; words without one are not sent.

    Args:
        probe: an estimator such as `AttentionProbe()`, fitted or not; it is not changed.
        corpus: maps of annotated sentences, or what `prepare` made of them; read once.
        y: the governors to send; None takes those of the gold trees. For a control task on the same words,
            `control_governors(data.sentences, seed=0, root="include")`.
        fractions: where to cut, rising, the last 1. Cuts are rounded down to whole sentences, as in the released code;
            equal ones are one cut, and the first block has at least two, which a probe that stops early needs.
        seed: of the order of the sentences.
        progress: show a bar over the sentences.

    Returns:
        `DescriptionLength`. A governor with probability 0 costs infinitely many bits, which no probe of bertattn does.

    An exception on the way, Ctrl-C among them, has the blocks coded so far as its attribute `partial`.

    Raises:
        ValidationError: no estimator, or one that gives no probabilities; no word has a governor, fractions that do not
            rise to 1, governors that do not fit the sentences; as `prepare`.
        MeasureError, AlignmentError: as `prepare`.

    Examples:
        >>> from bertattn.probes import AttentionProbe
        >>> from bertattn import Extractor, demo, readers
        >>> trees = readers.read_conllu(demo.corpus_path())
        >>> maps = Extractor.from_pretrained(demo.model_path()).extract(trees)
        >>> length = online_description_length(AttentionProbe(), maps, fractions=[0.25, 0.5, 1])
        >>> length.bits < length.uniform_bits
        True
    """
    check_probe(probe)
    fractions = _checked_fractions(fractions)
    check_seed(seed)
    data = prepare(corpus)
    given = gold_of(data) if y is None else _checked_governors(y, data)
    if not any(g is not None for one in given for g in one):
        raise ValidationError(f"no word of the {len(data)} sentences has a governor; give their trees, or y")
    order = np.random.default_rng(seed).permutation(len(data)).tolist()
    data, governors = data.select(order), [given[i] for i in order]
    from tqdm import tqdm

    rows: list[CodedBlock] = []

    def coded() -> DescriptionLength:
        without = sum(g is None for one in governors[: sum(row.sentences for row in rows)] for g in one)
        return DescriptionLength(tuple(rows), without, len(data.skipped), type(probe).__name__, fractions, seed)

    start = 0
    try:
        with tqdm(total=len(data), disable=not progress, unit="sentence", desc="online_description_length") as bar:
            for end in sorted({max(int(fraction * len(data)), min(FEWEST, len(data))) for fraction in fractions}):
                rows.append(_coded(probe, data, governors, start, end, uniform=not any(row.words for row in rows)))
                bar.update(end - start)
                start = end
    except BaseException as error:
        if rows:
            error.partial = coded()  # type: ignore[attr-defined]
            error.add_note(
                f"the {start} sentences coded so far are in this exception's .partial; "
                "if they are too few to train on, start with a larger fraction"
            )
        raise
    return coded()


def _coded(
    probe: Any, data: ProbeData, governors: Sequence[Governors], start: int, end: int, *, uniform: bool
) -> CodedBlock:
    """Sentences `[start, end)`, by the uniform code or by a clone trained on those before."""
    from sklearn.base import clone

    block = governors[start:end]
    words = sum(g is not None for one in block for g in one)
    uniform_bits = math.fsum(math.log2(len(one) + 1) for one in block for g in one if g is not None)
    if uniform or not words:
        return CodedBlock(end - start, words, 0, uniform_bits, uniform_bits)
    fitted = clone(probe).fit(data.select(range(start)), list(governors[:start]))
    nats = math.fsum(
        0.0 - float(of_word[governor])
        for one, of_sentence in zip(block, log_probabilities_of(fitted, data.select(range(start, end))), strict=True)
        for governor, of_word in zip(one, of_sentence, strict=True)
        if governor is not None
    )
    return CodedBlock(end - start, words, start, uniform_bits, nats / math.log(2))


def _checked_governors(y: Sequence[Sequence[int | None]], data: ProbeData) -> list[Governors]:
    given = [_arrays.column(f"y of sentence {i}", one, entry="word") for i, one in enumerate(y)]
    if len(given) != len(data):
        raise ValidationError(f"y has {len(given)} sentences but the corpus has {len(data)}")
    for number, (one, sentence) in enumerate(zip(given, data.sentences, strict=True)):
        if len(one) != len(sentence):
            raise ValidationError(
                f"y of sentence {number} has {len(one)} governors but there are {len(sentence)} words"
            )
        for governor in one:
            if governor is not None and not (type(governor) is int and 0 <= governor <= len(sentence)):
                raise ValidationError(
                    f"y of sentence {number} has the governor {governor!r}; governors count the words from 1, here to "
                    f"{len(sentence)}, 0 is the root and None unknown"
                )
    return given


def _checked_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    given = tuple(float(fraction) for fraction in fractions)
    if not given or given[-1] != 1 or given[0] <= 0 or any(b <= a for a, b in itertools.pairwise(given)):
        raise ValidationError(
            f"fractions must rise from above 0 to 1, such as (0.1, 0.5, 1), but are {fractions!r:.60}"
        )
    return given
