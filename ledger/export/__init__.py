"""The journal in other programs' terms: one file a format, each a stream of text whatever the journal's length.

An export is whole: every entry, every posting, and at its end what each account holds, in a form that hledger and
beancount check for themselves. What is booked while an export is being written is left out of it.
"""

from collections.abc import Callable, Iterator, Mapping

from ledger.export.beancount import beancount
from ledger.export.csv import csv
from ledger.export.extract import Extract
from ledger.export.hledger import hledger
from ledger.export.json import json

FORMATS: Mapping[str, Callable[[Extract], Iterator[str]]] = {
    "hledger": hledger,
    "beancount": beancount,
    "json": json,
    "csv": csv,
}
