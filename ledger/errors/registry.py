"""Errors of contributors, datasets, consent and objectives."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors.base import LedgerError


class IdentifierError(LedgerError):
    """An identifier is not usable."""

    def __init__(self, what: str, name: str) -> None:
        self.what, self.name = what, name
        super().__init__(
            f"{what} {name!r}: must be 1 to 64 lower-case letters and digits, with single '-', '_' or '.' between them"
        )


class UnknownContributorError(LedgerError):
    """Contributors are named that the ledger does not know."""

    def __init__(self, contributors: Sequence[str]) -> None:
        self.contributors = list(contributors)
        names = ", ".join(map(repr, self.contributors))
        super().__init__(f"not registered: {names}; add each with `ghostledger contributor add`")


class DuplicateError(LedgerError):
    """Something with this name is registered already, with other content."""

    def __init__(self, what: str, name: str) -> None:
        self.what, self.name = what, name
        super().__init__(f"{what} {name!r} is registered already, and what is registered does not change")


class DuplicateDatasetError(LedgerError):
    """The same records are registered already."""

    def __init__(self, fingerprint: str, contributor: str, name: str, sequence: int) -> None:
        self.fingerprint, self.contributor, self.name, self.sequence = fingerprint, contributor, name, sequence
        super().__init__(
            f"the same records are registered already: dataset {name!r} of {contributor!r}, "
            f"entry {sequence}, fingerprint {fingerprint}"
        )


class UnknownDatasetError(LedgerError):
    """No registered dataset has this fingerprint (or this beginning of one)."""

    def __init__(self, fingerprint: str, reason: str = "no registered dataset has this fingerprint") -> None:
        self.fingerprint = fingerprint
        super().__init__(f"dataset {fingerprint!r}: {reason}")


class UnknownObjectiveError(LedgerError):
    """No registered objective has this name or these tasks."""

    def __init__(self, name: str, reason: str = "is not registered; add it with `ghostledger objective add`") -> None:
        self.name = name
        super().__init__(f"objective {name!r}: {reason}")


class EmptyDatasetError(LedgerError):
    """There is no record in what was to be registered."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r} holds no record: nothing but white space was read")


class RecordTextError(LedgerError):
    """A record is not Unicode text."""

    def __init__(self, number: int, reason: str) -> None:
        self.number, self.reason = number, reason
        super().__init__(f"record {number}: {reason}")


class LicenceError(LedgerError):
    """A licence is not an SPDX expression."""

    def __init__(self, expression: str, reason: str) -> None:
        self.expression, self.reason = expression, reason
        super().__init__(
            f"licence {expression!r}: {reason}; give an SPDX expression such as 'CC-BY-4.0', "
            "or 'LicenseRef-<name>' for terms that SPDX does not list"
        )


class InstantError(LedgerError):
    """A text is not a date, or a date and time with its offset."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(f"{text!r} is not a date (2026-03-01) or a date and time with offset (2026-03-01T12:00:00Z)")


class ConsentError(LedgerError):
    """Consent cannot change in the way that was asked for."""

    def __init__(self, fingerprint: str, reason: str) -> None:
        self.fingerprint, self.reason = fingerprint, reason
        super().__init__(f"consent for dataset {fingerprint[:12]}: {reason}")


class WeightError(LedgerError):
    """A task's weight is not a positive decimal number."""

    def __init__(self, task: str, weight: str) -> None:
        self.task, self.weight = task, weight
        super().__init__(f"task {task!r}: the weight {weight!r} must be a plain decimal number above zero")


class EstateError(LedgerError):
    """A contributor's estate cannot be what was asked for."""

    def __init__(self, contributor: str, reason: str) -> None:
        self.contributor, self.reason = contributor, reason
        super().__init__(f"estate of {contributor!r}: {reason}")


class GroupError(LedgerError):
    """A group cannot be what was asked for, or is not registered."""

    def __init__(self, group: str, reason: str) -> None:
        self.group, self.reason = group, reason
        super().__init__(f"group {group!r}: {reason}")


class SettingError(LedgerError):
    """A setting of the ledger has a value that makes no sense."""

    def __init__(self, name: str, value: str, reason: str) -> None:
        self.name, self.value, self.reason = name, value, reason
        super().__init__(f"setting {name} = {value!r}: {reason}")
