"""Reports: the sections on gradients and on clusters of heads."""

from __future__ import annotations

import csv
import dataclasses
import functools
import html
import itertools
import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tr

import bertattn as ba
import model_zoo
from bertattn import attribution, report
from bertattn.attribution import CausalLM, Contrastive, MaskedLM, gradient_importance, gradients
from bertattn.clustering import HeadDistances, cluster_heads, head_distances, label_behaviors, layer_closeness
from bertattn.errors import StorageError
from bertattn.report import _clusters, _gradients, _keeping, _page, _probes
from bertattn.statistics import Summary

pytest.importorskip("matplotlib")

LINES = ("The cat sat on the mat.", "A dog, a cat.", "The dog ran, and the mat was red.")
PAIRS = [ba.TextPair("The cat sat.", "It ran."), ba.TextPair("Snow falls.", "A dog."), ba.TextPair("A mat.", "Red.")]
COLUMNS = {"all unmasked tokens": "unmasked", "[SEP]": "sep", ". or ,": "punctuation", "[CLS]": "cls"}
COLUMNS |= {"other tokens": "other"}


@cache
def extractor(kind: str, name: str, **config: int) -> ba.Extractor:
    """A model of the zoo with another head, or with other sizes."""
    base, tokenizer = model_zoo.build(name)
    settings = type(base.config)(**(base.config.to_dict() | config))
    torch.manual_seed(0)
    model = getattr(tr, kind)(settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return ba.Extractor(model.eval(), tokenizer)


def saved(ext: ba.Extractor, folder: Path) -> Path:
    ext._whole.save_pretrained(folder)
    ext.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def words_of(made: report.Report) -> str:
    source = made.files[0].read_text(encoding="utf-8")
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]+>", "", source, flags=re.DOTALL)).split())


def record_of(made: report.Report) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((made.folder / "report.json").read_text(encoding="utf-8"))
    return value


def rows_of(made: report.Report, name: str) -> list[dict[str, str]]:
    with (made.folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measured(made: report.Report) -> tuple[Summary, HeadDistances]:
    assert made.results.gradients is not None
    assert made.results.distances is not None
    return made.results.gradients, made.results.distances


def the_table_is_that_of(summary: Summary, made: report.Report) -> None:
    """By plain loops: the mean over heads of each category's sum, and of its interval."""
    rows = rows_of(made, "gradients.csv")
    assert [int(row["layer"]) for row in rows] == [layer + 1 for layer in summary.layers]
    for i, row in enumerate(rows):
        for prefix, quantity in (("", "gradient"), ("a·∂L/∂a, ", "attention_x_gradient")):
            for column, category in COLUMNS.items():
                name = f"{quantity}/{category}/sum_queries/all"
                if np.isnan(summary.mean(name)).all():
                    assert f"{prefix}{column}" not in row
                    continue
                low, high = summary.interval(name)
                for ending, values in (("", summary.mean(name)), (" low", low), (" high", high)):
                    expected = sum(values[i].tolist()) / len(summary.heads)
                    assert float(row[f"{prefix}{column}{ending}"]) == pytest.approx(expected, rel=1e-12)


# The numbers


def test_a_masked_language_model_by_name(text: Path, tmp_path: Path) -> None:
    model = saved(extractor("BertForMaskedLM", "bert"), tmp_path / "model")
    made = report.run(model, tmp_path / "out", text=text, unit="line", batch_size=2)
    ext = ba.Extractor.from_pretrained(model, head="masked_lm")
    found, _ = measured(made)
    assert found == gradient_importance(gradients(ext, LINES, objective=MaskedLM(), batch_size=2))
    assert Summary.load(made.folder / "gradient_importance.json") == found
    assert len(rows_of(made, "gradient_importance.csv")) == 12 * len(found.statistics)
    the_table_is_that_of(found, made)
    names = {path.name for path in made.files}
    assert {
        f"{name}.{end}" for name in ("figure3", "attention_x_gradient", "figure6") for end in ("svg", "png")
    } < names
    page = words_of(made)
    assert "with 15% of the tokens hidden as in BERT's training" in page
    assert "In the last layer only the tokens at which something is predicted can change the loss" in page
    assert " low" not in page[page.index("The numbers of both figures") :][:300]
    record = record_of(made)["gradients"]
    assert record == {"objective": f"gradients(objective={MaskedLM()!r})", "sequences": 3, "skipped": []}
    means = found.mean("gradient/unmasked/sum_queries/all").mean(1)
    most, least = means.argmax(), means.argmin()
    [line] = [line for line in made.highlights if line.startswith("|∂L/∂a| per token attended to is largest in layer")]
    assert line.startswith(f"|∂L/∂a| per token attended to is largest in layer {most + 1} on average: ")
    assert f"{means[most]:.2g} (95% CI " in line
    assert line.endswith(f"and smallest in layer {least + 1}: {means[least]:.2g}.")


def test_the_clusters_are_those_of_the_functions(tmp_path: Path) -> None:
    ext = extractor("BertModel", "bert")
    made = report.run(ext, tmp_path / "out", inputs=LINES, batch_size=2)
    distances = head_distances(ext.extract(LINES, batch_size=2))
    assert made.results.distances == distances
    assert HeadDistances.load(made.folder / "head_distances.json") == distances
    assert len(rows_of(made, "head_distances.csv")) == 12 * 11 // 2
    matrix = distances.matrix()
    groups = cluster_heads(distances, clusters=6, linkage="ward", sqrt=True)
    rows = rows_of(made, "head_clusters.csv")
    assert [row["which"].split(", ") for row in rows] == [list(groups.members(k + 1)) for k in range(6)]
    for row in rows:
        places = [distances.names.index(name) for name in row["which"].split(", ")]
        pairs = [matrix[i, j] for i, j in itertools.combinations(places, 2)]
        assert int(row["heads"]) == len(places)
        assert (float(row["mean distance"]) == pytest.approx(np.mean(pairs))) if pairs else row["mean distance"] == ""
        assert sum(int(part.rsplit(" ", 1)[1]) for part in row["labels"].split(", ")) == len(places)
    assert made.results.surface is not None
    labels = label_behaviors(made.results.surface)
    shown = {"broad": "broad", None: "none of these", "punctuation": ". or ,", "sep": "[SEP]", "cls": "[CLS]"}
    expected = {shown[label]: str(n) for label, n in labels.counts().items() if n}
    assert {row["behaviour"]: row["heads"] for row in rows_of(made, "head_labels.csv")} == expected
    assert [row["label"] for row in rows_of(made, "head_behaviors.csv")] == [label or "" for label in labels.labels]
    assert "nearest_heads.csv" not in {path.name for path in made.files}  # no head has a relation as its label
    closeness = layer_closeness(distances)
    pair = min(itertools.combinations(range(12), 2), key=lambda pair: matrix[pair])
    line = made.highlights[-1]
    assert f"each other ({closeness.within:.3g} nats on average) than to those of other layers " in line
    assert f"({closeness.between:.3g}; permutation test of 9,999, p = {closeness.p:.2f})" in line
    assert f"most alike are {distances.names[pair[0]]} and {distances.names[pair[1]]} ({matrix[pair]:.3g} nats" in line
    settings = record_of(made)["settings"]["clusters"]
    assert settings["weighting"] == "query"
    assert settings["clusters"] == {"clusters": 6, "linkage": "ward", "sqrt": True}
    assert settings["layers"] == {"permutations": 9999, "seed": 0}
    assert settings["labels"] == {"thresholds": labels.thresholds, "picked_on": {}}


def test_a_causal_model_by_name(text: Path, tmp_path: Path) -> None:
    model = saved(extractor("GPT2LMHeadModel", "gpt2"), tmp_path / "model")
    made = report.run(model, tmp_path / "out", text=text, unit="line")
    found, distances = measured(made)
    ext = ba.Extractor.from_pretrained(model, head="causal_lm")
    assert found == gradient_importance(gradients(ext, LINES, objective=CausalLM()))
    assert distances == head_distances(ext.extract(LINES))
    the_table_is_that_of(found, made)
    assert set(rows_of(made, "gradients.csv")[0]) & {"[SEP]", "[CLS]"} == set()  # GPT-2 has neither
    assert "the loss of the language model, which predicts each next token" in words_of(made)
    assert {row["behaviour"] for row in rows_of(made, "head_labels.csv")} <= {"broad", "none of these"}


def test_pairs_of_passages_need_no_head(tmp_path: Path) -> None:
    ext = extractor("BertModel", "bert")
    made = report.run(ext, tmp_path / "out", inputs=PAIRS, batch_size=2)
    found, _ = measured(made)
    assert found == gradient_importance(gradients(ext, PAIRS, objective=Contrastive(), batch_size=2))
    assert found.sequences == 3
    the_table_is_that_of(found, made)
    page = words_of(made)
    assert "this model has no language-modelling head" in page
    assert "In the last layer only" not in page


def test_a_model_without_the_interface_gives_gradients_where_it_shows_its_own_maps(tmp_path: Path) -> None:
    ext = extractor("DebertaV2ForMaskedLM", "deberta-v2")
    made = report.run(ext, tmp_path / "out", inputs=LINES)
    found, _ = measured(made)
    assert found == gradient_importance(gradients(ext, LINES, objective=MaskedLM()))


# What cannot be shown


NO_HEAD = "the model has no language-modelling head whose loss could be differentiated, and the inputs are no pairs"


@pytest.mark.parametrize(
    ("kind", "name", "inputs", "why"),
    [
        pytest.param("BertModel", "bert", [[2, 7, 8, 3], [2, 7, 3]], NO_HEAD, id="token ids and no head"),
        pytest.param("BertModel", "bert", [PAIRS[0], "A dog."], NO_HEAD, id="not all are pairs"),
        pytest.param("BertModel", "bert", PAIRS[:1], "there is a single one; give at least two", id="one pair"),
        pytest.param(
            "LongformerForMaskedLM", "longformer", LINES, "the model hands out copies of its maps", id="copies"
        ),
        pytest.param("GPT2LMHeadModel", "gpt2", [[5], [7]], "no input gives a loss: there is a single", id="one token"),
        pytest.param("T5ForConditionalGeneration", "t5", LINES, "makes of a source and a target", id="source alone"),
    ],
)
def test_without_gradients_the_page_says_why_and_what_to_give(
    kind: str, name: str, inputs: list[Any], why: str, tmp_path: Path
) -> None:
    made = report.run(extractor(kind, name), tmp_path / "out", inputs=inputs)
    record = record_of(made)
    assert "gradients" in record["missing"]
    assert why in record["too_little"]["gradients"]
    said = f"Not measured: {record['too_little']['gradients']}. Give a text to a model with its language-modelling head"
    assert said in words_of(made)
    assert made.results.gradients is made.results.objective is None
    names = {path.name for path in made.files}
    assert not names & {"figure3.png", "gradients.csv", "gradient_importance.csv"}
    assert "gradients" not in record
    assert "figure6.png" in names


def test_one_text_has_no_interval(tmp_path: Path) -> None:
    made = report.run(extractor("BertForMaskedLM", "bert"), tmp_path / "out", inputs=LINES[:1])
    row = rows_of(made, "gradients.csv")[0]
    assert float(row["[SEP]"]) > 0
    assert row["[SEP] low"] == row["[SEP] high"] == ""
    assert any("(no interval: one text), and smallest in layer" in line for line in made.highlights)
    assert "nats, no standard error: one text)." in made.highlights[-1]
    assert "nan" not in words_of(made)


SMALL = [
    pytest.param({"num_hidden_layers": 1}, 4, id="one layer"),
    pytest.param({"num_attention_heads": 1}, 3, id="one head a layer"),
    pytest.param({"num_hidden_layers": 1, "num_attention_heads": 1}, 1, id="one head"),
]


@pytest.mark.parametrize(("config", "heads"), SMALL)
def test_models_without_layers_to_compare(config: dict[str, int], heads: int, tmp_path: Path) -> None:
    made = report.run(extractor("BertForMaskedLM", "bert", **config), tmp_path / "out", inputs=LINES)
    assert record_of(made)["settings"]["clusters"]["layers"] is None
    assert sum(int(row["heads"]) for row in rows_of(made, "head_clusters.csv")) == heads
    assert (made.folder / "figure6.svg").is_file()
    alike = [line for line in made.highlights if "most alike" in line]
    assert len(alike) == (heads > 1)
    assert all(line.startswith("The two heads most alike are ") for line in alike)
    by_layer = [
        line for line in made.highlights if line.startswith("|∂L/∂a| per token attended to is largest in layer")
    ]
    assert len(by_layer) == ("num_hidden_layers" not in config)


def test_tokens_that_are_all_to_be_predicted_have_no_highlight(tmp_path: Path) -> None:
    made = report.run(extractor("BertForMaskedLM", "bert"), tmp_path / "out", inputs=[[7], [8]])
    found, _ = measured(made)
    assert np.isnan(found.mean("gradient/unmasked/sum_queries/all")).all()
    assert not any(line.startswith("Attention matters") for line in made.highlights)


@pytest.mark.parametrize(
    ("between", "p", "says"),
    [(0.4, 0.01, "closer"), (0.4, 0.05, "not clearly closer"), (0.2, 0.5, "no closer"), (0.1, 0.99, "no closer")],
)
def test_whether_heads_of_a_layer_are_alike_in_words(between: float, p: float, says: str) -> None:
    found = layer_closeness(np.ones((4, 4)) - np.eye(4), shape=(2, 2), permutations=9)
    found = dataclasses.replace(found, within=0.2, between=between, p=p)
    assert _clusters._verdict(found) == f"{says} to each other"


def test_a_small_p_has_its_digits() -> None:
    assert [_clusters._p(value) for value in (0.0001, 0.0099, 0.01, 0.526)] == ["0.0001", "0.0099", "0.01", "0.53"]


# Labels


def test_a_relation_of_one_fold_alone_may_be_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = (
        "1\tThe\t_\tDET\t_\t_\t2\tdet\t_\t_\n2\tcat\t_\tNOUN\t_\t_\t3\tnsubj\t_\t_\n"
        "3\tsaw\t_\tVERB\t_\t_\t0\troot\t_\t_\n4\tit\t_\tPRON\t_\t_\t3\t{}\t_\t_\n\n"
    )
    trees = tmp_path / "trees.conllu"
    documents = [f"# newdoc id = d{i}\n" + 4 * sentence.format("obj") for i in range(6)]
    documents.append("# newdoc id = last\n" + 25 * sentence.format("iobj"))
    trees.write_text("".join(documents), encoding="utf-8")
    monkeypatch.setattr(_probes, "measured", lambda *_, **__: "it is too small")
    asked: list[int] = []

    def spy(*arguments: Any, **options: Any) -> Any:
        asked.append(options["min_count"])
        return label_behaviors(*arguments, **options)

    monkeypatch.setattr(_clusters, "label_behaviors", spy)
    made = report.run(extractor("BertModel", "bert"), tmp_path / "out", inputs=LINES, treebank=trees)
    assert set(asked) == {20}  # the treebank is small
    assert made.results.surface is not None
    labels = label_behaviors(made.results.surface, relations=made.results.relations, min_count=20, min_margin=2)
    assert _clusters.behaviors(made.results) == labels
    assert record_of(made)["settings"]["clusters"]["labels"]["picked_on"] == labels.picked_on


def test_long_lists_of_heads_wrap_between_names_alone() -> None:
    heads = [f"{i}-10" for i in range(1, 12)]
    assert _page._parts(", ".join(heads)) == heads
    assert _page._parts("1-10, 2-10") == _page._parts(0.5) == []
    assert _page._parts("A sentence that is long, and that is no list of names at all.") == []


# A run that is kept


def same_but_for_times(a: Path, b: Path) -> None:
    names, others = (sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in (a, b))
    assert names == others
    for path in (a / name for name in names):
        one, other = path.read_bytes(), (b / path.relative_to(a)).read_bytes()
        if path.name == "report.json":
            records = [json.loads(one), json.loads(other)]
            assert records[0].pop("times")
            assert records[1].pop("times")
            assert records[0] == records[1]
        else:
            assert one == other, path.name


def stop(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def after_one(function: Callable[..., Any]) -> Callable[..., Any]:
    def read_one(stream: Any, **_: Any) -> Any:
        function([next(stream)])
        raise KeyboardInterrupt

    return read_one


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run that nothing stops writes."""
    folder = tmp_path_factory.mktemp("whole")
    report.run(extractor("BertForMaskedLM", "bert"), folder / "out", inputs=LINES, run=folder / "another", batch_size=1)
    return folder / "out"


@pytest.mark.parametrize(
    ("module", "name"),
    [(_clusters, "head_distances"), (_gradients, "gradient_importance")],
    ids=["distances", "gradients"],
)
def test_ctrl_c_leaves_the_folder_alone_and_a_rerun_gives_the_same_bytes(
    module: Any, name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ext, out = extractor("BertForMaskedLM", "bert"), tmp_path / "out"
    out.mkdir()
    (out / "index.html").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(module, name, after_one(getattr(module, name)))
        with pytest.raises(KeyboardInterrupt):
            report.run(ext, out, inputs=LINES, run=tmp_path / "run", batch_size=1)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"index.html": "old"}
    report.run(ext, out, inputs=LINES, run=tmp_path / "run", batch_size=1)
    same_but_for_times(whole, out)
    for function, home in (("head_distances", _clusters), ("gradient_importance", _gradients)):
        monkeypatch.setattr(home, function, stop)
    report.run(ext, tmp_path / "again", inputs=LINES, run=tmp_path / "run", batch_size=1)  # nothing is computed again
    same_but_for_times(out, tmp_path / "again")


def test_gradients_that_are_stopped_go_on_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ext = extractor("BertForMaskedLM", "bert")
    texts = [f"the cat sat on the mat {'the dog ran ' * (i % 4)}" for i in range(11)]
    monkeypatch.setattr(_keeping, "SHARD", 4)
    options: dict[str, Any] = {"inputs": texts, "batch_size": 2, "run": tmp_path / "run"}
    seen, real = [], attribution.gradients

    @functools.wraps(real)
    def counted(ext: ba.Extractor, inputs: Any, **more: Any) -> Any:
        stream = real(ext, inputs, **more)
        seen.append(len(inputs))
        if len(seen) == 4:  # the first only looks at the options
            raise KeyboardInterrupt
        return stream

    monkeypatch.setattr(attribution, "gradients", counted)
    with pytest.raises(KeyboardInterrupt):
        report.run(ext, tmp_path / "out", **options)
    kept = sorted(path.name for path in (tmp_path / "run" / "gradients").glob("*.json"))
    assert seen[-2:] == [4, 4]
    assert kept == ["manifest.json", "sums-00000.json"]
    made = report.run(ext, tmp_path / "out", **options)
    assert made.results.gradients.sequences == len(texts)
    again = report.run(ext, tmp_path / "another", **options | {"run": tmp_path / "run 2"})
    same_but_for_times(made.folder, again.folder)
    plain = report.run(ext, tmp_path / "plain", **options | {"run": None})
    for name in made.results.gradients.moments:
        np.testing.assert_allclose(
            made.results.gradients.mean(name), plain.results.gradients.mean(name), rtol=1e-4, atol=1e-7
        )


@pytest.mark.parametrize("count", [2, 5, 9])
def test_no_pair_is_left_alone_in_a_shard(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_keeping, "SHARD", 4)
    ext, pairs = ba.Extractor(*model_zoo.build("bert")), (PAIRS * 3)[:count]
    kept = report.run(ext, tmp_path / "out", inputs=pairs, batch_size=2, run=tmp_path / "run").results.gradients
    plain = report.run(ext, tmp_path / "plain", inputs=pairs, batch_size=2).results.gradients
    assert kept.sequences == plain.sequences == count
    np.testing.assert_allclose(
        kept.mean("gradient/sep/sum_queries/all"), plain.mean("gradient/sep/sum_queries/all"), rtol=1e-4
    )


def test_gradients_of_another_text_or_head_are_refused(tmp_path: Path) -> None:
    ext, run = extractor("BertForMaskedLM", "bert"), tmp_path / "run"
    report.run(ext, tmp_path / "out", inputs=LINES, run=run)
    shutil.copytree(run, tmp_path / "kept")
    with pytest.raises(StorageError, match=r"run/text holds another run: inputs\.count was 3 and is 2"):
        report.run(ext, tmp_path / "out", inputs=LINES[:2], run=run)
    shutil.rmtree(run / "text")
    with pytest.raises(StorageError, match=r"run/gradients holds another run: inputs\.sha256.* delete this one to "):
        report.run(ext, tmp_path / "out", inputs=["A cat.", *LINES[1:]], run=run)
    shutil.rmtree(run)
    (tmp_path / "kept").rename(run)
    bias = ext._whole.get_output_embeddings().bias
    with torch.no_grad():
        bias[0] += 1.0
    try:
        with pytest.raises(StorageError, match=r"run/gradients holds another run: settings\.head_sha256 was '"):
            report.run(ext, tmp_path / "out", inputs=LINES, run=run)
    finally:
        with torch.no_grad():
            bias[0] -= 1.0
