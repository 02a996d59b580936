"""Who supplied what, with whose consent, and what runs made it worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.ledger.reliability.model.holds import Holding
from tests.ledger.reliability.model.journal import RefusedError


@dataclass
class Worth:
    """What a run, or one task of it, was worth, in 1e-12 nat."""

    values: Mapping[str, int]
    house: int
    gap: int

    @property
    def improvement(self) -> int:
        return sum(self.values.values()) + self.house + self.gap


@dataclass
class Run:
    """A run: weighted over its tasks, and each task by itself."""

    identity: str
    whole: Worth
    tasks: Mapping[str, Worth]
    data: Mapping[str, list[str]]  # labels of datasets, of everybody who had rows
    began_at: str
    complete: bool
    entry: int = 0


@dataclass
class Registry(Holding):
    """Contributors, datasets and consent, runs."""

    datasets: dict[str, tuple[str, list[tuple[str, str]]]] = field(default_factory=dict)  # owner, changes of consent
    estates: dict[str, dict[str, int]] = field(default_factory=dict)
    estates_said: set[str] = field(default_factory=set)
    runs: dict[str, Run] = field(default_factory=dict)

    def add_contributor(self, name: str, called: str) -> None:
        """Someone who may be paid."""
        if name in self.contributors:
            if self.contributors[name] != called:
                raise RefusedError("DuplicateError")
            return
        self.contributors[name] = called
        self.say("contributor")

    def register_dataset(self, label: str, owner: str, consent_at: str | None) -> None:
        """A dataset, with consent or without."""
        if label in self.datasets:
            raise RefusedError("DuplicateDatasetError")
        self.datasets[label] = (owner, [])
        self.say("dataset")
        if consent_at is not None:
            self.change_consent(label, "given", consent_at)

    def change_consent(self, label: str, change: str, at: str) -> None:
        """Consent given or withdrawn from an instant on."""
        changes = self.datasets[label][1]
        last = changes[-1] if changes else ("withdrawn", "")
        if at < last[1] or change == last[0]:
            raise RefusedError("ConsentError")
        changes.append((change, at))
        self.say("consent")

    def consented(self, label: str, at: str) -> bool:
        """Whether there was consent to a dataset at an instant."""
        before = [change for change, since in self.datasets[label][1] if since <= at]
        return bool(before) and before[-1] == "given"

    def without_consent(self, run: Run, at: str) -> set[str]:
        """Whose data in a run had no consent at an instant."""
        lacking = set()
        for name, labels in run.data.items():
            own = [label for label, (owner, _) in self.datasets.items() if owner == name]
            given = [self.consented(label, at) for label in labels or own]
            if not (all(given) if labels else any(given)):
                lacking.add(name)
        return lacking

    def set_estate(self, name: str, payees: Mapping[str, int]) -> None:
        """Let others be paid in a contributor's stead."""
        if name not in self.contributors or not payees.keys() <= self.contributors.keys():
            raise RefusedError("UnknownContributorError")
        if payees:
            nested = any(payee != name and payee in self.estates for payee in payees)
            if nested or any(name in theirs for other, theirs in self.estates.items() if other != name):
                raise RefusedError("EstateError")
        known = self.estates.get(name, {})
        if known == dict(payees) and (payees or name in self.estates_said):
            return
        self.estates_said.add(name)
        self.estates.pop(name, None)
        if payees:
            self.estates[name] = dict(sorted(payees.items()))
        self.say("estate")

    def book(self, label: str, run: Run, *, partial: bool) -> int:
        """Book a run's values."""
        if label in self.runs:
            known = self.runs[label]
            if self.entries[known.entry - 1].reversed_by is not None:
                raise RefusedError("RunReversedError")
            return known.entry
        if not run.complete and not partial:
            raise RefusedError("PartialRunError")
        whole = run.whole
        lines = {("improvement", "nat"): whole.improvement, ("house", "nat"): -whole.house, ("gap", "nat"): -whole.gap}
        lines |= {(f"value:{name}", "nat"): -value for name, value in whole.values.items()}
        run.entry = self.post("valuation", f"valuation {label}", label, lines)
        self.runs[label] = run
        return run.entry
