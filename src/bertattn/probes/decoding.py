"""From the probabilities of a word's candidates to its governor: each word by itself, or the best tree of all words."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from bertattn import _arrays
from bertattn.errors import ValidationError
from bertattn.heads._options import one_of
from bertattn.heads.trees import maximum_arborescence

__all__ = ["decode"]

Decoding: TypeAlias = Literal["argmax", "tree"]


def decode(log_probabilities: Any, /, *, method: Decoding = "argmax") -> tuple[int, ...]:
    """The governors that a probe predicts for the words of a sentence (Clark et al. 2019, section 5).

        argmax: governor of d = argmax_c log p(c | d)        tree: argmax over trees of sum_d log p(governor of d | d)

    Args:
        log_probabilities: `[word, word + 1]`, NumPy or torch: for each word how likely each candidate is as its
            governor; column 0 is the root, column c word c. Constants added to rows change nothing. -inf forbids a
            candidate.
        method: "argmax" takes each word by itself, as the paper does: there may be several roots or none, circles, and
            words that are their own governors; of equals the first wins, the root before all. "tree" takes the most
            probable tree with exactly one root (see `heads.maximum_arborescence`).

    Returns:
        For each word the number of its governor, counted from 1; 0 for the root.

    Raises:
        ValidationError: another shape, NaN or +inf, a word without any candidate, so many forbidden candidates that
            there is no tree, an unknown method.

    Examples:
        Two words each take the other one, until they have to be a tree:

        >>> p = np.array([[0.1, 0.0, 0.9], [0.3, 0.7, 0.0]])
        >>> with np.errstate(divide="ignore"):
        ...     decode(np.log(p)), decode(np.log(p), method="tree")
        ((2, 1), (2, 0))
    """
    one_of("method", method, get_args(Decoding))
    table = np.array(_arrays.to_numpy(log_probabilities), dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(table) + 1 or not len(table):
        raise ValidationError(
            f"log probabilities must be [word, word + 1], the first column for the root, but have shape {table.shape}"
        )
    best = table.max(axis=1)
    if not np.isfinite(best).all():
        word = int(np.flatnonzero(~np.isfinite(best))[0])
        raise ValidationError(
            f"each word needs a candidate, and no NaN or inf among them, but those of word {word + 1} are at best "
            f"{best[word]}"
        )
    if method == "argmax":
        return tuple(table.argmax(axis=1).tolist())
    np.fill_diagonal(table[:, 1:], -np.inf)
    governors = tuple(table.argmax(axis=1).tolist())
    # The best governor of every word by itself: if that is a tree, no tree is better.
    return governors if _is_tree(governors) else maximum_arborescence(table[:, 1:], root_scores=table[:, 0])


def _is_tree(governors: tuple[int, ...]) -> bool:
    """One root, from which every word is reached."""
    if governors.count(0) != 1:
        return False
    above = np.array((0, *governors))
    for _ in range(len(governors).bit_length()):
        above = above[above]  # twice as far up
    return not above.any()
