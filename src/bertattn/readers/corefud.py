"""Coreference in CoNLL-U files: the `Entity=` of CorefUD and Universal Anaphora, as in GUM."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NoReturn
from urllib.parse import unquote

from bertattn.annotation import Document, Mention, head_words
from bertattn.errors import ReaderError
from bertattn.readers._brackets import Brackets, Chunk, Found, spans, split
from bertattn.readers._source import Corpus, CorpusStream, OnError, Readable, parsed
from bertattn.readers.conllu import MISC, Block, Row, parse, sentence_blocks

__all__ = ["iter_corefud", "read_corefud"]

_NUMERIC: Final = re.compile(r"&#([0-9]{1,7});")
# The first field by its older name; its numbers begin anew in each document.
_LOCAL: Final = "GRP"


def read_corefud(source: Readable, /, *, on_error: OnError = "raise") -> Corpus[Document]:
    """The documents of a CoNLL-U file with their trees and coreference.

    A document starts at `# newdoc`. Its sentences are those of `read_conllu`; its mentions come from `Entity=` in MISC,
    with the fields that `# global.Entity` declares, in any order. They are sorted by first word, longer ones first.

    - `entity` is the first field. Where it is declared as `GRP`, its numbers are those of the document, and its name is
      put before them: "GUM_news_iodine/3".
    - `type` is the field `etype`; `head` the word that the field `head` names, otherwise that of the tree (see
      `annotation.head_words`).
    - The other fields stand in the mention's `metadata`, absent ones left out; `%2C` and `&#44;` become "," there, but
      for the field `other`, which has a list of its own in it.
    - A mention in parts (`e1[1/2]`) has `parts`. Empty nodes are no words: a mention of nothing else is left out, and
      `metadata["mentions_without_words"]` of the document counts them.

    Args:
        source: as for `read_conllu`.
        on_error: "raise", or "skip" to leave malformed documents out and list them in `.skipped`.

    Returns:
        A tuple of documents with `.skipped`.

    Raises:
        ReaderError: as `read_conllu`, and brackets without partner, fields that were not declared, a head word
            outside its mention.

    Examples:
        >>> import io
        >>> file = io.StringIO(
        ...     "# newdoc id = d\\n"
        ...     "# global.Entity = eid-etype-head-other\\n"
        ...     "1\\tBig\\t_\\t_\\t_\\t_\\t2\\tamod\\t_\\tEntity=(e1-animal-2\\n"
        ...     "2\\tdogs\\t_\\t_\\t_\\t_\\t3\\tnsubj\\t_\\tEntity=e1)\\n"
        ...     "3\\tbark\\t_\\t_\\t_\\t_\\t0\\troot\\t_\\t_\\n\\n"
        ... )
        >>> (document,) = read_corefud(file)
        >>> document.mentions
        (Mention(start=0, end=2, entity='e1', head=1, type='animal', metadata={}, parts=()),)
    """
    return iter_corefud(source, on_error=on_error).collect()


def iter_corefud(source: Readable, /, *, on_error: OnError = "raise") -> CorpusStream[Document]:
    """As `read_corefud`, one document at a time; `.skipped` of the stream grows as it is read."""
    return parsed(_documents(source), _document, on_error=on_error, name=lambda blocks: blocks[0].document)


def _documents(source: Readable) -> Iterator[list[Block]]:
    blocks: list[Block] = []
    for block in sentence_blocks(source):
        if blocks and (block.newdoc or block.lines.path != blocks[0].lines.path):
            yield blocks
            blocks = []
        blocks.append(block)
    if blocks:
        yield blocks


def _document(blocks: list[Block]) -> Document:
    name, path = blocks[0].document, blocks[0].lines.path
    sentences = []
    brackets = Brackets(path)
    words: list[int | None] = []  # for each node in the order of the file its word number; None for an empty node
    count = 0
    for block in blocks:
        sentence, rows = parse(block)
        sentences.append(sentence)
        fields = block.entity_fields.split("-") if block.entity_fields else None
        for row in rows:
            chunks = _chunks(path, row, fields)
            if "-" in row.columns[0]:
                if chunks:
                    _fail(path, chunks[0], "Entity on the line of a multiword token; expected on those of its words")
                continue
            brackets.take(len(words), chunks)
            words.append(None if "." in row.columns[0] else count)
            count += words[-1] is not None
    all_mentions = [_mention(found, words, name, path) for found in brackets.end()]
    mentions = tuple(mention for mention in all_mentions if mention is not None)
    without = len(all_mentions) - len(mentions)
    document = Document(
        tuple(sentences), mentions, id=name, metadata={"mentions_without_words": without} if without else {}
    )
    heads = head_words(document)
    return replace(document, mentions=tuple(replace(m, head=h) for m, h in zip(mentions, heads, strict=True)))


def _chunks(path: str, row: Row, fields: list[str] | None) -> list[Chunk]:
    misc = row.columns[MISC]
    if "Entity=" not in misc:
        return []
    column = sum(len(value) + 1 for value in row.columns[:MISC]) + 1
    chunks: list[Chunk] = []
    for item in misc.split("|"):
        if item.startswith("Entity="):
            *brackets, (end, rest) = split(item, len("Entity="))
            chunks += [_chunk(path, text, fields, row.line, column + start) for start, text in brackets]
            if rest:
                raise ReaderError(
                    f"Entity holds {rest!r:.60}; expected brackets as in (e1-person, e1) or (e1)",
                    path=path,
                    line=row.line,
                    column=column + end,
                )
        column += len(item) + 1
    return chunks


def _chunk(path: str, text: str, fields: list[str] | None, line: int, column: int) -> Chunk:
    opens, closes = text[0] == "(", text[-1] == ")"
    inner = text.strip("()")
    if not opens:
        return Chunk(inner, opens, closes, line, column)
    if not fields:
        raise ReaderError(
            "Entity before a line '# global.Entity = eid-etype-head-other'; expected one that declares its fields",
            path=path,
            line=line,
            column=column,
        )
    name, *values = inner.split("-", len(fields) - 1)  # what exceeds the fields is the last one's
    if not name:
        raise ReaderError(f"{text!r:.60} names no entity; expected (e1-person", path=path, line=line, column=column)
    return Chunk(name, opens, closes, line, column, dict(zip(fields, [name, *values], strict=False)))


def _mention(found: Found, words: list[int | None], document: str | None, path: str) -> Mention | None:
    nodes = found.nodes
    inside = [word for node in nodes if (word := words[node]) is not None]
    if not inside:
        return None
    first, *rest = found.chunk.fields
    head = None
    declared = found.chunk.fields.get("head", "")
    if "head" in rest and declared:
        number = int(declared) if declared.isascii() and declared.isdigit() and len(declared) < 9 else 0
        if not 1 <= number <= len(nodes):
            _fail(
                path,
                found.chunk,
                f"head {declared!r:.40} of a mention of {len(nodes)} words; expected 1 to {len(nodes)}",
            )
        head = words[nodes[number - 1]]
    parts = tuple(spans(inside))
    return Mention(
        inside[0],
        inside[-1] + 1,
        f"{document}/{found.entity}" if first == _LOCAL and document is not None else found.entity,
        head,
        found.chunk.fields.get("etype") or None,
        {
            key: value if key == "other" else _unescaped(value)
            for key, value in found.chunk.fields.items()
            if key in rest and key not in ("head", "etype") and value
        },
        parts if len(parts) > 1 else (),
    )


def _unescaped(value: str) -> str:
    """`%2C` and `&#44;` as ","; what is no such escape stays as it is."""
    if "%" in value:
        with contextlib.suppress(UnicodeDecodeError):
            value = unquote(value, errors="strict")
    return _NUMERIC.sub(_character, value) if "&#" in value else value


def _character(match: re.Match[str]) -> str:
    number = int(match[1])
    return chr(number) if number < 0xD800 or 0xDFFF < number <= 0x10FFFF else match[0]


def _fail(path: str, chunk: Chunk, message: str) -> NoReturn:
    raise ReaderError(message, path=path, line=chunk.line, column=chunk.column)
