"""The command `bertattn`: it parses, calls one public function, and says where things are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

import bertattn
from bertattn.errors import BertattnError

__all__ = ["app", "main"]

app = typer.Typer(
    help="What transformers attend to, in numbers for a paper.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of the command `bertattn`."""
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


@app.command()
def demo(
    out: Annotated[
        str, typer.Option(metavar="FOLDER", help="The folder to write; other files there are kept.")
    ] = "demo-out",
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
) -> None:
    """Figures 1, 2 and 4 of Clark et al. 2019 for a small model and 24 passages, with the numbers behind them."""
    with _plain_errors():
        from bertattn.demo import run

        result = run(out, progress=progress)
        for line in result.highlights:
            typer.echo(line)
        typer.echo(f"\n{len(result.files)} files in {result.folder}:")
        for path in result.files:
            typer.echo(f"  {path.name}")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """One line on stderr and an exit code instead of a traceback, for what is no bug of ours."""
    try:
        yield
    except (BertattnError, OSError) as error:
        typer.echo(f"bertattn: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(130) from None
