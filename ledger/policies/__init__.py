"""How values become money: one file a rule.

A mode prices the values; a treatment says what negative shares come to; policies then divert parts of what is due,
one after the other, in any order. `compute` composes them (`ledger/policies/outcome.py`). The order of `POLICIES` is
the usual one, which the command line follows: what is less for good comes first, what is only later comes last.
"""

from collections.abc import Callable, Mapping

from ledger.policies.cap import Cap
from ledger.policies.carry import carry
from ledger.policies.floor import floor
from ledger.policies.holdback import Holdback
from ledger.policies.minimum import Minimum
from ledger.policies.policy import Policy
from ledger.policies.pool import pool
from ledger.policies.rate import rate
from ledger.policies.slash import slash
from ledger.policies.stop_payment import StopPayment
from ledger.policies.terms import Division, Terms, Treated, Worth
from ledger.policies.vesting import Vesting
from ledger.policies.withholding import Withholding

MODES: Mapping[str, Callable[[Worth, Terms], Division]] = {"pool": pool, "rate": rate}
TREATMENTS: Mapping[str, Callable[[int, int], Treated]] = {"floor": floor, "carry": carry, "slash": slash}
POLICIES: tuple[type[Policy], ...] = (Cap, Withholding, Minimum, Holdback, Vesting, StopPayment)

__all__ = [
    "MODES",
    "POLICIES",
    "TREATMENTS",
    "Cap",
    "Division",
    "Holdback",
    "Minimum",
    "Policy",
    "StopPayment",
    "Terms",
    "Treated",
    "Vesting",
    "Withholding",
    "Worth",
]
