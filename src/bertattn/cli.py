"""The command `bertattn`: it parses, calls one public function, and says where things are."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import bertattn
from bertattn import _tokens
from bertattn.errors import BertattnError, InputError

if TYPE_CHECKING:
    from bertattn.report import Report

__all__ = ["app", "main"]

app = typer.Typer(
    help="What transformers attend to, in numbers for a paper.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of the command `bertattn`."""
    for stream in (sys.stdout, sys.stderr):  # a pipe on Windows takes no UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="bertattn")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bertattn {bertattn.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """What transformers attend to, in numbers for a paper."""


Out = Annotated[str, typer.Option(metavar="FOLDER", help="The folder to write; other files there are kept.")]
Progress = Annotated[bool, typer.Option(help="Show a progress bar.")]


@app.command()
def demo(out: Out = "demo-out", progress: Progress = True) -> None:
    """A report on a small model and 24 passages: Figures 1 to 6 and Tables 1 to 3 of Clark et al. 2019."""
    with _plain_errors():
        from bertattn.demo import run

        _say(run(out, progress=progress))


@app.command()
def report(
    model: Annotated[str, typer.Option(metavar="NAME_OR_PATH", help="A model on the hub, or a folder.")],
    text: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A UTF-8 file, a paragraph or sentence a line, a blank line after each document. May be given again.",
        ),
    ] = None,
    treebank: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A CoNLL-U file, for single heads and dependencies, and for probes. May be given again.",
        ),
    ] = None,
    coref: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A file with coreference, CoNLL-U (CorefUD, GUM) or CoNLL-2012. May be given again.",
        ),
    ] = None,
    train: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A CoNLL-U file that probes are trained on. May be given again.",
            show_default="four fifths of the treebank, in turn",
        ),
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Word vectors for probes, as text: GloVe or word2vec.",
            show_default="the model's own embeddings",
        ),
    ] = None,
    out: Out = "report-out",
    run: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Keep what is computed there; the same command, stopped anywhere, goes on where it was.",
            show_default="nothing is kept",
        ),
    ] = None,
    example: Annotated[
        str | None, typer.Option(help="The text of Figure 1.", show_default="first words of the text")
    ] = None,
    unit: Annotated[
        Literal["segment", "line"],
        typer.Option(help="What is one input: a 'segment' of two consecutive passages, or each 'line'."),
    ] = "segment",
    max_tokens: Annotated[int | None, typer.Option(help="The longest segment.", show_default="128")] = None,
    count: Annotated[
        int | None, typer.Option(help="Use so many segments, chosen at random.", show_default="all")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of that choice, and of where segments are parted.")] = 0,
    weighting: Annotated[
        Literal["sequence", "query"],
        typer.Option(help="A mean over sequences, each by its own mean, or one over every query of the text."),
    ] = "sequence",
    batch_size: Annotated[int, typer.Option(min=1, help="How many inputs run together.")] = 16,
    device: Annotated[
        str | None, typer.Option(help="Where to run, such as 'cpu'.", show_default="a GPU if there is one")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="What to compute in.", show_default="float32")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    progress: Progress = True,
) -> None:
    """A report on your own model and text, trees or coreference: a page that opens offline, figures, CSV and JSON."""
    with _plain_errors():
        if not text and not treebank and not coref:
            raise InputError("there is nothing to read; give --text FILE, --treebank FILE, --coref FILE or several")
        from bertattn import report as reports

        _say(
            reports.run(
                model,
                out,
                text=text or (),
                treebank=treebank or (),
                coref=coref or (),
                train=train or (),
                vectors=vectors,
                run=run,
                example=example,
                unit=unit,
                max_tokens=max_tokens,
                count=count,
                seed=seed,
                weighting=weighting,
                batch_size=batch_size,
                device=device,
                dtype=dtype,
                revision=revision,
                progress=progress,
            )
        )


@app.command()
def view(
    model: Annotated[str, typer.Option(metavar="NAME_OR_PATH", help="A model on the hub, or a folder.")],
    text: Annotated[str, typer.Argument(help="What the model reads.", show_default=False)],
    second: Annotated[
        str | None,
        typer.Argument(help="A pair's second text, or an encoder-decoder's target.", show_default=False),
    ] = None,
    kind: Annotated[
        Literal["head", "model", "neuron"],
        typer.Option(help="Lines of one layer, all heads at a glance, or how queries and keys make the weights."),
    ] = "head",
    out: Annotated[str, typer.Option(metavar="FILE", help="The page to write.")] = "view.html",
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = True,
    device: Annotated[
        str | None, typer.Option(help="Where to run, such as 'cpu'.", show_default="a GPU if there is one")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
) -> None:
    """A page on one text, to look at: head, model or neuron view of its attention, in one file that works offline."""
    with _plain_errors():
        from bertattn import views
        from bertattn.extract import Extractor
        from bertattn.inputs import TextPair

        ext = Extractor.from_pretrained(model, device=device, revision=revision)
        x = text if second is None else TextPair(text, second)
        both = second is not None and ext.model.config.is_encoder_decoder
        kinds: tuple[Literal["encoder", "decoder", "cross"] | None, ...] = (
            ("encoder", "decoder", "cross") if both else (None,)
        )
        if kind == "neuron":
            page = views.neuron_view([ext.capture(x, what=("query", "key"), attention=k) for k in kinds])
        else:
            maps = [ext(x, attention=k) for k in kinds]
            page = views.head_view(maps) if kind == "head" else views.model_view(maps)
        written = page.save(out)
        typer.echo(str(written))
        if show:
            import webbrowser

            webbrowser.open(written.resolve().as_uri())


def _say(done: Report) -> None:
    for line in done.highlights:
        typer.echo(_line(line))
    if done.highlights:
        typer.echo()
    typer.echo(f"{len(done.files)} files in {done.folder}; open {done.files[0]}")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """One line on stderr, and an exit code instead of a traceback, for what is no bug of ours."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: typer.echo(
                f"bertattn: warning: {_line(message)}", err=True
            )
            yield
    except (BertattnError, OSError) as error:
        typer.echo(f"bertattn: {_line(error)}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None


def _line(message: object) -> str:
    """One line, which names and texts of files cannot make say more to the terminal."""
    return _tokens.printable(" ".join(str(message).split()))
