"""Keep lists: which records of which datasets to train on, as a Parquet file. Needs no torch.

A row a record: contributor, dataset (its fingerprint), record (its number in it, from 0), tokens, scored (how many of
them, times how often), score in nats, and keep. The file says of each dataset how many records it has in which order,
because a fingerprint is the same in any order and a record's number is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from attribution.errors import RecordError
from attribution.folder import file_sha256
from attribution.training.errors import KeepListError
from attribution.training.sources import NumberedRecord, ReadDataset, Source

FORMAT = "ghostledger-keep/1"
_METADATA = b"ghostledger"
_NAME = pa.dictionary(pa.int32(), pa.string())


def keep_schema(run: str, datasets: list[ReadDataset]) -> pa.Schema:
    """The schema of a keep list made from the run of that identity, which read these datasets."""
    stated = json.dumps({"format": FORMAT, "run": run, "datasets": [asdict(dataset) for dataset in datasets]})
    names = [("contributor", _NAME), ("dataset", _NAME), ("record", pa.int64()), ("tokens", pa.int64())]
    found = [("scored", pa.int64()), ("score", pa.float64()), ("keep", pa.bool_())]
    return pa.schema([*names, *found], {_METADATA: stated})


@dataclass(frozen=True)
class KeepList:
    """A keep list that was read; memory holds a byte a record."""

    path: Path
    sha256: str
    run: str
    datasets: dict[str, ReadDataset]
    _kept: dict[str, npt.NDArray[np.bool_]] = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> KeepList:
        """Read a keep list. Raises `KeepListError` for a file that is none."""
        try:
            sha256 = file_sha256(path)
            with pq.ParquetFile(path, pre_buffer=False) as file:
                stated = json.loads((file.schema_arrow.metadata or {})[_METADATA])
                if stated["format"] != FORMAT:
                    raise KeepListError(path, f"is of format {stated['format']!r}, not {FORMAT!r}")
                datasets = {found["dataset"]: ReadDataset(**found) for found in stated["datasets"]}
                # What the list does not mention was left out of the run that was curated.
                kept = {name: np.zeros(found.records, dtype=np.bool_) for name, found in datasets.items()}
                for batch in file.iter_batches(columns=["dataset", "record", "keep"]):
                    _note(batch, kept)
        except (RecordError, OSError, ValueError, KeyError, TypeError, IndexError, pa.ArrowException) as error:
            raise KeepListError(path, f"no keep list of records can be read from it: {error!r}") from error
        return cls(path, sha256, stated["run"], datasets, kept)

    def of(self, source: Source) -> KeptSource:
        """The source without what is not kept. Raises `KeepListError`, naming it, for a dataset that is not listed."""
        for dataset in source.datasets():
            if dataset.fingerprint not in self._kept:
                raise KeepListError(
                    self.path,
                    f"says nothing of dataset {dataset.fingerprint[:12]} of {source.contributor!r}: "
                    "curate a run that was trained on it",
                )
        return KeptSource(
            source.contributor, source.paths, source.fingerprints, source.text_field, source.encoding, source, self
        )

    def keeps(self, dataset: str, record: int) -> bool:
        """Whether a record is kept, by its dataset's fingerprint and its number in it."""
        kept = self._kept[dataset]
        return record < len(kept) and bool(kept[record])

    def count(self, source: Source) -> int:
        """How many of the source's records are kept."""
        return sum(int(self._kept[dataset.fingerprint].sum()) for dataset in source.datasets())

    def filtered(self, source: Source, read: list[ReadDataset]) -> Iterator[NumberedRecord]:
        """The kept records; raises `KeepListError` for a dataset whose records are others, or in another order."""
        checked = len(read)
        for record in source.numbered(read):
            checked = self._check(source, read, checked)
            if self.keeps(record.dataset, record.number):
                yield record
        self._check(source, read, checked)

    def _check(self, source: Source, read: list[ReadDataset], checked: int) -> int:
        for found in read[checked:]:
            listed = self.datasets[found.dataset]
            if (found.records, found.sequence) != (listed.records, listed.sequence):
                raise KeepListError(
                    self.path,
                    f"dataset {found.dataset[:12]} of {source.contributor!r} has other records ({found.records} for "
                    f"{listed.records}), or has them in another order, than when the list was made",
                )
        return len(read)


@dataclass(frozen=True)
class KeptSource(Source):
    """A source of which some records are left out; see `KeepList.of`."""

    whole: Source | None = None
    keep: KeepList | None = None

    def datasets(self) -> tuple[Source, ...]:
        """The datasets one by one, each without what is not kept."""
        assert self.whole is not None
        assert self.keep is not None
        return tuple(self.keep.of(dataset) for dataset in self.whole.datasets())

    def numbered(self, read: list[ReadDataset] | None = None) -> Iterator[NumberedRecord]:
        """The kept records under the numbers that they have among all."""
        assert self.whole is not None
        assert self.keep is not None
        yield from self.keep.filtered(self.whole, [] if read is None else read)

    def records(self) -> Iterator[str]:
        """The kept records, in order."""
        for record in self.numbered():
            yield record.text


def _note(batch: Any, kept: dict[str, npt.NDArray[np.bool_]]) -> None:
    names = batch.column(0)
    numbers, keep = batch.column(1).to_numpy(zero_copy_only=False), batch.column(2).to_numpy(zero_copy_only=False)
    codes = names.indices.to_numpy(zero_copy_only=False)
    for code, name in enumerate(names.dictionary.to_pylist()):
        mine = codes == code
        kept[name][numbers[mine]] = keep[mine]
