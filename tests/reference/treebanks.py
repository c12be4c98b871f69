"""Treebanks and coreference, by plain loops over the lines of the files; offset baselines from the formula."""

from __future__ import annotations

import gzip
import re
from pathlib import Path


def lines_of(path: Path) -> list[str]:
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8").split("\n")


def count_conllu(path: Path) -> dict[str, int]:
    counts = {"sentences": 0, "documents": 0, "words": 0, "multiword": 0, "empty": 0, "mentions": 0}
    for line in lines_of(path):
        if line.startswith("# newdoc"):
            counts["documents"] += 1
        if line.startswith("#") or not line:
            continue
        number, misc = line.split("\t")[0], line.split("\t")[9]
        counts["sentences"] += number == "1"
        counts["words"] += number.isdigit()
        counts["multiword"] += "-" in number
        counts["empty"] += "." in number
        for value in re.findall(r"(?:^|\|)Entity=([^|]*)", misc):
            counts["mentions"] += value.count("(")
    return counts


def trees(path: Path) -> list[list[tuple[str, int, str]]]:
    """For each sentence (word, governor, relation)."""
    found: list[list[tuple[str, int, str]]] = [[]]
    for line in lines_of(path):
        if not line:
            found.append([])
        elif line.split("\t")[0].isdigit():
            columns = line.split("\t")
            found[-1].append((columns[1], int(columns[6]), columns[7]))
    return [sentence for sentence in found if sentence]


def mentions(path: Path) -> list[tuple[str, str, int, int]]:
    """(document, entity, first word, last word) of GUM's brackets, words counted from 0; sorted.

    Each bracket is put in one list of events; a closing one belongs to the last unused opening of its entity.
    """
    document, word = "", -1
    events: list[tuple[str, str, int, str]] = []
    for line in lines_of(path):
        if line.startswith("# newdoc id = "):
            document, word = line[len("# newdoc id = ") :], -1
        columns = line.split("\t")
        if len(columns) == 10 and columns[0].isdigit():
            word += 1
            for item in columns[9].split("|"):
                if item.startswith("Entity="):
                    for piece in item[len("Entity=") :].replace("(", " (").replace(")", ") ").split():
                        entity = piece.strip("()").split("-")[0]
                        if piece[0] == "(":
                            events.append((document, entity, word, "open"))
                        if piece[-1] == ")":
                            events.append((document, entity, word, "close"))
    used = [False] * len(events)
    found = []
    for i, (document, entity, word, kind) in enumerate(events):
        if kind == "close":
            j = max(
                j for j in range(i) if not used[j] and events[j][:2] == (document, entity) and events[j][3] == "open"
            )
            used[j] = used[i] = True
            found.append((document, entity, events[j][2], word))
    assert all(used)
    return sorted(found)


def offset_accuracy(
    sentences: list[list[tuple[str, int, str]]],
    relation: str | None,
    offset: int,
    *,
    clip: str = "root",
    punct: bool = True,
    root: bool = True,
) -> tuple[int, int]:
    """(words, correct ones) of the baseline that predicts clip(i + offset, 0, n)."""
    words = correct = 0
    for sentence in sentences:
        n = len(sentence)
        for i in range(1, n + 1):
            _, governor, label = sentence[i - 1]
            if relation is not None and label != relation:
                continue
            if not punct and label == "punct":
                continue
            if not root and governor == 0:
                continue
            prediction = i + offset
            if clip == "none" and not 1 <= prediction <= n:
                prediction = -1
            elif clip == "words":
                prediction = min(max(prediction, 1), n)
            elif clip == "root":
                prediction = min(max(prediction, 0), n)
            words += 1
            correct += prediction == governor
    return words, correct


def tree_head(sentence: list[tuple[str, int, str]], first: int, last: int) -> int:
    """Of words first..last (from 0) the one whose governor is outside; of several the shallowest, then the leftmost."""
    best = None
    for i in range(first, last + 1):
        governor = sentence[i][1] - 1
        if first <= governor <= last:
            continue
        depth, at = 0, i
        while sentence[at][1] != 0:
            at = sentence[at][1] - 1
            depth += 1
        if best is None or depth < best[0]:
            best = (depth, i)
    assert best is not None
    return best[1]


def count_conll2012(path: Path) -> dict[str, int]:
    counts = {"documents": 0, "sentences": 0, "words": 0, "mentions": 0}
    inside = False  # a sentence
    for line in lines_of(path):
        if "begin document" in line:
            counts["documents"] += 1
        if line.startswith("#") or not line.strip():
            inside = False
            continue
        counts["sentences"] += not inside
        counts["words"] += 1
        inside = True
        counts["mentions"] += line.rstrip().split()[-1].count("(")
    return counts


def mentions_conll2012(path: Path) -> list[tuple[str, int, int]]:
    """(entity, first word, last word) of a file with one document, words counted from 0; sorted."""
    word = -1
    found, openings = [], []
    for line in lines_of(path):
        if line.startswith("#") or not line:
            continue
        word += 1
        for item in line.split("\t")[-1].split("|"):
            number = item.strip("()")
            if item.startswith("("):
                openings.append((number, word))
            if item.endswith(")"):
                last = max(i for i, (entity, _) in enumerate(openings) if entity == number)
                found.append((number, openings.pop(last)[1], word))
    assert not openings
    return sorted(found)
