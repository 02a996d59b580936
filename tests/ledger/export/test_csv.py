from __future__ import annotations

import csv
import io
from collections import defaultdict
from decimal import Decimal

import pytest

from ledger import journal
from ledger.database import Ledger
from tests.ledger.export.witnesses import exported, ours


@pytest.fixture
def rows(busy: Ledger) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(exported(busy, "csv"), newline=""), strict=True))


def test_the_amounts_sum_to_what_accounts_hold_and_to_nothing_in_each_entry(
    busy: Ledger, rows: list[dict[str, str]]
) -> None:
    held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    entries: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in rows:
        if row["amount"]:
            held[row["account"], row["commodity"]] += Decimal(row["amount"])
            entries[row["sequence"], row["commodity"]] += Decimal(row["amount"])
            assert (row["side"] == "debit") == (Decimal(row["amount"]) > 0)
    assert held == ours(busy)
    assert not any(entries.values())


def test_every_entry_is_there_also_one_that_moves_nothing(busy: Ledger, rows: list[dict[str, str]]) -> None:
    with busy.reading() as session:
        count, head = journal.head(session)
        assert [*dict.fromkeys(int(row["sequence"]) for row in rows)] == list(range(1, count + 1))
        assert rows[-1]["hash"] == head
        for row in rows:
            entry = journal.entry(session, int(row["sequence"]))
            for name in ("kind", "subject", "event_at", "recorded_at", "reason", "reference", "key", "reverses"):
                assert row[name] == str("" if getattr(entry, name) is None else getattr(entry, name))
    assert {row["kind"] for row in rows if not row["account"]} >= {"setting", "commodity", "contributor", "consent"}
