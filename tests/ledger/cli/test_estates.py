from __future__ import annotations

import pytest

from tests.ledger.cli.conftest import Run


@pytest.fixture
def family(ok: Run) -> None:
    ok("init")
    for name in ("alice", "bob", "heir-1", "heir-2"):
        ok(f"contributor add {name}")


@pytest.mark.usefixtures("family")
def test_an_estate_is_set_shown_and_given_back(ok: Run) -> None:
    made = ok("estate set alice --payee heir-1=2 --payee heir-2 --reason", "a will", "--json").json
    assert (made["contributor"], made["payees"]) == ("alice", {"heir-1": 2, "heir-2": 1})
    assert ok("estate show alice --json").json == [{"contributor": "alice", "payees": {"heir-1": 2, "heir-2": 1}}]
    assert "heir-1 (2 of 3), heir-2 (1 of 3)" in ok("estate set alice --payee heir-1=2 --payee heir-2=1").out
    assert "heir-2" in ok("estate show").out
    assert "alice is paid through alice" in ok("estate set alice --give-back").out
    assert ok("estate show --json").json == []
    assert ok("estate show alice --json").json == [{"contributor": "alice", "payees": {}}]
    assert ok("audit --json").json["ok"]


@pytest.mark.usefixtures("family")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("set alice", "--payee, or give everything back"),
        ("set alice --payee bob --give-back", "--payee, or give everything back"),
        ("set alice --payee bob=", "--payee bob=: must be ID or ID=PARTS"),
        ("set alice --payee bob=half", "must be ID or ID=PARTS"),
        ("set alice --payee bob=-1", "must be ID or ID=PARTS"),
        ("set alice --payee bob=1.5", "must be ID or ID=PARTS"),
        ("set alice --payee =1", "must be ID or ID=PARTS"),
        ("set alice --payee bob --payee bob=2", "'bob' is named twice"),
        ("set alice --payee bob=0", "0 parts of 'bob'"),
        ("set alice --payee nobody", "not registered: 'nobody'"),
        ("set nobody --payee bob", "not registered: 'nobody'"),
        ("show nobody", "not registered: 'nobody'"),
    ],
)
def test_an_estate_that_cannot_be_is_refused(run: Run, ok: Run, words: str, reason: str) -> None:
    before = ok("audit --json").json
    assert reason in run(f"estate {words}").refusal
    assert ok("audit --json").json == before
