"""The distributor's events, from which its whole state can be rebuilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ledger.chain.abi import Abi
from ledger.chain.answers import Log


@dataclass(frozen=True)
class Event:
    """Where an event happened; `index` is the log's in its block. Hashes are 0x and 64 digits."""

    block_number: int
    block_hash: str
    transaction: str
    index: int


@dataclass(frozen=True)
class Submitted(Event):
    """A root was submitted; it may be claimed by from `activates_at` on, in seconds since 1970."""

    id: int
    root: str
    total: int
    metadata_hash: str
    activates_at: int


@dataclass(frozen=True)
class Revoked(Event):
    """A root was revoked before it activated."""

    id: int
    root: str


@dataclass(frozen=True)
class Claimed(Event):
    """An account's tokens were paid, to itself or to where it wanted them."""

    id: int
    account: str
    to: str
    amount: int
    cumulative: int


@dataclass(frozen=True)
class ClaimRefused(Event):
    """One of many claims could not be paid, because the token refused."""

    id: int
    account: str
    amount: int


@dataclass(frozen=True)
class ClaimsPaused(Event):
    """Claims were paused, or go on."""

    paused: bool


@dataclass(frozen=True)
class RootsPaused(Event):
    """The submission of roots was paused, or goes on."""

    paused: bool


@dataclass(frozen=True)
class PublisherChanged(Event):
    """Another publisher was appointed."""

    before: str
    publisher: str


@dataclass(frozen=True)
class GuardianChanged(Event):
    """Another guardian was appointed."""

    before: str
    guardian: str


@dataclass(frozen=True)
class SurplusSwept(Event):
    """Tokens that nobody may claim were taken out."""

    to: str
    amount: int


@dataclass(frozen=True)
class Deployed(Event):
    """The distributor was made; the delay is in seconds."""

    token: str
    activation_delay: int


@dataclass(frozen=True)
class NonceUsed(Event):
    """An account's nonce was used, by a claim or to give up a signature."""

    account: str
    nonce: int


@dataclass(frozen=True)
class OwnershipTransferStarted(Event):
    """Another owner was proposed."""

    before: str
    owner: str


@dataclass(frozen=True)
class OwnershipTransferred(Event):
    """There is another owner."""

    before: str
    owner: str


_EVENTS: dict[str, type[Event]] = {
    "RootSubmitted": Submitted,
    "RootRevoked": Revoked,
    "Claimed": Claimed,
    "ClaimRefused": ClaimRefused,
    "ClaimsPaused": ClaimsPaused,
    "RootsPaused": RootsPaused,
    "PublisherChanged": PublisherChanged,
    "GuardianChanged": GuardianChanged,
    "SurplusSwept": SurplusSwept,
    "Deployed": Deployed,
    "NonceUsed": NonceUsed,
    "OwnershipTransferStarted": OwnershipTransferStarted,
    "OwnershipTransferred": OwnershipTransferred,
}
_FIELDS = {
    "metadataHash": "metadata_hash",
    "activatesAt": "activates_at",
    "cumulativeAmount": "cumulative",
    "activationDelay": "activation_delay",
    "previousOwner": "before",
    "newOwner": "owner",
}


def read(abi: Abi, log: Log) -> Event:
    """A log as the event that it is. Raises ValueError where it is none of the distributor's."""
    found = abi.event(log)
    if found is None or found[0] not in _EVENTS:
        raise ValueError("an unknown event")
    name, values = found
    named: dict[str, Any] = {_FIELDS.get(field, field): value for field, value in values.items()}
    return _EVENTS[name](log.block_number, log.block_hash, log.transaction, log.index, **named)
