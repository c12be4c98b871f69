"""What is differentiated: a number that a model makes of an input, by which its attention is judged."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from bertattn import _arrays
from bertattn._functions import described
from bertattn._prepare import Prepared
from bertattn.errors import InputError, ModelError, ValidationError
from bertattn.extract import Extractor

__all__ = ["CausalLM", "Contrastive", "MaskedLM", "own_objective"]

Reduction: TypeAlias = Literal["mean", "sum"]
Objective: TypeAlias = "MaskedLM | CausalLM | Contrastive | Callable[[Any], torch.Tensor]"


@dataclass(frozen=True)
class MaskedLM:
    """The loss of a masked language model: -ln p of tokens that it does not see, in nats (Devlin et al. 2019).

    Of the ordinary tokens of an input a share, at least one, is chosen at random to be predicted; 80 % of them are
    replaced by the mask, 10 % by a random token of the vocabulary (special ones excepted), 10 % are left as they are.
    The choice depends on the seed and on the input's ids alone: it is the same in any order, batch or shard. Masks that
    an input has already are not predicted, since nobody knows what stood there.

    The model needs its language-modelling head: `Extractor.from_pretrained(name, head="masked_lm")`.

    Args:
        share: of the ordinary tokens that are predicted.
        most: how many at most for each 128 tokens, such as the 20 of BERT's code, which 15 % never reach; None sets no
            limit.
        seed: of the choice.
        reduction: "mean" over the tokens predicted, which is BERT's own loss (but for the 1e-5 that its code adds to
            their number), or "sum".

    Raises:
        ValidationError: a share outside (0, 1], or another option out of range.

    Examples:
        >>> MaskedLM(seed=1)
        MaskedLM(share=0.15, most=None, seed=1, reduction='mean')
    """

    share: float = 0.15
    most: int | None = None
    seed: int = 0
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        for name in ("share", "most", "seed"):
            object.__setattr__(self, name, _arrays.plain(getattr(self, name)))
        if type(self.share) not in (int, float) or not 0 < self.share <= 1:
            raise ValidationError(f"share is a share of the tokens, above 0 and at most 1, but is {self.share!r}")
        if self.most is not None and (type(self.most) is not int or self.most < 1):
            raise ValidationError(f"most must be a whole number from 1, or None for no limit, but is {self.most!r}")
        if type(self.seed) is not int or self.seed < 0:
            raise ValidationError(f"seed must be a whole number from 0, but is {self.seed!r}")
        _check_reduction(self.reduction)


@dataclass(frozen=True)
class CausalLM:
    """The loss of a causal language model: -ln p of each token, in nats, given those before it.

    Nothing is predicted at the last token, and nothing predicts the first. Of an encoder-decoder model it is the loss
    of the target, given the source.

    The model needs its language-modelling head: `Extractor.from_pretrained(name, head="causal_lm")`.

    Args:
        reduction: "mean" over the tokens predicted, or "sum".

    Raises:
        ValidationError: another reduction.
    """

    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        _check_reduction(self.reduction)


@dataclass(frozen=True)
class Contrastive:
    """The loss of a sentence encoder in training: each passage is to be nearer to its partner than to all others.

    A passage's vector is the mean of its last hidden states (or that of its first token), of length 1; two passages are
    as similar as `scale` times the product of their vectors. Given n pairs, the loss of a pair is -ln of the softmax
    of its own similarity among those of its first passage to all n second ones, and among those of its second passage
    to all n first ones, averaged: what all-MiniLM-L6-v2 was trained with. It needs no head, and inputs that are
    `TextPair`s: each is read as two inputs, which give two maps.

    The pairs of a batch are compared with each other, in the order of the inputs, so numbers depend on `batch_size`.

    Args:
        scale: of the similarities.
        pooling: "mean" over all tokens, special ones included, or "first", the first token's.

    Raises:
        ValidationError: a scale that is not above 0, or another pooling.
    """

    scale: float = 20.0
    pooling: Literal["mean", "first"] = "mean"

    def __post_init__(self) -> None:
        if not isinstance(self.scale, int | float) or not 0 < self.scale < float("inf"):
            raise ValidationError(f"scale must be a number above 0, but is {self.scale!r}")
        if self.pooling not in ("mean", "first"):
            raise ValidationError(f"pooling must be 'mean' or 'first', but is {self.pooling!r}")


def own_objective(ext: Extractor, /) -> MaskedLM | CausalLM | None:
    """The objective that the model's head was trained for; None where it has no language-modelling head.

    Raises:
        ModelError: no extractor.

    Examples:
        >>> from bertattn import Extractor, demo
        >>> own_objective(Extractor.from_pretrained(demo.model_path())) is None
        True
    """
    check_extractor(ext)
    if getattr(ext._whole, "get_output_embeddings", lambda: None)() is None:
        return None
    masks = getattr(ext.tokenizer, "mask_token_id", None) is not None and not ext._causal
    return MaskedLM() if masks and not ext._encoder_decoder else CausalLM()


def shown(objective: Objective) -> str:
    """The objective in words, for the record; a function by its name and what tells it from others of that name."""
    if isinstance(objective, MaskedLM | CausalLM | Contrastive):
        return repr(objective)
    return described(objective)


def check_model(objective: Objective, ext: Extractor) -> None:
    """Refuse an objective that does not fit what the model is, as far as that is known.

    Raises:
        ModelError: it does not fit.
    """
    architecture = ext._source.architecture
    if isinstance(objective, CausalLM) and ext._causal is False and not ext._encoder_decoder:
        raise ModelError(f"CausalLM predicts the next token, which {architecture} sees; use MaskedLM() for encoders")
    if isinstance(objective, MaskedLM) and ext._causal and not ext._encoder_decoder:
        raise ModelError(
            f"MaskedLM predicts a hidden token from both sides, but {architecture} sees only one; use CausalLM() for "
            "decoders"
        )
    if isinstance(objective, Contrastive) and ext._encoder_decoder:
        raise ModelError(
            f"Contrastive compares passages by an encoder, but {architecture} is an encoder-decoder model; give an "
            "Extractor of its encoder alone"
        )


def prepared_for(objective: Objective, item: Prepared, ext: Extractor) -> Prepared:
    """The input as the objective needs it.

    Raises:
        ModelError: the model or its tokenizer knows no masks, where some are needed.
        InputError: there is nothing to predict.
    """
    if isinstance(objective, MaskedLM):
        return _masked(objective, item, ext)
    return _shifted(item) if isinstance(objective, CausalLM) else item


def losses_of(objective: Objective, outputs: Any, items: Sequence[Prepared]) -> torch.Tensor:
    """The losses `[batch]` of the outputs; of a function of the outputs its one number.

    Raises:
        InputError: the function fails, or gives no single number.
        ModelError: the model lacks the head that the objective needs.
    """
    if isinstance(objective, MaskedLM):
        return _token_losses(outputs, [item.labels or () for item in items], objective, head="masked_lm")
    if isinstance(objective, CausalLM):
        labels = [(item.target or item).labels or () for item in items]
        return _token_losses(outputs, labels, objective, head="causal_lm")
    if isinstance(objective, Contrastive):
        return _contrasted(objective, outputs, items)
    name = getattr(objective, "__name__", type(objective).__name__)
    try:
        value = objective(outputs)
    except Exception as error:
        raise InputError(f"the objective {name} failed: {type(error).__name__}: {error}") from error
    if isinstance(value, torch.Tensor) and value.numel() != 1:
        raise InputError(
            f"the objective {name} must give one number, a tensor of shape (), but gave shape {tuple(value.shape)}"
        )
    return value


def checked_objective(objective: object) -> Objective:
    """The objective, if it is one.

    Raises:
        ValidationError: it is none.
    """
    if isinstance(objective, type) and issubclass(objective, MaskedLM | CausalLM | Contrastive):
        raise ValidationError(f"objective is the class {objective.__name__}; write {objective.__name__}()")
    if not callable(objective) and not isinstance(objective, MaskedLM | CausalLM | Contrastive):
        raise ValidationError(
            "objective must be MaskedLM(), CausalLM(), Contrastive() or a function that makes a number of the model's "
            f"outputs, but is {objective!r:.60}"
        )
    return objective


def check_extractor(ext: object) -> None:
    """Refuse what is none.

    Raises:
        ModelError: it is none.
    """
    if not isinstance(ext, Extractor):
        raise ModelError(
            f"ext must be an Extractor, but is {type(ext).__name__}; make one: Extractor(model, tokenizer)"
        )


def _check_reduction(reduction: object) -> None:
    if reduction not in ("mean", "sum"):
        raise ValidationError(f"reduction must be 'mean' or 'sum', but is {reduction!r}")


@functools.lru_cache(maxsize=4)
def _ordinary_ids(tokenizer: Any) -> _arrays.Numpy:
    return np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)


def _masked(objective: MaskedLM, item: Prepared, ext: Extractor) -> Prepared:
    """The input with some tokens hidden, and the role "mask" at each token that is to be predicted."""
    mask = getattr(ext.tokenizer, "mask_token_id", None)
    if item.target is not None:
        raise ModelError(
            "MaskedLM is for encoders; of an encoder-decoder model differentiate CausalLM(), its target's loss"
        )
    if mask is None:
        raise ModelError(f"MaskedLM hides tokens, but {type(ext.tokenizer).__name__} has no mask token")
    roles = item.axis.roles or (None,) * len(item.ids)
    ordinary = [i for i, role in enumerate(roles) if role is None]
    if not ordinary:
        raise InputError("there is no token to hide: all are special ones or masks")
    count = max(1, round(objective.share * len(ordinary)))
    if objective.most is not None:
        count = min(count, max(1, round(objective.most * len(item.ids) / 128)))
    rng = np.random.default_rng([objective.seed, *item.ids])
    chosen = sorted(rng.permutation(ordinary)[:count].tolist())
    fates = rng.random(count)
    others = rng.choice(_ordinary_ids(ext.tokenizer), count)
    ids, tokens, hidden = list(item.ids), list(item.axis.tokens), list(roles)
    labels: list[int | None] = [None] * len(ids)
    for place, fate, other in zip(chosen, fates, others.tolist(), strict=True):
        labels[place] = ids[place]
        hidden[place] = "mask"
        if fate < 0.9:
            ids[place] = mask if fate < 0.8 else other
            tokens[place] = str(ext.tokenizer.convert_ids_to_tokens(ids[place]))
    axis = dataclasses.replace(item.axis, tokens=tuple(tokens), roles=tuple(hidden))
    return dataclasses.replace(item, ids=tuple(ids), axis=axis, labels=tuple(labels))


def _shifted(item: Prepared) -> Prepared:
    """The input with the next token as the one to be predicted at each; a target has them from its being shifted."""
    if item.target is not None:
        return item
    if len(item.ids) < 2:
        raise InputError("there is a single token, so no next one to predict")
    return dataclasses.replace(item, labels=(*item.ids[1:], None))


def _contrasted(objective: Contrastive, outputs: Any, items: Sequence[Prepared]) -> torch.Tensor:
    """The loss of each pair, `[batch / 2]`, of inputs that are all first passages, then all second ones."""
    states = getattr(outputs, "last_hidden_state", None)
    if states is None:
        raise ModelError(
            "Contrastive compares hidden states, but the model, with its head, gives none; load it without one: "
            "Extractor.from_pretrained(name)"
        )
    states = states.to(torch.promote_types(states.dtype, torch.float32))
    if objective.pooling == "first":
        pooled = states[:, 0]
    else:
        pooled = torch.stack([row[: len(item.ids)].mean(0) for row, item in zip(states, items, strict=True)])
    first, second = functional.normalize(pooled, dim=-1).chunk(2)
    similar = objective.scale * first @ second.T
    partners = torch.arange(len(similar), device=similar.device)
    one, other = (functional.cross_entropy(s, partners, reduction="none") for s in (similar, similar.T))
    return (one + other) / 2


def _token_losses(
    outputs: Any, labels: Sequence[Sequence[int | None]], objective: MaskedLM | CausalLM, *, head: str
) -> torch.Tensor:
    """The mean or sum of -ln p(label) for each input, `[batch]`."""
    logits = getattr(outputs, "logits", None)
    size = max(label for row in labels for label in row if label is not None) + 1
    if logits is None or logits.ndim != 3 or logits.shape[-1] < size:
        found = "none" if logits is None else f"{list(logits.shape)}"
        raise ModelError(
            f"{type(objective).__name__} needs a model that gives each token of the vocabulary a score, but the scores "
            f"of this one are {found}; load its language-modelling head: Extractor.from_pretrained(name, head={head!r})"
        )
    places = [(row, i, label) for row, own in enumerate(labels) for i, label in enumerate(own) if label is not None]
    rows, positions, wanted = torch.tensor(places, device=logits.device).T
    chosen = logits[rows, positions]
    each = functional.cross_entropy(
        chosen.to(torch.promote_types(chosen.dtype, torch.float32)), wanted, reduction="none"
    )
    total = each.new_zeros(len(labels)).index_add(0, rows, each)
    return total / rows.bincount(minlength=len(labels)) if objective.reduction == "mean" else total
