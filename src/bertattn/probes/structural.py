"""The structural probe: a linear map after which distances between word vectors are those in the tree.

Hewitt and Manning (2019), A Structural Probe for Finding Syntax in Word Representations; the probe that Clark et al.
(2019, section 5) compare theirs with.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, get_args

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from bertattn import _arrays, _files
from bertattn._arrays import Numpy
from bertattn.annotation import DocumentWindow, Sentence
from bertattn.errors import AlignmentError, SelectionError, ValidationError
from bertattn.heads._options import one_of
from bertattn.results import Result
from bertattn.statistics import BootstrapInterval, bootstrap_ci
from bertattn.tensor import Axis, Source

if TYPE_CHECKING:
    import torch

__all__ = ["PUNCTUATION", "StructuralProbe", "StructuralScores", "score_structure", "tree_distances"]

Task: TypeAlias = Literal["distance", "depth"]
Punct: TypeAlias = Literal["xpos", "upos", "include"]
GoldEdges: TypeAlias = Literal["spanning", "tree"]
Edge: TypeAlias = tuple[int, int]
Governors: TypeAlias = Sequence[int | None]
Skipped: TypeAlias = tuple[tuple[int, str], ...]

# The Penn Treebank's tags of words that the released code leaves out.
PUNCTUATION: Final = ("''", ",", ".", ":", "``", "-LRB-", "-RRB-")

_VERSION: Final = 1
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
    trees, skipped = _trees(given, y)
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


class StructuralProbe(BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """Distances or depths in the tree from the vectors of words, after one linear map B (Hewitt and Manning 2019).

        distance: d[i, j] = |B (h[i] - h[j])|^2        depth: d[i] = |B h[i]|^2

    Trained to be the number of edges between the words, or above the word: the loss of a sentence of n words is
    sum_ij |tree[i, j] - d[i, j]| / n^2, or sum_i |tree[i] - d[i]| / n, its mean over the sentences of a batch is
    minimised with Adam, and B starts uniform between -0.05 and 0.05. After an epoch that does not lower the loss on the
    development part the learning rate is divided by 10. All defaults but `rank` are the released code's.

    A scikit-learn estimator: `clone`, `get_params` and `set_params` work.

    Args:
        task: "distance" or "depth".
        layer: which hidden states of an `extract.Capture` to read: 0 for the embeddings, 1 for the output of the first
            layer, and so on. What knows its layer, as `Extractor.hidden_states` gives, needs none.
        rank: rows of B; None makes it square, as the released code does. From 64 on the paper sees no gain.
        batch_size: sentences a step.
        learning_rate: Adam's, in the first epochs.
        max_epochs: the most passes over the sentences.
        validation_fraction: how many of the sentences are held out, at random, to follow the loss on, where `fit` is
            given no `development`. Sentences of one document may then be on both sides.
        n_iter_no_change: epochs without an improvement of `tol` after which training stops.
        tol: see there.
        seed: of the first weights, the order and the sentences held out. Equal seeds give equal weights on one machine.
        device: where to train, such as "cuda"; None means the CPU.
        progress: show a bar while fitting.

    Attributes:
        projection_: float32 `[rank, dimension]`, B: that of the best epoch.
        n_features_in_: the vectors' dimension.
        layer_, source_: whose output it was fitted on, where known.
        training_loss_, development_loss_: the mean over sentences, of each epoch.
        best_epoch_: number, from 0, of the last epoch that lowered the loss on the development part by `tol`.
        n_sentences_, n_development_sentences_: how many trees it was trained on, and followed on.
        skipped_: number in X and reason of each sentence that was left out, since its gold is no tree.

    Examples:
        >>> from bertattn import Extractor, demo, readers
        >>> documents = readers.read_corefud(demo.corpus_path())
        >>> train, held_out = ([s for d in part for s in d.sentences] for part in (documents[:10], documents[10:]))
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> probe = StructuralProbe(rank=32).fit(ext.hidden_states(train, layer=4))
        >>> probe.score(ext.hidden_states(held_out, layer=4), punct="upos") > 0.3  # UUAS
        True
    """

    def __init__(
        self,
        *,
        task: Task = "distance",
        layer: int | None = None,
        rank: int | None = 64,
        batch_size: int = 20,
        learning_rate: float = 1e-3,
        max_epochs: int = 40,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        tol: float = 1e-4,
        seed: int = 0,
        device: str | None = None,
        progress: bool = False,
    ) -> None:
        self.task = task
        self.layer = layer
        self.rank = rank
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.seed = seed
        self.device = device
        self.progress = progress

    def fit(
        self, X: Iterable[Any], y: Sequence[Governors] | None = None, *, development: Iterable[Any] | None = None
    ) -> Self:
        """Train on the vectors of words and the trees of their sentences.

        Everything that X gives is made at once into one vector a word, the mean over the word's tokens, so that X may
        be a generator of captures. A probe that was fitted before starts anew. After Ctrl-C it has the weights of its
        best epoch so far.

        Args:
            X: of sentences with their trees, each as `extractor.hidden_states(sentences, layer=...)` or
                `extractor.capture(sentence, what="hidden")` gives; or pairs of float `[word, dimension]` and Sentence.
            y: governors in place of the trees', one sequence a sentence, for controls. Not with `development`.
            development: as X, to follow the loss on; None holds out some of X.

        Raises:
            ValidationError: nothing to train on, vectors of different dimensions or that are not finite, vectors that
                do not fit their sentence, an option out of range.
            SelectionError: a capture without the hidden states of `layer`.
            AlignmentError: tokens that do not know their words, or a word without a token.
        """
        import torch

        self._check_options()
        if y is not None and development is not None:
            raise ValidationError("y belongs to X, and development has gold of its own; give one of the two")
        words = _read(X, self.layer)
        examples, skipped = self._examples(words, y)
        generator = torch.Generator().manual_seed(self.seed)
        if development is None:
            if len(examples) < 2:
                raise ValidationError("one sentence is too little to hold some out; give more, or development=")
            held_out = min(max(1, round(self.validation_fraction * len(examples))), len(examples) - 1)
            order = torch.randperm(len(examples), generator=generator).tolist()
            following = [examples[i] for i in order[:held_out]]
            examples = [examples[i] for i in order[held_out:]]
        else:
            others = _read(development, self.layer)
            _check_same(others, words.dimension, words.layer)
            following, _ = self._examples(others, None)
        start = torch.empty(self.rank or words.dimension, words.dimension).uniform_(-0.05, 0.05, generator=generator)
        history = _History(start)
        try:
            self._train(history, examples, following, generator)
        except BaseException as error:
            if history.development:
                error.add_note(f"the probe has the weights of epoch {history.best + 1}, its best so far")
            raise
        finally:
            if history.development:
                self.projection_ = history.projection.cpu().numpy()
                self.n_features_in_, self.layer_, self.source_ = words.dimension, words.layer, words.source
                self.training_loss_, self.development_loss_ = tuple(history.training), tuple(history.development)
                self.best_epoch_, self.skipped_ = history.best, skipped
                self.n_sentences_, self.n_development_sentences_ = len(examples), len(following)
        return self

    def _train(
        self,
        history: _History,
        examples: Sequence[_Example],
        following: Sequence[_Example],
        generator: torch.Generator,
    ) -> None:
        import torch
        from tqdm import tqdm

        projection = history.projection.to(self.device or "cpu", copy=True).requires_grad_()
        optimizer = torch.optim.Adam([projection], lr=self.learning_rate)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
        batches = -(-len(examples) // self.batch_size)
        lowest = float("inf")
        with tqdm(
            total=self.max_epochs * batches, disable=not self.progress, unit="batch", desc="StructuralProbe"
        ) as bar:
            for epoch in range(self.max_epochs):
                total = 0.0
                order = torch.randperm(len(examples), generator=generator).tolist()
                for batch in _batches([examples[i] for i in order], self.batch_size, projection):
                    optimizer.zero_grad()
                    loss = structural_loss(projection, batch)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    total += float(loss.detach()) * len(batch.words)
                    bar.update()
                with torch.no_grad():
                    losses = [
                        float(structural_loss(projection, batch)) * len(batch.words)
                        for batch in _batches(following, self.batch_size, projection)
                    ]
                seen = sum(losses) / len(following)
                history.training.append(total / len(examples))
                history.development.append(seen)
                bar.set_postfix(development=f"{seen:.3f}")
                scheduler.step(seen)
                if seen < lowest - self.tol or not epoch:
                    lowest, history.best = seen, epoch
                    history.projection = projection.detach().clone()
                elif epoch - history.best >= self.n_iter_no_change:
                    break

    def predict(self, X: Iterable[Any]) -> list[Numpy]:
        """For each sentence the distances, float64 `[word, word]`, or the depths, `[word]`.

        Distances are squared, as in the formula: symmetric, 0 on the diagonal and never negative; their square roots
        obey the triangle inequality.

        Args:
            X: as for `fit`; trees are not needed.

        Raises:
            NotFittedError: the probe was not fitted.
            ValidationError, SelectionError, AlignmentError: as `fit`; vectors of another dimension or layer than those
                it was fitted on.
        """
        return self._predicted(self._ready(X))

    def evaluate(
        self,
        X: Iterable[Any],
        y: Sequence[Governors] | None = None,
        *,
        punct: Punct = "xpos",
        gold_edges: GoldEdges = "spanning",
    ) -> StructuralScores:
        """The predictions beside the gold trees, or beside the governors y; see `score_structure`.

        Raises:
            NotFittedError, ValidationError, SelectionError, AlignmentError: as `predict` and `score_structure`.
        """
        words = self._ready(X)
        scores = score_structure(
            words.sentences, self._predicted(words), task=self.task, y=y, punct=punct, gold_edges=gold_edges
        )
        return dataclasses.replace(scores, layer=self.layer_, source=words.source)

    def score(
        self,
        X: Iterable[Any],
        y: Sequence[Governors] | None = None,
        *,
        punct: Punct = "xpos",
        gold_edges: GoldEdges = "spanning",
    ) -> float:
        """UUAS or, for depths, root accuracy: the `accuracy` of `evaluate`, as a fraction.

        Raises:
            NotFittedError, ValidationError, SelectionError, AlignmentError: as `evaluate`.
        """
        return self.evaluate(X, y, punct=punct, gold_edges=gold_edges).accuracy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted probe as one safetensors file, whole or not at all.

        Raises:
            NotFittedError: the probe was not fitted.
            StorageError, OSError: the file cannot be written.
        """
        self._check_fitted()
        parameters = {name: value for name, value in self.get_params().items() if name != "device"}
        fitted = {name: getattr(self, name) for name in _FITTED} | {"source_": dataclasses.asdict(self.source_)}
        value = {"parameters": parameters, "fitted": fitted}
        arrays = {"projection": self.projection_}
        _files.write_arrays(path, arrays, value, kind=type(self).__name__, version=_VERSION)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote: a probe that predicts the same.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: a file that is torn, that bertattn did not write, that holds something else, or that a newer
                bertattn wrote.
        """

        return _files.read_arrays(path, cls._restored, kind=cls.__name__, version=_VERSION)

    @classmethod
    def _restored(cls, value: Any, arrays: dict[str, Numpy]) -> Self:
        probe = cls(**value["parameters"])
        probe.projection_ = arrays["projection"]
        for name in _FITTED:
            setattr(probe, name, _arrays.plain(value["fitted"][name]))
        probe.source_ = Source(**value["fitted"]["source_"])
        return probe

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "projection_")

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError("this StructuralProbe was not fitted; call fit(hidden_states) first, or load one")

    def _ready(self, X: Iterable[Any]) -> _Words:
        self._check_fitted()
        words = _read(X, self.layer)
        _check_same(words, self.n_features_in_, self.layer_)
        return words

    def _predicted(self, words: _Words) -> list[Numpy]:
        from scipy.spatial.distance import pdist, squareform

        projected = [vectors.astype(np.float64) @ self.projection_.T for vectors in words.vectors]
        if self.task == "depth":
            return [(one**2).sum(1) for one in projected]
        return [squareform(pdist(one, "sqeuclidean")) if len(one) > 1 else np.zeros((1, 1)) for one in projected]

    def _examples(self, words: _Words, y: Sequence[Governors] | None) -> tuple[list[_Example], Skipped]:
        """The vectors and what is to be learned of each sentence that has a tree."""
        import torch

        trees, skipped = _trees(words.sentences, y)
        examples = []
        for number, (distances, depths) in trees.items():
            vectors, gold = words.vectors[number], depths
            if self.task == "distance":
                # No distance changes; but their squares are then less far from those of the vectors themselves.
                vectors, gold = vectors - vectors.mean(0), distances
            examples.append((torch.from_numpy(vectors), torch.from_numpy(gold.astype(np.float32))))
        return examples, skipped

    def _check_options(self) -> None:
        one_of("task", self.task, get_args(Task))
        for name in ("rank", "batch_size", "max_epochs", "n_iter_no_change"):
            value = getattr(self, name)
            if (type(value) is not int or value < 1) and not (name == "rank" and value is None):
                raise ValidationError(f"{name} must be a whole number, at least 1, but is {value!r}")
        if type(self.seed) is not int or self.seed < 0:
            raise ValidationError(f"seed must be a whole number from 0, but is {self.seed!r}")
        for name, below in (("learning_rate", float("inf")), ("validation_fraction", 1.0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < below:
                raise ValidationError(f"{name} must be above 0{' and below 1' if below == 1 else ''}, but is {value!r}")
        if not isinstance(self.tol, int | float) or not self.tol >= 0:
            raise ValidationError(f"tol must be 0 or more, but is {self.tol!r}")


_FITTED: Final = (
    "n_features_in_",
    "layer_",
    "training_loss_",
    "development_loss_",
    "best_epoch_",
    "n_sentences_",
    "n_development_sentences_",
    "skipped_",
)

# Vectors `[word, dimension]`, and distances `[word, word]` or depths `[word]`.
_Example: TypeAlias = "tuple[torch.Tensor, torch.Tensor]"


@dataclass
class _History:
    """What training has found: the best projection so far, and the losses of each epoch."""

    projection: torch.Tensor
    training: list[float] = field(default_factory=list)
    development: list[float] = field(default_factory=list)
    best: int = 0


@dataclass(frozen=True)
class PaddedSentences:
    """Sentences of different lengths in one batch.

    Args:
        words: `[sentence, word, dimension]`, 0 beyond the end.
        gold: `[sentence, word, word]` distances or `[sentence, word]` depths.
        weights: as gold; one over the number of a sentence's entries, 0 beyond its end.
    """

    words: torch.Tensor
    gold: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(cls, examples: Sequence[_Example], like: torch.Tensor) -> Self:
        """In the precision and on the device of `like`."""
        from torch.nn.utils.rnn import pad_sequence

        words = pad_sequence([vectors for vectors, _ in examples], batch_first=True)
        gold = words.new_zeros(len(examples), *[words.shape[1]] * examples[0][1].ndim)
        weights = gold.clone()
        for row, (_, one) in enumerate(examples):
            place = (row, slice(len(one)), slice(len(one)))[: 1 + one.ndim]
            gold[place], weights[place] = one, 1 / one.numel()
        return cls(*(x.to(like) for x in (words, gold, weights)))


def structural_loss(projection: torch.Tensor, batch: PaddedSentences) -> torch.Tensor:
    """The mean over sentences of the mean over words, or pairs of words, of |gold - predicted|."""
    projected = batch.words @ projection.T
    squares = projected.square().sum(-1)
    if batch.gold.ndim == 3:
        squares = squares[:, :, None] + squares[:, None] - 2 * projected @ projected.mT
    return (batch.weights * (squares - batch.gold).abs()).sum() / len(batch.words)


def _batches(examples: Sequence[_Example], size: int, like: torch.Tensor) -> Iterable[PaddedSentences]:
    for start in range(0, len(examples), size):
        yield PaddedSentences.of(examples[start : start + size], like)


@dataclass(frozen=True)
class _Words:
    """What a stream gives, sentence by sentence: float32 `[word, dimension]`, all of one layer."""

    vectors: list[Numpy]
    sentences: list[Sentence]
    layer: int | None
    source: Source

    @property
    def dimension(self) -> int:
        return int(self.vectors[0].shape[1])


def _read(stream: Iterable[Any], layer: int | None) -> _Words:
    """The vectors of all words; nothing else of the stream is held."""
    if not isinstance(stream, Iterable) or isinstance(stream, Sentence):
        raise ValidationError(
            f"X must be an iterable of hidden states, but is a {type(stream).__name__}; give "
            "extractor.hidden_states(sentences, layer=...)"
        )
    vectors: list[Numpy] = []
    sentences: list[Sentence] = []
    first: tuple[int | None, int] | None = None
    source = Source()
    for index, item in enumerate(stream):
        try:
            found, annotation, of_layer, of_model = _word_vectors(item, layer)
            first = first or (of_layer, found.shape[1])
            if (of_layer, found.shape[1]) != first:
                raise ValidationError(
                    f"its vectors are of layer {of_layer} and dimension {found.shape[1]}, but the first of layer "
                    f"{first[0]} and {first[1]}"
                )
        except (ValidationError, SelectionError, AlignmentError) as error:
            raise type(error)(f"entry {index} of X: {error}") from None
        source = source if vectors else of_model
        start = 0
        for sentence in annotation.sentences if isinstance(annotation, DocumentWindow) else (annotation,):
            vectors.append(found[start : start + len(sentence)])
            sentences.append(sentence)
            start += len(sentence)
    if first is None:
        raise ValidationError("X gave no sentences; was it read to its end before? An iterator can be read once")
    return _Words(vectors, sentences, first[0], source)


def _word_vectors(item: Any, layer: int | None) -> tuple[Numpy, Sentence | DocumentWindow, int | None, Source]:
    """float32 `[word, dimension]` of one entry, its annotation, its layer and its model."""
    if isinstance(item, tuple) and len(item) == 2:
        vectors, annotation = _arrays.to_numpy(item[0]), item[1]
        of_layer, source = None, Source()
    elif hasattr(item, "states"):  # of Extractor.hidden_states
        annotation, of_layer, source = item.annotation, item.layer, item.source
        if layer is not None and layer != of_layer:
            raise SelectionError(f"it is the output of layer {of_layer}, but the probe has layer={layer}")
        vectors = _merged(item.states, item.axis, annotation)
    elif getattr(item, "hidden", None) is not None:  # of Extractor.capture
        annotation, of_layer, source = item.attention.annotation, layer, item.attention.source or Source()
        if type(layer) is not int or not 0 <= layer < len(item.hidden):
            raise SelectionError(
                f"it has {len(item.hidden)} hidden states, from 0, the embeddings, to {len(item.hidden) - 1}, but the "
                f"probe has layer={layer!r}; say which: StructuralProbe(layer=...)"
            )
        vectors = _merged(item.hidden[layer], item.attention.queries, annotation)
    else:
        raise ValidationError(
            f"{item!r:.60} holds no hidden states; give what extractor.hidden_states(sentences, layer=...) or "
            "extractor.capture(sentence, what='hidden') gives, or pairs (vectors of the words, Sentence)"
        )
    if not isinstance(annotation, Sentence | DocumentWindow):
        raise ValidationError(
            f"it is of no sentence with words (its annotation is {type(annotation).__name__}); give the sentences of a "
            "treebank, such as readers.read_conllu gives"
        )
    if vectors.ndim != 2 or len(vectors) != len(annotation):
        raise ValidationError(
            f"vectors must be [word, dimension] of {len(annotation)} words, but have shape {vectors.shape}"
        )
    vectors = vectors.astype(np.float32)
    if not np.isfinite(vectors).all():
        raise ValidationError("its vectors are not all finite")
    return vectors, annotation, of_layer, source


def _merged(states: Any, axis: Axis, annotation: Any) -> Numpy:
    """The mean vector of each word's tokens; a token of two words counts for both."""
    if axis.word_ids is None:
        raise AlignmentError("its tokens do not know their words; extract from sentences, not from plain text")
    of_token = [(entry,) if isinstance(entry, int) else entry or () for entry in axis.word_ids]
    words = len(annotation) if isinstance(annotation, Sentence | DocumentWindow) else 0
    share = np.array([[word in entry for entry in of_token] for word in range(words)], dtype=np.float64)
    share = share.reshape(words, len(of_token))
    counts = share.sum(1, keepdims=True)
    if (counts == 0).any():
        word = int((counts == 0).argmax())
        raise AlignmentError(f"word {word}, {annotation.words[word]!r}, has no token")
    return np.asarray((share / counts) @ _arrays.to_numpy(states).astype(np.float64))


def _check_same(words: _Words, dimension: int, layer: int | None) -> None:
    if words.dimension != dimension:
        raise ValidationError(f"the vectors have dimension {words.dimension} but the probe is fitted on {dimension}")
    if None not in (words.layer, layer) and words.layer != layer:
        raise ValidationError(f"the vectors are of layer {words.layer} but the probe is fitted on layer {layer}")


def _trees(
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
    tree = minimum_spanning_tree(coo_array((rank, (first, second)), shape=(n, n)).tocsr())
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
