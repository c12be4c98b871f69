"""The head view: lines from queries to keys, a colour for each head (Vig 2019, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from bertattn import _arrays
from bertattn.annotation import DocumentWindow, Sentence, head_words
from bertattn.errors import ValidationError
from bertattn.tensor import AttentionTensor
from bertattn.views._html import HTMLView
from bertattn.views._page import page
from bertattn.views._payload import default_title, model_name, named_tensors, place, weights_payload

__all__ = ["head_view"]

Gold: TypeAlias = Literal["relations", "coreference"]
GOLD: tuple[Gold, ...] = ("relations", "coreference")


def head_view(
    attention: AttentionTensor | Sequence[AttentionTensor] | Mapping[str, AttentionTensor],
    /,
    *,
    layer: int | None = None,
    heads: int | Iterable[int] | None = None,
    gold: Gold | None = None,
    title: str | None = None,
    height: int | None = None,
) -> HTMLView:
    """A page that shows a layer's heads as lines from each query (left) to the keys it attends to (right).

    A line's opacity is its weight (divided by the layer's largest where the rows are no distributions); negative
    weights are dashed; a row without mass has no lines. On the page one chooses the layer and the heads, averages over
    heads and layers, leaves out special tokens, keeps one sentence of a pair (its weights as they are, or divided by
    what is left), goes from tokens to words, holds a token, and saves the picture.

    The page holds every layer and head of `attention`, in 8 bits a weight: 2 MB for 144 heads of 128 tokens, 25 MB for
    512. `attention.select(layers=...)` makes a smaller one. The page computes in this order: words as
    `merge_subwords` makes them, rows divided by what is shown, the mean over heads. So words without special tokens are
    those of `drop_special(merge_subwords(attention))`, and a mean is that of each head's divided rows. What rounding
    may change of a row that is divided is computed for that row and shown; a row that has too little left is left out.

    Args:
        attention: of any measure, unit and shape, `[layer, head, query, key]`; or up to three of one model, such as
            those of its encoder, its decoder and its cross-attention, named by the keys of a mapping or by their
            sources.
        layer: shown first, counted from 0; None shows the first.
        heads: shown first, one or several, counted from 0; None shows all.
        gold: drawn over the attention first: "relations" (dependent to governor, with labels) or "coreference"
            (each mention to the one before it of the same entity, by head words). Both can be chosen on the page where
            the annotation has them.
        title: of the page; None makes one of the first words.
        height: of the frame in a notebook, in whole pixels, at least 100; None for a usual one.

    Raises:
        ValidationError: no attention, too much of it, weights beyond single precision, gold that the annotation does
            not have, or a title or height that is none.
        SelectionError: a layer or head that is not there.

    Examples:
        >>> a = AttentionTensor([[[[0.9, 0.1], [0.5, 0.5]]]], ["hi", "."])
        >>> view = head_view(a)
        >>> "https:" in view.html, view.title
        (False, 'Head view: hi .')
    """
    named = named_tensors("head_view", attention)
    parts, blocks = [], {}
    for number, (name, one) in enumerate(named.items()):
        described, its_blocks = weights_payload(one, part=number)
        parts.append({"name": name, **described, "gold": _gold(one)})
        blocks.update(its_blocks)
    first = next(iter(named.values()))
    if gold is not None:
        _check_gold(gold, first, parts[0]["gold"])
    start = {
        "layer": 0 if layer is None else place("layer", layer, first.layers),
        "heads": None if heads is None else _places(heads, first.heads),
        "gold": gold,
    }
    title = title or default_title("Head view", first)
    model = model_name(first)
    data = {"parts": parts, "start": start, "model": model}
    return HTMLView(page(title, "head", data, blocks), title=title, height=height)


def _places(heads: Any, present: Sequence[int]) -> list[int]:
    heads = _arrays.plain(heads)
    several = heads if isinstance(heads, Iterable) and not isinstance(heads, str) else [heads]
    return list(dict.fromkeys(place("head", head, present) for head in several))


def _check_gold(gold: Any, attention: AttentionTensor, held: Mapping[str, Any]) -> None:
    if gold not in GOLD:
        raise ValidationError(f"gold must be 'relations', 'coreference' or None, but is {gold!r}")
    if gold in held:
        return
    if attention.annotation is None:
        raise ValidationError(f"gold={gold!r} needs an annotation; give the Extractor a Sentence or DocumentWindow")
    if attention.queries.word_ids is None or attention.keys.word_ids is None:
        raise ValidationError(f"gold={gold!r} links words, but the axes do not say which word their tokens belong to")
    what = "governors" if gold == "relations" else "entities mentioned twice"
    raise ValidationError(f"gold={gold!r} needs {what}, but the annotation has none")


def _gold(attention: AttentionTensor) -> dict[str, list[dict[str, Any]]]:
    """Links between words of what the annotation has: from, to (word numbers), label, and for entities their number."""
    annotation = attention.annotation
    if annotation is None or attention.queries.word_ids is None or attention.keys.word_ids is None:
        return {}
    found = {"relations": _relations(annotation)}
    if isinstance(annotation, DocumentWindow):
        found["coreference"] = _coreference(annotation)
    return {name: links for name, links in found.items() if links}


def _relations(annotation: Sentence | DocumentWindow) -> list[dict[str, Any]]:
    """Each dependent to its governor; the root has none."""
    links: list[dict[str, Any]] = []
    first = 0
    for sentence in [annotation] if isinstance(annotation, Sentence) else annotation.sentences:
        relations = sentence.relations or (None,) * len(sentence)
        for word, governor in enumerate(sentence.governors or ()):
            if governor:
                links.append({"from": first + word, "to": first + governor - 1, "label": relations[word] or ""})
        first += len(sentence)
    return links


def _coreference(annotation: DocumentWindow) -> list[dict[str, Any]]:
    """Each mention's head word to that of the nearest mention before it of the same entity."""
    heads = head_words(annotation)
    mentions = sorted(
        (mention.start if head is None else head, mention.entity)
        for mention, head in zip(annotation.mentions, heads, strict=True)
    )
    numbers: dict[str, int] = {}
    links = []
    latest: dict[str, int] = {}
    for word, entity in mentions:
        before = latest.get(entity, word)
        if before != word:
            group = numbers.setdefault(entity, len(numbers))
            links.append({"from": word, "to": before, "label": entity, "group": group})
        latest[entity] = word
    return links
