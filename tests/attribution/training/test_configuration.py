"""A configuration that makes no sense is refused in one line that names the parameter."""

from __future__ import annotations

import pytest

from attribution.training.configuration import TrainingConfiguration
from attribution.training.errors import ConfigurationError


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"vocabulary": 100}, "vocabulary: "),
        ({"context": 1}, "context: "),
        ({"learning_rate": 0}, "learning_rate: "),
        ({"learning_rate": float("inf")}, "learning_rate: "),
        ({"size": "enormous"}, "size: "),
        ({"optimizer": "lion"}, "optimizer: "),
        ({"momentum": 1.0}, "momentum: "),
        ({"sede": 1}, "sede: "),
        ({"width": 30, "heads": 4}, "width 30 is not a multiple of heads 4"),
        ({"model": "checkpoint", "layers": 2}, "belong to a size"),
        ({"method": "magic"}, "method: "),
        ({"every": ["week"]}, "every: a path covers a number of steps"),
        ({"every": [0]}, "every: a path covers a number of steps"),
        ({"every": ["-3"]}, "every: a path covers a number of steps"),
        ({"every": []}, "each length of path is named once, not never"),
        ({"every": [5, "run", "5"]}, "each length of path is named once, not 5, run, 5"),
        ({"memory": "small"}, "memory: "),
        ({"memory": "ghost", "every": "run"}, "memory ghost keeps no displacements"),
        ({"memory": "ghost", "method": "exact"}, "memory ghost keeps no displacements"),
        ({"scores": True, "every": [2, 1]}, "scores need a path for each step"),
        ({"scores": True, "method": "exact"}, "scores need a path for each step"),
    ],
)
def test_nonsense_is_refused_by_name(parameters: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TrainingConfiguration.of(**parameters)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_explicit_numbers_replace_those_of_the_size() -> None:
    assert TrainingConfiguration.of(size="tiny").shape == (2, 128, 4)
    assert TrainingConfiguration.of(size="tiny", width=64, layers=1).shape == (1, 64, 4)


@pytest.mark.parametrize(
    ("given", "found"), [(5, (5,)), ("run", ("run",)), (["1", "run", "20"], (1, "run", 20)), ((1, "run"), (1, "run"))]
)
def test_lengths_of_paths_are_numbers_of_steps_or_the_run(given: object, found: tuple[object, ...]) -> None:
    configuration = TrainingConfiguration.of(every=given)
    assert configuration.every == found
    assert configuration.model_dump(mode="json")["every"] == list(found)
