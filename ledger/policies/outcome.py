"""A settlement's figures: values priced, negative shares treated, policies applied, the rest to the payees. Pure.

Each minor unit has a home. For every contributor::

    share + forgiven + carried + slashed + drawn + redistributed == netted + sum(parts) + paid

and over all of them redistributed sums to nothing, and ``funded == sum(share) + house + gap + fee``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ledger.accounts import KINDS, account_name
from ledger.errors import AmountError
from ledger.lines import Line, credit, debit, merged
from ledger.money import LARGEST_AMOUNT
from ledger.policies import MODES, TREATMENTS
from ledger.policies.estate import split
from ledger.policies.policy import Due, Part
from ledger.policies.terms import Terms, Worth


@dataclass(frozen=True)
class Standing:
    """What bears on a settlement besides values and terms: where contributors stand in its asset, in minor units.

    Whoever is not named owes, staked and accrued nothing, is not stopped, and is paid themselves.
    """

    owed: Mapping[str, int] = field(default_factory=dict)
    staked: Mapping[str, int] = field(default_factory=dict)
    accrued: Mapping[str, int] = field(default_factory=dict)
    stopped: Mapping[str, str] = field(default_factory=dict)  # why
    estates: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # payees and their parts


@dataclass(frozen=True)
class Payout:
    """What one contributor gets from one settlement, minor units."""

    contributor: str
    value: int  # 1e-12 nat, as settled
    share: int  # signed: what the value comes to
    forgiven: int  # of a negative share, borne by the house
    carried: int  # of a negative share, owed by the contributor
    slashed: int  # of a negative share, taken from the contributor's stake
    netted: int  # kept back for earlier debts
    drawn: int  # accrued before, and due now
    redistributed: int  # from others' caps, or, negative, given to others
    parts: tuple[Part, ...]  # what policies diverted, in their order
    payees: Mapping[str, int]  # payable now, by who is paid

    @property
    def paid(self) -> int:
        """Payable now, to all payees together."""
        return sum(self.payees.values())

    def at(self, home: str) -> int:
        """What was diverted to a home."""
        return sum(part.amount for part in self.parts if part.home == home)

    def stated(self) -> dict[str, Any]:
        """Every figure as JSON, amounts as decimal text; without the contributor."""
        return {
            **{name: str(getattr(self, name)) for name in _FIGURES},
            "parts": [
                {"home": part.home, "amount": str(part.amount), "release_at": part.release_at, "reason": part.reason}
                for part in self.parts
            ],
            "payees": {payee: str(amount) for payee, amount in self.payees.items()},
        }

    @classmethod
    def read(cls, contributor: str, stated: Mapping[str, Any]) -> Payout:
        """The payout that `stated` gave. Raises `KeyError`, `TypeError` or `ValueError`."""
        return cls(
            contributor=contributor,
            parts=tuple(
                Part(one["home"], int(one["amount"]), one["release_at"], one["reason"]) for one in stated["parts"]
            ),
            payees={payee: int(amount) for payee, amount in stated["payees"].items()},
            **{name: int(stated[name]) for name in _FIGURES},
        )


_FIGURES = ("value", "share", "forgiven", "carried", "slashed", "netted", "drawn", "redistributed")


@dataclass(frozen=True)
class Outcome:
    """A settlement's figures, minor units: ``funded == Σ share + house + gap + fee``, with the house as priced."""

    payouts: list[Payout]  # in the order of the values
    priced_house: int  # the house's own part, before it forgives
    gap: int
    fee: int
    funded: int  # what the buyer pays in; negative where the buyer is given back

    @cached_property
    def house(self) -> int:
        """What the house is left with after it forgave."""
        return self.priced_house - sum(payout.forgiven for payout in self.payouts)

    def lines(self, asset: str) -> list[Line]:
        """The settlement entry's lines. Raises `AmountError` where one is beyond what the books can hold."""
        made = merged(self._lines(asset))
        for line in made:
            if line.amount > LARGEST_AMOUNT:
                raise AmountError(str(line.amount), f"{line.account} would get more than 2**256 - 1 minor units")
        return made

    def _lines(self, asset: str) -> Iterator[Line]:
        yield debit("escrow", asset, self.funded)
        for payout in self.payouts:
            who = payout.contributor
            yield debit(f"receivable:{who}", asset, payout.carried - payout.netted)
            yield debit(f"stake:{who}", asset, payout.slashed)
            yield debit(f"accrued:{who}", asset, payout.drawn)
            for part in payout.parts:
                yield credit(account_of(part, who), asset, part.amount)
            for payee, amount in payout.payees.items():
                yield credit(f"payable:{payee}", asset, amount)
        yield credit("fee", asset, self.fee)
        yield credit("house", asset, self.house)
        yield credit("gap", asset, self.gap)


def account_of(part: Part, contributor: str) -> str:
    """The account of a part's home: the contributor's own, or the one that there is."""
    return account_name(part.home, contributor if KINDS[part.home].owned else None)


def compute(worth: Worth, terms: Terms, standing: Standing) -> Outcome:
    """A settlement's figures from the values, the terms, and where contributors stand.

    Does not depend on the order of the contributors. Raises `ValueError` where a pool has no positive value.
    """
    division = MODES[terms.mode](worth, terms)
    treated = {
        contributor: TREATMENTS[terms.negative](max(-share, 0), standing.staked.get(contributor, 0))
        for contributor, share in division.shares.items()
    }
    dues = [
        Due(
            contributor,
            max(division.shares[contributor], 0),
            owed=standing.owed.get(contributor, 0),
            accrued=standing.accrued.get(contributor, 0),
            stopped=standing.stopped.get(contributor),
        ).with_netted()
        for contributor in worth.values
    ]
    whole = sum(share for share in division.shares.values() if share > 0)
    for policy in terms.policies:
        # What a policy adds to a due is netted too: nobody is paid while they owe.
        dues = [due.with_netted() for due in policy.apply(dues, whole)]
    payouts = [
        Payout(
            contributor=due.contributor,
            value=worth.values[due.contributor],
            share=division.shares[due.contributor],
            forgiven=treated[due.contributor].forgiven,
            carried=treated[due.contributor].owed,
            slashed=treated[due.contributor].slashed,
            netted=due.netted,
            drawn=due.drawn,
            redistributed=due.redistributed,
            parts=due.parts,
            payees=_payees(due, standing),
        )
        for due in dues
    ]
    return Outcome(payouts, division.house, division.gap, division.fee, division.funded)


def _payees(due: Due, standing: Standing) -> dict[str, int]:
    shared = split(due.amount, due.contributor, standing.estates.get(due.contributor, {}))
    return {payee: amount for payee, amount in sorted(shared.items()) if amount}
