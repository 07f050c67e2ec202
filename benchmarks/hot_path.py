"""What the way from bytes to rows costs by stage, compiled and in Python: CPU microseconds a span, no database.

    python -m benchmarks.hot_path                         the reference load, both paths
    python -m benchmarks.hot_path --workload FILE         length-prefixed (uint32 LE) ExportTraceServiceRequests
    python -m benchmarks.hot_path --path compiled         one path, one line of JSON

A process of its own for each path, batches as large as those of a collector, its settings of the garbage collector. CPU
time of the process, the best of three passes: it stays comparable while others use the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measuring import bodies, load

from spantree_collector.write.garbage_collection import tune_garbage_collector
from spantree_exporter.assemble import assemble
from spantree_exporter.facts import read_facts
from spantree_exporter.hot_path import COMPILED, PYTHON, hot_path
from spantree_exporter.otlp.decode import PROTOBUF, decode_request, examine
from spantree_exporter.postgres.copy_binary import span_rows
from spantree_exporter.postgres.partitions import day_of
from spantree_exporter.projection import ProjectedTrace, TolerantReader, copy_rows, facts_of_span
from spantree_exporter.span import Span

_BATCH_SPANS = 4000
_PASSES = 3
STAGES = ("examine", "decode", "facts", "span rows", "assemble", "rows")


def main() -> None:
    """Print a table of both paths, at last as one line of JSON."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="spantree-bench-") as name:
        requests = list(bodies(arguments.workload or load(Path(name), arguments.traces)))
    if arguments.path:
        print(json.dumps(measure(requests)))
        return
    if hot_path() == PYTHON:
        print("the compiled hot path is not built: `make install` builds it where a C compiler is")
    figures = {path: _in_process(arguments, path) for path in dict.fromkeys((hot_path(), PYTHON))}
    for stage in (*STAGES, "all"):
        print(f"{stage:>12}" + "".join(f"  {of_path[stage]:8.2f} {path}" for path, of_path in figures.items()))
    print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", type=Path, default=None)
    parser.add_argument("--traces", type=int, default=800, help="traces of some 25 spans, where no file is given")
    parser.add_argument("--path", choices=(COMPILED, PYTHON), default=None)
    return parser.parse_args()


def _in_process(arguments: argparse.Namespace, path: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.hot_path", "--path", path, "--traces", str(arguments.traces)]
    if arguments.workload:
        command += ["--workload", str(arguments.workload)]
    environment = os.environ | {"SPANTREE_PURE_PYTHON": "1" if path == PYTHON else "0"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(requests: Sequence[bytes]) -> dict[str, float]:
    """Microseconds a span of each stage, the best of some passes."""
    tune_garbage_collector()
    best = dict.fromkeys((*STAGES, "all"), float("inf"))
    for _ in range(_PASSES):
        seconds, spans = _pass(requests)
        seconds["all"] = sum(seconds.values())
        for stage, spent_s in seconds.items():
            best[stage] = min(best[stage], 1e6 * spent_s / spans)
    return best


def _pass(requests: Sequence[bytes]) -> tuple[dict[str, float], int]:
    seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        began_s = time.process_time()
        yield
        seconds[stage] += time.process_time() - began_s

    reader = TolerantReader(read_facts, assemble)
    count = 0
    batch: list[Span] = []
    for number, body in enumerate(requests, start=1):
        with timed("examine"):
            examine(body, PROTOBUF)
        with timed("decode"):
            batch += decode_request(body, PROTOBUF, 1_790_000_000_000_000_000).spans
        if len(batch) < _BATCH_SPANS and number < len(requests):
            continue
        traces: dict[bytes, list[int]] = {}
        for index, span in enumerate(batch):
            traces.setdefault(span.trace_id, []).append(index)
        with timed("facts"):
            facts = reader.facts(batch)
        with timed("span rows"):
            days = [day_of(span.start_ns) for span in batch]
            for _ in span_rows(0, days, batch, facts):
                pass
        with timed("assemble"):
            projected = []
            for trace_id, indexes in traces.items():
                told = [facts_of_span(batch[index], facts[index]) for index in indexes]
                of_trace = reader.assemble(trace_id, told, [days[index] for index in indexes])
                assert isinstance(of_trace, ProjectedTrace), of_trace
                projected.append(of_trace)
        with timed("rows"):
            # A trace at a time, as writers make them.
            for of_trace in projected:
                copy_rows(0, [of_trace])
        count += len(batch)
        batch = []
    return seconds, count


if __name__ == "__main__":
    main()
