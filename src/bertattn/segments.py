"""Two consecutive passages of plain text as one input, `[CLS] a [SEP] b [SEP]` (Clark et al. 2019, section 3)."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

from bertattn import _arrays, _tokens
from bertattn.errors import InputError, ModelError, TooLongError, ValidationError
from bertattn.inputs import TokenIds

__all__ = ["Segments", "paragraph_segments"]


@dataclass(frozen=True)
class Segments(Sequence[TokenIds]):
    """Inputs for a model, and what of the text is not in them. A sequence: `for segment in segments`.

    Args:
        items: the segments.
        one_line_chunks: chunks of a single line, which cannot be parted in two, left out.
        lost_lines: lines left out with `one_line_chunk="end_document"` or `last_document="lose"`.
        cut_tokens: tokens cut off to make the segments fit, over all segments made.
        not_chosen: segments made but not among the `count` asked for.
        empty_lines: lines of which the tokenizer makes no token, passed over.
    """

    items: tuple[TokenIds, ...]
    one_line_chunks: int = 0
    lost_lines: int = 0
    cut_tokens: int = 0
    not_chosen: int = 0
    empty_lines: int = 0

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> TokenIds: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TokenIds]: ...
    def __getitem__(self, index: int | slice) -> TokenIds | Sequence[TokenIds]:
        return self.items[index]

    def __repr__(self) -> str:
        return (
            f"Segments({len(self)}; left out: {self.one_line_chunks} one-line chunks, "
            f"{self.lost_lines} lines, {self.cut_tokens} tokens, {self.not_chosen} segments not chosen)"
        )


def paragraph_segments(
    documents: Iterable[Sequence[str]],
    tokenizer: Any,
    /,
    *,
    max_tokens: int = 128,
    count: int | None = None,
    seed: int = 0,
    segment_ids: Literal["pair", "zeros"] = "pair",
    one_line_chunk: Literal["skip", "end_document"] = "skip",
    last_document: Literal["keep", "lose"] = "keep",
) -> Segments:
    """Segments of at most `max_tokens` tokens: two consecutive passages of one document, as BERT saw in pre-training.

    Lines of a document are gathered into a chunk until it holds as many tokens as fit, or the document ends. The chunk
    is parted between two lines chosen at random, a before b. While both together are too long, the longer of the two
    (b, when they are equal) loses a token, at its start or its end with equal chance. Last, special tokens are put
    around as the tokenizer does for a pair. (Clark et al. 2019, section 3, and their `preprocess_unlabeled.py`, which
    follows the data of BERT's pre-training. Their own segments cannot be had again to the letter: they drew with the
    generator of Python 2.)

    Lines are tokenized one by one; text that looks like a special token is read as text. A line without tokens is
    passed over and counted. Randomness comes from one `random.Random(seed)`, drawn in this order: for each chunk where
    to part it (`randint`, if it has two lines or more), then one `random()` for each token cut off; after the last
    document, if `count` is given, one `shuffle` of all segments.

    Args:
        documents: each a sequence of lines, as from `bertattn.readers.read_text`.
        tokenizer: a fast tokenizer of transformers.
        max_tokens: the longest segment, special tokens included.
        count: how many segments to keep, chosen at random; None keeps all, in the order of the text. Where there are
            fewer, all are kept and a warning says how many.
        seed: of the random choices.
        segment_ids: what the model is given as token types: "pair" as the tokenizer types a pair; "zeros" as the
            released code does. `TokenIds.segments` tells a from b either way.
        one_line_chunk: a chunk of one line (a line as long as a segment, or the last of a document) cannot be parted:
            "skip" leaves it out; "end_document" leaves out the rest of its document too, as the released code does.
        last_document: "keep" the last document; "lose" leaves it out, as the released code does where no blank line
            ends the file.

    Raises:
        TooLongError: `max_tokens` leaves no room for two tokens.
        InputError: a document that is no sequence of strings, a line that no tokenizer can take (a lone surrogate), or
            no tokenizer.
        ModelError: a tokenizer that does not say which tokens come from which text.
        ValidationError: an option that there is not, or a number that is no whole number from 0.

    Examples:
        >>> from transformers import BertTokenizer
        >>> vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "snow", "falls", "it", "melts"]
        >>> tokenizer = BertTokenizer({token: i for i, token in enumerate(vocabulary)})
        >>> segments = paragraph_segments([("Snow falls", "It melts")], tokenizer)
        >>> segments
        Segments(1; left out: 0 one-line chunks, 0 lines, 0 tokens, 0 segments not chosen)
        >>> tokenizer.convert_ids_to_tokens(segments[0].ids)
        ['[CLS]', 'snow', 'falls', '[SEP]', 'it', 'melts', '[SEP]']
    """
    for name, value, choices in (
        ("segment_ids", segment_ids, ("pair", "zeros")),
        ("one_line_chunk", one_line_chunk, ("skip", "end_document")),
        ("last_document", last_document, ("keep", "lose")),
    ):
        if value not in choices:
            raise ValidationError(f"{name} must be {' or '.join(map(repr, choices))}, but is {value!r}")
    for name, number in (("max_tokens", max_tokens), ("count", 0 if count is None else count), ("seed", seed)):
        if type(_arrays.plain(number)) is not int:
            raise ValidationError(f"{name} must be a whole number, but is {number!r}")
        if number < 0:
            raise ValidationError(f"{name} must be 0 or more, but is {number}")
    if not callable(tokenizer):
        raise InputError(
            f"tokenizer must be a transformers tokenizer, but is {tokenizer!r:.60}; that of an Extractor is "
            "ext.tokenizer"
        )
    template = _pair_template(tokenizer)
    room = max_tokens - template.size
    if room < 2:
        raise TooLongError(
            f"max_tokens is {max_tokens}, but {template.size} special tokens and two of text need {template.size + 2}"
        )

    rng = random.Random(_arrays.plain(seed))  # noqa: S311  # no secret hangs on it
    made: list[TokenIds] = []
    one_line_chunks = lost_lines = cut_tokens = empty_lines = 0
    for number, (document, is_last) in enumerate(_marking_the_last(documents)):
        lines = _tokenized(document, tokenizer, number=number)
        empty_lines += len(lines)
        lines = [line for line in lines if line]
        empty_lines -= len(lines)
        if is_last and last_document == "lose":
            lost_lines += len(lines)
            continue
        used = 0
        for chunk in _chunks(lines, room):
            used += len(chunk)
            parting = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
            a = [token for line in chunk[:parting] for token in line]
            b = [token for line in chunk[parting:] for token in line]
            cut = _truncate(a, b, room, rng)
            if b:
                cut_tokens += cut
                made.append(template.fill(a, b, zeros=segment_ids == "zeros"))
                continue
            one_line_chunks += 1
            if one_line_chunk == "end_document":
                lost_lines += len(lines) - used
                break
    not_chosen = 0
    if count is not None:
        rng.shuffle(made)
        not_chosen = max(0, len(made) - count)
        if len(made) < count:
            warnings.warn(f"{count} segments were asked for but the text has only {len(made)}", stacklevel=2)
        made = made[:count]
    return Segments(tuple(made), one_line_chunks, lost_lines, cut_tokens, not_chosen, empty_lines)


def _marking_the_last(documents: Iterable[Sequence[str]]) -> Iterator[tuple[Sequence[str], bool]]:
    waiting: list[Sequence[str]] = []
    for document in documents:
        if waiting:
            yield waiting.pop(), False
        waiting.append(document)
    if waiting:
        yield waiting.pop(), True


def _tokenized(document: Sequence[str], tokenizer: Any, *, number: int) -> list[list[int]]:
    if isinstance(document, str):
        raise InputError(
            f"document {number} is one string, {document[:40]!r}; give a sequence of its lines, "
            "as bertattn.readers.read_text does"
        )
    if not isinstance(document, Iterable):
        raise InputError(f"document {number} must be a sequence of lines, but is {document!r:.40}")
    lines = list(document)
    for i, line in enumerate(lines):
        if not isinstance(line, str):
            raise InputError(f"line {i} of document {number} must be a str, but is {line!r:.40}")
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"line {i} of document {number} holds the lone surrogate {line[error.start]!r}, which is no character; "
                "decode the file with errors='replace'"
            ) from None
    if not lines:
        return []
    ids = tokenizer(lines, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return [list(line) for line in ids]


def _chunks(lines: list[list[int]], room: int) -> Iterator[list[list[int]]]:
    chunk: list[list[int]] = []
    for line in lines:
        chunk.append(line)
        if sum(map(len, chunk)) >= room:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _truncate(a: list[int], b: list[int], room: int, rng: random.Random) -> int:
    """Cut tokens off in place, and say how many."""
    excess = max(0, len(a) + len(b) - room)
    ends = [[0, len(a)], [0, len(b)]]  # what is kept; to take tokens off the front one by one is slow on a long line
    for _ in range(excess):
        longer = ends[0] if ends[0][1] - ends[0][0] > ends[1][1] - ends[1][0] else ends[1]
        if rng.random() < 0.5:
            longer[0] += 1
        else:
            longer[1] -= 1
    a[:], b[:] = (line[start:end] for line, (start, end) in zip((a, b), ends, strict=True))
    return excess


@dataclass(frozen=True)
class _Template:
    """The special tokens a tokenizer puts around a pair, and the token types it gives to the parts."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    between_segments: tuple[int, ...]
    types: tuple[tuple[int, ...], int, tuple[int, ...], int, tuple[int, ...]]

    @property
    def size(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)

    def fill(self, a: list[int], b: list[int], *, zeros: bool) -> TokenIds:
        before, of_a, between, of_b, after = self.types
        ids = (*self.before, *a, *self.between, *b, *self.after)
        return TokenIds(
            ids,
            segments=(
                *(0,) * (len(self.before) + len(a)),
                *self.between_segments,
                *(1,) * (len(b) + len(self.after)),
            ),
            token_types=(0,) * len(ids) if zeros else (*before, *(of_a,) * len(a), *between, *(of_b,) * len(b), *after),
        )


def _pair_template(tokenizer: Any) -> _Template:
    """Read off what the tokenizer makes of a pair of letters."""
    encoding = tokenizer("a", "b")
    if not getattr(encoding, "encodings", None):
        raise ModelError(
            f"{type(tokenizer).__name__} is a slow tokenizer and does not say which tokens come from which text; "
            "load a fast one (AutoTokenizer gives it where there is one)"
        )
    one = encoding.encodings[0]
    sequences = one.sequence_ids
    if 0 not in sequences or 1 not in sequences:
        raise ModelError(f"{type(tokenizer).__name__} gives no token to a letter; is its vocabulary loaded?")
    first, last = sequences.index(0), len(sequences) - sequences[::-1].index(0)
    second, end = sequences.index(1), len(sequences) - sequences[::-1].index(1)
    typed = "token_type_ids" in tokenizer.model_input_names
    types = tuple(int(t) if typed else 0 for t in one.type_ids)
    return _Template(
        before=tuple(one.ids[:first]),
        between=tuple(one.ids[last:second]),
        after=tuple(one.ids[end:]),
        between_segments=_tokens.segments_of(sequences)[last:second],
        types=(types[:first], types[first], types[last:second], types[second], types[end:]),
    )
