"""What it costs that the database filters by tenant: the API's reads as the owner and as spantree_reader,
and COPY as the owner, as spantree_writer, and by way of a staging table, which policies would want.

    python -m benchmarks.roles [--times 300]

Pages by EXPLAIN (ANALYZE, BUFFERS), processor by the time of the server's process, both in turns within one run, on six
tenants' executions under 400 days of partitions. Ratios bear a machine with other work; times do not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import date
from typing import Any
from uuid import UUID

import psycopg
from benchmarks.measuring import cpu_s
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from tests.api_rows import T0_NS, S, insert, node, trace, trace_id
from tests.plans import make_days, multiply
from tests.postgres import throw_away_server

from spantree_api.statements import load_statements
from spantree_exporter.postgres.migrate import migrate
from spantree_exporter.postgres.row_security import make_roles
from spantree_exporter.tokens import TokenBook

_TENANTS = 6
_TRACES = 3_000
_DAY = date(2026, 11, 20)
_COPIED = 20_000
_SETTINGS = "-c plan_cache_mode=force_custom_plan -c jit=off -c max_parallel_workers_per_gather=0"
_LIST = """
    SELECT trace_id, name, status, started_ns FROM spantree.execution
    WHERE tenant_id = %(tenant_id)s AND day = ANY (%(days)s::date[]) AND NOT hidden {condition}
    ORDER BY started_ns DESC, trace_id DESC LIMIT 51
"""


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=300)
    times = parser.parse_args().times
    with throw_away_server() as url:
        _fill(url)
        with (
            psycopg.connect(url, autocommit=True, options=_SETTINGS) as owner,
            psycopg.connect(
                make_conninfo(url, user="spantree_reader", password="x"), autocommit=True, options=_SETTINGS
            ) as reader,
        ):
            for name, statement in _reads().items():
                _compare(name, statement, owner, reader, times)
        _copies(url, max(times // 60, 2))


def _fill(url: str) -> None:
    migrate(url)
    with TokenBook(url) as book:
        for number in range(1, _TENANTS):
            book.add_tenant(f"tenant-{number}")
    with psycopg.connect(url, autocommit=True) as owner:
        make_roles(owner)
        for role in ("spantree_writer", "spantree_reader"):
            owner.execute(SQL("ALTER ROLE {} LOGIN PASSWORD 'x'").format(Identifier(role)))
        make_days(owner, "2025-10-20", 400)
        for tenant_id in range(_TENANTS):
            steps = [node(1, "root"), *(node(number, f"step {number}", 1) for number in range(2, 9))]
            insert(url, trace(1, steps), tenant_id=tenant_id)
        multiply(owner, trace_id(1), _DAY.isoformat(), _TRACES)
        owner.execute("VACUUM ANALYZE spantree.execution_20261120, spantree.node_20261120, spantree.trace")


def _reads() -> dict[str, str]:
    named = load_statements()
    return {
        "one execution": named["execution_of_trace"],
        "its nodes": named["nodes_of_trace"],
        "the newest 50": _LIST.format(condition=""),
        "a word that is in none": _LIST.format(condition="AND search @@ plainto_tsquery('simple', 'nowhere')"),
        "the newest 50 of a name": _LIST.format(condition="AND name = 'workflow'"),
    }


def _compare(name: str, statement: str, owner: Any, reader: Any, times: int) -> None:
    parameters = {
        "tenant_id": 3, "trace_id": UUID(trace_id(1)), "days": [_DAY], "from_sequence": 0, "to_sequence": 1000,
        "max_depth": 1000, "limit": 1000, "hidden": False, "from_ns": T0_NS - 86_400 * S, "to_ns": T0_NS + S,
    }  # fmt: skip

    def once(connection: Any) -> None:
        # As the API does: one pipeline, whose transaction names the tenant.
        with connection.pipeline():
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute("SELECT set_config('spantree.tenant', '3', true)")
            connection.execute(statement, parameters)
            connection.execute("COMMIT")

    used = dict.fromkeys((owner, reader), 0.0)
    for turn in range(8):
        for connection in (owner, reader) if turn % 2 else (reader, owner):
            began_s = cpu_s(connection.info.backend_pid)
            for _ in range(times // 4):
                once(connection)
            if turn:  # the first warms up
                used[connection] += cpu_s(connection.info.backend_pid) - began_s
    pages = []
    for connection in (owner, reader):
        with connection.transaction():
            connection.execute("SELECT set_config('spantree.tenant', '3', true)")
            (plan,) = connection.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT json) " + statement, parameters).fetchone()
            root = (plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]
            pages.append(root["Shared Hit Blocks"] + root["Shared Read Blocks"])
    print(
        f"{name:26} pages {pages[0]:5} as owner {pages[1]:5} as spantree_reader; "
        f"processor {used[reader] / max(used[owner], 1e-9):.0%} of the owner's",
        flush=True,
    )


def _copies(url: str, rounds: int) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        columns = [
            name
            for (name,) in owner.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'spantree.node'::regclass AND attnum > 0"
                " AND NOT attisdropped ORDER BY attnum"
            )
        ]
        names = SQL(", ").join(map(Identifier, columns))
        with owner.cursor().copy(
            SQL("COPY (SELECT {} FROM spantree.node LIMIT {}) TO STDOUT").format(names, SQL(str(_COPIED)))
        ) as copy:
            rows = b"".join(bytes(part) for part in copy)
        place = columns.index("trace_id")

        def copied(round_number: int) -> bytes:
            lines = []
            for number, line in enumerate(rows.splitlines()):
                values = line.split(b"\t")
                values[place] = str(UUID(int=round_number * _COPIED + number + 2**100)).encode()
                lines.append(b"\t".join(values))
            return b"\n".join(lines) + b"\n"

        owner.execute("CREATE ROLE plain LOGIN PASSWORD 'x'")
        owner.execute("SELECT spantree.admit_role('plain')")
        owner.execute("GRANT INSERT ON spantree.node TO plain")
        ways: list[tuple[str, str, Callable[[Any, bytes], None]]] = [
            ("owner", url, _straight(names)),
            ("spantree_writer, BYPASSRLS", make_conninfo(url, user="spantree_writer", password="x"), _straight(names)),
            ("a role with policies, staged", make_conninfo(url, user="plain", password="x"), _staged(names)),
        ]
        used = dict.fromkeys((name for name, _, _ in ways), 0.0)
        number = 0
        for turn in range(rounds + 1):
            for name, who, way in ways:
                with psycopg.connect(who, autocommit=True) as connection:
                    number += 1
                    batch = copied(number)
                    began_s = cpu_s(connection.info.backend_pid)
                    with connection.transaction():
                        way(connection, batch)
                    used[name] += cpu_s(connection.info.backend_pid) - began_s if turn else 0.0
        for name, seconds in used.items():
            print(f"COPY of nodes as {name:30} processor {seconds / used['owner']:.0%} of the owner's", flush=True)


def _straight(names: Any) -> Callable[[Any, bytes], None]:
    def run(connection: Any, rows: bytes) -> None:
        with connection.cursor().copy(SQL("COPY spantree.node ({}) FROM STDIN").format(names)) as copy:
            copy.write(rows)

    return run


def _staged(names: Any) -> Callable[[Any, bytes], None]:
    def run(connection: Any, rows: bytes) -> None:
        connection.execute("CREATE TEMPORARY TABLE staging (LIKE spantree.node INCLUDING DEFAULTS) ON COMMIT DROP")
        with connection.cursor().copy(SQL("COPY pg_temp.staging ({}) FROM STDIN").format(names)) as copy:
            copy.write(rows)
        connection.execute(
            SQL("INSERT INTO spantree.node ({0}) SELECT {0} FROM pg_temp.staging ON CONFLICT DO NOTHING").format(names)
        )

    return run


if __name__ == "__main__":
    main()
