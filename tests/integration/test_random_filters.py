"""Random filters: lists of the API, the view executions and plain counting in Python say the same.

Some here; 500 by `FILTERS=500 .venv/bin/pytest tests/integration/test_random_filters.py`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest
from tests.api_rows import NOW_NS, T0_NS, S, Trace, insert, node, trace
from tests.api_server import api_over, ok
from tests.postgres import new_database

COUNT = int(os.environ.get("FILTERS", "30"))
STATUSES = ("pending", "running", "waiting", "completed", "failed", "partial", "skipped", "cancelled", "timed_out")
DAY_NS = 86_400 * S


def _traces() -> list[Trace]:
    chance = random.Random(7)
    made = []
    for number in range(1, 300):
        status = chance.choice(STATUSES)
        started_ns = T0_NS - chance.randrange(6 * DAY_NS) // S * S
        is_open = status in ("pending", "running", "waiting")
        failed = status in ("failed", "partial", "timed_out")
        name = chance.choice(("report", "bill", "charge card"))
        made.append(
            trace(
                number,
                [node(1, name, started_ns=started_ns, status="failed" if failed else "completed")],
                name=name,
                status=status,
                started_ns=started_ns,
                ended_ns=None if is_open else started_ns + chance.choice((1, 5, 60)) * S,
                # Some of the open ones were seen just now, others are lost.
                last_seen_ns=NOW_NS - chance.choice((1, 100, 4_000, 90_000)) * S,
                lost_after_s=chance.choice((None, 50.0)),
                anomalies=chance.choice(([], [], ["root_missing"])) if is_open else [],
                workflow_name=chance.choice((None, "report", "bill")),
                kind=chance.choice(("workflow", "agent", "request")),
                hidden=chance.random() < 0.1,
                services=chance.choice((["agent"], ["agent", "shop"])),
                user_id=chance.choice((None, "ann", "bob")),
                project=chance.choice((None, "p")),
                run_id=chance.choice((None, "r1", "r2")),
                conversation_id=chance.choice((None, "c1", "c2")),
                error_category=chance.choice(("timeout", "code")) if failed else None,
            )
        )
    return made


TRACES = _traces()


@pytest.fixture(scope="module")
def url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    with new_database(postgres_url, template=_migrated_template) as database_url:
        insert(database_url, *TRACES)
        yield database_url


@pytest.fixture(scope="module")
def api(url: str) -> Iterator[httpx.Client]:
    with api_over(url) as client:
        yield client


def _moment(ns: int) -> str:
    return datetime.fromtimestamp(ns // S, UTC).isoformat().replace("+00:00", "Z")


def _filter(chance: random.Random) -> dict[str, Any]:
    """Up to four filters."""
    possible: dict[str, Any] = {
        "status": chance.sample([*STATUSES, "lost"], chance.randrange(1, 4)),
        "workflow": chance.choice(("report", "bill", "none")),
        "service": chance.choice(("agent", "shop", "none")),
        "conversation_id": chance.choice(("c1", "none")),
        "user_id": chance.choice(("ann", "bob")),
        "run_id": chance.choice(("r1", "r2")),
        "kind": chance.choice(("workflow", "agent", "request")),
        "project": "p",
        "error_category": chance.choice(("timeout", "code")),
        "since": T0_NS - chance.randrange(6 * DAY_NS) // S * S,
        "until": T0_NS - chance.randrange(3 * DAY_NS) // S * S,
        "min_duration_ms": chance.choice((1_000, 5_000)),
        "max_duration_ms": chance.choice((1_000, 5_000)),
        "q": chance.choice(("card", "bill", "charge", "nowhere")),
        "hidden": True,
    }
    chosen = {key: possible[key] for key in chance.sample(list(possible), chance.randrange(0, 5))}
    if "since" in chosen and "until" in chosen and chosen["since"] >= chosen["until"]:
        del chosen["until"]
    return chosen


def _status(one: Trace) -> str:
    execution = one.execution
    lost_after_s = 3_600.0 if execution.lost_after_s is None else execution.lost_after_s
    if execution.status in ("pending", "running") and NOW_NS - execution.last_seen_ns > lost_after_s * S:
        return "completed" if "root_missing" in execution.anomalies else "lost"
    return execution.status


def _matches(one: Trace, wanted: dict[str, Any]) -> bool:
    execution = one.execution
    seen_ns = execution.last_seen_ns if _status(one) == "lost" else NOW_NS
    lasted_ms = ((seen_ns if execution.ended_ns is None else execution.ended_ns) - execution.started_ns) / 1e6
    judged: dict[str, Callable[[Any], bool]] = {
        "status": lambda value: _status(one) in value,
        "workflow": lambda value: execution.workflow_name == value,
        "service": lambda value: value in execution.services,
        "conversation_id": lambda value: execution.conversation_id == value,
        "user_id": lambda value: execution.user_id == value,
        "run_id": lambda value: execution.run_id == value,
        "kind": lambda value: execution.kind == value,
        "project": lambda value: execution.project == value,
        "error_category": lambda value: execution.error_category == value,
        "since": lambda value: execution.started_ns >= value,
        "until": lambda value: execution.started_ns < value,
        "min_duration_ms": lambda value: lasted_ms >= value,
        "max_duration_ms": lambda value: lasted_ms <= value,
        "q": lambda value: value in execution.name or value in (execution.workflow_name or ""),
        "hidden": lambda value: True,
    }
    shown = not execution.hidden or wanted.get("hidden") or wanted.get("kind") == "request"
    return bool(shown) and all(judged[key](value) for key, value in wanted.items())


# A filter of the API as a condition on the view. Status and duration it tells by the real clock: test_thresholds.py
# compares those; and q has no column.
_BY_THE_CLOCK = {"status", "min_duration_ms", "max_duration_ms", "q"}
_CONDITIONS = {
    "workflow": "workflow_name = %(workflow)s",
    "service": "services @> ARRAY[%(service)s]",
    "conversation_id": "conversation_id = %(conversation_id)s",
    "user_id": "user_id = %(user_id)s",
    "run_id": "run_id = %(run_id)s",
    "kind": "kind = %(kind)s",
    "project": "project = %(project)s",
    "error_category": "error_category = %(error_category)s",
    "since": "started_ns >= %(since)s",
    "until": "started_ns < %(until)s",
}


def _in_view(connection: psycopg.Connection[Any], wanted: dict[str, Any]) -> set[str]:
    conditions = [_CONDITIONS[key] for key in wanted if key in _CONDITIONS]
    if not (wanted.get("hidden") or wanted.get("kind") == "request"):
        conditions.append("NOT hidden")
    where = " AND ".join(conditions) or "true"
    text = f"SELECT replace(execution_id::text, '-', '') FROM spantree.executions WHERE {where}"
    rows = connection.execute(text.encode(), wanted).fetchall()
    return {row[0] for row in rows}


def test_lists_views_and_counting_say_the_same(url: str, api: httpx.Client) -> None:
    by_id = {one.trace_id: one for one in TRACES}
    chance = random.Random() if "FILTERS" in os.environ else random.Random(11)
    with psycopg.connect(url) as connection:
        for _ in range(COUNT):
            wanted = _filter(chance)
            asked = [
                (key, _moment(each) if key in ("since", "until") else each)
                for key, value in wanted.items()
                for each in (value if isinstance(value, list) else [value])
            ]
            expected = sorted(
                (one for one in TRACES if _matches(one, wanted)),
                key=lambda one: (one.execution.started_ns, one.trace_id),
                reverse=True,
            )
            found: list[str] = []
            cursor: list[tuple[str, Any]] = []
            while True:
                page = ok(api.get("/api/v1/executions", params=[*asked, ("limit", chance.choice((7, 200))), *cursor]))
                found += [one["trace_id"] for one in page["executions"]]
                if page["next_cursor"] is None:
                    break
                cursor = [("cursor", page["next_cursor"])]
            assert found == [one.trace_id for one in expected], wanted
            rest = {key: value for key, value in wanted.items() if key not in _BY_THE_CLOCK}
            in_view = _in_view(connection, rest)
            assert in_view == {one.trace_id for one in by_id.values() if _matches(one, rest)}, wanted
