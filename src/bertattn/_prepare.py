"""From an input (text, pair, sentence, window, ids) to token ids and a described axis."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertattn import _tokens, alignment
from bertattn.annotation import Document, DocumentWindow, Sentence
from bertattn.errors import AlignmentError, InputError, ModelError, TooLongError, ValidationError
from bertattn.inputs import TextPair, TokenIds
from bertattn.tensor import Annotation, Axis

_lock = threading.Lock()  # a fast tokenizer keeps truncation and the reading of special tokens as its own state
LONGEST_SHOWN = 40  # characters of a text in a message


@dataclass(frozen=True)
class Prepared:
    """One input, ready for a model.

    `labels` are the tokens that the model is to predict at each position, None where there is none to predict.
    """

    ids: tuple[int, ...]
    token_types: tuple[int, ...] | None
    axis: Axis
    annotation: Annotation | None = None
    cut: int = 0
    target: Prepared | None = None
    labels: tuple[int | None, ...] | None = None


def check_inputs(inputs: object) -> None:
    """Refuse what can be iterated over but gives no inputs, or not in an order: each would be read without an error."""
    remedy = None
    if isinstance(inputs, str | TextPair | Sentence | DocumentWindow | TokenIds):
        raise InputError(f"inputs is one {type(inputs).__name__}; call ext(x) for one input, or give a list of them")
    if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):  # iterated over they give the names of their columns
        remedy = "give its texts, such as inputs['text']"
        if isinstance(inputs, Mapping) and "input_ids" in inputs:
            remedy = "give the texts themselves, or its ids: [TokenIds(ids) for ids in inputs['input_ids']]"
    elif isinstance(inputs, bytes | bytearray):
        remedy = "for one text call ext(inputs.decode('utf-8'))"
    elif isinstance(inputs, set | frozenset):
        remedy = "it has no order for the results to be in; give sorted(inputs)"
    elif isinstance(inputs, os.PathLike):
        remedy = "read the file first: bertattn.readers.read_text(inputs)"
    elif isinstance(inputs, Document):
        remedy = "read it in windows that fit the model: ext.extract(bertattn.windows([document]))"
    elif not isinstance(inputs, Iterable):
        remedy = "give a list of texts"
    if remedy is not None:
        raise InputError(f"inputs must be a sequence or stream of inputs, but is {_shown_kind(inputs)}; {remedy}")


def _shown_kind(x: object) -> str:
    name = type(x).__name__
    return f"a{'n' * (name[0] in 'AEIOUaeiou')} {name}"


def prepare(
    x: object,
    tokenizer: Any,
    *,
    limit: int | None,
    truncate: bool,
    vocabulary: int | None,
    spacing: str,
    target: bool = False,
) -> Prepared:
    """Tokenise one input.

    Args:
        x: `str`, `TextPair`, `Sentence`, `DocumentWindow`, `TokenIds` or a sequence of ids.
        tokenizer: a transformers tokenizer.
        limit: how many tokens the model takes; None means any number.
        truncate: cut what is longer instead of refusing it.
        vocabulary: number of rows of the model's embedding table.
        spacing: how the words of a sentence are joined: "single" or "natural".
        target: read a `str` as the decoder's, which some tokenizers cut by other rules (Marian, mBART).

    Raises:
        InputError: no text in it, broken Unicode, not one of the accepted types, ids the model does not have.
        TooLongError: more tokens than `limit`.
        AlignmentError: words that cannot be found among the tokens.
    """
    if spacing not in ("single", "natural"):
        raise InputError(f"spacing must be 'single' or 'natural', but is {spacing!r}")
    if isinstance(x, str):
        prepared = _text(x, None, tokenizer, limit=limit, truncate=truncate, target=target)
    elif isinstance(x, TextPair):
        prepared = _text(x.first, x.second, tokenizer, limit=limit, truncate=truncate)
    elif isinstance(x, Sentence | DocumentWindow):
        prepared = _words(x, tokenizer, spacing=spacing)
    elif isinstance(x, Document):
        raise InputError(
            "a Document is read in windows that fit the model, not whole: ext.extract(bertattn.windows([document]))"
        )
    else:
        prepared = _ids(x, tokenizer, limit=limit, truncate=truncate)
    if limit is not None and len(prepared.ids) > limit:
        remedy = "use on_too_long='truncate' or 'skip' of extract(), or cut the text"
        if isinstance(x, Sentence | DocumentWindow):
            remedy = (
                "annotated words are not cut, since their annotation would no longer fit: use on_too_long='skip' of "
                "extract(), or cut documents into windows that fit with bertattn.windows"
            )
        reason = (
            f"{_quoted(_shown_text(x, prepared, tokenizer))} has {len(prepared.ids)} tokens but the model takes {limit}"
        )
        raise TooLongError(reason, remedy=remedy)
    if vocabulary is not None and max(prepared.ids) >= vocabulary:
        raise InputError(
            f"token {max(prepared.ids)} is beyond the model's {vocabulary} embeddings: "
            "is this the tokenizer of another model?"
        )
    return prepared


def _shown_text(x: object, prepared: Prepared, tokenizer: Any) -> str:
    """The beginning of an input as it is written, not as its tokens are."""
    if isinstance(x, str):
        return x
    if isinstance(x, TextPair):
        return f"{x.first} {x.second}"
    if isinstance(x, Sentence | DocumentWindow):
        return " ".join(x.words)
    return str(tokenizer.decode(list(prepared.ids[:LONGEST_SHOWN])))


def _quoted(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 3] + "…")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text is no valid Unicode: {text[error.start : error.end]!r} at character {error.start} "
            "is half of a surrogate pair; read the file as UTF-8, or replace it"
        ) from None


def _encode(tokenizer: Any, *texts: str, limit: int | None = None, target: bool = False) -> Any:
    """The tokenizer's output. No text is read as a special token, however it is written."""
    options: dict[str, Any] = {} if limit is None else {"truncation": True, "max_length": limit}
    if tokenizer.is_fast:
        options["split_special_tokens"] = True
    else:  # a slow tokenizer may need its added tokens to cut at all (ESM's letters are such), so they stay active
        _refuse_special([t for text in texts for t in tokenizer.all_special_tokens if t in text], tokenizer)
    names = ("text_target", "text_pair_target") if target else ("text", "text_pair")
    with _lock:
        encoding = tokenizer(
            **dict(zip(names, texts, strict=False)), return_special_tokens_mask=True, verbose=False, **options
        )
    if tokenizer.is_fast:  # SentencePiece has special tokens among its ordinary pieces
        special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        marks = zip(encoding["input_ids"], encoding["special_tokens_mask"], strict=True)
        read = [number for number, added in marks if not added and number in special]
        _refuse_special(tokenizer.convert_ids_to_tokens(read), tokenizer)
    return encoding


def _refuse_special(read: Sequence[str], tokenizer: Any) -> None:
    if read:
        raise InputError(
            f"the text holds {read[0]!r}, which {type(tokenizer).__name__} reads as a special token; take it out, or "
            "give the ids that you mean as TokenIds"
        )


def _columns(encoding: Any, tokenizer: Any) -> tuple[dict[str, Any], tuple[int | None, ...]]:
    """The columns of the axis that need no words, and for each token which text it is of (None: special)."""
    ids, special = encoding["input_ids"], [bool(s) for s in encoding["special_tokens_mask"]]
    fast = encoding.encodings[0] if encoding.encodings else None
    types = encoding.get("token_type_ids") or [0] * len(ids)
    sequences = fast.sequence_ids if fast else [None if s else t for s, t in zip(special, types, strict=True)]
    columns: dict[str, Any] = {
        "tokens": tuple(tokenizer.convert_ids_to_tokens(ids)),
        "roles": _tokens.roles_of(ids, tokenizer, special),
        "segments": _tokens.segments_of(sequences),
    }
    if fast:
        columns["offsets"] = tuple(None if s is None else o for s, o in zip(sequences, fast.offsets, strict=True))
    return columns, tuple(sequences)


def _prepared(encoding: Any, columns: dict[str, Any], **more: Any) -> Prepared:
    types = encoding.get("token_type_ids")
    return Prepared(tuple(encoding["input_ids"]), None if types is None else tuple(types), Axis(**columns), **more)


def _text(
    text: str, second: str | None, tokenizer: Any, *, limit: int | None, truncate: bool, target: bool = False
) -> Prepared:
    texts = (text,) if second is None else (text, second)
    for one in texts:
        _check_text(one)
    encoding, cut = _encode(tokenizer, *texts, target=target), 0
    if truncate and limit is not None and len(encoding["input_ids"]) > limit:
        cut = len(encoding["input_ids"]) - limit
        encoding = _encode(tokenizer, *texts, limit=limit, target=target)
    columns, sequences = _columns(encoding, tokenizer)
    words: list[str] = []
    word_ids: list[Any] = [None] * len(sequences)
    for number, one in enumerate(texts):
        mine = [i for i, sequence in enumerate(sequences) if sequence == number]
        if not mine:
            raise InputError(_nothing_in(one))
        if "offsets" not in columns:
            continue
        offsets = [columns["offsets"][i] for i in mine]
        found, numbers = alignment.words_of_text(one[: max(end for _, end in offsets)] if cut else one, offsets)
        for i, entry in zip(mine, numbers, strict=True):
            word_ids[i] = _shifted(entry, len(words))
        words.extend(found)
    if "offsets" in columns:
        columns |= {"words": tuple(words), "word_ids": tuple(word_ids)}
    return _prepared(encoding, columns, cut=cut)


def _shifted(entry: Any, by: int) -> Any:
    if isinstance(entry, tuple):
        return tuple(number + by for number in entry)
    return None if entry is None else entry + by


def _nothing_in(text: str) -> str:
    if not text.strip():
        return f"there is no text: {text[:20]!r} is empty or only white space"
    return f"the tokenizer makes no token of {text[:20]!r}: are these characters it removes?"


def _words(x: Sentence | DocumentWindow, tokenizer: Any, *, spacing: str) -> Prepared:
    text, spans = x.text(spacing=spacing)
    _check_text(text)
    encoding = _encode(tokenizer, text)
    columns, sequences = _columns(encoding, tokenizer)
    if not any(s is not None for s in sequences):
        raise InputError(_nothing_in(text))
    if "offsets" in columns:
        word_ids = alignment.word_ids_from_offsets(columns["offsets"], spans)
    else:
        word_ids = _words_by_parts(x.words, sequences, encoding, tokenizer)
    return _prepared(encoding, columns | {"words": x.words, "word_ids": word_ids}, annotation=x)


def _words_by_parts(
    words: Sequence[str], sequences: Sequence[int | None], encoding: Any, tokenizer: Any
) -> tuple[int | None, ...]:
    """For a tokenizer that keeps no offsets: each word tokenised alone, if that gives the tokens of the whole text."""
    parts = [tokenizer.tokenize(word) for word in words]
    whole = [
        t
        for t, s in zip(tokenizer.convert_ids_to_tokens(encoding["input_ids"]), sequences, strict=True)
        if s is not None
    ]
    if [token for part in parts for token in part] != whole:
        raise AlignmentError(
            f"{type(tokenizer).__name__} keeps no character offsets and cuts {_quoted(' '.join(words))} differently "
            "one by one, so its tokens cannot be given to words; load a fast tokenizer"
        )
    numbers = iter([number for number, part in enumerate(parts) for _ in part])
    return tuple(None if s is None else next(numbers) for s in sequences)


def _ids(x: object, tokenizer: Any, *, limit: int | None, truncate: bool) -> Prepared:
    if not isinstance(x, TokenIds):
        values = x.tolist() if hasattr(x, "tolist") else x
        if not isinstance(values, list | tuple) or not values or not all(type(v) is int for v in values):
            raise InputError(
                f"an input is a str, TextPair, Sentence, DocumentWindow or token ids, but got {type(x).__name__} "
                f"{_shown(x)}{_remedy(values)}"
            )
        try:
            x = TokenIds(tuple(values))
        except ValidationError as error:
            raise InputError(str(error)) from None
    cut = max(0, len(x) - limit) if truncate and limit is not None else 0
    kept = len(x) - cut
    axis = Axis(
        tuple(str(t) for t in tokenizer.convert_ids_to_tokens(list(x.ids[:kept]))),
        roles=_tokens.roles_of(x.ids[:kept], tokenizer),  # type: ignore[arg-type]
        segments=x.segments[:kept] if x.segments else (0,) * kept,
    )
    types = x.token_types
    if types is None and "token_type_ids" in tokenizer.model_input_names:
        types = x.segments or (0,) * len(x)
    return Prepared(x.ids[:kept], types[:kept] if types else None, axis, cut=cut)


def _remedy(x: object) -> str:
    """What to give instead of something that is no input, where that can be guessed."""
    remedies: list[tuple[object, str]] = [
        (isinstance(x, bytes | bytearray), "; for its text write x.decode('utf-8')"),
        (isinstance(x, Mapping) and "input_ids" in x, "; give its ids: TokenIds(x['input_ids'])"),
        (isinstance(x, Mapping), "; give the text in it, such as x['text']"),
        (x is None or x != x if isinstance(x, float | None) else repr(x) in ("<NA>", "NaT"), "; it is a missing value"),
        (type(x) is int, "; for one sequence of ids call ext(ids), or give a list of such lists"),
        (isinstance(x, os.PathLike), "; read the file first, with bertattn.readers.read_text or x.read_text()"),
    ]
    if isinstance(x, list | tuple):
        texts = bool(x) and all(isinstance(v, str) for v in x)
        nested = bool(x) and all(isinstance(v, list | tuple) for v in x)
        remedies = [
            (texts and len(x) == 2, "; for two texts write TextPair(first, second), for words Sentence(words)"),
            (texts, "; for words write Sentence(words), for many texts extract(texts)"),
            (nested, "; give one sequence of ids, not a batch: x[0]"),
            (True, "; token ids are whole numbers, at least one"),
        ]
    return next((remedy for fits, remedy in remedies if fits), "")


def _shown(x: object) -> str:
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "…"


def shifted_right(target: Prepared, model: Any, tokenizer: Any, limit: int | None) -> Prepared:
    """The decoder's input for a target: its start token, then the target without the token that ends it."""
    config = getattr(model.config, "decoder", None) or model.config
    start = getattr(model.config, "decoder_start_token_id", None)
    if start is None and model.config.model_type == "mbart":  # it starts with the language code that ends the target
        start = target.ids[-1]
    for other in (getattr(config, "bos_token_id", None), tokenizer.bos_token_id, tokenizer.cls_token_id):
        start = other if start is None else start
    if start is None:
        raise ModelError(f"{type(model).__name__} names no decoder_start_token_id; set it in the model's config")
    axis = target.axis
    ends = len(axis) > 1 and bool(axis.special[-1])
    end = len(axis) - ends
    if limit is not None and end + 1 > limit:
        raise TooLongError(
            f"the target has {end} tokens but the decoder takes {limit - 1} after its start token",
            remedy="cut the text",
        )
    columns: dict[str, Any] = {
        "words": axis.words,
        "tokens": (tokenizer.convert_ids_to_tokens(int(start)), *axis.tokens[:end]),
    }
    for name, first in (("roles", "bos"), ("word_ids", None), ("segments", 0), ("offsets", None)):
        column = getattr(axis, name)
        columns[name] = None if column is None else (first, *column[:end])
    return dataclasses.replace(
        target,
        ids=(int(start), *target.ids[:end]),
        axis=type(axis)(**columns),
        labels=(*target.ids[:end], target.ids[end] if ends else None),
    )
