"""From a model and texts to a stream of `AttentionTensor`.

Examples:
    >>> from bertattn import Extractor, demo
    >>> ext = Extractor.from_pretrained(demo.model_path())
    >>> a = ext("The cat sat on the mat.")
    >>> a.queries.tokens
    ('[CLS]', 'the', 'cat', 'sat', 'on', 'the', 'mat', '.', '[SEP]')
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import torch
from tqdm import tqdm
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from bertattn import _arrays, _embeddings, _fallback, _hook, _model
from bertattn._gradients import Differentiated, differentiated
from bertattn._prepare import Prepared, check_inputs, prepare, shifted_right
from bertattn.annotation import DocumentWindow, Sentence
from bertattn.errors import AlignmentError, BertattnError, InputError, ModelError, SelectionError, TooLongError
from bertattn.inputs import TextPair, TokenIds
from bertattn.tensor import Annotation, AttentionTensor, Axis, Source
from bertattn.vectors import Words, WordVectors
from bertattn.windowing import Windows

__all__ = ["Capture", "Excluded", "Extractor", "HiddenStates", "HiddenStream", "Stream"]

Input: TypeAlias = "str | TextPair | Sentence | DocumentWindow | TokenIds | Sequence[int]"
Kind: TypeAlias = Literal["encoder", "decoder", "cross"]
What: TypeAlias = Literal["query", "key", "value", "hidden"]

_LOADERS = {None: AutoModel, "masked_lm": AutoModelForMaskedLM, "causal_lm": AutoModelForCausalLM}

T = TypeVar("T")
P = TypeVar("P", bound="_HasCut")


class _HasCut(Protocol):
    """An input made ready, of which some tokens may have been cut."""

    @property
    def cut(self) -> int: ...


_Losses: TypeAlias = Callable[[Any, Sequence[Prepared]], torch.Tensor]

# How many bytes of maps may wait until their turn comes; the window of inputs sorted by length follows from it.
WAITING_BYTES = 192 * 2**20
WINDOW_BATCHES = 8


@dataclass(frozen=True)
class Excluded:
    """One input of a stream that was left out, or cut: its number from 0 and the reason."""

    index: int
    reason: str


@dataclass(frozen=True, eq=False)
class Capture:
    """What one forward call computed: the attention, and on request the vectors it was made of.

    Where the model uses transformers' AttentionInterface,
    softmax(`scaling[layer]` * query . key + `bias[layer]`) over keys is the attention (with a soft cap on the scaled
    product where the model has one).

    Args:
        attention: the maps.
        query, key, value: `[layer, head, token, dimension]`, queries and keys after any rotation; keys and values of
            grouped heads repeated. None unless asked for.
        hidden: `[layer + 1, token, dimension]`, the embeddings first. None unless asked for.
        scaling: one factor a layer.
        bias: for each layer what is added to the logits, `[1 or head, query, key]` (mask and position bias), or None.
        softcap: for each layer the soft cap, or None.
    """

    attention: AttentionTensor
    query: torch.Tensor | None = None
    key: torch.Tensor | None = None
    value: torch.Tensor | None = None
    hidden: torch.Tensor | None = None
    scaling: tuple[float, ...] = ()
    bias: tuple[torch.Tensor | None, ...] = ()
    softcap: tuple[float | None, ...] = ()

    def __repr__(self) -> str:
        parts = {name: getattr(self, name) for name in ("query", "key", "value", "hidden")}
        shapes = [f"{name} {list(x.shape)}" for name, x in parts.items() if x is not None]
        return f"Capture({', '.join([repr(self.attention), *shapes])})"


@dataclass(frozen=True, eq=False)
class HiddenStates:
    """The output of one layer for one input.

    Args:
        states: `[token, dimension]`, in single precision at least.
        layer: 0 for the embeddings, 1 for the output of the first layer, and so on.
        axis: the tokens.
        annotation: the input's gold annotation, where it had one.
        source: the model.
    """

    states: torch.Tensor
    layer: int
    axis: Axis
    annotation: Annotation | None
    source: Source

    def __repr__(self) -> str:
        return f"HiddenStates(layer {self.layer}, {' x '.join(map(str, self.states.shape))})"


class InOrder(Iterator[T]):
    """What the inputs give, in their order, and which of them were left out so far."""

    def __init__(self, items: Iterator[T], skipped: list[Excluded], truncated: list[Excluded], hint: int) -> None:
        self._items = items
        self._hint = hint
        self.skipped = skipped
        self.truncated = truncated

    def __next__(self) -> T:
        item = next(self._items)
        self._hint = max(0, self._hint - 1)
        return item

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({len(self.skipped)} skipped and {len(self.truncated)} truncated so far)"

    def __length_hint__(self) -> int:
        """How many are still to come at most, 0 where the inputs do not tell."""
        return self._hint


class HiddenStream(InOrder[HiddenStates]):
    """An iterator of `HiddenStates` in input order, and what was left out so far.

    Attributes:
        skipped: inputs that gave none, as `Excluded`, in order of their being met.
        truncated: inputs that were cut to fit.
    """


class Stream(InOrder[AttentionTensor]):
    """An iterator of maps in input order, and what was left out so far.

    Attributes:
        skipped: inputs that gave no map, as `Excluded`, in order of their being met.
        truncated: inputs that were cut to fit.
    """

    def map(self, function: Callable[[AttentionTensor], AttentionTensor], /) -> Stream:
        """A stream of what `function` makes of each map, with the same records of what was left out.

        For corpora of words: `summarize(ext.extract(texts).map(merge_subwords), entropy)`. In a generator of your own
        those records would be lost.
        """
        return Stream(map(function, self), self.skipped, self.truncated, self._hint)


@dataclass(frozen=True)
class Batch:
    """What one forward call gave, padding still on: `[layer][batch, head, query, key]`.

    With `losses` of the outputs, `[batch]`, the gradients of their sum by the maps are there as well.
    """

    maps: list[torch.Tensor]
    layers: tuple[int, ...]
    path: str
    normalized: bool
    calls: tuple[_hook.Call, ...] = ()
    hidden: tuple[torch.Tensor, ...] = ()
    gradients: tuple[torch.Tensor, ...] = ()
    losses: torch.Tensor | None = None


@dataclass(frozen=True)
class Read(Generic[P]):
    """Inputs made ready for a model as they are read, None for those left out; what is left out and cut, so far."""

    items: Iterator[P | None]
    skipped: list[Excluded]
    truncated: list[Excluded]
    total: int


class Extractor:
    """Attention maps of one model.

    Args:
        model: a transformers model, or anything that holds one: a task head, a pipeline, a SentenceTransformer, a PEFT
            wrapper. It is used as it is and left as it was found.
        tokenizer: its tokenizer; a pipeline's own where None.
        name, revision: what to record as the source; the model's own where None.

    Raises:
        ModelError: no transformers model in it, one with block-sparse attention, no tokenizer, an empty one, or one
            with more tokens than the model.
    """

    def __init__(
        self, model: Any, tokenizer: Any = None, *, name: str | None = None, revision: str | None = None
    ) -> None:
        if isinstance(model, str | os.PathLike):
            raise ModelError(f"to load a model by name or folder, call Extractor.from_pretrained({os.fspath(model)!r})")
        if isinstance(model, PreTrainedTokenizerBase):
            raise ModelError("the model comes first, then the tokenizer: Extractor(model, tokenizer)")
        if tokenizer is None:
            tokenizer = getattr(model, "tokenizer", None)
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ModelError(
                f"tokenizer must be a transformers tokenizer, but is {type(tokenizer).__name__}; "
                "load it with AutoTokenizer.from_pretrained(name)"
            )
        self.model = _model.inner_model(model)
        self._whole = _model.whole_model(model)  # with its task head, for gradients of a loss
        self.tokenizer = tokenizer
        self._encoder_decoder = bool(getattr(self.model.config, "is_encoder_decoder", False))
        sides: Any = self.model
        self._limit = _model.token_limit(sides.get_encoder() if self._encoder_decoder else self.model)
        self._target_limit = _model.token_limit(sides.get_decoder()) if self._encoder_decoder else None
        self._vocabulary = _model.embedding_rows(self.model)
        self._causal = _model.is_causal(self.model)
        self._checked: dict[str, bool] = {}
        self._padding_harmless: dict[str, bool] = {}
        self._paths: dict[str, str] = {}
        self._ablated: dict[tuple[str | None, int], frozenset[int]] = {}  # by `interventions.ablate`
        _model.check_model(self.model)
        _model.check_tokenizer(self.model, tokenizer, self._vocabulary)
        self._source = Source(
            model=name or getattr(self.model.config, "_name_or_path", None) or None,
            revision=revision or getattr(self.model.config, "_commit_hash", None),
            architecture=type(self.model).__name__,
            dtype=str(self.model.dtype).removeprefix("torch."),
        )

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        head: Literal["masked_lm", "causal_lm", "own"] | None = None,
    ) -> Extractor:
        """Load a model and its tokenizer from the hub or from a folder. No code of the repository is run.

        Args:
            name_or_path: as for transformers' `from_pretrained`.
            device: where to run; None takes CUDA, else MPS, else the CPU.
            dtype: what to compute in; None means float32. Maps are float32 either way, float64 only of a float64 model.
            revision: branch, tag or commit on the hub.
            head: "masked_lm" or "causal_lm" loads the model with its language-modelling head, which gradients of its
                loss need (`bertattn.attribution`); "own" does where the model's config names one. Maps are the same
                with and without.

        Raises:
            ModelError: there is no such model, or the folder holds none, or not all of its weights.
        """
        if not isinstance(name_or_path, str | os.PathLike):
            raise ModelError(
                f"name_or_path must be a name or a folder, but is {type(name_or_path).__name__}; "
                "for a model that is loaded already call Extractor(model, tokenizer)"
            )
        name = os.fspath(name_or_path)
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        if isinstance(dtype, str) and not isinstance(getattr(torch, dtype, None), torch.dtype):
            raise ModelError(f"dtype {dtype!r} is none of torch's; such are 'float32', 'bfloat16' and 'float16'")
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise ModelError(
                f"device {str(device)!r} cannot be used here ({first}); leave it out or say 'cpu'"
            ) from None
        folder = Path(name)
        if folder.is_dir() and not (folder / "config.json").is_file():
            raise ModelError(f"the folder {name!r} holds no model: it has no config.json")
        if not folder.exists() and (folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1):
            raise ModelError(f"there is no folder {name!r}, and a model on the hub has no such name")
        options: dict[str, Any] = {"trust_remote_code": False}  # or transformers would ask at the terminal
        if revision is not None:
            options["revision"] = revision
        if head not in (None, "masked_lm", "causal_lm", "own"):
            raise ModelError(f"head must be 'masked_lm', 'causal_lm', 'own' or None, but is {head!r}")
        unreached = None if folder.exists() else _model.hub_out_of_reach(name, revision)
        if unreached is not None:
            options["local_files_only"] = True
        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # of weights, which load in a moment
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
            if head == "own":
                head = _model.own_head(AutoConfig.from_pretrained(name, **options))
            loader: Any = _LOADERS[head]
            model, report = loader.from_pretrained(
                name, dtype=dtype or torch.float32, output_loading_info=True, **options
            )
        except Exception as error:  # transformers, safetensors and torch raise dozens of kinds
            if unreached is not None and isinstance(error, OSError):
                raise ModelError(
                    f"{name!r} is not on this machine, or not whole, and cannot be fetched ({unreached}); "
                    "give a folder with config.json, model.safetensors and tokenizer.json, such as "
                    "'./my-model', or load it once with a connection, which keeps it in the cache"
                ) from error
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"no model could be loaded from {name!r}: {first}; give a model's name on the hub, or a folder with "
                "config.json, model.safetensors and tokenizer.json"
            ) from error
        finally:
            if bars:
                logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
        if missing:
            raise ModelError(
                f"{name!r} lacks {len(missing)} weights of {type(model).__name__}, such as {missing[0]}, which "
                "would be random; is this the model's own checkpoint?"
            )
        for key in report["missing_keys"]:  # of a pooler, on which no map hangs: random, it would tell runs apart
            model.state_dict()[key].zero_()
        return cls(model.to(device).eval(), tokenizer, name=name, revision=revision)

    def __repr__(self) -> str:
        return (
            f"Extractor({self._source.architecture}, {self._source.model!r}, {self._source.dtype}, {self.model.device})"
        )

    def __call__(
        self,
        x: Input,
        /,
        *,
        layers: int | Iterable[int] | None = None,
        attention: Kind | None = None,
        spacing: Literal["single", "natural"] = "single",
    ) -> AttentionTensor:
        """The attention of one input, all its layers unless `layers` names some (counted from 0).

        Raises:
            InputError, TooLongError, AlignmentError: as `extract`.
            ModelError: the model's attention cannot be read.
        """
        kind = self._kind(attention)
        prepared = self._prepare(x, kind, truncate=False, spacing=spacing)
        return self._cropped(self._forward([prepared], kind, layer_set(layers)), 0, prepared, kind, spacing)

    def extract(
        self,
        inputs: Iterable[Input],
        /,
        *,
        layers: int | Iterable[int] | None = None,
        attention: Kind | None = None,
        on_too_long: Literal["error", "truncate", "skip"] = "error",
        on_error: Literal["raise", "skip"] = "raise",
        spacing: Literal["single", "natural"] = "single",
        batch_size: int = 16,
        progress: bool = False,
    ) -> Stream:
        """A stream of maps, one for each input, in the order of the inputs, computed as it is read.

        Inputs are read a window at a time and sorted by length within it, so `inputs` may be endless. Batching and
        padding change no number by more than rounding. An input that cannot be read raises in its turn, after the maps
        of those before it.

        Args:
            inputs: `str`, `TextPair`, `Sentence`, `DocumentWindow`, `TokenIds` or lists of token ids; or documents cut
                by `bertattn.windows`.
            layers: the layers to keep, counted from 0 among those that compute attention; None keeps all.
            attention: of an encoder-decoder model "encoder" (what None means), "decoder" or "cross", which read a
                `TextPair` as source and target; "encoder" takes the source alone too. A decoder-only model has
                "decoder" only, an encoder "encoder".
            on_too_long: "error"; "truncate", listed in the stream's `.truncated` (an error for annotated words, which
                are not cut); or "skip", listed in `.skipped`.
            on_error: "raise", or "skip" an input that cannot be read (no text, broken Unicode, words it cannot find),
                listed in `.skipped`.
            spacing: how the words of a `Sentence` are joined: "single" spaces (the paper's way) or "natural" text.
            batch_size: how many inputs at most run together; fewer where their maps are large.
            progress: show a bar.

        Raises:
            InputError: `inputs` is one text, or an input cannot be read.
            TooLongError: an input has more tokens than the model takes.
            AlignmentError: the words of an input cannot be found among its tokens.
            ModelError: the model's attention cannot be read, and why.
        """
        kind, wanted = self._kind(attention), layer_set(layers)

        def cropped(batch: Batch, row: int, prepared: Prepared) -> AttentionTensor:
            return self._cropped(batch, row, prepared, kind, spacing)

        read = self._read(inputs, self._preparing(kind, spacing), on_too_long, on_error, spacing)
        forward = functools.partial(self._forward, kind=kind, layers=wanted)
        items = self._in_order(read, cropped, forward, kind=kind, batch_size=batch_size, progress=progress)
        return Stream(items, read.skipped, read.truncated, read.total)

    def hidden_states(
        self,
        inputs: Iterable[Input],
        /,
        *,
        layer: int,
        on_too_long: Literal["error", "truncate", "skip"] = "error",
        on_error: Literal["raise", "skip"] = "raise",
        spacing: Literal["single", "natural"] = "single",
        batch_size: int = 16,
        progress: bool = False,
    ) -> HiddenStream:
        """A stream of one layer's output, one for each input, in the order of the inputs, computed as it is read.

        The same numbers as `capture(x, what="hidden").hidden[layer]`, up to rounding, in a half to a third of the time,
        since inputs run together. Of an encoder-decoder model those of its encoder.

        Args:
            inputs: as `extract`.
            layer: 0 for the embeddings, 1 for the output of the first layer, and so on.
            on_too_long, on_error, spacing, batch_size, progress: as `extract`.

        Raises:
            SelectionError: the model has no such layer.
            InputError, TooLongError, AlignmentError, ModelError: as `extract`.
        """
        layer = _arrays.plain(layer)
        if type(layer) is not int or layer < 0:
            raise SelectionError(f"layer must be a number from 0, the embeddings, on, but is {layer!r}")
        kind = self._kind(None)

        def cropped(batch: Batch, row: int, prepared: Prepared) -> HiddenStates:
            if layer >= len(batch.hidden):
                raise SelectionError(
                    f"there is no layer {layer}; the model has {len(batch.hidden)} hidden states, from 0, the "
                    f"embeddings, to {len(batch.hidden) - 1}"
                )
            states = batch.hidden[layer][row, : len(prepared.axis)]
            return HiddenStates(
                # A copy, or one sentence would keep the states of its whole batch.
                states.to(torch.promote_types(states.dtype, torch.float32), copy=True),
                layer,
                prepared.axis,
                prepared.annotation,
                self._source_of(batch, prepared, kind, spacing),
            )

        read = self._read(inputs, self._preparing(kind, spacing), on_too_long, on_error, spacing)
        # Maps are computed on the way; those of one layer are kept for the checks.
        forward = functools.partial(self._forward, kind=kind, layers=frozenset({0}), hidden=True)
        items = self._in_order(
            read, cropped, forward, kind=kind, batch_size=batch_size, progress=progress, desc="hidden states"
        )
        return HiddenStream(items, read.skipped, read.truncated, read.total)

    def _preparing(self, kind: Kind, spacing: str) -> Callable[[Any, bool], Prepared]:
        """What makes an input ready for the model, given whether it may be cut."""
        return lambda x, truncate: self._prepare(x, kind, truncate=truncate, spacing=spacing)

    def _read(
        self,
        inputs: Iterable[Input],
        prepare: Callable[[Any, bool], P],
        on_too_long: str,
        on_error: str,
        spacing: Literal["single", "natural"],
    ) -> Read[P]:
        """The inputs, made ready as they are read."""
        check_inputs(inputs)
        for name, value, allowed in (
            ("on_too_long", on_too_long, ("error", "truncate", "skip")),
            ("on_error", on_error, ("raise", "skip")),
            ("spacing", spacing, ("single", "natural")),
        ):
            if value not in allowed:
                raise InputError(f"{name} must be {' or '.join(map(repr, allowed))}, but is {value!r}")
        if isinstance(inputs, Windows):
            inputs = inputs.bound(self.tokenizer, limit=self._limit, spacing=spacing)
        skipped: list[Excluded] = []
        truncated: list[Excluded] = []

        def items() -> Iterator[P | None]:
            for index, x in enumerate(inputs):
                prepared: P | None = None
                try:
                    prepared = prepare(x, on_too_long == "truncate")
                except TooLongError as error:
                    if on_too_long != "skip":
                        raise _numbered(error, index) from None
                    skipped.append(Excluded(index, error.reason))
                except (InputError, AlignmentError) as error:
                    if on_error == "raise":
                        raise _numbered(error, index) from None
                    skipped.append(Excluded(index, str(error)))
                if prepared is not None and prepared.cut:
                    truncated.append(Excluded(index, f"{prepared.cut} tokens beyond the model's limit were cut"))
                yield prepared

        return Read(items(), skipped, truncated, operator.length_hint(inputs))

    def _in_order(
        self,
        read: Read[Prepared],
        cropped: Callable[[Batch, int, Prepared], T],
        forward: functools.partial[Batch],
        *,
        kind: Kind,
        batch_size: int,
        progress: bool,
        desc: str = "attention",
    ) -> Iterator[T]:
        """What `cropped` makes of each input's row of its batch."""
        batch_size = checked_batch_size(batch_size)

        def items() -> Iterator[T]:
            with tqdm(total=read.total or None, disable=not progress, unit="text", desc=desc) as bar:
                for window in self._windows(read.items, batch_size):
                    chosen = [p for p in window if p is not None]
                    ready: dict[int, T] = {}
                    batches = _by_length(chosen, batch_size, self._bytes_per_square())
                    position = {id(p): i for i, p in enumerate(chosen)}
                    turn = 0
                    for members in batches:
                        for group, batch in self._batches(members, kind, forward):
                            for row, prepared in enumerate(group):
                                ready[position[id(prepared)]] = cropped(batch, row, prepared)
                            del batch  # before the next is made, or a slow consumer goes on
                        while turn in ready:
                            yield ready.pop(turn)
                            bar.update()
                            turn += 1
                    bar.update(len(window) - len(chosen))

        return items()

    def capture(
        self,
        x: Input,
        /,
        *,
        what: What | Sequence[What] = ("query", "key", "value", "hidden"),
        attention: Kind | None = None,
        spacing: Literal["single", "natural"] = "single",
    ) -> Capture:
        """The attention of one input together with queries, keys, values and hidden states.

        Returns:
            a `Capture` with `.attention`, the tensors asked for, and `.scaling`, `.bias`, `.softcap` of each layer:
            softmax(scaling * query . key + bias) is the attention.

        Raises:
            SelectionError: a name in `what` that is none of the four.
            ModelError: queries, keys or values of a model without the AttentionInterface.
        """
        several = isinstance(what, Iterable) and not isinstance(what, str)
        names: tuple[Any, ...] = tuple(what) if several else (what,)
        unknown = [name for name in names if name not in ("query", "key", "value", "hidden")]
        if unknown:
            raise SelectionError(f"{unknown[0]!r} cannot be captured; 'query', 'key', 'value' and 'hidden' can")
        vectors = any(name != "hidden" for name in names)
        kind = self._kind(attention)
        prepared = self._prepare(x, kind, truncate=False, spacing=spacing)
        batch = self._forward([prepared], kind, None, vectors=vectors, hidden="hidden" in names)
        if vectors and not batch.calls:
            raise ModelError(
                f"{self._source.architecture} does not use transformers' AttentionInterface, so its queries, keys and "
                "values are out of reach; what=('hidden',) works"
            )
        stacked = {
            name: torch.stack([getattr(call, name)[0] for call in batch.calls]) for name in names if name != "hidden"
        }
        if "hidden" in names:
            stacked["hidden"] = torch.stack(
                [h[0].to(torch.promote_types(h.dtype, torch.float32)) for h in batch.hidden]
            )
        return Capture(
            self._cropped(batch, 0, prepared, kind, spacing),
            **stacked,
            scaling=tuple(call.scaling for call in batch.calls),
            bias=tuple(None if call.bias is None else call.bias[0] for call in batch.calls),
            softcap=tuple(call.softcap for call in batch.calls),
        )

    def word_vectors(self, words: Words, /, *, dimension: int | None = None) -> WordVectors:
        """The model's own input embeddings as word vectors, for probes where there is no file of them.

        The vector of a word is the mean embedding of the tokens that it has in running text, after a space. Positions
        and layer norms play no part. Where the tokenizer lower-cases, the vectors are looked up lower-cased too.

        Args:
            words: the words, or the sentences, documents or windows that hold them; each word counts once.
            dimension: reduce the vectors to so many principal components over these words; None keeps all.

        Returns:
            Vectors of the words that the tokenizer can spell, in the order of their being met. One of which it makes no
            token, or an unknown one, is left out, and so unknown to the vectors as well.

        Raises:
            ModelError: the model has no table of embeddings.
            ValidationError: `words` is one string or one sentence, or `dimension` is larger than the model's or than
                the number of words.
            AlignmentError: a slow tokenizer that reads words otherwise in a sentence than alone.

        Examples:
            >>> from bertattn import demo
            >>> ext = Extractor.from_pretrained(demo.model_path())
            >>> vectors = ext.word_vectors([Sentence(["The", "cat", "saw", "the", "dog"])], dimension=2)
            >>> vectors.words, vectors.dimension, vectors.lowercase
            (('the', 'cat', 'saw', 'dog'), 2, True)
        """
        name = f"{self._source.model or self._source.architecture}, input embeddings"
        return _embeddings.word_vectors(
            self.model, self.tokenizer, words, dimension=dimension, vocabulary=self._vocabulary, name=name
        )

    def _kind(self, attention: Kind | None) -> Kind:
        if attention not in (None, "encoder", "decoder", "cross"):
            raise InputError(f"attention must be 'encoder', 'decoder' or 'cross', but is {attention!r}")
        if self._encoder_decoder:
            return attention or "encoder"
        if self._causal is None and attention != "cross":  # seen from the maps once there are some
            return attention or "encoder"
        own: Kind = "decoder" if self._causal else "encoder"
        if attention not in (None, own):
            raise InputError(f"{self._source.architecture} has only attention={own!r}, but {attention!r} was asked for")
        return own

    def _prepare(self, x: object, kind: Kind, *, truncate: bool, spacing: str) -> Prepared:
        if isinstance(x, Windows):
            raise InputError("Windows are many inputs, not one; give them alone to extract: ext.extract(windows)")
        if not self._encoder_decoder or not isinstance(x, TextPair):
            if self._encoder_decoder and kind != "encoder":
                raise InputError(f"attention={kind!r} needs a source and a target: give TextPair(source, target)")
            return self._one(x, truncate=truncate, spacing=spacing)
        source = self._one(x.first, truncate=truncate, spacing=spacing)
        if kind == "encoder":
            return source
        target = self._one(x.second, truncate=truncate, spacing=spacing, target=True)
        return dataclasses.replace(
            source,
            cut=source.cut + target.cut,
            target=shifted_right(target, self.model, self.tokenizer, self._target_limit),
        )

    def _one(self, x: object, *, truncate: bool, spacing: str, target: bool = False) -> Prepared:
        prepared = prepare(
            x,
            self.tokenizer,
            limit=self._target_limit if target else self._limit,
            truncate=truncate,
            vocabulary=self._vocabulary,
            spacing=spacing,
            target=target,
        )
        rows = getattr(self.model.config, "type_vocab_size", None)
        if rows and prepared.token_types and max(prepared.token_types) >= rows:
            raise InputError(
                f"token type {max(prepared.token_types)} is beyond the model's {rows}; "
                "give TokenIds with token_types of zeros, and segments as you like"
            )
        return prepared

    def _bytes_per_square(self) -> int:
        """Rough bytes that one query-key pair takes over all heads of all layers."""
        config = self.model.config
        layers = getattr(config, "num_hidden_layers", None) or 12
        heads = getattr(config, "num_attention_heads", None) or 12
        return 4 * int(layers) * int(heads)

    def _windows(self, items: Iterator[Prepared | None], batch_size: int) -> Iterator[list[Prepared | None]]:
        """Inputs to be sorted and run together. An error comes after the window of those that were read before it."""
        window: list[Prepared | None] = []
        waiting = 0
        try:
            for item in items:
                window.append(item)
                waiting += 0 if item is None else max(_lengths(item)) ** 2 * self._bytes_per_square()
                if len(window) >= WINDOW_BATCHES * batch_size or waiting >= WAITING_BYTES:
                    yield window
                    window, waiting = [], 0
        except Exception:
            yield window
            raise
        if window:
            yield window

    def _batches(
        self, items: Sequence[Prepared], kind: Kind, forward: functools.partial[Batch]
    ) -> Iterator[tuple[Sequence[Prepared], Batch]]:
        """One forward call for all, or one for each length where padding would change the numbers."""
        lengths = [_lengths(p) for p in items]
        if len(set(lengths)) == 1 or self._is_padding_harmless(items, kind, forward):
            yield items, forward(items)
            return
        for length in sorted(set(lengths)):
            group = [p for p, own in zip(items, lengths, strict=True) if own == length]
            yield group, forward(group)

    def _is_padding_harmless(self, items: Sequence[Prepared], kind: Kind, forward: functools.partial[Batch]) -> bool:
        """Tried out once: the shortest input beside the longest, and alone (convolutions, for one, see the padding)."""
        key = f"{kind} gradients" if forward.keywords.get("losses") else kind
        if key not in self._padding_harmless:
            self._padding_harmless[key] = self._try_padding(items, forward)
        return self._padding_harmless[key]

    def _try_padding(self, items: Sequence[Prepared], forward: functools.partial[Batch]) -> bool:
        shortest, longest = min(items, key=_lengths), max(items, key=_lengths)
        alone = forward([shortest])
        try:
            beside = forward([longest, shortest])
        except ModelError:  # it attends to padding; alone it passed the same check
            return False
        tolerance = 1e-5 if self.model.dtype in (torch.float32, torch.float64) else 5e-2
        queries, keys = alone.maps[0].shape[-2:]
        pairs = [(one, other, 1.0) for one, other in zip(alone.maps, beside.maps, strict=True)]
        for one, other in zip(alone.gradients, beside.gradients, strict=True):
            pairs.append((one, other, float(one.abs().max())))
        return all(
            float((one[0] - other[1, :, :queries, :keys]).abs().max()) <= tolerance * size for one, other, size in pairs
        )

    def _forward(
        self,
        items: Sequence[Prepared],
        kind: Kind,
        layers: frozenset[int] | None,
        *,
        vectors: bool = False,
        hidden: bool = False,
        losses: _Losses | None = None,
    ) -> Batch:
        """One forward call on padded inputs: of the model without its head unless there are `losses` of its outputs."""
        model: Any = self.model if losses is None else self._whole
        if self._encoder_decoder and kind == "encoder" and losses is None:
            model = self.model.get_encoder()
        accepted = inspect.signature(model.forward).parameters
        inputs = self._padded(items, accepted)
        more = {"output_hidden_states": True} if hidden else {}
        path = self._paths.get(kind)
        found: list[Differentiated] = []

        def differentiate(outputs: Any, every: Sequence[torch.Tensor]) -> None:
            if losses is not None and every:
                found.append(differentiated(losses(outputs, items), every, architecture=str(self._source.architecture)))

        if path != "output_attentions":
            try:
                outputs, record = _hook.recorded(
                    model if losses else self.model,
                    lambda: model(**inputs, **more),
                    kind=kind if self._encoder_decoder else None,
                    layers=layers,
                    vectors=vectors,
                    ablated=self._ablated,
                    then=losses and (lambda outputs, record: differentiate(outputs, _weights(record))),
                )
            except BertattnError:
                raise
            except (TypeError, ValueError) as error:
                raise ModelError(f"{self._source.architecture} cannot be run on text alone: {error}") from error
            path = "interface" if record.seen and not record.incomplete else "output_attentions"
            absent = [place for place in self._ablated if place[1] >= record.counts.get(place[0], 0)]
            if absent and path == "interface":
                raise SelectionError(
                    f"there is no layer {absent[0][1] + 1} to ablate heads of; "
                    f"{record.counts.get(absent[0][0], 0)} layers ran"
                )
        if self._ablated and path == "output_attentions":
            raise ModelError(
                f"heads of {self._source.architecture} cannot be ablated: "
                "it does not use transformers' AttentionInterface"
            )
        if path == "output_attentions":
            every, outputs = _fallback.run(
                model, inputs, attention=kind, hidden=hidden, then=differentiate if losses else None
            )
        self._paths[kind] = path
        if path == "interface":
            count = record.seen
            numbers = tuple(sorted(record.calls))
            maps = _weights(record)
        else:
            count = len(every)
            numbers = tuple(n for n in range(count) if layers is None or n in layers)
            maps = [every[n] for n in numbers]
        if layers is not None and not layers <= set(range(count)):
            raise SelectionError(
                f"layers {sorted(layers - set(range(count)))} are not here; "
                f"the model has {count} (0 to {count - 1}, counted from 0)"
            )
        if path == "interface" and not self._encoder_decoder:
            config = self.model.config
            stated = (getattr(config, "num_hidden_layers", None) or count) * getattr(config, "inner_group_num", 1)
            if count > stated:
                raise ModelError(
                    f"{self._source.architecture} has {stated} layers but computes attention {count} times: "
                    "which map is whose cannot be told"
                )
        maps = [m.detach() for m in maps]
        if self._causal is None and not self._encoder_decoder and maps[0].shape[-1] > 1:
            self._causal = all(float(m.triu(1).max()) == 0 for m in maps)
            if kind == "decoder":
                self._kind(kind)
        normalized = self._check(maps, items, kind, path)
        if not normalized and not (path == "interface" and record.sinks):
            raise ModelError(
                f"rows of {self._source.architecture}'s attention do not sum to 1, and it has no sinks to tell why"
            )
        if path == "output_attentions":
            maps = [_fallback.widened(m) for m in maps]
        calls = tuple(record.calls[n] for n in numbers) if vectors and path == "interface" else ()
        states = ()
        if hidden:
            names = ("decoder_hidden_states", "hidden_states") if kind != "encoder" else ("hidden_states",)
            states = next((s for s in (getattr(outputs, n, None) for n in names) if s), ())
            if not states:
                raise ModelError(f"{self._source.architecture} returns no hidden states")
        if not found:
            return Batch(maps, numbers, path, normalized, calls, tuple(states))
        slopes = found[0].gradients
        if path == "interface":
            slopes = tuple(_reachable(g, record.calls[n].bias) for n, g in zip(numbers, slopes, strict=True))
        else:
            slopes = tuple(_fallback.reachable(slopes[n], every[n]) for n in numbers)
        return Batch(maps, numbers, path, normalized, gradients=slopes, losses=found[0].losses)

    def _check(self, maps: Sequence[torch.Tensor], items: Sequence[Prepared], kind: Kind, path: str) -> bool:
        """Look at the numbers of the first batch, and of the first padded one: later ones come the same way."""
        lengths = {len(p.ids) for p in items} | {len(p.target.ids) for p in items if p.target}
        state = f"{kind} {'padded' if len(lengths) > 1 else 'even'}"
        if state not in self._checked or path == "output_attentions":
            keys = _mask([p.ids if kind != "decoder" or not p.target else p.target.ids for p in items])
            queries = keys if kind != "cross" else _mask([p.target.ids for p in items if p.target])
            device = maps[0].device
            architecture = str(self._source.architecture)
            self._checked[state] = _fallback.check(maps, queries.to(device), keys.to(device), model=architecture)
        return self._checked[state]

    def _padded(self, items: Sequence[Prepared], accepted: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
        pad = self.tokenizer.pad_token_id
        if pad is None:
            pad = getattr(self.model.config, "pad_token_id", None) or 0
        device = self.model.device
        inputs: dict[str, Any] = {
            "input_ids": _stacked([p.ids for p in items], int(pad)).to(device),
            "attention_mask": _mask([p.ids for p in items]).long().to(device),
        }
        if "token_type_ids" in accepted and any(p.token_types for p in items):
            inputs["token_type_ids"] = _stacked([p.token_types or (0,) * len(p.ids) for p in items], 0).to(device)
        targets = [p.target.ids for p in items if p.target is not None]
        if targets:
            inputs["decoder_input_ids"] = _stacked(targets, int(pad)).to(device)
            inputs["decoder_attention_mask"] = _mask(targets).long().to(device)
        if "use_cache" in accepted:
            inputs["use_cache"] = False
        if "return_dict" in accepted or any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
            inputs["return_dict"] = True
        return inputs

    def _cropped(self, batch: Batch, row: int, item: Prepared, kind: Kind, spacing: str) -> AttentionTensor:
        """The maps of one input without padding."""
        queries = item.target.axis if item.target is not None else item.axis
        keys = item.axis if kind == "cross" else queries
        device = batch.maps[0].device  # layers may be spread over several
        weights = torch.stack([m[row, :, : len(queries), : len(keys)].to(device) for m in batch.maps])
        return AttentionTensor._trusted(
            weights=weights,
            queries=queries,
            keys=keys,
            layers=batch.layers,
            heads=tuple(range(weights.shape[1])),
            measure="attention",
            normalized=batch.normalized,
            annotation=item.annotation,
            source=self._source_of(batch, item, kind, spacing),
        )

    def _source_of(self, batch: Batch, item: Prepared, kind: Kind, spacing: str) -> Source:
        return dataclasses.replace(
            self._source,
            attention=kind if self._encoder_decoder else "decoder" if self._causal else "encoder",
            path=batch.path,
            spacing=spacing if isinstance(item.annotation, Sentence | DocumentWindow) else None,
        )


def _lengths(item: Prepared) -> tuple[int, int]:
    return len(item.ids), 0 if item.target is None else len(item.target.ids)


def _numbered(error: BertattnError, index: int) -> BertattnError:
    return type(error)(f"input {index}: {error}")


def checked_batch_size(batch_size: int) -> int:
    """How many inputs run together.

    Raises:
        InputError: no number from 1.
    """
    size = _arrays.plain(batch_size)
    if type(size) is not int or size < 1:
        raise InputError(f"batch_size must be a whole number, at least 1, but is {size!r}")
    return size


def _weights(record: _hook.Recording) -> list[torch.Tensor]:
    """The maps that were kept, in the order of the layers."""
    return [record.calls[n].weights for n in sorted(record.calls)]


def _reachable(gradients: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The gradients with 0 at keys that the mask keeps from a query, whose weight can be nothing but 0."""
    if bias is None:
        return gradients
    return gradients.masked_fill(bias <= torch.finfo(bias.dtype).min / 2, 0)


def layer_set(layers: int | Iterable[int] | None) -> frozenset[int] | None:
    if layers is None:
        return None
    given = _arrays.plain(layers)
    numbers = tuple(_arrays.plain(n) for n in given) if isinstance(given, Iterable) else (given,)
    if not all(type(n) is int for n in numbers) or isinstance(layers, str):
        raise SelectionError(f"layers must be numbers counted from 0, but is {layers!r:.60}")
    if not numbers:
        raise SelectionError("layers names none; None keeps all")
    return frozenset(numbers)


def _by_length(items: Sequence[Prepared], batch_size: int, bytes_per_square: int) -> Iterator[list[Prepared]]:
    """Batches of similar length, the longest first: if memory is too small, that shows at once."""
    batch: list[Prepared] = []
    for item in sorted(items, key=lambda p: max(_lengths(p)), reverse=True):
        longest = max(_lengths(batch[0] if batch else item))
        if batch and (len(batch) == batch_size or (len(batch) + 1) * longest**2 * bytes_per_square > WAITING_BYTES):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _stacked(rows: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *([pad] * (longest - len(row)))] for row in rows])


def _mask(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    lengths = torch.tensor([len(row) for row in rows])
    return torch.arange(int(lengths.max())) < lengths[:, None]
