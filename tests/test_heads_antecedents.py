"""Mentions with antecedents, and what simple rules choose: by hand, as plain loops, laws, and corpora."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertattn import Document, DocumentWindow, Sentence, readers
from bertattn.annotation import Mention
from bertattn.errors import SelectionError, StorageError, ValidationError
from bertattn.heads import antecedents
from bertattn.heads.antecedents import BASELINES, CANDIDATES, CoreferenceBaselines, coreference_baselines, instances_of
from bertattn.heads.mentions import MENTION_TYPES, mention_attributes, mention_heads, mention_types


def named(text: str, entities: dict[int | tuple[int, int], str], *, id: str | None = "d", **columns: Any) -> Document:  # noqa: A002
    """A document of one sentence; mentions by their word, or words [start, end)."""
    spans = {key if isinstance(key, tuple) else (key, key + 1): entity for key, entity in entities.items()}
    return Document(
        [Sentence(text.split(), **columns)], [Mention(*span, entity) for span, entity in spans.items()], id=id
    )


def window(document: Document) -> DocumentWindow:
    return DocumentWindow(document.sentences, document.mentions, document.id)


def chosen(document: Document, word: int, *order: int) -> int:
    """The word that the sieves choose for the mention whose head word is `word`."""
    x = window(document)
    heads = mention_heads(x)
    sieves = antecedents._sieves(x, heads)
    return int(antecedents._rule_based(sieves, order or (0, 1, 2, 3))[heads.words.index(word)])


# Words:  0    1   2   3      4    5   6   7    8
TALE = "Anna met Tom ; Tom saw her and Anna"
TALE_OF = {0: "Anna", 2: "Tom", 4: "Tom", 6: "Anna", 8: "Anna"}


# ---------------------------------------------------------------------------------------------------- worked by hand


def test_instances_by_hand() -> None:
    one = instances_of(window(named(TALE, TALE_OF)))
    assert one.head_word.tolist() == [4, 6, 8]
    assert one.start.tolist() == [4, 6, 8]
    assert one.end.tolist() == [5, 7, 9]
    assert [right.tolist() for right in one.right] == [[2], [0], [0, 6]]
    assert one.mention.tolist() == [2, 3, 4]
    assert one.mention_words.tolist() == [0, 2, 4, 6, 8]
    assert (one.mentions, one.same_head, one.by_fallback, one.dropped) == (5, 0, 0, 0)
    assert {MENTION_TYPES[i] for i in one.type} == {"unknown"}


def test_baselines_by_hand() -> None:
    """nearest: Tom, Tom (wrong), her. same head: Tom, none (wrong), Anna. Rules: Tom, Anna (a woman), Anna."""
    baselines = coreference_baselines([named(TALE, TALE_OF)])
    assert baselines.found.tolist() == [[True, True, True], [False, False, True], [True, True, True]]
    assert [baselines.accuracy(name) for name in BASELINES] == [2 / 3, 2 / 3, 1]
    assert baselines.answers.tolist() == [1, 1, 2]
    assert baselines.candidates.tolist() == [[8, 4, 2, 4], [8, 6, 3, 4], [8, 8, 4, 4]]
    assert baselines.chance() == pytest.approx((1 / 8 + 1 / 8 + 2 / 8) / 3)
    assert baselines.chance(candidates="mentions_prev") == pytest.approx((1 / 2 + 1 / 3 + 2 / 4) / 3)
    assert (baselines.windows, baselines.mentions, len(baselines), baselines.count()) == (1, 5, 3, 3)
    assert baselines.documents == ("d",)


def test_mentions_that_share_their_head_word_are_no_antecedents_of_each_other() -> None:
    tree = {"governors": [2, 4, 2, 0], "relations": ["det", "nsubj", "appos", "root"]}
    nested = named("the doctor Bovary left", {(0, 3): "B", (0, 2): "B", 3: "x"}, **tree)
    assert len(instances_of(window(nested)).mention) == 0
    assert instances_of(window(nested)).same_head == 1
    # With an earlier one both are instances, and neither is the other's answer.
    earlier = Document(
        [Sentence(["He"]), *nested.sentences], [Mention(0, 1, "B"), Mention(1, 4, "B"), Mention(1, 3, "B")]
    )
    one = instances_of(window(earlier))
    assert one.head_word.tolist() == [2, 2]
    assert one.end.tolist() == [3, 4]  # in order: the shorter first
    assert [right.tolist() for right in one.right] == [[0], [0]]
    assert (one.same_head, one.mention_words.tolist()) == (1, [0, 2])
    assert coreference_baselines([earlier]).same_head_mentions == 1
    assert coreference_baselines([earlier]).candidates.tolist() == [[4, 2, 1, 1]] * 2


def test_antecedents_are_those_whose_head_word_stands_before() -> None:
    """The mention that begins first has its head word last."""
    tree = {"governors": [2, 3, 4, 0], "relations": ["nmod:poss", "x", "x", "root"]}
    document = named("her own dear self", {(0, 4): "e", 0: "e"}, **tree)
    one = instances_of(window(document))
    assert (one.head_word.tolist(), one.start.tolist(), one.end.tolist()) == ([3], [0], [4])
    assert one.right[0].tolist() == [0]


def test_types_and_windows() -> None:
    upos = ["PROPN", "VERB", "NOUN", "PRON"]
    x = DocumentWindow(
        [Sentence(["Tom", "bought", "presents", "himself"], upos=upos)],
        [Mention(0, 1, "t"), Mention(3, 4, "t")],
        "d",
        first_word=100,
        dropped_mentions=2,
    )
    baselines = coreference_baselines([x])
    assert baselines.type_names() == ("pronoun",)
    assert baselines.count("pronoun") == 1
    assert (baselines.start.tolist(), baselines.end.tolist(), baselines.head_word.tolist()) == ([103], [104], [103])
    assert baselines.candidates.tolist() == [[3, 3, 1, 1]]  # counted within the window
    assert baselines.dropped_mentions == 2


# -------------------------------------------------------------------------------------------------------------- sieves


def test_sieve_of_the_same_words() -> None:
    #                0   1   2  3   4    5   6   7    8   9    10  11
    document = named("The old dog saw the dog and the old cat . the OLD dog", {(0, 3): "a", (4, 6): "b", (11, 14): "a"})
    assert chosen(document, 13) == 2  # the words, lower-cased, before the nearer head word
    assert chosen(document, 13, 1, 2, 3) == 5
    assert chosen(document, 5, 0) == -1


def test_sieve_of_the_same_head_word() -> None:
    document = named("a Dog met a cat . the dog", {(0, 2): "a", (3, 5): "b", (6, 8): "a"})
    assert chosen(document, 7) == 1
    assert chosen(document, 7, 2, 3) == 4
    baselines = coreference_baselines([document])
    assert baselines.found.tolist() == [[False, True, True]]


def test_sieve_of_attributes() -> None:
    """her: not Tom, who is a man, nor they, who are many, nor I, who speak."""
    document = named("Anna saw Tom and them . I like her", {0: "A", 2: "T", 4: "x", 6: "I", 8: "A"})
    assert chosen(document, 8) == 0
    assert chosen(document, 8, 3) == 6
    neutral = named("the doctor saw it . she smiled", {(0, 2): "A", 3: "x", 5: "A"})
    assert chosen(neutral, 5) == 1  # nothing known of the doctor conflicts


def test_the_last_sieve_lets_everything_through() -> None:
    document = named("Tom saw them . she smiled", {0: "A", 2: "x", 4: "A"})
    assert chosen(document, 4, 0, 1, 2) == -1
    assert chosen(document, 4) == 2
    assert chosen(document, 0) == -1  # nothing stands before


def test_mentions_at_one_head_word_are_not_before_each_other() -> None:
    document = named(
        "Anna and Anna", {(0, 3): "both", 0: "A", 2: "A"}, governors=[0, 3, 1], relations=["root", "cc", "conj"]
    )
    assert mention_heads(document).words == (0, 0, 2)
    x = window(document)
    assert antecedents._sieves(x, mention_heads(x)).tolist() == [[-1] * 4, [-1] * 4, [0, 0, 0, 0]]


# ---------------------------------------------------------------------------------------------------- plain loops, laws

WORDS = ("Anna", "anna", "Tom", "he", "She", "it", "dog", "dogs", "the", "of", "I", "they")


@st.composite
def documents(draw: Any, *, max_words: int = 12, ids: tuple[str | None, ...] = ("a", "b", None)) -> Document:
    n = draw(st.integers(1, max_words))
    words = draw(st.lists(st.sampled_from(WORDS), min_size=n, max_size=n))
    upos = draw(st.none() | st.lists(st.sampled_from(("PRON", "PROPN", "NOUN", None)), min_size=n, max_size=n))
    spans: dict[tuple[int, int, str], Mention] = {}
    for _ in range(draw(st.integers(0, 10))):
        start = draw(st.integers(0, n - 1))
        end = draw(st.integers(start + 1, min(n, start + 3)))
        entity = draw(st.sampled_from(("x", "y", "z")))
        head = draw(st.none() | st.integers(start, end - 1))
        kind = draw(st.sampled_from((None, "person", "place")))
        spans[start, end, entity] = Mention(start, end, entity, head=head, type=kind)
    return Document([Sentence(words, upos=upos)], list(spans.values()), id=draw(st.sampled_from(ids)))


def plainly(document: Document) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """For each instance its answers, sizes of candidates and what is found, as loops over pairs of mentions."""
    forms = [word.lower() for word in document.words]
    heads = mention_heads(document)
    types, attributes = mention_types(document, heads), mention_attributes(document, heads)
    mentions = [(m, h) for m, h in zip(document.mentions, heads.words, strict=True)]
    found = {}
    for i, (m, head) in enumerate(mentions):
        answers = {h for other, h in mentions if other.entity == m.entity and h < head}
        if not answers:
            continue
        before = sorted((h, j) for j, (_, h) in enumerate(mentions) if h < head)
        sizes = (len(forms) - 1, head, len({h for h, _ in before}), len({h for _, h in mentions if h != head}))
        text = [forms[w] for w in m.words]
        passing = (
            [h for h, j in before if [forms[w] for w in mentions[j][0].words] == text],
            [h for h, _ in before if forms[h] == forms[head]],
            [h for h, j in before if attributes[i].compatible(attributes[j])],
            [h for h, _ in before],
        )
        first = next(sieve for sieve in passing if sieve)
        picks = (passing[3][-1], passing[1][-1] if passing[1] else None, first[-1])
        key = (MENTION_TYPES.index(types[i]), m.start, m.end, head, m.entity)
        found[key] = (len(answers), sizes, tuple(pick in answers for pick in picks))
    return found


def collected(part: Sequence[Document | DocumentWindow]) -> CoreferenceBaselines:
    """As `coreference_baselines`, of documents without mentions too."""
    windows = [window(x) if isinstance(x, Document) else x for x in part]
    return antecedents.joined([antecedents.baselines_of_window(x, instances_of(x)) for x in windows])[0]


def apart(corpus: list[Document]) -> list[DocumentWindow]:
    """As windows without common words."""
    return [dataclasses.replace(window(x), first_word=20 * i) for i, x in enumerate(corpus)]


@given(documents(ids=("a",)))
def test_agrees_with_plain_loops(document: Document) -> None:
    one = instances_of(window(document))
    baselines = collected([document])
    entities = [document.mentions[i].entity for i in one.mention]
    seen = {
        (*(int(getattr(baselines, name)[i]) for name in ("type", "start", "end", "head_word")), entities[i]): (
            int(baselines.answers[i]),
            tuple(baselines.candidates[i].tolist()),
            tuple(baselines.found[i].tolist()),
        )
        for i in range(len(baselines))
    }
    assert len(seen) == len(baselines)
    assert seen == plainly(document)


@given(documents())
def test_the_last_sieve_alone_is_nearest_and_the_second_alone_same_head(document: Document) -> None:
    x = window(document)
    one = instances_of(x)
    sieves = antecedents._sieves(x, one.heads)[one.mention]
    found = antecedents._baselines_of(x, one)
    for order, column in (((3,), 0), ((1,), 1)):
        picks = antecedents._rule_based(sieves, order)
        assert [pick in right for pick, right in zip(picks, one.right, strict=True)] == found[:, column].tolist()
    assert (antecedents._rule_based(sieves) >= 0).all()
    assert (sieves < one.head_word[:, None]).all()


@given(documents())
def test_how_many_instances_there_are(document: Document) -> None:
    one = instances_of(window(document))
    heads = mention_heads(document).words
    sizes: dict[str, list[int]] = {}
    for mention, head in zip(document.mentions, heads, strict=True):
        sizes.setdefault(mention.entity, []).append(head)
    before_filtering = sum(len(words) - 1 for words in sizes.values())
    tied = sum(words.count(min(words)) - 1 for words in sizes.values())  # these have no other antecedent
    assert len(one.mention) == before_filtering - tied
    if one.same_head == 0:
        assert len(one.mention) == before_filtering


@given(documents(), st.data())
def test_unrelated_mentions_change_no_instance(document: Document, data: Any) -> None:
    word = data.draw(st.integers(0, len(document) - 1))
    more = dataclasses.replace(document, mentions=(*document.mentions, Mention(word, word + 1, "nobody else")))
    a, b = (instances_of(window(x)) for x in (document, more))
    for name in ("head_word", "start", "end", "type"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()
    assert [right.tolist() for right in a.right] == [right.tolist() for right in b.right]
    assert b.mentions == a.mentions + 1


@given(documents(), st.randoms(use_true_random=False))
def test_the_order_of_mentions_does_not_matter(document: Document, random: Any) -> None:
    mentions = list(document.mentions)
    random.shuffle(mentions)
    shuffled = dataclasses.replace(document, mentions=mentions)
    assert collected([document]) == collected([shuffled])


@given(st.lists(documents(), min_size=1, max_size=6).map(apart), st.integers(0, 6))
def test_parts_add_to_the_whole(corpus: list[DocumentWindow], at: int) -> None:
    whole = collected(corpus)
    assert collected(corpus[:at]) + collected(corpus[at:]) == whole
    assert sum(collected([document]) for document in corpus) == whole
    assert len(whole.documents) == len({d.document for d in corpus} - {None}) + sum(d.document is None for d in corpus)
    assert whole.mentions == sum(len(document.mentions) for document in corpus)
    # Document by document again.
    parts = [whole.select([i]) for i in range(len(whole.documents))]
    if None not in whole.documents:
        assert sum(parts) == whole
    assert sum(part.windows for part in parts) == whole.windows == len(corpus)
    found, counts = whole.by_document()
    assert counts.tolist() == [part.count() for part in parts]
    assert found.sum(0).tolist() == whole.found.sum(0).tolist()


@given(st.lists(documents(), min_size=1, max_size=4).map(apart))
def test_saved_and_loaded(corpus: list[DocumentWindow]) -> None:
    baselines = collected(corpus)
    assert CoreferenceBaselines._from_state(baselines._state()) == baselines
    for name in CANDIDATES:
        chance = baselines.chance(candidates=name)
        assert math.isnan(chance) if not len(baselines) else 0 < chance <= 1


def test_the_order_of_joined_parts() -> None:
    a, b = (coreference_baselines([named(TALE, TALE_OF, id=name)]) for name in ("a", "b"))
    more = collected([dataclasses.replace(window(named(TALE, TALE_OF, id="a")), first_word=50)])
    whole, order = antecedents.joined([a, b, more])
    assert order.tolist() == [0, 1, 2, 6, 7, 8, 3, 4, 5]
    assert whole.documents == ("a", "b")
    assert whole.document.tolist() == [0] * 6 + [1] * 3
    assert whole.tallies[:, 0].tolist() == [2, 1]
    assert whole == a + b + more
    for twice in (lambda: a + a, lambda: sum([b, more, a, b])):
        with pytest.raises(ValidationError, match=r"words of the document '[ab]' are counted twice, or two documents"):
            twice()
    assert a + b != b + a
    assert a != "a"


# ------------------------------------------------------------------------------------------------- the value, its table


def test_files_and_tables(tmp_path: Path) -> None:
    upos = ["PROPN", "VERB", "PROPN", "PUNCT", "PROPN", "VERB", "PRON", "CCONJ", "PROPN"]
    baselines = coreference_baselines([named(TALE, TALE_OF, id=name, upos=upos) for name in ("a", "b", None)])
    baselines.save(tmp_path / "baselines.json")
    assert CoreferenceBaselines.load(tmp_path / "baselines.json") == baselines
    assert baselines.documents == ("a", "b", None)
    assert repr(baselines) == "CoreferenceBaselines(9 instances in 3 documents, rule-based 100.0%)"
    assert str(baselines).splitlines() == [
        repr(baselines),
        "            All                     Pronoun                 Proper",
        "nearest      66.7 (66.7 to 66.7)      0.0 (0.0 to 0.0)      100.0 (100.0 to 100.0)",
        "same_head    66.7 (66.7 to 66.7)      0.0 (0.0 to 0.0)      100.0 (100.0 to 100.0)",
        "rule_based  100.0 (100.0 to 100.0)  100.0 (100.0 to 100.0)  100.0 (100.0 to 100.0)",
        "chance       16.7                    12.5                    18.8",
        "n               9                       3                       6",
        "95% intervals over documents. Chance: any other word of the window.",
    ]
    assert baselines._repr_html_() == f"<pre>{baselines}</pre>"
    records = baselines.to_records()
    assert [(row["type"], row["baseline"]) for row in records[:4]] == [
        *(("all", name) for name in BASELINES),
        ("pronoun", "nearest"),
    ]
    assert records[0] == {
        "type": "all",
        "baseline": "nearest",
        "count": 9,
        "accuracy": 2 / 3,
        "low": pytest.approx(2 / 3),
        "high": pytest.approx(2 / 3),
    }
    assert len(baselines.to_frame()) == len(records) == 9
    baselines.to_csv(tmp_path / "baselines.csv")
    with pytest.raises(StorageError):
        CoreferenceBaselines.load(tmp_path / "baselines.csv")


def test_intervals_are_of_documents() -> None:
    good = named("he saw him", {0: "A", 2: "A"}, id="good")
    bad = named("Tom saw them . she smiled", {0: "A", 2: "x", 4: "A"}, id="bad")
    baselines = coreference_baselines([good, bad])
    ci = baselines.interval("nearest", level=0.9, resamples=200, seed=3)
    assert (float(ci.estimate), float(ci.low), float(ci.high)) == (0.5, 0, 1)
    assert (ci.level, ci.resamples, ci.seed, ci.units) == (0.9, 200, 3, 2)
    assert np.isnan(coreference_baselines([good]).interval("nearest").low)


def test_guessed_head_words_are_told() -> None:
    document = named("the dog of Tom saw the dog", {(0, 4): "d", (5, 7): "d"})
    baselines = coreference_baselines([document])
    assert baselines.heads_by_fallback == 2
    assert "the window. 2 head words were guessed." in str(baselines)


def test_no_instances() -> None:
    baselines = coreference_baselines([named("Anna met Tom", {0: "a", 2: "b"}), Document([Sentence(["Yes"])])])
    assert (len(baselines), baselines.count(), baselines.type_names(), baselines.mentions) == (0, 0, (), 2)
    assert math.isnan(baselines.accuracy("nearest"))
    assert math.isnan(baselines.chance())
    assert str(baselines) == repr(baselines) == "CoreferenceBaselines(0 instances in 2 documents)"
    assert [row["count"] for row in baselines.to_records()] == [0, 0, 0]
    assert all(math.isnan(row["low"]) for row in baselines.to_records())
    assert np.isnan(baselines.interval("nearest").estimate)
    assert CoreferenceBaselines._from_state(baselines._state()) == baselines
    nothing = collected([])
    assert (nothing.documents, nothing.windows, len(nothing)) == ((), 0, 0)
    assert nothing + baselines == baselines + nothing == baselines
    assert nothing.to_records()[0]["count"] == 0
    assert str(nothing) == "CoreferenceBaselines(0 instances in 0 documents)"


def test_select() -> None:
    corpus = [named(TALE, TALE_OF, id=name) for name in "abc"]
    baselines = coreference_baselines(corpus)
    assert baselines.select([0, 2]) == baselines.select([2, 0, 0]) == coreference_baselines([corpus[0], corpus[2]])
    assert baselines.select([True, False, True]) == baselines.select(np.array([0, -1])) == baselines.select([0, 2])
    assert len(baselines.select([])) == baselines.select([]).mentions == 0
    for asked in ([3], [True, False], [-4]):
        with pytest.raises(
            SelectionError, match="documents must be numbers from 0 to 2, or one True or False for each"
        ):
            baselines.select(asked)


def test_a_value_cannot_be_changed() -> None:
    baselines = coreference_baselines([named(TALE, TALE_OF)])
    for name in ("document", "type", "start", "end", "head_word", "answers", "candidates", "found", "tallies"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(baselines, name)[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        baselines.documents = ()  # type: ignore[misc]
    with pytest.raises(TypeError):
        hash(baselines)
    with pytest.raises(TypeError):
        baselines + 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        sum([baselines], start=1)


# -------------------------------------------------------------------------------------------------------------- errors


def test_what_is_no_corpus() -> None:
    document = named(TALE, TALE_OF)
    for one in (document, window(document)):
        with pytest.raises(ValidationError, match=f"documents is one {type(one).__name__}; give a list"):
            coreference_baselines(one)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="there are no documents; was an iterator read to its end before"):
        coreference_baselines([])
    with pytest.raises(
        ValidationError, match=r"windows of them, but got Sentence.*read some with readers.read_corefud"
    ):
        coreference_baselines([document, document.sentences[0]])  # type: ignore[list-item]
    with pytest.raises(ValidationError, match="none of the 2 documents has a mention; read their coreference too"):
        coreference_baselines([Document(document.sentences)] * 2)


def test_what_is_not_there_is_named() -> None:
    baselines = coreference_baselines([named(TALE, TALE_OF)])
    calls = (baselines.count, baselines.chance, baselines.by_document, lambda t: baselines.accuracy("nearest", t))
    for call in (*calls, lambda t: baselines.interval("nearest", t)):
        with pytest.raises(SelectionError, match="no instance has the type 'proper'; there are all, unknown"):
            call("proper")
    for call in (baselines.accuracy, baselines.interval):
        with pytest.raises(
            ValidationError, match="baseline must be one of 'nearest', 'same_head', 'rule_based', but is"
        ):
            call("neural")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"candidates must be one of 'words_other', .* but is 'words'"):
        baselines.chance(candidates="words")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": [1]}, r"start has shape \(1,\) but 3 instances in 1 documents need \(3,\)"),
        ({"found": [[True] * 2] * 3}, r"found has shape \(3, 2\) but .* need \(3, 3\)"),
        ({"candidates": []}, r"candidates has shape \(0,\) but .* need \(3, 4\)"),
        ({"tallies": [[1] * 5] * 2}, r"tallies has shape \(2, 5\) but .* need \(1, 5\)"),
        ({"document": [0, 0, 1]}, "document must number from 0 to 0, but goes to 1"),
        ({"type": [0, 1, 4]}, "type must number from 0 to 3, but goes to 4"),
        (
            {"documents": ("a", "b"), "document": [0, 1, 0], "tallies": [[1] * 5] * 2},
            "the instances must stand in the order of their documents",
        ),
        ({"documents": ("a", "a"), "tallies": [[1] * 5] * 2}, "documents must have different names, or None"),
        ({"answers": [0, 1, 1]}, "each instance must have an answer, and no more answers than candidates"),
        ({"answers": [1, 1, 5]}, "each instance must have an answer, and no more answers than candidates"),
        ({"documents": "a"}, "documents must be a sequence, one entry a document"),
    ],
)
def test_columns_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    baselines = coreference_baselines([named(TALE, TALE_OF)])
    with pytest.raises(ValidationError, match=message):
        dataclasses.replace(baselines, **changes)


# ------------------------------------------------------------------------------------------------------------- corpora


def percent(baselines: CoreferenceBaselines, name: str) -> tuple[Any, ...]:
    """Count, and the accuracies of the baselines as a table has them."""
    return baselines.count(name), *(f"{100 * baselines.accuracy(baseline, name):.1f}" for baseline in BASELINES)


def test_gum_dev(data_dir: Path) -> None:
    """Whole documents: more mentions stand in between than in the paper's windows of 128 tokens."""
    paths = sorted((data_dir / "coref").glob("gum_open_by*/dev/dep/*.conllu"))
    corpus = [document for path in paths for document in readers.read_corefud(path)]
    baselines = coreference_baselines(corpus)
    assert {name: percent(baselines, name) for name in ("all", *baselines.type_names())} == GUM_DEV
    assert (baselines.windows, baselines.mentions, baselines.heads_by_fallback) == (20, 5133, 0)
    for document in corpus[:3]:
        (one,) = coreference_baselines([document]).documents
        assert one == document.id
        assert percent(coreference_baselines([document]), "all")[0] == len(plainly(document))
    low = baselines.chance(candidates="words_other")
    assert low < baselines.chance(candidates="words_prev") < baselines.chance(candidates="mentions_prev")


GUM_DEV = {
    "all": (2564, "16.7", "61.9", "72.9"),
    "pronoun": (1161, "19.4", "60.6", "69.1"),
    "proper": (366, "13.7", "74.6", "87.2"),
    "nominal": (1037, "14.8", "59.0", "72.0"),
}


def test_litbank(data_dir: Path) -> None:
    paths = sorted((data_dir / "coref" / "litbank" / "sample").glob("*.conll"))
    baselines = coreference_baselines(document for path in paths for document in readers.read_conll2012(path))
    assert {name: percent(baselines, name) for name in ("all", "unknown")} == dict.fromkeys(
        ("all", "unknown"), (1012, "40.8", "68.4", "74.4")
    )
    assert (baselines.mentions, baselines.heads_by_fallback) == (1360, 492)


def test_winobias(data_dir: Path) -> None:
    """Only the pronoun and what it stands for are mentions: the nearest one is right, but its head word another."""
    corpus = readers.read_conll2012(data_dir / "coref" / "winobias" / "dev_type1_pro_stereotype.v4_auto_conll")
    baselines = coreference_baselines(corpus)
    assert baselines.windows == 396
    assert baselines.count() >= 396
    assert [baselines.accuracy(name) for name in ("nearest", "rule_based")] == [1, 1]
    assert baselines.accuracy("same_head") < 0.05
