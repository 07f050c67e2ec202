"""The API under test, on a port of 127.0.0.1, over a real database, by a clock that stands still."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import uvicorn
from tests.api_rows import NOW_NS
from tests.waiting import wait_until

from spantree_api.analysis.model_answer import Analyst
from spantree_api.app import create_app, end_streams
from spantree_api.config import ApiConfig


class _Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await end_streams(self.config.app)  # type: ignore[arg-type]  # create_app's
        await super().shutdown(sockets)


@contextlib.contextmanager
def api_over(
    database_url: str,
    now_ns: int | None = NOW_NS,
    analyst: Analyst | None = None,
    *,
    alerts: bool = False,
    **settings: Any,
) -> Iterator[httpx.Client]:
    """A client of the API over `database_url`, served by a thread until the end of the block; None: the real clock."""
    config = ApiConfig(database_url=database_url, **settings)
    app = create_app(config, time.time_ns if now_ns is None else lambda: now_ns, analyst, alerts=alerts)
    server = _Server(uvicorn.Config(app, port=0, log_config=None, ws="none", lifespan="on", proxy_headers=False))
    thread = threading.Thread(target=server.run, name="api under test")
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 10, "the API has started")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "the API did not stop within 10 s"


def ok(response: httpx.Response) -> Any:
    """The answer of a request that has to succeed."""
    assert response.status_code == 200, f"{response.status_code} {response.text[:2000]}"
    return response.json()


def refused(response: httpx.Response) -> tuple[int, str, str]:
    """(status, code, message) of a refusal in the one shape."""
    answer = response.json()
    assert set(answer) == {"error"}, response.text
    assert set(answer["error"]) == {"code", "message", "details"}, response.text
    return response.status_code, answer["error"]["code"], answer["error"]["message"]
