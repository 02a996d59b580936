"""The Merkle log against a checkpoint that was kept: whether what it stands for is still there, unchanged."""

from __future__ import annotations

from collections.abc import Iterator

from sqlmodel import Session

from ledger import registry
from ledger.checks.fault import Fault
from ledger.errors import CheckpointError, SettingError
from ledger.proofs import log
from ledger.proofs.checkpoint import Checkpoint

CHECKPOINT = "checkpoint"
LOG_CLAIMS = {CHECKPOINT: "the log begins with exactly the entries that the checkpoint stands for"}


def log_faults(session: Session, kept: Checkpoint) -> Iterator[Fault]:
    """Whether the journal was rewritten or cut short since the checkpoint. Other checks say that hashes are right."""
    try:
        origin = registry.origin(session)
    except SettingError as error:
        origin = str(error)
    if origin != kept.origin:
        yield Fault(CHECKPOINT, f"the checkpoint is of the log {kept.origin!r}, this is {origin!r}")
    try:
        proved = log.prove(session, kept.size)
    except CheckpointError as error:
        yield Fault(CHECKPOINT, str(error))
        return
    if proved.root != kept.root:
        yield Fault(
            CHECKPOINT,
            f"the first {kept.size:,} entries have the root {proved.root.hex()}, the checkpoint has {kept.root.hex()}: "
            "history was rewritten since",
        )
