"""Addresses with their checksums (EIP-55). There is no name service: who is paid must not depend on one."""

from __future__ import annotations

import re

from eth_utils.crypto import keccak

from ledger.errors.chain import AddressError

ZERO_ADDRESS = "0x" + 40 * "0"


def checksummed(given: str) -> str:
    """The address as it was given, which must be 0x, 40 hexadecimal digits and in the case of its checksum.

    Raises AddressError: also for one without a checksum, which a slip of a digit would turn into another.
    """
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", given):
        raise AddressError(given, "it must be 0x and 40 hexadecimal digits")
    digits = given[2:]
    right = with_checksum(digits)
    if given != right and digits in (digits.lower(), digits.upper()):
        raise AddressError(given, f"it has no checksum; if its digits are right, it is {right}")
    if given != right:
        raise AddressError(given, "its checksum fails, so a digit or a letter's case is wrong")
    return given


def with_checksum(digits: str) -> str:
    """The address of 40 hexadecimal digits, with the checksum of EIP-55. For what a node or a program says."""
    digits = digits.lower()
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join([d.upper() if mark >= "8" else d for d, mark in zip(digits, marks, strict=False)])


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are the same, whatever their case."""
    return one.lower() == other.lower()
