"""The frames of a flame graph in their places. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from spantree_api.pages import wording

ROW: Final = 22
"""Pixels from a row of frames to the next."""
# Of frames narrower than that no letter of a name could be read.
_NAMED: Final = 0.02
_LISTED: Final = 20
_KIND: Final = re.compile("[a-z]+")


@dataclass(frozen=True, slots=True)
class DrawnFrame:
    """A frame: where it is in percent of the width and in pixels from the top, and what is told of it."""

    frame: Any
    x: float
    width: float
    y: int
    tone: str
    told: str
    label: str


@dataclass(frozen=True, slots=True)
class FlamePicture:
    """All frames; `below`: those of the first row that has several, widest first; `above`: what they are parts of."""

    frames: list[DrawnFrame]
    height: int
    below: list[Any]
    above: Any


def flame_picture(frames: Sequence[Mapping[str, Any]]) -> FlamePicture:
    """The picture of `frames`."""
    drawn = [_drawn(frame) for frame in frames]
    rows: list[list[Any]] = [[] for _ in range(max((frame["depth"] for frame in frames), default=-1) + 1)]
    for frame in frames:
        rows[frame["depth"]].append(frame)
    several = next((depth for depth, row in enumerate(rows) if len(row) > 1), len(rows) - 1)
    below = sorted(rows[several], key=lambda frame: -frame["share"])[:_LISTED] if rows else []
    return FlamePicture(drawn, len(rows) * ROW, below, rows[several - 1][0] if several > 0 else None)


def _drawn(frame: Mapping[str, Any]) -> DrawnFrame:
    kind = _KIND.match(frame["kind"])
    times = f"{wording.count(frame['count'])} times" if frame["count"] > 1 else "once"
    failed = f", {wording.count(frame['failed'])} failed" if frame["failed"] else ""
    told = (
        f"{frame['name']}: {wording.share(frame['share'])}, {wording.duration(frame['total_ms'])}, "
        f"{wording.duration(frame['self_ms'])} of its own, {times}{failed}"
    )
    return DrawnFrame(
        frame,
        round(frame["start"] * 100, 3),
        round(frame["share"] * 100, 3),
        frame["depth"] * ROW,
        "bad" if frame["failed"] else f"k-{kind[0] if kind else 'other'}",
        told,
        frame["name"] if frame["share"] >= _NAMED else "",
    )
