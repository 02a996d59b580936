"""Wallets that are contracts, which say themselves whether they signed something (EIP-1271)."""

from __future__ import annotations

from eth_abi.abi import encode

from ledger.chain.checksum import checksummed
from ledger.chain.node import Node
from ledger.errors.chain import RevertedError

_MAGIC = bytes.fromhex("1626ba7e")  # the selector of isValidSignature(bytes32,bytes), and its answer where it is


def has_signed(node: Node, wallet: str, digest: bytes, signature: bytes) -> bool:
    """Whether a contract says that it signed what has this digest, 32 bytes. Raises `AddressError`, `NodeError`s."""
    asked = _MAGIC + encode(["bytes32", "bytes"], [digest, signature])
    try:
        return node.call(checksummed(wallet), asked)[:32] == _MAGIC.ljust(32, b"\0")
    except RevertedError:
        return False
