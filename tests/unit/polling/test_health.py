"""How a watcher fares."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spantree_exporter.polling import Job, PollerHealth
from spantree_exporter.polling.health import health_of

NOW_S = 1_000_000.0
JOB = Job(key="a", name="n", watched_at_s=NOW_S, state_since_s=NOW_S)


def test_all_is_well() -> None:
    assert health_of(NOW_S - 10, [JOB], {"PENDING": 1}, {"ok": 9, "API": 1}, NOW_S) == PollerHealth(
        "ok", "10 looks in the last hour, 1 failed", 10.0, {"PENDING": 1}, 10, {"API": 1}, 0.1, True, []
    )


@pytest.mark.parametrize(
    ("beat_at_s", "jobs", "looks", "status", "message"),
    [
        (None, [], {}, "down", "the watcher was never seen: start the service that watches"),
        (NOW_S - 301, [], {}, "down", "the watcher was last seen 301 s ago: start the service that watches"),
        (
            NOW_S,
            [],
            {"ok": 1, "NETWORK": 4},
            "degraded",
            "4 of 5 looks in the last hour failed, most with NETWORK",
        ),
        (
            NOW_S,
            [
                replace(JOB, key="b", state="RUNNING", state_since_s=NOW_S - 7201),
                replace(JOB, key="c", state_since_s=NOW_S - 3601),
                replace(JOB, key="d", state="RUNNING", state_since_s=NOW_S - 3601),
            ],
            {"ok": 1},
            "degraded",
            "2 jobs are stuck, b for the longest",
        ),
    ],
)
def test_what_is_wrong(
    beat_at_s: float | None, jobs: list[Job], looks: dict[str, int], status: str, message: str
) -> None:
    told = health_of(beat_at_s, jobs, {}, looks, NOW_S)
    assert (told.status, told.message) == (status, message)


def test_without_an_answer_it_cannot_connect() -> None:
    assert health_of(NOW_S, [], {}, {"API": 2}, NOW_S).can_connect is False
    assert health_of(NOW_S, [], {}, {}, NOW_S).can_connect is None
