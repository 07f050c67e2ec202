"""What `spantree doctor` looks at. Each check yields findings and changes nothing; none of them starts a server."""

from __future__ import annotations

import contextlib
import platform
import socket
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import psycopg

from spantree_deploy.embedded import EmbeddedPostgres
from spantree_deploy.postmaster import running_postmaster
from spantree_deploy.settings import Settings, url_of
from spantree_deploy.sql import statements
from spantree_exporter.errors import SpantreeError, classify
from spantree_exporter.hot_path import hot_path, reason
from spantree_exporter.migrate import LATEST, version_of
from spantree_exporter.partitions import date_of, days_to_keep_ready

_SQL: Final = statements("doctor")
_ANSWER_S: Final = 5
# The oldest that the schema is tested on, in libpq's form.
_OLDEST_SERVER: Final = 150_000
# A trace is projected a second after it went quiet, large ones later; a minute means that nobody projects.
_LAG_S: Final = 60.0
_FULL_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, and what to do where that is not as it should be."""

    subject: str
    found: str
    remedy: str | None = None
    """None: all is well."""


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Every check, in the order in which one thing needs another."""
    yield Finding("spantree", f"Python {platform.python_version()}, {sys.prefix}")
    yield Finding("hot path", hot_path() + (f" ({reason})" if reason else ""))
    with contextlib.ExitStack() as stack:
        connection: psycopg.Connection[Any] | None = None
        try:
            connection = stack.enter_context(_connected(settings))
        except _NotThere as error:
            yield error.finding
        if connection is not None:
            yield from _database(connection)
    yield from _collector(settings)
    yield from _api(settings)
    yield from _proxy(settings)


class _NotThere(Exception):
    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.found)
        self.finding = finding


@contextlib.contextmanager
def _connected(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    with contextlib.ExitStack() as stack:
        if settings.database_url is not None:
            url = settings.database_url
        else:
            url = stack.enter_context(_running_postgres(settings)).url
        try:
            connection = stack.enter_context(
                psycopg.connect(url, autocommit=True, connect_timeout=_ANSWER_S, application_name="spantree doctor")
            )
        except psycopg.Error as error:
            raise _NotThere(
                Finding(
                    "database", str(classify(error)), "start it, or correct --database-url or SPANTREE_DATABASE_URL"
                )
            ) from error
        yield connection


def _running_postgres(settings: Settings) -> EmbeddedPostgres:
    pgdata = settings.data_dir / "pgdata"
    where = f"the embedded PostgreSQL in {settings.data_dir}"
    try:
        if not pgdata.exists():
            raise _NotThere(
                Finding(
                    "database", f"{where} has not been made yet", "run `spantree up`, or name the place with --data"
                )
            )
        if running_postmaster(pgdata) is None:
            raise _NotThere(Finding("database", f"{where} is not running", "run `spantree up`"))
        postgres = EmbeddedPostgres(settings.data_dir, pg_bin=settings.pg_bin)
        postgres.start()  # attaches to the one that runs
    except (SpantreeError, OSError) as error:
        raise _NotThere(
            Finding("database", f"{where}: {error}", "run this as the account that runs spantree")
        ) from error
    return postgres


def _database(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    server = connection.info.server_version
    name = f"PostgreSQL {connection.info.parameter_status('server_version')}, database {connection.info.dbname}"
    yield Finding("database", name, None if server >= _OLDEST_SERVER else "use PostgreSQL 15 or newer")
    try:
        version = version_of(connection)
        if version == LATEST:
            yield Finding("schema", f"version {version}")
            yield from _rows(connection)
        elif version is None or version < LATEST:
            found = "is not there" if version is None else f"is at version {version}, this build needs {LATEST}"
            yield Finding("schema", f"the schema spantree {found}", "run `spantree migrate`")
        else:
            found = f"is at version {version}, this build knows {LATEST}"
            yield Finding("schema", f"the schema spantree {found}", "use a build as new as the database")
    except psycopg.Error as error:
        yield Finding("schema", str(classify(error)), "give this database user the rights on the schema spantree")


def _rows(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    wanted = [date_of(day) for day in days_to_keep_ready(datetime.now(UTC))]
    missing = [day for (day,) in connection.execute(_SQL["missing_partitions"], {"days": wanted}).fetchall()]
    yield Finding(
        "partitions",
        f"ready until {wanted[-1]}" if not missing else f"none for {', '.join(map(str, missing))}",
        "run `spantree migrate`, or a collector, which makes them" if missing else None,
    )
    traces, oldest_s, failing, reason = _row(connection, "pending")
    if failing:
        yield Finding("projection", f"{failing} traces cannot be projected: {reason}", "run `spantree rebuild`")
    elif traces and oldest_s > _LAG_S:
        yield Finding("projection", f"{traces} traces wait, the oldest for {oldest_s:.0f} s", "run a collector")
    else:
        yield Finding("projection", f"{traces} traces wait, the oldest for {oldest_s or 0:.1f} s")
    dead, newest = _row(connection, "dead_letters")
    remedy = "see `spantree dead-letter list`; `dead-letter retry` and `drop` take them away" if dead else None
    yield Finding("dead letters", f"{dead}; the newest: {newest}" if dead else "none", remedy)


def _collector(settings: Settings) -> Iterator[Finding]:
    url = settings.otlp_url
    try:
        answer = httpx.get(f"{url}/readyz", timeout=_ANSWER_S, trust_env=settings.otlp_endpoint is not None).json()
        spool, store, projector = answer["spool"], answer["store"], answer["projector"]
    except httpx.HTTPError:
        yield Finding("collector", f"nothing answers on {url}", "run `spantree up` or `spantree collector`")
        yield from _waiting_spool(settings)
        return
    except (ValueError, KeyError, TypeError):
        yield Finding(
            "collector",
            f"{url} is answered by another program",
            "stop it, or choose another port with --otlp-http-port or SPANTREE_OTLP_HTTP_PORT",
        )
        return
    status = answer["status"]
    remedy = None if status == "ready" else "see the collector's log; free disk space or let PostgreSQL catch up"
    yield Finding("collector", f"OTLP/HTTP on {url}: {status}", remedy)
    if settings.otlp_endpoint is None:
        yield _grpc(settings)
    for thread, told in (("writing", store), ("projecting", projector)):
        if told["state"] in ("ok", "starting"):
            yield Finding(thread, told["state"])
        else:
            yield Finding(
                thread, f"{told['state']} for {told['since_s']:.0f} s: {told['message']}", "see database above"
            )
    share = spool["bytes"] / spool["max_bytes"]
    text = f"{spool['bodies']} requests, {spool['bytes']} of {spool['max_bytes']} bytes"
    text += f", the oldest {spool['oldest_age_s']:.1f} s old" if spool["bodies"] else ""
    behind = share > _FULL_SHARE or spool["oldest_age_s"] > _LAG_S
    yield Finding("spool", text, "see why they are not written: lines `writing` and `database`" if behind else None)


def _grpc(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.otlp_grpc_port}"
    target = urlsplit(url_of(settings.host, settings.otlp_grpc_port))
    try:
        with socket.create_connection((target.hostname or "", target.port or 0), timeout=_ANSWER_S):
            return Finding("collector", f"OTLP/gRPC on {where}: listens")
    except OSError as error:
        reason = error.strerror or "no answer"
        return Finding("collector", f"OTLP/gRPC on {where}: {reason}", "is it on another port? see --otlp-grpc-port")


def _waiting_spool(settings: Settings) -> Iterator[Finding]:
    spool = settings.collector_config("").spool_path
    if not spool.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{spool.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            bodies, size_bytes = connection.execute(_SQL["spool_backlog"]).fetchone()
    except sqlite3.Error as error:
        yield Finding("spool", f"{spool} cannot be read: {error}", "run this as the account that runs spantree")
        return
    if bodies:
        yield Finding("spool", f"{bodies} requests, {size_bytes} bytes wait in {spool}", "run a collector")


def _api(settings: Settings) -> Iterator[Finding]:
    url = settings.api_url or url_of(settings.api_listens_on, settings.api_port)
    try:
        response = httpx.get(f"{url}/readyz", timeout=_ANSWER_S, trust_env=settings.api_url is not None)
        answer = response.json()
        if response.status_code == httpx.codes.OK and answer == {"status": "ready"}:
            yield Finding("API", f"{url}: ready")
        else:
            yield Finding("API", f"{url}: {answer['error']['message']}", "see database above")
    except httpx.HTTPError:
        yield Finding("API", f"nothing answers on {url}", "run `spantree up` or `spantree api`")
    except (ValueError, KeyError, TypeError):
        remedy = "stop it, or choose another port with --api-port or SPANTREE_API_PORT"
        yield Finding("API", f"{url} is answered by another program", remedy)


def _proxy(settings: Settings) -> Iterator[Finding]:
    # These two read the process's environment, as the exporters in a service do.
    target = urlsplit(settings.otlp_url)
    proxies = getproxies()
    host = target.hostname or ""
    if target.scheme in proxies and not proxy_bypass(host):
        yield Finding(
            "proxy",
            f"services here would send spans for {host} to the proxy {proxies[target.scheme]}",
            f"add {host} to NO_PROXY",
        )


def _row(connection: psycopg.Connection[Any], name: str) -> Any:
    return connection.execute(_SQL[name]).fetchone()
