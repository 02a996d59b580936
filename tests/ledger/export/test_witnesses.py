"""hledger and beancount, as installed, read the books, sum them up as we do, and find what is wrong with them."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from ledger import journal, registry
from ledger.accounts import KINDS
from ledger.database import Ledger
from ledger.errors import ExportDigitsError
from ledger.export.beancount import beancount
from ledger.export.extract import Extract
from ledger.lines import credit, debit
from ledger.models import Account, Entry
from ledger.money import LARGEST_AMOUNT, NAT, Asset
from tests.ledger.export import witnesses
from tests.ledger.export.conftest import EUR, WEI, pay
from tests.ledger.export.witnesses import ACCOUNTS, BALANCES, REFUSAL, TOLD, exported, ours

WITNESSES = sorted(REFUSAL)
# A number before a commodity: what may be wrong in a posting or in a balance.
AMOUNT = re.compile(r'(?<=[ -])(?<!~ )[0-9]+(\.[0-9]+)?(?= (~ 0 )?("|[A-Z]|nat))')


@pytest.mark.parametrize("witness", WITNESSES)
def test_a_witness_reads_everything_and_holds_what_we_hold(busy: Ledger, witness: str) -> None:
    text = exported(busy, witness)
    assert REFUSAL[witness](text) == ""
    held = ours(busy)
    assert {account.partition(":")[0] for account, _ in held} == set(KINDS)
    assert {commodity for _, commodity in held} == {"EUR", "JPY", "W31", "nat"}
    told = BALANCES[witness](text)
    assert told.keys() <= held.keys()
    assert {key: told.get(key, 0) for key in held} == held


@pytest.mark.parametrize("witness", WITNESSES)
def test_a_witness_is_told_of_every_account_and_every_entry(busy: Ledger, witness: str) -> None:
    text = exported(busy, witness)
    with busy.reading() as session:
        assert ACCOUNTS[witness](text) == set(session.exec(select(Account.name)))
        entries = session.exec(select(Entry)).all()
        assert any(entry.event_at[:10] != entry.recorded_at[:10] for entry in entries)
        assert TOLD[witness](text) == {entry.sequence: facts(entry) for entry in entries}


def facts(entry: Entry) -> dict[str, str]:
    names = ("kind", "subject", "event_at", "recorded_at", "reason", "reference", "key", "reverses", "hash")
    said = {name: str(getattr(entry, name)) for name in names if getattr(entry, name) is not None}
    return {**said, "day": entry.event_at[:10]}


@pytest.mark.parametrize("witness", WITNESSES)
def test_an_empty_ledger_is_read_too(books: Ledger, witness: str) -> None:
    text = exported(books, witness)
    assert REFUSAL[witness](text) == ""
    assert BALANCES[witness](text) == {}


class Undone(Exception):
    """Ends a transaction without its changes."""


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40).filter(str.strip)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.none() | TEXTS), min_size=1, max_size=30))
def test_any_text_comes_through(books: Ledger, said: list[tuple[str, str, str | None]]) -> None:
    with suppress(Undone), books.writing() as session:
        registry.use_asset(session, EUR)
        for number, (subject, reason, reference) in enumerate(said):
            journal.post(
                session,
                kind="test",
                subject=subject,
                key=f"{number} {reason}",
                payload={},
                lines=[debit("buyer", "EUR", 5), credit("escrow", "EUR", 5)],
                reason=reason,
                reference=reference,
            )
        extract = Extract(session)
        for witness in WITNESSES:
            text = "".join(witnesses.FORMATS[witness](extract))
            assert TOLD[witness](text) == {entry.sequence: facts(entry) for entry in session.exec(select(Entry))}
        raise Undone  # so that every example begins anew


@pytest.mark.parametrize("witness", WITNESSES)
def test_any_one_amount_that_is_wrong_is_found(books: Ledger, witness: str) -> None:
    with books.writing() as session:
        for who in ("alice", "9th"):
            registry.add_contributor(session, who, who)
        for asset in (EUR, WEI):
            registry.use_asset(session, asset)
            pay(session, asset, 10 ** (asset.exponent + 3) + 7)
    text = exported(books, witness)
    start = re.search(r"\n +\S*buyer ", text, re.IGNORECASE)
    assert start is not None
    head, body = text[: start.start()], text[start.start() :]
    found = list(AMOUNT.finditer(body))
    assert len(found) >= 12
    for amount in found:
        last = int(amount[0][-1])
        wrong = f"{body[: amount.end() - 1]}{(last + 1) % 10}{body[amount.end() :]}"
        assert "balance" in REFUSAL[witness](head + wrong).lower(), amount[0]


@pytest.mark.parametrize("witness", WITNESSES)
def test_an_entry_that_balances_but_is_not_ours_is_found(busy: Ledger, witness: str) -> None:
    text = exported(busy, witness)
    entries = text.split("\n\n")
    late = [place for place, entry in enumerate(entries) if "run of EUR" in entry]
    assert len(late) == 1
    entry = entries[late[0]]
    for instead in ([entry.replace("0.99 EUR", "0.98 EUR").replace("-0.96 EUR", "-0.95 EUR")], [], [entry, entry]):
        wrong = "\n\n".join([*entries[: late[0]], *instead, *entries[late[0] + 1 :]])
        assert wrong != text
        found = REFUSAL[witness](wrong)
        assert "balance" in found.lower()
        assert "does not balance" not in found


@pytest.mark.parametrize("witness", WITNESSES)
def test_an_account_or_a_commodity_that_is_not_declared_is_found(busy: Ledger, witness: str) -> None:
    text = exported(busy, witness)
    for declared in ("payable:9th", "Payable:9th"):
        lines = [line for line in text.splitlines() if not re.match(rf"(\S+ open|account) \S*{declared}\b", line)]
        if len(lines) < len(text.splitlines()):
            assert REFUSAL[witness]("\n".join([*lines, ""]))
            return
    raise AssertionError("no account was declared")


def huge(books: Ledger) -> str:
    """Books of the largest amounts there can be, several times over; the export for hledger."""
    with books.writing() as session:
        registry.add_contributor(session, "alice", "Alice")
        registry.use_asset(session, WEI)
        for number in range(3):
            lines = [debit("buyer", "W31", LARGEST_AMOUNT - number), credit("escrow", "W31", LARGEST_AMOUNT - number)]
            journal.post(session, kind="test", subject="x", key=f"{number}", payload={}, lines=lines)
        lines = [debit("improvement", NAT, 2**255), credit("value:alice", NAT, 2**255 - 1), credit("gap", NAT, 1)]
        journal.post(session, kind="test", subject="y", key="y", payload={}, lines=lines)
    return exported(books, "hledger")


def test_hledger_sums_the_largest_amounts_exactly(books: Ledger) -> None:
    text = huge(books)
    assert witnesses.hledger_refusal(text) == ""
    assert witnesses.hledger_balances(text) == ours(books)


def test_beancount_sums_the_largest_amounts_exactly_when_it_counts_far_enough(books: Ledger, tmp_path: Path) -> None:
    huge(books)
    with books.reading() as session:
        text = "".join(beancount(Extract(session), digits=100))
    with witnesses.decimal.localcontext(witnesses.widened(100)):
        assert witnesses.beancount_refusal(text) == ""
        assert witnesses.beancount_balances(text) == ours(books)
    assert "does not balance" in witnesses.beancount_refusal(text), "as it is, it rounds: hence the refusal"
    path = tmp_path / "books.beancount"
    path.write_text(text)
    code = re.search(r'python -c "(.*)" THIS', text)
    assert code is not None
    checked = subprocess.run([sys.executable, "-c", code[1], path], capture_output=True, text=True, timeout=120)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("lines", "where", "needed"),
    [
        ([debit("buyer", "W31", 10**28), credit("escrow", "W31", 10**28)], "entry", 29),
        (
            [
                *(debit(account, "W31", 10**28 - 1) for account in ("buyer", "bank")),
                *(credit(account, "W31", 10**28 - 1) for account in ("escrow", "fee")),
            ],
            "entry",
            29,
        ),
        ([debit("buyer", "W31", 10**28 - 1), credit("escrow", "W31", 10**28 - 1)], "account 'buyer'", 29),
    ],
)
def test_what_beancount_would_round_is_refused(books: Ledger, lines: list, where: str, needed: int) -> None:
    with books.writing() as session:
        registry.use_asset(session, WEI)
        small = [debit("buyer", "W31", 1), credit("escrow", "W31", 1)]
        for key, posted in enumerate((lines, small)):
            journal.post(session, kind="test", subject="x", key=f"{key}", payload={}, lines=posted)
        with pytest.raises(ExportDigitsError, match=f"^{where}.* needs {needed} digits in W31") as raised:
            list(beancount(Extract(session)))
        assert raised.value.digits == 28
        assert list(beancount(Extract(session), digits=29))


def test_what_beancount_just_still_counts_is_exact(books: Ledger) -> None:
    with books.writing() as session:
        registry.use_asset(session, WEI)
        for key, units in enumerate((10**28 - 2, 1)):
            lines = [debit("buyer", "W31", units), credit("escrow", "W31", units)]
            journal.post(session, kind="test", subject="x", key=f"{key}", payload={}, lines=lines)
    text = exported(books, "beancount")
    assert witnesses.beancount_refusal(text) == ""
    assert witnesses.beancount_balances(text) == ours(books)
    assert witnesses.beancount_refusal(text.replace("0.000000000000000001", "0.000000000000000002", 1))


def test_the_command_that_the_export_names_checks_it(busy: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "books.beancount"
    text = exported(busy, "beancount")
    assert "with: bean-check THIS\n" in text
    assert text.count(" 1000.07 EUR") > 1
    for content, code in ((text, 0), (text.replace(" 1000.07 EUR", " 1000.06 EUR", 1), 1)):
        path.write_text(content)
        program = Path(sys.executable).with_name("bean-check")
        assert subprocess.run([program, path], capture_output=True, timeout=120).returncode == code


@pytest.mark.parametrize("code", ["NAT", "TRUE", "FALSE", "NULL"])
@pytest.mark.parametrize("witness", WITNESSES)
def test_assets_with_names_that_mean_something_else_are_told_apart(books: Ledger, witness: str, code: str) -> None:
    with books.writing() as session:
        registry.use_asset(session, Asset(code, 3))
        for commodity, units in ((code, 5), (NAT, 7)):
            lines = [debit("house", commodity, units), credit("gap", commodity, units)]
            journal.post(session, kind="test", subject="x", key=commodity, payload={}, lines=lines)
    text = exported(books, witness)
    assert REFUSAL[witness](text) == ""
    assert BALANCES[witness](text) == ours(books)
    assert len(ours(books)) == 4


def test_a_missing_hledger_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(pytest.fail.Exception, match="apt-get install hledger"):
        witnesses.hledger_refusal("")
