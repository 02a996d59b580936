"""The gradients of large layers are computed by contributor only; here small ones too, where a test asks for it."""

from __future__ import annotations

import pytest


@pytest.fixture(params=[False, True], ids=["autograd's gradients", "the parts' sums"])
def replacing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Once as small models are metered, and once, from the second batch on, as large ones are: without any check."""
    if request.param:
        monkeypatch.setattr("attribution.ghost.providers.WORTH_REPLACING", 0)
        monkeypatch.setattr("attribution.ghost.gradients.CHECK_ALL", 0)
        monkeypatch.setattr("attribution.ghost.gradients.CHECK_ALWAYS", 0)
        monkeypatch.setattr("attribution.ghost.gradients.CHECK_SHARE", 1 << 60)
    return bool(request.param)
