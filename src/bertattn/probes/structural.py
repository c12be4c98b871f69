"""The structural probe: a linear map after which distances between word vectors are those in the tree.

Hewitt and Manning (2019), A Structural Probe for Finding Syntax in Word Representations; the probe that Clark et al.
(2019, section 5) compare theirs with.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, get_args

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from bertattn import _arrays, _files
from bertattn._arrays import Numpy
from bertattn.annotation import DocumentWindow, Sentence
from bertattn.errors import AlignmentError, SelectionError, ValidationError
from bertattn.heads._options import one_of
from bertattn.probes._estimator import check_device, warn_of_other_model
from bertattn.probes.structure import (
    GoldEdges,
    Governors,
    Punct,
    Skipped,
    StructuralScores,
    Task,
    score_structure,
    trees_of,
)
from bertattn.tensor import Axis, Source

if TYPE_CHECKING:
    import torch

__all__ = ["StructuralProbe"]

_VERSION: Final = 1


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
            X: of sentences with their trees, each as `ext.hidden_states(sentences, layer=...)` or
                `ext.capture(sentence, what="hidden")` gives; or pairs of float `[word, dimension]` and Sentence.
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
        generator = torch.Generator().manual_seed(int(self.seed))
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
                    loss = _structural_loss(projection, batch)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    total += float(loss.detach()) * len(batch.words)
                    bar.update()
                with torch.no_grad():
                    losses = [
                        float(_structural_loss(projection, batch)) * len(batch.words)
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
        warn_of_other_model(self, words.source)
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

        trees, skipped = trees_of(words.sentences, y)
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
        check_device(self.device)
        for name in ("rank", "batch_size", "max_epochs", "n_iter_no_change"):
            value = _arrays.plain(getattr(self, name))
            if (type(value) is not int or value < 1) and not (name == "rank" and value is None):
                raise ValidationError(f"{name} must be a whole number, at least 1, but is {value!r}")
        seed = _arrays.plain(self.seed)
        if type(seed) is not int or seed < 0:
            raise ValidationError(f"seed must be a whole number from 0, but is {self.seed!r}")
        for name, below in (("learning_rate", float("inf")), ("validation_fraction", 1.0)):
            value = _arrays.plain(getattr(self, name))
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
class _PaddedSentences:
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


def _structural_loss(projection: torch.Tensor, batch: _PaddedSentences) -> torch.Tensor:
    """The mean over sentences of the mean over words, or pairs of words, of |gold - predicted|."""
    projected = batch.words @ projection.T
    squares = projected.square().sum(-1)
    if batch.gold.ndim == 3:
        squares = squares[:, :, None] + squares[:, None] - 2 * projected @ projected.mT
    return (batch.weights * (squares - batch.gold).abs()).sum() / len(batch.words)


def _batches(examples: Sequence[_Example], size: int, like: torch.Tensor) -> Iterable[_PaddedSentences]:
    for start in range(0, len(examples), size):
        yield _PaddedSentences.of(examples[start : start + size], like)


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
            "ext.hidden_states(sentences, layer=...)"
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
            f"{item!r:.60} holds no hidden states; give what ext.hidden_states(sentences, layer=...) or "
            "ext.capture(sentence, what='hidden') gives, or pairs (vectors of the words, Sentence)"
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
