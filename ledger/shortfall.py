"""What must be made good before a settlement can be reversed exactly: money that it gave and that has moved on.

The contributor owes what is missing: it is debited to `receivable` and credited to where the reversal takes it from,
and netted from what is earned next. What lies on the contributor's own `payable` beyond what the reversal takes from
there is used first. A debt that was carried and has been netted since is given back as payable. What was held and has
gone back to `surplus` comes from there, what has left `surplus` from `buyer`, and what has left `withheld` from
`bank`. Held money is made good by holds, which the reversal voids with the settlement's own (`holds.reverse`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, select

from ledger import holds, journal
from ledger.accounts import KINDS, split_name
from ledger.batches import batches
from ledger.holds import NewHold
from ledger.lines import Line, credit, debit, merged, mirrored
from ledger.models import Entry, HoldChange, Settlement
from ledger.pending import RESTORED
from ledger.settlement_entries import PURPOSES, VOIDED_TO

KIND = "shortfall"
_MADE_GOOD_BY = {"withheld": "bank", "surplus": "buyer"}
_BATCH = 400  # parameters of one query


@dataclass(frozen=True)
class Shortfall:
    """What is missing, as the lines of an entry, and the holds that it makes."""

    lines: list[Line]
    holds: list[NewHold]  # by contributor, as the parts state them

    def parts(self) -> list[tuple[str, dict[str, Any]]]:
        """What the entry says of each contributor: what each of their accounts gets, by kind, and the holds."""
        moved: dict[str, dict[str, str]] = defaultdict(dict)
        for line in self.lines:
            kind, contributor = split_name(line.account)
            if contributor is not None:
                moved[contributor][kind] = str(line.amount if line.side == KINDS[kind].normal_side else -line.amount)
        made: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for hold in self.holds:
            made[split_name(hold.account)[1] or ""].append(holds.stated(hold))
        return [
            (
                contributor,
                {"accounts": moved[contributor]} | ({"holds": made[contributor]} if made[contributor] else {}),
            )
            for contributor in sorted(moved)
        ]


def make_good(session: Session, settlement: Settlement) -> list[Entry]:
    """Post what is missing for the settlement's reversal, and the holds that make good for its own, if anything is."""
    missing = shortfall(session, settlement)
    if not missing.lines:
        return []
    posted = journal.post(
        session,
        kind=KIND,
        subject=settlement.subject,
        key=f"{KIND}:{settlement.entry}",
        payload=payload(settlement.entry),
        parts=missing.parts(),
        lines=missing.lines,
    )
    holds.record(session, posted.entry.sequence, missing.holds)
    return [posted.entry]


def payload(settlement: int) -> dict[str, Any]:
    """What the entry says of all together."""
    return {"settlement": settlement}


def shortfall(session: Session, settlement: Settlement, *, before: int | None = None) -> Shortfall:
    """What is missing; `before`: as accounts and holds were ahead of that entry."""
    asset = settlement.asset
    taken = _taken(mirrored(journal.lines_of(session, settlement.entry)))
    owners = sorted({contributor for _, contributor in map(split_name, taken) if contributor is not None})
    names = dict.fromkeys([*taken, *(f"payable:{owner}" for owner in owners), VOIDED_TO])
    keys = [(account, asset) for account in names]
    available = {account: held for (account, _), held in journal.last_balances(session, keys, before=before).items()}
    # Other settlements' holds lie on the same accounts: of these, only what is left of its own is there to be taken.
    for account in taken:
        if split_name(account)[0] in PURPOSES:
            available[account] = 0
    for hold, left in holds.left_of(session, settlement.entry, before=before):
        available[hold.account] += left
    lines = []
    for account, back in _given_back(session, settlement.entry, before).items():
        lines += [debit(VOIDED_TO, asset, back), credit(account, asset, back)]
        available[account] += back
        taken[VOIDED_TO] = taken.get(VOIDED_TO, 0) + back
    made = merged([*lines, *_made_good(taken, available, asset)])
    return Shortfall(made, sorted(_new_holds(made), key=lambda hold: split_name(hold.account)[1] or ""))


def _taken(lines: Iterable[Line]) -> dict[str, int]:
    """What the reversal takes from accounts that may not go below nothing."""
    return {
        line.account: line.amount
        for line in lines
        for kind in [KINDS[split_name(line.account)[0]]]
        if kind.floor is not None and line.side != kind.normal_side and line.account != "escrow"
    }


def _given_back(session: Session, settlement: int, before: int | None) -> dict[str, int]:
    """What was voided or expired of a settlement's holds, and not restored since, by the account of the hold."""
    made = {hold.id: hold for hold in holds.made_by(session, settlement)}
    changes: dict[tuple[int, int], tuple[str, int]] = {}
    for batch in batches(made, _BATCH):
        query = select(HoldChange).where(col(HoldChange.hold).in_(batch))
        if before is not None:
            query = query.where(HoldChange.entry < before)
        changes |= {(row.entry, row.hold): (row.change, row.amount) for row in session.exec(query)}
    back: dict[str, int] = defaultdict(int)
    for (entry, hold), (change, amount) in changes.items():
        sign = 1
        if change == RESTORED:
            change, sign = changes[_reversed_by(session, entry), hold][0], -1
        if change in (holds.VOIDED, holds.EXPIRED):
            back[made[hold].account] += sign * amount
    return {account: amount for account, amount in sorted(back.items()) if amount}


def _reversed_by(session: Session, entry: int) -> int:
    """The entry that this one reverses."""
    return journal.entry(session, entry).reverses or 0


def _made_good(taken: Mapping[str, int], available: dict[str, int], asset: str) -> Iterator[Line]:
    for account, amount in sorted(taken.items()):
        kind, contributor = split_name(account)
        short = amount - available.get(account, 0)
        if kind == "receivable" and short > 0:
            payable = f"payable:{contributor}"
            yield debit(account, asset, short)
            yield credit(payable, asset, short)
            available[account] = amount
            available[payable] = available.get(payable, 0) + short
    spare = {account: held - taken.get(account, 0) for account, held in available.items()}
    for account, amount in sorted(taken.items()):
        kind, contributor = split_name(account)
        short = amount - available.get(account, 0)
        if short <= 0:
            continue
        yield credit(account, asset, short)
        if contributor is None:
            yield debit(_MADE_GOOD_BY[kind], asset, short)
            continue
        payable = f"payable:{contributor}"
        used = max(min(spare.get(payable, 0), short), 0)
        spare[payable] = spare.get(payable, 0) - used
        yield debit(payable, asset, used)
        yield debit(f"receivable:{contributor}", asset, short - used)


def _new_holds(lines: Iterable[Line]) -> Iterator[NewHold]:
    for line in lines:
        kind, contributor = split_name(line.account)
        if kind in PURPOSES:
            payable = f"payable:{contributor}"
            yield NewHold(PURPOSES[kind], line.account, VOIDED_TO, payable, line.commodity, line.amount)
