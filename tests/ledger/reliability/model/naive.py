"""A settlement worked out the slow way, in fractions and dictionaries. Nothing here comes from the ledger.

Policies are their stated form, ``{"policy": name, ...}``. Money is in minor units, values in 1e-12 nat.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

NAT = 10**12


def divide(exact: Mapping[Any, Fraction], total: int) -> dict[Any, int]:
    """Whole parts that sum to the total: floors, and a unit more to whoever is then furthest below their due."""
    parts = {key: math.floor(share) for key, share in exact.items()}
    for _ in range(total - sum(parts.values())):
        parts[min(parts, key=lambda key: (parts[key] - exact[key], key))] += 1
    return parts


def proportional(total: int, weights: Mapping[Any, int]) -> dict[Any, int]:
    whole = sum(weights.values())
    return divide({key: Fraction(total * weight, whole) for key, weight in weights.items()}, total)


@dataclass
class Standing:
    """Where contributors stand before a settlement."""

    owed: Mapping[str, int] = field(default_factory=dict)
    staked: Mapping[str, int] = field(default_factory=dict)
    accrued: Mapping[str, int] = field(default_factory=dict)
    stopped: Iterable[str] = ()
    estates: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass
class Home:
    """A part that did not become payable: on which kind of account it lies, and until when it is held there."""

    contributor: str
    kind: str
    amount: int
    release_at: str | None = None


@dataclass
class Worked:
    """What a settlement comes to: credits by account (a debit is negative), without escrow, and where the parts are."""

    funded: int
    credits: dict[str, int] = field(default_factory=dict)
    homes: list[Home] = field(default_factory=list)

    def credit(self, account: str, amount: int) -> None:
        self.credits[account] = self.credits.get(account, 0) + amount


def work_out(
    values: Mapping[str, int],
    house: int,
    gap: int,
    *,
    mode: str,
    amount: int,
    negative: str,
    fee_basis_points: int,
    policies: Sequence[Mapping[str, Any]] = (),
    standing: Standing | None = None,
) -> Worked:
    """Every credit of a settlement entry. The credits and what escrow gives, `funded`, come to the same."""
    at = standing or Standing()
    if mode == "pool":
        fee = math.floor(Fraction(amount * fee_basis_points, 10_000))
        positive = {name: value for name, value in values.items() if value > 0}
        price = Fraction(amount - fee, sum(positive.values()))
        shares = proportional(amount - fee, positive)
        shares |= {name: -math.floor(-value * price) for name, value in values.items() if value <= 0}
        houses, gaps, funded = -sum(share for share in shares.values() if share < 0), 0, amount
    else:
        priced = {(0, name): Fraction(amount * value, NAT) for name, value in values.items()}
        priced |= {(1, ""): Fraction(amount * house, NAT), (2, ""): Fraction(amount * gap, NAT)}
        total = math.floor(sum(priced.values()))
        parts = divide(priced, total)
        shares = {name: parts[0, name] for name in values}
        houses, gaps = parts[1, ""], parts[2, ""]
        fee = math.floor(Fraction(max(total, 0) * fee_basis_points, 10_000))
        funded = total + fee
    worked = Worked(funded)
    for name, share in shares.items():
        debt = max(-share, 0)
        if negative == "carry":
            worked.credit(f"receivable:{name}", -debt)
        else:
            taken = min(debt, at.staked.get(name, 0)) if negative == "slash" else 0
            worked.credit(f"stake:{name}", -taken)
            houses -= debt - taken
    due = {name: max(share, 0) for name, share in shares.items()}
    whole = sum(due.values())
    _Dues(worked, due, dict(at.owed), dict(at.accrued), set(at.stopped)).follow(policies, whole)
    for name, rest in due.items():
        payees = at.estates.get(name)
        for payee, part in (proportional(rest, payees) if payees else {name: rest}).items():
            worked.credit(f"payable:{payee}", part)
    worked.credit("fee", fee)
    worked.credit("house", houses)
    worked.credit("gap", gaps)
    return worked


@dataclass
class _Dues:
    worked: Worked
    due: dict[str, int]
    owed: dict[str, int]
    accrued: dict[str, int]
    stopped: set[str]

    def follow(self, policies: Sequence[Mapping[str, Any]], whole: int) -> None:
        self._net()
        for policy in policies:
            getattr(self, "_" + policy["policy"].replace(" ", "_"))(policy, whole)
            self._net()

    def _net(self) -> None:
        for name in self.due:
            kept = min(self.owed.get(name, 0), self.due[name])
            self.owed[name] = self.owed.get(name, 0) - kept
            self.due[name] -= kept
            self.worked.credit(f"receivable:{name}", kept)

    def _send(self, name: str, kind: str, amount: int, release_at: str | None = None) -> None:
        if amount:
            self.due[name] -= amount
            shared = kind in ("surplus", "withheld")
            self.worked.credit(kind if shared else f"{kind}:{name}", amount)
            self.worked.homes.append(Home(name, kind, amount, release_at))

    def _cap(self, policy: Mapping[str, Any], whole: int) -> None:
        limit = int(policy["amount"]) if policy["amount"] is not None else whole * policy["basis_points"] // 10_000
        if not policy["redistribute"]:
            for name, amount in self.due.items():
                self._send(name, "surplus", max(amount - limit, 0))
            return
        excess = {name: amount - limit for name, amount in self.due.items() if amount > limit}
        below = {name: amount for name, amount in self.due.items() if amount}
        rest, full = sum(below.values()), []
        while over := [name for name in below if Fraction(below[name] * rest, sum(below.values())) > limit]:
            full += over
            below = {name: amount for name, amount in below.items() if name not in over}
            rest -= limit * len(over)
            if not below:
                break
        after = dict.fromkeys(full, limit) | (proportional(rest, below) if below else {})
        lost = sum(self.due.values()) - sum(after.values())
        for name, part in (proportional(lost, excess) if lost else {}).items():
            self._send(name, "surplus", part)
        for name in self.due:
            self.due[name] = after.get(name, 0)

    def _withholding(self, policy: Mapping[str, Any], whole: int) -> None:
        for name, amount in self.due.items():
            self._send(name, "withheld", amount * policy["basis_points"] // 10_000)

    def _minimum(self, policy: Mapping[str, Any], whole: int) -> None:
        for name, amount in self.due.items():
            before = self.accrued.get(name, 0)
            if amount + before < int(policy["amount"]):
                self._send(name, "accrued", amount)
            elif before:
                self.worked.credit(f"accrued:{name}", -before)
                self.due[name] += before
                self.accrued[name] = 0

    def _holdback(self, policy: Mapping[str, Any], whole: int) -> None:
        for name, amount in self.due.items():
            self._send(name, "holdback", amount * policy["basis_points"] // 10_000, policy["release_at"])

    def _vesting(self, policy: Mapping[str, Any], whole: int) -> None:
        for name, amount in self.due.items():
            parts = {place: one["parts"] for place, one in enumerate(policy["instalments"])}
            for place, part in proportional(amount, parts).items():
                if policy["instalments"][place]["release_at"] is not None:
                    self._send(name, "vesting", part, policy["instalments"][place]["release_at"])

    def _stop_payment(self, policy: Mapping[str, Any], whole: int) -> None:
        for name, amount in self.due.items():
            if name in self.stopped:
                self._send(name, "stopped", amount)
