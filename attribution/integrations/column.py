"""The contributor column: whose each row of a dataset is, as a name or as an index into the contributors."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attribution.errors import BatchError, OptionError

_NAME_THEM = "give MeterCallback(..., contributors=[names])"


@dataclass(frozen=True)
class ContributorColumn:
    """The column called `name`, which holds one of `contributors` or its index in every row."""

    name: str
    contributors: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Any, name: str, contributors: Sequence[str] | None) -> ContributorColumn:
        """The column of a training dataset; without `contributors` these are the names in it, sorted.

        A ``datasets.Dataset`` is checked whole; another one is read row by row if its names are wanted. Raises
        `BatchError`, naming the row, for a value that is no contributor, and `OptionError` where names are missing.
        """
        values = _whole_column(dataset, name)
        labels = getattr(getattr(dataset, "features", {}).get(name), "names", None) if values is not None else None
        if labels is not None and list(contributors or labels) != list(labels):
            raise OptionError(f"contributors must be the names of column {name!r}, in its order: {', '.join(labels)}")
        if contributors is None:
            contributors = labels or _names(dataset, name, values)
        column = cls(name, tuple(contributors))
        if values is not None:
            column.indices(values, "row {row} of the training data")
        return column

    def taken_from(self, feature: Any, row: int) -> tuple[Any, Any]:
        """The feature (a mapping or an object) of row `row` of a batch without the column, and the column's value.

        Raises `BatchError` if it has no such column.
        """
        if isinstance(feature, Mapping) and self.name in feature:
            return {key: value for key, value in feature.items() if key != self.name}, feature[self.name]
        if not isinstance(feature, Mapping) and hasattr(feature, self.name):
            return feature, getattr(feature, self.name)
        raise BatchError(f"row {row} of a batch has no column {self.name!r}")

    def indices(self, values: Iterable[Any], where: str = "row {row} of a batch") -> Tensor:
        """The contributors' indices, a LongTensor ``[rows]``; `where` words the place of ``{row}`` in an error.

        Raises `BatchError`, naming the row, for a value that is neither a contributor's name nor an index.
        """
        known = {contributor: index for index, contributor in enumerate(self.contributors)}
        found = []
        for row, value in enumerate(values):
            index = known.get(value) if isinstance(value, str) else _whole_number(value)
            if index is None or not 0 <= index < len(self.contributors):
                raise BatchError(
                    f"{where.format(row=row)}, column {self.name!r}: {value!r} is not one of "
                    f"{', '.join(self.contributors)}, nor an index of one"
                )
            found.append(index)
        return torch.tensor(found, dtype=torch.long)


def _whole_column(dataset: Any, name: str) -> Any:
    """The column of a dataset that keeps its data by columns, otherwise None."""
    names = getattr(dataset, "column_names", None)
    if names is None or not hasattr(dataset, "unique"):
        return None
    if name not in names:
        raise BatchError(f"the training data has no column {name!r}, only {', '.join(names)}")
    return dataset.with_format(None)[name]


def _names(dataset: Any, name: str, values: Any) -> list[str]:
    if values is None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise OptionError(f"the names in column {name!r} of a stream are not known before it ends: {_NAME_THEM}")
        column = ContributorColumn(name, ())
        values = (column.taken_from(dataset[row], row)[1] for row in range(len(dataset)))
    found = set()
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise OptionError(f"row {row}, column {name!r}: {value!r} is not a name: {_NAME_THEM}")
        found.add(value)
    return sorted(found)


def _whole_number(value: Any) -> int | None:
    if isinstance(value, (bool, float)):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
