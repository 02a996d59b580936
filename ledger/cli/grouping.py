"""Who plays as one in a training run: groups that are named, and contributors whose data is found to be the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from sqlmodel import Session

from ledger import groups
from ledger.cli.output import warn
from ledger.cli.progress import counted
from ledger.database import Ledger
from ledger.errors import GroupError
from ledger.models import Group
from ledger.near_duplicates import Pair, RecordIndex, clusters

_LONGEST = 64  # characters of an id

Players = Mapping[str, Sequence[str]]  # their contributors: a group's members, or the contributor alone


def named_players(session: Session, contributors: Iterable[str], named: Sequence[str]) -> dict[str, list[str]]:
    """Each contributor alone, but members of the named groups together, where the first of them stood.

    Raises `GroupError` for what is no group, and for a contributor in two of them.
    """
    group_of: dict[str, str] = {}
    for name in dict.fromkeys(named):
        for member in groups.members_of(session, groups.group(session, name).id):
            if member in group_of:
                raise GroupError(name, f"{member!r} is in {group_of[member]!r} too; name one of them")
            group_of[member] = name
    players: dict[str, list[str]] = {}
    for contributor in dict.fromkeys([*contributors, *group_of]):
        if contributor in named:
            continue  # a group is its members
        players.setdefault(group_of.get(contributor, contributor), []).append(contributor)
    return players


def group_duplicates(books: Ledger, index: RecordIndex, share: float, players: Players) -> dict[str, list[str]]:
    """The players after those who hold the same were made one, each by a group that is registered if it is new.

    `index` has read all records, by player. What is done, and what is nearly so, is said on standard error.
    """
    pairs = index.pairs(lambda places: counted(places, "comparing records"))
    joined: dict[str, str] = {}  # the group of each player that is one now
    members: dict[str, list[str]] = {}
    for cluster in clusters(pairs, share):
        within = [pair for pair in pairs if set(pair.names) <= set(cluster) and pair.mutual_share >= share]
        people = sorted(contributor for player in cluster for contributor in players[player])
        why = "; ".join(described(pair, index.threshold) for pair in within)
        group = books.transact(partial(_group, members=people, why=why))
        warn(f"{' and '.join(people)} play as one, as group {group.id} (entry {group.entry}): {why}")
        members[group.id] = people
        joined |= dict.fromkeys(cluster, group.id)
    for pair in pairs:
        one, other = (joined.get(name, name) for name in pair.names)
        if max(pair.one.share, pair.other.share) >= share > pair.mutual_share and one != other:
            warn(f"not grouped, since one of them holds more besides: {described(pair, index.threshold)}")
    after: dict[str, list[str]] = {}
    for player, contributors in players.items():
        group_id = joined.get(player, player)
        after[group_id] = members.get(group_id, list(contributors))
    return after


def described(pair: Pair, threshold: float) -> str:
    """What two contributors have in common, in words."""
    sides = " and ".join(f"{side.share:.1%} of {side.contributor}'s records" for side in (pair.one, pair.other))
    return f"{sides} are the other's too (similarity {threshold:g} or more)"


def _group(session: Session, members: Sequence[str], why: str) -> Group:
    known = groups.group_of(session, members)
    if known is not None:
        return known
    id = "-and-".join(members)
    if len(id) > _LONGEST:
        id = f"group-{hashlib.sha256(id.encode()).hexdigest()[:12]}"
    return groups.create_group(session, id, members, why)
