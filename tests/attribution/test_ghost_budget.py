"""Nodes are spent on what the path misses, not on what memory without buffers cannot know."""

from __future__ import annotations

from tests.attribution.runs import batches, run


def test_ghost_memory_under_momentum_asks_for_no_more_nodes_than_buffers_do() -> None:
    names = ["alice", "bob", "carol"]
    buffered = run("AdamW", batches(30, 3), names)
    ghost = run("AdamW", batches(30, 3), names, memory="ghost")
    assert abs(ghost.gap[0]) > 10 * abs(buffered.gap[0])
    assert ghost.steps.nodes.tolist() == buffered.steps.nodes.tolist()
