"""Policies, reversals, releases, stakes and payouts on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ledger.cli.conftest import Run

Record = Callable[..., Path]


@pytest.fixture
def both(ok: Run, record: Record) -> str:
    """The identity of a booked run in which alice did three times as much as bob."""
    values = {"alice": [0.75, 0.75], "bob": [0.25, 0.25]}
    identity: str = ok("import-run --json", record(values=values)).json["run"]
    return identity


ALL = (
    "--pool 100 EUR --fee 1000 --cap 60.00 --withhold 1000 --minimum 10 --holdback 2000 2026-01-01 "
    "--vest now=1 --vest 2026-02-01=1 --vest 2090-01-01=2"
)


def test_every_policy_is_shown_with_where_the_money_is(ok: Run, both: str) -> None:
    dry = ok(f"settle {both} {ALL} --dry-run").out
    for heading in ("− surplus", "− withheld", "− held back", "− vesting"):
        assert heading in dry
    for heading in ("− netted", "+ slashed", "− stopped", "− accrued"):
        assert heading not in dry
    shown = ok(f"settle {both} {ALL} --json").json
    alice, bob = shown["payouts"]
    assert [(part["home"], part["amount"]) for part in alice["parts"]] == [
        ("surplus", "7.50"),
        ("withheld", "6.00"),
        ("holdback", "10.80"),
        ("vesting", "10.80"),
        ("vesting", "21.60"),
    ]
    assert (alice["share"], alice["paid"], alice["payees"]) == ("67.50", "10.80", {"alice": "10.80"})
    assert (bob["share"], bob["paid"]) == ("22.50", "4.05")
    assert "cap of 60.00 EUR" in shown["terms"]
    assert ok("audit --json").json["ok"]


def test_what_is_due_is_released(run: Run, ok: Run, both: str) -> None:
    ok(f"settle {both} {ALL}")
    assert "--due" in run("release").refusal
    assert ok("release --due --dry-run --json").json["entry"] is None
    released = ok("release --due --json").json
    assert [(one["contributor"], one["purpose"], one["amount"]) for one in released["released"]] == [
        ("alice", "holdback", "10.80"),
        ("alice", "vesting", "10.80"),
        ("bob", "holdback", "4.05"),
        ("bob", "vesting", "4.05"),
    ]
    assert "0 due; nothing is booked" in ok("release --due").out
    assert "has not come" in run("release --due --at 2090-01-01").refusal
    assert ok("audit --json").json["ok"]


def test_what_exceeds_a_cap_may_go_to_the_others(ok: Run, both: str) -> None:
    shown = ok(f"settle {both} --pool 100 EUR --cap-share 6000 --redistribute --json").json
    assert [(one["redistributed"], one["paid"]) for one in shown["payouts"]] == [
        ("-15.00", "60.00"),
        ("15.00", "40.00"),
    ]


def test_several_runs_and_single_tasks_are_settled(run: Run, ok: Run, record: Record, both: str) -> None:
    other = ok("import-run --json", record("other")).json["run"]
    shown = ok(f"settle {both[:8]} {other[:8]} --task sport --rate 100 EUR --json").json
    assert shown["runs"] == sorted([both, other])
    assert {one["contributor"]: one["share"] for one in shown["payouts"]} == {"alice": "125.00", "bob": "0.00"}
    assert "settled already" in run(f"settle {both} --pool 1 EUR").refusal
    assert "it has business, sport" in run(f"settle {both} --task art --pool 1 EUR").refusal
    assert "not settled" in run(f"reverse {both} --reason no").refusal
    assert len(ok(f"reverse {both} {other} --task sport --reason mistake --json").json) == 2
    ok(f"settle {both} --pool 1 EUR")
    assert ok("audit --json").json["ok"]


def test_a_settlement_is_reversed_after_it_was_paid(ok: Run, both: str) -> None:
    ok(f"settle {both} --pool 100 EUR")
    ok("pay start alice EUR --reference SEPA-1")
    shown = ok(f"reverse {both} --reason", "wrong budget").out
    assert "makes good what had moved on" in shown
    again = ok(f"settle {both} --pool 200 EUR --json").json
    assert (again["attempt"], again["payouts"][0]["netted"], again["payouts"][0]["paid"]) == (2, "75.00", "75.00")
    assert "− netted" in ok(f"settle {both} --pool 200 EUR").out
    assert ok("audit --json").json["ok"]


def test_a_payout_is_started_confirmed_or_given_back(run: Run, ok: Run, both: str) -> None:
    ok(f"settle {both} --pool 100 EUR")
    first = ok("pay start alice EUR --amount 50.00 --reference SEPA-1 --json").json
    assert ok("pay start alice EUR --amount 50.00 --reference SEPA-1 --json").json == first
    second = ok("pay start alice EUR --json").json
    assert (first["amount"], second["amount"]) == ("50.00", "25.00")
    assert [one["amount"] for one in ok("pay list --json").json] == ["50.00", "25.00"]
    assert "alice" in ok("pay list").out
    ok(f"pay confirm {first['payout']}")
    ok(f"pay fail {second['payout']} --amount 20 --reason", "account closed")
    assert [one["amount"] for one in ok("pay list --json").json] == ["5.00"]
    assert "nothing is payable" in run("pay start bob USD").refusal
    assert "is no payout" in run("pay confirm 99").refusal
    assert ok("statement alice --json").json["balances"][0]["payable"] == "20.00"
    assert ok("audit --json").json["ok"]


def test_the_rest_of_a_payout_is_confirmed_after_a_part_of_it(ok: Run, both: str) -> None:
    ok(f"settle {both} --pool 100 EUR")
    number = ok("pay start alice EUR --json").json["payout"]
    part = ok(f"pay confirm {number} --amount 30 --json").json
    assert (part["repeated"], part["in_flight"]) == (False, "45.00")
    assert "made before confirms payout 1; 45.00 of it is in flight" in ok(f"pay confirm {number} --amount 30").out
    rest = ok(f"pay confirm {number} --json").json
    assert (rest["repeated"], rest["in_flight"]) == (False, "0.00")
    assert rest["entry"] != part["entry"]
    assert ok("pay list --json").json == []


def test_a_stake_pays_for_negative_values(run: Run, ok: Run, booked: str) -> None:
    assert ok("stake deposit bob 10 EUR --reference SEPA-1 --json").json["stake"] == "10.00"
    assert ok("stake deposit bob 10 EUR --reference SEPA-1 --json").json["repeated"]
    shown = ok(f"settle {booked} --rate 100 EUR --negative slash --json").json
    assert (shown["payouts"][1]["slashed"], shown["payouts"][1]["forgiven"]) == ("10.00", "15.00")
    assert "stake:bob" in run("stake withdraw bob 1 EUR").refusal
    assert "has staked 5.00 EUR" in ok("stake deposit bob 5 EUR").out
    assert ok("audit --json").json["ok"]


def test_payment_is_stopped_without_consent_unless_asked_for(
    ok: Run, booked: str, registered: dict[str, str], record: Record
) -> None:
    other = ok("import-run --json", record("other", number=2)).json["run"]
    ok(f"dataset withdraw-consent {registered['alice']} --at 2026-03-02")
    shown = ok(f"settle {booked} --pool 100 EUR").out
    assert "alice: 100.00 EUR stopped: no consent for dataset" in shown
    assert "− stopped" in shown
    assert ok(f"settle {other} --pool 100 EUR --pay-stopped --json").json["payouts"][0]["paid"] == "100.00"
    ok(f"dataset give-consent {registered['alice']} --at 2026-03-03")
    assert ok("release --due --json").json["released"][0]["purpose"] == "stop"


SENSELESS = {
    "--cap 10 --cap-share 10": "either an amount or basis points",
    "--redistribute": "--cap",
    "--cap 1.001": "2 decimals",
    "--cap-share 10001": "basis points",
    "--withhold -1": "basis points",
    "--minimum ten": "'ten'",
    "--holdback 10001 2027-01-01": "basis points",
    "--holdback 10 tomorrow": "'tomorrow'",
    "--vest 2027-01-01": "2027-01-01=3",
    "--vest 2027-01-01=0": "above zero",
    "--vest 2027-01-02=1 --vest 2027-01-01=1": "later than",
    "--task art": "'art'",
}


def test_senseless_policies_are_refused_and_book_nothing(run: Run, ok: Run, both: str) -> None:
    before = ok("audit --json").json["head"]
    for words, reason in SENSELESS.items():
        assert reason in run(f"settle {both} --pool 10 EUR {words}").refusal
    assert ok("audit --json").json["head"] == before
