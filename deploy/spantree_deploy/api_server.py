"""The API behind uvicorn, on a socket that is already listening."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from spantree_api.app import create_app, end_streams
from spantree_api.authentication import Authenticator
from spantree_api.config import ApiConfig
from spantree_api.jaeger.storage_grpc import JaegerStorage
from spantree_api.metrics import ApiMetrics
from spantree_api.own_audit import OwnAudit
from spantree_api.service import Service
from spantree_collector.receive.bounded_http import HttpLimits
from spantree_collector.receive.file_limit import connections_within
from spantree_collector.receive.tls_server import TlsServer
from spantree_deploy.jaeger_port import JaegerPort
from spantree_deploy.settings import url_of
from spantree_exporter.errors import ConfigError
from spantree_exporter.tls.certificate import ServerTls
from spantree_exporter.tokens import LOOPBACK, open_to_all

log = logging.getLogger(__name__)

# How long open requests may take when stopping; streams would otherwise hold it up for ever.
_GRACE_S = 5
_JAEGER_PORT = ApiConfig().jaeger_port
_STORAGE_PORT = "SPANTREE_API_JAEGER_PORT"
# Beside the clients that listen to changes.
_MAX_CONNECTIONS = 500
# Of the process's files: the collector may run in the same process, and neither is to starve the other.
_FILES_PART = 0.2
_HEADER_DEADLINE_S = 10.0
_BODY_DEADLINE_S = 30.0
_IDLE_TIMEOUT_S = 60
_MAX_BODY_BYTES = 16 * 2**20


class _Server(TlsServer):
    def __init__(
        self,
        config: uvicorn.Config,
        tls: ServerTls | None,
        refused: Callable[[str], None],
        started: Callable[[], None],
        ending: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(config, tls, refused)
        self._started = started
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._ending()
        await super().shutdown(sockets=sockets)


async def serve_api(
    config: ApiConfig,
    listener: socket.socket,
    stop: asyncio.Event,
    started: Callable[[str], None],
    allowed_hosts: Collection[str] = (),
    *,
    for_jaeger: bool = False,
) -> None:
    """Answer requests until `stop` is set; `started` gets the URL. The database may be away all the time.

    On a loopback address only requests to this machine's own names, and to `allowed_hosts`, are answered. `for_jaeger`:
    only what Jaeger and Grafana read is served, and nothing where Jaeger's storage API cannot be. Raises ConfigError.
    """
    files = config.tls_files
    tls = None if files is None else ServerTls(files)
    url = url_of(config.host, listener.getsockname()[1], is_tls=tls is not None)
    app = create_app(config, alerts=not for_jaeger, tls=tls, for_jaeger=for_jaeger)
    application: ASGIApp = app
    if config.host in LOOPBACK:
        application = OwnNamesOnly(application, allowed_hosts)
    limits = HttpLimits(
        max_connections=connections_within(_MAX_CONNECTIONS + config.streams_max, _FILES_PART),
        header_deadline_s=_HEADER_DEADLINE_S,
        rest_of_body_deadline_s=_BODY_DEADLINE_S,
        refuse=_refusal,
        count=app.state.metrics.connection_refused,
        body_deadline_s=_BODY_DEADLINE_S,
        max_body_bytes=_MAX_BODY_BYTES,
    )
    own_started = asyncio.Event()
    server = _Server(
        uvicorn.Config(
            application,
            http=limits.protocol(),
            timeout_keep_alive=_IDLE_TIMEOUT_S,
            backlog=_MAX_CONNECTIONS,
            log_config=None,
            access_log=False,
            server_header=False,
            # uvicorn would believe any process of this machine; people.py looks whom to believe.
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=_GRACE_S,
        ),
        tls,
        app.state.metrics.connection_refused,
        own_started.set,
        lambda: end_streams(app),
    )
    if tls is not None:
        tls.start()
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    stopped = asyncio.create_task(stop.wait())
    jaeger: JaegerPort | None = None
    try:
        await _first_of(serving, own_started.wait())
        if own_started.is_set():
            _check_guarded(config, app.state.authenticator)
            jaeger = await _jaeger_port(
                config, app.state.service, app.state.authenticator, tls, app.state.metrics, app.state.audit
            )
            if for_jaeger and jaeger is None:
                raise ConfigError([f"{_STORAGE_PORT} {config.jaeger_port} cannot be taken: name one that is free"])
            started(url)
        await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        if jaeger is not None:
            await jaeger.stop(_GRACE_S)
        server.should_exit = True
        await serving
    except ConfigError:
        server.should_exit = True
        await serving
        raise
    finally:
        stopped.cancel()
        if tls is not None:
            await asyncio.to_thread(tls.stop)


def _check_guarded(config: ApiConfig, authenticator: Authenticator) -> None:
    """Raise ConfigError where everybody on the network would be answered and nobody has said that this is wanted."""
    if config.host in LOOPBACK or authenticator.is_required:
        return
    if config.insecure:
        log.warning("the API listens on %s and answers everybody who reaches it (SPANTREE_INSECURE)", config.host)
    elif not authenticator.is_blind:
        raise ConfigError([open_to_all("SPANTREE_API_HOST", config.host, "read")])


async def _first_of(task: asyncio.Task[None], event: Coroutine[Any, Any, Any]) -> None:
    """Wait until `task` has ended or `event` has come."""
    other = asyncio.create_task(event)
    await asyncio.wait((task, other), return_when=asyncio.FIRST_COMPLETED)
    other.cancel()


async def _jaeger_port(
    config: ApiConfig,
    service: Service,
    authenticator: Authenticator,
    tls: ServerTls | None,
    metrics: ApiMetrics,
    audit: OwnAudit,
) -> JaegerPort | None:
    """What Jaeger reads from, if it is wanted and its port is free; the API does without it otherwise, and says so."""
    port = config.jaeger_port
    if port < 0:
        return None
    if config.port == 0 and port == _JAEGER_PORT:
        port = 0  # wherever any port will do for the API
    jaeger: JaegerPort | None = None
    try:
        jaeger = JaegerPort(JaegerStorage(service, authenticator, audit), tls, metrics.connection_refused)
        taken = await jaeger.start(config.host, port)
    except OSError as error:
        if jaeger is not None:
            await jaeger.stop(0)
        log.warning(
            "Jaeger cannot read from here: %s; choose another with SPANTREE_API_JAEGER_PORT, -1 for none", error
        )
        return None
    log.info("Jaeger's storage API answers on %s:%d (gRPC)", config.host, taken)
    return jaeger


class OwnNamesOnly:
    """Answers only requests whose Host names this machine, or one of `allowed_hosts`.

    A page of any website can point a name of its own at 127.0.0.1 and read, as same-origin, what the reader's browser
    gets there (DNS rebinding); the name that the browser sends tells.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._allowed = {*LOOPBACK, *(host.strip().lower() for host in allowed_hosts)} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1")
        host = _without_port(sent.strip().lower())
        if host in self._allowed or host.endswith(".localhost"):
            await self._app(scope, receive, send)
            return
        content_type, body = _refusal(
            421,
            f"the request is for {sent[:100]!a}, and this API answers on its own machine only; reach it as localhost, "
            "or name the host in SPANTREE_API_ALLOWED_HOSTS",
        )
        headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 421, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _refusal(status: int, message: str) -> tuple[bytes, bytes]:
    return b"application/json", json.dumps(
        {"error": {"code": _CODES[status], "message": message, "details": {}}}
    ).encode()


_CODES = {400: "bad_request", 413: "too_large", 421: "misdirected", 431: "headers_too_large"}
