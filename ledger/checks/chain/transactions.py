"""Transactions that were sent for publications: numbered, without a gap in nonces, and as the ends of these say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from sqlmodel import Session, col, select

from ledger import publication_entries as entries
from ledger.checks.chain.publications import DAMAGED
from ledger.checks.fault import Fault, differences, stated_in
from ledger.checks.streams import stream
from ledger.instants import parse_instant
from ledger.models import Attempt, Distributor, Entry, Publication, PublicationEnd, Receipt

TRANSACTIONS = "chain transactions"
TRANSACTION_CLAIMS = {
    TRANSACTIONS: "transactions and what was seen of them are as the ends of publications say; no nonce is left out"
}


def transaction_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the transactions and of where they were seen."""
    yield from _number_faults(session, Attempt, "attempt")
    yield from _number_faults(session, Receipt, "receipt")
    yield from _nonce_faults(session)
    for number in session.exec(select(Attempt.id).order_by(col(Attempt.id))).all():
        try:
            yield from _attempt_faults(session, session.get_one(Attempt, number))
        except DAMAGED as error:
            yield Fault(TRANSACTIONS, f"attempt {number}: cannot be read: {error}")
        session.expunge_all()
    for receipt in stream(session, select(Receipt).order_by(col(Receipt.id))):
        yield from _instant_faults(f"receipt {receipt.id}", receipt.seen_at)
    for number in session.exec(select(PublicationEnd.entry).order_by(col(PublicationEnd.entry))).all():
        try:
            yield from _end_faults(session, session.get_one(PublicationEnd, number))
        except DAMAGED as error:
            yield Fault(TRANSACTIONS, f"entry {number}: what it says of transactions cannot be read: {error}")
        session.expunge_all()


def _number_faults(session: Session, table: type[Attempt] | type[Receipt], what: str) -> Iterator[Fault]:
    for place, number in enumerate(stream(session, select(table.id).order_by(col(table.id))), start=1):
        if number != place:
            yield Fault(TRANSACTIONS, f"{what} {place}: is missing, or numbered {number}")
            return


def _nonce_faults(session: Session) -> Iterator[Fault]:
    columns: Any = (Attempt.chain_id, Attempt.sender, Attempt.nonce, Attempt.id)
    query = select(*columns).order_by(col(Attempt.chain_id), col(Attempt.sender), col(Attempt.nonce))
    for (chain_id, sender), rows in groupby(stream(session, query), key=lambda row: (row[0], row[1])):
        last: int | None = None
        for _, _, nonce, number in rows:
            if last is not None and nonce > last + 1:
                yield Fault(
                    TRANSACTIONS,
                    f"attempt {number}: {sender} has nonce {nonce} on chain {chain_id} after nonce {last}, with a gap",
                )
            last = nonce


def _attempt_faults(session: Session, attempt: Attempt) -> Iterator[Fault]:
    name = f"attempt {attempt.id}"
    made = session.get_one(Publication, attempt.publication)
    chain_id = session.get_one(Distributor, made.distributor).chain_id
    if attempt.chain_id != chain_id:
        yield Fault(
            TRANSACTIONS, f"{name}: is for chain {attempt.chain_id}, and its publication is on chain {chain_id}"
        )
    yield from _instant_faults(name, attempt.saved_at)


def _instant_faults(name: str, instant: str) -> Iterator[Fault]:
    try:
        right = parse_instant(instant) == instant
    except DAMAGED:
        right = False
    if not right:
        yield Fault(TRANSACTIONS, f"{name}: {instant!r} is no instant")


def _end_faults(session: Session, end: PublicationEnd) -> Iterator[Fault]:
    """What the entry of an end lists, beside the rows; what was seen only afterwards is not listed."""
    payload = session.exec(select(Entry.payload).where(Entry.sequence == end.entry)).first()
    listed = (stated_in(payload) or {}).get("attempts")
    if not isinstance(listed, list):
        yield Fault(TRANSACTIONS, f"entry {end.entry}: does not say which transactions were made")
        return
    for said in listed:
        number = int(said["id"])
        name = f"attempt {number}"
        attempt = session.get(Attempt, number)
        if attempt is None:
            yield Fault(TRANSACTIONS, f"{name}: is missing, and listed by entry {end.entry}")
            continue
        if attempt.publication != end.publication:
            yield Fault(TRANSACTIONS, f"{name}: is of publication {attempt.publication}, not {end.publication}")
        receipts = _receipts(session, said["receipts"])
        found = entries.stated_attempt(attempt, ()) | {"receipts": said["receipts"]}
        for difference in differences(found, said):
            yield Fault(TRANSACTIONS, f"{name}: the row and entry {end.entry} differ: {difference}")
        for one in said["receipts"]:
            row = next((row for row in receipts if row.id == int(one["id"])), None)
            if row is None or row.attempt != number:
                where = "missing" if row is None else f"of attempt {row.attempt}"
                yield Fault(TRANSACTIONS, f"receipt {one['id']}: is {where}, and listed by entry {end.entry}")
                continue
            for difference in differences(entries.stated_receipt(row), one):
                yield Fault(TRANSACTIONS, f"receipt {row.id}: the row and entry {end.entry} differ: {difference}")
    yield from _unlisted(session, end, [int(said["id"]) for said in listed])


def _unlisted(session: Session, end: PublicationEnd, listed: Sequence[int]) -> Iterator[Fault]:
    """An attempt that was saved ahead of what is listed: it was there, so it should be listed too."""
    query = select(Attempt.id).where(Attempt.publication == end.publication, Attempt.id < max(listed, default=0))
    for number in session.exec(query.order_by(col(Attempt.id))):
        if number not in listed:
            yield Fault(TRANSACTIONS, f"attempt {number}: is not listed by entry {end.entry}, which lists later ones")


def _receipts(session: Session, listed: Sequence[dict[str, Any]]) -> list[Receipt]:
    numbers = [int(one["id"]) for one in listed]
    return list(session.exec(select(Receipt).where(col(Receipt.id).in_(numbers)).order_by(col(Receipt.id))))
