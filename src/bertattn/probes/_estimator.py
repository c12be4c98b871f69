"""What the probes that predict governors share: fitting, predicting, scoring, saving."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeAlias, get_args

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from bertattn import _arrays, _files
from bertattn._arrays import Numpy
from bertattn.annotation import Sentence
from bertattn.errors import MeasureError, ValidationError
from bertattn.heads._options import one_of
from bertattn.probes._data import Governors, ProbeData, dealt, prepare
from bertattn.probes.decoding import decode
from bertattn.probes.scores import GovernorScores, score_governors
from bertattn.tensor import AttentionTensor, Source
from bertattn.vectors import WordVectors

if TYPE_CHECKING:
    import torch

    from bertattn.probes._training import Corpus, History

__all__ = ["PAPER_SCHEDULE"]

Decoding: TypeAlias = Literal["argmax", "tree"]
Root: TypeAlias = Literal["weights", "special", "constant"]
Features: TypeAlias = Literal["attention", "sqrt"]
Decay: TypeAlias = Literal["linear", "none"]
RootVector: TypeAlias = Literal["aligned", "released"]
Maps: TypeAlias = "Iterable[AttentionTensor] | ProbeData"

# The paper's: sentences one by one in the order of the treebank, once. Word vectors were taken as they are, which only
# the probes that have some can be told: `AttentionWordsProbe(vectors, standardize=False, **PAPER_SCHEDULE)`.
PAPER_SCHEDULE: Final[dict[str, Any]] = {
    "batch_size": 1,
    "learning_rate": 0.002,
    "max_epochs": 1,
    "decay": "none",
    "early_stopping": False,
    "shuffle": False,
}

_VERSION: Final = 1


class Probe(BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """A scikit-learn estimator of governors. A subclass says what its scores are, in `_module`, and names its weights.

    Fitted attributes: `layers_`, `heads_` (counted from 0), `has_start_`, `has_end_`, `source_` of the maps;
    `training_loss_`, `development_loss_` (nats a word, one an epoch), `best_epoch_` (from 0), `n_sentences_`,
    `n_development_sentences_`, `parameters_` (those that scores depend on, as they were then), and the weights.
    """

    _reads_maps: ClassVar[bool] = True
    # The weights of the module and the fitted attributes they are kept in; both have the same shape.
    _weights: ClassVar[dict[str, str]]

    vectors: WordVectors | None = None
    root: Root = "weights"
    features: Features = "attention"
    standardize: bool = False
    batch_size: int
    learning_rate: float
    decay: Decay
    max_epochs: int
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    shuffle: bool
    decoding: Decoding
    seed: int
    device: str | None
    progress: bool

    def _module(self, heads: int, generator: torch.Generator) -> Any:
        """A new module with random weights for maps of so many heads."""
        raise NotImplementedError

    def fit(self, X: Maps, y: Sequence[Governors] | None = None, *, development: Maps | None = None) -> Self:
        """Train on the gold trees of annotated maps.

        The loss is the sum over words, punctuation too, of -ln p(governor); words without a governor have none. A
        probe that was fitted before starts anew. After Ctrl-C the probe has the weights of its best epoch so far.

        Args:
            X: maps whose `annotation` has the gold trees, with their special tokens, of words or of tokens: a stream
                such as `ext.extract(sentences)`, a `bertattn.RunFolder`, or what `prepare` gives.
            y: other targets than the gold: for each sentence the governor of each word (0 is the root; a word's own
                number is allowed; None for none), as `control_governors` gives. Not with `development`.
            development: maps on which training is stopped early; None keeps `validation_fraction` of X for that:
                whole documents where there are at least 20, otherwise sentences.

        Raises:
            ValidationError: as `prepare`; an option out of range; targets that do not fit; no word with a governor;
                maps without special tokens, unless `root` is "constant".
            MeasureError: as `prepare`; maps with negative numbers, where `features` is "sqrt".
            AlignmentError: as `prepare`.
        """
        import torch

        from bertattn.probes._training import History, Schedule, train

        self._check_options()
        if y is not None and development is not None:
            raise ValidationError("y is for X, and development has gold of its own; leave y or development out")
        data = self._prepared(X)
        if self._reads_maps and self.root != "constant" and not (data.has_start or data.has_end):
            raise ValidationError(
                "attention to special tokens stands for the root, but these maps have none; were they dropped? Keep "
                "them, or learn a constant for the root: root='constant'"
            )
        targets = _targets(data.sentences, y)
        scale = self._scale_of_vectors(data.sentences)
        rows: Sequence[int] = range(len(data))
        stopping: Corpus | None = None
        if development is not None:
            held_out = self._prepared(development)
            _check_same_heads(held_out, data.layers, data.heads, data.has_start, data.has_end)
            stopping = self._corpus(held_out, _targets(held_out.sentences, None), scale)
        elif self.early_stopping:
            rows, others = dealt(data.sentences, self.validation_fraction, self.seed)
            stopping = self._corpus(data.select(others), [targets[i] for i in others], scale)
        corpus = self._corpus(data.select(rows), [targets[i] for i in rows], scale)
        for one, part in ((corpus, "to train on"), (stopping, "to stop by")):
            if one is not None and not any((target >= 0).any() for target in one.targets):
                raise ValidationError(f"no word of the {len(one)} sentences {part} has a governor; give their trees")
        generator = torch.Generator().manual_seed(int(self.seed))
        module = self._module(len(data.layers) * len(data.heads), generator).to(self.device or "cpu")
        schedule = Schedule(
            batch_size=int(self.batch_size),
            learning_rate=self.learning_rate,
            decay=self.decay == "linear",
            max_epochs=self.max_epochs,
            n_iter_no_change=self.n_iter_no_change,
            tol=self.tol,
            shuffle=self.shuffle,
            seed=self.seed,
            progress=self.progress,
        )
        history = History()
        try:
            train(module, corpus, stopping, schedule, history, desc=type(self).__name__)
        except BaseException as error:
            if history.training:
                error.add_note(f"the probe has the weights of epoch {history.best + 1}, its best so far")
            raise
        finally:
            if history.training:
                module.rescale(scale)
                self._keep(data, module, history, sentences=len(corpus), development=len(stopping or ()))
        return self

    def _keep(self, data: ProbeData, module: Any, history: History, *, sentences: int, development: int) -> None:
        state = module.state_dict()
        for name, attribute in self._weights.items():
            setattr(self, attribute, state[name].cpu().numpy() if name in state else None)
        self.layers_, self.heads_, self.source_ = data.layers, data.heads, data.source
        self.has_start_, self.has_end_ = data.has_start, data.has_end
        self.training_loss_, self.development_loss_ = tuple(history.training), tuple(history.development)
        self.best_epoch_ = history.best
        self.parameters_ = self._of_scores()
        self.n_sentences_, self.n_development_sentences_ = sentences, development

    def _of_scores(self) -> dict[str, Any]:
        """The parameters that scores depend on; vectors may be changed for such as know more words."""
        names = ("root", "features", "root_vector", "bias")
        return {name: value for name, value in self.get_params(deep=False).items() if name in names}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "best_epoch_")

    def predict_log_proba(self, X: Maps) -> list[Numpy]:
        """For each sentence ln p(candidate | dependent), float64 `[word, 1 + word]`: the root, then the words.

        Raises:
            NotFittedError: the probe was not fitted.
            ValidationError: as `prepare`; maps of other layers or heads than the probe was fitted on; parameters
                changed since, so that the weights do not fit them.
            MeasureError, AlignmentError: as `fit`.
        """
        from bertattn.probes._training import log_probabilities

        data = self._ready(X)
        return log_probabilities(self._fitted_module(), self._corpus(data, _no_targets(data.sentences)))

    def predict(self, X: Maps) -> list[tuple[int, ...]]:
        """For each sentence the governors of its words, counted from 1; 0 is the root.

        `decoding` says how: "argmax" takes each word's best candidate, which makes no tree and may be the word itself,
        as in the paper; "tree" the best tree. See `decode`.

        Raises:
            NotFittedError, ValidationError, MeasureError, AlignmentError: as `predict_log_proba`.
        """
        return [decode(table, method=self.decoding) for table in self.predict_log_proba(X)]

    def evaluate(self, X: Maps, y: Sequence[Governors] | None = None) -> GovernorScores:
        """The predictions beside the gold, or beside the targets y.

        Raises:
            NotFittedError, MeasureError, AlignmentError: as `predict_log_proba`.
            ValidationError: as `predict_log_proba`; targets that do not fit.
        """
        data = self._ready(X)
        wanted = None if y is None else _arrays.column("y", y, entry="sentence")
        return score_governors(data.sentences, self.predict(data), y=wanted, name=type(self).__name__)

    def score(self, X: Maps, y: Sequence[Governors] | None = None) -> float:
        """UAS: the fraction of words with the right governor, without punctuation, with the root (as the paper's).

        Raises:
            NotFittedError, ValidationError, MeasureError, AlignmentError: as `evaluate`.
        """
        return self.evaluate(X, y).uas()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted probe, with its parameters and word vectors, as one safetensors file.

        Raises:
            NotFittedError: the probe was not fitted.
            StorageError, OSError: the file cannot be written.
        """
        self._check_fitted()
        self._fitted_module()  # refuses parameters that were changed since
        arrays = {name: getattr(self, name) for name in self._weights.values() if getattr(self, name) is not None}
        parameters = {k: v for k, v in self.get_params(deep=False).items() if k not in ("vectors", "device")}
        value: dict[str, Any] = {
            "parameters": {name: _arrays.plain(value) for name, value in parameters.items()},
            "fitted": {name: getattr(self, name) for name in _FITTED} | {"source_": dataclasses.asdict(self.source_)},
        }
        if self.vectors is not None:
            vectors, value["vectors"] = self.vectors._to_arrays()
            arrays |= {f"vectors.{name}": array for name, array in vectors.items()}
        _files.write_arrays(path, arrays, value, kind=type(self).__name__, version=_VERSION)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote: a probe that predicts the same.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: a file that is torn, that bertattn did not write, that holds something else, or that a newer
                bertattn wrote.
        """

        def parse(value: Any, arrays: dict[str, Numpy]) -> Any:
            parameters = dict(value["parameters"])
            if "vectors" in value:
                vectors = {name.partition(".")[2]: array for name, array in arrays.items() if "." in name}
                parameters["vectors"] = WordVectors._from_arrays(value["vectors"], vectors)
            probe = cls(**parameters)
            for name in cls._weights.values():
                setattr(probe, name, arrays.get(name))
            for name in _FITTED:
                kept = value["fitted"][name]
                setattr(probe, name, tuple(kept) if isinstance(kept, list) else kept)
            probe.source_ = Source(**value["fitted"]["source_"])
            probe.parameters_ = probe._of_scores()
            return probe

        probe: Self = _files.read_arrays(path, parse, kind=cls.__name__, version=_VERSION)
        return probe

    def _fitted_module(self) -> Any:
        import torch

        module = self._module(len(self.layers_) * len(self.heads_), torch.Generator())
        state = {name: getattr(self, attribute) for name, attribute in self._weights.items()}
        state = {name: torch.from_numpy(np.array(values)) for name, values in state.items() if values is not None}
        wanted = {name: values.shape for name, values in module.state_dict().items()}
        same = self.parameters_ == self._of_scores()
        if not same or wanted != {name: values.shape for name, values in state.items()}:
            raise ValidationError("parameters were changed after the probe was fitted; fit it again")
        module.load_state_dict(state)
        return module.to(self.device or "cpu")

    def _ready(self, X: Maps) -> ProbeData:
        self._check_fitted()
        self._check_options()
        data = self._prepared(X)
        _check_same_heads(data, self.layers_, self.heads_, self.has_start_, self.has_end_)
        if self._reads_maps:
            warn_of_other_model(self, data.source)
        return data

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} was not fitted; call fit(maps) first, or load one")

    def _prepared(self, X: Maps) -> ProbeData:
        data = prepare(X)
        if self._reads_maps and not data.layers:
            raise ValidationError(
                f"{type(self).__name__} reads attention, but was given sentences; give maps, such as "
                "ext.extract(sentences)"
            )
        if self.features == "sqrt":
            _refuse_negative(data)
        # Without maps nothing about heads matters, so that sentences and maps of any model will do.
        return data if self._reads_maps else dataclasses.replace(data, layers=(), heads=())

    def _scale_of_vectors(self, sentences: Sequence[Sentence]) -> float:
        """What vectors are multiplied with while training: 1 over the root mean square of the known ones."""
        if self.vectors is None or not self.standardize:
            return 1.0
        types = sorted({word for sentence in sentences for word in sentence.words})
        known = self.vectors.lookup(types)[self.vectors.knows(types)].astype(np.float64)
        size = float(np.sqrt((known**2).mean())) if known.size else 0.0
        return 1 / size if size else 1.0

    def _corpus(self, data: ProbeData, targets: Sequence[Numpy], scale: float = 1.0) -> Corpus:
        import torch

        from bertattn.probes._training import Corpus

        roots = self.features == "sqrt"
        if self.vectors is None:
            return Corpus(data, targets, roots)
        numbers: dict[str, int] = {}
        words = [
            np.array([numbers.setdefault(word, len(numbers) + 1) for word in sentence.words])
            for sentence in data.sentences
        ]
        table = np.concatenate([np.zeros((1, self.vectors.dimension), np.float32), self.vectors.lookup(list(numbers))])
        return Corpus(data, targets, roots, words, torch.from_numpy(table * np.float32(scale)))

    def _check_options(self) -> None:
        for name in ("batch_size", "max_epochs", "n_iter_no_change"):
            value = _arrays.plain(getattr(self, name))
            if type(value) is not int or value < 1:
                raise ValidationError(f"{name} must be a whole number, at least 1, but is {value!r}")
        seed = _arrays.plain(self.seed)
        if type(seed) is not int or seed < 0:
            raise ValidationError(f"seed must be a whole number from 0, but is {seed!r}")
        for name, below in (("learning_rate", float("inf")), ("validation_fraction", 1.0)):
            value = _arrays.plain(getattr(self, name))
            if not isinstance(value, int | float) or not 0 < value < below:
                raise ValidationError(f"{name} must be above 0{' and below 1' if below == 1 else ''}, but is {value!r}")
        if not isinstance(self.tol, int | float) or not self.tol >= 0:
            raise ValidationError(f"tol must be 0 or more, but is {self.tol!r}")
        one_of("decoding", self.decoding, get_args(Decoding))
        one_of("decay", self.decay, get_args(Decay))
        one_of("root", self.root, get_args(Root))
        one_of("features", self.features, get_args(Features))
        for name in ("early_stopping", "shuffle", "standardize"):
            one_of(name, getattr(self, name), (False, True))
        check_device(self.device)


def check_device(device: str | None) -> None:
    """Refuse a device that is not here.

    Raises:
        ValidationError: torch cannot use it.
    """
    import torch

    try:
        torch.empty(0, device=device or "cpu")
    except (RuntimeError, AssertionError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise ValidationError(
            f"device must be one that torch can use here, such as 'cpu', but is {device!r} ({first})"
        ) from None


def warn_of_other_model(probe: Any, source: Source) -> None:
    """Say that what a probe learned of one model means nothing for another, where both are known and differ."""
    fitted, given = (f"{s.model} ({s.revision})" if s.revision else s.model for s in (probe.source_, source))
    if fitted is not None and given is not None and fitted != given:
        warnings.warn(
            f"this {type(probe).__name__} was fitted on {fitted}, but what it is to predict from is of {given}, where "
            "heads of the same number are other heads; fit one for each model",
            stacklevel=4,
        )


_FITTED: Final = (
    "layers_",
    "heads_",
    "has_start_",
    "has_end_",
    "training_loss_",
    "development_loss_",
    "best_epoch_",
    "n_sentences_",
    "n_development_sentences_",
)


def check_vectors(vectors: object, caller: str) -> WordVectors:
    """The word vectors, if they are some.

    Raises:
        ValidationError: they are not.
    """
    if not isinstance(vectors, WordVectors):
        raise ValidationError(
            f"{caller} needs word vectors but was given {vectors!r:.60}; read some with readers.read_word_vectors "
            "or take the model's own with ext.word_vectors(sentences)"
        )
    if not len(vectors):
        raise ValidationError(
            f"{caller} needs word vectors, but these are of no word; was the iterator that they were read for at its "
            "end? It can be read once"
        )
    return vectors


def _targets(sentences: Sequence[Sentence], y: Sequence[Governors] | None) -> list[Numpy]:
    """For each sentence the governors, -1 where there is none."""
    if y is None:  # a Sentence has checked its own
        golds = (sentence.governors or (None,) * len(sentence) for sentence in sentences)
        return [np.array([-1 if governor is None else governor for governor in gold]) for gold in golds]
    given = _arrays.column("y", y, entry="sentence")
    if len(given) != len(sentences):
        raise ValidationError(f"y has targets for {len(given)} sentences but there are {len(sentences)}")
    targets = []
    for number, (governors, sentence) in enumerate(zip(given, sentences, strict=True)):
        column = _arrays.column(f"y of sentence {number}", governors, entry="word")
        target = [-1 if governor is None else governor for governor in column]
        if len(target) != len(sentence) or not all(type(g) is int and -1 <= g <= len(sentence) for g in target):
            raise ValidationError(
                f"the targets of sentence {number} must be a governor for each of its {len(sentence)} words, from 0 "
                f"(the root) to {len(sentence)}, or None, but are {column!r:.60}"
            )
        targets.append(np.array(target))
    return targets


def _refuse_negative(data: ProbeData) -> None:
    for number in range(len(data)):
        lowest = data.maps(number).min()
        if lowest < 0:
            raise MeasureError(
                f"features='sqrt' needs maps without negative numbers, but those of sentence {number} go down to "
                f"{lowest:.4g}; use features='attention', or give maps of attention weights"
            )


def _no_targets(sentences: Sequence[Sentence]) -> list[Numpy]:
    return [np.full(len(sentence), -1) for sentence in sentences]


def _check_same_heads(
    data: ProbeData, layers: Sequence[int], heads: Sequence[int], has_start: bool, has_end: bool
) -> None:
    if (data.layers, data.heads) != (layers, heads):
        raise ValidationError(
            f"the maps have {len(data.layers)} layers and {len(data.heads)} heads, or others by number, but the probe "
            f"was fitted on {len(layers)} and {len(heads)}; give maps of as many layers and heads"
        )
    if layers and (data.has_start, data.has_end) != (has_start, has_end):
        raise ValidationError(
            "the maps have other special tokens than those the probe was fitted on; were they dropped?"
        )
