"""Every statement of the API reads the partitions that it names, by the index that its comment names.

On a hundred days of partitions, all of them never analysed: two with rows, the others fresh. Days are compared, not
counted: a statement that looks at more than it names is found by the first of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from hashlib import md5
from typing import Any

import psycopg
import pytest
from tests.api_rows import NOW_NS, T0_NS, S, insert, node, trace, trace_id
from tests.plan_parameters import DAYS, PARAMETERS, TODAY, TRACE
from tests.plans import as_embedded, days_and_indexes, index_parents, make_days, multiply, plan_of
from tests.postgres import new_database

from spantree_api.cursor import ExecutionCursor
from spantree_api.database import IN_ORDER, is_in_order
from spantree_api.filters import ExecutionFilter
from spantree_api.listing import Listing, listing_of
from spantree_api.reads.spans import MATCHING, MATCHING_TOLD, candidate_walk, candidates_found
from spantree_api.span_search.term_match import Place, Wanted
from spantree_api.statements import Name, Statements, load_statements
from spantree_exporter.rows import Edge
from spantree_exporter.search_text import tsquery_of, words_of
from spantree_exporter.sql import statements

STATEMENTS = Statements(load_statements())
NAMED = {"20261119", "20261120"}
SENTINEL = "19700101"


@pytest.fixture(scope="module")
def connection(postgres_url: str, _migrated_template: str) -> Iterator[psycopg.Connection[Any]]:
    with (
        new_database(postgres_url, template=_migrated_template) as url,
        psycopg.connect(url, autocommit=True) as connected,
    ):
        as_embedded(connected)
        connected.execute(STATEMENTS["set_up"], {"statement_timeout_ms": 0})
        make_days(connected, "2026-08-16", 100)
        steps = [node(1, "root"), *(node(number, f"step {number}", 1) for number in range(2, 7))]
        edges = [Edge(2, 0, 3, 0, "sequential", None, "declared"), Edge(3, 0, 4, 0, "sequential", None, "declared")]
        insert(url, trace(1, steps, edges))
        for day in DAYS:
            multiply(connected, trace_id(1), day.isoformat(), 4_000)
        # The day before was analysed, today was not yet.
        for table in ("execution", "node", "edge"):
            connected.execute(f"ANALYZE spantree.{table}_20261119".encode())
        yield connected


@pytest.fixture(scope="module")
def parents(connection: psycopg.Connection[Any]) -> dict[str, str]:
    return index_parents(connection)


ON_ROWS = sorted(
    name
    for name, text in STATEMENTS.named.items()
    if re.search(r"FROM spantree\.(span|execution|node|edge)\b", text)
    and re.match(r"(--[^\n]*\n)+(SELECT|WITH)\b", text)
    and not re.match(r"-- part", text)
    # count_hidden walks the range of a page, which here is all that a day holds.
    and name != "count_hidden"
)


@pytest.mark.parametrize("name", ON_ROWS)
def test_a_statement_reads_the_days_that_it_names_by_its_index(
    connection: psycopg.Connection[Any], parents: dict[str, str], name: str
) -> None:
    text = STATEMENTS[name]
    comment = " ".join(re.findall(r"^-- ?(.*)$", text, flags=re.MULTILINE))
    named = re.search(r"served by (\w+)", comment)
    assert named, f"the comment of {name} does not name the index that serves it"
    with connection.transaction():
        connection.execute(STATEMENTS["allow_sort"], {"allowed": "off" if name in IN_ORDER else "on"})
        plan = plan_of(connection, text, PARAMETERS)
    days, indexes = days_and_indexes(plan, parents)
    assert days - {SENTINEL} <= NAMED, f"{name} reads {len(days)} days:\n{plan.text}"
    assert named[1] in indexes, f"{name} uses {sorted(indexes)}, its comment names {named[1]}:\n{plan.text}"
    on_rows = [scan for scan in plan.whole if scan.day is not None]
    assert not on_rows, f"{name} reads whole tables:\n{plan.text}"


WINDOW = {**PARAMETERS, "limit": 51}
FILTERS: list[tuple[ExecutionFilter, str]] = [
    (ExecutionFilter(), "execution_visible_idx"),
    (ExecutionFilter(hidden=True), "execution_started_idx"),
    (ExecutionFilter(statuses=("cancelled",)), "execution_status_idx"),
    (ExecutionFilter(statuses=("running",)), "execution_status_idx"),
    (ExecutionFilter(statuses=("lost", "waiting")), "execution_status_idx"),
    (ExecutionFilter(workflow="x"), "execution_workflow_idx"),
    (ExecutionFilter(service="x"), "execution_search_idx"),
    (ExecutionFilter(conversation_id="x"), "execution_conversation_idx"),
    (ExecutionFilter(user_id="x"), "execution_user_idx"),
    (ExecutionFilter(run_id="x"), "execution_run_idx"),
    (ExecutionFilter(project="x"), "execution_project_idx"),
    (ExecutionFilter(kind="x", hidden=True), "execution_kind_idx"),
    (ExecutionFilter(error_category="x"), "execution_category_idx"),
    (ExecutionFilter(min_duration_ns=10**15), "execution_duration_idx"),
    (ExecutionFilter(q="nowhere"), "execution_search_idx"),
    (ExecutionFilter(q="order.id:77"), "execution_search_idx"),
]


def _what(wanted: ExecutionFilter) -> str:
    said = {key: value for key, value in asdict(wanted).items() if value}
    return ", ".join(f"{key}={value}" for key, value in said.items()) or "none"


def _parts_of(listing: Listing, days: str) -> Name:
    if days != "of_newest_days":
        if listing.by_turns:
            return listing.turns_parts(days.removeprefix("whole "))
        return listing.key_parts(days.removeprefix("whole "), whole=days.startswith("whole "))
    if listing.by_turns:
        return listing.turns_parts(days)
    return listing.ordered_parts(days) if listing.ordered else listing.found_parts(days)


@pytest.mark.parametrize("after", [None, ExecutionCursor(T0_NS, TRACE)], ids=["first page", "next page"])
@pytest.mark.parametrize("days", ["of_days", "of_range", "whole of_range", "of_newest_days"])
@pytest.mark.parametrize(("wanted", "index"), FILTERS, ids=[_what(wanted) for wanted, _ in FILTERS])
def test_a_filter_meets_its_index(
    connection: psycopg.Connection[Any],
    parents: dict[str, str],
    wanted: ExecutionFilter,
    index: str,
    days: str,
    after: ExecutionCursor | None,
) -> None:
    listing = listing_of(wanted, after)
    parts = _parts_of(listing, days)
    plan = plan_of(connection, STATEMENTS[parts], WINDOW | wanted.parameters())
    read, indexes = days_and_indexes(plan, parents)
    assert read - {SENTINEL} == NAMED, f"reads {sorted(read)}:\n{plan.text}"
    by_day = {scan.day: parents.get(scan.index or "", scan.index) for scan in plan.scans}
    # Of a day that has rows and was not analysed yet, a minute or so, any index may look as good.
    assert by_day["20261119"] == index, f"uses {sorted(indexes)}, wanted {index}:\n{plan.text}"
    assert not plan.whole, f"reads whole tables:\n{plan.text}"


@pytest.mark.parametrize("parts", [MATCHING, MATCHING_TOLD], ids=["any", "told"])
def test_spans_that_match_are_read_by_their_traces(
    connection: psycopg.Connection[Any], parents: dict[str, str], parts: Name
) -> None:
    plan = plan_of(connection, STATEMENTS[parts], PARAMETERS)
    days, indexes = days_and_indexes(plan, parents)
    assert days - {SENTINEL} <= NAMED, f"reads {len(days)} days:\n{plan.text}"
    assert "span_pkey" in indexes, f"uses {sorted(indexes)}:\n{plan.text}"
    on_rows = [scan for scan in plan.whole if scan.day is not None]
    assert not on_rows, f"reads whole tables:\n{plan.text}"


def test_executions_are_read_by_their_keys(connection: psycopg.Connection[Any], parents: dict[str, str]) -> None:
    plan = plan_of(connection, STATEMENTS["select_executions", "of_keys", "newest_first"], PARAMETERS)
    read, _ = days_and_indexes(plan, parents)
    assert read == NAMED, f"reads {sorted(read)}:\n{plan.text}"
    # Of the other day, which was not analysed yet, any index may look as good.
    assert {scan.index for scan in plan.scans if scan.day == "20261119"} == {"execution_20261119_pkey"}, plan.text
    assert not plan.whole, f"reads whole tables:\n{plan.text}"


@pytest.fixture
def without_texts(connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """The same database without statistics of texts, as it is once a tenant has a role for SQL of its own."""
    with connection.transaction(force_rollback=True):
        connection.execute(
            """
            DELETE FROM pg_statistic USING pg_attribute
            WHERE attrelid = starelid AND attnum = staattnum AND atttypid = 'text'::regtype
                AND attname NOT IN ('kind', 'status')
            """
        )
        yield connection


@pytest.mark.parametrize(
    ("name", "index"),
    [("later_of_runs", "execution_run_idx"), ("later_of_conversations", "execution_conversation_idx")],
)
def test_what_took_up_many_executions_is_found_by_their_runs_and_conversations(
    without_texts: psycopg.Connection[Any], parents: dict[str, str], name: str, index: str
) -> None:
    many = {"names": [f"n{number}" for number in range(500)], "waited_ns": [0] * 500, "limit": 2_000}
    without_texts.execute(STATEMENTS["allow_sort"], {"allowed": "off" if name in IN_ORDER else "on"})
    plan = plan_of(without_texts, STATEMENTS[name], PARAMETERS | many)
    assert days_and_indexes(plan, parents) == (NAMED, {index}), plan.text


@pytest.mark.parametrize("days", ["of_range", "whole of_range", "of_newest_days"])
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (ExecutionFilter(workflow="x"), "execution_workflow_idx"),
        (ExecutionFilter(user_id="x"), "execution_user_idx"),
        (ExecutionFilter(run_id="x"), "execution_run_idx"),
        (ExecutionFilter(run_id="x", workflow="report", service="agent"), "execution_run_idx"),
        (ExecutionFilter(conversation_id="x", user_id="u", statuses=("running",)), "execution_conversation_idx"),
    ],
)
def test_without_statistics_of_texts_a_filter_still_meets_its_index(
    without_texts: psycopg.Connection[Any], parents: dict[str, str], wanted: ExecutionFilter, index: str, days: str
) -> None:
    listing = listing_of(wanted, None)
    parts = _parts_of(listing, days)
    without_texts.execute(STATEMENTS["allow_sort"], {"allowed": "off" if is_in_order(parts, WINDOW) else "on"})
    plan = plan_of(without_texts, STATEMENTS[parts], WINDOW | wanted.parameters())
    indexes = [parents.get(scan.index or "", scan.index) for scan in plan.scans if scan.day == "20261119"]
    assert indexes == [index], plan.text


@pytest.mark.parametrize("name", ["executions_of_run", "traces_with_nodes_of_run"])
def test_without_statistics_of_texts_a_run_is_found_by_its_id(
    without_texts: psycopg.Connection[Any], parents: dict[str, str], name: str
) -> None:
    plan = plan_of(without_texts, STATEMENTS[name], PARAMETERS | {"limit": 2})
    indexes = {parents.get(scan.index or "", scan.index) for scan in plan.scans if scan.day == "20261119"}
    assert indexes == {"execution_run_idx" if name == "executions_of_run" else "node_run_idx"}, plan.text


CONDITIONS = ("where_overlaps", "where_service", "where_search")


@pytest.mark.parametrize(
    ("parts", "index"),
    [
        (("select_candidates", *candidate_walk(further=False), *CONDITIONS, "newest_first"), "execution_started_idx"),
        (("select_candidates", *candidate_walk(further=True), *CONDITIONS, "newest_first"), "execution_started_idx"),
        (candidates_found(CONDITIONS), "execution_search_idx"),
        (candidates_found(CONDITIONS[:2]), "execution_search_idx"),
        (candidates_found(CONDITIONS[::2]), "execution_search_idx"),
        (("select_candidates", "of_days", "of_traces", *CONDITIONS, "newest_first"), "execution_pkey"),
    ],
)
def test_a_search_of_spans_meets_its_index(
    connection: psycopg.Connection[Any], parents: dict[str, str], parts: Name, index: str
) -> None:
    bounds = {"service": "nobody", "from_ns": T0_NS - 86_400 * S, "to_ns": T0_NS + 86_400 * S}
    plan = plan_of(connection, STATEMENTS[parts], PARAMETERS | bounds)
    read, indexes = days_and_indexes(plan, parents)
    assert read == NAMED, f"reads {sorted(read)}:\n{plan.text}"
    by_day = {scan.day: parents.get(scan.index or "", scan.index) for scan in plan.scans}
    assert by_day["20261119"] == index, f"uses {sorted(indexes)}, wanted {index}:\n{plan.text}"
    assert not plan.whole, f"reads whole tables:\n{plan.text}"


@pytest.fixture(scope="module")
def with_terms(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """The same database with rows of terms of forty days, and resources."""
    connection.execute(
        """
        INSERT INTO spantree.span_terms (
            tenant_id, day, last_ns, first_ns, spans, traces, resources, resource_ends, octave_ends, entry_fences,
            list_fences, lists
        )
        SELECT
            0, DATE '2026-11-20' - n / 100, %(now_ns)s - n * 1000000000::bigint, 0, 1, 1, '{1}', '{1}',
            array_fill(1, ARRAY[54]), '{0,1}', '{0,1}', sha256(n::text::bytea)
        FROM generate_series(1, 4000) AS n
        """,
        PARAMETERS,
    )
    connection.execute("ANALYZE spantree.span_terms")
    return connection


def test_terms_of_a_day_are_read_in_order_and_no_other_day(with_terms: psycopg.Connection[Any]) -> None:
    places = (Place(frozenset({1, 2}), frozenset()), Place(frozenset({3}), frozenset({4})))
    looked_for = Wanted(places, (3_000, 4_000)).parameters()
    at = {"day": TODAY, "before_ns": NOW_NS, "before_id": TRACE, "segments": 4}
    plan = plan_of(with_terms, STATEMENTS["segments_with_terms"], PARAMETERS | looked_for | at)
    assert "Index Scan Backward using span_terms_pkey" in plan.text, plan.text
    assert re.search(r"Index Cond: \(\(day = .*tenant_id = .*last_ns", plan.text), plan.text
    assert "Sort Key: segment" not in plan.text, plan.text


def test_rows_of_terms_to_merge_are_those_of_one_day(with_terms: psycopg.Connection[Any]) -> None:
    level = {"tenant_id": 0, "day": TODAY, "least": 1, "below": 256, "limit": 128}
    plan = plan_of(with_terms, statements("span_terms")["segments_to_merge"], level)
    assert re.search(r"Index Cond: \(\(day = .*tenant_id = ", plan.text), plan.text
    assert not plan.whole, plan.text


def test_pieces_of_segments_are_read_one_by_one(with_terms: psycopg.Connection[Any]) -> None:
    of_two = {"last_ns": "{1,2}", "ids": f"{{{TRACE},{TRACE}}}", "offsets": "{0,9}", "lengths": "{4,5}"}
    plan = plan_of(with_terms, STATEMENTS["pieces_of_segments"], PARAMETERS | {"day": TODAY} | of_two)
    assert re.search(r"Index Cond: \(\(day = .*tenant_id = .*last_ns = .*id = ", plan.text), plan.text
    assert not plan.whole, plan.text


def test_calls_between_services_are_read_from_rollups(connection: psycopg.Connection[Any]) -> None:
    parts = {"grains": [1, 24], "since": ["2026-11-13T00:00:00Z"] * 2, "until": ["2026-11-20T00:00:00Z"] * 2}
    plan = plan_of(connection, STATEMENTS["calls_between_services"], PARAMETERS | parts)
    assert "rollup_pkey" in plan.text or "rollup_workflow_idx" in plan.text, plan.text


def test_requests_are_read_in_order_from_their_days(
    connection: psycopg.Connection[Any], parents: dict[str, str]
) -> None:
    # A view's statement: its tables are not in its text.
    plan = plan_of(connection, STATEMENTS["audit_entries"], PARAMETERS)
    days, indexes = days_and_indexes(plan, parents)
    assert days <= NAMED, f"reads {len(days)} days:\n{plan.text}"
    assert indexes >= {"span_server_idx", "execution_pkey"}, plan.text
    assert not [scan for scan in plan.whole if scan.day is not None], plan.text


@pytest.mark.parametrize("view", ["executions", "nodes", "edges"])
def test_an_id_meets_the_index_of_a_view(connection: psycopg.Connection[Any], view: str) -> None:
    plan = plan_of(
        connection,
        f"SELECT * FROM spantree.{view} WHERE tenant_id = 0 AND execution_id = '{TRACE.hex}'",
        {},
    )
    assert not [scan for scan in plan.whole if scan.day is not None], plan.text


def test_the_newest_of_the_view_executions_are_read_in_order(
    connection: psycopg.Connection[Any], parents: dict[str, str]
) -> None:
    plan = plan_of(connection, "SELECT * FROM spantree.executions ORDER BY started_at DESC LIMIT 50", {})
    assert days_and_indexes(plan, parents)[1] == {"execution_time_idx"}, plan.text


def test_terms_are_stored_and_asked_for_alike(connection: psycopg.Connection[Any]) -> None:
    for text in ("charge_card", "Größe 東京 O'Neil \\ back", "CardError"):
        query = tsquery_of(text, ["=k:it's"])
        found = connection.execute(
            "SELECT array_to_tsvector(%s::text[]) @@ %s::tsquery, array_to_tsvector(ARRAY['=k:it''s']) @@ %s::tsquery",
            [list(words_of(text)), query, query],
        ).fetchone()
        assert found == (True, True), text


WRITING = {**statements("write"), **statements("project")}
# Statements of the write path that read rows, and the index that their comments name or that their key is.
READ_BY_WRITING = {
    "days_of_traces": "trace_pkey",
    "extend_traces": "trace_pkey",
    "projected_spans": "execution_pkey",
    "span_facts": "span_pkey",
    "stored_steps": "edge_pkey",
    "delete_stale_executions": "execution_pkey",
    "delete_stale_nodes": "node_pkey|node_sequence_idx",  # by the trace, which is all of the condition
    "delete_stale_edges": "edge_pkey",
    "claim_due": "pending_projection_due_idx",
    "due_tenants": "pending_projection_due_idx",
    "claimed_pending": "pending_projection_pkey",
    "note_begun": "pending_projection_pkey",
    "lock_pending": "pending_projection_pkey",
    "delete_pending": "pending_projection_pkey",
    "full_services": "operation_pkey",
    "upsert_operations": "operation_pkey",
}


@pytest.fixture(scope="module")
def writing(connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """The same database as writers and projectors see it: a batch of as many traces as they ask for at once."""
    with psycopg.connect(connection.info.dsn, autocommit=True) as connected:
        as_embedded(connected)
        connected.execute(statements("connect")["settings"], {"statement_timeout": "60s", "lock_timeout": "10s"})
        for table in ("execution", "node", "edge"):
            connected.execute(WRITING[f"create_{table}_staging"])
        yield connected


def _keys(traces: int) -> dict[str, object]:
    ids = [TRACE.hex, *(md5(f"{TODAY}{number}".encode()).hexdigest() for number in range(1, traces))]
    operations = {"services": ["a"] * 400, "names": [f"n{n}" for n in range(400)], "kinds": [1] * 400, "most": 5_000,
                  "full": [True] * 400}  # fmt: skip
    batch = {
        "tenant_ids": [0, 1] * (traces // 2),
        "trace_ids": ids,
        "shard_ids": None,
        "days": DAYS,
        "traces": 400,
        "candidates": 1_600,
        "suspects": False,
        "risky_spans": 1,
        "day": TODAY,
    }
    return {**PARAMETERS, **batch, **operations}


@pytest.mark.parametrize("name", READ_BY_WRITING)
def test_a_statement_of_the_write_path_reads_and_locks_its_days_only(
    writing: psycopg.Connection[Any], parents: dict[str, str], name: str
) -> None:
    keys = _keys(50 if name.startswith("delete_stale") else 400)
    if name == "extend_traces":
        keys["days"] = [date(2026, 11, 20)] * 400
    plan = plan_of(writing, WRITING[name], keys)
    days, indexes = days_and_indexes(plan, parents)
    assert days <= NAMED, f"{name} reads {len(days)} days:\n{plan.text}"
    assert indexes.intersection(READ_BY_WRITING[name].split("|")), f"{name} uses {sorted(indexes)}:\n{plan.text}"
    on_rows = [scan for scan in plan.whole if scan.day is not None]
    assert not on_rows, f"{name} reads whole tables:\n{plan.text}"
    with writing.transaction(force_rollback=True):
        writing.execute(WRITING[name], keys)
        locked = writing.execute(
            "SELECT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
        ).fetchall()
    found = {day for (relation,) in locked for day in re.findall(r"_(\d{8})", relation)}
    assert found <= NAMED, f"{name} locks partitions of {len(found)} days"


# Statements about groups of failures, the indexes that serve each, and whether it looks at rows of some days.
OF_GROUPS: dict[str, tuple[set[str], bool]] = {
    "failure_groups_of_range": ({"failure_group_seen_idx"}, False),
    "failure_group": ({"failure_group_pkey"}, False),
    "failure_group_changes": ({"failure_group_change_pkey"}, False),
    "failure_group_counts": ({"rollup_error_idx"}, False),
    "change_failure_group": ({"failure_group_pkey"}, False),
    "seen_groups": ({"failure_group_pkey"}, False),
    "first_of_groups": ({"execution_error_idx"}, True),
    "newest_of_groups": ({"execution_error_idx"}, True),
    "versions_of_spans": ({"span_pkey", "resource_pkey"}, True),
    "reopen_groups": ({"failure_group_pkey"}, False),
    "analysis_of_trace": ({"analysis_pkey"}, False),
    "note_groups": (set(), False),
}


@pytest.fixture(scope="module")
def with_groups(connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """The same database with 20,000 groups of failures and their figures of 40 days, as a fold sees it."""
    with psycopg.connect(connection.info.dsn, autocommit=True) as connected:
        as_embedded(connected)
        connected.execute("SET plan_cache_mode = force_custom_plan; SET jit = off")
        connected.execute(
            """
            INSERT INTO spantree.failure_group (tenant_id, fingerprint, category, hidden, first_seen_ns, last_seen_ns)
            SELECT 0, md5(n::text), 'code', false, 0, %(now_ns)s - n * 1000000000::bigint
            FROM generate_series(1, 20000) AS n;
            """,
            PARAMETERS,
        )
        connected.execute(
            """
            INSERT INTO spantree.rollup
            SELECT 0, 'error', 1, date_trunc('day', to_timestamp(%(now_ns)s / 1e9)) - n / 1000 * interval '1 day',
                'w', '', md5(mod(n, 20000)::text), 'code', '', '', false,
                1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
                ROW('{}', '{}')::spantree.histogram
            FROM generate_series(1, 40000) AS n
            """,
            PARAMETERS,
        )
        connected.execute("ANALYZE spantree.failure_group, spantree.rollup")
        connected.execute(statements("rollup")["create_rollup_staging"])
        yield connected


@pytest.mark.parametrize("name", ["good_hours", "node_durations", "workflow_durations"])
def test_figures_of_one_workflow_are_read_without_those_of_others(
    with_groups: psycopg.Connection[Any], name: str
) -> None:
    parts = {"grains": [1, 24], "since": ["2026-11-13T00:00:00Z"] * 2, "until": ["2026-11-20T00:00:00Z"] * 2}
    of_hours = {"since": "2026-11-13T00:00:00Z", "until": "2026-11-20T00:00:00Z"} if name == "good_hours" else parts
    plan = plan_of(with_groups, STATEMENTS[name], {**PARAMETERS, "workflows": ["r"], "kind": None} | of_hours)
    assert re.search(r"rollup_workflow_idx.*\n.*Index Cond: .*workflow_name = ", plan.text), plan.text


def test_a_trend_of_one_name_reads_no_others(with_groups: psycopg.Connection[Any]) -> None:
    parts = {"grains": [1], "since": ["2026-11-13T00:00:00Z"], "until": ["2026-11-20T00:00:00Z"]}
    of_one = {"subject": "error", "series": "name", "name": "f", "workflow": None, "hidden": True}
    plan = plan_of(with_groups, STATEMENTS["trend_names"], PARAMETERS | parts | of_one)
    assert re.search(r"Index Cond: .*name = 'f'", plan.text), plan.text


BY_DAY = ["node_stats", "workflow_stats", "projects", "users", "models", "service_calls", "workflow_map"]


@pytest.fixture
def of_all_subjects(with_groups: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """The same figures of each subject."""
    with with_groups.transaction(force_rollback=True):
        with_groups.execute(
            """
            INSERT INTO spantree.rollup
            SELECT copied.*
            FROM spantree.rollup AS original
            CROSS JOIN unnest(ARRAY['node', 'workflow', 'project', 'user', 'model', 'call', 'edge']) AS other (subject)
            CROSS JOIN LATERAL jsonb_populate_record(original, jsonb_build_object('subject', other.subject)) AS copied
            WHERE original.name < '2'
            """
        )
        with_groups.execute("ANALYZE spantree.rollup")
        yield with_groups


@pytest.mark.parametrize("view", BY_DAY)
def test_a_view_by_day_reads_the_figures_of_its_days(of_all_subjects: psycopg.Connection[Any], view: str) -> None:
    statement = f"SELECT * FROM spantree.{view} WHERE tenant_id = 0 AND day BETWEEN '2026-11-18' AND '2026-11-19'"
    plan = plan_of(of_all_subjects, statement, {})
    assert re.search(r"rollup_day_idx.*\n.*Index Cond: .*::date >= '2026-11-18'", plan.text), plan.text


@pytest.mark.parametrize("name", ["delete_empty_figures", "rename_figures", "delete_figures"])
def test_figures_that_get_another_name_are_found_by_an_index(with_groups: psycopg.Connection[Any], name: str) -> None:
    names = dict.fromkeys(("workflow_name", "service", "name", "target"), "secret")
    new = dict.fromkeys((f"new_{column}" for column in names), "hidden")
    plan = plan_of(with_groups, statements("redact")[name], PARAMETERS | names | new)
    assert re.search(r"rollup_workflow_idx.*\n.*Index Cond: .*workflow_name = 'secret'", plan.text), plan.text


@pytest.mark.parametrize("name", OF_GROUPS)
def test_a_statement_about_groups_of_failures_meets_its_index(
    with_groups: psycopg.Connection[Any], parents: dict[str, str], name: str
) -> None:
    wanted, on_rows = OF_GROUPS[name]
    parameters = {
        **PARAMETERS,
        "fingerprint": "f",
        "grains": [1],
        "since": ["2026-11-13T00:00:00Z"],
        "until": ["9999-01-01T00:00:00Z"],
        "state": None,
        "category": None,
        "workflow": None,
        "before_fingerprint": "f",
        "bucket_h": 24,
        "note": None,
        "changed_by": None,
        "changed_at": "2026-11-20T00:00:00Z",
        "tenant_ids": [0],
        "fingerprints": ["f"],
        "from_ns": [0],
        "first_ns": [1],
        "versions": [None],
        "trace_ids": [TRACE.hex],
        "span_ids": [1],
    }
    text = statements("failure_groups").get(name) or STATEMENTS[name]
    plan = plan_of(with_groups, text, parameters)
    days, indexes = days_and_indexes(plan, parents)
    assert wanted <= indexes, f"{name} uses {sorted(indexes)}:\n{plan.text}"
    assert days == (NAMED if on_rows else set()), f"{name} reads {sorted(days)}:\n{plan.text}"
    # What is left are the staging table and the table that is written to.
    assert not re.search(r"Seq Scan on (?!rollup_staging)", plan.text), f"{name} reads whole tables:\n{plan.text}"
    spans = re.findall(r"using span_\w+ on.*\n\s*Index Cond: (.*)", plan.text)
    assert all("trace_id" in condition for condition in spans), f"{name} reads spans of whole days:\n{plan.text}"
