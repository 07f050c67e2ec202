"""Every setting of the command `spantree`: by flag, then `SPANTREE_*`, then `spantree.toml`, then the default.

One flat table: the field `otlp_http_port` is `--otlp-http-port` (or `--set otlp_http_port=...`),
`SPANTREE_OTLP_HTTP_PORT` and `otlp_http_port = 4318` in the file. docs/configuration.md lists them for readers.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Final, get_args

from spantree_api.config import ApiConfig
from spantree_collector.config import CollectorConfig, Deadline, SecondOrMore, WriterBytes, Writers
from spantree_exporter import setting_values as values
from spantree_exporter.errors import ConfigError
from spantree_exporter.own_audit_event import Level
from spantree_exporter.setting_fields import PREFIX, from_environment, read, readers_of, variable

CONFIG_FILE: Final = "spantree.toml"
"""Looked for in the working directory unless --config names another."""

OTHERS: Final[Mapping[str, str]] = {
    "SPANTREE_CONFIG": "the file that settings are read from, as --config",
    "SPANTREE_LIVE": "1: the instrumented service announces running spans (set by `spantree run`)",
    "SPANTREE_PROCESS_SPAN": "0: no span for the process that `spantree run` starts",
    "SPANTREE_RUN": "how an instrumented process starts (set by `spantree run`)",
    "SPANTREE_LIVE_DELAY_S": "seconds a span must be open before it is announced",
    "SPANTREE_SCHEMA": "the in-process exporter: `require` the schema, or `create` it",
    "SPANTREE_EXPORT_TIMEOUT_S": "the in-process exporter: how long one batch is tried",
    "SPANTREE_PURE_PYTHON": "1: decoding and row bytes by Python although the compiled hot path is built",
    "SPANTREE_TEST_DATABASE_URL": "the PostgreSQL that the tests use; its user may create databases",
}
"""Names that begin like settings, are read elsewhere, and are therefore no mistakes."""

# What Kubernetes puts into every container for a Service named spantree or spantree-...: SPANTREE_API_PORT=tcp://10.0.0.7:80
# (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
_SERVICE_LINK: Final = re.compile(r"SPANTREE_(\w+_)?(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP))(_\w+)?")


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where programs keep their data by the platform's convention.

    Linux and others: $XDG_DATA_HOME/spantree, else ~/.local/share/spantree (XDG Base Directory Specification 0.8);
    macOS: ~/Library/Application Support/spantree.
    """
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  Path.home() raises where there is none
    if sys.platform == "darwin":
        return Path(home, "Library", "Application Support", "spantree")
    named = environ.get("XDG_DATA_HOME", "")
    # The specification: a relative path there is invalid and to be ignored.
    share = Path(named) if named.startswith("/") else Path(home, ".local", "share")
    return share / "spantree"


Connections = Annotated[int, values.whole(1, 500)]
Milliseconds = Annotated[int, values.whole(1, 3_600_000)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings, checked whole. Made by `load`; sizes are bytes or have a unit, a port of 0 takes a free one.

    A stdlib dataclass: a settings library took three quarters of the time of a short command.
    """

    # where the rows are
    database_url: Annotated[str | None, values.postgres] = field(default=None, repr=False)
    data_dir: values.Location = Path("spantree-data")
    pg_bin: values.LocationOrNone = None
    citus_shards: Annotated[int, values.whole(1, 4_096)] = 12
    # what the spans mean
    rules: values.LocationOrNone = None
    # where it listens
    host: values.Text = "127.0.0.1"
    otlp_http_port: values.Port = 4318
    otlp_grpc_port: values.Port = 4317
    api_host: values.TextOrNone = None
    api_allowed_hosts: values.Hosts = ""
    api_port: values.Port = 8000
    tls_certificate: values.LocationOrNone = None
    tls_key: values.LocationOrNone = None
    tls_client_ca: values.LocationOrNone = None
    api_tls_certificate: values.LocationOrNone = None
    api_tls_key: values.LocationOrNone = None
    api_tls_client_ca: values.LocationOrNone = None
    trusted_proxies: values.AnyText = ""
    collector_cors_origins: values.AnyText = ""
    # who may come
    insecure: values.YesOrNo = False
    token: Annotated[str | None, values.token] = field(default=None, repr=False)
    # what is not stored of what comes
    redact: values.Text = "default"
    redact_hash_key: values.AnyText = field(default="", repr=False)
    # where commands find it
    otlp_endpoint: values.Url = None
    api_url: Annotated[str | None, values.url_like("http://127.0.0.1:8000")] = None
    ca: values.LocationOrNone = None
    client_certificate: values.LocationOrNone = None
    client_key: values.LocationOrNone = None
    # where a trace can be looked at besides
    jaeger_url: Annotated[str | None, values.url_like("http://127.0.0.1:16686")] = None
    grafana_url: Annotated[str | None, values.url_like("http://127.0.0.1:3000")] = None
    # the collector; the defaults are CollectorConfig's, and a test holds them equal
    spool_max_bytes: values.Bytes = 8 * 2**30
    spool_reserve_bytes: values.BytesOrNone = 64 * 2**20
    max_body_bytes: values.Bytes = 64 * 2**20
    max_body_objects: values.Count = 1_000_000
    max_in_flight_bytes: values.Bytes = 256 * 2**20
    max_connections: values.Count = 1000
    header_deadline_s: Deadline = 10.0
    body_deadline_s: Deadline = 30.0
    idle_timeout_s: Deadline = 60.0
    writers: Writers = 2
    writer_max_bytes: WriterBytes = 768 * 2**20
    writer_stall_s: SecondOrMore = 20.0
    batch_spans: values.Count = 4096
    batch_bytes: values.Bytes = 16 * 2**20
    partition_days_back: values.Count = 90
    dead_letters_max: values.CountOrNone = 100_000
    dead_letters_max_bytes: values.BytesOrNone = 2**30
    retention_days: values.CountOrNone = 0
    retention_keep: values.AnyText = ""
    retention_archive_dir: values.LocationOrNone = None
    retention_interval_s: SecondOrMore = 3600.0
    audit_days: values.CountOrNone = 400
    drain_s: values.SecondsOrNone = 5.0
    # the API; the same with ApiConfig
    api_database_url: Annotated[str | None, values.postgres] = field(default=None, repr=False)
    api_jaeger_port: values.PortOrOff = 17_271
    api_pool_max: Connections = 8
    api_pool_wait_s: values.Seconds = 3.0
    api_statement_timeout_ms: Milliseconds = 15_000
    api_lost_after_s: values.Seconds = 3600.0
    api_stuck_pending_s: values.Seconds = 3600.0
    api_stuck_running_s: values.Seconds = 7200.0
    api_stuck_waiting_s: values.Seconds = 86_400.0
    api_streams_max: values.CountOrNone = 2_500
    api_known_errors: values.LocationOrNone = None
    api_analysis_model: values.AnyText = ""
    api_analysis_timeout_s: values.Seconds = 60.0
    api_analysis_max_chars: Annotated[int, values.whole(4_000, 1_000_000)] = 20_000
    api_alerts_file: values.LocationOrNone = None
    api_alert_private_hosts: values.Hosts = ""
    api_collector_urls: values.Urls = ""
    api_public_url: values.AnyText = ""
    api_oidc_issuer: values.AnyText = ""
    api_oidc_client_id: values.AnyText = ""
    api_oidc_client_secret: Annotated[str, values.any_text] = field(default="", repr=False)
    api_oidc_scopes: values.AnyText = "openid profile email"
    api_oidc_roles_claim: values.AnyText = "groups"
    api_oidc_audience: values.AnyText = ""
    api_roles: values.AnyText = "spantree-read=default:read,spantree-admin=default:admin"
    api_session_s: values.Seconds = 28_800.0
    api_session_key: Annotated[str, values.any_text] = field(default="", repr=False)
    api_proxy_user_header: values.AnyText = "x-forwarded-user"
    api_proxy_roles_header: values.AnyText = "x-forwarded-groups"
    api_cors_origins: values.AnyText = ""
    api_audit: Annotated[str, values.one_of(*get_args(Level))] = "content"

    @property
    def is_embedded(self) -> bool:
        """Whether PostgreSQL is spantree's own, in `data_dir`."""
        return self.database_url is None

    @property
    def otlp_url(self) -> str:
        """Where services send OTLP/HTTP, without /v1/traces."""
        # `spantree up` prints the address with the path, which SDKs add by themselves.
        return (self.otlp_endpoint or self.own_otlp_url).rstrip("/").removesuffix("/v1/traces")

    @property
    def own_otlp_url(self) -> str:
        """Where the collector of these settings takes OTLP/HTTP."""
        return url_of(self.host, self.otlp_http_port, is_tls=self.tls_certificate is not None)

    @property
    def own_api_url(self) -> str:
        """Where the API of these settings answers."""
        is_tls = self.api_tls_certificate is not None or self.tls_certificate is not None
        return url_of(self.api_listens_on, self.api_port, is_tls=is_tls)

    @property
    def api_listens_on(self) -> str:
        """The address that the API listens on."""
        return self.api_host or self.host

    @property
    def allowed_hosts(self) -> list[str]:
        """What else than this machine's own names the API on a loopback address answers to."""
        return values.listed(self.api_allowed_hosts)

    def collector_config(self, database_url: str) -> CollectorConfig:
        """The collector's part of the settings. Raises ConfigError."""
        shared = {one.name: getattr(self, one.name) for one in fields(CollectorConfig) if one.name in _FIELDS}
        return CollectorConfig(**shared | {"database_url": database_url})

    def api_config(self, database_url: str) -> ApiConfig:
        """The API's part of the settings."""
        own = {name.removeprefix("api_"): getattr(self, name) for name in _API_FIELDS}
        if self.api_tls_certificate is None and self.api_tls_key is None:
            own |= {"tls_certificate": self.tls_certificate, "tls_key": self.tls_key}
        return ApiConfig(
            host=self.api_listens_on,
            database_url=database_url,
            read_database_url=self.api_database_url or "",
            insecure=self.insecure,
            trusted_proxies=self.trusted_proxies,
            jaeger_url=self.jaeger_url,
            grafana_url=self.grafana_url,
            **own,
        )


# Where the flag is not the field's own name.
_FLAGS: Final[Mapping[str, str]] = {"data_dir": "--data", "otlp_endpoint": "--endpoint"}
_FIELDS: Final = frozenset(readers_of(Settings))
_API_FIELDS: Final = tuple(
    one.name
    for one in fields(Settings)
    if one.name.startswith("api_") and one.name not in ("api_host", "api_allowed_hosts", "api_url", "api_database_url")
)


def url_of(host: str, port: int, *, is_tls: bool = False) -> str:
    """The URL by which this machine reaches a server that listens on `host`."""
    # An address that means "all of them" can be listened on, not connected to.
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{reached}]:{port}" if ":" in reached else f"{scheme}://{reached}:{port}"


def flag(field: str) -> str:
    """The flag of a setting, in the commands that have one for it."""
    return _FLAGS.get(field, f"--{field.replace('_', '-')}")


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    pairs: Mapping[str, str] | None = None,
    config: Path | None = None,
    directory: Path | None = None,
) -> Settings:
    """The settings. Raises ConfigError with one sentence for each fault, all of them at once.

    Args:
        flags: by field name; None means that the flag was not given.
        environ: the process's environment.
        pairs: those of --set, by field name.
        config: the TOML file of --config; it has to exist.
        directory: where `spantree.toml` is looked for otherwise; the working directory by default.
    """
    file, document, faults = _config_file(environ, config, directory or _working_directory())
    faults += _unknown_variables(environ)
    faults += [f"--set {name} is no setting{_guess(name, _FIELDS)}" for name in pairs or () if name not in _FIELDS]
    # The last one wins.
    layers: tuple[tuple[str, Mapping[str, object]], ...] = (
        (f"{{field}} in {file}", document),
        ("{variable}", {name: text for name, (_, text) in from_environment(Settings, _ours(environ)).items()}),
        ("--set {field}", pairs or {}),
        ("{flag}", {name: value for name, value in flags.items() if value is not None}),
    )
    given = {
        name: (place.format(field=name, variable=variable(name), flag=flag(name)), value)
        for place, layer in layers
        for name, value in layer.items()
        if name in _FIELDS
    }
    found, wrong = read(Settings, given)
    faults += wrong
    faults += [f"{name} in {file} is no setting{_guess(name, _FIELDS)}" for name in document if name not in _FIELDS]
    if faults:
        raise ConfigError(faults)
    settings = Settings(**found)
    try:
        settings.collector_config("")
        _ = settings.api_config("").tls_files
    except ConfigError as error:
        faults += error.faults
    if settings.api_port and settings.api_port in (settings.otlp_http_port, settings.otlp_grpc_port):
        faults.append(f"SPANTREE_API_PORT is {settings.api_port}, as is a port of OTLP; give another port")
    if faults:
        raise ConfigError(faults)
    return settings if "data_dir" in found else replace(settings, data_dir=default_data_dir(environ))


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path()  # it was removed, and no file is in it


def _config_file(
    environ: Mapping[str, str], config: Path | None, directory: Path
) -> tuple[Path | None, Mapping[str, object], list[str]]:
    """The file, None for none; what it holds; what keeps it from being read."""
    named = config or (Path(environ["SPANTREE_CONFIG"]) if environ.get("SPANTREE_CONFIG") else None)
    file = named or directory / CONFIG_FILE
    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8")), []
    except FileNotFoundError:
        return None, {}, [] if named is None else [f"the file {named} does not exist; give another with --config"]
    except OSError as error:
        return None, {}, [f"the file {file} cannot be read: {error.strerror}; give another with --config"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return None, {}, [f"the file {file} is no TOML: {error}"]


def _ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are meant for us."""
    return {
        name: text
        for name, text in environ.items()
        if name.startswith(PREFIX) and not _SERVICE_LINK.fullmatch(name) and not text.startswith(("tcp://", "udp://"))
    }


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = {variable(field) for field in _FIELDS} | set(OTHERS)
    return [f"{name} is no setting{_guess(name, known)}" for name in sorted(_ours(environ)) if name not in known]


def _guess(name: str, known: Iterable[str]) -> str:
    # The documentation names the variables; what takes fields is given those, too.
    wanted = name if any(one.startswith(PREFIX) for one in known) else name.lower().removeprefix(PREFIX.lower())
    close = difflib.get_close_matches(wanted, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; docs/configuration.md lists them"
