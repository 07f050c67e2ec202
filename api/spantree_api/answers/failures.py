"""What failed, why, and what is stuck: the shape of the answers."""

from __future__ import annotations

from typing_extensions import TypedDict

from spantree_api.answers.executions import ExecutionAnswer, FirstFailedNode, documented


@documented
class FailureError(TypedDict):
    """The error of the node that failed first."""

    type: str | None
    message: str | None
    category: str | None
    fingerprint: str | None
    traceback: str | None


@documented
class CascadeStep(TypedDict):
    """A node on the way from the cause up to the root."""

    id: str
    name: str
    kind: str
    status: str
    error_type: str | None
    error_message: str | None


@documented
class Attempt(TypedDict):
    """One attempt of a task."""

    id: str
    name: str
    attempt: int
    status: str
    started_ns: int
    duration_ms: float
    error_type: str | None
    error_message: str | None


@documented
class RetriedTask(TypedDict):
    """The attempts of one task."""

    task_key: str | None
    attempts: list[Attempt]
    expected: bool
    """whether a declared retry policy foresaw all of them"""
    max_attempts: int | None
    outcome: str
    """status of the last attempt"""


@documented
class SameCause(TypedDict):
    """Another execution that failed for the same cause."""

    execution_id: str
    name: str
    status: str
    started_at: str


class FailedNode(TypedDict):
    """A node that failed."""

    id: str
    name: str
    status: str
    error_type: str | None
    error_message: str | None


@documented
class FailureAnswer(TypedDict):
    """Why an execution failed."""

    execution_id: str
    name: str
    status: str
    first_failed_node: FirstFailedNode | None
    cascade: list[str]
    """ids from the cause up to the root"""
    cascade_nodes: list[CascadeStep]
    """the same with names and errors"""
    error: FailureError | None
    failed_by: str | None
    """`itself`: the outermost step that failed raised the error; `a step below`: it failed of the first failed node"""
    handled: list[FailedNode]
    """what failed below it before the first failed node did and was not what it failed of, 20 at most"""
    same_cause_count: int
    """other executions of the same fingerprint, from 30 days before this one on"""
    same_cause: list[SameCause]
    """the newest of them"""
    retries: list[RetriedTask]
    skipped_nodes: list[str]
    suggestion: str | None


@documented
class FailureReport(FailureAnswer):
    """Why an execution failed, and who would analyse it."""

    analysis_model: str | None
    """the language model that an analysis asks now, to whose provider redacted parts of the execution then go; null
    where none is set"""


@documented
class FailedExecution(ExecutionAnswer):
    """An execution that failed; `input` is cut at 100 characters."""

    failed_nodes: list[FailedNode]
    """in the order they failed, 20 at most"""


@documented
class FailurePage(TypedDict):
    """Failed, partial and timed out executions, newest first."""

    failures: list[FailedExecution]
    hours: int
    next_cursor: str | None


class OpenStep(TypedDict):
    """A step that has begun and not ended."""

    id: str
    name: str
    status: str
    started_at: str


@documented
class StuckExecution(ExecutionAnswer):
    """An execution that is open for longer than its threshold."""

    open_steps: list[OpenStep]
    """what it is at: its open steps without an open one below, those that began first, 5 at most; of an execution of
    more than 10,000 steps none"""

    threshold_s: float
    stuck_for_s: float
    """how long it is open, in seconds"""


class StuckAnswer(TypedDict):
    """Executions that are open for longer than their threshold, and lost ones; the longest first."""

    executions: list[StuckExecution]
    next_cursor: str | None
