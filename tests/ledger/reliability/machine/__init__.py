"""Random requests to a ledger and to the model of one, rules by subject."""

from tests.ledger.reliability.machine.base import BEGAN, Machine
from tests.ledger.reliability.machine.chain_rules import ChainRules
from tests.ledger.reliability.machine.journal_rules import JournalRules
from tests.ledger.reliability.machine.money_rules import MoneyRules

__all__ = ["BEGAN", "ChainRules", "Everything", "JournalRules", "Machine", "MoneyRules"]


class Everything(JournalRules, ChainRules, MoneyRules):
    """All rules together."""
