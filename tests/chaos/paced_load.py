"""A process that sends so many spans a second, whatever the answers, and tells which were acknowledged.

    python -m tests.chaos.paced_load HOST PORT RATE     over OTLP/HTTP, until its standard input ends

Traces are numbered from 1 on, without a gap, each of SPANS spans and complete in its request; no request is sent again.
It ends with one line of JSON: `PacedResult`.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass

from tests.otlp_requests import trace_request

SPANS = 20
TRACES = 5  # in a request
_CONNECTIONS = 4
_PAYLOAD = "x" * 200


@dataclass(frozen=True)
class PacedResult:
    """What came of a load: numbers of traces; `late_s` is how far it fell behind its pace at worst."""

    sent: int
    refused: list[int]
    late_s: float
    p50_ms: float
    p99_ms: float
    worst_ms: float


class PacedLoad:
    """That process, started; `stop` ends it."""

    def __init__(self, host: str, port: int, rate: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.paced_load", host, str(port), str(rate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def stop(self) -> PacedResult:
        """Send nothing more; returns when the last answer has come."""
        output, _ = self._process.communicate(timeout=120)
        return PacedResult(**json.loads(output))

    def __enter__(self) -> PacedLoad:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


class _Sender:
    """What the threads of the process share."""

    def __init__(self, host: str, port: int, rate: float) -> None:
        self._address = host, port
        self._interval_s = SPANS * TRACES / rate
        self._began_s = time.monotonic()
        self._lock = threading.Lock()
        self._requests = 0
        self._refused: list[int] = []
        self._took_s: list[float] = []
        self._late_s = 0.0
        self.stopped = threading.Event()

    def send(self) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=60)
        while True:
            with self._lock:
                number = self._requests
                due_s = self._began_s + number * self._interval_s
                if self.stopped.is_set():
                    break
                self._requests += 1
            # Whoever has taken a number sends it, a little early perhaps at the end.
            self.stopped.wait(max(0.0, due_s - time.monotonic()))
            traces = range(number * TRACES + 1, (number + 1) * TRACES + 1)
            # Repeated fields of concatenated messages are concatenated.
            body = b"".join(trace_request(trace, SPANS, payload=_PAYLOAD).SerializeToString() for trace in traces)
            began_s = time.monotonic()
            try:
                connection.request("POST", "/v1/traces", body, {"content-type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                is_taken = answer.status == 200
            except (OSError, http.client.HTTPException):
                is_taken = False
                connection.close()
            with self._lock:
                self._took_s.append(time.monotonic() - began_s)
                self._late_s = max(self._late_s, began_s - due_s)
                if not is_taken:
                    self._refused.append(number)
        connection.close()

    def result(self) -> PacedResult:
        took_s = sorted(self._took_s) or [0.0]
        return PacedResult(
            sent=self._requests * TRACES,
            refused=[number * TRACES + 1 + one for number in self._refused for one in range(TRACES)],
            late_s=self._late_s,
            p50_ms=took_s[len(took_s) // 2] * 1e3,
            p99_ms=took_s[int(len(took_s) * 0.99)] * 1e3,
            worst_ms=took_s[-1] * 1e3,
        )


def main() -> None:
    """Run as a program."""
    host, port, rate = sys.argv[1:]
    sender = _Sender(host, int(port), float(rate))
    threads = [threading.Thread(target=sender.send) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    sender.stopped.set()
    for thread in threads:
        thread.join()
    print(json.dumps(asdict(sender.result())))


if __name__ == "__main__":
    main()
