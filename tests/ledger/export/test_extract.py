from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy.sql.base import Executable
from sqlmodel import Session

from ledger import journal, registry
from ledger.database import Ledger
from ledger.export import FORMATS
from ledger.export.extract import Extract
from ledger.lines import Line, credit, debit
from ledger.money import Asset
from tests.alone import alone
from tests.ledger.export.conftest import EUR, JPY

DEBITED, CREDITED = ("buyer", "bank", "house", "gap"), ("escrow", "fee", "withheld", "conversion")


@pytest.fixture
def session(books: Ledger) -> Iterator[Session]:
    with books.writing() as session:
        yield session


def post(session: Session, key: str, assets: Sequence[Asset] = (EUR,)) -> None:
    """An entry of eight postings in each asset."""
    lines: list[Line] = []
    for asset in assets:
        registry.use_asset(session, asset)
        lines += [debit(kind, asset.code, 7) for kind in DEBITED]
        lines += [credit(kind, asset.code, 7) for kind in CREDITED]
    journal.post(session, kind="test", subject="x", key=key, payload={"key": key}, lines=lines)


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_booked_while_an_export_is_written_is_left_out(session: Session, format: str) -> None:
    post(session, "before")
    whole = "".join(FORMATS[format](Extract(session)))
    pieces = FORMATS[format](Extract(session))
    first = next(pieces)
    post(session, "meanwhile", (EUR, JPY))
    assert first + "".join(pieces) == whole


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read as a stream is read a few rows at a time, so that a few thousand are many."""
    original = Executable.execution_options

    def capped(self: Executable, **options: Any) -> Executable:
        return original(self, **(options | ({"yield_per": 100} if "yield_per" in options else {})))

    monkeypatch.setattr(Executable, "execution_options", capped)


@alone
def test_memory_does_not_grow_with_what_is_exported(session: Session, few_at_a_time: None) -> None:
    assets = [Asset(f"T{number}", 18) for number in range(50)]
    peaks: dict[str, list[int]] = {format: [] for format in FORMATS}
    for entries in (range(3), range(3, 12)):  # 1 200 and 4 800 postings
        for number in entries:
            post(session, str(number), assets)
        session.expunge_all()
        for format, write in FORMATS.items():
            tracemalloc.start()
            length = sum(map(len, write(Extract(session))))
            peaks[format].append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert length > 400 * 50 * len(entries)
    for smaller, larger in peaks.values():
        assert larger < 1.25 * smaller, peaks
