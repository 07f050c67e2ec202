"""Partitions are made for days near the clock, few at a time; what claims to be elsewhere is kept and marked."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from tests.factories import DAY_NS, span, trace_id
from tests.tables import project_all, query

from spantree_exporter.errors import StoreUnavailable
from spantree_exporter.postgres import partitions
from spantree_exporter.postgres.partitions import OUTSIDE_WINDOW, PartitionWindow, date_of, day_of, ensure_partitions
from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Span

# Ninety days are made, on a Citus cluster each on all nodes: two minutes where much else runs.
_MAKES_MANY = pytest.mark.timeout(360)
_PARTITIONS = """
    SELECT count(*) FROM pg_inherits WHERE inhparent = 'spantree.span'::regclass
"""
# Of today's partitions: parent, settings, and the largest target of its columns and of the expressions of its indexes.
_UPKEEP = """
    SELECT parent.relname, array_to_string(part.reloptions, ' '), (
        SELECT max(coalesce(attstattarget, 100))
        FROM pg_attribute
        LEFT JOIN pg_index ON indexrelid = attrelid
        WHERE NOT attisdropped
            AND attnum > 0
            AND (attrelid = part.oid OR indrelid = part.oid AND indkey[attnum - 1] = 0)
    )
    FROM pg_inherits
    JOIN pg_class AS parent ON parent.oid = inhparent
    JOIN pg_class AS part ON part.oid = inhrelid
    WHERE parent.relnamespace = 'spantree'::regnamespace
        AND parent.relkind = 'p'
        AND part.relname LIKE '%' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')
    ORDER BY 1
"""
_LOCKS = "SELECT current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int"
# Of today's partitions: parent, column, and whether it is in an index, of a type that is large, left out by ANALYZE, a
# text, which is left out for tenants' sake (test_row_security.py).
_STATISTICS = """
    SELECT
        parent.relname, attname,
        EXISTS (
            SELECT FROM pg_depend
            JOIN pg_index ON indexrelid = objid
            WHERE refobjid = attrelid AND refobjsubid = attnum AND classid = 'pg_class'::regclass
        ),
        atttypid = ANY (ARRAY['jsonb', 'bytea', 'text[]', 'bigint[]']::regtype[]),
        attstattarget = 0,
        EXISTS (SELECT FROM spantree.texts_of(attrelid) WHERE column_name = attname)
    FROM pg_inherits
    JOIN pg_class AS parent ON parent.oid = inhparent
    JOIN pg_attribute ON attrelid = inhrelid AND attnum > 0 AND NOT attisdropped
    WHERE parent.relnamespace = 'spantree'::regnamespace
        AND inhrelid::regclass::text = format('spantree.%s_%s', parent.relname, to_char(now(), 'YYYYMMDD'))
"""


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    store = Store(migrated_url, window=PartitionWindow(90))
    yield store
    store.close()


def _noon_ns() -> int:
    """Of today as it is now: midnight may pass while tests run."""
    return time.time_ns() // DAY_NS * DAY_NS + DAY_NS // 2


def _days_ago(days: int, number: int = 1, **changes: object) -> Span:
    return span(number, start_ns=_noon_ns() - days * DAY_NS, **changes)  # type: ignore[arg-type]


def test_the_window_reaches_as_far_back_as_it_says_and_two_days_ahead() -> None:
    today = day_of(_noon_ns())
    window = PartitionWindow(90)
    inside = [day for day in range(today - 400, today + 400) if day in window]
    assert inside == list(range(today - 90, today + 3))
    assert 0 in window


def test_spans_outside_of_the_window_keep_their_times_under_the_sentinel_day(migrated_url: str, store: Store) -> None:
    before = query(migrated_url, _PARTITIONS)
    sent = [_days_ago(89), _days_ago(91, 2, trace=2), _days_ago(-3, 3, trace=3), _days_ago(2000, 4, trace=4)]
    assert store.write(sent).spans == 4
    project_all(migrated_url, store)
    stored = query(migrated_url, "SELECT span_id, day, start_ns, anomalies FROM spantree.span ORDER BY span_id")
    assert stored == [
        (1, date_of(day_of(sent[0].start_ns)), sent[0].start_ns, None),
        *((one.span_id, date_of(0), one.start_ns, [OUTSIDE_WINDOW]) for one in sent[1:]),
    ]
    assert query(migrated_url, _PARTITIONS) == [(before[0][0] + 1,)]
    executions = query(migrated_url, "SELECT trace_id, started_ns, day FROM spantree.execution")
    assert {(row[0].bytes, row[1]) for row in executions} == {(one.trace_id, one.start_ns) for one in sent}
    assert {row[2] for row in executions} == {date_of(0), date_of(day_of(sent[0].start_ns))}
    assert query(migrated_url, "SELECT count(*) FROM spantree.nodes WHERE attributes IS NOT NULL") == [(4,)]


def test_a_day_that_has_a_partition_is_used_whatever_the_window_says(migrated_url: str, store: Store) -> None:
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        ensure_partitions(connection, [day_of(_days_ago(300).start_ns)])
    store.write([_days_ago(300), _days_ago(301, 2, trace=2)])
    assert query(migrated_url, "SELECT day FROM spantree.span ORDER BY span_id") == [
        (date_of(day_of(_days_ago(300).start_ns)),),
        (date_of(0),),
    ]


def test_a_trace_with_a_span_outside_of_the_window_is_one_execution(migrated_url: str, store: Store) -> None:
    store.write([_days_ago(0, 1, name="root"), _days_ago(400, 2, parent=1, name="broken clock")])
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT count(*), min(span_count) FROM spantree.execution") == [(1, 2)]
    assert query(migrated_url, "SELECT name FROM spantree.node ORDER BY name") == [("broken clock",), ("root",)]
    days = query(migrated_url, "SELECT days FROM spantree.trace")
    assert days == [([date_of(0), date_of(day_of(_noon_ns()))],)]
    # Sent again, it is recognised.
    assert store.write([_days_ago(400, 2, parent=1, name="broken clock")]).duplicates == 1


@pytest.mark.timeout(400)  # on Citus each partition is one for each shard
@_MAKES_MANY
def test_a_body_with_a_span_on_each_of_500_days_makes_no_more_partitions_than_the_window(
    migrated_url: str, store: Store
) -> None:
    sent = [_days_ago(days, days + 1, trace=days) for days in range(500)]
    assert store.write(sent).spans == 500
    assert query(migrated_url, _PARTITIONS) == [(91 + 3,)]  # the window, the sentinel, tomorrow and the day after
    outside = "SELECT count(*) FROM spantree.span WHERE day = '1970-01-01'"
    assert query(migrated_url, outside) == [(409,)]
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT count(*) FROM spantree.execution") == [(500,)]


def test_what_is_outside_of_the_window_is_written_by_one_transaction(migrated_url: str, store: Store) -> None:
    store.write([_days_ago(days, trace=days) for days in range(490, 500)])
    outside = "SELECT count(*), count(DISTINCT xmin::text) FROM spantree.span WHERE day = '1970-01-01'"
    assert query(migrated_url, outside) == [(10, 1)]


def test_spans_of_days_that_are_there_do_not_wait_for_partitions_of_others(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_LOCK_TIMEOUT_MS", 200)
    store.write([_days_ago(0, trace=1)])
    with psycopg.connect(migrated_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(1936744814, 1)")  # nobody makes a partition meanwhile
        with pytest.raises(StoreUnavailable):
            store.write([*(_days_ago(days, trace=10 + days) for days in range(10, 40)), _days_ago(0, trace=2)])
        assert query(migrated_url, "SELECT count(*) FROM spantree.execution") == [(2,)]
    store.write([_days_ago(days, trace=10 + days) for days in range(10, 40)])
    assert query(migrated_url, "SELECT count(*) FROM spantree.execution") == [(32,)]


@_MAKES_MANY
def test_one_trace_on_every_day_of_the_window_is_projected_and_locks_no_more_than_its_days(
    migrated_url: str, store: Store
) -> None:
    sent = [_days_ago(89 - days, days + 1, parent=1 if days else None, name=f"day {days}") for days in range(90)]
    assert store.write(sent).spans == 90
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT span_count, total_count FROM spantree.execution") == [(90, 90)]
    store.write([_days_ago(5, 200, parent=1, name="late")])
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT span_count, total_count FROM spantree.execution") == [(91, 91)]
    assert query(migrated_url, "SELECT cardinality(days) FROM spantree.trace") == [(90,)]


def test_other_traces_are_projected_beside_one_that_is_too_much_for_postgresql(
    migrated_url: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A statement that times out costs the trace that it is about; it waits, and says why."""
    query(
        migrated_url,
        f"""
        CREATE FUNCTION spantree.slow(id uuid) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            IF id = '{trace_id(7).hex()}' THEN
                RAISE EXCEPTION 'canceling statement due to statement timeout' USING ERRCODE = 'query_canceled';
            END IF;
            RETURN true;
        END $$;
        ALTER TABLE spantree.node ADD CONSTRAINT slow CHECK (spantree.slow(trace_id));
        """,
    )
    for trace in range(1, 34):
        store.write([_days_ago(0, 2, trace=trace, parent=1), _days_ago(0, 3, trace=trace, parent=1)])
    query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now() - interval '1 second'")
    done = store.project_due()
    assert done.traces == 32
    assert query(migrated_url, "SELECT count(*) FROM spantree.execution") == [(32,)]
    assert query(migrated_url, "SELECT failures, error, due_at > now() FROM spantree.pending_projection") == [
        (1, "QueryCanceled: canceling statement due to statement timeout", True)
    ]
    assert "cannot be written" in caplog.text


def test_analyze_reads_what_is_searched_for_and_not_what_is_only_shown(migrated_url: str, store: Store) -> None:
    store.write([_days_ago(0)])
    columns = query(migrated_url, _STATISTICS)
    assert {parent for parent, *_ in columns} == {"span", "execution", "node", "edge", "log_record"}
    for parent, column, indexed, large, left_out, is_text in columns:
        assert left_out or not large or indexed, f"{parent}.{column} is large: ensure_partitions should leave it out"
        assert left_out or not is_text
        assert not (left_out and indexed) or is_text, f"{parent}.{column} is in an index: ANALYZE should read it"


def test_a_day_that_fills_is_not_read_over_and_over(migrated_url: str, store: Store) -> None:
    store.write([_days_ago(0)])
    analyzed = "autovacuum_analyze_scale_factor=0.5 autovacuum_freeze_min_age=1000000"
    never_vacuumed = f"autovacuum_vacuum_insert_threshold=-1 {analyzed}"
    assert query(migrated_url, _UPKEEP) == [
        ("edge", never_vacuumed, 30),
        ("execution", f"autovacuum_vacuum_insert_scale_factor=0.2 {analyzed}", 30),
        ("log_record", never_vacuumed, 30),
        ("node", never_vacuumed, 30),
        ("span", never_vacuumed, 30),
    ]
