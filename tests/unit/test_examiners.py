"""Large bodies are examined in other processes, with the same answers, within bounds, whatever becomes of these."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest
from tests.otlp_requests import request, span, trace_request
from tests.waiting import wait_until
from tests.wire import field
from tests.writer_processes import is_running

from spantree_collector.metrics import CollectorMetrics
from spantree_collector.receive.examination import Examination
from spantree_collector.receive.examiners import Examiners
from spantree_collector.receive.inflate import BodyTooLarge
from spantree_collector.receive.status import Overloaded
from spantree_exporter.otlp.decode import JSON, PROTOBUF
from spantree_exporter.otlp.decode_logs import LOGS_JSON, LOGS_PROTOBUF
from spantree_exporter.redaction import redactor_of

MAX_OBJECTS = 400_000


def json_body(spans: int, **attribute: str) -> bytes:
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in attribute.items()]
    sent = [{"traceId": "5b" * 16, "spanId": f"{n:016x}", "attributes": attributes} for n in range(1, spans + 1)]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": sent}]}]}).encode()


BODIES = {
    "json": (json_body(50, step="a"), JSON),
    "json with secrets": (json_body(50, password="hunter2hunter2"), JSON),
    "json with wrong ids": (json_body(3).replace(b"5b" * 16, b"5b"), JSON),
    "no json": (b'{"resourceSpans":[{', JSON),
    "json that is nested": (b'{"resourceSpans":' + b"[" * 100_000, JSON),
    "json of too many": (b'{"resourceSpans":[%s]}' % b",".join([b"{}"] * MAX_OBJECTS), JSON),
    "json of logs": (b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}', LOGS_JSON),
    "protobuf": (trace_request(1, 20).SerializeToString(), PROTOBUF),
    "protobuf with secrets": (request(span(1, 1, payload="password=hunter2hunter2")).SerializeToString(), PROTOBUF),
    "protobuf with wrong ids": (field(1, field(2, field(2, field(1, b"short")))), PROTOBUF),
    "protobuf of too many": (field(1, field(2, field(2, b"") * MAX_OBJECTS)), PROTOBUF),
    "no protobuf": (b"\xff\xff", PROTOBUF),
    "protobuf of logs": (field(1, field(2, field(2, field(3, b"INFO")))), LOGS_PROTOBUF),
}


@pytest.fixture(scope="module")
def examiners() -> Iterator[Examiners]:
    made = Examiners(redactor_of("default"), MAX_OBJECTS, CollectorMetrics(), processes=1)
    yield made
    made.close()


def examine(examiners: Examiners, body: bytes, encoding: str = JSON) -> Examination:
    return asyncio.run(examiners.examine_large(body, encoding))


@pytest.mark.parametrize("what", BODIES)
def test_what_is_said_of_a_body_is_the_same_in_whichever_process(examiners: Examiners, what: str) -> None:
    body, encoding = BODIES[what]
    try:
        wanted = examiners.here.examine(body, encoding)
    except Exception as refusal:
        with pytest.raises(type(refusal)) as refused:
            examiners.watched[0].examine(body, encoding)
        assert str(refused.value) == str(refusal)
    else:
        assert examiners.watched[0].examine(body, encoding) == wanted
        assert examine(examiners, body, encoding) == wanted


def test_a_process_that_was_killed_or_had_nothing_to_do_is_replaced(examiners: Examiners) -> None:
    wanted = examiners.here.examine(*BODIES["json"])
    assert examine(examiners, *BODIES["json"]) == wanted
    first = examiners.watched[0].pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert examine(examiners, *BODIES["json"]) == wanted
    second = examiners.watched[0].pid
    assert second is not None
    examiners.watched[0].watch(61.0)
    assert examiners.watched[0].pid is None
    assert not is_running(second)


def test_a_body_is_refused_that_takes_more_memory_or_work_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    bounded = Examiners(redactor_of("default"), MAX_OBJECTS, CollectorMetrics(), processes=1, max_bytes=64 * 2**20)
    try:
        # Of the memory of the process itself some is free: it goes on after what is refused.
        with pytest.raises(BodyTooLarge, match="takes more than 67108864 bytes of memory; send smaller batches"):
            examine(bounded, b'{"resourceSpans":"%s"}' % (b"\xc3\xa4" * 16 * 2**20))
        examine(bounded, *BODIES["json"])
        assert bounded.watched[0].pid is not None
    finally:
        bounded.close()
    bounded = Examiners(redactor_of("default"), MAX_OBJECTS, CollectorMetrics(), processes=1, max_work_s=0.0)
    try:
        with pytest.raises(BodyTooLarge, match="takes more than 0 s of processor time; send smaller batches"):
            examine(bounded, json_body(30_000, password="hunter2hunter2", step="a" * 300))
    finally:
        bounded.close()


def test_what_is_left_of_an_answer_is_not_taken_for_that_to_the_next_body(
    examiners: Examiners, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(self: Connection, maxlength: int | None = None) -> bytes:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "recv_bytes", no_memory)
        with pytest.raises(MemoryError):
            examiners.watched[0].examine(*BODIES["json with secrets"])
    body = BODIES["json"]
    assert examiners.watched[0].examine(*body) == examiners.here.examine(*body)


def test_none_is_started_after_the_end(examiners: Examiners) -> None:
    ended = Examiners(None, MAX_OBJECTS, CollectorMetrics(), processes=1)
    assert examine(ended, *BODIES["json"]).examined.spans == 50
    pid = ended.watched[0].pid
    ended.close()
    assert pid is not None
    wait_until(lambda: not is_running(pid), 10, "the process ends")
    with pytest.raises(Overloaded, match="the collector is stopping"):
        ended.watched[0].examine(*BODIES["json"])
