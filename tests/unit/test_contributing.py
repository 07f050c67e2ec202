"""The worked example of CONTRIBUTING.md works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from spantree_exporter import facts
from spantree_exporter.facts.registry import CONVENTIONS, FactsReader

DOCUMENT = Path(__file__).parents[2] / "CONTRIBUTING.md"


def test_the_convention_of_the_example_passes_the_test_of_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    module, its_test = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(module, "CONTRIBUTING.md: module", "exec"), made)
    monkeypatch.setattr(facts, "read_facts", FactsReader((made["CONVENTION"], *CONVENTIONS)))
    tested: dict[str, Any] = {}
    exec(compile(its_test, "CONTRIBUTING.md: test", "exec"), tested)
    tests = [value for name, value in tested.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0]()
