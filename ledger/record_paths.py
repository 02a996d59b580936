"""Where the records of runs lie: paths that books and records may be moved together with."""

from __future__ import annotations

from pathlib import Path

from sqlmodel import Session

from ledger.models import Run


def record_path(session: Session, run: Run) -> Path:
    """Where a run's record lies."""
    return located(session, run.path)


def located(session: Session, path: str) -> Path:
    """The folder that a stored path means: a relative one starts at the ledger's own folder."""
    folder = session.info.get("folder")
    return Path(folder) / path if folder else Path(path)


def stored_path(session: Session, path: Path) -> str:
    """What the books call a record's folder."""
    folder, full = session.info.get("folder"), path.resolve()
    if folder and full.is_relative_to(folder):
        return full.relative_to(folder).as_posix()  # books and records may then be moved together
    return str(full)
