"""What a page holds: the axes as text, the weights in 8 bits or less, other arrays in half or single precision.

    non-negative:  code = round(levels * sqrt(w / top)),                     w = top * (code / levels)^2
    signed:        code = 128 + round(levels * sign(w) * sqrt(|w| / top)),   w = top * sign * ((code - 128) / levels)^2

`top` is the largest size in the layer. The root gives small weights finer steps than large ones. `levels` is 255 (127
for signed numbers), and less where a layer would not compress into its share of the file; the error that this leaves
is measured and given to the page, which shows it.
"""

from __future__ import annotations

import base64
import contextlib
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from bertattn import _arrays, _tokens
from bertattn._arrays import Numpy
from bertattn.alignment import merge_subwords
from bertattn.errors import SelectionError, ValidationError
from bertattn.tensor import AttentionTensor, Axis

ZERO: Final = 128  # the code of 0 among signed numbers
TITLE_WORDS: Final = 6
TITLE_WORD: Final = 24  # characters
MOST_PARTS: Final = 3
LEAST_LEVELS: Final = 15
SINGLE: Final = 2.0**-23  # of the size of a number: what single precision may add to an error
REPEATING: Final = 2.0  # bits a code, below which much repeats


def weights_payload(attention: AttentionTensor, /, *, part: int = 0) -> tuple[dict[str, Any], dict[str, str]]:
    """A tensor as what a page is told of it (JSON), and one block a layer, which the page inflates when it shows it.

    Args:
        attention: the weights.
        part: which tensor of the page this is, counted from 0.

    Returns:
        The description: "layers" and "heads" counted from 1, "queries" and "keys" (see `axis_payload`; "keys" is None
        where it is the same axis), "words" (the same of words, or None where the tokens are no pieces of words),
        "coding" (one a layer: top, levels, empty rows as `head * queries + query`), and "error", the largest over all
        weights. The blocks, by name: "weights-<part>-<layer>".

    Raises:
        ValidationError: weights that single precision cannot hold.
    """
    weights = attention.numpy()
    signed = bool((weights < 0).any())
    coding, blocks = [], {}
    for layer, each in enumerate(weights):
        described, codes = _coded(each, signed=signed, bits=_bits(each.shape[-2] * each.shape[-1]))
        coding.append(described)
        # Most maps are noise to a compressor: looking for repeats would take ten times as long and find hardly any.
        strategy = zlib.Z_HUFFMAN_ONLY if _entropy(codes) > REPEATING else zlib.Z_DEFAULT_STRATEGY
        blocks[f"weights-{part}-{layer}"] = _deflated(codes.tobytes(), strategy)
    description = {
        "layers": [layer + 1 for layer in attention.layers],
        "heads": [head + 1 for head in attention.heads],
        "measure": attention.measure,
        "normalized": attention.normalized,
        "signed": signed,
        "unit": attention.unit,
        "coding": coding,
        "error": max(each["error"] for each in coding),
        **_axes_payload(attention),
        "words": _words_payload(attention),
    }
    return description, blocks


def array_payload(array: Any, dtype: str | None = None) -> str:
    """An array, NumPy or torch, as a block for a page: little-endian, in its own dtype unless one is named."""
    values = _arrays.to_numpy(array)
    return _deflated(values.astype(np.dtype(dtype or values.dtype).newbyteorder("<")).tobytes())


def axis_payload(axis: Axis, /) -> dict[str, Any]:
    """An axis as a page shows it: "tokens" (texts without their tokenizer's signs), "special", "segments", "words".

    "words" is for each token the number of the first word it belongs to, or None.
    """
    special = [role is not None for role in axis.roles or (None,) * len(axis)]
    texts = list(axis.tokens) if axis.unit == "word" else _tokens.labels(axis.tokens, special, axis.words)
    word_ids = axis.word_ids or (None,) * len(axis)
    return {
        "tokens": texts,
        "special": axis.special.tolist(),
        "segments": axis.segments,
        "words": [entry[0] if isinstance(entry, tuple) else entry for entry in word_ids],
    }


def named_tensors(caller: str, attention: Any, /) -> dict[str, AttentionTensor]:
    """One tensor, or up to three of one model, by the names of their attention ("" where nothing says it).

    Raises:
        ValidationError: something else, none or too many.
    """
    if isinstance(attention, Mapping):
        named = {str(name): one for name, one in attention.items()}
    elif isinstance(attention, Sequence) and not isinstance(attention, str):
        named = {_name_of(one, i): one for i, one in enumerate(attention, start=1)}
    else:
        named = {"": attention}
    for one in named.values():
        if not isinstance(one, AttentionTensor):
            raise ValidationError(
                f"{caller} shows an AttentionTensor, or several, but got {type(one).__name__}; "
                "an Extractor makes one of a text"
            )
    size = len(attention) if isinstance(attention, Mapping | Sequence) else 1
    if not 1 <= size <= MOST_PARTS:
        raise ValidationError(
            f"{caller} shows one to {MOST_PARTS} tensors of one model (its encoder's, decoder's and cross-attention), "
            f"but got {size}; make a view of each text"
        )
    if len(named) < size:
        raise ValidationError(
            f"{caller} got two tensors of one kind of attention; name them: {{'first': a, 'second': b}}"
        )
    return named


def place(name: str, number: Any, present: Sequence[int]) -> int:
    """Where a number, counted from 0, is among those present; True and 1.0 are no numbers of layers and heads.

    Raises:
        SelectionError: it is not there.
    """
    number = _arrays.plain(number)
    if type(number) is not int or number not in present:
        raise SelectionError(f"{name} {number!r} is not here; there are {list(present)} (counted from 0)")
    return list(present).index(number)


def _name_of(attention: Any, number: int) -> str:
    source = getattr(attention, "source", None)
    return (source and source.attention) or f"attention {number}"


def default_title(kind: str, attention: AttentionTensor, /) -> str:
    """ "Head view: The common swift spends most of …", which tells the views of one notebook apart."""
    axis = attention.queries
    tokens = [t for t, special in zip(axis_payload(axis)["tokens"], axis.special, strict=True) if not special]
    words = [word if len(word) <= TITLE_WORD else word[: TITLE_WORD - 1] + "…" for word in axis.words or tokens]
    begun = " ".join(words[:TITLE_WORDS]) + (" …" if len(words) > TITLE_WORDS else "")
    return f"{kind}: {begun}" if begun else kind


def _axes_payload(attention: AttentionTensor) -> dict[str, Any]:
    same = attention.keys is attention.queries or attention.keys == attention.queries
    return {"queries": axis_payload(attention.queries), "keys": None if same else axis_payload(attention.keys)}


def _words_payload(attention: AttentionTensor) -> dict[str, Any] | None:
    """The axes of words, and for each word its tokens; the page sums and averages as `merge_subwords` does."""
    axes = (attention.queries, attention.keys)
    if attention.unit == "word" or "norm" in attention.measure or any(axis.word_ids is None for axis in axes):
        return None
    # The merging of one head says which words there are, wherever the weights lie and however many.
    shape = (1, 1, len(axes[0]), len(axes[1]))
    merged = merge_subwords(
        AttentionTensor(np.zeros(shape, np.float32), *axes, normalized=False, measure=attention.measure), missing="drop"
    )
    payload = _axes_payload(merged)
    for name, tokens, words in zip(("queries", "keys"), axes, (merged.queries, merged.keys), strict=True):
        if payload[name] is not None:
            payload[name]["members"] = _members(tokens, words)
    if all(len(members) == 1 for name in ("queries", "keys") for members in (payload[name] or {}).get("members", [])):
        return None
    return payload


def _members(tokens: Axis, words: Axis) -> list[list[int]]:
    by_word: dict[int, list[int]] = {}
    outside = []
    for i, entry in enumerate(tokens.word_ids or ()):
        if entry is None:
            outside.append(i)
        for word in () if entry is None else entry if isinstance(entry, tuple) else (entry,):
            by_word.setdefault(word, []).append(i)
    alone = iter(outside)
    ids: Any = words.word_ids
    return [[next(alone)] if word is None else by_word[word] for word in ids]


def _bits(weights: int) -> float:
    """How many bits a weight may take: what is left of 2.5 MB for 144 heads of 128 tokens, and of 25 MB for 512."""
    return min(8.0, max(3.85, 6.0 - 1.1 * math.log2(math.sqrt(weights) / 128)))


def _coded(weights: Numpy, *, signed: bool, bits: float) -> tuple[dict[str, Any], Numpy]:
    """One layer `[head, query, key]` as codes, with as many levels as its share of the file holds."""
    with np.errstate(over="ignore"):  # refused below
        exact = weights.astype(np.float32)
    empty = np.flatnonzero(np.isnan(exact[..., 0]))
    if empty.size:
        exact = np.nan_to_num(exact)
    size = np.abs(exact) if signed else exact
    top = float(size.max()) or 1.0
    if math.isinf(top):
        largest = np.nanmax(np.abs(weights))
        raise ValidationError(
            f"a view holds weights in single precision, at most {np.finfo(np.float32).max:.2g} in size, but one is "
            f"{largest:.2g}; divide them: attention.replace(weights=attention.weights / {largest:.2g})"
        )
    root = np.sqrt(size / np.float32(top))
    if signed:
        root = np.copysign(root, exact)
    levels, zero = (127, ZERO) if signed else (255, 0)
    codes = _rounded(root, levels, zero)
    excess = _entropy(codes) - bits
    if excess > 0:  # with half as many levels a code takes a bit less
        levels = max(LEAST_LEVELS, int(levels / 2**excess))
        codes = _rounded(root, levels, zero)
    steps = (np.arange(256) - zero) / levels
    difference = (top * steps * np.abs(steps)).astype(np.float32)[codes]  # as the page computes it
    difference -= exact
    error = max(float(difference.max()), -float(difference.min())) + top * SINGLE
    return {"top": top, "levels": levels, "empty": empty.tolist(), "error": error}, codes


def _rounded(root: Numpy, levels: int, zero: int) -> Numpy:
    scaled = root * np.float32(levels)
    scaled += np.float32(zero + 0.5)
    return np.floor(scaled, out=scaled).astype(np.uint8)


def _entropy(codes: Numpy) -> float:
    """Bits a code, if each stood alone."""
    counts = np.bincount(codes.ravel(), minlength=256)
    share = counts[counts > 0] / codes.size
    return float(-(share * np.log2(share)).sum())


def _deflated(content: bytes, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> str:
    """Compressed without a header, as base64."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15, 9, strategy)
    return base64.b64encode(compressor.compress(content) + compressor.flush()).decode()


def model_name(attention: AttentionTensor) -> str | None:
    """What the page calls the model: a folder by its last name, since the rest of a path is nobody's business.

    The name of a model on a hub has a slash too, but is no folder here.
    """
    source = attention.source
    if source is None:
        return None
    name = source.model or source.architecture
    with contextlib.suppress(OSError):  # a name too long for any folder's
        if name and (Path(name).is_absolute() or Path(name).is_dir()):
            return Path(name).absolute().name
    return name
