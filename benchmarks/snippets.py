"""One table of what the ten snippets of the design take, each in a fresh Python process. `nox -s bench_snippets`.

A time is that of the process from start to end: imports, reading, the model, the snippet. Every script has run once
before one counts, so files are in the page cache and Python's bytecode is written. The first rows are what a snippet
needs and bertattn does not change: Python, torch and transformers, and the model loaded, then called, by transformers
alone.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import gzip
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bench

import bertattn as ba
from bertattn import demo

ROOT = Path(__file__).resolve().parents[1]
LINES = 200  # of the text, of snippets 4 and 8
TRAIN = 2000  # sentences, of snippet 7
SENTENCE = "The cat sat on the mat."

LOADED = """\
from transformers import AutoModel, AutoTokenizer
model = AutoModel.from_pretrained("bert-base-uncased", attn_implementation="eager").eval()
tokenizer = AutoTokenizer.from_pretrained("bert-base-uncased")
"""
CALLED = f"""\
import torch
{LOADED}encoding = tokenizer("{SENTENCE}", return_tensors="pt")
with torch.no_grad():
    outputs = model(**encoding, output_attentions=True)
"""
WITHOUT_US = {
    "python, nothing": "",
    "import bertattn": "import bertattn as ba\n",
    "import torch, transformers": "import torch\nimport transformers\n",
    "the model, loaded by transformers": LOADED,
    "the model, loaded and called once by transformers": CALLED,
}
BASE = "the model, loaded by transformers"

OURS = "import bertattn as ba\n"
EXTRACTOR = OURS + 'ext = ba.Extractor.from_pretrained("bert-base-uncased")\n'
READ = 'from pathlib import Path\nlines = Path("text.txt").read_text(encoding="utf-8").splitlines()\n'
TREES = """\
train = ba.readers.read_conllu("train.conllu")
gold = ba.readers.read_conllu("en_ewt-ud-dev.conllu")
"""
# What a snippet takes from those before it.
BEFORE = {
    1: OURS,
    2: OURS + CALLED,
    3: EXTRACTOR,
    4: EXTRACTOR + READ + 'dataset = {"text": lines}\n',
    5: EXTRACTOR,
    6: EXTRACTOR,
    7: EXTRACTOR + TREES,
    8: EXTRACTOR + READ + "texts = lines\n",
    9: EXTRACTOR,
    10: EXTRACTOR + f'a = ext("{SENTENCE}")\n',
}
NAMES = {
    1: "one text",
    2: "a model call of your own",
    3: "a pair of texts",
    4: "surface patterns of a corpus",
    5: "relations of a treebank",
    6: "coreference",
    7: "a probe, trained and scored",
    8: "distances between heads",
    9: "a head switched off",
    10: "a view",
}


def promised() -> dict[int, str]:
    """The ten as tests/test_snippets.py has them, word for word those of the design."""
    for node in ast.parse((ROOT / "tests" / "test_snippets.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SNIPPETS":
            found: dict[int, str] = ast.literal_eval(node.value)
            return found
    raise SystemExit("tests/test_snippets.py has no SNIPPETS")


def scripts() -> dict[str, str]:
    """What is run, by the name of its row: the demo's model for BERT, whose eighth layer is that one's fifth."""
    ours = {f"{number}. {NAMES[number]}": BEFORE[number] + code for number, code in promised().items()}
    written = {"bert-base-uncased": demo.model_path().as_posix(), "8-10": "5-10"}
    return {name: replaced(code, written) for name, code in (WITHOUT_US | ours).items()}


def replaced(code: str, written: Mapping[str, str]) -> str:
    for old, new in written.items():
        code = code.replace(old, new)
    return code


def put_data(folder: Path) -> dict[int, str]:
    """Write the files that the snippets read; what each snippet works on, in words."""
    data = Path(os.environ.get("BERTATTN_DATA") or ROOT.parent / "shared" / "data")
    name, documents = bench.documents()
    lines = [line for lines in documents for line in lines][:LINES]
    (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = f"{len(lines)} lines of {name}"

    treebank = data / "ud" / "UD_English-EWT"
    embedded = demo.corpus_path().read_text(encoding="utf-8")
    if treebank.is_dir():
        gold = (treebank / "en_ewt-ud-dev.conllu").read_text(encoding="utf-8")
        with gzip.open(treebank / "en_ewt-ud-train.conllu.gz", "rt", encoding="utf-8") as file:
            blocks = ("".join(block) for full, block in itertools.groupby(file, key=lambda line: line != "\n") if full)
            train = "\n".join(itertools.islice(blocks, TRAIN)) + "\n"
        names = "EWT train", "EWT dev"
    else:
        train = gold = embedded
        names = "the demo's corpus", "the demo's corpus"
    (folder / "train.conllu").write_text(train, encoding="utf-8")
    (folder / "en_ewt-ud-dev.conllu").write_text(gold, encoding="utf-8")
    of_train, of_gold = (
        f"{sum(1 for _ in ba.readers.iter_conllu(folder / file))} sentences of {name}"
        for file, name in zip(("train.conllu", "en_ewt-ud-dev.conllu"), names, strict=True)
    )

    files = sorted((data / "coref" / "gum_open_by" / "dev" / "dep").glob("*.conllu"))
    coreference = "".join(file.read_text(encoding="utf-8") for file in files) or embedded
    (folder / "gum.conllu").write_text(coreference, encoding="utf-8")
    count = sum(1 for _ in ba.readers.iter_corefud(folder / "gum.conllu"))
    gum = f"{count} documents of " + ("GUM dev" if files else "the demo's corpus")
    return {4: text, 5: of_gold, 6: gum, 7: f"{of_train}, {of_gold}", 8: text}


def seconds_of(code: str, folder: Path) -> float:
    """From the start of a fresh process to its end."""
    script = folder / "snippet.py"
    script.write_text(code, encoding="utf-8")
    start = time.perf_counter()
    done = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"this failed:\n{code}\n{done.stderr}")
    return seconds


def measured(codes: Mapping[str, str], folder: Path, *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each script in each round, after one that does not count; a round runs all of them in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in codes}
    for number in range(rounds + 1):
        for name, code in codes.items():
            took = seconds_of(code, folder)
            if number:
                seconds[name].append(took)
    return seconds


def rows(seconds: Mapping[str, Sequence[float]], works_on: Mapping[int, str]) -> list[dict[str, Any]]:
    base = statistics.median(seconds[BASE])
    found = []
    for name, times in seconds.items():
        ours = name not in WITHOUT_US
        median = statistics.median(times)
        found.append(
            {
                "row": name,
                "on": works_on.get(int(name.partition(".")[0]), "") if ours else "",
                "median": median,
                "spread": [min(times), max(times)],
                "beyond": median - base if ours else None,
                "rounds": len(times),
            }
        )
    return found


def markdown(record: dict[str, Any]) -> str:
    """A record as the table of docs/benchmarks.md."""
    about = record["machine"]
    installed = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    where = (
        f"{record['date'][:10]}, {about['cpu']} ({about['cores']} cores, {about['threads']} threads), "
        f"{about['system']}; {installed}; {record['model']}. Load average {record['load_before'][0]:.1f} before and "
        f"{record['load_after'][0]:.1f} after."
    )
    lines = [
        where,
        "",
        "| fresh process | on | median, s | smallest to largest | beyond loading the model, s |",
        "| --- | --- | ---: | --- | ---: |",
    ]
    for one in record["rows"]:
        low, high = one["spread"]
        beyond = "" if one["beyond"] is None else f"{one['beyond']:.1f}"
        lines.append(f"| {one['row']} | {one['on']} | {one['median']:.2f} | {low:.2f} to {high:.2f} | {beyond} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times of each; 0 only tries them (default %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the record there")
    parser.add_argument("--markdown", type=Path, metavar="FILE.json", help="only print a record as the docs' table")
    given = parser.parse_args()
    if given.markdown:
        print(markdown(json.loads(given.markdown.read_text(encoding="utf-8"))))
        return
    record: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": bench.machine(),
        "versions": bench.versions() | {"bertattn": ba.__version__},
        "model": "all-MiniLM-L6-v2, float32",
        "load_before": os.getloadavg(),
    }
    with tempfile.TemporaryDirectory() as folder:
        works_on = put_data(Path(folder))
        seconds = measured(scripts(), Path(folder), rounds=given.rounds)
    if not given.rounds:
        print("all ten snippets run")
        return
    record |= {"rows": rows(seconds, works_on), "load_after": os.getloadavg()}
    print(markdown(record))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
