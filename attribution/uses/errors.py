"""What the uses of a run refuse, each under the package's one root."""

from __future__ import annotations

from pathlib import Path

from attribution.errors import AttributionError


class MissingFromRunError(AttributionError):
    """The run did not keep what this use needs."""

    def __init__(self, run: Path, what: str, remedy: str) -> None:
        self.run, self.what, self.remedy = run, what, remedy
        super().__init__(f"{run}: the run has no {what}: {remedy}")


class UseError(AttributionError):
    """An option of a use makes no sense, alone or for this run."""


class QueryError(AttributionError):
    """The text to trace cannot be traced."""
