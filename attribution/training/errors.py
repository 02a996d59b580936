"""What can be wrong with the trainer's input, each under the package's one root."""

from __future__ import annotations

from pathlib import Path

from attribution.errors import AttributionError


class SourceError(AttributionError):
    """A dataset cannot be read; names the file, and the row or byte where there is one."""

    def __init__(self, path: Path, reason: str, *, row: int | None = None) -> None:
        self.path, self.row, self.reason = path, row, reason
        place = f"{path}, row {row}" if row is not None else str(path)
        super().__init__(f"{place}: {reason}")


class ConfigurationError(AttributionError):
    """A parameter of the training configuration makes no sense, alone or beside the others."""


class ModelError(AttributionError):
    """A model or a tokenizer cannot be loaded, or does not fit the configuration."""


class TooLittleTextError(AttributionError):
    """A contributor or a task has less text than one block of the model's context."""

    def __init__(self, kind: str, name: str, tokens: int, context: int) -> None:
        self.kind, self.name, self.tokens, self.context = kind, name, tokens, context
        super().__init__(
            f"{kind} {name!r} has {tokens} tokens, less than one block of {context}: "
            f"give it more text, leave it out, or choose a shorter context"
        )


class LeakageError(AttributionError):
    """Training data contains records of the objective, so that copying would be paid as teaching."""

    def __init__(self, overlaps: dict[tuple[str, str], int]) -> None:
        self.overlaps = overlaps
        found = "; ".join(
            f"{count} of task {task!r} in the data of {contributor!r}"
            for (contributor, task), count in sorted(overlaps.items())
        )
        super().__init__(f"the training data contains records of the objective: {found}; remove them from either")


class KeepListError(AttributionError):
    """A keep list cannot be read, or is of other data than is to be trained on."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


class NothingKeptError(AttributionError):
    """A keep list leaves no contributor one whole block of text."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path}: leaves no contributor one whole block of text: keep more")
