"""Where contributors stand when runs are settled: what they owe, staked and accrued, who is stopped, who is paid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlmodel import Session, col, select

from ledger import journal
from ledger.accounts import account_name
from ledger.batches import batches
from ledger.consents import consented, supplied
from ledger.disputes import open_disputes
from ledger.estates import estates
from ledger.groups import groups_of
from ledger.instants import format_instant
from ledger.models import Entry
from ledger.policies import Minimum, StopPayment
from ledger.policies.outcome import Standing, Standings
from ledger.policies.terms import Terms
from ledger.worth import RunWorth

_TOGETHER = 1000  # contributors of one query


def moment(session: Session) -> str:
    """The instant that counts now, in stored form: the clock's, or the last entry's where the clock went back."""
    told = format_instant(session.info["clock"]())
    last = session.exec(select(Entry.recorded_at).order_by(col(Entry.sequence).desc()).limit(1)).first()
    return max(told, last or told)


def standings(
    session: Session, worths: Sequence[RunWorth], terms: Terms, at: str, *, before: int | None = None
) -> Standings:
    """What bears on a settlement of these runs on these terms at an instant; `before`: as it was ahead of that entry.

    What the terms do not ask for is not looked up, and balances only of the contributors who are asked about.
    """
    kinds = {type(policy) for policy in terms.policies}
    asset = terms.asset.code
    not_paid = stopped(session, worths, at, before=before) if StopPayment in kinds else {}
    heirs = estates(session, before=before)

    def standing(contributors: Sequence[str]) -> Standing:
        return Standing(
            owed=held(session, "receivable", contributors, asset, before=before),
            staked=held(session, "stake", contributors, asset, before=before) if terms.negative == "slash" else {},
            accrued=held(session, "accrued", contributors, asset, before=before) if Minimum in kinds else {},
            stopped=not_paid,
            estates=heirs,
        )

    return standing


def held(
    session: Session, kind: str, contributors: Iterable[str], asset: str, *, before: int | None = None
) -> dict[str, int]:
    """What contributors' accounts of a kind hold, minor units, of those that hold anything."""
    owners = {account_name(kind, contributor): contributor for contributor in contributors}
    found = journal.last_balances(session, ((account, asset) for account in owners), before=before)
    return {owners[account]: balance for (account, _), balance in found.items() if balance}


def stopped(session: Session, worths: Sequence[RunWorth], at: str, *, before: int | None = None) -> dict[str, str]:
    """Who is not to be paid for these runs at an instant, and why: in an open dispute, or consent is withdrawn.

    A run that does not name its datasets is stopped for whoever has no dataset with consent left. A dispute of a
    group's member stops the group too. Payees of an estate do not matter: it is not their data that is paid for.
    """
    reasons = {contributor: f"no consent for {what}" for contributor, what in _lacking(session, worths, at, before)}
    groups = groups_of(session, before=before)
    for dispute in open_disputes(session, before=before):
        for side in (dispute.claimant, dispute.respondent):
            if side is not None:
                reasons |= dict.fromkeys([side, *groups.get(side, [])], f"dispute {dispute.entry}")
    return reasons


def _lacking(session: Session, worths: Sequence[RunWorth], at: str, before: int | None) -> Iterable[tuple[str, str]]:
    for one in worths:
        for contributor, fingerprint in without_consent(session, one.datasets, at, before=before):
            yield contributor, f"dataset {fingerprint[:12]}" if fingerprint else "any dataset"


def without_consent(
    session: Session, datasets: Mapping[str, Sequence[str]], at: str, *, before: int | None = None
) -> Iterator[tuple[str, str | None]]:
    """Contributors and those of these datasets that lacked consent at an instant.

    Who is named without datasets needs consent for any of their own, and is returned with None where there is none.
    """
    for batch in batches(datasets.items(), _TOGETHER):
        unnamed = supplied(session, [contributor for contributor, named in batch if not named])
        every = [*(one for _, named in batch for one in named), *(one for own in unnamed.values() for one in own)]
        given = consented(session, every, at, before=before)
        for contributor, named in batch:
            yield from ((contributor, fingerprint) for fingerprint in named if fingerprint not in given)
            if not named and given.isdisjoint(unnamed.get(contributor, [])):
                yield contributor, None
