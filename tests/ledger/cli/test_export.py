from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ledger import journal, registry
from ledger.database import Ledger
from ledger.export import FORMATS
from ledger.lines import credit, debit
from ledger.money import Asset
from tests.ledger.cli.conftest import Run
from tests.ledger.export.witnesses import REFUSAL, exported


@pytest.fixture
def whole(booked: str, tmp_path: Path) -> dict[str, str]:
    """What the exports of the booked ledger are, by format."""
    with Ledger.open(tmp_path / "ghostledger.db") as books:
        return {format: exported(books, format) for format in FORMATS}


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_goes_to_a_file_or_to_standard_output(ok: Run, whole: dict[str, str], format: str) -> None:
    assert ok(f"export --format {format}").out.replace("\r\n", "\n") == whole[format].replace("\r\n", "\n")
    assert ok(f"export --format {format} --out books.txt").out == ""
    assert Path("books.txt").read_bytes().decode() == whole[format]
    assert REFUSAL.get(format, lambda _: "")(whole[format]) == ""


def test_a_file_that_is_there_is_never_overwritten(run: Run, booked: str) -> None:
    before = Path("ghostledger.db").read_bytes()
    for name in ("ghostledger.db", "data"):
        assert "exists already" in run(f"export --format csv --out {name}").refusal
    assert Path("ghostledger.db").read_bytes() == before


def test_a_place_that_cannot_be_written_is_refused(run: Run, booked: str) -> None:
    assert (
        "nowhere/books.csv: the export cannot be written" in run("export --format csv --out nowhere/books.csv").refusal
    )


def test_an_export_that_fails_on_its_way_leaves_nothing(run: Run, ok: Run, booked: str) -> None:
    with Ledger.open("ghostledger.db") as books, books.writing() as session:
        registry.use_asset(session, Asset("WEI", 18))
        lines = [debit("buyer", "WEI", 2**200), credit("escrow", "WEI", 2**200)]
        journal.post(session, kind="test", subject="x", key="x", payload={}, lines=lines)
    before = sorted(Path().iterdir())
    for words in ("", "--out books.beancount"):
        assert "needs 61 digits in WEI" in run(f"export --format beancount {words}").refusal
        assert sorted(Path().iterdir()) == before
    assert "getcontext().prec = 61;" in ok("export --format beancount --digits 61").out


def test_a_full_disk_leaves_nothing(run: Run, booked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.link", full)
    before = sorted(Path().iterdir())
    assert "No space left on device" in run("export --format json --out books.json").refusal
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "--format"),
        ("--format quicken", "quicken"),
        ("--format hledger --digits 40", "hledger has none"),
        ("--format beancount --digits 27", "28"),
        ("--format csv --ledger missing.db", "no ledger here"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Run, booked: str, words: str, reason: str) -> None:
    assert reason in run(f"export {words}").refusal
