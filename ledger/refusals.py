"""Why runs may not be settled: every reason, so that the audit can ask again later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from sqlmodel import Session

from ledger import journal, registry
from ledger.errors import (
    GapToleranceError,
    LedgerError,
    NoConsentError,
    NoImprovementError,
    NoValuationError,
    PartialRunError,
    RunReversedError,
    SettledElsewhereError,
    ValuationReversedError,
)
from ledger.policies.terms import Terms
from ledger.scope import Scope, rivals, settled_scope
from ledger.standing import without_consent
from ledger.worth import RunWorth, total


def refusals(
    session: Session, scope: Scope, worths: Sequence[RunWorth], terms: Terms, *, before: int | None = None
) -> Iterator[LedgerError]:
    """Every reason for not settling runs on these terms; `before`: as known ahead of that entry."""
    for run, rival in rivals(session, scope, before=before):
        yield SettledElsewhereError(run, rival.entry, str(settled_scope(session, rival)))
    tolerance = registry.tolerance(session)
    for one in worths:
        reversal = journal.reversal_of(session, one.entry)
        if reversal is not None and (before is None or reversal.sequence < before):
            yield RunReversedError(one.run, one.entry)
        if terms.by is not None and one.valued_by != one.entry:
            gone = journal.reversal_of(session, one.valued_by)
            if gone is not None and (before is None or gone.sequence < before):
                yield ValuationReversedError(one.run, terms.by, one.valued_by)
            if before is not None and one.valued_by > before:
                yield NoValuationError(one.run, terms.by, [])
        if not one.complete and not terms.partial:
            yield PartialRunError(one.run, one.stopped)
        if abs(one.worth.gap) > Fraction(tolerance) * abs(one.improvement):
            yield GapToleranceError(one.run, one.worth.gap, one.improvement, tolerance)
        for contributor, fingerprint in without_consent(session, one.datasets, one.began_at, before=before):
            yield NoConsentError(one.run, contributor, fingerprint, one.began_at)
    if terms.mode == "pool":
        yield from _nothing_to_divide_by(scope, worths)


def _nothing_to_divide_by(scope: Scope, worths: Sequence[RunWorth]) -> Iterator[NoImprovementError]:
    improvement = sum(one.improvement for one in worths)
    if improvement <= 0:
        yield NoImprovementError(str(scope), f"the improvement of {improvement} (1e-12 nat) is not positive")
    elif not any(value > 0 for value in total(worths).values.values()):
        yield NoImprovementError(str(scope), "no contributor's value is positive")
