"""What docs/replication.md says of two small games, computed by the Shapley value's definition."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from attribution import InRunShapley
from attribution.exact import shapley
from tests.test_readme import commands_of, missing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "replication.md"
ROWS = re.findall(
    r"^\| (independent|substitutes) \| (\d) \| (\S+) \| (\S+) \| (\S+) \|$", PAGE.read_text(), re.MULTILINE
)

GAMES: dict[str, Callable[[bool, bool], int]] = {
    "independent": lambda a, b: int(a) + int(b),
    "substitutes": lambda a, b: int(a or b),
}


def values(game: str, copies: int) -> list[float]:
    """Of B, of A, and of each copy of A."""
    return [float(v) for v in shapley(lambda mask: GAMES[game](mask[1:].any(), mask[0]), 2 + copies)]


def test_the_page_has_its_table() -> None:
    assert len(ROWS) == 6


@pytest.mark.parametrize(("game", "copies", "original", "all_copies", "other"), ROWS)
def test_what_the_page_says_of_copies_is_the_shapley_value(
    game: str, copies: str, original: str, all_copies: str, other: str
) -> None:
    b, a, *rest = values(game, int(copies))
    assert [a, sum(rest), b] == pytest.approx([float(Fraction(said)) for said in (original, all_copies, other)])
    assert np.ptp([a, *rest]) == pytest.approx(0), "symmetry pays a copy like the original"
    assert a + sum(rest) + b == pytest.approx(GAMES[game](True, True)), "efficiency: what copies get, others miss"


@pytest.mark.parametrize("game", GAMES)
def test_as_one_player_the_original_and_its_copies_get_what_the_original_would_get(game: str) -> None:
    assert values(game, 0)[1] == pytest.approx(float(Fraction(next(row[2] for row in ROWS if row[:2] == (game, "0")))))


def digit_values(players: list[int]) -> list[float]:
    """Shares by player; `players` are whose rows those of a, b, c, d and, if given, of the copy of a are."""
    loaded = load_digits()
    shuffled = torch.randperm(len(loaded.data), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(loaded.data / 16, dtype=torch.float32)[shuffled]
    labels = torch.tensor(loaded.target)[shuffled]
    blocks = [0, 150, 300, 450, 0][: len(players)]
    rows = torch.cat([torch.arange(begin, begin + 150) for begin in blocks])
    owners = torch.tensor(players).repeat_interleave(150)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    order = torch.Generator().manual_seed(1)
    meter = InRunShapley(
        model,
        optimizer,
        lambda m: functional.cross_entropy(m(images[1200:]), labels[1200:]),
        list("abcde"[: max(players) + 1]),
    )
    for _ in range(3):
        for chosen in torch.randperm(len(rows), generator=order).split(32):
            with meter.batch(owners[chosen]):
                optimizer.zero_grad()
                functional.cross_entropy(model(images[rows[chosen]]), labels[rows[chosen]]).backward()
            optimizer.step()
    values = meter.finish().values[:, 0]
    return list(values / values.sum())


def test_what_the_page_says_of_copied_rows_is_measured() -> None:
    without, copied, grouped = digit_values([0, 1, 2, 3]), digit_values([0, 1, 2, 3, 4]), digit_values([0, 1, 2, 3, 0])
    table = re.findall(r"^\| .+ \| (\d+) % \| (–|\d+ %) \| (\d+) % \|$", PAGE.read_text(), re.MULTILINE)
    said = [[float(cell.removesuffix(" %").replace("–", "0")) / 100 for cell in row] for row in table]
    found = [[shares[0], sum(shares[4:]), sum(shares[1:4])] for shares in (without, copied, grouped)]
    assert np.array(found) == pytest.approx(np.array(said), abs=0.006)
    assert grouped[0] == pytest.approx(copied[0] + copied[4], rel=1e-5), "names gain nothing: rows do"


def test_the_pages_commands_have_only_options_that_exist() -> None:
    lines = "\n".join(re.findall(r"^    (ghostledger .+)$", PAGE.read_text(), re.MULTILINE))
    commands = commands_of(f"```bash\n{lines}\n```\n")
    assert len(commands) == 5
    assert [what for words in commands if (what := missing(words))] == []
