"""Running one service of the demo: options, a port that is checked before anything starts, a line when it is ready."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from contextlib import closing

import uvicorn
from fastapi import FastAPI

from spantree_deploy.demo import telemetry

READY = "ready on"
"""What the line on standard output begins with that says where the service listens."""


def options(program: str, description: str) -> argparse.ArgumentParser:
    """The options that both services have."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument(
        "--database-url",
        required=True,
        help="where its tables are: sqlite:///FILE or postgresql://...",
    )
    return parser


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ends the process with a sentence when the port is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Before anybody is told that it is ready: a port that is only bound refuses connections.
        listener.listen(128)
    except OSError as exc:
        listener.close()
        sys.exit(f"cannot listen on {host} port {port}: {exc.strerror}; choose another with --port (0: a free one)")
    return listener


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then finish the open requests and send the spans that are left."""
    # uvicorn repeats the signal once it is done: by default that would end the process before its last spans are sent
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    host, port = listener.getsockname()[:2]
    with closing(listener):
        print(f"{READY} http://{host}:{port}", flush=True)  # noqa: T201 - whoever started it reads this
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            telemetry.flush()


def engine_url(url: str) -> str:
    """`url` as SQLAlchemy wants it, with psycopg 3 for PostgreSQL."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in ("postgres", "postgresql") else url
