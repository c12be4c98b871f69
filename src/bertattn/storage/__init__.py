"""Attention tensors in files, and folders that keep long runs and go on after a kill: safetensors, JSON, no pickle."""

from __future__ import annotations

from bertattn.storage._runs import RunFolder
from bertattn.storage._tensors import load, save

__all__ = ["RunFolder", "load", "save"]
