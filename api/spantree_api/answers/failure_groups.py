"""Answers about groups of failures, and the body of a change."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from spantree_api.http.params import Text

_documented = with_config(ConfigDict(use_attribute_docstrings=True))

GroupState = Literal["open", "resolved", "ignored"]


class GroupExample(TypedDict):
    """The newest execution that failed of this cause."""

    execution_id: str
    name: str
    error_summary: str | None
    started_at: str


class TrendPoint(TypedDict):
    """Executions that failed in one bucket of time, by its begin."""

    at: str
    count: int


@_documented
class FailureGroup(TypedDict):
    """Executions that failed of the same cause."""

    fingerprint: str
    """equal for errors that differ only in ids, numbers, paths and the like"""
    state: GroupState
    """`resolved` becomes `open` by itself when an execution that started later fails of it"""
    category: str
    example: GroupExample | None
    """null where retention has dropped it"""
    count: int
    """executions that failed of it in the range, by the figures: a few seconds old"""
    first_seen_at: str
    """start of the first ever, in the range or before"""
    last_seen_at: str
    trend: list[TrendPoint]
    """buckets of an hour up to two days back, of a day up to ninety, else of eight days; empty ones, too"""
    workflows: list[str]
    """of the range, most failures first; those without a workflow have no name here"""
    versions: list[str]
    """`service.version` of what failed, in the order they were first seen; the last 20"""
    reopened_at: str | None
    """start of the execution by which it came back last, after it was resolved"""
    reopened_version: str | None
    note: str | None
    """what was said with the last change"""
    changed_by: str | None
    changed_at: str | None


@_documented
class FailureGroupPage(TypedDict):
    """Groups of failures, last seen first."""

    groups: list[FailureGroup]
    since: str
    """begin of the range that is counted"""
    next_cursor: str | None


@_documented
class GroupChange(TypedDict):
    """One change of a group's state."""

    at: str
    state: GroupState
    note: str | None
    by: str | None
    """null where it came back by itself"""
    version: str | None
    """`service.version` that it came back with; null for what people changed"""


class FailureGroupDetail(FailureGroup):
    """One group, with the changes of its state."""

    since: str
    history: Annotated[list[GroupChange], Field(description="newest first, 100 at most")]


class GroupPatch(BaseModel):
    """What becomes of a group."""

    model_config = ConfigDict(extra="forbid")

    state: Annotated[GroupState | None, Field(description="the new state; left out, only the note changes")] = None
    note: Annotated[Text | None, Field(max_length=2_000, description="why, for whoever looks next")] = None
    by: Annotated[Text | None, Field(max_length=200, description="who changes it")] = None
