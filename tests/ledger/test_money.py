import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import AmountError, AssetError
from ledger.money import LARGEST_AMOUNT, Amount, Asset, format_nats

EUR, YEN, WEI = Asset.named("EUR"), Asset.named("JPY"), Asset.named("ETHX", 18)


@pytest.mark.parametrize(
    ("text", "asset", "minor"),
    [
        ("10000.00", EUR, 1_000_000),
        ("10000", EUR, 1_000_000),
        ("0.5", EUR, 50),
        ("7", YEN, 7),
        ("1.000000000000000001", WEI, 10**18 + 1),
        ("115792089237316195423570985008687907853269984665640564039457.584007913129639935", WEI, LARGEST_AMOUNT),
    ],
)
def test_decimal_text_becomes_whole_minor_units(text: str, asset: Asset, minor: int) -> None:
    assert asset.parse(text) == minor


@pytest.mark.parametrize(
    "text",
    ["", "1.001", "-1", "+1", "1e3", "NaN", "inf", "1,000.00", "1.", ".5", "1_000", "١", "0x10", "1 0", "9" * 5000],
)
def test_text_that_is_not_an_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(AmountError):
        EUR.parse(text)


def test_one_minor_unit_more_than_two_to_the_256_is_refused() -> None:
    with pytest.raises(AmountError, match="2\\*\\*256"):
        Asset.named("TOK", 0).parse(str(2**256))


@given(st.integers(0, LARGEST_AMOUNT), st.sampled_from([EUR, YEN, WEI]))
def test_formatting_and_parsing_are_inverse(minor: int, asset: Asset) -> None:
    assert asset.parse(asset.format(minor)) == minor


def test_an_amount_is_read_with_its_asset() -> None:
    assert Amount.parse("10000.00 EUR") == Amount(1_000_000, EUR)
    assert str(Amount.parse("10000 EUR")) == "10000.00 EUR"
    assert Amount.parse("1.5 USDC", exponent=6).minor == 1_500_000


@pytest.mark.parametrize(
    ("code", "exponent"), [("USDC", None), ("EUR", 3), ("eur", None), ("TOK", 19), ("nat", 12), ("X", 2), ("A B", 2)]
)
def test_an_asset_that_is_unknown_or_contradicts_its_standard_is_refused(code: str, exponent: int | None) -> None:
    with pytest.raises(AssetError):
        Asset.named(code, exponent)


def test_negative_nats_keep_their_sign() -> None:
    assert format_nats(-1) == "-0.000000000001"
    assert format_nats(1_500_000_000_000) == "1.500000000000"
