"""Names, kept outside the hashes: an entry commits to a salted name, which can be erased while the proofs hold."""

from __future__ import annotations

import hashlib
import secrets

from sqlmodel import Session

from ledger.models import PersonalData

SALT_BYTES = 32


def commit(name: str) -> tuple[str, str]:
    """A new salt and the commitment to a name with it, both hexadecimal."""
    salt = secrets.token_bytes(SALT_BYTES)
    return salt.hex(), commitment(name, salt.hex())


def commitment(name: str, salt: str) -> str:
    """SHA-256 of the salt's bytes and the name in UTF-8, hexadecimal."""
    return hashlib.sha256(bytes.fromhex(salt) + name.encode()).hexdigest()


def name_of(session: Session, contributor: str) -> str | None:
    """What a contributor is called, or None where that was erased."""
    found = session.get(PersonalData, contributor)
    return found.name if found else None
