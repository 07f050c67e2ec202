"""A load whose spans come late, in any order and again: traces that are projected over and over."""

from __future__ import annotations

import http.client
import random
import time
from collections import deque

from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.chaos.client_threads import ClientThreads
from tests.otlp_requests import request, span

from spantree_collector.app import Addresses

SpanKey = tuple[int, int]
"""(trace id, span id)."""
_SECOND_NS = 10**9
_DAY_NS = 86_400 * _SECOND_NS
_WORKFLOWS = ("order", "refund", "report")
_STEPS = ("plan", "search", "charge", "answer", "tell")


def workflow_spans(chance: random.Random, trace: int) -> list[Span]:
    """A run of some steps, some of which fail, two levels deep; its root begins first and ends last."""
    start_ns = time.time_ns() - chance.randrange(int(1.5 * _DAY_NS))
    root = span(trace, 1, name=chance.choice(_WORKFLOWS))
    root.attributes.add(key="spantree.execution.name").value.string_value = root.name
    spans = [root]
    at_ns = start_ns
    for number in range(2, chance.randrange(4, 8)):
        at_ns += chance.randrange(1, 3) * _SECOND_NS
        parent = 1 if chance.random() < 0.8 else chance.randrange(1, number)
        step = span(trace, number, parent=parent, name=chance.choice(_STEPS))
        step.start_time_unix_nano, step.end_time_unix_nano = at_ns, at_ns + _SECOND_NS
        step.attributes.add(key="spantree.node.name").value.string_value = step.name
        if chance.random() < 0.2:
            step.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
            step.attributes.add(key="gen_ai.request.model").value.string_value = "m-1"
            step.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = chance.randrange(100)
        if chance.random() < 0.1:
            step.status.code = 2  # type: ignore[assignment]
            event = step.events.add(name="exception", time_unix_nano=at_ns + _SECOND_NS - 1)
            event.attributes.add(key="exception.type").value.string_value = chance.choice(("Declined", "TimeoutError"))
            event.attributes.add(key="exception.message").value.string_value = "no"
            root.status.code = 2  # type: ignore[assignment]
        spans.append(step)
    root.start_time_unix_nano, root.end_time_unix_nano = start_ns, at_ns + 2 * _SECOND_NS
    return spans


class LateLoad(ClientThreads):
    """Clients that send each trace in parts, the later ones after some requests of other traces, and some twice.

    Once told to stop they send all parts of what was begun.
    """

    def __init__(self, addresses: Addresses, seed: int, clients: int = 2, pause_s: float = 0.02) -> None:
        self.acknowledged: set[SpanKey] = set()
        self.unanswered: set[SpanKey] = set()
        self._addresses = addresses
        self._chance = random.Random(seed)
        self._pause_s = pause_s
        self._parts: deque[list[Span]] = deque()
        self._begun = 0
        super().__init__([self._send] * clients)

    @property
    def traces(self) -> int:
        """How many traces have acknowledged spans."""
        with self._lock:
            return len({trace for trace, _ in self.acknowledged})

    def _next(self) -> list[Span] | None:
        with self._lock:
            chance = self._chance
            if self._parts and (self._stop.is_set() or chance.random() < 0.6):
                return self._parts.popleft()
            if self._stop.is_set():
                return None
            self._begun += 1
            spans = workflow_spans(chance, self._begun)
            chance.shuffle(spans)
            cuts = sorted(chance.randrange(1, len(spans)) for _ in range(chance.choice((0, 1, 1, 2))))
            parts = [
                spans[first:end] for first, end in zip([0, *cuts], [*cuts, len(spans)], strict=True) if spans[first:end]
            ]
            if chance.random() < 0.15:
                parts.append(chance.sample(spans, 2))
            for part in parts[1:]:
                self._parts.insert(chance.randrange(len(self._parts) + 1), part)
            return parts[0]

    def _send(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while (spans := self._next()) is not None:
            keys = {(int.from_bytes(one.trace_id, "big"), int.from_bytes(one.span_id, "big")) for one in spans}
            # Another service for each third span: repeated fields of concatenated messages are concatenated.
            body = b"".join(request(one, service=f"service-{one.span_id[-1] % 3}").SerializeToString() for one in spans)
            if connection is None:
                connection = http.client.HTTPConnection(
                    self._addresses.host, self._addresses.otlp_http_port, timeout=30
                )
            try:
                connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                is_taken = answer.status == 200
            except (OSError, http.client.HTTPException):
                is_taken = False
                connection.close()
                connection = None
                time.sleep(0.05)
            with self._lock:
                (self.acknowledged if is_taken else self.unanswered).update(keys)
            self._stop.wait(self._pause_s)
        if connection is not None:
            connection.close()
