"""Changes in place, each named by the check that is about it, and by a forger who mends every hash.

Every column of every table: test_columns.
"""

import pytest
from sqlalchemy import update
from sqlmodel import Session, select

from ledger import journal
from ledger.canonical import GENESIS, Request, content_hash, entry_hash, part_leaf, posting_leaf, root_of
from ledger.exact_integer import encode
from ledger.models import Entry, Head, Run
from tests.ledger.tampering import Original, faults, named

TAMPERINGS: list[tuple[str, str, str, str]] = [
    (
        "an amount",
        f"UPDATE postings SET amount = '{encode(1)}' WHERE account = 'payable:alice'",
        "payouts",
        "payable:alice",
    ),
    (
        "a side",
        "UPDATE postings SET side = 'debit' WHERE account = 'value:alice' AND entry = {run0}",
        "entry balances",
        "entry {run0}",
    ),
    (
        "whose payable",
        "UPDATE postings SET account = 'payable:other-heir' WHERE account = 'payable:alice' AND commodity = 'USDC'",
        "entry content",
        "settlement",
    ),
    (
        "a value in nats",
        f"UPDATE postings SET amount = '{encode(7)}' WHERE account = 'value:bob'",
        "valuations",
        "value:bob",
    ),
    (
        "a payload",
        "UPDATE entries SET payload = replace(payload, '\"attempt\":1', '\"attempt\":2') WHERE kind = 'settlement'",
        "entry content",
        "settlement",
    ),
    (
        "a time",
        "UPDATE entries SET recorded_at = '2020-01-01T00:00:00.000000Z' WHERE sequence = 3",
        "hash chain",
        "entry 3",
    ),
    (
        "a reversal's target",
        "UPDATE entries SET reverses = 3 WHERE reverses = (SELECT min(reverses) FROM entries)",
        "reversals",
        "entry 3",
    ),
    ("a deleted entry", "DELETE FROM entries WHERE sequence = 5", "entry sequence", "entry 5 missing"),
    ("deleted entries", "DELETE FROM entries WHERE sequence IN (5, 6)", "entry sequence", "entries 5 to 6 missing"),
    (
        "the last entry deleted",
        "DELETE FROM entries WHERE sequence = (SELECT max(sequence) FROM entries)",
        "head",
        "counts",
    ),
    ("no head", "DELETE FROM head", "head", "missing"),
    ("a second head", "INSERT INTO head SELECT 2, count, hash FROM head", "head", "not one row"),
    ("a deleted posting", "DELETE FROM postings WHERE account = 'fee' AND commodity = 'USDC'", "payouts", "fee"),
    ("a record count", "UPDATE datasets SET record_count = 9 WHERE contributor = 'bob'", "dataset records", "not 9"),
    (
        "a record hash",
        "UPDATE dataset_records SET hash = zeroblob(32) WHERE dataset = 1 AND copies = 2",
        "dataset records",
        "another fingerprint",
    ),
    (
        "consent after the run began",
        "UPDATE consents SET effective_at = '2026-05-01T00:00:00.000000Z' WHERE change = 'given'",
        "consent",
        "no consent",
    ),
    ("a withdrawal", "DELETE FROM consents WHERE change = 'withdrawn'", "registry", "missing"),
    (
        "a task's weight",
        "UPDATE objective_tasks SET weight = '2' WHERE task = 'sport'",
        "valuations",
        "cannot be valued again",
    ),
    ("a deleted task", "DELETE FROM objective_tasks WHERE task = 'sport'", "registry", "has 1 tasks"),
    (
        "a tolerance too small",
        "UPDATE settings SET value = '0.00001' WHERE name = 'tolerance'",
        "settlement rules",
        "gap",
    ),
    (
        "a tolerance that is none",
        "UPDATE settings SET value = 'much' WHERE name = 'tolerance'",
        "settlement rules",
        "'much'",
    ),
    ("a run's path", "UPDATE runs SET path = 'run-1' WHERE path = 'run-0'", "run records", "another record"),
    ("a deleted run", "DELETE FROM runs WHERE path = 'run-1'", "runs", "is missing"),
    (
        "a settlement's treatment",
        "UPDATE settlements SET negative = 'floor' WHERE negative = 'carry'",
        "payouts",
        "'bob'",
    ),
    ("a settlement's mode", "UPDATE settlements SET mode = 'rate' WHERE mode = 'pool'", "totals", "a nat times"),
    ("a deleted settlement", "DELETE FROM settlements WHERE negative = 'carry'", "settlements", "missing"),
    (
        "an account's floor",
        "UPDATE accounts SET floor = NULL WHERE name = 'escrow'",
        "accounts",
        "'escrow' in EUR: floor is None",
    ),
    (
        "a floor that was agreed",
        f"UPDATE accounts SET floor = '{encode(-5, 97)}' WHERE name = 'fee' AND commodity = 'USD'",
        "accounts",
        "floor is -5, not -100000",
    ),
    (
        "a deleted account",
        "DELETE FROM accounts WHERE name = 'fee' AND commodity = 'USDC'",
        "accounts",
        "no account 'fee' in USDC",
    ),
    (
        "an account nobody opened",
        "INSERT INTO accounts VALUES ('gap', 'USD', 'gap', NULL, 'credit', NULL, 28)",
        "accounts",
        "no entry touched it first",
    ),
    (
        "a deleted opening",
        "DELETE FROM accounts WHERE name = 'fee' AND commodity = 'USD'",
        "accounts",
        "account fee USD: the row",
    ),
    (
        "a running balance",
        f"UPDATE postings SET balance = '{encode(1, 97)}' WHERE account = 'house' AND entry = 28",
        "account balances",
        "house holds 1 EUR, not",
    ),
    (
        "a freezing",
        "UPDATE account_changes SET change = 'freed' WHERE change = 'frozen'",
        "frozen and closed accounts",
        "says freed, after it was open",
    ),
    (
        "a freezing that was in the way",
        "INSERT INTO account_changes VALUES (28, 'house', 'EUR', 'frozen')",
        "frozen and closed accounts",
        "entry 40 touches it, entry 28 says frozen",
    ),
    (
        "an account closed with money on it",
        "INSERT INTO account_changes VALUES (79, 'house', 'EUR', 'closed')",
        "frozen and closed accounts",
        "house in EUR: holds",
    ),
    (
        "a posting in a closed period",
        "UPDATE entries SET event_at = '2026-02-01T00:00:00.000000Z' WHERE key = 'late'",
        "closed periods",
        "came after it was closed",
    ),
    (
        "what a closed period summed up",
        f"UPDATE postings SET amount = '{encode(6)}' WHERE account = 'stake:carol'",
        "closed periods",
        "seal is broken",
    ),
    (
        "a hold's destination",
        "UPDATE holds SET destination = 'payable:bob' WHERE account = 'in_flight:alice'",
        "changes of holds",
        "payable:bob",
    ),
    ("a hold's amount", f"UPDATE holds SET amount = '{encode(9)}' WHERE id = 1", "courses of holds", "of 9 are left"),
    (
        "a release date",
        "UPDATE holds SET release_at = '2027-01-01T00:00:00.000000Z' WHERE id = 1",
        "courses of holds",
        "is kept until",
    ),
    ("an expiry", "UPDATE holds SET expires_at = NULL WHERE expires_at IS NOT NULL", "courses of holds", "says at"),
    (
        "a hold from nowhere",
        "INSERT INTO holds SELECT 99, 28, purpose, account, origin, destination, commodity, amount, NULL, NULL "
        "FROM holds WHERE id = 1",
        "holds",
        "hold 99",
    ),
    ("a deleted hold", "DELETE FROM holds WHERE id = (SELECT max(id) FROM holds)", "holds", "whose row is missing"),
    ("a deleted change", "DELETE FROM hold_changes WHERE change = 'expired'", "accounts of holds", "its holds there 0"),
    (
        "a restored hold",
        "UPDATE hold_changes SET change = 'restored' WHERE change = 'expired'",
        "courses of holds",
        "restores",
    ),
    (
        "what a settlement pays by",
        "UPDATE settlements SET valuation = 'counterfactual' WHERE valuation = 'retraining'",
        "payouts",
        "by is",
    ),
    (
        "that a settlement pays by another valuation",
        "UPDATE settlements SET valuation = NULL WHERE valuation = 'retraining'",
        "payouts",
        "by is 'retraining'",
    ),
    (
        "a value by another valuation",
        f"UPDATE postings SET amount = '{encode(7)}' WHERE account = 'value:bob' AND commodity = 'nat.retraining'",
        "other valuations",
        "credit value:bob 7 nat.retraining",
    ),
    (
        "what another valuation says of a contributor",
        'UPDATE parts SET payload = replace(payload, \'"task_values":["250000000000"\', \'"task_values":["1"\') '
        "WHERE entry = (SELECT min(sequence) FROM entries WHERE kind = 'other valuation')",
        "other valuations",
        "task_values",
    ),
    (
        "where another valuation's record lies",
        'UPDATE entries SET payload = replace(payload, \'"path":"retrained"\', \'"path":"run-0"\') '
        "WHERE kind = 'other valuation'",
        "other valuations",
        "run-0 holds another record",
    ),
    (
        "what a dispute called for",
        "UPDATE disputes SET calls_for = 'counterfactual' WHERE calls_for = 'retraining'",
        "disputes",
        "not settled anew by valuation 'counterfactual'",
    ),
    (
        "what the claimant would have been paid",
        f"UPDATE resolutions SET payout = '{encode(7)}' WHERE payout IS NOT NULL",
        "disputes",
        "states 7 by valuation 'retraining'",
    ),
    (
        "a broken rule of the schema",
        "UPDATE postings SET side = 'gift' WHERE account = 'fee'",
        "database integrity",
        "CHECK",
    ),
    ("a row without its parent", "DELETE FROM contributors WHERE id = 'carol'", "database integrity", "contributors"),
]


@pytest.mark.parametrize(
    ("sql", "check", "word"), [case[1:] for case in TAMPERINGS], ids=[case[0] for case in TAMPERINGS]
)
def test_tampering_is_named(files: Original, sql: str, check: str, word: str) -> None:
    with files.session() as session:
        first = session.exec(select(Run.entry).where(Run.path == "run-0")).one()
        with files.tampering(session) as connection:
            assert connection.exec_driver_sql(sql.replace("{run0}", str(first))).rowcount
        named(faults(session), check, word.replace("{run0}", str(first)))


def rehash(session: Session) -> None:
    """As a forger would: every content, every hash and the head, so that they fit what is stored."""
    connection, previous = session.connection(), GENESIS
    for entry in session.exec(select(Entry).order_by(Entry.sequence)).all():  # type: ignore[arg-type]
        details = (entry.stated_at, entry.reason, entry.reference, entry.reverses)
        parts = root_of(part_leaf(part.contributor, part.payload) for part in journal.parts_of(session, entry.sequence))
        lines = root_of(map(posting_leaf, journal.lines_of(session, entry.sequence)))
        content = content_hash(Request(entry.kind, entry.subject, entry.payload, *details), parts, lines)
        place = (entry.sequence, entry.recorded_at, entry.event_at, entry.key)
        hash = entry_hash(*place, content, previous)
        values = {"content": content, "previous": previous, "hash": hash}
        connection.execute(update(Entry).where(Entry.sequence == entry.sequence).values(values))  # type: ignore[arg-type]
        previous = hash
    connection.execute(update(Head).values(hash=previous))


FORGERIES: list[tuple[str, str, str, str]] = [
    (
        "a valuation",
        "UPDATE parts SET payload = replace(payload, '\"rows\":12', '\"rows\":11') WHERE contributor = 'alice'",
        "valuations",
        "rows is 11",
    ),
    (
        "a payout moved to another",
        "UPDATE postings SET account = 'payable:other-heir' WHERE account = 'payable:bob' AND commodity = 'USDC'",
        "payouts",
        "payable:other-heir",
    ),
    (
        "a hold's terms in its entry",
        "UPDATE parts SET payload = replace(payload, '2026-06-01T', '2027-06-01T') "
        "WHERE payload <> replace(payload, '2026-06-01T', '')",
        "payouts",
        "2027-06-01",
    ),
    (
        "another valuation",
        'UPDATE parts SET payload = replace(payload, \'"value":"250000000000"\', \'"value":"260000000000"\') '
        "WHERE entry = (SELECT max(sequence) FROM entries WHERE kind = 'other valuation')",
        "other valuations",
        "value is '260000000000'",
    ),
    (
        "a reversal's reason",
        "UPDATE entries SET reason = NULL WHERE kind = 'reversal'",
        "reversals",
        "without a reason",
    ),
    (
        "when a late entry happened",
        "UPDATE entries SET event_at = stated_at WHERE key = 'late'",
        "times of entries",
        "is booked at 2026-05-05",
    ),
]


@pytest.mark.parametrize(
    ("sql", "check", "word"), [case[1:] for case in FORGERIES], ids=[case[0] for case in FORGERIES]
)
def test_a_forger_who_mends_every_hash_still_meets_what_the_books_mean(
    original: Original, sql: str, check: str, word: str
) -> None:
    with original.session() as session:
        with original.tampering(session) as connection:
            assert connection.exec_driver_sql(sql).rowcount
            session.expire_all()
            rehash(session)
        found = faults(session)
        assert not any(fault.startswith(("hash chain", "entry content", "head")) for fault in found), found
        named(found, check, word)


def test_an_entry_rewritten_with_its_own_hash_breaks_the_chain_after_it(files: Original) -> None:
    with files.session() as session:
        entry = journal.entry(session, 4)
        at = "2026-03-01T23:30:00.000000Z"
        hash = entry_hash(4, at, at, entry.key, entry.content, entry.previous)
        with files.tampering(session) as connection:
            values = {"recorded_at": at, "event_at": at, "hash": hash}
            connection.execute(update(Entry).where(Entry.sequence == 4).values(values))  # type: ignore[arg-type]
        found = faults(session)
        named(found, "hash chain", "entry 5: does not follow the hash of the entry before it")
        assert not any("entry 4" in fault for fault in found if fault.startswith("hash chain"))
