"""The port that Jaeger reads from: its storage API behind the front that bounds connections and half-sent calls."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from spantree_api.jaeger.storage_grpc import JaegerStorage
from spantree_collector.receive.file_limit import connections_within
from spantree_collector.receive.grpc_front import GrpcFront
from spantree_collector.receive.intake import InFlight
from spantree_deploy.ports import listen
from spantree_exporter.errors import ConfigError
from spantree_exporter.tls.certificate import ServerTls

# Jaeger keeps one or a few.
_MAX_CONNECTIONS = 200
# Of the process's files, of which each connection has two: collector and API may run in the same process.
_FILES_PART = 0.1
_FILES_OF_A_CONNECTION = 2
_MAX_STREAMS = 1_000
# Half-sent calls, of which each may have a megabyte.
_MAX_IN_FLIGHT_BYTES = 64 * 2**20
_HEADER_DEADLINE_S = 10.0
_CALL_DEADLINE_S = 30.0


class JaegerPort:
    """Made, started and stopped within the event loop of the storage's service."""

    def __init__(
        self, storage: JaegerStorage, tls: ServerTls | None = None, refused: Callable[[str], None] = lambda reason: None
    ) -> None:
        """`refused` is told why a connection was cut, or came to nothing."""
        self._storage = storage
        # Nobody else's to read.
        self._directory = tempfile.TemporaryDirectory(prefix="spantree-jaeger-")
        self._front = GrpcFront(
            InFlight(_MAX_IN_FLIGHT_BYTES),
            lambda reason: refused(f"jaeger_{reason.removeprefix('grpc_')}"),
            Path(self._directory.name),
            max_connections=connections_within(_MAX_CONNECTIONS, _FILES_PART, _FILES_OF_A_CONNECTION),
            header_deadline_s=_HEADER_DEADLINE_S,
            body_deadline_s=_CALL_DEADLINE_S,
            max_streams=_MAX_STREAMS,
            tells_addresses=True,
            tls=tls,
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken, which is another only for 0. Raises OSError where it cannot be taken."""
        listener = _listener(host, port)
        try:
            await self._storage.start(self._front.upstream)
        except BaseException:
            listener.close()
            raise
        taken: int = listener.getsockname()[1]
        await self._front.start(listener, self._listen_anew)
        return taken

    async def _listen_anew(self) -> None:
        # The folder may be gone, too: it lies where cleaners of temporary files look.
        self._front.upstream.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._storage.start(self._front.upstream)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls; those that have come are answered within `grace_s`."""
        await self._front.stop_listening()
        await self._storage.stop(grace_s)
        await self._front.close()
        self._directory.cleanup()


def _listener(host: str, port: int) -> socket.socket:
    try:
        listener = listen(host, port, "api_jaeger_port")
    except ConfigError as error:
        raise OSError(f"port {port} of {host} cannot be taken") from error
    listener.setblocking(False)
    return listener
