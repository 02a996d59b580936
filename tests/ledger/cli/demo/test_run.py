"""The demo, shortened to a few steps of a smaller model: everything is booked, shown, audited and left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from sqlmodel import Session

from attribution.record import RunRecord
from attribution.training.configuration import TrainingConfiguration
from ledger import registry, settlement, valuation
from ledger.audit import audit
from ledger.cli.demo import run as demo
from ledger.cli.demo import run_demo
from ledger.cli.demo.chain import DemoChain
from ledger.cli.train import NotBookedError
from ledger.database import Ledger

FULL = demo.configuration


def short(seed: int, **changes: object) -> TrainingConfiguration:
    return TrainingConfiguration.of(
        **{
            **FULL(seed).model_dump(exclude={"model", "tokenizer"}),
            **{"layers": 1, "width": 32, "heads": 2, "vocabulary": 400, "context": 64, "max_steps": 12},
            **{"validation_rows": 4, "threads": 1, "learning_rate": 5e-3},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, shown_demo(folder)


def shown_demo(folder: Path, seed: int = 0, *, chain: Callable[[], DemoChain] | None = None, **changes: object) -> str:
    with pytest.MonkeyPatch.context() as patch, (folder.parent / "screen").open("w") as screen:
        patch.setattr(demo, "configuration", lambda seed: short(seed, **changes))
        console = Console(file=screen, record=True, width=170)
        run_demo(folder, seed=seed, console=console, chain=chain)
        return console.export_text()


def payouts(session: Session) -> dict[str, int]:
    (made,) = settlement.settlements(session)
    return {payout.contributor: payout.paid for payout in settlement.outcome_of(session, made).payouts}


def test_ten_contributors_are_paid_the_whole_budget_to_the_cent(shown: tuple[Path, str]) -> None:
    folder, _ = shown
    with Ledger.open(folder / "ghostledger.db") as books, books.reading() as session:
        assert len(registry.contributors(session)) == len(payouts(session)) == 10
        assert sum(payouts(session).values()) == 1_000_000
        assert audit(session).ok


def test_the_final_table_shows_rows_values_shares_and_payouts_as_booked(shown: tuple[Path, str]) -> None:
    folder, text = shown
    with Ledger.open(folder / "ghostledger.db") as books, books.reading() as session:
        (run,) = valuation.runs(session)
        booked = valuation.valuation_of(session, run)
        paid = payouts(session)
    for part in booked.contributors:
        line = next(line for line in text.splitlines() if part.contributor in line and "%" in line)
        assert f"{part.rows}" in line
        assert f"{paid[part.contributor] / 100:.2f}" in line
        assert f"{paid[part.contributor] / 10_000:.2f}%" in line
        assert all(f"{value / 1e12:+.4f}" in line for value in [*part.task_values, part.value])
    for said in ("business-news, nats", "sports-news, nats", "10000.00", "everything holds", "business-desk ("):
        assert said in text


def test_record_model_and_picture_lie_where_the_demo_says(shown: tuple[Path, str]) -> None:
    folder, text = shown
    lines = text.replace("\n", "")
    for part in ("ghostledger.db", "run/record", "run/model", "values.png"):
        assert (folder / part).exists()
        assert str(folder / part) in lines
    assert RunRecord.load(folder / "run" / "record").complete


def test_the_demo_runs_again_beside_the_first_and_the_same_seed_pays_the_same(shown: tuple[Path, str]) -> None:
    folder, _ = shown
    before = (folder / "ghostledger.db").read_bytes()
    shown_demo(folder)
    again = folder.with_name("out-2")
    assert (folder / "ghostledger.db").read_bytes() == before
    paid = []
    for place in (folder, again):
        with Ledger.open(place / "ghostledger.db") as books, books.reading() as session:
            paid.append(payouts(session))
    assert paid[0] == paid[1]


def test_a_demo_that_stops_early_books_nothing_and_says_where_the_record_is(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(NotBookedError, match="not finite"):
        shown_demo(folder, optimizer="sgd", learning_rate=1e18, clip_norm=None, warmup=0.0)
    assert not RunRecord.load(folder / "run" / "record").complete
    with Ledger.open(folder / "ghostledger.db") as books, books.reading() as session:
        assert valuation.runs(session) == []
