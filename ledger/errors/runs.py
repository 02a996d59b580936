"""Errors of booking runs."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors.base import LedgerError


class PartialRunError(LedgerError):
    """The run stopped before its end."""

    def __init__(self, run: str, stopped: str | None) -> None:
        self.run, self.stopped = run, stopped
        reason = f" ({stopped})" if stopped else ""
        super().__init__(f"run {run[:12]} is partial{reason}; ask for it with --allow-partial")


class ManifestError(LedgerError):
    """The run's manifest lacks something that the books need, or holds it in another form."""

    def __init__(self, run: str, key: str, reason: str) -> None:
        self.run, self.key, self.reason = run, key, reason
        super().__init__(f"run {run[:12]}: manifest key {key!r} {reason}")


class ForeignDataError(LedgerError):
    """The run used data that is not registered for the contributor it was credited to."""

    def __init__(self, run: str, contributor: str, fingerprint: str, owner: str | None) -> None:
        self.run, self.contributor, self.fingerprint, self.owner = run, contributor, fingerprint, owner
        whose = f"is registered for {owner!r}" if owner else "is not registered"
        super().__init__(f"run {run[:12]}: dataset {fingerprint} of contributor {contributor!r} {whose}")


class AxiomError(LedgerError):
    """The record does not satisfy an axiom that its values claim."""

    def __init__(self, run: str, axiom: str, detail: str) -> None:
        self.run, self.axiom, self.detail = run, axiom, detail
        super().__init__(f"run {run[:12]} fails {axiom}: {detail}")


class UnknownRunError(LedgerError):
    """No booked run has this identity (or this beginning of one)."""

    def __init__(self, run: str, reason: str = "is not booked; book it with `ghostledger import-run`") -> None:
        self.run = run
        super().__init__(f"run {run!r} {reason}")


class AmbiguousRunError(UnknownRunError):
    """Several booked runs begin with these digits."""

    def __init__(self, run: str, matches: Sequence[str]) -> None:
        self.matches = list(matches)
        super().__init__(run, f"could be {', '.join(m[:16] for m in matches)}; give more digits")


class RunReversedError(LedgerError):
    """The run's valuation was reversed."""

    def __init__(self, run: str, sequence: int) -> None:
        self.run, self.sequence = run, sequence
        super().__init__(f"run {run[:12]}: its valuation (entry {sequence}) was reversed; it has no value to settle")
