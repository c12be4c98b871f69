"""The paper's numbers: all of them in one file, shown beside a BERT-base's, and read by nothing that is computed."""

from __future__ import annotations

import ast
import csv
import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import bertattn as ba
import tokenizer_zoo

pytest.importorskip("matplotlib")

from bertattn import report
from bertattn.heads import CoreferenceScores, RelationScores
from bertattn.report import SECTIONS, Results, Table, _page, _probes, _published
from bertattn.statistics import Summary
from bertattn.tensor import Source

SOURCE = Path(ba.__file__).parent

# As the notes on the methods give them: head, percent, percent of the best fixed offset, and that offset.
TABLE_1 = (
    "all 7-6 34.5/26.3(1); prep 7-4 66.7/61.8(-1); pobj 9-6 76.3/34.6(-2); det 8-11 94.3/51.7(1); "
    "nn 4-10 70.4/70.2(1); nsubj 8-2 58.5/45.5(1); amod 4-10 75.6/68.3(1); dobj 8-10 86.8/40.0(-2); "
    "advmod 7-6 48.8/40.2(1); aux 4-10 81.1/71.5(1); poss 7-6 80.5/47.7(1); auxpass 4-10 82.5/40.5(1); "
    "ccomp 8-1 48.8/12.4(-2); mark 8-2 50.7/14.5(2); prt 6-7 99.1/91.4(-1)"
)
NOTEBOOK = (
    "all 34.7/26.7; auxpass 94.1/82.5; cop 72.2/40.5; num 67.4/56.4; cc 47.8/41.2(-1); conj 53.3/26.8(-2); "
    "dep 18.3/15.9; number 74.8/73.2 [T]; xcomp 57.3/47.1(-2); possessive 98.8/98.8(-1); rcmod 40.9/26.6(-3); "
    "advcl 29.5/4.6(-3); appos 30.5/28.3(-3); nsubjpass 57.5/43.7(2); tmod 45.7/29.2(-1); partmod 59.3/56.5(-1); "
    "pcomp 79.7/79.2 [T]; quantmod 68.0/60.6 [T]; npadvmod 44.6/34.9 [T]; neg 72.5/68.3"
)
WORDS = (
    "punct 4703, prep 3760, pobj 3720, det 3337, nn 3192, nsubj 2804, amod 2505, root 1696, dobj 1591, advmod 1241, "
    "aux 1237, num 1091, cc 995, conj 995, poss 708"
)
TABLE_2 = {
    "nearest": (27, 29, 29, 19),
    "same_head": (52, 47, 67, 40),
    "rule_based": (69, 70, 77, 60),
    "neural": (83,),
    "head": (65, 64, 73, 58),
}
TABLE_3 = {
    "right-branching": 26,
    "distance + words": 58,
    "random-init attention + words": 30,
    "attention": 61,
    "attention + words": 77,
    "structural probe": 80,
}
ENTROPY = (3.6, 2.9, 2.55, 2.7, 2.4, 1.95, 1.95, 1.75, 2.2, 2.5, 2.8, 2.85)
SEP = {5: 0.48, 6: 0.55, 7: 0.53, 8: 0.57, 9: 0.57, 10: 0.48, 11: 0.07, 12: 0.07}


# The file


def rows_of(part: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _published.published()[part]["rows"]
    return rows


def test_table_1_is_the_papers() -> None:
    found = [
        f"{row['relation']} {row['head']} {row['accuracy']:.1f}/{row['baseline']:.1f}({row['offset']})"
        for row in rows_of("table1")
    ]
    assert "; ".join(found) == TABLE_1
    assert [row["relation"] for row in rows_of("table1") if row["direction"] == "to_dependent"] == ["pobj"]
    assert {row["direction"] for row in rows_of("table1")} == {"from_dependent", "to_dependent"}
    note = next(row["note"] for row in rows_of("table1") if row["relation"] == "auxpass")
    assert "94.1 against a baseline of 82.5" in note


def test_what_the_notebook_alone_has_stands_apart() -> None:
    found = [
        f"{row['relation']} {row['accuracy']:.1f}/{row['baseline']:.1f}"
        + (f"({row['offset']})" if "offset" in row else "")
        + (" [T]" if row.get("direction") == "to_dependent" else "")
        for row in rows_of("table1_notebook")
    ]
    assert "; ".join(found) == NOTEBOOK
    counts = _published.published()["table1_notebook"]["words"]
    assert ", ".join(f"{name} {count}" for name, count in counts.items()) == WORDS
    for part in ("table1_notebook", "figure6"):
        assert _published.published()[part]["from"] == "released notebook"
    for part in ("table1", "table2", "table3"):
        assert _published.published()[part]["from"] == "table"


def test_tables_2_and_3_are_the_papers() -> None:
    types = ("all", "pronoun", "proper", "nominal")
    assert {row["system"]: tuple(row[t] for t in types if t in row) for row in rows_of("table2")} == TABLE_2
    assert rows_of("table2")[-1]["head"] == "5-4"
    assert {row["predictor"]: row["value"] for row in rows_of("table3")} == TABLE_3


def test_the_statements_of_section_3_are_the_papers() -> None:
    def values(part: str, statistic: str) -> dict[Any, Any]:
        """Of each layer."""
        rows = [row for row in rows_of(part) if row["statistic"] == statistic and row["layers"]]
        return {first: row["value"] for row in rows for first, last in [row["layers"]] if first == last}

    assert {row["statistic"]: row["value"] for row in rows_of("surface")[:2]} == {"previous": 4, "next": 5}
    assert values("surface", "sep") == SEP
    assert values("surface", "punctuation") == {11: 0.5, 12: 0.57}
    assert values("surface", "cls") == {2: 0.25, 3: 0.25}
    assert values("entropy", "entropy") == dict(enumerate(ENTROPY, start=1))
    assert values("entropy", "entropy_from_cls") == {12: 3.89}
    bounds = {row["statistic"]: (row["layers"], row["place"]) for row in rows_of("surface") if row["value"] is None}
    assert bounds["sep"] == ([6, 10], "section 3.2: over half")
    assert bounds["sep_to_sep"][1].startswith("section 3.2: over 90%")
    for row in (*rows_of("surface"), *rows_of("entropy")):
        assert row["from"] == ("figure, by eye" if row["place"].startswith("Figure") else "text"), row
    heads = {row["head"]: row["label"] for row in rows_of("figure6")}
    assert heads["8-11"] == "determiner"
    assert heads["5-4"] == "coreference"
    assert len(heads) == 6


def test_relations_have_their_counterpart_in_universal_dependencies() -> None:
    found = {row["relation"]: row["universal"] for row in rows_of("table1") if row["relation"] != row["universal"]}
    assert found == {
        "all": None,
        "prep": None,
        "pobj": "case",
        "nn": "compound",
        "dobj": "obj",
        "poss": "nmod:poss",
        "auxpass": "aux:pass",
        "prt": "compound:prt",
    }


# Who reads it


def functions_with(name: str) -> Iterator[tuple[str, str]]:
    """(file, function) wherever a module of that name is used."""
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for top in ast.walk(tree):
            if isinstance(top, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = (node.id for node in ast.walk(top) if isinstance(node, ast.Name))
                if name in inside:
                    yield path.name, top.name


def test_one_module_opens_the_file_and_only_what_shows_asks_it() -> None:
    opened = [path.name for path in SOURCE.rglob("*.py") if "published.json" in path.read_text(encoding="utf-8")]
    assert opened == ["_published.py"]
    named = [path.name for path in SOURCE.rglob("*.py") if "_published" in path.read_text(encoding="utf-8")]
    assert sorted(set(named)) == ["_coreference.py", "_probes.py", "_sections.py"]
    assert set(functions_with("_published")) == {
        ("_sections.py", "_surface"),
        ("_sections.py", "_in_the_paper"),
        ("_sections.py", "_relations"),
        ("_coreference.py", "section"),
        ("_coreference.py", "_rows"),
        ("_coreference.py", "_of_their_head"),
        ("_probes.py", "section"),
    }


# Which models have the columns


def measured(model: str | None, *, architecture: str = "BertModel", layers: int = 12, heads: int = 12) -> Any:
    return SimpleNamespace(
        source=Source(model=model, architecture=architecture), layers=tuple(range(layers)), heads=tuple(range(heads))
    )


@pytest.mark.parametrize("name", ["bert-base-uncased", "google-bert/bert-base-cased", "/models/bert-base-uncased/"])
def test_bert_base_is_known_by_its_name_class_and_shape(name: str) -> None:
    assert _published.bert_base(measured(name)) == Path(name).name
    assert _published.bert_base(measured(name, architecture="RobertaModel")) is None
    assert _published.bert_base(measured(name, layers=6)) is None
    assert _published.bert_base(measured(name, heads=6)) is None


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "bert-base-multilingual-cased",
        "bert-large-uncased",
        "bert-base-uncased/finetuned",
        "someone/bert-base-uncased-squad",
        "bert-base-uncased (random weights, keep='embeddings', seed=0)",
        "bert-base-uncased (heads 8-10 ablated)",
    ],
)
def test_other_models_are_not_taken_for_it(name: str | None) -> None:
    assert _published.bert_base(measured(name)) is None


def test_nothing_measured_is_no_bert_base() -> None:
    assert _published.bert_base(None) is None


# The report


TEXT = """The cat sat on the mat.
It slept, and the dog ran.
Snow falls on the old mat.

The dog saw it, and the cat sat.
The mat was red.
"""
UNIVERSAL = "The/2/det cat/3/nsubj saw/0/root the/5/det dog/3/obj on/8/case the/8/det mat/3/obl ./3/punct"
STANFORD = "The/2/det cat/3/nsubj saw/0/root the/5/det dog/3/dobj on/3/prep the/8/det mat/6/pobj ./3/punct"
TAGS = "DET NOUN VERB DET NOUN ADP DET NOUN PUNCT"


def trees(words: str) -> str:
    sentences = []
    for number in range(24):
        lines = [f"# newdoc id = d{number // 2}", f"# sent_id = s{number}"]
        for i, (word, tag) in enumerate(zip(words.split(), TAGS.split(), strict=True), start=1):
            form, governor, relation = word.split("/")
            lines.append(f"{i}\t{form}\t_\t{tag}\t_\t_\t{governor}\t{relation}\t_\t_")
        sentences.append("\n".join(lines))
    return "\n\n".join(sentences) + "\n\n"


def mentions() -> str:
    """A cat and a pronoun in each of six documents."""
    text = ["# global.Entity = eid-etype-head"]
    for number in range(6):
        text += [f"# newdoc id = d{number}", f"# sent_id = d{number}-1"]
        sentence = (
            ("The", "DET", 2, "det", "Entity=(e1--2"),
            ("cat", "NOUN", 3, "nsubj", "Entity=e1)"),
            ("sat", "VERB", 0, "root", "_"),
            ("and", "CCONJ", 6, "cc", "_"),
            ("it", "PRON", 6, "nsubj", "Entity=(e1--1)"),
            ("slept", "VERB", 3, "conj", "_"),
            (".", "PUNCT", 3, "punct", "_"),
        )
        for i, (form, tag, governor, relation, misc) in enumerate(sentence, start=1):
            text.append(f"{i}\t{form}\t_\t{tag}\t_\t_\t{governor}\t{relation}\t_\t{misc}")
        text.append("")
    return "\n".join(text) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpora, and a model with random weights that is a BERT-base by its shape and by the name of its folder."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("published")
    for name, text in (("text.txt", TEXT), ("ud.conllu", trees(UNIVERSAL)), ("coref.conllu", mentions())):
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "sd.conllu").write_text(trees(STANFORD), encoding="utf-8")
    tokenizer = tokenizer_zoo.wordpiece()
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(vocab_size=len(tokenizer), hidden_size=48, intermediate_size=48, max_position_embeddings=64)
    )
    with torch.no_grad():  # initial weights are so small that all attention is nearly uniform
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    model.save_pretrained(folder / "bert-base-uncased")
    tokenizer.save_pretrained(folder / "bert-base-uncased")
    return folder


def reported(folder: Path, out: str) -> report.Report:
    """With as few probes as do: how many are trained is not what is looked at here."""
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr(_probes, "SEEDS", (0,))
        fewer.setattr(_probes, "FOLDS", 2)
        return report.run(
            folder / "bert-base-uncased",
            folder / out,
            text=folder / "text.txt",
            treebank=folder / "ud.conllu",
            coref=folder / "coref.conllu",
            device="cpu",
            command="bertattn report",  # the same for each folder
        )


@pytest.fixture(scope="module")
def done(folder: Path) -> report.Report:
    return reported(folder, "out")


@pytest.fixture(scope="module")
def stanford(folder: Path) -> RelationScores:
    ext = ba.Extractor.from_pretrained(folder / "bert-base-uncased", device="cpu")
    return ba.heads.score_relations(ext.extract(ba.readers.read_conllu(folder / "sd.conllu")))


@pytest.fixture(scope="module")
def tables(done: report.Report) -> dict[str, Table]:
    return tables_of(done.results)


def tables_of(results: Results) -> dict[str, Table]:
    shown = [section.show(results) for section in SECTIONS if section.is_ready(results)]
    return {table.name: table for one in shown for table in one.tables}


def rows_by(table: Table, column: str) -> dict[str, dict[str, Any]]:
    return {row[column]: row for row in table.rows}


def scores_of(results: Results) -> tuple[Summary, RelationScores, CoreferenceScores]:
    surface, relations, coreference = results.surface, results.relations, results.coreference
    assert surface is not None
    assert relations is not None
    assert coreference is not None
    return surface, relations, coreference


def nan_or(value: float) -> Any:
    return pytest.approx(value, nan_ok=True)


def test_table_1_has_the_papers_head_and_what_that_very_head_finds_here(
    tables: dict[str, Table], done: report.Report
) -> None:
    scores = scores_of(done.results)[1]
    table = tables["relations"]
    rows = rows_by(table, "relation")
    assert set(rows) >= {"all", "det", "nsubj", "obj", "case", "obl"}
    det = rows["det"]
    assert det["paper"] == pytest.approx(0.943)
    assert det["paper's head"] == "8-11"
    assert det["difference"] == pytest.approx(det["accuracy"] - 0.943)
    assert det["its accuracy here"] == scores.accuracy("det", direction="from_dependent")[7, 10]
    assert (rows["obj"]["paper"], rows["obj"]["paper's head"]) == (pytest.approx(0.868), "8-10")
    # pobj, whose arc is the other way round, so that the preposition is the one that looks
    assert (rows["case"]["paper"], rows["case"]["paper's head"]) == (pytest.approx(0.763), "9-6")
    assert rows["case"]["its accuracy here"] == scores.accuracy("case", direction="from_dependent")[8, 5]
    for name in ("all", "obl"):
        for column in ("paper's head", "its accuracy here", "paper", "difference"):
            assert math.isnan(rows[name][column])
    for row in table.rows:
        assert row["difference"] == nan_or(row["accuracy"] - row["paper"])
        assert list(row) == list(table.rows[0])


def test_a_treebank_in_stanford_dependencies_is_matched_by_name(done: report.Report, stanford: RelationScores) -> None:
    stanford = dataclasses.replace(stanford, source=scores_of(done.results)[1].source)
    rows = rows_by(tables_of(Results(relations=stanford))["relations"], "relation")
    assert rows["all"]["paper"] == pytest.approx(0.345)
    assert rows["prep"]["paper"] == pytest.approx(0.667)
    assert rows["pobj"]["its accuracy here"] == stanford.accuracy("pobj", direction="to_dependent")[8, 5]
    assert rows["dobj"]["difference"] == pytest.approx(rows["dobj"]["accuracy"] - 0.868)
    assert next(iter(rows)) == "all"


@pytest.mark.parametrize(
    ("relation", "others", "direction"),
    [("case", ("obj",), "from_dependent"), ("pobj", ("prep",), "to_dependent"), ("det", (), "from_dependent")],
)
def test_the_papers_head_looks_in_the_papers_direction_unless_the_arc_is_reversed(
    relation: str, others: tuple[str, ...], direction: str
) -> None:
    accuracies = {"from_dependent": np.zeros((12, 12)), "to_dependent": np.zeros((12, 12))}
    head = {"case": (8, 5), "pobj": (8, 5), "det": (7, 10)}[relation]
    accuracies[direction][head] = 0.75
    scores: Any = SimpleNamespace(
        relation_names=lambda: (relation, *others), accuracy=lambda name, *, direction: accuracies[direction]
    )
    columns = _published.relation_columns(scores, relation, 0.5)
    assert columns["its accuracy here"] == 0.75


def test_table_2_has_the_papers_numbers_of_each_type(tables: dict[str, Table], done: report.Report) -> None:
    scores = scores_of(done.results)[2]
    rows = rows_by(tables["table2"], "system")
    names = {"nearest mention": "nearest", "same head word": "same_head", "rule-based": "rule_based"}
    best = next(name for name in rows if name.startswith("head ") and name != "head 5-4, the paper's")
    columns = ("all", "pronoun")
    for name, system in (names | {best: "head", "head 5-4, the paper's": "head"}).items():
        for column, percent in zip(columns, TABLE_2[system], strict=False):
            assert rows[name][f"{column} paper"] == pytest.approx(percent / 100)
            assert rows[name][f"{column} difference"] == pytest.approx(rows[name][column] - percent / 100)
    theirs = rows["head 5-4, the paper's"]
    for column in columns:
        assert theirs[column] == scores.accuracy(column, direction="from_mention")[4, 3]
        assert math.isnan(theirs[f"{column} low"])
        assert math.isnan(rows["chance"][f"{column} paper"])
        assert math.isnan(rows["head, held out"][f"{column} paper"])


def test_table_3_has_the_papers_numbers(tables: dict[str, Table]) -> None:
    rows = rows_by(tables["table3"], "predictor")
    assert set(rows) == set(TABLE_3)
    for name, percent in TABLE_3.items():
        assert rows[name]["paper"] == percent / 100
        assert rows[name]["difference"] == pytest.approx(rows[name]["accuracy"] - percent / 100)


def test_what_section_3_says_stands_beside_what_is_here(tables: dict[str, Table], done: report.Report) -> None:
    summary = scores_of(done.results)[0]
    rows = rows_by(tables["surface_paper"], "attention")
    previous = rows["heads that give over half to the previous token"]
    count = sum(bool(x > 0.5) for x in np.ravel(summary.mean("previous")))
    assert previous["here"] == count
    assert (previous["paper"], previous["difference"]) == (4, count - 4)
    middle = rows["to [SEP], mean of layers 6 to 10"]
    assert middle["here"] == pytest.approx(np.mean(summary.mean("sep")[5:10]))
    assert math.isnan(middle["paper"])
    assert math.isnan(middle["difference"])
    assert middle["where"] == "section 3.2: over half (text)"
    eighth = rows["to [SEP], mean of layer 8"]
    assert eighth["here"] == pytest.approx(np.mean(summary.mean("sep")[7]))
    assert eighth["paper"] == 0.57
    assert eighth["where"] == "Figure 2 (figure, by eye)"
    last = rows_by(tables["entropy_paper"], "attention")["from [CLS], mean of layer 12"]
    assert last["here"] == pytest.approx(np.mean(summary.mean("entropy_from_cls")[11]))
    assert last["difference"] == pytest.approx(last["here"] - 3.89)
    for row in (*tables["surface_paper"].rows, *tables["entropy_paper"].rows):
        assert row["difference"] == nan_or(row["here"] - row["paper"])


def test_the_page_shows_signed_points_and_dashes_and_says_what_differs(
    tables: dict[str, Table], done: report.Report
) -> None:
    table = tables["relations"]
    assert _page._cell(0.0123, "difference", table) == "+1.2%"
    assert _page._cell(-0.5, "difference", table) == "-50.0%"
    assert _page._cell(math.nan, "paper's head", table) == "–"
    assert _page._cell(0.943, "paper", table) == "94.3%"
    page = done.files[0].read_text(encoding="utf-8")
    assert page.count("They do not say whether their model is cased; this is bert-base-uncased.") == len(SHOWN)
    assert "Penn Treebank in Stanford dependencies" in page
    assert "without an interval" in page


@pytest.mark.parametrize("name", ["relations", "table2", "table3", "surface_paper", "entropy_paper"])
def test_the_files_have_the_columns_too(name: str, tables: dict[str, Table], done: report.Report) -> None:
    table = tables[name]
    rows = csv_of(done.folder / f"{name}.csv")
    assert [list(row) for row in rows] == [list(row) for row in table.rows]
    column = "all paper" if name == "table2" else "paper"
    assert [row[column] for row in rows] == ["" if x != x else str(x) for x in (r[column] for r in table.rows)]
    assert any(row[column] for row in rows)


def csv_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def renamed(results: Results, name: str) -> Results:
    surface, relations, coreference = (
        dataclasses.replace(one, source=dataclasses.replace(one.source, model=name)) for one in scores_of(results)
    )
    return dataclasses.replace(results, surface=surface, relations=relations, coreference=coreference)


# Tables with numbers of the paper, and the columns that are, or lean on, one.
SHOWN = ("relations", "table2", "table3", "surface_paper", "entropy_paper")
THEIRS = re.compile(r"(.* )?(paper|paper's head|its accuracy here|difference)")


def ours(name: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was computed; the last row of Table 2 is that of the paper's head."""
    kept = [row for row in rows if row.get("system") != "head 5-4, the paper's"]
    return [{k: v for k, v in row.items() if not (name in SHOWN and THEIRS.fullmatch(k))} for row in kept]


def test_another_model_has_none_of_it(tables: dict[str, Table], done: report.Report) -> None:
    without = tables_of(renamed(done.results, "someone/bert-base-uncased-squad"))
    assert set(tables) - set(without) == {"surface_paper", "entropy_paper"}
    for name, table in without.items():
        assert not [column for row in table.rows for column in row if "paper" in column]
        assert "Penn Treebank" not in table.caption
        assert "BERT-base" not in table.caption
        assert [pytest.approx(row, nan_ok=True) for row in ours(name, tables[name].rows)] == list(table.rows)
    assert tables.keys() >= set(SHOWN)


def test_links_are_those_of_any_model(tables: dict[str, Table], done: report.Report) -> None:
    for name in ("relations", "table2"):
        for links in tables[name].links.values():
            assert len(links) == len(tables[name].rows)
            assert any(links)
            assert all((done.folder / link).is_file() for link in links if link)
    assert tables["table2"].links["system"][-1] is None


def raised(value: Any) -> Any:
    """Every number but those of layers, higher by 1."""
    if isinstance(value, dict):
        return {name: one if name == "layers" else raised(one) for name, one in value.items()}
    if isinstance(value, list):
        return [raised(one) for one in value]
    return value + 1 if isinstance(value, int | float) else value


def test_other_numbers_in_the_file_change_no_computed_one(
    done: report.Report, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = raised(_published.published())
    monkeypatch.setattr(_published, "published", lambda: changed)
    again = reported(folder, "again")
    names = sorted(path.relative_to(done.folder) for path in done.files)
    assert names == sorted(path.relative_to(again.folder) for path in again.files)
    different = {
        name.name
        for name in names
        if (done.folder / name).read_bytes() != (again.folder / name).read_bytes() and name.name != report.RECORD
    }
    assert different == {"index.html", *(f"{name}.csv" for name in SHOWN)}
    for name in SHOWN:
        before, after = (csv_of(one.folder / f"{name}.csv") for one in (done, again))
        assert ours(name, before) == ours(name, after)
    records = [json.loads((one.folder / report.RECORD).read_text(encoding="utf-8")) for one in (done, again)]
    assert {**records[0], "times": None} == {**records[1], "times": None}
