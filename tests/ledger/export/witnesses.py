"""The outside programs: what hledger and beancount make of an export, through their own front doors."""

from __future__ import annotations

import csv
import decimal
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from urllib.parse import unquote

import pytest
from beancount import loader
from beancount.core import inventory
from beancount.core.data import Open, Transaction

from ledger.balances import totals
from ledger.database import Ledger
from ledger.export import FORMATS
from ledger.export.extract import Extract
from ledger.export.names import account_from_beancount, commodity_from_beancount
from ledger.money import format_units

Balances = dict[tuple[str, str], Decimal]
Told = dict[int, dict[str, str]]  # by entry: its kind, subject and tags


def exported(books: Ledger, format: str) -> str:
    """The export as one text."""
    with books.reading() as session:
        return "".join(FORMATS[format](Extract(session)))


def ours(books: Ledger) -> Balances:
    """What our books say that accounts hold, debits positive."""
    with books.reading() as session:
        exponents = Extract(session).exponents
        return {
            (total.account, total.commodity): Decimal(
                format_units(total.debit - total.credit, exponents[total.commodity])
            )
            for total in totals(session)
        }


# hledger


def hledger(text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run hledger on a journal."""
    if shutil.which("hledger") is None:
        pytest.fail("hledger is missing, which checks the exports; on Debian: apt-get install hledger")
    command = ["hledger", "--file", "-", *words]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, input=text, capture_output=True, text=True, env=environment, timeout=120)


def hledger_refusal(text: str) -> str:
    """What hledger finds wrong; nothing where everything holds."""
    ran = hledger(text, "check", "--strict")
    return ran.stderr if ran.returncode else ""


def hledger_balances(text: str) -> Balances:
    """What accounts hold by hledger's sums."""
    ran = hledger(text, "balance", "--flat", "--no-total", "--empty", "--layout", "bare", "--output-format", "csv")
    assert ran.returncode == 0, ran.stderr
    rows = csv.DictReader(ran.stdout.splitlines())
    return {(row["account"], row["commodity"]): Decimal(row["balance"]) for row in rows if row["commodity"]}


def hledger_accounts(text: str) -> set[str]:
    """The accounts that hledger was told of."""
    return set(hledger(text, "accounts", "--declared").stdout.split())


def hledger_told(text: str) -> Told:
    """What hledger knows of each entry."""
    ran = hledger(text, "print", "--output-format", "json")
    assert ran.returncode == 0, ran.stderr
    told = {}
    for transaction in json.loads(ran.stdout):
        if transaction["tcode"]:
            kind, _, subject = transaction["tdescription"].partition(" | ")
            tags = {name: unquote(value) for name, value in transaction["ttags"]}
            told[int(transaction["tcode"])] = {
                **tags,
                "day": transaction["tdate"],
                "kind": unquote(kind),
                "subject": unquote(subject),
            }
    return told


# beancount


def beancount_refusal(text: str) -> str:
    """What beancount finds wrong; nothing where everything holds."""
    _, errors, _ = loader.load_string(text)
    return "\n".join(error.message for error in errors)


def beancount_balances(text: str) -> Balances:
    """What accounts hold by beancount's sums, under our names."""
    held: dict[str, inventory.Inventory] = {}
    for transaction in _transactions(text):
        for posting in transaction.postings:
            held.setdefault(posting.account, inventory.Inventory()).add_position(posting)
    return {
        (account_from_beancount(account), commodity_from_beancount(position.units.currency)): position.units.number
        for account, positions in held.items()
        for position in positions
    }


def beancount_accounts(text: str) -> set[str]:
    """The accounts that beancount was told of, under our names."""
    entries, _, _ = loader.load_string(text)
    return {account_from_beancount(entry.account) for entry in entries if isinstance(entry, Open)}


def beancount_told(text: str) -> Told:
    """What beancount knows of each entry."""
    told = {}
    for transaction in _transactions(text):
        meta = {name: value for name, value in transaction.meta.items() if name not in ("filename", "lineno")}
        sequence = int(meta.pop("sequence"))
        said = {name: str(value) for name, value in meta.items() if not name.startswith("__")}
        day = transaction.date.isoformat()
        told[sequence] = {**said, "day": day, "kind": transaction.payee, "subject": transaction.narration}
    return told


def _transactions(text: str) -> Iterator[Transaction]:
    entries, errors, _ = loader.load_string(text)
    assert errors == []
    return (entry for entry in entries if isinstance(entry, Transaction))


def widened(digits: int) -> decimal.Context:
    """What a beancount that counts with so many digits is run in."""
    return decimal.Context(prec=digits)


REFUSAL: Mapping[str, Callable[[str], str]] = {"hledger": hledger_refusal, "beancount": beancount_refusal}
BALANCES: Mapping[str, Callable[[str], Balances]] = {"hledger": hledger_balances, "beancount": beancount_balances}
ACCOUNTS: Mapping[str, Callable[[str], set[str]]] = {"hledger": hledger_accounts, "beancount": beancount_accounts}
TOLD: Mapping[str, Callable[[str], Told]] = {"hledger": hledger_told, "beancount": beancount_told}
