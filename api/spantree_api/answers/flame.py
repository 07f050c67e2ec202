"""A flame graph: the shape of the answer."""

from __future__ import annotations

from typing_extensions import TypedDict

from spantree_api.answers.executions import documented


@documented
class FlamePlace(TypedDict):
    """A frame on the way from the outermost one to the one that is shown."""

    at: str
    """what `at` shows it"""
    name: str


@documented
class Flame(TypedDict):
    """The nodes of one name below the same names."""

    at: str
    """what `at` shows it, and what is below it, alone"""
    name: str
    """of more than 12 names below one those that differ in a number alone are told as one, with `#` for it"""
    kind: str
    """of the first of them"""
    depth: int
    """how far below what is shown; its own is 0"""
    start: float
    """where it begins, from 0 to 1, of the self times of what is shown; no moment"""
    share: float
    """how wide it is, from 0 to 1: its part, with all below it, of the self times of what is shown"""
    count: int
    """nodes"""
    failed: int
    """of them those that failed for good or timed out"""
    total_ms: float
    """self times of them and of all nodes below them"""
    self_ms: float
    """of that their own: what no node below accounts for"""
    longest_ms: float | None
    """duration of the longest of them; null where none has ended"""
    longest: str | None
    """id of that node"""


@documented
class FlameAnswer(TypedDict):
    """Where the time of an execution went: frames by name, each as wide as what it and all below it took themselves."""

    execution_id: str
    status: str
    path: list[FlamePlace]
    """from the outermost frame to the one that is shown; empty where all are"""
    total_ms: float
    """self times of all that is shown: more than it lasted where nodes ran side by side"""
    nodes: int
    """how many of the execution's nodes, in sequence order, this is made of"""
    truncated: bool
    """whether it has more nodes"""
    frames: list[Flame]
    """as they are read: each before those below it, wider ones before their neighbours"""
    left_out: int
    """frames below those that are shown that are narrower than a thousandth, deeper than 60, or more than 1,000"""
