"""`LiveSpanProcessor`: which marks it sends, when, and that the host never notices."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Status, StatusCode
from tests.otlp_receiver import ReceivedSpan, received

from spantree_exporter import autolive, live
from spantree_exporter.live import LiveSpanProcessor, pending_mark

NEVER_S = 3600.0


class Exporter(SpanExporter):
    """Collects; `each` is called inside every export."""

    def __init__(self, each: Callable[[], object] = lambda: None) -> None:
        self.spans: list[ReadableSpan] = []
        self.arrived = threading.Event()
        self.batches: list[int] = []
        self.closed = threading.Event()
        self._each = each

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._each()
        self.spans.extend(spans)
        self.batches.append(len(spans))
        self.arrived.set()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.closed.set()

    def names(self) -> list[str]:
        return [span.name for span in self.spans]


Live = Callable[..., tuple[trace.Tracer, LiveSpanProcessor]]


@pytest.fixture
def make_live() -> Iterator[Live]:
    providers = []

    def make(exporter: SpanExporter, **settings: Any) -> tuple[trace.Tracer, LiveSpanProcessor]:
        provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
        processor = LiveSpanProcessor(exporter, **settings)
        provider.add_span_processor(processor)
        providers.append(provider)
        return provider.get_tracer("scope", "1.2"), processor

    yield make
    for provider in providers:
        provider.shutdown()


def test_a_mark_is_the_span_announced_under_an_id_of_its_own(make_live: Live) -> None:
    exporter = Exporter()
    tracer, processor = make_live(exporter, delay_s=NEVER_S)
    with (
        tracer.start_as_current_span("outer"),
        tracer.start_as_current_span("inner", kind=trace.SpanKind.CLIENT, attributes={"a": 1}) as inner,
    ):
        inner.set_attribute("b", ("x", "y"))
        assert processor.force_flush()
    outer_mark, mark = exporter.spans
    real = inner.get_span_context()
    assert mark.context is not None
    assert outer_mark.parent is not None
    request = encode_spans([mark])
    (group,) = request.resource_spans
    (scope,) = group.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("scope", "1.2")
    start_ns = inner.start_time  # type: ignore[attr-defined]
    assert received(scope.spans[0], "shop", "scope") == ReceivedSpan(
        service="shop",
        scope="scope",
        name="inner",
        trace_id=f"{real.trace_id:032x}",
        span_id=f"{mark.context.span_id:016x}",
        parent_id=f"{real.span_id:016x}",
        kind="CLIENT",
        start_ns=start_ns,
        end_ns=start_ns,
        error=False,
        status_message="",
        attributes={
            "a": 1,
            "b": ["x", "y"],
            "spantree.span_type": "pending_span",
            "spantree.pending_parent_id": f"{outer_mark.parent.span_id:016x}",
        },
    )
    assert mark.context.span_id not in (real.span_id, outer_mark.parent.span_id)
    assert (mark.context.trace_id, mark.context.trace_flags) == (real.trace_id, real.trace_flags)
    assert mark.resource == Resource({"service.name": "shop"})
    assert dict(outer_mark.attributes or {})["spantree.pending_parent_id"] == "0" * 16


def test_a_span_with_a_parent_in_another_process_names_it(make_live: Live) -> None:
    exporter = Exporter()
    tracer, processor = make_live(exporter, delay_s=NEVER_S)
    remote = trace.SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=trace.TraceFlags(1))
    parent = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    with tracer.start_as_current_span("served", context=parent):
        processor.force_flush()
    assert dict(exporter.spans[0].attributes or {})["spantree.pending_parent_id"] == f"{0xDEF:016x}"


def test_a_span_still_open_after_the_delay_is_marked_without_being_asked(make_live: Live) -> None:
    exporter = Exporter()
    tracer, _ = make_live(exporter, delay_s=0.02)
    for round_number in range(3):  # the thread sleeps between two spans and wakes for the next
        exporter.arrived.clear()
        with tracer.start_as_current_span(f"long {round_number}"):
            assert exporter.arrived.wait(10), "no mark within 10 s"
    assert exporter.names() == ["long 0", "long 1", "long 2"]


def test_a_span_that_ends_within_the_delay_is_never_marked(make_live: Live) -> None:
    exporter = Exporter()
    tracer, _ = make_live(exporter, delay_s=0.2)
    with tracer.start_as_current_span("short"):
        pass
    with tracer.start_as_current_span("long"):
        assert exporter.arrived.wait(10)
    assert exporter.names() == ["long"]


def test_a_span_is_marked_once(make_live: Live) -> None:
    exporter = Exporter()
    tracer, processor = make_live(exporter, delay_s=NEVER_S)
    with tracer.start_as_current_span("once"):
        processor.force_flush()
        processor.force_flush()
    assert exporter.names() == ["once"]


def test_an_unsampled_span_is_not_marked() -> None:
    exporter = Exporter()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    processor = LiveSpanProcessor(exporter, delay_s=NEVER_S)
    provider.add_span_processor(processor)
    with provider.get_tracer("x").start_as_current_span("unsampled"):
        processor.force_flush()
    provider.shutdown()
    assert exporter.spans == []


def test_marks_go_out_in_batches_and_more_spans_than_can_be_watched_are_left_out(
    make_live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = Exporter()
    tracer, processor = make_live(exporter, delay_s=NEVER_S, max_waiting=5, max_batch_spans=2)
    spans = [tracer.start_span(f"s{number}") for number in range(8)]
    assert processor.force_flush()
    for span in spans:
        span.end()
    assert exporter.names() == ["s0", "s1", "s2", "s3", "s4"]
    assert exporter.batches == [2, 2, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "5 spans begun within 3600 s are more than can be watched; some get no live mark"
    ], "said once, not for each span"


def test_an_exporter_that_raises_costs_its_marks_and_nothing_else(
    make_live: Live, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([ConnectionError("down")])

    def fail_once() -> None:
        for failure in failures:
            raise failure

    exporter = Exporter(fail_once)
    tracer, processor = make_live(exporter, delay_s=NEVER_S)
    with tracer.start_as_current_span("lost"):
        assert not processor.force_flush()
    with tracer.start_as_current_span("kept"):
        assert processor.force_flush()
    assert exporter.names() == ["kept"]
    assert "could not send live marks" in caplog.text


def test_the_exporters_own_calls_are_not_instrumented(make_live: Live) -> None:
    seen: list[bool] = []
    tracer, processor = make_live(Exporter(lambda: seen.append(is_instrumentation_enabled())), delay_s=NEVER_S)
    with tracer.start_as_current_span("x"):
        processor.force_flush()
    assert seen == [False]
    assert is_instrumentation_enabled()


def test_a_flush_that_may_take_no_longer_says_so(make_live: Live) -> None:
    entered, release = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        release.wait(10)

    exporter = Exporter(hang)
    tracer, processor = make_live(exporter, delay_s=0)
    with tracer.start_as_current_span("first"):
        assert entered.wait(10)
        started_s = time.monotonic()
        assert not processor.force_flush(timeout_millis=50)
        assert time.monotonic() - started_s < 5
        release.set()


def test_shutdown_marks_what_is_open_closes_the_exporter_and_ends_the_thread(make_live: Live) -> None:
    exporter = Exporter()
    tracer, processor = make_live(exporter, delay_s=NEVER_S)
    span = tracer.start_span("open at the end")
    thread = processor._thread
    assert thread is not None
    processor.shutdown()
    processor.shutdown()
    tracer.start_span("after the end").end()
    span.end()
    assert exporter.names() == ["open at the end"]
    assert exporter.closed.is_set()
    thread.join(10)
    assert not thread.is_alive()


def test_an_exporter_that_hangs_holds_up_shutdown_for_a_bounded_time(
    make_live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SHUTDOWN_S", 0.05)
    entered = threading.Event()
    exporter = Exporter()

    def hang_until_closed() -> None:
        entered.set()
        exporter.closed.wait(10)

    exporter._each = hang_until_closed
    tracer, processor = make_live(exporter, delay_s=0)
    with tracer.start_as_current_span("x"):
        assert entered.wait(10)
        started_s = time.monotonic()
        processor.shutdown()
        assert time.monotonic() - started_s < 5
    assert exporter.closed.is_set()


def test_attributes_set_while_the_mark_is_made_do_no_harm() -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    span = provider.get_tracer("x").start_span("busy")
    assert isinstance(span, ReadableSpan)
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            span.set_attribute(f"k{number % 50}", number)
            number += 1

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(300):
            pending_mark(span, 1)
    finally:
        stop.set()
        changer.join()
        span.end()


def test_a_failed_span_that_is_still_open_is_announced_without_a_status(make_live: Live) -> None:
    exporter = Exporter()
    tracer, processor = make_live(exporter, delay_s=NEVER_S)
    with tracer.start_as_current_span("x") as span:
        span.set_status(Status(StatusCode.ERROR))
        processor.force_flush()
    assert exporter.spans[0].status.status_code is StatusCode.UNSET


FORKING = """
import os, sys, threading
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from spantree_exporter.live import LiveSpanProcessor

class Pipe(SpanExporter):
    def export(self, spans):
        for span in spans:
            os.write(writing, f"{'child' if os.getpid() != parent else 'parent'}: {span.name}\\n".encode())
        return SpanExportResult.SUCCESS

parent = os.getpid()
reading, writing = os.pipe()
provider = TracerProvider(shutdown_on_exit=False)
processor = LiveSpanProcessor(Pipe(), delay_s=0.05)
provider.add_span_processor(processor)
tracer = provider.get_tracer("x")
before = tracer.start_span("before the fork")
child = os.fork()
if child == 0:
    span = tracer.start_span("in the child")
    got = threading.Event()
    for _ in range(200):
        if not (processor._fresh or processor._middle or processor._old):
            break
        got.wait(0.05)
    processor.force_flush()
    os._exit(0)
os.waitpid(child, 0)
processor.force_flush()
provider.shutdown()
os.close(writing)
print(os.read(reading, 10_000).decode(), end="")
"""


def test_after_a_fork_each_process_marks_its_own_spans() -> None:
    result = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["child: in the child", "parent: before the fork"]


class Named(SpanExporter):
    """What the entry points below lead to."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize(
    ("environ", "entries"),
    [
        ({}, []),
        ({"SPANTREE_LIVE": "0"}, []),
        ({"SPANTREE_LIVE": "1"}, ["otlp_proto_grpc"]),
        ({"SPANTREE_LIVE": "true", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, ["otlp_proto_http"]),
        (
            {
                "SPANTREE_LIVE": "1",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ["otlp_proto_http"],
        ),
        (
            {"SPANTREE_LIVE": "1", "OTEL_TRACES_EXPORTER": "console, spantree,otlp_proto_http"},
            ["spantree", "otlp_proto_http"],
        ),
        ({"SPANTREE_LIVE": "1", "OTEL_TRACES_EXPORTER": "none"}, []),
    ],
)
def test_the_exporters_that_get_marks_are_those_of_the_environment_that_understand_them(
    environ: dict[str, str], entries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Entry:
        def load(self) -> type[Named]:
            return Named

    def entry_points(*, group: str, name: str) -> list[Entry]:
        assert group == "opentelemetry_traces_exporter"
        asked.append(name)
        return [Entry()]

    provider = TracerProvider(shutdown_on_exit=False)
    added: list[object] = []
    monkeypatch.setattr(provider, "add_span_processor", added.append)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setattr(autolive, "entry_points", entry_points)
    autolive.add_live_marks(environ)
    assert asked == entries
    assert [type(processor) for processor in added] == [LiveSpanProcessor] * len(entries)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"SPANTREE_LIVE": "maybe"}, "SPANTREE_LIVE is 'maybe', must be 1 or 0"),
        ({"SPANTREE_LIVE": "1", "SPANTREE_LIVE_DELAY_S": "soon"}, "could not set them up"),
    ],
)
def test_a_wrong_setting_is_said_and_the_service_runs_on(
    environ: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    autolive.add_live_marks(environ)
    assert said in caplog.text


def test_another_tracer_provider_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    autolive.add_live_marks({"SPANTREE_LIVE": "1"})
    assert "NoOpTracerProvider, not the OpenTelemetry SDK's" in caplog.text


def test_a_span_that_declares_steps_is_announced_at_once_and_again_never(make_live: Live) -> None:
    exporter = Exporter()
    tracer, processor = make_live(exporter, delay_s=NEVER_S)
    with tracer.start_as_current_span("other"):
        span = tracer.start_span("run", attributes={"spantree.steps": ("a", "b")})
        assert exporter.arrived.wait(10)
        assert exporter.names() == ["run"]
        assert {one.name for one in processor.open_spans()} == {"other", "run"}
        span.end()
        assert [one.name for one in processor.open_spans()] == ["other"]
        assert processor.force_flush()
    assert exporter.names() == ["run", "other"]
