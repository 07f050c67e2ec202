"""What a list of executions may be narrowed down to, and how `q` is understood."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from spantree_exporter.search_text import attribute_term, tsquery_of
from spantree_exporter.statuses import RUNNING
from spantree_exporter.stored import stored_key

# `key:value` without a space around the colon; a URL is text.
_ATTRIBUTE = re.compile(r"(?P<key>[A-Za-z_$][\w.$/-]*):(?!//)(?P<value>\S.*)", re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,15})?")
# Beyond any duration, and still to be added to any time of a bigint that is one.
_EVER_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """None leaves everything in. `since_ns` is inside the range, `until_ns` is not."""

    statuses: tuple[str, ...] | None = None
    workflow: str | None = None
    workflows: tuple[str, ...] | None = None
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
    project: str | None = None
    q: str | None = None
    hidden: bool = False

    def parameters(self) -> dict[str, object]:
        """For the parts that listing.py composes a list of; those of filters that are not wanted are null."""
        statuses = self.statuses or ()
        stored = {status for status in statuses if status != "lost"}
        if "lost" in statuses or "completed" in statuses:  # told by the clock, of those that are stored as open
            stored |= RUNNING
        return {
            "status": statuses[0] if statuses else None,
            "statuses": list(statuses),
            "stored_statuses": sorted(stored),
            "workflow": self.workflow,
            "workflows": None if self.workflows is None else list(self.workflows),
            "service": self.service,
            "conversation_id": self.conversation_id,
            "user_id": self.user_id,
            "run_id": self.run_id,
            "project": self.project,
            "kind": self.kind,
            "error_category": self.error_category,
            "min_duration_ns": -_EVER_NS if self.min_duration_ns is None else self.min_duration_ns,
            "max_duration_ns": _EVER_NS if self.max_duration_ns is None else self.max_duration_ns,
            "search": None if self.q is None else search_query(self.q),
            "text": None if self.q is None else self.q.lower(),
            "attributes": None if self.q is None else attribute_forms(self.q),
        }


def attribute_forms(q: str) -> list[str] | None:
    """The JSON objects that a span's attributes may contain to match `key:value`; None where `q` is no such thing.

    A value that reads as a number or a truth value matches the attribute as such and as a string.
    """
    named = attribute_of(q)
    if named is None:
        return None
    key, value = stored_key(named[0]), named[1]
    forms: list[object] = [value]
    if _NUMBER.fullmatch(value):
        forms.append(float(value) if "." in value else int(value))
    elif value in {"true", "false"}:
        forms.append(value == "true")
    return [orjson.dumps({key: form}).decode() for form in forms]


def attribute_of(q: str) -> tuple[str, str] | None:
    """The key and value that `q` names; None where it is no `key:value`."""
    match = _ATTRIBUTE.fullmatch(q)
    return None if match is None else (match["key"], match["value"])


def search_query(q: str) -> str | None:
    """The tsquery of `q`; None where it holds nothing that an index could find."""
    named = attribute_of(q)
    return tsquery_of(q, () if named is None else (attribute_term(*named),))


def moment_of(ns: int) -> datetime:
    """`ns` as an aware datetime, to the microsecond."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1_000)
