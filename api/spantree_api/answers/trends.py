"""Figures by name, over time and along a workflow's steps: the shape of the answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from spantree_api.answers.executions import ExecutionAnswer, documented


class TrendPoint(TypedDict):
    """One bucket."""

    at: str
    value: float | None


@documented
class TrendSeries(TypedDict):
    """One line of a chart."""

    name: str | None
    """null for all as one, and for failures without a category"""
    points: list[TrendPoint]
    """oldest first, one for each bucket of the range; where nothing ran, counts and sums are 0, rates and durations
    null"""


@documented
class TrendAnswer(TypedDict):
    """A metric over time."""

    metric: Literal["runs", "failures", "retries", "success_rate", "p50_ms", "p95_ms", "p99_ms", "tokens", "cost_usd"]
    by: Literal["all", "workflow", "node", "service", "user", "model", "project", "category"]
    bucket: Literal["1m", "5m", "1h", "1d"]
    tz: str | None
    """the time zone whose days the points are; null: UTC"""
    since: str
    """start of the first bucket"""
    until: str
    """end of the last bucket"""
    series: list[TrendSeries]
    """those with most runs in the range, most first"""
    counted_back_to: str | None
    """with buckets below an hour, where there are more rows in the range than are counted: the start of the oldest that
    was; what is before it is not in the points"""


@documented
class Figures(TypedDict):
    """How often something ran, how it went, how long it took and what it used."""

    runs: int
    completed: int
    failed: int
    """failed or timed out"""
    partial: int
    timed_out: int
    """how many of `failed` timed out"""
    cancelled: int
    open: int
    """pending or running, lost ones included"""
    waited: int
    """stopped to wait, taken up since or not: what goes on with one is a run of its own"""
    success_rate: float | None
    """completed / (completed + failed + partial), from 0 to 1; null where there are none of them"""
    avg_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    last_started_at: str


class UserStat(Figures):
    """Figures of the executions of one user."""

    user_id: str


@documented
class UserStats(TypedDict):
    """Users, most runs first."""

    days: int
    since: str
    until: str | None
    """of the hours that are counted; null: no end"""
    users: list[UserStat]


@documented
class UserDetail(UserStat):
    """Figures of one user, with what came of it lately."""

    days: int
    since: str
    until: str | None
    """of the hours that are counted; null: no end"""
    recent: list[ExecutionAnswer]
    """the ten newest"""


class ModelStat(Figures):
    """Figures of the calls of one model."""

    model: str


@documented
class ModelStats(TypedDict):
    """Models, most calls first."""

    days: int
    since: str
    until: str | None
    """of the hours that are counted; null: no end"""
    models: list[ModelStat]


class ProjectStat(Figures):
    """Figures of the executions of one project."""

    project: str


@documented
class ProjectStats(TypedDict):
    """Projects, most runs first."""

    days: int
    since: str
    until: str | None
    """of the hours that are counted; null: no end"""
    projects: list[ProjectStat]


class WorkflowRuns(TypedDict):
    """A workflow and how often it ran."""

    name: str
    runs: int


@documented
class MostUsed(TypedDict):
    """What a project uses most."""

    queue: str | None
    """of its newest 1,000 executions that were taken from a queue that tells its name"""
    workflow: str | None
    node: str | None
    """the step that its workflows run most"""


class LongestRun(TypedDict):
    """An execution and how long it took."""

    execution_id: str
    duration_ms: float


@documented
class ProjectDetail(ProjectStat):
    """Figures of one project, what it uses most and its longest run."""

    days: int
    since: str
    until: str | None
    """of the hours that are counted; null: no end"""
    workflows: int
    """how many different ones ran, 1,000 at most"""
    executions: int
    """as `runs`"""
    errors: int
    """executions that failed, timed out or are partial"""
    by_workflow: list[WorkflowRuns]
    """most runs first, 50 at most"""
    most_used: MostUsed
    longest_run: LongestRun | None


@documented
class WorkflowName(TypedDict):
    """A workflow."""

    name: str
    runs: int
    failed: int
    """failed, timed out or partial"""
    last_started_at: str


class WorkflowNames(TypedDict):
    """Workflows that ran, most runs first."""

    days: int
    workflows: list[WorkflowName]


@documented
class MapNode(TypedDict):
    """A step of a workflow."""

    name: str
    kind: str
    runs: int
    failed: int
    """failed for good or timed out"""
    retried: int
    """failed attempts that a later attempt followed"""
    skipped: int
    success_rate: float | None
    """completed / (completed + failed), from 0 to 1"""
    avg_ms: float | None
    p50_ms: float | None
    p95_ms: float | None


MapEdge = TypedDict(
    "MapEdge",
    {
        "from": Annotated[str, Field(description="name of the step it comes from")],
        "to": Annotated[str, Field(description="name of the step it leads to")],
        "type": str,
        "condition": Annotated[
            str | None, Field(description="the value that was chosen, as the newest 50 executions tell it")
        ],
        "runs": Annotated[int, Field(description="executions that went this way")],
        "share": Annotated[float | None, Field(description="of the executions of the range, from 0 to 1")],
        "failed": Annotated[int, Field(description="of these, those in which the step it leads to failed")],
    },
)


@documented
class MapAnswer(TypedDict):
    """What a workflow's executions went through."""

    workflow: str
    since: str
    """begin of the first hour that is counted"""
    runs: int
    nodes: list[MapNode]
    """most runs first, 1,000 at most"""
    edges: list[MapEdge]
    """most runs first, 2,000 at most"""
