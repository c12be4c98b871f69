"""Laws of the noun: choosing, replacing, positions, NumPy and torch alike, nothing changed in place."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bertattn.errors import SelectionError, ValidationError
from bertattn.tensor import ROLES, AttentionTensor, Axis, format_head, parse_head

tokens = st.text(min_size=0, max_size=4)


@st.composite
def axes(draw: st.DrawFn, size: int) -> Axis:
    def column(values: st.SearchStrategy) -> st.SearchStrategy:
        return st.none() | st.lists(values, min_size=size, max_size=size)

    words = draw(st.none() | st.lists(tokens, min_size=1, max_size=3))
    word = st.none() if words is None else st.integers(0, len(words) - 1)
    return Axis(
        draw(st.lists(tokens, min_size=size, max_size=size)),
        roles=draw(column(st.sampled_from([None, *ROLES]))),
        word_ids=draw(column(st.none() | word | st.lists(word, min_size=1, max_size=2)) if words else st.none()),
        words=words,
        segments=draw(column(st.integers(0, 1))),
        positions=draw(st.none() | st.sets(st.integers(0, 50), min_size=size, max_size=size).map(sorted)),
        offsets=draw(column(st.none() | st.tuples(st.integers(0, 5), st.integers(5, 9)))),
    )


@st.composite
def tensors(draw: st.DrawFn) -> AttentionTensor:
    """A distribution in every row or, here and there, none."""
    layers, heads, queries, keys = (draw(st.integers(1, 4)) for _ in range(4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = rng.dirichlet(np.ones(keys), size=(layers, heads, queries))
    weights[rng.random((layers, heads, queries)) < draw(st.sampled_from([0, 0.3]))] = np.nan
    weights.flags.writeable = False  # no function may write to it
    numbers = [draw(st.permutations(range(6)))[:n] for n in (layers, heads)]
    kind = draw(st.sampled_from([lambda w: w, lambda w: torch.from_numpy(w.copy())]))
    return AttentionTensor(kind(weights), draw(axes(queries)), draw(axes(keys)), layers=numbers[0], heads=numbers[1])


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_two_names_of_a_head_are_one(layer: int, head: int) -> None:
    assert parse_head(format_head(layer, head)) == parse_head((layer, head)) == (layer, head)


@given(tensors(), st.data())
def test_choosing_then_naming_is_naming(a: AttentionTensor, data: st.DataObject) -> None:
    layers = data.draw(st.lists(st.sampled_from(a.layers), min_size=1, unique=True))
    heads = data.draw(st.lists(st.sampled_from(a.heads), min_size=1, unique=True))
    chosen = a.select(layers=layers, heads=heads)
    assert (chosen.layers, chosen.heads) == (tuple(layers), tuple(heads))
    for layer in a.layers:
        for head in a.heads:
            if layer in layers and head in heads:
                np.testing.assert_array_equal(np.asarray(chosen[layer, head]), np.asarray(a[layer, head]))
                np.testing.assert_array_equal(np.asarray(chosen[format_head(layer, head)]), np.asarray(a[layer, head]))
            else:
                with pytest.raises(SelectionError):
                    chosen[layer, head]


@given(tensors(), st.data())
def test_choosing_in_two_steps_is_choosing_in_one(a: AttentionTensor, data: st.DataObject) -> None:
    layers = data.draw(st.lists(st.sampled_from(a.layers), min_size=1, unique=True))
    heads = data.draw(st.lists(st.sampled_from(a.heads), min_size=1, unique=True))
    once, twice = a.select(layers=layers, heads=heads), a.select(heads=heads).select(layers=layers)
    assert (once.layers, once.heads) == (twice.layers, twice.heads)
    np.testing.assert_array_equal(once.numpy(), twice.numpy())
    once.replace()  # what is chosen from a valid tensor is valid


@given(tensors())
def test_replacing_nothing_changes_nothing(a: AttentionTensor) -> None:
    for b in (a.replace(), a._with(), pickle.loads(pickle.dumps(a))):
        np.testing.assert_array_equal(b.numpy(), a.numpy())
        for name in ("queries", "keys", "layers", "heads", "measure", "normalized", "annotation", "source"):
            assert getattr(b, name) == getattr(a, name)


@given(tensors())
def test_numpy_and_torch_hold_the_same(a: AttentionTensor) -> None:
    other = a.replace(weights=torch.from_numpy(a.numpy().copy()))
    mine = a.replace(weights=a.numpy())
    np.testing.assert_array_equal(np.asarray(other.empty_rows), mine.empty_rows)
    np.testing.assert_array_equal(other.numpy(), mine.numpy())
    for row in np.argwhere(~np.asarray(mine.empty_rows)):
        assert sum(mine.numpy()[tuple(row)].tolist()) == pytest.approx(1)


@given(tensors(), st.data())
def test_one_bad_number_anywhere_is_found_and_named(a: AttentionTensor, data: st.DataObject) -> None:
    place = tuple(data.draw(st.integers(0, size - 1)) for size in a.shape)
    layer, head, query, key = place
    bad = data.draw(st.sampled_from([np.inf, -np.inf, 2.5, -3.0]))
    weights = a.numpy().copy()
    weights[(*place[:3],)] = 1 / a.shape[3]
    weights[place] = bad
    with pytest.raises(ValidationError) as caught:
        a.replace(weights=weights)
    name = format_head(a.layers[layer], a.heads[head])
    row = f"query {query} ({a.queries.tokens[query]!r}) in head {name}"
    expected = {
        2.5: f"{row} sums to",
        -3.0: "the smallest weight is -3",
    }.get(bad, f"{row} has {bad} at key {key} ({a.keys.tokens[key]!r})")
    assert expected in str(caught.value)


@given(st.integers(1, 6).flatmap(axes), st.data())
def test_selected_tokens_are_those_tokens_where_they_stood(axis: Axis, data: st.DataObject) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(axis), max_size=len(axis)).filter(any)))
    kept = np.flatnonzero(mask)
    selected = axis.select(kept)
    assert selected == axis.select(mask)
    assert selected.words == axis.words
    np.testing.assert_array_equal(selected.position_array, axis.position_array[kept])
    np.testing.assert_array_equal(selected.special, axis.special[kept])
    for name in ("tokens", "roles", "word_ids", "segments", "offsets"):
        column, whole = getattr(selected, name), getattr(axis, name)
        assert column == (None if whole is None else tuple(whole[i] for i in kept)), name


@given(st.integers(1, 6).flatmap(axes), st.data())
def test_selecting_in_two_steps_is_selecting_in_one(axis: Axis, data: st.DataObject) -> None:
    first = sorted(data.draw(st.sets(st.integers(0, len(axis) - 1), min_size=1)))
    second = sorted(data.draw(st.sets(st.integers(0, len(first) - 1), min_size=1)))
    assert axis.select(first).select(second) == axis.select([first[i] for i in second])


@given(st.integers(1, 6).flatmap(axes))
def test_every_role_is_special_or_a_mask_or_none(axis: Axis) -> None:
    np.testing.assert_array_equal(axis.special | axis.role_mask("mask"), axis.role_mask(*ROLES))
    assert not (axis.special & axis.token_mask(*axis.tokens)).any()
