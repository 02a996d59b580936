"""A folder of files that is written whole or not at all, and hashes of files too large for memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from attribution.errors import RecordError


def write_folder(target: Path, files: Mapping[str, bytes], linked: Mapping[str, tuple[Path, str]]) -> None:
    """Make the folder `target` of `files`, and of the files `linked`: where each is now, and its SHA-256.

    A linked file is not copied where the file system can do without. Raises `RecordError` where it cannot be written,
    or a linked file is no longer the one with that hash; there is no folder then.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            written = Path(scratch) / "record"
            written.mkdir()
            for name, content in files.items():
                (written / name).write_bytes(content)
            for name, (source, sha256) in linked.items():
                _link(source.resolve(), written / name)
                if file_sha256(written / name) != sha256:
                    raise RecordError(f"{source}: changed since the record was made; save it before")
            written.replace(target)
    except OSError as error:
        raise RecordError(f"{target}: cannot be written: {error.strerror or error}") from error


def read_file(path: Path) -> bytes:
    """A file's content. Raises `RecordError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal, read a piece at a time. Raises `RecordError`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
