from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from ledger import registry
from ledger.database import Ledger
from ledger.valuation import Booked, book_run
from tests.ledger.records import synthetic_record

PEOPLE = ("alice", "bob", "carol")


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger whose clock advances a second at each look."""
    seconds = count()
    start = datetime(2026, 3, 2, tzinfo=UTC)
    with Ledger.create(tmp_path / "books.db", clock=lambda: start + timedelta(seconds=next(seconds))) as made:
        yield made


@pytest.fixture
def staffed(books: Ledger) -> Ledger:
    """A ledger with three contributors, each with a dataset and consent since January."""
    with books.writing() as session:
        for name in PEOPLE:
            registry.add_contributor(session, name, name.title())
            registry.register_dataset(
                session,
                name,
                [f"{name} one", f"{name} two"],
                name=f"{name}'s texts",
                licence="CC-BY-4.0",
                consent_given_at="2026-01-01",
                paths=[f"data/{name}.txt"],
            )
    return books


@pytest.fixture
def book(tmp_path: Path) -> Callable[..., Booked]:
    """Saves a synthetic record beside the books, and books it."""
    numbers = count(1)

    def save_and_book(session: Session, values: dict[str, Any], **options: Any) -> Booked:
        by_task = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
        number = next(numbers)
        partial = options.pop("partial", False)
        record = synthetic_record(by_task, number=number, **options)
        return book_run(session, record.save(tmp_path / f"run-{number}"), partial=partial)

    return save_and_book
