from __future__ import annotations

from pathlib import Path

import pytest

from attribution.record import RunRecord
from attribution.scores import read_scores
from tests.ledger.cli.conftest import TINY, Run


def test_a_run_is_trained_booked_settled_and_audited(ok: Run, corpora: dict[str, str], tmp_path: Path) -> None:
    shown = ok(f"train --out runs/one {TINY} --json").json
    assert [part["contributor"] for part in shown["contributors"]] == ["alice", "bob", "carol"]
    assert {part["contributor"]: part["datasets"] for part in shown["contributors"]} == {
        name: [fingerprint] for name, fingerprint in corpora.items()
    }
    assert shown["objective"] == "news"
    record = RunRecord.load(tmp_path / "runs" / "one" / "record")
    assert shown["run"] == record.identity
    assert shown["path"] == "runs/one/record"
    assert ok(f"settle {shown['run']} --rate 1000 EUR --json").json["payouts"]
    assert ok("audit --json").json["ok"]
    assert ok("statement alice --json").json["runs"][0]["run"] == record.identity


def test_values_by_other_paths_and_scores_of_blocks_are_asked_for_on_the_command_line(
    run: Run, corpora: dict[str, str], tmp_path: Path
) -> None:
    ran = run(f"train --out runs/one {TINY} --every 1 --every run --scores --optimizer sgd --momentum 0 --json")
    assert ran.code == 0, ran.err
    record = RunRecord.load(tmp_path / "runs" / "one" / "record")
    assert set(record.beside) == {"run"}
    assert record.scores is not None
    first = next(read_scores(record.scores)).column("sample")[0].as_py()
    assert first.rsplit("/", 2)[0] in corpora
    assert "metering will take" in ran.err


def test_a_run_that_values_absence_is_settled_by_it(ok: Run, corpora: dict[str, str], tmp_path: Path) -> None:
    shown = ok(f"train --out runs/one {TINY} --counterfactual --json").json
    record = RunRecord.load(tmp_path / "runs" / "one" / "record")
    valued = record.beside["counterfactual"]
    assert valued.values.sum() == pytest.approx(record.values.sum(), rel=1e-9)
    settled = ok(f"settle {shown['run']} --rate 1000 EUR --by counterfactual --json").json
    worth = dict(zip(record.contributors, (valued.values @ record.weights).tolist(), strict=True))
    assert "counterfactual" in settled["terms"]
    for part in settled["payouts"]:
        assert float(part["value_nats"]) == pytest.approx(worth[part["contributor"]], abs=1e-11)
        assert float(part["paid"]) == pytest.approx(1000 * max(0.0, worth[part["contributor"]]), abs=0.01)
    assert ok("audit --json").json["ok"]


@pytest.mark.parametrize(
    ("words", "name", "every", "memory"),
    [
        ("--method second_order", "second_order", 1, "buffered"),
        ("--method exact --every run", "exact", "run", "buffered"),
        ("--every 2", "path", 2, "buffered"),
        ("--memory ghost", "path", 1, "ghost"),
    ],
)
def test_the_method_the_path_and_the_memory_are_in_the_booked_record(
    ok: Run, corpora: dict[str, str], tmp_path: Path, words: str, name: str, every: object, memory: str
) -> None:
    ok(f"train --out runs/one {TINY} {words} --json")
    stated = RunRecord.load(tmp_path / "runs" / "one" / "record").details["method"]
    assert (stated["name"], stated["every"], stated["memory"]) == (name, every, memory)
    assert ok("audit --json").json["ok"]


def test_who_withdrew_consent_is_left_out_and_named(run: Run, ok: Run, corpora: dict[str, str]) -> None:
    ok(f"dataset withdraw-consent {corpora['bob']} --at 2026-02-01")
    ran = ok(f"train --out runs/one {TINY} --json")
    assert [part["contributor"] for part in ran.json["contributors"]] == ["alice", "carol"]
    assert "bob" in ran.err
    assert "bob" in run(f"train --out runs/two {TINY} --contributor bob").err


def test_contributors_may_be_chosen(ok: Run, corpora: dict[str, str]) -> None:
    shown = ok(f"train --out runs/one {TINY} --contributor carol --contributor alice --json").json
    assert [part["contributor"] for part in shown["contributors"]] == ["carol", "alice"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--size huge", "size"),
        ("--lr=-1", "learning_rate"),
        ("--optimizer magic", "optimizer"),
        ("--contributor mallory", "'mallory'"),
        ("--objective olds", "'olds'"),
        ("--context 100000", "100000"),
        ("--model nowhere", "nowhere"),
        ("--method magic", "method"),
        ("--every week", "every"),
        ("--every 0", "every"),
        ("--every 2 --every 2", "named once"),
        ("--memory little", "memory"),
        ("--memory ghost --every run", "memory ghost"),
        ("--counterfactual --every run", "a path for each step"),
        ("--counterfactual --memory ghost", "memory buffered"),
        ("--scores --method exact", "scores need"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    run: Run, ok: Run, corpora: dict[str, str], tmp_path: Path, words: str, reason: str
) -> None:
    before = ok("audit --json").json
    assert reason in run(f"train --out runs/one {TINY} {words}").refusal
    assert ok("audit --json").json == before
    assert not (tmp_path / "runs" / "one").exists()


@pytest.mark.parametrize("name", ["alice.jsonl", "held.txt"])
def test_files_that_are_no_longer_what_was_registered_are_refused(
    run: Run, corpora: dict[str, str], tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.write_text(file.read_text().replace("day 7", "day 8"))
    refusal = run(f"train --out runs/one {TINY}").refusal
    assert name in refusal
    assert "changed since" in refusal
    assert not (tmp_path / "runs").exists()


def test_a_contributors_datasets_are_each_read_in_their_own_way(
    ok: Run, corpora: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "more.txt").write_text("zoë adds one more story\n" * 20, encoding="latin-1")
    line = "dataset register alice more.txt --licence MIT --consent-given 2026-01-01 --encoding latin-1 --json"
    added = ok(line).json["fingerprint"]
    shown = ok(f"train --out runs/one {TINY} --contributor alice --json").json
    assert shown["contributors"][0]["datasets"] == [corpora["alice"], added]


def test_a_run_that_was_interrupted_is_saved_but_not_booked(
    run: Run, ok: Run, corpora: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    from attribution.training.progress import ProgressWatcher

    step = ProgressWatcher.step

    def interrupting(self: ProgressWatcher, *arguments: object) -> None:
        step(self, *arguments)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressWatcher, "step", interrupting)
    before = ok("audit --json").json
    ran = run(f"train --out runs/one {TINY}")
    assert ran.code == 2
    assert "saved, not booked" in ran.err
    assert not RunRecord.load(tmp_path / "runs" / "one" / "record").complete
    assert ok("audit --json").json == before
    booked = ok("import-run --allow-partial --json", tmp_path / "runs" / "one" / "record").json
    assert booked["complete"] is False
