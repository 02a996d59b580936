"""The books: who supplied what, what a run made it worth, who is owed what, and how anyone can check it."""

from ledger import audit, registry, statement
from ledger.database import Ledger
from ledger.errors import LedgerError
from ledger.money import Amount, Asset
from ledger.policies.terms import Terms
from ledger.settlement import settle
from ledger.valuation import book_run

__all__ = ["Amount", "Asset", "Ledger", "LedgerError", "Terms", "audit", "book_run", "registry", "settle", "statement"]
