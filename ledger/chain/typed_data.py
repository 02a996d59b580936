"""Messages that contributors and operators sign with the keys of their addresses (EIP-712), and who signed one.

A message is the full dictionary that wallets take by eth_signTypedData_v4. Its integers of 256 bits are decimal texts,
since wallets written in JavaScript would round numbers. A signature is 65 bytes, r, s and v: v 27 or 28, s in the lower
half (EIP-2), as OpenZeppelin's ECDSA takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eth_abi.exceptions import EncodingError
from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_keys.constants import SECPK1_N
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from ledger.chain.checksum import checksummed
from ledger.errors.chain import TypedDataError

Message = dict[str, Any]

_DOMAIN = [("name", "string"), ("version", "string"), ("chainId", "uint256")]
_CONTRACT_DOMAIN = [*_DOMAIN, ("verifyingContract", "address")]


def payout_address(*, origin: str, chain_id: int, contributor: str, address: str, nonce: int) -> Message:
    """What an address signs to take the payouts of a contributor of the ledger `origin`.

    `nonce` is how many addresses the contributor has had on this chain. Raises AddressError.
    """
    fields = [("ledger", "string"), ("contributor", "string"), ("account", "address"), ("nonce", "uint256")]
    values = {"ledger": origin, "contributor": contributor, "account": checksummed(address), "nonce": str(nonce)}
    return _message("PayoutAddress", fields, values, _DOMAIN, _ledgers_domain(chain_id))


def address_change(*, origin: str, chain_id: int, contributor: str, old: str, new: str, nonce: int) -> Message:
    """What approves that a contributor's payouts go to another address, signed by the old key or by two operators.

    Raises AddressError.
    """
    fields = [
        ("ledger", "string"),
        ("contributor", "string"),
        ("oldAccount", "address"),
        ("newAccount", "address"),
        ("nonce", "uint256"),
    ]
    values = {
        "ledger": origin,
        "contributor": contributor,
        "oldAccount": checksummed(old),
        "newAccount": checksummed(new),
        "nonce": str(nonce),
    }
    return _message("AddressChange", fields, values, _DOMAIN, _ledgers_domain(chain_id))


def claim_to(
    *,
    chain_id: int,
    distributor: str,
    account: str,
    to: str,
    root_id: int,
    cumulative: int,
    nonce: int,
    deadline: int,
) -> Message:
    """What an account signs to have its tokens paid to another address: the contract's ClaimTo. Raises AddressError.

    `nonce` is the account's in the contract, `deadline` in seconds since 1970.
    """
    fields = [
        ("account", "address"),
        ("to", "address"),
        ("id", "uint256"),
        ("cumulativeAmount", "uint256"),
        ("nonce", "uint256"),
        ("deadline", "uint256"),
    ]
    values = {
        "account": checksummed(account),
        "to": checksummed(to),
        "id": str(root_id),
        "cumulativeAmount": str(cumulative),
        "nonce": str(nonce),
        "deadline": str(deadline),
    }
    return _message("ClaimTo", fields, values, _CONTRACT_DOMAIN, contracts_domain(chain_id, distributor))


def contracts_domain(chain_id: int, distributor: str) -> dict[str, Any]:
    """The domain of a distributor's messages."""
    return {
        "name": "GhostledgerDistributor",
        "version": "1",
        "chainId": chain_id,
        "verifyingContract": checksummed(distributor),
    }


def digest(message: Mapping[str, Any]) -> bytes:
    """The 32 bytes that are signed. Raises TypedDataError where the message is no typed data."""
    encoded = signable(message)
    return keccak(b"\x19" + encoded.version + encoded.header + encoded.body)


def domain_separator(chain_id: int, distributor: str) -> bytes:
    """The 32 bytes that a distributor calls its domainSeparator."""
    message = claim_to(
        chain_id=chain_id,
        distributor=distributor,
        account=distributor,
        to=distributor,
        root_id=0,
        cumulative=0,
        nonce=0,
        deadline=0,
    )
    return bytes(signable(message).header)


def recover(message: Mapping[str, Any], signature: bytes) -> str:
    """The checksummed address whose key made the signature.

    Raises TypedDataError where the signature has another form than the contract takes, or belongs to nobody.
    """
    if len(signature) != 65:
        raise TypedDataError(f"a signature has 65 bytes, and not {len(signature)}")
    if signature[64] not in (27, 28):
        raise TypedDataError(f"the signature's last byte is {signature[64]}, which must be 27 or 28")
    if not 0 < int.from_bytes(signature[32:64], "big") <= SECPK1_N // 2:
        raise TypedDataError("the signature's s is not in the lower half, so that there is a second signature like it")
    try:
        return str(Account.recover_message(signable(message), signature=signature))
    except (BadSignature, ValidationError, ValueError) as error:
        raise TypedDataError("the signature is nobody's") from error


def signable(message: Mapping[str, Any]) -> SignableMessage:
    """The message as eth_account takes it. Raises TypedDataError where it is no typed data."""
    try:
        return encode_typed_data(full_message=dict(message))
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError, EncodingError) as error:
        raise TypedDataError("the message is no typed data of EIP-712") from error


def _ledgers_domain(chain_id: int) -> dict[str, Any]:
    return {"name": "ghostledger", "version": "1", "chainId": chain_id}


def _message(
    name: str,
    fields: list[tuple[str, str]],
    values: dict[str, str],
    domain_fields: list[tuple[str, str]],
    domain: dict[str, Any],
) -> Message:
    types = {"EIP712Domain": domain_fields, name: fields}
    return {
        "types": {of: [{"name": field, "type": kind} for field, kind in known] for of, known in types.items()},
        "primaryType": name,
        "domain": domain,
        "message": values,
    }
