"""What public libraries and simple rules say of each training row: the competitors of in-run values.

dattri 0.3 (TRAK, influence functions, TracIn) at the model with which the run ended. Positive = the row helps.
"""

from __future__ import annotations

import contextlib
import io

import torch
from fidelity.statistics import Floats
from fidelity.training import Case, trained
from torch import Tensor
from torch.nn import functional

TRAK, INFLUENCE, TRACIN, LOSS, SIZE = "TRAK", "influence", "TracIn, last", "training loss", "size"
NAMES = (TRAK, INFLUENCE, TRACIN, LOSS, SIZE)
PROJECTED, DAMPING, ITERATIONS = 512, 0.1, 10


def row_scores(case: Case) -> dict[str, list[float]]:
    """Each row's score ``[rows]`` for the validation loss, by each of `NAMES`."""
    from dattri.algorithm.influence_function import IFAttributorCG
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.algorithm.trak import TRAKAttributor
    from dattri.task import AttributionTask
    from torch.utils.data import DataLoader, TensorDataset

    model, data = trained(case), case.materials
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    rows = DataLoader(TensorDataset(data.inputs, data.targets), batch_size=64)
    # In one batch: for each of several, dattri solves anew, and keeps the graphs of all.
    at_once = DataLoader(TensorDataset(data.inputs, data.targets), batch_size=len(data.inputs))
    # The validation set is one "sample": its mean loss is what is to be explained.
    held = DataLoader(TensorDataset(data.held_inputs[None], data.held_targets[None]), batch_size=1)

    def loss(parameters: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch[0].reshape(-1, *data.inputs.shape[1:]), batch[1].reshape(-1)
        return functional.cross_entropy(torch.func.functional_call(model, parameters, (inputs,)), targets)

    def probability(parameters: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        return torch.exp(-loss(parameters, batch))

    def margin(parameters: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        chance = probability(parameters, batch)
        return torch.log(chance / (1 - chance).clamp(min=1e-12))

    def gain(parameters: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        return -loss(parameters, batch)

    def whole_loss(parameters: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        return loss(parameters, batch)

    with contextlib.redirect_stderr(io.StringIO()):  # dattri's bars
        trak = TRAKAttributor(
            AttributionTask(margin, model, state, target_func=gain),
            probability,
            projector_kwargs={"proj_dim": PROJECTED, "device": "cpu"},
            regularization=1e-6,
        )
        trak.cache(rows)
        found = {TRAK: trak.attribute(held)[:, 0]}
        task = AttributionTask(loss, model, state, target_func=whole_loss)
        influence = IFAttributorCG(task, max_iter=ITERATIONS, regularization=DAMPING)
        influence.cache(at_once)
        found[INFLUENCE] = influence.attribute(at_once, held)[:, 0]
        tracin = TracInAttributor(task, weight_list=torch.ones(1), normalized_grad=False)
        found[TRACIN] = tracin.attribute(at_once, held)[:, 0]
    model.load_state_dict(state)
    with torch.no_grad():
        found[LOSS] = -functional.cross_entropy(model(data.inputs), data.targets, reduction="none")
    found[SIZE] = torch.ones(len(data.inputs))
    return {name: scores.detach().double().tolist() for name, scores in found.items()}


def by_owner(scores: Floats, case: Case) -> Floats:
    """Rows' scores ``[rows]`` summed by contributor."""
    owner = case.materials.owner
    sums = torch.zeros(len(case.materials.contributors), dtype=torch.float64)
    return sums.index_add(0, owner, torch.as_tensor(scores, dtype=torch.float64)).numpy()


__all__ = ["NAMES", "SIZE", "by_owner", "row_scores"]
