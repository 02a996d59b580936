"""The row axes known so far: proved once for each signature of a call, or stated by the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attribution.errors import RowAxisError
from attribution.ghost.by_contributor import prove_contributors
from attribution.ghost.calls import RootCall
from attribution.ghost.expand import StandIns
from attribution.ghost.findings import CallFindings, Finding, mixed
from attribution.ghost.hooks import Hooks
from attribution.ghost.partition import Layout
from attribution.ghost.rows import prove_rows, row_axes_of


class Proofs:
    """Findings by signature; `stated` gives the axis of the rows in the output of a module by its name."""

    def __init__(
        self, hooks: Hooks, stand_ins: StandIns, metered: Callable[[nn.Module], bool], stated: Mapping[str, int]
    ) -> None:
        self._hooks, self._stand_ins, self._metered = hooks, stand_ins, metered
        self._stated = dict(stated)
        self._known: dict[tuple[Any, ...], list[CallFindings]] = {}
        self._beginnings: set[tuple[Any, ...]] = set()
        self._packed: set[tuple[Any, ...]] = set()  # calls whose rows were found to mix within a contributor before

    def expected(self, root: RootCall) -> bool:
        """Whether a call that begins like `root` has findings already: the same module, mode and shapes of inputs."""
        return root.beginning() in self._beginnings

    def known(self, root: RootCall) -> list[CallFindings] | None:
        """The findings for the calls in `root`, in order; None if they are still to be proved."""
        return self._known.get(root.signature())

    def keep(self, root: RootCall, findings: list[CallFindings], rows: int) -> None:
        """From now on, calls of this signature have these findings.

        What rests on this batch's data is proved again for the next: an irregular order of rows, as of packed
        sequences, and rows that mix within a contributor only.
        """
        if any(call.of_this_batch for call in findings):
            return
        layouts = [finding for call in findings for finding in call.outputs if isinstance(finding, Layout)]
        if all(layout.regular(rows) for layout in layouts):
            self._known[root.signature()] = findings
            self._beginnings.add(root.beginning())

    def prove(
        self, root: RootCall, who: Tensor, axis: int | None, metered: Callable[[nn.Module], bool] | None = None
    ) -> list[CallFindings]:
        """Probe the call `root`, row i being `who[i]`'s; `metered` says whose calls to look at.

        By row (see `prove_rows`), and where rows mix by contributor (see `prove_contributors`).
        """
        self._stand_ins.begins(root)
        watched, expand = metered or self._metered, self._stand_ins.instead_of

        def within() -> list[CallFindings] | None:
            return prove_contributors(self._hooks, root, who, watched, expand, axis)

        shape = (root.name, tuple(tuple(row_axes_of(tensor, len(who))) for tensor in root.inputs()))
        found = within() if shape in self._packed else None
        if found is None or mixed(found):
            found = prove_rows(self._hooks, root, len(who), watched, expand, axis)
        if found is None or mixed(found):
            better = within()
            if better is not None and (found is None or mixed(better) < mixed(found)):
                found = better
                self._packed.add(shape)
        if found is None:
            raise RowAxisError(root.name, "it cannot be repeated with other inputs, so its rows cannot be proved")
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
        return replace(findings, outputs=outputs)
