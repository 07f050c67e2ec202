"""Texts that every part reads alike: yes or no, and where PostgreSQL is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from spantree_api.config import ApiConfig
from spantree_collector.config import CollectorConfig
from spantree_deploy import setting_values
from spantree_exporter.errors import ConfigError
from spantree_exporter.setting_texts import yes_or_no

URL = "postgresql://u@h/db"


@pytest.mark.parametrize(
    ("text", "meant"), [("1", True), (" Yes", True), ("ON", True), ("true", True), ("0", False), ("off ", False)]
)
def test_yes_and_no_are_written_in_some_ways(text: str, meant: bool) -> None:
    assert (yes_or_no(text), setting_values.yes_or_no(text)) == (meant, meant)


@pytest.mark.parametrize("read", [ApiConfig.from_env, CollectorConfig.from_env])
@pytest.mark.parametrize(("text", "meant"), [("yes", True), ("off", False), ("", False)])
def test_every_part_reads_them_alike(
    read: Callable[[Mapping[str, str]], ApiConfig | CollectorConfig], text: str, meant: bool
) -> None:
    assert read({"SPANTREE_DATABASE_URL": URL, "SPANTREE_INSECURE": text}).insecure is meant


@pytest.mark.parametrize("read", [ApiConfig.from_env, CollectorConfig.from_env])
def test_what_is_neither_is_a_fault(read: Callable[[Mapping[str, str]], object]) -> None:
    with pytest.raises(ConfigError) as raised:
        read({"SPANTREE_DATABASE_URL": URL, "SPANTREE_INSECURE": "ture"})
    [fault] = raised.value.faults
    assert fault.startswith("SPANTREE_INSECURE is ")
    assert fault.endswith("wanted true or false")
