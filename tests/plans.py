"""What PostgreSQL would do for a statement: the partitions that it looks at, the indexes that it uses.

For guards that hold statements to what their comments say, on a database with many days whose partitions nobody has
analysed, as the newest always are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

_PARTITION = re.compile(r"(?P<table>span|execution|node|edge)_(?P<day>\d{8})")


@dataclass(frozen=True, slots=True)
class Scan:
    """One place where a plan reads rows; `index` is None where it reads a whole table."""

    relation: str
    index: str | None

    @property
    def day(self) -> str | None:
        """The day of the partition as YYYYMMDD; None where the table has none."""
        found = _PARTITION.fullmatch(self.relation)
        return None if found is None else found["day"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan; `text` is for people."""

    scans: tuple[Scan, ...]
    text: str

    @property
    def days(self) -> set[str]:
        """The days of all partitions that are read, as YYYYMMDD."""
        return {scan.day for scan in self.scans if scan.day is not None}

    @property
    def whole(self) -> list[Scan]:
        """What is read without an index, but for tables that are made by the statement itself."""
        return [scan for scan in self.scans if scan.index is None]


def as_embedded(connection: psycopg.Connection[Any]) -> None:
    """Plan by what the embedded server is set to, whatever the server of the tests is: days of tests are small."""
    connection.execute("SET random_page_cost = 1.1")
    connection.execute("SET jit = off")


def plan_of(connection: psycopg.Connection[Any], statement: LiteralString, parameters: Mapping[str, object]) -> Plan:
    """The plan for these values, as the connection's settings have it. Runs nothing."""
    row = connection.execute(b"EXPLAIN (FORMAT json) " + statement.encode(), parameters).fetchone()
    assert row is not None
    tree = row[0] if isinstance(row[0], list) else json.loads(row[0])
    text = "\n".join(line for (line,) in connection.execute(b"EXPLAIN " + statement.encode(), parameters).fetchall())
    return Plan(tuple(_scans(tree[0]["Plan"], None)), text)


def rows_read(connection: psycopg.Connection[Any], statement: LiteralString, parameters: Mapping[str, object]) -> int:
    """How many rows of tables the statement reads, those among them that its conditions leave out. Runs it."""
    explain = b"EXPLAIN (ANALYZE, TIMING off, FORMAT json) "
    row = connection.execute(explain + statement.encode(), parameters).fetchone()
    assert row is not None
    return _rows(row[0][0]["Plan"])


def days_and_indexes(plan: Plan, parents: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """The days that a plan reads and its indexes by the names that migrations give them (`index_parents`)."""
    return plan.days, {parents.get(scan.index, scan.index) for scan in plan.scans if scan.index is not None}


def index_parents(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """The index or constraint of the table by the index of its partition."""
    return dict(
        connection.execute(
            """
            SELECT part.relname, whole.relname
            FROM pg_inherits
            JOIN pg_class AS part ON part.oid = inhrelid AND part.relkind = 'i'
            JOIN pg_class AS whole ON whole.oid = inhparent
            """
        ).fetchall()
    )


def make_days(connection: psycopg.Connection[Any], first: str, days: int) -> None:
    """Partitions of `days` days from `first` on, bare of rows and statistics."""
    connection.execute(
        """
        SELECT spantree.ensure_partitions(array_agg(day::date))
        FROM generate_series(%s::date, %s::date + %s - 1, interval '1 day') AS days (day)
        """,
        [first, first, days],
    )


def multiply(connection: psycopg.Connection[Any], trace_id: str, day: str, count: int) -> None:
    """`count` more traces on `day`, like the stored one, whose partitions nobody ever analyses or vacuums.

    By their size alone PostgreSQL knows that there is more in them than a few rows.
    """
    for table, started in (
        ("execution", "original.started_ns - n * 1000"),
        ("node", "original.started_ns"),
        ("edge", "0"),
    ):
        partition = f"{table}_{day.replace('-', '')}"
        connection.execute(f"ALTER TABLE spantree.{partition} SET (autovacuum_enabled = false)".encode())
        statement = f"""
            INSERT INTO spantree.{table}
            SELECT copied.*
            FROM spantree.{table} AS original
            CROSS JOIN generate_series(1, {count}) AS numbers (n)
            CROSS JOIN LATERAL jsonb_populate_record(
                original,
                jsonb_build_object('day', '{day}', 'trace_id', md5('{day}' || n)::uuid, 'started_ns', {started})
            ) AS copied
            WHERE original.trace_id = '{trace_id}'
            """
        connection.execute(statement.encode())


def _rows(node: dict[str, Any]) -> int:
    below = sum(_rows(child) for child in node.get("Plans", []))
    if "Relation Name" not in node:
        return below
    left_out = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return below + int((node["Actual Rows"] + left_out) * node["Actual Loops"])


def _scans(node: dict[str, Any], index: str | None) -> Iterator[Scan]:
    relation = node.get("Relation Name")
    name = node.get("Index Name", index)
    children: Sequence[dict[str, Any]] = node.get("Plans", [])
    if relation is not None:
        if node["Node Type"] == "Bitmap Heap Scan":
            for child in children:
                yield from (Scan(relation, found) for found in _bitmap_indexes(child))
            return
        yield Scan(relation, name)
    for child in children:
        yield from _scans(child, None)


def _bitmap_indexes(node: dict[str, Any]) -> Iterator[str]:
    if "Index Name" in node:
        yield node["Index Name"]
    for child in node.get("Plans", []):
        yield from _bitmap_indexes(child)
