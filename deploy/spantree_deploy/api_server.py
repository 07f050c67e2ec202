"""The API behind uvicorn, on a socket that is already listening."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from spantree_api.app import create_app
from spantree_api.config import ApiConfig
from spantree_deploy.settings import url_of

# How long open requests may take when stopping; streams would otherwise hold it up for ever.
_GRACE_S = 5


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._started()


async def serve_api(
    config: ApiConfig, listener: socket.socket, stop: asyncio.Event, started: Callable[[str], None]
) -> None:
    """Answer requests until `stop` is set; `started` gets the URL. The database may be away all the time."""
    url = url_of(config.host, listener.getsockname()[1])
    server = _Server(
        uvicorn.Config(
            create_app(config),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=_GRACE_S,
        ),
        lambda: started(url),
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        stopped.cancel()
