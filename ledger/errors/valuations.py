"""Errors of valuing one run in several ways."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors.base import LedgerError


class OtherValuationError(LedgerError):
    """A further valuation of a run cannot be booked."""

    def __init__(self, run: str, reason: str) -> None:
        self.run, self.reason = run, reason
        super().__init__(f"run {run[:12]}: {reason}")


class ValuationNameError(OtherValuationError):
    """No valuation beside a run's own can have this name."""

    def __init__(self, run: str, name: str) -> None:
        self.name = name
        super().__init__(
            run,
            f"a valuation cannot be called {name!r}: names are up to 20 small letters and digits, with single spaces, "
            "dashes or underscores between them",
        )


class ValuationTakenError(OtherValuationError):
    """The run has a valuation of this name already."""

    def __init__(self, run: str, name: str, whose: str) -> None:
        self.name, self.whose = name, whose
        super().__init__(run, f"{name!r} is {whose}; give the valuation another name with --as")


class NoValuationError(OtherValuationError):
    """The run has no valuation of this name."""

    def __init__(self, run: str, name: str, carried: Sequence[str]) -> None:
        self.name, self.carried = name, list(carried)
        super().__init__(run, f"has no valuation {name!r}; it carries {', '.join(map(repr, carried))}")


class ValuationReversedError(OtherValuationError):
    """The valuation that is to be paid by was reversed."""

    def __init__(self, run: str, name: str, sequence: int) -> None:
        self.name, self.sequence = name, sequence
        super().__init__(run, f"its valuation {name!r} (entry {sequence}) was reversed; there is nothing to settle by")
