"""What only keccak and secp256k1 can check: trees, signatures of addresses, and signed transactions.

These come with the extra `chain`. Without it they are not checked, and the audit says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

from sqlmodel import Session, col, select

from ledger import registry
from ledger.checks.chain.publications import DAMAGED
from ledger.checks.fault import Fault
from ledger.errors import MissingLibraryError
from ledger.models import Attempt, Distributor, PayoutAddress, Publication
from ledger.payout_addresses import OLD_KEY, asked_at, history, operators, timeline
from ledger.publishable import leaves_of

TREES, SIGNATURES, RAW = "claim trees", "address signatures", "signed transactions"
PROOF_CLAIMS = {
    TREES: "every publication's root is that of the tree of all that stands by then, as the contract checks it",
    SIGNATURES: "payout addresses were signed for by their own keys, and changes by the old ones or by operators; "
    "contracts' signatures are for their chains to check",
    RAW: "every signed transaction says what its row says: who, for which publication, nonce, gas and fees",
}
_SUBMIT = "submitRoot(uint256,bytes32,uint256,bytes32)"


class Tools(NamedTuple):
    """The modules of the extra that are needed."""

    merkle: ModuleType
    transactions: ModuleType
    typed_data: ModuleType


def tools() -> Tools | None:
    """What checks, where it is installed."""
    try:
        from ledger.chain import merkle, transactions, typed_data
    except (MissingLibraryError, ModuleNotFoundError):
        return None
    return Tools(merkle, transactions, typed_data)


def proof_faults(session: Session) -> Iterator[Fault]:
    """What does not hold, or cannot be checked here."""
    found = tools()
    for name, table, check in (
        (TREES, Publication.entry, _tree_faults),
        (SIGNATURES, PayoutAddress.entry, _signature_faults),
        (RAW, Attempt.id, _raw_faults),
    ):
        for number in session.exec(select(table).order_by(col(table))).all():
            if found is None:
                yield Fault(name, "not checked: install the extra for it, pip install 'ghostledger[chain]'")
                break
            try:
                yield from check(session, number, found)
            except DAMAGED as error:
                yield Fault(name, f"{_NAMES[name]} {number}: cannot be read: {error}")
            session.expunge_all()


_NAMES = {TREES: "publication", SIGNATURES: "payout address, entry", RAW: "attempt"}


def _tree_faults(session: Session, number: int, by: Tools) -> Iterator[Fault]:
    made = session.get_one(Publication, number)
    distributor = session.get_one(Distributor, made.distributor)
    tree = by.merkle.Tree(distributor.chain_id, distributor.address, leaves_of(session, made).items())
    root = "0x" + tree.root.hex()
    if (root, tree.total) != (made.root, made.total):
        yield Fault(
            TREES, f"publication {number}: its leaves give {root} and {tree.total}, not {made.root} and {made.total}"
        )


def _signature_faults(session: Session, number: int, by: Tools) -> Iterator[Fault]:
    row = session.get_one(PayoutAddress, number)
    name = f"payout address of {row.contributor!r}, entry {number}"
    common: dict[str, Any] = {
        "origin": registry.origin(session),
        "chain_id": row.chain_id,
        "contributor": row.contributor,
        "nonce": row.nonce,
    }
    if not row.contract_wallet:
        message = by.typed_data.payout_address(address=row.address, **common)
        signer = by.typed_data.recover(message, bytes.fromhex(row.signature))
        if signer != row.address:
            yield Fault(SIGNATURES, f"{name}: {signer} signed for {row.address}")
    if not row.nonce:
        return
    rows = history(session, row.contributor, row.chain_id, before=number)
    old = timeline(rows, asked_at(row)).address
    if old is None:
        yield Fault(SIGNATURES, f"{name}: replaces no address")
        return
    wallet = next(one.contract_wallet for one in reversed(rows) if one.address == old)
    keys = {**operators(session, before=number), OLD_KEY: old}
    message = by.typed_data.address_change(old=old, new=row.address, **common)
    for approval in json.loads(row.approvals):
        if approval["by"] == OLD_KEY and wallet:
            continue
        signer = by.typed_data.recover(message, bytes.fromhex(approval["signature"]))
        if signer != keys.get(approval["by"]):
            yield Fault(SIGNATURES, f"{name}: {signer} signed the approval by {approval['by']!r}")


def _raw_faults(session: Session, number: int, by: Tools) -> Iterator[Fault]:
    row = session.get_one(Attempt, number)
    made = session.get_one(Publication, row.publication)
    distributor = session.get_one(Distributor, made.distributor)
    sender, said = by.transactions.decode(row.raw)
    words = (made.root_id, int(made.root, 16), made.total, int(made.metadata_hash, 16))
    data = by.merkle.keccak(_SUBMIT.encode())[:4] + b"".join(word.to_bytes(32, "big") for word in words)
    submits = row.purpose == "submit"
    wanted = {
        "hash": (row.hash, by.transactions.transaction_hash(row.raw)),
        "sender": (row.sender, sender),
        "chain_id": (row.chain_id, said["chainId"]),
        "nonce": (row.nonce, said["nonce"]),
        "gas": (row.gas, said["gas"]),
        "max_fee": (row.max_fee, said["maxFeePerGas"]),
        "priority_fee": (row.priority_fee, said["maxPriorityFeePerGas"]),
        "address": (distributor.address if submits else row.sender, said["to"]),
        "data": (data if submits else b"", said["data"]),
        "value": (0, said["value"]),
    }
    for what, (right, found) in wanted.items():
        if right != found:
            shown = (right.hex(), found.hex()) if isinstance(right, bytes) else (right, found)
            yield Fault(RAW, f"attempt {number}: {what} is {shown[0]} by its row, and {shown[1]} as it was signed")
