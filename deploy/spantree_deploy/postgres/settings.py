"""The settings that the embedded server runs with, and why each differs from PostgreSQL's default.

They are for one machine that may be small and does other work too, and for a load of many inserts (COPY of batches,
append-only partitions) with few readers. They are given on the server's command line, so that they follow the code
and not the age of the data directory. Meanings: https://www.postgresql.org/docs/current/runtime-config.html
"""

from __future__ import annotations

import os
from pathlib import Path

# Acknowledged means durable: the spool forgets a request once PostgreSQL has committed it. These are the defaults,
# stated because nothing may change them by accident.
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}

# Where the build has it (the wheel has not). Inserts at random keys, as trace ids are, change many index pages, and the
# first change of each after a checkpoint writes the whole page to the WAL: lz4 shortens those for little time. Not
# pglz, which every build has and which is slow. Freshly copied rows are not pages: 120,000 of them took 98 MB of WAL
# without and 97 MB with it, so this pays only once the indexes are large.
WANTED_COMPRESSION = ("wal_compression", "lz4")

# For throw-away servers of tests: a crash of the operating system may destroy the data, a crash of the server not.
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "on", "full_page_writes": "off"}

_TUNED = {
    # Holds the indexes of the day that is being written; the operating system's cache holds the rest. Of three
    # million spans on one day 256 MB did not hold them: see what a span costs by `benchmarks.growth --rounds 31`.
    "shared_buffers": "512MB",
    # Sorts and hashes of the read API (lists, stats) in memory; few run at once.
    "work_mem": "16MB",
    # One batch of spans is a few MB of WAL: it fits, so a writer does not flush half a batch.
    "wal_buffers": "16MB",
    # Checkpoints by time, not by volume: each one makes the next change of every page write the whole page to the WAL.
    # With 2 GB, at two and a half million spans of a day, there was one every 25 s, and half of the WAL was such pages.
    # 4 GB is also the most disk that the WAL takes and bounds recovery after a crash to some seconds (2.0-2.7 s for
    # 400,000 rows).
    "max_wal_size": "4GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "15min",
    # The queue pending_projection is as often deleted from as inserted into; it must stay a few pages.
    "autovacuum_vacuum_scale_factor": "0.05",
    # A new day's partition has no statistics until the first analyze: look often. How much has to change for another
    # one is a setting of each partition (exporter/spantree_exporter/sql/idempotent/010_partitions.sql).
    "autovacuum_naptime": "15s",
    # Short queries: compiling one costs more than it saves, up to seconds on plans over many partitions.
    "jit": "off",
    # Disks here are SSDs or network volumes with such behaviour; 4.0 is for a disk that turns.
    "random_page_cost": "1.1",
    # A query without a day in it locks each partition and each of its indexes: 90 days are some 500 locks.
    "max_locks_per_transaction": "256",
    # Collector, api, demo and a person's psql; more would only cost memory.
    "max_connections": "100",
    # Days are UTC days, times in answers are UTC: psql shows the same.
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    # A checkpoint line every quarter of an hour helps nobody here.
    "log_checkpoints": "off",
    # Statements carry what people traced; the message alone is enough to find the fault.
    "log_min_error_statement": "panic",
}

# Docker gives a container 64 MB of /dev/shm unless it is told otherwise; parallel queries then fail with
# "could not resize shared memory segment". Below this size their memory is a file in the data directory instead.
_SMALL_SHM_BYTES = 256 * 1024 * 1024
_SHM = Path("/dev/shm")  # noqa: S108 (the kernel's place for POSIX shared memory, not a temporary file)


def server_settings(*, durable: bool) -> dict[str, str]:
    """Settings for `postgres -c name=value`, apart from those that say where it listens."""
    return {
        **(_DURABLE if durable else _NOT_DURABLE),
        **_TUNED,
        **({} if _posix_shared_memory_suffices() else {"dynamic_shared_memory_type": "mmap"}),
    }


def _posix_shared_memory_suffices() -> bool:
    try:
        status = os.statvfs(_SHM)
    except FileNotFoundError:
        # macOS keeps POSIX shared memory elsewhere and has no such limit; a Linux without /dev/shm has none at all.
        return not Path("/proc").exists()
    return status.f_frsize * status.f_blocks >= _SMALL_SHM_BYTES
