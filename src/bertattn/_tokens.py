"""From a tokenizer's output to the columns of an `Axis`: tokens, roles, words, segments, offsets."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bertattn import _arrays
from bertattn.errors import InputError

# Where a model's outputs keep the maps asked for; the first that is there holds.
_FIELDS = {
    None: ("attentions", "encoder_attentions"),
    "encoder": ("encoder_attentions", "attentions"),
    "decoder": ("decoder_attentions", "attentions"),
    "cross": ("cross_attentions",),
}


# GPT-2's alphabet: printable bytes stand for themselves, the others for the characters from U+0100 on.
_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(0x100 + n): byte for n, byte in enumerate(_OTHERS)}
_HEX_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
CONTINUED = "##"
LONGEST_CHARACTER = 4  # bytes of UTF-8


def roles_of(ids: Sequence[int], tokenizer: Any, special: Sequence[bool] | None = None) -> tuple[str | None, ...]:
    """The role of each token, from the tokenizer's ids and never from strings.

    Where one id has several roles the first of mask, cls, sep, bos, eos, pad holds (so RoBERTa's <s> is "cls"), but an
    id that both begins and ends texts, as GPT-2's, is "bos" at the start and "eos" after. A token that the tokenizer
    put around the text without a role of its own (a language code) is "bos" before the text and "eos" after it.
    """
    by_id: dict[int, str] = {}
    for name in ("pad", "eos", "bos", "sep", "cls", "mask"):
        known = getattr(tokenizer, f"{name}_token_id", None)
        if known is not None:
            by_id[int(known)] = name
    shared = tokenizer.bos_token_id if tokenizer.bos_token_id == tokenizer.eos_token_id else None
    added = [False] * len(ids) if special is None else special
    first_word = next((i for i, n in enumerate(ids) if int(n) not in by_id and not added[i]), len(ids))
    roles: list[str | None] = []
    for i, number in enumerate(int(n) for n in ids):
        role = by_id.get(number)
        if role == "bos" and number == shared and i > 0:
            role = "eos"
        if role is None and added[i]:
            role = "bos" if i < first_word else "eos"
        roles.append(role)
    return tuple(roles)


def segments_of(sequence_ids: Sequence[int | None]) -> tuple[int, ...]:
    """0 or 1 for each token, special tokens too: the first one after text A closes A, later ones belong to B."""
    if 1 not in sequence_ids:
        return (0,) * len(sequence_ids)
    last_first = max((i for i, s in enumerate(sequence_ids) if s == 0), default=0)
    return tuple(int(i > last_first + 1) if s is None else s for i, s in enumerate(sequence_ids))


@dataclass(frozen=True)
class Item:
    """One sequence of a batch: its tokens without padding, `kept` of the `padded` ones there were.

    A slow tokenizer tells neither the words nor the texts (`sequence_ids`, None for special tokens) nor the offsets.
    """

    index: int
    padded: int
    kept: tuple[int, ...]
    ids: tuple[int, ...]
    word_ids: tuple[int | None, ...] | None = None
    sequence_ids: tuple[int | None, ...] | None = None
    offsets: tuple[tuple[int, int] | None, ...] | None = None
    for_decoder: bool = False


def batch_item(encoding: Any, index: int | None, tokenizer: Any, *, batch: int) -> Item:
    """Sequence `index` of a tokenizer's output, as lists or as arrays, padding taken off by its attention mask."""
    try:
        ids = _table(encoding["input_ids"])
        mask = None if encoding.get("attention_mask") is None else _table(encoding["attention_mask"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise InputError(
            "encoding must be what the tokenizer returned and the model was given, with rows of equal length: "
            "encoding = tokenizer(texts, padding=True, return_tensors='pt')"
        ) from None
    if len(ids) != batch:
        raise InputError(f"encoding has {len(ids)} sequences but the maps have {batch}; give the two of one call")
    if mask is not None and mask.shape != ids.shape:
        raise InputError(f"the attention mask is {mask.shape} but the ids are {ids.shape}; give one mark a token")
    if index is None:
        if batch != 1:
            raise InputError(f"the batch has {batch} sequences; say which: index=0 to index={batch - 1}")
        index = 0
    if not 0 <= index < batch:
        raise InputError(f"index is {index} but the batch has {batch} sequences, counted from 0")
    padded = ids.shape[1]
    kept = tuple(range(padded)) if mask is None else tuple(np.flatnonzero(mask[index] > 0).tolist())
    if not kept:
        raise InputError(f"the attention mask of sequence {index} is all zero: there is no token to look at")
    own = tuple(int(ids[index, i]) for i in kept)
    pad = tokenizer.pad_token_id
    if mask is None and pad is not None and pad != tokenizer.eos_token_id and pad in (own[0], own[-1]):
        raise InputError(
            f"sequence {index} has padding but encoding has no attention_mask; give the encoding with its mask"
        )
    fast = getattr(encoding, "encodings", None)
    if not fast or len(fast) != batch or len(fast[index].ids) != padded:  # cut or padded since: the numbers are off
        return Item(index, padded, kept, own)
    one = fast[index]
    return Item(
        index,
        padded,
        kept,
        own,
        tuple(one.word_ids[i] for i in kept),
        tuple(one.sequence_ids[i] for i in kept),
        tuple(None if one.sequence_ids[i] is None else one.offsets[i] for i in kept),
    )


def decoder_item(decoder_ids: Any, index: int, tokenizer: Any) -> Item:
    """The decoder's input of sequence `index`, padding at its end taken off."""
    if decoder_ids is None:
        raise InputError("the maps are the decoder's: give decoder_ids, the decoder_input_ids of the call")
    try:
        table = _table(decoder_ids)
    except (TypeError, ValueError):
        raise InputError(f"decoder_ids must be token ids, but are {decoder_ids!r:.60}") from None
    if len(table) > 1 and index >= len(table):
        raise InputError(f"decoder_ids have {len(table)} sequences, but sequence {index} was asked for")
    ids = table[index if len(table) > 1 else 0].tolist()
    end = len(ids)
    while end > 1 and ids[end - 1] == tokenizer.pad_token_id != tokenizer.eos_token_id:
        end -= 1
    return Item(index, len(ids), tuple(range(end)), tuple(ids[:end]), for_decoder=True)


def _table(values: Any) -> _arrays.Numpy:
    """`[sequence, token]` integers."""
    table = np.atleast_2d(_arrays.to_numpy(values))
    if table.ndim != 2 or table.dtype.kind not in "iub":
        raise ValueError("not a table of integers")
    return table


def check_sizes(weights: Any, queries: Item, keys: Item) -> None:
    """Raise where `[layer, head, query, key]` weights are not of these tokens, padding included."""
    for name, item, size in (
        ("queries", queries, int(weights.shape[-2])),
        ("keys", keys, int(weights.shape[-1])),
    ):
        if item.padded != size:
            given = "decoder_ids" if item.for_decoder else "encoding"
            raise InputError(
                f"the maps have {size} {name} but {given} {item.padded} tokens, padding included; give what the model "
                "was called with, the whole text at once (past_key_values and banded attention have other sizes)"
            )


def describe(item: Item, tokenizer: Any) -> dict[str, Any]:
    """The columns of the `Axis` of these tokens.

    Words are the tokenizer's own; one that does not part words at spaces, as some SentencePiece ones, cuts none.
    """
    tokens = tokenizer.convert_ids_to_tokens(list(item.ids))
    for number, token in zip(item.ids, tokens, strict=True):
        if token is None:
            raise InputError(f"id {number} is not in the tokenizer's vocabulary: is it the tokenizer of this model?")
    special = None if item.sequence_ids is None else [s is None for s in item.sequence_ids]
    roles = roles_of(item.ids, tokenizer, special)
    if item.for_decoder and roles[0] in ("cls", "sep", "eos", "pad"):  # T5 starts with <pad>, BART with </s>
        roles = ("bos", *roles[1:])
    columns: dict[str, Any] = {"tokens": tuple(tokens), "roles": roles}
    if item.word_ids is None or item.sequence_ids is None:
        return columns
    columns |= {"segments": segments_of(item.sequence_ids), "offsets": item.offsets}
    numbers: dict[tuple[int | None, int], int] = {}
    pieces: list[list[str]] = []
    word_ids: list[int | None] = []
    for token, word, sequence in zip(tokens, item.word_ids, item.sequence_ids, strict=True):
        if word is None or sequence is None:
            word_ids.append(None)
            continue
        number = numbers.setdefault((sequence, word), len(pieces))
        if number == len(pieces):
            pieces.append([])
        pieces[number].append(token)
        word_ids.append(number)
    if any(token[0] in "▁Ġ" and len(token) > 1 for piece in pieces for token in piece[1:]):
        return columns  # a word start inside a word: this tokenizer cuts none
    return columns | {"words": tuple(_word(piece, tokenizer) for piece in pieces), "word_ids": tuple(word_ids)}


def _word(tokens: list[str], tokenizer: Any) -> str:
    """The text of a word's tokens, byte-level characters read as what they stand for."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decodes = backend is not None and backend.decoder is not None
    text = tokenizer.convert_tokens_to_string(tokens) if decodes else "".join(tokens)
    return "".join(text.split()) or text or "".join(tokens)


def maps_of(outputs: Any, attention: str | None) -> tuple[str, list[Any]]:
    """The field of a model's outputs that holds the maps, and its `[batch, head, query, key]` maps."""
    if attention not in _FIELDS:
        raise InputError(f"attention must be 'encoder', 'decoder' or 'cross', but is {attention!r}")
    names = _FIELDS[attention]
    if isinstance(outputs, list | tuple) and outputs and all(_is_map(m) for m in outputs):
        return names[0], list(outputs)
    for name in names:
        maps = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if not maps or all(m is None for m in maps):
            continue
        wrong = [m for m in maps if not _is_map(m)]
        if wrong:
            raise InputError(
                f"outputs.{name} must hold one map [batch, head, query, key] a layer, but holds {_kind(wrong[0])}; "
                "call the model itself on the whole text, not generate(), or use bertattn.Extractor"
            )
        if len({tuple(m.shape) for m in maps}) > 1:
            shapes = sorted({tuple(m.shape) for m in maps})
            raise InputError(f"the layers of outputs.{name} differ in shape: {shapes}; use bertattn.Extractor")
        return name, list(maps)
    if isinstance(outputs, list | tuple):
        raise InputError("outputs is a tuple without names; call the model with return_dict=True")
    every = dict.fromkeys(name for fields in _FIELDS.values() for name in fields)
    others = [name for name in every if name not in names and getattr(outputs, name, None)]
    raise InputError(
        f"outputs hold no {' or '.join(names)}"
        + (f" but {' and '.join(others)}: say which with attention='encoder', 'decoder' or 'cross'" if others else "")
        + "; load the model with attn_implementation='eager' and call it with output_attentions=True, or use "
        "bertattn.Extractor, which needs neither"
    )


def origin_of(model: Any) -> dict[str, Any]:
    """What a model, or its name, tells of where maps come from: the fields of a `Source` that are known."""
    if model is None:
        return {}
    if isinstance(model, str | os.PathLike):
        return {"model": os.fspath(model)}
    config = getattr(model, "config", None)
    if config is None:
        raise InputError(f"model must be the model that was called, or its name, but is {type(model).__name__}")
    found = {
        "model": getattr(config, "_name_or_path", None) or None,
        "revision": getattr(config, "_commit_hash", None),
        "architecture": type(getattr(model, "base_model", model)).__name__,
    }
    dtype = getattr(model, "dtype", None)
    return found if dtype is None else found | {"dtype": str(dtype).removeprefix("torch.")}


def _is_map(x: object) -> bool:
    return _arrays.is_array(x) and len(x.shape) == 4  # type: ignore[attr-defined]


def _kind(x: object) -> str:
    return f"an array of shape {tuple(x.shape)}" if hasattr(x, "shape") else f"a {type(x).__name__}"


def labels(tokens: Sequence[str], special: Sequence[bool], words: Sequence[str] | None = None) -> list[str]:
    """What to write for each token where people read it: its text, not the tokenizer's signs for bytes and spaces.

    A piece that goes on with a word starts with "##", as WordPiece writes it itself; a piece that is nothing but space
    is "␣"; a character that is cut into several tokens is written on each, as "é 1/2" and "é 2/2". Special tokens and
    those of tokenizers without such signs stay as they are.

    Args:
        tokens: as the tokenizer writes them.
        special: which of them are special tokens.
        words: the words of the text as it is written, where they are known.
    """
    ordinary = [token for token, is_special in zip(tokens, special, strict=True) if not is_special]
    if any(token.endswith("</w>") for token in ordinary):
        spaced = [token.removesuffix("</w>") + " " if token.endswith("</w>") else token for token in tokens]
        pieces = [text.encode("utf-8", "surrogatepass") for text in spaced]
    elif any(token.startswith("▁") or _HEX_BYTE.fullmatch(token) for token in ordinary):
        pieces = [_sentencepiece_bytes(token) for token in tokens]
    elif _is_byte_level(ordinary, words):
        pieces = [bytes(_BYTES[c] for c in token if c in _BYTES) for token in tokens]
    else:
        return list(tokens)
    shown: list[str] = []
    before = ""
    while (i := len(shown)) < len(tokens):
        if special[i]:
            shown.append(tokens[i])
            before = ""
            continue
        run = _whole_characters(pieces[i : i + LONGEST_CHARACTER], special[i : i + LONGEST_CHARACTER])
        text = b"".join(pieces[i : i + run]).decode("utf-8", "backslashreplace")
        label = _label(text, before)
        shown += [label] if run == 1 else [f"{label} {part}/{run}" for part in range(1, run + 1)]
        before = text
    return shown


def printable(text: str) -> str:
    """The text with its control characters and halves of surrogate pairs spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _sentencepiece_bytes(token: str) -> bytes:
    found = _HEX_BYTE.fullmatch(token)
    return bytes([int(found[1], 16)]) if found else token.replace("▁", " ").encode("utf-8", "surrogatepass")


def _is_byte_level(tokens: Sequence[str], words: Sequence[str] | None) -> bool:
    """Whether these are written in GPT-2's alphabet: a sign of it stands where no word has that letter."""
    if not all(c in _BYTES for token in tokens for c in token):
        return False
    if words is None:
        return any(token[:1] == "Ġ" for token in tokens)
    letters = set("".join(words)) | set("".join(words).casefold())
    if not any(c not in letters and not c.isascii() for token in tokens for c in token):
        return False
    try:
        bytes(_BYTES[c] for token in tokens for c in token).decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"  # the text was cut inside a character
    return True


def _whole_characters(pieces: Sequence[bytes], special: Sequence[bool]) -> int:
    """How many of these tokens make up whole characters: 1, or more where the first ends inside one."""
    text = b""
    for number, (piece, is_special) in enumerate(zip(pieces, special, strict=True), 1):
        text += piece
        try:
            text.decode()
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data" or is_special:
                return 1
        else:
            return number
    return 1


def _label(text: str, before: str) -> str:
    shown = text.strip(" ")
    if not shown:
        return text.replace(" ", "␣")
    goes_on = text[0].isalnum() and before[-1:].isalnum()
    spaceless = unicodedata.east_asian_width(text[0]) in "WF"  # every piece of Chinese or Japanese would go on
    return CONTINUED + shown if goes_on and not spaceless else shown
