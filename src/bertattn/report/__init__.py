"""Corpus in, report out: one HTML page, the tables as CSV, and JSON with all that is needed to repeat the run.

A report has sections, listed in `SECTIONS`: each is a function from results to figures and tables.
"""

from __future__ import annotations

import functools
import os
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from bertattn import _arrays, _files, _optional
from bertattn.errors import BertattnError, InputError, StorageError, ValidationError
from bertattn.inputs import TextPair
from bertattn.report._keeping import Keeping, Kept
from bertattn.report._parts import Picture, Results, Section, Shown, Table
from bertattn.report._probes import Probing
from bertattn.report._sections import SECTIONS, relation_settings
from bertattn.results import one_pass

if TYPE_CHECKING:
    from bertattn.extract import Extractor, Input, Stream
    from bertattn.heads import CoreferenceScores, RelationScores
    from bertattn.report._corpus import Coreference, Corpus, Treebank, Vectors
    from bertattn.statistics import Summary
    from bertattn.tensor import AttentionTensor, Source

PAGE = "index.html"
RECORD = "report.json"
DEFAULTS = {"unit": "segment", "seed": 0, "weighting": "sequence", "batch_size": 16}

__all__ = ["SECTIONS", "Picture", "Probing", "Report", "Results", "Section", "Shown", "Table", "run"]


@dataclass(frozen=True)
class Report:
    """What `run` left behind.

    Args:
        folder: where it was written.
        files: its files, the page first.
        results: the values behind the page, each with `to_frame` and `save`.
        highlights: the most telling numbers, a sentence each.
    """

    folder: Path
    files: tuple[Path, ...]
    results: Results = field(repr=False)
    highlights: tuple[str, ...] = ()


def run(
    model: str | os.PathLike[str] | Extractor,
    out: str | os.PathLike[str],
    /,
    *,
    text: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    inputs: Sequence[Input] | None = None,
    treebank: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    coref: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    train: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    vectors: str | os.PathLike[str] | None = None,
    example: str | TextPair | None = None,
    unit: Literal["segment", "line"] = "segment",
    max_tokens: int | None = None,
    count: int | None = None,
    seed: int = 0,
    weighting: Literal["sequence", "query"] = "sequence",
    batch_size: int = 16,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    notes: Sequence[str] = (),
    command: str | None = None,
    run: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Report:
    """Write a report on a model's attention to a folder: `index.html`, which opens offline, figures, CSV and JSON.

    All files are made in a temporary folder and moved to `out` when all are there: after Ctrl-C, a full disk or an
    error `out` is as it was. Other files in `out` are left alone. The same call with the same versions on the same
    machine gives the same bytes, but for `times` in `report.json`.

    Args:
        model: a name on the hub, a folder, or an `Extractor`.
        out: the folder to write; made if it is not there.
        text: UTF-8 files, plain or `.gz`, as `readers.read_text` reads them: a paragraph or sentence a line, a blank
            line after each document.
        inputs: instead of `text`, anything that `Extractor.extract` takes.
        treebank: CoNLL-U files, plain or `.gz`, for the sections on dependency relations and on probes. Sentences that
            the model cannot take are left out and listed.
        coref: files with coreference, plain or `.gz`, for the section on it: CoNLL-U as in CorefUD and GUM, or
            CoNLL-2012, told apart by their content. Documents are cut at sentences into windows of at most 128 tokens
            (fewer where the model takes fewer), and all windows are read. Those that the model cannot take are left
            out and listed.
        train: CoNLL-U files of another treebank, on which the probes are trained that are scored on `treebank`; none
            means that each fifth of `treebank` is predicted by probes trained on the other four.
        vectors: a text file of word vectors, GloVe's or word2vec's, for the probes that know words; None takes the
            model's own input embeddings, reduced to 50 dimensions.
        example: the text of Figure 1, beside `text` or `inputs`; None takes the first words of the first input.
        unit: what of `text` is one input: "segment" is two consecutive passages of a document
            (`segments.paragraph_segments`, the paper's way); "line" is each line by itself, cut where it is longer
            than the model takes.
        max_tokens: the longest segment; None means 128, or what the model takes if that is less.
        count: how many segments to use, chosen at random; None means all.
        seed: of that choice, and of where segments are parted.
        weighting: of averages, "sequence" (the paper's) or "query": see `summarize`.
        batch_size: how many inputs run together.
        device, dtype, revision: as for `Extractor.from_pretrained`.
        notes: paragraphs for the top of the page, such as what the text is.
        command: the command to print as the one that repeats the run; None puts `bertattn report` together.
        run: a folder that keeps what is computed on the way, as `bertattn.RunFolder`s and JSON. The same call, however
            it was stopped, goes on where it was, and gives the same bytes as one that was not stopped. A call with
            other inputs or settings is refused what is there.
        progress: show a bar.

    Raises:
        InputError: nothing to read, both `text` and `inputs`, a text that gives no input, documents without mentions,
            a name that is no UTF-8, an option of another type, or one that does not go with another.
        ValidationError: an option that there is not.
        ModelError, ReaderError, FileNotFoundError: the model or a file cannot be read.
        StorageError: `out` is a file, an empty name or one that is no UTF-8, or nothing can be written there; `run`
            too, or what is there is of another run.
        MissingExtraError: matplotlib is not installed.

    Examples:
        >>> import tempfile
        >>> from bertattn import demo, report
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     done = report.run(demo.model_path(), f"{folder}/out", inputs=demo.passages()[:4])
        >>> done.files[0].name, done.results.surface.sequences
        ('index.html', 4)
    """
    _optional.require("matplotlib", extra="plot", caller="report.run")
    from bertattn._prepare import check_inputs
    from bertattn.extract import Extractor, checked_batch_size
    from bertattn.report import _corpus

    begun, started = time.perf_counter(), datetime.now(UTC)
    if not _name(out, "out", StorageError):  # Path would read it as the current folder
        raise StorageError("the name of the folder to write is empty; for the current folder write '.'")
    if run is not None:
        _name(run, "run", StorageError)
    if not isinstance(model, Extractor | str | os.PathLike):
        raise InputError(
            f"model must be a name on the hub, a folder or an Extractor, but is of type {type(model).__name__}"
        )
    if not isinstance(model, Extractor):
        _name(model, "model", InputError)
    paths, trees = _paths(text, "text"), _paths(treebank, "treebank")
    entities, others = _paths(coref, "coref"), _paths(train, "train")
    given_vectors = [] if vectors is None else _paths([vectors], "vectors")
    if inputs is not None:
        check_inputs(inputs)
    if isinstance(notes, str) or not isinstance(notes, Sequence) or not all(isinstance(note, str) for note in notes):
        raise InputError(f"notes must be a list of paragraphs, each a string, but is {notes!r:.60}")
    batch_size = checked_batch_size(batch_size)
    keeping = Keeping(run, batch_size=batch_size, progress=progress)
    if not paths and inputs is None and not trees and not entities:
        raise InputError(
            "there is nothing to read; give text files (text=), inputs (inputs=), a treebank (treebank=) or documents "
            "with coreference (coref=)"
        )
    if paths and inputs is not None:
        raise InputError("both text and inputs are given; give text files (text=), or inputs such as a list of strings")
    for name, value, choices in (("unit", unit, ("segment", "line")), ("weighting", weighting, ("sequence", "query"))):
        if value not in choices:
            raise ValidationError(f"{name} must be {' or '.join(map(repr, choices))}, but is {value!r}")
    for name, given in (("max_tokens", max_tokens), ("count", count)):
        if given is not None and not (paths and unit == "segment"):
            raise InputError(
                f"{name} belongs to text that is read as segments; leave it out, or give text files (text=)"
            )
    if count is not None and (type(_arrays.plain(count)) is not int or count < 1):
        raise InputError(f"count is how many segments to use, 1 or more, but is {count!r}")
    if example is not None and not paths and inputs is None:
        raise InputError(
            "example needs text beside it, which says which heads to show; give text files (text=) or inputs (inputs=)"
        )
    for name, files in (("train", others), ("vectors", given_vectors)):
        if files and not trees:
            raise InputError(f"{name} is for probes, which are scored on a treebank; give one (treebank=)")
    loading: dict[str, Any] = {"device": device, "dtype": dtype, "revision": revision}
    if isinstance(model, Extractor) and any(loading.values()):
        raise InputError(
            "device, dtype and revision belong to a model loaded by name; leave them out with an Extractor"
        )
    if command is None and inputs is None and not isinstance(model, Extractor) and not isinstance(example, TextPair):
        options = loading | {"example": example, "unit": unit, "max_tokens": max_tokens, "count": count, "seed": seed}
        options |= {"weighting": weighting, "batch_size": batch_size, "vectors": vectors, "run": run}
        read_from = {"text": paths, "treebank": trees, "coref": entities, "train": others}
        command = _command(model, out, read_from, options)
    with _files.all_or_nothing(Path(out)) as folder:
        ext = model if isinstance(model, Extractor) else Extractor.from_pretrained(model, **loading, head="own")
        if inputs is not None:
            corpus = _corpus.of_inputs(inputs, example=example)
        elif paths:
            corpus = _corpus.of_files(
                paths, ext, example=example, unit=unit, max_tokens=max_tokens, count=count, seed=seed
            )
        else:
            corpus = None
        gold = _corpus.of_treebank(trees) if trees else None
        to_train = _corpus.of_training(others, gold) if others and gold else None
        read = _Read(
            corpus,
            gold,
            _corpus.of_coreference(entities, ext) if entities else None,
            to_train,
            _corpus.of_vectors(given_vectors[0], gold, to_train) if given_vectors and gold else None,
        )
        results = _measured(read, ext, keeping, weighting=weighting, batch_size=batch_size)
        record = _record(read, ext, results, command=command, weighting=weighting, batch_size=batch_size)
        highlights = _write(folder, results, record, notes=notes)
        times = {"started": started.isoformat(timespec="seconds"), "seconds": round(time.perf_counter() - begun, 2)}
        _files.write_json(folder / RECORD, record | {"times": times})
        written = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
        names = sorted(written, key=lambda name: (name != Path(PAGE), name))
    return Report(Path(out), tuple(Path(out, name) for name in names), results, highlights)


def _paths(given: object, what: str) -> list[Path]:
    several = isinstance(given, Iterable) and not isinstance(given, str | bytes | os.PathLike)
    names = [_name(name, what, InputError) for name in (cast("Iterable[object]", given) if several else [given])]
    if not all(names):  # Path would read it as the current folder
        raise InputError("the name of a file to read is empty")
    return [Path(name) for name in names]


def _name(given: object, what: str, error: type[BertattnError]) -> str:
    """A name that the system takes and that can stand on the page and in the record."""
    name = os.fspath(given) if isinstance(given, str | os.PathLike) else given
    if not isinstance(name, str):
        raise error(f"{what} must be a name, or a pathlib.Path, but is {given!r:.60}")
    if "\0" in name:
        raise error(f"{what}: the name {name!r} holds a NUL character, which no file can have in its name")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise error(f"{what}: the name {name!r} is no UTF-8; rename it") from None
    return name


@dataclass(frozen=True)
class _Read:
    """What a report is on; None where it was not given."""

    corpus: Corpus | None
    treebank: Treebank | None
    coreference: Coreference | None
    train: Treebank | None
    vectors: Vectors | None


def _measured(read: _Read, ext: Extractor, keeping: Keeping, *, weighting: Any, batch_size: int) -> Results:
    from bertattn.report import _clusters, _coreference, _gradients, _probes
    from bertattn.report._sections import relation_examples, relation_sentences
    from bertattn.windowing import windows

    surface = example = relations = coreference = probing = distances = gradients = objective = None
    kept: Kept | None = None
    shown: tuple[AttentionTensor, ...] = ()
    pieces: tuple[AttentionTensor, ...] = ()
    relation_maps: dict[str, AttentionTensor] = {}
    too_little: dict[str, str] = {}
    if read.corpus is not None:
        measures: dict[str, Any] = {"surface": functools.partial(_summarized, weighting=weighting)}
        measures["distances"] = _clusters.measured
        of_text = functools.partial(one_pass, **measures)
        both = keeping.sum("text", ext, read.corpus.inputs, of_text, on_too_long="truncate")
        surface, distances = both["surface"], both["distances"]
        example = None if read.corpus.example is None else ext(read.corpus.example)
        sloped = _gradients.measured(read.corpus.inputs, ext, keeping)
        if isinstance(sloped, str):
            too_little["gradients"] = sloped
        else:
            gradients, objective = sloped
    if read.treebank is not None:
        sentences = read.treebank.sentences
        scoring = functools.partial(_scored, sentences=len(sentences))
        kept = keeping.maps("treebank", ext, sentences, also=scoring)
        relations = cast("RelationScores", kept.also)
        if not relations.count():
            raise InputError(
                f"no word of the {len(sentences)} sentences of the treebank has a governor; give one whose column HEAD "
                "is filled"
            )
        left_out = {index for index, _ in relations.skipped}
        scored = [sentence for i, sentence in enumerate(sentences) if i not in left_out]
        shown = tuple(ext(scored[i]) for i in relation_examples(relations))
        wanted = relation_sentences(relations)
        maps = {i: ext(scored[i]) for i in sorted(set(wanted.values()))}
        relation_maps = {name: maps[i] for name, i in wanted.items()}
    if read.coreference is not None:
        documents, tokens = read.coreference.documents, read.coreference.max_tokens
        cut = windows(documents, max_tokens=tokens, which="all")
        coreference = keeping.sum("coreference", ext, cut, _scored_mentions, on_too_long="skip", on_error="skip")
        if not coreference.count():
            raise InputError(
                f"no mention of the documents with coreference has an antecedent in its window of {tokens} tokens; "
                "give documents in which mentions of one entity stand closer together"
            )
        pieces = _coreference.examples(coreference, documents, ext, batch_size=batch_size)
    if read.treebank is not None and kept is not None:
        found = _probes.measured(
            read.treebank.sentences,
            kept,
            None if read.train is None else read.train.sentences,
            None if read.vectors is None else read.vectors.vectors,
            ext,
            keeping,
            batch_size=batch_size,
        )
        if isinstance(found, str):
            too_little["probes"] = found
        else:
            probing = found
    return Results(
        surface,
        example,
        relations,
        shown,
        coreference,
        pieces,
        probing,
        too_little,
        gradients,
        objective,
        distances,
        relation_maps,
    )


def _summarized(stream: Stream, /, *, weighting: Any) -> Summary:
    from bertattn.patterns import surface_patterns
    from bertattn.statistics import summarize

    return summarize(stream, surface_patterns, weighting=weighting)


def _scored(stream: Stream, /, *, sentences: int) -> RelationScores:
    from bertattn.heads import score_relations

    try:
        return score_relations(stream, on_error="skip")
    except ValidationError:
        if len(stream.skipped) < sentences:
            raise
        raise InputError(
            f"the model can take none of the {sentences} sentences of the treebank: {stream.skipped[0].reason}"
        ) from None


def _scored_mentions(stream: Stream, /) -> CoreferenceScores:
    from bertattn.heads import score_coreference

    try:
        return score_coreference(stream, on_error="skip")
    except ValidationError:
        if not stream.skipped:
            raise
        raise InputError(
            f"the model can take no window of the documents with coreference: {stream.skipped[0].reason}"
        ) from None


def _record(
    read: _Read, ext: Extractor, results: Results, *, command: str | None, weighting: str, batch_size: int
) -> dict[str, Any]:
    """What another person needs to repeat the run, as JSON can hold it."""
    from bertattn.report import _clusters, _coreference, _probes, _provenance

    surface, relations, coreference = results.surface, results.relations, results.coreference
    source = _one_source(results)
    record: dict[str, Any] = {
        "command": command,
        "model": {"name": source.model, "revision": source.revision, "attention": source.attention}
        | _provenance.of_model(ext),
        "settings": {"special_tokens": "kept", "batch_size": batch_size},
        "machine": _provenance.machine(ext),
        "versions": _provenance.versions(),
        "missing": [section.name for section in SECTIONS if not section.is_ready(results)],
        "too_little": dict(results.too_little),
    }
    if read.corpus is not None and surface is not None:
        record["settings"] |= {"statistics": "bertattn.patterns.surface_patterns", "weighting": weighting}
        record["text"] = read.corpus.record
        record["used"] = {"sequences": surface.sequences, "tokens": surface.queries}
        record["skipped"] = _listed(surface.skipped)
        record["truncated"] = _listed(surface.truncated)
    if results.gradients is not None:
        record["gradients"] = {
            "objective": results.gradients.source.steps[0],
            "sequences": results.gradients.sequences,
            "skipped": _listed(results.gradients.skipped),
        }
    if results.distances is not None:
        record["settings"]["clusters"] = _clusters.settings(results)
    if read.treebank is not None and relations is not None:
        record["treebank"] = read.treebank.record | {
            "sentences_used": relations.sentences,
            "words_used": relations.count(),
            "words_without_governor": relations.without_governor,
            "skipped": _listed(relations.skipped),
        }
        names = ("directions", "punct", "root", "subtypes", "poss_mode", "candidates")
        record["settings"] |= {name: getattr(relations, name) for name in names} | relation_settings(relations)
    if read.coreference is not None and coreference is not None:
        counted = coreference.baselines
        record["coreference"] = read.coreference.record | {
            "documents_used": len(coreference.documents),
            "windows_used": counted.windows,
            "mentions_in_windows": counted.mentions,
            "mentions_scored": coreference.count(),
            "mentions_dropped_at_edges": counted.dropped_mentions,
            "mentions_of_one_head_word": counted.same_head_mentions,
            "head_words_guessed": counted.heads_by_fallback,
            "skipped": _listed(coreference.skipped),
        }
        record["settings"]["coreference"] = _coreference.settings(coreference)
    if results.probes is not None:
        record["probes"] = _probes.record(results.probes) | {
            "train": None if read.train is None else read.train.record | {"skipped": _listed(results.probes.skipped)},
            "vectors": None if read.vectors is None else read.vectors.record,
        }
        record["settings"]["probes"] = dict(results.probes.settings)
    return record


def _one_source(results: Results) -> Source:
    from bertattn.tensor import Source

    for one in (results.surface, results.relations, results.coreference):
        if one is not None:
            return one.source
    return Source()


def _listed(left_out: Sequence[tuple[int, str]]) -> list[dict[str, Any]]:
    return [{"index": i, "reason": reason} for i, reason in left_out]


def _write(folder: Path, results: Results, record: dict[str, Any], *, notes: Sequence[str]) -> tuple[str, ...]:
    """Page, figures and tables; returns the highlights."""
    from bertattn import figures, storage
    from bertattn.report import _clusters, _page

    sections = [(section, section.show(results) if section.is_ready(results) else None) for section in SECTIONS]
    images = {}
    for _, shown in sections:
        for picture in shown.pictures if shown else ():
            for ending in (".svg", ".png"):
                figures.save(picture.figure, folder / f"{picture.name}{ending}")
            images[picture.name] = (folder / f"{picture.name}.svg").read_bytes()
        for table in shown.tables if shown else ():
            _files.write_csv(folder / f"{table.name}.csv", table.rows)
        for file, view in shown.views.items() if shown else ():
            (folder / file).parent.mkdir(exist_ok=True)
            view.save(folder / file)
    if results.surface is not None:
        results.surface.to_csv(folder / "surface_patterns.csv")
        results.surface.save(folder / "surface_patterns.json")
    if results.gradients is not None:
        results.gradients.to_csv(folder / "gradient_importance.csv")
        results.gradients.save(folder / "gradient_importance.json")
    if results.distances is not None:
        results.distances.to_csv(folder / "head_distances.csv")
        results.distances.save(folder / "head_distances.json")
        _clusters.behaviors(results).to_csv(folder / "head_behaviors.csv")
    if results.example is not None:
        storage.save(folder / "figure1.safetensors", results.example)
    for name, shown_maps in (
        ("figure5", results.relation_examples),
        ("figure5_coreference", results.coreference_examples),
    ):
        for number, maps in enumerate(shown_maps, start=1):
            storage.save(folder / f"{name}_{number}.safetensors", maps)
    if results.relations is not None:
        results.relations.to_csv(folder / "relation_scores.csv")
        results.relations.save(folder / "relation_scores.json")
    if results.coreference is not None:
        results.coreference.to_csv(folder / "coreference_scores.csv")
        results.coreference.save(folder / "coreference_scores.json")
    if results.probes is not None:
        results.probes.table().save(folder / "table3.json")
        for kind, runs in results.probes.scores.items():
            if kind in results.probes.head_weights:
                file = f"probe_{kind.replace(' + ', '_')}"
                runs[0].to_csv(folder / f"{file}.csv")
                runs[0].save(folder / f"{file}.json")
                results.probes.head_weights[kind].to_csv(folder / f"{file}_heads.csv")
                results.probes.head_weights[kind].save(folder / f"{file}_heads.json")
    model = record["model"]
    name = model["name"] or model["architecture"]
    title = f"What {Path(name).name if Path(name).is_dir() else name} attends to"
    page = _page.page(
        title=title,
        lead=[*notes, _lead(results, record)],
        sections=sections,
        images=images,
        record=record,
        too_little=results.too_little,
        files=[path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()],
    )
    _files.write_whole(folder / PAGE, page)
    return tuple(line for _, shown in sections if shown for line in shown.highlights)


def _lead(results: Results, record: dict[str, Any]) -> str:
    """What was run on what."""
    model, surface, relations = record["model"], results.surface, results.relations
    coreference = results.coreference
    ran = []
    if surface is not None:
        ran.append(
            f"{_many(surface.sequences, 'sequence')} of {surface.queries / surface.sequences:.0f} tokens on average "
            f"({len(surface.skipped) or 'none'} left out, {len(surface.truncated) or 'none'} cut"
            f"{_in_no_segment(record['text'].get('left_out', {}))})"
        )
    if relations is not None:
        ran.append(
            f"{_many(relations.sentences, 'sentence')} of a treebank with {relations.count():,} words "
            f"({len(relations.skipped) or 'none'} left out)"
        )
        if results.probes is not None and results.probes.trained_on is not None:
            ran[-1] += f", with probes trained on {_many(results.probes.trained_on, 'sentence')} of another"
    if coreference is not None:
        ran.append(
            f"{_many(coreference.baselines.windows, 'window')} of {_many(len(coreference.documents), 'document')} with "
            f"coreference, in which {_many(coreference.count(), 'mention')} "
            f"{'is' if coreference.count() == 1 else 'are'} scored ({len(coreference.skipped) or 'none'} left out)"
        )
    one = next((value for value in (surface, relations, coreference) if value is not None), None)
    heads = f", {len(one.layers)} layers of {len(one.heads)} attention heads" if one is not None else ""
    on_all = ", on ".join([*ran[:-2], " and on ".join(ran[-2:])])
    return (
        f"{model['architecture']}{heads}, {model['parameters']:,} parameters, ran on {on_all}. "
        "Heads are written layer-head, counted from 1: 3-9 is the ninth head of the third layer."
    )


def _in_no_segment(left_out: dict[str, int]) -> str:
    """What of the text could be in no segment; those that `count` did not choose were the user's wish."""
    lines = left_out.get("one_line_chunks", 0) + left_out.get("lines_without_tokens", 0)
    tokens = left_out.get("cut_tokens", 0)
    lost = [_many(count, noun) for count, noun in ((lines, "line"), (tokens, "token")) if count]
    return f"; in no segment: {' and '.join(lost)} of the text" if lost else ""


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _command(model: object, out: object, files: dict[str, list[Path]], options: dict[str, Any]) -> str:
    """The command line that does the same: options that have their default are left out."""
    words = ["bertattn", "report", "--model", str(model)]
    for name, paths in files.items():
        for path in paths:
            words += [f"--{name}", str(path)]
    for name, value in options.items():
        if value is not None and value != DEFAULTS.get(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--out", str(out)])
