"""The one root of everything this package raises on purpose, and its branches. Each carries its facts as fields."""

from __future__ import annotations

from collections.abc import Sequence


class LedgerError(Exception):
    """Root of the errors of the ledger package; the message is one sentence that says what to do."""


# Databases


class DatabaseMissingError(LedgerError):
    """There is no ledger at the place that was named."""

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(f"{place}: there is no ledger here; make one with `ghostledger init`")


class DatabaseExistsError(LedgerError):
    """A new ledger was asked for where something already is."""

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(f"{place}: exists already; a ledger is never overwritten, choose another place")


class NotALedgerError(LedgerError):
    """The file or database is something other than a ledger."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: is not a ledger: {reason}")


class SchemaVersionError(LedgerError):
    """The ledger's schema is older or newer than this program's."""

    def __init__(self, place: str, found: str, expected: str, newer: bool) -> None:
        self.place, self.found, self.expected, self.newer = place, found, expected, newer
        remedy = "install a newer ghostledger" if newer else "upgrade it with `ghostledger init --upgrade`"
        super().__init__(f"{place}: has schema {found}, this program reads {expected}: {remedy}")


class DatabaseUrlError(LedgerError):
    """The database's URL cannot be used: it is malformed, or its driver is not installed."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url}: {reason}")


class DatabaseUnreachableError(LedgerError):
    """The database refused the connection or the transaction (locked, no permission, not running)."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: cannot be used: {reason}")


# Money


class AmountError(LedgerError):
    """A text is not an exact amount of its asset."""

    def __init__(self, text: str, reason: str) -> None:
        self.text, self.reason = text, reason
        super().__init__(f"amount {text!r}: {reason}")


class AssetError(LedgerError):
    """An asset's code or exponent is not usable."""

    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(f"asset {code!r}: {reason}")


class StoredAmountError(LedgerError):
    """The database holds something that is not an amount where an amount belongs."""

    def __init__(self, stored: str) -> None:
        self.stored = stored
        super().__init__(f"the database holds {stored!r} where an amount belongs; run `ghostledger audit`")


# Registry


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


class SettingError(LedgerError):
    """A setting of the ledger has a value that makes no sense."""

    def __init__(self, name: str, value: str, reason: str) -> None:
        self.name, self.value, self.reason = name, value, reason
        super().__init__(f"setting {name} = {value!r}: {reason}")


# Journal


class UnbalancedEntryError(LedgerError):
    """Debits and credits of a commodity differ in an entry."""

    def __init__(self, kind: str, commodity: str, debit: int, credit: int) -> None:
        self.kind, self.commodity, self.debit, self.credit = kind, commodity, debit, credit
        super().__init__(f"{kind} entry does not balance in {commodity}: debit {debit}, credit {credit}")


class IdempotencyConflictError(LedgerError):
    """An idempotency key was used before, for other content."""

    def __init__(self, key: str, sequence: int) -> None:
        self.key, self.sequence = key, sequence
        super().__init__(
            f"key {key!r} was used for entry {sequence} with other content; use a new key for a new request"
        )


class UnknownEntryError(LedgerError):
    """There is no entry with this number."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        super().__init__(f"there is no entry {sequence}")


class ReversalError(LedgerError):
    """An entry cannot be reversed."""

    def __init__(self, sequence: int, reason: str) -> None:
        self.sequence, self.reason = sequence, reason
        super().__init__(f"entry {sequence} cannot be reversed: {reason}")


# Runs


class PartialRunError(LedgerError):
    """The run stopped before its end."""

    def __init__(self, run: str, stopped: str | None) -> None:
        self.run, self.stopped = run, stopped
        reason = f" ({stopped})" if stopped else ""
        super().__init__(f"run {run[:12]} is partial{reason}; ask for it with --allow-partial")


class ManifestError(LedgerError):
    """The run's manifest lacks something that the books need, or holds it in another form."""

    def __init__(self, run: str, key: str, reason: str) -> None:
        self.run, self.key, self.reason = run, key, reason
        super().__init__(f"run {run[:12]}: manifest key {key!r} {reason}")


class ForeignDataError(LedgerError):
    """The run used data that is not registered for the contributor it was credited to."""

    def __init__(self, run: str, contributor: str, fingerprint: str, owner: str | None) -> None:
        self.run, self.contributor, self.fingerprint, self.owner = run, contributor, fingerprint, owner
        whose = f"is registered for {owner!r}" if owner else "is not registered"
        super().__init__(f"run {run[:12]}: dataset {fingerprint} of contributor {contributor!r} {whose}")


class AxiomError(LedgerError):
    """The record does not satisfy an axiom that its values claim."""

    def __init__(self, run: str, axiom: str, detail: str) -> None:
        self.run, self.axiom, self.detail = run, axiom, detail
        super().__init__(f"run {run[:12]} fails {axiom}: {detail}")


class UnknownRunError(LedgerError):
    """No booked run has this identity (or this beginning of one)."""

    def __init__(self, run: str, reason: str = "is not booked; book it with `ghostledger import-run`") -> None:
        self.run = run
        super().__init__(f"run {run!r} {reason}")


class AmbiguousRunError(UnknownRunError):
    """Several booked runs begin with these digits."""

    def __init__(self, run: str, matches: Sequence[str]) -> None:
        self.matches = list(matches)
        super().__init__(run, f"could be {', '.join(m[:16] for m in matches)}; give more digits")


class RunReversedError(LedgerError):
    """The run's valuation was reversed."""

    def __init__(self, run: str, sequence: int) -> None:
        self.run, self.sequence = run, sequence
        super().__init__(f"run {run[:12]}: its valuation (entry {sequence}) was reversed; it has no value to settle")


# Settlements


class TermsError(LedgerError):
    """A settlement's terms make no sense."""

    def __init__(self, term: str, reason: str) -> None:
        self.term, self.reason = term, reason
        super().__init__(f"{term}: {reason}")


class SettlementRefusedError(LedgerError):
    """Root of the reasons for which a run is not settled."""


class GapToleranceError(SettlementRefusedError):
    """Too much of the improvement is unaccounted for."""

    def __init__(self, run: str, gap: int, improvement: int, tolerance: str) -> None:
        self.run, self.gap, self.improvement, self.tolerance = run, gap, improvement, tolerance
        super().__init__(
            f"run {run[:12]}: its gap of {gap} is more than {tolerance} of its improvement of {improvement} "
            "(in 1e-12 nat); meter it with a smaller tolerance"
        )


class NoImprovementError(SettlementRefusedError):
    """There is no improvement, or no positive value, that a pool could be divided by."""

    def __init__(self, run: str, reason: str) -> None:
        self.run, self.reason = run, reason
        super().__init__(f"run {run[:12]}: {reason}; a pool has nothing to be divided by")


class NoConsentError(SettlementRefusedError):
    """Data in the run lacked consent when the run began."""

    def __init__(self, run: str, contributor: str, fingerprint: str | None, began_at: str) -> None:
        self.run, self.contributor, self.fingerprint, self.began_at = run, contributor, fingerprint, began_at
        which = f"dataset {fingerprint[:12]} of {contributor!r}" if fingerprint else f"any dataset of {contributor!r}"
        super().__init__(f"run {run[:12]}: there was no consent for {which} when it began, {began_at}")


class SettledAlreadyError(SettlementRefusedError):
    """The run is settled already, on other terms."""

    def __init__(self, run: str, sequence: int, difference: str) -> None:
        self.run, self.sequence, self.difference = run, sequence, difference
        super().__init__(f"run {run[:12]} is settled already by entry {sequence}, on other terms ({difference})")
