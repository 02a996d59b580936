"""Groups: contributors who play as one, because their data is the same, under a contributor id of the group's own.

A run then names the group as a player, with its members' datasets. The group has an estate from the start, so that
what it earns is its members' (`docs/replication.md` says what this mends, and what it does not).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlmodel import Session, col, select

from ledger import registry
from ledger.canonical import canonical
from ledger.errors import DuplicateError, GroupError
from ledger.estates import set_estate
from ledger.models import Contributor, Group


def create_group(session: Session, id: str, members: Iterable[str] | Mapping[str, int], why: str) -> Group:
    """Make contributors one player. `members` may give each a whole number of parts; without, all get the same.

    `why` says what was found, such as how much of their data is the same. The same again returns the first. Raises
    `IdentifierError`, `UnknownContributorError`, `DuplicateError` where the id is taken, `GroupError` for fewer than
    two members, for one twice, for a group in a group and for no reason, and `EstateError` for a member with payees.
    """
    registry.identifier("group", id)
    named = list(members)
    parts = dict(members) if isinstance(members, Mapping) else dict.fromkeys(named, 1)
    if len(parts) < len(named):
        raise GroupError(id, "names a member twice")
    if len(parts) < 2:
        raise GroupError(id, "needs two members or more")
    if not why.strip():
        raise GroupError(id, "needs a reason: say what was found")
    for member in parts:
        registry.contributor(session, member)
        if members_of(session, member):
            raise GroupError(id, f"{member!r} is a group itself; name its members")
    row = Group(id=id, members=canonical(sorted(parts)), why=why, entry=0)
    known = _found(session, id)
    if known is not None:
        if (known.members, known.why) != (row.members, row.why):
            raise DuplicateError("group", id)
        return known
    if session.get(Contributor, id) is not None:
        raise DuplicateError("contributor", id)
    with session.begin_nested():  # all three or none, whatever is made of a refusal
        registry.add_contributor(session, id)
        made = registry.register(session, row)
        set_estate(session, id, parts, reason=f"members of group {id}")
    return made


def group(session: Session, id: str) -> Group:
    """The group with this id. Raises `GroupError`."""
    found = _found(session, id)
    if found is None:
        raise GroupError(id, "is not registered; make it with `ghostledger group create`")
    return found


def groups(session: Session) -> list[Group]:
    """All groups, in the order in which they were made."""
    return list(session.exec(select(Group).order_by(col(Group.entry))))


def group_of(session: Session, members: Iterable[str]) -> Group | None:
    """The first group of exactly these members, if there is one."""
    query = select(Group).where(Group.members == canonical(sorted(members)))
    return session.exec(query.order_by(col(Group.entry)).limit(1)).first()


def groups_of(session: Session, *, before: int | None = None) -> dict[str, list[str]]:
    """The groups that each contributor is a member of, of those that were there ahead of the entry `before`."""
    found: dict[str, list[str]] = defaultdict(list)
    for one in groups(session):
        if before is None or one.entry < before:
            for member in json.loads(one.members):
                found[member].append(one.id)
    return found


def members_of(session: Session, id: str) -> list[str]:
    """A group's members, by id; nobody where this is no group."""
    found = _found(session, id)
    return [] if found is None else list(json.loads(found.members))


def _found(session: Session, id: str) -> Group | None:
    return session.exec(select(Group).where(Group.id == id)).first()
