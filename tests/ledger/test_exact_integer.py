from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from ledger.database import Ledger
from ledger.errors import AmountError, StoredAmountError
from ledger.exact_integer import BALANCE_DIGITS, ExactInteger, decode, encode
from ledger.models import Row

AMOUNTS = st.integers(-(2**256), 2**256)
BALANCES = st.integers(1 - 10**BALANCE_DIGITS, 10**BALANCE_DIGITS - 1)
EDGES = [0, 1, -1, 2**53 + 1, 2**63, 2**256 - 1, -(2**256), 10**78 - 1, 1 - 10**78]


@given(AMOUNTS, AMOUNTS)
def test_stored_text_sorts_as_the_numbers_do(one: int, other: int) -> None:
    assert (encode(one) < encode(other)) == (one < other)


@given(AMOUNTS)
def test_every_amount_comes_back_from_its_text(amount: int) -> None:
    assert decode(encode(amount)) == amount


@given(BALANCES, BALANCES)
def test_balances_are_kept_and_sorted_alike(one: int, other: int) -> None:
    stored = encode(one, BALANCE_DIGITS), encode(other, BALANCE_DIGITS)
    assert (stored[0] < stored[1]) == (one < other)
    assert decode(stored[0], BALANCE_DIGITS) == one


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(amounts=st.lists(AMOUNTS | st.sampled_from(EDGES), min_size=1, max_size=8, unique=True), balance=BALANCES)
def test_a_database_keeps_every_digit_and_orders_and_compares_them(
    books: Ledger, amounts: list[int], balance: int
) -> None:
    columns = (Column("amount", ExactInteger()), Column("balance", ExactInteger(BALANCE_DIGITS)))
    table = Table("t", MetaData(), *columns, prefixes=["TEMPORARY"])
    with books.engine.connect() as connection:
        table.create(connection)
        connection.execute(insert(table), [{"amount": amount, "balance": balance} for amount in amounts])
        rows = connection.execute(select(table.c.amount, table.c.balance).order_by(table.c.amount)).all()
        assert [tuple(row) for row in rows] == [(amount, balance) for amount in sorted(amounts)]
        assert {type(value) for row in rows for value in row} == {int}
        for bound in (0, amounts[0]):
            above = connection.execute(select(table.c.amount).where(table.c.amount > bound)).scalars().all()
            assert set(above) == {amount for amount in amounts if amount > bound}
        connection.rollback()


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "5",
        "p5",
        "n" + "0" * 78,
        "x" + "0" * 78,
        "p" + "٣" * 78,
        5,
        1.0,
        Decimal("1.5"),
        Decimal("NaN"),
        Decimal("Infinity"),
        None,
        b"p",
    ],
)
def test_anything_else_in_the_database_is_an_error(stored: object) -> None:
    with pytest.raises(StoredAmountError):
        decode(stored)


@pytest.mark.parametrize("value", [10**78, -(10**78), 1.0, True, "1", Decimal(1)])
def test_more_than_78_digits_and_what_is_no_whole_number_are_refused(value: int) -> None:
    with pytest.raises(AmountError):
        encode(value)


def test_a_servers_number_is_taken_where_it_is_whole() -> None:
    assert decode(Decimal(10**77 + 1)) == 10**77 + 1
    assert decode(Decimal("-5.000")) == -5


def test_postgresql_gets_an_exact_numeric_with_a_numeric_check() -> None:
    sql = str(CreateTable(Row.metadata.tables["postings"]).compile(dialect=postgresql.dialect()))
    assert "amount NUMERIC(78, 0)" in sql
    assert "CHECK (amount > 0)" in sql
