from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.balances import balance
from ledger.database import Ledger
from tests.ledger.cli.conftest import Run

LETTER = b"Dear Sirs, these are my articles."


@pytest.fixture
def settlement(ok: Run, record: Callable[..., Path], tmp_path: Path) -> int:
    """The entry of a settlement that gave alice 75.00, bob 25.00 and the house 12.50 EUR; a letter lies beside it."""
    (tmp_path / "letter.txt").write_bytes(LETTER)
    values = {"alice": [0.75, 0.75], "bob": [0.25, 0.25]}
    run = ok("import-run --json", record(values=values, house=(0.125, 0.125))).json["run"]
    entry: int = ok(f"settle {run} --rate 100 EUR --json").json["entry"]
    return entry


def held(*accounts: str) -> list[int]:
    with Ledger.open("ghostledger.db") as books, books.reading() as session:
        return [balance(session, account, "EUR") for account in accounts]


def test_a_dispute_is_opened_listed_and_resolved(ok: Run, settlement: int) -> None:
    line = f"dispute open --by alice --against bob --settlement {settlement} --evidence letter.txt --amount"
    made = ok(line, "10.00 EUR", "--json").json
    assert made == {
        "dispute": made["dispute"],
        "claimant": "alice",
        "respondent": "bob",
        "settlement": settlement,
        "amount": "10.00",
        "asset": "EUR",
        "evidence": hashlib.sha256(LETTER).hexdigest(),
        "outcome": None,
        "resolution": None,
    }
    assert held("payable:alice", "payable:bob", "disputed:bob") == [7500, 1500, 1000]
    assert f"dispute {made['dispute']}: alice claims 10.00 EUR" in ok(line, "10.00 EUR").out
    assert ok("dispute list --json --open --contributor bob").json == [made]
    resolve = f"dispute resolve {made['dispute']} --for claimant --reason"
    assert "resolved for the claimant" in ok(resolve, "the letter is genuine").out
    resolved = ok(resolve, "the letter is genuine", "--json").json
    assert (resolved["outcome"], resolved["resolution"] > made["dispute"]) == ("claimant", True)
    assert held("payable:alice", "payable:bob", "disputed:bob") == [8500, 1500, 0]
    assert ok("dispute list --json --open").json == []
    assert ok("dispute list --json").json == [resolved]
    assert "for the claimant" in ok("dispute list").out
    assert ok("audit --json").json["ok"]


def test_the_house_is_disputed_with_by_an_option_of_its_own(ok: Run, settlement: int) -> None:
    line = f"dispute open --by bob --against-house --settlement {settlement} --evidence letter.txt --key k-1 --amount"
    made = ok(line, "12.50 EUR", "--json").json
    assert (made["respondent"], held("house", "house_disputed")) == (None, [0, 1250])
    assert "the house" in ok("dispute list").out
    ok(f"dispute resolve {made['dispute']} --for respondent --reason nonsense --key k-2")
    assert held("house", "house_disputed", "payable:bob") == [1250, 0, 2500]
    assert ok("audit --json").json["ok"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--by alice --against bob --amount=30.00_EUR", "the settlement gave them 25.00 EUR"),
        ("--by alice --against bob --amount=1_TOK", "TOK"),
        ("--by alice --against bob --amount=much", "'much'"),
        ("--by alice --against bob --amount=1_USD", "in EUR, not in USD"),
        ("--by alice --amount=1_EUR", "--against CONTRIBUTOR, or --against-house"),
        ("--by alice --against bob --against-house --amount=1_EUR", "--against CONTRIBUTOR, or --against-house"),
        ("--by nobody --against bob --amount=1_EUR", "'nobody'"),
        ("--by alice --against bob --settlement 1 --amount=1_EUR", "entry 1 is no settlement"),
        ("--by alice --against bob --evidence nowhere.pdf --amount=1_EUR", "nowhere.pdf: cannot be read"),
    ],
)
def test_a_dispute_that_cannot_be_is_refused(run: Run, ok: Run, settlement: int, words: str, reason: str) -> None:
    before = ok("audit --json").json
    line = [word.replace("_", " ") for word in words.split()]
    if "--settlement" not in line:
        line += ["--settlement", str(settlement)]
    if "--evidence" not in line:
        line += ["--evidence", "letter.txt"]
    assert reason in run("dispute open", *line).refusal
    assert ok("audit --json").json == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("1 --for claimant --reason x", "entry 1 is no dispute"),
        ("{} --for both --reason x", "not 'both'"),
        ("{} --for claimant", "--reason"),
    ],
)
def test_a_resolution_that_cannot_be_is_refused(run: Run, ok: Run, settlement: int, words: str, reason: str) -> None:
    line = f"dispute open --by alice --against bob --settlement {settlement} --evidence letter.txt --json --amount"
    opened = ok(line, "10.00 EUR").json["dispute"]
    before = ok("audit --json").json
    assert reason in run(f"dispute resolve {words.format(opened)}").refusal
    assert ok("audit --json").json == before
    assert "nobody" in run("dispute list --contributor nobody").refusal
