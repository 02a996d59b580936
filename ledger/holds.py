"""Money set aside: pending until it is posted to where it was meant to go, voided, or expired back to its origin.

A hold lies in an account of its own kind (`holdback:alice`), so the books balance at every moment; each change is a
new entry, for the whole of what is left or a part. An entry makes holds by stating them in its payload or in its
parts under "holds" (`stated`), crediting their accounts, and `record`. Reversing it voids them; reversing a change
restores what it took. `ledger/pending.py` says what entries say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from ledger import accounts, journal
from ledger.batches import batches
from ledger.bulk import add_rows
from ledger.errors import FutureEventError, HoldError, ReversalError
from ledger.held import left_of, made_by, open_holds, remaining, rows
from ledger.instants import format_instant, parse_instant
from ledger.lines import Line, credit, debit
from ledger.models import Hold, HoldChange
from ledger.pending import EXPIRED, POSTED, RESTORED, VOIDED, Change, NewHold, stated, stated_change

__all__ = [
    "EXPIRED",
    "EXPIRY",
    "OPENED",
    "POSTED",
    "RESTORED",
    "VOIDED",
    "Change",
    "Expired",
    "NewHold",
    "change",
    "expire_due",
    "hold_all",
    "left_of",
    "made_by",
    "open_hold",
    "open_holds",
    "record",
    "remaining",
    "reverse",
    "stated",
]

OPENED, EXPIRY = "hold", "expiry"  # kinds of entries
Destinations = Sequence[tuple[str, int]]  # accounts, and how much of a hold goes to each

_ROWS = 10_000  # of one insert


@dataclass(frozen=True)
class Expired:
    """The holds that were given back and by which entry, None where there was none; and which were not, and why."""

    entry: int | None
    holds: list[tuple[Hold, int]]
    kept: list[tuple[Hold, str]]


# Making


def open_hold(
    session: Session,
    hold: NewHold,
    *,
    key: str,
    reason: str | None = None,
    reference: str | None = None,
    event_at: date | datetime | str | None = None,
) -> Hold:
    """Set money aside by an entry of its own: debit the origin, credit the hold's account. The same again, the first.

    Raises `AccountLimitError` where the origin holds less, and what `journal.post` does.
    """
    said = {"reason": reason, "reference": reference, "event_at": event_at}
    posted = hold_all(session, [hold], kind=OPENED, subject=hold.account, key=key, **said)
    return made_by(session, posted.entry.sequence)[0]


def hold_all(
    session: Session, holds: Sequence[NewHold], *, kind: str, subject: str, key: str, **said: Any
) -> journal.Posted:
    """Set money aside for many by one entry. `said` is what else `journal.post` takes, a payload included."""
    payload = {**said.pop("payload", {}), "holds": [stated(hold) for hold in holds]}
    lines = [line for hold in holds for line in hold.lines]
    posted = journal.post(session, kind=kind, subject=subject, key=key, payload=payload, lines=lines, **said)
    if not posted.repeated:
        record(session, posted.entry.sequence, holds)
    return posted


def record(session: Session, entry: int, holds: Iterable[NewHold]) -> range:
    """Add the rows of holds that an entry made, in the order in which it states them; returns their numbers."""
    first = after = (session.exec(select(func.max(Hold.id))).one() or 0) + 1
    for batch in batches(holds, _ROWS):
        rows = [{"id": after + place, "entry": entry, **asdict(hold)} for place, hold in enumerate(batch)]
        add_rows(session.connection(), Hold, rows)
        after += len(rows)
    return range(first, after)


# Changing


def change(
    session: Session,
    changes: Sequence[Change],
    *,
    kind: str,
    subject: str,
    key: str,
    reason: str | None = None,
    reference: str | None = None,
    event_at: date | datetime | str | None = None,
    destinations: Mapping[int, Destinations] | None = None,
) -> journal.Posted:
    """Post, void or expire holds, by one entry. The same request again returns the first, whatever is left now.

    `destinations` sends what is posted of a hold elsewhere than planned, as (account, amount) that sum to it: to the
    payees of an estate. Raises `HoldError` for a hold that there is not or that is named twice, for more than is left,
    for a posting before the release date, and for an expiry before its time; and what `journal.post` does.
    """
    held = rows(session, [step.hold for step in changes])
    earlier = journal.by_key(session, key)
    if earlier is None:
        left = remaining(session, held)
    else:  # what it took then, so that the same request has the same content
        said = json.loads(earlier.payload).get("hold_changes", [])
        left = dict.fromkeys(held, 0) | {int(one["hold"]): int(one["amount"]) for one in said}
    steps = [replace(step, amount=left[step.hold] if step.amount is None else step.amount) for step in changes]
    at = format_instant(session.info["clock"]()) if event_at is None else parse_instant(event_at)
    lines: list[Line] = []
    stating: list[dict[str, Any]] = []
    for step in steps:
        hold, to = held[step.hold], (destinations or {}).get(step.hold)
        if earlier is None:
            _check(hold, step, left[step.hold], at, to)
        lines += _lines(hold, step, to)
        stating.append(stated_change(step, hold.account, hold.commodity, to))
    posted = journal.post(
        session,
        kind=kind,
        subject=subject,
        key=key,
        payload={"hold_changes": stating},
        lines=lines,
        reason=reason,
        reference=reference,
        event_at=event_at,
    )
    if not posted.repeated:
        _record_changes(session, posted.entry.sequence, steps)
    return posted


def expire_due(session: Session, at: date | datetime | str | None = None, *, reason: str | None = None) -> Expired:
    """Give back every hold whose time is over, all by one entry; asked again, nothing is due.

    `at` is an instant that has come, by default now. A hold that touches a frozen or closed account is kept, so that
    it does not keep back the others. Raises `FutureEventError`, and what `journal.post` does.
    """
    now = format_instant(session.info["clock"]())
    moment = now if at is None else parse_instant(at)
    if moment > now:
        raise FutureEventError(EXPIRY, moment, now)
    due = list(open_holds(session, expired_by=moment).values())
    keys = {hold.id: [(hold.account, hold.commodity), (hold.origin, hold.commodity)] for hold, _ in due}
    shut = accounts.shut(session, (key for pair in keys.values() for key in pair))
    kept = [(hold, f"{key[0]} is {shut[key]}") for hold, _ in due for key in keys[hold.id] if key in shut]
    left_alone = {hold.id for hold, _ in kept}
    done = [(hold, left) for hold, left in due if hold.id not in left_alone]
    if not done:
        return Expired(None, [], kept)
    posted = change(
        session,
        [Change(hold.id, EXPIRED, left) for hold, left in done],
        kind=EXPIRY,
        subject=", ".join(sorted({hold.purpose for hold, _ in done})),
        key=f"{EXPIRY}:{journal.head(session)[0] + 1}",  # whoever asks again finds nothing due
        reason=reason,
    )
    return Expired(posted.entry.sequence, done, kept)


def reverse(
    session: Session,
    sequence: int,
    reason: str,
    *,
    event_at: date | datetime | str | None = None,
    besides: Iterable[int] = (),
) -> journal.Posted:
    """Reverse any entry: what is left of the holds that it made is voided, and what it took from holds is restored.

    Where some of its holds has gone on, `besides` are holds that make good for that and are voided too. Raises what
    `journal.reverse` does, and `ReversalError` where a hold was changed since: that has to be reversed first.
    """
    earlier = journal.reversal_of(session, sequence)
    if earlier is not None:
        return journal.reverse(session, sequence, reason, event_at=event_at, also=json.loads(earlier.payload))
    own, others = [hold.id for hold in made_by(session, sequence)], list(besides)
    made = rows(session, [*own, *others])
    left = remaining(session, made)
    for id in own:
        if left[id] != made[id].amount and not others:
            raise ReversalError(sequence, f"hold {id}, which it made, was changed since; reverse that first")
    steps = [Change(id, VOIDED, amount) for id, amount in sorted(left.items()) if amount]
    taken = select(HoldChange.hold, HoldChange.amount).where(HoldChange.entry == sequence)
    steps += [Change(id, RESTORED, amount) for id, amount in session.exec(taken.order_by(col(HoldChange.hold)))]
    made |= rows(session, [step.hold for step in steps if step.change == RESTORED])
    stating = [stated_change(step, made[step.hold].account, made[step.hold].commodity) for step in steps]
    also = {"hold_changes": stating} if stating else None
    posted = journal.reverse(session, sequence, reason, event_at=event_at, also=also)
    _record_changes(session, posted.entry.sequence, steps)
    return posted


# What entries do


def _check(hold: Hold, step: Change, left: int, at: str, to: Destinations | None) -> None:
    if step.change not in (POSTED, VOIDED, EXPIRED):
        raise HoldError(hold.id, f"can be posted, voided or expired, and not {step.change!r}")
    if not 0 < (step.amount or 0) <= left:
        raise HoldError(hold.id, f"{step.amount} is not between 1 and the {left} that are left of it (smallest units)")
    if step.change == POSTED and hold.release_at is not None and at < hold.release_at:
        raise HoldError(hold.id, f"is kept until {hold.release_at}, and it is {at}")
    if step.change == EXPIRED and (hold.expires_at is None or at < hold.expires_at):
        raise HoldError(hold.id, f"has not expired: {hold.expires_at or 'it never does'}")
    if to is not None and (step.change != POSTED or any(part <= 0 for _, part in to)):
        raise HoldError(hold.id, "is sent on in parts above zero, and only where it is posted")
    if to is not None and sum(part for _, part in to) != step.amount:
        raise HoldError(hold.id, f"{step.amount} cannot be sent on in parts that sum to something else")


def _lines(hold: Hold, step: Change, to: Destinations | None) -> Iterator[Line]:
    amount = step.amount or 0
    yield debit(hold.account, hold.commodity, amount)
    for account, part in to or [(hold.destination if step.change == POSTED else hold.origin, amount)]:
        yield credit(account, hold.commodity, part)


def _record_changes(session: Session, entry: int, steps: Iterable[Change]) -> None:
    add_rows(session.connection(), HoldChange, ({"entry": entry, **asdict(step)} for step in steps))
