"""What the valuations of one run are called, in which commodity each is counted, and which of them is the dearer. Pure.

A run's own valuation is in nats, each other one in a commodity of its own, such as ``nat.retraining``: commodities
never mix, so no nat is counted twice, and every entry balances in its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ledger.money import NAT

LONGEST = 20  # characters of a name: beancount's commodities end at 24
PREFIX = f"{NAT}."
# What knows more about absence costs more trainings. Whatever is not named here was measured along the run.
DEARNESS: Mapping[str, int] = {"counterfactual": 1, "replay": 2, "retraining": 3}

_NAME = re.compile(r"[a-z0-9]+(?:[ _-][a-z0-9]+)*")


def own_name(details: Mapping[str, Any]) -> str:
    """What a record's own valuation is called: ``step``, ``8 steps`` or ``run`` by its paths, else as its method is.

    `details` are the record's; ``own`` where they say nothing of a method.
    """
    stated = details.get("method")
    method: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {"name": stated}
    name, every = method.get("name"), method.get("every")
    if name in DEARNESS or every is None:
        return str(name) if name else "own"
    return "run" if every == "run" else "step" if every == 1 else f"{every} steps"


def is_name(name: str) -> bool:
    """Whether a valuation beside a run's own may be called so."""
    return len(name) <= LONGEST and _NAME.fullmatch(name) is not None


def commodity_of(name: str) -> str:
    """What a valuation of this name is counted in: ``nat.8.steps`` of ``8 steps``."""
    return PREFIX + name.replace(" ", ".")


def is_nats(commodity: str) -> bool:
    """Whether a commodity is that of a valuation, and no money."""
    return commodity == NAT or commodity.startswith(PREFIX)


def is_dearer(name: str, than: str) -> bool:
    """Whether a valuation of the first name takes more trainings than one of the other."""
    return DEARNESS.get(name, 0) > DEARNESS.get(than, 0)
