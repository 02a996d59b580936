"""Which records a run was trained on: a Parquet file, a row a record, in the order of each contributor's text.

Columns: contributor, dataset (its fingerprint), record (its number in the dataset, from 0) and tokens, the end-of-text
token included. A contributor's block b holds the tokens from b × context on, so that the list says which records lie
in it. Needs no torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from attribution.errors import RecordError
from attribution.folder import file_sha256
from attribution.training.sources import ReadDataset, Source

RECORDS = "records.parquet"
ROWS = 1 << 16

_NAME = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [("contributor", _NAME), ("dataset", _NAME), ("record", pa.int64()), ("tokens", pa.int64())],
    {b"ghostledger": b"ghostledger-records/1"},
)


class RecordListWriter:
    """Writes the list while the text is tokenised: `passing` sees the records go by, `counted` hears of their tokens.

    At most `ROWS` rows are held. The file is whole after `close`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.datasets: list[ReadDataset] = []  # as they were read, those records included that were left out
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd")
        self._waiting: deque[tuple[str, str, int]] = deque()
        self._rows: list[tuple[str, str, int, int]] = []

    def passing(self, source: Source) -> Iterator[str]:
        """The source's texts, unchanged."""
        for record in source.numbered(self.datasets):
            self._waiting.append((source.contributor, record.dataset, record.number))
            yield record.text

    def counted(self, tokens: int) -> None:
        """The next record that passed has this many tokens."""
        self._rows.append((*self._waiting.popleft(), tokens))
        if len(self._rows) >= ROWS:
            self._flush()

    def close(self) -> str:
        """Finish the file; its SHA-256."""
        self._flush()
        self._writer.close()
        return file_sha256(self.path)

    def __enter__(self) -> RecordListWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    def _flush(self) -> None:
        columns: list[Any] = [list(column) for column in zip(*self._rows, strict=True)] or [[], [], [], []]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
        self._writer.write_table(pa.table(arrays, schema=_SCHEMA))
        self._rows = []


def read_record_list(path: Path) -> Iterator[tuple[str, str, int, int]]:
    """Contributor, dataset, record and tokens of each row. Raises `RecordError` for a file that is no such list."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            if (file.schema_arrow.metadata or {}).get(b"ghostledger") != b"ghostledger-records/1":
                raise RecordError(f"{path}: is no list of records")
            for batch in file.iter_batches(batch_size=ROWS):
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path}: the list of records cannot be read: {error}") from error
