"""Alerts: what a rule finds is told once, whoever looks, and delivered until it is taken."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
import pytest
from tests.api_server import api_over, ok, refused
from tests.factories import SECOND_NS, live_mark, span, trace_id
from tests.tables import project_all, query, waits_for_lock
from tests.waiting import wait_until
from tests.webhook_receiver import SECRET, Receiver, receiver

from spantree_api.alerts import watch as alerts
from spantree_api.config import ApiConfig
from spantree_api.reads import alerts as reads
from spantree_api.routes import alerts as alert_routes
from spantree_exporter.changes import ChangePruner
from spantree_exporter.errors import ConfigError
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.rollup_store import RollupFolder
from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Attributes, Span
from spantree_exporter.tokens import TokenBook

HOOK = {"webhook_url": "", "secret": SECRET}


def run(
    number: int,
    *,
    name: str = "orders",
    error: str | None = None,
    lasts_s: float = 1.0,
    attributes: Attributes | None = None,
) -> list[Span]:
    """An execution that has just ended and was just taken in."""
    now_ns = time.time_ns()
    one = span(
        1,
        trace=number,
        name=name,
        start_ns=now_ns - round(lasts_s * SECOND_NS),
        duration_ns=round(lasts_s * SECOND_NS),
        attributes={"spantree.execution.name": name, **(attributes or {})},
        error=error,
        service="shop",
        received_ns=now_ns,
    )
    return [one]


@contextlib.contextmanager
def watching(url: str, **settings: Any) -> Iterator[httpx.Client]:
    with api_over(url, None, alerts=True, alert_private_hosts="127.0.0.1", **settings) as api:
        yield api


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    one = Store(migrated_url)
    yield one
    one.close()


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_LOOK_S", 0.1), ("_WINDOWS_S", 0.3), ("_OPEN_S", 0.3), ("_RETRY_S", 0.1)):
        monkeypatch.setattr(alerts, name, seconds)


def make(api: httpx.Client, hook: Receiver, path: str = "", **rule: Any) -> dict[str, Any]:
    body = {"name": rule["kind"], "webhook_url": hook.url + path, "secret": SECRET, **rule}
    made: dict[str, Any] = ok(api.post("/api/v1/alerts/rules", json=body))
    return made


def delivered(api: httpx.Client, count: int) -> list[dict[str, Any]]:
    """The history, once so many messages have been taken."""

    def taken() -> bool:
        found = ok(api.get("/api/v1/alerts/deliveries", params={"limit": 200}))["deliveries"]
        return len([one for one in found if one["state"] == "delivered"]) >= count

    # One that a process had claimed as it ended is free again after a minute.
    wait_until(taken, 100, f"{count} messages were delivered")
    history: list[dict[str, Any]] = ok(api.get("/api/v1/alerts/deliveries", params={"limit": 200}))["deliveries"]
    return history


@pytest.mark.timeout(240)
def test_each_alert_is_told_once_by_two_processes_and_taken_by_a_receiver_that_fails(
    migrated_url: str, store: Store
) -> None:
    with receiver(failing=2) as hook, watching(migrated_url) as api, contextlib.ExitStack() as stack:
        other = stack.enter_context(watching(migrated_url))
        store.write(run(1, error="before there was a rule"))
        make(api, hook, kind="failure", filter={"workflow": "orders"})
        make(other, hook, "/slack", kind="failure", name="<other>", format="slack", statuses=["failed"])
        make(api, hook, "/new", kind="new_group")
        make(api, hook, "/rate", kind="failure_rate", threshold=0.3, min_runs=5, window_s=600)
        make(api, hook, "/cost", kind="cost", limit=2.0)
        make(api, hook, "/tokens", kind="tokens", limit=1_000)
        for number in range(2, 14):
            store.write(run(number, error=f"cannot reach host {number}" if number % 2 else None))
            if number == 8:
                stack.close()  # one of the two ends in the midst of it
        store.write(run(20, name="refunds", error="ZeroDivisionError: division by zero"))
        model: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
        used: Attributes = {**model, "gen_ai.usage.input_tokens": 900, "gen_ai.usage.output_tokens": 200}
        store.write(run(21, name="agent", attributes={**used, "gen_ai.usage.cost": 2.5, "llm.cost.total": 2.5}))
        failed = {trace_id(number).hex() for number in range(3, 14, 2)}
        history = delivered(api, 6 + 7 + 2 + 1 + 1 + 1)
        assert not hook.faults
        assert sorted(body["execution"]["execution_id"] for body in hook.bodies()) == sorted(failed)
        assert {body["kind"] for body in hook.bodies()} == {"failure"}
        assert {body["execution"]["execution_id"] for body in hook.bodies("/hook/new")} <= {
            *failed,
            trace_id(20).hex(),
        }
        assert len({body["group"]["fingerprint"] for body in hook.bodies("/hook/new")}) == 2
        assert len(hook.bodies("/hook/new")) == 2
        [rate] = hook.bodies("/hook/rate")
        assert (rate["workflow"]["name"], rate["workflow"]["threshold"]) == ("orders", 0.3)
        assert rate["workflow"]["failure_rate"] > 0.3
        [cost] = hook.bodies("/hook/cost")
        assert cost["execution"]["cost_usd"] == 2.5
        [tokens] = hook.bodies("/hook/tokens")
        assert tokens["execution"]["tokens"] == {"input": 900, "output": 200}
        texts = [body["text"] for body in hook.bodies("/hook/slack")]
        assert len(texts) == 7 and all(text.startswith("&lt;other&gt;: ") for text in texts)
        assert {one["state"] for one in history} == {"delivered"}
        assert min(one["attempts"] for one in history) == 3
        assert len({one["event_id"] for one in history}) == len(history) == 18


def test_what_is_stuck_or_lost_is_told_by_the_rule_of_stuck(migrated_url: str, store: Store) -> None:
    with receiver() as hook, watching(migrated_url, stuck_running_s=1.0, lost_after_s=4.0) as api:
        make(api, hook, kind="stuck")
        make(api, hook, "/lost", kind="lost")
        mark = replace(live_mark(100, of=1, start_ns=time.time_ns()), received_ns=time.time_ns())
        store.write([mark])
        project_all(migrated_url, store)
        delivered(api, 2)
        [stuck], [lost] = hook.bodies(), hook.bodies("/hook/lost")
        assert (stuck["execution"]["status"], stuck["threshold_s"]) == ("running", 1.0)
        assert (lost["execution"]["status"], lost["threshold_s"]) == ("lost", 4.0)
        listed = ok(api.get("/api/v1/stuck"))["executions"]
        assert [one["execution_id"] for one in listed] == [lost["execution"]["execution_id"]]


def test_what_takes_longer_than_usual_is_told(migrated_url: str, store: Store) -> None:
    connection = StoreConnection(migrated_url, "test")
    try:
        store.write([one for number in range(100, 130) for one in run(number, lasts_s=1.0)])
        while RollupFolder(connection).fold():
            pass
    finally:
        connection.close()
    with receiver() as hook, watching(migrated_url) as api:
        make(api, hook, kind="duration", factor=1.5)
        store.write(run(1, lasts_s=1.2))
        store.write(run(2, lasts_s=3.0))
        delivered(api, 1)
        [told] = hook.bodies()
        assert told["execution"]["execution_id"] == trace_id(2).hex()
        assert told["usual"]["runs"] == 30
        assert 950 < told["usual"]["p95_ms"] < 1_050


def test_a_resolved_group_that_comes_back_is_told(migrated_url: str, store: Store) -> None:
    connection = StoreConnection(migrated_url, "test")
    folder = RollupFolder(connection)
    try:
        store.write(run(1, error="card declined"))
        folder.fold()
        with receiver() as hook, watching(migrated_url) as api:
            [group] = ok(api.get("/api/v1/failures/groups"))["groups"]
            url = f"/api/v1/failures/groups/{group['fingerprint']}"
            ok(api.patch(url, json={"state": "resolved"}))
            make(api, hook, kind="reopened_group")
            store.write(run(2, error="card declined", lasts_s=0.0))
            folder.fold()
            delivered(api, 1)
            [told] = hook.bodies()
            assert told["group"]["fingerprint"] == group["fingerprint"]
            assert ok(api.get(url))["state"] == "open"
    finally:
        connection.close()


def test_a_rule_is_silenced_changed_and_taken_away(migrated_url: str, store: Store) -> None:
    with receiver() as hook, watching(migrated_url) as api:
        rule = make(api, hook, kind="failure", name="orders")
        path = f"/api/v1/alerts/rules/{rule['id']}"
        assert rule["secret"] == SECRET
        assert rule["webhook_url"] == f"http://127.0.0.1:{hook.port}/..."
        ok(api.patch(path, json={"silenced_until": "2100-01-01T00:00:00Z"}))
        store.write(run(1, error="while silenced"))
        silenced = {"state": "silenced"}
        wait_until(lambda: ok(api.get("/api/v1/alerts/deliveries", params=silenced))["deliveries"], 20, "it was noted")
        changed = ok(api.patch(path, json={"silenced_until": None, "filter": {"workflow": "refunds"}}))
        assert (changed["silenced_until"], changed["filter"]["workflow"], changed["secret"]) == (None, "refunds", None)
        store.write(run(2, error="of another workflow"))
        store.write(run(3, name="refunds", error="boom"))
        delivered(api, 1)
        assert [body["execution"]["workflow_name"] for body in hook.bodies()] == ["refunds"]
        assert ok(api.get("/api/v1/alerts/rules"))["rules"] == [ok(api.get(path))]
        tried = ok(api.post(f"{path}/test"))
        assert (tried["delivered"], tried["answer_status"]) == (True, 200)
        assert hook.bodies()[-1]["test"] is True
        assert ok(api.delete(path)) == {"id": rule["id"], "deleted": True}
        assert refused(api.get(path))[:2] == (404, "not_found")
        page = ok(api.get("/api/v1/alerts/deliveries", params={"limit": 1}))
        rest = ok(api.get("/api/v1/alerts/deliveries", params={"limit": 1, "cursor": page["next_cursor"]}))
        assert [one["state"] for one in (*page["deliveries"], *rest["deliveries"])] == ["delivered", "silenced"]
        assert rest["next_cursor"] is None


@pytest.mark.parametrize("last", ["9999-12-31T23:59:59.999999Z", "2026-12-01T08:00:00.000001Z"])
def test_a_rule_may_be_silenced_until_the_end_of_time(migrated_url: str, last: str) -> None:
    with receiver() as hook, watching(migrated_url) as api:
        path = f"/api/v1/alerts/rules/{make(api, hook, kind='failure')['id']}"
        silenced = ok(api.patch(path, json={"silenced_until": last}))
        assert silenced["silenced_until"] == last.replace("Z", "000Z")
        assert ok(api.get("/api/v1/alerts/rules"))["rules"] == [silenced]


@pytest.mark.parametrize(
    ("meanwhile", "answered", "left"),
    [
        ("UPDATE spantree.alert_rule SET enabled = false", 200, [("renamed", False)]),
        ("DELETE FROM spantree.alert_rule", 404, []),
    ],
)
def test_a_change_of_a_rule_undoes_no_other_that_is_made_at_the_same_time(
    migrated_url: str, meanwhile: LiteralString, answered: int, left: list[tuple[str, bool]]
) -> None:
    with receiver() as hook, watching(migrated_url) as api, ThreadPoolExecutor() as pool:
        path = f"/api/v1/alerts/rules/{make(api, hook, kind='failure')['id']}"
        with psycopg.connect(migrated_url) as connection:
            connection.execute(meanwhile)
            change = pool.submit(api.patch, path, json={"name": "renamed"})
            wait_until(lambda: waits_for_lock(migrated_url), 20, "the change waits for the other")
        assert change.result(timeout=20).status_code == answered
        assert [(one["name"], one["enabled"]) for one in ok(api.get("/api/v1/alerts/rules"))["rules"]] == left


def test_a_sum_is_of_all_workflows_and_a_rate_of_the_one_that_is_beyond_it(migrated_url: str, store: Store) -> None:
    model: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 1}
    store.write([one for n in range(1, 1_201) for one in run(n, name=f"agent {n:04}", attributes=model)])
    store.write([one for n in range(2_001, 2_011) for one in run(n, name="zzz", error="boom")])
    with receiver() as hook, watching(migrated_url) as api:
        make(api, hook, kind="tokens", limit=1_100, window_s=3_600)
        make(api, hook, "/rate", kind="failure_rate", threshold=0.5, window_s=3_600)
        delivered(api, 2)
    assert [(one["workflow"]["tokens"], one["workflow"]["runs"]) for one in hook.bodies()] == [(1_200, 1_210)]
    assert [one["workflow"]["name"] for one in hook.bodies("/hook/rate")] == ["zzz"]


def test_what_is_beyond_a_limit_is_told_again_when_its_rule_was_off_in_between(migrated_url: str, store: Store) -> None:
    store.write([one for number in range(1, 11) for one in run(number, error="boom")])
    with receiver() as hook, watching(migrated_url) as api:
        path = f"/api/v1/alerts/rules/{make(api, hook, kind='failure_rate', threshold=0.5)['id']}"
        delivered(api, 1)
        ok(api.patch(path, json={"name": "renamed", "threshold": 0.6}))
        ok(api.patch(path, json={"enabled": False}))
        ok(api.patch(path, json={"enabled": True}))
        delivered(api, 2)
        assert [body["rule"]["name"] for body in hook.bodies()] == ["failure_rate", "renamed"]


def test_however_much_is_lost_what_becomes_so_is_told_once(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "_OPEN_ROWS", 3)
    day_ns = 86_400 * SECOND_NS
    with receiver() as hook, watching(migrated_url, lost_after_s=2.0) as api:
        make(api, hook, kind="lost")
        query(migrated_url, "UPDATE spantree.alert_rule SET active_since = now() - interval '40 days'")
        now_ns = time.time_ns()
        # Told long ago, and forgotten with the messages of that day.
        store.write([replace(mark, received_ns=mark.start_ns) for mark in _marks(range(1, 8), now_ns - 31 * day_ns)])
        store.write([replace(mark, received_ns=now_ns) for mark in _marks(range(11, 18), now_ns)])
        project_all(migrated_url, store)
        delivered(api, 7)
        told = {body["execution"]["execution_id"] for body in hook.bodies()}
        assert told == {trace_id(number).hex() for number in range(11, 18)}
        assert len(hook.bodies()) == 7


def test_changes_that_are_not_kept_any_more_are_passed_over(migrated_url: str, store: Store) -> None:
    with receiver() as hook:
        with api_over(migrated_url, None, alert_private_hosts="127.0.0.1") as api:
            make(api, hook, kind="failure")
        store.write(run(1, error="while nothing looked"))
        connection = StoreConnection(migrated_url, "test")
        with contextlib.closing(connection):
            assert ChangePruner(connection, 0).prune(0) == 1
        with watching(migrated_url) as api:
            positions = (
                "SELECT (SELECT position FROM spantree.alert_state), (SELECT position FROM spantree.change_counter)"
            )
            wait_until(lambda: len(set(query(migrated_url, positions)[0])) == 1, 20, "no more is looked for")
            store.write(run(2, error="boom"))
            delivered(api, 1)
        assert [body["execution"]["execution_id"] for body in hook.bodies()] == [trace_id(2).hex()]


def _marks(numbers: range, start_ns: int) -> list[Span]:
    return [replace(live_mark(100, of=1, start_ns=start_ns), trace_id=trace_id(number)) for number in numbers]


def test_the_rules_of_every_tenant_look_at_its_own_executions(migrated_url: str, store: Store) -> None:
    other = Store(migrated_url, tenant_id=7)
    with receiver() as hook, watching(migrated_url) as api:
        make(api, hook, kind="failure")
        query(
            migrated_url,
            """
            INSERT INTO spantree.alert_rule
            SELECT 7, gen_random_uuid(), 'of seven', enabled,
                definition || jsonb_build_object('webhook_url', definition ->> 'webhook_url' || '/seven'), secret,
                source, NULL, 0, active_since
            FROM spantree.alert_rule
            """,
        )
        store.write(run(1, error="boom"))
        other.write(run(2, error="boom"))
        other.close()
        wait_until(lambda: hook.bodies() and hook.bodies("/hook/seven"), 20, "both were told")
        assert [body["execution"]["tenant"] for body in hook.bodies()] == ["0"]
        assert [body["execution"]["execution_id"] for body in hook.bodies("/hook/seven")] == [trace_id(2).hex()]


def test_nothing_of_a_tenant_that_was_dropped_goes_anywhere(migrated_url: str, store: Store) -> None:
    with TokenBook(migrated_url) as book:
        tenant_id, token = book.add_tenant("blue"), book.create_token("blue", "admin")
        others_id, others_token = book.add_tenant("red"), book.create_token("red", "admin")
    blue, red = Store(migrated_url, tenant_id=tenant_id), Store(migrated_url, tenant_id=others_id)
    states = f"SELECT state FROM spantree.alert_delivery WHERE tenant_id = {tenant_id}"
    with receiver(failing=10**6) as hook, watching(migrated_url, token_interval_s=0.05) as api:
        api.headers["authorization"] = f"Bearer {token}"
        make(api, hook, kind="failure")
        blue.write(run(1, error="boom"))
        later = (
            "UPDATE spantree.alert_delivery SET due_at = now() + interval '1 hour' "
            f"WHERE tenant_id = {tenant_id} AND error IS NOT NULL RETURNING id"
        )
        wait_until(lambda: query(migrated_url, later), 20, "the message was tried, and waits for its receiver")
        with TokenBook(migrated_url) as book:
            book.drop_tenant("blue")
        wait_until(lambda: query(migrated_url, states) == [("dropped",)], 20, "the message is given up")
        hook.failing = 0
        blue.write(run(2, error="boom"))
        blue.close()
        api.headers["authorization"] = f"Bearer {others_token}"
        make(api, hook, "/red", kind="failure")
        red.write(run(3, error="boom"))
        red.close()
        wait_until(lambda: hook.taken, 20, "another tenant's message is taken")
        assert [path for path, _ in hook.taken] == ["/hook/red"]
        assert query(migrated_url, states) == [("dropped",)]


def test_old_messages_go_however_many_there_are(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "_DROPPED", 10)
    query(
        migrated_url,
        """
        INSERT INTO spantree.alert_delivery
            (tenant_id, id, rule_id, rule_name, kind, subject, body, state, due_at, created_at)
        SELECT 0, gen_random_uuid(), gen_random_uuid(), 'a', 'failure', 's', '{}', 'delivered', now(),
            now() - make_interval(days => age)
        FROM unnest(ARRAY[29, 31]) AS age, generate_series(1, 25)
        """,
    )
    with receiver() as hook, watching(migrated_url) as api:
        make(api, hook, kind="failure")
        count = "SELECT count(*), max(now() - created_at) < interval '30 days' FROM spantree.alert_delivery"
        wait_until(lambda: query(migrated_url, count) == [(25, True)], 20, "the old ones are gone, and no others")


def test_a_receiver_that_never_answers_holds_up_no_other_rule_and_its_messages_are_bounded(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reads, "MOST_WAITING", 30)
    with socket.create_server(("127.0.0.1", 0)) as silent, receiver() as hook, watching(migrated_url) as api:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        for number in range(6):
            body = {"name": f"silent {number}", "kind": "failure", "webhook_url": url, "secret": SECRET}
            ok(api.post("/api/v1/alerts/rules", json=body))
        for number in range(1, 61):
            store.write(run(number, error="boom"))
        waiting = "SELECT count(*) FROM spantree.alert_delivery WHERE state = 'pending'"
        wait_until(lambda: query(migrated_url, waiting)[0][0] >= 180, 20, "messages wait")
        make(api, hook, kind="failure", name="zzz")
        store.write(run(100, error="boom"))
        # Not after the hundreds of attempts of ten seconds each, sixteen at a time, that wait.
        wait_until(hook.bodies, 60, "the other rule was told")
        assert [body["execution"]["execution_id"] for body in hook.bodies()] == [trace_id(100).hex()]
        assert query(migrated_url, waiting)[0][0] <= 6 * 60
    assert "messages of the alert rule" in caplog.text


@pytest.mark.parametrize("rest", ["", "/", "/T0/secret", "?key=secret", "#secret", "/a#secret", "/a?b=c#secret"])
@pytest.mark.parametrize("user", ["", "user:secret@"])  # such a URL was taken once
def test_answers_tell_of_a_receiver_no_more_than_where_it_is(rest: str, user: str) -> None:
    assert alert_routes._without_path(f"https://{user}hooks.example:8443{rest}") == "https://hooks.example:8443/..."


def give_to_seven(url: str, webhook_url: str | None = None) -> None:
    """Give tenant 7 the rules that tenant 0 has, with another receiver where one is given."""
    query(
        url,
        """
        INSERT INTO spantree.alert_rule
        SELECT
            7, gen_random_uuid(), 'of seven', enabled,
            definition || jsonb_strip_nulls(jsonb_build_object('webhook_url', %(webhook_url)s::text)), secret, source,
            NULL, 0, active_since
        FROM spantree.alert_rule
        WHERE tenant_id = 0
        """,
        webhook_url=webhook_url,
    )


def test_a_rule_of_a_later_version_holds_up_no_other_tenant(migrated_url: str, store: Store) -> None:
    other = Store(migrated_url, tenant_id=7)
    with contextlib.closing(other), receiver() as hook, watching(migrated_url) as api:
        make(api, hook, kind="failure")
        give_to_seven(migrated_url)
        later = """UPDATE spantree.alert_rule SET definition = definition || '{"kind": "later"}' WHERE tenant_id = 0"""
        query(migrated_url, later)
        other.write(run(2, error="boom"))
        wait_until(hook.bodies, 20, "the other tenant was told")


def test_names_that_are_never_resolved_hold_up_no_other_tenant(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ends = threading.Event()
    resolve = socket.getaddrinfo

    def never_resolved(host: str, *arguments: Any, **named: Any) -> Any:
        if host.endswith(".example"):
            asked.append(host)
            ends.wait(60)
            raise socket.gaierror("no server of names answered")
        return resolve(host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", never_resolved)
    other = Store(migrated_url, tenant_id=7)
    with contextlib.closing(other), receiver() as hook, watching(migrated_url) as api:
        make(api, hook, kind="failure")
        for number in range(20):
            give_to_seven(migrated_url, f"http://{number}.example/")
        other.write(run(1, error="boom"))
        try:
            wait_until(lambda: len(asked) >= 8, 20, "all that resolve names for seven wait")
            store.write(run(2, error="boom"))
            wait_until(hook.bodies, 9, "the other tenant was told")
        finally:
            ends.set()


def test_a_process_that_died_over_a_message_is_followed_by_another(migrated_url: str, store: Store) -> None:
    with receiver() as hook:
        with api_over(migrated_url, None, alert_private_hosts="127.0.0.1") as api:
            make(api, hook, kind="failure")
            gone = make(api, hook, kind="failure", name="gone")
            store.write(run(1, error="boom"))
        with watching(migrated_url) as api:
            delivered(api, 2)
        # As one leaves it that claimed it and died, of a rule that is still there and of one that is not.
        query(
            migrated_url,
            "UPDATE spantree.alert_delivery SET state = 'pending', due_at = now() + interval '1 second', attempts = 1",
        )
        query(migrated_url, "DELETE FROM spantree.alert_rule WHERE id = %(id)s", id=gone["id"])
        with watching(migrated_url) as api:
            history = delivered(api, 1)
        assert sorted((one["rule"]["name"], one["state"], one["attempts"]) for one in history) == [
            ("failure", "delivered", 2),
            ("gone", "dropped", 2),
        ]
        # At least once, and told apart by its key.
        assert max(hook.attempts.values()) == 2


def test_a_message_that_a_clock_which_was_ahead_has_put_off_is_sent(migrated_url: str, store: Store) -> None:
    with receiver() as hook:
        with api_over(migrated_url, None, alert_private_hosts="127.0.0.1") as api:
            make(api, hook, kind="failure")
            store.write(run(1, error="boom"))
        with watching(migrated_url) as api:
            delivered(api, 1)
        query(migrated_url, "UPDATE spantree.alert_delivery SET state = 'pending', due_at = now() + interval '3 days'")
        with watching(migrated_url) as api:
            assert [one["attempts"] for one in delivered(api, 1)] == [2]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "failure_rate"}, "a rule of kind failure_rate needs threshold"),
        ({"kind": "failure", "limit": 3}, "a rule of kind failure has no limit"),
        ({"kind": "nothing"}, "wanted 'failure'"),
        ({"kind": "failure", "webhook_url": "ftp://x/"}, "wanted a URL that begins with https:// or http://"),
        (
            {"kind": "failure", "webhook_url": "http://127.0.0.1/x"},
            "127.0.0.1 is inside of some network and not on the Internet",
        ),
        (
            {"kind": "failure", "webhook_url": "http://[::ffff:169.254.169.254]/"},
            "169.254.169.254 is inside of some network",
        ),
        ({"kind": "failure", "secret": "short"}, "at least 8"),
    ],
)
def test_a_rule_that_is_none_is_refused(shared_api: httpx.Client, body: dict[str, Any], said: str) -> None:
    rule = {"name": "x", "webhook_url": "https://hooks.example.com/x", **body}
    status, code, message = refused(shared_api.post("/api/v1/alerts/rules", json=rule))
    assert (status, code) == (422, "invalid_parameter")
    assert said in message


@pytest.fixture(scope="module")
def shared_api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    from tests.postgres import new_database

    with new_database(postgres_url, template=_migrated_template) as url, api_over(url) as client:
        yield client


def test_the_rules_of_a_file_are_those_that_there_are(migrated_url: str, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "alerts.toml"
    with receiver() as hook:
        rule = f'[[rule]]\nname = "%s"\nkind = "failure"\nsecret = "{SECRET}"\nwebhook_url = "{hook.url}"\n'
        file.write_text(rule % "one" + rule % "two" + 'filter.workflow = "none"\n')
        with watching(migrated_url, alerts_file=file) as api:
            wait_until(lambda: len(ok(api.get("/api/v1/alerts/rules"))["rules"]) == 2, 20, "the rules were taken")
            store.write(run(1, error="boom"))
            delivered(api, 1)
            one = ok(api.get("/api/v1/alerts/rules"))["rules"][0]
            assert (one["name"], one["source"]) == ("one", "file")
            assert refused(api.delete(f"/api/v1/alerts/rules/{one['id']}"))[0] == 422
            ok(api.patch(f"/api/v1/alerts/rules/{one['id']}", json={"enabled": False}))
            two = ok(api.get("/api/v1/alerts/rules"))["rules"][1]
            silenced = {"silenced_until": "2100-01-01T00:00:00Z"}
            two = ok(api.patch(f"/api/v1/alerts/rules/{two['id']}", json=silenced))
        again = rule % "three" + (rule + "enabled = true\n") % "one" + (rule + 'filter.workflow = "none"\n') % "two"
        file.write_text(again)
        with watching(migrated_url, alerts_file=file) as api:
            wait_until(lambda: len(ok(api.get("/api/v1/alerts/rules"))["rules"]) == 3, 20, "the rules were taken")
            # What the file says holds, what it does not say stays.
            [first, _, third] = ok(api.get("/api/v1/alerts/rules"))["rules"]
            assert (first["enabled"], third["silenced_until"]) == (True, two["silenced_until"])
        file.write_text(rule % "two")
        with watching(migrated_url, alerts_file=file) as api:
            wait_until(lambda: len(ok(api.get("/api/v1/alerts/rules"))["rules"]) == 1, 20, "one is gone")
        assert len(hook.bodies()) == 1
    file.write_text('[[rule]]\nname = "x"\nkind = "cost"\nwebhook_url = "http://10.0.0.1/"\n[rules]\n')
    with pytest.raises(ConfigError) as refusal, api_over(migrated_url, alerts_file=file):
        pass
    assert [fault.partition(": ")[2] for fault in refusal.value.faults if "rule 1" in fault] == [
        "it: a rule of kind cost needs limit"
    ]
    assert ApiConfig(alert_private_hosts="A, b,").private_hosts == {"a", "b"}
