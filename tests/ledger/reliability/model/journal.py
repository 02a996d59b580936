"""The journal and its accounts as dictionaries of whole numbers: what every balance must be, and what must be refused.

Nothing here comes from the ledger: the chart of accounts, what each request does to it, and when it is refused are
written down a second time, by hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

# kind: (normal side, whether each contributor has one, floor)
CHART: dict[str, tuple[str, bool, int | None]] = {
    "improvement": ("debit", False, None),
    "value": ("credit", True, None),
    "house": ("credit", False, None),
    "gap": ("credit", False, None),
    "buyer": ("debit", False, None),
    "bank": ("debit", False, None),
    "paid": ("credit", True, 0),
    "escrow": ("credit", False, 0),
    "payable": ("credit", True, 0),
    "receivable": ("debit", True, 0),
    "accrued": ("credit", True, 0),
    "holdback": ("credit", True, 0),
    "vesting": ("credit", True, 0),
    "stopped": ("credit", True, 0),
    "disputed": ("credit", True, 0),
    "publishing": ("credit", True, 0),
    "in_flight": ("credit", True, 0),
    "stake": ("credit", True, 0),
    "fee": ("credit", False, None),
    "withheld": ("credit", False, 0),
    "surplus": ("credit", False, 0),
    "house_disputed": ("credit", False, 0),
    "conversion": ("credit", False, None),
}
HELD = {
    "holdback",
    "vesting",
    "stopped",
    "disputed",
    "house_disputed",
    "publishing",
    "in_flight",
}  # accounts that holds fill
LARGEST = 2**256 - 1
EXPONENTS = {"nat": 12, "EUR": 2, "JPY": 0, "WEI": 18}

ANY = "any reason"

Account = tuple[str, str]  # name, commodity
Lines = Mapping[Account, int]  # debits positive, credits negative


def kind_of(name: str) -> str:
    """The kind of account that a name begins with."""
    return name.partition(":")[0]


class RefusedError(Exception):
    """What must be refused, by an error of one of these classes."""

    def __init__(self, *classes: str) -> None:
        self.classes = classes
        super().__init__(" or ".join(classes))


@dataclass
class Entry:
    """An entry: what it moved, and when."""

    kind: str
    content: Any
    lines: dict[Account, int]
    event_at: str
    recorded_at: str
    reversed_by: int | None = None
    made: list[int] = field(default_factory=list)  # holds
    took: dict[int, int] = field(default_factory=dict)  # from holds
    gave_back: dict[int, int] = field(default_factory=dict)  # to where they came from


@dataclass
class Journal:
    """Entries and accounts. Methods are requests; each returns the number of the last entry it made or found."""

    entries: list[Entry] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    held: dict[Account, int] = field(default_factory=dict)  # on the normal side
    floors: dict[Account, int | None] = field(default_factory=dict)
    shut: dict[Account, str] = field(default_factory=dict)
    commodities: set[str] = field(default_factory=set)
    contributors: dict[str, str] = field(default_factory=dict)
    closed_through: str = ""
    closed: list[str] = field(default_factory=list)
    now: str = ""

    @property
    def recorded_now(self) -> str:
        return max(self.now, self.entries[-1].recorded_at) if self.entries else self.now

    def post(
        self,
        kind: str,
        key: str,
        content: Any,
        lines: Lines,
        *,
        event_at: str | None = None,
        reverses: int | None = None,
        pending: bool = False,
    ) -> int:
        """Append an entry, or find the one that had this key. Only what is `pending` moves accounts of holds."""
        moved = {account: amount for account, amount in lines.items() if amount}
        if any(abs(amount) > LARGEST for amount in moved.values()):
            raise RefusedError("AmountError")
        if not pending and any(kind_of(name) in HELD for name, _ in moved):
            raise RefusedError("HeldAccountError")
        said = (kind, content, tuple(sorted(moved.items())), event_at)
        if key in self.keys:
            if self.entries[self.keys[key] - 1].content != said:
                raise RefusedError("IdempotencyConflictError")
            return self.keys[key]
        if event_at is not None and event_at > self.recorded_now:
            raise RefusedError("FutureEventError")
        self._move(moved)
        happened = self.recorded_now if event_at is None or event_at <= self.closed_through else event_at
        self.entries.append(Entry(kind, said, moved, happened, self.recorded_now))
        self.keys[key] = len(self.entries)
        if reverses is not None:
            self.entries[reverses - 1].reversed_by = len(self.entries)
        return len(self.entries)

    def _move(self, lines: Lines) -> None:
        # Which of several reasons is named does not matter here, that there is one does.
        reasons = [reason for account, amount in lines.items() for reason in self._objections(account, amount)]
        if reasons:
            raise RefusedError(*reasons)
        for account, amount in lines.items():
            self.floors.setdefault(account, CHART[kind_of(account[0])][2])
            self.held[account] = self.held.get(account, 0) + self._change(account, amount)

    def _objections(self, account: Account, amount: int) -> Iterable[str]:
        kind, _, owner = account[0].partition(":")
        if kind not in CHART or CHART[kind][1] != bool(owner):
            yield "AccountError"
            return
        if owner and owner not in self.contributors:
            yield "UnknownContributorError"
        if account[1] not in self.commodities:
            yield "AssetError"
        if account in self.shut:
            yield "AccountShutError"
        floor = self.floors.get(account, CHART[kind][2])
        if floor is not None and self.held.get(account, 0) + self._change(account, amount) < floor:
            yield "AccountLimitError"

    def _change(self, account: Account, amount: int) -> int:
        return amount if CHART[kind_of(account[0])][0] == "debit" else -amount

    def balances(self, *, event_at: str | None = None, recorded_at: str | None = None) -> dict[Account, int]:
        """What every account held, by adding up entries: until something happened, or was recorded."""
        held: dict[Account, int] = {}
        for entry in self.entries:
            if (event_at is None or entry.event_at <= event_at) and (
                recorded_at is None or entry.recorded_at <= recorded_at
            ):
                for account, amount in entry.lines.items():
                    held[account] = held.get(account, 0) + self._change(account, amount)
        return held

    def say(self, kind: str, times: int = 1) -> int:
        """Entries that move nothing."""
        for _ in range(times):
            self.post(kind, f"{kind} {len(self.entries)}", None, {})
        return len(self.entries)

    def use_asset(self, code: str) -> int:
        """A commodity, made at its first use."""
        if code not in self.commodities:
            self.commodities.add(code)
            self.say("commodity")
        return len(self.entries)

    # Accounts

    def change_account(self, account: Account, change: str) -> None:
        """Freeze an account, or free it."""
        needed = {"frozen": None, "freed": "frozen"}[change]
        if account not in self.held and account not in self.floors:
            raise RefusedError("AccountError")
        if self.shut.get(account) != needed:
            raise RefusedError("AccountError")
        if change == "frozen":
            self.shut[account] = "frozen"
        else:
            del self.shut[account]
        self.say("account change")

    def close_account(self, account: Account, sweep_to: str) -> None:
        """Close an account for good; what is left on it goes elsewhere."""
        if account not in self.floors or account in self.shut:
            raise RefusedError("AccountError", "AccountShutError", "HeldAccountError")
        held = self.held.get(account, 0)
        if self.is_waited_on(account) or (held and sweep_to == account[0]):
            raise RefusedError("AccountError")
        if held:
            amount = held if self._change(account, 1) == 1 else -held
            self.post("sweep", f"sweep:{account}", None, {account: -amount, (sweep_to, account[1]): amount})
        self.shut[account] = "closed"
        self.say("account change")

    def is_waited_on(self, account: Account) -> bool:
        """Whether a hold is open that lies there, comes from there or is meant for it."""
        return False

    def set_aside(self, account: Account) -> bool:
        """Whether there is a hold that lies there, comes from there or is meant for it."""
        return False

    def open_account(self, account: Account, floor: int | None) -> None:
        """Open an account with a floor of its own."""
        if account in self.floors:
            raise RefusedError("AccountError")
        if reasons := [reason for reason in self._objections(account, 0) if reason != "AccountLimitError"]:
            raise RefusedError(*reasons)
        self.floors[account] = floor
        self.held[account] = 0
        self.say("account")

    def convert(self, key: str, name: str, given: int, commodity: str, wanted: str, rate: str) -> int:
        """Exchange what an account holds for another asset, rounded down."""
        whole = Fraction(given, 10 ** EXPONENTS[commodity]) * Fraction(rate)
        received = math.floor(whole * 10 ** EXPONENTS[wanted])
        if wanted == commodity or not 0 < received <= LARGEST:
            raise RefusedError("AmountError")
        if name == "conversion":
            raise RefusedError("AccountError")
        self.use_asset(commodity)
        self.use_asset(wanted)
        sign = -1 if self._change((name, ""), 1) == 1 else 1
        lines = {
            (name, commodity): sign * given,
            ("conversion", commodity): -sign * given,
            ("conversion", wanted): sign * received,
            (name, wanted): -sign * received,
        }
        return self.post("conversion", key, (name, rate), lines)

    # Periods

    def close_period(self, through: str) -> None:
        """Seal what happened until and including an instant."""
        if through in self.closed:
            return
        if through < self.closed_through or through >= self.now:
            raise RefusedError("PeriodError")
        self.closed_through = through
        self.closed.append(through)
        self.say("period")
