from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.ledger.cli.conftest import TINY, Run


@pytest.fixture
def trained(ok: Run, corpora: dict[str, str], tmp_path: Path) -> dict[str, str]:
    ok(f"train --out runs/one {TINY} --lr 0.01 --displacements --json")
    (tmp_path / "said.txt").write_text("carol tells story 5 of day 41, which was a good one.")
    (tmp_path / "other.txt").write_text("bob tells story 4 of day 3, which was a good one.")
    return corpora


def test_a_text_s_royalties_are_booked_settled_and_audited_as_a_run(ok: Run, trained: dict[str, str]) -> None:
    found = ok("royalty runs/one --text said.txt --text other.txt --out royalties/one --json").json
    assert [task["task"] for task in found["tasks"]] == ["said", "other"]
    assert all(finding["ok"] for finding in found["axioms"])
    parts = {part["contributor"]: int(part["value"]) for part in found["contributors"]}
    assert sum(parts.values()) + int(found["house"]) + int(found["gap"]) == int(found["improvement"]) > 0
    paid = ok("settle royalties/one --pool 10.01 EUR --json").json
    assert sum(Decimal(part["paid"]) for part in paid["payouts"]) == Decimal("10.01")
    again = ok("royalty runs/one --text said.txt --text other.txt --out royalties/one --json").json
    assert again["repeated"]
    assert again["entry"] == found["entry"]
    ok("audit")


def test_another_use_of_the_same_text_is_booked_by_its_reference(ok: Run, trained: dict[str, str]) -> None:
    first = ok("royalty runs/one --text said.txt --out royalties/one --reference one --json").json
    second = ok("royalty runs/one --text said.txt --out royalties/two --reference two --json").json
    assert first["run"] != second["run"]
    assert first["contributors"] == second["contributors"]
    assert "holds  efficiency" in ok("royalty runs/one --text said.txt --out royalties/three --reference three").out


def test_what_cannot_be_divided_is_refused_and_leaves_nothing(
    run: Run, ok: Run, trained: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "said.txt").write_text("the same name")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("something else")
    ok(f"train --out runs/plain {TINY} --json")
    ok("init --ledger foreign.db")
    for line, reason in REFUSED:
        assert reason in run(line).refusal, line
    assert not (tmp_path / "royalties" / "one").exists()


REFUSED = [
    ("royalty runs/plain --text said.txt --out royalties/one", "--displacements"),
    ("royalty runs/one --text empty.txt --out royalties/one", "shorter than two tokens"),
    ("royalty runs/one --text nothing.txt --out royalties/one", "nothing.txt"),
    ("royalty runs/one --text said.txt --text texts/said.txt --out royalties/one", "texts/said.txt"),
    ("royalty runs/one --text said.txt --out full", "full"),
    ("royalty nowhere --text said.txt --out royalties/one", "nowhere"),
    ("royalty runs/one --text said.txt --out royalties/one --ledger nothing.db", "nothing.db"),
    ("royalty runs/one --text said.txt --out royalties/one --ledger foreign.db", "alice"),
    ("royalty runs/one --text said.txt --out royalties/one --tolerance 0", "tolerance"),
]
