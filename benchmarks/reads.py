"""How long the API and the views take to answer beside what is stored: p50 and CPU of every read, through HTTP.

    python -m benchmarks.reads --database-url URL                     of a database that benchmarks/seed.py has filled
    python -m benchmarks.reads --executions 1000000                   seeds an embedded PostgreSQL first
    python -m benchmarks.reads --database-url URL --only q, tree      only reads whose names begin so

Each read is asked once to warm up and then `--repeat` times over one connection; the API runs in a process of its own.
CPU is that of the API and of the PostgreSQL process that serves it, per request, by /proc (Linux). Prints a table, at
last one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import uvicorn
from benchmarks.seed import BIG_TRACES, seed

from spantree_api.app import create_app
from spantree_api.config import ApiConfig
from spantree_deploy.postgres.embedded import EmbeddedPostgres

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Figure:
    """What one read took. Times in ms, CPU of both processes per request."""

    name: str
    p50_ms: float
    p95_ms: float
    api_cpu_ms: float
    postgres_cpu_ms: float
    rows: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", default=None)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=21)
    parser.add_argument("--only", default="", help="beginnings of names, with commas in between")
    arguments = parser.parse_args()
    only = tuple(one.strip() for one in arguments.only.split(","))
    with tempfile.TemporaryDirectory(prefix="spantree-reads-") as name:
        server: AbstractContextManager[str] = _seeded(Path(name), arguments.executions, arguments.days)
        if arguments.database_url:
            server = nullcontext(arguments.database_url)
        with server as url, served(url) as (base, pid):
            figures = [*_over_http(url, base, pid, arguments.repeat, only), *_in_sql(url, arguments.repeat, only)]
    print(f"{'read':44} {'p50 ms':>8} {'p95 ms':>8} {'API CPU':>8} {'PG CPU':>8} {'rows':>7}")
    for one in figures:
        print(
            f"{one.name:44} {one.p50_ms:8.1f} {one.p95_ms:8.1f} {one.api_cpu_ms:8.1f} {one.postgres_cpu_ms:8.1f} "
            f"{one.rows:7,}"
        )
    print(json.dumps([asdict(one) for one in figures]))


@contextmanager
def _seeded(folder: Path, executions: int, days: int) -> Iterator[str]:
    with EmbeddedPostgres(folder / "postgres", durable=False) as server:
        seed(server.url, executions, days, report=lambda step: print(step, file=sys.stderr))
        yield server.url


# ---- what is asked ---------------------------------------------------------------------------------------------


def _lists(execution: str) -> dict[str, str]:
    """Paths by name; what has no match comes after what has."""
    reads = {"list": "/executions?limit=50"}
    reads["list hidden"] = "/executions?limit=50&hidden=true"
    filters = {
        "status": ("completed", "skipped"),
        "status of few": ("timed_out", "pending"),
        "status running": ("running", "running&since=2050-01-01T00:00:00Z"),
        "status lost": ("lost", "lost&workflow=nothing"),
        "workflow": ("invoice-run", "nothing"),
        "service": ("billing", "nothing"),
        "service took part": ("mail", "nothing"),
        "conversation_id": ("conversation-1234", "nothing"),
        "user_id": ("user-77", "nothing"),
        "run_id": ("run-5000", "nothing"),
        "kind": ("agent", "nothing"),
        "project": ("shop", "nothing"),
        "error_category": ("timeout", "nothing"),
        "min_duration_ms": ("1000", "100000000000"),
        "max_duration_ms": ("60", "0.001"),
        "q": ("timeouterror", "nowhere"),
        "q common": ("order", "orderzzz"),
        "q key": (quote("order.id:4711"), quote("order.id:x")),
    }
    for name, (match, none) in filters.items():
        key = name.split(" ")[0]
        reads[f"{name}, match"] = f"/executions?limit=50&{key}={match}"
        reads[f"{name}, none"] = f"/executions?limit=50&{key}={none}"
    reads["several, match"] = "/executions?limit=50&status=failed&kind=workflow&service=orders&user_id=user-77"
    reads["several, none"] = "/executions?limit=50&status=timed_out&workflow=invoice-run&service=orders"
    reads["failures"] = "/failures?hours=24"
    reads["failures, none"] = "/failures?hours=168&category=nothing"
    reads["stuck"] = "/stuck"
    reads["stats/nodes, 7 days"] = "/stats/nodes?days=7"
    reads["stats/nodes, 30 days"] = "/stats/nodes?days=30"
    reads["stats/workflows, 30 days"] = "/stats/workflows?days=30"
    reads["stats/workflows/{name}, 30 days"] = "/stats/workflows/invoice-run?days=30"
    reads["health"] = "/health"
    reads["conversation"] = "/conversations/conversation-1234/executions"
    reads["run"] = "/runs/run-5000"
    reads["tree of 25"] = f"/executions/{execution}/tree"
    reads["execution"] = f"/executions/{execution}"
    reads["failure report"] = f"/executions/{execution}/failure"
    for nodes, trace_id in BIG_TRACES.items():
        path = f"/executions/{trace_id}"
        reads[f"tree of {nodes:,}, page of 200"] = f"{path}/tree?limit=200"
        reads[f"tree of {nodes:,}, two levels"] = f"{path}/tree?depth=0"
        reads[f"tree of {nodes:,}, nodes"] = f"{path}/nodes?limit=200"
    return reads


def _views(execution: str) -> dict[str, str]:
    newest = "ORDER BY started_at DESC LIMIT 50"
    reads = {
        f"view {view} by id": f"SELECT * FROM spantree.{view} WHERE execution_id = '{execution}'" for view in _BY_ID
    }
    reads |= {f"view {view} by time": f"SELECT * FROM spantree.{view} {newest}" for view in ("executions", "failures")}
    reads["view failures of a day"] = "SELECT * FROM spantree.failures WHERE day = current_date - 1"
    reads["view stuck_executions"] = "SELECT * FROM spantree.stuck_executions LIMIT 50"
    reads["execution_tree()"] = f"SELECT * FROM spantree.execution_tree('{execution}')"
    return reads


_BY_ID = ("executions", "nodes", "edges", "failures")


# ---- how it is measured ----------------------------------------------------------------------------------------


def _over_http(url: str, base: str, pid: int, repeat: int, only: tuple[str, ...]) -> Iterator[Figure]:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT trace_id FROM spantree.execution WHERE day = (SELECT max(day) - 1 FROM spantree.execution) "
            "AND status = 'failed' LIMIT 1"
        ).fetchone()
        assert row is not None, "no failed execution on the last day but one: seed the database first"
        execution = row[0].hex
        with httpx.Client(base_url=f"{base}/api/v1", timeout=120) as client:
            for name, path in _lists(execution).items():
                if not name.startswith(only):
                    continue
                answer = client.get(path)
                answer.raise_for_status()
                told = answer.json()
                rows = next((len(value) for value in told.values() if isinstance(value, list)), 1)

                def ask(path: str = path) -> None:
                    client.get(path).raise_for_status()

                backends = _backends(connection, "spantree-api")
                yield _measured(name, ask, repeat, rows, pid, backends)


def _in_sql(url: str, repeat: int, only: tuple[str, ...]) -> Iterator[Figure]:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT trace_id FROM spantree.trace OFFSET 1000 LIMIT 1").fetchone()
        assert row is not None, "no trace: seed the database first"
        for name, text in _views(row[0].hex).items():
            if not name.startswith(only):
                continue
            rows = len(connection.execute(text.encode()).fetchall())

            def ask(text: str = text) -> None:
                connection.execute(text.encode()).fetchall()

            yield _measured(name, ask, repeat, rows, os.getpid(), [connection.info.backend_pid])


def _measured(name: str, ask: Callable[[], None], repeat: int, rows: int, pid: int, backends: list[int]) -> Figure:
    taken: list[float] = []
    api_s, postgres_s = _cpu_s([pid]), _cpu_s(backends)
    for _ in range(repeat):
        began = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - began) * 1e3)
    quantiles = statistics.quantiles(taken, n=20) if repeat > 1 else taken * 19
    return Figure(
        name,
        round(statistics.median(taken), 2),
        round(quantiles[18], 2),
        round((_cpu_s([pid]) - api_s) * 1e3 / repeat, 2),
        round((_cpu_s(backends) - postgres_s) * 1e3 / repeat, 2),
        rows,
    )


def _backends(connection: psycopg.Connection, application: str) -> list[int]:
    rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", [application])
    return [pid for (pid,) in rows]


def _cpu_s(pids: list[int]) -> float:
    total = 0.0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:  # not Linux, or the pool has closed it
            continue
        total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


@contextmanager
def served(url: str) -> Iterator[tuple[str, int]]:
    """The API over a database, in a process of its own: its address and its id."""
    context = multiprocessing.get_context("spawn")
    ports: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=_serve, args=(url, ports), daemon=True)
    process.start()
    try:
        assert process.pid is not None
        yield f"http://127.0.0.1:{ports.get(timeout=60)}", process.pid
    finally:
        process.terminate()
        process.join(timeout=10)


def _serve(url: str, ports: multiprocessing.Queue[int]) -> None:
    config = uvicorn.Config(create_app(ApiConfig(database_url=url)), port=0, log_level="warning", access_log=False)
    socket = config.bind_socket()
    # Whoever is told the port connects at once, before the server has come up.
    socket.listen()
    ports.put(socket.getsockname()[1])
    uvicorn.Server(config).run([socket])


if __name__ == "__main__":
    main()
