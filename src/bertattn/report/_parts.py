"""What a report is made of: results, and the sections that show them as figures and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bertattn.errors import ValidationError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bertattn.clustering import HeadDistances
    from bertattn.heads import CoreferenceScores, RelationScores
    from bertattn.report._probes import Probing
    from bertattn.statistics import Summary
    from bertattn.tensor import AttentionTensor
    from bertattn.views import HTMLView

__all__ = ["Picture", "Results", "Section", "Shown", "Table"]

T = TypeVar("T")

# Parts into which a corpus is cut where a head is picked on the others.
FOLDS: Final = 5
# Of the intervals, and of how the folds are dealt out.
LEVEL: Final = 0.95
RESAMPLES: Final = 2000
SEED: Final = 0
# Of "heads at work": how many pieces with a word found and not found.
EXAMPLES_FOUND: Final = 2
EXAMPLES_MISSED: Final = 1


@dataclass(frozen=True)
class Results:
    """What was measured; None where the input for it was not given.

    Args:
        surface: `patterns.surface_patterns` over the text.
        example: the maps of the short text of Figure 1.
        relations: `heads.score_relations` over the treebank.
        relation_examples: the maps of some of its sentences.
        coreference: `heads.score_coreference` over the documents with coreference.
        coreference_examples: the maps of some short pieces of them.
        probes: probes and baselines on the treebank.
        too_little: of sections whose input was given but was not enough, by name, why.
        gradients: `attribution.gradient_importance` over the text.
        objective: the name of what was differentiated.
        distances: `clustering.head_distances` over the text.
        relation_maps: for relations of Table 1, by name, the maps of a sentence in which the best head finds a
            governor.
    """

    surface: Summary | None = None
    example: AttentionTensor | None = None
    relations: RelationScores | None = None
    relation_examples: tuple[AttentionTensor, ...] = ()
    coreference: CoreferenceScores | None = None
    coreference_examples: tuple[AttentionTensor, ...] = ()
    probes: Probing | None = None
    too_little: Mapping[str, str] = field(default_factory=dict)
    gradients: Summary | None = None
    objective: str | None = None
    distances: HeadDistances | None = None
    relation_maps: Mapping[str, AttentionTensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure of a report.

    Args:
        name: of its files, without ending.
        figure: a matplotlib figure.
        caption: what it shows and how to read it.
        description: what is to be seen, for those who cannot see it.
        wide: whether it takes the whole width of the page.
        numbers: the names of the files that have what it draws as numbers.
    """

    name: str
    figure: Figure
    caption: str
    description: str
    wide: bool = False
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Args:
        name: of its CSV file, without ending.
        caption: what it shows and how to read it.
        rows: a dict each, all with the same names: the columns.
        percent: the columns that are shares, shown in percent (the CSV file has every digit).
        bars: those of them that have a bar behind each number.
        folded: whether the page shows it only when asked.
        aside: the columns that only the CSV file has.
        precision: how the page writes numbers that are no shares (the CSV file has every digit).
        links: of columns whose cells lead to a file, row by row the file's name, or None.
    """

    name: str
    caption: str
    rows: Sequence[dict[str, Any]]
    percent: tuple[str, ...] = ()
    bars: tuple[str, ...] = ()
    folded: bool = False
    aside: tuple[str, ...] = ()
    precision: str = ".2f"
    links: Mapping[str, Sequence[str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Shown:
    """A section as it appears on the page.

    Args:
        text: paragraphs.
        pictures, tables: in order.
        highlights: sentences for the top of the page.
        views: pages that tables lead to, by the names of their files.
    """

    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    highlights: tuple[str, ...] = ()
    views: Mapping[str, HTMLView] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One part of the report.

    Args:
        name: of its anchor on the page.
        title: its heading.
        needs: the fields of `Results` without which it cannot be shown.
        remedy: what to give so that it can.
        show: makes its figures and tables of the results.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    remedy: str
    show: Callable[[Results], Shown]

    def is_ready(self, results: Results) -> bool:
        """Whether everything it needs was measured."""
        return all(getattr(results, name) is not None for name in self.needs)


def least_words(scores: RelationScores) -> int:
    """How many words a relation must have: 100, as the paper's code has it; fewer in a small treebank."""
    return 100 if scores.count() >= 10_000 else 20


def blank() -> Figure:
    """A figure that pyplot does not know, so that nothing keeps it."""
    from matplotlib.figure import Figure

    return Figure()


def bounds(low: float, high: float) -> dict[str, float]:
    """The ends of an interval by resampling, for a table; none where all units agree: it would have no length."""
    return {"low": low, "high": high} if low < high else {"low": float("nan"), "high": float("nan")}


def given(value: T | None) -> T:
    """A result that `Section.needs` says is there."""
    if value is None:
        raise ValidationError("a section was shown without the results that it needs; ask Section.is_ready first")
    return value
