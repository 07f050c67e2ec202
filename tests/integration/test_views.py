"""The views answer a person's questions, and read no more than they must."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from tests.api_rows import fold_all
from tests.factories import DAY_NS, NOON_NS, SECOND_NS, live_mark, span, trace_id, workflow
from tests.postgres import name_of, new_database
from tests.tables import project_all, query
from tests.view_reference import documented, tables

from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Attributes

_DOCS = Path(__file__).parents[2] / "docs" / "sql.md"


@pytest.fixture(scope="module")
def url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    """Ten days of runs; on the last one, one of four failed, one was retried, one is running and one waits."""
    with new_database(postgres_url, template=_migrated_template) as database_url:
        _fill(database_url)
        yield database_url


@pytest.fixture
def url_to_change(postgres_url: str, url: str) -> Iterator[str]:
    """The same in a database of the test's own."""
    with new_database(postgres_url, template=name_of(url)) as database_url:
        yield database_url


def _fill(database_url: str) -> None:
    _write(database_url)
    fold_all(database_url)


def _write(database_url: str) -> None:
    store = Store(database_url)
    for day in range(10):
        store.write([each for n in range(3) for each in workflow(day * 3 + n, start_ns=NOON_NS - day * DAY_NS)])
    store.write(workflow(100, failing=True))
    store.write(
        [
            span(2, trace=101, parent=1, name="load", error="timeout", attributes=_attempt(1)),
            span(3, trace=101, parent=1, name="load", start_ns=NOON_NS + 2 * SECOND_NS, attributes=_attempt(2)),
            span(
                1,
                trace=101,
                name="nightly",
                duration_ns=4 * SECOND_NS,
                attributes={"spantree.execution.name": "nightly", "spantree.run.id": "run-1"},
            ),
        ]
    )
    store.write([live_mark(100, of=1, trace=102)])
    store.write(
        [
            span(
                1,
                trace=103,
                name="approval",
                attributes={
                    "spantree.execution.name": "approval",
                    "spantree.execution.status": "waiting",
                    "spantree.lost_after_s": 5.0,
                },
            )
        ]
    )
    project_all(database_url, store)
    store.close()


def _attempt(number: int) -> Attributes:
    return {
        "spantree.node.name": "load",
        "spantree.task.key": "load",
        "spantree.attempt": number,
        "spantree.retry.max_attempts": 3,
        "spantree.retry.expected": True,
    }


def test_last_nights_failures(url: str) -> None:
    assert query(
        url,
        """
        SELECT execution_id, name, status, first_failed_node, error_type, error_message, failed_nodes, user_id
        FROM spantree.failures
        WHERE started_at >= '2026-11-20' AND started_at < '2026-11-21'
        """,
    ) == [
        (
            UUID(bytes=trace_id(100)), "order-flow", "partial", "charge", "CardDeclined", "card declined", ["charge"],
            "ann",
        )
    ]  # fmt: skip


def test_a_nodes_success_rate(url: str) -> None:
    assert query(
        url,
        """
        SELECT total, completed, failed, retried, success_rate, avg_ms, p50_ms
        FROM spantree.node_stats
        WHERE workflow_name = 'order-flow' AND name = 'charge' AND day = '2026-11-20'
        """,
    ) == [(4, 3, 1, 0, 0.75, 1000.0, pytest.approx(1000.0, rel=0.02))]


def test_one_executions_tree(url: str) -> None:
    assert query(
        url,
        f"SELECT sequence, tree, status, duration_ms, error FROM spantree.execution_tree('{trace_id(100).hex()}')",
    ) == [
        (1, "order-flow", "completed", 6000.0, ""),
        (2, "  plan", "completed", 1000.0, ""),
        (3, "  search", "completed", 1000.0, ""),
        (4, "  charge", "failed", 1000.0, "CardDeclined: card declined"),
        (5, "  answer", "completed", 1000.0, ""),
    ]


def test_the_critical_path_starts_at_the_root(url: str) -> None:
    path = query(url, f"SELECT name FROM spantree.critical_path('{trace_id(100).hex()}')")
    assert path[0] == ("order-flow",)
    assert path[-1] == ("answer",)


def test_nodes_have_what_their_spans_said(url: str) -> None:
    assert query(
        url,
        f"""
        SELECT span_id, parent_span_id, started_at, started_ns, duration_ms, attributes ->> 'note', resource
        FROM spantree.nodes WHERE execution_id = '{trace_id(100).hex()}' AND name = 'plan'
        """,
    ) == [
        (
            f"{2:016x}",
            f"{1:016x}",
            _at(NOON_NS + SECOND_NS),
            NOON_NS + SECOND_NS,
            1000.0,
            "für Größe 東京",
            {"service.name": "shop"},
        )
    ]


def _at(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, UTC)


def test_edges_include_those_from_parent_to_child(url: str) -> None:
    edges = query(
        url, f"SELECT type, from_span_id, to_span_id FROM spantree.edges WHERE trace_id = '{trace_id(100).hex()}'"
    )
    children = [(f"{1:016x}", f"{child:016x}") for child in range(2, 6)]
    assert sorted(edge[1:] for edge in edges if edge[0] == "child") == children
    assert ("sequential", f"{2:016x}", f"{3:016x}") in edges


def test_retries_are_told_with_their_outcome(url: str) -> None:
    assert query(url, "SELECT name, attempts, max_attempts, expected, outcome, duration_ms FROM spantree.retries") == [
        ("load", 2, 3, True, "completed", 3000.0)
    ]


def test_retries_of_a_task_that_nothing_names_are_told_too(url_to_change: str) -> None:
    query(url_to_change, "UPDATE spantree.node SET task_key = NULL WHERE name = 'load'")
    told = "SELECT name, attempts, max_attempts, expected, outcome, duration_ms, task_key FROM spantree.retries"
    assert query(url_to_change, told) == [("load", 2, 3, True, "completed", 3000.0, None)]
    # A third attempt, and a step of the name beside them that is none.
    query(
        url_to_change,
        """
        UPDATE spantree.node SET status = 'retried' WHERE name = 'load' AND attempt = 2;
        CREATE TEMPORARY TABLE more AS SELECT * FROM spantree.node WHERE name = 'load' AND attempt = 2;
        UPDATE more SET span_id = 77, attempt = 3, status = 'failed', started_ns = started_ns + 1000000000,
            ended_ns = ended_ns + 1000000000;
        INSERT INTO spantree.node SELECT * FROM more;
        UPDATE more SET span_id = 78, attempt = 1, status = 'completed', started_ns = started_ns - 500000000;
        INSERT INTO spantree.node SELECT * FROM more;
        """,
    )
    assert query(url_to_change, told) == [("load", 3, 3, True, "failed", 4000.0, None)]


def test_a_running_execution_is_lost_when_read_long_after_its_last_sign_of_life(url_to_change: str) -> None:
    status = f"SELECT status, stored_status FROM spantree.executions WHERE execution_id = '{trace_id(102).hex()}'"
    assert query(url_to_change, status) == [("lost", "running")]
    query(url_to_change, f"UPDATE spantree.execution SET last_seen_ns = {time.time_ns() - 3590 * SECOND_NS}")
    assert query(url_to_change, status) == [("running", "running")]


def test_stuck_executions_are_those_silent_for_longer_than_their_threshold(url_to_change: str) -> None:
    names = "SELECT name, status, threshold_s, open_nodes FROM spantree.stuck_executions ORDER BY threshold_s"
    waiting = ("approval", "waiting", 5.0, ["approval"])
    assert [row[0:3] for row in query(url_to_change, names)] == [waiting[:3], ("step", "lost", 3600.0)]
    seen_ns = time.time_ns() - 60 * SECOND_NS
    query(url_to_change, f"UPDATE spantree.execution SET last_seen_ns = {seen_ns}, started_ns = {seen_ns}")
    assert query(url_to_change, names) == [waiting]


def test_runs_conversations_and_workflows_are_summed_up(url: str) -> None:
    assert query(url, "SELECT run_id, status, executions, retried_count FROM spantree.runs") == [
        ("run-1", "completed", 1, 1)
    ]
    assert query(url, "SELECT turns, failed_turns FROM spantree.conversations ORDER BY conversation_id") == [
        (10, 0),
        (11, 1),
        (10, 0),
    ]
    assert query(
        url,
        """
        SELECT total, completed, partial, success_rate, p95_ms FROM spantree.workflow_stats
        WHERE workflow_name = 'order-flow' AND day = '2026-11-20'
        """,
    ) == [(4, 3, 1, 0.75, pytest.approx(6000.0, rel=0.02))]


def _scanned(plan: dict[str, object]) -> Iterator[tuple[str, str]]:
    """(kind of scan, partition) of each table that the plan reads."""
    if "Relation Name" in plan:
        yield str(plan["Node Type"]), str(plan["Relation Name"])
    for child in plan.get("Plans", []):  # type: ignore[attr-defined]
        yield from _scanned(child)


def _plan(url: str, text: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        # Tables here are tiny: what is asked is whether an index can be used at all.
        connection.execute("SET enable_seqscan = off")
        row = connection.execute(f"EXPLAIN (FORMAT json) {text}".encode()).fetchone()
    assert row
    return list(_scanned((row[0] if isinstance(row[0], list) else json.loads(row[0]))[0]["Plan"]))


_TRACE = trace_id(100).hex()


@pytest.mark.parametrize(
    "text",
    [
        f"SELECT * FROM spantree.executions WHERE trace_id = '{_TRACE}' AND tenant_id = 0",
        f"SELECT * FROM spantree.nodes WHERE trace_id = '{_TRACE}' AND tenant_id = 0",
        f"SELECT * FROM spantree.edges WHERE trace_id = '{_TRACE}' AND tenant_id = 0",
        "SELECT * FROM spantree.failures WHERE tenant_id = 0 AND started_ns > 1795046400000000000",
        "SELECT * FROM spantree.executions WHERE tenant_id = 0 ORDER BY started_ns DESC, trace_id DESC LIMIT 50",
        "SELECT * FROM spantree.executions WHERE tenant_id = 0 AND conversation_id = 'x'",
        "SELECT * FROM spantree.executions WHERE tenant_id = 0 AND user_id = 'x'",
        "SELECT * FROM spantree.executions WHERE tenant_id = 0 AND workflow_name = 'x' ORDER BY started_ns LIMIT 9",
        "SELECT * FROM spantree.executions WHERE tenant_id = 0 AND error_fingerprint = 'x'",
        "SELECT * FROM spantree.runs WHERE tenant_id = 0 AND run_id = 'run-1'",
        "SELECT * FROM spantree.stuck_executions WHERE tenant_id = 0",
        "SELECT * FROM spantree.retries WHERE tenant_id = 0 AND started_ns > 1795046400000000000",
    ],
)
def test_main_reads_use_an_index_on_every_partition(url: str, text: str) -> None:
    whole = [scan for scan in _plan(url, text) if scan[0] == "Seq Scan" and not scan[1].startswith("resource")]
    assert not whole, f"reads whole tables: {whole}; the index that should serve it is missing or does not fit"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM spantree.node_stats WHERE day = '2026-11-20'",
        "SELECT * FROM spantree.workflow_stats WHERE day = '2026-11-20'",
        "SELECT * FROM spantree.retries WHERE day = '2026-11-20' AND tenant_id = 0",
        "SELECT * FROM spantree.nodes WHERE day = '2026-11-20' AND status = 'failed'",
    ],
)
def test_a_day_reads_the_partitions_of_that_day(url: str, text: str) -> None:
    outer = {table for _, table in _plan(url, text) if re.fullmatch(r"(node|execution)_\d{8}", table)}
    if "retries" in text:
        # The attempts of a task may lie on other days; they are found by its trace.
        assert "node_20261120" in outer
    else:
        assert outer <= {"node_20261120", "execution_20261120"}, f"reads other days too: {sorted(outer)}"


def test_the_queries_in_the_docs_run(url: str) -> None:
    examples = re.findall(r"```sql\n(.*?)```", _DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(examples) >= 8
    for example in examples:
        query(url, example.replace("%", "%%") if "%(" in example else example)


def test_the_docs_have_every_view_with_every_column(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        made = tables(connection)
    told = documented(_DOCS.read_text(encoding="utf-8"))
    other = sorted(view for view in made.keys() | told.keys() if made.get(view) != told.get(view))
    assert not other, (
        f"docs/sql.md and the comments of {', '.join(other)} differ: give each view and column a COMMENT, then run "
        "`.venv/bin/python -m tests.view_reference --write`"
    )


def test_the_docs_name_every_table_view_function_and_view_column(migrated_url: str) -> None:
    text = _DOCS.read_text(encoding="utf-8")
    names = query(
        migrated_url,
        """
        SELECT relname FROM pg_class WHERE relnamespace = 'spantree'::regnamespace
            AND relkind IN ('r', 'p', 'v') AND NOT relispartition
        UNION SELECT proname FROM pg_proc WHERE pronamespace = 'spantree'::regnamespace
        UNION SELECT attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE relnamespace = 'spantree'::regnamespace AND relkind = 'v'
        """,
    )
    missing = sorted(name for (name,) in names if not re.search(rf"\b{name}\b", text))
    assert not missing, (
        f"docs/sql.md does not name {', '.join(missing)}: `.venv/bin/python -m tests.view_reference --write` adds "
        "views and tables, functions have a table of their own"
    )
