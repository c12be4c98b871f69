"""One table of ratios: what bertattn costs beside the bare model, and beside the released code. `nox -s bench`.

Both sides of a row do the same work in one process, in turn, and are checked to agree first. A ratio is the median over
rounds of the ratio within a round, so that a slow minute of the machine falls on both sides; the spread is the smallest
and the largest. Peak memory is that of fresh processes. What the other side is: `published.py`.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import published
import torch
import transformers

import bertattn as ba
from bertattn import _arrays, attribution, clustering, demo, probes, segments

Numpy: TypeAlias = np.ndarray[Any, np.dtype[Any]]

BATCH = 16
TOKENS = 128
WORD_TEXTS = 24
TREES = 48
MODES: tuple[Any, Any] = ("from_dependent", "to_dependent")
SLOW_ROUNDS = 5  # at most, of the rows of distances and gradients
SOME_HEADS = range(0, 144, 18)  # whose distances the published loop is timed on where all would take a minute
SENTENCES = 2000  # of the rows of probes, of which a quarter is held out
VECTORS = 100  # dimensions, as released
# One epoch, with which the probes find at least as many governors as the released code's.
EPOCH: dict[str, Any] = {"root": "special", "max_epochs": 1, "early_stopping": False}
ATTENTION: dict[str, Any] = EPOCH | {"batch_size": 48, "learning_rate": 0.3}
WORDS: dict[str, Any] = EPOCH | {"batch_size": 16, "learning_rate": 0.02, "bias": True, "root_vector": "released"}
MEGABYTES = 3000  # at most, for training on a treebank
GROUPS = ("times", "distances", "importances", "epochs", "memory")
FEW, MORE, MANY = 200, 800, 4000  # inputs of the rows of memory


# ---------------------------------------------------------------------------------------------------------- the text


def documents() -> tuple[str, list[tuple[str, ...]]]:
    """The name of the text, and its documents as lines."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    file = Path(os.environ.get("BERTATTN_DATA") or default) / "text" / "cc0_sents.txt"
    if file.is_file():
        return file.name, [tuple(lines) for lines in ba.readers.read_text(file)]
    pairs = [(pair.first, pair.second) for pair in demo.passages()]
    return "the demo's passages, over and over: there is no cc0_sents.txt in $BERTATTN_DATA/text", pairs


def some_segments(tokenizer: Any, count: int) -> list[ba.TokenIds]:
    """Segments of the paper's kind, repeated where the text is too short."""
    _, texts = documents()
    found = list(segments.paragraph_segments(texts, tokenizer, max_tokens=TOKENS, seed=0))
    return [found[i % len(found)] for i in range(count)]


def some_texts(tokenizer: Any, count: int) -> list[str]:
    """Lines put together to texts of nearly as many tokens, for word merging, since token ids know no words."""
    texts: list[str] = []
    for lines in documents()[1]:
        text = ""
        for line in lines:
            longer = f"{text} {line}".strip()
            if len(tokenizer(longer).input_ids) > TOKENS:
                if text:
                    texts.append(text)
                if len(texts) == count:
                    return texts
                longer = line if len(tokenizer(line).input_ids) <= TOKENS else ""
            text = longer
    return texts


def twice(attention: ba.AttentionTensor) -> ba.AttentionTensor:
    """The model's six layers twice: as many heads as BERT-base has."""
    weights = attention.weights
    return ba.AttentionTensor(torch.cat([weights, weights]), attention.queries, annotation=attention.annotation)


def trees(extractor: ba.Extractor) -> list[ba.AttentionTensor]:
    """Maps of sentences with trees, `twice`."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BERTATTN_DATA") or default)
    file = folder / "ud" / "UD_English-EWT" / "en_ewt-ud-dev.conllu"
    sentences = ba.readers.read_conllu(file if file.is_file() else demo.corpus_path())
    some = [sentences[i] for i in range(0, len(sentences), max(1, len(sentences) // TREES))][:TREES]
    return [twice(a) for a in extractor.extract(some, batch_size=BATCH)]


def treebank() -> tuple[str, list[ba.Sentence]]:
    """The name of the treebank that probes are trained on, and its sentences."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BERTATTN_DATA") or default)
    file = folder / "ud" / "UD_English-EWT" / "en_ewt-ud-train.conllu.gz"
    if file.is_file():
        return "EWT train", list(ba.readers.read_conllu(file))
    return "the demo's corpus", list(ba.readers.read_conllu(demo.corpus_path()))


def some_trees(count: int) -> list[ba.Sentence]:
    """So many, from all over the treebank, which is repeated where it is too short."""
    _, sentences = treebank()
    if len(sentences) < count:
        return [sentences[i % len(sentences)] for i in range(count)]
    return [sentences[i * len(sentences) // count] for i in range(count)]


# --------------------------------------------------------------------------------------------------------- the sides


def forward(model: Any, pad: int, batch: Sequence[ba.TokenIds]) -> tuple[torch.Tensor, ...]:
    """The bare eager forward pass of one batch, with its maps."""
    longest = max(len(one) for one in batch)
    ids = torch.tensor([[*one.ids, *[pad] * (longest - len(one))] for one in batch])
    types = torch.tensor([[*(one.token_types or ()), *[0] * (longest - len(one))] for one in batch])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in batch])
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    with torch.inference_mode():
        outputs = model(**{name: x.to(model.device) for name, x in inputs.items()}, output_attentions=True)
    maps: tuple[torch.Tensor, ...] = outputs.attentions
    return maps


def by_length(texts: Sequence[ba.TokenIds]) -> list[Sequence[ba.TokenIds]]:
    """Batches as the extractor makes them."""
    ordered = sorted(texts, key=len, reverse=True)
    return [ordered[i : i + BATCH] for i in range(0, len(ordered), BATCH)]


def token_groups(attention: ba.AttentionTensor) -> list[list[int]]:
    """The tokens of each word, special tokens as words of one, as the released code is given them."""
    groups: dict[object, list[int]] = {}
    for i, word in enumerate(attention.queries.word_ids or ()):
        groups.setdefault(("special", i) if word is None else word, []).append(i)
    return list(groups.values())


def check_patterns(ours: ba.AttentionTensor, maps: Numpy) -> None:
    """Raise where the two sides disagree; entropies may differ by the released code's smoothing."""
    seen = ba.patterns.surface_patterns(ours)
    for name, values in published.patterns(maps, ours.queries.tokens).items():
        tolerance = 5e-3 if name.startswith("entropy") else 1e-5
        if not np.allclose(values, _arrays.to_numpy(seen[name]), atol=tolerance):
            raise SystemExit(f"the two sides differ in {name}")


def check_merge(ours: ba.AttentionTensor, maps: Numpy) -> None:
    """Raise where the two sides disagree."""
    if not np.allclose(published.merge(maps, token_groups(ours)), ba.merge_subwords(ours).numpy(), atol=1e-5):
        raise SystemExit("the two sides differ in the merged words")


def published_scores(maps: Sequence[Numpy], golds: Sequence[ba.AttentionTensor]) -> Any:
    """Merging and scoring as released, from maps of tokens."""
    words = [published.merge(one, token_groups(gold)) for one, gold in zip(maps, golds, strict=True)]
    return published.relations(words, [(a.annotation.governors, a.annotation.relations) for a in golds])  # type: ignore[union-attr]


def check_relations(ours: Sequence[ba.AttentionTensor], maps: Sequence[Numpy]) -> None:
    """Raise where the two sides disagree."""
    scores = ba.heads.score_relations(ours, directions=MODES)
    theirs = published_scores(maps, ours)
    for direction, mode in zip(MODES, ("normal", "transpose"), strict=True):
        for name in ("all", *scores.relation_names()):
            seen = scores.accuracy(name, direction=direction)
            # What is never wrong is missing there.
            if not np.allclose(seen, [[head.get(name, 1.0) for head in layer] for layer in theirs[mode]], atol=1e-12):
                raise SystemExit(f"the two sides differ in {name}, {direction}")


def check_distances(ours: clustering.HeadDistances, maps: Numpy) -> None:
    """Raise where the two sides disagree on the sums over tokens."""
    if not np.allclose(published.distances(maps, range(len(ours))), ours.matrix(aggregate="sum"), rtol=1e-4, atol=1e-5):
        raise SystemExit("the two sides differ in the distances")


def masked_language_model(encoder: Any) -> Any:
    """The encoder with a head that nothing has trained, which takes as long as another."""
    torch.manual_seed(0)
    model = transformers.AutoModelForMaskedLM.from_config(encoder.config, attn_implementation="eager")
    report = model.base_model.load_state_dict(encoder.state_dict(), strict=False)
    if report.missing_keys:
        raise SystemExit(f"the encoder lacks {report.missing_keys}")
    return model.eval()


def check_gradients(ext: ba.Extractor, model: Any, texts: Sequence[ba.TokenIds]) -> None:
    """Raise where the maps that are differentiated are not those of the bare forward pass on the same masked tokens."""
    for text, one in zip(texts, attribution.gradients(ext, texts, objective=attribution.MaskedLM()), strict=True):
        seen = ext.tokenizer.convert_tokens_to_ids(list(one.attention.queries.tokens))
        same = ba.TokenIds(tuple(seen), token_types=text.token_types)
        maps = torch.stack(forward(model, ext.tokenizer.pad_token_id, [same]), 1)[0]
        if not np.allclose(_arrays.to_numpy(maps), one.attention.numpy(), atol=1e-5):
            raise SystemExit("the two sides differ in the maps that are differentiated")


def sequence(maps: Numpy) -> Numpy:
    """Prepared maps as the released code has them: `[head, token, token]`, the end last, one layer of all heads."""
    order = [0, *range(2, len(maps)), 1]
    return np.ascontiguousarray(maps[order][:, order].transpose(2, 0, 1))[None]


def embeddings_of(vectors: ba.vectors.WordVectors) -> tuple[dict[str, int], torch.Tensor]:
    """Word vectors as the released code has them: numbers of words, and a table."""
    zero = np.zeros((1, vectors.dimension), np.float32)
    table = torch.from_numpy(np.concatenate([zero, vectors.matrix]))
    return {word: number for number, word in enumerate(vectors.words, 1)}, table


def published_uas(
    weights: dict[str, torch.Tensor], data: probes.ProbeData, vectors: ba.vectors.WordVectors | None
) -> float:
    """The UAS of the released probe, counted as ours is."""
    embeddings = None if vectors is None else embeddings_of(vectors)
    found = []
    with torch.no_grad():
        for number, sentence in enumerate(data.sentences):
            looked_up = None if embeddings is None else published.looked_up(sentence.words, *embeddings)
            logits = published.probe_logits(weights, sequence(data.maps(number)), looked_up)
            found.append(tuple(logits.argmax(-1).tolist()))
    return probes.score_governors(data.sentences, found).uas()


def check_uas(ours: float, theirs: float) -> None:
    """Raise where ours learns less in its epoch than the released way in its."""
    if not ours >= theirs - 0.005:
        raise SystemExit(f"after an epoch ours has a UAS of {ours:.1%}, which is below the published {theirs:.1%}")


# ---------------------------------------------------------------------------------------------------------- the rows


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], rounds: int, wait: Callable[[], None]) -> Any:
    """Seconds of each round of each side, after one that does not count."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for side, work in enumerate((ours, theirs)):
            wait()
            start = time.perf_counter()
            work()
            wait()
            if number:
                seconds[side].append(time.perf_counter() - start)
    return seconds


def row(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    rounds: int,
    device: str,
    items: int,
    at_most: float | None = None,
    at_least: float | None = None,
    share: float = 1.0,
) -> dict[str, Any]:
    """One line of the table. `at_most` bounds ours over theirs; else the ratio is theirs over ours.

    `share` is how much of the work theirs does: its seconds are divided by that.
    """
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    a, b = in_turn(ours, theirs, rounds, wait)
    b = [seconds / share for seconds in b]
    over = at_most is not None
    ratios = [x / y if over else y / x for x, y in zip(a, b, strict=True)]
    ratio = statistics.median(ratios)
    return {
        "row": name,
        "device": device,
        "ours": statistics.median(a) / items * 1e3,
        "baseline": statistics.median(b) / items * 1e3,
        "unit": "ms an input",
        "ratio": ratio,
        "spread": [min(ratios), max(ratios)],
        "target": at_most if over else at_least,
        "sense": "at most" if over else "at least",
        "met": ratio <= at_most if over else None if at_least is None else ratio >= at_least,  # type: ignore[operator]
        "rounds": rounds,
        "inputs": items,
    }


def times(device: str, *, rounds: int, count: int) -> Iterator[dict[str, Any]]:
    path = demo.model_path()
    ext = ba.Extractor.from_pretrained(path, device=device)
    eager = transformers.AutoModel.from_pretrained(path, attn_implementation="eager").eval().to(device)
    pad = ext.tokenizer.pad_token_id
    texts = some_segments(ext.tokenizer, count)
    batches = by_length(texts)
    yield row(
        "extract + surface_patterns | bare eager forward",
        lambda: ba.summarize(ext.extract(texts, batch_size=BATCH), ba.patterns.surface_patterns),
        lambda: [forward(eager, pad, batch) for batch in batches],
        at_most=1.20,
        rounds=rounds,
        device=device,
        items=len(texts),
    )

    maps = list(ext.extract(texts[:WORD_TEXTS], batch_size=BATCH))
    for dtype, how in (("float16", "as released"), ("float32", "kinder to them")):
        arrays = [(a.numpy().astype(dtype), a.queries.tokens) for a in maps]
        if dtype == "float32":
            check_patterns(maps[0], arrays[0][0])
        yield row(
            f"surface_patterns | published loops on {dtype} ({how})",
            lambda: [ba.patterns.surface_patterns(a) for a in maps],
            lambda arrays=arrays: [published.patterns(*array) for array in arrays],  # type: ignore[misc]
            at_least=15.0,
            rounds=rounds,
            device=device,
            items=len(maps),
        )

    maps = list(ext.extract(some_texts(ext.tokenizer, WORD_TEXTS), batch_size=BATCH))
    for dtype, how in (("float16", "as released"), ("float32", "kinder to them")):
        words = [(a.numpy().astype(dtype), token_groups(a)) for a in maps]
        if dtype == "float32":
            check_merge(maps[0], words[0][0])
        yield row(
            f"merge_subwords | published loops on {dtype} ({how})",
            lambda: [ba.merge_subwords(a) for a in maps],
            lambda words=words: [published.merge(*pair) for pair in words],  # type: ignore[misc]
            at_least=30.0,
            rounds=rounds,
            device=device,
            items=len(maps),
        )

    maps = trees(ext)
    for dtype, how in (("float16", "as released"), ("float32", "kinder to them")):
        arrays = [a.numpy().astype(dtype) for a in maps]
        if dtype == "float32":
            check_relations(maps, arrays)
        yield row(
            f"score_relations, 144 heads | published loops on {dtype} ({how})",
            lambda: ba.heads.score_relations(maps, directions=MODES),
            lambda arrays=arrays: published_scores(arrays, maps),  # type: ignore[misc]
            at_least=30.0,
            rounds=rounds,
            device=device,
            items=len(maps),
        )


def distances(device: str, *, rounds: int) -> Iterator[dict[str, Any]]:
    """The distances of all pairs of as many heads as BERT-base has, on one segment."""
    ext = ba.Extractor.from_pretrained(demo.model_path(), device=device)
    segment = max(some_segments(ext.tokenizer, WORD_TEXTS), key=len)
    attention = twice(ext(segment))
    work = f"144 heads x {len(segment)} tokens"

    def ours(kernel: Any) -> clustering.HeadDistances:
        return clustering.head_distances([attention], smoothing=0.001, kernel=kernel)

    fastest = "fused" if device == "cuda" else "numba"
    plain = [] if device == "cuda" else [("numpy", 25.0)]
    for kernel, target in (("torch", 25.0), *plain, (fastest, 60.0)):
        for dtype, how in (("float16", "as released"), ("float32", "kinder to them")):
            maps = attention.numpy().astype(dtype)
            heads = range(144) if dtype == "float32" else SOME_HEADS
            if dtype == "float32":
                check_distances(ours(kernel), maps)
            yield row(
                f"head_distances, {work}, {kernel} | published loop on {dtype} ({how})",
                lambda kernel=kernel: ours(kernel),  # type: ignore[misc]
                lambda maps=maps, heads=heads: published.distances(maps, heads),  # type: ignore[misc]
                at_least=target,
                rounds=min(rounds, SLOW_ROUNDS),
                device=device,
                items=1,
                share=len(heads) / 144,
            )

    base = transformers.BertModel(transformers.BertConfig(attn_implementation="eager")).eval().to(device)
    yield row(
        f"head_distances, {work}, {fastest} | bare eager forward of BERT-base",
        lambda: ours(fastest),
        lambda: forward(base, ext.tokenizer.pad_token_id, [segment]),
        at_most=0.5,
        rounds=rounds,
        device=device,
        items=1,
    )


def importances(device: str, *, rounds: int) -> Iterator[dict[str, Any]]:
    """Gradients of the loss of a masked language model, and what Figure 3 of the paper shows of them."""
    path = demo.model_path()
    model = masked_language_model(transformers.AutoModel.from_pretrained(path)).to(device)
    ext = ba.Extractor(model, transformers.AutoTokenizer.from_pretrained(path))
    texts = some_segments(ext.tokenizer, WORD_TEXTS)
    batches = by_length(texts)
    check_gradients(ext, model, texts[:2])

    def ours() -> object:
        found = attribution.gradients(ext, texts, objective=attribution.MaskedLM(), batch_size=BATCH)
        return attribution.gradient_importance(found)

    yield row(
        "gradient importance, masked LM | bare eager forward with the same head",
        ours,
        lambda: [forward(model, ext.tokenizer.pad_token_id, batch) for batch in batches],
        at_most=3.0,
        rounds=min(rounds, SLOW_ROUNDS),
        device=device,
        items=len(texts),
    )


def epochs(*, rounds: int) -> Iterator[dict[str, Any]]:
    """An epoch of each probe, and what it has learned then."""
    ext = ba.Extractor.from_pretrained(demo.model_path(), device="cpu")
    sentences = some_trees(SENTENCES)
    data = probes.prepare(ext.extract(sentences, batch_size=BATCH))
    held = data.select(range(0, SENTENCES, 4))
    train = data.select(i for i in range(SENTENCES) if i % 4)
    maps = [sequence(train.maps(i)) for i in range(len(train))]
    golds = [(sentence.words, sentence.governors) for sentence in train.sentences]
    own = ext.word_vectors(sentences, dimension=VECTORS)
    heads = maps[0].shape[1]
    sides: list[tuple[Callable[[], object], Callable[[], object]]] = []
    for name, probe, vectors in (
        ("AttentionProbe", probes.AttentionProbe(**ATTENTION), None),
        ("AttentionWordsProbe", probes.AttentionWordsProbe(own, **WORDS), own),
    ):
        embeddings = None if vectors is None else embeddings_of(vectors)
        weights: dict[str, torch.Tensor] = {}

        def ours(probe: Any = probe) -> None:
            probe.fit(train)

        def theirs(vectors: Any = vectors, embeddings: Any = embeddings, weights: Any = weights) -> None:
            weights.update(published.probe_weights(heads, None if vectors is None else vectors.dimension))
            published.probe_epoch(weights, maps, golds, embeddings)

        sides.append((ours, theirs))
        one = row(
            f"  {name}, an epoch, {probe.batch_size} a step | published loop, 1 a step",
            ours,
            theirs,
            rounds=rounds,
            device="cpu",
            items=len(train),
        )
        uas = probe.score(held), published_uas(weights, held, vectors)
        check_uas(*uas)
        yield one | {"uas": uas}
    yield row(
        "both probes, an epoch | published loops",
        lambda: [ours() for ours, _ in sides],  # type: ignore[func-returns-value]
        lambda: [theirs() for _, theirs in sides],  # type: ignore[func-returns-value]
        at_least=6.0,
        rounds=rounds,
        device="cpu",
        items=len(train),
    )


# -------------------------------------------------------------------------------------------------------- the memory


def peak() -> float:
    """Megabytes this process has had at most.

    Not `getrusage`, where Linux tells: that one starts a child with the peak of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def memory_of(side: str, count: int) -> dict[str, float]:
    """One side on so many inputs, in this process, which has done nothing else."""
    path = demo.model_path()
    start = time.perf_counter()
    kept = 0
    if side == "probes":
        ext = ba.Extractor.from_pretrained(path, device="cpu")
        sentences = some_trees(count)
        data = probes.prepare(ext.extract(sentences, batch_size=BATCH))
        probes.AttentionProbe(max_epochs=1).fit(data)
        probes.AttentionWordsProbe(ext.word_vectors(sentences, dimension=VECTORS), max_epochs=1).fit(data)
    elif side == "ours":
        ext = ba.Extractor.from_pretrained(path, device="cpu")
        ba.summarize(ext.extract(some_segments(ext.tokenizer, count), batch_size=BATCH), ba.patterns.surface_patterns)
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        model = transformers.AutoModel.from_pretrained(path, attn_implementation="eager").eval()
        maps = published.keep(
            ([len(one) for one in batch], torch.stack(forward(model, tokenizer.pad_token_id, batch), 1).numpy())
            for batch in by_length(some_segments(tokenizer, count))
        )
        kept = sum(one.nbytes for one in maps)
    return {"peak": peak(), "kept": kept / 2**20, "seconds": time.perf_counter() - start}


def in_a_process(side: str, count: int) -> dict[str, float]:
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, __file__, "--memory", side, str(count)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory() -> Iterator[dict[str, Any]]:
    """Peak memory over the number of inputs. Of the released way 4000 are extrapolated: they may not fit."""
    few, many = in_a_process("ours", FEW), in_a_process("ours", MANY)
    kept, more = in_a_process("published", FEW), in_a_process("published", MORE)
    extrapolated = kept["peak"] + (more["kept"] - kept["kept"]) / (MORE - FEW) * (MANY - FEW)
    ratio = many["peak"] / few["peak"]
    yield {
        "row": f"peak memory, {MANY} inputs | {FEW} inputs",
        "device": "cpu",
        "ours": many["peak"],
        "baseline": few["peak"],
        "unit": "MB",
        "ratio": ratio,
        "spread": [ratio, ratio],
        "target": 1.10,
        "sense": "at most",
        "met": ratio <= 1.10,
        "rounds": 1,
        "inputs": MANY,
        "seconds": many["seconds"],
    }
    yield {
        "row": f"  keeping every map (float16), {MANY} inputs, extrapolated | {FEW} inputs",
        "device": "cpu",
        "ours": extrapolated,
        "baseline": kept["peak"],
        "unit": "MB",
        "ratio": extrapolated / kept["peak"],
        "spread": [extrapolated / kept["peak"]] * 2,
        "target": None,
        "sense": "at most",
        "met": None,
        "rounds": 1,
        "inputs": MANY,
        "measured": {str(FEW): kept, str(MORE): more},
    }
    text, sentences = treebank()
    trained = in_a_process("probes", len(sentences))
    ratio = trained["peak"] / MEGABYTES
    yield {
        "row": f"extracting {text} and training both probes on it, peak memory | limit",
        "device": "cpu",
        "ours": trained["peak"],
        "baseline": MEGABYTES,
        "unit": "MB",
        "ratio": ratio,
        "spread": [ratio, ratio],
        "target": 1.0,
        "sense": "at most",
        "met": ratio <= 1.0,
        "rounds": 1,
        "inputs": len(sentences),
        "seconds": trained["seconds"],
    }


# --------------------------------------------------------------------------------------------------------- the table


def machine() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        name = next((s.partition(":")[2].strip() for s in cpuinfo.read_text().splitlines() if "model name" in s), name)
    return {
        "cpu": name,
        "architecture": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def versions() -> dict[str, str]:
    names = ("bertattn", "torch", "transformers", "numpy")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def named(one: dict[str, Any]) -> str:
    """The name of a row, with what both sides have learned where they learn."""
    if "uas" not in one:
        return str(one["row"])
    return "{} (UAS {:.1%} | {:.1%})".format(one["row"], *one["uas"])


def line(one: dict[str, Any]) -> str:
    target = "" if one["target"] is None else f"{one['sense']} {one['target']:g}: {'met' if one['met'] else 'NOT met'}"
    low, high = one["spread"]
    places = 0 if one["unit"] == "MB" else 2
    return (
        f"{named(one):90} {one['device']:5}{one['ours']:9.{places}f}{one['baseline']:10.{places}f} {one['unit']:12}"
        f"{one['ratio']:8.2f}  ({low:.2f} to {high:.2f})".ljust(148)
        + f"  {target}"
    )


def markdown(record: dict[str, Any]) -> str:
    """A record as the table of docs/benchmarks.md."""
    about = record["machine"]
    lines = [
        f"{record['date'][:10]}, {about['cpu']} ({about['cores']} cores, {about['threads']} threads), "
        f"{about['system']}; "
        + ", ".join(f"{name} {version}" for name, version in record["versions"].items())
        + f"; {record['model']}; {record['text']}. Load average {record['load_before'][0]:.1f} before and "
        f"{record['load_after'][0]:.1f} after.",
        "",
        "| ours \\| baseline | device | ours | baseline | ratio | smallest to largest | target |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for one in record["rows"]:
        target = (
            "" if one["target"] is None else f"{one['sense']} {one['target']:g}: {'met' if one['met'] else 'not met'}"
        )
        low, high = one["spread"]
        places = 0 if one["unit"] == "MB" else 2
        name = named(one).strip().replace("|", "\\|")
        lines.append(
            f"| {name} | {one['device']} | {one['ours']:.{places}f} {one['unit']} | {one['baseline']:.{places}f} "
            f"{one['unit']} | {one['ratio']:.2f} | {low:.2f} to {high:.2f} | {target} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often each side runs (default %(default)s)")
    parser.add_argument("--inputs", type=int, default=64, help="segments of the first row (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="3 rounds, 32 inputs, and no rows of memory")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="only these groups of rows")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the record there")
    parser.add_argument("--markdown", type=Path, metavar="FILE.json", help="only print a record as the docs' table")
    parser.add_argument("--memory", nargs=2, metavar=("SIDE", "COUNT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        print(json.dumps(memory_of(given.memory[0], int(given.memory[1]))))
        return
    if given.markdown:
        print(markdown(json.loads(given.markdown.read_text(encoding="utf-8"))))
        return
    transformers.utils.logging.disable_progress_bar()
    rounds, inputs = (3, 32) if given.quick else (given.rounds, given.inputs)
    record: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "model": "all-MiniLM-L6-v2, float32",
        "text": documents()[0],
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES"),
        "load_before": os.getloadavg(),
    }
    about, installed = record["machine"], record["versions"]
    print(f"{record['date']}  {about['cpu']}, {about['cores']} cores, {about['threads']} threads, {about['system']}")
    print(", ".join(f"{name} {version}" for name, version in installed.items()))
    print(f"{record['model']}; text: {record['text']}; load {record['load_before'][0]:.1f}\n")
    print(f"{'ours | baseline':90} {'':5}{'ours':>9}{'baseline':>10} {'':12}{'ratio':>8}  (smallest to largest)")
    rows = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        groups: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
            "times": lambda device=device: times(device, rounds=rounds, count=inputs),  # type: ignore[misc]
            "distances": lambda device=device: distances(device, rounds=rounds),  # type: ignore[misc]
            "importances": lambda device=device: importances(device, rounds=rounds),  # type: ignore[misc]
        }
        if device == "cpu":
            groups |= {"epochs": lambda: epochs(rounds=rounds), "memory": memory}
        for name, group in groups.items():
            if name not in given.only or (name == "memory" and given.quick):
                continue
            for one in group():
                rows.append(one)
                print(line(one), flush=True)
    record["load_after"] = os.getloadavg()
    record["rows"] = rows
    print(f"\nload at the end {record['load_after'][0]:.1f}")
    if not torch.cuda.is_available():
        print("there is no GPU here: its rows were not run")
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
