"""Both services as processes of their own, for the time of a `with`."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from spantree_deploy.demo.serving import READY

START_S: Final = 30.0
"""Importing FastAPI, SQLAlchemy and the SDK takes a second or two on a cold disk."""
STOP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Services:
    """Where the two services listen."""

    orders_url: str
    inventory_url: str


class ServiceNotStartedError(Exception):
    """A service of the demo ended, or kept silent, before it was ready."""


@contextmanager
def running(
    directory: Path,
    otel_environ: Mapping[str, str],
    *,
    database_url: str | None = None,
    orders_port: int = 0,
    inventory_port: int = 0,
) -> Iterator[Services]:
    """Start inventory and orders, wait until both listen, stop them at the end with their last spans sent.

    Args:
        directory: Where their SQLite files and logs go; it must exist.
        otel_environ: OTEL_* settings laid over this process's environment (OTEL_SERVICE_NAME is left out of it).
        database_url: Keep their tables (demo_...) in this PostgreSQL instead of SQLite.
        orders_port: 0 takes a free one.
        inventory_port: 0 takes a free one.
    """
    environ = {**os.environ, **otel_environ}
    environ.pop("OTEL_SERVICE_NAME", None)
    with ExitStack() as stack:
        inventory_url = stack.enter_context(
            _service(
                "inventory",
                ["--port", str(inventory_port), "--database-url", database_url or _sqlite(directory, "inventory")],
                directory,
                environ,
            )
        )
        orders_url = stack.enter_context(
            _service(
                "orders",
                [
                    "--port",
                    str(orders_port),
                    "--database-url",
                    database_url or _sqlite(directory, "orders"),
                    "--inventory-url",
                    inventory_url,
                ],
                directory,
                environ,
            )
        )
        yield Services(orders_url, inventory_url)


def _sqlite(directory: Path, name: str) -> str:
    return f"sqlite:///{directory.absolute() / f'demo-{name}.sqlite'}"


@contextmanager
def _service(name: str, options: list[str], directory: Path, environ: Mapping[str, str]) -> Iterator[str]:
    log_path = directory / f"demo-{name}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"spantree_deploy.demo.{name}", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environ,
            # a Ctrl-C in the terminal is for whoever started us; it stops us in order
            start_new_session=True,
        )
    assert process.stdout is not None  # noqa: S101 - for the type checker: it was asked for above
    try:
        yield _ready_url(name, process, process.stdout, log_path)
    finally:
        _stop(process)
        process.stdout.close()


def _ready_url(name: str, process: subprocess.Popen[bytes], stdout: IO[bytes], log_path: Path) -> str:
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        with contextlib.suppress(ValueError):  # closed while reading: the service is being stopped
            for line in stdout:
                lines.put(line.decode("utf-8", "replace").strip())
        lines.put(None)

    threading.Thread(target=read, name=f"demo-{name}-stdout", daemon=True).start()
    deadline_s = time.monotonic() + START_S
    with contextlib.suppress(queue.Empty, subprocess.TimeoutExpired):
        while (line := lines.get(timeout=max(0.0, deadline_s - time.monotonic()))) is not None:
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
        process.wait(STOP_S)
    last_lines = "\n".join(log_path.read_text("utf-8", "replace").splitlines()[-5:])
    ended = process.poll()
    what = f"was not ready within {START_S:g} s" if ended is None else f"ended with status {ended}"
    raise ServiceNotStartedError(f"the demo's {name} service {what}; its log {log_path} ends with:\n{last_lines}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
