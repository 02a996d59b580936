"""Publications: what contributors are due, set aside and put into a tree, so that a distributor can be told to pay it.

One entry moves what is due from `payable` to `publishing`, so that nothing else can pay it meanwhile. A tree holds
everything that a distributor was ever told to pay to each address, so whoever waits loses nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session, col, func, select

from ledger import holds, journal
from ledger import publication_entries as entries
from ledger.bulk import add_rows
from ledger.chain.merkle import Tree
from ledger.errors import NothingDueError, PublicationError, PublicationOpenError
from ledger.lines import Gathered
from ledger.models import Distributor, Leaf, Publication, PublicationEnd
from ledger.proofs import log
from ledger.publication_entries import ABANDONED, ACTIVATED, INTENDED, PUBLISHED, REVOKED, Due
from ledger.publishable import KeptBack, due, leaves_of, standing
from ledger.standing import moment

__all__ = [
    "ABANDONED",
    "ACTIVATED",
    "INTENDED",
    "PUBLISHED",
    "REVOKED",
    "Due",
    "KeptBack",
    "Plan",
    "ends",
    "intend",
    "latest",
    "leaves",
    "open_publication",
    "plan",
    "proof_of",
    "proofs",
    "publication",
    "publications",
    "state",
    "tree_of",
]

_OPEN = (INTENDED, PUBLISHED)


@dataclass(frozen=True)
class Plan:
    """What would be published: who is due what, who is kept back and why, and the tree of it with all that was before.

    Amounts are in minor units. `metadata_hash` commits to the log's first `log_size` entries.
    """

    distributor: Distributor
    root_id: int
    tree: Tree
    metadata_hash: str
    log_size: int
    as_of: str  # the instant at which contributors' standing and addresses count
    due: Sequence[Due]
    kept: Sequence[KeptBack]

    @property
    def root(self) -> str:
        """The tree's root, as the books have it."""
        return "0x" + self.tree.root.hex()

    @property
    def total(self) -> int:
        """What the root promises in all, earlier ones included."""
        return self.tree.total


def plan(session: Session, distributor: Distributor, root_id: int) -> Plan:
    """What would be published now under an id. Nothing is written.

    Raises `NothingDueError`, which has those who are kept back; `PublicationOpenError` and `PublicationError` where
    `root_id` cannot be the next; and `ClaimTreeError` for more than a contract can count.
    """
    _refuse(session, distributor, root_id)
    as_of = moment(session)
    cumulative = standing(session, distributor.id)
    found, kept = due(session, distributor, as_of, cumulative)
    if not found:
        raise NothingDueError(distributor.subject(), kept)
    cumulative |= {one.address: one.cumulative for one in found}
    checkpoint = log.checkpoint(session)
    return Plan(
        distributor=distributor,
        root_id=root_id,
        tree=Tree(distributor.chain_id, distributor.address, cumulative.items()),
        metadata_hash="0x" + hashlib.sha256(checkpoint.text.encode()).hexdigest(),
        log_size=checkpoint.size,
        as_of=as_of,
        due=found,
        kept=kept,
    )


def intend(session: Session, wanted: Plan) -> Publication:
    """Set aside what is due now, and say that it is to be published under the plan's id. The same again, the first.

    It is planned anew, since the books may have moved on since `wanted` was made. Raises what `plan` does, and what
    `journal.post` does.
    """
    distributor, root_id = wanted.distributor, wanted.root_id
    for earlier in _of_root(session, distributor, root_id):
        if state(session, earlier) != ABANDONED:
            return earlier
    now = plan(session, distributor, root_id)
    asset, attempt = distributor.asset, len(_of_root(session, distributor, root_id)) + 1
    made = Publication(
        entry=0,
        distributor=distributor.id,
        root_id=root_id,
        root=now.root,
        total=now.total,
        metadata_hash=now.metadata_hash,
        log_size=now.log_size,
    )
    made.entry = journal.post(
        session,
        kind=Publication.entry_kind,
        subject=distributor.subject(),
        key=entries.publication_key(distributor.id, root_id, attempt),
        payload=entries.publication_payload(distributor, made, now.as_of),
        parts=((one.contributor, entries.publication_part(one, asset)) for one in now.due),
        lines=Gathered(lambda: entries.publication_lines(now.due, asset)),
    ).entry.sequence
    holds.record(session, made.entry, (entries.publication_hold(one, asset) for one in now.due))
    session.add(made)
    session.flush()
    add_rows(session.connection(), Leaf, ({"publication": made.entry, **one._asdict()} for one in now.due))
    return made


# Reading


def publications(session: Session, distributor: Distributor) -> list[Publication]:
    """A distributor's publications, in the order in which they were intended."""
    query = select(Publication).where(Publication.distributor == distributor.id)
    return list(session.exec(query.order_by(col(Publication.entry))))


def publication(session: Session, entry: int) -> Publication:
    """The publication that an entry intended. Raises `PublicationError`."""
    found = session.get(Publication, entry)
    if found is None:
        raise PublicationError(f"entry {entry}", "it is no publication")
    return found


def latest(session: Session, distributor: Distributor) -> Publication | None:
    """The newest publication, whatever became of it."""
    query = select(Publication).where(Publication.distributor == distributor.id)
    return session.exec(query.order_by(col(Publication.entry).desc()).limit(1)).first()


def open_publication(session: Session, distributor: Distributor) -> Publication | None:
    """The publication that is not over: neither active, nor revoked, nor abandoned."""
    last = latest(session, distributor)
    return last if last is not None and state(session, last) in _OPEN else None


def ends(session: Session, publication: Publication | int) -> list[PublicationEnd]:
    """What became of a publication, in order."""
    entry = publication if isinstance(publication, int) else publication.entry
    query = select(PublicationEnd).where(PublicationEnd.publication == entry)
    return list(session.exec(query.order_by(col(PublicationEnd.entry))))


def state(session: Session, publication: Publication | int) -> str:
    """What a publication is: "intended", "published", "activated", "revoked" or "abandoned"."""
    found = ends(session, publication)
    return found[-1].change if found else INTENDED


def leaves(session: Session, publication: Publication) -> Iterator[Leaf]:
    """What a publication added, by contributor, as a stream."""
    query = select(Leaf).where(Leaf.publication == publication.entry).order_by(col(Leaf.contributor))
    yield from session.exec(query.execution_options(yield_per=1000))


def tree_of(session: Session, publication: Publication) -> Tree:
    """The tree whose root a publication has: what it added, and what stood when it was intended."""
    found = session.get_one(Distributor, publication.distributor)
    return Tree(found.chain_id, found.address, leaves_of(session, publication).items())


def proof_of(
    session: Session, who: str, distributor: Distributor, publication: Publication | None = None
) -> dict[str, Any]:
    """What a claim needs, as plain values, for an address, or for a contributor's newest in the tree.

    It is by the newest root that is published, unless another is named. Raises `PublicationError`.
    """
    made = publication or claimable(session, distributor)
    account = who if who.startswith("0x") else _newest_address(session, who, made)
    tree = tree_of(session, made)
    if account not in tree:
        raise PublicationError(_name(distributor, made.root_id), f"{who} is not in its tree")
    return _proof(distributor, made, tree, account)


def proofs(session: Session, distributor: Distributor, publication: Publication) -> Iterator[dict[str, Any]]:
    """The same for every address in a publication's tree, one after the other."""
    tree = tree_of(session, publication)
    return (_proof(distributor, publication, tree, account) for account in tree.leaves)


def _proof(distributor: Distributor, made: Publication, tree: Tree, account: str) -> dict[str, Any]:
    return {
        "chain_id": distributor.chain_id,
        "distributor": distributor.address,
        "root_id": made.root_id,
        "root": made.root,
        "account": account,
        "cumulative": str(tree.cumulative(account)),
        "proof": ["0x" + node.hex() for node in tree.proof(account)],
    }


def claimable(session: Session, distributor: Distributor) -> Publication:
    """The newest publication whose root is on the chain for good. Raises `PublicationError`."""
    for made in reversed(publications(session, distributor)):
        if state(session, made) in (PUBLISHED, ACTIVATED):
            return made
    raise PublicationError(f"distributor {distributor.subject()}", "nothing is published yet")


def _newest_address(session: Session, contributor: str, made: Publication) -> str:
    query = (
        select(Leaf.address)
        .join(Publication, col(Publication.entry) == Leaf.publication)
        .where(
            Leaf.contributor == contributor,
            Publication.distributor == made.distributor,
            Publication.entry <= made.entry,
        )
    )
    found = session.exec(query.order_by(col(Leaf.publication).desc()).limit(1)).first()
    if found is None:
        raise PublicationError(f"root {made.root_id}", f"nothing was published for {contributor!r} by then")
    return found


# Planning


def _refuse(session: Session, distributor: Distributor, root_id: int) -> None:
    waiting = open_publication(session, distributor)
    if waiting is not None:
        raise PublicationOpenError(distributor.subject(), waiting.root_id, waiting.entry, state(session, waiting))
    used = (
        select(func.max(Publication.root_id))
        .join(PublicationEnd, col(PublicationEnd.publication) == Publication.entry)
        .where(Publication.distributor == distributor.id, PublicationEnd.change != ABANDONED)
    )
    last = session.exec(used).one() or 0
    if root_id <= last:
        raise PublicationError(_name(distributor, root_id), f"ids are used once, and {last} was the last one")


def _of_root(session: Session, distributor: Distributor, root_id: int) -> list[Publication]:
    return [made for made in publications(session, distributor) if made.root_id == root_id]


def _name(distributor: Distributor, root_id: int) -> str:
    return f"root {root_id} of distributor {distributor.subject()}"
