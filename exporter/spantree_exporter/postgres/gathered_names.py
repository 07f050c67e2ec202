"""Names that figures have no row of their own for: looked for before a fold, and taken out of what was summed up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from spantree_exporter.rollup import Rollup
from spantree_exporter.rollup_names import (
    KEYS_KEPT,
    OTHER_NAMES,
    FigureKey,
    Width,
    gathered,
    gathered_once,
    keys_kept,
    places,
)
from spantree_exporter.sql import statements

_SQL: Final = statements("gathered_names")


def gather(cursor: psycopg.Cursor[Any], rollups: Mapping[int, Rollup]) -> None:
    """Count together, in the rollup of each tenant, what its hours have no room for; under the lock of folding.

    Raises psycopg.Error.
    """
    counts = {
        (tenant_id, hour_of): count
        for tenant_id, rollup in rollups.items()
        for hour_of, count in rollup.key_counts().items()
    }
    asked = {
        "tenant_ids": [tenant_id for tenant_id, _ in counts],
        "subjects": [subject for _, (subject, _) in counts],
        "hours": [_moment(hour) for _, (_, hour) in counts],
        "most": 2 * KEYS_KEPT + 1,
        "other": OTHER_NAMES,
    }
    wide: dict[int, dict[tuple[str, int], Width]] = {}
    held = cursor.execute(_SQL["widths"], asked).fetchall()
    for ((tenant_id, hour_of), count), row in zip(counts.items(), held, strict=True):
        width = Width(*row)
        if width.gathers or width.keys + count > keys_kept(hour_of[0]):
            wide.setdefault(tenant_id, {})[hour_of] = width
    for tenant_id, widths in wide.items():
        for hour_of, totals in rollups[tenant_id].keys_of(widths).items():
            candidates = list({*totals, *map(gathered_once, totals), *map(gathered, totals)})
            rollups[tenant_id].gather(places(totals, _known(cursor, tenant_id, candidates), widths[hour_of]))


def _known(cursor: psycopg.Cursor[Any], tenant_id: int, keys: list[FigureKey]) -> set[FigureKey]:
    """Those of some keys of one subject and hour that there are."""
    subject, hour = keys[0][:2]
    _, _, workflows, services, names, kinds, targets, roles, hidden = (list(one) for one in zip(*keys, strict=True))
    asked = {
        "tenant_id": tenant_id,
        "subject": subject,
        "hour": _moment(hour),
        "workflow_names": workflows,
        "services": services,
        "names": names,
        "kinds": kinds,
        "targets": targets,
        "roles": roles,
        "hidden": hidden,
    }
    return {keys[position - 1] for (position,) in cursor.execute(_SQL["known_keys"], asked)}


def take_surplus(cursor: psycopg.Cursor[Any], tenant_id: int, grain_h: int, since: datetime, until: datetime) -> bool:
    """Take out of intervals of one grain what they have too many of, into rollup_staging, under what it is gathered
    under; whether there was any. In the caller's transaction and under the lock of folding. Raises psycopg.Error.
    """
    interval = {"tenant_id": tenant_id, "grain_h": grain_h, "since": since, "until": until}
    return cursor.execute(_SQL["take_surplus"], interval | {"kept": KEYS_KEPT, "other": OTHER_NAMES}).rowcount > 0


def _moment(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * 3600, UTC)
