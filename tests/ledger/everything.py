"""Books in which everything has happened: every table has rows, and every kind of entry has been made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlmodel import Session

from ledger import (
    appeals,
    bookkeeping,
    disputes,
    estates,
    groups,
    holds,
    journal,
    later_valuations,
    payouts,
    periods,
    registry,
    releases,
    settlement,
    stakes,
)
from ledger.database import Clock
from ledger.holds import Change, NewHold
from ledger.money import Amount, Asset
from ledger.policies import Cap, Holdback, Minimum, StopPayment, Terms, Vesting, Withholding
from ledger.registry import Task
from ledger.settlement import settle
from ledger.valuation import book_run
from tests.ledger import on_chain
from tests.ledger.records import synthetic_record, with_beside

PEOPLE = ("alice", "bob", "carol")
VALUES = [
    {"alice": [0.5, 0.25], "bob": [-0.25, -0.125], "carol": [0.0, 0.0]},
    {"alice": [0.25, 0.25], "bob": [0.5, 0.25], "carol": [0.125, 0.125]},
    {"alice": [0.125, 0.5], "bob": [0.25, 0.5], "carol": [0.125, 0.25]},
    {"alice": [0.25, 0.25], "bob": [0.25, 0.125], "carol": [-0.125, -0.125]},
]


def clock(start: str) -> Clock:
    """A clock that advances a second at each look."""
    seconds = count()
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    return lambda: first + timedelta(seconds=next(seconds))


def fill(session: Session, folder: Path) -> None:
    """Let it all happen; records of runs are saved in `folder`."""
    session.info["clock"] = clock("2026-03-02")
    data = _register(session)
    runs = [_book(session, folder, number, data) for number in range(len(VALUES))]
    _settle(session, runs)
    periods.close_period(session, "2026-03-01", "the auditors asked")
    _keep_accounts(session)
    _hold(session)
    session.info["clock"] = clock("2026-06-02")
    releases.release(session)
    _dispute(session, runs[1])
    settlement.reverse(session, runs[3], "wrong terms")
    registry.withdraw_consent(session, data["carol"][0], "2026-06-01")
    _pay(session)
    periods.close_period(session, "2026-05-31")
    # Late: it happened in a closed period, and is booked forward.
    stakes.deposit(session, "bob", Amount.parse("1.00 EUR"), key="late", event_at="2026-05-05")
    _value_otherwise(session, folder, data)
    on_chain.everything(session)


def _register(session: Session) -> dict[str, list[str]]:
    for name in PEOPLE:
        registry.add_contributor(session, name, name.title())
        records = [f"{name} one", f"{name} two", f"{name} two", "shared"]
        options = {"name": f"{name}'s texts", "licence": "CC-BY-4.0", "consent_given_at": "2026-01-01"}
        registry.register_dataset(session, name, records, paths=[f"data/{name}"], **options)
    for name in ("heir", "other-heir"):
        registry.add_contributor(session, name)
    groups.create_group(session, "copies", ["heir", "other-heir"], "the same records")
    estates.set_estate(session, "carol", {"carol": 2, "heir": 1}, reason="a will")
    tasks = [
        Task("sport", ["held out"], ["sport"], weight="1"),
        Task("business", ["and this"], ["business"], weight="3"),
    ]
    registry.add_objective(session, "news", tasks)
    return {name: [registry.datasets(session, name)[0].fingerprint] for name in PEOPLE}


def _book(session: Session, folder: Path, number: int, data: dict[str, list[str]]) -> str:
    objective = {task.task: task.fingerprint for task in registry.objective_tasks(session, "news")}
    details: dict[str, Any] = {"ended_at": "2026-03-01T13:00:00Z", "data": data, "objective": objective}
    record = synthetic_record(
        VALUES[number],
        tasks=("sport", "business"),
        weights=(0.25, 0.75),
        house=(0.01, -0.005),
        gap=(1e-4, -2e-4),
        number=number,
        **details,
    )
    return book_run(session, record.save(folder / f"run-{number}")).run.id


def _value_otherwise(session: Session, folder: Path, data: dict[str, list[str]]) -> None:
    """A run with two valuations is settled by its own; a dispute calls for a third, which is added and settled by."""
    objective = {task.task: task.fingerprint for task in registry.objective_tasks(session, "news")}
    options: dict[str, Any] = {
        **{"tasks": ("sport", "business"), "weights": (0.25, 0.75), "house": (0.01, -0.005), "gap": (1e-4, -2e-4)},
        **{"data": data, "objective": objective},
    }
    own = synthetic_record(VALUES[0], method={"name": "path", "every": 1}, rows=dict.fromkeys(PEOPLE, 3), **options)
    run = book_run(session, with_beside(own, counterfactual=VALUES[1]).save(folder / "run-valued")).run.id
    settled = settle(session, run, Terms("rate", Amount.parse("10.00 EUR"))).settlement
    assert settled is not None
    options |= {"method": {"name": "retraining"}, "steps": 1}
    other = synthetic_record(VALUES[1], **options).save(folder / "retrained")
    amount = Amount.parse("1.00 EUR")
    opened = disputes.open_dispute(
        session, "bob", "alice", settled.entry, amount, "c" * 64, calls_for="retraining", reason="nobody else has it"
    )
    later_valuations.add(session, run, other)
    appeals.resolve(session, opened.entry, "claimant", "so it was")


def _settle(session: Session, runs: list[str]) -> None:
    settle(session, runs[0], Terms("rate", Amount.parse("1000.00 EUR"), "carry", fee_basis_points=100))
    policies = (
        Cap(amount=40_000),
        Withholding(1000),
        Holdback(1000, "2026-06-01"),
        Vesting(((None, 1), ("2026-06-01", 1), ("2027-06-01", 1))),
        Minimum(100),
        StopPayment(),
    )
    settle(session, runs[1], Terms("pool", Amount.parse("500.00 EUR"), policies=policies))
    settle(session, runs[2], Terms("pool", Amount.parse("1 EUR")))
    settlement.reverse(session, runs[2], "wrong budget")
    settle(session, runs[2], Terms("pool", Amount.parse("1.00 USDC", exponent=6), fee_basis_points=250))
    stakes.deposit(session, "carol", Amount.parse("5.00 EUR"), key="stake", reference="SEPA-1")
    settle(
        session, runs[3], Terms("rate", Amount.parse("100.00 EUR"), "slash", policies=(Holdback(5000, "2026-05-01"),))
    )


def _keep_accounts(session: Session) -> None:
    registry.use_asset(session, Asset("USD", 2))
    bookkeeping.open_account(session, "fee", "USD", floor=-100_000, reason="a credit line")
    bookkeeping.open_account(session, "house", "USD", floor=None, reason="to have one")
    bookkeeping.convert(session, "payable:alice", Amount.parse("20.00 EUR"), Asset("USD", 2), "1.08", key="fx")
    bookkeeping.freeze(session, "payable:alice", "USD", "looked into")
    bookkeeping.free(session, "payable:alice", "USD", "found nothing")
    bookkeeping.remit(session, "withheld", Amount.parse("10.00 EUR"), key="tax", reference="TAX-2026-03")
    bookkeeping.close(session, "payable:alice", "USD", "house", "not used any more")
    fee = bookkeeping.remit(session, "fee", Amount.parse("1.00 EUR"), key="fee").entry.sequence
    journal.reverse(session, fee, "typed twice", event_at="2026-03-02")


def _hold(session: Session) -> None:
    def hold(key: str, **more: Any) -> int:
        terms = ("payout", "in_flight:alice", "payable:alice", "paid:alice", "EUR", 700)
        return holds.open_hold(session, NewHold(*terms, **more), key=key, reason="sent").id

    def step(key: str, *changes: Change) -> int:
        return holds.change(session, changes, kind="payout confirmed", subject="alice", key=key).entry.sequence

    first, second, third = hold("1"), hold("2", expires_at="2026-04-01T00:00:00.000000Z"), hold("3")
    wrong = step("wrong", Change(first, holds.POSTED, 100), Change(third, holds.VOIDED, 50))
    holds.reverse(session, wrong, "of another contributor")
    step("right", Change(first, holds.POSTED, 200))
    holds.reverse(session, holds.made_by(session, hold_entry(session, third))[0].entry, "sent twice")
    session.info["clock"] = clock("2026-04-02")
    assert holds.expire_due(session, reason="never arrived").entry is not None
    assert second


def hold_entry(session: Session, number: int) -> int:
    """The entry that made a hold."""
    return holds.open_holds(session)[number][0].entry


def _dispute(session: Session, run: str) -> None:
    settled = settlement.attempts(session, settlement.scope_of(session, run))[-1].entry
    amount = Amount.parse("1.00 EUR")
    opened = disputes.open_dispute(session, "alice", "bob", settled, amount, "e" * 64, reason="mine")
    disputes.resolve(session, opened.entry, "claimant", "it was")
    disputes.open_dispute(session, "carol", "bob", settled, amount, "f" * 64)
    refused = disputes.open_dispute(session, "bob", "alice", settled, amount, "d" * 64)
    disputes.resolve(session, refused.entry, "respondent", "it was not")


def _pay(session: Session) -> None:
    sent = payouts.start(session, "bob", "EUR", 1000, key="pay", reference="SEPA-2")
    payouts.confirm(session, sent.id, 600, key="arrived")
    payouts.fail(session, sent.id, "account closed", key="failed")
    stakes.withdraw(session, "carol", Amount.parse("1.00 EUR"), key="back")
