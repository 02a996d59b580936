"""How an optimizer's step divides among contributors: one file an optimizer family (DESIGN §3.3)."""

from attribution.updates import adam, sgd
from attribution.updates.rule import Share, Slot, UpdateRule, lifetime, register, rule_for

__all__ = ["Share", "Slot", "UpdateRule", "adam", "lifetime", "register", "rule_for", "sgd"]
