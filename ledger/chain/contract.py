"""The distributor on a chain: what it says, the data of calls of it, and its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from eth_utils.crypto import keccak

from ledger.chain import typed_data
from ledger.chain.artifact import artifact
from ledger.chain.checksum import checksummed
from ledger.chain.events import (
    Claimed,
    ClaimRefused,
    ClaimsPaused,
    Deployed,
    Event,
    GuardianChanged,
    NonceUsed,
    OwnershipTransferred,
    OwnershipTransferStarted,
    PublisherChanged,
    Revoked,
    RootsPaused,
    Submitted,
    SurplusSwept,
    read,
)
from ledger.chain.node import Log, Node, Receipt, Which
from ledger.chain.reverts import explain
from ledger.chain.roots import Claim, OnChainRoot
from ledger.chain.token import Token
from ledger.errors.chain import NodeAnswerError, WrongContractError

__all__ = [
    "Claim",
    "ClaimRefused",
    "Claimed",
    "ClaimsPaused",
    "Deployed",
    "DistributorContract",
    "Event",
    "GuardianChanged",
    "NonceUsed",
    "OnChainRoot",
    "OwnershipTransferStarted",
    "OwnershipTransferred",
    "PublisherChanged",
    "Revoked",
    "RootsPaused",
    "Submitted",
    "SurplusSwept",
    "Token",
    "deployment",
    "explain",
]

NAME, VERSION = "GhostledgerDistributor", "1"  # of its typed data
_BUILT = artifact("CumulativeDistributor")


class DistributorContract:
    """A distributor by its chain and address. Its reads raise NodeError, or RevertedError where it is not one."""

    def __init__(self, node: Node, chain_id: int, address: str) -> None:
        """Raises AddressError."""
        self.node, self.chain_id, self.address = node, chain_id, checksummed(address)

    # What it says

    def last_id(self, block: Which = "latest") -> int:
        """The id of the root that was submitted last, revoked or not; 0 where there is none."""
        return int(self._read("lastId", block=block))

    def last_live_id(self, block: Which = "latest") -> int:
        """The id of the last root that is not revoked; 0 where there is none."""
        return int(self._read("lastLiveId", block=block))

    def root_of(self, id: int, block: Which = "latest") -> OnChainRoot:
        """A root as it was submitted, and whether it is revoked."""
        found = self._read("rootOf", id, block=block)
        return OnChainRoot(
            id, found["root"], found["metadataHash"], found["total"], found["activatesAt"], found["revoked"]
        )

    def is_active(self, id: int, block: Which = "latest") -> bool:
        """Whether accounts may claim by a root."""
        return bool(self._read("isActive", id, block=block))

    def total_claimed(self, block: Which = "latest") -> int:
        """What was claimed by all accounts."""
        return int(self._read("totalClaimed", block=block))

    def claimed(self, account: str, block: Which = "latest") -> int:
        """What was claimed by an account."""
        return int(self._read("claimed", account, block=block))

    def promised(self, block: Which = "latest") -> int:
        """What all accounts may claim in all, by roots that are not revoked."""
        return int(self._read("promised", block=block))

    def surplus(self, block: Which = "latest") -> int:
        """The tokens that nobody may claim."""
        return int(self._read("surplus", block=block))

    def nonces(self, account: str, block: Which = "latest") -> int:
        """The nonce that an account's next signature must have."""
        return int(self._read("nonces", account, block=block))

    def token(self) -> str:
        """The address of the token that is distributed."""
        return str(self._read("TOKEN"))

    def activation_delay(self) -> int:
        """How long a root waits before it activates, in seconds."""
        return int(self._read("ACTIVATION_DELAY"))

    def owner(self, block: Which = "latest") -> str:
        """Who appoints the publisher and the guardian, and takes surplus."""
        return str(self._read("owner", block=block))

    def publisher(self, block: Which = "latest") -> str:
        """Who submits roots."""
        return str(self._read("publisher", block=block))

    def guardian(self, block: Which = "latest") -> str:
        """Who revokes roots that are not active, and pauses."""
        return str(self._read("guardian", block=block))

    def claims_paused(self, block: Which = "latest") -> bool:
        """Whether claims are paused."""
        return bool(self._read("claimsPaused", block=block))

    def roots_paused(self, block: Which = "latest") -> bool:
        """Whether the submission of roots is paused."""
        return bool(self._read("rootsPaused", block=block))

    # Data of calls

    def submit_root(self, id: int, root: bytes | str, total: int, metadata_hash: bytes | str) -> bytes:
        """By the publisher: the root of the next tree. Hashes as 32 bytes, or as 0x and 64 digits."""
        return _BUILT.abi.call("submitRoot", id, _hash(root), total, _hash(metadata_hash))

    def revoke_root(self, id: int) -> bytes:
        """By the guardian, before the root activates."""
        return _BUILT.abi.call("revokeRoot", id)

    def revoke_roots(self, ids: Iterable[int]) -> bytes:
        """By the guardian: several roots at once, none of them active."""
        return _BUILT.abi.call("revokeRoots", list(ids))

    def claim(self, id: int, account: str, cumulative: int, proof: Sequence[bytes]) -> bytes:
        """By anyone: pay an account what it has earned and not claimed yet."""
        return _BUILT.abi.call("claim", (id, account, cumulative, list(proof)))

    def claim_to(self, id: int, account: str, cumulative: int, proof: Sequence[bytes], to: str) -> bytes:
        """By the account: pay its tokens to another address."""
        return _BUILT.abi.call("claimTo", (id, account, cumulative, list(proof)), to)

    def claim_to_with_signature(
        self,
        id: int,
        account: str,
        cumulative: int,
        proof: Sequence[bytes],
        to: str,
        deadline: int,
        signature: bytes,
    ) -> bytes:
        """By anyone who has the account's signature of typed_data.claim_to."""
        claim = (id, account, cumulative, list(proof))
        return _BUILT.abi.call("claimToWithSignature", claim, to, deadline, signature)

    def claim_many(self, claims: Iterable[Claim]) -> bytes:
        """By anyone: pay many accounts."""
        return _BUILT.abi.call("claimMany", [(one.id, one.account, one.cumulative, list(one.proof)) for one in claims])

    def cancel_signatures(self) -> bytes:
        """By an account: give up its nonce, and what it signed with it."""
        return _BUILT.abi.call("cancelSignatures")

    def pause_claims(self, paused: bool) -> bytes:
        """By the guardian."""
        return _BUILT.abi.call("pauseClaims", paused)

    def pause_roots(self, paused: bool) -> bytes:
        """By the guardian."""
        return _BUILT.abi.call("pauseRoots", paused)

    # Events

    def events(self, first: int, last: int) -> Iterator[Event]:
        """Its events in the blocks from `first` to `last`, both included, in their order. Raises LyingNodeError."""
        for log in self.node.logs(self.address, [], first, last):
            yield self._event(log)

    def events_of(self, receipt: Receipt) -> list[Event]:
        """Its events in a transaction."""
        return [self._event(log) for log in receipt.logs if log.address == self.address]

    # What it is

    def code_hash(self) -> str:
        """The hash of its code on the chain, immutable values and all: 0x and 64 digits."""
        return "0x" + keccak(self._code()).hex()

    def assert_code(self, chain_id: int) -> None:
        """Check that the node is on this chain and the contract's code the one that this package was built with.

        Its immutable values must be those of its own address, chain and typed data. Raises WrongChainError,
        WrongContractError.
        """
        self.node.expect_chain(chain_id)
        code = self._code()
        if _BUILT.masked(code) != _BUILT.masked(_BUILT.runtime):
            raise WrongContractError(self.address, "its code is not the one that this package was built with")
        expected = self._immutables(chain_id)
        for name, found in _BUILT.values(code).items():
            if found != {expected[name]}:
                raise WrongContractError(self.address, f"its code holds another {name} than it must")

    def _immutables(self, chain_id: int) -> dict[str, bytes]:
        # as OpenZeppelin's EIP712 and ShortStrings keep them
        return {
            "TOKEN": _word(int(self.token(), 16)),
            "ACTIVATION_DELAY": _word(self.activation_delay()),
            "_cachedDomainSeparator": typed_data.domain_separator(chain_id, self.address),
            "_cachedChainId": _word(chain_id),
            "_cachedThis": _word(int(self.address, 16)),
            "_hashedName": keccak(text=NAME),
            "_hashedVersion": keccak(text=VERSION),
            "_name": NAME.encode().ljust(31, b"\0") + bytes([len(NAME)]),
            "_version": VERSION.encode().ljust(31, b"\0") + bytes([len(VERSION)]),
        }

    def _code(self) -> bytes:
        code = self.node.code(self.address)
        if not code:
            raise WrongContractError(self.address, "there is no contract at this address on the node's chain")
        return code

    def _event(self, log: Log) -> Event:
        try:
            return read(_BUILT.abi, log)
        except ValueError as error:
            raise NodeAnswerError("eth_getLogs", f"an event that is none of the distributor's: {error}") from error

    def _read(self, function: str, *arguments: object, block: Which = "latest") -> Any:
        data = self.node.call(self.address, _BUILT.abi.call(function, *arguments), block=block)
        if not data:
            raise WrongContractError(self.address, f"it does not answer {function}")
        try:
            return _BUILT.abi.result(function, data)
        except ValueError as error:
            raise WrongContractError(self.address, f"its answer to {function} is not the distributor's") from error


def deployment(token: str, owner: str, publisher: str, guardian: str, delay: int) -> bytes:
    """The data of the transaction that makes a distributor; `delay` in seconds. Raises AddressError."""
    roles = [checksummed(one) for one in (token, owner, publisher, guardian)]
    return _BUILT.creation + _BUILT.abi.constructor(*roles, delay)


def _hash(given: bytes | str) -> bytes:
    return bytes.fromhex(given.removeprefix("0x")) if isinstance(given, str) else given


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")
