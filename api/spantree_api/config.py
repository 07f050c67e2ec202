"""The API's settings: one frozen value, read from an environment that is passed in and checked whole.

| name | meaning | default |
|---|---|---|
| `SPANTREE_DATABASE_URL` | PostgreSQL that holds the schema `spantree`; libpq's `PG*` complete it | (libpq's own) |
| `SPANTREE_API_DATABASE_URL` | a standby that answers reads; all else stays with the former | (none) |
| `SPANTREE_API_HOST` | address to listen on | `127.0.0.1` |
| `SPANTREE_INSECURE` | `true`: answer everybody beyond this machine, too, while no token was made | `false` |
| `SPANTREE_API_PORT` | port to listen on, 0 takes a free one | `8000` |
| `SPANTREE_API_JAEGER_PORT` | port of Jaeger's storage API (gRPC), 0 takes a free one, -1 for none | `17271` |
| `SPANTREE_API_TLS_CERTIFICATE` | PEM: certificate of both, read again when it changes | (none: no TLS) |
| `SPANTREE_API_TLS_KEY` | PEM: its key | (in the same file) |
| `SPANTREE_API_TLS_CLIENT_CA` | PEM: authorities one of which clients have to show a certificate of | (none) |
| `SPANTREE_API_PUBLIC_URL` | where browsers reach the pages, also below a path of a proxy | (what they name) |
| `SPANTREE_API_OIDC_ISSUER` | provider of OpenID Connect at which people log in | (none) |
| `SPANTREE_API_OIDC_CLIENT_ID` | who we are there | (none) |
| `SPANTREE_API_OIDC_CLIENT_SECRET` | how that is proved | (none: a public client) |
| `SPANTREE_API_OIDC_SCOPES` | what is asked of it | `openid profile email` |
| `SPANTREE_API_OIDC_ROLES_CLAIM` | the claim whose values are roles | `groups` |
| `SPANTREE_API_OIDC_AUDIENCE` | `aud` of the provider's access tokens that the API takes | (none: it takes none) |
| `SPANTREE_API_ROLES` | what a role allows, `VALUE=TENANT:read` or `:admin`, commas between | (roles.DEFAULT_ROLES) |
| `SPANTREE_API_SESSION_S` | how long one is logged in | `28800` |
| `SPANTREE_API_SESSION_KEY` | what cookies are signed with | (made of the client's secret) |
| `SPANTREE_TRUSTED_PROXIES` | addresses of proxies whose headers tell who asks, with commas between | (none) |
| `SPANTREE_API_PROXY_USER_HEADER` | the header with who that is | `x-forwarded-user` |
| `SPANTREE_API_PROXY_ROLES_HEADER` | the one with the roles, commas between | `x-forwarded-groups` |
| `SPANTREE_API_CORS_ORIGINS` | origins whose pages may ask the API, with commas between; `*` for all | (none) |
| `SPANTREE_API_POOL_MAX` | connections to PostgreSQL at most | `8` |
| `SPANTREE_API_POOL_WAIT_S` | how long a request waits for a connection before it is answered 503 | `3` |
| `SPANTREE_API_STATEMENT_TIMEOUT_MS` | a query that takes longer is given up and answered 503 | `15000` |
| `SPANTREE_API_LOST_AFTER_S` | silent for longer while running is `lost`; a workflow's own threshold wins | `3600` |
| `SPANTREE_API_STUCK_PENDING_S` | `/stuck` lists executions pending for longer | `3600` |
| `SPANTREE_API_STUCK_RUNNING_S` | `/stuck` lists executions running for longer | `7200` |
| `SPANTREE_API_STUCK_WAITING_S` | `/stuck` lists executions waiting for longer | `86400` |
| `SPANTREE_API_STREAMS_MAX` | clients that may listen to changes at the same time | `2500` |
| `SPANTREE_API_KNOWN_ERRORS` | a TOML file of known errors that come before ours | (none) |
| `SPANTREE_API_ANALYSIS_MODEL` | language model that analyses failures, for example `openai:gpt-5-mini` | (none) |
| `SPANTREE_API_ANALYSIS_TIMEOUT_S` | how long that model may take before the rules answer | `60` |
| `SPANTREE_API_ANALYSIS_MAX_CHARS` | characters that it is given at most | `20000` |
| `SPANTREE_API_COLLECTOR_URLS` | collectors whose spool and writers `/health` tells, with commas between | (none) |
| `SPANTREE_API_ALERTS_FILE` | TOML with rules of alerts | (none) |
| `SPANTREE_API_ALERT_PRIVATE_HOSTS` | hosts of one's own network that webhooks may name, with commas between | (none) |
| `SPANTREE_API_AUDIT` | what the own audit tells besides refusals: `changes`, `content`, `all` | `content` |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from spantree_api.people.roles import DEFAULT_ROLES
from spantree_exporter.own_audit_event import Level
from spantree_exporter.setting_values import listed
from spantree_exporter.tls.certificate import TlsFiles, tls_files


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """Settings of one API server. URLs of databases may hold a password and are therefore not in the repr."""

    host: str = "127.0.0.1"
    port: int = 8000
    # What Jaeger's own example of a remote storage listens on (cmd/remote-storage).
    jaeger_port: int = 17_271
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    # People; spantree_api.people.settings reads and checks these.
    public_url: str = ""
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: str = field(default="", repr=False)
    oidc_scopes: str = "openid profile email"
    oidc_roles_claim: str = "groups"
    oidc_audience: str = ""
    roles: str = DEFAULT_ROLES
    session_s: float = 28_800.0
    session_key: str = field(default="", repr=False)
    trusted_proxies: str = ""
    proxy_user_header: str = "x-forwarded-user"
    proxy_roles_header: str = "x-forwarded-groups"
    cors_origins: str = ""
    database_url: str = field(default="", repr=False)
    # A standby; empty: all is read where it is written.
    read_database_url: str = field(default="", repr=False)
    pool_max: int = 8
    pool_wait_s: float = 3.0
    statement_timeout_ms: int = 15_000
    lost_after_s: float = 3600.0
    # As people know them from pollers of jobs: pending over one hour, running over two (docs/features.md).
    stuck_pending_s: float = 3600.0
    stuck_running_s: float = 7200.0
    stuck_waiting_s: float = 86_400.0
    streams_max: int = 2_500
    known_errors: Path | None = None
    analysis_model: str = ""
    analysis_timeout_s: float = 60.0
    analysis_max_chars: int = 20_000
    jaeger_url: str | None = None
    grafana_url: str | None = None
    alerts_file: Path | None = None
    alert_private_hosts: str = ""
    # OTLP/HTTP of collectors, whose /readyz tells of spool and writers.
    collector_urls: str = ""
    # Whether everybody is answered beyond a loopback address while there is no token.
    insecure: bool = False
    token_interval_s: float = 2.0
    # What is recorded of what the API is asked, and how long it may wait.
    audit: Level = "content"
    audit_flush_s: float = 1.0
    tenant_id: int = 0

    @property
    def private_hosts(self) -> frozenset[str]:
        """Hosts of a private network that webhooks may name all the same."""
        return frozenset(listed(self.alert_private_hosts.lower()))

    @property
    def tls_files(self) -> TlsFiles | None:
        """What TLS is spoken with; None: it is not. Raises ConfigError for half of it."""
        return tls_files(self.tls_certificate, self.tls_key, self.tls_client_ca, "SPANTREE_API_TLS")

    @property
    def collector_addresses(self) -> list[str]:
        """The collectors whose state is told, 20 at most."""
        return listed(self.collector_urls)[:20]
