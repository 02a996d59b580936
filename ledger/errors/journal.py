"""Errors of entries, accounts, periods and holds."""

from __future__ import annotations

from ledger.errors.base import LedgerError


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


class AccountError(LedgerError):
    """An account is not one of the chart of accounts, or was never opened."""

    def __init__(self, account: str, reason: str) -> None:
        self.account, self.reason = account, reason
        super().__init__(f"account {account!r} {reason}")


class AccountLimitError(LedgerError):
    """An entry would take an account below its floor. Amounts are in the commodity's smallest unit."""

    def __init__(self, account: str, commodity: str, balance: int, floor: int) -> None:
        self.account, self.commodity, self.balance, self.floor = account, commodity, balance, floor
        super().__init__(
            f"account {account!r} would hold {balance} {commodity} (smallest units), and may not go below {floor}"
        )


class AccountShutError(LedgerError):
    """An entry touches an account that is frozen or closed."""

    def __init__(self, account: str, commodity: str, state: str) -> None:
        self.account, self.commodity, self.state = account, commodity, state
        remedy = "; free it first with `ghostledger account free`" if state == "frozen" else ""
        super().__init__(f"account {account!r} is {state} in {commodity} and takes no posting{remedy}")


class HeldAccountError(LedgerError):
    """An entry moves an account of holds by something else than the holds that it states. Smallest units."""

    def __init__(self, account: str, commodity: str, moved: int, stated: int) -> None:
        self.account, self.commodity, self.moved, self.stated = account, commodity, moved, stated
        super().__init__(
            f"account {account!r} holds what is set aside in {commodity}: the entry adds {moved} (smallest units) to "
            f"it, its holds {stated}; make, release or void a hold instead"
        )


class EntryTextError(LedgerError):
    """A text that an entry is known by cannot be stored or says nothing."""

    def __init__(self, name: str, text: str, reason: str) -> None:
        self.name, self.text, self.reason = name, text, reason
        super().__init__(f"{name} {text!r}: {reason}")


class FutureEventError(LedgerError):
    """An entry says that it happened later than it is recorded."""

    def __init__(self, kind: str, event_at: str, recorded_at: str) -> None:
        self.kind, self.event_at, self.recorded_at = kind, event_at, recorded_at
        super().__init__(f"{kind} entry: {event_at} has not come yet; it is {recorded_at}")


class PeriodError(LedgerError):
    """A period cannot be closed."""

    def __init__(self, through: str, reason: str) -> None:
        self.through, self.reason = through, reason
        super().__init__(f"the period through {through} cannot be closed: {reason}")


class HoldError(LedgerError):
    """A hold cannot be made, released or voided in the way that was asked for."""

    def __init__(self, hold: int | None, reason: str) -> None:
        self.hold, self.reason = hold, reason
        super().__init__(f"hold {hold}: {reason}" if hold is not None else f"a hold {reason}")


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
