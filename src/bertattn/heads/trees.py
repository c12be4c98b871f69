"""Trees from attention: the best tree over a sentence's words that a head's weights make, and how right it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.alignment import drop_special, merge_subwords
from bertattn.annotation import Sentence
from bertattn.errors import MeasureError, SelectionError, ValidationError
from bertattn.heads._options import Use, one_of
from bertattn.results import Result
from bertattn.statistics import BootstrapInterval, bootstrap_ci
from bertattn.tensor import AttentionTensor, HeadName, Source, format_head, parse_head

__all__ = [
    "TreeScores",
    "governor_scores",
    "left_branching",
    "maximum_arborescence",
    "maximum_spanning_tree",
    "right_branching",
    "score_trees",
    "tree_edges",
    "uas",
    "uuas",
]

Direction: TypeAlias = Literal["from_dependent", "to_dependent", "from_governor"]
Weights: TypeAlias = Literal["raw", "log"]
Method: TypeAlias = Literal["arborescence", "undirected"]
Edge: TypeAlias = tuple[int, int]

# What stands for 0 where a logarithm is taken.
SMALLEST = 1e-12


def maximum_arborescence(scores: Any, /, *, root: int | None = None, root_scores: Any | None = None) -> tuple[int, ...]:
    """The governors that make a tree with the largest sum of scores (Chu and Liu 1965, Edmonds 1967).

        argmax over trees of sum_d scores[d, governor of d] (+ root_scores[root])

    Computed by `networkx.maximum_spanning_arborescence`. Exactly one word is the root. A constant added to all scores
    of a dependent does not change the tree of a given root.

    Args:
        scores: `[word, word]`, NumPy or torch; `scores[d, g]` says how well word g fits as governor of word d. The
            diagonal is not read. -inf forbids an arc. A NaN arc is taken only where no tree can do without. A word
            whose whole row is NaN has no preference: it hangs where it serves the others, and is the root only if every
            other word has no preference either.
        root: the number of the root word, counted from 1; None takes the word that gives the best tree.
        root_scores: `[word]`: how well each word fits as the root, where none is named; -inf forbids it. None: all
            alike.

    Returns:
        For each word the number of its governor, counted from 1; 0 for the root. Of several best trees it is always the
        same one for the same scores, but which is not promised.

    Raises:
        ValidationError: scores of another shape, +inf among them, a root that is no word, scores of roots where one is
            named, or so many forbidden arcs that there is no tree.

    Examples:
        >>> maximum_arborescence([[0.0, 0.9, 0.1], [0.6, 0.0, 0.4], [0.2, 0.8, 0.0]], root=2)
        (2, 0, 2)
    """
    table = _checked_scores(scores)
    n = len(table)
    if root is not None and (type(root) is not int or not 1 <= root <= n):
        raise ValidationError(f"root must be the number of a word, from 1 to {n}, but is {root!r}")
    as_root = _checked_root_scores(root_scores, root, n)
    if n == 1 and (as_root is None or as_root[0] > -np.inf):
        return (0,)
    import networkx as nx

    table = _filled(table)
    dependents, governors = np.nonzero(np.isfinite(table) & ~np.eye(n, dtype=bool))
    if root is None:
        # Arcs from a node 0 to every possible root; each costs more than all other arcs together, so there is one.
        finite = table[dependents, governors]
        if as_root is None:
            as_root = np.full(n, finite.min() if len(finite) else 0.0)
        possible = np.flatnonzero(np.isfinite(as_root))
        finite = np.concatenate([finite, as_root[possible]])
        cost = n * float(np.ptp(finite)) + 1 if len(finite) else 0.0
        root_arcs = [(0, int(word) + 1, float(as_root[word]) - cost) for word in possible]
    else:
        # The root is below no word, so an arc worse than that from the root is in no best tree.
        from_root = table[:, root - 1]
        useful = (dependents != root - 1) & (
            (governors == root - 1) | (table[dependents, governors] > from_root[dependents])
        )
        dependents, governors = dependents[useful], governors[useful]
        root_arcs = [(0, root, 0.0)]
    graph = nx.DiGraph()
    graph.add_weighted_edges_from(root_arcs)
    weights = table[dependents, governors].tolist()
    graph.add_weighted_edges_from(zip((governors + 1).tolist(), (dependents + 1).tolist(), weights, strict=True))
    try:
        arcs = nx.maximum_spanning_arborescence(graph).edges
    except nx.NetworkXException:
        arcs = ()
    governor_of = {dependent: governor for governor, dependent in arcs}
    if sum(governor == 0 for governor in governor_of.values()) != 1 or len(governor_of) != n:
        where = "" if root is None else f" below word {root}"
        raise ValidationError(f"so many arcs are forbidden (-inf) that the {n} words make no tree{where}")
    return tuple(governor_of[word] for word in range(1, n + 1))


def maximum_spanning_tree(scores: Any, /) -> tuple[Edge, ...]:
    """The undirected tree over all words with the largest sum of scores, of (scores + its transpose) / 2.

    Computed by `scipy.sparse.csgraph.minimum_spanning_tree`.

    Args:
        scores: as `maximum_arborescence`; where one direction of a pair is NaN, the other counts.

    Returns:
        One pair of words an edge, counted from 1, the smaller number first, in increasing order; none for one word.

    Raises:
        ValidationError: as `maximum_arborescence`.

    Examples:
        >>> maximum_spanning_tree([[0.0, 0.9, 0.1], [0.6, 0.0, 0.4], [0.2, 0.8, 0.0]])
        ((1, 2), (2, 3))
    """
    table = _checked_scores(scores)
    n = len(table)
    if n == 1:
        return ()
    from scipy.sparse.csgraph import minimum_spanning_tree

    both = np.stack([table, table.T])
    defined = ~np.isnan(both)
    sums = np.where(defined, both, 0.0).sum(axis=0)
    counts = defined.sum(axis=0)
    table = _filled(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), by_row=False)
    allowed = np.triu(np.isfinite(table), 1)
    # Zero means no edge to SciPy, so every cost is at least 1.
    costs = np.where(allowed, table[allowed].max(initial=0.0) - np.where(allowed, table, 0.0) + 1, 0.0)
    first, second = minimum_spanning_tree(costs).nonzero()
    if len(first) != n - 1:
        raise ValidationError(f"so many arcs are forbidden (-inf) that the {n} words make no tree")
    return _edges(zip(first.tolist(), second.tolist(), strict=True), start=0)


def tree_edges(governors: Sequence[int | None], /) -> tuple[Edge, ...]:
    """The undirected edges of a tree, as `maximum_spanning_tree` gives them; the root has none.

    Examples:
        >>> tree_edges((2, 0, 2))
        ((1, 2), (2, 3))
    """
    return _edges(((g, d) for d, g in enumerate(governors, 1) if g), start=1)


def right_branching(sentence: Sentence, /, *, last: Literal["root", "itself"] = "root") -> tuple[int, ...]:
    """Each word hangs on the next one: the usual baseline.

    Args:
        sentence: whose number of words is all that matters.
        last: what the last word gets, which Clark et al. (2019) do not say. "root" makes it the root, so that this is
            a tree; "itself", which is never right, is what a fixed offset of +1 that is clipped at the end gives it.

    Raises:
        ValidationError: something else for the last word.

    Examples:
        >>> right_branching(Sentence(["Dogs", "chase", "cats"]))
        (2, 3, 0)
        >>> right_branching(Sentence(["Dogs", "chase", "cats"]), last="itself")
        (2, 3, 3)
    """
    one_of("last", last, ("root", "itself"))
    n = len(sentence)
    return (*range(2, n + 1), 0 if last == "root" else n)


def left_branching(sentence: Sentence, /) -> tuple[int, ...]:
    """Each word hangs on the one before, the first is the root.

    Examples:
        >>> left_branching(Sentence(["Dogs", "chase", "cats"]))
        (0, 1, 2)
    """
    return tuple(range(len(sentence)))


def governor_scores(
    attention: AttentionTensor,
    heads: HeadName | Iterable[HeadName],
    /,
    *,
    direction: Direction = "from_dependent",
    weights: Weights = "raw",
) -> Numpy:
    """How well each word fits as governor of each other, by one head or the mean of several.

    Tokens are merged into words with `merge_subwords`' defaults, special tokens are left out, and rows are not made to
    sum to 1 again (drop them before to have it so).

    Args:
        attention: of one sequence to itself, of tokens or words.
        heads: "8-10" or (7, 9), or several of them, whose weights are averaged.
        direction: "from_dependent" takes the dependent's attention to its governor, "to_dependent" the governor's to
            its dependent, for which "from_governor" is another name here (single heads as classifiers differ in which
            words compete; in a tree they all do).
        weights: "raw" makes trees of the largest sum of attention, "log" of the largest product: the logarithm, of at
            least 1e-12.

    Returns:
        float64 `[dependent, governor]`, the scores of `maximum_arborescence` and `maximum_spanning_tree`.

    Raises:
        SelectionError: no heads, one that the tensor does not hold, or an axis that does not know its special tokens.
        ValidationError: attention between two sequences, or an unknown option.
        MeasureError: "log" of negative numbers.
        AlignmentError: tokens that cannot be merged into words.

    Examples:
        >>> from bertattn import Axis
        >>> a = AttentionTensor(
        ...     np.array([[[[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.9, 0.0]]]]),
        ...     Axis(["[CLS]", "Dogs", "bark"], roles=["cls", None, None], word_ids=[None, 0, 1]),
        ... )
        >>> governor_scores(a, "1-1", direction="to_dependent")
        array([[0.2, 0.9],
               [0.6, 0. ]])
    """
    one_of("direction", direction, get_args(Direction))
    one_of("weights", weights, get_args(Weights))
    return _scores_of(attention, _named_heads(heads), direction, weights)


def uas(
    governors: Sequence[int], sentence: Sentence, /, *, punct: Use = "include", root: Use = "include"
) -> tuple[int, int]:
    """Unlabelled attachment: how many words have the right governor, and how many words count.

    Args:
        governors: the predicted ones, counted from 1, 0 for the root.
        sentence: with its tree; words without a governor do not count.
        punct: "exclude" leaves out words with the relation `punct`.
        root: "exclude" leaves out the root word, whose governor is 0. A prediction that was told the root gets it right
            for nothing: 1 word in n.

    Raises:
        ValidationError: no gold tree, another number of words, an unknown option.

    Examples:
        >>> gold = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2])
        >>> uas((2, 3, 0), gold), uas((2, 3, 0), gold, root="exclude")
        ((1, 3), (1, 2))
    """
    one_of("punct", punct, get_args(Use))
    one_of("root", root, get_args(Use))
    gold = _gold(sentence)
    if len(governors) != len(sentence):
        raise ValidationError(f"there are {len(governors)} predicted governors but {len(sentence)} words")
    counted = [
        predicted == governor
        for predicted, governor, relation in zip(governors, gold, _relations(sentence), strict=True)
        if governor is not None
        and not (punct == "exclude" and _is_punct(relation))
        and not (root == "exclude" and governor == 0)
    ]
    return sum(counted), len(counted)


def uuas(edges: Iterable[Edge], sentence: Sentence, /, *, punct: Use = "include") -> tuple[int, int]:
    """Undirected attachment: how many of the gold tree's edges are among the predicted ones, and how many there are.

    The root has no edge. `tree_edges` gives those of predicted governors.

    Args:
        edges: pairs of words counted from 1, in any order.
        sentence: with its tree; words without a governor do not count.
        punct: "exclude" leaves out the edges of words with the relation `punct` to their governors.

    Raises:
        ValidationError: no gold tree, a word beyond the sentence, an unknown option.

    Examples:
        >>> gold = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2])
        >>> uuas(((1, 2), (1, 3)), gold)
        (1, 2)
    """
    one_of("punct", punct, get_args(Use))
    gold = _gold(sentence)
    predicted = {frozenset(edge) for edge in edges}
    for edge in predicted:
        if len(edge) != 2 or not all(1 <= word <= len(sentence) for word in edge):
            raise ValidationError(
                f"an edge joins two words, counted from 1 to {len(sentence)}, but one is {sorted(edge)}"
            )
    counted = [
        frozenset((dependent, governor)) in predicted
        for dependent, (governor, relation) in enumerate(zip(gold, _relations(sentence), strict=True), 1)
        if governor and not (punct == "exclude" and _is_punct(relation))
    ]
    return sum(counted), len(counted)


@dataclass(frozen=True, repr=False)
class TreeScores(Result):
    """How right the trees of a corpus are, as counts of each sentence, which add.

    Args:
        correct, total: for each sentence, the words (UAS) or edges (UUAS) that are right, and that count.
        ids: the sentences' names, where they have some.
        heads: what made the trees, such as ("8-10",), in the paper's numbers.
        direction, weights, method, gold_root, punct, root: the options of `score_trees`.
        source: where the attention came from.

    Raises:
        ValidationError: counts that do not fit one another.
    """

    correct: tuple[int, ...]
    total: tuple[int, ...]
    ids: tuple[str | None, ...]
    heads: tuple[str, ...]
    direction: Direction
    weights: Weights = "raw"
    method: Method = "arborescence"
    gold_root: bool = True
    punct: Use = "include"
    root: Use = "exclude"
    source: Source = dataclasses.field(default_factory=Source)

    def __post_init__(self) -> None:
        for name in ("correct", "total", "ids", "heads"):
            object.__setattr__(self, name, _arrays.column(name, getattr(self, name), entry="sentence"))
        if not len(self.correct) == len(self.total) == len(self.ids):
            raise ValidationError(
                f"there are {len(self.correct)} correct counts, {len(self.total)} totals and {len(self.ids)} ids, "
                "but each is one a sentence"
            )
        for correct, total in zip(self.correct, self.total, strict=True):
            if not 0 <= correct <= total:
                raise ValidationError(f"{correct} of {total} cannot be right")

    @property
    def measure(self) -> str:
        """ "UAS" of directed trees, "UUAS" of undirected ones."""
        return "UAS" if self.method == "arborescence" else "UUAS"

    @property
    def accuracy(self) -> float:
        """The fraction that is right, of all words or edges together; NaN where there are none."""
        return sum(self.correct) / sum(self.total) if sum(self.total) else float("nan")

    def interval(self, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> BootstrapInterval:
        """Bootstrap interval of the accuracy, over sentences; of a head chosen on other sentences.

        Raises:
            ValidationError: as `bertattn.statistics.bootstrap_ci`.
        """
        return bootstrap_ci(np.array(self.correct), np.array(self.total), level=level, resamples=resamples, seed=seed)

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.total)

    def __add__(self, other: object) -> TreeScores:
        """The two corpora as one.

        Raises:
            ValidationError: other heads, options or another model.
        """
        if not isinstance(other, TreeScores):
            return NotImplemented
        for field in dataclasses.fields(self):
            a, b = getattr(self, field.name), getattr(other, field.name)
            if field.name not in ("correct", "total", "ids") and a != b:
                raise ValidationError(
                    f"these do not belong together: {field.name} is {a!r} in one and {b!r} in the other"
                )
        joined = {name: getattr(self, name) + getattr(other, name) for name in ("correct", "total", "ids")}
        return dataclasses.replace(self, **joined)

    def __radd__(self, other: object) -> TreeScores:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __repr__(self) -> str:
        return (
            f"TreeScores({' + '.join(self.heads)}, {self.direction}: {100 * self.accuracy:.1f}% {self.measure} of "
            f"{sum(self.total)} {'words' if self.measure == 'UAS' else 'edges'} in {len(self)} sentences)"
        )

    def to_records(self) -> list[dict[str, Any]]:
        """One row for each sentence."""
        return [
            {"sentence": number, "id": name, "correct": correct, "total": total}
            for number, (name, correct, total) in enumerate(zip(self.ids, self.correct, self.total, strict=True))
        ]

    def _state(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls(**(state | {"source": Source(**state["source"])}))


def score_trees(
    stream: Iterable[AttentionTensor],
    heads: HeadName | Iterable[HeadName],
    /,
    *,
    direction: Direction = "from_dependent",
    weights: Weights = "raw",
    method: Method = "arborescence",
    gold_root: bool = True,
    punct: Use = "include",
    root: Use = "exclude",
) -> TreeScores:
    """How right the trees are that a head makes of annotated sentences.

    Raganato and Tiedemann (2018) and Htut et al. (2019) make trees of raw weights and the gold root. Compare with
    `right_branching`, and with `interventions.randomize`. A head chosen for its score on the same sentences scores too
    high: choose it on others.

    Args:
        stream: attention with sentences and their trees, such as `ext.extract(read_conllu(path))`.
        heads, direction, weights: as `governor_scores`.
        method: "arborescence" makes directed trees and counts words with the right governor (UAS), "undirected" counts
            edges of the gold tree that are found (UUAS); direction and root then change nothing.
        gold_root: whether the tree is told which word is the root.
        punct, root: as `uas`. The root word is left out unless asked for, since the gold root gives it away.

    Returns:
        `TreeScores`, with the counts of every sentence.

    Raises:
        ValidationError: an empty stream, something without a gold tree, a sentence without a root, an unknown option.
        SelectionError, MeasureError, AlignmentError: as `governor_scores`.

    Examples:
        >>> from bertattn import Axis
        >>> gold = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2])
        >>> axis = Axis(gold.words, roles=[None] * 3, word_ids=[0, 1, 2], words=gold.words, unit="word")
        >>> w = np.array([[[[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.3, 0.6, 0.1]]]])
        >>> score_trees([AttentionTensor(w, axis, annotation=gold)], "1-1")
        TreeScores(1-1, from_dependent: 100.0% UAS of 2 words in 1 sentences)
    """
    for name, value, kind in (
        ("direction", direction, Direction),
        ("weights", weights, Weights),
        ("method", method, Method),
        ("punct", punct, Use),
        ("root", root, Use),
    ):
        one_of(name, value, get_args(kind))
    if isinstance(stream, AttentionTensor):
        raise ValidationError("stream is one AttentionTensor; give a list: [attention]")
    wanted = _named_heads(heads)
    counts: list[tuple[int, int]] = []
    ids: list[str | None] = []
    source: Source | None = None
    for index, attention in enumerate(stream):
        try:
            sentence = _annotated(attention)
            scores = _scores_of(attention, wanted, direction, weights)
            if len(scores) != len(sentence):
                raise ValidationError(f"the axis has {len(scores)} words but the sentence {len(sentence)}")
            if method == "undirected":
                counts.append(uuas(maximum_spanning_tree(scores), sentence, punct=punct))
            else:
                top = _root_of(sentence) if gold_root else None
                counts.append(uas(maximum_arborescence(scores, root=top), sentence, punct=punct, root=root))
        except Exception as error:
            error.add_note(f"at item {index} of the stream")
            raise
        ids.append(sentence.id)
        source = source or attention.source
    if not counts:
        raise ValidationError(
            "the stream gave no sentences; was it read to its end before? An iterator can be read once"
        )
    return TreeScores(
        correct=tuple(correct for correct, _ in counts),
        total=tuple(total for _, total in counts),
        ids=tuple(ids),
        heads=tuple(format_head(*pair) for pair in wanted),
        direction=direction,
        weights=weights,
        method=method,
        gold_root=gold_root,
        punct=punct,
        root=root,
        source=dataclasses.replace(source or Source(), steps=()),
    )


def _checked_scores(scores: Any) -> Numpy:
    """float64 `[word, word]` with an empty diagonal."""
    table = np.array(_arrays.to_numpy(scores), dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
        raise ValidationError(f"scores must be [word, word], but have shape {table.shape}")
    np.fill_diagonal(table, 0.0)
    infinite = np.argwhere(table == np.inf)
    if len(infinite):
        d, g = infinite[0]
        raise ValidationError(f"scores must be finite, NaN or -inf, but that of {g + 1} as governor of {d + 1} is inf")
    np.fill_diagonal(table, -np.inf)
    return table


def _checked_root_scores(scores: Any | None, root: int | None, n: int) -> Numpy | None:
    """float64 `[word]`, None where there are none."""
    if scores is None:
        return None
    if root is not None:
        raise ValidationError(f"give root or root_scores: word {root} is named as the root already")
    values = np.array(_arrays.to_numpy(scores), dtype=np.float64)
    if values.shape != (n,):
        raise ValidationError(f"root_scores must be one a word, shape {(n,)}, but have shape {values.shape}")
    wrong = values[np.isnan(values) | (values == np.inf)]
    if len(wrong):
        raise ValidationError(f"root_scores must be finite or -inf, but one is {wrong[0]}")
    return values


def _filled(table: Numpy, *, by_row: bool = True) -> Numpy:
    """Numbers for the NaN arcs: so low that a tree has as few as it can; in a row of nothing else, above all others."""
    undefined = np.isnan(table)
    if not undefined.any():
        return table
    finite = table[np.isfinite(table)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    filled = np.where(undefined, low - len(table) * (high - low) - 1, table)
    if by_row:
        indifferent: Numpy = np.all(undefined | np.eye(len(table), dtype=bool), axis=1, keepdims=True)
        filled[indifferent & undefined] = high + 1
    return filled


def _edges(pairs: Iterable[tuple[int, int]], *, start: int) -> tuple[Edge, ...]:
    shift = 1 - start
    return tuple(sorted((min(a, b) + shift, max(a, b) + shift) for a, b in pairs))


def _named_heads(heads: HeadName | Iterable[HeadName]) -> tuple[tuple[int, int], ...]:
    """(layer, head) of each, counted from 0."""
    named = _arrays.plain(heads)
    if isinstance(named, str) or (isinstance(named, tuple) and len(named) == 2 and all(type(n) is int for n in named)):
        return (parse_head(named),)
    if not isinstance(named, Iterable) or not (pairs := tuple(parse_head(head) for head in named)):
        raise SelectionError(f"heads must name a head, such as '8-10', or several, but are {heads!r:.60}")
    if len(set(pairs)) < len(pairs):
        raise SelectionError(f"a head is named twice in {heads!r:.60}")
    return pairs


def _scores_of(
    attention: AttentionTensor, heads: tuple[tuple[int, int], ...], direction: Direction, weights: Weights
) -> Numpy:
    chosen = attention.select(layers=sorted({layer for layer, _ in heads}), heads=sorted({head for _, head in heads}))
    words = drop_special(merge_subwords(chosen), renormalize=False)
    if words.queries.tokens != words.keys.tokens:
        raise ValidationError(
            f"trees are of one sequence that attends to itself, but {len(words.queries)} queries attend to "
            f"{len(words.keys)} other keys"
        )
    maps = np.stack([_arrays.to_numpy(words[pair]).astype(np.float64) for pair in heads])
    scores: Numpy = maps.mean(axis=0)
    if weights == "log":
        if (scores < 0).any():
            raise MeasureError(
                f"measure {attention.measure!r} has negative numbers, which have no logarithm; use 'raw'"
            )
        scores = np.log(np.maximum(scores, SMALLEST))
    return scores if direction == "from_dependent" else scores.T


def _annotated(attention: AttentionTensor) -> Sentence:
    if not isinstance(attention, AttentionTensor):
        raise ValidationError(
            f"the stream must give AttentionTensor, but gave {type(attention).__name__}; for sentences give "
            "ext.extract(sentences)"
        )
    if not isinstance(attention.annotation, Sentence):
        raise ValidationError(
            f"trees are scored on attention with a Sentence, but its annotation is "
            f"{type(attention.annotation).__name__}; give sentences with trees to Extractor.extract"
        )
    return attention.annotation


def _root_of(sentence: Sentence) -> int:
    roots = [word for word, governor in enumerate(_gold(sentence), 1) if governor == 0]
    if len(roots) != 1:
        raise ValidationError(
            f"{_name(sentence)} has {len(roots)} roots; a tree that is told the gold root needs one, or pass "
            "gold_root=False"
        )
    return roots[0]


def _gold(sentence: Sentence) -> tuple[int | None, ...]:
    if not isinstance(sentence, Sentence):
        raise ValidationError(f"the gold tree is a Sentence's, but got {sentence!r:.60}; predictions come first")
    if sentence.governors is None:
        raise ValidationError(
            f"{_name(sentence)} has no tree; read it with read_conllu, or give Sentence(governors=...)"
        )
    return sentence.governors


def _name(sentence: Sentence) -> str:
    return f"sentence {sentence.id!r}" if sentence.id else f"the sentence {' '.join(sentence.words)[:40]!r}"


def _relations(sentence: Sentence) -> tuple[str | None, ...]:
    return sentence.relations or (None,) * len(sentence)


def _is_punct(relation: str | None) -> bool:
    return (relation or "").partition(":")[0] == "punct"
