"""What all benchmarks share: the load, a collector of its own, what processes cost."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import psycopg
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

# Beside the checkout where it is developed; elsewhere a load of the same shape is made here.
_REFERENCE = Path(__file__).parents[2] / "shared" / "workload" / "generate.py"
GIVE_UP_S = 600.0
_DAY_NS = 86_400_000_000_000
# Of the processes of a PostgreSQL, by their titles; its first one has those that ended as its children.
_KINDS = (
    ("autovacuum", r"autovacuum|^[^:]*/postgres\0"),
    ("files", r"checkpointer|background writer|walwriter|io worker|startup|logger|archiver"),
)


@contextmanager
def collector(
    url: str, folder: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A collector on a free port: (its process, the port of OTLP/HTTP); `settings` of its environment."""
    spool = folder / "spool"
    spool.mkdir()
    environment = os.environ | {
        "SPANTREE_DATABASE_URL": url,
        "SPANTREE_DATA_DIR": str(spool),
        "SPANTREE_OTLP_HTTP_PORT": "0",
        "SPANTREE_OTLP_GRPC_PORT": "0",
        **settings,
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
    deadline_s = time.monotonic() + GIVE_UP_S
    while time.monotonic() < deadline_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/readyz")
        told = json.loads(connection.getresponse().read())
        connection.close()
        if told["store"]["state"] == told["projector"]["state"] == "ok":
            return
        time.sleep(0.1)
    raise SystemExit(f"after {GIVE_UP_S:.0f} s the collector does not write: {told}")


def family(pid: int) -> list[int]:
    """The process and all below it, so that work it hands to others counts too."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [pid, *(member for child in children.split() for member in family(int(child)))]


def peak_mb(pid: int) -> float:
    """The most memory that a process has had."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) / 1000 if found else 0.0


def cpu_s(pid: int, *, ended_children: bool = False) -> float:
    """Seconds of processor that a process has used, its ended children's too where asked for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended_children else 13])) / os.sysconf("SC_CLK_TCK")


def family_cpu_s(pid: int) -> float:
    """Seconds of processor of a process and all that it started, ended ones included."""
    while True:
        # One that ends between the two is counted with its parent the next time.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return sum(cpu_s(member, ended_children=True) for member in family(pid))


def postgres_cpu_s(pid: int) -> dict[str, float]:
    """Seconds of processor of a PostgreSQL by the kind of process: `sessions`, `autovacuum`, `files`.

    Sessions that ended are counted with autovacuum, whose workers come and go; `files` are those that write the pages
    and the WAL that others made.
    """
    seconds = {"sessions": 0.0, "autovacuum": 0.0, "files": 0.0}
    for member in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            title = Path(f"/proc/{member}/cmdline").read_text(encoding="utf-8", errors="replace")
            kind = next((kind for kind, named in _KINDS if re.search(named, title)), "sessions")
            seconds[kind] += cpu_s(member, ended_children=True)
    return seconds


def send(port: int, bodies: list[bytes], latencies_s: list[float]) -> None:
    """Send bodies over one connection, each after the answer to the one before; adds how long each took."""
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


def metric(port: int, name: str) -> float:
    """What the collector's /metrics tell of one that has no labels. Raises SystemExit where it is not among them."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    asked.request("GET", "/metrics")
    metrics = asked.getresponse().read().decode()
    asked.close()
    found = re.search(rf"^{name} (\S+)$", metrics, re.MULTILINE)
    if not found:
        raise SystemExit(f"the collector's metrics have no {name}")
    return float(found[1])


def wait_until_projected(url: str, port: int) -> None:
    """Poll what is small whatever is stored: the spool's count and the pending traces."""
    deadline_s = time.monotonic() + GIVE_UP_S
    with psycopg.connect(url, autocommit=True) as connection:
        while time.monotonic() < deadline_s:
            spooled = metric(port, "spantree_collector_spool_bodies")
            waiting = connection.execute("SELECT EXISTS (SELECT FROM spantree.pending_projection)").fetchone()
            if spooled == 0 and waiting == (False,):
                return
            time.sleep(0.2)
    raise SystemExit(f"after {GIVE_UP_S:.0f} s not every trace is projected")


def bodies(path: Path) -> Iterator[bytes]:
    """The requests of a file of the reference load."""
    content = path.read_bytes()
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        yield content[at + 4 : at + 4 + length]
        at += 4 + length


def load(folder: Path, traces: int, *, spans: int = 25, seed: int = 1, start_ns: int | None = None) -> Path:
    """A file of `traces` traces of some `spans` spans; equal arguments give equal bytes."""
    path = folder / f"load-{traces}-{spans}-{seed}.bin"
    if start_ns is None:
        start_ns = time.time_ns() // _DAY_NS * _DAY_NS
    if _REFERENCE.is_file():
        command = [sys.executable, str(_REFERENCE), "--traces", str(traces), "--spans", str(spans)]
        command += ["--seed", str(seed), "--base-ns", str(start_ns), "--out", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return path
    with path.open("wb") as file:
        for body in _made_up(traces, spans, seed, start_ns):
            file.write(struct.pack("<I", len(body)) + body)
    return path


def _made_up(traces: int, spans: int, seed: int, start_ns: int) -> Iterator[bytes]:
    """Requests of some 500 spans: traces in three levels, twelve attributes each, a stack trace in one of ten."""
    chance = random.Random(seed)
    request = ExportTraceServiceRequest()
    for trace in range(traces):
        if trace % max(1, 500 // spans) == 0 and trace:
            yield request.SerializeToString()
            request = ExportTraceServiceRequest()
        if not request.resource_spans:
            resource_spans = request.resource_spans.add()
            resource_spans.resource.attributes.add(key="service.name").value.string_value = "bench"
            scope_spans = resource_spans.scope_spans.add()
            scope_spans.scope.name = "bench"
        trace_id = chance.randbytes(16)
        ids = [chance.randbytes(8) for _ in range(spans)]
        for index in reversed(range(spans)):
            parent = b"" if index == 0 else ids[0] if index < 13 else ids[index % 12 + 1]
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
