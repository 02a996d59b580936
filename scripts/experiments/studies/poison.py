"""Poison: who is found by what, what is left of an attack when it is left out, and what a strategy earns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fidelity.runner import Runner
from fidelity.tables import spread, table
from fidelity.training import Case

from studies import attacked_runs, payouts
from studies.attacked_runs import ALL, FIRST, OURS, OURS_BOTH, TRUSTED, WAYS
from studies.attacks import ATTACKS, AttackCase
from studies.payouts import HONEST, STRATEGIES, StrategyCase
from studies.report import COLOURS, Report, axes

TITLE = "Poison: a contributor who attacks"
SUCCESS = {"flips": "test error", "backdoor": "triggered taken for 0", "crafted": "target misread as wanted"}


@dataclass(frozen=True)
class Size:
    runs: tuple[tuple[str, str, float, int], ...]  # setting, optimizer, learning rate, epochs
    seeds: int
    games: tuple[tuple[str, float], ...]
    game_steps: int
    game_seeds: int


DIGITS, IMAGES = ("digits", "AdamW", 0.003, 5), ("images", "AdamW", 0.003, 3)
OTHERS = (("digits", "SGD", 0.2, 10), ("images", "momentum", 0.03, 3))
GAMES = (("SGD", 0.2), ("AdamW", 0.003))
SIZES = {
    "quick": Size((("digits", "AdamW", 0.003, 1),), 2, GAMES[:1], 3, 2),
    "default": Size((DIGITS, IMAGES), 3, GAMES, 100, 6),
    "full": Size((DIGITS, IMAGES, *OTHERS), 8, (*GAMES, ("SGD", 0.05), ("momentum", 0.05)), 200, 20),
}


def found_poison(case: AttackCase) -> dict[str, Any]:
    """One attacked run."""
    return attacked_runs.found_poison(case)


def shares(case: StrategyCase) -> dict[str, Any]:
    """One run with a strategist."""
    return payouts.shares(case)


def report(run: Runner, size: str) -> Report:
    """Detection, removal and payouts, with a picture."""
    chosen = SIZES[size]
    cases = [
        AttackCase(setting, "equal", optimizer, rate, 0, attack=attack, epochs=epochs)
        for setting, optimizer, rate, epochs in chosen.runs
        for attack in ATTACKS
    ]
    found = _seeded(run, found_poison, cases, chosen.seeds)
    games = [
        StrategyCase("digits", "equal", optimizer, rate, chosen.game_steps, strategy=strategy)
        for strategy in STRATEGIES
        for optimizer, rate in chosen.games
    ]
    paid = _seeded(run, shares, games, chosen.game_seeds)
    texts = [
        "The last of eight contributors attacks with half of its rows (one sixteenth of all). Area under the curve at "
        f"telling them, and the share found at 1 % false alarms, mean over {chosen.seeds} seeds:",
        table(["data", "update", "attack", *WAYS], [_detected(case, found[case]) for case in cases]),
        f"Thresholds set for 1 % by a trusted contributor ({TRUSTED}) or by the mirrored side: the share of innocent "
        "rows flagged / of bad rows flagged. First suspect: in how many runs the attacker is the one whose flags "
        "are least likely to be chance, on the clean task / with a task for the attack.",
        table(
            [
                "data",
                "update",
                "attack",
                *(f"{t}: {k}" for t in ("clean", "with a task") for k in KINDS),
                "first suspect",
            ],
            [_alarms(case, found[case]) for case in cases],
        ),
        "Success of the attack before, and after training again without what was flagged (trusted threshold), without "
        "the first suspect (with a task), and without all poison; in brackets the accuracy on clean test images:",
        table(
            ["data", "update", "attack", "success is", *AFTER.values()], [_after(case, found[case]) for case in cases]
        ),
        "One of eight with equal parts follows a strategy. Its share of the payout, negative values paid nothing, in "
        f"per cent: mean ± standard deviation over {chosen.game_seeds} seeds, and in brackets what it gains over "
        "honesty with the same seeds. Digits.",
        table(["strategy", *_columns(chosen), "what answers it"], [_paid(name, chosen, paid) for name in STRATEGIES]),
    ]
    return Report("\n\n".join(texts), {"poison.png": _picture(cases, found, chosen, paid)})


KINDS = ("trusted", "mirrored")
THRESHOLDS = [f"{tasks}: {kind}" for tasks in ("clean", "with a task") for kind in KINDS]
AFTER = {"before": "before", OURS: "without flagged, clean task", OURS_BOTH: "with a task"}
AFTER |= {FIRST: "without the first suspect", ALL: "without all poison"}


def _seeded(run: Runner, function: Callable[..., Any], cases: Sequence[Any], seeds: int) -> dict[Case, list[Any]]:
    jobs = [(replace(case, seed=seed), {}) for case in cases for seed in range(seeds)]
    results = iter(run(function, jobs))
    return {case: [next(results) for _ in range(seeds)] for case in cases}


def _name(case: AttackCase) -> list[str]:
    return [case.setting, case.update, case.attack]


def _detected(case: AttackCase, found: list[Any]) -> list[str]:
    cells = []
    for way in WAYS:
        area, rate = np.mean([one["ways"][way] for one in found], axis=0)
        cells.append(f"{area:.2f}, {rate:.0%}")
    return [*_name(case), *cells]


def _alarms(case: AttackCase, found: list[Any]) -> list[str]:
    cells = []
    for name in (OURS, OURS_BOTH):
        for kind in KINDS:
            alarms, hits = np.mean([one["alarms"][name][kind] for one in found], axis=0)
            cells.append(f"{alarms:.1%} / {hits:.0%}")
    first = [sum(one["first"][name] for one in found) for name in (OURS, OURS_BOTH)]
    return [*_name(case), *cells, f"{first[0]} / {first[1]} of {len(found)}"]


def _after(case: AttackCase, found: list[Any]) -> list[str]:
    cells = []
    for key in AFTER:
        success, accuracy = np.mean([one["before"] if key == "before" else one["after"][key] for one in found], axis=0)
        cells.append(f"{success:.1%} ({accuracy:.1%})")
    return [*_name(case), SUCCESS[case.attack], *cells]


def _columns(size: Size) -> list[str]:
    return [f"{optimizer} {rate:g}, {path}" for optimizer, rate in size.games for path in payouts.PATHS.values()]


def _gains(name: str, size: Size, paid: dict[Case, list[Any]]) -> dict[str, tuple[Any, Any]]:
    """By column: the shares, and what they gain over the honest ones of the same seeds, in per cent."""
    found = {}
    for optimizer, rate in size.games:
        mine, honest = (
            paid[StrategyCase("digits", "equal", optimizer, rate, size.game_steps, strategy=strategy)]
            for strategy in (name, HONEST)
        )
        for path in payouts.PATHS.values():
            one, other = (np.array([100 * seed[path] for seed in shares]) for shares in (mine, honest))
            found[f"{optimizer} {rate:g}, {path}"] = (one, one - other)
    return found


def _paid(name: str, size: Size, paid: dict[Case, list[Any]]) -> list[str]:
    cells = [
        spread(share, 1) + ("" if name == HONEST else f" ({gain.mean():+.1f})")
        for share, gain in _gains(name, size, paid).values()
    ]
    return [name, *cells, STRATEGIES[name][1] or "–"]


def _picture(cases: Sequence[AttackCase], found: dict[Case, list[Any]], size: Size, paid: dict[Case, list[Any]]) -> Any:
    figure, (left, right) = axes(2, width=11.0, height=4.2)
    width = 0.8 / len(WAYS)
    for number, way in enumerate(WAYS):
        heights = [np.mean([one["ways"][way][0] for one in found[case]]) for case in cases]
        at = [place + (number - (len(WAYS) - 1) / 2) * width for place in range(len(cases))]
        left.bar(at, heights, width * 0.9, label=way, color=COLOURS[number])
    left.axhline(0.5, color="#111827", linewidth=0.8)
    left.set_ylim(0, 1.35)
    left.set_ylabel("area under the curve")
    left.set_xticks(range(len(cases)), [f"{case.attack}\n{case.setting}" for case in cases], fontsize=8)
    left.legend(fontsize=7, ncols=2, loc="upper center", frameon=False)
    names = [name for name in STRATEGIES if name != HONEST]
    columns = _columns(size)
    for number, column in enumerate(columns):
        gains = [_gains(name, size, paid)[column][1] for name in names]
        at = [place + (number - (len(columns) - 1) / 2) * 0.8 / len(columns) for place in range(len(names))]
        right.errorbar(
            [gain.mean() for gain in gains],
            at,
            xerr=[gain.std(ddof=1) if len(gain) > 1 else 0 for gain in gains],
            fmt="o",
            markersize=4,
            linewidth=1,
            color=COLOURS[number],
            label=column,
        )
    right.axvline(0, color="#111827", linewidth=0.8)
    right.set_yticks(range(len(names)), names, fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("share of the payout, points above honesty")
    right.legend(fontsize=7, frameon=False)
    return figure
