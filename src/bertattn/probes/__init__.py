"""Trained probes: what all heads know together (Clark et al. 2019, section 5), with baselines and controls."""

from __future__ import annotations

from bertattn.heads.trees import right_branching
from bertattn.probes._data import ProbeData, prepare
from bertattn.probes._estimator import PAPER_SCHEDULE
from bertattn.probes.attention import AttentionProbe
from bertattn.probes.controls import Selectivity, control_ceiling, control_governors, selectivity
from bertattn.probes.cross import cross_fit
from bertattn.probes.decoding import decode
from bertattn.probes.description import FRACTIONS, CodedBlock, DescriptionLength, online_description_length
from bertattn.probes.scores import GovernorDifference, GovernorScores, RelationDifference, score_governors
from bertattn.probes.structural import StructuralProbe
from bertattn.probes.structure import PUNCTUATION, StructuralScores, score_structure, tree_distances
from bertattn.probes.table import ProbeRow, ProbeTable, probe_table
from bertattn.probes.weights import HeadWeight, HeadWeights
from bertattn.probes.words import AttentionWordsProbe, DistanceWordsProbe

__all__ = [
    "FRACTIONS",
    "PAPER_SCHEDULE",
    "PUNCTUATION",
    "AttentionProbe",
    "AttentionWordsProbe",
    "CodedBlock",
    "DescriptionLength",
    "DistanceWordsProbe",
    "GovernorDifference",
    "GovernorScores",
    "HeadWeight",
    "HeadWeights",
    "ProbeData",
    "ProbeRow",
    "ProbeTable",
    "RelationDifference",
    "Selectivity",
    "StructuralProbe",
    "StructuralScores",
    "control_ceiling",
    "control_governors",
    "cross_fit",
    "decode",
    "online_description_length",
    "prepare",
    "probe_table",
    "right_branching",
    "score_governors",
    "score_structure",
    "selectivity",
    "tree_distances",
]
