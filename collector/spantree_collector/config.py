"""The collector's settings, read from the environment once, checked whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from spantree_exporter import setting_values as values
from spantree_exporter.errors import ConfigError
from spantree_exporter.origins import origins_of
from spantree_exporter.own_audit_event import DEFAULT_KEPT_DAYS
from spantree_exporter.postgres.partitions import DEFAULT_DAYS_BACK
from spantree_exporter.retention.policy import Policy, keep_rules
from spantree_exporter.setting_fields import database_fault, faults_of, from_environment, read
from spantree_exporter.tls.certificate import TlsFiles, tls_files

# With none at all no client would ever be in time.
Deadline = Annotated[float, values.seconds(0.01)]
# Below a second the looking itself would be the load.
SecondOrMore = Annotated[float, values.seconds(1.0)]
# Each has a connection to PostgreSQL, which takes 100 by default.
Writers = Annotated[int, values.whole(0, 64)]
# An idle writer has 50 MiB (measured): with much less than this it would be replaced over and over.
WriterBytes = Annotated[int, values.size(128 * 2**20)]


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """Settings of one collector. Each field is `SPANTREE_<NAME>` in the environment, in upper case.

    Sizes are bytes, or a number with kB, MB, GB, KiB, MiB or GiB. A port of 0 takes any free one.
    """

    database_url: Annotated[str, values.postgres] = field(repr=False)
    """PostgreSQL 15 or newer, as a URL or libpq string; empty: libpq's own PG* variables decide."""
    data_dir: values.Location = Path("spantree-data")
    """Where the spool lies; on a disk that keeps what it has fsynced."""
    host: values.Text = "127.0.0.1"
    """Address that both receivers listen on; beyond the loopback a token is wanted, or `insecure`."""
    insecure: values.YesOrNo = False
    """Beyond the loopback, too, take spans from everybody while no token was made."""
    otlp_http_port: values.Port = 4318
    """OTLP/HTTP, and /healthz, /readyz, /metrics."""
    otlp_grpc_port: values.Port = 4317
    """OTLP/gRPC."""
    tls_certificate: values.LocationOrNone = None
    """PEM: the certificate of both, with what leads to its authority; read again when it changes. None: no TLS."""
    tls_key: values.LocationOrNone = None
    """PEM: its key; None: in the same file."""
    tls_client_ca: values.LocationOrNone = None
    """PEM: clients have to show a certificate of one of these authorities; None: they need none."""
    collector_cors_origins: values.AnyText = ""
    """Origins whose pages may send OTLP/HTTP from a browser, with commas between; `*` for all."""
    spool_max_bytes: values.Bytes = 8 * 2**30
    """Most bytes of request bodies that wait for PostgreSQL; beyond it requests get 503 and are to be sent again."""
    spool_reserve_bytes: values.BytesOrNone = 64 * 2**20
    """Disk space that is left free, so that a full disk does not stop the spool from draining."""
    max_body_bytes: values.Bytes = 64 * 2**20
    """Largest request body, as sent and after decompression (64 MiB is the default that OTLP 1.11 recommends)."""
    max_body_objects: values.Count = 1_000_000
    """Most objects of a request body: an attribute counts as 1, an event or link as 4, a span as 5; beyond it 413."""
    max_in_flight_bytes: values.Bytes = 256 * 2**20
    """Most bytes of bodies in memory before they are on disk, over all requests; beyond it 503."""
    max_connections: values.Count = 1000
    """Most connections at a time, of HTTP and of gRPC each; beyond it the one that has been idle longest makes room."""
    header_deadline_s: Deadline = 10.0
    """Longest time from the first byte of a request, or from connecting, to the end of its headers."""
    body_deadline_s: Deadline = 30.0
    """Longest time from the end of the headers to the end of the body."""
    idle_timeout_s: Deadline = 60.0
    """How long an HTTP connection may wait for its next request."""
    redact: values.Text = "default"
    """What is redacted before a body is stored: `default`, a file of rules, `off` (spantree_exporter.redaction)."""
    redact_hash_key: values.AnyText = field(default="", repr=False)
    """Key of the hashes that stand for secrets where a rule's mode is `hash`; 16 random characters or more."""
    rules: values.LocationOrNone = None
    """TOML with a team's own rules (spantree_exporter.rules)."""
    writers: Writers = 2
    """Processes that decode, write and project; 0: threads of the collector's own process, as is then examining."""
    writer_max_bytes: WriterBytes = 768 * 2**20
    """Memory of a writer process; one that grows beyond it is replaced, and what it had is tried in smaller parts."""
    writer_stall_s: SecondOrMore = 20.0
    """How long a writer process may give no sign of life; of processor time for one piece of work, three times that."""
    batch_spans: values.Count = 4096
    """About how many spans go into one transaction; twice as many at most."""
    batch_bytes: values.Bytes = 16 * 2**20
    """About how many bytes of bodies, inflated, are decoded at a time; a single body may be larger."""
    partition_days_back: values.Count = DEFAULT_DAYS_BACK
    """How many days spans may be late: older ones make no partition but are stored under 1970-01-01, times kept."""
    dead_letters_max: values.CountOrNone = 100_000
    """Most dead letters that are kept; beyond it the oldest are deleted."""
    dead_letters_max_bytes: values.BytesOrNone = 2**30
    """Most bytes of dead letters that are kept; beyond it the oldest are deleted."""
    retention_days: values.CountOrNone = 0
    """How many days are kept; 0: everything is."""
    retention_keep: values.AnyText = ""
    """What is kept longer, as `failed:90,workflow=billing-*:365` (spantree_exporter.retention.policy)."""
    retention_archive_dir: values.LocationOrNone = None
    """Where what goes is written before, for `spantree import`; none: nowhere."""
    retention_interval_s: SecondOrMore = 3600.0
    """How often the collectors look what is to go; one of them does it."""
    audit_days: values.CountOrNone = DEFAULT_KEPT_DAYS
    """How many days the own audit is kept, in whole months; 0: for ever."""
    drain_s: values.SecondsOrNone = 5.0
    """How long stopping goes on writing what the spool holds; the rest is written after the next start."""

    def __post_init__(self) -> None:
        faults = faults_of(self)
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
        if faults:
            raise ConfigError(faults)

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
        found, faults = read(cls, from_environment(cls, environ))
        if (fault := database_fault(environ)) is not None:
            faults.append(fault)
        try:
            config = cls(**{"database_url": "", **found})
        except ConfigError as error:
            raise ConfigError(faults + error.faults) from None
        if faults:
            raise ConfigError(faults)
        return config
