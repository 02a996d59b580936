"""Errors of settling, and of what follows a settlement."""

from __future__ import annotations

from ledger.errors.base import LedgerError


class TermsError(LedgerError):
    """A settlement's terms make no sense."""

    def __init__(self, term: str, reason: str) -> None:
        self.term, self.reason = term, reason
        super().__init__(f"{term}: {reason}")


class SettlementRefusedError(LedgerError):
    """Root of the reasons for which a run is not settled."""


class GapToleranceError(SettlementRefusedError):
    """Too much of the improvement is unaccounted for."""

    def __init__(self, run: str, gap: int, improvement: int, tolerance: str) -> None:
        self.run, self.gap, self.improvement, self.tolerance = run, gap, improvement, tolerance
        super().__init__(
            f"run {run[:12]}: its gap of {gap} is more than {tolerance} of its improvement of {improvement} "
            "(in 1e-12 nat); meter it with a smaller tolerance"
        )


class NoImprovementError(SettlementRefusedError):
    """There is no improvement, or no positive value, that a pool could be divided by."""

    def __init__(self, scope: str, reason: str) -> None:
        self.scope, self.reason = scope, reason
        super().__init__(f"{scope}: {reason}; a pool has nothing to be divided by")


class NoConsentError(SettlementRefusedError):
    """Data in the run lacked consent when the run began."""

    def __init__(self, run: str, contributor: str, fingerprint: str | None, began_at: str) -> None:
        self.run, self.contributor, self.fingerprint, self.began_at = run, contributor, fingerprint, began_at
        which = f"dataset {fingerprint[:12]} of {contributor!r}" if fingerprint else f"any dataset of {contributor!r}"
        super().__init__(f"run {run[:12]}: there was no consent for {which} when it began, {began_at}")


class SettledAlreadyError(SettlementRefusedError):
    """The same runs are settled already, on other terms."""

    def __init__(self, scope: str, sequence: int, difference: str) -> None:
        self.scope, self.sequence, self.difference = scope, sequence, difference
        super().__init__(f"{scope}: settled already by entry {sequence}, on other terms ({difference})")


class SettledElsewhereError(SettlementRefusedError):
    """The run is settled already by itself, with other runs, or for a task: its values would be paid for twice."""

    def __init__(self, run: str, sequence: int, scope: str) -> None:
        self.run, self.sequence, self.scope = run, sequence, scope
        super().__init__(f"run {run[:12]} is settled already by entry {sequence}, of {scope}; reverse that one first")


class NotSettledError(LedgerError):
    """There is no settlement that holds of exactly these runs."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(f"{scope}: not settled, or settled in another combination of runs and task")
