"""A trace that is told to Grafana as JSON is made part by part, while other requests go on."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from spantree_api.routes import tempo


def part(*names: str) -> bytes:
    told = TracesData()
    for name in names:
        told.resource_spans.add().scope_spans.add().spans.add(name=name, span_id=b"12345678", kind=2)
    return told.SerializeToString()


def test_parts_become_one_list_and_none_is_made_by_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [part(), part("a", "b"), part(), part("c")]
    wanted = [one for told in parts for one in MessageToDict(TracesData.FromString(told)).get("resourceSpans", [])]
    threads: list[threading.Thread] = []

    def noted(message: TracesData) -> dict[str, object]:
        threads.append(threading.current_thread())
        return MessageToDict(message)

    monkeypatch.setattr(tempo, "MessageToDict", noted)
    made = asyncio.run(tempo._json(parts))
    assert json.loads(b"[" + b"".join(made) + b"]") == wanted
    assert len(threads) == 4 and threading.main_thread() not in threads
