"""The books in plain Python: dictionaries of whole numbers, with nothing that comes from the ledger."""

from tests.ledger.reliability.model.chains import Books
from tests.ledger.reliability.model.holds import Hold
from tests.ledger.reliability.model.journal import ANY, CHART, EXPONENTS, HELD, Account, Lines, RefusedError, kind_of
from tests.ledger.reliability.model.registry import Run, Worth
from tests.ledger.reliability.model.settlements import Terms

__all__ = [
    "ANY",
    "CHART",
    "EXPONENTS",
    "HELD",
    "Account",
    "Books",
    "Hold",
    "Lines",
    "RefusedError",
    "Run",
    "Terms",
    "Worth",
    "kind_of",
]
