"""Mistakes taken back: which entries anyone may reverse by hand, and which have an operation of their own for it."""

from __future__ import annotations

from datetime import date, datetime

from sqlmodel import Session

from ledger import bookkeeping, disputes, holds, journal, other_valuations, releases, stakes, valuation
from ledger import settlement_entries as settlements
from ledger.errors import ReversalError
from ledger.journal import REVERSAL
from ledger.models import REGISTRY, ChainClaim, Entry, Publication
from ledger.models.chain import ENDS
from ledger.scope import settlements_of_run

REVERSIBLE = frozenset(
    {
        valuation.KIND,
        other_valuations.KIND,
        bookkeeping.CONVERSION,
        bookkeeping.REMITTANCE,
        stakes.DEPOSIT,
        stakes.WITHDRAWAL,
        holds.OPENED,
        releases.KIND,
    }
)
_REMEDIES = {
    settlements.KIND: "take it back with `ghostledger reverse RUN`",
    settlements.FUNDING: "take its settlement back with `ghostledger reverse RUN`",
    settlements.REFUND: "take its settlement back with `ghostledger reverse RUN`",
    bookkeeping.SWEEP: "the account that it emptied is closed",
    REVERSAL: "book what is right by a new entry",
    **dict.fromkeys(
        (Publication.entry_kind, ChainClaim.entry_kind, *ENDS.values()),
        "what a chain has seen is not undone here, and what it never saw is called off with `ghostledger chain cancel`",
    ),
    **{row.entry_kind: "it moved nothing" for row in REGISTRY},
}


def reverse_entry(
    session: Session, sequence: int, reason: str, *, event_at: date | datetime | str | None = None
) -> journal.Posted:
    """Reverse one entry by its mirror image. Asking again for the same reason returns the first reversal.

    Raises `UnknownEntryError`, `ReversalError` for a kind that is taken back in another way, for a valuation whose run
    is settled, for what is disputed, and where what the entry moved has moved on; `AccountLimitError` where it is gone.
    """
    entry = journal.entry(session, sequence)
    if entry.kind not in REVERSIBLE:
        remedy = _REMEDIES.get(entry.kind, "what follows on it is undone by the command that made it")
        raise ReversalError(sequence, f"it is a {entry.kind} entry; {remedy}")
    if entry.kind in (valuation.KIND, other_valuations.KIND):
        _refuse_used(session, entry)
    if any(hold.purpose == disputes.PURPOSE for hold in holds.made_by(session, sequence)):
        raise ReversalError(
            sequence, "it holds what is disputed; resolve the dispute with `ghostledger dispute resolve`"
        )
    return holds.reverse(session, sequence, reason, event_at=event_at)


def _refuse_used(session: Session, entry: Entry) -> None:
    """A valuation stays while a settlement pays by it, and a run's own while others stand beside it."""
    others = other_valuations.others(session, entry.subject)
    name = next((other.name for other in others if other.entry == entry.sequence), None)
    for made in settlements_of_run(session, entry.subject):
        if journal.reversal_of(session, made.entry) is None and (
            entry.kind == valuation.KIND or (name and made.valuation == name)
        ):
            raise ReversalError(entry.sequence, f"entry {made.entry} settled its run; take that back first")
    if entry.kind == valuation.KIND and others:
        raise ReversalError(entry.sequence, f"entry {others[-1].entry} values its run too; take that back first")
