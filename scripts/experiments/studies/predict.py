"""Predict: sums of values against the losses of real retrainings on random subsets (the linear datamodeling score)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from fidelity.absence import RETRAINING_SEEDS, coalitions, correlation, losses
from fidelity.materials import Materials, materials
from fidelity.runner import Runner
from fidelity.statistics import Floats, noise_ceiling, rank_correlation
from fidelity.tables import spread, table
from fidelity.training import Case, by_path, metered, retrained

from attribution.uses.predict import predicted_losses
from studies import peers
from studies.report import COLOURS, Report, axes

TITLE = "Predict: what would the loss have been without them"

PATHS: dict[int | str, str] = {1: "step path", "run": "run path"}
LEFT_OUT = "leave-one-out"
METHODS = (*PATHS.values(), LEFT_OUT, *peers.NAMES)


@dataclass(frozen=True)
class Size:
    cases: tuple[Case, ...]
    by_row: tuple[int, ...]  # which of them by sample too
    halves: int
    row_halves: int
    seeds: int  # of runs
    retrainings: int  # other seeds, of retrainings on half of the contributors
    row_seeds: int  # of retrainings on half of the samples
    left_out_rows: int = 0  # seeds for which each sample is left out in turn


def digits(scenario: str, optimizer: str, rate: float, steps: int = 100) -> Case:
    return Case("digits", scenario, optimizer, rate, steps)


CASES = (
    digits("quality", "SGD", 0.2),
    digits("quality", "AdamW", 0.003),
    digits("mixed", "SGD", 0.2),
    digits("mixed", "AdamW", 0.003),
)
IMAGES = (Case("images", "mixed", "momentum", 0.03, 60), Case("images", "mixed", "AdamW", 0.003, 60))
SIZES = {
    "quick": Size((digits("mixed", "SGD", 0.2, 3),), (0,), 4, 4, 1, 2, 2),
    "default": Size(CASES, (0, 1), 30, 40, 3, 3, 5),
    "full": Size((*CASES, *IMAGES), (0, 1, 2, 3), 60, 80, 5, 5, 20, 1),
}


@cache
def _one_row_each(setting: str, scenario: str) -> Materials:
    found = materials(setting, scenario)
    rows = len(found.owner)
    return replace(found, owner=torch.arange(rows), contributors=[f"row {row}" for row in range(rows)])


@dataclass(frozen=True)
class RowCase(Case):
    """The same case, each sample a contributor of its own."""

    players: str = "rows"

    @property
    def materials(self) -> Materials:
        return _one_row_each(self.setting, self.scenario)

    @classmethod
    def of(cls, case: Case) -> RowCase:
        return cls(**{name: getattr(case, name) for name in Case.__dataclass_fields__})


def values(case: Case) -> dict[str, Any]:
    """One run's values by both paths, ``[players]``, and the loss with which it ended."""
    record = metered(case, every=list(PATHS))
    found = {name: one.values[:, 0].tolist() for name, one in by_path(record, PATHS).items()}
    return {**found, "after": float(record.steps.loss_after[-1, 0])}


def left_out(case: Case) -> list[float]:
    """What leaving each player out costs, from the seed of the run."""
    players = range(len(case.materials.contributors))
    whole = retrained(case, players)
    return [retrained(case, [p for p in players if p != out]) - whole for out in players]


def row_scores(case: Case) -> dict[str, list[float]]:
    """What the peers say of each sample."""
    return peers.row_scores(case)


def row_losses(case: Case, count: int) -> list[float]:
    """The losses after training on each of the random halves of the samples."""
    return losses(case, row_halves(case, count))


def row_halves(case: Case, count: int) -> list[list[int]]:
    rows, draw = len(case.materials.contributors), np.random.default_rng(1)
    return [sorted(draw.permutation(rows)[: rows // 2].tolist()) for _ in range(count)]


@dataclass(frozen=True)
class Cell:
    """One row of the table: who is left out of what, by which method, and what really came of it."""

    case: Case
    unit: str
    members: Floats  # [subsets, players]
    reached: Floats  # [seeds, subsets], losses
    scores: dict[str, Floats]  # [seeds, players]
    after: Floats  # [seeds], the runs' own losses

    @property
    def ceiling(self) -> float:
        return noise_ceiling(-self.reached)

    def score(self, method: str) -> float:
        """The mean over runs of the rank correlation with the mean of the retrainings."""
        return float(
            np.mean([rank_correlation(self.members @ s, -self.reached.mean(axis=0)) for s in self.scores[method]])
        )

    def predicted(self, method: str) -> Floats:
        """f̂ of each subset ``[seeds, subsets]``, nats."""
        present = self.members > 0
        return np.stack(
            [
                predicted_losses(scores[:, None], np.array([after]), present)[:, 0]
                for scores, after in zip(self.scores[method], self.after, strict=True)
            ]
        )


def report(run: Runner, size: str) -> Report:
    """The linear datamodeling score of every method, amounts, and a picture."""
    chosen = SIZES[size]
    scored = _seeded(run, row_scores, chosen.cases, chosen.seeds)
    cells = [_by_contributor(run, chosen, case, scored[case]) for case in chosen.cases]
    cells += [_by_row(run, chosen, chosen.cases[i], scored[chosen.cases[i]]) for i in chosen.by_row]
    texts = [
        "Linear datamodeling score: rank correlation over random halves (of the ten contributors "
        f"{chosen.halves} halves, {chosen.retrainings} seeds; of the samples {chosen.row_halves} halves, "
        f"{chosen.row_seeds} seeds) of a half's summed values with minus the loss after training on it, as many steps "
        "as the run had, mean "
        f"over seeds. Of one run, mean ± standard deviation over {chosen.seeds} runs of other seeds, and in brackets "
        "for the mean of the runs. Ceiling: the same between the retrainings of one half of the seeds and the other. "
        f"TRAK ({peers.PROJECTED} dimensions), influence (conjugate gradients, {peers.ITERATIONS} iterations, "
        f"damping {peers.DAMPING:g}) and TracIn are dattri 0.3's, at the run's last parameters. Leave-one-out takes "
        "one training a contributor and run.",
        table(["data", "players", "update", "ceiling", *METHODS], [_row(cell) for cell in cells]),
        "Amounts, nats: what a half really reached, what was predicted of it, mean over halves, and the run itself.",
        table(
            ["data", "players", "update", "the run", "a half", *PATHS.values(), LEFT_OUT], [_amounts(c) for c in cells]
        ),
    ]
    return Report("\n\n".join(texts), {"predict.png": _picture(cells)})


def _by_contributor(run: Runner, size: Size, case: Case, scored: list[Any]) -> Cell:
    asked = coalitions(len(case.materials.contributors), size.halves)[len(case.materials.contributors) + 1 :]
    reached = _seeded(run, losses, [case], size.retrainings, RETRAINING_SEEDS, coalitions=asked)[case]
    found = _seeded(run, values, [case], size.seeds)[case]
    scores = {name: np.array([one[name] for one in found]) for name in PATHS.values()}
    scores[LEFT_OUT] = np.array(_seeded(run, left_out, [case], size.seeds)[case])
    for name in peers.NAMES:
        scores[name] = np.array([peers.by_owner(np.array(one[name]), case) for one in scored])
    return Cell(case, "contributors", _members(case, asked), np.array(reached), scores, _after(found))


def _by_row(run: Runner, size: Size, case: Case, scored: list[Any]) -> Cell:
    rows = RowCase.of(case)
    reached = _seeded(run, row_losses, [rows], size.row_seeds, RETRAINING_SEEDS, count=size.row_halves)[rows]
    found = _seeded(run, values, [rows], size.seeds)[rows]
    scores = {name: np.array([one[name] for one in found]) for name in PATHS.values()}
    if size.left_out_rows:
        scores[LEFT_OUT] = np.array(_seeded(run, left_out, [rows], size.left_out_rows)[rows])
    scores |= {name: np.array([one[name] for one in scored]) for name in peers.NAMES}
    members = _members(rows, row_halves(rows, size.row_halves))
    return Cell(case, "samples", members, np.array(reached), scores, _after(found))


def _members(case: Case, asked: Sequence[Sequence[int]]) -> Floats:
    members = np.zeros((len(asked), len(case.materials.contributors)))
    for row, subset in zip(members, asked, strict=True):
        row[list(subset)] = 1
    return members


def _after(found: Sequence[Any]) -> Floats:
    return np.array([one["after"] for one in found])


def _seeded(
    run: Runner, function: Callable[..., Any], cases: Sequence[Case], seeds: int, first: int = 0, **options: Any
) -> dict[Case, list[Any]]:
    jobs = [(replace(case, seed=first + seed), options) for case in cases for seed in range(seeds)]
    results = iter(run(function, jobs))
    return {case: [next(results) for _ in range(seeds)] for case in cases}


def _row(cell: Cell) -> list[str]:
    cells = [correlation(cell.scores.get(method), cell.members, -cell.reached) or "–" for method in METHODS]
    return [f"{cell.case.setting}, {cell.case.scenario}", cell.unit, cell.case.update, f"{cell.ceiling:.2f}", *cells]


def _amounts(cell: Cell) -> list[str]:
    predicted = [
        spread(cell.predicted(method).mean(axis=1))
        if method in cell.scores and len(cell.scores[method]) == len(cell.after)
        else "–"
        for method in (*PATHS.values(), LEFT_OUT)
    ]
    name = f"{cell.case.setting}, {cell.case.scenario}"
    return [name, cell.unit, cell.case.update, spread(cell.after), spread(cell.reached.mean(axis=1)), *predicted]


def _picture(cells: Sequence[Cell]) -> Any:
    figure, (ax,) = axes(width=9.0, height=4.0)
    drawn = [method for method in METHODS if method != peers.SIZE]
    width = 0.8 / len(drawn)
    for number, method in enumerate(drawn):
        places = [place for place, cell in enumerate(cells) if method in cell.scores]
        heights = [cells[place].score(method) for place in places]
        at = [place + (number - (len(drawn) - 1) / 2) * width for place in places]
        ax.bar(at, heights, width * 0.9, label=method, color=COLOURS[number])
    for place, cell in enumerate(cells):
        label = "two sets of retrainings" if place == 0 else None
        ax.plot([place - 0.45, place + 0.45], [cell.ceiling] * 2, color="#111827", linewidth=1.2, label=label)
    ax.axhline(0, color="#111827", linewidth=0.8)
    ax.set_xticks(range(len(cells)))
    ax.set_xticklabels([f"{c.case.setting}, {c.case.scenario}\n{c.case.update}\n{c.unit}" for c in cells], fontsize=8)
    ax.set_ylabel("rank correlation with retraining")
    ax.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.2), frameon=False)
    return figure
