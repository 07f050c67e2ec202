"""A trace whose day retention drops while something late of it is written stays known, with the late one's day."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from tests.factories import DAY_NS, NOON_NS, span, trace_id, workflow
from tests.tables import project_all, query, waits_for_lock
from tests.waiting import wait_until

from spantree_exporter.otlp.decode_logs import LOGS_PROTOBUF, decode_logs
from spantree_exporter.otlp.signals import Item
from spantree_exporter.postgres.partitions import date_of, day_of
from spantree_exporter.postgres.store import Store

_ID = trace_id(1).hex()


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    """One that has stored the run of yesterday that retention then drops, and one of today, which has partitions so."""
    store = Store(migrated_url)
    store.write(workflow(1, start_ns=NOON_NS - DAY_NS))
    store.write(workflow(3))
    yield store
    store.close()


def late_record() -> Item:
    sent = ExportLogsServiceRequest()
    record = (
        sent.resource_logs.add()
        .scope_logs.add()
        .log_records.add(trace_id=trace_id(1), span_id=(2).to_bytes(8, "big"), time_unix_nano=NOON_NS)
    )
    record.body.string_value = "late"
    [decoded] = decode_logs(sent.SerializeToString(), LOGS_PROTOBUF, NOON_NS).records
    return decoded


def written_while_dropped(url: str, store: Store, items: list[Item], lock: str) -> None:
    """Write `items`, which wait for `lock` while their trace is deleted, as retention does it."""
    with psycopg.connect(url) as retention, ThreadPoolExecutor(1) as beside:
        retention.execute(lock.encode())
        written = beside.submit(store.write, items)
        wait_until(lambda: waits_for_lock(url), 10, "the writer waits for the lock")
        retention.execute("DELETE FROM spantree.trace WHERE trace_id = %s", (_ID,))
        retention.commit()
        written.result(10)
    days = query(url, "SELECT days FROM spantree.trace WHERE trace_id = %(id)s::uuid", id=_ID)
    assert days == [([date_of(day_of(NOON_NS))],)]


def test_it_is_deleted_before_the_writer_reads_its_days(migrated_url: str, store: Store) -> None:
    # Another run, whole, is projected between the two statements that note days.
    items: list[Item] = [span(9, trace=1, parent=1), *workflow(2)]
    written_while_dropped(migrated_url, store, items, "LOCK TABLE spantree.execution IN SHARE MODE")
    project_all(migrated_url, store)
    nodes = "SELECT count(*) FROM spantree.node WHERE trace_id = %(id)s::uuid AND span_id = 9"
    assert query(migrated_url, nodes, id=_ID) == [(1,)]


@pytest.mark.parametrize("late", [span(9, trace=1, parent=1), late_record()], ids=["span", "log record"])
def test_it_is_deleted_before_the_writer_adds_a_day(migrated_url: str, store: Store, late: Item) -> None:
    lock = f"SELECT FROM spantree.trace WHERE trace_id = '{_ID}' FOR UPDATE"
    written_while_dropped(migrated_url, store, [late], lock)
