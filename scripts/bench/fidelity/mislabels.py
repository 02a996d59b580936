"""Finding flipped labels: sample scores beside KNN-Shapley and plain training loss."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from attribution import InRunShapley, score_totals
from fidelity.runner import Runner
from fidelity.sizes import BATCH, Size
from fidelity.statistics import area_under_curve, knn_shapley
from fidelity.tables import spread, table
from fidelity.training import Case

SCORES = {"sample score, path": {}, "sample score, first order": {"method": "first_order"}}
OTHERS = ("loss, mean over epochs", "loss at the end", "KNN-Shapley, the net's features")


def detected(case: Case, epochs: int) -> dict[str, float]:
    """For each way to tell flipped rows from the others: the area under its curve."""
    data = case.materials
    flipped = (data.targets != data.clean).numpy()
    suspicion: dict[str, np.ndarray] = {}
    for name, options in SCORES.items():
        scores, mean_loss, model = _trained(case, epochs, options)
        suspicion[name] = -scores
    with torch.no_grad():
        suspicion["loss, mean over epochs"] = mean_loss
        suspicion["loss at the end"] = functional.cross_entropy(
            model(data.inputs), data.targets, reduction="none"
        ).numpy()
        features, held = (model[:-1](rows).flatten(1).double().numpy() for rows in (data.inputs, data.held_inputs))
    suspicion[OTHERS[2]] = -knn_shapley(features, data.targets.numpy(), held, data.held_targets.numpy())
    return {name: area_under_curve(found, flipped) for name, found in suspicion.items()}


def by_pixels(case: Case) -> float:
    """The area under the curve of KNN-Shapley on the rows as they are, which asks no model."""
    data = case.materials
    rows, held = (inputs.flatten(1).double().numpy() for inputs in (data.inputs, data.held_inputs))
    found = -knn_shapley(rows, data.targets.numpy(), held, data.held_targets.numpy())
    return area_under_curve(found, (data.targets != data.clean).numpy())


def _trained(case: Case, epochs: int, options: dict[str, str]) -> tuple[np.ndarray, np.ndarray, torch.nn.Module]:
    """Scores and mean losses of all rows ``[rows]`` over some epochs, and the model."""
    data, (model, optimizer) = case.materials, case.start()
    losses = torch.zeros(len(data.inputs), dtype=torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.parquet"
        meter = InRunShapley(model, optimizer, case.validation, data.contributors, scores=path, **options)
        draw = torch.Generator().manual_seed(case.seed)
        for _ in range(epochs):
            for rows in torch.randperm(len(data.inputs), generator=draw).split(case.batch):
                with meter.batch(data.owner[rows], samples=rows):
                    each = functional.cross_entropy(model(data.inputs[rows]), data.targets[rows], reduction="none")
                    each.mean().backward()
                losses[rows] += each.detach().double() / epochs
                optimizer.step()
                optimizer.zero_grad()
        meter.finish()
        totals = score_totals(path)
    scores = np.zeros(len(data.inputs))
    scores[totals["sample"].to_numpy()] = totals["objective"].to_numpy()
    return scores, losses.numpy(), model


def report(run: Runner, size: Size) -> str:
    """The areas for each optimizer and learning rate."""
    run.title = "mislabels"
    setting = "images" if "images" in size.settings else size.settings[0]
    cases = [
        [Case(setting, "flipped", *u, 0, BATCH[setting], seed) for seed in range(size.flip_seeds)]
        for u in size.updates(setting)
    ]
    found = iter(run(detected, [(case, {"epochs": size.epochs}) for seeds in cases for case in seeds]))
    columns, rows = [*SCORES, *OTHERS], []
    for seeds in cases:
        results = [next(found) for _ in seeds]
        rows.append([setting, seeds[0].update, *(spread([r[c] for r in results], 3) for c in columns)])
    (pixels,) = run(by_pixels, [(cases[0][0], {})])
    return (
        f"Area under the curve at telling the 10 % of rows with a flipped label, {size.epochs} epochs, mean ± standard "
        f"deviation over {size.flip_seeds} seeds. KNN-Shapley on the pixels themselves: {pixels:.3f}.\n\n"
        + table(["setting", "update", *columns], rows)
    )
