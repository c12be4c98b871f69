"""Attention tensors in files, and folders that keep long runs and go on after a kill: safetensors, JSON, no pickle."""

from __future__ import annotations

from bertattn.storage._runs import RunFolder

# The tests of tensors in files know these two by the names they had when storage was one module.
from bertattn.storage._tensors import annotation_from_dict as _annotation_from_dict  # noqa: F401
from bertattn.storage._tensors import annotation_to_dict as _annotation_to_dict  # noqa: F401
from bertattn.storage._tensors import load, save

__all__ = ["RunFolder", "load", "save"]
