"""Rules of alerts as they are given, and the answers about them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator, with_config
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from spantree_api.http.params import Moment, Text

_documented = with_config(ConfigDict(use_attribute_docstrings=True))

AlertKind = Literal[
    "failure", "failure_rate", "duration", "stuck", "lost", "new_group", "reopened_group", "cost", "tokens"
]
DeliveryState = Literal["pending", "delivered", "failed", "silenced", "dropped"]
# kind -> (what it has to say, what it may say)
_LIMITS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "failure": (frozenset(), frozenset({"statuses"})),
    "failure_rate": (frozenset({"threshold"}), frozenset({"window_s", "min_runs"})),
    "duration": (frozenset(), frozenset({"factor", "min_runs"})),
    "cost": (frozenset({"limit"}), frozenset({"window_s"})),
    "tokens": (frozenset({"limit"}), frozenset({"window_s"})),
}
_NOTHING: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
_SAID = ("threshold", "window_s", "min_runs", "factor", "limit", "statuses")
Name = Annotated[Text, Field(min_length=1, max_length=200)]


class AlertFilter(BaseModel):
    """Which executions a rule looks at; what is left out leaves all in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workflow: Name | None = None
    service: Annotated[Name | None, Field(description="a service that took part")] = None
    project: Name | None = None
    user_id: Name | None = None
    kind: Name | None = None
    error_category: Name | None = None
    hidden: Annotated[bool, Field(description="also health checks, probes and the like")] = False


class AlertRuleBody(BaseModel):
    """A rule: what is worth a message, and where it goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    kind: AlertKind
    filter: AlertFilter = AlertFilter()
    threshold: Annotated[
        float | None, Field(gt=0, le=1, description="failure_rate: failed of those that ended, 0 to 1")
    ] = None
    window_s: Annotated[
        float | None,
        Field(ge=60, le=86_400, description="failure_rate (3600 if not given): of what started in the last seconds; "
              "cost, tokens: summed over them, instead of one execution's"),
    ] = None  # fmt: skip
    min_runs: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="failure_rate (10), duration (20): what is fewer tells nothing"),
    ] = None
    factor: Annotated[
        float | None, Field(ge=1, le=1_000, description="duration: how many times the usual p95 is too long; 1")
    ] = None
    limit: Annotated[float | None, Field(gt=0, le=1e15, description="cost: US dollars; tokens: in and out")] = None
    statuses: Annotated[
        list[Literal["failed", "timed_out", "partial", "cancelled"]] | None,
        Field(min_length=1, max_length=4, description="failure: which count; failed and timed_out if not given"),
    ] = None
    webhook_url: Annotated[str, Field(min_length=1, max_length=2_000)]
    format: Annotated[Literal["generic", "slack"], Field(description="of the body")] = "generic"
    secret: Annotated[
        Text | None,
        Field(min_length=8, max_length=200, description="what messages are signed with; made where none is given"),
    ] = None
    enabled: bool = True
    silenced_until: Annotated[Moment | None, Field(description="until then messages are noted and not sent")] = None

    @model_validator(mode="after")
    def _says_what_its_kind_needs(self) -> AlertRuleBody:
        needed, possible = _LIMITS.get(self.kind, _NOTHING)
        said = {name for name in _SAID if getattr(self, name) is not None}
        if missing := sorted(needed - said):
            raise PydanticCustomError(
                "missing_limit", "a rule of kind {kind} needs {names}", {"kind": self.kind, "names": ", ".join(missing)}
            )
        if self.filter.error_category is not None and (self.kind == "failure_rate" or self.window_s is not None):
            said.add("filter.error_category over a window")
        if foreign := sorted(said - needed - possible):
            raise PydanticCustomError(
                "foreign_limit",
                "a rule of kind {kind} has no {names}",
                {"kind": self.kind, "names": ", ".join(foreign)},
            )
        return self


class AlertRule(TypedDict):
    """A rule; `secret` is told when it is made, and never again."""

    id: str
    name: str
    kind: AlertKind
    filter: dict[str, Any]
    threshold: float | None
    window_s: float | None
    min_runs: int | None
    factor: float | None
    limit: float | None
    statuses: list[str] | None
    webhook_url: Annotated[str, Field(description="its scheme, host and port; the rest may be a secret")]
    format: Literal["generic", "slack"]
    secret: Annotated[str | None, Field(description="only in the answer that made it")]
    enabled: bool
    silenced_until: str | None
    source: Annotated[Literal["api", "file"], Field(description="one of a file is changed there")]
    created_at: str
    updated_at: str
    changed_by: Annotated[str | None, Field(description="the token or person that made or changed it last")]


class AlertRules(TypedDict):
    """All rules, by name."""

    rules: list[AlertRule]


class AlertRuleDeleted(TypedDict):
    """The rule that is gone; its messages that were not delivered are dropped."""

    id: str
    deleted: bool


class AlertTest(TypedDict):
    """What came of a test message, which is sent once."""

    event_id: str
    delivered: bool
    answer_status: int | None
    error: str | None


@_documented
class AlertDelivery(TypedDict):
    """One message."""

    event_id: str
    """`event_id` and Idempotency-Key of the message, the same at each attempt"""
    rule: dict[str, str]
    """id and name"""
    kind: str
    subject: str
    """the execution, group of failures or workflow that it is about"""
    state: DeliveryState
    """`failed`: given up after a day of attempts; `silenced`; `dropped`: the rule is gone"""
    attempts: int
    next_attempt_at: str | None
    created_at: str
    delivered_at: str | None
    answer_status: int | None
    error: str | None


class AlertDeliveries(TypedDict):
    """Messages, newest first."""

    deliveries: list[AlertDelivery]
    next_cursor: str | None
