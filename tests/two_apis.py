"""Two API processes on one database, clients of streams, a receiver of webhooks: what is sent, what has to come."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.factories import SECOND_NS, live_mark, span, trace_id
from tests.spantree_process import Server, started
from tests.sse import Follower
from tests.webhook_receiver import Receiver

from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Attributes, Span

ENDED = {"completed", "failed"}


@dataclass(frozen=True)
class Run:
    """One run as it is sent. `error` fails it."""

    number: int
    workflow: str = "orders"
    error: str | None = None
    cost_usd: float | None = None

    @property
    def execution_id(self) -> str:
        """As the API writes it."""
        return trace_id(self.number).hex()

    @property
    def status(self) -> str:
        """What becomes of it."""
        return "completed" if self.error is None else "failed"

    def begun(self) -> list[Span]:
        """What is sent when it begins."""
        return [live_mark(1_000_000 + self.number, of=1, trace=self.number, start_ns=time.time_ns())]

    def ended(self) -> list[Span]:
        """What is sent when it has ended."""
        now_ns = time.time_ns()
        named: Attributes = {"spantree.execution.name": self.workflow}
        step: Attributes = {"spantree.node.name": "charge"}
        if self.cost_usd is not None:
            step = {**step, "gen_ai.usage.cost": self.cost_usd}
        return [
            span(2, trace=self.number, parent=1, name="charge", start_ns=now_ns - SECOND_NS // 2,
                 duration_ns=SECOND_NS // 4, attributes=step, received_ns=now_ns),
            span(1, trace=self.number, name=self.workflow, start_ns=now_ns - SECOND_NS, attributes=named,
                 error=self.error, received_ns=now_ns),
        ]  # fmt: skip


def api_process(database_url: str, directory: Path, port: int) -> contextlib.AbstractContextManager[Server]:
    """`spantree api`, which may send webhooks to this machine."""
    return started(
        "api",
        "--database-url", database_url,
        "--api-port", str(port),
        directory=directory,
        env={"SPANTREE_API_ALERT_PRIVATE_HOSTS": "127.0.0.1", "SPANTREE_API_JAEGER_PORT": "-1"},
        ready="the API answers on",
    )  # fmt: skip


@contextlib.contextmanager
def projecting(database_url: str) -> Iterator[Store]:
    """A store to write to, and a projector beside it, as a collector has them."""
    stop = threading.Event()

    def project() -> None:
        other = Store(database_url)
        while not stop.wait(0.05):
            other.project_due()
        other.close()

    thread = threading.Thread(target=project)
    thread.start()
    store = Store(database_url)
    try:
        yield store
    finally:
        stop.set()
        thread.join()
        store.close()


class Latest:
    """What a follower was told last of each execution and node; `read` goes on where it was."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.status: dict[tuple[str, str | None], str] = {}
        self._read = 0

    def read(self) -> None:
        """Take in what has come since."""
        events = self.follower.events
        while self._read < len(events):
            event = events[self._read]
            self._read += 1
            self.status[event.data["execution_id"], event.data.get("id")] = event.data["status"]

    @property
    def executions(self) -> dict[str, str]:
        """The last status of each execution."""
        return {key[0]: status for key, status in self.status.items() if key[1] is None}

    def has_nodes(self, nodes: set[tuple[str, str]]) -> bool:
        """Whether it was told of each of these nodes, each of an execution."""
        self.read()
        return nodes <= self.status.keys()

    def has_ended(self, runs: Sequence[Run]) -> bool:
        """Whether it was told of each run that it has ended."""
        self.read()
        executions = self.executions
        return all(executions.get(run.execution_id) in ENDED for run in runs)


def faults_of_stream(latest: Latest, runs: Sequence[Run]) -> list[str]:
    """What a client was told wrongly: each change comes once, in order, and the last says what became of the run."""
    latest.read()
    events = latest.follower.events
    numbers = [event.number for event in events]
    faults = []
    if numbers != sorted(set(numbers)):
        faults.append("a number was told twice, or out of order")
    states = Counter((event.kind, str(event.data)) for event in events)
    if twice := [state for state, count in states.items() if count > 1]:
        faults.append(f"{len(twice)} states were told twice: {twice[0]}")
    expected = {run.execution_id: run.status for run in runs}
    wrong = {run for run, status in latest.executions.items() if expected.get(run) != status}
    if wrong or len(latest.executions) != len(expected):
        missing = len(expected.keys() - latest.executions.keys())
        faults.append(f"{len(wrong)} executions ended otherwise than was told last, {missing} were never told")
    return faults


def faults_of_alerts(hook: Receiver, expected: Mapping[str, set[str]]) -> list[str]:
    """What was delivered wrongly. `expected`: by rule what each message is about, an execution or a group."""
    faults = list(hook.faults)
    about: dict[str, dict[str, str]] = {}
    for body in hook.bodies():
        what = body["group"]["fingerprint"] if "group" in body else body["execution"]["execution_id"]
        of_rule = about.setdefault(body["rule"]["name"], {})
        if of_rule.setdefault(body["event_id"], what) != what:
            faults.append(f"one key for two messages: {body['event_id']}")
    for rule, wanted in expected.items():
        told = about.pop(rule, {})
        counted = Counter(told.values())
        if set(counted) != wanted:
            faults.append(
                f"{rule}: {len(wanted - set(counted))} not told, {len(set(counted) - wanted)} told for nothing"
            )
        if twice := [what for what, count in counted.items() if count > 1]:
            faults.append(f"{rule}: made twice for {len(twice)}, {twice[0]} among them")
    return faults + [f"a rule that was not made told something: {rule}" for rule in about]
