"""Single attention heads as classifiers, and the baselines they must beat (Clark et al. 2019, section 4)."""

from __future__ import annotations

from bertattn.heads.baselines import RELEASED_OFFSETS, OffsetBaselines, offset_baselines

__all__ = ["RELEASED_OFFSETS", "OffsetBaselines", "offset_baselines"]
