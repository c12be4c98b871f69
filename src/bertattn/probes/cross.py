"""Held-out scores where there is only one treebank: each part is predicted by a probe trained on the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np

from bertattn import _arrays
from bertattn.annotation import Sentence
from bertattn.errors import ValidationError
from bertattn.heads._options import one_of
from bertattn.probes._data import Governors, ProbeData, prepare
from bertattn.probes._estimator import Probe
from bertattn.probes.scores import GovernorScores, score_governors
from bertattn.tensor import AttentionTensor

__all__ = ["cross_fit"]

By = Literal["document", "sentence"]


def cross_fit(
    probe: Probe,
    X: Iterable[AttentionTensor] | Iterable[Sentence] | ProbeData,
    y: Sequence[Governors] | None = None,
    /,
    *,
    folds: int = 5,
    by: By = "document",
    seed: int = 0,
    progress: bool = False,
) -> GovernorScores:
    """The predictions of probes for sentences that they were not trained on, where there is only one treebank.

    It is dealt out into `folds` parts, and the sentences of each are predicted by a clone of the probe that was fitted
    on the others. Its intervals take the fitted probes as given.

    Args:
        probe: with its parameters; it is not changed, and need not be fitted.
        X: as for `fit`; read once.
        y: as for `fit`.
        folds: how many parts.
        by: what is not torn apart: "document", or "sentence" where there are none.
        seed: of the dealing out.
        progress: show a bar over the parts.

    Raises:
        ValidationError: as `fit`; fewer documents (or sentences) than folds; sentences without documents.

    Examples:
        >>> from bertattn import Extractor, demo, probes, readers
        >>> trees = [s for document in readers.read_corefud(demo.corpus_path()) for s in document.sentences]
        >>> maps = Extractor.from_pretrained(demo.model_path()).extract(trees)
        >>> cross_fit(probes.AttentionProbe(), maps, folds=2).sentences == len(trees)
        True
    """
    from sklearn.base import clone
    from tqdm import tqdm

    if not isinstance(probe, Probe):
        raise ValidationError(f"probe must be one such as AttentionProbe(), but is {probe!r:.60}")
    one_of("by", by, get_args(By))
    data = prepare(X)
    names: list[object] = [s.document for s in data.sentences] if by == "document" else list(range(len(data)))
    if None in names:
        raise ValidationError("some sentences do not say which document they are of; pass by='sentence'")
    folds = _arrays.plain(folds)
    different = list(dict.fromkeys(names))
    if type(folds) is not int or not 2 <= folds <= len(different):
        more = "; pass by='sentence'" if by == "document" else ""
        raise ValidationError(f"folds must be from 2 to the number of {by}s, {len(different)}, but is {folds!r}{more}")
    targets = None if y is None else _arrays.column("y", y, entry="sentence")
    if targets is not None and len(targets) != len(data):
        raise ValidationError(f"y has targets for {len(targets)} sentences but there are {len(data)}")
    order = np.random.default_rng(seed).permutation(len(different))
    fold_of = dict(zip(different, (order % folds).tolist(), strict=True))
    fold = np.array([fold_of[name] for name in names])
    predicted: list[Any] = [None] * len(data)
    for k in tqdm(range(folds), disable=not progress, unit="part", desc="cross_fit"):
        others, held_out = np.flatnonzero(fold != k).tolist(), np.flatnonzero(fold == k).tolist()
        fitted = clone(probe).fit(data.select(others), None if targets is None else [targets[i] for i in others])
        for i, governors in zip(held_out, fitted.predict(data.select(held_out)), strict=True):
            predicted[i] = governors
    return score_governors(data.sentences, predicted, y=targets, name=type(probe).__name__)
