"""Somebody's receiver of webhooks, which fails now and then."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "signs-every-message"


@dataclass
class Receiver:
    """What has come. Of each message the first `failing` attempts are refused, in turns by 500 and by no answer."""

    failing: int = 0
    taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    def bodies(self, path: str = "/hook") -> list[dict[str, Any]]:
        """What was taken under a path, in order."""
        return [body for at, body in list(self.taken) if at == path]

    def take(self, path: str, headers: dict[str, str], content: bytes) -> int | None:
        """The status to answer, None for none."""
        expected = "sha256=" + hmac.new(SECRET.encode(), content, hashlib.sha256).hexdigest()
        if headers.get("x-spantree-signature") != expected:
            self.faults.append(f"the signature is {headers.get('x-spantree-signature')}, not {expected}")
        key = headers.get("idempotency-key", "")
        body = json.loads(content)
        if "event_id" in body and body["event_id"] != key:
            self.faults.append(f"Idempotency-Key is {key}, event_id {body['event_id']}")
        self.attempts[key] += 1
        if self.attempts[key] <= self.failing:
            return 500 if self.attempts[key] % 2 else None
        self.taken.append((path, body))
        return 200


@contextlib.contextmanager
def receiver(failing: int = 0) -> Iterator[Receiver]:
    """A receiver for the time of the block."""
    state = Receiver(failing)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            status = state.take(self.path, {name.lower(): value for name, value in self.headers.items()}, content)
            if status is None:
                self.connection.close()
                return
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, name="webhook receiver")
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
