"""Word vectors as a value: looked up, covering a corpus, reduced, kept; and those of a model itself."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA

import model_zoo
from bertattn import Document, Extractor, Sentence
from bertattn.annotation import DocumentWindow
from bertattn.errors import AlignmentError, ModelError, StorageError, ValidationError
from bertattn.results import Result
from bertattn.vectors import VectorCoverage, WordVectors, words_of

ROWS = [[1.0, 0.5, 0.0], [0.25, 2.0, -1.0], [0.0, 0.0, 3.0]]
VECTORS = WordVectors(["the", "cat", "é"], ROWS, name="v.txt")
SENTENCE = Sentence(["The", "cat", "saw", "a", "CAT", "Saw"])


def test_a_value_by_hand() -> None:
    assert VECTORS.words == ("the", "cat", "é")
    assert (len(VECTORS), VECTORS.dimension, VECTORS.lowercase, VECTORS.name) == (3, 3, True, "v.txt")
    assert VECTORS.matrix.dtype == np.float32
    assert VECTORS.matrix.tolist() == ROWS
    assert repr(VECTORS) == "WordVectors(3 words, 3 dimensions, lower-cased, 'v.txt')"
    found = VECTORS.lookup(("É", "dog", "THE"))
    assert found.dtype == np.float32
    assert found.tolist() == [ROWS[2], [0, 0, 0], ROWS[0]]
    assert VECTORS.knows(iter(["É", "dog", "THE"])).tolist() == [True, False, True]
    assert VECTORS.lookup([]).shape == (0, 3)
    assert VECTORS.knows([]).shape == (0,)
    assert ["Cat" in VECTORS, "dog" in VECTORS, 3 in VECTORS] == [True, False, False]


def test_cased_words_are_looked_up_as_they_stand() -> None:
    cased = WordVectors(["The", "the"], [[1], [2]], lowercase=False)
    assert cased.lookup(["The", "the", "THE"]).ravel().tolist() == [1, 2, 0]
    assert repr(cased) == "WordVectors(2 words, 1 dimensions, cased)"
    assert cased.coverage(["THE", "the", "The"]).unknown == (("THE", 1),)


@given(
    st.lists(st.sampled_from(["a", "b", "ß", "c d"]), unique=True),
    st.lists(st.sampled_from(["a", "A", "b", "B", "ß", "x", "C D"])),
)
def test_looking_up_is_a_loop_over_the_words(known: list[str], asked: list[str]) -> None:
    matrix = np.arange(2 * len(known), dtype=np.float64).reshape(-1, 2) + 1
    vectors = WordVectors(known, matrix)
    rows, knows = [], []
    for word in asked:
        knows.append(False)
        rows.append([0.0, 0.0])
        for number, other in enumerate(known):
            if other == word.lower():
                rows[-1], knows[-1] = matrix[number].tolist(), True
    assert vectors.lookup(asked).tolist() == rows
    assert vectors.knows(asked).tolist() == knows == [word in vectors for word in asked]


@pytest.mark.parametrize(
    ("words", "matrix", "message"),
    [
        ("the", [[1.0]], "words must be a sequence, one entry a vector, but is one string 'the'"),
        (["a", ""], [[1.0], [2.0]], "word 1 must be a non-empty string, but is ''"),
        (["a", 5], [[1.0], [2.0]], "word 1 must be a non-empty string, but is 5"),
        (["a", "b", "a"], [[1.0]] * 3, "each word has one vector, but 'a' comes 2 times"),
        (["The"], [[1.0]], "words are looked up lower-cased, so 'The' would never be found; give it lower-cased or"),
        (["a"], [1.0], r"matrix must be \[word, dimension\] with 1 rows and at least one column, but is \[1\]"),
        (["a"], [[]], r"matrix must be .* but is \[1, 0\]"),
        (["a"], [[1.0], [2.0]], r"matrix must be .* but is \[2, 1\]"),
        (["a"], [["x"]], "matrix must hold a row of numbers for each word: they are <U1"),
        (["a"], [[True]], "matrix must hold a row of numbers for each word: they are bool"),
        (["a", "b"], [[1.0], [1.0, 2.0]], "matrix must hold a row of numbers for each word: "),
        (["a", "b"], [[1.0], [np.nan]], "vectors are finite float32 numbers, but not that of word 1"),
        (["a", "b"], [[1e39], [0.0]], "vectors are finite float32 numbers, but not that of word 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(words, matrix, message: str) -> None:
    with pytest.raises(ValidationError, match=f"^{message}"):
        WordVectors(words, matrix)


def test_it_cannot_be_changed() -> None:
    mine = np.array(ROWS, np.float32)
    vectors = WordVectors(["the", "cat", "é"], mine)
    digest = vectors.digest
    mine[:] = 0
    assert vectors.matrix.tolist() == ROWS
    with pytest.raises(ValueError, match="read-only"):
        vectors.matrix[0, 0] = 5
    with pytest.raises(dataclasses.FrozenInstanceError):
        vectors.words = ()  # type: ignore[misc]
    vectors.lookup(["the"])[:] = 7  # a copy, for the caller to do with as they like
    assert (WordVectors(vectors.words, vectors.matrix).digest, vectors.matrix.tolist()) == (digest, ROWS)


def test_an_array_that_nobody_can_change_is_not_copied() -> None:
    mine = np.array(ROWS, np.float32)
    mine.flags.writeable = False
    assert np.shares_memory(WordVectors(VECTORS.words, mine).matrix, mine)
    assert WordVectors(VECTORS.words, torch.tensor(ROWS, dtype=torch.bfloat16)) == VECTORS


def test_equality_is_by_content_and_not_by_name() -> None:
    same = WordVectors(list(VECTORS.words), np.array(ROWS), name="other")
    assert same == VECTORS
    assert hash(same) == hash(VECTORS)
    assert same.digest == VECTORS.digest
    assert len(same.digest) == 64
    others = [
        WordVectors(["the", "dog", "é"], ROWS),
        WordVectors(["cat", "the", "é"], ROWS),
        WordVectors(VECTORS.words, [*ROWS[:2], [0.0, 0.0, 3.5]]),
        WordVectors(VECTORS.words, ROWS, lowercase=False),
        WordVectors(["a", "b"], [[1, 2], [3, 4]]),
        WordVectors(["a", "b"], [[1], [2]]),
    ]
    assert len({VECTORS, *others}) == 7
    assert VECTORS != ROWS
    one_by_six, three_by_two = (WordVectors([], np.zeros((0, columns))) for columns in (6, 2))
    assert one_by_six != three_by_two


def test_copies_are_itself_and_pickles_are_equal() -> None:
    assert copy.deepcopy([VECTORS])[0] is VECTORS
    again = pickle.loads(pickle.dumps(VECTORS))
    assert (again, again.name, again.lowercase) == (VECTORS, VECTORS.name, True)
    assert not again.matrix.flags.writeable

    class Probe(BaseEstimator):
        def __init__(self, vectors: WordVectors) -> None:
            self.vectors = vectors

    assert clone(Probe(VECTORS)).vectors is VECTORS


@pytest.mark.parametrize("words", ["the", 5])
def test_one_word_is_not_several(words) -> None:
    for function in (VECTORS.lookup, VECTORS.knows):
        with pytest.raises(ValidationError, match=r"^words are looked up as a list, but got .*; write \[word\]"):
            function(words)


def test_words_of_all_kinds() -> None:
    document = Document([Sentence(["a", "b"]), Sentence(["c"])])
    window = DocumentWindow(document.sentences[1:])
    assert list(words_of([Sentence(["x"]), document, window, "y z"])) == ["x", "a", "b", "c", "c", "y z"]
    for one in ("the", SENTENCE, document, window, 5):
        with pytest.raises(ValidationError, match=r"^words are given as a list of words or of sentences, but got "):
            list(words_of(one))
    with pytest.raises(ValidationError, match=r"^words are strings, or those of sentences, but one is \['a'\]"):
        list(words_of([["a"]]))


def test_coverage_by_hand() -> None:
    coverage = VECTORS.coverage([SENTENCE, "É", Document([Sentence(["A", "zoo"])])])
    assert coverage == VectorCoverage(9, 6, (("a", 2), ("saw", 2), ("zoo", 1)), "v.txt")
    assert (coverage.known_tokens, coverage.known_types) == (4, 3)
    assert (coverage.token_fraction, coverage.type_fraction) == (4 / 9, 0.5)
    assert repr(coverage) == "VectorCoverage(44.4% of 9 tokens, 50.0% of 6 types known)"
    assert str(coverage).endswith("\nmost frequent unknown words: 'a' 2, 'saw' 2, 'zoo' 1")
    assert coverage.to_records() == [
        {"counted": "tokens", "count": 9, "known": 4, "fraction": 4 / 9},
        {"counted": "types", "count": 6, "known": 3, "fraction": 0.5},
    ]
    assert str(VECTORS.coverage(["cat"])).endswith("unknown words: none")


def test_coverage_of_nothing_is_undefined() -> None:
    empty = VECTORS.coverage([])
    assert (empty.tokens, empty.known_tokens) == (0, 0)
    assert np.isnan([empty.token_fraction, empty.type_fraction]).all()


@given(st.lists(st.sampled_from(["the", "THE", "cat", "dog", "Dog", "owl"])))
def test_coverage_is_a_count_of_looked_up_words(words: list[str]) -> None:
    coverage = VECTORS.coverage(words)
    assert coverage.known_tokens == sum(VECTORS.knows(words))
    assert coverage.known_types == len({word.lower() for word in words if word in VECTORS})
    assert dict(coverage.unknown) == Counter(word.lower() for word in words if word not in VECTORS)
    counts = [count for _, count in coverage.unknown]
    assert counts == sorted(counts, reverse=True)
    assert coverage == VECTORS.coverage(words[::-1])


def test_coverage_is_saved(tmp_path: Path) -> None:
    coverage = VECTORS.coverage([SENTENCE])
    assert isinstance(coverage, Result)
    coverage.save(tmp_path / "c.json")
    assert VectorCoverage.load(tmp_path / "c.json") == coverage


@pytest.mark.parametrize("dimension", [1, 3, 6])
def test_reducing_is_principal_component_analysis(dimension: int) -> None:
    rng = np.random.default_rng(5)
    matrix = (rng.normal(size=(40, 6)) * [3, 1, 0.5, 2, 0.1, 1.5] + 4).astype(np.float32)
    vectors = WordVectors([f"w{i}" for i in range(40)], matrix, name="v")
    reduced = vectors.reduced(dimension)
    assert (reduced.words, reduced.lowercase, reduced.dimension) == (vectors.words, True, dimension)
    assert reduced.name == f"v, {dimension} principal components"
    expected = PCA(dimension, svd_solver="full").fit(matrix.astype(np.float64))
    components = expected.components_ * np.sign(
        expected.components_[np.arange(dimension), np.abs(expected.components_).argmax(1)][:, None]
    )
    np.testing.assert_allclose(reduced.matrix, (matrix - matrix.mean(0)) @ components.T, atol=1e-5)


def test_reducing_to_all_dimensions_keeps_distances_and_ignores_the_order_of_words() -> None:
    rng = np.random.default_rng(6)
    matrix = rng.normal(size=(12, 4)).astype(np.float32)
    words = [f"w{i}" for i in range(12)]
    reduced = WordVectors(words, matrix).reduced(4)
    np.testing.assert_allclose(
        np.linalg.norm(reduced.matrix[:, None] - reduced.matrix, axis=-1),
        np.linalg.norm(matrix[:, None] - matrix, axis=-1),
        atol=1e-5,
    )
    order = rng.permutation(12)
    other = WordVectors([words[i] for i in order], matrix[order]).reduced(4)
    np.testing.assert_allclose(other.lookup(words), reduced.matrix, atol=1e-5)


def test_cased_vectors_stay_cased_when_reduced() -> None:
    assert not WordVectors(["A", "b"], [[1, 2], [3, 5]], lowercase=False).reduced(1).lowercase


@pytest.mark.parametrize("dimension", [0, 4, 1.0, True, "2"])
def test_a_dimension_that_there_is_not_is_refused(dimension) -> None:
    message = f"^3 vectors of 3 dimensions can be reduced to 1 to 3 of them, but not to {dimension!r}$"
    with pytest.raises(ValidationError, match=message):
        VECTORS.reduced(dimension)
    with pytest.raises(ValidationError, match=r"^2 vectors of 3 dimensions can be reduced to 1 to 2 of them"):
        WordVectors(["a", "b"], ROWS[:2]).reduced(3)


@pytest.mark.parametrize(
    "vectors",
    [
        VECTORS,
        WordVectors([], np.zeros((0, 4))),
        WordVectors(["The", "\ud800", "a\nb", "🙂"], np.full((4, 2), 0.1), lowercase=False, name="🙂"),
    ],
)
def test_saved_and_loaded(vectors: WordVectors, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    vectors.save(path)
    again = WordVectors.load(path)
    assert (again, again.name, again.words) == (vectors, vectors.name, vectors.words)
    assert not again.matrix.flags.writeable
    first = path.read_bytes()
    again.save(path)
    assert path.read_bytes() == first


def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    VECTORS.save(path)
    content = path.read_bytes()

    def refused() -> str:
        with pytest.raises(StorageError) as caught:
            WordVectors.load(path)
        return str(caught.value).removeprefix(f"{path} ")

    def rewritten(**changes: object) -> None:
        with safe_open(path, "numpy") as file:
            document = json.loads(file.metadata()["bertattn"])
        save_file(load_file(path), path, {"bertattn": json.dumps(document | changes)})

    for torn in (content[:-5], b"the 0.5 1\n", b""):
        path.write_bytes(torn)
        assert refused().startswith("is torn or no safetensors file (")
    assert content.count(np.float32(-1).tobytes()) == 1
    path.write_bytes(content.replace(np.float32(-1).tobytes(), np.float32(-2).tobytes()))
    assert refused() == "is damaged: it does not have the checksum in its header; write it anew"
    save_file({"matrix": np.ones((1, 1), np.float32)}, path)
    assert refused() == "was not written by bertattn; read it with the program that wrote it"
    VECTORS.save(path)
    rewritten(kind="AttentionTensor")
    assert refused() == "holds a AttentionTensor, not a WordVectors"
    VECTORS.save(path)
    rewritten(version=2)
    assert refused().startswith("has version 2 of the format but this bertattn reads up to 1; upgrade with")
    VECTORS.save(path)
    rewritten(value={"lowercase": True})
    assert refused() == "is damaged: KeyError: 'sha256'; write it anew"
    with pytest.raises(FileNotFoundError):
        WordVectors.load(tmp_path / "absent")
    with pytest.raises(StorageError, match="is a folder; give the name of a file in it"):
        VECTORS.save(tmp_path)


def embeddings(ext: Extractor, tokens: list[str]) -> list[float]:
    """The mean embedding of tokens named by hand."""
    table = ext.model.get_input_embeddings().weight.detach().double()
    total = torch.zeros(table.shape[1], dtype=torch.float64)
    for token in tokens:
        total += table[ext.tokenizer.convert_tokens_to_ids(token)]
    return (total / len(tokens)).tolist()


def test_the_models_own_vectors_of_an_uncased_model() -> None:
    ext = Extractor(*model_zoo.build("bert"), name="tiny")
    vectors = ext.word_vectors([Sentence(["The", "bread"]), "the", "🥳", "\u200b", "BREAD", "\ud800"])
    assert vectors.words == ("the", "bread")
    assert (vectors.lowercase, vectors.name, vectors.dimension) == (True, "tiny, input embeddings", 32)
    expected = [embeddings(ext, ["br", "##ead"]), embeddings(ext, ["the"])]
    np.testing.assert_allclose(vectors.lookup(["Bread", "the"]), expected, rtol=1e-6)
    assert not vectors.knows(["🥳", "\u200b", "\ud800"]).any()


@pytest.mark.parametrize(
    ("name", "pieces", "capital", "unspelled"),
    [
        ("gpt2", ["Ġb", "re", "ad"], ["Ġ", "B", "re", "ad"], ""),
        ("roberta", ["Ġb", "re", "ad"], ["Ġ", "B", "re", "ad"], ""),
        ("llama", ["▁b", "re", "ad"], ["▁", "B", "re", "ad"], ""),
        ("t5", ["▁br", "ead"], ["▁", "B", "r", "ead"], "na🥳"),
        ("xlm-roberta", ["▁br", "ead"], ["▁", "B", "r", "ead"], "</s>"),
    ],
)
def test_the_models_own_vectors_of_cased_models_are_those_of_words_after_a_space(
    name: str, pieces: list[str], capital: list[str], unspelled: str
) -> None:
    ext = Extractor(*model_zoo.build(name))
    vectors = ext.word_vectors(["bread", "Bread", unspelled])
    assert not vectors.lowercase
    assert vectors.words == ("bread", "Bread")
    np.testing.assert_allclose(vectors.matrix, [embeddings(ext, pieces), embeddings(ext, capital)], rtol=1e-6)


def test_the_models_own_vectors_depend_on_no_other_word_until_they_are_reduced() -> None:
    ext = Extractor(*model_zoo.build("electra"))
    words = ["bread", "ships", "north", "fog"]
    all_at_once = ext.word_vectors(words)
    assert all_at_once.dimension == 16  # Electra's embeddings are narrower than its layers
    for word in words:
        assert ext.word_vectors([word]).lookup([word]).tolist() == all_at_once.lookup([word]).tolist()
    assert ext.word_vectors(words, dimension=3) == all_at_once.reduced(3)
    with pytest.raises(ValidationError, match=r"^4 vectors of 16 dimensions can be reduced to 1 to 4 of them"):
        ext.word_vectors(words, dimension=5)


def test_embeddings_in_half_precision_are_read_in_single() -> None:
    model, tokenizer = model_zoo.build("distilbert")
    half = Extractor(copy.deepcopy(model).to(torch.bfloat16), tokenizer).word_vectors(["bread", "fog"])
    whole = Extractor(model, tokenizer).word_vectors(["bread", "fog"])
    np.testing.assert_allclose(half.matrix, whole.matrix, rtol=0.02, atol=0.01)


def test_a_model_without_embeddings_or_a_tokenizer_without_offsets_is_refused() -> None:
    ext = Extractor(*model_zoo.build("bert"))
    ext._vocabulary = None  # as `_model.embedding_rows` says of a model without a table
    with pytest.raises(
        ModelError, match=r"^BertModel has no table of input embeddings; read word vectors from a file$"
    ):
        ext.word_vectors(["bread"])
    with pytest.raises(AlignmentError, match=r"^EsmTokenizer keeps no character offsets"):
        Extractor(*model_zoo.build("esm")).word_vectors(["bread"])
    with pytest.raises(ValidationError, match=r"^words are given as a list of words or of sentences"):
        Extractor(*model_zoo.build("bert")).word_vectors("bread")
