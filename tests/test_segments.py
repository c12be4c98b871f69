from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokenizer_zoo
from bertattn.errors import InputError, ModelError, TooLongError, ValidationError
from bertattn.inputs import TokenIds
from bertattn.readers import read_text
from bertattn.segments import Segments, _truncate, paragraph_segments


def pieces(text: str, tokenizer=None) -> list[int]:
    tokenizer = tokenizer or tokenizer_zoo.wordpiece()
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def sides(segment: TokenIds) -> tuple[list[int], list[int]]:
    """The tokens of a and of b in a segment of `wordpiece`."""
    tokenizer = tokenizer_zoo.wordpiece()
    ids = list(segment.ids)
    middle = ids.index(tokenizer.sep_token_id)
    assert ids[0] == tokenizer.cls_token_id
    assert ids[-1] == tokenizer.sep_token_id
    assert ids.count(tokenizer.sep_token_id) == 2
    return ids[1:middle], ids[middle + 1 : -1]


# One letter is one token of the small vocabulary, so lines can be counted by eye.


def test_two_lines_make_one_segment():
    tokenizer = tokenizer_zoo.wordpiece()
    (segment,) = paragraph_segments([("a b", "c")], tokenizer)
    a, b = pieces("a b"), pieces("c")
    assert segment.ids == (2, *a, 3, *b, 3)
    assert segment.segments == (0, 0, 0, 0, 1, 1)
    assert segment.token_types == (0, 0, 0, 0, 1, 1)
    assert segment.ids == tuple(tokenizer("a b", "c")["input_ids"])
    assert segment.token_types == tuple(tokenizer("a b", "c")["token_type_ids"])


def test_worked_example():
    """Room for 6 tokens of text. Chunks: (3 + 3), (5 + 4), then what is left, one line."""
    lines = ("a b c", "d e f", "g h i j k", "l m n o", "p q")
    result = paragraph_segments([lines], tokenizer_zoo.wordpiece(), max_tokens=9, seed=3)
    assert len(result) == 2
    assert sides(result[0]) == (pieces("a b c"), pieces("d e f"))
    # Three tokens too many: from a (5 > 4), then from b (a tie), then from a (4 > 3); each draw says which end.
    rng = random.Random(3)
    rng.randint(1, 1)
    rng.randint(1, 1)
    a, b = pieces(lines[2]), pieces(lines[3])
    for side in (a, b, a):
        del side[0 if rng.random() < 0.5 else -1]
    assert sides(result[1]) == (a, b)
    assert (len(a), len(b)) == (3, 3)
    assert result.one_line_chunks == 1
    assert result.cut_tokens == 3
    assert (result.lost_lines, result.not_chosen) == (0, 0)
    assert repr(result) == "Segments(2; left out: 1 one-line chunks, 0 lines, 3 tokens, 0 segments not chosen)"


def test_of_two_equal_sides_the_second_is_cut():
    (segment,) = paragraph_segments([("a b", "c d")], tokenizer_zoo.wordpiece(), max_tokens=6)
    a, b = sides(segment)
    assert a == pieces("a b")
    assert b in (pieces("c"), pieces("d"))


def test_documents_are_not_mixed():
    result = paragraph_segments([("a", "b"), (), ("c", "d"), ("e",)], tokenizer_zoo.wordpiece())
    assert [sides(s) for s in result] == [(pieces("a"), pieces("b")), (pieces("c"), pieces("d"))]
    assert result.one_line_chunks == 1


def test_parting_falls_anywhere_between_lines():
    lines = tuple("abcd")
    partings = {len(sides(paragraph_segments([lines], tokenizer_zoo.wordpiece(), seed=s)[0])[0]) for s in range(40)}
    assert partings == {1, 2, 3}


def test_one_line_chunk_as_the_released_code_does():
    long = " ".join("abcdefgh")
    documents = [("a", "b c d e f", long, "g", "h"), (long, "x", "y"), ("i", "j")]
    skipping = paragraph_segments(documents, tokenizer_zoo.wordpiece(), max_tokens=9)
    ending = paragraph_segments(documents, tokenizer_zoo.wordpiece(), max_tokens=9, one_line_chunk="end_document")
    assert [sides(s)[0] for s in skipping] == [pieces(x) for x in "agxi"]
    assert (skipping.one_line_chunks, skipping.lost_lines) == (2, 0)
    assert [sides(s)[0] for s in ending] == [pieces(x) for x in "ai"]
    assert (ending.one_line_chunks, ending.lost_lines) == (2, 4)


def test_last_document_as_the_released_code_does():
    documents = [("a", "b"), ("c", "d", "e")]
    result = paragraph_segments(iter(documents), tokenizer_zoo.wordpiece(), last_document="lose")
    assert [sides(s)[0] for s in result] == [pieces("a")]
    assert result.lost_lines == 3


def test_segment_ids_zeros():
    (pair,) = paragraph_segments([("a", "b")], tokenizer_zoo.wordpiece())
    (zeros,) = paragraph_segments([("a", "b")], tokenizer_zoo.wordpiece(), segment_ids="zeros")
    assert zeros.ids == pair.ids
    assert zeros.segments == pair.segments == (0, 0, 0, 1, 1)
    assert zeros.token_types == (0, 0, 0, 0, 0)


def test_count_chooses_at_random_but_the_same_again():
    documents = [(a, b) for a in "abcdefgh" for b in "ijkl"]
    tokenizer = tokenizer_zoo.wordpiece()
    everything = paragraph_segments(documents, tokenizer)
    chosen = paragraph_segments(documents, tokenizer, count=5, seed=1)
    assert len(everything) == 32
    assert len(chosen) == 5
    assert chosen.not_chosen == 27
    assert set(chosen) < set(everything)
    assert chosen == paragraph_segments(documents, tokenizer, count=5, seed=1)
    assert chosen.items != paragraph_segments(documents, tokenizer, count=5, seed=2).items
    assert chosen.items != everything.items[:5]
    # No parting has a choice here, but each chunk of two lines draws its randint first.
    rng = random.Random(1)
    for _ in range(32):
        rng.randint(1, 1)
    order = list(everything)
    rng.shuffle(order)
    assert list(chosen) == order[:5]
    with pytest.warns(UserWarning, match=r"^100 segments were asked for but the text has only 32$"):
        assert len(paragraph_segments(documents, tokenizer, count=100)) == 32
    assert len(paragraph_segments(documents, tokenizer, count=0)) == 0


def test_the_global_generator_is_left_alone():
    random.seed(5)
    state = random.getstate()
    paragraph_segments([("a b c d", "e f g h")], tokenizer_zoo.wordpiece(), max_tokens=8, count=1)
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("name", "specials"),
    [
        ("wordpiece", 3),
        ("byte_bpe_roberta", 4),
        ("byte_bpe_gpt2", 0),
        ("unigram_xlmr", 4),
        ("unigram_t5", 2),
        ("bpe_llama", 2),
        ("bpe_no_pre_tokenizer", 2),
    ],
)
def test_the_frame_is_the_tokenizers_own(name, specials):
    tokenizer = tokenizer_zoo.FAST[name]()
    a, b = "The keeper counted ships.", "Copper conducts heat."
    (segment,) = paragraph_segments([(a, b)], tokenizer, max_tokens=200)
    expected = tokenizer(a, b)
    assert list(segment.ids) == expected["input_ids"]
    assert len(segment) == len(pieces(a, tokenizer)) + len(pieces(b, tokenizer)) + specials
    if "token_type_ids" in tokenizer.model_input_names:
        assert list(segment.token_types) == expected["token_type_ids"]
    else:
        assert set(segment.token_types) == {0}, "a model that knows no token types is given none but 0"
    for place, sequence in enumerate(expected.encodings[0].sequence_ids):
        if sequence is not None:
            assert segment.segments[place] == sequence
    assert list(segment.segments) == sorted(segment.segments)
    (short,) = paragraph_segments([(a, b)], tokenizer, max_tokens=len(segment) - 1)
    assert len(short) == len(segment) - 1


def test_special_tokens_in_the_text_are_text():
    (segment,) = paragraph_segments([("a [SEP] b", "[CLS]")], tokenizer_zoo.wordpiece())
    a, b = sides(segment)  # checks that there are two [SEP]
    assert len(a) > 3
    assert tokenizer_zoo.wordpiece().cls_token_id not in b


def test_lines_without_tokens_are_passed_over():
    result = paragraph_segments([("a", "", "\u200b", "b"), ("\u200b", "c")], tokenizer_zoo.wordpiece())
    assert [sides(s) for s in result] == [(pieces("a"), pieces("b"))]
    assert result.one_line_chunks == 1


def test_nothing_gives_nothing():
    assert paragraph_segments([], tokenizer_zoo.wordpiece()) == Segments(())
    assert list(paragraph_segments([()], tokenizer_zoo.wordpiece())) == []


def test_segments_are_a_sequence():
    result = paragraph_segments([("a", "b"), ("c", "d")], tokenizer_zoo.wordpiece())
    assert len(result) == 2
    assert result[1] is list(result)[1]
    assert result[:1] == result.items[:1]


def test_errors():
    tokenizer = tokenizer_zoo.wordpiece()
    with pytest.raises(TooLongError, match="max_tokens is 4, but 3 special tokens and two of text need 5"):
        paragraph_segments([("a", "b")], tokenizer, max_tokens=4)
    with pytest.raises(InputError, match=r"document 1 is one string, 'a b'; give a sequence of its lines"):
        paragraph_segments([("a", "b"), "a b"], tokenizer)
    with pytest.raises(InputError, match="document 1 must be a sequence of lines, but is None"):
        paragraph_segments([("a", "b"), None, ("a", "b")], tokenizer)
    with pytest.raises(InputError, match="line 1 of document 0 must be a str, but is 7"):
        paragraph_segments([("a", 7)], tokenizer)
    with pytest.raises(InputError, match=r"line 1 of document 0 holds the lone surrogate '\\ud83d'"):
        paragraph_segments([("a", "b\ud83d")], tokenizer)
    with pytest.raises(ModelError, match="EsmTokenizer is a slow tokenizer"):
        paragraph_segments([("a", "b")], tokenizer_zoo.slow_tokenizer())
    with pytest.raises(ValidationError, match="count must be 0 or more, but is -1"):
        paragraph_segments([("a", "b")], tokenizer, count=-1)
    for name, choices in (
        ("segment_ids", "'pair' or 'zeros'"),
        ("one_line_chunk", "'skip' or 'end_document'"),
        ("last_document", "'keep' or 'lose'"),
    ):
        with pytest.raises(ValidationError, match=re.escape(f"{name} must be {choices}, but is 'x'")):
            paragraph_segments([("a", "b")], tokenizer, **{name: "x"})


LINES = st.lists(
    st.sampled_from(["the", "keeper", "a", "light-house", "x y z", ",", "Ünï", "\u200b"]), min_size=1, max_size=8
).map(" ".join)
DOCUMENTS = st.lists(st.lists(LINES, max_size=7), max_size=5)


@given(DOCUMENTS, st.integers(5, 30), st.integers(0, 5), st.sampled_from(["skip", "end_document"]))
def test_laws_of_any_documents(documents, max_tokens, seed, one_line_chunk):
    tokenizer = tokenizer_zoo.wordpiece()
    options = {"max_tokens": max_tokens, "seed": seed, "one_line_chunk": one_line_chunk}
    result = paragraph_segments(documents, tokenizer, **options)
    assert result == paragraph_segments(documents, tokenizer, **options)
    room = max_tokens - 3
    chunks = expected_chunks(documents, room, one_line_chunk)
    assert len(result) == len(chunks)
    for segment, chunk in zip(result, chunks, strict=True):
        assert len(segment) <= max_tokens
        a, b = sides(segment)
        assert a
        assert b
        total = sum(map(len, chunk))
        assert len(a) + len(b) == min(total, room)
        assert any(fits(a, b, chunk[:i], chunk[i:], room) for i in range(1, len(chunk)))
    cut = sum(max(0, sum(map(len, chunk)) - room) for chunk in chunks)
    assert result.cut_tokens == cut
    everything = sum(1 for document in documents for line in document if pieces(line))
    assert sum(map(len, chunks)) + result.one_line_chunks + result.lost_lines == everything


def expected_chunks(documents, room, one_line_chunk):
    """Loops from methods A.1: the chunks that can be parted."""
    found = []
    for document in documents:
        chunk, total = [], 0
        lines = [pieces(line) for line in document if pieces(line)]
        for i, line in enumerate(lines):
            chunk.append(line)
            total += len(line)
            if total >= room or i == len(lines) - 1:
                if len(chunk) > 1:
                    found.append(chunk)
                elif one_line_chunk == "end_document":
                    break
                chunk, total = [], 0
    return found


def fits(a, b, first, second, room) -> bool:
    """Whether a and b are runs of the two parts of a chunk, cut as fairly as can be."""
    whole_a, whole_b = [t for line in first for t in line], [t for line in second for t in line]
    if not (is_run(a, whole_a) and is_run(b, whole_b)):
        return False
    if len(whole_a) + len(whole_b) <= room:
        return a == whole_a and b == whole_b
    return abs(len(a) - len(b)) <= 1 or (a == whole_a and len(a) < len(b)) or (b == whole_b and len(b) < len(a))


def is_run(part, whole) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


@pytest.mark.parametrize(
    ("file", "segments", "one_line_chunks"),
    [("wiki_sents_gum.txt", 571, 16), ("wiki_sents_xquad.txt", 269, 15)],
)
def test_wikipedia_gives_the_segments_its_readme_counts(data_dir, file, segments, one_line_chunks):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_zoo.minilm_path())
    result = paragraph_segments(read_text(data_dir / "text" / file), tokenizer)
    assert len(result) == segments
    assert result.one_line_chunks == one_line_chunks
    assert max(map(len, result)) == 128


def test_lines_without_tokens_are_counted() -> None:
    document = ("the heat and the light", "\x00", "   ", "a small bird")
    made = paragraph_segments([document], tokenizer_zoo.wordpiece())
    assert len(made) == 1
    assert made.empty_lines == 2
    assert paragraph_segments([document[::3]], tokenizer_zoo.wordpiece()).empty_lines == 0


def test_a_line_of_a_million_tokens_is_cut_at_once() -> None:
    a, b = list(range(1_000_000)), list(range(1_000_000))
    assert _truncate(a, b, 60, random.Random(3)) == 2_000_000 - 60
    assert all(part == list(range(part[0], part[0] + 30)) for part in (a, b))


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60), st.integers(0, 100))
def test_tokens_are_cut_off_one_by_one(m: int, n: int, room: int, seed: int) -> None:
    a, b, c, d = list(range(m)), list(range(n)), list(range(m)), list(range(n))
    _truncate(a, b, room, random.Random(seed))
    rng = random.Random(seed)
    while len(c) + len(d) > room:
        (c if len(c) > len(d) else d).pop(0 if rng.random() < 0.5 else -1)
    assert (a, b) == (c, d)
