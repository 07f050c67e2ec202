"""Texts that every part reads alike: yes or no, and where PostgreSQL is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from spantree_collector.config import CollectorConfig
from spantree_deploy.settings import Settings, load
from spantree_exporter.config import ExporterConfig
from spantree_exporter.errors import ConfigError
from spantree_exporter.setting_values import size, whole, yes_or_no

Reader = Callable[[Mapping[str, str]], object]


def command(environ: Mapping[str, str]) -> Settings:
    return load({}, {"HOME": "/home/ada", **environ})


URL = "postgresql://u@h/db"


@pytest.mark.parametrize(
    ("text", "meant"), [("1", True), (" Yes", True), ("ON", True), ("true", True), ("0", False), ("off ", False)]
)
def test_yes_and_no_are_written_in_some_ways(text: str, meant: bool) -> None:
    assert yes_or_no(text) is meant


@pytest.mark.parametrize("read", [command, CollectorConfig.from_env])
@pytest.mark.parametrize(("text", "meant"), [("yes", True), ("off", False), ("", False)])
def test_every_part_reads_them_alike(
    read: Callable[[Mapping[str, str]], Settings | CollectorConfig], text: str, meant: bool
) -> None:
    assert read({"SPANTREE_DATABASE_URL": URL, "SPANTREE_INSECURE": text}).insecure is meant


@pytest.mark.parametrize(
    ("name", "given", "fault"),
    [
        ("INSECURE", "ture", ' "ture": wanted true or false'),
        ("OTLP_HTTP_PORT", "http", ' "http": wanted a whole number'),
        ("OTLP_HTTP_PORT", "70000", ' "70000": wanted 65535 or less'),
        ("WRITER_MAX_BYTES", "1MiB", ' "1MiB": wanted 134217728 or more'),
        ("BATCH_BYTES", "9" * 5000, f' "{"9" * 80}": give bytes, or a number with a unit such as "512MiB" or "8GiB"'),
        ("HEADER_DEADLINE_S", "0", ' "0": wanted 0.01 or more'),
        ("DRAIN_S", "nan", ' "nan": wanted a number'),
        ("EXPORT_TIMEOUT_S", "soon", ' "soon": wanted a number'),
        (
            "DATABASE_URL",
            "mysql://ada:secret@db/x",
            " wrong: it begins with mysql://; wanted postgresql://user@host/database, or libpq's host=... dbname=...",
        ),
    ],
)
def test_the_same_mistake_is_told_by_the_same_words(name: str, given: str, fault: str) -> None:
    parts: list[Reader] = [command, CollectorConfig.from_env, ExporterConfig.from_env]
    told = [said for read in parts if (said := faults(read, {f"SPANTREE_{name}": given}))]
    # Each part reads its own settings and leaves those of others alone.
    assert told == [[f"SPANTREE_{name} is{fault}"]] * len(told)
    assert told


def faults(read: Reader, environ: Mapping[str, str]) -> list[str]:
    try:
        read({"SPANTREE_DATABASE_URL": URL, **environ})
    except ConfigError as error:
        return error.faults
    return []


def test_a_value_that_code_gives_has_the_same_bounds() -> None:
    with pytest.raises(ConfigError) as raised:
        CollectorConfig(URL, writers=65, drain_s=-1.0, host="")
    assert raised.value.faults == [
        'SPANTREE_HOST is "": wanted a value',
        'SPANTREE_WRITERS is "65": wanted 64 or less',
        'SPANTREE_DRAIN_S is "-1.0": wanted 0 or more',
    ]


@pytest.mark.parametrize("digits", [20, 5000])
def test_no_number_of_digits_is_told_by_pythons_own_words(digits: int) -> None:
    for read in (whole(0, 9), size(1)):
        with pytest.raises(ValueError, match=r"^(wanted|give) "):
            read("9" * digits)
