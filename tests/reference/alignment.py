"""Word alignment and merging as plain loops from methods A.2. Slow; imports only NumPy."""

from __future__ import annotations

import numpy as np


def word_ids(offsets, words, text):
    """Character by character: the words that a token's characters lie in; without any, the next word, or the last."""
    owner = {}
    for number, (start, end) in enumerate(words):
        for character in range(start, end):
            owner[character] = number
    result = []
    for span in offsets:
        if span is None or not words:
            result.append(None)
            continue
        start, end = span
        while start < end and text[start].isspace() and start not in owner:
            start += 1
        found = []
        for character in range(start, end):
            number = owner.get(character)
            if number is not None and number not in found:
                found.append(number)
        if not found:
            character = start
            while character < len(text) and character not in owner:
                character += 1
            found = [owner[character]] if character < len(text) else [len(words) - 1]
        result.append(found[0] if len(found) == 1 else tuple(found))
    return tuple(result)


def units(token_words):
    """Words and single special tokens, by their first token: a list of (word or None, token numbers)."""
    result = []
    for token, entry in enumerate(token_words):
        if entry is None:
            result.append((None, [token]))
            continue
        for word in entry if isinstance(entry, tuple) else (entry,):
            for known, tokens in result:
                if known == word:
                    tokens.append(token)
                    break
            else:
                result.append((word, [token]))
    return result


def merge(alpha, query_words, key_words, mode):
    """`[query, key]` of one head -> `[word, word]`."""
    alpha = np.asarray(alpha, dtype=np.float64)
    query_units, key_units = units(query_words), units(key_words)
    summed = np.zeros((len(query_words), len(key_units)))
    for i in range(len(query_words)):
        for w, (_, tokens) in enumerate(key_units):
            for j in tokens:
                share = len(key_words[j]) if isinstance(key_words[j], tuple) else 1
                summed[i, w] += alpha[i, j] / share
    merged = np.zeros((len(query_units), len(key_units)))
    for u, (_, tokens) in enumerate(query_units):
        for w in range(len(key_units)):
            column = [summed[i, w] for i in tokens]
            if mode == "mean":
                merged[u, w] = sum(column) / len(column)
            elif mode == "first":
                merged[u, w] = column[0]
            else:
                merged[u, w] = np.nan if any(np.isnan(column)) else max(column)
        if mode == "max" and len(tokens) > 1:
            merged[u] = merged[u] / sum(merged[u])
    return merged


def drop(alpha, special_queries, special_keys, renormalize):
    """Rows and columns of special tokens taken out; rows without mass NaN."""
    rows = []
    for i in range(len(alpha)):
        if special_queries[i]:
            continue
        row = [float(alpha[i][j]) for j in range(len(alpha[i])) if not special_keys[j]]
        if renormalize:
            mass = sum(row)
            row = [value / mass if mass > 1e-12 else float("nan") for value in row]
        rows.append(row)
    return np.array(rows)
