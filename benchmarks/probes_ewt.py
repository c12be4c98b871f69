"""The figures of docs/probes.md: probes on all-MiniLM-L6-v2, trained on EWT train, scored on EWT dev, or once on test.

    python benchmarks/probes_ewt.py RUN            # dev; RUN is a folder that keeps the maps, some 3 GB
    python benchmarks/probes_ewt.py RUN --test     # test: settings are fixed on dev, so this is read once

Maps are kept in run folders, so a second call trains only. Two quiet cores take some 15 minutes, most of it for maps.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import bertattn as ba
from bertattn import demo, interventions, probes

DATA = Path(os.environ.get("BERTATTN_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
TREEBANK = DATA / "ud" / "UD_English-EWT"
SEEDS = (0, 1, 2)
LAYER = 4  # of the structural probe: 0.6 of the model's six, fixed beforehand


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder that keeps the maps")
    parser.add_argument("--test", action="store_true", help="score on EWT test, not on dev")
    given = parser.parse_args()
    part = "test" if given.test else "dev"
    train = ba.readers.read_conllu(TREEBANK / "en_ewt-ud-train.conllu.gz")
    held_out = ba.readers.read_conllu(TREEBANK / f"en_ewt-ud-{part}.conllu")
    vectors = ba.readers.read_word_vectors(DATA / "vectors" / "glove.6B.50d.unit.top25k.txt.gz", [*train, *held_out])
    print(f"{part}: {vectors.coverage(held_out)!r}")
    ext = ba.Extractor.from_pretrained(demo.model_path())

    def maps(name: str, of: ba.Extractor) -> tuple[probes.ProbeData, probes.ProbeData]:
        kept = []
        for which, sentences in (("train", train), (part, held_out)):
            folder = ba.RunFolder(given.run / f"{name}-{which}")
            kept.append(probes.prepare(folder.keep(of, sentences, on_too_long="skip", batch_size=32, progress=True)))
        return kept[0], kept[1]

    def fitted(name: str, probe: Any, on: Any, at: Any) -> Any:
        start = time.perf_counter()
        scores = probe.fit(on).evaluate(at)
        seconds = time.perf_counter() - start
        root = f", root {scores.uas('root'):.1%}" if isinstance(scores, probes.GovernorScores) else ""
        print(f"{name}: {scores.interval().estimate:.1%}{root}, {seconds:.0f} s", flush=True)
        return scores

    on, at = maps("trained", ext)
    table: dict[str, Any] = {}
    for last in ("root", "itself"):
        chain = [probes.right_branching(sentence, last=last) for sentence in at.sentences]
        table[f"right-branching, last: {last}"] = probes.score_governors(at.sentences, chain)
    table["distance + words"] = fitted("distance", probes.DistanceWordsProbe(vectors), on, at)
    runs = []
    for seed in SEEDS:
        random_on, random_at = maps(f"random-{seed}", interventions.randomize(ext, seed=seed))
        runs.append(fitted(f"random {seed}", probes.AttentionWordsProbe(vectors), random_on, random_at))
    table["random-init attention + words"] = runs
    released = {"root": "special", "bias": True, "standardize": False, **probes.PAPER_SCHEDULE}
    for name, probe in {
        "attention": probes.AttentionProbe(),
        "attention, root='special'": probes.AttentionProbe(root="special"),
        "attention, the paper's schedule": probes.AttentionProbe(root="special", **probes.PAPER_SCHEDULE),
        "attention, features='sqrt'": probes.AttentionProbe(features="sqrt"),
        "attention + words": probes.AttentionWordsProbe(vectors),
        "attention + words, root='special'": probes.AttentionWordsProbe(vectors, root="special"),
        "attention + words, bias": probes.AttentionWordsProbe(vectors, bias=True),
        "attention + words, released": probes.AttentionWordsProbe(vectors, root_vector="released", **released),
        "attention + words, released but aligned": probes.AttentionWordsProbe(vectors, **released),
        "attention + words, bias, sqrt": probes.AttentionWordsProbe(vectors, bias=True, features="sqrt"),
    }.items():
        table[name] = fitted(name, probe, on, at)
    last_fitted = probe.set_params(decoding="tree")
    table["attention + words, bias, sqrt, as trees"] = last_fitted.evaluate(at)
    hidden = [list(ext.hidden_states(s, layer=LAYER, on_too_long="skip", batch_size=32)) for s in (train, held_out)]
    table["structural probe"] = fitted("structural", probes.StructuralProbe(layer=LAYER), *hidden)
    print(probes.probe_table(table))
    for other in ("attention", "distance + words"):
        print(f"attention + words against {other}: {table['attention + words'].compare(table[other])['all']}")
    print(f"attention + words against random: {table['attention + words'].compare(runs[0])['all']}")


if __name__ == "__main__":
    main()
