"""Datasets on disk as streams of records: text files, JSON Lines and Parquet, in files and folders.

A record is one document. A text file up to `BLOCK_CHARACTERS` is one record; a longer one is streamed as several,
each cut at the last blank line before that bound, else at the last line end, else at the bound. In JSON Lines and
Parquet each row is a record. Records of white space alone are left out. Nothing here needs torch.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from attribution.training.errors import SourceError

BLOCK_CHARACTERS = 1 << 20
TEXT_SUFFIXES = frozenset({".txt", ".text", ".md", ".rst", ".py", ".tex", ".html", ".csv", ".tsv", ".log"})
JSON_LINES_SUFFIXES = frozenset({".jsonl", ".ndjson"})
PARQUET_SUFFIXES = frozenset({".parquet"})
ACCEPTED_SUFFIXES = TEXT_SUFFIXES | JSON_LINES_SUFFIXES | PARQUET_SUFFIXES

_READ_BYTES = 1 << 18
_PARQUET_ROWS = 1024


class NumberedRecord(NamedTuple):
    """A record, and where it stands."""

    dataset: str
    number: int
    text: str


@dataclass(frozen=True)
class ReadDataset:
    """What was read of a dataset: how many records, and the SHA-256 of their order, which no fingerprint tells."""

    contributor: str
    dataset: str
    records: int
    sequence: str


@dataclass(frozen=True)
class Source:
    """One contributor's datasets: where they lie, and the fingerprints they are registered under."""

    contributor: str
    paths: tuple[Path, ...]
    fingerprints: tuple[str, ...]
    text_field: str = "text"
    encoding: str = "utf-8"

    def records(self) -> Iterator[str]:
        """The records of all datasets, in order."""
        for path in self.paths:
            yield from records(path, text_field=self.text_field, encoding=self.encoding)

    @property
    def fingerprint(self) -> str:
        """The name of the source as one dataset: its fingerprint, or all of them joined by ``+``."""
        return "+".join(self.fingerprints)

    def datasets(self) -> tuple[Source, ...]:
        """The datasets one by one, in order: a path and its fingerprint each, or all as one where they do not pair."""
        if len(self.paths) != len(self.fingerprints):
            return (self,)
        pairs = zip(self.paths, self.fingerprints, strict=True)
        return tuple(replace(self, paths=(path,), fingerprints=(fingerprint,)) for path, fingerprint in pairs)

    def numbered(self, read: list[ReadDataset] | None = None) -> Iterator[NumberedRecord]:
        """The records in the same order, each with its dataset's name and its own number there, counted from 0.

        What each dataset was found to hold is added to `read` when its last record has passed.
        """
        for dataset in self.datasets():
            count, sequence = 0, hashlib.sha256(b"ghostledger-sequence/1\n")
            for text in dataset.records():
                sequence.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
                yield NumberedRecord(dataset.fingerprint, count, text)
                count += 1
            if read is not None:
                read.append(ReadDataset(self.contributor, dataset.fingerprint, count, sequence.hexdigest()))


@dataclass(frozen=True)
class TaskSource:
    """One task of the objective: its held-out text, and its weight among the tasks."""

    name: str
    paths: tuple[Path, ...]
    weight: float
    fingerprint: str
    text_field: str = "text"
    encoding: str = "utf-8"

    def records(self) -> Iterator[str]:
        """The records of all held-out texts, in order."""
        for path in self.paths:
            yield from records(path, text_field=self.text_field, encoding=self.encoding)


def records(path: Path, *, text_field: str = "text", encoding: str = "utf-8") -> Iterator[str]:
    """Stream the records of a file, or of all files of a folder in sorted order.

    `text_field` names the field of a JSON Lines row, or the Parquet column, that holds the text; `encoding` is that
    of text files and JSON Lines. Raises `SourceError`, naming the file and the row or byte, for anything unreadable.
    """
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise SourceError(path, f"there is no encoding {encoding!r}") from error
    for file in files(path):
        suffix = file.suffix.lower()
        try:
            if suffix in PARQUET_SUFFIXES:
                yield from _parquet_records(file, text_field)
            elif suffix in JSON_LINES_SUFFIXES:
                yield from _json_lines_records(file, text_field, encoding)
            else:
                yield from _text_records(file, encoding)
        except OSError as error:
            raise SourceError(file, f"cannot be read: {error.strerror or error}") from error


def files(path: Path) -> list[Path]:
    """The files of a dataset, sorted by path. Names that begin with a dot are left out of a folder.

    A file given by its own path may have any suffix (an unknown one is read as text); in a folder an unknown suffix
    is refused, since it may be anything. Raises `SourceError`.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SourceError(path, "there is no such file or folder")
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise SourceError(path, "the folder holds no file")
    for file in found:
        if file.suffix.lower() not in ACCEPTED_SUFFIXES:
            raise SourceError(
                file,
                f"the suffix {file.suffix!r} is not one of {', '.join(sorted(ACCEPTED_SUFFIXES))}; "
                "rename the file, move it out of the folder, or give it by its own path to have it read as text",
            )
    return found


def _text_records(path: Path, encoding: str) -> Iterator[str]:
    pending = ""
    for piece in _decoded(path, encoding):
        pending += piece
        while len(pending) > BLOCK_CHARACTERS:
            cut = _cut(pending)
            if pending[:cut].strip():
                yield pending[:cut]
            pending = pending[cut:]
    if pending.strip():
        yield pending


def _cut(text: str) -> int:
    for boundary in ("\n\n", "\n"):
        at = text.rfind(boundary, 0, BLOCK_CHARACTERS)
        if at > 0:
            return at + len(boundary)
    return BLOCK_CHARACTERS


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    """Pieces of a file's text with universal line ends; a byte that does not decode is named by its position."""
    decoder = codecs.getincrementaldecoder(encoding)()
    consumed, held = 0, ""
    with path.open("rb") as file:
        while True:
            raw = file.read(_READ_BYTES)
            buffered = len(decoder.getstate()[0])
            try:
                text = held + decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                raise SourceError(
                    path,
                    f"byte {consumed - buffered + error.start} is not {encoding}: name the file's encoding",
                ) from error
            if "\0" in text:
                raise SourceError(
                    path,
                    "holds a NUL character, so it is not text; accepted are text files, "
                    "JSON Lines (.jsonl) and Parquet (.parquet)",
                )
            consumed += len(raw)
            # A carriage return at the end may be the first half of a line end.
            held = "\r" if raw and text.endswith("\r") else ""
            text = text[: len(text) - len(held)].replace("\r\n", "\n").replace("\r", "\n")
            yield text.removeprefix("\ufeff") if consumed == len(raw) else text
            if not raw:
                return


def _json_lines_records(path: Path, text_field: str, encoding: str) -> Iterator[str]:
    with path.open("rb") as file:
        for row, line in enumerate(file, start=1):
            try:
                text = line.decode(encoding).removeprefix("\ufeff")
            except UnicodeDecodeError as error:
                raise SourceError(path, f"byte {error.start} of the row is not {encoding}", row=row) from error
            if not text.strip():
                continue
            try:
                fields = json.loads(text)
            except ValueError as error:
                raise SourceError(path, f"is not JSON: {error}", row=row) from error
            if not isinstance(fields, dict) or text_field not in fields:
                raise SourceError(path, f"has no field {text_field!r}: name the field that holds the text", row=row)
            if not isinstance(fields[text_field], str):
                raise SourceError(path, f"field {text_field!r} is not a string", row=row)
            if fields[text_field].strip():
                yield fields[text_field]


def _parquet_records(path: Path, text_field: str) -> Iterator[str]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as table:
            names = table.schema_arrow.names
            if text_field not in names:
                raise SourceError(path, f"has no column {text_field!r}, only {', '.join(map(repr, names))}")
            kind = table.schema_arrow.field(text_field).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise SourceError(path, f"column {text_field!r} holds {kind}, not strings")
            row = 0
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS, columns=[text_field]):
                for text in batch.column(0).to_pylist():
                    row += 1
                    if text is None:
                        raise SourceError(path, f"column {text_field!r} is null", row=row)
                    if text.strip():
                        yield text
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise SourceError(path, f"is not a readable Parquet file: {error}") from error
