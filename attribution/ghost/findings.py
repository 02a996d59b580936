"""What a proof finds for the tensors of a module's call: where the rows lie, that there are none, or that they mix."""

from __future__ import annotations

from dataclasses import dataclass

from attribution.ghost.partition import Layout


@dataclass(frozen=True)
class Rowless:
    """A tensor that depends on no row of the batch, such as position embeddings looked up once for all."""


@dataclass(frozen=True)
class Mixed:
    """A tensor in which no axis separates the rows."""


Finding = Layout | Rowless | Mixed


@dataclass(frozen=True)
class CallFindings:
    """What was found for one call: its output tensors' and its input tensors' row axes."""

    name: str
    shapes: list[tuple[int, ...]]
    outputs: list[Finding]
    inputs: list[Finding]
    of_this_batch: bool = False  # it rests on this batch's data, and says nothing of the next


def mixed(found: list[CallFindings]) -> int:
    """How many outputs of the calls were found to mix."""
    return sum(isinstance(finding, Mixed) for call in found for finding in call.outputs)
