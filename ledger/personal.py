"""Names, kept outside the hashes: an entry commits to a salted name, so the name can be erased and the proofs hold.

The commitment is in the contributor's entry, name and salt in a table of their own. Without the salt, which is random
and as long as a hash, the commitment says nothing about the name, not even to whoever guesses it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from sqlmodel import Session

from ledger.models import PersonalData

SALT_BYTES = 32
_SALT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Opening:
    """A name and its salt: what a commitment stands for."""

    name: str
    salt: str

    @property
    def commitment(self) -> str | None:
        """SHA-256 of the salt's bytes and the name in UTF-8, hexadecimal; None where the salt is no salt."""
        return commitment(self.name, self.salt) if _SALT.fullmatch(self.salt) else None


def commit(name: str) -> tuple[str, str]:
    """A new salt and the commitment to a name with it, both hexadecimal."""
    salt = secrets.token_bytes(SALT_BYTES)
    return salt.hex(), commitment(name, salt.hex())


def commitment(name: str, salt: str) -> str:
    """SHA-256 of the salt's bytes and the name in UTF-8, hexadecimal."""
    return hashlib.sha256(bytes.fromhex(salt) + name.encode("utf-8", "surrogatepass")).hexdigest()


def opening(session: Session, contributor: str) -> Opening | None:
    """A contributor's name and salt, or None where these were erased."""
    found = session.get(PersonalData, contributor)
    return Opening(found.name, found.salt) if found else None


def name_of(session: Session, contributor: str) -> str | None:
    """What a contributor is called, or None where that was erased."""
    found = opening(session, contributor)
    return found.name if found else None


def erase(session: Session, contributor: str) -> bool:
    """Delete a contributor's name and salt for good; False where that had been done. What is booked stays as it is."""
    found = session.get(PersonalData, contributor)
    if found is None:
        return False
    if session.connection().dialect.name == "sqlite":
        session.connection().exec_driver_sql("PRAGMA secure_delete = ON")  # the bytes too, not only the row
    session.delete(found)
    session.flush()
    return True
