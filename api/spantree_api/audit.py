"""Rows of requests -> entries. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from spantree_api.answers.audit import AuditEntry
from spantree_api.rendering import rfc3339

_TEXT_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """None leaves everything in. `since_ns` is inside the range, `until_ns` is not."""

    since_ns: int
    until_ns: int | None = None
    user: str | None = None
    action: str | None = None
    resource: str | None = None
    service: str | None = None
    success: bool | None = None
    hidden: bool = False

    @property
    def narrows(self) -> bool:
        """Whether requests of the range may not match."""
        texts = (self.user, self.action, self.resource, self.service)
        return not self.hidden or self.success is not None or any(text is not None for text in texts)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A request; `is_match`: it is not only the last one looked at, of `turns`."""

    execution_id: UUID
    span_id: str
    user_id: str | None
    action: str | None
    resource_type: str | None
    resource_id: str | None
    tenant: str
    method: str | None
    path: str | None
    status: int | None
    success: bool
    error: str | None
    address: str | None
    user_agent: str | None
    service: str | None
    route: str | None
    duration_ms: float
    started_ns: int
    span_number: int
    turns: int
    is_match: bool


def audit_entry(row: AuditRow) -> AuditEntry:
    """A request as the answer tells it; texts are cut at 2,000 characters."""
    return {
        "at": rfc3339(row.started_ns),
        "user": _cut(row.user_id),
        "action": _cut(row.action),
        "resource_type": _cut(row.resource_type),
        "resource_id": _cut(row.resource_id),
        "tenant": row.tenant[:_TEXT_MAX],
        "method": _cut(row.method),
        "path": _cut(row.path),
        "status": row.status,
        "success": row.success,
        "error": _cut(row.error),
        "address": _cut(row.address),
        "user_agent": _cut(row.user_agent),
        "execution_id": row.execution_id.hex,
        "span_id": row.span_id,
        "service": _cut(row.service),
        "route": _cut(row.route),
        "duration_ms": row.duration_ms,
    }


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:_TEXT_MAX]
