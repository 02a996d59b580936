"""Errors of proofs, checkpoints and keys."""

from __future__ import annotations

from ledger.errors.base import LedgerError


class ProofError(LedgerError):
    """Root of what is wrong with a proof, a signature or a checkpoint."""


class TreeSizeError(ProofError):
    """A proof was asked for about a leaf, or an older tree, that is not in the tree."""

    def __init__(self, asked: int, size: int) -> None:
        self.asked, self.size = asked, size
        super().__init__(f"{asked} lies outside the tree of {size} leaves")


class InclusionProofError(ProofError):
    """A proof does not show that a leaf is in a tree; the index counts from 0."""

    def __init__(self, index: int, size: int, reason: str) -> None:
        self.index, self.size, self.reason = index, size, reason
        super().__init__(f"the proof that leaf {index} is in the tree of {size} leaves fails: {reason}")


class ConsistencyProofError(ProofError):
    """A proof does not show that a tree continues an older one."""

    def __init__(self, older: int, newer: int, reason: str) -> None:
        self.older, self.newer, self.reason = older, newer, reason
        super().__init__(f"the proof that a tree of {newer} leaves continues one of {older} fails: {reason}")


class KeyFormatError(ProofError):
    """A text is not a key for notes."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"this is no key: {reason}")


class NoteFormatError(ProofError):
    """A text is not a signed note."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"this is no signed note: {reason}")


class SignatureError(ProofError):
    """A note's signatures do not hold, or are by others."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the note cannot be trusted: {reason}")


class CheckpointFormatError(ProofError):
    """A note's text is not a checkpoint, or a file not a continuation of one."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"this is no checkpoint: {reason}")


class CheckpointError(ProofError):
    """A checkpoint is not the one that is needed."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class OriginError(ProofError):
    """A key or a checkpoint is of another log."""

    def __init__(self, name: str, origin: str) -> None:
        self.name, self.origin = name, origin
        super().__init__(f"{name!r} does not speak for the log {origin!r}: their names must be the same")


class EntryProofError(ProofError):
    """An entry that is shown is not in the log, or not as it is shown."""

    def __init__(self, sequence: int, reason: str) -> None:
        self.sequence, self.reason = sequence, reason
        super().__init__(f"entry {sequence}: {reason}")


class StatementFormatError(ProofError):
    """A file is not a statement with its proofs."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"this is no statement with proofs: {reason}")


class ProofFileError(ProofError):
    """A key, a checkpoint or a statement cannot be read from a file, or written to one."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: {reason}")
