from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ledger.cli import main
from tests.ledger.records import synthetic_record


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code in (0, 1), self.err
        return json.loads(self.out)

    @property
    def refusal(self) -> str:
        """The one line of a refusal, checked to be one, and to be all there is."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert self.out == ""
        assert self.err.startswith("ghostledger: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        return self.err


Run = Callable[..., Ran]

TINY = (
    "--objective news --size tiny --vocabulary 300 --context 16 --batch 4 --validation-rows 2 --max-steps 3 --threads 1"
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in an empty folder, its words given apart or as one text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GHOSTLEDGER", raising=False)

    def run(line: str, *words: str | Path) -> Ran:
        code = main([*line.split(), *map(str, words)])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def ok(run: Run) -> Run:
    """The same, of a command that must succeed."""

    def ok(line: str, *words: str | Path) -> Ran:
        ran = run(line, *words)
        assert ran.code == 0, ran.err
        return ran

    return ok


def write(folder: Path, **records: str) -> Path:
    """A folder of text files, one record each."""
    folder.mkdir(parents=True)
    for name, text in records.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture
def registered(ok: Run, tmp_path: Path) -> dict[str, str]:
    """A ledger with alice and bob, a dataset each, and the objective news. Fingerprints by name."""
    ok("init")
    fingerprints = {}
    for name in ("alice", "bob"):
        ok(f"contributor add {name} --name", name.title())
        folder = write(
            tmp_path / "data" / name, one=f"{name} wrote this", two=f"{name} wrote that", both="all wrote this"
        )
        line = f"dataset register {name} {folder} --licence MIT --consent-given 2026-01-01 --json"
        fingerprints[name] = ok(line).json["fingerprint"]
    for task in ("business", "sport"):
        write(tmp_path / "held-out" / task, one=f"held-out {task}")
    tasks = "--task business=held-out/business:0.5 --task sport=held-out/sport:0.5"
    for row in ok(f"objective add news {tasks} --json").json["tasks"]:
        fingerprints[row["task"]] = row["fingerprint"]
    return fingerprints


@pytest.fixture
def record(registered: dict[str, str], tmp_path: Path) -> Callable[..., Path]:
    """Saves a run record on the registered data: alice +0.75, bob −0.25 on each task, unless said otherwise."""

    def record(name: str = "run", **options: Any) -> Path:
        values = options.pop("values", {"alice": [1.0, 0.5], "bob": [-0.25, -0.25]})
        return synthetic_record(
            values,
            tasks=("business", "sport"),
            weights=(0.5, 0.5),
            house=options.pop("house", (0.0, 0.0)),
            gap=options.pop("gap", (0.0, 0.0)),
            data={who: [registered[who]] for who in values},
            objective={task: registered[task] for task in ("business", "sport")},
            **options,
        ).save(tmp_path / "runs" / name)

    return record


@pytest.fixture
def booked(ok: Run, record: Callable[..., Path]) -> str:
    """The identity of a booked run."""
    identity: str = ok("import-run --json", record()).json["run"]
    return identity


@pytest.fixture
def corpora(ok: Run, tmp_path: Path) -> dict[str, str]:
    """A ledger with three contributors whose text is long enough to train on. Fingerprints by contributor."""
    ok("init")
    fingerprints = {}
    for number, name in enumerate(("alice", "bob", "carol")):
        ok(f"contributor add {name}")
        words = [f"{name} tells story {number + 3} of day {day}, which was a good one." for day in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("".join(f'{{"body": "{word}"}}\n' for word in words))
        line = f"dataset register {name} {name}.jsonl --licence MIT --consent-given 2026-01-01 --text-field body --json"
        fingerprints[name] = ok(line).json["fingerprint"]
    (tmp_path / "held.txt").write_text("".join(f"on day {day} the story was a short one.\n" for day in range(40)))
    ok("objective add news --task held=held.txt:1")
    return fingerprints
