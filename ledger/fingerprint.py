"""The fingerprint of a dataset: what it holds, whatever the order and the files it came in.

A record is normalised before it is hashed: Unicode NFC, line ends as ``\\n``, white space at the ends of lines and of
the record removed. A record of white space alone is none. With n records left, whose SHA-256 hashes (of their UTF-8
bytes) in ascending order are h_1 … h_n, copies included::

    fingerprint = SHA-256("ghostledger-dataset/1\\n" + decimal n + "\\n" + h_1 + … + h_n)
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ledger.errors import RecordTextError

HASH_BYTES = 32


@dataclass(frozen=True)
class Fingerprint:
    """What was found in a stream of records."""

    fingerprint: str  # hexadecimal
    record_count: int
    byte_count: int  # UTF-8 bytes of the normalised records
    hashes: bytes = field(repr=False)  # the records' hashes, ascending, 32 bytes each

    def copies(self) -> Iterator[tuple[bytes, int]]:
        """Each distinct record's hash, ascending, with the number of its copies."""
        current, count = b"", 0
        for start in range(0, len(self.hashes), HASH_BYTES):
            found = self.hashes[start : start + HASH_BYTES]
            if found != current and count:
                yield current, count
                count = 0
            current, count = found, count + 1
        if count:
            yield current, count


def normalise(record: str) -> str:
    """The form of a record that is hashed."""
    text = unicodedata.normalize("NFC", record).replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip()


def hasher(record_count: int) -> hashlib._Hash:
    """The fingerprint's SHA-256, ready for the records' hashes in ascending order."""
    return hashlib.sha256(f"ghostledger-dataset/1\n{record_count}\n".encode())


def fingerprint_records(records: Iterable[str]) -> Fingerprint:
    """Read records once, keeping 32 bytes of each. Raises `RecordTextError`, naming the record, for broken Unicode."""
    hashes, size = bytearray(), 0
    for number, record in enumerate(records, start=1):
        try:
            content = normalise(record).encode()
        except UnicodeEncodeError as error:
            raise RecordTextError(number, f"character {error.start + 1} is half of a surrogate pair") from error
        if content:
            hashes += hashlib.sha256(content).digest()
            size += len(content)
    ordered = np.sort(np.frombuffer(bytes(hashes), dtype=f"S{HASH_BYTES}")).tobytes()
    count = len(ordered) // HASH_BYTES
    digest = hasher(count)
    digest.update(ordered)
    return Fingerprint(digest.hexdigest(), count, size, ordered)
