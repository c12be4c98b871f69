"""Single attention heads as classifiers of dependency relations (Clark et al. 2019, section 4.2, Table 1)."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Array, Numpy
from bertattn.annotation import DocumentWindow, Sentence
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import Subtypes, Use, one_of
from bertattn.heads._scores import By, HeadScores
from bertattn.heads._stream import Skipped, checked_directions, counted, weights_of_gold
from bertattn.heads._words import peak, without_itself, word_weights
from bertattn.tensor import AttentionTensor, HeadName, Source, check_tensor

if TYPE_CHECKING:
    from bertattn.heads.selection import BestHead

__all__ = ["RelationScores", "predict_governors", "score_relations"]

Direction: TypeAlias = Literal["from_dependent", "to_dependent", "from_governor"]
PossMode: TypeAlias = Literal["none", "either", "clark"]
Candidates: TypeAlias = Literal["words", "no_punct"]

DIRECTIONS: Final[tuple[Direction, ...]] = get_args(Direction)
# The possessor's own ending, to which the possessor may owe its governor: "the dog 's tail".
CLITICS: Final = ("'s", "’s", "'", "’", "s'")
RELEASED_CLITICS: Final = ("'s", "s'")
POSSESSIVE: Final = ("poss", "nmod:poss")


def predict_governors(attention: AttentionTensor, /, *, direction: Direction = "from_dependent") -> Array:
    """The governor that each head predicts for each word: the word with most attention (Clark et al. 2019, 4.2).

    "from_dependent", the paper's dep->head: the word that the dependent attends to most, argmax_j a[i, j].
    "to_dependent", its head<-dep: the word that attends most to the dependent, argmax_j a[j, i].
    "from_governor": among the words whose own attention peaks at the dependent, the one with most of it; often none.

    Special tokens and the word itself are never predicted; nothing is renormalized. Of equal weights the first word
    wins.

    Args:
        attention: of words, or of tokens: then `merge_subwords` comes first, with its defaults.
        direction: whose attention is looked at.

    Returns:
        int `[layer, head, word]`: the governor's number, counted from 1; -1 for no prediction: a word alone, one
        without any attention to go by, or ("from_governor") one at which no row peaks.

    Raises:
        AlignmentError: tokens that do not know their words.
        MeasureError: cross-attention.
        ValidationError: no `AttentionTensor`, or an unknown direction.

    Examples:
        >>> from bertattn import Axis
        >>> axis = Axis(["Dogs", "bark"], word_ids=[0, 1], words=["Dogs", "bark"])
        >>> predict_governors(AttentionTensor(np.array([[[[0.1, 0.9], [0.6, 0.4]]]]), axis))
        array([[[2, 1]]])
    """
    check_tensor(attention, "predict_governors")
    one_of("direction", direction, DIRECTIONS)
    weights = word_weights(attention)
    masked = without_itself(weights)
    if direction == "from_governor":
        peaks = peak(masked, -1)
        at = np.where(
            peaks[..., None, :] == np.arange(weights.shape[-1])[:, None], masked.max(-1)[..., None, :], -np.inf
        )
        found = np.where((at > -np.inf).any(-1), at.argmax(-1), -1)
    else:
        found = peak(masked, -1 if direction == "from_dependent" else -2)
    found = np.where(found >= 0, found + 1, -1)
    predicted: Array = _arrays.like(found, attention.weights, dtype="int64")
    return predicted


@dataclass(frozen=True, eq=False, repr=False)
class RelationScores(HeadScores):
    """Which heads find which governors, word by word: everything else is derived from this, and it adds.

    For each word with a governor one bit says, for each direction, layer and head, whether it is found. That is
    `bytes_per_word` a word: 27 for three directions of 6 x 12 heads, 54 for 12 x 12. The maps are not kept.

    `a + b` is the two corpora as one, the sentences of b after those of a. The options `punct`, `root` and `subtypes`
    say how the words are counted, not what was measured: change them with `counting`.

    Args:
        layers, heads: the numbers, counted from 0, of the layers and heads.
        directions: the directions scored.
        relations: the names of the relations, in the order of the alphabet.
        relation: for each word the number of its relation.
        sentence: for each word the number of its sentence.
        position, governor: for each word its number in the sentence and that of its governor, counted from 1; 0 is
            the root.
        hits: uint8 `[word, byte]`, the bits of `[direction, layer, head]`, the first in the highest bit.
        lengths: for each sentence its number of words.
        ids, documents: for each sentence its name and that of its document, or None.
        punct, root, subtypes: what is counted: see `counting`.
        poss_mode, candidates: how it was scored: see `score_relations`.
        without_governor: words that the treebank gives no governor, left out.
        skipped: (index, reason) of inputs that the stream left out.
        source: where the maps came from.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    directions: tuple[Direction, ...]
    relations: tuple[str, ...]
    relation: Numpy
    sentence: Numpy
    position: Numpy
    governor: Numpy
    hits: Numpy
    lengths: Numpy
    ids: tuple[str | None, ...]
    documents: tuple[str | None, ...]
    punct: Use = "include"
    root: Use = "include"
    subtypes: Subtypes = "keep"
    poss_mode: PossMode = "none"
    candidates: Candidates = "words"
    without_governor: int = 0
    skipped: tuple[tuple[int, str], ...] = ()
    source: Source = field(default_factory=Source)
    _options: ClassVar[tuple[str, ...]] = ("punct", "root", "subtypes", "poss_mode", "candidates")

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "directions", "relations", "ids", "documents"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "skipped", tuple((int(i), str(reason)) for i, reason in self.skipped))
        for name in ("relation", "sentence", "position", "governor", "lengths"):
            object.__setattr__(self, name, _arrays.read_only(np.asarray(getattr(self, name), dtype=np.int32)))
        object.__setattr__(self, "hits", _arrays.read_only(np.asarray(self.hits, dtype=np.uint8)))
        for name in ("sentence", "position", "governor"):
            if getattr(self, name).shape != self.relation.shape:
                raise ValidationError(
                    f"{name} has shape {getattr(self, name).shape} but there are {len(self.relation)} words"
                )
        if self.hits.shape != (len(self.relation), self.bytes_per_word):
            raise ValidationError(
                f"hits have shape {self.hits.shape} but {len(self.relation)} words of {self.bytes_per_word} bytes are "
                "needed, a bit for each direction, layer and head"
            )
        if not len(self.ids) == len(self.documents) == len(self.lengths):
            raise ValidationError(
                f"there are {len(self.lengths)} lengths of sentences but {len(self.ids)} ids and "
                f"{len(self.documents)} documents"
            )
        for name, below in (("relation", len(self.relations)), ("sentence", len(self.lengths))):
            numbers = getattr(self, name)
            if len(numbers) and not 0 <= numbers.min() <= numbers.max() < below:
                raise ValidationError(f"{name} must number from 0 to {below - 1}, but goes to {numbers.max()}")
        if (np.diff(self.sentence) < 0).any():
            raise ValidationError("the words must stand in the order of their sentences")
        for name, kind in (
            ("punct", Use),
            ("root", Use),
            ("subtypes", Subtypes),
            ("poss_mode", PossMode),
            ("candidates", Candidates),
        ):
            one_of(name, getattr(self, name), get_args(kind))

    @property
    def sentences(self) -> int:
        """Number of sentences."""
        return len(self.lengths)

    @property
    def bytes_per_word(self) -> int:
        """Bytes of `hits` for each word."""
        return -(-self._cells // 8)

    def counting(
        self, *, punct: Use | None = None, root: Use | None = None, subtypes: Subtypes | None = None
    ) -> RelationScores:
        """The same scores with other words counted.

        Args:
            punct: "exclude" leaves out words with the relation `punct`.
            root: "exclude" leaves out words whose governor is the root, which no head can find.
            subtypes: "fold" counts `nmod:poss` as `nmod`.

        Raises:
            ValidationError: anything else.
        """
        return dataclasses.replace(
            self,
            punct=self.punct if punct is None else punct,
            root=self.root if root is None else root,
            subtypes=self.subtypes if subtypes is None else subtypes,
        )

    def relation_names(self) -> tuple[str, ...]:
        """The relations that are counted, frequent ones first."""
        labels, counts = np.unique(self._labels()[self._counted()], return_counts=True)
        order = sorted(zip(-counts, (self._names()[i] for i in labels), strict=True))
        return tuple(name for _, name in order)

    def count(self, relation: str = "all") -> int:
        """Number of words of a relation.

        Raises:
            SelectionError: no word has it.
        """
        return len(self._items(relation))

    def correct(self, relation: str = "all") -> Numpy:
        """int `[direction, layer, head]`: the words of a relation whose governor is found."""
        return self._correct(relation)

    def accuracy(self, relation: str = "all", *, direction: Direction | None = None) -> Numpy:
        """`[direction, layer, head]`, or `[layer, head]` of one direction: the fraction of a relation's words found.

        NaN where no word at all is counted.

        Args:
            relation: its name; "all" are all words that are counted.
            direction: one of `directions`; None gives all.

        Raises:
            SelectionError: no word has the relation, or the direction was not scored.
        """
        return self._accuracy(relation, direction)

    def by_sentence(self, relation: str = "all") -> tuple[Numpy, Numpy]:
        """What resampling needs: int `[sentence, direction, layer, head]` found and int `[sentence]` words."""
        found, counts = self._by_unit(relation)
        return found.reshape(self.sentences, *self.shape), counts

    def offset_by_sentence(self, relation: str = "all", *, offset: int) -> Numpy:
        """int `[sentence]`: the words of a relation whose governor stands at a fixed offset.

        prediction of word i of n = clip(i + offset, 0, n), as in `offset_baselines`.
        """
        words = self._items(relation)
        lengths = self.lengths[self.sentence[words]]
        right = np.clip(self.position[words] + offset, 0, lengths) == self.governor[words]
        return np.bincount(self.sentence[words], weights=right, minlength=self.sentences).astype(np.int64)

    def cases(
        self, relation: str, head: HeadName, /, *, direction: Direction = "from_dependent"
    ) -> list[dict[str, Any]]:
        """Each word of a relation, and whether a head finds its governor: where to look for examples.

        Returns:
            a dict a word: "sentence" is the number of the sentence in the stream (counted from 0, inputs left out not
            counted), "id" its name, "word" and "governor" numbers counted from 1, "found" True or False.

        Raises:
            SelectionError: no word has the relation, or the head or direction was not scored.
        """
        words = self._items(relation)
        found = self._bits(words)[:, self._cell(head, direction)]
        return [
            {
                "sentence": int(self.sentence[w]),
                "id": self.ids[self.sentence[w]],
                "word": int(self.position[w]),
                "governor": int(self.governor[w]),
                "found": bool(right),
            }
            for w, right in zip(words, found, strict=True)
        ]

    def best(self, relation: str = "all", /, **options: Any) -> BestHead:
        """The head that finds a relation best, with its interval and the best fixed offset.

        Args:
            relation: its name, "all" for all words.
            options: those of `best_heads`; with `picked_on` the head is picked on other scores, and `min_count`, which
                is about relations that nobody named, changes nothing.

        Raises:
            SelectionError: no word has the relation.
        """
        from bertattn.heads.selection import best_heads

        return best_heads(self, relations=[relation], **options)[relation]

    def select(self, sentences: Any, /) -> RelationScores:
        """The scores of some sentences, by number; the others, and inputs left out, are as if they had not been there.

        Args:
            sentences: their numbers, or a boolean mask; each is counted once, in the order of the corpus.

        Raises:
            SelectionError: numbers of no sentences, or a mask of another length.
        """
        asked = np.asarray(sentences)
        kept = np.zeros(self.sentences, dtype=bool)
        try:
            kept[asked if asked.size or asked.dtype == bool else []] = True
        except IndexError:
            raise SelectionError(
                f"sentences must be numbers from 0 to {self.sentences - 1}, or one True or False for each, but are "
                f"{sentences!r:.60}"
            ) from None
        words = kept[self.sentence]
        renumbered = np.cumsum(kept) - 1
        return dataclasses.replace(
            self,
            relation=self.relation[words],
            sentence=renumbered[self.sentence[words]],
            position=self.position[words],
            governor=self.governor[words],
            hits=self.hits[words],
            lengths=self.lengths[kept],
            ids=tuple(name for name, keep in zip(self.ids, kept, strict=True) if keep),
            documents=tuple(name for name, keep in zip(self.documents, kept, strict=True) if keep),
            without_governor=int(self.lengths[kept].sum() - words.sum()),
            skipped=(),
        )

    def __add__(self, other: object) -> RelationScores:
        """The two corpora as one. The indices in `skipped` stay those of each stream.

        Raises:
            ValidationError: other heads, directions or options, or maps of another model.
        """
        if not isinstance(other, RelationScores):
            return NotImplemented
        for name, mine, theirs in self._differences(other):
            if name == "model":
                raise ValidationError(
                    f"scores of different models do not add: {mine!r} and {theirs!r}; compare them with heads.compare"
                )
            raise ValidationError(f"scores of different {name} do not add: {mine!r} and {theirs!r}")
        names = tuple(sorted({*self.relations, *other.relations}))
        number = {name: i for i, name in enumerate(names)}
        relation = [
            np.array([number[name] for name in part.relations], dtype=np.int32)[part.relation]
            if len(part.relation)
            else part.relation
            for part in (self, other)
        ]
        return dataclasses.replace(
            self,
            relations=names,
            relation=np.concatenate(relation),
            sentence=np.concatenate([self.sentence, other.sentence + self.sentences]),
            position=np.concatenate([self.position, other.position]),
            governor=np.concatenate([self.governor, other.governor]),
            hits=np.concatenate([self.hits, other.hits]),
            lengths=np.concatenate([self.lengths, other.lengths]),
            ids=self.ids + other.ids,
            documents=self.documents + other.documents,
            without_governor=self.without_governor + other.without_governor,
            skipped=tuple(sorted(self.skipped + other.skipped)),
        )

    def __radd__(self, other: object) -> RelationScores:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, RelationScores) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        left_out = f", {len(self.skipped)} inputs skipped" if self.skipped else ""
        return (
            f"RelationScores({self.count()} words of {self.sentences} sentences, {len(self.directions)} directions of "
            f"{len(self.layers)} layers x {len(self.heads)} heads{left_out})"
        )

    def __str__(self) -> str:
        """The paper's Table 1: the best head of each relation with 100 words or more; see `best_heads`."""
        from bertattn.heads.selection import best_heads

        if not self.count():
            return repr(self)
        best = best_heads(self)
        rare = len(self.relation_names()) + 1 - len(best)
        hidden = f" {rare} relations are not shown: heads.best_heads(scores, min_count=...)." if rare else ""
        return f"{self!r}\n{best}{hidden}"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each relation, direction, layer and head; layers and heads are counted from 1."""
        rows: list[dict[str, Any]] = []
        for relation in ("all", *self.relation_names()):
            rows += self._rows_of(relation, "relation")
        return rows

    def _names(self) -> tuple[str, ...]:
        """The label of each relation number, as it is counted."""
        if self.subtypes == "keep":
            return self.relations
        return tuple(name.partition(":")[0] for name in self.relations)

    def _labels(self) -> Numpy:
        """For each word the smallest number of a relation with its label."""
        names = self._names()
        first = np.array([names.index(name) for name in names], dtype=np.int32)
        labels: Numpy = first[self.relation] if len(self.relation) else self.relation
        return labels

    def _counted(self) -> Numpy:
        counted = np.ones(len(self.relation), dtype=bool)
        if self.punct == "exclude":
            marks = [i for i, name in enumerate(self.relations) if name.partition(":")[0] == "punct"]
            counted &= ~np.isin(self.relation, marks)
        if self.root == "exclude":
            counted &= self.governor != 0
        return counted

    def _items(self, relation: str) -> Numpy:
        counted = self._counted()
        if relation != "all":
            names = self._names()
            if relation in names:
                counted &= self._labels() == names.index(relation)
            if relation not in names or not counted.any():
                raise SelectionError(
                    f"no word that is counted has the relation {relation!r}; there are all, "
                    f"{', '.join(self.relation_names())}"
                )
        return np.flatnonzero(counted)

    def _packed(self) -> Numpy:
        return self.hits

    def _unit_of_items(self) -> Numpy:
        return self.sentence

    def _unit_count(self) -> int:
        return self.sentences

    def _groups(self, by: By) -> Numpy:
        if by not in ("document", "sentence"):
            raise ValidationError(f"by must be 'document' or 'sentence', but is {by!r}")
        if by == "sentence":
            return np.arange(self.sentences)
        if None in self.documents:
            raise ValidationError("the sentences do not say which documents they are from; pass by='sentence'")
        numbers: dict[str | None, int] = {}
        return np.array([numbers.setdefault(name, len(numbers)) for name in self.documents], dtype=np.int64)

    def _same_as(self, other: Self) -> bool:
        return self.ids == other.ids and np.array_equal(self.hits, other.hits)

    def _state(self) -> dict[str, Any]:
        state = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("relation", "sentence", "position", "governor", "lengths"):
            state[name] = state[name].tolist()
        state["hits"] = base64.b64encode(self.hits.tobytes()).decode()
        state["source"] = dataclasses.asdict(self.source)
        return state

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        cells = len(state["directions"]) * len(state["layers"]) * len(state["heads"])
        hits = np.frombuffer(base64.b64decode(state["hits"]), dtype=np.uint8).reshape(-1, -(-cells // 8))
        return cls(**(state | {"hits": hits, "source": Source(**state["source"])}))


def score_relations(
    stream: Iterable[AttentionTensor],
    /,
    *,
    directions: Sequence[Direction] = DIRECTIONS,
    punct: Use = "include",
    root: Use = "include",
    subtypes: Subtypes = "keep",
    poss_mode: PossMode = "none",
    candidates: Candidates = "words",
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = False,
) -> RelationScores:
    """Every head as a classifier of every dependency relation, in one pass (Clark et al. 2019, section 4.2).

        accuracy(relation) = words of the relation whose governor the head finds / words of the relation

    A head predicts a governor as `predict_governors` says; in the direction "from_governor" the question is whether
    the governor's own attention peaks at the dependent, so each arc of the tree counts once. A root word has no
    governor to find and counts as wrong (`root="exclude"` leaves it out). Words that the treebank gives no governor
    are left out and counted.

    Args:
        stream: maps whose `annotation` has the gold trees, such as `ext.extract(sentences)`; of words or
            tokens. In a `DocumentWindow` each sentence is scored by itself.
        directions: which of "from_dependent", "to_dependent", "from_governor" to score.
        punct, root, subtypes: which words count: see `RelationScores.counting`. Can be changed afterwards.
        poss_mode: for words with the relation `poss` or `nmod:poss`. "none" treats them as any others; "either" also
            accepts the prediction for their clitic ('s), as the paper describes; "clark" follows the released code:
            where the next word is 's or s', its prediction replaces theirs, unless theirs is the last word. "clark"
            leaves "from_governor", which the released code does not have, as it is.
        candidates: "words" may all be predicted; "no_punct" never predicts words with the relation `punct` (nor, in
            "from_governor", as dependents).
        on_error: what to do with a sentence of which a word has no token: "raise", or "skip" to leave it out and list
            it in `.skipped`.
        progress: show a bar.

    Returns:
        A `RelationScores`. Its best heads are picked on the data that they are scored on, as in the paper, unless
        other scores are given to pick by: see `RelationScores.best`.

    An exception on the way, Ctrl-C among them, has the scores of what was done so far as its attribute `partial`.

    Raises:
        ValidationError: an empty stream, maps without gold trees, sentences that do not fit their maps, a relation
            of the name "all", which stands for all words, or an unknown option.
        AlignmentError: tokens that do not know their words, or words without a token.
        MeasureError: cross-attention, or norms of vectors that are not merged into words.

    Examples:
        >>> from bertattn import Axis
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
        >>> weights = np.array([[[[0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.7, 0.2, 0.1]]]])
        >>> axis = Axis(tree.words, word_ids=[0, 1, 2], words=tree.words)
        >>> scores = score_relations([AttentionTensor(weights, axis, annotation=tree)])
        >>> scores.accuracy("nsubj", direction="from_dependent"), scores.accuracy("obj", direction="from_dependent")
        (array([[1.]]), array([[0.]]))
    """
    asked: tuple[Direction, ...] = checked_directions(directions, DIRECTIONS)
    for name, value, kind in (
        ("punct", punct, Use),
        ("root", root, Use),
        ("subtypes", subtypes, Subtypes),
        ("poss_mode", poss_mode, PossMode),
        ("candidates", candidates, Candidates),
    ):
        one_of(name, value, get_args(kind))
    counter = _Counter(asked, poss_mode, candidates, {"punct": punct, "root": root, "subtypes": subtypes})
    return counted(stream, counter, caller="score_relations", noun="sentence", on_error=on_error, progress=progress)


@dataclass(frozen=True)
class _Scored:
    """One sentence: for each word with a governor (relation, position, governor) and its bits."""

    words: Numpy
    hits: Numpy
    length: int
    id: str | None
    document: str | None


class _Counter:
    """What `score_relations` has found so far."""

    def __init__(
        self,
        directions: tuple[Direction, ...],
        poss_mode: PossMode,
        candidates: Candidates,
        counting: dict[str, Any],
    ) -> None:
        self.directions, self.poss_mode, self.candidates, self.counting = directions, poss_mode, candidates, counting
        self.numbers: dict[str, int] = {}
        self.inputs: list[list[_Scored]] = []

    def add(self, attention: AttentionTensor, index: int) -> None:
        gold = attention.annotation
        if not isinstance(gold, Sentence | DocumentWindow):
            raise ValidationError(
                f"map {index} of the stream has no gold tree (its annotation is {type(gold).__name__}); extract from "
                "the sentences of a treebank, such as readers.read_conllu gives"
            )
        weights = weights_of_gold(attention, index, len(gold))
        sentences = gold.sentences if isinstance(gold, DocumentWindow) else (gold,)
        for relation in {relation for sentence in sentences for relation in sentence.relations or ()}:
            if relation is not None and relation.partition(":")[0] == "all":
                raise ValidationError(
                    f"map {index} of the stream has a word with the relation {relation!r}, but 'all' are the words of "
                    "every relation here; give it another name in the treebank, such as 'every'"
                )
        document = gold.document
        start = 0
        scored = []
        for sentence in sentences:
            end = start + len(sentence)
            scored.append(self._scored(sentence, weights[..., start:end, start:end], sentence.document or document))
            start = end
        self.inputs.append(scored)  # all of an input or, when interrupted, nothing of it

    def _scored(self, sentence: Sentence, weights: Numpy, document: str | None) -> _Scored:
        n = len(sentence)
        governors = np.array([-1 if g is None else g for g in sentence.governors or (None,) * n])
        labels = [relation or "_" for relation in sentence.relations or (None,) * n]
        known = np.flatnonzero(governors >= 0)
        number = [self.numbers.setdefault(labels[i], len(self.numbers)) for i in known]
        masked = without_itself(weights)
        clitics = {} if self.poss_mode == "none" else _clitics(sentence, labels, self.poss_mode)
        marks = [i for i, label in enumerate(labels) if label.partition(":")[0] == "punct"]
        barred = marks if self.candidates == "no_punct" else []
        peaks: dict[int, Numpy] = {}
        for axis in {-2 if direction == "to_dependent" else -1 for direction in self.directions}:
            allowed = masked
            if barred:
                allowed = masked.copy()
                allowed[(..., barred, slice(None)) if axis == -2 else (..., barred)] = -np.inf
            peaks[axis] = peak(allowed, axis)
        bits = np.empty((len(self.directions), *weights.shape[:2], n), dtype=bool)
        for i, direction in enumerate(self.directions):
            bits[i] = self._found(peaks[-2 if direction == "to_dependent" else -1], direction, governors, clitics)
        if len(known) < n:
            bits = bits[..., known]
        return _Scored(
            np.array([number, known + 1, governors[known]], dtype=np.int32),
            np.packbits(bits.reshape(int(np.prod(bits.shape[:3])), len(known)), axis=0).T,
            n,
            sentence.id,
            document,
        )

    def _found(self, peaks: Numpy, direction: Direction, governors: Numpy, clitics: dict[int, int]) -> Numpy:
        """bool `[layer, head, word]`."""
        # No peak is at -2; the root and unknown governors are found by no head.
        arcs = np.where(governors > 0, governors - 1, -2)
        if direction == "from_governor":
            peaks = peaks[..., np.maximum(arcs, 0)]
            found: Numpy = (peaks == np.arange(len(governors))) & (arcs >= 0)
            if self.poss_mode == "either":
                for word, clitic in clitics.items():
                    found[..., word] |= (peaks[..., word] == clitic) & (arcs[word] >= 0)
            return found
        found = peaks == arcs
        for word, clitic in clitics.items():
            of_clitic = peaks[..., clitic] == arcs[word]
            if self.poss_mode == "either":
                found[..., word] |= of_clitic
            else:  # the released code guards by the prediction, where it means the word
                replaced = peaks[..., word] + 1 < len(governors)
                found[..., word] = np.where(replaced, of_clitic, found[..., word])
        return found

    def result(self, first: AttentionTensor, skipped: Skipped) -> RelationScores:
        sentences = [scored for one in self.inputs for scored in one]
        number, position, governor = np.concatenate([scored.words for scored in sentences], axis=1)
        counts = [scored.words.shape[1] for scored in sentences]
        names = list(self.numbers)
        used = sorted(names[i] for i in np.unique(number))
        renumbered = np.array([used.index(name) if name in used else -1 for name in names], dtype=np.int32)
        lengths = np.array([scored.length for scored in sentences])
        return RelationScores(
            first.layers,
            first.heads,
            self.directions,
            tuple(used),
            renumbered[number] if names else number,
            np.repeat(np.arange(len(sentences)), counts),
            position,
            governor,
            np.concatenate([scored.hits for scored in sentences]),
            lengths,
            tuple(scored.id for scored in sentences),
            tuple(scored.document for scored in sentences),
            poss_mode=self.poss_mode,
            candidates=self.candidates,
            without_governor=int(lengths.sum()) - len(number),
            skipped=skipped,
            source=first.source or Source(),
            **self.counting,
        )


def _clitics(sentence: Sentence, labels: list[str], mode: PossMode) -> dict[int, int]:
    """For each possessive word the number of its 's, both counted from 0, where there is one."""
    found = {}
    words = sentence.words
    governors = sentence.governors or (None,) * len(words)
    for i, label in enumerate(labels):
        if label not in POSSESSIVE:
            continue
        if mode == "clark":
            if words[i + 1 : i + 2] and words[i + 1] in RELEASED_CLITICS:
                found[i] = i + 1
            continue
        attached = [
            j
            for j, governor in enumerate(governors)
            if governor == i + 1 and labels[j].partition(":")[0] in ("case", "possessive")
        ]
        for j in (*attached, i + 1):
            if j < len(words) and words[j].lower() in CLITICS:
                found[i] = j
                break
    return found
