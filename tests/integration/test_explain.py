"""`spantree explain` of the spans of tenants."""

from __future__ import annotations

import json

import pytest
from tests.factories import workflow
from tests.tables import query

from spantree_deploy import cli
from spantree_exporter.postgres.store import Store


def test_spans_of_another_tenant_are_explained_where_it_is_named(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPANTREE_DATABASE_URL", migrated_url)
    query(migrated_url, "INSERT INTO spantree.tenant (tenant_id, name) VALUES (7, 'blue')")
    store, spans = Store(migrated_url), workflow(1)
    store.write(spans, tenant_id=7)
    store.close()
    of_trace = ("explain", spans[0].trace_id.hex(), "--json")
    assert cli.run([*of_trace]) == 1
    assert cli.run([*of_trace, "--tenant", "green"]) == 1
    capsys.readouterr()
    assert cli.run([*of_trace, "--tenant", "blue"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(spans)
