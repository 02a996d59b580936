"""Who is unlearned, from which run, and what a membership attack compares their rows with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from fidelity.materials import CONTEXT, Materials, materials
from fidelity.models import BUILDERS, mean_loss
from torch import Tensor, nn
from torch.optim import Optimizer

from attribution import InRunShapley, RunRecord
from attribution.displacements import Displacements
from attribution.training.loop import learning_rate_factor
from studies.corpora import documents

BATCH = {"digits": 64, "images": 64, "text": 16}
SCENARIO = {"digits": "few", "images": "few", "text": "domains"}
KINDS = {  # contributors, by what is special about them
    "digits": {"even": "ordinary", "all of 9": "sole owner", "random labels": "noise"},
    "images": {"even": "ordinary", "all of 9": "sole owner", "random labels": "noise"},
    "text": {"business": "ordinary", "scripture": "sole owner", "noise": "noise"},
}
UNSEEN_CHARACTERS = 13_000


@dataclass(frozen=True)
class Case:
    """A run: all but the seed decide on what unlearning should do."""

    setting: str
    optimizer: str  # SGD or AdamW
    rate: float
    steps: int
    warmup: float = 0.1  # share of the steps; then a cosine to a tenth, as the reference trainer's
    seed: int = 0

    @property
    def materials(self) -> Materials:
        return materials(self.setting, SCENARIO[self.setting])

    @property
    def update(self) -> str:
        """The optimizer with its learning rate, and what is unusual about it."""
        return f"{self.optimizer} {self.rate:g}" + ("" if self.warmup else ", no warm-up")

    def optimizer_of(self, model: nn.Module, share: float = 1.0) -> Optimizer:
        """A new optimizer, at a share of the learning rate."""
        kind = torch.optim.AdamW if self.optimizer == "AdamW" else torch.optim.SGD
        return kind(model.parameters(), lr=share * self.rate)

    def rows_of(self, who: Sequence[str], *, others: bool = False) -> Tensor:
        """The numbers of their rows, or of all others'."""
        members = torch.tensor([self.materials.contributors.index(name) for name in who])
        return (torch.isin(self.materials.owner, members) ^ others).nonzero().reshape(-1)

    def batches(self, rows: Tensor, steps: int, seed: int) -> Iterator[Tensor]:
        """Batches drawn from some rows, with replacement."""
        draw = torch.Generator().manual_seed(seed)
        for _ in range(steps):
            yield rows[torch.randint(0, len(rows), (BATCH[self.setting],), generator=draw)]

    def loss(self, model: nn.Module, rows: Tensor) -> Tensor:
        return mean_loss(model, self.materials.inputs[rows], self.materials.targets[rows])


def trained(
    case: Case,
    rows: Tensor,
    luck: int = 0,
    meter: InRunShapley | None = None,
    model: nn.Module | None = None,
    optimizer: Optimizer | None = None,
) -> nn.Module:
    """The model of the case's seed after training on some rows; `luck` decides on other batches."""
    if model is None or optimizer is None:
        model, optimizer = start(case)
    for step, batch in enumerate(case.batches(rows, case.steps, 1000 + case.seed + 10_000 * luck)):
        for group in optimizer.param_groups:
            group["lr"] = case.rate * learning_rate_factor(step, case.steps, case.warmup)
        if meter is None:
            case.loss(model, batch).backward()
        else:
            with meter.batch(case.materials.owner[batch]):
                case.loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def start(case: Case) -> tuple[nn.Module, Optimizer]:
    """The untrained model of the case's seed, and its optimizer."""
    torch.manual_seed(case.seed)
    model = BUILDERS[case.setting]()
    return model, case.optimizer_of(model)


def metered(case: Case) -> tuple[nn.Module, Displacements, RunRecord]:
    """The run on everybody's rows, valued by steps and as a whole."""
    data = case.materials
    model, optimizer = start(case)
    meter = InRunShapley(
        model,
        optimizer,
        lambda asked: mean_loss(asked, data.held_inputs, data.held_targets),
        data.contributors,
        every=(1, "run"),
        keep_displacements="run",
    )
    trained(case, torch.arange(len(data.owner)), meter=meter, model=model, optimizer=optimizer)
    found = meter.run_displacements
    return model, found, meter.finish()


def never_seen(case: Case, who: str) -> tuple[Tensor, Tensor]:
    """Inputs and targets that no run saw, of the distribution of this contributor's rows."""
    data = case.materials
    if case.setting == "text":
        rows = _unseen_text(who)
        return rows[:, :-1], rows[:, 1:]
    inputs, targets = data.held_inputs, data.held_targets
    if who == "random labels":
        return inputs, torch.randint(0, 10, targets.shape, generator=torch.Generator().manual_seed(5))
    mine = (targets == 9) == (who == "all of 9")
    return inputs[mine], targets[mine]


@cache
def _unseen_text(who: str) -> Tensor:
    """Rows from documents far from those at the beginning, which the runs were trained on."""
    if who == "noise":
        corpora = ("business", "sports", "politics", "entertainment", "tech", "scripture", "source code")
        pooled = np.concatenate([_bytes(corpus)[: UNSEEN_CHARACTERS // len(corpora)] for corpus in corpora])
        content = np.random.default_rng(7).permutation(pooled)
    else:
        content = _bytes(who)
    return torch.from_numpy(content).long().unfold(0, CONTEXT + 1, CONTEXT).clone()


def _bytes(corpus: str) -> np.ndarray:
    text = "\n".join(documents(corpus)[-40:])[:UNSEEN_CHARACTERS]
    return np.frombuffer(text.encode(), dtype=np.uint8).copy()
