"""From spaCy's `Doc`: words, tags, trees, and coreference where a component has found it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bertattn.annotation import Document, Mention, Sentence, head_words
from bertattn.errors import InputError

__all__ = ["from_spacy"]


def from_spacy(doc: Any, /, *, clusters: str = "coref_clusters") -> Document:
    """A spaCy `Doc` as a document.

    Tokens of white space are left out, since no model sees them as words; what hangs on one hangs on its governor.
    Without a parser's or sentencizer's boundaries the document is one sentence; without a parser's tree `governors` and
    `relations` are None. Every group of spans `doc.spans["coref_clusters_1"]`, ... is an entity, as the components of
    spacy-experimental write them; a mention's head word is that of the tree (see `annotation.head_words`).

    Args:
        doc: the `Doc`, of any pipeline.
        clusters: how the names of the groups of spans that are entities begin; a mention's `entity` is the whole name.

    Raises:
        InputError: no `Doc`, one without words, or a tree that crosses the sentence boundaries.

    Examples:
        >>> import spacy
        >>> doc = spacy.blank("en")("Dogs bark.")
        >>> from_spacy(doc).sentences[0].text(spacing="natural")[0]
        'Dogs bark.'
    """
    if not all(hasattr(doc, name) for name in ("has_annotation", "spans", "sents")):
        raise InputError(f"from_spacy takes a spaCy Doc, such as nlp(text), but got {doc!r:.60}")
    has_tree = doc.has_annotation("DEP")
    runs = list(doc.sents) if doc.has_annotation("SENT_START") else [doc[:]]
    numbers: dict[int, int] = {}  # of each token that is a word, its number in the document
    sentences = []
    for run in runs:
        tokens = [token for token in run if not token.is_space]
        if tokens:
            first = len(numbers)
            numbers.update((token.i, first + i) for i, token in enumerate(tokens))
            sentences.append(_sentence(tokens, numbers, first, has_tree=has_tree))
    if not sentences:
        raise InputError("the Doc has no words: its text is empty or only white space")
    mentions = tuple(
        Mention(words[0], words[-1] + 1, name, type=span.label_ or None)
        for name, group in doc.spans.items()
        if name.startswith(clusters)
        for span in group
        if (words := [numbers[token.i] for token in span if token.i in numbers])
    )
    document = Document(tuple(sentences), tuple(sorted(mentions, key=lambda m: (m.start, -m.end, m.entity))))
    heads = head_words(document)
    return replace(
        document, mentions=tuple(replace(m, head=head) for m, head in zip(document.mentions, heads, strict=True))
    )


def _sentence(tokens: list[Any], numbers: dict[int, int], first: int, *, has_tree: bool) -> Sentence:
    last = len(tokens) - 1
    governors = [_governor(token, numbers, first) for token in tokens] if has_tree else None

    def column(name: str) -> list[str | None] | None:
        values = [getattr(token, name) or None for token in tokens]
        return values if any(values) else None

    return Sentence(
        tuple(token.text for token in tokens),
        governors=governors,  # type: ignore[arg-type]  # kept as a tuple
        relations=column("dep_") if has_tree else None,  # type: ignore[arg-type]
        lemmas=column("lemma_"),  # type: ignore[arg-type]
        upos=column("pos_"),  # type: ignore[arg-type]
        xpos=column("tag_"),  # type: ignore[arg-type]
        feats=tuple(token.morph.to_dict() for token in tokens),
        # where a token of white space follows, its own text is the space
        space_after=tuple(
            bool(token.whitespace_) or (i < last and tokens[i + 1].i != token.i + 1) for i, token in enumerate(tokens)
        ),
    )


def _governor(token: Any, numbers: dict[int, int], first: int) -> int:
    at = token
    while True:
        governor = at.head
        if governor.i == at.i:
            return 0
        if governor.i in numbers and numbers[governor.i] >= first:
            return numbers[governor.i] - first + 1
        if not governor.is_space:
            raise InputError(
                f"{token.text!r} hangs on {governor.text!r} in another sentence; set sentence boundaries before parsing"
            )
        at = governor
