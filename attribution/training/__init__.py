"""The reference trainer: text in, a small language model and its metered run record out.

torch and transformers are loaded only by what needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from attribution.training.configuration import TrainingConfiguration
from attribution.training.sources import Source, TaskSource

if TYPE_CHECKING:
    from attribution.training.picture import draw
    from attribution.training.run import train

__all__ = ["Source", "TaskSource", "TrainingConfiguration", "draw", "train"]

_LAZY = {"draw": "attribution.training.picture", "train": "attribution.training.run"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
