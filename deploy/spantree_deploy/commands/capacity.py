"""`spantree capacity`: what a rate of spans needs, by measured costs."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict
from typing import Annotated

import typer

from spantree_deploy import console
from spantree_deploy.capacity import ASSUMED, MOST_RETENTION_DAYS, MOST_SPANS_PER_SECOND, Capacity
from spantree_deploy.capacity import capacity as needed

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def capacity(
    spans_per_second: Annotated[
        float, typer.Option(min=0.001, max=MOST_SPANS_PER_SECOND, help="at the busiest hour", show_default=False)
    ],
    retention_days: Annotated[
        float, typer.Option(min=0.001, max=MOST_RETENTION_DAYS, help="days that are kept")
    ] = 30.0,
    json: Annotated[bool, typer.Option("--json", help="one object, numbers in their base units")] = False,
) -> None:
    """Say what a rate of spans needs: collectors, PostgreSQL, disk, network. Costs measured, assumptions named."""
    found = needed(spans_per_second, retention_days)
    if json:
        console.out.print(jsonlib.dumps({**asdict(found), "assumed": asdict(ASSUMED)}, indent=2))
        return
    for name, value in _lines(found):
        console.out.print(f"{name:<16} {value}")


def _lines(found: Capacity) -> list[tuple[str, str]]:
    return [
        (
            "collectors",
            f"{found.collectors}, with {ASSUMED.cores_per_collector} cores each; "
            f"{_number(found.collector_cores)} cores in all",
        ),
        (
            "PostgreSQL",
            f"{_servers(found.postgres_servers)}, {_number(found.postgres_cores)} cores, "
            f"{found.connections} connections of collectors",
        ),
        ("WAL", f"{_bytes(found.wal_bytes_per_s)}/s, again for each replica and for an archive"),
        (
            "disk",
            f"{_bytes(found.disk_bytes_per_day)} a day, {_bytes(found.disk_bytes)} for {found.retention_days:g} days",
        ),
        ("network", f"{_bits(found.wire_bits_per_s)}, {_bits(found.wire_bits_per_s_gzip)} with gzip"),
        (
            "spool",
            f"{_bytes(found.spool_bytes_per_collector)} a collector for {ASSUMED.outage_s / 3600:g} h without "
            "PostgreSQL (SPANTREE_SPOOL_MAX_BYTES)",
        ),
        ("scarce first", found.bottleneck),
        ("what to do", found.advice),
        (
            "assumed",
            f"the reference load's spans; {ASSUMED.utilisation:.0%} of a core planned with; "
            f"disk times {ASSUMED.bloat:g}; docs/scale.md has the rest",
        ),
    ]


def _servers(count: int) -> str:
    return "1 server" if count == 1 else f"{count} servers (Citus workers)"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _bytes(value: float) -> str:
    index = 0
    while value >= 1000 and index < len(_UNITS) - 1:
        value /= 1000
        index += 1
    return f"{value:.3g} {_UNITS[index]}"


def _bits(value: float) -> str:
    return _bytes(value).replace("B", "bit") + "/s"
