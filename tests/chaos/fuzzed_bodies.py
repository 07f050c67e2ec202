"""Fuzzed request bodies against a real collector with PostgreSQL: none may harm it, and each is accounted for.

    python -m tests.chaos.fuzzed_bodies --bodies 100000 [--seed N]     some ten minutes

Bodies are recordings of real clients and requests made of awkward values, mutated in their bytes, in the structure of
their JSON, in their compression, sent over HTTP and gRPC, as spans and as log records. Held against it afterwards:

    no answer is a 5xx, UNAVAILABLE or INTERNAL, and no process of the collector ends or logs an error of its own
    accepted = stored + duplicates + dead letters
    every trace has an execution, or a reason in pending_projection
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psycopg
from tests.chaos.bodies import Bodies, Fuzzed
from tests.chaos.processes import CollectorProcess, collector_process
from tests.collectors import send, wait_until_drained
from tests.waiting import wait_until

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.postgres.migrate import migrate

_CLIENTS = 4
_GRPC_CLIENTS = 1
_TIMEOUT_S = 300.0
# A writer that is replaced because the machine is busy would make the figures of what was written uncertain. One writer
# has larger batches than two: a quarter less of processor time for each body.
_ENVIRONMENT = {"SPANTREE_WRITER_STALL_S": "120", "SPANTREE_WRITERS": "1"}
_TYPES = {"protobuf": "application/x-protobuf", "json": "application/json"}
_METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_FAULTY_CODES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
# Of what the collector logs, what it says of itself: refusals and dead letters are its work.
_OWN_FAULTS = re.compile(r"Traceback|no rule for|cannot be decoded|was killed|ended with status|cannot be assembled")
_UNEXPLAINED = "SELECT FROM spantree.pending_projection WHERE error IS NULL LIMIT 1"


@dataclass
class Campaign:
    """What was sent and answered."""

    answers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, number: int, sent: Fuzzed, answer: str, *, is_fault: bool) -> None:
        with self.lock:
            self.answers[answer] += 1
            if is_fault and len(self.faults) < 20:
                self.faults.append(f"body {number} ({sent}) got {answer}"[:2_000])


def _send_all(
    campaign: Campaign, collector: CollectorProcess, next_body: Callable[[], tuple[int, Fuzzed] | None], over_grpc: bool
) -> None:
    addresses = collector.addresses
    connection = http.client.HTTPConnection(addresses.host, addresses.otlp_http_port, timeout=60)
    with grpc.insecure_channel(f"{addresses.host}:{addresses.otlp_grpc_port}") as channel:
        while (one := next_body()) is not None:
            number, sent = one
            if over_grpc and sent.encoding == "protobuf" and not sent.compression:
                try:
                    channel.unary_unary(_METHODS[sent.signal])(sent.payload, timeout=60)
                    campaign.note(number, sent, "OK", is_fault=False)
                except grpc.RpcError as error:
                    code = error.code()
                    campaign.note(number, sent, code.name, is_fault=code in _FAULTY_CODES)
                continue
            headers = {"content-type": _TYPES[sent.encoding]}
            if sent.compression:
                headers["content-encoding"] = sent.compression
            try:
                connection.request("POST", f"/v1/{sent.signal}", sent.payload, headers)
                response = connection.getresponse()
                response.read()
                campaign.note(number, sent, str(response.status), is_fault=response.status >= 500)
            except (OSError, http.client.HTTPException) as error:
                campaign.note(number, sent, type(error).__name__, is_fault=True)
                connection.close()
    connection.close()


def run(folder: Path, bodies: int, seed: int, say: Callable[[str], None] = lambda line: None) -> str:
    """Send so many; what came of it, in lines. Raises AssertionError where something is wrong."""
    campaign = Campaign()
    source = iter(Bodies(seed))
    numbers = iter(range(bodies))

    def next_body() -> tuple[int, Fuzzed] | None:
        with campaign.lock:
            number = next(numbers, None)
            if number is not None and number % 10_000 == 0:
                say(f"{number} bodies")
            return None if number is None else (number, next(source))

    with EmbeddedPostgres(folder / "server", durable=False) as server:
        migrate(server.url)
        with collector_process(folder / "data", server.url, _ENVIRONMENT) as collector:
            threads = [
                threading.Thread(target=_send_all, args=(campaign, collector, next_body, number < _GRPC_CLIENTS))
                for number in range(_CLIENTS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert campaign.answers.total() == bodies, f"seed {seed}: {campaign.answers.total()} bodies were sent"
            assert not campaign.faults, f"seed {seed}:\n" + "\n".join(campaign.faults)
            wait_until_drained(collector.addresses, _TIMEOUT_S)
            with psycopg.connect(server.url, autocommit=True) as connection:
                wait_until(
                    lambda: (
                        not _rows(connection, "SELECT FROM spantree.pending_projection WHERE error IS NULL LIMIT 1")
                    ),
                    _TIMEOUT_S,
                    "all traces were projected, or say why not",
                )
                report = _verified(connection, _settled_figures(collector), campaign, seed)
            log = collector.log()
            found = _OWN_FAULTS.search(log)
            assert found is None, f"seed {seed}: the collector logged\n{log[max(found.start() - 500, 0) :][:6_000]}"
            return report


def _settled_figures(collector: CollectorProcess) -> Counter[str]:
    """The collector's counters, once two readings agree."""
    last: list[Counter[str]] = [Counter()]

    def is_settled() -> bool:
        now = _figures(collector)
        same, last[0] = now == last[0], now
        if not same:
            time.sleep(0.5)
        return same

    wait_until(is_settled, _TIMEOUT_S, "the figures of the collector did not change any more")
    return last[0]


def _figures(collector: CollectorProcess) -> Counter[str]:
    found: Counter[str] = Counter()
    for line in send(collector.addresses, "GET", "/metrics").body.decode().splitlines():
        sample, _, value = line.rpartition(" ")
        name = sample.partition("{")[0].removeprefix("spantree_collector_")
        if name.endswith("_total") and not line.startswith("#"):
            found[name.removesuffix("_total")] += int(float(value))
    return found


def _verified(connection: psycopg.Connection[Any], figures: Counter[str], campaign: Campaign, seed: int) -> str:
    accepted = figures["received_spans"] + figures["received_log_records"] - figures["rejected_log_records"]
    stored = figures["stored_spans"] + figures["stored_log_records"]
    duplicates = figures["duplicate_spans"] + figures["duplicate_log_records"]
    text = (
        f"seed {seed}: {sum(campaign.answers.values())} bodies, answers {dict(campaign.answers.most_common())}\n"
        f"{accepted} spans and log records accepted = {stored} stored + {duplicates} duplicates "
        f"+ {figures['dead_letters']} dead letters"
    )
    assert not figures["writer_restarts"], f"{text}\n{figures['writer_restarts']} writers ended"
    assert accepted == stored + duplicates + figures["dead_letters"], text
    rows = _rows(connection, "SELECT (SELECT count(*) FROM spantree.span) + (SELECT count(*) FROM spantree.log_record)")
    assert rows == [(stored,)], f"{text}, but there are {rows} rows"
    unexplained = _rows(
        connection,
        "SELECT DISTINCT span.trace_id FROM spantree.span"
        " LEFT JOIN spantree.execution ON execution.tenant_id = span.tenant_id AND execution.trace_id = span.trace_id"
        " LEFT JOIN spantree.pending_projection AS pending"
        " ON pending.tenant_id = span.tenant_id AND pending.trace_id = span.trace_id"
        " WHERE execution.trace_id IS NULL AND pending.error IS NULL LIMIT 5",
    )
    assert not unexplained, f"{text}\nneither an execution nor a reason for {unexplained}"
    [(traces,)] = _rows(connection, "SELECT count(*) FROM spantree.execution")
    failing = _rows(connection, "SELECT error, count(*) FROM spantree.pending_projection GROUP BY 1 ORDER BY 2 DESC")
    return f"{text}\n{traces} traces projected; not projected, by reason: {failing}"


def _rows(connection: psycopg.Connection[Any], query: str) -> list[Any]:
    return connection.execute(query.encode()).fetchall()


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    print(f"{arguments.bodies} bodies, --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="spantree-fuzz-") as folder:
        try:
            print(run(Path(folder), arguments.bodies, seed, lambda line: print(line, flush=True)))
        except AssertionError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
