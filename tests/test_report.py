"""Reports: what is on the page and beside it, that a run can be repeated, and that none leaves half a file."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import functools
import gzip
import hashlib
import html
import json
import os
import re
import shlex
import signal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import bertattn as ba
import model_zoo
from bertattn import _files, figures, interventions, probes, report
from bertattn.cli import app
from bertattn.errors import InputError, ModelError, ReaderError, StorageError, ValidationError
from bertattn.report import (
    SECTIONS,
    Results,
    Section,
    Shown,
    Table,
    _coreference,
    _corpus,
    _keeping,
    _page,
    _parts,
    _probes,
    _provenance,
    _published,
)

pytest.importorskip("matplotlib")

TEXT = """The cat sat on the mat.
It slept, and the dog ran.

Snow falls.
The dog saw it, and the cat sat.
The mat was red.

A line alone.
"""


@pytest.fixture(scope="module")
def ext() -> ba.Extractor:
    return ba.Extractor(*model_zoo.build("bert"))


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(ext: ba.Extractor, tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    folder = tmp_path_factory.mktemp("report")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return report.run(ext, folder / "new" / "out", text=folder / "text.txt")


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.append((tag, value or ""))
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(done: report.Report) -> Page:
    return Page(done.files[0].read_text(encoding="utf-8"))


TREES = "".join(
    f"# newdoc id = d{i}\n# sent_id = s{i}\n"
    "1\tThe\t_\tDET\t_\t_\t2\tdet\t_\t_\n2\tcat\t_\tNOUN\t_\t_\t3\tnsubj\t_\t_\n"
    "3\tsaw\t_\tVERB\t_\t_\t0\troot\t_\t_\n4\tthe\t_\tDET\t_\t_\t5\tdet\t_\t_\n"
    "5\tdog\t_\tNOUN\t_\t_\t3\tobj\t_\t_\n6\t.\t_\tPUNCT\t_\t_\t3\tpunct\t_\t_\n\n"
    for i in range(12)
)


@pytest.fixture
def treebank(tmp_path: Path) -> Path:
    path = tmp_path / "trees.conllu"
    path.write_text(TREES, encoding="utf-8")
    return path


def coreference_of(name: str, *, tags: bool = True) -> str:
    """The [big] cat sat. It saw the dog, and the dog saw it. Two entities with two and three mentions, by the tree."""
    upos = "DET ADJ NOUN VERB PUNCT", "PRON VERB DET NOUN CCONJ DET NOUN VERB PRON PUNCT"
    words = "The red cat sat .", "It saw the dog and the dog saw it ."
    governors = "3 3 4 0 4", "2 0 4 2 8 7 8 2 8 2"
    entities = {
        0: {0: "(e1--1", 2: "e1)"},
        1: {0: "(e1--1)", 2: "(e2--1", 3: "e2)", 5: "(e2--1", 6: "e2)", 8: "(e1--1)"},
    }
    lines = [f"# newdoc id = {name}"]
    for i, (forms, tag, tops) in enumerate(zip(words, upos, governors, strict=True)):
        lines.append(f"# sent_id = {name}-{i}")
        for j, (form, pos, top) in enumerate(zip(forms.split(), tag.split(), tops.split(), strict=True)):
            misc = f"Entity={entities[i][j]}" if j in entities[i] else "_"
            relation = "root" if top == "0" else "dep"
            lines.append(f"{j + 1}\t{form}\t_\t{pos if tags else '_'}\t_\t_\t{top}\t{relation}\t_\t{misc}")
        lines.append("")
    return "\n".join(lines) + "\n"


def write_coreference(folder: Path) -> Path:
    path = folder / "coref.conllu"
    text = "".join(coreference_of(f"d{i}") for i in range(6))
    path.write_text(f"# global.Entity = eid-etype-head\n{text}", encoding="utf-8")
    return path


@pytest.fixture
def coref(tmp_path: Path) -> Path:
    return write_coreference(tmp_path)


@pytest.fixture(scope="module")
def referring(ext: ba.Extractor, tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    folder = tmp_path_factory.mktemp("referring")
    return report.run(ext, folder / "out", coref=write_coreference(folder))


def record_of(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return value


# The page


def test_the_page_comes_first_and_every_file_is_named(done: report.Report) -> None:
    assert done.files[0].name == "index.html"
    assert sorted(path for path in done.folder.rglob("*") if path.is_file()) == sorted(done.files)
    assert list(done.folder.parent.iterdir()) == [done.folder]


def test_the_page_needs_nothing_beside_it(done: report.Report) -> None:
    source = done.files[0].read_text(encoding="utf-8")
    page = read(done)
    assert page.tags.count("script") == 1  # its own: tests/test_report_page.py
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-" in html.unescape(source)
    for tag, link in page.links:
        if tag == "img":
            assert link.startswith("data:image/svg+xml;base64,")
        else:
            assert link.startswith("#") or (done.folder / link).is_file(), link
    linked = {link for tag, link in page.links if tag == "a" and not link.startswith("#")}
    assert linked == {path.relative_to(done.folder).as_posix() for path in done.files[1:]}
    assert not re.search(r"https?:", source)


def test_every_section_can_be_reached(done: report.Report) -> None:
    page = read(done)
    assert len(page.ids) == len(set(page.ids))
    targets = [link[1:] for _, link in page.links if link.startswith("#")]
    assert {*(section.name for section in SECTIONS), "run"} <= set(targets)
    assert set(targets) <= set(page.ids)


def test_highlights_are_on_the_page(done: report.Report) -> None:
    text = " ".join(read(done).words)
    assert done.highlights
    for line in done.highlights:
        assert line in text


def test_what_was_run_stands_on_top(done: report.Report) -> None:
    text = " ".join(" ".join(read(done).words).split())
    assert "BertModel, 3 layers of 4 attention heads, " in text
    assert "ran on 2 sequences of " in text
    assert "none left out, none cut; in no segment: 1 line of the text)" in text


def test_text_of_the_user_is_escaped(ext: ba.Extractor, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    named = ba.Extractor(ext.model, ext.tokenizer, name=f"{hostile}/model")
    made = report.run(
        named, tmp_path / "out", inputs=["The cat sat."], notes=[f"On {hostile} & so"], command=f"x {hostile}"
    )
    page = read(made)
    assert page.tags.count("script") == 1
    assert " ".join(page.words).count(hostile) >= 3


def test_a_cell_says_percent_digits_or_nothing() -> None:
    table = Table("t", "caption", [], percent=("share", "low"), bars=("share",))
    assert _page._cell(0.625, "share", table) == "62.5%"
    assert _page._cell(0.625, "entropy", table) == "0.62"
    assert _page._cell(float("nan"), "share", table) == "–"
    assert _page._cell(3, "rank", table) == "3"
    assert _page._share(0.625, "share", table) == 0.625
    assert _page._share(float("nan"), "share", table) is _page._share(0.5, "low", table) is None


# Sections


def test_a_section_without_its_input_says_what_to_give() -> None:
    for section in SECTIONS:
        assert not section.is_ready(Results())
        assert re.match(r"Give .*--[a-z]+ .*\(in Python: [a-z]+=", section.remedy)
        with pytest.raises(ValidationError, match="a section was shown without the results that it needs"):
            section.show(Results())
    sections = [(section, None) for section in SECTIONS]
    record = {"command": None, "versions": {"bertattn": "0"}}
    page = Page(_page.page(title="t", lead=[], sections=sections, images={}, record=record))
    text = " ".join(page.words)
    for section in SECTIONS:
        assert f"Not measured: its input was not given. {section.remedy}" in text


def test_token_ids_give_no_example_and_the_page_says_how_to_give_one(ext: ba.Extractor, tmp_path: Path) -> None:
    made = report.run(ext, tmp_path / "out", inputs=[ba.TokenIds((2, 7, 8, 3)), [2, 7, 3]])
    assert made.results.example is None
    assert "token ids need a short text beside them: --example TEXT" in " ".join(read(made).words)
    assert record_of(made.folder)["missing"] == ["examples", "gradients", "relations", "coreference", "probes"]
    assert not (made.folder / "figure1.svg").exists()


def test_a_section_of_a_later_module_needs_no_more_than_a_line(
    ext: ba.Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(results: Results) -> Shown:
        assert results.surface is not None
        rows = [{"head": "1-1", "share": 0.25, "undefined": float("nan")}]
        return Shown(("Some text.",), tables=(Table("mine", "My table.", rows),), highlights=("A finding.",))

    mine = Section("mine", "My section", ("surface",), "Give a text: --text FILE (in Python: text=).", show)
    monkeypatch.setattr(report, "SECTIONS", (*SECTIONS, mine))
    made = report.run(ext, tmp_path / "out", inputs=["The cat sat.", "The dog ran."])
    assert made.highlights[-1] == "A finding."
    assert (made.folder / "mine.csv").read_text() == "head,share,undefined\n1-1,0.25,\n"
    assert "My section" in " ".join(read(made).words)


# The numbers


def test_the_numbers_are_those_of_summarize(done: report.Report, ext: ba.Extractor, text: Path) -> None:
    segments = ba.segments.paragraph_segments(ba.readers.read_text(text), ext.tokenizer, max_tokens=96, seed=0)
    expected = ba.summarize(ext.extract(segments), ba.patterns.surface_patterns)
    summary = done.results.surface
    assert summary is not None
    np.testing.assert_allclose(summary.mean("entropy"), expected.mean("entropy"), rtol=1e-12)
    assert ba.statistics.Summary.load(done.folder / "surface_patterns.json") == summary


def test_the_best_heads_are_the_best(done: report.Report) -> None:
    summary = done.results.surface
    assert summary is not None
    with (done.folder / "best_heads.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["attention to"] == "the next token"]
    means = summary.mean("next")
    assert [float(row["mean"]) for row in rows] == sorted(means.ravel().tolist(), reverse=True)[:3]
    assert [int(row["rank"]) for row in rows] == [1, 2, 3]
    for row in rows:
        layer, head = (int(i) - 1 for i in row["head"].split("-"))
        assert means[layer, head] == float(row["mean"])
        assert float(row["low"]) < float(row["mean"]) < float(row["high"])


def test_one_sequence_has_no_interval_and_says_so(ext: ba.Extractor, tmp_path: Path) -> None:
    made = report.run(ext, tmp_path / "out", inputs=["The cat sat."])
    assert any("no interval: one sequence" in line for line in made.highlights)


@pytest.mark.parametrize("family", ["gpt2", "t5", "roberta"])
def test_other_families(family: str, tmp_path: Path) -> None:
    made = report.run(
        ba.Extractor(*model_zoo.build(family)), tmp_path / "out", inputs=["The cat sat on the mat.", "The dog ran."]
    )
    assert made.results.surface is not None
    assert made.files[0].is_file()
    assert not any("nan" in line or "gives 0.0%" in line for line in made.highlights)


# Trees


def test_a_treebank_alone_gives_the_section_on_relations(ext: ba.Extractor, treebank: Path, tmp_path: Path) -> None:
    made = report.run(ext, tmp_path / "out", treebank=treebank)
    scores = made.results.relations
    assert made.results.surface is None
    assert scores is not None
    missing = ["examples", "surface", "gradients", "entropy", "coreference", "clusters"]
    assert record_of(made.folder)["missing"] == missing
    with (made.folder / "relations.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["relation"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["all", "det"]  # 20 words or more
    assert float(rows["det"]["accuracy"]) == scores.accuracy("det").max()
    assert (float(rows["det"]["baseline"]), rows["det"]["offset"]) == (1.0, "+1")
    assert float(rows["det"]["held out"]) == scores.accuracy("det").max()  # all sentences are alike
    assert ba.heads.RelationScores.load(made.folder / "relation_scores.json") == scores
    assert "12 sentences of a treebank with 72 words (none left out)" in " ".join(" ".join(read(made).words).split())
    assert [one.annotation for one in made.results.relation_examples] != []
    assert (made.folder / "figure5.svg").is_file()


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does not look at them: drawing them takes longer than measuring a short text."""
    monkeypatch.setattr(figures, "save", lambda _, path: _files.write_whole(path, b"<svg/>"))


@pytest.fixture
def without_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what has nothing to do with them: they take the longest."""
    monkeypatch.setattr(_probes, "measured", lambda *_, **__: "it is too small")


@pytest.mark.usefixtures("without_probes")
def test_sentences_that_do_not_fit_are_left_out_and_listed(ext: ba.Extractor, treebank: Path, tmp_path: Path) -> None:
    long = "".join(f"{i}\tcat\t_\t_\t_\t_\t{i - 1}\t{'dep' if i > 1 else 'root'}\t_\t_\n" for i in range(1, 200))
    treebank.write_text(f"{long}\n{TREES}", encoding="utf-8")
    made = report.run(ext, tmp_path / "out", treebank=[treebank])
    record = record_of(made.folder)["treebank"]
    assert [one["index"] for one in record["skipped"]] == [0]
    assert record["sentences_used"] == 12
    assert record["files"][0]["sentences"] == 13
    for one in made.results.relation_examples:
        assert one.annotation is not None
        assert len(one.annotation) == 6


def test_a_small_treebank_has_no_held_out_column_but_a_page(ext: ba.Extractor, treebank: Path, tmp_path: Path) -> None:
    treebank.write_text(TREES[: TREES.index("# newdoc id = d2")], encoding="utf-8")
    made = report.run(ext, tmp_path / "out", treebank=treebank)
    assert "Dependency relations" in " ".join(read(made).words)
    assert not (made.folder / "figure5.svg").exists()


@pytest.mark.usefixtures("without_probes")
def test_a_relation_of_one_document_does_not_take_the_held_out_column_from_the_others(
    ext: ba.Extractor, treebank: Path, tmp_path: Path
) -> None:
    alone = TREES[: TREES.index("# newdoc id = d1")].replace("\tobj\t", "\tiobj\t").replace("# newdoc id = d0\n", "")
    treebank.write_text(TREES + alone * 20, encoding="utf-8")
    made = report.run(ext, tmp_path / "out", treebank=treebank)
    with (made.folder / "relations.csv").open(encoding="utf-8", newline="") as file:
        held_out = {row["relation"]: row["held out"] for row in csv.DictReader(file)}
    assert held_out["iobj"] == ""
    assert float(held_out["det"]) > 0
    assert "which is parted between documents" in " ".join(read(made).words)


@pytest.mark.usefixtures("without_probes")
def test_the_headline_gives_the_held_out_accuracy_too(ext: ba.Extractor, treebank: Path, tmp_path: Path) -> None:
    made = report.run(ext, tmp_path / "out", treebank=treebank)
    assert re.search(r"; picked on other documents, \d+\.\d%\); the best fixed offset", made.highlights[0])
    settings = record_of(made.folder)["settings"]
    assert settings["held_out"] == {"folds": 5, "by": "document", "seed": 0}
    assert settings["interval"] == {"method": "bootstrap over sentences", "level": 0.95, "resamples": 2000, "seed": 0}
    assert (settings["min_count"], settings["offsets"]) == (20, [-3, -2, -1, 1, 2, 3])


def test_a_treebank_that_gives_nothing_says_why(ext: ba.Extractor, treebank: Path, tmp_path: Path) -> None:
    treebank.write_text("1\tThe\t_\t_\t_\t_\t_\t_\t_\t_\n\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"no word of the 1 sentences of the treebank has a governor; .* column HEAD"):
        report.run(ext, tmp_path / "out", treebank=treebank)
    long = "".join(f"{i}\tcat\t_\t_\t_\t_\t{i - 1}\tdep\t_\t_\n" for i in range(1, 200))
    treebank.write_text(f"{long}\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"can take none of the 1 sentences of the treebank: .* but the model takes 96"
    ):
        report.run(ext, tmp_path / "out", treebank=treebank)


def test_a_bad_treebank_names_the_place(ext: ba.Extractor, treebank: Path, tmp_path: Path) -> None:
    treebank.write_text(TREES.replace("4\tthe", "7\tthe", 1), encoding="utf-8")
    with pytest.raises(ReaderError, match=r"trees\.conllu:6:1: "):
        report.run(ext, tmp_path / "out", treebank=treebank)
    treebank.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"there is no sentence in .*trees\.conllu; is it a CoNLL-U file"):
        report.run(ext, tmp_path / "out", treebank=treebank)
    assert not (tmp_path / "out").exists()


# Coreference


def rows_of(path: Path, key: str) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row[key]: row for row in csv.DictReader(file)}


def test_documents_with_coreference_alone_give_the_section_on_it(
    ext: ba.Extractor, coref: Path, referring: report.Report
) -> None:
    scores = referring.results.coreference
    assert referring.results.surface is referring.results.relations is None
    assert scores is not None
    cut = ba.windows(ba.readers.read_corefud(coref), max_tokens=96, which="all")
    assert scores == ba.heads.score_coreference(ext.extract(cut))
    assert ba.heads.CoreferenceScores.load(referring.folder / "coreference_scores.json") == scores
    missing = ["examples", "surface", "gradients", "entropy", "relations", "probes", "clusters"]
    assert record_of(referring.folder)["missing"] == missing
    names = {path.name for path in referring.files}
    assert {f"{name}.{end}" for name in ("table2", "figure5_coreference") for end in ("svg", "png")} <= names
    assert {"table2.csv", "coreference_candidates.csv", "coreference_scores.csv"} <= names
    lead = " ".join(" ".join(read(referring).words).split())
    assert "ran on 6 windows of 6 documents with coreference, in which 18 mentions are scored (none left out)." in lead


def test_table_2_has_the_numbers_of_coreference_table(referring: report.Report) -> None:
    scores = referring.results.coreference
    assert scores is not None
    table, held_out = scores.table(), ba.heads.coreference_cross_fit(scores)
    rows = rows_of(referring.folder / "table2.csv", "system")
    turned = " (to_mention)" if table.direction == "to_mention" else ""
    systems = {"chance": "chance", "nearest mention": "nearest", "same head word": "same_head"}
    systems |= {"rule-based": "rule_based", f"head {table.head}{turned}": "head"}
    assert list(rows) == [*systems, "head, held out"]
    page = " ".join(read(referring).words)
    for name in ("all", "pronoun", "nominal"):
        for shown, system in systems.items():
            row = table.row(system, name)
            assert float(rows[shown][name]) == row.accuracy
            assert rows[shown][f"{name} low"] == ("" if system == "chance" else str(row.low))
            assert f"{row.accuracy:.1%}" in page
        assert float(rows["head, held out"][name]) == held_out.row("head", name).accuracy
    assert "all low" not in page
    assert f"Counted: all 18, pronoun {scores.count('pronoun')}, nominal {scores.count('nominal')}." in page


def test_each_kind_of_candidates_has_its_best_head(referring: report.Report) -> None:
    scores = referring.results.coreference
    assert scores is not None
    rows = rows_of(referring.folder / "coreference_candidates.csv", "candidates")
    assert list(rows) == ["words_other", "words_prev", "mentions_prev", "mentions_other"]
    for name, row in rows.items():
        counted = scores.counting(candidates=name)  # type: ignore[arg-type]
        layer, head = (int(i) - 1 for i in row["head"].split("-"))
        assert float(row["accuracy"]) == counted.accuracy().max()
        assert counted.accuracy(direction=row["direction"])[layer, head] == counted.accuracy().max()  # type: ignore[arg-type]
        assert float(row["chance"]) == scores.baselines.chance(candidates=name)  # type: ignore[arg-type]


def test_the_headline_says_whether_the_head_beats_the_baseline(referring: report.Report) -> None:
    assert referring.results.coreference is not None
    against = ba.heads.coreference_cross_fit(referring.results.coreference).against("same_head")
    assert f"(difference {100 * against.difference:+.1f} points, 95% CI " in referring.highlights[-1]
    assert re.search(
        r"^Head .* finds an antecedent of .*% of 18 mentions \(95% CI .*\)\. Picked on other documents, heads find "
        r".*%; they (find more|do not (clearly )?find more) than the nearest mention with the same head ",
        referring.highlights[-1],
    )


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ((0.1, 0.05, 0.2), "finds more than"),
        ((0.1, -0.05, 0.2), "does not clearly find more than"),
        ((-0.1, -0.2, 0.1), "does not find more than"),
        ((0.0, 0.0, 0.0), "does not find more than"),
        ((-0.1, -0.2, -0.05), "does not find more than"),
        ((0.1, float("nan"), float("nan")), "does not clearly find more than"),
    ],
)
def test_a_difference_in_words(numbers: tuple[float, float, float], says: str) -> None:
    against = ba.heads.HeadAgainst("same_head", "all", *numbers, p=1.0)
    assert _coreference._verdict(against, 0.04, plural=False) == says
    assert "not" in _coreference._verdict(against, 0.06, plural=False)  # the interval alone is too short


def test_zero_has_no_minus() -> None:
    assert _coreference._interval(-0.01, 0.0, "+z.1f") == "95% CI +0.0 to +0.0"
    table = Table("t", "", [{"difference": -0.00001}], precision=_published.SIGNED)
    assert _page._cell(table.rows[0]["difference"], "difference", table) == "+0.0%"


def test_no_interval_where_all_sentences_agree() -> None:
    assert _parts.bounds(0.2, 0.4) == {"low": 0.2, "high": 0.4}
    assert all(np.isnan(x) for x in _parts.bounds(1.0, 1.0).values())
    assert all(np.isnan(x) for x in _parts.bounds(float("nan"), float("nan")).values())


def test_the_record_of_coreference(referring: report.Report) -> None:
    coref = referring.folder.parent / "coref.conllu"
    record = record_of(referring.folder)
    used = record["coreference"]
    assert used["files"] == [
        {
            "path": str(coref),
            "sha256": hashlib.sha256(coref.read_bytes()).hexdigest(),
            "bytes": coref.stat().st_size,
            "format": "CorefUD",
            "documents": 6,
            "mentions": 30,
        }
    ]
    assert used["windows"] == {"max_tokens": 96, "which": "all", "cut_at": "sentence", "spacing": "single"}
    assert (used["documents_used"], used["windows_used"], used["mentions_scored"]) == (6, 6, 18)
    assert used["mentions_dropped_at_edges"] == used["head_words_guessed"] == 0
    assert used["skipped"] == []
    settings = record["settings"]["coreference"]
    assert settings["candidates"] == "words_other"
    assert settings["held_out"] == {"folds": 5, "by": "document", "seed": 0}
    assert settings["interval"]["method"] == "bootstrap over documents"


def test_examples_are_short_whole_sentences_found_first(referring: report.Report) -> None:
    scores, shown = referring.results.coreference, referring.results.coreference_examples
    assert scores is not None
    assert shown
    head, direction = _coreference._best(scores)
    found = []
    for one in shown:
        assert len(one.queries) <= 24
        cases = ba.heads.score_coreference([one]).cases("all", head, direction=direction)
        found.append(any(case["found"] for case in cases))
    assert found == sorted(found, reverse=True)


CONLL = (
    "#begin document ({name}); part 000\n"
    "{name} 0 0 The DT * - - - - * (1\n{name} 0 1 cat NN * - - - - * 1)\n{name} 0 2 sat VBD * - - - - * -\n\n"
    "{name} 0 0 It PRP * - - - - * (1)\n{name} 0 1 ran VBD * - - - - * -\n\n#end document\n"
)


@pytest.mark.parametrize("suffix", ["v4_gold_conll", "conllu.gz"])
def test_conll_2012_is_known_by_its_first_line_not_by_its_name(suffix: str, ext: ba.Extractor, tmp_path: Path) -> None:
    path = tmp_path / f"two.{suffix}"
    text = (CONLL.format(name="a") + CONLL.format(name="b")).encode()
    path.write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    made = report.run(ext, tmp_path / "out", coref=[path])
    files = record_of(made.folder)["coreference"]["files"]
    assert [(one["format"], one["documents"], one["mentions"]) for one in files] == [("CoNLL-2012", 2, 4)]
    assert record_of(made.folder)["settings"]["coreference"]["held_out"]["folds"] == 2
    scores = made.results.coreference
    assert scores is not None
    assert (scores.count("pronoun"), scores.baselines.heads_by_fallback) == (2, 2)
    assert "Head words guessed from the words, where the file says none: 2." in " ".join(read(made).words)


def test_both_formats_are_one_corpus(ext: ba.Extractor, coref: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.conll"
    other.write_text("# begin document (x); part 000\n" + CONLL.format(name="x").partition("\n")[2], encoding="utf-8")
    assert _corpus._format(other) == "CoNLL-2012"  # as OntoGUM has it, with a space
    other.write_text(CONLL.format(name="x"), encoding="utf-8")
    made = report.run(ext, tmp_path / "out", coref=[coref, other])
    scores = made.results.coreference
    assert scores is not None
    assert (len(scores.documents), scores.count()) == (7, 19)


def test_one_document_has_no_held_out_row_and_says_so(ext: ba.Extractor, coref: Path, tmp_path: Path) -> None:
    coref.write_text("# global.Entity = eid-etype-head\n" + coreference_of("d", tags=False), encoding="utf-8")
    made = report.run(ext, tmp_path / "out", coref=coref)
    rows = rows_of(made.folder / "table2.csv", "system")
    assert "head, held out" not in rows
    assert set(rows["chance"]) == {"system", *(f"{a}{b}" for a in ("all", "unknown") for b in ("", " low", " high"))}
    assert "(no interval: one document). Picked on these same documents, it " in made.highlights[-1]
    assert "No head can be picked on other documents" in " ".join(read(made).words)


def test_documents_that_name_nothing_are_in_no_fold(ext: ba.Extractor, coref: Path, tmp_path: Path) -> None:
    silent = "# newdoc id = silent\n1\tSnow\t_\t_\t_\t_\t0\troot\t_\t_\n\n"
    coref.write_text("# global.Entity = eid-etype-head\n" + coreference_of("d") + silent, encoding="utf-8")
    made = report.run(ext, tmp_path / "out", coref=coref)
    assert made.results.coreference is not None
    assert len(made.results.coreference.documents) == 2
    assert record_of(made.folder)["settings"]["coreference"]["held_out"]["folds"] is None


def test_documents_that_give_nothing_say_why(ext: ba.Extractor, coref: Path, treebank: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"there is no mention in .*trees\.conllu, read as CorefUD; give documents with"
    ):
        report.run(ext, tmp_path / "out", coref=[coref, treebank])
    coref.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"there is no mention in .*coref\.conllu"):
        report.run(ext, tmp_path / "out", coref=coref)
    coref.write_text(CONLL.format(name="a").replace("It PRP * - - - - * (1)", "It PRP * - - - - * (2)"))
    with pytest.raises(InputError, match=r"has an antecedent in its window of 96 tokens; give documents in which"):
        report.run(ext, tmp_path / "out", coref=coref)
    coref.write_text(CONLL.format(name="a").replace("(1)", "1)"), encoding="utf-8")
    with pytest.raises(ReaderError, match=r"coref\.conllu:"):
        report.run(ext, tmp_path / "out", coref=coref)
    assert not (tmp_path / "out").exists()


# Probes

# Words, tags, governors and relations of three sentences.
SENTENCES = (
    ("The cat saw the dog .", "DET NOUN VERB DET NOUN PUNCT", "2 3 0 5 3 3", "det nsubj root det obj punct"),
    ("It slept on the mat .", "PRON VERB ADP DET NOUN PUNCT", "2 0 5 5 2 2", "nsubj root case det obl punct"),
    ("Snow falls .", "NOUN VERB PUNCT", "2 0 2", "nsubj root punct"),
)


def trees_of(documents: int, *, name: str = "d", tags: bool = True) -> str:
    """Documents of all three sentences, in another order each."""
    lines = []
    for i in range(documents):
        lines.append(f"# newdoc id = {name}{i}")
        for j in range(3):
            columns = zip(*(column.split() for column in SENTENCES[(i + j * (1 + i % 2)) % 3]), strict=True)
            for k, (word, tag, governor, relation) in enumerate(columns, 1):
                lines.append(f"{k}\t{word}\t_\t{tag if tags else '_'}\t_\t_\t{governor}\t{relation}\t_\t_")
            lines.append("")
    return "\n".join(lines) + "\n"


VECTORS = "the 1 0 0.5 0\ncat 0 1 0 0.25\ndog 0 1 0.5 0\nsaw 1 1 0 0\nmat 0 1 -1 0\n"


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a treebank, another to train on, and word vectors."""
    folder = tmp_path_factory.mktemp("parted")
    (folder / "trees.conllu").write_text(trees_of(6), encoding="utf-8")
    (folder / "train.conllu").write_text(trees_of(8, name="t"), encoding="utf-8")
    (folder / "vectors.txt").write_text(VECTORS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def crossed(ext: ba.Extractor, parted: Path, tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    return report.run(ext, tmp_path_factory.mktemp("crossed") / "out", treebank=parted / "trees.conllu")


@pytest.fixture(scope="module")
def trained(ext: ba.Extractor, parted: Path, tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    return report.run(
        ext,
        tmp_path_factory.mktemp("trained") / "out",
        treebank=parted / "trees.conllu",
        train=parted / "train.conllu",
        vectors=parted / "vectors.txt",
    )


def probed(made: report.Report) -> report.Probing:
    assert made.results.probes is not None
    return made.results.probes


ROWS = ["right-branching", "distance + words", "random-init attention + words", "attention", "attention + words"]


def test_each_fifth_is_predicted_by_probes_trained_on_the_others(
    ext: ba.Extractor, parted: Path, crossed: report.Report
) -> None:
    sentences = ba.readers.read_conllu(parted / "trees.conllu")
    data = probes.prepare(ext.extract(sentences))
    vectors = ext.word_vectors(sentences)
    vectors = vectors.reduced(min(50, len(vectors)))
    words = probes.AttentionWordsProbe(vectors)
    random = []
    for seed in (0, 1, 2):
        untrained = interventions.randomize(ext, seed=seed).extract(sentences)
        random.append(probes.cross_fit(words, probes.prepare(untrained)))
    branching = probes.score_governors(sentences, [probes.right_branching(s) for s in sentences])
    expected = {
        "right-branching": [branching],
        "distance + words": [probes.cross_fit(probes.DistanceWordsProbe(vectors), data)],
        "random-init attention + words": random,
        "attention": [probes.cross_fit(probes.AttentionProbe(), data)],
        "attention + words": [probes.cross_fit(words, data)],
    }
    found = probed(crossed).scores
    assert list(found) == ROWS
    for name, runs in expected.items():
        assert [dataclasses.replace(one, name=name) for one in runs] == list(found[name])
    fitted = {"attention": probes.AttentionProbe().fit(data), "attention + words": words.fit(data)}
    assert probed(crossed).head_weights == {name: probe.head_weights(data) for name, probe in fitted.items()}
    assert "each fifth of this one, parted by document, is predicted by probes" in " ".join(read(crossed).words)
    settings = record_of(crossed.folder)["settings"]["probes"]
    assert settings["folds"] == {"folds": 5, "by": "document", "seed": 0}
    assert settings["random_weights"] == {"keep": "embeddings", "seeds": [0, 1, 2]}
    assert settings["attention + words"]["max_epochs"] == probes.AttentionWordsProbe(vectors).max_epochs


def test_table_3_is_that_of_probe_table(crossed: report.Report) -> None:
    probing = probed(crossed)
    rows = rows_of(crossed.folder / "table3.csv", "predictor")
    assert list(rows) == [*ROWS, "structural probe"]
    table = probes.probe_table({**probing.scores, "structural probe": probing.structural})  # type: ignore[dict-item]
    assert repr(probes.ProbeTable.load(crossed.folder / "table3.json").rows) == repr(table.rows)
    for row in table.rows:
        shown = rows[row.name]
        assert [float(shown[name]) for name in ("accuracy", "low", "high")] == [row.accuracy, row.low, row.high]
        assert (shown["smallest"] == "") == (row.seeds == 1)
    assert rows["structural probe"]["measure"] == "UUAS, not comparable"
    assert rows["random-init attention + words"]["draws"] == "3"
    assert {"table3.png", "probe_weights.svg"} <= {path.name for path in crossed.files}


def test_attention_and_words_are_compared_with_attention_and_with_random_weights(crossed: report.Report) -> None:
    scores = probed(crossed).scores
    rows = rows_of(crossed.folder / "probe_comparisons.csv", "than")
    assert list(rows) == ["attention", "random-init attention + words"]
    alone = scores["attention + words"][0].compare(scores["attention"][0])["all"]
    assert [float(rows["attention"][name]) for name in ("difference", "low", "high")] == [
        alone.difference,
        alone.low,
        alone.high,
    ]
    random = [one.uas() for one in scores["random-init attention + words"]]
    difference = scores["attention + words"][0].uas() - np.mean(random)
    assert float(rows["random-init attention + words"]["difference"]) == pytest.approx(difference)
    p = probes_p(scores)
    assert [float(row["p"]) for row in rows.values()] == pytest.approx(p, abs=1e-4)
    assert (
        f"the difference to random-init attention + words is {100 * difference:+.1f} points (95% CI "
        in crossed.highlights[-1]
    )


def probes_p(scores: Any) -> list[float]:
    """Two tests of paired differences, adjusted by Holm: the smaller p twice, the larger at least that."""
    right = scores["attention + words"][0].by_sentence()[0]
    others = [np.mean([one.by_sentence()[0] for one in scores[name]], axis=0) for name in (ROWS[3], ROWS[2])]
    p = [ba.statistics.paired_permutation_test(right - one, alternative="two-sided").p.item() for one in others]
    return [min(1.0, max(2 * min(p), value if value != min(p) else 0)) for value in p]


def test_relations_are_those_of_the_two_probes_on_attention(crossed: report.Report) -> None:
    scores = probed(crossed).scores
    assert scores["attention"][0].count() == 6 * (5 + 5 + 2)
    assert rows_of(crossed.folder / "probe_relations.csv", "relation") == {}
    assert _probes._fewest_words(scores["attention"][0]) == 20
    every = rows_of(crossed.folder / "probe_attention_words.csv", "relation")
    assert float(every["det"]["uas"]) == scores["attention + words"][0].uas("det")
    loaded = probes.GovernorScores.load(crossed.folder / "probe_attention.json")
    assert loaded == scores["attention"][0]
    heads = probes.HeadWeights.load(crossed.folder / "probe_attention_words_heads.json")
    assert heads == probed(crossed).head_weights["attention + words"]


def test_probes_trained_on_another_treebank(ext: ba.Extractor, parted: Path, trained: report.Report) -> None:
    gold, train = (ba.readers.read_conllu(parted / f"{name}.conllu") for name in ("trees", "train"))
    vectors = ba.readers.read_word_vectors(parted / "vectors.txt", [*gold, *train])
    words = probes.AttentionWordsProbe(vectors).fit(ext.extract(train))
    found = probed(trained)
    assert found.scores["attention + words"][0].uas() == words.score(ext.extract(gold))
    assert found.head_weights["attention + words"] == words.head_weights(ext.extract(gold))
    structural = probes.StructuralProbe(layer=2).fit(ext.hidden_states(train, layer=2))
    assert found.structural is not None
    assert found.structural.correct == structural.evaluate(ext.hidden_states(gold, layer=2), punct="upos").correct
    page = " ".join(" ".join(read(trained).words).split())
    assert "18 sentences of a treebank with 90 words (none left out), with probes trained on 24 sentences of" in page
    assert "Word vectors: vectors.txt (4 dimensions), which know 46.7% of the words scored and 46.7% of" in page
    record = record_of(trained.folder)["probes"]
    assert record["vectors"]["file"]["sha256"] == hashlib.sha256((parted / "vectors.txt").read_bytes()).hexdigest()
    assert record["train"]["files"][0]["sentences"] == record["trained_on"] == 24
    assert record["train"]["skipped"] == []
    assert record["coverage"]["treebank"]["known_tokens"] == 6 * 7


def test_the_parts_of_the_structural_probe_are_those_of_cross_fit(
    ext: ba.Extractor, parted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = ba.readers.read_conllu(parted / "trees.conllu")
    fold = _probes._folds(sentences)
    held_out: list[list[str | None]] = []
    predict = probes.AttentionProbe.predict

    def spy(self: Any, data: Any) -> Any:
        held_out.append([sentence.document for sentence in data.sentences])
        return predict(self, data)

    monkeypatch.setattr(probes.AttentionProbe, "predict", spy)
    probes.cross_fit(probes.AttentionProbe(max_epochs=1), ext.extract(sentences))
    parts = [[s.document for s, f in zip(sentences, fold, strict=True) if f == k] for k in range(5)]
    assert parts == held_out


def test_too_small_a_treebank_says_so_and_leaves_the_other_sections(
    ext: ba.Extractor, treebank: Path, tmp_path: Path
) -> None:
    treebank.write_text(TREES[: TREES.index("# newdoc id = d3")], encoding="utf-8")
    made = report.run(ext, tmp_path / "out", treebank=treebank)
    assert made.results.probes is None
    why = "3 sentences of the treebank have trees, and it takes 10 to train probes"
    assert record_of(made.folder)["too_little"] == {"probes": why}
    page = " ".join(read(made).words)
    assert f"Not measured: {why}. Give a treebank of at least 10 sentences: --treebank FILE" in page
    other = tmp_path / "other.conllu"
    other.write_text(treebank.read_text(encoding="utf-8").replace("dog", "cat"), encoding="utf-8")
    treebank.write_text(TREES, encoding="utf-8")
    made = report.run(ext, tmp_path / "out", treebank=treebank, train=other)
    assert record_of(made.folder)["too_little"]["probes"].startswith("3 sentences to train on have trees, and")


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_probes_of_other_families(family: str, tmp_path: Path) -> None:
    (tmp_path / "trees.conllu").write_text(trees_of(4), encoding="utf-8")
    made = report.run(
        ba.Extractor(*model_zoo.build(family)), tmp_path / "out", treebank=tmp_path / "trees.conllu", batch_size=4
    )
    settings = record_of(made.folder)["settings"]["probes"]
    assert settings["attention"]["root"] == ("constant" if family == "gpt2" else "weights")
    assert settings["folds"]["by"] == "sentence"  # four documents
    assert list(probed(made).scores) == ROWS


def test_what_cannot_be_had_is_left_out_and_the_page_says_why(
    ext: ba.Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("it does not say")

    monkeypatch.setattr(interventions, "randomize", refuse)
    monkeypatch.setattr(ba.Extractor, "hidden_states", refuse)
    (tmp_path / "trees.conllu").write_text(trees_of(4, tags=False), encoding="utf-8")
    made = report.run(ext, tmp_path / "out", treebank=tmp_path / "trees.conllu")
    found = probed(made)
    assert list(found.scores) == [name for name in ROWS if not name.startswith("random")]
    assert found.structural is None
    page = " ".join(read(made).words)
    for name in ("random-init attention + words", "structural probe"):
        assert f"Left out: {name}, since it does not say." in page
    assert set(record_of(made.folder)["probes"]["left_out"]) == {"random-init attention + words", "structural probe"}
    assert list(rows_of(made.folder / "probe_comparisons.csv", "than")) == ["attention"]


def test_punctuation_is_known_by_tags_where_all_have_some() -> None:
    plain = ba.Sentence(["Snow", "falls"])
    tagged = ba.Sentence(["Snow", "falls"], xpos=["NN", "VBZ"])
    both = dataclasses.replace(tagged, upos=("NOUN", "VERB"))
    assert [_probes._punct(trees) for trees in ([both], [both, tagged], [tagged, plain])] == ["upos", "xpos", "include"]


def test_options_of_probes_that_do_not_go_together(ext: ba.Extractor, parted: Path, tmp_path: Path) -> None:
    out, text, trees = tmp_path / "out", parted / "vectors.txt", parted / "trees.conllu"
    for name in ("train", "vectors"):
        with pytest.raises(InputError, match=rf"{name} is for probes, which are scored on a treebank; give one"):
            report.run(ext, out, text=text, **{name: text})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"trees\.conllu is both to train on and to score"):
        report.run(ext, out, treebank=trees, train=[parted / "train.conllu", trees])
    packed = tmp_path / "again.conllu.gz"
    packed.write_bytes(gzip.compress(trees.read_bytes()))
    with pytest.raises(InputError, match=r"again\.conllu\.gz is both to train on and to score"):
        report.run(ext, out, treebank=trees, train=packed)
    with pytest.raises(InputError, match="the name of a file to read is empty"):
        report.run(ext, out, treebank=trees, vectors="")
    headless = tmp_path / "headless.conllu"
    headless.write_text("1\tThe\t_\t_\t_\t_\t_\t_\t_\t_\n\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"none of the 1 sentences to train probes on has a tree; .* HEAD is filled"):
        report.run(ext, out, treebank=trees, train=headless)
    long = "".join(f"{i}\tcat\t_\t_\t_\t_\t{i - 1}\tdep\t_\t_\n" for i in range(1, 200))
    headless.write_text(f"{long}\n", encoding="utf-8")
    with pytest.raises(InputError, match="the model can take none of the sentences to train probes on: "):
        report.run(ext, out, treebank=trees, train=headless)
    assert not out.exists()


# A run that is kept


@pytest.mark.slow
def test_a_run_that_is_stopped_again_and_again_ends_in_the_same_bytes(
    ext: ba.Extractor, parted: Path, coref: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"treebank": parted / "trees.conllu", "train": parted / "train.conllu", "coref": coref}
    options |= {"inputs": ["The cat sat.", "The dog ran on."], "run": tmp_path / "run"}
    whole, left = _files.write_whole, 3

    def write(path: Any, content: Any) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        whole(path, content)

    monkeypatch.setattr(_files, "write_whole", write)
    stopped = 0
    while True:
        try:
            report.run(ext, tmp_path / "out", **options)
        except KeyboardInterrupt:
            assert not (tmp_path / "out").exists()
            stopped, left = stopped + 1, 14
        else:
            break
        if (tmp_path / "run" / "structural.json").exists():
            left = 1000
    assert stopped > 1
    left = 1000
    report.run(ext, tmp_path / "not stopped", **options | {"run": tmp_path / "another"})
    same_but_for_times(tmp_path / "out", tmp_path / "not stopped")
    kept, others = ({p.relative_to(folder): p for p in folder.rglob("*") if p.is_file() and p.name[0] != "."}
                    for folder in (tmp_path / "run", tmp_path / "another"))  # fmt: skip
    assert set(kept) == set(others)
    assert all(kept[name].read_bytes() == others[name].read_bytes() for name in kept)
    monkeypatch.setattr(probes.AttentionWordsProbe, "fit", None)  # nothing is trained again
    monkeypatch.setattr(ba.Extractor, "hidden_states", None)
    report.run(ext, tmp_path / "again", **options)
    same_but_for_times(tmp_path / "out", tmp_path / "again")


@pytest.mark.usefixtures("without_pictures")
def test_a_kept_run_is_not_mixed_with_another(
    ext: ba.Extractor, parted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ext.model.save_pretrained("model")
    ext.tokenizer.save_pretrained("model")
    trees, vectors = tmp_path / "trees.conllu", tmp_path / "vectors.txt"
    trees.write_text(trees_of(5), encoding="utf-8")
    vectors.write_text(VECTORS, encoding="utf-8")
    call = ["report", "--model", "model", "--treebank", str(trees), "--vectors", str(vectors), "--run", "run"]
    call.append("--no-progress")
    assert CliRunner().invoke(app, call).exit_code == 0
    command = shlex.split(record_of(Path("report-out"))["command"])
    assert command[command.index("--run") + 1] == "run"
    assert command[command.index("--vectors") + 1] == str(vectors)
    vectors.write_text(VECTORS.replace("cat 0", "cat 1"), encoding="utf-8")
    ran = CliRunner().invoke(app, call)
    assert (ran.exit_code, ran.stderr.count("\n")) == (1, 1)
    assert ran.stderr.startswith("bertattn: run/distance-words.json is of another run: probe.vectors.digest was '")
    assert "Name another folder, or delete this file to make it anew" in ran.stderr
    vectors.write_text(VECTORS, encoding="utf-8")
    Path("run/attention.json").write_text("{", encoding="utf-8")
    ran = CliRunner().invoke(app, call)
    assert ran.stderr.startswith("bertattn: run/attention.json is torn or no JSON file (")
    trees.write_text(trees_of(5).replace("mat", "cat"), encoding="utf-8")
    ran = CliRunner().invoke(app, call)
    assert (ran.exit_code, ran.stderr.count("\n")) == (1, 1)
    assert "bertattn: run/treebank holds another run: inputs.sha256.from 0 was " in ran.stderr


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("kept", [False, True])
def test_one_forward_pass_serves_all_statistics_of_the_same_data(
    ext: ba.Extractor, parted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    passes: list[int] = []
    extract = ba.Extractor.extract

    @functools.wraps(extract)
    def counted(self: ba.Extractor, inputs: Any, **options: Any) -> Any:
        passes.append(len(inputs))
        return extract(self, inputs, **options)

    monkeypatch.setattr(ba.Extractor, "extract", counted)
    run = tmp_path / "run" if kept else None
    made = report.run(
        ext, tmp_path / "out", inputs=["The cat sat.", "The dog ran."], treebank=parted / "trees.conllu", run=run
    )
    assert made.results.surface is not None
    assert made.results.distances is not None
    # One for surface patterns and distances; one for relations and probes; one for each model with random weights.
    passes = [count for count in passes if count]  # none: only looks at the options
    assert sorted(passes) == [2, *[made.results.relations.sentences] * (1 + len(_probes.SEEDS))]


@pytest.mark.usefixtures("without_pictures")
def test_a_shard_of_nothing_but_words_without_tokens(
    ext: ba.Extractor, coref: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_keeping, "SHARD", 2)
    unseen = "# newdoc id = odd\n# sent_id = odd-1\n1\tKim\t_\tPROPN\t_\t_\t3\tnsubj\t_\tEntity=(e1--1)\n"
    unseen += "2\t\u200b\t_\tX\t_\t_\t3\tdep\t_\t_\n3\the\t_\tPRON\t_\t_\t0\troot\t_\tEntity=(e1--1)\n\n"
    coref.write_text(coref.read_text(encoding="utf-8") + unseen, encoding="utf-8")
    plain = report.run(ext, tmp_path / "plain", coref=coref).results.coreference
    kept = report.run(ext, tmp_path / "out", coref=coref, run=tmp_path / "run").results.coreference
    assert [index for index, _ in kept.skipped] == [index for index, _ in plain.skipped] == [6]
    assert kept.to_records() == plain.to_records()


def test_a_run_needs_a_folder(ext: ba.Extractor, text: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"text\.txt is a file; name a folder to keep the run in"):
        report.run(ext, tmp_path / "out", text=text, run=text)
    with pytest.raises(StorageError, match="the name of the folder to keep the run in is empty"):
        report.run(ext, tmp_path / "out", text=text, run="")


# What goes in


def test_left_out_text_is_on_record(done: report.Report) -> None:
    text = record_of(done.folder)["text"]
    assert (text["unit"], text["segments"], text["left_out"]["one_line_chunks"]) == ("segment", 2, 1)
    assert text["files"][0]["documents"] == 3
    assert text["files"][0]["lines"] == 6


@pytest.mark.usefixtures("without_pictures")
def test_each_line_by_itself_and_long_ones_cut(ext: ba.Extractor, text: Path, tmp_path: Path) -> None:
    text.write_text(TEXT + "\n" + "the cat " * 100, encoding="utf-8")
    made = report.run(ext, tmp_path / "out", text=[text], unit="line")
    record = record_of(made.folder)
    assert record["used"]["sequences"] == 7
    assert [one["index"] for one in record["truncated"]] == [6]
    assert "none left out, 1 cut" in " ".join(" ".join(read(made).words).split())


def test_a_text_without_two_lines_together_names_the_remedy(ext: ba.Extractor, text: Path, tmp_path: Path) -> None:
    text.write_text("One line.\n\nAnother.\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"gives no segment: none of its documents has two lines .*max_tokens=96 .*--unit line, "
    ):
        report.run(ext, tmp_path / "out", text=text)
    text.write_text("\n \n", encoding="utf-8")
    with pytest.raises(InputError, match=r"there is no text in .*text\.txt: all lines are empty"):
        report.run(ext, tmp_path / "out", text=text)


def test_bad_arguments(ext: ba.Extractor, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="there is nothing to read; give text files"):
        report.run(ext, out)
    with pytest.raises(InputError, match="both text and inputs are given"):
        report.run(ext, out, text=text, inputs=["a"])
    with pytest.raises(InputError, match="inputs is empty"):
        report.run(ext, out, inputs=[])
    with pytest.raises(InputError, match="device, dtype and revision belong to a model loaded by name"):
        report.run(ext, out, text=text, device="cpu")
    with pytest.raises(ValidationError, match="unit must be 'segment' or 'line', but is 'word'"):
        report.run(ext, out, text=text, unit="word")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the name of a file to read is empty"):
        report.run(ext, out, text="")
    with pytest.raises(InputError, match="count is how many segments to use, 1 or more, but is 0"):
        report.run(ext, out, text=text, count=0)
    with pytest.raises(InputError, match="count belongs to text that is read as segments; leave it out"):
        report.run(ext, out, text=text, unit="line", count=1)
    with pytest.raises(InputError, match="max_tokens belongs to text that is read as segments; leave it out"):
        report.run(ext, out, inputs=["a"], max_tokens=20)
    with pytest.raises(InputError, match="example needs text beside it, which says which heads to show"):
        report.run(ext, out, treebank=text, example="The cat")
    with pytest.raises(StorageError, match="the name of the folder to write is empty"):
        report.run(ext, "", text=text)
    with pytest.raises(FileNotFoundError):
        report.run(ext, out, text=tmp_path / "absent.txt")
    text.write_bytes(b"fine\nnot \xff fine\n")
    with pytest.raises(ReaderError, match=r"text\.txt:2:5: byte 0xFF is no UTF-8"):
        report.run(ext, out, text=text)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"inputs": "cats"}, InputError, "inputs is one str"),
        ({"inputs": {"text": "cats"}}, InputError, ".* is a dict; give its texts, such as inputs"),
        ({"inputs": 5}, InputError, "inputs must be a sequence or stream of inputs, but is an int"),
        (
            {"inputs": ["a"], "notes": "hello"},
            InputError,
            "notes must be a list of paragraphs, each a string, but is 'he",
        ),
        ({"inputs": ["a"], "notes": 5}, InputError, "notes must be a list of paragraphs"),
        ({"inputs": ["a"], "notes": [5]}, InputError, "notes must be a list of paragraphs"),
        ({"inputs": ["a"], "batch_size": 0}, InputError, "batch_size must be a whole number, at least 1, but is 0"),
        ({"inputs": ["a"], "batch_size": "a"}, InputError, "batch_size must be a whole number, at least 1, but is 'a'"),
        ({"text": 5}, InputError, "text must be a name, or a pathlib.Path, but is 5"),
        ({"text": b"a.txt"}, InputError, "text must be a name, or a pathlib.Path, but is b'a.txt'"),
        ({"coref": [None]}, InputError, "coref must be a name, or a pathlib.Path, but is None"),
        (
            {"treebank": "a", "vectors": ["b", "c"]},
            InputError,
            "vectors must be a name, or a pathlib.Path, but is .'b'",
        ),
        ({"text": "a\0b"}, InputError, r"text: the name 'a\\x00b' holds a NUL character"),
        ({"text": "a", "count": "3"}, InputError, "count is how many segments to use, 1 or more, but is '3'"),
        ({"text": "a", "count": 2.5}, InputError, "count is how many segments to use, 1 or more, but is 2.5"),
        ({"train": "\udcff"}, InputError, r"train: the name '\\udcff' is no UTF-8; rename it"),
        ({"run": "\udcff"}, StorageError, r"run: the name '\\udcff' is no UTF-8; rename it"),
        ({"run": 5}, StorageError, "run must be a name, or a pathlib.Path, but is 5"),
        ({"out": "\udcff"}, StorageError, r"out: the name '\\udcff' is no UTF-8; rename it"),
        ({"out": 5}, StorageError, "out must be a name, or a pathlib.Path, but is 5"),
        ({"model": "\udcff"}, InputError, r"model: the name '\\udcff' is no UTF-8; rename it"),
        ({"model": 5}, InputError, "model must be a name on the hub, a folder or an Extractor, but is of type int"),
    ],
)
def test_arguments_that_say_nothing_are_refused_before_anything_is_read(
    options: dict[str, Any], error: type[Exception], message: str, ext: ba.Extractor, tmp_path: Path
) -> None:
    given = {"model": ext, "out": tmp_path / "out", "run": tmp_path / "run"} | options
    with pytest.raises(error, match=f"^{message}"):
        report.run(given.pop("model"), given.pop("out"), **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["all", "all:x"])
def test_a_relation_called_all_is_refused(name: str, ext: ba.Extractor, treebank: Path, tmp_path: Path) -> None:
    treebank.write_text(TREES.replace("\tnsubj\t", f"\t{name}\t"), encoding="utf-8")
    with pytest.raises(ValidationError, match=f"a word with the relation '{name}', but 'all' are the words of every"):
        report.run(ext, tmp_path / "out", treebank=treebank)


def test_a_pipe_is_refused_before_it_is_read(ext: ba.Extractor, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("text", "treebank", "coref"):
        with pytest.raises(
            InputError, match=r"pipe is a pipe or device, not a file; write its content to a file first"
        ):
            report.run(ext, tmp_path / "out", **{name: tmp_path / "pipe"})  # type: ignore[arg-type]


# That it can be repeated


@pytest.mark.usefixtures("without_pictures")
def test_the_text_of_figure_1_is_on_record(ext: ba.Extractor, done: report.Report, tmp_path: Path) -> None:
    assert record_of(done.folder)["text"]["example"] == "The cat sat on the mat."
    pair = ba.TextPair("The cat sat.", "It ran.")
    made = report.run(ext, tmp_path / "out", inputs=["The dog ran."], example=pair)
    assert record_of(made.folder)["text"]["example"] == ["The cat sat.", "It ran."]


def same_but_for_times(a: Path, b: Path) -> None:
    names, others = (sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file()) for folder in (a, b))
    assert names == others
    for name in names:
        one, other = (a / name).read_bytes(), (b / name).read_bytes()
        if name.name == "report.json":
            records = [json.loads(one), json.loads(other)]
            assert all(set(record.pop("times")) == {"started", "seconds"} for record in records)
            assert records[0] == records[1]
        else:
            assert one == other, name


def test_a_file_of_coreference_counts_once(ext: ba.Extractor, coref: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.conllu"
    copy.write_bytes(coref.read_bytes())
    for again in (coref, copy):
        with pytest.raises(InputError, match="was given before, or a file of the same content"):
            report.run(ext, tmp_path / "out", coref=[coref, again])


def test_the_command_on_the_page_gives_the_same_bytes(
    ext: ba.Extractor, text: Path, treebank: Path, coref: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ext.model.save_pretrained("a model")
    ext.tokenizer.save_pretrained("a model")
    inputs = ["--model", "a model", "--text", str(text), "--treebank", str(treebank)]
    more = tmp_path / "more.conllu"  # its documents have the names of those in the first file
    more.write_text(coref.read_text(encoding="utf-8").replace("\tbig\t", "\tsmall\t") + "\n", encoding="utf-8")
    inputs += ["--coref", str(coref), "--coref", str(more)]
    train = tmp_path / "train.conllu"
    train.write_text(trees_of(4), encoding="utf-8")
    inputs += ["--train", str(train), "--run", "kept"]
    ran = CliRunner().invoke(app, ["report", *inputs, "--count", "1", "--seed", "3", "--out", "out", "--no-progress"])
    assert ran.exit_code == 0, ran.output
    assert "open out/index.html" in ran.output
    command = shlex.split(record_of(Path("out"))["command"])
    assert (command[0], command.count("--coref")) == ("bertattn", 2)
    scores = ba.heads.CoreferenceScores.load("out/coreference_scores.json")
    assert (len(scores.documents), scores.count()) == (12, 36)
    Path("out").rename("first")
    assert CliRunner().invoke(app, command[1:]).exit_code == 0
    same_but_for_times(Path("first"), Path("out"))


@pytest.mark.usefixtures("without_pictures")
def test_every_option_is_in_the_command(ext: ba.Extractor, text: Path, tmp_path: Path) -> None:
    ext.model.save_pretrained(tmp_path / "model")
    ext.tokenizer.save_pretrained(tmp_path / "model")
    options: dict[str, Any] = {"example": "It ran.", "max_tokens": 20, "count": 1, "seed": 5, "weighting": "query"}
    options |= {"batch_size": 2, "device": "cpu", "dtype": "float64", "revision": "main", "unit": "segment"}
    made = report.run(tmp_path / "model", tmp_path / "out", text=[text, text], **options)
    words = shlex.split(record_of(made.folder)["command"])
    assert words.count("--text") == 2
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        assert (flag in words) == (name != "unit")
        assert name == "unit" or words[words.index(flag) + 1] == str(value)
    with pytest.raises(ValidationError, match="weighting must be"):
        report.run(tmp_path / "model", tmp_path / "out", text=text, weighting="token")  # type: ignore[arg-type]


def test_the_record_tells_models_texts_and_tokenizers_apart(ext: ba.Extractor) -> None:
    before = _provenance.of_model(ext)
    weight = next(ext.model.parameters())
    with torch.no_grad():
        old = weight[0, 0].item()
        weight[0, 0] += 1e-3
        changed = _provenance.of_model(ext)
        weight[0, 0] = old
    assert {name for name in before if before[name] != changed[name]} == {"weights_sha256"}
    assert _provenance.of_model(ext) == before
    other = _provenance.of_model(ba.Extractor(*model_zoo.build("roberta")))
    assert other["tokenizer_sha256"] != before["tokenizer_sha256"]


def test_the_tokenizer_counts_by_what_it_knows_not_by_its_last_call(ext: ba.Extractor) -> None:
    before = _provenance.tokenizer_sha256(ext.tokenizer)
    ext.tokenizer(["the cat", "the"], padding=True, truncation=True, max_length=8)
    assert _provenance.tokenizer_sha256(ext.tokenizer) == before


def test_the_record_has_versions_and_machine(done: report.Report) -> None:
    record = record_of(done.folder)
    assert {"bertattn", "python", "torch", "transformers", "tokenizers", "numpy"} <= set(record["versions"])
    assert record["machine"]["threads"] == torch.get_num_threads()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["times"]["started"])


# That nothing is left half-written


def write_into(out: Path, *names: str) -> None:
    with _files.all_or_nothing(out) as folder:
        for name in names:
            (folder / name).write_text("new")


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_run_that_stops_at_any_file_leaves_the_folder_as_it_was(
    failure: BaseException,
    existing: bool,
    ext: ba.Extractor,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    if existing:
        out.mkdir()
        (out / "index.html").write_text("old")
        (out / "mine.txt").write_text("mine")
    whole, written = _files.write_whole, 0

    def count(path: Any, content: Any) -> None:
        nonlocal written
        if written == stop:
            raise failure
        written += 1
        whole(path, content)

    monkeypatch.setattr(_files, "write_whole", count)
    before = sorted(tmp_path.rglob("*"))
    for stop in range(0, 12, 3):
        written = 0
        with pytest.raises(type(failure)):
            report.run(ext, out, text=text)
        assert written == stop
        assert sorted(tmp_path.rglob("*")) == before
    if existing:
        assert (out / "index.html").read_text() == "old"
    stop = -1
    report.run(ext, out, text=text)
    assert (out / "index.html").read_text() != "old"
    assert (out / "mine.txt").exists() == existing


@pytest.mark.parametrize("stop", range(8))
def test_moving_into_a_folder_that_fails_half_way_is_undone(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a", "b", "mine"):
        (out / name).write_text("old")
    rename, moved = Path.rename, 0

    def move(self: Path, to: Any) -> Path:
        nonlocal moved
        moved += 1
        if moved == stop + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", move)
    fails = stop < 5  # two files moved away, three moved in
    with pytest.raises(OSError, match="No space") if fails else contextlib.nullcontext():
        write_into(out, "a", "b", "c")
    expected = {"a": "old", "b": "old", "mine": "old"} if fails else {"a": "new", "b": "new", "c": "new", "mine": "old"}
    assert {path.name: path.read_text() for path in out.iterdir()} == expected


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("old")
    with pytest.raises(StorageError, match="b is a folder, but a file of this name is to be written; move it away"):
        write_into(tmp_path, "a", "b")
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_ctrl_c_while_files_move_waits_until_all_have_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("old")
    rename = Path.rename

    def move(self: Path, to: Any) -> Path:
        signal.raise_signal(signal.SIGINT)
        return rename(self, to)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(Path, "rename", move)
    with pytest.raises(KeyboardInterrupt):
        write_into(tmp_path, "a", "b")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}
    assert signal.getsignal(signal.SIGINT) is before


def test_a_full_disk_is_one_line(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(report, "run", full)
    ran = CliRunner().invoke(app, ["report", "--model", "m", "--text", str(text), "--out", str(tmp_path / "out")])
    assert (ran.exit_code, ran.stderr) == (1, "bertattn: [Errno 28] No space left on device\n")


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*page\.html'"):
        _files.write_whole(tmp_path / "page.html", "a")
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_frozen(done: report.Report) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.folder = Path()  # type: ignore[misc]
