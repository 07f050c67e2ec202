"""A TCP proxy before PostgreSQL that cuts each connection after so many bytes, in the middle of whatever it does."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator, Sequence

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class CuttingProxy:
    """Cuts connection number n after `cut_after_bytes[n]` bytes from the client; later ones are left alone."""

    def __init__(self, database_url: str, cut_after_bytes: Sequence[int], listen_port: int = 0) -> None:
        self.cuts = 0
        self._refusing = False
        self._cut_after_bytes = cut_after_bytes
        self._numbers = itertools.count()
        parameters = conninfo_to_dict(database_url)
        host, port = str(parameters.get("host", "127.0.0.1")), int(parameters.get("port") or 5432)
        self._server: str | tuple[str, int] = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        self._listener = socket.create_server(("127.0.0.1", listen_port))
        self.url = make_conninfo(database_url, host="127.0.0.1", port=self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._passes = threading.Event()
        self._passes.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
        _close(self._listener)
        self.cut_now()

    def cut_now(self) -> None:
        """Cut every connection, wherever it is; new ones are taken."""
        connections, self._open = self._open, []
        for connection in connections:
            _close(connection)

    def refuse(self, refusing: bool) -> None:
        """Cut every connection and take none, until called with False: a server that is away."""
        self._refusing = refusing
        self.cut_now()

    def hold(self, holding: bool) -> None:
        """Take connections and pass nothing on, until called with False: a server, or a network, that is stuck."""
        if holding:
            self._passes.clear()
        else:
            self._passes.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number = next(self._numbers)
            family = socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET
            server = socket.socket(family, socket.SOCK_STREAM)
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server.connect(self._server)
            except OSError:
                # The server is away.
                _close(client)
                _close(server)
                continue
            self._open += [client, server]
            limit = self._cut_after_bytes[number] if number < len(self._cut_after_bytes) else None
            threading.Thread(target=self._forward, args=(client, server, limit), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, None), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, limit_bytes: int | None) -> None:
        forwarded_bytes = 0
        with contextlib.suppress(OSError):
            while part := source.recv(16_384):
                self._passes.wait()
                if limit_bytes is not None and forwarded_bytes + len(part) >= limit_bytes:
                    target.sendall(part[: limit_bytes - forwarded_bytes])
                    self.cuts += 1
                    break
                target.sendall(part)
                forwarded_bytes += len(part)
        _close(source)
        _close(target)


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextlib.contextmanager
def cutting_proxy(database_url: str, cut_after_bytes: Sequence[int]) -> Iterator[CuttingProxy]:
    """A proxy that is closed afterwards."""
    proxy = CuttingProxy(database_url, cut_after_bytes)
    try:
        yield proxy
    finally:
        proxy.close()
