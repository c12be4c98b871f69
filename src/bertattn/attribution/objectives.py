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
from bertattn._prepare import Prepared
from bertattn.errors import InputError, ModelError, ValidationError
from bertattn.extract import Extractor

__all__ = ["CausalLM", "Contrastive", "MaskedLM", "own_objective"]

Reduction: TypeAlias = Literal["mean", "sum"]
Objective: TypeAlias = "MaskedLM | CausalLM | Contrastive | Callable[[Any], torch.Tensor]"


@dataclass(frozen=True)
class MaskedLM:
    """The loss of a masked language model: -log p of tokens that it does not see (Devlin et al. 2019).

    Of the ordinary tokens of an input a share, at least one, is chosen at random to be predicted; 80% of them are
    replaced by the mask, 10% by a random token of the vocabulary (special ones excepted), 10% are left as they are. The
    choice depends on the seed and on the input's ids alone: it is the same in any order, batch or shard. Masks that an
    input has already are not predicted, since nobody knows what stood there.

    The model needs its language-modelling head: `Extractor.from_pretrained(name, head="masked_lm")`.

    Args:
        share: of the ordinary tokens that are predicted.
        most: of how many at most for each 128 tokens; None sets no limit.
        seed: of the choice.
        reduction: "mean" over the tokens predicted, which is BERT's own loss (but for the 1e-5 that its code adds to
            their number), or "sum".

    Raises:
        ValidationError: a share outside (0, 1], or another option out of range.

    Examples:
        >>> MaskedLM(seed=1)
        MaskedLM(share=0.15, most=20, seed=1, reduction='mean')
    """

    share: float = 0.15
    most: int | None = 20
    seed: int = 0
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        if not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise ValidationError(f"share is a share of the tokens, above 0 and at most 1, but is {self.share!r}")
        if self.most is not None and (type(self.most) is not int or self.most < 1):
            raise ValidationError(f"most must be a whole number from 1, or None for no limit, but is {self.most!r}")
        if type(self.seed) is not int or self.seed < 0:
            raise ValidationError(f"seed must be a whole number from 0, but is {self.seed!r}")
        _check_reduction(self.reduction)

    def prepared(self, item: Prepared, ext: Extractor) -> Prepared:
        """The input with some tokens hidden, the role "mask" at each token that is to be predicted.

        Raises:
            ModelError: the model or its tokenizer knows no masks.
            InputError: there is no ordinary token.
        """
        mask = getattr(ext.tokenizer, "mask_token_id", None)
        if mask is None or item.target is not None:
            raise ModelError(
                f"MaskedLM hides tokens, but {type(ext.tokenizer).__name__} has no mask token"
                if mask is None
                else "MaskedLM is for encoders; of an encoder-decoder model differentiate CausalLM(), its target's loss"
            )
        roles = item.axis.roles or (None,) * len(item.ids)
        ordinary = [i for i, role in enumerate(roles) if role is None]
        if not ordinary:
            raise InputError("there is no token to hide: all are special ones or masks")
        count = max(1, round(self.share * len(ordinary)))
        if self.most is not None:
            count = min(count, max(1, round(self.most * len(item.ids) / 128)))
        rng = np.random.default_rng([self.seed, *item.ids])
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

    def losses(self, outputs: Any, items: Sequence[Prepared]) -> torch.Tensor:
        """The loss of each input, `[batch]`."""
        return _token_losses(outputs, [item.labels or () for item in items], self.reduction, "MaskedLM", "masked_lm")


@dataclass(frozen=True)
class CausalLM:
    """The loss of a causal language model: -log p of each token, given those before it.

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

    def prepared(self, item: Prepared, ext: Extractor) -> Prepared:
        """The input with the next token as the one to be predicted at each.

        Raises:
            ModelError: the model sees the tokens that it is to predict.
            InputError: there is a single token.
        """
        if item.target is not None:
            return dataclasses.replace(item, target=self.prepared(item.target, ext))
        if ext._causal is False and not ext._encoder_decoder:
            raise ModelError(
                f"CausalLM predicts the next token, which {ext._source.architecture} sees; use MaskedLM() for encoders"
            )
        if len(item.ids) < 2:
            raise InputError("there is a single token, so no next one to predict")
        return dataclasses.replace(item, labels=(*item.ids[1:], None))

    def losses(self, outputs: Any, items: Sequence[Prepared]) -> torch.Tensor:
        """The loss of each input, `[batch]`."""
        labels = [(item.target or item).labels or () for item in items]
        return _token_losses(outputs, labels, self.reduction, "CausalLM", "causal_lm")


@dataclass(frozen=True)
class Contrastive:
    """The loss of a sentence encoder in training: each passage is to be nearer to its partner than to all others.

    A passage's vector is the mean of its last hidden states (or that of its first token), of length 1; two passages are
    as similar as `scale` times the product of their vectors. Given n pairs, the loss of a pair is -log of the softmax
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

    def losses(self, outputs: Any, items: Sequence[Prepared]) -> torch.Tensor:
        """The loss of each pair, `[batch / 2]`, of inputs that are all first passages, then all second ones.

        Raises:
            ModelError: the model gives no hidden states.
        """
        states = getattr(outputs, "last_hidden_state", None)
        if states is None:
            raise ModelError(
                "Contrastive compares hidden states, but the model, with its head, gives none; load it without one: "
                "Extractor.from_pretrained(name)"
            )
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        if self.pooling == "first":
            pooled = states[:, 0]
        else:
            pooled = torch.stack([row[: len(item.ids)].mean(0) for row, item in zip(states, items, strict=True)])
        first, second = functional.normalize(pooled, dim=-1).chunk(2)
        similar = self.scale * first @ second.T
        partners = torch.arange(len(similar), device=similar.device)
        one, other = (functional.cross_entropy(s, partners, reduction="none") for s in (similar, similar.T))
        return (one + other) / 2


def own_objective(ext: Extractor, /) -> MaskedLM | CausalLM | None:
    """The objective that the model's head was trained for; None where it has no language-modelling head.

    Examples:
        >>> from bertattn import Extractor, demo
        >>> own_objective(Extractor.from_pretrained(demo.model_path())) is None
        True
    """
    if getattr(ext._whole, "get_output_embeddings", lambda: None)() is None:
        return None
    masks = getattr(ext.tokenizer, "mask_token_id", None) is not None and not ext._causal
    return MaskedLM() if masks and not ext._encoder_decoder else CausalLM()


def shown(objective: Objective) -> str:
    """The objective in words, for the record."""
    if isinstance(objective, MaskedLM | CausalLM | Contrastive):
        return repr(objective)
    return getattr(objective, "__name__", None) or type(objective).__name__


def prepared_for(objective: Objective, item: Prepared, ext: Extractor) -> Prepared:
    """The input as the objective needs it."""
    return objective.prepared(item, ext) if isinstance(objective, MaskedLM | CausalLM) else item


def losses_of(objective: Objective, outputs: Any, items: Sequence[Prepared]) -> torch.Tensor:
    """The losses `[batch]` of the outputs; of a function of the outputs its one number.

    Raises:
        InputError: the function fails.
        ModelError: the model lacks the head that the objective needs.
    """
    if isinstance(objective, MaskedLM | CausalLM | Contrastive):
        return objective.losses(outputs, items)
    try:
        return objective(outputs)
    except Exception as error:
        raise InputError(f"the objective {shown(objective)} failed: {type(error).__name__}: {error}") from error


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


def _check_reduction(reduction: object) -> None:
    if reduction not in ("mean", "sum"):
        raise ValidationError(f"reduction must be 'mean' or 'sum', but is {reduction!r}")


@functools.lru_cache(maxsize=4)
def _ordinary_ids(tokenizer: Any) -> _arrays.Numpy:
    return np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids)


def _token_losses(
    outputs: Any, labels: Sequence[Sequence[int | None]], reduction: Reduction, name: str, head: str
) -> torch.Tensor:
    """The mean or sum of -log p(label) for each input."""
    logits = getattr(outputs, "logits", None)
    size = max(label for row in labels for label in row if label is not None) + 1
    if logits is None or logits.ndim != 3 or logits.shape[-1] < size:
        found = "none" if logits is None else f"{list(logits.shape)}"
        raise ModelError(
            f"{name} needs a model that gives each token of the vocabulary a score, but the scores of this one are "
            f"{found}; load its language-modelling head: Extractor.from_pretrained(name, head={head!r})"
        )
    places = [(row, i, label) for row, own in enumerate(labels) for i, label in enumerate(own) if label is not None]
    rows, positions, wanted = torch.tensor(places, device=logits.device).T
    chosen = logits[rows, positions]
    each = functional.cross_entropy(
        chosen.to(torch.promote_types(chosen.dtype, torch.float32)), wanted, reduction="none"
    )
    total = each.new_zeros(len(labels)).index_add(0, rows, each)
    return total / rows.bincount(minlength=len(labels)) if reduction == "mean" else total
