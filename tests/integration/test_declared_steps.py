"""Steps declared in a service, from its SDK through PostgreSQL to the API."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.api_rows import NOW_NS
from tests.api_server import api_over, ok
from tests.tables import project_all, query

from spantree_exporter.live import LiveSpanProcessor
from spantree_exporter.otlp.decode import PROTOBUF, decode_request
from spantree_exporter.postgres.store import Store
from spantree_exporter.tracing import DeclaredStep, execution, node


def test_declared_steps_are_pending_then_run_then_skipped(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, marks = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    live = LiveSpanProcessor(marks, delay_s=3600)
    provider.add_span_processor(SimpleSpanProcessor(ended))
    provider.add_span_processor(live)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    run = execution(
        "refund", steps=["look", DeclaredStep("pay", key="t2", depends_on=["look"], description="to the card")]
    )
    known_id = run.id
    with closing(Store(migrated_url)) as store, api_over(migrated_url) as api:

        def told() -> dict[str, Any]:
            """What the API tells once all that was sent is projected."""
            assert live.force_flush()
            for exporter in (ended, marks):
                if spans := exporter.get_finished_spans():
                    store.write(decode_request(encode_spans(spans).SerializeToString(), PROTOBUF, NOW_NS).spans)
                exporter.clear()
            project_all(migrated_url, store)
            answer: dict[str, Any] = ok(api.get(f"/api/v1/executions/{known_id}/tree"))
            return answer

        with run:
            first = told()
            assert [(n["name"], n["status"], n["duration_ms"]) for n in first["tree"]["nodes"][1:]] == [
                ("look", "pending", 0.0),
                ("pay", "pending", 0.0),
            ]
            with node("look"):
                pass
            second = told()
        last = told()
    provider.shutdown()
    assert [(first["status"], second["status"], last["status"])] == [("running", "running", "completed")]
    assert [(n["name"], n["status"]) for n in second["tree"]["nodes"]] == [
        ("refund", "running"),
        ("look", "completed"),
        ("pay", "pending"),
    ]
    assert [(n["name"], n["status"]) for n in last["tree"]["nodes"]] == [
        ("refund", "completed"),
        ("look", "completed"),
        ("pay", "skipped"),
    ]
    assert last["tree"]["skipped_nodes"] == ["pay"]
    assert last["tree"]["nodes"][2]["declared"] == {
        "name": "pay",
        "key": "t2",
        "depends_on": ["look"],
        "description": "to the card",
    }
    assert query(migrated_url, "SELECT status, declared ->> 'key' FROM spantree.nodes WHERE name = 'pay'") == [
        ("skipped", "t2")
    ]
