"""GET /executions/{a}/diff/{b}, with last-good too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.api_rows import T0_NS, S, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused

from spantree_api.reads import diff

DAY = 86_400 * S


@pytest.fixture
def api(migrated_url: str) -> Iterator[httpx.Client]:
    def run(number: int, status: str, start_ns: int, **more: Any) -> None:
        insert(
            migrated_url,
            trace(
                number,
                [node(1, "report", status=status)],
                status=status,
                started_ns=start_ns,
                ended_ns=start_ns + S,
                **more,
            ),
        )

    run(1, "completed", T0_NS - 2 * DAY)
    run(2, "completed", T0_NS - DAY)
    run(3, "completed", T0_NS - S, workflow_name="other")
    run(4, "completed", T0_NS - S, service="another")
    run(5, "failed", T0_NS - S)
    run(6, "failed", T0_NS)
    run(7, "completed", T0_NS + S)
    with api_over(migrated_url) as client:
        yield client


def test_two_executions_are_compared(api: httpx.Client) -> None:
    answer = ok(api.get(f"/api/v1/executions/{trace_id(6)}/diff/{trace_id(7)}"))
    assert (answer["a"], answer["b"]) == (trace_id(6), trace_id(7))
    assert answer["summary"] == {"added": 0, "removed": 0, "changed": 1, "same": 0}
    assert answer["nodes"][0]["status"] == ["failed", "completed"]


def test_last_good_is_the_newest_completed_one_of_the_workflow_and_service_before(api: httpx.Client) -> None:
    assert ok(api.get(f"/api/v1/executions/{trace_id(6)}/diff/last-good"))["b"] == trace_id(2)
    status, code, message = refused(api.get(f"/api/v1/executions/{trace_id(1)}/diff/last-good"))
    assert (status, code) == (404, "not_found")
    assert message == (
        f"no execution of report completed in the 30 days before {trace_id(1)}: "
        "give the id of another one to compare with"
    )


def test_last_good_of_a_workflow_that_has_failed_ever_since_is_found_by_figures(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "_WALKED_OF_WORKFLOW", 1)
    assert ok(api.get(f"/api/v1/executions/{trace_id(6)}/diff/last-good"))["b"] == trace_id(2)


def test_ids_that_are_none_or_unknown_are_refused(api: httpx.Client) -> None:
    assert refused(api.get(f"/api/v1/executions/{trace_id(6)}/diff/{trace_id(99)}"))[0] == 404
    assert refused(api.get(f"/api/v1/executions/{trace_id(6)}/diff/best")) == (
        422,
        "invalid_parameter",
        "b is 'best': wanted last-good, or a trace id: 32 hex digits in either case, or a UUID with dashes",
    )
