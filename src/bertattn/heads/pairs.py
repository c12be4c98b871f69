"""Minimal pairs: one sentence with two pronouns in turn, and the two people that the pronoun may be."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self, overload

from bertattn.annotation import Document, DocumentWindow, Mention, Sentence
from bertattn.errors import ValidationError

__all__ = ["MinimalPair", "MinimalPairs", "minimal_pairs", "template_pairs"]

VERSIONS: Final = ("pro", "anti")
ROLES: Final = ("pronoun", "fitting", "other")
# Where name, template and version of a pair stand in its sentences' metadata.
KEY: Final = "minimal_pair"
WORD: Final = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class MinimalPair:
    """Two sentences that differ in a pronoun, and the two people that it may be, the candidates.

    Args:
        pro: with the pronoun that fits the stereotype of the candidate `fitting`.
        anti: the same with the other pronoun, which fits that of `other`.
        pronoun, fitting, other: the numbers, from 0, of the pronoun and of the candidates' head words.
        template: pairs of one template, both orders of the candidates among them, are averaged first.
        id: a name of its own; None takes the text of `pro`.
        names: of `fitting` and `other`, by which pairs of the same people are told; None takes their head words.

    Raises:
        ValidationError: sentences that differ in more than the pronoun, or numbers that are not three of their words.
    """

    pro: Sentence
    anti: Sentence
    pronoun: int
    fitting: int
    other: int
    template: str
    id: str | None = None
    names: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        places = {role: getattr(self, role) for role in ROLES}
        whole = all(type(n) is int and 0 <= n < len(self.pro) for n in places.values())
        if not whole or len(set(places.values())) < len(ROLES):
            raise ValidationError(
                f"pronoun, fitting and other are three of {len(self.pro)} words from 0, but are {places}"
            )
        if _differences(self.pro, self.anti) not in ([], [self.pronoun]):
            raise ValidationError(
                f"the sentences of a minimal pair differ in word {self.pronoun}, the pronoun, only, but "
                f"{_told(self.pro, self.anti)}"
            )
        if self.id is None:
            object.__setattr__(self, "id", self.pro.text()[0])
        names = self.names or (self.pro.words[self.fitting], self.pro.words[self.other])
        object.__setattr__(self, "names", tuple(name.lower() for name in names))

    @classmethod
    def from_texts(cls, pro: str, anti: str, /, *, fitting: str, other: str, template: str | None = None) -> Self:
        """A pair from two texts; the pronoun is the word in which they differ.

        Args:
            pro, anti: the sentences.
            fitting: the candidate that the pronoun of `pro` fits by stereotype, as it stands there. Of several words,
                such as "construction worker", the last is its head word.
            other: the other candidate.
            template: None takes the two candidates, so that both orders of them are one template.

        Raises:
            ValidationError: texts that do not differ in one word, or a candidate that is not there just once.

        Examples:
            >>> she, he = (f"The nurse thanked the guard because {one} was ill." for one in ("she", "he"))
            >>> pair = MinimalPair.from_texts(she, he, fitting="nurse", other="guard")
            >>> pair.pronoun, pair.fitting, pair.other, pair.template
            (6, 1, 4, 'guard / nurse')
        """
        one, two = _sentence(pro), _sentence(anti)
        differences = _differences(one, two)
        if differences is None or len(differences) != 1:
            raise ValidationError(
                f"two texts are a minimal pair if one word differs, the pronoun, but {_told(one, two)}"
            )
        places = _place(one, fitting), _place(one, other)
        return cls(one, two, differences[0], *places, template or _both(fitting, other), names=(fitting, other))

    @property
    def windows(self) -> tuple[DocumentWindow, DocumentWindow]:
        """The two sentences as a model reads them, pro first, with the roles as mentions."""
        mentions = [Mention(place, place + 1, role, head=place) for role in ROLES for place in [getattr(self, role)]]
        label = {"id": self.id, "template": self.template, "names": self.names}
        pro, anti = (
            dataclasses.replace(sentence, metadata={**sentence.metadata, KEY: label | {"version": version}})
            for version, sentence in zip(VERSIONS, (self.pro, self.anti), strict=True)
        )
        return _window(pro, mentions, self.id), _window(anti, mentions, self.id)


@dataclass(frozen=True)
class MinimalPairs(Sequence[DocumentWindow]):
    """Inputs for a model: the pro and the anti sentence of each pair in turn, which know their roles.

    Args:
        pairs: the pairs, each with a name of its own.
        skipped: (index, reason) of what made no pair.

    Raises:
        ValidationError: something that is no pair, or two of one name.
    """

    pairs: tuple[MinimalPair, ...]
    skipped: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple(self.pairs))
        object.__setattr__(self, "skipped", tuple(self.skipped))
        for pair in self.pairs:
            if not isinstance(pair, MinimalPair):
                raise ValidationError(f"pairs must be MinimalPairs, but one is {pair!r:.60}")
        for name, times in Counter(pair.id for pair in self.pairs).most_common(1):
            if times > 1:
                raise ValidationError(f"{times} pairs have the name {name!r}; give each an id of its own")

    def __len__(self) -> int:
        """Number of sentences, two a pair."""
        return 2 * len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> DocumentWindow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[DocumentWindow]: ...
    def __getitem__(self, index: int | slice) -> DocumentWindow | Sequence[DocumentWindow]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return self.pairs[number // 2].windows[number % 2]

    def __repr__(self) -> str:
        templates = len({pair.template for pair in self.pairs})
        return f"MinimalPairs({len(self.pairs)} pairs of {templates} templates, {len(self.skipped)} skipped)"


def minimal_pairs(
    pro: Iterable[Document], anti: Iterable[Document], /, *, candidates: Iterable[str] | None = None
) -> MinimalPairs:
    """The pairs of two files of which one follows the stereotype and one does not, as WinoBias (Zhao et al. 2018).

    Document i of `pro` and of `anti` are one pair: one sentence, in which one word differs. That word must be marked as
    a mention. The candidate that corefers with it, in both, is `fitting`: where the file follows the stereotype, the
    antecedent fits it. WinoBias does not mark the other candidate; it is the other word of the sentence that is one of
    `candidates`. Where this does not come out, the pair is left out and listed with the reason. The template of a pair
    is its two candidates.

    Args:
        pro, anti: as `readers.read_conll2012` gives them.
        candidates: the words that may be one; None takes the head word (the last, where none is declared) of every
            mention that is no pronoun, in all documents given. Of several words the last counts.

    Raises:
        ValidationError: other numbers of documents.

    Examples:
        >>> texts = [f"The nurse thanked the guard because {one} was ill ." for one in ("she", "he")]
        >>> pro, anti = (Document([Sentence(t.split())], [Mention(0, 2, "1"), Mention(6, 7, "1")]) for t in texts)
        >>> (pair,) = minimal_pairs([pro], [anti], candidates=["nurse", "guard"]).pairs
        >>> pair.pronoun, pair.fitting, pair.other
        (6, 1, 4)
    """
    one, two = tuple(pro), tuple(anti)
    if len(one) != len(two):
        raise ValidationError(f"pro has {len(one)} documents and anti {len(two)}; document i of both is one pair")
    if isinstance(candidates, str):
        raise ValidationError(
            f"candidates must be a collection of words, but is {candidates!r}; write [{candidates!r}]"
        )
    known = _candidates_of(one, two) if candidates is None else {word.lower().split()[-1] for word in candidates}
    made, skipped = [], []
    for i, (a, b) in enumerate(zip(one, two, strict=True)):
        pair = _pair(a, b, known, a.id or f"pair {i}")
        if isinstance(pair, str):
            skipped.append((i, pair))
        else:
            made.append(pair)
    return MinimalPairs(tuple(made), tuple(skipped))


def template_pairs(templates: Iterable[str], candidates: Mapping[str, str], /) -> MinimalPairs:
    """Pairs from templates of your own: every two candidates of different pronouns, in both orders, in each template.

    Args:
        templates: each with "{}" twice, for the candidates, and "{pronoun}".
        candidates: for each the pronoun that fits its stereotype, in the form that the templates need.

    Raises:
        ValidationError: a template without these places, or candidates all of one pronoun.

    Examples:
        >>> candidates = {"nurse": "she", "guard": "he", "baker": "she"}
        >>> pairs = template_pairs(["The {} thanked the {} because {pronoun} was ill."], candidates)
        >>> pairs
        MinimalPairs(4 pairs of 1 templates, 0 skipped)
        >>> pairs.pairs[0].id, pairs.pairs[1].id
        ('The nurse thanked the guard because she was ill .', 'The guard thanked the nurse because she was ill .')
    """
    if isinstance(templates, str):
        raise ValidationError(f"templates must be a sequence, but is {templates!r}; write [{templates!r}]")
    couples = [two for two in itertools.combinations(candidates, 2) if candidates[two[0]] != candidates[two[1]]]
    if not couples:
        raise ValidationError(f"two candidates of different pronouns are needed, but there are {dict(candidates)}")
    made = []
    for template, couple in itertools.product(templates, couples):
        if template.count("{}") != 2 or template.count("{pronoun}") != 1:
            raise ValidationError(f"a template has {{}} twice and {{pronoun}} once, but one is {template!r}")
        for order in (couple, couple[::-1]):
            filled = template.replace("{}", order[0], 1).replace("{}", order[1], 1)
            pro, anti = (filled.replace("{pronoun}", candidates[name]) for name in couple)
            made.append(MinimalPair.from_texts(pro, anti, fitting=couple[0], other=couple[1], template=template))
    return MinimalPairs(tuple(made))


def _differences(a: Sentence, b: Sentence) -> list[int] | None:
    """The numbers of the words that differ; None of sentences of different lengths."""
    if len(a) != len(b):
        return None
    return [i for i, (one, two) in enumerate(zip(a.words, b.words, strict=True)) if one != two]


def _told(a: Sentence, b: Sentence) -> str:
    differences = _differences(a, b)
    if differences is None:
        return f"they have {len(a)} and {len(b)} words"
    shown = ", ".join(f"{a.words[i]!r} and {b.words[i]!r}" for i in differences)
    return f"they differ in {shown}" if shown else "they are the same"


def _window(sentence: Sentence, mentions: Sequence[Mention], name: str | None) -> DocumentWindow:
    return DocumentWindow((sentence,), tuple(mentions), document=name)


def _sentence(text: str) -> Sentence:
    found = list(WORD.finditer(text))
    spaces = tuple(not text[match.end() : match.end() + 1].strip() for match in found)
    return Sentence(tuple(match[0] for match in found), space_after=spaces)


def _place(sentence: Sentence, candidate: str) -> int:
    """The number of the last of the words of a candidate."""
    asked = [match[0].lower() for match in WORD.finditer(candidate)]
    words = [word.lower() for word in sentence.words]
    ends = [end for end in range(len(asked), len(words) + 1) if asked and words[end - len(asked) : end] == asked]
    if len(ends) != 1:
        raise ValidationError(
            f"the candidate {candidate!r} must stand once in the sentence, but stands {len(ends)} times in "
            f"{sentence.text()[0]!r}; MinimalPair(...) takes the numbers of words"
        )
    return ends[0] - 1


def _both(a: str, b: str) -> str:
    return " / ".join(sorted((a.lower(), b.lower())))


def _last(mention: Mention) -> int:
    return mention.end - 1 if mention.head is None else mention.head


def _candidates_of(pro: Sequence[Document], anti: Sequence[Document]) -> set[str]:
    """The head words of mentions, but for the words by which pairs differ."""
    pronouns: set[str] = set()
    for a, b in zip(pro, anti, strict=True):
        if len(a) == len(b):
            changed = [words for words in zip(a.words, b.words, strict=True) if words[0] != words[1]]
            pronouns |= {word.lower() for words in changed for word in words}
    return {d.words[_last(m)].lower() for d in (*pro, *anti) for m in d.mentions} - pronouns


def _pair(pro: Document, anti: Document, known: set[str], name: str) -> MinimalPair | str:
    """The pair, or why it is none."""
    if len(pro.sentences) != 1 or len(anti.sentences) != 1:
        return f"they have {len(pro.sentences)} and {len(anti.sentences)} sentences, not one"
    one, two = pro.sentences[0], anti.sentences[0]
    differences = _differences(one, two)
    if differences is None or len(differences) != 1:
        return _told(one, two)
    (pronoun,) = differences
    places = [i for i, word in enumerate(one.words) if word.lower() in known]
    if len(places) != 2:
        return f"{len(places)} words may be candidates, not two: {', '.join(one.words[i] for i in places) or 'none'}"
    fitting = [_antecedents(document, pronoun, places) for document in (pro, anti)]
    if fitting[0] != fitting[1] or len(fitting[0]) != 1:
        marked = [", ".join(one.words[i] for i in found) or "none" for found in fitting]
        return (
            f"{one.words[pronoun]!r} must corefer with the same candidate in both, but does with {' and '.join(marked)}"
        )
    (other,) = set(places) - set(fitting[0])
    template = _both(one.words[fitting[0][0]], one.words[other])
    return MinimalPair(one, two, pronoun, fitting[0][0], other, template, name)


def _antecedents(document: Document, pronoun: int, places: Sequence[int]) -> list[int]:
    """Those of the places that head a mention which corefers with the pronoun."""
    entities = {m.entity for m in document.mentions if m.words == (pronoun,)}
    heads = {_last(m) for m in document.mentions if m.entity in entities}
    return [i for i in places if i in heads]
