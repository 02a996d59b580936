"""What a contributor's statement says of chains: where they are paid, what was published for them, and claimed. Pure.

Made from the facts about the contributor alone, as the rest of the statement is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ledger.facts import Fact, Facts
from ledger.models import ChainClaim, PayoutAddress, Publication
from ledger.models.chain import ENDS
from ledger.money import format_units
from ledger.payout_addresses import asked_at
from ledger.publication_entries import INTENDED, LYING, PUBLISHED

STATES: Mapping[str, str] = {kind: change for change, kind in ENDS.items()}  # of a publication, by the entry's kind


@dataclass(frozen=True)
class PayTo:
    """An address that the contributor gave: "in force", "pending", "former", or "replaced" before it was in force."""

    entry: int
    chain_id: int
    address: str
    effective_at: str
    state: str


@dataclass(frozen=True)
class Published:
    """What one publication added for the contributor, minor units, and what became of it."""

    entry: int
    chain_id: int
    distributor: str
    root_id: int
    address: str
    asset: str
    exponent: int
    amount: int
    cumulative: int
    state: str


@dataclass(frozen=True)
class Claimed:
    """What a distributor paid for the contributor's address, minor units."""

    entry: int
    chain_id: int
    transaction: str
    address: str
    recipient: str
    asset: str
    exponent: int
    amount: int


@dataclass(frozen=True)
class OnChains:
    """All of it."""

    addresses: list[PayTo]
    published: list[Published]
    claimed: list[Claimed]


def on_chains(facts: Facts, exponents: Mapping[str, int], at: str) -> OnChains:
    """What the facts say of chains, at an instant in stored form. `exponents` are the assets'."""
    return OnChains(_all_addresses(facts, at), _published(facts, exponents), _claimed(facts, exponents))


def _all_addresses(facts: Facts, at: str) -> list[PayTo]:
    """Every address that the contributor gave, by chain, in order, as it stands at an instant in stored form."""
    rows = [PayoutAddress(entry=fact.sequence, **fact.payload) for fact in facts.of(PayoutAddress.entry_kind)]
    found: list[PayTo] = []
    for _, group in groupby(sorted(rows, key=lambda row: row.chain_id), key=lambda row: row.chain_id):
        found += _addresses(list(group), at)
    return found


def _published(facts: Facts, exponents: Mapping[str, int]) -> list[Published]:
    """What was published for the contributor, in order."""
    states = {fact.payload["publication"]: STATES[fact.kind] for fact in facts.facts if fact.kind in STATES}
    return [
        Published(
            entry=fact.sequence,
            chain_id=fact.payload["chain_id"],
            distributor=fact.payload["address"],
            root_id=fact.payload["root_id"],
            address=part["address"],
            asset=fact.payload["asset"],
            exponent=exponents[fact.payload["asset"]],
            amount=int(part["amount"]),
            cumulative=int(part["cumulative"]),
            state=states.get(fact.sequence, INTENDED),
        )
        for fact in facts.of(Publication.entry_kind)
        for part in fact.parts
    ]


def _claimed(facts: Facts, exponents: Mapping[str, int]) -> list[Claimed]:
    """What was claimed for the contributor, in order."""
    return [
        Claimed(
            entry=fact.sequence,
            chain_id=fact.payload["chain_id"],
            transaction=fact.payload["transaction"],
            address=fact.payload["address"],
            recipient=fact.payload["recipient"],
            asset=fact.payload["asset"],
            exponent=exponents[fact.payload["asset"]],
            amount=int(fact.payload["amount"]),
        )
        for fact in facts.of(ChainClaim.entry_kind)
    ]


def stated_lines(fact: Fact) -> dict[str, int] | None:
    """What an entry of these kinds says that each of the contributor's accounts grows by, by kind; None for others."""
    if fact.kind == ChainClaim.entry_kind:
        amount = int(fact.payload["amount"])
        return {LYING[PUBLISHED]: -amount, "paid": amount}
    if fact.kind != Publication.entry_kind and fact.kind not in STATES:
        return None
    sums: dict[str, int] = {}
    for part in fact.parts:
        amount = int(part["amount"])
        steps = part.get("hold_changes") or [{"account": "payable:"}]
        to = part["holds"][0]["account"] if "holds" in part else "payable:"
        for account, sign in ((steps[0]["account"], -1), (to, 1)):
            kind = account.partition(":")[0]
            sums[kind] = sums.get(kind, 0) + sign * amount
    return sums


def foreign(facts: Facts) -> Iterator[Fact]:
    """Entries of these kinds that do not speak of the contributor."""
    own = {fact.sequence for fact in facts.of(Publication.entry_kind)}
    for fact in facts.facts:
        if fact.kind == PayoutAddress.entry_kind:
            right = fact.payload["contributor"] == facts.contributor
        elif fact.kind == ChainClaim.entry_kind:
            right = fact.subject == facts.contributor
        elif fact.kind == Publication.entry_kind:
            right = bool(fact.parts)
        else:
            right = fact.kind not in STATES or fact.payload["publication"] in own
        if not right:
            yield fact


def as_json(made: OnChains) -> dict[str, Any]:
    """The same as plain values; nothing where there is nothing, as in statements from before there were chains."""
    if not (made.addresses or made.published or made.claimed):
        return {}
    said = {
        "payout_addresses": [vars(one) for one in made.addresses],
        "publications": [_money(vars(one)) for one in made.published],
        "claims": [_money(vars(one)) for one in made.claimed],
    }
    return {"on_chains": said}


def _money(said: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in said.items() if name != "exponent"}
    for name in ("amount", "cumulative"):
        if name in shown:
            shown[name] = format_units(said[name], said["exponent"])
    return shown


def _addresses(rows: list[PayoutAddress], at: str) -> Iterator[PayTo]:
    in_force = None
    states = {}
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if following is not None and asked_at(following) < row.effective_at:
            states[row.entry] = "replaced"
        elif row.effective_at > at:
            states[row.entry] = "pending"
        else:
            states[row.entry] = "in force"
            if in_force is not None:
                states[in_force] = "former"
            in_force = row.entry
    for row in rows:
        yield PayTo(row.entry, row.chain_id, row.address, row.effective_at, states[row.entry])
