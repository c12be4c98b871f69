"""A model's own input embeddings as word vectors."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import torch

from bertattn import _arrays
from bertattn._arrays import Numpy
from bertattn._prepare import prepare
from bertattn.annotation import Sentence
from bertattn.errors import InputError, ModelError, ValidationError
from bertattn.vectors import Words, WordVectors, words_of

# A word stands in running text after another one: byte-level BPE has tokens of its own for a word after a space.
_BEFORE = "the"


def word_vectors(
    model: Any, tokenizer: Any, words: Words, *, dimension: int | None, vocabulary: int | None, name: str
) -> WordVectors:
    """As `Extractor.word_vectors`, of a model and its tokenizer."""
    if vocabulary is None:
        raise ModelError(f"{type(model).__name__} has no table of input embeddings; read word vectors from a file")

    def tokens(word: str) -> tuple[int, ...]:
        return _tokens_of(word, tokenizer, vocabulary)

    lowercase = all(tokens(letter) == tokens(letter.lower()) for letter in string.ascii_uppercase)
    unique = dict.fromkeys(word.lower() if lowercase else word for word in words_of(words))
    spelled = {word: ids for word in unique if (ids := tokens(word))}
    matrix = _means(model.get_input_embeddings().weight, list(spelled.values()))
    vectors = WordVectors(tuple(spelled), matrix, lowercase=lowercase, name=name)
    return vectors if dimension is None else vectors.reduced(dimension)


def _tokens_of(word: str, tokenizer: Any, vocabulary: int) -> tuple[int, ...]:
    """The ids of the word's tokens; none where the tokenizer cannot spell it."""
    try:
        pair = Sentence((_BEFORE, word))
        prepared = prepare(pair, tokenizer, limit=None, truncate=False, vocabulary=vocabulary, spacing="single")
    except (InputError, ValidationError):  # an empty word, half of a surrogate pair, or a special token's own name
        return ()
    of_word = zip(prepared.ids, prepared.axis.word_ids or (), strict=True)
    ids = tuple(number for number, word_id in of_word if word_id == 1)
    return () if tokenizer.unk_token_id in ids else ids


def _means(table: torch.Tensor, groups: list[tuple[int, ...]]) -> Numpy:
    """The mean row of each group of rows, `[group, dimension]`."""
    used = sorted({number for group in groups for number in group})
    place = {number: row for row, number in enumerate(used)}
    rows = _arrays.to_numpy(table[used])  # only these, or a large table in half precision would grow twofold
    means = np.empty((len(groups), rows.shape[1]), np.float32)
    for mean, group in zip(means, groups, strict=True):
        mean[:] = rows[[place[number] for number in group]].mean(0, dtype=np.float64)
    return means
