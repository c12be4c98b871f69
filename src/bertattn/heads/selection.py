"""Which head finds a relation best, and how sure that is: selection, held-out evaluation, tests, comparison of models.

Picking the best of hundreds of heads flatters it: its accuracy on the words that it was picked on is too high, the more
so the fewer they are. So every result says what it was picked on, and the held-out variant stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar, get_args

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn.errors import SelectionError, ValidationError
from bertattn.heads._options import one_of
from bertattn.heads._rows import Rows
from bertattn.heads._scores import By, HeadScores, folds_of
from bertattn.heads.dependency import Direction, RelationScores
from bertattn.statistics import adjust_pvalues, bootstrap_ci, max_statistic_test, paired_permutation_test

__all__ = [
    "BestHead",
    "BestHeads",
    "Comparison",
    "Difference",
    "HeadTest",
    "HeadTests",
    "best_heads",
    "compare",
    "cross_fit",
    "head_tests",
    "split",
]

Scores = TypeVar("Scores", bound=HeadScores)
Correction: TypeAlias = Literal["max-statistic", "holm", "benjamini-hochberg"]

OFFSETS: Final = (-3, -2, -1, 1, 2, 3)


@dataclass(frozen=True)
class BestHead:
    """The head that finds a relation best.

    Args:
        relation: its name, "all" for all words.
        count: number of words.
        head: its name, "3-9", counted from 1; of a cross-fit the one picked most often.
        direction: the direction it was picked with.
        accuracy: fraction of the words whose governor it finds.
        low, high: bootstrap interval over sentences of `accuracy`, the picks taken as given. It covers what the
            picking adds only where `picked_on` is "other words"; see `cross_fit` on "other folds".
        offset: the best fixed offset, picked as the head was.
        baseline: fraction of the words whose governor stands there.
        picked_on: "the same words", "overlapping words" (some of them) or "other words", told by the names of documents
            and sentences; or "other folds".
        stability: how often the same head and direction wins when sentences are drawn anew (or, of a cross-fit, in how
            many of the folds).
        optimism: of a cross-fit, how much higher the accuracy is where it is picked on the same words; else NaN.
        sentences: in how many sentences the relation occurs; below 10 the interval says little.
    """

    relation: str
    count: int
    head: str
    direction: Direction
    accuracy: float
    low: float
    high: float
    offset: int
    baseline: float
    picked_on: str
    stability: float
    optimism: float
    sentences: int


@dataclass(frozen=True, repr=False)
class BestHeads(Rows):
    """The best head of each relation: Clark et al. 2019, Table 1, with what the table leaves out. `print` shows it.

    Args:
        rows: a `BestHead` each.
        level, resamples, seed: of the intervals.
        punct, root, subtypes: which words were counted.
    """

    rows: tuple[BestHead, ...]
    level: float = 0.95
    resamples: int = 2000
    seed: int = 0
    punct: str = "include"
    root: str = "include"
    subtypes: str = "keep"

    def __getitem__(self, relation: str) -> BestHead:
        """The row of one relation.

        Raises:
            SelectionError: there is none.
        """
        for row in self.rows:
            if row.relation == relation:
                return row
        raise SelectionError(f"there is no row for {relation!r}; there are {', '.join(r.relation for r in self.rows)}")

    def __str__(self) -> str:
        """The table as text, accuracies in percent."""
        level = f"{100 * self.level:g}% interval"
        lines = [f"{'relation':<14}{'head':>7}  {'accuracy':>8}  {level:<14}{'baseline':>12}{'n':>8}"]
        for row in self.rows:
            arrow = {"from_dependent": "", "to_dependent": " T", "from_governor": " G"}[row.direction]
            interval = f"{100 * row.low:.1f} to {100 * row.high:.1f}"
            baseline = f"{100 * row.baseline:.1f} ({row.offset:+d})"
            lines.append(
                f"{row.relation:<14}{row.head + arrow:>7}  {100 * row.accuracy:8.1f}  {interval:<14}{baseline:>12}"
                f"{row.count:8d}"
            )
        picked = self.rows[0].picked_on if self.rows else "nothing"
        lines.append(f"Picked on {picked}. T: to_dependent, G: from_governor, else from_dependent.")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        import html

        return f"<pre>{html.escape(str(self))}</pre>"

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls._restored(state, BestHead)


def best_heads(
    scores: RelationScores,
    /,
    *,
    picked_on: RelationScores | None = None,
    relations: Sequence[str] | None = None,
    min_count: int = 100,
    directions: Sequence[Direction] | None = None,
    offsets: Sequence[int] = OFFSETS,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> BestHeads:
    """The best head and the best fixed offset for each relation (Clark et al. 2019, Table 1).

    Args:
        scores: what the accuracies and intervals are of.
        picked_on: scores of other sentences, by the same model, to pick head, direction and offset on; None picks on
            `scores` itself, as the paper does, and says so.
        relations: which to show; None shows "all" and those with `min_count` words.
        min_count: the paper's code has 100.
        directions: those to pick from; None takes all that were scored.
        offsets: those to pick from; of equal ones the largest wins.
        level, resamples, seed: of the bootstrap over sentences.

    Raises:
        SelectionError: a relation that no word has, or a direction that was not scored.
        ValidationError: scores of another model, of other heads or options in `picked_on`; no directions or offsets.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, Sentence
        >>> from bertattn.heads import score_relations
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
        >>> weights = np.array([[[[0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.7, 0.1]]]])
        >>> a = AttentionTensor(weights, Axis(tree.words, word_ids=[0, 1, 2]), annotation=tree)
        >>> best = best_heads(score_relations([a] * 4), relations=["obj"])["obj"]
        >>> best.head, best.accuracy, best.offset, best.baseline
        ('1-1', 1.0, -1, 1.0)
    """
    _check_scores("scores", scores)
    source = scores if picked_on is None else picked_on
    _check_scores("picked_on", source)
    refuse_other_scores(scores, source)
    names = _relations(scores, relations, min_count)
    allowed = scores._allowed(directions)
    offsets = _checked_offsets(offsets)
    picks = [source._pick(name, allowed) for name in names]
    tried = [_pick_offset(source, name, offsets) for name in names]
    found, counts = [], []
    for name, cell in zip(names, picks, strict=True):
        right, words = scores.by_sentence(name)
        found.append(right.reshape(len(right), -1)[:, cell])
        counts.append(words)
    stability = [source._stability(name, allowed, cell, seed) for name, cell in zip(names, picks, strict=True)]
    return _table(
        scores,
        names,
        [scores._named(cell) for cell in picks],
        found,
        counts,
        tried,
        [scores.offset_by_sentence(name, offset=o).sum() for name, o in zip(names, tried, strict=True)],
        picked_on=_label(scores, picked_on),
        stability=stability,
        optimism=[float("nan")] * len(names),
        options={"level": level, "resamples": resamples, "seed": seed},
    )


def cross_fit(
    scores: RelationScores,
    /,
    *,
    folds: int = 5,
    by: By = "document",
    relations: Sequence[str] | None = None,
    min_count: int = 100,
    directions: Sequence[Direction] | None = None,
    offsets: Sequence[int] = OFFSETS,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> BestHeads:
    """As `best_heads`, but each fold is scored by the head and offset picked on the other folds.

    `optimism` is how much higher the accuracy would be if picked on the same words. Over many corpora the accuracy is
    right on average, but where all folds pick the same head (`stability` 1) it is that of the same words, and
    `optimism` is 0 by construction: that shows a clear winner, not that there was no luck. The interval takes the picks
    as given; where folds pick different heads it is too short. Where an interval must hold, use `split`.

    Args:
        scores: at least as many documents (or sentences) as folds.
        folds: how many parts.
        by: what is not torn apart: "document", or "sentence" where there are no documents.
        relations, min_count, directions, offsets, level, resamples, seed: as for `best_heads`; the seed also deals
            out the folds.

    Raises:
        ValidationError: fewer documents than folds, or none known.
        SelectionError: a relation that is missing from all folds but one.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, Sentence
        >>> from bertattn.heads import score_relations
        >>> words = ["Dogs", "chase", "cats"]
        >>> noise = np.random.default_rng(4).dirichlet(np.ones(3), size=(20, 4, 4, 3))  # twenty maps of sixteen heads
        >>> maps = []
        >>> for i, weights in enumerate(noise):
        ...     tree = Sentence(words, governors=[2, 0, 2], relations=["nsubj", "root", "obj"], document=f"{i}")
        ...     maps.append(AttentionTensor(weights, Axis(words, word_ids=[0, 1, 2]), annotation=tree))
        >>> scores = score_relations(maps)
        >>> best_heads(scores, relations=["obj"])["obj"].accuracy  # one of two words is right: chance is one half
        0.8
        >>> cross_fit(scores, relations=["obj"])["obj"].accuracy
        0.5
    """
    _check_scores("scores", scores)
    part = folds_of(scores, folds, by=by, seed=seed)
    names = _relations(scores, relations, min_count)
    allowed = scores._allowed(directions)
    offsets = _checked_offsets(offsets)
    rest = [scores.select(part != k) for k in range(folds)]
    heads, tried, found, counts, baselines, stability, optimism = [], [], [], [], [], [], []
    for name in names:
        right, words = scores.by_sentence(name)
        flat = right.reshape(len(right), -1)
        picks = np.array([others._pick(name, allowed) for others in rest])
        chosen = [_pick_offset(others, name, offsets) for others in rest]
        held_out = flat[np.arange(len(flat)), picks[part]]
        by_offset = {o: scores.offset_by_sentence(name, offset=o) for o in set(chosen)}
        cells, times = np.unique(picks, return_counts=True)
        found.append(held_out)
        counts.append(words)
        heads.append(scores._named(int(cells[times.argmax()])))
        tried.append(max(chosen, key=lambda o: (chosen.count(o), o)))
        baselines.append(sum(int(by_offset[o][part == k].sum()) for k, o in enumerate(chosen)))
        stability.append(float(times.max() / folds))
        same = flat[:, scores._pick(name, allowed)].sum()
        optimism.append(float((same - held_out.sum()) / words.sum()))
    return _table(
        scores,
        names,
        heads,
        found,
        counts,
        tried,
        baselines,
        picked_on="other folds",
        stability=stability,
        optimism=optimism,
        options={"level": level, "resamples": resamples, "seed": seed},
    )


def split(scores: Scores, /, *, share: float = 0.5, by: By = "document", seed: int = 0) -> tuple[Scores, Scores]:
    """Two parts, to pick heads on one and score them on the other: `best_heads(second, picked_on=first)`.

    Args:
        scores: `RelationScores` or `CoreferenceScores` of two documents (or sentences) at least.
        share: about how many of the sentences (of coreference, the documents) go to the first part; what is not torn
            apart makes it more or fewer.
        by: what is not torn apart; of coreference always documents.
        seed: of the choice.

    Raises:
        ValidationError: a share that is not between 0 and 1, one document only, or none known.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, Sentence
        >>> from bertattn.heads import score_relations
        >>> maps = []
        >>> for name in ("a", "b", "c", "d"):
        ...     tree = Sentence([name, "barks"], governors=[2, 0], relations=["nsubj", "root"], document=name)
        ...     weights = np.array([[[[0.1, 0.9], [0.6, 0.4]]]])
        ...     maps.append(AttentionTensor(weights, Axis(tree.words, word_ids=[0, 1]), annotation=tree))
        >>> first, second = split(score_relations(maps))
        >>> first.documents, second.documents
        (('a', 'c'), ('b', 'd'))
    """
    if not isinstance(scores, HeadScores):
        raise ValidationError(
            f"scores must be what score_relations or score_coreference gives, but is {type(scores).__name__}"
        )
    if not isinstance(share, int | float) or not 0 < share < 1:
        raise ValidationError(f"share must lie between 0 and 1, but is {share!r}")
    units = scores._groups(by)
    order = np.random.default_rng(seed).permutation(int(units.max(initial=-1)) + 1)
    if len(order) < 2:
        more = "; pass by='sentence'" if by != "sentence" and "sentence" in scores._dealt else ""
        raise ValidationError(f"{len(order)} {by} cannot be split in two{more}")
    sizes = np.cumsum(np.bincount(units)[order])[:-1]
    chosen = np.isin(units, order[: 1 + np.abs(sizes - share * len(units)).argmin()])
    return scores.select(chosen), scores.select(~chosen)


@dataclass(frozen=True)
class HeadTest:
    """One head and direction against the baseline.

    Args:
        head: its name, counted from 1.
        direction: its direction.
        accuracy: fraction of the words whose governor (of the mentions, whose antecedent) it finds.
        difference: how much that is above the baseline.
        p: one-sided, not adjusted.
        adjusted_p: for all heads and directions tested.
    """

    head: str
    direction: str
    accuracy: float
    difference: float
    p: float
    adjusted_p: float


@dataclass(frozen=True, repr=False)
class HeadTests(Rows):
    """Every head against one baseline; see `head_tests` and `coreference_tests`.

    Args:
        rows: a `HeadTest` each, the largest differences first.
        relation, count: of which words; of coreference the type of mention, and how many mentions.
        offset: the fixed offset that they were tested against; of coreference None.
        baseline: the baseline's accuracy.
        correction, resamples, seed: how.
        family_size: how many tests were made together.
        against: the baseline's name, "offset +1" or "same_head".
    """

    rows: tuple[HeadTest, ...]
    relation: str = "all"
    count: int = 0
    offset: int | None = 1
    baseline: float = float("nan")
    correction: str = "max-statistic"
    resamples: int = 9999
    seed: int = 0
    family_size: int = 0
    against: str = ""

    def better(self, *, alpha: float = 0.05) -> tuple[HeadTest, ...]:
        """Those that beat the baseline at this level, adjusted."""
        return tuple(row for row in self.rows if row.adjusted_p <= alpha)

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls._restored(state, HeadTest)


def head_tests(
    scores: RelationScores,
    relation: str,
    /,
    *,
    offset: int | None = None,
    directions: Sequence[Direction] | None = None,
    correction: Correction = "max-statistic",
    resamples: int = 9999,
    seed: int = 0,
) -> HeadTests:
    """Which heads find a relation better than a fixed offset does, all heads and directions at once.

    One-sided: heads below the baseline have a p near 1. An offset can "find" the root and a head cannot, so score
    relations that hold roots, "all" among them, with `root="exclude"`.

    Signs of the differences between head and baseline are flipped by sentence. "max-statistic" (Westfall and Young
    1993) uses that heads are alike; "holm" and "benjamini-hochberg" adjust the single p-values.

    Args:
        scores: of all heads.
        relation: its name, or "all".
        offset: the baseline; None takes the best on these same words, which is hard on the heads.
        directions: those to test; None takes all that were scored.
        correction: for the number of tests.
        resamples, seed: of the signs drawn.

    Raises:
        SelectionError: no word has the relation.
        ValidationError: another correction.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, Sentence
        >>> from bertattn.heads import score_relations
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
        >>> one = [[0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.7, 0.1]]
        >>> weights = np.array([[one, np.eye(3)]])  # the second head looks at each word itself
        >>> a = AttentionTensor(weights, Axis(tree.words, word_ids=[0, 1, 2]), annotation=tree)
        >>> tests = head_tests(score_relations([a] * 8), "obj", offset=1, directions=["from_dependent"])
        >>> [(test.head, test.difference, round(test.adjusted_p, 4)) for test in tests.rows]
        [('1-1', 1.0, 0.0039), ('1-2', 0.0, 1.0)]
    """
    _check_scores("scores", scores)
    _relations(scores, [relation], 0)
    chosen = _pick_offset(scores, relation, OFFSETS) if offset is None else offset
    base = scores.offset_by_sentence(relation, offset=chosen)
    return heads_against(
        scores,
        relation,
        base,
        scores.by_sentence(relation)[1],
        against=f"offset {chosen:+d}",
        offset=chosen,
        directions=directions,
        correction=correction,
        resamples=resamples,
        seed=seed,
    )


def heads_against(
    scores: HeadScores,
    label: str,
    base: Numpy,
    counts: Numpy,
    *,
    against: str,
    offset: int | None,
    directions: Sequence[Any] | None,
    correction: Correction,
    resamples: int,
    seed: int,
) -> HeadTests:
    """Every head against a baseline that finds `base` of `counts` items, int `[unit]`; signs are flipped by unit.

    Raises:
        ValidationError: another correction.
    """
    one_of("correction", correction, get_args(Correction))
    cells = np.flatnonzero(scores._allowed(directions))
    flat = scores._by_unit(label)[0][:, cells]
    differences = flat - base[:, None]
    if correction == "max-statistic":
        joint = max_statistic_test(differences, counts, resamples=resamples, seed=seed)
        single, adjusted = joint.p, joint.adjusted_p
    else:
        single = paired_permutation_test(differences, counts, resamples=resamples, seed=seed).p
        adjusted = adjust_pvalues(single, method=correction)
    n = int(counts.sum())
    accuracy = flat.sum(0) / n
    baseline = float(base.sum() / n)
    rows = [
        HeadTest(*scores._named(int(cell)), float(a), float(a - baseline), float(p), float(q))
        for cell, a, p, q in zip(cells, accuracy, single, adjusted, strict=True)
    ]
    rows.sort(key=lambda row: -row.difference)
    return HeadTests(tuple(rows), label, n, offset, baseline, correction, resamples, seed, len(rows), against)


@dataclass(frozen=True)
class Difference:
    """The best heads of two models on one relation.

    Args:
        relation, count: of which words.
        head_a, direction_a, accuracy_a: the first model's best head.
        head_b, direction_b, accuracy_b: the second's.
        difference: accuracy of a minus that of b.
        low, high: its bootstrap interval, paired by sentence.
        p: two-sided sign-flip test, by sentence.
        adjusted_p: Holm's adjustment for the number of relations.
    """

    relation: str
    count: int
    head_a: str
    direction_a: Direction
    accuracy_a: float
    head_b: str
    direction_b: Direction
    accuracy_b: float
    difference: float
    low: float
    high: float
    p: float
    adjusted_p: float


@dataclass(frozen=True, repr=False)
class Comparison(Rows):
    """Two models, relation by relation; see `compare`.

    Args:
        rows: a `Difference` each.
        model_a, model_b: their names.
        picked_on: "the same words", "overlapping words" or "other words", the nearest to the first of the two models'.
        level, resamples, seed: of intervals and tests.
    """

    rows: tuple[Difference, ...]
    model_a: str | None = None
    model_b: str | None = None
    picked_on: str = "the same words"
    level: float = 0.95
    resamples: int = 2000
    seed: int = 0

    @classmethod
    def _from_state(cls, state: dict[str, Any]) -> Self:
        return cls._restored(state, Difference)


def compare(
    a: RelationScores,
    b: RelationScores,
    /,
    *,
    picked_on: tuple[RelationScores, RelationScores] | None = None,
    relations: Sequence[str] | None = None,
    min_count: int = 100,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """The best heads of two models on the same sentences, relation by relation.

    Args:
        a, b: scores of the same words, counted in the same way.
        picked_on: scores of other sentences by either model, to pick its heads on; None picks on `a` and `b`
            themselves, which favours the model with more heads.
        relations, min_count: as for `best_heads`.
        level, resamples, seed: of intervals and tests; tests draw 9999 signs at least.

    Raises:
        ValidationError: other words, or other options.

    Examples:
        >>> from bertattn import AttentionTensor, Axis, Sentence
        >>> from bertattn.heads import score_relations
        >>> tree = Sentence(["Dogs", "chase", "cats"], governors=[2, 0, 2], relations=["nsubj", "root", "obj"])
        >>> one = [[0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.2, 0.7, 0.1]]
        >>> weights = np.array([[one, np.eye(3)]])  # the second head looks at each word itself
        >>> a = AttentionTensor(weights, Axis(tree.words, word_ids=[0, 1, 2]), annotation=tree)
        >>> models = (score_relations([a.select(heads=head)] * 8) for head in (0, 1))  # as if of two models
        >>> (row,) = compare(*models, relations=["obj"]).rows
        >>> row.accuracy_a, row.accuracy_b, row.difference, round(row.p, 4)
        (1.0, 0.0, 1.0, 0.0078)
    """
    _check_scores("a", a)
    _check_scores("b", b)
    for name in ("lengths", "position", "governor", "sentence"):
        if not np.array_equal(getattr(a, name), getattr(b, name)):
            raise ValidationError(
                f"the two scores are of other words (their {name} differ); score both models on the same sentences, "
                "and leave out those that one of them could not read"
            )
    named = [np.array(one.relations, dtype=object)[one.relation] for one in (a, b)]
    if not np.array_equal(named[0], named[1]):
        raise ValidationError("the two scores name the relations of the same words differently; score both on one file")
    for name in ("punct", "root", "subtypes"):
        if getattr(a, name) != getattr(b, name):
            raise ValidationError(
                f"the two scores count other words: {name} is {getattr(a, name)!r} and {getattr(b, name)!r}"
            )
    pick_a, pick_b = (a, b) if picked_on is None else picked_on
    refuse_other_scores(a, pick_a)
    refuse_other_scores(b, pick_b)
    names = _relations(a, relations, min_count)
    rows, found, counts = [], [], []
    for name in names:
        cells = (pick_a._pick(name, a._allowed(None)), pick_b._pick(name, b._allowed(None)))
        right_a, words = a.by_sentence(name)
        right_b, _ = b.by_sentence(name)
        of_a, of_b = right_a.reshape(len(words), -1)[:, cells[0]], right_b.reshape(len(words), -1)[:, cells[1]]
        n = int(words.sum())
        rows.append((name, n, *a._named(cells[0]), of_a.sum() / n, *b._named(cells[1]), of_b.sum() / n))
        found.append(of_a - of_b)
        counts.append(words)
    labels = {_label(a, pick_a), _label(b, pick_b)}
    label = next(one for one in ("the same words", "overlapping words", "other words") if one in labels)
    if not names:
        return Comparison((), a.source.model, b.source.model, label, level, resamples, seed)
    differences, denominators = np.stack(found, 1), np.stack(counts, 1)
    interval = bootstrap_ci(differences, denominators, level=level, resamples=resamples, seed=seed)
    p = paired_permutation_test(
        differences, denominators, alternative="two-sided", resamples=max(resamples, 9999), seed=seed
    ).p
    adjusted = adjust_pvalues(p, method="holm")
    made = [
        Difference(
            name,
            n,
            head_a,
            direction_a,
            float(x),
            head_b,
            direction_b,
            float(y),
            *(float(v[i]) for v in (interval.estimate, interval.low, interval.high, p, adjusted)),
        )
        for i, (name, n, head_a, direction_a, x, head_b, direction_b, y) in enumerate(rows)
    ]
    return Comparison(tuple(made), a.source.model, b.source.model, label, level, resamples, seed)


def _table(
    scores: RelationScores,
    names: Sequence[str],
    heads: Sequence[tuple[str, Direction]],
    found: Sequence[Numpy],
    counts: Sequence[Numpy],
    offsets: Sequence[int],
    baselines: Sequence[Any],
    *,
    picked_on: str,
    stability: Sequence[float],
    optimism: Sequence[float],
    options: dict[str, Any],
) -> BestHeads:
    counted: dict[str, Any] = {"punct": scores.punct, "root": scores.root, "subtypes": scores.subtypes}
    if not names:
        return BestHeads((), **options, **counted)
    interval = bootstrap_ci(np.stack(found, 1), np.stack(counts, 1), **options)
    rows = []
    for i, name in enumerate(names):
        n = int(counts[i].sum())
        rows.append(
            BestHead(
                relation=name,
                count=n,
                head=heads[i][0],
                direction=heads[i][1],
                accuracy=float(found[i].sum() / n),
                low=float(interval.low[i]),
                high=float(interval.high[i]),
                offset=offsets[i],
                baseline=float(baselines[i] / n),
                picked_on=picked_on,
                stability=stability[i],
                optimism=optimism[i],
                sentences=int((counts[i] > 0).sum()),
            )
        )
    return BestHeads(tuple(rows), **options, **counted)


def _relations(scores: RelationScores, asked: Sequence[str] | None, min_count: int) -> list[str]:
    if asked is None:
        marks = ("punct", "root")  # the paper's table has neither
        names = [n for n in scores.relation_names() if scores.count(n) >= min_count and n not in marks]
        return ["all", *names] if scores.count() else []
    if isinstance(asked, str):
        raise ValidationError(f"relations must be a sequence of names, but is {asked!r}; write [{asked!r}]")
    for name in asked:
        if not scores.count(name):
            raise SelectionError("no word is counted: none has a governor, or punct and root leave them all out")
    return list(asked)


def _pick_offset(scores: RelationScores, relation: str, offsets: Sequence[int]) -> int:
    """The offset that finds most words; of equal ones the largest."""
    return max(offsets, key=lambda o: (int(scores.offset_by_sentence(relation, offset=o).sum()), o))


def _checked_offsets(offsets: Sequence[int]) -> tuple[int, ...]:
    given = _arrays.column("offsets", offsets, entry="offset")
    if not given or not all(type(offset) is int for offset in given):
        raise ValidationError(f"offsets must be whole numbers, at least one, but are {offsets!r:.60}")
    return given


def _label(scores: RelationScores, picked_on: RelationScores | None) -> str:
    """Where the head was picked, by the names of documents and sentences: scores of a part are of the same words."""
    if picked_on is None or picked_on._same_as(scores):
        return "the same words"
    mine, theirs = (
        {(document, name) for document, name in zip(one.documents, one.ids, strict=True) if document and name}
        for one in (scores, picked_on)
    )
    if mine and mine <= theirs:
        return "the same words"
    return "overlapping words" if mine & theirs else "other words"


def _check_scores(name: str, value: object) -> None:
    if not isinstance(value, RelationScores):
        raise ValidationError(
            f"{name} must be what score_relations gives, but is a {type(value).__name__}; of heads.split take one part"
        )


def refuse_other_scores(a: Scores, b: Scores) -> None:
    """Heads picked on `b` must be those of `a`.

    Raises:
        ValidationError: other heads or options, or another model.
    """
    for name, one, other in a._differences(b):
        kind = f"another {name}" if name == "model" else f"other {name}"
        raise ValidationError(f"heads cannot be picked on scores of {kind}: {one!r} and {other!r}")
