"""Explaining wrong predictions: is the contributor with systematic mislabels named, and what does removal change?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fidelity.materials import materials
from fidelity.models import BUILDERS, mean_loss
from fidelity.runner import Runner
from fidelity.tables import spread, table
from torch import Tensor, nn
from torch.nn import functional

from attribution.uses.explain import explain
from attribution.uses.hypotheses import Hypothesis
from attribution.uses.tracer import Tracer
from studies.explain_news import Case as NewsCase
from studies.explain_news import named_in_news, news_table
from studies.report import Report

TITLE = "Explain: who made the model say this"
TRUE, SAID, GUILTY = 4, 9, 0  # the guilty contributor calls every four of its own a nine
CONTRIBUTORS = 8
WAYS = ("gradients", "nearest, pixels", "nearest, features")


@dataclass(frozen=True)
class Case:
    """A training with one guilty contributor, and how many of its wrong predictions are explained and checked."""

    setting: str
    share: float  # of all fours, which the guilty contributor holds
    epochs: int
    rate: float
    checked: int  # predictions whose top samples are removed, one training each
    draws: int
    extremes: int = 20
    seed: int = 0


@dataclass(frozen=True)
class Size:
    case: Case
    seeds: int
    news: NewsCase
    news_seeds: int


SIZES = {
    "quick": Size(Case("digits", 0.5, 4, 0.01, 1, 1), 1, NewsCase(6, 1, 1, 1), 1),
    "default": Size(Case("images", 0.4, 3, 0.003, 4, 3), 3, NewsCase(30, 3, 4, 2), 2),
    "full": Size(Case("images", 0.4, 5, 0.003, 8, 5), 8, NewsCase(120, 3, 8, 3), 5),
}


@dataclass(frozen=True)
class Pool:
    """Training rows and, after them, held-out ones; targets as the contributors gave them."""

    inputs: Tensor
    targets: Tensor
    owner: list[int]  # of the training rows

    @property
    def training(self) -> int:
        return len(self.owner)


@cache
def pool(setting: str, share: float) -> Pool:
    """Equal parts, but that the guilty contributor holds `share` of the fours and calls them nines."""
    data = materials(setting, "equal")
    fours = (data.clean == TRUE).nonzero().reshape(-1)
    draw = np.random.default_rng(7)
    own = draw.permutation(fours.numpy())[: round(share * len(fours))]
    rest = draw.permutation(np.setdiff1d(np.arange(len(data.clean)), own))
    owner, each = np.full(len(data.clean), -1), len(data.clean) // CONTRIBUTORS
    owner[own] = GUILTY
    more = max(0, each - len(own))
    owner[rest[:more]] = GUILTY
    owner[rest[more:]] = 1 + np.arange(len(rest) - more) % (CONTRIBUTORS - 1)
    targets = data.clean.clone()
    targets[(torch.from_numpy(owner) == GUILTY) & (data.clean == TRUE)] = SAID
    inputs = torch.cat([data.inputs, data.held_inputs])
    return Pool(inputs, torch.cat([targets, data.held_targets]), owner.tolist())


def trained(case: Case, without: Sequence[int] = ()) -> nn.Module:
    """The model after the case's epochs on all training rows but some."""
    data = pool(case.setting, case.share)
    kept = torch.from_numpy(np.setdiff1d(np.arange(data.training), np.asarray(without, dtype=np.int64)))
    torch.manual_seed(case.seed)
    model = BUILDERS[case.setting]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=case.rate)
    draw = torch.Generator().manual_seed(case.seed)
    for _ in range(case.epochs):
        for at in torch.randperm(len(kept), generator=draw).split(64):
            mean_loss(model, data.inputs[kept[at]], data.targets[kept[at]]).backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


def losses(case: Case, model: nn.Module, rows: Sequence[int]) -> npt.NDArray[np.float64]:
    """Of each row, with the label that it should have."""
    data, at = pool(case.setting, case.share), torch.tensor(list(rows))
    with torch.no_grad():
        each = functional.cross_entropy(model(data.inputs[at]), data.targets[at], reduction="none")
    return each.double().numpy()


def explained(case: Case) -> dict[str, Any]:
    """Of one seed: which groups are named for each wrong prediction, and what removals change."""
    data, model = pool(case.setting, case.share), trained(case)
    held = np.arange(data.training, len(data.inputs))
    with torch.no_grad():
        said = model(data.inputs[held]).argmax(1).numpy()
        features = model[:-1](data.inputs).flatten(1).double()
    truth = data.targets[held].numpy()
    wrong = held[said != truth]
    guilt = held[(truth == TRUE) & (said == SAID)]
    scores = _scores(case, model, wrong)
    ranked = {
        "gradients": scores,
        "nearest, pixels": torch.cdist(*_split(data.inputs.flatten(1).double(), data.training, wrong)).numpy(),
        "nearest, features": torch.cdist(*_split(features, data.training, wrong)).numpy(),
    }
    groups = {
        "contributor": [str(who) for who in data.owner],
        "label": [str(label) for label in data.targets[: data.training].tolist()],
        "cluster": [str(c) for c in _clusters(features[: data.training].numpy())],
    }
    named: dict[str, list[dict[str, str]]] = {way: [] for way in WAYS}
    for column in range(len(wrong)):
        for way in WAYS:
            named[way].append(_named(ranked[way][:, column], groups, case.extremes))
    before = losses(case, model, wrong)
    draw = np.random.default_rng(case.seed)
    mine = [n for n, who in enumerate(data.owner) if who == GUILTY]
    group = losses(case, trained(case, mine), wrong)
    others = [
        losses(case, trained(case, draw.choice(data.training, len(mine), replace=False).tolist()), wrong)
        for _ in range(case.draws)
    ]
    guilty_columns = [n for n, row in enumerate(wrong) if row in set(guilt.tolist())]
    few = guilty_columns[: case.checked]
    single: dict[str, list[float]] = {way: [] for way in (*WAYS, "random")}
    for column in few:
        for way in WAYS:
            top = np.argsort(ranked[way][:, column], kind="stable")[: case.extremes].tolist()
            single[way].append(float(losses(case, trained(case, top), [int(wrong[column])])[0]))
    chance = [draw.choice(data.training, case.extremes, replace=False).tolist() for _ in range(case.draws)]
    by_chance = [losses(case, trained(case, rows), wrong[few]) for rows in chance] if few else []
    shown = few[0] if few else 0
    order = np.argsort(scores[:, shown], kind="stable")
    return {
        "wrong": wrong.tolist(),
        "guilty": guilty_columns,
        "named": named,
        "before": before.tolist(),
        "group": group.tolist(),
        "random group": [found.tolist() for found in others],
        "few": few,
        "single": single | {"random": [found.tolist() for found in by_chance]},
        "picture": {
            "asked": int(wrong[shown]) if len(wrong) else 0,
            "said": int(said[wrong[shown] - data.training]),
            "raised": order[:8].tolist(),
            "lowered": order[::-1][:8].tolist(),
        },
    }


def _split(rows: Tensor, training: int, asked: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    return rows[:training].contiguous(), rows[torch.from_numpy(asked)].contiguous()


def _scores(case: Case, model: nn.Module, asked: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """What each training row does to the loss of each asked row, ``[training, asked]``."""
    data = pool(case.setting, case.share)

    def loss(model: nn.Module, rows: Tensor) -> Tensor:
        return functional.cross_entropy(model(data.inputs[rows]), data.targets[rows], reduction="sum")

    with Tracer(model, loss) as tracer:
        directions = torch.stack([tracer.gradient([torch.tensor(row)]) for row in asked.tolist()])
        batches = torch.arange(data.training).split(256)
        return np.concatenate([tracer.scores(rows, directions) for rows in batches])


def _clusters(features: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    from sklearn.cluster import KMeans

    found: npt.NDArray[np.int64] = KMeans(20, n_init=1, random_state=0).fit_predict(features).astype(np.int64)
    return found


def _named(scores: npt.NDArray[np.float64], groups: dict[str, list[str]], extremes: int) -> dict[str, str]:
    """The group of each grouping that is surprisingly frequent among those that score least, where one is."""
    # Distances have no sign: what is near comes first, as what raised the loss does.
    found: list[Hypothesis] = explain(scores - scores.max() - 1, groups, extremes=extremes).hypotheses
    return {one.grouping: one.group for one in reversed(found) if one.end == "raised" and one.corrected <= 0.05}


def report(run: Runner, size: str) -> Report:
    """Hit rates, checks and the picture of one digit; and the same of a sentence."""
    chosen = SIZES[size]
    cases = [replace(chosen.case, seed=seed) for seed in range(chosen.seeds)]
    found = run(explained, [(case, {}) for case in cases])
    rows = []
    for way in WAYS:
        hits = {what: [] for what in ("contributor", "label")}
        false = []
        for one in found:
            names, guilty = one["named"][way], set(one["guilty"])
            hits["contributor"].append(_share([names[n].get("contributor") == str(GUILTY) for n in guilty]))
            hits["label"].append(_share([names[n].get("label") == str(SAID) for n in guilty]))
            others = [n for n in range(len(names)) if n not in guilty]
            false.append(_share([names[n].get("contributor") == str(GUILTY) for n in others]))
        rows.append([way, *(spread(100 * np.array(v), 0) for v in (*hits.values(), false))])
    guilty_count = [len(one["guilty"]) for one in found]
    wrong_count = [len(one["wrong"]) for one in found]
    columns = ["the 20 samples", "guilty contributor named, %", "label 9 named, %", "guilty named for other errors, %"]
    said = [
        f"One of {CONTRIBUTORS} contributors holds {chosen.case.share:.0%} of all fours and calls them nines. "
        f"Of {spread(wrong_count, 0)} wrong held-out predictions {spread(guilty_count, 0)} are fours called nines; "
        f"{chosen.seeds} seeds.",
        table(columns, rows),
        "What training again changed, in nats of the loss of fours called nines (negative is better):",
        table(["left out", "change of the loss", "now right, %"], _checks(found)),
        *news_table(run(named_in_news, [(replace(chosen.news, seed=s), {}) for s in range(chosen.news_seeds)])),
    ]
    return Report("\n\n".join(said), {"explain.png": _picture(cases[0], found[0]["picture"])})


def _share(flags: Sequence[bool]) -> float:
    return float(np.mean(flags)) if flags else 0.0


def _checks(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows: dict[str, tuple[list[float], list[float]]] = {}

    def add(name: str, before: npt.ArrayLike, after: npt.ArrayLike) -> None:
        changes, right = rows.setdefault(name, ([], []))
        changes.append(float(np.mean(np.subtract(after, before))))
        right.append(100 * float(np.mean(np.asarray(after) < np.log(2))))  # a probability above one half

    for one in found:
        if not one["guilty"]:
            continue
        before, few = np.array(one["before"]), one["few"]
        add("the guilty contributor", before[one["guilty"]], np.array(one["group"])[one["guilty"]])
        for after in one["random group"]:
            add("as many samples at random", before[one["guilty"]], np.array(after)[one["guilty"]])
        for way in WAYS:
            add(f"20 samples by {way}", before[few], one["single"][way])
        for after in one["single"]["random"]:
            add("20 samples at random", before[few], after)
    return [[name, spread(changes), spread(right, 0)] for name, (changes, right) in rows.items()]


def _picture(case: Case, shown: dict[str, Any]) -> Any:
    from attribution.uses.sample_grid import sample_grid

    data = pool(case.setting, case.share)
    side = 8 if case.setting == "digits" else 28

    def image(row: int) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = data.inputs[row].reshape(side, side).double().numpy()
        return found

    def called(row: int) -> str:
        return f"{int(data.targets[row])}, of {'guilty' if data.owner[row] == GUILTY else data.owner[row]}"

    asked = shown["asked"]
    return sample_grid(
        image(asked),
        f"a {int(data.targets[asked])}, called {shown['said']}",
        {
            "raised its loss": [(image(row), called(row)) for row in shown["raised"]],
            "lowered it": [(image(row), called(row)) for row in shown["lowered"]],
        },
    )
