"""PostgreSQL's triggers and their functions, written as the server itself shows them, so that they can be compared.

Each looks at all rows of a statement at once; what an entry comes to is looked at once, when the transaction is stored.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Table, text

from ledger.canonical import GENESIS

_REFUSE = """
BEGIN
  RAISE EXCEPTION '% are never %', TG_TABLE_NAME, CASE TG_OP WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END
    USING ERRCODE = 'integrity_constraint_violation';
END
"""
_HEAD = """
BEGIN
  IF TG_OP = 'UPDATE' AND (NEW.id <> OLD.id OR NEW.count <> OLD.count + 1)
     OR NOT EXISTS (SELECT 1 FROM entries WHERE sequence = NEW.count AND hash = NEW.hash) THEN
    RAISE EXCEPTION 'head only moves forward, to the next entry' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END
"""
_ENTRY = f"""
DECLARE
  last record;
BEGIN
  SELECT count, hash INTO last FROM head;
  IF NEW.sequence <> coalesce(last.count, 0) + 1 OR NEW.previous <> coalesce(last.hash, '{GENESIS}')
     OR NEW.recorded_at < (SELECT recorded_at FROM entries WHERE sequence = NEW.sequence - 1) THEN
    RAISE EXCEPTION 'entries are only appended to the last one' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END
"""
_OPEN = """
BEGIN
  IF EXISTS (SELECT 1 FROM added WHERE entry <> coalesce((SELECT count FROM head), 0) + 1) THEN
    RAISE EXCEPTION '% are written with their entry', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NULL;
END
"""
_POSTINGS = """
DECLARE
  wrong record;
BEGIN
  SELECT account, commodity, balance INTO wrong
    FROM added
    WHERE balance < (SELECT floor FROM accounts
                       WHERE accounts.name = added.account AND accounts.commodity = added.commodity) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'postings never take an account below its floor: % would hold % %',
      wrong.account, wrong.balance, wrong.commodity USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  SELECT account, commodity INTO wrong
    FROM added
    WHERE 'freed' <> (SELECT change FROM account_changes AS changes
                        WHERE changes.account = added.account AND changes.commodity = added.commodity
                        ORDER BY changes.entry DESC LIMIT 1) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'postings never touch an account that is shut: % in %', wrong.account, wrong.commodity
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NULL;
END
"""
_STORED = """
DECLARE
  wrong record;
BEGIN
  -- Of the last entry alone: each other was at the head when the one after it was appended.
  IF NOT EXISTS (SELECT 1 FROM entries WHERE sequence > NEW.sequence)
     AND NOT EXISTS (SELECT 1 FROM head WHERE count = NEW.sequence AND hash = NEW.hash) THEN
    RAISE EXCEPTION 'head is not at the last entry' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  SELECT commodity INTO wrong
    FROM postings WHERE entry = NEW.sequence
    GROUP BY commodity HAVING sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) <> 0 LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'entry % does not balance in %', NEW.sequence, wrong.commodity
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  SELECT line INTO wrong
    FROM postings
    WHERE entry = NEW.sequence
      AND balance <> CASE side WHEN (SELECT normal_side FROM accounts
                                       WHERE accounts.name = postings.account
                                         AND accounts.commodity = postings.commodity) THEN amount ELSE -amount END
                     + coalesce((SELECT earlier.balance FROM postings AS earlier
                                   WHERE earlier.account = postings.account
                                     AND earlier.commodity = postings.commodity
                                     AND earlier.entry < postings.entry
                                   ORDER BY earlier.entry DESC LIMIT 1), 0) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'entry %, posting %: its balance is not the one before and its amount', NEW.sequence, wrong.line
      USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NULL;
END
"""
_FUNCTIONS = {
    "ledger_refuse": _REFUSE,
    "ledger_head_moves_forward": _HEAD,
    "ledger_entries_are_appended": _ENTRY,
    "ledger_rows_are_of_the_open_entry": _OPEN,
    "ledger_postings_respect_accounts": _POSTINGS,
    "ledger_entries_are_whole": _STORED,
}
_ADDED = "REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION"
# A trigger's name behind its table's; its events and level as the server words them.
_RULES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "head": (
        (
            "moves_forward",
            "BEFORE INSERT OR UPDATE ON head",
            "FOR EACH ROW EXECUTE FUNCTION ledger_head_moves_forward()",
        ),
    ),
    "entries": (
        ("are_appended", "BEFORE INSERT ON entries", "FOR EACH ROW EXECUTE FUNCTION ledger_entries_are_appended()"),
        (
            "are_whole",
            "AFTER INSERT ON entries DEFERRABLE INITIALLY DEFERRED",
            "FOR EACH ROW EXECUTE FUNCTION ledger_entries_are_whole()",
        ),
    ),
    "parts": (("are_of_the_open_entry", "AFTER INSERT ON parts", f"{_ADDED} ledger_rows_are_of_the_open_entry()"),),
    "postings": (
        ("are_of_the_open_entry", "AFTER INSERT ON postings", f"{_ADDED} ledger_rows_are_of_the_open_entry()"),
        ("respect_accounts", "AFTER INSERT ON postings", f"{_ADDED} ledger_postings_respect_accounts()"),
    ),
}
_REFUSED = {"head": "DELETE OR TRUNCATE", "personal_data": "UPDATE OR TRUNCATE"}


def statements(connection: Connection, tables: Iterable[Table]) -> list[str]:
    """What makes the functions, and the triggers of these tables; nothing where there is no table."""
    made = [sql for _, sql in _definitions(tables).values()]
    settings = " ".join(f"SET {name} = {value}" for name, value in _settings(connection).items())
    return [
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql {settings} AS $ledger${body}$ledger$"
        for name, body in _FUNCTIONS.items()
        if made
    ] + made


def drops(connection: Connection, tables: Iterable[Table]) -> list[str]:
    """What drops the ledger's own triggers of these tables, and their functions, of whatever version."""
    names = {table.name for table in tables}
    found = connection.execute(
        text(
            "SELECT tgname, relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
            "WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace"
        )
    )
    triggers = [
        f'DROP TRIGGER "{name}" ON "{table}"'
        for name, table in found
        if table in names and name.startswith(f"{table}_")
    ]
    functions = connection.execute(text(f"SELECT proname FROM pg_proc WHERE {_OURS}")).scalars()
    return triggers + [f'DROP FUNCTION "{name}"()' for name in functions]


def wanted(connection: Connection, tables: Iterable[Table]) -> dict[str, object]:
    """What must guard these tables, described."""
    settings = [f"{name}={value}" for name, value in _settings(connection).items()]
    triggers = {f"trigger {name} on {table}": (sql, "O", True) for name, (table, sql) in _definitions(tables).items()}
    functions = {f"function {name}": (body, "plpgsql", False, settings) for name, body in _FUNCTIONS.items()}
    return {**triggers, **functions}


def found(connection: Connection, tables: Iterable[Table]) -> dict[str, object]:
    """What is there: triggers, whether they are enabled and call a function of this schema; functions; and rules and
    policies, by which a table could hide rows or put away what is added.
    """
    names = [table.name for table in tables]
    triggers = connection.execute(
        text(
            "SELECT tgname, relname, pg_get_triggerdef(pg_trigger.oid, true) AS sql, tgenabled::text AS enabled, "
            "pronamespace = relnamespace AS here FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid "
            "JOIN pg_proc ON pg_proc.oid = tgfoid "
            "WHERE NOT tgisinternal AND relnamespace = current_schema()::regnamespace AND relname = ANY(:names)"
        ),
        {"names": names},
    )
    state: dict[str, object] = {
        f"trigger {row.tgname} on {row.relname}": (row.sql, row.enabled, row.here) for row in triggers
    }
    functions = connection.execute(
        text(
            "SELECT proname, prosrc, lanname, prosecdef, proconfig FROM pg_proc "
            f"JOIN pg_language ON pg_language.oid = prolang WHERE {_OURS}"
        )
    )
    state |= {f"function {row.proname}": (row.prosrc, row.lanname, row.prosecdef, row.proconfig) for row in functions}
    others = connection.execute(
        text(
            "SELECT 'rule ' || rulename || ' on ' || tablename FROM pg_rules "
            "WHERE schemaname = current_schema() AND tablename = ANY(:names) UNION ALL "
            "SELECT 'row security on ' || relname FROM pg_class "
            "WHERE relrowsecurity AND relnamespace = current_schema()::regnamespace AND relname = ANY(:names)"
        ),
        {"names": names},
    )
    return state | dict.fromkeys(others.scalars())


_OURS = (
    "pronamespace = current_schema()::regnamespace AND proname LIKE 'ledger\\_%' "
    "AND prorettype = 'trigger'::regtype AND pronargs = 0"
)


def _definitions(tables: Iterable[Table]) -> dict[str, tuple[str, str]]:
    made: dict[str, tuple[str, str]] = {}
    for table in tables:
        refused = f"BEFORE {_REFUSED.get(table.name, 'DELETE OR UPDATE OR TRUNCATE')} ON {table.name}"
        refuse = ("refuse_change", refused, "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()")
        for name, event, action in (refuse, *_RULES.get(table.name, ())):
            kind = "CONSTRAINT TRIGGER" if "DEFERRED" in event else "TRIGGER"
            made[f"{table.name}_{name}"] = (table.name, f"CREATE {kind} {table.name}_{name} {event} {action}")
    return made


def _settings(connection: Connection) -> dict[str, str]:
    """What holds inside the functions: names mean the ledger's own tables, whatever a connection has set.

    Plans are kept, and one made while a table was small would read all of it when it no longer is.
    """
    schema = connection.execute(text("SELECT current_schema()")).scalar_one()
    quoted = connection.dialect.identifier_preparer.quote(schema)
    return {"search_path": f"{quoted}, pg_temp", "enable_seqscan": "off", "jit": "off"}
