"""Who follows docs/extending.md to the letter has an optimizer rule and a layer rule that are right."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from attribution.errors import ReconciliationError, UnsupportedOptimizerError
from attribution.ghost import rule as layer_rules
from attribution.ghost.providers import Providers
from attribution.updates import rule as update_rules
from tests.attribution.ghost.metered import ROWS, WHO, assert_equal, metered_parts
from tests.attribution.oracle import contributor_gradients

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"# (\w+\.py)\n")


def no_fallback(*_: object, **__: object) -> None:
    raise AssertionError("a module without a rule, or whose rule's parts do not add up")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Does what the page says: blocks with a name are saved under it, the others run in their order."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(update_rules, "_rules", dict(update_rules._rules))
    monkeypatch.setattr(layer_rules, "_kinds", dict(layer_rules._kinds))
    monkeypatch.setattr(Providers, "by_fallback", no_fallback)
    torch.set_default_dtype(torch.float32)  # as it is for a reader
    namespace: dict[str, object] = {"__name__": "__main__"}

    def follow(page: str) -> dict[str, object]:
        for block in _BLOCK.findall(page):
            if named := _NAME.match(block):
                (tmp_path / named[1]).write_text(block)
            else:
                exec(compile(block, str(PAGE), "exec"), namespace)
        return namespace

    before = set(sys.modules)
    yield follow
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


def test_the_page_s_rules_pass_the_page_s_checks(reader) -> None:
    record = reader(PAGE.read_text())["record"]
    assert record.complete
    assert (record.values[2] == 0).all()


def test_the_page_s_layer_rule_is_right_by_our_oracle_too(reader) -> None:
    layer = reader(PAGE.read_text())["GainedLinear"]
    torch.set_default_dtype(torch.float64)
    model, inputs = nn.Sequential(layer(8, 5), nn.Tanh(), layer(5, 3)), torch.randn(ROWS, 2, 8)

    def loss(outputs: torch.Tensor) -> torch.Tensor:
        return functional.softplus(outputs).square().mean()

    assert_equal(metered_parts(model, [(inputs, WHO, loss)]), contributor_gradients(model, inputs, loss, WHO, 4))


WRONG = {
    "momentum": ("slot.memory.mul_(momentum)", "slot.memory.mul_(0.5)", ReconciliationError),
    "scale": ('+ slot.options["eps"])', '+ 2 * slot.options["lr"])', ReconciliationError),
    "decay": ("(rate * slot", "(2 * rate * slot", ReconciliationError),
    "no rule": ('@register("scaled', '@register("another', UnsupportedOptimizerError),
    "contributors exchanged": (
        "slot.memory.mul_(momentum).add_(slot.gradient)",
        "slot.memory.mul_(momentum).add_(slot.gradient[[1, 0, 2, 3]])",
        AssertionError,
    ),
    "layer": ("call.output_gradient * layer.gain,", "2 * call.output_gradient * layer.gain,", AssertionError),
    "no layer rule": ('@layer_rule("gained', '@layer_rule("another', AssertionError),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_page_s_checks_bite(what: str, reader) -> None:
    right, wrong, error = WRONG[what]
    page = PAGE.read_text()
    assert page.count(right) == 1
    with pytest.raises(error):
        reader(page.replace(right, wrong))


def test_the_page_names_files_that_exist() -> None:
    named = re.findall(r"`(attribution/[\w/]+\.py)`", PAGE.read_text())
    assert len(named) >= 5
    assert [name for name in named if not (PAGE.parents[1] / name).is_file()] == []
