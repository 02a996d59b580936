from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlmodel import col, select

from attribution.parameters import fingerprint
from attribution.training.configuration import TrainingConfiguration
from attribution.training.model import build_model
from attribution.training.tokenizer import load_tokenizer
from ledger.database import Ledger
from ledger.models import Entry
from tests.ledger.cli.conftest import TINY, Run

TRAIN = f"train --out runs/one {TINY} --displacements --json"


@pytest.fixture
def trained(ok: Run, corpora: dict[str, str]) -> dict[str, str]:
    ok(TRAIN)
    return corpora


def consents(place: str = "ghostledger.db") -> list[Entry]:
    with Ledger.open(place) as books, books.reading() as session:
        return list(session.exec(select(Entry).where(Entry.kind == "consent").order_by(col(Entry.sequence))))


def test_a_withdrawal_leaves_a_checkpoint_a_report_and_an_entry_that_names_it(
    ok: Run, trained: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "bob.jsonl").unlink()  # the one who withdraws need not hand in the data again
    found = ok("unlearn runs/one bob --out runs/two --repair-steps 2 --withdraw 2026-06-01 --json").json
    assert json.loads((tmp_path / "runs/two/report.json").read_text()).items() < found.items()
    assert found["run"] == (tmp_path / "runs/one/record/identity").read_text().strip()
    assert set(found["repair"]["blocks"]) == {"alice", "carol"}
    (task,) = found["tasks"]
    assert set(task["predicted_change"]) == {"1"}
    assert task["change_of_estimate"] == pytest.approx(task["predicted_change_of_estimate"], abs=0.02)
    model = tmp_path / "runs/two/model"
    loaded = build_model(TrainingConfiguration(model=model, context=16), load_tokenizer(model))
    assert fingerprint(loaded) == found["parameters"]["after"] != found["parameters"]["before"]
    (withdrawal,) = found["withdrawals"]
    assert (withdrawal["dataset"], withdrawal["since"]) == (trained["bob"], "2026-06-01T00:00:00.000000Z")
    entry = consents()[-1]
    assert (entry.sequence, entry.subject) == (withdrawal["entry"], trained["bob"])
    assert entry.reason is not None
    assert found["run"] in entry.reason
    assert found["parameters"]["after"] in entry.reason
    assert ok("audit --json").json["ok"]


def test_what_was_withdrawn_before_is_not_booked_again(ok: Run, trained: dict[str, str]) -> None:
    entry = ok(f"dataset withdraw-consent {trained['bob']} --at 2026-02-01 --json").json["entry"]
    before = len(consents())
    ran = ok("unlearn runs/one bob --out runs/two --repair-steps 1 --json")
    assert [(one["entry"], one["before"]) for one in ran.json["withdrawals"]] == [(entry, True)]
    assert len(consents()) == before


def test_the_repair_leaves_out_who_withdrew_before(ok: Run, trained: dict[str, str]) -> None:
    ok(f"dataset withdraw-consent {trained['carol']} --at 2026-02-01")
    ran = ok("unlearn runs/one bob --out runs/two --repair-steps 1 --no-withdraw --json")
    assert "carol" in ran.err
    assert set(ran.json["repair"]["blocks"]) == {"alice"}
    assert ran.json["repair"]["without"] == ["carol"]


def test_people_read_what_was_predicted_and_measured_and_nothing_need_be_booked(
    ok: Run, trained: dict[str, str]
) -> None:
    before = len(consents())
    shown = ok("unlearn runs/one alice --out runs/two --strength 0.5 --repair-steps 0 --no-withdraw").out
    assert "alice taken back by 0.5, 0 steps of repair" in shown
    assert "held" in shown
    assert "the checkpoint: runs/two" in shown
    assert "withdrawn" not in shown
    assert len(consents()) == before


REFUSED = [
    ("unlearn nowhere bob --out two", "nowhere"),
    ("unlearn runs/one zoe --out two", "'zoe'"),
    ("unlearn runs/one bob --out runs/one", "exists"),
    ("unlearn runs/one bob --out two --strength 2", "between 0 and 1"),
    ("unlearn runs/one bob --out two --repair-steps -1", "0 steps or more"),
    ("unlearn runs/one bob --out two --repair-rate 0", "above 0"),
    ("unlearn runs/one bob --out two --withdraw 2026-06-01 --no-withdraw", "not both"),
    ("unlearn runs/one bob --out two --withdraw someday", "someday"),
    ("unlearn runs/one bob --out two --withdraw 2025-01-01", "2026-01-01"),
    ("unlearn runs/one bob --out two --keep nowhere", "nowhere"),
    ("unlearn runs/plain bob --out two", "--displacements"),
    ("unlearn runs/one bob --out two --ledger nowhere.db", "nowhere.db"),
]


def test_what_cannot_be_unlearned_is_refused_in_one_line_and_nothing_is_left(
    run: Run, ok: Run, trained: dict[str, str], tmp_path: Path
) -> None:
    ok(f"train --out runs/plain {TINY} --json")
    before = len(consents())
    for words, reason in REFUSED:
        assert reason in run(words).refusal, words
    kept = tmp_path / "runs/one/displacements.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    assert "changed since" in run("unlearn runs/one bob --out two").refusal
    assert not (tmp_path / "two").exists()
    assert not list(tmp_path.glob(".unlearn-*"))
    assert len(consents()) == before


def test_a_run_on_another_objective_is_refused(run: Run, ok: Run, trained: dict[str, str], tmp_path: Path) -> None:
    manifest = tmp_path / "runs/one/record/manifest.json"
    stated = json.loads(manifest.read_text())
    ok("init --ledger other.db")
    assert stated["objective"]
    assert "measured on no objective" in run("unlearn runs/one bob --out two --ledger other.db").refusal


def test_a_run_on_a_keep_list_is_repaired_on_what_it_kept(run: Run, ok: Run, corpora: dict[str, str]) -> None:
    ok(f"train --out runs/first {TINY} --scores --json")
    ok("curate runs/first --drop-share 0.5 --json")
    words = "--keep runs/first/curated/keep.parquet --tokenizer runs/first/model"
    ok(f"train --out runs/one {TINY} {words} --displacements --json")
    assert "give it with --keep" in run("unlearn runs/one bob --out two").refusal
    found = ok(
        "unlearn runs/one bob --out two --keep runs/first/curated/keep.parquet --repair-steps 1 --no-withdraw --json"
    ).json
    ok(f"train --out runs/all {TINY} --displacements --tokenizer runs/first/model --json")
    everything = ok("unlearn runs/all bob --out three --repair-steps 1 --no-withdraw --json").json
    kept, whole = (sum(one["repair"]["blocks"].values()) for one in (found, everything))
    assert 0 < kept < 0.9 * whole
