"""What looking for secrets costs: CPU microseconds a span, by RE2 and without it, with and without secrets to find.

    python -m benchmarks.redaction                        the reference load
    python -m benchmarks.redaction --workload FILE        length-prefixed (uint32 LE) ExportTraceServiceRequests

CPU time of the process, the best of three passes: it stays comparable while others use the machine. Beside it what
examining and decoding the same bodies costs, which every body has to bear anyway.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from benchmarks.measuring import bodies, load
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spantree_exporter.otlp.decode import PROTOBUF, decode_request, examine
from spantree_exporter.redaction import Redactor
from spantree_exporter.redaction.protobuf import ProtobufRedactor
from spantree_exporter.redaction.rules import DEFAULT_RULES
from spantree_exporter.redaction.scan import scans

_PASSES = 3
# One in a body, one span of ten, all of them.
_PARTS = {"one span of each body": 0.0, "one span of ten": 0.1, "every span": 1.0}


def main() -> None:
    """Print a table, at last as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", type=Path, default=None)
    parser.add_argument("--traces", type=int, default=800, help="traces of some 25 spans, where no file is given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spantree-bench-") as name:
        requests = list(bodies(arguments.workload or load(Path(name), arguments.traces)))
    spans = sum(examine(body, PROTOBUF).spans for body in requests)
    redactor = Redactor(DEFAULT_RULES)
    without_re2 = ProtobufRedactor(redactor.texts, scans(DEFAULT_RULES, fast=False).wire)
    figures = {
        "examine and decode": _microseconds(requests, spans, _read),
        "nothing to find": _microseconds(requests, spans, lambda body: redactor.body(body, PROTOBUF)),
        "nothing to find, without RE2": _microseconds(requests, spans, lambda body: without_re2.body(body, logs=False)),
    }
    for name, part in _PARTS.items():
        with_secrets = _with_secrets(requests, part)
        figures[f"a secret in {name}"] = _microseconds(with_secrets, spans, lambda body: redactor.body(body, PROTOBUF))
    print(f"{spans} spans, {sum(map(len, requests)) / spans:.0f} bytes each; CPU microseconds a span")
    for name, spent in figures.items():
        print(f"{spent:8.2f}  {name}")
    print(json.dumps(figures))


def _read(body: bytes) -> None:
    examine(body, PROTOBUF)
    decode_request(body, PROTOBUF, 1_790_000_000_000_000_000)


def _microseconds(requests: Sequence[bytes], spans: int, work: Callable[[bytes], object]) -> float:
    best = float("inf")
    for _ in range(_PASSES):
        began_s = time.process_time()
        for body in requests:
            work(body)
        best = min(best, time.process_time() - began_s)
    return 1e6 * best / spans


def _with_secrets(requests: Sequence[bytes], part: float) -> list[bytes]:
    chance = Random(1)
    changed = []
    for body in requests:
        request = ExportTraceServiceRequest.FromString(body)
        spans = [
            span
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        for span in [one for one in spans if chance.random() < part] or spans[:1]:
            told = span.attributes.add(key="http.request.header.authorization")
            told.value.string_value = "Bearer 3f9d1c7a5b2e4860"
        changed.append(request.SerializeToString())
    return changed


if __name__ == "__main__":
    main()
