"""Small files that commands read and write: keys, checkpoints, statements. What is there is never overwritten."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from ledger.errors import KeyFormatError, ProofError, ProofFileError
from ledger.proofs.checkpoint import Checkpoint, open_checkpoint, unverified_checkpoint
from ledger.proofs.note import SignerKey, VerifierKey

PRIVATE, PUBLIC = 0o600, 0o644


def read_text(path: Path) -> str:
    """A file's text. Raises `ProofFileError`."""
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ProofFileError(str(path), "it is not UTF-8 text") from error
    except OSError as error:
        raise ProofFileError(str(path), error.strerror or str(error)) from error


def write_new(files: Mapping[Path, str], mode: int = PUBLIC) -> None:
    """Write new files, all of them whole or none at all. Raises `ProofFileError`, also where there is one already."""
    made: list[Path] = []
    place = Path()
    try:
        for place, text in files.items():
            scratch = place.with_name(f".{place.name}.{secrets.token_hex(4)}.new")
            try:
                descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                    file.write(text)
                os.link(scratch, place)  # refuses what exists, unlike a renaming
                made.append(place)
            finally:
                scratch.unlink(missing_ok=True)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        taken = isinstance(error, FileExistsError)
        reason = "it exists already, and is not overwritten; choose another name" if taken else error.strerror
        raise ProofFileError(str(place), reason or str(error)) from error


def read_signer(path: Path) -> SignerKey:
    """The private key in a file. Raises `ProofFileError`."""
    text = read_text(path)
    try:
        return SignerKey.parse(text.removesuffix("\n"))
    except ProofError as error:
        raise ProofFileError(str(path), str(error)) from error


def read_checkpoint(path: Path, key: VerifierKey | None = None) -> tuple[str, Checkpoint]:
    """The note in a file and the checkpoint in the note, signed by `key` if one is given. Raises `ProofFileError`."""
    text = read_text(path)
    try:
        return text, unverified_checkpoint(text) if key is None else open_checkpoint(text, key)
    except ProofError as error:
        raise ProofFileError(str(path), str(error)) from error


def read_verifier(given: str) -> VerifierKey:
    """A verifier key as it is given, or in the file that is named. Raises `KeyFormatError`, `ProofFileError`."""
    try:
        return VerifierKey.parse(given)
    except KeyFormatError:
        if not Path(given).is_file():
            raise
    try:
        return VerifierKey.parse(read_text(Path(given)).removesuffix("\n"))
    except KeyFormatError as error:
        raise ProofFileError(given, str(error)) from error
