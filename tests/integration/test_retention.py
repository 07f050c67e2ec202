"""Retention on real partitions: what is due goes, what is to stay stays, an archive brings the rest back, once."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from tests import factories
from tests.postgres import new_database
from tests.spantree_process import spantree
from tests.tables import project_all, query, tables

from spantree_exporter.log_record import LogRecord
from spantree_exporter.otlp.decode_logs import LOGS_PROTOBUF, decode_logs
from spantree_exporter.postgres.connection import StoreConnection
from spantree_exporter.postgres.partitions import OUTSIDE_WINDOW, PartitionWindow, date_of
from spantree_exporter.postgres.rollup_store import RollupFolder
from spantree_exporter.postgres.store import Store
from spantree_exporter.retention.day import DayRetirement
from spantree_exporter.retention.policy import Policy, keep_rules
from spantree_exporter.retention.run import RetentionReport, plan, run

DAY_NS = factories.DAY_NS
S = factories.SECOND_NS
TABLES = ("span", "execution", "node", "edge", "trace")


def noon_ns(days_ago: int) -> int:
    return (time.time_ns() // DAY_NS - days_ago) * DAY_NS + DAY_NS // 2


def today() -> date:
    """As it is now: midnight may pass while tests run."""
    return datetime.now(UTC).date()


def day(days_ago: int) -> date:
    return today() - timedelta(days=days_ago)


@pytest.fixture
def store(migrated_url: str) -> Iterator[Store]:
    store = Store(migrated_url, window=PartitionWindow(400))
    yield store
    store.close()


def fill(url: str, store: Store) -> None:
    """Runs 50, 40, 20 and 1 days ago, of each day two that completed and one that failed; one over a midnight."""
    number = 0
    for days_ago in (50, 40, 20, 1):
        for failing in (False, False, True):
            number += 1
            store.write(
                factories.workflow(number, start_ns=noon_ns(days_ago), failing=failing, name=f"flow-{days_ago}")
            )
    midnight_ns = noon_ns(40) + DAY_NS // 2
    store.write(factories.workflow(90, start_ns=midnight_ns - 2 * S, failing=True))
    store.write(factories.workflow(91, start_ns=midnight_ns - 2 * S))
    project_all(url, store)
    fold(url)


def fold(url: str) -> None:
    connection = StoreConnection(url, "test")
    while RollupFolder(connection).fold():
        pass
    connection.close()


def spans_by_day(url: str) -> dict[date, int]:
    return dict(query(url, "SELECT day, count(*) FROM spantree.span GROUP BY day"))


def figures(url: str) -> list[tuple[Any, ...]]:
    return query(
        url,
        "SELECT subject, workflow_name, name, sum(total), sum(failed) FROM spantree.rollup WHERE grain_h = 1 "
        "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    )


def states(url: str) -> dict[date, str]:
    return dict(query(url, "SELECT day, state FROM spantree.retention_day"))


def leftovers(url: str) -> list[tuple[Any, ...]]:
    return query(url, "SELECT relname FROM pg_class WHERE relname LIKE 'retired%'")


def test_days_that_are_due_are_dropped_and_all_that_hangs_on_them(migrated_url: str, store: Store) -> None:
    fill(migrated_url, store)
    query(
        migrated_url,
        f"""
        UPDATE spantree.resource SET last_seen_day = '{day(32)}';
        INSERT INTO spantree.dead_letter
            (tenant_id, digest, received_ns, last_received_ns, cause, reason, encoding, raw, count)
        SELECT 0, sha256(n::text::bytea), came_ns, came_ns, 'body', 'r', 'json', '', 1
        FROM generate_series(0, 59) AS n
        CROSS JOIN LATERAL (SELECT {noon_ns(1)} - n * {DAY_NS}) AS came (came_ns);
        INSERT INTO spantree.analysis (tenant_id, trace_id, day, created_at, answer)
        SELECT tenant_id, trace_id, day, now(), '{{}}' FROM spantree.execution;
        """,
    )
    before = figures(migrated_url)
    policy = Policy(30)
    assert [(one.day, one.executions, one.kept) for one in plan(migrated_url, policy)] == [
        (day(50), 3, 0), (day(40), 5, 0), (day(39), 0, 0)
    ]  # fmt: skip
    assert spans_by_day(migrated_url).keys() == {day(50), day(40), day(39), day(20), day(1)}
    report = run(migrated_url, policy)
    assert report == RetentionReport(dropped=[day(50), day(40), day(39)], dead_letters=30)
    assert spans_by_day(migrated_url) == {day(20): 15, day(1): 15}
    assert len(tables(migrated_url, "trace")["trace"]) == 6
    assert query(
        migrated_url,
        "SELECT count(*), count(days) FROM spantree.analysis LEFT JOIN spantree.trace USING (tenant_id, trace_id)",
    ) == [(6, 6)]
    assert set(states(migrated_url).values()) == {"dropped"}
    assert figures(migrated_url) == before
    assert leftovers(migrated_url) == []
    # What came for none of the days that are left goes, once nobody has written for it for as long.
    run(migrated_url, Policy(10))
    assert query(migrated_url, "SELECT count(*) FROM spantree.resource") == [(0,)]
    assert run(migrated_url, Policy(10)) == RetentionReport()


def test_what_is_kept_longer_stays_whole_and_goes_when_it_is_due(migrated_url: str, store: Store) -> None:
    fill(migrated_url, store)
    policy = Policy(30, keep_rules("failed:45, partial:45, workflow=flow-5*:60"))
    wanted = {
        table: [row for row in rows if stays(row["trace_id"].bytes)]
        for table, rows in tables(migrated_url, *TABLES).items()
    }
    assert [(one.day, one.age_days, one.executions, one.kept) for one in plan(migrated_url, policy)] == [
        (day(50), 45, 3, 3), (day(40), 30, 5, 2), (day(39), 30, 0, 0)
    ]  # fmt: skip
    assert run(migrated_url, policy).thinned == [day(50), day(40), day(39)]
    assert tables(migrated_url, *TABLES) == wanted
    assert leftovers(migrated_url) == []
    assert run(migrated_url, policy) == RetentionReport()
    # Six days later the failures of 40 days ago are due as well, ten more and all of the named workflow is.
    later = today() + timedelta(days=6)
    assert run(migrated_url, policy, today=later).dropped == [day(40)]
    assert run(migrated_url, policy, today=today() + timedelta(days=16)).dropped == [day(50), day(39)]
    assert spans_by_day(migrated_url).keys() == {day(1)} | ({day(20)} & spans_by_day(migrated_url).keys())


def stays(trace_id: bytes) -> bool:
    """Traces 1 to 3 are of the workflow that is kept 60 days, 6 and 90 failed 40 days ago, 7 and on are young."""
    return trace_id in {factories.trace_id(number) for number in (1, 2, 3, 6, 90, *range(7, 13))}


def test_late_spans_do_not_bring_a_dropped_day_back(migrated_url: str, store: Store) -> None:
    fill(migrated_url, store)
    before = figures(migrated_url)
    run(migrated_url, Policy(30))
    # This store still believes that the day has a partition; another never knew.
    other = Store(migrated_url, window=PartitionWindow(400))
    late = factories.workflow(5, start_ns=noon_ns(40)), factories.workflow(70, start_ns=noon_ns(50))
    assert (store.write(late[0]).outside, other.write(late[1]).outside) == (5, 5)
    project_all(migrated_url, other)
    other.close()
    assert spans_by_day(migrated_url).keys() == {day(20), day(1), date_of(0)}
    assert query(migrated_url, "SELECT DISTINCT anomalies FROM spantree.span WHERE day = '1970-01-01'") == [
        ([OUTSIDE_WINDOW],)
    ]
    fold(migrated_url)
    assert figures(migrated_url) == before, "one of the two was counted before it went"
    # They go by the time at which they came.
    assert run(migrated_url, Policy(30)).sentinel_traces == 0
    query(migrated_url, f"UPDATE spantree.span SET received_ns = {noon_ns(31)} WHERE day = '1970-01-01'")
    assert run(migrated_url, Policy(30)).sentinel_traces == 2
    assert spans_by_day(migrated_url).keys() == {day(20), day(1)}
    assert len(tables(migrated_url, "trace")["trace"]) == 6


def test_late_spans_of_a_day_that_is_thinned_are_told(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(migrated_url, store)
    archive = DayRetirement._archive
    late = {number: factories.workflow(number, start_ns=noon_ns(40)) for number in (4, 60)}

    def interrupted(self: DayRetirement) -> None:
        # The day is restocked, and nothing is forgotten yet: 4 was there and went, of 60 nobody has heard.
        archive(self)
        if self._day == day(40):
            for spans in late.values():
                assert store.write(spans).outside == 0

    monkeypatch.setattr(DayRetirement, "_archive", interrupted)
    assert run(migrated_url, Policy(30, keep_rules("failed:90,partial:90"))).thinned == [day(50), day(40), day(39)]
    project_all(migrated_url, store)
    for number, spans in late.items():
        of_trace = f"WHERE trace_id = '{UUID(bytes=factories.trace_id(number))}'"
        assert query(migrated_url, f"SELECT days FROM spantree.trace {of_trace}") == [([day(40)],)], number
        assert query(migrated_url, f"SELECT count(*) FROM spantree.span {of_trace}") == [(len(spans),)]
        assert query(migrated_url, f"SELECT status FROM spantree.execution {of_trace}") == [("completed",)]


def test_runs_that_are_sent_again_for_a_day_that_is_thinned_are_counted_once(
    migrated_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(migrated_url, store)
    before = figures(migrated_url)
    archive = DayRetirement._archive

    def interrupted(self: DayRetirement) -> None:
        # What stays is back; `store` knew the day before it was taken off, `other` sees it now.
        archive(self)
        if self._day == day(40):
            other = Store(migrated_url, window=PartitionWindow(400))
            for writer, number in ((store, 4), (other, 5)):
                assert writer.write(factories.workflow(number, start_ns=noon_ns(40), name="flow-40")).outside == 0
            project_all(migrated_url, other)
            other.close()

    monkeypatch.setattr(DayRetirement, "_archive", interrupted)
    run(migrated_url, Policy(30, keep_rules("failed:90,partial:90")))
    project_all(migrated_url, store)
    fold(migrated_url)
    assert query(migrated_url, f"SELECT count(*) FROM spantree.execution WHERE day = '{day(40)}'") == [(4,)]
    assert figures(migrated_url) == before


def test_what_is_still_to_be_projected_stays_where_rules_could_keep_it(migrated_url: str, store: Store) -> None:
    fill(migrated_url, store)
    # Of 60 nobody has an execution yet; what has come for 4, which had completed, may change what it is.
    late = factories.workflow(60, start_ns=noon_ns(40), failing=True)
    more = factories.span(77, trace=4, parent=1, start_ns=noon_ns(40) + S, name="late")
    store.write(late[1:])
    store.write([more])
    assert run(migrated_url, Policy(30, keep_rules("failed:90,partial:90"))).thinned == [day(50), day(40), day(39)]
    store.write(late[:1])
    project_all(migrated_url, store)
    for number, spans, status in ((60, len(late), "partial"), (4, 6, "completed")):
        of_trace = f"WHERE trace_id = '{UUID(bytes=factories.trace_id(number))}'"
        assert query(migrated_url, f"SELECT count(*) FROM spantree.span {of_trace}") == [(spans,)], number
        assert query(migrated_url, f"SELECT status FROM spantree.execution {of_trace}") == [(status,)]
    assert leftovers(migrated_url) == []


def records(trace: int, at_ns: int) -> list[LogRecord]:
    """Two log records of a trace's first span, one at a time and one of which nobody tells when it was."""
    built = ExportLogsServiceRequest()
    of_scope = built.resource_logs.add().scope_logs.add()
    for time_ns in (at_ns, 0):
        record = of_scope.log_records.add(
            trace_id=factories.trace_id(trace), span_id=(1).to_bytes(8, "big"), time_unix_nano=time_ns
        )
        record.body.string_value = "goes on"
    return decode_logs(built.SerializeToString(), LOGS_PROTOBUF, at_ns).records


def logs_by_trace(url: str) -> dict[int, list[date]]:
    rows = query(url, "SELECT trace_id, array_agg(day ORDER BY day) FROM spantree.log_record GROUP BY 1 ORDER BY 1")
    return {trace_id.int: days for trace_id, days in rows}


def test_log_records_of_a_day_without_spans_stay_and_go_with_their_runs(migrated_url: str, store: Store) -> None:
    of = {number: UUID(bytes=factories.trace_id(number)).int for number in (1, 2, 3)}
    store.write(factories.workflow(1, start_ns=noon_ns(40), failing=True))
    store.write(factories.workflow(2, start_ns=noon_ns(40)))
    project_all(migrated_url, store)
    # Of 3 nobody has seen a span.
    for number in of:
        store.write(records(number, noon_ns(39)))
    run(migrated_url, Policy(30, keep_rules("failed:45,partial:45")))
    sentinel = date_of(0)
    assert logs_by_trace(migrated_url) == {of[1]: [sentinel, day(39)], of[2]: [sentinel], of[3]: [sentinel]}
    days = {trace_id.int: days for trace_id, days in query(migrated_url, "SELECT trace_id, days FROM spantree.trace")}
    assert days == {of[1]: [sentinel, day(40), day(39)], of[2]: [sentinel], of[3]: [sentinel]}
    # Those without a time go by the time at which they came, once that is older than the longest rule.
    run(migrated_url, Policy(30, keep_rules("failed:45,partial:45")), today=today() + timedelta(days=7))
    assert query(migrated_url, "SELECT count(*) FROM spantree.log_record") == [(0,)]
    assert query(migrated_url, "SELECT count(*) FROM spantree.trace") == [(0,)]


def test_an_archive_brings_back_what_went_and_counts_nothing_twice(
    migrated_url: str, store: Store, tmp_path: Path
) -> None:
    fill(migrated_url, store)
    store.write([factories.span(1, trace=55, name="nul \x00", start_ns=noon_ns(50))])
    project_all(migrated_url, store)
    fold(migrated_url)
    before, counted = tables(migrated_url, *TABLES), figures(migrated_url)
    archive = tmp_path / "archive"
    run(migrated_url, Policy(30, keep_rules("failed:90,partial:90"), archive))
    names = sorted(path.name for path in archive.iterdir())
    assert names == [f"spantree-{day(days)}.jsonl.gz" for days in (50, 40, 39)]
    assert (archive / names[0]).stat().st_mode & 0o777 == 0o600
    with gzip.open(archive / names[0]) as file:
        assert b'"spantree":{"fingerprints":["' in file.readline()
    files = [str(archive / name) for name in names]
    done = spantree("import", *files, "--database-url", migrated_url, "--hold", "30", directory=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    fold(migrated_url)
    assert [without_resource(row) for row in tables(migrated_url, "span")["span"]] == [
        without_resource(row) for row in before["span"]
    ]
    for table in ("execution", "node", "edge", "trace"):
        assert tables(migrated_url, table)[table] == before[table]
    assert figures(migrated_url) == counted
    # They are left alone for as long as was said, then go again, and no archive is written over.
    assert run(migrated_url, Policy(30, (), archive)).dropped == []
    assert run(migrated_url, Policy(30, (), archive), today=today() + timedelta(days=31)).dropped[:3] == [
        day(50), day(40), day(39)
    ]  # fmt: skip
    assert (archive / names[0]).stat().st_size > 0
    assert (archive / f"spantree-{day(50)}.2.jsonl.gz").exists()


def without_resource(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "resource_id": None}


def test_writers_of_today_go_on_while_somebody_reads_a_day_that_is_due(migrated_url: str, store: Store) -> None:
    fill(migrated_url, store)
    with psycopg.connect(migrated_url) as reader:
        reader.execute("SELECT count(*) FROM spantree.span").fetchone()
        ran = threading.Thread(target=run, args=(migrated_url, Policy(30)))
        ran.start()
        deadline_s = time.monotonic() + 30
        while not query(migrated_url, "SELECT count(*) FROM spantree.retention_day")[0][0]:
            assert time.monotonic() < deadline_s
        # Retention waits for the reader; a writer and another reader wait for nobody.
        for number in range(200, 205):
            assert store.write(factories.workflow(number, start_ns=noon_ns(1))).projected_traces == 1
        assert spans_by_day(migrated_url)[day(1)] == 40
        assert ran.is_alive()
        assert run(migrated_url, Policy(30)).busy
    ran.join(60)
    assert spans_by_day(migrated_url).keys() == {day(20), day(1)}


CRASH = """
import os, sys, signal
from pathlib import Path
import psycopg
from spantree_exporter.retention import day as retired, run as runs
from spantree_exporter.retention.policy import Policy, keep_rules

at = int(sys.argv[3])
execute = psycopg.Connection.execute

def dying(self, query, *arguments, **options):
    global at
    at -= 1
    if at == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(self, query, *arguments, **options)

psycopg.Connection.execute = dying
runs.run(sys.argv[1], Policy(30, keep_rules("failed:90,partial:90"), Path(sys.argv[2])))
"""


def test_a_run_that_is_killed_anywhere_loses_nothing(
    postgres_url: str, _migrated_template: str, tmp_path: Path
) -> None:
    with new_database(postgres_url, template=_migrated_template) as url:
        store = Store(url, window=PartitionWindow(400))
        store.write(
            [*factories.workflow(1, start_ns=noon_ns(40)), *factories.workflow(2, start_ns=noon_ns(40), failing=True)]
        )
        project_all(url, store)
        before = tables(url, *TABLES)
        archive = tmp_path / "archive"
        # Killed before its first, then its second ... statement, each time a little further on.
        for at in (4, 5, 7, 9, 8, 6, 4, 12, 20, 5, 9, 4):
            killed = subprocess.run(
                [sys.executable, "-c", CRASH, url, str(archive), str(at)], timeout=60, check=False, capture_output=True
            )
            assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
        run(url, Policy(30, keep_rules("failed:90,partial:90"), archive))
        assert leftovers(url) == []
        assert states(url)[day(40)] == "thinned"
        failed = factories.trace_id(2)
        assert tables(url, *TABLES) == {
            table: [row for row in rows if row["trace_id"].bytes == failed] for table, rows in before.items()
        }
        store.close()
        files = [str(path) for path in archive.glob("*.gz")]
        done = spantree("import", *files, "--database-url", url, "--hold", "30", directory=tmp_path)
        assert done.returncode == 0, done.stderr
        after = tables(url, *TABLES)
        assert [without_resource(row) for row in after["span"]] == [without_resource(row) for row in before["span"]]
        assert {name: after[name] for name in TABLES[1:]} == {name: before[name] for name in TABLES[1:]}


def test_the_command_says_what_would_go_and_then_does_it(migrated_url: str, store: Store, tmp_path: Path) -> None:
    fill(migrated_url, store)
    words = ("retention", "--days", "30", "--keep", "failed:90", "--database-url", migrated_url)
    done = spantree(*words, "--dry-run", directory=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3 days; nothing is archived before; the figures of stats stay"
    assert str(day(50)) in done.stdout
    assert spans_by_day(migrated_url).keys() == {day(50), day(40), day(39), day(20), day(1)}
    done = spantree(*words, directory=tmp_path)
    # The failing runs of the factory are partial: their roots end well.
    assert done.stdout.startswith("3 days dropped, 0 thinned; ")
    done = spantree("retention", "--database-url", migrated_url, directory=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "spantree: nothing says how long is kept: give --days, or set SPANTREE_RETENTION_DAYS\n",
    )
