"""The command `spantree` as people run it: a process of its own, on free ports of 127.0.0.1.

What serves is started as people start it. A command that ends is forked from a process that has imported it: importing
is most of its time. tests/e2e/test_docs.py runs most commands of the documentation as processes of their own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx

from spantree_deploy.__main__ import main

_START_S = 60.0
_STOP_S = 30.0
_PORTS = ("--api-port", "0", "--otlp-http-port", "0", "--otlp-grpc-port", "0")


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would change how `spantree` or an SDK behaves, its `.venv` active.

    A variable of `more` that is empty is left out.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPANTREE_", "OTEL_", "PG"))}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    # Several servers may run at once; any free port will do for what no test asks for.
    return {
        name: value
        for name, value in (kept | {"SPANTREE_API_JAEGER_PORT": "0"} | more).items()
        if value or name not in more
    }


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["spantree_deploy.in_process", *(f"spantree_deploy.commands.{one}" for one in ("read", "serve", "store", "doctor"))]
)


def spantree(
    *arguments: str | Path, directory: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command of this checkout to its end, in `directory`; no `env` makes it run other code."""
    words = ["spantree", *map(str, arguments)]
    with tempfile.NamedTemporaryFile("r") as stdout, tempfile.NamedTemporaryFile("r") as stderr:
        streams = (os.devnull, stdout.name, stderr.name)
        process = _FORKS.Process(target=_run, args=(words, directory, environment(**(env or {})), streams))
        process.start()
        process.join(_START_S)
        status = process.exitcode
        if status is None:
            process.kill()
            process.join()
            raise AssertionError(f"{words} did not end within {_START_S:g} s:\n{stdout.read()}{stderr.read()}")
        process.close()
        return subprocess.CompletedProcess(words, status, stdout.read(), stderr.read())


def _run(words: list[str], directory: Path, env: Mapping[str, str], streams: tuple[str, str, str]) -> None:
    """What `python -m spantree_deploy` does, in a process that was forked for it."""
    for number, (name, flags) in enumerate(zip(streams, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        opened = os.open(name, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = words
    main()


class Server:
    """`spantree up`, `collector` or `api`; everything it prints is in `output`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._queue.put(self.lines[-1])
        self._queue.put(None)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return "\n".join(self.lines)

    def line(self, containing: str, timeout_s: float = _START_S) -> str:
        """The next line that contains the text; fails the test with everything printed when none comes."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line with {containing!r} within {timeout_s} s:\n{self.output}") from None
            if line is None:
                raise AssertionError(f"it ended ({self.process.wait()}) without a line {containing!r}:\n{self.output}")
            if containing in line:
                return line

    def told(self, name: str) -> str:
        """The value of a line `name  value` of what `spantree up` prints."""
        (line,) = [line for line in self.lines if line.startswith(f"{name} ")]
        return line.removeprefix(name).strip()

    @property
    def api_url(self) -> str:
        """The base of the API."""
        return self.told("API").removesuffix("/api/v1/executions")

    @property
    def otlp_url(self) -> str:
        """The base of OTLP/HTTP."""
        return self.told("OTLP/HTTP").removesuffix("/v1/traces")

    @property
    def database_url(self) -> str:
        """The embedded PostgreSQL."""
        return self.told("SQL").removeprefix("psql ").strip("'")

    @property
    def port_options(self) -> list[str]:
        """The options by which another command finds this server."""
        grpc_url = self.told("OTLP/gRPC")
        ports = (url.rpartition(":")[2] for url in (self.api_url, self.otlp_url, grpc_url))
        names = ("--api-port", "--otlp-http-port", "--otlp-grpc-port")
        return [word for pair in zip(names, ports, strict=True) for word in pair]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        self.process.send_signal(number)

    def status(self, timeout_s: float = _STOP_S) -> int:
        """Its exit status, once it has ended."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {timeout_s} s:\n{self.output}") from None

    def stop(self) -> int:
        """Stop it as a service manager does; the exit status."""
        self.signal(signal.SIGTERM)
        return self.status()


@contextlib.contextmanager
def started(
    *arguments: str | Path, directory: Path, env: Mapping[str, str] | None = None, ready: str = "running;"
) -> Iterator[Server]:
    """A server that has printed a line with `ready`; killed at the end of the block if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "spantree_deploy", *map(str, arguments)],
        cwd=directory,
        env=environment(PYTHONUNBUFFERED="1", **(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    server = Server(process)
    try:
        server.line(ready)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextlib.contextmanager
def up(
    directory: Path, *options: str | Path, env: Mapping[str, str] | None = None, ports: Sequence[str] = _PORTS
) -> Iterator[Server]:
    """`spantree up` on free ports, with its data in `directory/data`."""
    with started("up", "--data", directory / "data", *ports, *options, directory=directory, env=env) as server:
        yield server


def is_well(api_url: str) -> bool:
    """Whether all of it is, by its own word. A machine that is busy takes its time to say so."""
    with contextlib.suppress(httpx.TimeoutException):
        return bool(httpx.get(f"{api_url}/api/v1/health", trust_env=False).json().get("status") == "ok")
    return False


def tree(api_url: str, trace_id: str) -> dict[str, object] | None:
    """The execution's tree; None while there is none, or while the API has no database."""
    response = httpx.get(f"{api_url}/api/v1/executions/{trace_id}/tree", timeout=30, trust_env=False)
    if response.status_code in (404, 503):
        return None
    assert response.status_code == 200, response.text
    found: dict[str, object] = response.json()
    return found
