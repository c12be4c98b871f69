"""The probes that know words too: attention with word vectors, and distance with word vectors as its baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from bertattn._arrays import Numpy
from bertattn.annotation import Sentence
from bertattn.heads._options import one_of
from bertattn.probes._estimator import Decay, Decoding, Features, Probe, Root, RootVector, check_vectors
from bertattn.probes.weights import WeighingProbe
from bertattn.vectors import WordVectors

if TYPE_CHECKING:
    import torch

__all__ = ["AttentionWordsProbe", "DistanceWordsProbe"]


class AttentionWordsProbe(WeighingProbe):
    """As `AttentionProbe`, with weights that depend on the two words (Clark et al. 2019, section 5).

        p(c | j) = softmax over c of sum_k W[k] a_k[j, c] + U[k] a_k[c, j],  [W; U] = M [e[j]; e[c]]

    for the dependent j, the candidates c (the root, whose vector is zero, and every word, j itself among them), the
    heads k and word vectors e: so a head may count where a determiner looks for a noun, and not elsewhere.

    Args:
        vectors: of words, such as GloVe's; unknown words are zero vectors. They are not trained.
        bias: add a constant to each weight, as the released code does; the paper's formula has none.
        root_vector: "aligned" pairs each candidate with its own vector, and the root with zeros. "released" repeats a
            mistake of the released code, which puts the zeros last: the root (of root="special") is paired with the
            first word's vector, each word with that of the word after it, and the last with zeros, which stand for the
            dependent too.
        root: what stands for the root as a candidate, of which the paper says nothing. "weights": attention to and from
            the token that starts the sequence and the one that ends it, with weights of their own for each head.
            "special", as the released code: the same two tokens with the weights that words have, times two learned
            numbers that all heads share. "constant": a learned constant, for models without special tokens.
        features: "attention" as it is, or "sqrt", its square root, in which small weights count for more.
        standardize: train on vectors divided by their root mean square, so that `learning_rate` suits vectors of any
            length. The weights are given for the vectors as they are.
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
        weight_: float32 `[2 * layer * head, 2 * dimension]`, M: rows for W, then for U; columns for the dependent's
            vector, then for the candidate's.
        bias_: float32 `[2 * layer * head]`, or None.
        root_: as in `AttentionProbe`, but with root="weights" `[4 * layer * head, dimension]`, times the dependent's
            vector, with one more column for the bias where there is one.

    Examples:
        >>> from bertattn import Extractor, demo, readers
        >>> trees = [s for document in readers.read_corefud(demo.corpus_path()) for s in document.sentences]
        >>> ext = Extractor.from_pretrained(demo.model_path())
        >>> vectors = ext.word_vectors(trees, dimension=20)  # or readers.read_word_vectors("glove.6B.100d.txt", trees)
        >>> probe = AttentionWordsProbe(vectors).fit(ext.extract(trees))
        >>> probe.score(ext.extract(trees)) > 0.5  # on what it was trained on
        True
    """

    vectors: WordVectors
    _weights: ClassVar = {"weight": "weight_", "bias": "bias_", "root": "root_"}

    def __init__(
        self,
        vectors: WordVectors,
        *,
        bias: bool = False,
        root_vector: RootVector = "aligned",
        root: Root = "weights",
        features: Features = "attention",
        standardize: bool = True,
        batch_size: int = 32,
        learning_rate: float = 0.01,
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
        self.vectors = vectors
        self.bias = bias
        self.root_vector = root_vector
        self.root = root
        self.features = features
        self.standardize = standardize
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

    def _module(self, heads: int, generator: torch.Generator) -> Any:
        from bertattn.probes._modules import AttentionWords

        return AttentionWords(
            heads,
            self.vectors.dimension,
            self.root,
            generator,
            bias=self.bias,
            released=self.root_vector == "released",
        )

    def _check_options(self) -> None:
        super()._check_options()
        check_vectors(self.vectors, type(self).__name__)
        one_of("root_vector", self.root_vector, get_args(RootVector))
        one_of("bias", self.bias, (False, True))

    def _pair_weights(self, sentence: Sentence) -> tuple[Numpy, Numpy]:
        vectors = self.vectors.lookup(sentence.words).astype(np.float64)
        zeros = np.zeros_like(vectors[:1])
        candidates = np.concatenate([vectors, zeros] if self.root_vector == "released" else [zeros, vectors])
        of_dependent, of_candidate = np.split(self.weight_.astype(np.float64), 2, axis=1)
        dependent = np.repeat((vectors @ of_dependent.T)[:, None], len(candidates), axis=1)
        if self.root_vector == "released":  # its zeros stand for the dependent too
            dependent[:, -1] = 0
        weights = dependent + candidates @ of_candidate.T + (0.0 if self.bias_ is None else self.bias_)
        by_direction = weights.reshape(*weights.shape[:2], 2, -1).transpose(2, 0, 1, 3)
        return by_direction[:, :, 1:], by_direction[:, :, 0]

    def _end_weights(self, sentence: Sentence) -> Numpy:
        vectors = self.vectors.lookup(sentence.words).astype(np.float64)
        root = self.root_.astype(np.float64)
        weights = vectors @ root[:, : vectors.shape[1]].T + (0.0 if self.bias_ is None else root[:, -1])
        return weights.reshape(len(vectors), 4, -1).swapaxes(0, 1)


class DistanceWordsProbe(Probe):
    """Governors from word vectors and the distance of two words, without attention: the baseline "distance + GloVe".

        p(c | j) = softmax over c of v . tanh(A [d; e[j]; e[c]] + b) + b'

    with 256 hidden units and 8 numbers d about the candidate: how far it stands to the right, and to the left, in parts
    of the sentence's length; whether it stands 0, 1 or 2 words away, on which side; whether it is the root.

    Args:
        vectors: of words, such as GloVe's; unknown words are zero vectors. They are not trained.
        root_vector: "aligned" pairs each candidate with its own vector, and the root with zeros. "released" repeats a
            mistake of the released code, which puts the zeros last: the root (of root="special") is paired with the
            first word's vector, each word with that of the word after it, and the last with zeros, which stand for the
            dependent too.
        standardize: train on vectors divided by their root mean square, so that `learning_rate` suits vectors of any
            length. The weights are given for the vectors as they are.
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

    `fit` and `predict` take sentences as well as maps.

    Attributes:
        hidden_weight_: float32 `[256, 8 + 2 * dimension]`, A.
        hidden_bias_: float32 `[256]`, b.
        output_weight_, output_bias_: float32 `[256]` and `[1]`, v and b'.

    Examples:
        >>> from bertattn import Extractor, demo, readers
        >>> trees = [s for document in readers.read_corefud(demo.corpus_path()) for s in document.sentences]
        >>> vectors = Extractor.from_pretrained(demo.model_path()).word_vectors(trees, dimension=20)
        >>> probe = DistanceWordsProbe(vectors, max_epochs=5).fit(trees)
        >>> len(probe.predict(trees)) == len(trees)
        True
    """

    vectors: WordVectors
    _reads_maps = False
    _weights: ClassVar = {
        "hidden_weight": "hidden_weight_",
        "hidden_bias": "hidden_bias_",
        "output_weight": "output_weight_",
        "output_bias": "output_bias_",
    }

    def __init__(
        self,
        vectors: WordVectors,
        *,
        root_vector: RootVector = "aligned",
        standardize: bool = True,
        batch_size: int = 32,
        learning_rate: float = 0.002,
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
        self.vectors = vectors
        self.root_vector = root_vector
        self.standardize = standardize
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

    def _module(self, heads: int, generator: torch.Generator) -> Any:  # noqa: ARG002 - it reads none
        from bertattn.probes._modules import DistanceWords

        return DistanceWords(self.vectors.dimension, generator, released=self.root_vector == "released")

    def _check_options(self) -> None:
        super()._check_options()
        check_vectors(self.vectors, type(self).__name__)
        one_of("root_vector", self.root_vector, get_args(RootVector))
