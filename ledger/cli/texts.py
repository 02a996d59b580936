"""Texts that a command is given as files."""

from __future__ import annotations

from pathlib import Path

from ledger.errors import LedgerError


class TextError(LedgerError):
    """A text cannot be read, or used."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


def read_text(path: Path) -> str:
    """The text in a UTF-8 file. Raises `TextError`."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TextError(path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TextError(path, f"byte {error.start} is not UTF-8") from error
