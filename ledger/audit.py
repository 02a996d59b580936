"""The audit: recompute everything from what is stored, and say what does not hold.

What it cannot find: whoever can rewrite every row, every hash and every record consistently can tell another story. The
defence is what somebody else kept: a signed checkpoint of the log, or the head's hash (`Audit.head`), given back later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlmodel import Session

from ledger import checks, journal
from ledger.checks import Claims, Fault
from ledger.proofs.checkpoint import Checkpoint

SHOWN_FAULTS = 50  # of one check


@dataclass(frozen=True)
class Check:
    """One claim, and whether it holds; where it does not, one check a fault, whose detail names the row."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Audit:
    """The audit's result."""

    ok: bool
    entries: int
    head: str  # the last entry's hash: keep it elsewhere
    checks: list[Check]

    def with_checks(self, checks: Iterable[Check]) -> Audit:
        """The same with further checks, such as of what the ledger alone cannot show."""
        more = list(checks)
        return replace(self, ok=self.ok and all(check.ok for check in more), checks=self.checks + more)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def audit(session: Session, *, expect_head: str | None = None, checkpoint: Checkpoint | None = None) -> Audit:
    """Check everything. `expect_head` is the hash of an entry that must still be there.

    `checkpoint` is one that was kept: everything that it stands for must be there unchanged.
    """
    results = _results(checks.SCHEMA_CLAIMS, checks.schema_faults(session))
    readable = all(result.ok for result in results if result.name == checks.TYPES)
    sections: list[tuple[Claims, Callable[[], Iterable[Fault]]]] = [
        (checks.JOURNAL_CLAIMS, lambda: checks.journal_faults(session)),
        (checks.ACCOUNT_CLAIMS, lambda: checks.account_faults(session)),
        (checks.HOLD_CLAIMS, lambda: checks.hold_faults(session)),
        (checks.PERIOD_CLAIMS, lambda: checks.period_faults(session)),
        (checks.HEAD_CLAIMS, lambda: checks.head_faults(session, expect_head)),
        (checks.REGISTRY_CLAIMS, lambda: checks.registry_faults(session)),
        (checks.RUN_CLAIMS, lambda: checks.run_faults(session)),
        (checks.SETTLEMENT_CLAIMS, lambda: checks.settlement_faults(session)),
        (checks.DISPUTE_CLAIMS, lambda: checks.dispute_faults(session)),
        (checks.CHAIN_CLAIMS, lambda: checks.chain_faults(session)),
    ]
    if checkpoint is not None:
        sections.append((checks.LOG_CLAIMS, lambda: checks.log_faults(session, checkpoint)))
    for claims, faults in sections:
        if readable:
            results += _results(claims, faults())
        else:
            results += [Check(name, False, f"not checked, since {checks.TYPES} are damaged") for name in claims]
    entries, head = journal.head(session)
    return Audit(all(result.ok for result in results), entries, head, results)


def _results(claims: Claims, faults: Iterable[Fault]) -> list[Check]:
    found: dict[str, list[str]] = {name: [] for name in claims}
    more = dict.fromkeys(claims, 0)
    for fault in faults:
        if len(found[fault.check]) < SHOWN_FAULTS:
            found[fault.check].append(fault.detail)
        else:
            more[fault.check] += 1
    results = []
    for name, claim in claims.items():
        if not found[name]:
            results.append(Check(name, True, claim))
        results += [Check(name, False, detail) for detail in found[name]]
        if more[name]:
            results.append(Check(name, False, f"and {more[name]} more"))
    return results
