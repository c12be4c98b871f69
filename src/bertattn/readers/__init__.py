"""Readers: files in, annotation or text out. Each `read_` has a twin `iter_` that streams."""

from __future__ import annotations

from bertattn.readers._source import Corpus, CorpusStream, Skipped
from bertattn.readers.conllu import iter_conllu, read_conllu, to_conllu, write_conllu
from bertattn.readers.corefud import iter_corefud, read_corefud
from bertattn.readers.text import iter_text, read_text

__all__ = [
    "Corpus",
    "CorpusStream",
    "Skipped",
    "iter_conllu",
    "iter_corefud",
    "iter_text",
    "read_conllu",
    "read_corefud",
    "read_text",
    "to_conllu",
    "write_conllu",
]
