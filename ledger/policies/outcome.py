"""A settlement's figures: values priced, negative shares treated, policies applied, the rest to the payees. Pure.

Each minor unit has a home. For every contributor::

    share + forgiven + carried + slashed + drawn + redistributed == netted + sum(parts) + paid

and over all of them redistributed sums to nothing, and ``funded == sum(share) + house + gap + fee``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ledger.accounts import KINDS, account_name
from ledger.batches import batches
from ledger.errors import AmountError
from ledger.lines import Gathered, Line, credit, debit, merged
from ledger.money import LARGEST_AMOUNT
from ledger.policies import MODES, TREATMENTS
from ledger.policies.estate import split
from ledger.policies.policy import Claim, Due, Part
from ledger.policies.terms import Division, Terms, Worth
from ledger.spool import Spool


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


Standings = Callable[[Sequence[str]], Standing]  # where some contributors stand

_TOGETHER = 1000  # contributors whose standing is asked for at once


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

    def lines(self, asset: str) -> Iterator[Line]:
        """What the settlement entry moves for the contributor, not merged yet."""
        who = self.contributor
        yield debit(f"receivable:{who}", asset, self.carried - self.netted)
        yield debit(f"stake:{who}", asset, self.slashed)
        yield debit(f"accrued:{who}", asset, self.drawn)
        for part in self.parts:
            yield credit(account_of(part, who), asset, part.amount)
        for payee, amount in self.payees.items():
            yield credit(f"payable:{payee}", asset, amount)

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

    payouts: Sequence[Payout]  # in the order of the values
    priced_house: int  # the house's own part, before it forgives
    gap: int
    fee: int
    funded: int  # what the buyer pays in; negative where the buyer is given back

    @cached_property
    def house(self) -> int:
        """What the house is left with after it forgave."""
        return self.priced_house - sum(payout.forgiven for payout in self.payouts)

    def lines(self, asset: str) -> Gathered:
        """The settlement entry's lines: the escrow's, every contributor's in turn, and those of what they share.

        Raises `AmountError` where one is beyond what the books can hold.
        """
        made = Gathered(lambda: self._lines(asset))
        for line in made:
            if line.amount > LARGEST_AMOUNT:
                raise AmountError(str(line.amount), f"{line.account} would get more than 2**256 - 1 minor units")
        return made

    @cached_property
    def _payees(self) -> frozenset[str]:
        """Who is paid in somebody's stead: their accounts may be credited by several."""
        return frozenset(payee for payout in self.payouts for payee in payout.payees if payee != payout.contributor)

    def _lines(self, asset: str) -> Iterator[Line]:
        """Nobody's own accounts are anybody else's, so lines need to be merged only for one contributor at a time."""
        yield from merged([debit("escrow", asset, self.funded)])
        others = {f"payable:{payee}" for payee in self._payees}
        common: dict[str, int] = defaultdict(int)  # credited
        for payout in self.payouts:
            own = []
            for line in payout.lines(asset):
                if line.account in others or not KINDS[line.account.partition(":")[0]].owned:
                    common[line.account] -= line.signed
                else:
                    own.append(line)
            yield from merged(own)
        for account, amount in (("fee", self.fee), ("house", self.house), ("gap", self.gap)):
            common[account] += amount
        yield from merged(credit(account, asset, amount) for account, amount in sorted(common.items()))


def account_of(part: Part, contributor: str) -> str:
    """The account of a part's home: the contributor's own, or the one that there is."""
    return account_name(part.home, contributor if KINDS[part.home].owned else None)


def compute(worth: Worth, terms: Terms, standing: Standing | Standings) -> Outcome:
    """A settlement's figures from the values, the terms, and where contributors stand.

    Contributors are a stream, so that memory does not grow with their number: `standing` may be asked for some of
    them at a time. Does not depend on their order. Raises `ValueError` where a pool has no positive value.
    """
    division = MODES[terms.mode](worth, terms)
    asked = (lambda _: standing) if isinstance(standing, Standing) else standing
    dues: Iterable[Due] = _dues(worth, terms, division, asked)
    whole = sum(max(division.shares.of(name, value), 0) for name, value in worth.values.items())
    for policy in terms.policies:
        # What a policy adds to a due is netted too: nobody is paid while they owe.
        dues = map(Due.with_netted, policy.apply(dues, whole))
    return Outcome(Spool(map(_payout, dues)), division.house, division.gap, division.fee, division.funded)


def _dues(worth: Worth, terms: Terms, division: Division, asked: Standings) -> Iterator[Due]:
    treat = TREATMENTS[terms.negative]
    for batch in batches(worth.values.items(), _TOGETHER):
        standing = asked([contributor for contributor, _ in batch])
        for contributor, value in batch:
            share = division.shares.of(contributor, value)
            treated = treat(max(-share, 0), standing.staked.get(contributor, 0))
            estate = standing.estates.get(contributor, {})
            yield Due(
                contributor,
                max(share, 0),
                owed=standing.owed.get(contributor, 0),
                accrued=standing.accrued.get(contributor, 0),
                stopped=standing.stopped.get(contributor),
                claim=Claim(value, share, treated.forgiven, treated.owed, treated.slashed, estate),
            ).with_netted()


def _payout(due: Due) -> Payout:
    claim = due.claim
    payees = split(due.amount, due.contributor, claim.estate)
    return Payout(
        contributor=due.contributor,
        value=claim.value,
        share=claim.share,
        forgiven=claim.forgiven,
        carried=claim.carried,
        slashed=claim.slashed,
        netted=due.netted,
        drawn=due.drawn,
        redistributed=due.redistributed,
        parts=due.parts,
        payees={payee: amount for payee, amount in sorted(payees.items()) if amount},
    )
