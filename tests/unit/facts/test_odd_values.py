"""Attributes of another type than their convention gives them: no reader of facts may stumble over any of them."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.facts.spans import span

from spantree_exporter import facts
from spantree_exporter.facts import read_facts
from spantree_exporter.facts.registry import CONVENTIONS
from spantree_exporter.span import Event

_ODD: list[Any] = [
    {}, {"a": 1}, {"": {"b": []}}, [], [1], [{"a": []}], [[]], ["a", None], 0, -1, 2**63 - 1, 10**40, 1.5, float("inf"),
    float("nan"), True, None, "", "\0", "{", "[1]", '{"a": [1]}', "null", '"', "1e999", "a" * 5000, b"\xff", "Command(",
]  # fmt: skip
_MODULES = sorted(Path(facts.__file__).parent.glob("conventions/*.py"))
_LITERAL = re.compile(r'"([A-Za-z_][\w.\-/]{1,60})"')
_DRAWS = 300


@pytest.mark.parametrize("module", _MODULES, ids=lambda path: path.stem)
def test_values_of_another_type_than_expected_are_no_fault(module: Path) -> None:
    chance = random.Random(module.stem)
    words = _LITERAL.findall(module.read_text())
    beginnings = [word for word in words if word.endswith((".", "_"))]
    keys = [word for word in words if "." in word or "_" in word]
    keys += [beginning + word for beginning in beginnings for word in words] or ["none"]
    scopes = ["", *(scope for convention in CONVENTIONS for scope in convention.scopes if scope in words)]

    def sent() -> dict[str, Any]:
        return {
            key: chance.choice(_ODD) if chance.random() < 0.7 else chance.choice(words or keys)
            for key in chance.sample(keys, chance.randint(1, min(len(keys), 24)))
        }

    for _ in range(_DRAWS):
        events = [Event(1_500, chance.choice([*words, "exception"]), sent())]
        read_facts(span(chance.choice([*words, "name"]), sent(), scope=chance.choice(scopes), events=events))
