"""docs/instrument.md names every attribute, and its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from opentelemetry import trace

from spantree_exporter import attributes

PAGE = (Path(__file__).parents[2] / "docs" / "instrument.md").read_text("utf-8")
TABLE = PAGE.partition("## 5.")[2]


def test_the_table_lists_exactly_the_attributes_there_are() -> None:
    first_cells = re.findall(r"^\| (`[^|]+) \|", TABLE, re.MULTILINE)
    documented = [name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)]
    there_are = {
        value
        for name, value in vars(attributes).items()
        if name.isupper() and isinstance(value, str) and re.match(r"[a-z_]+\.", value)
    }
    assert sorted(documented) == sorted(there_are)


def test_the_table_lists_every_kind_and_status() -> None:
    assert [word for word in sorted(attributes.KINDS | attributes.STATUSES) if f"`{word}`" not in TABLE] == []


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_examples_of_the_workflow_run(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 5
    exec(compile(blocks[number], "docs/instrument.md", "exec"), {"__name__": "example"})


def test_the_example_of_live_marks_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?LiveSpanProcessor.*?)```", PAGE, re.DOTALL)[:1]
    names: dict[str, object] = {}
    exec(compile(block, "docs/instrument.md", "exec"), names)
    provider = names["provider"]
    assert hasattr(provider, "shutdown")
    provider.shutdown()
