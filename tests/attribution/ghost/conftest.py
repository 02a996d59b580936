"""The gradients of large layers are computed by contributor only; here small ones too, where a test asks for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture(params=[False, True], ids=["autograd's gradients", "the parts' sums"])
def replacing(
    request: pytest.FixtureRequest, matrices_large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once as small models are metered, and once, from the second batch on, as large ones are: without any check."""
    if request.param:
        matrices_large()
        monkeypatch.setattr("attribution.ghost.checks.CHECK_SHARE", 1 << 60)
