from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, create_engine, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from ledger.errors import AmountError, StoredAmountError
from ledger.exact_integer import ExactInteger, decode, encode
from ledger.models import Row

AMOUNTS = st.integers(-(2**256), 2**256)


@given(AMOUNTS, AMOUNTS)
def test_stored_text_sorts_as_the_numbers_do(one: int, other: int) -> None:
    assert (encode(one) < encode(other)) == (one < other)


@given(AMOUNTS)
def test_every_amount_comes_back_from_its_text(amount: int) -> None:
    assert decode(encode(amount)) == amount


@pytest.mark.parametrize("amount", [0, 1, -1, 2**63, 2**256 - 1, -(2**256), 10**78 - 1, 1 - 10**78])
def test_sqlite_keeps_every_digit(amount: int) -> None:
    table = Table("t", MetaData(), Column("amount", ExactInteger()))
    with create_engine("sqlite://").connect() as connection:
        table.create(connection)
        connection.execute(insert(table), {"amount": amount})
        assert connection.execute(select(table.c.amount)).scalar_one() == amount


@pytest.mark.parametrize(
    "stored", ["", "5", "p5", "n" + "0" * 78, "x" + "0" * 78, "p" + "٣" * 78, 5, 1.0, Decimal("1.5")]
)
def test_anything_else_in_the_database_is_an_error(stored: object) -> None:
    with pytest.raises(StoredAmountError):
        decode(stored)


def test_more_than_78_digits_are_refused() -> None:
    with pytest.raises(AmountError):
        encode(10**78)


def test_postgresql_gets_an_exact_numeric_with_a_numeric_check() -> None:
    sql = str(CreateTable(Row.metadata.tables["postings"]).compile(dialect=postgresql.dialect()))
    assert "amount NUMERIC(78, 0)" in sql
    assert "CHECK (amount > 0)" in sql
