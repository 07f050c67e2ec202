"""The collector's settings: read once, checked whole."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from spantree_collector.config import CollectorConfig
from spantree_exporter.errors import ConfigError
from spantree_exporter.setting_fields import variable

URL = "postgresql://someone:hidden@db/spantree"


def faults(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        CollectorConfig.from_env(environ)
    return caught.value.faults


def test_the_defaults_are_those_of_otlp_on_the_loopback() -> None:
    config = CollectorConfig.from_env({"SPANTREE_DATABASE_URL": URL})
    assert config == CollectorConfig(database_url=URL)
    assert (config.host, config.otlp_http_port, config.otlp_grpc_port) == ("127.0.0.1", 4318, 4317)
    assert (config.spool_max_bytes, config.max_body_bytes) == (8 * 2**30, 64 * 2**20)


def test_every_setting_is_read_from_its_variable() -> None:
    config = CollectorConfig.from_env(
        {
            "SPANTREE_DATABASE_URL": URL,
            "SPANTREE_DATA_DIR": "/var/lib/spantree",
            "SPANTREE_HOST": "0.0.0.0",
            "SPANTREE_OTLP_HTTP_PORT": "14318",
            "SPANTREE_OTLP_GRPC_PORT": "14317",
            "SPANTREE_SPOOL_MAX_BYTES": "2GiB",
            "SPANTREE_SPOOL_RESERVE_BYTES": "1 MB",
            "SPANTREE_MAX_BODY_BYTES": "1000",
            "SPANTREE_MAX_IN_FLIGHT_BYTES": "3kB",
            "SPANTREE_MAX_CONNECTIONS": "7",
            "SPANTREE_HEADER_DEADLINE_S": "1.5",
            "SPANTREE_BODY_DEADLINE_S": "2",
            "SPANTREE_IDLE_TIMEOUT_S": "3",
            "SPANTREE_RULES": "/etc/spantree/rules.toml",
            "SPANTREE_WRITERS": "0",
            "SPANTREE_BATCH_SPANS": "10",
            "SPANTREE_BATCH_BYTES": "4MiB",
            "SPANTREE_DRAIN_S": "0",
        }
    )
    assert config == CollectorConfig(
        database_url=URL,
        data_dir=Path("/var/lib/spantree"),
        host="0.0.0.0",
        otlp_http_port=14318,
        otlp_grpc_port=14317,
        spool_max_bytes=2 * 2**30,
        spool_reserve_bytes=1_000_000,
        max_body_bytes=1000,
        max_in_flight_bytes=3000,
        max_connections=7,
        header_deadline_s=1.5,
        body_deadline_s=2.0,
        idle_timeout_s=3.0,
        rules=Path("/etc/spantree/rules.toml"),
        writers=0,
        batch_spans=10,
        batch_bytes=4 * 2**20,
        drain_s=0.0,
    )
    assert config.spool_path == Path("/var/lib/spantree/spool.sqlite3")


@pytest.mark.parametrize("name", [field.name for field in fields(CollectorConfig) if field.name != "database_url"])
def test_a_default_that_is_set_is_the_default(name: str) -> None:
    default = getattr(CollectorConfig(database_url=URL), name)
    # None is what an empty variable means.
    text = "" if default is None else str(default)
    config = CollectorConfig.from_env({"SPANTREE_DATABASE_URL": URL, variable(name): text})
    assert (type(getattr(config, name)), config) == (type(default), CollectorConfig(database_url=URL))


def test_all_faults_are_told_at_once() -> None:
    assert faults(
        {
            "SPANTREE_OTLP_HTTP_PORT": "70000",
            "SPANTREE_OTLP_GRPC_PORT": "http",
            "SPANTREE_SPOOL_MAX_BYTES": "8 gigs",
            "SPANTREE_DRAIN_S": "nan",
            "SPANTREE_BATCH_SPANS": "0",
            "SPANTREE_WRITERS": "65",
        }
    ) == [
        'SPANTREE_OTLP_HTTP_PORT is "70000": wanted 65535 or less',
        'SPANTREE_OTLP_GRPC_PORT is "http": wanted a whole number',
        'SPANTREE_SPOOL_MAX_BYTES is "8 gigs": give bytes, or a number with a unit such as "512MiB" or "8GiB"',
        'SPANTREE_WRITERS is "65": wanted 64 or less',
        'SPANTREE_BATCH_SPANS is "0": wanted 1 or more',
        'SPANTREE_DRAIN_S is "nan": wanted a number',
        "SPANTREE_DATABASE_URL is not set, and none of libpq's PG* variables is; "
        'give a PostgreSQL 15 or newer such as "postgresql://user@localhost/spantree"',
    ]


def test_settings_that_contradict_each_other_are_faults() -> None:
    assert faults(
        {"SPANTREE_DATABASE_URL": URL, "SPANTREE_OTLP_HTTP_PORT": "5000", "SPANTREE_OTLP_GRPC_PORT": "5000"}
    ) == ["SPANTREE_OTLP_HTTP_PORT and SPANTREE_OTLP_GRPC_PORT are both 5000; give two ports"]
    assert faults({"SPANTREE_DATABASE_URL": URL, "SPANTREE_MAX_IN_FLIGHT_BYTES": "1MiB"}) == [
        "SPANTREE_MAX_IN_FLIGHT_BYTES is 1048576, less than one body may have (SPANTREE_MAX_BODY_BYTES, 67108864)"
    ]


def test_libpq_variables_stand_for_the_database_url() -> None:
    assert CollectorConfig.from_env({"PGHOST": "db"}).database_url == ""


def test_the_password_is_not_shown() -> None:
    assert "hidden" not in repr(CollectorConfig(database_url=URL))


def test_every_setting_is_documented_beside_its_field() -> None:
    source = Path(__file__).parents[2] / "collector" / "spantree_collector" / "config.py"
    text = source.read_text()
    undocumented = [
        setting.name
        for setting in fields(CollectorConfig)
        if not any(
            line.startswith(f"    {setting.name}: ") and following.startswith('    """')
            for line, following in zip(text.splitlines(), text.splitlines()[1:], strict=False)
        )
    ]
    assert undocumented == []
