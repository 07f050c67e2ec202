"""A connection pooler as PgBouncer is one: it lends sessions of a server to clients, for as long as they stay or less.

It speaks no more of the protocol than where messages end: what it says of itself has SQLSTATE 08P01 and no place in a
source, a client asks for nothing but a few settings when it connects, and the process that it names is none.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator

from psycopg.conninfo import conninfo_to_dict

# Those of PgBouncer 1.18 (client.c, decide_startup_pool), which it passes on or knows itself.
_STARTUP = {"user", "database", "client_encoding", "datestyle", "timezone", "standard_conforming_strings"} | {
    "application_name"
}
_PROTOCOL = 196_608
_RESET = b"DISCARD ALL"


class Pooler:
    """`by_transaction`: a session is lent until its transaction ends, else until the client leaves.

    `resets`: before it is lent again; PgBouncer does so in the latter case, Odyssey in both.
    """

    def __init__(self, database_url: str, *, by_transaction: bool, resets: bool, sessions_max: int = 40) -> None:
        self.full_after_s = 0.2
        self._by_transaction = by_transaction
        self._resets = resets
        given = conninfo_to_dict(database_url)
        self._host, self._port = str(given["host"]), int(given.get("port") or 5432)
        self._startup = {"user": str(given["user"]), "database": str(given["dbname"])}
        self._free: list[socket.socket] = []
        self._sessions: list[socket.socket] = []
        self._serving: list[tuple[socket.socket, threading.Thread]] = []
        self._closed = False
        self._room = threading.Semaphore(sessions_max)
        server, self._told_at_start = self._connected()
        self._free.append(server)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "postgresql://{user}@127.0.0.1:{port}/{database}".format(
            port=self._listener.getsockname()[1], **self._startup
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End, with every session that is not lent."""
        self._listener.close()
        self._closed = True
        for connection in (*(client for client, _ in self._serving), *self._sessions):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _, thread in self._serving:
            thread.join(5)
        for server in self._sessions:
            server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
                self._serving.append((client, thread))
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, EOFError):
            if (refused := self._greeted(client)) is not None:
                client.sendall(_error(refused))
                return
            client.sendall(
                _message(b"R", struct.pack("!i", 0))
                + self._told_at_start
                + _message(b"K", struct.pack("!ii", 1, 1))
                + _message(b"Z", b"I")
            )
            self._lend(client)

    def _greeted(self, client: socket.socket) -> str | None:
        while True:
            (length,) = struct.unpack("!i", _exactly(client, 4))
            body = _exactly(client, length - 4)
            (code,) = struct.unpack("!i", body[:4])
            if code == _PROTOCOL:
                break
            client.sendall(b"N")  # neither TLS nor Kerberos
        names = body[4:].decode().split("\0")[0:-2:2]
        return next((f"unsupported startup parameter: {name}" for name in names if name.lower() not in _STARTUP), None)

    def _lend(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        awaited = 0  # ends of commands that the server has not told yet
        try:
            while True:
                ready, _, _ = select.select([client] if server is None else [client, server], [], [])
                if client in ready:
                    kind, message = _read(client)
                    if kind == b"X":
                        return
                    if server is None and (server := self._borrowed()) is None:
                        client.sendall(_error("query_wait_timeout"))
                        return
                    awaited += kind in b"QS"
                    server.sendall(message)
                elif server is not None:
                    kind, message = _read(server)
                    client.sendall(message)
                    awaited -= kind == b"Z"
                    if kind == b"Z" and not awaited and message.endswith(b"I") and self._by_transaction:
                        self._give_back(server)
                        server = None
        finally:
            if server is not None:
                # By transaction only what was cut in the midst of one; such a session is of no use.
                self._give_back(server, is_lost=self._by_transaction)

    def _borrowed(self) -> socket.socket | None:
        waits_until_s = time.monotonic() + self.full_after_s
        while not self._room.acquire(timeout=0.05):
            if self._closed or time.monotonic() > waits_until_s:
                return None
        with contextlib.suppress(IndexError):
            return self._free.pop()
        return self._connected()[0]

    def _connected(self) -> tuple[socket.socket, bytes]:
        """A session, and what the server tells of its settings."""
        if self._host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            server = socket.create_connection((self._host, self._port))
        self._sessions.append(server)
        settings = "".join(f"{name}\0{value}\0" for name, value in self._startup.items()).encode() + b"\0"
        server.sendall(struct.pack("!ii", len(settings) + 8, _PROTOCOL) + settings)
        return server, _until_ready(server)

    def _give_back(self, server: socket.socket, *, is_lost: bool = False) -> None:
        if is_lost:
            server.close()
        else:
            if not self._by_transaction:
                server.sendall(_message(b"Q", b"ROLLBACK\0"))
                _until_ready(server)
            if self._resets:
                server.sendall(_message(b"Q", _RESET + b"\0"))
                _until_ready(server)
            self._free.append(server)
        self._room.release()


@contextlib.contextmanager
def pooler(
    database_url: str, *, by_transaction: bool = False, resets: bool | None = None, sessions_max: int = 40
) -> Iterator[Pooler]:
    """A pooler that is closed afterwards; by default one that resets as PgBouncer does."""
    resets = not by_transaction if resets is None else resets
    opened = Pooler(database_url, by_transaction=by_transaction, resets=resets, sessions_max=sessions_max)
    try:
        yield opened
    finally:
        opened.close()


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _error(text: str) -> bytes:
    return _message(b"E", b"SFATAL\0C08P01\0M" + text.encode() + b"\0\0")


def _exactly(source: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = source.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _read(source: socket.socket) -> tuple[bytes, bytes]:
    """The kind of the next message, and all of it."""
    head = _exactly(source, 5)
    return head[:1], head + _exactly(source, struct.unpack("!i", head[1:])[0] - 4)


def _until_ready(server: socket.socket) -> bytes:
    """Read on until it is; what it has told of its settings meanwhile."""
    told = b""
    while True:
        kind, message = _read(server)
        if kind == b"Z":
            return told
        if kind == b"S":
            told += message
