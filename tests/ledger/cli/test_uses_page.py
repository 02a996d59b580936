"""The commands on docs/uses.md, run in the order in which they stand."""

from __future__ import annotations

from pathlib import Path

from tests.ledger.cli.conftest import TINY, Run
from tests.test_readme import commands_of

USES = {"curate", "explain", "poison", "predict", "select", "timeline", "trace", "royalty", "unlearn"}
PAGE = Path(__file__).resolve().parents[3] / "docs" / "uses.md"


def test_the_pages_commands_work_one_after_the_other(ok: Run, corpora: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "answer.txt").write_text("bob tells a good story.")
    small = TINY.removeprefix("--objective news").replace("--max-steps 3", "--max-steps 12").split()
    commands = commands_of(PAGE.read_text())
    assert {words[1] for words in commands} >= USES
    for words in commands:
        ok("", *words[1:], *(small if words[1] == "train" else []))
    assert (tmp_path / "run-2" / "record" / "manifest.json").is_file()
