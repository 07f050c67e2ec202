"""Fuzzed request bodies: recordings and requests made of awkward values, mutated; the same seed makes the same ones."""

from __future__ import annotations

import gzip
import json
import random
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from tests.fuzz_hot_path import RECORDINGS, mutated
from tests.otlp_json import otlp_json

from spantree_exporter.otlp import deep_json

_DAY_NS = 86_400_000_000_000
_AWKWARD_TEXTS = [
    "",
    "\0",
    "a\0b",
    "\\u0000",
    "\ud7ff",
    "{" * 2_000,
    "[" * 2_000,
    '{"a":' * 500 + "1" + "}" * 500,
    "'" * 900,
    "Command(" * 30,
    "((((((" * 500,
    "\x1b[31mred\x07",
    "-1",
    "1e999",
    "NaN",
    "9" * 400,
    "%s%n",
    "'; DROP TABLE spantree.span; --",
    "￿",
    "🦔" * 50,
    "a,b;c|d",
    "2026-13-45T99:99:99Z",
    "0" * 64,
    "\r\n\r\n",
    "$.[*]",
]
# Rare, for bytes are what a body costs all along its way.
_LONG_TEXTS = ["é" * 3_000, "x" * 200_000, "Command(" * 3_000, "9" * 70_000]
_AWKWARD_NUMBERS = [0, 1, -1, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 10**18, 999_999_999_999]
_AWKWARD_FLOATS = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e308, 5e-324, 0.1]
_KEYS = """
    gen_ai.operation.name gen_ai.usage.input_tokens gen_ai.usage.output_tokens gen_ai.tool.name
    gen_ai.agent.name gen_ai.request.model gen_ai.input.messages gen_ai.output.messages gen_ai.conversation.id
    openinference.span.kind input.value output.value llm.token_count.prompt session.id user.id metadata tag.tags
    langgraph.node langgraph.step langgraph.triggers langgraph.path langgraph.checkpoint_ns traceloop.span.kind
    traceloop.entity.name traceloop.entity.input traceloop.association.properties.thread_id
    langfuse.observation.type langfuse.trace.name langsmith.span.kind langsmith.metadata.ls_run_depth
    logfire.span_type logfire.pending_parent_id logfire.msg temporalWorkflowID temporalRunID temporalActivityID
    airflow.dag_id airflow.task_id airflow.dag_run.run_id airflow.task_instance.try_number
    airflow.task_instance.state prefect.flow.name prefect.run.name celery.task_name celery.state celery.retries
    cicd.pipeline.name cicd.pipeline.task.run.id http.request.method http.response.status_code http.route
    url.full db.system.name db.query.text rpc.system rpc.grpc.status_code messaging.operation.type
    exception.type exception.message exception.stacktrace error.type spantree.kind spantree.name spantree.status
    spantree.attempt spantree.max_attempts spantree.task_key spantree.depends_on spantree.condition
    spantree.next spantree.span_type spantree.pending_parent_id spantree.link.type spantree.run_id
    spantree.workflow.name spantree.iteration spantree.input spantree.output spantree.declared
    spantree.lost_after_s spantree.cost_usd otel.status_code service.name host.name process.pid
    code.function.name agent_name graph.node.id graph.node.parent_id ai.operationId ai.toolCall.name
    ai.prompt.messages crew_key task_key dbos.workflow_id workflow.name operation.name
""".split()  # noqa: SIM905  a list has a line for each
_SCOPES = [
    "",
    "openinference.instrumentation.langchain",
    "openinference.instrumentation.openai_agents",
    "langsmith",
    "langfuse-sdk",
    "logfire.pydantic_ai",
    "pydantic-ai",
    "opentelemetry.instrumentation.langchain",
    "airflow",
    "temporal-sdk-go",
    "prefect",
    "opentelemetry.instrumentation.celery",
    "spantree",
    "ai",
    "dbos",
]
_NAMES = [
    "LangGraph",
    "ChatOpenAI",
    "chat",
    "invoke_agent x",
    "execute_tool y",
    "RunActivity:a",
    "GET /",
    "step",
    "retry",
]


@dataclass(frozen=True)
class Fuzzed:
    """A body, and how it is sent."""

    signal: str  # traces, logs
    encoding: str  # protobuf, json
    compression: str
    payload: bytes


class Bodies:
    """Fuzzed bodies without end; the same seed makes the same ones, but for their times, which are around now."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._now_ns = time.time_ns()
        recorded = sorted(RECORDINGS.glob("*.pb"))
        self._protobuf = [path.read_bytes() for path in recorded]
        self._json = [json.loads(path.with_suffix(".json").read_bytes()) for path in recorded]
        self._traces = [self.chance.randbytes(16) for _ in range(64)]

    def __iter__(self) -> Iterator[Fuzzed]:
        while True:
            yield self._compressed(*self._body())

    def _body(self) -> tuple[str, str, bytes]:
        chance = self.chance
        kind = chance.random()
        if kind < 0.1:
            return "traces", "protobuf", mutated(chance, chance.choice(self._protobuf))
        if kind < 0.2:
            return "traces", "json", self._json_bytes(self._damaged(chance.choice(self._json)))
        signal = "logs" if chance.random() < 0.2 else "traces"
        message = self._logs() if signal == "logs" else self._spans()
        if chance.random() < 0.35:
            sent = otlp_json(message)
            if chance.random() < 0.6:
                sent = self._damaged(sent)
            body = self._json_bytes(sent)
            return signal, "json", mutated(chance, body) if chance.random() < 0.1 else body
        body = message.SerializeToString()
        return signal, "protobuf", mutated(chance, body) if chance.random() < 0.4 else body

    def _compressed(self, signal: str, encoding: str, body: bytes) -> Fuzzed:
        chance = self.chance
        kind = chance.random()
        if kind < 0.7:
            return Fuzzed(signal, encoding, "", body)
        compression, payload = "gzip", gzip.compress(body, 1)
        if kind < 0.78:
            compression, payload = "deflate", zlib.compress(body, 1)
        elif kind < 0.80:
            # What the header claims, it is not.
            compression, payload = chance.choice(["gzip", "deflate", "zstd", "snappy", "lz4", "br"]), body
        elif kind < 0.82:
            payload = mutated(chance, payload)
        elif kind < 0.84:
            payload = payload[: chance.randrange(len(payload))] + payload
        return Fuzzed(signal, encoding, compression, payload)

    # ---- requests of awkward values ------------------------------------------------------------------------------

    def _spans(self) -> ExportTraceServiceRequest:
        chance = self.chance
        request = ExportTraceServiceRequest()
        for _ in range(chance.choice((1, 1, 1, 2))):
            resource_spans = request.resource_spans.add()
            self._add_attributes(resource_spans.resource.attributes, chance.randrange(3))
            scope_spans = resource_spans.scope_spans.add()
            scope_spans.scope.name = chance.choice(_SCOPES)
            # Few ids, so that spans share them, are their own parents, and parents of each other.
            trace = self._trace_id()
            ids = [self._id(8) for _ in range(chance.randrange(1, 6))]
            for _ in range(chance.choice((0, 1, 2, 3, 5, 8, 20))):
                span = scope_spans.spans.add()
                span.trace_id = trace if chance.random() < 0.95 else self._trace_id()
                span.span_id = chance.choice(ids) if chance.random() < 0.5 else self._id(8)
                span.parent_span_id = chance.choice([b"", *ids, self._id(8)])
                ids.append(span.span_id)
                span.name = chance.choice(_NAMES) if chance.random() < 0.7 else self._text()
                span.kind = chance.choice((0, 1, 2, 3, 4, 5, 9))  # type: ignore[assignment]
                span.start_time_unix_nano = self._time_ns()
                span.end_time_unix_nano = (
                    span.start_time_unix_nano + chance.randrange(10**9) if chance.random() < 0.8 else self._time_ns()
                ) % 2**64
                span.status.code = chance.choice((0, 1, 2, 2, 7))  # type: ignore[assignment]
                if chance.random() < 0.3:
                    span.status.message = self._text()
                span.trace_state = chance.choice(["", "a=b", "\0", "x" * 600])
                self._add_attributes(span.attributes, chance.choice((0, 1, 2, 4, 9)))
                for _ in range(chance.choice((0, 0, 0, 1, 3))):
                    event = span.events.add()
                    event.name = chance.choice(["exception", "gen_ai.choice", "log", self._text()])
                    event.time_unix_nano = self._time_ns()
                    self._add_attributes(event.attributes, chance.randrange(4))
                for _ in range(chance.choice((0, 0, 0, 1, 2))):
                    link = span.links.add()
                    link.trace_id, link.span_id = chance.choice([trace, self._id(16)]), chance.choice(ids)
                    self._add_attributes(link.attributes, chance.randrange(3))
        return request

    def _logs(self) -> ExportLogsServiceRequest:
        chance = self.chance
        request = ExportLogsServiceRequest()
        resource_logs = request.resource_logs.add()
        self._add_attributes(resource_logs.resource.attributes, chance.randrange(3))
        scope_logs = resource_logs.scope_logs.add()
        scope_logs.scope.name = chance.choice(_SCOPES)
        for _ in range(chance.choice((0, 1, 2, 5))):
            record = scope_logs.log_records.add()
            record.time_unix_nano, record.observed_time_unix_nano = self._time_ns(), self._time_ns()
            record.severity_number = chance.choice((0, 9, 17, 24, 99))  # type: ignore[assignment]
            record.severity_text = chance.choice(["", "ERROR", self._text()])
            record.event_name = chance.choice(["", "gen_ai.user.message", "exception", self._text()])
            record.trace_id, record.span_id = self._trace_id(), self._id(8)
            self._fill(record.body, 0)
            self._add_attributes(record.attributes, chance.randrange(5))
        return request

    def _add_attributes(self, attributes: Any, count: int) -> None:
        for _ in range(count):
            attribute = attributes.add()
            attribute.key = self.chance.choice(_KEYS) if self.chance.random() < 0.9 else self._text()
            self._fill(attribute.value, 0)

    def _fill(self, value: AnyValue, depth: int) -> None:
        chance = self.chance
        match chance.randrange(9):
            case 0 | 1 | 2:
                value.string_value = self._text()
            case 3:
                value.int_value = chance.choice(_AWKWARD_NUMBERS)
            case 4:
                value.double_value = chance.choice(_AWKWARD_FLOATS)
            case 5:
                value.bool_value = chance.random() < 0.5
            case 6:
                value.bytes_value = chance.randbytes(chance.randrange(20))
            case 7 if depth < 4:
                for _ in range(chance.randrange(4)):
                    self._fill(value.array_value.values.add(), depth + 1)
            case 8 if depth < 4:
                for _ in range(chance.randrange(4)):
                    pair = value.kvlist_value.values.add()
                    pair.key = chance.choice(_KEYS)
                    self._fill(pair.value, depth + 1)

    def _text(self) -> str:
        chance = self.chance
        if chance.random() < 0.5:
            text = chance.choice([*_NAMES, "tool", "failed", "RUNNING", "1", "true", "llm", "agent", "pending_span"])
        else:
            text = chance.choice(_AWKWARD_TEXTS if chance.random() < 0.995 else _LONG_TEXTS)
        if chance.random() < 0.1:
            text = json.dumps({chance.choice(_KEYS): text, "goto": [text] * chance.randrange(5)})
        return text

    def _trace_id(self) -> bytes:
        return self.chance.choice(self._traces) if self.chance.random() < 0.1 else self._id(16)

    def _id(self, size: int) -> bytes:
        kind = self.chance.random()
        if kind < 0.97:
            return self.chance.randbytes(size)
        return self.chance.choice([b"", bytes(size), b"short", b"\xff" * size, self.chance.randbytes(size + 1)])

    def _time_ns(self) -> int:
        chance = self.chance
        kind = chance.random()
        if kind < 0.9:
            return self._now_ns - chance.randrange(3600 * 10**9)
        if kind < 0.97:
            return self._now_ns + chance.randrange(-120, 12) * _DAY_NS
        return chance.choice([0, 1, 2**63 - 1, 2**63, 2**64 - 1])

    # ---- structures of JSON --------------------------------------------------------------------------------------

    def _damaged(self, sent: Any) -> Any:
        """A copy in which some values are others."""
        copy = json.loads(json.dumps(sent))
        places: list[tuple[Any, Any]] = []
        open_ = [copy]
        while open_:
            inner = open_.pop()
            keys: Any = list(inner) if isinstance(inner, dict) else range(len(inner))
            for key in keys:
                places.append((inner, key))
                if isinstance(inner[key], dict | list):
                    open_.append(inner[key])
        for _ in range(self.chance.choice((1, 1, 2, 5)) if places else 0):
            inner, key = self.chance.choice(places)
            with_key = (key in inner) if isinstance(inner, dict) else key < len(inner)
            if with_key:
                inner[key] = self._other(inner[key])
        return copy

    def _other(self, value: Any) -> Any:
        chance = self.chance
        match chance.randrange(10):
            case 0:
                return None
            case 1:
                return chance.choice(_AWKWARD_NUMBERS)
            case 2:
                return str(chance.choice(_AWKWARD_NUMBERS))
            case 3:
                return self._text()
            case 4:
                return [value, value]
            case 5:
                return {"stringValue": value}
            case 6:
                return chance.choice([True, 1.5, -0.0, [], {}, [[]], 10**40])
            case 7 if isinstance(value, str):
                return value.upper() + chance.choice(["", " ", "0"])
            case 8:
                nested: Any = value
                for _ in range(chance.choice((3, 60, 150))):
                    nested = {"arrayValue": {"values": [nested]}}
                return nested
            case _:
                return {chance.choice([*_KEYS, "key", "value", "spans", "traceId", "unknown"]): value}

    def _json_bytes(self, sent: Any) -> bytes:
        ascii_only = self.chance.random() < 0.5
        try:
            body = json.dumps(sent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        except RecursionError:
            # Nested by one mutation and then by another.
            body = deep_json.dumps(sent).encode()
        return b"\xef\xbb\xbf" + body if self.chance.random() < 0.02 else body
