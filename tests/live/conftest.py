"""A running `spantree up`, and programs under real instrumentations that send to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from tests.waiting import free_port, wait_until

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = Path(__file__).parent / "programs"
# Where `make test-live` installs the frameworks: apart, because they pin what spantree does not.
PYTHON: Final = ROOT / ".venv-live" / "bin" / "python"
# spantree projects a trace at once when it is whole, a second after its last span otherwise.
_PROJECTED_S: Final = 30.0
_PROGRAM_S: Final = 90.0

Json = dict[str, Any]


@dataclass(frozen=True)
class Spantree:
    """The servers of one `spantree up`."""

    api: httpx.Client
    otlp_url: str
    database_url: str

    def quiet(self) -> bool:
        """Whether everything that was acknowledged is in the rows."""
        metrics = httpx.get(self.otlp_url + "/metrics").text.splitlines()
        waiting = [line for line in metrics if line.startswith("spantree_collector_spool_bodies ")]
        if not (waiting and float(waiting[0].split()[1]) == 0 and self.get("/health")["pending_traces"] == 0):
            return False
        # Steps that never ran are learned from figures.
        with psycopg.connect(self.database_url) as connection:
            return connection.execute("SELECT FROM spantree.rollup_delta LIMIT 1").fetchone() is None

    def get(self, path: str) -> Any:
        """What the API answers; None for 404."""
        answer = self.api.get("/api/v1" + path)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        assert answer.status_code == httpx.codes.OK, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def tree(self, trace_id: str) -> Any:
        """The execution tree of a trace, None where the trace is not one."""
        return self.get(f"/executions/{trace_id}/tree")


@pytest.fixture(scope="session")
def spantree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spantree]:
    """`spantree up` on free ports, for all live tests; stopped by the signal that Ctrl-C sends."""
    assert PYTHON.exists(), f"{PYTHON} is missing: run `make test-live`, which installs the frameworks there"
    ports = {"--api-port": free_port(), "--otlp-http-port": free_port(), "--otlp-grpc-port": free_port()}
    options = [text for name, port in ports.items() for text in (name, str(port))]
    folder = tmp_path_factory.mktemp("up")
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "spantree_deploy", "up", "--data", str(folder / "data"), *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{ports['--api-port']}", timeout=30) as api:
                wait_until(lambda: is_ready(process, api, folder / "log"), 60, "`spantree up` is ready")
                printed = re.search(r"psql '([^']+)'", (folder / "log").read_text())
                assert printed, "`spantree up` prints the psql command"
                yield Spantree(api, f"http://127.0.0.1:{ports['--otlp-http-port']}", printed[1])
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def is_ready(process: subprocess.Popen[bytes], api: httpx.Client, log: Path) -> bool:
    """Whether the API says so; fails with what the process said if it has ended instead."""
    assert process.poll() is None, f"`spantree up` ended:\n{log.read_text()[-2000:]}"
    try:
        return api.get("/readyz").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def observed(spantree: Spantree) -> Callable[..., list[Json]]:
    """Runs a program that sends to spantree; returns the runs that it wrote down, once spantree has their rows."""

    def run(program: str, *arguments: str, **environment: str) -> list[Json]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
        done = subprocess.run(
            [str(PYTHON), str(PROGRAMS / program), *arguments],
            env={**inherited, "OTEL_EXPORTER_OTLP_ENDPOINT": spantree.otlp_url, **environment},
            capture_output=True,
            text=True,
            timeout=_PROGRAM_S,
            check=False,
        )
        assert done.returncode == 0, f"{program} failed:\n{done.stderr[-4000:]}"
        wait_until(spantree.quiet, _PROJECTED_S, f"all spans of {program} are in the rows")
        runs: list[Json] = json.loads(done.stdout.splitlines()[-1])
        return runs

    return run
