"""Reading from a standby: how far it is behind, looked at every second, and told with every answer.

`SPANTREE_API_DATABASE_URL` names it. What is asked is answered by it; what changes something, streams and alerts go by
the primary, which they cannot do without or must not be behind.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spantree_api.database import Database
from spantree_api.errors import ApiError
from spantree_api.stored_rows import ReplicationRow, records

HEADER: Final = "spantree-replication-lag-ms"
"""On every answer out of a standby: milliseconds that it was behind its primary, about a second ago at most."""
_LOOK_S: Final = 1.0
_WAIT_S: Final = 0.8


class ReplicaWatch:
    """`state` is what the last look said; None while nothing answered, or where the primary is read itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._task: asyncio.Task[None] | None = None
        self.state: ReplicationRow | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @property
    def lag_ms(self) -> float | None:
        """How far the standby is behind; None where it is none or does not say."""
        if self.state is None or not self.state.in_recovery or self.state.lag_s is None:
            return None
        return max(0.0, self.state.lag_s) * 1000

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_S)

    async def look(self) -> None:
        """Look now."""
        try:
            async with self._database.snapshot(wait_s=_WAIT_S) as snapshot:
                self.state = await snapshot.first("replication", {}, records(ReplicationRow))
        except ApiError:
            # Requests are told so by themselves.
            self.state = None


class ReplicationLag:
    """ASGI middleware: the header on every answer, where a standby is read from."""

    def __init__(self, app: ASGIApp, state: Any) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        watch: ReplicaWatch | None = getattr(self._state, "replica", None)
        if scope["type"] != "http" or watch is None:
            await self._app(scope, receive, send)
            return

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start" and (lag_ms := watch.lag_ms) is not None:
                message["headers"] = [*message["headers"], (HEADER.encode(), str(round(lag_ms)).encode())]
            await send(message)

        await self._app(scope, receive, telling)
