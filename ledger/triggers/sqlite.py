"""SQLite's triggers, one a rule. INSERT OR REPLACE deletes without asking a DELETE trigger unless a connection wants it
to, so an INSERT whose key is taken is refused before it can replace anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, Table, UniqueConstraint, text

from ledger.canonical import GENESIS
from ledger.exact_integer import DIGITS

_OPEN = "coalesce((SELECT count FROM head), 0) + 1"  # the entry that is being written
_LIMB = 10  # digits that are summed at a time: SQLite's integers end at 2**63 - 1


def statements(connection: Connection, tables: Iterable[Table]) -> list[str]:
    """What makes the triggers of these tables."""
    return [sql for _, sql in _definitions(tables).values()]


def drops(connection: Connection, tables: Iterable[Table]) -> list[str]:
    """What drops the ledger's own triggers of these tables, of whatever version."""
    names = {table.name for table in tables}
    found = connection.execute(text("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"))
    return [f'DROP TRIGGER "{name}"' for name, table in found if table in names and name.startswith(f"{table}_")]


def wanted(connection: Connection, tables: Iterable[Table]) -> dict[str, object]:
    """What must guard these tables, described."""
    return {f"trigger {name} on {table}": sql for name, (table, sql) in _definitions(tables).items()}


def found(connection: Connection, tables: Iterable[Table]) -> dict[str, object]:
    """What is there."""
    rows = connection.execute(text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"))
    return {f"trigger {row.name} on {row.tbl_name}": row.sql for row in rows}


def _definitions(tables: Iterable[Table]) -> dict[str, tuple[str, str]]:
    made: dict[str, tuple[str, str]] = {}
    for table in tables:
        for name, event, condition, words in (*_kept(table), *_RULES.get(table.name, ())):
            when = f"WHEN {condition} " if condition else ""
            refuse = f"BEGIN SELECT RAISE(ABORT, '{table.name} {words}'); END"
            trigger = f"{table.name}_{name}"
            made[trigger] = (table.name, f"CREATE TRIGGER {trigger} BEFORE {event} ON {table.name} {when}{refuse}")
    return made


_Rule = tuple[str, str, str, str]  # the trigger's name behind its table's, its event, when it refuses, in which words


def _kept(table: Table) -> Iterator[_Rule]:
    """A table's rows stay as they are."""
    taken = " OR ".join("(" + " AND ".join(f"{c} = NEW.{c}" for c in key) + ")" for key in _keys(table))
    yield ("refuse_replace", "INSERT", f"EXISTS (SELECT 1 FROM {table.name} WHERE {taken})", "are never replaced")
    if table.name != "head":
        yield ("refuse_update", "UPDATE", "", "are never changed")
    if table.name != "personal_data":
        yield ("refuse_delete", "DELETE", "", "are never deleted")


def _keys(table: Table) -> list[list[str]]:
    """The sets of columns that a table holds unique, the primary key first."""
    keys = [[column.name for column in table.primary_key]]
    keys += sorted(
        [column.name for column in constraint.columns]
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    )
    keys += sorted([column.name for column in index.columns] for index in table.indexes if index.unique)
    return keys


def unbalanced(entry: str) -> str:
    """SQL: whether a commodity's debits and credits differ in an entry. A long subtraction, limb by limb."""
    limbs = range(0, DIGITS, _LIMB)  # from the least; stored amounts are a sign and all digits
    sums = ", ".join(
        "sum(CASE side WHEN 'debit' THEN 1 ELSE -1 END * CAST(substr(amount, "
        f"{max(DIGITS - low - _LIMB, 0) + 2}, {min(_LIMB, DIGITS - low)}) AS INTEGER)) AS limb{number}"
        for number, low in enumerate(limbs)
    )
    difference, wrong = "limb0", []
    for number in range(1, len(limbs)):
        wrong.append(f"{difference} % {10**_LIMB}")
        difference = f"(limb{number} + {difference} / {10**_LIMB})"
    wrong.append(difference)
    return (
        f"EXISTS (SELECT 1 FROM (SELECT {sums} FROM postings WHERE entry = {entry} GROUP BY commodity) "
        f"WHERE {' OR '.join(wrong)})"
    )


_IS_AN_ENTRY = "EXISTS (SELECT 1 FROM entries WHERE sequence = NEW.count AND hash = NEW.hash)"
_LAST_CHANGE = (
    "(SELECT change FROM account_changes WHERE account = NEW.account AND commodity = NEW.commodity "
    "ORDER BY entry DESC LIMIT 1)"
)
_FLOOR = "(SELECT floor FROM accounts WHERE name = NEW.account AND commodity = NEW.commodity)"
_RULES: dict[str, tuple[_Rule, ...]] = {
    "head": (
        ("begins_with_an_entry", "INSERT", f"NOT {_IS_AN_ENTRY}", "begins with the first entry"),
        (
            "moves_forward",
            "UPDATE",
            f"NEW.id IS NOT OLD.id OR NEW.count IS NOT OLD.count + 1 OR NOT {_IS_AN_ENTRY}",
            "only moves forward, to the next entry",
        ),
        ("balances_at_first", "INSERT", unbalanced("NEW.count"), "moves to an entry that balances"),
        ("balances", "UPDATE", unbalanced("NEW.count"), "moves to an entry that balances"),
    ),
    "entries": (
        (
            "are_appended",
            "INSERT",
            f"NEW.sequence IS NOT {_OPEN} OR NEW.previous IS NOT coalesce((SELECT hash FROM head), '{GENESIS}') "
            "OR NEW.recorded_at < (SELECT recorded_at FROM entries WHERE sequence = NEW.sequence - 1)",
            "are only appended to the last one",
        ),
    ),
    "parts": (("are_of_the_open_entry", "INSERT", f"NEW.entry IS NOT {_OPEN}", "are written with their entry"),),
    "postings": (
        ("are_of_the_open_entry", "INSERT", f"NEW.entry IS NOT {_OPEN}", "are written with their entry"),
        # Stored numbers sort as the numbers do.
        ("respect_the_floor", "INSERT", f"NEW.balance < {_FLOOR}", "never take an account below its floor"),
        ("respect_shut_accounts", "INSERT", f"{_LAST_CHANGE} <> 'freed'", "never touch an account that is shut"),
    ),
}
