"""Attacks on a training run by one of eight contributors: flipped labels, a backdoor, crafted images.

The attacker, the last contributor, knows the training set, the architecture and the learning rate, not the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from fidelity.materials import Materials, materials
from fidelity.training import Case, trained
from torch import Tensor, nn
from torch.nn import functional

ATTACKS = ("flips", "backdoor", "crafted")
ATTACKER = 7  # of the eight
WANTED = 0  # the class that a trigger is to call up
POISONED = 0.5  # of the attacker's rows
MARGIN = 0.1  # where the target lies among the rightly classified, by margin
EPSILON, CRAFTING_STEPS = 0.3, 60  # the largest change of a pixel, of 1; steps of signed descent


@dataclass(frozen=True)
class Attack:
    """The data with the attack in it, and how to see whether it worked."""

    data: Materials  # of which the held-out rows are the clean validation set
    bad: Tensor  # [rows] bool: the poisoned rows
    task_inputs: Tensor  # what a task that measures the attack would hold, with the right labels
    task_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    aimed_inputs: Tensor  # what the attacker wants to be taken for `aimed_at`; none for flips
    aimed_at: int

    def success(self, model: nn.Module) -> float:
        """The share of test rows that are wrong (flips), or of aimed rows that are taken for what they are not."""
        with torch.no_grad():
            if not len(self.aimed_inputs):
                return float((model(self.test_inputs).argmax(dim=1) != self.test_targets).double().mean())
            return float((model(self.aimed_inputs).argmax(dim=1) == self.aimed_at).double().mean())


@dataclass(frozen=True)
class AttackCase(Case):
    """A case under attack."""

    attack: str = "flips"
    epochs: int = 3

    @property
    def attacked(self) -> Attack:
        return _attacked(self.setting, self.attack, self.seed, self.optimizer, self.rate)

    @property
    def materials(self) -> Materials:
        return self.attacked.data


def triggered(inputs: Tensor) -> Tensor:
    """The images with a bright patch in the lower right corner, a seventh of their height."""
    side = round(inputs[0].numel() ** 0.5)
    patch = max(2, side // 7)
    images = inputs.reshape(len(inputs), side, side).clone()
    images[:, -patch:, -patch:] = 1
    return images.reshape(inputs.shape)


@cache
def _attacked(setting: str, attack: str, seed: int, optimizer: str, rate: float) -> Attack:
    found = materials(setting, "equal")
    half = len(found.held_inputs) // 2
    clean = replace(
        found,
        targets=found.clean,
        contributors=[f"honest {c}" for c in range(ATTACKER)] + ["attacker"],
        held_inputs=found.held_inputs[:half],
        held_targets=found.held_targets[:half],
    )
    test = found.held_inputs[half:], found.held_targets[half:]
    draw = torch.Generator().manual_seed(seed)
    if attack == "crafted":
        return _crafted(Case(setting, "equal", optimizer, rate, 200, seed=500 + seed), clean, *test)
    mine = (clean.owner == ATTACKER).nonzero().reshape(-1)
    if attack == "backdoor":
        mine = mine[clean.targets[mine] != WANTED]
    chosen = mine[torch.randperm(len(mine), generator=draw)[: int(POISONED * (clean.owner == ATTACKER).sum())]]
    bad = torch.zeros(len(clean.owner), dtype=torch.bool)
    bad[chosen] = True
    inputs, targets = clean.inputs.clone(), clean.targets.clone()
    if attack == "flips":
        targets[chosen] = (targets[chosen] + torch.randint(1, 10, (len(chosen),), generator=draw)) % 10
        data = replace(clean, targets=targets)
        return Attack(data, bad, clean.held_inputs, clean.held_targets, *test, test[0][:0], 0)
    inputs[chosen], targets[chosen] = triggered(inputs[chosen]), WANTED
    data = replace(clean, inputs=inputs, targets=targets)
    aimed = triggered(test[0][test[1] != WANTED])
    return Attack(data, bad, triggered(clean.held_inputs), clean.held_targets, *test, aimed, WANTED)


def _crafted(surrogate: Case, clean: Materials, test_inputs: Tensor, test_targets: Tensor) -> Attack:
    """Rightly labelled images, changed so that their gradients match that of one test image under a wrong label.

    Gradient matching of Geiping et al., "Witches' Brew" (ICLR 2021), with a surrogate of another seed, trained clean.
    The attacker picks a test image that the surrogate gets right by a small margin: a tenth are closer.
    """
    model = trained(_Clean.of(surrogate))
    with torch.no_grad():
        logits = model(test_inputs)
    right = logits.gather(1, test_targets[:, None])[:, 0]
    others = logits.scatter(1, test_targets[:, None], -torch.inf)
    margin = torch.where(right > others.max(dim=1).values, right - others.max(dim=1).values, torch.inf)
    order = margin.argsort()
    target = int(order[int(MARGIN * int(margin.isfinite().sum()))])
    wanted = int(others[target].argmax())
    size = int(POISONED * (clean.owner == ATTACKER).sum())
    chosen = (clean.targets == wanted).nonzero().reshape(-1)[:size]
    owner = clean.owner.clone()  # the attacker collects what is of use, in exchange for other rows
    own = (owner == ATTACKER).nonzero().reshape(-1)
    spare = own[~torch.isin(own, chosen)][: int((owner[chosen] != ATTACKER).sum())]
    owner[spare] = owner[chosen][owner[chosen] != ATTACKER]
    owner[chosen] = ATTACKER
    inputs = clean.inputs.clone()
    inputs[chosen] = _matched(model, clean.inputs[chosen], wanted, test_inputs[target : target + 1])
    bad = torch.zeros(len(owner), dtype=torch.bool)
    bad[chosen] = True
    aimed = test_inputs[target : target + 1]
    data = replace(clean, inputs=inputs, owner=owner)
    keep = torch.arange(len(test_inputs)) != target
    return Attack(
        data, bad, aimed, test_targets[target : target + 1], test_inputs[keep], test_targets[keep], aimed, wanted
    )


def _matched(model: nn.Module, base: Tensor, wanted: int, target: Tensor) -> Tensor:
    parameters = list(model.parameters())

    def gradient(inputs: Tensor, *, kept: bool) -> list[Tensor]:
        labels = torch.full((len(inputs),), wanted)
        loss = functional.cross_entropy(model(inputs), labels)
        return list(torch.autograd.grad(loss, parameters, create_graph=kept))

    aim = gradient(target, kept=False)
    length = torch.sqrt(sum((a**2).sum() for a in aim))
    change = torch.zeros_like(base, requires_grad=True)
    for step in range(CRAFTING_STEPS):
        found = gradient((base + change).clamp(0, 1), kept=True)
        along = sum((f * a).sum() for f, a in zip(found, aim, strict=True))
        loss = 1 - along / (length * torch.sqrt(sum((f**2).sum() for f in found)) + 1e-12)
        (slope,) = torch.autograd.grad(loss, change)
        with torch.no_grad():
            change -= EPSILON / 10 * (1 - step / CRAFTING_STEPS) * slope.sign()
            change.clamp_(-EPSILON, EPSILON)
    return (base + change.detach()).clamp(0, 1)


@dataclass(frozen=True)
class _Clean(Case):
    """Everybody honest."""

    @property
    def materials(self) -> Materials:
        found = materials(self.setting, self.scenario)
        return replace(found, targets=found.clean)

    @classmethod
    def of(cls, case: Case) -> _Clean:
        return cls(**{name: getattr(case, name) for name in Case.__dataclass_fields__})


def spectral_signatures(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How far each row ``[rows]`` lies along the first singular vector of its class's centred features, squared.

    Tran, Li and Madry, "Spectral Signatures in Backdoor Attacks" (NeurIPS 2018).
    """
    found = np.zeros(len(features))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        centred = features[rows] - features[rows].mean(axis=0)
        _, _, directions = np.linalg.svd(centred, full_matrices=False)
        found[rows] = (centred @ directions[0]) ** 2
    return found
