"""How fast spans become durable, projected rows, beside a plain COPY of the same rows: spans/s and their ratio.

    python benchmarks/ingest.py                           the reference load, an embedded PostgreSQL, a real collector
    python benchmarks/ingest.py --database-url URL        that PostgreSQL; it needs an empty database, whose rows go
    python benchmarks/ingest.py --workload FILE           length-prefixed (uint32 LE) ExportTraceServiceRequests
    python benchmarks/ingest.py --profile                 where Python's time goes on the way from bytes to rows

In one run on one PostgreSQL: the very rows of the load by COPY BINARY, its bytes over OTLP/HTTP until every span is
stored and every trace projected, and the COPY again, because a machine that others share changes under way. Clients,
collector and PostgreSQL share the machine.
"""

from __future__ import annotations

import argparse
import cProfile
import http.client
import json
import os
import pstats
import random
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from psycopg.sql import SQL, Identifier

from spantree_deploy.embedded import EmbeddedPostgres
from spantree_exporter.copy_binary import HEADER, TRAILER, span_rows
from spantree_exporter.decode import PROTOBUF, decode_request
from spantree_exporter.facts import read_facts
from spantree_exporter.migrate import migrate
from spantree_exporter.partitions import day_of, ensure_partitions
from spantree_exporter.store import Store

# Beside the checkout where it is developed; elsewhere a load of the same shape is made here.
_REFERENCE = Path(__file__).parents[2] / "shared" / "workload" / "generate.py"
_TABLES = ("trace", "span", "execution", "node", "edge", "resource", "pending_projection")
# The COPY's rows are another tenant's, so that nothing of the two runs meets.
_COPY_TENANT = 999
_BATCH_SPANS = 4000
_GIVE_UP_S = 300.0


def main() -> None:
    """Run the benchmark and print the figures, at last as one line of JSON."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="spantree-bench-", dir=arguments.dir) as name:
        folder = Path(name)
        bodies = list(_bodies(arguments.workload or _load(folder, arguments.traces)))
        with _database(arguments.database_url, folder) as url:
            migrate(url)
            _empty(url)
            if arguments.profile:
                _profile(url, bodies)
                return
            figures = _measure(url, bodies, folder, arguments.clients)
    for key, value in figures.items():
        print(f"{key:>28}  {value:,.2f}" if isinstance(value, float) else f"{key:>28}  {value:,}")
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", default=None)
    parser.add_argument("--workload", type=Path, default=None)
    parser.add_argument("--traces", type=int, default=4000, help="traces of some 25 spans, where no file is given")
    parser.add_argument("--clients", type=int, default=4, help="connections that send, each waiting for its answers")
    parser.add_argument("--dir", default=None, help="where spool and database lie; a disk, not a memory file system")
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


@contextmanager
def _database(given: str | None, folder: Path) -> Iterator[str]:
    if given:
        yield given
        return
    with EmbeddedPostgres(folder / "postgres") as server:
        yield server.url


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for table in _TABLES:
            connection.execute(SQL("TRUNCATE spantree.{}").format(Identifier(table)))
        connection.execute("CHECKPOINT")


# ---- what is measured ------------------------------------------------------------------------------------------


def _measure(url: str, bodies: list[bytes], folder: Path, clients: int) -> dict[str, float | int]:
    spans = [span for body in bodies for span in decode_request(body, PROTOBUF, time.time_ns()).spans]
    days = [day_of(span.start_ns) for span in spans]
    traces = len({span.trace_id for span in spans})
    blocks = list(span_rows(_COPY_TENANT, days, spans, [read_facts(span) for span in spans]))
    count = len(spans)
    # As objects they would make the sender's garbage collector compete with what is measured.
    del spans
    with psycopg.connect(url, autocommit=True) as connection:
        ensure_partitions(connection, set(days))
    copy_before_s = _copy(url, blocks)
    ingest = _ingest(url, bodies, folder, clients, count, traces)
    copy_after_s = _copy(url, blocks)
    copy_rate = count / statistics.mean((copy_before_s, copy_after_s))
    return {
        "spans": count,
        "traces": traces,
        "bytes": sum(map(len, bodies)),
        "COPY spans/s before": count / copy_before_s,
        "COPY spans/s after": count / copy_after_s,
        "ingest spans/s": count / ingest["seconds"],
        "ratio": count / ingest["seconds"] / copy_rate,
        **ingest,
    }


def _copy(url: str, blocks: list[bytes]) -> float:
    """Seconds that one COPY of all rows takes, commit included."""
    with psycopg.connect(url) as connection:
        started_s = time.perf_counter()
        with connection.cursor().copy("COPY spantree.span FROM STDIN (FORMAT binary)") as copy:
            copy.write(HEADER)
            for block in blocks:
                copy.write(block)
            copy.write(TRAILER)
        connection.commit()
        elapsed_s = time.perf_counter() - started_s
    _empty(url)
    return elapsed_s


def _ingest(url: str, bodies: list[bytes], folder: Path, clients: int, spans: int, traces: int) -> dict[str, float]:
    with _collector(url, folder) as (process, port):
        latencies_s: list[float] = []
        started_s = time.perf_counter()
        senders = [
            threading.Thread(target=_send, args=(port, bodies[client::clients], latencies_s))
            for client in range(clients)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        acknowledged_s = time.perf_counter() - started_s
        _wait_until_projected(url, spans, traces)
        seconds = time.perf_counter() - started_s
        percentiles = statistics.quantiles(latencies_s, n=100)
        return {
            "seconds": seconds,
            "seconds to acknowledge": acknowledged_s,
            "ack p50 ms": percentiles[49] * 1000,
            "ack p99 ms": percentiles[98] * 1000,
            "collector processes": float(len(family := _family(process.pid))),
            "collector peak MB": sum(map(_peak_mb, family)),
            "collector CPU s": sum(map(_cpu_s, family)),
        }


def _send(port: int, bodies: list[bytes], latencies_s: list[float]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for body in bodies:
        started_s = time.perf_counter()
        connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"the collector answered {answer.status}")
        latencies_s.append(time.perf_counter() - started_s)
    connection.close()


def _wait_until_projected(url: str, spans: int, traces: int) -> None:
    """Poll the executions, which are few, until they account for every span."""
    deadline_s = time.monotonic() + _GIVE_UP_S
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            row = connection.execute("SELECT coalesce(sum(span_count), 0), count(*) FROM spantree.execution").fetchone()
            if row == (spans, traces):
                break
            if time.monotonic() > deadline_s:
                raise SystemExit(f"after {_GIVE_UP_S:.0f} s there are {row} (spans, executions), not {(spans, traces)}")
            time.sleep(0.1)
        stored = connection.execute("SELECT count(*) FROM spantree.span").fetchone()
        if stored != (spans,):
            raise SystemExit(f"{stored} spans are stored, not {spans}")


@contextmanager
def _collector(url: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    spool = folder / "spool"
    spool.mkdir()
    environment = os.environ | {
        "SPANTREE_DATABASE_URL": url,
        "SPANTREE_DATA_DIR": str(spool),
        "SPANTREE_OTLP_HTTP_PORT": "0",
        "SPANTREE_OTLP_GRPC_PORT": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "spantree_collector"], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"takes OTLP/HTTP on http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            raise SystemExit(f"the collector ended with {process.wait()}: {said}")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        _wait_until_up(int(found[1]))
        yield process, int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_until_up(port: int) -> None:
    """Starting is not what is measured: the collector takes requests before its writers are up."""
    deadline_s = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < deadline_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/readyz")
        told = json.loads(connection.getresponse().read())
        connection.close()
        if told["store"]["state"] == told["projector"]["state"] == "ok":
            return
        time.sleep(0.1)
    raise SystemExit(f"after {_GIVE_UP_S:.0f} s the collector does not write: {told}")


def _family(pid: int) -> list[int]:
    """The process and all below it, so that work it hands to others counts too."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [pid, *(member for child in children.split() for member in _family(int(child)))]


def _peak_mb(pid: int) -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1000 if found else 0.0


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _profile(url: str, bodies: list[bytes]) -> None:
    def write_all() -> None:
        batch = []
        for number, body in enumerate(bodies, start=1):
            batch += decode_request(body, PROTOBUF, time.time_ns()).spans
            if len(batch) >= _BATCH_SPANS or number == len(bodies):
                store.write(batch)
                batch = []

    store = Store(url)
    profile = cProfile.Profile()
    started_s = time.process_time()
    profile.runcall(write_all)
    print(f"{time.process_time() - started_s:.1f} s of CPU, the profiler's own included")
    store.close()
    statistics_ = pstats.Stats(profile).strip_dirs()
    statistics_.sort_stats("tottime").print_stats(15)
    statistics_.sort_stats("cumtime").print_stats("read_facts|assemble|decode_request|_rows|wait|dump_json", 12)


# ---- the load --------------------------------------------------------------------------------------------------


def _bodies(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        yield content[at + 4 : at + 4 + length]
        at += 4 + length


def _load(folder: Path, traces: int) -> Path:
    path = folder / "load.bin"
    if _REFERENCE.is_file():
        command = [sys.executable, str(_REFERENCE), "--traces", str(traces), "--out", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return path
    with path.open("wb") as file:
        for body in _made_up(traces):
            file.write(struct.pack("<I", len(body)) + body)
    return path


def _made_up(traces: int) -> Iterator[bytes]:
    """Requests of some 500 spans: traces of 25 in three levels, twelve attributes each, a stack trace in one of ten."""
    chance = random.Random(1)
    start_ns = 1_780_000_000_000_000_000
    request = ExportTraceServiceRequest()
    for trace in range(traces):
        if trace % 20 == 0 and trace:
            yield request.SerializeToString()
            request = ExportTraceServiceRequest()
        if not request.resource_spans:
            resource_spans = request.resource_spans.add()
            resource_spans.resource.attributes.add(key="service.name").value.string_value = "bench"
            scope_spans = resource_spans.scope_spans.add()
            scope_spans.scope.name = "bench"
        trace_id = chance.randbytes(16)
        ids = [chance.randbytes(8) for _ in range(25)]
        for index in reversed(range(25)):
            parent = b"" if index == 0 else ids[0] if index < 13 else ids[index - 12]
            begun_ns = start_ns + trace * 10**6 + index * 10**8
            span = scope_spans.spans.add(
                trace_id=trace_id,
                span_id=ids[index],
                parent_span_id=parent,
                name=f"step {index}" if index else "execute flow",
                start_time_unix_nano=begun_ns,
                end_time_unix_nano=begun_ns + (10**8 if index else 3 * 10**9),
            )
            for key in range(12):
                span.attributes.add(key=f"attribute.{key}").value.string_value = "words " * chance.randint(2, 20)
            if chance.random() < 0.1:
                span.status.code = Status.STATUS_CODE_ERROR
                event = span.events.add(name="exception", time_unix_nano=begun_ns)
                event.attributes.add(key="exception.type").value.string_value = "ValueError"
                event.attributes.add(key="exception.stacktrace").value.string_value = "  File ...\n" * 180
    yield request.SerializeToString()


if __name__ == "__main__":
    main()
