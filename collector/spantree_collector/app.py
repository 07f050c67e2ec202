"""The composition root: builds the collector out of its parts, starts and stops them in order.

start:  ports -> spool -> writers -> receivers
stop:   receivers -> writers (drain) -> spool
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from spantree_collector.config import CollectorConfig
from spantree_collector.metrics import CollectorMetrics
from spantree_collector.readiness import add_gauges, readiness, spool_ages
from spantree_collector.receive.authenticate import Authenticator
from spantree_collector.receive.examiners import PROCESSES, Examiners
from spantree_collector.receive.file_limit import connections_within
from spantree_collector.receive.grpc_front import GrpcFront
from spantree_collector.receive.http_server import HttpServer
from spantree_collector.receive.intake import Intake, count_spans
from spantree_collector.receive.receiver_grpc import GrpcReceiver
from spantree_collector.receive.receiver_http import HttpReceiver
from spantree_collector.receive.refusal_audit import RefusalAudit
from spantree_collector.spool.spool import Spool
from spantree_collector.write.dispatcher import SpoolDispatcher
from spantree_collector.write.garbage_collection import tune_garbage_collector
from spantree_collector.write.retention_thread import RetentionThread
from spantree_collector.write.watchdog import Watchdog
from spantree_collector.write.writers import SpoolWriter, WriterProcess, new_writers
from spantree_exporter.errors import ConfigError
from spantree_exporter.origins import origins_of
from spantree_exporter.redaction import redactor_of
from spantree_exporter.rules import facts_reader
from spantree_exporter.setting_fields import variable
from spantree_exporter.tls.certificate import ServerTls
from spantree_exporter.token_watch import TokenWatch
from spantree_exporter.tokens import LOOPBACK, open_to_all

log = logging.getLogger(__name__)

LEFT = 3
"""Exit status of a collector that stopped in order and leaves requests in its spool."""
# How long requests that have come may take to be answered when stopping; an acknowledgement takes milliseconds.
_GRACE_S = 2.0
# Other threads compute without a pause, and Python lets them do so for 5 ms each time the event loop wants to go on.
# Measured with a pump among them: p99 of an acknowledgement 330 to 600 ms with 5 ms, 100 to 120 ms with 1 ms.
_SWITCH_INTERVAL_S = 0.001
# Digests of the tokens that were known last, for a start without PostgreSQL.
_TOKENS_FILE = "tokens.json"
# PostgreSQL may be away; whether a token is wanted is then what it was.
_FIRST_LOOK_S = 2.0
# gRPC's part of the process's files; each connection is a socket and the two ends of the one behind it.
_GRPC_FILES_PART = 0.4
_FILES_OF_A_CONNECTION = 3


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running collector listens; the ports are those really taken."""

    host: str
    otlp_http_port: int
    otlp_grpc_port: int
    is_tls: bool = False

    @property
    def http_url(self) -> str:
        """The base of OTLP/HTTP, for OTEL_EXPORTER_OTLP_ENDPOINT."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.otlp_http_port}"


class Collector:
    """One collector. `serve` runs it in an event loop, `run` in a process of its own, `start`/`stop` in a thread."""

    def __init__(self, config: CollectorConfig) -> None:
        self.config = config
        self.addresses: Addresses | None = None
        self.left_bodies = 0
        """After it has stopped: requests that are still in the spool, to be written after the next start."""
        self._thread: threading.Thread | None = None
        self._ask_to_stop: Callable[[], None] = lambda: None
        self._thread_error: BaseException | None = None

    async def serve(self, stop: asyncio.Event, started: Callable[[Addresses], None] | None = None) -> None:
        """Take spans until `stop` is set, then stop in order; `started` is called once requests are taken.

        Raises ConfigError when a port cannot be taken, or rules or certificate are wrong, SpoolFailed when the spool
        cannot be opened or fails later. PostgreSQL may be away all the time.
        """
        config = self.config
        loop = asyncio.get_running_loop()
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
        tune_garbage_collector()
        reader = facts_reader(config.rules)
        files = config.tls_files
        tls = None if files is None else ServerTls(files)
        redactor = redactor_of(config.redact, config.redact_hash_key)
        failed = asyncio.Event()
        metrics = CollectorMetrics()
        async with contextlib.AsyncExitStack() as stack:
            # Closed in the reverse order of their entry: the order of stopping is the order of starting, backwards.
            if tls is not None:
                tls.start()
                stack.push_async_callback(asyncio.to_thread, tls.stop)
            listener = stack.enter_context(_listen(config.host, config.otlp_http_port, "otlp_http_port"))
            grpc_listener = stack.enter_context(_listen(config.host, config.otlp_grpc_port, "otlp_grpc_port"))
            grpc_port = grpc_listener.getsockname()[1]
            spool = Spool(
                config.spool_path,
                max_bytes=config.spool_max_bytes,
                reserve_bytes=config.spool_reserve_bytes,
                on_failure=lambda failure: _call_if_running(loop, failed.set),
                observe_commit=metrics.observe_commit,
            )
            stack.push_async_callback(asyncio.to_thread, self._close_spool, spool)
            tokens = TokenWatch(config.database_url, config.data_dir / _TOKENS_FILE)
            tokens.start()
            stack.push_async_callback(asyncio.to_thread, tokens.stop)
            await asyncio.to_thread(tokens.wait_for_first_look, _FIRST_LOOK_S)
            authenticator = Authenticator(tokens, anonymous=config.host in LOOPBACK or config.insecure)
            _check_guarded(config, tokens)
            # Without writer processes all is done in this one.
            examiners = Examiners(
                redactor, config.max_body_objects, metrics, processes=PROCESSES if config.writers else 0
            )
            refusal_audit = RefusalAudit(config.database_url)
            refusal_audit.start()
            stack.push_async_callback(asyncio.to_thread, refusal_audit.stop)
            intake = Intake(
                spool,
                metrics,
                examiners,
                max_body_bytes=config.max_body_bytes,
                max_in_flight_bytes=config.max_in_flight_bytes,
                authenticator=authenticator,
                refusal_audit=refusal_audit,
            )
            stack.callback(intake.close)
            metrics.tenants.read(lambda: authenticator.tenants, spool.bytes_of_tenants, spool_ages(spool))
            writers = new_writers(config, reader, SpoolDispatcher(spool, count_spans), metrics)
            add_gauges(metrics, spool, intake, writers, tls)
            front = GrpcFront(
                intake.in_flight,
                lambda reason: metrics.connections_refused.labels(reason).inc(),
                config.data_dir,
                max_connections=connections_within(config.max_connections, _GRPC_FILES_PART, _FILES_OF_A_CONNECTION),
                header_deadline_s=config.header_deadline_s,
                body_deadline_s=config.body_deadline_s,
                tls=tls,
            )
            grpc_receiver = GrpcReceiver(intake, front, grpc_listener)
            http_receiver = HttpReceiver(
                intake,
                functools.partial(readiness, spool, writers, tls),
                body_deadline_s=config.body_deadline_s,
                cors_origins=origins_of(config.collector_cors_origins),
            )
            stack.push_async_callback(asyncio.to_thread, _stop_writers, writers, config.drain_s)
            for writer in writers:
                writer.start()
            watchdog = Watchdog(
                [*(writer for writer in writers if isinstance(writer, WriterProcess)), *examiners.watched]
            )
            watchdog.start()
            stack.push_async_callback(asyncio.to_thread, watchdog.stop)
            if config.retention is not None or config.audit_days:
                keeper = RetentionThread(
                    config.database_url, config.retention, config.audit_days, config.retention_interval_s
                )
                keeper.start()
                stack.push_async_callback(asyncio.to_thread, keeper.stop)
            await grpc_receiver.start()
            stack.push_async_callback(grpc_receiver.stop, _GRACE_S)
            http_server = HttpServer(
                http_receiver,
                metrics,
                max_connections=config.max_connections,
                header_deadline_s=config.header_deadline_s,
                body_deadline_s=config.body_deadline_s,
                idle_timeout_s=config.idle_timeout_s,
                grace_s=_GRACE_S,
                tls=tls,
            )
            http_ended = await stack.enter_async_context(_serving(http_server, listener))
            self.addresses = Addresses(config.host, listener.getsockname()[1], grpc_port, tls is not None)
            self._say_started(self.addresses, spool)
            if started is not None:
                started(self.addresses)
            await _first_of(stop.wait(), failed.wait(), http_ended.wait())
            log.info("the collector stops")
        if spool.failure is not None:
            raise spool.failure

    def run(self) -> None:
        """Serve until SIGTERM, SIGINT or SIGHUP. For a process of its own, in its main thread."""

        async def until_signalled() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                # nohup ignores SIGHUP, and it is to stay that way.
                if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                    continue
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            await self.serve(stop)

        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(until_signalled())

    def start(self) -> Addresses:
        """Serve in a thread; returns once requests are taken. Raises as `serve` does."""
        up: Future[Addresses] = Future()

        async def until_asked() -> None:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._ask_to_stop = lambda: _call_if_running(loop, stop.set)
            await self.serve(stop, started=up.set_result)

        def body() -> None:
            try:
                with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                    runner.run(until_asked())
            except BaseException as error:
                self._thread_error = error
                if not up.done():
                    up.set_exception(error)

        self._thread_error = None
        self._thread = threading.Thread(target=body, name="spantree-collector", daemon=True)
        self._thread.start()
        return up.result()

    def stop(self) -> None:
        """Stop what `start` started, in order. Raises SpoolFailed when the spool had failed meanwhile. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._ask_to_stop()
        thread.join()
        if self._thread_error is not None:
            raise self._thread_error

    def _close_spool(self, spool: Spool) -> None:
        if spool.failure is None:
            self.left_bodies = spool.stats().bodies
            if self.left_bodies:
                log.warning(
                    "the spool %s still holds %d requests: they are written after the next start, or by "
                    '"spantree collector --drain" on it',
                    spool.path,
                    self.left_bodies,
                )
        spool.close()

    def _say_started(self, addresses: Addresses, spool: Spool) -> None:
        stats = spool.stats()
        log.info(
            "the collector takes OTLP/HTTP on %s and OTLP/gRPC on port %d; its spool %s holds %d requests",
            addresses.http_url,
            addresses.otlp_grpc_port,
            spool.path,
            stats.bodies,
        )


def _check_guarded(config: CollectorConfig, tokens: TokenWatch) -> None:
    """Raise ConfigError where everybody on the network could send and nobody has said that this is wanted."""
    if config.host in LOOPBACK or (tokens.known is not None and tokens.known.required):
        return
    if config.insecure:
        log.warning("the collector takes spans from everybody who reaches %s (SPANTREE_INSECURE)", config.host)
    elif tokens.known is not None:
        raise ConfigError([open_to_all("SPANTREE_HOST", config.host, "ingest")])


def _listen(host: str, port: int, setting: str) -> socket.socket:
    option = f"--{setting.replace('_', '-')} or {variable(setting)}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(
            [f'cannot listen on "{host}" ({error}); choose an address of this machine with --host']
        ) from error
    try:
        # Connections of an earlier run that linger in TIME_WAIT do not keep the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # The port is only ours once we listen; uvicorn sets the real backlog.
        listener.listen(1)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError([_port_fault(host, port, option, error)]) from error
    return listener


def _port_fault(host: str, port: int, option: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use by another program; stop it, or choose another port with {option}"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs rights that this account has not; choose one above 1023 with {option}"
    return f"cannot listen on port {port} of {host} ({error.strerror}); choose another with {option}, or --host"


@contextlib.asynccontextmanager
async def _serving(server: HttpServer, listener: socket.socket) -> AsyncIterator[asyncio.Event]:
    """Runs the HTTP server; the event is set when it ends, also by a fault of its own."""
    ended = asyncio.Event()
    task = asyncio.create_task(server.serve(listener))
    task.add_done_callback(lambda _: ended.set())
    try:
        await _first_of(server.started.wait(), ended.wait())
        yield ended
    finally:
        server.stop()
        await task


async def _first_of(*waits: Any) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _stop_writers(writers: Sequence[SpoolWriter], drain_s: float) -> None:
    for writer in writers:
        writer.ask_to_stop(drain_s)
    for writer in writers:
        writer.join()


def _call_if_running(loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
    # Closed when the collector ended by itself: then there is nothing left to stop.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(action)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
