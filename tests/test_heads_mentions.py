"""Head words, types, number, gender and person of mentions: each rule by hand, and corpora with and without trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertattn import Document, DocumentWindow, Sentence, readers
from bertattn.annotation import Mention, head_words
from bertattn.errors import ValidationError
from bertattn.heads import _lexicon
from bertattn.heads.mentions import (
    MENTION_TYPES,
    MentionAttributes,
    MentionHeads,
    mention_attributes,
    mention_heads,
    mention_types,
)

UNKNOWN = MentionAttributes(None, None, 3)
PERSON = frozenset({"Masc", "Fem"})
MASC, FEM, NEUT = frozenset({"Masc"}), frozenset({"Fem"}), frozenset({"Neut"})


def whole(text: str, *, head: int | None = None, type: str | None = None, **columns: Any) -> Document:  # noqa: A002
    """A document that is one mention."""
    words = text.split()
    return Document([Sentence(words, **columns)], [Mention(0, len(words), "e", head=head, type=type)])


def guessed(text: str) -> str:
    document = whole(text)
    return document.words[mention_heads(document).words[0]]


def attributes(text: str, **options: Any) -> MentionAttributes:
    document = whole(text, **options)
    (found,) = mention_attributes(document, mention_heads(document))
    return found


def tagged(word: str, upos: str, **feats: str) -> MentionAttributes:
    """Of a mention of one word, with its features."""
    return attributes(word, upos=[upos], feats=[feats])


# ---------------------------------------------------------------------------------------------------------- head words


def test_a_declared_head_word_comes_first_then_the_tree_then_the_words() -> None:
    text, governors = "the end of the line", [2, 0, 5, 5, 2]
    assert mention_heads(whole(text, head=4, governors=governors)) == MentionHeads((4,), 0)
    assert mention_heads(whole(text, governors=governors)) == MentionHeads((1,), 0)
    assert mention_heads(whole(text)) == MentionHeads((1,), 1)
    assert mention_heads(whole(text, governors=[2, None, 5, 5, 2])) == MentionHeads((1,), 1)  # no whole tree


def test_one_word_is_no_guess() -> None:
    assert mention_heads(whole("she")) == MentionHeads((0,), 0)
    assert mention_heads(whole(",")) == MentionHeads((0,), 0)
    assert mention_heads(Document([Sentence(["Nobody", "came"])])) == MentionHeads((), 0)


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("the old captain", "captain"),
        ("the captain of the ship", "captain"),
        ("the captain , a sailor", "captain"),
        ("the captain ( retired )", "captain"),
        ("the captain -LRB- retired -RRB-", "captain"),
        ("a captain who drank", "captain"),
        ("the day when it rained", "day"),
        ("The Captain In The Room", "Captain"),  # lower-cased
        ("the captain 's", "captain"),
        ("the students '", "students"),
        ("Dr. Jones’ , the dentist", "Jones’"),
        ("the captain 's ship", "ship"),  # a clitic alone ends nothing
        ("the captain 's , it was said", "captain"),
        ("the captain ,", "captain"),
        ('the " Red Death "', "Death"),  # nor do quotation marks
        ("my _ employees _", "employees"),  # nor signs of emphasis
        ("a long - term contract", "contract"),  # nor hyphens
        ("of mice", "mice"),  # the first word is passed by
        ("that dog", "dog"),
        ("those in the room", "those"),
        (", of the", ","),  # nothing is left
        ("' 's , ship", "'"),
    ],
)
def test_each_rule_of_the_guess(text: str, head: str) -> None:
    assert guessed(text) == head


def test_gaps_are_not_looked_at() -> None:
    document = Document([Sentence(["the", "big", ",", "red", "dog"])], [Mention(0, 5, "e", parts=[(0, 2), (4, 5)])])
    assert mention_heads(document) == MentionHeads((4,), 1)


def test_windows_and_documents_of_several_sentences() -> None:
    first, second = Sentence(["It", "rained", "."]), Sentence(["The", "King", "of", "Spain", "left"])
    mentions = [Mention(0, 1, "it"), Mention(3, 7, "king")]
    assert mention_heads(Document([first, second], mentions)) == MentionHeads((0, 4), 1)
    assert mention_heads(DocumentWindow([first, second], mentions, first_word=9)) == MentionHeads((0, 4), 1)


# --------------------------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"upos": ["PRON"]}, "pronoun"),
        ({"upos": ["DET"], "feats": [{"Poss": "Yes"}]}, "pronoun"),
        ({"upos": ["DET"], "feats": [{"PronType": "Dem"}]}, "nominal"),
        ({"upos": ["PROPN"]}, "proper"),
        ({"upos": ["NOUN"]}, "nominal"),
        ({"upos": ["VERB"], "xpos": ["PRP"]}, "nominal"),  # UPOS first
        ({"upos": [None], "xpos": ["PRP$"]}, "pronoun"),
        *(({"xpos": [tag]}, "pronoun") for tag in ("PRP", "PRP$", "WP", "WP$")),
        *(({"xpos": [tag]}, "proper") for tag in ("NNP", "NNPS")),
        *(({"xpos": [tag]}, "nominal") for tag in ("NN", "DT", "EX")),
        ({"upos": [None], "xpos": [None]}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_type_is_that_of_the_head_word(columns: dict[str, Any], kind: str) -> None:
    document = whole("his", **columns)
    assert mention_types(document, mention_heads(document)) == (kind,)
    assert kind in MENTION_TYPES


def test_sentences_with_and_without_tags_in_one_document() -> None:
    document = Document(
        [Sentence(["Anna"]), Sentence(["saw", "Tom"], upos=["VERB", "PROPN"])],
        [Mention(2, 3, "Tom"), Mention(0, 1, "Anna")],
    )
    assert mention_types(document, mention_heads(document)) == ("proper", "unknown")


# -------------------------------------------------------------------------------------------------------------- number


def test_number_of_coordinations() -> None:
    tree = {"governors": [0, 3, 1, 5, 1], "relations": ["root", "cc", "conj", "punct", "conj:extra"]}
    text = "Anna and Tom , Ida"
    upos, feats = ["PROPN", "CCONJ", "PROPN", "PUNCT", "PROPN"], [{"Number": "Sing"}] * 5
    document = Document(
        [Sentence(text.split(), upos=upos, feats=feats, **tree)],
        [Mention(0, 5, "all"), Mention(0, 3, "two"), Mention(0, 1, "Anna"), Mention(2, 3, "Tom"), Mention(4, 5, "Ida")],
    )
    heads = mention_heads(document)
    assert heads.words == (0, 0, 0, 2, 4)
    assert [a.number for a in mention_attributes(document, heads)] == ["Plur", "Plur", "Sing", "Sing", "Sing"]
    # The conjunct must hang on the head word, wherever the sentence stands.
    later = Document(
        [Sentence(["Yes"]), Sentence(["friends", "of", "Anna", "and", "Tom"], **OF_TWO)], [Mention(1, 6, "f", head=1)]
    )
    assert mention_attributes(later, mention_heads(later))[0].number is None
    inner = replace(later, mentions=[Mention(3, 6, "two", head=3)])
    assert mention_attributes(inner, mention_heads(inner))[0].number == "Plur"


OF_TWO = {"governors": [0, 3, 1, 5, 3], "relations": ["root", "case", "nmod", "cc", "conj"]}


@pytest.mark.parametrize(
    ("feature", "number"), [("Sing", "Sing"), ("Plur", "Plur"), ("Ptan", "Plur"), ("Dual", "Plur"), ("Coll", None)]
)
def test_number_of_features(feature: str, number: str | None) -> None:
    assert tagged("sheep", "NOUN", Number=feature).number == number


def test_number_of_possessives_forms_and_tags() -> None:
    assert tagged("their", "PRON", Poss="Yes", **{"Number[psor]": "Sing"}).number == "Sing"
    assert tagged("their", "PRON", Poss="Yes", Number="Plur", **{"Number[psor]": "Sing"}).number == "Plur"
    assert tagged("house", "NOUN", **{"Number[psor]": "Sing"}).number is None
    assert tagged("they", "PRON").number == "Plur"
    assert tagged("which", "PRON").number is None
    assert tagged("they", "NOUN").number is None  # the form speaks for pronouns only
    tags = {"NN": "Sing", "NNP": "Sing", "NNS": "Plur", "NNPS": "Plur", "CD": None}
    assert {tag: attributes("sheep", xpos=[tag]).number for tag in tags} == tags
    assert attributes("sheep", xpos=["NNS"], feats=[{"Number": "Sing"}]).number == "Sing"
    assert attributes("sheep").number is None


# -------------------------------------------------------------------------------------------------------------- person


def test_person() -> None:
    assert [tagged("x", "PRON", Person=p).person for p in ("1", "2", "3", "0")] == [1, 2, 3, 3]
    assert tagged("see", "VERB", Person="1").person == 3
    assert [attributes(word).person for word in ("me", "thy", "him", "dog", "Mine")] == [1, 2, 3, 3, 1]
    assert tagged("me", "PRON", Person="2").person == 2
    assert attributes("US").person == attributes("the US").person == 3  # the country
    assert attributes("I").person == 1
    assert attributes("US", xpos=["PRP"]).person == 1  # a tag knows


# -------------------------------------------------------------------------------------------------------------- gender


def test_gender_of_pronouns() -> None:
    assert [tagged("x", "PRON", Gender=g).gender for g in ("Masc", "Fem,Masc", "Com", "Neut", "Xyz")] == [
        MASC,
        PERSON,
        PERSON,
        NEUT,
        None,
    ]
    expected = {"he": MASC, "Her": FEM, "itself": NEUT, "who": PERSON, "nothing": NEUT}
    assert {word: attributes(word).gender for word in expected} == expected
    assert [attributes(word, type="person").gender for word in ("I", "your", "we", "they")] == [None] * 4
    assert tagged("it", "PRON", Gender="Fem").gender == FEM
    assert attributes("him", type="object").gender == MASC  # no pronoun is known by its entity type


def test_gender_of_nouns() -> None:
    assert attributes("her sister").gender == FEM
    assert attributes("their Sons").gender == MASC  # plural with s
    assert attributes("the policemen").gender == MASC
    assert attributes("the princess").gender == FEM  # not the plural of prince
    assert attributes("two knaves", lemmas=["two", "lad"]).gender == MASC
    assert attributes("his uncle", type="organization").gender == MASC  # the noun before the entity type
    assert attributes("the sister of Tom").gender == FEM


@pytest.mark.parametrize(
    ("text", "gender"),
    [
        ("Mr. Bennet", MASC),
        ("Mrs Darcy", FEM),
        ("Lady Catherine de Bourgh", FEM),
        ("Aunt Polly Sawyer", FEM),
        ("Elizabeth Bennet", FEM),
        ("Mrs. John Dashwood", FEM),  # the first
        ("John and Mary Smith", MASC),
        ("Doctor Moreau", None),
        ("grace Smith mark Jones", None),  # names have capitals
    ],
)
def test_gender_of_names(text: str, gender: frozenset[str] | None) -> None:
    assert attributes(text).gender == gender
    assert attributes(text, xpos=["NNP"] * len(text.split())).gender == gender
    assert attributes(text, xpos=["NN"] * len(text.split())).gender is None  # no proper mention
    assert attributes(text, type="person").gender == (gender or PERSON)


def test_gender_without_a_capital_is_no_name() -> None:
    assert attributes("Anna 's house").gender is None
    assert attributes("the house of Anna").gender is None


@pytest.mark.parametrize(
    ("kind", "gender"),
    [("person", PERSON), ("PERSON", PERSON), ("per", PERSON), ("animal", None), (None, None), ("place", NEUT)],
)
def test_gender_of_entity_types(kind: str | None, gender: frozenset[str] | None) -> None:
    assert attributes("the doctor", type=kind).gender == gender


# ------------------------------------------------------------------------------------------------------- compatibility


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (UNKNOWN, UNKNOWN, True),
        (MentionAttributes("Sing"), MentionAttributes("Plur"), False),
        (MentionAttributes("Sing"), UNKNOWN, True),
        (MentionAttributes(gender=MASC), MentionAttributes(gender=FEM), False),
        (MentionAttributes(gender=MASC), MentionAttributes(gender=PERSON), True),
        (MentionAttributes(gender=NEUT), MentionAttributes(gender=PERSON), False),
        (MentionAttributes(gender=NEUT), UNKNOWN, True),
        (MentionAttributes(person=1), MentionAttributes(person=2), True),
        (MentionAttributes(person=1), MentionAttributes(person=3), False),
        (MentionAttributes(person=3), MentionAttributes(person=2), False),
        (MentionAttributes("Sing", MASC, 3), MentionAttributes("Sing", FEM, 3), False),
    ],
)
def test_what_conflicts(a: MentionAttributes, b: MentionAttributes, expected: bool) -> None:
    assert a.compatible(b) is b.compatible(a) is expected


ANY = st.builds(
    MentionAttributes,
    st.sampled_from([None, "Sing", "Plur"]),
    st.sampled_from([None, MASC, FEM, NEUT, PERSON]),
    st.sampled_from([1, 2, 3]),
)


@given(ANY, ANY)
def test_compatibility_is_symmetric_and_everything_fits_itself(a: MentionAttributes, b: MentionAttributes) -> None:
    assert a.compatible(b) == b.compatible(a)
    assert a.compatible(a)
    if a.compatible(b):  # to know less conflicts with no more
        assert replace(a, number=None).compatible(b)
        assert replace(a, gender=None).compatible(b)


# ---------------------------------------------------------------------------------------------------- lists and errors


def test_the_lists_are_clean() -> None:
    lists = {name: value for name, value in vars(_lexicon).items() if isinstance(value, frozenset)}
    assert len(lists) == 8
    for name, words in lists.items():
        assert {word for word in words if word != word.lower()} == set(), name
    gendered = [_lexicon.MASCULINE, _lexicon.FEMININE, _lexicon.MASCULINE_NAMES, _lexicon.FEMININE_NAMES]
    assert len(frozenset().union(*gendered)) == sum(map(len, gendered))
    assert not lists["PUNCTUATION"] & lists["TRAILING"]
    for number, gender, person in _lexicon.PRONOUNS.values():
        assert number in ("Sing", "Plur", None)
        assert gender <= {"Masc", "Fem", "Neut"}
        assert person in (1, 2, 3)


@pytest.mark.parametrize("function", [mention_heads, lambda x: mention_types(x, MentionHeads(()))])
def test_other_things_than_documents(function: Any) -> None:
    with pytest.raises(
        ValidationError, match=r"a Document or DocumentWindow, but got Sentence.*; read one with readers"
    ):
        function(Sentence(["She"]))


@pytest.mark.parametrize("function", [mention_types, mention_attributes])
def test_head_words_of_other_mentions(function: Any) -> None:
    with pytest.raises(ValidationError, match=r"head words of 2 mentions, but 1 mentions; .* mention_heads\(x\)"):
        function(whole("she"), MentionHeads((0, 0)))


# -------------------------------------------------------------------------------------------------------------- corpora


def without_annotation(document: Document) -> Document:
    return Document(
        [Sentence(s.words) for s in document.sentences],
        [replace(mention, head=None, type=None) for mention in document.mentions],
    )


def gum_dev(data_dir: Path) -> Sequence[Document]:
    paths = sorted((data_dir / "coref").glob("gum_open_by*/dev/dep/*.conllu"))
    return [document for path in paths for document in readers.read_corefud(path)]


def test_gum_dev(data_dir: Path) -> None:
    types = dict.fromkeys(MENTION_TYPES, 0)
    same = guesses = longer = 0
    for document in gum_dev(data_dir):
        heads = mention_heads(document)
        assert heads == MentionHeads(head_words(document), 0)
        assert all(head in m.words for head, m in zip(heads.words, document.mentions, strict=True))
        for kind, features in zip(mention_types(document, heads), mention_attributes(document, heads), strict=True):
            types[kind] += 1
            assert kind == "pronoun" or features.person == 3
        bare = mention_heads(without_annotation(document))
        guesses += bare.by_fallback
        for mention, tree, guess in zip(document.mentions, heads.words, bare.words, strict=True):
            longer += len(mention.words) > 1
            same += len(mention.words) > 1 and tree == guess
    assert types == {"pronoun": 1317, "proper": 716, "nominal": 3100, "unknown": 0}
    # Most of the others are names, which have their head word in front in UD ("Andy Warhol"), and coordinations.
    assert (guesses, longer, same) == (2826, 2826, 2387)


def test_litbank(data_dir: Path) -> None:
    """Without tags. Nouns and names have the gender of the pronouns for the same person."""
    mentions = guesses = agree = differ = 0
    for path in sorted((data_dir / "coref" / "litbank" / "sample").glob("*.conll")):
        (document,) = readers.read_conll2012(path)
        heads = mention_heads(document)
        mentions, guesses = mentions + len(heads.words), guesses + heads.by_fallback
        assert set(mention_types(document, heads)) == {"unknown"}
        of_pronouns: dict[str, list[frozenset[str]]] = {}
        of_others: list[tuple[str, frozenset[str]]] = []
        for mention, head, found in zip(
            document.mentions, heads.words, mention_attributes(document, heads), strict=True
        ):
            if found.gender in (MASC, FEM):
                if document.words[head].lower() in _lexicon.PRONOUNS:
                    of_pronouns.setdefault(mention.entity, []).append(found.gender)
                else:
                    of_others.append((mention.entity, found.gender))
        for entity, gender in of_others:
            if entity in of_pronouns:
                usual = max(of_pronouns[entity], key=of_pronouns[entity].count)
                agree, differ = agree + (gender == usual), differ + (gender != usual)
    assert (mentions, guesses) == (1360, 492)
    assert (agree, differ) == (137, 0)
