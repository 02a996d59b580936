"""What docs/counterfactual.md shows of replays, runs."""

from __future__ import annotations

import re
from pathlib import Path

import torch

PAGE = Path(__file__).resolve().parents[3] / "docs" / "counterfactual.md"


def test_the_page_s_replay_accounts_for_its_improvement() -> None:
    torch.set_default_dtype(torch.float32)  # as it is for a reader
    (section,) = re.findall(r"^## Replays.*?(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    namespace: dict[str, object] = {"__name__": "__main__"}
    exec(compile(block, str(PAGE), "exec"), namespace)
    replayed, record = namespace["replayed"], namespace["record"]
    assert replayed.improvement[0] > 0.1
    assert replayed.house == 0
    assert abs(replayed.gap[0]) < 1e-3 * replayed.improvement[0]
    assert (record.values == replayed.values).all()
