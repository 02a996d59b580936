"""Holds: what is left of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.ledger.reliability.model.journal import CHART, HELD, LARGEST, Account, Journal, RefusedError, kind_of

Step = tuple[int, str, int | None]  # a hold's number, what becomes of it, and how much of it if not all


@dataclass
class Hold:
    """What is left of a hold."""

    account: str
    origin: str
    destination: str
    commodity: str
    amount: int
    release_at: str | None = None
    expires_at: str | None = None
    purpose: str = "payout"
    taken: int = 0

    @property
    def between(self) -> tuple[str, str]:
        return self.origin, self.destination

    @property
    def left(self) -> int:
        return self.amount - self.taken


@dataclass
class Holding(Journal):
    """The journal, and what is set aside in it."""

    holds: dict[int, Hold] = field(default_factory=dict)
    given_back: dict[int, int] = field(default_factory=dict)  # of holds: voided or expired, and not restored

    def set_aside(self, account: Account) -> bool:
        return any(
            hold.left and account in [(name, hold.commodity) for name in (hold.account, *hold.between)]
            for hold in self.holds.values()
        )

    def open_hold(self, key: str, hold: Hold) -> int:
        """Set money aside."""
        if (
            kind_of(hold.account) not in HELD
            or any(kind_of(name) in HELD or CHART[kind_of(name)][0] != "credit" for name in hold.between)
            or not 0 < hold.amount <= LARGEST
            or (hold.release_at and hold.expires_at and hold.release_at >= hold.expires_at)
        ):
            raise RefusedError("HoldError")
        lines = {(hold.origin, hold.commodity): hold.amount, (hold.account, hold.commodity): -hold.amount}
        known = len(self.entries)
        sequence = self.post("hold", key, tuple(vars(hold).values()), lines, pending=True)
        if sequence > known:
            self.holds[len(self.holds) + 1] = hold
            self.entries[-1].made.append(len(self.holds))
        return sequence

    def change_holds(
        self,
        key: str,
        steps: Sequence[Step],
        event_at: str | None = None,
        *,
        kind: str = "change",
        to: Mapping[int, Mapping[str, int]] | None = None,
    ) -> int:
        """Post holds to where they were meant to go, or elsewhere, or give them back: whole or in part."""
        if key in self.keys:
            return self._changed_before(key, steps, event_at, kind)
        at = self.now if event_at is None else event_at
        lines: dict[Account, int] = {}
        took: dict[int, int] = {}
        for number, change, amount in steps:
            hold = self.holds.get(number)
            if hold is None or number in took:
                raise RefusedError("HoldError")
            took[number] = hold.left if amount is None else amount
            if not 0 < took[number] <= hold.left:
                raise RefusedError("HoldError")
            if change == "posted" and hold.release_at is not None and at < hold.release_at:
                raise RefusedError("HoldError")
            if change == "expired" and (hold.expires_at is None or at < hold.expires_at):
                raise RefusedError("HoldError")
            hold.taken += took[number]
            sent = (to or {}).get(number) or {hold.destination if change == "posted" else hold.origin: took[number]}
            for name, moved in [(hold.account, took[number]), *((name, -part) for name, part in sent.items())]:
                lines[name, hold.commodity] = lines.get((name, hold.commodity), 0) + moved
        content = [(number, change, took[number]) for number, change, _ in steps]
        sequence = self.post(kind, key, content, lines, event_at=event_at, pending=True)
        self.entries[-1].took = took
        for number, change, taken in content:
            self.given_back[number] = self.given_back.get(number, 0) + (taken if change != "posted" else 0)
        self.entries[-1].gave_back = {number: taken for number, change, taken in content if change != "posted"}
        return sequence

    def expire_due(self) -> int | None:
        """Give back every hold whose time is over, but for those that touch an account that is shut."""
        due = [
            (number, "expired", hold.left)
            for number, hold in self.holds.items()
            if hold.left
            and hold.expires_at is not None
            and hold.expires_at <= self.now
            and not {(hold.account, hold.commodity), (hold.origin, hold.commodity)} & self.shut.keys()
        ]
        return self.change_holds(f"expiry {len(self.entries)}", due, kind="expiry") if due else None

    def is_waited_on(self, account: Account) -> bool:
        return any(
            hold.left and hold.commodity == account[1] and account[0] in (hold.account, *hold.between)
            for hold in self.holds.values()
        )

    def _changed_before(self, key: str, steps: Sequence[Step], event_at: str | None, kind: str) -> int:
        sequence = self.keys[key]
        was_kind, done, _, stated_at = self.entries[sequence - 1].content
        if kind != was_kind or stated_at != event_at or len(done) != len(steps):
            raise RefusedError("IdempotencyConflictError", "HoldError", "FutureEventError")
        for asked, was in zip(steps, done, strict=True):
            if asked[:2] != was[:2] or asked[2] not in (None, was[2]):
                raise RefusedError("IdempotencyConflictError", "HoldError", "FutureEventError")
        return sequence

    def reverse(self, sequence: int, reason: str, *, besides: Sequence[int] | None = None) -> int:
        """Append an entry's mirror image: what it made of holds is void then, what it took from holds is back.

        With `besides`, what has gone on of its own holds is made good by these.
        """
        if not 1 <= sequence <= len(self.entries):
            raise RefusedError("UnknownEntryError")
        entry = self.entries[sequence - 1]
        if entry.reversed_by is not None:
            if self.entries[entry.reversed_by - 1].content[1] != reason:
                raise RefusedError("ReversalError")
            return entry.reversed_by
        if (
            entry.kind == "reversal"
            or not entry.lines
            or (besides is None and any(self.holds[made].taken for made in entry.made))
        ):
            raise RefusedError("ReversalError")
        for made in [*entry.made, *(besides or ())]:
            self.holds[made].taken = self.holds[made].amount
        for number, amount in entry.took.items():
            self.holds[number].taken -= amount
            self.given_back[number] -= entry.gave_back.get(number, 0)
        lines = {account: -amount for account, amount in entry.lines.items()}
        return self.post("reversal", f"reversal:{sequence}", reason, lines, reverses=sequence, pending=True)
