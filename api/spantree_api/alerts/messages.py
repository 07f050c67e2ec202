"""What rules find -> messages: which executions meet a rule, what the message says, its id. Pure.

The id follows from the rule and what the message is about, so that a thing is told once however often it is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

import orjson

from spantree_api.answers.alerts import AlertRuleBody
from spantree_api.filters import ExecutionFilter
from spantree_api.matching import matches
from spantree_api.rendering import effective_status, execution_answer, rfc3339
from spantree_api.stored_rows import ExecutionRow

_NAMESPACE: Final = UUID("6b8f1a52-6f0e-5f8a-9d4c-1f2f6f0c7f55")
_DEFAULT_STATUSES: Final = ("failed", "timed_out")
DEFAULT_RATE_WINDOW_S: Final = 3_600.0
DEFAULT_RATE_RUNS: Final = 10
DEFAULT_DURATION_RUNS: Final = 20
# What leaves the house is what happened, not what was said.
_LEFT_OUT: Final = frozenset({"input", "output", "analysis", "resumed_by"})
_OF_CHANGES: Final = frozenset({"failure", "duration", "new_group", "cost", "tokens"})
_OPEN: Final = frozenset({"pending", "running", "waiting"})
_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """A stored rule."""

    id: UUID
    body: AlertRuleBody
    secret: str
    source: str
    from_position: int
    active_since: datetime
    created_at: datetime
    updated_at: datetime
    changed_by: str | None = None

    @property
    def looks_at_windows(self) -> bool:
        """Whether it looks at sums over a window of time."""
        return self.body.kind == "failure_rate" or (self.body.window_s is not None)

    @property
    def looks_at_changes(self) -> bool:
        """Whether it looks at executions as they change."""
        return self.body.kind in _OF_CHANGES and not self.looks_at_windows

    @property
    def active_since_ns(self) -> int:
        """Nothing from before makes a message."""
        return round(self.active_since.timestamp() * _NS_PER_S)


@dataclass(frozen=True, slots=True)
class Message:
    """One message, to be delivered once. `details` are the members of its body beside the common ones."""

    rule: Rule
    subject: str
    details: Mapping[str, Any]
    text: str

    @property
    def id(self) -> UUID:
        """The same whenever the same is found."""
        return message_id(self.rule.id, self.subject)

    def body(self, now_ns: int) -> str:
        """The JSON that is sent."""
        if self.rule.body.format == "slack":
            return orjson.dumps({"text": escaped(f"{self.rule.body.name}: {self.text}")}).decode()
        common = {
            "event_id": str(self.id),
            "rule": {"id": str(self.rule.id), "name": self.rule.body.name},
            "kind": self.rule.body.kind,
            "at": rfc3339(now_ns),
        }
        return orjson.dumps({**common, **self.details}).decode()


@dataclass(frozen=True, slots=True)
class UsualDuration:
    """The durations of a workflow's runs of the last days."""

    p95_ms: float | None
    runs: int


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group of failures."""

    fingerprint: str
    category: str
    first_seen_ns: int
    last_seen_ns: int
    reopened_at: datetime | None
    reopened_version: str | None


@dataclass(frozen=True, slots=True)
class FiguresRow:
    """What started in a window of time, of one workflow; empty for those without one."""

    workflow: str
    runs: int
    ended: int
    failed: int
    cost_usd: float
    tokens: float


def message_id(rule_id: UUID, subject: str) -> UUID:
    """The id of the message of a rule about something."""
    return uuid5(_NAMESPACE, f"{rule_id}:{subject}")


def looks_at(rule: Rule, row: ExecutionRow, now_ns: int, lost_after_s: float) -> bool:
    """Whether the rule's filter lets an execution through."""
    wanted = ExecutionFilter(**rule.body.filter.model_dump())
    return matches(wanted, row, now_ns, lost_after_s)


def of_changed(
    rule: Rule,
    row: ExecutionRow,
    usual: Mapping[str, UsualDuration],
    groups: Mapping[str, GroupRow],
    now_ns: int,
    lost_after_s: float,
) -> Message | None:
    """The message of a rule that looks at changes about an execution that changed; None where it does not meet it."""
    execution, body = row.execution, rule.body
    if not looks_at(rule, row, now_ns, lost_after_s):
        return None
    told = _execution(row, now_ns, lost_after_s)
    name, trace_id = execution.workflow_name or execution.name, row.trace_id.hex
    match body.kind:
        case "failure":
            if execution.status not in (body.statuses or _DEFAULT_STATUSES):
                return None
            why = execution.error_summary or execution.status
            return Message(rule, trace_id, {"execution": told}, f"{name} {execution.status}: {why} ({trace_id})")
        case "duration":
            found = usual.get(execution.workflow_name or "")
            if execution.status in _OPEN or execution.ended_ns is None or found is None or found.p95_ms is None:
                return None
            lasted_ms = (execution.ended_ns - execution.started_ns) / 1e6
            if found.runs < (body.min_runs or DEFAULT_DURATION_RUNS) or lasted_ms <= found.p95_ms * (body.factor or 1):
                return None
            details = {"execution": told, "usual": {"p95_ms": found.p95_ms, "runs": found.runs}}
            text = f"{name} took {lasted_ms:.0f} ms, its p95 is {found.p95_ms:.0f} ms ({trace_id})"
            return Message(rule, trace_id, details, text)
        case "cost":
            if execution.cost_usd is None or execution.cost_usd <= (body.limit or 0):
                return None
            text = f"{name} cost {execution.cost_usd:.2f} US dollars ({trace_id})"
            return Message(rule, trace_id, {"execution": told}, text)
        case "tokens":
            tokens = (execution.input_tokens or 0) + (execution.output_tokens or 0)
            if tokens <= (body.limit or 0):
                return None
            return Message(rule, trace_id, {"execution": told}, f"{name} used {tokens} tokens ({trace_id})")
        case "new_group":
            fingerprint = execution.error_fingerprint
            if fingerprint is None or execution.status not in (*_DEFAULT_STATUSES, "partial"):
                return None
            known = groups.get(fingerprint[:100])
            # A group is noted some seconds after its first failure: one that is not there yet is new.
            if known is not None and known.first_seen_ns < execution.started_ns:
                return None
            details = {
                "execution": told,
                "group": {
                    "fingerprint": fingerprint,
                    "category": execution.error_category or "",
                    "first_seen_at": rfc3339(execution.started_ns),
                },
            }
            why = execution.error_summary or execution.status
            return Message(rule, f"group:{fingerprint}", details, f"a new failure of {name}: {why} ({trace_id})")
        case _:
            return None


def of_open(rule: Rule, row: ExecutionRow, threshold_s: float, now_ns: int, lost_after_s: float) -> Message | None:
    """The message about an execution that /stuck lists; None where it did so before the rule was made."""
    status = effective_status(row.execution, now_ns, lost_after_s)
    if (status == "lost") != (rule.body.kind == "lost") or not looks_at(rule, row, now_ns, lost_after_s):
        return None
    execution, trace_id = row.execution, row.trace_id.hex
    since_ns = execution.last_seen_ns if status == "lost" else execution.started_ns
    if since_ns + threshold_s * _NS_PER_S < rule.active_since_ns:
        return None
    name = execution.workflow_name or execution.name
    details = {"execution": _execution(row, now_ns, lost_after_s), "threshold_s": threshold_s}
    if status == "lost":
        # Once more where it gave a sign of life in between.
        subject = f"{trace_id}:{execution.last_seen_ns}"
        return Message(rule, subject, details, f"{name} is lost: no sign of life for {threshold_s:g} s ({trace_id})")
    text = f"{name} is stuck: {status} for more than {threshold_s:g} s ({trace_id})"
    return Message(rule, f"{trace_id}:{status}", details, text)


def of_reopened(rule: Rule, group: GroupRow) -> Message | None:
    """The message about a group that came back; None where it did before the rule was made."""
    at = group.reopened_at
    if at is None or at < rule.active_since:
        return None
    told = {
        "fingerprint": group.fingerprint,
        "category": group.category,
        "first_seen_at": rfc3339(group.first_seen_ns),
        "reopened_at": at.isoformat(),
        "version": group.reopened_version,
    }
    version = f" with version {group.reopened_version}" if group.reopened_version else ""
    text = f"a resolved failure came back{version}: {group.category or 'error'} {group.fingerprint}"
    return Message(rule, f"group:{group.fingerprint}:{at.isoformat()}", {"group": told}, text)


def beyond(rule: Rule, figures: Sequence[FiguresRow]) -> dict[str, dict[str, Any]]:
    """Workflow -> what a message says of it, of those that are beyond the limit of a rule that looks at a window.

    Failure rates are looked at for each workflow, sums of cost and tokens as one, under an empty name.
    """
    body = rule.body
    window_s = body.window_s or DEFAULT_RATE_WINDOW_S
    if body.kind == "failure_rate":
        found: dict[str, dict[str, Any]] = {}
        for row in figures:
            rate = row.failed / row.ended if row.ended else 0.0
            if row.ended >= (body.min_runs or DEFAULT_RATE_RUNS) and rate > (body.threshold or 0):
                found[row.workflow] = {
                    "name": row.workflow or None, "runs": row.ended, "failures": row.failed, "failure_rate": rate,
                    "threshold": body.threshold, "window_s": window_s,
                }  # fmt: skip
        return found
    total = sum(row.cost_usd if body.kind == "cost" else row.tokens for row in figures)
    if total <= (body.limit or 0):
        return {}
    said = {
        "name": body.filter.workflow, "runs": sum(row.runs for row in figures),
        "cost_usd" if body.kind == "cost" else "tokens": total, "limit": body.limit, "window_s": window_s,
    }  # fmt: skip
    return {"": said}


def of_window(rule: Rule, workflow: str, said: Mapping[str, Any], now_ns: int) -> Message:
    """The message about a workflow that went beyond its limit just now."""
    window_min = said["window_s"] / 60
    name = said["name"] or "all executions"
    if rule.body.kind == "failure_rate":
        text = f"{name}: {said['failures']} of {said['runs']} failed in {window_min:g} minutes"
    elif rule.body.kind == "cost":
        text = f"{name}: {said['cost_usd']:.2f} US dollars in {window_min:g} minutes"
    else:
        text = f"{name}: {said['tokens']:.0f} tokens in {window_min:g} minutes"
    return Message(rule, f"window:{workflow}:{now_ns}", {"workflow": dict(said)}, text)


def of_test(rule: Rule, now_ns: int) -> Message:
    """A message that says that it is a test."""
    return Message(rule, f"test:{now_ns}", {"test": True}, "this is a test")


def escaped(text: str) -> str:
    """Text for Slack, in which these three are markup (https://docs.slack.dev/messaging/formatting-message-text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _execution(row: ExecutionRow, now_ns: int, lost_after_s: float) -> dict[str, Any]:
    answer = execution_answer(row, now_ns, lost_after_s)
    return {name: value for name, value in answer.items() if name not in _LEFT_OUT}
