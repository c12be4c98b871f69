"""The errors are one family, say what they should, and survive a trip between processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from bertattn import _optional, errors


def test_all_names_every_error_and_each_has_one_parent() -> None:
    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(errors.__all__) == defined
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.BertattnError)
        assert issubclass(getattr(errors, name), ValueError)


def test_errors_are_caught_by_the_builtin_a_user_expects() -> None:
    assert issubclass(errors.SelectionError, LookupError)
    assert issubclass(errors.MissingExtraError, ImportError)
    assert issubclass(errors.TooLongError, errors.InputError)


def test_selection_error_shows_its_text_without_quotes() -> None:
    assert str(errors.SelectionError("head 9-9 is not here")) == "head 9-9 is not here"


def test_reader_error_names_the_place() -> None:
    error = errors.ReaderError("governor is 'x'", path="a.conllu", line=3, column=7)
    assert str(error) == "a.conllu:3:7: governor is 'x'"
    assert (error.path, error.line, error.column, error.message) == ("a.conllu", 3, 7, "governor is 'x'")
    assert str(errors.ReaderError("torn", path="b", line=2)) == "b:2:1: torn"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_reader_error_can_be_sent_between_processes(copied) -> None:
    error = copied(errors.ReaderError("governor is 'x'", path="a.conllu", line=3, column=7))
    assert isinstance(error, errors.ReaderError)
    assert str(error) == "a.conllu:3:7: governor is 'x'"
    assert (error.path, error.line, error.column, error.message) == ("a.conllu", 3, 7, "governor is 'x'")


def test_a_missing_package_names_the_caller_and_the_command() -> None:
    with pytest.raises(errors.MissingExtraError) as caught:
        _optional.require("no_such_package.part", extra="plot", caller="figures.figure1")
    assert str(caught.value) == (
        "figures.figure1 needs the package 'no_such_package', which is not installed; "
        "install it with: pip install 'bertattn[plot]'"
    )


def test_a_package_that_is_there_is_given() -> None:
    assert _optional.require("json.decoder", extra="plot", caller="a test").JSONDecoder


def test_a_package_broken_inside_keeps_its_own_message(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_package.py").write_text("import something_it_lacks\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_it_lacks") as caught:
        _optional.require("broken_package", extra="plot", caller="a test")
    assert not isinstance(caught.value, errors.MissingExtraError)
