"""Why an execution failed, as it was analysed: the shape of the answers."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from spantree_api.answers.diff import Change, Difference, FirstDifference
from spantree_api.answers.executions import Tokens, documented


class AnalysedNode(TypedDict):
    """The node that failed first, and why it did."""

    id: str
    name: str | None
    why: str


@documented
class RetrySummary(TypedDict):
    """Tasks of the execution that were attempted more than once."""

    expected: int
    """that a declared policy foresaw"""
    unexpected: int
    gave_up: int
    """that failed for good all the same"""


@documented
class ChangedStep(TypedDict):
    """A step that went differently; pairs are (of this execution, of the last good one)."""

    path: str
    change: Change
    differs: list[Difference]
    status: list[str | None]
    duration_ms: list[float | None]
    attempts: list[int | None]


class ServiceVersions(TypedDict):
    """A service of both executions whose version is another one; pairs are (of this one, of the last good one)."""

    service: str
    version: list[str | None]


@documented
class LastGoodDifference(TypedDict):
    """What is different from the newest completed execution of the same workflow before this one."""

    execution_id: str
    started_at: str
    first_difference: FirstDifference | None
    changes: list[ChangedStep]
    """the first 20 steps that were added, removed, or differ in more than their input"""
    changed_count: int
    inputs_differ_count: int
    """steps whose input is another one"""
    versions: list[ServiceVersions]


@documented
class SameCauseSummary(TypedDict):
    """The same cause elsewhere."""

    count: int
    """other executions that failed of it in the last 30 days, by the figures"""
    first_seen_at: str
    last_seen_at: str
    workflows: list[str]


@documented
class AnalysisAnswer(TypedDict):
    """Why an execution failed and what to do about it."""

    execution_id: str
    by: Literal["rules", "model"]
    model: str | None
    """the language model that wrote `root_cause`, `why`, `fixes` and `prevention`"""
    fallback: str | None
    """why the rules answered although a model is set"""
    message: str | None
    """why there is no cause to tell; null where there is one"""
    root_cause: str | None
    first_failed_node: AnalysedNode | None
    category: str | None
    known_error: str | None
    """name of the entry among the known errors"""
    suggestion: str | None
    cascade: list[str]
    """ids from the cause up to the root"""
    failed_by: str | None
    """`itself` or `a step below`, as in the failure report"""
    retries: RetrySummary
    differs_from_last_good: LastGoodDifference | None
    """null where no execution of the workflow completed in the 30 days before, or one of them has over 5,000 nodes"""
    fixes: list[str]
    prevention: list[str]
    same_cause: SameCauseSummary | None
    created_at: str
    tokens: Tokens | None
    """of the model; null where the rules answered"""
    last_seen_at: str
    """the last sign of life of the execution that was analysed"""
    stale: bool
    """whether spans of the execution came since: it may have failed for something else, or not at all"""
