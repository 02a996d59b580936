"""Accounts, balances, periods, entries, conversions and remittances on the command line."""

from __future__ import annotations

import pytest

from tests.ledger.cli.conftest import Run


@pytest.fixture
def settled(ok: Run, booked: str) -> str:
    """A run that was settled: alice is owed 90.00 EUR, 10.00 are withheld, none is bob's."""
    ok(f"settle {booked} --pool 100.00 EUR --withhold 1000")
    return booked


def held(ok: Run, account: str, *options: str) -> dict[str, str]:
    found: dict[str, str] = ok(f"balance {account} --json", *options).json["balances"]
    return found


def test_an_account_says_what_it_holds_in_each_asset(ok: Run, settled: str) -> None:
    assert held(ok, "payable:alice") == {"EUR": "90.00"}
    assert held(ok, "withheld") == {"EUR": "10.00"}

    assert "never touched" in ok("balance payable:bob").out
    assert "payable:alice holds 90.00 EUR" in ok("balance payable:alice").out


def test_a_balance_of_an_earlier_day_is_what_it_was(ok: Run, settled: str) -> None:
    assert held(ok, "payable:alice", "--event-at", "2026-01-01") == {}
    assert held(ok, "payable:alice", "--recorded-at", "2090-01-01") == {"EUR": "90.00"}


def test_both_columns_of_the_trial_balance_have_one_sum(ok: Run, settled: str) -> None:
    found = ok("trial-balance --json").json
    assert set(found["totals"]) == {"EUR", "nat"}
    for total in found["totals"].values():
        assert total["debit"] == total["credit"]
    rows = {(row["account"], row["asset"]): row for row in found["accounts"]}
    assert rows["escrow", "EUR"]["balance"] == "0.00"
    assert rows["buyer", "EUR"] | {"debit": "100.00", "credit": "0.00", "normal_side": "debit"} == rows["buyer", "EUR"]
    assert "payable:alice" in ok("trial-balance").out


def test_accounts_are_listed_with_floor_and_state(ok: Run, settled: str) -> None:
    rows = {(row["account"], row["asset"]): row for row in ok("account list --json").json}
    assert rows["payable:alice", "EUR"]["floor"] == "0.00"
    assert rows["buyer", "EUR"]["floor"] is None
    assert {row["state"] for row in rows.values()} == {"open"}
    mine = ok("account list --contributor alice --json").json
    assert {row["account"] for row in mine} == {"payable:alice", "value:alice"}


def test_a_frozen_account_takes_no_posting_until_it_is_freed(ok: Run, run: Run, settled: str) -> None:
    ok("account freeze payable:alice EUR --reason order")
    assert "frozen" in run("pay start alice EUR --amount 10.00").refusal
    ok("account free payable:alice EUR --reason lifted")
    ok("pay start alice EUR --amount 10.00")
    assert held(ok, "payable:alice") == {"EUR": "80.00"}


def test_an_account_is_opened_with_a_floor_of_its_own(ok: Run, run: Run, settled: str) -> None:
    ok("account open surplus EUR --reason why --floor=-5.00")
    rows = {row["account"]: row for row in ok("account list --json").json if row["asset"] == "EUR"}
    assert rows["surplus"]["floor"] == "-5.00"
    ok("remit surplus --key one", "5.00 EUR")
    assert "may not go below" in run("remit surplus --key two", "0.01 EUR").refusal
    assert "open in EUR already" in run("account open escrow EUR --reason why").refusal


def test_a_closed_account_was_swept_and_takes_nothing_more(ok: Run, run: Run, settled: str) -> None:
    ok("stake deposit alice 5.00 EUR")
    assert "name an account to sweep it to" in run("account close stake:alice EUR --reason left").refusal
    ok("account close stake:alice EUR --sweep-to payable:alice --reason left")
    assert held(ok, "payable:alice") == {"EUR": "95.00"}
    assert "closed" in run("stake deposit alice 5.00 EUR").refusal


def test_what_is_booked_late_counts_after_the_period(ok: Run, settled: str) -> None:
    closed = ok("period close 2026-03-31 --reason quarter --json").json
    assert ok("period close 2026-03-31 --json").json == closed
    assert [row["through"][:10] for row in ok("period list --json").json] == ["2026-03-31"]
    ok("remit withheld --event-at 2026-03-15 --reference late", "4.00 EUR")
    shown = ok("entry list --kind remittance --json").json[0]
    assert shown["event_at"] == shown["recorded_at"]
    assert ok(f"entry show {shown['entry']} --json").json["stated_at"].startswith("2026-03-15")
    assert ok("audit --json").json["ok"]


def test_a_period_that_has_not_passed_is_not_closed(run: Run, settled: str) -> None:
    assert "it has not passed yet" in run("period close 2090-01-01").refusal


def test_a_conversion_has_a_leg_in_each_asset(ok: Run, run: Run, settled: str) -> None:
    said = ok("convert payable:alice --rate 1.0832 --reference FX-1", "50.00 EUR", "USD").out
    assert "50.00 EUR are 54.16 USD at 1.0832" in said
    assert held(ok, "payable:alice") == {"EUR": "40.00", "USD": "54.16"}
    assert held(ok, "conversion") == {"EUR": "50.00", "USD": "-54.16"}
    again = ok("convert payable:alice --rate 1.0832 --reference FX-1 --json", "50.00 EUR", "USD").json
    assert again["repeated"]
    assert "may not go below" in run("convert payable:alice --rate 1", "40.01 EUR", "USD").refusal
    assert "is no rate" in run("convert payable:alice --rate 1e3", "1.00 EUR", "USD").refusal


def test_an_entry_is_shown_whole(ok: Run, run: Run, settled: str) -> None:
    number = ok("entry list --kind settlement --json").json[0]["entry"]
    shown = ok(f"entry show {number} --json").json
    assert {(line["account"], line["side"], line["amount"]) for line in shown["postings"]} == {
        ("escrow", "debit", "100.00"),
        ("payable:alice", "credit", "90.00"),
        ("withheld", "credit", "10.00"),
    }
    assert "withheld" in ok(f"entry show {number}").out
    assert "there is no entry 999" in run("entry show 999").refusal


def test_a_conversion_is_reversed_once_with_its_reason(ok: Run, run: Run, settled: str) -> None:
    number = ok("convert payable:alice --rate 2 --json", "50.00 EUR", "USD").json["entry"]
    made = ok(f"entry reverse {number} --reason typo --json").json
    assert ok(f"entry reverse {number} --reason typo --json").json["entry"] == made["entry"]
    assert held(ok, "payable:alice") == {"EUR": "90.00", "USD": "0.00"}
    assert "reversed it" in run(f"entry reverse {number} --reason other").refusal
    assert ok(f"entry show {number} --json").json["reversed_by"] == made["entry"]


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("settlement", "ghostledger reverse RUN"),
        ("funding", "ghostledger reverse RUN"),
        ("contributor", "it moved nothing"),
        ("valuation", "settled its run"),
    ],
)
def test_what_is_taken_back_in_another_way_says_how(ok: Run, run: Run, settled: str, kind: str, remedy: str) -> None:
    number = ok(f"entry list --kind {kind} --json").json[0]["entry"]
    assert remedy in run(f"entry reverse {number} --reason why").refusal


def test_a_valuation_is_reversed_once_its_settlement_is(ok: Run, run: Run, settled: str) -> None:
    number = ok("entry list --kind valuation --json").json[0]["entry"]
    ok(f"reverse {settled} --reason wrong")
    ok(f"entry reverse {number} --reason wrong")
    assert "was reversed" in run(f"settle {settled} --pool 1.00 EUR").refusal
    assert ok("audit --json").json["ok"]


@pytest.mark.parametrize(
    ("line", "words", "said"),
    [
        ("balance nothing", (), "is no kind of account"),
        ("account freeze payable:alice USD --reason x", (), "has not been opened in USD"),
        ("account open payable:nobody EUR --reason x", (), "not registered"),
        ("account open surplus EUR --reason x --floor ten", (), "must be plain digits"),
        ("remit payable:alice", ("1.00 EUR",), "is not paid out by hand"),
        ("trial-balance --event-at yesterday", (), "is not a date"),
    ],
)
def test_what_makes_no_sense_is_one_line(run: Run, settled: str, line: str, words: tuple[str, ...], said: str) -> None:
    assert said in run(line, *words).refusal
