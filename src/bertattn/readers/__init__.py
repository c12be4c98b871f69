"""Readers: files in, annotation or text out. Each `read_` has a twin `iter_` that streams."""

from __future__ import annotations

from bertattn.readers.text import iter_text, read_text

__all__ = ["iter_text", "read_text"]
