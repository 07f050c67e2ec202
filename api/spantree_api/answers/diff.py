"""What went differently: the shape of the answers."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from spantree_api.answers.executions import documented

Change = Literal["added", "removed", "changed", "same"]
Difference = Literal["status", "error", "attempts", "duration", "input"]


@documented
class DiffNode(TypedDict):
    """One step in two executions; pairs are (of a, of b), null where that one has no such step."""

    path: str
    """names from the root down, joined by ` > `; ` #2` tells siblings of one name apart; cut in its middle beyond 600
    characters"""
    name: str
    """the last of them"""
    depth: int
    """how many steps are above it"""
    a_id: str | None
    """`id` of the node in `a`: of the last attempt of its task"""
    b_id: str | None
    change: Change
    """`changed`: `differs` names something"""
    differs: list[Difference]
    """what is another one in a step of both; `duration`: half as long again and 50 ms apart; `error`: its type"""
    status: list[str | None]
    duration_ms: list[float | None]
    attempts: list[int | None]
    error_type: list[str | None]
    slower_or_faster: bool
    """whether the duration counts as another one"""
    inputs_differ: bool
    """of the previews"""


class DiffSummary(TypedDict):
    """Steps by what became of them."""

    added: int
    removed: int
    changed: int
    same: int


class FirstDifference(TypedDict):
    """The innermost step that went differently first: in status, error, attempts or by being there; else in duration;
    else in its input.
    """

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
