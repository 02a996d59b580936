"""Statements with proofs: what is shown follows from what is proved, and whatever is changed is found and named."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ledger import stakes
from ledger.database import Ledger
from ledger.errors import (
    CheckpointError,
    ConsistencyProofError,
    NoteFormatError,
    OriginError,
    SignatureError,
    StatementFormatError,
)
from ledger.facts import Fact, Facts
from ledger.money import Amount
from ledger.personal import Opening
from ledger.proofs import log
from ledger.proofs.carrying import carry
from ledger.proofs.checkpoint import Checkpoint, open_checkpoint, sign, unverified_checkpoint
from ledger.proofs.note import SignerKey, VerifierKey
from ledger.proofs.proved_entry import ProvedEntry
from ledger.proofs.verification import Verified, verify_statement
from ledger.statement import restate, statement
from tests.ledger.proofs.conftest import PEOPLE, SEED, World, proved_statement
from tests.ledger.proofs.test_tree import VECTORS

Statements = dict[str, dict[str, Any]]
SIZES = ("parts_count", "postings_count")  # not committed to: RFC 6962 proves a place in a tree, not how large that is


def verify(world: World, document: dict[str, Any], **trust: Any) -> Verified:
    return verify_statement(json.dumps(document), **(trust or {"key": world.key.verifier}))


def leaves(value: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """Where the innermost values of a JSON value are."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, dict | list):
        yield path
    for name, one in inner:
        yield from leaves(one, *path, name)


def changed(document: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    """The document with the value at a place changed a little."""
    copied = copy.deepcopy(document)
    holder = copied
    for step in path[:-1]:
        holder = holder[step]  # type: ignore[index]
    holder[path[-1]] = other(holder[path[-1]])  # type: ignore[index]
    return copied


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if value is None:
        return "something"
    return value[:-1] + ("1" if value[-1:] != "1" else "2")


def named(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def test_every_figure_of_every_statement_follows_from_what_it_carries(world: World) -> None:
    for contributor in PEOPLE:
        document = world.statement(contributor)
        found = verify(world, document)
        assert found.faults == ()
        assert (found.contributor, found.checkpoint.size) == (contributor, document["entries"])
        assert found.entries == len(document["proofs"]["entries"])
        assert found.postings == sum(len(entry["postings"]) for entry in document["proofs"]["entries"])


def test_a_statement_that_was_handed_out_verifies_for_ever() -> None:
    """Carol's, of the example, as it was made once: what cannot be verified any more breaks every one that is kept."""
    golden = json.loads((VECTORS / "statement.json").read_text())
    text, key = json.dumps(golden["statement"]), VerifierKey.parse(golden["verifier_key"])
    kept = open_checkpoint(golden["older"], key)
    assert verify_statement(text, key=key, kept=kept).faults == ()
    assert (kept.size, golden["statement"]["entries"]) == (25, 40)
    assert golden["statement"]["balances"][0]["payable"] == "0.000000000000000002"


def test_the_example_shows_what_it_is_to_prove(told: World, statements: Statements) -> None:
    alice, bob, dora = (statements[name] for name in ("alice", "bob", "dora"))
    assert len(alice["runs"]) == 3
    assert {balance["asset"] for balance in alice["balances"]} == {"EUR", "ETHX", "USD"}
    (euros,) = (balance for balance in alice["balances"] if balance["asset"] == "EUR")
    assert euros.keys() >= {"payable", "receivable", "holdback", "in_flight"}
    assert [dispute["outcome"] for dispute in alice["disputes"]] == ["claimant", None]
    assert any(run["settlements"][0]["reversed_by"] for run in alice["runs"] if run["settlements"])
    assert not bob["datasets"][0]["consent_now"]
    assert dora["movements"], "dora inherits, without a run of her own"
    assert dora["runs"] == []


@pytest.mark.parametrize("contributor", PEOPLE)
def test_a_changed_figure_anywhere_is_found_and_named(told: World, statements: Statements, contributor: str) -> None:
    document = statements[contributor]
    figures = [path for path in leaves(document) if path[0] not in ("proofs", "made_at")]
    for path in figures:
        found = verify(told, changed(document, path))
        assert not found.ok, path
        # What all else rests on is named as a whole; every other value by its own place.
        whole = {"contributor": "registered", "name_salt": "name", "head": "head"}.get(str(path[0]), named(path))
        assert any(whole in fault for fault in found.faults), (path, found.faults)
    assert len(figures) >= 10


def test_values_of_another_type_are_other_values(told: World, statements: Statements) -> None:
    run = statements["alice"]["runs"][0]
    run["complete"], run["rows"] = 1, float(run["rows"])
    assert [fault.partition(" is ")[0] for fault in verify(told, statements["alice"]).faults] == [
        "runs[0].complete",
        "runs[0].rows",
    ]


def test_a_figure_left_out_or_added_is_found_and_named(told: World, statements: Statements) -> None:
    document = statements["alice"]
    del document["balances"][0]["receivable"]
    document["runs"][0]["settlements"][0]["bonus"] = "1.00"
    document["runs"].append(document["runs"][0])
    document["disputes"].pop()
    faults = "\n".join(verify(told, document).faults)
    assert "balances[0].receivable is left out" in faults
    assert 'runs[0].settlements[0].bonus is "1.00", which nothing proves' in faults
    assert "runs[3] is" in faults
    assert "disputes[1] is left out" in faults


@pytest.mark.parametrize("contributor", ["carol", "dora"])
def test_whatever_is_changed_in_the_proofs_is_found(told: World, statements: Statements, contributor: str) -> None:
    document = statements[contributor]
    trust = {"key": told.key.verifier, "kept": told.older}
    assert verify(told, document, **trust).ok
    places = [path for path in leaves(document["proofs"], "proofs") if path[-1] not in SIZES]
    assert len(places) > 100
    for path in places:
        try:
            found = verify(told, changed(document, path), **trust)
        except (StatementFormatError, NoteFormatError, SignatureError, CheckpointError, ConsistencyProofError):
            continue
        assert not found.ok, path


def test_an_entry_that_is_doubled_moved_or_left_out_is_found(told: World, statements: Statements) -> None:
    document = statements["alice"]
    count = len(document["proofs"]["entries"])
    for number in range(count):
        for entries in (
            document["proofs"]["entries"][:number] + document["proofs"]["entries"][number + 1 :],
            document["proofs"]["entries"] + [document["proofs"]["entries"][number]],
            document["proofs"]["entries"][number:] + document["proofs"]["entries"][:number] if number else [],
        ):
            document_of_these = {**document, "proofs": {**document["proofs"], "entries": entries}}
            assert not verify(told, document_of_these).ok, number


@pytest.mark.parametrize("what", ["parts", "postings"])
def test_a_part_or_posting_that_is_doubled_or_left_out_is_found(told: World, statements: Statements, what: str) -> None:
    document = statements["alice"]
    tried = 0
    for number, entry in enumerate(document["proofs"]["entries"]):
        for place in range(len(entry[what])):
            for rows in (entry[what][:place] + entry[what][place + 1 :], entry[what] + [entry[what][place]]):
                changed_document = copy.deepcopy(document)
                changed_document["proofs"]["entries"][number][what] = rows
                assert not verify(told, changed_document).ok
                tried += 1
    assert tried > 5


@pytest.mark.parametrize("kind", ["contributor", "dataset", "consent", "dispute", "resolution"])
def test_an_entry_that_speaks_of_somebody_else_is_found(told: World, statements: Statements, kind: str) -> None:
    document, theirs = statements["carol"], statements["bob"]["proofs"]["entries"]
    foreign = next(entry for entry in theirs if entry["kind"] == kind)
    entries = [*document["proofs"]["entries"], foreign]
    document["proofs"]["entries"] = sorted(entries, key=lambda entry: entry["sequence"])
    wanted = f"entry {foreign['sequence']}: this {kind} is not registered for 'carol'"
    assert wanted in verify(told, document).faults


# A liar makes the statement fit the proofs, however these were changed; what then gives it away is the proofs alone.


def fitted(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a statement made from whatever its proofs show, checked or not."""
    shown = [ProvedEntry.model_validate(entry) for entry in document["proofs"]["entries"]]
    facts = tuple(
        Fact(
            **{name: getattr(entry, name) for name in ("sequence", "kind", "subject", "recorded_at", "event_at")},
            **{name: getattr(entry, name) for name in ("reason", "reference", "reverses")},
            payload=json.loads(entry.payload or "{}"),
            parts=tuple(json.loads(part.payload) for part in entry.parts),
            lines=tuple(posting.line for posting in entry.postings),
        )
        for entry in shown
    )
    name = Opening(document["name"], document["name_salt"])
    told = Facts(document["contributor"], document["entries"], document["head"], facts)
    made = restate(told, made_at=document["made_at"], name=name).as_json()
    return json.loads(json.dumps(made | {"proofs": document["proofs"]}))  # type: ignore[no-any-return]


def entry_with(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """An entry of a kind that posts to the contributor's accounts and is neither valuation nor settlement."""
    return next(entry for entry in document["proofs"]["entries"] if entry["kind"] == kind and entry["postings"])


def test_a_statement_that_fits_its_proofs_is_what_was_made(told: World, statements: Statements) -> None:
    for document in statements.values():
        assert fitted(document) == document
        assert verify(told, fitted(document)).ok


def test_a_posting_counted_twice_is_found_though_the_figures_fit(told: World, statements: Statements) -> None:
    document = statements["alice"]
    entry = entry_with(document, "conversion")
    entry["postings"] = [entry["postings"][0], *entry["postings"]]
    (fault,) = [fault for fault in verify(told, fitted(document)).faults if "out of order" in fault]
    assert fault.startswith(f"entry {entry['sequence']}: its postings")


def test_a_posting_counted_twice_at_another_place_is_found_though_the_figures_fit(
    told: World, statements: Statements
) -> None:
    """Whatever place and number of postings is claimed: a path of hashes leads to one place in a tree of one size."""
    document = statements["alice"]
    entry = entry_with(document, "conversion")
    one = entry["postings"][0]
    for count in range(1, 9):
        entry["postings_count"] = count
        for index in range(count):
            if index != one["index"]:
                entry["postings"] = sorted([one, {**one, "index": index}], key=lambda row: row["index"])
                assert not verify(told, fitted(document)).ok, (index, count)


def test_anothers_posting_is_not_the_contributors_though_the_figures_fit(told: World, statements: Statements) -> None:
    with told.books.reading() as session:
        now = unverified_checkpoint(statements["bob"]["proofs"]["checkpoint"])
        theirs = carry(session, "alice", statements["bob"]["proofs"]["checkpoint"], now).model_dump(mode="json")
    document = statements["bob"]
    document["proofs"]["entries"] = sorted(
        [*document["proofs"]["entries"], entry_with({"proofs": theirs}, "conversion")],
        key=lambda entry: entry["sequence"],
    )
    document["proofs"]["entries"] += [entry for entry in theirs["entries"] if '"USD"' in (entry["payload"] or "")]
    document["proofs"]["entries"].sort(key=lambda entry: entry["sequence"])
    faults = verify(told, fitted(document)).faults
    assert any("'payable:alice' is no account of 'bob'" in fault for fault in faults)


def test_an_amount_changed_in_a_posting_and_its_figures_is_found(told: World, statements: Statements) -> None:
    document = statements["alice"]
    entry = entry_with(document, "conversion")
    entry["postings"][0]["amount"] += "0"
    assert any(
        f"entry {entry['sequence']}: posting" in fault and "not in it as it is shown" in fault
        for fault in verify(told, fitted(document)).faults
    )


def test_a_payload_is_shown_or_hidden_but_not_both(told: World, statements: Statements) -> None:
    document = statements["alice"]
    for entry in document["proofs"]["entries"]:
        shown, hidden = entry["payload"], entry["payload_sha256"]
        for entry["payload"], entry["payload_sha256"] in ((None, None), (shown or "{}", hidden or "0" * 64)):
            assert any("its payload" in fault for fault in verify(told, document).faults)
        entry["payload"], entry["payload_sha256"] = shown, hidden


def test_a_posting_hidden_together_with_its_figures_contradicts_the_part(told: World, statements: Statements) -> None:
    """Whoever makes the statement may leave a posting out of everything; the part in the same entry gives it away."""
    document = statements["bob"]
    for entry in document["proofs"]["entries"]:
        if entry["kind"] == "settlement":
            entry["postings"] = []
    faults = verify(told, document).faults
    assert any("postings on payable:bob come to 0, its part says" in fault for fault in faults)


def test_a_statement_says_nothing_of_others(told: World, statements: Statements) -> None:
    """Neither ids nor names nor amounts; disputes alone name both sides, so carol has none here."""
    text = json.dumps(statements["carol"])
    for name in ("alice", "bob", "Alice", "Bob", "value:bob", "'s texts"):
        assert name not in text.replace("carol's texts", "")
    assert "payable:dora" not in text


# Trust


def test_the_key_must_be_the_ledgers(told: World, statements: Statements) -> None:
    document = statements["bob"]
    with pytest.raises(SignatureError):
        verify(told, document, key=SignerKey.generate(told.key.name).verifier)
    with pytest.raises(SignatureError):
        verify(told, document, key=SignerKey.generate("elsewhere").verifier)
    with pytest.raises(CheckpointError, match="vouches"):
        verify_statement(json.dumps(document))


def test_a_checkpoint_that_was_kept_is_as_good_as_a_key(told: World, statements: Statements) -> None:
    document = statements["bob"]
    kept = unverified_checkpoint(document["proofs"]["checkpoint"])
    assert verify(told, document, kept=kept).ok
    with pytest.raises(ConsistencyProofError):
        verify(told, document, kept=Checkpoint(kept.origin, kept.size, bytes(32)))
    with pytest.raises(OriginError):
        verify(told, document, kept=Checkpoint("elsewhere", kept.size, kept.root))


def test_an_older_checkpoint_that_was_kept_needs_the_proof_that_it_is_continued_and_the_key(
    told: World, statements: Statements
) -> None:
    document, key = statements["bob"], told.key.verifier
    assert verify(told, document, kept=told.older, key=key).ok
    rewritten = Checkpoint(told.older.origin, told.older.size, bytes(32))
    with pytest.raises(ConsistencyProofError, match="changed"):
        verify(told, document, kept=rewritten, key=key)
    with pytest.raises(CheckpointError, match="give the key"):
        verify(told, document, kept=told.older)
    document["proofs"]["continues"] = None
    with pytest.raises(CheckpointError, match="--older"):
        verify(told, document, kept=told.older, key=key)


def test_what_a_stranger_adds_to_the_log_is_not_vouched_for_by_a_checkpoint(told: World, staffed_file: Ledger) -> None:
    """A copy of the books that somebody else went on writing continues every checkpoint, but nobody signed that."""
    with staffed_file.reading() as session:
        kept = log.checkpoint(session)
    with staffed_file.writing() as session:
        stakes.deposit(session, "bob", Amount.parse("1000000.00 EUR"), key="forged")
    stranger = SignerKey.generate(kept.origin)
    with staffed_file.reading() as session:
        document = json.dumps(proved_statement(session, "bob", stranger, kept))
    with pytest.raises(CheckpointError, match="vouches for its own"):
        verify_statement(document, kept=kept)
    with pytest.raises(SignatureError):
        verify_statement(document, kept=kept, key=SignerKey(kept.origin, SEED).verifier)


def test_a_statement_as_of_an_older_checkpoint_shows_what_was_known_then(told: World) -> None:
    with told.books.reading() as session:
        made = statement(session, "bob", told.older.size).as_json()
        carried = carry(session, "bob", sign(told.older, told.key), told.older)
    document = json.loads(json.dumps(made | {"proofs": carried.model_dump(mode="json")}))
    assert verify(told, document).faults == ()
    assert document["datasets"][0]["consent_now"]  # withdrawn later
    assert document["entries"] == told.older.size


def test_what_is_recorded_after_a_statement_was_made_is_not_in_it(told: World, statements: Statements) -> None:
    document = statements["bob"]
    for moment in ("2020-01-01T00:00:00.000000Z", "2026-03-01", "yesterday", None):
        assert any("made_at" in fault for fault in verify(told, {**document, "made_at": moment}).faults)


# Files


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda text: "", "JSON"),
        (lambda text: text[:-1], "JSON"),
        (lambda text: "[" * 100_000, "JSON"),
        (lambda text: "[]", "proofs"),
        (lambda text: "{}", "proofs"),
        (lambda text: text.replace('"contributor"', '"entries": 1, "contributor"', 1), "twice"),
        (lambda text: text.replace('"share": ', '"share": NaN, "also": ', 1), "NaN"),
        (lambda text: text.replace('"sequence": 1', '"sequence": true, "was": 1', 1), "sequence"),
        (lambda text: text.replace('"sequence": ', '"sequence": 1.5, "was": ', 1), "sequence"),
        (lambda text: text.replace('"previous"', '"preceding"', 1), "previous"),
        (lambda text: text.replace('"head_path"', '"more": 1, "head_path"', 1), "more"),
        (lambda text: text.replace("statement proofs 1", "statement proofs 2"), "format"),
        (lambda text: text.replace('"amount": "', '"amount": "-', 1).replace('"proofs"', '"prooofs"'), "proofs"),
    ],
    ids=range(13),
)
def test_what_is_almost_a_statement_is_refused(told: World, statements: Statements, damage: Any, reason: str) -> None:
    text = damage(json.dumps(statements["bob"]))
    with pytest.raises(StatementFormatError, match=reason):
        verify_statement(text, key=told.key.verifier)


@pytest.mark.parametrize("value", [None, 7, [], {}, "\ud800", "x" * 100])
def test_junk_in_any_field_is_found_and_stops_nothing(told: World, statements: Statements, value: Any) -> None:
    document = statements["bob"]
    for name in [name for name in document if name != "proofs"]:
        if document[name] != value:
            assert not verify(told, {**document, name: value}).ok, name


def test_a_ledger_that_was_rewritten_gives_no_statement_for_its_old_checkpoint(told: World) -> None:
    with told.books.reading() as session:
        now = log.checkpoint(session)
        other_root = Checkpoint(now.origin, now.size, bytes(32))
        with pytest.raises(CheckpointError, match="rewritten"):
            carry(session, "bob", "", other_root)
        with pytest.raises(CheckpointError, match="cut short"):
            carry(session, "bob", "", Checkpoint(now.origin, now.size + 1, now.root))
