from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, MetaData, Table, select

from ledger.bulk import FEW, add_rows
from ledger.database import Ledger
from ledger.exact_integer import BALANCE_DIGITS, ExactInteger
from ledger.text import Text


class Thing:
    """A table with a column of every type that the ledger's tables have."""

    __table__ = Table(
        "things",
        MetaData(),
        Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("words", Text()),
        Column("amount", ExactInteger(BALANCE_DIGITS)),
        Column("digest", LargeBinary(32)),
        Column("whole", Boolean),
    )


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
BOUND = 2**256 - 1
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "words": st.none() | WORDS,
            "amount": st.none() | st.integers(-BOUND, BOUND),
            "digest": st.none() | st.binary(max_size=32),
            "whole": st.none() | st.booleans(),
        }
    ),
    max_size=FEW + 5,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ROWS)
def test_rows_come_back_as_they_were_given(books: Ledger, given_rows: list[dict[str, Any]]) -> None:
    rows = [{"id": 2**62 + place, **row} for place, row in enumerate(given_rows)]
    with books.engine.connect() as connection:
        Thing.__table__.create(connection)
        add_rows(connection, Thing, rows)
        found = connection.execute(select(Thing.__table__).order_by(Thing.__table__.c.id))
        assert [dict(row._mapping) for row in found] == rows
