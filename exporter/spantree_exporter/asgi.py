"""For services behind ASGI (FastAPI, Starlette, Quart): the execution's id in the header of every answer.

app.add_middleware(ExecutionHeader)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from opentelemetry import trace

from spantree_exporter.tracing.planned_id import answering

HEADER: Final = "X-Spantree-Execution"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class ExecutionHeader:
    """ASGI middleware that answers with ``X-Spantree-Execution``: the id by which spantree knows what was begun.

    That is the first `execution` that the request began or whose `id` it asked for, else the trace of the request
    itself. Without either, or where the request is not recorded, the header is left out. Adds some microseconds a
    request, and never raises.
    """

    def __init__(self, app: AsgiApp) -> None:
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = trace.get_current_span()
        with answering() as response:

            async def send_with_id(message: Message) -> None:
                if message["type"] == "http.response.start":
                    execution_id = response.value
                    if execution_id is None and request.is_recording():
                        execution_id = trace.format_trace_id(request.get_span_context().trace_id)
                    if execution_id is not None:
                        headers = [*message.get("headers", ()), (HEADER.lower().encode(), execution_id.encode())]
                        message = {**message, "headers": headers}
                await send(message)

            await self.app(scope, receive, send_with_id)
