"""The audit reads an entry of many lines, parts and holds as streams: memory grows with none of them."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlmodel import Session

from ledger import checks, holds, journal, registry
from ledger.checks import Fault
from ledger.database import Ledger
from ledger.holds import Change, NewHold
from ledger.lines import credit, debit
from ledger.money import Asset
from tests.alone import alone

MANY = 400
SECTIONS: dict[str, Callable[[Session], Iterator[Fault]]] = {
    "journal": checks.journal_faults,
    "accounts": checks.account_faults,
    "holds": checks.hold_faults,
    "periods": checks.period_faults,
    "registry": checks.registry_faults,
}


@pytest.fixture(scope="module")
def long_entry(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Books with one entry that says a lot and pays many, and one that holds something for each of them."""
    with Ledger.create(tmp_path_factory.mktemp("long") / "books.db") as books, books.writing() as session:
        registry.use_asset(session, Asset("EUR", 2))
        names = [f"c{number}" for number in range(MANY)]
        for name in names:
            registry.add_contributor(session, name)
        said: dict[str, Any] = {"kind": "test", "subject": "x", "key": "paid", "payload": {"text": "y" * 200_000}}
        lines = [debit("buyer", "EUR", 9 * MANY), *(credit(f"payable:{name}", "EUR", 9) for name in names)]
        journal.post(session, lines=lines, parts=[(name, {"paid": "9"}) for name in names], **said)
        made = [
            NewHold("holdback", f"holdback:{name}", f"payable:{name}", f"payable:{name}", "EUR", 5) for name in names
        ]
        posted = holds.hold_all(session, made, kind="test", subject="x", key="held", payload=said["payload"])
        numbers = [hold.id for hold in holds.made_by(session, posted.entry.sequence)]
        steps = [Change(number, holds.POSTED, 2) for number in numbers]
        holds.change(session, steps, kind="test", subject="x", key="released")
    return books


@pytest.mark.parametrize("section", SECTIONS)
@alone
def test_the_audit_holds_one_entrys_text_and_not_one_for_each_of_its_rows(long_entry: Ledger, section: str) -> None:
    with long_entry.reading() as session:
        assert list(SECTIONS[section](session)) == []  # what is imported and compiled once does not count
        tracemalloc.start()
        assert list(SECTIONS[section](session)) == []
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10_000_000
