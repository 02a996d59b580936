"""Keys, checkpoints, statements with proofs, and their verification, from the command line."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import registry
from ledger.database import Ledger
from ledger.proofs.note import SignerKey, VerifierKey
from tests.ledger.cli.conftest import Ran, Run

REFUSALS = [
    ("statement alice --proofs", "--json"),
    ("statement alice --json --proofs", "one of --checkpoint and --key"),
    ("statement alice --json --proofs --checkpoint march.txt --key operator.key", "one of --checkpoint and --key"),
    ("statement alice --json --key operator.key", "--proofs"),
    ("statement alice --json --older march.txt", "--proofs"),
    ("statement alice --json --proofs --checkpoint nowhere.txt", "nowhere.txt"),
    ("statement alice --json --proofs --key march.txt", "march.txt: this is no key"),
    ("statement nobody --json --proofs --key operator.key", "'nobody'"),
    ("checkpoint", "--key"),
    ("checkpoint --key nowhere.key", "nowhere.key"),
    ("checkpoint --key operator.key --proof proof.txt", "--older"),
    ("checkpoint --key operator.key --older operator.key", "operator.key: this is no signed note"),
    ("verify march.txt", "--key"),
    ("verify march.txt --key march.txt", "march.txt: this is no key"),
    ("verify march.txt --key nonsense", "this is no key"),
    ("verify march.txt --checkpoint march.txt", "--key"),
    ("verify operator.key --key KEY", "operator.key: this is no signed note"),
    ("verify ghostledger.db --key KEY", "not UTF-8"),
    ("verify nowhere.json --key KEY", "nowhere.json"),
    ("verify statement.json", "--key or --checkpoint"),
    ("verify statement.json --key KEY", "statement.json: this is no statement with proofs"),
    ("verify proof.txt --key KEY", "--checkpoint"),
    ("verify proof.txt --checkpoint march.txt", "--key"),
    ("verify march.txt --key statement.json", "statement.json: this is no key"),
]


@pytest.fixture
def key(ok: Run, booked: str) -> str:
    """The verifier key of a ledger with a booked run; the private one is in operator.key."""
    return ok("key operator.key").out.strip()


@pytest.fixture
def settled(ok: Run, booked: str, key: str) -> str:
    """The verifier key of a ledger with a settled run, and a checkpoint from before that, march.txt."""
    ok("checkpoint --key operator.key --out march.txt")
    ok(f"settle {booked} --rate 100 EUR --negative carry")
    return key


@pytest.fixture
def proved(ok: Run, settled: str) -> Callable[..., Path]:
    """Writes a statement with proofs to a file."""

    def proved(name: str = "alice", *options: str) -> Path:
        path = Path(f"{name}.json")
        path.write_text(ok(f"statement {name} --json --proofs --key operator.key", *options).out)
        return path

    return proved


def faults(ran: Ran) -> list[str]:
    assert ran.code == 1, (ran.code, ran.err)
    found = ran.json
    assert not found["ok"]
    return list(found["faults"])


def fill(place: str, entries: int) -> None:
    """Add entries of another story to a new ledger."""
    with Ledger.open(place) as books, books.writing() as session:
        for number in range(entries):
            registry.add_contributor(session, f"contributor-{number}")


# Keys


def test_a_key_is_for_its_owner_alone_and_is_never_overwritten(run: Run, key: str) -> None:
    path = Path("operator.key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    assert str(SignerKey.parse(before.removesuffix("\n")).verifier) == key
    assert "operator.key: it exists already" in run("key operator.key").refusal
    assert path.read_text() == before
    assert "no-such-folder" in run("key no-such-folder/operator.key").refusal


def test_a_key_is_named_as_the_ledgers_origin_unless_it_is_given_a_name(ok: Run, run: Run) -> None:
    origin = ok("init --json").json["origin"]
    assert VerifierKey.parse(ok("key one.key").out.strip()).name == origin
    made = ok("key two.key --name elsewhere.example --json").json
    assert VerifierKey.parse(made["verifier_key"]).name == made["name"] == "elsewhere.example"
    assert "'a b'" in run("key three.key --name", "a b").refusal
    assert not Path("three.key").exists()
    assert "'elsewhere.example' does not speak for the log" in run("checkpoint --key two.key").refusal


def test_an_origin_is_chosen_when_a_ledger_is_made(ok: Run, run: Run) -> None:
    assert ok("init --origin ledger.example/books --json").json["origin"] == "ledger.example/books"
    assert ok("key operator.key").out.startswith("ledger.example/books+")
    assert ok("checkpoint --key operator.key").out.startswith("ledger.example/books\n")
    assert "setting origin" in run("init --ledger other.db --origin a+b").refusal


# Checkpoints


def test_a_checkpoint_is_printed_or_written_and_verifies(ok: Run, run: Run, key: str) -> None:
    printed = ok("checkpoint --key operator.key").out
    ok("checkpoint --key operator.key --out now.txt")
    assert Path("now.txt").read_text() == printed
    assert "exists already" in run("checkpoint --key operator.key --out now.txt").refusal
    found = ok("verify now.txt --json --key", key).json
    assert (found["what"], found["size"]) == ("checkpoint", ok("audit --json").json["entries"])
    assert "the key signed the log" in ok("verify now.txt --key", key).out


def test_a_log_that_goes_on_continues_the_checkpoint_that_was_kept(ok: Run, run: Run, settled: str) -> None:
    ok("checkpoint --key operator.key --older march.txt --out april.txt --proof march-april.txt")
    shown = ok("verify march-april.txt --checkpoint march.txt --json --key", settled).json
    assert (shown["what"], shown["older"] < shown["size"]) == ("continuation", True)
    assert "unchanged" in ok("verify march-april.txt --checkpoint march.txt --key", settled).out
    printed = ok("checkpoint --key operator.key --older march.txt").out
    assert printed == Path("march-april.txt").read_text()
    assert printed.endswith(Path("april.txt").read_text())
    # The wrong way round, and of the wrong checkpoint.
    assert "begins at" in run("verify march-april.txt --checkpoint april.txt --key", settled).refusal


def test_nothing_is_written_where_not_all_can_be(run: Run, ok: Run, settled: str) -> None:
    words = "checkpoint --key operator.key --older march.txt --out april.txt --proof"
    assert "march.txt: it exists already" in run(f"{words} march.txt").refusal
    assert "--proof" in run(f"{words} april.txt").refusal
    assert not Path("april.txt").exists()
    assert "nowhere" in run(f"{words} nowhere/proof.txt").refusal
    assert not Path("april.txt").exists()
    assert [path for path in Path().iterdir() if path.name.endswith(".new")] == []


def test_a_history_that_was_rewritten_is_found_by_whoever_kept_a_checkpoint(
    ok: Run, run: Run, settled: str, tmp_path: Path
) -> None:
    """Another history, whole and signed with the same key."""
    shutil.copy("march.txt", "kept.txt")
    origin = settled.split("+")[0]
    ok("init --ledger other.db --origin", origin)
    fill("other.db", 40)
    assert ok("audit --ledger other.db --json").json["ok"]
    found = run(f"audit --ledger other.db --checkpoint kept.txt --json --verifier-key {settled}")
    assert found.code == 1
    assert [check["name"] for check in found.json["checks"] if not check["ok"]] == ["checkpoint"]
    assert "changed" in run("checkpoint --key operator.key --older kept.txt --ledger other.db").refusal


def test_a_truncated_log_is_found_by_its_checkpoint(ok: Run, run: Run, settled: str, tmp_path: Path) -> None:
    ok("checkpoint --key operator.key --out now.txt")
    with sqlite3.connect(tmp_path / "ghostledger.db") as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)")
    found = run("audit --checkpoint now.txt --json")
    failed = {check["name"]: check["detail"] for check in found.json["checks"] if not check["ok"]}
    assert "cut short" in failed["checkpoint"]
    assert "cut short" in run("checkpoint --key operator.key").refusal


def test_an_audit_takes_a_checkpoint_and_the_key_that_signed_it(ok: Run, run: Run, settled: str) -> None:
    Path("operator.pub").write_text(f"{settled}\n")
    for key in (settled, "operator.pub"):
        assert ok("audit --checkpoint march.txt --json --verifier-key", key).json["ok"]
    assert "checkpoint" in {check["name"] for check in ok("audit --checkpoint march.txt --json").json["checks"]}
    stranger = ok("key stranger.key").out.strip()
    assert (
        "march.txt: the note cannot be trusted" in run("audit --checkpoint march.txt --verifier-key", stranger).refusal
    )
    assert "--checkpoint" in run("audit --verifier-key", settled).refusal


# Statements


def test_a_statement_is_verified_without_the_ledger(
    ok: Run,
    settled: str,
    proved: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = proved("alice", "--older", "march.txt")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in (path.name, "march.txt"):
        shutil.copy(name, elsewhere)
    monkeypatch.chdir(elsewhere)
    Path("operator.pub").write_text(f"{settled}\n")
    for trust in (["--key", settled], ["--key", "operator.pub"], ["--key", settled, "--checkpoint", "march.txt"]):
        shown = ok("verify alice.json --json", *trust).json
        assert (shown["ok"], shown["contributor"], shown["faults"]) == (True, "alice", [])
    assert "follow from them" in ok("verify alice.json --key", settled).out
    assert sorted(path.name for path in elsewhere.iterdir()) == ["alice.json", "march.txt", "operator.pub"]


def test_what_was_changed_in_a_statement_is_named(run: Run, settled: str, proved: Callable[..., Path]) -> None:
    path = proved("bob")
    document = json.loads(path.read_text())
    document["balances"][0]["receivable"] = "0.25"
    document["runs"][0]["value_nats"] = "0.250000000000"
    path.write_text(json.dumps(document))
    assert faults(run("verify bob.json --json --key", settled)) == [
        'runs[0].value_nats is "0.250000000000"; proved is "-0.250000000000"',
        'balances[0].receivable is "0.25"; proved is "25.00"',
    ]
    shown = run("verify bob.json --key", settled)
    assert (shown.code, shown.out.count("FAILS: ")) == (1, 2)
    assert shown.out.endswith("this does not hold\n")


def test_a_statement_of_another_key_or_history_does_not_hold(
    run: Run, ok: Run, settled: str, proved: Callable[..., Path]
) -> None:
    proved("alice", "--older", "march.txt")
    stranger = ok("key stranger.key").out.strip()
    assert "cannot be trusted" in faults(run("verify alice.json --json --key", stranger))[0]
    ok("init --ledger other.db --origin", settled.split("+")[0])
    fill("other.db", json.loads(Path("alice.json").read_text())["proofs"]["continues"]["older"] - 3)
    ok("checkpoint --ledger other.db --key operator.key --out other.txt")
    assert "changed" in faults(run("verify alice.json --json --checkpoint other.txt --key", settled))[0]


def test_a_statement_as_of_a_checkpoint_says_what_it_leaves_out(ok: Run, settled: str) -> None:
    ran = ok("statement alice --json --proofs --checkpoint march.txt")
    assert "is left out" in ran.err
    assert ran.json["balances"] == []
    Path("alice.json").write_text(ran.out)
    assert ok("verify alice.json --json --key", settled).json["size"] == ran.json["entries"]


def test_an_erased_name_leaves_statements_valid(ok: Run, run: Run, settled: str, proved: Callable[..., Path]) -> None:
    before = proved("alice").rename("before.json")
    assert ok("contributor erase alice --json").json == {"id": "alice", "erased": True, "forgotten": True}
    assert "had been erased" in ok("contributor erase alice").out
    assert ok("contributor list --json").json[0]["name"] is None
    assert "name erased" in ok("statement alice").out
    after = proved("alice")
    assert (json.loads(before.read_text())["name"], json.loads(after.read_text())["name"]) == ("Alice", None)
    for path in (before, after):
        assert ok("verify", path, "--json", "--key", settled).json["ok"]
    assert ok("audit --checkpoint march.txt --json").json["ok"]
    assert b"Alice" not in Path("ghostledger.db").read_bytes()
    assert "not registered: 'nobody'" in run("contributor erase nobody").refusal


def test_what_makes_no_sense_is_refused_in_one_line(run: Run, settled: str) -> None:
    Path("statement.json").write_text("{}")
    Path("proof.txt").write_text("old 3\n\n")
    for words, reason in REFUSALS:
        assert reason in run(words.replace("KEY", settled)).refusal, words
