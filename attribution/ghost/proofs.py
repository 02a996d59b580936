"""The row axes known so far: proved once for each signature of a call, or stated by the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from attribution.ghost.calls import RootCall
from attribution.ghost.expand import StandIns
from attribution.ghost.hooks import Hooks
from attribution.ghost.partition import Layout
from attribution.ghost.rows import CallFindings, Finding, prove_rows


class Proofs:
    """Findings by signature; `stated` gives the axis of the rows in the output of a module by its name."""

    def __init__(
        self, hooks: Hooks, stand_ins: StandIns, metered: Callable[[nn.Module], bool], stated: Mapping[str, int]
    ) -> None:
        self._hooks, self._stand_ins, self._metered = hooks, stand_ins, metered
        self._stated = dict(stated)
        self._known: dict[tuple[Any, ...], list[CallFindings]] = {}

    def known(self, root: RootCall) -> list[CallFindings] | None:
        """The findings for the calls in `root`, in order; None if they are still to be proved."""
        return self._known.get(root.signature())

    def keep(self, root: RootCall, findings: list[CallFindings], rows: int) -> None:
        """From now on, calls of this signature have these findings.

        An irregular order of rows, as of packed sequences, is this batch's own and proved again for the next.
        """
        layouts = [finding for call in findings for finding in call.outputs if isinstance(finding, Layout)]
        if all(layout.regular(rows) for layout in layouts):
            self._known[root.signature()] = findings

    def prove(
        self, root: RootCall, who: Tensor, axis: int | None, metered: Callable[[nn.Module], bool] | None = None
    ) -> list[CallFindings]:
        """Probe the call `root` (see `prove_rows`), row i being `who[i]`'s; `metered` says whose calls to see."""
        watched = metered or self._metered
        found = prove_rows(self._hooks, root, len(who), watched, self._stand_ins.instead_of, axis)
        return [self._with_stated(findings, len(who)) for findings in found]

    def _with_stated(self, findings: CallFindings, rows: int) -> CallFindings:
        axis = self._stated.get(findings.name)
        if axis is None:
            return findings

        def state(shape: tuple[int, ...], finding: Finding) -> Finding:
            if not -len(shape) <= axis < len(shape) or shape[axis] % rows:
                return finding
            return Layout(axis % len(shape), torch.arange(rows).repeat_interleave(shape[axis] // rows))

        outputs = [state(shape, finding) for shape, finding in zip(findings.shapes, findings.outputs, strict=True)]
        return CallFindings(findings.name, findings.shapes, outputs, findings.inputs)
