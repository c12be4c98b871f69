from __future__ import annotations

import gzip
import io
import re
import tarfile
from pathlib import Path
from typing import Literal

import pytest

from bertattn.errors import InputError, ReaderError
from bertattn.readers import iter_text, read_text

TEXT = "First line.\n  Second line. \n\n\n \t\nNächstes Dokument.\r\n\r\nLast one"
DOCUMENTS = [("First line.", "Second line."), ("Nächstes Dokument.",), ("Last one",)]


def test_documents_end_at_blank_lines_and_the_last_one_counts(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT.encode())
    assert read_text(path) == DOCUMENTS
    assert read_text(str(path)) == DOCUMENTS
    assert list(iter_text(path)) == DOCUMENTS


def test_compressed_file_and_open_file_read_alike(tmp_path: Path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert read_text(path) == DOCUMENTS
    file = io.StringIO(TEXT)
    assert read_text(file) == DOCUMENTS
    assert not file.closed


def test_byte_order_mark_is_taken_off(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfOne\nTwo")
    assert read_text(path) == [("One", "Two")]


def test_empty_file_has_no_documents(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n\n")
    assert read_text(path) == []


@pytest.mark.parametrize(
    ("content", "line", "column", "byte"),
    [
        (b"fine\n\nna\xc3\xafve \xff\n", 3, 7, "0xFF"),
        (b"\xef\xbb\xbfab\xfe", 1, 3, "0xFE"),
        (b"\xe2\x82", 1, 1, "0xE2"),
    ],
)
def test_bad_utf8_names_the_place(tmp_path: Path, content: bytes, line: int, column: int, byte: str):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ReaderError, match=re.escape(f"{path}:{line}:{column}: byte {byte} is no UTF-8")) as caught:
        read_text(path)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_documents_before_the_bad_byte_are_given(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n\n\xff\n")
    stream = iter_text(path)
    assert next(stream) == ("fine",)
    with pytest.raises(ReaderError):
        next(stream)


@pytest.mark.parametrize(
    "content", [gzip.compress(TEXT.encode())[:-9], b"no gzip at all", gzip.compress(b"a")[:10] + b"\xff" * 20]
)
def test_damaged_gzip(tmp_path: Path, content: bytes):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(content)
    with pytest.raises(ReaderError, match="damaged or cut off"):
        read_text(path)


@pytest.mark.parametrize("packing", ["w:", "w:gz", "w:xz"])
def test_a_tar_archive_cut_off_anywhere(tmp_path: Path, packing: Literal["w:", "w:gz", "w:xz"]):
    path = tmp_path / "a.tar"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=packing) as archive:
        for name in ("a.txt", "b.txt"):
            member = tarfile.TarInfo(name)
            member.size = len(TEXT.encode()) * 40
            archive.addfile(member, io.BytesIO(TEXT.encode() * 40))
    content = packed.getvalue()
    path.write_bytes(content)
    whole = read_text(path)
    assert len(whole) >= 2
    refused = []
    for length in range(0, len(content), max(1, len(content) // 200)):
        path.write_bytes(content[:length])
        try:
            found = read_text(path)
        except ReaderError as error:
            refused.append(str(error))
        else:  # cut off between two files, or after the last
            assert found == whole[: len(found)]
    assert refused
    assert all("damaged or cut off" in message for message in refused)


def test_open_file_of_another_encoding(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9\n")
    with path.open(encoding="utf-8") as file, pytest.raises(ReaderError, match="give the path"):
        read_text(file)
    with path.open("rb") as binary, pytest.raises(ReaderError, match=r"a\.txt:1:4: byte 0xE9 is no UTF-8"):
        read_text(binary)


def test_open_binary_files_are_read(tmp_path: Path):
    for content in (TEXT.encode(), gzip.compress(TEXT.encode())):
        assert read_text(io.BytesIO(content)) == DOCUMENTS
    with pytest.raises(InputError, match=r"^a reader takes a path or an open file, but got \['One'\]$"):
        read_text(["One"])


def test_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "absent.txt")


def test_data_has_the_documents_its_readme_counts(data_dir: Path):
    documents = read_text(data_dir / "text" / "xquad_en_docs.txt")
    assert len(documents) == 48
    assert {len(d) for d in documents} == {5}
