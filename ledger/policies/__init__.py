"""How values become money: one file a rule. A mode prices the values; a treatment says what negative ones come to."""

from collections.abc import Callable, Mapping

from ledger.policies.carry import carry
from ledger.policies.floor import floor
from ledger.policies.pool import pool
from ledger.policies.rate import rate
from ledger.policies.terms import Division, Terms, Treated, Worth

MODES: Mapping[str, Callable[[Worth, Terms], Division]] = {"pool": pool, "rate": rate}
TREATMENTS: Mapping[str, Callable[[int], Treated]] = {"floor": floor, "carry": carry}
