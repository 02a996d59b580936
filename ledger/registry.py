"""The registry: who may be paid, what they supplied, whether they still consent, and what runs are measured on.

The front door to what is registered; each subject is a module of its own. All functions take a session of
`Ledger.writing` (those that only read: of either kind).
"""

from ledger.assets import use_asset
from ledger.consents import consents, give_consent, had_consent, withdraw_consent
from ledger.contributors import add_contributor, contributor, contributors
from ledger.datasets import Overlap, dataset, datasets, overlaps_of
from ledger.objectives import (
    RegisteredObjective,
    Task,
    add_objective,
    objective,
    objective_tasks,
    objectives,
    task_weights,
)
from ledger.rows import identifier, recorded_at, register
from ledger.settings import ORIGIN, TOLERANCE, origin, start, tolerance
from ledger.supply import RegisteredDataset, register_dataset

__all__ = [
    "ORIGIN",
    "TOLERANCE",
    "Overlap",
    "RegisteredDataset",
    "RegisteredObjective",
    "Task",
    "add_contributor",
    "add_objective",
    "consents",
    "contributor",
    "contributors",
    "dataset",
    "datasets",
    "give_consent",
    "had_consent",
    "identifier",
    "objective",
    "objective_tasks",
    "objectives",
    "origin",
    "overlaps_of",
    "recorded_at",
    "register",
    "register_dataset",
    "start",
    "task_weights",
    "tolerance",
    "use_asset",
    "withdraw_consent",
]
