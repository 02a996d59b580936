"""Datasets become the same records however they are stored, and bad input is named by file and row."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attribution.training.errors import SourceError
from attribution.training.sources import BLOCK_CHARACTERS, Source, files, records

TEXTS = ["The first record.", "Das zweite, mit Ümlaut.\nUnd zwei Zeilen.", "третья"]


def stored_as_text_files(folder: Path) -> Path:
    for number, text in enumerate(TEXTS):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def stored_as_json_lines(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text, "id": 1}) + "\n" for text in TEXTS), encoding="utf-8")
    return path


def stored_as_parquet(folder: Path) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table({"text": TEXTS, "id": [1, 2, 3]}), path)
    return path


@pytest.mark.parametrize("store", [stored_as_text_files, stored_as_json_lines, stored_as_parquet])
def test_every_format_gives_the_same_records(store: Callable[[Path], Path], tmp_path: Path) -> None:
    assert list(records(store(tmp_path))) == TEXTS


def test_a_folder_is_read_recursively_in_sorted_order_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/9.md", "c.py", ".hidden", ".git/config.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    assert list(records(tmp_path)) == ["a/9.md", "b/2.txt", "c.py"]


def test_a_source_reads_all_its_paths_in_the_order_given(tmp_path: Path) -> None:
    for name in ("x.txt", "y.txt"):
        (tmp_path / name).write_text(name)
    source = Source("alice", (tmp_path / "y.txt", tmp_path / "x.txt"), ("1", "2"))
    assert list(source.records()) == ["y.txt", "x.txt"]


def test_other_field_names_and_encodings_are_read(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "rows.jsonl").write_text('{"body": "b"}\n\n{"body": "  "}\n')
    assert list(records(tmp_path / "old.txt", encoding="latin-1")) == ["café"]
    assert list(records(tmp_path / "rows.jsonl", text_field="body")) == ["b"]


def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert list(records(path)) == ["one\ntwo\nthree\n"]


def test_a_line_end_across_two_reads_stays_one_line_end(tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"x" * ((1 << 18) - 1) + b"\r\nafter")
    (text,) = records(path)
    assert text == "x" * ((1 << 18) - 1) + "\nafter"


@pytest.mark.parametrize("separator", ["\n\n", "\n", " "])
def test_a_big_file_is_cut_into_bounded_records_that_lose_nothing(separator: str, tmp_path: Path) -> None:
    paragraph = "ein Absatz mit Ümlaut " * 50
    text = separator.join(f"{number} {paragraph}" for number in range(2500))
    assert len(text) > 2 * BLOCK_CHARACTERS
    path = tmp_path / "big.txt"
    path.write_text(text, encoding="utf-8")
    found = list(records(path))
    assert "".join(found) == text
    assert all(len(record) <= BLOCK_CHARACTERS for record in found)
    assert all(record.endswith(separator) for record in found[:-1]) or separator == " "


def test_a_big_file_is_streamed_and_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    line = ("all work and no play " * 40 + "\n").encode()
    with path.open("wb") as file:
        for _ in range(120):
            file.write(line * 1000)
    assert path.stat().st_size > 90e6
    check = f"""
import resource, sys
from collections.abc import Callable
from pathlib import Path
from attribution.training.sources import records
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(1 for _ in records(Path({str(path)!r})))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
sys.exit(f"grew by {{grown}} KiB over {{count}} records" if grown > 30_000 or count < 90 else 0)
"""
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def parquet(folder: Path, **columns: list[object]) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: f / "absent", "no such file"),
        (lambda f: written(f, "a.txt", b"good\n\xff bad"), "a.txt: byte 5 is not utf-8"),
        (lambda f: written(f, "a.txt", b"x" * 300_000 + b"\xe4"), "byte 300000 is not utf-8"),
        (lambda f: written(f, "a.bin", b"PK\0\0"), "a.bin: holds a NUL"),
        (lambda f: written(f, "a.jsonl", b'{"text": "x"}\n{"text": \n'), "a.jsonl, row 2: is not JSON"),
        (lambda f: written(f, "a.jsonl", b'{"text": "x"}\n\n{"body": "x"}\n'), "row 3: has no field 'text'"),
        (lambda f: written(f, "a.jsonl", b'{"text": 5}\n'), "row 1: field 'text' is not a string"),
        (lambda f: written(f, "a.jsonl", b'{"text": "\xff"}\n'), "row 1: byte 10 of the row is not utf-8"),
        (lambda f: written(f, "a.jsonl", b"[1]\n"), "row 1: has no field 'text'"),
        (lambda f: written(f, "a.parquet", b"not parquet"), "a.parquet: is not a readable Parquet file"),
        (lambda f: parquet(f, body=["x"]), "has no column 'text', only 'body'"),
        (lambda f: parquet(f, text=[1, 2]), "holds int64, not strings"),
        (lambda f: parquet(f, text=["a", None]), "row 2: column 'text' is null"),
    ],
)
def test_bad_input_is_named_by_file_and_row(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        list(records(make(tmp_path)))
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_suffix_is_refused_in_a_folder_and_read_when_named(tmp_path: Path) -> None:
    path = written(tmp_path, "essay.wpd", b"plain text after all")
    with pytest.raises(SourceError, match=r"essay\.wpd: the suffix '\.wpd' is not one of .*\.jsonl.*\.txt"):
        files(tmp_path)
    assert list(records(path)) == ["plain text after all"]


def test_an_empty_folder_and_an_unknown_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no file"):
        list(records(tmp_path))
    with pytest.raises(SourceError, match="no encoding 'utf-9'"):
        list(records(written(tmp_path, "a.txt", b"x"), encoding="utf-9"))
