"""The section on probes: what all heads know together (Clark et al. 2019, section 5)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from bertattn import figures
from bertattn.errors import InputError, ModelError, ValidationError
from bertattn.probes import (
    AttentionProbe,
    AttentionWordsProbe,
    DistanceWordsProbe,
    GovernorScores,
    HeadWeights,
    ProbeData,
    ProbeTable,
    StructuralProbe,
    StructuralScores,
    cross_fit,
    probe_table,
    right_branching,
    score_governors,
    score_structure,
    tree_distances,
)
from bertattn.report._parts import FOLDS, LEVEL, RESAMPLES, SEED, Picture, Results, Shown, Table, blank, given
from bertattn.statistics import adjust_pvalues, bootstrap_ci, paired_permutation_test

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bertattn.annotation import Sentence
    from bertattn.extract import Extractor
    from bertattn.report._keeping import Keeping
    from bertattn.vectors import VectorCoverage, WordVectors

__all__ = ["Probing"]

# The rows of Table 3.
BASELINE: Final = "right-branching"
DISTANCE: Final = "distance + words"
RANDOM: Final = "random-init attention + words"
ATTENTION: Final = "attention"
WORDS: Final = "attention + words"
STRUCTURAL: Final = "structural probe"
WEIGHED: Final = (ATTENTION, WORDS)
# Of BERT-base on the Penn Treebank, in percent.
PAPER: Final = {BASELINE: 26, DISTANCE: 58, RANDOM: 30, ATTENTION: 61, WORDS: 77, STRUCTURAL: 80}

# Of the models with random weights.
SEEDS: Final = (0, 1, 2)
# Of the model's own embeddings as word vectors: that of the smallest GloVe.
DIMENSION: Final = 50
# Where in the model the structural probe reads: the layer that Hewitt and Manning found best in BERT-base is the 7th.
DEPTH: Final = 0.6
# Fewer sentences than this train no probe that is worth a number.
FEWEST: Final = 10
TOP_RELATIONS: Final = 12
TOP_HEADS: Final = 5
INTERVAL: Final[dict[str, Any]] = {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED}
# Where a probe computes, and whether it shows it, changes no number worth keeping apart.
BESIDE_THE_POINT: Final = ("vectors", "device", "progress")


@dataclass(frozen=True)
class Probing:
    """Probes and baselines on one treebank.

    Args:
        scores: of each predictor the governors that it gives, in the order of Table 3; several where a model with
            random weights was drawn several times.
        structural: the structural probe's distances, or None.
        head_weights: what the probes "attention" and "attention + words" use.
        coverage: how many of the words of the treebank, and of the one trained on, have a vector.
        left_out: predictors that could not be had, and why.
        trained_on: sentences of another treebank that the probes were trained on; None for cross-fitting.
        skipped: number and reason of each sentence of it that was left out.
        settings: what all this was made with, as JSON can hold it.
    """

    scores: Mapping[str, tuple[GovernorScores, ...]]
    structural: StructuralScores | None
    head_weights: Mapping[str, HeadWeights]
    coverage: Mapping[str, VectorCoverage]
    left_out: Mapping[str, str] = field(default_factory=dict)
    trained_on: int | None = None
    skipped: tuple[tuple[int, str], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def table(self) -> ProbeTable:
        """All of them side by side."""
        rows: dict[str, Any] = dict(self.scores)
        if self.structural is not None:
            rows[STRUCTURAL] = self.structural
        return probe_table(rows, **INTERVAL)


@dataclass(frozen=True)
class _Maps:
    """The maps of one model: of the sentences to score, and of those to train on where they are others."""

    scored: Callable[[], ProbeData]
    train: Callable[[], ProbeData] | None
    by: Literal["document", "sentence"]
    depends_on: Mapping[str, Any]

    def fitted(self, probe: Any) -> Any:
        from sklearn.base import clone

        return clone(probe).fit((self.train or self.scored)())

    def scores(self, probe: Any, fitted: Callable[[], Any]) -> GovernorScores:
        if self.train is None:
            return cross_fit(probe, self.scored(), folds=FOLDS, by=self.by, seed=SEED)
        scores: GovernorScores = fitted().evaluate(self.scored())
        return scores


def measured(
    sentences: Sequence[Sentence],
    train: Sequence[Sentence] | None,
    vectors: WordVectors | None,
    ext: Extractor,
    keeping: Keeping,
    *,
    batch_size: int,
    progress: bool,
) -> Probing | str:
    """All rows of Table 3; or why there are none.

    Args:
        sentences: of the treebank.
        train: what probes are trained on; None for cross-fitting.
        vectors: of words; None takes the model's own.
        ext: the trained model.
        keeping: where results are kept.
        batch_size, progress: of extraction.

    Raises:
        InputError: the model can take none of the sentences to train on.
        StorageError, OSError: as `Keeping`.
    """
    maps = _maps("attention", ext, sentences, train, keeping)
    data = maps.scored()
    if len(data) < FEWEST:
        return f"{len(data)} sentences of the treebank have trees, and it takes {FEWEST} to train probes"
    others = None if maps.train is None else maps.train()
    if others is not None and len(others) < FEWEST:
        return f"{len(others)} sentences to train on have trees, and it takes {FEWEST} to train probes"
    seen = {"treebank": data} | ({} if others is None else {"train": others})
    if vectors is None:
        vectors = ext.word_vectors([sentence for one in seen.values() for sentence in one.sentences])
        dimension = min(DIMENSION, len(vectors), vectors.dimension)
        if not dimension:
            return "the model's tokenizer can spell none of its words, so that they have no vectors"
        vectors = vectors.reduced(dimension)
    root: Literal["weights", "constant"] = "weights" if data.has_start or data.has_end else "constant"
    attention = AttentionProbe(root=root, progress=progress)
    words = AttentionWordsProbe(vectors, root=root, progress=progress)
    distance = DistanceWordsProbe(vectors, progress=progress)
    structural = StructuralProbe(layer=max(1, round(DEPTH * len(data.layers))), progress=progress)
    left_out: dict[str, str] = {}

    found: dict[str, tuple[GovernorScores, ...]] = {}
    found[BASELINE] = (score_governors(data.sentences, [right_branching(one) for one in data.sentences]),)
    found[DISTANCE] = (_kept_scores("distance-words", distance, maps, keeping),)
    try:
        found[RANDOM] = tuple(_of_random_weights(seed, words, ext, sentences, train, keeping) for seed in SEEDS)
    except ModelError as error:
        left_out[RANDOM] = str(error)
    weights = {}
    for name, probe in ((ATTENTION, attention), (WORDS, words)):
        file, fitted = name.replace(" + ", "-"), functools.cache(functools.partial(maps.fitted, probe))
        found[name] = (_kept_scores(file, probe, maps, keeping, fitted),)
        depends_on = {**maps.depends_on, "probe": _described(probe)}
        make = functools.partial(_weights_of, fitted, maps)
        weights[name] = keeping.result(f"{file}-weights", HeadWeights, depends_on, make)
    punct = _punct(data.sentences)
    depends_on = {**maps.depends_on, "probe": _described(structural), "punct": punct}
    by_distances: StructuralScores | None = None
    trees = [[sentence for sentence in one.sentences if _is_tree(sentence)] for one in seen.values()]
    if min(map(len, trees)) < FEWEST:
        left_out[STRUCTURAL] = f"fewer than {FEWEST} sentences have one root and no word without a governor"
    else:
        make_distances = functools.partial(_structural, structural, trees, ext, punct, batch_size, progress)
        try:
            by_distances = keeping.result("structural", StructuralScores, depends_on, make_distances)
        except ModelError as error:
            left_out[STRUCTURAL] = str(error)
    settings = {
        "trained_on": "another treebank" if train is not None else f"{FOLDS - 1} of {FOLDS} parts",
        "folds": None if train is not None else {"folds": FOLDS, "by": maps.by, "seed": SEED},
        "right_branching_last": "root",
        "random_weights": {"keep": "embeddings", "seeds": list(SEEDS)},
        DISTANCE: _described(distance),
        ATTENTION: _described(attention),
        WORDS: _described(words),
        STRUCTURAL: _described(structural) | {"punct": punct},
        "interval": {"method": "bootstrap over sentences", **INTERVAL},
    }
    return Probing(
        {name: tuple(dataclasses.replace(one, name=name) for one in runs) for name, runs in found.items()},
        by_distances,
        weights,
        {name: vectors.coverage(one.sentences) for name, one in seen.items()},
        left_out,
        trained_on=None if others is None else len(others),
        skipped=() if others is None else others.skipped,
        settings=settings,
    )


def _maps(
    name: str, ext: Extractor, sentences: Sequence[Sentence], train: Sequence[Sentence] | None, keeping: Keeping
) -> _Maps:
    """The maps of a model, of sentences that have a tree or part of one."""
    scored, depends_on = keeping.maps(f"{name}-maps", ext, sentences)
    of_train = None
    if train is not None:
        of_train, more = keeping.maps(f"{name}-train-maps", ext, train)
        depends_on = depends_on | more
    by: Literal["document", "sentence"] = "sentence"
    documents = {sentence.document for sentence in scored().sentences if _has_tree(sentence)}
    if None not in documents and len(documents) >= FOLDS:
        by = "document"
    return _Maps(_with_trees(scored), None if of_train is None else _with_trees(of_train), by, depends_on)


def _with_trees(read: Callable[[], ProbeData]) -> Callable[[], ProbeData]:
    @functools.cache
    def select() -> ProbeData:
        try:
            data = read()
        except ValidationError as error:
            raise InputError(f"the model can take none of the sentences to train probes on: {error}") from None
        kept = [i for i, sentence in enumerate(data.sentences) if _has_tree(sentence)]
        return data.select(kept)

    return select


def _has_tree(sentence: Sentence) -> bool:
    return any(governor is not None for governor in sentence.governors or ())


def _is_tree(sentence: Sentence) -> bool:
    try:
        tree_distances(sentence.governors or ())
    except ValidationError:
        return False
    return True
