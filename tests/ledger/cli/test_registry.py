from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.cli.conftest import Run, write


def test_init_makes_a_ledger_with_its_tolerance(ok: Run, tmp_path: Path) -> None:
    made = ok("init --tolerance 0.005 --json").json
    assert made.pop("origin").startswith("ghostledger/")
    assert made == {"ledger": str(tmp_path / "ghostledger.db"), "tolerance": "0.005"}
    assert ok("audit --json").json["ok"]


def test_init_never_overwrites(run: Run, ok: Run, tmp_path: Path) -> None:
    ok("init")
    before = (tmp_path / "ghostledger.db").read_bytes()
    assert "exists already" in run("init").refusal
    assert (tmp_path / "ghostledger.db").read_bytes() == before


@pytest.mark.parametrize("tolerance", ["-1", "much", "1.5", "1e-3"])
def test_init_with_a_senseless_tolerance_leaves_nothing(run: Run, tmp_path: Path, tolerance: str) -> None:
    assert "tolerance" in run(f"init --tolerance={tolerance}").refusal
    assert list(tmp_path.iterdir()) == []


def test_a_current_ledger_may_be_upgraded_to_no_effect(ok: Run) -> None:
    ok("init --tolerance 0.02")
    assert ok("init --upgrade --json").json["tolerance"] == "0.02"


def test_the_ledger_is_named_by_option_or_environment(
    run: Run, ok: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok("init --ledger books/ours.db")
    assert "there is no ledger" in run("contributor list").refusal
    ok("contributor add alice --ledger", f"sqlite:///{tmp_path}/books/ours.db")
    monkeypatch.setenv("GHOSTLEDGER", "books/ours.db")
    assert [row["id"] for row in ok("contributor list --json").json] == ["alice"]


@pytest.mark.parametrize("command", ["contributor list", "dataset list", "objective list", "audit", "statement alice"])
def test_a_file_that_is_no_ledger_is_refused_and_left_alone(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "notes.txt").write_text("not a ledger")
    assert "is not a ledger" in run(f"{command} --ledger notes.txt").refusal
    assert (tmp_path / "notes.txt").read_text() == "not a ledger"


def test_a_contributor_is_added_once(run: Run, ok: Run) -> None:
    ok("init")
    first = ok("contributor add alice --name Alice --json").json
    assert ok("contributor add alice --name Alice --json").json == first
    assert "'alice' is registered already" in run("contributor add alice --name Bob").refusal
    assert "'Not An Id'" in run("contributor add", "Not An Id").refusal
    listed = ok("contributor list --json").json
    assert listed == [{"id": "alice", "name": "Alice", "datasets": 0, "records": 0, "bytes": 0}]
    assert "Alice" in ok("contributor list").out


def test_markup_in_a_name_is_shown_as_it_is(ok: Run) -> None:
    ok("init")
    assert "[bold]Alice" in ok("contributor add alice --name [bold]Alice").out
    assert "[bold]Alice" in ok("contributor list").out


def test_a_dataset_is_registered_by_what_it_holds(ok: Run, registered: dict[str, str]) -> None:
    alice, bob = ok("dataset list --json").json
    assert (alice["fingerprint"], alice["records"], alice["licence"]) == (registered["alice"], 3, "MIT")
    assert alice["paths"] == ["data/alice"], "relative to the ledger, so that both can move together"
    assert [change["change"] for change in bob["consent"]] == ["given"]
    assert registered["alice"][:12] in ok("dataset list --contributor alice").out
    assert registered["bob"][:12] not in ok("dataset list --contributor alice").out


def test_records_shared_with_another_dataset_are_reported(ok: Run, registered: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "mixed", own="carol's own", copied="alice wrote this")
    ok("contributor add carol")
    line = "dataset register carol mixed --licence CC0-1.0 --consent-given 2026-01-01"
    shown = ok(f"{line} --json").json
    assert [(o["contributor"], o["shared_records"]) for o in shown["overlaps"]] == [("alice", 1)]
    (tmp_path / "mixed" / "more.txt").write_text("more of carol's own")
    assert "also in 'mixed' of carol" in ok(line).out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("carol other --licence MIT --consent-given 2026-01-01", "not registered: 'carol'"),
        ("alice nowhere --licence MIT --consent-given 2026-01-01", "nowhere"),
        ("alice other --licence Nonsense-1.0 --consent-given 2026-01-01", "'Nonsense-1.0'"),
        ("alice other --licence MIT --consent-given yesterday", "'yesterday'"),
        ("alice other --licence MIT --consent-given 2026-01-01 --encoding klingon", "'klingon'"),
        ("alice rows.jsonl --licence MIT --consent-given 2026-01-01 --text-field body", "rows.jsonl, row 1"),
        ("alice blank --licence MIT --consent-given 2026-01-01", "no record"),
        ("bob copy --licence MIT --consent-given 2026-01-01", "dataset 'alice' of 'alice'"),
    ],
)
def test_a_dataset_that_cannot_be_registered_leaves_no_entry(
    run: Run, ok: Run, registered: dict[str, str], tmp_path: Path, words: str, reason: str
) -> None:
    write(tmp_path / "other", one="something else")
    write(tmp_path / "blank", one=" \n ")
    (tmp_path / "rows.jsonl").write_text('{"text": "a row"}\n')
    write(tmp_path / "copy", both="all wrote this", one="alice wrote this", two="alice wrote that  \n")
    before = ok("audit --json").json
    assert reason in run(f"dataset register {words}").refusal
    assert ok("audit --json").json == before


def test_consent_is_withdrawn_and_given_again(run: Run, ok: Run, registered: dict[str, str]) -> None:
    digits = registered["alice"][:10]
    change = ok(f"dataset withdraw-consent {digits} --at 2026-02-01 --json").json
    assert (change["change"], change["from"]) == ("withdrawn", "2026-02-01T00:00:00.000000Z")
    assert "is not given" in run(f"dataset withdraw-consent {digits} --at 2026-03-01").refusal
    assert "which is after" in run(f"dataset give-consent {digits} --at 2026-01-15").refusal
    assert "given" in ok(f"dataset give-consent {digits} --at 2026-03-01T12:00:00Z").out
    assert "no registered dataset" in run("dataset withdraw-consent 00000000 --at 2026-02-01").refusal
    assert [change["change"] for change in ok("dataset list --json").json[0]["consent"]] == [
        "given",
        "withdrawn",
        "given",
    ]


def test_an_objective_lists_its_tasks(ok: Run, registered: dict[str, str]) -> None:
    rows = ok("objective list --json").json
    assert [(row["objective"], row["task"], row["weight"]) for row in rows] == [
        ("news", "business", "0.5"),
        ("news", "sport", "0.5"),
    ]
    assert registered["sport"] in ok("objective list").out


def test_tasks_without_weights_weigh_the_same(ok: Run, registered: dict[str, str]) -> None:
    words = "--task business=held-out/business --task sport=held-out/sport --json"
    assert [row["weight"] for row in ok(f"objective add even {words}").json["tasks"]] == ["1", "1"]


def test_held_out_text_that_somebody_supplied_is_reported(ok: Run, registered: dict[str, str], tmp_path: Path) -> None:
    write(tmp_path / "leaky", one="alice wrote this")
    assert "are also in 'alice' of alice" in ok("objective add leaky --task a=leaky").out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("other --task business=held-out/business:0.5 --task sport=held-out/sport:0.4", "sum to 0.9"),
        ("other --task business=held-out/business:0.5 --task sport=held-out/sport", "--task sport"),
        ("other --task business", "NAME=PATH"),
        ("other --task business=nowhere:1", "nowhere"),
        ("other --task a=held-out/sport:0 --task b=held-out/business:1", "'a'"),
        ("other --task a=held-out/sport --task a=held-out/business", "'a'"),
        ("news --task a=held-out/sport", "'news'"),
        ("Other --task a=held-out/sport", "'Other'"),
    ],
)
def test_an_objective_that_cannot_be_added_leaves_no_entry(
    run: Run, ok: Run, registered: dict[str, str], words: str, reason: str
) -> None:
    before = ok("audit --json").json
    assert reason in run(f"objective add {words}").refusal
    assert ok("audit --json").json == before
