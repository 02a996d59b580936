"""Disputes: a contributor claims money that a settlement gave to another, or to the house; it waits until decided.

A dispute is an entry of its own, followed at once by the entry of its hold: ``payable:bob`` to ``disputed:bob``, or
``house`` to ``house_disputed``, meant for the claimant. A resolution is an entry too, followed by the hold's end: sent
to the claimant, or to the payees of the claimant's estate, or given back to where it came from. A claimant may call
for another valuation than the one that was paid by: what follows when that is upheld is `ledger/appeals.py`. While a
settlement has an open dispute it is not reversed: resolve the dispute first (`open_on`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, col, or_, select

from ledger import balances, holds, journal, registry
from ledger.accounts import split_name
from ledger.canonical import canonical, sha256
from ledger.errors import DisputedAmountError, DisputeError, IdempotencyConflictError, UnknownDisputeError
from ledger.estates import estate_of
from ledger.holds import Change, NewHold
from ledger.models import Commodity, Dispute, Entry, Hold, Resolution, Settlement
from ledger.money import Amount, format_units
from ledger.other_valuations import carried
from ledger.policies.estate import split
from ledger.scope import settled_scope
from ledger.valuation_names import DEARNESS, is_dearer

PURPOSE = "dispute"  # of its hold
CLAIMANT, RESPONDENT = "claimant", "respondent"
ENDED = "dispute ended"  # the kind of entry that moves what was held
_GIVEN = ("payable", "holdback", "vesting", "stopped", "accrued", "house")  # kinds by which a settlement gives


def open_dispute(
    session: Session,
    claimant: str,
    respondent: str | None,
    settlement: int,
    amount: Amount,
    evidence: str,
    *,
    calls_for: str | None = None,
    key: str | None = None,
    reason: str | None = None,
) -> Dispute:
    """Claim an amount that a settlement, named by its entry, gave to the respondent, or to the house for None.

    `evidence` is the SHA-256 of what shows it, hexadecimal. `calls_for` names the valuation by which the claimant wants
    to be paid: one that the runs carry, or a dearer one that is still to be made. The amount is held at once. The same
    again returns the first dispute; to claim the same a second time, give another `key`. Raises
    `UnknownContributorError`, `DisputeError` for what makes no sense, `DisputedAmountError` for more than the
    settlement gave, or than is still there and not disputed, and `IdempotencyConflictError`.
    """
    asset = amount.asset.code
    row = Dispute(
        claimant=claimant,
        respondent=respondent,
        settlement=settlement,
        asset=asset,
        amount=amount.minor,
        evidence=evidence,
        calls_for=calls_for,
        entry=0,
    )
    key = key or f"dispute:{sha256(canonical(dict(row.payload())).encode())}"
    earlier = _earlier(session, key, row, reason)
    if earlier is not None:
        return dispute(session, earlier.sequence)
    for name in (claimant, respondent):
        if name is not None:
            registry.contributor(session, name)
    _refuse(session, row)
    with session.begin_nested():  # both or neither, whatever is made of a refusal
        made = registry.register(session, row, key=key, reason=reason)
        holds.open_hold(session, hold_of(made), key=hold_key(made.entry), reason=reason)
    return made


def resolve(
    session: Session, entry: int, outcome: str, reason: str, *, key: str | None = None, payout: int | None = None
) -> Resolution:
    """Decide the dispute that an entry opened for its "claimant" or its "respondent": what is held goes there.

    Where the claimant called for a valuation and is right, what is held goes back, and its runs are settled anew:
    `appeals.resolve` does that, and says the `payout` by that valuation. The same again returns the first resolution.
    Raises `UnknownDisputeError`, `DisputeError` where it was decided otherwise, and `IdempotencyConflictError`.
    """
    found = dispute(session, entry)
    if outcome not in (CLAIMANT, RESPONDENT):
        raise DisputeError(f"dispute {entry} is resolved for {CLAIMANT!r} or for {RESPONDENT!r}, not {outcome!r}")
    called = outcome == CLAIMANT and found.calls_for is not None
    if called != (payout is not None):
        raise DisputeError(f"dispute {entry} is to be decided with what it calls for, {found.calls_for or 'nothing'}")
    row = Resolution(dispute=entry, outcome=outcome, payout=payout, entry=0)
    key = key or f"resolution:{entry}"
    decided = resolution_of(session, entry)
    if decided is not None and decided.outcome != outcome:
        raise DisputeError(f"dispute {entry} was resolved for the {decided.outcome} by entry {decided.entry}")
    if _earlier(session, key, row, reason) is not None and decided is not None:
        return decided
    if decided is not None:
        raise DisputeError(f"dispute {entry} was resolved by entry {decided.entry} already, by another request")
    held = hold_row(session, found)
    given = outcome == CLAIMANT and not called
    with session.begin_nested():
        made = registry.register(session, row, key=key, reason=reason)
        holds.change(
            session,
            [Change(held.id, holds.POSTED if given else holds.VOIDED)],
            kind=ENDED,
            subject=found.claimant,
            key=end_key(entry),
            reason=reason,
            destinations={held.id: claimants_part(session, found)} if given else None,
        )
    return made


# Reading


def dispute(session: Session, entry: int) -> Dispute:
    """The dispute that this entry opened. Raises `UnknownDisputeError`."""
    found = session.get(Dispute, entry)
    if found is None:
        raise UnknownDisputeError(entry)
    return found


def disputes(session: Session) -> list[Dispute]:
    """All disputes, in their order."""
    return list(session.exec(select(Dispute).order_by(col(Dispute.entry))))


def open_disputes(session: Session, contributor: str | None = None, before: int | None = None) -> list[Dispute]:
    """Disputes that nobody has resolved, in their order: all, or those in which a contributor is on either side.

    `before`: as they stood ahead of that entry.
    """
    resolved = select(Resolution.dispute)
    query = select(Dispute)
    if before is not None:
        resolved = resolved.where(Resolution.entry < before)
        query = query.where(Dispute.entry < before)
    if contributor is not None:
        query = query.where(or_(col(Dispute.claimant) == contributor, col(Dispute.respondent) == contributor))
    return list(session.exec(query.where(col(Dispute.entry).not_in(resolved)).order_by(col(Dispute.entry))))


def open_on(session: Session, settlement: int, before: int | None = None) -> list[Dispute]:
    """The open disputes about one settlement, named by its entry: while there is one, it is not reversed."""
    return [found for found in open_disputes(session, before=before) if found.settlement == settlement]


def resolution_of(session: Session, dispute: int) -> Resolution | None:
    """How a dispute ended, if it has."""
    return session.exec(select(Resolution).where(Resolution.dispute == dispute)).first()


def hold_of(dispute: Dispute) -> NewHold:
    """The hold that a dispute makes."""
    who = dispute.respondent
    return NewHold(
        purpose=PURPOSE,
        account=f"disputed:{who}" if who else "house_disputed",
        origin=f"payable:{who}" if who else "house",
        destination=f"payable:{dispute.claimant}",
        commodity=dispute.asset,
        amount=dispute.amount,
    )


def hold_key(dispute: int) -> str:
    """The key of the entry that holds what is disputed."""
    return f"dispute:{dispute}:hold"


def end_key(dispute: int) -> str:
    """The key of the entry that sends it on or gives it back."""
    return f"dispute:{dispute}:end"


def hold_row(session: Session, dispute: Dispute) -> Hold:
    """What a dispute holds."""
    entry = journal.by_key(session, hold_key(dispute.entry))
    held = None if entry is None else session.exec(select(Hold).where(Hold.entry == entry.sequence)).first()
    if held is None:
        raise DisputeError(f"dispute {dispute.entry} has no hold; run `ghostledger audit`")
    return held


def claimants_part(session: Session, dispute: Dispute, before: int | None = None) -> list[tuple[str, int]]:
    """The accounts that get what a claimant wins, and how much each: the claimant's, or those of an estate."""
    payees = split(dispute.amount, dispute.claimant, estate_of(session, dispute.claimant, before=before))
    return [(f"payable:{payee}", amount) for payee, amount in sorted(payees.items()) if amount]


def given_by(session: Session, settlement: int, respondent: str | None) -> int:
    """What a settlement gave to a contributor, or to the house, in its asset: paid, kept back or accrued, net."""
    given = 0
    for line in journal.lines_of(session, settlement):
        kind, owner = split_name(line.account)
        if kind in _GIVEN and owner == respondent:
            given -= line.signed
    return given


def _earlier(session: Session, key: str, row: Dispute | Resolution, reason: str | None) -> Entry | None:
    """The entry that the same request made before. Raises `IdempotencyConflictError` for another request's."""
    earlier = journal.by_key(session, key)
    if earlier is None:
        return None
    if (earlier.kind, earlier.payload, earlier.reason) != (row.entry_kind, canonical(dict(row.payload())), reason):
        raise IdempotencyConflictError(key, earlier.sequence)
    return earlier


def _refuse(session: Session, row: Dispute) -> None:
    if row.claimant == row.respondent:
        raise DisputeError(f"{row.claimant!r} cannot dispute with {row.claimant!r}")
    if len(row.evidence) != 64 or set(row.evidence) - set("0123456789abcdef"):
        raise DisputeError(f"evidence is known by its SHA-256, 64 lower-case hexadecimal digits, not {row.evidence!r}")
    settled = session.get(Settlement, row.settlement)
    if settled is None:
        raise DisputeError(f"entry {row.settlement} is no settlement")
    reversal = journal.reversal_of(session, row.settlement)
    if reversal is not None:
        raise DisputeError(f"settlement {row.settlement} was reversed by entry {reversal.sequence}; it gives nothing")
    if settled.asset != row.asset:
        raise DisputeError(f"settlement {row.settlement} was in {settled.asset}, not in {row.asset}")
    if not row.amount:
        raise DisputeError("a dispute needs an amount above zero")
    if row.calls_for is not None:
        for run in settled_scope(session, settled).runs:
            _refuse_call(session, run, settled, row.calls_for)
    _refuse_amount(session, row)


def _refuse_call(session: Session, run: str, settled: Settlement, name: str) -> None:
    names = carried(session, run)
    paid_by = settled.valuation or names[0]
    if name == paid_by:
        raise DisputeError(f"settlement {settled.entry} pays by valuation {name!r} already")
    if name not in names and not is_dearer(name, paid_by):
        later = ", ".join(repr(dearer) for dearer in DEARNESS if is_dearer(dearer, paid_by)) or "none"
        raise DisputeError(
            f"run {run[:12]} carries {', '.join(map(repr, names))} and no valuation {name!r}; of those to be made, "
            f"what is dearer than {paid_by!r} can be called for: {later}"
        )


def _refuse_amount(session: Session, row: Dispute) -> None:
    commodity = session.get(Commodity, row.asset)
    assert commodity is not None  # a foreign key of the settlement holds it

    def shown(minor: int) -> str:
        return f"{format_units(minor, commodity.exponent)} {commodity.code}"

    given = given_by(session, row.settlement, row.respondent)
    claimed = _claimed(session, row)
    # The house has no floor: what it gave elsewhere does not take from what this settlement gave it.
    there = balances.balance(session, f"payable:{row.respondent}", row.asset) if row.respondent else given
    left = max(min(given - claimed, there), 0)
    if row.amount <= left:
        return
    facts: Mapping[str, Any] = {
        "respondent": row.respondent or "the house",
        "settlement": row.settlement,
        "asked": shown(row.amount),
        "left": shown(left),
    }
    if row.amount > given:
        payees = estate_of(session, row.respondent) if row.respondent else {}
        estate = f", and its payees are {', '.join(payees)}" if payees else ""
        raise DisputedAmountError(**facts, reason=f"the settlement gave them {shown(max(given, 0))}{estate}")
    if row.amount > given - claimed:
        raise DisputedAmountError(
            **facts, reason=f"{shown(claimed)} of it is disputed already, or was lost in a dispute"
        )
    raise DisputedAmountError(**facts, reason="the rest is paid out, on its way, or not payable yet")


def _claimed(session: Session, row: Dispute) -> int:
    """What others claim of the same, or were given by a resolution."""
    returned = select(Resolution.dispute).where(Resolution.outcome == RESPONDENT)
    same = select(Dispute.amount).where(
        Dispute.settlement == row.settlement,
        col(Dispute.respondent).is_(None) if row.respondent is None else Dispute.respondent == row.respondent,
        col(Dispute.entry).not_in(returned),
    )
    return sum(session.exec(same))
