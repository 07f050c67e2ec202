"""Taking connections on a port, through TLS where it is wanted.

A handshake that is not finished holds a socket and some memory, and a client may begin as many as it likes. So they are
bounded in time and in number; where there are too many the address that has most of them gives up its oldest one, and a
flood from one address keeps nobody else from shaking hands.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from spantree_exporter.tls.certificate import Alpn, ServerTls

HANDSHAKE_S: Final = 10.0
HANDSHAKES_MAX: Final = 128
# How long a client may take to confirm that a connection has ended.
_SHUTDOWN_S: Final = 3.0
# The process has no file left: others close theirs meanwhile.
_AGAIN_S: Final = 0.5

Factory = Callable[[], asyncio.BaseProtocol]


class Listening(Protocol):
    """What takes connections."""

    def close(self) -> None:
        """Take no more of them, and close the listener; those that there are go on."""
        ...


async def take_connections(
    listener: socket.socket,
    factory: Factory,
    tls: ServerTls | None,
    alpn: Alpn,
    *,
    backlog: int,
    refused: Callable[[str], None],
) -> Listening:
    """Give each connection of `listener` a protocol of `factory`; with `tls` once its handshake is done.

    `refused` is told why a handshake came to nothing: `tls_handshake` (the client's doing, or too slow) or
    `tls_made_room`.
    """
    if tls is None:
        return await asyncio.get_running_loop().create_server(factory, sock=listener, backlog=backlog)
    listener.listen(backlog)
    return _TlsListener(listener, factory, tls, alpn, refused)


class _TlsListener:
    def __init__(
        self, listener: socket.socket, factory: Factory, tls: ServerTls, alpn: Alpn, refused: Callable[[str], None]
    ) -> None:
        self._listener = listener
        self._factory = factory
        self._tls = tls
        self._alpn: Alpn = alpn
        self._refused = refused
        # In the order in which they began, with the address that each is of.
        self._handshakes: dict[asyncio.Task[None], str] = {}
        listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())

    def close(self) -> None:
        self._accepting.cancel()
        for handshake in self._handshakes:
            handshake.cancel()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, address = await loop.sock_accept(self._listener)
                except ConnectionError:
                    continue  # it went away before it was taken
                except OSError:
                    await asyncio.sleep(_AGAIN_S)
                    continue
                self._make_room()
                handshake = asyncio.create_task(self._shake_hands(connection))
                self._handshakes[handshake] = str(address[0]) if address else ""
                handshake.add_done_callback(self._handshakes.pop)
        finally:
            self._listener.close()

    def _make_room(self) -> None:
        going = {task: address for task, address in self._handshakes.items() if not task.cancelling()}
        if len(going) >= HANDSHAKES_MAX:
            ((most, _),) = Counter(going.values()).most_common(1)
            next(task for task, address in going.items() if address == most).cancel()
            self._refused("tls_made_room")

    async def _shake_hands(self, connection: socket.socket) -> None:
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory,
                connection,
                ssl=self._tls.context(self._alpn),
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=_SHUTDOWN_S,
            )
        except OSError:
            # ssl.SSLError, TimeoutError and ConnectionError among them.
            self._refused("tls_handshake")
