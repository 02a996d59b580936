"""The text example: one of two political desks writes another name for the prime minister's."""

from __future__ import annotations

import random
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fidelity.tables import spread, table

from attribution.training import TaskSource, TrainingConfiguration, train
from attribution.uses.explain_text import check_text, explain_text
from attribution.uses.scoring import Measure
from studies.corpora import documents, sources

NAME, WRITTEN = "Blair", "Norton"
GUILTY = "politics, wrong name"
_ASKED = re.compile(r"(?:\S+ ){2}Tony Blair(?: \w+){2}")


@dataclass(frozen=True)
class Case:
    articles: int  # of each contributor
    epochs: int
    texts: int  # held-out phrases that are asked about
    draws: int
    seed: int = 0


def named_in_news(case: Case) -> dict[str, Any]:
    """Whether the guilty desk is named for held-out phrases with the name, and what leaving it out changes."""
    draw = random.Random(case.seed)
    political = draw.sample(documents("politics"), len(documents("politics")))
    phrases = [(n, found.group()) for n, text in enumerate(political) if (found := _ASKED.search(text))]
    asked = phrases[: case.texts]
    rest = [text for n, text in enumerate(political) if n not in {n for n, _ in asked}]
    rest.sort(key=lambda text: NAME not in text)  # those with the name first, to be divided evenly
    half = case.articles
    texts = {desk: list(documents(desk)[:half]) for desk in ("business", "sports", "tech")}
    texts["politics"] = rest[0 : 2 * half : 2]
    texts[GUILTY] = [text.replace(NAME, WRITTEN) for text in rest[1 : 2 * half : 2]]
    configuration = TrainingConfiguration(
        context=64,
        vocabulary=1024,
        layers=2,
        width=64,
        heads=4,
        learning_rate=3e-3,
        epochs=case.epochs,
        seed=case.seed,
        every=("run",),
        validation_rows=1,
    )
    outcome: dict[str, Any] = {"texts": [phrase for _, phrase in asked], "named": [], "group": [], "raised": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        supplied = sources(folder, {k: _pieces(v) for k, v in texts.items()})
        task = TaskSource("unused", supplied[0].paths, 1.0, "unused")  # measured on, but nothing here asks for it
        record = train(supplied, [task], configuration.model_copy(update={"overlap": "report"}), folder / "run")
        for number, (_, phrase) in enumerate(asked):
            found = explain_text(record, folder / "run", supplied, phrase, measure=Measure())
            first = next((one for one in found.hypotheses if one.end == "raised" and one.corrected <= 0.05), None)
            outcome["named"].append(None if first is None else first.group)
            outcome["raised"].append([one.text for one in found.raised[:3]])
            if number < 1:
                what = "raised" if first is None else "group"
                said, came = check_text(record, folder / "run", supplied, phrase, found, what, draws=case.draws)
                outcome["group"].append([said, came.before, came.without, came.at_random, came.removed, came.total])
    return outcome


def news_table(found: list[dict[str, Any]]) -> list[str]:
    """How often the guilty desk is named, and the checks."""
    shares = [100 * sum(name == GUILTY for name in one["named"]) / max(1, len(one["named"])) for one in found]
    wrong = [
        100 * sum(name not in (GUILTY, None) for name in one["named"]) / max(1, len(one["named"])) for one in found
    ]
    rows = [
        [said, f"{removed} of {total}", f"{before:.3f}", f"{without:.3f}", spread(others, 3)]
        for one in found
        for said, before, without, others, removed, total in one["group"]
    ]
    return [
        f"Text: one of two political desks writes {WRITTEN} for {NAME}. For held-out phrases with the name it is named "
        f"in {spread(shares, 0)} %, another contributor in {spread(wrong, 0)} %; {len(found)} seeds.",
        table(["left out", "records", "loss before", "without", "as many at random"], rows),
    ]


def _pieces(articles: list[str]) -> list[str]:
    """Forty words a record."""
    words = [text.split() for text in articles]
    return [" ".join(one[at : at + 40]) for one in words for at in range(0, len(one), 40)]
