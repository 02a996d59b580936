"""One entry as a statement carries it: shown as far as it concerns one contributor, and proved to be in the log. Pure.

What is not shown is committed to by a hash: others' parts and postings by the roots of the entry's two inner trees, a
payload that speaks of others by its SHA-256 (`ledger/canonical.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from ledger.accounts import split_name
from ledger.canonical import Request, content_body, entry_leaf, part_leaf, posting_leaf, sha256
from ledger.errors import AccountError, EntryProofError, InclusionProofError
from ledger.facts import Fact
from ledger.lines import Line
from ledger.nesting import assert_shallow
from ledger.proofs import tree

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hashes = Annotated[list[Hash], Field(max_length=64)]
Natural = Annotated[int, Field(ge=0, lt=2**53)]


class Carried(BaseModel):
    """What is read from a file: exactly these fields, of exactly these types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ProvedPart(Carried):
    """What the entry says of the contributor, and where in the tree of its parts that is, from 0."""

    index: Natural
    payload: str
    path: Hashes


class ProvedPosting(Carried):
    """A posting on an account of the contributor's, and where in the tree of the entry's postings that is, from 0."""

    index: Natural
    account: str
    commodity: str
    side: Literal["debit", "credit"]
    amount: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,77}$")]
    path: Hashes

    @property
    def line(self) -> Line:
        """The posting as a line."""
        return Line(self.account, self.commodity, self.side, int(self.amount))


class ProvedEntry(Carried):
    """An entry's leaf, what its content commits to, and the proof that the leaf is in the log."""

    sequence: Annotated[int, Field(ge=1, lt=2**53)]
    recorded_at: str
    event_at: str
    key: str
    previous: Hash
    kind: str
    subject: str
    stated_at: str | None
    reason: str | None
    reference: str | None
    reverses: int | None
    payload: str | None  # where it is shown
    payload_sha256: Hash | None  # where it is not
    parts_root: Hash
    parts_count: Natural
    parts: list[ProvedPart]
    postings_root: Hash
    postings_count: Natural
    postings: list[ProvedPosting]
    path: Hashes

    def leaf_hash(self) -> bytes:
        """The hash of the leaf that these fields make. Raises `EntryProofError` where they make none."""
        request = Request(
            self.kind, self.subject, self.payload or "", self.stated_at, self.reason, self.reference, self.reverses
        )
        body = content_body(request, self.parts_root, self.postings_root)
        if self.payload is None:
            body["payload"] = self.payload_sha256
        try:
            content = sha256(rfc8785.dumps(body))
            leaf = entry_leaf(self.sequence, self.recorded_at, self.event_at, self.key, content, self.previous)
        except ValueError as error:
            raise EntryProofError(self.sequence, f"it cannot be an entry: {error}") from error
        return tree.leaf_hash(leaf)

    def check(self, contributor: str, size: int, root: bytes) -> Fact:
        """What the entry says about the contributor, once it is proved to be in the log of this size and root.

        Raises `EntryProofError`.
        """
        if (self.payload is None) == (self.payload_sha256 is None):
            raise EntryProofError(self.sequence, "either its payload or the hash of it is needed")
        try:
            tree.verify_inclusion(self.sequence - 1, size, self.leaf_hash(), unhex(self.path), root)
        except InclusionProofError as error:
            raise EntryProofError(self.sequence, f"it is not in the log as it is shown: {error.reason}") from error
        return Fact(
            sequence=self.sequence,
            kind=self.kind,
            subject=self.subject,
            recorded_at=self.recorded_at,
            event_at=self.event_at,
            reason=self.reason,
            reference=self.reference,
            reverses=self.reverses,
            payload=self._object("its payload", self.payload) if self.payload is not None else {},
            parts=self._own_parts(contributor),
            lines=self._own_lines(contributor),
        )

    def _own_parts(self, contributor: str) -> tuple[dict[str, Any], ...]:
        self._in_order("parts", [part.index for part in self.parts])
        for part in self.parts:
            leaf = self._leaf("part", part.index, contributor, part.payload)
            self._inner("part", part.index, self.parts_count, leaf, part.path, self.parts_root)
        return tuple(self._object(f"part {part.index + 1}", part.payload) for part in self.parts)

    def _own_lines(self, contributor: str) -> tuple[Line, ...]:
        self._in_order("postings", [posting.index for posting in self.postings])
        for posting in self.postings:
            try:
                owner = split_name(posting.account)[1]
            except AccountError as error:
                raise EntryProofError(self.sequence, str(error)) from error
            if owner != contributor:
                raise EntryProofError(self.sequence, f"{posting.account!r} is no account of {contributor!r}")
            leaf = self._leaf("posting", posting.index, posting.line)
            self._inner("posting", posting.index, self.postings_count, leaf, posting.path, self.postings_root)
        return tuple(posting.line for posting in self.postings)

    def _leaf(self, what: str, index: int, *fields: Any) -> bytes:
        try:
            return part_leaf(*fields) if what == "part" else posting_leaf(*fields)
        except ValueError as error:
            raise EntryProofError(self.sequence, f"{what} {index + 1} cannot be one: {error}") from error

    def _inner(self, what: str, index: int, count: int, leaf: bytes, path: Sequence[str], root: str) -> None:
        try:
            tree.verify_inclusion(index, count, tree.leaf_hash(leaf), unhex(path), bytes.fromhex(root))
        except InclusionProofError as error:
            reason = f"{what} {index + 1} is not in it as it is shown: {error.reason}"
            raise EntryProofError(self.sequence, reason) from error

    def _in_order(self, what: str, indices: Sequence[int]) -> None:
        # All of an entry are proved in a tree of one size, so none can be counted twice under two places.
        if list(indices) != sorted(set(indices)):
            raise EntryProofError(self.sequence, f"its {what} are out of order, or one is there twice")

    def _object(self, what: str, text: str) -> dict[str, Any]:
        try:
            assert_shallow(text)
            found = json.loads(text)
        except ValueError as error:
            raise EntryProofError(self.sequence, f"{what} is no JSON") from error
        if not isinstance(found, dict):
            raise EntryProofError(self.sequence, f"{what} is no JSON object")
        return found


def unhex(path: Sequence[str]) -> list[bytes]:
    """A path's hashes as bytes."""
    return [bytes.fromhex(hash) for hash in path]
