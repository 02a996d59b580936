"""Do general corpora help early and those of the task late? Values by part of a run, of a small language model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from fidelity.runner import Runner
from fidelity.tables import spread, table

from attribution.training import TrainingConfiguration, train
from attribution.uses.timeline import timeline
from studies.corpora import DESKS, divided, sources, task_sources
from studies.report import Report, axes

TITLE = "Value over training: when a corpus helps"

CORPORA = (*DESKS, "scripture", "conversations", "source code")
DOMAINS = {"business": "business news", "source code": "source code", "scripture": "scripture"}  # corpus: its task
PARTS = 20


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    seeds: int
    characters: int  # of each corpus
    scarce: tuple[float, ...]  # what share of that the tasks' own corpora have
    held_out: int  # documents a task
    validation_rows: int
    layers: int | None = None
    width: int | None = None
    context: int = 128


SIZES = {
    "quick": Size(2, 9_000, (1.0,), 4, 2, layers=1, width=16, context=32),
    "default": Size(4, 160_000, (1.0,), 20, 8),
    "full": Size(8, 320_000, (1.0, 0.5, 0.25), 20, 16),
}


@dataclass(frozen=True)
class Case:
    """One run: how much text of whom, on what model."""

    characters: int
    own: float  # the share of it that the tasks' own corpora have
    held_out: int
    validation_rows: int
    layers: int | None
    width: int | None
    context: int
    seed: int


def metered(case: Case) -> dict[str, Any]:
    """The timeline of a run on all corpora, measured on the held-out text of three of them."""
    texts, held = {}, {}
    for corpus in CORPORA:
        size = int(case.characters * (case.own if corpus in DOMAINS else 1.0))
        texts[corpus], kept = divided(corpus, case.held_out if corpus in DOMAINS else 0, size)
        if corpus in DOMAINS:
            held[DOMAINS[corpus]] = kept
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        configuration = TrainingConfiguration(
            layers=case.layers,
            width=case.width,
            heads=None if case.width is None else 2,
            vocabulary=2048 if case.width is None else 300,
            context=case.context,
            validation_rows=case.validation_rows,
            seed=case.seed,
            threads=1,
        )
        record = train(sources(folder, texts), task_sources(folder, held), configuration, folder / "run")
    found = timeline(record, PARTS).json()
    losses = record.steps.loss_before[0], record.steps.loss_after[-1]
    return {**found, "losses": [loss.tolist() for loss in losses], "gap": record.gap.tolist()}


def report(run: Runner, size: str) -> Report:
    """For each task, who had which share of the value in the first tenth of the steps and in the last half."""
    much = SIZES[size]
    options = (much.held_out, much.validation_rows, much.layers, much.width, much.context)
    cases = [Case(much.characters, own, *options, seed) for own, seed in product(much.scarce, range(much.seeds))]
    results = iter(run(metered, [(case, {}) for case in cases]))
    found = {own: [next(results) for _ in range(much.seeds)] for own in much.scarce}
    texts = [_about(much, found)]
    for own, runs in found.items():
        texts.append(f"{_title(own)}:\n\n{_claims(runs)}")
    first = found[much.scarce[0]]
    texts += [f"On {task}, {_title(much.scarce[0])}:\n\n{_by_corpus(first, task)}" for task in DOMAINS.values()]
    return Report("\n\n".join(texts), {"timeline.png": _picture(first)})


def _title(own: float) -> str:
    return "as much text of each" if own == 1.0 else f"{own:.0%} as much text of the three tasks' own corpora"


def _about(much: Size, found: dict[float, list[dict[str, Any]]]) -> str:
    steps = ", ".join(str(runs[0]["steps"]) for runs in found.values())
    return (
        f"{much.characters:,} characters of each of {len(CORPORA)} corpora, one epoch of {steps} steps, AdamW, "
        f"{much.seeds} seeds. Mean ± standard deviation over seeds. Values in nats; a share above 1 is of a corpus "
        "whose gains the others undid in part."
    )


def _of(runs: list[dict[str, Any]], span: str, task: str) -> np.ndarray:
    """Values ``[seeds, corpora]`` of a span of the runs."""
    return np.array([np.array(run[span]["values"])[:, run["tasks"].index(task)] for run in runs])


def _claims(runs: list[dict[str, Any]]) -> str:
    """For each task, what its own corpus and all the others together did in the first tenth and in the last half."""
    rows = []
    for corpus, task in DOMAINS.items():
        mine = CORPORA.index(corpus)
        early, late = (_of(runs, span, task) for span in ("early", "late"))
        own = [part[:, mine] for part in (early, late)]
        others = [part.sum(axis=1) - part[:, mine] for part in (early, late)]
        shares = [part[:, mine] / part.sum(axis=1) for part in (early, late)]
        rows.append(
            [
                task,
                *(spread(found) for found in (*own, *others, *shares)),
                f"{int((shares[1] > shares[0]).sum())} of {len(runs)}",
                f"{int((others[0] > others[1]).sum())} of {len(runs)}",
            ]
        )
    columns = ["task", "its own corpus, first tenth", "last half", "all others, first tenth", "last half"]
    columns += ["own share of the first tenth", "of the last half", "own share rises", "others did more early"]
    return table(columns, rows)


def _by_corpus(runs: list[dict[str, Any]], task: str) -> str:
    early, late, whole = (_of(runs, span, task) for span in ("early", "late", "whole"))
    rows = []
    for c in np.argsort(-whole.mean(axis=0)):
        own = [
            spread(part[:, c] / whole[:, c]) if (whole[:, c] > 0).all() else "–"  # a share of a loss says nothing
            for part in (early, late)
        ]
        shares = [spread(part[:, c] / part.sum(axis=1)) for part in (early, late)]
        rows.append([CORPORA[c], *(spread(part[:, c], 3) for part in (whole, early, late)), *own, *shares])
    columns = ["corpus", "value", "in the first tenth", "in the last half", "of its own, first tenth", "last half"]
    return table([*columns, "share of all, first tenth", "of all, last half"], rows)


def _picture(runs: list[dict[str, Any]]) -> Any:
    """For each task, what every corpus did in each part of the run, mean over seeds."""
    figure, grid = axes(len(DOMAINS), width=9.6, height=3.4)
    middles = [(part["first_step"] + part["end_step"]) / 2 / runs[0]["steps"] for part in runs[0]["parts"]]
    for axis, (corpus, task) in zip(grid, DOMAINS.items(), strict=True):
        at = runs[0]["tasks"].index(task)
        values = np.array([[np.array(part["values"])[:, at] for part in run["parts"]] for run in runs])
        mean, deviation = values.mean(axis=0), values.std(axis=0)  # [parts, corpora]
        for c, name in enumerate(CORPORA):
            own = name == corpus
            (line,) = axis.plot(middles, mean[:, c], linewidth=2.8 if own else 1.2, label=name, zorder=3 if own else 2)
            if own:
                low, high = mean[:, c] - deviation[:, c], mean[:, c] + deviation[:, c]
                axis.fill_between(middles, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axis.axhline(0, color="#6b7280", linewidth=0.8)
        axis.axvspan(0, 0.1, color="#e5e7eb", alpha=0.6, linewidth=0, zorder=0)
        axis.axvspan(0.5, 1, color="#e5e7eb", alpha=0.6, linewidth=0, zorder=0)
        axis.set_title(f"on {task}", loc="left", fontsize=10)
        axis.set_xlabel("part of the run")
        axis.set_xlim(0, 1)
    grid[0].set_ylabel(f"value of a {PARTS}th of the run, nats")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure
