"""Settlements: every payout recomputed from the values and the stored terms, and whether the run might be settled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from ledger import journal, settlement
from ledger.checks.fault import Fault, differences, line_faults, stated, stored_lines
from ledger.errors import LedgerError, NoConsentError, SettingError, StoredAmountError
from ledger.exact_integer import decode
from ledger.lines import Line
from ledger.models import Commodity, Entry, Run, Settlement
from ledger.money import NAT_EXPONENT, Amount, Asset
from ledger.policies.terms import Terms
from ledger.valuation import Valuation, read_entry

ROWS, ALLOWED, CONSENT, PAYOUTS, TOTALS = "settlements", "settlement rules", "consent", "payouts", "totals"
SETTLEMENT_CLAIMS = {
    ROWS: "every settlement's row is what its entry says, and no run has two that hold",
    ALLOWED: "every settled run might be settled: complete or asked for, within tolerance, worth something",
    CONSENT: "all data of every settled run had consent when the run began, as known when it was settled",
    PAYOUTS: "every payout is the one recomputed from the values and the terms",
    TOTALS: "what was paid, kept by the house and lost in the gap is the pool, or rate × improvement, exactly",
}

_Row = dict[str, Any]


def settlement_faults(session: Session) -> Iterator[Fault]:
    """What does not hold in the settlements."""
    names = ("entry", "funding", "subject", "attempt", "mode", "asset", "negative", "fee_basis_points", "partial")
    columns: Any = [getattr(Settlement, name) for name in names]
    amount = sa.type_coerce(col(Settlement.amount), sa.String)  # named by the check that meets it, where it is damaged
    query: Any = sa.select(*columns, amount).order_by(col(Settlement.entry))
    for found in session.exec(query).all():
        row = dict(zip((*names, "amount"), found, strict=True))
        yield from _one(session, row)
    for kind, column in ((settlement.KIND, Settlement.entry), (settlement.FUNDING, Settlement.funding)):
        made = select(column).where(col(column).is_not(None))
        for entry in session.exec(select(Entry).where(Entry.kind == kind, col(Entry.sequence).not_in(made))):
            yield Fault(ROWS, f"{kind} of run {entry.subject}: the row that entry {entry.sequence} made is missing")


def _one(session: Session, row: _Row) -> Iterator[Fault]:
    sequence = row["entry"]
    name = f"settlement of run {row['subject']}"
    entry = session.get(Entry, sequence)
    if entry is None or entry.kind != settlement.KIND or entry.subject != row["subject"]:
        yield Fault(ROWS, f"{name}: entry {sequence} is not its entry")
        return
    said = stated(entry) or {}
    try:
        terms = _terms(session, row)
        valuation, valued_by = _valuation(session, row["subject"])
    except (LedgerError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield Fault(ROWS, f"{name}, entry {sequence}: {error}")
        return
    yield from _attempt_faults(session, name, row)
    try:
        refusals = list(settlement.refusals(session, valuation, terms, before=sequence))
    except SettingError as error:
        refusals = [error]
    for refusal in refusals:
        check = CONSENT if isinstance(refusal, NoConsentError) else ALLOWED
        yield Fault(check, f"{name}, entry {sequence}: {refusal}")
    reversal = journal.reversal_of(session, valued_by)
    if reversal is not None and reversal.sequence < sequence:
        yield Fault(
            ALLOWED, f"{name}, entry {sequence}: its valuation was reversed before, by entry {reversal.sequence}"
        )
    try:
        owed = settlement.owed(session, terms.amount.asset.code, before=sequence)
        outcome = settlement.compute(valuation.worth, terms, owed)
    except (StoredAmountError, ZeroDivisionError, ValueError) as error:
        yield Fault(PAYOUTS, f"{name}, entry {sequence}: cannot be recomputed: {error}")
        return
    wanted = settlement.payload(row["subject"], row["attempt"], row["funding"], terms, outcome)
    for difference in differences(said, wanted):
        yield Fault(PAYOUTS, f"{name}: entry {sequence} and what is recomputed differ: {difference}")
    asset = terms.amount.asset.code
    yield from line_faults(session, PAYOUTS, name, sequence, settlement.lines(outcome, asset))
    if row["funding"] is not None:
        funding = session.get(Entry, row["funding"])
        funded = settlement.funding_payload(row["subject"], row["attempt"], outcome)
        if funding is None or funding.kind != settlement.FUNDING or stated(funding) != funded:
            yield Fault(PAYOUTS, f"{name}: entry {row['funding']} is not its funding of {outcome.funded}")
        else:
            lines = settlement.funding_lines(outcome, asset)
            yield from line_faults(session, PAYOUTS, f"funding of run {row['subject']}", row["funding"], lines)
    elif outcome.funded:
        yield Fault(PAYOUTS, f"{name}: has no funding entry, but {outcome.funded} to pay")
    yield from _total_faults(session, name, sequence, terms, valuation)


def _terms(session: Session, row: _Row) -> Terms:
    commodity = session.get(Commodity, row["asset"])
    if commodity is None:
        raise KeyError(f"asset {row['asset']!r} is not registered")
    amount = Amount(decode(row["amount"]), Asset(commodity.code, commodity.exponent))
    return Terms(row["mode"], amount, row["negative"], row["fee_basis_points"], row["partial"])


def _valuation(session: Session, run: str) -> tuple[Valuation, int]:
    sequence = session.exec(select(Run.entry).where(Run.id == run)).first()
    entry = session.get(Entry, sequence) if sequence is not None else None
    if entry is None:
        raise KeyError(f"run {run} is not booked")
    return read_entry(session, entry), entry.sequence


def _attempt_faults(session: Session, name: str, row: _Row) -> Iterator[Fault]:
    numbers = select(Settlement.entry, Settlement.attempt).where(
        Settlement.subject == row["subject"], Settlement.attempt < row["attempt"]
    )
    earlier = session.exec(numbers.order_by(col(Settlement.attempt))).all()
    numbered = [attempt for _, attempt in earlier] == list(range(1, len(earlier) + 1))
    if not numbered or row["attempt"] != len(earlier) + 1:
        yield Fault(ROWS, f"{name}: attempt {row['attempt']} does not follow the attempts before it")
    for entry, _ in earlier:
        reversal = journal.reversal_of(session, entry)
        if reversal is None or reversal.sequence > row["entry"]:
            yield Fault(ROWS, f"{name}: entries {entry} and {row['entry']} both settle it")


def _total_faults(session: Session, name: str, sequence: int, terms: Terms, valuation: Valuation) -> Iterator[Fault]:
    """The stored postings alone: contributors, house and gap together, against the pool or the price."""
    try:
        lines = stored_lines(session, sequence)
    except StoredAmountError:
        return  # named among the payouts
    credited = {"payable": 0, "receivable": 0, "house": 0, "gap": 0, "fee": 0}
    for line in lines:
        kind = line.account.partition(":")[0]
        if kind in credited:
            credited[kind] += _credit(line)
    paid = credited["payable"] + credited["receivable"] + credited["house"] + credited["gap"]
    if terms.mode == "pool":
        wanted, what = terms.amount.minor - credited["fee"], f"the pool of {terms.amount} less the fee"
    else:
        wanted = terms.amount.minor * valuation.improvement // 10**NAT_EXPONENT
        what = f"{terms.amount} a nat times {valuation.improvement} (1e-12 nat)"
    if paid != wanted:
        yield Fault(TOTALS, f"{name}, entry {sequence}: contributors, house and gap get {paid}, {what} is {wanted}")


def _credit(line: Line) -> int:
    return line.amount if line.side == "credit" else -line.amount
