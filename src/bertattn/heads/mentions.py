"""Head word, type, number, gender and person of mentions: what candidates and baselines of coreference are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from bertattn.annotation import Document, DocumentWindow, Mention, head_words
from bertattn.errors import ValidationError
from bertattn.heads._lexicon import (
    FEMININE,
    FEMININE_NAMES,
    MASCULINE,
    MASCULINE_NAMES,
    PREPOSITIONS,
    PRONOUNS,
    PUNCTUATION,
    RELATIVE_PRONOUNS,
    TRAILING,
    Pronoun,
)

__all__ = ["MENTION_TYPES", "MentionAttributes", "MentionHeads", "mention_attributes", "mention_heads", "mention_types"]

MentionType: TypeAlias = Literal["pronoun", "proper", "nominal", "unknown"]

MENTION_TYPES: Final[tuple[MentionType, ...]] = get_args(MentionType)
"""The types of mentions, by their head words; "unknown" where there are no tags."""

_ENDS: Final = PREPOSITIONS | RELATIVE_PRONOUNS | PUNCTUATION
_PASSED_OVER: Final = PUNCTUATION | TRAILING
_PRONOUN_TAGS: Final = ("PRP", "PRP$", "WP", "WP$")
_PROPER_TAGS: Final = ("NNP", "NNPS")
_NUMBERS: Final = {"Sing": "Sing", "Plur": "Plur", "Ptan": "Plur", "Dual": "Plur"}
_NUMBER_OF_TAG: Final = {"NN": "Sing", "NNP": "Sing", "NNS": "Plur", "NNPS": "Plur"}
_GENDERS: Final = {"Masc": ("Masc",), "Fem": ("Fem",), "Neut": ("Neut",), "Com": ("Masc", "Fem")}
_MASCULINE: Final = frozenset({"Masc"})
_FEMININE: Final = frozenset({"Fem"})
_NEUTER: Final = frozenset({"Neut"})
_OF_NOUNS: Final = dict.fromkeys(MASCULINE, _MASCULINE) | dict.fromkeys(FEMININE, _FEMININE)
_OF_NAMES: Final = _OF_NOUNS | dict.fromkeys(MASCULINE_NAMES, _MASCULINE) | dict.fromkeys(FEMININE_NAMES, _FEMININE)
_OF_ENTITY_TYPES: Final = {"person": _MASCULINE | _FEMININE, "per": _MASCULINE | _FEMININE, "animal": None}


@dataclass(frozen=True)
class MentionHeads:
    """The head word of each mention.

    Args:
        words: its number in the document or window, counted from 0.
        by_fallback: how many were guessed from the words alone, without a tree; see `mention_heads`.
    """

    words: tuple[int, ...]
    by_fallback: int = 0


@dataclass(frozen=True)
class MentionAttributes:
    """What a mention says about the entity that it names.

    Args:
        number: "Sing", "Plur", or None where it is unknown.
        gender: those it may be, out of "Masc", "Fem" and "Neut"; None where it is unknown.
        person: 1, 2 or 3.
    """

    number: str | None = None
    gender: frozenset[str] | None = None
    person: int = 3

    def compatible(self, other: MentionAttributes, /) -> bool:
        """Whether nothing known of one conflicts with the other.

        Numbers conflict if they differ, genders if they have nothing in common, persons if one of them is the third:
        "I" and "you" may be the same speaker.

        Examples:
            >>> she, they = MentionAttributes("Sing", frozenset({"Fem"})), MentionAttributes("Plur")
            >>> she.compatible(MentionAttributes("Sing")), she.compatible(they)
            (True, False)
        """
        return (
            (self.number is None or other.number is None or self.number == other.number)
            and (self.gender is None or other.gender is None or not self.gender.isdisjoint(other.gender))
            and (self.person == 3) == (other.person == 3)
        )


def mention_heads(x: Document | DocumentWindow, /) -> MentionHeads:
    """The head word of each mention: the one that the corpus declares, that of the tree, or a guess.

    The guess, for English without trees: the last word before the first punctuation mark, preposition or relative
    pronoun, the mention's first word aside; possessive clitics, quotation marks and punctuation at the end are passed
    over. Where nothing is left it is the first word. A mention of one word has nothing to guess.

    Args:
        x: a document, or a window of one.

    Raises:
        ValidationError: something else.

    Examples:
        >>> from bertattn.annotation import Sentence
        >>> words = "the old captain of the ship saw it".split()
        >>> mention_heads(Document([Sentence(words)], [Mention(0, 6, "captain"), Mention(7, 8, "ship")]))
        MentionHeads(words=(2, 7), by_fallback=1)
    """
    _check(x)
    forms = [word.lower() for word in x.words]
    found = []
    guesses = 0
    for mention, head in zip(x.mentions, head_words(x), strict=True):
        words = mention.words
        guesses += head is None and len(words) > 1
        found.append(_guessed_head(words, forms) if head is None else head)
    return MentionHeads(tuple(found), guesses)


def mention_types(x: Document | DocumentWindow, heads: MentionHeads, /) -> tuple[MentionType, ...]:
    """The type of each mention, by the tags of its head word.

    UPOS where the word has one: PRON, or DET with Poss=Yes, is a pronoun, PROPN proper, all others nominal. Otherwise
    XPOS of the Penn Treebank: PRP, PRP$, WP and WP$ are pronouns, NNP and NNPS proper. With neither it is unknown.

    Raises:
        ValidationError: no document, or head words of other mentions.

    Examples:
        >>> from bertattn.annotation import Sentence
        >>> x = Document([Sentence(["She", "sings"], xpos=["PRP", "VBZ"])], [Mention(0, 1, "singer")])
        >>> mention_types(x, mention_heads(x))
        ('pronoun',)
    """
    _check(x, heads)
    upos, xpos, feats = (_column(x, name) for name in ("upos", "xpos", "feats"))
    return tuple(_type(upos[word], xpos[word], feats[word] or {}) for word in heads.words)


def mention_attributes(x: Document | DocumentWindow, heads: MentionHeads, /) -> tuple[MentionAttributes, ...]:
    """Number, gender and person of each mention: what can be read off it, from tags, trees and small English lists.

    - Number: plural with a conjunct of the head word inside the mention; else the feature Number (of possessives, else
      Number[psor]); else by the form of a pronoun; else by XPOS NN, NNS, NNP, NNPS.
    - Gender of a pronoun: the feature Gender, else by its form. Of others: kinship terms and other gendered nouns; for
      proper mentions the first title or given name in it; else by entity type: a person is masculine or feminine, an
      animal may be anything, all else is neuter.
    - Person: of a pronoun the feature Person, else by its form; of all others 3.

    Without tags a pronoun is known by its form ("US" is none), a proper mention by its head word's capital.

    Raises:
        ValidationError: no document, or head words of other mentions.

    Examples:
        >>> from bertattn.annotation import Sentence
        >>> x = Document([Sentence("Mrs. Dalloway bought them".split())], [Mention(0, 2, "1"), Mention(3, 4, "2")])
        >>> mention_attributes(x, mention_heads(x))
        (MentionAttributes(number=None, gender=frozenset({'Fem'}), person=3),
         MentionAttributes(number='Plur', gender=None, person=3))
    """
    types = mention_types(x, heads)
    words = x.words
    lemmas, xpos, feats = (_column(x, name) for name in ("lemmas", "xpos", "feats"))
    conjuncts = _conjuncts(x)
    found = []
    for mention, head, kind in zip(x.mentions, heads.words, types, strict=True):
        word, features = words[head], feats[head] or {}
        known = kind == "pronoun" or (kind == "unknown" and (len(word) == 1 or not word.isupper()))
        pronoun = PRONOUNS.get(word.lower()) if known else None
        if any(conjunct in mention.words for conjunct in conjuncts.get(head, ())):
            number: str | None = "Plur"
        else:
            number = _number(features, pronoun, xpos[head])
        if kind == "pronoun" or pronoun is not None:
            person = {"1": 1, "2": 2, "3": 3}.get(features.get("Person", ""), pronoun.person if pronoun else 3)
            found.append(MentionAttributes(number, _pronoun_gender(features, pronoun), person))
        else:
            proper = kind == "proper" or (kind == "unknown" and word[0].isupper())
            names = [words[i] for i in mention.words] if proper else []
            found.append(MentionAttributes(number, _gender(mention, word, lemmas[head], names), 3))
    return tuple(found)


def _check(x: object, heads: MentionHeads | None = None) -> None:
    if not isinstance(x, Document | DocumentWindow):
        raise ValidationError(
            f"mentions stand in a Document or DocumentWindow, but got {x!r:.60}; read one with readers.read_corefud or "
            "readers.read_conll2012"
        )
    if heads is not None and len(heads.words) != len(x.mentions):
        raise ValidationError(
            f"there are head words of {len(heads.words)} mentions, but {len(x.mentions)} mentions; "
            "give those of the same document: mention_heads(x)"
        )


def _column(x: Document | DocumentWindow, name: str) -> list[Any]:
    """One column over all words; None where a sentence lacks it."""
    return [value for s in x.sentences for value in getattr(s, name) or (None,) * len(s)]


def _conjuncts(x: Document | DocumentWindow) -> dict[int, list[int]]:
    """For each word with conjuncts the numbers of these."""
    found: dict[int, list[int]] = {}
    first = 0
    for sentence in x.sentences:
        for i, (governor, relation) in enumerate(zip(sentence.governors or (), sentence.relations or (), strict=False)):
            if governor and relation and relation.partition(":")[0] == "conj":
                found.setdefault(first + governor - 1, []).append(first + i)
        first += len(sentence)
    return found


def _guessed_head(words: Sequence[int], forms: Sequence[str]) -> int:
    end = next((i for i, word in enumerate(words) if i and forms[word] in _ENDS), len(words))
    while end > 1 and forms[words[end - 1]] in _PASSED_OVER:
        end -= 1
    return words[end - 1]


def _type(upos: str | None, xpos: str | None, feats: Mapping[str, str]) -> MentionType:
    if upos is None and xpos is None:
        return "unknown"
    if upos is None:
        return "pronoun" if xpos in _PRONOUN_TAGS else "proper" if xpos in _PROPER_TAGS else "nominal"
    if upos == "PRON" or (upos == "DET" and feats.get("Poss") == "Yes"):
        return "pronoun"
    return "proper" if upos == "PROPN" else "nominal"


def _number(feats: Mapping[str, str], pronoun: Pronoun | None, xpos: str | None) -> str | None:
    feature = feats.get("Number") or (feats.get("Number[psor]") if feats.get("Poss") == "Yes" else None)
    if feature is not None:
        return _NUMBERS.get(feature)
    return pronoun.number if pronoun is not None else _NUMBER_OF_TAG.get(xpos or "")


def _pronoun_gender(feats: Mapping[str, str], pronoun: Pronoun | None) -> frozenset[str] | None:
    if "Gender" in feats:
        return frozenset(gender for value in feats["Gender"].split(",") for gender in _GENDERS.get(value, ())) or None
    return (pronoun.gender or None) if pronoun is not None else None


def _gender(mention: Mention, head: str, lemma: str | None, names: Sequence[str]) -> frozenset[str] | None:
    form = head.lower()
    for noun in (form, (lemma or form).lower(), form.removesuffix("s")):
        if noun in _OF_NOUNS:
            return _OF_NOUNS[noun]
    for name in names:
        if name[0].isupper() and name.lower() in _OF_NAMES:
            return _OF_NAMES[name.lower()]
    return None if mention.type is None else _OF_ENTITY_TYPES.get(mention.type.lower(), _NEUTER)
