"""Settings of the exporter inside a service."""

from __future__ import annotations

import pytest

from spantree_exporter.config import ExporterConfig
from spantree_exporter.errors import ConfigError

URL = "postgresql://me:secret@db/app"


def test_settings_come_from_the_environment() -> None:
    environ = {"SPANTREE_DATABASE_URL": URL, "SPANTREE_SCHEMA": "create", "SPANTREE_EXPORT_TIMEOUT_S": "2.5"}
    assert ExporterConfig.from_env(environ) == ExporterConfig(URL, "create", 2.5)


def test_the_schema_is_required_and_a_batch_tried_for_ten_seconds_unless_said_otherwise() -> None:
    assert ExporterConfig.from_env({"SPANTREE_DATABASE_URL": URL}) == ExporterConfig(URL, "require", 10.0)


@pytest.mark.parametrize("variable", ["PGHOST", "PGDATABASE", "PGSERVICE", "PGUSER"])
def test_the_variables_of_libpq_stand_in_for_a_url(variable: str) -> None:
    assert ExporterConfig.from_env({variable: "x"}).database_url == ""


def test_names_of_other_parts_are_left_alone() -> None:
    assert ExporterConfig.from_env({"SPANTREE_DATABASE_URL": URL, "SPANTREE_OTLP_HTTP_PORT": "x"}).database_url == URL


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        ExporterConfig.from_env({"SPANTREE_SCHEMA": "drop", "SPANTREE_EXPORT_TIMEOUT_S": "soon"})
    assert raised.value.faults == [
        "SPANTREE_DATABASE_URL is not set, and none of libpq's PG* variables is; "
        'give a PostgreSQL 15 or newer such as "postgresql://user@localhost/spantree"',
        'SPANTREE_SCHEMA is "drop": wanted one of require, create',
        'SPANTREE_EXPORT_TIMEOUT_S is "soon": wanted a number',
    ]


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf"])
def test_a_timeout_is_a_time(timeout: str) -> None:
    with pytest.raises(ConfigError, match=r"SPANTREE_EXPORT_TIMEOUT_S is .*: wanted (a number|more than 0)"):
        ExporterConfig.from_env({"SPANTREE_DATABASE_URL": URL, "SPANTREE_EXPORT_TIMEOUT_S": timeout})


def test_the_password_is_in_no_repr() -> None:
    assert "secret" not in repr(ExporterConfig(URL))
