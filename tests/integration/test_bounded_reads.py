"""Statements that look for one row, or count some, among any number of executions like it, read few of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from tests.api_rows import NOW_NS, T0_NS, insert, trace, trace_id
from tests.plans import as_embedded, make_days, multiply, rows_read
from tests.postgres import new_database

from spantree_api.database import IN_ORDER, is_in_order
from spantree_api.filters import ExecutionFilter
from spantree_api.listing import Range, listing_of
from spantree_api.statements import Statements, load_statements
from spantree_exporter.rollup_names import OTHER_NAMES, SUBJECTS

STATEMENTS = Statements(load_statements())
DAYS = [date(2026, 11, 19), date(2026, 11, 20)]
PARAMETERS: dict[str, object] = {
    "tenant_id": 0,
    "trace_id": trace_id(1),
    "first_day": DAYS[0],
    "last_day": DAYS[1],
    "started_ns": NOW_NS,
    "since_ns": NOW_NS,
    "now_ns": NOW_NS,
    "service": "agent",
    "workflow": "report",
    "name": "report",
    "error_fingerprint": "f",
    "from_ns": T0_NS - 500_000,
    "to_ns": NOW_NS,
    "by_workflow": False,
    "min_runs": 1,
    "threshold": 0.5,
    "hidden": False,
    "project": None,
    "user_id": None,
    "kind": None,
    "limit": 10,
    "conversation_ids": ["b", "c"],
    "names": ["b", "c"],
    "days": DAYS,
    "lost_after_s": 3600.0,
    "waited_ns": [0, 0],
    "turns": 200,
    "walked": 200,
    "counted": 200,
}


@pytest.fixture(scope="module")
def of_one_cause(postgres_url: str, _migrated_template: str) -> Iterator[psycopg.Connection[Any]]:
    """A database in which all that ran failed of one cause; one of its two days was analysed, the other never."""
    with (
        new_database(postgres_url, template=_migrated_template) as url,
        psycopg.connect(url, autocommit=True) as connected,
    ):
        as_embedded(connected)
        connected.execute(STATEMENTS["set_up"], {"statement_timeout_ms": 0})
        make_days(connected, "2026-11-10", 20)
        insert(url, trace(1, status="failed", error_fingerprint="f", conversation_id="c"))
        for day in DAYS:
            multiply(connected, trace_id(1), day.isoformat(), 3_000)
        connected.execute("ANALYZE spantree.execution_20261119")
        yield connected


@pytest.mark.parametrize(
    ("name", "asked", "most"),
    [
        ("last_good_before", {}, 200),
        ("last_good_before", {"workflow": None}, 200),
        ("same_cause", {}, 200),
        ("conversation_sums", {}, 200),
        ("later_of_conversations", {}, 200),
        ("health", {}, 400),
        # A thousand of them started within its window.
        ("alert_figures", {"walked": 100_000}, 1_000),
    ],
)
def test_a_walk_ends_however_many_executions_there_are(
    of_one_cause: psycopg.Connection[Any], name: str, asked: dict[str, object], most: int
) -> None:
    with of_one_cause.transaction():
        of_one_cause.execute(STATEMENTS["allow_sort"], {"allowed": "off" if name in IN_ORDER else "on"})
        read = rows_read(of_one_cause, STATEMENTS[name], PARAMETERS | asked)
    assert 0 < read <= most + 20, f"{name} reads {read} rows"


@pytest.mark.parametrize(
    "wanted",
    [ExecutionFilter(), ExecutionFilter(workflow="report"), ExecutionFilter(statuses=("failed",))],
    ids=["all", "workflow", "status"],
)
def test_a_list_that_begins_within_a_day_reads_no_more_of_it(
    of_one_cause: psycopg.Connection[Any], wanted: ExecutionFilter
) -> None:
    parts = listing_of(wanted, None).ordered_parts("of_newest_days")
    starts = Range(T0_NS - 500_000, T0_NS - 400_000)
    asked = {**PARAMETERS, **wanted.parameters(), **starts.parameters(), "limit": 1_000}
    with of_one_cause.transaction():
        of_one_cause.execute(STATEMENTS["allow_sort"], {"allowed": "off" if is_in_order(parts, asked) else "on"})
        read = rows_read(of_one_cause, STATEMENTS[parts], asked)
    assert 100 < read <= 101 + 20, f"reads {read} rows"


@pytest.mark.parametrize("walked_to", [False, True], ids=["matching", "how far"])
def test_a_filter_beside_a_giant_conversation_reads_some_of_its_turns(
    of_one_cause: psycopg.Connection[Any], walked_to: bool
) -> None:
    wanted = ExecutionFilter(conversation_id="c", kind="nothing", statuses=("lost",))
    parts = listing_of(wanted, None).turns_parts("of_newest_days", walked_to=walked_to)
    asked = {**PARAMETERS, **wanted.parameters(), **Range(0, NOW_NS).parameters(), "first_day": DAYS[0]}
    with of_one_cause.transaction():
        of_one_cause.execute(STATEMENTS["allow_sort"], {"allowed": "off" if is_in_order(parts, asked) else "on"})
        read = rows_read(of_one_cause, STATEMENTS[parts], asked)
    assert 200 <= read <= 200 + 20, f"reads {read} rows"


@pytest.fixture(scope="module")
def of_many_names(of_one_cause: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """The same, with an hour and a day of figures of 3,000 users and causes, and a service with as many names."""
    of_one_cause.execute(
        """
        INSERT INTO spantree.rollup
        SELECT 0, subject, grain_h, '2026-11-19Z', '', '', prefix || n, '', '', '', false,
            1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, NULL, 1, 0, 0, 0, ROW('{1}', '{1}')::spantree.histogram
        FROM generate_series(1, 3000) AS n
        CROSS JOIN (VALUES (1), (24)) AS grain (grain_h)
        CROSS JOIN (VALUES ('user', 'u'), ('error', 'f')) AS counted (subject, prefix)
        """
    )
    of_one_cause.execute(
        """
        INSERT INTO spantree.failure_group (tenant_id, fingerprint, category, hidden, first_seen_ns, last_seen_ns)
        SELECT 0, 'f' || n, '', false, n, n FROM generate_series(1, 3000) AS n
        """
    )
    of_one_cause.execute(
        """
        INSERT INTO spantree.operation (tenant_id, service, name, kind, last_day)
        SELECT 0, CASE n WHEN 1 THEN 'a' WHEN 3000 THEN 'z' ELSE 'shop' END, 'job ' || n, 1, '2026-11-19'
        FROM generate_series(1, 3000) AS n
        ON CONFLICT DO NOTHING
        """
    )
    of_one_cause.execute("ANALYZE spantree.rollup, spantree.failure_group, spantree.operation")
    return of_one_cause


def test_services_are_told_however_many_names_their_spans_have(of_many_names: psycopg.Connection[Any]) -> None:
    statement = STATEMENTS["services_of_spans"]
    names = of_many_names.execute(statement.encode(), {"tenant_id": 0, "limit": 100}).fetchall()
    assert {("a",), ("shop",), ("z",)} <= set(names)
    assert names == sorted(names)
    assert names[:2] == of_many_names.execute(statement.encode(), {"tenant_id": 0, "limit": 2}).fetchall()
    read = rows_read(of_many_names, statement, {"tenant_id": 0, "limit": 100})
    assert read <= 3 * len(names), f"reads {read} rows for {len(names)} services"


@pytest.mark.parametrize("name", ["gathering_intervals", "gathered_names"])
def test_whether_there_are_too_many_names_is_read_from_few_rows(
    of_many_names: psycopg.Connection[Any], name: str
) -> None:
    asked: dict[str, object] = {
        "tenant_id": 0, "subjects": list(SUBJECTS), "other": OTHER_NAMES, "since": DAYS[0], "until": DAYS[1],
        "now": "2026-11-19T00:30:00Z", "by_workflow": [True] * len(SUBJECTS),
    }  # fmt: skip
    read = rows_read(of_many_names, STATEMENTS[name], asked)
    assert read <= 100, f"reads {read} rows"


def test_causes_of_failures_count_nothing_for_who_asks_for_no_figures(of_many_names: psycopg.Connection[Any]) -> None:
    wanted = "SELECT fingerprint, state, last_seen_at FROM spantree.failure_groups WHERE tenant_id = 0"
    assert 3_000 <= rows_read(of_many_names, wanted, {}) < 3_010
