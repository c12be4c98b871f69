"""Tables 1 to 3 of Clark et al. 2019 from BERT-base and your own data, beside the published numbers.

    python examples/reproduce_bert_base.py --model bert-base-uncased --out out --run run --text wiki.txt \\
        --treebank wsj-dev.txt --train wsj-train.txt --vectors glove.6B.100d.txt --coref conll-2012/dev/*_gold_conll

All inputs are optional, and what they give is made: --treebank Table 1; --train and --vectors with it Table 3; --coref
Table 2; --text a report with Figures 1 to 4 and 6. A treebank is CoNLL-U, with Universal Dependencies or Stanford's as
relations, or `word governor-relation` lines, as the paper's code reads; the content tells. The paper has the Penn
Treebank (WSJ) in Stanford Dependencies, OntoNotes (CoNLL-2012) and 1000 segments of Wikipedia. With others compare only
what has a counterpart.

--settings paper, which is assumed, takes the settings of the released code, and of the paper's text where no code was
released: `PAPER`, below. What is not done as there: docs/paper.md. --settings default is `bertattn report`.

In the folder --out are paper_table1.csv and so on, with every digit: fractions, not percent. The folder --run keeps
sums and maps; the same command, stopped anywhere, goes on where it was, but with the paper's settings probes are
trained anew. The maps of a sentence of WSJ take some 250 KB, those of its train part 10 GB: once for the model and once
for each of the three with random weights.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Literal

import pandas as pd

import bertattn as ba
from bertattn import heads, probes, readers, report
from bertattn.errors import AlignmentError, BertattnError, InputError, ModelError

LAYER = 7  # of the structural probe, as its authors chose for BERT-base
SEEDS = (0, 1, 2)  # of the models with random weights
# What the functions and classes of these names are called with.
PAPER: dict[str, Any] = {
    "paragraph_segments": {"max_tokens": 128, "segment_ids": "zeros"},
    "merge_subwords": {"queries": "first"},
    "score_relations": {"directions": ("from_dependent", "to_dependent"), "poss_mode": "clark"},
    "best_heads": {"offsets": heads.RELEASED_OFFSETS},
    "windows": {"max_tokens": 128, "which": "first", "cut_at": "word"},
    "score_coreference": {"directions": ("from_mention",), "candidates": "words_other"},
    "right_branching": {"last": "itself"},
    "AttentionProbe": {"root": "special", **probes.PAPER_SCHEDULE},
    "AttentionWordsProbe": {
        "bias": True,
        "root": "special",
        "root_vector": "released",
        "standardize": False,
        **probes.PAPER_SCHEDULE,
    },
    "DistanceWordsProbe": {"root_vector": "released", "standardize": False, **probes.PAPER_SCHEDULE},
    "StructuralProbe": {"layer": LAYER, "rank": None},
    "randomize": {"keep": "embeddings"},
}
LEFT_OUT: dict[str, Any] = {"on_too_long": "skip", "on_error": "skip"}  # what the model cannot take
INTERVAL: dict[str, Any] = {"level": 0.95, "resamples": 2000, "seed": 0}
STANFORD = {"prep", "pobj"}  # relations that Universal Dependencies do not have
FIGURE1_WORDS = 20


def published() -> dict[str, Any]:
    """The paper's numbers, from the one file that has them."""
    text = resources.files("bertattn.report").joinpath("published.json").read_text(encoding="utf-8")
    value: dict[str, Any] = json.loads(text)
    return value


# Reading


def first_line(path: Path, *, comments: bool) -> str:
    """The first line that is not empty; without comments that does not start with "#"."""
    lines = (line for part in readers.iter_text(path) for line in part)
    return next((line for line in lines if comments or not line.startswith("#")), "")


def is_conllu(path: Path) -> bool:
    return first_line(path, comments=False).count("\t") == 9


def read_trees(paths: Iterable[Path]) -> list[ba.Sentence]:
    return [
        sentence
        for path in paths
        for sentence in (readers.read_conllu(path) if is_conllu(path) else readers.read_dependencies(path))
    ]


def read_documents(paths: Iterable[Path]) -> list[ba.Document]:
    documents: list[ba.Document] = []
    for path in paths:
        begins = first_line(path, comments=True).replace(" ", "").startswith("#begindocument")
        documents += readers.read_conll2012(path) if begins else readers.read_corefud(path)
    return documents


def punctuation_tags(sentences: Sequence[ba.Sentence]) -> Literal["xpos", "upos", "include"]:
    """By which tags the structural probe leaves out punctuation; the format of the paper's code has none."""
    if all(sentence.xpos for sentence in sentences):
        return "xpos"
    return "upos" if all(sentence.upos for sentence in sentences) else "include"


# The paper's settings


def by_first_tokens(attention: ba.AttentionTensor) -> ba.AttentionTensor:
    """Of a word in several tokens the row is that of the first, as in the released code."""
    try:
        return ba.merge_subwords(attention, **PAPER["merge_subwords"])
    except AlignmentError:  # a word without a token: what reads the maps leaves it out and lists it
        return attention


def scored_by_first_tokens(stream: ba.extract.Stream, /, **options: Any) -> heads.RelationScores:
    return heads.score_relations(stream.map(by_first_tokens), **options)


class Paper:
    """What is measured with the paper's settings; each part is kept in a folder of its own."""

    def __init__(self, ext: ba.Extractor, given: argparse.Namespace) -> None:
        self.ext, self.given = ext, given
        self.options: dict[str, Any] = {"batch_size": given.batch_size, "progress": given.progress}
        self.skipped: dict[str, list[tuple[int, str]]] = {}  # number of the input and reason

    def sum(self, name: str, inputs: Any, function: Callable[..., Any]) -> Any:
        run = ba.RunFolder(self.given.run / name)
        function = functools.partial(function, on_error="skip")
        total: Any = run.sum(self.ext, inputs, function, **LEFT_OUT, **self.options)
        self.skipped[name] = list(total.skipped)
        return total

    def maps(self, name: str, ext: ba.Extractor, sentences: Sequence[ba.Sentence]) -> probes.ProbeData:
        run = ba.RunFolder(self.given.run / name)
        run.keep(ext, sentences, unit="token", **LEFT_OUT, **self.options)
        stream = ba.extract.Stream(map(by_first_tokens, run), list(run.skipped), list(run.truncated), len(run))
        data = probes.prepare(stream, on_error="skip")
        self.skipped[name] = list(data.skipped)
        return data

    def relations(self) -> heads.RelationScores:
        function = functools.partial(scored_by_first_tokens, **PAPER["score_relations"])
        scores: heads.RelationScores = self.sum("relations", read_trees(self.given.treebank), function)
        return scores

    def coreference(self) -> heads.CoreferenceScores:
        windows = ba.windows(read_documents(self.given.coref), **PAPER["windows"])
        function = functools.partial(heads.score_coreference, **PAPER["score_coreference"])
        scores: heads.CoreferenceScores = self.sum("coreference", windows, function)
        return scores

    def probes(self) -> probes.ProbeTable:
        train, dev = read_trees(self.given.train), read_trees(self.given.treebank)
        vectors = readers.read_word_vectors(self.given.vectors, [*train, *dev])
        on, at = self.maps("train", self.ext, train), self.maps("treebank", self.ext, dev)
        chains = [probes.right_branching(sentence, **PAPER["right_branching"]) for sentence in at.sentences]
        words = probes.AttentionWordsProbe(vectors, **PAPER["AttentionWordsProbe"])
        untrained = []
        for seed in SEEDS:
            other = ba.interventions.randomize(self.ext, seed=seed, **PAPER["randomize"])
            words.fit(self.maps(f"random-{seed}-train", other, train))
            untrained.append(words.evaluate(self.maps(f"random-{seed}-treebank", other, dev)))
        structural = probes.StructuralProbe(**PAPER["StructuralProbe"])
        states = functools.partial(self.ext.hidden_states, layer=LAYER, batch_size=self.given.batch_size)
        scores: dict[str, Any] = {
            "right-branching": probes.score_governors(at.sentences, chains),
            "distance + words": probes.DistanceWordsProbe(vectors, **PAPER["DistanceWordsProbe"]).fit(on).evaluate(at),
            "random-init attention + words": untrained,
            "attention": probes.AttentionProbe(**PAPER["AttentionProbe"]).fit(on).evaluate(at),
            "attention + words": words.fit(on).evaluate(at),
            "structural probe": structural.fit(states(on.sentences)).evaluate(
                states(at.sentences), punct=punctuation_tags(at.sentences)
            ),
        }
        return probes.probe_table(scores, **INTERVAL)

    def text(self) -> None:
        """Figures 1 to 4 and 6, as a report on the paper's segments."""
        documents = [document for path in self.given.text for document in readers.read_text(path)]
        segments = ba.segments.paragraph_segments(
            documents, self.ext.tokenizer, count=self.given.count, **PAPER["paragraph_segments"]
        )
        if not segments:
            raise InputError(
                f"the text of {', '.join(map(str, self.given.text))} gives no segment: none of its documents has two "
                "lines that fit together; put one paragraph on a line and a blank line after each document"
            )
        report.run(
            self.ext,
            self.given.out,
            inputs=segments,
            example=" ".join(documents[0][0].split()[:FIGURE1_WORDS]),
            run=self.given.run / "text",
            command=self.given.command,
            **self.options,
        )


def by_paper(ext: ba.Extractor, given: argparse.Namespace) -> list[Beside]:
    """The tables, and what else the folder gets."""
    paper, tables = Paper(ext, given), []
    if given.text:
        paper.text()
    if given.treebank:
        tables.append(table1(paper.relations(), **PAPER["best_heads"]))
    if given.coref:
        tables.append(table2(paper.coreference()))
    if given.train:
        tables.append(table3(paper.probes()))
    files = [*given.treebank, *given.coref, *given.train, *given.text, *([given.vectors] if given.vectors else [])]
    record = {
        "command": given.command,
        "model": ext.model.config.name_or_path,
        "settings": PAPER | {"interval": INTERVAL, "random_weights": SEEDS, "count": given.count},
        "left_out": {
            name: [{"index": index, "reason": reason} for index, reason in skipped]
            for name, skipped in paper.skipped.items()
        },
        "files": {str(path): sha256(path) for path in files},
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in ("bertattn", "torch", "transformers", "numpy")},
    }
    (given.out / "reproduction.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for name, skipped in paper.skipped.items():
        if skipped:
            print(f"Left out of {name}, which the model cannot take: {len(skipped)}; reproduction.json lists them")
    return tables


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# The defaults


def by_default(ext: ba.Extractor, given: argparse.Namespace) -> list[Beside]:
    """The tables of what `bertattn report` measures, whose page the folder gets."""

    def as_conllu(name: str, paths: Sequence[Path]) -> list[Path]:
        converted = []
        for number, path in enumerate(paths, start=1):
            converted.append(path if is_conllu(path) else given.out / f"{name}-{number}.conllu")
            if not is_conllu(path):
                readers.write_conllu(converted[-1], readers.read_dependencies(path))
        return converted

    done = report.run(
        ext,
        given.out,
        text=given.text,
        count=given.count if given.text else None,
        treebank=as_conllu("treebank", given.treebank),
        train=as_conllu("train", given.train),
        vectors=given.vectors,
        coref=given.coref,
        run=given.run,
        batch_size=given.batch_size,
        progress=given.progress,
        command=given.command,
    )
    measured, tables = done.results, []
    if measured.relations is not None:
        tables.append(table1(measured.relations))
    if measured.coreference is not None:
        tables.append(table2(measured.coreference))
    if measured.probes is not None:
        tables.append(table3(measured.probes.table()))
    return tables


# Beside the published numbers


@dataclass(frozen=True)
class Beside:
    """A table of the paper and what was found here; fractions, and NaN where the paper has no number."""

    number: int
    title: str
    rows: list[dict[str, Any]]
    notes: list[str]
    aside: tuple[str, ...] = ()  # columns that only the CSV file has

    def save(self, folder: Path) -> None:
        pd.DataFrame(self.rows).to_csv(folder / f"paper_table{self.number}.csv", index=False)

    def __str__(self) -> str:
        """In percent, differences in percentage points."""
        cells = [
            {column: cell(column, value) for column, value in row.items() if column not in self.aside}
            for row in self.rows
        ]
        about = "In percent, low and high of the 95 % interval; difference: ours less the paper's, in points."
        return "\n".join(
            [f"Table {self.number}: {self.title}", "", pd.DataFrame(cells).to_string(index=False), "", about]
            + [f"{note}." for note in self.notes]
            + [""]
        )


def cell(column: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{100 * value:{'+' if column == 'difference' else ''}.1f}"


def table1(scores: heads.RelationScores, /, **options: Any) -> Beside:
    """The paper's relations: the best head here, what the paper's own head finds here, and what it found there."""
    names = {"all", *scores.relation_names()}
    column, direction = ("relation", "") if names & STANFORD else ("universal", "universal_direction")
    printed = published()["table1"]["rows"]
    rows = [row for row in printed if row[column] in names]
    best = heads.best_heads(scores, relations=[row[column] for row in rows], **options, **INTERVAL)
    missing = ", ".join(row["relation"] for row in printed if row not in rows)
    return Beside(
        1,
        f"words whose governor is found, of {scores.count():,} in {scores.sentences:,} sentences",
        [
            {
                "relation": ours.relation,
                "paper's": row["relation"],
                "words": ours.count,
                "head": ours.head,
                "direction": ours.direction,
                "accuracy": ours.accuracy,
                "low": ours.low,
                "high": ours.high,
                "paper": row["accuracy"] / 100,
                "difference": ours.accuracy - row["accuracy"] / 100,
                "paper's head": row["head"],
                **head_here(scores, row[column], row["head"], row.get(direction, row["direction"])),
                "offset": ours.offset,
                "baseline": ours.baseline,
                "paper's offset": row["offset"],
                "paper's baseline": row["baseline"] / 100,
            }
            for ours, row in zip(best.rows, rows, strict=True)
        ],
        ["Heads and offsets are picked on these same words, as in the paper; the paper's head is not"]
        + [f"{row['relation']}: {row['note']}" for row in rows if "note" in row]
        + ([f"Relations without a counterpart here: {missing}"] if missing else []),
        aside=("direction", "offset", "paper's offset"),
    )


def head_here(scores: Any, name: str, head: str, direction: str) -> dict[str, Any]:
    """What the paper's head finds here. It was not picked on this data, so its interval may be taken at its word."""
    found, counts = (scores.by_document if isinstance(scores, heads.CoreferenceScores) else scores.by_sentence)(name)
    layer, number = ba.tensor.parse_head(head)
    right = found[:, scores.directions.index(direction), layer, number]
    interval = ba.statistics.bootstrap_ci(right, counts, **INTERVAL)
    numbers = (interval.estimate, interval.low, interval.high)
    return dict(zip(("its accuracy", "its low", "its high"), map(float, numbers), strict=True))


def table2(scores: heads.CoreferenceScores, /) -> Beside:
    """The rules, the best head and the paper's head, by type of mention."""
    table, rows = heads.coreference_table(scores, **INTERVAL), []
    for row in published()["table2"]["rows"]:
        if row["system"] == "neural":  # is not made here
            continue
        for kind in ("all", *scores.type_names()):
            ours, paper = table.row(row["system"], kind), row.get(kind, math.nan) / 100
            found = [(row["system"], ours.accuracy, ours.low, ours.high)]
            if row["system"] == "head":
                here = head_here(scores, kind, row["head"], row["direction"])
                found = [(f"head {table.head}", *found[0][1:]), (f"paper's head {row['head']}", *here.values())]
            rows += [
                {
                    "system": name,
                    "type": kind,
                    "mentions": ours.count,
                    "accuracy": accuracy,
                    "low": low,
                    "high": high,
                    "paper": paper,
                    "difference": accuracy - paper,
                }
                for name, accuracy, low, high in found
            ]
    documents = len(scores.documents)
    note = f"The best head is {table.direction}, chooses from {table.candidates} and is picked on these same documents"
    return Beside(2, f"mentions whose antecedent is found, in {documents:,} documents", rows, [note])


def table3(table: probes.ProbeTable, /) -> Beside:
    """Probes and baselines; of random weights the smallest and largest draw."""
    paper = {row["predictor"]: row for row in published()["table3"]["rows"]}
    return Beside(
        3,
        f"UAS of {table.count:,} words in {table.sentences:,} sentences, punctuation left out",
        [
            {
                "predictor": row.name,
                "accuracy": row.accuracy,
                "low": row.low,
                "high": row.high,
                "smallest": row.smallest if row.seeds > 1 else math.nan,
                "largest": row.largest if row.seeds > 1 else math.nan,
                "paper": paper[row.name]["value"] / 100,
                "difference": row.accuracy - paper[row.name]["value"] / 100,
            }
            for row in table.rows
        ],
        [f"{name}: {row['note']}" for name, row in paper.items() if "note" in row],
    )


# The command


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="reproduce_bert_base.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    several: dict[str, Any] = {"nargs": "+", "type": Path, "default": [], "metavar": "FILE"}
    parser.add_argument("--model", default="bert-base-uncased", help="a name on the hub, or a folder; %(default)s")
    parser.add_argument("--treebank", **several, help="trees to score")
    parser.add_argument("--train", **several, help="trees to train probes on")
    parser.add_argument("--vectors", type=Path, metavar="FILE", help="word vectors as text, GloVe's or word2vec's")
    parser.add_argument("--coref", **several, help="documents with coreference, CoNLL-2012 or CorefUD's CoNLL-U")
    parser.add_argument("--text", **several, help="a paragraph a line, a blank line after each document")
    parser.add_argument("--count", type=int, default=1000, help="segments of the text, at random; %(default)s")
    parser.add_argument("--settings", choices=("paper", "default"), default="paper")
    parser.add_argument("--out", type=Path, default=Path("reproduction"), metavar="FOLDER", help="to write")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="to keep the run in; OUT/run if it is not given")
    parser.add_argument("--batch-size", type=int, default=16, help="inputs that run together; %(default)s")
    parser.add_argument("--device", help="such as cpu; a GPU if there is one")
    parser.add_argument("--progress", action=argparse.BooleanOptionalAction, default=True, help="bars")
    given = parser.parse_args(arguments)
    if not given.treebank and not given.coref and not given.text:
        parser.error("there is nothing to read; give --treebank, --coref or --text")
    if given.train and not given.treebank:
        parser.error("--train is for probes, which are scored on a treebank; give --treebank too")
    if given.settings == "paper" and bool(given.train) != bool(given.vectors):
        parser.error("Table 3 of the paper needs both --train and --vectors; give both or neither")
    if given.count < 1:
        parser.error(f"--count must be at least 1, but is {given.count}")
    for name in ("treebank", "train", "vectors", "coref", "text"):
        files = getattr(given, name) or []
        for path in [files] if isinstance(files, Path) else files:
            if not path.is_file():
                parser.error(f"--{name}: there is no file {path}")
    given.run = given.run or given.out / "run"
    given.command = shlex.join(["python", "examples/reproduce_bert_base.py", *arguments])
    return given


def bert_base(given: argparse.Namespace) -> ba.Extractor:
    """The model, with the head that its gradients need.

    Raises:
        ModelError: it is not BERT of 12 layers of 12 heads, so that no head can be compared.
    """
    ext = ba.Extractor.from_pretrained(given.model, device=given.device, head="own")
    config = ext.model.config
    size = (config.model_type, config.num_hidden_layers, config.num_attention_heads)
    if size != ("bert", 12, 12):
        raise ModelError(
            f"the published numbers are of BERT-base, 12 layers of 12 heads, but {given.model} is {size[0]} of "
            f"{size[1]} layers of {size[2]}; for another model use bertattn report"
        )
    return ext


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 for what cannot be read or made, 2 for a command that cannot be right, 130 if interrupted."""
    given = parsed(sys.argv[1:] if arguments is None else arguments)
    try:
        ext = bert_base(given)
        given.out.mkdir(parents=True, exist_ok=True)
        tables = (by_paper if given.settings == "paper" else by_default)(ext, given)
        for table in tables:
            table.save(given.out)
            print(table)
        print(f"In {given.out}: {', '.join(sorted(path.name for path in given.out.iterdir() if path.is_file()))}")
    except (BertattnError, OSError) as error:
        print(f"reproduce_bert_base.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
