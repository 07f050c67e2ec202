"""The schema on a Citus cluster: which table lies where, and putting it there (docs/adr/015).

One source of statements serves PostgreSQL and Citus; what had to differ is in DIFFERENCES, and nowhere else. Writers,
projectors, the API and `spantree` connect to the coordinator, which alone has the local tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from spantree_exporter.errors import OperatorError
from spantree_exporter.sql import statements

_SQL: Final = statements("distribution")

DEFAULT_SHARDS: Final = 12

# Of each trace, and what grows with them; by trace_id, co-located with the first: rows of one trace are on one worker.
DISTRIBUTED: Final = ("span", "execution", "node", "edge", "log_record", "trace")
# Small, seldom written, and joined by what runs on the shards: whole on every node.
REFERENCE: Final = ("resource", "tenant", "tenant_role", "threshold")
# Queues, counters, figures and what people set: of the coordinator alone. Locks and SKIP LOCKED are its own there.
LOCAL: Final = (
    "alert_delivery", "alert_firing", "alert_rule", "alert_state", "analysis", "change", "change_counter",
    "dead_letter", "definition", "failure_group", "failure_group_change", "migration", "operation", "own_audit_event",
    "pending_projection", "rebuild_position", "redact_position", "retention_day", "rollup", "rollup_delta",
    "rollup_outdated", "span_terms", "span_terms_gap", "token", "upkeep",
)  # fmt: skip

# Where a statement or a setting is not the same on both, and why.
DIFFERENCES: Final = {
    "guard_table": "Citus takes no policy with a subquery, which PostgreSQL evaluates once a statement",
    "retention: detach": "Citus detaches no partition CONCURRENTLY: who uses the table waits, for 2 s at most",
    "copy_span_lines": "binary costs PostgreSQL less, and a coordinator more: it reads jsonb and writes it again",
    "connect: citus.*, push_limits": "what Citus has to be told; PostgreSQL keeps such settings and reads none",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster; `shards` and `bytes` are of spantree's distributed tables, partitions included."""

    name: str
    port: int
    is_active: bool
    is_coordinator: bool
    shards: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """What `spantree doctor` tells of a Citus cluster. `shard_count` is None where spantree is not distributed."""

    version: str
    shard_count: int | None
    nodes: tuple[Node, ...]
    missing: tuple[str, ...]  # tables that should be distributed, or on every node, and are not

    @property
    def skew(self) -> float | None:
        """How many times the mean of the workers' bytes the fullest one has; None where nothing is stored."""
        held = [node.bytes for node in self.nodes if node.shards]
        return max(held) * len(held) / sum(held) if sum(held) else None


def citus_version(connection: psycopg.Connection[Any]) -> str | None:
    """The version of Citus in this database; None on plain PostgreSQL. Raises psycopg.Error."""
    row = connection.execute(_SQL["citus_version"]).fetchone()
    return str(row[0]) if row else None


def check_coordinator(connection: psycopg.Connection[Any]) -> None:
    """Raise OperatorError where this is a worker of a Citus cluster, whose tables are the coordinator's to make."""
    if citus_version(connection) is None:
        return
    row = connection.execute(_SQL["is_coordinator"]).fetchone()
    if row is not None and not row[0]:
        raise OperatorError(
            "this is a worker of a Citus cluster, wanted the coordinator, which alone has the queues and the figures: "
            "name the coordinator in the database's URL"
        )


def is_distributed(connection: psycopg.Connection[Any]) -> bool:
    """Whether spantree's tables are distributed. Raises psycopg.Error."""
    return citus_version(connection) is not None and DISTRIBUTED[0] in _distributed(connection)


def distribute(connection: psycopg.Connection[Any], shards: int = DEFAULT_SHARDS) -> list[str]:
    """Put each table where it belongs; those that were moved, in order. Idempotent.

    Rows that are there move along; writers and readers of a table wait meanwhile. `shards` counts for the first time
    only. The connection is in autocommit mode. Raises OperatorError where there is no Citus, psycopg.Error.
    """
    if citus_version(connection) is None:
        raise OperatorError(
            "the database has no Citus, wanted the coordinator of a cluster: create the extension citus on every node "
            "and add the workers, or migrate without --distribute"
        )
    connection.execute(_SQL["settings"])
    there = _distributed(connection)
    moved = []
    for name in (*REFERENCE, *DISTRIBUTED):
        if name in there or not _exists(connection, name):
            continue
        table = f"spantree.{name}"
        with connection.transaction():
            connection.execute(_SQL["drop_policies"], {"table": table})
            if name in REFERENCE:
                connection.execute(_SQL["refer"], {"table": table})
            elif name == DISTRIBUTED[0]:
                connection.execute(_SQL["distribute_first"], {"table": table, "shards": shards})
            else:
                connection.execute(_SQL["distribute"], {"table": table, "like": f"spantree.{DISTRIBUTED[0]}"})
        connection.execute(_SQL["truncate_local"], {"table": table})
        moved.append(name)
    if moved:
        allow_functions(connection)
    return moved


def allow_functions(connection: psycopg.Connection[Any]) -> None:
    """Let what runs on shards call our functions; of the database, and so again after it was copied by other means."""
    connection.execute(_SQL["allow_functions"], {})


def guard(connection: psycopg.Connection[Any], tables: Iterable[str]) -> None:
    """Give tables that were moved their policies again. Raises psycopg.Error."""
    for name in tables:
        connection.execute(_SQL["guard"], {"table": f"spantree.{name}"})


def distribute_like_spans(connection: psycopg.Connection[Any], table: str) -> None:
    """Distribute a table of ours with a `trace_id`, empty or not, where it is not yet. Raises psycopg.Error."""
    if table not in _distributed(connection):
        like = f"spantree.{DISTRIBUTED[0]}"
        connection.execute(_SQL["distribute"], {"table": f"spantree.{table}", "like": like})


def by_worker(connection: psycopg.Connection[Any], trace_ids: Collection[bytes]) -> list[set[bytes]]:
    """`trace_ids` in sets, each of those that one worker has; one set of all on plain PostgreSQL.

    Asks the coordinator alone. Raises psycopg.Error.
    """
    if not is_distributed(connection):
        return [set(trace_ids)]
    of_worker: dict[int, set[bytes]] = {}
    keys = {"trace_ids": [trace_id.hex() for trace_id in trace_ids]}
    for trace_id, group_id in connection.execute(_SQL["workers_of_traces"], keys, binary=True):
        of_worker.setdefault(group_id, set()).add(trace_id)
    return list(of_worker.values())


def cluster(connection: psycopg.Connection[Any]) -> Cluster | None:
    """What there is of Citus; None on plain PostgreSQL. Raises psycopg.Error."""
    version = citus_version(connection)
    if version is None:
        return None
    there = _distributed(connection)
    if DISTRIBUTED[0] not in there:
        return Cluster(version, None, (), ())
    row = connection.execute(_SQL["shard_count"]).fetchone()
    nodes = tuple(Node(*row) for row in connection.execute(_SQL["nodes"]).fetchall())
    missing = tuple(name for name in (*REFERENCE, *DISTRIBUTED) if name not in there)
    return Cluster(version, int(row[0]) if row else None, nodes, missing)


def _distributed(connection: psycopg.Connection[Any]) -> set[str]:
    return {name for (name,) in connection.execute(_SQL["distributed"]).fetchall()}


def _exists(connection: psycopg.Connection[Any], name: str) -> bool:
    return name in {found for (found,) in connection.execute(_SQL["tables"]).fetchall()}
