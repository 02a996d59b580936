"""Whoever has nothing but the JSON can recompute every hash, every decimal and every balance."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import rfc8785
from sqlmodel import select

from ledger import journal
from ledger.balances import totals
from ledger.database import Ledger
from ledger.models import Account
from tests.ledger.export.witnesses import exported


@pytest.fixture
def document(busy: Ledger) -> Any:
    return json.loads(exported(busy, "json"))


def leaf(value: Any) -> bytes:
    return hashlib.sha256(b"\0" + rfc8785.dumps(value)).digest()


def root(leaves: list[bytes]) -> bytes:
    """The Merkle tree hash as RFC 6962 defines it, by recursion."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:left]) + root(leaves[left:])).digest()


def test_every_hash_can_be_recomputed_from_the_document_alone(document: Any) -> None:
    previous = "0" * 64
    for entry in document["entries"]:
        parts = [leaf(part) for part in entry["parts"]]
        postings = [
            leaf({"account": p["account"], "amount": p["units"], "commodity": p["commodity"], "side": p["side"]})
            for p in entry["postings"]
        ]
        said = {name: entry[name] for name in ("kind", "subject", "stated_at", "reason", "reference", "reverses")}
        said |= {
            "payload": hashlib.sha256(entry["payload"].encode()).hexdigest(),
            "parts": root(parts).hex(),
            "postings": root(postings).hex(),
        }
        assert hashlib.sha256(rfc8785.dumps(said)).hexdigest() == entry["content"]
        placed = {name: entry[name] for name in ("sequence", "recorded_at", "event_at", "key", "content", "previous")}
        assert entry["previous"] == previous
        assert leaf(placed).hex() == entry["hash"]
        previous = entry["hash"]
    assert document["head"] == {"count": len(document["entries"]), "hash": previous}
    assert sum(len(entry["parts"]) for entry in document["entries"]) > 30


def test_the_document_says_everything_that_the_books_do(busy: Ledger, document: Any) -> None:
    with busy.reading() as session:
        assert (document["head"]["count"], document["head"]["hash"]) == journal.head(session)
        opened = session.exec(select(Account)).all()
        assert {(row["name"], row["commodity"], row["normal_side"], row["floor"]) for row in document["accounts"]} == {
            (row.name, row.commodity, row.normal_side, None if row.floor is None else str(row.floor)) for row in opened
        }
        exponents = {row["code"]: row["exponent"] for row in document["commodities"]}
        assert exponents == {"EUR": 2, "JPY": 0, "W31": 18, "nat": 12}
        for entry in document["entries"]:
            lines = journal.lines_of(session, entry["sequence"])
            assert [(p["account"], p["commodity"], p["side"], int(p["units"])) for p in entry["postings"]] == [
                (line.account, line.commodity, line.side, line.amount) for line in lines
            ]
        held = {(row["account"], row["commodity"]): row for row in document["balances"]}
        for total in totals(session):
            row = held.pop((total.account, total.commodity))
            for name in ("debit", "credit", "balance"):
                assert units(row[name], exponents[total.commodity]) == getattr(total, name)
        assert held == {}


def test_decimals_are_exact_and_complete(document: Any) -> None:
    exponents = {row["code"]: row["exponent"] for row in document["commodities"]}
    postings = [posting for entry in document["entries"] for posting in entry["postings"]]
    assert len(postings) > 20
    for posting in postings:
        assert units(posting["amount"], exponents[posting["commodity"]]) == int(posting["units"])


def units(decimal: str, exponent: int) -> int:
    """Smallest units of decimal text that has all its decimals."""
    assert len(decimal.partition(".")[2]) == exponent
    return int(decimal.replace(".", ""))
