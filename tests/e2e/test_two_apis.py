"""Two API processes on one database, one of which is killed and started again: streams and alerts miss nothing."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from tests.spantree_process import environment
from tests.sse import following
from tests.tables import query
from tests.two_apis import Latest, Run, api_process, faults_of_alerts, faults_of_stream, projecting
from tests.waiting import free_port, wait_until
from tests.webhook_receiver import SECRET, receiver

RUNS = [Run(number, error="boom" if number % 7 == 0 else None) for number in range(40)]


@pytest.mark.timeout(300)
def test_every_change_is_streamed_and_every_alert_delivered_over_a_killed_process(
    migrated_url: str, tmp_path: Path
) -> None:
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}/api/v1" for port in ports]
    with contextlib.ExitStack() as stack:
        hook = stack.enter_context(receiver(failing=1))
        one = stack.enter_context(api_process(migrated_url, tmp_path, ports[0]))
        stack.enter_context(api_process(migrated_url, tmp_path, ports[1]))
        rule = {"name": "orders", "kind": "failure", "webhook_url": hook.url, "secret": SECRET}
        assert httpx.post(f"{urls[1]}/alerts/rules", json=rule, trust_env=False, timeout=60).status_code == 200
        listing = stack.enter_context(list_following(urls[1].removesuffix("/api/v1"), tmp_path))
        turns = iter(range(1_000_000))
        told = [
            Latest(stack.enter_context(follower))
            for follower in (
                following(f"{urls[0]}/stream"),
                following(f"{urls[1]}/stream", workflow="orders", events="execution"),
                # Another process at each attempt.
                following(lambda: f"{urls[next(turns) % 2]}/stream"),
            )
        ]
        store = stack.enter_context(projecting(migrated_url))
        for number, run in enumerate(RUNS):
            store.write(run.begun())
            if number == len(RUNS) // 3:
                one.signal(signal.SIGKILL)
                one.status()
            if number == len(RUNS) // 2:
                one = stack.enter_context(api_process(migrated_url, tmp_path, ports[0]))
            store.write(run.ended())
            time.sleep(0.02)  # as they come, over some seconds
        count = "SELECT count(*) FROM spantree.execution WHERE status IN ('completed', 'failed')"
        wait_until(lambda: query(migrated_url, count) == [(len(RUNS),)], 90, "all were projected")
        for latest in told:
            wait_until(partial(latest.has_ended, RUNS), 90, "every execution was told to have ended")
        failed = {run.execution_id for run in RUNS if run.error is not None}
        wait_until(lambda: len(hook.bodies()) == len(failed), 90, "every alert was taken")
        assert faults_of_alerts(hook, {"orders": failed}) == []
        nodes = {(run.execution_id, f"{number:016x}") for run in RUNS for number in (1, 2)}
        for at, latest in enumerate(told):
            if at != 1:
                wait_until(partial(latest.has_nodes, nodes), 90, "every node was told")
            assert faults_of_stream(latest, RUNS) == []
        wait_until(lambda: set(listing) == {run.execution_id for run in RUNS}, 90, "`spantree list --follow` told all")
        assert len(told[2].follower.positions) > 1 and len(told[0].follower.positions) > 1


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
