"""Two API processes on one database, one of which is killed and started again: streams and alerts miss nothing."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.factories import SECOND_NS, live_mark, span, trace_id
from tests.spantree_process import Server, environment, started
from tests.sse import following
from tests.tables import query
from tests.waiting import free_port, wait_until
from tests.webhook_receiver import SECRET, receiver

from spantree_exporter.span import Span
from spantree_exporter.store import Store

RUNS = 40
STARTED_FAILING = range(0, RUNS, 7)


def api_process(database_url: str, directory: Path, port: int) -> contextlib.AbstractContextManager[Server]:
    return started(
        "api",
        "--database-url", database_url,
        "--api-port", str(port),
        directory=directory,
        env={"SPANTREE_API_ALERT_PRIVATE_HOSTS": "127.0.0.1", "SPANTREE_API_JAEGER_PORT": "-1"},
        ready="the API answers on",
    )  # fmt: skip


def begun(number: int) -> list[Span]:
    """What is sent when a run begins."""
    now_ns = time.time_ns()
    return [live_mark(1_000 + number, of=1, trace=number, start_ns=now_ns)]


def ended(number: int) -> list[Span]:
    """What is sent when it has ended."""
    now_ns = time.time_ns()
    root = span(
        1,
        trace=number,
        name="orders",
        start_ns=now_ns - SECOND_NS,
        attributes={"spantree.execution.name": "orders"},
        error="boom" if number in STARTED_FAILING else None,
        received_ns=now_ns,
    )
    step = span(2, trace=number, parent=1, name="charge", start_ns=now_ns - SECOND_NS // 2, duration_ns=SECOND_NS // 4,
                attributes={"spantree.node.name": "charge"}, received_ns=now_ns)  # fmt: skip
    return [step, root]


@pytest.fixture
def projecting(migrated_url: str) -> Iterator[Store]:
    """A store to write to, and a projector beside it, as a collector has them."""
    stop = threading.Event()

    def project() -> None:
        other = Store(migrated_url)
        while not stop.wait(0.05):
            other.project_due()
        other.close()

    thread = threading.Thread(target=project)
    thread.start()
    store = Store(migrated_url)
    try:
        yield store
    finally:
        stop.set()
        thread.join()
        store.close()


@pytest.mark.timeout(120)
def test_every_change_is_streamed_and_every_alert_delivered_over_a_killed_process(
    migrated_url: str, tmp_path: Path, projecting: Store
) -> None:
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}/api/v1" for port in ports]
    with contextlib.ExitStack() as stack:
        hook = stack.enter_context(receiver(failing=1))
        one = stack.enter_context(api_process(migrated_url, tmp_path, ports[0]))
        stack.enter_context(api_process(migrated_url, tmp_path, ports[1]))
        rule = {"name": "orders", "kind": "failure", "webhook_url": hook.url, "secret": SECRET}
        assert httpx.post(f"{urls[1]}/alerts/rules", json=rule, trust_env=False).status_code == 200
        listing = stack.enter_context(list_following(urls[1].removesuffix("/api/v1"), tmp_path))
        turns = iter(range(1_000_000))
        followers = [
            stack.enter_context(following(f"{urls[0]}/stream")),
            stack.enter_context(following(f"{urls[1]}/stream", workflow="orders", events="execution")),
            # Another process at each attempt.
            stack.enter_context(following(lambda: f"{urls[next(turns) % 2]}/stream")),
        ]
        for number in range(RUNS):
            projecting.write(begun(number))
            if number == RUNS // 3:
                one.signal(signal.SIGKILL)
                one.status()
            if number == RUNS // 2:
                one = stack.enter_context(api_process(migrated_url, tmp_path, ports[0]))
            projecting.write(ended(number))
            time.sleep(0.02)  # as they come, over some seconds
        count = "SELECT count(*) FROM spantree.execution WHERE status IN ('completed', 'failed')"
        wait_until(lambda: query(migrated_url, count) == [(RUNS,)], 30, "all were projected")
        traces = {trace_id(number).hex(): number in STARTED_FAILING for number in range(RUNS)}
        told: list[dict[tuple[str, str | None], str]] = [{} for _ in followers]
        for follower, latest in zip(followers, told, strict=True):

            def has_all(follower: Any = follower, latest: dict[tuple[str, str | None], str] = latest) -> bool:
                for event in follower.events:
                    latest[event.data["execution_id"], event.data.get("id")] = event.data["status"]
                return len([key for key, status in latest.items() if key[1] is None and status in ENDED]) == RUNS

            wait_until(has_all, 30, "every execution was told to have ended")
        wait_until(lambda: len(hook.bodies()) == len(STARTED_FAILING), 40, "every alert was taken")
        assert not hook.faults
        assert {body["execution"]["execution_id"] for body in hook.bodies()} == {
            trace for trace, failed in traces.items() if failed
        }
        assert len(hook.bodies()) == len(STARTED_FAILING)
        nodes = {(trace, f"{number:016x}") for trace in traces for number in (1, 2)}
        for follower, latest in zip(followers, told, strict=True):
            numbers = [event.number for event in follower.events]
            assert numbers == sorted(set(numbers)), "a number was told twice, or out of order"
            of_executions = {key[0]: status for key, status in latest.items() if key[1] is None}
            assert of_executions == {trace: "failed" if failed else "completed" for trace, failed in traces.items()}
            # A state that was told is not told again.
            states = [(event.kind, str(event.data)) for event in follower.events]
            assert len(states) == len(set(states))
            if follower is not followers[1]:
                wait_until(lambda follower=follower: nodes <= seen(follower), 30, "every node was told")  # type: ignore[misc]
        wait_until(lambda: set(listing) == set(traces), 30, "`spantree list --follow` has told all")
        assert len(followers[2].positions) > 1 and len(followers[0].positions) > 1


ENDED = {"completed", "failed"}


@contextlib.contextmanager
def list_following(api_url: str, directory: Path) -> Iterator[list[str]]:
    """The lines that `spantree list --follow` prints, as they come."""
    command = [sys.executable, "-m", "spantree_deploy", "list", "--follow", "--ids", "--api-url", api_url]
    process = subprocess.Popen(
        command, cwd=directory, env=environment(PYTHONUNBUFFERED="1"), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines: list[str] = []
    thread = threading.Thread(target=lambda: lines.extend(map(str.strip, process.stdout or ())))
    thread.start()
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        thread.join()
        process.stdout.close()


def seen(follower: Any) -> set[tuple[str, str]]:
    """The nodes that were told, each of an execution."""
    return {(event.data["execution_id"], event.data["id"]) for event in follower.events if event.kind == "node"}
