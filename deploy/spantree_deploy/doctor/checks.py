"""What `spantree doctor` looks at. Each check yields findings and changes nothing; none of them starts a server."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import socket
import sqlite3
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, build_opener, getproxies, proxy_bypass

import psycopg

from spantree_deploy.client_tls import client_context, untrusted
from spantree_deploy.database import refused
from spantree_deploy.doctor.finding import Finding
from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_deploy.postgres.postmaster import running_postmaster
from spantree_deploy.settings import Settings, url_of
from spantree_deploy.sql import statements
from spantree_exporter.errors import ConfigError, OperatorError, SchemaVersionError, SpantreeError, classify
from spantree_exporter.hot_path import hot_path, reason
from spantree_exporter.postgres.connection import connect
from spantree_exporter.postgres.distribution import cluster
from spantree_exporter.postgres.migrate import LATEST, check_version, missing_versions, version_of, what_is_missing
from spantree_exporter.postgres.partitions import date_of, days_to_keep_ready
from spantree_exporter.postgres.rollup_store import differences
from spantree_exporter.postgres.row_security import count_tenant_roles, holes, leaks, unguarded
from spantree_exporter.rollup_names import OTHER_NAMES, SUBJECTS
from spantree_exporter.tls.certificate import ServerTls

_SQL: Final = statements("doctor")
_ANSWER_S: Final = 5
# The oldest that the schema is tested on, in libpq's form.
_OLDEST_SERVER: Final = 150_000
# A trace is projected a second after it went quiet, large ones later; a minute means that nobody projects.
_LAG_S: Final = 60.0
_FULL_SHARE: Final = 0.8
# Renewal by ACME is tried for a month before the end of ninety days; with two weeks left it has failed for two.
_RENEWAL_DAYS: Final = 14.0
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_METHOD_NOT_ALLOWED: Final = 405
_REFUSED: Final = re.compile(r"spantree_collector_requests_refused_total\{(.*)\} (\S+)")
# What senders do wrong most often, by the reason that the collector counts.
_LIKELY_CAUSES: Final = {
    "no_such_path": (
        "an exporter with a wrong path, or one that sends metrics or logs",
        "OTEL_EXPORTER_OTLP_ENDPOINT has no path, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ends in /v1/traces; "
        "OTEL_METRICS_EXPORTER=none, OTEL_LOGS_EXPORTER=none",
    ),
    "not_http": (
        "gRPC or TLS sent to the port of plain HTTP",
        "gRPC goes to port 4317 (or OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf); URLs begin with http://, not https://",
    ),
    "method": ("somebody opened the URL in a browser, or a probe asks it", "probes may ask /healthz or /readyz"),
    "unsupported_type": (
        "a sender of another format than OTLP, such as Zipkin or Jaeger",
        "send OTLP, or by a Collector",
    ),
    "unauthenticated": (
        "a sender without a token, or with one that is unknown, revoked or out of date",
        "SPANTREE_TOKEN for `spantree run` and `spantree env`, or "
        "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN; "
        "`spantree token list` has those that are good, `spantree token create --scope ingest` makes one",
    ),
    "forbidden": (
        "a token that may only read",
        "make one that may send: `spantree token create --scope ingest`",
    ),
    "quota": (
        "a tenant that sends more than its limit; senders try again",
        "raise it by `spantree tenant limit`",
    ),
    "malformed": ("a body that is no OTLP, or cut by a proxy", "look at what the sender or the proxy does to bodies"),
    "too_large": ("a batch beyond SPANTREE_MAX_BODY_BYTES", "raise it, or lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    "body_timeout": ("a slow network or a sender that stops in the middle", "raise SPANTREE_BODY_DEADLINE_S"),
    "overloaded": ("more comes than can be taken in; senders try again", "run a second collector"),
    "spool_full": (
        "PostgreSQL was away or behind for too long, or the spool's disk is full; senders try again",
        "see which in the collector's log; raise SPANTREE_SPOOL_MAX_BYTES, or free disk space",
    ),
}


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
    yield from _refused_requests(settings)
    yield from _api(settings)
    yield from certificates(settings)
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
            connection = stack.enter_context(connect(url, "spantree doctor", connect_timeout=_ANSWER_S))
        except psycopg.Error as error:
            found, _, remedy = str(refused(error)).rpartition("; ")
            raise _NotThere(Finding("database", found, remedy)) from error
        except OperatorError as error:
            found, _, remedy = str(error).rpartition(": ")
            raise _NotThere(Finding("database", found, remedy)) from error
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
    if "on" in map(connection.info.parameter_status, ("in_hot_standby", "default_transaction_read_only")):
        # Right for an API that only reads, so no problem by itself.
        name += ": a standby, or read-only; collectors, alerts and changes need the one that takes writes"
    yield Finding("database", name, None if server >= _OLDEST_SERVER else "use PostgreSQL 15 or newer")
    try:
        version = version_of(connection)
        if version is None:
            yield Finding("schema", "the schema spantree is not there", "run `spantree migrate`")
        elif missing := missing_versions(connection):
            yield Finding("schema", what_is_missing(version, missing), "run `spantree migrate`")
        elif version == LATEST:
            yield Finding("schema", f"version {version}")
            yield from cluster_findings(connection)
            yield from _rows(connection)
        else:
            check_version(connection)
            yield Finding("schema", f"version {version}; this build's is {LATEST}, and it goes on beside newer ones")
            yield from _rows(connection)
    except SchemaVersionError as error:
        yield Finding("schema", str(error), "use a build as new as the database")
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
    if _row(connection, "hides_rows")[0]:
        yield Finding(
            "rows",
            f"projection, figures and dead letters are not looked at: row-level security hides rows from "
            f"{connection.info.user}; ask with the URL of the tables' owner or of spantree_writer",
        )
        return
    traces, oldest_s, failing, reason = _row(connection, "pending")
    if failing:
        yield Finding("projection", f"{failing} traces cannot be projected: {reason}", "run `spantree rebuild`")
    elif traces and oldest_s > _LAG_S:
        yield Finding("projection", f"{traces} traces wait, the oldest for {oldest_s:.0f} s", "run a collector")
    else:
        yield Finding("projection", f"{traces} traces wait, the oldest for {oldest_s or 0:.1f} s")
    yield _figures(connection)
    yield from gathered_names_findings(connection)
    try:
        with connection.transaction():
            found = list(row_security_findings(connection))
    except psycopg.errors.InsufficientPrivilege:
        role = connection.info.user
        found = [Finding("row-level security", f"not looked at: {role} may not; ask with the URL of the tables' owner")]
    yield from found
    yield dead_letter_finding(connection)


def dead_letter_finding(connection: psycopg.Connection[Any]) -> Finding:
    """What became no row, and whose it is: the commands see one tenant's."""
    dead, newest, tenants = _row(connection, "dead_letters")
    whose = "" if tenants in (None, ["default"]) else f", each with --tenant {' or '.join(tenants)}"
    remedy = f"see `spantree dead-letter list`; `dead-letter retry` and `drop` take them away{whose}" if dead else None
    return Finding("dead letters", f"{dead}; the newest: {newest}" if dead else "none", remedy)


def cluster_findings(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """What there is of Citus; nothing on a plain PostgreSQL."""
    found = cluster(connection)
    if found is None:
        return
    subject = f"Citus {found.version}"
    if found.shard_count is None:
        yield Finding(
            subject, "the tables are not distributed: all is on the coordinator; `spantree migrate --distribute`"
        )
        return
    workers = [node for node in found.nodes if node.shards]
    skew = f", the fullest has {found.skew:.1f} times the mean" if found.skew else ""
    yield Finding(subject, f"{found.shard_count} shards on {len(workers)} nodes{skew}")
    for node in found.nodes:
        if not node.is_active:
            yield Finding(subject, f"{node.name}:{node.port} is disabled", "see citus_activate_node")
    if found.missing:
        yield Finding(subject, f"{', '.join(found.missing)} are not distributed", "run `spantree migrate`")


def _figures(connection: psycopg.Connection[Any]) -> Finding:
    """Whether the figures of yesterday, which has settled, are those of its rows."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    try:
        with connection.transaction():
            connection.execute(_SQL["limit_check"])
            wrong = differences(connection, 0, [yesterday], limit=1)
    except psycopg.errors.QueryCanceled:
        return Finding("figures", f"not compared: {yesterday} has too many rows to count within seconds")
    if not wrong:
        return Finding("figures", f"those of {yesterday} are equal to its rows")
    one = wrong[0]
    found = f"{yesterday}: {one.subject} {one.name} is {one.rolled_up} in the figures, {one.counted} in the rows"
    return Finding("figures", found, f"run `spantree rebuild --since {yesterday} --until {yesterday}`")


def gathered_names_findings(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Names with ids in them, of which figures have no row each; nothing where all names have one."""
    asked = {"subjects": list(SUBJECTS), "other": OTHER_NAMES}
    for tenant, subjects in connection.execute(_SQL["gathered_names"], asked).fetchall():
        yield Finding(
            "names",
            f"tenant {tenant} has more names of {', '.join(subjects)} in an hour than figures keep: "
            f'the rest is counted under "{OTHER_NAMES}"',
            "put what differs from run to run into attributes, not into names (docs/instrument.md)",
        )


def row_security_findings(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Whether the database keeps tenants apart in people's own SQL."""
    subject = "row-level security"
    open_tables = unguarded(connection)
    if open_tables:
        named = ", ".join(open_tables[:5]) + (f" and {len(open_tables) - 5} more" if open_tables[5:] else "")
        yield Finding(subject, f"off for {named}", "run `spantree migrate`, which switches it on")
    found = holes(connection) + leaks(connection)
    for hole in found:
        yield Finding(subject, hole, "take it away, or tenants see each other in SQL")
    if not open_tables and not found:
        roles = count_tenant_roles(connection)
        yield Finding(subject, f"on for every table; {roles} {'role' if roles == 1 else 'roles'} of tenants")


def _collector(settings: Settings) -> Iterator[Finding]:
    url = settings.otlp_url
    try:
        _, text = _asked(settings, f"{url}/readyz", past_proxies=settings.otlp_endpoint is None)
        answer = json.loads(text)
        spool, store, projector = answer["spool"], answer["store"], answer["projector"]
    except OSError as error:
        yield _unanswered("collector", url, error, "run `spantree up` or `spantree collector`")
        yield from _waiting_spool(settings)
        return
    except (ValueError, KeyError, TypeError):
        yield from _another_receiver(settings, url)
        return
    if problem := answer.get("tls", {}).get("problem"):
        yield Finding("collector", problem, "give files that can be used; they are taken within seconds")
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


def receiver(settings: Settings) -> Iterator[Finding]:
    """What answers where `spantree run` sends spans: a collector, or what is in front of it."""
    url = settings.otlp_url
    try:
        # OTLP wants POST there, and a receiver says so.
        status, _ = _asked(settings, f"{url}/v1/traces", past_proxies=settings.otlp_endpoint is None)
    except OSError as error:
        yield _unanswered("collector", url, error, "run `spantree up`, or say by --endpoint where it runs")
        return
    if status in (_METHOD_NOT_ALLOWED, _UNAUTHORIZED):
        yield Finding("collector", f"spans go to {url}, which takes OTLP")
    else:
        remedy = "give the address of OTLP over HTTP by --endpoint"
        yield Finding("collector", f"{url} is answered by another program", remedy)


def _another_receiver(settings: Settings, url: str) -> Iterator[Finding]:
    """What is at the address that services send to, where it is not spantree: a Collector in front of it, perhaps."""
    try:
        # OTLP wants POST there, and a receiver says so.
        takes_otlp = (
            _asked(settings, f"{url}/v1/traces", past_proxies=settings.otlp_endpoint is None)[0] == _METHOD_NOT_ALLOWED
        )
    except OSError:
        takes_otlp = False
    own = settings.own_otlp_url
    if not takes_otlp:
        yield Finding(
            "collector",
            f"{url} is answered by another program",
            "stop it, or choose another port with --otlp-http-port or SPANTREE_OTLP_HTTP_PORT",
        )
    elif settings.otlp_endpoint is None:
        yield Finding(
            "collector",
            f"{url} takes OTLP and is not spantree: an OpenTelemetry Collector, most likely",
            "if it is to pass spans on, say where spantree itself listens: SPANTREE_OTLP_HTTP_PORT=14318 in "
            f"otel-collector.yaml's layout, and SPANTREE_OTLP_ENDPOINT={url} for services (docs/collector.md)",
        )
    else:
        yield Finding("collector", f"services send to {url}, an OTLP receiver in front of spantree")
        if own != url.rstrip("/"):
            yield from _collector(replace(settings, otlp_endpoint=own))


def _refused_requests(settings: Settings) -> Iterator[Finding]:
    """What the running collector has refused, by its likely cause."""
    try:
        status, text = _asked(settings, f"{settings.otlp_url}/metrics", past_proxies=settings.otlp_endpoint is None)
    except OSError:
        return
    for labels, count in _REFUSED.findall(text) if status == _OK else ():
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        reason = named.get("reason", "")
        if float(count):
            cause, remedy = _LIKELY_CAUSES.get(reason, ("", "see the collector's log"))
            found = f"{float(count):.0f} over {named.get('transport')}, {reason}" + (
                f": most often {cause}" if cause else ""
            )
            yield Finding("refused requests", found, remedy)


def _asked(
    settings: Settings, url: str, *, past_proxies: bool, headers: Sequence[tuple[str, str]] = ()
) -> tuple[int, str]:
    """(status, body) of a GET. Raises OSError where nothing answers."""
    context = client_context(settings, url, [settings.tls_certificate, settings.api_tls_certificate])
    handlers = [HTTPSHandler(context=context)] if context is not None else []
    # What is shown to whom the settings name is shown to nobody whom an answer leads to.
    refusing = [_NoRedirects()] if headers else []
    opener = build_opener(*handlers, *refusing, *([ProxyHandler({})] if past_proxies else []))
    opener.addheaders += headers
    try:
        with opener.open(url, timeout=_ANSWER_S) as response:
            return response.status, response.read().decode(errors="replace")
    except HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except HTTPException as error:
        return 0, f"no HTTP: {error}"


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Nowhere: the answer that leads elsewhere is the answer."""


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
    url = settings.api_url or settings.own_api_url
    try:
        status, text = _asked(settings, f"{url}/readyz", past_proxies=settings.api_url is None)
        answer = json.loads(text)
        if status == _OK and answer == {"status": "ready"}:
            yield Finding("API", f"{url}: ready")
            yield from _token(settings, url)
        else:
            yield Finding("API", f"{url}: {answer['error']['message']}", "see database above")
    except OSError as error:
        yield _unanswered("API", url, error, "run `spantree up` or `spantree api`")
    except (ValueError, KeyError, TypeError):
        remedy = "stop it, or choose another port with --api-port or SPANTREE_API_PORT"
        yield Finding("API", f"{url} is answered by another program", remedy)


def _token(settings: Settings, url: str) -> Iterator[Finding]:
    """Whether the token of the settings is one; which of them may do what is for the servers to say."""
    if not settings.token:
        return
    asked = f"{url}/api/v1/health"
    headers = [("authorization", f"Bearer {settings.token}")]
    status, text = _asked(settings, asked, past_proxies=settings.api_url is None, headers=headers)
    if status == _UNAUTHORIZED:
        remedy = "correct or unset SPANTREE_TOKEN; `spantree token list` has those that are good"
        yield Finding("token", json.loads(text)["error"]["message"].partition(":")[0], remedy)


def _unanswered(subject: str, url: str, error: OSError, remedy: str) -> Finding:
    reason = getattr(error, "reason", error)
    if fault := untrusted(error):
        return Finding(subject, f"the certificate of {url} is not trusted: {fault}", "name its authority with --ca")
    if isinstance(reason, ssl.SSLError):
        return Finding(
            subject,
            f"{url} does not shake hands ({reason.reason or reason})",
            "where it wants a certificate of its clients, name one: SPANTREE_CLIENT_CERTIFICATE, SPANTREE_CLIENT_KEY",
        )
    return Finding(subject, f"nothing answers on {url}", remedy)


def certificates(settings: Settings) -> Iterator[Finding]:
    """Whether the files of the settings can be used, and how long yet."""
    found = {
        files: subject
        for subject, files in (
            ("certificate of the API", settings.api_config("").tls_files),
            ("certificate of OTLP", settings.collector_config("").tls_files),
        )
        if files is not None
    }
    for files, subject in found.items():
        try:
            tls = ServerTls(files)
        except ConfigError as error:
            yield Finding(subject, error.faults[0], "give files that can be used; servers that run keep what they had")
            continue
        if tls.problem is not None:
            yield Finding(subject, tls.problem, "give a new one; it is taken within seconds")
            continue
        ends = f"{files.certificate} is good for {tls.days_left:.1f} days"
        yield Finding(subject, ends, "renew it" if tls.days_left < _RENEWAL_DAYS else None)


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
