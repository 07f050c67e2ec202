"""What went differently: the shape of the answers."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from spantree_api.answers import documented


@documented
class DiffNode(TypedDict):
    """One step in two executions; pairs are (of a, of b), null where that one has no such step."""

    path: str
    """names from the root down, joined by ` > `; ` #2` tells siblings of one name apart"""
    a_id: str | None
    """`id` of the node in `a`: of the last attempt of its task"""
    b_id: str | None
    change: Literal["added", "removed", "changed", "same"]
    """`changed`: another status, error, number of attempts, or a duration half as long again and 50 ms apart"""
    status: list[str | None]
    duration_ms: list[float | None]
    attempts: list[int | None]
    error_type: list[str | None]
    slower_or_faster: bool
    """whether the duration counts as another one"""
    inputs_differ: bool
    """of the previews; never a change by itself"""


class DiffSummary(TypedDict):
    """Steps by what became of them."""

    added: int
    removed: int
    changed: int
    same: int


class FirstDifference(TypedDict):
    """The innermost step that went differently first."""

    path: str
    a_id: str | None
    b_id: str | None


@documented
class DiffAnswer(TypedDict):
    """What went differently in two executions."""

    a: str
    b: str
    """its trace id, also where `last-good` was asked for"""
    summary: DiffSummary
    nodes: list[DiffNode]
    """in sequence order"""
    first_difference: FirstDifference | None
