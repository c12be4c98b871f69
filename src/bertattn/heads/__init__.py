"""Single attention heads as classifiers, and the baselines they must beat (Clark et al. 2019, section 4)."""

from __future__ import annotations

from bertattn.heads.antecedents import CoreferenceBaselines, coreference_baselines
from bertattn.heads.baselines import RELEASED_OFFSETS, OffsetBaselines, offset_baselines
from bertattn.heads.bias import BiasScores, BiasTest, BiasTests, ScoredPair, score_bias
from bertattn.heads.controls import shuffled
from bertattn.heads.coreference import CoreferenceScores, score_coreference
from bertattn.heads.coreference_selection import (
    CoreferenceRow,
    CoreferenceTable,
    HeadAgainst,
    coreference_cross_fit,
    coreference_table,
    coreference_tests,
)
from bertattn.heads.dependency import RelationScores, predict_governors, score_relations
from bertattn.heads.mentions import (
    MENTION_TYPES,
    MentionAttributes,
    MentionHeads,
    mention_attributes,
    mention_heads,
    mention_types,
)
from bertattn.heads.pairs import MinimalPair, MinimalPairs, minimal_pairs, template_pairs
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
    "MENTION_TYPES",
    "RELEASED_OFFSETS",
    "MentionAttributes",
    "BestHead",
    "BestHeads",
    "BiasScores",
    "BiasTest",
    "BiasTests",
    "Comparison",
    "CoreferenceBaselines",
    "CoreferenceRow",
    "CoreferenceScores",
    "CoreferenceTable",
    "Difference",
    "HeadAgainst",
    "HeadTest",
    "HeadTests",
    "MentionHeads",
    "MinimalPair",
    "MinimalPairs",
    "OffsetBaselines",
    "RelationScores",
    "ScoredPair",
    "TreeScores",
    "best_heads",
    "compare",
    "coreference_baselines",
    "coreference_cross_fit",
    "coreference_table",
    "coreference_tests",
    "cross_fit",
    "governor_scores",
    "head_tests",
    "left_branching",
    "maximum_arborescence",
    "maximum_spanning_tree",
    "mention_attributes",
    "mention_heads",
    "mention_types",
    "minimal_pairs",
    "offset_baselines",
    "predict_governors",
    "right_branching",
    "score_bias",
    "score_coreference",
    "score_relations",
    "score_trees",
    "shuffled",
    "split",
    "template_pairs",
    "tree_edges",
    "uas",
    "uuas",
]
