"""From a tokenizer's output to the columns of an `Axis`: tokens, roles, words, segments, offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertattn import _arrays
from bertattn.errors import InputError

SPECIAL = ("cls", "sep", "bos", "eos", "pad")


def roles_of(ids: Sequence[int], tokenizer: Any, special: Sequence[bool] | None = None) -> tuple[str | None, ...]:
    """The role of each token, from the tokenizer's ids and never from strings.

    Where one id has several roles the first of mask, cls, sep, bos, eos, pad holds (so RoBERTa's <s> is "cls"), but an
    id that both begins and ends texts, as GPT-2's, is "bos" at the start and "eos" after. A token that the tokenizer
    put around the text without a role of its own (a language code) is "bos" before the text and "eos" after it.
    """
    by_id: dict[int, str] = {}
    for role in ("pad", "eos", "bos", "sep", "cls", "mask"):
        number = getattr(tokenizer, f"{role}_token_id", None)
        if number is not None:
            by_id[int(number)] = role
    shared = {getattr(tokenizer, "bos_token_id", None)} & {getattr(tokenizer, "eos_token_id", None)}
    ordinary = [i for i in range(len(ids)) if by_id.get(int(ids[i])) is None and not (special and special[i])]
    first_word = ordinary[0] if ordinary else len(ids)
    roles: list[str | None] = []
    for i, number in enumerate(int(n) for n in ids):
        role = by_id.get(number)
        if role == "bos" and number in shared and i > 0:
            role = "eos"
        if role is None and special and special[i]:
            role = "bos" if i < first_word else "eos"
        roles.append(role)
    return tuple(roles)


def segments_of(sequence_ids: Sequence[int | None]) -> tuple[int, ...]:
    """0 or 1 for each token, special tokens too: the first one after text A closes A, later ones belong to B."""
    segments: list[int] = []
    if 1 not in sequence_ids:
        return (0,) * len(sequence_ids)
    last_first = max((i for i, s in enumerate(sequence_ids) if s == 0), default=-1)
    for i, sequence in enumerate(sequence_ids):
        if sequence is not None:
            segments.append(sequence)
        else:
            segments.append(0 if i <= last_first + 1 else 1)
    return tuple(segments)


@dataclass(frozen=True)
class Item:
    """One sequence of a batch, padding taken off."""

    index: int
    kept: tuple[int, ...]
    ids: tuple[int, ...]
    word_ids: tuple[int | None, ...] | None
    sequence_ids: tuple[int | None, ...] | None
    offsets: tuple[tuple[int, int] | None, ...] | None


def batch_item(encoding: Any, index: int | None, *, batch: int) -> Item:
    """Sequence `index` of a tokenizer's output, as lists or as arrays, padding taken off by its attention mask."""
    try:
        ids = np.atleast_2d(_arrays.to_numpy(encoding["input_ids"]))
    except (KeyError, TypeError, ValueError):
        raise InputError(
            "encoding must be what the tokenizer returned, one row of ids a sequence; "
            "call tokenizer(..., return_tensors='pt')"
        ) from None
    if len(ids) != batch:
        raise InputError(f"encoding has {len(ids)} sequences but the maps have {batch}; give the two of one call")
    if index is None:
        if batch != 1:
            raise InputError(f"the batch has {batch} sequences; say which: index=0 to index={batch - 1}")
        index = 0
    if not 0 <= index < batch:
        raise InputError(f"index is {index} but the batch has {batch} sequences")
    mask = encoding.get("attention_mask")
    row = np.ones(ids.shape[1], dtype=bool) if mask is None else np.atleast_2d(_arrays.to_numpy(mask))[index] > 0
    kept = tuple(int(i) for i in np.flatnonzero(row))
    if not kept:
        raise InputError(f"the attention mask of sequence {index} is all zero: there is no token to look at")
    fast = getattr(encoding, "encodings", None)
    if not fast:
        return Item(index, kept, tuple(int(ids[index][i]) for i in kept), None, None, None)
    one = fast[index]
    special = one.special_tokens_mask
    return Item(
        index,
        kept,
        tuple(int(ids[index][i]) for i in kept),
        tuple(one.word_ids[i] for i in kept),
        tuple(one.sequence_ids[i] for i in kept),
        tuple(None if special[i] else one.offsets[i] for i in kept),
    )


def describe(ids: Sequence[int], tokenizer: Any, *, encoding: Item | None = None) -> dict[str, Any]:
    """The keyword arguments of `Axis` for these ids.

    Words are the tokenizer's own (`encoding.word_ids()`); a tokenizer that cuts no words, as some SentencePiece ones,
    gives none.
    """
    tokens = tuple(str(t) for t in tokenizer.convert_ids_to_tokens(list(ids)))
    columns: dict[str, Any] = {"tokens": tokens, "roles": roles_of(ids, tokenizer)}
    if encoding is None or encoding.word_ids is None or encoding.sequence_ids is None:
        return columns
    columns["segments"] = segments_of(encoding.sequence_ids)
    columns["offsets"] = encoding.offsets
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and backend.pre_tokenizer is None:
        return columns
    numbers: dict[tuple[int | None, int], int] = {}
    texts: list[str] = []
    word_ids: list[int | None] = []
    for token, word, sequence in zip(tokens, encoding.word_ids, encoding.sequence_ids, strict=True):
        if word is None:
            word_ids.append(None)
            continue
        number = numbers.setdefault((sequence, word), len(numbers))
        if number == len(texts):
            texts.append("")
        texts[number] += token.removeprefix("##").removeprefix("Ġ").removeprefix("▁")
        word_ids.append(number)
    columns["word_ids"] = tuple(word_ids)
    columns["words"] = tuple(text or "▁" for text in texts)
    return columns


def maps_of(outputs: Any, attention: str | None) -> Sequence[Any]:
    """The tuple of `[batch, head, query, key]` maps in a model's outputs."""
    if attention not in (None, "encoder", "decoder", "cross"):
        raise InputError(f"attention must be 'encoder', 'decoder' or 'cross', but is {attention!r}")
    names = {
        None: ("attentions", "encoder_attentions"),
        "encoder": ("attentions", "encoder_attentions"),
        "decoder": ("decoder_attentions", "attentions"),
        "cross": ("cross_attentions",),
    }[attention]
    for name in names:
        maps = getattr(outputs, name, None)
        if maps is None and isinstance(outputs, dict):
            maps = outputs.get(name)
        if maps is not None and len(maps) > 0 and all(m is not None for m in maps):
            return tuple(maps)
    raise InputError(
        f"outputs hold no {' or '.join(names)}; load the model with attn_implementation='eager' and call it with "
        "output_attentions=True, or use bertattn.Extractor, which needs neither"
    )


def stack(maps: Sequence[Any]) -> Any:
    if _arrays.is_torch(maps[0]):
        import torch

        return torch.stack([m.detach() for m in maps])
    return np.stack(maps)
