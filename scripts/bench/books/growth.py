"""Audit time and memory, by the number of postings."""

from __future__ import annotations

from itertools import count, islice

from ledger.database import Ledger
from scripts.bench.books.places import Places
from scripts.bench.books.postings import Work, drawn, prepare, write
from scripts.bench.books.process import alone
from scripts.bench.books.sizes import Sizes
from scripts.bench.books.tables import count as shown
from scripts.bench.books.tables import table

_ENTRIES = 100  # of one transaction


def report(places: Places, sizes: Sizes) -> str:
    """A table of times: one ledger that grows, audited by a process of its own at each size."""
    rows = []
    for database in places.databases:
        place = places.fresh(database)
        with Ledger.create(place) as books:
            prepare(books, sizes.accounts)
            requests = drawn(sizes.accounts, Work("", 1, sizes.entry_lines, one_by_one=False))
            keys = (f"posting {number}" for number in count())
            done = sizes.accounts
            for postings in sizes.postings:
                while done < postings:
                    batch = list(islice(requests, min(_ENTRIES, -(-(postings - done) // sizes.entry_lines))))
                    write(books, batch, keys, one_by_one=False)
                    done += len(batch) * sizes.entry_lines
                books.close()
                cost = alone("scripts.bench.books.epoch:audited", place, "")
                million = f"{cost.seconds / done * 1e6:.0f}"
                rows.append(
                    [database, shown(done), f"{cost.seconds:.1f}", million, f"{cost.peak:.0f}", f"{cost.growth:.0f}"]
                )
        places.remove(place)
    columns = ["database", "postings", "audit, seconds", "seconds a million", "peak, MB", "above the start, MB"]
    return table(columns, rows)
