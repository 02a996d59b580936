"""Settlements changed in place, with every guard out of the way, are found by the check that recomputes them."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from ledger import disputes, estates, payouts, registry, stakes
from ledger.checks import Fault, settlement_faults
from ledger.database import Ledger
from ledger.exact_integer import encode
from ledger.money import Amount
from ledger.policies import Cap, Holdback, Minimum, StopPayment, Terms, Withholding
from ledger.settlement import reverse, settle
from ledger.valuation import book_run
from tests.ledger.records import synthetic_record

TWO: dict[str, Any] = {
    "tasks": ("sport", "business"),
    "weights": (0.25, 0.75),
    "house": (0.01, -0.005),
    "gap": (1e-4, -2e-4),
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books in which settlements of every sort were made, one of them reversed after it was paid."""
    folder = tmp_path_factory.mktemp("settled")
    with Ledger.create(folder / "books.db") as books, books.writing() as session:
        _fill(session, folder)
    return folder / "books.db"


def _fill(session: Session, folder: Path) -> None:
    for name in ("alice", "bob", "carol"):
        registry.add_contributor(session, name)
        options = {"name": name, "licence": "MIT", "consent_given_at": "2026-01-01"}
        registry.register_dataset(session, name, [f"{name} one"], **options)  # type: ignore[arg-type]
    data = {name: [registry.datasets(session, name)[0].fingerprint] for name in ("alice", "bob", "carol")}

    def run(number: int, **values: list[float]) -> str:
        record = synthetic_record(values, number=number, data={name: data[name] for name in values}, **TWO)
        return book_run(session, record.save(folder / f"run-{number}")).run.id

    whole, together, paired, tasks, worse = (run(n, alice=[0.5, 0.25], bob=[0.25, 0.5]) for n in range(5))
    bad = run(5, alice=[0.5, 0.5], bob=[-0.25, -0.25])
    stakes.deposit(session, "bob", Amount.parse("5.00 EUR"), key="stake")
    estates.set_estate(session, "alice", {"alice": 1, "carol": 1})
    agreed = (Cap(amount=6000), Withholding(500), Minimum(100), Holdback(1000, "2027-01-01"), StopPayment())
    first = settle(session, whole, Terms("pool", Amount.parse("100.00 EUR"), policies=agreed))
    settle(session, bad, Terms("rate", Amount.parse("50.00 EUR"), "slash", 100))
    settle(session, together, Terms("pool", Amount.parse("7.00 EUR"), policies=(Minimum(0),)))
    reverse(session, together, "to be settled with another")
    settle(session, [together, paired], Terms("rate", Amount.parse("10.00 EUR"), "carry"))
    for task in ("sport", "business"):
        settle(session, tasks, Terms("pool", Amount.parse("10.00 EUR"), task=task))
    assert first.settlement is not None
    claim = Amount.parse("1.00 EUR")
    dispute = disputes.open_dispute(session, "carol", "bob", first.settlement.entry, claim, "e" * 64)
    settle(session, worse, Terms("pool", Amount.parse("30.00 EUR"), policies=(StopPayment(),)))
    disputes.resolve(session, dispute.entry, "respondent", "nothing to it")
    payouts.start(session, "bob", "EUR", key="pay")
    reverse(session, whole, "wrong budget")
    settle(session, whole, Terms("pool", Amount.parse("90.00 EUR"), policies=agreed))


@pytest.fixture
def found(original: Path, tmp_path: Path) -> Callable[..., list[Fault]]:
    """What the check finds after some SQL."""

    def found(*changes: str) -> list[Fault]:
        place = Path(shutil.copyfile(original, tmp_path / "books.db"))
        connection = sqlite3.connect(place)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        for change in changes:
            assert connection.execute(change).rowcount > 0, change
        connection.commit()
        connection.close()
        with Ledger.open(place) as books, books.reading() as session:
            return list(settlement_faults(session))

    return found


def test_what_nobody_touched_has_no_fault(found: Callable[..., list[Fault]]) -> None:
    assert found() == []


FIRST = "(SELECT min(entry) FROM settlements)"
LAST = "(SELECT max(entry) FROM settlements)"
TOGETHER = "(SELECT settlement FROM settled_runs GROUP BY settlement HAVING count(*) = 2)"
TASK = "(SELECT min(entry) FROM settlements WHERE task = 'sport')"
STOPPED = "(SELECT entry FROM parts WHERE payload LIKE '%dispute%')"
ALONE = '(SELECT entry FROM settlements WHERE policies LIKE \'[{"amount":"0"%\')'
SHORTFALL = "(SELECT sequence FROM entries WHERE kind = 'shortfall')"


@pytest.mark.parametrize(
    ("check", "words", "change"),
    [
        ("payouts", "terms", f"UPDATE settlements SET mode = 'rate' WHERE entry = {LAST}"),
        ("payouts", "amount", f"UPDATE settlements SET amount = '{encode(9001)}' WHERE entry = {LAST}"),
        ("settlements", "amount", f"UPDATE settlements SET amount = 'junk' WHERE entry = {LAST}"),
        ("settlements", "'NOPE'", f"UPDATE settlements SET asset = 'NOPE' WHERE entry = {LAST}"),
        ("payouts", "negative", f"UPDATE settlements SET negative = 'carry' WHERE entry = {LAST}"),
        ("settlements", "'gift'", f"UPDATE settlements SET negative = 'gift' WHERE entry = {LAST}"),
        ("payouts", "fee", f"UPDATE settlements SET fee_basis_points = 1 WHERE entry = {LAST}"),
        ("payouts", "partial", f"UPDATE settlements SET partial = 1 WHERE entry = {LAST}"),
        ("payouts", "policies", f"UPDATE settlements SET policies = '[]' WHERE entry = {LAST}"),
        ("settlements", "policy", f"UPDATE settlements SET policies = '[{{}}]' WHERE entry = {LAST}"),
        ("settlements", "subject", f"UPDATE settlements SET task = 'sport' WHERE entry = {LAST}"),
        ("settlements", "subject", f"UPDATE settlements SET task = 'business' WHERE entry = {TASK}"),
        ("settlements", "is not its entry", f"UPDATE settlements SET subject = 'x' WHERE entry = {LAST}"),
        ("settlements", "attempt", f"UPDATE settlements SET attempt = 7 WHERE entry = {LAST}"),
        ("payouts", "funding", f"UPDATE settlements SET funding = NULL WHERE entry = {LAST}"),
        ("settlements", "missing", f"DELETE FROM settlements WHERE entry = {LAST}"),
        ("settlements", "subject", f"DELETE FROM settled_runs WHERE settlement = {LAST}"),
        (
            "settlements",
            "subject",
            f"DELETE FROM settled_runs WHERE settlement = {TOGETHER} AND run = (SELECT max(run) FROM settled_runs "
            f"WHERE settlement = {TOGETHER})",
        ),
        ("settlement rules", "is settled already", f"UPDATE entries SET reverses = 1 WHERE reverses = {ALONE}"),
        ("payouts", "'bob'", f"UPDATE parts SET payload = '{{}}' WHERE entry = {LAST} AND contributor = 'bob'"),
        (
            "payouts",
            "netted",
            f'UPDATE parts SET payload = replace(payload, \'"netted":"\', \'"netted":"1\') WHERE entry = {LAST}',
        ),
        ("payouts", "'carol'", f"UPDATE parts SET contributor = 'carol' WHERE entry = {LAST} AND contributor = 'bob'"),
        ("payouts", "'nobody'", f"DELETE FROM parts WHERE entry = {LAST} AND contributor = 'bob'"),
        (
            "payouts",
            "posting",
            f"UPDATE postings SET amount = '{encode(1)}' WHERE entry = {LAST} AND account = 'withheld'",
        ),
        (
            "totals",
            "the pool of",
            f"UPDATE postings SET amount = '{encode(1)}' WHERE entry = {LAST} AND account = 'withheld'",
        ),
        (
            "payouts",
            "funding of",
            f"UPDATE postings SET amount = '{encode(1)}' WHERE entry = {LAST} - 1",
        ),
        (
            "settlement rules",
            "was made as of",
            f'UPDATE entries SET payload = replace(payload, \'"as_of":"2\', \'"as_of":"1\') WHERE sequence = {LAST}',
        ),
        ("consent", "'bob'", "UPDATE consents SET effective_at = '2026-03-05T00:00:00.000000Z' WHERE rowid = 2"),
        ("payouts", "payees", """UPDATE estates SET payees = '{"carol":1}'"""),
        ("payouts", "stopped", "DELETE FROM disputes"),
        ("payouts", "slashed", "UPDATE postings SET balance = '" + encode(1, 97) + "' WHERE account = 'stake:bob'"),
        (
            "settlement rules",
            "partial",
            "UPDATE entries SET payload = replace(payload, '\"complete\":true', "
            "'\"complete\":false') WHERE kind = 'valuation'",
        ),
        ("settlements", "both settle it", "UPDATE entries SET reverses = NULL WHERE reverses IS NOT NULL"),
        ("shortfalls", "posting", f"UPDATE postings SET amount = '{encode(1)}' WHERE entry = {SHORTFALL}"),
        ("shortfalls", "contributors", f"UPDATE parts SET payload = '{{}}' WHERE entry = {SHORTFALL}"),
        ("shortfalls", "names no settlement", f"UPDATE entries SET payload = '{{}}' WHERE sequence = {SHORTFALL}"),
        (
            "shortfalls",
            "does not follow it",
            f"UPDATE entries SET reverses = reverses + 10000 WHERE sequence = {SHORTFALL} + 1",
        ),
    ],
)
def test_a_change_is_named(found: Callable[..., list[Fault]], check: str, words: str, change: str) -> None:
    faults = found(change)
    assert any(fault.check == check and words in fault.detail for fault in faults), faults
