"""One attacked run: who is found by what, and what is left of the attack when what was found is left out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fidelity.models import mean_loss
from fidelity.statistics import area_under_curve, knn_shapley
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley
from attribution.record import RunRecord
from attribution.uses.poison import Suspicions, suspicions
from attribution.uses.suspicion import chance_of_as_many
from studies.attacks import ATTACKER, AttackCase, spectral_signatures

CLEAN, ATTACK = "clean", "attack"
OURS, OURS_BOTH = "suspicion, clean task", "suspicion, with a task for it"
OURS_ONE, SUMS = "suspicion, that task alone", "sum of scores, clean task"
LOSS, NEIGHBOURS, SPECTRAL = "training loss", "KNN-Shapley", "spectral signatures"
WAYS = (OURS, OURS_BOTH, OURS_ONE, SUMS, LOSS, NEIGHBOURS, SPECTRAL)
FIRST, ALL = "the first suspect", "all poison"
TRUSTED, RATE = "honest 0", 0.01


def found_poison(case: AttackCase) -> dict[str, Any]:
    """Of one run: each way's area under the curve and rate at 1 % false alarms, thresholds, and what removal does."""
    attack = case.attacked
    data, bad = attack.data, attack.bad.numpy()
    with tempfile.TemporaryDirectory() as folder:
        model, losses, record = _trained(case, torch.arange(len(bad)), Path(folder) / "scores.parquet")
        by_tasks = {
            name: {
                kind: suspicions(record, Path(folder), tasks, trusted, RATE)
                for kind, trusted in (("trusted", [TRUSTED]), ("mirrored", []))
            }
            for name, tasks in ((OURS, [CLEAN]), (OURS_BOTH, [CLEAN, ATTACK]), (OURS_ONE, [ATTACK]))
        }
        sums = _sums(record, len(bad))
    order = np.lexsort((np.arange(len(bad)), data.owner.numpy()))  # of units: by contributor, then sample
    judged = {name: _by_row(kinds["trusted"], order) for name, kinds in by_tasks.items()}
    with torch.no_grad():
        features, held = (model[:-1](rows).flatten(1).double().numpy() for rows in (data.inputs, data.held_inputs))
    labels = data.targets.numpy()
    ways = {
        **judged,
        SUMS: -sums,
        LOSS: losses.numpy(),
        NEIGHBOURS: -knn_shapley(features, labels, held, data.held_targets.numpy()),
        SPECTRAL: spectral_signatures(features, labels),
    }
    innocent = (data.owner != ATTACKER).numpy() & (data.owner != 0).numpy()  # neither the attacker's nor the trusted
    flagged = {
        name: {kind: judged[name] > one.threshold for kind, one in kinds.items()} for name, kinds in by_tasks.items()
    }
    kept = {name: ~marks["trusted"] | (data.owner == 0).numpy() for name, marks in flagged.items()}
    first = {name: _first(kinds["trusted"], len(data.contributors)) for name, kinds in by_tasks.items()}
    kept |= {FIRST: (data.owner != first[OURS_BOTH]).numpy(), ALL: ~bad}
    return {
        "ways": {
            name: [area_under_curve(suspicion, bad), _rate_found(suspicion, bad)] for name, suspicion in ways.items()
        },
        "alarms": {
            name: {kind: [float(marks[innocent].mean()), float(marks[bad].mean())] for kind, marks in kinds.items()}
            for name, kinds in flagged.items()
        },
        "first": {name: number == ATTACKER for name, number in first.items()},
        "before": [attack.success(model), _accuracy(case, model)],
        "after": {name: _after(case, torch.as_tensor(rows)) for name, rows in kept.items()},
    }


def _rate_found(suspicion: np.ndarray, bad: np.ndarray) -> float:
    """The share of bad rows beyond what a hundredth of the others exceeds."""
    return float((suspicion[bad] > np.quantile(suspicion[~bad], 1 - RATE, method="higher")).mean())


def _by_row(found: Suspicions, order: np.ndarray) -> np.ndarray:
    suspicion = np.zeros(len(order))
    suspicion[order] = found.suspicion
    return suspicion


def _first(found: Suspicions, contributors: int) -> int:
    """The contributor whose flags are the least likely to be chance; the trusted one is none."""
    chances = []
    for number in range(1, contributors):
        mine = found.suspicion[found.owner == number]
        chances.append(chance_of_as_many(int((mine > found.threshold).sum()), len(mine), RATE))
    return int(np.argmin(chances)) + 1


def _after(case: AttackCase, kept: Tensor) -> list[float]:
    model, _, _ = _trained(case, kept.nonzero().reshape(-1), None)
    return [case.attacked.success(model), _accuracy(case, model)]


def _accuracy(case: AttackCase, model: nn.Module) -> float:
    with torch.no_grad():
        right = model(case.attacked.test_inputs).argmax(dim=1) == case.attacked.test_targets
    return float(right.double().mean())


def _sums(record: RunRecord, rows: int) -> np.ndarray:
    from attribution import score_totals

    assert record.scores is not None
    totals, found = score_totals(record.scores), np.zeros(rows)
    found[totals["sample"].to_numpy()] = totals[CLEAN].to_numpy()
    return found


def _trained(case: AttackCase, rows: Tensor, scores: Path | None) -> tuple[nn.Module, Tensor, Any]:
    """The model after some epochs on these rows, each row's mean loss, and the record where `scores` are to be kept."""
    attack, (model, optimizer) = case.attacked, case.start()
    data = attack.data
    losses = torch.zeros(len(data.inputs), dtype=torch.float64)
    meter = None
    if scores is not None:
        tasks: dict[str, Callable[[nn.Module], Tensor]] = {
            CLEAN: lambda m: mean_loss(m, data.held_inputs, data.held_targets),
            ATTACK: lambda m: mean_loss(m, attack.task_inputs, attack.task_targets),
        }
        meter = InRunShapley(model, optimizer, tasks, data.contributors, scores=scores)
    draw = torch.Generator().manual_seed(case.seed)
    for _ in range(case.epochs):
        for part in torch.randperm(len(rows), generator=draw).split(case.batch):
            batch = rows[part]
            block: AbstractContextManager[None] = nullcontext()
            if meter is not None:
                block = meter.batch(data.owner[batch], samples=batch)
            with block:
                each = functional.cross_entropy(model(data.inputs[batch]), data.targets[batch], reduction="none")
                each.mean().backward()
            losses[batch] += each.detach().double() / case.epochs
            optimizer.step()
            optimizer.zero_grad()
    return model, losses, None if meter is None else meter.finish()
