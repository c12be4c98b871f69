"""examples/reproduce_bert_base.py on a small random BERT of 12 layers of 12 heads: every path that it can take."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bertattn as ba
import model_zoo
import tokenizer_zoo
from bertattn import demo, heads, probes, readers

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "reproduce_bert_base.py"
# As close to Stanford Dependencies as a test needs; arcs stay as they are.
STANFORD = {"obj": "dobj", "compound": "nn", "case": "pobj", "nmod:poss": "poss", "aux:pass": "auxpass"}
# Written again from the paper.
PAPER1 = {"det": (94.3, "8-11"), "nsubj": (58.5, "8-2"), "dobj": (86.8, "8-10"), "all": (34.5, "7-6")}
PAPER2 = {"all": 65, "pronoun": 64, "proper": 73, "nominal": 58}
PAPER3 = {
    "right-branching": 26,
    "distance + words": 58,
    "random-init attention + words": 30,
    "attention": 61,
    "attention + words": 77,
    "structural probe": 80,
}
SCHEDULE: dict[str, Any] = {
    "batch_size": 1,
    "learning_rate": 0.002,
    "max_epochs": 1,
    "decay": "none",
    "early_stopping": False,
    "shuffle": False,
}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("reproduce_bert_base", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their types
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def labelled(sentence: ba.Sentence) -> ba.Sentence:
    """With the names of Stanford Dependencies, and nothing that the format of the paper's code does not hold."""
    relations = [STANFORD.get(name or "", name or "") for name in sentence.relations or ()]
    return ba.Sentence(sentence.words, governors=sentence.governors, relations=relations)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a handful of the demo's sentences in all formats."""
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("data")
    tokenizer = tokenizer_zoo.wordpiece()
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 12, "num_attention_heads": 12}
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), intermediate_size=48, pad_token_id=0, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    model.save_pretrained(folder / "bert-base-uncased")
    tokenizer.save_pretrained(folder / "bert-base-uncased")
    head, *parts = demo.corpus_path().read_text(encoding="utf-8").split("# newdoc")
    (folder / "coref.conllu").write_text("# newdoc".join([head, *parts[:4]]), encoding="utf-8")
    documents = readers.read_corefud(folder / "coref.conllu")
    readers.write_conll2012(folder / "coref.v4_gold_conll", documents)
    trees = [[*one.sentences, *other.sentences] for one, other in (documents[:2], documents[2:])]
    # One that ends in its root: there it matters on what the last word of a right-branching tree hangs.
    trees[0].append(
        ba.Sentence(["They", "sleep"], governors=[2, 0], relations=["nsubj", "root"], upos=["PRON", "VERB"])
    )
    kinds = dict(zip(("dev", "train"), trees, strict=True))
    for name, sentences in kinds.items():
        readers.write_conllu(folder / f"{name}.conllu", sentences)
        readers.write_dependencies(folder / f"{name}.txt", [labelled(sentence) for sentence in sentences])
    words = sorted({word.lower() for sentences in kinds.values() for one in sentences for word in one.words})
    rng = np.random.default_rng(0)
    lines = [" ".join([word, *(f"{x:.3f}" for x in rng.normal(size=4))]) for word in words]
    (folder / "vectors.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = [" ".join(text.split()[:15]) for one in demo.passages()[:2] for text in (one.first, one.second, "")]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def ext(data: Path) -> ba.Extractor:
    return ba.Extractor.from_pretrained(data / "bert-base-uncased", device="cpu", head="own")


def arguments(data: Path, out: Path, *more: str, **files: str) -> list[str]:
    given = [str(one) for name, file in files.items() for one in (f"--{name}", data / file)]
    return ["--model", f"{data / 'bert-base-uncased'}", "--device", "cpu", "--no-progress", "--out", f"{out}",
            *given, *more]  # fmt: skip


TABLES = {"treebank": "dev.conllu", "train": "train.conllu", "vectors": "vectors.txt", "coref": "coref.conllu"}


@pytest.fixture(scope="module")
def paper(script: ModuleType, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables by the paper's settings, from CoNLL-U."""
    out = tmp_path_factory.mktemp("paper") / "out"
    assert script.main(arguments(data, out, **TABLES)) == 0
    return out


def table(out: Path, number: int, index: str | list[str]) -> pd.DataFrame:
    return pd.read_csv(out / f"paper_table{number}.csv", keep_default_na=True).set_index(index)


def close(frame: pd.DataFrame, left: str, *right: str) -> None:
    """A column is the difference of two others, where neither is NaN."""
    assert np.allclose(frame[left], frame[right[0]] - frame[right[1]], equal_nan=True)


def first_tokens(ext: ba.Extractor, sentences: Any) -> list[ba.AttentionTensor]:
    return [ba.merge_subwords(a, queries="first") for a in ext.extract(sentences)]


# Table 1


def test_table1_of_a_treebank_in_universal_dependencies(paper: Path, data: Path, ext: ba.Extractor) -> None:
    gold = readers.read_conllu(data / "dev.conllu")
    two = ["from_dependent", "to_dependent"]
    scores = heads.score_relations(first_tokens(ext, gold), directions=two, poss_mode="clark")
    kept = ba.RunFolder(paper / "run" / "relations").result()
    assert (kept.poss_mode, kept.directions) == ("clark", tuple(two))
    shown = table(paper, 1, "relation")
    assert {"det", "nsubj", "obj", "case", "aux"} <= set(shown.index)
    assert "all" not in shown.index  # has no counterpart
    best = heads.best_heads(scores, relations=list(shown.index), offsets=[-3, -2, -1, 0, 1, 2])
    for ours in best.rows:
        row = shown.loc[ours.relation]
        assert (row["head"], row["direction"], row["words"]) == (ours.head, ours.direction, ours.count)
        assert [row["accuracy"], row["low"], row["high"]] == pytest.approx(
            [ours.accuracy, ours.low, ours.high],
            nan_ok=True,  # of one sentence
        )
        assert (row["offset"], row["baseline"]) == (ours.offset, pytest.approx(ours.baseline))
    close(shown, "difference", "accuracy", "paper")
    assert shown["paper's"].to_dict()["obj"] == "dobj"
    for name, (percent, head) in PAPER1.items():
        relation = {"dobj": "obj"}.get(name, name)
        if relation in shown.index:
            row = shown.loc[relation]
            assert (row["paper"], row["paper's head"]) == (pytest.approx(percent / 100), head)
            accuracy = scores.accuracy(relation, direction="from_dependent")[ba.tensor.parse_head(head)]
            assert row["its accuracy"] == pytest.approx(accuracy)
            assert not row["its low"] > row["its accuracy"]
            assert not row["its high"] < row["its accuracy"]


def test_the_head_of_a_reversed_arc_is_asked_in_the_other_direction(script: ModuleType, data: Path) -> None:
    """pobj: noun to preposition in the paper, the attention that the noun gets; case: of the preposition itself."""

    def scores(sentence: ba.Sentence) -> heads.RelationScores:
        weights = np.zeros((12, 12, len(sentence), len(sentence)))
        for word, governor in enumerate(sentence.governors or ()):
            if governor:
                weights[8, 5, word, governor - 1] = 1.0  # every word attends to its governor
        axis = ba.Axis(sentence.words, word_ids=list(range(len(sentence))), words=sentence.words)
        return heads.score_relations([ba.AttentionTensor(weights, axis, normalized=False, annotation=sentence)])

    gold = next(one for one in readers.read_conllu(data / "dev.conllu") if "case" in (one.relations or ()))
    for sentence, name, expected in ((gold, "case", 1.0), (labelled(gold), "pobj", 0.0)):
        (row,) = (row for row in script.table1(scores(sentence)).rows if row["relation"] == name)
        assert (row["paper's head"], row["its accuracy"]) == ("9-6", expected)


def test_what_has_no_counterpart_is_said(script: ModuleType, data: Path, ext: ba.Extractor) -> None:
    gold = readers.read_conllu(data / "dev.conllu")
    said = str(script.table1(heads.score_relations(ext.extract(gold))))
    assert "Relations without a counterpart here: all, prep" in said
    assert "picked on these same words" in said


# Table 2


@pytest.mark.parametrize("file", ["coref.conllu", "coref.v4_gold_conll"])
def test_table2(file: str, paper: Path, script: ModuleType, data: Path, ext: ba.Extractor, tmp_path: Path) -> None:
    out = paper
    if file != "coref.conllu":
        out = tmp_path / "out"
        assert script.main(arguments(data, out, coref=file)) == 0
    read = readers.read_corefud if file == "coref.conllu" else readers.read_conll2012
    windows = ba.windows(read(data / file), max_tokens=128, which="first", cut_at="word")
    scores = heads.score_coreference(ext.extract(windows), directions=("from_mention",))
    ours = heads.coreference_table(scores)
    shown = table(out, 2, ["system", "type"])
    types = ["all", *scores.type_names()]
    systems = {"nearest": "nearest", "same_head": "same_head", "rule_based": "rule_based", f"head {ours.head}": "head"}
    assert set(shown.index) == {(name, kind) for name in (*systems, "paper's head 5-4") for kind in types}
    for name, system in systems.items():
        for kind in types:
            row, cell = shown.loc[(name, kind)], ours.row(system, kind)
            assert [row["mentions"], row["accuracy"], row["low"], row["high"]] == pytest.approx(
                [cell.count, cell.accuracy, cell.low, cell.high], nan_ok=True
            )
    close(shown, "difference", "accuracy", "paper")
    for kind in types:
        row = shown.loc[("paper's head 5-4", kind)]
        assert row["accuracy"] == pytest.approx(scores.accuracy(kind, direction="from_mention")[4, 3])
        percent = PAPER2.get(kind, math.nan)
        assert row["paper"] == shown.loc[(f"head {ours.head}", kind), "paper"] == pytest.approx(percent / 100) or (
            math.isnan(percent)
        )


# Table 3


def test_table3(paper: Path, data: Path) -> None:
    shown = table(paper, 3, "predictor")
    assert list(shown.index) == list(PAPER3)
    assert shown["paper"].to_dict() == pytest.approx({name: value / 100 for name, value in PAPER3.items()})
    close(shown, "difference", "accuracy", "paper")
    assert (shown["low"] <= shown["accuracy"]).all()
    assert shown["smallest"].notna().to_dict() == {name: name.startswith("random") for name in PAPER3}

    def kept(name: str) -> probes.ProbeData:
        return probes.prepare(ba.merge_subwords(a, queries="first") for a in ba.RunFolder(paper / "run" / name))

    sentences = readers.read_conllu(data / "dev.conllu")
    vectors = readers.read_word_vectors(data / "vectors.txt", [*readers.read_conllu(data / "train.conllu"), *sentences])
    words = {"root": "special", "root_vector": "released", "bias": True, "standardize": False}
    made = {
        "attention": probes.AttentionProbe(root="special", **SCHEDULE),
        "attention + words": probes.AttentionWordsProbe(vectors, **words, **SCHEDULE),
        "distance + words": probes.DistanceWordsProbe(vectors, root_vector="released", standardize=False, **SCHEDULE),
    }
    train, dev = kept("train"), kept("treebank")
    for name, probe in made.items():
        assert shown.loc[name, "accuracy"] == pytest.approx(probe.fit(train).score(dev))
    untrained = [
        made["attention + words"].fit(kept(f"random-{seed}-train")).score(kept(f"random-{seed}-treebank"))
        for seed in range(3)
    ]
    assert shown.loc["random-init attention + words", "accuracy"] == pytest.approx(np.mean(untrained))
    assert shown.loc["random-init attention + words", "largest"] == pytest.approx(max(untrained))
    chain = [probes.right_branching(sentence, last="itself") for sentence in sentences]
    assert shown.loc["right-branching", "accuracy"] == pytest.approx(probes.score_governors(sentences, chain).uas())
    chain = [probes.right_branching(sentence) for sentence in sentences]
    assert shown.loc["right-branching", "accuracy"] < probes.score_governors(sentences, chain).uas()


def test_what_it_was_made_with_is_written(paper: Path, data: Path) -> None:
    record = json.loads((paper / "reproduction.json").read_text(encoding="utf-8"))
    assert record["settings"]["merge_subwords"] == {"queries": "first"}
    vectors = {"root_vector": "released", "standardize": False, **SCHEDULE}
    assert record["settings"]["AttentionProbe"] == {"root": "special", **SCHEDULE}
    assert record["settings"]["AttentionWordsProbe"] == {"bias": True, "root": "special", **vectors}
    assert record["settings"]["DistanceWordsProbe"] == vectors
    assert record["settings"]["StructuralProbe"] == {"layer": 7, "rank": None}
    assert set(record["files"]) == {str(data / name) for name in TABLES.values()}
    assert record["left_out"]
    assert not any(record["left_out"].values())
    assert record["command"].startswith("python examples/reproduce_bert_base.py --model ")


# Other formats, other settings


@pytest.mark.slow
def test_the_format_of_the_papers_code(
    script: ModuleType, data: Path, ext: ba.Extractor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"treebank": "dev.txt", "train": "train.txt", "vectors": "vectors.txt"}
    assert script.main(arguments(data, tmp_path, **files)) == 0
    gold = readers.read_dependencies(data / "dev.txt")
    two = ["from_dependent", "to_dependent"]
    scores = heads.score_relations(first_tokens(ext, gold), directions=two, poss_mode="clark")
    shown = table(tmp_path, 1, "relation")
    assert {"all", "det", "nsubj", "dobj", "pobj"} <= set(shown.index)
    for name, (percent, head) in PAPER1.items():
        accuracy = scores.accuracy(name, direction="from_dependent")[ba.tensor.parse_head(head)]
        assert shown.loc[name, "its accuracy"] == pytest.approx(accuracy)
        assert shown.loc[name, "paper"] == pytest.approx(percent / 100)
    assert list(table(tmp_path, 3, "predictor").index) == list(PAPER3)
    printed = capsys.readouterr().out
    assert f"of {scores.count():,} in {scores.sentences:,} sentences" in printed
    assert [line.split()[0] for line in printed.splitlines() if line.startswith("Table")] == ["Table", "Table"]


@pytest.mark.slow
def test_text_gives_a_report_on_segments_without_types(
    script: ModuleType, data: Path, ext: ba.Extractor, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    assert script.main(arguments(data, tmp_path, "--count", "2", text="text.txt")) == 0
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert record["text"]["inputs"] == 2
    assert record["command"].startswith("python examples/reproduce_bert_base.py")
    documents = readers.read_text(data / "text.txt")
    segments = ba.segments.paragraph_segments(documents, ext.tokenizer, max_tokens=128, count=2, segment_ids="zeros")
    ours = ba.summarize(ext.extract(segments), ba.patterns.surface_patterns)
    kept = ba.statistics.Summary.load(tmp_path / "surface_patterns.json")
    assert np.allclose(kept.mean("entropy"), ours.mean("entropy"))
    assert (tmp_path / "figure1.svg").is_file()


@pytest.mark.slow
def test_default_settings_are_the_report(script: ModuleType, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = {"treebank": "dev.txt", "train": "train.txt", "vectors": "vectors.txt", "coref": "coref.conllu"}
    assert script.main(arguments(data, tmp_path, "--settings", "default", **files)) == 0
    scores = heads.RelationScores.load(tmp_path / "relation_scores.json")
    assert scores.directions == ("from_dependent", "to_dependent", "from_governor")
    shown = table(tmp_path, 1, "relation")
    best = heads.best_heads(scores, relations=list(shown.index))
    assert shown["accuracy"].to_list() == pytest.approx([row.accuracy for row in best.rows])
    there = pd.read_csv(tmp_path / "table3.csv").set_index("predictor")
    here = table(tmp_path, 3, "predictor")
    for name in ("attention", "attention + words"):
        assert here.loc[name, "accuracy"] == pytest.approx(there.loc[name, "accuracy"])
    mentions = heads.CoreferenceScores.load(tmp_path / "coreference_scores.json")
    nearest = table(tmp_path, 2, ["system", "type"]).loc[("nearest", "all")]
    assert nearest["accuracy"] == pytest.approx(heads.coreference_table(mentions).row("nearest").accuracy)
    assert (tmp_path / "index.html").is_file()
    assert not (tmp_path / "reproduction.json").exists()  # report.json has it all
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [Path(file["path"]).name for file in record["treebank"]["files"]] == ["treebank-1.conllu"]


# Resuming


def test_what_is_there_is_not_made_again(
    paper: Path, script: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("the model ran again")

    monkeypatch.setattr(torch.nn.Module, "forward", refused)
    monkeypatch.setattr(script.heads, "score_relations", refused)
    again = arguments(data, tmp_path / "out", "--run", str(paper / "run"), treebank="dev.conllu")
    assert script.main(again) == 0
    assert (tmp_path / "out" / "paper_table1.csv").read_bytes() == (paper / "paper_table1.csv").read_bytes()


def test_a_run_of_other_settings_is_refused(
    paper: Path, script: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(data, tmp_path, "--run", str(paper / "run"), "--batch-size", "3", treebank="dev.conllu")
    assert script.main(given) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "batch_size was 16 and is 3" in error


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_run_goes_on(paper: Path, script: ModuleType, data: Path, tmp_path: Path) -> None:
    given = arguments(data, tmp_path / "out", **TABLES)
    # A run is known by the names of its functions too, so it is begun as it will be gone on with: not as __main__.
    begun = "import sys, reproduce_bert_base as script; sys.exit(script.main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", begun, *given],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(SCRIPT.parent)},
        stdout=subprocess.DEVNULL,
    )
    train = tmp_path / "out" / "run" / "train"
    until = time.monotonic() + 300
    while not list(train.glob("maps-*")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    shards = {path: path.stat().st_mtime_ns for path in train.glob("maps-*")}
    assert shards
    assert not (tmp_path / "out" / "paper_table3.csv").exists()
    assert script.main(given) == 0
    assert {path: path.stat().st_mtime_ns for path in train.glob("maps-*")} == shards
    for number in (1, 2, 3):
        name = f"paper_table{number}.csv"
        assert (tmp_path / "out" / name).read_bytes() == (paper / name).read_bytes()


# What goes wrong


@pytest.mark.slow
def test_the_script_itself(data: Path, tmp_path: Path) -> None:
    given = arguments(data, tmp_path / "out", treebank="nowhere.conllu")
    done = subprocess.run([sys.executable, SCRIPT, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith(f"error: --treebank: there is no file {data / 'nowhere.conllu'}\n")
    assert "Traceback" not in done.stderr


def test_an_interrupt_is_said(
    script: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(ba.RunFolder, "sum", interrupted)
    assert script.main(arguments(data, tmp_path, treebank="dev.conllu")) == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on where it was\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there is nothing to read; give --treebank, --coref or --text"),
        ({"coref": "nowhere.conllu"}, "--coref: there is no file "),
        ({"treebank": "dev.conllu", "train": "train.conllu", "vectors": "no.txt"}, "--vectors: there is no file "),
        ({"coref": "coref.conllu", "train": "train.conllu"}, "give --treebank too"),
        ({"treebank": "dev.conllu", "train": "train.conllu"}, "Table 3 of the paper needs both"),
        ({"treebank": "dev.conllu", "vectors": "vectors.txt"}, "Table 3 of the paper needs both"),
    ],
)
def test_a_command_that_cannot_be_right(
    files: dict[str, str],
    said: str,
    script: ModuleType,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        script.main(arguments(data, tmp_path / "out", **files))
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1\tDogs\t_\t_\t_\t_\t7\tnsubj\t_\t_\n\n", "broken:1"),
        ("Dogs 2-nsubj\nbark\n\n", "broken:2"),
        (
            gzip.compress(b"Dogs 2-nsubj\n", mtime=0)[:10] + b"\xff" * 40,
            "broken.gz:1:1: the compressed file is damaged",
        ),
    ],
)
def test_a_broken_treebank_is_named_with_its_line(
    content: str | bytes, said: str, script: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ("broken" if isinstance(content, str) else "broken.gz")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    given = arguments(data, tmp_path / "out", "--treebank", str(path))
    assert script.main(given) == 1
    error = capsys.readouterr().err
    assert error.startswith("reproduce_bert_base.py: ")
    assert error.count("\n") == 1
    assert said in error


def test_no_segment_is_no_count(
    script: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        script.main(arguments(data, tmp_path / "out", "--count", "0", text="text.txt"))
    assert "--count must be at least 1, but is 0" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:1000 segments were asked for")
@pytest.mark.parametrize("text", ["", "One line.\n\nAnother document of one line.\n"])
def test_text_without_segments_is_refused(
    text: str, script: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    assert script.main(arguments(data, tmp_path / "out", "--text", str(tmp_path / "text.txt"))) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "text.txt gives no segment: none of its documents has two lines that fit together; put one" in error


def test_what_has_a_word_without_tokens_is_left_out_and_listed(
    paper: Path, script: ModuleType, data: Path, ext: ba.Extractor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = readers.read_conllu(data / "dev.conllu")
    long = ba.Sentence(["word"] * 600, governors=[0] + [1] * 599, relations=["root"] + ["dep"] * 599)
    none = ba.Sentence(["Dogs", "\u200b", "bark"], governors=[3, 3, 0], relations=["nsubj", "dep", "root"])
    readers.write_conllu(tmp_path / "more.conllu", [*sentences[:2], long, none, *sentences[2:]])
    given = arguments(data, tmp_path / "out", "--treebank", str(tmp_path / "more.conllu"))
    assert script.main(given) == 0
    assert (tmp_path / "out" / "paper_table1.csv").read_bytes() == (paper / "paper_table1.csv").read_bytes()
    assert "Left out of relations, which the model cannot take: 2; reproduction.json lists" in capsys.readouterr().out
    left_out = json.loads((tmp_path / "out" / "reproduction.json").read_text(encoding="utf-8"))["left_out"]["relations"]
    assert [one["index"] for one in left_out] == [2, 3]
    assert "no token" in left_out[1]["reason"]
    # The maps of probes, and windows with coreference.
    made = script.Paper(ext, script.parsed(given))
    kept = made.maps("treebank", ext, script.read_trees([tmp_path / "more.conllu"]))
    assert [sentence.words for sentence in kept.sentences] == [sentence.words for sentence in sentences]
    document = readers.read_corefud(data / "coref.conllu")[0]
    other = ba.Document([none], id="other")
    readers.write_conll2012(tmp_path / "more.v4_gold_conll", [other, document])
    made.given.coref = [tmp_path / "more.v4_gold_conll"]
    assert made.coreference().documents == (document.id,)
    for name, indices in (("treebank", [2, 3]), ("coreference", [0])):
        assert [index for index, _ in made.skipped[name]] == indices


def test_another_model_is_refused(
    script: ModuleType, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = model_zoo.build("bert")
    model.save_pretrained(tmp_path / "bert-base-uncased")
    tokenizer.save_pretrained(tmp_path / "bert-base-uncased")
    given = arguments(data, tmp_path / "out", "--model", str(tmp_path / "bert-base-uncased"), treebank="dev.conllu")
    assert script.main(given) == 1
    assert "is bert of 3 layers of 4; for another model use bertattn report" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_formats_are_told_by_content(script: ModuleType, data: Path, tmp_path: Path) -> None:
    for name in ("dev.conllu", "dev.txt"):
        compressed = tmp_path / f"{name}.gz"
        compressed.write_bytes(gzip.compress((data / name).read_bytes()))
        assert script.is_conllu(data / name) == script.is_conllu(compressed) == (name == "dev.conllu")
        assert len(script.read_trees([compressed])) == len(script.read_trees([data / name]))
        marked, archive = tmp_path / f"marked-{name}", tmp_path / f"{name}.tar.gz"
        marked.write_bytes(b"\xef\xbb\xbf" + (data / name).read_bytes())
        with tarfile.open(archive, "w:gz") as file:
            file.add(marked, "member")
        assert script.read_trees([marked]) == script.read_trees([archive]) == script.read_trees([data / name])
    marked = tmp_path / "marked.v4_gold_conll"
    marked.write_bytes(b"\xef\xbb\xbf" + (data / "coref.v4_gold_conll").read_bytes())
    assert script.read_documents([marked]) == list(readers.read_conll2012(data / "coref.v4_gold_conll"))


def test_no_published_number_is_computed_with(
    script: ModuleType, data: Path, ext: ba.Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = readers.read_conllu(data / "dev.conllu")
    scores = heads.score_relations(ext.extract(gold))
    before = script.table1(scores).rows
    other = script.published()
    for row in other["table1"]["rows"]:
        row.update(accuracy=0.0, baseline=0.0, offset=9)
    monkeypatch.setattr(script, "published", functools.partial(dict, other))
    after = script.table1(scores).rows
    theirs = {"paper", "difference", "paper's offset", "paper's baseline"}
    ours = [[f"{row[name]!r}" for name in row if name not in theirs] for row in before]  # NaN is not equal to itself
    assert ours == [[f"{row[name]!r}" for name in row if name not in theirs] for row in after]
    assert [row["paper"] for row in after] == [0.0] * len(after)
