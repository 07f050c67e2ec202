"""Who asked what of which service: the shape of the answers."""

from __future__ import annotations

from typing_extensions import TypedDict

from spantree_api.answers.executions import documented


@documented
class AuditEntry(TypedDict):
    """One request that a traced service answered."""

    at: str
    user: str | None
    """whom the request itself names, else the user of its execution"""
    action: str | None
    """`audit.action` where the service declares it, else read, create, update or delete by the HTTP method"""
    resource_type: str | None
    """`audit.resource.type`, else the part of the route before its last parameter, else its last part"""
    resource_id: str | None
    """`audit.resource.id`, else the value of the route's last parameter"""
    tenant: str
    method: str | None
    path: str | None
    """without the query, which may hold secrets"""
    status: int | None
    success: bool
    """whether neither the span failed nor the status is 400 or more"""
    error: str | None
    address: str | None
    user_agent: str | None
    execution_id: str
    span_id: str
    service: str | None
    route: str | None
    duration_ms: float


@documented
class AuditPage(TypedDict):
    """Requests, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None
    """give it as `cursor` for the next page; null on the last one. A page may hold fewer than `limit`, or none, where
    few requests match: the next one goes on"""
    looked_back_to: str | None
    """how far back this page has looked, where there is a next one"""
