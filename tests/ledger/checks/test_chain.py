"""Settlement on chains, forged: whoever mends every hash of the journal still meets what publications mean."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select

from ledger import registry
from ledger.canonical import canonical
from ledger.checks.chain import proofs
from ledger.exact_integer import encode
from ledger.models import Attempt, Entry, PayoutAddress, Publication, PublicationEnd
from tests.ledger.checks.test_tampering import rehash
from tests.ledger.on_chain import contract, key
from tests.ledger.tampering import Original, faults, named

HASHES = ("hash chain", "entry content", "head")


def number(original: Original, amount: int, digits: int = 78) -> str:
    """An amount as a literal of the database."""
    return f"'{encode(amount, digits)}'" if original.is_sqlite else str(amount)


def forged(original: Original, session: Session, *statements: str, rewrite: bool = True) -> list[str]:
    """What the audit finds after these statements, the journal's hashes mended."""
    session.expunge_all()  # what tests hold stays as it was
    with original.tampering(session) as connection:
        for sql in statements:
            assert connection.execute(text(sql)).rowcount, sql
        session.expire_all()
        if rewrite:
            rehash(session)
    found = faults(session)
    assert not rewrite or not [fault for fault in found if fault.startswith(HASHES)], found
    return found


def said(session: Session, entry: int, **changes: Any) -> str:
    """A statement that changes what an entry's payload says, and its literal colons escaped."""
    payload = json.loads(session.exec(select(Entry.payload).where(Entry.sequence == entry)).one()) | changes
    told = canonical(payload).replace("'", "''").replace(":", "\\:")
    return f"UPDATE entries SET payload = '{told}' WHERE sequence = {entry}"


def ended(session: Session, change: str, which: int = -1) -> tuple[PublicationEnd, Publication]:
    query = select(PublicationEnd).where(PublicationEnd.change == change).order_by(col(PublicationEnd.entry))
    end = session.exec(query).all()[which]
    return end, session.get_one(Publication, end.publication)


def test_an_address_that_was_not_in_force_is_found(original: Original) -> None:
    """Money is led to another address by changing the leaf, the part, the root and the total alike."""
    with original.session() as session:
        end, made = ended(session, "published", 0)
        thief, own = key("thief").address, key("emil").address
        leaves = {leaf: amount for leaf, amount in proofs.leaves_of(session, made).items() if leaf != own}
        by = proofs.tools()
        assert by is not None
        before = proofs.leaves_of(session, made)[own]
        tree = by.merkle.Tree(31337, contract("distributor"), [*leaves.items(), (thief, before)])
        root = "0x" + tree.root.hex()
        found = forged(
            original,
            session,
            f"UPDATE leaves SET address = '{thief}' WHERE publication = {made.entry} AND address = '{own}'",
            f"UPDATE parts SET payload = replace(payload, '{own}', '{thief}') WHERE contributor = 'emil' "
            f"AND entry IN ({made.entry}, {end.entry})",
            f"UPDATE publications SET root = '{root}' WHERE entry = {made.entry}",
            said(session, made.entry, root=root),
        )
        named(found, "publications", f"publication {made.entry}: leaf of 'emil'", f"{thief} was not in force then")
        assert not [fault for fault in found if fault.startswith(f"claim trees: publication {made.entry}:")]


def test_a_root_that_is_not_of_its_leaves_is_found(original: Original) -> None:
    with original.session() as session:
        _, made = ended(session, "published")
        root = "0x" + "ab" * 32
        found = forged(
            original,
            session,
            f"UPDATE publications SET root = '{root}' WHERE entry = {made.entry}",
            said(session, made.entry, root=root),
        )
        named(found, "claim trees", f"publication {made.entry}: its leaves give {made.root}")
        # What was signed had the right one.
        named(found, "signed transactions", "data is")


def test_a_total_that_is_not_the_leaves_is_found_without_any_library(
    original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "tools", lambda: None)
    with original.session() as session:
        _, made = ended(session, "published")
        more = number(original, made.total + 1)
        found = forged(
            original,
            session,
            f"UPDATE publications SET total = {more} WHERE entry = {made.entry}",
            said(session, made.entry, total=str(made.total + 1)),
        )
        named(found, "publications", f"publication {made.entry}: its tree comes to {made.total}")


def test_what_cannot_be_checked_here_is_said_not_to_be_and_does_not_pass(
    original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proofs, "tools", lambda: None)
    with original.session() as session:
        found = faults(session)
        assert len(found) == len(proofs.PROOF_CLAIMS)
        for check in proofs.PROOF_CLAIMS:
            named(found, check, "not checked", "ghostledger[chain]")


def test_a_metadata_hash_of_another_log_is_found(original: Original) -> None:
    with original.session() as session:
        _, made = ended(session, "published")
        other = "0x" + "cd" * 32
        found = forged(
            original,
            session,
            f"UPDATE publications SET metadata_hash = '{other}' WHERE entry = {made.entry}",
            said(session, made.entry, metadata_hash=other),
        )
        named(found, "publications", f"publication {made.entry}: its metadata hash is not that of the log's first")


def test_history_rewritten_ahead_of_a_publication_no_longer_fits_its_metadata_hash(original: Original) -> None:
    """A forger who mends the whole chain of hashes meets what was sent to the chain, too."""
    with original.session() as session:
        found = forged(original, session, "UPDATE entries SET reason = 'another' WHERE reason = 'wrong terms'")
        for made in session.exec(select(Publication.entry)).all():
            named(found, "publications", f"publication {made}: its metadata hash")


def test_leaves_that_disagree_with_the_parts_are_found(original: Original) -> None:
    with original.session() as session:
        _, made = ended(session, "published")
        where = f"publication = {made.entry} AND contributor = 'dora'"
        bigger = f"UPDATE leaves SET cumulative = {number(original, 10**6)} WHERE {where}"
        found = forged(original, session, bigger, rewrite=False)
        named(found, "publications", f"publication {made.entry}: leaf of 'dora'", "cumulative is 1000000")
        named(found, "claim trees", f"publication {made.entry}: its leaves give")


def test_a_change_of_address_without_approval_is_found(original: Original) -> None:
    with original.session() as session:
        row = change_of(session, "emil")
        one = canonical(json.loads(row.approvals)[:1])
        found = forged(original, session, *retold(session, row, approvals=one))
        named(found, "payout addresses", f"entry {row.entry}: was approved by ann; the old key or two")


def test_an_approval_by_somebody_who_was_no_operator_then_is_found(original: Original) -> None:
    with original.session() as session:
        row = change_of(session, "emil")
        given = json.loads(row.approvals)
        given[0]["by"] = "eve"
        found = forged(original, session, *retold(session, row, approvals=canonical(given)))
        named(found, "payout addresses", f"entry {row.entry}: was approved by 'eve', who was no operator then")


def test_a_signature_by_another_key_is_found(original: Original) -> None:
    with original.session() as session:
        row = change_of(session, "dora")
        mine = key("thief").sign_typed_data(message(session, row))
        found = forged(original, session, *retold(session, row, signature=mine.hex()))
        named(found, "address signatures", f"entry {row.entry}: {key('thief').address} signed for {row.address}")


def test_an_approval_by_another_key_is_found(original: Original) -> None:
    with original.session() as session:
        row = change_of(session, "dora")
        given = json.loads(row.approvals)
        given[0]["signature"] = row.signature
        found = forged(original, session, *retold(session, row, approvals=canonical(given)))
        named(found, "address signatures", f"entry {row.entry}:", "signed the approval by 'old key'")


def test_a_change_that_took_effect_before_its_delay_is_found(original: Original) -> None:
    with original.session() as session:
        row = change_of(session, "dora")
        recorded = session.exec(select(Entry.recorded_at).where(Entry.sequence == row.entry)).one()
        found = forged(original, session, *retold(session, row, effective_at=recorded))
        named(found, "payout addresses", f"entry {row.entry}: is in force from {recorded}")
    with original.session() as session:
        found = forged(original, session, *retold(session, row, effective_at=recorded, delay=1))
        named(found, "payout addresses", f"entry {row.entry}: changes after 1 seconds")


def test_one_address_of_two_contributors_is_found(original: Original) -> None:
    with original.session() as session:
        row = change_of(session, "emil")
        taken = key("dora").address
        found = forged(original, session, *retold(session, row, address=taken))
        named(found, "payout addresses", f"entry {row.entry}: {taken} is another's since entry")


def test_a_contract_as_payout_address_is_found(original: Original) -> None:
    with original.session() as session:
        row = change_of(session, "emil")
        found = forged(original, session, *retold(session, row, address=contract("distributor")))
        named(found, "payout addresses", f"entry {row.entry}: is distributor 1 or its token")


def test_two_publications_of_one_root_are_found(original: Original) -> None:
    with original.session() as session:
        _, last = ended(session, "published")
        _, first = ended(session, "published", 0)
        found = forged(
            original,
            session,
            f"UPDATE publications SET root_id = {first.root_id} WHERE entry = {last.entry}",
            said(session, last.entry, root_id=first.root_id),
        )
        named(found, "ends of publications", f"publication {last.entry}", f"publication {first.entry} was published")
        named(found, "publications", f"publication {last.entry}: has root {first.root_id} after")


def test_a_publication_that_ended_twice_is_found(original: Original) -> None:
    with original.session() as session:
        end, made = ended(session, "abandoned")
        _, other = ended(session, "activated")
        found = forged(
            original,
            session,
            f"UPDATE publication_ends SET publication = {other.entry} WHERE entry = {end.entry}",
            rewrite=False,
        )
        named(found, "ends of publications", f"publication {other.entry}, published by entry", "it was abandoned ahead")
        named(found, "publications", f"was intended while publication {made.entry} was intended")


def test_a_claim_above_what_was_published_is_found(original: Original) -> None:
    with original.session() as session:
        row = session.connection().execute(text("SELECT * FROM chain_claims ORDER BY entry DESC LIMIT 1")).one()
        more = number(original, 10**6)
        found = forged(
            original,
            session,
            f"UPDATE chain_claims SET amount = {more}, cumulative = {more} WHERE entry = {row.entry}",
            said(session, row.entry, amount=str(10**6), cumulative=str(10**6)),
        )
        named(found, "claims on chains", f"entry {row.entry}: 1000000 were claimed by then, and 300 published")
        named(found, "claims on chains", f"entry {row.entry}: takes 300 from what was published, and is of 1000000")


def test_an_earlier_claim_that_is_gone_is_missed_by_the_later_one(original: Original) -> None:
    with original.session() as session:
        row = session.connection().execute(text("SELECT * FROM chain_claims ORDER BY entry LIMIT 1")).one()
        lower = number(original, 1)
        found = forged(
            original, session, f"UPDATE chain_claims SET amount = {lower} WHERE entry = {row.entry}", rewrite=False
        )
        named(found, "claims on chains", f"entry {row.entry}: comes to 500 after 0 and 1")


def test_a_gap_in_a_senders_nonces_is_found(original: Original) -> None:
    with original.session() as session:
        row = session.exec(select(Attempt).order_by(col(Attempt.nonce).desc(), col(Attempt.id))).first()
        assert row is not None
        last = session.exec(select(Attempt).order_by(col(Attempt.id).desc())).first()
        assert last is not None
        found = forged(original, session, f"UPDATE attempts SET nonce = nonce + 5 WHERE id = {last.id}", rewrite=False)
        named(found, "chain transactions", f"attempt {last.id}: {last.sender} has nonce {last.nonce + 5}", "with a gap")


RAW = ("nonce", "gas", "max_fee", "priority_fee", "chain_id", "sender", "hash", "purpose")


@pytest.mark.parametrize("column", RAW)
def test_what_a_signed_transaction_says_is_what_its_row_says(original: Original, column: str) -> None:
    """Also of a publication that is open still, of which no entry lists any."""
    with original.session() as session:
        first = session.exec(select(Attempt).order_by(col(Attempt.id))).first()
        assert first is not None
        other: Any = {"sender": f"'{key('thief').address}'", "hash": f"'0x{'ee' * 32}'", "purpose": "'cancel'"}
        fee = number(original, 9)
        other |= {"max_fee": fee, "priority_fee": fee}
        value = other.get(column, f"{column} + 1")
        found = forged(
            original, session, f"UPDATE attempts SET {column} = {value} WHERE id = {first.id}", rewrite=False
        )
        what = "data" if column == "purpose" else column
        named(found, "signed transactions", f"attempt {first.id}: {what} is")


def test_a_hold_of_what_is_published_that_something_else_took_is_found(files: Original) -> None:
    with files.session() as session:
        query = "SELECT hold FROM hold_changes JOIN holds ON id = hold WHERE purpose = 'claim' ORDER BY 1 DESC LIMIT 1"
        hold = session.connection().execute(text(query)).scalar_one()
        entry = session.exec(select(Entry.sequence).where(Entry.kind == "payout confirmed")).first()
        found = forged(
            files,
            session,
            f"UPDATE hold_changes SET entry = {entry} WHERE hold = {hold}",
            rewrite=False,
        )
        named(
            found, "claims on chains", f"hold {hold}: is of a claim, and changed by entry {entry}, a payout confirmed"
        )


def change_of(session: Session, who: str) -> PayoutAddress:
    """The change of somebody's address."""
    query = select(PayoutAddress).where(PayoutAddress.contributor == who, PayoutAddress.nonce == 1)
    return session.exec(query).one()


def retold(session: Session, row: PayoutAddress, **changes: Any) -> list[str]:
    """The statements that change a row, and what its entry says of it."""
    values = ", ".join(
        f"{name} = {value}" if isinstance(value, int) else f"{name} = '{value}'" for name, value in changes.items()
    ).replace(":", "\\:")
    return [f"UPDATE payout_addresses SET {values} WHERE entry = {row.entry}", said(session, row.entry, **changes)]


def message(session: Session, row: PayoutAddress) -> dict[str, Any]:
    """What its own key had to sign."""
    by = proofs.tools()
    assert by is not None
    found: dict[str, Any] = by.typed_data.payout_address(
        origin=registry.origin(session),
        chain_id=row.chain_id,
        contributor=row.contributor,
        address=row.address,
        nonce=row.nonce,
    )
    return found


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("web3", "eth_account", "eth_abi", "eth_utils", "eth_keys", "hexbytes", "rlp"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from ledger.cli import main
sys.argv = ["ghostledger", "audit", "--ledger", sys.argv[1], "--json"]
sys.exit(main())
"""


def test_an_audit_without_the_extra_checks_all_the_rest_and_names_what_it_did_not(files: Original) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT, files.place], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    checks = json.loads(done.stdout)["checks"]
    failed = {check["name"]: check["detail"] for check in checks if not check["ok"]}
    assert failed.keys() == proofs.PROOF_CLAIMS.keys()
    assert all(detail.startswith("not checked") for detail in failed.values())
    assert {"publications", "ends of publications", "claims on chains"} <= {check["name"] for check in checks}
