"""What is given in the wrong place is refused by name, with the remedy, and not by an error from deep inside."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tokenizer_zoo
from bertattn import alignment, heads, patterns, readers, segments
from bertattn.annotation import Sentence, head_words
from bertattn.clustering import pairwise_js
from bertattn.errors import InputError, ValidationError

TREE = Sentence(["Dogs", "bark"], governors=[2, 0])
OF_A_TENSOR: dict[str, Callable[[Any], Any]] = {
    "merge_subwords": alignment.merge_subwords,
    "drop_special": alignment.drop_special,
    "predict_governors": heads.predict_governors,
    "shuffled": lambda x: heads.shuffled(x, seed=0),
    "entropy": patterns.entropy,
    "pairwise_js": pairwise_js,
}


@pytest.mark.parametrize("wrong", ["a text", np.eye(3), [np.eye(3)], None], ids=["str", "array", "list", "None"])
@pytest.mark.parametrize("name", OF_A_TENSOR)
def test_functions_of_a_tensor_say_that_they_need_one(name: str, wrong: Any) -> None:
    told = f"{name} needs an AttentionTensor, but got {type(wrong).__name__}; an Extractor makes one of a text"
    with pytest.raises(ValidationError, match=f"^{re.escape(told)}$"):
        OF_A_TENSOR[name](wrong)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (heads.best_heads, "scores"),
        (heads.cross_fit, "scores"),
        (lambda x: heads.head_tests(x, "obj"), "scores"),
        (lambda x: heads.compare(x, x), "a"),
    ],
    ids=["best_heads", "cross_fit", "head_tests", "compare"],
)
def test_functions_of_relation_scores_say_what_gives_them(function: Callable[[Any], Any], name: str) -> None:
    with pytest.raises(ValidationError, match=f"^{name} must be what score_relations gives, but is a list; of heads"):
        function([])


def test_split_says_what_gives_scores() -> None:
    told = "^scores must be what score_relations or score_coreference gives, but is list$"
    with pytest.raises(ValidationError, match=told):
        heads.split([])  # type: ignore[type-var]


@pytest.mark.parametrize("function", [heads.uas, heads.uuas])
def test_attachment_says_where_the_gold_tree_goes(function: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(
        ValidationError, match=r"^the gold tree is a Sentence's, but got \(2, 0\); predictions come first$"
    ):
        function(TREE, (2, 0))


@pytest.mark.parametrize("name", ["max_tokens", "count", "seed"])
@pytest.mark.parametrize("wrong", ["8", 1.5, True])
def test_numbers_of_segments_are_whole(name: str, wrong: Any) -> None:
    with pytest.raises(ValidationError, match=f"^{name} must be a whole number, but is {wrong!r}$"):
        segments.paragraph_segments([("a", "b")], tokenizer_zoo.wordpiece(), **{name: wrong})


def test_segments_are_never_drawn_without_a_seed() -> None:
    with pytest.raises(ValidationError, match=r"^seed must be a whole number, but is None$"):
        segments.paragraph_segments([("a", "b")], tokenizer_zoo.wordpiece(), seed=None)  # type: ignore[arg-type]


def test_segments_need_a_tokenizer() -> None:
    with pytest.raises(
        InputError, match=r"^tokenizer must be a transformers tokenizer, but is 'bert'; that of an Extr"
    ):
        segments.paragraph_segments([("a", "b")], "bert")


def test_annotation_is_told_by_its_kind() -> None:
    with pytest.raises(
        ValidationError, match=r"^to_conllu writes one Sentence, but got \[\]; write_conllu writes several$"
    ):
        readers.to_conllu([])  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=r"^mentions stand in a Document or DocumentWindow, but got 'a text'$"):
        head_words("a text")  # type: ignore[arg-type]
