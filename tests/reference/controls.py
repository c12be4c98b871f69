"""Slow reference for bertattn.probes.controls, as plain loops from methods E.4 and E.5. The standard library only.

A sentence is a list of words; governors count from 1, 0 is the root, None unknown. What a probe gives for a sentence is
a list of rows, one a word, of probabilities of the candidates: ROOT, word 1, word 2 ...
"""

from __future__ import annotations

import fractions
import hashlib
import math


def behaviour(word_type, seed):
    """0: attach to itself, 1: to the first word, 2: to the last one."""
    number = 0
    for byte in hashlib.blake2b((str(seed) + " " + word_type).encode("utf-8"), digest_size=8).digest():
        number = number * 256 + byte
    return number % 3


def control(words, governors, seed, root):
    out = []
    for i in range(len(words)):
        if governors[i] is None or (governors[i] == 0 and root == "exclude"):
            out.append(None)
        elif behaviour(words[i], seed) == 0:
            out.append(i + 1)
        elif behaviour(words[i], seed) == 1:
            out.append(1)
        else:
            out.append(len(words))
    return out


def counts(governor, relation, punct, root):
    if governor is None:
        return False
    if governor == 0 and root == "exclude":
        return False
    return not (punct == "exclude" and relation is not None and relation.split(":")[0] == "punct")


def ceiling(train, test, punct="exclude", root="exclude"):
    """`train` are sentences; `test` triples of words, governors and relations."""
    known = total = 0
    for words, governors, relations in test:
        for word, governor, relation in zip(words, governors, relations, strict=True):
            if counts(governor, relation, punct, root):
                total += 1
                known += any(word in sentence for sentence in train)
    return known / total if total else math.nan


def accuracy(test, targets, probabilities, punct="exclude", root="exclude"):
    """The fraction of the words that count whose target is the first of the likeliest candidates."""
    right = total = 0
    for (words, governors, relations), wanted, rows in zip(test, targets, probabilities, strict=True):
        for i in range(len(words)):
            if counts(governors[i], relations[i], punct, root):
                total += 1
                right += rows[i].index(max(rows[i])) == wanted[i]
    return right / total if total else math.nan


def cuts(n, where):
    """Numbers of sentences, each larger than the one before, the first 2 where there are so many; `where` are decimal
    fractions as text."""
    out = []
    for text in where:
        cut = math.floor(fractions.Fraction(text) * n)
        if cut < 2 <= n:
            cut = 2
        if cut > (out[-1] if out else 0):
            out.append(cut)
    return out


def online(corpus, where, train):
    """Bits and uniform bits of each block; `corpus` are pairs of words and governors in the order in which they are
    sent; `train(pairs)` gives a function of words to probabilities."""
    blocks = []
    before = 0
    for cut in cuts(len(corpus), where):
        predict = None
        for _, governors in corpus[:before]:
            if any(governor is not None for governor in governors):
                predict = train(corpus[:before])
                break
        bits = uniform = 0.0
        for words, governors in corpus[before:cut]:
            for i, governor in enumerate(governors):
                if governor is not None:
                    uniform += math.log2(len(words) + 1)
                    bits += math.log2(len(words) + 1) if predict is None else -math.log2(predict(words)[i][governor])
        blocks.append((bits, uniform))
        before = cut
    return blocks
