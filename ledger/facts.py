"""What entries say about one contributor: all that a statement is made from, from the books or from proofs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ledger.lines import Line

# Kinds of entries whose payload a contributor is shown; of all others, only their own postings and parts.
SHOWN = frozenset(
    {
        "commodity",
        "contributor",
        "estate",
        "group",
        "dataset",
        "consent",
        "valuation",
        "other valuation",
        "settlement",
        "dispute",
        "resolution",
        "payout address",
        "publication",
        "published",
        "root activated",
        "root revoked",
        "publication abandoned",
        "claim",
    }
)


@dataclass(frozen=True)
class Fact:
    """One entry, with those of its parts and lines that are the contributor's own, in their order."""

    sequence: int
    kind: str
    subject: str
    recorded_at: str
    event_at: str
    reason: str | None
    reference: str | None
    reverses: int | None
    payload: Mapping[str, Any]  # empty where it is not shown
    parts: tuple[Mapping[str, Any], ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Facts:
    """Every fact about a contributor among the first entries of a journal, in order.

    `entries` is how many entries that is, `head` the hash of the last one.
    """

    contributor: str
    entries: int
    head: str
    facts: tuple[Fact, ...]

    def of(self, kind: str) -> Iterator[Fact]:
        """The facts of a kind."""
        return (fact for fact in self.facts if fact.kind == kind)

    def reversed_by(self, sequence: int) -> int | None:
        """The entry that reversed an entry, if any."""
        return next((fact.sequence for fact in self.facts if fact.reverses == sequence), None)
