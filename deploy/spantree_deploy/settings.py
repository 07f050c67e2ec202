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
from typing import Annotated, Any, Final, get_args, get_type_hints

from spantree_api.config import ApiConfig
from spantree_collector.config import CollectorConfig
from spantree_deploy import setting_values as values
from spantree_exporter.errors import ConfigError, without_passwords
from spantree_exporter.own_audit_event import Level

PREFIX: Final = "SPANTREE_"
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
_SECRET: Final = frozenset(
    {"database_url", "api_database_url", "token", "api_oidc_client_secret", "api_session_key", "redact_hash_key"}
)


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


Port = Annotated[int, values.whole(0, 65_535)]
PortOrOff = Annotated[int, values.whole(-1, 65_535)]
Bytes = Annotated[int, values.size(1)]
BytesOrNone = Annotated[int, values.size(0)]
Seconds = Annotated[float, values.seconds(more_than_none=True)]
SecondsOrNone = Annotated[float, values.seconds(more_than_none=False)]
Count = Annotated[int, values.whole(1, 10**9)]
CountOrNone = Annotated[int, values.whole(0, 10**9)]
YesOrNo = Annotated[bool, values.yes_or_no]
Writers = Annotated[int, values.whole(0, 64)]
Connections = Annotated[int, values.whole(1, 500)]
Milliseconds = Annotated[int, values.whole(1, 3_600_000)]
Text = Annotated[str, values.text]
AnyText = Annotated[str, values.any_text]
TextOrNone = Annotated[str | None, values.text]
Url = Annotated[str | None, values.url]
Location = Annotated[Path, values.place]
LocationOrNone = Annotated[Path | None, values.place]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings, checked whole. Made by `load`; sizes are bytes or have a unit, a port of 0 takes a free one.

    A stdlib dataclass: a settings library took three quarters of the time of a short command.
    """

    # where the rows are
    database_url: Annotated[str | None, values.postgres] = field(default=None, repr=False)
    data_dir: Location = Path("spantree-data")
    pg_bin: LocationOrNone = None
    citus_shards: Annotated[int, values.whole(1, 4_096)] = 12
    # what the spans mean
    rules: LocationOrNone = None
    # where it listens
    host: Text = "127.0.0.1"
    otlp_http_port: Port = 4318
    otlp_grpc_port: Port = 4317
    api_host: TextOrNone = None
    api_allowed_hosts: AnyText = ""
    api_port: Port = 8000
    tls_certificate: LocationOrNone = None
    tls_key: LocationOrNone = None
    tls_client_ca: LocationOrNone = None
    api_tls_certificate: LocationOrNone = None
    api_tls_key: LocationOrNone = None
    api_tls_client_ca: LocationOrNone = None
    trusted_proxies: AnyText = ""
    collector_cors_origins: AnyText = ""
    # who may come
    insecure: YesOrNo = False
    token: Annotated[str | None, values.text] = field(default=None, repr=False)
    # what is not stored of what comes
    redact: Text = "default"
    redact_hash_key: AnyText = field(default="", repr=False)
    # where commands find it
    otlp_endpoint: Url = None
    api_url: Url = None
    ca: LocationOrNone = None
    client_certificate: LocationOrNone = None
    client_key: LocationOrNone = None
    # where a trace can be looked at besides
    jaeger_url: Url = None
    grafana_url: Url = None
    # the collector; the defaults are CollectorConfig's, and a test holds them equal
    spool_max_bytes: Bytes = 8 * 2**30
    spool_reserve_bytes: BytesOrNone = 64 * 2**20
    max_body_bytes: Bytes = 64 * 2**20
    max_body_objects: Count = 1_000_000
    max_in_flight_bytes: Bytes = 256 * 2**20
    max_connections: Count = 1000
    header_deadline_s: Seconds = 10.0
    body_deadline_s: Seconds = 30.0
    idle_timeout_s: Seconds = 60.0
    writers: Writers = 2
    writer_max_bytes: Bytes = 768 * 2**20
    writer_stall_s: Seconds = 20.0
    batch_spans: Count = 4096
    batch_bytes: Bytes = 16 * 2**20
    partition_days_back: Count = 90
    dead_letters_max: CountOrNone = 100_000
    dead_letters_max_bytes: BytesOrNone = 2**30
    retention_days: CountOrNone = 0
    retention_keep: AnyText = ""
    retention_archive_dir: LocationOrNone = None
    retention_interval_s: Seconds = 3600.0
    audit_days: CountOrNone = 400
    drain_s: SecondsOrNone = 5.0
    # the API; the same with ApiConfig
    api_database_url: Annotated[str | None, values.postgres] = field(default=None, repr=False)
    api_jaeger_port: PortOrOff = 17_271
    api_pool_max: Connections = 8
    api_pool_wait_s: Seconds = 3.0
    api_statement_timeout_ms: Milliseconds = 15_000
    api_lost_after_s: Seconds = 3600.0
    api_stuck_pending_s: Seconds = 3600.0
    api_stuck_running_s: Seconds = 7200.0
    api_stuck_waiting_s: Seconds = 86_400.0
    api_streams_max: CountOrNone = 2_500
    api_known_errors: LocationOrNone = None
    api_analysis_model: AnyText = ""
    api_analysis_timeout_s: Seconds = 60.0
    api_analysis_max_chars: Annotated[int, values.whole(4_000, 1_000_000)] = 20_000
    api_alerts_file: LocationOrNone = None
    api_alert_private_hosts: AnyText = ""
    api_collector_urls: AnyText = ""
    api_public_url: AnyText = ""
    api_oidc_issuer: AnyText = ""
    api_oidc_client_id: AnyText = ""
    api_oidc_client_secret: Annotated[str, values.any_text] = field(default="", repr=False)
    api_oidc_scopes: AnyText = "openid profile email"
    api_oidc_roles_claim: AnyText = "groups"
    api_oidc_audience: AnyText = ""
    api_roles: AnyText = "spantree-read=default:read,spantree-admin=default:admin"
    api_session_s: Seconds = 28_800.0
    api_session_key: Annotated[str, values.any_text] = field(default="", repr=False)
    api_proxy_user_header: AnyText = "x-forwarded-user"
    api_proxy_roles_header: AnyText = "x-forwarded-groups"
    api_cors_origins: AnyText = ""
    api_audit: Annotated[str, values.one_of(*get_args(Level))] = "content"

    @property
    def is_embedded(self) -> bool:
        """Whether PostgreSQL is spantree's own, in `data_dir`."""
        return self.database_url is None

    @property
    def otlp_url(self) -> str:
        """Where services send OTLP/HTTP, without /v1/traces."""
        return (self.otlp_endpoint or self.own_otlp_url).rstrip("/")

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
        return [host for host in map(str.strip, self.api_allowed_hosts.split(",")) if host]

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
_READERS: Final[Mapping[str, values.Read]] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(Settings, include_extras=True).items()
}
_FIELDS: Final = frozenset(_READERS)
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


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


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
    file, document, faults = _config_file(environ, config, directory or Path.cwd())
    faults += _unknown_variables(environ)
    faults += [f"--set {name} is no setting{_guess(name, _FIELDS)}" for name in pairs or () if name not in _FIELDS]
    # The last one wins.
    layers: tuple[tuple[str, Mapping[str, object]], ...] = (
        (f"{{field}} in {file}", document),
        # An empty one is as one that is not set: that is how a compose file passes on what it was not given.
        ("{variable}", {name: text for name in _FIELDS if (text := _ours(environ).get(variable(name), "").strip())}),
        ("--set {field}", pairs or {}),
        ("{flag}", {name: value for name, value in flags.items() if value is not None}),
    )
    given = {
        name: (place.format(field=name, variable=variable(name), flag=flag(name)), value)
        for place, layer in layers
        for name, value in layer.items()
        if name in _FIELDS
    }
    found: dict[str, Any] = {}
    for one in fields(Settings):
        if one.name in given:
            place, value = given[one.name]
            try:
                found[one.name] = _READERS[one.name](value)
            except ValueError as error:
                # A value that may hold a password is not repeated.
                shown = " wrong" if one.name in _SECRET else f' "{without_passwords(str(value))[:80]}"'
                faults.append(f"{place} is{shown}: {error}")
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
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; docs/configuration.md lists them"
