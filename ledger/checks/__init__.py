"""What the audit recomputes, one subject a module. A check is a generator of faults: it reads, and says what is wrong.

Checks read what is stored without trusting it: amounts as the database holds them, payloads as text.
"""

from ledger.checks.accounts import ACCOUNT_CLAIMS, account_faults
from ledger.checks.books import HEAD_CLAIMS, JOURNAL_CLAIMS, head_faults, journal_faults
from ledger.checks.chain import CHAIN_CLAIMS, chain_faults
from ledger.checks.disputes import DISPUTE_CLAIMS, dispute_faults
from ledger.checks.fault import Claims, Fault
from ledger.checks.holds import HOLD_CLAIMS, hold_faults
from ledger.checks.log import LOG_CLAIMS, log_faults
from ledger.checks.periods import PERIOD_CLAIMS, period_faults
from ledger.checks.registered import REGISTRY_CLAIMS, registry_faults
from ledger.checks.runs import RUN_CLAIMS, run_faults
from ledger.checks.schema import SCHEMA_CLAIMS, TYPES, schema_faults
from ledger.checks.settlements import SETTLEMENT_CLAIMS, settlement_faults

__all__ = [
    "ACCOUNT_CLAIMS",
    "CHAIN_CLAIMS",
    "DISPUTE_CLAIMS",
    "HEAD_CLAIMS",
    "HOLD_CLAIMS",
    "JOURNAL_CLAIMS",
    "LOG_CLAIMS",
    "PERIOD_CLAIMS",
    "REGISTRY_CLAIMS",
    "RUN_CLAIMS",
    "SCHEMA_CLAIMS",
    "SETTLEMENT_CLAIMS",
    "TYPES",
    "Claims",
    "Fault",
    "account_faults",
    "chain_faults",
    "dispute_faults",
    "head_faults",
    "hold_faults",
    "journal_faults",
    "log_faults",
    "period_faults",
    "registry_faults",
    "run_faults",
    "schema_faults",
    "settlement_faults",
]
