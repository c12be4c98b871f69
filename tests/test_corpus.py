"""The embedded corpus against the rules of CoNLL-U, UD and CorefUD: a check that shares no code with the readers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import conllu
import pytest
from conllu.models import TokenList

DEMO = Path(__file__).resolve().parents[1] / "src" / "bertattn" / "demo"
# The passages of passages.txt that are annotated, counted from 0, by the document that holds them.
PASSAGES = {
    "piano": 2,
    "baikal": 4,
    "halley": 7,
    "jacquard": 8,
    "marathon": 9,
    "semmelweis": 10,
    "sejong": 11,
    "surtsey": 13,
    "paper": 14,
    "vanilla": 15,
    "mendeleev": 17,
    "eels": 18,
    "longitude": 19,
    "chess": 22,
}


def names(text: str) -> set[str]:
    return set(text.split())


UPOS = names("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X")
UNIVERSAL = names(
    "acl advcl advmod amod appos aux case cc ccomp clf compound conj cop csubj dep det discourse dislocated expl "
    "fixed flat goeswith iobj list mark nmod nsubj nummod obj obl orphan parataxis punct reparandum root vocative xcomp"
)
SUBTYPES = names(
    "acl:relcl advcl:relcl aux:pass cc:preconj compound:prt csubj:outer csubj:pass det:predet nmod:desc nmod:poss "
    "nmod:unmarked nsubj:outer nsubj:pass obl:agent obl:unmarked"
)
FEATS = {
    "Case": {"Acc", "Nom"},
    "Definite": {"Def", "Ind"},
    "Gender": {"Fem", "Masc", "Neut"},
    "Number": {"Plur", "Sing"},
    "Person": {"1", "2", "3"},
    "Poss": {"Yes"},
    "PronType": {"Art", "Dem", "Ind", "Int", "Neg", "Prs", "Rel", "Tot"},
    "Tense": {"Past", "Pres"},
    "VerbForm": {"Fin", "Ger", "Inf", "Part"},
    "Voice": {"Pass"},
}
FEATS_OF = {
    "AUX": {"Tense", "VerbForm"},
    "DET": {"Definite", "PronType"},
    "NOUN": {"Number"},
    "PRON": {"Case", "Gender", "Number", "Person", "Poss", "PronType"},
    "PROPN": {"Number"},
    "VERB": {"Tense", "VerbForm", "Voice"},
}
REQUIRED = {"AUX": {"VerbForm"}, "NOUN": {"Number"}, "PRON": {"PronType"}, "PROPN": {"Number"}, "VERB": {"VerbForm"}}
UPOS_OF = {
    "advmod": {"ADV", "PART", "ADJ"},
    "amod": {"ADJ", "VERB"},
    "aux": {"AUX"},
    "case": {"ADP", "PART"},
    "cc": {"CCONJ"},
    "cop": {"AUX"},
    "det": {"DET"},
    "expl": {"PRON"},
    "mark": {"ADP", "PART", "SCONJ"},
    "nummod": {"NUM"},
    "punct": {"PUNCT"},
}
LEAVES = {"aux", "case", "cc", "cop", "det", "fixed", "mark", "punct"}
MAY_GOVERN = {  # what UD lets hang on a function word, here by name
    ("jacquard-p1-s2", "so", "that"),
    ("surtsey-p2-s4", "half", "About"),
    ("vanilla-p1-s2", "any", "hardly"),
}
FROM_LEFT = {"appos", "conj", "fixed", "flat", "goeswith"}
TYPES = names("abstract animal event object organization person place plant substance time")
PIECE = re.compile(
    r"\((?P<open>e[1-9][0-9]*)-(?P<type>[a-z]+)-(?P<head>[1-9][0-9]*)(?P<one>\))?|(?P<close>e[1-9][0-9]*)\)"
)


@dataclass(frozen=True)
class Mention:
    entity: str
    type: str
    start: int
    end: int
    head: int


def read(name: str) -> str:
    return (DEMO / name).read_bytes().decode("utf-8")


def corpus() -> str:
    return read("corpus.conllu")


def sentences(text: str) -> list[TokenList]:
    return list(conllu.parse(text))


def words(sentence: TokenList) -> list[conllu.Token]:
    return [token for token in sentence if isinstance(token["id"], int)]


def surface(sentence: TokenList) -> str:
    """The text that the tokens and their SpaceAfter give."""
    pieces: list[str] = []
    covered = 0
    for token in sentence:
        if isinstance(token["id"], tuple):
            covered = token["id"][2]
        elif token["id"] <= covered:
            continue
        pieces.append(token["form"] + ("" if (token["misc"] or {}).get("SpaceAfter") == "No" else " "))
    return "".join(pieces).rstrip(" ")


def problems(text: str) -> Iterator[str]:
    yield from of_lines(text)
    parsed = sentences(text)
    for sentence in parsed:
        for problem in (*of_ids(sentence), *of_tree(sentence), *of_labels(sentence), *of_mentions(sentence)):
            yield f"{sentence.metadata['sent_id']}: {problem}"
    yield from of_documents(parsed)


def of_lines(text: str) -> Iterator[str]:
    if not text.startswith("# global.Entity = eid-etype-head\n"):
        yield "the fields of Entity are not declared in the first line"
    if "\r" in text or not text.endswith("\n\n") or "\n\n\n" in text:
        yield "line ends: LF, and one blank line after each sentence"
    for line in text.split("\n"):
        if line != line.rstrip():
            yield f"blanks at the end of {line!r}"
        if line and not line.startswith("#"):
            columns = line.split("\t")
            if len(columns) != 10 or not all(columns) or any(c != c.strip() for c in columns):
                yield f"not ten columns: {line!r}"
            elif columns[8] != "_" or columns[4] != "_":
                yield f"XPOS and DEPS are empty in this corpus: {line!r}"
            elif columns[5] != "_" and columns[5].split("|") != sorted(set(columns[5].split("|")), key=str.lower):
                yield f"FEATS not sorted: {line!r}"
            elif "-" in columns[0] and (set(columns[2:9]) != {"_"} or columns[9] not in {"_", "SpaceAfter=No"}):
                yield f"a multiword token with annotation: {line!r}"


def of_ids(sentence: TokenList) -> Iterator[str]:
    if [word["id"] for word in words(sentence)] != list(range(1, len(words(sentence)) + 1)):
        yield "words are not numbered from 1"
    forms = {word["id"]: word for word in words(sentence)}
    for token in sentence:
        if isinstance(token["id"], int):
            continue
        first, _, last = token["id"]
        parts = [forms.get(i) for i in range(first, last + 1)]
        if last <= first or None in parts:
            yield f"a multiword token of no words: {token['form']}"
        elif token["form"] != "".join(part["form"] for part in parts if part is not None):
            yield f"a multiword token is not its words: {token['form']}"
        elif any("SpaceAfter" in (part["misc"] or {}) for part in parts if part is not None):
            yield f"SpaceAfter inside a multiword token: {token['form']}"
    if surface(sentence) != sentence.metadata["text"]:
        yield f"the tokens give {surface(sentence)!r}"
    for a, b in pairwise(sentence):
        glued = (a["misc"] or {}).get("SpaceAfter") == "No"
        if glued and b["form"] in {"'s", "'", "n't", "not"}:
            yield f"a clitic outside a multiword token: {a['form']}{b['form']}"


def of_tree(sentence: TokenList) -> Iterator[str]:
    governors = {word["id"]: word["head"] for word in words(sentence)}
    if [g for g in governors.values() if g == 0] != [0]:
        yield "not one root"
    if not all(g in governors or g == 0 for g in governors.values()):
        yield "a HEAD outside the sentence"
        return
    above = {word: ancestors(word, governors) for word in governors}
    if any(word in chain for word, chain in above.items()):
        yield "a cycle"
        return
    for word in words(sentence):
        here = word["id"]
        if (word["head"] == 0) != (word["deprel"] == "root"):
            yield f"root and HEAD 0 do not agree at {word['form']}"
        if word["deprel"] in FROM_LEFT and word["head"] > here:
            yield f"{word['deprel']} hangs on a word to its right: {word['form']}"
        if word["deprel"] == "punct":
            if any(word["head"] not in above[i] for i in between(here, word["head"])):
                yield f"punctuation reaches over words that are not its governor's: {word['form']} {here}"
            if any(here in between(i, g) and g not in above[here] for i, g in governors.items() if g):
                yield f"punctuation stands inside another part of the tree: {word['form']} {here}"


def ancestors(word: int, governors: dict[int, int]) -> list[int]:
    """The words above a word; in a cycle the word itself is among them."""
    chain: list[int] = []
    while (word := governors[word]) and word not in chain:
        chain.append(word)
    return chain


def between(a: int, b: int) -> range:
    return range(min(a, b) + 1, max(a, b))


def of_labels(sentence: TokenList) -> Iterator[str]:
    by_id = {word["id"]: word for word in words(sentence)}
    dependents: dict[int, list[conllu.Token]] = defaultdict(list)
    for word in by_id.values():
        dependents[word["head"]].append(word)
        yield from of_label(word)
    for here, below in dependents.items():
        if here not in by_id:
            continue
        governor = by_id[here]
        name = (governor["deprel"] or "").partition(":")[0]
        if name in LEAVES or governor["deprel"] == "compound:prt":
            for word in below:
                if (sentence.metadata["sent_id"], governor["form"], word["form"]) not in MAY_GOVERN:
                    yield f"{governor['form']} ({governor['deprel']}) governs {word['form']}"
        counts = Counter(word["deprel"] for word in below)
        if sum(counts[r] for r in ("nsubj", "nsubj:pass", "csubj", "csubj:pass", "expl")) > 1 or counts["obj"] > 1:
            yield f"two subjects or two objects of {governor['form']}"
        passive = {"aux:pass", "nsubj:pass", "csubj:pass"} & counts.keys()
        if (passive and (governor["feats"] or {}).get("Voice") != "Pass") or {"nsubj", "aux:pass"} <= counts.keys():
            yield f"passive or not? {governor['form']}"


def of_label(word: conllu.Token) -> Iterator[str]:
    form, upos, label, feats = word["form"], word["upos"], word["deprel"], word["feats"] or {}
    if upos not in UPOS:
        yield f"UPOS {upos} of {form}"
    if label not in SUBTYPES and label not in UNIVERSAL:
        yield f"DEPREL {label} of {form}"
        return
    if not word["lemma"] or word["lemma"] == "_":
        yield f"no LEMMA: {form}"
    for key, value in feats.items():
        if value not in FEATS.get(key, set()) or key not in FEATS_OF.get(upos, set()):
            yield f"FEATS {key}={value} of {form} ({upos})"
    if not REQUIRED.get(upos, set()) <= feats.keys():
        yield f"FEATS of {form} ({upos}) lack {REQUIRED[upos] - feats.keys()}"
    wanted = UPOS_OF.get(label.partition(":")[0])
    if (wanted and upos not in wanted) or (upos == "PUNCT") != (label == "punct"):
        yield f"{form} is {upos} and {label}"


def pieces(sentence: TokenList) -> Iterator[tuple[int, re.Match[str]]]:
    for word in words(sentence):
        value = (word["misc"] or {}).get("Entity")
        if value is not None:
            found = list(PIECE.finditer(value))
            if "".join(match[0] for match in found) != value:
                raise ValueError(f"Entity={value} cannot be read")
            yield from ((word["id"], match) for match in found)


def mentions(sentence: TokenList) -> list[Mention]:
    """The mentions of a sentence; a bracket that opens last closes first."""
    found: list[Mention] = []
    waiting: list[tuple[str, str, int, int]] = []
    for here, match in pieces(sentence):
        if match["open"]:
            waiting.append((match["open"], match["type"], here, here + int(match["head"]) - 1))
        if match["close"] or match["one"]:
            if not waiting or match["close"] not in (None, waiting[-1][0]):
                raise ValueError(f"{match[0]} closes what is not the last to open")
            entity, kind, start, head = waiting.pop()
            found.append(Mention(entity, kind, start, here, head))
    if waiting:
        raise ValueError(f"{waiting[-1][0]} does not close")
    return found


def of_mentions(sentence: TokenList) -> Iterator[str]:
    governors = {word["id"]: word["head"] for word in words(sentence)}
    try:
        found = mentions(sentence)
    except ValueError as error:
        yield str(error)
        return
    if len({(m.start, m.end) for m in found}) < len(found):
        yield "two mentions of the same words"
    for m in found:
        if m.type not in TYPES:
            yield f"entity type {m.type}"
        inside = range(m.start, m.end + 1)
        tops = [i for i in inside if governors.get(i) not in inside]
        if tops != [m.head]:
            yield f"the head of {m} is not the tree's ({tops})"


def of_documents(parsed: list[TokenList]) -> Iterator[str]:
    documents: dict[str, list[TokenList]] = {}
    paragraphs: dict[str, list[list[TokenList]]] = {}
    name = ""
    for sentence in parsed:
        if "newdoc id" in sentence.metadata:
            name = sentence.metadata["newdoc id"]
            if name in documents:
                yield f"{name} stands twice"
            documents[name], paragraphs[name] = [], []
        if "newpar id" in sentence.metadata:
            paragraphs[name].append([])
            if sentence.metadata["newpar id"] != f"{name}-p{len(paragraphs[name])}":
                yield f"{name}: newpar id {sentence.metadata['newpar id']}"
        paragraphs[name][-1].append(sentence)
        documents[name].append(sentence)
        if sentence.metadata["sent_id"] != f"{name}-p{len(paragraphs[name])}-s{len(paragraphs[name][-1])}":
            yield f"{name}: sent_id {sentence.metadata['sent_id']}"
    passages = read("passages.txt").strip().split("\n\n")
    if list(documents) != list(PASSAGES):
        yield f"the documents are {list(documents)}"
    for name, parts in paragraphs.items():
        if [" ".join(s.metadata["text"] for s in part) for part in parts] != passages[PASSAGES[name]].split("\n"):
            yield f"{name} is not the text of its passage"
    known: list[str] = []
    for name, document in documents.items():
        for problem in of_entities(document, known):
            yield f"{name}: {problem}"


def of_entities(document: list[TokenList], known: list[str]) -> Iterator[str]:
    """`known`, the entities of earlier documents, grows: CorefUD's names of entities hold for the whole file."""
    found: dict[str, list[tuple[Mention, str]]] = {}
    for sentence in document:
        upos = {word["id"]: word["upos"] for word in words(sentence)}
        try:
            inside = mentions(sentence)
        except ValueError:
            return
        for m in sorted(inside, key=lambda m: (m.start, -m.end)):
            found.setdefault(m.entity, []).append((m, upos[m.head]))
    known.extend(found)
    if known != [f"e{i}" for i in range(1, len(known) + 1)]:
        yield f"entities are not numbered through the file by their first mention: {list(found)}"
    for entity, group in found.items():
        if len({m.type for m, _ in group}) > 1:
            yield f"{entity} has more than one type"
        if len(group) == 1 and group[0][1] != "PROPN":
            yield f"{entity} is mentioned once and is no name"


def test_the_corpus_follows_the_rules() -> None:
    assert list(problems(corpus())) == []


def test_there_are_as_many_documents_as_promised() -> None:
    parsed = sentences(corpus())
    assert sum("newdoc id" in sentence.metadata for sentence in parsed) == len(PASSAGES) >= 12
    assert sum("newpar id" in sentence.metadata for sentence in parsed) == 2 * len(PASSAGES)


def row(text: str, sent_id: str, word: int, column: int, value: str) -> str:
    """The corpus with one column of one word changed."""
    head, mark, tail = text.partition(f"# sent_id = {sent_id}\n")
    block, end, rest = tail.partition("\n\n")
    lines = block.split("\n")
    (at,) = (i for i, line in enumerate(lines) if line.startswith(f"{word}\t"))
    columns = lines[at].split("\t")
    assert mark
    assert columns[column] != value
    columns[column] = value
    lines[at] = "\t".join(columns)
    return head + mark + "\n".join(lines) + end + rest


FEATURES, GOVERNOR, RELATION, MISC = 5, 6, 7, 9


@pytest.mark.parametrize(
    ("harm", "seen"),
    [
        (lambda t: row(t, "piano-p1-s3", 3, GOVERNOR, "2"), "not one root"),
        (lambda t: row(t, "piano-p1-s3", 7, GOVERNOR, "0"), "not one root"),
        (lambda t: row(t, "piano-p1-s1", 16, GOVERNOR, "99"), "a HEAD outside the sentence"),
        (lambda t: row(t, "piano-p1-s1", 8, GOVERNOR, "12"), "a cycle"),
        (lambda t: row(t, "piano-p1-s3", 6, RELATION, "root"), "root and HEAD 0"),
        (lambda t: row(t, "piano-p1-s3", 6, RELATION, "pobj"), "DEPREL pobj"),
        (lambda t: row(t, "piano-p1-s3", 6, RELATION, "obl:tmod"), "DEPREL obl:tmod"),
        (lambda t: row(t, "piano-p1-s3", 6, RELATION, "obj"), "two objects"),
        (lambda t: row(t, "piano-p1-s3", 6, 3, "NN"), "UPOS NN"),
        (lambda t: row(t, "piano-p1-s3", 6, FEATURES, "Number=Dual"), "FEATS Number=Dual"),
        (lambda t: row(t, "piano-p1-s3", 6, FEATURES, "_"), "lack"),
        (lambda t: row(t, "piano-p1-s3", 3, FEATURES, "VerbForm=Fin|Tense=Past"), "FEATS not sorted"),
        (lambda t: row(t, "piano-p1-s3", 6, GOVERNOR, "5"), "governs hammers"),
        (lambda t: row(t, "piano-p1-s1", 3, GOVERNOR, "20"), "punctuation reaches"),
        (lambda t: row(t, "piano-p1-s1", 3, GOVERNOR, "16"), "punctuation stands inside"),
        (lambda t: row(t, "piano-p1-s1", 2, 3, "PUNCT"), "PUNCT and flat"),
        (lambda t: row(t, "piano-p2-s2", 1, RELATION, "nsubj"), "passive"),
        (lambda t: row(t, "piano-p1-s2", 2, MISC, "_"), "e5 does not close"),
        (lambda t: row(t, "piano-p1-s2", 2, MISC, "Entity=e7)"), "not the last to open"),
        (lambda t: row(t, "piano-p1-s2", 1, MISC, "Entity=(e5-object-1"), "not the tree's"),
        (lambda t: row(t, "piano-p1-s2", 1, MISC, "Entity=(e5-thing-2"), "entity type thing"),
        (lambda t: row(t, "piano-p1-s2", 1, MISC, "Entity=(e5-object"), "cannot be read"),
        (lambda t: row(t, "piano-p1-s3", 4, MISC, "Entity=(e9-object-1)"), "not numbered through the file"),
        (lambda t: t.replace("e10-place", "e1-place"), "not numbered through the file"),
        (lambda t: row(t, "piano-p1-s3", 4, MISC, "_"), "e6 is mentioned once"),
        (lambda t: row(t, "piano-p1-s3", 4, MISC, "Entity=(e6-event-1)"), "more than one type"),
        (lambda t: row(t, "piano-p1-s3", 6, 1, "hammer"), "the tokens give"),
        (lambda t: row(t, "piano-p1-s3", 7, MISC, "_"), "the tokens give"),
        (lambda t: t.replace("19-20\tplanet's", "19-20\tplanets"), "not its words"),
        (lambda t: t.replace("5-6\tcannot" + 8 * "\t_" + "\n", "").replace("5\tcan\t", "5\tcannot\t"), "tokens give"),
        (lambda t: t.replace("1\tHis\t", "2\tHis\t", 1), "not numbered"),
        (lambda t: t.replace("\thammers\t", "\t hammers\t"), "not ten columns"),
        (lambda t: t.replace("eid-etype-head", "eid-etype-head-other"), "not declared"),
        (lambda t: t.replace("hammers instead.", "hammers now."), "not the text of its passage"),
        (lambda t: t.replace("# newdoc id = paper", "# newdoc id = piano"), "stands twice"),
        (lambda t: t.replace("# newpar id = paper-p2\n", ""), "sent_id paper-p2-s1"),
        (lambda t: t[:-1], "line ends"),
    ],
)
def test_the_check_sees_errors(harm: Callable[[str], str], seen: str) -> None:
    harmed = harm(corpus())
    assert harmed != corpus()
    assert any(re.search(seen, problem) for problem in problems(harmed)), list(problems(harmed))
