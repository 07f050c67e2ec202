"""How values are told: times, statuses, searches, whole values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from tests.api_rows import T0_NS, S, execution, node

from spantree_api.failures.known_errors_file import our_known_errors
from spantree_api.failures.report import retried_tasks
from spantree_api.filters import attribute_forms
from spantree_api.node_detail import traceback_of, whole_value
from spantree_api.rendering import duration_ms, effective_status, ns_of, rfc3339
from spantree_api.statements import load_statements
from spantree_api.stored_rows import SpanRow
from spantree_exporter.assemble.category import _RULES


def span(**changes: Any) -> SpanRow:
    values: dict[str, Any] = {
        "trace_id": UUID(int=1), "span_id": 1, "fingerprint": 1, "parent_span_id": None, "kind": 1, "status_code": 0,
        "start_ns": 0, "end_ns": 0, "flags": 0, "received_ns": 0, "name": "s", "status_message": None,
        "trace_state": None, "resource_id": 1, "scope": None, "attributes": {}, "events": None, "links": None,
        "dropped_attributes_count": None, "dropped_events_count": None, "dropped_links_count": None,
        "anomalies": None, "raw_available": False, "resource_attributes": {}, "resource_schema_url": "",
        "resource_dropped_attributes_count": 0,
    }  # fmt: skip
    return SpanRow(**(values | changes))


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (T0_NS, "2026-11-20T10:00:00.000000000Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_no_nanosecond_is_lost(time_ns: int, text: str) -> None:
    assert rfc3339(time_ns) == text


def test_moments_become_nanoseconds() -> None:
    moment = datetime(2026, 11, 20, 11, 0, 0, 1, tzinfo=timezone(timedelta(hours=1)))
    assert ns_of(moment) == T0_NS + 1_000
    assert ns_of(datetime(9999, 1, 1, tzinfo=UTC)) == 2**63 - 1
    assert ns_of(datetime(1, 1, 1, tzinfo=UTC)) == -(2**63 - 1)


def test_a_duration_is_never_negative() -> None:
    assert duration_ms(5, 3, 0) == 0.0
    assert duration_ms(0, None, 1_500_000) == 1.5
    assert duration_ms(0, 2_000_000, 9) == 2.0


@pytest.mark.parametrize(
    ("status", "silent_s", "own_s", "told"),
    [
        ("running", 10, None, "running"),
        ("running", 10.1, None, "lost"),
        ("pending", 10.1, None, "lost"),
        ("waiting", 1e6, None, "waiting"),
        ("completed", 1e6, None, "completed"),
        ("running", 11, 12.0, "running"),
        ("running", 3, 2.5, "lost"),
    ],
)
def test_lost_is_silence_beyond_the_threshold(status: str, silent_s: float, own_s: float | None, told: str) -> None:
    row = execution(status=status, last_seen_ns=T0_NS, lost_after_s=own_s)
    assert effective_status(row, T0_NS + int(silent_s * S), 10.0) == told


@pytest.mark.parametrize(("silent_s", "told"), [(10, "running"), (10.1, "completed")])
def test_one_that_only_waits_for_its_root_has_ended_when_it_is_silent(silent_s: float, told: str) -> None:
    row = execution(status="running", last_seen_ns=T0_NS, anomalies=["parent_missing", "root_missing"])
    assert effective_status(row, T0_NS + int(silent_s * S), 10.0) == told


@pytest.mark.parametrize(
    ("q", "forms"),
    [
        ("plain", None),
        ("http://example.org", None),
        ("Error: text", None),
        ("9:5", None),
        ("http.route:/chat", ['{"http.route":"/chat"}']),
        ("n:7", ['{"n":"7"}', '{"n":7}']),
        ("n:7.5", ['{"n":"7.5"}', '{"n":7.5}']),
        ("ok:true", ['{"ok":"true"}', '{"ok":true}']),
        ("$k:v", ['{"$$k":"v"}']),
        ("a:b:c", ['{"a":"b:c"}']),
    ],
)
def test_key_and_value_are_recognised(q: str, forms: list[str] | None) -> None:
    assert attribute_forms(q) == forms


def test_a_whole_value_is_the_longest_that_begins_as_the_preview() -> None:
    text = "a" * 800
    wrapped = span(events=[{"name": "e", "time_ns": 1, "attributes": {"body": text + "!"}}])
    assert whole_value(text[:500], [span(attributes={"input": text, "other": "b"})]) == (text, True)
    assert whole_value(text[:500], [span(), wrapped]) == (text + "!", True)
    assert whole_value(text[:500], [span()]) == (text[:500], False)
    assert whole_value("short", [span(attributes={"input": "shorter"})]) == ("short", True)
    assert whole_value(None, [span()]) == (None, True)
    wrapped_json = span(attributes={"all": '{"inputs": {"q": "' + text + '"}, "n": 1}'})
    assert whole_value(text[:500], [wrapped_json]) == (text, True)
    # Read to a thousand levels, written to some 250.
    nested = span(attributes={"messages": "[" * 600 + "]" * 600})
    assert whole_value("[" * 500, [nested]) == ("[" * 600 + "]" * 600, True)
    inner = '{"q":"' + text + '"}'
    assert whole_value(inner[:500], [wrapped_json]) == (inner, True)
    items = ["x" * 300, "y" * 300]
    whole = '["' + "x" * 300 + '","' + "y" * 300 + '"]'
    assert whole_value(whole[:500], [span(attributes={"input": items})]) == (whole, True)


def test_the_traceback_is_that_of_the_nodes_error() -> None:
    def exception(message: str) -> dict[str, Any]:
        attributes = {"exception.message": message, "exception.stacktrace": f"trace of {message}"}
        return {"name": "exception", "time_ns": 1, "attributes": attributes}

    attempts = span(events=[exception("first"), exception("second"), exception("third")])
    assert traceback_of(node(1, "a", error_message="second"), [attempts]) == "trace of second"
    assert traceback_of(node(1, "a", error_message="other"), [attempts]) == "trace of third"
    assert traceback_of(node(1, "a"), [span(), span(attributes={"exception.stacktrace": "t"})]) == "t"
    assert traceback_of(node(1, "a"), [span()]) is None


def test_attempts_without_a_key_belong_together_by_parent_and_name() -> None:
    nodes = [
        node(1, "call", 9, status="retried", retry_expected=True),
        node(2, "call", 9, attempt=2, retry_expected=True, max_attempts=3),
        node(3, "call", 8, attempt=2, status="failed"),
    ]
    told = retried_tasks(nodes, T0_NS)
    assert [(len(task["attempts"]), task["expected"], task["max_attempts"], task["outcome"]) for task in told] == [
        (2, True, 3, "completed"),
        (1, False, None, "failed"),
    ]


def test_every_category_has_a_suggestion() -> None:
    assert set(our_known_errors().categories) == {category for category, *_ in _RULES} | {"unknown"}


def test_every_statement_says_what_it_is_for() -> None:
    for name, text in load_statements().items():
        assert text.startswith("-- "), f"{name} has no line that says what it is for"
