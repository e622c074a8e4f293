"""Two walks through a small graph: nodes are numbers from 0, `needs[n]` are the nodes that come before n. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def depth_first(needs: Sequence[Sequence[int]]) -> list[int]:
    """All nodes, each after what it needs, otherwise in their own order. Circles are cut where they are met."""
    order: list[int] = []
    entered: set[int] = set()
    for start in range(len(needs)):
        stack = [(start, False)]
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
            elif node not in entered:
                entered.add(node)
                stack.append((node, True))
                stack += [(other, False) for other in reversed(needs[node]) if other not in entered]
    return order


def in_one_cycle(needs: Sequence[Sequence[int]]) -> list[int]:
    """For each node the number of its circle: nodes that need each other, however indirectly, have the same one."""
    # Kosaraju: what a walk against the arrows reaches, begun at the node that was left last.
    against: list[list[int]] = [[] for _ in needs]
    for node, others in enumerate(needs):
        for other in others:
            against[other].append(node)
    circle = [-1] * len(needs)
    for start in reversed(depth_first(needs)):
        if circle[start] >= 0:
            continue
        stack = [start]
        while stack:
            node = stack.pop()
            if circle[node] < 0:
                circle[node] = start
                stack += against[node]
    return circle
