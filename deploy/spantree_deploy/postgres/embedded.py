"""PostgreSQL inside spantree: one server for a data directory, shared by all commands that use it.

    DATA/pgdata        the cluster (mode 0700, owned by the account that runs the server)
    DATA/postgres.log  what the server says
    DATA/start.lock    held while a command starts or stops the server
    DATA/users.lock    held shared by each command as long as it uses the server
    DATA/spantree      a copy of the wheel's programs, only where root's account cannot reach the wheel

The locks are `flock`s: the kernel frees them however a command ends, so a killed user is never counted. The server
is not the child that dies with its owner: it runs in a session of its own until its last user leaves. If it dies, the
commands that use it start it again.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from spantree_deploy.postgres.account import Account, EmbeddedPostgresError, choose_account
from spantree_deploy.postgres.binaries import PostgresBinaries, find_binaries, within_reach
from spantree_deploy.postgres.cluster import SUPERUSER, Place, accepts_setting, data_major, make_cluster, opened_for
from spantree_deploy.postgres.postmaster import (
    Postmaster,
    clear_leftovers,
    cluster_name,
    is_server,
    running_postmaster,
    stop_postmaster,
)
from spantree_deploy.postgres.settings import WANTED_COMPRESSION, server_settings
from spantree_deploy.postgres.socket_folder import PORT, choose_socket_dir, client_socket_dir, has_socket, remove_socket

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

_log = logging.getLogger(__name__)

_DATABASE = "spantree"

# Recovery after a crash replays up to max_wal_size: minutes on a slow disk. PostgreSQL's own pg_ctl waits 60 s.
_START_TIMEOUT_S = 300.0
# A fast shutdown writes all changed pages; after this the server is stopped without them, and recovers at its start.
_STOP_TIMEOUT_S = 120.0
_CONNECT_TIMEOUT_S = 30
_DYING_S = 10.0
_POLL_S = 0.01
_WATCH_INTERVAL_S = 0.5
_WATCH_LONGEST_PAUSE_S = 30.0
_LARGEST_LOG_BYTES = 16 * 1024 * 1024
_STILL_IN_USE = "pre-existing shared memory block"


class EmbeddedPostgres:
    """The PostgreSQL server of `data_dir`, used from `start` to `stop`, or inside a `with` block.

    One object is one user of the server; any number of objects, in any number of processes, share one server.
    Not for use by several threads at once; what `url` names is.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        pg_bin: Path | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        report: Callable[[str], None] | None = None,
        start_timeout_s: float = _START_TIMEOUT_S,
        stop_timeout_s: float = _STOP_TIMEOUT_S,
    ) -> None:
        """Prepare, touching nothing.

        Args:
            data_dir: made when missing; the cluster lies in `data_dir/pgdata`.
            pg_bin: the folder of PostgreSQL's programs (SPANTREE_PG_BIN); None looks for them.
            settings: server settings that go before ours; they count for the one who starts the server.
            durable: False only for throw-away servers of tests: no fsync, so a crash of the machine loses data.
            report: told in a few words about each step that may take longer than a blink.
            start_timeout_s: how long a start may take, recovery after a crash included.
            stop_timeout_s: how long the last user waits for an orderly shutdown.
        """
        self._data_dir = data_dir.expanduser().resolve()
        self._pgdata = self._data_dir / "pgdata"
        self._pg_bin = pg_bin
        self._settings = dict(settings or {})
        self._durable = durable
        self._report = report or (lambda step: None)
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._users: int | None = None
        self._url: str | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The URI of the database `spantree` for psycopg and psql; SQLAlchemy wants the scheme `postgresql+psycopg`."""
        if self._url is None:
            raise EmbeddedPostgresError(f"the PostgreSQL of {self._data_dir} is not in use here; start() comes first")
        return self._url

    @property
    def log_path(self) -> Path:
        """The file that the server writes its messages to."""
        return self._data_dir / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None when none runs at this moment."""
        postmaster = running_postmaster(self._pgdata) if self._pgdata.is_dir() else None
        return postmaster.pid if postmaster else None

    def start(self) -> None:
        """Use the server: attach to the one that runs on the data directory, or start one, or make the cluster first.

        Returns when the server answers and the database exists. Until `stop` the server is started again should it
        die. Calling it again has no effect. Raises EmbeddedPostgresError when it cannot be done.
        """
        if self._users is not None:
            return
        self._stopping.clear()
        self._make_data_dir()
        with self._start_lock() as start_lock:
            self._users = self._open("users.lock")
            try:
                # Granted at once: it is held exclusively only by somebody who also holds the start lock.
                fcntl.flock(self._users, fcntl.LOCK_SH)
                self._url = self._ensure_server(start_lock, new_cluster=True)
            except BaseException:
                self._leave()  # else a server that nobody counts would go on running
                raise
        self._watcher = threading.Thread(target=self._watch, name="spantree-postgres-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Use the server no more; the last user shuts it down. Calling it again has no effect."""
        if self._users is None:
            return
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        with self._start_lock():
            self._leave()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- the server ----------------------------------------------------------------------------------------------

    def _ensure_server(self, start_lock: int, *, new_cluster: bool) -> str:
        """A server that answers, with our database; returns its URL. The caller holds the start lock."""
        deadline = time.monotonic() + self._start_timeout_s
        give_up = deadline
        choose_account(self._pgdata)  # refuses what this process may not even look at
        while True:
            postmaster = self._wait_while_starting(deadline) or self._start_server(start_lock, deadline, new_cluster)
            if postmaster is None:
                continue
            if not has_socket(self._pgdata, postmaster.socket_dir):
                _log.warning("the socket of the PostgreSQL on %s was removed; starting it again", self._pgdata)
                stop_postmaster(self._pgdata, self._stop_timeout_s)
                continue
            socket_dir = client_socket_dir(self._pgdata, postmaster.socket_dir)
            try:
                return _ensure_database(socket_dir)
            except psycopg.Error as error:
                # A server that was killed a moment ago may still look alive: see what becomes of it.
                give_up = min(give_up, time.monotonic() + _DYING_S)
                if not isinstance(error, psycopg.OperationalError) or time.monotonic() > give_up:
                    raise EmbeddedPostgresError(
                        f"the PostgreSQL on {self._pgdata} runs and does not answer: {error}; "
                        f"{self.log_path} says what it does"
                    ) from error
            time.sleep(_POLL_S)

    def _start_server(self, start_lock: int, deadline: float, new_cluster: bool) -> Postmaster | None:
        """Start a server where none runs, with a new cluster if need be; None when one has come up meanwhile."""
        account = choose_account(self._pgdata)
        major = data_major(self._pgdata)
        if major is None and not new_cluster:
            raise EmbeddedPostgresError(f"{self._pgdata} was removed while it was in use; start spantree again")
        binaries = within_reach(find_binaries(self._pg_bin, major), account, self._data_dir)
        if major is None:
            self._report(f"making a new PostgreSQL {binaries.major} cluster in {self._data_dir}")
            make_cluster(binaries, account, self._pgdata, durable=self._durable, start_lock=start_lock)
        elif clear_leftovers(self._pgdata):
            remove_socket(account, self._pgdata)
        else:
            return None  # started by somebody who was killed before it was ready
        self._report(f"starting PostgreSQL {binaries.version}")
        return self._run_server(binaries, account, deadline)

    def _wait_while_starting(self, deadline: float) -> Postmaster | None:
        """The server that runs and is ready; None when there is none, or it went away while we waited."""
        while self._pgdata.is_dir() and (postmaster := running_postmaster(self._pgdata)) is not None:
            if postmaster.is_ready:
                return postmaster
            if self._stopping.is_set() or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"the PostgreSQL on {self._pgdata} (pid {postmaster.pid}) was not ready within "
                    f"{self._start_timeout_s:.0f} s; {self.log_path} says what it does; wait and try again"
                )
            time.sleep(_POLL_S)
        return None

    def _run_server(self, binaries: PostgresBinaries, account: Account, deadline: float) -> Postmaster:
        """Start the server and wait until it is ready."""
        chosen = {
            **server_settings(durable=self._durable),
            **self._settings,
            "cluster_name": cluster_name(self._pgdata),
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": choose_socket_dir(account, self._pgdata),
            "unix_socket_permissions": "0700",
        }
        with opened_for(account, self._pgdata) as place:
            if accepts_setting(binaries, account, place, *WANTED_COMPRESSION):
                chosen = {**dict([WANTED_COMPRESSION]), **chosen}
        options = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        while True:
            said_bytes = self.log_path.stat().st_size if self.log_path.exists() else 0
            with opened_for(account, self._pgdata) as place:
                self._spawn([str(binaries.postgres), "-D", place.path, *options], account, place)
            postmaster = self._wait_while_starting(deadline)
            if postmaster is not None:
                return postmaster
            said = self._log_since(said_bytes)
            if _STILL_IN_USE not in said or time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL {binaries.version} did not start on {self._pgdata}: "
                    f"{said or 'it said nothing'}; the whole log is {self.log_path}"
                )
            time.sleep(_WATCH_INTERVAL_S)  # backends of a dead server, seen only by PostgreSQL: they are about to end

    def _spawn(self, command: list[str], account: Account, place: Place) -> None:
        # A file and not a pipe: the server outlives this process.
        log = self._open("postgres.log", os.O_APPEND)
        try:
            server = subprocess.Popen(
                command,
                cwd="/",  # see opened_for: it goes into the cluster by itself
                pass_fds=place.pass_fds,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for us; the server is stopped in its turn
                **account.run_as(),
            )
        finally:
            os.close(log)
        # Whenever it ends, and even after stop(), nobody but its parent can reap it.
        threading.Thread(target=server.wait, name="spantree-postgres-reap", daemon=True).start()
        while server.returncode is None and not is_server(server.pid, self._pgdata):
            time.sleep(_POLL_S)
        while server.returncode is None and running_postmaster(self._pgdata) is None:
            time.sleep(_POLL_S)

    def _watch(self) -> None:
        """Start the server again when it died; keep its log small. Ends when `stop` says so."""
        pause_s = _WATCH_INTERVAL_S
        while not self._stopping.wait(pause_s):
            try:
                postmaster = running_postmaster(self._pgdata)
                if postmaster is None:
                    _log.warning("the PostgreSQL on %s died; starting it again", self._pgdata)
                if postmaster is None or (postmaster.is_ready and not has_socket(self._pgdata, postmaster.socket_dir)):
                    with self._start_lock(until=self._stopping) as start_lock:
                        self._url = self._ensure_server(start_lock, new_cluster=False)
                self._count_again()
                self._shorten_log()
            except (EmbeddedPostgresError, OSError) as error:
                pause_s = min(2 * pause_s, _WATCH_LONGEST_PAUSE_S)
                _log.error(
                    "the PostgreSQL on %s cannot be kept running, next try in %.0f s: %s", self._pgdata, pause_s, error
                )
            else:
                pause_s = _WATCH_INTERVAL_S

    def _count_again(self) -> None:
        """Be counted by the file that the next user opens, where somebody removed it: that one would be the last."""
        if self._users is None or _is_named(self._users, self._data_dir / "users.lock"):
            return
        with self._start_lock(until=self._stopping):
            counted = self._open("users.lock")
            fcntl.flock(counted, fcntl.LOCK_SH)
            removed, self._users = self._users, counted
            os.close(removed)

    # -- files ---------------------------------------------------------------------------------------------------

    def _make_data_dir(self) -> None:
        if self._data_dir.is_dir():
            return
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"the data directory {self._data_dir} cannot be made: {error.strerror}; give another --data"
            ) from error

    def _open(self, name: str, flags: int = 0) -> int:
        """Open a file of ours beside the cluster, made when missing."""
        path = self._data_dir / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
            owner = self._data_dir.stat()
            if os.geteuid() == 0 and owner.st_uid != 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)  # else its owner could not use it after `sudo`
        except OSError as error:
            raise EmbeddedPostgresError(
                f"{path} cannot be opened: {error.strerror}; run as the user who owns {self._data_dir}, "
                "or give another --data"
            ) from error
        return descriptor

    @contextlib.contextmanager
    def _start_lock(self, until: threading.Event | None = None) -> Iterator[int]:
        """Hold the right to start or stop the server; yields the open file. Stops waiting once `until` is set."""
        deadline = time.monotonic() + self._start_timeout_s + self._stop_timeout_s
        descriptor = self._open("start.lock")
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline or (until is not None and until.is_set()):
                        raise EmbeddedPostgresError(
                            f"another command has been starting or stopping the PostgreSQL on {self._data_dir} for "
                            f"too long; {self.log_path} says what the server does; end that command and try again"
                        ) from None
                    time.sleep(_POLL_S)
            yield descriptor
        finally:
            os.close(descriptor)

    def _leave(self) -> None:
        """Count this user no more, and stop the server when it was the last. The caller holds the start lock."""
        users, self._users, self._url = self._users, None, None
        if users is None:
            return
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody else uses it
        else:
            if self._pgdata.is_dir():
                stop_postmaster(self._pgdata, self._stop_timeout_s)
                remove_socket(choose_account(self._pgdata), self._pgdata)
        finally:
            os.close(users)

    def _log_since(self, offset_bytes: int) -> str:
        """What the server said since then, on one line, without time stamps, at most its last 1000 characters."""
        with self.log_path.open("rb") as log:
            log.seek(offset_bytes)
            return " ".join(log.read().decode(errors="replace").split())[-1000:]

    def _shorten_log(self) -> None:
        """Keep `postgres.log` below its limit. Cut, not renamed: the server keeps its file open, and appends."""
        # Somebody may have removed it: the server then goes on without, until it is started again.
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > _LARGEST_LOG_BYTES:
                os.truncate(self.log_path, 0)


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _ensure_database(socket_dir: str) -> str:
    """Create our database unless it is there; returns its URL. Raises psycopg.Error."""
    query = f"?host={quote(socket_dir)}&port={PORT}"
    patient = f"{query}&connect_timeout={_CONNECT_TIMEOUT_S}"
    with psycopg.connect(f"postgresql://{SUPERUSER}@/postgres{patient}", autocommit=True) as connection:
        known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [_DATABASE]).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_DATABASE)))
    return f"postgresql://{SUPERUSER}@/{_DATABASE}{query}"
