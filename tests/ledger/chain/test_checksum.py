from __future__ import annotations

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from ledger.chain.checksum import checksummed, same_address, with_checksum
from ledger.errors import AddressError

# The examples of EIP-55.
EXAMPLES = (
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
)


@pytest.mark.parametrize("address", EXAMPLES)
def test_the_addresses_of_the_standard_are_taken_as_they_are(address: str) -> None:
    assert checksummed(address) == with_checksum(address[2:]) == address


@given(st.binary(min_size=20, max_size=20))
def test_the_checksum_is_that_of_another_implementation(raw: bytes) -> None:
    assert with_checksum(raw.hex()) == to_checksum_address(raw)
    assert checksummed(to_checksum_address(raw)) == to_checksum_address(raw)


@given(st.sampled_from(EXAMPLES), st.integers(2, 41), st.sampled_from("0123456789abcdefABCDEF"))
def test_another_digit_or_case_anywhere_is_refused(address: str, place: int, digit: str) -> None:
    changed = address[:place] + digit + address[place + 1 :]
    if changed != address:
        with pytest.raises(AddressError):
            checksummed(changed)


@pytest.mark.parametrize("given_", ["", "0x", "alice.eth", EXAMPLES[0][2:], EXAMPLES[0] + "00", EXAMPLES[0] + "\n"])
def test_what_is_no_address_is_refused_and_no_name_is_looked_up(given_: str) -> None:
    with pytest.raises(AddressError, match="0x and 40 hexadecimal digits"):
        checksummed(given_)


@pytest.mark.parametrize("change", [str.lower, lambda text: "0x" + text[2:].upper()], ids=["lower", "upper"])
def test_an_address_without_a_checksum_is_refused_and_shown_with_it(change: type[str]) -> None:
    with pytest.raises(AddressError, match=f"if its digits are right, it is {EXAMPLES[0]}"):
        checksummed(change(EXAMPLES[0]))
    assert same_address(change(EXAMPLES[0]), EXAMPLES[0])
