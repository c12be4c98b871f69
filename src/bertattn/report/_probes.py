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
)
from bertattn.report import _published
from bertattn.report._parts import FOLDS, LEVEL, RESAMPLES, SEED, Picture, Results, Shown, Table, blank, given
from bertattn.statistics import adjust_pvalues, bootstrap_ci, paired_permutation_test

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bertattn.annotation import Sentence
    from bertattn.extract import Extractor
    from bertattn.report._keeping import Keeping, Kept
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

# Of the models with random weights.
SEEDS: Final = (0, 1, 2)
# Of the model's own embeddings as word vectors: that of the smallest GloVe.
DIMENSION: Final = 50
# Where in the model the structural probe reads, of its height: above the middle, as Hewitt and Manning's best layers.
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
    depends_on: Mapping[str, Any]


class _Fit:
    """One probe on the maps of one model, fitted only where what it gives is not kept."""

    def __init__(self, file: str, probe: Any, maps: _Maps, keeping: Keeping) -> None:
        self._file, self._probe, self._maps, self._keeping = file, probe, maps, keeping

    @functools.cached_property
    def _fitted(self) -> Any:
        from sklearn.base import clone

        return clone(self._probe).fit((self._maps.train or self._maps.scored)())

    def scores(self, name: str) -> GovernorScores:
        """The governors of the sentences, by this probe or, without others to train on, by those of the other folds."""

        def make() -> GovernorScores:
            data = self._maps.scored()
            if self._maps.train is not None:
                return self._fitted.evaluate(data)  # type: ignore[no-any-return]
            return cross_fit(
                self._probe, data, folds=FOLDS, by=_fold_by(data.sentences), seed=SEED, progress=self._keeping.progress
            )

        depends_on = self._depends_on | {"folds": None if self._maps.train is not None else [FOLDS, SEED]}
        scores = self._keeping.result(self._file, GovernorScores, depends_on, make)
        return dataclasses.replace(scores, name=name)

    def weights(self) -> HeadWeights:
        """What the probe uses; without others to train on that of one which was trained on all sentences."""
        return self._keeping.result(
            f"{self._file}-weights",
            HeadWeights,
            self._depends_on,
            lambda: self._fitted.head_weights(self._maps.scored()),
        )

    @property
    def _depends_on(self) -> dict[str, Any]:
        return {**self._maps.depends_on, "probe": _described(self._probe)}


def measured(
    sentences: Sequence[Sentence],
    kept: Kept,
    train: Sequence[Sentence] | None,
    vectors: WordVectors | None,
    ext: Extractor,
    keeping: Keeping,
    *,
    batch_size: int,
) -> Probing | str:
    """All rows of Table 3; or why there are none.

    Args:
        sentences: of the treebank.
        kept: their maps.
        train: what probes are trained on; None for cross-fitting.
        vectors: of words; None takes the model's own.
        ext: the trained model.
        keeping: where results are kept.
        batch_size: how many sentences run together.

    Raises:
        InputError: the model can take none of the sentences to train on.
        StorageError, OSError: as `Keeping`.
    """
    maps = _maps("attention", kept, ext, train, keeping)
    data, others = maps.scored(), None if maps.train is None else maps.train()
    for one, which in ((data, "of the treebank"), (others, "to train on")):
        if one is not None and len(one) < FEWEST:
            return f"{len(one)} sentences {which} have trees, and it takes {FEWEST} to train probes"
    seen = {"treebank": data} | ({} if others is None else {"train": others})
    own = vectors is None
    if vectors is None:
        vectors = ext.word_vectors([sentence for one in seen.values() for sentence in one.sentences])
        dimension = min(DIMENSION, len(vectors), vectors.dimension)
        if not dimension:
            return "the model's tokenizer can spell none of its words, so that they have no vectors"
        vectors = vectors.reduced(dimension)
    progress = keeping.progress and train is not None  # of cross-fitting there is one bar over its parts
    root: Literal["weights", "constant"] = "weights" if data.has_start or data.has_end else "constant"
    attention = AttentionProbe(root=root, progress=progress)
    words = AttentionWordsProbe(vectors, root=root, progress=progress)
    distance = DistanceWordsProbe(vectors, progress=progress)
    structural = StructuralProbe(layer=max(1, round(DEPTH * len(data.layers))), progress=progress)
    left_out: dict[str, str] = {}
    found: dict[str, tuple[GovernorScores, ...]] = {}
    branching = [right_branching(sentence) for sentence in data.sentences]
    found[BASELINE] = (score_governors(data.sentences, branching, name=BASELINE),)
    found[DISTANCE] = (_Fit("distance-words", distance, maps, keeping).scores(DISTANCE),)
    try:
        found[RANDOM] = tuple(_of_random_weights(seed, words, ext, sentences, train, keeping) for seed in SEEDS)
    except ModelError as error:
        left_out[RANDOM] = str(error)
    weights = {}
    for name, probe in ((ATTENTION, attention), (WORDS, words)):
        fit = _Fit(name.replace(" + ", "-"), probe, maps, keeping)
        found[name], weights[name] = (fit.scores(name),), fit.weights()
    punct = _punct(data.sentences)
    folds = None if train is not None else {"folds": FOLDS, "by": _fold_by(data.sentences), "seed": SEED}
    distances: StructuralScores | None = None
    try:
        distances = keeping.result(
            "structural",
            StructuralScores,
            {**maps.depends_on, "probe": _described(structural), "punct": punct, "folds": folds},
            lambda: _structural(
                structural, *(one.sentences for one in seen.values()), ext=ext, punct=punct, batch_size=batch_size
            ),
        )
    except ModelError as error:
        left_out[STRUCTURAL] = str(error)
    settings = {
        "trained_on": "another treebank" if train is not None else f"{FOLDS - 1} of {FOLDS} parts",
        "folds": folds,
        "right_branching_last": "root",
        "own_vectors": own,
        "random_weights": {"keep": "embeddings", "seeds": list(SEEDS)},
        DISTANCE: _described(distance),
        ATTENTION: _described(attention),
        WORDS: _described(words),
        STRUCTURAL: _described(structural) | {"punct": punct},
        "interval": {"method": "bootstrap over sentences", **INTERVAL},
    }
    return Probing(
        found,
        distances,
        weights,
        {name: vectors.coverage(one.sentences) for name, one in seen.items()},
        left_out,
        trained_on=None if others is None else len(others),
        skipped=() if others is None else others.skipped,
        settings=settings,
    )


def _maps(name: str, kept: Kept, ext: Extractor, train: Sequence[Sentence] | None, keeping: Keeping) -> _Maps:
    if train is None:
        return _Maps(_with_trees(kept.maps), None, kept.depends_on)
    others = keeping.maps(f"{name}-train-maps", ext, train)
    return _Maps(_with_trees(kept.maps), _with_trees(others.maps), {**kept.depends_on, **others.depends_on})


def _with_trees(read: Callable[[], ProbeData]) -> Callable[[], ProbeData]:
    """The maps of those sentences that have a tree."""

    @functools.cache
    def select() -> ProbeData:
        try:
            data = read()
        except ValidationError as error:
            raise InputError(f"the model can take none of the sentences to train probes on: {error}") from None
        kept = [i for i, sentence in enumerate(data.sentences) if sentence.governors is not None]
        if not kept:
            raise InputError(
                f"none of the {len(data)} sentences to train probes on has a tree; give a treebank whose column HEAD "
                "is filled"
            )
        return data.select(kept)

    return select


def _fold_by(sentences: Sequence[Sentence]) -> Literal["document", "sentence"]:
    """By document where there are enough."""
    documents = {sentence.document for sentence in sentences}
    return "document" if None not in documents and len(documents) >= FOLDS else "sentence"


def _of_random_weights(
    seed: int,
    probe: AttentionWordsProbe,
    ext: Extractor,
    sentences: Sequence[Sentence],
    train: Sequence[Sentence] | None,
    keeping: Keeping,
) -> GovernorScores:
    """The probe on the attention of the model with random weights in all layers but the embeddings."""
    from bertattn.interventions import randomize

    name, drawn = f"random-{seed}", randomize(ext, seed=seed)
    maps = _maps(name, keeping.maps(f"{name}-maps", drawn, sentences), drawn, train, keeping)
    return _Fit(name, probe, maps, keeping).scores(RANDOM)


def _structural(
    probe: StructuralProbe,
    sentences: Sequence[Sentence],
    train: Sequence[Sentence] | None = None,
    /,
    *,
    ext: Extractor,
    punct: Literal["upos", "xpos", "include"],
    batch_size: int,
) -> StructuralScores:
    """The probe's distances beside the trees, cross-fitted where there is nothing else to train on."""
    from sklearn.base import clone

    read = functools.partial(ext.hidden_states, layer=probe.layer or 0, batch_size=batch_size)
    states = list(read(sentences))
    predicted: list[Any] = [None] * len(states)
    if train is not None:
        predicted = clone(probe).fit(read(train)).predict(states)
    else:
        fold = _folds(sentences)
        for k in range(FOLDS):
            fitted = clone(probe).fit(state for state, of in zip(states, fold, strict=True) if of != k)
            held_out = [i for i, of in enumerate(fold) if of == k]
            for i, one in zip(held_out, fitted.predict([states[i] for i in held_out]), strict=True):
                predicted[i] = one
    return dataclasses.replace(score_structure(sentences, predicted, punct=punct), layer=probe.layer)


def _folds(sentences: Sequence[Sentence]) -> list[int]:
    """The part of each sentence, dealt out as `cross_fit` does."""
    by_document = _fold_by(sentences) == "document"
    names = [sentence.document if by_document else str(i) for i, sentence in enumerate(sentences)]
    different = list(dict.fromkeys(names))
    order = np.random.default_rng(SEED).permutation(len(different))
    fold_of = dict(zip(different, (order % FOLDS).tolist(), strict=True))
    return [fold_of[name] for name in names]


def _punct(sentences: Sequence[Sentence]) -> Literal["upos", "xpos", "include"]:
    """The tags by which the structural probe's trees leave out punctuation: those that every sentence has."""
    if all(sentence.upos is not None for sentence in sentences):
        return "upos"
    return "xpos" if all(sentence.xpos is not None for sentence in sentences) else "include"


def _described(probe: Any) -> dict[str, Any]:
    """Class, parameters and word vectors of a probe, as JSON can hold them."""
    parameters = probe.get_params(deep=False)
    described = {"class": type(probe).__name__} | {k: v for k, v in parameters.items() if k not in BESIDE_THE_POINT}
    vectors = parameters.get("vectors")
    if vectors is None:
        return described
    return described | {"vectors": {name: getattr(vectors, name) for name in ("name", "dimension", "digest")}}


def record(probing: Probing) -> dict[str, Any]:
    """What was used and left out, as JSON can hold it."""
    words = probing.scores[WORDS][0]
    return {
        "sentences_used": words.sentences,
        "words_counted": words.count(),
        "trained_on": probing.trained_on,
        "coverage": {
            name: {field: getattr(one, field) for field in ("tokens", "known_tokens", "types", "known_types")}
            for name, one in probing.coverage.items()
        },
        "left_out": dict(probing.left_out),
    }


def section(results: Results) -> Shown:
    """Table 3 of the paper with its figure, what the probes use, and what they find by relation."""
    probing = given(results.probes)
    table = probing.table()
    words, alone = probing.scores[WORDS][0], probing.scores[ATTENTION][0]
    comparisons = _comparisons(probing)
    model = _published.bert_base(results.relations)
    pictures = (
        Picture(
            "table3",
            _drawn(table),
            "Words whose governor is found, with 95% intervals over sentences; the thin line joins the smallest and "
            f"the largest of {len(SEEDS)} draws of random weights. The structural probe (hollow) finds edges without a "
            "direction between words that are no punctuation, so it is not comparable. (Table 3 of Clark et al. 2019.)",
            "Accuracy of probes and baselines at finding governors.",
            numbers=("table3.csv",),
        ),
        Picture(
            "probe_weights",
            _drawn_weights(probing),
            "How much each head speaks for the right governor in each probe: the part of its score that comes from the "
            "head, less the mean over all candidates, with attention from and to the word added up. Purple heads speak "
            "for it, orange ones against it.",
            "Grids of layers and heads, colored by how much each head speaks for the right governor.",
            numbers=tuple(f"probe_{kind.replace(' + ', '_')}_heads.csv" for kind in probing.head_weights),
        ),
    )
    names = [name for name in words.relation_names() if words.count(name) >= _fewest_words(words)][:TOP_RELATIONS]
    return Shown(
        text=(RULE, _training(probing), _words(probing), *_missing(probing)),
        pictures=pictures,
        tables=(
            Table(
                "table3",
                f"Table 3 of Clark et al. 2019, on {table.count:,} words of {table.sentences:,} sentences."
                + ("" if model is None else f" {_published.notes(model, 'table3')}"),
                [
                    {
                        "predictor": row.name,
                        "accuracy": row.accuracy,
                        "low": row.low,
                        "high": row.high,
                        "draws": row.seeds,
                        "smallest": row.smallest if row.seeds > 1 else float("nan"),
                        "largest": row.largest if row.seeds > 1 else float("nan"),
                        "measure": row.measure if row.comparable else f"{row.measure}, not comparable",
                    }
                    | ({} if model is None else _published.probe_columns(row.name, row.accuracy))
                    for row in table.rows
                ],
                percent=("accuracy", "low", "high", "smallest", "largest", "paper"),
                bars=("accuracy",),
                precision=_published.SIGNED,
            ),
            Table(
                "probe_comparisons",
                f"How much more {WORDS} finds than others, in percentage points, paired by sentence; p of a "
                "permutation test, adjusted by Holm's method.",
                comparisons,
                percent=("difference", "low", "high"),
            ),
            Table(
                "probe_relations",
                f"By relation, the {len(names)} most frequent ones with at least {_fewest_words(words)} words.",
                [
                    {"relation": name, "words": words.count(name)}
                    | {column: value for one in (alone, words) for column, value in _of_relation(one, name).items()}
                    for name in names
                ],
                percent=tuple(f"{name}{end}" for name in WEIGHED for end in ("", " low", " high")),
                bars=WEIGHED,
                aside=tuple(f"{name}{end}" for name in WEIGHED for end in (" low", " high")),
            ),
            Table(
                "probe_heads",
                f"The {TOP_HEADS} heads that speak most for the right governor in each probe, in nats; standard errors "
                "are in the file.",
                [
                    {"probe": name, **dataclasses.asdict(head)}
                    for name, weights in probing.head_weights.items()
                    for head in weights.top(TOP_HEADS)
                ],
                aside=("standard_error",),
            ),
        ),
        highlights=(_highlight(table, comparisons),),
    )


RULE: Final = (
    "A probe is trained to find each word's governor from the attention of all heads together: it weighs the heads, by "
    "one number for each head and direction (attention), or by numbers that depend on the two words (attention + "
    "words). UAS is the share of words whose governor it finds; the root counts, punctuation does not. A probe is "
    "trained, so what it finds is not all the model's: the model with random weights and distance + words, which reads "
    "no attention, say how much is the probe's own and the word vectors'."
)


def _training(probing: Probing) -> str:
    if probing.trained_on is not None:
        text = f"Probes are trained on {probing.trained_on:,} sentences of other files (--train). "
    else:
        by = probing.settings["folds"]["by"]
        text = (
            f"Without a treebank to train on (--train) each fifth of this one, parted by {by}, is predicted by probes "
            "that were trained on the other four; the weights of heads are those of one probe that was trained on all "
            "of it, and look larger than they are. "
        )
    return text + (
        "Parameters are the library's defaults, which were fixed beforehand on the development part of English EWT "
        "(scores on that are a little too good). The structural probe reads layer "
        f"{probing.settings[STRUCTURAL]['layer']}, {DEPTH} of the way up, fixed beforehand too. The last word of a "
        "right-branching tree is taken for the root. Intervals are by bootstrap over sentences; they take the trained "
        "probes as given."
    )


def _words(probing: Probing) -> str:
    vectors = probing.settings[WORDS]["vectors"]
    name = "the model's own input embeddings, reduced" if probing.settings["own_vectors"] else vectors["name"]
    known = " and ".join(
        f"{one.token_fraction:.1%} of the {'words trained on' if side == 'train' else 'words scored'}"
        for side, one in probing.coverage.items()
    )
    return f"Word vectors: {name} ({vectors['dimension']} dimensions), which know {known}."


def _missing(probing: Probing) -> tuple[str, ...]:
    return tuple(f"Left out: {name}, since {why}." for name, why in probing.left_out.items())


def _comparisons(probing: Probing) -> list[dict[str, Any]]:
    """Attention + words less each of the two that it is to be compared with; of several draws less their mean."""
    right, count = probing.scores[WORDS][0].by_sentence()
    against = {name: probing.scores[name] for name in (ATTENTION, RANDOM) if name in probing.scores}
    others = [np.mean([one.by_sentence()[0] for one in runs], axis=0) for runs in against.values()]
    differences = right[:, None] - np.stack(others, axis=1)
    words = np.broadcast_to(count[:, None], differences.shape)
    interval = bootstrap_ci(differences, words, **INTERVAL)
    p = paired_permutation_test(differences, words, alternative="two-sided", seed=SEED).p
    numbers = zip(interval.estimate, interval.low, interval.high, adjust_pvalues(p), strict=True)
    return [
        {
            "than": name,
            "difference": float(difference),
            "low": float(low),
            "high": float(high),
            "p": f"{value:.4f}",
        }
        for name, (difference, low, high, value) in zip(against, numbers, strict=True)
    ]


def _fewest_words(scores: GovernorScores) -> int:
    """100 words, as the paper's code has it; fewer in a small treebank."""
    return 100 if scores.count() >= 10_000 else 20


def _of_relation(scores: GovernorScores, relation: str) -> dict[str, float]:
    interval = scores.interval(relation, **INTERVAL)
    name = str(scores.name)
    return {name: float(interval.estimate), f"{name} low": float(interval.low), f"{name} high": float(interval.high)}


def _drawn(table: ProbeTable) -> Figure:
    figure = blank()
    figure.set_layout_engine("constrained")
    figure.set_size_inches(6.8, 1.2 + 0.34 * len(table.rows))
    figures.probe_figure(table, ax=figure.subplots())
    return figure


def _drawn_weights(probing: Probing) -> Figure:
    figure = blank()
    figure.set_layout_engine("constrained")
    layers, heads = next(iter(probing.head_weights.values())).margin.shape[1:]
    figure.set_size_inches(max(3.2, 1.6 + 0.4 * heads), 2 * max(2.4, 1.0 + 0.34 * layers))
    for ax, (name, weights) in zip(figure.subplots(2), probing.head_weights.items(), strict=True):
        figures.probe_weights(weights, ax=ax).set_title(name)
    return figure


def _highlight(table: ProbeTable, comparisons: Sequence[Mapping[str, Any]]) -> str:
    """What the heads find together, and how much of that is not the probe's."""
    words = table[WORDS]
    said = ", ".join(f"{row.name} {row.accuracy:.1%}" for row in table.rows if row.comparable and row.name != WORDS)
    control = comparisons[-1]
    ends = f"{100 * control['low']:+z.1f} to {100 * control['high']:+z.1f}"
    return (
        f"A probe on the attention of all heads and on words finds the governor of {words.accuracy:.1%} of "
        f"{table.count:,} words (95% CI {words.low:.1%} to {words.high:.1%}); the difference to {control['than']} is "
        f"{100 * control['difference']:+z.1f} points (95% CI {ends}). Others find: {said}."
    )
