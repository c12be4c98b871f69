"""spaCy's Doc as a document; made by hand, so that no model is needed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bertattn.annotation import Mention
from bertattn.errors import InputError
from bertattn.readers import from_spacy

spacy = pytest.importorskip("spacy", reason="the extra spacy is not installed")

WORDS = ["Anna", "and", "Bo", "\n\n", "left", ".", "She", "smiled", " "]


def doc(**changed):
    fields = {
        "words": WORDS,
        "spaces": [True, True, True, False, False, True, True, True, False],
        "heads": [4, 0, 0, 2, 4, 4, 7, 7, 7],
        "deps": ["nsubj", "cc", "conj", "dep", "ROOT", "punct", "nsubj", "ROOT", "dep"],
        "sent_starts": [True, False, False, False, False, False, True, False, False],
        "pos": ["PROPN", "CCONJ", "PROPN", "SPACE", "VERB", "PUNCT", "PRON", "VERB", "SPACE"],
        "lemmas": ["Anna", "and", "Bo", "\n\n", "leave", ".", "she", "smile", " "],
        "morphs": ["Number=Sing", "", "Number=Sing", "", "Tense=Past", "", "Case=Nom|Number=Sing", "", ""],
    } | changed
    return spacy.tokens.Doc(spacy.blank("en").vocab, **fields)


def test_by_hand() -> None:
    d = doc()
    d.spans["coref_clusters_1"] = [d[0:1], d[6:7]]
    d.spans["coref_clusters_2"] = [spacy.tokens.Span(d, 0, 4, label="PERSON")]
    d.spans["sc"] = [d[0:2]]
    document = from_spacy(d)
    first, second = document.sentences
    assert first.words == ("Anna", "and", "Bo", "left", ".")
    assert first.governors == (4, 1, 1, 0, 4)
    assert first.relations == ("nsubj", "cc", "conj", "ROOT", "punct")
    assert first.upos == ("PROPN", "CCONJ", "PROPN", "VERB", "PUNCT")
    assert first.xpos is None
    assert first.lemmas == ("Anna", "and", "Bo", "leave", ".")
    assert first.feats[0] == {"Number": "Sing"}
    assert first.text(spacing="natural")[0] == "Anna and Bo left."
    assert (second.words, second.governors) == (("She", "smiled"), (2, 0))
    assert document.mentions == (
        Mention(0, 3, "coref_clusters_2", 0, "PERSON"),
        Mention(0, 1, "coref_clusters_1", 0),
        Mention(5, 6, "coref_clusters_1", 5),
    )
    assert [m.entity for m in from_spacy(d, clusters="sc").mentions] == ["sc"]


def test_what_hangs_on_white_space_hangs_on_its_governor() -> None:
    d = doc(heads=[3, 0, 0, 4, 4, 4, 7, 7, 7])
    assert from_spacy(d).sentences[0].governors == (4, 1, 1, 0, 4)


def test_a_tokenizer_alone_gives_words() -> None:
    (sentence,) = from_spacy(spacy.blank("en")("Don't go.  Stay.\n")).sentences
    assert sentence.words == ("Do", "n't", "go", ".", "Stay", ".")
    assert (sentence.governors, sentence.relations, sentence.upos, sentence.lemmas) == (None, None, None, None)
    assert sentence.text(spacing="natural")[0] == "Don't go. Stay."


def test_sentences_without_trees() -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    document = from_spacy(nlp("One. Two."))
    assert [s.words for s in document.sentences] == [("One", "."), ("Two", ".")]
    assert [s.governors for s in document.sentences] == [None, None]


def test_a_line_break_is_a_space() -> None:
    d = spacy.tokens.Doc(spacy.blank("en").vocab, words=["a", "\n", "b"], spaces=[False, False, False])
    assert from_spacy(d).sentences[0].text(spacing="natural")[0] == "a b"


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match=r"^from_spacy takes a spaCy Doc, such as nlp\(text\), but got 'text'$"):
        from_spacy("text")
    for text in ("", " \n"):
        with pytest.raises(InputError, match=r"^the Doc has no words: its text is empty or only white space$"):
            from_spacy(spacy.blank("en")(text))


def test_a_tree_across_sentences_is_refused() -> None:
    """spaCy itself keeps trees within sentences where it can; a Doc of another program need not."""

    def token(i, head, text):
        return SimpleNamespace(i=i, head=head, text=text, is_space=False)

    root = token(0, None, "a")
    root.head = root
    other = token(1, root, "b")
    other.morph = root.morph = SimpleNamespace(to_dict=dict)
    for t in (root, other):
        t.dep_ = t.lemma_ = t.pos_ = t.tag_ = t.whitespace_ = "x"
    fake = SimpleNamespace(has_annotation=lambda _: True, spans={}, sents=[[root], [other]])
    with pytest.raises(InputError, match=r"^'b' hangs on 'a' in another sentence; set sentence boundaries"):
        from_spacy(fake)
