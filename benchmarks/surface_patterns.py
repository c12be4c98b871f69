"""Times as ratios; both sides of a row do the same work, in one process, in turn. `nox -s bench`.

1. Surface patterns over a stream, against the bare eager forward pass that returns its maps: the same segments, in
   batches of the same size. What the analysis costs a user who would run the model anyway.
2. The analysis alone, against the published loops: `General_Analysis.ipynb` of clarkkev/attention-analysis, which goes
   segment by segment and takes, for all heads at once, the product with one selector for each statistic, and the
   entropy of smoothed maps (two logarithms of every weight). It has fewer statistics than ours, which also give the
   largest weight and the perplexity. Both sides are checked to agree first, entropy within the smoothing.
3. Word merging, against `get_word_word_attention` of `bpe_utils.py` there: head by head, word by word.

Text: the demo's passages, or a file with one line a paragraph: `-- FILE`.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import transformers

import bertattn as ba
from bertattn import demo, segments

Numpy: TypeAlias = np.ndarray[Any, np.dtype[Any]]

BATCH = 16
ROUNDS = 7


def passages(tokenizer: Any) -> list[ba.TokenIds]:
    if len(sys.argv) > 1:
        documents = ba.readers.read_text(Path(sys.argv[1]))[:8]
    else:
        documents = [(pair.first, pair.second) for pair in demo.passages()]
    return list(segments.paragraph_segments(documents, tokenizer, max_tokens=128, seed=0))[:64]


def forward(model: Any, pad: int, batch: Sequence[ba.TokenIds]) -> tuple[torch.Tensor, ...]:
    longest = max(len(one) for one in batch)
    ids = torch.tensor([[*one.ids, *[pad] * (longest - len(one))] for one in batch])
    types = torch.tensor([[*(one.token_types or ()), *[0] * (longest - len(one))] for one in batch])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in batch])
    with torch.inference_mode():
        outputs = model(input_ids=ids, attention_mask=mask, token_type_ids=types, output_attentions=True)
    maps: tuple[torch.Tensor, ...] = outputs.attentions
    return maps


def published_patterns(maps: Numpy, tokens: Sequence[str]) -> dict[str, Numpy]:
    """One segment, `[layer, head]` each: a product with a float64 selector a statistic, entropy of smoothed maps."""
    n = len(tokens)
    sep, cls, punctuation = (
        np.array([t in kind for t in tokens], dtype=np.float64) for kind in (["[SEP]"], ["[CLS]"], ".,")
    )
    selectors = {
        "previous": (np.eye(n, k=-1), n),
        "self": (np.eye(n), n),
        "next": (np.eye(n, k=1), n),
        "cls": (np.tile(cls, (n, 1)), n),
        "sep": (np.tile(sep, (n, 1)), n),
        "punctuation": (np.tile(punctuation, (n, 1)), n),
        "sep_to_sep": (np.outer(sep, sep), 2),
        "other_to_sep": (np.outer(1 - sep, sep), n - 2),
    }
    averages = {name: (maps * mask[None, None]).sum(-1).sum(-1) / count for name, (mask, count) in selectors.items()}
    smooth = 0.9999 * maps + 0.0001 / n
    averages["entropy"] = -(smooth * np.log(smooth)).sum(-1).mean(-1)
    averages["entropy_from_cls"] = -(smooth * np.log(smooth))[:, :, 0].sum(-1)
    return averages


def published_merge(maps: Numpy, words: Sequence[Sequence[int]]) -> Numpy:
    """One head after the other, one word after the other: the columns of a word summed, then its rows averaged."""
    others = [token for word in words for token in word[1:]]

    def one(head: Numpy) -> Numpy:
        merged = head.copy()
        for word in words:
            merged[:, word[0]] = merged[:, word].sum(-1)
        merged = np.delete(merged, others, -1)
        for word in words:
            merged[word[0]] = merged[word].mean(0)
        return np.delete(merged, others, 0)

    return np.stack([np.stack([one(head) for head in layer]) for layer in maps])


def in_turn(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float, float, float]:
    """Median seconds of each side, and the smallest and largest ratio of neighbouring rounds (theirs over ours)."""
    ours()
    theirs()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for side, work in enumerate((ours, theirs)):
            start = time.perf_counter()
            work()
            seconds[side].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(*seconds, strict=True)]
    return statistics.median(seconds[0]), statistics.median(seconds[1]), min(ratios), max(ratios)


def main() -> None:
    path = demo.model_path()
    ext = ba.Extractor.from_pretrained(path, device="cpu")
    eager = transformers.AutoModel.from_pretrained(path, attn_implementation="eager").eval()
    pad = ext.tokenizer.pad_token_id
    texts = passages(ext.tokenizer)
    by_length = sorted(texts, key=len)
    batches = [by_length[i : i + BATCH] for i in range(0, len(by_length), BATCH)]
    maps = list(ext.extract(texts))
    arrays = [(a.numpy(), a.queries.tokens) for a in maps]
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, numpy {np.__version__}"
    )
    print(
        f"all-MiniLM-L6-v2, {len(texts)} segments of {min(map(len, texts))} to {max(map(len, texts))} tokens, "
        f"medians of {ROUNDS} rounds\n"
    )
    print(f"{'':52}{'bertattn':>10}{'baseline':>10}   ratio (smallest to largest)")

    def row(name: str, ours: Callable[[], object], theirs: Callable[[], object], *, faster: bool) -> None:
        a, b, low, high = in_turn(ours, theirs)
        if faster:
            ratio, ends, sign = b / a, (low, high), "times faster"
        else:
            ratio, ends, sign = a / b, (1 / high, 1 / low), "of the baseline"
        print(f"{name:52}{a * 1e3:8.0f}ms{b * 1e3:8.0f}ms   {ratio:.2f} ({ends[0]:.2f} to {ends[1]:.2f}) {sign}")

    row(
        "extract + surface_patterns | bare eager forward",
        lambda: ba.summarize(ext.extract(texts, batch_size=BATCH), ba.patterns.surface_patterns),
        lambda: [forward(eager, pad, batch) for batch in batches],
        faster=False,
    )

    expected = published_patterns(*arrays[0])
    seen = ba.patterns.surface_patterns(maps[0])
    for name, values in expected.items():
        if not np.allclose(values, seen[name], atol=5e-3 if name.startswith("entropy") else 1e-5):
            raise SystemExit(f"the two sides differ in {name}")
    row(
        "surface_patterns | published loops",
        lambda: [ba.patterns.surface_patterns(a) for a in maps],
        lambda: [published_patterns(*array) for array in arrays],
        faster=True,
    )

    paired = list(ext.extract(demo.passages()))  # token ids carry no words, so these are read from text
    arrays = [(a.numpy(), a.queries.tokens) for a in paired]
    words: list[list[list[int]]] = []
    for a in paired:
        groups: dict[object, list[int]] = {}
        for i, word in enumerate(a.queries.word_ids or ()):
            groups.setdefault(("special", i) if word is None else word, []).append(i)
        words.append(list(groups.values()))
    if not np.allclose(published_merge(arrays[0][0], words[0]), ba.merge_subwords(paired[0]).numpy(), atol=1e-5):
        raise SystemExit("the two sides differ in the merged words")
    row(
        "merge_subwords | published loops",
        lambda: [ba.merge_subwords(a) for a in paired],
        lambda: [published_merge(array, groups) for (array, _), groups in zip(arrays, words, strict=True)],
        faster=True,
    )


if __name__ == "__main__":
    main()
