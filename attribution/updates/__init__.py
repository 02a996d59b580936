"""How an optimizer's step divides among contributors: one file an optimizer family (DESIGN §3.3)."""

from attribution.updates import (
    adadelta,
    adagrad,
    adam,
    adamax,
    asgd,
    lion,
    muon,
    nadam,
    radam,
    rmsprop,
    rprop,
    sgd,
)
from attribution.updates.rule import Share, Slot, UpdateRule, lifetime, register, rule_for

__all__ = [
    "Share",
    "Slot",
    "UpdateRule",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "asgd",
    "lifetime",
    "lion",
    "muon",
    "nadam",
    "radam",
    "register",
    "rmsprop",
    "rprop",
    "rule_for",
    "sgd",
]
