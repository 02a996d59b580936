"""Near-duplicates: whose records are, word for word or nearly, also another's.

Two records are alike by the Jaccard similarity of their word triples, in any order of the triples and whatever the
case and punctuation. It is estimated by MinHash (Broder 1997) from 128 permutations of fixed seed, with a standard
error of √(s (1 − s) / 128) at similarity s, 0.035 at 0.8; candidates are found by locality-sensitive hashing of bands.
Records are compared one with one: who joins several into one, splits them, or says the same in other words is not
found. Needs the library datasketch, which the extra `duplicates` installs.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger.batches import batches
from ledger.errors import MissingLibraryError, SimilarityError
from ledger.fingerprint import normalise

THRESHOLD = 0.8
PERMUTATIONS, SEED, SCHEME = 128, 1, "affine32"
SAMPLES = 3  # shown of a pair
_WORDS = 3  # of a shingle
_FOUND = 0.98  # the least probability with which records as alike as the threshold become candidates
_SHINGLES = 4096  # hashed at once
_EXCERPT = 120  # characters
# A word, or one sign of a script that writes words without spaces between them.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")

Watch = Callable[[Sequence[int]], Iterable[int]]


@dataclass(frozen=True)
class Side:
    """One of two contributors: how many of all their records the other holds too, copies counted."""

    contributor: str
    records: int
    verbatim: int  # the same but for white space at ends of lines
    alike: int  # these, and those that are nearly the same

    @property
    def share(self) -> float:
        """What part of the records the other holds too, verbatim or nearly."""
        return self.alike / self.records


@dataclass(frozen=True)
class Sample:
    """Two records that are alike, the beginning of each, and how alike they are estimated to be."""

    one: str
    other: str
    similarity: float


@dataclass(frozen=True)
class Pair:
    """Two contributors with records in common."""

    one: Side
    other: Side
    samples: tuple[Sample, ...]  # the first that are not verbatim the same, in the order of reading

    @property
    def names(self) -> tuple[str, str]:
        """Both contributors, in order."""
        return self.one.contributor, self.other.contributor

    @property
    def mutual_share(self) -> float:
        """The smaller of the two shares: near 1 only where both hold the same."""
        return min(self.one.share, self.other.share)


@dataclass(slots=True)
class _Text:
    """A record that was read, whoever holds it."""

    signature: Any
    excerpt: str
    copies: dict[str, int] = field(default_factory=dict)  # by contributor
    holders: int = 0  # a bit for each of these contributors


class RecordIndex:
    """Takes in contributors' records as a stream and keeps a signature of each, about 6 kB; then finds what is alike.

    Time grows with the records, and with the square of how many are like one another: boilerplate takes longest.

    Raises `SimilarityError` for a threshold that is not above 0 and at most 1, `MissingLibraryError`.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = proportion(threshold)
        try:
            from datasketch import LeanMinHash, MinHash, MinHashLSH
        except ModuleNotFoundError as error:
            raise MissingLibraryError("finding near-duplicates", "datasketch", "duplicates") from error
        self._empty = MinHash(num_perm=PERMUTATIONS, seed=SEED, scheme=SCHEME, hashfunc=zlib.crc32)
        self._lean = LeanMinHash
        # The library's own choice of bands misses six in ten of the records that are just as alike as the threshold.
        self._bands = MinHashLSH(num_perm=PERMUTATIONS, params=_bands(threshold), hashfunc=_short)
        self._texts: list[_Text] = []
        self._places: dict[bytes, int] = {}
        self._records: dict[str, int] = {}
        self._numbers: dict[str, int] = {}

    def add(self, contributor: str, record: str) -> None:
        """Take in one record. White space alone is none."""
        text = normalise(record)
        if not text:
            return
        self._records[contributor] = self._records.get(contributor, 0) + 1
        place = self._places.setdefault(
            hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), len(self._texts)
        )
        if place == len(self._texts):
            self._texts.append(_Text(self._signature(text), " ".join(text[: 2 * _EXCERPT].split())[:_EXCERPT]))
            self._bands.insert(place, self._texts[place].signature, check_duplication=False)
        held = self._texts[place]
        held.copies[contributor] = held.copies.get(contributor, 0) + 1
        held.holders |= 1 << self._numbers.setdefault(contributor, len(self._numbers))

    def watching(self, contributor: str, records: Iterable[str]) -> Iterator[str]:
        """The records, unchanged, taken in as they pass."""
        for record in records:
            self.add(contributor, record)
            yield record

    def pairs(self, watch: Watch = iter) -> list[Pair]:
        """All pairs of contributors with a record in common, largest share first. `watch` may show the progress."""
        found: dict[tuple[str, str], _Common] = {}
        for place in watch(range(len(self._texts))):
            self._compare(place, found)
        pairs = []
        for (one, other), common in found.items():
            if one < other:
                sides = self._side(one, common), self._side(other, found[other, one])
                pairs.append(Pair(*sides, samples=tuple(common.samples)))
        return sorted(pairs, key=lambda pair: (-max(pair.one.share, pair.other.share), pair.names))

    def _compare(self, place: int, found: dict[tuple[str, str], _Common]) -> None:
        """Count one text for everybody who holds it and everybody else who holds it, or one like it."""
        text = self._texts[place]
        verbatim = text.copies.keys()
        alike: dict[str, int] = {}  # who else has one like it, and the first such text
        missing = ((1 << len(self._numbers)) - 1) & ~text.holders
        for candidate in sorted(self._bands.query(text.signature)):
            new = self._texts[candidate].holders & missing  # a set, as bits: this is asked most often of all
            if new and self._similarity(place, candidate) >= self.threshold:
                alike |= dict.fromkeys(self._texts[candidate].copies.keys() - verbatim - alike.keys(), candidate)
                missing &= ~new
                if not missing:
                    break
        for one, copies in text.copies.items():
            for other in sorted((verbatim | alike.keys()) - {one}):
                common = found.setdefault((one, other), _Common())
                found.setdefault((other, one), _Common())
                common.alike += copies
                if other in verbatim:
                    common.verbatim += copies
                elif one < other and len(common.samples) < SAMPLES:
                    twin = alike[other]
                    similarity = self._similarity(place, twin)
                    common.samples.append(Sample(text.excerpt, self._texts[twin].excerpt, similarity))

    def _similarity(self, place: int, other: int) -> float:
        return float(self._texts[place].signature.jaccard(self._texts[other].signature))

    def _side(self, contributor: str, common: _Common) -> Side:
        return Side(contributor, self._records[contributor], common.verbatim, common.alike)

    def _signature(self, text: str) -> Any:
        sketch = self._empty.copy()
        for batch in batches(shingles(text), _SHINGLES):
            sketch.update_batch(batch)
        return self._lean(sketch)


@dataclass(slots=True)
class _Common:
    verbatim: int = 0
    alike: int = 0
    samples: list[Sample] = field(default_factory=list)


def shingles(text: str) -> set[bytes]:
    """The word triples of a text, without case and punctuation; all its words where there are fewer than three."""
    words = _WORD.findall(text.casefold()) or [text]
    starts = range(max(len(words) - _WORDS + 1, 1))
    return {" ".join(words[start : start + _WORDS]).encode("utf-8", "surrogatepass") for start in starts}


def clusters(pairs: Iterable[Pair], share: float) -> list[list[str]]:
    """Contributors who hold the same, each cluster and all of them in order.

    Two are in one cluster where each has at least this share of their records in common with the other, or where
    others link them so. That one of them holds much more besides keeps two apart: they are not the same. Raises
    `SimilarityError`.
    """
    proportion(share)
    cluster: dict[str, set[str]] = {}
    for pair in pairs:
        if pair.mutual_share >= share:
            one, other = pair.names
            joined = cluster.get(one, {one}) | cluster.get(other, {other})
            cluster |= dict.fromkeys(joined, joined)
    return [list(members) for members in sorted({tuple(sorted(members)) for members in cluster.values()})]


def proportion(given: float) -> float:
    """The number itself, where it is above 0 and at most 1. Raises `SimilarityError`."""
    if not 0 < given <= 1:
        raise SimilarityError(given)
    return given


def _bands(threshold: float) -> tuple[int, int]:
    """How many bands of how many rows: the longest with which records as alike as the threshold are rarely missed."""
    for rows in range(PERMUTATIONS // 2, 0, -1):
        number = PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** number >= _FOUND:
            return number, rows
    return PERMUTATIONS, 1


def _short(band: bytes) -> bytes:
    return hashlib.blake2b(band, digest_size=8).digest()
