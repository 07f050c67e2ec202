"""Store.write: one transaction a batch, idempotent, and clear about what helps when it fails."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from tests.factories import DAY_NS, NOON_NS, SECOND_NS, span, trace_id, workflow
from tests.rollup_checks import fold
from tests.tables import empty, project_all, query, tables, versions

from spantree_exporter.errors import BatchRejected, OperatorError, SchemaVersionError, StoreUnavailable
from spantree_exporter.facts import Facts, read_facts
from spantree_exporter.otlp.decode import DeadLetter
from spantree_exporter.postgres.dead_letters import DeadLetterLimits
from spantree_exporter.postgres.partitions import date_of, day_of
from spantree_exporter.postgres.rollup_store import differences
from spantree_exporter.postgres.store import Store, TenantBatch, Written
from spantree_exporter.span import Span

OpenStore = Callable[..., Store]


@pytest.fixture
def open_store() -> Iterator[OpenStore]:
    stores: list[Store] = []

    def open_one(url: str, **options: object) -> Store:
        stores.append(Store(url, **options))  # type: ignore[arg-type]
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def _mixed() -> list[Span]:
    return [each for trace in range(1, 8) for each in workflow(trace, failing=trace % 2 == 0)]


def test_whole_traces_are_there_and_projected_when_write_returns(migrated_url: str, open_store: OpenStore) -> None:
    assert open_store(migrated_url).write(_mixed()) == Written(spans=35, duplicates=0, projected_traces=7)
    assert query(migrated_url, "SELECT count(*) FROM spantree.pending_projection") == [(0,)]
    assert query(migrated_url, "SELECT status, count(*) FROM spantree.execution GROUP BY 1 ORDER BY 1") == [
        ("completed", 4),
        ("partial", 3),
    ]
    assert query(migrated_url, "SELECT count(*) FROM spantree.node") == [(35,)]


def test_a_span_is_stored_as_it_was_sent(migrated_url: str, open_store: OpenStore) -> None:
    sent = span(
        0xFFFFFFFFFFFFFFFE, parent=7, name="größe\x00", attributes={"a": [1, 2.0, {"b": None}]}, error="no", service="s"
    )
    open_store(migrated_url).write([sent])
    [stored] = tables(migrated_url, "span")["span"]
    assert {name: stored[name] for name in ("span_id", "parent_span_id", "name", "kind", "status_code", "flags")} == {
        "span_id": -2, "parent_span_id": 7, "name": "größe\u2400", "kind": 1, "status_code": 2, "flags": 0x100,
    }  # fmt: skip
    assert stored["trace_id"].bytes == trace_id(1)
    assert (stored["start_ns"], stored["end_ns"], stored["received_ns"]) == (
        sent.start_ns,
        sent.end_ns,
        sent.received_ns,
    )
    assert (stored["attributes"], stored["status_message"], stored["scope"]) == (
        {"a": [1, 2.0, {"b": None}]},
        "no",
        {"name": "tests", "version": "1"},
    )
    assert (stored["anomalies"], stored["raw"]) == (sent.anomalies, sent.raw)
    assert stored["raw"]
    assert [(row["id"], row["service_name"]) for row in tables(migrated_url, "resource")["resource"]] == [
        (sent.resource.id, "s")
    ]


def test_writing_again_changes_no_row(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write(_mixed())
    before, untouched = tables(migrated_url), versions(migrated_url)
    again = _mixed()
    for late in again:
        late.received_ns += 1000 * SECOND_NS
    assert store.write(again) == Written(spans=0, duplicates=35, projected_traces=0)
    project_all(migrated_url, store)
    assert tables(migrated_url) == before
    assert versions(migrated_url) == untouched


@pytest.mark.parametrize("seed", range(4))
def test_order_split_and_repetition_do_not_matter(migrated_url: str, open_store: OpenStore, seed: int) -> None:
    store = open_store(migrated_url)
    store.write(_mixed())
    expected = tables(migrated_url)
    empty(migrated_url)
    chance = random.Random(seed)
    shuffled = _mixed() + chance.sample(_mixed(), 10)
    chance.shuffle(shuffled)
    other = open_store(migrated_url)
    while shuffled:
        size = chance.randint(1, 12)
        other.write(shuffled[:size])
        shuffled = shuffled[size:]
        if chance.random() < 0.3:
            project_all(migrated_url, other)
    project_all(migrated_url, other)
    assert tables(migrated_url) == expected


def test_repeats_within_a_batch_are_stored_once(migrated_url: str, open_store: OpenStore) -> None:
    one = span(1)
    assert open_store(migrated_url).write([one, span(2), one, span(1)]).duplicates == 2
    assert query(migrated_url, "SELECT span_id FROM spantree.span ORDER BY 1") == [(1,), (2,)]


def test_different_spans_that_share_an_id_are_both_kept(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    second = span(2, parent=1, name="second try", start_ns=NOON_NS + SECOND_NS)
    store.write([span(1), span(2, parent=1, name="first try"), second])
    assert query(migrated_url, "SELECT name FROM spantree.span WHERE span_id = 2 ORDER BY 1") == [
        ("first try",),
        ("second try",),
    ]
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT ordinal FROM spantree.node WHERE span_id = 2 ORDER BY 1") == [(0,), (1,)]


def test_a_trace_over_midnight_has_rows_on_both_days(migrated_url: str, open_store: OpenStore) -> None:
    late = NOON_NS + DAY_NS // 2 - 3 * SECOND_NS
    open_store(migrated_url).write(workflow(start_ns=late))
    days = "SELECT span_id, day::text FROM spantree.{} ORDER BY 1"
    expected = [(1, "2026-11-20"), (2, "2026-11-20"), (3, "2026-11-20"), (4, "2026-11-21"), (5, "2026-11-21")]
    assert query(migrated_url, days.format("span")) == expected
    assert query(migrated_url, days.format("node")) == expected
    assert query(migrated_url, "SELECT day::text FROM spantree.execution") == [("2026-11-20",)]
    assert query(migrated_url, "SELECT count(*) FROM spantree.nodes WHERE attributes IS NULL") == [(0,)]


@pytest.mark.parametrize(
    ("start_ns", "day"), [(0, "1970-01-01"), (2**62, "1970-01-01"), (NOON_NS - 4000 * DAY_NS, "2015-12-08")]
)
def test_a_start_long_ago_or_impossible_finds_its_partition(
    migrated_url: str, open_store: OpenStore, start_ns: int, day: str
) -> None:
    assert open_store(migrated_url).write([span(1, start_ns=start_ns)]).projected_traces == 1
    assert query(migrated_url, "SELECT start_ns, day::text, tableoid::regclass::text FROM spantree.span") == [
        (start_ns, day, f"spantree.span_{day.replace('-', '')}")
    ]
    assert query(migrated_url, "SELECT day::text FROM spantree.execution") == [(day,)]


def test_a_partition_that_was_dropped_meanwhile_is_made_again(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write([span(1)])
    for name in ("span", "execution", "node", "edge"):
        query(migrated_url, f"DROP TABLE spantree.{name}_20261120")
    assert store.write([span(2, trace=2)]).spans == 1
    assert query(migrated_url, "SELECT span_id FROM spantree.span") == [(2,)]


def test_a_partition_that_was_detached_comes_back_with_its_rows(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write([span(1)])
    query(migrated_url, "ALTER TABLE spantree.span DETACH PARTITION spantree.span_20261120")
    assert store.write([span(1), span(2, trace=2)]) == Written(spans=1, duplicates=1, projected_traces=0)
    assert query(migrated_url, "SELECT span_id FROM spantree.span ORDER BY 1") == [(1,), (2,)]


def test_a_day_whose_partition_cannot_be_made_is_no_fault_of_the_spans(
    migrated_url: str, open_store: OpenStore
) -> None:
    store = open_store(migrated_url)
    store.write([span(1)])
    query(migrated_url, "ALTER TABLE spantree.span DETACH PARTITION spantree.span_20261120")
    query(
        migrated_url,
        """
        CREATE OR REPLACE FUNCTION spantree.ensure_partitions(days date[]) RETURNS integer LANGUAGE plpgsql
        AS 'BEGIN RETURN 0; END'
        """,
    )
    with pytest.raises(StoreUnavailable, match="partition"):
        store.write([span(2)])


def test_after_a_storm_of_repeats_batches_go_straight_again(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write([span(1)])
    projected = [store.write([span(1), span(1, trace=trace)]).projected_traces for trace in range(2, 4)]
    assert projected == [0, 0]
    projected = [store.write([span(1, trace=trace)]).projected_traces for trace in range(4, 14)]
    assert projected[-1] == 1
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT count(*) FROM spantree.execution") == [(13,)]


def test_a_value_that_postgres_refuses_rejects_the_batch_and_stores_nothing(
    migrated_url: str, open_store: OpenStore
) -> None:
    store = open_store(migrated_url)
    poison = span(2)
    poison.attributes_json = b'{"a": "\\u0000"}'
    with pytest.raises(BatchRejected, match="22P05"):
        store.write([span(1), poison])
    assert query(migrated_url, "SELECT count(*) FROM spantree.span") == [(0,)]
    assert store.write([span(1)]) == Written(1, 0, 0)
    assert query(migrated_url, "SELECT count(*) FROM spantree.resource") == [(1,)]


def test_a_value_that_no_row_can_hold_rejects_the_batch(migrated_url: str, open_store: OpenStore) -> None:
    poison = span(2)
    poison.flags = 2**64
    with pytest.raises(BatchRejected, match="span 0000000000000002 of trace"):
        open_store(migrated_url).write([span(1), poison])
    assert query(migrated_url, "SELECT count(*) FROM spantree.span") == [(0,)]


def test_a_read_only_database_is_unavailable_and_taken_up_again(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write([span(1)])
    name = query(migrated_url, "SELECT current_database()")[0][0]
    query(migrated_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store.close()
    with pytest.raises(StoreUnavailable, match="read-only"):
        store.write([span(2)])
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.read_only = False
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(Identifier(name)))
    assert store.write([span(2)]).spans == 1


def test_a_connection_that_is_cut_is_unavailable_and_reopened(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write(workflow())
    query(
        migrated_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'spantree'",
    )
    with pytest.raises(StoreUnavailable):
        store.write(workflow(2))
    assert store.write(workflow(2)) == Written(5, 0, 1)


def test_a_database_that_is_away_is_unavailable(open_store: OpenStore) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        open_store("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2").write([span(1)])


def test_a_database_without_the_schema_is_the_operators_matter(database_url: str, open_store: OpenStore) -> None:
    store = open_store(database_url)
    with pytest.raises(SchemaVersionError, match=r'does not exist.* run "spantree migrate"'):
        store.check()
    with pytest.raises(OperatorError, match="spantree migrate"):
        store.write([span(1)])


def test_the_schema_of_this_build_passes_the_check(migrated_url: str, open_store: OpenStore) -> None:
    open_store(migrated_url).check()


def test_equal_dead_letters_are_kept_once_and_counted(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    letter = DeadLetter("trace id \x00: wanted 16 bytes", b"\x00\xff", "protobuf", NOON_NS)
    assert store.write([], [letter, letter, letter]) == Written(0, 0, 0)
    # The same body written again after a crash, and one that came later.
    store.write([], [letter, letter, letter])
    store.write([], [DeadLetter("PostgreSQL refused it", b"\x00\xff", "protobuf", NOON_NS + 5, "refused")])
    store.write([span(1)], [DeadLetter("other", b"\x00\xff", "json", NOON_NS, "body")])
    assert query(
        migrated_url,
        "SELECT reason, cause, raw, encoding, received_ns, last_received_ns, count"
        " FROM spantree.dead_letter ORDER BY 1",
    ) == [
        ("PostgreSQL refused it", "refused", b"\x00\xff", "protobuf", NOON_NS, NOON_NS + 5, 4),
        ("other", "body", b"\x00\xff", "json", NOON_NS, NOON_NS, 1),
    ]
    store.write([], [letter])
    assert query(migrated_url, "SELECT count FROM spantree.dead_letter ORDER BY 1") == [(1,), (4,)]


@pytest.mark.parametrize("limits", [DeadLetterLimits(letters=10), DeadLetterLimits(bytes=10_000)])
def test_dead_letters_are_bounded_and_the_oldest_go(
    migrated_url: str, open_store: OpenStore, limits: DeadLetterLimits, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(migrated_url, dead_letters=limits)
    for first in range(0, 60, 5):
        numbers = range(first, first + 5)
        store.write([], [DeadLetter("x", b"%1000d" % number, "protobuf", NOON_NS + number) for number in numbers])
    assert query(migrated_url, "SELECT received_ns FROM spantree.dead_letter ORDER BY 1") == [
        (NOON_NS + number,) for number in range(50, 60)
    ]
    assert "the oldest dead letters were deleted (5 unreadable)" in caplog.text


def test_nothing_to_write_needs_no_database(open_store: OpenStore) -> None:
    assert open_store("postgresql://nobody@127.0.0.1:1/none").write([]) == Written(0, 0, 0)


def test_a_fault_in_reading_facts_costs_one_spans_facts(
    migrated_url: str, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    def read(of: Span) -> Facts:
        if of.name == "charge":
            raise RuntimeError("a rule is wrong")
        return read_facts(of)

    assert open_store(migrated_url, read_facts=read).write(workflow()) == Written(5, 0, 1)
    assert query(migrated_url, "SELECT name FROM spantree.span WHERE facts IS NULL") == [("charge",)]
    assert "cannot be read for facts" in caplog.text


def test_tenants_do_not_see_each_other(migrated_url: str, open_store: OpenStore) -> None:
    one, two = open_store(migrated_url, tenant_id=1), open_store(migrated_url, tenant_id=2)
    assert one.write(workflow()) == two.write(workflow()) == Written(5, 0, 1)
    assert query(migrated_url, "SELECT tenant_id, count(*) FROM spantree.node GROUP BY 1 ORDER BY 1") == [
        (1, 5),
        (2, 5),
    ]


def test_spans_of_many_tenants_are_written_by_one_transaction_each_in_its_own(
    migrated_url: str, open_store: OpenStore
) -> None:
    store = open_store(migrated_url)
    letter = DeadLetter("no id", b"x", "json", 1)
    shares = [TenantBatch(tenant, workflow(1, failing=tenant == 2), [letter] * (tenant == 3)) for tenant in (3, 1, 2)]
    written = store.write_shares(shares)
    assert (written, dict(written.by_tenant)) == (Written(15, 0, 3), {1: 5, 2: 5, 3: 5})
    for table, count in (("span", 5), ("node", 5), ("execution", 1), ("trace", 1), ("span_terms", 1), ("change", 1)):
        found = query(migrated_url, f"SELECT tenant_id, count(*) FROM spantree.{table} GROUP BY 1 ORDER BY 1")
        assert found == [(1, count), (2, count), (3, count)], table
    by_one = "SELECT count(DISTINCT xmin::text) FROM spantree.span"
    assert query(migrated_url, by_one) == [(1,)]
    assert query(migrated_url, "SELECT tenant_id, status FROM spantree.execution ORDER BY 1") == [
        (1, "completed"),
        (2, "partial"),
        (3, "completed"),
    ]
    assert query(migrated_url, "SELECT tenant_id FROM spantree.dead_letter") == [(3,)]


def test_who_sends_spans_again_is_written_apart_and_the_others_go_straight(
    migrated_url: str, open_store: OpenStore
) -> None:
    store = open_store(migrated_url)
    assert store.write_shares([TenantBatch(1, workflow(1)), TenantBatch(2, workflow(1))]) == Written(10, 0, 2)
    # The first such batch is refused as a whole, and all of it is stored the other way.
    again = store.write_shares([TenantBatch(1, workflow(1)), TenantBatch(2, workflow(2))])
    assert (again, dict(again.by_tenant)) == (Written(5, 5, 0), {2: 5})
    assert store.write_shares([TenantBatch(1, workflow(1)), TenantBatch(2, workflow(3))]) == Written(5, 5, 1)
    project_all(migrated_url, store)
    assert query(migrated_url, "SELECT tenant_id, count(*) FROM spantree.execution GROUP BY 1 ORDER BY 1") == [
        (1, 1),
        (2, 3),
    ]


def test_traces_of_many_tenants_that_come_in_parts_are_projected_together_and_replaced_each_in_its_own(
    migrated_url: str, open_store: OpenStore
) -> None:
    store, alone = open_store(migrated_url), open_store(migrated_url, tenant_id=9)
    for part in (slice(0, 3), slice(3, 4), slice(4, 5)):
        store.write_shares([TenantBatch(tenant, workflow(1, failing=tenant == 2)[part]) for tenant in (1, 2)])
        query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now() - interval '1 second'")
        done = store.project_due()
        assert (done.traces, dict(done.by_tenant)) == (2, {1: 1, 2: 1})
    assert query(migrated_url, "SELECT tenant_id, status, span_count FROM spantree.execution ORDER BY 1") == [
        (1, "completed", 5),
        (2, "partial", 5),
    ]
    # As if each had come whole.
    alone.write(workflow(1))
    rows = (
        "SELECT name, kind, status, sequence, depth FROM spantree.node WHERE tenant_id = %(tenant)s ORDER BY sequence"
    )
    assert query(migrated_url, rows, tenant=1) == query(migrated_url, rows, tenant=9)
    fold(migrated_url)
    for tenant in (1, 2, 9):
        with psycopg.connect(migrated_url, autocommit=True) as connection:
            assert differences(connection, tenant, [date_of(day_of(NOON_NS))]) == []


def test_a_flood_of_one_tenant_waits_for_projection_and_not_the_others(
    migrated_url: str, open_store: OpenStore
) -> None:
    store = open_store(migrated_url)
    flood = [span(number, trace=number, parent=10**6) for number in range(1, 1_001)]
    store.write_shares(
        [TenantBatch(1, flood), TenantBatch(2, [span(1, parent=9)]), TenantBatch(3, [span(1, parent=9)])]
    )
    query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now() - interval '1 h' WHERE tenant_id = 1")
    query(migrated_url, "UPDATE spantree.pending_projection SET due_at = now() - interval '1 s' WHERE tenant_id > 1")
    first = store.project_due(limit_spans=50)
    assert (dict(first.by_tenant), first.more) == ({1: 48, 2: 1, 3: 1}, True)


def test_names_of_spans_are_noted_once_for_search_forms(migrated_url: str, open_store: OpenStore) -> None:
    mark = span(9, parent=1, name="running", attributes={"spantree.span_type": "pending_span"})
    sent = [span(1), span(2, name="step"), span(3, name="x" * 300), span(4, service=""), span(5, kind=2), mark]
    for store in (open_store(migrated_url), open_store(migrated_url)):
        store.write(sent)
    noted = "SELECT service, name, kind FROM spantree.operation ORDER BY 1, 2, 3"
    assert query(migrated_url, noted) == [("shop", "step", 1), ("shop", "step", 2)]


def test_no_service_has_more_names_than_a_form_can_offer(
    migrated_url: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spantree_exporter.postgres.operations.OPERATIONS_MAX", 3)
    store = open_store(migrated_url)
    for number in range(1, 6):
        store.write([span(number, trace=number, name=f"user {number}")])
    store.write([span(7, trace=7, name="another", service="bank")])
    noted = "SELECT service, name FROM spantree.operation ORDER BY 1, 2"
    assert query(migrated_url, noted) == [
        ("bank", "another"), ("shop", "user 1"), ("shop", "user 2"), ("shop", "user 3"),
    ]  # fmt: skip


def test_noting_many_names_reads_what_is_noted_of_a_service_once(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    for first in (0, 2_000):
        store.write([span(number, name=f"user {number}") for number in range(first + 1, first + 2_001)])
    store.close()
    assert query(migrated_url, "SELECT count(*) FROM spantree.operation") == [(4_000,)]
    read = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'operation_pkey'"
    # The second time for each of its names: four millions.
    [(tuples,)] = query(migrated_url, read)
    assert tuples < 50_000


def test_names_that_are_too_long_to_be_offered_are_not_remembered(migrated_url: str, open_store: OpenStore) -> None:
    store = open_store(migrated_url)
    store.write([span(1)])
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        for first in range(10, 210, 50):
            store.write([span(number, name=f"{number}" + "x" * 100_000) for number in range(first, first + 50)])
        gc.collect()
        held_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
    finally:
        tracemalloc.stop()
    assert held_bytes < 10_000_000  # of twenty that were sent
    assert query(migrated_url, "SELECT service, name FROM spantree.operation") == [("shop", "step")]
