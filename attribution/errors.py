"""The one root of everything this package raises on purpose, and its branches."""

from __future__ import annotations

from collections.abc import Sequence


class AttributionError(Exception):
    """Root of the errors of the attribution package; the message is one sentence that says what to do."""


class RecordError(AttributionError):
    """A run record cannot be read or written: a file is missing, changed, or of another format."""


class OptionError(AttributionError):
    """An option of the meter has a value that makes no sense."""


class BatchError(AttributionError):
    """The contributor indices of a batch do not fit the meter or the model's inputs."""


class ObjectiveError(AttributionError):
    """The objective did not return a loss that the meter can use."""


class UnsupportedLayerError(AttributionError):
    """A module whose gradient cannot be divided among contributors."""

    def __init__(self, name: str, kind: str, reason: str, remedy: str) -> None:
        self.name, self.kind, self.reason, self.remedy = name, kind, reason, remedy
        super().__init__(f"module {name!r} ({kind}) cannot be metered: {reason}; {remedy}")


class UnsupportedOptimizerError(AttributionError):
    """An optimizer that no update rule knows how to divide."""

    def __init__(self, kind: str, known: Sequence[str]) -> None:
        self.kind, self.known = kind, list(known)
        super().__init__(
            f"optimizer {kind} has no update rule: use one of {', '.join(known)}, "
            "or register a rule for it (attribution/updates)"
        )


class RowAxisError(AttributionError):
    """The axis of a layer that holds the batch's rows could not be proved."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(
            f"module {name!r}: {reason}; if you know the axis, state it: InRunShapley(..., row_axes={{{name!r}: axis}})"
        )


class UnaccountedGradientError(AttributionError):
    """Contributors' gradients do not add up to the gradient that autograd computed."""

    def __init__(self, parameter: str, relative: float) -> None:
        self.parameter, self.relative = parameter, relative
        super().__init__(
            f"parameter {parameter!r}: contributors' gradients miss {relative:.1e} of the gradient that autograd "
            "computed; it is used in a way no rule sees (outside every module that has a row axis, in a penalty on the "
            "weights, or in a model whose rows mix): compute penalties outside meter.batch, or freeze it"
        )


class ReconciliationError(AttributionError):
    """The contributors' displacements and the house's do not add up to the optimizer's real step."""

    def __init__(self, parameter: str, step: int, relative: float) -> None:
        self.parameter, self.step, self.relative = parameter, step, relative
        super().__init__(
            f"step {step}, parameter {parameter!r}: the divided step misses the optimizer's by {relative:.1e} of its "
            "length; the optimizer does not follow its documented update (changed state, or a patched step)"
        )


class NonFiniteError(AttributionError):
    """A loss or a gradient is NaN or infinite; the record so far can still be had from ``meter.finish()``."""

    def __init__(self, what: str, step: int) -> None:
        self.what, self.step = what, step
        super().__init__(f"step {step}: {what} is not finite; the {step} steps before it are in meter.finish()")


class UnscoredRowsError(AttributionError):
    """The scores of single rows do not add up to what the whole gradient comes to."""

    def __init__(self, task: str, step: int, rows_nats: float, whole_nats: float) -> None:
        self.task, self.step, self.rows_nats, self.whole_nats = task, step, rows_nats, whole_nats
        super().__init__(
            f"step {step}, task {task!r}: the rows' scores sum to {rows_nats:.6g} nats where the whole gradient "
            f"comes to {whole_nats:.6g}; a parameter is used in a way that no rule sees: meter without samples, "
            "with memory='buffered'"
        )
