"""The bytes that are hashed: canonical JSON (RFC 8785), amounts as decimal text.

An entry's parts and its postings are the leaves of two small trees (RFC 6962), so that one of them can be proved
without showing the others; the entry itself is a leaf of the ledger's log::

    content = SHA-256({"kind", "subject", "stated_at", "reason", "reference", "reverses",
                       "payload": SHA-256(payload), "parts": root([part, ...]), "postings": root([posting, ...])})
    leaf    = {"sequence", "recorded_at", "event_at", "key", "content", "previous"}
    hash    = SHA-256(0x00 || leaf)

`content` says what was asked for, so that the same request with the same key can be told from another; `hash` puts
it in its place behind the entry before. The first entry's `previous` is 64 zeros. A part is
``{"contributor", "payload"}``, a posting ``{"account", "amount", "commodity", "side"}``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ledger.canonical_json import dumps, encoded, quoted
from ledger.lines import Line
from ledger.proofs import tree

GENESIS = "0" * 64


@dataclass(frozen=True)
class Request:
    """What an entry was asked to say, without its parts and postings. `stated_at` is an instant in stored form."""

    kind: str
    subject: str
    payload: str
    stated_at: str | None = None
    reason: str | None = None
    reference: str | None = None
    reverses: int | None = None


def canonical(value: Mapping[str, Any] | list[Any]) -> str:
    """Canonical JSON of a payload."""
    return dumps(value).decode()


def sha256(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def part_leaf(contributor: str, payload: str) -> bytes:
    """The leaf of what an entry says about one contributor."""
    return encoded(f'{{"contributor":{quoted(contributor)},"payload":{quoted(payload)}}}')


def posting_leaf(line: Line) -> bytes:
    """The leaf of one posting."""
    account, commodity, side = quoted(line.account), quoted(line.commodity), quoted(line.side)
    return encoded(f'{{"account":{account},"amount":"{line.amount}","commodity":{commodity},"side":{side}}}')


def root_of(leaves: Iterable[bytes]) -> str:
    """The root of a tree over these leaves, hexadecimal."""
    sha256 = hashlib.sha256
    return tree.root(sha256(b"\x00" + leaf).digest() for leaf in leaves).hex()


def content_body(request: Request, parts: str, postings: str) -> dict[str, Any]:
    """What `content` is the hash of; `parts` and `postings` are the roots of both trees."""
    return {
        "kind": request.kind,
        "subject": request.subject,
        "stated_at": request.stated_at,
        "reason": request.reason,
        "reference": request.reference,
        "reverses": request.reverses,
        "payload": sha256(request.payload.encode()),
        "parts": parts,
        "postings": postings,
    }


def content_hash(request: Request, parts: str, postings: str) -> str:
    """SHA-256 of what a request asks for, hexadecimal."""
    return sha256(dumps(content_body(request, parts, postings)))


def entry_leaf(sequence: int, recorded_at: str, event_at: str, key: str, content: str, previous: str) -> bytes:
    """The entry as a leaf of the log."""
    body: dict[str, Any] = {
        "sequence": sequence,
        "recorded_at": recorded_at,
        "event_at": event_at,
        "key": key,
        "content": content,
        "previous": previous,
    }
    return dumps(body)


def entry_hash(sequence: int, recorded_at: str, event_at: str, key: str, content: str, previous: str) -> str:
    """An entry's leaf hash, which the next entry's `previous` repeats, hexadecimal."""
    return tree.leaf_hash(entry_leaf(sequence, recorded_at, event_at, key, content, previous)).hex()
