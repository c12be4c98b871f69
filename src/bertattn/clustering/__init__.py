"""Clusters of heads: how far apart their attention is, and what that shows (Clark et al. 2019, section 6)."""

from __future__ import annotations

from bertattn.clustering.behaviors import BROAD, HeadBehaviors, label_behaviors
from bertattn.clustering.clusters import HeadClusters, cluster_heads
from bertattn.clustering.distances import HeadDistances, NearHead, head_distances
from bertattn.clustering.divergence import js_divergence, pairwise_js
from bertattn.clustering.embedding import HeadEmbedding, embed_heads
from bertattn.clustering.geometry import GeometryComparison, LayerCloseness, compare_geometries, layer_closeness

__all__ = [
    "BROAD",
    "GeometryComparison",
    "HeadBehaviors",
    "HeadClusters",
    "HeadDistances",
    "HeadEmbedding",
    "LayerCloseness",
    "NearHead",
    "cluster_heads",
    "compare_geometries",
    "embed_heads",
    "head_distances",
    "js_divergence",
    "label_behaviors",
    "layer_closeness",
    "pairwise_js",
]
