"""Memory and time of booking, settling and auditing one run, by the number of contributors."""

from __future__ import annotations

from pathlib import Path

from ledger import registry
from ledger.audit import audit
from ledger.database import Ledger
from ledger.money import Amount
from ledger.policies import Holdback, Minimum
from ledger.policies.terms import Terms
from ledger.settlement import settle
from ledger.valuation import book_run
from scripts.bench.books.copies import replica
from scripts.bench.books.places import Places
from scripts.bench.books.postings import ASSET, name
from scripts.bench.books.process import Cost, alone, measured
from scripts.bench.books.sizes import Sizes
from scripts.bench.books.tables import count, table

TERMS = Terms(
    mode="pool",
    amount=Amount.parse("10000000.00 EUR"),
    negative="carry",
    fee_basis_points=250,
    policies=(Minimum(50), Holdback(1000, "2030-01-01")),
)
STEPS = 2
_HERE = __name__


def report(places: Places, sizes: Sizes) -> str:
    """A table of peaks, and what they grow by for each contributor."""
    rows = []
    found: dict[tuple[str, str], list[tuple[int, Cost]]] = {}
    for contributors in sizes.contributors:
        with places.books("sqlite") as registered:
            enrol(registered, contributors)
            run = places.folder / f"run-{contributors}"
            alone(f"{_HERE}:record", str(run), str(contributors))
            for database in places.databases:
                place = places.fresh(database)
                replica(registered, place)
                for step in ("book", "settled", "audited"):
                    cost = alone(f"{_HERE}:{step}", place, str(run))
                    found.setdefault((database, step), []).append((contributors, cost))
                places.remove(place)
    for (database, step), costs in found.items():
        smallest, first = costs[0]
        for contributors, cost in costs:
            more = contributors - smallest
            growth = f"{1024 * 1024 * (cost.growth - first.growth) / more:,.0f}" if more else ""
            figures = [f"{cost.peak:.0f}", f"{cost.growth:.0f}", growth, f"{cost.seconds:.1f}"]
            rows.append([database, step, count(contributors), *figures])
    columns = ["database", "step", "contributors", "peak, MB", "above the start, MB", "bytes a contributor", "seconds"]
    return table(columns, rows)


# Steps, in processes of their own


def record(folder: str, contributors: str) -> Cost:
    """Make the record of a run, of whose contributors one in seven made the model worse."""
    from tests.ledger.records import synthetic_record

    values = {name(c): [(-1e-6 if c % 7 == 3 else 1e-5) * (1 + c % 1000)] for c in range(int(contributors))}
    return measured(lambda: synthetic_record(values, steps=STEPS, house=(0.001,)).save(folder))


def book(place: str, folder: str) -> Cost:
    """Book the run."""
    import pyarrow.parquet  # noqa: F401

    with Ledger.open(place) as books:
        return measured(lambda: books.transact(lambda session: book_run(session, folder) and None))


def settled(place: str, folder: str) -> Cost:
    """Settle the run."""
    run = (Path(folder) / "identity").read_text().strip()
    with Ledger.open(place) as books:
        return measured(lambda: books.transact(lambda session: settle(session, run, TERMS) and None))


def audited(place: str, _: str) -> Cost:
    """Audit the ledger. Raises where it does not pass: the figures would be of something else."""
    import pyarrow.parquet  # noqa: F401  # what it takes to import is nobody's growth

    with Ledger.open(place) as books, books.reading() as session:
        return measured(lambda: _audit(session))


def _audit(session: object) -> None:
    result = audit(session)  # type: ignore[arg-type]
    assert result.ok, [check for check in result.checks if not check.ok]


def enrol(books: Ledger, contributors: int) -> None:
    """Contributors, each with a dataset and consent."""
    with books.writing() as session:
        registry.use_asset(session, ASSET)
        for number in range(contributors):
            registry.add_contributor(session, name(number))
            registry.register_dataset(
                session,
                name(number),
                [f"record {number}"],
                name=f"texts of {number}",
                licence="CC-BY-4.0",
                consent_given_at="2026-01-01",
            )
