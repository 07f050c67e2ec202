"""Figures of names with ids in them: so many of an hour have rows of their own, and all are counted."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
from tests.api_server import api_over, ok, refused
from tests.factories import DAY_NS, NOON_NS, SECOND_NS, span
from tests.rollup_checks import fold, sum_up, wrong_figures
from tests.tables import project_all, query

from spantree_deploy.doctor.checks import gathered_names_findings
from spantree_exporter import rollup_names
from spantree_exporter.postgres import gathered_names
from spantree_exporter.postgres.rebuild import rebuild
from spantree_exporter.postgres.store import Store
from spantree_exporter.rollup_names import SUBJECTS
from spantree_exporter.span import Attributes, Span

_DAYS = [date(2026, 11, 19), date(2026, 11, 20)]
_SUMS = """
    SELECT subject, sum(total), sum(completed), sum(failed), sum(duration_ns), sum(input_tokens),
        sum((SELECT sum(held) FROM unnest((durations).counts) AS held)), max(last_started_ns)
    FROM spantree.rollup WHERE grain_h = %(grain)s GROUP BY 1 ORDER BY 1
"""
_WIDEST = """
    SELECT subject, max(keys) FROM (
        SELECT subject, started_at, count(*) AS keys FROM spantree.rollup
        WHERE grain_h = %(grain)s AND name <> '(other names)' GROUP BY 1, 2
    ) AS of_interval GROUP BY 1
"""


@pytest.fixture
def store(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for module in (rollup_names, gathered_names):
        monkeypatch.setattr(module, "KEYS_KEPT", 4)
    store = Store(migrated_url)
    yield store
    store.close()


def _order(number: int, chance: random.Random) -> list[Span]:
    """A run of a workflow that is named by what it is about, for a user of its own."""
    start_ns = NOON_NS - chance.randrange(2) * DAY_NS + chance.randrange(3) * 3600 * SECOND_NS
    attributes: Attributes = {"spantree.node.kind": "workflow", "spantree.workflow.name": f"process order {number}"}
    about: Attributes = {"user.id": f"u-{number}", "spantree.project": f"p-{number % 30}"}
    chat: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": f"m-{number % 40}"}
    of: dict[str, Any] = {"trace": number, "start_ns": start_ns, "duration_ns": 1000 * number + 5}
    error = chance.choice((None, f"{'abcdefghijkl'[number % 12] * 5} broke"))
    return [
        span(1, name=f"process order {number}", attributes={**attributes, **about}, error=error, **of),
        span(2, parent=1, name="charge card", attributes={"spantree.node.kind": "task"}, **of),
        span(3, parent=1, name=f"GET /users/{number}", attributes={"spantree.node.kind": "task"}, **of),
        span(4, parent=2, name="chat", attributes={**chat, "gen_ai.usage.input_tokens": 7}, **of),
        span(5, parent=2, name="work", service=f"job-{number}", **of),
    ]


@pytest.mark.parametrize("seed", range(2))
def test_names_beyond_those_of_an_hour_are_counted_together_and_all_of_them(
    migrated_url: str, store: Store, seed: int
) -> None:
    chance = random.Random(seed)
    spans = [one for number in range(60) for one in _order(number, chance)]
    if seed:
        chance.shuffle(spans)
    everything = list(spans)
    while spans:
        count = chance.randrange(1, 60)
        part, spans = spans[:count], spans[count:]
        store.write(part)
        if chance.random() < 0.3:
            project_all(migrated_url, store)
        if chance.random() < 0.6:
            fold(migrated_url)
    project_all(migrated_url, store)
    assert wrong_figures(migrated_url, _DAYS) == []
    sums = query(migrated_url, _SUMS, grain=1)
    assert {subject: total for subject, total, *_ in sums if subject in {"workflow", "user", "node"}} == {
        "workflow": 60, "user": 60, "node": 60 * 5,
    }  # fmt: skip
    assert (
        query(migrated_url, "SELECT DISTINCT fingerprint FROM spantree.failure_group WHERE fingerprint LIKE '(%'") == []
    )
    # Rows that come anew take what they were counted under away, and are counted where there is room.
    rebuild(migrated_url)
    assert wrong_figures(migrated_url, _DAYS) == []
    assert query(migrated_url, _SUMS, grain=1) == sums
    # Counted anew from the rows, hours keep as many.
    query(migrated_url, "UPDATE spantree.rollup SET total = total + 1 WHERE subject = 'workflow'")
    rebuild(migrated_url)
    assert wrong_figures(migrated_url, _DAYS) == []
    assert query(migrated_url, _SUMS, grain=1) == sums
    sum_up(migrated_url)
    for grain in (1, 24, 192):
        assert query(migrated_url, _SUMS, grain=grain) == sums, grain
        widest = dict(query(migrated_url, _WIDEST, grain=grain))
        assert max(widest.values()) <= 8, widest
        assert widest["workflow"] <= 4
    store.write(everything[:1])
    assert wrong_figures(migrated_url, _DAYS) == []


def test_a_day_keeps_the_names_that_had_most(migrated_url: str, store: Store) -> None:
    for number in range(12):
        runs = 3 if number in {2, 7} else 1
        for run in range(runs):
            start_ns = NOON_NS + (number // 4) * 3600 * SECOND_NS
            store.write([span(1, trace=100 * number + run, name=f"job {number}", start_ns=start_ns)])
    fold(migrated_url)
    sum_up(migrated_url)
    kept = "SELECT name, total FROM spantree.rollup WHERE subject = 'node' AND grain_h = %(grain)s ORDER BY 2 DESC, 1"
    assert query(migrated_url, kept, grain=1)[:2] == [("job 2", 3), ("job 7", 3)]
    assert len(query(migrated_url, kept, grain=1)) == 12
    for grain in (24, 192):
        assert query(migrated_url, kept, grain=grain) == [
            ("(other names)", 8), ("job 2", 3), ("job 7", 3), ("job 0", 1), ("job 1", 1),
        ]  # fmt: skip


def test_one_name_is_told_from_the_hours_where_a_day_has_too_many(migrated_url: str, store: Store) -> None:
    # Five an hour of twenty hours of the day before: an hour has four of them, the day four of all.
    for number in range(100):
        start_ns = NOON_NS - DAY_NS + (number // 5 - 11) * 3600 * SECOND_NS
        named: Attributes = {
            "spantree.workflow.name": f"order {number}",
            "user.id": f"u-{number}",
            "spantree.project": "p",
        }
        store.write([span(1, trace=number, name=f"order {number}", start_ns=start_ns, attributes=named)])
        if number % 5 == 4:
            fold(migrated_url)
    sum_up(migrated_url)
    named_rows = "SELECT count(*) FROM spantree.rollup WHERE subject = 'workflow' AND grain_h = 24"
    assert query(migrated_url, named_rows) == [(5,)]
    with api_over(migrated_url) as api:
        told = {one["name"]: one["runs"] for one in ok(api.get("/api/v1/stats/workflows"))["workflows"]}
        assert (len(told), told["(other names)"], sum(told.values())) == (5, 96, 100)
        users = ok(api.get("/api/v1/stats/users"))["users"]
        assert sum(one["runs"] for one in users) == 100 and len(users) == 9
        # By its name each is told that an hour has.
        for number in (0, 3, 50, 97):
            assert ok(api.get(f"/api/v1/stats/workflows/order {number}"))["runs"] == 1, number
            assert ok(api.get(f"/api/v1/stats/nodes?workflow=order {number}"))["nodes"][0]["total"] == 1
            assert ok(api.get(f"/api/v1/workflows/order {number}/map"))["runs"] == 1
            assert ok(api.get(f"/api/v1/stats/users/u-{number}"))["runs"] == 1
        trend = ok(api.get("/api/v1/stats/trend?metric=runs&by=workflow&name=order 50&since=2026-11-15T00:00:00Z"))
        assert sum(point["value"] or 0 for point in trend["series"][0]["points"]) == 1
        refused(api.get("/api/v1/stats/workflows/order 1000"))
        # A project has its name in the day, too: its workflows are those of the day.
        project = ok(api.get("/api/v1/stats/projects/p"))
        assert (project["runs"], project["workflows"]) == (100, 5)


def test_doctor_and_metrics_say_which_subjects_have_too_many_names(migrated_url: str, store: Store) -> None:
    now_ns = time.time_ns()
    store.write([span(1, trace=number, name="tidy", service=f"job-{number}", start_ns=now_ns) for number in range(9)])
    fold(migrated_url)
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        [finding] = gathered_names_findings(connection)
        assert finding.found == (
            "tenant default has more names of service in an hour than figures keep: "
            'the rest is counted under "(other names)"'
        )
    with api_over(migrated_url, None) as api:
        text = api.get("/metrics").text
        told = dict(re.findall(r'^spantree_names_gathered\{subject="(.*)"\} (\S+)$', text, re.MULTILINE))
        assert told == {subject: "1.0" if subject == "service" else "0.0" for subject in SUBJECTS}
