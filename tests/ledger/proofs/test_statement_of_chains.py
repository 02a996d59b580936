"""What a statement says of chains is proved as the rest of it is: offline, from the contributor's own entries."""

import json
from typing import Any

import pytest

from ledger.database import Ledger
from ledger.proofs.note import SignerKey
from ledger.proofs.verification import verify_statement
from ledger.registry import origin
from tests.ledger.on_chain import everything, key
from tests.ledger.proofs.conftest import SEED, proved_statement
from tests.ledger.proofs.test_statement_proof import changed, leaves


@pytest.fixture
def world(staffed_file: Ledger) -> tuple[SignerKey, dict[str, dict[str, Any]]]:
    with staffed_file.writing() as session:
        everything(session)
        signer = SignerKey(origin(session), SEED)
        return signer, {who: proved_statement(session, who, signer) for who in ("dora", "emil")}


def test_what_was_published_and_claimed_is_shown_and_follows_from_proofs(world: Any) -> None:
    signer, statements = world
    for document in statements.values():
        assert verify_statement(json.dumps(document), key=signer.verifier).faults == ()
    dora, emil = (statements[who]["on_chains"] for who in ("dora", "emil"))
    told = [(one["chain_id"], one["address"], one["state"]) for one in dora["payout_addresses"]]
    assert told == [
        (1, key("dora").address, "in force"),
        (31337, key("dora").address, "former"),
        (31337, key("dora's new").address, "in force"),
    ]
    states = [(one["amount"], one["cumulative"], one["state"]) for one in dora["publications"]]
    assert states == [
        ("0.000400", "0.000400", "intended"),
        ("0.000500", "0.000500", "abandoned"),
        ("0.000500", "0.000500", "activated"),
        ("0.000050", "0.000550", "revoked"),
        ("0.000050", "0.000050", "published"),
    ]
    assert [(one["amount"], one["recipient"]) for one in emil["claims"]] == [("0.000300", key("emil's new").address)]
    (balance,) = statements["dora"]["balances"]
    assert (balance["payable"], balance["publishing"], balance["paid"]) == ("0.000000", "0.000400", "0.000550")


@pytest.mark.parametrize("who", ["dora", "emil"])
def test_a_changed_figure_is_found(world: Any, who: str) -> None:
    signer, statements = world
    figures = [path for path in leaves(statements[who]) if path[0] == "on_chains"]
    assert len(figures) > 40
    for path in figures:
        found = verify_statement(json.dumps(changed(statements[who], path)), key=signer.verifier)
        assert any(str(path[-1]) in fault for fault in found.faults), path


def test_anothers_entries_prove_nothing_of_ones_own(world: Any) -> None:
    signer, statements = world
    mine = statements["dora"]
    taken = [entry for entry in statements["emil"]["proofs"]["entries"] if entry["kind"] in ("claim", "payout address")]
    ours = mine["proofs"]["entries"]
    for entry in taken:
        together = sorted([*ours, {**entry, "parts": [], "postings": []}], key=lambda one: one["sequence"])
        document = {**mine, "proofs": {**mine["proofs"], "entries": together}}
        found = verify_statement(json.dumps(document), key=signer.verifier)
        assert f"entry {entry['sequence']}: this {entry['kind']} is not about 'dora'" in found.faults


def test_a_posting_left_out_is_missed_where_the_part_states_it(world: Any) -> None:
    signer, statements = world
    document = statements["dora"]
    for entry in document["proofs"]["entries"]:
        if entry["kind"] in ("publication", "published", "root revoked", "publication abandoned", "claim"):
            fewer = {**entry, "postings": entry["postings"][1:]}
            entries = [fewer if one is entry else one for one in document["proofs"]["entries"]]
            found = verify_statement(
                json.dumps({**document, "proofs": {**document["proofs"], "entries": entries}}), key=signer.verifier
            )
            assert any(fault.startswith(f"entry {entry['sequence']}: postings on ") for fault in found.faults), entry
