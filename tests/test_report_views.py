"""Reports: the head views that tables lead to."""

from __future__ import annotations

import base64
import csv
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertattn as ba
import model_zoo
from bertattn import _files, report
from bertattn.annotation import DocumentWindow, Mention, Sentence
from bertattn.errors import StorageError
from bertattn.report import Shown, Table, _page, _sections, _views

pytest.importorskip("matplotlib")

TREES = "# global.Entity = eid-etype-head-other\n" + "".join(
    f"# newdoc id = d{i}\n# sent_id = s{i}\n"
    "1\tThe\t_\tDET\t_\t_\t2\tdet\t_\tEntity=(e1-animal-2-\n2\tcat\t_\tNOUN\t_\t_\t3\tnsubj\t_\tEntity=e1)\n"
    "3\tsaw\t_\tVERB\t_\t_\t0\troot\t_\t_\n4\tthe\t_\tDET\t_\t_\t5\tdet\t_\t_\n"
    "5\tdog\t_\tNOUN\t_\t_\t3\tobj\t_\t_\n6\t.\t_\tPUNCT\t_\t_\t3\tpunct\t_\t_\n\n"
    "1\tIt\t_\tPRON\t_\t_\t2\tnsubj\t_\tEntity=(e1-animal-1-)\n2\tsat\t_\tVERB\t_\t_\t0\troot\t_\t_\n"
    "3\t.\t_\tPUNCT\t_\t_\t2\tpunct\t_\t_\n\n"
    for i in range(24)
)


@pytest.fixture(scope="module")
def ext() -> ba.Extractor:
    return ba.Extractor(*model_zoo.build("bert"))


@pytest.fixture(scope="module")
def made(ext: ba.Extractor, tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    folder = tmp_path_factory.mktemp("views")
    (folder / "trees.conllu").write_text(TREES, encoding="utf-8")
    (folder / "coref.conllu").write_text(TREES, encoding="utf-8")
    (folder / "text.txt").write_text("The cat sat on the mat.\nIt slept, and the dog ran.\n", encoding="utf-8")
    return report.run(
        ext,
        folder / "out",
        text=folder / "text.txt",
        treebank=folder / "trees.conllu",
        coref=folder / "coref.conllu",
    )


class Links(HTMLParser):
    """The links of a page: their text and where they lead."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.target: str | None = None
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.target = dict(attrs).get("href") if tag == "a" else None

    def handle_data(self, data: str) -> None:
        if self.target is not None:
            self.found.append((data, self.target))
            self.target = None


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def views_of(made: report.Report) -> dict[str, dict[str, Any]]:
    return {
        path.relative_to(made.folder).as_posix(): data_of(path.read_text(encoding="utf-8"))
        for path in made.files
        if path.parent.name == "views"
    }


def test_every_head_of_the_tables_leads_to_its_view(made: report.Report) -> None:
    links = [one for one in Links(made.files[0].read_text(encoding="utf-8")).found if one[1].startswith("views/")]
    views = views_of(made)
    assert set(views) == {target for _, target in links}
    assert sorted(views) == sorted(path.relative_to(made.folder).as_posix() for path in made.folder.glob("views/*"))
    for text, target in links:
        name = re.search(r"\d+-\d+", text)
        assert name is not None
        assert target.startswith(f"views/head_{name[0]}_")
        (part,) = views[target]["parts"]
        layer, head = map(int, name[0].split("-"))
        assert part["layers"] == [layer]
        assert views[target]["start"]["heads"] == [head - 1]
    assert [text.split(" ")[0] for text, _ in links].count("head") == 1  # of Table 2, without its baselines
    assert {"nsubj", "obj", "det", "coreference"} <= {re.split(r"[_.]", target)[2] for _, target in links}
    assert any(view["start"]["gold"] is None for view in views.values())  # those of Figure 1
    for file in ("best_heads", "entropy"):
        with (made.folder / f"{file}.csv").open(encoding="utf-8", newline="") as table:
            assert {row["head"] for row in csv.DictReader(table)} <= {text for text, _ in links}
    about = {target.partition("_")[2].partition("_")[2] for _, target in links}
    assert {"attention-to-cls.html", "attention-to-the-next-token.html", "broadest-attention.html"} <= about


def relation_rows(made: report.Report) -> list[dict[str, str]]:
    with (made.folder / "relations.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_relations_are_shown_on_a_sentence_in_which_the_head_finds_the_governor(made: report.Report) -> None:
    views = views_of(made)
    rows = relation_rows(made)
    assert [row["relation"] for row in rows] == list(made.results.relation_maps)
    for row in rows:
        relation, direction = row["relation"], row["direction"]
        attention = made.results.relation_maps[relation]
        cases = ba.heads.score_relations([attention]).cases(relation, row["head"], direction=direction)  # type: ignore[arg-type]
        assert any(case["found"] for case in cases)
        view = views[f"views/head_{row['head']}_{relation}.html"]
        assert view["start"]["gold"] == "relations"
        assert view["parts"][0]["gold"]["relations"]
        assert view["parts"][0]["queries"]["tokens"] == list(attention.queries.tokens)


def test_the_weights_in_a_view_are_those_of_the_maps(made: report.Report) -> None:
    (head,) = (row["head"] for row in relation_rows(made) if row["relation"] == "nsubj")
    target = f"views/head_{head}_nsubj.html"
    page = (made.folder / target).read_text(encoding="utf-8")
    part = data_of(page)["parts"][0]
    block = re.search(r'id="block-weights-0-0">(.*?)</script>', page)
    assert block is not None
    codes = np.frombuffer(zlib.decompress(base64.b64decode(block[1]), -15), np.uint8)
    coding = part["coding"][0]
    attention = made.results.relation_maps["nsubj"].select(layers=[part["layers"][0] - 1])
    weights = coding["top"] * (codes / coding["levels"]) ** 2
    np.testing.assert_allclose(weights.reshape(attention.shape), attention.numpy(), atol=part["error"] + 1e-6)


def test_coreference_is_shown_on_a_short_piece_with_its_links(made: report.Report) -> None:
    found = {name: view for name, view in views_of(made).items() if name.endswith("_coreference.html")}
    assert found
    for view in found.values():
        assert view["start"]["gold"] == "coreference"
        assert view["parts"][0]["gold"]["coreference"]
        assert len(view["parts"][0]["queries"]["tokens"]) <= 24


def test_the_page_opens_without_its_views_and_tables_keep_their_columns(made: report.Report) -> None:
    source = made.files[0].read_text(encoding="utf-8")
    assert "<iframe" not in source
    columns = ["relation", "words", "head", "direction", "accuracy", "low", "high", "held out", "offset", "baseline"]
    assert list(relation_rows(made)[0]) == columns


def test_cells_that_lead_somewhere_are_escaped() -> None:
    table = Table("t", "c", [{"head": "<1-1>"}, {"head": "1-2"}], links={"head": ['views/"&x.html', None]})
    section = report.Section("s", "S", (), "Give a text: --text FILE (in Python: text=).", lambda _: Shown())
    record = {"command": None, "versions": {"bertattn": "0"}}
    source = _page.page(title="t", lead=[], sections=[(section, Shown(tables=(table,)))], images={}, record=record)
    assert '<td class="text"><a href="views/&#34;&amp;x.html">&lt;1-1&gt;</a></td>' in source
    assert '<td class="text">1-2</td>' in source


def test_files_have_names_that_any_system_takes() -> None:
    attention = ba.AttentionTensor(np.full((1, 2, 2, 2), 0.5), ["a", "b"])
    other = ba.AttentionTensor(np.full((1, 2, 2, 2), 0.5), ["c", "d"])
    rows = [("1-2", about, attention) for about in ("nmod:poss", "../../x", "Obj", "obj", "obj", "主語", "a" * 300)]
    links, pages = _views.head_pages([*rows, ("1-1", "obj", None), ("1-2", "obj", other)])
    assert links == [
        "views/head_1-2_nmod-poss.html",
        "views/head_1-2_x.html",
        "views/head_1-2_obj.html",
        "views/head_1-2_obj_2.html",
        "views/head_1-2_obj_2.html",  # the same view again
        "views/head_1-2_.html",
        f"views/head_1-2_{'a' * 40}.html",
        None,
        "views/head_1-2_obj_3.html",
    ]
    assert set(pages) == set(links) - {None}
    assert pages["views/head_1-2_x.html"].title == "Head 1-2: ../../x"


def test_a_window_without_links_has_a_view_without_gold() -> None:
    """Both mentions begin with the same word and no tree says their head words."""
    words = Sentence(["John", "Smith", "sat"])
    window = DocumentWindow([words], [Mention(0, 1, "e"), Mention(0, 2, "e")])
    axis = ba.Axis(words.words, word_ids=(0, 1, 2), words=words.words)
    attention = ba.AttentionTensor(np.full((1, 1, 3, 3), 1 / 3), axis, annotation=window)
    links, pages = _views.head_pages([("1-1", "coreference", attention)], gold="coreference")
    assert data_of(pages[str(links[0])].html)["start"]["gold"] is None


def test_a_relation_that_no_head_finds_has_no_view(monkeypatch: pytest.MonkeyPatch, made: report.Report) -> None:
    scores = made.results.relations
    assert scores is not None
    monkeypatch.setattr(type(scores), "cases", lambda *_, **__: [{"sentence": 0, "found": False}])
    assert _sections.relation_sentences(scores) == {}


# Files in folders


def write_into(out: Path, *names: str) -> None:
    with _files.all_or_nothing(out) as folder:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("new")


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_files_in_folders_are_moved_and_replace_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "views").mkdir()
    (tmp_path / "views" / "a").write_text("old")
    (tmp_path / "views" / "mine").write_text("mine")
    write_into(tmp_path, "views/a", "views/b", "more/c")
    assert contents(tmp_path) == {"views/a": "new", "views/b": "new", "views/mine": "mine", "more/c": "new"}


def test_moving_that_fails_leaves_no_folder_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    for name in ("old/a", "z"):
        (tmp_path / name).write_text("old")
    rename = Path.rename

    def move(self: Path, to: Any) -> Path:
        if self.name == "z" and self.read_text() == "new":
            raise OSError("no space")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", move)
    with pytest.raises(OSError, match="no space"):
        write_into(tmp_path, "old/a", "views/a", "z")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "z"]
    assert contents(tmp_path) == {"old/a": "old", "z": "old"}


def test_a_file_in_the_way_of_a_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "views").write_text("mine")
    with pytest.raises(StorageError, match="views is a file, but a folder of this name is to be written; move it away"):
        write_into(tmp_path, "views/a")
    assert contents(tmp_path) == {"views": "mine"}
