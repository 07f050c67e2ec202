"""docs/configuration.md tells every setting, and nothing that is none."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from spantree_deploy.settings import OTHERS, Settings
from spantree_exporter.setting_fields import variable

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
DEFAULTS = {one.name: one.default for one in fields(Settings)}
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def rows() -> dict[str, list[str]]:
    """The cells that follow a row's name, by that name."""
    lines = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("| `SPANTREE_")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_each_name_has_a_row_and_each_row_is_a_name() -> None:
    assert set(rows()) == {variable(name) for name in DEFAULTS} | set(OTHERS)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_a_rows_default_is_the_settings_default(name: str) -> None:
    told = rows()[variable(name)][-2].strip("`")
    default = DEFAULTS[name]
    if default is None or name == "data_dir":
        assert not re.fullmatch(r"[\d.]+\w*", told), f"{name} has no default that could be told as {told!r}"
        return
    if isinstance(default, bool):
        assert told == str(default).lower()
        return
    number = re.fullmatch(r"([\d.]+)(\w*)", told) if not isinstance(default, str) else None
    assert (float(number[1]) * UNITS.get(number[2], 1) if number else told) == default
