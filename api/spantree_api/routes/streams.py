"""Executions and nodes as they change, as Server-Sent Events."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final, Literal

from fastapi import Header, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from spantree_api.answers.executions import StreamPosition
from spantree_api.authentication import MayGoOn, MayGoOnOf
from spantree_api.errors import InvalidParameter
from spantree_api.filters import ExecutionFilter
from spantree_api.http.filter_params import FilterOf
from spantree_api.http.params import TraceIdPath, trace_id_of
from spantree_api.http.responses import error_answers, json_answer
from spantree_api.reads.changes import state_query
from spantree_api.routes.api_router import api_router
from spantree_api.service import ServiceOf
from spantree_api.streams.listeners import Streams
from spantree_api.streams.log import Listener, Wanted

router = api_router("live")
_LOOK_S: Final = 1.0
_POSITION_MAX = (1 << 63) - 1
# The body of a stream is no JSON, so no answer model: docs/api.md has the events.
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events `position` (the first), `execution`, `node` and `reload`; each with the number that "
        "Last-Event-ID gives back",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}
KindsQuery = Annotated[
    list[Literal["execution", "node"]] | None,
    Query(description="only events of this kind; may be given more than once"),
]
AfterQuery = Annotated[
    int | None,
    Query(ge=0, le=_POSITION_MAX, description="go on after this event, as with Last-Event-ID, which wins"),
]
LastEventId = Annotated[str | None, Header(description="number of the last event received; sent by EventSource")]


class EventStream(StreamingResponse):
    """A stream that gives its listener back however it ends. Nothing is sent to who may not go on."""

    def __init__(self, streams: Streams, listener: Listener, may_go_on: MayGoOn) -> None:
        super().__init__(
            _while_allowed(streams.told(listener), may_go_on),
            media_type="text/event-stream",
            # Proxies hold answers back otherwise: nginx by this header, others by what may not be transformed.
            headers={"cache-control": "no-store, no-transform", "x-accel-buffering": "no"},
        )
        self._streams = streams
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the client goes or the stream ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.leave(self._listener)


@router.get("/stream", response_class=StreamingResponse, responses=_STREAM | error_answers(422, 503))
async def stream_changes(
    service: ServiceOf,
    wanted: FilterOf,
    may_go_on: MayGoOnOf,
    events: KindsQuery = None,
    after: AfterQuery = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Executions that change, and their nodes, as they are after the change; the filters are those of lists."""
    kinds = frozenset(events or ("execution", "node"))
    listener = await service.streams.listen(Wanted(kinds, wanted), _position(after, last_event_id))
    return EventStream(service.streams, listener, may_go_on)


@router.get("/stream/position", response_model=StreamPosition, responses=error_answers(503))
async def get_position(service: ServiceOf) -> Response:
    """Where a stream begins that is to tell all that is not in what is loaded after this."""
    # Of the database that is read, which may be a standby; what has no number yet will have a later one.
    async with service.database.snapshot(opening=state_query(service.config.tenant_id)) as snapshot:
        return json_answer({"position": str(snapshot.opened[0].position)})


@router.get(
    "/executions/{trace_id}/stream", response_class=StreamingResponse, responses=_STREAM | error_answers(422, 503)
)
async def stream_execution(
    service: ServiceOf,
    trace_id: TraceIdPath,
    may_go_on: MayGoOnOf,
    events: KindsQuery = None,
    after: AfterQuery = None,
    last_event_id: LastEventId = None,
) -> Response:
    """One execution and its nodes as they change; it need not have begun."""
    kinds = frozenset(events or ("execution", "node"))
    wanted = Wanted(kinds, ExecutionFilter(), trace_id_of(trace_id))
    listener = await service.streams.listen(wanted, _position(after, last_event_id))
    return EventStream(service.streams, listener, may_go_on)


async def _while_allowed(pieces: AsyncGenerator[bytes, None], may_go_on: MayGoOn) -> AsyncIterator[bytes]:
    """`pieces`, until the token or session is no longer good, which is looked at once a second at most."""
    looked_at_s = time.monotonic()
    async with aclosing(pieces):
        async for piece in pieces:
            if time.monotonic() - looked_at_s >= _LOOK_S:
                if not await may_go_on():
                    return
                looked_at_s = time.monotonic()
            yield piece


def _position(after: int | None, last_event_id: str | None) -> int | None:
    if not last_event_id:
        return after
    if not (last_event_id.isascii() and last_event_id.isdecimal() and int(last_event_id) <= _POSITION_MAX):
        raise InvalidParameter(
            "last-event-id", f"Last-Event-ID is {last_event_id[:80]!r}: wanted the number of an event of a stream"
        )
    return int(last_event_id)
