"""Errors of looking for near-duplicates."""

from __future__ import annotations

from ledger.errors.base import LedgerError


class SimilarityError(LedgerError):
    """A similarity or a share is not one."""

    def __init__(self, given: float) -> None:
        self.given = given
        super().__init__(f"{given} is neither 1 nor between 0 and 1")


class MissingLibraryError(LedgerError):
    """Something needs a library that an extra installs."""

    def __init__(self, what: str, library: str, extra: str) -> None:
        self.what, self.library, self.extra = what, library, extra
        super().__init__(f"{what} needs the library {library}: pip install 'ghostledger[{extra}]'")
