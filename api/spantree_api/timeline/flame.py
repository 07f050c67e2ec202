"""Nodes in sequence order -> a flame graph: what took the time, by name below name. Pure.

A frame stands for the nodes of one name below the same names. It is as wide as the self times of these nodes and of all
below them: of what ran side by side each counts, so that a frame is never narrower than those below it together.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from spantree_api.answers.flame import Flame, FlamePlace
from spantree_api.timeline.alike import told_alike
from spantree_api.timeline.rows import FlameRow
from spantree_exporter.ids import node_id
from spantree_exporter.statuses import FAILED_NODE

FRAMES_MAX = 1_000
DEPTH_MAX = 60
# Narrower than that there is less than two pixels of it on a wide screen.
SHARE_MIN = 0.001
# Names below one frame that are told each for itself.
_NAMES_MAX = 12


@dataclass(slots=True)
class _Frame:
    name: str
    kind: str
    parent: _Frame | None
    count: int = 0
    failed: int = 0
    self_ns: int = 0
    total_ns: int = 0
    longest_ns: int = -1
    longest: tuple[int, int] = (0, 0)
    below: dict[str, _Frame] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The frames that are shown, and how many below them are not; `path` leads to the one that was asked for."""

    path: list[FlamePlace]
    total_ns: int
    frames: list[Flame]
    left_out: int


class FlameGraph:
    """Nodes are added in sequence order, then it is drawn once."""

    def __init__(self) -> None:
        self._root = _Frame("", "", None)
        self._open = [self._root]
        self._made: list[_Frame] = []
        self.nodes = 0

    def add(self, rows: Iterable[FlameRow]) -> None:
        """The next nodes."""
        for row in rows:
            self.nodes += 1
            del self._open[row.depth + 1 :]
            above = self._open[-1]
            frame = above.below.get(row.name)
            if frame is None:
                frame = above.below[row.name] = _Frame(row.name, row.kind, above)
                self._made.append(frame)
            self._open.append(frame)
            frame.count += 1
            frame.failed += row.status in FAILED_NODE
            frame.self_ns += max(0, row.self_ns or 0)
            lasted_ns = -1 if row.ended_ns is None else row.ended_ns - row.started_ns
            if lasted_ns > frame.longest_ns:
                frame.longest_ns, frame.longest = lasted_ns, (row.span_id, row.ordinal)

    def drawn(self, at: str) -> Drawn | None:
        """What is below the frame that `at` names, all where that is empty; None where there is no such frame."""
        for frame in reversed(self._made):  # those below come after those above
            frame.total_ns += frame.self_ns
            above = frame.parent
            if above is not None:
                above.total_ns += frame.total_ns
        shown = self._root
        path: list[FlamePlace] = []
        for step in at.split(".") if at else ():
            _join_alike(shown)
            found = next((frame for frame in shown.below.values() if _key(frame.name) == step), None)
            if found is None:
                return None
            shown = found
            path.append(FlamePlace(at=_joined(path[-1]["at"] if path else "", step), name=shown.name))
        frames, left_out = _laid_out(shown, at)
        return Drawn(path, shown.total_ns, frames, left_out)


def _key(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _joined(at: str, step: str) -> str:
    return f"{at}.{step}" if at else step


def _join_alike(frame: _Frame) -> None:
    """Of many names below `frame` make those that differ in a number alone one."""
    if len(frame.below) <= _NAMES_MAX:
        return
    told = told_alike(frame.below, _NAMES_MAX)
    below, frame.below = frame.below, {}
    for name, one in below.items():
        there = frame.below.setdefault(told[name], one)
        if there is one:
            one.name = told[name]
        else:
            _join(there, one)


def _join(into: _Frame, other: _Frame) -> None:
    """Add `other`, and what is below it, to `into`."""
    pairs = [(into, other)]
    for there, one in pairs:  # grows meanwhile
        there.count += one.count
        there.failed += one.failed
        there.self_ns += one.self_ns
        there.total_ns += one.total_ns
        if one.longest_ns > there.longest_ns:
            there.longest_ns, there.longest = one.longest_ns, one.longest
        for name, below in one.below.items():
            same = there.below.setdefault(name, below)
            if same is not below:
                pairs.append((same, below))


def _laid_out(shown: _Frame, at: str) -> tuple[list[Flame], int]:
    """The widest frames in the order in which they are read, and how many next to and below them are left out."""
    whole = shown.total_ns
    if not whole:
        return [], 0
    frames: list[Flame] = []
    left_out = 0
    # (narrower ones later, the order of coming for equal ones, frame, its place, depth, where it begins)
    waiting: list[tuple[float, int, _Frame, str, int, float]] = []
    came = 0

    def wait_for_those_below(frame: _Frame, place: str, depth: int, start: float) -> int:
        nonlocal came
        _join_alike(frame)
        narrow = 0
        for one in sorted(frame.below.values(), key=lambda below: -below.total_ns):
            share = one.total_ns / whole
            if share < SHARE_MIN or depth > DEPTH_MAX:
                narrow += 1
                continue
            came += 1
            heapq.heappush(waiting, (-share, came, one, _joined(place, _key(one.name)), depth, start))
            start += share
        return narrow

    if shown.parent is None:
        left_out += wait_for_those_below(shown, at, 0, 0.0)
    else:
        waiting.append((-1.0, 0, shown, at, 0, 0.0))
    while waiting and len(frames) < FRAMES_MAX:
        share, _, frame, place, depth, start = heapq.heappop(waiting)
        frames.append(_flame(frame, place, depth, start, -share))
        left_out += wait_for_those_below(frame, place, depth + 1, start)
    frames.sort(key=lambda one: (one["start"], one["depth"]))
    return frames, left_out + len(waiting)


def _flame(frame: _Frame, at: str, depth: int, start: float, share: float) -> Flame:
    has_ended = frame.longest_ns >= 0
    return {
        "at": at,
        "name": frame.name,
        "kind": frame.kind,
        "depth": depth,
        "start": start,
        "share": share,
        "count": frame.count,
        "failed": frame.failed,
        "total_ms": frame.total_ns / 1e6,
        "self_ms": frame.self_ns / 1e6,
        "longest_ms": frame.longest_ns / 1e6 if has_ended else None,
        "longest": node_id(*frame.longest) if has_ended else None,
    }
