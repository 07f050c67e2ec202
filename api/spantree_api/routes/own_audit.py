"""Who asked what of spantree itself, and changed what; for admins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import Depends, Query, Response
from fastapi.responses import StreamingResponse

from spantree_api.answers.own_audit import OwnAuditPage
from spantree_api.cursor import MomentCursor
from spantree_api.errors import InvalidParameter
from spantree_api.export_text import OWN_AUDIT_COLUMNS, csv_header, csv_lines, json_lines
from spantree_api.http.params import CursorQuery, LimitQuery, MomentQuery, Text
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads.own_audit import OwnAuditFilter, OwnAuditRow, own_entry, own_events
from spantree_api.routes.api_router import api_router
from spantree_api.routes.export import MEDIA_TYPES, FormatQuery, file_answers
from spantree_api.service import ServiceOf

router = api_router("audit")
_ROWS_AT_ONCE = 1_000


async def _filter_of(
    actor: Annotated[Text | None, Query(description="the beginning of a token, a person, an account")] = None,
    action: Annotated[Text | None, Query(description="read, export, create, update, delete, refused ...")] = None,
    object_: Annotated[Text | None, Query(alias="object", description="a type, or `type/id`")] = None,
    address: Annotated[Text | None, Query(description="where requests came from")] = None,
    since: MomentQuery = None,
    until: MomentQuery = None,
) -> OwnAuditFilter:
    if since is not None and until is not None and since >= until:
        raise InvalidParameter("until", "until is not after since: wanted a later time, since is inside the range")
    return OwnAuditFilter(since, until, actor, action, object_, address)


_FilterOf = Annotated[OwnAuditFilter, Depends(_filter_of)]


@router.get("/audit/own", response_model=OwnAuditPage, responses=error_answers(403, 422, 503))
async def list_own_audit(
    service: ServiceOf, wanted: _FilterOf, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> Response:
    """Requests that spantree itself answered or refused, and changes by commands, newest first; for admins."""
    after = None if cursor is None else MomentCursor.decode(cursor)
    async with service.reader() as reader:
        rows, following = await own_events(reader, wanted, limit, after)
    page: OwnAuditPage = {
        "entries": [own_entry(row) for row in rows],
        "next_cursor": None if following is None else following.encode(),
    }
    return json_answer(page)


@router.get("/export/audit/own", response_class=Response, responses=file_answers("application/x-ndjson", "text/csv"))
async def export_own_audit(
    service: ServiceOf, wanted: _FilterOf, form: FormatQuery = "jsonl", cursor: CursorQuery = None
) -> Response:
    """Entries of `GET /audit/own`, newest first, all of them; each has the `cursor` to go on after it."""

    async def page(after: MomentCursor | None) -> tuple[list[OwnAuditRow], MomentCursor | None]:
        async with service.reader() as reader:
            return await own_events(reader, wanted, _ROWS_AT_ONCE, after)

    def lines(rows: Sequence[OwnAuditRow]) -> bytes:
        entries = [{**own_entry(row), "cursor": MomentCursor(row.at, row.id).encode()} for row in rows]
        return json_lines(entries) if form == "jsonl" else csv_lines(OWN_AUDIT_COLUMNS, entries)

    first, following = await page(None if cursor is None else MomentCursor.decode(cursor))

    async def body() -> AsyncIterator[bytes]:
        if form == "csv" and cursor is None:
            yield csv_header(OWN_AUDIT_COLUMNS)
        yield lines(first)
        after = following
        while after is not None:
            rows, after = await page(after)
            yield lines(rows)

    return StreamingResponse(body(), media_type=MEDIA_TYPES[form])
