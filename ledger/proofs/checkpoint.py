"""Checkpoints (c2sp.org/tlog-checkpoint): what a ledger's log was at a size, signed by its operator. Pure.

A ledger's key is named as its origin, so that a key says which ledger it speaks for. A continuation is a checkpoint
with the proof that it continues an older one, in the form that witnesses are asked in (c2sp.org/tlog-witness).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from ledger.errors import CheckpointError, CheckpointFormatError, OriginError
from ledger.proofs import note, tree
from ledger.proofs.note import SignerKey, VerifierKey

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_OLDER = re.compile(r"old (0|[1-9][0-9]{0,18})")
_MOST_HASHES = 63


@dataclass(frozen=True)
class Checkpoint:
    """A log's origin, its size in leaves, and its root. Raises `CheckpointFormatError` for what cannot be one."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.origin or any("\n" in line or not line for line in (self.origin, *self.extensions)):
            raise CheckpointFormatError("the origin and each extension are one line that is not empty")
        if len(self.root) != tree.HASH_BYTES or self.size < 0:
            raise CheckpointFormatError("a root is 32 bytes, and a size not below zero")
        if not self.size and self.root != tree.EMPTY:
            raise CheckpointFormatError("the root of an empty log is not that of an empty tree")

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """From a note's text. Raises `CheckpointFormatError`."""
        if not text.endswith("\n"):
            raise CheckpointFormatError("its last line does not end")
        origin, *rest = text.removesuffix("\n").split("\n")
        if len(rest) < 2:
            raise CheckpointFormatError("it needs an origin, a size and a root, a line each")
        if not _SIZE.fullmatch(rest[0]):
            raise CheckpointFormatError(f"{rest[0][:40]!r} is no size")
        return cls(origin, int(rest[0]), read_hash(rest[1]), tuple(rest[2:]))

    @property
    def text(self) -> str:
        """What is signed."""
        return "".join(f"{line}\n" for line in (self.origin, self.size, show_hash(self.root), *self.extensions))

    def __str__(self) -> str:
        return f"{self.origin}, {self.size:,} entries, root {self.root.hex()}"


@dataclass(frozen=True)
class Continuation:
    """A signed checkpoint, and the proof that its log begins with the `older` leaves of an earlier one."""

    older: int
    path: tree.Path
    checkpoint: str  # the newer one, with its signatures

    @classmethod
    def parse(cls, text: str) -> Continuation:
        """From an older size, a proof, and a checkpoint. Raises `CheckpointFormatError`."""
        head, blank, checkpoint = text.partition("\n\n")
        first, *hashes = head.split("\n")
        match = _OLDER.fullmatch(first)
        if match is None or not blank or len(hashes) > _MOST_HASHES:
            raise CheckpointFormatError("'old' and a size, a hash a line, a blank line and a checkpoint are expected")
        return cls(int(match[1]), tuple(map(read_hash, hashes)), checkpoint)

    def verify(self, older: Checkpoint, newer: Checkpoint) -> None:
        """Check that `newer`, which must be this continuation's, continues `older`.

        Raises `CheckpointError` where these are not the two checkpoints, and `ConsistencyProofError`.
        """
        if newer.text != note.unverified_text(self.checkpoint):
            raise CheckpointError(f"the proof leads to another checkpoint than {newer}")
        check_continues(older, newer, self.older, self.path)

    def __str__(self) -> str:
        return "\n".join([f"old {self.older}", *map(show_hash, self.path), "", self.checkpoint])


def sign(checkpoint: Checkpoint, key: SignerKey) -> str:
    """The checkpoint as a signed note. Raises `OriginError` for a key of another name than the log's origin."""
    if key.name != checkpoint.origin:
        raise OriginError(key.name, checkpoint.origin)
    return note.sign(checkpoint.text, key)


def open_checkpoint(message: str | bytes, key: VerifierKey) -> Checkpoint:
    """The checkpoint that a signed note holds, if this key signed it for its own log.

    Raises `NoteFormatError`, `SignatureError`, `CheckpointFormatError`, `OriginError`.
    """
    found = Checkpoint.parse(note.open_note(message, key).text)
    if found.origin != key.name:
        raise OriginError(key.name, found.origin)
    return found


def unverified_checkpoint(message: str | bytes) -> Checkpoint:
    """The checkpoint in a note, whoever signed it: for one that was kept and is trusted for that.

    Raises `NoteFormatError`, `CheckpointFormatError`.
    """
    return Checkpoint.parse(note.unverified_text(message))


def check_continues(older: Checkpoint, newer: Checkpoint, size: int, path: tree.Path) -> None:
    """Check by a proof from `size` that one checkpoint continues another of the same log.

    Raises `OriginError`, `CheckpointError` for a proof from another size, and `ConsistencyProofError`.
    """
    if older.origin != newer.origin:
        raise OriginError(older.origin, newer.origin)
    if older.size != size:
        raise CheckpointError(f"the proof begins at {size:,} entries, the older checkpoint has {older.size:,}")
    tree.verify_consistency(older.size, newer.size, older.root, newer.root, path)


def show_hash(hash: bytes) -> str:
    """A hash as C2SP writes it: base64."""
    return base64.b64encode(hash).decode()


def read_hash(text: str) -> bytes:
    """The hash that `show_hash` wrote. Raises `CheckpointFormatError`."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CheckpointFormatError(f"{text[:60]!r} is no hash") from error
    if len(found) != tree.HASH_BYTES or show_hash(found) != text:
        raise CheckpointFormatError(f"{text[:60]!r} is no hash")
    return found
