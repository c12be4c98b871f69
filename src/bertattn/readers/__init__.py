"""Readers: files in, annotation or text out. Each `read_` has a twin `iter_` that streams."""

from __future__ import annotations

from bertattn.readers._source import Corpus, CorpusStream, Readable, Skipped
from bertattn.readers.conll2012 import iter_conll2012, read_conll2012, to_conll2012, write_conll2012
from bertattn.readers.conllu import iter_conllu, read_conllu, to_conllu, write_conllu
from bertattn.readers.corefud import iter_corefud, read_corefud
from bertattn.readers.dependencies import iter_dependencies, read_dependencies, write_dependencies
from bertattn.readers.spacy import from_spacy
from bertattn.readers.text import iter_text, read_text
from bertattn.readers.vectors import iter_word_vectors, read_word_vectors

__all__ = [
    "Corpus",
    "CorpusStream",
    "Readable",
    "Skipped",
    "from_spacy",
    "iter_conll2012",
    "iter_conllu",
    "iter_corefud",
    "iter_dependencies",
    "iter_text",
    "iter_word_vectors",
    "read_conll2012",
    "read_conllu",
    "read_corefud",
    "read_dependencies",
    "read_text",
    "read_word_vectors",
    "to_conll2012",
    "to_conllu",
    "write_conll2012",
    "write_conllu",
    "write_dependencies",
]
