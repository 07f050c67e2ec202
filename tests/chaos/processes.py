"""A collector in a process of its own, to be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.waiting import free_port, wait_until

from spantree_collector.app import Addresses


class CollectorProcess:
    """`python -m spantree_collector` on a data directory; started again it has the same ports."""

    def __init__(self, data_dir: Path, database_url: str, environment: Mapping[str, str] | None = None) -> None:
        self.addresses = Addresses("127.0.0.1", free_port(), free_port())
        self._log_path = data_dir.with_suffix(".log")
        self._environment = os.environ | {
            "SPANTREE_DATABASE_URL": database_url,
            "SPANTREE_DATA_DIR": str(data_dir),
            "SPANTREE_OTLP_HTTP_PORT": str(self.addresses.otlp_http_port),
            "SPANTREE_OTLP_GRPC_PORT": str(self.addresses.otlp_grpc_port),
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it takes requests."""
        with self._log_path.open("ab") as log:
            said_bytes = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "spantree_collector"], env=self._environment, stderr=log
            )
        wait_until(
            lambda: b"takes OTLP/HTTP on" in self._log_path.read_bytes()[said_bytes:],
            60,
            f"the collector took requests; its log is {self._log_path}",
        )

    @property
    def pid(self) -> int:
        """Of the collector that was started last."""
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """What it and those before it have logged."""
        return self._log_path.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        assert self._process.wait(20) == -signal.SIGKILL

    def ended(self) -> int:
        """Ask it to stop, as an orchestrator does; its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(90)

    def stop(self) -> None:
        """An orderly stop, where it still runs."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
            raise


@contextlib.contextmanager
def collector_process(
    data_dir: Path, database_url: str, environment: Mapping[str, str] | None = None
) -> Iterator[CollectorProcess]:
    """A started collector that does not outlive the test."""
    process = CollectorProcess(data_dir, database_url, environment)
    process.start()
    try:
        yield process
    finally:
        process.stop()
