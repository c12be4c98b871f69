"""The probe on attention alone: which combination of heads finds governors (Clark et al. 2019, section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bertattn._arrays import Numpy
from bertattn.annotation import Sentence
from bertattn.probes._estimator import Decay, Decoding, Features, Root
from bertattn.probes.weights import WeighingProbe

if TYPE_CHECKING:
    import torch

__all__ = ["AttentionProbe"]


class AttentionProbe(WeighingProbe):
    """Governors from a weighted sum of all heads' attention, in both directions (Clark et al. 2019, section 5).

        p(c | j) = softmax over c of sum_k w[k] a_k[j, c] + u[k] a_k[c, j]

    for the dependent j, the candidates c (the root and every word, j itself among them) and the heads k. A head has two
    weights, w for attention from the dependent and u for attention to it.

    A scikit-learn estimator: `clone`, `get_params` and `set_params` work. With `**PAPER_SCHEDULE` it is trained as in
    the paper.

    Args:
        root: what stands for the root as a candidate, of which the paper says nothing. "weights": attention to and from
            the token that starts the sequence and the one that ends it, with weights of their own for each head.
            "special", as the released code: the same two tokens with the weights that words have, times two learned
            numbers that all heads share. "constant": a learned constant, for models without special tokens.
        features: "attention" as it is, or "sqrt", its square root, in which small weights count for more.
        batch_size: sentences a step.
        learning_rate: Adam's, at the start.
        decay: "linear" lets the learning rate fall to 0 over `max_epochs`; "none" keeps it.
        max_epochs: the most passes over the sentences.
        early_stopping: stop when the loss on a development part stalls, and keep the weights of the best epoch.
        validation_fraction: how much of the training part that is, where `fit` is given no `development`.
        n_iter_no_change: epochs without an improvement of `tol` nats a word after which training stops.
        tol: see there.
        shuffle: draw the sentences in another order each epoch, those of similar length together.
        decoding: "argmax" (the paper's) or "tree"; see `predict`.
        seed: of the first weights, the order and the development part. Equal seeds give equal weights on one machine.
        device: where to train and predict, such as "cuda"; None means the CPU.
        progress: show a bar while fitting.

    Attributes:
        weight_: float32 `[2, layer * head]`, w and u.
        root_: float32. Of root="weights" `[4 * layer * head]`: of a word's attention to the start token and the end
            token, and of theirs to it. Of "special" `[2]`, what the scores of the two tokens are multiplied with; of
            "constant" `[1]`.

    Examples:
        >>> from bertattn import Extractor, demo, readers
        >>> documents = readers.read_corefud(demo.corpus_path())
        >>> train, held_out = ([s for d in part for s in d.sentences] for part in (documents[:10], documents[10:]))
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> probe = AttentionProbe().fit(ext.extract(train))
        >>> probe.score(ext.extract(held_out)) > 0.4
        True
        >>> probe.from_dependent_.shape  # w, by layer and head
        (6, 12)
    """

    _weights: ClassVar = {"weight": "weight_", "root": "root_"}

    def __init__(
        self,
        *,
        root: Root = "weights",
        features: Features = "attention",
        batch_size: int = 32,
        learning_rate: float = 0.05,
        decay: Decay = "linear",
        max_epochs: int = 10,
        early_stopping: bool = True,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 3,
        tol: float = 1e-4,
        shuffle: bool = True,
        decoding: Decoding = "argmax",
        seed: int = 0,
        device: str | None = None,
        progress: bool = False,
    ) -> None:
        self.root = root
        self.features = features
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.decay = decay
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.shuffle = shuffle
        self.decoding = decoding
        self.seed = seed
        self.device = device
        self.progress = progress

    @property
    def from_dependent_(self) -> Numpy:
        """`[layer, head]`: w, the weight of a dependent's attention to a candidate."""
        return self._by_head(0)

    @property
    def to_dependent_(self) -> Numpy:
        """`[layer, head]`: u, the weight of a candidate's attention to the dependent."""
        return self._by_head(1)

    def _by_head(self, direction: int) -> Numpy:
        self._check_fitted()
        weights: Numpy = self.weight_[direction].reshape(len(self.layers_), len(self.heads_))
        return weights

    def _module(self, heads: int, generator: torch.Generator) -> Any:
        from bertattn.probes._modules import Attention

        return Attention(heads, self.root, generator)

    def _pair_weights(self, sentence: Sentence) -> tuple[Numpy, Numpy]:  # noqa: ARG002 - all words have the same
        weight = self.weight_.astype(np.float64)
        return weight[:, None, None], weight[:, None]

    def _end_weights(self, sentence: Sentence) -> Numpy:  # noqa: ARG002 - all words have the same
        return self.root_.astype(np.float64).reshape(4, 1, -1)
