"""What is common to the views, and the head view: the numbers in the page, its policy, and what it refuses.

What the pages draw and how they answer is tested in a browser: tests/browser.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertattn.annotation import DocumentWindow, Mention, Sentence
from bertattn.errors import BertattnError, SelectionError, StorageError, ValidationError
from bertattn.tensor import AttentionTensor, Axis, Source
from bertattn.views import HTMLView, head_view
from bertattn.views._page import page
from bertattn.views._payload import array_payload, axis_payload, default_title, weights_payload

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script>",
    "<!--",
    "\0",
    "\u202e",
    "\u2028",
    "\ud800",
    "&amp;",
    "x" * 1000,
)


def softmax(*shape: int, scale: float = 1.0, seed: int = 0) -> Any:
    raised = np.exp(scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)
    return raised / raised.sum(-1, keepdims=True)


def tokens(count: int) -> list[str]:
    return [f"t{i}" for i in range(count)]


class Page(HTMLParser):
    """The elements of a page: their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements[-1:] and data.strip():
            self.texts.append((self.elements[-1][0], data))

    def data(self) -> Any:
        """What the script is told."""
        (place,) = (i for i, (_, attrs) in enumerate(self.scripts()) if attrs.get("id") == "data")
        return json.loads([text for tag, text in self.texts if tag == "script"][place])

    def scripts(self) -> list[tuple[str, dict[str, str | None]]]:
        return [(tag, attrs) for tag, attrs in self.elements if tag == "script"]


def inflated(block: str) -> bytes:
    return zlib.decompress(base64.b64decode(block), wbits=-15)


def read_back(description: dict[str, Any], blocks: dict[str, str], shape: tuple[int, ...], part: int = 0) -> Any:
    """The weights as the page reads them, from the formula."""
    layers = []
    for layer, coding in enumerate(description["coding"]):
        codes = np.frombuffer(inflated(blocks[f"weights-{part}-{layer}"]), np.uint8).astype(float)
        root = (codes - 128 * description["signed"]) / coding["levels"]
        weights = (coding["top"] * root * np.abs(root)).reshape(-1, shape[-1])
        weights[coding["empty"]] = np.nan
        layers.append(weights.reshape(shape[1:]))
    return np.stack(layers)


@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0])
def test_weights_come_back_within_the_stated_error(scale: float) -> None:
    weights = softmax(2, 3, 20, 20, scale=scale)
    description, blocks = weights_payload(AttentionTensor(weights, tokens(20)))
    back = read_back(description, blocks, weights.shape)
    largest = float(np.abs(back - weights).max())
    assert largest <= description["error"] <= largest + 2e-7
    top = float(weights.max())
    # Half a step at the top, where steps are widest: top - top (1 - 1 / 510)^2.
    assert largest <= top / 255 * 1.01
    assert [coding["levels"] for coding in description["coding"]] == [255, 255]
    assert description["error"] == max(coding["error"] for coding in description["coding"])
    # A small weight's step is smaller: what static/common.js says of each.
    tops = np.array([coding["top"] for coding in description["coding"]])[:, None, None, None]
    codes = np.sqrt(back / tops) * 255
    assert (np.abs(back - weights) <= 1.001 * tops * (codes + 0.25) / 255**2).all()


def test_signed_weights_keep_their_sign_and_zero() -> None:
    weights = np.random.default_rng(1).standard_normal((2, 2, 9, 9)).astype(np.float32)
    weights[0, 0, 0, :3] = 0, weights[0].max(), -np.abs(weights[0]).max() * 2
    a = AttentionTensor(weights, tokens(9), measure="gradient", normalized=False)
    description, blocks = weights_payload(a)
    back = read_back(description, blocks, weights.shape)
    assert description["signed"]
    assert back[0, 0, 0, 0] == 0
    assert back[0, 0, 0, 2] == pytest.approx(weights[0, 0, 0, 2])
    assert 0.99 * description["error"] < np.abs(back - weights).max() <= description["error"]
    assert description["error"] <= np.abs(weights).max() / 127 * 1.01
    large = np.abs(weights) > description["error"]
    assert (np.sign(back) == np.sign(weights))[large].all()


def test_rows_without_mass_are_named_and_zeros_stay_zeros() -> None:
    weights = np.tril(np.ones((1, 2, 4, 4))) / np.arange(1, 5)[:, None]
    weights[0, 1, 2] = np.nan
    description, blocks = weights_payload(AttentionTensor(weights, tokens(4)))
    assert description["coding"][0]["empty"] == [6]
    back = read_back(description, blocks, weights.shape)
    assert np.isnan(back[0, 1, 2]).all()
    assert np.isnan(back).sum() == 4
    assert (back[np.triu(np.ones((4, 4)), 1)[None, None].repeat(2, 1) > 0] == 0).sum() == 11
    nothing, _ = weights_payload(AttentionTensor(np.zeros((1, 1, 2, 2)), tokens(2), normalized=False))
    assert (nothing["coding"][0]["top"], round(nothing["error"], 6)) == (1.0, 0.0)


def test_long_texts_get_fewer_levels_so_that_the_file_stays_small() -> None:
    """2.5 MB for 144 heads of 128 tokens and 25 MB for 512, whatever the weights; here one layer of twelve."""
    levels = set()
    for size, limit in ((128, 2.5e6), (512, 25e6)):
        for scale in (0.3, 1.0, 3.0):
            weights = softmax(1, 12, size, size, scale=scale)
            description, blocks = weights_payload(AttentionTensor(weights, tokens(size)))
            assert len(blocks["weights-0-0"]) * 12 < limit * 0.98, (size, scale)
            back = read_back(description, blocks, weights.shape)
            assert np.abs(back - weights).max() <= description["error"] < weights.max() / 7
            levels.add(description["coding"][0]["levels"])
    assert min(levels) >= 15
    assert {255} < levels


def test_repeating_weights_are_compressed_well() -> None:
    weights = np.eye(256, dtype=np.float32)[None, None].repeat(4, 1)
    _, blocks = weights_payload(AttentionTensor(weights, tokens(256)))
    assert len(blocks["weights-0-0"]) < 5000


def test_an_array_comes_back_in_its_dtype() -> None:
    values = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    assert np.array_equal(np.frombuffer(inflated(array_payload(values)), "<f4"), values.ravel())
    half = np.frombuffer(inflated(array_payload(values, "float16")), "<f2")
    assert np.array_equal(half, values.ravel().astype(np.float16))


def test_numbers_and_names_of_what_is_held() -> None:
    a = AttentionTensor(softmax(2, 2, 3, 3), tokens(3), layers=[4, 7], heads=[0, 9], measure="rollout")
    description, blocks = weights_payload(a, part=2)
    assert (description["layers"], description["heads"], description["measure"]) == ([5, 8], [1, 10], "rollout")
    assert list(blocks) == ["weights-2-0", "weights-2-1"]
    assert description["keys"] is None
    cross, _ = weights_payload(AttentionTensor(softmax(1, 1, 2, 3), ["a", "b"], ["x", "y", "z"]))
    assert cross["keys"]["tokens"] == ["x", "y", "z"]


def test_an_axis_is_told_as_text() -> None:
    axis = Axis(
        ["<s>", "Ġthe", "ĠcafÃ©", "</s>"], roles=["bos", None, None, "eos"], segments=[0, 0, 1, 1],
        word_ids=[None, 0, (1, 2), None], words=["the", "caf", "é"],
    )  # fmt: skip
    assert axis_payload(axis) == {
        "tokens": ["<s>", "the", "café", "</s>"],
        "special": [True, False, False, True],
        "segments": (0, 0, 1, 1),
        "words": [None, 0, 1, None],
    }


def test_the_page_can_merge_tokens_into_words() -> None:
    """With the members that the page is told, its sums and means are those of `merge_subwords`."""
    from bertattn import merge_subwords

    axis = Axis(
        ["[CLS]", "a", "##b", "c", "d", "##e"], roles=["cls", *[None] * 5], word_ids=[None, 0, 0, (1, 2), 2, 2],
        words=["ab", "c", "cde"],
    )  # fmt: skip
    a = AttentionTensor(softmax(1, 1, 6, 6).astype(np.float64), axis, normalized=False)
    words = weights_payload(a)[0]["words"]
    assert (words["keys"], words["queries"]["tokens"]) == (None, ["[CLS]", "ab", "c", "cde"])
    members = words["queries"]["members"]
    assert members == [[0], [1, 2], [3], [3, 4, 5]]
    share = [sum(token in each for each in members) for token in range(6)]
    merged = [
        [np.mean([sum(a.weights[0, 0, i, j] / share[j] for j in columns) for i in rows]) for columns in members]
        for rows in members
    ]
    assert np.allclose(merged, merge_subwords(a).weights[0, 0])


@pytest.mark.parametrize(
    "a",
    [
        AttentionTensor(softmax(1, 1, 2, 2), tokens(2)),
        AttentionTensor(softmax(1, 1, 2, 2), Axis(tokens(2), word_ids=[0, 1], words=["t0", "t1"])),
        AttentionTensor(softmax(1, 1, 2, 2), Axis(tokens(2), word_ids=[0, 0]), measure="norm", normalized=False),
    ],
    ids=["no words", "every token a word", "norms do not add"],
)
def test_no_words_where_there_is_nothing_to_merge(a: AttentionTensor) -> None:
    assert weights_payload(a)[0]["words"] is None


def test_a_title_of_the_first_words() -> None:
    axis = Axis(["[CLS]", "a", "##b"], roles=["cls", None, None], word_ids=[None, 0, 0], words=["ab"])
    assert default_title("Head view", AttentionTensor(softmax(1, 1, 3, 3), axis)) == "Head view: ab"
    assert default_title("View", AttentionTensor(softmax(1, 1, 9, 9), tokens(9))) == "View: t0 t1 t2 t3 t4 t5 …"
    special = AttentionTensor(softmax(1, 1, 1, 1), Axis(["[CLS]"], roles=["cls"]))
    assert default_title("View", special) == "View"


@pytest.mark.parametrize("kind", ["head", "model", "neuron"])
def test_the_policy_names_the_only_script_and_style_and_nothing_is_fetched(kind: str) -> None:
    text = page("A title", kind, {"parts": []}, {"weights-0-0": "abc="})
    seen = Page(text)
    (policy,) = (attrs["content"] for tag, attrs in seen.elements if tag == "meta" and attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    style = text.partition("<style>")[2].partition("</style>")[0]
    for directive, content in (("script-src", script), ("style-src", style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert policy.endswith("img-src data: blob:; base-uri 'none'; form-action 'none'")
    assert "unsafe" not in policy
    assert {tag for tag, _ in seen.elements} == {"html", "head", "meta", "title", "style", "body", "script", "noscript"}
    assert [attrs.get("type") for _, attrs in seen.scripts()] == ["application/json", "text/plain", None]
    assert not any(name in ("src", "href", "style") or name.startswith("on") for _, a in seen.elements for name in a)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage", script
    )
    assert set(re.findall(r"https?://[^\"'` ]*", script)) <= {"http://www.w3.org/2000/svg"}
    assert seen.data() == {"title": "A title", "kind": kind, "parts": []}


@pytest.mark.parametrize("token", HOSTILE)
def test_hostile_tokens_and_titles_stay_text(token: str) -> None:
    a = AttentionTensor(softmax(1, 1, 2, 2), [token, "b"], source=Source(model=token))
    plain = head_view(a.replace(queries=Axis(["a", "b"]), keys=Axis(["a", "b"]), source=None), title="t").html
    view = head_view(a, title=token)
    seen, expected = Page(view.html), Page(plain)
    assert [tag for tag, _ in seen.elements] == [tag for tag, _ in expected.elements]
    assert seen.data()["parts"][0]["queries"]["tokens"] == [token, "b"]
    assert seen.data()["title"] == token
    told = view.html.partition('id="data">')[2].partition("</script>")[0]
    assert not set(told) & set("<>&\0\u2028\u202e")
    assert view.html.encode("utf-8")  # nothing in it cannot be written
    (frame,) = (attrs for tag, attrs in Page(view._repr_html_()).elements if tag == "iframe")
    assert frame["srcdoc"] == view.html


def test_the_same_input_gives_the_same_bytes() -> None:
    pages = {head_view(AttentionTensor(softmax(2, 2, 5, 5), tokens(5))).html for _ in range(2)}
    assert len(pages) == 1


def test_a_notebook_shows_a_frame_of_its_own() -> None:
    view = HTMLView('<p title="a">b &amp; c</p>', title='a "title"', height=300)
    (element,) = Page(view._repr_html_()).elements
    tag, attrs = element
    assert (tag, attrs["srcdoc"], attrs["title"]) == ("iframe", view.html, 'a "title"')
    assert attrs["sandbox"] == "allow-scripts allow-downloads"
    assert "height: 300px" in str(attrs["style"])
    assert repr(view) == "HTMLView('a \"title\"', 0.00 MB)"


def test_saving_writes_the_page_whole(tmp_path: Path) -> None:
    view = HTMLView("<p>é</p>", title="t")
    assert view.save(tmp_path / "v.html") == tmp_path / "v.html"
    assert (tmp_path / "v.html").read_bytes() == "<p>é</p>".encode()
    assert "height: 640px" in html.unescape(view._repr_html_())
    with pytest.raises(StorageError, match="does not exist; make it first"):
        view.save(tmp_path / "none" / "v.html")
    assert [path.name for path in tmp_path.iterdir()] == ["v.html"]


def told(a: Any, **options: Any) -> Any:
    return Page(head_view(a, **options).html).data()


def test_what_is_shown_first() -> None:
    a = AttentionTensor(softmax(2, 3, 2, 2), tokens(2), layers=[5, 8], heads=[1, 2, 4])
    assert told(a)["start"] == {"layer": 0, "heads": None, "gold": None}
    assert told(a, layer=8, heads=[4, 1])["start"] == {"layer": 1, "heads": [2, 0], "gold": None}
    assert told(a, heads=4)["start"]["heads"] == told(a, heads=[4, np.int64(4)])["start"]["heads"] == [2]
    assert told(a, layer=np.int64(5), heads=np.array([2]))["start"] == {"layer": 0, "heads": [1], "gold": None}


def test_several_tensors_are_named() -> None:
    a = AttentionTensor(softmax(1, 1, 2, 2), tokens(2), source=Source(attention="encoder"))
    b = AttentionTensor(softmax(1, 1, 3, 2), tokens(3), tokens(2))
    assert [part["name"] for part in told([a, b])["parts"]] == ["encoder", "attention 2"]
    assert [part["name"] for part in told({"mine": a, "theirs": b})["parts"]] == ["mine", "theirs"]
    assert head_view([a, b]).html.count('id="block-weights-') == 2


WORDS = ("she", "saw", "her", "dog", ".", "it", "left")
FIRST = Sentence(WORDS[:5], governors=[2, 0, 4, 2, None], relations=["nsubj", "root", "nmod:poss", "obj", None])
SECOND = Sentence(WORDS[5:], governors=[2, 0])
WINDOW = DocumentWindow(
    [FIRST, SECOND],
    [
        Mention(0, 1, "she"),
        Mention(2, 3, "she", head=2),
        Mention(2, 4, "dog", head=3),
        Mention(5, 6, "dog"),
        Mention(6, 7, "dog"),
    ],
)


def annotated(annotation: Sentence | DocumentWindow | None) -> AttentionTensor:
    axis = Axis(["[CLS]", *WORDS[:3], "do", "##g", *WORDS[4:]], word_ids=[None, 0, 1, 2, 3, 3, 4, 5, 6], words=WORDS)
    if isinstance(annotation, Sentence):
        axis = Axis(annotation.words, word_ids=range(len(annotation)), words=annotation.words)
    return AttentionTensor(softmax(1, 1, len(axis), len(axis)), axis, annotation=annotation)


def test_gold_links_count_words_over_the_whole_window() -> None:
    gold = told(annotated(WINDOW), gold="coreference")["parts"][0]["gold"]
    assert [(link["from"], link["to"], link["label"]) for link in gold["relations"]] == [
        (0, 1, "nsubj"), (2, 3, "nmod:poss"), (3, 1, "obj"), (5, 6, ""),
    ]  # fmt: skip
    assert gold["coreference"] == [
        {"from": 2, "to": 0, "label": "she", "group": 0},
        {"from": 5, "to": 3, "label": "dog", "group": 1},
        {"from": 6, "to": 5, "label": "dog", "group": 1},
    ]
    assert list(told(annotated(FIRST))["parts"][0]["gold"]) == ["relations"]


@pytest.mark.parametrize(
    ("a", "options", "error", "message"),
    [
        ("text", {}, ValidationError, "head_view shows an AttentionTensor, or several, but got str"),
        ([], {}, ValidationError, r"shows one to 3 tensors .* but got 0"),
        (
            [annotated(None).replace(source=Source(attention="cross"))] * 2,
            {},
            ValidationError,
            "two tensors of one kind of attention; name them: {'first': a, 'second': b}",
        ),
        (annotated(None), {"layer": 1}, SelectionError, r"layer 1 is not here; there are \[0\] \(counted from 0\)"),
        (annotated(None), {"layer": True}, SelectionError, "layer True is not here"),
        (annotated(None), {"heads": [0, 3]}, SelectionError, "head 3 is not here"),
        (annotated(None), {"heads": 2.5}, SelectionError, r"head 2\.5 is not here"),
        (annotated(None), {"heads": "0"}, SelectionError, "head '0' is not here"),
        (annotated(None), {"title": 5}, ValidationError, r"title must be text or None, but is 5; give str\(title\)"),
        (annotated(None), {"height": 99}, ValidationError, "height must be a whole number of pixels, at least 100"),
        (annotated(None), {"height": True}, ValidationError, "or None, but is True"),
        (annotated(None), {"height": '1px"><b>'}, ValidationError, "height must be a whole number of pixels"),
        (
            AttentionTensor(np.full((1, 1, 2, 2), 1e200), ["a", "b"], normalized=False, measure="other"),
            {},
            ValidationError,
            r"at most 3.4e\+38 in size, but one is 1e\+200; divide them: attention.replace",
        ),
        (annotated(FIRST), {"gold": "trees"}, ValidationError, "gold must be 'relations', 'coreference' or None"),
        (annotated(None), {"gold": "relations"}, ValidationError, "needs an annotation; give the Extractor a Sentence"),
        (annotated(FIRST), {"gold": "coreference"}, ValidationError, "needs entities mentioned twice"),
        (
            annotated(Sentence(["a", "b"])),
            {"gold": "relations"},
            ValidationError,
            "needs governors, but the annotation has none",
        ),
        (
            AttentionTensor(softmax(1, 1, 5, 5), list(FIRST.words), annotation=FIRST),
            {"gold": "relations"},
            ValidationError,
            "the axes do not say which word their tokens belong to",
        ),
    ],
)
def test_errors_teach(a: Any, options: dict[str, Any], error: type[BertattnError], message: str) -> None:
    with pytest.raises(error, match=message):
        head_view(a, **options)


def test_the_height_of_the_frame() -> None:
    assert "height: 300px;" in head_view(annotated(None), height=np.int64(300))._repr_html_()
    assert "height: 640px;" in head_view(annotated(None))._repr_html_()


def test_a_folder_is_called_by_its_last_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name, wanted in (
        ("private/mine", "mine"),
        (str(tmp_path / "gone"), "gone"),
        ("private/", "private"),
        ("google-bert/bert-base-cased", "google-bert/bert-base-cased"),
    ):
        a = annotated(None).replace(source=Source(model=name))
        assert told(a)["model"] == wanted
