"""Searches by attributes, wherever they are: found by the terms that were stored with the spans, without a walk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import date
from typing import Any

import httpx
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from tests.api_rows import NOW_NS
from tests.api_server import api_over, ok
from tests.factories import DAY_NS, NOON_NS, SECOND_NS, span, trace_id
from tests.jaeger_storage import JaegerClient, jaeger_over
from tests.tables import merge_all, project_all, query

from spantree_api.reads.spans import SpanReads
from spantree_exporter.postgres.rebuild import rebuild
from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Attributes, Event, Span

TRACES = 60
RARE = 17


def sent() -> list[Span]:
    """Sixty traces of four spans over three days, newest last; one of them has what is looked for, below its root."""
    spans = []
    for trace in range(TRACES):
        at_ns = NOON_NS - 2 * DAY_NS + trace * DAY_NS // 30
        host: Attributes = {"host.name": f"h{trace % 2}"}
        charge: Attributes = {"order": trace, "tenant": f"t{trace % 3}"}
        failure = Event(at_ns, "exception", {"exception.type": "CardError"})
        spans += [
            span(1, trace=trace, attributes={"http.route": "/orders"}, start_ns=at_ns),
            span(
                2, trace=trace, parent=1, name="charge", attributes=charge, start_ns=at_ns,
                duration_ns=SECOND_NS * (9 if trace == RARE else 2),
            ),
            span(3, trace=trace, parent=2, service="bank", resource=host, start_ns=at_ns),
            span(
                4, trace=trace, parent=3, service="bank", resource=host, attributes={"price": 2.5 * trace},
                start_ns=at_ns, events=[failure] if trace == RARE else [],
            ),
        ]  # fmt: skip
    return spans


@pytest.fixture(params=["as they were written", "merged"])
def url(migrated_url: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    store = Store(migrated_url)
    spans = sent()
    batch = 3 if request.param == "merged" else 50
    for first in range(0, len(spans), batch):
        store.write(spans[first : first + batch])
    project_all(migrated_url, store)
    store.close()
    if request.param == "merged":
        monkeypatch.setattr("spantree_exporter.terms.merger._LEVELS", ((1, 256, 4),))
        merge_all(migrated_url)
        rows = query(migrated_url, "SELECT spans, part_ends FROM spantree.span_terms ORDER BY day")
        assert rows == [(60, [60]), (120, [120]), (60, [60])]
    return migrated_url


@pytest.fixture
def client(url: str) -> Iterator[JaegerClient]:
    with jaeger_over(url, NOW_NS) as found:
        yield found


@pytest.fixture
def no_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(self: SpanReads, search: object) -> AsyncIterator[object]:
        raise AssertionError("executions were walked over")

    monkeypatch.setattr(SpanReads, "_find_by_walking", walk)


def by(limit: int = 100, **tags: Any) -> dict[str, Any]:
    """A search by attributes, given as texts as Jaeger's pages do, or by their types; `_` for a point."""
    asked = []
    for key, value in tags.items():
        kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
        asked.append(KeyValue(key=key.replace("_", "."), value=AnyValue(**{kind: value})))
    return {"attributes": asked, "search_depth": limit}


def ids(*traces: int) -> list[str]:
    return [trace_id(number).hex() for number in traces]


@pytest.mark.usefixtures("no_walk")
def test_what_is_asked_of_one_span_is_found_wherever_it_is(client: JaegerClient) -> None:
    newest_first = range(TRACES - 1, -1, -1)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        (by(order="17"), ids(RARE)),
        (by(order=17), ids(RARE)),
        (by(order=17.0), ids(RARE)),
        (by(order=True), []),
        (by(order="170"), []),
        (by(price="42.5"), ids(RARE)),
        (by(exception_type="CardError"), ids(RARE)),
        (by(exception_type="CardError") | {"service_name": "shop"}, []),
        (by(exception_type="CardError", host_name="h1"), ids(RARE)),
        (by(exception_type="CardError", host_name="h0"), []),
        (by(exception_type="CardError", order="17"), []),
        (by(tenant="t2", order="17"), ids(RARE)),
        (by(tenant="t1", order="17"), []),
        (by(tenant="t1") | {"operation_name": "step"}, []),
        (by(tenant="t1") | {"operation_name": "charge"}, ids(*(n for n in newest_first if n % 3 == 1))),
        (by(host_name="h0") | {"service_name": "bank"}, ids(*(n for n in newest_first if n % 2 == 0))),
        (by(host_name="h0") | {"service_name": "nobody"}, []),
        (by(exception_type="CardError", price="42.5"), ids(RARE)),
        ({"duration_min": {"seconds": 8}, "search_depth": 9}, ids(RARE)),
        ({"duration_min": {"seconds": 9}, "duration_max": {"seconds": 9}, "search_depth": 9}, ids(RARE)),
        ({"duration_min": {"seconds": 9, "nanos": 1}, "search_depth": 9}, []),
        ({"duration_min": {"seconds": 8}, "service_name": "bank", "search_depth": 9}, []),
        ({"duration_min": {"seconds": 2}, "operation_name": "step", "search_depth": 9}, []),
        (by(order="17") | {"duration_max": {"seconds": 8}}, []),
        (by(order="17") | {"duration_min": {"seconds": 8}, "operation_name": "charge"}, ids(RARE)),
        (by(http_route="/orders"), ids(*newest_first)),
        (by(3, http_route="/orders"), ids(59, 58, 57)),
        (by(2, tenant="t0") | {"start_time_max": {"seconds": (NOON_NS - DAY_NS) // SECOND_NS}}, ids(30, 27)),
        (by(http_route="/orders") | {"start_time_min": {"seconds": (NOW_NS + 2 * DAY_NS) // SECOND_NS}}, []),
    ]
    for asked, wanted in cases:
        assert client.find_ids(**asked) == wanted, asked


def test_days_of_an_earlier_version_are_walked_until_they_are_read_anew(
    url: str, client: JaegerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = date(2026, 11, 18)
    query(url, "DELETE FROM spantree.span_terms WHERE day = %(day)s", day=day)
    assert client.find_ids(**by(order="3")) == []
    query(url, "INSERT INTO spantree.span_terms_gap VALUES (0, %(day)s)", day=day)
    assert client.find_ids(**by(order="3")) == ids(3)
    rebuild(url, day, day)
    assert query(url, "SELECT * FROM spantree.span_terms_gap") == []
    monkeypatch.setattr(SpanReads, "_find_by_walking", None)
    assert client.find_ids(**by(order="3")) == ids(3)


def found_by(api: httpx.Client, query: str) -> list[str]:
    """Every page of a list of executions."""
    found: list[str] = []
    page: dict[str, Any] = {"next_cursor": ""}
    while page["next_cursor"] is not None:
        page = ok(api.get(f"/api/v1/executions?{query}&limit=7&cursor={page['next_cursor']}".removesuffix("&cursor=")))
        found += [one["execution_id"] for one in page["executions"]]
    return found


def test_executions_are_listed_by_an_attribute_of_any_of_their_spans(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    newest_first = range(TRACES - 1, -1, -1)
    # However slow the machine is: a look that ends early says so, and of what is common finds the newest.
    monkeypatch.setattr("spantree_api.reads.attribute_lists._LOOK_S", 60.0)
    with api_over(url) as api:
        assert found_by(api, "q=order:17") == ids(RARE)
        assert found_by(api, "q=order:170") == []
        assert found_by(api, "q=price:42.5") == ids(RARE)
        assert found_by(api, "q=tenant:t1") == ids(*(n for n in newest_first if n % 3 == 1))
        assert found_by(api, "q=tenant:t1&status=failed") == []
        assert found_by(api, f"q=order:{RARE}&since=2026-11-20T00:00:00Z") == []
        assert found_by(api, "q=http.route:/orders") == ids(*newest_first)
        # What was found in time is told, and how far back that was.
        monkeypatch.setattr("spantree_api.reads.attribute_lists._LOOK_S", -1.0)
        page = ok(api.get("/api/v1/executions?q=tenant:t1&limit=50"))
        assert 0 < len(page["executions"]) < TRACES // 3
        assert page["searched"]["text_back_to"] is not None


def test_an_answer_says_that_the_time_was_over(client: JaegerClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_api.reads.spans._LOOK_S", -1.0)
    assert client.trailing("FindTraceIDs", **by(http_route="/orders")) == {"spantree-search": "incomplete"}
    monkeypatch.undo()
    assert client.trailing("FindTraceIDs", **by(http_route="/orders")) == {}


def test_spans_that_are_sent_again_are_found_once(url: str, client: JaegerClient) -> None:
    store = Store(url)
    store.write(sent()[:80])
    store.close()
    assert client.find_ids(**by(order="17")) == ids(RARE)


@pytest.mark.parametrize(
    "wanted", ["{traceDuration>5s}", '{traceDuration>5s && name="charge"}', "{traceDuration>5s && .order=17}"]
)
def test_what_a_trace_has_to_be_is_asked_of_all_traces(url: str, wanted: str) -> None:
    times = {"start": str((NOON_NS - 3 * DAY_NS) // SECOND_NS), "end": str((NOON_NS + DAY_NS) // SECOND_NS)}
    with api_over(url) as api:
        found = ok(api.get("/tempo/api/search", params={**times, "q": wanted, "limit": "2"}))
    assert [one["traceID"] for one in found["traces"]] == ids(RARE)
    assert found["metrics"] == {"inspectedTraces": 1, "completedJobs": 1, "totalJobs": 1}


def test_a_span_that_is_what_several_alternatives_want_is_told_once(url: str) -> None:
    wanted = '{name="charge" || .order=17 || .tenant="t2" && resource.service.name="shop"}'
    times = {"start": str((NOON_NS - 3 * DAY_NS) // SECOND_NS), "end": str((NOON_NS + DAY_NS) // SECOND_NS)}
    with api_over(url) as api:
        found = ok(api.get("/tempo/api/search", params={**times, "q": wanted, "limit": "100"}))["traces"]
    assert [one["traceID"] for one in found] == ids(*range(TRACES - 1, -1, -1))
    assert {(one["spanSet"]["matched"], *(each["name"] for each in one["spanSet"]["spans"])) for one in found} == {
        (1, "charge")
    }


@pytest.mark.usefixtures("no_walk")
def test_a_name_is_found_of_services_that_no_form_offers(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of names too long to be offered, and of more services, or names of one, than are offered."""
    monkeypatch.setattr("spantree_exporter.postgres.operations.OPERATIONS_MAX", 1)
    services = ["s" * 300, *(f"s{number}" for number in range(250))]
    store = Store(migrated_url)
    store.write([span(1, trace=number, service=service, name="GET") for number, service in enumerate(services)])
    store.write([span(1, trace=1_000, service="s1", name="rare"), span(1, trace=1_001, name="n" * 300)])
    project_all(migrated_url, store)
    store.close()
    with jaeger_over(migrated_url, NOW_NS) as client:
        assert sorted(client.find_ids(operation_name="GET", search_depth=1_000)) == sorted(ids(*range(251)))
        assert client.find_ids(operation_name="rare") == ids(1_000)
        assert client.find_ids(operation_name="n" * 300) == ids(1_001)
        assert client.find_ids(operation_name="none") == []
