from __future__ import annotations

import pytest

from tests.ledger.cli.conftest import Run


@pytest.fixture
def people(ok: Run) -> None:
    ok("init")
    for name in ("alice", "bob", "carol"):
        ok(f"contributor add {name}")


@pytest.mark.usefixtures("people")
def test_a_group_is_made_once_and_listed(ok: Run) -> None:
    made = ok("group create twins --member bob=2 --member alice --json --why", "the same articles").json
    assert made == {
        "group": "twins",
        "members": ["alice", "bob"],
        "payees": {"alice": 1, "bob": 2},
        "why": "the same articles",
        "entry": made["entry"],
    }
    again = ok("group create twins --member alice --member bob=2 --why", "the same articles").out
    assert f"group twins of alice, bob is in entry {made['entry']}" in again
    assert ok("group list --json").json == [made]
    assert "alice 1, bob 2" in ok("group list").out
    assert ok("audit --json").json["ok"]


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("twins --member alice --why same", "two members"),
        ("twins --member alice --member alice --why same", "'alice' is named twice"),
        ("twins --member alice --member nobody --why same", "'nobody'"),
        ("carol --member alice --member bob --why same", "contributor 'carol' is registered already"),
        ("Twins! --member alice --member bob --why same", "'Twins!'"),
        ("twins --member alice --member bob", "--why"),
    ],
)
def test_a_group_that_cannot_be_is_refused(run: Run, ok: Run, words: str, reason: str) -> None:
    before = ok("audit --json").json
    assert reason in run(f"group create {words}").refusal
    assert ok("audit --json").json == before
