"""How much of gold trees is in predicted distances or depths of words (Hewitt and Manning 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.annotation import Sentence
from bertattn.errors import ValidationError
from bertattn.heads._options import one_of
from bertattn.results import Result
from bertattn.statistics import BootstrapInterval, bootstrap_ci
from bertattn.tensor import Source

__all__ = ["PUNCTUATION", "StructuralScores", "score_structure", "tree_distances"]

Task: TypeAlias = Literal["distance", "depth"]
Punct: TypeAlias = Literal["xpos", "upos", "include"]
GoldEdges: TypeAlias = Literal["spanning", "tree"]
Edge: TypeAlias = tuple[int, int]
Governors: TypeAlias = Sequence[int | None]
Skipped: TypeAlias = tuple[tuple[int, str], ...]

# The Penn Treebank's tags of words that the released code leaves out.
PUNCTUATION: Final = ("''", ",", ".", ":", "``", "-LRB-", "-RRB-")

# Lengths of sentences over which the released code averages correlations.
_SHORTEST, _LONGEST = 5, 50
# Weights and counts of so many replicates and sentences at a time: 32 MB of float64.
_BLOCK = 2**22


def tree_distances(governors: Governors, /) -> Numpy:
    """How many edges lie between each two words of a tree.

    Args:
        governors: of each word the number of its governor, counted from 1; 0 for the root.

    Returns:
        int `[word, word]`; the row of the root word is every word's depth.

    Raises:
        ValidationError: these make no tree: a word without a governor, no root or several, a circle, a number of no
            word.

    Examples:
        >>> tree_distances((2, 0, 2))
        array([[0, 1, 2],
               [1, 0, 1],
               [2, 1, 0]])
    """
    given = _arrays.column("governors", governors, entry="word")
    n = len(given)
    unknown = given.count(None)
    if unknown:
        raise ValidationError(f"{unknown} of the {n} words have no governor")
    if not all(type(g) is int and 0 <= g <= n for g in given):
        raise ValidationError(f"governors are numbers from 0, the root, to {n}, the last word, but are {given!r:.60}")
    if given.count(0) != 1:
        raise ValidationError(f"{given.count(0)} of the {n} words are the root, but a tree has one")
    below: list[list[int]] = [[] for _ in range(n)]
    for word, governor in enumerate(given):
        if governor:
            below[governor - 1].append(word)
    order = [given.index(0)]
    for word in order:  # it grows on the way, by each word's dependents
        order.extend(below[word])
    if len(order) < n:
        raise ValidationError(f"{n - len(order)} of the {n} words hang on one another in a circle")
    distances = np.zeros((n, n), dtype=np.int64)
    for done, word in enumerate(order[1:], 1):
        before = order[:done]
        distances[word, before] = distances[before, word] = distances[given[word] - 1, before] + 1
    return distances


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class StructuralScores(Result):
    """How much of the gold trees is in predicted distances or depths, as counts of each sentence, which add.

    For distances, `accuracy` is UUAS: the fraction of the gold trees' edges that are in the minimum spanning tree of
    the predicted distances; `spearman` is DSpr. For depths, `accuracy` is the fraction of sentences whose root word has
    the smallest predicted depth, and `spearman` is NSpr.

    Args:
        task: "distance" or "depth".
        lengths: words of each sentence.
        correct, total: of each sentence the edges that were found and those that there are; or whether the root was
            found, and 1. Total is 0 where fewer than two words (one, for the root) are left without punctuation.
        correlations: of each sentence the sum of its Spearman correlations: one a word for distances, one a sentence
            for depths.
        defined: how many correlations that sums.
        undefined: how many there are not, since all predictions, or all gold numbers, are equal.
        ids: the sentences' names, where they have some.
        skipped: number and reason of what was left out, since its gold is no tree; see `score_structure`.
        punct, gold_edges: the options of `score_structure`.
        layer: whose output was probed, 0 for the embeddings; None where that was not said.
        source: the model.

    Raises:
        ValidationError: columns of different lengths, counts that do not fit, an unknown option.
    """

    task: Task
    lengths: tuple[int, ...]
    correct: tuple[int, ...]
    total: tuple[int, ...]
    correlations: tuple[float, ...]
    defined: tuple[int, ...]
    undefined: tuple[int, ...]
    ids: tuple[str | None, ...]
    skipped: Skipped = ()
    punct: Punct = "xpos"
    gold_edges: GoldEdges = "spanning"
    layer: int | None = None
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        for name, kind in (("task", Task), ("punct", Punct), ("gold_edges", GoldEdges)):
            one_of(name, getattr(self, name), get_args(kind))
        for name in _COLUMNS:
            object.__setattr__(self, name, _arrays.column(name, getattr(self, name), entry="sentence"))
            if len(getattr(self, name)) != len(self.lengths):
                raise ValidationError(
                    f"{name} has {len(getattr(self, name))} entries but there are {len(self)} sentences"
                )
        object.__setattr__(self, "skipped", tuple((index, reason) for index, reason in self.skipped))
        for correct, total in zip(self.correct, self.total, strict=True):
            if not 0 <= correct <= total:
                raise ValidationError(f"{correct} of {total} cannot be right")

    @property
    def measure(self) -> str:
        """ "UUAS" of distances, "root accuracy" of depths."""
        return "UUAS" if self.task == "distance" else "root accuracy"

    @property
    def accuracy(self) -> float:
        """UUAS or root accuracy, 0 to 1: the fraction found in all sentences together; NaN where there is nothing."""
        return sum(self.correct) / sum(self.total) if sum(self.total) else float("nan")

    def interval(self, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> BootstrapInterval:
        """Bootstrap interval of the accuracy, over sentences.

        Raises:
            ValidationError: as `bertattn.statistics.bootstrap_ci`.
        """
        return bootstrap_ci(np.array(self.correct), np.array(self.total), level=level, resamples=resamples, seed=seed)

    def spearman(self, *, shortest: int = _SHORTEST, longest: int = _LONGEST) -> float:
        """DSpr or NSpr: the mean of `spearman_by_length` over the lengths from `shortest` to `longest` that there are.

        Every length counts the same, however many sentences have it. NaN where no correlation is defined.
        """
        means = [mean for n, mean in self.spearman_by_length().items() if shortest <= n <= longest and mean == mean]
        return float(np.mean(means)) if means else float("nan")

    def spearman_by_length(self) -> dict[int, float]:
        """For each length of sentences the mean of all their correlations; NaN where none is defined."""
        lengths, number = np.unique(np.array(self.lengths), return_inverse=True)
        sums, counts = (np.bincount(number, weights=x) for x in (self.correlations, self.defined))
        means = np.divide(sums, counts, out=np.full(len(lengths), np.nan), where=counts > 0)
        return dict(zip(lengths.tolist(), means.tolist(), strict=True))

    def spearman_interval(
        self,
        *,
        shortest: int = _SHORTEST,
        longest: int = _LONGEST,
        level: float = 0.95,
        resamples: int = 2000,
        seed: int = 0,
    ) -> BootstrapInterval:
        """Percentile bootstrap interval of `spearman`, over sentences; each replicate averages over its own lengths.

        Raises:
            ValidationError: no sentences, a level that is none, no resamples.
        """
        if not 0 < level < 1 or type(resamples) is not int or resamples < 1 or not len(self):
            raise ValidationError(
                f"an interval needs sentences, a level between 0 and 1 and at least one resample, but there are "
                f"{len(self)} sentences, level={level!r} and resamples={resamples!r}"
            )
        lengths, number = np.unique(np.array(self.lengths), return_inverse=True)
        used = (lengths >= shortest) & (lengths <= longest)
        of_length = number[:, None] == np.flatnonzero(used)  # [sentence, length]
        defined = np.array(self.defined)
        with_data = int((of_length.any(1) & (defined > 0)).sum())
        replicates = np.empty(resamples)
        rng = np.random.default_rng(seed)
        step = max(1, _BLOCK // len(self))
        for start in range(0, resamples, step):
            size = min(step, resamples - start)
            weights = rng.multinomial(len(self), np.full(len(self), 1 / len(self)), size=size)
            sums, counts = ((weights * column) @ of_length for column in (np.array(self.correlations), defined))
            means = np.divide(sums, counts, out=np.zeros(sums.shape), where=counts > 0)
            some = (counts > 0).sum(1)
            replicates[start : start + size] = np.where(some > 0, means.sum(1) / np.maximum(some, 1), np.nan)
        known = replicates[~np.isnan(replicates)] if with_data > 1 else np.full(1, np.nan)
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        return BootstrapInterval(
            estimate=np.array(self.spearman(shortest=shortest, longest=longest)),
            low=np.array(low),
            high=np.array(high),
            standard_error=np.array(known.std(ddof=1) if len(known) > 1 else np.nan),
            units_with_data=np.array(with_data),
            empty_resamples=np.array(np.isnan(replicates).sum()),
            level=float(level),
            method="percentile",
            simultaneous=False,
            units=len(self),
            resamples=resamples,
            seed=seed,
        )

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.lengths)

    def __add__(self, other: object) -> StructuralScores:
        """The two corpora as one. The numbers in `skipped` stay those of each.

        Raises:
            ValidationError: another task, other options, another layer or model.
        """
        if not isinstance(other, StructuralScores):
            return NotImplemented
        for name in ("task", "punct", "gold_edges", "layer", "source"):
            if getattr(self, name) != getattr(other, name):
                raise ValidationError(
                    f"these do not belong together: {name} is {getattr(self, name)!r} in one and "
                    f"{getattr(other, name)!r} in the other"
                )
        joined = {name: getattr(self, name) + getattr(other, name) for name in (*_COLUMNS, "skipped")}
        return dataclasses.replace(self, **joined)

    def __radd__(self, other: object) -> StructuralScores:
        """`sum` starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __repr__(self) -> str:
        of = f"{sum(self.total)} {'edges' if self.task == 'distance' else 'roots'}"
        left_out = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (
            f"StructuralScores({100 * self.accuracy:.1f}% {self.measure} of {of}, {self._correlation} "
            f"{self.spearman():.3f}, {len(self)} sentences{left_out})"
        )

    def to_records(self) -> list[dict[str, Any]]:
        """Two rows, accuracy and correlation, with their 95 % bootstrap intervals over sentences.

        `count` is edges, roots, or correlations that are defined (of sentences of 5 to 50 words); `undefined` is
        sentences without any edge or root to find, or correlations that are not defined.
        """
        within = [_SHORTEST <= n <= _LONGEST for n in self.lengths]
        rows: tuple[tuple[str, BootstrapInterval, int, int], ...] = (
            (self.measure, self.interval(), sum(self.total), self.total.count(0)),
            (
                self._correlation,
                self.spearman_interval(),
                sum(n for n, used in zip(self.defined, within, strict=True) if used),
                sum(n for n, used in zip(self.undefined, within, strict=True) if used),
            ),
        )
        return [
            {"measure": measure, "value": float(interval.estimate)}
            | {"low": float(interval.low), "high": float(interval.high)}
            | {"count": count, "undefined": undefined, "sentences": len(self), "skipped": len(self.skipped)}
            for measure, interval, count, undefined in rows
        ]

    @property
    def _correlation(self) -> str:
        return "DSpr" if self.task == "distance" else "NSpr"

    def _state(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls(**(state | {"source": Source(**state["source"])}))


_COLUMNS: Final = ("lengths", "correct", "total", "correlations", "defined", "undefined", "ids")


def score_structure(
    sentences: Iterable[Sentence],
    predicted: Iterable[Any],
    /,
    *,
    task: Task = "distance",
    y: Iterable[Governors] | None = None,
    punct: Punct = "xpos",
    gold_edges: GoldEdges = "spanning",
) -> StructuralScores:
    """Predicted distances or depths beside the gold trees, whatever predicted them.

    Two ways to read a prediction (Hewitt and Manning 2019, section 3). As a tree: the minimum spanning tree of the
    distances, or the word of the smallest depth, both without punctuation. As an order: Spearman's correlation of each
    word's distances to all words of the sentence, itself among them as in the released code, or of a sentence's depths,
    here with punctuation. Sentences whose gold is no tree are left out and listed.

    Args:
        sentences: with their trees.
        predicted: for each sentence `[word, word]` distances, of which the upper triangle makes the tree, or `[word]`
            depths; any increasing function of them gives the same scores.
        task: "distance" or "depth".
        y: governors in place of the trees', one sequence a sentence.
        punct: which words are no part of the trees. "xpos": those whose tag is in `PUNCTUATION`, as in the paper;
            "upos": those that are PUNCT, for treebanks with other tags; "include": none. A root word that is left out
            is never found.
        gold_edges: "spanning" makes the gold edges as the predicted ones, so that words that hang on punctuation have
            some too: one edge less than there are words; of several best trees it takes the one that the released code
            does. "tree" takes the tree's own edges between words that are left.

    Raises:
        ValidationError: no sentence with a tree, predictions of another shape or that are not finite, a sentence
            without the tags that `punct` needs, an unknown option.

    Examples:
        How far apart two words stand says a lot about how far apart they are in the tree:

        >>> tree = Sentence(["Dogs", "chase", "old", "cats"], governors=[2, 0, 4, 2])
        >>> places = np.arange(4)
        >>> scores = score_structure([tree], [abs(places[:, None] - places)], punct="include")
        >>> round(scores.accuracy, 3), scores.correct, scores.total
        (0.667, (2,), (3,))
    """
    for name, value, kind in (("task", task, Task), ("punct", punct, Punct), ("gold_edges", gold_edges, GoldEdges)):
        one_of(name, value, get_args(kind))
    given, guesses = list(sentences), list(predicted)
    if len(given) != len(guesses):
        raise ValidationError(f"there are predictions for {len(guesses)} sentences but {len(given)} sentences")
    trees, skipped = trees_of(given, y)
    rows = []
    for number, (distances, depths) in trees.items():
        sentence, guess = given[number], np.asarray(_arrays.to_numpy(guesses[number]), dtype=np.float64)
        shape = distances.shape if task == "distance" else depths.shape
        if guess.shape != shape or not np.isfinite(guess).all():
            raise ValidationError(
                f"the predictions for sentence {number} must be {list(shape)} finite numbers, but have shape "
                f"{list(guess.shape)}{' and are not all finite' if guess.shape == shape else ''}"
            )
        kept = _kept(sentence, punct)
        if task == "distance":
            edges = _spanning_edges(distances, kept)
            if gold_edges == "tree":
                edges = {(a, b) for a, b in edges if distances[a, b] == 1}
            correct, total = len(edges & _spanning_edges(guess, kept)), len(edges)
            correlations = _spearman(guess, distances)
        else:
            total = int(len(kept) > 0)
            correct = int(total and depths[kept[guess[kept].argmin()]] == 0)
            correlations = _spearman(guess[None], depths[None])
        known = correlations[~np.isnan(correlations)]
        missing = len(correlations) - len(known)
        rows.append((len(sentence), correct, total, float(known.sum()), len(known), missing, sentence.id))
    columns: dict[str, Any] = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
    return StructuralScores(
        task=task,
        **columns,
        skipped=skipped,
        punct=punct,
        gold_edges=gold_edges,
    )


def _kept(sentence: Sentence, punct: Punct) -> Numpy:
    """The numbers, from 0, of the words that are no punctuation."""
    tags = {"xpos": sentence.xpos, "upos": sentence.upos, "include": ()}[punct]
    if tags is None:
        other = "upos" if punct == "xpos" else "xpos"
        raise ValidationError(
            f"sentence {sentence.id or ' '.join(sentence.words)[:40]!r} has no {punct}, by which punctuation is left "
            f"out; pass punct={other!r} or punct='include'"
        )
    left_out = PUNCTUATION if punct == "xpos" else ("PUNCT",)
    return np.array([i for i in range(len(sentence)) if not tags or tags[i] not in left_out], dtype=np.int64)


def _spanning_edges(distances: Numpy, kept: Numpy) -> set[Edge]:
    """The minimum spanning tree over some of the words; of equal edges the first is taken, as in the released code."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    n = len(kept)
    first, second = np.triu_indices(n, 1)
    costs = distances[kept[first], kept[second]]
    # The order of the edges is all that matters: distinct numbers leave no choice, and 0 would mean no edge to SciPy.
    rank = np.empty(len(costs))
    rank[np.argsort(costs, kind="stable")] = np.arange(1, len(costs) + 1)
    places = first.astype(np.int32), second.astype(np.int32)  # as SciPy before 1.15 wants them
    tree = minimum_spanning_tree(coo_array((rank, places), shape=(n, n)).tocsr())
    a, b = tree.nonzero()
    return set(zip(kept[a].tolist(), kept[b].tolist(), strict=True))


def _spearman(predicted: Numpy, gold: Numpy) -> Numpy:
    """Of each row the correlation of the ranks, equal numbers sharing theirs; NaN where a row is constant."""
    from scipy.stats import rankdata

    a, b = (rankdata(x, axis=1) for x in (predicted, gold))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    out: Numpy = np.divide((a * b).sum(1), scale, out=np.full(len(a), np.nan), where=scale > 0)
    return out


def trees_of(
    sentences: Sequence[Sentence], y: Iterable[Governors] | None
) -> tuple[dict[int, tuple[Numpy, Numpy]], Skipped]:
    """By number, of each sentence that has a tree, int `[word, word]` distances and `[word]` depths; and the others."""
    given = [s.governors or (None,) * len(s) for s in sentences] if y is None else [tuple(column) for column in y]
    if len(given) != len(sentences):
        raise ValidationError(f"y has governors for {len(given)} sentences but there are {len(sentences)}")
    trees: dict[int, tuple[Numpy, Numpy]] = {}
    skipped: list[tuple[int, str]] = []
    for number, (sentence, governors) in enumerate(zip(sentences, given, strict=True)):
        if len(governors) != len(sentence):
            raise ValidationError(
                f"y has {len(governors)} governors for the {len(sentence)} words of sentence {number}"
            )
        try:
            distances = tree_distances(governors)
        except ValidationError as error:
            skipped.append((number, str(error)))
        else:
            trees[number] = distances, distances[governors.index(0)]
    if not trees:
        why = f"; the first: {skipped[0][1]}" if skipped else ""
        raise ValidationError(f"none of the {len(sentences)} sentences has a tree{why}")
    return trees, tuple(skipped)
