"""Pairs of texts and token ids."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from bertattn.errors import ValidationError
from bertattn.inputs import TextPair, TokenIds


def test_a_pair_holds_two_texts_and_is_frozen() -> None:
    pair = TextPair("How are you?", "Fine.")
    assert (pair.first, pair.second) == ("How are you?", "Fine.")
    assert pair == TextPair("How are you?", "Fine.")
    assert len({pair, TextPair("How are you?", "Fine."), TextPair("Fine.", "How are you?")}) == 2
    with pytest.raises(FrozenInstanceError):
        pair.first = "x"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["How"], "Fine", "first must be a string, but is list"),
        ("How", None, "second must be a string, but is NoneType"),
    ],
)
def test_a_pair_of_anything_else_is_refused(first, second, message) -> None:
    with pytest.raises(ValidationError, match=f"^{message}$"):
        TextPair(first, second)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda ids: [np.int32(i) for i in ids]])
def test_ids_of_any_kind_become_plain_integers(kind) -> None:
    x = TokenIds(kind([101, 7, 102]), segments=kind([0, 0, 1]), token_types=kind([0, 0, 0]))
    assert x == TokenIds((101, 7, 102), (0, 0, 1), (0, 0, 0))
    assert all(type(i) is int for column in (x.ids, x.segments, x.token_types) for i in column)
    assert len(x) == 3
    assert hash(x) == hash(pickle.loads(pickle.dumps(x)))
    assert copy.deepcopy(x) == x


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ids": ()}, "token ids need at least one token, but got none"),
        ({"ids": [1.5]}, r"ids must be integers from 0, but is \(1.5,\)"),
        ({"ids": "12"}, "ids must be integers from 0, but is '12'"),
        ({"ids": [True]}, r"ids must be integers from 0, but is \(True,\)"),
        ({"ids": [-100]}, r"ids must be integers from 0, but is \(-100,\)"),
        ({"ids": None}, "ids must be integers from 0, but is None"),
        ({"ids": 5}, "ids must be integers from 0, but is 5"),
        ({"ids": torch.tensor([[1, 2]])}, r"but is \(\(1, 2\),\); give one sequence, not a batch"),
        ({"ids": [1, 2], "segments": [0]}, "segments has 1 entries but there are 2 ids"),
        ({"ids": [1, 2], "token_types": [0, 1, 1]}, "token_types has 3 entries but there are 2 ids"),
        ({"ids": [1], "segments": ["a"]}, r"segments must be integers from 0, but is \('a',\)"),
    ],
)
def test_bad_ids_are_refused(fields, message) -> None:
    with pytest.raises(ValidationError, match=message + "$"):
        TokenIds(**fields)
