"""Padded batches, and one loop that trains a module on them: the same for every probe of governors."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bertattn._arrays import Numpy
from bertattn.errors import ValidationError
from bertattn.probes._data import ProbeData

__all__: list[str] = []

# Numbers of one padded batch: what is more is computed in parts whose gradients add.
PART = 2**21
# Sentences are sorted by length within so many batches, so that little is padded.
POOL = 50


@dataclass(frozen=True)
class Batch:
    """Padded sentences.

    Args:
        lengths: int `[sentence]`.
        maps: `[sentence, 2 + word, 2 + word, layer * head]`, the start token, the end token and the words; or None.
        vectors: `[sentence, word, dimension]`, or None.
        targets: int `[sentence, word]`, the governor, 0 for the root; -1 where there is none or no word.
    """

    lengths: Tensor
    maps: Tensor | None
    vectors: Tensor | None
    targets: Tensor


@dataclass(frozen=True)
class Corpus:
    """The sentences that a module is trained on or applied to, as numbers.

    Args:
        data: their maps.
        targets: for each sentence the governors, -1 where there is none.
        roots: take the square roots of the maps.
        words: for each sentence the rows of `table`, or None where there are no word vectors.
        table: `[row, dimension]`.
    """

    data: ProbeData
    targets: Sequence[Numpy]
    roots: bool = False
    words: Sequence[Numpy] | None = None
    table: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data)

    @functools.cached_property
    def lengths(self) -> list[int]:
        """How many words each sentence has."""
        return [len(sentence) for sentence in self.data.sentences]

    def batch(self, numbers: Sequence[int], like: Tensor) -> Batch:
        """Some sentences, in the precision and on the device of `like`."""
        lengths = [self.lengths[i] for i in numbers]
        longest = max(lengths)
        targets = np.full((len(numbers), longest), -1, dtype=np.int64)
        for row, i in enumerate(numbers):
            targets[row, : lengths[row]] = self.targets[i]
        maps = vectors = None
        if self.data.layers:
            heads = len(self.data.layers) * len(self.data.heads)
            maps = torch.zeros(len(numbers), longest + 2, longest + 2, heads, dtype=like.dtype)
            for row, i in enumerate(numbers):
                one = torch.from_numpy(self.data.maps(i))
                maps[row, : len(one), : len(one)] = one
            maps = maps.to(like.device)
            if self.roots:
                maps = maps.sqrt()
        if self.words is not None and self.table is not None:
            rows = torch.zeros(len(numbers), longest, dtype=torch.long)  # row 0 is the zero vector
            for row, i in enumerate(numbers):
                rows[row, : lengths[row]] = torch.from_numpy(self.words[i])
            vectors = self.table.to(like.dtype)[rows].to(like.device)
        return Batch(
            torch.tensor(lengths, device=like.device), maps, vectors, torch.from_numpy(targets).to(like.device)
        )

    def parts(self, numbers: Sequence[int], per_pair: int) -> Iterator[list[int]]:
        """The sentences in parts of similar length that fit in memory, longest last."""
        part: list[int] = []
        for i in sorted(numbers, key=self.lengths.__getitem__):
            size = (len(part) + 1) * (self.lengths[i] + 2) ** 2 * per_pair
            if part and size > PART:
                yield part
                part = []
            part.append(i)
        if part:
            yield part


@dataclass
class Schedule:
    """How a module is trained; see the estimators' parameters."""

    batch_size: int
    learning_rate: float
    decay: bool
    max_epochs: int
    n_iter_no_change: int
    tol: float
    shuffle: bool
    seed: int
    progress: bool


@dataclass
class History:
    """What training did: losses a word, in nats."""

    training: list[float] = field(default_factory=list)
    development: list[float] = field(default_factory=list)
    best: int = 0


def masked(scores: Tensor, batch: Batch) -> Tensor:
    """The scores `[sentence, word, word + 1]` with -inf at candidates beyond the end of a sentence."""
    candidates = torch.arange(scores.shape[-1], device=scores.device)
    return scores.masked_fill(candidates > batch.lengths[:, None, None], -torch.inf)


def loss_of(scores: Tensor, batch: Batch) -> Tensor:
    """The sum over words of -ln p(governor)."""
    return nn.functional.cross_entropy(
        masked(scores, batch).flatten(0, 1), batch.targets.flatten(), ignore_index=-1, reduction="sum"
    )


def train(
    module: Any, corpus: Corpus, development: Corpus | None, schedule: Schedule, history: History, *, desc: str
) -> None:
    """Train with Adam, in place: afterwards the module has the weights of its best epoch.

    With a development part the best epoch is that with the smallest loss on it, and training stops after
    `n_iter_no_change` epochs that do not improve it by `tol`; without one it is the last. After an exception, Ctrl-C
    among them, the module has the best weights so far, where an epoch was finished.
    """
    from tqdm import tqdm

    optimizer = torch.optim.Adam(module.parameters(), lr=schedule.learning_rate)
    like = next(module.parameters())
    rng = np.random.default_rng(schedule.seed) if schedule.shuffle else None
    words = max(1, int((np.concatenate(corpus.targets) >= 0).sum()))
    best = None
    batches = -(-len(corpus) // schedule.batch_size)
    try:
        with tqdm(total=schedule.max_epochs * batches, disable=not schedule.progress, unit="batch", desc=desc) as bar:
            waited = steps = 0
            for _ in range(schedule.max_epochs):
                total = 0.0
                for numbers in _batches(corpus.lengths, schedule.batch_size, rng):
                    if schedule.decay:
                        for group in optimizer.param_groups:
                            group["lr"] = schedule.learning_rate * (1 - steps / (schedule.max_epochs * batches))
                    steps += 1
                    optimizer.zero_grad(set_to_none=True)
                    for part in corpus.parts(numbers, module.per_pair):
                        batch = corpus.batch(part, like)
                        loss = loss_of(module(batch), batch)
                        (loss / len(numbers)).backward()  # type: ignore[no-untyped-call]
                        total += float(loss.detach())
                    optimizer.step()
                    bar.update()
                if not np.isfinite(total):
                    raise ValidationError(
                        f"training diverged in epoch {len(history.training) + 1} (loss {total}); use a smaller "
                        f"learning_rate than {schedule.learning_rate:g}"
                    )
                history.training.append(total / words)
                if development is None:
                    history.best = len(history.training) - 1
                    best = {name: value.clone() for name, value in module.state_dict().items()}
                    continue
                seen = mean_loss(module, development)
                lowest = min(history.development, default=float("inf"))
                history.development.append(seen)
                waited = 0 if seen < lowest - schedule.tol else waited + 1
                if seen < lowest:
                    history.best = len(history.development) - 1
                    best = {name: value.clone() for name, value in module.state_dict().items()}
                bar.set_postfix(development=f"{seen:.3f}")
                if waited >= schedule.n_iter_no_change:
                    break
    finally:
        if best is not None:
            module.load_state_dict(best)


def mean_loss(module: Any, corpus: Corpus) -> float:
    """The mean over words of -ln p(governor)."""
    like = next(module.parameters())
    total, words = 0.0, 0
    with torch.no_grad():
        for part in corpus.parts(range(len(corpus)), module.per_pair):
            batch = corpus.batch(part, like)
            total += float(loss_of(module(batch), batch))
            words += int((batch.targets >= 0).sum())
    return total / max(1, words)


def log_probabilities(module: Any, corpus: Corpus) -> list[Numpy]:
    """For each sentence ln p(candidate | dependent), float64 `[word, word + 1]`."""
    like = next(module.parameters())
    found: dict[int, Numpy] = {}
    with torch.no_grad():
        for part in corpus.parts(range(len(corpus)), module.per_pair):
            batch = corpus.batch(part, like)
            # In float64, so that a probability near 1 keeps its distance from 1.
            values = masked(module(batch), batch).double().log_softmax(-1).cpu().numpy()
            for row, i in enumerate(part):
                n = corpus.lengths[i]
                found[i] = values[row, :n, : n + 1].copy()
    return [found[i] for i in range(len(corpus))]


def _batches(lengths: Sequence[int], size: int, rng: np.random.Generator | None) -> Iterator[list[int]]:
    """The sentences of one epoch: in their order, or shuffled into batches of similar length."""
    if rng is None:
        for start in range(0, len(lengths), size):
            yield list(range(start, min(start + size, len(lengths))))
        return
    order = rng.permutation(len(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(order), size * POOL):
        pool = sorted(order[start : start + size * POOL].tolist(), key=lambda i: lengths[i])
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    for i in rng.permutation(len(batches)).tolist():
        yield batches[i]


def glorot(shape: Sequence[int], generator: torch.Generator) -> nn.Parameter:
    """Glorot and Bengio's uniform weights for a matrix `[out, in]`; a vector `[in]` counts as a matrix of one row."""
    fan_out, fan_in = (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
    limit = (6 / (fan_in + fan_out)) ** 0.5
    return nn.Parameter((torch.rand(*shape, generator=generator) * 2 - 1) * limit)
