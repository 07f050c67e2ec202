"""A layered layout of a directed graph: who follows whom from left to right, few crossings, straight ways. Pure.

Sugiyama's four steps: cycles are broken by turning the edges round that close them, layers come from the longest way to
each box, edges over several layers pass through points of their own, orders come from sweeps of medians; then heights
are drawn towards neighbours. The cost is bounded: with more items than `_ORDERED_MAX` layers keep the order they have.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 172.0, 44.0
_GAP_X, _GAP_Y = 64.0, 14.0
_POINT_HEIGHT = 10.0
_SWEEPS = 8
# Boxes and points of edges that are ordered; a sweep of so many takes some 20 ms.
_ORDERED_MAX = 3_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box stands: its left upper corner."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Way:
    """How an edge goes: points from box to box. `turned`: it closes a cycle and leads back."""

    points: list[tuple[float, float]]
    turned: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """`places` by box, `ways` by edge, in the order that they were given in."""

    places: list[Place]
    ways: list[Way]
    width: float
    height: float


def layout(boxes: int, edges: Sequence[tuple[int, int]]) -> Layout:
    """Places for boxes 0 to `boxes` - 1 and ways for `edges` between them. Equal input, equal layout."""
    turned = _cycle_edges(boxes, edges)
    forward = [(b, a) if at in turned else (a, b) for at, (a, b) in enumerate(edges)]
    layer = _layers(boxes, forward)
    chains: list[list[int]] = []
    layer_of = list(layer)
    links: list[tuple[int, int]] = []
    for a, b in forward:
        chain = [a]
        if a != b:
            for between in range(layer[a] + 1, layer[b]):
                layer_of.append(between)
                chain.append(len(layer_of) - 1)
        chain.append(b)
        chains.append(chain)
        links += [pair for pair in itertools.pairwise(chain) if pair[0] != pair[1]]
    rows = _ordered(layer_of, links)
    heights = [HEIGHT if item < boxes else _POINT_HEIGHT for item in range(len(layer_of))]
    middles = _middles(rows, links, heights)
    places = [Place(layer_of[box] * (WIDTH + _GAP_X), middles[box] - HEIGHT / 2) for box in range(boxes)]
    ways = [_way(chain, at in turned, layer_of, middles) for at, chain in enumerate(chains)]
    columns = max(layer_of, default=-1) + 1
    bottom = max((middles[item] + heights[item] / 2 for item in range(len(layer_of))), default=0.0)
    return Layout(places, ways, max(0.0, columns * (WIDTH + _GAP_X) - _GAP_X), bottom)


def _cycle_edges(boxes: int, edges: Sequence[tuple[int, int]]) -> set[int]:
    """Numbers of the edges that close a cycle, by a walk that starts from the boxes in their order."""
    leaving: list[list[tuple[int, int]]] = [[] for _ in range(boxes)]
    for number, (a, b) in enumerate(edges):
        leaving[a].append((number, b))
    state = [0] * boxes
    closing: set[int] = set()
    for start in range(boxes):
        if state[start]:
            continue
        state[start] = 1
        walk = [(start, iter(leaving[start]))]
        while walk:
            box, rest = walk[-1]
            for number, following in rest:
                if state[following] == 1:
                    closing.add(number)
                elif state[following] == 0:
                    state[following] = 1
                    walk.append((following, iter(leaving[following])))
                    break
            else:
                state[box] = 2
                walk.pop()
    return closing


def _layers(boxes: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """For each box the number of edges on the longest way to it."""
    following: list[list[int]] = [[] for _ in range(boxes)]
    missing = [0] * boxes
    for a, b in edges:
        if a != b:
            following[a].append(b)
            missing[b] += 1
    layer = [0] * boxes
    ready = [box for box in range(boxes) if not missing[box]]
    for box in ready:
        for other in following[box]:
            layer[other] = max(layer[other], layer[box] + 1)
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    return layer


def _ordered(layer_of: Sequence[int], links: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The items of each layer from top to bottom, with few crossings."""
    rows: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for item, layer in enumerate(layer_of):
        rows[layer].append(item)
    if len(layer_of) > _ORDERED_MAX:
        return rows
    before, after = _neighbours(len(layer_of), links)
    best, fewest = [list(row) for row in rows], _crossings(rows, after)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        downwards = sweep % 2 == 0
        position = {item: at for row in rows for at, item in enumerate(row)}
        for row in rows if downwards else reversed(rows):
            near = before if downwards else after
            median = {item: _median([position[one] for one in near[item]], position[item]) for item in row}
            row.sort(key=lambda item: (median[item], position[item]))  # sorted at once
            position.update({item: at for at, item in enumerate(row)})
        crossings = _crossings(rows, after)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _neighbours(items: int, links: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    before: list[list[int]] = [[] for _ in range(items)]
    after: list[list[int]] = [[] for _ in range(items)]
    for a, b in links:
        before[b].append(a)
        after[a].append(b)
    return before, after


def _median(positions: list[int], own: int) -> float:
    if not positions:
        return float(own)
    positions.sort()
    middle = len(positions) // 2
    return float(positions[middle]) if len(positions) % 2 else (positions[middle - 1] + positions[middle]) / 2


def _crossings(rows: Sequence[Sequence[int]], after: Sequence[Sequence[int]]) -> int:
    """How many links cross, counted by a Fenwick tree between each two layers."""
    total = 0
    for row, following in itertools.pairwise(rows):
        position = {item: at for at, item in enumerate(following)}
        ends = [at for item in row for at in sorted(position[one] for one in after[item])]
        tree = [0] * (len(following) + 1)
        for seen, end in enumerate(ends):
            at, below = end + 1, 0
            while at:
                below += tree[at]
                at &= at - 1
            total += seen - below
            at = end + 1
            while at < len(tree):
                tree[at] += 1
                at += at & -at
    return total


def _middles(rows: Sequence[Sequence[int]], links: Sequence[tuple[int, int]], heights: Sequence[float]) -> list[float]:
    """The middle of each item: near those of its neighbours, in order, without overlaps; the top of all is 0."""
    middles = [0.0] * len(heights)
    for row in rows:
        y = 0.0
        for item in row:
            middles[item] = y + heights[item] / 2
            y += heights[item] + _GAP_Y
    before, after = _neighbours(len(heights), links)
    for sweep in range(_SWEEPS if len(heights) <= _ORDERED_MAX else 0):
        near = before if sweep % 2 == 0 else after
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [
                sum(middles[one] for one in near[item]) / len(near[item]) if near[item] else middles[item]
                for item in row
            ]
            for item, middle in zip(row, _apart(wanted, [heights[item] for item in row]), strict=True):
                middles[item] = middle
    top = min((middles[item] - heights[item] / 2 for item in range(len(heights))), default=0.0)
    return [middle - top for middle in middles]


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Middles near `wanted` and in its order that keep their distance: the mean of pushing down and pushing up."""
    down, up = list(wanted), list(wanted)
    for at in range(1, len(down)):
        down[at] = max(down[at], down[at - 1] + (heights[at - 1] + heights[at]) / 2 + _GAP_Y)
    for at in range(len(up) - 2, -1, -1):
        up[at] = min(up[at], up[at + 1] - (heights[at] + heights[at + 1]) / 2 - _GAP_Y)
    return [(a + b) / 2 for a, b in zip(down, up, strict=True)]


def _way(chain: Sequence[int], turned: bool, layer_of: Sequence[int], middles: Sequence[float]) -> Way:
    left = [layer_of[item] * (WIDTH + _GAP_X) for item in chain]
    points: list[tuple[float, float]] = [(left[0] + WIDTH, middles[chain[0]])]
    for item, x in zip(chain[1:-1], left[1:-1], strict=True):
        points += [(x, middles[item]), (x + WIDTH, middles[item])]
    points.append((left[-1], middles[chain[-1]]))
    if turned:
        points.reverse()
    return Way(points, turned)
