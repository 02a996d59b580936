"""What a statement carries so that it can be checked offline: a checkpoint, and each entry it rests on, proved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ValidationError

from ledger.errors import CheckpointError, EntryProofError, ProofError, StatementFormatError
from ledger.facts import Fact, Facts
from ledger.nesting import assert_shallow
from ledger.proofs import tree
from ledger.proofs.checkpoint import (
    Checkpoint,
    check_continues,
    open_checkpoint,
    unverified_checkpoint,
)
from ledger.proofs.note import VerifierKey
from ledger.proofs.proved_entry import Carried, Hash, Hashes, Natural, ProvedEntry, unhex

FORMAT: Final = "ghostledger statement proofs 1"
PROOFS = "proofs"  # the field of a statement that carries them


class Continued(Carried):
    """That the checkpoint's log begins with the entries of an older checkpoint of this size."""

    older: Natural
    path: Hashes


class StatementProof(Carried):
    """A statement's proofs. `head_path` proves the hash of the last entry, which is not shown."""

    format: Literal["ghostledger statement proofs 1"]
    checkpoint: str
    continues: Continued | None
    head_path: Hashes
    entries: list[ProvedEntry]


@dataclass(frozen=True)
class Proved:
    """What the proofs come to: the facts that hold, and what does not, a sentence each."""

    checkpoint: Checkpoint
    facts: Facts
    faults: tuple[str, ...]


def read(text: str | bytes) -> tuple[dict[str, Any], StatementProof]:
    """A statement and its proofs, from a file's content. Raises `StatementFormatError`."""
    try:
        assert_shallow(text)
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except ValueError as error:
        raise StatementFormatError(f"it is not JSON that every program reads alike: {error}") from error
    if not isinstance(document, dict) or PROOFS not in document:
        raise StatementFormatError(f"it has no {PROOFS!r}; ask for them with `ghostledger statement --json --proofs`")
    try:
        proofs = StatementProof.model_validate(document.pop(PROOFS))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise StatementFormatError(f"{PROOFS}.{place}: {first['msg']}") from error
    return document, proofs


def trusted_checkpoint(
    proofs: StatementProof, key: VerifierKey | None = None, kept: Checkpoint | None = None
) -> Checkpoint:
    """The checkpoint that the proofs lead to: one that a key signed, or that was kept; or one that a key signed and
    that continues the one that was kept.

    Raises `CheckpointError` where that is not so, and what `open_checkpoint` and `check_continues` do.
    """
    if key is None and kept is None:
        raise CheckpointError("nothing vouches for the statement's checkpoint; give a key, or a checkpoint you kept")
    found = unverified_checkpoint(proofs.checkpoint) if key is None else open_checkpoint(proofs.checkpoint, key)
    if kept is None:
        return found
    if kept.size == found.size:
        check_continues(kept, found, kept.size, ())
    elif proofs.continues is None:
        raise CheckpointError(
            f"the statement is proved as of {found.size:,} entries, the checkpoint has {kept.size:,}; ask for a "
            "statement with `--older` and that checkpoint, or verify with the newer one"
        )
    else:
        check_continues(kept, found, proofs.continues.older, tuple(unhex(proofs.continues.path)))
        if key is None:  # anybody can add to what is public
            raise CheckpointError(f"a checkpoint vouches for its own {kept.size:,} entries only; give the key as well")
    return found


def proved_facts(contributor: str, head: str, proofs: StatementProof, checkpoint: Checkpoint) -> Proved:
    """The facts about a contributor that the proofs show to be in the checkpoint's log, and which proofs fail."""
    facts: list[Fact] = []
    faults: list[str] = []
    before = 0
    for entry in proofs.entries:
        try:
            if entry.sequence <= before:
                raise EntryProofError(entry.sequence, "it is out of order, or there twice")
            before = entry.sequence
            facts.append(entry.check(contributor, checkpoint.size, checkpoint.root))
        except EntryProofError as error:
            faults.append(str(error))
    try:
        _check_head(head, proofs, checkpoint)
    except ProofError as error:
        faults.append(f"head: {error}")
    return Proved(checkpoint, Facts(contributor, checkpoint.size, head, tuple(facts)), tuple(faults))


class _Head(Carried):
    hash: Hash


def _check_head(head: str, proofs: StatementProof, checkpoint: Checkpoint) -> None:
    try:
        leaf = bytes.fromhex(_Head(hash=head).hash)
    except ValidationError as error:
        raise StatementFormatError("it is no hash") from error
    path = unhex(proofs.head_path)
    tree.verify_inclusion(checkpoint.size - 1, checkpoint.size, leaf, path, checkpoint.root)


def differences(stated: Any, right: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ, a phrase for each innermost place."""
    if isinstance(stated, Mapping) and isinstance(right, Mapping):
        for name in (*right, *(name for name in stated if name not in right)):
            inner = f"{place}.{name}" if place else str(name)
            if name not in stated:
                yield f"{inner} is left out; proved is {json.dumps(right[name])}"
            elif name not in right:
                yield f"{inner} is {json.dumps(stated[name])}, which nothing proves"
            else:
                yield from differences(stated[name], right[name], inner)
    elif isinstance(stated, list) and isinstance(right, list):
        for number in range(max(len(stated), len(right))):
            inner = f"{place}[{number}]"
            if number >= len(stated):
                yield f"{inner} is left out; proved is {json.dumps(right[number])}"
            elif number >= len(right):
                yield f"{inner} is {json.dumps(stated[number])}, which nothing proves"
            else:
                yield from differences(stated[number], right[number], inner)
    elif type(stated) is not type(right) or stated != right:
        yield f"{place} is {json.dumps(stated)}; proved is {json.dumps(right)}"


def figures(value: Any) -> int:
    """How many innermost values a JSON value holds."""
    if isinstance(value, Mapping):
        return sum(map(figures, value.values()))
    return sum(map(figures, value)) if isinstance(value, list) else 1


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")
