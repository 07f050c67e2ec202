"""The collector's settings, read from the environment once, checked whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from spantree_exporter.errors import ConfigError
from spantree_exporter.origins import origins_of
from spantree_exporter.own_audit_event import DEFAULT_KEPT_DAYS
from spantree_exporter.partitions import DEFAULT_DAYS_BACK
from spantree_exporter.retention.policy import Policy, keep_rules
from spantree_exporter.setting_texts import database_fault, yes_or_no
from spantree_exporter.tls.certificate import TlsFiles, tls_files

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """Settings of one collector. Each field is `SPANTREE_<NAME>` in the environment, in upper case.

    Sizes are bytes, or a number with kB, MB, GB, KiB, MiB or GiB. A port of 0 takes any free one.
    """

    database_url: str = field(repr=False)
    """PostgreSQL 15 or newer, as a URL or libpq string; empty: libpq's own PG* variables decide."""
    data_dir: Path = Path("spantree-data")
    """Where the spool lies; on a disk that keeps what it has fsynced."""
    host: str = "127.0.0.1"
    """Address that both receivers listen on; beyond the loopback a token is wanted, or `insecure`."""
    insecure: bool = False
    """Beyond the loopback, too, take spans from everybody while no token was made."""
    otlp_http_port: int = 4318
    """OTLP/HTTP, and /healthz, /readyz, /metrics."""
    otlp_grpc_port: int = 4317
    """OTLP/gRPC."""
    tls_certificate: Path | None = None
    """PEM: the certificate of both, with what leads to its authority; read again when it changes. None: no TLS."""
    tls_key: Path | None = None
    """PEM: its key; None: in the same file."""
    tls_client_ca: Path | None = None
    """PEM: clients have to show a certificate of one of these authorities; None: they need none."""
    collector_cors_origins: str = ""
    """Origins whose pages may send OTLP/HTTP from a browser, with commas between; `*` for all."""
    spool_max_bytes: int = 8 * 2**30
    """Most bytes of request bodies that wait for PostgreSQL; beyond it requests get 503 and are to be sent again."""
    spool_reserve_bytes: int = 64 * 2**20
    """Disk space that is left free, so that a full disk does not stop the spool from draining."""
    max_body_bytes: int = 64 * 2**20
    """Largest request body, as sent and after decompression (64 MiB is the default that OTLP 1.11 recommends)."""
    max_body_objects: int = 1_000_000
    """Most objects of a request body: an attribute counts as 1, an event or link as 4, a span as 5; beyond it 413."""
    max_in_flight_bytes: int = 256 * 2**20
    """Most bytes of bodies in memory before they are on disk, over all requests; beyond it 503."""
    max_connections: int = 1000
    """Most connections at a time, of HTTP and of gRPC each; beyond it the one that has been idle longest makes room."""
    header_deadline_s: float = 10.0
    """Longest time from the first byte of a request, or from connecting, to the end of its headers."""
    body_deadline_s: float = 30.0
    """Longest time from the end of the headers to the end of the body."""
    idle_timeout_s: float = 60.0
    """How long an HTTP connection may wait for its next request."""
    redact: str = "default"
    """What is redacted before a body is stored: `default`, a file of rules, `off` (spantree_exporter.redaction)."""
    redact_hash_key: str = field(default="", repr=False)
    """Key of the hashes that stand for secrets where a rule's mode is `hash`; 16 random characters or more."""
    rules: Path | None = None
    """TOML with a team's own rules (spantree_exporter.rules)."""
    writers: int = 2
    """Processes that decode, write and project; 0: threads of the collector's own process, as is then examining."""
    writer_max_bytes: int = 768 * 2**20
    """Memory of a writer process; one that grows beyond it is replaced, and what it had is tried in smaller parts."""
    writer_stall_s: float = 20.0
    """How long a writer process may give no sign of life; nine times as long for one piece of work. Then as above."""
    batch_spans: int = 4096
    """About how many spans go into one transaction; twice as many at most."""
    batch_bytes: int = 16 * 2**20
    """About how many bytes of bodies, inflated, are decoded at a time; a single body may be larger."""
    partition_days_back: int = DEFAULT_DAYS_BACK
    """How many days spans may be late: older ones make no partition but are stored under 1970-01-01, times kept."""
    dead_letters_max: int = 100_000
    """Most dead letters that are kept; beyond it the oldest are deleted."""
    dead_letters_max_bytes: int = 2**30
    """Most bytes of dead letters that are kept; beyond it the oldest are deleted."""
    retention_days: int = 0
    """How many days are kept; 0: everything is."""
    retention_keep: str = ""
    """What is kept longer, as `failed:90,workflow=billing-*:365` (spantree_exporter.retention.policy)."""
    retention_archive_dir: Path | None = None
    """Where what goes is written before, for `spantree import`; none: nowhere."""
    retention_interval_s: float = 3600.0
    """How often the collectors look what is to go; one of them does it."""
    audit_days: int = DEFAULT_KEPT_DAYS
    """How many days the own audit is kept, in whole months; 0: for ever."""
    drain_s: float = 5.0
    """How long stopping goes on writing what the spool holds; the rest is written after the next start."""

    def __post_init__(self) -> None:
        faults = [
            *(_range_fault(name, getattr(self, name), 0, 65535) for name in ("otlp_http_port", "otlp_grpc_port")),
            _range_fault("writers", self.writers, 0, 64),
            *(_range_fault(name, getattr(self, name), lowest, None) for name, lowest in _LOWEST.items()),
        ]
        if not self.host:
            faults.append('SPANTREE_HOST is empty; give an address such as "127.0.0.1"')
        if self.otlp_http_port == self.otlp_grpc_port != 0:
            faults.append(
                f"SPANTREE_OTLP_HTTP_PORT and SPANTREE_OTLP_GRPC_PORT are both {self.otlp_http_port}; give two ports"
            )
        if self.max_in_flight_bytes < self.max_body_bytes:
            faults.append(
                f"SPANTREE_MAX_IN_FLIGHT_BYTES is {self.max_in_flight_bytes}, less than one body may have "
                f"(SPANTREE_MAX_BODY_BYTES, {self.max_body_bytes})"
            )
        try:
            tls_files(self.tls_certificate, self.tls_key, self.tls_client_ca)
        except ConfigError as error:
            faults += error.faults
        try:
            origins_of(self.collector_cors_origins)
        except ValueError as error:
            faults.append(f"SPANTREE_COLLECTOR_CORS_ORIGINS: {error}")
        try:
            keep_rules(self.retention_keep)
        except ValueError as error:
            faults.append(f"SPANTREE_RETENTION_KEEP: {error}")
        found = [fault for fault in faults if fault is not None]
        if found:
            raise ConfigError(found)

    @property
    def retention(self) -> Policy | None:
        """What is kept how long; None where everything is."""
        if not self.retention_days:
            return None
        return Policy(self.retention_days, keep_rules(self.retention_keep), self.retention_archive_dir)

    @property
    def tls_files(self) -> TlsFiles | None:
        """What TLS is spoken with; None: it is not."""
        return tls_files(self.tls_certificate, self.tls_key, self.tls_client_ca)

    @property
    def spool_path(self) -> Path:
        """The spool's SQLite file."""
        return self.data_dir / "spool.sqlite3"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> CollectorConfig:
        """Read the settings. Raises ConfigError with every fault at once.

        Names that start with SPANTREE_ but are none of these belong to other parts and are left alone.
        """
        faults: list[str] = []
        values: dict[str, Any] = {}
        for setting in fields(cls):
            name = variable(setting.name)
            text = environ.get(name, "").strip()
            if not text:
                continue
            try:
                values[setting.name] = _reader(setting.name)(text)
            except ValueError as error:
                faults.append(f'{name} is "{text}"; {error}')
        values.setdefault("database_url", "")
        if (fault := database_fault(environ)) is not None:
            faults.append(fault)
        try:
            config = cls(**values)
        except ConfigError as error:
            raise ConfigError(faults + error.faults) from None
        if faults:
            raise ConfigError(faults)
        return config


_LOWEST = {
    "spool_max_bytes": 1,
    "spool_reserve_bytes": 0,
    "max_body_bytes": 1,
    "max_body_objects": 1,
    "max_in_flight_bytes": 1,
    "max_connections": 1,
    "header_deadline_s": 0.01,
    "body_deadline_s": 0.01,
    "idle_timeout_s": 0.01,
    "writer_max_bytes": 128 * 2**20,
    "writer_stall_s": 1,
    "batch_spans": 1,
    "batch_bytes": 1,
    "dead_letters_max": 0,
    "dead_letters_max_bytes": 0,
    "drain_s": 0,
    "partition_days_back": 1,
    "retention_days": 0,
    "audit_days": 0,
    "retention_interval_s": 1,
}


_COUNTS = frozenset(
    {
        "max_body_objects",
        "max_connections",
        "writers",
        "batch_spans",
        "partition_days_back",
        "dead_letters_max",
        "retention_days",
        "audit_days",
    }
)


def variable(field_name: str) -> str:
    """The environment variable of a field."""
    return f"SPANTREE_{field_name.upper()}"


def _reader(field_name: str) -> Callable[[str], Any]:
    if field_name == "insecure":
        return yes_or_no
    if field_name.endswith("_bytes"):
        return size_of
    if field_name.endswith("_s"):
        return _seconds
    if field_name.endswith("_port") or field_name in _COUNTS:
        return _whole_number
    is_path = field_name in ("data_dir", "rules", "retention_archive_dir") or field_name.startswith("tls_")
    return Path if is_path else str


def size_of(text: str) -> int:
    """The bytes that a text such as "8GiB" means. Raises ValueError, whose text says what to give."""
    match = re.fullmatch(r"\s*(\d+)\s*([A-Za-z]*)\s*", text)
    factor = _UNITS.get(match[2].upper()) if match else None
    if match is None or factor is None:
        raise ValueError('give bytes, or a number with a unit such as "512MiB" or "8GiB"')
    return int(match[1]) * factor


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError('give seconds, such as "2.5"') from None
    if not 0 <= seconds < float("inf"):
        raise ValueError('give seconds, such as "2.5"')
    return seconds


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text):
        raise ValueError("give a whole number")
    return int(text)


def _range_fault(name: str, value: float, lowest: float, highest: float | None) -> str | None:
    if value < lowest or (highest is not None and value > highest):
        wanted = f"{lowest} to {highest}" if highest is not None else f"{lowest} or more"
        return f"{variable(name)} is {value}; give {wanted}"
    return None
