"""Changed models: heads switched off, and copies with random weights as controls."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from bertattn.errors import ModelError, SelectionError, ValidationError
from bertattn.extract import Extractor
from bertattn.tensor import HeadName, format_head, parse_head

__all__ = ["ablate", "randomize"]

Kind: TypeAlias = Literal["encoder", "decoder", "cross"]
ModelOrExtractor = TypeVar("ModelOrExtractor", PreTrainedModel, Extractor)


@contextlib.contextmanager
def ablate(ext: Extractor, heads: Iterable[HeadName], /, *, attention: Kind | None = None) -> Iterator[Extractor]:
    """Switch heads off for the length of a `with` block: what they read is 0 to the rest of the model.

    The output of a head, sum_j a[i, j] v[j], is set to 0 before the layer's output projection, as Michel, Levy and
    Neubig (2019) do; that equals weights of 0. The maps of an ablated head itself are given as they were computed;
    those of later layers change. Blocks may be nested. What is read of a stream after the block is not ablated. Not for
    one extractor in several threads.

    Args:
        ext: the extractor, which the block changes and puts back.
        heads: their names, such as ["8-10"], counted from 1, or pairs (layer, head), counted from 0.
        attention: of an encoder-decoder model which of its attentions: "encoder" (what None means), "decoder" or
            "cross".

    Yields:
        The extractor. The source of its maps names the heads that are off, so that their results cannot be added to
        those of the whole model by mistake.

    Raises:
        SelectionError: no heads; or, in the first call, heads that the model does not have.
        ModelError: in the first call, a model without the AttentionInterface.

    Examples:
        >>> from bertattn import Extractor, demo
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> whole = ext("The cat sat on the mat.")
        >>> with ablate(ext, ["2-9"]):
        ...     without = ext("The cat sat on the mat.")
        >>> [bool((whole.weights[layer] == without.weights[layer]).all()) for layer in range(6)]
        [True, True, False, False, False, False]
    """
    if isinstance(heads, str):
        raise SelectionError(f"heads must be a list of names, but is {heads!r}; write [{heads!r}]")
    places = [parse_head(head) for head in heads]
    if not places:
        raise SelectionError("heads is empty; name at least one, such as ['8-10']")
    kind = ext._kind(attention) if ext._encoder_decoder else None
    before = ext._ablated, ext._source
    now = dict(ext._ablated)
    for layer, head in places:
        now[kind, layer] = now.get((kind, layer), frozenset()) | {head}
    names = ", ".join(format_head(layer, head) for layer, head in sorted(set(places)))
    which = "" if kind is None else f"{kind} "
    source = ext._source
    ext._ablated = now
    ext._source = dataclasses.replace(
        source, model=f"{source.model or source.architecture} ({which}heads {names} ablated)"
    )
    try:
        yield ext
    finally:
        ext._ablated, ext._source = before


def randomize(
    model: ModelOrExtractor, /, *, keep: Literal["embeddings", "nothing"] = "embeddings", seed: int
) -> ModelOrExtractor:
    """A copy of a model with random weights: the untrained control of Clark et al. (2019), section 5.

    New weights are drawn as the model's own class draws them before training: in BERT normal with the standard
    deviation `initializer_range` (0.02; the original code truncates at two deviations, transformers does not), norms 1
    and 0, biases 0. They are drawn on the CPU, so that one seed gives the same weights on every device. Weights that
    are tied stay tied. The model given, and torch's global random state, are left as they were.

    Args:
        model: a transformers model, with its task head or without, or an `Extractor`.
        keep: "embeddings" keeps what makes the input of the first layer: the tables of words, positions and token types
            and the norm over them. The paper keeps words and positions and does not say what it does with the rest.
            Tables of relative positions, which act inside the attention (T5, MPNet, DeBERTa), are drawn anew. So are
            the linear maps that ALBERT and ELECTRA put after their embeddings. "nothing" draws everything anew.
        seed: of the random numbers. One draw is one sample: report several seeds, at least 3.

    Returns:
        What was given: a model, or an `Extractor` whose source names what was done, so that its results cannot be added
        to those of the trained model by mistake.

    Raises:
        ModelError: not such a model, one that is quantized or spread over several devices, or one whose class does not
            say how some weight is drawn.
        ValidationError: another `keep`, or a seed that is no whole number from 0.

    Examples:
        >>> from bertattn import Extractor, demo
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> untrained = randomize(ext, seed=0)
        >>> word = "embeddings.word_embeddings.weight"
        >>> bool((untrained.model.get_parameter(word) == ext.model.get_parameter(word)).all())
        True
        >>> untrained.model.get_parameter("encoder.layer.0.attention.self.query.weight").std().item()
        0.0199...
    """
    if keep not in ("embeddings", "nothing"):
        raise ValidationError(f"keep must be 'embeddings' or 'nothing', but is {keep!r}")
    if type(seed) is not int or seed < 0:
        raise ValidationError(f"seed must be a whole number from 0, but is {seed!r}")
    if isinstance(model, Extractor):
        source = model._source
        return Extractor(
            randomize(model._whole, keep=keep, seed=seed),
            model.tokenizer,
            name=f"{source.model or source.architecture} (random weights, keep={keep!r}, seed={seed})",
            revision=source.revision,
        )
    if not isinstance(model, PreTrainedModel):
        raise ModelError(
            f"model must be a transformers model or an Extractor, but is {type(model).__name__}; of a wrapper or a "
            "pipeline give Extractor(wrapper, tokenizer)"
        )
    device = _device(model)
    changed: Any = copy.deepcopy(model).cpu()  # the types of its methods hide behind decorators
    kept = _input_embeddings(changed) if keep == "embeddings" else []
    values = [parameter.detach().clone() for parameter in kept]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for module in changed.modules():
            module.__dict__.pop("_is_hf_initialized", None)  # else transformers passes it over
        for parameter in changed.parameters():
            parameter.fill_(torch.nan)  # so that a weight which nobody draws is seen below
        changed.initialize_weights()
        for parameter, value in zip(kept, values, strict=True):
            parameter.copy_(value)
    left = [name for name, parameter in changed.named_parameters() if bool(parameter.isnan().any())]
    if left:
        raise ModelError(
            f"{type(model).__name__} does not say how {len(left)} of its weights are drawn, such as {left[0]}: the "
            "_init_weights of its class leaves them out"
        )
    result: PreTrainedModel = changed.to(device)
    return result


def _device(model: PreTrainedModel) -> torch.device:
    devices = sorted({str(parameter.device) for parameter in model.parameters()})
    if len(devices) > 1 or devices == ["meta"]:
        raise ModelError(f"the weights are on {', '.join(devices)}; load the model on one device to randomize it")
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise ModelError(f"{name} holds {parameter.dtype}: quantized weights cannot be drawn anew")
    return torch.device(devices[0])


def _input_embeddings(model: PreTrainedModel) -> list[nn.Parameter]:
    """The parameters that make the input of the first layer, each once."""
    found: dict[int, nn.Parameter] = {}
    for path, module in model.named_modules():
        name = path.rpartition(".")[2]
        table = isinstance(module, nn.Embedding) and not name.startswith(("relative", "rel_"))
        norm = "Norm" in type(module).__name__ and "embed" in path
        if table or norm:
            found |= {id(parameter): parameter for parameter in module.parameters(recurse=False)}
    return list(found.values())
