"""What a probe on attention uses: the weight of each head, and how much it speaks for the right governor."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.annotation import Sentence
from bertattn.errors import ValidationError
from bertattn.heads._options import Use, one_of
from bertattn.probes._estimator import Maps, Probe
from bertattn.results import Result, numbers_from_json, numbers_to_json
from bertattn.statistics import Moments
from bertattn.tensor import format_head

__all__ = ["HeadWeight", "HeadWeights"]

Direction: TypeAlias = Literal["from_dependent", "to_dependent"]

OF_HEADS: Final = ("weight", "margin", "standard_error")


@dataclass(frozen=True)
class HeadWeight:
    """One head in one direction.

    Args:
        head: the paper's name, such as "8-10", counted from 1.
        direction: "from_dependent", attention of the dependent to the candidate, or "to_dependent", the reverse.
        weight: what its attention is multiplied with.
        margin: how much it speaks for the right governor, in nats.
        standard_error: of the margin; NaN for fewer than 2 sentences.
    """

    head: str
    direction: Direction
    weight: float
    margin: float
    standard_error: float


@dataclass(frozen=True, eq=False, repr=False)
class HeadWeights(Result):
    """What a fitted probe uses: for each head and direction its weight, and its margin on a corpus.

        margin = mean over words of (part of s(gold governor) - mean over candidates c of its part of s(c))

    where a head's part of a score s is its attention times its weight. The parts of all heads add up to the score, and
    differences of scores are those of ln p; so a margin is in nats, and all margins add up to `total`. It takes into
    account what a weight does not: how much attention there is, and where. Below 0 a head speaks against the governor.

    A margin says what the probe does, not what the head knows: of two heads that attend alike, it may use either. So a
    head with a margin of 0 may still find governors; `heads.score_relations` measures each head by itself.

    Args:
        probe: the kind of probe.
        layers, heads: their numbers, counted from 0.
        weight: float64 `[direction, layer, head]`, "from_dependent" before "to_dependent": of an `AttentionProbe` w and
            u, of an `AttentionWordsProbe` the mean over all pairs of two words in a sentence (a word with itself, too).
        margin: float64 `[direction, layer, head]`, in nats; NaN where `count` is 0.
        standard_error: float64 `[direction, layer, head]`, of the margins, over sentences, the probe taken as given: a
            margin is a ratio of sums over sentences, and its error that of the linearised ratio (delta method); see
            `statistics.Moments.standard_error`. NaN for fewer than 2 sentences.
        constant: the margin of what no head has a part in: the root's constant with root="constant", otherwise 0.
        count, sentences: how many words the margins are means over, and of how many sentences.
        punct: whether words with the relation `punct` are among them.

    Raises:
        ValidationError: arrays of another shape, an unknown option.
    """

    probe: str
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    weight: Numpy
    margin: Numpy
    standard_error: Numpy
    constant: float = 0.0
    count: int = 0
    sentences: int = 0
    punct: Use = "exclude"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "heads", tuple(self.heads))
        shape = (len(get_args(Direction)), len(self.layers), len(self.heads))
        for name in OF_HEADS:
            values = _arrays.read_only(np.asarray(getattr(self, name), dtype=np.float64))
            object.__setattr__(self, name, values)
            if values.shape != shape:
                raise ValidationError(f"{name} must have the shape {shape}, but has {values.shape}")
        one_of("punct", self.punct, get_args(Use))

    @property
    def total(self) -> float:
        """The margin of the whole probe: that of all heads in both directions and of the constant."""
        return float(self.margin.sum()) + self.constant

    def top(self, k: int = 5, /) -> tuple[HeadWeight, ...]:
        """The `k` heads and directions with the largest margins, the largest first.

        On the sentences that the probe was trained on they look larger than they are; take others.

        Raises:
            ValidationError: `k` is no whole number from 1.
        """
        if type(k) is not int or k < 1:
            raise ValidationError(f"k is how many heads to list, a whole number from 1, but is {k!r}")
        rows = self._rows()
        return tuple(rows[i] for i in np.argsort(-self.margin.ravel(), kind="stable")[:k])

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each direction, layer and head, in this order."""
        return [dataclasses.asdict(row) for row in self._rows()]

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, HeadWeights) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"HeadWeights({self.probe}, {len(self.layers)} layers x {len(self.heads)} heads, margins of {self.count} "
            f"words in {self.sentences} sentences)"
        )

    def __str__(self) -> str:
        """The heads with the ten largest margins."""
        lines = [f"{self!r}", f"{'head':<7}{'direction':<16}{'weight':>8}{'margin':>8}  standard error"]
        lines += [
            f"{row.head:<7}{row.direction:<16}{row.weight:8.3f}{row.margin:8.3f}  {row.standard_error:.3f}"
            for row in self.top(10)
        ]
        lines.append(f"All heads together: {self.total:.3f} nats.")
        return "\n".join(lines)

    def _rows(self) -> list[HeadWeight]:
        places = [
            (format_head(layer, head), direction)
            for direction in get_args(Direction)
            for layer in self.layers
            for head in self.heads
        ]
        numbers = zip(*(getattr(self, name).ravel().tolist() for name in OF_HEADS), strict=True)
        return [HeadWeight(*place, *values) for place, values in zip(places, numbers, strict=True)]

    def _state(self) -> dict[str, Any]:
        state = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        numbers = {name: numbers_to_json(np.asarray(state[name])) for name in (*OF_HEADS, "constant")}
        return state | {"layers": list(self.layers), "heads": list(self.heads)} | numbers

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        arrays = {name: numbers_from_json(state[name]) for name in OF_HEADS}
        return cls(**(state | arrays | {"constant": float(numbers_from_json(state["constant"]))}))


class WeighingProbe(Probe):
    """A probe whose scores are sums over heads, each with a weight for either direction."""

    weight_: Numpy
    root_: Numpy

    def head_weights(self, X: Maps, *, punct: Use = "exclude") -> HeadWeights:
        """What the probe uses: the weight of each head, and how much it speaks for the gold governors of X, in nats.

        Args:
            X: as for `predict`, with gold trees: best those of sentences that the probe was not trained on.
            punct: "exclude" leaves out words with the relation `punct`, as `score` does. Words without a governor are
                left out always.

        Raises:
            NotFittedError, ValidationError: as `predict`; an unknown option.

        Examples:
            >>> from bertattn import Extractor, demo, probes, readers
            >>> documents = readers.read_corefud(demo.corpus_path())
            >>> train, held_out = ([s for d in part for s in d.sentences] for part in (documents[:10], documents[10:]))
            >>> ext = Extractor.from_pretrained(demo.model_path())
            >>> weights = probes.AttentionProbe().fit(ext.extract(train)).head_weights(ext.extract(held_out))
            >>> weights.margin.shape  # direction, layer, head
            (2, 6, 12)
            >>> weights.top(1)[0].margin > 0.1  # nats
            True
        """
        one_of("punct", punct, get_args(Use))
        data = self._ready(X)
        self._fitted_module()  # refuses weights that do not fit the parameters
        weight = margin = Moments()
        count, of_constant = 0, 0.0
        for number, sentence in enumerate(data.sentences):
            between, ends = self._weights_in(sentence)
            maps = data.maps(number).astype(np.float64)
            parts = _parts(np.sqrt(maps) if self.features == "sqrt" else maps, between, ends)
            words, gold = _counted(sentence, punct)
            taken = parts[:, words, gold] - parts[:, words].mean(2)
            n = np.full((2, maps.shape[-1]), len(words))
            margin += Moments.of(taken.sum(1) / max(1, len(words)), n)
            weight += Moments.of(between.mean((1, 2)), np.full(n.shape, len(sentence) ** 2))
            count += len(words)
            of_constant += float((gold == 0).sum() - len(words) / (len(sentence) + 1))
        shape = (2, len(data.layers), len(data.heads))
        constant = float(self.root_[0]) * of_constant / (count or np.nan) if self.root == "constant" else 0.0
        return HeadWeights(
            type(self).__name__,
            data.layers,
            data.heads,
            weight.mean.reshape(shape),
            margin.mean.reshape(shape),
            margin.standard_error.reshape(shape),
            constant=constant,
            count=count,
            sentences=int(margin.count.max()),
            punct=punct,
        )

    def _weights_in(self, sentence: Sentence) -> tuple[Numpy, Numpy]:
        """`[2, dependent, candidate, head]` between words, and `[4, dependent, head]` between a word and the ends.

        The four are from the word to the start and to the end, then from the start and from the end to the word. Where
        all words have the same weight, there is one for all.
        """
        between, of_root = self._pair_weights(sentence)
        if self.root == "weights":
            return between, self._end_weights(sentence)
        shared = self.root_.astype(np.float64) if self.root == "special" else np.zeros(2)
        return between, (of_root[:, None] * shared[:, None, None]).reshape(4, *of_root.shape[1:])

    def _pair_weights(self, sentence: Sentence) -> tuple[Numpy, Numpy]:
        """`[2, dependent, candidate, head]` of two words, and `[2, dependent, head]` of a word and the root."""
        raise NotImplementedError

    def _end_weights(self, sentence: Sentence) -> Numpy:
        """What `_weights_in` gives second, where the ends have weights of their own."""
        raise NotImplementedError


def _parts(maps: Numpy, between: Numpy, ends: Numpy) -> Numpy:
    """`[2, word, 1 + word, head]`: what each head, in each direction, adds to the score of a candidate, ROOT first."""
    words = np.stack([maps[2:, 2:], maps[2:, 2:].swapaxes(0, 1)])
    of_ends = np.stack([maps[2:, 0], maps[2:, 1], maps[0, 2:], maps[1, 2:]]) * ends
    of_root = of_ends.reshape(2, 2, *of_ends.shape[1:]).sum(1)
    return np.concatenate([of_root[:, :, None], words * between], 2)


def _counted(sentence: Sentence, punct: Use) -> tuple[Numpy, Numpy]:
    """The words that margins are means over, counted from 0, and their governors."""
    governors = sentence.governors or (None,) * len(sentence)
    relations = sentence.relations or (None,) * len(sentence)
    kept = [
        (word, governor)
        for word, (governor, relation) in enumerate(zip(governors, relations, strict=True))
        if governor is not None and (punct == "include" or (relation or "").partition(":")[0] != "punct")
    ]
    table = np.array(kept, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]
