"""Who asked what of which service."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Response

from spantree_api.answers.audit import AuditPage
from spantree_api.audit import AuditFilter, audit_entry
from spantree_api.cursor import SpanCursor
from spantree_api.errors import InvalidParameter
from spantree_api.http.params import CursorQuery, HiddenQuery, LimitQuery, MomentQuery, Text
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads import audit
from spantree_api.rendering import ns_of, rfc3339
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf

router = api_router("audit")
_DAY_NS = 86_400_000_000_000


async def _filter_of(
    service: ServiceOf,
    user: Annotated[Text | None, Query(description="who asked")] = None,
    action: Annotated[Text | None, Query(description="read, create, update, delete ..., or an HTTP method")] = None,
    resource: Annotated[Text | None, Query(description="a type, `type/id`, or a path")] = None,
    service_name: Annotated[Text | None, Query(alias="service", description="the service that was asked")] = None,
    success: Annotated[bool | None, Query(description="false: only what was refused or failed")] = None,
    since: MomentQuery = None,
    until: MomentQuery = None,
    hidden: HiddenQuery = False,
) -> AuditFilter:
    until_ns = None if until is None else ns_of(until)
    since_ns = (service.clock() if until_ns is None else until_ns) - _DAY_NS if since is None else ns_of(since)
    if until_ns is not None and since_ns >= until_ns:
        raise InvalidParameter("until", "until is not after since: wanted a later time, since is inside the range")
    return AuditFilter(since_ns, until_ns, user, action, resource, service_name, success, hidden)


AuditFilterOf = Annotated[AuditFilter, Depends(_filter_of)]


@router.get("/audit", response_model=AuditPage, responses=error_answers(422, 503))
async def list_audit(
    service: ServiceOf, wanted: AuditFilterOf, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> Response:
    """Requests that traced services answered, newest first; without `since` those of the last 24 hours."""
    after = None if cursor is None else SpanCursor.decode(cursor)
    async with service.reader() as reader:
        found = await audit.entries(reader, wanted, limit, after)
    page: AuditPage = {
        "entries": [audit_entry(row) for row in found.rows],
        "next_cursor": None if found.following is None else found.following.encode(),
        "looked_back_to": None if found.following is None else rfc3339(found.following.started_ns),
    }
    return json_answer(page)
