"""What is published on a chain, and claimed there: one distributor, of euros."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.ledger.reliability.model.holds import Hold
from tests.ledger.reliability.model.journal import LARGEST, Account, RefusedError
from tests.ledger.reliability.model.settlements import Books as Settling

ASSET = "EUR"
AFTER = {
    "published": ("intended",),
    "activated": ("published",),
    "revoked": ("intended", "published"),
    "abandoned": ("intended",),
}
DELAY = timedelta(days=7)


@dataclass
class Publication:
    """What was to be published: by whom, at which address, how much, and in which hold it lies."""

    entry: int
    root_id: int
    leaves: dict[str, tuple[str, int]]
    holds: dict[str, int]
    state: str = "intended"
    ends: dict[str, int] = field(default_factory=dict)


@dataclass
class Books(Settling):
    """The whole ledger."""

    distributor: bool = False
    addresses: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)  # label, asked at, effective at
    publications: list[Publication] = field(default_factory=list)
    claims: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)  # by address and sum: entry, amount

    def register_distributor(self) -> None:
        """The one that there is."""
        if not self.distributor:
            self.distributor = True
            self.say("distributor")

    # Addresses

    def address_of(self, name: str) -> tuple[str | None, bool]:
        """The address in force, and whether another is to replace it."""
        in_force, waiting = None, None
        for label, asked_at, effective_at in self.addresses.get(name, []):
            if waiting is not None and waiting[1] <= asked_at:
                in_force = waiting[0]
            waiting = (label, effective_at)
        if waiting is not None and waiting[1] <= self.recorded_now:
            return waiting[0], False
        return in_force, waiting is not None

    def set_address(self, name: str, label: str) -> None:
        """An address, of which there may be an earlier one."""
        if any(other != name and label in [row[0] for row in rows] for other, rows in self.addresses.items()):
            raise RefusedError("PayoutAddressError")
        rows = self.addresses.setdefault(name, [])
        if rows and rows[-1][0] == label:
            return
        asked_at = self.recorded_now
        later = datetime.fromisoformat(asked_at) + DELAY
        effective_at = later.isoformat(timespec="microseconds").replace("+00:00", "Z") if rows else asked_at
        rows.append((label, asked_at, effective_at))
        self.say("payout address")

    # Publications

    def standing(self) -> dict[str, int]:
        """What was published for each address, and stands."""
        sums: dict[str, int] = {}
        for made in self.publications:
            if made.state not in ("revoked", "abandoned"):
                for label, amount in made.leaves.values():
                    sums[label] = sums.get(label, 0) + amount
        return sums

    def due(self) -> dict[str, tuple[str, int]]:
        """Who is to be paid where, and how much."""
        kept = {
            side for one in self.disputes.values() if one.outcome is None for side in (one.claimant, one.respondent)
        }
        for owner, changes in self.datasets.values():
            if [change for change, since in changes if since <= self.recorded_now][-1:] == ["withdrawn"]:
                kept.add(owner)
        found = {}
        for name in sorted(self.contributors):
            label, changing = self.address_of(name)
            kinds = ("payable", "publishing", "in_flight", "paid")
            shut = any((f"{kind}:{name}", ASSET) in self.shut for kind in kinds)
            amount = self.held.get((f"payable:{name}", ASSET), 0)
            if amount and label is not None and not changing and name not in kept and not shut:
                found[name] = (label, amount)
        return found

    def intend(self, root_id: int) -> int:
        """Set aside what is due."""
        last = self.publications[-1] if self.publications else None
        if last is not None and last.state in ("intended", "published"):
            raise RefusedError("PublicationOpenError")
        if root_id <= max((one.root_id for one in self.publications if one.state != "abandoned"), default=0):
            raise RefusedError("PublicationError")
        due = self.due()
        if not due:
            raise RefusedError("NothingDueError")
        if sum(self.standing().values()) + sum(amount for _, amount in due.values()) > LARGEST:
            raise RefusedError("ClaimTreeError")
        lines: dict[Account, int] = {}
        for name, (_, amount) in due.items():
            lines |= {(f"payable:{name}", ASSET): amount, (f"publishing:{name}", ASSET): -amount}
        entry = self.post("publication", f"publication {root_id} {len(self.publications)}", None, lines, pending=True)
        made = Publication(entry, root_id, due, {})
        self._set_aside(made, entry, "publishing", "publication")
        self.publications.append(made)
        return entry

    def end_of(self, entry: int, change: str) -> int:
        """What became of a publication."""
        made = next(one for one in self.publications if one.entry == entry)
        if change in made.ends:
            return made.ends[change]
        if made.state not in AFTER[change]:
            raise RefusedError("PublicationError")
        if any(self.holds[number].taken for number in made.holds.values()):
            raise RefusedError("PublicationError")
        frm = "publishing" if made.state == "intended" else "in_flight"
        to = "in_flight" if change == "published" else "payable"
        lines: dict[Account, int] = {}
        if change != "activated":
            for name, (_, amount) in made.leaves.items():
                lines |= {(f"{frm}:{name}", ASSET): amount, (f"{to}:{name}", ASSET): -amount}
        entry = self.post(change, f"{change} {made.entry}", None, lines, pending=True)
        if change != "activated":
            for number in made.holds.values():
                self.holds[number].taken = self.holds[number].amount
        if change == "published":
            self._set_aside(made, entry, "in_flight", "claim")
        made.state = change
        made.ends[change] = entry
        return entry

    def _set_aside(self, made: Publication, entry: int, kind: str, purpose: str) -> None:
        for name, (_, amount) in made.leaves.items():
            hold = Hold(f"{kind}:{name}", f"payable:{name}", f"paid:{name}", ASSET, amount, purpose=purpose)
            number = len(self.holds) + 1
            self.holds[number] = hold
            made.holds[name] = number
            self.entries[entry - 1].made.append(number)

    # Claims

    def claimable(self) -> Mapping[str, list[tuple[str, int]]]:
        """By address: whose it is, and the holds of what was published for it and stands."""
        found: dict[str, list[tuple[str, int]]] = {}
        for made in self.publications:
            if made.state in ("published", "activated"):
                for name, (label, _) in made.leaves.items():
                    found.setdefault(label, []).append((name, made.holds[name]))
        return found

    def claimed(self, label: str) -> int:
        """What was claimed for an address."""
        return sum(amount for (one, _), (_, amount) in self.claims.items() if one == label)

    def claim(self, label: str, amount: int, cumulative: int) -> int:
        """What the distributor paid."""
        if (label, cumulative) in self.claims:
            entry, before = self.claims[label, cumulative]
            if before != amount:
                raise RefusedError("IdempotencyConflictError")
            return entry
        holds = self.claimable().get(label, [])
        left = sum(self.holds[number].left for _, number in holds)
        if self.claimed(label) + amount != cumulative or not 0 < amount <= left:
            raise RefusedError("ChainClaimError")
        name = holds[0][0]
        lines = {(f"in_flight:{name}", ASSET): amount, (f"paid:{name}", ASSET): -amount}
        entry = self.post("claim", f"claim {label} {cumulative}", None, lines, pending=True)
        for _, number in holds:
            taken = min(amount, self.holds[number].left)
            self.holds[number].taken += taken
            amount -= taken
        self.claims[label, cumulative] = entry, sum(-moved for (kind, _), moved in lines.items() if "paid" in kind)
        return entry
