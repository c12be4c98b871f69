"""Slow reference for coreference heads, as plain loops from methods A.8 and the files. NumPy and the standard library.

A document is a dictionary: `id`, `sentences` (lists of words), `mentions`. A word has `form`, `upos`, `xpos`, `feats`,
`head` (in its sentence from 1, 0 for the root, None where there is no tree) and `deprel`. A mention has `first` and
`last` (both inside), `entity`, `etype`, and once settled `head` and `surface`. A window is a document with `start` and
`dropped`. Words of documents and windows count from 0.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import numpy as np

MODES = ("words_other", "words_prev", "mentions_prev", "mentions_other")
DIRECTIONS = ("from_mention", "to_mention")
TYPES = ("pronoun", "proper", "nominal", "unknown")


# The files.


def read_gum(path: Path) -> dict:
    """The document of one CoNLL-U file of GUM, with its `Entity=` mentions."""
    sentences, fields, identity = [[]], None, path.stem
    events = []  # (word, kind, entity, entity type), in the order of the file
    number = -1
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("# newdoc id = "):
            identity = line[len("# newdoc id = ") :]
        if line.startswith("# global.Entity = "):
            fields = line[len("# global.Entity = ") :].strip().split("-")
        if not line:
            sentences.append([])
        if not line or line.startswith("#") or not line.split("\t")[0].isdigit():
            continue
        columns = line.split("\t")
        number += 1
        sentences[-1].append(
            {
                "form": columns[1],
                "upos": empty_is_none(columns[3]),
                "xpos": empty_is_none(columns[4]),
                "feats": feats_of(columns[5]),
                "head": int(columns[6]),
                "deprel": columns[7],
            }
        )
        for item in columns[9].split("|"):
            if item.startswith("Entity="):
                for chunk in re.findall(r"\([^()]*\)?|[^()]+\)", item[len("Entity=") :]):
                    values = dict(zip(fields, chunk.strip("()").split("-"), strict=False))
                    events.append((number, kind_of(chunk), values[fields[0]], values.get("etype")))
    sentences = [sentence for sentence in sentences if sentence]
    return {"id": identity, "sentences": sentences, "mentions": pair_brackets(events)}


def read_conll2012(path: Path) -> list[dict]:
    """The documents of one CoNLL-2012 file: form in column 4, tag in column 5, coreference in the last one."""
    documents = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.startswith("#begin document"):
            documents.append({"id": line[len("#begin document") :].strip(), "sentences": [[]], "events": []})
            number = -1
        elif line.startswith("#end document"):
            continue
        elif not line.strip():
            if documents:
                documents[-1]["sentences"].append([])
        else:
            columns = line.split("\t") if "\t" in line else line.split()
            tag = empty_is_none(columns[4]) if len(columns) > 5 else None
            number += 1
            documents[-1]["sentences"][-1].append(
                {"form": columns[3], "upos": None, "xpos": tag, "feats": {}, "head": None, "deprel": None}
            )
            for chunk in re.findall(r"\([^()|\s]+\)?|[^()|\s]+\)", columns[-1]):
                documents[-1]["events"].append((number, kind_of(chunk), chunk.strip("()"), None))
    return [
        {
            "id": document["id"],
            "sentences": [sentence for sentence in document["sentences"] if sentence],
            "mentions": pair_brackets(document["events"]),
        }
        for document in documents
    ]


def empty_is_none(value: str) -> str | None:
    """None where a column holds nothing."""
    return None if value in ("", "_", "-") else value


def feats_of(column: str) -> dict[str, str]:
    """`Gender=Fem|Number=Sing` as a dictionary."""
    return {} if column == "_" else dict(item.split("=", 1) for item in column.split("|"))


def kind_of(chunk: str) -> str:
    """Whether a bracket opens, closes, or is a mention of one word."""
    if chunk.startswith("("):
        return "single" if chunk.endswith(")") else "open"
    return "close"


def pair_brackets(events: list[tuple]) -> list[dict]:
    """Mentions sorted by their words; a closing bracket belongs to the last opening of its entity, before its word."""
    mentions, openings = [], []
    for at in sorted({event[0] for event in events}):
        here = [event for event in events if event[0] == at]
        for kind in ("single", "close", "open"):
            for number, _, entity, etype in [event for event in here if event[1] == kind]:
                if kind == "single":
                    mentions.append({"first": number, "last": number, "entity": entity, "etype": etype})
                elif kind == "open":
                    openings.append({"first": number, "entity": entity, "etype": etype})
                else:
                    i = max(i for i, opening in enumerate(openings) if opening["entity"] == entity)
                    mentions.append({**openings.pop(i), "last": number})
    assert not openings
    return sorted(mentions, key=lambda mention: (mention["first"], mention["last"], mention["entity"]))


def words_of(document: dict) -> list[dict]:
    """All words of a document or window, in order."""
    return [word for sentence in document["sentences"] for word in sentence]


# Head words.


def governors_of(document: dict) -> list[int | None]:
    """For each word the number of its governor in the document, None for roots and without a tree."""
    governors, start = [], 0
    for sentence in document["sentences"]:
        for word in sentence:
            governors.append(start + word["head"] - 1 if word["head"] else None)
        start += len(sentence)
    return governors


def tree_head_word(governors: list[int | None], first: int, last: int) -> int:
    """The word of the span whose governor is outside; of several the shallowest, then the leftmost."""
    best = None
    for i in range(first, last + 1):
        if governors[i] is not None and first <= governors[i] <= last:
            continue
        depth, at = 0, i
        while governors[at] is not None:
            at = governors[at]
            depth += 1
        if best is None or depth < best[0]:
            best = (depth, i)
    assert best is not None
    return best[1]


# fmt: off
PREPOSITIONS = {
    "about", "above", "across", "after", "against", "along", "amid", "among", "around", "as", "at", "before",
    "behind", "below", "beneath", "beside", "besides", "between", "beyond", "but", "by", "despite", "down", "during",
    "except", "for", "from", "in", "inside", "into", "like", "near", "of", "off", "on", "onto", "out", "outside",
    "over", "past", "per", "regarding", "round", "since", "than", "through", "throughout", "till", "to", "toward",
    "towards", "under", "underneath", "until", "unto", "up", "upon", "via", "with", "within", "without",
}
# fmt: on
RELATIVES = {"who", "whom", "whose", "which", "that", "where", "when"}
CLITICS = {"'s", "’s", "'", "’", "s'"}


def is_punctuation_word(form: str) -> bool:
    """Whether all characters are punctuation."""
    return all(unicodedata.category(character).startswith("P") for character in form)


def surface_head_word(forms: list[str], first: int, last: int) -> int:
    """The last word before the first comma, preposition or relative pronoun, clitics and punctuation passed over."""
    end = last + 1
    for i in range(first + 1, last + 1):
        form = forms[i].lower()
        if form in CLITICS:
            continue
        if is_punctuation_word(form) or form in PREPOSITIONS or form in RELATIVES:
            end = i
            break
    for i in range(end - 1, first - 1, -1):
        if forms[i].lower() not in CLITICS and not is_punctuation_word(forms[i]):
            return i
    return first


def settle_heads(document: dict) -> dict:
    """The document with the head word of each mention, and whether it is the surface fallback's."""
    words, governors = words_of(document), governors_of(document)
    forms = [word["form"] for word in words]
    mentions = []
    for mention in document["mentions"]:
        first, last = mention["first"], mention["last"]
        surface = any(words[i]["head"] is None for i in range(first, last + 1))
        head = surface_head_word(forms, first, last) if surface else tree_head_word(governors, first, last)
        mentions.append({**mention, "head": head, "surface": surface})
    return {**document, "mentions": mentions}


# The tokenizer: uncased BERT, counts of pieces only.


def read_vocabulary(path: Path) -> set[str]:
    """The pieces of a `vocab.txt`."""
    return set(path.read_text(encoding="utf-8").split("\n")) - {""}


def is_cjk(character: str) -> bool:
    """Whether BERT sets the character apart as Chinese."""
    code = ord(character)
    return (
        0x4E00 <= code <= 0x9FFF
        or 0x3400 <= code <= 0x4DBF
        or 0xF900 <= code <= 0xFAFF
        or 0x20000 <= code <= 0x2CEAF
        or 0x2F800 <= code <= 0x2FA1F
    )


def is_bert_punctuation(character: str) -> bool:
    """Whether BERT splits there: ASCII signs, `$` and `^` too, and Unicode punctuation."""
    code = ord(character)
    ascii_sign = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_sign or unicodedata.category(character).startswith("P")


def basic_tokens(text: str) -> list[str]:
    """BERT's basic tokenizer: control characters and accents removed, lower case, split at punctuation and CJK."""
    cleaned = ""
    for character in text:
        if character in "\t\n\r":
            cleaned += " "
        elif character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs"):
            continue
        elif character.isspace():
            cleaned += " "
        elif is_cjk(character):
            cleaned += " " + character + " "
        else:
            cleaned += character
    plain = "".join(
        character.lower()
        for character in unicodedata.normalize("NFD", cleaned)
        if unicodedata.category(character) != "Mn"
    )
    spaced = "".join(" " + character + " " if is_bert_punctuation(character) else character for character in plain)
    return spaced.split()


def count_wordpieces(token: str, vocab: set[str]) -> int:
    """How many pieces the greedy longest match gives; one, [UNK], for what is too long or has no match."""
    if len(token) > 100:
        return 1
    start = count = 0
    while start < len(token):
        end = len(token)
        while end > start and ("##" if start else "") + token[start:end] not in vocab:
            end -= 1
        if end == start:
            return 1
        start = end
        count += 1
    return count


def count_pieces(word: str, vocab: set[str]) -> int:
    """How many pieces a word has, special tokens not counted."""
    return sum(count_wordpieces(token, vocab) for token in basic_tokens(word))


# Windows.


def windows(
    document: dict, vocab: set[str], *, max_tokens: int, which: str = "first", cut_at: str = "sentence"
) -> list:
    """Windows of a document with settled head words; `max_tokens` counts [CLS] and [SEP]."""
    words = words_of(document)
    pieces = [count_pieces(word["form"], vocab) for word in words]
    room = max_tokens - 2
    waiting, start = [], 0  # for each sentence, or rest of one, the numbers of its words
    for sentence in document["sentences"]:
        waiting.append(list(range(start, start + len(sentence))))
        start += len(sentence)
    sentence_start = {number: sentence[0] for sentence in waiting for number in sentence}
    found = []
    while waiting:
        taken, used = [], 0
        while waiting:
            cost = sum(pieces[number] for number in waiting[0])
            if used + cost <= room:
                taken.append(waiting.pop(0))
                used += cost
                continue
            if cut_at == "word" or not taken:
                part = []
                for number in waiting[0]:
                    if used + pieces[number] > room:
                        break
                    part.append(number)
                    used += pieces[number]
                if part:
                    taken.append(part)
                    waiting[0] = waiting[0][len(part) :]
            break
        if not taken:
            raise ValueError(f"word {waiting[0][0]} of {document['id']} has more pieces than a window")
        found.append(window_of(document, words, sentence_start, taken))
        if which == "first":
            break
    return found


def window_of(document: dict, words: list[dict], sentence_start: dict[int, int], taken: list[list[int]]) -> dict:
    """The window of the words taken, renumbered; governors outside a part of a sentence are None."""
    start, end = taken[0][0], taken[-1][-1]
    sentences = []
    for part in taken:
        sentence = []
        for number in part:
            word = dict(words[number])
            if word["head"]:
                governor = sentence_start[number] + word["head"] - 1
                word["head"] = governor - part[0] + 1 if governor in part else None
            sentence.append(word)
        sentences.append(sentence)
    mentions, dropped = [], 0
    for mention in document["mentions"]:
        if start <= mention["first"] <= end:
            if mention["last"] <= end:
                moved = {key: mention[key] - start for key in ("first", "last", "head")}
                mentions.append({**mention, **moved})
            else:
                dropped += 1
    return {"id": document["id"], "start": start, "sentences": sentences, "mentions": mentions, "dropped": dropped}


# Instances.


def type_of_word(word: dict) -> str:
    """Pronoun, proper, nominal, or unknown without tags."""
    if word["upos"] is not None:
        if word["upos"] == "PRON" or (word["upos"] == "DET" and word["feats"].get("Poss") == "Yes"):
            return "pronoun"
        return "proper" if word["upos"] == "PROPN" else "nominal"
    if word["xpos"] is not None:
        if word["xpos"] in ("PRP", "PRP$", "WP", "WP$"):
            return "pronoun"
        return "proper" if word["xpos"] in ("NNP", "NNPS") else "nominal"
    return "unknown"


def instances(window: dict) -> list[dict]:
    """The mentions that have an antecedent in the window, with correct answers and candidates of each mode."""
    words, mentions = words_of(window), window["mentions"]
    found = []
    for i, mention in enumerate(mentions):
        head = mention["head"]
        answers = set()
        for other in mentions:
            if other["entity"] == mention["entity"] and other["head"] < head:
                answers.add(other["head"])
        if not answers:
            continue
        candidates = {mode: set() for mode in MODES}
        for number in range(len(words)):
            if number != head:
                candidates["words_other"].add(number)
            if number < head:
                candidates["words_prev"].add(number)
        for other in mentions:
            if other["head"] != head:
                candidates["mentions_other"].add(other["head"])
            if other["head"] < head:
                candidates["mentions_prev"].add(other["head"])
        found.append(
            {
                "mention": i,
                "head": head,
                "type": type_of_word(words[head]),
                "answers": answers,
                "candidates": {mode: sorted(candidates[mode]) for mode in MODES},
            }
        )
    return found


def count_types(found: list[dict]) -> dict[str, int]:
    """How many instances there are, all and of each type."""
    counts = {"all": len(found)}
    for kind in TYPES:
        counts[kind] = sum(instance["type"] == kind for instance in found)
    return counts


# Baselines: for each instance of a window the head word of the mention chosen, or None.


def preceding(window: dict, instance: dict) -> list[dict]:
    """The mentions whose head word is before the instance's, nearest last."""
    before = [mention for mention in window["mentions"] if mention["head"] < instance["head"]]
    return sorted(before, key=lambda mention: mention["head"])


def nearest(window: dict) -> list[int | None]:
    """The nearest mention before."""
    return [preceding(window, instance)[-1]["head"] for instance in instances(window)]


def same_head(window: dict) -> list[int | None]:
    """The nearest mention before with the same head word, lower-cased."""
    words, chosen = words_of(window), []
    for instance in instances(window):
        form, best = words[instance["head"]]["form"].lower(), None
        for mention in preceding(window, instance):
            if words[mention["head"]]["form"].lower() == form:
                best = mention["head"]
        chosen.append(best)
    return chosen


def attributes(window: dict, mention: dict) -> dict[str, set[str] | None]:
    """Number, person and gender as sets of possible values from FEATS, `conj` and the entity type; None is unknown."""
    words, governors = words_of(window), governors_of(window)
    word = words[mention["head"]]
    pronoun = type_of_word(word) == "pronoun"
    feats = word["feats"]

    number = {"Sing": {"Sing"}, "Plur": {"Plur"}, "Ptan": {"Plur"}, "Dual": {"Plur"}}.get(feats.get("Number"))
    if number is None and feats.get("Poss") == "Yes":
        number = {"Sing": {"Sing"}, "Plur": {"Plur"}, "Dual": {"Plur"}}.get(feats.get("Number[psor]"))
    for i in range(mention["first"], mention["last"] + 1):
        relation = words[i]["deprel"]
        if governors[i] == mention["head"] and relation is not None and relation.split(":")[0] == "conj":
            number = {"Plur"}

    person = {"third"}
    if pronoun and feats.get("Person") in ("1", "2"):
        person = {"first or second"}

    gender = None
    if pronoun:
        gender = set(feats["Gender"].split(",")) if "Gender" in feats else None
    elif mention["etype"] == "person":
        gender = {"Masc", "Fem"}
    elif mention["etype"] not in (None, "animal"):
        gender = {"Neut"}
    return {"number": number, "person": person, "gender": gender}


def compatible(one: dict, other: dict) -> bool:
    """Whether no attribute known of both differs."""
    return all(one[key] is None or other[key] is None or one[key] & other[key] for key in one)


def rule_based_without_lexicon(window: dict) -> list[int | None]:
    """The nearest mention of the first sieve that has any: same words, same head word, compatible, all."""
    words, chosen = words_of(window), []

    def form(number):
        return words[number]["form"].lower()

    def text(mention):
        return [form(number) for number in range(mention["first"], mention["last"] + 1)]

    for instance in instances(window):
        mention = window["mentions"][instance["mention"]]
        before = preceding(window, instance)
        mine = attributes(window, mention)
        sieves = [
            [other for other in before if text(other) == text(mention)],
            [other for other in before if form(other["head"]) == form(mention["head"])],
            [other for other in before if compatible(mine, attributes(window, other))],
            before,
        ]
        chosen.append(next(sieve for sieve in sieves if sieve)[-1]["head"])
    return chosen


def accuracy_by_type(found: list[dict], chosen: list[int | None]) -> dict[str, tuple[int, int]]:
    """(correct, instances), all and of each type, of the words chosen for the instances."""
    counts = {kind: [0, 0] for kind in ("all", *TYPES)}
    for instance, word in zip(found, chosen, strict=True):
        for kind in ("all", instance["type"]):
            counts[kind][0] += word in instance["answers"]
            counts[kind][1] += 1
    return {kind: (correct, number) for kind, (correct, number) in counts.items()}


# One attention head.


def accuracy_of_map(window: dict, weights: np.ndarray) -> dict[tuple[str, str], list[tuple[int | None, bool]]]:
    """For (mode, direction) the prediction for each instance and whether it is correct; `weights` of words, [n, n]."""
    results = {}
    for mode in MODES:
        for direction in DIRECTIONS:
            results[mode, direction] = []
            for instance in instances(window):
                best, most = None, 0.0
                for word in instance["candidates"][mode]:
                    row, column = (instance["head"], word) if direction == "from_mention" else (word, instance["head"])
                    if weights[row, column] > most:
                        best, most = word, weights[row, column]
                results[mode, direction].append((best, best in instance["answers"]))
    return results
