"""kill -9 of `spantree retention` while spans of all days are written and projected: what is to stay stays.

    python -m tests.chaos.retention_kills --rounds 20 [--seed N]

Runs begin on any of the last days, some of them seconds before midnight; their parts and log records come later, some
of them twice. Each round a day more is due; retention, which keeps failures and the runs of one workflow, is killed
some times at any moment, then comes to its end. A writer, the collector or PostgreSQL is killed beside it now and then.
Held against what was acknowledged, once all is quiet:

    spans and log records of runs that a rule names are all stored
    so is everything of days that are not due, and what came for a day after retention had come to its end with it
    no span is stored twice on one day (one that is sent again while its day is worked on is stored under 1970-01-01
    besides), and each stored run has one execution
    figures of days that are not due are those of the rows; those of the others count no run twice
    no table of retention's own is left behind

A line of JSON at the end says what was counted; the exit status is 1 where something was lost or counted twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from tests.chaos.cutting_proxy import cutting_proxy
from tests.chaos.processes import collector_process
from tests.chaos.random_faults import World, cut_all_connections, kill_a_writer, kill_postgresql, kill_the_collector
from tests.chaos.retained_load import DAY_NS, RetainedLoad
from tests.collectors import wait_until_drained
from tests.rollup_checks import wrong_figures
from tests.spantree_process import environment
from tests.tables import query
from tests.waiting import wait_until

from spantree_deploy.postgres.embedded import EmbeddedPostgres
from spantree_exporter.postgres.migrate import migrate

_TRACES_BETWEEN: Final = 25
_MOST_KILLS: Final = 4
_TIMEOUT_S: Final = 120.0
_FIGURES_S: Final = 30.0
# One that was being projected when its projector was killed, repeatedly, is tried later and later.
_PROJECTED_S: Final = 300.0
_ENVIRONMENT: Final = {
    "SPANTREE_WRITER_STALL_S": "2",
    "SPANTREE_DRAIN_S": "1",
    "SPANTREE_PARTITION_DAYS_BACK": "400",
}
_KEEP: Final = ("--keep", "failed:400", "--keep", "partial:400", "--keep", "workflow=billing-*:400")
_FAULTS: Final[tuple[Callable[[World], None] | None, ...]] = (
    None,
    None,
    kill_a_writer,
    kill_the_collector,
    kill_postgresql,
    cut_all_connections,
)


class Retention:
    """The command, killed at any moment of the time that it took when it last came to its end."""

    def __init__(self, url: str, folder: Path, chance: random.Random) -> None:
        self.kills = 0
        self.ended_in_vain = 0
        self._url = url
        self._folder = folder
        self._chance = chance
        self._took_s = 2.0

    def killed(self, days: int) -> None:
        """Run it and kill it, unless it has come to its end before."""
        process = self._begun(days)
        try:
            process.communicate(timeout=self._chance.uniform(0.3, 1.1) * self._took_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            self.kills += 1

    def ended(self, days: int) -> None:
        """Run it until it comes to its end. The session of one that was killed goes on until its statement ends."""
        wait_until(lambda: self._is_ended(days), _TIMEOUT_S, f"retention of {days} days came to its end")

    def _is_ended(self, days: int) -> bool:
        began_s = time.monotonic()
        process = self._begun(days)
        said, _ = process.communicate(timeout=_TIMEOUT_S)
        self._took_s = time.monotonic() - began_s
        is_ended = process.returncode == 0 and b"thinned" in said
        self.ended_in_vain += not is_ended
        return is_ended

    def _begun(self, days: int) -> subprocess.Popen[bytes]:
        words = ("retention", "--days", str(days), *_KEEP, "--database-url", self._url)
        archive = ("--archive", str(self._folder / "archive"))
        return subprocess.Popen(
            [sys.executable, "-m", "spantree_deploy", *words, *archive],
            cwd=self._folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def run(folder: Path, rounds: int, seed: int, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """So many rounds; what was counted. Raises AssertionError where something is lost, or there twice."""
    chance = random.Random(seed)
    ages = rounds + 4
    with EmbeddedPostgres(folder / "server") as server:
        migrate(server.url)
        with (
            cutting_proxy(server.url, []) as proxy,
            collector_process(folder / "data", proxy.url, _ENVIRONMENT) as collector,
        ):
            retention = Retention(server.url, folder, chance)
            ended_at_s: dict[int, float] = {}
            with RetainedLoad(collector.addresses, seed, ages) as load:
                today = time.time_ns() // DAY_NS
                world = World(collector, server, proxy, chance)
                for number in range(1, rounds + 1):
                    wanted = load.traces + _TRACES_BETWEEN
                    wait_until(
                        lambda: load.traces >= wanted,  # noqa: B023
                        _TIMEOUT_S,
                        f"runs were begun before round {number} of seed {seed}",
                    )
                    days = ages - number - 1
                    fault = chance.choice(_FAULTS)
                    say(f"{number:4} {days} days are kept; beside it: {fault.__name__ if fault else 'nothing'}")
                    for kill in range(chance.randrange(1, _MOST_KILLS + 1)):
                        retention.killed(days)
                        if fault and kill == 0:
                            fault(world)
                    retention.ended(days)
                    due = range(today - ages - 2, today - days)
                    ended_at_s |= {day: time.monotonic() for day in due if day not in ended_at_s}
            wait_until_drained(collector.addresses, _TIMEOUT_S)
            wait_until(
                lambda: not query(server.url, "SELECT 1 FROM spantree.pending_projection LIMIT 1"),
                _PROJECTED_S,
                "all traces were projected",
            )
        found = verified(load, server.url, ended_at_s)
        found |= {"kills": retention.kills, "again": retention.ended_in_vain, "refused": load.refused}
    wrong = {name: some for name, some in found.items() if isinstance(some, list) and some}
    assert not wrong, f"seed {seed}: {wrong}"
    return {"seed": seed, "rounds": rounds} | found


def verified(load: RetainedLoad, url: str, ended_at_s: dict[int, float]) -> dict[str, Any]:
    """What there is, held against what was acknowledged: lists of what is wrong, counts of the rest."""
    spans = _stored(url, "SELECT trace_id, span_id FROM spantree.span")
    logs = _stored(url, "SELECT trace_id, right(body #>> '{}', 1)::bigint FROM spantree.log_record")
    lost_spans: list[str] = []
    lost_logs: list[str] = []
    for trace, sent in load.sent.items():
        for days, at_s, stored, lost in (
            (sent.span_days, sent.spans_at_s, spans, lost_spans),
            (sent.log_days, sent.logs_at_s, logs, lost_logs),
        ):
            for number, acknowledged_s in at_s.items():
                day = days[number]
                stays = sent.is_kept or day not in ended_at_s or acknowledged_s > ended_at_s[day]
                if stays and (trace, number) not in stored:
                    lost.append(f"{number} of {sent.kind} {trace} of {_date(day)}")
    executions = Counter(trace.int for (trace,) in query(url, "SELECT trace_id FROM spantree.execution"))
    of_spans = {trace for trace, _ in spans}
    young = [_date(day) for day in {sent.day for sent in load.sent.values()} if day not in ended_at_s]
    # Figures lag behind the rows by a moment; what was lost would never come.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not wrong_figures(url, young), _FIGURES_S, "the figures are those of the rows")
    begun = Counter((sent.kind, sent.day) for sent in load.sent.values())
    counted = {
        (name.removesuffix("-run"), (day - date(1970, 1, 1)).days): total
        for name, day, total in query(
            url,
            "SELECT name, (started_at AT TIME ZONE 'UTC')::date, sum(total)::bigint FROM spantree.rollup"
            " WHERE subject = 'workflow' AND grain_h = 1 GROUP BY 1, 2",
        )
    }
    return {
        "lost_spans": lost_spans,
        "lost_logs": lost_logs,
        "twice_on_a_day": [*_twice(url, "span", "span_id, fingerprint"), *_twice(url, "log_record", "fingerprint")],
        "executions_twice": [trace for trace, count in executions.items() if count > 1],
        "without_execution": [
            f"{load.sent[trace].kind} {trace} of {_date(load.sent[trace].day)}: {_rows_of(url, trace)}"
            for trace in sorted(of_spans - executions.keys())
            # What a run over midnight has on the later of its days stays a day longer than the run.
            if load.sent[trace].is_kept or load.sent[trace].day not in ended_at_s
        ],
        "wrong_figures": list(map(str, wrong_figures(url, young))),
        "counted_twice": [
            f"{count} {kind} runs of {_date(day)}, {begun[kind, day]} were begun"
            for (kind, day), count in sorted(counted.items())
            if count > begun[kind, day]
        ],
        "left_behind": [name for (name,) in query(url, "SELECT relname FROM pg_class WHERE relname LIKE 'retired%'")],
        "runs": len(load.sent),
        "spans": len(spans),
        "logs": len(logs),
        "executions": len(executions),
        "beside_their_day": query(
            url,
            "SELECT count(*) FROM spantree.span JOIN spantree.span AS again"
            " USING (tenant_id, trace_id, span_id, fingerprint)"
            " WHERE again.day = DATE '1970-01-01' AND span.day <> again.day",
        )[0][0],
        "days_thinned": query(url, "SELECT count(*) FROM spantree.retention_day WHERE state = 'thinned'")[0][0],
        "uncounted": sum(begun.values()) - sum(counted.values()),
    }


def _stored(url: str, text: str) -> set[tuple[int, int]]:
    return {(trace.int, number) for trace, number in query(url, text)}


def _twice(url: str, table: str, key: str) -> list[str]:
    rows = query(
        url, f"SELECT trace_id, day, count(*) FROM spantree.{table} GROUP BY trace_id, day, {key} HAVING count(*) > 1"
    )
    return [f"{count} rows of a {table} of {trace.int} on {day}" for trace, day, count in rows]


def _rows_of(url: str, trace: int) -> str:
    """Where its rows are, to tell what went wrong."""
    of_trace = UUID(int=trace)
    rows = query(
        url,
        "SELECT 'span', day, count(*) FROM spantree.span WHERE trace_id = %(of_trace)s GROUP BY 2"
        " UNION ALL SELECT 'execution', day, span_count FROM spantree.execution WHERE trace_id = %(of_trace)s"
        " UNION ALL SELECT 'trace', unnest(days), 0 FROM spantree.trace WHERE trace_id = %(of_trace)s",
        of_trace=of_trace,
    )
    return ", ".join(f"{table} {day} {count}" for table, day, count in rows)


def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"{arguments.rounds} rounds, --seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="spantree-retention-") as folder:
        try:
            found = run(Path(folder), arguments.rounds, seed, lambda line: print(line, flush=True))
        except AssertionError as error:
            sys.exit(f"FAILED: {error}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
