"""Contributors' parts of a call whose positions cannot be cut out: the whole input, the others' gradients zeroed."""

from __future__ import annotations

from collections.abc import Iterator

from attribution.ghost.rule import LayerCall, Part


def parts_along(call: LayerCall, axis: int) -> Iterator[Part]:
    """The call's contributors in turn, cut out where its rows lie along `axis`, and masked where they do not.

    A layer that treats one axis as its batch may be given rows along another, where their neighbours matter to it. Its
    gradients are linear in the output's, so zeroing the other contributors' is always right, if slower.
    """
    if call.partition.layout.axis == axis:
        yield from call.parts()
        return
    for contributor, positions in call.partition.positions():
        masked = call.partition.masked(call.output_gradient, positions)
        yield Part(call.inputs, masked, call, contributor)
