"""The settings of the exporter that runs inside a service, read from the environment once, checked whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from spantree_exporter import setting_values as values
from spantree_exporter.errors import ConfigError
from spantree_exporter.setting_fields import database_fault, faults_of, from_environment, read

DEFAULT_EXPORT_TIMEOUT_S: Final = 10.0
REQUIRE: Final = "require"
CREATE: Final = "create"


@dataclass(frozen=True, slots=True)
class ExporterConfig:
    """Settings of one `PostgresSpanExporter`; each field names its variable."""

    database_url: Annotated[str, values.postgres] = field(repr=False)
    """SPANTREE_DATABASE_URL: PostgreSQL 15 or newer, as a URL or libpq string; empty: libpq's PG* variables decide."""
    schema: Annotated[str, values.one_of(REQUIRE, CREATE)] = REQUIRE
    """SPANTREE_SCHEMA: `require` the schema to be there, or `create` it at first use, which takes the right to."""
    export_timeout_s: values.Seconds = DEFAULT_EXPORT_TIMEOUT_S
    """SPANTREE_EXPORT_TIMEOUT_S: how long one batch is tried before it is given up (OTLP exporters: 10 s)."""

    redact: values.Text = "default"
    """SPANTREE_REDACT: what is redacted before a span is stored: `default`, a TOML file of rules, `off`."""
    redact_hash_key: values.AnyText = field(default="", repr=False)
    """SPANTREE_REDACT_HASH_KEY: the key of the hashes that stand for secrets where a rule's mode is `hash`."""

    def __post_init__(self) -> None:
        if faults := faults_of(self):
            raise ConfigError(faults)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> ExporterConfig:
        """Read the settings. Raises ConfigError with every fault at once.

        Names that start with SPANTREE_ but are none of these belong to other parts and are left alone.
        """
        found, faults = read(cls, from_environment(cls, environ))
        if (fault := database_fault(environ)) is not None:
            faults.insert(0, fault)
        if faults:
            raise ConfigError(faults)
        return cls(**{"database_url": "", **found})
