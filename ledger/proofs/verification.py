"""Whether a statement follows from what is proved: it is made again from the proved facts, and compared. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ledger import statement_chain
from ledger.accounts import KINDS, split_name
from ledger.errors import LedgerError
from ledger.facts import Fact, Facts
from ledger.instants import parse_instant
from ledger.personal import Opening
from ledger.policies.outcome import Payout, account_of
from ledger.proofs.checkpoint import Checkpoint
from ledger.proofs.note import VerifierKey
from ledger.proofs.statement_proof import differences, figures, proved_facts, read, trusted_checkpoint
from ledger.statement import restate


@dataclass(frozen=True)
class Verified:
    """A statement's verification: what was compared, and everything that does not hold, a sentence each."""

    contributor: str
    checkpoint: Checkpoint
    entries: int
    postings: int
    figures: int
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.faults


def verify_statement(text: str | bytes, *, key: VerifierKey | None = None, kept: Checkpoint | None = None) -> Verified:
    """Check a statement by its proofs alone: that its entries are in the log, and that its figures follow from them.

    The log is the one whose checkpoint `key` signed, or that `kept` is a checkpoint of. Raises `StatementFormatError`
    for anything else than a statement with proofs, and what `trusted_checkpoint` does.
    """
    document, proofs = read(text)
    checkpoint = trusted_checkpoint(proofs, key, kept)
    contributor = str(document.get("contributor"))
    proved = proved_facts(contributor, str(document.get("head")), proofs, checkpoint)
    faults = [*proved.faults, *_statement_faults(document, proved.facts)]
    return Verified(
        contributor=contributor,
        checkpoint=checkpoint,
        entries=len(proofs.entries),
        postings=sum(len(entry.postings) for entry in proofs.entries),
        figures=figures(document),
        faults=tuple(faults),
    )


def _statement_faults(document: Mapping[str, Any], facts: Facts) -> Iterator[str]:
    try:
        yield from _foreign(facts)
        for fact in facts.facts:
            yield from _disagreements(fact, facts.contributor)
        yield from _made_at_faults(document.get("made_at"), facts)
        name = _opening(document)
        yield from _name_faults(name, facts)
        again = restate(facts, made_at=str(document.get("made_at")), name=name).as_json()
    except (KeyError, TypeError, ValueError, AttributeError, LedgerError) as error:
        yield f"no statement can be made from what is proved: {type(error).__name__}: {error}"
        return
    yield from differences(document, again)


def _made_at_faults(made_at: Any, facts: Facts) -> Iterator[str]:
    """The moment itself is the operator's word; but nothing may be recorded after it."""
    try:
        right = isinstance(made_at, str) and parse_instant(made_at) == made_at
    except LedgerError:
        right = False
    if not right:
        yield f"made_at: {made_at!r} is no instant"
    elif facts.facts and made_at < facts.facts[-1].recorded_at:
        yield f"made_at is {made_at}, before entry {facts.facts[-1].sequence} was recorded"


def _opening(document: Mapping[str, Any]) -> Opening | None:
    name, salt = document.get("name"), document.get("name_salt")
    return Opening(str(name), str(salt)) if name is not None or salt is not None else None


def _name_faults(name: Opening | None, facts: Facts) -> Iterator[str]:
    registered = next(facts.of("contributor"), None)
    if registered is None:
        yield f"the entry that registered {facts.contributor!r} is left out"
    elif name is not None and name.commitment != registered.payload["name_commitment"]:
        yield f"name: {name.name!r} is not the name that was registered"


def _foreign(facts: Facts) -> Iterator[str]:
    """Entries that are in the log, but do not speak of the contributor."""
    owner = facts.contributor
    datasets = {fact.payload["fingerprint"] for fact in facts.of("dataset")}
    disputes = {fact.sequence for fact in facts.of("dispute")}
    for fact in facts.facts:
        said, right = fact.payload, True
        match fact.kind:
            case "contributor" | "group":
                right = said["id"] == owner
            case "dataset" | "estate":
                right = said["contributor"] == owner
            case "consent":
                right = said["dataset"] in datasets
            case "dispute":
                right = owner in (said["claimant"], said["respondent"])
            case "resolution":
                right = said["dispute"] in disputes
        if not right:
            yield f"entry {fact.sequence}: this {fact.kind} is not registered for {owner!r}"
    for fact in statement_chain.foreign(facts):
        yield f"entry {fact.sequence}: this {fact.kind} is not about {owner!r}"


def _disagreements(fact: Fact, contributor: str) -> Iterator[str]:
    """Where an entry's part and postings do not say the same of the contributor, as when a posting is left out."""
    wanted = _stated_lines(fact, contributor)
    if wanted is None:
        return
    found: dict[str, int] = defaultdict(int)
    for line in fact.lines:
        kind = split_name(line.account)[0]
        found[kind] += line.amount if line.side == KINDS[kind].normal_side else -line.amount
    for kind in sorted({*found, *wanted}):
        posted, said = found[kind], wanted.get(kind, 0)
        # Others whose payee the contributor is may have given more, by parts that are not shown.
        inherited = fact.kind == "settlement" and kind == "payable" and posted > said
        if posted != said and not inherited:
            yield f"entry {fact.sequence}: postings on {kind}:{contributor} come to {posted}, its part says {said}"


def _stated_lines(fact: Fact, contributor: str) -> Mapping[str, int] | None:
    """What the contributor's parts say that each of their accounts grows by, on its normal side; None if nothing."""
    if fact.kind not in ("valuation", "settlement"):
        return statement_chain.stated_lines(fact)
    if fact.kind == "valuation":
        return {"value": sum(int(part["value"]) for part in fact.parts)}
    sums: dict[str, int] = defaultdict(int)
    for part in fact.parts:
        payout = Payout.read(contributor, part)
        sums["receivable"] += payout.carried - payout.netted
        sums["stake"] -= payout.slashed
        sums["accrued"] -= payout.drawn
        sums["payable"] += payout.payees.get(contributor, 0)
        for one in payout.parts:
            kind, owner = split_name(account_of(one, contributor))
            if owner is not None:
                sums[kind] += one.amount
    return sums
