"""Spans of fifty tenants, interleaved, through two collectors on one database, while everything is killed.

    python -m tests.chaos.many_tenants [--spans 1000000] [--tenants 50] [--kills 12]

All tenants use the same trace and span ids, and each span says whose it is, so that a row of a wrong tenant shows.
Clients try each request again, over HTTP and gRPC and at either collector, until it is acknowledged, as exporters do.
`kill -9` hits the collectors, their writers and PostgreSQL in turn. Then every span has to be there once, in its own
tenant, projected. Before that, without kills, one tenant and all of them send as much in turns: the ratio of the two.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import psycopg
from benchmarks.measuring import family_cpu_s
from psycopg.sql import SQL, Identifier
from tests.chaos.processes import CollectorProcess, collector_process
from tests.collectors import readiness
from tests.otlp_requests import trace_request
from tests.waiting import wait_until
from tests.writer_processes import wait_for_writers, writer_pids

from spantree_collector.app import Addresses
from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.tokens import TokenBook

SPANS_PER_TRACE = 50
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_HTTP_CLIENTS = 3
_GRPC_CLIENTS = 1
_TIMEOUT_S = 600.0
_RETRY_S = 0.1
# Of all spans, what each round without kills sends; in this order, so that a drift of the machine hits both alike.
_ROUND_PART = 20
_ROUNDS = ("one", "many", "many", "one")


@dataclass(frozen=True)
class Sender:
    """A tenant, and what its services show."""

    tenant_id: int
    token: str

    @property
    def payload(self) -> str:
        """What all its spans carry."""
        return f"tenant {self.tenant_id}"


Item = tuple[Sender, int]
"""(whose, the number of the trace)."""


class Clients:
    """Send some traces in their order, each until it is acknowledged; a context that ends when all are."""

    def __init__(self, collectors: Sequence[Addresses], items: Sequence[Item]) -> None:
        self._collectors = collectors
        self._items = iter(items)
        self._lock = threading.Lock()
        self._turn = itertools.count()
        self.acknowledged = 0
        self.repeated = 0
        self._given_up = threading.Event()
        ways = [self._over_http] * _HTTP_CLIENTS + [self._over_grpc] * _GRPC_CLIENTS
        self._threads = [threading.Thread(target=self._send, args=(way,)) for way in ways]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._given_up.set()
        for thread in self._threads:
            thread.join()

    def _send(
        self, way: Callable[[Addresses], contextlib.AbstractContextManager[Callable[[bytes, str], bool]]]
    ) -> None:
        with contextlib.ExitStack() as stack:
            posts = [stack.enter_context(way(addresses)) for addresses in self._collectors]
            while not self._given_up.is_set():
                with self._lock:
                    item = next(self._items, None)
                    turn = next(self._turn)
                if item is None:
                    return
                sender, number = item
                body = trace_request(number, SPANS_PER_TRACE, payload=sender.payload).SerializeToString()
                while not posts[turn % len(posts)](body, sender.token):
                    # The answer may be lost and the spans stored: they come again, most often at the other collector.
                    turn += 1
                    with self._lock:
                        self.repeated += 1
                    if self._given_up.wait(_RETRY_S):
                        return
                with self._lock:
                    self.acknowledged += 1

    @contextlib.contextmanager
    def _over_http(self, addresses: Addresses) -> Iterator[Callable[[bytes, str], bool]]:
        connection = http.client.HTTPConnection(addresses.host, addresses.otlp_http_port, timeout=30)

        def post(body: bytes, token: str) -> bool:
            headers = {"content-type": "application/x-protobuf", "authorization": f"Bearer {token}"}
            try:
                connection.request("POST", "/v1/traces", body, headers)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request opens it again
                return False
            return answer.status == http.HTTPStatus.OK

        with contextlib.closing(connection):
            yield post

    @contextlib.contextmanager
    def _over_grpc(self, addresses: Addresses) -> Iterator[Callable[[bytes, str], bool]]:
        options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]
        with grpc.insecure_channel(f"{addresses.host}:{addresses.otlp_grpc_port}", options=options) as channel:
            call = channel.unary_unary(_EXPORT)

            def post(body: bytes, token: str) -> bool:
                try:
                    call(body, timeout=30, metadata=[("authorization", f"Bearer {token}")])
                except grpc.RpcError:
                    return False
                return True

            yield post


@dataclass
class World:
    """What is killed."""

    server: EmbeddedPostgres
    collectors: list[CollectorProcess]

    def kill(self, number: int) -> str:
        """The kill of that number, from 0; what it was. Returns when what was killed is there again."""
        collector = self.collectors[number // 3 % len(self.collectors)]
        if number % 3 == 0:
            collector.kill()
            collector.start()
            return "a collector"
        if number % 3 == 1:
            before = wait_for_writers(collector.pid, 2)
            os.kill(min(before), signal.SIGKILL)
            wait_until(lambda: len(writer_pids(collector.pid) - before) > 0, _TIMEOUT_S, "the writer came back")
            return "a writer"
        killed = self.server.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: self.server.pid not in (None, killed), _TIMEOUT_S, "PostgreSQL came back")
        return "PostgreSQL"

    def settle(self) -> None:
        """Return when all that was acknowledged is written and projected."""
        for collector in self.collectors:
            wait_until(
                lambda: readiness(collector.addresses)["spool"]["bodies"] == 0,  # noqa: B023
                _TIMEOUT_S,
                "the spool is drained",
            )
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            wait_until(
                lambda: connection.execute("SELECT count(*) FROM spantree.pending_projection").fetchone() == (0,),
                _TIMEOUT_S,
                "all traces are projected",
            )

    def cpu_s(self) -> float:
        """Seconds of processor of the collectors, their writers and PostgreSQL, so far."""
        assert self.server.pid is not None
        return sum(family_cpu_s(pid) for pid in (self.server.pid, *(one.pid for one in self.collectors)))


@dataclass(frozen=True)
class Outcome:
    """What came of it: per side of the comparison (seconds, seconds of processor) of all its rounds."""

    spans: int
    kills: int
    repeated: int
    round_spans: int
    one: tuple[float, float]
    many: tuple[float, float]

    def lines(self) -> Iterator[str]:
        """For people."""
        yield (
            f"{self.spans} spans, {self.kills} kills, {self.repeated} requests sent again: "
            "each span once, in its own tenant, projected"
        )
        for name, (took_s, cpu_s) in (("one tenant ", self.one), ("all tenants", self.many)):
            rate, cost_us = self.round_spans / took_s, cpu_s / self.round_spans * 1e6
            yield f"{name}, no kills: {rate:,.0f} spans/s until projected, {cost_us:.1f} us of processor a span"
        yield (
            f"all tenants against one: {self.one[0] / self.many[0]:.1%} of the throughput, "
            f"{self.many[1] / self.one[1]:.1%} of the processor"
        )


def run(folder: Path, spans: int, tenants: int, kills: int, say: Callable[[str], None] = lambda line: None) -> Outcome:
    """So many spans with kills, and three tenths of that before in rounds without any. Raises AssertionError."""
    with EmbeddedPostgres(folder / "server") as server:
        migrate(server.url)
        senders = []
        with TokenBook(server.url) as book:
            for number in range(1, tenants + 1):
                assert book.add_tenant(f"tenant-{number}") == number
                senders.append(Sender(number, book.create_token(f"tenant-{number}", "ingest")))
        with (
            collector_process(folder / "first", server.url) as first,
            collector_process(folder / "second", server.url) as second,
        ):
            world = World(server, [first, second])
            addresses = [one.addresses for one in world.collectors]
            took = {"one": (0.0, 0.0), "many": (0.0, 0.0)}
            sent: dict[int, int] = dict.fromkeys(range(1, tenants + 1), 0)

            def items(number: int, whose: Sequence[Sender]) -> list[Item]:
                chosen = []
                for sender in itertools.islice(itertools.cycle(whose), number):
                    sent[sender.tenant_id] += 1
                    chosen.append((sender, sent[sender.tenant_id]))
                return chosen

            round_traces = max(spans // _ROUND_PART // SPANS_PER_TRACE, 1)
            # The first two warm everything up: connections, partitions, the tokens known.
            for turn, side in enumerate(("one", "many", *_ROUNDS)):
                to_send = items(round_traces, senders[:1] if side == "one" else senders)
                began_s, began_cpu_s = time.monotonic(), world.cpu_s()
                with Clients(addresses, to_send):
                    pass
                world.settle()
                if turn >= 2:
                    before_s, before_cpu_s = took[side]
                    took[side] = (
                        before_s + time.monotonic() - began_s,
                        before_cpu_s + world.cpu_s() - began_cpu_s,
                    )
                say(f"{len(to_send) * SPANS_PER_TRACE} spans of {side}: {time.monotonic() - began_s:.1f} s")
            to_send = items(max(spans // SPANS_PER_TRACE, 1), senders)
            with Clients(addresses, to_send) as clients:
                for number in range(kills):
                    wanted = len(to_send) * (number + 1) // (kills + 1)
                    wait_until(
                        lambda: clients.acknowledged >= wanted,  # noqa: B023
                        _TIMEOUT_S * 10,
                        f"{wanted} requests were acknowledged",
                    )
                    say(f"kill {number + 1} of {kills} at {clients.acknowledged} requests: {world.kill(number)}")
            world.settle()
        verify(server.url, sent)
        return Outcome(
            sum(sent.values()) * SPANS_PER_TRACE,
            kills,
            clients.repeated,
            round_traces * SPANS_PER_TRACE * _ROUNDS.count("one"),
            took["one"],
            took["many"],
        )


def verify(database_url: str, sent: dict[int, int]) -> None:
    """Hold what is stored against the number of traces that each tenant has sent."""
    with psycopg.connect(database_url) as connection:
        for tenant_id, traces in sorted(sent.items()):
            stored = connection.execute(
                """
                SELECT count(*), count(DISTINCT (trace_id, span_id)), count(DISTINCT trace_id),
                    count(*) FILTER (WHERE attributes ->> 'payload' IS DISTINCT FROM %(payload)s)
                FROM spantree.span WHERE tenant_id = %(tenant_id)s
                """,
                {"tenant_id": tenant_id, "payload": Sender(tenant_id, "").payload},
            ).fetchone()
            spans = traces * SPANS_PER_TRACE
            assert stored == (spans, spans, traces, 0), (
                f"of tenant {tenant_id}: (rows, spans, traces, rows of others) are {stored}, "
                f"wanted {(spans, spans, traces, 0)}"
            )
        for table, rows in (("node", SPANS_PER_TRACE), ("execution", 1), ("trace", 1)):
            counted: dict[int, int] = dict(
                connection.execute(
                    SQL("SELECT tenant_id, count(*) FROM {} GROUP BY 1").format(Identifier("spantree", table))
                ).fetchall()
            )
            wanted = {tenant_id: traces * rows for tenant_id, traces in sent.items() if traces}
            assert counted == wanted, f"rows of {table} by tenant are {counted}, wanted {wanted}"
        assert connection.execute("SELECT count(*) FROM spantree.dead_letter").fetchone() == (0,)


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--kills", type=int, default=12)
    arguments = parser.parse_args()
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with tempfile.TemporaryDirectory(prefix="spantree-chaos-") as folder:
        try:
            outcome = run(
                Path(folder),
                arguments.spans,
                arguments.tenants,
                arguments.kills,
                lambda line: print(line, flush=True),
            )
        except AssertionError as error:
            sys.exit(f"FAILED: {error}")
        for line in outcome.lines():
            print(line)


if __name__ == "__main__":
    main()
