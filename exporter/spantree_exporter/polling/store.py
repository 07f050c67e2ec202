"""Watched jobs in one SQLite file beside the service, so that a restart goes on where it was.

A file, and no table of spantree's: the service that watches needs no access to spantree's database, and goes on
watching while that is away. One process at a time has the file (an advisory lock beside it).
"""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Any, Final

from spantree_exporter.polling.results import Result
from spantree_exporter.polling.states import Job

ACTIVITY_BUCKET_S: Final = 300
KEPT_S: Final = 7 * 86_400
"""How long jobs that are over, and figures, are kept: the window of the statistics."""
_NAME_MARK: Final = "-- name: "


class PollingStoreError(Exception):
    """The file cannot be used: it cannot be made, is another program's, or another watcher has it."""


class JobStore:
    """The file. Calls block for some tenths of a millisecond; all from one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._sql = _statements()
        self._lock_fd: int | None = None
        try:
            if read_only:
                self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_fd = _locked(path.with_suffix(path.suffix + ".lock"))
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = self._opened(path)
        except (OSError, sqlite3.Error) as error:
            self._unlock()
            raise PollingStoreError(
                f"the file of watched jobs {path} cannot be opened ({error}); give a path that this account may write"
            ) from error

    def _opened(self, path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            # what a power cut takes is looked at once more
            database.execute("PRAGMA synchronous = NORMAL")
            for name in ("create_job", "create_job_due_idx", "create_result", "create_activity", "create_beat"):
                database.execute(self._sql[name])
        except BaseException:
            database.close()
            raise
        return database

    def close(self) -> None:
        """Close the file and let others have it. Idempotent."""
        self._db.close()
        self._unlock()

    def put(self, job: Job) -> None:
        """Store the job as it is now."""
        due_s = job.ended_at_s if job.is_over and job.ended_at_s is not None else job.next_poll_s
        row = {
            "key": job.key,
            "state": job.state,
            "is_over": job.is_over,
            "due_s": due_s,
            "job": json.dumps(dataclasses.asdict(job)),
        }
        self._db.execute(self._sql["put_job"], row)

    def job(self, key: str) -> Job | None:
        """The job of that key."""
        row = self._db.execute(self._sql["job"], {"key": key}).fetchone()
        return None if row is None else _job(row[0])

    def due(self, now_s: float, limit: int) -> list[str]:
        """Keys of jobs to be looked at or tried again, the longest overdue first."""
        rows = self._db.execute(self._sql["due_jobs"], {"now_s": now_s, "limit": limit})
        return [key for (key,) in rows]

    def open_jobs(self) -> list[Job]:
        """All jobs that are not over, by key."""
        return [_job(text) for (text,) in self._db.execute(self._sql["open_jobs"])]

    def jobs_over(self, since_s: float) -> list[Job]:
        """Jobs that ended at that time or later, by key."""
        return [_job(text) for (text,) in self._db.execute(self._sql["jobs_over"], {"since_s": since_s})]

    def jobs(self, state: str | None = None, after: str = "", limit: int = 50) -> list[Job]:
        """Jobs by key, those after a key first."""
        rows = self._db.execute(self._sql["jobs"], {"state": state, "after": after, "limit": limit})
        return [_job(text) for (text,) in rows]

    def counts(self) -> dict[str, int]:
        """Jobs by state; failed ones that are to be tried again count as RETRYING."""
        counts: dict[str, int] = {}
        for state, is_over, count in self._db.execute(self._sql["count_by_state"]):
            told = "RETRYING" if state == "FAILED" and not is_over else state
            counts[told] = counts.get(told, 0) + count
        return counts

    def put_result(self, key: str, result: Result) -> None:
        """Store what the job gave; of a job that is tried again the latest."""
        self._db.execute(self._sql["put_result"], {"key": key, **dataclasses.asdict(result)})

    def result(self, key: str) -> Result | None:
        """What the job gave."""
        row = self._db.execute(self._sql["result"], {"key": key}).fetchone()
        if row is None:
            return None
        kind, content, rows, size_bytes, duration_s, is_cut = row
        return Result(kind, content, rows, size_bytes, duration_s, bool(is_cut))

    def count_look(self, now_s: float, outcome: str) -> None:
        """Count one look: `outcome` is ok or the class of its error."""
        bucket_s = int(now_s // ACTIVITY_BUCKET_S) * ACTIVITY_BUCKET_S
        self._db.execute(self._sql["count_look"], {"bucket_s": bucket_s, "outcome": outcome})

    def looks_since(self, since_s: float) -> dict[str, int]:
        """Looks by outcome since some time, to five minutes."""
        rows = self._db.execute(self._sql["looks_since"], {"since_s": since_s - ACTIVITY_BUCKET_S})
        return {outcome: int(looks) for outcome, looks in rows}

    def beat(self, now_s: float) -> None:
        """Say that the watcher is alive, and forget what is older than a week."""
        before = {"before_s": now_s - KEPT_S}
        self._db.execute("BEGIN")
        self._db.execute(self._sql["put_beat"], {"at_s": now_s})
        if self._db.execute(self._sql["forget_over"], before).rowcount:
            self._db.execute(self._sql["forget_results"])
        self._db.execute(self._sql["forget_activity"], before)
        self._db.execute("COMMIT")

    def beat_at_s(self) -> float | None:
        """When the watcher was last alive; None: never."""
        row = self._db.execute(self._sql["beat"]).fetchone()
        return None if row is None else float(row[0])

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


def _locked(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        import fcntl
    except ImportError:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise PollingStoreError(
            f"another watcher has {path.with_suffix('')}; give each process a file of its own"
        ) from error
    return file


def _job(text: str) -> Job:
    fields: dict[str, Any] = json.loads(text)
    return Job(**fields)


def _statements() -> dict[str, str]:
    text = resources.files(__package__).joinpath("store.sql").read_text("utf-8")
    blocks = (block.partition("\n") for block in text.split(_NAME_MARK)[1:])
    return {name.strip(): statement for name, _, statement in blocks}
