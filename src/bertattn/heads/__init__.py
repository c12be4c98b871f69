"""Single attention heads as classifiers, and the baselines they must beat (Clark et al. 2019, section 4)."""

from __future__ import annotations

from bertattn.heads.baselines import RELEASED_OFFSETS, OffsetBaselines, offset_baselines
from bertattn.heads.controls import shuffled
from bertattn.heads.dependency import RelationScores, predict_governors, score_relations
from bertattn.heads.selection import (
    BestHead,
    BestHeads,
    Comparison,
    Difference,
    HeadTest,
    HeadTests,
    best_heads,
    compare,
    cross_fit,
    head_tests,
    split,
)
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
    "BestHead",
    "BestHeads",
    "Comparison",
    "Difference",
    "HeadTest",
    "HeadTests",
    "OffsetBaselines",
    "RelationScores",
    "TreeScores",
    "best_heads",
    "compare",
    "cross_fit",
    "governor_scores",
    "head_tests",
    "left_branching",
    "maximum_arborescence",
    "maximum_spanning_tree",
    "offset_baselines",
    "predict_governors",
    "right_branching",
    "score_relations",
    "score_trees",
    "shuffled",
    "split",
    "tree_edges",
    "uas",
    "uuas",
]
