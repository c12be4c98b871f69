"""The model view, Python side: what the page is told of the heads, and what it refuses."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from bertattn import AttentionTensor, Axis, patterns, summarize
from bertattn.clustering import cluster_heads, head_distances, label_behaviors
from bertattn.errors import SelectionError, ValidationError
from bertattn.tensor import Source
from bertattn.views import HTMLView, model_view

TOKENS = ["[CLS]", "a", "b", "[SEP]"]


def attention(layers: int = 2, heads: int = 3, tokens: int = 4, *, seed: int = 0, **more: Any) -> AttentionTensor:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(tokens, 0.3), size=(layers, heads, tokens))
    axis = Axis(["[CLS]", *(f"w{i}" for i in range(tokens - 2)), "[SEP]"], roles=["cls", *[None] * (tokens - 2), "sep"])
    return AttentionTensor(weights, axis, **more)


def told(view: HTMLView) -> list[dict[str, Any]]:
    """What the page's script reads of each tensor."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', view.html, re.DOTALL)
    parts: list[dict[str, Any]] = json.loads(text)["parts"]
    return parts


def statistics(view: HTMLView, part: int = 0) -> dict[str, np.ndarray]:
    return {each["name"]: np.array(each["values"], dtype=float) for each in told(view)[part]["statistics"]}


def test_entropy_and_largest_weight_are_always_there() -> None:
    a = attention()
    found = statistics(model_view(a))
    assert list(found) == ["entropy", "largest weight"]
    np.testing.assert_allclose(found["entropy"], patterns.entropy(a), rtol=1e-5)
    np.testing.assert_allclose(found["largest weight"], patterns.max_weight(a), rtol=1e-5)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_signed_weights_have_the_entropy_and_the_largest_of_their_sizes(make: Any) -> None:
    # Sizes 3, 1 and 0, 2; a row of zeros has no entropy, a row without mass nothing.
    rows = [[3.0, -1.0], [0.0, -2.0], [0.0, 0.0], [math.nan, math.nan]]
    a = AttentionTensor(make([[rows]]), list("abcd"), ["x", "y"], measure="gradient", normalized=False)
    found = statistics(model_view(a))
    quarter = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["entropy of |w|"].item() == pytest.approx((quarter + 0) / 2, rel=1e-5)
    assert found["largest |w|"].item() == pytest.approx((3 + 2 + 0) / 3, rel=1e-5)
    (part,) = told(model_view(a))
    assert part["signed"]
    assert part["keys"]["tokens"] == ["x", "y"]


def test_a_head_of_which_nothing_is_defined_is_null() -> None:
    weights = np.full((1, 2, 2, 2), 0.5)
    weights[0, 1] = np.nan
    view = model_view(AttentionTensor(weights, ["a", "b"]))
    assert told(view)[0]["statistics"][0]["values"] == [[pytest.approx(math.log(2), rel=1e-5), None]]


def test_all_statistics_of_a_summary_are_offered_for_the_heads_that_are_shown() -> None:
    corpus = [attention(3, 4, seed=i) for i in range(3)]
    summary = summarize(corpus, patterns.entropy, patterns.max_weight)
    found = statistics(model_view(corpus[0].select(layers=[2, 0], heads=[3, 1]), statistic=summary))
    assert list(found)[2:] == ["entropy (corpus)", "max_weight (corpus)"]
    wanted = summary.mean("entropy")[np.ix_([2, 0], [3, 1])]
    np.testing.assert_allclose(found["entropy (corpus)"], wanted, rtol=1e-5)


def test_arrays_are_offered_by_name() -> None:
    values = np.array([[0.5, np.nan, 1.0], [0.0, 0.25, 0.125]])
    found = statistics(model_view(attention(), statistic={"obj": values, "nsubj": torch.tensor(values)}))
    np.testing.assert_array_equal(found["obj"], values)
    np.testing.assert_array_equal(found["nsubj"], values)
    np.testing.assert_array_equal(statistics(model_view(attention(), statistic=values))["given"], values)


@pytest.mark.parametrize(
    ("statistic", "message"),
    [
        (
            np.zeros((3, 2)),
            r"'given' must be one finite number .* for each of 2 layers x 3 heads, but has shape \(3, 2",
        ),
        ({"obj": np.full((2, 3), np.inf)}, "'obj' .* but has an infinite one"),
        ({"obj": [["a"]]}, r"'obj' must be real numbers \[layer, head\], but is a list"),
        ({"obj": [["1"] * 3] * 2}, r"'obj' must be real numbers \[layer, head\], but is a list"),
        ({"obj": [[1, 2, 3], [4, 5]]}, r"'obj' must be real numbers \[layer, head\], but is a list"),
        ({"obj": np.full((2, 3), 1 + 2j)}, r"'obj' must be real numbers \[layer, head\], but is complex"),
        ({"obj": torch.full((2, 3), 1j)}, r"'obj' must be real numbers \[layer, head\], but is complex"),
        ({"entropy": np.zeros((2, 3))}, "has a statistic 'entropy' of its own; give yours another name"),
    ],
)
def test_a_statistic_that_is_not_one_number_a_head_is_refused(statistic: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        model_view(attention(), statistic=statistic)


def test_a_summary_of_other_heads_is_refused() -> None:
    summary = summarize([attention(1, 2)], patterns.entropy)
    with pytest.raises(SelectionError, match=r"lacks layers \[2\] of the tensor .* attention.select\(layers=\[0\]\)"):
        model_view(attention(2, 2), statistic=summary)
    with pytest.raises(SelectionError, match=r"lacks heads \[3\]"):
        model_view(attention(1, 3), statistic=summary)


def test_clusters_are_told_by_head() -> None:
    a = attention()
    clusters = cluster_heads(head_distances([a, attention(seed=1)]), clusters=2)
    (part,) = told(model_view(a.select(layers=[1]), clusters=clusters))
    assert part["clusters"] == {
        "title": "cluster",
        "groups": ["cluster 1", "cluster 2"],
        "of": [[int(label) - 1 for label in clusters.labels[3:]]],
    }


def test_behaviors_are_told_by_head_and_a_head_without_one_is_null() -> None:
    corpus = [attention(seed=i) for i in range(2)]
    behaviors = label_behaviors(summarize(corpus, patterns.surface_patterns), linguistic={"2-1": "det"})
    (part,) = told(model_view(corpus[0], clusters=behaviors))
    groups = part["clusters"]["groups"]
    labels = [None if n is None else groups[n] for row in part["clusters"]["of"] for n in row]
    assert labels == list(behaviors.labels)
    assert labels[3] == "det"
    assert None in labels
    assert part["clusters"]["title"] == "behaviour"


def test_clusters_of_other_heads_are_refused() -> None:
    clusters = cluster_heads(head_distances([attention()]), clusters=2)
    with pytest.raises(SelectionError, match="clusters lack 1 heads of the tensor, such as 3-1"):
        model_view(attention(3, 3).select(layers=[2, 0], heads=[0]), clusters=clusters)
    unnamed = cluster_heads(np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]), clusters=2)
    with pytest.raises(SelectionError, match="clusters lack 3 heads of the tensor, such as 1-1"):
        model_view(attention(1, 3), clusters=unnamed)
    with pytest.raises(ValidationError, match=r"cluster_heads or clustering.label_behaviors gives, but is int"):
        model_view(attention(), clusters=3)  # type: ignore[arg-type]


def test_several_tensors_each_have_what_is_theirs() -> None:
    encoder = attention(source=Source(attention="encoder"))
    cross = AttentionTensor(np.full((1, 2, 3, 4), 0.25), list("xyz"), TOKENS, source=Source(attention="cross"))
    view = model_view([encoder, cross], statistic={"cross": np.array([[1.0, 2.0]])})
    first, second = told(view)
    assert [first["name"], second["name"]] == ["encoder", "cross"]
    assert "given" not in statistics(view, 0)
    assert statistics(view, 1)["given"].tolist() == [[1, 2]]
    assert set(re.findall(r'id="block-([\w-]+)"', view.html)) == {"weights-0-0", "weights-0-1", "weights-1-0"}
    for wrong in (np.zeros((2, 3)), {"decoder": np.zeros((2, 3))}):
        with pytest.raises(ValidationError, match=r"statistic is a mapping from their names \(encoder, cross\)"):
            model_view([encoder, cross], statistic=wrong)


def test_the_page_stays_small_and_the_same() -> None:
    a = attention(12, 12, 128)
    view = model_view(a, statistic={"a & b <c>": np.zeros((12, 12))}, title="T", height=500)
    assert len(view.html.encode()) < 2.5e6
    assert view.html == model_view(a, statistic={"a & b <c>": np.zeros((12, 12))}, title="T").html
    assert "<c>" not in view.html
    assert (view.title, view.height) == ("T", 500)


def test_something_else_is_refused() -> None:
    with pytest.raises(ValidationError, match="model_view shows an AttentionTensor, or several, but got ndarray"):
        model_view(np.zeros((1, 1, 2, 2)))  # type: ignore[arg-type]
