"""The demo through to claimed tokens: trained, settled, published, waited for, claimed by three, audited."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ledger import balances, settlement, valuation
from ledger.audit import audit
from ledger.chain import publications
from ledger.chain.distributors import distributor as distributor_of
from ledger.chain.local import LocalChain
from ledger.chain.reconcile import reconcile
from ledger.cli import main
from ledger.cli.demo.chain import DemoChain
from ledger.database import Ledger
from tests.ledger.chain import anvil as chains
from tests.ledger.cli.demo.test_run import shown_demo

POOL = 10_000 * 10**6


@pytest.mark.parametrize("where", ["anvil", "in this process"])
def test_the_demo_ends_with_tokens_claimed_in_three_ways_and_books_that_agree(where: str, tmp_path: Path) -> None:
    if where == "anvil":
        with chains.running() as chain:
            check(tmp_path / "out", chain)
    else:
        check(tmp_path / "out", LocalChain())


def check(folder: Path, chain: DemoChain) -> None:
    text = shown_demo(folder, chain=lambda: chain)
    with Ledger.open(folder / "ghostledger.db") as books:
        with books.reading() as session:
            (settled,) = settlement.settlements(session)
            earned = {one.contributor: one.paid for one in settlement.outcome_of(session, settled).payouts if one.paid}
            assert sum(earned.values()) == POOL
            distributor = distributor_of(session)
            (made,) = publications.publications(session, distributor)
            assert (made.total, publications.state(session, made)) == (POOL, "activated")
            paid = {who: due for who, due in balances.by_contributor(session, "paid", "DUSD").items() if due}
            flying = {who: due for who, due in balances.by_contributor(session, "in_flight", "DUSD").items() if due}
            best = sorted(earned, key=lambda who: (-earned[who], who))[:3]
            assert paid == {who: earned[who] for who in best}
            assert flying == {who: due for who, due in earned.items() if who not in best}
            (run,) = valuation.runs(session)
            booked = valuation.valuation_of(session, run)
            parts = sum(part.value for part in booked.contributors) + booked.house + booked.gap
            assert parts == booked.improvement  # of the model, in piconats
            assert audit(session).ok
        assert reconcile(books, chain.node(), distributor.id).differences == []
    assert "ledger and chain agree: 1 roots, 3 claims" in text
    assert re.search(r"by a signature that \S+ hands in", " ".join(text.split()))
    assert "everything holds" in text


def test_the_same_seed_pays_the_same_in_tokens_as_in_euros(tmp_path: Path) -> None:
    shown_demo(tmp_path / "euros")
    shown_demo(tmp_path / "tokens", chain=LocalChain)
    shares = []
    for name in ("euros", "tokens"):
        with Ledger.open(tmp_path / name / "ghostledger.db") as books, books.reading() as session:
            (run,) = valuation.runs(session)
            shares.append([part.value for part in valuation.valuation_of(session, run).contributors])
    assert shares[0] == shares[1]


def test_without_its_library_the_demo_on_a_chain_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ledger.cli.demonstration.find_spec", lambda name: None)
    assert main(["demo", "--chain", "--folder", str(tmp_path / "out")]) == 2
    assert "pip install 'ghostledger[local-chain]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
