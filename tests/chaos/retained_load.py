"""Runs of many past days, in parts, some twice and some with log records of the day after: what retention works on."""

from __future__ import annotations

import contextlib
import http.client
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.chaos.client_threads import ClientThreads
from tests.otlp_requests import request, span, span_id, trace_id

from spantree_collector.app import Addresses

DAY_NS: Final = 86_400 * 10**9
_SECOND_NS: Final = 10**9
_RETRY_S: Final = 0.05
KINDS: Final = ("failed", "billing", "plain")
"""Runs that fail and runs of a workflow that a rule names are kept, plain ones go."""


@dataclass
class Sent:
    """One run: when it was begun, as days since 1970, and when each part of it was acknowledged last."""

    kind: str
    day: int
    span_days: dict[int, int]
    log_days: dict[int, int]
    spans_at_s: dict[int, float] = field(default_factory=dict)
    logs_at_s: dict[int, float] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        """A rule names it."""
        return self.kind != "plain"


@dataclass(frozen=True)
class _Part:
    trace: int
    path: str
    body: bytes
    numbers: tuple[int, ...]


class RetainedLoad(ClientThreads):
    """Clients that begin runs on any of the last `ages` days. The root comes first, and says what the run becomes."""

    def __init__(self, addresses: Addresses, seed: int, ages: int, clients: int = 2, pause_s: float = 0.02) -> None:
        self.sent: dict[int, Sent] = {}
        self.refused = 0
        self._addresses = addresses
        self._chance = random.Random(seed)
        self._ages = ages
        self._pause_s = pause_s
        self._parts: deque[_Part] = deque()
        self._busy: Counter[int] = Counter()
        super().__init__([self._send] * clients)

    @property
    def traces(self) -> int:
        """How many have been begun."""
        with self._lock:
            return len(self.sent)

    def _next(self) -> _Part | None:
        """What to send; None where all that is left waits for the part of its run that is being sent."""
        with self._lock:
            if self._stop.is_set() or self._chance.random() < 0.6:
                # Parts of a run one after the other: the root's is acknowledged before another is sent.
                part = next((one for one in self._parts if not self._busy[one.trace]), None)
                if part is not None:
                    self._parts.remove(part)
                    self._busy[part.trace] += 1
                    return part
            return None if self._stop.is_set() else self._begun()

    def _is_through(self) -> bool:
        with self._lock:
            return self._stop.is_set() and not self._parts

    def _begun(self) -> _Part:
        chance, trace = self._chance, len(self.sent) + 1
        kind = chance.choice(KINDS)
        day = time.time_ns() // DAY_NS - chance.randrange(self._ages)
        # Every third one begins seconds before midnight.
        start_ns = day * DAY_NS + (chance.randrange(80_000) * _SECOND_NS if trace % 3 else DAY_NS - 3 * _SECOND_NS)
        spans = [self._span(trace, number, kind, start_ns) for number in range(1, chance.randrange(3, 7))]
        sent = Sent(kind, day, {n: one.start_time_unix_nano // DAY_NS for n, one in enumerate(spans, 1)}, {})
        cut = chance.choice((1, len(spans), len(spans)))
        parts = [self._part(trace, some) for some in (spans[:cut], spans[cut:]) if some]
        if chance.random() < 0.5:
            at_ns = [start_ns + number * _SECOND_NS for number in (1, 4)]
            sent.log_days.update({number: at // DAY_NS for number, at in enumerate(at_ns, 1)})
            parts.append(self._logs(trace, at_ns))
        if chance.random() < 0.2:
            parts.append(self._part(trace, spans))
        for part in parts[1:]:
            self._parts.insert(chance.randrange(len(self._parts) + 1), part)
        self.sent[trace] = sent
        self._busy[trace] += 1
        return parts[0]

    def _span(self, trace: int, number: int, kind: str, start_ns: int) -> Span:
        one = span(trace, number, parent=None if number == 1 else 1)
        one.start_time_unix_nano = start_ns + (number - 1) * 2 * _SECOND_NS
        one.end_time_unix_nano = start_ns + 12 * _SECOND_NS if number == 1 else one.start_time_unix_nano + _SECOND_NS
        if number == 1:
            one.attributes.add(key="spantree.execution.name").value.string_value = f"{kind}-run"
            if kind == "failed":
                one.status.code = 2  # type: ignore[assignment]
        one.attributes.add(key="spantree.node.name").value.string_value = one.name
        return one

    def _part(self, trace: int, spans: list[Span]) -> _Part:
        numbers = tuple(int.from_bytes(one.span_id, "big") for one in spans)
        return _Part(trace, "/v1/traces", request(*spans).SerializeToString(), numbers)

    def _logs(self, trace: int, times_ns: list[int]) -> _Part:
        built = ExportLogsServiceRequest()
        of_scope = built.resource_logs.add().scope_logs.add()
        for number, at_ns in enumerate(times_ns, 1):
            record = of_scope.log_records.add(time_unix_nano=at_ns, trace_id=trace_id(trace), span_id=span_id(1))
            record.body.string_value = f"record {number}"
        return _Part(trace, "/v1/logs", built.SerializeToString(), tuple(range(1, len(times_ns) + 1)))

    def _send(self) -> None:
        connection = http.client.HTTPConnection(self._addresses.host, self._addresses.otlp_http_port, timeout=30)
        with contextlib.closing(connection):
            while not self._is_through():
                if (part := self._next()) is not None:
                    # Until it is acknowledged: what becomes of a request without an answer nobody knows.
                    while not self._post(connection, part):
                        time.sleep(_RETRY_S)
                    with self._lock:
                        sent = self.sent[part.trace]
                        of_part = sent.spans_at_s if part.path == "/v1/traces" else sent.logs_at_s
                        of_part.update(dict.fromkeys(part.numbers, time.monotonic()))
                        self._busy[part.trace] -= 1
                time.sleep(self._pause_s)

    def _post(self, connection: http.client.HTTPConnection, part: _Part) -> bool:
        try:
            connection.request("POST", part.path, part.body, {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request opens it again
            return False
        self.refused += answer.status != 200
        return answer.status == 200
