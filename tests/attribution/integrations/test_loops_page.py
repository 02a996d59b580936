"""What docs/loops.md says is so: its Python runs as it stands, with the set-up that the page does not show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.test_readme import ROOT, python_of

PAGE = ROOT / "docs" / "loops.md"


def test_every_python_block_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    namespace: dict[str, object] = {"__name__": "__main__"}
    blocks = list(python_of(PAGE.read_text()))
    assert len(blocks) == 6
    for line, code in blocks:
        exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), namespace)
