"""What a program under observation writes down itself while it runs: the truth that the tests compare with.

A program prints one JSON document: a list of runs. It knows nothing of spantree; it only sends OTLP to where the
environment says, as any service does.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


@dataclass
class Call:
    """One call of a step: how it ended, by the step's own account."""

    name: str
    attempt: int = 1
    status: str = "completed"
    error_type: str | None = None


@dataclass
class Run:
    """One run, and what the program says that happened in it."""

    name: str
    status: str = "completed"
    nodes: list[Call] = field(default_factory=list)
    edges: list[tuple[str, str, str, str | None]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    trace_ids: list[str] = field(default_factory=list)


class Ledger(SpanProcessor):
    """Keeps the runs; as a span processor it learns which traces began during which run."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        # Some instrumentations start spans in a thread of their own, after the fact: what waits for them.
        self.settle: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._open_spans = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        trace_id = format(span.get_span_context().trace_id, "032x")
        with self._lock:
            self._open_spans += 1
            if self.runs and all(trace_id not in run.trace_ids for run in self.runs):
                self.runs[-1].trace_ids.append(trace_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Count it."""
        with self._changed:
            self._open_spans -= 1
            self._changed.notify_all()

    def await_ends(self) -> None:
        """Return once no span is open: a server's ends after its answer went out."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._open_spans == 0, timeout=10):
                raise TimeoutError(f"{self._open_spans} spans are still open after 10 s")

    @contextmanager
    def run(self, name: str, **truth: Any) -> Iterator[Run]:
        """The run that takes place in the block; of what it raises only the status stays."""
        run = Run(name, **truth)
        self.runs.append(run)
        yield run
        self.settle()

    def step(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work` as a step called `name`, each call of which is written down with how it ended."""

        @functools.wraps(work)
        def call(*args: Any, **kwargs: Any) -> Any:
            entry = self._enter(name)
            try:
                return work(*args, **kwargs)
            except BaseException as exc:
                self._failed(entry, exc)
                raise

        call.__name__ = call.__qualname__ = name
        return call

    def async_step(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """As `step`, for a coroutine function."""

        @functools.wraps(work)
        async def call(*args: Any, **kwargs: Any) -> Any:
            entry = self._enter(name)
            try:
                return await work(*args, **kwargs)
            except BaseException as exc:
                self._failed(entry, exc)
                raise

        call.__name__ = call.__qualname__ = name
        return call

    def note(self, name: str, status: str = "completed", error_type: str | None = None, attempt: int = 1) -> None:
        """Write down a step that no wrapper can see."""
        with self._lock:
            self.runs[-1].nodes.append(Call(name, attempt, status, error_type))

    def _enter(self, name: str) -> Call:
        entry = Call(name)
        with self._lock:
            before = [c for c in self.runs[-1].nodes if c.name == name]
            if before and before[-1].status == "failed":
                before[-1].status = "retried"
                entry.attempt = before[-1].attempt + 1
            self.runs[-1].nodes.append(entry)
        return entry

    @staticmethod
    def _failed(entry: Call, exc: BaseException) -> None:
        kind = type(exc).__name__
        known = {"GraphInterrupt": "waiting", "ParentCommand": "completed", "CancelledError": "cancelled"}
        entry.status = known.get(kind, "timed_out" if "Timeout" in kind else "failed")
        entry.error_type = kind if entry.status in {"failed", "timed_out"} else None


def start(service: str, ledger: Ledger) -> TracerProvider:
    """A provider that sends to the endpoint of the environment, set as the global one."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(ledger)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def publish(ledger: Ledger) -> None:
    """Print the runs."""
    json.dump([asdict(run) for run in ledger.runs], sys.stdout)
    sys.stdout.write("\n")
