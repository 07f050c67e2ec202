"""What open pages cost a server that nothing happens on: memory, connections to PostgreSQL, files.

    .venv/bin/python -m benchmarks.live_pages [--pages 1000]

Each page is what a browser makes of one: the page of a run that goes on, then its stream of changes, which stays open.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.api_rows import insert
from tests.page_rows import small
from tests.postgres import new_database, throw_away_server
from tests.spantree_process import Server, started
from tests.tables import query
from tests.waiting import free_port

from spantree_exporter.postgres.migrate import migrate

# Opened at the same time: a browser's wish, not an attack.
_AT_ONCE = 8
_SETTLED_S = 5.0


def _memory_kb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _say(what: str, server: Server, database_url: str) -> None:
    pid = server.process.pid
    connections = query(database_url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")[0][0]
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    print(
        f"{what:<28} {_memory_kb(pid) / 1024:7.1f} MiB  {connections - 1:3d} connections  {files:5d} files", flush=True
    )


async def _opened(port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 120)
    if head.startswith(b"HTTP/1.1 503"):
        writer.close()
        raise _Refused
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{path} was answered {head[:60]!r}")
    return reader, writer


class _Refused(Exception):
    """503: the server asks for patience."""


async def _looked_at(port: int, path: str) -> None:
    """As a person does: again, where the machine is too busy for an answer now."""
    while True:
        try:
            _, writer = await _opened(port, path)
        except _Refused:
            await asyncio.sleep(1)
        else:
            writer.close()
            return


async def _hold(port: int, execution_id: str, pages: int, server: Server, database_url: str) -> None:
    turn = asyncio.Semaphore(_AT_ONCE)

    async def page() -> asyncio.StreamWriter:
        async with turn:
            await _looked_at(port, f"/executions/{execution_id}")
            reader, stream = await _opened(port, f"/api/v1/executions/{execution_id}/stream")
            # The number of the last change: from here on it listens.
            await asyncio.wait_for(reader.readuntil(b"\n\n"), 120)
            return stream

    held = await asyncio.gather(*(page() for _ in range(pages)))
    await asyncio.sleep(_SETTLED_S)
    _say(f"{pages} pages open, nothing new", server, database_url)
    for stream in held:
        stream.close()
    await asyncio.sleep(_SETTLED_S)
    _say("all closed", server, database_url)


def main() -> int:
    """Print one line before, with and after the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=1_000)
    pages = parser.parse_args().pages
    with (
        tempfile.TemporaryDirectory(prefix="spantree-live-pages-") as folder,
        throw_away_server() as postgres,
        new_database(postgres) as url,
    ):
        migrate(url)
        run = small(1, "triage agent", time.time_ns(), "running")
        insert(url, run)
        port = free_port()
        arguments = ("api", "--database-url", url, "--api-port", str(port))
        with started(*arguments, directory=Path(folder), ready="the API answers on") as server:
            asyncio.run(_hold(port, run.trace_id, 10, server, url))  # warm: modules, templates, the pool
            _say("warm", server, url)
            asyncio.run(_hold(port, run.trace_id, pages, server, url))
    return 0


if __name__ == "__main__":
    sys.exit(main())
