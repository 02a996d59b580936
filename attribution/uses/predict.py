"""Prediction: a model's loss had it trained without some of its data, from the values of the one run (DESIGN §3.6).

Values divide what the run did to each task's loss, so the simplest forecast adds up what absentees would take away.
With θ_T the parameters with which the run ended, S who remains and φ the values, in nats::

    f̂(S) = ℓ(θ_T) + Σ_{c∉S} φ_c

The additive datamodel of Ilyas et al., "Datamodels: Predicting Predictions from Training Data" (ICML 2022), with
in-run values for its weights. House and gap stay as they were: with nobody left, f̂ is the first loss less what
nobody's data did. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from attribution.record import Floats, RunRecord, Valuation
from attribution.training.errors import KeepListError
from attribution.training.keeping import KeepList
from attribution.uses.curation import Contributor
from attribution.uses.errors import UseError
from attribution.uses.units import Units, piles, scored_units

STEP = "1"  # the valuation with which scores of samples go


@dataclass(frozen=True)
class Prediction:
    """What one valuation says. Arrays are ``[tasks]``, nats, unweighted."""

    by: str  # steps that a path covers, as `--every` has it: "1", more, or "run"; else the method's name
    loss: Floats
    change: Floats  # loss less the loss at the run's end; positive = worse without them
    house: Floats  # in `loss` as it was: what no contributor caused
    gap: Floats  # likewise: what the method failed to attribute
    standard_error: Floats | None = None  # of sampled values: no more than this, all sums of theirs


@dataclass(frozen=True)
class Predicted:
    """The loss without some contributors and records, by each valuation asked for."""

    run: str
    tasks: list[str]
    weights: Floats  # [tasks]
    without: list[str]
    records: list[Contributor] | None  # what a keep list keeps and drops of the others' data
    before: Floats  # [tasks], the loss before the run
    after: Floats  # [tasks], and after it
    telescopes: bool  # False: the last loss is that of a validation batch of its own
    predictions: list[Prediction]


def valuations(record: RunRecord) -> dict[str, Valuation]:
    """The record's own values and those beside them, by the length of their paths."""
    method = record.details.get("method") or {}
    own = str(method.get("every", method.get("name", "own")))
    nodes = int(record.steps.nodes.sum())
    found = {own: Valuation(record.values, record.house, record.gap, record.standard_errors, nodes)}
    for name, valuation in record.beside.items():
        found[str(valuation.details.get("every", name))] = valuation
    return found


def predicted_losses(values: Floats, after: Floats, members: npt.NDArray[np.bool_]) -> Floats:
    """f̂(S) ``[subsets, tasks]``, nats, of the subsets `members` ``[subsets, players]``, by values ``[players, tasks]``.

    Players are whoever the values are of: contributors, or samples with their scores.
    """
    losses: Floats = after + (~members) @ values
    return losses


def predict(
    record: RunRecord,
    without: Sequence[str],
    *,
    by: str | None = None,
    run: Path | None = None,
    keep: Path | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Predicted:
    """Forecast the losses of a run from which contributors, or what a keep list drops, had been left out.

    `by` chooses among the record's `valuations`; all of them where it is not given. A keep list needs the trainer's
    folder `run` for the scores of its samples, which are of the step path: the other valuations are then left out.
    `advance` is told how many more scores were read. Raises `UseError` for names that the run does not have and for
    nothing left out, `MissingFromRunError` for a run without scores, `KeepListError` for a list of other data.
    """
    if unknown := [name for name in without if name not in record.contributors]:
        raise UseError(f"the run has no contributor {unknown[0]!r}, only {', '.join(map(repr, record.contributors))}")
    if not without and keep is None:
        raise UseError("name who is to be left out, or give a keep list")
    if not len(record.steps):
        raise UseError("the run took no step: there are no losses to predict from")
    found = valuations(record)
    if keep is not None:
        if by not in (None, STEP) or STEP not in found:
            raise UseError(f"scores of samples are by paths of one step: a keep list goes with --by {STEP} alone")
        by = STEP
    if by is not None and by not in found:
        raise UseError(f"the run was not valued by {by!r}, only by {', '.join(map(repr, found))}: train with --every")
    absent = np.array([name in without for name in record.contributors])
    records, dropped = None, np.zeros(len(record.tasks))
    if keep is not None:
        records = _dropped(record, run or Path(), keep, absent, advance)
        dropped = np.array([one.dropped.tasks for one in records]).sum(axis=0) + dropped
    after = record.steps.loss_after[-1]
    predictions = [
        _prediction(name, valuation, after, absent, dropped) for name, valuation in found.items() if by in (None, name)
    ]
    return Predicted(
        run=record.identity,
        tasks=record.tasks,
        weights=record.weights,
        without=[name for name in record.contributors if name in without],
        records=records,
        before=record.steps.loss_before[0],
        after=after,
        telescopes=record.telescopes,
        predictions=predictions,
    )


def _prediction(
    by: str, valuation: Valuation, after: Floats, absent: npt.NDArray[np.bool_], dropped: Floats
) -> Prediction:
    loss = predicted_losses(valuation.values, after, ~absent[None])[0] + dropped
    errors = valuation.standard_errors
    at_most = None if errors is None else errors[absent].sum(axis=0)
    return Prediction(by, loss, loss - after, valuation.house, valuation.gap, at_most)


def _dropped(
    record: RunRecord, run: Path, keep: Path, absent: npt.NDArray[np.bool_], advance: Callable[[int], None]
) -> list[Contributor]:
    """Of those who are not absent: what the list keeps and drops, by the scores of the run."""
    with scored_units(record, run, list(record.weights), advance=advance) as found:
        drops = _drops_samples(keep, record, found) if found.listed is None else _drops_records(keep, found)
        found.totals.drop_where(drops)
        return [one for one, gone in zip(piles(record, found.totals), absent, strict=True) if not gone]


def _drops_records(path: Path, found: Units) -> Callable[[int, int | None, int | str], bool]:
    keep, datasets = KeepList.load(path), found.datasets
    for dataset in found.listed or []:
        listed = keep.datasets.get(dataset.dataset)
        if listed is None or (listed.records, listed.sequence) != (dataset.records, dataset.sequence):
            raise KeepListError(
                path,
                f"says nothing of dataset {dataset.dataset[:12]} of {dataset.contributor!r} as this run read it: "
                "give a list that was made from this run",
            )
    return lambda who, dataset, sample: not keep.keeps(datasets[dataset or 0], int(sample))


def _drops_samples(path: Path, record: RunRecord, found: Units) -> Callable[[int, int | None, int | str], bool]:
    try:
        table = pq.read_table(path, columns=["contributor", "sample", "keep"])
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        kept = {(record.contributors.index(who), sample): keep for who, sample, keep in rows}
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise KeepListError(path, f"no keep list of this run's samples can be read from it: {error!r}") from error
    for who, _, sample, *_ in found.totals.units():
        if (who, sample) not in kept:
            raise KeepListError(path, f"says nothing of sample {sample!r}: give a list that was made from this run")
    return lambda who, dataset, sample: not kept[who, sample]
