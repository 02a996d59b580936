"""Keep lists by other means than scores, in the format that training reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from attribution.training import Source
from attribution.training.keeping import keep_schema
from attribution.training.sources import ReadDataset

Floats = npt.NDArray[np.float64]


def keep_list(path: Path, sources: Sequence[Source], suspicion: Floats, tokens: Sequence[int], share: float) -> Path:
    """Write a list that drops the most suspicious records, as long as they are at most this share of all tokens.

    `suspicion` and `tokens` are ``[records]``, in the order of the sources.
    """
    read: list[ReadDataset] = []
    rows = [
        (source.contributor, record.dataset, record.number) for source in sources for record in source.numbered(read)
    ]
    sizes, keep = np.array(tokens), np.ones(len(rows), dtype=bool)
    order = np.argsort(-suspicion, kind="stable")
    keep[order[np.cumsum(sizes[order]) <= share * sizes.sum()]] = False
    schema = keep_schema("0" * 64, read)
    columns = [*map(list, zip(*rows, strict=True)), sizes, sizes, -suspicion, keep]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    pq.write_table(pa.table(arrays, schema=schema), path)
    return path


def dropped(keep: Path, kinds: dict[str, list[str]]) -> dict[str, float]:
    """The share of each kind's tokens that a list drops; `kinds` are the records' by contributor."""
    totals: dict[str, list[int]] = {}
    for row in pq.read_table(keep).to_pylist():
        found = totals.setdefault(kinds[row["contributor"]][row["record"]], [0, 0])
        found[0] += row["tokens"] * (not row["keep"])
        found[1] += row["tokens"]
    return {kind: gone / whole for kind, (gone, whole) in sorted(totals.items())}
