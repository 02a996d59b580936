from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from attribution.record import RunRecord
from ledger.balances import balance
from ledger.database import Ledger
from tests.ledger.cli.conftest import Run
from tests.ledger.cli.test_train import TINY


def stories(name: str, number: int = 40) -> list[str]:
    chosen = random.Random(name)
    return [" ".join(f"word{chosen.randrange(40)}" for _ in range(50)) for _ in range(number)]


def edited(records: list[str]) -> list[str]:
    return [record.rsplit(" ", 1)[0] + ", and so on." for record in records]


def save(folder: Path, name: str, records: list[str]) -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": record}) + "\n" for record in records))


HELD = {
    "alice": stories("alice"),
    "bob": edited(stories("alice")[:20]) + stories("alice")[20:],
    "carol": stories("carol"),
    "dave": stories("dave", 3) + stories("carol", 3),
}


@pytest.fixture
def market(ok: Run, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Bob copied all from alice, half of it edited; dave three of carol's, beside three of his own."""
    ok("init")
    fingerprints = {}
    for name, records in HELD.items():
        save(tmp_path, name, records)
        ok(f"contributor add {name}")
        line = f"dataset register {name} {name}.jsonl --licence MIT --consent-given 2026-01-01 --json"
        fingerprints[name] = ok(line).json["fingerprint"]
    (tmp_path / "held.txt").write_text("\n".join(stories("held", 10)))
    ok("objective add news --task held=held.txt:1")
    yield fingerprints
    assert ok("audit --json").json["ok"]


def shown(pairs: list[dict[str, object]]) -> list[list[tuple[object, ...]]]:
    keys = ("contributor", "records", "verbatim", "alike", "share")
    return [[tuple(side[key] for key in keys) for side in pair["contributors"]] for pair in pairs]  # type: ignore[attr-defined]


def test_duplicates_are_reported_with_shares_and_samples(ok: Run, market: dict[str, str]) -> None:
    pairs = ok("dataset duplicates --json").json
    assert shown(pairs) == [
        [("alice", 40, 20, 40, 1.0), ("bob", 40, 20, 40, 1.0)],
        [("carol", 40, 3, 3, 0.075), ("dave", 6, 3, 3, 0.5)],
    ]
    sample = pairs[0]["samples"][0]
    assert stories("alice", 1)[0].startswith(sample["one"])
    assert 0.8 <= sample["similarity"] < 1
    assert pairs[1]["samples"] == []
    printed = ok("dataset duplicates").out
    assert "100.0%" in printed
    assert "7.5%" in printed
    assert stories("alice", 1)[0][:100] in printed


def test_the_threshold_decides_and_nothing_in_common_is_said_so(run: Run, ok: Run, market: dict[str, str]) -> None:
    assert shown(ok("dataset duplicates --threshold 1 --json").json)[0][0] == ("alice", 40, 20, 20, 0.5)
    assert "1.5 is neither" in run("dataset duplicates --threshold 1.5").refusal
    for name in ("alice", "carol"):
        ok(f"dataset withdraw-consent {market[name]} --at 2026-02-01")
    ok("init --ledger other.db")
    assert "no two contributors" in ok("dataset duplicates --ledger other.db").out


def test_files_are_compared_with_each_other_and_with_what_is_registered(
    run: Run, ok: Run, market: dict[str, str], tmp_path: Path
) -> None:
    save(tmp_path, "new", edited(stories("carol", 2)) + stories("erin", 2))
    save(tmp_path, "newer", stories("erin", 1))
    pairs = shown(ok("dataset duplicates new.jsonl newer.jsonl --json").json)
    assert pairs == [
        [("./new.jsonl", 4, 1, 1, 0.25), ("./newer.jsonl", 1, 1, 1, 1.0)],
        [("./new.jsonl", 4, 0, 2, 0.5), ("carol", 40, 0, 2, 0.05)],
        [("./new.jsonl", 4, 0, 2, 0.5), ("dave", 6, 0, 2, 2 / 6)],
    ]
    assert "nowhere.jsonl" in run("dataset duplicates nowhere.jsonl").refusal


def test_files_that_changed_since_they_were_registered_are_refused(
    run: Run, market: dict[str, str], tmp_path: Path
) -> None:
    save(tmp_path, "bob", stories("bob"))
    assert "changed since dataset" in run("dataset duplicates").refusal
    save(tmp_path, "bob", HELD["bob"])


def test_who_holds_the_same_plays_as_one_and_is_paid_by_parts(ok: Run, market: dict[str, str], tmp_path: Path) -> None:
    ran = ok(f"train --out runs/one {TINY} --group-duplicates 0.9 --json")
    players = {part["contributor"]: part["datasets"] for part in ran.json["contributors"]}
    assert players == {
        "alice-and-bob": [market["alice"], market["bob"]],
        "carol": [market["carol"]],
        "dave": [market["dave"]],
    }
    assert "alice and bob play as one, as group alice-and-bob" in ran.err
    assert "100.0% of alice's records and 100.0% of bob's records are the other's too" in ran.err
    assert (
        RunRecord.load(tmp_path / "runs" / "one" / "record").details["data"]["alice-and-bob"]
        == players["alice-and-bob"]
    )
    (made,) = ok("group list --json").json
    assert (made["group"], made["members"]) == ("alice-and-bob", ["alice", "bob"])
    assert "similarity 0.8 or more" in made["why"]

    again = ok(f"train --out runs/two {TINY} --group-duplicates 0.9 --contributor bob --contributor alice --json").json
    assert [part["contributor"] for part in again["contributors"]] == ["alice-and-bob"]
    assert len(ok("group list --json").json) == 1, "a group of these members is there already"
    ok("estate set alice-and-bob --payee alice=3 --payee bob=1")
    ok(f"settle {again['run']} --pool 100 EUR")
    with Ledger.open("ghostledger.db") as books, books.reading() as session:
        assert [balance(session, f"payable:{name}", "EUR") for name in ("alice", "bob")] == [7500, 2500]


def test_who_holds_much_more_besides_is_not_grouped_and_named(ok: Run, market: dict[str, str]) -> None:
    ran = ok(f"train --out runs/one {TINY} --group-duplicates 0.5 --contributor carol --contributor dave --json")
    assert [part["contributor"] for part in ran.json["contributors"]] == ["carol", "dave"]
    assert "not grouped, since one of them holds more besides: 7.5% of carol's" in ran.err
    assert ok("group list --json").json == []


def test_a_named_group_plays_as_one_and_may_be_joined_by_duplicates(ok: Run, market: dict[str, str]) -> None:
    ok("group create pair --member carol --member dave --why", "they say so")
    ran = ok(f"train --out runs/one {TINY} --group pair --json")
    assert [part["contributor"] for part in ran.json["contributors"]] == ["alice", "bob", "pair"]
    ran = ok(f"train --out runs/two {TINY} --seed 2 --contributor alice --group pair --group-duplicates 0.9 --json")
    assert [(part["contributor"], len(part["datasets"])) for part in ran.json["contributors"]] == [
        ("alice", 1),
        ("pair", 2),
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--group nobodies", "'nobodies'"),
        ("--group pair --group trio", "'alice' is in 'pair' too"),
        ("--group-duplicates 0", "0.0 is neither"),
        ("--group-duplicates 1.1", "1.1 is neither"),
    ],
)
def test_groups_that_cannot_play_are_refused_before_anything_is_written(
    run: Run, ok: Run, market: dict[str, str], tmp_path: Path, words: str, reason: str
) -> None:
    ok("group create pair --member alice --member bob --why", "the same")
    ok("group create trio --member alice --member bob --member carol --why", "the same")
    assert reason in run(f"train --out runs/one {TINY} {words}").refusal
    assert not (tmp_path / "runs").exists()


def test_a_group_with_a_member_who_withdrew_consent_does_not_play(run: Run, ok: Run, market: dict[str, str]) -> None:
    ok("group create pair --member alice --member bob --why", "the same")
    ok(f"dataset withdraw-consent {market['bob']} --at 2026-02-01")
    assert "contributor 'bob' has no dataset" in run(f"train --out runs/one {TINY} --group pair").err
    ran = ok(f"train --out runs/one {TINY} --group-duplicates 0.9 --json")
    assert [part["contributor"] for part in ran.json["contributors"]] == ["alice", "carol", "dave"]
