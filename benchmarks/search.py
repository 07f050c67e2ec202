"""How long Jaeger's searches take over some million spans: found and not found, by whatever can be asked for.

    python -m benchmarks.search                        3 million spans over ten days in an embedded PostgreSQL
    python -m benchmarks.search --spans 10000000       some 9 GB, given back at the end
    python -m benchmarks.search --batch 10             as senders of few spans at a time make them
    python -m benchmarks.search --unmerged             before what small batches are found by was merged

400 traces of 25 spans are written as the collector writes them; all others are copies of them by SQL, earlier, with
ids and an attribute of their own, and with the terms that the writer would have stored, merged as a collector merges
them. Each search is asked through
/jaeger/api/traces, as FindTraces: it answers up to 20 whole traces. Prints p50, the most, and CPU of API and PostgreSQL
for each (which holds while others use the machine; times do not); at last one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, LiteralString
from uuid import UUID

import httpx
import orjson
import psycopg
from benchmarks.measuring import cpu_s, family_cpu_s
from benchmarks.reads import served

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.otlp.decode import JSON, decode_request
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.partitions import day_number, ensure_partitions
from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Span
from spantree_exporter.terms.merger import TermMerger
from spantree_exporter.terms.segment import SEGMENT_SPANS
from spantree_exporter.terms.store import insert_terms

_S: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _S
_TRACES: Final = 400
_SPANS: Final = 25
_SERVICES: Final = ("frontend", "cart", "payments", "stock", "mail")
_OPERATIONS: Final = {
    "frontend": ("GET /", "GET /cart", "POST /orders"),
    "cart": ("read cart", "SELECT carts"),
    "payments": ("charge", "POST /charges", "score risk"),
    "stock": ("reserve", "UPDATE stock"),
    "mail": ("render", "send"),
}


def main() -> None:
    """Seed, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=3_000_000)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=11)
    parser.add_argument("--batch", type=int, default=SEGMENT_SPANS, help="spans that are written together")
    parser.add_argument("--unmerged", action="store_true", help="search what was written as it was written")
    parser.add_argument("--dir", default=None, help="where the database lies")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="spantree-search-", dir=arguments.dir) as folder,
        EmbeddedPostgres(Path(folder) / "postgres", durable=False) as server,
    ):
        migrate(server.url)
        assert server.pid is not None
        last_copy = _seed(server.url, arguments.spans, arguments.days, arguments.batch)
        if not arguments.unmerged:
            _merge(server.url, server.pid)
        with served(server.url) as (base, pid), httpx.Client(base_url=base, trust_env=False, timeout=120) as client:
            figures = [
                _measure(client, name, asked, arguments.repeat, pid, server.pid)
                for name, asked in _searches(last_copy, arguments.days)
            ]
    print(f"{'search':58} {'p50 ms':>8} {'max ms':>8} {'API CPU':>8} {'PG CPU':>8} {'traces':>7}")
    for one in figures:
        print(
            f"{one['search']:58} {one['p50_ms']:8.1f} {one['max_ms']:8.1f} {one['api_cpu_ms']:8.1f} "
            f"{one['postgres_cpu_ms']:8.1f} {one['traces']:7}" + ("  (incomplete)" if one["incomplete"] else "")
        )
    print(json.dumps(figures))


def _searches(last_copy: int, days: int) -> Iterator[tuple[str, dict[str, str]]]:
    old = {"tags": json.dumps({"copy.id": f"{last_copy}-{_SPANS * 7 + 3}"})}
    now_us = time.time_ns() // 1_000
    hour = {
        "start": str(now_us - days // 2 * 86_400_000_000),
        "end": str(now_us - days // 2 * 86_400_000_000 + 3_600_000_000),
    }
    yield "service", {"service": "payments"}
    yield "service and operation", {"service": "payments", "operation": "charge"}
    yield "operation that there is not", {"service": "payments", "operation": "refund"}
    yield "one value of one span, the oldest", old
    yield "one value of one span, the oldest, its service", {**old, "service": _service_of(_SPANS * 7 + 3)}
    yield "one value of one span, another service", {**old, "service": _service_of(_SPANS * 7 + 4)}
    yield "a value that there is not", {"tags": json.dumps({"copy.id": "none"})}
    yield "a value that there is not, service", {"service": "payments", "tags": json.dumps({"user.id": "u-none"})}
    yield "a common value", {"service": "payments", "tags": json.dumps({"http.request.method": "POST"})}
    yield "one in a hundred", {"tags": json.dumps({"http.response.status_code": "503"})}
    yield "of a resource", {"tags": json.dumps({"host.name": "host-3"})}
    yield "of an event", {"tags": json.dumps({"exception.type": "StockError"})}
    yield "two, never of one span", {"tags": json.dumps({"db.system": "postgresql", "exception.type": "StockError"})}
    yield "errors of a service", {"service": "stock", "tags": json.dumps({"error": "true"})}
    yield "at least 3 s", {"service": "frontend", "minDuration": "3s"}
    yield "at least 100 s: none", {"service": "frontend", "minDuration": "100s"}
    yield "from 2.9 s to 2.9001 s: none", {"service": "frontend", "minDuration": "2.9s", "maxDuration": "2.9001s"}
    yield "an hour, days ago", {"service": "cart", **hour}
    yield "an hour, days ago, a value that there is not", {**hour, "tags": json.dumps({"copy.id": "none"})}
    yield "service, operation, value, duration", {
        "service": "frontend", "operation": "POST /orders", "minDuration": "1s",
        "tags": json.dumps({"http.response.status_code": "503"}),
    }  # fmt: skip


def _measure(
    client: httpx.Client, name: str, asked: dict[str, str], repeat: int, pid: int, postgres_pid: int
) -> dict[str, Any]:
    parameters = {"start": "0", "end": str(time.time_ns() // 1_000 + 10**9), **asked, "limit": "20"}
    answer = client.get("/jaeger/api/traces", params=parameters)
    took_ms: list[float] = []
    api_s, postgres_s = cpu_s(pid), family_cpu_s(postgres_pid)
    for _ in range(repeat):
        began_s = time.perf_counter()
        answer = client.get("/jaeger/api/traces", params=parameters)
        took_ms.append(1_000 * (time.perf_counter() - began_s))
    return {
        "search": name,
        "p50_ms": round(statistics.median(took_ms), 1),
        "max_ms": round(max(took_ms), 1),
        "api_cpu_ms": round(1_000 * (cpu_s(pid) - api_s) / repeat, 1),
        "postgres_cpu_ms": round(1_000 * (family_cpu_s(postgres_pid) - postgres_s) / repeat, 1),
        "traces": len(answer.raise_for_status().json()["data"]),
        "incomplete": "spantree-search" in answer.headers,
    }


def _merge(url: str, postgres_pid: int) -> None:
    """As collectors do in the background, at once."""
    connection = StoreConnection(url, "benchmark")
    merger, merged, merges = TermMerger(connection), 0, 0
    began_s, postgres_s = time.process_time(), family_cpu_s(postgres_pid)
    while rows := merger.merge():
        merged, merges = merged + rows, merges + 1
    ours_s, postgres_s = time.process_time() - began_s, family_cpu_s(postgres_pid) - postgres_s
    opened = connection.open()
    opened.execute(_statements()["vacuum"])
    size, segments, spans = opened.execute(_statements()["size"]).fetchone() or (0, 0, 1)
    connection.close()
    print(
        f"merged: {merged:,} rows {merges:,} times, {1e6 * ours_s / spans:.2f} us of ours and "
        f"{1e6 * postgres_s / spans:.2f} of PostgreSQL's a span; "
        f"{size / spans:.0f} bytes a span beside {segments:,} rows",
        file=sys.stderr,
    )


def _seed(url: str, spans: int, days: int, batch: int) -> int:
    """Fill it; the number of the last copy, which is the oldest."""
    statements = _statements()
    today = datetime.now(UTC).date()
    # Copies of a day are told apart from what they are made of by the day.
    source_day = today - timedelta(days=days + 1)
    originals = _originals((day_number(source_day) * 86_400 + 43_200) * _S)
    store = Store(url)
    for first in range(0, len(originals), 2_000):
        store.write(originals[first : first + 2_000])
    store.close()
    copies = max(1, spans // len(originals))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        ensure_partitions(connection, [day_number(today - timedelta(days=back)) for back in range(days)])
        began_s = time.monotonic()
        for copy in range(copies):
            _copy(connection, statements, originals, copy, copies, source_day, today, days, batch)
            if copy % 20 == 19:
                print(f"{(copy + 1) * len(originals):,} spans, {time.monotonic() - began_s:.0f} s", file=sys.stderr)
        connection.execute(statements["vacuum"])
        size, segments, with_terms = connection.execute(statements["size"]).fetchone() or (0, 0, 1)
        print(f"terms: {size / with_terms:.0f} bytes a span beside {segments:,} rows", file=sys.stderr)
    return copies - 1


def _copy(
    connection: psycopg.Connection[Any],
    statements: dict[str, LiteralString],
    originals: list[Span],
    copy: int,
    copies: int,
    source_day: date,
    today: date,
    days: int,
    batch: int,
) -> None:
    """Copy number `copy` of `copies`, evenly over the days, the last one the oldest."""
    back, within = divmod(copy * days, copies)
    day = today - timedelta(days=back)
    # Noon of the source's day plus up to some hours either way, so that all of a copy is on its day.
    earlier_ns = (source_day - day).days * _DAY_NS + within * 36_000 * _S // copies
    parameters = {"copy": str(copy), "day": day, "from_day": source_day, "earlier_ns": earlier_ns}
    with connection.transaction(), connection.cursor() as cursor:
        for name in ("copy_spans", "copy_executions", "copy_traces"):
            cursor.execute(statements[name], parameters)
        ids = {span.trace_id: _copied_id(span.trace_id, copy) for span in originals}
        made = [
            replace(
                span,
                trace_id=ids[span.trace_id],
                start_ns=span.start_ns - earlier_ns,
                end_ns=span.end_ns - earlier_ns,
                attributes={**span.attributes, "copy.id": f"{copy}-{span.attributes['span.number']}"},
            )
            for span in originals
        ]
        for first in range(0, len(made), batch):
            some = made[first : first + batch]
            insert_terms(cursor, {0: (some, [day_number(day)] * len(some))})


def _copied_id(trace_id: bytes, copy: int) -> bytes:
    """As copy_spans makes it."""
    return hashlib.md5(f"{UUID(bytes=trace_id)} {copy}".encode(), usedforsecurity=False).digest()


def _originals(start_ns: int) -> list[Span]:
    """400 traces of 25 spans, each with ten attributes; a tenth of a percent of them with an error."""
    chance = random.Random(7)
    found: list[Span] = []
    for trace in range(_TRACES):
        trace_id = chance.randbytes(16).hex()
        begun_ns = start_ns + trace * _S // 10
        by_service: dict[str, list[dict[str, Any]]] = {service: [] for service in _SERVICES}
        for index in range(_SPANS):
            number = trace * _SPANS + index
            service = _service_of(number)
            took_ns = int(_S * (0.5 + 3 * chance.random() ** 4)) if index == 0 else 10_000_000 + index * 100_000
            by_service[service].append(
                _span(chance, trace_id, number, index, service, begun_ns + index * 10**6, took_ns)
            )
        body = {
            "resourceSpans": [
                {
                    "resource": {
                        "attributes": _attributes({"service.name": service, "host.name": f"host-{trace % 8}"})
                    },
                    "scopeSpans": [{"scope": {"name": "bench"}, "spans": spans}],
                }
                for service, spans in by_service.items()
            ]
        }
        found += decode_request(orjson.dumps(body), JSON, begun_ns + 10 * _S).spans
    return found


def _service_of(number: int) -> str:
    return _SERVICES[number % _SPANS % len(_SERVICES)]


def _span(
    chance: random.Random, trace_id: str, number: int, index: int, service: str, start_ns: int, took_ns: int
) -> dict[str, Any]:
    operations = _OPERATIONS[service]
    attributes: dict[str, str | int] = {
        "span.number": number,
        "user.id": f"u-{number // _SPANS}",
        "http.request.method": chance.choice(("GET", "POST")),
        "http.route": f"/api/{service}/{number % 7}",
        "http.response.status_code": 503 if chance.random() < 0.01 else 200,
        "server.address": f"{service}.internal",
        "server.port": 8080,
        "thread.id": chance.randrange(16),
        "net.peer.port": chance.randrange(30_000, 60_000),
        "request.id": chance.randbytes(8).hex(),
    }
    if operations[index % len(operations)].startswith(("SELECT", "UPDATE")):
        attributes["db.system"] = "postgresql"
    span: dict[str, Any] = {
        "traceId": trace_id,
        "spanId": f"{number + 1:016x}",
        "name": operations[index % len(operations)],
        "kind": 2 if index % 2 == 0 else 3,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + took_ns),
        "attributes": _attributes(attributes),
    }
    if index:
        span["parentSpanId"] = f"{number - index + 1 + (index - 1) // 3:016x}"
    if service == "stock" and "db.system" not in attributes and chance.random() < 0.02:
        span["status"] = {"code": 2, "message": "none left"}
        event = {"exception.type": "StockError", "exception.message": "none left"}
        span["events"] = [{"name": "exception", "timeUnixNano": str(start_ns), "attributes": _attributes(event)}]
    return span


def _attributes(held: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in held.items()
    ]


def _statements() -> dict[str, LiteralString]:
    text = Path(__file__).with_name("search.sql").read_text(encoding="utf-8")
    found: dict[str, LiteralString] = {}
    for block in text.split("-- name: ")[1:]:
        name, _, body = block.partition("\n")
        found[name.strip()] = body
    return found


if __name__ == "__main__":
    main()
