"""The settings of the exporter that runs inside a service, read from the environment once, checked whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from spantree_exporter.errors import ConfigError
from spantree_exporter.setting_texts import SPANTREE_DATABASE_URL, database_fault

SPANTREE_SCHEMA: Final = "SPANTREE_SCHEMA"
SPANTREE_EXPORT_TIMEOUT_S: Final = "SPANTREE_EXPORT_TIMEOUT_S"
SPANTREE_REDACT: Final = "SPANTREE_REDACT"
SPANTREE_REDACT_HASH_KEY: Final = "SPANTREE_REDACT_HASH_KEY"

DEFAULT_EXPORT_TIMEOUT_S: Final = 10.0
REQUIRE: Final = "require"
CREATE: Final = "create"


@dataclass(frozen=True, slots=True)
class ExporterConfig:
    """Settings of one `PostgresSpanExporter`; each field names its variable."""

    database_url: str = field(repr=False)
    """SPANTREE_DATABASE_URL: PostgreSQL 15 or newer, as a URL or libpq string; empty: libpq's PG* variables decide."""
    schema: str = REQUIRE
    """SPANTREE_SCHEMA: `require` the schema to be there, or `create` it at first use, which takes the right to."""
    export_timeout_s: float = DEFAULT_EXPORT_TIMEOUT_S
    """SPANTREE_EXPORT_TIMEOUT_S: how long one batch is tried before it is given up (OTLP exporters: 10 s)."""

    redact: str = "default"
    """SPANTREE_REDACT: what is redacted before a span is stored: `default`, a TOML file of rules, `off`."""
    redact_hash_key: str = field(default="", repr=False)
    """SPANTREE_REDACT_HASH_KEY: the key of the hashes that stand for secrets where a rule's mode is `hash`."""

    def __post_init__(self) -> None:
        faults = []
        if self.schema not in (REQUIRE, CREATE):
            faults.append(f'{SPANTREE_SCHEMA} is "{self.schema}"; wanted "{REQUIRE}" or "{CREATE}"')
        if not 0 < self.export_timeout_s < float("inf"):
            faults.append(f"{SPANTREE_EXPORT_TIMEOUT_S} is {self.export_timeout_s:g}; wanted more than 0 seconds")
        if faults:
            raise ConfigError(faults)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> ExporterConfig:
        """Read the settings. Raises ConfigError with every fault at once.

        Names that start with SPANTREE_ but are none of these belong to other parts and are left alone.
        """
        faults: list[str] = []
        database_url = environ.get(SPANTREE_DATABASE_URL, "").strip()
        if (fault := database_fault(environ)) is not None:
            faults.append(fault)
        timeout = environ.get(SPANTREE_EXPORT_TIMEOUT_S, "").strip()
        try:
            export_timeout_s = float(timeout) if timeout else DEFAULT_EXPORT_TIMEOUT_S
        except ValueError:
            faults.append(f'{SPANTREE_EXPORT_TIMEOUT_S} is "{timeout}"; wanted a number of seconds')
            export_timeout_s = DEFAULT_EXPORT_TIMEOUT_S
        redact = environ.get(SPANTREE_REDACT, "").strip() or "default"
        key = environ.get(SPANTREE_REDACT_HASH_KEY, "").strip()
        try:
            config = cls(
                database_url, environ.get(SPANTREE_SCHEMA, "").strip() or REQUIRE, export_timeout_s, redact, key
            )
        except ConfigError as error:
            raise ConfigError(faults + error.faults) from None
        if faults:
            raise ConfigError(faults)
        return config
