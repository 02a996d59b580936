"""A ledger copied row by row into another database, so that what is slow to make is made once."""

from __future__ import annotations

from sqlalchemy import insert, select

from ledger import migrations, triggers
from ledger.batches import batches
from ledger.database import Ledger
from ledger.models import Row
from ledger.places import MIGRATING, file_engine, path_of, server_engine


def replica(books: Ledger, place: str) -> None:
    """Make a ledger at a place that holds the same rows, and so the same hashes."""
    path = path_of(place)
    engine = server_engine(place) if path is None else file_engine(path)
    with engine.execution_options(**{MIGRATING: True}).begin() as target:
        migrations.upgrade(target)
    with books.reading() as session, engine.begin() as target:
        triggers.remove(target)  # which want an entry at a time
        for table in Row.metadata.sorted_tables:
            rows = session.connection().execution_options(yield_per=5000).execute(select(table)).mappings()
            for batch in batches(rows, 5000):
                target.execute(insert(table), [dict(row) for row in batch])
        triggers.install(target)
    engine.dispose()
