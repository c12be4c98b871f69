"""The one noun: attention weights with their axes described.

    weights[layer, head, query, key]

Everything in bertattn makes an `AttentionTensor` or takes one.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from bertattn import _arrays, _tokens
from bertattn._arrays import Array, Numpy
from bertattn.annotation import DocumentWindow, Sentence
from bertattn.errors import SelectionError, ValidationError

__all__ = ["AttentionTensor", "Axis", "Source", "format_head", "parse_head"]

Role: TypeAlias = Literal["cls", "sep", "bos", "eos", "mask", "pad"]
ROLES: tuple[Role, ...] = ("cls", "sep", "bos", "eos", "mask", "pad")
HeadName: TypeAlias = "str | tuple[int, int]"
WordId: TypeAlias = "int | tuple[int, ...] | None"
Annotation: TypeAlias = "Sentence | DocumentWindow"

# How far a row of a distribution may sum from 1, by dtype.
ROW_TOLERANCE = {"float64": 1e-5, "float32": 1e-5, "float16": 1e-3, "bfloat16": 1e-2}

# How many tokens of an axis a notebook shows, and how many characters of one.
SHOWN_TOKENS = 24


def parse_head(name: HeadName) -> tuple[int, int]:
    """(layer, head) counted from 0, from "8-10" (counted from 1, as the paper writes) or from such a pair.

    Raises:
        SelectionError: `name` is neither.

    Examples:
        >>> parse_head("8-10"), parse_head((7, 9))
        ((7, 9), (7, 9))
    """
    if isinstance(name, str):
        layer, dash, head = name.partition("-")
        if dash and layer.isdecimal() and head.isdecimal() and int(layer) > 0 and int(head) > 0:
            return int(layer) - 1, int(head) - 1
    elif _is_pair(pair := _arrays.plain(name)):
        return int(pair[0]), int(pair[1])
    raise SelectionError(
        f"{name!r} names no head; write '8-10' (layer and head counted from 1) or (7, 9) (counted from 0)"
    )


def format_head(layer: int, head: int) -> str:
    """The paper's name, counted from 1, of a head counted from 0.

    Examples:
        >>> format_head(7, 9)
        '8-10'
    """
    return f"{layer + 1}-{head + 1}"


@dataclass(frozen=True)
class Axis:
    """The tokens (or words) along one axis of an `AttentionTensor`.

    Columns may be given as any sequence or array and are kept as tuples. Axes are equal if all their columns are.

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

    Examples:
        >>> Axis(["[CLS]", "hi", "[SEP]"], roles=["cls", None, "sep"]).special
        array([ True, False,  True])
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
        columns = ("roles", "word_ids", "segments", "positions", "offsets")
        for name in ("tokens", "words", *columns):
            values = getattr(self, name)
            if values is not None or name == "tokens":
                object.__setattr__(self, name, _arrays.column(name, values, entry="token"))
        if not self.tokens:
            raise ValidationError("an axis needs at least one token, but got none")
        for name in ("tokens", "words"):
            for i, text in enumerate(getattr(self, name) or ()):
                if not isinstance(text, str):
                    remedy = "; tokenizer.convert_ids_to_tokens turns ids into tokens" if isinstance(text, int) else ""
                    raise ValidationError(f"{name} must be strings, but number {i} is {text!r}{remedy}")
        for name in columns:
            column = getattr(self, name)
            if column is not None and len(column) != len(self):
                raise ValidationError(f"{name} has {len(column)} entries but the axis has {len(self)} tokens")
        if self.unit not in ("token", "word"):
            raise ValidationError(f"unit must be 'token' or 'word', but is {self.unit!r}")
        for role in self.roles or ():
            if role is not None and role not in ROLES:
                raise ValidationError(f"{role!r} is no role; the roles are {', '.join(ROLES)}, or None")
        for name in ("segments", "positions"):
            for i, number in enumerate(getattr(self, name) or ()):
                if not _is_number(number):
                    raise ValidationError(f"{name} must be numbers from 0, but that of token {i} is {number!r}")
        if self.positions is not None and any(b <= a for a, b in pairwise(self.positions)):
            raise ValidationError(f"positions must increase, but are {self.positions!r:.60}")
        for i, span in enumerate(self.offsets or ()):
            if span is not None and not (_is_pair(span) and span[0] <= span[1]):
                raise ValidationError(f"offsets must be (start, end) or None, but that of token {i} is {span!r}")
        self._check_word_ids()

    def _check_word_ids(self) -> None:
        limit = None if self.words is None else len(self.words)
        for i, entry in enumerate(self.word_ids or ()):
            for word in () if entry is None else entry if isinstance(entry, tuple) else (entry,):
                if not _is_number(word):
                    raise ValidationError(f"word id {word!r} of token {i} must be a number from 0, or None")
                if limit is not None and word >= limit:
                    raise ValidationError(f"token {i} belongs to word {word}, but there are only {limit} words")

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        shown = self.tokens if len(self) <= 8 else (*self.tokens[:5], "…", *self.tokens[-2:])
        return f"Axis({len(self)} {self.unit}{'s' * (len(self) > 1)}: {' '.join(shown)})"

    def role_mask(self, *roles: str) -> Numpy:
        """bool[token]: which tokens have one of these roles; none where the axis does not know its roles.

        Raises:
            SelectionError: an unknown role.
        """
        for role in roles:
            if role not in ROLES:
                raise SelectionError(f"{role!r} is no role; the roles are {', '.join(ROLES)}")
        return np.array([role in roles for role in self.roles or (None,) * len(self)], dtype=bool)

    def token_mask(self, *tokens: str) -> Numpy:
        """bool[token]: which ordinary tokens are exactly one of these.

        The marks that tokenizers put where a word starts or ends (Ġ, ▁, </w>) are set aside, so "." finds GPT-2's
        "Ġ." too; beyond ASCII, byte-level tokens are compared as they are written ("Ã©" for "é").

        Examples:
            >>> Axis(["[CLS]", "hi", ".", "[SEP]"], roles=["cls", None, None, "sep"]).token_mask(".", ",")
            array([False, False,  True, False])
        """
        roles = self.roles or (None,) * len(self)
        marked = [(start, end) for start in ("", "Ġ", "▁", "Ġ▁") for end in ("", "</w>")]
        wanted = {*tokens, *(f"{start}{t}{end}" for t in tokens if t for start, end in marked)}
        return np.array([role is None and t in wanted for t, role in zip(self.tokens, roles, strict=True)], dtype=bool)

    @property
    def special(self) -> Numpy:
        """bool[token]: tokens the tokenizer put around the text. A mask stands for a word, so it is not one of them."""
        return self.role_mask("cls", "sep", "bos", "eos", "pad")

    @property
    def position_array(self) -> Numpy:
        """int[token]: `positions`, or 0, 1, 2 … where none were given."""
        return np.arange(len(self)) if self.positions is None else np.array(self.positions)

    def select(self, tokens: Iterable[int], /) -> Axis:
        """The axis of some tokens, by their increasing numbers or by a mask.

        Positions are kept: dropping a token does not move its neighbours. So are the words, which `word_ids` counts.

        Raises:
            SelectionError: a number beyond the axis, or a mask of another length.
        """
        chosen = np.asarray(tuple(_arrays.plain(i) for i in tokens))
        try:
            indices = np.arange(len(self))[chosen if chosen.size else []].tolist()
        except IndexError as error:
            raise SelectionError(f"the axis has {len(self)} tokens, which do not fit the selection: {error}") from None
        columns: dict[str, Any] = {"positions": self.position_array[indices]}
        for name in ("tokens", "roles", "word_ids", "segments", "offsets"):
            column = getattr(self, name)
            columns[name] = None if column is None else tuple(column[i] for i in indices)
        return dataclasses.replace(self, **columns)


def _is_number(value: object) -> bool:
    """Whether it counts something from 0; True and False do not."""
    return type(value) is int and value >= 0


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_number(v) for v in value)


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


@dataclass(frozen=True, eq=False, init=False)
class AttentionTensor:
    """One number per query and key for every head of every layer on one sequence, unpadded.

    Frozen, and equal only to itself. The weights are not copied: through the tensor a NumPy array is read-only (torch
    knows no such thing), but what you write into your own array afterwards shows here, unchecked. Give a copy if you go
    on changing it.

    Args:
        weights: `[layer, head, query, key]`, NumPy or torch, in float16, bfloat16, float32 or float64. A query row is
            finite, or all NaN where it is undefined (a row without mass). Rows of distributions sum to 1 within 1e-5
            (1e-3 in float16, 1e-2 in bfloat16).
        queries, keys: the axes, as `Axis` or plain strings; `keys=None` means the same as `queries`.
        layers, heads: the numbers, counted from 0, of the layers and heads held; None means 0, 1, 2 …
        measure: what the numbers are: "attention", "norm", "gradient", "rollout" …
        normalized: whether each row is a distribution over keys (non-negative, sum 1).
        annotation: the gold annotation of the words, when the input had one.
        source: where the numbers came from.

    Raises:
        ValidationError: naming what does not fit, the value seen, and the remedy.

    Examples:
        >>> import numpy as np
        >>> a = AttentionTensor(np.full((1, 2, 3, 3), 1 / 3), ["[CLS]", "hi", "[SEP]"])
        >>> a["1-2"].shape
        (3, 3)
    """

    weights: Array
    queries: Axis
    keys: Axis
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    measure: str
    normalized: bool
    annotation: Annotation | None
    source: Source | None

    def __init__(
        self,
        weights: Any,
        queries: Axis | Iterable[str],
        keys: Axis | Iterable[str] | None = None,
        *,
        layers: Iterable[int] | None = None,
        heads: Iterable[int] | None = None,
        measure: str = "attention",
        normalized: bool = True,
        annotation: Annotation | None = None,
        source: Source | None = None,
    ) -> None:
        weights = _checked_weights(weights)
        queries = _axis(queries)
        self.__setstate__(
            {
                "weights": weights,
                "queries": queries,
                "keys": queries if keys is None else _axis(keys),
                "layers": _numbers("layers", layers, int(weights.shape[0])),
                "heads": _numbers("heads", heads, int(weights.shape[1])),
                "measure": measure,
                "normalized": normalized,
                "annotation": annotation,
                "source": source,
            }
        )
        self._check_axes()
        self._check_description()
        undefined, sums = self._checked_rows()
        if normalized:
            self._check_distributions(undefined, sums)

    @classmethod
    def _trusted(cls, **fields: Any) -> AttentionTensor:
        """Without validation: for code that has just made a softmax. All nine fields are needed."""
        self = object.__new__(cls)
        self.__setstate__(fields)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:  # a NumPy array comes out of a pickle or a copy writeable
        self.__dict__.update(state, weights=_arrays.read_only(state["weights"]))

    def _check_axes(self) -> None:
        _, _, queries, keys = self.shape
        for axis, name, size, plural in ((self.queries, "query", queries, "queries"), (self.keys, "key", keys, "keys")):
            if len(axis) != size:
                raise ValidationError(
                    f"{name} axis has {len(axis)} tokens but weights have {size} {plural}; "
                    "were special tokens dropped, or padding left on?"
                )
        if self.queries.unit != self.keys.unit:
            raise ValidationError(
                f"queries are {self.queries.unit}s but keys are {self.keys.unit}s; merge both axes or neither"
            )

    def _check_description(self) -> None:
        if not isinstance(self.measure, str) or not self.measure:
            raise ValidationError(f"measure must name what the numbers are, such as 'norm', but is {self.measure!r}")
        if not isinstance(self.source, Source | None):
            raise ValidationError(f"source must be a bertattn.tensor.Source, but is {self.source!r:.60}")
        if not isinstance(self.annotation, Sentence | DocumentWindow | None):
            raise ValidationError(
                f"annotation must be a Sentence or DocumentWindow, but is {type(self.annotation).__name__}"
            )
        words = [axis.words for axis in (self.queries, self.keys) if axis.words is not None]
        if self.annotation is not None and words and self.annotation.words not in words:
            gold = self.annotation.words
            raise ValidationError(
                f"the annotation has {len(gold)} words ({' '.join(gold):.40}) but the axes count {len(words[0])} "
                f"others ({' '.join(words[0]):.40}); give the Sentence to an Extractor, which finds its words' tokens"
            )

    def _checked_rows(self) -> tuple[Numpy, Numpy]:
        """Which rows are all NaN, `[layer, head, query]`, and the sum of each."""
        sums = _arrays.row_sums(self.weights)
        undefined = ~np.isfinite(sums)
        if undefined.any():
            rows = _arrays.to_numpy(self.weights)[undefined]
            broken = ~np.isfinite(rows).all(-1) & ~np.isnan(rows).all(-1)
            if broken.any():
                first = int(broken.argmax())
                key = int(np.isfinite(rows[first]).argmin())
                raise ValidationError(
                    "a row must be finite, or all NaN where it is undefined, but "
                    f"{self._row_name(np.argwhere(undefined)[first])} has {rows[first, key]} at key {key} "
                    f"({self.keys.tokens[key]!r})"
                )
            undefined[undefined] = np.isnan(rows).all(-1)
        return undefined, sums

    def _check_distributions(self, undefined: Numpy, sums: Numpy) -> None:
        weights = _arrays.detach(self.weights)
        if undefined.any():
            weights = _arrays.where(_arrays.isnan(weights), _arrays.like(0.0, weights), weights)
        smallest = float(weights.min())
        if smallest < 0:
            raise ValidationError(
                f"normalized weights are distributions over keys, but the smallest weight is {smallest:.4g}; "
                "for signed numbers pass normalized=False and name the measure"
            )
        errors = np.where(undefined, 0.0, np.abs(sums - 1))
        if errors.max() > ROW_TOLERANCE[_arrays.dtype_name(weights)]:
            worst = np.unravel_index(int(errors.argmax()), errors.shape)
            half = errors.max() <= ROW_TOLERANCE["bfloat16"]
            raise ValidationError(
                f"each row of normalized weights must sum to 1, but that of {self._row_name(worst)} sums to "
                f"{sums[worst]:.6g}; "
                + (
                    "keep weights of a half-precision model in its dtype, or divide each row by its sum"
                    if half
                    else "take off padding, put the model in eval mode (dropout), "
                    "or pass normalized=False if these are no distributions"
                )
            )

    def _row_name(self, row: Sequence[Any]) -> str:
        layer, head, query = (int(i) for i in row)
        name = format_head(self.layers[layer], self.heads[head])
        return f"query {query} ({self.queries.tokens[query]!r}) in head {name}"

    @classmethod
    def from_outputs(
        cls,
        outputs: Any,
        encoding: Any,
        tokenizer: Any,
        *,
        index: int | None = None,
        attention: Literal["encoder", "decoder", "cross"] | None = None,
        decoder_ids: Any = None,
        normalized: bool = True,
        model: Any = None,
    ) -> AttentionTensor:
        """The attention of a model call of your own: `outputs = model(**encoding, output_attentions=True)`.

        Words are the tokenizer's own (`encoding.word_ids()`), which may be finer than those of `Extractor`. There are
        none where it cuts none, nor for a slow tokenizer or a plain dict: give the encoding as the tokenizer made it.

        Args:
            outputs: what the model returned, with its attention maps; or the tuple of maps itself.
            encoding: what the tokenizer returned and the model was given; padding is taken off by its mask.
            tokenizer: the tokenizer that made `encoding`.
            index: which sequence of the batch, counted from 0; needed where there are several.
            attention: for an encoder-decoder model which of its maps; "encoder" unless said.
            decoder_ids: the decoder's input ids (not the labels), for the "decoder" and "cross" maps of an
                encoder-decoder, of the batch or of the one sequence; padding at their end is taken off.
            normalized: whether each row sums to 1; not so where some of the mass goes to a learnt sink (gpt-oss).
            model: the model that was called, or its name, to be recorded in `source`; the outputs do not tell.

        Raises:
            InputError: no maps in `outputs`, several sequences and no `index`, a tokenizer of another model, sizes
                that do not fit, or a `model` that is neither a model nor a name.
            ValidationError: the maps are no distributions, as under dropout.
        """
        field, maps = _tokens.maps_of(outputs, attention)
        queries = keys = text = _tokens.batch_item(encoding, index, tokenizer, batch=int(maps[0].shape[0]))
        if field in ("decoder_attentions", "cross_attentions"):
            queries = _tokens.decoder_item(decoder_ids, text.index, tokenizer)
            keys = queries if field == "decoder_attentions" else text
        weights = _arrays.stack([_arrays.detach(layer[text.index]) for layer in maps])
        _tokens.check_sizes(weights, queries, keys)
        query_axis = Axis(**_tokens.describe(queries, tokenizer))
        return cls(
            _arrays.take(_arrays.take(weights, queries.kept, -2), keys.kept, -1),
            query_axis,
            query_axis if keys is queries else Axis(**_tokens.describe(keys, tokenizer)),
            normalized=normalized,
            source=Source(
                **({"dtype": _arrays.dtype_name(weights)} | _tokens.origin_of(model)),
                attention=field.removesuffix("_attentions") if field != "attentions" else attention,
                path="output_attentions",
            ),
        )

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
        empty: Array = _arrays.isnan(self.weights[..., 0])
        return empty

    def __getitem__(self, head: HeadName) -> Array:
        """The `[query, key]` weights of one head: `a["8-10"]` counted from 1, `a[7, 9]` counted from 0.

        Raises:
            SelectionError: no such head, or something that names none.
        """
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
            present = kept[name]
            numbers = (wanted,) if isinstance(wanted, int | str) or not isinstance(wanted, Iterable) else tuple(wanted)
            numbers = tuple(_arrays.plain(n) for n in numbers)
            missing = [n for n in numbers if not _is_number(n) or n not in present]
            if missing or not numbers:
                raise SelectionError(f"{name} {missing} are not here; there are {list(present)} (counted from 0)")
            if len(set(numbers)) < len(numbers):
                raise SelectionError(f"{name} {list(numbers)} name one twice")
            weights = _arrays.take(weights, [present.index(n) for n in numbers], axis)
            kept[name] = numbers
        return self._with(weights=weights, layers=kept["layers"], heads=kept["heads"])

    def numpy(self) -> Numpy:
        """The weights as a read-only NumPy array `[layer, head, query, key]`; bfloat16 becomes float32."""
        array: Numpy = _arrays.read_only(_arrays.to_numpy(self.weights))
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Numpy:
        """What `np.asarray(a)` gives: the weights."""
        return np.array(self.numpy(), dtype=dtype) if copy else np.asarray(self.numpy(), dtype=dtype)

    def replace(self, **changes: Any) -> AttentionTensor:
        """A tensor with some fields changed, validated anew; the others stay, so a new axis often means two.

        Raises:
            ValidationError: what was changed does not fit the rest.

        Examples:
            >>> a = AttentionTensor(np.eye(2)[None, None], ["hi", "."])
            >>> a.replace(measure="norm", normalized=False).measure
            'norm'
        """
        return dataclasses.replace(self, **changes)

    def _with(self, *, step: str | None = None, **changes: Any) -> AttentionTensor:
        """As `replace`, unchecked, noting `step` in the source: for transformations that keep the tensor valid."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | changes
        if step is not None:
            source = self.source or Source()
            fields["source"] = dataclasses.replace(source, steps=(*source.steps, step))
        return self._trusted(**fields)

    def __repr__(self) -> str:
        layers, heads, queries, keys = self.shape
        kind = "torch" if _arrays.is_torch(self.weights) else "numpy"
        return (
            f"AttentionTensor({self.measure}: {layers} layer{'s' * (layers > 1)} x {heads} head{'s' * (heads > 1)}, "
            f"{queries} x {keys} {self.unit}s, {_arrays.dtype_name(self.weights)} {kind})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: a table of what is held, without the weights."""
        same = self.keys is self.queries or self.keys == self.queries
        rows = {
            "measure": self.measure + (", each row a distribution over keys" if self.normalized else ""),
            "layers": f"{len(self.layers)}: {_ranges(self.layers)} (counted from 1)",
            "heads": f"{len(self.heads)}: {_ranges(self.heads)} (counted from 1)",
            "queries and keys" if same else "queries": _described(self.queries),
        }
        if not same:
            rows["keys"] = _described(self.keys)
        if self.annotation is not None:
            rows["annotation"] = type(self.annotation).__name__
        if self.source is not None:
            fields = ((f.name, getattr(self.source, f.name)) for f in dataclasses.fields(self.source))
            rows["source"] = ", ".join(
                f"{name} {'; '.join(value) if isinstance(value, tuple) else value}" for name, value in fields if value
            )
        body = "".join(
            f'<tr><th scope="row" style="text-align: left">{name}</th>'
            f'<td style="text-align: left">{html.escape(_tokens.printable(text))}</td></tr>'
            for name, text in rows.items()
        )
        caption = html.escape(_tokens.printable(repr(self)))
        return f'<table style="color: inherit"><caption>{caption}</caption><tbody>{body}</tbody></table>'


def _described(axis: Axis) -> str:
    shown = axis.tokens
    if len(shown) > SHOWN_TOKENS:
        shown = (*shown[: SHOWN_TOKENS - 4], "…", *shown[-3:])
    cut = (token if len(token) <= SHOWN_TOKENS else token[: SHOWN_TOKENS - 1] + "…" for token in shown)
    return f"{len(axis)} {axis.unit}{'s' * (len(axis) > 1)}: {' '.join(cut)}"


def _checked_weights(weights: Any) -> Any:
    if not _arrays.is_array(weights):
        try:
            weights = np.asarray(weights)
        except (TypeError, ValueError, RuntimeError):  # rows of different lengths, a list of torch tensors
            raise ValidationError(
                f"weights must be one array [layer, head, query, key], but this {type(weights).__name__} does not make "
                "one; a model's outputs go to AttentionTensor.from_outputs"
            ) from None
    shape = tuple(weights.shape)
    if len(shape) != 4:
        remedies = {2: "for one head write weights[None, None]", 3: "for one layer write weights[None]"}
        remedy = remedies.get(len(shape), "a model's outputs go to AttentionTensor.from_outputs")
        raise ValidationError(f"weights must be [layer, head, query, key], but have shape {shape}; {remedy}")
    if _arrays.dtype_name(weights) not in ROW_TOLERANCE:
        raise ValidationError(f"weights must be {', '.join(ROW_TOLERANCE)}, but are {_arrays.dtype_name(weights)}")
    if 0 in shape:
        raise ValidationError(f"weights have no numbers: their shape is {shape}")
    return weights


def check_tensor(attention: object, caller: str) -> None:
    """Refuse what is no `AttentionTensor`, naming the function that was given it."""
    if not isinstance(attention, AttentionTensor):
        raise ValidationError(
            f"{caller} needs an AttentionTensor, but got {type(attention).__name__}; an Extractor makes one of a text"
        )


def _axis(axis: Axis | Iterable[str]) -> Axis:
    return axis if isinstance(axis, Axis) else Axis(axis)  # type: ignore[arg-type]  # Axis makes the tuple


def _numbers(name: str, numbers: Any, size: int) -> tuple[int, ...]:
    if numbers is None:
        return tuple(range(size))
    if isinstance(numbers, str) or not isinstance(numbers, Iterable):
        raise ValidationError(f"{name} must be a sequence of numbers counted from 0, but is {numbers!r}")
    named: tuple[int, ...] = tuple(_arrays.plain(n) for n in numbers)
    if not all(_is_number(n) for n in named) or len(set(named)) < len(named):
        raise ValidationError(f"{name} must be different numbers counted from 0, but are {list(named)}")
    if len(named) != size:
        raise ValidationError(f"{len(named)} {name} are named but weights have {size}; select() keeps the two together")
    return named


def _ranges(numbers: Sequence[int]) -> str:
    ordered = sorted(numbers)
    if ordered == list(range(ordered[0], ordered[-1] + 1)) and len(ordered) > 1:
        return f"{ordered[0] + 1} to {ordered[-1] + 1}"
    return ", ".join(str(n + 1) for n in ordered)
