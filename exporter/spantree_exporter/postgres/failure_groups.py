"""Groups of failures in PostgreSQL: what a fold of the figures tells of them, written in the fold's transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, TypeAlias

import psycopg

from spantree_exporter.postgres.partitions import SENTINEL_DAY, date_of
from spantree_exporter.sql import statements

_SQL: Final = statements("failure_groups")

# (tenant, fingerprint)
_Group: TypeAlias = tuple[int, str]

# Days that one statement names, the newest of those that failures are on: partitions of the others are not looked at.
_DAYS: Final = 8
# Groups whose executions are looked up in one fold: some ten milliseconds.
_LOOKED_UP: Final = 100


def note_failure_groups(cursor: psycopg.Cursor[Any], days: Collection[int]) -> None:
    """Note the groups of failures that rollup_staging has more of; `days` are the day numbers that those are on.

    In the transaction of the fold, whose lock keeps others away. Raises psycopg.Error.
    """
    if not days:
        return
    of_days = {"days": [date_of(SENTINEL_DAY), *(date_of(day) for day in sorted(days)[-_DAYS:])]}
    seen = cursor.execute(_SQL["seen_groups"]).fetchall()
    if not seen:
        return
    looked_up = seen[:_LOOKED_UP]
    reopened = [(tenant_id, fingerprint) for tenant_id, fingerprint, _, is_back in seen if is_back]
    cursor.execute(_SQL["push_limits"], {"pushed": "on"})
    first_ns = _first_ns(cursor, looked_up, of_days)
    versions = _versions(cursor, {*((group[0], group[1]) for group in looked_up), *reopened}, of_days)
    cursor.execute(_SQL["push_limits"], {"pushed": "off"})
    if reopened:
        cursor.execute(_SQL["reopen_groups"], _keys(reopened) | {"versions": list(map(versions.get, reopened))})
    noted = [(tenant_id, fingerprint) for tenant_id, fingerprint, _, _ in looked_up]
    looked_at = {"first_ns": list(map(first_ns.get, noted)), "versions": list(map(versions.get, noted))}
    cursor.execute(_SQL["note_groups"], _keys(noted) | looked_at)


def _first_ns(
    cursor: psycopg.Cursor[Any], groups: Sequence[tuple[Any, ...]], of_days: dict[str, Any]
) -> dict[_Group, int]:
    from_ns = [from_ns for _, _, from_ns, _ in groups]
    keys = _keys([(tenant_id, fingerprint) for tenant_id, fingerprint, _, _ in groups])
    rows = cursor.execute(_SQL["first_of_groups"], keys | {"from_ns": from_ns} | of_days).fetchall()
    return {(tenant_id, fingerprint): started_ns for tenant_id, fingerprint, started_ns in rows}


def _versions(
    cursor: psycopg.Cursor[Any], groups: Collection[_Group], of_days: dict[str, Any]
) -> dict[_Group, str | None]:
    newest = cursor.execute(_SQL["newest_of_groups"], _keys(sorted(groups)) | of_days).fetchall()
    failed = [row for row in newest if row[3] is not None]
    if not failed:
        return {}
    spans = {
        "tenant_ids": [tenant_id for tenant_id, _, _, _ in failed],
        "trace_ids": [trace_id for _, _, trace_id, _ in failed],
        "span_ids": [span_id for _, _, _, span_id in failed],
    }
    rows = cursor.execute(_SQL["versions_of_spans"], spans | of_days).fetchall()
    versions = {(tenant_id, trace_id): version for tenant_id, trace_id, version in rows}
    return {(tenant_id, group): versions.get((tenant_id, trace_id)) for tenant_id, group, trace_id, _ in failed}


def _keys(groups: Sequence[_Group]) -> dict[str, Any]:
    return {
        "tenant_ids": [tenant_id for tenant_id, _ in groups],
        "fingerprints": [fingerprint for _, fingerprint in groups],
    }
