import hashlib
import json
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import Session

from ledger import balances, journal, registry
from ledger.balances import NOW, Moment, Total
from ledger.database import Ledger
from ledger.lines import Line, debit
from ledger.money import LARGEST_AMOUNT, Asset

ASSETS = [Asset("EUR", 2), Asset("JPY", 0), Asset("WEI", 18)]
NAMES = ["buyer", "house", "gap", "fee", "value:alice", "conversion"]
START = datetime(2026, 3, 3, tzinfo=UTC)
ON_EACH_DATABASE = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

MOVES = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.sampled_from(ASSETS),
        st.integers(1, 100) | st.integers(1, LARGEST_AMOUNT),
        st.none() | st.integers(0, 20),  # so many hours before it was recorded
        st.integers(1, 5),  # so many hours later it is recorded
    ),
    max_size=12,
)


def hour(number: int) -> datetime:
    return START + timedelta(hours=number)


def move(session: Session, lines: list[Line], at: datetime | None = None) -> journal.Posted:
    for asset in ASSETS:
        registry.use_asset(session, asset)
    key = f"move {journal.head(session)[0]}"
    return journal.post(session, kind="test", subject="x", key=key, payload={}, lines=lines, event_at=at)


@ON_EACH_DATABASE
@given(moves=MOVES, hours=st.integers(-20, 40))
def test_balances_as_of_any_moment_are_the_sums_of_what_had_happened_or_was_recorded(
    staffed: Ledger, moves: list[tuple[Any, ...]], hours: int
) -> None:
    """Against sums in plain Python, through every way of asking."""
    connection = staffed.engine.connect()
    transaction = connection.begin()
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        session.info.update(folder=None)
        now, told = 0, []
        for by, to, asset, amount, late, later in moves:
            now += later
            at = None if late is None else hour(now - late)
            session.info["clock"] = lambda now=now: hour(now)
            lines = [debit(by, asset.code, amount), debit(to, asset.code, -amount)]
            entry = move(session, lines, at).entry
            if by != to:
                told.append((entry.sequence, at or hour(now), hour(now), lines))
        middle = told[len(told) // 2][0] if told else 1
        for moment, included in (
            (NOW, lambda n, at, on: True),
            (Moment.of(event_at=hour(hours)), lambda n, at, on: at <= hour(hours)),
            (Moment.of(recorded_at=hour(hours)), lambda n, at, on: on <= hour(hours)),
            (Moment(before=middle), lambda n, at, on: n < middle),
            (replace(Moment.of(None, hour(hours)), before=middle), lambda n, at, on: n < middle and on <= hour(hours)),
            (Moment.of(hour(hours), hour(5)), lambda n, at, on: at <= hour(hours) and on <= hour(5)),
        ):
            wanted: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
            for number, at, on, lines in told:
                if included(number, at, on):
                    for line in lines:
                        wanted[line.account, line.commodity][line.side == "credit"] += line.amount
            totals = balances.totals(session, moment)
            assert {(total.account, total.commodity): [total.debit, total.credit] for total in totals} == wanted
            for name in NAMES:
                sign = 1 if name == "buyer" else -1
                held = {code: sign * (dr - cr) for (account, code), (dr, cr) in wanted.items() if account == name}
                assert balances.balances(session, name, moment) == held
                assert [balances.balance(session, name, a.code, moment) for a in ASSETS] == [
                    held.get(a.code, 0) for a in ASSETS
                ]
            of_alice = wanted.get(("value:alice", "EUR"))
            found = balances.by_contributor(session, "value", "EUR", moment)
            assert found == ({"alice": of_alice[1] - of_alice[0]} if of_alice else {})
            assert balances.seal(session, moment) == sealed(wanted)
    transaction.rollback()
    connection.close()


def sealed(sums: dict[tuple[str, str], list[int]]) -> str:
    """The seal as it is documented, by this interpreter's JSON."""
    rows = [
        {"account": account, "commodity": commodity, "credit": str(credit), "debit": str(debit)}
        for (account, commodity), (debit, credit) in sorted(sums.items())
    ]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def test_a_seal_does_not_depend_on_how_a_server_sorts(books: Ledger) -> None:
    """In many languages "a.b" comes after "ab" and "a-c" between them; the seal goes by bytes."""
    names = ["ab", "a.b", "a-c", "a_d", "b", "a0"]
    with books.writing() as session:
        for name in names:
            registry.add_contributor(session, name)
        move(session, [debit("buyer", "EUR", len(names)), *(debit(f"payable:{name}", "EUR", -1) for name in names)])
        wanted = {("buyer", "EUR"): [len(names), 0]} | {(f"payable:{name}", "EUR"): [0, 1] for name in names}
        assert balances.seal(session, NOW) == sealed(wanted)
        assert [total.account for total in balances.totals(session)] == sorted(name for name, _ in wanted)


def test_a_date_includes_its_whole_day() -> None:
    whole = "2026-03-31T23:59:59.999999Z"
    assert Moment.of("2026-03-31") == Moment.of(date(2026, 3, 31)) == Moment(event_at=whole)
    assert Moment.of(recorded_at="2026-03-31") == Moment(recorded_at=whole)
    assert Moment.of("2026-03-31T00:00:00Z").event_at == "2026-03-31T00:00:00.000000Z"


@pytest.mark.parametrize(("side", "balance"), [("debit", 2), ("credit", -2)])
def test_a_total_is_counted_on_the_normal_side(side: str, balance: int) -> None:
    assert Total("x", "EUR", 5, 3, side).balance == balance


def test_of_a_trial_balance_some_can_be_asked_for(books: Ledger) -> None:
    with books.writing() as session:
        move(session, [debit("buyer", "EUR", 5), debit("fee", "EUR", -5)])
        move(session, [debit("buyer", "JPY", 7), debit("fee", "JPY", -7)])
        found = {(total.account, total.commodity) for total in balances.totals(session, kind="fee")}
        assert found == {("fee", "EUR"), ("fee", "JPY")}
        assert [t.debit for t in balances.totals(session, account="buyer", commodity="JPY")] == [7]
