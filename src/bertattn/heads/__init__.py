"""Single attention heads as classifiers, and the baselines they must beat (Clark et al. 2019, section 4)."""

from __future__ import annotations

from bertattn.heads.baselines import RELEASED_OFFSETS, OffsetBaselines, offset_baselines
from bertattn.heads.controls import shuffled
from bertattn.heads.trees import (
    TreeScores,
    governor_scores,
    left_branching,
    maximum_arborescence,
    maximum_spanning_tree,
    right_branching,
    score_trees,
    tree_edges,
    uas,
    uuas,
)

__all__ = [
    "RELEASED_OFFSETS",
    "OffsetBaselines",
    "TreeScores",
    "governor_scores",
    "left_branching",
    "maximum_arborescence",
    "maximum_spanning_tree",
    "offset_baselines",
    "right_branching",
    "score_trees",
    "shuffled",
    "tree_edges",
    "uas",
    "uuas",
]
