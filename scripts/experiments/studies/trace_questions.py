"""What the trace experiment asks: a corpus in samples, sources among them, and five kinds of query for each."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from studies.corpora import DESKS, documents
from studies.paraphrase import halves, light, significant, synonyms_among

KINDS = ("verbatim", "half of it", "light paraphrase", "significant paraphrase", "same article")


@dataclass(frozen=True)
class Case:
    """A corpus, a model trained on it, and the sources that are asked for."""

    articles: int
    chunks: int  # of an article, each a sample of about a block
    words: int  # of a chunk
    sources: int
    epochs: float
    fit: int  # samples that preconditioners are fitted on
    embeddings: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Question:
    """Samples by contributor, and queries of each kind with the number of their source and of its article's samples."""

    samples: dict[str, list[str]]
    queries: list[tuple[str, str]]  # kind and text
    source: list[int]  # among all samples in order
    article: list[list[int]]

    @property
    def texts(self) -> list[str]:
        return [text for found in self.samples.values() for text in found]


@cache
def question(case: Case) -> Question:
    """The seed decides on sources and paraphrases; a source's next chunk is asked for and not trained on."""
    draw = random.Random(case.seed)
    chunked = {desk: [] for desk in DESKS}
    for desk in DESKS:
        for text in documents(desk)[: case.articles // len(DESKS)]:
            words = text.split()
            parts = [" ".join(words[at : at + case.words]) for at in range(0, len(words), case.words)]
            if len(parts) > case.chunks:
                chunked[desk].append(parts[: case.chunks])
    places = [(desk, number) for desk in DESKS for number in range(len(chunked[desk]))]
    chosen = set(draw.sample(places, case.sources))
    samples: dict[str, list[str]] = {}
    asked: list[tuple[int, list[int], str, str]] = []
    total = 0
    for desk, articles in chunked.items():
        mine = samples.setdefault(desk, [])
        for number, parts in enumerate(articles):
            at = total + len(mine)
            if (desk, number) in chosen:
                source = case.chunks - 2
                asked.append((at + source, list(range(at, at + case.chunks - 1)), parts[source], parts[source + 1]))
                mine.extend(parts[: source + 1])
            else:
                mine.extend(parts)
        total += len(mine)
    synonyms = synonyms_among(text for found in samples.values() for text in found)
    queries, places_of, articles_of = [], [], []
    for place, article, text, following in asked:
        said = (text, halves(text), light(text, synonyms, draw), significant(text, synonyms, draw), following)
        queries += list(zip(KINDS, said, strict=True))
        places_of += [place] * len(KINDS)
        articles_of += [article] * len(KINDS)
    return Question(samples, queries, places_of, articles_of)
