"""Streams of changes: complete, in order, each once, over restarts and processes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from tests.api_server import api_over, ok, refused
from tests.factories import NOON_NS, live_mark, span, trace_id, workflow
from tests.sse import Follower, Told, following
from tests.tables import project_all, query
from tests.waiting import wait_until

from spantree_api.config import ApiConfig
from spantree_api.database import Database
from spantree_api.errors import Unavailable
from spantree_api.filters import ExecutionFilter
from spantree_api.reads import changes as reads
from spantree_api.streams import listeners as streams
from spantree_api.streams.changes import PlannedEvent
from spantree_api.streams.log import Wanted
from spantree_api.streams.server_sent_events import Event, told_events
from spantree_exporter.changes import ChangePruner
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.store import Store

NOW_NS = NOON_NS + 600_000_000_000


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    one = Store(migrated_url)
    yield one
    one.close()


@pytest.fixture
def api(migrated_url: str) -> Iterator[httpx.Client]:
    with api_over(migrated_url, NOW_NS) as client:
        yield client


_PENDING_AGAIN = """
    INSERT INTO spantree.pending_projection (tenant_id, trace_id, first_pending_at, due_at, batches, spans, root_ended)
    SELECT 0, trace_id, now(), now(), 1, 1, true FROM spantree.trace
"""


def url(api: httpx.Client, path: str = "stream") -> str:
    return f"{api.base_url}/api/v1/{path}"


def summary(event: Told) -> tuple[str, ...]:
    """What an event is about: (kind, trace, name, status)."""
    about = event.data
    return (event.kind, about["execution_id"], about["name"], about["status"])


def of_workflow(number: int, status: str = "completed") -> list[tuple[str, ...]]:
    """The summaries of `workflow(number)`, whole."""
    trace = trace_id(number).hex()
    steps = ["order-flow", "plan", "search", "charge", "answer"]
    return [("execution", trace, "order-flow", status), *(("node", trace, name, "completed") for name in steps)]


def heard(follower: Follower, count: int) -> list[Told]:
    wait_until(lambda: len(follower.events) >= count, 20, f"{count} events were told, not {len(follower.events)}")
    return follower.events


def test_what_is_written_is_told_with_its_nodes_in_order(store: Store, api: httpx.Client) -> None:
    store.write(workflow(1))
    with following(url(api)) as follower:
        store.write(workflow(2))
        store.write(workflow(3, failing=True))
        events = heard(follower, 12)
        row = ok(api.get(f"/api/v1/executions/{trace_id(2).hex()}"))
        nodes = ok(api.get(f"/api/v1/executions/{trace_id(2).hex()}/tree"))["tree"]["nodes"]
    assert list(map(summary, events[:6])) == of_workflow(2)
    assert [event.kind for event in events] == ["execution", *["node"] * 5] * 2
    assert events[6].data["status"] == "partial"
    first = follower.positions[0]
    assert [event.number for event in events] == list(range(first + 1, first + 13))
    left_out = {"input", "output", "analysis", "resumed_by"}
    assert events[0].data == {name: value for name, value in row.items() if name not in left_out}
    assert [event.data for event in events[1:6]] == [
        {
            "execution_id": trace_id(2).hex(),
            "removed": False,
            **{name: value for name, value in node.items() if name not in left_out},
        }
        for node in nodes
    ]


def test_of_a_running_execution_only_what_changes_is_told(migrated_url: str, store: Store, api: httpx.Client) -> None:
    spans = workflow(1)
    trace = trace_id(1).hex()
    with following(url(api, f"executions/{trace}/stream")) as follower:
        store.write([live_mark(100, of=1)])
        store.write(workflow(2))  # another execution
        project_all(migrated_url, store)
        heard(follower, 2)
        store.write(spans[:1])
        project_all(migrated_url, store)
        heard(follower, 4)
        store.write(spans[1:])
        project_all(migrated_url, store)
        heard(follower, 10)
        # Projected again although nothing has changed: nothing is told. Then a late step.
        query(migrated_url, _PENDING_AGAIN)
        project_all(migrated_url, store)
        store.write([span(9, parent=5, name="late", attributes={"spantree.node.name": "late"})])
        project_all(migrated_url, store)
        events = heard(follower, 12)
    told = [(event.kind, event.data["name"], event.data["status"]) for event in events]
    assert told == [
        ("execution", "step", "running"),
        ("node", "step", "running"),
        ("execution", "step", "running"),
        ("node", "plan", "completed"),
        ("execution", "order-flow", "completed"),
        ("node", "order-flow", "completed"),
        ("node", "plan", "completed"),  # now with a workflow's name
        ("node", "search", "completed"),
        ("node", "charge", "completed"),
        ("node", "answer", "completed"),
        ("execution", "order-flow", "completed"),
        ("node", "late", "completed"),
    ]
    numbers = [event.number for event in events]
    assert numbers == sorted(set(numbers))


def test_wherever_a_client_left_off_another_process_goes_on(migrated_url: str, store: Store, api: httpx.Client) -> None:
    with following(url(api)) as follower:
        for number in (1, 2):
            store.write(workflow(number))
        spans = workflow(3)
        store.write(spans[:2])
        project_all(migrated_url, store)
        whole = list(heard(follower, 14))
    with api_over(migrated_url, NOW_NS) as other:
        for left_off in (0, 3, 6, 9, len(whole) - 1):
            number = whole[left_off].number
            with following(url(other), last_event_id=number) as again:
                rest = heard(again, len(whole) - left_off - 1)
            assert rest == whole[left_off + 1 :]
            assert again.positions == [number]


def test_filters_are_those_of_lists(migrated_url: str, store: Store, api: httpx.Client) -> None:
    asked: list[dict[str, Any]] = [
        {"status": "partial"},
        {"workflow": "refunds", "service": "billing"},
        {"conversation_id": "conversation-2", "status": ["partial", "completed"]},
        {"min_duration_ms": 5_999, "max_duration_ms": 6_001, "until": "2026-11-20T12:00:01Z"},
        {"since": "2026-11-20T12:00:01Z"},
        {"q": "declined"},
        {"q": "note:für Größe 東京", "workflow": "refunds"},
        {"error_category": "no such"},
    ]
    with following(url(api), events="execution") as follower:
        store.write(workflow(1))
        store.write(workflow(2, failing=True))
        store.write(workflow(3, name="refunds", service="billing", start_ns=NOON_NS + 2_000_000_000))
        store.write(workflow(5, name="refunds", failing=True))
        heard(follower, 4)
        first = follower.positions[0]
    for filters in asked:
        listed = ok(api.get("/api/v1/executions", params=filters))["executions"]
        with following(url(api), events="execution", after=first, **filters) as again:
            told = heard(again, len(listed))
            store.write([])
        assert {event.data["execution_id"] for event in told} == {one["execution_id"] for one in listed}, filters


def test_what_was_missed_and_is_not_kept_is_told_as_such(
    migrated_url: str, store: Store, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = StoreConnection(migrated_url, "test")
    try:
        with following(url(api)) as follower:
            store.write(workflow(1))
            first = heard(follower, 6)[0].number
        # Nobody numbered these: they are counted as given all the same.
        store.write(workflow(2))
        assert ChangePruner(connection, 0).prune(0) == 2
        store.write(workflow(3))
        with following(url(api), last_event_id=first) as again:
            [event] = heard(again, 1)
        assert (event.kind, event.data["execution_id"]) == ("reload", None)
        with following(url(api), last_event_id=10**9) as lost:
            [event] = heard(lost, 1)
        assert (event.kind, event.number) == ("reload", 18)
        monkeypatch.setattr(streams, "_MISSED", 5)
        with following(url(api), after=12) as late:
            [event] = heard(late, 1)
        assert (event.kind, event.number) == ("reload", 18)
    finally:
        connection.close()


@contextlib.asynccontextmanager
async def listening(database_url: str, kept_bytes: int) -> AsyncIterator[streams.Streams]:
    """Streams that keep so much for their listeners, without a server before them."""
    config = ApiConfig(database_url=database_url)
    database = Database(config)
    await database.open()
    one = streams.Streams(database, config, lambda: NOW_NS, lambda: kept_bytes)
    try:
        yield one
    finally:
        await one.close()
        await database.close()


def numbers_in(pieces: list[bytes]) -> list[int]:
    """The numbers of the events of a stream, but for the first."""
    return [int(number) for number in re.findall(rb"^id: (\d+)$", b"".join(pieces), re.MULTILINE)][1:]


EVERYTHING = Wanted(frozenset({"execution", "node"}), ExecutionFilter())


def test_what_many_executions_change_at_once_is_told_to_all_whatever_their_speed(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def counted(planned: Sequence[PlannedEvent], *arguments: Any) -> Iterator[Event]:
        made.extend(one.number for one in planned)
        return told_events(planned, *arguments)

    monkeypatch.setattr(streams, "told_events", counted)

    async def told(one: streams.Streams, after: int | None, pause_s: float) -> list[int]:
        listener = await one.listen(EVERYTHING, after)
        pieces: list[bytes] = []
        async for piece in one.told(listener):
            pieces.append(piece)
            if len(numbers_in(pieces)) >= 1_800:
                break
            await asyncio.sleep(pause_s)
        one.leave(listener)
        assert max(map(len, pieces)) <= 80_000
        return numbers_in(pieces)

    async def main() -> tuple[list[list[int]], int]:
        async with listening(migrated_url, 32 * 2**20) as one:
            following = [asyncio.create_task(told(one, None, pause_s)) for pause_s in (0, 0, 0.01, 0.1)]
            await asyncio.to_thread(store.write, [one for number in range(1, 301) for one in workflow(number)])
            heard = await asyncio.gather(*following)
            before = len(made)
            # Those who come back are told out of what is kept; who missed more than that makes it once for all.
            one._kept.begin(one._kept.end)
            heard += await asyncio.gather(*(told(one, 0, 0) for _ in range(20)))
        return heard, before

    heard, made_for_followers = asyncio.run(main())
    assert heard == [list(range(1, 1_801))] * 24
    # One plan stands for all nodes of a new execution.
    assert made_for_followers == len(made) - made_for_followers == 600


def test_a_client_that_falls_behind_what_is_kept_is_let_go_and_misses_nothing(migrated_url: str, store: Store) -> None:
    async def main() -> list[int]:
        async with listening(migrated_url, 1) as one:
            listener = await one.listen(EVERYTHING, None)
            other = await one.listen(EVERYTHING, None)
            told, of_other = one.told(listener), one.told(other)
            await anext(told)
            others = [await anext(of_other)]
            for number in (1, 2):
                await asyncio.to_thread(store.write, workflow(number))
                while len(numbers_in(others)) < 6 * number:
                    others.append(await anext(of_other))
            # Only the newest part is kept: this one has not taken the one before.
            assert [piece async for piece in told] == []
            one.leave(listener)
            again = await one.listen(EVERYTHING, listener.after)
            told = one.told(again)
            pieces: list[bytes] = []
            while len(numbers_in(pieces)) < 12:
                pieces.append(await anext(told))
            assert numbers_in(others) == numbers_in(pieces)
            return numbers_in(pieces)

    assert asyncio.run(main()) == list(range(1, 13))


def test_what_is_asked_for_is_told_whatever_the_listeners_before_it_asked_for(migrated_url: str, store: Store) -> None:
    """What is kept for those of executions alone lacks nodes, and for those of one execution all others."""

    async def main() -> list[bytes]:
        async with listening(migrated_url, 32 * 2**20) as one:
            of_one = Wanted(frozenset({"execution"}), ExecutionFilter(), UUID(bytes=trace_id(1)))
            first = one.told(await one.listen(of_one, None))
            pieces = [await anext(first)]
            await asyncio.to_thread(store.write, [*workflow(1), *workflow(2, failing=True)])
            pieces.append(await anext(first))
            assert len(numbers_in(pieces)) == 1
            searching = Wanted(frozenset({"execution", "node"}), ExecutionFilter(q="declined"))
            told = one.told(await one.listen(searching, 0))
            pieces = []
            while len(numbers_in(pieces)) < 6:
                pieces.append(await anext(told))
            return re.findall(rb'"execution_id":"(\w+)"', b"".join(pieces))

    assert asyncio.run(main()) == [trace_id(2).hex().encode()] * 6


def test_changes_that_cannot_be_told_are_passed_over_and_those_after_them_told(
    store: Store, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("a defect")

    with following(url(api)) as follower:
        with monkeypatch.context() as patched:
            patched.setattr(streams, "told_events", broken)
            store.write(workflow(1))
            [reload] = heard(follower, 1)
        store.write(workflow(2))
        events = heard(follower, 7)
    assert (reload.kind, reload.number, reload.data["execution_id"]) == ("reload", 6, None)
    assert list(map(summary, events[1:])) == of_workflow(2)


def test_other_requests_are_answered_while_events_are_computed(
    store: Store, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        began.set()
        assert go_on.wait(20)
        return told_events(*arguments)

    monkeypatch.setattr(streams, "told_events", slow)
    try:
        with following(url(api)) as follower:
            store.write(workflow(1))
            assert began.wait(20)
            assert ok(api.get("/api/v1/executions", timeout=5))["executions"][0]["execution_id"] == trace_id(1).hex()
            go_on.set()
            assert list(map(summary, heard(follower, 6))) == of_workflow(1)
    finally:
        go_on.set()


def test_who_is_far_behind_is_told_so_without_a_look_at_what_was_missed(
    store: Store, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_MISSED", 20)
    store.write([one for number in range(1, 5) for one in workflow(number)])
    with following(url(api)) as newest:
        wait_until(lambda: newest.positions, 20, "the stream has begun")
        position = newest.positions[0]
        monkeypatch.setattr(reads, "planned_events", lambda *arguments: pytest.fail("changes were read"))
        with following(url(api), after=position - 21) as follower:
            [reload] = heard(follower, 1)
    assert (reload.kind, reload.number, reload.data["execution_id"]) == ("reload", position, None)


def test_a_number_that_is_none_is_refused(api: httpx.Client) -> None:
    status, code, message = refused(api.get("/api/v1/stream", headers={"last-event-id": "x1"}))
    assert (status, code) == (422, "invalid_parameter")
    assert message == "Last-Event-ID is 'x1': wanted the number of an event of a stream"
    assert refused(api.get("/api/v1/stream", params={"workflw": "x"}))[:2] == (422, "invalid_parameter")


def test_listeners_are_bounded_in_number(migrated_url: str) -> None:
    with api_over(migrated_url, NOW_NS, streams_max=1) as api, following(url(api)):
        status, code, _ = refused(api.get("/api/v1/stream"))
        assert (status, code) == (503, "too_many_streams")


def test_listeners_of_all_tenants_are_bounded_together(migrated_url: str) -> None:
    async def second_tenant_is_refused() -> str:
        config = ApiConfig(database_url=migrated_url, streams_max=1)
        database = Database(config)
        await database.open()
        of_all = streams.TenantStreams(database, config, lambda: NOW_NS)
        try:
            await of_all.of(0).listen(EVERYTHING, None)
            with pytest.raises(Unavailable) as refusal:
                await of_all.of(1).listen(EVERYTHING, None)
            return refusal.value.code
        finally:
            await of_all.close()
            await database.close()

    assert asyncio.run(second_tenant_is_refused()) == "too_many_streams"


def test_a_tenant_that_listens_with_all_there_may_be_gives_way_to_another(migrated_url: str) -> None:
    async def listening() -> tuple[list[bool], str]:
        config = ApiConfig(database_url=migrated_url, streams_max=4)
        database = Database(config)
        await database.open()
        of_all = streams.TenantStreams(database, config, lambda: NOW_NS)
        try:
            many = [await of_all.of(0).listen(EVERYTHING, None) for _ in range(4)]
            few = [await of_all.of(1).listen(EVERYTHING, None) for _ in range(2)]
            with pytest.raises(Unavailable) as refusal:
                await of_all.of(1).listen(EVERYTHING, None)
            return [one.ended for one in (*many, *few)], refusal.value.code
        finally:
            await of_all.close()
            await database.close()

    # Those that have listened longest, until both have as many.
    assert asyncio.run(listening()) == ([True, True, False, False, False, False], "too_many_streams")


def test_listeners_hold_no_connection_and_end_with_the_server(migrated_url: str) -> None:
    count = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'spantree-api' AND datname = current_database()"
    )
    with api_over(migrated_url, NOW_NS, pool_max=2) as api:
        sockets = []
        for _ in range(50):
            one = socket.create_connection((api.base_url.host, api.base_url.port or 80))
            one.sendall(b"GET /api/v1/stream HTTP/1.1\r\nhost: localhost\r\n\r\n")
            sockets.append(one)
        for one in sockets:
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
        assert query(migrated_url, count)[0][0] <= 2
    # The block ended within its ten seconds although nobody had gone.
    for one in sockets:
        one.settimeout(5)
        while one.recv(65_536):
            pass
        one.close()


def test_numbers_are_given_in_the_order_of_commits(migrated_url: str, store: Store, api: httpx.Client) -> None:
    """A transaction that began first and ends last is not missed by who has read on in between."""
    insert = "INSERT INTO spantree.change (tenant_id, events, changed) SELECT 0, events, changed FROM spantree.change"
    with following(url(api), events="execution") as follower:
        store.write(workflow(1))
        heard(follower, 1)
        with psycopg.connect(migrated_url) as slow:
            slow.execute(f"{insert} ORDER BY changed_at LIMIT 1".encode())
            store.write(workflow(2))
            assert [event.data["execution_id"] for event in heard(follower, 2)][1] == trace_id(2).hex()
        assert [event.data["execution_id"] for event in heard(follower, 3)][2] == trace_id(1).hex()
