"""Single attention heads as antecedent selectors (Clark et al. 2019, section 4.3, whose code was never released)."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.annotation import DocumentWindow
from bertattn.errors import ValidationError
from bertattn.heads._options import one_of
from bertattn.heads._scores import By, HeadScores
from bertattn.heads._stream import Skipped, checked_directions, counted, weights_of_gold
from bertattn.heads._words import peak, without_itself
from bertattn.heads.antecedents import (
    CANDIDATES,
    Candidates,
    CoreferenceBaselines,
    Instances,
    baselines_of_window,
    instances_of,
    joined,
)
from bertattn.tensor import AttentionTensor, HeadName, Source

if TYPE_CHECKING:
    from bertattn.heads.coreference_selection import CoreferenceTable

__all__ = ["CoreferenceScores", "score_coreference"]

CoreferenceDirection: TypeAlias = Literal["from_mention", "to_mention"]
DIRECTIONS: Final[tuple[CoreferenceDirection, ...]] = get_args(CoreferenceDirection)


@dataclass(frozen=True, eq=False, repr=False)
class CoreferenceScores(HeadScores):
    """Which heads find an antecedent of which mention, and what the baselines find: everything else is derived.

    For each scored mention one bit says, for each mode of `candidates`, direction, layer and head, whether its word is
    right. `a + b` is the two corpora as one; documents of one name are one document.

    Args:
        layers, heads: the numbers, counted from 0, of the layers and heads.
        directions: the directions scored.
        hits: uint8 `[mode, mention, byte]`, the bits of `[direction, layer, head]`, the first in the highest bit; the
            modes in the order "words_other", "words_prev", "mentions_prev", "mentions_other".
        baselines: the mentions scored, in the same order, and what the baselines find.
        candidates: the mode that is counted: see `counting`.
        skipped: (index, reason) of inputs that the stream left out.
        source: where the maps came from.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    directions: tuple[CoreferenceDirection, ...]
    hits: Numpy
    baselines: CoreferenceBaselines
    candidates: Candidates = "words_other"
    skipped: tuple[tuple[int, str], ...] = ()
    source: Source = field(default_factory=Source)
    _options: ClassVar[tuple[str, ...]] = ("candidates",)
    _dealt: ClassVar[tuple[By, ...]] = ("document",)

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "directions"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "skipped", tuple((int(i), str(reason)) for i, reason in self.skipped))
        object.__setattr__(self, "hits", _arrays.read_only(np.asarray(self.hits, dtype=np.uint8)))
        needed = (len(CANDIDATES), self.baselines.count(), -(-self._cells // 8))
        if self.hits.shape != needed:
            raise ValidationError(
                f"hits have shape {self.hits.shape} but {needed} is needed: modes, mentions, and bytes with a bit for "
                "each direction, layer and head"
            )
        one_of("candidates", self.candidates, CANDIDATES)

    @property
    def documents(self) -> tuple[str | None, ...]:
        """The names of the documents; None for a window without one, which is a document by itself."""
        return self.baselines.documents

    def counting(self, *, candidates: Candidates) -> CoreferenceScores:
        """The same scores with other candidates, which the paper leaves open: what a head chooses from.

        Args:
            candidates: "words_other" (every word but the mention's head word), "words_prev" (those before it),
                "mentions_prev" (head words of mentions before it) or "mentions_other" (of all other mentions).

        Raises:
            ValidationError: anything else.
        """
        return dataclasses.replace(self, candidates=candidates)

    def type_names(self) -> tuple[str, ...]:
        """The types of mentions that occur: "pronoun", "proper", "nominal", "unknown"."""
        return self.baselines.type_names()

    def count(self, mention_type: str = "all") -> int:
        """Number of scored mentions of a type.

        Raises:
            SelectionError: there is no such type.
        """
        return self.baselines.count(mention_type)

    def correct(self, mention_type: str = "all") -> Numpy:
        """int `[direction, layer, head]`: the mentions of a type an antecedent of which is found."""
        return self._correct(mention_type)

    def accuracy(self, mention_type: str = "all", *, direction: CoreferenceDirection | None = None) -> Numpy:
        """`[direction, layer, head]`, or `[layer, head]` of one direction: the fraction of a type's mentions found.

        NaN where there are none.

        Args:
            mention_type: "all" are all scored mentions.
            direction: one of `directions`; None gives all.

        Raises:
            SelectionError: there is no such type, or the direction was not scored.
        """
        return self._accuracy(mention_type, direction)

    def by_document(self, mention_type: str = "all") -> tuple[Numpy, Numpy]:
        """What resampling needs: int `[document, direction, layer, head]` found and int `[document]` mentions."""
        found, counts = self._by_unit(mention_type)
        return found.reshape(len(self.documents), *self.shape), counts

    def cases(
        self, mention_type: str, head: HeadName, /, *, direction: CoreferenceDirection = "from_mention"
    ) -> list[dict[str, Any]]:
        """Each scored mention of a type, and whether a head finds an antecedent: where to look for examples.

        Returns:
            a dict a mention: "document" its name or None, "start", "end" and "head_word" numbers of words in the
            document, counted from 0, "found" True or False.

        Raises:
            SelectionError: there is no such type, or the head or direction was not scored.
        """
        items = self._items(mention_type)
        found = self._bits(items)[:, self._cell(head, direction)]
        b = self.baselines
        return [
            {
                "document": b.documents[b.document[i]],
                "start": int(b.start[i]),
                "end": int(b.end[i]),
                "head_word": int(b.head_word[i]),
                "found": bool(right),
            }
            for i, right in zip(items, found, strict=True)
        ]

    def table(self, **options: Any) -> CoreferenceTable:
        """The paper's Table 2: the best head beside the baselines. Options are those of `coreference_table`."""
        from bertattn.heads.coreference_selection import coreference_table

        return coreference_table(self, **options)

    def select(self, documents: Any, /) -> CoreferenceScores:
        """The scores of some documents, by number; the others, and inputs left out, are as if they had not been there.

        Args:
            documents: their numbers, or a boolean mask; each is counted once, in the order of the corpus.

        Raises:
            SelectionError: numbers of no documents, or a mask of another length.
        """
        kept = self.baselines._kept(documents)
        hits = self.hits[:, kept[self.baselines.document]]
        return dataclasses.replace(self, hits=hits, baselines=self.baselines.select(kept), skipped=())

    def __add__(self, other: object) -> CoreferenceScores:
        """The two corpora as one. The indices in `skipped` stay those of each stream.

        Raises:
            ValidationError: other heads, directions or candidates, maps of another model, or a word in both.
        """
        if not isinstance(other, CoreferenceScores):
            return NotImplemented
        for name, mine, theirs in self._differences(other):
            kind = "models" if name == "model" else name
            raise ValidationError(f"scores of different {kind} do not add: {mine!r} and {theirs!r}")
        baselines, order = joined([self.baselines, other.baselines])
        return dataclasses.replace(
            self,
            hits=np.concatenate([self.hits, other.hits], axis=1)[:, order],
            baselines=baselines,
            skipped=tuple(sorted(self.skipped + other.skipped)),
        )

    def __radd__(self, other: object) -> CoreferenceScores:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, CoreferenceScores) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        left_out = f", {len(self.skipped)} inputs skipped" if self.skipped else ""
        return (
            f"CoreferenceScores({self.count()} mentions of {len(self.documents)} documents, candidates "
            f"{self.candidates}, {len(self.directions)} directions of {len(self.layers)} layers x {len(self.heads)} "
            f"heads{left_out})"
        )

    def __str__(self) -> str:
        """The paper's Table 2, its head picked on these same documents."""
        return f"{self!r}\n{self.table()}" if self.count() else repr(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each type of mention, direction, layer and head; layers and heads are counted from 1."""
        mode = {"candidates": self.candidates}
        return [mode | row for name in ("all", *self.type_names()) for row in self._rows_of(name, "type")]

    def _packed(self) -> Numpy:
        one: Numpy = self.hits[CANDIDATES.index(self.candidates)]
        return one

    def _items(self, mention_type: str) -> Numpy:
        return self.baselines._instances(mention_type)

    def _unit_of_items(self) -> Numpy:
        return self.baselines.document

    def _unit_count(self) -> int:
        return len(self.documents)

    def _groups(self, by: By) -> Numpy:
        if by != "document":
            raise ValidationError(
                f"mentions depend on each other throughout a document: by must be 'document', not {by!r}"
            )
        return np.arange(len(self.documents))

    def _same_as(self, other: Self) -> bool:
        return self.baselines == other.baselines and np.array_equal(self.hits, other.hits)

    def _state(self) -> dict[str, Any]:
        state = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        state["hits"] = base64.b64encode(self.hits.tobytes()).decode()
        state["baselines"] = self.baselines._state()
        state["source"] = dataclasses.asdict(self.source)
        return state

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        baselines = CoreferenceBaselines._from_state(state["baselines"])
        cells = len(state["directions"]) * len(state["layers"]) * len(state["heads"])
        shape = (len(CANDIDATES), baselines.count(), -(-cells // 8))
        hits = np.frombuffer(base64.b64decode(state["hits"]), dtype=np.uint8).reshape(shape)
        return cls(**(state | {"hits": hits, "baselines": baselines, "source": Source(**state["source"])}))


def score_coreference(
    stream: Iterable[AttentionTensor],
    /,
    *,
    directions: Sequence[CoreferenceDirection] = DIRECTIONS,
    candidates: Candidates = "words_other",
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = False,
) -> CoreferenceScores:
    """Every head as an antecedent selector, in one pass (Clark et al. 2019, section 4.3, Table 2).

        accuracy(type) = mentions of the type whose head word is sent to the head word of an antecedent / mentions of it

    A mention is scored if another mention of its entity has its head word further to the left in the window; those
    are its antecedents. A head sends it to the candidate that its head word attends to most ("from_mention"), or that
    attends most to it ("to_mention"). Special tokens and the word itself are no candidates; of equal weights the first
    word wins; where no candidate has any attention nothing is found. Nothing is renormalized.

    The head word of a mention is the one that the file declares, otherwise that of the tree, otherwise a guess from
    the words (English), which is counted: see `mentions.mention_heads`. Types are told by the tag of the head word:
    see `mentions.mention_types`.

    Args:
        stream: maps of `DocumentWindow`s, such as `ext.extract(bertattn.windows(documents))`; of words or tokens.
        directions: which of "from_mention" and "to_mention" to score.
        candidates: what a head chooses from. The paper does not say; "words_other" is closest to its words. All four
            modes are scored, and this one is counted: `CoreferenceScores.counting` changes it afterwards.
        on_error: what to do with a window of which a word has no token: "raise", or "skip" to leave it out and list it
            in `.skipped`.
        progress: show a bar.

    Returns:
        A `CoreferenceScores`; the baselines on the same mentions come with it. `print` it for Table 2.

    An exception on the way, Ctrl-C among them, has the scores of what was done so far as its attribute `partial`.

    Raises:
        ValidationError: an empty stream, maps without coreference, windows that do not fit their maps, an unknown
            option.
        AlignmentError: tokens that do not know their words, or words without a token.
        MeasureError: cross-attention, or norms of vectors that are not merged into words.

    Examples:
        >>> from bertattn import Axis, Mention, Sentence
        >>> window = DocumentWindow(
        ...     [Sentence(["Ann", "saw", "herself"], upos=["PROPN", "VERB", "PRON"])],
        ...     [Mention(0, 1, "ann"), Mention(2, 3, "ann")],
        ...     document="d",
        ... )
        >>> weights = np.array([[[[0.2, 0.4, 0.4], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1]]]])
        >>> axis = Axis(window.words, word_ids=[0, 1, 2], words=window.words)
        >>> scores = score_coreference([AttentionTensor(weights, axis, annotation=window)])
        >>> scores.accuracy("pronoun", direction="from_mention"), scores.accuracy("pronoun", direction="to_mention")
        (array([[1.]]), array([[1.]]))
    """
    asked = checked_directions(directions, DIRECTIONS)
    one_of("candidates", candidates, CANDIDATES)
    counter = _Counter(asked, candidates)
    return counted(stream, counter, caller="score_coreference", noun="window", on_error=on_error, progress=progress)


class _Counter:
    """What `score_coreference` has found so far."""

    def __init__(self, directions: tuple[CoreferenceDirection, ...], candidates: Candidates) -> None:
        self.directions, self.candidates = directions, candidates
        self.windows: list[tuple[CoreferenceBaselines, Numpy]] = []
        self.places: set[tuple[str | None, int]] = set()

    def add(self, attention: AttentionTensor, index: int) -> None:
        gold = attention.annotation
        if not isinstance(gold, DocumentWindow):
            raise ValidationError(
                f"map {index} of the stream has no coreference (its annotation is {type(gold).__name__}); extract from "
                "windows of documents: bertattn.windows(readers.read_corefud(path))"
            )
        weights = weights_of_gold(attention, index, len(gold))
        place = (gold.document, gold.first_word)
        if gold.document is not None and place in self.places:
            raise ValidationError(
                f"map {index} of the stream is again the window of the document {gold.document!r} at word "
                f"{gold.first_word}; take each window once, and give each Document an id of its own"
            )
        instances = instances_of(gold)
        self.windows.append((baselines_of_window(gold, instances), _hits(weights, instances, self.directions)))
        self.places.add(place)

    def result(self, first: AttentionTensor, skipped: Skipped) -> CoreferenceScores:
        baselines, order = joined([part for part, _ in self.windows])
        return CoreferenceScores(
            first.layers,
            first.heads,
            self.directions,
            np.concatenate([hits for _, hits in self.windows], axis=1)[:, order],
            baselines,
            candidates=self.candidates,
            skipped=skipped,
            source=first.source or Source(),
        )


def _hits(weights: Numpy, instances: Instances, directions: Sequence[CoreferenceDirection]) -> Numpy:
    """uint8 `[mode, mention, byte]`."""
    layers, heads, words, _ = weights.shape
    count = len(instances.head_word)
    right = np.zeros((count, words), dtype=bool)
    for i, answers in enumerate(instances.right):
        right[i, answers] = True
    others = without_itself(weights)
    bits = np.zeros((len(CANDIDATES), count, len(directions), layers, heads), dtype=bool)
    for d, direction in enumerate(directions):
        turned = others if direction == "from_mention" else others.swapaxes(-1, -2)
        rows = turned[:, :, instances.head_word]  # [layer, head, mention, word]
        for mode, allowed in enumerate(_allowed(instances, words)):
            chosen = peak(np.where(allowed, rows, -np.inf), -1)
            bits[mode, :, d] = np.moveaxis((chosen >= 0) & right[np.arange(count), chosen], -1, 0)
    return np.packbits(bits.reshape(len(CANDIDATES), count, len(directions) * layers * heads), axis=-1)


def _allowed(instances: Instances, words: int) -> list[Numpy]:
    """bool `[mention, word]` for each mode: the candidates, the mention's own head word perhaps among them."""
    before = np.arange(words) < instances.head_word[:, None]
    of_mentions = np.zeros(words, dtype=bool)
    of_mentions[instances.mention_words] = True
    modes = {
        "words_other": np.ones_like(before),
        "words_prev": before,
        "mentions_prev": before & of_mentions,
        "mentions_other": np.broadcast_to(of_mentions, before.shape),
    }
    return [modes[name] for name in CANDIDATES]
