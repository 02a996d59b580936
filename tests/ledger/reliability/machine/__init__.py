"""Random requests to a ledger and to the model of one, rules by subject."""

from tests.ledger.reliability.machine.base import BEGAN, Machine
from tests.ledger.reliability.machine.journal_rules import JournalRules
from tests.ledger.reliability.machine.money_rules import MoneyRules

__all__ = ["BEGAN", "Everything", "JournalRules", "Machine", "MoneyRules"]


class Everything(JournalRules, MoneyRules):
    """All rules together."""
