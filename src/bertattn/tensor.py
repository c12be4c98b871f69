"""The one noun: attention weights with their axes described.

    weights[layer, head, query, key]

Everything in bertattn makes an `AttentionTensor` or takes one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from bertattn import _arrays
from bertattn._arrays import Array, Numpy
from bertattn.annotation import DocumentWindow, Sentence
from bertattn.errors import InputError, SelectionError, ValidationError

__all__ = ["AttentionTensor", "Axis", "Source", "format_head", "parse_head"]

Role: TypeAlias = Literal["cls", "sep", "bos", "eos", "mask", "pad"]
ROLES: tuple[Role, ...] = ("cls", "sep", "bos", "eos", "mask", "pad")
HeadName: TypeAlias = "str | tuple[int, int]"
WordId: TypeAlias = "int | tuple[int, ...] | None"
Annotation: TypeAlias = "Sentence | DocumentWindow"

# How far a row of a distribution may sum from 1 (methods 0.2), by dtype.
ROW_TOLERANCE = {"float64": 1e-5, "float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-2}


def parse_head(name: HeadName) -> tuple[int, int]:
    """(layer, head) counted from 0, from "8-10" (counted from 1, as the paper writes) or from such a pair.

    >>> parse_head("8-10"), parse_head((7, 9))
    ((7, 9), (7, 9))

    Raises:
        SelectionError: `name` is neither.
    """
    if isinstance(name, str):
        layer, dash, head = name.partition("-")
        if dash and layer.isdecimal() and head.isdecimal() and int(layer) > 0 and int(head) > 0:
            return int(layer) - 1, int(head) - 1
    elif isinstance(name, tuple) and len(name) == 2 and all(isinstance(i, int | np.integer) for i in name):
        return int(name[0]), int(name[1])
    raise SelectionError(
        f"{name!r} names no head; write '8-10' (layer and head counted from 1) or (7, 9) (counted from 0)"
    )


def format_head(layer: int, head: int) -> str:
    """The paper's name, counted from 1, of a head counted from 0.

    >>> format_head(7, 9)
    '8-10'
    """
    return f"{layer + 1}-{head + 1}"


@dataclass(frozen=True)
class Axis:
    """The tokens (or words) along one axis of an `AttentionTensor`.

    Args:
        tokens: their texts, as the tokenizer writes them.
        roles: for each token "cls", "sep", "bos", "eos", "mask", "pad", or None for ordinary text.
        word_ids: for each token the number of its word, counted from 0; None for a token outside all words; a tuple
            for a token that spans several words ("don't" read as natural text).
        words: the texts of the words that `word_ids` counts.
        segments: 0 for tokens of the first text, 1 for those of the second.
        positions: where each token stands in the sequence, counted from 0; strictly increasing.
        offsets: the characters `[start, end)` of each token in its text; None for special tokens.
        unit: "token", or "word" once subwords are merged.

    Raises:
        ValidationError: no tokens, a column of another length, an unknown role, positions that do not increase, a word
            id without its word.
    """

    tokens: tuple[str, ...]
    roles: tuple[Role | None, ...] | None = dataclasses.field(default=None, kw_only=True)
    word_ids: tuple[WordId, ...] | None = dataclasses.field(default=None, kw_only=True)
    words: tuple[str, ...] | None = dataclasses.field(default=None, kw_only=True)
    segments: tuple[int, ...] | None = dataclasses.field(default=None, kw_only=True)
    positions: tuple[int, ...] | None = dataclasses.field(default=None, kw_only=True)
    offsets: tuple[tuple[int, int] | None, ...] | None = dataclasses.field(default=None, kw_only=True)
    unit: Literal["token", "word"] = dataclasses.field(default="token", kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.tokens, str):
            raise ValidationError(f"tokens must be a sequence of strings, but got one string {self.tokens[:40]!r}")
        for name in ("tokens", "roles", "word_ids", "words", "segments", "positions", "offsets"):
            column = getattr(self, name)
            if column is not None:
                object.__setattr__(self, name, tuple(_plain(value) for value in column))
        n = len(self.tokens)
        if n == 0:
            raise ValidationError("an axis needs at least one token, but got none")
        for i, token in enumerate(self.tokens):
            if not isinstance(token, str):
                raise ValidationError(f"token {i} must be a string, but is {token!r}")
        for name in ("roles", "word_ids", "segments", "positions", "offsets"):
            column = getattr(self, name)
            if column is not None and len(column) != n:
                raise ValidationError(f"{name} has {len(column)} entries but the axis has {n} tokens")
        for role in self.roles or ():
            if role is not None and role not in ROLES:
                raise ValidationError(f"{role!r} is no role; the roles are {', '.join(ROLES)}, or None")
        if self.unit not in ("token", "word"):
            raise ValidationError(f"unit must be 'token' or 'word', but is {self.unit!r}")
        if self.positions is not None and any(b <= a for a, b in zip(self.positions, self.positions[1:], strict=False)):
            raise ValidationError(f"positions must increase, but are {self.positions}")
        if self.word_ids is not None:
            self._check_word_ids()

    def _check_word_ids(self) -> None:
        limit = None if self.words is None else len(self.words)
        for i, entry in enumerate(self.word_ids or ()):
            for word in _as_tuple(entry):
                if not isinstance(word, int) or word < 0:
                    raise ValidationError(f"word id {word!r} of token {i} must be a number from 0, or None")
                if limit is not None and word >= limit:
                    raise ValidationError(f"token {i} belongs to word {word}, but there are only {limit} words")

    def __len__(self) -> int:
        return len(self.tokens)

    def role_mask(self, *roles: str) -> Numpy:
        """bool[token]: which tokens have one of these roles."""
        for role in roles:
            if role not in ROLES:
                raise SelectionError(f"{role!r} is no role; the roles are {', '.join(ROLES)}")
        return np.array([role in roles for role in self.roles or (None,) * len(self)], dtype=bool)

    def token_mask(self, *tokens: str) -> Numpy:
        """bool[token]: which ordinary tokens are exactly one of these, the tokenizer's word-start marks set aside.

        >>> Axis(["[CLS]", "hi", ".", "[SEP]"], roles=["cls", None, None, "sep"]).token_mask(".", ",")
        array([False, False,  True, False])
        """
        roles = self.roles or (None,) * len(self)
        return np.array(
            [role is None and plain_token(t) in tokens for t, role in zip(self.tokens, roles, strict=True)], dtype=bool
        )

    @property
    def special(self) -> Numpy:
        """bool[token]: tokens the tokenizer put around the text. A mask stands for a word, so it is not one of them."""
        return self.role_mask("cls", "sep", "bos", "eos", "pad")

    @property
    def position_array(self) -> Numpy:
        """int[token]: `positions`, or 0, 1, 2 … where none were given."""
        return np.arange(len(self)) if self.positions is None else np.array(self.positions)

    def select(self, indices: Iterable[int]) -> Axis:
        """The axis of these tokens, in this order. Positions are kept: dropping a token does not move its neighbours."""
        chosen = [int(i) for i in indices]
        columns: dict[str, Any] = {"positions": tuple(int(self.position_array[i]) for i in chosen)}
        for name in ("tokens", "roles", "word_ids", "segments", "offsets"):
            column = getattr(self, name)
            columns[name] = None if column is None else tuple(column[i] for i in chosen)
        return dataclasses.replace(self, **columns)


def plain_token(token: str) -> str:
    """The token without the marks that byte-level BPE and SentencePiece put where a word starts."""
    return token.removeprefix("Ġ").removeprefix("▁") or token


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's own, lists as tuples: an axis is compared, hashed and written as JSON."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(_plain(v) for v in value) if isinstance(value, list | tuple) else value


def _as_tuple(entry: WordId) -> tuple[int, ...]:
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


@dataclass(frozen=True)
class Source:
    """Where a tensor came from.

    Args:
        model: name or path of the model.
        revision: its revision or commit, where known.
        architecture: the model's class.
        dtype: the dtype the model ran in.
        attention: "encoder", "decoder" or "cross".
        path: "interface" (the hook), "output_attentions" (the model's own), or None for weights from elsewhere.
        spacing: how the words of a sentence were joined into text: "single" or "natural".
        steps: what was done to the weights since, such as "merge_subwords(keys='sum', queries='mean')".
    """

    model: str | None = None
    revision: str | None = None
    architecture: str | None = None
    dtype: str | None = None
    attention: str | None = None
    path: str | None = None
    spacing: str | None = None
    steps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))


@dataclass(frozen=True, eq=False)
class AttentionTensor:
    """One number per query and key for every head of every layer on one sequence, unpadded.

    Args:
        weights: `[layer, head, query, key]`, NumPy or torch, floating point. A query row is finite, or all NaN where it
            is undefined (a row without mass).
        queries, keys: the axes, as `Axis` or plain strings; `keys=None` means the same as `queries`.
        layers, heads: the numbers, counted from 0, of the layers and heads held; None means 0, 1, 2 …
        measure: what the numbers are: "attention", "norm", "gradient", "rollout" …
        normalized: whether each row is a distribution over keys (non-negative, sum 1).
        annotation: the gold annotation of the words, when the input had one.
        source: where the numbers came from.

    Raises:
        ValidationError: naming what does not fit, the value seen, and the remedy.

    >>> import numpy as np
    >>> a = AttentionTensor(np.full((1, 2, 3, 3), 1 / 3), ["[CLS]", "hi", "[SEP]"])
    >>> a["1-2"].shape
    (3, 3)
    """

    weights: Any
    queries: Axis
    keys: Axis = None  # type: ignore[assignment]  # set to `queries` below; an Axis ever after
    layers: tuple[int, ...] = dataclasses.field(default=None, kw_only=True)  # type: ignore[assignment]
    heads: tuple[int, ...] = dataclasses.field(default=None, kw_only=True)  # type: ignore[assignment]
    measure: str = dataclasses.field(default="attention", kw_only=True)
    normalized: bool = dataclasses.field(default=True, kw_only=True)
    annotation: Annotation | None = dataclasses.field(default=None, kw_only=True)
    source: Source | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        weights = self.weights if _arrays.is_array(self.weights) else np.asarray(self.weights)
        queries = self.queries if isinstance(self.queries, Axis) else Axis(self.queries)
        keys = queries if self.keys is None else self.keys if isinstance(self.keys, Axis) else Axis(self.keys)
        if len(weights.shape) != 4:
            raise ValidationError(
                f"weights must be [layer, head, query, key], but have shape {tuple(weights.shape)}; "
                "for one head write weights[None, None]"
            )
        if not _arrays.is_floating(weights):
            raise ValidationError(f"weights must be floating point, but are {_arrays.dtype_name(weights)}")
        if isinstance(weights, np.ndarray):
            weights = weights.view()
            weights.flags.writeable = False
        for name, value in (("weights", weights), ("queries", queries), ("keys", keys)):
            object.__setattr__(self, name, value)
        for name, size in (("layers", weights.shape[0]), ("heads", weights.shape[1])):
            numbers = getattr(self, name)
            object.__setattr__(self, name, _numbers(name, range(size) if numbers is None else numbers, size))
        self._check_axes()
        self._check_values()

    @classmethod
    def _trusted(cls, **fields: Any) -> AttentionTensor:
        """Without validation: for code that has just made a softmax. All nine fields are needed."""
        self = object.__new__(cls)
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        return self

    def _check_axes(self) -> None:
        shape = tuple(self.weights.shape)
        for name, plural, axis, size in (("query", "queries", self.queries, shape[2]), ("key", "keys", self.keys, shape[3])):
            if len(axis) != size:
                raise ValidationError(
                    f"{name} axis has {len(axis)} tokens but weights have {size} {plural}; "
                    "were special tokens dropped, or padding left on?"
                )
        if self.queries.unit != self.keys.unit:
            raise ValidationError(
                f"queries are {self.queries.unit}s but keys are {self.keys.unit}s; merge both axes or neither"
            )

    def _check_values(self) -> None:
        if 0 in self.weights.shape:
            raise ValidationError(f"weights have no numbers: their shape is {tuple(self.weights.shape)}")
        rows = _arrays.float64(self.weights.sum(-1))
        odd = _arrays.to_numpy(~(abs(rows) < np.inf))  # rows with any NaN or infinity sum to NaN or infinity
        if odd.any():
            self._check_odd_rows(odd)
        if not self.normalized:
            return
        low = float(_arrays.to_numpy(_arrays.where(_arrays.isnan(self.weights), self.weights * 0, self.weights)).min()) \
            if odd.any() else float(self.weights.min())
        if low < 0:
            raise ValidationError(
                f"normalized weights are distributions over keys, but the smallest weight is {low:.4g}; "
                "for signed numbers pass normalized=False and name the measure"
            )
        tolerance = ROW_TOLERANCE.get(_arrays.dtype_name(self.weights), 1e-5)
        sums = _arrays.to_numpy(rows)
        error = np.where(odd, 0.0, np.abs(sums - 1))
        if error.max() > tolerance:
            layer, head, query = (int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
            raise ValidationError(
                f"each row of normalized weights must sum to 1, but the row of query {query} "
                f"({self.queries.tokens[query]!r}) in head {format_head(self.layers[layer], self.heads[head])} sums to "
                f"{sums[layer, head, query]:.6g}; pass normalized=False if these are no distributions, "
                "or take off padding and dropout first"
            )

    def _check_odd_rows(self, odd: Numpy) -> None:
        for layer, head, query in np.argwhere(odd):
            row = _arrays.to_numpy(self.weights[int(layer), int(head), int(query)])
            if not np.isnan(row).all():
                bad = int(np.argmin(np.isfinite(row)))
                if np.isfinite(row).all():
                    continue  # finite numbers whose sum overflows
                raise ValidationError(
                    f"a row must be finite, or all NaN where it is undefined, but query {query} "
                    f"({self.queries.tokens[query]!r}) in head "
                    f"{format_head(self.layers[layer], self.heads[head])} has {row[bad]} at key {bad}"
                )

    @classmethod
    def from_outputs(
        cls,
        outputs: Any,
        encoding: Any,
        tokenizer: Any,
        *,
        index: int | None = None,
        attention: Literal["encoder", "decoder", "cross"] | None = None,
        decoder_ids: Sequence[int] | None = None,
    ) -> AttentionTensor:
        """The attention of a model call of your own: `outputs = model(**encoding, output_attentions=True)`.

        Args:
            outputs: what the model returned, with its attention maps.
            encoding: what the tokenizer returned and the model was given; padding is taken off by its mask.
            tokenizer: the tokenizer that made `encoding`.
            index: which sequence of the batch; needed where there are several.
            attention: for an encoder-decoder model which of its maps; "encoder" unless said.
            decoder_ids: the decoder's input ids, for "decoder" and "cross" maps.

        Raises:
            InputError: no maps in `outputs`, several sequences and no `index`, or sizes that do not fit.
        """
        from bertattn import _tokens

        maps = _tokens.maps_of(outputs, attention)
        source = _tokens.batch_item(encoding, index, batch=int(maps[0].shape[0]))
        i = source.index
        encoder = Axis(**_tokens.describe(source.ids, tokenizer, encoding=source))
        queries = keys = encoder
        if attention in ("decoder", "cross"):
            if decoder_ids is None:
                raise InputError(f"attention={attention!r} needs decoder_ids, the ids the decoder was given")
            queries = Axis(**_tokens.describe([int(t) for t in decoder_ids], tokenizer))
            keys = encoder if attention == "cross" else queries
        stack = [m[i] for m in maps]
        if len({tuple(m.shape) for m in stack}) > 1:
            raise InputError(f"layers differ in shape: {sorted({tuple(m.shape) for m in stack})}; stack them yourself")
        weights = _tokens.stack(stack)
        if keys is encoder:
            weights = _arrays.take(weights, source.kept, -1)
        if queries is encoder:
            weights = _arrays.take(weights, source.kept, -2)
        return cls(weights, queries, keys, source=Source(attention=attention or "encoder"))

    @property
    def unit(self) -> str:
        """ "token", or "word" once subwords are merged."""
        return self.queries.unit

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(layers, heads, queries, keys)."""
        layers, heads, queries, keys = self.weights.shape
        return int(layers), int(heads), int(queries), int(keys)

    @property
    def empty_rows(self) -> Array:
        """bool `[layer, head, query]`: rows without mass, which are all NaN."""
        return _arrays.isnan(self.weights[..., 0])

    def __getitem__(self, head: HeadName) -> Array:
        """The `[query, key]` weights of one head: `a["8-10"]` counted from 1, `a[7, 9]` counted from 0."""
        layer, number = parse_head(head)
        if layer not in self.layers or number not in self.heads:
            raise SelectionError(
                f"head {format_head(layer, number)} is not here: layers {_ranges(self.layers)} and heads "
                f"{_ranges(self.heads)} are (counted from 1)"
            )
        return self.weights[self.layers.index(layer), self.heads.index(number)]

    def select(
        self, *, layers: int | Iterable[int] | None = None, heads: int | Iterable[int] | None = None
    ) -> AttentionTensor:
        """The tensor of some layers and heads, named by their numbers counted from 0, which they keep.

        Raises:
            SelectionError: a number that is not here, or none at all.
        """
        weights = self.weights
        kept = {"layers": self.layers, "heads": self.heads}
        for axis, (name, wanted) in enumerate((("layers", layers), ("heads", heads))):
            if wanted is None:
                continue
            numbers = (wanted,) if isinstance(wanted, int | np.integer) else tuple(wanted)
            missing = [n for n in numbers if n not in kept[name]]
            if missing or not numbers:
                raise SelectionError(
                    f"{name} {missing if numbers else '[]'} are not here; "
                    f"there are {list(kept[name])} (counted from 0)"
                )
            weights = _arrays.take(weights, [kept[name].index(int(n)) for n in numbers], axis)
            kept[name] = _numbers(name, numbers, len(numbers))
        return self._with(weights=weights, **kept)

    def numpy(self) -> Numpy:
        """The weights as a NumPy array `[layer, head, query, key]`."""
        return _arrays.to_numpy(self.weights)

    def replace(self, **changes: Any) -> AttentionTensor:
        """A tensor with some fields changed, validated anew."""
        return dataclasses.replace(self, **changes)

    def _with(self, *, step: str | None = None, **changes: Any) -> AttentionTensor:
        """As `replace`, unchecked, noting `step` in the source: for transformations that keep the tensor valid."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | changes
        if step is not None:
            source = self.source or Source()
            fields["source"] = dataclasses.replace(source, steps=(*source.steps, step))
        weights = fields["weights"]
        if isinstance(weights, np.ndarray) and weights.flags.writeable:
            fields["weights"] = weights = weights.view()
            weights.flags.writeable = False
        return self._trusted(**fields)

    def __repr__(self) -> str:
        layers, heads, queries, keys = self.shape
        kind = "torch" if _arrays.is_torch(self.weights) else "numpy"
        return (
            f"AttentionTensor({self.measure}: {layers} layer{'s' * (layers > 1)} x {heads} head{'s' * (heads > 1)}, "
            f"{queries} x {keys} {self.unit}s, {_arrays.dtype_name(self.weights)} {kind})"
        )


def _numbers(name: str, numbers: Iterable[int], size: int) -> tuple[int, ...]:
    numbers = tuple(int(n) for n in numbers)
    if len(numbers) != size:
        raise ValidationError(f"{name} numbers {len(numbers)} but weights have {size} {name}")
    if len(set(numbers)) != size or min(numbers, default=0) < 0:
        raise ValidationError(f"{name} must be different numbers from 0, but are {numbers}")
    return numbers


def _ranges(numbers: Sequence[int]) -> str:
    ordered = sorted(numbers)
    if ordered == list(range(ordered[0], ordered[-1] + 1)) and len(ordered) > 1:
        return f"{ordered[0] + 1} to {ordered[-1] + 1}"
    return ", ".join(str(n + 1) for n in ordered)
