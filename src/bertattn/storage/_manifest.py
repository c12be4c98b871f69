"""What a run is made of, as JSON can hold it: two runs of one manifest give the same bytes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import json
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import bertattn
from bertattn import _arrays, _prepare
from bertattn.annotation import DocumentWindow, Sentence
from bertattn.errors import InputError
from bertattn.inputs import TextPair, TokenIds
from bertattn.storage._tensors import annotation_to_dict, written_as_json
from bertattn.windowing import Windows

if TYPE_CHECKING:
    from bertattn.extract import Extractor

__all__: list[str] = []

Kind: TypeAlias = Literal["maps", "sums"]

# So many inputs have one hash: few enough to say where a change is.
_HASHED_TOGETHER: Final = 100
_PACKAGES: Final = ("torch", "transformers", "tokenizers", "numpy")
# Where a checkpoint lay, and what wrote it, changes no number; its name is recorded beside.
_BESIDE_THE_POINT: Final = ("_name_or_path", "transformers_version")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What is kept in a folder, and in how many parts.

    Args:
        value: see `described_run`.
        digest: the SHA-256 of its file, by which the shards name the run that they belong to.
    """

    value: Mapping[str, Any]
    digest: str
    kind: Kind = dataclasses.field(init=False)
    inputs: int = dataclasses.field(init=False)
    shard_size: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        if self.value["kind"] not in ("maps", "sums"):
            raise ValueError(f"unknown kind {self.value['kind']!r}")
        inputs, shard_size = self.value["inputs"]["count"], self.value["settings"]["shard_size"]
        if not all(type(number) is int and number >= 1 for number in (inputs, shard_size)):
            raise ValueError(f"{inputs!r} inputs in shards of {shard_size!r} are no whole numbers of at least 1")
        digests = self.value["inputs"]["sha256"]
        if len(digests) != -(-inputs // _HASHED_TOGETHER):  # a number of any size could be written, but not its hashes
            raise ValueError(f"{len(digests)} hashes are not those of {inputs} inputs")
        object.__setattr__(self, "kind", self.value["kind"])
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "shard_size", shard_size)

    @property
    def shards(self) -> range:
        """The numbers of the shards."""
        return range(-(-self.inputs // self.shard_size))

    def span(self, number: int) -> tuple[int, int]:
        """The inputs `[start, end)` of a shard."""
        start = number * self.shard_size
        return start, min(start + self.shard_size, self.inputs)


def described_run(
    kind: Kind, ext: Extractor, inputs: Sequence[Any], options: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the bytes of a run depend on; whatever of it changes, what was kept is of another run."""
    value = {
        "kind": kind,
        "versions": {
            "bertattn": bertattn.__version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
            "python": ".".join(platform.python_version_tuple()[:2]),
        },
        "model": _described_model(ext),
        "settings": {**settings, "extract": options},
        "inputs": {"count": len(inputs), "sha256": _input_digests(inputs)},
    }
    # As it will be read back: tuples as lists, numbers as keys as text.
    plain: dict[str, Any] = json.loads(json.dumps(value, default=_shown_value))
    return plain


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """In words: which entries of two manifests differ, and both their values."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*before, *now)):
            yield from differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield f"{name} was {before!r:.60} and is {now!r:.60}"


def listed_inputs(ext: Extractor, inputs: Any, *, spacing: Any) -> list[Any]:
    """The inputs as a list, windows cut as `ext.extract` would cut them.

    Raises:
        InputError: no inputs, or one instead of many.
    """
    _prepare.check_inputs(inputs)
    if isinstance(inputs, Windows):
        inputs = inputs.bound(ext.tokenizer, limit=ext._limit, spacing=spacing)
    listed = list(inputs)
    if not listed:
        raise InputError("there are no inputs; was an iterator read to its end before? It can be read once")
    return listed


def checked_options(extract: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `ext.extract` or `gradients`, those that were not given too, each in one form only.

    Raises:
        TypeError: an option that it does not have.
        InputError, SelectionError: a value that it does not take.
        ValidationError, ModelError: as `gradients`.
    """
    bound = inspect.signature(extract).bind((), **options)
    bound.apply_defaults()
    apart = ("inputs", "objective", "progress")
    complete = {name: value for name, value in bound.arguments.items() if name not in apart}
    layers = complete["layers"]
    if isinstance(layers, Iterable) and not isinstance(layers, str):
        complete["layers"] = _arrays.plain(list(layers))
    extract((), **complete)
    layers = _arrays.plain(complete["layers"])
    complete["layers"] = [layers] if isinstance(layers, int) else layers and sorted(set(layers))
    complete["batch_size"] = _arrays.plain(complete["batch_size"])
    return complete


def described_function(function: Callable[..., Any]) -> dict[str, Any]:
    """Name, source and given arguments of a function; `functools.partial` is looked through."""
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        arguments, keywords = (*function.args, *arguments), function.keywords | keywords
        function = function.func
    code: Any = function if inspect.isroutine(function) else type(function)
    try:
        source = hashlib.sha256(inspect.getsource(code).encode("utf-8", "surrogatepass")).hexdigest()
    except (OSError, TypeError):  # typed at a prompt, or compiled
        source = None
    return {
        "name": f"{code.__module__}.{code.__qualname__}",
        "source": source,
        "arguments": list(arguments),
        "keywords": dict(sorted(keywords.items())),
    }


def _shown_value(value: Any) -> Any:
    """What JSON does not have, as something to compare."""
    if callable(value):
        return described_function(value)
    if isinstance(value, set | frozenset):  # in an order that changes from process to process
        return sorted(map(repr, value))
    plain = _arrays.plain(value)
    return repr(value) if plain is value else plain


def weights_digest(model: Any) -> str:
    """A hash of every tensor of the state dict, by name."""
    import torch

    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        if torch.is_tensor(values):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
            digest.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _described_model(ext: Extractor) -> dict[str, Any]:
    model: Any = ext.model
    config = model.config.to_dict()
    source = dataclasses.asdict(ext._source)
    return {
        **{name: source[name] for name in ("model", "revision", "architecture", "dtype", "steps")},
        "device": model.device.type,
        "sha256": weights_digest(model),
        "tokenizer_sha256": _tokenizer_digest(ext.tokenizer),
        "ablated": [[side, layer, sorted(heads)] for (side, layer), heads in sorted(ext._ablated.items(), key=str)],
        "config": {name: value for name, value in config.items() if name not in _BESIDE_THE_POINT},
    }


def _tokenizer_digest(tokenizer: Any) -> str:
    if tokenizer.is_fast:
        value = json.loads(tokenizer.backend_tokenizer.to_str())
        for state in ("truncation", "padding"):  # of the last call
            value.pop(state, None)
    else:
        value = sorted(tokenizer.get_vocab().items())
    kind = [type(tokenizer).__name__, {name: str(token) for name, token in tokenizer.special_tokens_map.items()}]
    return hashlib.sha256(json.dumps([kind, value], sort_keys=True).encode()).hexdigest()


def _input_digests(inputs: Sequence[Any]) -> dict[str, str]:
    """The hashes of the inputs, by number of the first one that each is of."""
    digests = {}
    for start in range(0, len(inputs), _HASHED_TOGETHER):
        part = inputs[start : start + _HASHED_TOGETHER]
        with written_as_json():
            text = json.dumps([_plain_input(x) for x in part], allow_nan=False, separators=(",", ":"))
        digests[f"from {start}"] = hashlib.sha256(text.encode()).hexdigest()
    return digests


def _plain_input(x: Any) -> Any:
    if isinstance(x, str):
        return str(x)
    if isinstance(x, Sentence | DocumentWindow):
        return annotation_to_dict(x)
    if isinstance(x, TextPair | TokenIds):
        return {"kind": type(x).__name__} | dataclasses.asdict(x)
    plain = _arrays.plain(x)
    # What is no input is skipped or raises in its turn; here it only has to be told from others.
    return list(plain) if isinstance(plain, tuple) and all(type(v) is int for v in plain) else {"repr": repr(x)}
