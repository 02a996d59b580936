"""Settlement on chains, recomputed from rows: addresses, publications, claims, transactions, and what needs keccak."""

from __future__ import annotations

from collections.abc import Iterator

from sqlmodel import Session

from ledger.checks.chain.addresses import ADDRESS_CLAIMS, address_faults
from ledger.checks.chain.claims import CLAIM_CLAIMS, claim_faults
from ledger.checks.chain.ends import END_CLAIMS, end_faults
from ledger.checks.chain.proofs import PROOF_CLAIMS, proof_faults
from ledger.checks.chain.publications import PUBLICATION_CLAIMS, publication_faults
from ledger.checks.chain.transactions import TRANSACTION_CLAIMS, transaction_faults
from ledger.checks.fault import Fault

CHAIN_CLAIMS = {
    **ADDRESS_CLAIMS,
    **PUBLICATION_CLAIMS,
    **END_CLAIMS,
    **CLAIM_CLAIMS,
    **TRANSACTION_CLAIMS,
    **PROOF_CLAIMS,
}


def chain_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of what was published on chains, by rows alone."""
    yield from address_faults(session)
    yield from publication_faults(session)
    yield from end_faults(session)
    yield from claim_faults(session)
    yield from transaction_faults(session)
    yield from proof_faults(session)


__all__ = ["CHAIN_CLAIMS", "chain_faults"]
