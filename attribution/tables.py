"""The Parquet tables of a run record, from its arrays and back."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from attribution.errors import RecordError
from attribution.steps import Floats, Steps
from attribution.valuation import Valuation


def steps_table(steps: Steps) -> bytes:
    """A row a segment."""
    n = len(steps)
    return _parquet(
        {
            "step": pa.array(steps.first),
            "length": pa.array(steps.length),
            "nodes": pa.array(steps.nodes),
            "loss_before": _lists(steps.loss_before, pa.float64()),
            "loss_after": _lists(steps.loss_after, pa.float64()),
            "values": _lists(steps.values.reshape(n, int(np.prod(steps.values.shape[1:]))), pa.float64()),
            "house": _lists(steps.house, pa.float64()),
            "gap": _lists(steps.gap, pa.float64()),
            "rows": _lists(steps.rows, pa.int64()),
        }
    )


def read_steps(content: bytes, contributors: int, tasks: int) -> Steps:
    """The segments in a table. Records written before segments could cover several steps have no lengths."""
    table = pq.read_table(io.BytesIO(content))
    n = table.num_rows

    def column(name: str, *shape: int) -> npt.NDArray[Any]:
        flat = table[name].combine_chunks().flatten().to_numpy() if shape else table[name].to_numpy()
        return np.asarray(flat).reshape(n, *shape)

    return Steps(
        loss_before=column("loss_before", tasks),
        loss_after=column("loss_after", tasks),
        values=column("values", contributors, tasks),
        house=column("house", tasks),
        gap=column("gap", tasks),
        nodes=column("nodes"),
        rows=column("rows", contributors),
        length=column("length") if "length" in table.column_names else np.ones(n, dtype=np.int64),
    )


def values_table(contributors: Sequence[str], tasks: Sequence[str], values: Floats, errors: Floats | None) -> bytes:
    """A row a contributor and task."""
    columns = {**_names(contributors, tasks), "value_nats": pa.array(values.reshape(-1))}
    return _parquet(columns if errors is None else {**columns, "standard_error": pa.array(errors.reshape(-1))})


def read_values(content: bytes, contributors: Sequence[str], tasks: Sequence[str]) -> tuple[Floats, Floats | None]:
    """Values and standard errors, each [contributors, tasks]. Raises `RecordError` where the rows are of others."""
    table = pq.read_table(io.BytesIO(content))
    _check_names(table, _names(contributors, tasks))
    return _values(table, len(contributors), len(tasks))


def valuations_table(contributors: Sequence[str], tasks: Sequence[str], beside: Mapping[str, Valuation]) -> bytes:
    """A row a valuation, contributor and task; a valuation without standard errors has nulls there."""
    size = len(contributors) * len(tasks)
    empty = pa.nulls(size, pa.float64())
    errors = [empty if v.standard_errors is None else pa.array(v.standard_errors.reshape(-1)) for v in beside.values()]
    return _parquet(
        {
            "valuation": [name for name in beside for _ in range(size)],
            **{name: list(column) * len(beside) for name, column in _names(contributors, tasks).items()},
            "value_nats": pa.concat_arrays([pa.array(v.values.reshape(-1)) for v in beside.values()]),
            "standard_error": pa.concat_arrays(errors),
        }
    )


def read_valuations(
    content: bytes, contributors: Sequence[str], tasks: Sequence[str], stated: Mapping[str, Mapping[str, Any]]
) -> dict[str, Valuation]:
    """The valuations in a table, with what the manifest states of each. Raises `RecordError` where the two differ."""
    table = pq.read_table(io.BytesIO(content))
    size, names = len(contributors) * len(tasks), _names(contributors, tasks)
    repeated = {name: list(column) * len(stated) for name, column in names.items()}
    _check_names(table, {"valuation": [name for name in sorted(stated) for _ in range(size)], **repeated})
    found = {}
    for place, name in enumerate(sorted(stated)):
        values, errors = _values(table.slice(place * size, size), len(contributors), len(tasks))
        said = stated[name]
        found[name] = Valuation(values, said["house"], said["gap"], errors, said["nodes"], said["details"])
    return found


def _names(contributors: Sequence[str], tasks: Sequence[str]) -> dict[str, list[str]]:
    return {
        "contributor": [name for name in contributors for _ in tasks],
        "task": [task for _ in contributors for task in tasks],
    }


def _check_names(table: pa.Table, names: Mapping[str, list[str]]) -> None:
    for column, wanted in names.items():
        if table[column].to_pylist() != wanted:
            raise RecordError(f"the {column}s of a table of values are not the manifest's")


def _values(table: pa.Table, contributors: int, tasks: int) -> tuple[Floats, Floats | None]:
    values = np.asarray(table["value_nats"].to_numpy(), dtype=np.float64).reshape(contributors, tasks)
    if "standard_error" not in table.column_names or table["standard_error"].null_count:
        return values, None
    return values, np.asarray(table["standard_error"].to_numpy()).reshape(contributors, tasks)


def _lists(array: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1), kind), array.shape[1])


def _parquet(columns: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer, compression="zstd")
    return buffer.getvalue()
