"""The figures of Clark et al. 2019 for any model: matplotlib axes in, the same axes out.

A function of one panel takes `ax` and returns it; a function of several panels takes `figure` and returns it. Without
either they make a new pyplot figure. Nothing is shown, and no setting of matplotlib is changed.
"""

from __future__ import annotations

from bertattn.figures._drawing import COLORS as COLORS
from bertattn.figures._drawing import MARKERS as MARKERS
from bertattn.figures._drawing import OTHER as OTHER
from bertattn.figures._drawing import save
from bertattn.figures.attention import attention_lines, attention_matrix, example_heads, head_grid
from bertattn.figures.clusters import cluster_figure, dendrogram, distance_matrix, head_map
from bertattn.figures.gradients import gradient_figure
from bertattn.figures.heads import (
    coreference_at_work,
    coreference_figure,
    coreference_lines,
    heads_at_work,
    relation_figure,
    relation_lines,
)
from bertattn.figures.probes import probe_figure, probe_weights
from bertattn.figures.surface import by_layer, entropy_figure, special_token_figure

__all__ = [
    "attention_lines",
    "attention_matrix",
    "by_layer",
    "cluster_figure",
    "coreference_at_work",
    "coreference_figure",
    "coreference_lines",
    "dendrogram",
    "distance_matrix",
    "entropy_figure",
    "example_heads",
    "gradient_figure",
    "head_grid",
    "head_map",
    "heads_at_work",
    "probe_figure",
    "probe_weights",
    "relation_figure",
    "relation_lines",
    "save",
    "special_token_figure",
]
