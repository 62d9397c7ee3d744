"""Questions about a directed graph of numbered vertices; linear in vertices and edges."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

Targets = Sequence[Sequence[int]]


def cycles(targets: Targets) -> list[list[int]]:
    """One shortest cycle, as [a, b, a], from each knot of vertices that reach each other."""
    return [
        _shortest(targets, min(knot), set(knot))
        for knot in _knots(targets)
        if len(knot) > 1 or knot[0] in targets[knot[0]]
    ]


def _knots(targets: Targets) -> list[list[int]]:
    """Kosaraju's strongly connected components, without recursion: chains are 10,000 long."""
    sources: list[list[int]] = [[] for _ in targets]
    for source, row in enumerate(targets):
        for target in row:
            sources[target].append(source)
    seen = [False] * len(targets)
    left = [vertex for start in range(len(targets)) for vertex in _left(targets, start, seen)]
    seen = [False] * len(targets)
    knots = (_left(sources, start, seen) for start in reversed(left))
    return sorted(sorted(knot) for knot in knots if knot)


def _left(targets: Targets, start: int, seen: list[bool]) -> list[int]:
    """The unseen vertices that `start` reaches, in the order a depth-first walk leaves them."""
    if seen[start]:
        return []
    seen[start] = True
    left: list[int] = []
    walk = [(start, iter(targets[start]))]
    while walk:
        vertex, rest = walk[-1]
        for target in rest:
            if not seen[target]:
                seen[target] = True
                walk.append((target, iter(targets[target])))
                break
        else:
            left.append(vertex)
            walk.pop()
    return left


def _shortest(targets: Targets, start: int, inside: set[int]) -> list[int]:
    came_from: dict[int, int] = {}
    queue = deque([start])
    while queue:
        vertex = queue.popleft()
        for target in targets[vertex]:
            if target == start:
                path = [start, vertex]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return path[::-1]
            if target in inside and target not in came_from:
                came_from[target] = vertex
                queue.append(target)
    return [start, start]


def order(targets: Targets) -> list[int]:
    """Vertices, each after all it depends on; those in or behind a cycle are left out."""
    waits = [0] * len(targets)
    for row in targets:
        for target in row:
            waits[target] += 1
    ready = deque(no for no, count in enumerate(waits) if not count)
    done: list[int] = []
    while ready:
        vertex = ready.popleft()
        done.append(vertex)
        for target in targets[vertex]:
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    return done


def layers(targets: Targets) -> list[int]:
    """The longest way from a root to each vertex, in edges; 0 in or behind a cycle."""
    depth = [0] * len(targets)
    for vertex in order(targets):
        for target in targets[vertex]:
            depth[target] = max(depth[target], depth[vertex] + 1)
    return depth


def ancestors(targets: Targets) -> list[int]:
    """For each vertex a bit set of all that come before it; 0 in or behind a cycle."""
    above = [0] * len(targets)
    for vertex in order(targets):
        passed = above[vertex] | 1 << vertex
        for target in targets[vertex]:
            above[target] |= passed
    return above
