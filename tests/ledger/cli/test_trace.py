from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.ledger.cli.conftest import TINY, Run


@pytest.fixture
def trained(ok: Run, corpora: dict[str, str], tmp_path: Path) -> dict[str, str]:
    ok(f"train --out runs/one {TINY} --lr 0.01 --scores --json")
    (tmp_path / "said.txt").write_text("carol tells story 5 of day 41, which was a good one.")
    return corpora


def test_the_record_a_text_was_copied_from_is_shown_first_and_royalties_sum_to_the_last_unit(
    run: Run, ok: Run, trained: dict[str, str]
) -> None:
    found = ok("trace runs/one --text said.txt --royalty 10.01 EUR --show 4 --json").json
    first = found["top"][0]
    assert (first["contributor"], first["dataset"], first["record"]) == ("carol", trained["carol"], 41)
    assert first["text"] in "carol tells story 5 of day 41, which was a good one."
    assert len(found["top"]) == len(found["bottom"]) == 4
    contributors = found["contributors"]
    assert contributors[0]["contributor"] == "carol"
    assert {part["contributor"] for part in contributors} == set(trained)
    assert sum(Decimal(part["share"]) for part in contributors) == 1
    assert sum(Decimal(part["royalty"]) for part in contributors) == Decimal("10.01")
    assert all((Decimal(part["share"]) > 0) == (part["score"] > 0) for part in contributors)
    shown = ok("trace runs/one --text said.txt --royalty 3 JPY").out
    assert "royalty, JPY" in shown
    assert "record 41 of" in shown
    for words, reason in REFUSED:
        assert reason in run(words).refusal
    for preconditioner, normalise in (("diagonal", "gradient"),):
        words = f"--preconditioner {preconditioner} --normalise {normalise}"
        other = ok(f"trace runs/one --text said.txt {words} --show 3 --json").json
        assert (other["preconditioner"], other["normalise"]) == (preconditioner, normalise)
        assert other["top"][0]["contributor"] == "carol"
        assert other["top"][0]["score"] != pytest.approx(first["score"], rel=1e-3)


REFUSED = [
    ("trace nowhere --text said.txt", "nowhere"),
    ("trace runs/one --text nothing.txt", "nothing.txt"),
    ("trace runs/one --text said.txt --royalty 1.001 EUR", "decimals"),
    ("trace runs/one --text said.txt --ledger nothing.db", "nothing.db"),
    ("trace runs/one --text said.txt --keep said.txt", "keep list"),
    ("trace runs/one --text said.txt --preconditioner shampoo", "shampoo"),
    ("trace runs/one --text said.txt --normalise twice", "twice"),
]


def test_a_run_on_a_keep_list_is_traced_with_that_list_and_no_other(
    run: Run, ok: Run, trained: dict[str, str], tmp_path: Path
) -> None:
    ok("curate runs/one --drop-share 0.3 --json")
    ok("curate runs/one --drop-share 0.1 --out other --json")
    ok(f"train --out runs/two {TINY} --keep runs/one/curated/keep.parquet --tokenizer runs/one/model --json")
    whole = ok("trace runs/one --text said.txt --json").json
    kept = ok("trace runs/two --text said.txt --keep runs/one/curated/keep.parquet --json").json
    assert sum(part["samples"] for part in kept["contributors"]) < sum(p["samples"] for p in whole["contributors"])
    assert "--keep" in run("trace runs/two --text said.txt").refusal
    assert "another" in run("trace runs/two --text said.txt --keep other/keep.parquet").refusal
    assert "leave --keep out" in run("trace runs/one --text said.txt --keep other/keep.parquet").refusal


def test_data_that_is_not_consented_to_any_more_is_not_read(ok: Run, trained: dict[str, str]) -> None:
    ok(f"dataset withdraw-consent {trained['carol']} --at 2026-02-01")
    ran = ok("trace runs/one --text said.txt --json")
    assert "carol" in ran.err
    assert {part["contributor"] for part in ran.json["contributors"]} == {"alice", "bob"}
    assert not any("carol" in one["text"] for one in ran.json["top"])
