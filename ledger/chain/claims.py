"""Claims: an account's tokens, by a proof from a file. No ledger is needed, and anybody may pay for the transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ledger.chain import merkle, sending, typed_data
from ledger.chain.checksum import checksummed
from ledger.chain.contract import Claim, Claimed, ClaimRefused, DistributorContract
from ledger.chain.keys import Signer
from ledger.chain.node import Receipt
from ledger.chain.sending import LOOKS, Cost, pause
from ledger.errors.chain import TypedDataError
from ledger.errors.outbox import ClaimError


@dataclass(frozen=True)
class Proof:
    """What an account may claim by a root, in all, smallest units; `proof` leads from its leaf to the root."""

    chain_id: int
    distributor: str
    root_id: int
    root: str
    account: str
    cumulative: int
    proof: tuple[str, ...]

    def __post_init__(self) -> None:
        checksummed(self.account)
        leaf = merkle.leaf_hash(self.chain_id, self.distributor, self.account, self.cumulative)
        if not merkle.verify(_octets(self.root), leaf, self.nodes):
            raise ClaimError(f"the proof of {self.account} does not lead to its root: ask for another file")

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """The proof's hashes, 32 bytes each."""
        return tuple(map(_octets, self.proof))

    @property
    def claim(self) -> Claim:
        """The same as the contract takes it."""
        return Claim(self.root_id, self.account, self.cumulative, self.nodes)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Proof:
        """What `publications.proof_of` made. Raises `ClaimError`, `AddressError`, `ClaimTreeError`."""
        try:
            return cls(
                chain_id=int(said["chain_id"]),
                distributor=checksummed(said["distributor"]),
                root_id=int(said["root_id"]),
                root=str(said["root"]),
                account=checksummed(said["account"]),
                cumulative=int(said["cumulative"]),
                proof=tuple(map(str, said["proof"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ClaimError(f"this is no proof of a claim: {error!r} is missing or wrong") from error

    @classmethod
    def read(cls, path: str | Path) -> Proof:
        """The proof in a JSON file. Raises what `of` does."""
        said = read_json(path)
        return cls.of(said)


@dataclass(frozen=True)
class Permit:
    """An account's leave to have its tokens paid to another address, by whoever hands it in before the deadline."""

    account: str
    to: str
    root_id: int
    cumulative: int
    nonce: int
    deadline: int  # seconds since 1970
    signature: str

    def as_json(self) -> dict[str, Any]:
        """The same as plain values, amounts as texts."""
        return {**asdict(self), "cumulative": str(self.cumulative)}

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Permit:
        """What `as_json` made. Raises `ClaimError` and `AddressError`."""
        try:
            return cls(
                account=checksummed(said["account"]),
                to=checksummed(said["to"]),
                root_id=int(said["root_id"]),
                cumulative=int(said["cumulative"]),
                nonce=int(said["nonce"]),
                deadline=int(said["deadline"]),
                signature=str(said["signature"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ClaimError(f"this is no signed claim: {error!r} is missing or wrong") from error


@dataclass(frozen=True)
class Estimate(Cost):
    """What a claim would pay, smallest units, and what its transaction may cost."""

    amount: int


@dataclass(frozen=True)
class Made:
    """A claim that was mined: its receipt, what was paid, and whom the token refused."""

    receipt: Receipt
    paid: list[Claimed]
    refused: list[ClaimRefused]


def permit(contract: DistributorContract, signer: Signer, proof: Proof, to: str, deadline: int) -> Permit:
    """Sign that an account's tokens go to another address. Raises `ClaimError`, `AddressError`, `NodeError`s."""
    if signer.address != proof.account:
        raise ClaimError(f"only {proof.account} may sign where its tokens go, not {signer.address}")
    _assert_of(contract, proof)
    nonce = contract.nonces(proof.account)
    unsigned = Permit(proof.account, checksummed(to), proof.root_id, proof.cumulative, nonce, deadline, "")
    signature = signer.sign_typed_data(_message(contract, unsigned))
    return Permit(**{**asdict(unsigned), "signature": "0x" + signature.hex()})


def estimate(
    contract: DistributorContract,
    sender: str,
    proofs: Sequence[Proof],
    *,
    to: str | None = None,
    permitted: Permit | None = None,
    fee_cap: int,
) -> Estimate:
    """What a claim would do and cost now, without a key. Raises what `make_claim` does."""
    data = _call(contract, sender, proofs, to, permitted)
    cost = sending.cost(contract.node, sender, contract.address, data, fee_cap=fee_cap)
    amount = sum(max(proof.cumulative - contract.claimed(proof.account), 0) for proof in proofs)
    return Estimate(cost.gas, cost.fees, amount)


def make_claim(
    contract: DistributorContract,
    signer: Signer,
    proofs: Sequence[Proof],
    *,
    to: str | None = None,
    permitted: Permit | None = None,
    fee_cap: int,
    looks: int = LOOKS,
    wait: Callable[[], object] = pause,
    sent: Callable[[str], object] = lambda hash: None,
) -> Made:
    """Claim for accounts, and wait until that is mined: one or many, each paid to itself, whoever signs.

    With `to`, the signer's own tokens go to another address; with `permitted`, those of whoever signed that. It can be
    asked for again: what was paid is not paid twice. `sent` is told the transaction's hash before it is sent. Raises
    `ClaimError`; `RevertedError` where the contract refuses, before anything is sent; `WrongChainError`,
    `WrongContractError`, `FeeCapError`; `NotMinedError` after so many looks, `TransactionRevertedError`, `NodeError`s.
    """
    contract.assert_code(contract.chain_id)
    data = _call(contract, signer.address, proofs, to, permitted)
    planned = sending.cost(contract.node, signer.address, contract.address, data, fee_cap=fee_cap)
    receipt = sending.send(
        contract.node,
        signer,
        contract.chain_id,
        contract.address,
        data,
        planned=planned,
        looks=looks,
        wait=wait,
        sent=sent,
    )
    events = contract.events_of(receipt)
    paid = [event for event in events if isinstance(event, Claimed)]
    return Made(receipt, paid, [event for event in events if isinstance(event, ClaimRefused)])


def read_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file. Raises `ClaimError`."""
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ClaimError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ClaimError(f"{path} is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise ClaimError(f"{path} holds no JSON object")
    return said


def _call(
    contract: DistributorContract, sender: str, proofs: Sequence[Proof], to: str | None, permitted: Permit | None
) -> bytes:
    for proof in proofs:
        _assert_of(contract, proof)
    if len(proofs) != 1:
        if not proofs or to is not None or permitted is not None:
            raise ClaimError("another address, or a signature, is for exactly one account's proof")
        return contract.claim_many(proof.claim for proof in proofs)
    claim = proofs[0].claim
    if contract.claimed(claim.account) >= claim.cumulative:
        raise ClaimError(f"{claim.account} has claimed all that this proof shows, {claim.cumulative} in all")
    if permitted is not None:
        return _permitted(contract, claim, permitted, to)
    if to is None or to == claim.account:
        return contract.claim(claim.id, claim.account, claim.cumulative, claim.proof)
    if sender != claim.account:
        raise ClaimError(f"only {claim.account} may have its tokens paid elsewhere: give its signature")
    return contract.claim_to(claim.id, claim.account, claim.cumulative, claim.proof, checksummed(to))


def _permitted(contract: DistributorContract, claim: Claim, permitted: Permit, to: str | None) -> bytes:
    said = (permitted.account, permitted.root_id, permitted.cumulative)
    if said != (claim.account, claim.id, claim.cumulative) or to not in (None, permitted.to):
        raise ClaimError("the signature is for another account, root, amount or address than this claim")
    if permitted.nonce != contract.nonces(claim.account):
        raise ClaimError(f"{claim.account} has used or given up this signature: let it sign again")
    signature = _octets(permitted.signature)
    if not contract.node.code(claim.account):  # a wallet that is a contract decides for itself
        try:
            signed_by = typed_data.recover(_message(contract, permitted), signature)
        except TypedDataError as error:
            raise ClaimError(f"the signature is malformed: {error}") from error
        if signed_by != claim.account:
            raise ClaimError(f"the signature is not that of {claim.account} for this claim")
    return contract.claim_to_with_signature(
        claim.id, claim.account, claim.cumulative, claim.proof, permitted.to, permitted.deadline, signature
    )


def _message(contract: DistributorContract, permitted: Permit) -> dict[str, Any]:
    return typed_data.claim_to(
        chain_id=contract.chain_id,
        distributor=contract.address,
        account=permitted.account,
        to=permitted.to,
        root_id=permitted.root_id,
        cumulative=permitted.cumulative,
        nonce=permitted.nonce,
        deadline=permitted.deadline,
    )


def _assert_of(contract: DistributorContract, proof: Proof) -> None:
    if (proof.chain_id, proof.distributor) != (contract.chain_id, contract.address):
        place = f"{proof.distributor} on chain {proof.chain_id}"
        raise ClaimError(f"the proof is for {place}, not for {contract.address} on chain {contract.chain_id}")
    found = contract.root_of(proof.root_id)
    if found.root != proof.root:
        raise ClaimError(f"root {proof.root_id} on the chain is another one than the proof's: ask for another file")


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise ClaimError(f"{text[:80]!r} is not hexadecimal") from None
