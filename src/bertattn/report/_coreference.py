"""The section on coreference: single heads as antecedent selectors (Clark et al. 2019, section 4.3)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bertattn import figures
from bertattn.errors import AlignmentError, TooLongError
from bertattn.heads import (
    CoreferenceScores,
    CoreferenceTable,
    HeadAgainst,
    coreference_cross_fit,
    coreference_table,
    coreference_tests,
    score_coreference,
)
from bertattn.report import _published, _views
from bertattn.report._parts import (
    EXAMPLES_FOUND,
    EXAMPLES_MISSED,
    FOLDS,
    LEVEL,
    RESAMPLES,
    SEED,
    Picture,
    Results,
    Shown,
    Table,
    blank,
    bounds,
    given,
)
from bertattn.windowing import windows

if TYPE_CHECKING:
    from bertattn.annotation import Document, DocumentWindow
    from bertattn.extract import Extractor
    from bertattn.tensor import AttentionTensor

__all__ = ["examples", "section", "settings"]

# Tokens of a piece of Figure 5, special ones included: more cannot be read.
EXAMPLE_TOKENS: Final = 24
OPTIONS: Final[dict[str, Any]] = {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED}
SYSTEMS: Final = {
    "chance": "chance",
    "nearest": "nearest mention",
    "same_head": "same head word",
    "rule_based": "rule-based",
}
CANDIDATES: Final = {
    "words_other": "every other word",
    "words_prev": "every word before it",
    "mentions_prev": "mentions before it",
    "mentions_other": "all other mentions",
}
RULE: Final = (
    "A head predicts the antecedent of a mention: the word that the mention's head word attends to most "
    "(from_mention), or the word that attends most to it (to_mention). It is right if that is the head word of an "
    "antecedent, an earlier mention of the same entity. Special tokens are left out."
)


def settings(scores: CoreferenceScores) -> dict[str, Any]:
    """What the section was made with, for the record."""
    return {
        "directions": list(scores.directions),
        "candidates": scores.candidates,
        "interval": {"method": "bootstrap over documents", "level": LEVEL, "resamples": RESAMPLES, "seed": SEED},
        "held_out": {"folds": _folds(scores), "by": "document", "seed": SEED},
        "example_tokens": EXAMPLE_TOKENS,
    }


def examples(
    scores: CoreferenceScores, documents: Sequence[Document], ext: Extractor, *, batch_size: int
) -> tuple[AttentionTensor, ...]:
    """The maps of a few short pieces of the documents, read alone, in which the best head finds an antecedent, or none.

    A piece is one or more whole sentences. At most one of either kind comes from each document, and none that ends
    without a punctuation mark, as headings do, if there is another.
    """
    head, direction = _best(scores)
    chosen: dict[bool, list[AttentionTensor]] = {True: [], False: []}
    wanted = {True: EXAMPLES_FOUND, False: EXAMPLES_MISSED}
    for document in documents:
        open_kinds = {kind for kind, count in wanted.items() if len(chosen[kind]) < count}
        pieces = sorted(_pieces(document, ext), key=lambda piece: piece.words[-1].isalnum())
        if not open_kinds or not pieces:
            continue
        for one in ext.extract(pieces, on_too_long="skip", on_error="skip", batch_size=batch_size):
            with contextlib.suppress(AlignmentError):
                cases = score_coreference([one]).cases("all", head, direction=direction)
                found = any(case["found"] for case in cases)
                if cases and found in open_kinds:
                    chosen[found].append(one)
                    open_kinds.remove(found)
            if not open_kinds:
                break
    return (*chosen[True], *chosen[False])


def _pieces(document: Document, ext: Extractor) -> Iterator[DocumentWindow]:
    """Whole sentences, few enough to be drawn, in which an entity is named twice."""
    whole = set(document.sentences)
    tokens = min(EXAMPLE_TOKENS, ext._limit or EXAMPLE_TOKENS)
    with contextlib.suppress(TooLongError):  # a word that fills a piece; what stands before it may do
        for piece in windows([document], max_tokens=tokens, which="all", tokenizer=ext.tokenizer):
            entities = [mention.entity for mention in piece.mentions]
            if len(set(entities)) < len(entities) and whole.issuperset(piece.sentences):
                yield piece


def _best(scores: CoreferenceScores) -> tuple[tuple[int, int], Any]:
    """The head that `coreference_table` picks, counted from 0, and its direction."""
    found = scores.correct()
    direction, layer, head = np.unravel_index(found.argmax(), found.shape)
    return (scores.layers[layer], scores.heads[head]), scores.directions[direction]


def _folds(scores: CoreferenceScores) -> int | None:
    """How many parts the documents are dealt into; None where mentions of fewer than two documents are scored."""
    documents = int((scores.by_document()[1] > 0).sum())
    return min(FOLDS, documents) if documents > 1 else None


def _held_out(scores: CoreferenceScores) -> CoreferenceTable | None:
    folds = _folds(scores)
    if folds is None:
        return None
    return coreference_cross_fit(scores.select(scores.by_document()[1] > 0), folds=folds, **OPTIONS)


def section(results: Results) -> Shown:
    """Table 2 of the paper with its figure, the four kinds of candidates, and heads at work."""
    scores = given(results.coreference)
    table, held_out = coreference_table(scores, **OPTIONS), _held_out(scores)
    pictures = [
        Picture(
            "table2",
            figures.coreference_figure(table, figure=blank()),
            f"How many mentions of each type have their antecedent found by {_named(table)} and by the baselines, with "
            "95% intervals over documents. The head is picked on the same mentions, and chooses among "
            f"{CANDIDATES[table.candidates]}; the baselines choose among earlier mentions.",
            "Accuracy of the best head and of the baselines, by type of mention.",
            numbers=("table2.csv",),
        )
    ]
    if results.coreference_examples:
        head, direction = _best(scores)
        drawn = figures.coreference_at_work(
            results.coreference_examples, head, direction=direction, candidates=scores.candidates, figure=blank()
        )
        deciding = "from a mention's head word (left)" if direction == "from_mention" else "to a mention's head word"
        pictures.append(
            Picture(
                "figure5_coreference",
                drawn,
                f"Head {table.head} on short pieces of the documents, read alone. The attention {deciding} is blue "
                "where, special tokens aside, the most of it leads to the head word of an antecedent, and orange where "
                "it does not; all other attention is grey. (As Figure 5 of Clark et al. 2019.)",
                f"Attention of head {table.head} in short pieces of text, as lines between words.",
                wide=True,
                numbers=tuple(
                    f"figure5_coreference_{i}.safetensors" for i in range(1, len(results.coreference_examples) + 1)
                ),
            )
        )
    types = list(dict.fromkeys(row.type for row in table.rows))
    numbers = ", ".join(f"{name} {table.row('head', name).count:,}" for name in types)
    model = _published.bert_base(scores)
    modes, rows = _modes(scores), _rows(table, held_out, types, paper=model is not None)
    if model is not None:
        rows.append(_of_their_head(scores, types))
    piece = next(iter(results.coreference_examples), None)
    links, pages = _views.head_pages(
        [(row["head"], "coreference", piece) for row in ({"head": table.head}, *modes)], gold="coreference"
    )
    shares = ("accuracy", "low", "high", "held out", "chance")
    return Shown(
        text=(RULE, _choices(table, modes), _picking(held_out, _folds(scores)), _counts(scores)),
        pictures=tuple(pictures),
        tables=(
            Table(
                "table2",
                f"Mentions whose antecedent is found, by type (Table 2 of Clark et al. 2019). Counted: {numbers}."
                + ("" if model is None else f" {_published.notes(model, 'table2')}"),
                rows,
                percent=(
                    *(column for name in types for column in _columns(name)),
                    *(f"{name} paper" for name in types),
                ),
                bars=tuple(types),
                precision=_published.SIGNED,
                aside=tuple(column for name in types for column in _columns(name)[1:]),
                links={"system": [links[0] if row["system"] == _named(table) else None for row in rows]},
            ),
            Table(
                "coreference_candidates",
                "The best head by what it chooses from, which the paper leaves open: "
                f"{'; '.join(f'{name}, {meaning}' for name, meaning in CANDIDATES.items())}. {_views.opens(links)}",
                modes,
                percent=shares,
                bars=("accuracy",),
                links={"head": links[1:]},
            ),
        ),
        highlights=(_highlight(table, held_out, min(test.adjusted_p for test in coreference_tests(scores).rows)),),
        views=pages,
    )


def _columns(mention_type: str) -> tuple[str, str, str]:
    return mention_type, f"{mention_type} low", f"{mention_type} high"


def _rows(
    table: CoreferenceTable, held_out: CoreferenceTable | None, types: Sequence[str], *, paper: bool
) -> list[dict[str, Any]]:
    shown = [(name, table, system) for system, name in SYSTEMS.items()]
    shown.append((_named(table), table, "head"))
    if held_out is not None:
        shown.append(("head, held out", held_out, "head"))
    rows = []
    for name, source, system in shown:
        cells: dict[str, Any] = {"system": name}
        for one in types:
            row = source.row(system, one)
            cells |= dict(zip(_columns(one), (row.accuracy, row.low, row.high), strict=True))
            if paper:
                theirs = system if source is table else "held out"
                cells |= _published.coreference_columns(theirs, one, row.accuracy)
        rows.append(cells)
    return rows


def _of_their_head(scores: CoreferenceScores, types: Sequence[str]) -> dict[str, Any]:
    """The row of the head that the paper names; picked elsewhere, and without an interval here."""
    name, found = _published.coreference_head(scores, types)
    cells: dict[str, Any] = {"system": f"head {name}, the paper's"}
    for one, accuracy in zip(types, found, strict=True):
        cells |= dict(zip(_columns(one), (accuracy, float("nan"), float("nan")), strict=True))
        cells |= _published.coreference_columns("head", one, accuracy)
    return cells


def _modes(scores: CoreferenceScores) -> list[dict[str, Any]]:
    rows = []
    for name in CANDIDATES:
        counted = scores.counting(candidates=name)  # type: ignore[arg-type]
        table, held_out = coreference_table(counted, **OPTIONS), _held_out(counted)
        best = table.row("head")
        rows.append(
            {
                "candidates": name,
                "head": table.head,
                "direction": table.direction,
                "accuracy": best.accuracy,
                **bounds(best.low, best.high),
                "held out": float("nan") if held_out is None else held_out.row("head").accuracy,
                "chance": table.row("chance").accuracy,
            }
        )
    return rows


def _choices(table: CoreferenceTable, modes: Sequence[dict[str, Any]]) -> str:
    chance = {row["candidates"]: row["chance"] for row in modes}
    return (
        f"Heads choose among {CANDIDATES[table.candidates]} of the window (candidates {table.candidates}), of which "
        f"{chance[table.candidates]:.1%} are right by chance. The baselines know where mentions are, and choose among "
        f"those before the one in question, of which {chance['mentions_prev']:.1%} are right: an easier task. In the "
        "last table mentions_prev is the same choice for heads."
    )


def _picking(held_out: CoreferenceTable | None, folds: int | None) -> str:
    text = "The best head is picked on the documents that it is scored on, as in the paper. "
    if held_out is None:
        text += "No head can be picked on other documents, since mentions of one alone are scored. "
    else:
        text += f"“Held out” parts the documents in {folds}, and scores each part by the head picked on the others. "
    return text + "Intervals are by bootstrap over documents; they do not cover the picking."


def _counts(scores: CoreferenceScores) -> str:
    b = scores.baselines
    return (
        f"Of {b.mentions:,} mentions in {b.windows:,} windows of {len(b.documents):,} documents {len(b):,} are scored: "
        "those with an antecedent in their window. Mentions that cross an edge of a window and are left out: "
        f"{b.dropped_mentions:,}. Mentions with the head word of another one of their entity, which is then no "
        f"antecedent: {b.same_head_mentions:,}. Head words guessed from the words, where the file says none: "
        f"{b.heads_by_fallback:,}."
    )


def _highlight(table: CoreferenceTable, held_out: CoreferenceTable | None, p: float) -> str:
    """What the best head finds, and whether that is more than same-head-word finds, if possible on other documents.

    `p` is the smallest of all heads against same-head-word, adjusted for their number: the interval of what is held
    out is too short where the folds pick different heads.
    """
    best, source = table.row("head"), held_out or table
    against, baseline = source.against("same_head"), source.row("same_head")
    says = (
        f"{_named(table)[0].upper()}{_named(table)[1:]} finds an antecedent of {best.accuracy:.1%} of {best.count:,} "
        f"mentions ({_interval(best.low, best.high, '.1%')}). "
    )
    if held_out is None:
        says += f"Picked on these same documents, it {_verdict(against, p, plural=False)}"
    else:
        found = held_out.row("head").accuracy
        says += f"Picked on other documents, heads find {found:.1%}; they {_verdict(against, p, plural=True)}"
    points = 100 * np.array([against.difference, against.low, against.high])
    return (
        f"{says} the nearest mention with the same head word, {baseline.accuracy:.1%} (difference {points[0]:+z.1f} "
        f"points, {_interval(points[1], points[2], '+z.1f')}; p = {p:.4f} for the best of all heads at once); "
        "the nearest mention is right in "
        f"{table.row('nearest').accuracy:.1%}, the rules in {table.row('rule_based').accuracy:.1%}, chance in "
        f"{table.row('chance').accuracy:.1%}."
    )


def _verdict(against: HeadAgainst, p: float, /, *, plural: bool) -> str:
    """By the interval of the difference and the test; without them nothing is clear. "Fewer" is not said."""
    if against.low > 0 and p <= 1 - LEVEL:
        return f"{'find' if plural else 'finds'} more than"
    return f"{'do' if plural else 'does'} not {'clearly ' if against.difference > 0 else ''}find more than"


def _interval(low: float, high: float, form: str) -> str:
    return "no interval: one document" if np.isnan(low) else f"95% CI {low:{form}} to {high:{form}}"


def _named(table: CoreferenceTable) -> str:
    return f"head {table.head}" + (" (to_mention)" if table.direction == "to_mention" else "")
