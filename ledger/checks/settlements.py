"""Settlements: every figure recomputed from values, stored terms and standing, and whether they might be made.

One settlement at a time, and what it says of contributors one contributor at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from ledger import journal
from ledger import settlement_entries as entries
from ledger.checks.fault import Fault, differences, line_faults, line_rows, read_line, stated
from ledger.errors import LedgerError, NoConsentError, SettingError, StoredAmountError
from ledger.exact_integer import decode
from ledger.models import Commodity, Entry, Part, SettledRun, Settlement
from ledger.money import NAT_EXPONENT
from ledger.policies.outcome import Outcome, compute
from ledger.policies.terms import Terms, read_terms
from ledger.refusals import refusals
from ledger.scope import Scope
from ledger.shortfall import KIND as SHORTFALL
from ledger.shortfall import payload as shortfall_payload
from ledger.shortfall import shortfall
from ledger.standing import standings
from ledger.worth import RunWorth, run_worths, total

ROWS, ALLOWED, CONSENT, PAYOUTS, TOTALS = "settlements", "settlement rules", "consent", "payouts", "totals"
SHORTFALLS = "shortfalls"
SETTLEMENT_CLAIMS = {
    ROWS: "every settlement's row is what its entry says, and no run has two that hold",
    ALLOWED: "every settled run might be settled: complete or asked for, within tolerance, worth something",
    CONSENT: "all data of every settled run had consent when the run began, as known when it was settled",
    PAYOUTS: "every payout is the one recomputed from the values, the terms and where contributors stood",
    TOTALS: "what was paid, kept by the house and lost in the gap is the pool, or rate × improvement, exactly",
    SHORTFALLS: "what had moved on when a settlement was reversed was made good, to the minor unit",
}

_Row = dict[str, Any]
_DAMAGED = (LedgerError, ValueError, KeyError, TypeError, AttributeError, IndexError)
_COLUMNS = (
    "entry",
    "funding",
    "subject",
    "attempt",
    "task",
    "mode",
    "asset",
    "negative",
    "fee_basis_points",
    "partial",
    "policies",
    "valuation",
)


def settlement_faults(session: Session) -> Iterator[Fault]:
    """What does not hold in the settlements."""
    columns: Any = [getattr(Settlement, name) for name in _COLUMNS]
    amount = sa.type_coerce(col(Settlement.amount), sa.String)  # named by the check that meets it, where it is damaged
    query: Any = sa.select(*columns, amount).order_by(col(Settlement.entry))
    for found in session.exec(query).all():
        yield from _one(session, dict(zip((*_COLUMNS, "amount"), found, strict=True)))
        session.expunge_all()
    yield from _missing_rows(session)
    yield from _shortfall_faults(session)


def _one(session: Session, row: _Row) -> Iterator[Fault]:
    sequence = row["entry"]
    runs = select(SettledRun.run).where(SettledRun.settlement == sequence).order_by(col(SettledRun.run))
    scope = Scope(tuple(session.exec(runs)), row["task"])
    name = f"settlement of {scope}, entry {sequence}"
    entry = session.get(Entry, sequence)
    if entry is None or entry.kind != entries.KIND or entry.subject != row["subject"]:
        yield Fault(ROWS, f"{name}: entry {sequence} is not its entry")
        return
    if scope.subject != row["subject"]:
        yield Fault(ROWS, f"{name}: its runs and task are not those of its subject {row['subject']}")
        return
    said = stated(entry) or {}
    try:
        terms = _terms(session, row)
        worths = run_worths(session, scope, terms.by)
        together = total(worths)
    except _DAMAGED as error:
        yield Fault(ROWS, f"{name}: {error}")
        return
    yield from _attempt_faults(session, name, row)
    yield from _refusal_faults(session, name, scope, worths, terms, sequence)
    as_of = str(said.get("as_of"))
    yield from _moment_faults(session, name, entry, row["funding"], as_of)
    try:
        outcome = compute(together, terms, standings(session, worths, terms, as_of, before=sequence))
        lines = outcome.lines(terms.asset.code)
    except (*_DAMAGED, ZeroDivisionError) as error:
        yield Fault(PAYOUTS, f"{name}: cannot be recomputed: {error}")
        return
    # A refund follows the settlement, which therefore does not name it.
    funding = row["funding"] if outcome.funded > 0 else None
    wanted = entries.payload(scope, row["attempt"], funding, as_of, terms, outcome)
    for difference in differences(said, wanted):
        yield Fault(PAYOUTS, f"{name}: what it says and what is recomputed differ: {difference}")
    yield from _part_faults(session, name, sequence, outcome, terms)
    yield from line_faults(session, PAYOUTS, name, sequence, lines)
    yield from _moved_faults(session, name, row, scope, outcome, terms)
    yield from _total_faults(session, name, sequence, terms, together.improvement)


def _terms(session: Session, row: _Row) -> Terms:
    commodity = session.get(Commodity, row["asset"])
    if commodity is None:
        raise KeyError(f"asset {row['asset']!r} is not registered")
    told = {name: row[name] for name in ("mode", "asset", "negative", "fee_basis_points", "partial", "task")}
    policies = json.loads(row["policies"])
    told["by"] = row["valuation"]
    return read_terms({**told, "exponent": commodity.exponent, "amount": decode(row["amount"]), "policies": policies})


def _refusal_faults(
    session: Session, name: str, scope: Scope, worths: list[RunWorth], terms: Terms, sequence: int
) -> Iterator[Fault]:
    try:
        for reason in refusals(session, scope, worths, terms, before=sequence):
            yield Fault(CONSENT if isinstance(reason, NoConsentError) else ALLOWED, f"{name}: {reason}")
    except SettingError as error:
        yield Fault(ALLOWED, f"{name}: {error}")


def _moment_faults(session: Session, name: str, entry: Entry, funding: int | None, as_of: str) -> Iterator[Fault]:
    """The instant at which standing counted lies between the entry before the settlement's own and the settlement."""
    first = entry.sequence if funding is None else min(entry.sequence, funding)
    before = session.exec(select(Entry.recorded_at).where(Entry.sequence == first - 1)).first() or ""
    if not before <= as_of <= entry.recorded_at:
        yield Fault(ALLOWED, f"{name}: was made as of {as_of}, and recorded between {before} and {entry.recorded_at}")


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


def _part_faults(session: Session, name: str, sequence: int, outcome: Outcome, terms: Terms) -> Iterator[Fault]:
    """What the entry says of each contributor, beside what is recomputed."""
    query = select(Part.contributor, Part.payload).where(Part.entry == sequence).order_by(col(Part.number))
    found = session.exec(query.execution_options(yield_per=1000))
    nobody: tuple[str, Any] = ("nobody", {})
    for (who, payload), (right, wanted) in zip_longest(
        found, entries.parts(outcome, terms.asset.code), fillvalue=nobody
    ):
        said = _read(payload)
        if who != right:
            yield Fault(PAYOUTS, f"{name}: is about {who!r} where {right!r} should be")
        elif said != wanted:
            for difference in differences(said, wanted):
                yield Fault(PAYOUTS, f"{name}: what it says of {who!r} and what is recomputed differ: {difference}")


def _read(payload: Any) -> dict[str, Any]:
    try:
        said = json.loads(payload) if isinstance(payload, str) else payload
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _moved_faults(
    session: Session, name: str, row: _Row, scope: Scope, outcome: Outcome, terms: Terms
) -> Iterator[Fault]:
    """The funding ahead of the settlement, or the refund after it."""
    sequence, kind = row["funding"], entries.moved_kind(outcome)
    if sequence is None or kind is None:
        if (sequence is None) != (kind is None):
            yield Fault(PAYOUTS, f"{name}: has funding entry {sequence}, and {outcome.funded} to pay")
        return
    moved = session.get(Entry, sequence)
    right = entries.moved_payload(scope, row["attempt"], outcome)
    ahead = sequence < row["entry"]
    if moved is None or moved.kind != kind or stated(moved) != right or ahead != (kind == entries.FUNDING):
        yield Fault(PAYOUTS, f"{name}: entry {sequence} is not its {kind} of {abs(outcome.funded)}")
        return
    lines = entries.moved_lines(outcome, terms.asset.code)
    yield from line_faults(session, PAYOUTS, f"{kind} of {scope}", sequence, lines)


def _total_faults(session: Session, name: str, sequence: int, terms: Terms, improvement: int) -> Iterator[Fault]:
    """The stored postings alone: contributors, house, gap and what policies keep, against the pool or the price."""
    credited = {"fee": 0, "escrow": 0, "the rest": 0}
    try:
        for row in line_rows(session, sequence):
            line = read_line(*row)
            credited[line.account if line.account in credited else "the rest"] -= line.signed
    except StoredAmountError:
        return  # named among the payouts
    fee, paid = credited["fee"], credited["the rest"]
    if terms.mode == "pool":
        wanted, what = terms.amount.minor - fee, f"the pool of {terms.amount} less the fee"
    else:
        wanted = terms.amount.minor * improvement // 10**NAT_EXPONENT
        what = f"{terms.amount} a nat times {improvement} (1e-12 nat)"
    if paid != wanted:
        yield Fault(TOTALS, f"{name}: contributors, house and gap get {paid}, {what} is {wanted}")


def _missing_rows(session: Session) -> Iterator[Fault]:
    for kinds, column in (([entries.KIND], Settlement.entry), ([entries.FUNDING, entries.REFUND], Settlement.funding)):
        made = select(column).where(col(column).is_not(None))
        query = select(Entry).where(col(Entry.kind).in_(kinds), col(Entry.sequence).not_in(made))
        for entry in session.exec(query):
            yield Fault(ROWS, f"{entry.kind} of {entry.subject}: the row that entry {entry.sequence} made is missing")


def _shortfall_faults(session: Session) -> Iterator[Fault]:
    for entry in session.exec(select(Entry).where(Entry.kind == SHORTFALL).order_by(col(Entry.sequence))):
        name = f"shortfall, entry {entry.sequence}"
        about = (stated(entry) or {}).get("settlement")
        try:
            settlement = session.get(Settlement, about) if isinstance(about, int) else None
        except StoredAmountError as error:
            yield Fault(SHORTFALLS, f"{name}: settlement {about}: {error}")
            continue
        if settlement is None or stated(entry) != shortfall_payload(settlement.entry):
            yield Fault(SHORTFALLS, f"{name}: names no settlement")
            continue
        reversal = journal.reversal_of(session, settlement.entry)
        if reversal is None or reversal.sequence != entry.sequence + 1:
            yield Fault(SHORTFALLS, f"{name}: the reversal of settlement {settlement.entry} does not follow it")
        try:
            missing = shortfall(session, settlement, before=entry.sequence)
        except _DAMAGED as error:
            yield Fault(SHORTFALLS, f"{name}: cannot be recomputed: {error}")
            continue
        yield from line_faults(session, SHORTFALLS, name, entry.sequence, missing.lines)
        said = [(part.contributor, _read(part.payload)) for part in journal.parts_of(session, entry.sequence)]
        if said != missing.parts():
            yield Fault(SHORTFALLS, f"{name}: what it says of contributors is not what is recomputed")
