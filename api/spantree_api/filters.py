"""What a list of executions may be narrowed down to, and how `q` is understood."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import orjson

from spantree_exporter.partitions import date_of, day_of
from spantree_exporter.stored import stored_key

# `key:value` without a space around the colon; a URL is text.
_ATTRIBUTE = re.compile(r"(?P<key>[A-Za-z_$][\w.$/-]*):(?!//)(?P<value>\S.*)", re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,15})?")
_DAY = timedelta(days=1)
_FAR_PAST = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """None leaves everything in. `since_ns` is inside the range, `until_ns` is not."""

    statuses: tuple[str, ...] | None = None
    workflow: str | None = None
    service: str | None = None
    conversation_id: str | None = None
    user_id: str | None = None
    run_id: str | None = None
    kind: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    min_duration_ns: int | None = None
    max_duration_ns: int | None = None
    error_category: str | None = None
    q: str | None = None
    hidden: bool = False

    def since(self, ns: int) -> ExecutionFilter:
        """The same for executions that started at `ns` or later."""
        return replace(self, since_ns=ns)

    def parameters(self) -> dict[str, object]:
        """For the statement `list_executions`."""
        return {
            "statuses": None if self.statuses is None else list(self.statuses),
            "workflow": self.workflow,
            "service": self.service,
            "conversation_id": self.conversation_id,
            "user_id": self.user_id,
            "run_id": self.run_id,
            "kind": self.kind,
            "since_ns": self.since_ns,
            "until_ns": self.until_ns,
            "since_day": first_day_of(self.since_ns),
            "until_day": last_day_of(self.until_ns),
            "min_duration_ns": self.min_duration_ns,
            "max_duration_ns": self.max_duration_ns,
            "error_category": self.error_category,
            "q": self.q,
            "attributes": None if self.q is None else attribute_forms(self.q),
            "hidden": self.hidden,
        }


def first_day_of(since_ns: int | None) -> date | None:
    """The first day that starts from `since_ns` on can be on; None where that bounds nothing."""
    if since_ns is None or day_of(since_ns) == 0:
        return None
    return date_of(day_of(since_ns))


def last_day_of(until_ns: int | None) -> date | None:
    """The last day that starts before `until_ns` can be on; None where that bounds nothing."""
    if until_ns is None or day_of(until_ns) == 0:
        return None
    return date_of(day_of(until_ns))


def around(first: date, last_ns: int) -> tuple[date, date]:
    """The days from the one before `first` to the one after `last_ns`: clocks of services differ."""
    last = max(first, date_of(max(0, last_ns) // 86_400_000_000_000))
    return (first - _DAY if first > _FAR_PAST else first), last + _DAY


def attribute_forms(q: str) -> list[str] | None:
    """The JSON objects that a span's attributes may contain to match `key:value`; None where `q` is no such thing.

    A value that reads as a number or a truth value matches the attribute as such and as a string.
    """
    match = _ATTRIBUTE.fullmatch(q)
    if match is None:
        return None
    key, value = stored_key(match["key"]), match["value"]
    forms: list[object] = [value]
    if _NUMBER.fullmatch(value):
        forms.append(float(value) if "." in value else int(value))
    elif value in {"true", "false"}:
        forms.append(value == "true")
    return [orjson.dumps({key: form}).decode() for form in forms]


def moment_of(ns: int) -> datetime:
    """`ns` as an aware datetime, to the microsecond."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1_000)
