"""uvicorn whose connections come through TLS, with a certificate that may change while it runs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from spantree_exporter.tls.certificate import ServerTls
from spantree_exporter.tls.listener import Listening, take_connections


class TlsServer(uvicorn.Server):
    """Serves the sockets that it is given, by plain HTTP where `tls` is None."""

    def __init__(self, config: uvicorn.Config, tls: ServerTls | None, refused: Callable[[str], None]) -> None:
        """`refused` is told why a handshake came to nothing."""
        super().__init__(config)
        self._tls = tls
        self._refused = refused
        self._listening: list[Listening] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections."""
        if self._tls is None or sockets is None:
            await super().startup(sockets=sockets)
            return
        # Of its own it takes none then: uvicorn's certificate is read once, and its handshakes are not bounded.
        await super().startup(sockets=[])
        if not self.started:
            return
        self._listening = [
            await take_connections(
                listener, self._protocol, self._tls, "http/1.1", backlog=self.config.backlog, refused=self._refused
            )
            for listener in sockets
        ]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, answer what has come."""
        for listening in self._listening:
            listening.close()
        await super().shutdown(sockets=[] if self._listening else sockets)

    def _protocol(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
