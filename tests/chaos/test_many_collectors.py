"""Several collectors on one database: parts of each trace go through all of them, one dies, the rows are as of one."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.api_rows import fold_all
from tests.chaos.processes import CollectorProcess, collector_process
from tests.collectors import post, running, settings, wait_until_drained
from tests.otlp_requests import request, span_id, trace_id
from tests.postgres import new_database
from tests.tables import query, tables
from tests.waiting import wait_until

from spantree_collector.app import Addresses
from spantree_exporter.attributes import ATTEMPT, TASK_KEY
from spantree_exporter.postgres.migrate import migrate

pytestmark = pytest.mark.slow

TRACES = 42
COLLECTORS = 3
_MS = 1_000_000
# When the collector took in the newest span: the one column that is told by a clock and not by the spans.
_BY_CLOCK = "last_seen_ns"
# Without the latest starts that were ever counted, also of what a half-known trace looked like.
_HOURS = """
    SELECT to_jsonb(rollup) - 'last_started_ns' - 'last_failed_ns' AS figures
    FROM spantree.rollup
    WHERE grain_h = 1 AND total <> 0
    ORDER BY figures
"""


def _span(trace: int, number: int, parent: int | None, name: str, start_ns: int, **attributes: str) -> Span:
    made = Span(
        trace_id=trace_id(trace),
        span_id=span_id(number),
        parent_span_id=b"" if parent is None else span_id(parent),
        name=name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + 5 * _MS,
    )
    for key, value in attributes.items():
        made.attributes.add(key=key.replace("__", ".")).value.string_value = value
    return made


def parts_of(trace: int, start_ns: int) -> list[bytes]:
    """A run in seven requests: a root, two steps, a task that is tried three times, what its last try did."""
    spans = [_span(trace, 1, None, "order", start_ns, spantree__execution__name=f"order {trace % 4}")]
    spans += [
        _span(trace, number, 1, name, start_ns + number * _MS, spantree__node__name=name)
        for number, name in ((2, "plan"), (3, "answer"))
    ]
    for attempt in (1, 2, 3):
        tried = _span(trace, 3 + attempt, 1, "charge", start_ns + (10 * attempt) * _MS, spantree__node__name="charge")
        tried.attributes.add(key=TASK_KEY).value.string_value = "charge"
        tried.attributes.add(key=ATTEMPT).value.int_value = attempt
        if attempt < 3 or trace % 3 == 0:
            tried.status.code = Status.STATUS_CODE_ERROR
            tried.status.message = f"card declined by processor {trace % 2}"
        spans.append(tried)
    spans.append(_span(trace, 7, 6, "POST /charges", start_ns + 31 * _MS))
    spans[0].end_time_unix_nano = start_ns + 60 * _MS
    return [request(one, service=f"shop {trace % 2}").SerializeToString() for one in spans]


def send_all(bodies: Sequence[bytes], to: Sequence[Addresses], seed: int) -> None:
    """Each of `bodies` to one of `to`, and where that does not take it, to another, as a balancer does."""
    source = random.Random(seed)
    for body in bodies:
        deadline_s = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                if post(source.choice(to), body).status == 200:
                    break
            assert time.monotonic() < deadline_s, "no collector takes a body"


def projected(url: str) -> None:
    """Wait until nothing is left to be projected, and fold the figures."""
    wait_until(
        lambda: query(url, "SELECT count(*) FROM spantree.pending_projection") == [(0,)], 90, "all was projected"
    )
    fold_all(url)


def rows_of(url: str) -> dict[str, object]:
    """The model's rows and the figures of each hour, without what the collectors' clocks told."""
    found: dict[str, object] = {
        name: [{key: value for key, value in row.items() if key != _BY_CLOCK} for row in rows]
        for name, rows in tables(url, "trace", "execution", "node", "edge").items()
    }
    return found | {"rollup": query(url, _HOURS)}


@pytest.fixture
def other_url(postgres_url: str) -> Iterator[str]:
    """A second database, for the same spans through one collector."""
    with new_database(postgres_url) as url:
        migrate(url)
        yield url


@pytest.mark.timeout(240)
def test_parts_of_traces_through_three_collectors_of_which_one_dies_make_the_rows_of_one(
    tmp_path: Path, migrated_url: str, other_url: str
) -> None:
    start_ns = time.time_ns() - 3_600 * 1_000 * _MS
    in_order = [body for trace in range(1, TRACES + 1) for body in parts_of(trace, start_ns + trace * _MS)]
    shuffled = random.Random(7).sample(in_order, len(in_order))
    with contextlib.ExitStack() as stack:
        collectors: list[CollectorProcess] = [
            stack.enter_context(collector_process(tmp_path / f"data-{number}", migrated_url))
            for number in range(COLLECTORS)
        ]
        addresses = [one.addresses for one in collectors]
        threads = [threading.Thread(target=send_all, args=(shuffled[first::4], addresses, first)) for first in range(4)]
        for thread in threads:
            thread.start()
        wait_until(
            lambda: query(migrated_url, "SELECT count(*) > 60 FROM spantree.span") == [(True,)], 60, "rows appeared"
        )
        collectors[0].kill()
        # Its acknowledged spans are in its spool, which a collector on the same directory goes on with.
        collectors[0].start()
        for thread in threads:
            thread.join()
        for one in addresses:
            wait_until_drained(one)
        projected(migrated_url)
    with running(settings(tmp_path / "one", other_url)) as one:
        send_all(in_order, [one], 0)
        wait_until_drained(one)
        projected(other_url)
    assert query(migrated_url, "SELECT count(*) FROM spantree.span") == [(len(in_order),)]
    through_many, through_one = rows_of(migrated_url), rows_of(other_url)
    for name, rows in through_one.items():
        assert through_many[name] == rows, name
    assert query(migrated_url, "SELECT status, count(*) FROM spantree.execution GROUP BY 1 ORDER BY 1") == [
        ("completed", TRACES - TRACES // 3),
        ("partial", TRACES // 3),
    ]
