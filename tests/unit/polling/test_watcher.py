"""`JobWatcher`: looks, retries, callbacks, restarts, and the spans of a job."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spantree_exporter.assemble import assemble
from spantree_exporter.facts import read_facts
from spantree_exporter.live import LiveSpanProcessor
from spantree_exporter.otlp.decode import PROTOBUF, decode_request
from spantree_exporter.polling import (
    Change,
    Job,
    JobWatcher,
    PollingStoreError,
    Rules,
    Seen,
    SimulatedJobs,
    health_of_file,
)
from spantree_exporter.rows import Assembled, SpanFacts

QUICK = Rules(interval_s=0.001, max_interval_s=0.001, retry_delay_s=0.001, max_retry_delay_s=0.001)
Sent = Callable[[], Assembled]


@pytest.fixture
def ended() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, ended: InMemorySpanExporter) -> Iterator[Sent]:
    """What spantree makes of all spans and live marks of the test, as an execution."""
    marks = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    live = LiveSpanProcessor(marks, delay_s=3600)
    provider.add_span_processor(SimpleSpanProcessor(ended))
    provider.add_span_processor(live)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)

    def assembled() -> Assembled:
        assert live.force_flush()
        spans = [*ended.get_finished_spans(), *marks.get_finished_spans()]
        decoded = decode_request(encode_spans(spans).SerializeToString(), PROTOBUF, 1).spans
        [trace_id] = {span.trace_id.hex() for span in decoded}
        return assemble([_facts(span) for span in decoded], trace_id)

    yield assembled
    provider.shutdown()


def _facts(span: Any) -> SpanFacts:
    links = [(link.trace_id, link.span_id) for link in span.links]
    return SpanFacts(
        span.span_id, span.parent_span_id, span.fingerprint, span.name, span.kind, span.status_code,
        span.status_message, span.start_ns, span.end_ns, span.received_ns, "jobs", links, read_facts(span),
    )  # fmt: skip


def statuses(assembled: Assembled) -> list[tuple[str, int, str]]:
    return [(node.name, node.attempt, node.status) for node in assembled.nodes]


def run(coroutine: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await coroutine

    return asyncio.run(bounded())


def test_a_job_is_looked_at_until_it_is_over_and_told_as_an_execution(tmp_path: Path, sent: Sent) -> None:
    script: Any = [
        "PENDING",
        ConnectionError("no route"),
        "RUNNING",
        "PENDING",
        Seen("SUCCESS", result=[{"a": 1}], result_format="csv"),
    ]
    jobs, changes = SimulatedJobs({"q-7": script}), []

    async def watch() -> tuple[Job, Any]:
        def on_change(change: Change) -> None:
            changes.append((change.before, change.job.state))
            raise RuntimeError("logged")

        async with JobWatcher(jobs.poll, tmp_path / "jobs.db", rules=QUICK, on_change=on_change) as watcher:
            watcher.watch("q-7", name="nightly", detail={"query": "select 1"})
            assert watcher.watch("q-7", name="another").name == "nightly"
            job = await watcher.wait("q-7")
            return job, watcher.result("q-7")

    job, result = run(watch())
    assert (job.state, job.polls, job.last_error_class, job.error_count) == ("SUCCESS", 5, "NETWORK", 0)
    assert (job.rejected_count, job.last_rejected) == (1, "RUNNING -> PENDING")
    assert (result.content, result.rows, result.format) == ("a\n1\n", 1, "csv")
    assert changes == [("PENDING", "RUNNING"), ("RUNNING", "SUCCESS")]
    told = sent()
    assert statuses(told) == [
        ("nightly", 1, "completed"),
        ("attempt", 1, "completed"),
        ("queued", 1, "completed"),
        ("running", 1, "completed"),
    ]
    assert (told.execution.workflow_name, told.execution.run_id, told.execution.input) == (
        "nightly",
        "q-7",
        '{"query": "select 1"}',
    )
    assert told.execution.status == "completed"


def test_what_failed_by_the_network_is_started_again_and_the_attempts_are_siblings(tmp_path: Path, sent: Sent) -> None:
    jobs = SimulatedJobs({"j": ["RUNNING", Seen("FAILED", error="connection reset"), "RUNNING", "SUCCESS"]})

    async def watch() -> Job:
        async with JobWatcher(jobs.poll, tmp_path / "j.db", rules=QUICK, start_again=jobs.start_again) as watcher:
            watcher.watch("j", name="load")
            return await watcher.wait("j")

    job = run(watch())
    assert (job.state, job.attempt, job.retry_count, jobs.started_again) == ("SUCCESS", 2, 1, ["j"])
    told = sent()
    assert [one for one in statuses(told) if one[0] == "attempt"] == [
        ("attempt", 1, "retried"),
        ("attempt", 2, "completed"),
    ]
    assert told.execution.status == "completed"


@pytest.mark.parametrize(
    ("script", "state", "status"),
    [
        ([Seen("FAILED", error="syntax error at line 3")], "FAILED", "failed"),
        (["RUNNING", Seen("CANCELLED", error="by ada")], "CANCELLED", "cancelled"),
        (["RUNNING", "TIMEOUT"], "TIMEOUT", "timed_out"),
        ([OSError("no route")], "FAILED", "failed"),
    ],
)
def test_each_end_is_told(script: list[Any], state: str, status: str, tmp_path: Path, sent: Sent) -> None:
    jobs = SimulatedJobs({"j": script})

    async def watch() -> Job:
        async with JobWatcher(jobs.poll, tmp_path / "j.db", rules=QUICK) as watcher:
            watcher.watch("j", name="load")
            return await watcher.wait("j")

    assert run(watch()).state == state
    assert sent().execution.status == status


def test_a_restart_goes_on_with_the_same_execution(tmp_path: Path, sent: Sent) -> None:
    jobs = SimulatedJobs({"j": ["RUNNING"]})
    path = tmp_path / "j.db"

    async def begin() -> None:
        seen = asyncio.Event()
        async with JobWatcher(jobs.poll, path, rules=QUICK, on_change=lambda _: seen.set()) as watcher:
            watcher.watch("j", name="load")
            await seen.wait()

    async def go_on() -> Job:
        async with JobWatcher(SimulatedJobs({"j": ["SUCCESS"]}).poll, path, rules=QUICK) as watcher:
            return await watcher.wait("j")

    run(begin())
    between = sent()
    assert between.execution.status == "running"
    assert statuses(between)[1:] == [("attempt", 1, "running"), ("queued", 1, "completed"), ("running", 1, "running")]
    run(go_on())
    told = sent()
    assert told.execution.status == "completed"
    assert statuses(told)[1:] == [("attempt", 1, "completed"), ("queued", 1, "completed"), ("running", 1, "completed")]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (Seen("SUCCESS", result={"rows": 2}), "completed"),
        (Seen("FAILED", error="syntax error at line 3"), "failed"),
        (Seen("CANCELLED", error="by ada"), "cancelled"),
        ("TIMEOUT", "timed_out"),
    ],
)
@pytest.mark.parametrize("is_lost", [True, False])
def test_an_end_that_a_killed_process_did_not_send_is_told_by_the_next(
    end: Seen | str, status: str, is_lost: bool, tmp_path: Path, sent: Sent, ended: InMemorySpanExporter
) -> None:
    path = tmp_path / "j.db"

    async def watch() -> None:
        jobs = SimulatedJobs({"j": ["RUNNING", end]})

        def mark_what_runs(_: Change) -> None:
            sent()

        async with JobWatcher(jobs.poll, path, rules=QUICK, on_change=mark_what_runs) as watcher:
            watcher.watch("j", name="load", detail={"table": "t"})
            await watcher.wait("j")

    async def start_again() -> None:
        async with JobWatcher(SimulatedJobs({}).poll, path, rules=QUICK):
            pass

    run(watch())
    whole = sent()
    if is_lost:
        ended.clear()
    run(start_again())
    told = sent()
    assert (told.execution.status, told.execution.output) == (status, whole.execution.output)
    assert statuses(told) == statuses(whole)


def test_ten_are_looked_at_at_once_and_one_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    at_once, most = 0, 0

    async def poll(job: Job) -> str:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await asyncio.sleep(3600 if job.key == "hangs" else 0)
        finally:
            at_once -= 1
        return "SUCCESS"

    async def watch() -> set[tuple[str, str | None]]:
        async with JobWatcher(poll, tmp_path / "j.db", rules=QUICK, poll_timeout_s=0.05) as watcher:
            keys = ["hangs", *(f"j{number}" for number in range(40))]
            for key in keys:
                watcher.watch(key, name="many")
            ended = await asyncio.gather(*(watcher.wait(key) for key in keys))
            return {(job.state, job.error_class) for job in ended}

    assert run(watch()) == {("SUCCESS", None), ("FAILED", "TIMEOUT")}
    assert most == 10


def test_a_job_that_takes_too_long_counts_as_timeout_and_others_may_tell_of_it(tmp_path: Path) -> None:
    async def watch() -> tuple[Job, Job]:
        async with JobWatcher(
            SimulatedJobs({"slow": ["RUNNING"], "told": ["RUNNING"]}).poll, tmp_path / "j.db", rules=QUICK
        ) as watcher:
            watcher.watch("slow", name="load", timeout_s=0.05)
            watcher.watch("told", name="load")
            watcher.tell("told", Seen("FAILED", error="quota exceeded"))
            return await watcher.wait("slow"), await watcher.wait("told")

    slow, told = run(watch())
    assert (slow.state, slow.error) == ("TIMEOUT", "it was RUNNING for longer than 0.05 s")
    assert (told.state, told.error_class) == ("FAILED", "RESOURCE")


def test_health_is_asked_from_anywhere_and_the_file_is_one_watchers(tmp_path: Path) -> None:
    # What a URI of SQLite's would take for something else.
    path = tmp_path / "50%41? #j.db"

    async def watch() -> None:
        async with JobWatcher(SimulatedJobs({"j": [OSError("x"), "SUCCESS"]}).poll, path, rules=QUICK) as watcher:
            watcher.watch("j", name="load")
            await watcher.wait("j")
            with pytest.raises(PollingStoreError, match="another watcher has"):
                JobWatcher(SimulatedJobs().poll, path)
            assert watcher.health().status == "ok"
            with pytest.raises(KeyError, match="no job 'x' is watched"):
                await watcher.wait("x")

    run(watch())
    told = health_of_file(path)
    assert (told.status, told.jobs, told.looks_last_hour, told.errors_last_hour) == (
        "ok",
        {"SUCCESS": 1},
        2,
        {"NETWORK": 1},
    )
    with pytest.raises(PollingStoreError, match="cannot be opened"):
        health_of_file(tmp_path / "none.db")


def test_simulated_jobs_end_by_themselves_the_same_each_time(tmp_path: Path) -> None:
    async def watch(file: str) -> list[tuple[str, int]]:
        async with JobWatcher(SimulatedJobs(seed=3, failing=0.5).poll, tmp_path / file, rules=QUICK) as watcher:
            for number in range(8):
                watcher.watch(f"j{number}", name="sim")
            ended = await asyncio.gather(*(watcher.wait(f"j{number}") for number in range(8)))
            return [(job.state, job.polls) for job in ended]

    first = run(watch("a.db"))
    assert first == run(watch("b.db"))
    assert {state for state, _ in first} == {"SUCCESS", "FAILED"}


def test_a_file_that_is_no_database_is_refused_with_nothing_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.sqlite3"
    path.write_text("these are notes " * 100)
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noting(*arguments: Any, **more: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **more))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", noting)
    for _ in range(2):
        with pytest.raises(PollingStoreError, match="cannot be opened"):
            JobWatcher(never, path)
    for one in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            one.execute("SELECT 1")
    assert path.read_text() == "these are notes " * 100


async def never(job: Job) -> str:
    raise AssertionError(f"{job.key} is looked at")
